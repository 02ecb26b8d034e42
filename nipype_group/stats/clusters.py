"""Clusters of a statistic map and the peaks inside them.

A cluster is a connected set of voxels whose statistic reaches a height threshold (``>=``).
Connectivity is 6 (faces), 18 (faces and edges) or 26 (faces, edges and corners).
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from nipype_group.choices import CONNECTIVITIES
from nipype_group.controls import TAILS

# Takes what `label_clusters` does: values, survivors, connectivity, smallest extent.
LabelClusters = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]


def neighbourhood(connectivity: int) -> np.ndarray:
    """Return the 3 x 3 x 3 structuring element of a connectivity.

    Examples
    --------
    >>> [int(neighbourhood(c).sum()) - 1 for c in (6, 18, 26)]
    [6, 18, 26]
    """
    if connectivity not in CONNECTIVITIES:
        raise ValueError(f"connectivity is 6, 18 or 26, got {connectivity}")
    return ndimage.generate_binary_structure(3, 1 + CONNECTIVITIES.index(connectivity))


def signs_of(tail: str) -> tuple[int, ...]:
    """Return the signs that a tail looks at.

    Examples
    --------
    >>> signs_of("two-sided"), signs_of("negative")
    ((1, -1), (-1,))
    """
    if tail not in TAILS:
        raise ValueError(f"tail is one of {', '.join(TAILS)}, got {tail!r}")
    return {"two-sided": (1, -1), "positive": (1,), "negative": (-1,)}[tail]


def label_clusters(
    values: np.ndarray, survives: np.ndarray, connectivity: int = 26, min_extent: int = 0
) -> np.ndarray:
    """Label the connected components of the surviving voxels, each sign apart.

    Parameters
    ----------
    values : array, shape (x, y, z)
        Statistic; its sign decides which side a voxel belongs to.
    survives : bool array, shape (x, y, z)
        Voxels that pass the height threshold.
    connectivity : {6, 18, 26}
        Which voxels are neighbours.
    min_extent : int
        Smallest number of voxels of a cluster that is kept.

    Returns
    -------
    int32 array, shape (x, y, z)
        0 outside clusters. Positive clusters come first, then larger ones, then the higher peak.

    Examples
    --------
    >>> z = np.zeros((5, 1, 1))
    >>> z[:, 0, 0] = [-4, 0, 3, 5, 0]
    >>> label_clusters(z, abs(z) >= 3, connectivity=6)[:, 0, 0].tolist()
    [2, 0, 1, 1, 0]
    """
    structure = neighbourhood(connectivity)
    labels = np.zeros(values.shape, dtype=np.int32)
    n_found = 0
    for sign in (1, -1):
        side = survives & (values * sign > 0)
        found, n_components = ndimage.label(side, structure=structure)
        if n_components == 0:
            continue
        index = np.arange(1, n_components + 1)
        sizes = np.bincount(found.ravel(), minlength=n_components + 1)[1:]
        heights = np.zeros(n_components)
        np.maximum.at(heights, found[side] - 1, values[side] * sign)
        order = np.lexsort((index, -heights, -sizes))
        order = order[sizes[order] >= max(min_extent, 1)]
        new_id = np.zeros(n_components + 1, dtype=np.int32)
        new_id[index[order]] = n_found + 1 + np.arange(len(order))
        labels += new_id[found]
        n_found += len(order)
    return labels


def local_maxima(values: np.ndarray, inside: np.ndarray, connectivity: int = 26) -> np.ndarray:
    """Find the voxels that are at least as high as each neighbour inside a set.

    A plateau of equal values counts once: its voxel nearest to the centre of the plateau stands
    for it, so a peak always lies in its cluster.

    Parameters
    ----------
    values : array, shape (x, y, z)
        Heights, larger is higher.
    inside : bool array, shape (x, y, z)
        The cluster.
    connectivity : {6, 18, 26}
        Which voxels are neighbours.

    Returns
    -------
    int array, shape (n, 3)
        Voxel indices, highest first.

    Examples
    --------
    >>> z = np.array([1.0, 3, 1, 2, 2, 2, 0])[:, None, None]
    >>> local_maxima(z, z > 0)[:, 0].tolist()
    [1, 4]
    >>> z = np.array([6.0, 3, 3, 3, 4, 3, 3])[:, None, None]
    >>> local_maxima(z, z > 0)[:, 0].tolist()
    [0, 4]
    """
    structure = neighbourhood(connectivity)
    box = ndimage.find_objects(inside.astype(np.int8))
    if not box or box[0] is None:
        return np.empty((0, 3), dtype=int)
    heights = np.where(inside, values, -np.inf)[box[0]]
    dilated = ndimage.maximum_filter(heights, footprint=structure, mode="constant", cval=-np.inf)
    candidates = np.isfinite(heights) & (heights >= dilated)
    # A plateau that goes on to a voxel with a higher neighbour is a shoulder, no peak.
    others = np.where(candidates, -np.inf, heights)
    beside = ndimage.maximum_filter(others, footprint=structure, mode="constant", cval=-np.inf)
    plateaus, _ = ndimage.label(candidates, structure=structure)
    shoulders = np.unique(plateaus[candidates & (beside == heights)])
    plateaus, n_plateaus = ndimage.label(
        candidates & ~np.isin(plateaus, shoulders), structure=structure
    )
    peaks = np.argwhere(plateaus)
    owner = plateaus[tuple(peaks.T)] - 1
    sizes = np.bincount(owner, minlength=n_plateaus)
    centres = (
        np.stack(
            [np.bincount(owner, weights=peaks[:, i], minlength=n_plateaus) for i in range(3)],
            axis=1,
        )
        / sizes[:, None]
    )
    distance = np.square(peaks - centres[owner]).sum(axis=1)
    first = np.lexsort((distance, owner))
    chosen = peaks[first[np.r_[True, np.diff(owner[first]) > 0]]]
    chosen = chosen[np.argsort(-heights[tuple(chosen.T)], kind="stable")]
    return chosen + np.array([axis.start for axis in box[0]])
