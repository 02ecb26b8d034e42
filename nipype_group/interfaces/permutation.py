"""Permutation: plan, run shards, merge."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.choices import (
    APPROXIMATIONS,
    BLOCK_EXCHANGES,
    METHODS,
    SCALES,
    SHUFFLED_ESTIMATES,
    SHUFFLINGS,
    STATISTICS,
    TFCE_STEPS,
    WITHIN_SHUFFLINGS,
)
from nipype_group.controls import TAILS
from nipype_group.design.contrasts import Contrast, contrast_label, read_contrasts
from nipype_group.design.matrix import Design, read_design
from nipype_group.images import file_sha256, read_mask
from nipype_group.images.smoothing import variance_smoother
from nipype_group.images.stacks import MaskedStack
from nipype_group.interfaces.base import (
    LOGGER,
    File,
    GroupInputSpec,
    GroupInterface,
    isdefined,
    value_or,
)
from nipype_group.interfaces.by_contrast import read_stacked_covariates
from nipype_group.json_files import read_json
from nipype_group.permutation.blocks import blocks_of, variance_groups_of
from nipype_group.permutation.conjunctions import (
    Conjunction,
    PermutedContrast,
    write_conjunction,
)
from nipype_group.permutation.given import read_shuffles
from nipype_group.permutation.maps import (
    TEMPLATES,
    MergedContrast,
    correct_contrasts,
    write_contrast,
    write_stopped_contrast,
    write_template,
)
from nipype_group.permutation.plan import (
    ContrastTest,
    Plan,
    make_plan,
    read_plan,
    read_scheme,
    write_plan,
)
from nipype_group.permutation.shards import merge_shards, read_stopped_shards, write_shard
from nipype_group.permutation.units import units_of
from nipype_group.stats.estimators import DEFAULT, ESTIMATORS, KNAPP_HARTUNG
from nipype_group.stats.linear.error_terms import SPHERICAL, median_epsilons
from nipype_group.stats.multiple_testing import check_alpha
from nipype_group.stats.permutation.choice import assumption_warnings
from nipype_group.stats.permutation.early_stopping import run_until_stopped
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.permutation.tiles import VOXELS_PER_TILE, voxel_shards
from nipype_group.stats.tfce import Tfce
from nipype_group.tsv import read_tsv

# Voxels, evenly spread, by which the plan looks at the assumptions of a test: fewer of more than
# 2097 maps, so that the values of all maps at them are a bounded number.
_SAMPLED_VOXELS, _SAMPLED_VALUES = 2000, 2**22


class _PlanPermutationsInputSpec(GroupInputSpec):
    revision = 7
    design_file = File(exists=True, mandatory=True, desc="design TSV")
    design_json = File(exists=True, mandatory=True, desc="JSON of design_file")
    contrasts_file = File(exists=True, mandatory=True, desc="JSON from ContrastSet")
    observations = File(exists=True, desc="TSV, a row a map, for blocks and variance groups")
    stack_file = File(exists=True, desc="4D maps; with them the plan warns of doubtful tests")
    mask_file = File(exists=True, desc="voxels tested, with stack_file")
    n_permutations = traits.Int(
        5000, usedefault=True, desc="shuffles beside the unshuffled one; fewer if fewer exist"
    )
    seed = traits.Int(0, usedefault=True, desc="decides which shuffles are drawn")
    tail = traits.Enum(*TAILS, usedefault=True, desc="side tested; F on its upper side")
    shuffling = traits.Enum(
        *SHUFFLINGS, usedefault=True, desc="permutation, sign flips, or what the contrast demands"
    )
    within_shuffling = traits.Enum(
        *WITHIN_SHUFFLINGS,
        usedefault=True,
        desc="of effects within participants on errors of their own: signs of contrast maps, "
        "levels as wholes, or levels where all of the only factor are tested",
    )
    method = traits.Enum(*METHODS, usedefault=True, desc="what a shuffle does to the nuisance")
    estimator = traits.Enum(
        DEFAULT,
        *(name for name, own in ESTIMATORS.items() if own.shuffled is not None),
        usedefault=True,
        desc="whose statistic is taken",
    )
    shuffled_estimates = traits.Enum(
        *SHUFFLED_ESTIMATES,
        usedefault=True,
        desc="whether what it weighs maps by is estimated in every shuffle, or once",
    )
    knapp_hartung = traits.Enum(
        *KNAPP_HARTUNG, usedefault=True, desc="factor of variances, as FitContrasts takes it"
    )
    statistics = InputMultiObject(
        traits.Enum(*STATISTICS), desc="taken of every shuffle, voxel among them; default voxel"
    )
    cluster_forming_z = traits.Float(desc="cluster-forming threshold as z")
    cluster_forming_p = traits.Float(
        desc="cluster-forming threshold as p of the tail; default .001"
    )
    cluster_forming_statistic = traits.Float(
        desc="cluster-forming threshold in units of t, F or pseudo-t"
    )
    connectivity = traits.Enum(26, 6, 18, usedefault=True, desc="neighbours in a cluster")
    statistic_scale = traits.Enum(
        *SCALES, usedefault=True, desc="whether mass and TFCE run on the statistic or its z"
    )
    mass_excess = traits.Bool(False, usedefault=True, desc="mass sums what exceeds the threshold")
    tfce_extent_power = traits.Float(0.5, usedefault=True, desc="E")
    tfce_height_power = traits.Float(2.0, usedefault=True, desc="H")
    tfce_connectivity = traits.Enum(6, 18, 26, usedefault=True, desc="neighbours in TFCE")
    tfce_steps = traits.Enum(*TFCE_STEPS, desc="sum steps as this program does; default: exact")
    variance_fwhm_mm = traits.Float(
        0.0, usedefault=True, desc="smooth variance maps by this FWHM in mm: pseudo-t"
    )
    early_stop = traits.Int(
        0, usedefault=True, desc="stop a voxel once so many shuffles reach it; 0 for never"
    )
    varying_dof = traits.Bool(
        False, usedefault=True, desc="maps lack voxels: test on z; on where stack_file has gaps"
    )
    across_contrasts = traits.Bool(
        False, usedefault=True, desc="contrasts that are shuffled alike are corrected together"
    )
    n_top = traits.Int(
        0, usedefault=True, desc="most extreme voxels kept of a shuffle, for templates"
    )
    blocks = InputMultiObject(
        Str, desc="columns of the observations, outermost first, or a table as PALM's -eb"
    )
    block_exchange = traits.Enum(
        *BLOCK_EXCHANGES, usedefault=True, desc="exchange maps within blocks, whole blocks, both"
    )
    variance_groups = Str(desc="column of the observations: groups with a variance of their own")
    shuffles_file = File(exists=True, desc="shuffles to use, a row each, as FSL's -P writes them")
    alpha = traits.Float(desc="level that p are compared with: what cannot reach it is warned of")
    n_shards = traits.Int(desc="shards of each family; default: shards of a fixed size")
    n_voxel_shards = traits.Int(
        desc="parts of the mask that each of these is split into; needs mask_file; default: none"
    )


class _Shard(NamedTuple):
    """A shard under the names of the outputs, which list a value a shard."""

    families: str
    firsts: int
    lasts: int
    first_voxels: int
    last_voxels: int


class _PlanPermutationsOutputSpec(TraitedSpec):
    plan_file = File(desc="JSON: numbers of shufflings, smallest p, shards, in words too")
    scheme_file = File(desc="JSON: what shuffle k is; does not change with the number of shuffles")
    text_file = File(desc="the plan as a paragraph")
    families = traits.List(Str, desc="family of contrasts of every shard")
    firsts = traits.List(traits.Int, desc="first shuffle of every shard")
    lasts = traits.List(traits.Int, desc="shuffle after the last one of every shard")
    first_voxels = traits.List(traits.Int, desc="first voxel of every shard")
    last_voxels = traits.List(
        traits.Int, desc="voxel after the last one of every shard; 0 for all voxels"
    )


class PlanPermutations(GroupInterface):
    """Plan the permutation test of the contrasts of a design.

    Chooses permutation or sign flips by the contrast (Winkler et al. 2014, NeuroImage 92:381),
    keeps to exchangeability blocks (Winkler et al. 2015, NeuroImage 123:253), by default to
    participants that have several maps, counts the distinct shufflings, takes all where they are
    few, states the smallest p, and splits the work into shards. A contrast that no shuffle
    changes is refused; doubtful symmetry or variances are warned of.

    Examples
    --------
    >>> from nipype_group.interfaces import PlanPermutations
    >>> PlanPermutations(n_permutations=1000, seed=1).inputs.shuffling
    'auto'
    """

    input_spec = _PlanPermutationsInputSpec
    output_spec = _PlanPermutationsOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        design = read_design(inputs.design_file, inputs.design_json)
        stack = self._stack()
        observations = None
        if isdefined(inputs.blocks) or isdefined(inputs.variance_groups):
            _need(inputs, "observations", "blocks and variance_groups")
            observations = read_tsv(inputs.observations)
        contrasts = read_contrasts(inputs.contrasts_file)
        plan, ranges = self._planned(design, contrasts, observations, stack)
        LOGGER.info("%s", plan.describe())
        self._write_plan(runtime.cwd, plan)
        self._list_shards(plan, ranges)
        return runtime

    def _planned(self, design, contrasts, observations, stack):
        """Return the plan, and the ranges of voxels of its shards."""
        where = value_or(self.inputs.observations, "observations.tsv")
        test = contrast_test_of(self.inputs, observations, stack, where)
        # Before the plan, which takes longer.
        ranges = self._voxel_shards(test)
        plan = plan_of(self.inputs, design, contrasts, observations, stack, where)
        return plan, ranges

    def _write_plan(self, directory, plan):
        plan_file, scheme_file, text_file = write_plan(directory, plan)
        self._results["plan_file"] = plan_file
        self._results["scheme_file"] = scheme_file
        self._results["text_file"] = text_file

    def _list_shards(self, plan, ranges):
        """List every shard of shuffles with every range of voxels."""
        shards = [
            _Shard(family, first, last, first_voxel, last_voxel)
            for family in plan.families
            for first, last in plan.shards(family)
            for first_voxel, last_voxel in ranges
        ]
        # A larger number then appends shards, and those that are done keep their places.
        shards.sort(key=lambda shard: shard.firsts)
        for output, values in zip(_Shard._fields, zip(*shards), strict=True):
            self._results[output] = list(values)

    def _voxel_shards(self, test):
        """Return (first, last) of the ranges of voxels."""
        if not isdefined(self.inputs.n_voxel_shards):
            return [(0, 0)]
        test.check_voxel_shards()
        _need(self.inputs, "mask_file", "n_voxel_shards")
        n_voxels = int(read_mask(self.inputs.mask_file)[0].sum())
        return voxel_shards(n_voxels, self.inputs.n_voxel_shards)

    def _stack(self):
        if not isdefined(self.inputs.stack_file):
            return None
        _need(self.inputs, "mask_file", "stack_file")
        return MaskedStack(self.inputs.stack_file, self.inputs.mask_file)


def plan_of(
    inputs: Any,
    design: Design,
    contrasts: list[Contrast],
    observations: pd.DataFrame | None = None,
    stack: MaskedStack | None = None,
    where: Any = "observations.tsv",
) -> Plan:
    """Plan what the inputs of PlanPermutations ask for.

    Parameters
    ----------
    inputs : TraitedSpec
        Inputs of PlanPermutations; their files are not read, but for given shuffles and tables of
        blocks.
    design : Design
    contrasts : list of Contrast
    observations : DataFrame, optional
        A row a map, for blocks and variance groups.
    stack : MaskedStack, optional
        Maps; with them the plan warns of doubtful tests.
    where : path
        What errors call the observations.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        As `make_plan`; where inputs do not go together, or columns and files are unusable.
    """
    given = _given_shuffles(inputs, len(design.matrix))
    test = contrast_test_of(inputs, observations, stack, where)
    blocks = ()
    if isdefined(inputs.blocks):
        blocks = blocks_of(observations, inputs.blocks, inputs.block_exchange, where)
    plan = make_plan(
        design,
        contrasts,
        inputs.n_permutations,
        inputs.seed,
        test,
        shuffling=inputs.shuffling,
        blocks=blocks,
        given=given,
        n_shards=value_or(inputs.n_shards),
        warn=_doubts(stack),
        alpha=value_or(inputs.alpha),
    )
    if inputs.across_contrasts:
        _check_comparable(plan, test, design)
    return plan


def _given_shuffles(inputs, n_maps):
    """Return kind and table of the shuffles of a file, None without one."""
    if not isdefined(inputs.shuffles_file):
        return None
    given = _read_shuffles(inputs.shuffles_file, n_maps)
    if isdefined(inputs.blocks) or inputs.shuffling != "auto":
        raise ValueError(
            "shuffles_file alone decides what is shuffled: leave blocks and shuffling out"
        )
    return given


def contrast_test_of(
    inputs: Any, observations: pd.DataFrame | None, stack: MaskedStack | None, where: Any
) -> ContrastTest:
    """Return how the contrasts are tested, with inputs as `plan_of` takes them."""
    groups = ()
    if isdefined(inputs.variance_groups):
        groups = variance_groups_of(observations, inputs.variance_groups, where)
    return ContrastTest(
        statistics=_statistics(inputs),
        method=inputs.method,
        variance_groups=groups,
        variance_fwhm_mm=inputs.variance_fwhm_mm,
        early_stop=inputs.early_stop,
        varying_dof=inputs.varying_dof or (stack is not None and stack.has_missing),
        within_shuffling=inputs.within_shuffling,
        estimator=inputs.estimator,
        shuffled_estimates=inputs.shuffled_estimates,
        knapp_hartung=inputs.knapp_hartung,
    )


def _check_comparable(plan, test, design):
    """Refuse families whose statistics can't be compared, before they are shuffled."""
    for family in plan.families.values():
        shuffled = [
            test.shuffled_units(units_of(design, c, test.within_shuffling), family.scheme)
            for c in family.contrasts
        ]
        if len({contrast.stat_type for contrast in shuffled}) > 1:
            test.statistics.check_common_scale()


