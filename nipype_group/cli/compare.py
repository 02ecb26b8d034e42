"""``nipype-group compare``: the maps of two analyses against each other."""

import argparse
from pathlib import Path

from nipype_group.cli.guard import UsageError
from nipype_group.reporting.agreement.compare import compare
from nipype_group.reporting.agreement.page import (
    overlap_lines,
    sentence,
    write_numbers,
    write_page,
)


def execute(arguments: argparse.Namespace) -> int:
    """Compare the maps, print how far they agree and write the page; returns the exit code."""
    pairs = [_pair(text) for text in arguments.contrast]
    if arguments.peak_distance_mm < 0:
        raise UsageError(f"--peak-distance-mm is 0 or more, got {arguments.peak_distance_mm:g}")
    if arguments.threshold is not None and arguments.threshold <= 0:
        raise UsageError(f"--threshold is above 0, got {arguments.threshold:g}")
    try:
        found = compare(
            arguments.first,
            arguments.second,
            stat=arguments.map,
            desc=arguments.desc,
            contrasts=pairs,
            height=arguments.threshold,
            peak_distance_mm=arguments.peak_distance_mm,
        )
        if arguments.json:
            write_numbers(arguments.json, found)
        page = write_page(arguments.output, found, arguments.first, arguments.second)
    except (ValueError, OSError) as error:
        raise UsageError(error) from error
    for one in found:
        print(sentence(one))
        for line in overlap_lines(one):
            print(f"  {line}")
        for note in one.notes:
            print(f"  Warning: {note}")
    print(f"Page      {Path(page)}")
    return 0


def _pair(text):
    """Return the contrasts that a text names, A or A=B."""
    first, _, second = text.partition("=")
    if not first or ("=" in text and not second):
        raise UsageError(f"--contrast {text!r} is NAME, or NAME=NAME of the other analysis")
    return first, second or first
