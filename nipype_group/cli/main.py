"""The command ``nipype-group``."""

import argparse
import gc
import os
import sys

# Nipype would look for a newer version over the network when its first interface is built.
os.environ.setdefault("NO_ET", "1")

from nipype_group._version import __version__
from nipype_group.cli import ended_by_interrupt

with ended_by_interrupt():
    from nipype_group.cli import commands
    from nipype_group.cli.guard import guarded
    from nipype_group.cli.parser import CommandParser
    from nipype_group.cli.screen import plain_output
    from nipype_group.compilation import compile_aside
    from nipype_group.whole_files import why_undecoded

# Commands that compute.
_ANALYSES = "run", "demo", "multiverse", "replay"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command and its subcommands."""
    parser = CommandParser(
        prog="nipype-group",
        description="Group-level fMRI statistics: from one map per subject to a labelled result.",
        epilog="nipype-group demo association results   shows a whole analysis on made-up data",
    )
    parser.add_argument("--version", action="version", version=f"nipype-group {__version__}")
    subcommands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_run(subcommands)
    commands.add_plan(subcommands)
    commands.add_multiverse(subcommands)
    commands.add_validate(subcommands)
    commands.add_init(subcommands)
    commands.add_demo(subcommands)
    commands.add_report(subcommands)
    commands.add_nidm(subcommands)
    commands.add_replay(subcommands)
    commands.add_diff(subcommands)
    commands.add_compare(subcommands)
    commands.add_view(subcommands)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 only when all results are there.

    Parameters
    ----------
    argv : list of str, optional
        Arguments; default: those of the process.

    Returns
    -------
    int
        0 where everything worked, 1 where the analysis failed, 2 where the arguments are wrong.
    """
    with ended_by_interrupt(), plain_output():
        try:
            parser = build_parser()
        except (ValueError, argparse.ArgumentError) as error:
            # As a package brings what cannot be loaded, or an option that there is.
            print(f"nipype-group: {error}", file=sys.stderr)
            return 2
        arguments = parser.parse_args(argv)
        arguments.command_line = ["nipype-group", *(sys.argv[1:] if argv is None else argv)]
        for text in arguments.command_line:
            # As bytes of a file's name that are no text come here.
            if said := why_undecoded(text):
                print(f"nipype-group {arguments.command}: {said}", file=sys.stderr)
                return 2
        if arguments.command in _ANALYSES:
            compile_aside()
        code = guarded(f"nipype-group {arguments.command}", arguments)
        if argv is None:
            # The process ends, so that nothing of all that it holds need be collected.
            gc.freeze()
        return code


if __name__ == "__main__":
    sys.exit(main())
