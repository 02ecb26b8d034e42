"""Runs on a real Slurm and a real Grid Engine, with what goes wrong on clusters."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from nipype.interfaces.base import SimpleInterface, TraitedSpec, traits
from nipype.pipeline.engine import Node, Workflow

from nipype_group.execution import WorkflowError

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("sums", HERE / "sums.py")
sums = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sums)

pytestmark = pytest.mark.usefixtures("scheduler")
ALL = pytest.mark.parametrize("plugin", ["SLURM", "SGE", "SLURMGraph", "SGEGraph"])
WITH_SHARDS = pytest.mark.parametrize("plugin", ["SLURM", "SGE"])


@pytest.fixture
def control(tmp_path):
    folder = tmp_path / "control"
    folder.mkdir()
    return folder


@pytest.fixture
def work(tmp_path):
    """Return a work folder of its own: one that holds something else is left alone."""
    return tmp_path / "work"


def started(control):
    """Return number and job of the shards that have started, in order."""
    log = control / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [tuple(map(int, line.split())) for line in lines]


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s in vain")


def cancel(plugin, job):
    command = "scancel" if plugin.startswith("SLURM") else "qdel"
    subprocess.run([command, str(job)], check=True, stdout=subprocess.DEVNULL)


def in_queue(plugin):
    if plugin.startswith("SLURM"):
        command = ["squeue", "-h", "-o", "%A %T"]
    else:
        command = ["qstat"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {int(f[0]): " ".join(f[1:]) for f in (line.split() for line in lines) if f[0].isdigit()}


def meanwhile(action):
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def record_of(work_dir):
    return json.loads((work_dir / "run.json").read_text())


@ALL
def test_results_record_and_a_second_run(plugin, tmp_path, control):
    work = tmp_path / "work with space"
    result = sums.run(sums.make_workflow(control), plugin, work)
    assert result.outputs["total"] == 6
    nodes = record_of(work)["nodes"]
    assert {n["state"] for n in nodes.values()} == {"done"}
    jobs = [n["jobs"] for n in nodes.values()]
    assert all(len(ids) == 1 for ids in jobs)
    names = [f"sums.shards[{i}]" for i in range(3)]
    if not plugin.endswith("Graph"):
        assert result.outputs["jobs"] == [nodes[n]["jobs"][0] for n in names]
    again = sums.run(sums.make_workflow(control), plugin, work)
    assert again.outputs == result.outputs
    assert len(started(control)) == 3
    assert [n["jobs"] for n in record_of(work)["nodes"].values()] == jobs
    assert {n["state"] for n in record_of(work)["nodes"].values()} == {"cached"}


@WITH_SHARDS
def test_running_shard_cancelled_with_changed_inputs(plugin, work, control):
    sums.run(sums.make_workflow(control), plugin, work)
    (control / "2").write_text("wait")
    (control / "log").unlink()

    def cancel_second():
        job = wait_for(lambda: dict(started(control)).get(2))
        cancel(plugin, job)

    thread = meanwhile(cancel_second)
    with pytest.raises(WorkflowError) as caught:
        sums.run(sums.make_workflow(control, factor=10), plugin, work)
    thread.join()
    text = str(caught.value)
    assert text.startswith("node sums.shards[1] failed: ")
    assert ("cancelled" if plugin == "SLURM" else "deleted (qdel)") in text
    nodes = record_of(work)["nodes"]
    assert nodes["sums.shards[1]"]["state"] == "failed"
    assert nodes["sums.beside"]["state"] == nodes["sums.shards[2]"]["state"] == "done"
    # The same again: the one that is missing runs, nothing else.
    (control / "2").unlink()
    (control / "log").unlink()
    result = sums.run(sums.make_workflow(control, factor=10), plugin, work)
    assert result.outputs["total"] == 60
    assert [x for x, _ in started(control)] == [2]


@WITH_SHARDS
def test_waiting_shard_cancelled_with_changed_inputs(plugin, work, control):
    sums.run(sums.make_workflow(control, n_procs=4), plugin, work)
    (control / "1").write_text("wait")
    (control / "2").write_text("wait")
    (control / "3").write_text("wait")
    (control / "log").unlink()

    def cancel_a_waiting_one():
        first = wait_for(lambda: started(control))[0][1]
        waiting = wait_for(lambda: sorted(set(in_queue(plugin)) - {first}))
        cancel(plugin, waiting[0])
        for x in (1, 2, 3):
            (control / str(x)).unlink()
        cancel(plugin, first)

    thread = meanwhile(cancel_a_waiting_one)
    with pytest.raises(WorkflowError) as caught:
        # All slots to each, so that the others wait.
        sums.run(sums.make_workflow(control, factor=10, n_procs=4), plugin, work)
    thread.join()
    assert len(caught.value.failures) >= 2
    result = sums.run(sums.make_workflow(control, factor=10, n_procs=4), plugin, work)
    assert result.outputs["total"] == 60


@ALL
def test_refused_submission(plugin, work, control):
    key = "sbatch_args" if plugin.startswith("SLURM") else "qsub_args"
    option = "--partition=nowhere" if key == "sbatch_args" else "-q nowhere"
    with pytest.raises(WorkflowError, match="nowhere|Invalid partition") as caught:
        sums.run(sums.make_workflow(control), plugin, work, **{key: option})
    assert "sbatch failed" in str(caught.value) or "qsub failed" in str(caught.value)
    assert not started(control)


@ALL
def test_exception_leaves_the_rest_going(plugin, work, control):
    (control / "2").write_text("raise")
    with pytest.raises(WorkflowError, match="2 is unlucky") as caught:
        sums.run(sums.make_workflow(control), plugin, work)
    (failure,) = caught.value.failures
    assert failure.node.startswith("sums.shards")
    assert record_of(work)["nodes"]["sums.beside"]["state"] == "done"
    assert "sums.total" not in str(caught.value)
    (control / "2").unlink()
    assert sums.run(sums.make_workflow(control), plugin, work).outputs["total"] == 6
    # The items that were done have run once.
    assert sorted(x for x, _ in started(control)) == [1, 2, 2, 3]


@WITH_SHARDS
def test_out_of_memory(plugin, work, control):
    (control / "2").write_text("eat")
    with pytest.raises(WorkflowError) as caught:
        sums.run(sums.make_workflow(control), plugin, work)
    (failure,) = caught.value.failures
    assert failure.node == "sums.shards[1]"
    assert "memory" in failure.cause.lower()


@WITH_SHARDS
def test_time_limit(plugin, work, control):
    (control / "2").write_text("wait")
    # Slurm counts in minutes.
    limit = {"sbatch_args": "--time=1"} if plugin == "SLURM" else {"qsub_args": "-l h_rt=15"}
    with pytest.raises(WorkflowError) as caught:
        sums.run(sums.make_workflow(control), plugin, work, **limit)
    (failure,) = caught.value.failures
    assert failure.node == "sums.shards[1]"
    assert ("time limit" if plugin == "SLURM" else "h_rt") in failure.cause
    assert record_of(work)["nodes"]["sums.beside"]["state"] == "done"


@WITH_SHARDS
def test_environment_that_cannot_be_made(plugin, work, control):
    with pytest.raises(WorkflowError) as caught:
        sums.run(
            sums.make_workflow(control),
            plugin,
            work,
            activate="no_such_module load x || exit 3",
        )
    text = str(caught.value)
    assert "no_such_module: command not found" in text
    assert not started(control)


class _Spec(TraitedSpec):
    x = traits.Int()


class OnlyHere(SimpleInterface):
    """Of a module that jobs cannot import."""

    input_spec = _Spec
    output_spec = _Spec

    def _run_interface(self, runtime):
        self._results["x"] = self.inputs.x
        return runtime


@WITH_SHARDS
def test_job_that_cannot_import_its_module(plugin, work):
    workflow = Workflow("here")
    workflow.add_nodes([Node(OnlyHere(x=1), name="only_here")])
    with pytest.raises(WorkflowError, match="cannot import what it needs"):
        sums.run(workflow, plugin, work)


@ALL
def test_killed_driver_and_a_run_at_once(plugin, work, control):
    for x in (1, 2, 3):
        (control / str(x)).write_text("wait")
    command = [sys.executable, HERE / "sums.py", plugin, work, control, "1,2,3"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_for(lambda: started(control))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    left = set(in_queue(plugin))
    assert left
    for x in (1, 2, 3):
        (control / str(x)).unlink()
    result = sums.run(sums.make_workflow(control), plugin, work)
    assert result.outputs["total"] == 6
    assert not left & set(in_queue(plugin))


@ALL
def test_terminated_driver_leaves_no_job(plugin, work, control):
    (control / "1").write_text("wait")
    command = [sys.executable, HERE / "sums.py", plugin, work, control, "1"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_for(lambda: started(control))
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(timeout=60) == 128 + signal.SIGTERM
    assert not in_queue(plugin)
    assert record_of(work)["state"] == "interrupted"


@pytest.mark.parametrize("plugin", ["SGE"])
def test_job_in_error_state(plugin, work, control):
    with pytest.raises(WorkflowError, match="state of error.*nowhere") as caught:
        sums.run(sums.make_workflow(control), plugin, work, qsub_args="-o /nowhere/at/all")
    assert len(caught.value.failures) == 4
    assert not in_queue(plugin)


@pytest.mark.parametrize("plugin", ["SLURM"])
def test_query_that_fails_for_a_while(plugin, work, control, monkeypatch):
    """A controller that does not answer is not the end of its jobs."""
    real = subprocess.run(["which", "squeue"], capture_output=True, text=True).stdout.strip()
    fake = work / "bin" / "squeue"
    fake.parent.mkdir()
    fake.write_text(
        f"#!/bin/sh\nif [ -e {work}/down ]; then echo 'Unable to contact' >&2; exit 1; fi\n"
        f'exec {real} "$@"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    (work / "down").touch()
    thread = meanwhile(lambda: (time.sleep(6), (work / "down").unlink()))
    result = sums.run(sums.make_workflow(control), plugin, work / "work")
    thread.join()
    assert result.outputs["total"] == 6
