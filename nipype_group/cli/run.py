"""``nipype-group run``: a group analysis from the command line."""

import argparse
import importlib.util
import json
import math
import sys
import tempfile
import traceback
from pathlib import Path

from nipype_group.cli.inputs import check_inputs
from nipype_group.cli.origin import Origin, add_provenance, add_replace
from nipype_group.cli.places import PlaceError, check_places
from nipype_group.controls import TAILS, height_controls
from nipype_group.design.extent import study_extent
from nipype_group.design.fsl import fsl_contrast_definitions, fsl_f_definitions
from nipype_group.design.sources import (
    escape_pattern,
    find_bids_maps,
    not_taken,
    parse_selection,
)
from nipype_group.execution import (
    FolderLock,
    allowed_processors,
    quiet_nipype,
    run_workflow,
)
from nipype_group.execution.memory import StudySize, check_memory, declare_memory
from nipype_group.execution.plugin_arguments import check_plugin
from nipype_group.reporting.derivatives.folder import (
    check_name_lengths,
    check_output_dir,
    common_entities,
)
from nipype_group.reporting.page.summary import summarise
from nipype_group.reporting.tables.views import CONVENTIONS
from nipype_group.stats.clusters import CONNECTIVITIES
from nipype_group.stats.estimators import DEFAULT, ESTIMATORS
from nipype_group.stats.permutation.choice import BLOCK_EXCHANGES, SHUFFLINGS
from nipype_group.stats.permutation.methods import METHODS
from nipype_group.stats.permutation.p_values import APPROXIMATIONS
from nipype_group.stats.permutation.statistics import SCALES, STATISTICS
from nipype_group.workflows import AnalysisSettings, init_group_wf

_EPILOG = """\
examples:
  Correlation with a score, from BIDS derivatives, by FDR and by permutation:
    nipype-group run results --bids derivatives --select stat=effect suffix=statmap \\
        --formula "fluency + C(sex)" --contrast fluency=fluency --smooth 5 --permutations 5000

  One-sample test of SPM contrast images:
    nipype-group run results --pattern "first_level/{subject}/con_0001.nii" \\
        --formula 1 --contrast mean=intercept

  Two conditions within subjects, from a table with participant_id, condition and map:
    nipype-group run results --maps maps.tsv --formula "C(condition) + C(participant_id)" \\
        --contrast "difference=words - pictures" --height-control none --threshold-z 3.1

A contrast is NAME=EXPRESSION over the columns of the design: intercept, a covariate's name,
factor[level] or, where it is unique, the level alone. It takes + - * / ( ) and fractions; names
with other signs stand in `backticks`. Rows joined by ; make an F contrast.
The same command again goes on from what is done.
"""


# Of the participants that are named in a line.
_SHOWN = 10
NO_FIGURES = 'No figures: matplotlib is not installed (pip install "nipype_group[report]")'


class UsageError(ValueError):
    """Arguments that contradict each other or are out of range."""


def guarded(command, arguments):
    """Execute parsed arguments; errors become one message and an exit code.

    Parameters
    ----------
    command : str
        What the message starts with.
    arguments : Namespace
        With the function `execute`.

    Returns
    -------
    int
        0 where everything worked, 1 where the analysis failed, 2 where the arguments are wrong,
        130 where the user interrupted it, 128 and the number of the signal that terminated it.
    """
    try:
        check_places(arguments)
        return arguments.execute(arguments)
    except (UsageError, PlaceError) as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 2
    except RecursionError as error:
        print(f"{command}: {_unforeseen(error)}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{command}: {_with_place(error, arguments)}", file=sys.stderr)
        return 1
    except (ValueError, RuntimeError, ImportError) as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from what is done", file=sys.stderr)
        return 130
    except SystemExit as error:
        print("terminated; the same command goes on from what is done", file=sys.stderr)
        return error.code
    except Exception as error:
        print(f"{command}: {_unforeseen(error)}", file=sys.stderr)
        return 1


def _with_place(error, arguments):
    """Return the message of a system's error; one that names no file gets the folder written to.

    A disk that fills up while a file is written names none.
    """
    output = getattr(arguments, "output_dir", None)
    if error.errno is None or error.filename is not None or output is None:
        return str(error)
    return f"{error}, writing to {output} or beside it"


def _unforeseen(error):
    """Return one line on an error that nobody foresaw, whose traceback is kept in a file."""
    what = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="nipype-group-", suffix=".txt", delete=False, encoding="utf-8",
            errors="backslashreplace",
        ) as file:  # fmt: skip
            file.writelines(traceback.format_exception(error))
    except OSError as unwritten:
        return f"{what} (unforeseen; its traceback cannot be kept: {unwritten})"
    return f"{what} (unforeseen; its traceback is in {file.name}, please report it)"


