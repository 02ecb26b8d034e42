"""Many analyses of the same maps in one graph: what they have in common is computed once."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import nipype.pipeline.engine as pe
from nipype.interfaces.utility import IdentityInterface, Merge

from nipype_group.interfaces import (
    DescribeAlternative,
    RegionModels,
    ShareShuffles,
    SummariseAlternatives,
)
from nipype_group.interfaces.routing import GatherResults
from nipype_group.reporting.multiverse.regions import rate_of_regions
from nipype_group.settings.alternatives import statistic_of
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.workflows.group import (
    INPUTS,
    add_estimates,
    region_model_inputs,
    why_no_region_models,
)
from nipype_group.workflows.model import COVARIANCE_OUTPUTS
from nipype_group.workflows.permutation import plan_node, run_node
from nipype_group.workflows.shared_nodes import share_nodes

_OUTPUTS = (
    "folder",
    "page_file",
    "alternatives_file",
    "curves_file",
    "regions_file",
    "count_files",
    "lines",
    "warnings",
)
_OF_MODEL = (
    "contrast_names",
    "stat_types",
    "dofs",
    "effect_files",
    "variance_files",
    "z_files",
    "search_mask_files",
    "design_file",
    "design_json",
    "notes",
)
_DESIGN = ("design_file", "design_json")
_PLAN = ("plan_file", "scheme_file")


class AlternativeAnalysis(NamedTuple):
    """An analysis among others.

    Parameters
    ----------
    choices : dict of str to str
        What is varied, to the choice made, in words.
    name : str
        The choices in one text.
    settings : AnalysisSettings
    files : dict
        Inputs of `init_group_wf`.
    """

    choices: Mapping[str, str]
    name: str
    settings: AnalysisSettings
    files: dict[str, Any]


class SharedGraph(NamedTuple):
    """A workflow of many analyses.

    Parameters
    ----------
    workflow : Workflow
        With an outputnode.
    users : dict
        Name of a node to the names of the alternatives that it is of.
    """

    workflow: pe.Workflow
    users: dict[str, list[str]]


def multiverse_graph(
    alternatives: Sequence[AlternativeAnalysis], name: str = "multiverse_wf"
) -> SharedGraph:
    """Build one workflow of alternative analyses of the same maps.

    Nodes that compute the same of the same are one: the maps of several models are collected and
    smoothed once, those of several corrections are fitted once.

    Parameters
    ----------
    alternatives : sequence of AlternativeAnalysis
        The first is what places are of.
    name : str
        Name of the workflow.

    Returns
    -------
    SharedGraph
        The outputs of its outputnode are those of `SummariseAlternatives`.
    """
    workflow = pe.Workflow(name=name)
    wholes = [_analysis(number, one, alternatives) for number, one in enumerate(alternatives)]
    told = [_told(workflow, *own) for own in zip(wholes, alternatives, strict=True)]
    reference = alternatives[0].settings
    if reference.n_permutations:
        _add_shuffles(workflow, wholes, told, alternatives)
    summary = pe.Node(
        SummariseAlternatives(alpha=reference.alpha_of_shuffles, no_figures=not reference.figures),
        name="summary",
        mem_gb=1.0,
    )
    listed = pe.Node(Merge(len(wholes)), name="listed", run_without_submitting=True)
    for number, own in enumerate(told, 1):
        workflow.connect(own, "describe.alternative_file", listed, f"in{number}")
    workflow.connect(listed, "out", summary, "alternative_files")
    shared, nodes = share_nodes(workflow)
    outputnode = pe.Node(IdentityInterface(fields=list(_OUTPUTS)), name="outputnode")
    made = nodes[f"{name}.summary"]
    shared.connect([(made, outputnode, [(f, f) for f in _OUTPUTS])])
    names = [one.name for one in alternatives]
    users: dict[str, list[str]] = {}
    for part, of in zip((*wholes, *told), 2 * names, strict=True):
        for full_name, node in nodes.items():
            if full_name.split(".")[1] == part.name:
                users.setdefault(node.name, []).append(of)
    return SharedGraph(shared, {node: list(dict.fromkeys(own)) for node, own in users.items()})


def _analysis(number, alternative, alternatives):
    """Return the workflow of an analysis up to what survives."""
    settings = alternative.settings
    whole = pe.Workflow(name=f"alternative_{number + 1:03d}")
    inputnode = pe.Node(IdentityInterface(fields=list(INPUTS)), name="inputnode")
    inputnode.inputs.trait_set(**alternative.files)
    # Who is in differs between them.
    smooth_all = len({(a.settings.exclude, a.settings.variables) for a in alternatives}) > 1
    *_, parametric_wf = add_estimates(whole, inputnode, settings, smooth_all)
    contrasts = list(range(len(settings.contrast_names)))
    first = pe.Node(
        GatherResults({"label_files": 1}, picks={"label_files": contrasts}),
        name="first",
        run_without_submitting=True,
    )
    whole.connect(parametric_wf, "outputnode.label_files", first, "label_files_1")
    if why_no_region_models(settings) is None:
        _add_regions(whole, settings)
    return whole


def _add_regions(whole, settings):
    """Add the models of regions, without shuffles: those of other corrections are the same."""
    regions = pe.Node(RegionModels(**region_model_inputs(settings)), name="regions", mem_gb=1.2)
    collect_wf, model_wf = whole.get_node("collect_wf"), whole.get_node("model_wf")
    of_model = (*_DESIGN, "contrasts_file")
    of_model += COVARIANCE_OUTPUTS if settings.pools_covariance else ()
    whole.connect(
        [
            (model_wf, regions, [(f"outputnode.{f}", f) for f in of_model]),
            (
                collect_wf,
                regions,
                [(f"outputnode.{f}", f) for f in ("stack_file", "observations")],
            ),
            (collect_wf, regions, [("outputnode.search_mask_file", "mask_file")]),
        ]
    )


def _told(workflow, whole, alternative):
    """Add the node that describes an alternative; return the workflow that it is in."""
    settings = alternative.settings
    told = pe.Workflow(name=f"told_{whole.name}")
    describe = pe.Node(
        DescribeAlternative(
            name=alternative.name,
            choices=json.dumps(dict(alternative.choices)),
            parameters=json.dumps(settings.as_parameters()),
            control=settings.thresholds[0].control,
            alpha=rate_of_regions(settings.thresholds[0], settings.alpha),
        ),
        name="describe",
        mem_gb=0.2,
    )
    told.add_nodes([describe])
    of_model = _OF_MODEL + ("dof_files",) * settings.by_contrast
    given = {f"model_wf.outputnode.{f}": f for f in of_model}
    given |= {f"collect_wf.outputnode.{f}": f for f in ("observations", "excluded", "mask_notes")}
    given |= {
        "collect_wf.outputnode.search_mask_file": "tested_mask_file",
        "first.label_files": "label_files",
    }
    without = why_no_region_models(settings)
    if without is None:
        given["regions.regions_files"] = "regions_files"
    elif settings.regions and settings.labels_regions:
        describe.inputs.without_regions = without
    workflow.connect([(whole, told, [(out, f"describe.{f}") for out, f in given.items()])])
    return told


def _add_shuffles(workflow, wholes, told, alternatives):
    """Add the shuffles of every statistic, which all of them share."""
    first: dict[str, int] = {}
    for number, one in enumerate(alternatives):
        first.setdefault(statistic_of(one.settings), number)
    members = list(first.values())
    for whole, one in zip(wholes, alternatives, strict=True):
        _plan(whole, one.settings)
    lists = {}
    for field in (*_PLAN, *_DESIGN):
        node = pe.Node(Merge(len(members)), name=f"all_{field}s", run_without_submitting=True)
        for place, number in enumerate(members, 1):
            source = "plan" if field in _PLAN else "model_wf.outputnode"
            workflow.connect(wholes[number], f"{source}.{field}", node, f"in{place}")
        lists[field] = node
    names = [alternatives[number].name for number in members]
    for whole, own, one in zip(wholes, told, alternatives, strict=True):
        share = pe.Node(
            ShareShuffles(number=members.index(first[statistic_of(one.settings)]), names=names),
            name="share",
            mem_gb=0.3,
        )
        _run(workflow, whole, own, one.settings, share)
        for field, node in lists.items():
            workflow.connect(node, "out", own, f"share.{field}s")


def _plan(whole, settings):
    """Add the plan of an alternative's own shuffles."""
    plan = plan_node(settings, settings.lacks_voxels, settings.estimator, settings.knapp_hartung)
    collect_wf, model_wf = whole.get_node("collect_wf"), whole.get_node("model_wf")
    whole.connect(
        [
            (model_wf, plan, [(f"outputnode.{f}", f) for f in (*_DESIGN, "contrasts_file")]),
            (collect_wf, plan, [(f"outputnode.{f}", f) for f in ("stack_file", "observations")]),
            (collect_wf, plan, [("outputnode.search_mask_file", "mask_file")]),
        ]
    )


def _run(workflow, whole, told, settings, share):
    """Add the common shuffles of an alternative."""
    if settings.n_shards is not None:
        share.inputs.n_shards = settings.n_shards
    run, describe = run_node(settings), told.get_node("describe")
    shard = [("families", "family"), ("firsts", "first"), ("lasts", "last")]
    told.connect(
        [
            (share, run, [("scheme_file", "scheme_file"), *shard]),
            (share, describe, [(f, f) for f in _PLAN]),
            (run, describe, [("shard_file", "shard_files")]),
        ]
    )
    stacks = ("stack_file",) + ("variance_stack_file",) * settings.takes_variances
    given = {f"model_wf.outputnode.{f}": f for f in _DESIGN}
    given |= {f"collect_wf.outputnode.{f}": f for f in stacks}
    given["collect_wf.outputnode.search_mask_file"] = "mask_file"
    workflow.connect([(whole, told, [(out, f"run.{f}") for out, f in given.items()])])
