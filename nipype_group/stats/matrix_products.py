"""Matrix products that have the same bits on any processor.

A matrix library orders its sums by the processor, and fuses products and sums on some. Here every
sum runs over the inner index in ascending order, in float64: compiled loops take columns side by
side, so that they run in vectors and no sum is reordered.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike

# Columns and inner indices of a block: its sums stay in a first-level cache, its factors in a
# second-level one.
_COLUMNS_PER_BLOCK = 512
_INNER_PER_BLOCK = 128


@numba.njit(nogil=True, cache=True, error_model="numpy")
def dot(left: np.ndarray, right: np.ndarray, start: int = 0) -> float:
    """Return the product of two vectors from an element on, in four strands for speed."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    n = len(left)
    whole = n - (n - start) % 4
    for i in range(start, whole, 4):
        a += left[i] * right[i]
        b += left[i + 1] * right[i + 1]
        c += left[i + 2] * right[i + 2]
        d += left[i + 3] * right[i + 3]
    for i in range(whole, n):
        a += left[i] * right[i]
    return (a + b) + (c + d)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def add_product(factor: float, values: np.ndarray, total: np.ndarray) -> None:
    """Add factor x values to total, vectors of one length."""
    for v in range(len(total)):
        total[v] += factor * values[v]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def add_four(
    factors: tuple[float, float, float, float], values: np.ndarray, total: np.ndarray
) -> None:
    """Add four products to total, one after the other: a quarter of the traffic of the sum."""
    a, b, c, d = factors
    first, second, third, fourth = values
    for v in range(len(total)):
        total[v] = total[v] + a * first[v] + b * second[v] + c * third[v] + d * fourth[v]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_four_to_two(factors, other_factors, values, total, other_total):
    """Do as `add_four` for two sums of the same values, which are loaded once."""
    a, b, c, d = factors
    e, f, g, h = other_factors
    first, second, third, fourth = values
    for v in range(len(total)):
        w, x, y, z = first[v], second[v], third[v], fourth[v]
        total[v] = total[v] + a * w + b * x + c * y + d * z
        other_total[v] = other_total[v] + e * w + f * x + g * y + h * z


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _four(row, k):
    return row[k], row[k + 1], row[k + 2], row[k + 3]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _multiply(left, right, result):
    """Write left x right, shapes (a, n) and (n, v), into result."""
    n_rows, n_inner = left.shape
    result[:] = 0.0
    for start in range(0, right.shape[1], _COLUMNS_PER_BLOCK):
        stop = min(start + _COLUMNS_PER_BLOCK, right.shape[1])
        for first in range(0, n_inner, _INNER_PER_BLOCK):
            last = min(first + _INNER_PER_BLOCK, n_inner)
            whole = last - (last - first) % 4
            for i in range(0, n_rows, 2):
                total, other = result[i, start:stop], result[min(i + 1, n_rows - 1), start:stop]
                for k in range(first, whole, 4):
                    values = (
                        right[k, start:stop],
                        right[k + 1, start:stop],
                        right[k + 2, start:stop],
                        right[k + 3, start:stop],
                    )
                    if i + 1 < n_rows:
                        _add_four_to_two(
                            _four(left[i], k), _four(left[i + 1], k), values, total, other
                        )
                    else:
                        add_four(_four(left[i], k), values, total)
                for k in range(whole, last):
                    add_product(left[i, k], right[k, start:stop], total)
                    if i + 1 < n_rows:
                        add_product(left[i + 1, k], right[k, start:stop], other)


def multiply(left: ArrayLike, right: ArrayLike, out: np.ndarray | None = None) -> Any:
    """Return the product of two matrices, each sum in ascending order of the inner index.

    Parameters
    ----------
    left : array, shape (a, n) or (n,)
    right : array, shape (n, v) or (n,)
    out : float64 array, shape (a, v), optional
        C-ordered; gets the product of two matrices.

    Returns
    -------
    float64 array, shape (a, v), (a,) or (v,); float for two vectors

    Raises
    ------
    ValueError
        Where the shapes do not fit.

    Examples
    --------
    >>> multiply(np.array([[1.0, 2], [3, 4]]), np.array([1.0, 10])).tolist()
    [21.0, 43.0]
    """
    rows, columns = np.asarray(left, dtype=float), np.asarray(right, dtype=float)
    shape = rows.shape[:-1] + columns.shape[1:]
    rows = np.ascontiguousarray(np.atleast_2d(rows))
    columns = np.ascontiguousarray(columns[:, None] if columns.ndim == 1 else columns)
    if rows.shape[1] != len(columns):
        raise ValueError(f"shapes {np.shape(left)} and {np.shape(right)} do not fit")
    if out is None:
        out = np.empty((len(rows), columns.shape[1]))
    _multiply(rows, columns, out)
    return out.reshape(shape) if shape else float(out[0, 0])


def residuals_of(basis: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Return what an orthonormal basis leaves of data.

    Parameters
    ----------
    basis : array, shape (n, r)
        Orthonormal columns.
    data : array, shape (n, v) or (n,)

    Returns
    -------
    float64 array of the shape of data
    """
    return data - multiply(basis, multiply(basis.T, data))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_squares(values, total):
    for i in range(len(values)):
        row = values[i]
        for v in range(len(total)):
            total[v] += row[v] * row[v]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_squares_around(values, centre, total):
    for i in range(len(values)):
        row, middle = values[i], centre[min(i, len(centre) - 1)]
        for v in range(len(total)):
            away = row[v] - middle[v]
            total[v] += away * away


def sum_of_squares(values: np.ndarray, around: np.ndarray | None = None) -> np.ndarray:
    """Return the sum of squares of every column, rows in ascending order.

    Unlike `numpy.sum`, whose order depends on the number of columns.

    Parameters
    ----------
    values : array, shape (n, v)
    around : array, shape (n, v) or (1, v), optional
        What is taken off before; the difference is not held.

    Returns
    -------
    float64 array, shape (v,)
    """
    total = np.zeros(values.shape[1])
    values = np.ascontiguousarray(values, dtype=float)
    if around is None:
        _add_squares(values, total)
    else:
        _add_squares_around(values, np.ascontiguousarray(around, dtype=float), total)
    return total
