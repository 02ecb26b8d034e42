"""Which nodes of a work folder count as done.

Nipype takes a node for done by a marker with the hash of its inputs, whatever became of its files:
a file that a scratch disk purged would stop every later run, a damaged one would pass on.
"""

import glob
import logging
from pathlib import Path

from nipype.pipeline.engine.utils import load_resultfile

# Not Nipype's, which the command silences: that results were damaged is to be seen.
LOGGER = logging.getLogger("nipype_group")
# Made again of what is there by `nipype-group report`, and no result of a node.
_REMADE = "_report.html"


def finished_markers(folder):
    """Return the files that a node writes into its folder when it has ended well."""
    markers = Path(folder).glob("_0x*.json")
    return [m for m in markers if not m.name.endswith("_unfinished.json")]


def forget_spoiled(folder):
    """Let nodes run again whose results are no longer what they wrote.

    A file is missing, or newer than the node's record of its results. Looked at are the package's
    own nodes, and of their files those in the node's folder and the derivatives. A file that was
    changed without a trace in its date is not noticed.

    Parameters
    ----------
    folder : path
        The workflow's folder in the work folder.

    Returns
    -------
    list of Path
        Folders of these nodes.
    """
    spoiled = _forget(folder, _is_spoiled)
    if spoiled:
        names = ", ".join(str(place.relative_to(folder)) for place in spoiled)
        LOGGER.warning("files of these nodes are gone or were changed; they run again: %s", names)
    return spoiled


def forget_own(folder):
    """Let all nodes of this package run again; others keep what they have.

    Parameters
    ----------
    folder : path
        The workflow's folder in the work folder.
    """
    _forget(folder, lambda record, outputs: True)


def _forget(folder, which):
    """Take the markers of own nodes that `which` picks away; return the folders of these nodes."""
    forgotten = []
    for record in sorted(Path(folder).rglob("result_*.pklz")):
        markers = finished_markers(record.parent)
        outputs = _own_outputs(record) if markers else None
        if outputs is None or not which(record, outputs):
            continue
        for marker in markers:
            marker.unlink()
        forgotten.append(record.parent)
    return forgotten


def _own_outputs(record):
    """Return the outputs of a node of this package as a dict, None of another's."""
    try:
        result = load_resultfile(record)
        # Those of a MapNode are a Bunch.
        outputs = getattr(result.outputs, "dictcopy", result.outputs.get)()
    except Exception:
        # Nipype says what is wrong with it.
        return None
    interfaces = result.interface if isinstance(result.interface, list) else [result.interface]
    own = any(getattr(i, "__module__", "").startswith("nipype_group.") for i in interfaces)
    return outputs if own else None


def _is_spoiled(record, outputs):
    places = [record.parent, *(Path(p) for p in _texts(outputs.get("group_dir")))]
    written = record.stat().st_mtime_ns
    paths = (Path(text) for text in _texts(list(outputs.values())) if Path(text).is_absolute())
    return any(
        _changed_since(written, path)
        for path in paths
        if path not in places and any(path.is_relative_to(place) for place in places)
    )


def _texts(value):
    """Return all text in nested lists."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in _texts(item)]
    return []


def _changed_since(written, path):
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return True
    return changed > written and not path.name.endswith(_REMADE)


def check_places(graph, work_dir):
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
    writers = {}
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
