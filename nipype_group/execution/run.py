"""Running a workflow: plugin, caching, polling, progress, errors that say what failed."""

import gc
import os
import re
from dataclasses import dataclass
from pathlib import Path

from nipype import logging

from nipype_group.execution.outputs import collect_outputs
from nipype_group.execution.progress import NodeProgress

# Seconds between looks at running jobs; Nipype's own two seconds are longer than most nodes.
LOCAL_POLL_SECONDS = 0.1
CLUSTER_POLL_SECONDS = 5.0
_LOCAL_PLUGINS = ("Linear", "MultiProc", "LegacyMultiProc")
_MEMORY_SHARE = 0.9


class WorkflowError(RuntimeError):
    """A node failed; the message names it, the cause and where the details are."""


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
    """

    outputs: dict
    graph: object
    work_dir: Path


def allowed_processors():
    """Return the number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _memory_gb():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text) / 2**30)
    return total * _MEMORY_SHARE


def run_workflow(
    workflow,
    *,
    work_dir,
    plugin="MultiProc",
    plugin_args=None,
    n_procs=None,
    progress=False,
):
    """Run a workflow and return its results.

    Files are compared by content, so an unchanged analysis recomputes nothing and a changed file
    is noticed. Crash files are text in ``crash`` under the work folder.

    Parameters
    ----------
    workflow : Workflow
        With an outputnode.
    work_dir : path
        Work folder, kept for the next run.
    plugin : str
        Nipype execution plugin.
    plugin_args : dict, optional
        Its arguments.
    n_procs : int, optional
        Processes of MultiProc; default: the processors this process may use.
    progress : bool
        Whether a progress bar is drawn.

    Returns
    -------
    RunResult

    Raises
    ------
    WorkflowError
        Naming the node that failed and why.
    """
    work_dir = Path(work_dir).absolute()
    work_dir.mkdir(parents=True, exist_ok=True)
    crash_dir = work_dir / "crash"
    before = set(crash_dir.glob("crash-*"))
    workflow.base_dir = str(work_dir)
    local = plugin in _LOCAL_PLUGINS
    workflow.config["execution"].update(
        {
            "hash_method": "content",
            "poll_sleep_duration": str(LOCAL_POLL_SECONDS if local else CLUSTER_POLL_SECONDS),
            "crashdump_dir": str(crash_dir),
            "crashfile_format": "txt",
            "stop_on_first_crash": "true",
        }
    )
    arguments = dict(plugin_args or {})
    if plugin == "MultiProc":
        arguments = {
            "n_procs": n_procs or allowed_processors(),
            "memory_gb": _memory_gb(),
            "raise_insufficient": False,
        } | arguments
    bar = NodeProgress(
        {node.fullname for node in workflow._create_flat_graph().nodes if _computes(node)},
        progress,
    )
    if plugin in (*_LOCAL_PLUGINS, "SLURM", "SGE"):
        arguments["status_callback"] = bar
    # Each poll collects garbage; what exists now need not be looked at every time.
    gc.collect()
    gc.freeze()
    try:
        graph = workflow.run(plugin=plugin, plugin_args=arguments)
    except Exception as error:
        raise _explain(error, sorted(set(crash_dir.glob("crash-*")) - before)) from error
    finally:
        gc.unfreeze()
        bar.close()
    outputs = collect_outputs(workflow, graph) if graph is not None else {}
    return RunResult(outputs, graph, work_dir)


def _computes(node):
    return type(node.interface).__name__ != "IdentityInterface"


def _explain(error, crash_files):
    """Turn Nipype's error and its crash files into one message."""
    if not crash_files:
        return WorkflowError(f"the workflow failed: {error}")
    text = crash_files[0].read_text(errors="replace")
    node = re.search(r"^Node: (\S+)", text, re.MULTILINE)
    lines = text.rstrip().splitlines()
    return WorkflowError(
        f"node {node.group(1) if node else 'unknown'} failed: {_cause(lines)}\n"
        f"The traceback is in {crash_files[0]}"
    )


def _cause(lines):
    """Return the message of the last exception of a traceback, over all its lines."""
    for at in range(len(lines) - 1, -1, -1):
        if re.match(r"\s*(\w+\.)*\w*(Error|Exception|Interrupt|Exit)\b.*:", lines[at]):
            message = "\n".join(line.strip() for line in lines[at:])
            # Our own messages say what is wrong without the name of a class.
            return re.sub(r"^(\w+\.)*(ValueError|MapError): ", "", message)
    return lines[-1].strip() if lines else "no traceback"


def quiet_nipype():
    """Silence Nipype's log for a command line: errors reach it as `WorkflowError`."""
    for name in ("nipype.workflow", "nipype.interface", "nipype.utils"):
        logging.getLogger(name).setLevel("CRITICAL")


__all__ = ["RunResult", "WorkflowError", "allowed_processors", "quiet_nipype", "run_workflow"]
