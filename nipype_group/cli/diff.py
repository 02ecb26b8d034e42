"""``nipype-group diff``: what tells two runs apart."""

from nipype_group.cli import run
from nipype_group.reporting.comparison.runs import (
    compare_runs,
    comparison_text,
    write_comparison,
)


def add_parser(commands):
    """Add the subcommand to the command's parser."""
    parser = commands.add_parser(
        "diff",
        help="tell two runs apart",
        description="Compare the results of two runs: inputs, exclusions, parameters, versions, "
        "design, contrasts, voxels, rows. Only what differs is printed. The exit code is 0 where "
        "nothing differs, 1 where something does, 2 where they cannot be compared.",
    )
    parser.add_argument("first", metavar="A", help="results of a run, or their folder group")
    parser.add_argument("second", metavar="B", help="the same of another run")
    parser.add_argument("--json", metavar="FILE", help="write all differences as JSON too")
    parser.set_defaults(execute=execute)


def execute(arguments):
    """Compare the runs and print what differs; returns the exit code."""
    try:
        found = compare_runs(arguments.first, arguments.second)
        if arguments.json:
            write_comparison(found, arguments.json)
    except (ValueError, OSError) as error:
        raise run.UsageError(error) from error
    if found:
        print(comparison_text(found))
    return 1 if found else 0
