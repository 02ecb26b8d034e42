"""The work folder: whose it is, and of which version the nodes in it are.

Results of nodes are pickles: to load one is to run what it says. A work folder is used where this
user has made it at this place, and nobody else can write into it.
"""

import json
import logging
import os
import shutil
import stat
from pathlib import Path

from nipype_group.design.folders import WORK_MARK
from nipype_group.execution.done_nodes import forget_own
from nipype_group.execution.record import versions
from nipype_group.json_files import read_json
from nipype_group.whole_files import replace_text, whole_folder

# With another version of these, no result in the folder can be trusted; with another one of what
# numbers rest on, that of this package's nodes.
_DECIDING = ("nipype-group", "nipype")
# Not Nipype's, which the command silences: that all runs again is to be seen.
LOGGER = logging.getLogger("nipype_group")
MARKER_NAME = "nipype_group.json"
_MOST_TRIED = 1000


def claim_work_folder(folder: str | os.PathLike[str]) -> Path:
    """Return a work folder that can be trusted: this one, or a new one beside it.

    Results of nodes hold absolute paths, so a folder that was copied or moved points to files of
    another analysis. Such a folder, one of another user, one that others can write to, and one
    that was not made as a work folder are left as they are, and the screen says so. One that is
    empty is taken.

    Parameters
    ----------
    folder : path
        Made where missing, for this user alone.

    Returns
    -------
    Path
        ``folder``, or the first of ``folder-2``, ``folder-3``... that can be used.

    Raises
    ------
    ValueError
        Where none can be made.
    """
    folder = Path(folder).absolute()
    for number in range(1, _MOST_TRIED):
        place = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            if _make(place) or (reason := _why_not(place)) is None:
                return place
        except OSError as error:
            raise ValueError(
                f"the work folder {place} cannot be made ({error.strerror}); name another one"
            ) from error
        LOGGER.warning(
            "%s is not used as work folder: %s. It stays as it is; %s is taken instead",
            place,
            reason,
            folder.with_name(f"{folder.name}-{number + 1}"),
        )
    raise ValueError(f"{folder} and {_MOST_TRIED} folders beside it are in use; name another one")


def _make(place):
    """Make a work folder with its mark, whole from the start; tell whether it was made."""
    if os.path.lexists(place):
        if not _is_empty_and_ours(place):
            return False
        _mark(place, place)
        return True
    try:
        with whole_folder(place, mode=0o700) as beside:
            _mark(beside, place)
    except OSError:
        # Another run has made one in the meantime.
        if not os.path.lexists(place):
            raise
        return False
    return True


def _mark(folder, place):
    about = {"Place": os.path.realpath(place), "Inode": folder.stat().st_ino}
    (folder / WORK_MARK).write_text(json.dumps(about) + "\n", encoding="utf-8")


def _is_empty_and_ours(place):
    return _whose(place) is None and not any(place.iterdir())


def _whose(place):
    """Tell who else has a say in a folder; None where nobody has."""
    if not place.is_dir():
        return "it is no folder"
    link, found = place.lstat(), place.stat()
    if {link.st_uid, found.st_uid} != {os.geteuid()}:
        return "it belongs to another user"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others can write into it"
    return None


def _why_not(place):
    """Tell why a folder that exists is no work folder of this user's at this place."""
    try:
        if (reason := _whose(place)) is not None:
            return reason
        mark = read_json(place / WORK_MARK)
        inode = place.stat().st_ino
    except FileNotFoundError:
        return "it was not made as a work folder by this version"
    except (OSError, ValueError):
        return "its mark cannot be read"
    if mark == {"Place": os.path.realpath(place), "Inode": inode}:
        return None
    return "it was copied or moved here, and its results name files of the other place"


def keep_to_version(folder: str | os.PathLike[str]) -> Path | None:
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
    replace_text(folder / MARKER_NAME, json.dumps(now, indent=1) + "\n")
    return moved


def _move_aside(folder, before):
    of = before.get("nipype-group", "unknown") if before else "unknown"
    moved = folder.with_name(f"{folder.name}.of-version-{of}")
    if moved.exists():
        shutil.rmtree(moved)
    return folder.rename(moved)


def _versions_of(folder):
    try:
        return read_json(folder / MARKER_NAME, {"nipype-group": str, str: str})
    except (OSError, ValueError):
        return None


def _words(found, other):
    """Name the versions of which another is found."""
    if not found or not other:
        return "unknown" if not found else f"nipype-group {found['nipype-group']}"
    return ", ".join(f"{k} {v}" for k, v in found.items() if other.get(k) != v)
