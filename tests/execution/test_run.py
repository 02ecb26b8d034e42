"""run_workflow, collect_outputs and the progress bar."""

import copy
import gc
import json
import os
import pickle
import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from nipype.interfaces.utility import Function, IdentityInterface
from nipype.pipeline.engine import MapNode, Node, Workflow

from nipype_group.execution import (
    FolderInUseError,
    FolderLock,
    WorkflowError,
    allowed_processors,
    collect_outputs,
    quiet_nipype,
    run_workflow,
)
from nipype_group.execution import run as run_module
from nipype_group.execution.progress import NodeProgress
from nipype_group.execution.work_folder import claim_work_folder

PLUGINS = ["Linear", "MultiProc"]


def double(x):
    """Write twice the number into a file, or fail for 13."""
    from pathlib import Path

    if x == 13:
        raise ValueError("13 is unlucky\nand the message has two lines")
    path = Path("doubled.txt").absolute()
    path.write_text(str(2 * x))
    return 2 * x, str(path)


def total(numbers):
    """Add up."""
    return sum(numbers)


def function_node(function, outputs, **node):
    kind = MapNode if "iterfield" in node else Node
    return kind(Function(function=function, output_names=outputs), **node)


def make_workflow(x=1, numbers=(1, 2, 3)):
    """Return a workflow of a node, a MapNode and an inner workflow."""
    workflow, inner = Workflow("outer_wf"), Workflow("inner_wf")
    inner_in = Node(IdentityInterface(fields=["numbers"]), name="inputnode")
    inner_out = Node(IdentityInterface(fields=["total", "empty"]), name="outputnode")
    several = function_node(double, ["y", "path"], iterfield=["x"], name="several")
    add = function_node(total, ["total"], name="add")
    inner.connect(
        [
            (inner_in, several, [("numbers", "x")]),
            (several, add, [("y", "numbers")]),
            (add, inner_out, [("total", "total")]),
        ]
    )
    one = function_node(double, ["y", "path"], name="one")
    one.inputs.x = x
    outputnode = Node(
        IdentityInterface(fields=["y", "path", "total", "paths", "empty", "unfed"]),
        name="outputnode",
    )
    workflow.connect(
        [
            (one, outputnode, [("y", "y"), ("path", "path")]),
            (inner, outputnode, [("outputnode.total", "total"), ("several.path", "paths")]),
            (inner, outputnode, [("outputnode.empty", "empty")]),
        ]
    )
    workflow.inputs.inner_wf.inputnode.numbers = list(numbers)
    return workflow


@pytest.mark.parametrize("plugin", PLUGINS)
def test_outputs_by_field_of_the_outputnode(tmp_path, plugin):
    result = run_workflow(make_workflow(), work_dir=tmp_path, plugin=plugin, n_procs=2)
    assert result.work_dir == tmp_path
    outputs = dict(result.outputs)
    assert Path(outputs.pop("path")).read_text() == "2"
    assert [Path(p).read_text() for p in outputs.pop("paths")] == ["2", "4", "6"]
    # Fields that nothing feeds are left out.
    assert outputs == {"y": 2, "total": 12}


def test_outputs_of_a_workflow_without_outputnode(tmp_path):
    workflow = Workflow("bare")
    node = function_node(total, ["total"], name="add")
    node.inputs.numbers = [1, 2]
    workflow.add_nodes([node])
    result = run_workflow(workflow, work_dir=tmp_path, plugin="Linear")
    assert result.outputs == {}
    assert collect_outputs(workflow, result.graph) == {}


@pytest.mark.parametrize("plugin", PLUGINS)
def test_changed_input_gives_no_stale_output(tmp_path, plugin):
    run_workflow(make_workflow(), work_dir=tmp_path, plugin=plugin, n_procs=2)
    again = run_workflow(make_workflow(5, (10, 20)), work_dir=tmp_path, plugin=plugin, n_procs=2)
    assert again.outputs["y"] == 10
    assert again.outputs["total"] == 60
    assert len(again.outputs["paths"]) == 2


