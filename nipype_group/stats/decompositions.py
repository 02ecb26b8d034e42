"""Decompositions of small matrices that have the same bits on any processor.

Sums run in a fixed order, as in `matrix_products`; the last bits of what a matrix library gives
depend on the processor. Matrices are of the size of a design: a row a map, a column a regressor.
All are reflected to a triangle (Householder 1958), largest column first where a rank is looked for
(Businger and Golub 1965).
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import ArrayLike

from nipype_group.stats.matrix_products import dot, multiply

_EPS = np.finfo(float).eps


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _take_out(vector, row, start):
    """Reflect a row by 1 - v v', where v is 0 before an element."""
    factor = dot(vector, row, start)
    for i in range(start, len(row)):
        row[i] -= factor * vector[i]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _bring_largest(rows, order, k):
    """Exchange row k with the one that is longest from element k on; return its length."""
    longest, at = -1.0, k
    for j in range(k, len(rows)):
        square = dot(rows[j], rows[j], k)
        if square > longest:
            longest, at = square, j
    if at != k:
        order[k], order[at] = order[at], order[k]
        for i in range(rows.shape[1]):
            rows[k, i], rows[at, i] = rows[at, i], rows[k, i]
    return np.sqrt(longest)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _reflect(rows, vectors, order, tolerance):
    """Bring rows to a lower triangle by reflections; return how many there are.

    Parameters
    ----------
    rows : float64 array, shape (p, n)
        Columns of a matrix; the first ones become the transpose of its triangle.
    vectors : float64 array, shape (min(n, p), n)
        Zeros; gets the vectors v of the reflections 1 - v v'.
    order : int array, shape (p,)
        Gets the numbers of the columns in the order taken.
    tolerance : float
        Ends where no column is longer; negative takes all columns as they come.
    """
    for k in range(len(vectors)):
        if tolerance >= 0.0:
            length = _bring_largest(rows, order, k)
            if not length > tolerance:
                return k
        else:
            length = np.sqrt(dot(rows[k], rows[k], k))
        vector, row = vectors[k], rows[k]
        if length > 0.0:
            for i in range(k, len(row)):
                vector[i] = row[i]
            vector[k] += length if row[k] >= 0.0 else -length
            factor = np.sqrt(2.0 / dot(vector, vector, k))
            for i in range(k, len(row)):
                vector[i] *= factor
            for j in range(k, len(rows)):
                _take_out(vector, rows[j], k)
    return len(vectors)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _reflect_back(vectors, columns):
    """Apply reflections to columns, shape (k, n), the last one first."""
    for k in range(len(vectors) - 1, -1, -1):
        for j in range(len(columns)):
            _take_out(vectors[k], columns[j], k)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _solve_lower(triangle, columns):
    """Replace columns, shape (r, k), by the solution x of triangle x = columns."""
    for i in range(len(triangle)):
        for j in range(i):
            factor = triangle[i, j]
            for c in range(columns.shape[1]):
                columns[i, c] -= factor * columns[j, c]
        for c in range(columns.shape[1]):
            columns[i, c] /= triangle[i, i]


def _reflected(matrix, tolerance):
    """Return the reflections of a matrix, its triangle, and the order of its columns."""
    rows = np.array(matrix.T, dtype=float, order="C")
    if not np.isfinite(rows).all():
        raise ValueError("a matrix that is decomposed holds values that are not finite")
    vectors, order = np.zeros((min(rows.shape), rows.shape[1])), np.arange(len(rows))
    rank = _reflect(rows, vectors, order, tolerance)
    # Below the diagonal stands what rounding left.
    return vectors[:rank], np.triu(rows.T[:rank]), order


