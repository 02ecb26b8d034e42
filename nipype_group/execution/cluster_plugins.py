"""SLURM and SGE plugins that never take an old result for a job's own.

Nipype's own plugins take any result file that they find when a job has left the queue, also one
of an earlier run with other inputs; take a failed query for the end of a job; lose what the
scheduler says when it refuses one; and leave jobs in the queue when they are interrupted. Here

- older results are removed before a job is submitted, and a result counts only with the marker
  that its node writes last,
- every command is checked; a refused submission is tried again and then told as the node's
  failure, a failed query changes nothing,
- a job that dies is explained from the scheduler's records, its exit status and its log,
- jobs that are left are cancelled when the run ends.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
from nipype import logging
from nipype.pipeline.plugins.base import SGELikeBatchManagerBase
from nipype.utils.filemanip import loadpkl

from nipype_group.execution.done_nodes import finished_markers
from nipype_group.execution.failures import (
    WorkflowError,
    cause_in_log,
    cause_of_exit,
    last_message,
    tail_of,
    tell,
)
from nipype_group.execution.job import JobFiles, job_command, write_job
from nipype_group.execution.loop import NodeLoop, node_name
from nipype_group.execution.record import open_jobs
from nipype_group.execution.requests import batch_script, fill_request
from nipype_group.execution.schedulers import GridEngine, JobEnd, SchedulerError, Slurm, ask
from nipype_group.whole_files import read_text

if TYPE_CHECKING:
    from networkx import DiGraph

LOGGER = logging.getLogger("nipype.workflow")
# A scheduler may be restarted under a run; one that stays silent for longer ends the run.
_SILENCE_SECONDS = 1800.0
_SECONDS_TO_CANCEL = 60.0
# A shared disk may show the files of a job that long after it has left the queue.
_SECONDS_TO_APPEAR = 60.0
# Accounting of a job may come some seconds after its end.
_SECONDS_BETWEEN_QUESTIONS = 3.0


@dataclass
class _Job:
    """A submitted node."""

    node: object
    files: JobFiles
    left_at: float | None = None
    end: JobEnd = field(default_factory=JobEnd)
    asked_at: float | None = None
    refusal: str = ""


def _result_file(node):
    return Path(node.output_dir(), f"result_{node.name}.pklz")


def _remove_result(node):
    for path in (_result_file(node), *finished_markers(node.output_dir())):
        path.unlink(missing_ok=True)


class SchedulerPlugin(NodeLoop, SGELikeBatchManagerBase):
    """What the plugins of both batch systems share.

    Parameters
    ----------
    plugin_args : dict, optional
        Arguments of Nipype's plugin (``template``, ``sbatch_args`` or ``qsub_args``, ``max_jobs``,
        ``max_tries``, ``retry_timeout``, ``jobid_re``) and ``request_template``, ``activate``,
        ``job_finished_timeout`` (seconds that the files of a job may need to appear) and
        ``silence_seconds`` (after which a scheduler that does not answer ends the run).
        A node's own ``plugin_args`` replace them; its options of the submission follow those of
        the plugin, so that the last one counts, or with ``overwrite`` replace them.
    """

    def __init__(self, scheduler, plugin_args=None):
        super().__init__(scheduler.header, plugin_args=plugin_args)
        self._scheduler = scheduler
        self._jobs, self._queue = {}, {}
        self._heard_at = time.monotonic()
        self._refused_ids = itertools.count(-1, -1)

    def _setting(self, node, key, default=None):
        return node.plugin_args.get(key, self.plugin_args.get(key, default))

    def _arguments(self, node):
        """Return the caller's options of the submission."""
        key = self._scheduler.arguments_key
        own = shlex.split(node.plugin_args.get(key, ""))
        if key in node.plugin_args and node.plugin_args.get("overwrite"):
            return own
        return [*shlex.split(self.plugin_args.get(key) or ""), *own]

    def _header(self, node):
        template = self._setting(node, "template", self._template)
        if "\n" not in template and Path(template).is_file():
            template = read_text(template)
        return template

    def _write_job(self, node, updatehash):
        """Write the files of a job."""
        files = write_job(node, updatehash=updatehash)
        for path in (files.log, files.exit_status, files.crash_dump):
            path.unlink(missing_ok=True)
        script = batch_script(
            self._header(node),
            job_command(files),
            node.n_procs,
            files.exit_status,
            self._setting(node, "activate", ""),
            folder=Path.cwd() if self._scheduler.starts_at_log(files.log) else None,
        )
        # A path need not be text.
        files.script.write_bytes(os.fsencode(script))
        return _Job(node, files)

    def _submit_job(self, node, updatehash=False, after=()):
        if not updatehash:
            _remove_result(node)
        job = self._write_job(node, updatehash)
        try:
            taskid = self._submit(job, after)
        except SchedulerError as error:
            taskid, job.refusal = next(self._refused_ids), str(error)
        else:
            if self.events is not None:
                self.events.job(node, taskid)
        self._jobs[taskid] = job
        # Until a query made after the submission says otherwise.
        self._queue[taskid] = None
        return taskid

    def _submit(self, job, after):
        node = job.node
        request = self._scheduler.request(
            self._setting(node, "request_template"), node.n_procs, node.mem_gb, fill_request
        )
        name = re.sub(r"[^\w.\[\]-]", "_", node_name(node, self._root))
        name = name.replace("[", "_").replace("]", "")
        command = self._scheduler.submit_command(
            job.files.script, name, job.files.log, request, self._arguments(node), after
        )
        tries = int(self.plugin_args.get("max_tries", 2))
        for attempt in range(tries + 1):
            try:
                said = ask(command)
                break
            except SchedulerError as error:
                LOGGER.warning("%s (attempt %d of %d)", error, attempt + 1, tries + 1)
                if attempt == tries:
                    raise
                time.sleep(float(self.plugin_args.get("retry_timeout", 2)))
        pattern = self.plugin_args.get("jobid_re", self._scheduler.job_id_pattern)
        found = re.search(pattern, said)
        if found is None:
            raise SchedulerError(f"{command[0]} names no job: {said.strip()!r}")
        return int(found.group(1))

    def _look(self):
        """Ask which jobs are in the queue; what cannot be asked stays as it was."""
        if not self._jobs:
            return
        try:
            queue = self._scheduler.active()
        except SchedulerError as error:
            silent = time.monotonic() - self._heard_at
            LOGGER.warning("%s; jobs are taken to go on", error)
            if silent > float(self.plugin_args.get("silence_seconds", _SILENCE_SECONDS)):
                raise WorkflowError(
                    f"{self._scheduler.name} has not answered for {silent:.0f} s: {error}"
                ) from error
            return
        self._heard_at = time.monotonic()
        self._queue = queue
        if stuck := {i: why for i, why in queue.items() if why and i in self._jobs}:
            for job_id, why in stuck.items():
                self._jobs[job_id].end = JobEnd(cause=why, failed=True)
                LOGGER.error("job %d is cancelled: %s", job_id, why)
            cancel(self._scheduler, stuck)

    def _get_result(self, taskid):
        job = self._jobs[taskid]
        if job.refusal:
            return {"traceback": [f"{job.refusal}\n"], "cause": job.refusal}
        if taskid in self._queue:
            return None
        result = self._result_of(job)
        if result is None and self._is_dead(taskid, job):
            result = self._explain(taskid, job)
        return result

    @staticmethod
    def _result_of(job):
        """Return the result of a job, None where there is none, or not yet."""
        path = _result_file(job.node)
        try:
            # Nipype would wait for a file that is missing, and all nodes with it.
            result = loadpkl(str(path)) if path.exists() else None
        except (OSError, EOFError):
            result = None
        if isinstance(result, dict):
            # What it holds is an exception, and no result for a later run.
            path.replace(path.with_name("crashstore.pklz"))
            return {"traceback": result["traceback"], "hostname": result["hostname"]}
        if result is not None and finished_markers(job.node.output_dir()):
            host = getattr(getattr(result, "runtime", None), "hostname", None)
            return {"traceback": None, "hostname": host}
        if job.files.crash_dump.exists():
            # Written where the node could not even be loaded.
            dump = loadpkl(str(job.files.crash_dump))
            lines = "".join(dump["traceback"]).rstrip().splitlines()
            cause = cause_in_log(lines) or last_message(lines)
            return {"traceback": dump["traceback"], "hostname": dump["hostname"], "cause": cause}
        return None

    def _is_dead(self, taskid, job):
        """Tell whether a job that has left the queue will give no result any more."""
        now = time.monotonic()
        job.left_at = now if job.left_at is None else job.left_at
        if not job.end.failed and (
            job.asked_at is None or now - job.asked_at > _SECONDS_BETWEEN_QUESTIONS
        ):
            job.asked_at, job.end = now, self._scheduler.end_of(taskid)
        if job.end.failed or self._exit_status(job):
            # A death in the books needs no patience.
            return True
        patience = self.plugin_args.get("job_finished_timeout", _SECONDS_TO_APPEAR)
        return now - job.left_at >= float(patience)

    @staticmethod
    def _exit_status(job):
        """Return the exit status that the script left, None where it left none."""
        try:
            return int(job.files.exit_status.read_text())
        except (OSError, ValueError):
            return None

    def _explain(self, taskid, job):
        tail = tail_of(job.files.log)
        status = self._exit_status(job) or job.end.exit_status
        cause = job.end.cause or cause_in_log(tail)
        if not cause:
            cause = cause_of_exit(status) if status else "it left the queue without a result"
        said = f": {job.end.said}" if job.end.said else ""
        cause = f"{cause} ({self._scheduler.name} job {taskid}{said})"
        return {
            "traceback": [f"The job ended without a result: {cause}\n", *(f"{t}\n" for t in tail)],
            "cause": cause,
            "log": str(job.files.log),
            "tail": tail,
        }

    def _clear_task(self, taskid):
        del self._jobs[taskid]

    def _close(self):
        left = [taskid for taskid, job in self._jobs.items() if not job.refusal]
        if left:
            LOGGER.warning("cancelling jobs still in the queue: %s", " ".join(map(str, left)))
            cancel(self._scheduler, left)
            wait_until_gone(self._scheduler, left)


