"""Covariates that are maps against fits of each voxel with all its columns."""

import numpy as np
import pytest
from scipy import stats

from nipype_group.stats.estimators.map_covariates import (
    COLLINEAR,
    CONSTANT,
    MapCovariates,
    fit_map_covariates,
)
from nipype_group.stats.estimators.robust import METHODS, fit_robust
from nipype_group.stats.linear.least_squares import LinearModel

N, V = 24, 40
ROWS = np.array([[0.0, 0, 0, 1, 0], [0, 1, -1, 0, 0.5]])


def reading(data):
    return lambda start, stop: data[:, start:stop]


def covariates_of(values):
    names = tuple(f"map {i}" for i in range(len(values)))
    return MapCovariates(
        names,
        lambda start, stop: values[:, :, start:stop],
        lambda rows: (values[:, i] for i in rows),
    )


@pytest.fixture(scope="module")
def made():
    """Return a design with redundant columns, maps, and two covariates that go with the design."""
    rng = np.random.default_rng(6)
    group = np.arange(N) % 2
    matrix = np.column_stack([np.ones(N), group, 1 - group])
    age = rng.standard_normal(N)
    first = np.float32(0.6 + 0.1 * rng.standard_normal((N, V)) + 0.05 * group[:, None])
    second = np.float32(0.4 * first + 0.05 * rng.standard_normal((N, V)) + 0.01 * age[:, None])
    data = np.float32(3 * first - second + rng.standard_t(4, (N, V)))
    model = LinearModel(matrix, ("one", "b", "a"))
    return model, data.astype(float), np.array([first, second], dtype=float)


def refitted(matrix, y, rows):
    """Return effects, their covariance and dof of least squares of one voxel."""
    b = np.linalg.pinv(matrix) @ y
    dof = len(y) - np.linalg.matrix_rank(matrix)
    variance = np.square(y - matrix @ b).sum() / dof
    return rows @ b, rows @ np.linalg.pinv(matrix.T @ matrix) @ rows.T * variance, dof


def test_contrasts_are_those_of_a_refit_by_voxel(made):
    model, data, values = made
    fit = fit_map_covariates(model, covariates_of(values), reading(data), V)
    for i, row in enumerate(ROWS):
        found = fit.contrast(row, "t")
        for v in range(V):
            whole = np.column_stack([model.matrix, values[0, :, v], values[1, :, v]])
            effect, covariance, dof = refitted(whole, data[:, v], ROWS)
            np.testing.assert_allclose(found.effect[v], effect[i], rtol=1e-9, atol=1e-10)
            np.testing.assert_allclose(found.variance[v], covariance[i, i], rtol=1e-9)
            assert found.dof[v] == dof == N - 4
    joint = fit.contrast(np.vstack([ROWS, ROWS.sum(axis=0)]), "F")
    for v in range(V):
        whole = np.column_stack([model.matrix, values[0, :, v], values[1, :, v]])
        effect, covariance, _ = refitted(whole, data[:, v], ROWS)
        expected = effect @ np.linalg.solve(covariance, effect) / 2
        np.testing.assert_allclose(joint.stat[v], expected, rtol=1e-9)
    assert fit.notes == () and set(fit.components) >= {"varResidual"}


def test_betas_and_residuals_are_those_of_a_refit_on_real_maps(wager, success):
    data = wager[:, ::400]
    grey = wager[::-1, 1::400][:, : data.shape[1]] / 10 + 0.5
    model = LinearModel(np.column_stack([np.ones(30), success]), ("one", "success"))
    fit = fit_map_covariates(model, covariates_of(grey[None]), reading(data), data.shape[1])
    left = np.array(list(fit.residuals(lambda rows: (data[i] for i in rows))))
    for v in range(data.shape[1]):
        whole = np.column_stack([model.matrix, grey[:, v]])
        b = np.linalg.lstsq(whole, data[:, v], rcond=None)[0]
        np.testing.assert_allclose(fit.betas[:, v], b, rtol=1e-8, atol=1e-10 * np.abs(b).max())
        expected = data[:, v] - whole @ b
        np.testing.assert_allclose(left[:, v], expected, atol=1e-9 * np.abs(expected).max())


def test_nearly_collinear_columns_keep_their_digits():
    rng = np.random.default_rng(2)
    one = rng.standard_normal((N, 1))
    two = one + 1e-4 * rng.standard_normal((N, 1))
    data = rng.standard_normal((N, 1))
    model = LinearModel(np.ones((N, 1)), ("one",))
    fit = fit_map_covariates(model, covariates_of(np.array([one, two])), reading(data), 1)
    # Of the difference, whose scale is its own, least squares is exact.
    exact = np.column_stack([np.ones(N), one, (two - one) / 1e-4])
    effect, covariance, _ = refitted(exact, data[:, 0], np.array([[0.0, 0, 1]]))
    found = fit.contrast(np.array([[0.0, 0, 1]]), "t")
    np.testing.assert_allclose(found.stat[0], effect[0] / np.sqrt(covariance[0, 0]), rtol=1e-6)


