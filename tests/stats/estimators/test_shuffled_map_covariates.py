"""Shuffles of designs with covariates that are maps against fitting every shuffle again."""

import numpy as np
import pytest

from nipype_group.stats.estimators.map_covariates import MapCovariates, fit_map_covariates
from nipype_group.stats.estimators.shuffled.map_covariates import ShuffledCovariates
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.permutation.scheme import ShufflingScheme

N, V = 16, 150
# The covariate, a shared column beside it, both, and one of them with half of the other.
CONTRASTS = {
    "covariate": [[0.0, 0, 1]],
    "shared": [[0.0, 1, 0]],
    "both": [[0.0, 1, 0], [0, 0, 1]],
    "mixed": [[0.0, 1, 0.5]],
    "mean": [[1.0, 0.5, 0.2]],
}


@pytest.fixture(scope="module")
def made():
    """Return a shared design, data, a covariate of each voxel and shuffles."""
    rng = np.random.default_rng(9)
    age = rng.standard_normal(N)
    model = LinearModel(np.column_stack([np.ones(N), age]), ("one", "age"))
    grey = rng.standard_normal((1, N, V)) + 0.5 * age[:, None] + 3
    data = rng.standard_normal((N, V)) + 0.4 * grey[0]
    orders = np.array([np.arange(N), *(rng.permutation(N) for _ in range(5))])
    signs = rng.choice([-1.0, 1.0], orders.shape)
    signs[0] = 1
    return model, data, grey, orders, signs


def split_by_hand(design, rows):
    """Return the regressors that a contrast tests, and the rest (Winkler 2014, appendix A)."""
    inverse = np.linalg.inv(design.T @ design)
    tested = design @ inverse @ rows.T @ np.linalg.inv(rows @ inverse @ rows.T)
    null = np.linalg.svd(rows)[2][len(rows) :].T
    return tested, design @ null