@pytest.mark.parametrize("plugin", PLUGINS)
def test_failure_after_a_good_run_is_no_stale_success(tmp_path, plugin):
    run_workflow(make_workflow(), work_dir=tmp_path, plugin=plugin, n_procs=2)
    with pytest.raises(WorkflowError, match="13 is unlucky"):
        run_workflow(make_workflow(13), work_dir=tmp_path, plugin=plugin, n_procs=2)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_error_names_node_cause_and_traceback(tmp_path, plugin):
    with pytest.raises(WorkflowError) as caught:
        run_workflow(make_workflow(13), work_dir=tmp_path, plugin=plugin, n_procs=2)
    text = str(caught.value)
    assert text.startswith("node outer_wf.one failed: ")
    assert "13 is unlucky\nand the message has two lines" in text
    crash = Path(text.rsplit("The traceback is in ", 1)[1])
    assert crash.parent == tmp_path / "crash"
    assert "ValueError" in crash.read_text()


@pytest.mark.parametrize("plugin", PLUGINS)
def test_error_in_an_item_of_a_map_node_is_named(tmp_path, plugin):
    with pytest.raises(WorkflowError, match=r"several\S* failed: .*13 is unlucky"):
        run_workflow(make_workflow(numbers=(1, 13)), work_dir=tmp_path, plugin=plugin, n_procs=2)


def test_error_of_this_run_is_told_and_not_an_older_one(tmp_path):
    with pytest.raises(WorkflowError, match=r"outer_wf\.one failed"):
        run_workflow(make_workflow(13), work_dir=tmp_path, plugin="Linear")
    with pytest.raises(WorkflowError, match=r"several\S* failed"):
        run_workflow(make_workflow(1, (13,)), work_dir=tmp_path, plugin="Linear")


def test_error_before_any_node_is_told(tmp_path, monkeypatch):
    def fail(self, graph, config, updatehash=False):
        raise OSError("no queue here")

    monkeypatch.setattr("nipype.pipeline.plugins.LinearPlugin.run", fail)
    with pytest.raises(WorkflowError, match="the workflow failed: no queue here"):
        run_workflow(make_workflow(), work_dir=tmp_path, plugin="Linear")


def test_mended_run_goes_on(tmp_path):
    with pytest.raises(WorkflowError):
        run_workflow(make_workflow(13), work_dir=tmp_path, plugin="Linear")
    assert run_workflow(make_workflow(4), work_dir=tmp_path, plugin="Linear").outputs["y"] == 8


class Recorder:
    """Stands for a plugin: keeps what it was given."""

    def __init__(self, workflow, monkeypatch):
        self.calls = []
        monkeypatch.setattr(workflow, "run", self)

    def __call__(self, plugin, plugin_args=None):
        self.calls.append((plugin, plugin_args or plugin.plugin_args))


@pytest.mark.parametrize(
    ("plugin", "poll"),
    [("Linear", 0.1), ("MultiProc", 0.1), ("SLURM", 5.0), ("SGEGraph", 5.0), ("PBS", 5.0)],
)
def test_settings_of_a_run(tmp_path, monkeypatch, plugin, poll):
    workflow = make_workflow()
    recorder = Recorder(workflow, monkeypatch)
    run_workflow(workflow, work_dir=tmp_path / "work", plugin=plugin, n_procs=3)
    config = workflow.config["execution"]
    assert float(config["poll_sleep_duration"]) == poll
    assert config["hash_method"] == "content"
    assert config["crashdump_dir"] == str(tmp_path / "work" / "crash")
    assert config["crashfile_format"] == "txt"
    assert workflow.base_dir == str(tmp_path / "work")
    ((used, arguments),) = recorder.calls
    if isinstance(used, str):
        assert used == plugin
        assert "status_callback" in arguments
    else:
        assert type(used).__module__.startswith("nipype_group")
        assert type(used).__name__ == f"{plugin}Plugin"
        assert used.events is not None
    assert arguments.get("n_procs") == (3 if plugin == "MultiProc" else None)


def test_poll_of_the_caller(tmp_path):
    workflow = make_workflow()
    run_workflow(workflow, work_dir=tmp_path, plugin="Linear", poll_seconds=0.5)
    assert float(workflow.config["execution"]["poll_sleep_duration"]) == 0.5


