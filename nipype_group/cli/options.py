"""Options that commands share.

Nothing here needs more than the names of choices, so that help appears at once.
"""

import argparse
import math

from nipype_group.choices import (
    APPROXIMATIONS,
    BLOCK_EXCHANGES,
    CONNECTIVITIES,
    CONVENTIONS,
    METHODS,
    SCALES,
    SHUFFLINGS,
    STATISTICS,
)
from nipype_group.controls import TAILS, height_controls


def add_thresholds(parser):
    """Add the options of thresholds; returns their group, and that of forming heights."""
    inference = parser.add_argument_group("inference")
    inference.add_argument("--tail", choices=TAILS, default="two-sided", help="side tested")
    inference.add_argument(
        "--height-control", choices=height_controls(), action="append",
        help="repeatable; default fdr, or none with --threshold-z",
    )  # fmt: skip
    inference.add_argument("--alpha", metavar="A", type=finite, default=0.05, help="default 0.05")
    inference.add_argument(
        "--threshold-z", metavar="Z", type=finite, help="height with --height-control none"
    )
    inference.add_argument(
        "--cluster-extent", metavar="K", type=int, default=0, help="smallest cluster, in voxels"
    )
    inference.add_argument(
        "--connectivity", type=int, choices=sorted(CONNECTIVITIES), default=26,
        help="neighbours of a voxel, default 26",
    )  # fmt: skip
    inference.add_argument(
        "--cluster-control", choices=("rft",), help="clusters by random field theory of extent"
    )
    forming = inference.add_mutually_exclusive_group()
    forming.add_argument("--cluster-forming-z", metavar="Z", type=finite, help="of the clusters")
    forming.add_argument("--cluster-forming-p", metavar="P", type=finite, help="default .001")
    inference.add_argument(
        "--ari", metavar="Z[,Z...]", type=_heights, default=(),
        help="true discovery proportions of the clusters at these heights in z",
    )  # fmt: skip
    return inference, forming


def add_tables(parser):
    """Add the options of tables and report; returns their group."""
    report = parser.add_argument_group("report")
    report.add_argument(
        "--atlas", metavar="NAME|FILE", nargs="+", action="extend",
        help="atlases of the tables, or none; default AAL, Desikan-Killiany, Harvard-Oxford",
    )  # fmt: skip
    report.add_argument("--space", metavar="S", help="space of the maps, for the file names")
    report.add_argument(
        "--table-view", metavar="NAME[,NAME...]", type=_names, default=(),
        help=f"tables also as {', '.join(CONVENTIONS)} lay them out",
    )  # fmt: skip
    report.add_argument(
        "--viewer", action="store_true",
        help="embed an interactive viewer in the report, 0.7 MB a contrast",
    )  # fmt: skip
    return report


def add_inference(parser):
    """Add the options of thresholds, permutation and reporting."""
    inference, forming = add_thresholds(parser)
    forming.add_argument(
        "--cluster-forming-statistic", metavar="S", type=finite,
        help="in t, F or pseudo-t, of the clusters of permutations",
    )  # fmt: skip
    inference.add_argument(
        "--nonstationary", action="store_true", help="cluster extents in local resels"
    )
    add_permutation(parser)
    report = add_tables(parser)
    report.add_argument(
        "--no-regions", action="store_true", help="fit no models to the means of atlas regions"
    )
    report.add_argument("--nidm", action="store_true", help="write a NIDM-Results pack too")


