"""From thresholded maps to tables with region names, region models, quality and figures."""

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface

from nipype_group.choices import NO_ATLAS
from nipype_group.interfaces import AtlasReport, MapQuality, PlotModel, PlotResults, RegionModels
from nipype_group.interfaces.routing import GatherResults
from nipype_group.settings.analysis import AnalysisSettings, PeerSettings
from nipype_group.workflows.thresholded import fwe_inferences, strictest_first

# Fields of every thresholded map, as inputs of the workflow and of AtlasReport.
PER_RESULT = {
    "stat_files": "stat_file",
    "z_files": "z_file",
    "effect_files": "effect_file",
    "variance_files": "variance_file",
    "p_files": "p_file",
    "label_files": "label_file",
    "logp_files": "logp_file",
    "summary_files": "summary_file",
}
DESIGN = ("design_file", "design_json", "contrasts_file")
# Maps of every contrast, as inputs of the workflow and of PlotModel.
PER_CONTRAST = {
    "contrast_z_files": "z_files",
    "contrast_effect_files": "effect_files",
    "contrast_p_files": "p_files",
    "tdp_files": "tdp_files",
    "nulldist_files": "nulldist_files",
}
MAPS = ("stack_file", "observations")
COVERAGE = ("coverage_file", "map_coverage_file")
SIZES = ("size_files", "size_maps")
INPUTS = (
    *PER_RESULT,
    "inference_logp_files",
    "thresholded_files",
    "mask_file",
    "mask_files",
    "model_mask_file",
    "template_files",
    *PER_CONTRAST,
    *MAPS,
    *COVERAGE,
    *DESIGN,
    *SIZES,
    "shuffles_file",
    "covariance_file",
    "covariate_stack_file",
)
TABLES = ("clusters_file", "peaks_file", "labels_file")
DICTIONARIES = ("clusters_json", "peaks_json", "labels_json")
QUALITY = ("quality_file", "quality_json")
REGIONS = ("regions_files", "regions_jsons", "atlas_names", "values_files", "values_jsons")
REGION_TABLES = ("regions_files", "values_files")
_QUALITY_FIGURES = ("strip_figure", "coverage_figure", "outlier_figure", "other_figure_files")
OUTPUTS = (
    *(f"{f}s" for f in (*TABLES, *DICTIONARIES)),
    "view_files",
    *QUALITY,
    *REGIONS,
    "peak_values_files",
    "figure_files",
    "figure_indexes",
)


