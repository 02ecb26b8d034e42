"""From z of equivalence to where effects are smaller than a bound, for every contrast."""

from collections.abc import Sequence
from dataclasses import replace

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface

from nipype_group.choices import NO_ATLAS
from nipype_group.controls import CONTROLS, Threshold
from nipype_group.interfaces import AtlasReport, ThresholdMap
from nipype_group.interfaces.routing import GatherResults
from nipype_group.reporting.equivalence import equivalence_desc
from nipype_group.settings.analysis import AnalysisSettings

INPUTS = (
    "equivalence_z_files",
    "equivalence_p_files",
    "effect_files",
    "variance_files",
    "search_mask_files",
)
_THRESHOLDED = ("thresholded_files", "logp_files", "summary_files")
_TABLES = ("clusters_files", "clusters_jsons")
OUTPUTS = (*_THRESHOLDED, *_TABLES)


def _thresholds(settings: AnalysisSettings) -> list[Threshold]:
    """Return the thresholds of equivalence, which has one side; each once."""
    sided = (replace(threshold, tail="positive") for threshold in settings.thresholds)
    return list(dict.fromkeys(sided))


def result_names(settings: AnalysisSettings, labels: Sequence[str]) -> list[str]:
    """Return the names of the results, in their order.

    Parameters
    ----------
    settings : AnalysisSettings
    labels : sequence of str
        Contrasts as names of files have them.

    Returns
    -------
    list of str
        ``contrast-<label>_desc-<threshold>``, all contrasts of a threshold and then of the next.
    """
    thresholds = _thresholds(settings)
    rates: dict[str, set[float | None]] = {}
    for one in thresholds:
        rates.setdefault(one.control, set()).add(one.alpha)
    descs = [
        CONTROLS[one.control].result_desc(
            "positive", one.threshold_z, one.alpha if len(rates[one.control]) > 1 else None
        )
        for one in thresholds
    ]
    return [
        f"contrast-{label}_desc-{equivalence_desc(desc)}" for desc in descs for label in labels
    ]


def init_equivalence_wf(
    *, settings: AnalysisSettings, contrasts: Sequence[str], name: str = "equivalence_wf"
) -> pe.Workflow:
    """Build the workflow that thresholds equivalence by every height control, with tables.

    Workflow Graph
        .. workflow::

            from nipype_group.workflows import AnalysisSettings, init_equivalence_wf
            settings = AnalysisSettings(
                contrasts=("age=age",), formula="age", equivalence="d=0.3"
            )
            wf = init_equivalence_wf(settings=settings, contrasts=("age",))

    Parameters
    ----------
    settings : AnalysisSettings
        Height controls, clusters and atlases.
    contrasts : sequence of str
        Names of the contrasts, in the order of the maps.
    name : str
        Name of the workflow.

    Inputs
    ------
    equivalence_z_files
        z of equivalence of every contrast.
    equivalence_p_files
        Its p.
    effect_files
        Effects.
    variance_files
        Variances of the effects.
    search_mask_files
        Voxels searched of every contrast.

    Outputs
    -------
    thresholded_files
        z where it survives: all contrasts of the first height control, then of the next.
    logp_files
        -log10 of the adjusted p.
    summary_files
        JSON of every threshold.
    clusters_files
        Clusters of voxels whose effect is smaller than the bound.
    clusters_jsons
        Their dictionaries.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(IdentityInterface(fields=list(INPUTS)), name="inputnode")
    outputnode = pe.Node(IdentityInterface(fields=list(OUTPUTS)), name="outputnode")
    thresholds = _thresholds(settings)
    gather = pe.Node(
        GatherResults(dict.fromkeys(OUTPUTS, len(thresholds))),
        name="gather",
        run_without_submitting=True,
    )
    for place, one in enumerate(thresholds, start=1):
        heights = _heights(settings, one, list(contrasts), place)
        tables = _tables(settings, CONTROLS[one.control].adjusts, place)
        of_model = [("equivalence_z_files", "z_file"), ("search_mask_files", "mask_file")]
        described = [("effect_files", "effect_file"), ("variance_files", "variance_file")]
        described += [("equivalence_p_files", "p_file"), ("equivalence_z_files", "stat_file")]
        made = [(f"{f}_file", f"{f}_file") for f in ("label", "logp", "summary")]
        workflow.connect(
            [
                (inputnode, heights, of_model),
                (inputnode, tables, [*of_model, *described]),
                (heights, tables, made),
                (heights, gather, [(f.removesuffix("s"), f"{f}_{place}") for f in _THRESHOLDED]),
                (tables, gather, [(f.removesuffix("s"), f"{f}_{place}") for f in _TABLES]),
            ]
        )
    workflow.connect([(gather, outputnode, [(f, f) for f in OUTPUTS])])
    return workflow


def _heights(settings, threshold, names, place):
    """Return the node of one threshold."""
    node = pe.MapNode(
        ThresholdMap(
            height_control=threshold.control,
            alpha=threshold.alpha or settings.alpha,
            stat_type="z",
            tail="positive",
            cluster_extent=settings.cluster_extent,
            connectivity=settings.connectivity,
        ),
        iterfield=["z_file", "mask_file", "contrast_name"],
        name=f"threshold_{place}",
        mem_gb=0.5,
    )
    node.inputs.contrast_name = names
    if threshold.control == "none":
        node.inputs.threshold_z = threshold.threshold_z
    return node


def _tables(settings, adjusts, place):
    """Return the node of the tables of one threshold."""
    node = pe.MapNode(
        AtlasReport(stat_type="z", tail="positive", adjustment=adjusts),
        iterfield=[
            *(f"{f}_file" for f in ("z", "stat", "p", "effect", "variance", "mask")),
            *(f"{f}_file" for f in ("label", "logp", "summary")),
        ],
        name=f"tables_{place}",
        mem_gb=1.2,
    )
    if settings.atlases is not None:
        node.inputs.atlases = list(settings.atlases) or [NO_ATLAS]
    if settings.space is not None:
        node.inputs.space = settings.space
    return node
