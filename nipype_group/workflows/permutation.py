"""From a stack and a design to permutation p values, in shards."""

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface

from nipype_group.interfaces import MergePermutations, PlanPermutations, RunPermutations
from nipype_group.settings.analysis import ShuffledSettings
from nipype_group.stats.estimators import DEFAULT, KNAPP_HARTUNG

INPUTS = (
    "design_file",
    "design_json",
    "contrasts_file",
    "stack_file",
    "variance_stack_file",
    "covariate_stack_file",
    "mask_file",
    "observations",
    "shuffles_file",
    "search_mask_files",
)
_STACKS = ("stack_file", "variance_stack_file", "covariate_stack_file")
MERGE_OUTPUTS = (
    "contrast_names",
    "statistics",
    "logp_fwe_files",
    "peak_logp_files",
    "thresholded_files",
    "label_files",
    "threshold_stats",
    "summary_files",
    "stat_files",
    "logp_unc_files",
    "logp_fdr_files",
    "tfce_files",
    "tfce_logp_unc_files",
    "tfce_logp_fdr_files",
    "nulldist_files",
    "template_files",
)
OUTPUTS = ("plan_file", "scheme_file", "text_file", *MERGE_OUTPUTS)
# Ranks of a template of true discovery proportions.
_TEMPLATE_RANKS = 1000


