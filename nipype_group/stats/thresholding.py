"""Thresholding a z map by height and extent."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from nipype_group.controls import check_alpha, check_threshold_z, height_control
from nipype_group.stats import multiple_testing
from nipype_group.stats.clusters import LabelClusters, label_clusters, signs_of
from nipype_group.stats.distributions import f_to_z, t_to_z, z_to_log_p
from nipype_group.stats.elementary import log
from nipype_group.stats.multiple_testing import adjust
from nipype_group.stats.random_field import topological
from nipype_group.stats.random_field.euler import StatField
from nipype_group.stats.random_field.inference import log_p_height
from nipype_group.stats.random_field.resels import SearchVolume

# p of permutation are multiples of a step; 1-p in single precision is off by 6e-8.
_LOGP_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Thresholded:
    """What survives.

    Parameters
    ----------
    labels : int32 array, shape (x, y, z)
        Clusters of the survivors.
    log_p : array, shape (v,)
        Natural logarithm of the adjusted p of every voxel in the mask.
    threshold_z : float
        Height; inf where no value of the data suffices.
    """

    labels: np.ndarray
    log_p: np.ndarray
    threshold_z: float


@dataclass(frozen=True)
class RandomField:
    """A statistic as a random field in a search volume.

    Parameters
    ----------
    stat : array, shape (x, y, z)
        t, F or Z.
    field : StatField
        Distribution of the statistic.
    volume : SearchVolume
        Resels of the mask.
    """

    stat: np.ndarray
    field: StatField
    volume: SearchVolume

    def log_p(self, mask: np.ndarray, tail: str) -> np.ndarray:
        """Return the log familywise p of the mask's voxels: the smaller of RFT and Bonferroni."""
        values = self.stat[mask]
        side = {"two-sided": np.abs(values), "positive": values, "negative": -values}[tail]
        # Below 0 the expected Euler characteristic no longer bounds the p, which is 1 there.
        log_p = log_p_height(np.maximum(side, 0.0), self.field, self.volume)
        return np.minimum(log_p + log(len(signs_of(tail))), 0.0)

    def height_z(self, alpha: float, tail: str) -> float:
        """Return the z of the familywise threshold."""
        check_alpha(alpha)
        assert isinstance(self.field.dof, tuple)
        height = topological.height_of_fwe(alpha / len(signs_of(tail)), self.field, self.volume)
        if self.field.kind == "Z":
            return float(height)
        if self.field.kind == "t":
            return float(t_to_z(height, *self.field.dof))
        return float(f_to_z(height, *self.field.dof))


# p of 1e-138, which gives a finite statistic whatever the dof.
_LARGEST_Z = 25.0


def at_dof_of_field(
    stat: np.ndarray, z: np.ndarray, dof: np.ndarray, field: StatField
) -> np.ndarray:
    """Bring a t or F whose degrees of freedom vary by voxel to those of one field.

    A voxel with other dof gets the statistic that has its z at the dof of the field, so p of its
    height stays what it is. Random field theory takes the result for a field of one kind.

    Parameters
    ----------
    stat, z : array, shape (x, y, z)
        t or F, and its z.
    dof : array, shape (x, y, z)
        Residual degrees of freedom; 0 where there is no statistic.
    field : StatField
        t or F, with the dof of the result.

    Returns
    -------
    array, shape (x, y, z)
        `stat` itself where all dof are those of the field.

    Examples
    --------
    >>> from nipype_group.stats.distributions import t_to_z
    >>> t, dof = np.array([3.0, 3.0]), np.array([29, 9])
    >>> at_dof_of_field(t, t_to_z(t, dof), dof, StatField("t", 29)).round(4).tolist()
    [3.0, 2.5872]
    """
    assert isinstance(field.dof, tuple)
    # A statistic of 0 is that of a voxel without variance, or has no better place.
    other = (dof > 0) & (dof != field.dof[-1]) & (stat != 0)
    if not other.any():
        return stat
    stat = np.array(stat, dtype=float)
    height = np.clip(z[other], -_LARGEST_Z, _LARGEST_Z)
    if field.kind == "t":
        outside, inside = (
            2 * special.ndtr(-np.abs(height)),
            special.erf(np.abs(height) / np.sqrt(2)),
        )
        stat[other] = np.copysign(np.sqrt(_f_of(outside, inside, 1, *field.dof)), height)
    else:
        stat[other] = _f_of(special.ndtr(-height), special.ndtr(height), *field.dof)
    return stat


def _f_of(upper, lower, dof_num, dof_den):
    """Return the F with these tails, from the smaller of the two, which has more digits."""
    from_upper = special.betaincinv(dof_den / 2, dof_num / 2, np.minimum(upper, 0.5))
    from_lower = special.betaincinv(dof_num / 2, dof_den / 2, np.minimum(lower, 0.5))
    odds = np.where(upper < lower, (1 - from_upper) / from_upper, from_lower / (1 - from_lower))
    return odds * dof_den / dof_num


