"""Confidence sets: where an effect is above a level, with what is sure and what is possible."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import Str, TraitedSpec, traits

from nipype_group.choices import effect_level
from nipype_group.design.contrasts import read_contrasts
from nipype_group.design.matrix import read_design
from nipype_group.images import write_volume
from nipype_group.images.stacks import MaskedStack
from nipype_group.interfaces.base import (
    LOGGER,
    File,
    GroupInputSpec,
    GroupInterface,
    value_or,
)
from nipype_group.json_files import write_json
from nipype_group.reporting.confidence_sets import about_sets, check_contrast, level_words
from nipype_group.reporting.figures.brain import draw_sets
from nipype_group.reporting.figures.canvas import write_index
from nipype_group.reporting.figures.of_results import choose_background
from nipype_group.reporting.figures.slices import Volume
from nipype_group.stats.confidence_sets import confidence_sets


class _FindConfidenceSetsInputSpec(GroupInputSpec):
    revision = 2
    stack_file = File(exists=True, mandatory=True, desc="4D maps from StackMaps")
    mask_file = File(exists=True, mandatory=True, desc="voxels that were fitted")
    search_mask_file = File(exists=True, desc="voxels that are looked at; default: all fitted")
    design_file = File(exists=True, mandatory=True, desc="design TSV, a row a map")
    design_json = File(exists=True, mandatory=True, desc="JSON of design_file")
    contrasts_file = File(exists=True, mandatory=True, desc="JSON from ContrastSet: t contrasts")
    level = Str(
        mandatory=True, desc="level of the effect, in its units as 0.5, or in Cohen's d as d=0.3"
    )
    confidence = traits.Range(
        0.5, 0.9999, 0.95, usedefault=True, desc="share of studies whose sets hold the true one"
    )
    n_draws = traits.Range(low=100, value=5000, usedefault=True, desc="draws of the bootstrap")
    seed = traits.Int(0, usedefault=True, desc="decides which signs are drawn")
    no_figures = traits.Bool(False, usedefault=True, desc="draw no contours")
    space = Str(desc="space of the maps; without one they are taken for MNI")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads over draws")


class _FindConfidenceSetsOutputSpec(TraitedSpec):
    contrast_labels = traits.List(Str, desc="labels of the contrasts, in the order of the files")
    inner_files = traits.List(File(), desc="masks of voxels that are surely above the level")
    outer_files = traits.List(File(), desc="masks of voxels that may be above the level")
    summary_files = traits.List(File(), desc="JSON of level, quantile and voxels of every set")
    figure_files = traits.List(File(), desc="PNG of the contours of every contrast")
    index_file = File(desc="JSON: kind, alternative text and caption of figure_files")
    notes = traits.List(Str, desc="contrasts whose estimate meets the level nowhere")


class FindConfidenceSets(GroupInterface):
    """Find sets that hold between them where a t contrast of least squares is above a level.

    With the stated confidence the true effect is at least the level in all of the inner set and
    nowhere outside the outer one (Sommerfeld, Sain and Schwartzman 2018; Bowring et al. 2019,
    NeuroImage 203:116187; of Cohen's d 2021, NeuroImage 226:117477). The quantile comes from a
    multiplier bootstrap of the residuals along the boundary of the estimate, whose signs depend on
    the seed and the number of the draw alone. An F contrast, a conjunction, and a design whose
    contrasts have errors of their own are refused by name.

    Examples
    --------
    >>> from nipype_group.interfaces import FindConfidenceSets
    >>> FindConfidenceSets(level="d=0.3").inputs.confidence
    0.95
    """

    input_spec = _FindConfidenceSetsInputSpec
    output_spec = _FindConfidenceSetsOutputSpec

    def _run_interface(self, runtime):
        inputs, cwd = self.inputs, Path(runtime.cwd)
        design = read_design(inputs.design_file, inputs.design_json)
        contrasts = read_contrasts(inputs.contrasts_file)
        for contrast in contrasts:
            check_contrast(contrast, design.model, inputs.confidence)
        for output in ("contrast_labels", "inner_files", "outer_files", "summary_files", "notes"):
            self._results[output] = []
        pictures = [self._find(cwd, design, contrast) for contrast in contrasts]
        shown = [picture for picture in pictures if picture is not None]
        self._results["figure_files"] = [picture.file for picture in shown]
        self._results["index_file"] = write_index(cwd / "figures.json", shown)
        return runtime

    def _find(self, cwd, design, contrast):
        """Write the sets of a contrast; returns their picture, None without figures."""
        inputs, (level, unit) = self.inputs, effect_level(self.inputs.level)
        stack = MaskedStack(inputs.stack_file, self._mask_file())
        with self._one_blas_thread():
            found = confidence_sets(
                design.model,
                contrast.weights,
                stack.read,
                stack.n_voxels,
                stack.space.neighbours(stack.mask, 6),
                level,
                unit=unit,
                confidence=inputs.confidence,
                n_draws=inputs.n_draws,
                seed=inputs.seed,
                n_threads=inputs.num_threads,
            )
        about = about_sets(found, contrast, level, unit, self._settings())
        for name in ("inner", "outer"):
            path = cwd / stack.space.file_name(f"{contrast.label}_{name}")
            volume = stack.unmask(getattr(found, name))
            written = write_volume(path, volume, stack.space, np.uint8)
            self._results[f"{name}_files"].append(written)
        self._results["contrast_labels"].append(contrast.label)
        summary = write_json(cwd / f"{contrast.label}_sets.json", about)
        self._results["summary_files"].append(summary)
        for note in about["Notes"]:
            LOGGER.warning("%s", note)
            self._results["notes"].append(note)
        return None if inputs.no_figures else self._draw(cwd, stack, contrast, found)

    def _mask_file(self):
        """Return the mask that is looked at: the search volume inside the mask."""
        searched = value_or(self.inputs.search_mask_file)
        return self.inputs.mask_file if searched is None else searched

    def _settings(self):
        names = {"Confidence": "confidence", "Draws": "n_draws", "RandomSeed": "seed"}
        return {key: getattr(self.inputs, name) for key, name in names.items()}

    def _draw(self, cwd, stack, contrast, found):
        """Draw the sets of a contrast as contours on its estimate."""
        level, unit = effect_level(self.inputs.level)
        background = choose_background(
            value_or(self.inputs.space), self.inputs.stack_file, self.inputs.mask_file
        )
        named = {"estimate": found.estimate, "inside": np.ones(stack.n_voxels)}
        named |= {name: getattr(found, name) for name in ("outer", "above", "inner")}
        volumes = {
            name: Volume(stack.unmask(values).astype(np.float32), stack.space.affine)
            for name, values in named.items()
        }
        return draw_sets(
            cwd / f"contrast-{contrast.label}_confidencesets.png",
            volumes.pop("estimate"),
            volumes.pop("inside"),
            volumes,
            "d" if unit == "d" else "effect",
            f"{contrast.name}: at least {level_words(level, unit)}",
            {"Contrast": contrast.label},
            background,
        )
