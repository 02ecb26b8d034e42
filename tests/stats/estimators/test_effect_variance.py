"""Effects with variances: maxima, gaps, groups, and bits, against dense matrices and searches."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize

from nipype_group.stats.estimators import fit_by_contrast
from nipype_group.stats.estimators.effect_variance import (
    METHODS,
    NORMAL_DOF,
    fit_effect_variance,
)
from nipype_group.stats.estimators.shuffled.effect_variance import statistic_of_shuffles
from nipype_group.stats.linear.least_squares import LinearModel

GROUPS = np.repeat([0, 1], [7, 9])
SHARED = np.column_stack([np.ones(16), np.linspace(-1, 1, 16)])


def draw(n_maps, n_voxels, spread=1.0, seed=0):
    """Return effects and variances, whose logarithms differ by `spread`."""
    rng = np.random.default_rng(seed)
    variances = np.exp(spread * rng.standard_normal((n_maps, n_voxels)))
    between = rng.choice([0.0, 0.3, 2.0], n_voxels)
    effects = rng.standard_normal((n_maps, n_voxels)) * np.sqrt(variances + between)
    return effects + 0.5, variances


@pytest.mark.parametrize(("n_maps", "spread"), [(30, 0.5), (12, 3.0), (6, 2.0)])
@pytest.mark.parametrize("n_columns", [1, 2])
def test_no_tau2_is_likelier(n_maps, spread, n_columns, fit_maps, restricted_likelihood):
    effects, variances = draw(n_maps, 150, spread)
    matrix = np.column_stack([np.ones(n_maps), np.arange(n_maps) % 3])[:, :n_columns]
    ours = fit_maps(matrix, effects, variances).between.tau2[0]
    height = restricted_likelihood(ours, effects, variances, matrix)
    smallest = variances.min(axis=0)
    for share in np.concatenate([[0.0], np.geomspace(1e-3, 1e6, 200)]):
        other = restricted_likelihood(share * smallest, effects, variances, matrix)
        assert (height - other).min() > -1e-9
    assert (ours == 0).any()
    assert (ours > 0).any()


def heights_of_means(tau2, effects, variances):
    """Return the restricted log likelihood of a mean, of any number of voxels at once."""
    weight = 1 / (variances + tau2)
    whole = weight.sum(axis=0)
    left = effects - (weight * effects).sum(axis=0) / whole
    return (np.log(weight).sum(axis=0) - np.log(whole) - (weight * left**2).sum(axis=0)) / 2


def test_a_voxel_with_two_maxima_gets_the_higher(fit_maps):
    """Of few exact maps and many vague ones."""
    effects, variances = draw(12, 8000, 3.0, seed=4)
    shares = np.concatenate([[0.0], np.geomspace(1e-3, 1e6, 500)])
    heights = np.array(
        [heights_of_means(s * variances.min(axis=0), effects, variances) for s in shares]
    )
    inner = (heights[1:-1] > heights[:-2]) & (heights[1:-1] > heights[2:])
    several = inner.sum(axis=0) + (heights[0] > heights[1]) > 1
    assert several.sum() > 20
    ours = fit_maps(np.ones((12, 1)), effects, variances).between.tau2[0]
    height = heights_of_means(ours, effects, variances)
    assert (height - heights.max(axis=0)).min() > -1e-9
    # The nearest maximum would not do: the higher one is the first of some, the last of others.
    assert 0 < (ours[several] == 0).sum() < several.sum()


@pytest.mark.parametrize("unit", [1e-6, 1e6])
@pytest.mark.parametrize("method", METHODS)
def test_units_do_not_matter(method, unit, fit_maps):
    effects, variances = draw(20, 60)
    one = fit_maps(np.ones((20, 1)), effects, variances, method, level=0.9).between
    other = fit_maps(
        np.ones((20, 1)), unit * effects, unit**2 * variances, method, level=0.9
    ).between
    np.testing.assert_allclose(other.tau2, unit**2 * one.tau2, rtol=1e-9)
    np.testing.assert_allclose(other.upper, unit**2 * one.upper, rtol=1e-9)
    np.testing.assert_allclose(other.i2, one.i2, rtol=1e-9)
    np.testing.assert_allclose(other.q, one.q, rtol=1e-12)


def test_paule_mandel_makes_q_its_dof_and_the_interval_its_quantiles(fit_maps):
    effects, variances = draw(20, 60)
    fitted = fit_maps(np.ones((20, 1)), effects, variances, "paule-mandel", level=0.95)
    tau2, inside = fitted.between.tau2[0], fitted.between.tau2[0] > 0
    weight = 1 / (variances + tau2)
    left = effects - (weight * effects).sum(axis=0) / weight.sum(axis=0)
    q = (weight * left**2).sum(axis=0)
    np.testing.assert_allclose(q[inside], 19, rtol=1e-10)
    assert (q[~inside] <= 19).all()
    assert inside.any()
    np.testing.assert_allclose(fitted.between.scale, q / 19, rtol=1e-10)


def with_gaps():
    """Return effects and variances that lack values and variances in several ways."""
    effects, variances = draw(16, 40, seed=3)
    effects[2, 5], effects[[0, 4], 6] = np.nan, np.inf
    variances[3, 7], variances[4, 8], variances[5, 9], variances[6, 9] = 0, -1, np.nan, np.inf
    # One group alone is left, then one map, then none.
    effects[7:, 10], effects[1:, 11], effects[:, 12] = np.nan, np.nan, np.nan
    return effects, variances


@pytest.mark.parametrize("method", METHODS)
def test_a_voxel_is_fitted_with_the_maps_that_have_it(method, fit_maps):
    effects, variances = with_gaps()
    matrix = np.column_stack([GROUPS == 0, GROUPS == 1]).astype(float)
    fitted = fit_maps(matrix, effects, variances, method, level=0.95)
    first, difference = fitted.contrast([1.0, 0], "t"), fitted.contrast([1.0, -1], "t")
    has = np.isfinite(effects) & np.isfinite(variances) & (variances > 0)
    for v in range(11):
        rows, columns = np.flatnonzero(has[:, v]), [0] if v == 10 else [0, 1]
        y, s = effects[rows, v : v + 1], variances[rows, v : v + 1]
        alone = fit_maps(matrix[np.ix_(rows, columns)], y, s, method, level=0.95)
        for name in ("tau2", "lower", "upper", "q", "q_p", "i2", "h2", "scale"):
            ours, theirs = (
                getattr(fitted.between, name)[..., v],
                getattr(alone.between, name)[..., 0],
            )
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
        theirs = alone.contrast([1.0, 0][: len(columns)], "t")
        for name in ("effect", "variance", "stat", "dof"):
            np.testing.assert_allclose(
                getattr(first, name)[v], getattr(theirs, name)[0], rtol=1e-9
            )
    normal = method == "fixed-effects"
    assert first.dof[[10, 11, 12]].tolist() == [NORMAL_DOF if normal else 6, 0, 0]
    assert difference.dof[[9, 10, 11, 12]].tolist() == [NORMAL_DOF if normal else 12, 0, 0, 0]
    assert difference.stat[[10, 11, 12]].tolist() == [0, 0, 0]
    assert fitted.between.q_p[11:13].tolist() == [1, 1]


def test_bits_of_a_voxel_depend_on_no_other_nor_on_threads(fit_maps):
    effects, variances = draw(16, 9000, 1.5)
    effects[3, 100:200], variances[5, 150:300] = np.nan, 0

    def everything(voxels):
        y, s = np.ascontiguousarray(effects[:, voxels]), variances[:, voxels]
        fitted = fit_maps(SHARED, y, s, level=0.95)
        between = fitted.between
        f = replace(fitted, knapp_hartung="plain").contrast(np.eye(2), "F")
        t = fitted.contrast([0.0, 1], "t")
        return np.vstack(
            [between.tau2, between.lower, between.upper, between.i2, f.stat, t.effect, t.variance]
        )

    whole = everything(np.arange(9000))
    order = np.random.default_rng(1).permutation(9000)
    shards = np.split(order, [1, 40, 4200, 5000])
    with ThreadPoolExecutor(4) as pool:
        for shard, found in zip(shards, pool.map(everything, shards), strict=True):
            assert found.tobytes() == whole[:, shard].tobytes()


def test_groups_with_columns_of_their_own_are_fitted_apart(fit_maps):
    effects, variances = draw(16, 50)
    matrix = np.column_stack([GROUPS == 0, GROUPS == 1]).astype(float)
    fitted = fit_maps(matrix, effects, variances, groups=GROUPS)
    tau2 = fitted.between.tau2
    assert tau2.shape == (2, 50)
    parts = []
    for g in (0, 1):
        inside = g == GROUPS
        alone = fit_maps(np.ones((inside.sum(), 1)), effects[inside], variances[inside])
        np.testing.assert_allclose(tau2[g], alone.between.tau2[0], rtol=1e-9, atol=1e-13)
        parts.append(alone.contrast([1.0], "t"))
    found = fitted.contrast([1.0, -1], "t")
    np.testing.assert_allclose(found.effect, parts[0].effect - parts[1].effect, rtol=1e-9)
    np.testing.assert_allclose(found.variance, parts[0].variance + parts[1].variance, rtol=1e-9)
    assert set(found.dof) == {14}


def test_groups_that_share_columns_are_as_likely_as_can_be(fit_maps, restricted_likelihood):
    effects, variances = draw(16, 12, 0.5, seed=8)
    effects[GROUPS == 1] *= 3
    ours = fit_maps(SHARED, effects, variances, groups=GROUPS).between.tau2
    height = restricted_likelihood(ours[GROUPS], effects, variances, SHARED)
    for v in range(effects.shape[1]):
        y, s = effects[:, v : v + 1], variances[:, v : v + 1]

        def loss(tau2, y=y, s=s):
            return -restricted_likelihood(tau2[GROUPS][:, None], y, s, SHARED)[0]

        best = min(
            optimize.minimize(loss, start, bounds=[(0, None)] * 2, method="L-BFGS-B").fun
            for start in ([0.0, 0.0], [1.0, 1.0], [0.1, 10.0], [5.0, 0.1])
        )
        assert height[v] >= -best - 1e-7
    assert (ours > 0).all(axis=0).any()


def test_f_of_rows_is_walds_statistic(fit_maps):
    effects, variances = draw(16, 20)
    matrix = np.column_stack([SHARED, np.arange(16) % 3 == 0])
    fitted = fit_maps(matrix, effects, variances)
    rows = np.array([[0.0, 1, 0], [0, 1, -1], [0, 0, 2]])
    found = fitted.contrast(rows, "F")
    assert found.rank == 2
    for v in range(20):
        weight = 1 / (variances[:, v] + fitted.between.tau2[0, v])
        covariance = np.linalg.inv((matrix.T * weight) @ matrix)
        betas = covariance @ matrix.T @ (weight * effects[:, v])
        two = rows[[0, 2]]
        wald = (two @ betas) @ np.linalg.solve(two @ covariance @ two.T, two @ betas)
        np.testing.assert_allclose(found.stat[v], wald / 2, rtol=1e-10)
        np.testing.assert_allclose(found.effect[v] ** 2, wald / 2, rtol=1e-10)


def test_a_redundant_column_changes_no_contrast(fit_maps):
    effects, variances = draw(16, 20)
    two = np.column_stack([GROUPS == 0, GROUPS == 1]).astype(float)
    one = fit_maps(two, effects, variances).contrast([1.0, -1], "t")
    more = np.column_stack([two, np.ones(16)])
    other = fit_maps(more, effects, variances).contrast([1.0, -1, 0], "t")
    np.testing.assert_allclose(other.stat, one.stat, rtol=1e-9)
    assert other.dof.tolist() == one.dof.tolist()


def test_what_is_wrong_is_named(fit_maps):
    effects, variances = draw(16, 3)
    with pytest.raises(ValueError, match="method is one of fixed-effects.*got 'flame'"):
        fit_maps(SHARED, effects, variances, "flame")
    with pytest.raises(ValueError, match="variance groups go with mixed-effects.*paule-mandel"):
        fit_maps(SHARED, effects, variances, "paule-mandel", groups=GROUPS)
    with pytest.raises(ValueError, match="3 variance groups for 16 maps"):
        fit_maps(SHARED, effects, variances, groups=[0, 1, 2])
    single = np.column_stack([np.ones(16), np.arange(16) == 15])
    with pytest.raises(ValueError, match="variance group patients has no more maps"):
        fit_maps(single, effects, variances, groups=["controls"] * 15 + ["patients"])
    with pytest.raises(ValueError, match="knapp_hartung is one of none, plain, adhoc"):
        fit_maps(SHARED, effects, variances, knapp_hartung="yes")


class Rows:
    """Variances in memory, as a stack of maps gives them."""

    def __init__(self, values):
        self.values = values

    def read(self, start, stop):
        return self.values[:, start:stop]

    def maps(self, rows):
        yield from self.values[list(rows)]


def fit_known(matrix, effects, variances, method="mixed-effects"):
    """Fit as `FitContrasts` does, from stacks."""
    model = LinearModel(matrix, tuple(f"x{i}" for i in range(matrix.shape[1])))
    given = {"variances": Rows(variances), "knapp_hartung": "none"}
    return fit_by_contrast(method, model, Rows(effects).read, effects.shape[1], given)


@pytest.mark.parametrize("method", METHODS)
def test_residuals_are_those_of_dense_weighted_least_squares(method):
    effects, variances = draw(16, 40)
    effects[3, 5], variances[4, 6], variances[4, 7], effects[:15, 8] = np.nan, 0.0, -1.0, np.nan
    # A column twice, and one that voxel 9 lacks.
    matrix = np.column_stack([SHARED, SHARED[:, 1], np.eye(16)[:, 2]])
    effects[2, 9] = np.nan
    fit = fit_known(matrix, effects, variances, method)
    found = np.array(list(fit.residuals(Rows(effects).maps)))
    for v in range(40):
        total = variances[:, v] + fit.between.tau2[0, v]
        here = np.isfinite(effects[:, v]) & (variances[:, v] > 0)
        if v in (8, 9):
            assert np.isnan(found[:, v]).all()
            continue
        root = np.sqrt(total[here])
        x, y = matrix[here] / root[:, None], effects[here, v] / root
        expected = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        np.testing.assert_allclose(found[here, v], expected, atol=1e-10)
        assert np.isnan(found[~here, v]).all()
        if method == "fixed-effects":
            np.testing.assert_allclose(fit.between.q[v], (expected**2).sum(), rtol=1e-10)


def test_variances_that_are_too_large_are_told_and_right_ones_are_not():
    told = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        variances = rng.uniform(0.5, 2.0, (8, 5))
        effects = rng.standard_normal((8, 5)) * np.sqrt(variances)
        fit = fit_known(np.ones((8, 1)), effects, variances, "fixed-effects")
        told += "standard errors" in " ".join(fit.notes)
    # By Markov's inequality at most .002 of them.
    assert told <= 3
    fit = fit_known(np.ones((8, 1)), effects * 0.01, variances, "mixed-effects")
    assert "standard errors" in " ".join(fit.notes)


def test_what_an_estimator_needs_is_named():
    model = LinearModel(np.ones((4, 1)), ("mean",))
    with pytest.raises(ValueError, match="mixed-effects needs variances"):
        fit_by_contrast("mixed-effects", model, Rows(np.ones((4, 2))).read, 2, {})


@pytest.mark.parametrize("method", ["mixed-effects", "fixed-effects"])
def test_maps_that_are_all_alike_have_no_factor_of_knapp_and_hartung(method):
    """Of shuffles neither; without the factor the variances of the maps tell what t is."""
    data, variances = np.full((8, 2), np.float32(1.1), dtype=float), np.full((8, 2), 0.5)
    data[:4, 1] = [0, 1, 4, 2]
    model, weights = LinearModel(np.ones((8, 1)), ("mean",)), np.ones((1, 1))
    fit = fit_effect_variance(
        model, lambda a, b: data[:, a:b], lambda a, b: variances[:, a:b], 2, method
    )
    found = replace(fit, knapp_hartung="plain").contrast(weights, "t")
    assert found.stat[0] == found.dof[0] == 0 and found.dof[1] == 7
    same, signs = np.tile(np.arange(8), (2, 1)), np.ones((2, 8))
    signs[1, 0] = -1
    shuffled = statistic_of_shuffles(
        model, weights, "t", data, variances, same, signs, method=method, knapp_hartung="plain"
    )
    assert shuffled[0, 0] == 0 and shuffled[1, 0] > 0
    np.testing.assert_allclose(shuffled[0, 1], found.stat[1], rtol=1e-10)
    np.testing.assert_allclose(fit.contrast(weights, "t").stat[0], data[0, 0] * 4, rtol=1e-12)
