"""Clusters and peaks of maps whose places are neighbours by a list, as those of a surface."""

import numpy as np
from scipy import sparse


def label_graph_clusters(
    values: np.ndarray,
    survives: np.ndarray,
    edges: np.ndarray | sparse.sparray,
    min_extent: int = 0,
) -> np.ndarray:
    """Label connected survivors of a graph, each sign apart, as label_clusters does volumes.

    Parameters
    ----------
    values : array, shape (v,)
        Statistic of the nodes.
    survives : bool array, shape (v,)
        Nodes that pass the height threshold.
    edges : int array, shape (e, 2), or sparse array, shape (v, v)
        Neighbours, as pairs or as an adjacency matrix; one direction suffices.
    min_extent : int
        Smallest number of nodes of a cluster that is kept.

    Returns
    -------
    int32 array, shape (v,)
        0 outside clusters. Positive clusters come first, then larger ones, then the higher peak.

    Examples
    --------
    >>> z = np.array([-4.0, 0, 3, 5, 3.5])
    >>> label_graph_clusters(z, abs(z) >= 3, [[0, 2], [2, 3], [3, 4]]).tolist()
    [2, 0, 1, 1, 1]
    """
    n = values.size
    if sparse.issparse(edges):
        if edges.shape != (n, n):
            raise ValueError(f"the adjacency has shape {edges.shape}, the map {n} nodes")
        pairs = np.stack(edges.nonzero(), axis=1)
    else:
        pairs = np.asarray(edges)
        if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
            raise ValueError(
                f"edges are pairs of node numbers, int of shape (e, 2), got {pairs.dtype} of "
                f"shape {pairs.shape}"
            )
        if pairs.size and (pairs.min() < 0 or pairs.max() >= n):
            raise ValueError(
                f"edges name nodes {pairs.min()} to {pairs.max()}, the map has 0 to {n - 1}"
            )
    side = np.where(survives, np.sign(values), 0)
    first, second = pairs[(side[pairs[:, 0]] == side[pairs[:, 1]]) & (side[pairs[:, 0]] != 0)].T
    graph = sparse.coo_array((np.ones(first.size, np.int8), (first, second)), shape=(n, n))
    n_found, found = sparse.csgraph.connected_components(graph, directed=False)
    sizes = np.bincount(found[side != 0], minlength=n_found)
    heights = np.zeros(n_found)
    np.maximum.at(heights, found, np.abs(values) * (side != 0))
    sign = np.zeros(n_found)
    sign[found] = side
    order = np.lexsort((-heights, -sizes, -sign))
    order = order[sizes[order] >= max(min_extent, 1)]
    new_id = np.zeros(n_found, dtype=np.int32)
    new_id[order] = np.arange(1, order.size + 1)
    return np.where(side != 0, new_id[found], 0).astype(np.int32)


def neighbour_pairs(neighbours: np.ndarray) -> np.ndarray:
    """Return the pairs that a list of neighbours holds, each once.

    Parameters
    ----------
    neighbours : int array, shape (v, c)
        Positions of neighbours, -1 where there is none.

    Returns
    -------
    int array, shape (e, 2)

    Examples
    --------
    >>> neighbour_pairs(np.array([[-1, 1], [0, 2], [1, -1]])).tolist()
    [[0, 1], [1, 2]]
    """
    neighbours = np.asarray(neighbours)
    at, column = np.nonzero(neighbours > np.arange(len(neighbours))[:, None])
    return np.column_stack([at, neighbours[at, column]])


def list_neighbours(pairs: np.ndarray, n: int) -> np.ndarray:
    """Return the list of neighbours that pairs of nodes make, as the compiled code wants it.

    Parameters
    ----------
    pairs : int array, shape (e, 2)
        Neighbours, each pair once, in either order.
    n : int
        Number of nodes.

    Returns
    -------
    int32 array, shape (n, c)
        -1 where there is no neighbour. The first half of the columns holds those whose number is
        smaller, the second half those whose number is larger.

    Examples
    --------
    >>> list_neighbours([[1, 0], [1, 2], [3, 1]], 4).tolist()
    [[-1, -1, 1, -1], [0, -1, 2, 3], [1, -1, -1, -1], [1, -1, -1, -1]]
    """
    pairs = np.sort(np.asarray(pairs, dtype=np.int32).reshape(-1, 2), axis=1)
    low, high = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].T
    by_high = np.argsort(high, kind="stable")
    halves = [(high[by_high], low[by_high]), (low, high)]
    width = max((np.bincount(at, minlength=1).max() for at, _ in halves), default=0)
    listed = np.full((2, n, width), -1, dtype=np.int32)
    for half, (at, neighbour) in zip(listed, halves, strict=True):
        half[at, np.arange(len(at)) - np.searchsorted(at, at)] = neighbour
    return np.concatenate(listed, axis=1)


def graph_maxima(heights: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Find the nodes that are at least as high as each neighbour, highest first.

    Nodes of equal height that touch count once, by the first of them; where one of them touches
    a higher node, they are no maximum.

    Parameters
    ----------
    heights : array, shape (v,)
    neighbours : int array, shape (v, c)
        Positions of neighbours, -1 where there is none.

    Returns
    -------
    int array, shape (n,)

    Examples
    --------
    >>> line = np.array([[-1, 1], [0, 2], [1, 3], [2, 4], [3, -1]])
    >>> graph_maxima(np.array([1.0, 3, 2, 4, 4]), line).tolist()
    [3, 1]
    """
    heights = np.asarray(heights, dtype=float)
    n = len(heights)
    first, second = neighbour_pairs(neighbours).T
    level = heights[first] == heights[second]
    graph = sparse.coo_array(
        (np.ones(level.sum(), np.int8), (first[level], second[level])), shape=(n, n)
    )
    n_plateaus, plateau = sparse.csgraph.connected_components(graph, directed=False)
    is_peak = np.ones(n_plateaus, dtype=bool)
    is_peak[plateau[first[heights[first] < heights[second]]]] = False
    is_peak[plateau[second[heights[second] < heights[first]]]] = False
    _, leading = np.unique(plateau, return_index=True)
    chosen = np.sort(leading[is_peak])
    return chosen[np.argsort(-heights[chosen], kind="stable")]
