"""Compiled passes over the partial correlations of a tile of shuffles and voxels.

Matrix products in float32 find candidates only. What is kept (extremes, comparisons near a tie,
voxels above a threshold) is computed again in float64, summed in one fixed order, so it does not
depend on tiles, shards, threads or the matrix library.
"""

import numba
import numpy as np

from nipype_group.stats.matrix_products import dot


def float32_error(n_maps: int) -> float:
    """Bound the error of a float32 product of two unit vectors of n_maps elements."""
    return max(1e-5, n_maps * 2.0**-24 + 2.0**-22)


@numba.njit(nogil=True, cache=True)
def exact_correlation(rows: np.ndarray, n_effect: int, series: np.ndarray) -> float:
    """Return the partial correlation of one shuffle at one voxel.

    Parameters
    ----------
    rows : float64 array, shape (r + q, n)
        Effect rows, then nuisance rows.
    n_effect : int
        r; the result is signed where it is 1.
    series : float64 array, shape (n,)
        Series of unit length.
    """
    rest, square, product = 1.0, 0.0, 0.0
    for i in range(n_effect):
        product = dot(rows[i], series)
        square += product * product
    for i in range(n_effect, rows.shape[0]):
        nuisance = dot(rows[i], series)
        rest -= nuisance * nuisance
    if rest <= 0.0:
        return 0.0
    value = product / np.sqrt(rest) if n_effect == 1 else np.sqrt(square / rest)
    return min(max(value, -1.0), 1.0)


@numba.njit(nogil=True, cache=True)
def exact_correlations(rows: np.ndarray, n_effect: int, series: np.ndarray) -> np.ndarray:
    """Return the partial correlation of one shuffle at every voxel, series of shape (v, n)."""
    values = np.empty(len(series))
    for v in range(len(series)):
        values[v] = exact_correlation(rows, n_effect, series[v])
    return values


@numba.njit(nogil=True, cache=True, error_model="numpy")
def reaches(
    products: np.ndarray,
    rows: np.ndarray,
    n_effect: int,
    series: np.ndarray,
    reference: np.ndarray,
    tail_sign: int,
    reached: np.ndarray,
) -> None:
    """Tell which shuffles reach the reference of which voxels.

    What lies within the rounding of a float64 product of the reference is computed again.

    Parameters
    ----------
    products : float64 array, shape (r + q, m, v)
        Products of rows and series, summed in any order.
    rows : float64 array, shape (m, r + q, n)
    n_effect : int
        r; correlations are signed where it is 1.
    series : float64 array, shape (v, n)
        Series of unit length, or 0.
    reference : float64 array, shape (v,)
        On the side of the tail.
    tail_sign : int
        1, -1, or 0 for absolute values.
    reached : bool array, shape (m, v)
        Gets the answers.
    """
    n_parts, n_shuffles, n_voxels = products.shape
    rounding = rows.shape[2] * 2.0**-52
    for s in range(n_shuffles):
        for v in range(n_voxels):
            rest, square = 1.0, 0.0
            for i in range(n_effect, n_parts):
                rest -= products[i, s, v] * products[i, s, v]
            for i in range(n_effect):
                square += products[i, s, v] * products[i, s, v]
            value = np.sqrt(square / max(rest, rounding))
            if tail_sign != 0 and n_effect == 1 and products[0, s, v] < 0.0:
                value = -value
            if tail_sign < 0:
                value = -value
            above = min(max(value, -1.0), 1.0) - reference[v]
            # To first order a correlation is off by the rounding of a product over what is left.
            if abs(above) * max(rest - 4.0 * rounding, rounding) <= 2.0 * rounding * n_parts:
                exact = exact_correlation(rows[s], n_effect, series[v])
                above = (abs(exact) if tail_sign == 0 else tail_sign * exact) - reference[v]
            reached[s, v] = above >= 0.0


