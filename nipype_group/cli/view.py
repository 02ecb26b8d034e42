"""``nipype-group view``: an interactive page of any map."""

import argparse

from nipype_group.cli.guard import UsageError
from nipype_group.reporting.viewer.page import check_viewer, write_viewer
from nipype_group.reporting.viewer.viewed import read_viewed


def execute(arguments: argparse.Namespace) -> int:
    """Write the page and print what it shows and where it is; returns the exit code."""
    if arguments.threshold is not None and arguments.threshold <= 0:
        raise UsageError(f"--threshold is above 0, got {arguments.threshold:g}")
    try:
        # Before the map is read.
        check_viewer(arguments.output, cortex=arguments.surface)
        viewed = read_viewed(
            arguments.results,
            contrast=arguments.contrast,
            stat=arguments.map,
            desc=arguments.desc,
            height=arguments.threshold,
        )
        page = write_viewer(arguments.output, viewed, cortex=arguments.surface)
    except (ValueError, OSError) as error:
        raise UsageError(error) from error
    print(f"{viewed.name}: {viewed.sentence}")
    for note in viewed.notes:
        print(f"  Warning: {note}")
    print(f"Viewer    {page}")
    return 0