def threshold_adjusted(
    stat: np.ndarray,
    logp: np.ndarray,
    mask: np.ndarray,
    *,
    alpha: float = 0.05,
    tail: str = "two-sided",
    connectivity: int = 26,
    min_extent: int = 0,
    label: LabelClusters = label_clusters,
) -> tuple[np.ndarray, list[float]]:
    """Threshold a statistic by adjusted p that are there already; inclusion is p <= alpha.

    Parameters
    ----------
    stat : array, shape (x, y, z)
        Statistic, whose sign is that of the effect.
    logp : array, shape (x, y, z)
        -log10 of the adjusted p, of voxels or of the clusters that they are in.
    mask : bool array, shape (x, y, z)
        Voxels tested.
    alpha : float
        Error rate.
    tail : {"two-sided", "positive", "negative"}
        Side that counts.
    connectivity : {6, 18, 26}
        Which voxels are neighbours.
    min_extent : int
        Smallest number of voxels of a cluster that is kept.
    label : callable, optional
        Labels clusters as `label_clusters` does those of volumes.

    Returns
    -------
    labels : int32 array of the shape of the mask
        Clusters of the survivors.
    p : list of float
        Smallest p of the voxels of every cluster.

    Examples
    --------
    >>> stat, logp = np.array([[[4.0, 3.0, 0.1, -5.0]]]), np.array([[[2.0, 1.5, 0.0, 3.0]]])
    >>> labels, p = threshold_adjusted(stat, logp, stat != 0)
    >>> labels.tolist(), [round(value, 6) for value in p]
    ([[[1, 1, 0, 2]]], [0.01, 0.001])
    """
    check_alpha(alpha)
    survives = mask & (logp >= -math.log10(alpha) - _LOGP_TOLERANCE)
    if tail != "two-sided":
        survives &= (stat > 0) if tail == "positive" else (stat < 0)
    labels = label(stat, survives, connectivity, min_extent)
    clusters = range(1, int(labels.max(initial=0)) + 1)
    return labels, [float(10.0 ** -logp[labels == cluster].max()) for cluster in clusters]


def threshold_map(
    z: np.ndarray,
    mask: np.ndarray,
    control: str,
    *,
    alpha: float = 0.05,
    threshold_z: float | None = None,
    tail: str = "two-sided",
    extent: int = 0,
    connectivity: int = 26,
    random_field: RandomField | None = None,
    label: LabelClusters = label_clusters,
) -> Thresholded:
    """Threshold a z map.

    Parameters
    ----------
    z : array, shape (x, y, z), or of the shape that `label` takes
        z values.
    mask : bool array, shaped as z
        Voxels tested.
    control : str
        Name of a height control of `nipype_group.controls`: a fixed z (none), uncorrected p
        (fpr), familywise error (as holm and rft), false discovery rate (fdr and its kin).
    alpha : float
        Error rate of the control.
    threshold_z : float
        Height with "none".
    tail : {"two-sided", "positive", "negative"}
        Side that counts.
    extent : int
        Smallest number of voxels of a cluster that is kept.
    connectivity : {6, 18, 26}
        Which voxels are neighbours.
    random_field : RandomField, optional
        The statistic behind z and its search volume, needed by "rft".
    label : callable, optional
        Labels clusters as `label_clusters` does those of volumes.

    Returns
    -------
    Thresholded

    Raises
    ------
    ValueError
        Where a setting is out of range or looks like another.
    """
    of_heights = height_control(control)
    if extent < 0:
        raise ValueError(f"cluster extent is a number of voxels >= 0, got {extent}")
    values = z[mask]
    log_p = z_to_log_p(values, tail)
    if control == "none":
        check_threshold_z(threshold_z)
        assert threshold_z is not None
        height = threshold_z
    elif threshold_z is not None:
        raise ValueError(f"threshold_z goes with height control none, not with {control}")
    elif of_heights.adjust is None:
        if random_field is None:
            raise ValueError(f"height control {control} needs the statistic and its smoothness")
        height = random_field.height_z(alpha, tail)
    else:
        height = multiple_testing.z_threshold(values, log_p, control, alpha, tail)
    survives = np.zeros(mask.shape, dtype=bool)
    for sign in signs_of(tail):
        survives |= mask & (z * sign >= height)
    labels = label(z, survives, connectivity, extent)
    if of_heights.adjust is None:
        assert random_field is not None
        return Thresholded(labels, random_field.log_p(mask, tail), height)
    return Thresholded(labels, adjust(log_p, control), height)
