"""Maximum-statistic permutation inference for t contrasts.

For a shuffle P, effect direction x, nuisance basis Q and residuals E = R_Z Y (Freedman and Lane
1983) scaled to unit length, the partial correlation is ``rho = x'PE / sqrt(1 - |Q'PE|^2)`` and
``t = rho sqrt(dof / (1 - rho^2))``. t is monotone in rho, so maxima and counts are taken on rho.

Matrix products run in float32 over tiles of shuffles and voxels. They only find candidates: what
is kept (maxima, comparisons near a tie) is computed again in float64, summed in the order of the
maps, so it does not depend on tiles, shards, threads or the matrix library.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np

# Shuffles x voxels of a tile: its float32 products stay in a second-level cache.
SHUFFLES_PER_TILE = 256
VOXELS_PER_TILE = 1024
# Shuffles whose design rows are held at once.
SHUFFLES_PER_PASS = 4096
# Equal shufflings reach equal rho up to this relative error once nuisance has been fitted.
TIE_TOLERANCE = 1e-9

_SIDES = {"positive": 1, "negative": -1, "two-sided": 0}


@dataclass(frozen=True)
class ShuffleResult:
    """What shuffles first to last - 1 say about one contrast.

    Parameters
    ----------
    observed : float64 array, shape (v,)
        t of the data as they are.
    counts : int64 array, shape (v,)
        Shuffles whose t is at least as extreme as the observed one, on the side of the tail.
    highest, lowest : float64 arrays, shape (last - first,)
        Largest and smallest t over voxels of every shuffle.
    """

    observed: np.ndarray
    counts: np.ndarray
    highest: np.ndarray
    lowest: np.ndarray


@numba.njit(nogil=True, cache=True)
def _exact_rho(rows, shuffle, residuals, voxel):
    """Return rho of one shuffle at one voxel in float64, summed in the order of the maps."""
    n_rows, n_maps = rows.shape[1], rows.shape[2]
    effect = 0.0
    rest = 1.0
    for i in range(n_rows):
        product = 0.0
        for j in range(n_maps):
            product += rows[shuffle, i, j] * residuals[j, voxel]
        if i == 0:
            effect = product
        else:
            rest -= product * product
    if rest <= 0.0:
        return 0.0
    rho = effect / np.sqrt(rest)
    return min(max(rho, -1.0), 1.0)


@numba.njit(nogil=True, cache=True)
def _exact_rhos(rows, shuffle, residuals):
    """Return rho of one shuffle at every voxel in float64."""
    rho = np.empty(residuals.shape[1])
    for v in range(len(rho)):
        rho[v] = _exact_rho(rows, shuffle, residuals, v)
    return rho


# Minimum and maximum do not depend on the order of comparisons, so these may run in vectors.
@numba.njit(nogil=True, cache=True, fastmath={"nnan", "nsz", "reassoc"})
def _range_of(values):
    """Return the smallest and largest value."""
    low, high = values[0], values[0]
    for value in values:
        low = min(low, value)
        high = max(high, value)
    return low, high


@numba.njit(nogil=True, cache=True, fastmath={"nnan", "nsz", "reassoc"})
def _partial_correlations(products, shuffle, n_real):
    """Turn products of one shuffle into rho, in place; return the smallest 1 - |Q'PE|^2."""
    smallest = np.float32(1.0)
    for v in range(n_real):
        rest = np.float32(1.0)
        for i in range(1, products.shape[0]):
            rest -= products[i, shuffle, v] * products[i, shuffle, v]
        smallest = min(smallest, rest)
        products[0, shuffle, v] /= np.sqrt(max(rest, np.float32(1e-12)))
    return smallest


@numba.njit(nogil=True, cache=True)
def _count(values, lower, upper, counts):
    """Count values surely above the reference; return how many are too near to tell."""
    # All in 32 bits, or the loop would not run in vectors.
    near, zero, one = np.int32(0), np.int32(0), np.int32(1)
    for v in range(len(values)):
        surely = one if values[v] > upper[v] else zero
        perhaps = one if values[v] >= lower[v] else zero
        counts[v] = np.int32(counts[v] + surely)
        near = np.int32(near + np.int32(perhaps - surely))
    return near


