"""Whole statistic maps of shuffles, in float64, with the same bits however shuffles are split."""

import numpy as np

from nipype_group.stats.matrix_products import multiply
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.tiles import Tiles

# Shuffles whose products with a tile are held at once: they stay in the cache.
SHUFFLES_PER_BLOCK = 32


def statistic_maps(
    tiles: Tiles, first: int, last: int, observed: np.ndarray | None = None
) -> np.ndarray:
    """Return the statistic maps of shuffles first to last - 1.

    Parameters
    ----------
    tiles : Tiles
    first, last : int
        Range of shuffles.
    observed : float64 array, shape (v,), optional
        Statistic of the data as they are; with variance groups and estimators beyond least
        squares, a voxel without one (0) has none in any shuffle.

    Returns
    -------
    float64 array, shape (last - first, v)
    """
    contrast = tiles.contrast
    if contrast.own is not None:
        orders, signs = contrast.scheme.draw(first, last)
        maps = np.hstack([contrast.own_maps(tile.prepared, orders, signs) for tile in tiles])
        if observed is not None:
            maps[:, observed == 0] = 0.0
        return maps
    if contrast.welch is not None:
        orders, signs = contrast.scheme.draw(first, last)
        maps = np.hstack([contrast.welch_maps(tile.real, orders, signs) for tile in tiles])
        if observed is not None:
            # Shuffling would mix a group's constant with other groups' values.
            maps[:, observed == 0] = 0.0
        return maps
    if contrast.smooth_variance is not None:
        return _pseudo_t_maps(tiles, first, last)
    maps = np.empty((last - first, tiles.n_voxels))
    for tile, shuffles, rows, products in _products(tiles, first, last):
        # In pieces that stay in the cache.
        values = contrast.statistic(partial_correlations(products, contrast))
        if contrast.varying_dof:
            # A voxel without residual variance has no statistic; an F of 0 has a z far below 0.
            values = np.where(tile.length > 0, contrast.z_of_plain(values), 0.0)
        if tile.incomplete is not None:
            values[:, tile.incomplete.places] = tile.incomplete.z(rows, products, tile.real)
        maps[shuffles, tile.span] = values
    return maps


def _pseudo_t_maps(tiles, first, last):
    """Return effects over the root of their smoothed variances, shape (last - first, v)."""
    contrast = tiles.contrast
    effects, variances = np.empty((2, last - first, tiles.n_voxels))
    for tile, shuffles, _, products in _products(tiles, first, last):
        effect, left = _effect_and_left(products, contrast)
        effects[shuffles, tile.span] = effect * tile.length
        residual = (left - np.square(effect)) * np.square(tile.length)
        variances[shuffles, tile.span] = residual / contrast.dof
    return _ratio(effects, np.sqrt(contrast.smooth_variance(variances)))


def _products(tiles, first, last):
    """Yield tile, shuffles, and their products with it.

    Yields
    ------
    tile : Tile
    shuffles : slice
        Rows of a range of maps that starts with shuffle `first`.
    rows : float64 array, shape (r + q, m, n)
        Rows of these shuffles.
    products : float64 array, shape (r + q, m, v)
        Products of rows and series.
    """
    rows = np.ascontiguousarray(tiles.contrast.rows(first, last).transpose(1, 0, 2))
    for tile in tiles:
        series = np.ascontiguousarray(tile.real.T)
        for start in range(0, rows.shape[1], SHUFFLES_PER_BLOCK):
            shuffles = slice(start, min(start + SHUFFLES_PER_BLOCK, rows.shape[1]))
            own = rows[:, shuffles]
            products = multiply(own.reshape(-1, own.shape[2]), series)
            yield tile, shuffles, own, products.reshape(*own.shape[:2], tile.n_real)


def partial_correlations(products: np.ndarray, contrast: ShuffledContrast) -> np.ndarray:
    """Return partial correlations, shape (m, v), of products of rows and series.

    Parameters
    ----------
    products : float64 array, shape (r + q, m, v)
        Products of the rows of `contrast` and the series of voxels.
    contrast : ShuffledContrast
    """
    effect, left = _effect_and_left(products, contrast)
    return _ratio(effect, np.sqrt(left)).clip(-1, 1)


def _effect_and_left(products, contrast):
    """Return the length of the effect (with its sign, if it has one) and 1 - |nuisance|^2."""
    rank = contrast.effect_rows
    effect = products[0] if rank == 1 else np.sqrt(np.square(products[:rank]).sum(axis=0))
    return effect, np.maximum(1 - np.square(products[rank:]).sum(axis=0), 0)


def _ratio(numerator, denominator):
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
