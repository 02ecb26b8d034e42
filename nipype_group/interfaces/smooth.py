"""Smooth: Gaussian smoothing of maps."""

from pathlib import Path

from nipype.interfaces.base import InputMultiObject, TraitedSpec, traits

from nipype_group.images import read_mask
from nipype_group.images.smoothing import smooth_into_stack, smooth_maps
from nipype_group.interfaces.base import File, GroupInputSpec, GroupInterface, isdefined, value_or
from nipype_group.tsv import read_tsv


class _SmoothMapsInputSpec(GroupInputSpec):
    in_files = InputMultiObject(File(exists=True), mandatory=True, desc="maps of one grid")
    fwhm_mm = InputMultiObject(
        traits.Float, mandatory=True, desc="full width at half maximum in mm, one number or three"
    )
    mask_file = File(exists=True, desc="values outside count as missing")
    inside_file = File(
        exists=True, desc="voxels that are kept: write one file of all maps, 0 elsewhere"
    )
    zero_is_value = traits.Bool(
        False, usedefault=True, desc="a voxel of 0 has that value: NaN alone is missing"
    )
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads over maps")


class _SmoothMapsOutputSpec(TraitedSpec):
    smoothed_files = traits.List(File(), desc="smoothed maps, in the order of in_files")
    stack_file = File(desc="them in one file, a volume each, where inside_file is given")


class _PickMapsInputSpec(GroupInputSpec):
    in_files = InputMultiObject(File(exists=True), mandatory=True, desc="maps to pick from")
    of_observations = File(
        exists=True, mandatory=True, desc="TSV from CollectMaps, a row for each of in_files"
    )
    observations = File(exists=True, mandatory=True, desc="TSV from CollectMaps of those picked")


class _PickMapsOutputSpec(TraitedSpec):
    out_files = traits.List(File(), desc="those of in_files that are in the observations")


class PickMaps(GroupInterface):
    """Pick the maps of some participants from those of all, by participant, name and checksum.

    Maps that several analyses share are smoothed once, and each analysis takes its own. A map
    that is not among them is an error that names it.

    Examples
    --------
    >>> from nipype_group.interfaces import PickMaps
    >>> PickMaps().inputs.in_files
    <undefined>
    """

    input_spec = _PickMapsInputSpec
    output_spec = _PickMapsOutputSpec

    def _run_interface(self, runtime):
        there = dict(zip(_rows(self.inputs.of_observations), self.inputs.in_files, strict=True))
        wanted = _rows(self.inputs.observations)
        if lacking := [row for row in wanted if row not in there]:
            raise ValueError(
                f"{', '.join(name for _, name, _ in lacking)}: an analysis needs what cannot be "
                "used where all maps are looked at together, as a copy of another map; mend it"
            )
        self._results["out_files"] = [there[row] for row in wanted]
        return runtime


def _rows(path):
    """Return participant, name and checksum of every map."""
    table = read_tsv(path, own=True)
    return list(table[["participant_id", "map", "sha256"]].itertuples(index=False, name=None))


class SmoothMaps(GroupInterface):
    """Smooth maps by a Gaussian; missing voxels (NaN, or 0) neither spread nor shrink.

    The value of a voxel is the Gaussian average over the voxels that have a value (normalised
    convolution, Knutsson and Westin 1993, CVPR); where all neighbours have one this is the plain
    Gaussian filter.

    Examples
    --------
    >>> from nipype_group.interfaces import SmoothMaps
    >>> SmoothMaps(fwhm_mm=5).inputs.fwhm_mm
    [5.0]
    """

    input_spec = _SmoothMapsInputSpec
    output_spec = _SmoothMapsOutputSpec

    def _run_interface(self, runtime):
        with self._one_blas_thread():
            self._smooth(Path(runtime.cwd))
        return runtime

    def _smooth(self, folder):
        """Write one file of all maps, or one each."""
        given = self.inputs
        how = {
            "mask_file": value_or(given.mask_file),
            "n_threads": given.num_threads,
            "report": self._progress("smoothing"),
            "zero_is_value": given.zero_is_value,
        }
        if isdefined(given.inside_file):
            path = folder / read_mask(given.inside_file)[1].file_name("stack")
            of_maps = (given.in_files, given.fwhm_mm, given.inside_file)
            self._results["stack_file"] = smooth_into_stack(path, *of_maps, **how)
        else:
            smoothed = smooth_maps(given.in_files, folder, given.fwhm_mm, **how)
            self._results["smoothed_files"] = smoothed
