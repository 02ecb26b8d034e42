"""What a job of its own does with a node."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nipype import config
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node
from nipype.utils.filemanip import loadpkl

from nipype_group.execution.job import job_command, write_job

HOME = """
def add(x, y):
    return x + y
"""


def add(x, y):
    """Add up, or say what has no sum."""
    if y < 0:
        raise ValueError(f"no sum of {x} and {y}")
    return x + y


def node_in(folder, y=2, function=add):
    node = Node(Function(function=function, output_names=["total"]), name="sum", base_dir=folder)
    node.inputs.trait_set(x=1, y=y)
    node.config = json.loads(json.dumps(dict(config._sections)))
    node.config["execution"]["crashdump_dir"] = f"{folder}/crash"
    return node


def run(files, cwd, **environ):
    command = job_command(files)
    return subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        check=False,
    )


def result_of(node):
    return loadpkl(str(Path(node.output_dir(), "result_sum.pklz")))


def test_a_node_in_a_hostile_folder(hostile_name, tmp_path):
    folder = tmp_path / hostile_name
    folder.mkdir()
    node = node_in(str(folder))
    files = write_job(node)
    # Nipype cannot be imported in a folder whose path has a line break.
    done = run(files, tmp_path if "\n" in hostile_name else folder)
    assert done.returncode == 0, done.stderr
    assert result_of(node).outputs.total == 3
    assert not list(tmp_path.rglob("canary"))
    # The program is the same whatever the names: all that differs is the file that it reads.
    assert job_command(files)[:-1] == job_command(write_job(node_in(str(tmp_path))))[:-1]
    assert json.loads(files.task.read_text())["config"]["execution"]["crashdump_dir"] == (
        f"{folder}/crash"
    )


def test_an_exception_is_left_in_place_of_the_result(tmp_path):
    node = node_in(str(tmp_path / "100% 'mine'"), y=-1)
    assert run(write_job(node), tmp_path).returncode == 0
    left = result_of(node)
    assert "no sum of 1 and -1" in "".join(left["traceback"])
    assert left["hostname"]


def test_a_node_that_cannot_be_loaded_leaves_a_crash_dump(tmp_path):
    node = node_in(str(tmp_path))
    files = write_job(node)
    files.node.write_bytes(b"no node")
    assert run(files, tmp_path).returncode == 0
    assert loadpkl(str(files.crash_dump))["traceback"]
    assert not Path(node.output_dir()).exists()


@pytest.mark.parametrize("safe_path", [{}, {"PYTHONSAFEPATH": "1"}])
def test_modules_come_from_where_they_are_installed_only(safe_path, tmp_path):
    """Anybody's files may lie in the current folder; those on PYTHONPATH are the user's."""
    here, mine = tmp_path / "here", tmp_path / "mine"
    for folder in (here, mine):
        folder.mkdir()
    for name in ("nipype", "numpy", "nipype_group", "json", "my_steps"):
        (here / f"{name}.py").write_text("open('canary', 'w')\n")
    (mine / "my_steps.py").write_text(HOME)
    node = node_in(str(tmp_path / "work"))
    node.interface.inputs.function_str = (
        "def f(x, y):\n    from my_steps import add\n    return add(x, y)"
    )
    done = run(write_job(node), here, PYTHONPATH=str(mine), **safe_path)
    assert done.returncode == 0, done.stderr
    assert result_of(node).outputs.total == 3
    assert not list(tmp_path.rglob("canary"))


def test_the_scripts_are_of_the_interpreter_that_writes_them(tmp_path):
    assert job_command(write_job(node_in(str(tmp_path))))[0] == sys.executable
