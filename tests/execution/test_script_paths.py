"""Paths that the scripts of jobs cannot hold are refused before anything runs."""

import shlex
import sys
from pathlib import Path

import pytest
from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline import plugins
from nipype.pipeline.engine import Node, Workflow
from nipype.pipeline.plugins.tools import create_pyscript

from nipype_group.execution import run_workflow
from nipype_group.execution.script_paths import check_script_paths

OWN = ("MultiProc", "SLURM", "SLURMGraph", "SGE", "SGEGraph")
OF_NIPYPE = ("PBS", "PBSGraph", "LSF", "OAR", "Condor", "CondorDAGMan", "SomaFlow")
WITHOUT_SCRIPTS = ("Linear", "LegacyMultiProc", "Debug", "IPython")


def workflow_of_one():
    workflow = Workflow("wf")
    workflow.add_nodes([Node(IdentityInterface(fields=["x"]), name="only")])
    return workflow


def test_every_plugin_of_nipype_is_in_the_lists():
    found = {n.removesuffix("Plugin") for n in dir(plugins) if n.endswith("Plugin")}
    assert found == {*OWN, *OF_NIPYPE, *WITHOUT_SCRIPTS}


@pytest.mark.parametrize("plugin", OF_NIPYPE)
def test_plugins_of_nipype_take_plain_paths_alone(plugin, hostile_name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    work = tmp_path / hostile_name
    with pytest.raises(
        ValueError, match=f"the plugin {plugin} writes the path of the work"
    ) as why:
        run_workflow(workflow_of_one(), work_dir=work, plugin=plugin)
    message = str(why.value)
    assert repr(str(work)) in message
    assert "\n" not in message
    assert not list(tmp_path.iterdir())
    check_script_paths(plugin, False, "/data/Müller_2.0/a-b+c=d@e")


def test_nipype_writes_such_paths_into_python(tmp_path, monkeypatch):
    """Why they are refused; where this fails Nipype has mended it."""
    monkeypatch.chdir(tmp_path)
    (node,) = workflow_of_one()._create_flat_graph().nodes
    node.base_dir = str(tmp_path / "x'+str(__import__('os').mkdir('canary'))+'")
    node.config = {"execution": {"matplotlib_backend": "agg"}}
    lines = Path(create_pyscript(node)).read_text().splitlines()
    exec(next(line for line in lines if line.startswith("batchdir")))
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("plugin", ["Linear", "MultiProc", "SLURM", "SLURMGraph"])
def test_others_take_any_text(plugin, hostile_name):
    check_script_paths(plugin, plugin in OWN, f"/data/{hostile_name}")


@pytest.mark.parametrize("plugin", ["SGE", "SGEGraph"])
def test_grid_engine_takes_all_but_lines_and_its_variables(plugin, hostile_name):
    path = f"/data/{hostile_name}"
    if "\n" in path or "$HOME" in path:
        with pytest.raises(
            ValueError, match="Grid Engine cannot take the path of the work"
        ) as why:
            check_script_paths(plugin, True, path)
        assert repr(path) in str(why.value)
    else:
        check_script_paths(plugin, True, path)


def test_the_current_folder_and_the_interpreter_count(tmp_path, monkeypatch):
    here = tmp_path / "$USER"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(ValueError, match=r"path of the current folder.*\$USER"):
        check_script_paths("SGE", True, tmp_path / "work")
    check_script_paths("SLURM", True, tmp_path / "work")
    broken = tmp_path / "line\nbreak"
    broken.mkdir()
    monkeypatch.chdir(broken)
    with pytest.raises(ValueError, match=r"jobs start in the current folder.*line\\nbreak"):
        check_script_paths("SLURM", True, tmp_path / "work")
    monkeypatch.setattr(sys, "executable", "/my env/bin/python")
    with pytest.raises(ValueError, match="path of the Python interpreter.*my env"):
        check_script_paths("PBSGraph", False, tmp_path / "work")


@pytest.mark.parametrize("plugin", ["Linear", "MultiProc", "SLURM", "SGE", "PBS"])
def test_a_path_that_is_no_text_is_refused(plugin, tmp_path):
    with pytest.raises(ValueError, match=r"cannot be used: .*\\udcff.* no text in UTF-8"):
        run_workflow(workflow_of_one(), work_dir=tmp_path / "\udcff", plugin=plugin)
    assert not list(tmp_path.iterdir())


def test_plain_paths_mean_nothing_to_a_shell():
    path = "/data/Müller_2.0/a-b+c=d@e"
    assert shlex.split(path) == [path]
