"""Random effects of clusters of maps, by restricted likelihood: intercepts, and slopes beside."""

import numpy as np

from nipype_group.stats.estimators.random_fit import RandomFit, RandomStructure
from nipype_group.stats.estimators.random_intercept import RANDOM_INTERCEPT, fit_random_intercept
from nipype_group.stats.estimators.random_slope import fit_random_slope, random_slope
from nipype_group.stats.linear.least_squares import LinearModel, ReadVoxels


def structure_of(slopes: tuple[np.ndarray, bool] | None) -> RandomStructure:
    """Return what random effects are fitted by; `slopes` as of `fit_random_effects`."""
    return RANDOM_INTERCEPT if slopes is None else random_slope(slopes[1])


def fit_random_effects(
    model: LinearModel,
    read: ReadVoxels,
    n_voxels: int,
    clusters: np.ndarray,
    slopes: tuple[np.ndarray, bool] | None,
    dof: str,
) -> RandomFit:
    """Fit random effects at every voxel.

    Parameters
    ----------
    model : LinearModel
        Fixed effects of n maps.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
        Voxels in the mask.
    clusters : int array, shape (n,)
        Participant, family or site of every map.
    slopes : tuple of array and bool, optional
        Where every map stands along the random slope, shape (n,), and whether slopes may be
        correlated with intercepts; None for intercepts alone.
    dof : {"kenward-roger", "satterthwaite"}

    Returns
    -------
    RandomFit

    Raises
    ------
    ValueError
        As `fit_random_intercept` and `fit_random_slope`.
    """
    if slopes is None:
        return fit_random_intercept(model, clusters, read, n_voxels, dof)
    along, correlated = slopes
    return fit_random_slope(model, clusters, along, read, n_voxels, correlated, dof)