# Each loop below gives the same for any order of its steps, or its rounding is covered by the
# bound on float32, so it may run in vectors.
@numba.njit(nogil=True, cache=True, fastmath={"nnan", "nsz", "reassoc"})
def to_correlations(
    products: np.ndarray, n_effect: int, n_real: int, smallest_rest: np.ndarray
) -> None:
    """Turn products into correlations, in place of the first effect row.

    Parameters
    ----------
    products : float32 array, shape (r + q, shuffles, voxels)
    n_effect : int
        r.
    n_real : int
        Voxels that are no padding.
    smallest_rest : float32 array, shape (shuffles,)
        Gets the smallest ``1 - |nuisance products|^2`` over voxels.
    """
    n_parts, n_shuffles, _ = products.shape
    for s in range(n_shuffles):
        smallest = np.float32(1.0)
        for v in range(n_real):
            rest = np.float32(1.0)
            for i in range(n_effect, n_parts):
                rest -= products[i, s, v] * products[i, s, v]
            smallest = min(smallest, rest)
            rest = max(rest, np.float32(1e-12))
            if n_effect == 1:
                products[0, s, v] /= np.sqrt(rest)
            else:
                square = np.float32(0.0)
                for i in range(n_effect):
                    square += products[i, s, v] * products[i, s, v]
                products[0, s, v] = np.sqrt(square / rest)
        smallest_rest[s] = smallest


@numba.njit(nogil=True, cache=True, fastmath={"nnan", "nsz", "reassoc"})
def _range_of(values, signed_bits, unsigned_bits, word, word_as_float):
    """Return the smallest and largest value, from their bits.

    Among floats of both signs the largest has the largest signed bits, the smallest the largest
    unsigned bits, and integers compare in vectors. `word` and `word_as_float` are views of one
    number, through which bits become floats.
    """
    high, low = signed_bits[0], unsigned_bits[0]
    for v in range(len(signed_bits)):
        # Not `max`, each type of which numba would compile.
        high = signed_bits[v] if signed_bits[v] > high else high
        low = unsigned_bits[v] if unsigned_bits[v] > low else low
    if high < 0 or low < np.uint32(0x80000000):
        bottom, top = values[0], values[0]
        for v in range(len(values)):
            bottom = values[v] if values[v] < bottom else bottom
            top = values[v] if values[v] > top else top
        return bottom, top
    word[0] = np.uint32(low)
    bottom = word_as_float[0]
    word[0] = np.uint32(high)
    return bottom, word_as_float[0]


@numba.njit(nogil=True, cache=True, fastmath={"nnan", "nsz", "reassoc"})
def _count_one_side(values, sign, reference, bound, counts):
    """Count values surely above the reference; return how many are too near to tell."""
    near = np.int32(0)
    for v in range(len(values)):
        difference = sign * values[v] - reference[v]
        surely = np.int32(difference > bound)
        counts[v] = np.int32(counts[v] + surely)
        near = np.int32(near + np.int32(np.int32(difference >= -bound) - surely))
    return near


@numba.njit(nogil=True, cache=True, fastmath={"nnan", "nsz", "reassoc"})
def _count_both_sides(values, reference, bound, counts):
    """Count absolute values surely above the reference, as `_count_one_side`."""
    near = np.int32(0)
    for v in range(len(values)):
        difference = abs(values[v]) - reference[v]
        surely = np.int32(difference > bound)
        counts[v] = np.int32(counts[v] + surely)
        near = np.int32(near + np.int32(np.int32(difference >= -bound) - surely))
    return near


@numba.njit(nogil=True, cache=True)
def _keep(side, s, correlations, bound, forming, rows, n_effect, series, first_voxel, kept):
    """Append the voxels of a side that reach the cluster-forming correlation."""
    voxels, values, sizes = kept
    sign = 1 - 2 * side
    for v in range(len(series)):
        if sign * correlations[v] >= forming - bound:
            exact = sign * exact_correlation(rows, n_effect, series[v])
            if exact >= forming:
                at = sizes[side, s]
                voxels[side, s, at] = first_voxel + v
                values[side, s, at] = exact
                sizes[side, s] = at + 1


