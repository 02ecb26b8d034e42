"""Voxels of a contrast in tiles of one shape, kept between shuffles where memory suffices."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nipype_group.stats.linear.least_squares import ReadVoxels
from nipype_group.stats.permutation.kernels import exact_correlations
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.missing_voxels import IncompleteVoxels

VOXELS_PER_TILE = 1024
# Shuffles x voxels of a tile: their float32 products stay in a second-level cache.
SHUFFLES_PER_BATCH = 256
# Shuffles after which the maps are read again where they are not kept; more save little.
_MOST_SHUFFLES = 4096
# Bytes of a value of the series, and of a value of a design row: each in float64 and float32.
_BYTES = 12


@dataclass(frozen=True)
class Tile:
    """Voxels ``first`` to ``first + n_real - 1`` of a contrast, padded to a full tile.

    Parameters
    ----------
    first, n_real : int
        First voxel, and how many there are.
    series : float64 array, shape (VOXELS_PER_TILE, n)
        Series of unit length; 0 where a voxel has no residual variance and beyond the real voxels.
    series32 : float32 array, shape (n, VOXELS_PER_TILE)
        The same, as matrix products want it.
    observed : float64 array, shape (n_real,)
        Partial correlation of the data as they are.
    length : float64 array, shape (n_real,)
        Length of the residuals under the null hypothesis, 0 where the series is.
    incomplete : IncompleteVoxels, optional
        The voxels that some map lacks; their observed correlation and length are 0.
    """

    first: int
    n_real: int
    series: np.ndarray
    series32: np.ndarray
    observed: np.ndarray
    length: np.ndarray
    incomplete: IncompleteVoxels | None = None

    @property
    def real(self) -> np.ndarray:
        """Series of the real voxels."""
        return self.series[: self.n_real]

    @property
    def span(self) -> slice:
        """Where the voxels stand in a map."""
        return slice(self.first, self.first + self.n_real)

    def dof(self, contrast: ShuffledContrast) -> np.ndarray:
        """Residual degrees of freedom of every voxel, int array of shape (n_real,)."""
        dof = np.full(self.n_real, contrast.dof)
        if self.incomplete is not None:
            dof[self.incomplete.places] = self.incomplete.dof
        return dof


@dataclass(frozen=True)
class PreparedTile:
    """Voxels of an estimator's contrast.

    Parameters
    ----------
    prepared
        As its `ShuffledEstimate` makes it of their data.
    """

    prepared: Any


class Tiles:
    """Tiles of a contrast, by number; made from the maps again where memory does not suffice.

    Parameters
    ----------
    contrast : ShuffledContrast
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
        Voxels tested.
    memory_bytes : float
        What may be kept.
    beside : dict, optional
        Name to reader of what the contrast's estimator takes beside the effects.
    """

    def __init__(
        self,
        contrast: ShuffledContrast,
        read: ReadVoxels,
        n_voxels: int,
        memory_bytes: float,
        beside: Mapping[str, ReadVoxels] | None = None,
    ) -> None:
        self.contrast, self.n_voxels = contrast, n_voxels
        self._read, self._beside = read, dict(beside or {})
        self._starts = range(0, n_voxels, VOXELS_PER_TILE)
        n_maps, per_value = contrast.scheme.n_maps, bytes_per_value(contrast)
        self.kept = keeps_series(n_maps, n_voxels, memory_bytes, per_value)
        self._tiles: dict[int, Any] = {}

    def __len__(self):
        return len(self._starts)

    def __getitem__(self, index):
        if index in self._tiles:
            return self._tiles[index]
        tile = self._make(self._starts[index])
        if self.kept:
            self._tiles[index] = tile
        return tile

    def __iter__(self):
        return (self[index] for index in range(len(self)))

    def _make(self, start):
        stop = min(start + VOXELS_PER_TILE, self.n_voxels)
        data = self._read(start, stop)
        if self.contrast.own is not None:
            return self._prepared(data, start, stop)
        if self.contrast.combine is not None:
            data = self.contrast.combine(data)
        incomplete, missing = None, np.isnan(data).any(axis=0)
        if missing.any():
            if not self.contrast.varying_dof:
                raise ValueError(
                    "some maps lack voxels of the mask, and the plan does not expect it"
                )
            incomplete, own = IncompleteVoxels.of(self.contrast, data)
            data = np.where(missing, 0.0, data)
        series, plain, length = self.contrast.series(data)
        if incomplete is not None:
            series[incomplete.places] = own
        padded = np.zeros((VOXELS_PER_TILE, series.shape[1]))
        padded[: len(series)] = series
        rows = self.contrast.plain_rows
        observed = exact_correlations(rows, self.contrast.effect_rows, plain)
        series32 = padded.T.astype(np.float32)
        return Tile(start, len(series), padded, series32, observed, length, incomplete)

    def _prepared(self, data, start, stop):
        contrast = self.contrast
        lacking = [name for name in contrast.own.takes if name not in self._beside]
        if lacking:
            raise ValueError(f"the estimator needs {', '.join(lacking)}, and none are given")
        others = {name: self._beside[name](start, stop) for name in contrast.own.takes}
        prepared = contrast.own.prepare({"effects": data, **others})
        if not contrast.varying_dof and (contrast.own.voxel_dof(prepared) != contrast.dof).any():
            raise ValueError("some maps lack voxels of the mask, and the plan does not expect it")
        return PreparedTile(prepared)


def bytes_per_value(contrast: ShuffledContrast) -> int:
    """Return the bytes that a tile keeps of a map at a voxel."""
    return _BYTES if contrast.own is None else contrast.own.bytes_per_value


def voxel_shards(n_voxels: int, n_shards: int) -> list[tuple[int, int]]:
    """Return (first, last) of ranges of voxels, whole tiles but for the last.

    Tiles of a range are those of all voxels, so what shuffles give at a voxel has the same bits.

    Examples
    --------
    >>> voxel_shards(5000, 2), voxel_shards(900, 3)
    ([(0, 3072), (3072, 5000)], [(0, 900)])
    """
    if n_shards < 1:
        raise ValueError(f"voxel shards is a number >= 1, got {n_shards}")
    size = VOXELS_PER_TILE * -(-n_voxels // (VOXELS_PER_TILE * n_shards))
    return [(first, min(first + size, n_voxels)) for first in range(0, n_voxels, size)]


def keeps_series(n_maps: int, n_voxels: int, memory_bytes: float, per_value: int = _BYTES) -> bool:
    """Tell whether the series of all voxels fit in memory, of some bytes a value."""
    return n_voxels * n_maps * per_value <= memory_bytes


def shuffles_per_pass(
    n_maps: int, n_rows: int, n_voxels: int, memory_bytes: float, per_value: int = _BYTES
) -> int:
    """Return how many shuffles go over the tiles together, a multiple of a batch.

    Where the series are kept, a batch is enough; else every pass makes them from the maps again,
    and takes as many shuffles as their design rows find room.
    """
    if keeps_series(n_maps, n_voxels, memory_bytes, per_value):
        return SHUFFLES_PER_BATCH
    room = int(min(memory_bytes / (n_maps * n_rows * _BYTES), _MOST_SHUFFLES))
    return max(room // SHUFFLES_PER_BATCH, 1) * SHUFFLES_PER_BATCH


def passes_over_maps(
    n_maps: int, n_rows: int, n_voxels: int, n_shuffles: int, memory_bytes: float
) -> int:
    """Return how often the series are made from the maps for so many shuffles."""
    if keeps_series(n_maps, n_voxels, memory_bytes):
        return 1
    # The first pass finds the observed statistics.
    return 1 - (-n_shuffles // shuffles_per_pass(n_maps, n_rows, n_voxels, memory_bytes))
