"""The folder of a workflow's nodes: whose version it is of."""

import json
import logging
import shutil
from pathlib import Path

from nipype_group.execution.done_nodes import forget_own
from nipype_group.execution.record import versions

# With another version of these, no result in the folder can be trusted; with another one of what
# numbers rest on, that of this package's nodes.
_DECIDING = ("nipype-group", "nipype")
# Not Nipype's, which the command silences: that all runs again is to be seen.
LOGGER = logging.getLogger("nipype_group")
MARKER_NAME = "nipype_group.json"


def keep_to_version(folder):
    """See that a workflow's folder holds nothing of another version.

    Results of another version of the package or of Nipype, or of one that is not known, are moved
    beside the folder, where they can be deleted: nothing is taken from them. With another version
    of what numbers rest on, the nodes of this package run again and others stay: a first level
    that was computed in the same folder is not this package's to discard.

    Parameters
    ----------
    folder : path
        The workflow's folder in the work folder; made where missing.

    Returns
    -------
    Path or None
        Where older results are now.
    """
    folder = Path(folder)
    now = versions()
    moved = None
    if folder.is_dir() and any(folder.iterdir()):
        before = _versions_of(folder)
        if before == now:
            return None
        LOGGER.warning(
            "%s holds results of other versions (%s; now %s): all nodes of nipype_group run again",
            folder,
            _words(before, now),
            _words(now, before),
        )
        if before and all(before.get(name) == now[name] for name in _DECIDING):
            forget_own(folder)
        else:
            moved = _move_aside(folder, before)
            LOGGER.warning("the older ones are in %s, which can be deleted", moved)
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f"{MARKER_NAME}.tmp"
    beside.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    beside.replace(folder / MARKER_NAME)
    return moved


def _move_aside(folder, before):
    of = before.get("nipype-group", "unknown") if before else "unknown"
    moved = folder.with_name(f"{folder.name}.of-version-{of}")
    if moved.exists():
        shutil.rmtree(moved)
    return folder.rename(moved)


def _versions_of(folder):
    try:
        found = json.loads((folder / MARKER_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _words(found, other):
    """Name the versions of which another is found."""
    if not found or not other:
        return "unknown" if not found else f"nipype-group {found['nipype-group']}"
    return ", ".join(f"{k} {v}" for k, v in found.items() if other.get(k) != v)
