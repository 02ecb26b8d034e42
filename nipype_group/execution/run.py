"""Running a workflow: plugin, caching, polling, progress, errors that say what failed."""

from __future__ import annotations

import gc
import os
import re
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype import logging
from nipype.pipeline.engine.utils import generate_expanded_graph
from nipype.pipeline.plugins import tools

from nipype_group.execution.changed_inputs import forget_mixed
from nipype_group.execution.cluster_plugins import (
    SGEGraphPlugin,
    SGEPlugin,
    SLURMGraphPlugin,
    SLURMPlugin,
    cancel_left_jobs,
)
from nipype_group.execution.done_nodes import check_node_places, forget_spoiled
from nipype_group.execution.failures import (
    NodeFailure,
    WorkflowError,
    last_message,
    tell,
    write_crash,
)
from nipype_group.execution.lock import FolderInUseError, FolderLock
from nipype_group.execution.multiproc import MultiProcPlugin
from nipype_group.execution.nodes import trust
from nipype_group.execution.outputs import collect_outputs
from nipype_group.execution.plugin_arguments import check_plugin
from nipype_group.execution.progress import NodeProgress, RunEvents
from nipype_group.execution.record import RECORD_NAME, RunRecord, read_record
from nipype_group.execution.script_paths import check_script_paths
from nipype_group.execution.work_folder import claim_work_folder, keep_to_version
from nipype_group.processor import allowed_processors

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

# Seconds between looks at running jobs; Nipype's own two seconds are longer than most nodes.
LOCAL_POLL_SECONDS = 0.1
CLUSTER_POLL_SECONDS = 5.0
_LOCAL_PLUGINS = ("Linear", "MultiProc", "LegacyMultiProc")
# Used in place of Nipype's plugins of the same name, whose faults settings cannot avoid.
_OWN_PLUGINS = {
    "MultiProc": MultiProcPlugin,
    "SLURM": SLURMPlugin,
    "SGE": SGEPlugin,
    "SLURMGraph": SLURMGraphPlugin,
    "SGEGraph": SGEGraphPlugin,
}
# Others that send a callback to nobody, or pickle it.
_WITH_CALLBACK = ("Linear", "LegacyMultiProc", "PBS", "LSF", "OAR")
_MEMORY_SHARE = 0.9


@dataclass(frozen=True)
class RunResult:
    """What a run gave.

    Parameters
    ----------
    outputs : dict
        Field of the outputnode to value.
    graph : networkx.DiGraph
        The nodes that ran, with their results.
    work_dir : Path
        Where they ran.
    record : Path
        JSON: plugin, versions, and of every node state, times, machine and jobs.
    """

    outputs: dict
    graph: object
    work_dir: Path
    record: Path


def _memory_gb():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text(encoding="utf-8").strip()).isdigit():
        total = min(total, int(text) / 2**30)
    return total * _MEMORY_SHARE


def run_workflow(
    workflow: Workflow,
    *,
    work_dir: str | os.PathLike[str],
    plugin: str = "MultiProc",
    plugin_args: Mapping[str, Any] | None = None,
    n_procs: int | None = None,
    poll_seconds: float | None = None,
    progress: bool = False,
    inputs: Sequence[str | os.PathLike[str]] = (),
) -> RunResult:
    """Run a workflow and return its results.

    Files are compared by place and content, so an unchanged analysis recomputes nothing and a
    changed file is noticed. Where a node fails the others go on as far as they can; the same call
    again goes on from what is done. Nodes run again where their files are gone or were changed,
    nodes of this package also where they were made with another numpy or the like; results of
    another version of the package or of Nipype are moved aside. The work folder is locked, what
    happens is recorded in its ``run.json``, and crash files are text in its ``crash``. Nipype's
    own nodes in the workflow become those of `nipype_group.execution.nodes`.

    Parameters
    ----------
    workflow : Workflow
        With an outputnode.
    work_dir : path
        Work folder, kept for the next run. Where it is not one that this user made at this place,
        it is left alone and another one beside it is taken.
    plugin : str
        Nipype execution plugin. MultiProc, SLURM, SGE, SLURMGraph and SGEGraph are those of this
        package, which take the same arguments.
    plugin_args : dict, optional
        Arguments of the plugin.
    n_procs : int, optional
        Processes of MultiProc; default: the processors this process may use.
    poll_seconds : float, optional
        Seconds between looks at running jobs; default 0.1 on one machine, 5 on a cluster.
    progress : bool
        Whether a progress bar is drawn.
    inputs : sequence of path
        Files that the workflow reads. Where the run before was killed and one of them was changed
        after its start, its nodes may have read either content: all run again.

    Returns
    -------
    RunResult

    Raises
    ------
    WorkflowError
        Naming the nodes that failed and why.
    FolderInUseError
        Where another run uses the work folder.
    ValueError
        Where the plugin or an argument of it is unknown, an input is a relative path, two analyses
        write to one folder, or the work folder's name has a sign of patterns.
    """
    arguments = dict(plugin_args or {})
    check_plugin(plugin, arguments)
    work_dir = Path(work_dir).absolute()
    check_script_paths(plugin, plugin in _OWN_PLUGINS, work_dir)
    if plugin == "MultiProc":
        arguments = {
            "n_procs": n_procs or allowed_processors(),
            "memory_gb": _memory_gb(),
            "raise_insufficient": False,
        } | arguments
    if poll_seconds is None:
        poll_seconds = LOCAL_POLL_SECONDS if plugin in _LOCAL_PLUGINS else CLUSTER_POLL_SECONDS
    trust(workflow)
    _configure(workflow, work_dir, poll_seconds)
    check_node_places(generate_expanded_graph(deepcopy(workflow._create_flat_graph())), work_dir)
    work_dir = claim_work_folder(work_dir)
    _configure(workflow, work_dir, poll_seconds)
    with FolderLock(work_dir, "work folder") as lock, _termination_unwinds() as raise_if_stopped:

        def raise_if_over():
            raise_if_stopped()
            lock.check()

        earlier = read_record(work_dir / RECORD_NAME)
        cancel_left_jobs(earlier, work_dir)
        keep_to_version(work_dir / workflow.name)
        parts = {node.name for node in workflow._graph.nodes}
        forget_spoiled(work_dir / workflow.name, parts)
        forget_mixed(work_dir / workflow.name, earlier, inputs)
        record = RunRecord(work_dir / RECORD_NAME, workflow.name, plugin, arguments, earlier)
        state = "interrupted"
        try:
            graph = _run(workflow, plugin, arguments, record, progress, raise_if_over)
            state = "done"
        except Exception:
            state = "failed"
            raise
        finally:
            record.end(state)
    outputs = collect_outputs(workflow, graph) if graph is not None else {}
    return RunResult(outputs, graph, work_dir, record.path)


