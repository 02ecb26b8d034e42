"""Dependencies point one way, and nothing runs what a file says."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import nipype_group

ROOT = Path(__file__).parents[1]
PACKAGE = Path(nipype_group.__file__).parent
MODULES = sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py"))
# Who reads files without `whole_files`, which refuses pipes, devices and what is too large.
READ_OTHERWISE = {
    "whole_files.py": "is the way",
    "processor.py": "what the system says of itself",
    "images/checksums.py": "pieces of a file of any size, after a look at what it is",
    "images/template.py": "files of the package",
    "images/opening.py": "lets a kind of Space open a file, after a look at what it is",
    "images/voxel_files.py": "a packed image of any size, after a look at what it is",
    "permutation/given.py": "bytes that are read already",
    "permutation/shards.py": "what a node of this run wrote",
    "reporting/records/watch.py": "opens a regular file, of which nothing is read",
    "reporting/comparison/files.py": "results of any size, after a look at what they are",
    "reporting/comparison/images.py": "bytes that are read already",
    "reporting/figures/glass_brain.py": "a file of the package",
    "reporting/derivatives/folder.py": "an image of any size that a node of this run wrote",
    "reporting/nidm/document.py": "results that this run wrote, of any size",
    "reporting/nidm/model.py": "results that this run wrote, of any size",
    "reporting/page/methods.py": "files of the package",
    "reporting/page/report.py": "files of the package",
    "execution/cluster_plugins.py": "what a job of this run wrote",
    "execution/failures.py": "the end of a log of any size",
    "execution/job.py": "what this run wrote",
    "execution/lock.py": "what the system says of itself",
    "execution/run.py": "crash files of this run, and what the system says of itself",
}
# More modules than these side by side are no plan of a house.
MOST_MODULES = 21


def tree_of(module):
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def imports_of(tree, module):
    """Yield every imported name in full, wherever in the file the import stands."""
    package = ["nipype_group", *module.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            source = ".".join(part for part in (base, node.module or "") if part)
            yield from (f"{source}.{alias.name}" for alias in node.names)


def test_dependencies_point_one_way():
    # The contracts stand in setup.cfg.
    done = subprocess.run(
        [
            Path(sys.executable).with_name("lint-imports"),
            "--config",
            ROOT / "setup.cfg",
            "--no-cache",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_folder_holds_many_modules():
    modules = Counter(m.rpartition("/")[0] for m in MODULES if not m.endswith("__init__.py"))
    # Interfaces are one a stage.
    del modules["interfaces"]
    assert {f: n for f, n in modules.items() if n > MOST_MODULES} == {}


def test_nothing_is_evaluated_or_unpickled():
    for module in MODULES:
        tree = tree_of(module)
        used = {n.split(".")[0] for n in imports_of(tree, module)}
        assert not used & {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}, module
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", None)
                where = f"{module}:{node.lineno}"
                assert name not in ("eval", "exec", "compile", "__import__"), where
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                where = f"{module}:{node.value.lineno}"
                assert getattr(node.value, "value", None) is False, where


def reads_of(tree):
    """Yield every call that reads a file by its path, or opens it to be read."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", None))
        given = [*node.args, *(k.value for k in node.keywords if k.arg == "mode")]
        modes = [a.value for a in given if isinstance(a, ast.Constant)]
        writes = any(isinstance(m, str) and set("wax") & set(m) for m in modes)
        method = isinstance(node.func, ast.Attribute)
        if (method and name in ("read_text", "read_bytes")) or (name == "open" and not writes):
            yield node


def test_files_are_read_whole_in_one_way_but_for_those_that_say_why():
    found = {m for m in MODULES if any(reads_of(tree_of(m)))}
    assert found == set(READ_OTHERWISE)


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("Path(p).read_text()", True),
        ("p.read_bytes()", True),
        ("open(p)", True),
        ("p.open('rb')", True),
        ("io.open(p, mode='r')", True),
        ("read_text(p)", False),
        ("p.open('wb')", False),
        ("open(p, mode='x')", False),
    ],
)
def test_the_scan_sees_what_reads_a_file(code, reads):
    assert any(reads_of(ast.parse(code))) == reads


def test_numpy_files_are_loaded_with_pickle_refused():
    for module in MODULES:
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
                assert "allow_pickle" in {k.arg for k in node.keywords}, module


def test_no_module_is_called_after_nothing():
    vague = {"utils", "util", "helpers", "helper", "misc", "common", "tools"}
    assert not {Path(m).stem for m in MODULES} & vague
    assert not {part for m in MODULES for part in m.split("/")[:-1]} & vague


def test_the_import_scan_sees_relative_and_nested_imports():
    code = "def f():\n    from ..cli import run\n    import nipype.interfaces.base as b\n"
    found = set(imports_of(ast.parse(code), "stats/clusters.py"))
    assert found == {"nipype_group.cli.run", "nipype.interfaces.base"}
