"""Maps of one participant, as of runs and sessions, combined into one at every voxel.

Maps that come with their variances are weighted by the inverse of them, the fixed effects of a
second level: variance 1 / sum(1 / s). Maps without are averaged. A voxel that some of the maps
lack is of the others.

A contrast of such means, or of maps themselves, is a weighted sum. A voxel that one of its means,
or a map of a sum, lacks is missing in it.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class MapWeight(NamedTuple):
    """What a map counts in a sum of means of sums.

    Parameters
    ----------
    term, part : str
        The mean that it belongs to, and the sum in that mean.
    factor : float
        Weight of the mean.
    weight : float
        Weight of the map in its sum.
    """

    term: str
    part: str
    factor: float
    weight: float


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


def sum_maps(
    maps: Iterable[tuple[np.ndarray, np.ndarray | None]], weights: Sequence[MapWeight]
) -> tuple[CombinedMap, np.ndarray]:
    r"""Sum means of sums of maps, :math:`\sum_t f_t \, \mathrm{mean}_{p \in t} \sum_i w_i y_i`.

    Means are those of `combine_maps`, of the variances :math:`\sum_i w_i^2 s_i` where maps have
    some; the variance of the whole is :math:`\sum_t f_t^2 s_t`. Maps are taken for independent.

    Parameters
    ----------
    maps : iterable of (array, array or None)
        As for `combine_maps`; those of a term, and of a part of it, stand together.
    weights : sequence of MapWeight
        One of each map.

    Returns
    -------
    combined : CombinedMap
        Its count is 1 where there is a value.
    fewer : bool array
        Voxels at which a mean is of fewer maps than it has.

    Examples
    --------
    >>> one, two = np.array([1.0, 4.0]), np.array([3.0, np.nan])
    >>> weights = [MapWeight("a", "1", 1.0, 1.0), MapWeight("b", "1", -0.5, 2.0)]
    >>> sum_maps([(one, None), (two, None)], weights)[0].effect.tolist()
    [-2.0, nan]
    """
    effect, variance, fewer = np.zeros(()), np.zeros(()), np.zeros((), dtype=bool)
    with_variances = True
    pairs = zip(weights, maps, strict=True)
    for _, own in itertools.groupby(pairs, key=lambda pair: pair[0].term):
        members = list(own)
        factor, n_parts = members[0][0].factor, len({w.part for w, _ in members})
        mean = combine_maps(_sums(members))
        effect = effect + factor * mean.effect
        fewer = fewer | ((mean.count > 0) & (mean.count < n_parts))
        if mean.variance is None:
            with_variances = False
        else:
            variance = variance + factor**2 * mean.variance
    here = np.isfinite(effect)
    known = variance if with_variances else None
    return CombinedMap(effect, known, here.astype(int)), fewer & here


def _sums(members) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yield the sum of the maps of every part, and its variance."""
    for _, own in itertools.groupby(members, key=lambda pair: pair[0].part):
        total, spread, with_variances = np.zeros(()), np.zeros(()), True
        for weight, (values, variances) in own:
            total = total + weight.weight * np.asarray(values, dtype=float)
            if variances is None:
                with_variances = False
                continue
            known = np.asarray(variances, dtype=float)
            known = np.where(np.isfinite(known) & (known > 0), known, np.nan)
            spread = spread + weight.weight**2 * known
        yield total, spread if with_variances else None


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
