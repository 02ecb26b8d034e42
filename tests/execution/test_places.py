"""Places that nodes would take for others, and runs in one process that are stopped."""

import json
import signal
import subprocess
import sys
import time

import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow

from nipype_group.execution import WorkflowError, run_workflow
from nipype_group.interfaces import CollectMaps, GroupDerivatives

STOPPED = """
import sys
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow
from nipype_group.execution import run_workflow

def wait(log):
    import time
    open(log, "a").write("begun ")
    time.sleep(60)

def note(log):
    open(log, "a").write("second")

workflow = Workflow("wf")
first = Node(Function(function=wait, output_names=["x"]), name="a_first")
second = Node(Function(function=note, output_names=["x"]), name="b_second")
first.inputs.log = second.inputs.log = sys.argv[1]
workflow.add_nodes([first, second])
run_workflow(workflow, work_dir=sys.argv[2], plugin="Linear")
"""


def test_two_analyses_into_one_folder_are_refused(tmp_path):
    keep = Node(GroupDerivatives(output_dir=str(tmp_path / "out")), name="keep")
    keep.iterables = [("task", ["words", "faces"])]
    workflow = Workflow("wf")
    workflow.add_nodes([keep])
    with pytest.raises(ValueError, match=r"2 analyses write to .*out.*_task_words.*own") as caught:
        run_workflow(workflow, work_dir=tmp_path / "work", plugin="Linear")
    assert "_task_faces" in str(caught.value)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("interface", "name"), [(CollectMaps, "pattern"), (GroupDerivatives, "output_dir")]
)
def test_relative_inputs_are_refused(interface, name, tmp_path):
    workflow = Workflow("wf")
    workflow.add_nodes([Node(interface(**{name: "some/place"}), name="node")])
    with pytest.raises(ValueError, match=rf"{name} 'some/place' of wf.node is relative"):
        run_workflow(workflow, work_dir=tmp_path / "work", plugin="Linear")


def test_signs_of_patterns_in_the_work_folder_are_refused(tmp_path):
    workflow = Workflow("wf")
    workflow.add_nodes([Node(CollectMaps(bids_dir=str(tmp_path)), name="collect")])
    with pytest.raises(ValueError, match=r"by patterns.*work\[1\]"):
        run_workflow(workflow, work_dir=tmp_path / "work[1]", plugin="Linear")


def fail():
    """Fail."""
    raise ValueError("unlucky")


def count(x):
    """Count."""
    return len(x)


def one():
    """Return one."""
    return 1


def test_nodes_that_did_not_run_are_not_recorded_as_done(tmp_path):
    workflow = Workflow("wf")
    first = Node(Function(function=fail, output_names=["x"]), name="first")
    after = Node(Function(function=count, output_names=["n"]), name="after")
    alone = Node(Function(function=one, output_names=["x"]), name="alone")
    workflow.connect(first, "x", after, "x")
    workflow.add_nodes([alone])
    with pytest.raises(WorkflowError, match="unlucky"):
        run_workflow(workflow, work_dir=tmp_path, plugin="Linear")
    nodes = json.loads((tmp_path / "run.json").read_text())["nodes"]
    states = {name: node["state"] for name, node in nodes.items()}
    assert states == {"wf.first": "failed", "wf.after": "waiting", "wf.alone": "done"}
    assert nodes["wf.alone"]["host"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_a_run_in_one_process_stops(number, code, tmp_path):
    log, work = tmp_path / "log", tmp_path / "work"
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    command = [sys.executable, script, log, work]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        end = time.monotonic() + 60
        while not log.exists() and time.monotonic() < end:
            time.sleep(0.1)
        run.send_signal(number)
        said = run.communicate(timeout=60)[0].decode()
    assert run.returncode == code, said
    assert log.read_text() == "begun "
    assert json.loads((work / "run.json").read_text())["state"] == "interrupted"
