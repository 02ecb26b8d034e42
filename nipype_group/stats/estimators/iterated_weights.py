"""Compiled robust fits by weights that are estimated again until they settle, a voxel at a time.

The columns of a voxel's design are orthonormal, shape (k, n), so that a step's length is that of
the fitted values. A voxel is fitted by itself: its bits depend on no other.

Huber's weights are 1 up to k scales and fall as 1 / |r| beyond; those of the bisquare are
(1 - (r / c scale)^2)^2, and 0 beyond c scales. The scale of both is the median of |r| about the
fit over 0.6745, estimated again in every step (Venables and Ripley 2002, as ``MASS::rlm``). MM
(Yohai 1987) holds the scale of an S-estimate (Rousseeuw and Yohai 1984): that of the fit whose M
scale, sum rho(r / s) = (n - k) / 2, is smallest; its search is that of Salibian-Barrera and Yohai
(2006), as in ``robustbase::lmrob``.
"""

import numba
import numpy as np

from nipype_group.stats.estimators.small_matrices import (
    factorise,
    invert_factorised,
    solve_backward,
    solve_forward,
)
from nipype_group.stats.matrix_products import dot

HUBER, BISQUARE = range(2)
# 95 % efficiency for normal errors; breakdown of half of the maps for the S-estimate.
TUNING = (1.345, 4.685)
TUNING_MM = 4.685061
TUNING_S = 1.54764
_NORMAL_MEDIAN = 0.6745
# Length of a step, in scales, at which a fit has settled; its error is a few times that.
_SETTLED = 1e-10
# After so many steps those that turn back go half of their way, as the median swings a few voxels
# back and forth; where each is a little shorter than the last, all to come are taken at once, and
# again after twice as many.
_PATIENCE = 50
_MOST_STEPS = 2000
# Part of the fitted values that rounding moves in every step.
_ROUNDING = 1e-15
# Values of maps are float32: a scale below this share of them is none.
_LAST_PLACE = 2.0**-23
# Share of a scale that is left to find.
_LAST_DIGIT = 1e-14
# Pivot of a subset of maps that is taken for 0; rows of an orthonormal basis are below 1.
_SINGULAR = 1e-7
# Sorting by insertion takes the square of the number of values that are out of order.
_FEW = 64
# Candidates of the S-estimate that are followed to the end.
_FOLLOWED = 10


