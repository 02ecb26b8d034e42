"""A whole group analysis: collect, model, infer, report, keep."""

import json

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface

from nipype_group.controls import CONTROLS, permutation_control, side_tested
from nipype_group.design.contrasts import contrast_label, split_definition
from nipype_group.interfaces import GroupDerivatives
from nipype_group.interfaces.atlas_inputs import INSTALLED, NO_ATLAS
from nipype_group.interfaces.routing import JoinLists, PickItems
from nipype_group.workflows import collect as collect_stage
from nipype_group.workflows import model as model_stage
from nipype_group.workflows import parametric as parametric_stage
from nipype_group.workflows import permutation as permutation_stage
from nipype_group.workflows import report as report_stage
from nipype_group.workflows.settings import AnalysisSettings

INPUTS = (*collect_stage.INPUTS, "design_table", "shuffles_file", "output_dir")
_TABLE_OUTPUTS = ("clusters_files", "peaks_files", "labels_files")
OUTPUTS = (
    "out_files",
    "group_dir",
    "observations",
    "excluded",
    "mask_file",
    "stack_file",
    "design_file",
    "contrasts_file",
    "model_file",
    *model_stage.MAP_OUTPUTS,
    "thresholded_files",
    "label_files",
    *_TABLE_OUTPUTS,
    *parametric_stage.ARI_OUTPUTS,
    "plan_file",
    "logp_fwe_files",
    "nulldist_files",
    "quality_file",
    *report_stage.REGION_TABLES,
    "figure_files",
)
# Maps of a contrast that every thresholded map of it needs again.
_REPEATED = ("stat_files", "z_files", "effect_files", "variance_files", "p_files")
_JOINED = (
    "thresholded_files",
    "label_files",
    "logp_files",
    "peak_logp_files",
    "summary_files",
)
# Files of the model itself that the derivatives keep.
_OF_MODEL = ("r2_file", "smoothness_file", "dof_file")
_SHUFFLES = ("shuffles_file", "inputnode.shuffles_file")
_CONTRAST_MAPS = [
    (f"outputnode.{field}", f"inputnode.contrast_{field}") for field in ("z_files", "effect_files")
]
# Inference looks at the search volume alone.
_SEARCHED = ("outputnode.search_mask_file", "inputnode.mask_file")


class _Results:
    """Names and kinds of all thresholded maps of an analysis, known before it runs."""

    def __init__(self, settings):
        tests = settings.tests
        labels = [contrast_label(split_definition(text)[0]) for text in settings.contrasts]
        made = [
            (i, control, side_tested(settings.tail, tests[i]))
            for control in settings.height_controls
            for i in range(len(tests))
        ]
        if settings.cluster_control:
            made += [
                (i, "rft-cluster", side_tested(settings.tail, test))
                for i, test in enumerate(tests)
            ]
        permuted = [permutation_control(name).name for name in settings.statistics]
        if settings.early_stop:
            permuted = ["permutation-fdr"]
        if settings.n_permutations:
            made += [
                (i, control, side_tested(settings.tail, tests[i]))
                for control in permuted
                for i in range(len(tests))
            ]
        self.contrasts = [i for i, _, _ in made]
        self.controls = [control for _, control, _ in made]
        self.names = [
            f"contrast-{labels[i]}_"
            f"desc-{CONTROLS[control].result_desc(tail, settings.threshold_z)}"
            for i, control, tail in made
        ]
        # Smoothed variances or variance groups make another statistic than the model's.
        own = [settings.own_statistic and control in permuted for _, control, _ in made]
        symbol = "t" if settings.variance_fwhm_mm else "z"
        self.stat_types = [
            symbol if other else tests[i] for (i, _, _), other in zip(made, own, strict=True)
        ]
        self.stat_positions = [
            i + len(tests) * other for (i, _, _), other in zip(made, own, strict=True)
        ]
        self.adjustments = [CONTROLS[control].adjusts for _, control, _ in made]
        self.units = [
            kind if control in permuted else "z"
            for kind, (_, control, _) in zip(self.stat_types, made, strict=True)
        ]
        self.permuted = labels


