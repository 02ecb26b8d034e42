"""Which voxels of a mask are neighbours, as a table that compiled code walks through."""

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
    offsets = np.sort((np.argwhere(neighbourhood(connectivity)) - 1) @ [1, n_x, n_x * n_y])
    neighbours = np.empty((len(voxels), connectivity), dtype=np.int32)
    for column, offset in enumerate(offsets[offsets != 0]):
        neighbours[:, column] = index[voxels + offset]
    return neighbours