def add_permutation(parser):
    """Add the options of permutation."""
    group = parser.add_argument_group("permutation")
    group.add_argument(
        "--permutations", metavar="N", type=int, default=0,
        help="familywise error by N shuffles; the same command with more extends a finished run",
    )  # fmt: skip
    group.add_argument(
        "--statistics", metavar="NAME[,NAME...]", type=_names, default=("voxel",),
        help=f"of every shuffle: {', '.join(STATISTICS)}; default voxel, which is always taken",
    )  # fmt: skip
    group.add_argument(
        "--statistic-scale", choices=SCALES, default="statistic",
        help="run cluster mass and TFCE on t and F (default) or on z",
    )  # fmt: skip
    group.add_argument("--shuffling", choices=SHUFFLINGS, default="auto", help="default auto")
    group.add_argument(
        "--shuffles", metavar="FILE", help="shuffles to use, a row each, as FSL's -P writes them"
    )
    group.add_argument("--method", choices=METHODS, default=METHODS[0], help="for the nuisance")
    group.add_argument(
        "--blocks", metavar="COLUMN[,COLUMN]|FILE", type=_names, default=(),
        help="exchangeability blocks, outermost first, or a table as PALM's -eb",
    )  # fmt: skip
    group.add_argument(
        "--block-exchange", choices=BLOCK_EXCHANGES, default=BLOCK_EXCHANGES[0],
        help="exchange maps within blocks (default), blocks as wholes, or both",
    )  # fmt: skip
    group.add_argument(
        "--variance-groups", metavar="COLUMN", help="groups with a variance of their own"
    )
    group.add_argument(
        "--variance-smooth", metavar="MM", type=finite, default=0.0,
        help="smooth variances: pseudo-t, for few maps",
    )  # fmt: skip
    group.add_argument(
        "--p-approximation", choices=APPROXIMATIONS, default=APPROXIMATIONS[0],
        help="tail of the null distributions: counted (default), or a fitted curve",
    )  # fmt: skip
    group.add_argument(
        "--early-stop", metavar="K", type=int, nargs="?", const=20, default=0,
        help="stop a voxel once K shuffles reach it (20): uncorrected p and their FDR alone",
    )  # fmt: skip
    group.add_argument(
        "--across-contrasts",
        action="store_true",
        help="correct for all contrasts that are shuffled alike together",
    )
    group.add_argument(
        "--tdp-template", choices=("none", "simes", "learned"), default="none",
        help="bound the true discoveries of --ari by a template that the shuffles calibrate",
    )  # fmt: skip
    group.add_argument("--shards", metavar="K", type=int, help="parts of the permutations")
    group.add_argument(
        "--voxel-shards", metavar="K", type=int, default=1,
        help="ranges of voxels of every shard, for thousands of maps; voxels alone",
    )  # fmt: skip
    group.add_argument("--seed", metavar="S", type=int, default=0, help="of the shuffles")
    group.add_argument(
        "--memory-gb", metavar="GB", type=finite, default=1.0, help="of a shard, default 1"
    )


def finite(text):
    """Return the number that an option names."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no finite number")
    return value


def _heights(text):
    return tuple(finite(item) for item in text.split(","))


def _names(text):
    return tuple(item.strip() for item in text.split(","))


def add_execution(parser, work_dir="default OUT-work"):
    """Add the options of how it runs; `work_dir` is what the help says of that option."""
    execution = parser.add_argument_group("execution")
    execution.add_argument(
        "--plugin", metavar="NAME", default="MultiProc", help="Nipype plugin, default MultiProc"
    )
    execution.add_argument("--plugin-args", metavar="JSON", help="its arguments")
    execution.add_argument("--work-dir", metavar="DIR", help=work_dir)
    execution.add_argument(
        "--n-procs", metavar="N", type=int, help="processors, default all that are allowed"
    )
    execution.add_argument("--verbose", action="store_true", help="show Nipype's log")


def add_provenance(parser):
    """Add the option of W3C PROV."""
    parser.add_argument(
        "--provenance", action="store_true",
        help="write W3C PROV of every step to OUT/provenance too; takes some seconds",
    )  # fmt: skip


def add_replace(parser):
    """Add the option that lets results of other maps be replaced."""
    parser.add_argument(
        "--replace", action="store_true",
        help="replace results of another selection of maps that stand in OUT",
    )  # fmt: skip
