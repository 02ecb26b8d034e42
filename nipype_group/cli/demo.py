"""``nipype-group demo``: the analyses on demonstration data."""

import argparse
import sys
from pathlib import Path

from nipype_group.cli import run
from nipype_group.cli.command_text import command_text
from nipype_group.cli.commands import add_run
from nipype_group.cli.guard import UsageError, guarded
from nipype_group.cli.options import (
    add_execution,
    add_provenance,
    add_replace,
    given_settings,
    say_settings,
)
from nipype_group.cli.parser import CommandParser
from nipype_group.cli.screen import plain_output
from nipype_group.data.generate import generate
from nipype_group.data.localizer import fetch_localizer
from nipype_group.execution.lock import LOCK_NAME
from nipype_group.reporting.derivatives.folder import check_output_dir
from nipype_group.settings.figures import FigureSettings
from nipype_group.whole_files import is_free
from nipype_group.workflows.analyses import ANALYSES

_MOST_NAMED = 3
_REAL = ("association", "paired_two_sample")


def execute(arguments: argparse.Namespace) -> int:
    """Make the data and run the analysis; returns the exit code."""
    output_dir = Path(arguments.output_dir).absolute()
    # Before data are made.
    run.plugin_arguments(arguments)
    settings = _settings(arguments.name, arguments)
    _check_place(output_dir)
    if arguments.dataset == "localizer":
        if arguments.name not in _REAL:
            raise UsageError(f"--dataset localizer is for {' and '.join(_REAL)}")
        if arguments.null:
            raise UsageError("--null goes with --dataset generated")
        data = fetch_localizer(arguments.name, output_dir / "data")
    else:
        data = generate(arguments.name, output_dir / "data", null=arguments.null)
    return _analyse(arguments.name, settings, data, arguments)


def run_script(name: str, description: str, argv: list[str] | None = None) -> int:
    """Run one of the analyses as a script: on generated data, or on BIDS derivatives.

    Parameters
    ----------
    name : str
        Name of the analysis.
    description : str
        What the script's help says.
    argv : list of str, optional
        Arguments; default: those of the process.

    Returns
    -------
    int
        Exit code.
    """
    parser = CommandParser(description=description)
    parser.add_argument("output_dir", metavar="OUT", help="folder of the results")
    parser.add_argument("--bids", metavar="DIR", help="BIDS derivatives; default: generated data")
    add_execution(parser)
    add_provenance(parser)
    add_replace(parser)

    def execute(arguments):
        output_dir = Path(arguments.output_dir).absolute()
        run.plugin_arguments(arguments)
        if arguments.bids:
            check_output_dir(output_dir)
        else:
            _check_place(output_dir)
        data = arguments.bids or generate(name, output_dir / "data")
        return _analyse(name, _settings(name, arguments), Path(data).absolute(), arguments)

    command_line = [parser.prog, *(sys.argv[1:] if argv is None else argv)]
    parser.set_defaults(execute=execute, parser=parser, command_line=command_line)
    with plain_output():
        return guarded(name, parser.parse_args(argv))


def _check_place(output_dir):
    """Refuse a folder with other data: a demonstration takes a new one, or an earlier one of it.

    Whether the data of an earlier one are those of this one is seen where they are made.
    """
    check_output_dir(output_dir)
    if not is_free(output_dir / "data") or not output_dir.is_dir():
        return
    others = sorted(
        path.name
        for path in output_dir.iterdir()
        # The last are of a demonstration that was killed while it made its data.
        if path.name not in ("data", LOCK_NAME) and not path.name.startswith(".data-")
    )
    if others:
        more = ", ..." if len(others) > _MOST_NAMED else ""
        raise UsageError(
            f"{output_dir} holds other data ({', '.join(others[:_MOST_NAMED])}{more}): give a new "
            "or empty folder for the demonstration"
        )


def _settings(name, arguments):
    """Return the settings of an analysis on this machine, its figures as options say."""
    drawn = given_settings(arguments, FigureSettings)
    return ANALYSES[name].settings.changed(
        figures=run.can_draw(), n_procs=run.processors(arguments), **drawn
    )


def _analyse(name, settings, data, arguments):
    analysis = ANALYSES[name]
    files = {"bids_dir": str(data), "select": list(analysis.select)}
    print("Runs     ", _command(settings, files, arguments))
    code = run.run_analysis(settings, files, arguments)
    for folder, changes in analysis.beside.items():
        if code:
            break
        own, other = _beside(arguments, folder), settings.changed(**changes)
        print("\nBeside it", _command(other, files, own))
        code = run.run_analysis(other, files, own)
        print(f"Compare   nipype-group diff {arguments.output_dir} {own.output_dir}")
    return code


def _command(settings, files, arguments):
    """Return the command that makes the same analysis of the data."""
    subcommands = CommandParser(prog="nipype-group").add_subparsers()
    add_run(subcommands)
    parser = subcommands.choices["run"]
    words = [arguments.output_dir, "--bids", files["bids_dir"], "--select", *files["select"]]
    same = parser.parse_args(words)
    say_settings(same, settings)
    return command_text(parser, same, places=True)


def _beside(arguments, folder):
    """Return the arguments of an analysis beside that of the output folder."""
    output_dir = Path(arguments.output_dir).absolute()
    work_dir = Path(arguments.work_dir or output_dir.with_name(f"{output_dir.name}-work"))
    changed = {
        "output_dir": str(output_dir / folder),
        "work_dir": str(work_dir.with_name(f"{work_dir.name}-{folder}")),
    }
    return argparse.Namespace(**{**vars(arguments), **changed})