def cancel(scheduler: Slurm | GridEngine, job_ids: Collection[int]) -> None:
    """Cancel jobs of which some may have ended just now; the queue tells what is left."""
    try:
        scheduler.cancel(job_ids)
    except SchedulerError as error:
        LOGGER.warning("%s", error)


def wait_until_gone(
    scheduler: Slurm | GridEngine, job_ids: Collection[int], seconds: float = _SECONDS_TO_CANCEL
) -> list[int]:
    """Wait until jobs have left the queue; return those that have not."""
    end = time.monotonic() + seconds
    left = set(job_ids)
    while time.monotonic() < end:
        try:
            left = set(job_ids) & set(scheduler.active())
        except SchedulerError as error:
            LOGGER.warning("%s", error)
        if not left:
            break
        time.sleep(0.5)
    return sorted(left)


class _GraphRun(SchedulerPlugin):
    """Mixin: all nodes are submitted at once and wait for each other in the queue.

    A MapNode is one job. The run lasts until all jobs have ended, so that results can be read.
    """

    def run(
        self, graph: DiGraph, config: Mapping[str, Mapping[str, Any]], updatehash: bool = False
    ) -> None:
        """Run the nodes of a graph; see `NodeLoop.run`."""
        self._prepare(graph, config)
        poll = float(config["execution"]["poll_sleep_duration"])
        try:
            self._submit_graph(graph, updatehash)
            while self.pending_tasks:
                self._take_results(graph)
                if self.pending_tasks:
                    self._wait(poll)
        finally:
            self._close()
        if self.failures:
            failed = {f.node for f in self.failures}
            own = [f for f in self.failures if f.node not in self._not_run]
            n_not_run = len(self._not_run | failed) - len(own)
            raise WorkflowError(tell(own, n_not_run), own)

    def _submit_graph(self, graph, updatehash):
        """Submit what is not valid, and all that comes after it."""
        submitted, broken = {}, set()
        for node in nx.topological_sort(graph):
            jobid = self.procs.index(node)
            self.proc_done[jobid] = True
            needed = list(graph.predecessors(node))
            after = [submitted[n] for n in needed if n in submitted]
            if broken.intersection(needed):
                broken.add(node)
                continue
            # Until what it needs has run nobody knows whether its inputs are as before.
            if not after and self._local_hash_check(jobid, graph):
                if node_name(node, self._root) in {f.node for f in self.failures}:
                    broken.add(node)
                continue
            self.proc_pending[jobid] = True
            if self._status_callback:
                self._status_callback(node, "start")
            taskid = self._submit_job(node, updatehash=updatehash, after=after)
            self.pending_tasks.append((taskid, jobid))
            if self._jobs[taskid].refusal:
                broken.add(node)
            else:
                submitted[node] = taskid


