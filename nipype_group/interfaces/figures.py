"""Figures of results."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.controls import TAILS
from nipype_group.design.contrasts import read_contrasts
from nipype_group.design.matrix import read_design
from nipype_group.interfaces.base import File, GroupInputSpec, GroupInterface, isdefined
from nipype_group.permutation.shards import read_nulldist
from nipype_group.reporting.figures.canvas import write_index
from nipype_group.reporting.figures.of_results import (
    Subjects,
    choose_background,
    draw_contrast,
    draw_model,
    draw_result,
)
from nipype_group.reporting.figures.plotted_map import PlottedMap
from nipype_group.reporting.figures.slices import Volume
from nipype_group.reporting.tables.columns import read_table

_PER_RESULT = ("names", "units", "clusters_files", "peaks_files")
_PER_CONTRAST = ("z_files", "effect_files", "nulldist_files")


class _PlotResultsInputSpec(GroupInputSpec):
    revision = 2
    thresholded_files = InputMultiObject(
        File(exists=True), mandatory=True, desc="thresholded maps, 0 where nothing survives"
    )
    names = InputMultiObject(
        Str, mandatory=True, desc="name of every map and of its figures: contrast-<X>_desc-<Y>"
    )
    units = InputMultiObject(Str, desc="symbol of the statistic of every map; default z")
    detailed = traits.List(
        Str, desc="names of the maps drawn in detail: mosaic, surface, clusters, peaks; all"
    )
    detail_first = traits.Bool(
        False,
        usedefault=True,
        desc="of detailed draw one map a contrast: the first one where anything survives, if any",
    )
    clusters_files = InputMultiObject(File(exists=True), desc="clusters TSV of every map")
    peaks_files = InputMultiObject(File(exists=True), desc="peaks TSV of every map")
    n_peaks = traits.Range(low=0, value=5, usedefault=True, desc="highest peaks drawn of a map")
    design_file = File(exists=True, desc="design TSV, with design_json")
    design_json = File(exists=True, desc="its description")
    contrasts_file = File(exists=True, desc="JSON from ContrastSet, drawn with the design")
    z_files = InputMultiObject(
        File(exists=True), desc="z of every contrast, in the order of contrasts_file"
    )
    effect_files = InputMultiObject(File(exists=True), desc="effect of every contrast")
    nulldist_files = InputMultiObject(
        File(exists=True), desc="TSV of the maxima of every shuffle, of every contrast"
    )
    tail = traits.Enum(*TAILS, usedefault=True, desc="side of t that the shuffles are counted on")
    alpha = traits.Float(0.05, usedefault=True, desc="error rate of the nulls' critical values")
    stack_file = File(exists=True, desc="4D maps: values at peaks, with the design")
    observations = File(exists=True, desc="TSV, a row a map; checked against the design")
    mask_file = File(exists=True, desc="voxels tested")
    space = Str(desc="space of the maps; without one they are taken for MNI")


class _PlotResultsOutputSpec(TraitedSpec):
    glass_brain_files = traits.List(File(), desc="PNG of every map as a glass brain, in MNI space")
    slice_files = traits.List(File(), desc="PNG of every map on axial slices")
    design_figure = File(desc="PNG of the design matrix")
    contrast_figures = traits.List(File(), desc="PNG of every contrast's weights")
    figure_files = traits.List(File(), desc="all PNG files, in the order of index_file")
    peak_values_files = traits.List(File(), desc="TSV: values of all maps at the peaks of a map")
    index_file = File(desc="JSON: kind, contrast, alternative text and caption of every figure")


class PlotResults(GroupInterface):
    """Draw thresholded maps, contrasts, null distributions, values at peaks and the design.

    What is given is drawn. The left hemisphere is on the left, and L and R are printed. All maps
    are cut at the same z. Values at peaks follow the contrast: by group, against the covariate
    (an added-variable plot, whose slope is the estimate; Cook and Weisberg 1982), or in one strip.
    Figures are PNG of at most 256 colours; equal inputs give equal bytes.

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
        _check_numbers(inputs)
        design = _read(inputs, "design_file", lambda p: read_design(p, inputs.design_json))
        contrasts = _read(inputs, "contrasts_file", read_contrasts) or []
        mask = _read(inputs, "mask_file", Volume.read)
        _check_contrasts(inputs, len(contrasts))
        background = choose_background(*map(_given(inputs), ("space", "stack_file", "mask_file")))
        subjects = _subjects(inputs, design, contrasts)
        pictures, tables, detailed = [], [], _detailed(inputs)
        for result in _results(inputs, contrasts):
            drawn, table = draw_result(
                cwd, result, background, result.name in detailed, inputs.n_peaks, subjects
            )
            pictures += drawn
            tables += [table] if table else []
        for i, contrast in enumerate(contrasts):
            maps = [_item(inputs, f"{name}_files", i, Volume.read) for name in ("z", "effect")]
            maxima = _item(inputs, "nulldist_files", i, read_nulldist)
            pictures += draw_contrast(
                cwd, contrast, background, *maps, mask, maxima, inputs.tail, inputs.alpha
            )
        pictures += [] if design is None else draw_model(cwd, design, contrasts)
        self._list_outputs_by_kind(pictures)
        self._results["peak_values_files"] = tables
        self._results["index_file"] = write_index(cwd / "figures.json", pictures)
        return runtime

    def _list_outputs_by_kind(self, pictures):
        """Fill the outputs that hold files of one kind, and the list of all."""
        kinds = {
            "glass_brain_files": "glassbrain",
            "slice_files": "slices",
            "contrast_figures": "weights",
        }
        for output, kind in kinds.items():
            self._results[output] = [p.file for p in pictures if p.kind == kind]
        for picture in pictures:
            if picture.kind == "design":
                self._results["design_figure"] = picture.file
        self._results["figure_files"] = [p.file for p in pictures]


