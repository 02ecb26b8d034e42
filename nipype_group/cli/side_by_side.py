"""Several analyses in one run: every value of an entity or a column, every node of a model.

Each is what a run of its own gives, in a folder of its own; beside them stands an index.
"""

from __future__ import annotations

import copy
import gc
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nipype_group.choices import ACROSS_ANALYSES
from nipype_group.cli import run
from nipype_group.cli.guard import UsageError
from nipype_group.cli.origin import Origin
from nipype_group.cli.plan.analysis import foreseen_model
from nipype_group.design.participants.each import maps_of_each
from nipype_group.design.sources import listed_once
from nipype_group.models.places import ModelFileError
from nipype_group.reporting.derivatives.across import BONFERRONI, FDR, MAXIMUM, correct_across
from nipype_group.reporting.derivatives.folder import check_output_dir
from nipype_group.reporting.page.side_by_side import (
    INDEX_NAME,
    Found,
    Listed,
    across_lines,
    remove_index,
    write_index_page,
)
from nipype_group.reporting.page.summary import summarise, work_line
from nipype_group.reporting.records.record import PROVENANCE_NAME
from nipype_group.reporting.records.ro_crate import CRATE_NAME
from nipype_group.reporting.records.standing import remove_own
from nipype_group.reporting.wording import count
from nipype_group.settings.analysis import AnalysisSettings

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

    from nipype_group.execution import RunResult, WorkflowError

NOT_ACROSS = ACROSS_ANALYSES[0]
# Folder of a data set that holds what made it.
CODE = "code"
# Analyses in one graph: enough to keep processors busy, and few enough that what Nipype does
# after every node for all nodes stays a small part.
_AT_ONCE = 8
_SHOWN = 5
_WARNING = "Warning: "
# Options of maps, and the inputs that they give.
_MAPS_OF = {
    "maps": "maps_table",
    "pattern": "pattern",
    "variance_pattern": "variance_pattern",
    "map_covariate": "map_covariates",
}
# What a data set has of this package beside results.
_OF_DATA_SET = (
    "dataset_description.json",
    "README",
    ".bidsignore",
    PROVENANCE_NAME,
    CRATE_NAME,
    *(f"{CODE}/{name}" for name in ("maps.tsv", "design.tsv", "model.json")),
)


class Made(NamedTuple):
    """Settings and inputs of an analysis, and what a user is told of it."""

    settings: AnalysisSettings
    files: dict[str, Any]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Asked:
    """An analysis that is asked for beside others.

    Parameters
    ----------
    listed : Listed
        What the index calls it.
    make : callable
        Takes the folder of tables that are made for it, and returns its `Made`.
    """

    listed: Listed
    make: Callable[[Path], Made]


@dataclass(frozen=True)
class _Ready:
    """An analysis whose inputs are checked.

    Its workflow is None where it is made again before it runs: those of many analyses take memory.
    """

    listed: Listed
    made: Made
    arguments: Namespace
    workflow: Workflow | None
    origin: Origin

    @property
    def top(self) -> Path:
        return Path(self.arguments.output_dir)


def run_each(settings: AnalysisSettings, files: dict[str, Any], arguments: Namespace) -> int:
    """Run an analysis of every value that the settings tell analyses by; returns the exit code.

    Parameters
    ----------
    settings : AnalysisSettings
        With `each`.
    files : dict
        Inputs of `init_group_wf`, of all analyses.
    arguments : Namespace
        output_dir and the options of `add_execution`.
    """
    with listed_once():
        asked, notes = asked_by_value(settings, files, arguments)
    return run_analyses(asked, arguments, notes, settings.across_analyses)


def asked_by_value(
    settings: AnalysisSettings, files: dict[str, Any], arguments: Namespace
) -> tuple[list[Asked], list[str]]:
    """Return the analysis of every value, and what is in none of them."""
    if "left_out_folders" in files:
        # Where the folders of all analyses are, of which none has a name yet.
        files = {**files, "left_out_folders": [str(Path(arguments.output_dir).absolute())]}
    parts, notes = maps_of_each(files, settings.each)
    own = settings.changed(each=(), across_analyses=NOT_ACROSS)

    def asked(part):
        listed = Listed(part.label, part.title, part.named)
        return Asked(listed, lambda place: Made(own, part.written(place)))

    return [asked(part) for part in parts], notes


