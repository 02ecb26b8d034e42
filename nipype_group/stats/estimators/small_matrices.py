"""Compiled operations on matrices of the size of a design or a contrast, a voxel at a time."""

import numba
import numpy as np

from nipype_group.stats.linear.least_squares import LAST_PLACE

# Squared share of the length of all values of a voxel that rounding leaves in a residual.
ROUNDING = 1e-26


@numba.njit(nogil=True, cache=True, error_model="numpy")
def factorise(matrix: np.ndarray, lower: np.ndarray) -> bool:
    """Write Cholesky's lower triangle of a symmetric matrix; False where it is not positive."""
    n = len(matrix)
    for i in range(n):
        for j in range(i + 1):
            value = matrix[i, j]
            for k in range(j):
                value -= lower[i, k] * lower[j, k]
            if i == j:
                if not value > 1e-14 * matrix[i, i]:
                    return False
                lower[i, i] = np.sqrt(value)
            else:
                lower[i, j] = value / lower[j, j]
    return True


@numba.njit(nogil=True, cache=True, error_model="numpy")
def solve_forward(lower: np.ndarray, vector: np.ndarray) -> None:
    """Replace a vector by the solution x of lower x = vector."""
    for i in range(len(vector)):
        value = vector[i]
        for k in range(i):
            value -= lower[i, k] * vector[k]
        vector[i] = value / lower[i, i]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def solve_backward(lower: np.ndarray, vector: np.ndarray) -> None:
    """Replace a vector by the solution x of lower' x = vector."""
    for i in range(len(vector) - 1, -1, -1):
        value = vector[i]
        for k in range(i + 1, len(vector)):
            value -= lower[k, i] * vector[k]
        vector[i] = value / lower[i, i]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def invert_factorised(lower: np.ndarray, inverse: np.ndarray) -> None:
    """Write the inverse of lower lower'; the upper half of `lower` is not read."""
    n = len(lower)
    # Columns of the inverse triangle first, in the lower half.
    for j in range(n):
        inverse[j, j] = 1.0 / lower[j, j]
        for i in range(j + 1, n):
            value = 0.0
            for k in range(j, i):
                value -= lower[i, k] * inverse[k, j]
            inverse[i, j] = value / lower[i, i]
    for i in range(n):
        for j in range(i, n):
            value = 0.0
            for k in range(j, n):
                value += inverse[k, i] * inverse[k, j]
            inverse[i, j] = value
        for j in range(i + 1, n):
            # The lower half of column i has been read by all that need it.
            inverse[j, i] = inverse[i, j]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def product_trace(left: np.ndarray, right: np.ndarray) -> float:
    """Return the trace of the product of two symmetric matrices."""
    total = 0.0
    for i in range(len(left)):
        for j in range(len(left)):
            total += left[i, j] * right[i, j]
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def bilinear(left: np.ndarray, matrix: np.ndarray, right: np.ndarray) -> float:
    """Return left' matrix right of vectors."""
    total = 0.0
    for i in range(len(left)):
        inner = 0.0
        for j in range(len(right)):
            inner += matrix[i, j] * right[j]
        total += left[i] * inner
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def multiply_small(left: np.ndarray, right: np.ndarray, result: np.ndarray) -> None:
    """Write the product of two small matrices."""
    for i in range(left.shape[0]):
        for j in range(right.shape[1]):
            total = 0.0
            for k in range(left.shape[1]):
                total += left[i, k] * right[k, j]
            result[i, j] = total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def quadratic_forms(effects: np.ndarray, covariance: np.ndarray, found: np.ndarray) -> None:
    """Write b' V^-1 b of every voxel; -1 where V is not positive definite.

    Parameters
    ----------
    effects : array, shape (q, v)
    covariance : array, shape (q, q, v)
    found : array, shape (v,)
    """
    q, n_voxels = effects.shape
    matrix, lower, solved = np.empty((q, q)), np.empty((q, q)), np.empty(q)
    for v in range(n_voxels):
        found[v] = -1.0
        for i in range(q):
            solved[i] = effects[i, v]
            for j in range(q):
                matrix[i, j] = covariance[i, j, v]
        if not factorise(matrix, lower):
            continue
        solve_forward(lower, solved)
        total = 0.0
        for i in range(q):
            total += solved[i] * solved[i]
        found[v] = total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def exceeds_rounding(
    covariance: np.ndarray, shares: np.ndarray, values: np.ndarray, room: np.ndarray
) -> bool:
    """Tell whether the covariance of contrast rows is more than the rounding of the maps.

    A sandwich is made of the residuals of those maps that tell of a contrast: where the design
    fits these exactly, as a group of maps that are all alike, they are rounding, whatever
    residuals the other maps have.

    Parameters
    ----------
    covariance : array, shape (q, q)
    shares : array, shape (q, q, n)
        What the squared residual of every map adds to it.
    values : array, shape (n,)
        Of the maps, and so float32, at one voxel.
    room : array, shape (2, q, q)

    Returns
    -------
    bool
        False where the covariance of any combination of rows is rounding.
    """
    left, lower = room[0], room[1]
    q, n = len(covariance), len(values)
    total = 0.0
    for i in range(n):
        total += values[i] * values[i]
    for s in range(q):
        for t in range(q):
            left[s, t] = covariance[s, t]
            for i in range(n):
                own = LAST_PLACE * LAST_PLACE * (values[i] * values[i]) + ROUNDING * total
                left[s, t] -= shares[s, t, i] * own
    return factorise(left, lower)