def init_group_wf(*, settings: AnalysisSettings, name: str = "group_wf") -> pe.Workflow:
    """Build a whole group analysis, from maps to BIDS derivatives.

    Workflow Graph
        .. workflow::

            from nipype_group.workflows import AnalysisSettings, init_group_wf
            settings = AnalysisSettings(("age=age",), formula="age", n_permutations=1000)
            wf = init_group_wf(settings=settings)

    Parameters
    ----------
    settings : AnalysisSettings
        Model, contrasts, inference and reporting.
    name : str
        Name of the workflow.

    Inputs
    ------
    bids_dir
        Top folder of BIDS derivatives, with ``select``; one source of maps is given.
    select
        KEY=VALUE[,VALUE] items.
    pattern
        Glob with ``{subject}``.
    maps_table
        TSV with participant_id and map.
    map_files
        Maps given directly, with ``participant_ids``.
    participant_ids
        Participant of each of ``map_files``.
    stack_file
        4D image, a map a volume.
    participants
        Table of participants; with ``stack_file`` a row a volume.
    variance_select
        With ``bids_dir``: KEY=VALUE that tell the effects' variances.
    variance_pattern
        With ``pattern``: the same for the effects' variances.
    left_out_folders
        With ``pattern``: folders that are not gone into, as those that the run fills.
    variance_files
        With ``map_files``: variance of each effect.
    variance_stack_file
        With ``stack_file``: 4D image of the effects' variances.
    mask_file
        Explicit mask.
    search_volume
        Mask of the voxels that inference searches.
    design_table
        Design, where the settings have no formula.
    shuffles_file
        Shuffles that permutation uses, a row each.
    output_dir
        Top folder of the derivatives.

    Outputs
    -------
    out_files
        All derivatives.
    group_dir
        Their folder.
    observations
        TSV, a row a map.
    excluded
        TSV, what was left out and why.
    mask_file
        Voxels analysed.
    stack_file
        4D maps inside the mask.
    design_file
        TSV of keys and regressors.
    contrasts_file
        Contrasts as JSON.
    model_file
        Description of the fit.
    effect_files
        Effect of every contrast.
    variance_files
        Its variance.
    stat_files
        t or F.
    z_files
        z.
    p_files
        Uncorrected p.
    effect_size_files
        Cohen's d or partial R2.
    thresholded_files
        Thresholded maps: by height control and contrast, then by permutation.
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
    plan_file
        Plan of the permutations; undefined without, as the next two.
    logp_fwe_files
        -log10 of the corrected p by permutation.
    nulldist_files
        Null distributions.
    quality_file
        Quality of every map.
    regions_files
        Models of atlas regions, of every contrast; undefined without, as the next.
    values_files
        Means of the regions in every map, of every atlas.
    figure_files
        All figures; undefined without.
    """
    results = _Results(settings)
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=list(INPUTS)), name="inputnode")
    outputnode = pe.Node(IdentityInterface(fields=list(OUTPUTS)), name="outputnode")
    collect_wf = collect_stage.init_collect_wf(
        variables=settings.variables,
        smoothing_fwhm_mm=settings.smoothing_fwhm_mm if settings.smooths else (),
        min_coverage=settings.min_coverage,
        mask_threshold=settings.mask_threshold,
        zero_is_value=settings.zero_is_value,
        ids_as_numbers=settings.ids_as_numbers,
        on_bad_map=settings.on_bad_map,
        n_procs=settings.n_procs,
    )
    model_wf = model_stage.init_model_wf(
        contrasts=settings.contrasts,
        formula=settings.formula,
        estimator=settings.estimator,
        tail=settings.tail,
    )
    parametric_wf = parametric_stage.init_parametric_wf(
        contrasts=settings.contrasts,
        height_controls=settings.height_controls,
        alpha=settings.alpha,
        threshold_z=settings.threshold_z,
        tail=settings.tail,
        cluster_extent=settings.cluster_extent,
        connectivity=settings.connectivity,
        cluster_control=settings.cluster_control,
        cluster_forming_z=settings.cluster_forming_z,
        cluster_forming_p=settings.cluster_forming_p,
        nonstationary=settings.nonstationary,
        ari_thresholds_z=settings.ari_thresholds_z,
        ari_atlases=(INSTALLED,) if settings.atlases is None else settings.atlases,
        ari_templates=settings.tdp_template != "none",
        each_mask=settings.min_coverage < 1,
    )
    report_wf = report_stage.init_report_wf(
        results=tuple(results.names),
        stat_types=tuple(results.stat_types),
        adjustments=tuple(results.adjustments),
        units=tuple(results.units),
        inferences=report_stage.fwe_inferences(results.contrasts, results.controls),
        detailed=report_stage.strictest_first(results.names, results.controls),
        atlases=settings.atlases,
        space=settings.space,
        alpha=settings.alpha,
        ari=bool(settings.ari_thresholds_z),
        tail=settings.tail,
        templates=settings.tdp_template != "none",
        permuted=bool(settings.n_permutations) and not settings.early_stop,
        regions=_region_settings(settings),
        views=settings.table_views,
        figures=settings.figures,
        each_mask=settings.min_coverage < 1,
    )
    keep = pe.Node(
        GroupDerivatives(
            results=results.names,
            views=list(settings.table_views),
            viewer=settings.viewer,
            nidm=settings.nidm,
        ),
        name="keep",
        mem_gb=0.5,
    )
    keep.inputs.parameters = json.dumps(settings.as_parameters())
    for field in ("task", "space"):
        if getattr(settings, field) is not None:
            setattr(keep.inputs, field, getattr(settings, field))
    workflow.connect(
        [
            (inputnode, collect_wf, [(f, f"inputnode.{f}") for f in collect_stage.INPUTS]),
            (inputnode, model_wf, [("design_table", "inputnode.design_table")]),
            (inputnode, keep, [("output_dir", "output_dir"), ("bids_dir", "source_dir")]),
            (collect_wf, model_wf, _through(*model_stage.INPUTS, without=("design_table",))),
            (collect_wf, report_wf, [_SEARCHED]),
            (model_wf, parametric_wf, _through("z_files", "stat_files")),
            (model_wf, parametric_wf, _through("smoothness_file", "rpv_file", "dof_file")),
            (model_wf, report_wf, _through(*report_stage.DESIGN)),
            (collect_wf, report_wf, _through(*report_stage.MAPS, *report_stage.COVERAGE)),
            (collect_wf, report_wf, [("outputnode.mask_file", "inputnode.model_mask_file")]),
            (model_wf, report_wf, _CONTRAST_MAPS),
            (
                collect_wf,
                keep,
                _out("observations", "excluded", "mask_notes", *collect_stage.MASKS),
            ),
            (model_wf, keep, _out(*report_stage.DESIGN, *_OF_MODEL)),
            (model_wf, keep, _out(*model_stage.MAP_OUTPUTS)),
            (model_wf, keep, [("outputnode.notes", "statistic_notes")]),
            (collect_wf, outputnode, _out("observations", "excluded", "mask_file", "stack_file")),
            (model_wf, outputnode, _out("design_file", "contrasts_file", "model_file")),
            (model_wf, outputnode, _out(*model_stage.MAP_OUTPUTS)),
            (report_wf, outputnode, _out(*_TABLE_OUTPUTS)),
            (keep, outputnode, [(f, f) for f in ("out_files", "group_dir")]),
        ]
    )
    if settings.min_coverage < 1:
        # Maps that lack a voxel may determine one contrast and not another.
        workflow.connect(
            [(model_wf, parametric_wf, [("outputnode.search_mask_files", "inputnode.mask_file")])]
        )
    else:
        workflow.connect([(collect_wf, parametric_wf, [_SEARCHED])])
    _connect_report(workflow, report_wf, keep, settings)
    if settings.ari_thresholds_z:
        outputs = _out(*parametric_stage.ARI_OUTPUTS)
        workflow.connect([(parametric_wf, keep, outputs), (parametric_wf, outputnode, outputs)])
    sources = [(parametric_wf, {f: f for f in _JOINED})]
    if settings.n_permutations:
        permutation_wf = _add_permutation(workflow, settings, collect_wf, model_wf, keep, results)
        workflow.connect(
            [(inputnode, permutation_wf, [_SHUFFLES]), (inputnode, report_wf, [_SHUFFLES])]
        )
        if settings.min_coverage < 1:
            workflow.connect([(model_wf, permutation_wf, _through("search_mask_files"))])
        outputs, names = ["plan_file"], {f: f for f in _JOINED}
        if settings.early_stop:
            names |= dict.fromkeys(("logp_files", "peak_logp_files"), "logp_fdr_files")
        else:
            outputs += ["logp_fwe_files", "nulldist_files"]
            names["logp_files"] = "logp_fwe_files"
            nulls = ("outputnode.nulldist_files", "inputnode.nulldist_files")
            workflow.connect([(permutation_wf, report_wf, [nulls])])
        workflow.connect([(permutation_wf, outputnode, _out(*outputs))])
        sources.append((permutation_wf, names))
        if settings.tdp_template != "none":
            _use_templates(workflow, permutation_wf, parametric_wf, report_wf, results.contrasts)
    _join_results(workflow, sources, report_wf, keep, outputnode)
    own_statistic = None
    if settings.n_permutations and settings.own_statistic:
        own_statistic = permutation_wf
    _repeat_contrast_maps(workflow, model_wf, report_wf, results, own_statistic)
    if settings.min_coverage < 1:
        repeat_masks = pe.Node(
            PickItems(index=results.contrasts), name="repeat_masks", run_without_submitting=True
        )
        workflow.connect(
            [
                (model_wf, repeat_masks, [("outputnode.search_mask_files", "inlist")]),
                (repeat_masks, report_wf, [("out", "inputnode.mask_files")]),
            ]
        )
    return workflow


