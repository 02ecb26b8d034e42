"""From a stack and a design to permutation p values, in shards."""

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface

from nipype_group.interfaces import MergePermutations, PlanPermutations, RunPermutations

INPUTS = ("design_file", "design_json", "contrasts_file", "stack_file", "mask_file")
MERGE_OUTPUTS = (
    "contrast_names",
    "stat_files",
    "logp_unc_files",
    "logp_fwe_files",
    "thresholded_files",
    "label_files",
    "threshold_stats",
    "nulldist_files",
    "summary_files",
)
OUTPUTS = ("plan_file", "scheme_file", "text_file", *MERGE_OUTPUTS)


def init_permutation_wf(
    *,
    n_permutations: int = 5000,
    seed: int = 0,
    tail: str = "two-sided",
    shuffling: str = "auto",
    alpha: float = 0.05,
    connectivity: int = 26,
    n_shards: int | None = None,
    n_procs: int = 1,
    name: str = "permutation_wf",
) -> pe.Workflow:
    """Build the workflow of maximum-statistic permutation inference.

    Workflow Graph
        .. workflow::

            from nipype_group.workflows import init_permutation_wf
            wf = init_permutation_wf(n_permutations=10000, n_shards=8)

    Parameters
    ----------
    n_permutations : int
        Shuffles beside the unshuffled one.
    seed : int
        Decides which shuffles are drawn.
    tail : {"two-sided", "positive", "negative"}
        Side tested.
    shuffling : {"auto", "permute", "flip"}
        Kind of shuffling; "auto" takes what each contrast demands.
    alpha : float
        Familywise error rate of the masked maps.
    connectivity : {26, 18, 6}
        Neighbours of a voxel.
    n_shards : int, optional
        Shards of each family; default: shards of a fixed size.
    n_procs : int
        Threads of a shard.
    name : str
        Name of the workflow.

    Inputs
    ------
    design_file
        TSV of keys and regressors.
    design_json
        Its description.
    contrasts_file
        Contrasts; the t contrasts are tested.
    stack_file
        4D maps.
    mask_file
        Voxels tested.

    Outputs
    -------
    plan_file
        What is shuffled how, how often, in which shards.
    scheme_file
        What shuffle k is.
    text_file
        The plan as a paragraph.
    contrast_names
        Contrasts tested.
    stat_files
        t of the data.
    logp_unc_files
        -log10 of the uncorrected p.
    logp_fwe_files
        -log10 of the familywise-error corrected p.
    thresholded_files
        t where the corrected p is at most alpha.
    label_files
        Cluster ids of the survivors.
    threshold_stats
        Smallest surviving abs(t).
    nulldist_files
        Null distributions.
    summary_files
        JSON of every contrast.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=list(INPUTS)), name="inputnode")
    outputnode = pe.Node(IdentityInterface(fields=list(OUTPUTS)), name="outputnode")
    plan = pe.Node(
        PlanPermutations(n_permutations=n_permutations, seed=seed, tail=tail, shuffling=shuffling),
        name="plan",
        mem_gb=0.1,
    )
    if n_shards is not None:
        plan.inputs.n_shards = n_shards
    run = pe.MapNode(
        RunPermutations(),
        iterfield=["family", "first", "last"],
        name="run",
        n_procs=n_procs,
        mem_gb=1,
    )
    merge = pe.Node(
        MergePermutations(alpha=alpha, connectivity=connectivity), name="merge", mem_gb=0.5
    )
    files = ("design_file", "design_json")
    plans = ("plan_file", "scheme_file")
    shard = [("families", "family"), ("firsts", "first"), ("lasts", "last")]
    workflow.connect(
        [
            (inputnode, plan, [(f, f) for f in (*files, "contrasts_file")]),
            (inputnode, run, [(f, f) for f in (*files, "stack_file", "mask_file")]),
            (plan, run, [("scheme_file", "scheme_file"), *shard]),
            (plan, merge, [(f, f) for f in plans]),
            (run, merge, [("shard_file", "shard_files")]),
            (inputnode, merge, [("mask_file", "mask_file")]),
            (plan, outputnode, [(f, f) for f in (*plans, "text_file")]),
            (merge, outputnode, [(f, f) for f in MERGE_OUTPUTS]),
        ]
    )
    return workflow
