"""Covariates that are maps in the engine: all shuffles of small studies against plain refits.

Those of least squares are by numpy. Those of other estimators are fits of the unshuffled estimator,
which tests of its own compare with R, to the maps of every shuffle at one voxel's columns.
"""

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.contrasts import Contrast
from nipype_group.design.matrix import Design
from nipype_group.permutation.plan import ContrastTest, make_plan
from nipype_group.permutation.units import units_of
from nipype_group.stats.estimators.effect_variance import fit_effect_variance
from nipype_group.stats.estimators.robust import fit_robust
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.statistics import ShuffleStatistics

# Weights of a constant, a group and a covariate, and the kind of shuffling they get.
CONTRASTS = {
    "covariate": ([[0.0, 0, 1]], "permute"),
    "group beside it": ([[0.0, 1, 0]], "permute"),
    "both": ([[0.0, 1, 0], [0, 0, 1]], "permute"),
    "mean at the mean covariate": ([[1.0, 0, 0]], "flip"),
}
ALL = ("voxel", "extent", "mass", "tfce")


def study(n_maps, n_voxels):
    rng = np.random.default_rng(5)
    group = np.arange(n_maps) % 2.0
    grey = 3 + 0.5 * group[:, None] + rng.standard_normal((n_maps, n_voxels))
    data = 0.7 * grey + rng.standard_normal((n_maps, n_voxels)) - 1
    keys = pd.DataFrame({"participant_id": [f"{i:02d}" for i in range(n_maps)]})
    matrix = np.column_stack([np.ones(n_maps), group])
    design = Design(keys, matrix, ("one", "group"), map_covariates=("grey",))
    return design, data, grey


def planned(design, rows, n_permutations, names=("voxel",), **how):
    contrast = Contrast("c", "t" if len(rows) == 1 else "F", np.array(rows), "")
    test = ContrastTest(ShuffleStatistics(names), **{"estimator": "map-covariates", **how})
    (family,) = make_plan(design, [contrast], n_permutations, 3, test).families.values()
    return test, test.shuffled_units(units_of(design, contrast), family.scheme)


def run(test, contrast, first, last, data, grey, shape, variances=None, **how):
    (result,) = run_shuffles(
        lambda start, stop: data[:, start:stop],
        np.ones(shape, dtype=bool),
        [contrast],
        test.statistics,
        first,
        last,
        beside={
            "covariates": lambda start, stop: grey[None, :, start:stop],
            "variances": lambda start, stop: variances[:, start:stop],
        },
        **how,
    )
    return result


def refits(design, rows, y, grey, kind):
    """Return t or F of all shuffles at one voxel: residuals of the null model move (Freedman)."""
    matrix = np.column_stack([design.matrix, grey - grey.mean()])
    rows, n = np.array(rows), len(y)
    null = matrix @ np.linalg.svd(rows)[2][len(rows) :].T
    fitted = null @ np.linalg.lstsq(null, y, rcond=None)[0]
    inverse, found = np.linalg.inv(matrix.T @ matrix), []
    shuffles = product([1, -1], repeat=n) if kind == "flip" else permutations(range(n))
    for shuffle in map(list, shuffles):
        left = y - fitted
        moved = fitted + (left * shuffle if kind == "flip" else left[shuffle])
        betas = inverse @ matrix.T @ moved
        variance = ((moved - matrix @ betas) ** 2).sum() / (n - 3)
        effect = rows @ betas
        f = effect @ np.linalg.solve(rows @ inverse @ rows.T, effect) / variance / len(rows)
        found.append(np.sign(effect[0]) * np.sqrt(f) if len(rows) == 1 else f)
    return np.array(found)


@pytest.mark.parametrize("name", CONTRASTS)
def test_p_of_all_shuffles_are_those_of_refits_by_hand(name):
    rows, kind = CONTRASTS[name]
    design, data, grey = study(6 if kind == "permute" else 9, 4)
    by_hand = np.array(
        [refits(design, rows, y, g, kind) for y, g in zip(data.T, grey.T, strict=True)]
    )
    test, contrast = planned(design, rows, 5000)
    assert contrast.scheme.kind == kind and contrast.scheme.exhaustive
    n_shuffles = by_hand.shape[1]
    assert contrast.scheme.n_distinct == n_shuffles
    result = run(test, contrast, 0, n_shuffles, data, grey, (4, 1, 1))
    np.testing.assert_allclose(result.observed["voxel"], by_hand[:, 0], rtol=1e-9)
    reached = abs(by_hand) >= abs(by_hand[:, :1]) * (1 - 1e-9)
    assert result.counts["voxel"].tolist() == reached.sum(axis=1).tolist()
    assert 1 < min(result.counts["voxel"]) < n_shuffles / 2
    highest = np.sort(result.nulls["voxel_positive"])
    np.testing.assert_allclose(highest, np.sort(by_hand.max(axis=0)), rtol=1e-8, atol=1e-12)


