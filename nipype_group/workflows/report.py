"""From thresholded maps to tables with region names, and figures."""

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface

from nipype_group.interfaces import AtlasReport, PlotResults
from nipype_group.interfaces.tables import NO_ATLAS

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
INPUTS = (*PER_RESULT, "thresholded_files", "mask_file", "template_files", *DESIGN)
TABLES = ("clusters_file", "peaks_file", "labels_file")
DICTIONARIES = ("clusters_json", "peaks_json", "labels_json")
FIGURES = ("glass_brain_files", "slice_files", "design_figure", "contrast_figures")


def init_report_wf(
    *,
    results: tuple,
    stat_types: tuple,
    adjustments: tuple,
    units: tuple,
    atlases: tuple | None = None,
    space: str | None = None,
    ari_alpha: float | None = None,
    tail: str = "two-sided",
    templates: bool = False,
    figures: bool = True,
    name: str = "report_wf",
) -> pe.Workflow:
    """Build the workflow that makes tables and figures of thresholded maps.

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
    atlases : tuple of str, optional
        Names or files; None for the default ones, where installed; empty for none.
    space : str, optional
        Space of the maps.
    ari_alpha : float, optional
        Give every cluster a true discovery proportion, with this chance that any bound fails.
    tail : {"two-sided", "positive", "negative"}
        Side of the true discovery proportions.
    templates : bool
        Whether calibrated templates bound them.
    figures : bool
        Whether figures are drawn.
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
    thresholded_files
        The maps.
    mask_file
        Voxels tested.
    template_files
        Template of every thresholded map, with ``templates``.
    design_file
        TSV of keys and regressors.
    design_json
        Its description.
    contrasts_file
        Contrasts.

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
    glass_brain_files
        Figures as glass brains; undefined without figures, as those below.
    slice_files
        Figures on slices.
    design_figure
        Figure of the design.
    contrast_figures
        Figures of the contrasts.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=list(INPUTS)), name="inputnode")
    outputs = [f"{f}s" for f in (*TABLES, *DICTIONARIES)] + list(FIGURES)
    outputnode = pe.Node(IdentityInterface(fields=outputs), name="outputnode")
    tables = pe.MapNode(
        AtlasReport(),
        iterfield=[
            *PER_RESULT.values(),
            "stat_type",
            "adjustment",
            *(["template_file"] if templates else []),
        ],
        name="tables",
        mem_gb=1.2,
    )
    tables.inputs.stat_type, tables.inputs.adjustment = list(stat_types), list(adjustments)
    if atlases is not None:
        tables.inputs.atlases = list(atlases) or [NO_ATLAS]
    if space is not None:
        tables.inputs.space = space
    if templates:
        workflow.connect(inputnode, "template_files", tables, "template_file")
    if ari_alpha is not None:
        tables.inputs.trait_set(ari_alpha=ari_alpha, tail=tail)
    workflow.connect(
        [
            (inputnode, tables, [*PER_RESULT.items(), ("mask_file", "mask_file")]),
            (tables, outputnode, [(f, f"{f}s") for f in (*TABLES, *DICTIONARIES)]),
        ]
    )
    if figures:
        plot = pe.Node(
            PlotResults(names=list(results), units=list(units)), name="plot", mem_gb=0.8
        )
        workflow.connect(
            [
                (inputnode, plot, [(f, f) for f in ("thresholded_files", *DESIGN)]),
                (plot, outputnode, [(f, f) for f in FIGURES]),
            ]
        )
    return workflow