class SLURMPlugin(SchedulerPlugin):
    """Nodes as jobs of Slurm; see `SchedulerPlugin`."""

    def __init__(self, plugin_args=None):
        super().__init__(Slurm(), plugin_args)


class SGEPlugin(SchedulerPlugin):
    """Nodes as jobs of Grid Engine; see `SchedulerPlugin`.

    Parameters
    ----------
    plugin_args : dict, optional
        Also ``parallel_environment``, the name of the one for jobs on one machine.
    """

    def __init__(self, plugin_args=None):
        name = (plugin_args or {}).get("parallel_environment", "smp")
        super().__init__(GridEngine(name), plugin_args)


class SLURMGraphPlugin(_GraphRun, SLURMPlugin):
    """The whole graph as jobs of Slurm that depend on each other."""


class SGEGraphPlugin(_GraphRun, SGEPlugin):
    """The whole graph as jobs of Grid Engine that depend on each other."""


def cancel_left_jobs(record: Mapping[str, Any] | None, work_dir: str | os.PathLike[str]) -> None:
    """Cancel what a killed run has left in the queue, which would write into the same folders.

    Parameters
    ----------
    record : dict or None
        The record of the earlier run.
    work_dir : path
        Work folder of the run: jobs whose script lies elsewhere are not ours and stay.

    Raises
    ------
    WorkflowError
        Where jobs may still run.
    """
    job_ids = open_jobs(record)
    if record is None or not job_ids or record["state"] not in ("running", "interrupted"):
        return
    scheduler = Slurm() if record["plugin"].startswith("SLURM") else GridEngine()
    folder = os.path.realpath(work_dir)
    try:
        queue = scheduler.active()
        ours = [i for i in job_ids if i in queue and _is_in(scheduler.script_of(i), folder)]
    except SchedulerError as error:
        raise WorkflowError(
            f"jobs of an earlier run may still write into {work_dir} "
            f"({', '.join(map(str, job_ids))}): {error}. Where they are gone, delete "
            f"run.json there"
        ) from error
    if not ours:
        return
    LOGGER.warning("cancelling jobs of an earlier run: %s", " ".join(map(str, ours)))
    cancel(scheduler, ours)
    if left := wait_until_gone(scheduler, ours):
        raise WorkflowError(f"jobs of an earlier run do not end: {', '.join(map(str, left))}")


def _is_in(script, folder):
    return script is not None and os.path.realpath(script).startswith(f"{folder}{os.sep}")
