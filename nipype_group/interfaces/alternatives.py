"""Alternative analyses of one study: common shuffles, and what is told of all of them."""

import json
from pathlib import Path

from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.design.matrix import read_design
from nipype_group.interfaces.base import (
    LOGGER,
    Directory,
    File,
    GroupInputSpec,
    GroupInterface,
    file_identity,
    isdefined,
    value_or,
)
from nipype_group.permutation.alternatives import read_alternative, share_shuffles
from nipype_group.permutation.plan import write_plan
from nipype_group.reporting.multiverse.content import read_described
from nipype_group.reporting.multiverse.folder import write_multiverse
from nipype_group.stats.multiple_testing import check_alpha


class _ShareShufflesInputSpec(GroupInputSpec):
    names = InputMultiObject(Str, mandatory=True, desc="name of every alternative")
    plan_files = InputMultiObject(
        File(exists=True), mandatory=True, desc="JSON from PlanPermutations, an alternative each"
    )
    scheme_files = InputMultiObject(File(exists=True), mandatory=True, desc="the same")
    design_files = InputMultiObject(File(exists=True), mandatory=True, desc="design TSV of each")
    design_jsons = InputMultiObject(File(exists=True), mandatory=True, desc="JSON of each design")
    number = traits.Int(
        0, usedefault=True, desc="alternative whose plan is written, counted from 0"
    )
    n_shards = traits.Int(desc="shards of each family; default: shards of a fixed size")


class _ShareShufflesOutputSpec(TraitedSpec):
    plan_file = File(desc="JSON: numbers of shufflings, smallest p, shards")
    scheme_file = File(desc="JSON: what shuffle k is")
    families = traits.List(Str, desc="family of contrasts of every shard")
    firsts = traits.List(traits.Int, desc="first shuffle of every shard")
    lasts = traits.List(traits.Int, desc="shuffle after the last one of every shard")


class ShareShuffles(GroupInterface):
    """Give an alternative of several the shuffles that it shares with the others.

    Signs go by participant; participants change places with those who are in the same
    alternatives (Hemerik and Goeman 2018, TEST 27:811), so that the largest z over all
    alternatives in every shuffle corrects for them together. Where they leave what a contrast
    tests as it is, that is an error; where they hardly move it, a warning.

    Examples
    --------
    >>> from nipype_group.interfaces import ShareShuffles
    >>> ShareShuffles(number=3).inputs.number
    3
    """

    input_spec = _ShareShufflesInputSpec
    output_spec = _ShareShufflesOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        files = (inputs.names, inputs.scheme_files, inputs.plan_files)
        designs = map(read_design, inputs.design_files, inputs.design_jsons)
        everyone = [read_alternative(*own) for own in zip(*files, designs, strict=True)]
        plan = share_shuffles(everyone, value_or(inputs.n_shards)).plans[inputs.number]
        for warning in plan.warnings:
            LOGGER.warning("%s", warning)
        plan_file, scheme_file, _ = write_plan(runtime.cwd, plan)
        self._results |= {"plan_file": plan_file, "scheme_file": scheme_file}
        shards = [(name, *span) for name in plan.families for span in plan.shards(name)]
        for output, values in zip(("families", "firsts", "lasts"), zip(*shards), strict=True):
            self._results[output] = list(values)
        return runtime


class _DescribeAlternativeInputSpec(GroupInputSpec):
    name = Str(mandatory=True, desc="name of the alternative")
    choices = Str(mandatory=True, desc="JSON: what is varied, to the choice made in words")
    parameters = Str(mandatory=True, desc="JSON of its settings")
    control = Str(mandatory=True, desc="height control that decides what survives")
    alpha = traits.Float(0.05, usedefault=True, desc="error rate at which regions survive")
    contrast_names = traits.List(Str, mandatory=True, desc="names of the contrasts")
    stat_types = traits.List(Str, mandatory=True, desc="t or F of every contrast")
    dofs = traits.List(traits.List(traits.Float), mandatory=True, desc="degrees of freedom")
    effect_files = InputMultiObject(File(exists=True), mandatory=True, desc="effects")
    variance_files = InputMultiObject(File(exists=True), mandatory=True, desc="their variances")
    z_files = InputMultiObject(File(exists=True), mandatory=True, desc="z maps")
    dof_files = InputMultiObject(File(exists=True), desc="dof of every contrast, where they vary")
    label_files = InputMultiObject(
        File(exists=True), mandatory=True, desc="cluster ids of what survives, of every contrast"
    )
    search_mask_files = InputMultiObject(
        File(exists=True), mandatory=True, desc="voxels searched of every contrast"
    )
    tested_mask_file = File(exists=True, mandatory=True, desc="voxels that are shuffled")
    observations = File(exists=True, mandatory=True, desc="TSV, a row a map")
    excluded = File(exists=True, mandatory=True, desc="TSV of what is left out")
    design_file = File(exists=True, mandatory=True, desc="design TSV")
    design_json = File(exists=True, mandatory=True, desc="JSON of design_file")
    regions_files = InputMultiObject(
        File(exists=True), desc="TSV from RegionModels of every contrast, where there are models"
    )
    without_regions = Str(desc="why there are no models of regions; none are asked for without")
    mask_notes = traits.List(Str, desc="what is odd about the mask")
    notes = traits.List(Str, desc="what contrasts lack")
    plan_file = File(exists=True, desc="JSON from ShareShuffles, with permutations")
    scheme_file = File(exists=True, desc="JSON from ShareShuffles, with permutations")
    shard_files = InputMultiObject(File(exists=True), desc="all shards, with permutations")