def add_parser(commands):
    """Add the subcommand to the command's parser."""
    parser = commands.add_parser(
        "run",
        help="run a group analysis",
        description="Run a group analysis: collect maps, fit, threshold, permute, report.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output_dir", metavar="OUT", help="folder of the results, made if needed")
    maps = parser.add_argument_group("maps (one of the four)")
    source = maps.add_mutually_exclusive_group(required=True)
    source.add_argument("--maps", metavar="TABLE", help="TSV with participant_id and map")
    source.add_argument("--bids", metavar="DIR", help="BIDS derivatives, with --select")
    source.add_argument("--pattern", metavar="GLOB", help="glob with {subject}, in quotes")
    source.add_argument("--stack", metavar="4D", help="4D image, a map a volume")
    maps.add_argument(
        "--select", metavar="KEY=VALUE[,VALUE]", nargs="+", action="extend", default=[],
        help="entities of the maps in --bids; several values make a condition column",
    )  # fmt: skip
    maps.add_argument(
        "--participants", metavar="TSV", help="table of participants; with --stack a row a volume"
    )
    maps.add_argument(
        "--ids-as-numbers", action="store_true",
        help="take participants whose labels are the same number, as 1 and 01, for the same",
    )  # fmt: skip
    maps.add_argument("--mask", metavar="NII", help="mask; default: voxels present in every map")
    maps.add_argument(
        "--search-volume", metavar="MASK", help="mask of the voxels that inference searches"
    )
    maps.add_argument(
        "--mask-threshold", metavar="VALUE", type=finite,
        help="least value inside the mask and the search volume, where they hold probabilities",
    )  # fmt: skip
    maps.add_argument(
        "--zero-is-value", action="store_true",
        help="voxels of 0 have that value, as in maps of lesions or of accuracy above chance, and "
        "NaN alone is missing; default: 0 is missing too",
    )  # fmt: skip
    maps.add_argument(
        "--min-coverage", metavar="SHARE", type=finite, default=1.0,
        help="share of the maps that must have a voxel for it to be analysed; default 1: all",
    )  # fmt: skip
    maps.add_argument(
        "--smooth", metavar="MM", type=finite, nargs="+", default=[], help="FWHM, mm"
    )
    maps.add_argument(
        "--on-bad-map", choices=("error", "exclude"), default="error",
        help="unusable maps are an error (default), or are left out and listed",
    )  # fmt: skip
    model = parser.add_argument_group("model")
    design = model.add_mutually_exclusive_group(required=True)
    design.add_argument("--formula", metavar="F", help='as "fluency + C(group)", or 1')
    design.add_argument(
        "--design", metavar="TABLE", help="TSV with a column a regressor, FSL .mat"
    )
    model.add_argument(
        "--estimator", choices=tuple(ESTIMATORS), default=DEFAULT,
        help=f"what estimates the parameters, default {DEFAULT}",
    )  # fmt: skip
    model.add_argument(
        "--contrast", metavar="NAME=EXPR|FILE", action="append", required=True,
        help="repeatable; an FSL .con stands for its contrasts, a .fts after it for its F tests",
    )  # fmt: skip
    add_inference(parser)
    add_execution(parser)
    add_provenance(parser)
    add_replace(parser)
    parser.set_defaults(execute=execute, parser=parser)


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


def execute(arguments):
    """Run the analysis that the arguments ask for; returns the exit code."""
    try:
        arguments.contrast = _contrast_definitions(arguments.contrast)
        settings = _settings(arguments)
    except (ValueError, OSError) as error:
        raise UsageError(error) from error
    files = {
        "maps_table": arguments.maps,
        "bids_dir": arguments.bids,
        "stack_file": arguments.stack,
        "participants": arguments.participants,
        "mask_file": arguments.mask,
        "search_volume": arguments.search_volume,
        "design_table": arguments.design,
        "shuffles_file": arguments.shuffles,
    }
    files = {n: str(Path(path).absolute()) for n, path in files.items() if path is not None}
    if arguments.pattern:
        files["pattern"] = str(Path(escape_pattern(Path.cwd()), arguments.pattern))
    if arguments.shuffles and not settings.n_permutations:
        raise UsageError("--shuffles goes with --permutations, how many of them to use")
    if arguments.select:
        if not arguments.bids:
            raise UsageError("--select goes with --bids")
        files["select"] = arguments.select
    for line in _not_taken(files):
        print(line)
    return analyse(settings, files, arguments)


