"""Multivariate tests of effects within participants, which need no sphericity.

The contrast maps of a participant are taken as several variables; hypothesis and error are
matrices, and four functions of the eigenvalues of one in the other test the effect (Rencher and
Christensen 2012, chapter 6). Each has an F whose degrees of freedom the design decides; F is exact
where the hypothesis or the contrast maps have one dimension, that of Wilks's lambda where one of
them has two as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numba
import numpy as np

from nipype_group.choices import MULTIVARIATE
from nipype_group.stats.decompositions import decompose
from nipype_group.stats.distributions import f_to_z_and_log_p
from nipype_group.stats.elementary import exp
from nipype_group.stats.elementary import power as power_of
from nipype_group.stats.linear.error_terms import ErrorTerm
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    independent_rows,
    is_rounding,
    missing_patterns,
    present_values,
    tiles,
)
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares

_SWEEPS = 30
# Share of a direction of participants that rounding may leave of 0.
_NO_PART = 1e-8

FloatOrArray = TypeVar("FloatOrArray", float, np.ndarray)


@dataclass(frozen=True)
class MultivariateTest:
    """A multivariate test at every voxel.

    Parameters
    ----------
    criterion : array, shape (v,)
        Pillai's trace, Wilks's lambda, the trace of Hotelling and Lawley, or Roy's largest root;
        without a statistic what it is of no effect: 0, of Wilks's lambda 1.
    f : array, shape (v,)
        F of it; 0 without a statistic.
    dof_numerator : float
        Degrees of freedom of the numerator.
    dof : array, shape (v,)
        Those of the denominator; 0 without a statistic.
    """

    criterion: np.ndarray
    f: np.ndarray
    dof_numerator: float
    dof: np.ndarray

    def maps(self) -> dict[str, np.ndarray]:
        """Return the maps of the test.

        Returns
        -------
        dict of arrays, shape (v,)
            criterion, f, z, p and dof. Voxels without a statistic have z 0 and p 1.
        """
        alive = self.dof > 0
        z, log_p = f_to_z_and_log_p(self.f, self.dof_numerator, np.where(alive, self.dof, 1.0))
        p = exp(log_p)
        z[~alive], p[~alive] = 0.0, 1.0
        return {"criterion": self.criterion, "f": self.f, "z": z, "p": p, "dof": self.dof}


def multivariate_tests(
    term: ErrorTerm,
    weights: np.ndarray,
    read: Callable[[int, int], np.ndarray],
    n_voxels: int,
    tests: Sequence[str] = MULTIVARIATE,
) -> dict[str, MultivariateTest]:
    """Test an effect by the eigenvalues of its hypothesis in its error.

    Parameters
    ----------
    term : ErrorTerm
    weights : array, shape (r, p)
        Contrast rows over the columns of the design.
    read, n_voxels
        As for `estimate`. A participant who lacks a voxel in one of the maps leaves that voxel;
        where those who are left are too few for a test it has no statistic.
    tests : sequence of {"pillai", "wilks", "hotelling-lawley", "roy"}

    Returns
    -------
    dict of str to MultivariateTest

    Raises
    ------
    ValueError
        As `check_multivariate`, and where a test is none of these.

    Examples
    --------
    >>> data = np.array([[1.0, 3, 2], [2, 5, 5], [1, 4, 2], [3, 4, 6], [2, 3, 5]]).reshape(-1, 1)
    >>> cells = np.array([[1.0, 0, 0], [1, 1, 0], [1, 0, 1]])
    >>> directions = np.array([[-1.0, 1, 0], [-1, -1, 2]]) / np.sqrt([[2.0], [6.0]])
    >>> term = ErrorTerm(
    ...     np.tile(cells, (5, 1)), ("1", "b", "c"), np.arange(15).reshape(5, 3), directions
    ... )
    >>> rows = np.array([[0.0, 1, 0], [0, 0, 1]])
    >>> found = multivariate_tests(term, rows, lambda a, b: data[:, a:b], 1, ("pillai", "wilks"))
    >>> {name: (one.criterion.round(4).tolist(), one.f.round(3).tolist(), one.dof.tolist())
    ...  for name, one in found.items()}
    {'pillai': ([0.9486], [27.711], [3.0]), 'wilks': ([0.0514], [27.711], [3.0])}
    """
    for test in tests:
        _check_name(test)
    check_multivariate(term, weights)
    k, rows = term.n_directions, independent_rows(term.weights(weights))
    q = len(rows) // k
    roots, dof_error = np.full((n_voxels, k), np.nan), np.zeros(n_voxels)
    for span in tiles(n_voxels, len(term.matrix)):
        data = term.combine(read(span.start, span.stop))
        for members, missing in missing_patterns(data):
            own = term.model.without(missing) if len(missing) else term.model
            if own is None or not own.row_space.holds(rows) or own.dof < k * k:
                continue
            hypothesis = _hypothesis(own, rows, k)
            if hypothesis.shape[1] != q or own.dof % k:
                continue
            voxels = span.start + members
            roots[voxels] = _roots(own, hypothesis, present_values(data, members, missing), k)
            dof_error[voxels] = own.dof / k
    return {test: _of_roots(roots, q, dof_error, test) for test in tests}


def check_multivariate(term: ErrorTerm, weights: np.ndarray) -> None:
    """Refuse an effect that has no multivariate test.

    Parameters
    ----------
    term : ErrorTerm
    weights : array, shape (r, p)
        Contrast rows over the columns of the design.

    Raises
    ------
    ValueError
        Where the effect or the model between participants is not the same in each direction, or
        the participants are fewer than the directions need.
    """
    k, model = term.n_directions, term.model
    rows = independent_rows(term.weights(weights))
    between = decompose(model.basis.reshape(term.n_participants, -1), _NO_PART).rank
    if between * k != model.rank:
        raise ValueError(
            "the model between participants is not the same for all of its contrast maps; give "
            "every effect within participants the same columns between them"
        )
    if _hypothesis(model, rows, k).shape[1] * k != len(rows):
        raise ValueError(
            "its rows are not one hypothesis about all contrast maps of a participant; name the "
            "effect, as F(stimulus)"
        )
    if term.dof_between < k:
        raise ValueError(
            f"{k} contrast maps a participant need {k} residual degrees of freedom between "
            f"participants, and {term.n_participants} participants leave {term.dof_between:g}"
        )


def multivariate_dof(
    k: int, q: int, dof_error: FloatOrArray, test: str
) -> tuple[float, FloatOrArray]:
    """Return the degrees of freedom of the F of a test (Rencher and Christensen 2012, 6.1).

    Parameters
    ----------
    k : int
        Contrast maps a participant.
    q : int
        Hypotheses between participants.
    dof_error : float or array
        Residual degrees of freedom between participants.
    test : {"pillai", "wilks", "hotelling-lawley", "roy"}

    Returns
    -------
    numerator : float
    denominator : float or array
        Not above 0 where there are too few participants for the F of this test.

    Examples
    --------
    >>> [multivariate_dof(3, 2, 10.0, test) for test in ("pillai", "wilks")]
    [(6.0, 18.0), (6.0, 16.0)]
    """
    _check_name(test)
    s = min(k, q)
    if test == "pillai":
        return float(s * max(k, q)), s * (dof_error - k + s)
    if test == "wilks":
        return float(k * q), (dof_error - (k - q + 1) / 2) * _exponent(k, q) - (k * q - 2) / 2
    if test == "hotelling-lawley":
        return float(s * max(k, q)), s * (dof_error - k - 1) + 2.0
    return float(max(k, q)), dof_error - max(k, q) + q


def is_exact(k: int, q: int, test: str) -> bool:
    """Tell whether the F of a test is exact for normal data; see `multivariate_dof`.

    Examples
    --------
    >>> is_exact(2, 1, "roy"), is_exact(3, 2, "wilks"), is_exact(3, 2, "pillai")
    (True, True, False)
    """
    _check_name(test)
    return min(k, q) == 1 or (test == "wilks" and min(k, q) == 2)


def _check_name(test: str) -> None:
    if test not in MULTIVARIATE:
        raise ValueError(f"test is one of {', '.join(MULTIVARIATE)}, got {test!r}")


def _exponent(k: int, q: int) -> float:
    """Return t of Rao's F of Wilks's lambda."""
    below = k**2 + q**2 - 5
    return float(np.sqrt((k**2 * q**2 - 4) / below)) if below > 0 else 1.0


def _hypothesis(model: LinearModel, rows: np.ndarray, k: int) -> np.ndarray:
    """Return the orthonormal directions of participants that independent rows test, (N, q)."""
    effect = partition(model, rows).effect
    return decompose(effect.reshape(len(effect) // k, -1), _NO_PART).basis


def _roots(model: LinearModel, hypothesis: np.ndarray, data: np.ndarray, k: int) -> np.ndarray:
    """Return the eigenvalues of voxels that all participants of a model have, shape (v, k)."""
    n, n_voxels = len(hypothesis), data.shape[1]
    roots = np.empty((n_voxels, k))
    residuals = residuals_of(model.basis, data)
    whole = ~is_rounding(sum_of_squares(residuals), data)
    estimates = multiply(hypothesis.T, np.ascontiguousarray(data).reshape(n, -1))
    _largest_first(
        np.ascontiguousarray(residuals.reshape(n, k, n_voxels)),
        np.ascontiguousarray(estimates.reshape(-1, k, n_voxels)),
        whole,
        roots,
    )
    return roots


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


def _of_roots(roots: np.ndarray, q: int, dof_error: np.ndarray, test: str) -> MultivariateTest:
    """Return a test and its F from the eigenvalues of k variables and q hypotheses."""
    k = roots.shape[1]
    s = min(k, q)
    numerator, dof = multivariate_dof(k, q, dof_error, test)
    alive = ~np.isnan(roots[:, 0]) & (dof > 0)
    roots = np.where(alive[:, None], roots, 0.0)
    dof = np.where(alive, dof, 0.0)
    if test == "pillai":
        criterion = (roots / (1 + roots)).sum(axis=1)
        ratio = criterion / (s - criterion)
    elif test == "wilks":
        criterion = (1 / (1 + roots)).prod(axis=1)
        share = power_of(criterion, 1 / _exponent(k, q))
        ratio = (1 - share) / share
    elif test == "hotelling-lawley":
        criterion = roots.sum(axis=1)
        ratio = criterion / s
    else:
        criterion = roots[:, 0].copy()
        ratio = criterion
    return MultivariateTest(criterion, ratio * (dof / numerator), numerator, dof)
