"""A group analysis as one call: what ``nipype-group run`` does, from objects of Python."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import tempfile
import threading
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import fields
from numbers import Integral
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

# Sets how Nipype starts, and so comes before what imports it.
from nipype_group.cli.main import build_parser  # isort: skip
from nipype_group.analysis.alternatives import MultiverseResult
from nipype_group.analysis.inputs import (
    Unlike,
    image_path,
    settings_file,
    source_words,
    type_of,
    words_of_record,
)
from nipype_group.analysis.result import GroupResult, GroupResults
from nipype_group.choices import nearest
from nipype_group.cli import run
from nipype_group.cli.command_text import command_text
from nipype_group.cli.places import check_places
from nipype_group.cli.replay import recorded_settings
from nipype_group.execution import WorkflowError
from nipype_group.reporting.page.side_by_side import holds_index
from nipype_group.reporting.records.inputs import find_inputs
from nipype_group.reporting.records.record import ProvenanceRecord
from nipype_group.settings.analysis import AnalysisSettings, PeerSettings
from nipype_group.settings.records import about_of
from nipype_group.whole_files import AnyPath

# What a report on another package's results is told beside settings.
_OF_PEERS = ("dof", "package")
# The screen and the working folder are those of the process: calls of several threads take turns.
_ONE_AT_A_TIME = threading.RLock()


class AnalysisWarning(UserWarning):
    """What a run assumes, leaves out or doubts, as its command tells it on the screen."""


def analyse(
    maps: Any,
    participants: Any = None,
    *,
    formula: str | None = None,
    contrasts: Mapping[str, str] | Sequence[str] = (),
    output_dir: AnyPath | None = None,
    select: Mapping[str, Any] | None = None,
    variance_select: Mapping[str, Any] | None = None,
    variances: Any = None,
    mask: Any = None,
    search_volume: Any = None,
    design: AnyPath | None = None,
    shuffles: AnyPath | None = None,
    replace: bool = False,
    progress: bool = True,
    plugin: str = "MultiProc",
    n_procs: int | None = None,
    work_dir: AnyPath | None = None,
    **settings: Any,
) -> GroupResult | GroupResults:
    """Analyse maps of participants; the same as ``nipype-group run``, with the same files.

    Parameters
    ----------
    maps : DataFrame, path, image, or sequence of path and image
        A table with the columns participant_id and map (and what tells maps of a participant
        apart, covariates of maps, and variance), whose maps are paths or images of nibabel; a
        table of this kind as a file; a folder of BIDS derivatives, with `select`; a pattern with
        ``{subject}``; a 4D image, whose volumes are rows of `participants`; or a list of maps in
        the order of the rows of `participants`.
    participants : DataFrame or path, optional
        Table with the column, or the index, participant_id.
    formula : str, optional
        The model, as ``"age + C(group)"``.
    contrasts : dict of str to str, or sequence of str
        Name to expression over the columns of the design, or ``NAME=EXPRESSION``.
    output_dir : path, optional
        Folder of the results. Without one they last as long as what is returned.
    select, variance_select : dict, optional
        Entities of the maps, and of their variances, of a BIDS folder: ``{"stat": "effect"}``.
        Every value of an entity that is ``"*"`` is an analysis of its own, as with `each`.
    variances : image or str, optional
        4D image of the variances of a 4D image, or the pattern of those of a pattern.
    mask, search_volume : path or image, optional
        Voxels analysed, and those that inference searches.
    design : path, optional
        Table with a column a regressor, in the place of a formula.
    shuffles : path, optional
        Shuffles to use, a row each.
    replace : bool
        Whether results of another selection of maps in `output_dir` are replaced.
    progress : bool
        Whether a bar shows how far the analysis is.
    plugin : str
        Nipype plugin.
    n_procs : int, optional
        Processors; default all that are allowed.
    work_dir : path, optional
        Work folder; default one beside `output_dir`.
    **settings
        Settings of `nipype_group.settings.analysis.AnalysisSettings` by name, as
        ``smoothing_fwhm_mm=6`` or ``n_permutations=5000``.

    Returns
    -------
    GroupResult
        With ``each`` among the settings, or an entity left open, `GroupResults`: one by the name
        of every analysis.

    Raises
    ------
    TypeError
        Where a setting is unknown, or maps are of no kind that a run reads.
    ValueError, OSError
        Where inputs or settings cannot be used, with the message of the command.
    RuntimeError
        Where the analysis failed.

    Warns
    -----
    AnalysisWarning
        Of what the command tells as a warning.
    """
    with _folder(output_dir, "results") as (folder, temporary):
        arguments, words = _request(
            "run",
            folder,
            folder.parent / "data" if temporary else folder / "data",
            source=(maps, participants, select, variance_select, variances),
            images={"mask": mask, "search_volume": search_volume},
            places={"design": design, "shuffles": shuffles, "work_dir": work_dir},
            how=(plugin, n_procs, replace, progress),
        )
        named = {"formula": formula, "contrasts": _definitions(contrasts)} | settings
        unlike = Unlike.of(maps, participants)
        said = _told(lambda: _run(arguments, words, named, unlike))
        kind = GroupResults if holds_index(folder) else GroupResult
        return kind(folder, messages=said, temporary=temporary)


def multiverse(
    maps: Any,
    participants: Any = None,
    *,
    alternatives: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    formula: str | None = None,
    contrasts: Mapping[str, str] | Sequence[str] = (),
    output_dir: AnyPath | None = None,
    select: Mapping[str, Any] | None = None,
    variance_select: Mapping[str, Any] | None = None,
    variances: Any = None,
    mask: Any = None,
    search_volume: Any = None,
    design: AnyPath | None = None,
    replace: bool = False,
    progress: bool = True,
    plugin: str = "MultiProc",
    n_procs: int | None = None,
    work_dir: AnyPath | None = None,
    **settings: Any,
) -> MultiverseResult:
    """Analyse maps by all alternatives; the same as ``nipype-group multiverse``.

    Parameters
    ----------
    maps, participants, formula, contrasts, select, variance_select, variances
        As of `analyse`.
    mask, search_volume, design, replace, progress, plugin, n_procs, work_dir
        As of `analyse`.
    alternatives : dict, or sequence of dict
        Settings by name to the list of their values, of which all products are taken, as
        ``{"smoothing_fwhm_mm": [4, 8], "exclude": [[], ["age > 45"]]}``; names to choices of
        several settings, as ``{"model": {"plain": {"formula": "age"}}}``; or a list of
        alternatives, each with its ``name`` and settings.
    output_dir : path, optional
        Folder in which ``multiverse`` is made. Without one the results last as long as what is
        returned.
    **settings
        Settings that all alternatives share, as ``n_permutations=5000``.

    Returns
    -------
    MultiverseResult

    Raises
    ------
    TypeError, ValueError, OSError, RuntimeError
        As `analyse`; naming the alternative by its choices.

    Warns
    -----
    AnalysisWarning
        Of what the command tells as a warning.
    """
    from nipype_group.cli.multiverse.command import execute

    with _folder(output_dir, "results") as (folder, temporary):
        data = folder.parent / "data" if temporary else folder / "data"
        named, of_machine = _shared(formula, contrasts, settings)
        arguments, words = _request(
            "multiverse",
            folder,
            data,
            source=(maps, participants, select, variance_select, variances),
            images={"mask": mask, "search_volume": search_volume},
            places={"design": design, "work_dir": work_dir},
            how=(plugin, n_procs, replace, progress),
            further=lambda: ["--settings", settings_file(named, alternatives, data)],
        )
        vars(arguments).update(of_machine, command_line=["nipype-group", *words])
        unlike = Unlike.of(maps, participants)

        def run_them():
            check_places(arguments)
            return execute(arguments, unlike.check)

        said = _told(run_them)
        return MultiverseResult(folder, messages=said, temporary=temporary)


def analyse_again(
    record: ProvenanceRecord,
    output_dir: AnyPath | None,
    progress: bool = True,
    plugin: str = "MultiProc",
) -> GroupResult:
    """Analyse alone what a record tells of, from its inputs where they are; see `analyse`.

    Parameters
    ----------
    record : ProvenanceRecord
        Of an analysis, or of one of alternatives.
    output_dir : path, optional
    progress : bool
    plugin : str

    Raises
    ------
    InputsError
        Where inputs are not what they were.
    """
    find_inputs(record.inputs)
    with _folder(output_dir, "results") as (folder, temporary):
        check_places(Namespace(output_dir=_place(folder, "output_dir")))
        words, values = words_of_record(record)
        words = ["run", str(folder), f"--plugin={plugin}", *words]
        arguments = build_parser().parse_args(words)
        arguments.progress = progress
        settings = recorded_settings(record, values)
        named = {
            item.name: getattr(settings, item.name)
            for item in fields(settings)
            if not about_of(item).of_machine or item.name == "figures"
        }
        said = _told(lambda: _run(arguments, words, named))
        return GroupResult(folder, messages=said, temporary=temporary)


def _shared(formula, contrasts, settings):
    """Return the settings of a file, and those of the machine, which no file holds."""
    known = AnalysisSettings.__dataclass_fields__
    for name in settings:
        if name not in known:
            raise TypeError(f"{name} is no setting{nearest(name, known)}")
    named = {"formula": formula, "contrasts": _definitions(contrasts)} | settings
    named = {n: _several(AnalysisSettings, n, _of_python(value)) for n, value in named.items()}
    return named, {n: named.pop(n) for n in settings if about_of(known[n]).of_machine}


def _request(command, folder, data, *, source, images, places, how, further=None):
    """Return the arguments of a command and its words; what is in memory is written to `data`."""
    plugin, n_procs, replace, progress = how
    places = {name: _place(value, name) for name, value in places.items() if value is not None}
    _check_kinds(plugin, n_procs, replace=replace, progress=progress)
    # Before anything is written.
    check_places(Namespace(output_dir=str(folder), **places))
    words = [
        command,
        str(folder),
        f"--plugin={plugin}",
        *source_words(*source[:2], data, *source[2:]),
    ]
    for name, given in images.items():
        if given is not None:
            words += [f"--{name.replace('_', '-')}", image_path(given, data, name)]
    for name, value in places.items():
        words += [f"--{name.replace('_', '-')}", value]
    words += [] if further is None else further()
    arguments = build_parser().parse_args(words)
    arguments.n_procs = None if n_procs is None else int(n_procs)
    arguments.replace, arguments.progress = replace, progress
    return arguments, words


def _check_kinds(plugin, n_procs, **switches):
    """Refuse what no option can be, which Python would take for something else."""
    if not isinstance(plugin, str):
        raise TypeError(f"plugin is {type_of(plugin)}; give the name of a plugin of Nipype")
    if n_procs is not None and (isinstance(n_procs, bool) or not isinstance(n_procs, Integral)):
        raise TypeError(f"n_procs is {type_of(n_procs)}; give a whole number")
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} is {type_of(value)}; give True or False")


def _place(value, name):
    """Return a place that a call names, as an absolute path."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} is {type_of(value)}; give a path")
    if not os.fspath(value):
        raise ValueError(f"{name} is empty; name a file or folder")
    return str(Path(value).absolute())