def run_analyses(
    asked: Sequence[Asked],
    arguments: Namespace,
    notes: Sequence[str] = (),
    across: str = NOT_ACROSS,
) -> int:
    """Run analyses in one work folder, and write their index; where one fails the others end well.

    Parameters
    ----------
    asked : list of Asked
    arguments : Namespace
        output_dir and the options of `add_execution`.
    notes : list of str
        What is told of all.
    across : {"none", "bonferroni", "maximum", "fdr"}
        How p are corrected over all analyses.

    Returns
    -------
    int
        0 where all results are there, 1 where those of one are not.

    Raises
    ------
    UsageError, ValueError
        Where none can be made, or other results stand where theirs go.
    """
    from nipype_group.execution import FolderLock, quiet_nipype

    # Raises before files are read.
    run.plugin_arguments(arguments)
    top = Path(arguments.output_dir).absolute()
    check_output_dir(top)
    going = _standing(top, asked, arguments)
    if not arguments.verbose:
        quiet_nipype()
    checked, problems = _all_checked(asked, arguments, notes, across)
    with FolderLock(top, "output folder"):
        remove_index(top)
        columns, n_ready = _columns(checked), len(checked)
        for start in range(0, n_ready, _AT_ONCE):
            some = [checked.pop(0) for _ in range(min(_AT_ONCE, len(checked)))]
            print(
                f"{start + 1} to {start + len(some)} of {n_ready} analyses"
                if n_ready > _AT_ONCE
                else count(n_ready, "analysis", "analyses")
            )
            problems |= _carried_out(some, arguments)
        for folder in going:
            _remove(folder)
        listed = [replace(a.listed, problem=problems.get(a.listed.label)) for a in asked]
        rows, failed = _across(top, listed, across, columns)
        found = write_index_page(top, listed, [*notes, *failed], rows)
    _tell(top, found, arguments)
    for line in (*across_lines(rows), *failed):
        print(line)
    return 1 if problems or failed else 0


def _columns(checked):
    """Return the columns of tables that any of the analyses uses; None if unknown."""
    own = [one.made.settings.variables for _, one in checked]
    return None if None in own else {name for names in own for name in names}


def _across(top, listed, method, columns):
    """Correct over analyses; return the rows of its table, and why it could not be done."""
    if method == NOT_ACROSS:
        return [], []
    labels = [one.label for one in listed if one.problem is None]
    try:
        own_names = {one.label: one.named["contrast"] for one in listed if "contrast" in one.named}
        return correct_across(top, labels, len(listed), method, columns, own_names), []
    except ValueError as error:
        return [], [f"Not corrected over analyses: {error}"]


def _standing(top, asked, arguments):
    """Return the folders of earlier analyses that are not asked for any more.

    Raises
    ------
    UsageError
        Where they are not to be replaced.
    """
    if any((top / "group").glob("*")):
        raise UsageError(f"{top} holds the results of one analysis; take another OUT for several")
    labels = [one.listed.label for one in asked]
    kinds = {_keys(label) for label in labels}
    # What is behind a link is of another folder.
    folders = sorted(
        p.parent for p in top.glob("*/group") if p.is_dir() and not p.parent.is_symlink()
    )
    going = [f for f in folders if f.name not in labels and _keys(f.name) in kinds]
    if going and not getattr(arguments, "replace", False):
        names = ", ".join(f.name for f in going[:_SHOWN])
        more = f" and {len(going) - _SHOWN} more" if len(going) > _SHOWN else ""
        raise UsageError(
            f"{top} holds analyses that are not asked for, {names}{more}; take another OUT, or "
            "give --replace, which removes them"
        )
    return going


def _keys(label):
    return tuple(part.partition("-")[0] for part in label.split("_"))


def _remove(top):
    """Remove an earlier analysis; what no run wrote stays."""
    print(f"{top} is not among the analyses any more; its results are removed")
    remove_own(top)
    files = (p for p in top.rglob("*") if p.is_symlink() or not p.is_dir())
    if {path.relative_to(top).as_posix() for path in files} <= set(_OF_DATA_SET):
        shutil.rmtree(top)
    else:
        (top / PROVENANCE_NAME).unlink(missing_ok=True)