def _through(*fields, without=()):
    """Connect a workflow's outputs to the inputs of the same name of the next."""
    return [(f"outputnode.{f}", f"inputnode.{f}") for f in fields if f not in without]


def _out(*fields):
    """Connect a workflow's outputs to a node's inputs of the same name."""
    return [(f"outputnode.{f}", f) for f in fields]


def _region_settings(settings):
    """Return the inputs of RegionModels, None where no models of regions are made."""
    if not settings.regions or settings.atlases in ((), (NO_ATLAS,)):
        return None
    atlases = None if settings.atlases is None else list(settings.atlases)
    why_none = _why_regions_are_not_permuted(settings)
    chosen = {
        "atlases": atlases,
        "n_permutations": 0 if why_none else settings.n_permutations,
        "notes": [f"Regions have no p by permutation: {why_none}"] if why_none else None,
        "seed": settings.seed,
        "shuffling": settings.shuffling,
        "blocks": list(settings.blocks) or None,
        "block_exchange": settings.block_exchange,
    }
    return {name: value for name, value in chosen.items() if value is not None}


def _why_regions_are_not_permuted(settings):
    """Return why regions have no shuffles where voxels have; None where they have."""
    if not settings.n_permutations:
        return None
    if settings.early_stop:
        return "voxels that stop early leave no largest statistic of a shuffle"
    if settings.own_variance:
        return "variance groups and smoothed variances are those of voxels"
    return None


