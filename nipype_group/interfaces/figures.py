"""Figures of results."""

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.choices import (
    FIGURE_ANATOMIES,
    FIGURE_BACKGROUNDS,
    FIGURE_COLOURS,
    FIGURE_FORMATS,
)
from nipype_group.controls import TAILS
from nipype_group.design.contrasts import read_contrasts
from nipype_group.design.matrix import read_design
from nipype_group.images.stacks import MaskedStack
from nipype_group.interfaces.base import File, GroupInputSpec, GroupInterface, isdefined, value_or
from nipype_group.permutation.shards import read_nulldist
from nipype_group.reporting.figures.canvas import write_index
from nipype_group.reporting.figures.of_results import (
    Subjects,
    choose_background,
    draw_contrast,
    draw_model,
    draw_result,
)
from nipype_group.reporting.figures.participants import draw_participants
from nipype_group.reporting.figures.plotted_map import PlottedMap
from nipype_group.reporting.figures.slices import Volume
from nipype_group.reporting.figures.style import Style, drawn_in, parse_cuts
from nipype_group.reporting.tables.columns import read_table

_PER_RESULT = ("names", "units", "clusters_files", "peaks_files", "logp_files")
_PER_CONTRAST = ("z_files", "effect_files", "p_files", "tdp_files", "nulldist_files")


class StyleInputSpec(GroupInputSpec):
    """How an interface draws its figures."""

    dpi = traits.Range(
        low=50, high=600, value=100, usedefault=True, desc="resolution of figures 9 inches wide"
    )
    formats = traits.List(
        traits.Enum(*FIGURE_FORMATS), desc="files of every figure; PNG are always written"
    )
    colours = traits.Enum(
        "default", *FIGURE_COLOURS, usedefault=True, desc="colour map of maps with two sides"
    )
    background = traits.Enum(
        *FIGURE_BACKGROUNDS, usedefault=True, desc="paper of pictures of brains"
    )

    def style(self, **more: Any) -> Style:
        """Return the style that the inputs name."""
        return Style(
            dpi=self.dpi,
            formats=tuple(f for f in value_or(self.formats, ()) if f != "png"),
            colours=None if self.colours == "default" else self.colours,
            background=self.background,
            **more,
        )


class _FiguresInputSpec(StyleInputSpec):
    """What pictures of results and of the model are drawn of."""

    design_file = File(exists=True, desc="design TSV, with design_json")
    design_json = File(exists=True, desc="JSON of design_file")
    contrasts_file = File(exists=True, desc="JSON from ContrastSet")
    mask_file = File(exists=True, desc="voxels tested")
    anatomy = traits.Enum(
        "default",
        *FIGURE_ANATOMIES,
        usedefault=True,
        desc="what is behind slices; default the template in MNI space, else the mean of the maps",
    )
    anatomy_file = File(exists=True, desc="image behind slices, in the space of the maps")
    space = Str(desc="space of the maps; without one they are taken for MNI")
    cuts = traits.List(
        Str, desc="planes of slices: z:-20,0,20 in mm, x:5 for five, x:peaks; default seven axial"
    )


class _FiguresOutputSpec(TraitedSpec):
    figure_files = traits.List(File(), desc="all files, in the order of index_file")
    index_file = File(desc="JSON: kind, contrast, alternative text and caption of every figure")


class _Figures(GroupInterface):
    """What draws pictures and lists them."""

    def _style(self, **more):
        """Return the style of a block that draws."""
        return drawn_in(self.inputs.style(cuts=parse_cuts(value_or(self.inputs.cuts, ())), **more))

    def _model(self):
        """Return the design, None where it is not given, and the contrasts."""
        inputs = self.inputs
        if isdefined(inputs.design_file) != isdefined(inputs.design_json):
            raise ValueError("design_file and design_json go together: give both or none")
        design = _read(inputs.design_file, lambda path: read_design(path, inputs.design_json))
        return design, _read(inputs.contrasts_file, read_contrasts) or []

    def _list(self, pictures, cwd):
        """Fill the outputs that list pictures."""
        self._results["figure_files"] = [file for p in pictures for file in p.files]
        self._results["index_file"] = write_index(cwd / "figures.json", pictures)


