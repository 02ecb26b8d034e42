"""The record of a run: what ran where, as which job, for how long."""

import json
import logging
import os
import platform
import socket
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nipype import logging as nipype_logging

from nipype_group.json_files import NUMBER, read_json
from nipype_group.processor import processor
from nipype_group.whole_files import replace_text

LOGGER = nipype_logging.getLogger("nipype.workflow")
RECORD_NAME = "run.json"
# A record of many nodes need not be written at each event; a job is always written at once.
_SECONDS_BETWEEN_WRITES = 1.0
# Not Nipype's, which the command silences.
_SCREEN = logging.getLogger("nipype_group")
_FORM = {
    "nodes": {
        str: {
            "state": str,
            "jobs": [int],
            "started?": (str, type(None)),
            "seconds?": (*NUMBER, type(None)),
            "host?": (str, type(None)),
        }
    }
}
_PACKAGES = ("nipype-group", "nipype", "numpy", "scipy", "numba", "nibabel")


def _now():
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@lru_cache
def versions() -> dict[str, str]:
    """Return the versions of Python, the package and what its results rest on."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


class RunRecord:
    """A JSON file that tells how a run goes on, written as it goes.

    Parameters
    ----------
    path : path
        The file, replaced as a whole at each writing.
    workflow, plugin : str
        Names of both.
    arguments : dict
        Arguments of the plugin.
    earlier : dict, optional
        Record of the run before: what is known of a node stays while its result is valid.
    """

    def __init__(self, path, workflow, plugin, arguments, earlier=None):
        self.path = Path(path)
        self._earlier = (earlier or {}).get("nodes", {})
        self._written = -_SECONDS_BETWEEN_WRITES
        self._starts = {}
        self._began = time.monotonic()
        self._data = {
            "workflow": workflow,
            "plugin": plugin,
            "arguments": {k: v for k, v in arguments.items() if k != "status_callback"},
            "state": "running",
            "started": _now(),
            "ended": None,
            "seconds": None,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "versions": versions(),
            "processor": processor(),
            "nodes": {},
        }
        self._write()

    def _node(self, name):
        return self._data["nodes"].setdefault(
            name, {"state": "waiting", "started": None, "seconds": None, "host": None, "jobs": []}
        )

    def event(self, name: str, status: str) -> None:
        """Take an event of a node: start, cached, end or exception."""
        node = self._node(name)
        if status == "start":
            self._starts[name] = time.monotonic()
            node.update(state="running", started=_now(), seconds=None, host=None)
        elif status == "exception":
            node["state"] = "failed"
        elif status == "cached":
            self._starts.pop(name, None)
            node.update(self._earlier.get(name, {"started": None}), state="cached")
        elif node["state"] == "running":
            # Nipype's own serial plugin tells the end of nodes that never ran, too.
            node["state"] = "done"
            if not node["jobs"]:
                node["host"] = node["host"] or self._data["host"]
        if status in ("end", "exception") and name in self._starts:
            node["seconds"] = round(time.monotonic() - self._starts[name], 2)
        if time.monotonic() - self._written >= _SECONDS_BETWEEN_WRITES:
            self._write_if_possible()

    def job(self, name: str, job_id: int) -> None:
        """Take the scheduler's id of a node's job; it is on disk when this returns."""
        self._node(name)["jobs"].append(job_id)
        self._write()

    def host(self, name: str, host: str) -> None:
        """Take the machine where a node ran."""
        self._node(name)["host"] = host

    def end(self, state: str) -> None:
        """Close the record with the state of the run: done, failed or interrupted."""
        self._data.update(
            state=state, ended=_now(), seconds=round(time.monotonic() - self._began, 2)
        )
        self._write_if_possible()

    def _write_if_possible(self):
        """Write, or leave it on a full disk: nodes that fail there are what is to be told."""
        try:
            self._write()
        except OSError as error:
            LOGGER.warning("%s is not up to date: %s", self.path, error)

    def _write(self):
        replace_text(self.path, json.dumps(self._data, indent=1, default=str) + "\n")
        self._written = time.monotonic()


def read_record(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the record of an earlier run, None where there is none that can be read."""
    try:
        return read_json(path, _FORM)
    except FileNotFoundError:
        return None
    except ValueError as error:
        _SCREEN.warning("%s. The run goes on without what it told of an earlier one", error)
        return None


def open_jobs(record: Mapping[str, Any] | None) -> list[int]:
    """Return the ids of jobs whose end an earlier run did not see.

    Parameters
    ----------
    record : dict or None
        From `read_record`.

    Returns
    -------
    list of int
    """
    nodes = (record or {}).get("nodes", {}).values()
    return [n["jobs"][-1] for n in nodes if n["jobs"] and n["state"] in ("waiting", "running")]
