"""Permutation: plan, run shards, merge."""

import json
from pathlib import Path

from nipype.interfaces.base import InputMultiObject, Str, TraitedSpec, traits

from nipype_group.design.contrasts import read_contrasts
from nipype_group.design.matrix import read_design
from nipype_group.design.plan import make_plan, read_plan, read_scheme, write_plan
from nipype_group.design.shards import merge_shards, write_nulldist, write_shard
from nipype_group.images import read_mask, write_volume
from nipype_group.interfaces.base import LOGGER, File, GroupInputSpec, GroupInterface, isdefined
from nipype_group.stacks import MaskedStack, unmask
from nipype_group.stats.clusters import TAILS, label_clusters
from nipype_group.stats.distributions import minus_log10
from nipype_group.stats.multiple_testing import check_alpha
from nipype_group.stats.partition import partition
from nipype_group.stats.permutation import fwe_survivors, run_shuffles
from nipype_group.stats.planning import SHUFFLINGS


class _PlanPermutationsInputSpec(GroupInputSpec):
    design_file = File(exists=True, mandatory=True, desc="design TSV")
    design_json = File(exists=True, mandatory=True, desc="its description")
    contrasts_file = File(exists=True, mandatory=True, desc="JSON from ContrastSet")
    n_permutations = traits.Int(
        5000, usedefault=True, desc="shuffles beside the unshuffled one; fewer if fewer exist"
    )
    seed = traits.Int(0, usedefault=True, desc="decides which shuffles are drawn")
    tail = traits.Enum(*TAILS, usedefault=True, desc="side tested")
    shuffling = traits.Enum(
        *SHUFFLINGS, usedefault=True, desc="permutation, sign flips, or what the contrast demands"
    )
    n_shards = traits.Int(desc="shards of each family; default: shards of 2500 shuffles")


class _PlanPermutationsOutputSpec(TraitedSpec):
    plan_file = File(desc="JSON: numbers of shufflings, smallest p, shards, in words too")
    scheme_file = File(desc="JSON: what shuffle k is; does not change with the number of shuffles")
    text_file = File(desc="the plan as a paragraph")
    families = traits.List(Str, desc="kind of shuffling of every shard")
    firsts = traits.List(traits.Int, desc="first shuffle of every shard")
    lasts = traits.List(traits.Int, desc="shuffle after the last one of every shard")


class PlanPermutations(GroupInterface):
    """Plan the permutation test of the t contrasts of a design.

    Chooses permutation or sign flips by the contrast (Winkler et al. 2014, NeuroImage 92:381),
    keeps shuffling within participants that have several maps, counts the distinct shufflings,
    takes all where they are few, states the smallest p, and splits the work into shards. A
    contrast that no shuffle changes is refused.

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
        plan = make_plan(
            read_design(inputs.design_file, inputs.design_json),
            read_contrasts(inputs.contrasts_file),
            inputs.n_permutations,
            inputs.seed,
            inputs.tail,
            inputs.shuffling,
            inputs.n_shards if isdefined(inputs.n_shards) else None,
        )
        LOGGER.info("%s", plan.describe())
        names = ("plan_file", "scheme_file", "text_file")
        self._results.update(zip(names, write_plan(runtime.cwd, plan), strict=True))
        shards = [(kind, *span) for kind in plan.families for span in plan.shards(kind)]
        for name, column in zip(("families", "firsts", "lasts"), zip(*shards), strict=True):
            self._results[name] = list(column)
        return runtime


class _RunPermutationsInputSpec(GroupInputSpec):
    scheme_file = File(exists=True, mandatory=True, desc="JSON from PlanPermutations")
    design_file = File(exists=True, mandatory=True, desc="design TSV")
    design_json = File(exists=True, mandatory=True, desc="its description")
    stack_file = File(exists=True, mandatory=True, desc="4D maps from StackMaps")
    mask_file = File(exists=True, mandatory=True, desc="voxels tested")
    family = Str(mandatory=True, desc="kind of shuffling: permute or flip")
    first = traits.Int(mandatory=True, desc="first shuffle of the shard")
    last = traits.Int(mandatory=True, desc="shuffle after the last one")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads over voxels")


class _RunPermutationsOutputSpec(TraitedSpec):
    shard_file = File(desc="NPZ: counts a voxel, extreme t a shuffle, for every contrast")


class RunPermutations(GroupInterface):
    """Compute shuffles first to last - 1 of a plan.

    Residuals under the null hypothesis are shuffled (Freedman and Lane 1983) and t is taken at
    every voxel; kept are the extremes of every shuffle and, for every voxel, how many shuffles
    reach its t. Both are the same for any shard, thread or machine.

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
        tail, families = read_scheme(inputs.scheme_file)
        if inputs.family not in families:
            raise ValueError(
                f"{inputs.scheme_file} has no family {inputs.family!r}, only {', '.join(families)}"
            )
        family = families[inputs.family]
        design = read_design(inputs.design_file, inputs.design_json)
        stack = MaskedStack(inputs.stack_file, inputs.mask_file)
        if stack.n_maps != family.scheme.n_maps:
            raise ValueError(
                f"{inputs.stack_file} has {stack.n_maps} maps, the plan is for "
                f"{family.scheme.n_maps}"
            )
        results = {}
        with self._one_blas_thread():
            for contrast in family.contrasts:
                results[contrast.label] = run_shuffles(
                    stack.read, stack.n_voxels, partition(design.model, contrast.weights),
                    family.scheme, inputs.first, inputs.last, tail, inputs.num_threads,
                    self._progress(f"{contrast.name}, shuffles {inputs.first} to {inputs.last}"),
                )  # fmt: skip
        path = Path(runtime.cwd, "shard.npz")
        write_shard(path, inputs.family, inputs.first, inputs.last, results)
        self._results["shard_file"] = str(path)
        return runtime


