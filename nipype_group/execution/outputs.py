"""Results of a run, by field of the workflow's outputnode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import isdefined
from nipype.pipeline.engine import Workflow

if TYPE_CHECKING:
    from networkx import DiGraph


def _source(workflow, node, field, path):
    """Follow a field of an identity node to the node and output that feed it.

    Returns the full name of the node and the output, or None where nothing feeds the field.
    """
    for origin, _, data in workflow._graph.in_edges(node, data=True):
        for source, target in data["connect"]:
            if target != field:
                continue
            name = source[0] if isinstance(source, tuple) else source
            if not isinstance(origin, Workflow):
                return f"{path}.{origin.name}", name
            inner, _, inner_field = name.rpartition(".")
            inner_path = f"{path}.{origin.name}"
            if inner == "outputnode":
                return _source(origin, origin.get_node(inner), inner_field, inner_path)
            return f"{inner_path}.{inner}", inner_field
    return None


def collect_outputs(workflow: Workflow, graph: DiGraph) -> dict[str, Any]:
    """Return the values of the outputnode's fields after a run.

    Parameters
    ----------
    workflow : Workflow
        The workflow that ran, with an outputnode.
    graph : networkx.DiGraph
        What its ``run`` returned. Results are read from this graph: nodes of the workflow itself
        may hold older ones.

    Returns
    -------
    dict
        Field to value; fields that nothing feeds are left out.
    """
    outputnode = workflow.get_node("outputnode")
    if outputnode is None:
        return {}
    ran = {node.fullname: node for node in graph.nodes}
    values = {}
    for field in outputnode.outputs.copyable_trait_names():
        found = _source(workflow, outputnode, field, workflow.name)
        if found is None or found[0] not in ran:
            continue
        full_name, name = found
        value = getattr(ran[full_name].result.outputs, name)
        if isdefined(value):
            values[field] = value
    return values