def _not_taken(files):
    """Yield who lies in a data set and is not taken, and why."""
    if "bids_dir" not in files:
        return
    try:
        selection = parse_selection(files.get("select", []))
        entries = find_bids_maps(files["bids_dir"], selection)
    except (ValueError, OSError):
        # The run says what is wrong.
        return
    by_reason = {}
    for label, reason in not_taken(files["bids_dir"], selection, entries).items():
        by_reason.setdefault(reason, []).append(label)
    for reason, labels in by_reason.items():
        more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
        what = "participant is" if len(labels) == 1 else "participants are"
        named = ", ".join(labels[:_SHOWN])
        yield f"{len(labels)} {what} in the folder and not taken, {named}{more}: {reason}"


def _contrast_definitions(items):
    """Put the contrasts of FSL's files in the place of the files."""
    definitions, con_file = [], None
    for item in items:
        suffix = "" if "=" in item else Path(item).suffix
        if suffix == ".con":
            con_file = item
            definitions += fsl_contrast_definitions(item)
        elif suffix == ".fts":
            if con_file is None:
                raise ValueError(f"--contrast {item} goes behind the --contrast FILE.con it is of")
            definitions += fsl_f_definitions(item, con_file)
        else:
            definitions.append(item)
    return definitions


def _settings(arguments):
    controls = arguments.height_control
    if controls is None:
        controls = ["none"] if arguments.threshold_z is not None else ["fdr"]
    return AnalysisSettings(
        contrasts=tuple(arguments.contrast),
        formula=arguments.formula,
        estimator=arguments.estimator,
        smoothing_fwhm_mm=tuple(arguments.smooth),
        tail=arguments.tail,
        height_controls=tuple(controls),
        alpha=arguments.alpha,
        threshold_z=arguments.threshold_z,
        cluster_extent=arguments.cluster_extent,
        connectivity=arguments.connectivity,
        cluster_control=arguments.cluster_control,
        cluster_forming_z=arguments.cluster_forming_z,
        cluster_forming_p=arguments.cluster_forming_p,
        cluster_forming_statistic=arguments.cluster_forming_statistic,
        nonstationary=arguments.nonstationary,
        ari_thresholds_z=arguments.ari,
        n_permutations=arguments.permutations,
        n_shards=arguments.shards,
        n_voxel_shards=arguments.voxel_shards,
        seed=arguments.seed,
        statistics=_statistics(arguments.statistics),
        statistic_scale=arguments.statistic_scale,
        variance_fwhm_mm=arguments.variance_smooth,
        shuffling=arguments.shuffling,
        method=arguments.method,
        blocks=_absolute(arguments.blocks),
        block_exchange=arguments.block_exchange,
        variance_groups=arguments.variance_groups,
        p_approximation=arguments.p_approximation,
        across_contrasts=arguments.across_contrasts,
        tdp_template=arguments.tdp_template,
        early_stop=arguments.early_stop,
        memory_gb=arguments.memory_gb,
        atlases=atlas_names(arguments.atlas),
        space=arguments.space,
        min_coverage=arguments.min_coverage,
        mask_threshold=arguments.mask_threshold,
        zero_is_value=arguments.zero_is_value,
        ids_as_numbers=arguments.ids_as_numbers,
        regions=not arguments.no_regions,
        table_views=arguments.table_view,
        nidm=arguments.nidm,
        viewer=arguments.viewer,
        on_bad_map=arguments.on_bad_map,
        figures=can_draw(),
        n_procs=processors(arguments),
    )


def _statistics(names):
    """Put voxel first, which is always taken."""
    return ("voxel", *(name for name in names if name != "voxel"))


def _absolute(blocks):
    """Give a file of blocks its absolute path; nodes run elsewhere."""
    if len(blocks) == 1 and Path(blocks[0]).is_file():
        return (str(Path(blocks[0]).absolute()),)
    return blocks


def atlas_names(names):
    """Give files of atlases, which have a suffix, their absolute path."""
    if names is None:
        return None
    files = (Path(name) for name in names)
    return tuple(
        str(file.absolute()) if file.suffix and file.is_file() else name
        for file, name in zip(files, names, strict=True)
    )


def can_draw():
    """Tell whether figures can be drawn here."""
    return importlib.util.find_spec("matplotlib") is not None


def processors(arguments):
    """Return the number of processors to use."""
    if arguments.n_procs is not None and arguments.n_procs < 1:
        raise ValueError(f"--n-procs is a number >= 1, got {arguments.n_procs}")
    return arguments.n_procs or allowed_processors()