class _DescribeAlternativeOutputSpec(TraitedSpec):
    alternative_file = File(desc="JSON: what there is of the alternative, with checksums")


class DescribeAlternative(GroupInterface):
    """Tell in one file where the results of an alternative are, with their SHA-256.

    Examples
    --------
    >>> from nipype_group.interfaces import DescribeAlternative
    >>> DescribeAlternative(name="smoothing_fwhm_mm 4").inputs.name
    'smoothing_fwhm_mm 4'
    """

    input_spec = _DescribeAlternativeInputSpec
    output_spec = _DescribeAlternativeOutputSpec

    def _run_interface(self, runtime):
        content = {}
        for name, value in sorted(self.inputs.trait_get().items()):
            if isdefined(value):
                content[name] = list(value) if isinstance(value, (list, tuple)) else value
        for name in ("choices", "parameters"):
            content[name] = json.loads(content[name])
        files = [path for name, value in content.items() for path in _paths(name, value)]
        content["checksums"] = [list(file_identity(path)) for path in files]
        self._write_json(runtime, "alternative", content)
        return runtime


def _paths(name, value):
    """Return the files that an input names."""
    if not name.endswith(("_file", "_files", "_json", "observations", "excluded")):
        return []
    return value if isinstance(value, list) else [value]


class _SummariseAlternativesInputSpec(GroupInputSpec):
    revision = 4
    alternative_files = InputMultiObject(
        File(exists=True),
        mandatory=True,
        desc="JSON from DescribeAlternative, the reference first",
    )
    alpha = traits.Float(0.05, usedefault=True, desc="familywise error rate over all alternatives")
    no_figures = traits.Bool(False, usedefault=True, desc="write no pictures into the page")


class _SummariseAlternativesOutputSpec(TraitedSpec):
    folder = Directory(desc="page, tables and maps")
    page_file = File(desc="HTML: what survives in how many, specification curves")
    alternatives_file = File(desc="TSV, a row a contrast and alternative")
    curves_file = File(desc="TSV, a row a contrast, place and alternative")
    regions_file = File(
        desc="TSV, a row a contrast, region and alternative; undefined without models of regions"
    )
    count_files = traits.List(File(), desc="alternatives in which a voxel survives, a contrast")
    lines = traits.List(Str, desc="what is found, in sentences")
    warnings = traits.List(Str, desc="what is doubtful, in sentences")


class SummariseAlternatives(GroupInterface):
    """Tell what alternatives of an analysis agree in, and correct for all of them together.

    Of every contrast: in how many alternatives each voxel survives; the effect and its interval in
    every alternative, sorted, at the peaks of what survives in the first one and over its clusters
    (the specification curve of Simonsohn, Simmons and Nelson 2020, Nature Human Behaviour 4:1208),
    and of the means of atlas regions, where alternatives have models of them.
    With permutations also the p of every voxel of every alternative for the largest z over all
    voxels and alternatives in every common shuffle, and the smallest of them, which tests them
    all. Groups of alternatives that cannot be shuffled together are joined by Bonferroni, told.

    Examples
    --------
    >>> from nipype_group.interfaces import SummariseAlternatives
    >>> SummariseAlternatives(alpha=0.01).inputs.alpha
    0.01
    """

    input_spec = _SummariseAlternativesInputSpec
    output_spec = _SummariseAlternativesOutputSpec

    def _run_interface(self, runtime):
        check_alpha(self.inputs.alpha)
        described = [read_described(path) for path in self.inputs.alternative_files]
        folder = Path(runtime.cwd, "multiverse")
        with self._one_blas_thread():
            written = write_multiverse(
                folder, described, self.inputs.alpha, not self.inputs.no_figures
            )
        for warning in written.warnings:
            LOGGER.warning("%s", warning)
        found = {name: value for name, value in written._asdict().items() if value is not None}
        self._results |= {"folder": str(folder), **found}
        return runtime
