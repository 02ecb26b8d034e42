"""Covariates that are maps in the engine: all shuffles of small studies against plain refits.

Those of least squares are by numpy. Those of other estimators are fits of the unshuffled
estimator, which tests of its own compare with R, to the maps of every shuffle at one voxel.
"""

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.contrasts import Contrast
from nipype_group.design.matrix import Design
from nipype_group.permutation.plan import ContrastTest, make_plan
from nipype_group.permutation.units import units_of
from nipype_group.registry import loaded
from nipype_group.stats.estimators import ESTIMATORS
from nipype_group.stats.estimators.contrast_estimates import NORMAL_DOF
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


ROBUST = ("huber", "bisquare", "mm")
# Estimators, what their shuffles hold, and contrasts.
ESTIMATES = [
    *product(("huber", "mixed-effects"), ("again", "held"), ("group beside it",)),
    ("huber", "again", "both"),
    ("mixed-effects", "again", "both"),
    ("paule-mandel", "held", "covariate"),
    ("dersimonian-laird", "again", "group beside it"),
    ("fixed-effects", "again", "mean at the mean covariate"),
    ("mixed-effects", "again", "mean at the mean covariate"),
    ("bisquare", "held", "mean at the mean covariate"),
    ("mm", "held", "mean at the mean covariate"),
]


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


def refits_of(how, matrix, rows, shuffles, y, s):
    """Return t or F of shuffles at one voxel, fitted as the unshuffled estimator does.

    `how` is the estimator, what is held, and the factor of Knapp and Hartung.
    """
    (estimator, hold, factor), (orders, signs) = how, shuffles
    null = matrix @ np.linalg.svd(rows)[2][len(rows) :].T
    before = fit(estimator, null, y[:, None], s[:, None])
    fitted = null @ (
        before.betas[:, 0]
        if estimator in ROBUST
        else [before.contrast(row, "t").effect[0] for row in np.eye(null.shape[1])]
    )

    def moved(values, sign):
        found = np.empty(orders.shape)
        np.put_along_axis(found, orders, sign * values, axis=1)
        return found.T

    maps = fitted[:, None] + moved(y - fitted, signs)
    if hold == "held" and estimator in ROBUST:
        weights = np.ravel(list(before.weights(lambda rows: (y[[i]] for i in rows))))
        return weighted(matrix, rows, maps, moved(weights, 1.0))
    variances = moved(s, 1.0)
    if hold == "held":
        estimator, variances = "fixed-effects", variances + before.between.tau2[0]
    test = "t" if len(rows) == 1 else "F"
    return fit(estimator, matrix, maps, variances, factor).contrast(rows, test).stat


def every_shuffle(kind, n):
    if kind == "flip":
        signs = np.array(list(product([1.0, -1], repeat=n)))
        return np.tile(np.arange(n), (len(signs), 1)), signs
    orders = np.array(list(permutations(range(n))))
    return orders, np.ones(orders.shape)


def with_variances(data):
    variances = np.exp(np.random.default_rng(6).standard_normal(data.shape))
    errors = np.random.default_rng(7).standard_normal(data.shape)
    return data + np.sqrt(variances) * errors, variances


@pytest.mark.parametrize(("estimator", "hold", "name"), ESTIMATES)
def test_p_of_all_shuffles_of_estimators_are_those_of_their_fits(estimator, hold, name):
    rows, kind = CONTRASTS[name]
    design, data, grey = study(7 if kind == "permute" else 9, 2)
    data, variances = with_variances(data)
    shuffles = every_shuffle(kind, len(data))
    by_hand = []
    for y, s, g in zip(data.T, variances.T, grey.T, strict=True):
        matrix = np.column_stack([design.matrix, g - g.mean()])
        how = estimator, hold, "none"
        by_hand.append(refits_of(how, matrix, np.array(rows), shuffles, y, s))
    by_hand = np.array(by_hand)
    test, contrast = planned(design, rows, 6000, estimator=estimator, shuffled_estimates=hold)
    assert contrast.scheme.kind == kind and contrast.scheme.exhaustive
    n_shuffles = by_hand.shape[1]
    assert contrast.scheme.n_distinct == n_shuffles
    result = run(test, contrast, 0, n_shuffles, data, grey, (2, 1, 1), variances)
    tolerance = 1e-7 if estimator in ROBUST else 1e-9
    np.testing.assert_allclose(result.observed["voxel"], by_hand[:, 0], rtol=tolerance)
    highest = np.sort(result.nulls["voxel_positive"])
    np.testing.assert_allclose(highest, np.sort(by_hand.max(axis=0)), rtol=tolerance, atol=1e-9)
    reached = abs(by_hand) >= abs(by_hand[:, :1]) * (1 - tolerance)
    assert result.counts["voxel"].tolist() == reached.sum(axis=1).tolist()
    assert 1 < max(result.counts["voxel"]) < n_shuffles