class _MergePermutationsInputSpec(GroupInputSpec):
    plan_file = File(exists=True, mandatory=True, desc="JSON from PlanPermutations")
    scheme_file = File(exists=True, mandatory=True, desc="JSON from PlanPermutations")
    shard_files = InputMultiObject(File(exists=True), mandatory=True, desc="all shards, any order")
    mask_file = File(exists=True, mandatory=True, desc="voxels tested")
    alpha = traits.Float(0.05, usedefault=True, desc="familywise error rate of the masked maps")
    connectivity = traits.Enum(26, 6, 18, usedefault=True, desc="neighbours of a voxel")


class _MergePermutationsOutputSpec(TraitedSpec):
    contrast_names = traits.List(Str, desc="names, in the order of the files")
    stat_files = traits.List(File(), desc="t of the data")
    logp_unc_files = traits.List(File(), desc="-log10 of the uncorrected p")
    logp_fwe_files = traits.List(File(), desc="-log10 of the familywise-error corrected p")
    thresholded_files = traits.List(File(), desc="t where the corrected p is <= alpha")
    label_files = traits.List(File(), desc="cluster ids of the survivors")
    threshold_stats = traits.List(
        traits.Float, desc="smallest surviving abs(t) of every contrast; inf where none survives"
    )
    nulldist_files = traits.List(
        File(), desc="TSV: a row a shuffle in order, the largest t of each side"
    )
    summary_files = traits.List(File(), desc="JSON: plan, thresholds, survivors")


class MergePermutations(GroupInterface):
    """Add up shards: corrected and uncorrected p, null distributions, the map that survives.

    p = share of shuffles, the unshuffled one included, that reach the observed value; for the
    corrected p with their maximum over voxels (Westfall and Young 1993; Nichols and Holmes 2002,
    HBM 15:1). Missing, repeated or foreign shards are errors.

    Examples
    --------
    >>> from nipype_group.interfaces import MergePermutations
    >>> MergePermutations().inputs.alpha
    0.05
    """

    input_spec = _MergePermutationsInputSpec
    output_spec = _MergePermutationsOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        check_alpha(inputs.alpha)
        plan, (tail, families) = read_plan(inputs.plan_file), read_scheme(inputs.scheme_file)
        mask, grid = read_mask(inputs.mask_file)
        outputs = {}
        for kind, family in families.items():
            about = {**plan["Families"][kind], "RandomSeed": plan["RandomSeed"]}
            merged = merge_shards(inputs.shard_files, kind, about["Shuffles"])
            for contrast in family.contrasts:
                result = merged[contrast.label]
                outputs[contrast.name] = _write_contrast(
                    Path(runtime.cwd), contrast, result, tail, mask, grid, inputs, about
                )
        for name in self.output_spec().get():
            self._results[name] = [outputs[contrast][name] for contrast in plan["Contrasts"]]
        return runtime


def _write_contrast(cwd, contrast, result, tail, mask, grid, inputs, about):
    """Write the maps, null distribution and summary of one contrast; returns the outputs."""
    survivors = fwe_survivors(result, tail, inputs.alpha)
    kept = unmask(survivors.statistic, mask)
    labels = label_clusters(kept, kept != 0, inputs.connectivity)

    def write(name, values, **how):
        return write_volume(cwd / f"{contrast.label}_{name}.nii", values, grid, **how)

    summary = {
        "Contrast": contrast.name,
        "StatisticType": "t",
        "HeightControl": "permutation",
        "Alpha": inputs.alpha,
        "ThresholdT": survivors.threshold if survivors.any else None,
        "CriticalT": survivors.critical,
        "Tail": tail,
        "Connectivity": inputs.connectivity,
        "SearchVolumeVoxels": int(mask.sum()),
        "SurvivingVoxels": int((labels > 0).sum()),
        "Clusters": int(labels.max()),
        "LargestT": float(result.observed.max()),
        "SmallestT": float(result.observed.min()),
        "SmallestCorrectedP": float(survivors.p.min()),
        **{k: about[k] for k in ("Shuffling", "DistinctShufflings", "Shuffles", "SmallestP")},
        "RandomSeed": about["RandomSeed"],
    }
    summary_file = cwd / f"{contrast.label}_summary.json"
    summary_file.write_text(json.dumps(summary, indent=2) + "\n")
    LOGGER.info(
        "%s: %d voxels have corrected p <= %g", contrast.name, summary["SurvivingVoxels"],
        inputs.alpha,
    )  # fmt: skip
    return {
        "contrast_names": contrast.name,
        "stat_files": write("t", unmask(result.observed, mask)),
        "logp_unc_files": write("logp_unc", unmask(minus_log10(survivors.log_p_unc), mask)),
        "logp_fwe_files": write("logp_fwe", unmask(minus_log10(survivors.log_p), mask)),
        "thresholded_files": write("thresholded", kept),
        "label_files": write("labels", labels, dtype="int32"),
        "threshold_stats": survivors.threshold,
        "nulldist_files": write_nulldist(cwd / f"{contrast.label}_nulldist.tsv", result),
        "summary_files": str(summary_file),
    }
