"""A whole group analysis: collect, model, infer, report, keep."""

import json
from typing import Any

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface

from nipype_group.controls import CONTROLS, Threshold, permutation_control, side_tested
from nipype_group.interfaces import FindConfidenceSets, GroupDerivatives
from nipype_group.interfaces.atlas_inputs import INSTALLED
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.workflows import collect as collect_stage
from nipype_group.workflows import equivalence as equivalence_stage
from nipype_group.workflows import model as model_stage
from nipype_group.workflows import parametric as parametric_stage
from nipype_group.workflows import permutation as permutation_stage
from nipype_group.workflows import report as report_stage
from nipype_group.workflows.thresholded import (
    MADE,
    REPEATED,
    ThresholdedMap,
    gather_maps,
    named_maps,
    sided_thresholds,
)

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
# Files of the model itself that the derivatives keep, and of its error or those of its contrasts.
_OF_MODEL = ("r2_file",)
_OF_ERROR = ("smoothness_file", "dof_file")
_OF_CONTRASTS = ("smoothness_files", "dof_files", "dof_numerator_files")
_SHUFFLES = ("shuffles_file", "inputnode.shuffles_file")
_CONTRAST_MAPS = [
    (f"outputnode.{field}", f"inputnode.contrast_{field}")
    for field in ("z_files", "effect_files", "p_files")
]
_ERROR_FIELDS = ("smoothness_file", "rpv_file", "dof_file")
# Inference looks at the search volume alone.
_SEARCHED = ("outputnode.search_mask_file", "inputnode.mask_file")


def _inferred_maps(settings):
    """Return all thresholded maps by inference and contrast, as the stages make them."""
    tests, kinds, tails = settings.tests, settings.stat_types, settings.tails
    n_contrasts = len(tests) - len(settings.conjunctions)
    sided = sided_thresholds(settings, tests, tails)
    maps = [
        ThresholdedMap(i, threshold, kinds[i])
        for thresholds in sided
        for i, threshold in enumerate(thresholds)
        # Conjunctions, which stand last, have no p of clusters.
        if i < n_contrasts or not CONTROLS[threshold.control].of_clusters
    ]
    if not settings.n_permutations:
        return maps
    controls = [permutation_control(name).name for name in settings.statistics]
    if settings.early_stop:
        controls = ["permutation-fdr"]
    # Smoothed variances or variance groups make another statistic than the model's.
    own = settings.own_statistic
    symbol = "t" if settings.variance_fwhm_mm else "z"
    # Held weights give t or F as the model's.
    changed = settings.own_variance or settings.lacks_voxels
    tail, alpha = settings.tail_of_shuffles, settings.alpha_of_shuffles
    return maps + [
        ThresholdedMap(
            i,
            Threshold(control, alpha, side_tested(tail, test)),
            symbol if changed else kinds[i],
            own_statistic=own,
        )
        for control in controls
        for i, test in enumerate(tests)
        if i < n_contrasts or not CONTROLS[control].of_clusters
    ]


def thresholded_maps(settings: AnalysisSettings) -> list[ThresholdedMap]:
    """Return the thresholded maps that an analysis makes, named, in the order of the results."""
    return named_maps(_inferred_maps(settings), settings.contrast_labels)[0]


