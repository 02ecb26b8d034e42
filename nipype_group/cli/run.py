"""``nipype-group run``: a group analysis from the command line."""

from __future__ import annotations

import argparse
import importlib.util
import json
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nipype_group.choices import ACROSS_ANALYSES
from nipype_group.cli.guard import UsageError
from nipype_group.cli.inputs import check_inputs
from nipype_group.cli.options import given_settings, say_settings, without_replaced
from nipype_group.cli.origin import Origin
from nipype_group.design.extent import factors_of_model, study_extent
from nipype_group.design.fsl import fsl_contrast_definitions, fsl_f_definitions
from nipype_group.design.listed_maps import listed_maps
from nipype_group.design.participants.each import open_entities
from nipype_group.design.participants.map_covariates import covariate_names, split_covariate
from nipype_group.design.sources import (
    ENTITY_ALIASES,
    escape_pattern,
    find_bids_maps,
    listed_once,
    not_taken,
    parse_selection,
)
from nipype_group.design.words import canonical
from nipype_group.processor import allowed_processors
from nipype_group.reporting.derivatives.folder import (
    check_name_lengths,
    check_output_dir,
    common_entities,
)
from nipype_group.reporting.page.side_by_side import holds_index
from nipype_group.reporting.page.summary import summarise
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.settings.files import read_settings, with_places, write_settings

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

    from nipype_group.execution import RunResult
    from nipype_group.execution.memory import StudySize
    from nipype_group.settings.analysis import PeerSettings

# Variances of the maps, and the source that each goes with.
_VARIANCES_OF = {
    "variance_select": "bids_dir",
    "variance_pattern": "pattern",
    "variance_stack_file": "stack_file",
}
_SOURCE_OPTIONS = {"bids_dir": "bids", "pattern": "pattern", "stack_file": "stack"}
# Of the participants that are named in a line.
_SHOWN = 10
NO_FIGURES = 'No figures: matplotlib is not installed (pip install "nipype_group[report]")'


class Foreseen(NamedTuple):
    """Size of a study, and the GiB that every node of its workflow may take, by its name."""

    size: StudySize
    memory_gib: dict


def execute(arguments: argparse.Namespace) -> int:
    """Run the analysis that the arguments ask for; returns the exit code."""
    if arguments.model is not None:
        from nipype_group.cli.model import execute_run

        return execute_run(arguments)
    settings, files = request_of(arguments)
    if arguments.save_settings is not None:
        try:
            write_settings(arguments.save_settings, settings)
        except ValueError as error:
            raise UsageError(f"--save-settings: {error}") from error
    return run_analysis(settings, files, arguments)


def request_of(
    arguments: Namespace, given: Mapping[str, Any] | None = None
) -> tuple[AnalysisSettings, dict[str, Any]]:
    """Return the settings that the arguments ask for, and the inputs of `init_group_wf`.

    Parameters
    ----------
    arguments : Namespace
    given : dict, optional
        Settings by name, in the place of those of options, which they are told as.

    Raises
    ------
    UsageError
        Where arguments contradict each other or are out of range.
    """
    try:
        settings = _settings(arguments, given)
        if arguments.bids and settings.combine:
            # Columns of maps of a data set are called as entities are in names of files.
            over = (ENTITY_ALIASES.get(name, name) for name in settings.combine)
            settings = settings.changed(combine=tuple(dict.fromkeys(over)))
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
        # What the run writes there is no map that it reads.
        if arguments.output_dir is not None:
            files["left_out_folders"] = [str(Path(arguments.output_dir).absolute() / "group")]
    if arguments.shuffles and not settings.n_permutations:
        raise UsageError("--shuffles goes with --permutations, how many of them to use")
    if arguments.select:
        if not arguments.bids:
            raise UsageError("--select goes with --bids")
        left_open, files["select"] = open_entities(arguments.select)
        settings = settings.changed(each=tuple(dict.fromkeys((*settings.each, *left_open))))
    _add_variances(files, arguments)
    # Those that a file of settings names alone are columns of the table of maps.
    add_map_covariates(files, arguments.map_covariate or settings.map_covariates)
    return settings, files


def _add_variances(files, arguments):
    """Add what names the variances of the maps to the inputs."""
    if arguments.variance_select:
        files["variance_select"] = arguments.variance_select
    if arguments.variance_pattern:
        pattern = str(Path(escape_pattern(Path.cwd()), arguments.variance_pattern))
        files["variance_pattern"] = pattern
    if arguments.variance_stack:
        files["variance_stack_file"] = str(Path(arguments.variance_stack).absolute())
    for name, source in _VARIANCES_OF.items():
        if name in files and source not in files:
            option = name.removesuffix("_file").replace("_", "-")
            raise UsageError(f"--{option} goes with --{_SOURCE_OPTIONS[source]}")