def qr(matrix: np.ndarray, complete: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return an orthonormal basis of the columns, in order, and the triangle: matrix = q r.

    Parameters
    ----------
    matrix : array, shape (n, p)
    complete : bool
        Whether q has n columns; the last ones are orthogonal to the matrix.

    Returns
    -------
    q : float64 array, shape (n, k)
        k is the smaller of n and p, or n.
    r : float64 array, shape (k, p)
        Upper triangle, whose diagonal is not negative.

    Examples
    --------
    >>> q, r = qr(np.array([[3.0, 1], [4, 1]]))
    >>> r.round(12).tolist()
    [[5.0, 1.4], [0.0, 0.2]]
    """
    vectors, triangle, _ = _reflected(matrix, -1.0)
    n = len(matrix)
    columns = np.eye(n if complete else len(vectors), n)
    _reflect_back(vectors, columns)
    r = np.zeros((len(columns), triangle.shape[1]))
    r[: len(triangle)] = triangle
    negative = np.flatnonzero(np.diagonal(triangle) < 0)
    r[negative] *= -1
    columns[negative] *= -1
    return columns.T, r


def complement(basis: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of what is orthogonal to orthonormal columns, (n, n - r)."""
    return qr(basis, complete=True)[0][:, basis.shape[1] :]


@dataclass(frozen=True)
class CompleteDecomposition:
    """A matrix of n rows, p columns and rank r as basis x triangle x rows.

    Parameters
    ----------
    basis : array, shape (n, r)
        Orthonormal basis of the columns' space.
    triangle : array, shape (r, r)
        Lower triangle.
    rows : array, shape (r, p)
        Orthonormal basis of the rows' space.
    """

    basis: np.ndarray
    triangle: np.ndarray
    rows: np.ndarray

    @property
    def rank(self) -> int:
        """Number of independent columns."""
        return len(self.triangle)

    @property
    def inverse(self) -> np.ndarray:
        """Moore-Penrose inverse of the matrix, shape (p, n)."""
        solved = np.array(self.basis.T, order="C")
        _solve_lower(self.triangle, solved)
        return multiply(self.rows.T, solved)


def decompose(matrix: ArrayLike, tolerance: float | None = None) -> CompleteDecomposition:
    """Return the complete orthogonal decomposition of a matrix (Golub and Van Loan, 5.4.7).

    Parameters
    ----------
    matrix : array, shape (n, p)
    tolerance : float, optional
        Length below which what earlier columns leave of a column counts as nothing. By default
        what rounding leaves of the longest.

    Returns
    -------
    CompleteDecomposition

    Examples
    --------
    >>> matrix = np.array([[1.0, 1, 2], [1, 1, 2], [0, 1, 1]])
    >>> found = decompose(matrix)
    >>> found.rank, bool(np.allclose(matrix @ found.inverse @ matrix, matrix))
    (2, True)
    """
    matrix = np.asarray(matrix, dtype=float)
    if tolerance is None:
        longest = np.sqrt(np.square(matrix).sum(axis=0).max(initial=0.0))
        tolerance = max(matrix.shape) * np.sqrt(matrix.shape[1]) * _EPS * longest
    vectors, triangle, order = _reflected(matrix, float(tolerance))
    columns = np.eye(len(vectors), len(matrix))
    _reflect_back(vectors, columns)
    in_place = np.empty_like(triangle)
    in_place[:, order] = triangle
    rows, upper = qr(in_place.T)
    return CompleteDecomposition(columns.T, np.ascontiguousarray(upper.T), rows.T)


def inverse(matrix: np.ndarray) -> np.ndarray:
    """Return the inverse of a square matrix.

    Raises
    ------
    ValueError
        Where it is singular.

    Examples
    --------
    >>> inverse(np.array([[2.0, 0], [0, 4]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    found = decompose(matrix, 0.0)
    if found.rank < len(matrix):
        raise ValueError("a singular matrix has no inverse")
    return found.inverse


# Sweeps of Jacobi's method; six do for matrices of any size that designs have.
_MOST_SWEEPS = 60


@numba.njit(nogil=True, cache=True, error_model="numpy")
def diagonalise(matrix: np.ndarray, vectors: np.ndarray) -> None:
    """Bring a symmetric matrix to its diagonal by rotations (Jacobi 1846), in place.

    Parameters
    ----------
    matrix : float64 array, shape (n, n)
        Gets its eigenvalues on the diagonal, in no order.
    vectors : float64 array, shape (n, n)
        Gets the eigenvectors, a row each.
    """
    n = len(matrix)
    vectors[:] = 0.0
    for i in range(n):
        vectors[i, i] = 1.0
    least = 1e-17 * np.abs(matrix).max()
    for _ in range(_MOST_SWEEPS):
        turned = False
        for i in range(n - 1):
            for j in range(i + 1, n):
                off = matrix[i, j]
                # Rotations that change no digit of the largest value are left out.
                if abs(off) <= least:
                    continue
                turned = True
                ratio = (matrix[j, j] - matrix[i, i]) / (2.0 * off)
                t = 1.0 / (abs(ratio) + np.sqrt(ratio * ratio + 1.0))
                if ratio < 0.0:
                    t = -t
                c = 1.0 / np.sqrt(t * t + 1.0)
                _rotate(matrix, vectors, i, j, c, t * c)
                matrix[i, j] = matrix[j, i] = 0.0
        if not turned:
            return


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _rotate(matrix, vectors, i, j, c, s):
    """Rotate rows and columns i and j of a symmetric matrix, and rows of vectors."""
    for k in range(len(matrix)):
        a, b = matrix[i, k], matrix[j, k]
        matrix[i, k], matrix[j, k] = c * a - s * b, s * a + c * b
    for k in range(len(matrix)):
        a, b = matrix[k, i], matrix[k, j]
        matrix[k, i], matrix[k, j] = c * a - s * b, s * a + c * b
    for k in range(len(matrix)):
        a, b = vectors[i, k], vectors[j, k]
        vectors[i, k], vectors[j, k] = c * a - s * b, s * a + c * b


def symmetric_eigen(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues and eigenvectors of a symmetric matrix.

    Parameters
    ----------
    matrix : array, shape (n, n)

    Returns
    -------
    values : float64 array, shape (n,)
        In ascending order.
    vectors : float64 array, shape (n, n)
        A column each.

    Examples
    --------
    >>> values, vectors = symmetric_eigen(np.array([[2.0, 1], [1, 2]]))
    >>> values.round(12).tolist(), np.abs(vectors).round(6).tolist()
    ([1.0, 3.0], [[0.707107, 0.707107], [0.707107, 0.707107]])
    """
    turned = np.array(matrix, dtype=float, order="C")
    vectors = np.empty_like(turned)
    diagonalise(turned, vectors)
    values = np.diagonal(turned)
    order = np.argsort(values, kind="stable")
    return values[order], vectors[order].T