def _given(inputs):
    """Return a function that gives an input by name, None where it is not set."""

    def give(name):
        value = getattr(inputs, name)
        return value if isdefined(value) else None

    return give


def _read(inputs, name, reader):
    path = _given(inputs)(name)
    return None if path is None else reader(path)


def _item(inputs, name, index, reader):
    files = _given(inputs)(name)
    return None if files is None else reader(files[index])


def _check_numbers(inputs):
    """Refuse lists of maps that do not have one item a map."""
    n_maps = len(inputs.thresholded_files)
    counts = {
        name: len(getattr(inputs, name))
        for name in _PER_RESULT
        if isdefined(getattr(inputs, name))
    }
    if any(count != n_maps for count in counts.values()):
        found = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise ValueError(f"{n_maps} maps, {found}; give one each")
    unknown = set(inputs.detailed if isdefined(inputs.detailed) else ()) - set(inputs.names)
    if unknown:
        raise ValueError(f"detailed has {', '.join(sorted(unknown))}, which is no name of a map")
    if isdefined(inputs.design_file) != isdefined(inputs.design_json):
        raise ValueError("design_file and design_json go together: give both or none")


def _detailed(inputs):
    """Return the names of the maps that are drawn in detail."""
    names = inputs.detailed if isdefined(inputs.detailed) else inputs.names
    if not inputs.detail_first:
        return set(names)
    files, chosen = dict(zip(inputs.names, inputs.thresholded_files, strict=True)), {}
    for name in names:
        contrast = name.partition("_desc-")[0]
        first = chosen.setdefault(contrast, name)
        # A contrast where nothing survives keeps its first map.
        if not _survives(files[first]) and _survives(files[name]):
            chosen[contrast] = name
    return set(chosen.values())


def _survives(path):
    return bool(np.any(Volume.read(path).values))


def _check_contrasts(inputs, n_contrasts):
    """Refuse lists of maps that do not have one item a contrast."""
    for name in _PER_CONTRAST:
        files = _given(inputs)(name)
        if files is not None and len(files) != n_contrasts:
            raise ValueError(
                f"{len(files)} {name} for {n_contrasts} contrasts of contrasts_file; give one each"
            )


def _subjects(inputs, design, contrasts):
    """Return the source of values at peaks, None where an input for it lacks."""
    if design is None or not contrasts or not isdefined(inputs.stack_file):
        return None
    subjects = Subjects(inputs.stack_file, design, {c.label: c for c in contrasts})
    if isdefined(inputs.observations):
        subjects.check_order(inputs.observations)
    return subjects


def _results(inputs, contrasts):
    """Yield the thresholded maps with what is known of them."""
    tests = {contrast.label: contrast.test for contrast in contrasts}
    for i, (path, name) in enumerate(zip(inputs.thresholded_files, inputs.names, strict=True)):
        unit = inputs.units[i] if isdefined(inputs.units) else "z"
        tables = [_item(inputs, f"{kind}_files", i, read_table) for kind in ("clusters", "peaks")]
        label = name.partition("_")[0].removeprefix("contrast-")
        signed = tests.get(label, unit) != "F"
        yield PlottedMap(name, Volume.read(path), unit, signed, *tables)
