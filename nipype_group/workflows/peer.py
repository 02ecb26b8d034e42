"""From another package's results to thresholds, tables, figures and derivatives."""

import json

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface

from nipype_group.controls import CONTROLS, Threshold, side_tested
from nipype_group.interfaces import GroupDerivatives, PeerResults, ThresholdCorrected
from nipype_group.interfaces.atlas_inputs import INSTALLED
from nipype_group.interfaces.routing import GatherResults
from nipype_group.peers.files import PeerContrast
from nipype_group.settings.analysis import PeerSettings
from nipype_group.workflows import parametric as parametric_stage
from nipype_group.workflows import report as report_stage
from nipype_group.workflows.thresholded import (
    MADE,
    REPEATED,
    ThresholdedMap,
    gather_maps,
    named_maps,
    sided_thresholds,
)

READ = (
    "path",
    "package",
    "dof",
    "single",
    "stat_type",
    "mask_file",
    "p_sides",
    "sign_file",
    "group_sizes",
    "effect_file",
    "variance_file",
    "corrected_files",
    "corrected_kinds",
    "corrected_scale",
    "design_table",
    "contrast_name",
)
INPUTS = (*READ, "output_dir")
CONTRAST_OUTPUTS = ("stat_files", "z_files", "p_files", "effect_files", "variance_files")
# Maps of contrasts that are drawn as a whole.
_DRAWN = [(f, f"inputnode.contrast_{f}") for f in ("z_files", "effect_files", "p_files")]
_TABLE_OUTPUTS = ("clusters_files", "peaks_files", "labels_files")
OUTPUTS = (
    "out_files",
    "group_dir",
    "contrasts_file",
    "mask_file",
    *CONTRAST_OUTPUTS,
    "thresholded_files",
    "label_files",
    *_TABLE_OUTPUTS,
    *parametric_stage.ARI_OUTPUTS,
    "figure_files",
)
# Of p that a package corrected by permutation.
_CONTROL_OF_COLUMN = {c.column: name for name, c in CONTROLS.items() if c.kind == "permutation"}


