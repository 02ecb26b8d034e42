"""From a stack and a design to permutation p values, in shards."""

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface

from nipype_group.interfaces import MergePermutations, PlanPermutations, RunPermutations

INPUTS = (
    "design_file",
    "design_json",
    "contrasts_file",
    "stack_file",
    "mask_file",
    "observations",
    "shuffles_file",
    "search_mask_files",
)
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
    n_permutations: int = 5000,
    seed: int = 0,
    tail: str = "two-sided",
    statistics: tuple = ("voxel",),
    cluster_forming_z: float | None = None,
    cluster_forming_p: float | None = None,
    cluster_forming_statistic: float | None = None,
    cluster_extent: int = 0,
    connectivity: int = 26,
    statistic_scale: str = "statistic",
    variance_fwhm_mm: float = 0.0,
    shuffling: str = "auto",
    method: str = "freedman-lane",
    blocks: tuple = (),
    block_exchange: str = "within",
    variance_groups: str | None = None,
    alpha: float = 0.05,
    p_approximation: str = "none",
    across_contrasts: bool = False,
    template: str = "none",
    early_stop: int = 0,
    varying_dof: bool = False,
    n_shards: int | None = None,
    n_voxel_shards: int | None = None,
    n_procs: int = 1,
    memory_gb: float = 1.0,
    name: str = "permutation_wf",
) -> pe.Workflow:
    """Build the workflow of permutation inference on voxels, clusters and TFCE.

    Workflow Graph
        .. workflow::

            from nipype_group.workflows import init_permutation_wf
            wf = init_permutation_wf(n_permutations=10000, statistics=("voxel", "tfce"))

    Parameters
    ----------
    n_permutations : int
        Shuffles beside the unshuffled one.
    seed : int
        Decides which shuffles are drawn.
    tail : {"two-sided", "positive", "negative"}
        Side tested; F contrasts on their upper side.
    statistics : tuple of str
        voxel, and any of extent, mass, tfce.
    cluster_forming_z : float, optional
        Cluster-forming threshold as z.
    cluster_forming_p : float, optional
        The same as p of the tail; default .001.
    cluster_forming_statistic : float, optional
        The same in units of t, F or pseudo-t; one of the three.
    cluster_extent : int
        Smallest cluster kept, in voxels.
    connectivity : {26, 18, 6}
        Neighbours in a cluster.
    statistic_scale : {"statistic", "z"}
        Whether mass and TFCE run on the statistic or its z.
    variance_fwhm_mm : float
        FWHM by which variance maps are smoothed (pseudo-t); 0 for none.
    shuffling : {"auto", "permute", "flip", "both"}
        Kind of shuffling; "auto" takes what each contrast demands.
    method : str
        What a shuffle does to the nuisance.
    blocks : tuple of str
        Columns of the observations, outermost first, or a table as PALM's -eb.
    block_exchange : {"within", "whole", "both"}
        Whether maps exchange within blocks, blocks as wholes, or both.
    variance_groups : str, optional
        Column of groups that have a variance of their own.
    alpha : float
        Familywise error rate of the masked maps.
    p_approximation : {"none", "gpd", "gamma"}
        Tail of the null distributions: counted, or a fitted curve.
    across_contrasts : bool
        Whether all contrasts of a family are corrected together.
    template : {"none", "simes", "learned"}
        Template of true discovery proportions to calibrate.
    early_stop : int
        Stop a voxel once so many shuffles reach it: uncorrected p and their false discovery rate
        alone; 0 for never.
    varying_dof : bool
        Whether maps lack voxels of the mask: everything is tested on z.
    n_shards : int, optional
        Shards of each family; default: shards of a fixed size.
    n_voxel_shards : int, optional
        Parts of the mask that each of these is split into, where voxels alone are tested.
    n_procs : int
        Threads of a shard.
    memory_gb : float
        10^9 bytes of a shard for data kept between shuffles.
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
    plan = pe.Node(
        PlanPermutations(
            n_permutations=n_permutations,
            seed=seed,
            tail=tail,
            statistics=list(statistics),
            connectivity=connectivity,
            statistic_scale=statistic_scale,
            variance_fwhm_mm=variance_fwhm_mm,
            shuffling=shuffling,
            method=method,
            block_exchange=block_exchange,
            n_top=_TEMPLATE_RANKS if template != "none" else 0,
            early_stop=early_stop,
            varying_dof=varying_dof,
            across_contrasts=across_contrasts,
        ),
        name="plan",
        mem_gb=0.3,
    )
    optional = {
        "cluster_forming_z": cluster_forming_z,
        "cluster_forming_p": cluster_forming_p,
        "cluster_forming_statistic": cluster_forming_statistic,
        "blocks": list(blocks) or None,
        "variance_groups": variance_groups,
        "n_shards": n_shards,
        "n_voxel_shards": n_voxel_shards,
        # A fitted tail reaches below the shuffles.
        "alpha": alpha if p_approximation == "none" else None,
    }
    plan.inputs.trait_set(**{k: v for k, v in optional.items() if v is not None})
    run = pe.MapNode(
        RunPermutations(memory_gb=memory_gb),
        iterfield=["family", "first", "last", "first_voxel", "last_voxel"],
        name="run",
        n_procs=n_procs,
        mem_gb=0.5 + memory_gb,
    )
    merge = pe.Node(
        MergePermutations(
            alpha=alpha,
            p_approximation=p_approximation,
            across_contrasts=across_contrasts,
            cluster_extent=cluster_extent,
            template=template,
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
            (inputnode, run, [(f, f) for f in (*files, "stack_file")]),
            (inputnode, merge, [(f, f) for f in (*files, "search_mask_files")]),
            (plan, run, [("scheme_file", "scheme_file"), *shard]),
            (plan, merge, [(f, f) for f in plans]),
            (run, merge, [("shard_file", "shard_files")]),
            (plan, outputnode, [(f, f) for f in (*plans, "text_file")]),
            (merge, outputnode, [(f, f) for f in MERGE_OUTPUTS]),
        ]
    )
    return workflow
