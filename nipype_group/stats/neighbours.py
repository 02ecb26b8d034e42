"""Which voxels of a mask are neighbours, as a table that compiled code walks through."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from nipype_group.stats.clusters import neighbourhood


def neighbour_list(mask: ArrayLike, connectivity: int) -> np.ndarray:
    """List the neighbours of each voxel of a mask.

    Voxels count in Fortran order of the mask (first axis fastest), as in
    ``np.flatnonzero(mask.ravel(order="F"))``.

    Parameters
    ----------
    mask : bool array, shape (x, y, z)
        Voxels that count.
    connectivity : {6, 18, 26}
        Which voxels are neighbours.

    Returns
    -------
    int32 array, shape (v, connectivity)
        Indices of neighbours, -1 where there is none. The first half of the columns holds the
        backward neighbours, whose index is smaller, the second half the forward ones.

    Raises
    ------
    ValueError
        Unknown connectivity, or a mask that is not three-dimensional.

    Examples
    --------
    >>> mask = np.array([1, 1, 0, 1, 1], dtype=bool).reshape(5, 1, 1)
    >>> neighbour_list(mask, 6)[:, [2, 3]].tolist()
    [[-1, 1], [0, -1], [-1, 3], [2, -1]]
    """
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim != 3:
        raise ValueError(f"the mask has three dimensions, got shape {mask.shape}")
    # A border of one voxel keeps neighbours from wrapping round to the next row.
    padded = np.pad(mask, 1).ravel(order="F")
    voxels = np.flatnonzero(padded)
    index = np.full(padded.size, -1, dtype=np.int32)
    index[voxels] = np.arange(len(voxels), dtype=np.int32)
    n_x, n_y, _ = np.array(mask.shape) + 2
    neighbours = np.empty((len(voxels), connectivity), dtype=np.int32)
    for column, offset in enumerate(_offsets(connectivity) @ [1, n_x, n_x * n_y]):
        neighbours[:, column] = index[voxels + offset]
    return neighbours


def _offsets(connectivity):
    """Return the axes' steps to each column of `neighbour_list`, the last axis changing last."""
    offsets = np.argwhere(neighbourhood(connectivity).T)[:, ::-1] - 1
    return offsets[offsets.any(axis=1)]


@cache
def adjacent_columns(connectivity: int) -> np.ndarray:
    """Tell which columns of `neighbour_list` are neighbours of each other.

    Parameters
    ----------
    connectivity : {6, 18, 26}
        Which voxels are neighbours.

    Returns
    -------
    uint32 array, shape (connectivity,)
        By column: bits of the columns whose voxels are neighbours of its own, and its own bit.

    Raises
    ------
    ValueError
        Unknown connectivity.

    Examples
    --------
    The neighbours at the faces are none of each other.

    >>> adjacent_columns(6).tolist()
    [1, 2, 4, 8, 16, 32]
    """
    offsets = _offsets(connectivity)
    apart = offsets[:, None] - offsets
    near = np.abs(apart).max(axis=2) <= 1
    # With itself: the middle of a neighbourhood is part of it.
    near[near] = neighbourhood(connectivity)[tuple(1 + apart[near].T)]
    bits = np.uint32(1) << np.arange(connectivity, dtype=np.uint32)
    return np.where(near, bits, np.uint32(0)).sum(axis=1, dtype=np.uint32)
