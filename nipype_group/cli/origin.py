"""What results are made from: told to the sidecars before a run, recorded beside them after.

Between the two the inputs stay what they were. Results that stand there already are those of the
same selection of maps, or are replaced on request.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype_group.cli.command_text import command_text
from nipype_group.controls import is_threshold_desc
from nipype_group.reporting.derivatives.contents import written_beside
from nipype_group.reporting.derivatives.on_request import is_asked_for
from nipype_group.reporting.records.inputs import digest
from nipype_group.reporting.records.record import (
    PROV_FOLDER,
    installed_images,
    write_provenance,
)
from nipype_group.reporting.records.ro_crate import write_ro_crate
from nipype_group.reporting.records.selection import other_selection
from nipype_group.reporting.records.standing import names_that_go, remove_own, standing_files
from nipype_group.reporting.records.watch import InputsChangedError, InputWatch

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

    from nipype_group.execution.run import RunResult
    from nipype_group.settings.analysis import AnalysisSettings, PeerSettings

# Of the number of the process; one that is killed leaves it.
_WATCH_NAME, _WATCHES = ".inputs-{}.json", re.compile(r"\.inputs-\d+\.json")


def tell_origin(workflow: Workflow, command: str, inputs_sha256: str) -> None:
    """Give a group workflow what its sidecars say of command and inputs."""
    keep = workflow.get_node("keep")
    keep.inputs.command = command
    keep.inputs.inputs_sha256 = inputs_sha256


def watch_inputs(
    settings: AnalysisSettings | PeerSettings, files: Mapping[str, Any]
) -> InputWatch:
    """Record the inputs of an analysis, as they are before it runs.

    Parameters
    ----------
    settings : AnalysisSettings or PeerSettings
    files : dict
        Inputs of `init_group_wf` or `init_peer_wf`.

    Raises
    ------
    UnsteadyFileError
        Where an input is written to while it is read.
    """
    try:
        images = installed_images(settings.atlases)
    except (ValueError, OSError):
        # The run will say what is wrong with them.
        images = {}
    return InputWatch.start(
        files,
        blocks=getattr(settings, "blocks", ()),
        atlases=settings.atlases,
        anatomy=settings.anatomy_file,
        installed=images,
    )


class Origin:
    """Command and inputs of a run, and the results that stand where its own go.

    Parameters
    ----------
    settings : AnalysisSettings
    files : dict
        Inputs of `init_group_wf` or `init_peer_wf`.
    arguments : Namespace
        Of the command, with its parser.

    Raises
    ------
    ValueError
        Where an input is written to while it is read.
    """

    def __init__(self, settings, files, arguments):
        self._settings, self._files, self._arguments = settings, files, arguments
        self._top = Path(arguments.output_dir).absolute()
        self._command = command_text(arguments.parser, arguments)
        self._watch = watch_inputs(settings, files)
        self._own, self._going = standing_files(self._top)[0], []

    @property
    def input_paths(self) -> list[Path]:
        """Paths of all inputs."""
        return [i.path for i in (*self._watch.inputs, *self._watch.installed)]

    def refusal(self) -> str | None:
        """Return why the results that stand there are not to be replaced unasked, else None."""
        if getattr(self._arguments, "replace", False) or self._watch.error:
            return None
        inputs = self._watch.inputs
        return other_selection(self._top, self._files, inputs, self._command, digest(inputs))

    def tell(self, workflow: Workflow) -> None:
        """Tell the workflow before it runs, and the screen what goes once it has run."""
        tell_origin(workflow, self._command, digest(self._watch.inputs))
        kept = workflow.get_node("keep").inputs
        results = kept.results
        beside = is_asked_for("permutation-p", kept.also_write)
        written = [*results, *(written_beside(results) if beside else ())]
        self._going = names_that_go(self._own, written, is_threshold_desc)
        if self._going:
            print(
                f"{self._top} holds other results than will be made. These go once the new ones "
                f"are there:\n{_listed(self._going)}"
            )

    @contextmanager
    def watched(self, workflow: Workflow) -> Iterator[None]:
        """Keep an eye on the inputs while the workflow runs and until the results are recorded.

        Raises
        ------
        InputsChangedError
            Where one changed. Nothing that was made of it stays.
        """
        from nipype_group.execution.changed_inputs import forget_run

        path, before = self._top / _WATCH_NAME.format(os.getpid()), _identity(self._top)
        for left in self._top.glob(".inputs-*"):
            if _WATCHES.fullmatch(left.name):
                left.unlink()
        try:
            self._watch.write(path)
            workflow.get_node("keep").inputs.inputs_file = str(path)
            yield
        except BaseException as error:
            changes = self._watch.changes()
            if isinstance(error, InputsChangedError) or changes:
                forget_run(workflow)
                if _identity(self._top) != before:
                    remove_own(self._top)
            if changes and isinstance(error, Exception):
                raise InputsChangedError(changes) from error
            raise
        finally:
            path.unlink(missing_ok=True)

    def record(self, result: RunResult) -> None:
        """Write the records at the top of the derivatives, after the run.

        Parameters
        ----------
        result : RunResult

        Raises
        ------
        InputsChangedError
            Where an input is no longer what it was at the start.
        """
        self._watch.check()
        arguments, top = self._arguments, self._top
        write_provenance(
            top,
            settings=self._settings,
            files=self._files,
            inputs=self._watch.inputs,
            outputs=result.outputs["out_files"],
            command=self._command,
            command_line=arguments.command_line,
            execution={
                "Plugin": arguments.plugin,
                "PluginArguments": arguments.plugin_args,
                "Processors": self._settings.n_procs,
            },
            installed={i.name: i.sha256 for i in self._watch.installed},
        )
        if getattr(arguments, "provenance", False) and result.graph is not None:
            from nipype_group.execution.provenance import write_prov

            places = {"work": result.work_dir, "results": top}
            places |= {i: self._files[i] for i in ("bids_dir",) if i in self._files}
            write_prov(result.graph, top / PROV_FOLDER, places)
        # Last, as it lists what lies beside it.
        write_ro_crate(top)
        self._tell_what_went()

    def _tell_what_went(self):
        own, foreign = standing_files(self._top)
        gone = sorted(set(self._own) - set(own) - set(self._going))
        if gone:
            print(
                f"These earlier results are gone, the new ones have none of the name:\n"
                f"{_listed(gone)}"
            )
        if foreign:
            print(f"These files were not written by a run and stay:\n{_listed(foreign)}")


def _listed(names):
    return "\n".join(f"  group/{name}" for name in names)


def _identity(top):
    """Return what tells a folder of results from the one that takes its place."""
    try:
        found = (top / "group").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
