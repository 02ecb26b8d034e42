"""Extent and mass of the clusters of many shuffles, from their surviving voxels alone.

Survivors are the voxels of one side (sign) that reach the cluster-forming height, few among all
voxels. Their heights are positive: those of the negative side are turned over first. Clusters are
their connected components, found by union-find. A mass is summed in ascending voxel order, so
its last bits depend on the cluster alone.
"""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def _join(voxels, neighbours, component, first):
    """Find for each survivor the position of the first survivor of its cluster.

    Parameters
    ----------
    voxels : int32 array, shape (n,)
        Survivors, ascending.
    neighbours : int32 array, shape (v, connectivity)
        From `nipype_group.stats.neighbours.neighbour_list`.
    component : int32 array, shape (v,)
        Scratch, -1 everywhere before and after.
    first : int32 array, shape (n,)
        Filled.
    """
    n_backward = neighbours.shape[1] // 2
    for i in range(len(voxels)):
        # Unsigned indices spare the check for counting from the end.
        voxel = np.uint32(voxels[i])
        mine = np.uint32(i)
        first[mine] = mine
        for c in range(n_backward):
            neighbour = neighbours[voxel, c]
            if neighbour < 0 or component[np.uint32(neighbour)] < 0:
                continue
            theirs = np.uint32(component[np.uint32(neighbour)])
            while np.uint32(first[theirs]) != theirs:
                first[theirs] = first[np.uint32(first[theirs])]
                theirs = np.uint32(first[theirs])
            # The earlier root stays root, so that one ascending pass resolves all below.
            if theirs < mine:
                first[mine] = theirs
                mine = theirs
            else:
                first[theirs] = mine
        component[voxel] = mine
    for i in range(len(voxels)):
        component[voxels[i]] = -1
        first[i] = first[first[i]]


@numba.njit(nogil=True, cache=True)
def largest_cluster(
    voxels: np.ndarray,
    heights: np.ndarray,
    neighbours: np.ndarray,
    component: np.ndarray,
    excess: float,
) -> tuple[float, float]:
    """Return the extent of the largest cluster and the mass of the heaviest, of one shuffle.

    Parameters
    ----------
    voxels : int32 array, shape (n,)
        Indices of the survivors of one side, ascending.
    heights : float64 array, shape (n,)
        Heights of the voxels, positive.
    neighbours : int32 array, shape (v, connectivity)
        From `nipype_group.stats.neighbours.neighbour_list`.
    component : int32 array, shape (v,)
        Scratch, -1 everywhere before and after.
    excess : float
        Subtracted from each height before masses are summed: 0 for the sum of the statistic,
        the cluster-forming height for the sum above it.

    Returns
    -------
    extent, mass : float
        In voxels and in units of the statistic; 0 without survivors. They may come from
        different clusters.

    Examples
    --------
    >>> from nipype_group.stats.neighbours import neighbour_list
    >>> neighbours = neighbour_list(np.ones((5, 1, 1), dtype=bool), 6)
    >>> voxels = np.array([0, 1, 4], dtype=np.int32)
    >>> scratch = np.full(5, -1, dtype=np.int32)
    >>> largest_cluster(voxels, np.array([3.5, 3.25, 9.0]), neighbours, scratch, 0.0)
    (2.0, 9.0)
    """
    n_survivors = len(voxels)
    first = np.empty(n_survivors, dtype=np.int32)
    _join(voxels, neighbours, component, first)
    extents = np.zeros(n_survivors)
    masses = np.zeros(n_survivors)
    extent, mass = 0.0, 0.0
    for i in range(n_survivors):
        extents[first[i]] += 1.0
        masses[first[i]] += heights[i] - excess
    for i in range(n_survivors):
        extent = max(extent, extents[i])
        mass = max(mass, masses[i])
    return extent, mass


@numba.njit(nogil=True, cache=True)
def largest_clusters(
    voxels: np.ndarray,
    heights: np.ndarray,
    offsets: np.ndarray,
    neighbours: np.ndarray,
    component: np.ndarray,
    excess: float,
    extents: np.ndarray,
    masses: np.ndarray,
) -> None:
    """Fill the largest extent and the largest mass of each of many shuffles.

    Parameters
    ----------
    voxels : int32 array, shape (n,)
        Survivors of one side, shuffle after shuffle, ascending in each.
    heights : float64 array, shape (n,)
        Heights of the voxels, positive.
    offsets : int64 array, shape (m + 1,)
        Survivors ``offsets[k]`` to ``offsets[k + 1] - 1`` belong to shuffle k.
    neighbours, component, excess
        As in `largest_cluster`.
    extents, masses : float64 array, shape (m,)
        Filled.
    """
    for k in range(len(offsets) - 1):
        start, stop = offsets[k], offsets[k + 1]
        extents[k], masses[k] = largest_cluster(
            voxels[start:stop], heights[start:stop], neighbours, component, excess
        )


@numba.njit(nogil=True, cache=True)
def cluster_masses(
    voxels: np.ndarray,
    heights: np.ndarray,
    neighbours: np.ndarray,
    component: np.ndarray,
    excess: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return every cluster of one map, with the very sums that `largest_cluster` compares.

    Parameters
    ----------
    voxels, heights, neighbours, component, excess
        As in `largest_cluster`.

    Returns
    -------
    labels : int32 array, shape (n,)
        Cluster of each survivor, from 0 on, in the order of their first voxels.
    extents, masses : float64 array, shape (clusters,)
        In voxels and in units of the statistic.

    Examples
    --------
    >>> from nipype_group.stats.neighbours import neighbour_list
    >>> neighbours = neighbour_list(np.ones((5, 1, 1), dtype=bool), 6)
    >>> voxels = np.array([0, 1, 4], dtype=np.int32)
    >>> scratch = np.full(5, -1, dtype=np.int32)
    >>> [part.tolist() for part in
    ...  cluster_masses(voxels, np.array([3.5, 3.25, 9.0]), neighbours, scratch, 3.0)]
    [[0, 0, 1], [2.0, 1.0], [0.75, 6.0]]
    """
    labels = np.empty(len(voxels), dtype=np.int32)
    _join(voxels, neighbours, component, labels)
    n_clusters = 0
    for i in range(len(voxels)):
        # The first survivor of a cluster comes before the others, so its label is there by then.
        if labels[i] == i:
            labels[i] = n_clusters
            n_clusters += 1
        else:
            labels[i] = labels[labels[i]]
    extents = np.zeros(n_clusters)
    masses = np.zeros(n_clusters)
    for i in range(len(voxels)):
        extents[labels[i]] += 1.0
        masses[labels[i]] += heights[i] - excess
    return labels, extents, masses