@contextmanager
def _folder(output_dir, name):
    """Yield the folder of results, and what goes with them where no folder is given."""
    with _ONE_AT_A_TIME:
        if output_dir is not None:
            yield Path(_place(output_dir, "output_dir")), None
            return
        temporary = Path(tempfile.mkdtemp(prefix="nipype-group-"))
        try:
            yield temporary / name, temporary
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, WorkflowError):
                raise WorkflowError(_without(str(error), temporary), error.failures) from None
            if isinstance(error, (ValueError, TypeError)) and len(error.args) == 1:
                # Tables in it go with it: their names tell enough.
                error.args = (str(error).replace(f"{temporary / 'data'}{os.sep}", ""),)
            raise


def _without(message, folder):
    """Return the message of a failure without the lines on files that go with their folder."""
    lines = [line for line in message.splitlines() if str(folder) not in line]
    lines = [line for line in lines if line and "is kept: the same command" not in line]
    return "\n".join([*lines, "With output_dir the traceback and what is done are kept"])


def _of_python(value):
    """Return the numbers of Python that numbers and arrays of NumPy or pandas hold."""
    if isinstance(value, (list, tuple)):
        return tuple(_of_python(each) for each in value)
    return value.tolist() if hasattr(value, "tolist") else value


def _definitions(contrasts):
    """Return contrasts as the settings have them."""
    if contrasts is None:
        return ()
    if isinstance(contrasts, str):
        raise TypeError(f"contrasts is a dict or a list of NAME=EXPRESSION, got {contrasts!r}")
    if isinstance(contrasts, Mapping):
        return tuple(f"{name}={expression}" for name, expression in contrasts.items())
    if not isinstance(contrasts, Iterable):
        raise TypeError(
            f"contrasts is {type_of(contrasts)}; give a dict or a list of NAME=EXPRESSION"
        )
    return tuple(contrasts)