def add_map_covariates(files: dict[str, Any], items: Iterable[str]) -> None:
    """Add where covariates that are maps lie to the inputs.

    Parameters
    ----------
    files : dict
        Inputs of `init_group_wf`.
    items : iterable of str
        Names, with their places where they are no columns of the table of maps.

    Raises
    ------
    UsageError
        Where a place is lacking, and the maps are none of a table.
    """
    found = []
    for item in items:
        name, place = split_covariate(item)
        if place is None:
            if "maps_table" not in files:
                raise UsageError(
                    f"--map-covariate {name} is a column of --maps, which is not given; write "
                    f"{name}=GLOB with {{subject}}, or with --stack {name}=4D"
                )
            found.append(name)
        elif "stack_file" in files:
            found.append(f"{name}={Path(place).absolute()}")
        else:
            found.append(f"{name}={Path(escape_pattern(Path.cwd()), place)}")
    if found:
        files["map_covariates"] = found


def notes_of_covariates(settings: AnalysisSettings) -> Iterator[str]:
    """Yield what is done with covariates that are maps."""
    if not settings.map_covariates:
        return
    names = ", ".join(settings.map_covariates)
    fwhm = [f"{v:g}" for v in settings.fwhm_mm_of_covariates if v]
    smoothed = f"smoothed with {' x '.join(fwhm)} mm FWHM" if fwhm else "not smoothed"
    whose = "" if settings.map_covariate_fwhm_mm or not fwhm else ", as the maps"
    yield (
        f"Covariates that are maps: {names}, {smoothed}{whose}, and centred at each voxel on "
        "their mean over maps where the model holds a constant; a voxel that one lacks counts as "
        "missing in its map"
    )
    if settings.regions and settings.labels_regions:
        yield "No models of regions: covariates that are maps are those of voxels"


def notes_of_variances(settings: AnalysisSettings, files: dict[str, Any]) -> Iterator[str]:
    """Yield what is not made of variances, or not of them where the estimator takes them."""
    if settings.takes_variances:
        if settings.regions and settings.labels_regions:
            yield (
                "No models of regions: the variance of the mean of a region depends on how noise "
                "varies together between voxels, which variances of voxels do not tell"
            )
        return
    try:
        given = bool(_VARIANCES_OF.keys() & files.keys()) or (
            "maps_table" in files
            and any(entry.variance for entry in listed_maps(files, settings.variables))
        )
    except (ValueError, OSError):
        # The run says what is wrong.
        return
    if given and settings.combine:
        yield (
            f"Variances of the maps weight those that are combined, and the estimator "
            f"{settings.estimator} takes none: they have no further part (--estimator names those "
            "that take them)"
        )
    elif given:
        yield (
            f"Variances of the maps are given, and the estimator {settings.estimator} takes none: "
            "they have no part in the results (--estimator names those that take them)"
        )


def not_taken_lines(files: dict[str, Any]) -> Iterator[str]:
    """Yield who lies in a data set and is not taken, and why."""
    if "bids_dir" not in files:
        return
    try:
        selection = parse_selection(files.get("select", []))
        entries = find_bids_maps(files["bids_dir"], selection)
    except (ValueError, OSError):
        # The run says what is wrong.
        return
    by_reason: dict[str, list[str]] = {}
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
        if suffix in {".con", ".fts"} and not Path(item).is_file():
            raise UsageError(f"--contrast {item} does not exist")
        if suffix == ".con":
            con_file = item
            definitions += fsl_contrast_definitions(item)
        elif suffix == ".fts":
            if con_file is None:
                raise ValueError(f"--contrast {item} goes behind the --contrast FILE.con it is of")
            definitions += fsl_f_definitions(item, con_file)
        else:
            definitions.append(item)
    return tuple(definitions)


