"""``nipype-group multiverse``: all analyses that there could have been, together."""

from __future__ import annotations

import copy
import shutil
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nipype_group.cli import run
from nipype_group.cli.guard import UsageError
from nipype_group.cli.inputs import check_inputs
from nipype_group.cli.options import given_settings, option_of, without_replaced
from nipype_group.cli.origin import watch_inputs
from nipype_group.cli.plan.analysis import check_estimator, foreseen_model
from nipype_group.design.sources import listed_once
from nipype_group.execution import FolderLock, WorkflowError, quiet_nipype, run_workflow
from nipype_group.execution.changed_inputs import forget_run
from nipype_group.execution.memory import check_memory, declare_memory
from nipype_group.reporting.multiverse.folder import SETTINGS, foreign_files
from nipype_group.reporting.records.watch import InputsChangedError, InputWatch
from nipype_group.reporting.wording import count
from nipype_group.settings.alternatives import (
    Alternative,
    check_alternatives,
    read_alternatives,
    statistic_of,
)
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.whole_files import is_free, whole_folder
from nipype_group.workflows.multiverse import AlternativeAnalysis, multiverse_graph

FOLDER = "multiverse"
# Of the names of alternatives that are listed in a line.
_SHOWN = 3


def execute(arguments: Namespace) -> int:
    """Run the alternatives that a file of settings lists; returns the exit code."""
    run.plugin_arguments(arguments)
    with listed_once():
        alternatives = asked_alternatives(arguments)
    output = Path(arguments.output_dir).absolute() / FOLDER
    _check_place(output)
    print(f"{count(len(alternatives), 'alternative')}, the first {alternatives[0].name}")
    return _carry_out(alternatives, output, arguments)


def asked_alternatives(arguments: Namespace) -> list[AlternativeAnalysis]:
    """Return the alternatives that the arguments ask for, each checked.

    Raises
    ------
    UsageError
        Naming the alternative that cannot be, by its choices.
    """
    try:
        listed = read_alternatives(arguments.settings)
    except (ValueError, OSError) as error:
        raise UsageError(error) from error
    given = given_settings(arguments, AnalysisSettings)
    for name in given:
        if len({repr(one.values.get(name)) for one in listed}) > 1:
            option = option_of(AnalysisSettings, name)
            raise UsageError(
                f"{option} goes before the file, and {arguments.settings} varies {name}; leave "
                "one of them out"
            )
    found = [_analysis(one, given, arguments) for one in listed]
    try:
        check_alternatives({one.name: one.settings for one in found})
    except ValueError as error:
        raise UsageError(f"{arguments.settings}: {error}") from error
    _check_models(found, arguments)
    for note in dict.fromkeys(note for one in found for note in _notes(one)):
        print(note)
    return found


def _analysis(
    alternative: Alternative, given: dict[str, Any], arguments: Namespace
) -> AlternativeAnalysis:
    """Return an alternative as an analysis of its own, options before what the file says."""
    own = copy.copy(arguments)
    own.settings = None
    values = without_replaced(alternative.values, given) | given
    try:
        settings, files = run.request_of(own, values)
        settings = run.of_known_tests(settings, files)
        check_inputs(files, settings.variables, settings.takes_variances)
        settings.read_atlases()
    except (UsageError, ValueError, TypeError, OSError) as error:
        raise UsageError(f"{arguments.settings}, {alternative.name}: {error}") from error
    if "left_out_folders" in files:
        files["left_out_folders"] = [str(Path(arguments.output_dir).absolute() / FOLDER)]
    return AlternativeAnalysis(alternative.choices, alternative.name, settings, files)


def _check_models(alternatives, arguments):
    """Build every model and its contrasts from names, tables and headers, before anything runs."""
    seen = set()
    for one in alternatives:
        model = statistic_of(one.settings.changed(smoothing_fwhm_mm=()))
        if model in seen:
            continue
        seen.add(model)
        try:
            _, design, _, contrasts = foreseen_model(one.settings, one.files)
            check_estimator(one.settings, design, contrasts)
        except (ValueError, OSError) as error:
            raise UsageError(f"{arguments.settings}, {one.name}: {error}") from error


def _notes(alternative):
    settings = alternative.settings
    yield from run.notes_of_covariates(settings)
    yield from run.notes_of_variances(settings, alternative.files)
    if len(settings.thresholds) > 1:
        names = ", ".join(threshold.control for threshold in settings.thresholds)
        yield (
            f"Of several height controls ({names}) the first decides what survives in an "
            "alternative"
        )


