"""What participants do to contrasts, against fits without each of them, and statsmodels."""

import numpy as np
import pytest
import statsmodels.api as sm

from nipype_group.stats.linear.error_terms import ErrorTerm, estimate
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.participant_influence import (
    distances_without,
    influence_of_participants,
)

N, V = 9, 7
HELMERT = np.array([[-1.0, 1, 0], [-1, -1, 2]]) / np.sqrt([[2], [6]])


@pytest.fixture
def study():
    """Three maps of each of nine participants in two groups: data, design and its error of levels.

    The design is of means, levels, groups and levels by groups.
    """
    rng = np.random.default_rng(5)
    data = rng.standard_normal((N * 3, V)) + np.repeat(rng.standard_normal((N, V)), 3, axis=0)
    group = np.repeat([1.0, 1, 1, 1, -1, -1, -1, -1, -1], 3)[:, None]
    levels = np.tile([[1.0, 0], [0, 1], [-1, -1]], (N, 1))
    matrix = np.hstack([np.ones((N * 3, 1)), levels, group, group * levels])
    maps = np.arange(N * 3).reshape(N, 3)
    columns = tuple("mxyguv")
    return data, ErrorTerm(matrix, columns, maps, HELMERT)


def test_a_participant_alone_is_a_row_of_statsmodels():
    rng = np.random.default_rng(2)
    matrix = np.column_stack([np.ones(N), rng.standard_normal(N)])
    y = rng.standard_normal((N, V))
    cook, squares = distances_without(
        LinearModel(matrix, ("mean", "age")), np.array([[0, 1.0]]), y, 1
    )
    for v in range(V):
        found = sm.OLS(y[:, v], matrix).fit().get_influence()
        np.testing.assert_allclose(np.sqrt(squares[:, v]), np.abs(found.dfbetas[:, 1]), rtol=1e-10)
        fit = found.results
        change = np.square(found.dfbeta[:, 1]) / np.square(fit.bse[1])
        np.testing.assert_allclose(cook[:, v], change, rtol=1e-10)


def without(data, term, weights, i):
    """Return the estimates, covariance and error variance without a participant."""
    k = term.n_directions
    rows = np.delete(np.arange(len(data)), np.s_[i * k : (i + 1) * k]) if i >= 0 else slice(None)
    matrix, y = term.model.matrix[rows], data[rows]
    betas = np.linalg.pinv(matrix) @ y
    dof = len(y) - np.linalg.matrix_rank(matrix)
    variance = np.square(y - matrix @ betas).sum(axis=0) / dof
    own = term.weights(weights)
    return own @ betas, own @ np.linalg.pinv(matrix.T @ matrix) @ own.T, variance


@pytest.mark.parametrize("rows", [[1, 2], [4, 5], [1], [1, 2, 4, 5]])
def test_distances_are_those_of_fits_without_each_participant(study, rows):
    data, term = study
    weights = np.eye(6)[rows]
    maps = term.combine(data)
    cook, squares = distances_without(term.model, term.weights(weights), maps, 2)
    effect, covariance, variance = without(maps, term, weights, -1)
    for i in range(N):
        fewer, _, its = without(maps, term, weights, i)
        moved = effect - fewer
        quadratic = np.einsum("rv,rs,sv->v", moved, np.linalg.inv(covariance), moved) / len(rows)
        np.testing.assert_allclose(cook[i], quadratic / variance, rtol=1e-9)
        np.testing.assert_allclose(squares[i], quadratic / its, rtol=1e-9)


def test_sums_go_over_the_voxels_that_a_participant_has(study):
    data, term = study
    data = np.tile(data, 40) + np.random.default_rng(0).standard_normal((N * 3, 40 * V))
    data[1, :50] = np.nan
    # Voxels that all fit: no distance.
    data[:, 60] = 1.0
    weights = np.eye(6)[[1, 2]]
    (found,) = influence_of_participants(
        [(term, weights)], lambda start, stop: data[:, start:stop], data.shape[1]
    )
    whole = term.combine(data[:, 50:])
    cook, squares = distances_without(term.model, term.weights(weights), whole, 2)
    assert np.isnan(cook[:, 10]).all()
    rms = np.sqrt(np.nanmean(squares[0]))
    assert found.dfbetas[0] == pytest.approx(rms, rel=1e-12)
    assert found.cook_largest[0] == np.nanmax(cook[0])
    assert found.cook_median[0] == pytest.approx(np.nanmedian(cook[0]), rel=0.05)
    assert found.large_cook[0] == np.mean(np.delete(cook[0], 10) > 4 / N)
    fewer = ErrorTerm(term.matrix, term.columns, term.maps[1:], HELMERT)
    some, more = distances_without(
        fewer.model, fewer.weights(weights), fewer.combine(data[:, :50]), 2
    )
    largest = np.maximum(some.max(axis=1), np.nanmax(cook[1:], axis=1))
    np.testing.assert_allclose(found.cook_largest[1:], largest, rtol=1e-9)
    both = np.hstack([more, squares[1:]])
    np.testing.assert_allclose(found.dfbetas[1:], np.sqrt(np.nanmean(both, axis=1)), rtol=1e-9)


def test_a_participant_that_the_model_fits_whole_has_no_influence(study):
    data, term = study
    own = np.zeros((N * 3, 3))
    own[:3] = np.eye(3)
    columns = (*term.columns, "p", "q", "r")
    alone = ErrorTerm(np.hstack([term.matrix, own]), columns, term.maps, HELMERT)
    weights = np.eye(9)[[1, 2]]
    (found,) = influence_of_participants(
        [(alone, weights)], lambda start, stop: data[:, start:stop], V
    )
    assert np.isnan(found.dfbetas[0])
    assert np.isnan(found.cook_largest[0])
    assert np.isfinite(found.dfbetas[1:]).all()
    # The error is that of the estimate.
    kept = estimate(alone, weights, "F", lambda start, stop: data[:, start:stop], V)
    assert (kept.dof == 2 * (N - 3)).all()