@numba.njit(nogil=True, cache=True, error_model="numpy")
def new_room(n_columns: int, n_maps: int) -> tuple[np.ndarray, ...]:
    """Return the arrays that a fit of n maps works in: vectors, matrices and the order of maps."""
    return (
        np.zeros((4, n_maps)),
        np.zeros((4, n_columns, n_columns)),
        np.zeros((4, n_columns)),
        np.arange(n_maps),
    )


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _residuals(design, y, coordinates, residuals):
    """Write y less what the design fits."""
    n = len(y)
    for i in range(n):
        residuals[i] = y[i]
    for j in range(len(design)):
        column, factor = design[j], coordinates[j]
        for i in range(n):
            residuals[i] -= factor * column[i]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _median_size(residuals, order, sizes):
    """Return the median of |r|; `order` is that of the last call, which is nearly this one's."""
    n = len(residuals)
    for i in range(n):
        at = order[i]
        size = abs(residuals[at])
        j = i - 1
        while j >= 0 and sizes[j] > size:
            sizes[j + 1], order[j + 1] = sizes[j], order[j]
            j -= 1
        sizes[j + 1], order[j + 1] = size, at
    half = n // 2
    return sizes[half] if n % 2 else 0.5 * (sizes[half - 1] + sizes[half])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _sort_first(residuals, order):
    """Put many maps in the order of |r|."""
    if len(order) > _FEW:
        order[:] = np.argsort(np.abs(residuals))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def weigh(kind: int, tuning: float, residuals: np.ndarray, weights: np.ndarray) -> None:
    """Write the weights psi(u) / u of residuals; `tuning` is in their units."""
    if kind == HUBER:
        for i in range(len(residuals)):
            weights[i] = tuning / max(abs(residuals[i]), tuning)
    else:
        for i in range(len(residuals)):
            u = residuals[i] / tuning
            left = max(1.0 - u * u, 0.0)
            weights[i] = left * left


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_up(design, weights, weighted, matrix):
    """Write X'WX, lower triangle."""
    for j in range(len(design)):
        column = design[j]
        for i in range(len(weights)):
            weighted[i] = weights[i] * column[i]
        for k in range(j + 1):
            matrix[j, k] = dot(weighted, design[k])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _refit(design, residuals, weights, coordinates, room):
    """Move coordinates by the weighted fit of the residuals; return the step's squared length.

    -1 where the weights leave a column without maps.
    """
    vectors, matrices, columns, _ = room
    weighted, step, matrix, lower = vectors[3], columns[3], matrices[0], matrices[1]
    _add_up(design, weights, weighted, matrix)
    for i in range(len(residuals)):
        weighted[i] = weights[i] * residuals[i]
    for j in range(len(design)):
        step[j] = dot(design[j], weighted)
    if not factorise(matrix, lower):
        return -1.0
    solve_forward(lower, step)
    solve_backward(lower, step)
    square = 0.0
    for j in range(len(design)):
        coordinates[j] += step[j]
        square += step[j] * step[j]
    return square


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _has_settled(square, coordinates, scale):
    reach = _SETTLED * scale
    return square <= reach * reach + _ROUNDING * _ROUNDING * dot(coordinates, coordinates)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _hasten(coordinates, step, last, number, leap_at):
    """Go half of a step back that turns, or add the steps to come (Aitken 1926).

    Returns the number of the step after which these are added next.
    """
    along = dot(step, last)
    part = -0.5 if along < 0.0 else 0.0
    if along > 0.0 and number >= leap_at:
        ratio, leap_at = along / dot(last, last), 2 * leap_at
        part = ratio / (1.0 - ratio) if ratio < 1.0 else 0.0
    for j in range(len(step)):
        coordinates[j] += part * step[j]
    return leap_at


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _iterate(kind, tuning, held, design, y, coordinates, room):
    """Move coordinates until they settle; return the scale and whether they did.

    The scale is `held`, or where that is 0 the median of |r| in every step. It is 0 where most
    maps are fitted exactly, and where weights leave a column without maps.
    """
    vectors, _, _, order = room
    residuals, weights, sizes = vectors[0], vectors[1], vectors[2]
    least = _LAST_PLACE * np.sqrt(dot(y, y) / len(y))
    leap_at = _PATIENCE
    for step in range(_MOST_STEPS):
        _residuals(design, y, coordinates, residuals)
        scale = held
        if held == 0.0:
            if step == 0:
                _sort_first(residuals, order)
            scale = _median_size(residuals, order, sizes) / _NORMAL_MEDIAN
        if not scale > least:
            return 0.0, True
        weigh(kind, tuning * scale, residuals, weights)
        square = _refit(design, residuals, weights, coordinates, room)
        if square < 0.0:
            return 0.0, True
        if _has_settled(square, coordinates, scale):
            _residuals(design, y, coordinates, residuals)
            if held == 0.0:
                scale = _median_size(residuals, order, sizes) / _NORMAL_MEDIAN
            return scale, True
        if step >= _PATIENCE:
            leap_at = _hasten(coordinates, room[2][3], room[2][2], step, leap_at)
        room[2][2][:] = room[2][3]
    return scale, False


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _error_variance(kind, tuning, scale, residuals, weights, n_columns):
    """Return what (X'X)^-1 is multiplied by: Huber's (1981, 7.6) first form, with his correction.

    sum psi^2 / (n - k) (kappa / mean psi')^2, kappa = 1 + k var(psi') / (n mean(psi')^2); 0 where
    psi' has no positive mean.
    """
    n = len(residuals)
    weigh(kind, tuning * scale, residuals, weights)
    squares, total, total_square = 0.0, 0.0, 0.0
    for i in range(n):
        part = weights[i] * residuals[i]
        squares += part * part
        u = residuals[i] / (tuning * scale)
        if kind == HUBER:
            slope = 1.0 if abs(u) <= 1.0 else 0.0
        else:
            slope = (1.0 - u * u) * (1.0 - 5.0 * u * u) if abs(u) < 1.0 else 0.0
        total += slope
        total_square += slope * slope
    mean = total / n
    if not mean > 0.0:
        return 0.0
    variance = (total_square - total * mean) / (n - 1)
    kappa = 1.0 + n_columns * variance / (n * mean * mean)
    return squares / (n - n_columns) * (kappa / mean) ** 2


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _rho_sum(residuals, scale):
    """Return the sum of the S-estimate's rho, which is 1 from TUNING_S scales on."""
    total, inverse = 0.0, 1.0 / (TUNING_S * scale)
    for i in range(len(residuals)):
        u = residuals[i] * inverse
        left = max(1.0 - u * u, 0.0)
        total += 1.0 - left * left * left
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _s_scale(residuals, start, n_columns):
    """Return the scale at which rho sums to (n - k) / 2, by Newton's steps between bounds."""
    target = 0.5 * (len(residuals) - n_columns)
    low, high, scale = 0.0, np.inf, start
    for _ in range(200):
        total, slope, inverse = 0.0, 0.0, 1.0 / (TUNING_S * scale)
        for i in range(len(residuals)):
            u = residuals[i] * inverse
            left = max(1.0 - u * u, 0.0)
            total += 1.0 - left * left * left
            slope += 6.0 * u * u * left * left
        if total > target:
            low = scale
        else:
            high = scale
        after = scale * (1.0 + (total - target) / slope) if slope > 0.0 else 0.0
        if not (low < after < high):
            after = 2.0 * scale if high == np.inf else 0.5 * (low + high)
        if abs(after - scale) <= _LAST_DIGIT * scale:
            return after
        scale = after
    return scale


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _through(design, y, subset, matrix, solution):
    """Write the coordinates that fit a subset of k maps exactly; False where they are none."""
    k = len(design)
    for a in range(k):
        solution[a] = y[subset[a]]
        for j in range(k):
            matrix[a, j] = design[j, subset[a]]
    for j in range(k):
        at = j
        for a in range(j + 1, k):
            if abs(matrix[a, j]) > abs(matrix[at, j]):
                at = a
        if not abs(matrix[at, j]) > _SINGULAR:
            return False
        if at != j:
            solution[j], solution[at] = solution[at], solution[j]
            for b in range(j, k):
                matrix[j, b], matrix[at, b] = matrix[at, b], matrix[j, b]
        for a in range(j + 1, k):
            factor = matrix[a, j] / matrix[j, j]
            solution[a] -= factor * solution[j]
            for b in range(j + 1, k):
                matrix[a, b] -= factor * matrix[j, b]
    for j in range(k - 1, -1, -1):
        for b in range(j + 1, k):
            solution[j] -= matrix[j, b] * solution[b]
        solution[j] /= matrix[j, j]
    return True


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _keep(scale, coordinates, scales, kept):
    """Keep the candidates of the smallest scales, the smallest first."""
    at = len(scales) - 1
    while at > 0 and scales[at - 1] > scale:
        scales[at] = scales[at - 1]
        kept[at] = kept[at - 1]
        at -= 1
    scales[at] = scale
    kept[at] = coordinates


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _candidates(design, y, subsets, scales, kept, room):
    """Keep the fits of subsets of maps, a weighted step on, whose S scales are smallest."""
    vectors, matrices, columns, order = room
    residuals, weights, sizes = vectors[0], vectors[1], vectors[2]
    own, n_columns = columns[1], len(design)
    target = 0.5 * (len(y) - n_columns)
    scales[:] = np.inf
    for c in range(len(subsets)):
        if not _through(design, y, subsets[c], matrices[2], own):
            continue
        _residuals(design, y, own, residuals)
        if len(y) > _FEW:
            scale = np.median(np.abs(residuals)) / _NORMAL_MEDIAN
        else:
            scale = _median_size(residuals, order, sizes) / _NORMAL_MEDIAN
        if scale > 0.0:
            weigh(BISQUARE, TUNING_S * scale, residuals, weights)
            if _refit(design, residuals, weights, own, room) < 0.0:
                continue
            _residuals(design, y, own, residuals)
        # Only where the scale is smaller than the largest kept is it looked for.
        worst = scales[-1]
        if worst == np.inf or _rho_sum(residuals, worst) < target:
            start = scale if scale > 0.0 else np.sqrt(dot(residuals, residuals) / len(y))
            if start > 0.0:
                _keep(_s_scale(residuals, start, n_columns), own, scales, kept)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fit_s(design, y, subsets, coordinates, scales, kept, room):
    """Write the coordinates of the S-estimate; return its scale, 0 where there is none."""
    vectors, _, columns, _ = room
    residuals, weights = vectors[0], vectors[1]
    own, n_columns, best = columns[1], len(design), np.inf
    least = _LAST_PLACE * np.sqrt(dot(y, y) / len(y))
    _candidates(design, y, subsets, scales, kept, room)
    for c in range(len(scales)):
        scale = scales[c]
        if scale == np.inf:
            break
        own[:] = kept[c]
        _residuals(design, y, own, residuals)
        for _ in range(_MOST_STEPS):
            if not scale > least:
                return 0.0
            weigh(BISQUARE, TUNING_S * scale, residuals, weights)
            square = _refit(design, residuals, weights, own, room)
            _residuals(design, y, own, residuals)
            scale = _s_scale(residuals, scale, n_columns)
            if square < 0.0 or _has_settled(square, own, scale):
                break
        # The first of those that rounding alone tells apart.
        if square >= 0.0 and scale < best * (1.0 - 1e-10):
            best = scale
            coordinates[:] = own
    return best if best < np.inf else 0.0


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _covariance_mm(design, scale, residuals, first, room, packed):
    """Write the covariance of MM coordinates, lower triangle row after row; False without one.

    That of Croux, Dhaene and Hoorelbeke (2003), ``.vcov.avar1``, which holds where errors are
    skewed or their variance goes with the design; `first` are the residuals of the S-estimate.
    """
    vectors, matrices, columns, _ = room
    slopes, rhos, weighted = vectors[1], vectors[2], vectors[3]
    inverse, lower, bread = matrices[0], matrices[1], matrices[2]
    a, cross, n, k = columns[0], columns[1], len(residuals), len(design)
    mean, square, reach, reach_s = 0.0, 0.0, TUNING_MM * scale, TUNING_S * scale
    for i in range(n):
        u, u_s = residuals[i] / reach, first[i] / reach_s
        slopes[i] = (1.0 - u * u) * (1.0 - 5.0 * u * u) if abs(u) < 1.0 else 0.0
        left = max(1.0 - u_s * u_s, 0.0)
        rhos[i] = 1.0 - left * left * left
        mean += 6.0 * u_s * u_s * left * left
        square += rhos[i] * rhos[i] - 0.25
    _add_up(design, slopes, weighted, inverse)
    if not (mean > 0.0 and factorise(inverse, lower)):
        return False
    for i in range(n):
        weighted[i] = slopes[i] * residuals[i] / scale
    for j in range(k):
        a[j] = dot(design[j], weighted) * scale * n / mean
    solve_forward(lower, a)
    solve_backward(lower, a)
    weigh(BISQUARE, reach, residuals, slopes)
    for i in range(n):
        slopes[i] *= residuals[i] / scale
        weighted[i] = slopes[i] * rhos[i]
    for j in range(k):
        cross[j] = dot(design[j], weighted) * scale
    solve_forward(lower, cross)
    solve_backward(lower, cross)
    for i in range(n):
        rhos[i] = slopes[i] * slopes[i]
    _add_up(design, rhos, weighted, bread)
    invert_factorised(lower, inverse)
    _sandwiched(inverse, bread, scale * scale, matrices[3])
    at = 0
    for j in range(k):
        for m in range(j + 1):
            packed[at] = matrices[3][j, m] + square / n * a[j] * a[m] / n
            packed[at] -= (a[j] * cross[m] + cross[j] * a[m]) / n
            at += 1
    return True


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _sandwiched(inverse, bread, factor, result):
    """Write factor x inverse x bread x inverse; of bread the lower triangle is read."""
    k = len(inverse)
    for j in range(k):
        for m in range(j + 1):
            total = 0.0
            for a in range(k):
                for b in range(k):
                    between = bread[a, b] if a >= b else bread[b, a]
                    total += inverse[j, a] * between * inverse[b, m]
            result[j, m] = factor * total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _load(data, own, v, design, y, n_shared):
    """Copy the values and the own columns of a voxel."""
    for i in range(len(y)):
        y[i] = data[i, v]
        for c in range(len(own)):
            design[n_shared + c, i] = own[c, i, v]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def fit_by_median(
    data: np.ndarray,
    basis: np.ndarray,
    own: np.ndarray,
    bisquare: bool,
    coordinates: np.ndarray,
    found: np.ndarray,
) -> None:
    """Fit voxels by Huber's weights, and by the bisquare from there on.

    Parameters
    ----------
    data : array, shape (n, v)
    basis : array, shape (r, n)
        Orthonormal columns that all voxels share.
    own : array, shape (c, n, v)
        Orthonormal columns of every voxel, orthogonal to the shared ones.
    bisquare : bool
    coordinates : array, shape (r + c, v)
        Gets the estimates.
    found : array, shape (3, v)
        Gets the scale, the variance of coordinates (0 without a statistic), and 1 where the fit
        has settled.
    """
    n_shared, n_maps = basis.shape
    k = n_shared + len(own)
    design, y, current = np.empty((k, n_maps)), np.empty(n_maps), np.empty(k)
    room = new_room(k, n_maps)
    design[:n_shared] = basis
    residuals, weights = room[0][0], room[0][1]
    for v in range(data.shape[1]):
        _load(data, own, v, design, y, n_shared)
        for j in range(k):
            current[j] = dot(design[j], y)
        kind = HUBER
        scale, settled = _iterate(HUBER, TUNING[HUBER], 0.0, design, y, current, room)
        if bisquare and scale > 0.0:
            kind = BISQUARE
            scale, after = _iterate(BISQUARE, TUNING[BISQUARE], 0.0, design, y, current, room)
            settled = settled and after
        for j in range(k):
            coordinates[j, v] = current[j]
        found[0, v], found[1, v], found[2, v] = scale, 0.0, settled
        if scale > 0.0:
            found[1, v] = _error_variance(kind, TUNING[kind], scale, residuals, weights, k)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def scales_about_zero(data: np.ndarray, of_mm: bool) -> np.ndarray:
    """Return the scale of voxels whose model has no column, by the median of |y| or as MM.

    Parameters
    ----------
    data : array, shape (n, v)
    of_mm : bool

    Returns
    -------
    array, shape (v,)
        0 where most maps are 0.
    """
    n_maps, n_voxels = data.shape
    room, y, found = new_room(0, n_maps), np.empty(n_maps), np.zeros(n_voxels)
    for v in range(n_voxels):
        y[:] = data[:, v]
        _sort_first(y, room[3])
        scale = _median_size(y, room[3], room[0][2]) / _NORMAL_MEDIAN
        if scale > _LAST_PLACE * np.sqrt(dot(y, y) / n_maps):
            found[v] = _s_scale(y, scale, 0) if of_mm else scale
    return found


