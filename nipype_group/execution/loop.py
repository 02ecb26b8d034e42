"""The loop that hands nodes out and takes their results, for the plugins of this package.

Nipype's own loop measures its pauses with the wall clock, so that a clock set back stops it for
as long, raises the first failure only, and leaves jobs in the queue when it is interrupted.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype import logging
from nipype.pipeline.plugins.base import DistributedPluginBase

from nipype_group.execution.failures import NodeFailure, WorkflowError, last_message, tell

if TYPE_CHECKING:
    from networkx import DiGraph
    from nipype.pipeline.engine import Node

LOGGER = logging.getLogger("nipype.workflow")


def node_name(node: Node, root: str | os.PathLike[str]) -> str:
    """Return the full name of a node, with the item of a MapNode in brackets.

    Parameters
    ----------
    node : Node
        Node of an expanded graph.
    root : path
        Folder of the workflow's folder.

    Returns
    -------
    str
    """
    folder = Path(node.output_dir())
    root = Path(root or "/").resolve()
    if not folder.is_relative_to(root):
        return node.fullname
    parts = list(folder.relative_to(root).parts)
    if len(parts) > 2 and parts[-2] == "mapflow":
        item = parts[-1].removeprefix(f"_{parts[-3]}")
        parts = [*parts[:-3], f"{parts[-3]}[{item}]"]
    return ".".join(parts)


class NodeLoop(DistributedPluginBase):
    """Mixin over a distributed plugin of Nipype.

    Attributes
    ----------
    events : RunEvents or None
        Told of what happens to nodes.
    failures : list of NodeFailure
        All failures of the run.
    """

    events = None

    def run(
        self, graph: DiGraph, config: Mapping[str, Mapping[str, Any]], updatehash: bool = False
    ) -> None:
        """Run the nodes of a graph.

        Raises
        ------
        WorkflowError
            After all that can run has run, naming every node that failed.
        """
        self._prepare(graph, config)
        poll = float(config["execution"]["poll_sleep_duration"])
        try:
            while not np.all(self.proc_done) or np.any(self.proc_pending):
                before = self._progress()
                self._take_results(graph)
                if len(self.pending_tasks) < self.max_jobs:
                    self._send_procs_to_workers(updatehash=updatehash, graph=graph)
                if self._progress() == before:
                    self._wait(poll)
            self._remove_node_dirs()
        finally:
            self._close()
        if self.failures:
            raise WorkflowError(tell(self.failures, len(self._not_run)), self.failures)

    def _prepare(self, graph, config):
        self._config, self._run_errors = config, []
        self.failures, self._not_run = [], set()
        self._root = next((node.base_dir for node in graph.nodes), ".")
        self._prerun_check(graph)
        self._generate_dependency_list(graph)
        self.mapnodes, self.mapnodesubids = [], {}
        if self.events is not None:
            self._status_callback = self.events

    def _progress(self):
        return len(self.procs), int(self.proc_done.sum()), int(self.proc_pending.sum())

    def _take_results(self, graph):
        """Take the results that are there."""
        self._look()
        waiting = []
        for taskid, jobid in self.pending_tasks:
            result = self._get_result(taskid)
            if result is None:
                waiting.append((taskid, jobid))
                continue
            if self.events is not None and result.get("hostname"):
                self.events.host(self.procs[jobid], result["hostname"])
            if result["traceback"]:
                self._clean_queue(jobid, graph, result=result)
            else:
                self._task_finished_cb(jobid)
                self._remove_node_dirs()
            self._clear_task(taskid)
        self.pending_tasks = waiting

    def _look(self):
        """Learn what became of the tasks."""

    def _wait(self, seconds):
        """Wait for a change."""
        time.sleep(seconds)

    def _close(self):
        """End what is left of an interrupted run."""

    def _name(self, jobid):
        return node_name(self.procs[jobid], self._root)

    def _submit_mapnode(self, jobid):
        expanded = super()._submit_mapnode(jobid)
        if not expanded and self.events is not None:
            items = [self.procs[i] for i, parent in self.mapnodesubids.items() if parent == jobid]
            self.events.expanded(self.procs[jobid], items)
        return expanded

    def _local_hash_check(self, jobid, graph):
        try:
            self.procs[jobid].is_cached()
        except Exception:
            # Inputs that cannot be set: told as this node's failure, not as the run's.
            self._clean_queue(jobid, graph)
            return True
        return super()._local_hash_check(jobid, graph)

    def _task_finished_cb(self, jobid, cached=False):
        if cached and self.events is not None:
            self.events.cached(self.procs[jobid])
        super()._task_finished_cb(jobid, cached=cached)

    def _report_crash(self, node, result=None):
        try:
            return super()._report_crash(node, result)
        except OSError as error:
            # On a full disk there is no report; the failure is told, and others go on.
            LOGGER.warning("no crash file of node %s: %s", node.fullname, error)
            return ""

    def _clean_queue(self, jobid, graph, result=None):
        """Take a failed node and what needs it out of the graph."""
        if result is None:
            result = {"result": None, "traceback": format_exception(*sys.exc_info())}
        lines = result["traceback"]
        lines = lines.splitlines(keepends=True) if isinstance(lines, str) else list(lines)
        # Before the report of the crash adds its own lines.
        cause = result.get("cause") or last_message("".join(lines).rstrip().splitlines())
        left = super()._clean_queue(jobid, graph, result={"result": None, "traceback": lines})
        name = self._name(jobid)
        self.failures.append(
            NodeFailure(
                name, cause, str(left["crashfile"]), result.get("log", ""), result.get("tail", ())
            )
        )
        own = re.sub(r"\[\d+\]$", "", name)
        others = {node_name(node, self._root) for node in left["dependents"]} - {own}
        self._not_run |= others
        LOGGER.error("node %s failed: %s", name, cause)
        self.proc_pending[jobid] = False
        return left