def _connect_report(workflow, report_wf, keep, settings):
    fields = [f"{f}s" for f in (*report_stage.TABLES, *report_stage.DICTIONARIES)]
    fields += report_stage.QUALITY
    if _region_settings(settings) is not None:
        fields += report_stage.REGIONS
    if settings.table_views:
        fields.append("view_files")
    if settings.figures:
        fields += ["figure_files", "figure_indexes", "peak_values_files"]
    shown = [f for f in fields if f in OUTPUTS and f not in _TABLE_OUTPUTS]
    outputnode = workflow.get_node("outputnode")
    workflow.connect([(report_wf, keep, _out(*fields)), (report_wf, outputnode, _out(*shown))])


def _add_permutation(workflow, settings, collect_wf, model_wf, keep, results):
    clusters = "extent" in settings.statistics or "mass" in settings.statistics
    permutation_wf = permutation_stage.init_permutation_wf(
        n_permutations=settings.n_permutations,
        seed=settings.seed,
        tail=settings.tail,
        statistics=settings.statistics,
        cluster_forming_z=settings.cluster_forming_z if clusters else None,
        cluster_forming_p=settings.cluster_forming_p if clusters else None,
        cluster_forming_statistic=settings.cluster_forming_statistic,
        cluster_extent=settings.cluster_extent,
        connectivity=settings.connectivity,
        statistic_scale=settings.statistic_scale,
        variance_fwhm_mm=settings.variance_fwhm_mm,
        shuffling=settings.shuffling,
        method=settings.method,
        blocks=settings.blocks,
        block_exchange=settings.block_exchange,
        variance_groups=settings.variance_groups,
        alpha=settings.alpha,
        p_approximation=settings.p_approximation,
        across_contrasts=settings.across_contrasts,
        template=settings.tdp_template,
        early_stop=settings.early_stop,
        varying_dof=settings.min_coverage < 1,
        n_shards=settings.n_shards,
        n_voxel_shards=settings.n_voxel_shards if settings.n_voxel_shards > 1 else None,
        n_procs=settings.n_procs,
        memory_gb=settings.memory_gb,
    )
    keep.inputs.permuted_contrasts = results.permuted
    kept = ["plan_file", "logp_unc_files", "logp_fdr_files"]
    if not settings.early_stop:
        kept.append("nulldist_files")
    if "tfce" in settings.statistics:
        kept += ["tfce_files", "tfce_logp_unc_files", "tfce_logp_fdr_files"]
    if settings.tdp_template != "none":
        kept.append("template_files")
    if settings.own_statistic:
        workflow.connect(permutation_wf, "outputnode.stat_files", keep, "permuted_stat_files")
    workflow.connect(
        [
            (collect_wf, permutation_wf, [*_through("stack_file", "observations"), _SEARCHED]),
            (model_wf, permutation_wf, _through(*report_stage.DESIGN)),
            (permutation_wf, keep, _out(*kept)),
        ]
    )
    return permutation_wf


