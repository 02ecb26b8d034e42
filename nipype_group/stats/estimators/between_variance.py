"""The variance between maps whose own variances are known, at many voxels side by side.

y ~ N(X b, diag(s + d tau2)): s are the variances of the maps, d is 1 of maps that have the
variance tau2 between them, 0 of maps whose variance is all in s. With w = 1 / (s + d tau2),
A = X'WX and P = W - W X A^-1 X'W the slope of the restricted likelihood is half of
y'PDPy - tr(PD), and Q = y'Py falls as tau2 rises (Harville 1977; Viechtbauer 2005).

Voxels are taken in lanes: each sum runs over maps in ascending order, a lane a voxel, so that it
runs in vectors and the bits of a voxel depend on no other. A map that a voxel lacks has the
variance infinity, and so the weight 0.

The columns X are those of all voxels, an array of shape (n, r), or of each lane, (n, r, LANES), as
with covariates that are maps; which of the two is settled where a kernel is compiled.
"""

import math
from typing import Any

import numba
import numpy as np
from numba.extending import overload

# How the variance is found.
FIXED, MOMENTS, PAULE_MANDEL, LIKELIHOOD = range(4)
# Voxels side by side: a power of the width of a vector, few enough to stay in a first-level cache.
LANES = 32
# Factor between two points of the grid over tau2 plus the smallest variance: weights are
# functions of its logarithm that change over one unit.
_GRID_RATIO = 2.0
_MOST_POINTS = 400
# Maxima of one voxel that are compared.
_MOST_MAXIMA = 6
# Newton's steps have twice the digits of the last one.
_LAST_STEP = 1e-9
_MOST_STEPS = 100
# Change of the variances of groups, in units of the largest, at which their search ends.
_SETTLED = 1e-12
_MOST_ROUNDS = 200


def _of_lane(value: Any, lane: int) -> Any:
    """Return a number that all lanes share, or that of a lane."""
    return value[lane] if np.ndim(value) else value


@overload(_of_lane, inline="always")
def _compiled_of_lane(value, lane):
    if isinstance(value, numba.types.Array):
        return lambda value, lane: value[lane]
    return lambda value, lane: value


def _of_voxel(columns: np.ndarray, lane: int) -> np.ndarray:
    """Return the columns of a lane, shape (n, r)."""
    return columns if columns.ndim == 2 else columns[:, :, lane]


@overload(_of_voxel, inline="always")
def _compiled_of_voxel(columns, lane):
    if columns.ndim == 2:
        return lambda columns, lane: columns
    return lambda columns, lane: columns[:, :, lane]


def of_lanes(values: np.ndarray, first: int) -> np.ndarray:
    """Return what all voxels share, shape (n, r), or lanes of values of each, (n, r, v).

    Lanes beyond the last voxel have its values.
    """
    if values.ndim == 2:
        return values
    return values[:, :, np.minimum(np.arange(first, first + LANES), values.shape[2] - 1)]


@overload(of_lanes)
def _compiled_of_lanes(values, first):
    if values.ndim == 2:
        return lambda values, first: values

    def copied(values, first):
        block = np.empty((values.shape[0], values.shape[1], LANES))
        for i in range(values.shape[0]):
            for j in range(values.shape[1]):
                for v in range(LANES):
                    block[i, j, v] = values[i, j, min(first + v, values.shape[2] - 1)]
        return block

    return copied


@numba.njit(nogil=True, cache=True, error_model="numpy")
def new_sums(n_maps: int, n_columns: int) -> tuple[np.ndarray, ...]:
    """Return the arrays that `evaluate` writes, of one block of voxels."""
    n_products = n_columns * (n_columns + 1) // 2
    return (
        np.zeros((n_maps, LANES)),
        np.zeros((n_columns, LANES)),
        np.zeros((n_columns, LANES)),
        np.zeros((n_products, LANES)),
        np.zeros((n_products, LANES)),
        np.zeros((n_products, LANES)),
        np.zeros((n_columns * n_columns, LANES)),
        np.zeros((8, LANES)),
    )