def init_report_wf(
    *,
    settings: AnalysisSettings | PeerSettings,
    maps: tuple,
    tails: tuple | None = None,
    there: tuple = ("maps", "design", "effects"),
    regions: dict | None = None,
    name: str = "report_wf",
) -> pe.Workflow:
    """Build the workflow that makes tables and figures of the maps, the model and the results.

    Workflow Graph
        .. workflow::

            from nipype_group.controls import Threshold
            from nipype_group.settings import PeerSettings
            from nipype_group.workflows import ThresholdedMap, init_report_wf
            threshold = Threshold("fdr", 0.05, "positive")
            maps = (ThresholdedMap(0, threshold, "t", "contrast-age_desc-fdrBH"),)
            wf = init_report_wf(settings=PeerSettings(), maps=maps)

    Parameters
    ----------
    settings : AnalysisSettings or PeerSettings
        Atlases, space, tables, figures and error rates.
    maps : tuple of ThresholdedMap
        All thresholded maps.
    tails : tuple of {"two-sided", "positive", "negative"}, optional
        Side of the contrast of every map, of its uncorrected p and true discoveries; default: that
        of the settings.
    there : tuple of str
        What there is: "maps" of the subjects, whose quality and values at peaks are told; a
        "design" with the weights of all contrasts, and the "effects" of all contrasts, to be
        drawn; "masks", one of every thresholded map; "nulls", null distributions; "templates" of
        true discovery proportions; "errors", one of every contrast; "sizes" of effects;
        "covariates" that are maps.
    regions : dict, optional
        Inputs of RegionModels, by name; None for no models of regions.
    name : str
        Name of the workflow.

    Inputs
    ------
    stat_files
        Statistic of every thresholded map.
    z_files
        Its z map.
    effect_files
        Its effect.
    variance_files
        Variance of the effect.
    p_files
        Its uncorrected p.
    label_files
        Its cluster ids.
    logp_files
        -log10 of its adjusted p.
    summary_files
        JSON of its threshold.
    inference_logp_files
        -log10 of the p of all results, which ``inferences`` counts.
    thresholded_files
        The maps.
    mask_file
        Voxels tested.
    mask_files
        Voxels tested of every thresholded map, where ``there`` are masks.
    model_mask_file
        Voxels analysed, over which the quality of the maps is told.
    template_files
        Template of every thresholded map, where ``there`` are templates.
    contrast_z_files
        z of every contrast.
    contrast_effect_files
        Its effect.
    contrast_p_files
        Its uncorrected p.
    tdp_files
        True discovery proportions of its clusters, where the settings ask for them.
    nulldist_files
        Null distributions of every contrast, where ``there`` are nulls.
    stack_file
        4D maps.
    observations
        TSV, a row a map.
    coverage_file
        Maps with a value, a voxel.
    map_coverage_file
        What every map has.
    design_file
        TSV of keys and regressors.
    design_json
        Its description.
    contrasts_file
        Contrasts.
    covariate_stack_file
        4D covariates that are maps, where there are some.
    size_files
        Effect sizes and the ends of their intervals, where ``there`` are sizes.
    size_maps
        Contrast and map that each of them is.
    shuffles_file
        Shuffles that permutation of regions uses, a row each.
    covariance_file
        Covariance of visits over voxels, which regions take where it is the error.

    Outputs
    -------
    clusters_files
        Clusters of every thresholded map.
    peaks_files
        Peaks.
    labels_files
        Regions.
    clusters_jsons
        Dictionary of the clusters.
    peaks_jsons
        Dictionary of the peaks.
    labels_jsons
        Dictionary of the regions.
    view_files
        Tables as other packages lay them out: all of a thresholded map, then of the next.
    quality_file
        Quality of every map; undefined without maps, as the next.
    quality_json
        Its dictionary.
    regions_files
        Models of regions, of every contrast; undefined without, as the next four.
    regions_jsons
        Their dictionaries.
    atlas_names
        Atlases of the values.
    values_files
        Values of the regions in every map, of every atlas.
    values_jsons
        Their dictionaries.
    peak_values_files
        Values of all maps at the peaks; undefined without figures, as the next two.
    figure_files
        All figures.
    figure_indexes
        JSON of kind, alternative text and caption of the figures.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=list(INPUTS)), name="inputnode")
    outputnode = pe.Node(IdentityInterface(fields=list(OUTPUTS)), name="outputnode")
    workflow.add_nodes([inputnode, outputnode])
    _add_tables(workflow, settings, maps, tails, there)
    if "maps" in there:
        _add_quality(workflow, settings, there)
    if regions is not None:
        _add_regions(workflow, settings, regions)
    if settings.figures:
        _add_figures(workflow, settings, maps, there)
    return workflow


def _add_tables(workflow, settings, maps, tails, there):
    """Add the tables of every thresholded map."""
    inputnode, outputnode = workflow.get_node("inputnode"), workflow.get_node("outputnode")
    templates = "templates" in there
    tables = pe.MapNode(
        AtlasReport(),
        iterfield=[
            *PER_RESULT.values(),
            "stat_type",
            "adjustment",
            "inferences",
            *(["template_file"] if templates else []),
            *(["mask_file"] if "masks" in there else []),
            *(["contrast_label"] if "sizes" in there else []),
            "tail",
        ],
        name="tables",
        mem_gb=1.2,
    )
    tables.inputs.stat_type = [one.stat_type for one in maps]
    tables.inputs.adjustment = [one.control.adjusts for one in maps]
    tables.inputs.inferences = [list(found) for found in fwe_inferences(maps)]
    tables.inputs.tail = list(tails or [settings.tail] * len(maps))
    if settings.table_views:
        tables.inputs.views = list(settings.table_views)
    if settings.atlases is not None:
        tables.inputs.atlases = list(settings.atlases) or [NO_ATLAS]
    if settings.space is not None:
        tables.inputs.space = settings.space
    if templates:
        workflow.connect(inputnode, "template_files", tables, "template_file")
    if settings.ari_thresholds_z:
        tables.inputs.ari_alpha = settings.alpha_of_discoveries
    if "sizes" in there:
        tables.inputs.contrast_label = [one.label for one in maps]
        tables.inputs.effect_size_level = settings.effect_size_level
        workflow.connect([(inputnode, tables, [(f, f) for f in SIZES])])
    gather_views = pe.Node(
        GatherResults({"view_files": 1}), name="gather_views", run_without_submitting=True
    )
    whole = [("inference_logp_files", "inference_logp_files")]
    searched = [("mask_files" if "masks" in there else "mask_file", "mask_file")]
    workflow.connect(
        [
            (inputnode, tables, [*PER_RESULT.items(), *whole, *searched]),
            (tables, outputnode, [(f, f"{f}s") for f in (*TABLES, *DICTIONARIES)]),
            (tables, gather_views, [("view_files", "view_files_1")]),
            (gather_views, outputnode, [("view_files", "view_files")]),
        ]
    )


def _add_quality(workflow, settings, there):
    """Add the quality of the subjects' maps."""
    inputnode, outputnode = workflow.get_node("inputnode"), workflow.get_node("outputnode")
    drawn = MapQuality(no_figures=not settings.figures, **settings.style_inputs())
    quality = pe.Node(drawn, name="quality", mem_gb=0.8)
    # Influence is that on contrasts where each has an error of its own.
    of_design = DESIGN if "errors" in there else DESIGN[:2]
    workflow.connect(
        [
            (inputnode, quality, [(f, f) for f in (*MAPS, *COVERAGE, *of_design)]),
            (inputnode, quality, [("model_mask_file", "mask_file")]),
            (quality, outputnode, [(f, f) for f in QUALITY]),
        ]
    )


