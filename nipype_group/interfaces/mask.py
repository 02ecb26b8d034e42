"""Mask: voxels that enough maps have, and the maps as one stack."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.images import read_mask
from nipype_group.images.coverage import group_mask, mask_notes, write_map_coverage
from nipype_group.images.stacks import write_stack
from nipype_group.interfaces.base import (
    LOGGER,
    File,
    GroupInputSpec,
    GroupInterface,
    isdefined,
    value_or,
)


class _GroupMaskInputSpec(GroupInputSpec):
    revision = 4
    map_files = InputMultiObject(File(exists=True), mandatory=True, desc="maps of one grid")
    variance_files = InputMultiObject(
        File(exists=True),
        desc="variances of the maps, which have no value where theirs is 0, negative or missing",
    )
    covariate_files = InputMultiObject(
        File(exists=True),
        desc="covariates that are maps, one after the other, each in the order of the maps, which "
        "have no value where one is missing",
    )
    mask_file = File(exists=True, desc="explicit mask on the grid of the maps")
    search_volume = File(exists=True, desc="mask of the voxels that inference searches")
    mask_threshold = traits.Float(
        desc="least value inside the mask and the search volume, where they hold probabilities"
    )
    zero_is_value = traits.Bool(
        False, usedefault=True, desc="a voxel of 0 has that value: NaN alone is missing"
    )
    min_coverage = traits.Float(
        1.0, usedefault=True, desc="share of the maps that must have a voxel, above 0 and up to 1"
    )


class _GroupMaskOutputSpec(TraitedSpec):
    mask_file = File(desc="voxels that are analysed")
    search_mask_file = File(desc="voxels of the mask inside the search volume; all without one")
    coverage_file = File(desc="number of maps with a value, a voxel")
    map_coverage_file = File(
        desc="TSV, a row a map: voxels present, missing, and removed from the mask by it alone"
    )
    n_voxels = traits.Int(desc="voxels in the mask")
    mask_notes = traits.List(Str, desc="what is odd about the mask")


class GroupMask(GroupInterface):
    """Find the voxels with a value in enough maps, inside an explicit mask where one is given.

    By default every map must have a voxel. With a lower `min_coverage` maps may lack voxels of the
    mask; the model of such a voxel is fitted to the maps that have it. `map_coverage_file` says
    what each map costs: `n_missing` counts the voxels of the explicit mask (without one: of any
    map) that it lacks, `n_removed_alone` those that all other maps have and that are out of the
    mask for want of this one.

    Examples
    --------
    >>> from nipype_group.interfaces import GroupMask
    >>> GroupMask().inputs.mask_file
    <undefined>
    """

    input_spec = _GroupMaskInputSpec
    output_spec = _GroupMaskOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        mask, coverage = self._find_mask()
        _log(mask, coverage, len(inputs.map_files))
        self._results["map_coverage_file"] = write_map_coverage(
            Path(runtime.cwd, "map_coverage.tsv"), inputs.map_files, coverage, mask
        )
        maps = {"mask": (mask, np.uint8), "coverage": (coverage.counts, np.int32)}
        maps["search_mask"] = self._searched(mask, coverage.space), np.uint8
        self._write_maps(runtime, coverage.space, maps, packed=True)
        notes = mask_notes(mask, coverage, inputs.map_files, inputs.zero_is_value)
        for note in notes:
            LOGGER.warning("%s", note)
        self._results.update(n_voxels=int(mask.sum()), mask_notes=notes)
        return runtime

    def _find_mask(self):
        return group_mask(
            self.inputs.map_files,
            value_or(self.inputs.mask_file),
            self.inputs.min_coverage,
            value_or(self.inputs.mask_threshold),
            self.inputs.zero_is_value,
            value_or(self.inputs.variance_files),
            value_or(self.inputs.covariate_files, ()),
        )

    def _searched(self, mask, space):
        """Return the voxels of the mask that inference searches."""
        path = self.inputs.search_volume
        if not isdefined(path):
            return mask
        searched = mask & read_mask(path, space, value_or(self.inputs.mask_threshold))[0]
        if not searched.any():
            raise ValueError(f"{path} holds no voxel of the mask")
        return searched


def _log(mask, coverage, n_maps):
    LOGGER.info(
        "%d voxels in the mask, %d of which some map lacks; too few maps have %d others",
        mask.sum(),
        (coverage.counts[mask] < n_maps).sum(),
        coverage.allowed.sum() - mask.sum(),
    )


class _StackMapsInputSpec(GroupInputSpec):
    map_files = InputMultiObject(File(exists=True), mandatory=True, desc="maps, in row order")
    variance_files = InputMultiObject(
        File(exists=True),
        desc="variances of the maps, which have no value where theirs is 0, negative or missing",
    )
    covariate_files = InputMultiObject(
        File(exists=True),
        desc="covariates that are maps, one after the other, each in the order of the maps, which "
        "have no value where one is missing",
    )
    smoothed_file = File(
        exists=True,
        desc="stack of the maps from SmoothMaps, whose values are taken; passed on where it holds "
        "what is to be written",
    )
    mask_file = File(exists=True, mandatory=True, desc="voxels that are kept")
    allow_missing = traits.Bool(
        False, usedefault=True, desc="maps may lack voxels of the mask; the stack is NaN there"
    )
    zero_is_value = traits.Bool(
        False, usedefault=True, desc="a voxel of 0 has that value: NaN alone is missing"
    )


class _StackMapsOutputSpec(TraitedSpec):
    stack_file = File(desc="4D float32 uncompressed NIfTI, a volume a map, 0 outside the mask")


class StackMaps(GroupInterface):
    """Write maps as one 4D file that later stages map into memory instead of loading it.

    A map that lacks voxels of the mask is an error; with `allow_missing` the stack is NaN there,
    and only a map without any voxel of the mask is one.

    Examples
    --------
    >>> from nipype_group.interfaces import StackMaps
    >>> StackMaps().inputs.map_files
    <undefined>
    """

    input_spec = _StackMapsInputSpec
    output_spec = _StackMapsOutputSpec

    def _run_interface(self, runtime):
        mask, space = read_mask(self.inputs.mask_file)
        self._results["stack_file"] = write_stack(
            Path(runtime.cwd, space.file_name("stack")),
            self.inputs.map_files,
            mask,
            space,
            self.inputs.allow_missing,
            self.inputs.zero_is_value,
            value_or(self.inputs.variance_files),
            value_or(self.inputs.covariate_files, ()),
            value_or(self.inputs.smoothed_file),
        )
        return runtime
