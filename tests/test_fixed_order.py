"""The matrix library, whose last bits depend on the processor, is used where they do not count."""

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
    "design/matrix.py": ["linalg.svd"],
    # Printed alone.
    "reporting/comparison/images.py": ["corrcoef"],
}


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
