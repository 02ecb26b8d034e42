"""t and F of the sandwich under shuffles: every shuffle has the variance of its own residuals."""

import numpy as np

from nipype_group.stats.estimators.sandwich import ContrastSandwich, sandwich_statistics
from nipype_group.stats.estimators.shuffled.clusters import ShuffledClusters, StatisticOf
from nipype_group.stats.linear.least_squares import LinearModel, is_rounding
from nipype_group.stats.matrix_products import residuals_of, sum_of_squares

_WORDS = "betas and cluster-robust variances are estimated again in every shuffle"


def shuffled_sandwich(
    model: LinearModel,
    weights: np.ndarray,
    test: str,
    clusters: np.ndarray,
    kind: str = "CR2",
    held: bool = False,
) -> ShuffledClusters:
    """Return a contrast by least squares with cluster-robust variances, for shuffles.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    weights : array, shape (r, p)
        Contrast rows over its columns.
    test : {"t", "F"}
    clusters : int array, shape (n,)
        Cluster of every map.
    kind : {"CR0", "CR1", "CR2", "CR3"}
        As of `fit_sandwich`.
    held : bool
        Not here, as nothing weighs maps.

    Returns
    -------
    ShuffledClusters

    Raises
    ------
    ValueError
        Where the clusters say too little of the contrast, or something is to be held.

    Examples
    --------
    >>> data = np.array([[1.0], [2], [4], [3], [7], [6]])
    >>> own = shuffled_sandwich(
    ...     LinearModel(np.ones((6, 1)), ("mean",)),
    ...     np.array([[1.0]]),
    ...     "t",
    ...     np.array([0, 0, 1, 1, 2, 2]),
    ... )
    >>> signs = np.array([[1, 1, 1, 1, 1, 1], [1, 1, -1, -1, 1, 1]])
    >>> orders = np.tile(np.arange(6), (2, 1))
    >>> own.statistic(own.prepare({"effects": data}), orders, signs).round(4).tolist()
    [[2.6383], [0.5196]]
    """
    clusters = np.asarray(clusters)
    if held:
        raise ValueError("the sandwich estimates nothing that maps are weighed by, to be held")

    def part(
        fitted: LinearModel,
        nuisance: LinearModel,
        present: np.ndarray,
        rows: np.ndarray,
        data: np.ndarray,
    ) -> tuple[np.ndarray, StatisticOf]:
        own = ContrastSandwich(fitted, clusters[present], rows, kind)
        dead = is_rounding(sum_of_squares(residuals_of(fitted.basis, data)), data)
        residuals = residuals_of(nuisance.basis, data)
        return (
            np.where(dead, 0.0, residuals),
            lambda maps: sandwich_statistics(own, maps, test)[2],
        )

    return ShuffledClusters(model, clusters, weights, test, part, _WORDS)
