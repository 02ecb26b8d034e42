"""Clusters of a statistic with their corrected p: extent, height and false discovery rate.

Everything is one-sided by nature; a two-sided test looks at both signs and doubles each p.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, special

from nipype_group.controls import check_alpha
from nipype_group.stats.clusters import label_clusters, neighbourhood, signs_of
from nipype_group.stats.elementary import exp, log
from nipype_group.stats.random_field.euler import StatField
from nipype_group.stats.random_field.inference import (
    check_height,
    log_p_cluster,
    log_p_extent,
    log_p_height,
    log_p_set,
)
from nipype_group.stats.random_field.resels import SearchVolume, cluster_resels, resel_counts
from nipype_group.stats.random_field.topological import log_q_clusters, log_q_peaks

# Neighbours among which SPM looks for maxima.
_PEAK_CONNECTIVITY = 18
# The distribution of extents holds for high thresholds only (Friston et al. 1994).
_LARGEST_FORMING_P = 0.05


@dataclass(frozen=True)
class InferredClusters:
    """Random field inference on the clusters of a map.

    Parameters
    ----------
    labels : int32 array, shape (x, y, z)
        Clusters that reach the cluster-forming height.
    n_voxels : int array, shape (k,)
        Sizes of the clusters.
    n_resels : array, shape (k,)
        Extents of the clusters in resels.
    log_p_unc, log_p_fwe, log_q_fdr : arrays, shape (k,)
        Natural logarithm of the uncorrected and the familywise p of the extent, and of the
        topological false discovery rate of clusters.
    peak_log_p : array, shape (x, y, z)
        Log familywise p of the height inside clusters, 0 elsewhere.
    peak_log_q : array, shape (x, y, z)
        Log false discovery rate of local maxima; NaN at other voxels.
    set_log_p : tuple of float
        Log p of as many clusters as were found, a number a side of the tail.
    height : float
        Cluster-forming height of the statistic.
    """

    labels: np.ndarray
    n_voxels: np.ndarray
    n_resels: np.ndarray
    log_p_unc: np.ndarray
    log_p_fwe: np.ndarray
    log_q_fdr: np.ndarray
    peak_log_p: np.ndarray
    peak_log_q: np.ndarray
    set_log_p: tuple
    height: float

    def survivors(self, alpha: float, min_extent: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Keep the clusters with familywise p <= alpha.

        Parameters
        ----------
        alpha : float
            Familywise error rate, between 0 and 1.
        min_extent : int
            Smallest number of voxels of a cluster that is kept.

        Returns
        -------
        labels : int32 array, shape (x, y, z)
            Clusters kept, numbered anew from 1.
        kept : int array
            Positions of the clusters in `n_voxels` and the other lists.

        Raises
        ------
        ValueError
            For an alpha that is no probability.
        """
        check_alpha(alpha)
        keep = (self.log_p_fwe <= log(alpha)) & (np.asarray(self.n_voxels) >= min_extent)
        new_id = np.zeros(len(keep) + 1, dtype=np.int32)
        new_id[1:][keep] = np.arange(1, keep.sum() + 1)
        return new_id[self.labels], np.flatnonzero(keep)

    def cluster_table(self, kept: Iterable[int]) -> list[dict[str, int | float]]:
        """Return a dictionary a kept cluster: its new id, extent and p."""
        columns = {
            "n_resels": self.n_resels,
            "p_unc": exp(self.log_p_unc),
            "p_fwe": exp(self.log_p_fwe),
            "p_fdr": exp(self.log_q_fdr),
        }
        return [
            {"cluster_id": i + 1, **{name: float(v[old]) for name, v in columns.items()}}
            for i, old in enumerate(kept)
        ]

    def peak_table(self) -> list[list[int | float]]:
        """Return [i, j, k, q] of every local maximum."""
        where = np.argwhere(~np.isnan(self.peak_log_q))
        return [[*at, float(exp(self.peak_log_q[tuple(at)]))] for at in where.tolist()]


def forming_height(
    field: StatField, tail: str, *, z: float | None = None, p: float | None = None
) -> tuple[float, float]:
    """Return a cluster-forming height in units of the statistic, and in z.

    Parameters
    ----------
    field : StatField
        The statistic.
    tail : {"two-sided", "positive", "negative"}
        A two-sided p is split between the sides.
    z : float, optional
        Height in z.
    p : float, optional
        Uncorrected p; .001 where neither is given.

    Returns
    -------
    height, height_z : float

    Raises
    ------
    ValueError
        Where both are given, or one looks like the other.

    Examples
    --------
    >>> from nipype_group.stats.random_field.euler import StatField
    >>> [round(v, 4) for v in forming_height(StatField("t", 29), "positive", p=0.001)]
    [3.3962, 3.0902]
    """
    if z is not None and p is not None:
        raise ValueError("give a cluster-forming z or a cluster-forming p, not both")
    if z is not None:
        if z <= 0:
            raise ValueError(f"a cluster-forming z is > 0, got {z:g}; the tail chooses the side")
        if not z >= 1:
            raise ValueError(f"cluster-forming z {z:g} looks like a p; give it as the p")
        return float(_height_of(special.ndtr(-z), field)), float(z)
    p = 0.001 if p is None else p
    if not 0 < p < 0.5:
        raise ValueError(f"a cluster-forming p is between 0 and 0.5, got {p:g}; is it a z?")
    if p > _LARGEST_FORMING_P:
        raise ValueError(
            f"a cluster-forming p of {p:g} is too lenient for random field theory; take "
            f"{_LARGEST_FORMING_P} or less"
        )
    one_sided = p / len(signs_of(tail))
    return float(_height_of(one_sided, field)), float(-special.ndtri(one_sided))