def init_permutation_wf(
    *,
    settings: ShuffledSettings,
    varying_dof: bool = False,
    estimator: str = DEFAULT,
    knapp_hartung: str = KNAPP_HARTUNG[0],
    name: str = "permutation_wf",
) -> pe.Workflow:
    """Build the workflow of permutation inference on voxels, clusters and TFCE.

    Workflow Graph
        .. workflow::

            from nipype_group.settings import ShuffledSettings
            from nipype_group.workflows import init_permutation_wf
            settings = ShuffledSettings(n_permutations=10000, statistics=("voxel", "tfce"))
            wf = init_permutation_wf(settings=settings)

    Parameters
    ----------
    settings : ShuffledSettings
        How shuffles are made, split and tested; an `AnalysisSettings` too.
    varying_dof : bool
        Whether maps lack voxels of the mask: everything is tested on z.
    estimator : str
        Whose statistic is permuted.
    knapp_hartung : str
        Factor of the variances of contrasts that it takes.
    name : str
        Name of the workflow.

    Inputs
    ------
    design_file
        TSV of keys and regressors.
    design_json
        Its description.
    contrasts_file
        Contrasts.
    stack_file
        4D maps.
    variance_stack_file
        Their variances, where the estimator takes them.
    covariate_stack_file
        Their covariates that are maps, where it takes them.
    mask_file
        Voxels tested.
    observations
        TSV, a row a map, for blocks and variance groups.
    shuffles_file
        Shuffles to use, a row each.
    search_mask_files
        Voxels of the mask that have a statistic, of every contrast; all without.

    Outputs
    -------
    plan_file
        What is shuffled how, how often, in which shards.
    scheme_file
        What shuffle k is.
    text_file
        The plan as a paragraph.
    contrast_names
        Contrast of every result, statistic by statistic.
    statistics
        Statistic of every result.
    logp_fwe_files
        -log10 of the familywise-error corrected p; undefined with early stopping, as the next.
    peak_logp_files
        The same of single voxels.
    thresholded_files
        Statistic where the corrected p is at most alpha.
    label_files
        Cluster ids of the survivors.
    threshold_stats
        Smallest surviving voxel, extent, mass or TFCE.
    summary_files
        JSON of every result.
    stat_files
        Statistic of the data, of every contrast.
    logp_unc_files
        -log10 of the uncorrected p.
    logp_fdr_files
        -log10 of the false discovery rate.
    tfce_files
        TFCE of the data; undefined without, as the next two.
    tfce_logp_unc_files
        -log10 of its uncorrected p.
    tfce_logp_fdr_files
        -log10 of its false discovery rate.
    nulldist_files
        Null distributions; undefined with early stopping.
    template_files
        Templates of true discovery proportions; undefined without.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=list(INPUTS)), name="inputnode")
    outputnode = pe.Node(IdentityInterface(fields=list(OUTPUTS)), name="outputnode")
    plan = plan_node(settings, varying_dof, estimator, knapp_hartung)
    run = run_node(settings, (*_OF_SHARD, "first_voxel", "last_voxel"))
    merge = pe.Node(
        MergePermutations(
            alpha=settings.alpha_of_shuffles,
            p_approximation=settings.p_approximation,
            across_contrasts=settings.across_contrasts,
            cluster_extent=settings.cluster_extent,
            template=settings.tdp_template,
        ),
        name="merge",
        mem_gb=0.5,
    )
    files = ("design_file", "design_json", "mask_file", "shuffles_file")
    plans = ("plan_file", "scheme_file")
    shard = [("families", "family"), ("firsts", "first"), ("lasts", "last")]
    shard += [("first_voxels", "first_voxel"), ("last_voxels", "last_voxel")]
    of_plan = (*files, "contrasts_file", "stack_file", "observations")
    workflow.connect(
        [
            (inputnode, plan, [(f, f) for f in of_plan]),
            (inputnode, run, [(f, f) for f in (*files, *_STACKS)]),
            (inputnode, merge, [(f, f) for f in (*files, "search_mask_files")]),
            (plan, run, [("scheme_file", "scheme_file"), *shard]),
            (plan, merge, [(f, f) for f in plans]),
            (run, merge, [("shard_file", "shard_files")]),
            (plan, outputnode, [(f, f) for f in (*plans, "text_file")]),
            (merge, outputnode, [(f, f) for f in MERGE_OUTPUTS]),
        ]
    )
    return workflow


# Settings that the plan takes by their own names.
_PLANNED = (
    "n_permutations",
    "seed",
    "connectivity",
    "statistic_scale",
    "mass_excess",
    "tfce_extent_power",
    "tfce_height_power",
    "tfce_connectivity",
    "variance_fwhm_mm",
    "shuffling",
    "within_shuffling",
    "method",
    "shuffled_estimates",
    "block_exchange",
    "early_stop",
    "across_contrasts",
)


# What tells a shard.
_OF_SHARD = ("family", "first", "last")


def run_node(settings: ShuffledSettings, iterfield: tuple[str, ...] = _OF_SHARD) -> pe.MapNode:
    """Return the node that runs shards.

    Parameters
    ----------
    settings : ShuffledSettings
    iterfield : tuple of str
        Inputs of which every shard has its own.
    """
    return pe.MapNode(
        RunPermutations(memory_gb=settings.memory_gb),
        iterfield=list(iterfield),
        name="run",
        n_procs=settings.n_procs,
        mem_gb=0.5 + settings.memory_gb,
    )


def plan_node(
    settings: ShuffledSettings,
    varying_dof: bool = False,
    estimator: str = DEFAULT,
    knapp_hartung: str = KNAPP_HARTUNG[0],
) -> pe.Node:
    """Return the node that plans the shuffles; parameters are those of `init_permutation_wf`."""
    plan = pe.Node(
        PlanPermutations(
            tail=settings.tail_of_shuffles,
            statistics=list(settings.statistics),
            n_top=_TEMPLATE_RANKS if settings.tdp_template != "none" else 0,
            varying_dof=varying_dof,
            estimator=estimator,
            knapp_hartung=knapp_hartung,
            **{name: getattr(settings, name) for name in _PLANNED},
        ),
        name="plan",
        mem_gb=0.3,
    )
    forming = {}
    if settings.permutes_clusters:
        forming = {
            "cluster_forming_z": settings.cluster_forming_z,
            "cluster_forming_p": settings.cluster_forming_p,
            "cluster_forming_statistic": settings.cluster_forming_statistic,
        }
    optional = {
        **forming,
        "tfce_steps": settings.tfce_steps,
        "blocks": list(settings.blocks) or None,
        "variance_groups": settings.variance_groups,
        "n_shards": settings.n_shards,
        "n_voxel_shards": settings.n_voxel_shards if settings.n_voxel_shards > 1 else None,
        # A fitted tail reaches below the shuffles.
        "alpha": settings.alpha_of_shuffles if settings.p_approximation == "none" else None,
    }
    plan.inputs.trait_set(**{k: v for k, v in optional.items() if v is not None})
    return plan
