"""An analysis of options or of a record, written as a BIDS Stats Model."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from nipype_group.design.contrasts import Contrast
from nipype_group.design.expressions import quoted
from nipype_group.design.factorial import Factorial
from nipype_group.design.matrix import Design
from nipype_group.design.observations import Observations
from nipype_group.design.participants.map_covariates import split_covariate
from nipype_group.design.repeated_measures import model_table, split_formula, variables_of_model
from nipype_group.design.sources import escape_pattern, parse_selection
from nipype_group.models.records import SOFTWARE, TOLD, states_intercept
from nipype_group.models.tree import EFFECTS, is_of_input, long_name
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.settings.records import about_of, default_of

VERSION_OF_MODELS = "1.0.0"
_WITH_FILES = ("atlases", "blocks")


def model_of_settings(
    name: str,
    settings: AnalysisSettings,
    files: Mapping[str, Any],
    planned: tuple[Observations, Design, Sequence[Contrast]],
    folder: Path,
) -> dict[str, Any]:
    """Return the BIDS Stats Model that says what settings and inputs say.

    Parameters
    ----------
    name : str
        Of the model.
    settings : AnalysisSettings
    files : dict
        Inputs of `init_group_wf`, of which ``bids_dir`` is the source.
    planned : (Observations, Design, sequence of Contrast)
        Maps, design and contrasts that they make.
    folder : Path
        Where the model will lie; files of settings are named from there.

    Returns
    -------
    dict
        As JSON has it.

    Raises
    ------
    ValueError
        As `check_says`, and where factors in words are no formula.
    """
    check_says(settings, files)
    found, design, contrasts = planned
    steps, formula = _formula(settings, found)
    used = [n for n in variables_of_model(formula) or () if n != "participant_id"]
    renamed = [n for n in used if n in found.condition_columns and long_name(n) != n]
    copies = [{"Name": "Copy", "Input": long_name(n), "Output": n} for n in renamed]
    dropped = [{"Name": "DropNA", "Input": used}] if used else []
    software = _software(settings, formula, folder)
    if covariates := settings.map_covariates:
        software["map_covariates"] = [
            f"{name}={_relative_pattern(place, folder)}" if place else name
            for name, place in map(split_covariate, files["map_covariates"])
        ]
    model: dict[str, Any] = {
        "Type": "meta" if settings.takes_variances else "glm",
        "X": [1, *used, *covariates],
        "Formula": " + ".join([formula, *map(quoted, covariates)]),
    }
    if software:
        model["Software"] = {SOFTWARE: software}
    node: dict[str, Any] = {"Level": "Dataset", "Name": "dataset", "GroupBy": []}
    if instructions := [*copies, *dropped, *steps]:
        node["Transformations"] = {
            "Transformer": "pybids-transforms-v1",
            "Instructions": instructions,
        }
    node |= {"Model": model, "Contrasts": [_contrast(each, design) for each in contrasts]}
    content: dict[str, Any] = {"Name": name, "BIDSModelVersion": VERSION_OF_MODELS}
    if taken := split_selection(files)[0]:
        content["Input"] = taken
    below = [_combining(settings, files, found)] if settings.combine else []
    return content | {"Nodes": [*below, node]}


def split_selection(files: Mapping[str, Any]) -> tuple[dict[str, list[str]], list[str]]:
    """Split what selects maps into what a model's Input has, and what stands beside it.

    Parameters
    ----------
    files : dict
        Inputs of `init_group_wf`.

    Returns
    -------
    model_input : dict of str to list of str
    select : list of str
        Items of ``--select``; none where they are those that a model takes unasked.

    Examples
    --------
    >>> split_selection({"select": ["stat=effect", "suffix=statmap", "task=faces"]})
    ({'task': ['faces']}, [])
    >>> split_selection({"select": ["desc=first", "ses=1"]})
    ({'session': ['1']}, ['desc=first'])
    """
    selection = parse_selection(files.get("select") or ())
    inside = {long_name(k): values for k, values in selection.items() if is_of_input(k)}
    beside = [f"{k}={','.join(v)}" for k, v in selection.items() if not is_of_input(k)]
    if sorted(beside) == sorted(EFFECTS):
        return inside, []
    if not beside:
        # Without any, a model takes effects alone.
        return {}, [f"{k}={','.join(v)}" for k, v in selection.items()]
    return inside, beside


def check_says(settings: AnalysisSettings, files: Mapping[str, Any]) -> None:
    """Refuse what a model has no words for.

    Parameters
    ----------
    settings : AnalysisSettings
    files : dict
        Inputs of `init_group_wf`.

    Raises
    ------
    ValueError
        Saying what to do.
    """
    if "bids_dir" not in files:
        raise ValueError(
            "a model is of the maps of a derivative tree; name it by --bids, with --select"
        )
    if settings.model is None:
        raise ValueError(
            "a design table is no variables of the maps; put its columns into participants.tsv, "
            "and write a formula of them"
        )
    if settings.missing_covariates != "exclude":
        raise ValueError(
            "a model has no mean in the place of missing covariates; leave --missing-covariates "
            "out, or put numbers into the table"
        )
    if settings.each or any("*" in item for item in files.get("select") or ()):
        raise ValueError(
            "an analysis of every value is GroupBy of a node, as of contrast; name one value, and "
            "write GroupBy into the model"
        )
    if settings.conjunctions:
        raise ValueError(
            f"a model has no conjunctions; leave {', '.join(settings.conjunctions)} out"
        )


def _formula(settings, found):
    """Return instructions and the formula of a model, with its intercept stated."""
    model = settings.model
    if not isinstance(model, Factorial):
        stated = states_intercept(split_formula(model)[0])
        bare = re.sub(r"^\s*~", "", model).strip()
        return [], bare if stated else f"1 + {bare}"
    table = model_table(model, found.table, found.condition_columns)
    by_column = model.by_column
    within = [quoted(n) for n, given in by_column.items() if given in model.within]
    numbers = [n for n in by_column if by_column[n] in model.within and n in _numeric(table)]
    if numbers:
        raise ValueError(
            f"a model has no trend over {', '.join(numbers)} as --within centres it; write a "
            f"factor, C({numbers[0]}), or a formula with Error(participant_id/(...))"
        )
    steps: list[dict[str, Any]] = []
    if model.covariates and model.centre != "none":
        step: dict[str, Any] = {"Name": "Demean", "Input": list(model.covariates)}
        if model.centre == "within-group" and model.between:
            step["GroupBy"] = [n for n in by_column if by_column[n] in model.between]
        steps.append(step)
    error = f" + Error(participant_id/({'*'.join(within)}))" if within else ""
    return steps, f"1 + {model.formula(table)}{error}"


def _numeric(table):
    return list(table.select_dtypes("number").columns)


def _software(settings, formula, folder):
    """Return the settings that are not at their defaults, as JSON has them."""
    values = {}
    for item in fields(AnalysisSettings):
        value = getattr(settings, item.name)
        if about_of(item).of_machine or item.name in (*TOLD, "centre", "map_covariates"):
            continue
        if value == default_of(item):
            continue
        if item.name in _WITH_FILES and value is not None:
            value = [_beside(each, folder) for each in value]
        elif item.name == "figure_anatomy":
            value = _beside(value, folder)
        values[item.name] = list(value) if isinstance(value, tuple) else value
    if settings.in_words and not split_formula(formula)[1]:
        # Words give each effect an error of its own.
        values["error"] = "partitioned"
    return values


def _beside(item, folder):
    """Return the path of a file as the model names it, or the item where it is none."""
    if not Path(item).is_absolute():
        return item
    return Path(os.path.relpath(item, folder)).as_posix()


def _relative_pattern(pattern, folder):
    """Return a pattern from a folder on."""
    return Path(os.path.relpath(pattern, escape_pattern(folder))).as_posix()


def _contrast(contrast, design):
    """Return a contrast as weights of the columns that it weighs."""
    at = np.flatnonzero((contrast.weights != 0).any(axis=0))
    rows = [[_number(w) for w in row[at]] for row in contrast.weights]
    return {
        "Name": contrast.name,
        "ConditionList": [design.contrast_columns[i] for i in at],
        "Weights": rows[0] if contrast.test == "t" else rows,
        "Test": contrast.test,
    }


def _number(weight):
    weight = float(weight)
    return int(weight) if weight.is_integer() else weight


def _combining(settings, files, found):
    """Return the node that makes one map of those that are combined."""
    kept = [long_name(n) for n in found.condition_columns if n not in settings.combine]
    return {
        "Level": "Subject",
        "Name": "subject",
        "GroupBy": ["subject", *kept],
        "Model": {"Type": "meta" if "variance_select" in files else "glm", "X": [1]},
        "DummyContrasts": {"Test": "pass"},
    }
