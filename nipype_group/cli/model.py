"""BIDS Stats Models: ``--model`` of run and plan, and ``nipype-group validate``.

A model is analyses of maps of a derivative tree. Of each its tables are written, and it is an
analysis of these as any other.
"""

from __future__ import annotations

import json
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nipype_group.cli import run
from nipype_group.cli.guard import UsageError
from nipype_group.cli.options import given_settings, option_of
from nipype_group.cli.plan.analysis import analysis_plan
from nipype_group.cli.plan.text import plan_text
from nipype_group.cli.side_by_side import (
    ACROSS_WORDS,
    CODE,
    NOT_ACROSS,
    Asked,
    Made,
    check_across,
    run_analyses,
)
from nipype_group.design.sources import listed_once
from nipype_group.models.analyses import ModelAnalysis, ModelOfTree
from nipype_group.models.records import FirstLevelNode, Node, StatsModel, read_model
from nipype_group.reporting.derivatives.folder import check_output_dir
from nipype_group.reporting.page.side_by_side import Listed
from nipype_group.reporting.wording import listing
from nipype_group.settings.alternatives import alternatives_of
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.settings.files import ALTERNATIVES, with_places
from nipype_group.whole_files import keep_text, read_text

MODEL_NAME = "model.json"
# Settings that a model tells, and options of maps that it does not go with.
_TOLD = (
    "formula",
    "within",
    "between",
    "covariates",
    "contrasts",
    "missing_covariates",
    "combine",
    "each",
)
_NOT_WITH = (
    "maps",
    "pattern",
    "stack",
    "variance_pattern",
    "variance_stack",
    "settings",
    "save_settings",
)
# Rows of a design that are printed where it has many.
_ROWS = 15


def execute_run(arguments: Namespace) -> int:
    """Run the analyses of a model; returns the exit code."""
    asked = _of_one(arguments)
    top = Path(arguments.output_dir).absolute()
    with listed_once():
        tree, nodes = asked.nodes()
    across = getattr(arguments, "across_analyses", NOT_ACROSS)
    _check_several(across, [maps.title for maps in nodes])
    if len(nodes) > 1:
        several = [_asked_of(asked, tree, maps) for maps in nodes]
        return run_analyses(several, arguments, across=across)
    check_output_dir(top)
    # What it cannot be is known before its tables are written.
    with tempfile.TemporaryDirectory() as folder:
        asked.analysis(tree, nodes[0], Path(folder))
    made = _made(asked, tree, nodes[0], top / CODE)
    for note in made.notes:
        print(note)
    return run.run_analysis(made.settings, made.files, arguments)


def _check_several(across, titles):
    """Refuse to correct one analysis over several."""
    if across != NOT_ACROSS and len(titles) == 1:
        raise UsageError(
            f"--across-analyses {across} is of several analyses, and the model has one: "
            f"{titles[0]}; leave the option out"
        )


def _asked_of(asked, tree, maps):
    """Return an analysis of several."""
    named = {"node": maps.node.name, **maps.entities}
    listed = Listed(maps.label, maps.title, named)
    return Asked(listed, lambda place: _made(asked, tree, maps, place))


def _made(asked, tree, maps, place):
    """Make an analysis, with its tables and the model in a folder."""
    analysis = asked.analysis(tree, maps, place)
    keep_text(place / MODEL_NAME, read_text(asked.path))
    return Made(analysis.settings, analysis.files, _notes(analysis))


def execute_plan(arguments: Namespace) -> int:
    """Print what a run of a model would do; returns the exit code."""
    asked = _of_one(arguments)
    across = getattr(arguments, "across_analyses", NOT_ACROSS)
    plans, settings, titles, texts = [], [], [], []
    for analysis in _planned(asked):
        plan = analysis_plan(analysis.settings, analysis.files, arguments)
        settings.append(analysis.settings)
        titles.append(analysis.maps.title)
        plans.append({"Node": analysis.maps.node.name, **analysis.maps.entities, **plan})
        texts += [f"\n{analysis.maps.title}", *_notes(analysis), plan_text(plan)]
    _check_several(across, titles)
    check_across(settings, across)
    if across != NOT_ACROSS:
        texts.append(f"\nAll {len(titles)}: p are corrected over them {ACROSS_WORDS[across]}")
    if arguments.as_json:
        print(json.dumps(plans, indent=2, ensure_ascii=False))
    else:
        print("\n".join(texts))
    return 0


def execute_validate(arguments: Namespace) -> int:
    """Print what a model means, and with a tree what would run; returns the exit code."""
    model = read_model(arguments.model)
    print("\n".join(outline(model)))
    if arguments.bids is None:
        print("The model is valid; --bids DIR shows its designs")
        return 0
    arguments = Namespace(
        **{**_DEFAULTS_OF_RUN, **vars(arguments)}, output_dir=None, shuffles=None
    )
    for analysis in _planned(model_asked(arguments)):
        plan = analysis_plan(analysis.settings, analysis.files, arguments)
        lines = [f"\n{analysis.maps.title}", *_notes(analysis), plan_text(plan)]
        print("\n".join([*lines, *design_lines(analysis)]))
    return 0


# Options of a run that validate has not.
_DEFAULTS_OF_RUN: dict[str, Any] = {
    "plugin": "Linear",
    "plugin_args": None,
    "n_procs": None,
    "search_volume": None,
    "map_covariate": None,
    **dict.fromkeys(_NOT_WITH),
}


