"""From thresholded maps to tables with region names, region models, quality and figures."""

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface

from nipype_group.controls import CONTROLS, strictness
from nipype_group.interfaces import AtlasReport, MapQuality, PlotResults, RegionModels
from nipype_group.interfaces.atlas_inputs import NO_ATLAS
from nipype_group.interfaces.routing import JoinLists

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
# Maps of every contrast, as inputs of the workflow and of PlotResults.
PER_CONTRAST = {
    "contrast_z_files": "z_files",
    "contrast_effect_files": "effect_files",
    "nulldist_files": "nulldist_files",
}
MAPS = ("stack_file", "observations")
COVERAGE = ("coverage_file", "map_coverage_file")
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
    "shuffles_file",
)
TABLES = ("clusters_file", "peaks_file", "labels_file")
DICTIONARIES = ("clusters_json", "peaks_json", "labels_json")
QUALITY = ("quality_file", "quality_json")
REGIONS = ("regions_files", "regions_jsons", "atlas_names", "values_files", "values_jsons")
REGION_TABLES = ("regions_files", "values_files")
_QUALITY_FIGURES = ("strip_figure", "coverage_figure", "outlier_figure")
OUTPUTS = (
    *(f"{f}s" for f in (*TABLES, *DICTIONARIES)),
    "view_files",
    *QUALITY,
    *REGIONS,
    "peak_values_files",
    "figure_files",
    "figure_indexes",
)


def fwe_inferences(contrasts, controls):
    """Return COLUMN=POSITION of the familywise inferences on every map's contrast.

    Parameters
    ----------
    contrasts : list of int
        Number of the contrast of every thresholded map.
    controls : list of str
        Its control.

    Returns
    -------
    tuple of tuple of str

    Examples
    --------
    >>> fwe_inferences([0, 1, 0], ["fdr", "rft", "permutation"])
    (('p_fwe_voxel=2',), ('p_fwe_rft=1',), ('p_fwe_voxel=2',))
    """
    columns = {name: c.column for name, c in CONTROLS.items() if c.column is not None}
    return tuple(
        tuple(
            f"{column}={position}"
            for control, column in columns.items()
            for position, its in enumerate(contrasts)
            if its == contrast and controls[position] == control
        )
        for contrast in contrasts
    )


def strictest_first(names, controls):
    """Return the names of thresholded maps, those of the strictest control first.

    Examples
    --------
    >>> strictest_first(["a", "b"], ["fdr", "permutation"])
    ('b', 'a')
    """
    ranks = map(strictness, controls)
    return tuple(name for _, name in sorted(zip(ranks, names, strict=True)))