def _height_of(p, field):
    """Return the statistic with this upper tail."""
    # Loaded here alone, as it takes as long as the rest of SciPy.
    from scipy import stats

    distribution = {"Z": stats.norm, "t": stats.t, "F": stats.f, "chi2": stats.chi2}[field.kind]
    height = distribution.isf(p, *field.dof)
    if not np.isfinite(height):
        raise ValueError(
            f"no {field.kind} of dof {field.dof} has a tail of {p:g}; take a lower "
            "cluster-forming threshold"
        )
    return height


def search_volume(mask: np.ndarray, fwhm_voxels: Sequence[float] | np.ndarray) -> SearchVolume:
    """Return the `SearchVolume` of a mask: its resels on the lattice and its voxels."""
    return SearchVolume(
        tuple(resel_counts(mask, fwhm_voxels).tolist()),
        int(np.count_nonzero(mask)),
        tuple(fwhm_voxels),
    )


def infer_clusters(
    stat: np.ndarray,
    mask: np.ndarray,
    field: StatField,
    volume: SearchVolume,
    height: float,
    *,
    tail: str = "two-sided",
    connectivity: int = 26,
    rpv: np.ndarray | None = None,
) -> InferredClusters:
    """Form clusters and give their p by random field theory.

    Parameters
    ----------
    stat : array, shape (x, y, z)
        Statistic of the kind of `field`.
    mask : bool array, shape (x, y, z)
        Search volume.
    field : StatField
        Distribution of the statistic.
    volume : SearchVolume
        Resels of the mask.
    height : float
        Cluster-forming height, in units of the statistic; inclusion is >=.
    tail : {"two-sided", "positive", "negative"}
        Side tested; F and chi2 have the positive side only.
    connectivity : {6, 18, 26}
        Neighbours of a voxel.
    rpv : array, shape (x, y, z), optional
        Resels per voxel; with it extents are in local resels (Hayasaka 2004), for fields whose
        smoothness varies.

    Returns
    -------
    InferredClusters

    Raises
    ------
    ValueError
        Where the height looks like a p, or the tail does not fit the statistic.
    """
    # In float32 a voxel at the height could pass here and lie below it in what follows.
    stat, mask = np.asarray(stat, dtype=float), np.asarray(mask) != 0
    height = float(check_height(height, field))
    if field.kind in ("F", "chi2") and tail != "positive":
        raise ValueError(f"a {field.kind} statistic is tested on its positive side, got {tail}")
    signs = signs_of(tail)
    both = log(len(signs))
    survives = np.zeros(mask.shape, dtype=bool)
    for sign in signs:
        survives |= mask & (stat * sign >= height)
    labels = label_clusters(stat, survives, connectivity)
    n_clusters = int(labels.max())
    n_voxels = np.bincount(labels.ravel(), minlength=n_clusters + 1)[1:]
    n_resels = volume.to_resels(n_voxels)
    if rpv is not None:
        assert volume.fwhm_voxels is not None
        n_resels = cluster_resels(labels, rpv, volume.fwhm_voxels)
    first = np.array([labels_at[0] for labels_at in _members(labels, n_clusters)], dtype=int)
    side = np.sign(stat.ravel()[first]) if n_clusters else np.empty(0)

    log_q = np.empty(n_clusters)
    peak_log_q = np.full(mask.shape, np.nan)
    set_log_p = []
    for sign in signs:
        mine = side == sign
        log_q[mine] = _doubled(log_q_clusters(n_resels[mine], height, field, volume), both)
        peaks = _maxima(stat * sign, survives & (stat * sign > 0))
        values = log_q_peaks((stat * sign)[peaks], height, field, volume)
        peak_log_q[peaks] = _doubled(values, both)
        count = int(mine.sum())
        set_log_p.append(float(log_p_set(count, 0.0, height, field, volume)) if count else 0.0)
    inside = labels > 0
    peak_log_p = np.zeros(mask.shape)
    peak_log_p[inside] = _doubled(log_p_height(np.abs(stat[inside]), field, volume), both)
    return InferredClusters(
        labels=labels,
        n_voxels=n_voxels,
        n_resels=n_resels,
        log_p_unc=_doubled(log_p_extent(n_resels, height, field, volume), both),
        log_p_fwe=_doubled(log_p_cluster(n_resels, height, field, volume), both),
        log_q_fdr=log_q,
        peak_log_p=peak_log_p,
        peak_log_q=peak_log_q,
        set_log_p=tuple(set_log_p),
        height=height,
    )


def _doubled(log_p, log_factor):
    """Take both sides into account; p stays at most 1."""
    return np.minimum(np.asarray(log_p, dtype=float) + log_factor, 0.0)


def _members(labels, n_clusters):
    flat = labels.ravel()
    order = np.argsort(flat, kind="stable")
    sizes = np.bincount(flat, minlength=n_clusters + 1)
    return np.split(order, np.cumsum(sizes)[:-1])[1:]


def _maxima(values, inside):
    """Return the voxels that are at least as high as their neighbours in the set, as SPM does."""
    heights = np.where(inside, values, -np.inf)
    footprint = neighbourhood(_PEAK_CONNECTIVITY)
    highest = ndimage.maximum_filter(heights, footprint=footprint, mode="constant", cval=-np.inf)
    return np.nonzero(inside & (heights >= highest))