def _of_one(arguments):
    """Return the model of the arguments, which lists no alternatives."""
    asked = model_asked(arguments)
    nodes = [node for node in asked.model.nodes if isinstance(node, Node)]
    if any(node.model.alternatives is not None for node in nodes):
        raise UsageError(
            f"{asked.path} lists {ALTERNATIVES} of an analysis, which nipype-group multiverse runs"
        )
    return asked


def model_asked(arguments: Namespace) -> ModelOfTree:
    """Return the model of the arguments with the tree that it is of.

    Raises
    ------
    UsageError
        Where options say what the model tells, or name maps otherwise than by a tree.
    ModelFileError
        As `read_model`.
    """
    for name in _NOT_WITH:
        if getattr(arguments, name, None):
            raise UsageError(
                f"--{name.replace('_', '-')} does not go with --model, which is of the maps in "
                "--bids and holds its own settings"
            )
    if arguments.bids is None:
        raise UsageError("--model goes with --bids, the derivatives whose maps it is of")
    given = with_places(given_settings(arguments, AnalysisSettings), Path.cwd())
    for name in _TOLD:
        if name in given:
            option = option_of(AnalysisSettings, name)
            raise UsageError(f"{option} says what --model tells; leave one of them out")
    # It is of all analyses together.
    given.pop("across_analyses", None)
    given |= {"n_procs": run.processors(arguments)}
    if not run.can_draw():
        given["figures"] = False
    files: dict[str, Any] = {"bids_dir": str(Path(arguments.bids).absolute())}
    named = {
        "participants": arguments.participants,
        "mask_file": arguments.mask,
        "search_volume": arguments.search_volume,
        "shuffles_file": arguments.shuffles,
    }
    files |= {n: str(Path(path).absolute()) for n, path in named.items() if path is not None}
    if arguments.map_covariate:
        run.add_map_covariates(files, arguments.map_covariate)
    if arguments.select:
        files["select"] = arguments.select
    if arguments.variance_select:
        files["variance_select"] = arguments.variance_select
    path = Path(arguments.model).absolute()
    return ModelOfTree(read_model(path), path, files, given)


def _planned(asked: ModelOfTree) -> Iterator[ModelAnalysis]:
    """Yield every analysis of a model, with tables that are there while it is looked at."""
    with listed_once(), tempfile.TemporaryDirectory() as place:
        tree, nodes = asked.nodes()
        for maps in nodes:
            yield asked.analysis(tree, maps, Path(place, maps.label))


def _notes(analysis):
    return [f"Note: {note}" for note in analysis.notes]


def outline(model: StatsModel) -> list[str]:
    """Return what a model says, as lines.

    Parameters
    ----------
    model : StatsModel
    """
    lines = [f"Model {model.name}, BIDSModelVersion {model.bids_model_version}"]
    for key, values in (model.input or {}).items():
        lines.append(f"  Input: {key} {', '.join(values)}")
    for node in model.nodes:
        lines += _node_lines(node)
    for edge in model.links:
        only = [f"{key} {', '.join(values)}" for key, values in (edge.filter or {}).items()]
        of = f", only {listing(only)}" if only else ""
        lines.append(f"Edge {edge.source} -> {edge.destination}{of}")
    return lines


def _node_lines(node: FirstLevelNode | Node) -> list[str]:
    by = f", by {listing(node.group_by)}" if node.group_by else ", all maps together"
    head = f"Node {node.name} ({node.level}{by})"
    if isinstance(node, FirstLevelNode):
        return [f"{head}: the first level, whose maps are those of the derivatives"]
    model = node.model
    says = f"formula {model.formula}" if model.formula else f"X {', '.join(model.x)}"
    lines = [f"{head}: {model.type}, {says}"]
    steps = [] if node.transformations is None else node.transformations.instructions
    lines += [f"  {step.name} {', '.join(step.input)}" for step in steps]
    for contrast in node.contrasts or []:
        rows = "; ".join(
            " ".join(f"{w:+g} {n}" for w, n in zip(row, contrast.condition_list, strict=True))
            for row in contrast.weights
        )
        lines.append(f"  Contrast {contrast.name} ({contrast.test}): {rows}")
    if model.alternatives is not None:
        number = len(alternatives_of(model.alternatives, {}, ""))
        lines.append(f"  {number} {ALTERNATIVES}, which nipype-group multiverse runs")
    if node.dummy_contrasts is not None:
        names = node.dummy_contrasts.contrasts
        of = "every column" if names is None else ", ".join(names)
        lines.append(f"  Contrast of {of} ({node.dummy_contrasts.test})")
    return lines


def design_lines(analysis: ModelAnalysis) -> list[str]:
    """Return the design of an analysis as lines, a row a map.

    Parameters
    ----------
    analysis : ModelAnalysis
        Of more rows than fit, the first are shown.
    """
    design = analysis.design
    cells = [["", *design.columns]]
    for label, row in zip(design.map_labels, design.matrix[:_ROWS], strict=False):
        cells.append([label, *(f"{value:.6g}" for value in row)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "Design  " + "  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True))
        for row in cells
    ]
    if (left := len(design.matrix) - _ROWS) > 0:
        lines.append(f"Design  and {left} more rows")
    return lines
