"""Dependencies point one way, and nothing runs what a file says."""

import ast
import sys
from collections import Counter
from pathlib import Path

import pytest

import nipype_group

PACKAGE = Path(nipype_group.__file__).parent
MODULES = sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py"))
# Files and what they hold, which all but the statistics may use.
_BOTTOM = ("whole_files", "json_files", "tsv")
# Who reads files without `whole_files`, which refuses pipes, devices and what is too large.
READ_OTHERWISE = {
    "whole_files.py": "is the way",
    "processor.py": "what the system says of itself",
    "images/checksums.py": "pieces of a file of any size, after a look at what it is",
    "images/opening.py": "a packed image of any size, after a look at what it is",
    "permutation/given.py": "bytes that are read already",
    "permutation/shards.py": "what a node of this run wrote",
    "reporting/records/watch.py": "opens a regular file, of which nothing is read",
    "reporting/comparison/files.py": "results of any size, after a look at what they are",
    "reporting/comparison/images.py": "bytes that are read already",
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
# Layers of numbers and files, each above those before it.
_BASE = ("registry", "choices", "controls")
_FILES = (*_BASE, *_BOTTOM, "stats", "images", "design", "permutation", "peers")
# What each layer may use of the package beside itself, and of others where that is limited.
ALLOWED = {
    "registry": (),
    "choices": (),
    "controls": ("registry",),
    "whole_files": (),
    "json_files": ("whole_files",),
    "tsv": ("whole_files",),
    "stats": _BASE,
    "images": (*_BOTTOM, "stats"),
    "processor": (),
    "design": ("choices", *_BOTTOM, "stats", "images"),
    "permutation": (*_BASE, *_BOTTOM, "stats", "images", "design"),
    "peers": (*_BASE, *_BOTTOM, "stats", "images", "design"),
    "reporting": (*_BASE, *_BOTTOM, "stats", "images", "processor", "design", "peers"),
    "data": (*_BOTTOM, "images"),
    "interfaces": (*_FILES, "reporting"),
    "workflows": (*_FILES, "reporting", "interfaces"),
    "execution": (*_BOTTOM, "processor", "images", "design", "interfaces", "workflows"),
    "cli": (*_FILES, "reporting", "data", "workflows", "execution"),
}
# Within a layer of several folders, which of them a folder may use.
FOLDERS = {
    "stats": {
        "estimators": (),
        "linear": (),
        "random_field": (),
        "discoveries": (),
        "permutation": ("linear",),
    },
    "reporting": {
        "atlases": (),
        "tables": ("atlases",),
        "figures": ("tables",),
        "records": ("atlases", "tables"),
        "derivatives": ("records", "tables"),
        "comparison": ("records", "derivatives"),
        "page": ("derivatives", "tables"),
        "nidm": ("derivatives",),
    },
}
WITHOUT_NIPYPE = ("processor", *_FILES, "reporting", "data")
# More modules than these side by side are no plan of a house.
MOST_MODULES = 20
STATS_MAY_IMPORT = {"numpy", "scipy", "numba", "nipype_group"}


def tree_of(module):
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def layer_of(module):
    first = module.split("/")[0]
    return first.removesuffix(".py")


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


def own_layers(module):
    names = [n.split(".") for n in imports_of(tree_of(module), module)]
    layers = {n[1] for n in names if n[0] == "nipype_group" and len(n) > 1}
    return layers - {"__version__", "_version", layer_of(module)}


def test_every_layer_is_known():
    layers = {layer_of(m) for m in MODULES}
    assert layers - {"__init__", "_version"} == set(ALLOWED)


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_only_layers_below(module):
    assert own_layers(module) <= set(ALLOWED.get(layer_of(module), ()))


def folder_of(parts):
    """Return the folder of a layer that a module lies in; None of one at its top."""
    return parts[1] if len(parts) > 2 else None


@pytest.mark.parametrize("module", [m for m in MODULES if layer_of(m) in FOLDERS])
def test_folders_of_a_layer_use_one_another_one_way(module):
    layer, own = layer_of(module), folder_of(module.split("/"))
    if own is None:
        return
    names = [n.split(".")[1:] for n in imports_of(tree_of(module), module)]
    used = {n[1] for n in names if n[:1] == [layer] and len(n) > 2 and n[1] in FOLDERS[layer]}
    assert used - {own} <= set(FOLDERS[layer][own])


def test_every_folder_of_a_layer_is_known_and_holds_few_modules():
    modules = Counter(m.rpartition("/")[0] for m in MODULES if not m.endswith("__init__.py"))
    for layer, folders in FOLDERS.items():
        found = {m.split("/")[1] for m in MODULES if layer_of(m) == layer and m.count("/") > 1}
        assert found == set(folders)
    # Interfaces are one a stage.
    del modules["interfaces"]
    assert {f: n for f, n in modules.items() if n > MOST_MODULES} == {}


@pytest.mark.parametrize("module", [m for m in MODULES if layer_of(m) == "stats"])
def test_statistics_use_numpy_scipy_and_numba_alone(module):
    used = {n.split(".")[0] for n in imports_of(tree_of(module), module)}
    assert used <= STATS_MAY_IMPORT | set(sys.stdlib_module_names)


@pytest.mark.parametrize("module", [m for m in MODULES if layer_of(m) in WITHOUT_NIPYPE])
def test_layers_below_the_interfaces_do_without_nipype(module):
    used = {n.split(".")[0] for n in imports_of(tree_of(module), module)}
    assert "nipype" not in used


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_evaluated_or_unpickled(module):
    tree = tree_of(module)
    used = {n.split(".")[0] for n in imports_of(tree, module)}
    assert not used & {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", None)
            assert name not in ("eval", "exec", "compile", "__import__"), node.lineno
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert getattr(node.value, "value", None) is False, node.value.lineno


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
        *(("Path(p).read_text()", True), ("p.read_bytes()", True), ("open(p)", True)),
        *(("p.open('rb')", True), ("io.open(p, mode='r')", True), ("read_text(p)", False)),
        *(("p.open('wb')", False), ("open(p, mode='x')", False)),
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
