"""From z maps to thresholded maps, for every contrast and height control."""

from collections import Counter

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface

from nipype_group.controls import side_tested
from nipype_group.design.contrasts import contrast_test, split_definition
from nipype_group.interfaces import AllResolutionsInference, ClusterInference, ThresholdMap
from nipype_group.interfaces.routing import GatherResults
from nipype_group.settings.inference import InferenceSettings
from nipype_group.workflows.thresholded import sided_thresholds

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
    settings: InferenceSettings,
    contrasts: tuple,
    stat_types: tuple | None = None,
    tails: tuple | None = None,
    each: tuple = (),
    atlases: tuple = (),
    templates: bool = False,
    name: str = "parametric_wf",
) -> pe.Workflow:
    """Build the workflow that thresholds every contrast by every height control.

    Workflow Graph
        .. workflow::

            from nipype_group.settings import InferenceSettings
            from nipype_group.workflows import init_parametric_wf
            settings = InferenceSettings(height_controls=("fdr", "bonferroni:.05:positive"))
            wf = init_parametric_wf(settings=settings, contrasts=("age=age",))

    Parameters
    ----------
    settings : InferenceSettings
        Thresholds, clusters and true discoveries; an `AnalysisSettings` or `PeerSettings` too.
    contrasts : tuple of str
        ``NAME=EXPRESSION``, in the order of the maps; names alone with ``stat_types``.
    stat_types : tuple of {"t", "F", "z"}, optional
        Statistic of every contrast, where its expression does not tell.
    tails : tuple of {"two-sided", "positive", "negative"}, optional
        Side of every contrast where a threshold has none of its own; default: that of the
        settings.
    each : tuple of {"mask_file", "smoothness_file", "rpv_file", "dof_file"}
        Which of them every contrast has of its own.
    atlases : tuple of str
        Atlases whose regions all-resolutions inference bounds; ("default",) for the installed
        ones.
    templates : bool
        Whether calibrated templates bound true discoveries in place of closed testing.
    name : str
        Name of the workflow.

    Inputs
    ------
    z_files
        z map of every contrast.
    stat_files
        t or F map of every contrast, for random field theory.
    mask_file
        Voxels tested; a list where ``each`` says so, as the next.
    smoothness_file
        FWHM of the residuals, for random field theory.
    rpv_file
        Resels per voxel, for extents in local resels.
    dof_file
        Degrees of freedom of every voxel.
    template_files
        Template of every contrast, with ``templates``.

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
    names = [text if stat_types else split_definition(text)[0] for text in contrasts]
    tests = list(stat_types or map(contrast_test, contrasts))
    sides = list(tails or [settings.tail] * len(contrasts))
    sided = sided_thresholds(settings, tests, sides)
    nodes = _inference_nodes(settings, sided, each)
    made = [field.removesuffix("s") for field in THRESHOLD_OUTPUTS]
    gather = pe.Node(
        GatherResults(dict.fromkeys(THRESHOLD_OUTPUTS, len(nodes))),
        name="gather",
        run_without_submitting=True,
    )
    maps = [("z_files", "z_file"), ("stat_files", "stat_file")]
    whole = [(f, f) for f in ("mask_file", "smoothness_file", "dof_file")]
    for place, node in enumerate(nodes, start=1):
        node.inputs.trait_set(stat_type=tests, contrast_name=names)
        workflow.connect(
            [
                (inputnode, node, maps + whole),
                (node, gather, [(field, f"{field}s_{place}") for field in made]),
            ]
        )
    if settings.nonstationary:
        workflow.connect(inputnode, "rpv_file", nodes[-1], "rpv_file")
    workflow.connect([(gather, outputnode, [(field, field) for field in THRESHOLD_OUTPUTS])])
    if settings.ari_thresholds_z:
        resolutions = _resolutions(settings, each, templates)
        resolutions.inputs.tail = [
            side_tested(tail, stat) for tail, stat in zip(sides, tests, strict=True)
        ]
        # Of signs it knows those of t, which z has too.
        resolutions.inputs.stat_type = ["F" if stat == "F" else "t" for stat in tests]
        if templates:
            workflow.connect(inputnode, "template_files", resolutions, "template_file")
        if atlases:
            resolutions.inputs.atlases = list(atlases)
        workflow.connect(
            [
                (inputnode, resolutions, [("z_files", "z_file"), ("mask_file", "mask_file")]),
                (resolutions, outputnode, [(f, o) for o, f in ARI_OUTPUTS.items()]),
            ]
        )
    return workflow


_ITEMS = ("z_file", "stat_file", "stat_type", "contrast_name", "tail")


def _inference_nodes(settings, sided, each):
    """Return a node a threshold, that of the cluster control last."""
    extent = {
        "cluster_extent": settings.cluster_extent,
        "connectivity": settings.connectivity,
    }
    nodes, names = [], Counter()
    for thresholds in sided:
        threshold = thresholds[0]
        if threshold.control == "rft-cluster":
            interface, name = ClusterInference(alpha=threshold.alpha, **extent), "clusters_rft"
            forming = {f: getattr(settings, f) for f in ("cluster_forming_z", "cluster_forming_p")}
            interface.inputs.trait_set(**{k: v for k, v in forming.items() if v is not None})
        else:
            interface = ThresholdMap(height_control=threshold.control, **extent)
            if threshold.control == "none":
                interface.inputs.threshold_z = threshold.threshold_z
            # A height needs no alpha; that of the analysis stands in its inputs all the same.
            interface.inputs.alpha = threshold.alpha or settings.alpha
            name = f"threshold_{threshold.control.replace('-', '_')}"
        names[name] += 1
        number = f"_{names[name]}" if names[name] > 1 else ""
        node = pe.MapNode(
            interface,
            iterfield=[
                *_ITEMS,
                *(f for f in each if f in interface.inputs.copyable_trait_names()),
            ],
            name=f"{name}{number}",
            mem_gb=0.5,
        )
        node.inputs.tail = [one.tail for one in thresholds]
        nodes.append(node)
    return nodes


def _resolutions(settings, each, templates):
    """Return the node of true discovery proportions."""
    items = ["z_file", "stat_type", "tail", *(["template_file"] if templates else [])]
    return pe.MapNode(
        AllResolutionsInference(
            thresholds_z=list(settings.ari_thresholds_z),
            alpha=settings.alpha_of_discoveries,
            connectivity=settings.connectivity,
            cluster_extent=settings.cluster_extent,
        ),
        iterfield=[*items, *(f for f in each if f == "mask_file")],
        name="resolutions",
        mem_gb=0.5,
    )
