"""Mask: voxels that every map has, and the maps as one stack."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import InputMultiObject, TraitedSpec, traits

from nipype_group.images import read_mask, write_volume
from nipype_group.interfaces.base import (
    LOGGER,
    File,
    GroupInputSpec,
    GroupInterface,
    isdefined,
)
from nipype_group.stacks import group_mask, write_stack


class _GroupMaskInputSpec(GroupInputSpec):
    map_files = InputMultiObject(File(exists=True), mandatory=True, desc="maps of one grid")
    mask_file = File(exists=True, desc="explicit mask on the grid of the maps")
    search_volume = File(exists=True, desc="mask of the voxels that inference searches")


class _GroupMaskOutputSpec(TraitedSpec):
    mask_file = File(desc="voxels that are analysed")
    search_mask_file = File(desc="those inside the search volume; all without one")
    coverage_file = File(desc="number of maps with a value, a voxel")
    n_voxels = traits.Int(desc="voxels in the mask")


class GroupMask(GroupInterface):
    """Find the voxels with a value in every map, inside an explicit mask where one is given.

    Examples
    --------
    >>> from nipype_group.interfaces import GroupMask
    >>> GroupMask().inputs.mask_file
    <undefined>
    """

    input_spec = _GroupMaskInputSpec
    output_spec = _GroupMaskOutputSpec

    def _run_interface(self, runtime):
        explicit = self.inputs.mask_file if isdefined(self.inputs.mask_file) else None
        mask, counts, grid, n_lost = group_mask(self.inputs.map_files, explicit)
        LOGGER.info("%d voxels in the mask; some map lacks %d others", mask.sum(), n_lost)
        cwd = Path(runtime.cwd)
        self._results["mask_file"] = write_volume(cwd / "mask.nii.gz", mask, grid, np.uint8)
        self._results["coverage_file"] = write_volume(
            cwd / "coverage.nii.gz", counts, grid, np.int32
        )
        searched = mask
        if isdefined(self.inputs.search_volume):
            searched = mask & read_mask(self.inputs.search_volume, grid)[0]
            if not searched.any():
                raise ValueError(f"{self.inputs.search_volume} holds no voxel of the mask")
        self._results["search_mask_file"] = write_volume(
            cwd / "search_mask.nii.gz", searched, grid, np.uint8
        )
        self._results["n_voxels"] = int(mask.sum())
        return runtime


class _StackMapsInputSpec(GroupInputSpec):
    map_files = InputMultiObject(File(exists=True), mandatory=True, desc="maps, in row order")
    mask_file = File(exists=True, mandatory=True, desc="voxels that are kept")


class _StackMapsOutputSpec(TraitedSpec):
    stack_file = File(desc="4D float32 uncompressed NIfTI, a volume a map, 0 outside the mask")


class StackMaps(GroupInterface):
    """Write maps as one 4D file that later stages map into memory instead of loading it.

    Examples
    --------
    >>> from nipype_group.interfaces import StackMaps
    >>> StackMaps().inputs.map_files
    <undefined>
    """

    input_spec = _StackMapsInputSpec
    output_spec = _StackMapsOutputSpec

    def _run_interface(self, runtime):
        mask, grid = read_mask(self.inputs.mask_file)
        self._results["stack_file"] = write_stack(
            Path(runtime.cwd, "stack.nii"), self.inputs.map_files, mask, grid
        )
        return runtime