@numba.njit(nogil=True, cache=True)
def _scan_tile(products, rows, residuals, observed, side, tie, error, counts, highest, lowest):
    """Update counts and extremes from one tile of float32 products.

    Parameters
    ----------
    products : float32 array, shape (1 + q, shuffles, v)
        Products of effect and nuisance rows with the residuals; changed in place.
    rows : float64 array, shape (shuffles, 1 + q, n)
        Shuffled design rows.
    residuals : float64 array, shape (n, v)
        Unit-length residuals.
    observed : float64 array, shape (v,)
        rho of the unshuffled data.
    side : int
        1, -1 or 0 (absolute value): what the counts compare.
    tie : float
        Relative tolerance of a tie.
    error : float
        Bound on the float32 error of one product of unit vectors.
    counts : int32 array, shape (v,)
    highest, lowest : float64 arrays, shape (shuffles,)
    """
    n_parts, n_shuffles, _ = products.shape
    n_real = observed.shape[0]
    reference = np.abs(observed) if side == 0 else side * observed
    reference = reference - tie * np.abs(reference)
    upper, lower = np.empty(n_real, dtype=np.float32), np.empty(n_real, dtype=np.float32)
    values = np.empty(n_real, dtype=np.float32)
    for s in range(n_shuffles):
        bound = error
        if n_parts > 1:
            smallest = _partial_correlations(products, s, n_real)
            # d rho <= error (1 + sqrt(q)) / rest, by the first-order expansion of rho; near
            # rest = 0 every voxel is computed again.
            bound = error * (1 + np.sqrt(n_parts - 1.0)) / max(smallest - 4 * error, 1e-12)
        rho = products[0, s, :n_real]
        bottom, top = _range_of(rho)
        if top + bound >= highest[s]:
            for v in range(n_real):
                if rho[v] >= top - 2 * bound:
                    highest[s] = max(highest[s], _exact_rho(rows, s, residuals, v))
        if bottom - bound <= lowest[s]:
            for v in range(n_real):
                if rho[v] <= bottom + 2 * bound:
                    lowest[s] = min(lowest[s], _exact_rho(rows, s, residuals, v))
        if s == 0 or n_parts > 1:
            # Rounding to float32 moves the limits by less than 1e-7.
            upper[:] = reference + (bound + 1e-7)
            lower[:] = reference - (bound + 1e-7)
        if side == 0:
            for v in range(n_real):
                values[v] = abs(rho[v])
        else:
            for v in range(n_real):
                values[v] = np.float32(side) * rho[v]
        if _count(values, lower, upper, counts) == 0:
            continue
        for v in range(n_real):
            if lower[v] <= values[v] <= upper[v]:
                exact = _exact_rho(rows, s, residuals, v)
                exact = abs(exact) if side == 0 else side * exact
                counts[v] += np.int32(exact >= reference[v])


def float32_error(n_maps):
    """Bound the error of a float32 product of two unit vectors of n_maps elements."""
    return max(1e-5, n_maps * 2.0**-24 + 2.0**-22)


def rho_to_t(rho, dof):
    """Return t of a partial correlation.

    Examples
    --------
    >>> rho_to_t(np.array([0.0, 0.6]), 16).tolist()
    [0.0, 3.0]
    """
    with np.errstate(divide="ignore"):
        return rho * np.sqrt(dof / (1 - np.square(rho)))


def _unit_residuals(data, partition):
    """Residualise on the nuisance and scale to unit length.

    Voxels that the nuisance explains whole, or the model (a constant under a tested mean), become
    0: they have no residual variance, and so no statistic, as in the GLM.
    """
    residuals = data - partition.nuisance @ (partition.nuisance.T @ data)
    # One more projection removes what rounding left of large nuisance effects.
    residuals -= partition.nuisance @ (partition.nuisance.T @ residuals)
    length = np.sqrt(np.square(residuals).sum(axis=0))
    unexplained = residuals - partition.effect @ (partition.effect.T @ residuals)
    rounding = 10 * len(data) * np.finfo(float).eps * np.sqrt(np.square(data).sum(axis=0))
    alive = np.sqrt(np.square(unexplained).sum(axis=0)) > rounding
    return np.divide(residuals, length, out=np.zeros_like(residuals), where=alive)


