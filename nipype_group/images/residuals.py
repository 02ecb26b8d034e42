"""Smoothness of the residuals of a model, as a file describes it."""

from collections.abc import Iterable

import numpy as np

from nipype_group.images.stacks import MaskedStack
from nipype_group.stats.random_field.clusters import search_volume
from nipype_group.stats.random_field.smoothness import residual_smoothness


def described_smoothness(
    stack: MaskedStack,
    residuals: Iterable[np.ndarray],
    complete: np.ndarray,
    dof: int,
    edges: str,
) -> tuple[dict, np.ndarray]:
    """Return the description of the smoothness and the map of resels per voxel.

    A mask of a plane, or one so thin that no voxel has neighbours, has no estimate: the fit stands
    all the same, and random field theory says why it does not. Voxels that some map lacks have
    other degrees of freedom and residuals of fewer maps, so the others alone are looked at.

    Parameters
    ----------
    stack : MaskedStack
    residuals : iterable of array
        Residual volume of every map, one at a time.
    complete : bool array, shape (v,)
        Voxels of the mask that every map has.
    dof : int
        Residual degrees of freedom.
    edges : {"valid", "spm"}
        As in `residual_smoothness`.

    Returns
    -------
    about : dict
        FWHMVoxels is None, and Reason says why, where there is no estimate.
    resels_per_voxel : array of the shape of the mask
    """
    try:
        if not complete.any():
            raise ValueError("every voxel of the mask is missing in some map")
        found = residual_smoothness(residuals, stack.unmask(complete), dof, edges=edges)
    except ValueError as error:
        return {"FWHMVoxels": None, "Reason": str(error)}, np.full(stack.mask.shape, np.nan)
    volume = search_volume(stack.mask, found.fwhm_voxels)
    about = {
        "FWHMVoxels": found.fwhm_voxels.tolist(),
        "FWHMMillimetres": found.fwhm_mm(stack.space.voxel_sizes_mm).tolist(),
        "Resels": list(volume.resels),
        "VoxelsPerResel": float(found.voxels_per_resel),
        "DLH": float(found.dlh),
        "Edges": edges,
        "NumberOfVoxels": stack.n_voxels,
        "NumberOfCompleteVoxels": int(complete.sum()),
        "DegreesOfFreedom": dof,
    }
    resels_per_voxel = found.resels_per_voxel
    assert resels_per_voxel is not None, "estimated from images"
    return about, resels_per_voxel
