"""Extreme voxels, clusters and counts of many shuffles from float32 products of tiles."""

import numpy as np

from nipype_group.stats.permutation.kernels import float32_error, scan_tile, to_correlations
from nipype_group.stats.permutation.statistics import ShuffleStatistics, largest_on_side
from nipype_group.stats.permutation.tiles import SHUFFLES_PER_BATCH, VOXELS_PER_TILE, Tiles

# Sign of the side that counts; 0 for both.
TAIL_SIGNS = {"positive": 1, "negative": -1, "two-sided": 0}
# Below every correlation: each shuffle counts.
_EVERY_SHUFFLE = -10.0
# Above every correlation: no voxel reaches it.
_NO_THRESHOLD = 2.0
# Voxels above the threshold for which there is room at first.
_ROOM = 4 * VOXELS_PER_TILE


class _Survivors:
    """Voxels above the threshold of every shuffle of a batch; room is made as it is needed."""

    def __init__(self, n_shuffles):
        self._voxels = np.empty((2, n_shuffles, _ROOM), np.int32)
        self._values = np.empty((2, n_shuffles, _ROOM))
        self._sizes = np.zeros((2, n_shuffles), np.int32)

    def with_room(self):
        """Return the arrays with room for one more tile."""
        if self._sizes.max(initial=0) + VOXELS_PER_TILE > self._voxels.shape[2]:
            self._voxels = np.concatenate([self._voxels, np.empty_like(self._voxels)], axis=2)
            self._values = np.concatenate([self._values, np.empty_like(self._values)], axis=2)
        return self._voxels, self._values, self._sizes

    def of_side(self, sign):
        """Return voxels and values, shuffle after shuffle, and where each shuffle starts."""
        side = 0 if sign > 0 else 1
        sizes = self._sizes[side]
        most = sizes.max(initial=0)
        used = np.arange(most) < sizes[:, None]
        offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        return self._voxels[side, :, :most][used], self._values[side, :, :most][used], offsets


class _Batch:
    """Some shuffles on their way over the tiles."""

    def __init__(self, rows, contrast, statistics):
        n_shuffles, n_parts, n_maps = rows.shape
        self._rows, self._contrast, self._statistics = rows, contrast, statistics
        self._rows32 = np.ascontiguousarray(rows.transpose(1, 0, 2), dtype=np.float32)
        self._error = float32_error(n_maps)
        self._tail_sign = TAIL_SIGNS[statistics.tail] if contrast.signed else 1
        self._forming = _NO_THRESHOLD
        if statistics.forms_clusters:
            self._forming = contrast.correlation(statistics.forming_statistic(contrast))
        self._survivors = _Survivors(n_shuffles if statistics.forms_clusters else 0)
        self._highest, self._lowest = np.full(n_shuffles, -2.0), np.full(n_shuffles, 2.0)
        self._smallest_rest = np.ones(n_shuffles, np.float32)
        # One buffer for all products: fresh memory for each would cost more than the products.
        self._products = np.empty((n_parts, n_shuffles, VOXELS_PER_TILE), np.float32)

    def look_at(self, tile, counts):
        """Take in a tile; counts of its voxels are changed."""
        contrast, products = self._contrast, self._products
        for rows, product in zip(self._rows32, products, strict=True):
            np.matmul(rows, tile.series32, out=product)
        if len(products) > 1:
            to_correlations(products, contrast.effect_rows, tile.n_real, self._smallest_rest)
        observed = tile.observed
        reference = np.abs(observed) if self._tail_sign == 0 else self._tail_sign * observed
        reference = contrast.lowest_tie(reference)
        # A voxel without residual variance has a correlation of 0 in every shuffle.
        reference32 = np.where(tile.length > 0, reference, _EVERY_SHUFFLE).astype(np.float32)
        correlations = products[0]
        scan_tile(
            correlations,
            correlations.view(np.int32),
            correlations.view(np.uint32),
            self._smallest_rest,
            self._rows,
            contrast.effect_rows,
            tile.real,
            reference,
            reference32,
            self._tail_sign,
            self._error,
            self._forming,
            tile.first,
            counts,
            self._highest,
            self._lowest,
            self._survivors.with_room(),
        )

    def nulls(self, neighbours):
        """Return the largest values of every shuffle, by statistic and side."""
        contrast, statistics = self._contrast, self._statistics
        nulls = {"voxel_positive": contrast.statistic(self._highest)}
        if contrast.signed:
            nulls["voxel_negative"] = -contrast.statistic(self._lowest)
        for sign in statistics.signs(contrast.signed) if statistics.forms_clusters else ():
            voxels, values, offsets = self._survivors.of_side(sign)
            nulls |= largest_on_side(
                voxels,
                contrast.statistic(values),
                offsets,
                sign,
                statistics,
                contrast,
                neighbours,
            )
        return nulls


def scan_shuffles(
    tiles: Tiles, rows: np.ndarray, statistics: ShuffleStatistics, neighbours: np.ndarray | None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return counts of the voxels, and nulls of voxel, extent and mass, of shuffled designs.

    Parameters
    ----------
    tiles : Tiles
    rows : float64 array, shape (m, r + q, n)
        Design rows of the shuffles, none of them the unshuffled one.
    statistics : ShuffleStatistics
    neighbours : int32 array, shape (v, k), or None
        Neighbours of every voxel by the statistics' connectivity, where clusters form.

    Returns
    -------
    counts : int32 array, shape (v,)
    nulls : dict
        ``voxel_positive`` and so on to float64 arrays, shape (m,).
    """
    starts = range(0, len(rows), SHUFFLES_PER_BATCH)
    batches = [
        _Batch(rows[s : s + SHUFFLES_PER_BATCH], tiles.contrast, statistics) for s in starts
    ]
    counts = np.zeros(tiles.n_voxels, np.int32)
    for tile in tiles:
        for batch in batches:
            batch.look_at(tile, counts[tile.span])
    nulls = [batch.nulls(neighbours) for batch in batches]
    return counts, {name: np.concatenate([n[name] for n in nulls]) for name in nulls[0]}