@numba.njit(nogil=True, cache=True, error_model="numpy")
def invert(matrix: np.ndarray, n_columns: int) -> None:
    """Replace lower triangles, row after row, by those of the inverse (Cholesky)."""
    for j in range(n_columns):
        for i in range(j, n_columns):
            ij, jj = i * (i + 1) // 2 + j, j * (j + 1) // 2 + j
            for k in range(j):
                ik, jk = i * (i + 1) // 2 + k, j * (j + 1) // 2 + k
                for v in range(LANES):
                    matrix[ij, v] -= matrix[ik, v] * matrix[jk, v]
            if i == j:
                for v in range(LANES):
                    matrix[ij, v] = np.sqrt(matrix[ij, v])
            else:
                for v in range(LANES):
                    matrix[ij, v] /= matrix[jj, v]
    # The inverse of the triangle, in its place, column after column.
    for j in range(n_columns):
        jj = j * (j + 1) // 2 + j
        for v in range(LANES):
            matrix[jj, v] = 1.0 / matrix[jj, v]
        for i in range(j + 1, n_columns):
            ij, ii = i * (i + 1) // 2 + j, i * (i + 1) // 2 + i
            for v in range(LANES):
                matrix[ij, v] *= matrix[jj, v]
            for k in range(j + 1, i):
                ik, kj = i * (i + 1) // 2 + k, k * (k + 1) // 2 + j
                for v in range(LANES):
                    matrix[ij, v] += matrix[ik, v] * matrix[kj, v]
            for v in range(LANES):
                matrix[ij, v] = -matrix[ij, v] / matrix[ii, v]
    for i in range(n_columns):
        for j in range(i + 1):
            ij = i * (i + 1) // 2 + j
            for v in range(LANES):
                matrix[ij, v] *= matrix[i * (i + 1) // 2 + i, v]
            for k in range(i + 1, n_columns):
                ki, kj = k * (k + 1) // 2 + i, k * (k + 1) // 2 + j
                for v in range(LANES):
                    matrix[ij, v] += matrix[ki, v] * matrix[kj, v]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_weighted(tau2, s, y, moves, basis, sums):
    """Write weights, and add up X'Wy, X'WX, X'WDWX and tr(DW)."""
    w, coordinates, _, inverse, square, _, _, scalars = sums
    coordinates[:] = 0.0
    inverse[:] = 0.0
    square[:] = 0.0
    scalars[:] = 0.0
    for i in range(len(y)):
        wi, si, yi, d = w[i], s[i], y[i], moves[i]
        for v in range(LANES):
            wi[v] = 1.0 / (si[v] + d * tau2[v])
        for v in range(LANES):
            scalars[0, v] += d * wi[v]
        at = 0
        for j in range(basis.shape[1]):
            x = basis[i, j]
            for v in range(LANES):
                coordinates[j, v] += wi[v] * yi[v] * _of_lane(x, v)
            for k in range(j + 1):
                other = basis[i, k]
                for v in range(LANES):
                    product = _of_lane(x, v) * _of_lane(other, v)
                    inverse[at, v] += wi[v] * product
                    square[at, v] += wi[v] * wi[v] * (d * product)
                at += 1


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_residuals(y, moves, basis, sums):
    """Turn X'Wy into the estimates, weights into P y, and add up y'Py and y'PDPy."""
    w, coordinates, other, inverse, square, _, _, scalars = sums
    n_columns = basis.shape[1]
    other[:] = coordinates
    coordinates[:] = 0.0
    for j in range(n_columns):
        for k in range(n_columns):
            at = max(j, k) * (max(j, k) + 1) // 2 + min(j, k)
            for v in range(LANES):
                coordinates[j, v] += inverse[at, v] * other[k, v]
    for j in range(n_columns):
        for k in range(j + 1):
            at, twice = j * (j + 1) // 2 + k, 1.0 if j == k else 2.0
            for v in range(LANES):
                scalars[0, v] -= twice * inverse[at, v] * square[at, v]
    left = scalars[7]
    for i in range(len(y)):
        wi, yi, d = w[i], y[i], moves[i]
        for v in range(LANES):
            left[v] = yi[v]
        for j in range(n_columns):
            x = basis[i, j]
            for v in range(LANES):
                left[v] -= _of_lane(x, v) * coordinates[j, v]
        for v in range(LANES):
            scalars[1, v] += left[v] * (wi[v] * left[v])
            scalars[2, v] += d * (wi[v] * left[v]) * (wi[v] * left[v])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def evaluate(
    tau2: np.ndarray,
    s: np.ndarray,
    y: np.ndarray,
    moves: np.ndarray,
    basis: np.ndarray,
    sums: tuple[np.ndarray, ...],
) -> None:
    """Fit a block of voxels at given variances.

    Parameters
    ----------
    tau2 : array, shape (LANES,)
    s, y : arrays, shape (n, LANES)
        Variances and values; a map that a voxel lacks has the variance infinity and the value 0.
    moves : array, shape (n,)
        d, 0 or 1.
    basis : array, shape (n, r) or (n, r, LANES)
        Columns of full rank.
    sums : tuple
        Of `new_sums`. Gets the estimates (1), the inverse of A (3), and among the scalars (7)
        tr(PD), y'Py and y'PDPy.
    """
    _add_weighted(tau2, s, y, moves, basis, sums)
    invert(sums[3], basis.shape[1])
    _add_residuals(y, moves, basis, sums)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _evaluate_curvature(y, moves, basis, sums):
    """Add y'PDPDPy and tr(PDPD) to what `evaluate` wrote, scalars 3 and 4."""
    w, coordinates, other, inverse, square, cube, product, scalars = sums
    n_columns = basis.shape[1]
    other[:] = 0.0
    cube[:] = 0.0
    left = scalars[7]
    for i in range(len(y)):
        wi, yi, d = w[i], y[i], moves[i]
        for v in range(LANES):
            left[v] = yi[v]
        for j in range(n_columns):
            x = basis[i, j]
            for v in range(LANES):
                left[v] -= _of_lane(x, v) * coordinates[j, v]
        for v in range(LANES):
            scaled = wi[v] * left[v]
            left[v] = d * (wi[v] * scaled)
            scalars[3, v] += left[v] * scaled
            scalars[4, v] += d * (wi[v] * wi[v])
        at = 0
        for j in range(n_columns):
            x = basis[i, j]
            for v in range(LANES):
                other[j, v] += _of_lane(x, v) * left[v]
            for k in range(j + 1):
                second = basis[i, k]
                for v in range(LANES):
                    moved = d * _of_lane(x, v) * _of_lane(second, v)
                    cube[at, v] += wi[v] * wi[v] * wi[v] * moved
                at += 1
    _take_out_fitted(n_columns, other, inverse, square, cube, product, scalars)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _take_out_fitted(n_columns, other, inverse, square, cube, product, scalars):
    """Take from the sums of `_evaluate_curvature` what the estimates account for."""
    product[:] = 0.0
    for j in range(n_columns):
        for k in range(n_columns):
            jk = max(j, k) * (max(j, k) + 1) // 2 + min(j, k)
            for v in range(LANES):
                scalars[3, v] -= other[j, v] * inverse[jk, v] * other[k, v]
                scalars[4, v] -= 2.0 * inverse[jk, v] * cube[jk, v]
            for m in range(n_columns):
                jm = max(j, m) * (max(j, m) + 1) // 2 + min(j, m)
                mk = max(m, k) * (max(m, k) + 1) // 2 + min(m, k)
                for v in range(LANES):
                    product[j * n_columns + k, v] += inverse[jm, v] * square[mk, v]
    for j in range(n_columns):
        for k in range(n_columns):
            for v in range(LANES):
                jk, kj = j * n_columns + k, k * n_columns + j
                scalars[4, v] += product[jk, v] * product[kj, v]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def log_likelihood(
    tau2: float,
    s: np.ndarray,
    y: np.ndarray,
    moves: np.ndarray,
    basis: np.ndarray,
    work: np.ndarray,
) -> float:
    """Return the restricted log likelihood of one voxel, up to a constant of the design.

    Only which of two is larger is ever used, so its last bits are in no map.

    Parameters
    ----------
    tau2 : float
    s, y, moves : arrays, shape (n,)
    basis : array, shape (n, r)
    work : array, shape (r + 1, r + 1)
    """
    n_columns = basis.shape[1]
    work[:] = 0.0
    total = 0.0
    for i in range(len(y)):
        variance = s[i] + moves[i] * tau2
        if variance == np.inf:
            continue
        total -= math.log(variance)
        for j in range(n_columns + 1):
            left = y[i] if j == n_columns else basis[i, j]
            for k in range(j + 1):
                right = y[i] if k == n_columns else basis[i, k]
                work[j, k] += left * right / variance
    # The last row of the Cholesky triangle leaves y'Py.
    for j in range(n_columns + 1):
        for k in range(j):
            for m in range(k):
                work[j, k] -= work[j, m] * work[k, m]
            work[j, k] /= work[k, k]
            work[j, j] -= work[j, k] * work[j, k]
        if j < n_columns:
            total -= math.log(work[j, j])
            work[j, j] = np.sqrt(work[j, j])
    return float(0.5 * (total - work[n_columns, n_columns]))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _smallest(s, y, moves, basis, sums):
    """Return the smallest variance that moves, and a tau2 above which no maximum lies.

    With the residual sum of squares R of equal weights, at least f = n - r degrees of freedom,
    u the smallest variance plus tau2 and c the range of variances, the slope is at most half of
    R / u^2 - f / (u + c), negative above the root of f u^2 = R (u + c).
    """
    equal = np.empty(s.shape)
    smallest, largest, count = np.full(LANES, np.inf), np.zeros(LANES), np.zeros(LANES)
    for i in range(len(s)):
        for v in range(LANES):
            here = s[i, v] < np.inf
            equal[i, v] = 1.0 if here else np.inf
            if here:
                count[v] += 1.0
                largest[v] = max(largest[v], s[i, v])
                if moves[i] > 0.0:
                    smallest[v] = min(smallest[v], s[i, v])
    evaluate(np.zeros(LANES), equal, y, moves, basis, sums)
    above = np.zeros(LANES)
    for v in range(LANES):
        mean_square = sums[7][1, v] / max(count[v] - basis.shape[1], 1.0)
        spread = largest[v] - smallest[v]
        root = np.sqrt(mean_square * mean_square + 4.0 * mean_square * spread)
        above[v] = 0.5 * (mean_square + root) - smallest[v]
    return smallest, above


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _bracket_maxima(s, y, moves, basis, sums, smallest, above):
    """Return where the slope falls through 0 on a geometric grid, and how often it does.

    The first of the brackets of a lane is [0, 0] where the slope at 0 is not positive.
    """
    low, high = np.zeros((_MOST_MAXIMA, LANES)), np.zeros((_MOST_MAXIMA, LANES))
    count = np.zeros(LANES, np.int64)
    scalars = sums[7]
    tau2, last, slope = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    done = np.zeros(LANES, np.bool_)
    evaluate(tau2, s, y, moves, basis, sums)
    for v in range(LANES):
        slope[v] = scalars[2, v] - scalars[0, v]
        if not slope[v] > 0.0:
            count[v] = 1
        done[v] = not above[v] > 0.0
    for _ in range(_MOST_POINTS):
        if done.all():
            break
        for v in range(LANES):
            last[v] = tau2[v]
            if not done[v]:
                tau2[v] = _GRID_RATIO * (tau2[v] + smallest[v]) - smallest[v]
        evaluate(tau2, s, y, moves, basis, sums)
        for v in range(LANES):
            if done[v]:
                continue
            now = scalars[2, v] - scalars[0, v]
            if slope[v] > 0.0 and not now > 0.0:
                at = min(count[v], _MOST_MAXIMA - 1)
                low[at, v], high[at, v] = last[v], tau2[v]
                count[v] = at + 1
            slope[v] = now
            done[v] = tau2[v] >= above[v] and not now > 0.0
    return low, high, count


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _climb(s, y, moves, basis, sums, smallest, low, high):
    """Return the tau2 at which the slope falls through 0, between low and high.

    Newton's method by the observed information; a step that leaves the bracket halves it.
    """
    scalars = sums[7]
    a, b = low.copy(), high.copy()
    tau2, done = np.empty(LANES), np.zeros(LANES, np.bool_)
    for v in range(LANES):
        tau2[v] = 0.5 * (a[v] + b[v])
        done[v] = not b[v] > a[v]
    for _ in range(_MOST_STEPS):
        if done.all():
            break
        evaluate(tau2, s, y, moves, basis, sums)
        _evaluate_curvature(y, moves, basis, sums)
        for v in range(LANES):
            if done[v]:
                continue
            slope = scalars[2, v] - scalars[0, v]
            if slope > 0.0:
                a[v] = tau2[v]
            else:
                b[v] = tau2[v]
            step = slope / (2.0 * scalars[3, v] - scalars[4, v])
            to = tau2[v] + step
            if abs(step) <= _LAST_STEP * (tau2[v] + smallest[v]):
                tau2[v] = max(to, 0.0)
                done[v] = True
            elif a[v] < to < b[v]:
                tau2[v] = to
            else:
                tau2[v] = 0.5 * (a[v] + b[v])
                done[v] = not a[v] < tau2[v] < b[v]
    return tau2


@numba.njit(nogil=True, cache=True, error_model="numpy")
def restricted_likelihood(
    s: np.ndarray,
    y: np.ndarray,
    moves: np.ndarray,
    basis: np.ndarray,
    sums: tuple[np.ndarray, ...],
) -> np.ndarray:
    """Return the tau2, at least 0, of the highest restricted likelihood, shape (LANES,)."""
    smallest, above = _smallest(s, y, moves, basis, sums)
    low, high, count = _bracket_maxima(s, y, moves, basis, sums, smallest, above)
    tau2 = _climb(s, y, moves, basis, sums, smallest, low[0], high[0])
    most = count.max()
    if most < 2:
        return tau2
    work = np.empty((basis.shape[1] + 1, basis.shape[1] + 1))
    best = np.empty(LANES)
    for v in range(LANES):
        if count[v] > 1:
            best[v] = log_likelihood(tau2[v], s[:, v], y[:, v], moves, _of_voxel(basis, v), work)
    for c in range(1, most):
        other = _climb(s, y, moves, basis, sums, smallest, low[c], high[c])
        for v in range(LANES):
            if count[v] > c:
                height = log_likelihood(
                    other[v], s[:, v], y[:, v], moves, _of_voxel(basis, v), work
                )
                if height > best[v]:
                    best[v], tau2[v] = height, other[v]
    return tau2


@numba.njit(nogil=True, cache=True, error_model="numpy")
def where_q_is(
    target: np.ndarray,
    s: np.ndarray,
    y: np.ndarray,
    moves: np.ndarray,
    basis: np.ndarray,
    sums: tuple[np.ndarray, ...],
) -> np.ndarray:
    """Return the tau2 at which Q is a target, 0 where it is below it at 0, shape (LANES,).

    1 / Q is a concave function of tau2 that rises, so Newton's steps from 0 never pass the root.

    Parameters
    ----------
    target : array, shape (LANES,)
    s, y, moves, basis, sums
        As of `evaluate`.
    """
    scalars = sums[7]
    tau2, done = np.zeros(LANES), np.zeros(LANES, np.bool_)
    for _ in range(_MOST_STEPS):
        evaluate(tau2, s, y, moves, basis, sums)
        for v in range(LANES):
            if done[v]:
                continue
            q = scalars[1, v]
            step = (q / target[v] - 1.0) * (q / scalars[2, v])
            if step > 0.0:
                tau2[v] += step
            done[v] = not step > _LAST_STEP * tau2[v]
        if done.all():
            break
    return tau2


@numba.njit(nogil=True, cache=True, error_model="numpy")
def tau2_by(
    method: int,
    dof: np.ndarray,
    s: np.ndarray,
    y: np.ndarray,
    moves: np.ndarray,
    basis: np.ndarray,
    sums: tuple[np.ndarray, ...],
) -> np.ndarray:
    """Return the tau2 of a block of voxels by a method, from `FIXED` to `LIKELIHOOD`.

    Parameters
    ----------
    method : int
    dof : array, shape (LANES,)
        Residual degrees of freedom.
    s, y, moves, basis, sums
        As of `evaluate`.
    """
    if method == PAULE_MANDEL:
        return where_q_is(dof, s, y, moves, basis, sums)
    if method == LIKELIHOOD:
        return restricted_likelihood(s, y, moves, basis, sums)
    tau2 = np.zeros(LANES)
    if method == MOMENTS:
        evaluate(tau2, s, y, moves, basis, sums)
        scalars = sums[7]
        for v in range(LANES):
            tau2[v] = max(0.0, (scalars[1, v] - dof[v]) / scalars[0, v])
    return tau2


@numba.njit(nogil=True, cache=True, error_model="numpy")
def load(values: np.ndarray, first: int, fill: float, block: np.ndarray) -> int:
    """Copy voxels from `first` on, shape (n, v), to the lanes of a block; others get `fill`."""
    n_here = min(LANES, values.shape[1] - first)
    for i in range(len(values)):
        for v in range(n_here):
            block[i, v] = values[i, first + v]
        for v in range(n_here, LANES):
            block[i, v] = fill
    return n_here


@numba.njit(nogil=True, cache=True, error_model="numpy")
def add_by_group(
    s: np.ndarray, tau2: np.ndarray, groups: np.ndarray, skipped: int, total: np.ndarray
) -> None:
    """Write s + tau2 of each map's group into total, but for one group that is skipped."""
    for i in range(len(s)):
        g = groups[i]
        for v in range(LANES):
            total[i, v] = s[i, v] + (0.0 if g == skipped else tau2[g, v])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def likelihood_by_group(
    s: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    basis: np.ndarray,
    sums: tuple[np.ndarray, ...],
    tau2: np.ndarray,
) -> None:
    """Write the tau2 of every group at the highest restricted likelihood, shape (g, LANES).

    Each is brought to its maximum given the others until none moves: they depend on each other
    by the columns that groups share alone.
    """
    n_groups = len(tau2)
    total, moves = np.empty(s.shape), np.empty(len(s))
    tau2[:] = 0.0
    settled = np.zeros(LANES, np.bool_)
    for _ in range(_MOST_ROUNDS):
        change, size = np.zeros(LANES), np.zeros(LANES)
        for g in range(n_groups):
            for i in range(len(s)):
                moves[i] = 1.0 if groups[i] == g else 0.0
            add_by_group(s, tau2, groups, g, total)
            own = restricted_likelihood(total, y, moves, basis, sums)
            for v in range(LANES):
                if not settled[v]:
                    change[v] = max(change[v], abs(own[v] - tau2[g, v]))
                    size[v] = max(size[v], own[v])
                    tau2[g, v] = own[v]
        for v in range(LANES):
            # Also where no group has any variance.
            settled[v] = settled[v] or not change[v] > _SETTLED * size[v]
        if n_groups == 1 or settled.all():
            break


@numba.njit(nogil=True, cache=True, error_model="numpy")
def combine_rows(
    rows: np.ndarray,
    coordinates: np.ndarray,
    inverse: np.ndarray,
    estimates: np.ndarray,
    covariance: np.ndarray,
) -> None:
    """Write rows x estimates, and the lower triangle of rows x inverse of A x rows'.

    Rows are those of all lanes, shape (q, r), or of each, (q, r, LANES).
    """
    n_rows, n_columns = rows.shape[0], rows.shape[1]
    estimates[:] = 0.0
    covariance[:] = 0.0
    at = 0
    for j in range(n_rows):
        for a in range(n_columns):
            for v in range(LANES):
                estimates[j, v] += _of_lane(rows[j, a], v) * coordinates[a, v]
        for k in range(j + 1):
            for a in range(n_columns):
                for b in range(n_columns):
                    ab = max(a, b) * (max(a, b) + 1) // 2 + min(a, b)
                    left, right = rows[j, a], rows[k, b]
                    for v in range(LANES):
                        product = _of_lane(left, v) * _of_lane(right, v)
                        covariance[at, v] += product * inverse[ab, v]
            at += 1


@numba.njit(nogil=True, cache=True, error_model="numpy")
def mean_square_length(estimates: np.ndarray, covariance: np.ndarray) -> None:
    """Replace estimates of rows by the root of their mean square in units of their covariance.

    It takes the place of the first row, and 1 that of its variance.

    Parameters
    ----------
    estimates : array, shape (k, LANES)
    covariance : array, shape (k (k + 1) / 2, LANES)
        Lower triangles; overwritten.
    """
    n_rows = len(estimates)
    invert(covariance, n_rows)
    for v in range(LANES):
        square, at = 0.0, 0
        for j in range(n_rows):
            for k in range(j + 1):
                twice = 1.0 if j == k else 2.0
                square += twice * estimates[j, v] * covariance[at, v] * estimates[k, v]
                at += 1
        estimates[0, v], covariance[0, v] = np.sqrt(max(square, 0.0) / n_rows), 1.0
