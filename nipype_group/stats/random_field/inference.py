"""Familywise and false discovery rates of peaks and clusters by random field theory.

All p values are natural logarithms, extents are in resels, heights in units of the statistic and
one-sided; `SearchVolume.to_resels` turns voxels into resels. Valid for smooth maps (FWHM of at
least about 3 voxels) and cluster-forming heights of about p < 0.001 (Eklund et al. 2016).
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from nipype_group.stats.elementary import exp, log, power
from nipype_group.stats.random_field.euler import StatField, log_ec_densities
from nipype_group.stats.random_field.resels import SearchVolume

HEIGHT_METHODS = ("smaller", "rft", "bonferroni")


def check_height(height: ArrayLike, field: StatField) -> np.ndarray:
    """Return a cluster-forming height as an array, or refuse it.

    Raises
    ------
    ValueError
        For a height that is not > 0 or, but for a conjunction, one that looks like a p value.
    """
    height = np.asarray(height, dtype=float)
    if np.any(height <= 0):
        raise ValueError(f"a cluster-forming height is > 0, got {height.min():g}")
    if field.n_maps == 1 and np.any(height < 1):
        raise ValueError(
            f"a cluster-forming height is a value of {field.kind}; {height.min():g} looks like "
            "a p value"
        )
    return height


def _check_extent(extent: ArrayLike) -> np.ndarray:
    extent = np.asarray(extent, dtype=float)
    if np.any(extent < 0):
        raise ValueError(f"a cluster extent is >= 0 resels, got {np.nanmin(extent):g}")
    return extent


def _scaled_ec(u, field, volume):
    """Return log scale and signed sum of the expected Euler characteristic."""
    logs = log_ec_densities(u, field)[: volume.n_dims + 1]
    top = logs.max(axis=0)
    finite = np.where(np.isneginf(top), 0.0, top)
    densities = zip(volume.resels, exp(logs - finite), strict=True)
    return finite, sum(resels * density for resels, density in densities)


def expected_ec(u: ArrayLike, field: StatField, volume: SearchVolume) -> np.ndarray:
    """Return the expected Euler characteristic above a height: the expected number of clusters.

    Parameters
    ----------
    u : array, shape (...)
        Heights.
    field : StatField
        The statistic.
    volume : SearchVolume
        Where it is searched.

    Returns
    -------
    array, shape (...)
        sum_d R_d EC_d(u), negative densities counted as 0 (Worsley et al. 1996, Human
        Brain Mapping 4:58).

    Examples
    --------
    >>> from nipype_group.stats.random_field.euler import StatField
    >>> from nipype_group.stats.random_field.resels import SearchVolume
    >>> volume = SearchVolume([1, 33.2611, 360.7965, 1258.7542])
    >>> round(float(expected_ec(3.39624, StatField("t", 29), volume)), 3)
    15.786
    """
    scale, total = _scaled_ec(u, field, volume)
    return total * exp(scale)


def log_expected_ec(u: ArrayLike, field: StatField, volume: SearchVolume) -> np.ndarray:
    """Return the logarithm of `expected_ec`, inf where holes make it negative.

    Examples
    --------
    >>> from nipype_group.stats.random_field.euler import StatField
    >>> from nipype_group.stats.random_field.resels import SearchVolume
    >>> float(log_expected_ec(50.0, StatField("Z"), SearchVolume([1, 5, 20, 100])).round(2))
    -1239.71
    """
    scale, total = _scaled_ec(u, field, volume)
    # Holes outweigh the volume where this is negative: nothing can be said there, so p is 1.
    with np.errstate(divide="ignore"):
        return np.where(total < 0, np.inf, scale + log(np.maximum(total, 0)))


def expected_extent(height: ArrayLike, field: StatField, volume: SearchVolume) -> np.ndarray:
    """Return the expected extent of a cluster.

    Parameters
    ----------
    height : array, shape (...)
        Cluster-forming heights.
    field : StatField
        The statistic.
    volume : SearchVolume
        Only its highest dimension D counts.

    Returns
    -------
    array, shape (...)
        EC_0(u) / EC_D(u) resels (Friston et al. 1994, Human Brain Mapping 1:210);
        times ``volume.voxels_per_resel`` in voxels.

    Raises
    ------
    ValueError
        For a height that is not > 0 or looks like a p value.

    Examples
    --------
    >>> from nipype_group.stats.random_field.euler import StatField
    >>> from nipype_group.stats.random_field.resels import SearchVolume
    >>> volume = SearchVolume([1, 33.3, 360.8, 1258.8], 75919, [4.1492, 4.1597, 3.2393])
    >>> extent = expected_extent(3.39624, StatField("t", 29), volume)
    >>> round(float(extent * volume.voxels_per_resel), 3)
    5.124
    """
    logs = log_ec_densities(check_height(height, field), field)
    return exp(logs[0] - logs[volume.n_dims])


def log_upper_poisson(log_mean: ArrayLike, n_events: ArrayLike) -> np.ndarray:
    """Return log P(Poisson(mean) >= n_events), accurate where mean or p underflow.

    Examples
    --------
    >>> log_upper_poisson([-1000.0, 0.0], 1).round(4).tolist()
    [-1000.0, -0.4587]
    """
    n, log_mean = np.broadcast_arrays(
        np.asarray(n_events, dtype=float), np.asarray(log_mean, dtype=float)
    )
    mean = exp(np.minimum(log_mean, 700.0))
    with np.errstate(divide="ignore"):
        once = np.where(mean > 1e-17, log(-special.expm1(-mean)), log_mean)
        tail = special.gammainc(np.maximum(n, 1), mean)
        # The series of the tail, where the tail itself underflows.
        low = np.where(tail < 1e-280, mean, 0.0)
        series = np.maximum(n, 1) * log_mean - low - special.gammaln(n + 1)
        series = series + log(special.hyp1f1(1.0, n + 1, low))
        many = np.where(tail < 1e-280, series, log(tail))
    return np.where(n == 0, 0.0, np.where(n == 1, once, many))


def log_p_extent(
    extent: ArrayLike, height: ArrayLike, field: StatField, volume: SearchVolume
) -> np.ndarray:
    """Return the uncorrected log p of the extent of one cluster.

    Parameters
    ----------
    extent : array, shape (...)
        Extents k in resels; `cluster_resels` gives them where smoothness varies.
    height : float or array
        Cluster-forming height.
    field : StatField
        The statistic.
    volume : SearchVolume
        Only its highest dimension D counts.

    Returns
    -------
    array, shape (...)
        log P(K > k) = -(Gamma(D/2 + 1) k / E[K])^(2/D) (Friston et al. 1994), for
        all fields; 0 in a volume without extent.

    Raises
    ------
    ValueError
        For a negative extent, or a height that is not > 0 or looks like a p value.

    Examples
    --------
    >>> from nipype_group.stats.random_field.euler import StatField
    >>> from nipype_group.stats.random_field.resels import SearchVolume
    >>> volume = SearchVolume([1, 33.2611, 360.7965, 1258.7542])
    >>> float(log_p_extent(1.305710, 3.39624, StatField("t", 29), volume).round(3))
    -7.105
    """
    extent = _check_extent(extent)
    mean = expected_extent(height, field, volume)
    dims = volume.n_dims
    if dims == 0:
        return np.zeros(np.broadcast_shapes(extent.shape, mean.shape))
    return -power(special.gamma(dims / 2 + 1) * extent / mean, 2 / dims)


def log_p_set(
    n_clusters: ArrayLike,
    extent: ArrayLike,
    height: ArrayLike,
    field: StatField,
    volume: SearchVolume,
) -> np.ndarray:
    """Return the log p of finding at least so many clusters of at least an extent.

    Parameters
    ----------
    n_clusters : int or array
        Clusters found, >= 0.
    extent : array, shape (...)
        Smallest extent that counts, in resels.
    height : float or array
        Cluster-forming height.
    field : StatField
        The statistic.
    volume : SearchVolume
        Where it is searched.

    Returns
    -------
    array, shape (...)
        Set-level log p: the upper tail of a Poisson variable with the expected number of such
        clusters (Friston et al. 1996, NeuroImage 4:223).

    Raises
    ------
    ValueError
        For a negative number or extent, or a height that is not > 0 or looks like a p value.

    Examples
    --------
    >>> from nipype_group.stats.random_field.euler import StatField
    >>> from nipype_group.stats.random_field.resels import SearchVolume
    >>> volume = SearchVolume([1, 33.2611, 360.7965, 1258.7542])
    >>> float(np.exp(log_p_set(24, 0.0, 3.39624, StatField("t", 29), volume)).round(5))
    0.03229
    """
    n_clusters = np.asarray(n_clusters)
    if np.any(n_clusters < 0) or np.any(n_clusters != np.round(n_clusters)):
        raise ValueError(f"a number of clusters is a whole number >= 0, got {n_clusters}")
    log_mean = log_expected_ec(check_height(height, field), field, volume)
    log_mean = log_mean + log_p_extent(extent, height, field, volume)
    return log_upper_poisson(log_mean, n_clusters)


def log_p_cluster(
    extent: ArrayLike, height: ArrayLike, field: StatField, volume: SearchVolume
) -> np.ndarray:
    """Return the familywise log p of cluster extents: `log_p_set` of one cluster.

    Examples
    --------
    >>> from nipype_group.stats.random_field.euler import StatField
    >>> from nipype_group.stats.random_field.resels import SearchVolume
    >>> volume = SearchVolume([1, 33.2611, 360.7965, 1258.7542])
    >>> float(np.exp(log_p_cluster(1.305710, 3.39624, StatField("t", 29), volume)).round(5))
    0.01287
    """
    return log_p_set(1, extent, height, field, volume)


def log_p_height(
    u: ArrayLike, field: StatField, volume: SearchVolume, method: str = "smaller"
) -> np.ndarray:
    """Return the familywise log p of heights.

    Parameters
    ----------
    u : array, shape (...)
        Heights of voxels or peaks.
    field : StatField
        The statistic.
    volume : SearchVolume
        Where it is searched; ``n_voxels`` is needed for Bonferroni.
    method : {"smaller", "rft", "bonferroni"}
        1 - exp(-expected EC), number of voxels times tail, or the smaller of both, which is
        valid as both bound the same probability.

    Returns
    -------
    array, shape (...)
        log p, at most 0.

    Raises
    ------
    ValueError
        For an unknown method, or Bonferroni without a number of voxels.

    Examples
    --------
    >>> from nipype_group.stats.random_field.euler import StatField
    >>> from nipype_group.stats.random_field.resels import SearchVolume
    >>> volume = SearchVolume([1, 33.2611, 360.7965, 1258.7542], n_voxels=75919)
    >>> for method in HEIGHT_METHODS:
    ...     p = np.exp(log_p_height(7.254732132, StatField("t", 29), volume, method))
    ...     print(f"{p:.6f}")
    0.002075
    0.003970
    0.002075
    """
    if method not in HEIGHT_METHODS:
        raise ValueError(f"method is one of {', '.join(HEIGHT_METHODS)}, got {method!r}")
    found = []
    if method != "bonferroni":
        found.append(log_upper_poisson(log_expected_ec(u, field, volume), 1))
    if method != "rft":
        if volume.n_voxels is None:
            raise ValueError('Bonferroni needs the n_voxels of the volume; or use method "rft"')
        log_tail = log_ec_densities(u, field)[0]
        found.append(np.minimum(log_tail + log(volume.n_voxels), 0.0))
    return np.minimum.reduce(found)
