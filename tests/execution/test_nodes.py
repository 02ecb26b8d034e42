"""Nodes of any interface: a rerun gives what a fresh run gives."""

import os
import shutil

import nipype.pipeline.engine as pe
import numpy as np
import pandas as pd
import pytest
from nipype.interfaces.base import CommandLine
from nipype.interfaces.utility import Function, IdentityInterface, Merge, Rename, Select

from nipype_group.execution import WorkflowError, run_workflow
from nipype_group.execution.nodes import exact_text
from nipype_group.interfaces.routing import GatherResults

SECRET = "a-secret-of-the-environment"


def read(path):
    """Return the content of a file, or of each file of a list."""
    from pathlib import Path

    return (
        [Path(p).read_text() for p in path] if isinstance(path, list) else Path(path).read_text()
    )


def pass_on(path):
    """Return what it gets."""
    return path


def name_of(path):
    """Return the name of a file, which its content does not tell."""
    from pathlib import Path

    return Path(path).name


def one():
    """Return 1."""
    return 1


def total(values):
    """Return the sum of an array with all its digits."""
    return repr(float(values.sum()))


def function(of, *inputs):
    return Function(input_names=list(inputs), output_names=["out"], function=of)


def passing(kind, path):
    """Return nodes that pass a path on, the last one first, and where its path comes out."""
    if kind == "Function":
        return pe.Node(function(pass_on, "path"), name="step"), {"path": path}, "out"
    if kind == "Merge":
        return pe.Node(Merge(1), name="step"), {"in1": [path]}, "out"
    if kind == "GatherResults":
        return pe.Node(GatherResults({"out": 1}), name="step"), {"out_1": [path]}, "out"
    if kind == "Select":
        return pe.Node(Select(index=[0]), name="step"), {"inlist": [path]}, "out"
    if kind == "GatherResults, picked":
        step = pe.Node(GatherResults({"out": 1}, picks={"out": [0]}), name="step")
        return step, {"out_1": [path]}, "out"
    return pe.Node(Rename(format_string="same"), name="step"), {"in_file": path}, "out_file"


KINDS = ("Function", "Merge", "GatherResults", "Select", "GatherResults, picked", "Rename")


def workflow_of(node, inputs, field, last):
    workflow = pe.Workflow("wf")
    node.inputs.trait_set(**inputs)
    end = pe.Node(function(last, "path"), name="end")
    outputnode = pe.Node(IdentityInterface(fields=["out"]), name="outputnode")
    workflow.connect([(node, end, [(field, "path")]), (end, outputnode, [("out", "out")])])
    return workflow


def run(workflow, tmp_path, plugin="Linear"):
    result = run_workflow(workflow, work_dir=tmp_path / "work", plugin=plugin, n_procs=1)
    return result.outputs["out"]