def init_group_wf(*, settings: AnalysisSettings, name: str = "group_wf") -> pe.Workflow:
    """Build a whole group analysis, from maps to BIDS derivatives.

    Workflow Graph
        .. workflow::

            from nipype_group.workflows import AnalysisSettings, init_group_wf
            settings = AnalysisSettings(
                contrasts=("age=age",), formula="age", n_permutations=1000
            )
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
    map_covariates
        Covariates that are maps, as CollectMaps takes them.
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
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=list(INPUTS)), name="inputnode")
    outputnode = pe.Node(IdentityInterface(fields=list(OUTPUTS)), name="outputnode")
    inferred = _inferred_maps(settings)
    maps, places = named_maps(inferred, settings.contrast_labels)
    collect_wf, model_wf, parametric_wf = add_estimates(workflow, inputnode, settings)
    report_wf = report_stage.init_report_wf(
        settings=settings,
        maps=tuple(maps),
        tails=tuple(settings.tails[one.contrast] for one in maps),
        there=_what_there_is(settings),
        regions=_region_inputs(settings),
    )
    keep = _keep(settings, maps)
    workflow.connect(
        [
            (inputnode, keep, [("output_dir", "output_dir"), ("bids_dir", "source_dir")]),
            (collect_wf, outputnode, _out("observations", "excluded", "mask_file", "stack_file")),
            (model_wf, outputnode, _out("design_file", "contrasts_file", "model_file")),
            (model_wf, outputnode, _out(*model_stage.MAP_OUTPUTS)),
            (keep, outputnode, [(f, f) for f in ("out_files", "group_dir")]),
        ]
    )
    stages = [collect_wf, model_wf, parametric_wf, report_wf]
    if settings.n_permutations:
        stages.append(
            permutation_stage.init_permutation_wf(
                settings=settings,
                varying_dof=settings.lacks_voxels,
                estimator=settings.estimator,
                knapp_hartung=settings.knapp_hartung,
            )
        )
        _connect_permutation(workflow, settings, *stages)
    _connect_report(workflow, settings, *stages[:4])
    _connect_sizes(workflow, settings, collect_wf, model_wf)
    _gather(workflow, settings, maps, places, *stages[1:])
    return workflow


def add_estimates(
    workflow: pe.Workflow,
    inputnode: pe.Node,
    settings: AnalysisSettings,
    smooth_all: bool = False,
) -> tuple[pe.Workflow, pe.Workflow, pe.Workflow]:
    """Add what leads from maps to thresholded maps; returns its three workflows.

    Parameters
    ----------
    workflow : Workflow
    inputnode : Node
        With the inputs of `init_group_wf`.
    settings : AnalysisSettings
    smooth_all : bool
        As `init_collect_wf` takes it.

    Returns
    -------
    collect_wf, model_wf, parametric_wf : Workflow
        Of the maps, of the model and its contrasts, and of the thresholds.
    """
    collect_wf = collect_stage.init_collect_wf(
        settings=settings,
        variables=settings.variables,
        mean_for=settings.mean_for,
        with_variances=settings.takes_variances,
        map_covariates=settings.map_covariates,
        n_procs=settings.n_procs,
        smooth_all=smooth_all,
    )
    model_wf = model_stage.init_model_wf(
        settings=settings,
        tail=settings.tail,
        by_permutation=settings.permutes_blocks,
        not_of_conjunctions=settings.not_of_conjunctions,
    )
    parametric_wf = parametric_stage.init_parametric_wf(
        settings=settings,
        contrasts=settings.contrasts,
        tails=settings.tails,
        each=_of_each_contrast(settings),
        atlases=(INSTALLED,) if settings.atlases is None else settings.atlases,
        templates=settings.tdp_template != "none",
    )
    workflow.connect(
        [
            (inputnode, collect_wf, [(f, f"inputnode.{f}") for f in collect_stage.INPUTS]),
            (inputnode, model_wf, [("design_table", "inputnode.design_table")]),
            (collect_wf, model_wf, _through(*model_stage.INPUTS, without=("design_table",))),
            (model_wf, parametric_wf, _through("z_files", "stat_files")),
            (model_wf, parametric_wf, _fields_of_errors(settings)),
        ]
    )
    if "mask_file" in _of_each_contrast(settings):
        # Maps that lack a voxel may determine one contrast and not another.
        searched = ("outputnode.search_mask_files", "inputnode.mask_file")
        workflow.connect([(model_wf, parametric_wf, [searched])])
    else:
        workflow.connect([(collect_wf, parametric_wf, [_SEARCHED])])
    return collect_wf, model_wf, parametric_wf


def _of_each_contrast(settings):
    """Return what each contrast has of its own: where it is searched, and its error."""
    if settings.by_contrast:
        resels = () if settings.nonstationary else ("rpv_file",)
        return ("mask_file", *(f for f in _ERROR_FIELDS if f not in resels))
    return ("mask_file",) if settings.lacks_voxels else ()


def _multivariate_fields(settings):
    return model_stage.MULTIVARIATE_OUTPUTS if settings.multivariate else ()


def _size_fields(settings):
    return model_stage.SIZE_OUTPUTS if settings.sizes_of_contrasts else ()


def _fields_of_errors(settings):
    """Connect smoothness and degrees of freedom: of the model, or of each contrast's error."""
    ending = "s" if settings.by_contrast else ""
    return [(f"outputnode.{f}{ending}", f"inputnode.{f}") for f in _ERROR_FIELDS]