@numba.njit(nogil=True, cache=True, error_model="numpy")
def fit_mm(
    data: np.ndarray,
    basis: np.ndarray,
    own: np.ndarray,
    subsets: np.ndarray,
    coordinates: np.ndarray,
    found: np.ndarray,
    covariance: np.ndarray,
) -> None:
    """Fit voxels by MM.

    Parameters
    ----------
    data, basis, own, coordinates
        As of `fit_by_median`.
    subsets : int array, shape (s, r + c)
        Maps through which the fits go that the S-estimate starts from.
    found : array, shape (3, v)
        Gets the scale, its square (0 without a statistic), and 1 where the fit has settled.
    covariance : array, shape (k (k + 1) / 2, v)
        Gets the lower triangle of the coordinates' covariance, row after row.
    """
    n_shared, n_maps = basis.shape
    k = n_shared + len(own)
    design, y, current = np.empty((k, n_maps)), np.empty(n_maps), np.empty(k)
    room, first = new_room(k, n_maps), np.empty(n_maps)
    scales, kept = np.empty(_FOLLOWED), np.empty((_FOLLOWED, k))
    packed = np.empty(len(covariance))
    design[:n_shared] = basis
    residuals = room[0][0]
    for v in range(data.shape[1]):
        _load(data, own, v, design, y, n_shared)
        current[:] = 0.0
        scale, settled = _fit_s(design, y, subsets, current, scales, kept, room), True
        found[1, v] = 0.0
        if scale > 0.0:
            _residuals(design, y, current, first)
            scale, settled = _iterate(BISQUARE, TUNING_MM, scale, design, y, current, room)
        if scale > 0.0 and _covariance_mm(design, scale, residuals, first, room, packed):
            found[1, v] = scale * scale
            for at in range(len(packed)):
                covariance[at, v] = packed[at]
        for j in range(k):
            coordinates[j, v] = current[j]
        found[0, v], found[2, v] = scale, settled