def _design_rows(scheme, directions, first, last):
    """Return the shuffled directions, shape (last - first, r, n)."""
    rows = np.empty((last - first, directions.shape[1], scheme.n_maps))
    for k in range(first, last):
        order, signs = scheme.draw(k)
        rows[k - first] = (directions[order] * signs[:, None]).T
    return rows


def _voxel_tile(data, partition, rows, rows32, side, tie, error):
    """Return observed rho, counts and extreme rho of all given shuffles for one voxel tile."""
    n_real = data.shape[1]
    n_shuffles, n_parts, n_maps = rows.shape
    residuals = _unit_residuals(data, partition)
    padded = np.zeros((n_maps, VOXELS_PER_TILE), dtype=np.float32)
    padded[:, :n_real] = residuals
    observed = _exact_rhos(rows, 0, residuals)
    counts = np.zeros(n_real, dtype=np.int32)
    highest, lowest = np.full(n_shuffles - 1, -2.0), np.full(n_shuffles - 1, 2.0)
    # One buffer for all products: fresh memory for each would cost more than the products.
    buffer = np.empty(n_parts * SHUFFLES_PER_TILE * VOXELS_PER_TILE, dtype=np.float32)
    # Row 0 is the unshuffled design, kept for the observed value.
    for start in range(1, n_shuffles, SHUFFLES_PER_TILE):
        stop = min(start + SHUFFLES_PER_TILE, n_shuffles)
        shape = (n_parts, stop - start, VOXELS_PER_TILE)
        # Contiguous, so that the scan runs in vectors.
        products = buffer[: np.prod(shape)].reshape(shape)
        for part in range(n_parts):
            np.matmul(rows32[part, start:stop], padded, out=products[part])
        span = slice(start - 1, stop - 1)
        _scan_tile(
            products, rows[start:stop], residuals, observed, side, tie, error,
            counts, highest[span], lowest[span],
        )  # fmt: skip
    return observed, counts, highest, lowest


def run_shuffles(read, n_voxels, partition, scheme, first, last, tail, n_threads=1, report=None):
    """Compute shuffles first to last - 1 of one t contrast.

    Parameters
    ----------
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
        Voxels in the mask.
    partition : Partition
        The contrast's split of the model, one effect direction.
    scheme : ShufflingScheme
        What shuffle k is.
    first, last : int
        Range of shuffles; 0 is the unshuffled one.
    tail : {"two-sided", "positive", "negative"}
        Side that the counts compare.
    n_threads : int
        Threads over voxel tiles; the caller holds the matrix library to one thread. The result
        does not depend on it.
    report : callable, optional
        Called with the fraction done.

    Returns
    -------
    ShuffleResult

    Raises
    ------
    ValueError
        Where the range is empty or the contrast has more than one direction.
    """
    if not 0 <= first < last:
        raise ValueError(f"shuffles {first} to {last} are no range")
    if partition.effect.shape[1] != 1:
        raise ValueError("maximum-t permutation tests contrasts of one row")
    n_maps = scheme.n_maps
    fixed = np.empty((n_maps, 0))
    if scheme.kind == "permute":
        fixed = np.equal.outer(scheme.blocks, np.unique(scheme.blocks)).astype(float)
    directions = np.hstack([partition.effect, partition.moved_nuisance(fixed)])
    side, error = _SIDES[tail], float32_error(n_maps)
    tie = TIE_TOLERANCE if partition.nuisance.shape[1] else 0.0

    observed = np.empty(n_voxels)
    counts = np.zeros(n_voxels, dtype=np.int64)
    highest, lowest = np.full(last - first, -2.0), np.full(last - first, 2.0)
    starts = range(0, n_voxels, VOXELS_PER_TILE)
    passes = range(first, last, SHUFFLES_PER_PASS)
    done, total = 0, len(starts) * len(passes)
    unshuffled = _design_rows(scheme, directions, 0, 1)
    for begin in passes:
        end = min(begin + SHUFFLES_PER_PASS, last)
        rows = np.concatenate([unshuffled, _design_rows(scheme, directions, begin, end)])
        rows32 = np.ascontiguousarray(rows.transpose(1, 0, 2), dtype=np.float32)

        def tile(start, rows=rows, rows32=rows32):
            data = read(start, min(start + VOXELS_PER_TILE, n_voxels))
            return _voxel_tile(data, partition, rows, rows32, side, tie, error)

        span = slice(begin - first, end - first)
        with ThreadPoolExecutor(n_threads) as pool:
            for start, result in zip(starts, pool.map(tile, starts), strict=True):
                stop = min(start + VOXELS_PER_TILE, n_voxels)
                observed[start:stop] = result[0]
                counts[start:stop] += result[1]
                np.maximum(highest[span], result[2], out=highest[span])
                np.minimum(lowest[span], result[3], out=lowest[span])
                done += 1
                if report is not None:
                    report(done / total)
    return ShuffleResult(
        rho_to_t(observed, partition.dof), counts,
        rho_to_t(highest, partition.dof), rho_to_t(lowest, partition.dof),
    )  # fmt: skip