def _keep(settings, maps):
    """Return the node that keeps derivatives."""
    keep = pe.Node(
        GroupDerivatives(
            results=[one.name for one in maps],
            views=list(settings.table_views),
            also_write=list(settings.also_write),
            viewer=settings.viewer,
            nidm=settings.nidm,
            parameters=json.dumps(settings.as_parameters()),
        ),
        name="keep",
        mem_gb=0.5,
    )
    for field in ("task", "space"):
        if getattr(settings, field) is not None:
            setattr(keep.inputs, field, getattr(settings, field))
    if settings.n_permutations:
        keep.inputs.permuted_contrasts = settings.contrast_labels
    return keep


def _what_there_is(settings):
    """Return what the report finds, as its builder names it."""
    there = ["maps", "design", "effects"]
    if settings.lacks_voxels:
        there.append("masks")
    if settings.own_errors:
        there.append("errors")
    if settings.map_covariates:
        there.append("covariates")
    if settings.n_permutations and not settings.early_stop:
        there.append("nulls")
    if settings.tdp_template != "none":
        there.append("templates")
    if settings.sizes_of_contrasts:
        there.append("sizes")
    return tuple(there)


def _through(*fields, without=()):
    """Connect a workflow's outputs to the inputs of the same name of the next."""
    return [(f"outputnode.{f}", f"inputnode.{f}") for f in fields if f not in without]


def _out(*fields):
    """Connect a workflow's outputs to a node's inputs of the same name."""
    return [(f"outputnode.{f}", f) for f in fields]


def why_no_region_models(settings: AnalysisSettings) -> str | None:
    """Return why an analysis has no models of regions, in words; None where it has them."""
    if not settings.regions or not settings.labels_regions:
        return "they are not asked for"
    if settings.takes_variances:
        # Those of the means of regions depend on how noise varies together between voxels.
        return f"the estimator {settings.estimator} takes variances, which are those of voxels"
    if settings.map_covariates:
        return "covariates that are maps are those of voxels"
    return None


def region_model_inputs(settings: AnalysisSettings) -> dict[str, Any]:
    """Return the inputs of RegionModels that decide its estimates and p without shuffles."""
    chosen = {
        "tail": settings.tail,
        "atlases": None if settings.atlases is None else list(settings.atlases),
        "contrast_tails": model_stage.listed_sides(settings.contrast_tails) or None,
        "sphericity": settings.sphericity if settings.own_errors else None,
        "estimator": settings.estimator,
        "dof_method": settings.dof_method,
    }
    return {name: value for name, value in chosen.items() if value is not None}


