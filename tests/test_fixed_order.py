"""Products and elementary functions that depend on the processor are where no bit counts."""

import ast
from pathlib import Path

import pytest

import nipype_group

PACKAGE = Path(nipype_group.__file__).parent
MODULES = sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py"))
PRODUCTS = {
    "convolve",
    "corrcoef",
    "correlate",
    "cov",
    "dot",
    "inner",
    "matmul",
    "outer",
    "polyfit",
    "tensordot",
    "vdot",
    "vecdot",
}
# What is used, and why its bits do not end in a file.
ALLOWED = {
    # A second look decides.
    "stats/permutation/scan.py": ["matmul"],
    "stats/permutation/early_stopping.py": ["@"],
    # Whole numbers.
    "data/generate.py": ["@"],
    "stats/neighbours.py": ["@"],
    "reporting/figures/canvas.py": ["@"],
    "reporting/figures/cortex.py": ["linalg.norm", "@"],
    # Six digits are kept.
    "stats/linear/influence.py": ["linalg.svd", "linalg.slogdet", "linalg.slogdet"],
    # Printed alone.
    "reporting/comparison/images.py": ["corrcoef"],
}


# Of numpy; its code for wide registers has other last bits than the mathematical library.
ELEMENTARY = {
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "logaddexp",
    "power",
    "float_power",
    "sin",
    "cos",
    "tan",
    "arcsin",
    "arccos",
    "arctan",
    "arctan2",
    "sinh",
    "cosh",
    "tanh",
    "arcsinh",
    "arccosh",
    "arctanh",
    "cbrt",
    "logspace",
    "geomspace",
}


def elementary_uses(tree):
    """Return the elementary functions of numpy, and powers of numbers that are not whole."""
    return [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ELEMENTARY
        and isinstance(node.value, ast.Name)
        and node.value.id == "np"
    ]


@pytest.mark.parametrize("module", MODULES)
def test_elementary_functions_are_those_of_one_library(module):
    # Figures are drawn to a pixel.
    if not module.startswith("reporting/figures/"):
        tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
        assert elementary_uses(tree) == [], "take those of stats.elementary or scipy.special"


def test_elementary_functions_are_found():
    assert elementary_uses(ast.parse("np.exp(1); special.exp2(1); np.sqrt(np.log(3))")) == [
        "exp",
        "log",
    ]


# Of what is equal their order is that of the processor's code, unless they are stable.
SORTS = {"argsort", "argpartition", "sort_values", "sort_index"}
# Compiled by numba, which has one code of it for all processors.
SORTED_BY_NUMBA = {"stats/estimators/iterated_weights.py": ["argsort"]}


def unstable_sorts(tree):
    """Return the sorts that tell an order, without the word that they are stable."""
    return [
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in SORTS
        and not any(k.arg == "kind" and ast.unparse(k.value) == "'stable'" for k in node.keywords)
    ]


def test_what_is_equal_keeps_its_order():
    texts = {module: (PACKAGE / module).read_text(encoding="utf-8") for module in MODULES}
    found = {m: unstable_sorts(ast.parse(t)) for m, t in texts.items() if "sort" in t}
    assert {m: sorts for m, sorts in found.items() if sorts} == SORTED_BY_NUMBA, (
        'give kind="stable"'
    )


def test_unstable_sorts_are_found():
    text = "np.argsort(a)\na.argsort(kind='stable')\nt.sort_values('p', kind='quicksort')"
    assert unstable_sorts(ast.parse(text)) == ["argsort", "sort_values"]


def library_uses(tree):
    """Return products and decompositions by the matrix library in a module, in order."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, ast.MatMult):
            found.append((node.lineno, "@"))
        elif isinstance(node, ast.Attribute):
            inside = isinstance(node.value, ast.Attribute) and node.value.attr == "linalg"
            if inside:
                found.append((node.lineno, f"linalg.{node.attr}"))
            elif node.attr in PRODUCTS:
                found.append((node.lineno, node.attr))
        elif isinstance(node, ast.ImportFrom) and "linalg" in (node.module or ""):
            found.append((node.lineno, node.module))
    return [what for _, what in sorted(found)]


@pytest.mark.parametrize("module", MODULES)
def test_no_product_is_left_to_the_matrix_library_but_those_told_of(module):
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    assert library_uses(tree) == ALLOWED.get(module, []), (
        "take multiply, residuals_of and sum_of_squares of stats.matrix_products, "
        "stats.decompositions, or to_mm and to_voxels of images"
    )


def test_uses_are_found():
    text = "import numpy as np\na @ b\nnp.linalg.inv(a)\na.dot(b)\nfrom scipy.linalg import qr\n"
    assert library_uses(ast.parse(text)) == ["@", "linalg.inv", "dot", "scipy.linalg"]