@pytest.mark.parametrize("plugin", ["Linear", "MultiProc"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_path_that_is_passed_on_is_that_of_this_run(tmp_path, kind, plugin):
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first, second):
        path.write_text("the same")
    before = run(workflow_of(*passing(kind, str(first)), read), tmp_path, plugin)
    first.write_text("another")
    after = run(workflow_of(*passing(kind, str(second)), read), tmp_path, plugin)
    assert before == after
    first.unlink()
    assert run(workflow_of(*passing(kind, str(second)), read), tmp_path, plugin) == before


@pytest.mark.parametrize("plugin", ["Linear", "MultiProc"])
def test_the_name_of_a_file_counts_for_nodes_of_others(tmp_path, plugin):
    names = []
    for name in ("first", "second"):
        (tmp_path / name).write_text("the same")
        node = pe.Node(function(name_of, "path"), name="step")
        workflow = workflow_of(node, {"path": str(tmp_path / name)}, "out", pass_on)
        names.append(run(workflow, tmp_path, plugin))
    assert names == ["first", "second"]


def test_items_of_a_map_node_that_swap_places_are_noticed(tmp_path):
    paths = [tmp_path / name for name in ("first", "second")]
    for path in paths:
        path.write_text("the same")
    outputs = []
    for order in (paths, paths[::-1]):
        node = pe.MapNode(function(name_of, "path"), iterfield=["path"], name="step")
        inputs = {"path": [str(path) for path in order]}
        outputs.append(run(workflow_of(node, inputs, "out", pass_on), tmp_path))
    assert outputs == [["first", "second"], ["second", "first"]]


@pytest.mark.parametrize("where", [0, 500, 999])
def test_every_number_of_an_array_counts(tmp_path, where):
    values = np.zeros(1000)
    outputs = []
    for number in (1.0, 1.0 + 2**-40):
        values[where] = number
        node = pe.Node(function(total, "values"), name="step")
        outputs.append(run(workflow_of(node, {"values": values}, "out", pass_on), tmp_path))
    assert outputs == [repr(1.0), repr(1.0 + 2**-40)]


def test_join_node_joins_the_paths_of_this_run(tmp_path):
    def workflow(folder):
        source = pe.Node(IdentityInterface(fields=["name"]), name="source")
        source.iterables = [("name", [str(folder / name) for name in "ab"])]
        join = pe.JoinNode(
            IdentityInterface(fields=["paths"]),
            joinsource="source",
            joinfield="paths",
            name="join",
        )
        end = pe.Node(function(read, "path"), name="end")
        outputnode = pe.Node(IdentityInterface(fields=["out"]), name="outputnode")
        workflow = pe.Workflow("wf")
        workflow.connect([(source, join, [("name", "paths")]), (join, end, [("paths", "path")])])
        workflow.connect(end, "out", outputnode, "out")
        return workflow

    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
        for name in "ab":
            (folder / name).write_text(name)
    assert run(workflow(folders[0]), tmp_path) == ["a", "b"]
    shutil.rmtree(folders[0])
    assert run(workflow(folders[1]), tmp_path) == ["a", "b"]


def test_a_file_of_another_s_node_that_was_changed_is_made_again(tmp_path):
    def write():
        from pathlib import Path

        Path("made").write_text("right")
        return str(Path("made").absolute())

    def workflow():
        return workflow_of(pe.Node(function(write), name="step"), {}, "out", read)

    assert run(workflow(), tmp_path) == "right"
    (made,) = tmp_path.rglob("made")
    dates = made.stat()
    made.write_text("wrong")
    os.utime(made, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    assert run(workflow(), tmp_path) == "right"
    assert made.read_text() == "right"


@pytest.mark.parametrize("which", ["step", "end"])
def test_a_damaged_result_of_a_node_is_made_again(tmp_path, which):
    (tmp_path / "text").write_text("right")
    node = pe.Node(function(pass_on, "path"), name="step")
    workflow = workflow_of(node, {"path": str(tmp_path / "text")}, "out", read)
    assert run(workflow, tmp_path) == "right"
    (result,) = tmp_path.rglob(f"result_{which}.pklz")
    dates, content = result.stat(), bytearray(result.read_bytes())
    content[len(content) // 2] ^= 255
    result.write_bytes(content)
    os.utime(result, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    node = pe.Node(function(pass_on, "path"), name="step")
    workflow = workflow_of(node, {"path": str(tmp_path / "text")}, "out", read)
    assert run(workflow, tmp_path) == "right"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1], (1, 2)),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        (np.arange(2000), np.arange(2000)[::-1]),
        (np.ones(2000), np.where(np.arange(2000) == 1000, 1 + 1e-15, 1.0)),
        (np.ones(3, np.float32), np.ones(3)),
        (pd.DataFrame({"a": np.ones(500)}), pd.DataFrame({"a": np.arange(500) == 250})),
        (pd.Series(np.ones(500)), pd.Series(np.where(np.arange(500) == 250, 1 + 1e-15, 1.0))),
        (1.0, 1.0 + 1e-12),
        ("1", 1),
        (b"1", "1"),
    ],
)
def test_exact_text_tells_values_apart(one, other):
    assert exact_text(one) != exact_text(other)
    assert exact_text(one) == exact_text(one)


@pytest.mark.parametrize("plugin", ["Linear", "MultiProc"])
def test_no_variable_of_the_environment_is_kept(tmp_path, monkeypatch, plugin, held_in):
    monkeypatch.setenv("A_TOKEN", SECRET)
    for failing in (False, True):
        workflow = pe.Workflow("wf")
        items = pe.MapNode(function(pass_on, "path"), iterfield=["path"], name="items")
        items.inputs.path = ["a", "b"]
        workflow.add_nodes(
            [
                pe.Node(CommandLine(command="true"), name="command"),
                pe.Node(function(one), name="function"),
                pe.Node(GatherResults({"out": 1}), name="join"),
                items,
            ]
        )
        if failing:
            workflow.add_nodes([pe.Node(CommandLine(command="false"), name="fails")])
            with pytest.raises(WorkflowError, match="fails"):
                run_workflow(workflow, work_dir=tmp_path / "work", plugin=plugin, n_procs=1)
        else:
            run_workflow(workflow, work_dir=tmp_path / "work", plugin=plugin, n_procs=1)
        assert list((tmp_path / "work").rglob("result_*.pklz"))
        assert held_in(tmp_path / "work", SECRET) == []