def _settings(arguments, named=None):
    """Return the settings that the arguments, or those that are named, and their file give."""
    values = {} if arguments.settings is None else read_settings(arguments.settings)
    given = given_settings(arguments, AnalysisSettings) if named is None else dict(named)
    given = with_places(given, Path.cwd())
    if getattr(arguments, "map_covariate", None):
        given["map_covariates"] = covariate_names(arguments.map_covariate)
    if "contrasts" in given:
        given["contrasts"] = _contrast_definitions(given["contrasts"])
        # Sidecars tell what was asked, not the file that asked it.
        arguments.contrasts = list(given["contrasts"])
    words = [name for name in ("within", "between", "covariates") if given.get(name)]
    if arguments.design is not None and words:
        raise ValueError(
            f"--design {arguments.design} is a model beside {', '.join(words)}; give one of them"
        )
    # The model of the options takes the place of that of the file.
    if arguments.design is not None or words:
        given.setdefault("formula", None)
    if arguments.design is not None or given.get("formula") is not None:
        given |= {name: () for name in ("within", "between", "covariates") if name not in given}
    values = without_replaced(values, given) | given
    words = [name for name in ("within", "between", "covariates") if values.get(name)]
    if arguments.design is None and values.get("formula") is None and not words:
        raise ValueError(
            "one model is needed: --formula, --within and --between, --design, or --model"
        )
    if not values.get("contrasts") and not words:
        raise ValueError("at least one --contrast NAME=EXPR is needed")
    machine = {
        "figures": can_draw() and values.get("figures", True),
        "n_procs": processors(arguments),
    }
    if arguments.settings is None:
        settings = AnalysisSettings(**values | machine)
    else:
        try:
            settings = AnalysisSettings(**values | machine)
        except ValueError as error:
            raise ValueError(f"{error} ({arguments.settings} and options together)") from error
    if arguments.settings is not None or named is not None:
        say_settings(arguments, settings)
    return settings


def can_draw() -> bool:
    """Tell whether figures can be drawn here."""
    return importlib.util.find_spec("matplotlib") is not None


def processors(arguments: argparse.Namespace) -> int:
    """Return the number of processors to use."""
    if arguments.n_procs is not None and arguments.n_procs < 1:
        raise ValueError(f"--n-procs is a number >= 1, got {arguments.n_procs}")
    return arguments.n_procs or allowed_processors()


def run_analysis(
    settings: AnalysisSettings, files: dict[str, Any], arguments: argparse.Namespace
) -> int:
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
    if settings.each:
        from nipype_group.cli.side_by_side import run_each

        return run_each(settings, files, arguments)
    if settings.across_analyses != ACROSS_ANALYSES[0]:
        raise UsageError("--across-analyses goes with --each, which makes several analyses")
    # Raises before files are read.
    plugin_arguments(arguments)
    if holds_index(arguments.output_dir):
        place = Path(arguments.output_dir).absolute()
        raise UsageError(f"{place} holds analyses side by side; take another OUT")
    with listed_once():
        settings = of_known_tests(settings, files)
        workflow, origin = _prepare(settings, files, arguments)
    code = carry_out(workflow, files, arguments, settings.n_procs, origin)
    if code == 0 and not can_draw():
        print(NO_FIGURES)
    return code


def of_known_tests(settings: AnalysisSettings, files: dict[str, Any]) -> AnalysisSettings:
    """Return settings whose contrasts tell what they test, where they name factors."""
    if settings.model is None:
        return settings
    try:
        factors, numeric = factors_of_model(files, settings.model)
    except (ValueError, LookupError, OSError):
        # The run says it better.
        return settings
    # A covariate that no contrast names has its t.
    own = settings.in_words and settings.contrasts == settings.factorial.definitions
    contrasts = canonical(settings.contrasts, factors, numeric if own else ())
    return settings if contrasts == settings.contrasts else settings.changed(contrasts=contrasts)


def _prepare(settings, files, arguments):
    """Check all that can be known; return the workflow and the origin of its results."""
    for line in told_before(settings, files):
        print(line)
    workflow, _ = checked_workflow(settings, files, arguments)
    origin = origin_of(settings, files, arguments)
    origin.tell(workflow)
    return workflow, origin


def told_before(settings: AnalysisSettings, files: dict[str, Any]) -> Iterator[str]:
    """Yield what is told of an analysis before it runs."""
    yield from not_taken_lines(files)
    yield from notes_of_covariates(settings)
    yield from notes_of_variances(settings, files)


def checked_workflow(
    settings: AnalysisSettings,
    files: dict[str, Any],
    arguments: Namespace,
    name: str = "group_wf",
) -> tuple[Any, Foreseen | None]:
    """Check what can be known before a run; return its workflow, and what it will take.

    Parameters
    ----------
    settings : AnalysisSettings
    files : dict
        Inputs of `init_group_wf`.
    arguments : Namespace
        output_dir, which may be None, and the options of `add_execution`.
    name : str
        Of the workflow.

    Returns
    -------
    workflow : Workflow
        With the memory of its nodes.
    foreseen : Foreseen or None
        None where tables and headers do not tell.

    Raises
    ------
    UsageError, ValueError
        Where the analysis cannot be made.
    """
    if arguments.output_dir is not None:
        check_output_dir(arguments.output_dir)
    names = check_inputs(files, settings.variables, settings.takes_variances)
    own = {key: value for key in ("task", "space") if (value := getattr(settings, key))}
    check_name_lengths(common_entities(names) | own, settings.contrast_labels)
    settings.read_atlases()
    settings.check_anatomy(_first_map(settings, files))
    from nipype_group.workflows import init_group_wf

    if settings.by_estimator:
        _check_estimator(settings, files)
    workflow = init_group_wf(settings=settings, name=name)
    return workflow, _foresee_memory(workflow, settings, files, arguments)


