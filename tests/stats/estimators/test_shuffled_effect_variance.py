"""Effects with variances under shuffles, against fits of maps moved with their variances."""

import numpy as np
import pytest

from nipype_group.stats.estimators.effect_variance import METHODS
from nipype_group.stats.estimators.shuffled.effect_variance import (
    null_fitted,
    statistic_of_shuffles,
)
from nipype_group.stats.linear.least_squares import LinearModel

N, V, M = 12, 70, 5
MEAN = np.ones((N, 1))
GROUPS = np.column_stack([np.arange(N) < 5, np.arange(N) >= 5]).astype(float)
COVARIATES = np.column_stack([MEAN, np.linspace(-1, 1, N), np.arange(N) % 3])


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    variances = np.exp(rng.standard_normal((N, V)))
    effects = 0.4 + np.sqrt(variances + rng.choice([0, 1.0], V)) * rng.standard_normal((N, V))
    effects[2, 3], variances[4, 6] = np.nan, 0
    return effects, variances


@pytest.fixture(scope="module")
def shuffles():
    """Return orders and signs of the data as they are and of shuffles of both kinds."""
    rng = np.random.default_rng(6)
    orders = np.array([np.arange(N), *(rng.permutation(N) for _ in range(M - 1))])
    signs = np.array([np.ones(N), *rng.choice([-1.0, 1], (M - 1, N))])
    return orders, signs


def model_of(matrix):
    return LinearModel(matrix, tuple(f"x{i}" for i in range(matrix.shape[1])))


def moved(values, order, sign=None):
    """Return maps moved as a shuffle does: that of row r goes where row order[r] was."""
    found = np.empty_like(values)
    found[order] = values if sign is None else sign[:, None] * values
    return found


@pytest.mark.parametrize("factor", ["none", "plain", "adhoc"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("matrix", "weights", "test"),
    [(MEAN, [1.0], "t"), (GROUPS, [1.0, -1], "t"), (COVARIATES, np.eye(3)[1:], "F")],
)
def test_effect_and_variance_travel_together(
    matrix, weights, test, method, factor, data, shuffles, fit_maps
):
    effects, variances = data
    found = statistic_of_shuffles(
        model_of(matrix),
        weights,
        test,
        effects,
        variances,
        *shuffles,
        method=method,
        knapp_hartung=factor,
    )
    for m, (order, sign) in enumerate(zip(*shuffles, strict=True)):
        y, s = moved(effects, order, sign), moved(variances, order)
        naive = fit_maps(matrix, y, s, method, knapp_hartung=factor).contrast(weights, test)
        np.testing.assert_allclose(found[m], naive.stat, rtol=1e-8, atol=1e-10)
    assert np.abs(found[1:] - found[0]).min() > 0


@pytest.mark.parametrize("hold", [False, True])
def test_residuals_travel_where_there_is_nuisance(hold, data, shuffles, fit_maps):
    effects, variances = data
    whole, weights = model_of(COVARIATES), np.array([0.0, 1, 0])
    fitted = null_fitted(whole, weights, effects, variances)
    null = fit_maps(COVARIATES[:, [0, 2]], effects, variances)
    betas = np.array([null.contrast(row, "t").effect for row in np.eye(2)])
    np.testing.assert_allclose(fitted, COVARIATES[:, [0, 2]] @ betas, rtol=1e-9, atol=1e-12)
    tau2 = fit_maps(COVARIATES, effects, variances).between.tau2[0] if hold else None
    found = statistic_of_shuffles(
        whole, weights, "t", effects, variances, *shuffles, tau2=tau2, fitted=fitted
    )
    for m, (order, sign) in enumerate(zip(*shuffles, strict=True)):
        y, s = fitted + moved(effects - fitted, order, sign), moved(variances, order)
        # With tau2 held, fixed effects of maps that have all of their variance.
        own, method = (s, "mixed-effects") if tau2 is None else (s + tau2, "fixed-effects")
        naive = fit_maps(COVARIATES, y, np.where(s > 0, own, np.nan), method)
        np.testing.assert_allclose(found[m], naive.contrast(weights, "t").stat, rtol=1e-7)


def test_null_of_a_mean_has_nothing(data):
    assert null_fitted(model_of(MEAN), np.ones(1), *data) is None


def test_bits_depend_on_neither_threads_nor_tiles_nor_batches(data, shuffles):
    effects, variances = (np.tile(d, (1, 15)) for d in data)
    orders, signs = shuffles
    model, weights = model_of(GROUPS), np.array([1.0, -1])
    whole = statistic_of_shuffles(model, weights, "t", effects, variances, orders, signs)
    threads = statistic_of_shuffles(
        model, weights, "t", effects, variances, orders, signs, n_threads=3
    )
    assert threads.tobytes() == whole.tobytes()
    part = statistic_of_shuffles(
        model, weights, "t", effects[:, 37:], variances[:, 37:], orders[2:], signs[2:]
    )
    assert part.tobytes() == whole[2:, 37:].tobytes()


def test_a_shuffle_that_leaves_a_column_without_maps_has_no_statistic(data, shuffles):
    effects = np.array(data[0])
    effects[:4, 0] = np.nan
    single = np.column_stack([np.ones(N), np.arange(N) == N - 1]).astype(float)
    order = np.array([[*range(N)], [N - 1, *range(N - 1)]])
    found = statistic_of_shuffles(
        model_of(single), [0.0, 1], "t", effects, data[1], order, np.ones((2, N))
    )
    assert found[0, 0] != 0
    assert found[1, 0] == 0
    assert (found[:, 10:] != 0).all()


def test_a_method_that_there_is_not_is_named(data, shuffles):
    with pytest.raises(ValueError, match="'flame' and 'none' are no method and factor"):
        statistic_of_shuffles(model_of(MEAN), [1.0], "t", *data, *shuffles, method="flame")