def _doubts(stack):
    """Return what warns of assumptions that a sample of the data puts in doubt."""
    if stack is None:
        return None
    sample = stack.read_some(min(_SAMPLED_VOXELS, max(_SAMPLED_VALUES // stack.n_maps, 1)))

    def warn(units, split, kind, own_variances):
        rows = sample if units.combine is None else units.combine(sample)
        complete = rows[:, np.isfinite(rows).all(axis=0)]
        name = units.contrast.name
        how = {"advice": "Signs (--shuffling flip) do not take that"} if units.needs else {}
        doubts = assumption_warnings(
            complete, units.model, split, kind, name, own_variances, **how
        )
        return [*doubts, *_doubt_of_levels(units, sample, kind)]

    return warn


def _doubt_of_levels(units, sample, kind):
    """Say where a sample of the maps puts in doubt that levels are exchangeable."""
    found = median_epsilons(units.error, sample) if units.levels and kind != "flip" else None
    if found is None or found[1] >= SPHERICAL:
        return []
    return [
        f"{units.contrast.name}: levels of {units.levels} that change places are taken to vary "
        f"alike, and epsilon is {found[0]:.2f} (Greenhouse and Geisser), {found[1]:.2f} (Huynh "
        "and Feldt), median over voxels, so that errors are more frequent than alpha; signs of "
        "contrast maps (--within-shuffling signs) do not take it"
    ]


def _read_shuffles(path, n_maps):
    kind, table = read_shuffles(path)
    if table.shape[1] != n_maps:
        raise ValueError(
            f"{path} lists shuffles of {table.shape[1]} maps; the analysis has {n_maps}"
        )
    return kind, table


def _need(inputs, name, with_what):
    if not isdefined(getattr(inputs, name)):
        raise ValueError(f"{name} is needed with {with_what}")


def _statistics(inputs):
    """Return what the inputs ask to be taken from every shuffle."""
    return ShuffleStatistics(
        names=tuple(value_or(inputs.statistics, ["voxel"])),
        tail=inputs.tail,
        cluster_forming_z=value_or(inputs.cluster_forming_z),
        cluster_forming_p=value_or(inputs.cluster_forming_p),
        cluster_forming_statistic=value_or(inputs.cluster_forming_statistic),
        connectivity=inputs.connectivity,
        statistic_scale=inputs.statistic_scale,
        mass_excess=inputs.mass_excess,
        tfce=Tfce(
            inputs.tfce_extent_power,
            inputs.tfce_height_power,
            inputs.tfce_connectivity,
            value_or(inputs.tfce_steps),
        ),
        n_top=inputs.n_top,
    )


class _RunPermutationsInputSpec(GroupInputSpec):
    revision = 6
    scheme_file = File(exists=True, mandatory=True, desc="JSON from PlanPermutations")
    shuffles_file = File(exists=True, desc="given shuffles, where the plan has them")
    design_file = File(exists=True, mandatory=True, desc="design TSV")
    design_json = File(exists=True, mandatory=True, desc="JSON of design_file")
    stack_file = File(exists=True, mandatory=True, desc="4D maps from StackMaps")
    variance_stack_file = File(
        exists=True, desc="4D variances of the maps, where the plan's estimator takes them"
    )
    covariate_stack_file = File(
        exists=True, desc="4D covariates that are maps, as FitContrasts takes them"
    )
    mask_file = File(exists=True, mandatory=True, desc="voxels tested")
    family = Str(mandatory=True, desc="family of contrasts, from PlanPermutations")
    first = traits.Int(mandatory=True, desc="first shuffle of the shard")
    last = traits.Int(mandatory=True, desc="shuffle after the last one")
    first_voxel = traits.Int(
        0, usedefault=True, desc="first voxel of the mask, from PlanPermutations"
    )
    last_voxel = traits.Int(0, usedefault=True, desc="voxel after the last one; 0 for all voxels")
    memory_gb = traits.Float(
        1.0, usedefault=True, nohash=True, desc="10^9 bytes for data kept between shuffles"
    )
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads over shuffles")


class _RunPermutationsOutputSpec(TraitedSpec):
    shard_file = File(desc="NPZ: counts a voxel, extreme values a shuffle, of every contrast")


class _ShardVoxels(NamedTuple):
    """Readers, mask and neighbours of the voxels of a shard, and their range, None for all."""

    read: Callable
    mask: np.ndarray
    neighbours: Callable
    beside: dict[str, Callable]
    span: tuple | None = None


class RunPermutations(GroupInterface):
    """Compute shuffles first to last - 1 of a plan.

    Residuals under the null hypothesis are shuffled (Freedman and Lane 1983, or another method
    of the plan), with the variances of the maps where the estimator takes them, while covariates
    that are maps stay with the design, and the statistic is taken at every voxel; kept are the
    extremes of every shuffle and, for every voxel, how many shuffles reach its statistic. Both
    are the same for any shard, thread or memory.

    Examples
    --------
    >>> from nipype_group.interfaces import RunPermutations
    >>> RunPermutations(first=0, last=1001).inputs.last
    1001
    """

    input_spec = _RunPermutationsInputSpec
    output_spec = _RunPermutationsOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        test, family, contrasts = _read_family(inputs)
        stack = self._stack(inputs.stack_file)
        voxels = self._voxels(stack, test, self._beside(test))
        names = ", ".join(c.name for c in family.contrasts)
        with self._one_blas_thread():
            results = self._shuffle(test, contrasts, voxels, names)
        labels = [c.label for c in family.contrasts]
        path = Path(runtime.cwd, "shard.npz")
        results = dict(zip(labels, results, strict=True))
        scheme = _scheme_identity(inputs)
        write_shard(path, inputs.family, inputs.first, inputs.last, results, scheme, voxels.span)
        self._results["shard_file"] = str(path)
        return runtime

    def _stack(self, path):
        inputs = self.inputs
        stack = MaskedStack(path, inputs.mask_file)
        n_maps = len(read_design(inputs.design_file, inputs.design_json).matrix)
        if stack.n_maps != n_maps:
            raise ValueError(f"{path} has {stack.n_maps} maps, the plan is for {n_maps}")
        return stack

    def _beside(self, test):
        """Return the readers of what the estimator takes beside the maps."""
        estimator, inputs, found = ESTIMATORS[test.estimator], self.inputs, {}
        if "variances" in estimator.needs:
            _need(inputs, "variance_stack_file", f"the estimator {test.estimator}")
            found["variances"] = self._stack(inputs.variance_stack_file).read
        design = read_design(inputs.design_file, inputs.design_json)
        if design.map_covariates and estimator.takes_map_covariates:
            _need(inputs, "covariate_stack_file", f"a design with {design.map_covariates[0]}")
            covariates = read_stacked_covariates(
                inputs.covariate_stack_file, inputs.mask_file, design
            )
            found["covariates"] = covariates.read
        return found

    def _voxels(self, stack, test, beside):
        """Return the voxels of the shard."""
        first, last = self.inputs.first_voxel, self.inputs.last_voxel
        if not first and not last:
            return _ShardVoxels(stack.read, stack.mask, stack.space.neighbours, beside)
        test.check_voxel_shards()
        if first % VOXELS_PER_TILE or not first < last <= stack.n_voxels:
            raise ValueError(
                f"voxels {first} to {last} are no range of the mask's {stack.n_voxels} that "
                f"starts with a multiple of {VOXELS_PER_TILE}"
            )

        def of_range(read):
            return lambda start, stop: read(first + start, first + stop)

        # Where the voxels lie matters to clusters alone.
        mask = np.ones(last - first, dtype=bool)
        others = {name: of_range(read) for name, read in beside.items()}
        read = of_range(stack.read)
        return _ShardVoxels(read, mask, stack.space.neighbours, others, (first, last))

    def _shuffle(self, test, contrasts, voxels, names):
        """Return the results of the shuffles of the shard, one a contrast."""
        inputs = self.inputs
        shard = {
            "read": voxels.read,
            "mask": voxels.mask,
            "contrasts": contrasts,
            "statistics": test.statistics,
            "first": inputs.first,
            "last": inputs.last,
            "n_threads": inputs.num_threads,
            "memory_gb": inputs.memory_gb,
            "report": self._progress(f"{names}, shuffles {inputs.first} to {inputs.last - 1}"),
        }
        if test.early_stop:
            return run_until_stopped(n_required=test.early_stop, **shard)
        return run_shuffles(neighbours=voxels.neighbours, beside=voxels.beside, **shard)


def _scheme_identity(inputs):
    """Return what tells shards of one plan from those of another."""
    files = [inputs.scheme_file]
    if isdefined(inputs.shuffles_file):
        files.append(inputs.shuffles_file)
    return " ".join(file_sha256(path) for path in files)


def _read_family(inputs, name=None):
    """Return how a family is tested, the family, and its contrasts under their shuffling."""
    name = inputs.family if name is None else name
    table = read_shuffles(inputs.shuffles_file)[1] if isdefined(inputs.shuffles_file) else None
    test, families = read_scheme(inputs.scheme_file, table)
    if name not in families:
        raise ValueError(
            f"{inputs.scheme_file} has no family {name!r}, only {', '.join(families)}"
        )
    design = read_design(inputs.design_file, inputs.design_json)
    smooth = None
    if test.variance_fwhm_mm:
        smooth = variance_smoother(inputs.mask_file, test.variance_fwhm_mm)
    family = families[name]
    contrasts = [
        test.shuffled_units(units_of(design, c, test.within_shuffling), family.scheme, smooth)
        for c in family.contrasts
    ]
    return test, family, contrasts


class _MergePermutationsInputSpec(GroupInputSpec):
    # 4: of heights that share a p near alpha the highest are listed, on every processor.
    revision = 4
    plan_file = File(exists=True, mandatory=True, desc="JSON from PlanPermutations")
    scheme_file = File(exists=True, mandatory=True, desc="JSON from PlanPermutations")
    shuffles_file = File(exists=True, desc="given shuffles, where the plan has them")
    design_file = File(exists=True, mandatory=True, desc="design TSV")
    design_json = File(exists=True, mandatory=True, desc="JSON of design_file")
    shard_files = InputMultiObject(File(exists=True), mandatory=True, desc="all shards, any order")
    mask_file = File(exists=True, mandatory=True, desc="voxels tested")
    search_mask_files = InputMultiObject(
        File(exists=True),
        desc="voxels with a statistic, a file a contrast of the plan, conjunctions last; default: "
        "all voxels",
    )
    alpha = traits.Float(0.05, usedefault=True, desc="familywise error rate of the masked maps")
    p_approximation = traits.Enum(
        *APPROXIMATIONS, usedefault=True, desc="tail of the nulls: counted, or a fitted curve"
    )
    across_contrasts = traits.Bool(
        False, usedefault=True, desc="correct for all contrasts of a family together"
    )
    cluster_extent = traits.Int(0, usedefault=True, desc="smallest cluster kept, in voxels")
    template = traits.Enum(
        "none", *TEMPLATES, usedefault=True, desc="calibrate a template of true discoveries"
    )


class _MergePermutationsOutputSpec(TraitedSpec):
    contrast_names = traits.List(Str, desc="contrast of every result: statistic by statistic")
    statistics = traits.List(Str, desc="statistic of every result")
    logp_fwe_files = traits.List(
        File(), desc="-log10 of the familywise-error corrected p; not with early_stop"
    )
    peak_logp_files = traits.List(
        File(),
        desc="-log10 of the corrected p of single voxels: of TFCE for TFCE, else of height",
    )
    thresholded_files = traits.List(File(), desc="statistic where the corrected p is <= alpha")
    label_files = traits.List(File(), desc="cluster ids of the survivors")
    threshold_stats = traits.List(
        traits.Float,
        desc="smallest surviving voxel, extent, mass or TFCE; inf where none survives",
    )
    summary_files = traits.List(File(), desc="JSON: plan, thresholds, survivors, precision")
    stat_files = traits.List(File(), desc="statistic of the data, of every contrast")
    logp_unc_files = traits.List(File(), desc="-log10 of its uncorrected p")
    logp_fdr_files = traits.List(File(), desc="-log10 of its false discovery rate")
    tfce_files = traits.List(File(), desc="TFCE of the data, the negative side below 0")
    tfce_logp_unc_files = traits.List(File(), desc="-log10 of its uncorrected p")
    tfce_logp_fdr_files = traits.List(File(), desc="-log10 of its false discovery rate")
    nulldist_files = traits.List(
        File(),
        desc="TSV: a row a shuffle in order, a column a statistic and side; none of conjunctions",
    )
    template_files = traits.List(
        File(), desc="JSON of every contrast, for AllResolutionsInference"
    )


class MergePermutations(GroupInterface):
    """Add up shards: corrected and uncorrected p, null distributions, the map that survives.

    p = share of shuffles, the unshuffled one included, that reach the observed value; for the
    corrected p with their maximum over voxels or clusters (Westfall and Young 1993; Nichols and
    Holmes 2002, HBM 15:1). A conjunction has the largest p of its contrasts, of voxels and TFCE,
    uncorrected and corrected, and the false discovery rate of its own p (Nichols et al. 2005,
    NeuroImage 25:653); clusters of it have no p. Missing, repeated or foreign shards are errors.

    Examples
    --------
    >>> from nipype_group.interfaces import MergePermutations
    >>> MergePermutations().inputs.alpha
    0.05
    """

    input_spec = _MergePermutationsInputSpec
    output_spec = _MergePermutationsOutputSpec

    def _run_interface(self, runtime):
        inputs, cwd = self.inputs, Path(runtime.cwd)
        check_alpha(inputs.alpha)
        plan = read_plan(inputs.plan_file)
        written, permuted = {}, {}
        for name in plan["Families"]:
            write = self._write_stopped if plan["EarlyStop"] else self._write_family
            written |= write(cwd, name, plan, permuted)
        written |= self._write_conjunctions(cwd, plan, permuted)
        for contrast, (_, results) in written.items():
            LOGGER.info("%s: %s", contrast, _found(results))
        self._list_outputs_by_contrast(_names_of(plan), written)
        return runtime

    def _write_family(self, cwd, name, plan, permuted):
        """Write all of a family's contrasts, corrected for their families of tests.

        What conjunctions take of them is put into `permuted`.
        """
        inputs, written = self.inputs, {}
        merged = _merged(inputs, name, plan["Families"][name]["Shuffles"], merge_shards)
        corrected, contrast_p = correct_contrasts(
            merged, inputs.alpha, inputs.p_approximation, inputs.across_contrasts
        )
        for one, own, p in zip(merged, corrected, contrast_p, strict=True):
            about = {"ContrastP": p, **_about(plan, name, one.name)}
            if one.name in _conjoined(plan):
                permuted[one.name] = PermutedContrast.of_all_shuffles(one, own, about)
            of_contrast, results = write_contrast(cwd, one, own, about)
            if inputs.template != "none":
                path = cwd / f"{one.label}_template.json"
                of_contrast["template_files"] = write_template(
                    path, one, inputs.template, inputs.alpha
                )
            written[one.name] = of_contrast, results
        return written

    def _write_stopped(self, cwd, name, plan, permuted):
        """Write all of a family's contrasts, whose voxels stopped early; else as above."""
        inputs, stop = self.inputs, plan["EarlyStop"]
        unused = [n for n in ("p_approximation", "template") if getattr(inputs, n) != "none"]
        if unused or inputs.across_contrasts:
            raise ValueError(
                f"{', '.join(unused or ['across_contrasts'])} needs the maximum of every "
                "shuffle, which early stopping does not know"
            )
        n_shuffles, written = plan["Families"][name]["Shuffles"], {}
        for one in _merged(inputs, name, n_shuffles, read_stopped_shards):
            about = _about(plan, name, one.name)
            if one.name in _conjoined(plan):
                permuted[one.name] = PermutedContrast.of_stopped(one, stop, about)
            written[one.name] = write_stopped_contrast(cwd, one, stop, inputs.alpha, about)
        return written

    def _write_conjunctions(self, cwd, plan, permuted):
        """Write the conjunctions of contrasts that are written."""
        if plan.get("Conjunctions") and self.inputs.template != "none":
            raise ValueError(
                "a template is calibrated under no effect at all, and the null of a conjunction "
                f"({', '.join(plan['Conjunctions'])}) is that one of its effects is absent: leave "
                "the template or the conjunction out"
            )
        written = {}
        for name, parts in plan.get("Conjunctions", {}).items():
            one = Conjunction(name, contrast_label(name), [permuted[part] for part in parts])
            written[name] = write_conjunction(cwd, one, self.inputs.alpha)
        return written

    def _list_outputs_by_contrast(self, contrasts, written):
        """Put outputs in order: results statistic by statistic, the rest contrast by contrast.

        Conjunctions, which stand last, have no null distribution and no p of clusters.
        """
        of_contrasts = [written[contrast][0] for contrast in contrasts]
        results = [row for contrast in contrasts for row in written[contrast][1]]
        statistics = [row["statistics"] for row in written[contrasts[0]][1]]
        in_order = [row for s in statistics for row in results if row["statistics"] == s]
        for name in in_order[0]:
            self._results[name] = [row[name] for row in in_order]
        for name in of_contrasts[0]:
            self._results[name] = [own[name] for own in of_contrasts if name in own]


def _names_of(plan):
    """Return the names of all contrasts that have results, conjunctions last."""
    return [*plan["Contrasts"], *plan.get("Conjunctions", {})]


def _conjoined(plan):
    """Return the names of the contrasts that conjunctions are of."""
    return {part for parts in plan.get("Conjunctions", {}).values() for part in parts}


def _about(plan, family, contrast):
    """Return what the summaries of a contrast say about the plan."""
    about = plan["Families"][family]
    names = ("Shuffling", "DistinctShufflings", "Shuffles")
    return {
        **{name: about[name] for name in names},
        "SmallestP": about["SmallestP"][contrast],
        "Method": plan["Method"],
        "EarlyStop": plan["EarlyStop"],
        "RandomSeed": plan["RandomSeed"],
        "Warnings": plan["Warnings"],
    }


def _merged(inputs, name, n_shuffles, read):
    test, family, contrasts = _read_family(inputs, name)
    results = read(inputs.shard_files, name, n_shuffles, _scheme_identity(inputs))
    mask, space = read_mask(inputs.mask_file)
    if read is merge_shards:
        n_voxels = len(next(iter(results.values())).observed["voxel"])
        if n_voxels != mask.sum():
            raise ValueError(
                f"the shards of {name} hold {n_voxels} voxels, {inputs.mask_file} has {mask.sum()}"
            )
    # Contrasts that are corrected together and have different statistics compare as z.
    as_z = inputs.across_contrasts and len({c.stat_type for c in contrasts}) > 1
    return [
        MergedContrast(
            name=c.name,
            label=c.label,
            contrast=shuffled,
            statistics=test.statistics,
            result=results[c.label],
            mask=mask,
            space=space,
            as_z=as_z,
            min_extent=inputs.cluster_extent,
            searched=_searched(inputs, c.name, mask, space),
        )
        for c, shuffled in zip(family.contrasts, contrasts, strict=True)
    ]


def _searched(inputs, name, mask, space):
    """Return which voxels of the mask have a statistic of a contrast; None for all."""
    if not isdefined(inputs.search_mask_files):
        return None
    names = _names_of(read_plan(inputs.plan_file))
    if len(inputs.search_mask_files) != len(names):
        raise ValueError(
            f"{len(inputs.search_mask_files)} search_mask_files for {len(names)} contrasts; give "
            "one each"
        )
    own, _ = read_mask(inputs.search_mask_files[names.index(name)], space)
    return own.ravel(order="F")[np.flatnonzero(mask.ravel(order="F"))]


def _found(results):
    """Say how much of a contrast survives."""
    counts = [read_json(r["summary_files"]) for r in results]
    return ", ".join(
        f"{c['SurvivingVoxels']} voxels by {r['statistics']}"
        for r, c in zip(results, counts, strict=True)
    )
