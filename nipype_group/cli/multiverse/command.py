"""Run the alternatives of an analysis, and put what they say into place with its record."""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from nipype_group.cli import run
from nipype_group.cli.command_text import command_text
from nipype_group.cli.guard import UsageError
from nipype_group.cli.multiverse.asked import asked_alternatives
from nipype_group.cli.origin import watch_inputs
from nipype_group.design.sources import listed_once
from nipype_group.execution import FolderLock, WorkflowError, quiet_nipype, run_workflow
from nipype_group.execution.changed_inputs import forget_run
from nipype_group.execution.memory import check_memory, declare_memory
from nipype_group.reporting.multiverse.folder import foreign_files
from nipype_group.reporting.page.summary import work_line
from nipype_group.reporting.records.record import (
    ALTERNATIVES_FOLDER,
    ALTERNATIVES_NAME,
    RecordedAlternative,
    write_alternatives_provenance,
)
from nipype_group.reporting.records.ro_crate import CRATE_NAME, write_ro_crate
from nipype_group.reporting.records.selection import other_alternatives
from nipype_group.reporting.records.watch import InputsChangedError, InputWatch
from nipype_group.reporting.wording import count
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.whole_files import is_free, whole_folder
from nipype_group.workflows.multiverse import AlternativeAnalysis, multiverse_graph

# Of the names of alternatives that are listed in a line.
_SHOWN = 3


def execute(
    arguments: Namespace,
    check: Callable[[AnalysisSettings, Mapping[str, Any]], None] | None = None,
) -> int:
    """Run the alternatives that a file of settings or a model lists; returns the exit code.

    Parameters
    ----------
    arguments : Namespace
    check : callable, optional
        Takes settings and inputs of every alternative, and raises where they cannot be.
    """
    run.plugin_arguments(arguments)
    output = Path(arguments.output_dir).absolute() / ALTERNATIVES_FOLDER
    _check_place(output)
    with listed_once():
        alternatives, notes = asked_alternatives(arguments)
    if check is not None:
        for one in alternatives:
            check(one.settings, one.files)
    for note in notes:
        print(note)
    print(f"{count(len(alternatives), 'alternative')}, the first {alternatives[0].name}")
    return _carry_out(alternatives, output, arguments)


def _check_place(output):
    """Refuse a folder that holds something else, or is another one."""
    if output.is_symlink():
        raise UsageError(f"{output} is a link; results of a run are no links: take another OUT")
    if not is_free(output) and not (output / ALTERNATIVES_NAME).is_file():
        raise UsageError(f"{output} holds something else than alternatives; take another OUT")


def _watches(alternatives: Sequence[AlternativeAnalysis]) -> list[InputWatch]:
    """Record the inputs of every alternative, those that several share once."""
    found: dict[str, InputWatch] = {}
    watches = []
    for one in alternatives:
        settings = one.settings
        key = repr((sorted(one.files.items()), settings.blocks, settings.atlases))
        if key not in found:
            found[key] = watch_inputs(settings, one.files)
        watches.append(found[key])
    return watches


def _apart(watches):
    return list({id(watch): watch for watch in watches}.values())


def _check_replaced(output, alternatives, watches, arguments):
    """Refuse to replace alternatives of other maps unasked."""
    if arguments.replace or any(watch.error for watch in watches):
        return
    inputs = list(dict.fromkeys(item for watch in _apart(watches) for item in watch.inputs))
    if reason := other_alternatives(output, alternatives[0].files, inputs):
        raise UsageError(f"{output} holds {reason}; take another OUT, or give --replace")


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
    found = (change for watch in _apart(watches) for change in watch.changes())
    return list(dict.fromkeys(found))


def _carry_out(alternatives, output, arguments):
    """Run the workflow, put its folder into place, and print what is found."""
    graph = multiverse_graph(alternatives)
    _foresee_memory(graph.workflow, alternatives, arguments)
    if not arguments.verbose:
        quiet_nipype()
    how = run.how_to_run(arguments, alternatives[0].settings.n_procs)
    watches = _watches(alternatives)
    _check_replaced(output, alternatives, watches, arguments)
    read = [item for watch in _apart(watches) for item in (*watch.inputs, *watch.installed)]
    inputs = [item.path for item in read]
    with FolderLock(output.parent, "output folder"):
        with _unchanged(watches, graph.workflow):
            try:
                result = run_workflow(graph.workflow, inputs=inputs, **how)
            except WorkflowError as error:
                raise WorkflowError(_of_alternatives(error, graph), error.failures) from error
        record = partial(_record, alternatives, watches, output, arguments)
        _publish(Path(result.outputs["folder"]), output, record)
    for line in (*result.outputs["lines"], *(f"Warning: {w}" for w in result.outputs["warnings"])):
        print(line)
    print(f"Page      {output / 'multiverse.html'}")
    more = ", regions.tsv" if (output / "regions.tsv").is_file() else ""
    print(f"Tables    {output / 'alternatives.tsv'}, curves.tsv{more}")
    print(work_line(result.work_dir))
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


def _record(alternatives, watches, output, arguments, folder):
    """Write what the alternatives in a folder were made from, beside them."""
    recorded = [
        RecordedAlternative(one.name, one.choices, one.settings, one.files, watch.inputs)
        for one, watch in zip(alternatives, watches, strict=True)
    ]
    write_alternatives_provenance(
        folder,
        recorded,
        top=output,
        command=command_text(arguments.parser, arguments),
        command_line=arguments.command_line,
        execution={
            "Plugin": arguments.plugin,
            "PluginArguments": arguments.plugin_args,
            "Processors": alternatives[0].settings.n_procs,
        },
        installed={item.name: item.sha256 for watch in watches for item in watch.installed},
    )
    if (output / CRATE_NAME).is_file():
        # It keeps its date where nothing else changes.
        shutil.copy2(output / CRATE_NAME, folder / CRATE_NAME, follow_symlinks=False)
    write_ro_crate(folder)


def _publish(made, output, record):
    """Put a folder into the place of an earlier one, whole; files that no run wrote stay.

    `record` writes what it was made from into it.
    """
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
        record(folder)
        for name in foreign:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(output / name, folder / name, follow_symlinks=False)
        if output.exists():
            output.replace(earlier)
    shutil.rmtree(earlier, ignore_errors=True)