def init_report_wf(
    *,
    results: tuple,
    stat_types: tuple,
    adjustments: tuple,
    units: tuple,
    inferences: tuple = (),
    detailed: tuple = (),
    atlases: tuple | None = None,
    space: str | None = None,
    alpha: float = 0.05,
    ari: bool = False,
    tail: str = "two-sided",
    templates: bool = False,
    permuted: bool = False,
    regions: dict | None = None,
    views: tuple = (),
    figures: bool = True,
    maps: bool = True,
    design: bool = True,
    effects: bool = True,
    each_mask: bool = False,
    name: str = "report_wf",
) -> pe.Workflow:
    """Build the workflow that makes tables and figures of the maps, the model and the results.

    Workflow Graph
        .. workflow::

            from nipype_group.workflows import init_report_wf
            wf = init_report_wf(
                results=("contrast-age_desc-fdrBH",),
                stat_types=("t",),
                adjustments=("fdr",),
                units=("z",),
            )

    Parameters
    ----------
    results : tuple of str
        Name of every thresholded map.
    stat_types : tuple of {"t", "F", "z"}
        Statistic of every thresholded map.
    adjustments : tuple of {"none", "fwe", "fdr"}
        What its adjusted p controls.
    units : tuple of str
        Symbol of the thresholded values.
    inferences : tuple of tuple of str
        COLUMN=POSITION of the familywise inferences on the contrast of every map.
    detailed : tuple of str
        Names of the maps that may be drawn in detail, strictest first: of a contrast the first
        where anything survives.
    atlases : tuple of str, optional
        Names or files; None for the default ones, where installed; empty for none.
    space : str, optional
        Space of the maps.
    alpha : float
        Error rate of critical values, and of true discovery proportions.
    ari : bool
        Whether clusters get a true discovery proportion.
    tail : {"two-sided", "positive", "negative"}
        Side tested.
    templates : bool
        Whether calibrated templates bound true discovery proportions.
    permuted : bool
        Whether there are null distributions.
    regions : dict, optional
        Inputs of RegionModels, by name; None for no models of regions.
    views : tuple of str
        Packages as whose tables those of clusters and peaks are laid out too.
    figures : bool
        Whether figures are drawn.
    maps : bool
        Whether there are the maps of the subjects: quality and values at peaks are theirs.
    design : bool
        Whether there are a design and the weights of all contrasts, to be drawn.
    effects : bool
        Whether there is the effect of every contrast, to be drawn.
    each_mask : bool
        Whether every thresholded map has a mask of its own.
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
        Voxels tested of every thresholded map, with ``each_mask``.
    model_mask_file
        Voxels analysed, over which the quality of the maps is told.
    template_files
        Template of every thresholded map, with ``templates``.
    contrast_z_files
        z of every contrast.
    contrast_effect_files
        Its effect.
    nulldist_files
        Null distributions of every contrast, with ``permuted``.
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
    shuffles_file
        Shuffles that permutation of regions uses, a row each.

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
        Quality of every map; undefined without ``maps``, as the next.
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
    tables = pe.MapNode(
        AtlasReport(),
        iterfield=[
            *PER_RESULT.values(),
            "stat_type",
            "adjustment",
            "inferences",
            *(["template_file"] if templates else []),
            *(["mask_file"] if each_mask else []),
        ],
        name="tables",
        mem_gb=1.2,
    )
    tables.inputs.stat_type, tables.inputs.adjustment = list(stat_types), list(adjustments)
    tables.inputs.inferences = [list(i) for i in inferences] or [[]] * len(results)
    if views:
        tables.inputs.views = list(views)
    if atlases is not None:
        tables.inputs.atlases = list(atlases) or [NO_ATLAS]
    if space is not None:
        tables.inputs.space = space
    if templates:
        workflow.connect(inputnode, "template_files", tables, "template_file")
    if ari:
        tables.inputs.trait_set(ari_alpha=alpha, tail=tail)
    join_views = pe.Node(
        JoinLists(1, ravel_inputs=True), name="join_views", run_without_submitting=True
    )
    whole = [("inference_logp_files", "inference_logp_files")]
    searched = [("mask_files" if each_mask else "mask_file", "mask_file")]
    workflow.connect(
        [
            (inputnode, tables, [*PER_RESULT.items(), *whole, *searched]),
            (tables, outputnode, [(f, f"{f}s") for f in (*TABLES, *DICTIONARIES)]),
            (tables, join_views, [("view_files", "in1")]),
            (join_views, outputnode, [("out", "view_files")]),
        ]
    )
    if maps:
        _add_quality(workflow, figures)
    if regions is not None:
        _add_regions(workflow, regions, tail, alpha, ari)
    if figures:
        plot = pe.Node(
            PlotResults(
                names=list(results),
                units=list(units),
                detailed=list(detailed or results),
                detail_first=bool(detailed),
                tail=tail,
                alpha=alpha,
            ),
            name="plot",
            mem_gb=1.0,
        )
        if space is not None:
            plot.inputs.space = space
        left_out = set() if permuted else {"nulldist_files"}
        left_out |= set() if effects else {"contrast_effect_files"}
        shown = ["thresholded_files", *(MAPS if maps else ())]
        shown += DESIGN if design else DESIGN[2:]
        drawn = [
            *((f, f) for f in shown),
            *((f, name) for f, name in PER_CONTRAST.items() if f not in left_out),
            ("mask_file", "mask_file"),
        ]
        _add_figures(workflow, plot, drawn, maps)
    return workflow


def _add_quality(workflow, figures):
    """Add the quality of the subjects' maps."""
    inputnode, outputnode = workflow.get_node("inputnode"), workflow.get_node("outputnode")
    quality = pe.Node(MapQuality(no_figures=not figures), name="quality", mem_gb=0.8)
    workflow.connect(
        [
            (inputnode, quality, [(f, f) for f in (*MAPS, *COVERAGE, *DESIGN[:2])]),
            (inputnode, quality, [("model_mask_file", "mask_file")]),
            (quality, outputnode, [(f, f) for f in QUALITY]),
        ]
    )


def _add_regions(workflow, settings, tail, alpha, ari):
    """Add the models of regions."""
    inputnode, outputnode = workflow.get_node("inputnode"), workflow.get_node("outputnode")
    regions = pe.Node(RegionModels(tail=tail, alpha=alpha, **settings), name="regions", mem_gb=1.2)
    if ari:
        regions.inputs.ari_alpha = alpha
        workflow.connect(inputnode, "contrast_z_files", regions, "z_files")
    given = [(f, f) for f in ("mask_file", "shuffles_file", *MAPS, *DESIGN)]
    workflow.connect(
        [(inputnode, regions, given), (regions, outputnode, [(f, f) for f in REGIONS])]
    )


def _add_figures(workflow, plot, drawn, maps):
    """Add the figures of results and model, and join them with those of quality."""
    inputnode, outputnode, tables = map(workflow.get_node, ("inputnode", "outputnode", "tables"))
    workflow.connect(
        [
            (inputnode, plot, drawn),
            (tables, plot, [(f, f"{f}s") for f in ("clusters_file", "peaks_file")]),
            (plot, outputnode, [("peak_values_files", "peak_values_files")]),
        ]
    )
    if maps:
        _join_figures(workflow, plot)
        return
    own = [("figure_files", "figure_files"), ("index_file", "figure_indexes")]
    workflow.connect([(plot, outputnode, own)])


def _join_figures(workflow, plot):
    """Put the figures of results and of quality into one list."""
    quality, outputnode = workflow.get_node("quality"), workflow.get_node("outputnode")
    join_figures = pe.Node(
        JoinLists(1 + len(_QUALITY_FIGURES)), name="join_figures", run_without_submitting=True
    )
    join_indexes = pe.Node(JoinLists(2), name="join_indexes", run_without_submitting=True)
    drawn = [(f, f"in{i}") for i, f in enumerate(_QUALITY_FIGURES, start=2)]
    workflow.connect(
        [
            (plot, join_figures, [("figure_files", "in1")]),
            (quality, join_figures, drawn),
            (plot, join_indexes, [("index_file", "in1")]),
            (quality, join_indexes, [("index_file", "in2")]),
            (join_figures, outputnode, [("out", "figure_files")]),
            (join_indexes, outputnode, [("out", "figure_indexes")]),
        ]
    )
