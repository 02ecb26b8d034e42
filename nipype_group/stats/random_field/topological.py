"""Height thresholds, topological false discovery rates, and FSL's version of cluster inference.

p and q values are natural logarithms, extents are in resels, heights in units of the statistic and
one-sided, as in `nipype_group.stats.random_field.inference`.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from nipype_group.controls import check_alpha
from nipype_group.stats.elementary import exp, log, power
from nipype_group.stats.multiple_testing import adjust_fdr
from nipype_group.stats.random_field.euler import StatField, log_ec_densities
from nipype_group.stats.random_field.inference import (
    check_height,
    log_expected_ec,
    log_p_extent,
    log_p_height,
    log_upper_poisson,
)
from nipype_group.stats.random_field.resels import SearchVolume

_HIGHEST = 1e12


def height_of_fwe(
    alpha: float, field: StatField, volume: SearchVolume, method: str = "smaller"
) -> float:
    """Return the height whose familywise p is alpha.

    The expected EC falls only above its last hump, so the largest such height is taken.

    Parameters
    ----------
    alpha : float
        Familywise error rate, between 0 and 1.
    field : StatField
        The statistic.
    volume : SearchVolume
        Where it is searched.
    method : {"smaller", "rft", "bonferroni"}
        As in `log_p_height`.

    Returns
    -------
    float
        Height. inf where none is enough (t and F with too few degrees of freedom for the
        dimensions of the volume); the lowest value of the statistic where every height is.

    Raises
    ------
    ValueError
        For an alpha that is no probability, an unknown method, or Bonferroni without a number of
        voxels.

    Examples
    --------
    >>> from nipype_group.stats.random_field.euler import StatField
    >>> from nipype_group.stats.random_field.resels import SearchVolume
    >>> volume = SearchVolume([1, 33.2611, 360.7965, 1258.7542], n_voxels=75919)
    >>> [round(height_of_fwe(0.05, StatField("t", 29), volume, m), 4)
    ...  for m in ("smaller", "rft", "bonferroni")]
    [6.0693, 6.1139, 6.0693]
    """
    check_alpha(alpha)
    signed = field.kind in ("Z", "t")

    def excess(u):
        return log_p_height(u, field, volume, method) - log(alpha)

    top = 1.0
    while log_ec_densities(top, field)[0] >= log(alpha):
        top *= 2
    low = None
    while excess(top) >= 0:
        low, top = top, top * 2
        if top > _HIGHEST:
            return np.inf
    if low is None:
        grid = np.linspace(-max(top, 40.0) if signed else 0.0, top, 4001)
        above = np.flatnonzero(excess(grid) >= 0)
        if above.size == 0:
            return -np.inf if signed else 0.0
        low, top = grid[above[-1]], grid[above[-1] + 1]
    return _root(excess, low, top, rtol=1e-14)


def _root(function, low, top, **bounds):
    from scipy.optimize import brentq  # here, as it takes time and few runs need it

    return float(brentq(function, low, top, xtol=1e-12, **bounds))


def _adjust(log_p):
    # A map without a peak or cluster is a result, no error.
    return adjust_fdr(log_p) if log_p.size else log_p


def log_q_peaks(
    peaks: ArrayLike, height: float, field: StatField, volume: SearchVolume
) -> np.ndarray:
    """Return the log q of local maxima: topological false discovery rate.

    Parameters
    ----------
    peaks : array, shape (m,)
        Heights of all local maxima above ``height``.
    height : float
        Height above which the maxima are taken.
    field : StatField
        The statistic.
    volume : SearchVolume
        Where it is searched.

    Returns
    -------
    array, shape (m,)
        Adjusted log p of Benjamini and Hochberg, where a peak at t has p = EC(t) / EC(height)
        (Chumbley et al. 2010, NeuroImage 49:3057).

    Raises
    ------
    ValueError
        For a peak below the height, or a height that is not > 0 or looks like a p value.

    Examples
    --------
    >>> from nipype_group.stats.random_field.euler import StatField
    >>> from nipype_group.stats.random_field.resels import SearchVolume
    >>> volume = SearchVolume([1, 33.2611, 360.7965, 1258.7542])
    >>> np.exp(log_q_peaks([7.2, 4.0, 3.5], 3.4, StatField("t", 29), volume)).round(4).tolist()
    [0.0009, 0.4867, 0.8376]
    """
    peaks, height = np.asarray(peaks, dtype=float), float(check_height(height, field))
    if np.any(peaks < height):
        raise ValueError(f"peaks lie at or above the height {height:g}, got {peaks.min():g}")
    log_ec = log_expected_ec(peaks, field, volume)
    return _adjust(np.minimum(log_ec - log_expected_ec(height, field, volume), 0.0))


def log_q_clusters(
    extents: ArrayLike, height: float, field: StatField, volume: SearchVolume
) -> np.ndarray:
    """Return the log q of clusters: topological false discovery rate.

    Parameters
    ----------
    extents : array, shape (m,)
        Extents of all clusters, in resels.
    height : float
        Cluster-forming height.
    field : StatField
        The statistic.
    volume : SearchVolume
        Where it is searched.

    Returns
    -------
    array, shape (m,)
        Adjusted log p of Benjamini and Hochberg over `log_p_extent` (Chumbley and Friston 2009,
        NeuroImage 44:62).

    Raises
    ------
    ValueError
        As `log_p_extent`.

    Examples
    --------
    >>> from nipype_group.stats.random_field.euler import StatField
    >>> from nipype_group.stats.random_field.resels import SearchVolume
    >>> volume = SearchVolume([1, 33.2611, 360.7965, 1258.7542])
    >>> np.exp(log_q_clusters([4.0, 0.4, 0.1], 3.4, StatField("t", 29), volume)).round(4).tolist()
    [0.0, 0.059, 0.2768]
    """
    return _adjust(log_p_extent(extents, height, field, volume))


def _check_fsl_height(height_z):
    if not height_z > 1:
        raise ValueError(
            f"FSL's cluster p needs a height z > 1, where its expected number of clusters is > 0, "
            f"got {height_z:g}"
        )


def fsl_log_p_cluster(
    n_voxels: ArrayLike, height_z: float, dlh: float, volume_voxels: int
) -> np.ndarray:
    """Return the familywise log p of clusters as FSL's ``cluster`` has it.

    Parameters
    ----------
    n_voxels : array, shape (...)
        Voxels of the clusters.
    height_z : float
        Cluster-forming z, > 1.
    dlh : float
        Roughness per voxel, FSL's DLH: sqrt(det(Lambda)).
    volume_voxels : int
        Voxels of the mask.

    Returns
    -------
    array, shape (...)
        log p. Only the density in three dimensions counts, over all voxels of the mask; the
        surface of the mask plays no part.

    Raises
    ------
    ValueError
        For a negative number of voxels, z not > 1, or DLH or volume not > 0.

    Notes
    -----
    Em = V DLH (2 pi)^-2 (z^2 - 1) exp(-z^2 / 2), B = (Gamma(5/2) Em / (V Phi(-z)))^(2/3),
    p = 1 - exp(-Em exp(-B k^(2/3))) (Friston et al. 1994, Human Brain Mapping 1:210).

    Examples
    --------
    >>> np.exp(fsl_log_p_cluster([71, 23], 3.1, 0.102413, 75919)).round(3).tolist()
    [0.015, 0.426]
    """
    n_voxels = np.asarray(n_voxels, dtype=float)
    if np.any(n_voxels < 0):
        raise ValueError(f"a cluster has >= 0 voxels, got {np.nanmin(n_voxels):g}")
    _check_fsl_height(height_z)
    if not (dlh > 0 and volume_voxels > 0):
        raise ValueError(f"DLH and volume are > 0, got {dlh:g} and {volume_voxels:g}")
    log_density = log(dlh * (height_z**2 - 1)) - height_z**2 / 2 - 2 * log(2 * np.pi)
    log_b = special.gammaln(2.5) + log_density - special.log_ndtr(-height_z)
    log_mean = log(volume_voxels) + log_density - power(exp(log_b) * n_voxels, 2 / 3)
    return log_upper_poisson(log_mean, 1)


def fsl_height_threshold(alpha: float, n_resels: float) -> float:
    """Return the z whose familywise p is alpha as FSL's ``ptoz -g`` and ``feat`` have it.

    Parameters
    ----------
    alpha : float
        Familywise error rate, between 0 and 1.
    n_resels : float
        Voxels of the mask divided by voxels per resel.

    Returns
    -------
    float
        z where n_resels EC_3(z) = alpha, solved exactly; FSL stops within 0.001 of it. 1 where
        even the largest expected number falls short of alpha.

    Raises
    ------
    ValueError
        For an alpha that is no probability or resels not > 0.

    Examples
    --------
    >>> round(fsl_height_threshold(0.05, 1658.2), 3)
    4.762
    """
    check_alpha(alpha)
    if not n_resels > 0:
        raise ValueError(f"n_resels is > 0, got {n_resels:g}")
    field = StatField("Z")

    def excess(z):
        return log(n_resels) + log_ec_densities(z, field)[3] - log(alpha)

    # EC_3 of Z is highest at sqrt(3).
    hump = np.sqrt(3)
    if excess(hump) < 0:
        return 1.0
    return _root(excess, hump, 1e3)
