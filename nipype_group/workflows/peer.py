"""From another package's results to thresholds, tables, figures and derivatives."""

import json

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface

from nipype_group.controls import CONTROLS, side_tested
from nipype_group.interfaces import GroupDerivatives, PeerResults, ThresholdCorrected
from nipype_group.interfaces.atlas_inputs import INSTALLED
from nipype_group.interfaces.routing import JoinLists, PickItems
from nipype_group.peers.files import PeerContrast
from nipype_group.workflows import parametric as parametric_stage
from nipype_group.workflows import report as report_stage

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
# Lists of all thresholded maps: those of thresholds made here, then of the package's corrected p.
_JOINED = ("thresholded_files", "label_files", "logp_files", "peak_logp_files", "summary_files")
# Of p that a package corrected by permutation.
_CONTROL_OF_COLUMN = {c.column: name for name, c in CONTROLS.items() if c.kind == "permutation"}


class _Results:
    """Names and kinds of all thresholded maps, known before anything runs."""

    def __init__(self, contrasts, height_controls, cluster_control, tail, threshold_z):
        controls = [*height_controls, *(["rft-cluster"] if cluster_control else [])]
        sides = [side_tested(tail, c.stat_type) for c in contrasts]
        made = [(i, control, side) for control in controls for i, side in enumerate(sides)]
        self.corrected = [
            (i, _CONTROL_OF_COLUMN[column], each.corrected_tail)
            for i, each in enumerate(contrasts)
            for column in each.corrected
        ]
        made += self.corrected
        self.contrasts = [i for i, _, _ in made]
        self.controls = [control for _, control, _ in made]
        self.names = [
            f"contrast-{contrasts[i].label}_"
            f"desc-{CONTROLS[control].result_desc(side, threshold_z)}"
            for i, control, side in made
        ]
        self.stat_types = [contrasts[i].stat_type for i in self.contrasts]
        n_own = len(made) - len(self.corrected)
        # Of the package's corrected p the maps hold the package's statistic.
        self.units = ["z"] * n_own + self.stat_types[n_own:]
        self.adjustments = [CONTROLS[control].adjusts for control in self.controls]