def test_bits_depend_on_no_shard_thread_or_memory():
    shape = (11, 10, 10)
    design, data, grey = study(12, 1100)
    grey[:, 7], grey[:, 8] = 1.0, 2 * design.matrix[:, 1]
    test, contrast = planned(design, CONTRASTS["both"][0], 59, ALL)
    whole = run(test, contrast, 0, 60, data, grey, shape)
    assert np.flatnonzero(whole.observed["voxel"] == 0).tolist() == [7, 8]
    assert whole.counts["voxel"][[7, 8]].tolist() == [60, 60]
    ones = run(test, contrast, 0, 60, data, grey, shape, n_threads=3, memory_gb=1e-6)
    parts = [run(test, contrast, a, b, data, grey, shape) for a, b in ((0, 21), (21, 60))]
    for name, null in whole.nulls.items():
        assert ones.nulls[name].tobytes() == null.tobytes()
        assert np.concatenate([part.nulls[name] for part in parts]).tobytes() == null.tobytes()
    for name, counts in whole.counts.items():
        assert (ones.counts[name] == counts).all()
        assert (sum(part.counts[name] for part in parts) == counts).all()
    assert {"mass_positive", "extent_positive", "tfce_positive"} < set(whole.nulls)
    end = run(test, contrast, 0, 60, data[:, 1024:], grey[:, 1024:], (76, 1, 1))
    assert (end.counts["voxel"] == whole.counts["voxel"][1024:]).all()


def test_maps_that_lack_voxels_go_with_flips_and_with_no_permutation():
    design, data, grey = study(9, 3)
    grey[2, 1] = np.nan
    rows = CONTRASTS["mean at the mean covariate"][0]
    test, contrast = planned(design, rows, 5000)
    with pytest.raises(ValueError, match="some maps lack voxels"):
        run(test, contrast, 0, 9, data, grey, (3, 1, 1))
    test, contrast = planned(design, rows, 5000, varying_dof=True)
    found = run(test, contrast, 0, 512, data, grey, (3, 1, 1))
    there = np.delete(np.arange(9), 2)
    part = Design(
        design.keys.iloc[there].reset_index(drop=True),
        design.matrix[there],
        design.columns,
        map_covariates=("grey",),
    )
    test, contrast = planned(part, rows, 5000)
    alone = run(test, contrast, 0, 256, data[there, 1:2], grey[there, 1:2], (1, 1, 1))
    z = contrast.z_of_plain(alone.observed["voxel"])[0]
    np.testing.assert_allclose(found.observed["voxel"][1], z, atol=1e-5)
    # The sign of the map that is not there changes nothing.
    assert found.counts["voxel"][1] == 2 * alone.counts["voxel"][0]
    with pytest.raises(ValueError, match="contrast 'c': some maps lack voxels, and residuals"):
        planned(design, CONTRASTS["covariate"][0], 99, varying_dof=True)


# Estimators and what their shuffles hold.
ESTIMATES = [
    *product(("huber", "bisquare", "mixed-effects", "paule-mandel"), ("again", "held")),
    ("mm", "held"),
    ("fixed-effects", "again"),
    ("dersimonian-laird", "again"),
]
ROBUST = ("huber", "bisquare", "mm")


def fit(name, matrix, y, s, knapp_hartung="none"):
    """Fit maps, shape (n, m), whose columns are the same."""
    model = LinearModel(matrix, tuple(f"x{i}" for i in range(matrix.shape[1])))

    def read(start, stop):
        return y[:, start:stop]

    if name in ROBUST:
        return fit_robust(model, read, y.shape[1], name)
    return fit_effect_variance(
        model, read, lambda a, b: s[:, a:b], y.shape[1], name, knapp_hartung=knapp_hartung
    )