@pytest.fixture(scope="module")
def two():
    """Return a shared design, maps and two covariates of 1,100 voxels, and shuffles."""
    rng, n, v = np.random.default_rng(9), 16, 1100
    age = rng.standard_normal(n)
    model = LinearModel(
        np.column_stack([np.ones(n), age, rng.random((2, n)).T]), ("one", "age", "a", "b")
    )
    grey = rng.standard_normal((2, n, v)) + 0.5 * age[:, None] + 3
    grey[1] += 0.8 * grey[0]
    data, variances = with_variances(rng.standard_normal((n, v)) + 0.4 * grey[0])
    grey[0, :, 7], grey[1, :, 8] = 1.0, 2 * age - grey[0, :, 8]
    orders = np.array([np.arange(n), *(rng.permutation(n) for _ in range(5))])
    signs = rng.choice([-1.0, 1.0], orders.shape)
    signs[0] = 1
    return model, data, variances, grey, (orders, signs)


# Contrast rows of the constant, the age and both covariates.
OF_TWO = {
    "one": [[0.0, 0, 1, 0]],
    "mixed": [[0.0, 1, 0.5, -1]],
    "several": [[0.0, 1, 0, 0], [0, 0, 1, 1]],
}
HOWS = [
    ("huber", "again", "none"),
    ("huber", "held", "none"),
    ("bisquare", "again", "none"),
    ("mm", "held", "none"),
    ("mixed-effects", "again", "plain"),
    ("mixed-effects", "held", "adhoc"),
    ("dersimonian-laird", "held", "none"),
]


def of_two(how, model, rows):
    (estimator, hold, factor), kind = how, "t" if len(rows) == 1 else "F"
    own = loaded(ESTIMATORS[estimator].shuffled)
    more = {} if estimator in ROBUST else {"knapp_hartung": factor}
    names = ("grey", "white")
    return own(model, rows, kind, hold == "held", estimator, covariates=names, **more)


@pytest.mark.parametrize("name", OF_TWO)
@pytest.mark.parametrize("how", HOWS)
def test_two_covariates_are_fitted_with_the_maps_of_every_shuffle(two, how, name):
    model, data, variances, grey, shuffles = two
    own = of_two(how, model, np.array(OF_TWO[name]))
    prepared = own.prepare({"effects": data, "variances": variances, "covariates": grey})
    found = own.statistic(prepared, *shuffles)
    assert np.flatnonzero(~found.any(axis=0)).tolist() == [7, 8]
    assert own.dof == (NORMAL_DOF if how[0] == "fixed-effects" else 12)
    assert (own.voxel_dof(prepared) == own.dof).all()
    for v in range(0, 1100, 99):
        matrix = np.column_stack(
            [model.matrix[:, :2], (grey[:, :, v] - grey[:, :, v].mean(1, keepdims=True)).T]
        )
        by_hand = refits_of(
            how, matrix, np.array(OF_TWO[name]), shuffles, data[:, v], variances[:, v]
        )
        np.testing.assert_allclose(found[:, v], by_hand, rtol=1e-7 if how[0] in ROBUST else 1e-8)
    # Bits depend on no other voxel and no other shuffle.
    part = {
        "effects": data[:, 9:50],
        "variances": variances[:, 9:50],
        "covariates": grey[:, :, 9:50],
    }
    of_part = own.statistic(own.prepare(part), *(of[2:4] for of in shuffles))
    assert of_part.tobytes() == found[2:4, 9:50].tobytes()


def test_variances_and_covariates_that_lack_voxels_go_with_flips_alone(two):
    model, data, variances, grey, (orders, signs) = two
    data, variances, grey = (values.copy()[..., :40] for values in (data, variances, grey))
    data[3, 10:20], variances[5, 10:20], grey[1, 6, 15:20] = np.nan, 0, np.nan
    rows, how = np.array(OF_TWO["mixed"]), ("mixed-effects", "again", "plain")
    own = of_two(how, model, rows)
    prepared = own.prepare({"effects": data, "variances": variances, "covariates": grey})
    identity = np.tile(np.arange(16), (len(orders), 1))
    found = own.statistic(prepared, identity, signs)
    there = np.delete(np.arange(16), [3, 5, 6])
    alone = of_two(how, LinearModel(model.matrix[there], model.columns), rows)
    of_rest = {"effects": data[there, 15:20], "variances": variances[there, 15:20]}
    part = alone.prepare(of_rest | {"covariates": grey[:, there, 15:20]})
    expected = alone.statistic(part, identity[:, :13], signs[:, there])
    np.testing.assert_allclose(found[:, 15:20], expected, rtol=1e-10)
    assert own.voxel_dof(prepared)[[0, 10, 15]].tolist() == [12, 10, 9]
    with pytest.raises(ValueError, match="rows without a covariate"):
        own.statistic(prepared, orders, signs)
    # Robust fits say which voxels have fewer maps, which their plans refuse.
    robust = of_two(("huber", "again", "none"), model, rows)
    prepared = robust.prepare({"effects": data, "covariates": grey})
    assert robust.voxel_dof(prepared)[[0, 10, 15]].tolist() == [12, 11, 10]


@pytest.mark.parametrize("estimator", ["OLS", "sandwich"])
def test_no_estimator_takes_what_stands_in_for_a_covariate(estimator):
    design = study(9, 1)[0]
    contrast = Contrast("c", "t", np.array([[0.0, 1, 0]]), "")
    with pytest.raises(ValueError, match=f"{estimator} have no covariates that are maps"):
        make_plan(design, [contrast], 99, 3, ContrastTest(estimator=estimator))
