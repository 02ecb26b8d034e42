"""Nodes whose cache can be trusted.

Nipype takes a node's results for valid by a hash that leaves out the names of files, digits of
numbers and most of an array: a node that passes paths on then gives those of an earlier run,
whatever lies there now. It never looks at what became of a node's own files, and it keeps the
whole environment with every result.

`trust` gives the nodes of a workflow the classes of this module, which all plugins then run. A
node's hash holds the path and the content of each file that it takes; what it wrote is recorded
with its state on the disk, and the environment is not kept.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nipype.pipeline.engine as pe
import numpy as np
import pandas as pd
from nipype.interfaces.base import isdefined
from nipype.utils.filemanip import loadpkl, savepkl

from nipype_group.images import file_state
from nipype_group.interfaces.base import GroupInterface, file_identity

if TYPE_CHECKING:
    from nipype.interfaces.base.support import InterfaceResult
    from nipype.pipeline.engine import Node, Workflow

STATES_NAME = "states.json"


def trust(workflow: Workflow) -> None:
    """Give the nodes of a workflow the classes of this module.

    A node of a class that is neither Nipype's nor this module's keeps it.

    Parameters
    ----------
    workflow : Workflow
        The workflow, whose nodes are changed in place.
    """
    for node in workflow._get_all_nodes():
        _trust_node(node)


def _trust_node(node):
    node.__class__ = _TRUSTED.get(type(node), type(node))
    return node


def exact_text(value: object) -> str:
    """Return text that differs wherever an input of a node differs.

    Parameters
    ----------
    value : object
        Text that names a file stands for the path and the content of the file.

    Returns
    -------
    str
    """
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(exact_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{k!r}: {exact_text(v)}' for k, v in value.items()))}}}"
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(map(exact_text, value)))}}}"
    if isinstance(value, (str, os.PathLike)):
        with suppress(OSError, ValueError):
            if Path(value).is_file():
                return repr(file_identity(value))
        return repr(value)
    # repr shows the ends of an array or a table alone.
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str}{exact_text(value.tolist())}"
    if isinstance(value, (pd.DataFrame, pd.Series)):
        return repr(value.to_csv())
    return repr(value)


class _Trusted(pe.Node):
    """Mixin over a node of Nipype."""

    def _get_hashval(self):
        known = self._hashvalue is not None and self._hashed_inputs is not None
        items, value = super()._get_hashval()
        if not known and not _is_own(self._interface):
            given = [
                (name, exact_text(v))
                for name, v in sorted(self.inputs.trait_get().items())
                if isdefined(v) and not self.inputs.has_metadata(name, "nohash", True)
            ]
            self._hashvalue = hashlib.md5(f"{value}{given}".encode()).hexdigest()
        return items, self._hashvalue

    def _run_interface(self, execute=True, updatehash=False):
        result = super()._run_interface(execute=execute, updatehash=updatehash)
        if execute:
            self._forget_environment()
            # Before the marker of its end: a node that has one has these.
            write_states(self, result)
        return result

    def run(self, updatehash: bool = False) -> InterfaceResult:
        """Run the node; see `nipype.pipeline.engine.Node.run`."""
        try:
            return super().run(updatehash=updatehash)
        finally:
            self._forget_environment()

    def _forget_environment(self):
        if not isinstance(self._interface, GroupInterface):
            _forget_environment(_result_file(self))


class TrustedNode(_Trusted, pe.Node):
    """A node; see `trust`."""


class TrustedJoinNode(_Trusted, pe.JoinNode):
    """A node that joins iterations; see `trust`."""


class TrustedMapNode(_Trusted, pe.MapNode):
    """A node over lists; see `trust`."""

    def _make_nodes(self, cwd=None):
        for number, node in super()._make_nodes(cwd):
            yield number, _trust_node(node)


_TRUSTED = {
    pe.Node: TrustedNode,
    pe.JoinNode: TrustedJoinNode,
    pe.MapNode: TrustedMapNode,
}


def _result_file(node):
    return Path(node.output_dir(), f"result_{node.name}.pklz")


def _is_own(interface):
    return type(interface).__module__.startswith("nipype_group.")


def _forget_environment(path):
    """Take the environment out of a result; interfaces of this package keep none."""
    if not path.exists():
        return
    result = loadpkl(str(path))
    found = getattr(result, "runtime", None)
    held = [r for r in (found if isinstance(found, list) else [found]) if hasattr(r, "environ")]
    if any(runtime.environ for runtime in held):
        for runtime in held:
            runtime.environ = {}
        savepkl(str(path), result)


def write_states(node: Node, result: InterfaceResult) -> None:
    """Record the files that a node has written: those in its folder, its result, the derivatives.

    Parameters
    ----------
    node : Node
    result : InterfaceResult
        What the node gave.
    """
    folder = Path(node.output_dir())
    # The outputs of a MapNode are a Bunch; some nodes have none.
    read = "dictcopy" if hasattr(result.outputs, "dictcopy") else "trait_get"
    values: dict[str, Any] = getattr(result.outputs, read, dict)()
    places = [folder, *(Path(text).parent for text in texts(values.get("group_dir")))]
    files = (Path(text) for text in texts(list(values.values())) if Path(text).is_absolute())
    written = [f for f in files if any(f.is_relative_to(p) for p in places) and f.is_file()]
    written += [f for f in (_result_file(node),) if f.is_file()]
    about = {
        "Own": _is_own(node.interface),
        "Files": {str(path): file_state(path) for path in dict.fromkeys(written)},
    }
    (folder / STATES_NAME).write_text(json.dumps(about) + "\n", encoding="utf-8")


def texts(value: object) -> list[str]:
    """Return all text in nested lists.

    Examples
    --------
    >>> texts(["a", [1, ("b",)]])
    ['a', 'b']
    """
    if isinstance(value, str):
        return [value]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in texts(item)]
    return []
