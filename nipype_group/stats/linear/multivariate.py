"""Multivariate tests of effects within participants, which need no sphericity.

The contrast maps of a participant are taken as several variables; hypothesis and error are
matrices, and four functions of the eigenvalues of one in the other test the effect (Rencher and
Christensen 2012, chapter 6). Each has an F whose degrees of freedom the design decides; F is exact
where the hypothesis or the contrast maps have one dimension.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np

from nipype_group.stats.decompositions import decompose
from nipype_group.stats.elementary import power as power_of
from nipype_group.stats.linear.error_terms import ErrorTerm
from nipype_group.stats.linear.least_squares import independent_rows, is_rounding, tiles
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares

MULTIVARIATE = ("pillai", "wilks", "hotelling-lawley", "roy")
_SWEEPS = 30


@dataclass(frozen=True)
class MultivariateTest:
    """A multivariate test at every voxel.

    Parameters
    ----------
    criterion : array, shape (v,)
        Pillai's trace, Wilks's lambda, the trace of Hotelling and Lawley, or Roy's largest root;
        NaN where the error is singular.
    f : array, shape (v,)
        F of it; 0 where the error is singular.
    dof : tuple of float
        Degrees of freedom of the numerator and of the denominator.
    """

    criterion: np.ndarray
    f: np.ndarray
    dof: tuple[float, float]


def multivariate_test(
    term: ErrorTerm,
    weights: np.ndarray,
    read: Callable[[int, int], np.ndarray],
    n_voxels: int,
    test: str = "pillai",
) -> MultivariateTest:
    """Test an effect by the eigenvalues of its hypothesis in its error.

    Parameters
    ----------
    term : ErrorTerm
    weights : array, shape (r, p)
        Contrast rows over the columns of the design.
    read, n_voxels
        As for `estimate`. A voxel that a participant lacks has no statistic.
    test : {"pillai", "wilks", "hotelling-lawley", "roy"}
        Roy's F is an upper bound where the hypothesis has several dimensions.

    Returns
    -------
    MultivariateTest

    Raises
    ------
    ValueError
        Where the effect is not the same hypothesis in each direction, or the participants are
        fewer than the directions need.
    """
    k = term.n_directions
    hypothesis = _hypothesis(term, weights)
    dof_error = term.dof_between
    if dof_error != int(dof_error) or dof_error < k:
        raise ValueError(
            f"a multivariate test of {k} contrast maps a participant needs {k} residual degrees "
            f"of freedom between participants; there are {dof_error:g}"
        )
    roots = np.empty((n_voxels, k))
    for span in tiles(n_voxels, len(term.matrix)):
        data = term.combine(read(span.start, span.stop))
        residuals = residuals_of(term.model.basis, data)
        whole = ~is_rounding(sum_of_squares(residuals), data)
        estimates = multiply(hypothesis.T, data.reshape(term.n_participants, -1))
        _largest_first(
            np.ascontiguousarray(residuals.reshape(term.n_participants, k, -1)),
            np.ascontiguousarray(estimates.reshape(-1, k, data.shape[1])),
            whole,
            roots[span],
        )
    return _of_roots(roots, hypothesis.shape[1], int(dof_error), test)


def _hypothesis(term: ErrorTerm, weights: np.ndarray) -> np.ndarray:
    """Return the orthonormal directions of participants that an effect tests, shape (N, q)."""
    rows = independent_rows(term.weights(weights))
    effect = partition(term.model, rows).effect
    by_participant = effect.reshape(term.n_participants, -1)
    directions = decompose(by_participant, 1e-8).basis
    if directions.shape[1] * term.n_directions != len(rows):
        raise ValueError(
            "the rows of the contrast are not one hypothesis about all of its contrast maps, so "
            "there is no multivariate test; name the effect, as F(stimulus)"
        )
    return directions


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _lower_triangle(matrix: np.ndarray) -> bool:
    """Replace a matrix by its Cholesky factor; tell whether there is one."""
    for j in range(len(matrix)):
        for i in range(j, len(matrix)):
            total = matrix[i, j]
            for m in range(j):
                total -= matrix[i, m] * matrix[j, m]
            if i == j:
                if not total > 1e-14 * matrix[j, j]:
                    return False
                matrix[j, j] = np.sqrt(total)
            else:
                matrix[i, j] = total / matrix[j, j]
    return True


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _rotate(matrix: np.ndarray, p: int, q: int) -> None:
    """Rotate two axes of a symmetric matrix so that their common element becomes 0 (Jacobi)."""
    theta = (matrix[q, q] - matrix[p, p]) / (2.0 * matrix[p, q])
    t = 1.0 / (abs(theta) + np.sqrt(theta * theta + 1.0))
    t = t if theta >= 0.0 else -t
    c = 1.0 / np.sqrt(t * t + 1.0)
    s = t * c
    for i in range(len(matrix)):
        a, b = matrix[i, p], matrix[i, q]
        matrix[i, p], matrix[i, q] = c * a - s * b, s * a + c * b
    for i in range(len(matrix)):
        a, b = matrix[p, i], matrix[q, i]
        matrix[p, i], matrix[q, i] = c * a - s * b, s * a + c * b


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _products(values: np.ndarray, v: int) -> np.ndarray:
    """Return the matrix of products of variables at a voxel, values of shape (n, k, voxels)."""
    n, k, _ = values.shape
    matrix = np.zeros((k, k))
    for a in range(k):
        for b in range(a + 1):
            total = 0.0
            for i in range(n):
                total += values[i, a, v] * values[i, b, v]
            matrix[a, b], matrix[b, a] = total, total
    return matrix


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _largest_first(
    residuals: np.ndarray, estimates: np.ndarray, whole: np.ndarray, roots: np.ndarray
) -> None:
    """Fill the eigenvalues of E^-1 H of every voxel, descending; NaN where E is singular."""
    k = residuals.shape[1]
    for v in range(residuals.shape[2]):
        error = _products(residuals, v)
        if not whole[v] or not _lower_triangle(error):
            roots[v] = np.nan
            continue
        solved = np.empty((len(estimates), k))
        for j in range(len(estimates)):
            for a in range(k):
                total = estimates[j, a, v]
                for m in range(a):
                    total -= error[a, m] * solved[j, m]
                solved[j, a] = total / error[a, a]
        matrix = np.zeros((k, k))
        for a in range(k):
            for b in range(k):
                for j in range(len(estimates)):
                    matrix[a, b] += solved[j, a] * solved[j, b]
        for _ in range(_SWEEPS):
            off, size = 0.0, 0.0
            for a in range(k):
                size += matrix[a, a] * matrix[a, a]
                for b in range(a):
                    off += matrix[a, b] * matrix[a, b]
            if not off > 1e-32 * size:
                break
            for a in range(k):
                for b in range(a + 1, k):
                    if matrix[a, b] != 0.0:
                        _rotate(matrix, a, b)
        for a in range(k):
            roots[v, a] = max(matrix[a, a], 0.0)
        roots[v] = -np.sort(-roots[v])


def _of_roots(roots: np.ndarray, q: int, dof_error: int, test: str) -> MultivariateTest:
    """Return a test and its F from the eigenvalues of k variables and q hypotheses."""
    k = roots.shape[1]
    s, m, n = min(k, q), (abs(k - q) - 1) / 2, (dof_error - k - 1) / 2
    if test == "pillai":
        criterion = (roots / (1 + roots)).sum(axis=1)
        dof = s * (2 * m + s + 1), s * (2 * n + s + 1)
        f = criterion / (s - criterion) * (dof[1] / dof[0])
    elif test == "wilks":
        criterion = (1 / (1 + roots)).prod(axis=1)
        below = k**2 + q**2 - 5
        power = np.sqrt((k**2 * q**2 - 4) / below) if below > 0 else 1.0
        dof = k * q, (dof_error - (k - q + 1) / 2) * power - (k * q - 2) / 2
        share = power_of(criterion, 1 / power)
        f = (1 - share) / share * (dof[1] / dof[0])
    elif test == "hotelling-lawley":
        criterion = roots.sum(axis=1)
        dof = s * (2 * m + s + 1), 2 * (s * n + 1)
        f = criterion / s * (dof[1] / dof[0])
    elif test == "roy":
        criterion = roots[:, 0].copy()
        dof = max(k, q), dof_error - max(k, q) + q
        f = criterion * (dof[1] / dof[0])
    else:
        raise ValueError(f"test is one of {', '.join(MULTIVARIATE)}, got {test!r}")
    return MultivariateTest(
        criterion, np.where(np.isnan(f), 0.0, f), (float(dof[0]), float(dof[1]))
    )