def extremes(highest, lowest, tail):
    """Return the maximum of every shuffle on the side of the tail, large meaning extreme."""
    if tail == "positive":
        return highest
    if tail == "negative":
        return -lowest
    return np.maximum(highest, -lowest)


def fwe_p(observed, null_maxima, tail):
    """Return familywise-error corrected p values from the null of the maximum.

    p = share of shuffles, the unshuffled one included, whose maximum reaches the observed value.

    Parameters
    ----------
    observed : array, shape (v,)
        t of the data.
    null_maxima : array, shape (N + 1,)
        Result of `extremes` for all shuffles, 0 included.
    tail : {"two-sided", "positive", "negative"}
        Side tested.

    Examples
    --------
    >>> fwe_p(np.array([3.0, 1.0]), np.array([3.0, 1.0, 2.0, 0.5]), "positive").tolist()
    [0.25, 0.75]
    """
    value = np.abs(observed) if tail == "two-sided" else _SIDES[tail] * observed
    value = value - TIE_TOLERANCE * np.abs(value)
    null = np.sort(null_maxima)
    return (len(null) - np.searchsorted(null, value, side="left")) / len(null)


@dataclass(frozen=True)
class Survivors:
    """What reaches familywise significance.

    Parameters
    ----------
    p, log_p, log_p_unc : arrays, shape (v,)
        Corrected p, its natural logarithm, and the logarithm of the uncorrected p.
    statistic : array, shape (v,)
        t where p <= alpha, 0 elsewhere.
    threshold : float
        Smallest surviving abs(t); inf where none survives.
    critical : float or None
        Smallest value of the null maxima whose own p is <= alpha; None where so few shuffles
        cannot reach alpha.
    """

    p: np.ndarray
    log_p: np.ndarray
    log_p_unc: np.ndarray
    statistic: np.ndarray
    threshold: float
    critical: float | None

    @property
    def any(self):
        """Whether a voxel survives."""
        return bool(np.isfinite(self.threshold))


def fwe_survivors(result, tail, alpha):
    """Return corrected p values and the voxels with p <= alpha.

    Parameters
    ----------
    result : ShuffleResult
        All shuffles, 0 included.
    tail : {"two-sided", "positive", "negative"}
        Side tested.
    alpha : float
        Familywise error rate.

    Returns
    -------
    Survivors
    """
    null = extremes(result.highest, result.lowest, tail)
    p = fwe_p(result.observed, null, tail)
    survives = p <= alpha * (1 + 1e-12)
    null_p = fwe_p(null, null, "positive")
    reached = null[null_p <= alpha * (1 + 1e-12)]
    heights = np.abs(result.observed[survives])
    return Survivors(
        p,
        np.log(p),
        np.log(result.counts / len(null)),
        np.where(survives, result.observed, 0.0),
        float(heights.min()) if len(heights) else np.inf,
        float(reached.min()) if len(reached) else None,
    )