def _all_checked(asked, arguments, notes, across):
    """Check analyses; return those that can run with their `_Ready`, and why the others cannot.

    Raises
    ------
    UsageError, ValueError
        Where none can, or where other results stand in the place of some.
    """
    told: dict[str, list[str]] = {note: [] for note in notes}
    ready, errors = [], {}
    with listed_once(), tempfile.TemporaryDirectory() as folder:
        for one in asked:
            try:
                made = one.make(Path(folder, one.listed.label))
                found = _checked(one, made, arguments)
            except ModelFileError:
                # A model is right as a whole.
                raise
            except (ValueError, OSError) as error:
                errors[one.listed.label] = error
                continue
            kept = found if len(ready) < _AT_ONCE else replace(found, workflow=None)
            ready.append((one, kept))
            for note in (
                *found.made.notes,
                *run.told_before(found.made.settings, found.made.files),
                *left_by_correction(found.made.settings, across),
            ):
                told.setdefault(note, []).append(one.listed.title)
        if not ready:
            raise next(iter(errors.values()))
        _refuse_others([found for _, found in ready], arguments)
        check_across([found.made.settings for _, found in ready], across)
        if across == MAXIMUM:
            _check_same_people([found for _, found in ready])
        for line in _lines(told, len(asked)):
            print(line)
    return ready, {label: str(error) for label, error in errors.items()}


# How p are corrected over analyses, as plans say it.
ACROSS_WORDS = {
    BONFERRONI: "by their number (Bonferroni)",
    MAXIMUM: "by the largest statistic of all in every shuffle",
    FDR: "for the false discovery rate of the voxels of all",
}


def check_across(settings: Sequence[AnalysisSettings], method: str) -> None:
    """Refuse a correction over analyses that none of them has, or that all need.

    Parameters
    ----------
    settings : list of AnalysisSettings
        Of every analysis.
    method : {"none", "bonferroni", "maximum", "fdr"}

    Raises
    ------
    UsageError
        Where nothing would be corrected, or an analysis has no shuffles for ``maximum``.
    """
    errors = [error for own in settings if (error := _not_across(own, method)) is not None]
    if errors and (method == MAXIMUM or len(errors) == len(settings)):
        raise UsageError(str(errors[0])) from errors[0]


def left_by_correction(settings: AnalysisSettings, method: str) -> Iterator[str]:
    """Yield what a correction over analyses leaves as it is, of settings of an analysis."""
    if method != NOT_ACROSS and settings.equivalence is not None:
        yield "p of equivalence are those of each analysis: they are not corrected over analyses"


def _not_across(settings, method):
    """Return why an analysis is not corrected over analyses; None where it is."""
    try:
        settings.changed(across_analyses=method)
    except ValueError as error:
        return error
    return None


def _carried_out(checked, arguments):
    """Put the tables of analyses beside their results, and run them; return why some failed."""
    with listed_once():
        placed = [_in_place(one, found, arguments) for one, found in checked]
    pairs = zip(checked, placed, strict=True)
    problems = {one.listed.label: own for (one, _), own in pairs if isinstance(own, str)}
    ready = [own for own in placed if not isinstance(own, str)]
    for one in ready:
        one.origin.tell(one.workflow)
    problems |= _carry_out(ready, arguments) if ready else {}
    # Graphs of Nipype hold each other.
    gc.collect()
    return problems


def _checked(one, made, arguments):
    """Check an analysis."""
    own = copy.copy(arguments)
    own.output_dir = str(Path(arguments.output_dir).absolute() / one.listed.label)
    _say_maps(own, made.files)
    settings = run.of_known_tests(made.settings, made.files)
    workflow, _ = run.checked_workflow(settings, made.files, own, name=one.listed.label)
    workflow.inputs.inputnode.trait_set(output_dir=own.output_dir, **made.files)
    made = made._replace(settings=settings)
    return _Ready(one.listed, made, own, workflow, Origin(settings, made.files, own))


def _say_maps(arguments, files):
    """Put the maps of an analysis into its arguments, so that its command is of it alone."""
    arguments.each = None
    if getattr(arguments, "model", None) is not None:
        return
    for name, key in _MAPS_OF.items():
        if key in files and getattr(arguments, name, None):
            setattr(arguments, name, files[key])
    if "bids_dir" in files:
        arguments.select = files["select"]


