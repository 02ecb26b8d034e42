"""From z maps to thresholded maps, for every contrast and height control."""

from collections import Counter

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface

from nipype_group.controls import CONTROLS, side_tested
from nipype_group.design.contrasts import conjunctions_of, contrast_tests, split_definition
from nipype_group.interfaces import (
    AllResolutionsInference,
    ClusterInference,
    ThresholdConjunction,
    ThresholdMap,
)
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
        ``NAME=EXPRESSION``, in the order of the maps, conjunctions last; names alone with
        ``stat_types``. Clusters by random field theory are not made of conjunctions, and heights
        of it are those of their contrasts.
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
    workflow.add_nodes([inputnode, outputnode])
    names = [text if stat_types else split_definition(text)[0] for text in contrasts]
    tests = list(stat_types or contrast_tests(contrasts))
    sides = list(tails or [settings.tail] * len(contrasts))
    sided = sided_thresholds(settings, tests, sides)
    conjunctions = {} if stat_types else conjunctions_of(contrasts)
    kinds = ["z" if name in conjunctions else test for name, test in zip(names, tests)]
    nodes = _inference_nodes(settings, sided, each, names, kinds, len(conjunctions))
    nodes = _connect_inference(workflow, settings, nodes, each, conjunctions)
    gather = pe.Node(
        GatherResults(dict.fromkeys(THRESHOLD_OUTPUTS, len(nodes))),
        name="gather",
        run_without_submitting=True,
    )
    for place, node in enumerate(nodes, start=1):
        made = [(field.removesuffix("s"), f"{field}_{place}") for field in THRESHOLD_OUTPUTS]
        workflow.connect([(node, gather, made)])
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
# What random field theory takes beside the statistic.
_OF_FIELDS = ("smoothness_file", "dof_file", "rpv_file")


def _is_by_fields(interface):
    """Tell whether random field theory corrects: of each contrast, and of no conjunction."""
    if isinstance(interface, ClusterInference):
        return True
    return CONTROLS[interface.inputs.height_control].adjust is None


def _inference_nodes(settings, sided, each, names, kinds, n_conjunctions):
    """Return a node a threshold, that of the cluster control last."""
    extent = {
        "cluster_extent": settings.cluster_extent,
        "connectivity": settings.connectivity,
    }
    nodes, used = [], Counter()
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
        used[name] += 1
        number = f"_{used[name]}" if used[name] > 1 else ""
        by_fields = _is_by_fields(interface)
        # Conjunctions have no error of their own, of which these would be.
        without = () if by_fields or not n_conjunctions else _OF_FIELDS
        node = pe.MapNode(
            interface,
            iterfield=[
                *_ITEMS,
                *(
                    f
                    for f in each
                    if f in interface.inputs.copyable_trait_names() and f not in without
                ),
            ],
            name=f"{name}{number}",
            mem_gb=0.5,
        )
        n_tested = len(names) - (n_conjunctions if by_fields else 0)
        node.inputs.trait_set(
            tail=[one.tail for one in thresholds[:n_tested]],
            stat_type=kinds[:n_tested],
            contrast_name=names[:n_tested],
        )
        nodes.append((node, thresholds[n_tested:]))
    return nodes


def _connect_inference(workflow, settings, nodes, each, conjunctions):
    """Connect the nodes of thresholds; returns those whose results make the lists, in order."""
    inputnode, listed = workflow.get_node("inputnode"), []
    maps = [("z_files", "z_file"), ("stat_files", "stat_file"), ("mask_file", "mask_file")]
    picked = None
    if conjunctions and any(left for _, left in nodes):
        n_all = len(nodes[0][0].inputs.tail) + len(nodes[0][1])
        picked = _parted(workflow, each, n_all, n_all - len(conjunctions))
    for node, left in nodes:
        source = picked["contrasts"] if left else {}
        for field, into in maps:
            workflow.connect(source.get(field, inputnode), field, node, into)
        listed.append(node)
        for field in _OF_FIELDS[:2]:
            if field not in each or field in node.iterfield:
                workflow.connect(inputnode, field, node, field)
        if left and isinstance(node.interface, ThresholdMap):
            listed.append(_of_conjunctions(workflow, node, left, each, picked, conjunctions))
    if settings.nonstationary:
        workflow.connect(inputnode, "rpv_file", nodes[-1][0], "rpv_file")
    return listed


def _parted(workflow, each, n_all, n_contrasts):
    """Add nodes that part lists of all contrasts into those of conjunctions and of the others.

    Returns the node that has each list, by the list's name.
    """
    fields = ["z_files", "stat_files", *(f for f in each if f == "mask_file")]
    places = {"contrasts": range(n_contrasts), "conjunctions": range(n_contrasts, n_all)}
    parted = {}
    for name, own in places.items():
        node = pe.Node(
            GatherResults(dict.fromkeys(fields, 1), picks={field: list(own) for field in fields}),
            name=f"of_{name}",
            run_without_submitting=True,
        )
        workflow.connect([(workflow.get_node("inputnode"), node, [(f, f"{f}_1") for f in fields])])
        parted[name] = dict.fromkeys(fields, node)
    return parted


def _of_conjunctions(workflow, of_contrasts, thresholds, each, picked, conjunctions):
    """Add the node that thresholds conjunctions by the corrected p of their contrasts."""
    inputnode, names = workflow.get_node("inputnode"), of_contrasts.inputs.contrast_name
    given = of_contrasts.interface.inputs
    node = pe.MapNode(
        ThresholdConjunction(
            **{
                f: getattr(given, f)
                for f in ("height_control", "alpha", "cluster_extent", "connectivity")
            }
        ),
        iterfield=[
            "z_file",
            "contrast_name",
            "places",
            "tail",
            *(f for f in each if f == "mask_file"),
        ],
        name=f"conjoined_{of_contrasts.name}",
        mem_gb=0.5,
    )
    node.inputs.trait_set(
        contrast_name=list(conjunctions),
        places=[[names.index(part) for part in own] for own in conjunctions.values()],
        tail=[one.tail for one in thresholds],
    )
    workflow.connect(of_contrasts, "logp_file", node, "logp_files")
    for field, into in (("z_files", "z_file"), ("mask_file", "mask_file")):
        workflow.connect(picked["conjunctions"].get(field, inputnode), field, node, into)
    return node


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