def weighted(matrix, rows, y, weights):
    """Return t or F of weighted least squares, the variance of its own residuals."""
    found = []
    for maps, weight in zip(y.T, weights.T, strict=True):
        inverse = np.linalg.inv((matrix.T * weight) @ matrix)
        betas = inverse @ (matrix.T * weight) @ maps
        square = weight @ (maps - matrix @ betas) ** 2 / (len(maps) - matrix.shape[1])
        effect = rows @ betas
        f = effect @ np.linalg.solve(rows @ inverse @ rows.T, effect) / square / len(rows)
        found.append(np.sign(effect[0]) * np.sqrt(f) if len(rows) == 1 else f)
    return np.array(found)


def refits_of(estimator, hold, design, rows, kind, y, s, grey):
    """Return t or F of all shuffles at one voxel, fitted as the unshuffled estimator does."""
    matrix, rows, n = np.column_stack([design.matrix, grey - grey.mean()]), np.array(rows), len(y)
    null = matrix @ np.linalg.svd(rows)[2][len(rows) :].T
    before = fit(estimator, null, y[:, None], s[:, None])
    fitted = null @ (
        before.betas[:, 0]
        if estimator in ROBUST
        else [before.contrast(row, "t").effect[0] for row in np.eye(null.shape[1])]
    )
    if kind == "flip":
        signs = np.array(list(product([1.0, -1], repeat=n)))
        orders = np.tile(np.arange(n), (len(signs), 1))
    else:
        orders = np.array(list(permutations(range(n))))
        signs = np.ones(orders.shape)

    def moved(values, sign):
        found = np.empty(orders.shape)
        np.put_along_axis(found, orders, sign * values, axis=1)
        return found.T

    maps = fitted[:, None] + moved(y - fitted, signs)
    test = "t" if len(rows) == 1 else "F"
    if hold == "held" and estimator in ROBUST:
        weights = np.ravel(list(before.weights(lambda rows: (y[[i]] for i in rows))))
        return weighted(matrix, rows, maps, moved(weights, 1.0))
    variances = moved(s, 1.0)
    if hold == "held":
        estimator, variances = "fixed-effects", variances + before.between.tau2[0]
    return fit(estimator, matrix, maps, variances).contrast(rows, test).stat


@pytest.mark.parametrize("name", CONTRASTS)
@pytest.mark.parametrize(("estimator", "hold"), ESTIMATES)
def test_p_of_all_shuffles_of_estimators_are_those_of_their_fits(estimator, hold, name):
    rows, kind = CONTRASTS[name]
    design, data, grey = study(7 if kind == "permute" else 9, 3)
    variances = np.exp(np.random.default_rng(6).standard_normal(data.shape))
    data = data + np.sqrt(variances) * np.random.default_rng(7).standard_normal(data.shape)
    by_hand = np.array(
        [
            refits_of(estimator, hold, design, rows, kind, *of_voxel)
            for of_voxel in zip(data.T, variances.T, grey.T, strict=True)
        ]
    )
    test, contrast = planned(design, rows, 6000, estimator=estimator, shuffled_estimates=hold)
    assert contrast.scheme.kind == kind and contrast.scheme.exhaustive
    n_shuffles = by_hand.shape[1]
    assert contrast.scheme.n_distinct == n_shuffles
    result = run(test, contrast, 0, n_shuffles, data, grey, (3, 1, 1), variances)
    tolerance = 1e-7 if estimator in ROBUST else 1e-9
    np.testing.assert_allclose(result.observed["voxel"], by_hand[:, 0], rtol=tolerance)
    highest = np.sort(result.nulls["voxel_positive"])
    np.testing.assert_allclose(highest, np.sort(by_hand.max(axis=0)), rtol=tolerance, atol=1e-9)
    reached = abs(by_hand) >= abs(by_hand[:, :1]) * (1 - tolerance)
    assert result.counts["voxel"].tolist() == reached.sum(axis=1).tolist()
    assert 1 < max(result.counts["voxel"]) < n_shuffles


@pytest.mark.parametrize("estimator", ["OLS", "sandwich"])
def test_no_estimator_takes_what_stands_in_for_a_covariate(estimator):
    design = study(9, 1)[0]
    contrast = Contrast("c", "t", np.array([[0.0, 1, 0]]), "")
    with pytest.raises(ValueError, match=f"{estimator} have no covariates that are maps"):
        make_plan(design, [contrast], 99, 3, ContrastTest(estimator=estimator))
