"""Several analyses in one run: one graph, one work folder, an outcome of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nipype.pipeline.engine as pe
from nipype.pipeline.engine.utils import load_resultfile

from nipype_group.execution.done_nodes import finished_markers
from nipype_group.execution.failures import NodeFailure, WorkflowError, tell
from nipype_group.execution.record import RECORD_NAME
from nipype_group.execution.run import RunResult, run_workflow

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

NAME = "analyses_wf"


def run_side_by_side(
    workflows: Mapping[str, Workflow], **how: Any
) -> dict[str, RunResult | WorkflowError]:
    """Run group analyses in one graph, so that where one fails the others end well.

    Parameters
    ----------
    workflows : dict of str to Workflow
        Each called as its key, with its inputs; its node keep writes its derivatives.
    **how
        As `run_workflow` takes it.

    Returns
    -------
    dict
        Of each what `run_workflow` gives, with the output ``out_files``; or why it failed.

    Raises
    ------
    WorkflowError
        Where it cannot be told which of them failed.
    FolderInUseError, ValueError
        As `run_workflow`.
    """
    together = pe.Workflow(name=NAME)
    together.add_nodes(list(workflows.values()))
    failures: tuple[NodeFailure, ...] = ()
    graph = None
    try:
        graph = run_workflow(together, **how).graph
    except WorkflowError as error:
        failures = error.failures
        if not failures:
            raise
    finally:
        for workflow in workflows.values():
            workflow.base_dir = together.base_dir
    # The folder may be another one than was named.
    work_dir = Path(together.base_dir)
    outcomes: dict[str, RunResult | WorkflowError] = {}
    for label in workflows:
        start = f"{NAME}.{label}."
        own = [failure for failure in failures if failure.node.startswith(start)]
        kept = work_dir / NAME / label / "keep"
        if own:
            outcomes[label] = WorkflowError(tell(own), own)
        elif not finished_markers(kept):
            outcomes[label] = WorkflowError(f"{label} was not carried out to its end")
        else:
            outcomes[label] = RunResult(
                {"out_files": load_resultfile(kept / "result_keep.pklz").outputs.out_files},
                None if graph is None else _part(graph, start),
                work_dir,
                work_dir / RECORD_NAME,
            )
    return outcomes


def _part(graph, start):
    """Return the nodes of one analysis."""
    return graph.subgraph(node for node in graph if node.fullname.startswith(start))