def test_plugin_arguments_of_the_caller_win(tmp_path, monkeypatch):
    workflow, given = make_workflow(), {"n_procs": 7, "memory_gb": 1.5}
    recorder = Recorder(workflow, monkeypatch)
    run_workflow(workflow, work_dir=tmp_path, n_procs=2, plugin_args=given)
    arguments = recorder.calls[0][1]
    assert (arguments["n_procs"], arguments["memory_gb"]) == (7, 1.5)
    assert arguments["raise_insufficient"] is False
    assert given == {"n_procs": 7, "memory_gb": 1.5}


def test_processors_by_default_are_those_allowed(tmp_path, monkeypatch):
    workflow = make_workflow()
    recorder = Recorder(workflow, monkeypatch)
    run_workflow(workflow, work_dir=tmp_path)
    assert recorder.calls[0][1]["n_procs"] == allowed_processors()
    assert 0 < recorder.calls[0][1]["memory_gb"] < 10**5


def test_allowed_processors_follow_the_affinity(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5, 9}, raising=False)
    assert allowed_processors() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert allowed_processors() == 1


def test_other_branches_go_on_and_all_failures_are_told(tmp_path):
    with pytest.raises(WorkflowError) as caught:
        run_workflow(make_workflow(13, (1, 13, 2)), work_dir=tmp_path, n_procs=2)
    names = {failure.node for failure in caught.value.failures}
    assert names == {"outer_wf.one", "outer_wf.inner_wf.several[1]"}
    assert str(caught.value).startswith("2 nodes failed: ")
    assert "1 node that needs them did not run" in str(caught.value)
    nodes = json.loads((tmp_path / "run.json").read_text())["nodes"]
    states = {name.rpartition(".")[2]: about["state"] for name, about in nodes.items()}
    assert states["several[0]"] == states["several[2]"] == "done"
    assert states["several[1]"] == states["one"] == "failed"
    assert "add" not in states


@pytest.mark.parametrize("plugin", PLUGINS)
def test_record_of_a_run(tmp_path, plugin):
    result = run_workflow(make_workflow(), work_dir=tmp_path, plugin=plugin, n_procs=2)
    record = json.loads(result.record.read_text())
    assert result.record == tmp_path / "run.json"
    assert (record["plugin"], record["state"]) == (plugin, "done")
    assert record["versions"]["nipype"]
    assert record["nodes"]["outer_wf.inner_wf.add"]["state"] == "done"
    assert record["nodes"]["outer_wf.inner_wf.add"]["seconds"] < record["seconds"]


def test_record_of_a_failed_run(tmp_path):
    with pytest.raises(WorkflowError):
        run_workflow(make_workflow(13), work_dir=tmp_path, plugin="Linear")
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "failed"


def test_work_folder_in_use_is_left_alone(tmp_path):
    claim_work_folder(tmp_path)
    with FolderLock(tmp_path), pytest.raises(FolderInUseError, match="work folder"):
        run_workflow(make_workflow(), work_dir=tmp_path, plugin="Linear")
    assert not (tmp_path / "run.json").exists()


def test_results_of_another_version_are_moved_aside(tmp_path):
    run_workflow(make_workflow(), work_dir=tmp_path, plugin="Linear")
    marker = tmp_path / "outer_wf" / "nipype_group.json"
    versions = json.loads(marker.read_text())
    marker.write_text(json.dumps({**versions, "nipype-group": "0.0.1"}))
    run_workflow(make_workflow(), work_dir=tmp_path, plugin="Linear")
    assert (tmp_path / "outer_wf.of-version-0.0.1" / "one").is_dir()
    # All ran again: nothing in the new folder is older than the marker.
    assert json.loads(marker.read_text()) == versions
    results = list((tmp_path / "outer_wf").rglob("result_*.pklz"))
    assert len(results) == 6
    assert min(path.stat().st_mtime_ns for path in results) > marker.stat().st_mtime_ns


