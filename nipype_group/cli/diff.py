"""``nipype-group diff``: what tells two runs apart."""

import argparse

from nipype_group.cli.guard import UsageError
from nipype_group.reporting.comparison.runs import (
    compare_runs,
    comparison_text,
    write_comparison,
)
from nipype_group.reporting.page.side_by_side import check_is_one


def execute(arguments: argparse.Namespace) -> int:
    """Compare the runs and print what differs; returns the exit code."""
    try:
        for folder in (arguments.first, arguments.second):
            check_is_one(folder)
        found = compare_runs(arguments.first, arguments.second)
        if arguments.json:
            write_comparison(found, arguments.json)
    except (ValueError, OSError) as error:
        raise UsageError(error) from error
    if found:
        print(comparison_text(found))
    return 1 if found else 0
