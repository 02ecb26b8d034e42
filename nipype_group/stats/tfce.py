"""Threshold-free cluster enhancement, exact, over the component tree.

tfce(v) is the integral over heights h from 0 to the height of v of extent(v, h)^E h^H, where
extent(v, h) counts the voxels of the cluster of v at height h (Smith and Nichols 2009,
NeuroImage 44:83). The extent changes only at heights that occur in the map, so the integral is a
finite sum: adding the voxels from the highest down to a union-find gives the tree of all clusters
at all heights, and one pass back from the last voxel added sums it up. Other packages replace the
integral by a sum over steps; `Tfce` has a switch for each of them.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import ArrayLike

from nipype_group.choices import CONNECTIVITIES, TFCE_STEPS
from nipype_group.stats.elementary import power

_N_STEPS = 100

# Heights are sorted by how far their bits lie below those of the largest one, in two passes of 11
# bits: 16 octaves (4 bits of exponent, 52 of fraction), each in 2^18 parts. What falls together is
# put in order afterwards.
_DIGIT = 11
_SPAN = 56
_DROPPED = _SPAN - 2 * _DIGIT
_ABSENT = np.iinfo(np.int32).max
# Where neighbours are of any other kind than a volume's.
NOT_SETTLED = np.empty(0, dtype=np.uint32)


@dataclass(frozen=True)
class Tfce:
    """How threshold-free cluster enhancement is computed.

    Parameters
    ----------
    extent_power, height_power : float
        E and H, at least 0 and above 0.
    connectivity : {6, 18, 26}
        Which voxels are neighbours.
    steps : {"fsl", "palm", "nilearn"}, optional
        None integrates exactly. The others sum 100 heights as these packages do:

        - ``"fsl"``: the step is a hundredth of the largest value of the unpermuted map in all
          shuffles; a voxel belongs to a height below its own; the sum is not multiplied by the
          step. Heights add up in float32.
        - ``"palm"``: the step is a hundredth of the largest value of each map; a voxel belongs
          to a height up to its own; the sum is multiplied by the step. PALM enhances z.
        - ``"nilearn"``: the step is a hundredth of the largest absolute value of each map, both
          sides counted; up to its own; not multiplied.

    Raises
    ------
    ValueError
        A setting that does not exist, or a power out of range.

    Examples
    --------
    >>> Tfce().steps is None
    True
    """

    extent_power: float = 0.5
    height_power: float = 2.0
    connectivity: int = 6
    steps: str | None = None

    def __post_init__(self):
        """Check the settings."""
        if not (0 <= self.extent_power < np.inf and 0 < self.height_power < np.inf):
            raise ValueError(
                "extent_power is at least 0 and height_power above 0, "
                f"got {self.extent_power} and {self.height_power}"
            )
        if self.connectivity not in CONNECTIVITIES:
            raise ValueError(f"connectivity is 6, 18 or 26, got {self.connectivity}")
        if self.steps is not None and self.steps not in TFCE_STEPS:
            raise ValueError(
                f"steps is None or one of {', '.join(TFCE_STEPS)}, got {self.steps!r}"
            )


def enhance(
    values: ArrayLike, neighbours: np.ndarray, settings: Tfce, step_reference: float | None = None
) -> np.ndarray:
    """Enhance the positive side of one map.

    Parameters
    ----------
    values : array, shape (v,)
        Statistic, finite, in the voxel order of `neighbours`. For the negative side, minus it.
    neighbours : int32 array, shape (v, c)
        From `nipype_group.stats.neighbours.neighbour_list`, of volumes.
    settings : Tfce
        Powers and steps.
    step_reference : float, optional
        Value of which the step is a hundredth, for settings with steps. Required by ``"fsl"``:
        the largest value of the unpermuted map. ``"palm"`` takes the largest value of the map
        and ``"nilearn"`` the largest absolute one (its one-sided test the largest value).

    Returns
    -------
    float64 array, shape (v,)
        Enhanced heights, 0 where the statistic is not positive.

    Examples
    --------
    Two neighbours of heights 1 and 2: the lower has sqrt(2) 1^3 / 3.

    >>> from nipype_group.stats.neighbours import neighbour_list
    >>> neighbours = neighbour_list(np.ones((3, 1, 1), dtype=bool), 6)
    >>> enhance(np.array([1.0, 2.0, -1.0]), neighbours, Tfce()).round(4).tolist()
    [0.4714, 2.8047, 0.0]
    """
    return enhance_maps(np.asarray(values)[None], neighbours, settings, step_reference)[0]


def enhance_maps(
    maps: ArrayLike,
    neighbours: np.ndarray,
    settings: Tfce,
    step_reference: ArrayLike | None = None,
    sign: int = 1,
    out: np.ndarray | None = None,
    settled: np.ndarray = NOT_SETTLED,
) -> np.ndarray:
    """Enhance one side of many maps, one after the other, without holding Python's lock.

    Parameters
    ----------
    maps : array, shape (m, v)
        Statistics, finite.
    neighbours : int32 array, shape (v, c)
        From `nipype_group.stats.neighbours.neighbour_list`, of volumes.
    settings : Tfce
        Powers and steps.
    step_reference : float or array, shape (m,), optional
        As in `enhance`; one number for ``"fsl"``.
    sign : {1, -1}
        Side: the maps themselves or minus them.
    out : float64 array, shape (m, v), optional
        Where the result goes; may be `maps` itself.
    settled : uint32 array, shape (c,), optional
        Of the neighbours of a volume `nipype_group.stats.neighbours.adjacent_columns`, which saves
        time and changes no bit; others have none.

    Returns
    -------
    float64 array, shape (m, v)
        Enhanced heights of that side, at least 0.

    Raises
    ------
    ValueError
        Neighbours or `out` that do not fit the maps, `settled` that does not fit the
        neighbours, or no `step_reference` for ``"fsl"``.

    Examples
    --------
    >>> from nipype_group.stats.neighbours import neighbour_list
    >>> neighbours = neighbour_list(np.ones((2, 1, 1), dtype=bool), 6)
    >>> maps = np.array([[3.0, -3], [-3, -3]])
    >>> enhance_maps(maps, neighbours, Tfce(), sign=-1).round(3).tolist()
    [[0.0, 9.0], [12.728, 12.728]]
    """
    maps = np.asarray(maps)
    if maps.ndim != 2 or neighbours.ndim != 2 or len(neighbours) != maps.shape[1]:
        raise ValueError(
            f"maps have shape (m, v) and neighbours (v, c), got {maps.shape} and "
            f"{neighbours.shape}"
        )
    if len(settled) not in (0, neighbours.shape[1]):
        raise ValueError(
            f"settled is of {len(settled)} columns and neighbours have {neighbours.shape[1]}: "
            "take adjacent_columns of the same connectivity"
        )
    if out is None:
        out = np.empty(maps.shape)
    elif out.shape != maps.shape or out.dtype != np.float64 or not out.flags.c_contiguous:
        raise ValueError(f"out is float64, contiguous, of shape {maps.shape}, got {out.shape}")
    np.multiply(maps, float(sign), out=out)
    if settings.steps is None:
        heights = gains = np.empty((0, 0))
    else:
        heights, gains = _steps(out, settings, step_reference)
    _enhance_in_place(
        out,
        neighbours,
        settled,
        float(settings.extent_power),
        float(settings.height_power),
        heights,
        gains,
        settings.steps == "fsl",
    )
    return out


def _steps(maps, settings, step_reference):
    """Return heights of the steps and the sum up to each.

    Parameters
    ----------
    maps : float64 array, shape (m, v)
        One side.
    settings : Tfce
        Settings whose steps are not None.
    step_reference : float, array of shape (m,) or None
        As in `enhance_maps`.

    Returns
    -------
    heights, gains : float64 array, shape (m or 1, 1 + steps)
        Ascending from 0; the sum of h^H up to each height, times the step for PALM. One row
        holds for all maps. A reference that is not positive leaves no steps.
    """
    if settings.steps == "fsl":
        if step_reference is None:
            raise ValueError("steps 'fsl' need step_reference, the unpermuted map's largest value")
        heights = _fsl_heights(float(step_reference), maps.max(initial=0.0))
        step = np.ones(1)
    else:
        if step_reference is None:
            step_reference = maps.max(axis=1, initial=0.0)
            if settings.steps == "nilearn":
                step_reference = np.maximum(step_reference, -maps.min(axis=1, initial=0.0))
        reference = np.maximum(np.broadcast_to(step_reference, len(maps)), 0.0)
        step = reference / _N_STEPS
        heights = step[:, None] * np.arange(1 + _N_STEPS)
        # A hundred hundredths may be a last bit more than the value of the peak.
        heights[:, -1] = reference
    gains = np.cumsum(power(heights, settings.height_power), axis=1)
    return heights, gains * step[:, None] if settings.steps == "palm" else gains


def _fsl_heights(reference, highest):
    """Return the heights that FSL steps through up to the highest value, shape (1, 1 + steps).

    They add up in float32, which moves a height by up to some 1e-6 of itself.
    """
    if reference <= 0:
        return np.zeros((1, 1))
    step = np.float32(np.float32(reference) / _N_STEPS)
    # One in a thousand more makes up for what rounding takes from the sum.
    heights = np.full(2 + int(highest / step * 1.001), step)
    heights[0] = 0
    return np.cumsum(heights, dtype=np.float32)[None].astype(float)


@numba.njit(nogil=True, cache=True)
def _descend(heights, keys, spare, counts):
    """Sort the positive voxels of a map from the highest down.

    The order of ties does not matter: between equal heights the integral gains exactly nothing,
    so a plateau has the value of its voxel added last, whichever that is.

    Parameters
    ----------
    heights : float64 array, shape (v,)
        One side of a map.
    keys, spare : int64 array, shape (v,)
        Scratch; the first holds the voxels in order when done.
    counts : int64 array, shape (2, 2048)
        Scratch.

    Returns
    -------
    int
        Number of positive voxels.
    """
    # The bits of positive floats are in the order of the floats, as integers.
    bits = heights.view(np.int64)
    highest = np.int64(0)
    for v in range(len(bits)):
        highest = max(highest, bits[v])
    last = (np.int64(1) << _SPAN) - 1
    n_positive = 0
    # What is not positive is written too, without a branch, and overwritten by the next voxel.
    for v in range(len(bits)):
        keys[n_positive] = (min(highest - bits[v], last) >> _DROPPED) << 32 | v
        n_positive += bits[v] > 0
    counts[:] = 0
    mask = (1 << _DIGIT) - 1
    for i in range(n_positive):
        counts[0, (keys[i] >> 32) & mask] += 1
        counts[1, keys[i] >> (32 + _DIGIT)] += 1
    for digit in range(2):
        total = 0
        for j in range(1 << _DIGIT):
            counts[digit, j], total = total, total + counts[digit, j]
    for i in range(n_positive):
        j = (keys[i] >> 32) & mask
        spare[counts[0, j]] = keys[i]
        counts[0, j] += 1
    for i in range(n_positive):
        j = spare[i] >> (32 + _DIGIT)
        keys[counts[1, j]] = spare[i]
        counts[1, j] += 1
    _settle(heights, keys, n_positive)
    return n_positive


@numba.njit(nogil=True, cache=True)
def _settle(heights, keys, n):
    """Put runs of equal keys in order of height; replace keys by voxels."""
    start = 0
    while start < n:
        stop = start + 1
        run = keys[start] >> 32
        while stop < n and keys[stop] >> 32 == run:
            stop += 1
        for i in range(start, stop):
            keys[i] &= 0xFFFFFFFF
        # Shell's sort: plain insertion for the usual short runs, yet no square of a long one.
        gap = 1
        while 3 * gap + 1 < stop - start:
            gap = 3 * gap + 1
        while gap > 0:
            for i in range(start + gap, stop):
                voxel, j = keys[i], i
                while j >= start + gap and heights[keys[j - gap]] < heights[voxel]:
                    keys[j] = keys[j - gap]
                    j -= gap
                keys[j] = voxel
            gap //= 3
        start = stop


@numba.njit(nogil=True, cache=True)
def _join(theirs, link, mine, i, joined, node, parents):
    """Join the cluster of a neighbour to that of the voxel at place i; return the root of both.

    Parameters
    ----------
    theirs, link : uint32, int32
        The neighbour, and its entry of `joined`.
    mine : uint32
        Root of the cluster of the voxel.
    i, joined, node, parents
        As in `_grow_tree`.
    """
    while link >= 0:
        above = np.uint32(link)
        link = joined[above]
        if link >= 0:
            joined[theirs] = link
        theirs = above
    if theirs == mine:
        return mine
    parents[node[theirs]] = i
    if link <= joined[mine]:
        mine, theirs = theirs, mine
    joined[mine] += joined[theirs]
    joined[theirs] = mine
    node[mine] = i
    return mine


@numba.njit(nogil=True, cache=True)
def _grow_tree(order, neighbours, joined, node, parents, sizes):
    """Build the component tree by adding voxels from the highest down.

    Parameters
    ----------
    order : int64 array, shape (n,)
        Voxels, highest first.
    neighbours : int32 array, shape (v, c)
        Neighbours of each voxel, in any order.
    joined, node : int32 array, shape (v,)
        Scratch: union-find (minus the size at a root) and the position of the voxel last added to
        a root's cluster.
    parents, sizes : int32 array, shape (n,)
        Filled by position in `order`: position of the voxel that absorbed the cluster (itself at
        the root of a tree) and size of the cluster when the voxel was added.
    """
    joined[:] = _ABSENT
    for i in range(len(order)):
        voxel = np.uint32(order[i])
        mine = voxel
        joined[voxel] = -1
        for c in range(neighbours.shape[1]):
            neighbour = neighbours[voxel, c]
            if neighbour < 0:
                continue
            theirs = np.uint32(neighbour)
            link = joined[theirs]
            # Most neighbours hang on the root that was found for the one before.
            if link != _ABSENT and link != np.int32(mine):
                mine = _join(theirs, link, mine, i, joined, node, parents)
        node[mine] = i
        parents[i] = i
        sizes[i] = -joined[mine]


@numba.njit(nogil=True, cache=True)
def _grow_tree_of_volume(order, neighbours, settled, inside, joined, node, parents, sizes):
    """Build the same tree as `_grow_tree` of the neighbours of a volume, in less time.

    Each voxel tells its neighbours that it is inside by a bit of theirs. A neighbour whose cluster
    was found settles all inside that are its own neighbours too: they joined it before.

    Parameters
    ----------
    order, neighbours, joined, node, parents, sizes
        As in `_grow_tree`; `neighbours` from `nipype_group.stats.neighbours.neighbour_list`.
    settled : uint32 array, shape (connectivity,)
        From `nipype_group.stats.neighbours.adjacent_columns`.
    inside : uint32 array, shape (1 + v,)
        Scratch: bits of the neighbours inside; the first takes those of absent neighbours.
    """
    inside[:] = 0
    for i in range(len(order)):
        voxel = np.uint32(order[i])
        row = neighbours[voxel]
        # The last column is the opposite of the first: what this voxel is to its neighbour.
        flag = np.uint32(1) << np.uint32(len(row))
        for c in range(len(row)):
            flag >>= np.uint32(1)
            inside[np.uint32(row[c] + 1)] |= flag
        mine = voxel
        joined[voxel] = -1
        left = inside[voxel + np.uint32(1)]
        while left:
            column = np.uint32(trailing_zeros(left))
            left &= ~settled[column]
            theirs = np.uint32(row[column])
            link = joined[theirs]
            # Most neighbours hang on the root that was found for the one before.
            if link != np.int32(mine):
                mine = _join(theirs, link, mine, i, joined, node, parents)
        node[mine] = i
        parents[i] = i
        sizes[i] = -joined[mine]


@numba.njit(nogil=True, cache=True)
def _sum_tree(levels, parents, sizes, extent_power, sums):
    """Sum size^E times the rise from the parent, from the roots of the tree up."""
    for i in range(len(parents) - 1, -1, -1):
        below, start = 0.0, 0.0
        if parents[i] != i:
            below, start = sums[parents[i]], levels[parents[i]]
        weight = np.sqrt(sizes[i]) if extent_power == 0.5 else float(sizes[i]) ** extent_power
        sums[i] = below + weight * (levels[i] - start)


@numba.njit(nogil=True, cache=True)
def _fill_levels(heights, order, height_power, step_heights, step_gains, strict, levels):
    """Fill the integral of h^H, or its sum over steps, from 0 to each voxel's height.

    Parameters
    ----------
    heights : float64 array, shape (v,)
        One side of a map.
    order : int64 array, shape (n,)
        Voxels, highest first.
    height_power : float
        H.
    step_heights, step_gains : float64 array, shape (1 + steps,)
        From `_steps`; empty for the integral.
    strict : bool
        A voxel belongs to heights below its own only.
    levels : float64 array, shape (n,)
        Filled.
    """
    step = len(step_heights) - 1
    for i in range(len(order)):
        h = heights[order[i]]
        if step < 0:
            cubed = height_power == 2.0
            rise = h * h * h if cubed else h ** (height_power + 1.0)
            levels[i] = rise / (height_power + 1.0)
        else:
            while step > 0 and (step_heights[step] > h or (strict and step_heights[step] == h)):
                step -= 1
            levels[i] = step_gains[step]


@numba.njit(nogil=True, cache=True)
def _enhance_in_place(
    maps, neighbours, settled, extent_power, height_power, heights, gains, strict
):
    """Enhance the positive side of each map in place; `heights` and `gains` as in `_steps`."""
    inside = np.empty(1 + len(neighbours), dtype=np.uint32)
    n_voxels = maps.shape[1]
    keys = np.empty(n_voxels, dtype=np.int64)
    spare = np.empty(n_voxels, dtype=np.int64)
    counts = np.empty((2, 1 << _DIGIT), dtype=np.int64)
    joined = np.empty(n_voxels, dtype=np.int32)
    node = np.empty(n_voxels, dtype=np.int32)
    parents = np.empty(n_voxels, dtype=np.int32)
    sizes = np.empty(n_voxels, dtype=np.int32)
    levels = np.empty(n_voxels)
    sums = np.empty(n_voxels)
    no_steps = np.empty(0)
    for m in range(len(maps)):
        n = _descend(maps[m], keys, spare, counts)
        order, above, extents = keys[:n], parents[:n], sizes[:n]
        if len(settled) > 0:
            _grow_tree_of_volume(order, neighbours, settled, inside, joined, node, above, extents)
        else:
            _grow_tree(order, neighbours, joined, node, above, extents)
        steps, sums_to = no_steps, no_steps
        if len(heights) > 0:
            row = min(m, len(heights) - 1)
            steps, sums_to = heights[row], gains[row]
        _fill_levels(maps[m], keys[:n], height_power, steps, sums_to, strict, levels)
        _sum_tree(levels, parents[:n], sizes[:n], extent_power, sums)
        maps[m, :] = 0.0
        for i in range(n):
            maps[m, keys[i]] = sums[i]