def init_peer_wf(
    *,
    settings: PeerSettings,
    contrasts: tuple,
    package: str | None = None,
    has_design: bool = False,
    name: str = "peer_wf",
) -> pe.Workflow:
    """Build the workflow that reports results of another package as those of a run.

    Thresholds, tables and figures are made of the package's statistics; p that the package
    corrected are thresholded beside them. Nothing is fitted.

    Workflow Graph
        .. workflow::

            from nipype_group.peers.files import PeerContrast
            from nipype_group.settings import PeerSettings
            from nipype_group.workflows import init_peer_wf
            wf = init_peer_wf(
                settings=PeerSettings(),
                contrasts=(PeerContrast("age", "age", "t", "t", ("p_fwe_voxel",)),),
                package="FSL",
            )

    Parameters
    ----------
    settings : PeerSettings
        Inference and report; rft needs the smoothness.
    contrasts : tuple of PeerContrast
        What `peer_contrasts` tells of the results.
    package : str, optional
        What made them.
    has_design : bool
        Whether the design is known.
    name : str
        Name of the workflow.

    Inputs
    ------
    path
        Folder of results, the start of their names, or with ``single`` one image.
    package
        Package, where several lie in a place.
    dof
        Degrees of freedom that files do not state.
    single
        Whether ``path`` is one statistic map.
    stat_type
        Its type, t, F, z, or r, d, p, 1-p, logp.
    mask_file
        Its mask.
    p_sides
        Sides of p, one or two.
    sign_file
        Sign of two-sided p.
    group_sizes
        Maps of d, or of both groups.
    effect_file
        Its effect.
    variance_file
        Variance of the effect.
    corrected_files
        Corrected p of the statistic.
    corrected_kinds
        What they are corrected for.
    corrected_scale
        What they hold, p, 1-p or logp.
    design_table
        Its design.
    contrast_name
        Name of its contrast.
    output_dir
        Top folder of the derivatives.

    Outputs
    -------
    out_files
        All derivatives.
    group_dir
        Their folder.
    contrasts_file
        Contrasts as JSON.
    mask_file
        Voxels that any contrast has.
    stat_files
        Statistic of every contrast.
    z_files
        z.
    p_files
        Uncorrected p.
    effect_files
        Effect; NaN where there is none.
    variance_files
        Its variance; NaN where there is none.
    thresholded_files
        Thresholded maps: by height control and contrast, then by the package's corrected p.
    label_files
        Their cluster ids.
    clusters_files
        Their clusters.
    peaks_files
        Their peaks.
    labels_files
        Their regions.
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
    figure_files
        All figures; undefined without.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=list(INPUTS)), name="inputnode")
    outputnode = pe.Node(IdentityInterface(fields=list(OUTPUTS)), name="outputnode")
    tails = tuple(side_tested(settings.tail, c.stat_type) for c in contrasts)
    corrected = _corrected_maps(settings, contrasts)
    maps, places = named_maps(
        _inferred_maps(settings, contrasts, tails) + corrected, [c.label for c in contrasts]
    )
    read = pe.Node(PeerResults(tail=settings.tail), name="read", mem_gb=0.5)
    read.inputs.tested_tails = list(settings.all_tails)
    parametric_wf = parametric_stage.init_parametric_wf(
        settings=settings,
        contrasts=tuple(c.name for c in contrasts),
        stat_types=tuple(c.field_type for c in contrasts),
        tails=tails,
        each=("mask_file", "smoothness_file"),
        atlases=(INSTALLED,) if settings.atlases is None else settings.atlases,
    )
    there = ("masks",) + (("design",) if has_design else ())
    report_wf = report_stage.init_report_wf(
        settings=settings,
        maps=tuple(maps),
        tails=tuple(tails[one.contrast] for one in maps),
        there=there + (("effects",) if any(c.has_effect for c in contrasts) else ()),
    )
    keep = _keep(settings, maps)
    design = ("design_file", "design_json") if has_design else ()
    described = ("contrasts_file", *design)
    whole = [(f, f) for f in ("mask_file", "contrasts_file")]
    workflow.connect(
        [
            (inputnode, read, [(f, f) for f in READ]),
            (inputnode, keep, [("output_dir", "output_dir")]),
            (read, parametric_wf, [("z_files", "inputnode.z_files")]),
            (read, parametric_wf, [("field_files", "inputnode.stat_files")]),
            (read, parametric_wf, [("mask_files", "inputnode.mask_file")]),
            (read, parametric_wf, [("smoothness_files", "inputnode.smoothness_file")]),
            (read, report_wf, [(f, f"inputnode.{f}") for f in described]),
            (read, report_wf, [("mask_file", "inputnode.mask_file")]),
            (read, report_wf, _DRAWN),
            (read, keep, [(f, f) for f in (*CONTRAST_OUTPUTS, *described, "mask_file")]),
            (read, keep, [(f, f) for f in ("peer_file", "smoothness_files")]),
            (read, outputnode, [*whole, *((f, f) for f in CONTRAST_OUTPUTS)]),
            (keep, outputnode, [(f, f) for f in ("out_files", "group_dir")]),
        ]
    )
    _connect_report(workflow, settings, parametric_wf, report_wf)
    _gather(workflow, maps, places, parametric_wf, report_wf, bool(corrected))
    if corrected:
        _add_corrected(workflow, settings, contrasts, corrected, package)
    return workflow


def _keep(settings, maps):
    """Return the node that keeps the results."""
    keep = pe.Node(
        GroupDerivatives(
            results=[one.name for one in maps],
            views=list(settings.table_views),
            also_write=list(settings.also_write),
            viewer=settings.viewer,
            parameters=json.dumps(settings.as_parameters()),
        ),
        name="keep",
        mem_gb=0.5,
    )
    if settings.space is not None:
        keep.inputs.space = settings.space
    return keep


def _inferred_maps(settings, contrasts, tails):
    """Return the maps that are thresholded here, by inference and contrast."""
    types = [c.stat_type for c in contrasts]
    return [
        ThresholdedMap(i, threshold, types[i])
        for thresholds in sided_thresholds(settings, types, tails)
        for i, threshold in enumerate(thresholds)
    ]


def _corrected_maps(settings, contrasts):
    """Return the maps thresholded by p that the package corrected."""
    return [
        ThresholdedMap(
            i,
            Threshold(_CONTROL_OF_COLUMN[column], settings.alpha, each.corrected_tail),
            each.stat_type,
        )
        for i, each in enumerate(contrasts)
        for column in each.corrected
    ]


def _out(*fields):
    """Connect a workflow's outputs to a node's inputs of the same name."""
    return [(f"outputnode.{f}", f) for f in fields]


def _connect_report(workflow, settings, parametric_wf, report_wf):
    """Keep tables, figures, views and true discoveries."""
    keep, outputnode = workflow.get_node("keep"), workflow.get_node("outputnode")
    fields = [f"{f}s" for f in (*report_stage.TABLES, *report_stage.DICTIONARIES)]
    if settings.figures:
        fields += ["figure_files", "figure_indexes"]
    if settings.table_views:
        fields.append("view_files")
    workflow.connect(
        [
            (report_wf, keep, _out(*fields)),
            (report_wf, outputnode, _out(*(f for f in fields if f in OUTPUTS))),
        ]
    )
    if settings.ari_thresholds_z:
        outputs = _out(*parametric_stage.ARI_OUTPUTS)
        workflow.connect([(parametric_wf, keep, outputs), (parametric_wf, outputnode, outputs)])
        workflow.connect(parametric_wf, "outputnode.tdp_files", report_wf, "inputnode.tdp_files")


def _gather(workflow, maps, places, parametric_wf, report_wf, has_corrected):
    """Give report and derivatives what belongs to every thresholded map, in one order."""
    read, keep, outputnode = map(workflow.get_node, ("read", "keep", "outputnode"))
    gather = gather_maps(maps, places, 1 + has_corrected, more=("mask_files",))
    of_contrast = (*REPEATED, "mask_files")
    workflow.connect(
        [
            (parametric_wf, gather, [(f"outputnode.{f}", f"{f}_1") for f in MADE]),
            (read, gather, [(f, f"{f}_1") for f in of_contrast]),
            (gather, report_wf, [(f, f"inputnode.{into}") for f, into in MADE.items()]),
            (gather, report_wf, [(f, f"inputnode.{f}") for f in of_contrast]),
            (gather, keep, [(f, f) for f in MADE if f != "peak_logp_files"]),
            (gather, outputnode, [(f, f) for f in MADE if f in OUTPUTS]),
        ]
    )


def _add_corrected(workflow, settings, contrasts, corrected, package):
    """Threshold by the package's corrected p."""
    read, gather = workflow.get_node("read"), workflow.get_node("gather")
    index = [one.contrast for one in corrected]
    each = {
        "control": [one.threshold.control for one in corrected],
        "tail": [one.threshold.tail for one in corrected],
        "stat_type": [one.stat_type for one in corrected],
        "contrast_name": [contrasts[i].name for i in index],
    }
    threshold_corrected = pe.MapNode(
        ThresholdCorrected(
            alpha=settings.alpha,
            cluster_extent=settings.cluster_extent,
            connectivity=settings.connectivity,
        ),
        iterfield=["stat_file", "mask_file", "logp_file", *each],
        name="threshold_corrected",
        mem_gb=0.5,
    )
    threshold_corrected.inputs.trait_set(**each)
    if package is not None:
        threshold_corrected.inputs.package = package
    files = {"stat_files": "stat_file", "mask_files": "mask_file"}
    gather_corrected = pe.Node(
        GatherResults(dict.fromkeys(files, 1), picks=dict.fromkeys(files, index)),
        name="gather_corrected",
        run_without_submitting=True,
    )
    made = [f for f in MADE if "logp" not in f]
    workflow.connect(
        [
            (read, gather_corrected, [(f, f"{f}_1") for f in files]),
            (gather_corrected, threshold_corrected, list(files.items())),
            (read, threshold_corrected, [("corrected_logp_files", "logp_file")]),
            (threshold_corrected, gather, [(f.removesuffix("s"), f"{f}_2") for f in made]),
            (read, gather, [("corrected_logp_files", f"{f}_2") for f in MADE if "logp" in f]),
        ]
    )


__all__ = ["PeerContrast", "init_peer_wf"]
