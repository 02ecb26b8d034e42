"""Functions are short, a name means one thing, ruff lays lines out, imports are declared."""

import ast
import configparser
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("nipype_group", "workflows", "tests", "docs")
# Docstrings do not count: a public one lists shapes, units and errors, as long as that takes.
MOST_LINES, MOST_LINES_OF_AN_INTERFACE = 60, 15
# Folders, and modules, whose public functions tell the types of what they take and give.
ANNOTATED = ("nipype_group/**/*.py",)
# Names of several functions that do the same for different things.
SHARED_NAMES = {"execute"}
# Names of distributions that differ from what is imported.
DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml", "zlib_ng": "zlib-ng"}
# What each folder may import beside what is always installed.
EXTRAS = {
    "nipype_group": ("report",),
    "workflows": (),
    "tests": ("tests", "benchmarks", "report", "docs"),
    "docs": ("docs", "report"),
}


def modules_of(folder):
    """Yield the path below the root and the tree of every module."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield path.relative_to(ROOT).as_posix(), tree


def lines_of_code(function):
    """Count the lines of a function without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def functions_of(tree):
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_functions_are_short():
    long = [
        f"{module}: {function.name} has {lines_of_code(function)} lines"
        for module, tree in modules_of("nipype_group")
        for function in functions_of(tree)
        if lines_of_code(function) > MOST_LINES
    ]
    assert long == []


def test_interfaces_are_thin():
    long = [
        f"{module}: {function.name} has {lines_of_code(function)} lines"
        for module, tree in modules_of("nipype_group/interfaces")
        for function in functions_of(tree)
        if function.name == "_run_interface" or "list_outputs" in function.name
        if lines_of_code(function) > MOST_LINES_OF_AN_INTERFACE
    ]
    assert long == []


def test_lines_are_counted_without_the_docstring():
    (function,) = ast.parse('def f(a):\n    """One.\n\n    Two.\n    """\n    return a\n').body
    assert lines_of_code(function) == 2


def test_a_public_name_is_defined_in_one_module():
    places = defaultdict(set)
    for module, tree in modules_of("nipype_group"):
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(module)
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: twice[name] for name in twice if name not in SHARED_NAMES} == {}


def public_functions_of(tree):
    """Yield public functions, and the public methods of public classes, by name."""
    for node in tree.body:
        if node_is_public(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        if node_is_public(node, ast.ClassDef):
            for name, function in public_functions_of(node):
                yield f"{node.name}.{name}", function


def node_is_public(node, kinds):
    return isinstance(node, kinds) and not node.name.startswith("_")


def without_annotation(function):
    """Return what a function takes or gives without saying its type."""
    taken = function.args
    named = [*taken.posonlyargs, *taken.args, *taken.kwonlyargs]
    named += [argument for argument in (taken.vararg, taken.kwarg) if argument is not None]
    found = [a.arg for a in named if a.annotation is None and a.arg not in ("self", "cls")]
    return found + (["return"] if function.returns is None else [])


def test_public_functions_are_annotated():
    paths = {path for pattern in ANNOTATED for path in ROOT.glob(pattern)}
    lacking = [
        f"{path.relative_to(ROOT).as_posix()}: {name} ({', '.join(without_annotation(function))})"
        for path in sorted(paths)
        for name, function in public_functions_of(ast.parse(path.read_text(encoding="utf-8")))
        if without_annotation(function)
    ]
    assert lacking == []


def test_what_lacks_an_annotation_is_found():
    tree = ast.parse("class A:\n    def f(self, a, b: int, *c) -> None: ...\ndef g(): ...\n")
    found = {name: without_annotation(function) for name, function in public_functions_of(tree)}
    assert found == {"A.f": ["a", "c"], "g": ["return"]}


def test_ruff_alone_lays_lines_out():
    # Written in two parts, so that this file is not found.
    kept_away = [f"# fmt: {word}" for word in ("skip", "off")]
    found = [
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if any(comment in path.read_text(encoding="utf-8") for comment in kept_away)
    ]
    assert found == []


def test_no_tuple_is_spread_where_it_stands():
    """``f(*(a, b))`` hides what ``f`` takes, and keeps the formatter from its lines."""
    found = [
        f"{module}:{node.lineno}"
        for folder in FOLDERS
        for module, tree in modules_of(folder)
        for node in ast.walk(tree)
        if isinstance(node, ast.Starred) and isinstance(node.value, ast.Tuple | ast.List)
    ]
    assert found == []


def imported_by(tree):
    """Return the first part of every absolute import, wherever it stands."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def declared(*extras):
    """Return the names of the distributions that setup.cfg declares."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    texts = [config["options"]["install_requires"]]
    texts += [config["options.extras_require"].get(extra) for extra in extras]
    return {line.split()[0] for text in texts for line in text.splitlines() if line}


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_imported_is_declared(folder):
    own = {"nipype_group", *(p.stem for f in ("tests", "docs") for p in (ROOT / f).rglob("*.py"))}
    known, missing = declared(*EXTRAS[folder]), {}
    for module, tree in modules_of(folder):
        others = imported_by(tree) - own - set(sys.stdlib_module_names)
        lacking = {name for name in others if DISTRIBUTIONS.get(name, name) not in known}
        if lacking:
            missing[module] = lacking
    assert missing == {}
