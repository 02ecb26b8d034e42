"""Work folders in which nodes may have read inputs that changed meanwhile.

A node is taken for done by the hash of its inputs as they were before it ran. Where a file changed
in between, its results belong to another content, and once the file has the old content again they
would be taken for those of it.
"""

import os
from datetime import datetime
from pathlib import Path

from nipype_group.execution.record import RECORD_NAME, read_record


def run_all_again(folder):
    """Let all nodes of a workflow run again.

    Parameters
    ----------
    folder : path
        The workflow's folder in the work folder.
    """
    for marker in Path(folder).rglob("_0x*.json"):
        marker.unlink(missing_ok=True)


def may_be_mixed(work_dir, paths):
    """Tell whether the run before was killed, and files were changed after it started.

    A run that ends by itself, or is interrupted, looks at its inputs then.

    Parameters
    ----------
    work_dir : path
    paths : iterable of path
        Inputs.

    Returns
    -------
    bool
        False where the work folder is somebody else's.
    """
    work_dir = Path(work_dir)
    record = read_record(work_dir / RECORD_NAME)
    try:
        started = datetime.fromisoformat(record["started"]).timestamp()
        if record["state"] != "running" or work_dir.stat().st_uid != os.getuid():
            return False
    except (OSError, TypeError, KeyError, ValueError):
        return False
    return any(_last_change(path) >= started for path in paths)


def _last_change(path):
    try:
        return max(Path(path).stat().st_ctime, Path(path).lstat().st_ctime)
    except OSError:
        return 0.0
