"""From z maps to thresholded maps, for every contrast and height control."""

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface

from nipype_group.design.contrasts import contrast_test, split_definition
from nipype_group.interfaces import AllResolutionsInference, ClusterInference, ThresholdMap
from nipype_group.interfaces.routing import JoinLists

INPUTS = (
    "z_files",
    "stat_files",
    "mask_file",
    "smoothness_file",
    "rpv_file",
    "dof_file",
    "template_files",
)
THRESHOLD_OUTPUTS = (
    "thresholded_files",
    "label_files",
    "logp_files",
    "peak_logp_files",
    "summary_files",
    "threshold_zs",
)
# Outputs of all-resolutions inference and the fields of its interface.
ARI_OUTPUTS = {
    "tdp_files": "tdp_file",
    "ari_clusters_files": "clusters_file",
    "ari_regions_files": "regions_file",
    "ari_clusters_jsons": "clusters_json",
    "ari_regions_jsons": "regions_json",
    "ari_summary_files": "summary_file",
}
OUTPUTS = (*THRESHOLD_OUTPUTS, *ARI_OUTPUTS)


def init_parametric_wf(
    *,
    contrasts: tuple,
    stat_types: tuple | None = None,
    tails: tuple | None = None,
    each_mask: bool = False,
    each_volume: bool = False,
    height_controls: tuple = ("fdr",),
    alpha: float = 0.05,
    threshold_z: float | None = None,
    tail: str = "two-sided",
    cluster_extent: int = 0,
    connectivity: int = 26,
    cluster_control: str | None = None,
    cluster_forming_z: float | None = None,
    cluster_forming_p: float | None = None,
    nonstationary: bool = False,
    ari_thresholds_z: tuple = (),
    ari_atlases: tuple = (),
    ari_templates: bool = False,
    name: str = "parametric_wf",
) -> pe.Workflow:
    """Build the workflow that thresholds every contrast by every height control.

    Workflow Graph
        .. workflow::

            from nipype_group.workflows import init_parametric_wf
            wf = init_parametric_wf(contrasts=("age=age",), height_controls=("fdr", "bonferroni"))

    Parameters
    ----------
    contrasts : tuple of str
        ``NAME=EXPRESSION``, in the order of the maps; names alone with ``stat_types``.
    stat_types : tuple of {"t", "F", "z"}, optional
        Statistic of every contrast, where its expression does not tell.
    tails : tuple of {"two-sided", "positive", "negative"}, optional
        Side of every contrast; with ``stat_types``, default ``tail``.
    each_mask : bool
        Whether every contrast has a mask of its own.
    each_volume : bool
        Whether every contrast has a mask and a smoothness of its own.
    height_controls : tuple of str
        Thresholds, names of height controls.
    alpha : float
        Error rate.
    threshold_z : float, optional
        Height with "none".
    tail : {"two-sided", "positive", "negative"}
        Side tested; F contrasts are tested on their upper side.
    cluster_extent : int
        Smallest cluster kept, in voxels.
    connectivity : {26, 18, 6}
        Neighbours of a voxel.
    cluster_control : {"rft"}, optional
        Familywise error of cluster extents by random field theory.
    cluster_forming_z : float, optional
        Cluster-forming threshold in z.
    cluster_forming_p : float, optional
        The same as uncorrected p; one of the two, default .001.
    nonstationary : bool
        Whether extents count local resels, for maps whose smoothness varies.
    ari_thresholds_z : tuple of float
        Heights of all-resolutions inference; empty for none.
    ari_atlases : tuple of str
        Atlases whose regions it bounds; ("default",) for the installed ones.
    ari_templates : bool
        Whether calibrated templates bound in place of closed testing.
    name : str
        Name of the workflow.

    Inputs
    ------
    z_files
        z map of every contrast.
    stat_files
        t or F map of every contrast, for random field theory.
    mask_file
        Voxels tested; with ``each_mask`` or ``each_volume`` a list, with this as the next.
    smoothness_file
        FWHM of the residuals, for random field theory.
    rpv_file
        Resels per voxel, for extents in local resels.
    dof_file
        Degrees of freedom of every voxel.
    template_files
        Template of every contrast, with ``ari_templates``.

    Outputs
    -------
    thresholded_files
        z where it survives: all contrasts of the first control, then of the next, and last of
        the cluster control.
    label_files
        Cluster ids.
    logp_files
        -log10 of the adjusted p.
    peak_logp_files
        -log10 of the adjusted p of heights; that of logp_files but for cluster control.
    summary_files
        JSON of every threshold.
    threshold_zs
        Heights in z.
    tdp_files
        True discovery proportions of every contrast; undefined without, as the next five.
    ari_clusters_files
        Clusters at all heights.
    ari_regions_files
        Regions.
    ari_clusters_jsons
        Dictionary of the clusters.
    ari_regions_jsons
        Dictionary of the regions.
    ari_summary_files
        JSON of all-resolutions inference.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=list(INPUTS)), name="inputnode")
    outputnode = pe.Node(IdentityInterface(fields=list(OUTPUTS)), name="outputnode")
    each = {
        "stat_type": list(stat_types or map(contrast_test, contrasts)),
        "contrast_name": [name if stat_types else split_definition(name)[0] for name in contrasts],
        "tail": list(tails or [tail] * len(contrasts)),
    }
    volumes = ["mask_file"] if each_mask or each_volume else []
    volumes += ["smoothness_file"] if each_volume else []
    nodes = [
        pe.MapNode(
            ThresholdMap(
                height_control=control,
                alpha=alpha,
                cluster_extent=cluster_extent,
                connectivity=connectivity,
            ),
            iterfield=["z_file", "stat_file", *each, *volumes],
            name=f"threshold_{control.replace('-', '_')}",
            mem_gb=0.5,
        )
        for control in height_controls
    ]
    for node, control in zip(nodes, height_controls, strict=True):
        if control == "none":
            node.inputs.threshold_z = threshold_z
    if cluster_control is not None:
        nodes.append(
            pe.MapNode(
                ClusterInference(
                    alpha=alpha, cluster_extent=cluster_extent, connectivity=connectivity
                ),
                iterfield=["z_file", "stat_file", *each, *volumes],
                name="clusters_rft",
                mem_gb=0.5,
            )
        )
        forming = {"cluster_forming_z": cluster_forming_z, "cluster_forming_p": cluster_forming_p}
        nodes[-1].inputs.trait_set(**{k: v for k, v in forming.items() if v is not None})
        if nonstationary:
            workflow.connect(inputnode, "rpv_file", nodes[-1], "rpv_file")
    fields = [f.removesuffix("s") for f in THRESHOLD_OUTPUTS]
    joins = {
        field: pe.Node(
            JoinLists(len(nodes), ravel_inputs=True),
            name=f"join_{field}",
            run_without_submitting=True,
        )
        for field in fields
    }
    maps = [("z_files", "z_file"), ("stat_files", "stat_file")]
    whole = [(f, f) for f in ("mask_file", "smoothness_file", "dof_file")]
    for number, node in enumerate(nodes, start=1):
        node.inputs.trait_set(**each)
        workflow.connect(
            [
                (inputnode, node, maps + whole),
                *((node, joins[f], [(f, f"in{number}")]) for f in fields),
            ]
        )
    workflow.connect([(joins[f], outputnode, [("out", f"{f}s")]) for f in fields])
    if ari_thresholds_z:
        resolutions = pe.MapNode(
            AllResolutionsInference(
                thresholds_z=list(ari_thresholds_z),
                alpha=alpha,
                connectivity=connectivity,
                cluster_extent=cluster_extent,
            ),
            iterfield=[
                *("z_file", "stat_type", "tail"),
                *(["template_file"] if ari_templates else []),
                *volumes[:1],
            ],
            name="resolutions",
            mem_gb=0.5,
        )
        resolutions.inputs.tail = each["tail"]
        # Of signs it knows those of t, which z has too.
        resolutions.inputs.stat_type = ["F" if s == "F" else "t" for s in each["stat_type"]]
        if ari_templates:
            workflow.connect(inputnode, "template_files", resolutions, "template_file")
        if ari_atlases:
            resolutions.inputs.atlases = list(ari_atlases)
        workflow.connect(
            [
                (inputnode, resolutions, [("z_files", "z_file"), ("mask_file", "mask_file")]),
                (resolutions, outputnode, [(f, o) for o, f in ARI_OUTPUTS.items()]),
            ]
        )
    return workflow
