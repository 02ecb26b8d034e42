"""The folder of a workflow's nodes: whose version it is of."""

import json
import logging
import shutil
from pathlib import Path

from nipype_group.execution.record import versions

# Not Nipype's, which the command silences: that all runs again is to be seen.
LOGGER = logging.getLogger("nipype_group")
MARKER_NAME = "nipype_group.json"


def keep_to_version(folder):
    """See that a workflow's folder holds nothing of another version.

    Results of another version of Python, the package or what its results rest on, or of one that
    is not known, are moved beside the folder, where they can be deleted: nothing is taken from
    them.

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
        of = before.get("nipype-group", "unknown") if before else "unknown"
        moved = folder.with_name(f"{folder.name}.of-version-{of}")
        if moved.exists():
            shutil.rmtree(moved)
        folder.rename(moved)
        LOGGER.warning(
            "%s holds results of other versions (%s; now %s): all nodes run again. "
            "The older ones are in %s, which can be deleted",
            folder,
            _words(before, now),
            _words(now, before),
            moved,
        )
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f"{MARKER_NAME}.tmp"
    beside.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    beside.replace(folder / MARKER_NAME)
    return moved


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
