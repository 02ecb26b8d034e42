"""What the interfaces of random field theory read: a statistic, its dof and its smoothness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nipype_group.images import read_dof, read_on
from nipype_group.interfaces.base import isdefined
from nipype_group.json_files import read_json
from nipype_group.stats.random_field.clusters import search_volume
from nipype_group.stats.random_field.euler import StatField
from nipype_group.stats.thresholding import RandomField, at_dof_of_field

if TYPE_CHECKING:
    import numpy as np

    from nipype_group.images.space import Space
    from nipype_group.interfaces.base import GroupInputSpec


def read_random_field(
    inputs: GroupInputSpec, z: np.ndarray, mask: np.ndarray, space: Space
) -> RandomField:
    """Return the `RandomField` of an interface's stat_file, dof, dof_file and smoothness_file.

    Raises
    ------
    ValueError
        Where an input is missing or on another grid, or the smoothness could not be estimated;
        says why.
    """
    if not isdefined(inputs.stat_file) or not isdefined(inputs.smoothness_file):
        raise ValueError("random field theory needs stat_file and smoothness_file")
    stat = read_on(inputs.stat_file, space, "the z map")
    field = StatField("Z")
    if inputs.stat_type != "z":
        dof = inputs.dof if isdefined(inputs.dof) else read_dof(inputs.stat_file, inputs.stat_type)
        field = StatField(inputs.stat_type, dof)
    try:
        about = read_json(inputs.smoothness_file)
        fwhm_voxels = about["FWHMVoxels"]
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{inputs.smoothness_file}: no smoothness as GroupGLM writes it ({error!r})"
        ) from error
    if fwhm_voxels is None:
        raise ValueError(
            f"random field theory needs the smoothness, and it was not estimated: "
            f"{about['Reason'].removesuffix('.')}. Use another height control, or permutation"
        )
    if about.get("Field") == "Z":
        # Degrees of freedom vary by voxel.
        stat, field = z, StatField("Z")
    elif isdefined(inputs.dof_file):
        dof = read_on(inputs.dof_file, space, "the z map")
        stat = at_dof_of_field(stat, z, dof, field)
    return RandomField(stat, field, search_volume(mask, fwhm_voxels))