def _use_templates(workflow, permutation_wf, parametric_wf, report_wf, contrasts):
    """Let calibrated templates bound the true discoveries, of clusters in the tables too."""
    repeat_templates = pe.Node(
        PickItems(index=contrasts), name="repeat_templates", run_without_submitting=True
    )
    workflow.connect(
        [
            (permutation_wf, parametric_wf, _through("template_files")),
            (permutation_wf, repeat_templates, [("outputnode.template_files", "inlist")]),
            (repeat_templates, report_wf, [("out", "inputnode.template_files")]),
        ]
    )


def _join_results(workflow, sources, report_wf, keep, outputnode):
    """Put the thresholded maps of all inferences into one list."""
    for field in _JOINED:
        join = pe.Node(
            JoinLists(len(sources), ravel_inputs=True),
            name=f"join_{field}",
            run_without_submitting=True,
        )
        for number, (source, names) in enumerate(sources, start=1):
            workflow.connect(source, f"outputnode.{names[field]}", join, f"in{number}")
        # Tables list the p of peaks, the maps that are kept show what the control is about.
        if field == "logp_files":
            workflow.connect(join, "out", report_wf, "inputnode.inference_logp_files")
        else:
            to_report = field.removeprefix("peak_")
            workflow.connect(join, "out", report_wf, f"inputnode.{to_report}")
        if field != "peak_logp_files":
            workflow.connect(join, "out", keep, field)
        if field in OUTPUTS:
            workflow.connect(join, "out", outputnode, field)


def _repeat_contrast_maps(workflow, model_wf, report_wf, results, own_statistic):
    """Give every thresholded map the maps of its contrast.

    Where permutation has a statistic of its own, its maps come after those of the model.
    """
    for field in _REPEATED:
        index = results.stat_positions if field == "stat_files" else results.contrasts
        repeat = pe.Node(
            PickItems(index=index), name=f"repeat_{field}", run_without_submitting=True
        )
        source, out = model_wf, f"outputnode.{field}"
        if field == "stat_files" and own_statistic is not None:
            all_stats = pe.Node(JoinLists(2), name="all_stats", run_without_submitting=True)
            workflow.connect(model_wf, out, all_stats, "in1")
            workflow.connect(own_statistic, out, all_stats, "in2")
            source, out = all_stats, "out"
        workflow.connect(
            [
                (source, repeat, [(out, "inlist")]),
                (repeat, report_wf, [("out", f"inputnode.{field}")]),
            ]
        )