def _region_inputs(settings):
    """Return the inputs of RegionModels, None where no models of regions are made."""
    if why_no_region_models(settings):
        return None
    why_none = _why_regions_are_not_permuted(settings)
    chosen = {
        **region_model_inputs(settings),
        "alpha": settings.alpha,
        "effect_sizes": list(settings.sizes_of_contrasts) or None,
        "effect_size_level": settings.effect_size_level if settings.sizes_of_contrasts else None,
        "permutation_tail": settings.permutation_tail,
        "n_permutations": 0 if why_none else settings.n_permutations,
        "notes": [f"Regions have no p by permutation: {why_none}"] if why_none else None,
        "seed": settings.seed,
        "shuffling": settings.shuffling,
        "within_shuffling": settings.within_shuffling,
        "shuffled_estimates": settings.shuffled_estimates,
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


def _connect_report(workflow, settings, collect_wf, model_wf, parametric_wf, report_wf):
    """Connect tables, figures, regions, quality and derivatives."""
    keep, outputnode = workflow.get_node("keep"), workflow.get_node("outputnode")
    of_maps = ("observations", "excluded", "mask_notes", *collect_stage.MASKS)
    fields = [f"{f}s" for f in (*report_stage.TABLES, *report_stage.DICTIONARIES)]
    fields += report_stage.QUALITY
    if _region_inputs(settings) is not None:
        fields += report_stage.REGIONS
    # The explained share is that of least squares.
    of_model = () if settings.by_estimator else _OF_MODEL
    of_model += model_stage.R2_OUTPUTS if settings.sizes_model else ()
    of_errors = _OF_CONTRASTS if settings.by_contrast else _OF_ERROR
    if settings.by_contrast:
        own = settings.own_errors
        of_errors += model_stage.TERM_OUTPUTS if own else model_stage.FIT_OUTPUTS
    if settings.weighs_maps:
        of_errors += model_stage.WEIGHT_OUTPUTS
    if settings.map_covariates:
        of_errors += model_stage.COVARIATE_OUTPUTS
    if settings.pools_covariance:
        of_errors += model_stage.COVARIANCE_OUTPUTS
        if _region_inputs(settings) is not None:
            workflow.connect([(model_wf, report_wf, _through(*model_stage.COVARIANCE_OUTPUTS))])
    if settings.table_views:
        fields.append("view_files")
    if settings.figures:
        fields += ["figure_files", "figure_indexes", "peak_values_files"]
    workflow.connect(
        [
            (collect_wf, report_wf, [_SEARCHED]),
            (collect_wf, report_wf, _through(*report_stage.MAPS, *report_stage.COVERAGE)),
            (collect_wf, report_wf, [("outputnode.mask_file", "inputnode.model_mask_file")]),
            (model_wf, report_wf, _through(*report_stage.DESIGN)),
            (model_wf, report_wf, _CONTRAST_MAPS),
            (collect_wf, keep, _out(*of_maps)),
            (model_wf, keep, _out(*report_stage.DESIGN, *model_stage.MAP_OUTPUTS)),
            (model_wf, keep, _out(*of_model)),
            (model_wf, keep, _out(*of_errors)),
            (model_wf, keep, _out(*_multivariate_fields(settings))),
            (model_wf, keep, _out(*_size_fields(settings))),
            (model_wf, report_wf, _through(*_size_fields(settings))),
            (model_wf, keep, [("outputnode.notes", "statistic_notes")]),
            (report_wf, keep, _out(*fields)),
            (collect_wf, report_wf, _through(*_covariate_stack(settings))),
            (report_wf, outputnode, _out(*(f for f in fields if f in OUTPUTS))),
        ]
    )
    if settings.ari_thresholds_z:
        outputs = _out(*parametric_stage.ARI_OUTPUTS)
        workflow.connect([(parametric_wf, keep, outputs), (parametric_wf, outputnode, outputs)])
        workflow.connect([(parametric_wf, report_wf, _through("tdp_files"))])


def _covariate_stack(settings):
    return ("covariate_stack_file",) if settings.map_covariates else ()


def _connect_sizes(workflow, settings, collect_wf, model_wf):
    """Add what tells how large effects are, where it is asked for."""
    if settings.confidence_set is not None:
        _connect_sets(workflow, settings, collect_wf, model_wf)
    if settings.equivalence is not None:
        _connect_equivalence(workflow, settings, model_wf)


def _connect_equivalence(workflow, settings, model_wf):
    """Add the workflow of equivalence, and give the derivatives what it makes."""
    keep = workflow.get_node("keep")
    equivalence_wf = equivalence_stage.init_equivalence_wf(
        settings=settings, contrasts=settings.contrast_names
    )
    keep.inputs.equivalence_results = equivalence_stage.result_names(
        settings, settings.contrast_labels
    )
    kept = [(f"outputnode.{f}", f"equivalence_{f}") for f in equivalence_stage.OUTPUTS]
    of_model = ("equivalence_p_files", "equivalence_z_files", "effect_files", "variance_files")
    workflow.connect(
        [
            (model_wf, equivalence_wf, _through(*of_model, "search_mask_files")),
            (model_wf, keep, _out(*model_stage.EQUIVALENCE_OUTPUTS)),
            (equivalence_wf, keep, kept),
        ]
    )


def _connect_sets(workflow, settings, collect_wf, model_wf):
    """Add the node of confidence sets, and give the derivatives what it makes."""
    keep = workflow.get_node("keep")
    confidence_sets = pe.Node(
        FindConfidenceSets(
            level=settings.confidence_set,
            confidence=settings.set_confidence,
            n_draws=settings.set_draws,
            seed=settings.seed,
            no_figures=not settings.figures,
        ),
        name="confidence_sets",
        n_procs=settings.n_procs,
        mem_gb=1.0,
    )
    if settings.space is not None:
        confidence_sets.inputs.space = settings.space
    made = [("contrast_labels", "set_labels"), ("summary_files", "set_summary_files")]
    made += [(name, name) for name in ("inner_files", "outer_files")]
    if settings.figures:
        made += [("figure_files", "set_figure_files"), ("index_file", "set_figure_index")]
    of_maps = ("stack_file", "mask_file", "search_mask_file")
    workflow.connect(
        [
            (collect_wf, confidence_sets, _out(*of_maps)),
            (model_wf, confidence_sets, _out(*report_stage.DESIGN)),
            (confidence_sets, keep, made),
        ]
    )


def _connect_permutation(
    workflow, settings, collect_wf, model_wf, parametric_wf, report_wf, permutation_wf
):
    """Connect shuffles with what they take and what takes them."""
    inputnode, outputnode, keep = map(workflow.get_node, ("inputnode", "outputnode", "keep"))
    kept = ["plan_file", "logp_unc_files", "logp_fdr_files"]
    told = ["plan_file"]
    if not settings.early_stop:
        kept.append("nulldist_files")
        told += ["logp_fwe_files", "nulldist_files"]
        workflow.connect([(permutation_wf, report_wf, _through("nulldist_files"))])
    if "tfce" in settings.statistics:
        kept += ["tfce_files", "tfce_logp_unc_files", "tfce_logp_fdr_files"]
    if settings.tdp_template != "none":
        kept.append("template_files")
        workflow.connect([(permutation_wf, parametric_wf, _through("template_files"))])
    if settings.own_statistic:
        workflow.connect(permutation_wf, "outputnode.stat_files", keep, "permuted_stat_files")
    if settings.lacks_voxels or settings.by_estimator:
        workflow.connect([(model_wf, permutation_wf, _through("search_mask_files"))])
    if settings.takes_variances:
        workflow.connect([(collect_wf, permutation_wf, _through("variance_stack_file"))])
    if settings.map_covariates:
        workflow.connect([(collect_wf, permutation_wf, _through(*_covariate_stack(settings)))])
    workflow.connect(
        [
            (inputnode, permutation_wf, [_SHUFFLES]),
            (inputnode, report_wf, [_SHUFFLES]),
            (collect_wf, permutation_wf, [*_through("stack_file", "observations"), _SEARCHED]),
            (model_wf, permutation_wf, _through(*report_stage.DESIGN)),
            (permutation_wf, keep, _out(*kept)),
            (permutation_wf, outputnode, _out(*told)),
        ]
    )


def _gather(workflow, settings, maps, places, model_wf, parametric_wf, report_wf, *shuffled):
    """Give report and derivatives what belongs to every thresholded map, in one order."""
    keep, outputnode = workflow.get_node("keep"), workflow.get_node("outputnode")
    own = bool(shuffled) and settings.own_statistic
    more = [*(["search_mask_files"] if settings.lacks_voxels else [])]
    more += ["template_files"] if settings.tdp_template != "none" else []
    gather = gather_maps(maps, places, 1 + len(shuffled), 1 + own, more)
    of_contrast = [f for f in (*REPEATED, *more) if f != "template_files"]
    workflow.connect(
        [
            (parametric_wf, gather, [(f"outputnode.{f}", f"{f}_1") for f in MADE]),
            (model_wf, gather, [(f"outputnode.{f}", f"{f}_1") for f in of_contrast]),
            (gather, report_wf, [(f, f"inputnode.{into}") for f, into in MADE.items()]),
            (gather, report_wf, [(f, f"inputnode.{f}") for f in REPEATED]),
            (gather, keep, [(f, f) for f in MADE if f != "peak_logp_files"]),
            (gather, outputnode, [(f, f) for f in MADE if f in OUTPUTS]),
        ]
    )
    if settings.lacks_voxels:
        workflow.connect(gather, "search_mask_files", report_wf, "inputnode.mask_files")
    if not shuffled:
        return
    (permutation_wf,) = shuffled
    logp = "logp_fdr_files" if settings.early_stop else "logp_fwe_files"
    made = {f: f for f in MADE} | {"logp_files": logp}
    if settings.early_stop:
        made["peak_logp_files"] = logp
    workflow.connect(
        [(permutation_wf, gather, [(f"outputnode.{out}", f"{f}_2") for f, out in made.items()])]
    )
    if own:
        workflow.connect(permutation_wf, "outputnode.stat_files", gather, "stat_files_2")
    if settings.tdp_template != "none":
        # Calibrated templates bound the true discoveries of clusters in the tables too.
        workflow.connect(permutation_wf, "outputnode.template_files", gather, "template_files_1")
        workflow.connect(gather, "template_files", report_wf, "inputnode.template_files")
