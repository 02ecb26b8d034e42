"""The alternatives that a command asks for: of a file of settings, of a model, of several."""

from __future__ import annotations

import copy
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from nipype_group.cli import run
from nipype_group.cli.guard import UsageError
from nipype_group.cli.inputs import check_inputs
from nipype_group.cli.model import MODEL_NAME, model_asked
from nipype_group.cli.options import given_settings, option_of, without_replaced
from nipype_group.cli.plan.analysis import check_estimator, foreseen_model
from nipype_group.cli.side_by_side import CODE
from nipype_group.models.analyses import ModelOfTree
from nipype_group.models.places import ModelFileError
from nipype_group.models.records import TOLD
from nipype_group.reporting.records.record import ALTERNATIVES_FOLDER
from nipype_group.settings.alternatives import (
    Alternative,
    alternatives_of,
    check_alternatives,
    read_alternatives,
    statistic_of,
)
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.settings.files import ALTERNATIVES
from nipype_group.whole_files import keep_text, read_text
from nipype_group.workflows.multiverse import AlternativeAnalysis

# What several models are called among the choices.
_MODEL = "model"
# Inputs that are written of a model.
_TABLES = ("maps_table", "design_table")
# Of the analyses of a model that are named in a line.
_SHOWN = 5


class AskedAlternatives(NamedTuple):
    """Alternatives, each checked, and what a user is told of them.

    Parameters
    ----------
    alternatives : list of AlternativeAnalysis
    notes : list of str
    """

    alternatives: list[AlternativeAnalysis]
    notes: list[str]


class _OfModel(NamedTuple):
    """An alternative of a model, with the tables and settings that it is."""

    alternative: Alternative
    asked: ModelOfTree


def asked_alternatives(arguments: Namespace) -> AskedAlternatives:
    """Return the alternatives that the arguments ask for.

    Parameters
    ----------
    arguments : Namespace
        Of a model its tables are written beside the results, once all is checked.

    Raises
    ------
    UsageError
        Naming the alternative that cannot be, by its choices.
    ModelFileError
        Where a model cannot be.
    """
    if not arguments.settings and not arguments.model:
        raise UsageError(
            f"--settings or --model is needed, a file that lists {ALTERNATIVES} of an analysis"
        )
    given = given_settings(arguments, AnalysisSettings)
    notes: list[str] = []
    if arguments.model:
        listed = _of_models(arguments)
        _check_given(given, [one.alternative for one in listed], arguments)
        found = _of_tables(listed, given, arguments, notes)
    else:
        try:
            plain = read_alternatives(arguments.settings)
        except (ValueError, OSError) as error:
            raise UsageError(error) from error
        _check_given(given, plain, arguments)
        found = [_analysis(one, given, arguments) for one in plain]
    try:
        check_alternatives({one.name: one.settings for one in found})
    except ValueError as error:
        raise UsageError(f"{_source(arguments)}: {error}") from error
    _check_models(found, arguments)
    notes += [note for one in found for note in _notes(one)]
    return AskedAlternatives(found, list(dict.fromkeys(notes)))


def _source(arguments):
    """Return the file that errors of alternatives name."""
    return arguments.settings or ", ".join(arguments.model)


def _check_given(given, listed, arguments):
    for name in given:
        if len({repr(one.values.get(name)) for one in listed}) > 1:
            option = option_of(AnalysisSettings, name)
            raise UsageError(
                f"{option} goes before the file, and {_source(arguments)} varies {name}; leave "
                "one of them out"
            )


def _analysis(
    alternative: Alternative, given: dict[str, Any], arguments: Namespace
) -> AlternativeAnalysis:
    """Return an alternative as an analysis of its own, options before what the file says."""
    own = copy.copy(arguments)
    own.settings = None
    values = without_replaced(alternative.values, given) | given
    try:
        settings, files = run.request_of(own, values)
    except (UsageError, ValueError, TypeError, OSError) as error:
        raise UsageError(f"{_source(arguments)}, {alternative.name}: {error}") from error
    if "left_out_folders" in files:
        files["left_out_folders"] = [
            str(Path(arguments.output_dir).absolute() / ALTERNATIVES_FOLDER)
        ]
    return _checked(alternative, settings, files, arguments)


def _checked(alternative, settings, files, arguments):
    """Return an alternative whose inputs are seen to be there."""
    try:
        settings = run.of_known_tests(settings, files)
        check_inputs(files, settings.variables, settings.takes_variances)
        settings.read_atlases()
    except (UsageError, ValueError, TypeError, OSError) as error:
        raise UsageError(f"{_source(arguments)}, {alternative.name}: {error}") from error
    return AlternativeAnalysis(alternative.choices, alternative.name, settings, files)


def _of_models(arguments):
    """Return the alternatives of every model, which all have the same choices."""
    beside = None if arguments.settings is None else _beside_models(arguments)
    several = len(arguments.model) > 1
    found, axes = [], None
    for name, path in _named_models(arguments.model).items():
        own = copy.copy(arguments)
        own.model, own.settings = path, None
        asked = model_asked(own)
        listed = _listed_in(asked, beside, arguments)
        if several and any(_MODEL in one.choices for one in listed):
            raise UsageError(
                f"{_source(arguments)} calls a choice {_MODEL}, as several --model are; call it "
                "otherwise"
            )
        label = {_MODEL: name} if several else {}
        listed = [replace(one, choices=label | one.choices) for one in listed]
        axes = axes or (path, list(listed[0].choices))
        if list(listed[0].choices) != axes[1]:
            raise UsageError(
                f"{path} lists {ALTERNATIVES} of other names than {axes[0]}; list them once, in a "
                "file beside the models (--settings)"
            )
        found += [_OfModel(one, asked) for one in listed]
    if len(found) < 2:
        raise UsageError(
            f"{_source(arguments)} lists no {ALTERNATIVES}; list them in Software.nipype_group of "
            "the model or in a file beside it (--settings), or give several --model"
        )
    return found