def _add_regions(workflow, settings, chosen):
    """Add the models of regions."""
    inputnode, outputnode = workflow.get_node("inputnode"), workflow.get_node("outputnode")
    regions = pe.Node(
        RegionModels(**chosen),
        name="regions",
        mem_gb=1.2,
    )
    if settings.ari_thresholds_z:
        regions.inputs.ari_alpha = settings.alpha_of_discoveries
        workflow.connect(inputnode, "contrast_z_files", regions, "z_files")
    own = ("mask_file", "shuffles_file", "covariance_file")
    given = [(f, f) for f in (*own, *MAPS, *DESIGN)]
    workflow.connect(
        [(inputnode, regions, given), (regions, outputnode, [(f, f) for f in REGIONS])]
    )


def _add_figures(workflow, settings, maps, there):
    """Add the figures of results and model, and gather them with those of quality."""
    inputnode, outputnode, tables = map(workflow.get_node, ("inputnode", "outputnode", "tables"))
    style = {**settings.anatomy_inputs(), **settings.style_inputs()}
    style["cuts"] = list(settings.figure_cuts)
    if settings.space is not None:
        style["space"] = settings.space
    plot = pe.Node(
        PlotResults(
            names=[one.name for one in maps],
            units=[one.unit for one in maps],
            detailed=list(strictest_first(maps)),
            detail_first=True,
            **style,
        ),
        name="plot",
        mem_gb=1.0,
    )
    shown = ["mask_file", *(DESIGN if "design" in there else DESIGN[2:])]
    of_maps = ["thresholded_files", *(MAPS if "maps" in there else ())]
    of_maps += ["covariate_stack_file"] if "covariates" in there else []
    workflow.connect(
        [
            (inputnode, plot, [(f, f) for f in (*shown, *of_maps)]),
            (inputnode, plot, [("inference_logp_files", "logp_files")]),
            (tables, plot, [(f, f"{f}s") for f in ("clusters_file", "peaks_file")]),
            (plot, outputnode, [("peak_values_files", "peak_values_files")]),
        ]
    )
    indexed = [plot, _add_model_figures(workflow, settings, there, style, shown)]
    drawn = [(node, "figure_files") for node in indexed]
    if "maps" in there:
        quality = workflow.get_node("quality")
        drawn += [(quality, field) for field in _QUALITY_FIGURES]
        indexed.append(quality)
    gather_figures = pe.Node(
        GatherResults({"figure_files": len(drawn), "figure_indexes": len(indexed)}),
        name="gather_figures",
        run_without_submitting=True,
    )
    for i, (node, field) in enumerate(drawn, start=1):
        workflow.connect(node, field, gather_figures, f"figure_files_{i}")
    for i, node in enumerate(indexed, start=1):
        workflow.connect(node, "index_file", gather_figures, f"figure_indexes_{i}")
    workflow.connect(
        [(gather_figures, outputnode, [(f, f) for f in ("figure_files", "figure_indexes")])]
    )


def _add_model_figures(workflow, settings, there, style, shown):
    """Add the figures of maps, design and contrasts as wholes; returns their node."""
    plot_model = pe.Node(
        PlotModel(
            tail=settings.tail_of_shuffles,
            alpha=settings.alpha_of_shuffles,
            tdp_alpha=settings.alpha_of_discoveries,
            threshold_z=settings.figure_threshold_z,
            **style,
        ),
        name="plot_model",
        mem_gb=1.0,
    )
    absent = set() if "nulls" in there else {"nulldist_files"}
    absent |= set() if "effects" in there else {"contrast_effect_files"}
    absent |= set() if settings.ari_thresholds_z else {"tdp_files"}
    given = [(f, f) for f in (*shown, *(MAPS[:1] if "maps" in there else ()))]
    given += [(f, name) for f, name in PER_CONTRAST.items() if f not in absent]
    workflow.connect([(workflow.get_node("inputnode"), plot_model, given)])
    return plot_model
