"""Work folders in which nodes may have read inputs that changed meanwhile.

A node is taken for done by the hash of its inputs as they were before it ran. Where a file changed
in between, its results belong to another content, and once the file has the old content again they
would be taken for those of it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype_group.execution.record import RECORD_NAME, read_record

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

# Not Nipype's, which the command silences: that all runs again is to be seen.
LOGGER = logging.getLogger("nipype_group")


def forget_run(workflow: Workflow) -> None:
    """Let all nodes run again of a workflow that this process has just run.

    Where it was refused a work folder, or another run has that folder, nothing is done.

    Parameters
    ----------
    workflow : Workflow
    """
    work_dir = Path(workflow.base_dir or "")
    record = read_record(work_dir / RECORD_NAME)
    if isinstance(record, dict) and record.get("pid") == os.getpid():
        # One of several has its folder in that of all.
        _run_all_again(work_dir.joinpath(*workflow.fullname.split(".")))


def forget_mixed(
    folder: str | os.PathLike[str],
    record: Mapping[str, Any] | None,
    inputs: Iterable[str | os.PathLike[str]],
) -> None:
    """Let all nodes run again where the run before was killed and inputs changed after its start.

    A run that ends by itself, or is interrupted, looks at its inputs then.

    Parameters
    ----------
    folder : path
        The workflow's folder in the work folder.
    record : dict or None
        The record of the run before.
    inputs : iterable of path
        Files that the workflow reads.
    """
    if record is None:
        return
    try:
        started = datetime.fromisoformat(record["started"]).timestamp()
        was_killed = record["state"] == "running"
    except (TypeError, KeyError, ValueError):
        return
    if was_killed and any(_last_change(path) >= started for path in inputs):
        LOGGER.warning(
            "the run before was killed, and inputs were changed after it started: all runs again"
        )
        _run_all_again(folder)


def _run_all_again(folder):
    for marker in Path(folder).rglob("_0x*.json"):
        marker.unlink(missing_ok=True)


def _last_change(path):
    try:
        return max(Path(path).stat().st_ctime, Path(path).lstat().st_ctime)
    except OSError:
        return 0.0
