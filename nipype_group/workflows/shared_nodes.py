"""Nodes of several analyses that compute the same, once."""

import hashlib

import networkx
import nipype.pipeline.engine as pe
from nipype.interfaces.base import isdefined
from nipype.interfaces.utility import IdentityInterface

_DIGITS = 10


def share_nodes(workflow: pe.Workflow) -> tuple[pe.Workflow, dict[str, pe.Node]]:
    """Return a workflow in which nodes that compute the same of the same are one node.

    Two nodes are one where their interfaces, their inputs and what is connected to them are
    equal, whichever nodes pass it on. The name of a node has a digest of all that, so that it
    keeps its place in the work folder, and its results, whatever other analyses there are.

    Parameters
    ----------
    workflow : Workflow
        With an analysis a workflow in it; it is left as it is.

    Returns
    -------
    shared : Workflow
        Of the same name.
    nodes : dict
        Full name of a node of the given workflow to the node that stands for it.
    """
    flat = workflow._create_flat_graph()
    shared = pe.Workflow(name=workflow.name)
    by_digest: dict[str, pe.Node] = {}
    digests: dict[pe.Node, str] = {}
    nodes: dict[str, pe.Node] = {}
    for node in networkx.lexicographical_topological_sort(flat, key=lambda one: one.fullname):
        sources = [] if _passes_on(node) else _sources(flat, node)
        given = sorted((target, digests[source], out) for target, source, out in sources)
        digest = hashlib.sha256(repr((_own(node, given), given)).encode()).hexdigest()
        digests[node] = digest
        if digest not in by_digest:
            twin = node.clone(f"{node.name}_{digest[:_DIGITS]}")
            # Its place is that of the workflow which it comes to.
            twin._hierarchy = None
            by_digest[digest] = twin
            if not _passes_on(node):
                shared.add_nodes([twin])
            for target, source_digest, out in given:
                shared.connect(by_digest[source_digest], out, twin, target)
        nodes[node.fullname] = by_digest[digest]
    return shared, nodes


def _passes_on(node):
    """Tell whether a node passes on what it is given, as those at the ends of workflows do."""
    return isinstance(node.interface, IdentityInterface)


def _sources(flat, node):
    """Return input, node and output of all that a node is given, whoever passes it on."""
    found = []
    for source, _, data in flat.in_edges(node, data=True):
        for out, target in data["connect"]:
            # Builders here connect no functions.
            assert isinstance(out, str), out
            origin = _origin(flat, source, out)
            if origin is not None:
                found.append((target, *origin))
    return found


def _origin(flat, node, out):
    """Return the node and the output that something comes from; None where nothing gives it."""
    if not _passes_on(node):
        return node, out
    for source, _, data in flat.in_edges(node, data=True):
        for own, target in data["connect"]:
            if target == out:
                return _origin(flat, source, own)
    return (node, out) if isdefined(getattr(node.inputs, out)) else None


def _own(node, given):
    """Return all that a node is beside what is connected to it."""
    connected = {target for target, _, _ in given}
    values = [
        (name, repr(value) if isdefined(value) else None)
        for name, value in sorted(node.inputs.trait_get().items())
        if name not in connected
    ]
    kind = type(node.interface)
    return (
        node.name,
        f"{kind.__module__}.{kind.__qualname__}",
        values,
        sorted(connected),
        getattr(node, "iterfield", None),
    )