def _several(record, name, value):
    """Return a value as the list that its setting is, where it is one."""
    kind = getattr(record.__dataclass_fields__.get(name), "type", None)
    kinds = (kind, *get_args(kind)) if isinstance(kind, UnionType) else (kind,)
    is_list = any(get_origin(each) is tuple for each in kinds)
    return (value,) if is_list and not isinstance(value, (list, tuple)) else value


def _run(arguments, words, named, unlike=None):
    """Run what the arguments and the settings ask for."""
    named = {name: _of_python(value) for name, value in named.items()}
    named = {
        name: _several(AnalysisSettings, name, value)
        for name, value in named.items()
        if value is not None and not (isinstance(value, tuple) and not value)
    }
    check_places(arguments)
    places = {name: None for name in vars(arguments)}
    settings, files = run.request_of(arguments, named)
    if unlike is not None:
        unlike.check(settings, files)
    # The words name what is read; the settings stand behind them as options.
    of_settings = Namespace(**vars(arguments) | places)
    command = shlex.split(command_text(arguments.parser, of_settings))
    arguments.command_line = ["nipype-group", *words, *command[2:]]
    return run.run_analysis(settings, files, arguments)


def _told(execute: Callable[[], int]) -> tuple[str, ...]:
    """Carry a command out; return the lines that it prints, its warnings as such."""
    screen = io.StringIO()
    with redirect_stdout(screen):
        code = execute()
    lines = tuple(screen.getvalue().splitlines())
    if code:
        raise RuntimeError(" ".join(lines))
    for line in lines:
        if line.startswith("Warning: "):
            warnings.warn(line.removeprefix("Warning: "), AnalysisWarning, stacklevel=3)
    return lines


