"""Shuffles until a voxel's p is clear: sequential permutation p (Besag and Clifford 1991).

A voxel needs no more shuffles once a given number of them reached its statistic: its p is that
number over the shuffles it took, as precise, relative to its size, as any other. Most voxels of a
map stop after a few dozen shuffles, so uncorrected p and their false discovery rate cost a
fraction. The maximum over voxels, and with it the familywise error, is not known then.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from nipype_group.stats.linear.least_squares import ReadVoxels
from nipype_group.stats.permutation.kernels import reaches
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.precision import negative_binomial_p
from nipype_group.stats.permutation.scan import TAIL_SIGNS
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.permutation.tiles import Tiles, shuffles_per_pass

# Shuffles between two looks at which voxels are done.
_SHUFFLES_PER_LOOK = 64


@dataclass(frozen=True)
class StoppedResult:
    """What shuffles first to last - 1 say about one contrast, voxels stopping early.

    Parameters
    ----------
    observed : array, shape (v,)
        t or F of the data as they are.
    counts : int64 array, shape (v,)
        Shuffles, the unshuffled one not counted, that reach the observed value before the voxel
        stops: `n_required` at most.
    numbers : int64 array, shape (n_required, v)
        Numbers of these shuffles, ascending; 0 where there are fewer.
    """

    observed: np.ndarray
    counts: np.ndarray
    numbers: np.ndarray


def run_until_stopped(
    read: ReadVoxels,
    mask: np.ndarray,
    contrasts: Sequence[ShuffledContrast],
    statistics: ShuffleStatistics,
    n_required: int,
    first: int,
    last: int,
    *,
    n_threads: int = 1,
    memory_gb: float = 1.0,
    report: Callable[[float], object] | None = None,
) -> list[StoppedResult]:
    """Compute shuffles first to last - 1 of contrasts, each voxel until it is done.

    Parameters
    ----------
    n_required : int
        Shuffles at least as extreme after which a voxel stops.
    read, mask, contrasts, statistics, first, last, n_threads, memory_gb, report
        As in `run_shuffles`.

    Returns
    -------
    list of StoppedResult

    Raises
    ------
    ValueError
        Where the range is empty, or a contrast's statistic needs whole maps.
    """
    if not 0 <= first < last:
        raise ValueError(f"shuffles {first} to {last} are no range")
    if any(contrast.needs_maps for contrast in contrasts):
        raise ValueError(
            "early stopping goes with neither variance groups nor smoothed variance, nor with "
            "voxels that some maps lack, nor with estimators beyond least squares; leave "
            "early_stop out"
        )
    n_voxels = int(np.count_nonzero(mask))
    memory_bytes = memory_gb * 1e9 / len(contrasts)
    results = []
    for number, contrast in enumerate(contrasts):
        tiles = Tiles(contrast, read, n_voxels, memory_bytes)
        n_rows, n_maps = contrast.plain_rows.shape
        size = shuffles_per_pass(n_maps, n_rows, n_voxels, memory_bytes)
        counts = np.zeros(n_voxels, np.int64)
        numbers = np.zeros((n_required, n_voxels), np.int64)
        observed = np.empty(n_voxels)
        for tile in tiles:
            observed[tile.span] = tile.observed
        for start in range(max(first, 1), last, size):
            stop = min(start + size, last)
            advance = partial(
                _advance,
                tiles,
                statistics,
                contrast.rows(start, stop),
                first=start,
                n_required=n_required,
                counts=counts,
                numbers=numbers,
            )
            with ThreadPoolExecutor(n_threads) as pool:
                list(pool.map(advance, range(len(tiles))))
            if report is not None:
                report((number + (stop - first) / (last - first)) / len(contrasts))
        results.append(StoppedResult(contrast.statistic(observed), counts, numbers))
    return results


def _advance(tiles, statistics, rows, index, *, first, n_required, counts, numbers):
    """Count the shuffles that reach the voxels of a tile; counts and numbers are changed."""
    tile, contrast = tiles[index], tiles.contrast
    counts, numbers = counts[tile.span], numbers[:, tile.span]
    reference = contrast.lowest_tie(statistics.heights(tile.observed, contrast.signed))
    active = np.flatnonzero(counts < n_required)
    for start in range(0, len(rows), _SHUFFLES_PER_LOOK):
        if len(active) == 0:
            return
        look = rows[start : start + _SHUFFLES_PER_LOOK]
        reached = _reached(look, tile.series[active], reference[active], statistics, contrast)
        voxels, shuffles = np.nonzero(reached.T)
        # Position of each hit among those of its voxel, after what was counted before.
        begins = np.searchsorted(voxels, np.arange(len(active)))
        place = np.arange(len(voxels)) - begins[voxels] + counts[active][voxels]
        kept = place < n_required
        numbers[place[kept], active[voxels[kept]]] = first + start + shuffles[kept]
        hits = np.bincount(voxels, minlength=len(active))
        counts[active] = np.minimum(counts[active] + hits, n_required)
        active = active[counts[active] < n_required]


def _reached(rows, series, reference, statistics, contrast):
    """Tell which shuffles reach the reference of which voxels, bool array of shape (m, v).

    The matrix library's products, whose last bits depend on the processor, decide what is clear;
    what lies within their rounding of the reference is computed again in a fixed order.
    """
    products = np.ascontiguousarray(rows.transpose(1, 0, 2)) @ series.T
    reached = np.empty(products.shape[1:], dtype=bool)
    tail_sign = TAIL_SIGNS[statistics.tail] if contrast.signed else 1
    reaches(products, rows, contrast.effect_rows, series, reference, tail_sign, reached)
    return reached


def stopped_p(
    results: Sequence[StoppedResult], n_required: int, n_shuffles: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return uncorrected p of voxels that stopped in some of the ranges.

    Parameters
    ----------
    results : list of StoppedResult
        Results of ranges that follow each other.
    n_required : int
        As in `run_until_stopped`.
    n_shuffles : int
        All shuffles of the ranges, the unshuffled one not counted.

    Returns
    -------
    p : array, shape (v,)
    taken : int64 array, shape (v,)
        Shuffles that each voxel took.
    """
    counts = np.zeros_like(results[0].counts)
    stops = np.zeros_like(counts)
    for result in results:
        missing = n_required - counts
        reached = (missing > 0) & (result.counts >= missing)
        stops[reached] = result.numbers[missing[reached] - 1, np.flatnonzero(reached)]
        counts = np.minimum(counts + result.counts, n_required)
    p = negative_binomial_p(counts, stops, n_required, n_shuffles)
    return p, np.where(stops > 0, stops, n_shuffles)
