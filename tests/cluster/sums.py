"""A workflow whose shards can be told to wait or to die without a change of their inputs.

As a script it runs the workflow: ``python sums.py PLUGIN WORK_DIR CONTROL_DIR X,X,...``.
"""

import sys

from nipype.interfaces.utility import Function, IdentityInterface
from nipype.pipeline.engine import MapNode, Node, Workflow

from nipype_group.execution import run_workflow

ARGUMENTS = {"job_finished_timeout": 5, "max_tries": 1, "retry_timeout": 0.2}


def shard(x, control, factor):
    """Return factor times x and the job; what the control folder says comes before."""
    import os
    import time
    from pathlib import Path

    job = int(os.environ.get("SLURM_JOB_ID") or os.environ.get("JOB_ID") or 0)
    told = Path(control, str(x))
    with Path(control, "log").open("a") as log:
        log.write(f"{x} {job}\n")
    if told.exists():
        word = told.read_text()
        if word == "wait":
            time.sleep(120)
        if word == "eat":
            eaten = bytearray(3 * 2**30)
            eaten[::4096] = b"x" * len(eaten[::4096])
            time.sleep(20)
        if word == "raise":
            raise ValueError(f"{x} is unlucky")
    return factor * x, job


def add(values):
    """Add up."""
    return sum(values)


def make_workflow(control, xs=(1, 2, 3), factor=1, **node):
    """Return a MapNode over the numbers, their sum, and a branch of its own."""
    workflow = Workflow("sums")
    shards = MapNode(
        Function(function=shard, output_names=["value", "job"]),
        iterfield=["x"],
        name="shards",
        **{"mem_gb": 0.2, **node},
    )
    shards.inputs.trait_set(x=list(xs), control=str(control), factor=factor)
    total = Node(Function(function=add, output_names=["total"]), name="total", mem_gb=0.1)
    beside = Node(Function(function=add, output_names=["total"]), name="beside", mem_gb=0.1)
    beside.inputs.values = [factor]
    outputnode = Node(IdentityInterface(fields=["total", "jobs", "beside"]), name="outputnode")
    workflow.connect(
        [
            (shards, total, [("value", "values")]),
            (total, outputnode, [("total", "total")]),
            (shards, outputnode, [("job", "jobs")]),
            (beside, outputnode, [("total", "beside")]),
        ]
    )
    return workflow


def run(workflow, plugin, work_dir, **arguments):
    """Run it with short pauses."""
    return run_workflow(
        workflow,
        work_dir=work_dir,
        plugin=plugin,
        plugin_args={**ARGUMENTS, **arguments},
        poll_seconds=0.2,
    )


if __name__ == "__main__":
    plugin, work_dir, control, xs = sys.argv[1:]
    run(make_workflow(control, [int(x) for x in xs.split(",")]), plugin, work_dir)