@numba.njit(nogil=True, cache=True)
def _rounding_bound(error, n_effect, n_nuisance, smallest_rest):
    """Return a bound on the float32 error of a correlation."""
    if n_nuisance == 0:
        return error * np.sqrt(float(n_effect))
    # d R <= error (sqrt(r) + sqrt(q)) / rest, by the first-order expansion of R; near rest = 0
    # every voxel is computed again.
    factor = np.sqrt(float(n_effect)) + np.sqrt(float(n_nuisance))
    return error * factor / max(smallest_rest - 4 * error, 1e-12)


@numba.njit(nogil=True, cache=True)
def scan_tile(
    correlations: np.ndarray,
    signed_bits: np.ndarray,
    unsigned_bits: np.ndarray,
    smallest_rest: np.ndarray,
    rows: np.ndarray,
    n_effect: int,
    series: np.ndarray,
    reference: np.ndarray,
    reference32: np.ndarray,
    tail_sign: int,
    error: float,
    forming: float,
    first_voxel: int,
    counts: np.ndarray,
    highest: np.ndarray,
    lowest: np.ndarray,
    kept: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Update counts, extremes and voxels above the threshold from a tile.

    Parameters
    ----------
    correlations : float32 array, shape (shuffles, voxels)
    signed_bits, unsigned_bits : int32 and uint32 views of it
    smallest_rest : float32 array, shape (shuffles,)
        From `to_correlations`; ones without nuisance rows.
    rows : float64 array, shape (shuffles, r + q, n)
    n_effect : int
        r; correlations are signed where it is 1.
    series : float64 array, shape (v, n)
        Series of the real voxels.
    reference : float64 array, shape (v,)
        What counts compare with, on the side of the tail, less the tolerance of a tie.
    reference32 : float32 array, shape (v,)
        The same; far below -1 where every shuffle counts.
    tail_sign : int
        1, -1, or 0 for absolute values.
    error : float
        Bound on the float32 error of one product of unit vectors.
    forming : float
        Cluster-forming correlation, above 1 for none.
    first_voxel : int
        Number of the tile's first voxel.
    counts : int32 array, shape (v,)
    highest, lowest : float64 arrays, shape (shuffles,)
        The lowest where correlations are signed.
    kept : tuple
        voxels int32 and values float64, both of shape (2, shuffles, capacity), positive side
        first, and sizes int32 of shape (2, shuffles).
    """
    n_real, n_parts = len(series), rows.shape[1]
    sides = 2 if n_effect == 1 else 1
    word = np.zeros(1, np.uint32)
    word_as_float = word.view(np.float32)
    for s in range(len(correlations)):
        bound = _rounding_bound(error, n_effect, n_parts - n_effect, smallest_rest[s])
        values = correlations[s, :n_real]
        bottom, top = _range_of(
            values, signed_bits[s, :n_real], unsigned_bits[s, :n_real], word, word_as_float
        )
        if top + bound >= highest[s]:
            for v in range(n_real):
                if values[v] >= top - 2 * bound:
                    exact = exact_correlation(rows[s], n_effect, series[v])
                    highest[s] = max(highest[s], exact)
        if sides == 2 and bottom - bound <= lowest[s]:
            for v in range(n_real):
                if values[v] <= bottom + 2 * bound:
                    exact = exact_correlation(rows[s], n_effect, series[v])
                    lowest[s] = min(lowest[s], exact)
        for side in range(sides):
            if (-bottom if side else top) + bound >= forming:
                _keep(
                    side, s, values, bound, forming, rows[s], n_effect, series, first_voxel, kept
                )
        # Rounding of the reference to float32 moves it by less than 1e-7.
        limit = np.float32(bound + 1e-7)
        if tail_sign == 0:
            near = _count_both_sides(values, reference32, limit, counts)
        else:
            near = _count_one_side(values, np.float32(tail_sign), reference32, limit, counts)
        if near == 0:
            continue
        for v in range(n_real):
            value = abs(values[v]) if tail_sign == 0 else np.float32(tail_sign) * values[v]
            if abs(value - reference32[v]) <= limit:
                exact = exact_correlation(rows[s], n_effect, series[v])
                exact = abs(exact) if tail_sign == 0 else tail_sign * exact
                counts[v] += np.int32(exact >= reference[v])
