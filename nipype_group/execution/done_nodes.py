"""Which nodes of a work folder count as done.

Nipype takes a node for done by a marker with the hash of its inputs, whatever became of its files:
a file that a scratch disk purged would stop every later run, a damaged one would pass on.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from nipype_group.execution.nodes import STATES_NAME
from nipype_group.images import file_state
from nipype_group.json_files import read_json

if TYPE_CHECKING:
    from networkx import DiGraph
    from nipype.pipeline.engine import Node

# Not Nipype's, which the command silences: that results were damaged is to be seen.
LOGGER = logging.getLogger("nipype_group")


def finished_markers(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the files that a node writes into its folder when it has ended well."""
    markers = Path(folder).glob("_0x*.json")
    return [m for m in markers if not m.name.endswith("_unfinished.json")]


def forget_spoiled(
    folder: str | os.PathLike[str], parts: Collection[str] | None = None
) -> list[Path]:
    """Let nodes run again whose files are no longer what they wrote.

    Looked at are the files that `nodes.write_states` records: those in the node's folder and the
    derivatives. One that is missing, or was written, replaced, copied or renamed since is noticed
    whatever its date says.

    Parameters
    ----------
    folder : path
        The workflow's folder in the work folder.
    parts : collection of str, optional
        Names of the nodes and workflows that the workflow has now, of which a user is told: the
        folder may hold others, as analyses of earlier runs. By default of all.

    Returns
    -------
    list of Path
        Folders of these nodes.
    """
    spoiled = _forget(folder, _has_changed_files)
    places = [place.relative_to(folder) for place in spoiled]
    names = ", ".join(str(p) for p in places if parts is None or p.parts[0] in parts)
    if names:
        LOGGER.warning("files of these nodes are gone or were changed; they run again: %s", names)
    return spoiled


def forget_own(folder: str | os.PathLike[str]) -> None:
    """Let all nodes of this package run again; others keep what they have.

    Parameters
    ----------
    folder : path
        The workflow's folder in the work folder.
    """
    _forget(folder, lambda about: about["Own"])


def _forget(folder, which):
    """Take the markers of nodes that `which` picks away; return the folders of these nodes."""
    forgotten = []
    for path in sorted(Path(folder).rglob(STATES_NAME)):
        markers = finished_markers(path.parent)
        if not markers or not which(_read_states(path)):
            continue
        for marker in markers:
            marker.unlink()
        forgotten.append(path.parent)
    return forgotten


def _read_states(path):
    try:
        return read_json(path, {"Own": bool, "Files": {str: list}})
    except (OSError, ValueError):
        # Whatever it held, the node makes it again.
        return {"Own": True, "Files": {str(path): []}}


def _has_changed_files(about):
    return any(_is_changed(path, state) for path, state in about["Files"].items())


def _is_changed(path, state):
    try:
        return file_state(path) != state
    except OSError:
        return True


def check_node_places(graph: DiGraph, work_dir: str | os.PathLike[str]) -> None:
    """Refuse places that nodes would take for others.

    Parameters
    ----------
    graph : networkx.DiGraph
        Expanded: a node for each value of its iterables.
    work_dir : path

    Raises
    ------
    ValueError
        Where a path of an input is relative, which a node takes from its own folder; where two
        nodes write their derivatives to one folder; where the work folder has a sign of patterns.
    """
    if glob.escape(str(work_dir)) != str(work_dir):
        raise ValueError(
            f"Nipype looks for files in the work folder by patterns, in which [ ] * ? have a "
            f"meaning: take another one than {work_dir}"
        )
    writers: dict[Path, list[Node]] = {}
    for node in graph.nodes:
        interface = node.interface
        if not type(interface).__module__.startswith("nipype_group."):
            continue
        for name in ("output_dir", "bids_dir", "pattern", "variance_pattern"):
            value = getattr(interface.inputs, name, None)
            if not isinstance(value, str):
                continue
            if not Path(value).is_absolute():
                raise ValueError(
                    f"{name} {value!r} of {node.fullname} is relative: nodes run in folders of "
                    "their own; give an absolute path"
                )
            if type(interface).__name__ == "GroupDerivatives":
                writers.setdefault(Path(value), []).append(node)
    for place, nodes in writers.items():
        if len(nodes) > 1:
            names = ", ".join(".".join([n.fullname, *n.parameterization]) for n in nodes)
            raise ValueError(
                f"{len(nodes)} analyses write to {place}, where the last would replace the "
                f"others: {names}. Give each an output_dir of its own"
            )