def _in_place(one, found, arguments):
    """Return an analysis whose tables are beside its results; or why it cannot be made any more.

    Inputs were right before the first analyses ran.
    """
    try:
        made = one.make(found.top / CODE)
        if made.files == found.made.files and found.workflow is not None:
            return found
        return _checked(one, made, arguments)
    except (ValueError, OSError) as error:
        return str(error)


def _refuse_others(ready, arguments):
    """Refuse to write where results of other maps stand."""
    if getattr(arguments, "replace", False):
        return
    for one in ready:
        if reason := one.origin.refusal():
            raise UsageError(f"{one.top} holds {reason}; take another OUT, or give --replace")


def _check_same_people(ready):
    """Refuse one null distribution of analyses that are not of the same participants."""
    first = None
    for one in ready:
        found, design, _, _ = foreseen_model(one.made.settings, one.made.files)
        people = found.table["participant_id"].tolist()
        columns = [name for name in one.made.settings.blocks if name in found.table]
        blocks = found.table[columns].astype(str).to_numpy().tolist()
        first = first or (one, people, design, blocks)
        if people != first[1]:
            apart = sorted(set(people) ^ set(first[1]))[:_SHOWN] or ["in another order"]
            why = f"are not of the same participants ({', '.join(apart)})"
        elif not np.array_equal(design.matrix, first[2].matrix):
            why = "have other values in their designs"
        elif blocks != first[3]:
            why = f"have other exchangeability blocks ({', '.join(columns)})"
        else:
            continue
        raise UsageError(
            f"--across-analyses maximum: {first[0].listed.title} and {one.listed.title} {why}, so "
            "that shuffles differ; leave who is in some alone out of all (--exclude), or take "
            "bonferroni"
        )


def _lines(told: Mapping[str, Sequence[str]], n_asked: int) -> Iterator[str]:
    """Yield every note once, with the analyses that it is of where it is not of all."""
    for note, titles in told.items():
        if not titles or len(titles) == n_asked:
            yield note
            continue
        more = f" and {len(titles) - _SHOWN} more" if len(titles) > _SHOWN else ""
        yield f"{'; '.join(titles[:_SHOWN])}{more}: {note}"


def _carry_out(ready, arguments):
    """Run some analyses in one graph; return why those that failed did."""
    from nipype_group.execution import FolderLock
    from nipype_group.execution.side_by_side import run_side_by_side

    with ExitStack() as all_of_them:
        guards = []
        for one in ready:
            guard = all_of_them.enter_context(ExitStack())
            guard.enter_context(FolderLock(one.top, "output folder"))
            guard.enter_context(one.origin.watched(one.workflow))
            guards.append(guard)
        outcomes = run_side_by_side(
            {one.listed.label: one.workflow for one in ready},
            inputs=[path for one in ready for path in one.origin.input_paths],
            **run.how_to_run(arguments, ready[0].made.settings.n_procs),
        )
        problems = {}
        for one, guard in zip(ready, guards, strict=True):
            label = one.listed.label
            try:
                with guard:
                    _record(one, outcomes[label])
            except (ValueError, RuntimeError, OSError) as error:
                problems[label] = str(error)
    return problems


def _record(one, outcome: RunResult | WorkflowError):
    """Write the records of an analysis that ended well."""
    from nipype_group.execution import WorkflowError

    if isinstance(outcome, WorkflowError):
        raise outcome
    if missing := run.missing_results(outcome, one.top):
        raise WorkflowError(missing)
    one.origin.record(outcome)


def _tell(top: Path, found: Sequence[Found], arguments: Namespace) -> None:
    """Print what every analysis found, what is doubtful about it, and where the index is."""
    doubts: dict[str, list[str]] = {}
    for each in found:
        print(f"{each.of.title}: {each.in_words}")
    made = {each.of.label: each.of.title for each in found if each.of.problem is None}
    work_dir = run.how_to_run(arguments, 1)["work_dir"]
    for label, title in made.items():
        for line in summarise(top / label, work_dir).splitlines():
            if line.startswith(_WARNING):
                doubts.setdefault(line.removeprefix(_WARNING), []).append(title)
    for line in _lines(doubts, len(made)):
        print(f"{_WARNING}{line}")
    print(f"Index     {top / INDEX_NAME}\n{work_line(work_dir)}")
