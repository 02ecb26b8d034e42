"""``nipype-group nidm``: results as a NIDM-Results pack."""

from pathlib import Path

from nipype_group.cli import run
from nipype_group.reporting.nidm.pack import write_nidm_pack


def add_parser(commands):
    """Add the subcommand to the command's parser."""
    parser = commands.add_parser(
        "nidm",
        help="export results as a NIDM-Results pack",
        description="Write finished results as a NIDM-Results 1.3.0 pack, which NeuroVault and "
        "other programs read.",
    )
    parser.add_argument("results", metavar="DIR", help="results of a run, or their folder group")
    parser.add_argument("--contrast", metavar="C", help="one contrast; default: all")
    parser.add_argument(
        "--desc", metavar="D", help="one threshold, as file names have it: fdrBH; default: all"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="the pack; default: *_nidm.zip in the folder group"
    )
    parser.set_defaults(execute=execute)


def execute(arguments):
    """Write the pack and print where it is; returns the exit code."""
    if not Path(arguments.results).is_dir():
        raise run.UsageError(f"{Path(arguments.results).absolute()} is no folder")
    output = None if arguments.output is None else Path(arguments.output).absolute()
    if output is not None and not output.parent.is_dir():
        raise run.UsageError(f"{output.parent} does not exist")
    path = write_nidm_pack(
        arguments.results, contrast=arguments.contrast, desc=arguments.desc, out_file=output
    )
    print(f"NIDM-Results pack {path}")
    return 0