@pytest.mark.parametrize("kind", ["permute", "flip", "both"])
@pytest.mark.parametrize("name", CONTRASTS)
def test_statistics_are_those_of_fits_of_every_shuffle(made, refit, name, kind):
    model, data, grey, orders, signs = made
    rows = np.array(CONTRASTS[name])
    test = "F" if len(rows) > 1 else "t"
    if kind == "flip":
        orders = np.tile(np.arange(N), (len(orders), 1))
    if kind == "permute":
        signs = np.ones_like(signs)
    own = ShuffledCovariates.of(model, rows, test, data, grey)
    found = own.statistic(orders, signs)
    for v in range(0, V, 15):
        x, z = split_by_hand(np.column_stack([model.matrix, grey[0, :, v]]), rows)
        for m in range(len(orders)):
            expected = refit("freedman-lane", x, z, data[:, [v]], orders[m], signs[m])
            np.testing.assert_allclose(found[m, v], expected[0], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", CONTRASTS)
def test_the_first_shuffle_is_the_fit(made, name):
    model, data, grey, orders, signs = made
    rows = np.array(CONTRASTS[name])
    test = "F" if len(rows) > 1 else "t"
    covariates = MapCovariates(("grey",), lambda a, b: grey[:, :, a:b], lambda rows: iter(()))
    fit = fit_map_covariates(model, covariates, lambda a, b: data[:, a:b], V)
    found = ShuffledCovariates.of(model, rows, test, data, grey).statistic(orders[:1], signs[:1])
    np.testing.assert_allclose(found[0], fit.contrast(rows, test).stat, rtol=1e-10)


def test_bits_depend_on_no_other_voxel_shuffle_or_thread(made):
    model, data, grey, orders, signs = made
    rows = np.array(CONTRASTS["both"])
    whole = ShuffledCovariates.of(model, rows, "F", data, grey).statistic(orders, signs)
    for start, stop in ((0, 1), (1, 70), (70, 150)):
        part = ShuffledCovariates.of(
            model, rows, "F", data[:, start:stop], grey[:, :, start:stop]
        ).statistic(orders[2:4], signs[2:4], 2)
        assert part.tobytes() == whole[2:4, start:stop].tobytes()


def test_two_covariates_are_those_of_a_fit_with_both(made, refit):
    model, data, grey, orders, signs = made
    other = np.random.default_rng(1).standard_normal((1, N, V)) + 0.8 * grey
    both = np.concatenate([grey, other])
    rows = np.array([[0.0, 0, 1, -1]])
    found = ShuffledCovariates.of(model, rows, "t", data, both).statistic(orders, signs)
    joint = np.array([[0.0, 0, 1, 0], [0, 0, 0, 1]])
    f = ShuffledCovariates.of(model, joint, "F", data, both).statistic(orders, signs)
    for v in (0, 77, 149):
        design = np.column_stack([model.matrix, both[:, :, v].T])
        for m in range(len(orders)):
            for own, stat in ((rows, found), (joint, f)):
                x, z = split_by_hand(design, own)
                expected = refit("freedman-lane", x, z, data[:, [v]], orders[m], signs[m])
                np.testing.assert_allclose(stat[m, v], expected[0], rtol=1e-9, atol=1e-11)


def test_voxels_that_maps_lack_have_their_own_under_signs_and_refuse_orders(made):
    model, data, grey, orders, signs = made
    data, grey = data.copy(), grey.copy()
    data[3, 10:20] = np.nan
    grey[0, 5, 10:20] = np.nan
    rows = np.array(CONTRASTS["covariate"])
    own = ShuffledCovariates.of(model, rows, "t", data, grey)
    identity = np.tile(np.arange(N), (len(orders), 1))
    there = np.delete(np.arange(N), [3, 5])
    alone = ShuffledCovariates.of(
        LinearModel(model.matrix[there], model.columns),
        rows,
        "t",
        data[there, 10:20],
        grey[:, there, 10:20],
    )
    expected = alone.statistic(identity[:, : len(there)], signs[:, there])
    np.testing.assert_allclose(own.statistic(identity, signs)[:, 10:20], expected, rtol=1e-10)
    assert own.dof.tolist() == [N - 3.0 - 2 * (10 <= v < 20) for v in range(V)]
    with pytest.raises(ValueError, match="rows without a covariate"):
        own.statistic(orders, signs)


def test_constant_and_collinear_voxels_have_no_statistic(made):
    model, data, grey, orders, signs = made
    grey, data = grey.copy(), data.copy()
    grey[0, :, 2], grey[0, :, 5], data[:, 8] = 1.0, 2 * model.matrix[:, 1] - 1, 4.0
    own = ShuffledCovariates.of(model, np.array(CONTRASTS["shared"]), "t", data, grey)
    found = own.statistic(orders, signs)
    assert np.flatnonzero(~found.any(axis=0)).tolist() == [2, 5, 8]


def test_all_sign_flips_give_the_exact_p_of_symmetric_errors():
    """Without nuisance beside it, the rank of a null statistic among all flips is uniform."""
    rng, n, v = np.random.default_rng(4), 8, 4000
    empty = LinearModel(np.zeros((n, 1)), ("nothing",))
    grey = rng.standard_normal((1, n, v))
    data = rng.standard_t(2, (n, v)) * rng.uniform(0.2, 5, (n, 1))
    scheme = ShufflingScheme("flip", (0,) * n, exhaustive=True)
    orders, signs = scheme.draw(0, scheme.n_distinct)
    own = ShuffledCovariates.of(empty, np.array([[0.0, 1]]), "t", data, grey)
    found = own.statistic(orders, signs)
    assert found.shape == (256, v)
    p = (found >= found[0] - 1e-9).mean(axis=0)
    counts = np.bincount(np.rint(p * 256).astype(int) - 1, minlength=256)
    expected = v / 256
    chi2 = np.square(counts - expected).sum() / expected
    # 255 degrees of freedom: beyond this once in a thousand.
    assert chi2 < 330.5