def report_of(results: AnyPath, output_dir: AnyPath | None = None, **settings: Any) -> GroupResult:
    """Report results of another package, as ``nipype-group report`` does; see `GroupResult.load`.

    Parameters
    ----------
    results : path
        Folder of the results.
    output_dir : path, optional
        Folder of the report. Without one it lasts as long as what is returned.
    **settings
        Settings of `nipype_group.settings.analysis.PeerSettings` by name; ``package``, and
        ``dof``, a number of t or two of F, where files do not state them.

    Returns
    -------
    GroupResult

    Raises
    ------
    TypeError
        Where a name is no setting; the nearest is named.
    """
    from nipype_group.cli.report import report_peer

    known = [*PeerSettings.__dataclass_fields__, *_OF_PEERS]
    for name in settings:
        if name not in known:
            raise TypeError(f"{name} is no setting{nearest(name, known)}")

    with _folder(output_dir, "report") as (folder, temporary):
        words = ["report", str(Path(results).absolute()), str(folder)]
        arguments = build_parser().parse_args(words)
        for name, value in settings.items():
            given = _several(PeerSettings, name, value)
            if name == "dof":
                given = [value if isinstance(value, tuple) else (value,)]
            # Settings that are dictionaries stand for themselves alone.
            setattr(arguments, name, {name: given} if isinstance(given, dict) else given)
        arguments.progress, arguments.command_line = True, ["nipype-group", *words]

        def execute():
            check_places(arguments)
            return report_peer(arguments)

        return GroupResult(folder, messages=_told(execute), temporary=temporary)