def test_termination_unwinds_and_is_as_before_after_it(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, run_module._termination_unwinds():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert caught.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_garbage_collection_is_as_before_a_failed_run(tmp_path):
    before = gc.get_freeze_count()
    with pytest.raises(WorkflowError):
        run_workflow(make_workflow(13), work_dir=tmp_path, plugin="Linear")
    assert gc.get_freeze_count() == before == 0


class FakeNode:
    """Has the names that the progress bar looks at."""

    def __init__(self, fullname):
        self.fullname, self.name = fullname, fullname.rsplit(".", 1)[-1]


def test_progress_counts_every_node_once():
    bar = NodeProgress({"wf.a", "wf.b"}, show=False)
    for node, status in (("wf.a", "start"), ("wf.a", "end"), ("wf.a", "end"), ("wf.c", "end")):
        bar(FakeNode(node), status)
    assert bar._waiting == {"wf.b"}
    bar(FakeNode("wf.b"), "exception")
    assert bar._waiting == set()
    bar.close()


class Item(FakeNode):
    """An item of a MapNode that computes shuffles."""

    def __init__(self, first, last):
        super().__init__("_run0")
        self.inputs = SimpleNamespace(first=first, last=last)


def test_progress_over_items_and_shuffles():
    bar, told = NodeProgress({"wf.run"}, show=False), []
    bar._bar.set_postfix_str = told.append
    items = [Item(0, 1000), Item(1000, 5000)]
    bar.expanded(FakeNode("wf.run"), items)
    for item in items:
        bar(item, "start")
        bar(item, "end")
    assert told[-3:] == [
        "run 1/2, 1,000 of 5,000 shuffles",
        "run 1/2, 1,000 of 5,000 shuffles",
        "run 2/2, 5,000 of 5,000 shuffles",
    ]
    # Items are no nodes of the bar.
    assert bar._waiting == {"wf.run"}
    bar.close()


def test_progress_is_lines_where_no_terminal_redraws_a_bar(capsys):
    seconds = iter(range(0, 10_000, 40))
    names = {"wf.smooth", "wf.run", "wf.gather"}
    bar = NodeProgress(names, show=True, clock=lambda: next(seconds))
    bar(FakeNode("wf.smooth"), "start")
    bar(FakeNode("wf.smooth"), "end")
    items = [Item(0, 1000), Item(1000, 5000)]
    bar.expanded(FakeNode("wf.run"), items)
    for item in items:
        bar(item, "start")
        bar(item, "end")
    bar(FakeNode("wf.run"), "end")
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "[1/3] smooth, 40 s"
    assert "[1/3] run 1/2, 1,000 of 5,000 shuffles" in lines
    assert lines[-1].startswith("[2/3] run, ")
    assert "\r" not in "".join(lines)


def test_a_node_that_ends_without_a_start_took_no_time(capsys):
    bar = NodeProgress({"wf.gather"}, show=True)
    bar(FakeNode("wf.gather"), "end")
    assert capsys.readouterr().err == "[1/1] gather, 0 s\n"


def test_progress_travels_as_nothing_and_copies_as_itself():
    bar = NodeProgress({"wf.a"}, show=False)
    assert copy.deepcopy(bar) is bar
    travelled = pickle.loads(pickle.dumps({"status_callback": bar}))["status_callback"]
    assert travelled(FakeNode("wf.a"), "end") is None
    assert bar._waiting == {"wf.a"}
    bar.close()


@pytest.mark.parametrize("plugin", PLUGINS)
def test_progress_reaches_the_end_of_a_run(tmp_path, monkeypatch, plugin):
    made = []

    class Kept(NodeProgress):
        def __init__(self, names, show):
            super().__init__(names, show)
            made.append((self, set(names)))

    monkeypatch.setattr(run_module, "NodeProgress", Kept)
    run_workflow(make_workflow(), work_dir=tmp_path, plugin=plugin, n_procs=2)
    ((bar, names),) = made
    assert names == {"outer_wf.one", "outer_wf.inner_wf.several", "outer_wf.inner_wf.add"}
    assert bar._waiting == set()


def test_progress_bar_is_shown_on_request_only(tmp_path, capfd):
    run_workflow(make_workflow(), work_dir=tmp_path, plugin="Linear", progress=True)
    assert re.findall(r"^\[(\d)/3\] \w+, \d+ s$", capfd.readouterr().err, re.M) == list("123")
    run_workflow(make_workflow(2), work_dir=tmp_path, plugin="Linear")
    assert capfd.readouterr().err == ""


def test_quiet_nipype_says_nothing_of_nodes(tmp_path, capfd):
    quiet_nipype()
    run_workflow(make_workflow(), work_dir=tmp_path, plugin="Linear")
    output = capfd.readouterr()
    assert output.out == ""
    assert "[Node]" not in output.err
