"""Values of one voxel as a contrast looks at them, against fits of numpy."""

import numpy as np
import pytest

from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.partial_residuals import (
    added_variable,
    fitted_by,
    studentised_residuals,
    without_columns,
)

N = 15


@pytest.fixture
def matrix():
    rng = np.random.default_rng(3)
    return np.column_stack([np.ones(N), rng.standard_normal(N), np.arange(N) % 2, rng.random(N)])


@pytest.fixture
def model(matrix):
    return LinearModel(matrix, ("one", "age", "group", "iq"))


@pytest.fixture
def values(matrix):
    return matrix @ [3.0, 1.0, -2.0, 0.5] + np.random.default_rng(4).standard_normal(N)


def fit(matrix, values):
    return np.linalg.lstsq(matrix, values, rcond=None)[0]


def test_studentised_residuals_are_those_of_refits(model, matrix, values):
    found = studentised_residuals(model, values)
    for i in range(N):
        # t of a column that is 1 for this map alone.
        more = np.column_stack([matrix, np.arange(N) == i])
        betas, rest = np.linalg.lstsq(more, values, rcond=None)[:2]
        variance = rest[0] / (N - more.shape[1]) * np.linalg.inv(more.T @ more)[-1, -1]
        assert found[i] == pytest.approx(betas[-1] / np.sqrt(variance), rel=1e-7)


def test_a_map_that_is_fitted_exactly_is_no_outlier():
    matrix = np.column_stack([np.ones(8), np.arange(8) == 0])
    found = studentised_residuals(LinearModel(matrix, ("one", "first")), np.arange(8.0))
    assert found[0] == 0
    assert np.isfinite(found).all()
    assert (studentised_residuals(LinearModel(np.ones((2, 1)), ("one",)), np.ones(2)) == 0).all()


@pytest.mark.parametrize("weights", [[0, 1, 0, 0], [0, 1, -2, 0], [1, 0, 0, 0.5]])
def test_the_slope_of_an_added_variable_is_the_estimate(model, matrix, values, weights):
    weights = np.array([weights], dtype=float)
    found = added_variable(model, weights, values)
    slope = found.x @ found.y / (found.x @ found.x)
    assert slope == pytest.approx((weights @ fit(matrix, values)).item(), rel=1e-9)
    assert found.has_mean == (weights[0, 0] == 0) and found.has_more


@pytest.mark.parametrize("centred", [True, False])
def test_columns_that_are_taken_out_leave_the_others(model, matrix, values, centred):
    betas = fit(matrix, values)
    left = without_columns(model, values, [1, 3], centred)
    expected = values - matrix[:, [1, 3]] @ betas[[1, 3]]
    if centred:
        expected += (matrix[:, [1, 3]] @ betas[[1, 3]]).mean()
        assert left.mean() == pytest.approx(values.mean())
    np.testing.assert_allclose(left, expected, atol=1e-9)
    np.testing.assert_allclose(fit(matrix, left)[2], betas[2])


def test_what_several_rows_fit_is_the_loss_without_them(model, matrix, values):
    weights = np.array([[0, 1, 0, 0], [0, 0, 1, 0.0]])
    fitted, observed = fitted_by(model, weights, values)
    rest = matrix[:, [0, 3]]
    loss = matrix @ fit(matrix, values) - rest @ fit(rest, values)
    np.testing.assert_allclose(fitted - values.mean(), loss, atol=1e-9)
    residual = values - matrix @ fit(matrix, values)
    np.testing.assert_allclose(observed - fitted, residual, atol=1e-9)
