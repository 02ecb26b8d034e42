"""Maps of one participant, as of runs and sessions, combined into one at every voxel.

Maps that come with their variances are weighted by the inverse of them, the fixed effects of a
second level: variance 1 / sum(1 / s). Maps without are averaged. A voxel that some of the maps
lack is of the others.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CombinedMap:
    """Several maps as one.

    Parameters
    ----------
    effect : float64 array
        Weighted or plain mean; NaN where no map has the voxel.
    variance : float64 array or None
        Variance of the weighted mean, NaN where there is none; None of a plain mean.
    count : int array
        How many maps each voxel is of.
    """

    effect: np.ndarray
    variance: np.ndarray | None
    count: np.ndarray


def combine_maps(maps: Iterable[tuple[np.ndarray, np.ndarray | None]]) -> CombinedMap:
    """Combine maps, one in memory at a time.

    Parameters
    ----------
    maps : iterable of (array, array or None)
        Values of every map, and their variances, or None of all. A map whose value is not finite,
        or whose variance is not a positive number, lacks the voxel.

    Returns
    -------
    CombinedMap

    Raises
    ------
    ValueError
        Where there is no map, or some have variances and others none.

    Examples
    --------
    >>> first, second = np.array([1.0, 4.0]), np.array([2.0, np.nan])
    >>> combined = combine_maps([(first, np.array([1.0, 2.0])), (second, np.array([3.0, 1.0]))])
    >>> combined.effect.tolist(), combined.variance.tolist(), combined.count.tolist()
    ([1.25, 4.0], [0.75, 2.0], [2, 1])
    >>> combine_maps([(first, None), (second, None)]).effect.tolist()
    [1.5, 4.0]
    """
    sums: list[np.ndarray] = []
    weighted = None
    for values, variances in maps:
        own = variances is not None
        if weighted not in (None, own):
            raise ValueError("some of the maps to combine have variances, and others have none")
        weighted = own
        weight, values = _weighted(values, variances)
        if not sums:
            sums = [np.zeros(values.shape) for _ in range(3)]
        # One after the other, so that sums have the bits of this order.
        for total, part in zip(sums, (weight * values, weight, weight > 0), strict=True):
            total += part
    if not sums:
        raise ValueError("no map is given to combine")
    effects, weights, count = sums
    here = count > 0
    effect = np.divide(effects, weights, out=np.full(effects.shape, np.nan), where=here)
    variance = None
    if weighted:
        variance = np.divide(1.0, weights, out=np.full(effects.shape, np.nan), where=here)
    return CombinedMap(effect, variance, count.astype(int))


def _weighted(values, variances):
    """Return the weights of a map, 0 where it lacks a voxel, and its values, 0 there."""
    values = np.asarray(values, dtype=float)
    lacks = ~np.isfinite(values)
    if variances is None:
        weight = np.where(lacks, 0.0, 1.0)
    else:
        variances = np.asarray(variances, dtype=float)
        lacks |= ~(np.isfinite(variances) & (variances > 0))
        weight = np.divide(1.0, variances, out=np.zeros(values.shape), where=~lacks)
    return weight, np.where(lacks, 0.0, values)
