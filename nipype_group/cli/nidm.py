"""``nipype-group nidm``: results as a NIDM-Results pack."""

import argparse
from pathlib import Path

from nipype_group.cli.guard import UsageError
from nipype_group.reporting.nidm.pack import write_nidm_pack


def execute(arguments: argparse.Namespace) -> int:
    """Write the pack and print where it is; returns the exit code."""
    if not Path(arguments.results).is_dir():
        raise UsageError(f"{Path(arguments.results).absolute()} is no folder")
    output = None if arguments.output is None else Path(arguments.output).absolute()
    if output is not None and not output.parent.is_dir():
        raise UsageError(f"{output.parent} does not exist")
    path = write_nidm_pack(
        arguments.results, contrast=arguments.contrast, desc=arguments.desc, out_file=output
    )
    print(f"NIDM-Results pack {path}")
    return 0