def _check_place(output):
    """Refuse a folder that holds something else, or is another one."""
    if output.is_symlink():
        raise UsageError(f"{output} is a link; results of a run are no links: take another OUT")
    if not is_free(output) and not (output / SETTINGS).is_file():
        raise UsageError(f"{output} holds something else than alternatives; take another OUT")


def _watches(alternatives):
    """Record the inputs of all alternatives, those that several share once."""
    found: dict[str, InputWatch] = {}
    for one in alternatives:
        settings = one.settings
        key = repr((sorted(one.files.items()), settings.blocks, settings.atlases))
        if key not in found:
            found[key] = watch_inputs(settings, one.files)
    return list(found.values())


@contextmanager
def _unchanged(watches, workflow):
    """Refuse what is made of inputs that change meanwhile: nodes may have read either content."""
    try:
        yield
    except BaseException as error:
        changes = _changes(watches)
        if changes:
            forget_run(workflow)
        if changes and isinstance(error, Exception):
            raise InputsChangedError(changes) from error
        raise
    if changes := _changes(watches):
        forget_run(workflow)
        raise InputsChangedError(changes)


def _changes(watches):
    return list(dict.fromkeys(change for watch in watches for change in watch.changes()))


def _carry_out(alternatives, output, arguments):
    """Run the workflow, put its folder into place, and print what is found."""
    graph = multiverse_graph(alternatives)
    _foresee_memory(graph.workflow, alternatives, arguments)
    if not arguments.verbose:
        quiet_nipype()
    how = run.how_to_run(arguments, alternatives[0].settings.n_procs)
    watches = _watches(alternatives)
    inputs = [item.path for watch in watches for item in (*watch.inputs, *watch.installed)]
    with FolderLock(output.parent, "output folder"):
        with _unchanged(watches, graph.workflow):
            try:
                result = run_workflow(graph.workflow, inputs=inputs, **how)
            except WorkflowError as error:
                raise WorkflowError(_of_alternatives(error, graph), error.failures) from error
        _publish(Path(result.outputs["folder"]), output)
    for line in (*result.outputs["lines"], *(f"Warning: {w}" for w in result.outputs["warnings"])):
        print(line)
    print(f"Page      {output / 'multiverse.html'}")
    more = ", regions.tsv" if (output / "regions.tsv").is_file() else ""
    print(f"Tables    {output / 'alternatives.tsv'}, curves.tsv{more}")
    print(f"Work      {result.work_dir} (can be deleted)")
    if not run.can_draw():
        print(run.NO_FIGURES)
    return 0


def _of_alternatives(error, graph):
    """Return an error with the alternatives that the nodes which failed are of."""
    lines = [str(error)]
    for failure in error.failures:
        users = graph.users.get(failure.node.rpartition(".")[2], [])
        if users:
            more = f" and {len(users) - _SHOWN} more" if len(users) > _SHOWN else ""
            lines.append(f"  of the alternatives: {'; '.join(users[:_SHOWN])}{more}")
    return "\n".join(lines)


def _foresee_memory(workflow, alternatives, arguments):
    """Declare the memory of all nodes, by the headers of the maps; too little is an error."""
    found = (run.foreseen_size(one.settings, one.files) for one in alternatives)
    sizes = [size for size in found if size is not None]
    if sizes:
        largest = max(sizes, key=lambda size: (size.n_maps, size.n_columns))
        declared = declare_memory(workflow, largest)
        if arguments.plugin == "MultiProc":
            check_memory(declared, run.plugin_arguments(arguments).get("memory_gb"))


def _publish(made, output):
    """Put a folder into the place of an earlier one, whole; files that no run wrote stay."""
    earlier = output.with_name(f".{output.name}-before")
    if earlier.is_dir() and is_free(output):
        # A run was killed while one took the place of the other.
        earlier.replace(output)
    foreign = foreign_files(output)
    if taken := [name for name in foreign if (made / name).exists()]:
        raise ValueError(
            f"{output / taken[0]} was not written by a run and has the name of a new result: move "
            "it away"
        )
    with whole_folder(output) as folder:
        shutil.copytree(made, folder, dirs_exist_ok=True)
        for name in foreign:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(output / name, folder / name, follow_symlinks=False)
        if output.exists():
            output.replace(earlier)
    shutil.rmtree(earlier, ignore_errors=True)
