"""Thresholding a z map by height and extent."""

from dataclasses import dataclass

import numpy as np

from nipype_group.stats.clusters import label_clusters, signs_of
from nipype_group.stats.distributions import z_to_log_p
from nipype_group.stats.multiple_testing import HEIGHT_CONTROLS, adjust, height_threshold


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


def check_threshold_z(threshold_z):
    """Refuse a z threshold that can only be something else.

    Raises
    ------
    ValueError
        Naming the likely intention.
    """
    if threshold_z is None:
        raise ValueError('height control "none" needs threshold_z, a z value as 3.1')
    if threshold_z <= 0:
        raise ValueError(
            f"threshold_z is a height > 0, got {threshold_z:g}; the tail chooses the side"
        )
    if threshold_z < 1:
        raise ValueError(
            f"threshold_z {threshold_z:g} looks like a p value; use the height control fpr with "
            f"alpha {threshold_z:g}"
        )


def threshold_map(
    z, mask, control, *, alpha=0.05, threshold_z=None, tail="two-sided", extent=0, connectivity=26
):
    """Threshold a z map.

    Parameters
    ----------
    z : array, shape (x, y, z)
        z values.
    mask : bool array, shape (x, y, z)
        Voxels tested.
    control : {"none", "fpr", "bonferroni", "fdr"}
        Height control: a fixed z, uncorrected p, familywise error, false discovery rate.
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

    Returns
    -------
    Thresholded

    Raises
    ------
    ValueError
        Where a setting is out of range or looks like another.
    """
    if control not in HEIGHT_CONTROLS:
        raise ValueError(f"height control is one of {', '.join(HEIGHT_CONTROLS)}, got {control!r}")
    if extent < 0:
        raise ValueError(f"cluster extent is a number of voxels >= 0, got {extent}")
    values = z[mask]
    log_p = z_to_log_p(values, tail)
    if control == "none":
        check_threshold_z(threshold_z)
        height = threshold_z
    elif threshold_z is not None:
        raise ValueError(f"threshold_z goes with height control none, not with {control}")
    else:
        height = height_threshold(values, log_p, control, alpha, tail)
    survives = np.zeros(mask.shape, dtype=bool)
    for sign in signs_of(tail):
        survives |= mask & (z * sign >= height)
    labels = label_clusters(z, survives, connectivity, extent)
    return Thresholded(labels, adjust(log_p, control), height)
