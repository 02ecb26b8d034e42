"""A group analysis as one call: what ``nipype-group run`` does, from objects of Python."""

from __future__ import annotations

import io
import shlex
import shutil
import tempfile
import threading
import warnings
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

# Sets how Nipype starts, and so comes before what imports it.
from nipype_group.cli.main import build_parser  # isort: skip
from nipype_group.analysis.inputs import image_path, source_words
from nipype_group.analysis.result import GroupResult, GroupResults
from nipype_group.choices import nearest
from nipype_group.cli import run
from nipype_group.cli.command_text import command_text
from nipype_group.cli.places import check_places
from nipype_group.execution import WorkflowError
from nipype_group.reporting.page.side_by_side import holds_index
from nipype_group.settings.analysis import AnalysisSettings, PeerSettings
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
        data = folder.parent / "data" if temporary else folder / "data"
        words = ["run", str(folder), "--plugin", plugin]
        words += source_words(maps, participants, data, select, variance_select, variances)
        for name, given in {"mask": mask, "search_volume": search_volume}.items():
            if given is not None:
                option = f"--{name.replace('_', '-')}"
                words += [option, image_path(given, data, name)]
        places = {"design": design, "shuffles": shuffles, "work-dir": work_dir}
        for name, place in places.items():
            if place is not None:
                words += [f"--{name}", str(Path(place).absolute())]
        arguments = build_parser().parse_args(words)
        arguments.n_procs, arguments.replace, arguments.progress = n_procs, replace, progress
        named = {"formula": formula, "contrasts": _definitions(contrasts)} | settings
        named = {name: _of_python(value) for name, value in named.items()}
        named = {
            name: _several(AnalysisSettings, name, value)
            for name, value in named.items()
            if value not in (None, ())
        }
        said = _told(lambda: _run(arguments, words, named))
        kind = GroupResults if holds_index(folder) else GroupResult
        return kind(folder, messages=said, temporary=temporary)


@contextmanager
def _folder(output_dir, name):
    """Yield the folder of results, and what goes with them where no folder is given."""
    with _ONE_AT_A_TIME:
        if output_dir is not None:
            yield Path(output_dir).absolute(), None
            return
        temporary = Path(tempfile.mkdtemp(prefix="nipype-group-"))
        try:
            yield temporary / name, temporary
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, WorkflowError):
                raise WorkflowError(_without(str(error), temporary), error.failures) from None
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
    return tuple(contrasts)


def _several(record, name, value):
    """Return a value as the list that its setting is, where it is one."""
    kind = getattr(record.__dataclass_fields__.get(name), "type", None)
    kinds = (kind, *get_args(kind)) if isinstance(kind, UnionType) else (kind,)
    is_list = any(get_origin(each) is tuple for each in kinds)
    return (value,) if is_list and not isinstance(value, (list, tuple)) else value


def _run(arguments, words, named):
    """Run what the arguments and the settings ask for."""
    check_places(arguments)
    places = {name: None for name in vars(arguments)}
    settings, files = run.request_of(arguments, named)
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