def _configure(workflow, work_dir, poll_seconds):
    workflow.base_dir = str(work_dir)
    workflow.config["execution"].update(
        {
            "hash_method": "content",
            "local_hash_check": "true",
            "poll_sleep_duration": str(poll_seconds),
            "crashdump_dir": str(work_dir / "crash"),
            "crashfile_format": "txt",
            "stop_on_first_crash": "false",
            # Nipype's report of a node shows all variables of the environment.
            "create_report": "false",
        }
    )


def _run(workflow, plugin, arguments, record, progress, raise_if_stopped):
    """Run a workflow that is configured; return the graph that ran."""
    crash_dir = Path(workflow.config["execution"]["crashdump_dir"])
    before = set(crash_dir.glob("crash-*"))
    bar = NodeProgress(
        {node.fullname for node in workflow._create_flat_graph().nodes if _computes(node)},
        progress,
    )
    events = RunEvents(bar, record, workflow.base_dir, raise_if_stopped)
    # Each poll collects garbage; what exists now need not be looked at every time.
    gc.freeze()
    usual, tools.crash2txt = tools.crash2txt, write_crash
    try:
        if plugin in _OWN_PLUGINS:
            runner = _OWN_PLUGINS[plugin](plugin_args=arguments)
            runner.events = events
            return workflow.run(plugin=runner)
        if plugin in _WITH_CALLBACK:
            arguments = {**arguments, "status_callback": events}
        return workflow.run(plugin=plugin, plugin_args=arguments)
    except WorkflowError:
        raise
    except Exception as error:
        raise _explain(error, sorted(set(crash_dir.glob("crash-*")) - before)) from error
    finally:
        tools.crash2txt = usual
        gc.unfreeze()
        bar.close()


def _computes(node):
    return type(node.interface).__name__ != "IdentityInterface"


@contextmanager
def _termination_unwinds():
    """Let a termination end the run in order: jobs cancelled, workers ended, record closed.

    Yields a function that raises again what has stopped the run: Nipype takes what is raised in
    a node of this process, whatever it is, for the failure of that node.
    """
    caught = []

    def raise_if_stopped():
        if caught:
            raise KeyboardInterrupt if caught[0] == signal.SIGINT else SystemExit(128 + caught[0])

    def leave(number, frame):
        caught.append(number)
        raise_if_stopped()

    ours = {}
    if threading.current_thread() is threading.main_thread():
        found = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        usual = (signal.SIG_DFL, signal.default_int_handler)
        ours = {number: handler for number, handler in found.items() if handler in usual}
    for number in ours:
        signal.signal(number, leave)
    try:
        yield raise_if_stopped
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)


def _explain(error, crash_files):
    """Turn the error of one of Nipype's own plugins and its crash files into one message."""
    if not crash_files:
        return WorkflowError(f"the workflow failed: {error}")
    failures = []
    for path in crash_files:
        text = path.read_text(encoding="utf-8", errors="replace")
        node = re.search(r"^Node: (\S+)", text, re.MULTILINE)
        failures.append(
            NodeFailure(
                node.group(1) if node else "unknown",
                last_message(text.rstrip().splitlines()),
                str(path),
            )
        )
    return WorkflowError(tell(failures), failures)


def quiet_nipype() -> None:
    """Silence Nipype's log for a command line: errors reach it as `WorkflowError`."""
    for name in ("nipype.workflow", "nipype.interface", "nipype.utils"):
        logging.getLogger(name).setLevel("CRITICAL")


__all__ = [
    "FolderInUseError",
    "RunResult",
    "WorkflowError",
    "quiet_nipype",
    "run_workflow",
]