@pytest.mark.parametrize("method", ["ols", *METHODS])
def test_constant_and_collinear_voxels_are_found_counted_and_mapped(made, method):
    model, data, values = made
    values = values.copy()
    values[0, :, 3] = 0.25
    values[1, :, 4] = 0.0
    values[1, :, 7] = np.float32(1.7) * model.matrix[:, 1] + 2
    values[1, :, 9] = np.float32(0.3 * values[0, :, 9] - 0.1)
    covariates = covariates_of(values)
    if method == "ols":
        fit = fit_map_covariates(model, covariates, reading(data), V)
    else:
        fit = fit_robust(model, reading(data), V, method, covariates)
    dead = np.flatnonzero(fit.parts.status)
    assert dead.tolist() == [3, 4, 7, 9]
    assert fit.parts.status[dead].tolist() == [CONSTANT, CONSTANT, COLLINEAR, COLLINEAR]
    assert "At 2 of 40 voxels map 0 and map 1 has one value in all maps" in " ".join(fit.notes)
    assert "At 2 of 40 voxels map 0 and map 1 is a combination" in " ".join(fit.notes)
    assert np.flatnonzero(fit.components["constantCovariate"]).tolist() == [3, 4]
    assert np.flatnonzero(fit.components["collinearCovariate"]).tolist() == [7, 9]
    assert not any("no scale" in note for note in fit.notes)
    for test in ("t", "F"):
        found = fit.contrast(ROWS if test == "F" else ROWS[:1], test)
        assert (found.dof[dead] == 0).all() and (found.stat[dead] == 0).all()
        assert (np.delete(found.dof, dead) == N - 4).all()
    assert (fit.betas[:, dead] == 0).all() and np.delete(fit.betas, dead, axis=1).all()


@pytest.mark.parametrize("method", ["ols", *METHODS])
def test_a_voxel_that_maps_or_covariates_lack_is_fitted_to_the_others(made, method):
    model, data, values = made
    data, values = data.copy(), values.copy()
    data[[2, 7], 5:9] = np.nan
    values[0, 11, 5:9] = np.nan
    data[4:, 20] = np.nan
    lacks = [2, 7, 11]
    others = np.delete(np.arange(N), lacks)
    alone = LinearModel(model.matrix[others], model.columns)

    def fit(own_model, own_data, own_values):
        covariates, n = covariates_of(own_values), own_data.shape[1]
        if method == "ols":
            return fit_map_covariates(own_model, covariates, reading(own_data), n)
        return fit_robust(own_model, reading(own_data), n, method, covariates)

    whole, part = fit(model, data, values), fit(alone, data[others, 5:9], values[:, others, 5:9])
    found, own = whole.contrast(ROWS, "F"), part.contrast(ROWS, "F")
    np.testing.assert_allclose(found.stat[5:9], own.stat, rtol=1e-7)
    assert (found.dof[5:9] == N - 3 - 4).all() and not found.complete[5:9].any()
    assert found.dof[20] == 0 and found.stat[20] == 0


@pytest.mark.parametrize("method", ["ols", *METHODS])
def test_bits_of_a_voxel_depend_on_no_other(made, method):
    model, data, values = made
    data = data.copy()
    data[3, ::7] = np.nan

    def contrast(span):
        own, covariates = data[:, span], covariates_of(values[:, :, span])
        if method == "ols":
            fit = fit_map_covariates(model, covariates, reading(own), own.shape[1])
        else:
            fit = fit_robust(model, reading(own), own.shape[1], method, covariates)
        return fit.contrast(ROWS, "F")

    whole = contrast(slice(None))
    for span in (slice(0, 1), slice(1, 14), slice(14, 40)):
        part = contrast(span)
        assert part.stat.tobytes() == whole.stat[span].tobytes()
        assert part.variance.tobytes() == whole.variance[span].tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_robust_fits_are_those_with_the_covariate_in_the_design(made, method):
    model, data, values = made
    fit = fit_robust(model, reading(data), V, method, covariates_of(values))
    found, joint = fit.contrast(ROWS[:1], "t"), fit.contrast(ROWS, "F")
    weights = np.array(list(fit.weights(lambda rows: (data[i] for i in rows))))
    for v in range(0, V, 5):
        matrix = np.column_stack([model.matrix, values[0, :, v], values[1, :, v]])
        alone = LinearModel(matrix, tuple("abcde"))
        own = fit_robust(alone, reading(data[:, v : v + 1]), 1, method)
        near = 1e-6
        np.testing.assert_allclose(fit.scale[v], own.scale[0], rtol=near)
        expected = own.contrast(ROWS[:1], "t")
        np.testing.assert_allclose(found.stat[v], expected.stat[0], rtol=near)
        np.testing.assert_allclose(found.variance[v], expected.variance[0], rtol=near)
        np.testing.assert_allclose(joint.stat[v], own.contrast(ROWS, "F").stat[0], rtol=near)
        one = np.array(list(own.weights(lambda rows, v=v: (data[i, v : v + 1] for i in rows))))
        np.testing.assert_allclose(weights[:, v], one[:, 0], atol=1e-7)


def test_error_rates_hold_and_the_effect_is_unbiased():
    rng = np.random.default_rng(12)
    n = 20000
    grey = rng.standard_normal((1, N, n))
    data = 2 * grey[0] + rng.standard_normal((N, n))
    group = np.column_stack([np.ones(N), np.arange(N) % 2])
    model = LinearModel(group, ("one", "b"))
    fit = fit_map_covariates(model, covariates_of(grey), reading(data), n)
    p = fit.contrast(np.array([[0.0, 1, 0]]), "t").maps("t", "two-sided")["p"]
    low, high = stats.binom.ppf([0.0001, 0.9999], n, 0.05) / n
    assert low <= (p <= 0.05).mean() <= high
    assert abs(fit.betas[2].mean() - 2) < 5 * fit.betas[2].std() / np.sqrt(n)


def test_covariates_that_leave_no_residual_are_refused(made):
    model, data, values = made
    few = LinearModel(model.matrix[:4], model.columns)
    with pytest.raises(ValueError, match="4 maps, 2 independent columns and the covariates map 0"):
        fit_map_covariates(few, covariates_of(values[:, :4]), reading(data[:4]), V)