class _PlotResultsInputSpec(_FiguresInputSpec):
    revision = 7
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
        desc="draw one map of detailed a contrast: the first one where anything survives, if any",
    )
    clusters_files = InputMultiObject(File(exists=True), desc="clusters TSV of every map")
    peaks_files = InputMultiObject(File(exists=True), desc="peaks TSV of every map")
    logp_files = InputMultiObject(File(exists=True), desc="-log10 of the adjusted p of every map")
    n_peaks = traits.Range(low=0, value=5, usedefault=True, desc="highest peaks drawn of a map")
    stack_file = File(exists=True, desc="4D maps: values at peaks, with the design")
    covariate_stack_file = File(
        exists=True, desc="4D covariates that are maps, with stack_file: one after the other"
    )
    observations = File(exists=True, desc="TSV, a row a map; checked against the design")


class _PlotResultsOutputSpec(_FiguresOutputSpec):
    glass_brain_files = traits.List(File(), desc="PNG of every map as a glass brain, in MNI space")
    slice_files = traits.List(File(), desc="PNG of every map on axial slices")
    peak_values_files = traits.List(File(), desc="TSV: values of all maps at the peaks of a map")


class PlotResults(_Figures):
    """Draw thresholded maps, and the values of all maps at their peaks.

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

    @property
    def loads(self) -> tuple[str, ...]:
        """What draws, and the template and cortex that results are drawn on."""
        return (
            "matplotlib.figure",
            "matplotlib.pyplot",
            "nipype_group.reporting.figures.slices:mni_background",
            "nipype_group.reporting.figures.cortex:render_views",
        )

    def _run_interface(self, runtime):
        inputs, cwd = self.inputs, Path(runtime.cwd)
        with self._style():
            _check_numbers(inputs)
            design, contrasts = self._model()
            pictures, tables = _draw_results(cwd, inputs, design, contrasts, _background(inputs))
            self._list(pictures, cwd)
        for output, kind in (("glass_brain_files", "glassbrain"), ("slice_files", "slices")):
            self._results[output] = [p.file for p in pictures if p.kind == kind]
        self._results["peak_values_files"] = tables
        return runtime


class _PlotModelInputSpec(_FiguresInputSpec):
    revision = 2
    contrasts_file = File(exists=True, mandatory=True, desc="JSON from ContrastSet")
    z_files = InputMultiObject(
        File(exists=True), desc="z of every contrast, in the order of contrasts_file"
    )
    effect_files = InputMultiObject(File(exists=True), desc="effect of every contrast")
    p_files = InputMultiObject(File(exists=True), desc="uncorrected p of every contrast")
    tdp_files = InputMultiObject(
        File(exists=True), desc="true discovery proportions of the clusters of every contrast"
    )
    tdp_alpha = traits.Float(
        0.05, usedefault=True, desc="probability that any of their bounds fails"
    )
    nulldist_files = InputMultiObject(
        File(exists=True), desc="TSV of the maxima of every shuffle, of every contrast"
    )
    tail = traits.Enum(*TAILS, usedefault=True, desc="side of t that the shuffles are counted on")
    alpha = traits.Float(0.05, usedefault=True, desc="error rate of the nulls' critical values")
    stack_file = File(exists=True, desc="4D maps: glass brains of all, with the design")
    threshold_z = traits.Range(
        low=0.0, value=0.0, usedefault=True, desc="z up to which whole maps show the brain alone"
    )


class _PlotModelOutputSpec(_FiguresOutputSpec):
    design_figure = File(desc="PNG of the design matrix")
    contrast_figures = traits.List(File(), desc="PNG of every contrast's weights")


class PlotModel(_Figures):
    """Draw the maps that are analysed, the design, and every contrast as a whole.

    What is given is drawn: glass brains of all maps, effect, z, p and true discoveries without a
    threshold, distributions of z and of the maxima of shuffles, weights, the design and the
    correlation of its columns. Figures are as those of `PlotResults`.

    Examples
    --------
    >>> from nipype_group.interfaces import PlotModel
    >>> PlotModel(tail="positive").inputs.alpha
    0.05
    """

    input_spec = _PlotModelInputSpec
    output_spec = _PlotModelOutputSpec

    def _run_interface(self, runtime):
        inputs, cwd = self.inputs, Path(runtime.cwd)
        with self._style(threshold_z=inputs.threshold_z):
            design, contrasts = self._model()
            _check_contrasts(inputs, contrasts)
            background = _background(inputs)
            pictures = _draw_contrasts(cwd, inputs, contrasts, background)
            pictures += _draw_participants(cwd, inputs, design, background)
            pictures += [] if design is None else draw_model(cwd, design, contrasts)
            self._list(pictures, cwd)
        self._results["contrast_figures"] = [p.file for p in pictures if p.kind == "weights"]
        for picture in pictures:
            if picture.kind == "design":
                self._results["design_figure"] = picture.file
        return runtime


def _background(inputs):
    named = None if inputs.anatomy == "default" else inputs.anatomy
    return choose_background(
        value_or(inputs.space),
        value_or(inputs.stack_file),
        value_or(inputs.mask_file),
        value_or(inputs.anatomy_file, named),
    )


def _read(path, reader):
    """Return what the reader makes of a file, None where none is given."""
    return reader(path) if isdefined(path) else None


def _read_item(files, index, reader):
    """Return what the reader makes of one file of a list, None where no list is given."""
    return reader(files[index]) if isdefined(files) else None


def _draw_results(cwd, inputs, design, contrasts, background):
    """Return the pictures of all thresholded maps, and their tables of values at peaks."""
    subjects, detailed = _subjects(inputs, design, contrasts), _detailed(inputs)
    pictures, tables = [], []
    for result in _results(inputs, contrasts):
        drawn, table = draw_result(
            cwd, result, background, result.name in detailed, inputs.n_peaks, subjects
        )
        pictures += drawn
        tables += [table] if table else []
    return pictures, tables


def _draw_contrasts(cwd, inputs, contrasts, background):
    """Return the pictures of every contrast as a whole."""
    mask, pictures = _read(inputs.mask_file, Volume.read), []
    for i, contrast in enumerate(contrasts):
        pictures += draw_contrast(
            cwd,
            contrast,
            background,
            z=_read_item(inputs.z_files, i, Volume.read),
            effect=_read_item(inputs.effect_files, i, Volume.read),
            p=_read_item(inputs.p_files, i, Volume.read),
            tdp=_read_item(inputs.tdp_files, i, Volume.read),
            tdp_alpha=inputs.tdp_alpha,
            mask=mask,
            maxima=None
            if contrast.conjunction
            else _read_item(inputs.nulldist_files, i, read_nulldist),
            tail=inputs.tail,
            alpha=inputs.alpha,
        )
    return pictures


def _draw_participants(cwd, inputs, design, background):
    """Return the pictures of the glass brains of all maps, none outside of MNI space."""
    given = isdefined(inputs.stack_file) and isdefined(inputs.mask_file)
    if design is None or not given or not background.is_mni:
        return []
    stack = MaskedStack(inputs.stack_file, inputs.mask_file)
    path, affine = cwd / "participants.png", stack.space.affine
    return draw_participants(path, stack.maps, design.map_labels, stack.mask, affine)


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
    unknown = set(value_or(inputs.detailed, ())) - set(inputs.names)
    if unknown:
        raise ValueError(f"detailed has {', '.join(sorted(unknown))}, which is no name of a map")


def _detailed(inputs):
    """Return the names of the maps that are drawn in detail."""
    names = value_or(inputs.detailed, inputs.names)
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


def _check_contrasts(inputs, contrasts):
    """Refuse lists of maps that do not have one item a contrast."""
    for name in _PER_CONTRAST:
        # Conjunctions, which stand last, have no null distribution.
        permuted = [c for c in contrasts if not c.conjunction]
        n_contrasts = len(permuted if name == "nulldist_files" else contrasts)
        files = getattr(inputs, name)
        if isdefined(files) and len(files) != n_contrasts:
            raise ValueError(
                f"{len(files)} {name} for {n_contrasts} contrasts of contrasts_file; give one each"
            )


def _subjects(inputs, design, contrasts):
    """Return the source of values at peaks, None where an input for it lacks."""
    if design is None or not contrasts or not isdefined(inputs.stack_file):
        return None
    # A conjunction has no effect of its own that values at a peak would show.
    shown = {c.label: c for c in contrasts if not c.conjunction}
    subjects = Subjects(inputs.stack_file, design, shown, value_or(inputs.covariate_stack_file))
    if isdefined(inputs.observations):
        subjects.check_order(inputs.observations)
    return subjects


def _results(inputs, contrasts):
    """Yield the thresholded maps with what is known of them."""
    tests = {contrast.label: contrast.test for contrast in contrasts}
    for i, (path, name) in enumerate(zip(inputs.thresholded_files, inputs.names, strict=True)):
        unit = inputs.units[i] if isdefined(inputs.units) else "z"
        label = name.partition("_")[0].removeprefix("contrast-")
        yield PlottedMap(
            name,
            Volume.read(path),
            unit,
            signed=tests.get(label, unit) != "F",
            clusters=_read_item(inputs.clusters_files, i, read_table),
            peaks=_read_item(inputs.peaks_files, i, read_table),
            logp=_read_item(inputs.logp_files, i, Volume.read),
        )