def init_peer_wf(
    *,
    contrasts: tuple,
    package: str | None = None,
    has_design: bool = False,
    height_controls: tuple = ("fdr",),
    alpha: float = 0.05,
    threshold_z: float | None = None,
    tail: str = "two-sided",
    cluster_extent: int = 0,
    connectivity: int = 26,
    cluster_control: str | None = None,
    cluster_forming_z: float | None = None,
    cluster_forming_p: float | None = None,
    ari_thresholds_z: tuple = (),
    atlases: tuple | None = None,
    space: str | None = None,
    table_views: tuple = (),
    viewer: bool = False,
    figures: bool = True,
    name: str = "peer_wf",
) -> pe.Workflow:
    """Build the workflow that reports results of another package as those of a run.

    Thresholds, tables and figures are made of the package's statistics; p that the package
    corrected are thresholded beside them. Nothing is fitted.

    Workflow Graph
        .. workflow::

            from nipype_group.peers.files import PeerContrast
            from nipype_group.workflows import init_peer_wf
            wf = init_peer_wf(
                contrasts=(PeerContrast("age", "age", "t", "t", ("p_fwe_voxel",)),),
                package="FSL",
            )

    Parameters
    ----------
    contrasts : tuple of PeerContrast
        What `peer_contrasts` tells of the results.
    package : str, optional
        What made them.
    has_design : bool
        Whether the design is known.
    height_controls : tuple of str
        Thresholds, names of height controls; rft needs the smoothness.
    alpha : float
        Error rate of all of them, and of the package's corrected p.
    threshold_z : float, optional
        Height with "none".
    tail : {"two-sided", "positive", "negative"}
        Side tested; F contrasts are tested on their upper side.
    cluster_extent : int
        Smallest cluster kept by the height thresholds, in voxels.
    connectivity : {26, 18, 6}
        Neighbours of a voxel.
    cluster_control : {"rft"}, optional
        Familywise error of cluster extents by random field theory.
    cluster_forming_z : float, optional
        Cluster-forming threshold in z.
    cluster_forming_p : float, optional
        The same as uncorrected p; one of the two, default .001.
    ari_thresholds_z : tuple of float
        Heights of all-resolutions inference; empty for none.
    atlases : tuple of str, optional
        Names or files; None for the default ones, where installed; empty for none.
    space : str, optional
        Space of the maps.
    table_views : tuple of str
        Packages as whose tables those of clusters and peaks are laid out too.
    viewer : bool
        Whether the report holds an interactive viewer of every contrast.
    figures : bool
        Whether figures are drawn.
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
    results = _Results(contrasts, height_controls, cluster_control, tail, threshold_z)
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=list(INPUTS)), name="inputnode")
    outputnode = pe.Node(IdentityInterface(fields=list(OUTPUTS)), name="outputnode")
    read = pe.Node(PeerResults(tail=tail), name="read", mem_gb=0.5)
    inference = {
        "height_controls": height_controls,
        "alpha": alpha,
        "threshold_z": threshold_z,
        "tail": tail,
        "cluster_extent": cluster_extent,
        "connectivity": connectivity,
        "cluster_control": cluster_control,
        "cluster_forming_z": cluster_forming_z,
        "cluster_forming_p": cluster_forming_p,
        "ari_thresholds_z": ari_thresholds_z,
    }
    parametric_wf = parametric_stage.init_parametric_wf(
        contrasts=tuple(c.name for c in contrasts),
        stat_types=tuple(c.field_type for c in contrasts),
        tails=tuple(side_tested(tail, c.stat_type) for c in contrasts),
        each_volume=True,
        ari_atlases=(INSTALLED,) if atlases is None else atlases,
        **inference,
    )
    report_wf = report_stage.init_report_wf(
        results=tuple(results.names),
        stat_types=tuple(results.stat_types),
        adjustments=tuple(results.adjustments),
        units=tuple(results.units),
        inferences=report_stage.fwe_inferences(results.contrasts, results.controls),
        detailed=report_stage.strictest_first(results.names, results.controls),
        atlases=atlases,
        space=space,
        alpha=alpha,
        ari=bool(ari_thresholds_z),
        tail=tail,
        views=table_views,
        figures=figures,
        maps=False,
        design=has_design,
        effects=any(c.has_effect for c in contrasts),
        each_mask=True,
    )
    keep = pe.Node(
        GroupDerivatives(results=results.names, views=list(table_views), viewer=viewer),
        name="keep",
        mem_gb=0.5,
    )
    keep.inputs.parameters = json.dumps(
        {k: v for k, v in inference.items() if v not in (None, ())}
    )
    if space is not None:
        keep.inputs.space = space
    design = ("design_file", "design_json")
    described = ("contrasts_file", *(design if has_design else ()))
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
            (read, report_wf, [("z_files", "inputnode.contrast_z_files")]),
            (read, report_wf, [("effect_files", "inputnode.contrast_effect_files")]),
            (read, keep, [(f, f) for f in (*CONTRAST_OUTPUTS, *described, "mask_file")]),
            (read, keep, [(f, f) for f in ("peer_file", "smoothness_files")]),
            (read, outputnode, [*whole, *((f, f) for f in CONTRAST_OUTPUTS)]),
            (report_wf, outputnode, _out(*_TABLE_OUTPUTS)),
            (keep, outputnode, [(f, f) for f in ("out_files", "group_dir")]),
        ]
    )
    _connect_report(workflow, report_wf, figures, table_views)
    if ari_thresholds_z:
        outputs = _out(*parametric_stage.ARI_OUTPUTS)
        workflow.connect([(parametric_wf, keep, outputs), (parametric_wf, outputnode, outputs)])
    sources = [(parametric_wf, {f: f"outputnode.{f}" for f in _JOINED})]
    if results.corrected:
        kept = {n: inference[n] for n in ("alpha", "cluster_extent", "connectivity")}
        sources.append(_add_corrected(workflow, contrasts, results.corrected, package, kept))
    _join_results(workflow, sources, report_wf)
    _repeat_contrast_maps(workflow, report_wf, results.contrasts)
    return workflow


def _out(*fields):
    """Connect a workflow's outputs to a node's inputs of the same name."""
    return [(f"outputnode.{f}", f) for f in fields]


def _connect_report(workflow, report_wf, figures, table_views):
    """Keep tables, figures and views."""
    keep, outputnode = workflow.get_node("keep"), workflow.get_node("outputnode")
    kept = [f"{f}s" for f in (*report_stage.TABLES, *report_stage.DICTIONARIES)]
    if figures:
        kept += ["figure_files", "figure_indexes"]
        workflow.connect([(report_wf, outputnode, _out("figure_files"))])
    if table_views:
        kept.append("view_files")
    workflow.connect([(report_wf, keep, _out(*kept))])


def _add_corrected(workflow, contrasts, corrected, package, kept):
    """Threshold by the package's corrected p; returns a source of `_join_results`."""
    read, index = workflow.get_node("read"), [i for i, _, _ in corrected]
    each = {
        "control": [control for _, control, _ in corrected],
        "tail": [side for _, _, side in corrected],
        "stat_type": [contrasts[i].stat_type for i in index],
        "contrast_name": [contrasts[i].name for i in index],
    }
    threshold_corrected = pe.MapNode(
        ThresholdCorrected(**kept),
        iterfield=["stat_file", "mask_file", "logp_file", *each],
        name="threshold_corrected",
        mem_gb=0.5,
    )
    threshold_corrected.inputs.trait_set(**each)
    if package is not None:
        threshold_corrected.inputs.package = package
    for field in ("stat_file", "mask_file"):
        pick = pe.Node(PickItems(index=index), name=f"pick_{field}s", run_without_submitting=True)
        workflow.connect(
            [
                (read, pick, [(f"{field}s", "inlist")]),
                (pick, threshold_corrected, [("out", field)]),
            ]
        )
    workflow.connect(read, "corrected_logp_files", threshold_corrected, "logp_file")
    names = {f: f.removesuffix("s") for f in _JOINED if "logp" not in f}
    return threshold_corrected, names