def _named_models(paths):
    """Return the models by the names of their files."""
    named: dict[str, str] = {}
    for path in paths:
        name = Path(path).name.partition(".")[0]
        if name in named:
            raise UsageError(
                f"--model {named[name]} and {path} are both called {name}; rename a file"
            )
        named[name] = path
    return named


def _beside_models(arguments):
    """Return what the file of settings says beside models."""
    try:
        listed = read_alternatives(arguments.settings, beside_models=True)
    except (ValueError, OSError) as error:
        raise UsageError(error) from error
    for name in dict.fromkeys(name for one in listed for name in one.values):
        if name in TOLD:
            raise UsageError(
                f"{arguments.settings} has {name}, which is what {TOLD[name]} of --model tells; "
                "remove it, and give alternatives of it as several --model"
            )
    return listed


def _listed_in(asked, beside, arguments):
    """Return the alternatives of one model."""
    own = [node.model.alternatives for node in asked.model.nodes if node.level == "dataset"]
    own = [listed for listed in own if listed is not None]
    if own and beside is not None and any(one.choices for one in beside):
        raise UsageError(
            f"{asked.path} and {arguments.settings} both list {ALTERNATIVES}; leave one of them "
            "out"
        )
    base = {} if beside is None else beside[0].values
    if not own:
        return beside or [Alternative({}, {})]
    return alternatives_of(own[0], base, asked.path)


def _of_tables(listed, given, arguments, notes):
    """Return the alternatives of models as analyses of the tables that are written for them."""
    top = Path(arguments.output_dir).absolute() / CODE / ALTERNATIVES_FOLDER
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder, f"{number}") for number in range(len(listed))]
        drafts = [_draft(*own, given) for own in zip(listed, places, strict=True)]
        # A table with the columns of all is one table, whose maps are collected once.
        columns: dict[Path, set[str]] = {}
        for one, draft in zip(listed, drafts, strict=True):
            columns.setdefault(one.asked.path, set()).update(draft.others)
        drafts = [
            _draft(one, place, given, sorted(columns[one.asked.path]))
            for one, place in zip(listed, places, strict=True)
        ]
        keys = [_content(one, draft) for one, draft in zip(listed, drafts, strict=True)]
    apart = list(dict.fromkeys(keys))
    written: dict[Any, dict[str, str]] = {}
    found = []
    for one, draft, key in zip(listed, drafts, keys, strict=True):
        if key not in written:
            place = top if len(apart) == 1 else top / f"{apart.index(key) + 1:03d}"
            files = _draft(one, place, given, sorted(columns[one.asked.path])).files
            written[key] = {name: files[name] for name in _TABLES if name in files}
            keep_text(place / MODEL_NAME, read_text(one.asked.path))
        notes += [f"Note: {note}" for note in draft.notes]
        files = draft.files | written[key]
        found.append(_checked(one.alternative, draft.settings, files, arguments))
    return found


def _draft(one, place, given, columns=()):
    """Return an alternative of a model as an analysis, with its tables in a folder."""
    asked, name = one.asked, one.alternative.name
    values = without_replaced(one.alternative.values, given) | dict(asked.given)
    asked = replace(asked, given=values)
    try:
        tree, nodes = asked.nodes()
        if len(nodes) > 1:
            titles = "; ".join(maps.title for maps in nodes[:_SHOWN])
            raise UsageError(
                f"{asked.path} makes {len(nodes)} analyses, {titles}"
                f"{'; ...' if len(nodes) > _SHOWN else ''}, and alternatives are of one; choose "
                "one by --select, or leave GroupBy and further nodes out"
            )
        return asked.analysis(tree, nodes[0], place, columns)
    except ModelFileError as error:
        raise UsageError(f"{name}: {error}" if name else error) from error


def _content(one, draft):
    """Return what tells the tables of an alternative from those of others."""
    texts = (read_text(draft.files[name]) for name in _TABLES if name in draft.files)
    return one.asked.path, *texts


def _check_models(alternatives, arguments):
    """Build every model and its contrasts from names, tables and headers, before anything runs."""
    seen = set()
    for one in alternatives:
        model = statistic_of(one.settings.changed(smoothing_fwhm_mm=()))
        if (model, repr(one.files)) in seen:
            continue
        seen.add((model, repr(one.files)))
        try:
            _, design, _, contrasts = foreseen_model(one.settings, one.files)
            check_estimator(one.settings, design, contrasts)
        except (ValueError, OSError) as error:
            raise UsageError(f"{_source(arguments)}, {one.name}: {error}") from error


def _notes(alternative) -> Iterator[str]:
    settings = alternative.settings
    yield from run.notes_of_covariates(settings)
    yield from run.notes_of_variances(settings, alternative.files)
    if len(settings.thresholds) > 1:
        names = ", ".join(threshold.control for threshold in settings.thresholds)
        yield (
            f"Of several height controls ({names}) the first decides what survives in an "
            "alternative"
        )
