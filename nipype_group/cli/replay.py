"""``nipype-group replay``: make results again from their record, and compare bit for bit."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype_group.cli import run
from nipype_group.cli.guard import UsageError
from nipype_group.cli.origin import tell_origin
from nipype_group.reporting.comparison.files import (
    compare_files,
    difference_text,
    new_settings_text,
)
from nipype_group.reporting.comparison.rounding import ROUNDING, SETTINGS, VERSIONS
from nipype_group.reporting.page.side_by_side import check_is_one
from nipype_group.reporting.records.inputs import InputFile, digest, find_inputs
from nipype_group.reporting.records.record import (
    ALTERNATIVES_FOLDER,
    PROVENANCE_NAME,
    ProvenanceRecord,
    stage_inputs,
)
from nipype_group.reporting.records.ro_crate import CRATE_NAME
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.settings.files import current_settings, settings_lacking

if TYPE_CHECKING:
    from nipype_group.workflows.multiverse import AlternativeAnalysis

# A result lies in group or in its folder figures.
_LEVELS = 3
_MOST_NAMED = 20
# How two files compare, beside what is equal but for something.
EQUAL, DIFFERENT, MISSING = "equal", "different", "missing"
_SAME = (EQUAL, VERSIONS, SETTINGS)


def execute(arguments: argparse.Namespace) -> int:
    """Replay and print what is equal and what is not; returns the exit code."""
    record, wanted = _wanted(Path(arguments.results).absolute())
    if record.is_report:
        raise UsageError(
            f"{record.top} is a report on results of another package, which nipype-group report "
            f"makes again: {record.content['Command']}"
        )
    output = None if arguments.output is None else Path(arguments.output).absolute()
    if output is not None and output.exists():
        raise UsageError(f"{output} exists; name a new folder")
    inputs = find_inputs(record.inputs, [Path(folder).absolute() for folder in arguments.inputs])
    print(f"{len(inputs)} inputs are what they were")
    for note in _notes(record):
        print(note)
    if arguments.work_dir is not None:
        Path(arguments.work_dir).mkdir(parents=True, exist_ok=True)
    with _temporary_folder(arguments.work_dir) as folder:
        _recompute(record, inputs, folder, arguments)
        equal = _compare(record, wanted, folder / "results")
        if output is not None:
            shutil.move(folder / "results", output)
    return 0 if equal else 1


@contextmanager
def _temporary_folder(parent):
    """Give a folder that goes afterwards, but for one whose crash files an error names."""
    from nipype_group.execution.failures import WorkflowError, tell

    folder = Path(tempfile.mkdtemp(prefix="nipype-group-replay-", dir=parent)).absolute()
    kept = False
    try:
        yield folder
    except WorkflowError as error:
        kept = bool(error.failures)
        if not kept:
            raise
        # Another replay makes all of it again, so no work goes on from there.
        said = f"{tell(error.failures)}\n{folder} is kept; delete it once this is read"
        raise WorkflowError(said, error.failures) from error
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def _wanted(path):
    """Return the record, and the names of the results asked for; None for all."""
    if path.name == PROVENANCE_NAME and path.is_file():
        path = path.parent
    if path.is_dir():
        check_is_one(path)
        own = (path / PROVENANCE_NAME).is_file()
        if path.name == "group" and not own:
            path = path.parent
        elif not own and (path / ALTERNATIVES_FOLDER / PROVENANCE_NAME).is_file():
            path = path / ALTERNATIVES_FOLDER
        return ProvenanceRecord.read(path), None
    tops = [p for p in path.parents[:_LEVELS] if (p / PROVENANCE_NAME).is_file()]
    # One that is lost may still be recorded.
    if not tops and not path.exists():
        raise UsageError(f"{path} does not exist")
    record = ProvenanceRecord.read(tops[0] if tops else path.parent.parent)
    stem = _stem(path.relative_to(record.top).as_posix())
    wanted = [name for name in record.content["Outputs"] if _stem(name) == stem]
    if not wanted and not path.exists():
        raise UsageError(f"{path} does not exist")
    if not wanted:
        raise UsageError(f"{path} is no result of the run that {PROVENANCE_NAME} records")
    return record, wanted


def _stem(name):
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _notes(record):
    """Yield what is not as it was then, and may change results."""
    versions = record.other_versions()
    if versions:
        words = ", ".join(
            f"{name} {then or 'none'} -> {now or 'none'}" for name, (then, now) in versions.items()
        )
        yield f"Other versions than then: {words}. Differences may come from that"
    for name in record.other_atlases():
        yield f"The atlas {name} is not installed here, or is another version of it"


def _recompute(record, inputs, folder, arguments):
    """Make results again in a folder, from inputs that are linked into it."""
    from nipype_group.execution import quiet_nipype, run_workflow
    from nipype_group.workflows import init_group_wf
    from nipype_group.workflows.multiverse import multiverse_graph

    if not arguments.verbose:
        quiet_nipype()
    how = {
        "work_dir": folder / "work",
        "plugin": arguments.plugin,
        "plugin_args": run.plugin_arguments(arguments),
        "n_procs": run.processors(arguments),
        "progress": not arguments.verbose,
    }
    if record.is_of_alternatives:
        alternatives = recorded_alternatives(record, inputs, folder / "inputs", arguments)
        made = run_workflow(multiverse_graph(alternatives).workflow, **how).outputs["folder"]
        shutil.copytree(made, folder / "results")
        return
    files, values = stage_inputs(record, inputs, folder / "inputs")
    settings = _here(recorded_settings(record, values), arguments)
    workflow = init_group_wf(settings=settings)
    tell_origin(workflow, record.content["Command"], digest(inputs))
    workflow.inputs.inputnode.trait_set(output_dir=str(folder / "results"), **files)
    run_workflow(workflow, **how)


def _here(settings, arguments):
    """Return settings with what this machine can do."""
    settings = settings.changed(n_procs=run.processors(arguments))
    if settings.figures and not run.can_draw():
        print(run.NO_FIGURES)
        settings = settings.changed(figures=False)
    return settings


def recorded_alternatives(
    record: ProvenanceRecord, inputs: Sequence[InputFile], folder: Path, arguments: Namespace
) -> list[AlternativeAnalysis]:
    """Return the alternatives of a record, with their inputs linked into a folder.

    Parameters
    ----------
    record : ProvenanceRecord
    inputs : list of InputFile
        From `find_inputs`.
    folder : Path
    arguments : Namespace
        With n_procs.

    Raises
    ------
    ValueError
        As `recorded_settings`, and where the record names what it has not.
    """
    from nipype_group.workflows.multiverse import AlternativeAnalysis

    # Those that read the same find it in one place, so that what they share is computed once.
    places: dict[str, Path] = {}
    found = []
    for own, read in record.alternatives(inputs):
        key = json.dumps([own.content["Source"], own.content["Inputs"]])
        place = places.setdefault(key, folder / f"{len(places) + 1:03d}")
        files, values = stage_inputs(own, read, place)
        settings = _here(recorded_settings(own, values), arguments)
        found.append(
            AlternativeAnalysis(own.content["Choices"], own.content["Name"], settings, files)
        )
    return found


def recorded_settings(record: ProvenanceRecord, values: dict[str, Any]) -> AnalysisSettings:
    """Return the settings of a record.

    Parameters
    ----------
    record : ProvenanceRecord
    values : dict
        Its settings by name, with the places of files.

    Raises
    ------
    ValueError
        Where this version does not know them, or they are no analysis.
    """
    path = record.top / PROVENANCE_NAME
    values = current_settings(values, path)
    known = {field.name for field in fields(AnalysisSettings)}
    strange = sorted(set(values) - known)
    if strange:
        raise ValueError(
            f"{path} has settings that this version does not know: {', '.join(strange)}; take "
            f"the version {record.content['SoftwareVersions'].get('nipype_group')}"
        )
    try:
        return AnalysisSettings(**values)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: its Settings are no analysis ({error})") from error


def _compare(record, wanted, replayed):
    """Print what differs and how much is equal; tell whether all is."""
    recorded = record.content["Outputs"]
    names = list(recorded) if wanted is None else wanted
    files = {name: _Outcome.of(record, name, replayed) for name in names}
    later = []
    if wanted is None:
        made = _files(replayed, record)
        files |= {n: _Outcome("only in the replay", MISSING) for n in made if n not in recorded}
        own = _files(record.top, record)
        later = [n for n in own if n not in (PROVENANCE_NAME, CRATE_NAME, *recorded, *files)]
    width = max(map(len, files))
    for name, outcome in files.items():
        if wanted is not None or outcome.state not in _SAME:
            print(f"{name:{width}}  {outcome.words}")
    for name in later[:_MOST_NAMED]:
        print(f"{name} was not made by the run; it is not compared")
    for line in _summary(record, list(files.values())):
        print(line)
    n_equal = sum(outcome.state in _SAME for outcome in files.values())
    print(f"{n_equal} of {len(files)} files are equal bit for bit")
    return n_equal == len(files)


def _files(top, record):
    results = top / record.results.relative_to(record.top)
    files = sorted(path for path in results.rglob("*") if path.is_file())
    return [path.relative_to(top).as_posix() for path in files]


@dataclass(frozen=True)
class _Outcome:
    """How a result compares to what was made again, in words."""

    words: str
    state: str
    # Largest distance of numbers; of figures there is none.
    relative: float | None = None
    # Whether the run is known to have written other bytes than now stand there.
    changed_since: bool = False
    # What the record lacks and the file made again has, at its default.
    new_settings: tuple = ()

    @classmethod
    def of(cls, record: ProvenanceRecord, name: str, replayed: Path) -> _Outcome:
        path, again = record.top / name, replayed / name
        if not path.is_file():
            return cls("missing", MISSING)
        if not again.is_file():
            return cls("not made again", MISSING)
        settings = record.content["Settings"]
        found = compare_files(
            path, again, alpha=settings.get("alpha"), defaults=settings_lacking(settings)
        )
        if found is None:
            return cls(EQUAL, EQUAL)
        changed = name in record.content["Outputs"] and not record.is_as_written(name)
        since = " (changed since the run)" if changed else ""
        text, state, relative = difference_text(found), found.get("State"), found.get("Relative")
        if state == VERSIONS:
            words = "equal but for versions"
        elif state == SETTINGS:
            words = f"equal but for {text}"
        elif state is None or (changed and relative == 0):
            # No other version of zlib compressed what was changed by hand.
            words, state = f"differs: {text}", DIFFERENT
        elif relative == 0:
            words = f"equal in content: {text}"
        else:
            words = f"equal but for rounding: {text}"
        aside = tuple(found.get("NewSettings", ()))
        return cls(words + since, state, relative, changed, aside)


def _summary(record, outcomes):
    """Yield in lines what is set aside, what is rounding, and what either may come from."""
    n_versions = sum(outcome.state == VERSIONS for outcome in outcomes)
    n_settings = sum(outcome.state == SETTINGS for outcome in outcomes)
    aside = list(dict.fromkeys(name for outcome in outcomes for name in outcome.new_settings))
    n_packed = sum(outcome.state == ROUNDING and outcome.relative == 0 for outcome in outcomes)
    rounding = [o.relative or 0.0 for o in outcomes if o.state == ROUNDING and o.relative != 0]
    if aside:
        yield f"{new_settings_text(aside)}, which are not compared: {', '.join(aside)}"
    if n_versions:
        yield (
            f"{_files_are(n_versions)} equal but for versions of software that they name, "
            "which are not compared"
        )
    if n_settings:
        yield f"{_files_are(n_settings)} equal but for such settings, and perhaps versions"
    if n_packed:
        yield f"{_files_are(n_packed)} equal in content and written or compressed otherwise"
    if rounding:
        yield (
            f"{_files_are(len(rounding))} equal but for rounding, by up to "
            f"{max(rounding):.2g} of their values; survivors, clusters, peaks and decisions in "
            f"{'it' if len(rounding) == 1 else 'them'} are the same"
        )
    # Where a file was changed by hand nothing else is the cause.
    apart = [o for o in outcomes if o.state in (ROUNDING, DIFFERENT) and not o.changed_since]
    causes = record.other_processor()
    if apart and causes:
        yield f"Likely cause, another processor or BLAS than then: {'; '.join(causes)}"


def _files_are(number):
    return "1 file is" if number == 1 else f"{number} files are"