def _join_results(workflow, sources, report_wf):
    """Put the thresholded maps of all inferences into one list."""
    read, keep, outputnode = map(workflow.get_node, ("read", "keep", "outputnode"))
    for field in _JOINED:
        join = pe.Node(
            JoinLists(len(sources), ravel_inputs=True),
            name=f"join_{field}",
            run_without_submitting=True,
        )
        for number, (source, names) in enumerate(sources, start=1):
            if field in names:
                workflow.connect(source, names[field], join, f"in{number}")
            else:
                workflow.connect(read, "corrected_logp_files", join, f"in{number}")
        # Tables list the p of peaks, the maps that are kept show what the control is about.
        into = "inference_logp_files" if field == "logp_files" else field.removeprefix("peak_")
        workflow.connect(join, "out", report_wf, f"inputnode.{into}")
        if field != "peak_logp_files":
            workflow.connect(join, "out", keep, field)
        if field in OUTPUTS:
            workflow.connect(join, "out", outputnode, field)


def _repeat_contrast_maps(workflow, report_wf, contrasts):
    """Give every thresholded map the maps of its contrast."""
    read = workflow.get_node("read")
    for field in (*CONTRAST_OUTPUTS, "mask_files"):
        repeat = pe.Node(
            PickItems(index=contrasts), name=f"repeat_{field}", run_without_submitting=True
        )
        workflow.connect(
            [
                (read, repeat, [(field, "inlist")]),
                (repeat, report_wf, [("out", f"inputnode.{field}")]),
            ]
        )


__all__ = ["PeerContrast", "init_peer_wf"]
