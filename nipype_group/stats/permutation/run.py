"""Shuffles of a permutation test: null distributions and counts, the same however it is split.

Shuffle 0 is the data as they are. Voxels, extents and masses of t and F come from float32
products with a second look in float64 (`shuffle_scan`); TFCE, the most extreme voxels and
statistics of their own (variance groups, smoothed variance, varying dof, estimators beyond least
squares) take whole maps in float64 (`shuffle_maps`).
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from nipype_group.stats.linear.least_squares import ReadVoxels
from nipype_group.stats.neighbours import adjacent_columns, neighbour_list
from nipype_group.stats.permutation.maps import SHUFFLES_PER_BLOCK, statistic_maps
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.scan import scan_shuffles
from nipype_group.stats.permutation.statistics import (
    ShuffleStatistics,
    enhanced_maps,
    largest_of_maps,
    side_maxima,
)
from nipype_group.stats.permutation.tiles import Tiles, bytes_per_value, shuffles_per_pass
from nipype_group.stats.tfce import NOT_SETTLED

_NO_TOPS = np.empty((0, 0), np.float32)


@dataclass(frozen=True)
class ShuffleResult:
    """What shuffles first to last - 1 say about one contrast.

    Parameters
    ----------
    observed : dict
        ``voxel`` (t or F) and, where asked for, ``tfce`` (the negative side below 0) of the data
        as they are, to float64 arrays of shape (v,). Where maps lack voxels, ``dof`` to the
        residual degrees of freedom of every voxel.
    counts : dict
        The same names to int64 arrays, shape (v,): shuffles at least as extreme as the observed
        value, on the side of the tail.
    nulls : dict
        ``voxel_positive``, ``extent_negative`` and so on to float64 arrays, shape
        (last - first,): the largest value of every shuffle on that side.
    tops : float32 array, shape (last - first, n_top)
        Heights of the most extreme voxels of every shuffle, descending; of a tenth of the voxels
        at most.
    """

    observed: dict
    counts: dict
    nulls: dict
    tops: np.ndarray = field(default_factory=lambda: _NO_TOPS)


class _ContrastRun:
    """Shuffles of one contrast: its tiles, its observed values, what every range gives."""

    def __init__(
        self, contrast, statistics, read, n_voxels, neighbours, settled, memory_bytes, beside
    ):
        self.contrast, self._statistics, self._neighbours = contrast, statistics, neighbours
        self._settled = settled
        self._tiles = Tiles(contrast, read, n_voxels, memory_bytes, beside)
        self._memory_bytes = memory_bytes
        self._parts = []
        self._counts = {}

    @property
    def shuffles_per_pass(self):
        """Shuffles that go over the tiles together."""
        n_rows = self.contrast.plain_rows.shape[0]
        n_maps, n_voxels = self.contrast.scheme.n_maps, self._tiles.n_voxels
        per_value = bytes_per_value(self.contrast)
        return shuffles_per_pass(n_maps, n_rows, n_voxels, self._memory_bytes, per_value)

    def observe(self, pool):
        """Compute the statistics of the data as they are."""
        if self.contrast.own is not None:
            # Tiles are made by all threads, and looked at in order.
            list(pool.map(self._tiles.__getitem__, range(len(self._tiles) * self._tiles.kept)))
            whole = statistic_maps(self._tiles, 0, 1)[0]
            self.observed = {"voxel": whole}
        else:
            whole = self._observe_correlations(pool)
        if "tfce" in self._statistics.names:
            scaled = self._statistics.scaled(self.contrast, whole)
            self._highest = {1: scaled.max(), -1: -scaled.min()}
            self.observed["tfce"] = self._enhanced(whole[None])[0]
        self._ties = self._statistics.ties(self.contrast, self.observed)

    def _observe_correlations(self, pool):
        """Compute statistics of least squares; returns them as maps of shuffles have them."""
        tiles = pool.map(lambda index: self._of_tile(self._tiles[index]), range(len(self._tiles)))
        correlation, dof = map(np.concatenate, zip(*tiles, strict=True))
        statistic = self.contrast.statistic(correlation)
        # Made as maps of shuffles are, so that a mirrored one has the same bits, even where
        # statistics are huge and have few digits.
        whole = statistic
        if self._takes_maps and self.contrast.starts_with_the_data:
            whole = statistic_maps(self._tiles, 0, 1)[0]
        self.observed = {"voxel": whole if self.contrast.needs_maps else statistic}
        if self.contrast.varying_dof:
            self.observed["dof"] = dof
        return whole

    def _of_tile(self, tile):
        return tile.observed, tile.dof(self.contrast)

    @property
    def _takes_maps(self):
        return self.contrast.needs_maps or "tfce" in self._statistics.names

    def _enhanced(self, maps):
        chosen, contrast = self._statistics, self.contrast
        neighbours = self._neighbours[chosen.tfce.connectivity]
        return enhanced_maps(maps, chosen, contrast, neighbours, self._highest, self._settled)

    def _largest_enhanced(self, enhanced):
        return side_maxima("tfce", enhanced, self._statistics.signs(self.contrast.signed))

    def unshuffled(self):
        """Return what shuffle 0 gives."""
        names = [name for name in self._statistics.names if name != "tfce"]
        counts, nulls, tops = self._from_maps(self.observed["voxel"][None], names)
        if "tfce" in self.observed:
            counts["tfce"] = np.ones_like(counts["voxel"])
            nulls |= self._largest_enhanced(self.observed["tfce"][None])
        # The data reach their own values, whatever the tolerance of a tie.
        return {name: np.ones_like(count) for name, count in counts.items()}, nulls, tops

    def shuffled(self, first, last):
        """Return what shuffles first to last - 1 give, none of them 0."""
        counts, nulls, tops = {}, {}, _NO_TOPS
        names = self._statistics.names
        if not self.contrast.needs_maps:
            rows = self.contrast.rows(first, last)
            neighbours = self._neighbours.get(self._statistics.connectivity)
            counts["voxel"], nulls = scan_shuffles(self._tiles, rows, self._statistics, neighbours)
            names = [name for name in names if name == "tfce"]
        if names or self._statistics.n_top:
            blocks = []
            for start, stop in _edges(first, last, self._shuffles_of_maps):
                maps = statistic_maps(self._tiles, start, stop, self.observed["voxel"])
                blocks.append(self._from_maps(maps, names))
            others, more, tops = _put_together(blocks)
            counts, nulls = counts | others, nulls | more
        return counts, nulls, tops

    @property
    def _shuffles_of_maps(self):
        """Shuffles whose maps are held at once: more where each needs a pass over the data."""
        room = self._memory_bytes / (4 * 8 * self._tiles.n_voxels)
        n_blocks = 1 if self._tiles.kept else max(int(room) // SHUFFLES_PER_BLOCK, 1)
        return n_blocks * SHUFFLES_PER_BLOCK

    def _from_maps(self, maps, names):
        """Return counts, nulls and most extreme voxels of whole maps."""
        signed, statistics, counts, nulls = self.contrast.signed, self._statistics, {}, {}
        if "voxel" in names:
            nulls |= side_maxima("voxel", maps, (1, -1) if signed else (1,))
            counts["voxel"] = self._at_least("voxel", maps)
        if statistics.forms_clusters and "voxel" in names:
            neighbours = self._neighbours[statistics.connectivity]
            nulls |= largest_of_maps(maps, statistics, self.contrast, neighbours)
        if "tfce" in names:
            enhanced = self._enhanced(maps)
            nulls |= self._largest_enhanced(enhanced)
            counts["tfce"] = self._at_least("tfce", enhanced)
        tops = _most_extreme(maps, statistics, signed) if statistics.n_top else _NO_TOPS
        return counts, nulls, tops

    def _at_least(self, name, maps):
        """Count the maps that reach the observed value, on the side of the tail."""
        signed, heights = self.contrast.signed, self._statistics.heights
        reference = heights(self.observed[name], signed)
        reference = reference - self._ties[name] * np.abs(reference)
        counts = np.zeros(len(reference), np.int64)
        # One by one: a copy of all maps would be as large as they are.
        for values in maps:
            counts += heights(values, signed) >= reference
        return counts

    def take(self, part):
        """Keep what a range gave; ranges come in order."""
        counts, nulls, tops = part
        # Added up at once: a map a range would fill the memory.
        for name, count in counts.items():
            self._counts[name] = self._counts.get(name, 0) + count.astype(np.int64)
        self._parts.append(({}, nulls, tops))

    def result(self):
        """Return the `ShuffleResult` of all ranges."""
        _, nulls, tops = _put_together(self._parts)
        return ShuffleResult(self.observed, self._counts, nulls, tops)


def _most_extreme(maps, statistics, signed):
    """Return the largest heights of every map, descending, shape (m, n_top)."""
    n_voxels = maps.shape[1]
    # Beyond a tenth of the voxels the most extreme ones are the rule.
    n_top = min(statistics.n_top, max(n_voxels // 10, 1))
    top = np.empty((len(maps), n_top), np.float32)
    for values, highest in zip(maps, top, strict=True):
        heights = statistics.heights(values, signed)
        highest[:] = -np.sort(-np.partition(heights, n_voxels - n_top)[-n_top:])
    return top


def _put_together(parts):
    """Add counts up and put nulls and most extreme voxels in the order of the shuffles."""
    counts, nulls, tops = zip(*parts, strict=True)
    return (
        {name: sum(count[name] for count in counts) for name in counts[0]},
        {name: np.concatenate([null[name] for null in nulls]) for name in nulls[0]},
        np.concatenate(tops) if tops[0].size else _NO_TOPS,
    )


def _edges(first, last, size):
    """Return (start, stop) of the pieces of a range; inner edges are multiples of size."""
    edges = [first, *range((first // size + 1) * size, last, size), last]
    return list(pairwise(edges))


def run_shuffles(
    read: ReadVoxels,
    mask: np.ndarray,
    contrasts: Sequence[ShuffledContrast],
    statistics: ShuffleStatistics,
    first: int,
    last: int,
    *,
    n_threads: int = 1,
    memory_gb: float = 1.0,
    report: Callable[[float], object] | None = None,
    neighbours: Callable[[np.ndarray, int], np.ndarray] = neighbour_list,
    beside: Mapping[str, ReadVoxels] | None = None,
) -> list[ShuffleResult]:
    """Compute shuffles first to last - 1 of contrasts that share a scheme.

    Parameters
    ----------
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1 of the mask,
        shape (n, v), the first axis of the volume fastest.
    mask : bool array
        Voxels tested, of a shape that `neighbours` takes.
    contrasts : list of ShuffledContrast
    statistics : ShuffleStatistics
        What is taken from every shuffle.
    first, last : int
        Range of shuffles; 0 is the unshuffled one.
    n_threads : int
        Threads over shuffles; the caller holds the matrix library to one thread. The result
        does not depend on it.
    memory_gb : float
        Memory for series kept between shuffles, in 10^9 bytes; what does not fit is made again
        from the maps. The result does not depend on it.
    report : callable, optional
        Called with the fraction done.
    neighbours : callable, optional
        Lists the neighbours of the voxels of a mask, as `neighbour_list` does those of volumes.
    beside : dict, optional
        Name to reader of what estimators take beside the effects, as "variances".

    Returns
    -------
    list of ShuffleResult

    Raises
    ------
    ValueError
        Where the range is empty, or maps lack voxels where the contrasts do not expect it.
    """
    if not 0 <= first < last:
        raise ValueError(f"shuffles {first} to {last} are no range")
    n_voxels = int(np.count_nonzero(mask))
    used = {statistics.connectivity} if statistics.forms_clusters else set()
    if "tfce" in statistics.names:
        used.add(statistics.tfce.connectivity)
    listed = {c: neighbours(mask, c) for c in sorted(used)}
    # A mask with three axes is of a volume.
    is_volume = mask.ndim == 3 and "tfce" in statistics.names
    settled = adjacent_columns(statistics.tfce.connectivity) if is_volume else NOT_SETTLED
    share = memory_gb * 1e9 / len(contrasts)
    runs = [
        _ContrastRun(c, statistics, read, n_voxels, listed, settled, share, beside)
        for c in contrasts
    ]
    size = min(run.shuffles_per_pass for run in runs)
    spans = _edges(max(first, 1), last, size) if last > 1 else []
    with ThreadPoolExecutor(n_threads) as pool:
        for run in runs:
            run.observe(pool)
            if first == 0:
                run.take(run.unshuffled())
        parts = pool.map(lambda span: [run.shuffled(*span) for run in runs], spans)
        for done, part in enumerate(parts, start=1):
            for run, own in zip(runs, part, strict=True):
                run.take(own)
            if report is not None:
                report(done / len(spans))
    return [run.result() for run in runs]