def analyse(settings, files, arguments):
    """Run a group analysis and print where its results are.

    Parameters
    ----------
    settings : AnalysisSettings
        The analysis.
    files : dict
        Inputs of `init_group_wf`.
    arguments : Namespace
        output_dir and the options of `add_execution`.

    Returns
    -------
    int
        0 where all results are there.
    """
    # Raises before files are read.
    plugin_arguments(arguments)
    check_output_dir(arguments.output_dir)
    names = check_inputs(files, settings.variables)
    own = {key: value for key in ("task", "space") if (value := getattr(settings, key))}
    check_name_lengths(common_entities(names) | own, settings.contrast_labels)
    settings.read_atlases()
    workflow = init_group_wf(settings=settings)
    _foresee_memory(workflow, settings, files, arguments)
    origin = origin_of(settings, files, arguments)
    origin.tell(workflow)
    code = carry_out(workflow, files, arguments, settings.n_procs, origin)
    if code == 0 and not settings.figures:
        print(NO_FIGURES)
    return code


def origin_of(settings, files, arguments):
    """Record what results are made from.

    Raises
    ------
    UsageError
        Where results of another selection of maps stand in the output folder.
    """
    origin = Origin(settings, files, arguments)
    if reason := origin.refusal():
        way = ", or give --replace" if hasattr(arguments, "replace") else ""
        raise UsageError(
            f"{Path(arguments.output_dir).absolute()} holds {reason}; take another OUT{way}"
        )
    return origin


def plugin_arguments(arguments):
    """Return the arguments of the plugin, read from JSON and checked."""
    try:
        plugin_args = json.loads(arguments.plugin_args or "{}")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--plugin-args is no JSON: {error}") from error
    if not isinstance(plugin_args, dict):
        raise UsageError(f"--plugin-args is a JSON object, got {arguments.plugin_args}")
    try:
        check_plugin(arguments.plugin, plugin_args)
    except ValueError as error:
        raise UsageError(error) from error
    return plugin_args


def _foresee_memory(workflow, settings, files, arguments):
    """Declare the memory of all nodes, by the headers of the maps; too little is an error."""
    try:
        n_maps, shape, n_columns, n_voxels = study_extent(
            files, settings.formula, settings.min_coverage
        )
    except (ValueError, LookupError, OSError):
        # The run says it better, of all maps.
        return
    if min(shape) < 2 and settings.by_random_fields:
        raise UsageError(
            "random field theory needs two voxels or more along every axis, the maps have "
            f"{' x '.join(map(str, shape))}; take another --height-control, as fdr, or "
            "--permutations"
        )
    size = StudySize(n_maps, shape, n_columns, len(settings.contrasts), n_voxels)
    declared = declare_memory(workflow, size)
    if arguments.plugin == "MultiProc":
        check_memory(declared, plugin_arguments(arguments).get("memory_gb"))


def carry_out(workflow, files, arguments, n_procs, origin):
    """Run a workflow that keeps derivatives, and print what it found and where they are.

    Parameters
    ----------
    workflow : Workflow
        Its node keep writes the derivatives.
    files : dict
        Inputs of its inputnode.
    arguments : Namespace
        output_dir and the options of `add_execution`.
    n_procs : int
        Processors to use.
    origin : Origin
        Of the results; it records what they were made from.

    Returns
    -------
    int
        0 where all results are there.
    """
    output_dir = Path(arguments.output_dir).absolute()
    plugin_args = plugin_arguments(arguments)
    if not arguments.verbose:
        quiet_nipype()
    workflow.inputs.inputnode.trait_set(output_dir=str(output_dir), **files)
    work_dir = arguments.work_dir or output_dir.with_name(f"{output_dir.name}-work")
    if (output_dir / "work").is_dir():
        print(f"{output_dir / 'work'} is of an older version and not used; it can be deleted")
    with FolderLock(output_dir, "output folder"), origin.watched(workflow):
        result = run_workflow(
            workflow,
            work_dir=work_dir,
            plugin=arguments.plugin,
            plugin_args=plugin_args,
            n_procs=n_procs,
            progress=not arguments.verbose,
            inputs=origin.input_paths,
        )
        written = result.outputs.get("out_files", [])
        missing = [path for path in written if not Path(path).exists()]
        if missing or not written:
            print(f"results are missing: {', '.join(missing) or output_dir}")
            return 1
        origin.record(result)
    print(summarise(output_dir, result.work_dir))
    return 0
