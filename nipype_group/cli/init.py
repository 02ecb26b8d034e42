"""``nipype-group init``: options, or the record of a run, as a BIDS Stats Model."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nipype_group.cli import run
from nipype_group.cli.guard import UsageError
from nipype_group.cli.plan.analysis import foreseen_model
from nipype_group.cli.replay import recorded_settings
from nipype_group.design.sources import escape_pattern, listed_once
from nipype_group.models.analyses import ModelOfTree
from nipype_group.models.records import TOLD, read_model
from nipype_group.models.written import check_says, model_of_settings, split_selection
from nipype_group.reporting.records.inputs import SINGLE_FILES
from nipype_group.reporting.records.record import ProvenanceRecord
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.settings.records import about_of
from nipype_group.whole_files import replace_text

# Options that say which files a run of a model is of, beside the model.
_BESIDE = {
    "bids_dir": "--bids",
    "participants": "--participants",
    "mask_file": "--mask",
    "search_volume": "--search-volume",
    "shuffles_file": "--shuffles",
    "select": "--select",
    "variance_select": "--variance-select",
}
# Told by the model's own words.
_SAID = (*TOLD, "error", "centre")


def execute(arguments: Namespace) -> int:
    """Write the model that the arguments ask for; returns the exit code."""
    path = Path(arguments.model_file).absolute()
    if os.path.lexists(path):
        raise UsageError(f"{path} exists; name a new file")
    if arguments.model is not None:
        raise UsageError("--model names a model, and init writes one; leave it out")
    if arguments.from_run is None:
        settings, files = run.request_of(Namespace(**{**_DEFAULTS_OF_RUN, **vars(arguments)}))
    else:
        settings, files = _of_record(arguments)
    with listed_once():
        settings = run.of_known_tests(settings, files)
        text = json.dumps(_content(path, settings, files), indent=2, ensure_ascii=False) + "\n"
        beside = _files_beside(files)
        with tempfile.TemporaryDirectory() as folder:
            _check_alike(text, path, beside, settings, files, Path(folder))
    replace_text(path, text)
    print(f"{path} is written. What runs it:\n{_command(path, beside)}")
    return 0


# Options of a run that init has not.
_DEFAULTS_OF_RUN: dict[str, Any] = {"output_dir": None, "n_procs": None}


def _of_record(arguments):
    """Return settings and inputs of the run that a record tells of."""
    for action in arguments.parser._actions:
        if action.dest in ("help", "help_all", "model_file", "from_run"):
            continue
        if getattr(arguments, action.dest, None) not in (None, [], action.default):
            raise UsageError(
                f"{action.option_strings[-1]} does not go with --from, which takes all from the "
                "record; leave the one or the other out"
            )
    record = ProvenanceRecord.read(Path(arguments.from_run).absolute())
    if record.is_report:
        raise UsageError(f"{record.top} is a report on another package's results, and no analysis")
    if record.is_of_alternatives:
        raise UsageError(
            f"{record.top} holds alternatives of an analysis; give nipype-group init the settings "
            "of one of them, which alternatives.json lists"
        )
    if (kept := record.top / "code" / "model.json").is_file():
        raise UsageError(f"{record.top} is of a model, which stands there: {kept}")
    source = record.content["Source"]
    by_role = {item.role: str(item.path) for item in reversed(record.inputs)}
    files = {n: source[n] for n in ("select", "variance_select") if n in source}
    if "bids_dir" in source:
        files["bids_dir"] = os.path.normpath(record.top / source["bids_dir"])
    named = [*SINGLE_FILES, *(["participants"] if "participants" in source else [])]
    files |= {role: by_role[role] for role in named if role in by_role}
    values = dict(record.content["Settings"])
    if "map_covariates" in source:
        files["map_covariates"] = [
            name if place is None else f"{name}={Path(escape_pattern(record.top), place)}"
            for name, place in source["map_covariates"].items()
        ]
    if "blocks" in by_role:
        values["blocks"] = (by_role["blocks"],)
    if "figure_anatomy" in by_role:
        values["figure_anatomy"] = by_role["figure_anatomy"]
    if values.get("atlases") is not None:
        atlases = enumerate(values["atlases"], 1)
        values["atlases"] = tuple(by_role.get(f"atlas {n}", name) for n, name in atlases)
    return recorded_settings(record, values), files


def _content(path, settings, files):
    """Return the model as JSON has it."""
    try:
        check_says(settings, files)
    except ValueError as error:
        raise UsageError(error) from error
    found, design, _, contrasts = foreseen_model(settings, files)
    try:
        return model_of_settings(
            path.name.partition(".")[0],
            settings,
            files,
            (found, design, contrasts),
            path.parent,
        )
    except ValueError as error:
        raise UsageError(error) from error


def _files_beside(files: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that options name where a model is run."""
    beside = {name: files[name] for name in _BESIDE if name in files and name != "select"}
    _, select = split_selection(files)
    return beside | ({"select": select} if select else {})


def _check_alike(text, path, beside, settings, files, folder):
    """See that a model has the maps, the design and the contrasts of the options."""
    draft = folder / "model.json"
    draft.write_text(text)
    asked = ModelOfTree(read_model(draft), path, beside, {})
    tree, nodes = asked.nodes()
    (maps,) = nodes
    made = asked.analysis(tree, maps, folder / "made")
    for reason in _differences(
        (settings, foreseen_model(settings, files)),
        (made.settings, foreseen_model(made.settings, made.files)),
    ):
        raise UsageError(f"a model cannot say this: {reason}")


def _differences(first, second) -> Iterator[str]:
    """Yield in what two analyses differ."""
    (settings, (found, design, _, contrasts)), (others, theirs) = first, second
    resolved = [
        [
            Path(p).resolve()
            for p in (*each.map_files, *each.variance_files, *each.map_covariate_files)
        ]
        for each in (found, theirs[0])
    ]
    if resolved[0] != resolved[1]:
        yield (
            f"its maps would be {len(theirs[0].map_files)} others than the "
            f"{len(found.map_files)} of the options, or in another order; select them by the "
            "entities of their names (--select)"
        )
    if list(design.columns) != list(theirs[1].columns):
        yield f"the columns of its design would be {', '.join(theirs[1].columns)}"
    elif not np.array_equal(design.matrix, theirs[1].matrix):
        yield "the numbers of its design would differ; write a formula of plain variables"
    for ours, its in zip(contrasts, theirs[3], strict=True):
        if ours.test != its.test or not np.array_equal(ours.weights, its.weights):
            yield f"its contrast {ours.name} would differ"
    for name, item in AnalysisSettings.__dataclass_fields__.items():
        told = about_of(item).of_machine or name in _SAID
        if not told and getattr(settings, name) != getattr(others, name):
            yield f"its {name} would be {getattr(others, name)}"


def _command(path, beside):
    """Return the command that runs a model."""
    words = ["nipype-group", "run", "OUT", "--model", str(path)]
    for name, option in _BESIDE.items():
        value = beside.get(name)
        if value is not None:
            words += [option, *([value] if isinstance(value, str) else value)]
    return shlex.join(words)