def _first_map(settings, files):
    """Return a map of an analysis, None where none is listed."""
    if settings.anatomy_file is None:
        return None
    if "stack_file" in files:
        return files["stack_file"]
    try:
        return next((entry.path for entry in listed_maps(files, settings.variables)), None)
    except (ValueError, LookupError, OSError):
        # The run says it better.
        return None


def _check_estimator(settings, files):
    """Refuse what the estimator would refuse of the design once all maps are read."""
    from nipype_group.cli.plan.analysis import check_estimator, foreseen_model

    try:
        _, design, _, contrasts = foreseen_model(settings, files)
    except (ValueError, LookupError, OSError):
        # The run says it better.
        return
    check_estimator(settings, design, contrasts)


def origin_of(
    settings: AnalysisSettings | PeerSettings,
    files: Mapping[str, Any],
    arguments: argparse.Namespace,
) -> Origin:
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


def plugin_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of the plugin, read from JSON and checked."""
    from nipype_group.execution.plugin_arguments import check_plugin

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


def foreseen_size(settings: AnalysisSettings, files: dict[str, Any]) -> StudySize | None:
    """Return the size of a study by tables and the headers of its maps; None where they fail.

    Raises
    ------
    UsageError
        Where random field theory lacks an axis.
    """
    try:
        n_maps, shape, n_columns, n_voxels, n_read = study_extent(
            files, settings.model, settings.min_coverage, settings.combine
        )
    except (ValueError, LookupError, OSError):
        # The run says it better, of all maps.
        return None
    if min(shape) < 2 and settings.by_random_fields:
        raise UsageError(
            "random field theory needs two voxels or more along every axis, the maps have "
            f"{' x '.join(map(str, shape))}; take another --height-control, as fdr, or "
            "--permutations"
        )
    from nipype_group.execution.memory import StudySize

    return StudySize(n_maps, shape, n_columns, len(settings.contrasts), n_voxels, n_read=n_read)


def _foresee_memory(workflow, settings, files, arguments):
    """Declare the memory of all nodes, by the headers of the maps; too little is an error."""
    size = foreseen_size(settings, files)
    if size is None:
        return None
    from nipype_group.execution.memory import check_memory, declare_memory

    declared = declare_memory(workflow, size)
    if arguments.plugin == "MultiProc":
        check_memory(declared, plugin_arguments(arguments).get("memory_gb"))
    return Foreseen(size, declared)


def carry_out(
    workflow: Workflow,
    files: Mapping[str, Any],
    arguments: argparse.Namespace,
    n_procs: int,
    origin: Origin,
) -> int:
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
    from nipype_group.execution import FolderLock, quiet_nipype, run_workflow

    output_dir = Path(arguments.output_dir).absolute()
    if not arguments.verbose:
        quiet_nipype()
    workflow.inputs.inputnode.trait_set(output_dir=str(output_dir), **files)
    if (output_dir / "work").is_dir():
        print(f"{output_dir / 'work'} is of an older version and not used; it can be deleted")
    how = how_to_run(arguments, n_procs)
    with FolderLock(output_dir, "output folder"), origin.watched(workflow):
        result = run_workflow(workflow, inputs=origin.input_paths, **how)
        if missing := missing_results(result, output_dir):
            print(missing)
            return 1
        origin.record(result)
    print(summarise(output_dir, result.work_dir))
    return 0


def how_to_run(arguments: argparse.Namespace, n_procs: int) -> dict[str, Any]:
    """Return how the arguments ask `run_workflow` to run."""
    output_dir = Path(arguments.output_dir).absolute()
    return {
        "work_dir": arguments.work_dir or output_dir.with_name(f"{output_dir.name}-work"),
        "plugin": arguments.plugin,
        "plugin_args": plugin_arguments(arguments),
        "n_procs": n_procs,
        "progress": getattr(arguments, "progress", not arguments.verbose),
    }


def missing_results(result: RunResult, output_dir: Path) -> str | None:
    """Say which results are not where the run wrote them; None where all are."""
    written = result.outputs.get("out_files", [])
    missing = [path for path in written if not Path(path).exists()]
    if missing or not written:
        return f"results are missing: {', '.join(missing) or output_dir}"
    return None
