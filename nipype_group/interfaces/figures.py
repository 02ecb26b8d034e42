"""Figures of results."""

from pathlib import Path

import nibabel as nib
from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.design.contrasts import read_contrasts
from nipype_group.design.matrix import read_design
from nipype_group.interfaces.base import File, GroupInputSpec, GroupInterface, isdefined
from nipype_group.reporting.figures import (
    draw_contrast,
    draw_design,
    draw_glass_brain,
    draw_slices,
)


def _title(name):
    """Turn contrast-reading_desc-fdrBH into "reading, fdrBH"."""
    return ", ".join(part.partition("-")[2] or part for part in name.split("_"))


class _PlotResultsInputSpec(GroupInputSpec):
    thresholded_files = InputMultiObject(
        File(exists=True), mandatory=True, desc="thresholded maps, 0 where nothing survives"
    )
    names = InputMultiObject(Str, mandatory=True, desc="name of every map and of its figures")
    units = InputMultiObject(Str, desc="symbol of the statistic of every map; default z")
    design_file = File(exists=True, desc="design TSV, with design_json")
    design_json = File(exists=True, desc="its description")
    contrasts_file = File(exists=True, desc="JSON from ContrastSet, drawn with the design")


class _PlotResultsOutputSpec(TraitedSpec):
    glass_brain_files = traits.List(File(), desc="PNG of every map as a glass brain")
    slice_files = traits.List(File(), desc="PNG of every map on axial slices")
    design_figure = File(desc="PNG of the design matrix")
    contrast_figures = traits.List(File(), desc="PNG of every contrast's weights")


class PlotResults(GroupInterface):
    """Draw thresholded maps, the design and the contrasts as PNG files.

    The left hemisphere is on the left, and L and R are printed. All maps are cut at the same z.

    Examples
    --------
    >>> from nipype_group.interfaces import PlotResults
    >>> PlotResults(names=["contrast-reading_desc-fdrBH"]).inputs.names
    ['contrast-reading_desc-fdrBH']
    """

    input_spec = _PlotResultsInputSpec
    output_spec = _PlotResultsOutputSpec

    def _run_interface(self, runtime):
        inputs, cwd = self.inputs, Path(runtime.cwd)
        units = inputs.units if isdefined(inputs.units) else ["z"] * len(inputs.names)
        if not len(inputs.thresholded_files) == len(inputs.names) == len(units):
            raise ValueError(
                f"{len(inputs.thresholded_files)} maps, {len(inputs.names)} names and "
                f"{len(units)} units; give one each"
            )
        glass, slices = [], []
        for path, name, unit in zip(inputs.thresholded_files, inputs.names, units, strict=True):
            image, title = nib.load(path), _title(name)
            glass.append(draw_glass_brain(cwd / f"{name}_glassbrain.png", image, title, unit))
            slices.append(draw_slices(cwd / f"{name}_slices.png", image, title, unit))
        self._results.update(glass_brain_files=glass, slice_files=slices)
        if isdefined(inputs.design_file):
            design = read_design(inputs.design_file, inputs.design_json)
            self._results["design_figure"] = draw_design(cwd / "design.png", design)
            if isdefined(inputs.contrasts_file):
                self._results["contrast_figures"] = [
                    draw_contrast(cwd / f"contrast-{c.label}_weights.png", c, design.columns)
                    for c in read_contrasts(inputs.contrasts_file)
                ]
        return runtime
