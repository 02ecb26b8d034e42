"""The folder of a workflow's nodes: whose version it is of."""

import json
import shutil
from pathlib import Path

from nipype import logging

from nipype_group.execution.record import versions

LOGGER = logging.getLogger("nipype.workflow")
MARKER_NAME = "nipype_group.json"
# Another version of these may give another output of the same inputs.
_DECIDING = ("nipype-group", "nipype")


def keep_to_version(folder):
    """See that a workflow's folder holds nothing of another version.

    Results of another version, or of one that is not known, are moved beside the folder, where
    they can be deleted: nothing is taken from them.

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
    now = {name: found for name, found in versions().items() if name in _DECIDING}
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
            _words(before),
            _words(now),
            moved,
        )
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f"{MARKER_NAME}.tmp"
    beside.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    beside.replace(folder / MARKER_NAME)
    return moved


def _versions_of(folder):
    try:
        return json.loads((folder / MARKER_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _words(found):
    return ", ".join(f"{k} {v}" for k, v in found.items()) if found else "unknown"
