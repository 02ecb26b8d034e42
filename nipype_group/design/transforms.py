"""The transforms that a formula may call, and what each may be given.

A factor of a formula is read as a tree and never run here. The first argument of a transform is
arithmetic on columns and numbers; the others are constants.
"""

import ast
import re

from nipype_group.design.expressions import shortened
from nipype_group.design.tables import level_text

# What each transform takes beside its column, in this order.
_SPLINE = ("df", "knots", "lower_bound", "upper_bound", "constraints")
TRANSFORMS = {
    "C": ("contrasts", "levels"),
    "I": (),
    "Q": (),
    "bs": (
        "df",
        "knots",
        "degree",
        "include_intercept",
        "lower_bound",
        "upper_bound",
        "extrapolation",
    ),
    "center": (),
    "cr": _SPLINE,
    "cs": _SPLINE,
    "exp": (),
    "log": (),
    "log10": (),
    "log2": (),
    "poly": ("degree", "raw"),
    "scale": ("center", "scale", "ddof"),
    "standardize": ("center", "rescale", "ddof"),
}
# The second argument of C names the reference level, or that columns sum to zero, as patsy and as
# formulaic write it.
_REFERENCES = ("Treatment", "contr.treatment")
_SUMS = ("Sum", "contr.sum")
# What moves or scales a column alone.
_LINEAR = ("I", "center", "scale", "standardize")
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)
_LARGEST_POWER = 10
# Columns of a spline or a polynomial.
_MOST_DF = 100
_SHOWN = 80
_BACKTICKS = re.compile(r"`([^`]+)`")
_TAKEN = f"Columns, numbers and the transforms {', '.join(TRANSFORMS)} are"
_C_TAKES = (
    'C takes a column and, where they are wanted, Treatment("b") for the reference level b or Sum '
    "for columns that sum to zero, and levels=[...] of all levels in their order"
)


class _NotAllowedError(ValueError):
    """What a factor may not hold, with what it may."""


def read_factor(expression: str) -> tuple[list[str], list[str] | None]:
    """Return the columns that a factor of a formula uses, and the levels that it gives.

    Parameters
    ----------
    expression : str
        As ``center(age)``; names with other signs stand in backticks.

    Returns
    -------
    names : list of str
    levels : list of str or None
        The levels that ``C(column, levels=[...])`` lists, as text.

    Raises
    ------
    ValueError
        Where it is no listed transform, or one with other arguments than it takes.

    Examples
    --------
    >>> read_factor("C(`my group`, levels=['b', 'a'])")
    (['my group'], ['b', 'a'])
    >>> read_factor("log(age + 1)")
    (['age'], None)
    >>> read_factor("age.mean()")
    Traceback (most recent call last):
    ...
    ValueError: 'age.mean()' is not allowed. Columns, numbers and the transforms C, I, ... are
    """
    try:
        tree, quoted = _tree(expression)
        if isinstance(tree, ast.Call) and ast.unparse(tree.func) == "C":
            names, levels = _read_categorical(tree)
        else:
            names, levels = list(_operand(tree)), None
    except _NotAllowedError as error:
        raise ValueError(f"{shortened(expression, _SHOWN)!r} is not allowed. {error}") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # Python's own reader gives up on nesting and on numbers of any length.
        raise ValueError(f"{shortened(expression, _SHOWN)!r} is not allowed. {_TAKEN}") from error
    return [quoted.get(name, name) for name in names], levels


def _tree(expression: str) -> tuple[ast.expr, dict[str, str]]:
    """Return the tree of a factor, and the names in backticks by what stands for them there."""
    quoted: dict[str, str] = {}

    def placeholder(match: re.Match) -> str:
        name = f"quoted_{len(quoted)}"
        quoted[name] = match.group(1)
        return name

    return ast.parse(_BACKTICKS.sub(placeholder, expression), mode="eval").body, quoted


def is_linear(expression: str, column: str) -> bool:
    """Tell whether a factor grows by the same for each unit of a column.

    Examples
    --------
    >>> is_linear("center(age)", "age"), is_linear("I(age * iq / 2)", "age")
    (True, True)
    >>> is_linear("log(age)", "age"), is_linear("I(age * age)", "age")
    (False, False)
    """
    if expression == column:
        return True
    tree, quoted = _tree(expression)
    return _power(tree, column, quoted) in (0, 1)


def _power(node: ast.AST, column: str, quoted: dict[str, str]) -> int | None:
    """Return the power of a column in a tree: 0, 1 where it is linear, None for others."""
    if isinstance(node, ast.Name):
        return int(quoted.get(node.id, node.id) == column)
    if isinstance(node, ast.UnaryOp):
        return _power(node.operand, column, quoted)
    if isinstance(node, ast.BinOp):
        left, right = (_power(side, column, quoted) for side in (node.left, node.right))
        if left is None or right is None:
            return None
        if isinstance(node.op, (ast.Add, ast.Sub)):
            return max(left, right)
        if left == right == 0:
            return 0
        if isinstance(node.op, ast.Mult):
            return 1 if left + right == 1 else None
        return left if isinstance(node.op, ast.Div) and right == 0 else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "C":
            return 0
        if node.func.id == "Q":
            return int(isinstance(node.args[0], ast.Constant) and node.args[0].value == column)
        inner = _power(node.args[0], column, quoted)
        return inner if inner == 0 or node.func.id in _LINEAR else None
    return 0


def _operand(node):
    """Yield the columns in what a transform is applied to."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.BinOp) and isinstance(node.op, _OPERATORS):
        # A power of constants alone can take all time and memory.
        if isinstance(node.op, ast.Pow) and not _is_small_power(node):
            raise _NotAllowedError(_TAKEN)
        yield from _operand(node.left)
        yield from _operand(node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        yield from _operand(node.operand)
    elif isinstance(node, ast.Call):
        yield from _call(node)
    elif not _is_number(node):
        raise _NotAllowedError(_TAKEN)


def _call(node):
    """Yield the columns of a call, whose other arguments are constants that it takes."""
    name = node.func.id if isinstance(node.func, ast.Name) else None
    if name not in TRANSFORMS:
        raise _NotAllowedError(_TAKEN)
    if name == "C":
        raise _NotAllowedError(f"{_C_TAKES}; what it makes is given to no other transform")
    options, given = TRANSFORMS[name], _options(node)
    if given is None or not all(map(_is_constant, given.values())):
        takes = f", {', '.join(options)}" if options else ""
        raise _NotAllowedError(f"{name} takes a column{takes}; options are numbers or text")
    for option, value in given.items():
        size = len(value.elts) if option == "knots" and _is_list(value) else None
        if option in ("df", "degree") and isinstance(value, ast.Constant):
            size = value.value
        if isinstance(size, (int, float)) and not size <= _MOST_DF:
            raise _NotAllowedError(f"{name} takes up to {_MOST_DF} columns, got {size:g}")
    if name != "Q":
        yield from _operand(node.args[0])
    elif isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
        yield node.args[0].value
    else:
        raise _NotAllowedError('Q takes the name of a column as text, as Q("reaction time")')


def _read_categorical(node):
    """Return the column of a call of C, and the levels that it is given."""
    given = _options(node)
    if given is None or not _is_column(node.args[0]):
        raise _NotAllowedError(_C_TAKES)
    coding = given.get("contrasts")
    if coding is not None and not (_is_reference(coding) or _is_sum(coding)):
        raise _NotAllowedError(_C_TAKES)
    levels = given.get("levels")
    if levels is not None and not (
        _is_list(levels) and all(isinstance(e, ast.Constant) for e in levels.elts)
    ):
        raise _NotAllowedError(_C_TAKES)
    names = list(_operand(node.args[0]))
    return names, levels and [level_text(element.value) for element in levels.elts]


def _options(call):
    """Return the arguments beside the first by name; None where one is not taken."""
    names = TRANSFORMS[call.func.id]
    if not call.args or len(call.args) > 1 + len(names):
        return None
    given = list(zip(names, call.args[1:], strict=False))
    given += [(keyword.arg, keyword.value) for keyword in call.keywords]
    known = len(dict(given)) == len(given) and all(name in names for name, _ in given)
    return dict(given) if known else None


def _is_list(node):
    return isinstance(node, (ast.List, ast.Tuple))


def _is_number(node):
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        return _is_number(node.operand)
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, (int, float))
        and not isinstance(node.value, bool)
    )


def _is_constant(node):
    if _is_list(node):
        return all(map(_is_number, node.elts))
    return _is_number(node) or (
        isinstance(node, ast.Constant) and isinstance(node.value, (str, bool))
    )


def _is_column(node):
    is_quoted = isinstance(node, ast.Call) and ast.unparse(node.func) == "Q"
    return isinstance(node, ast.Name) or is_quoted


def _is_reference(node):
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func) in _REFERENCES
        and all(isinstance(a, ast.Constant) for a in node.args)
        and all(isinstance(k.value, ast.Constant) for k in node.keywords)
    )


def _is_sum(node: ast.expr) -> bool:
    if isinstance(node, ast.Call) and not node.args and not node.keywords:
        node = node.func
    return ast.unparse(node) in _SUMS


def _is_small_power(node):
    exponent = node.right.operand if isinstance(node.right, ast.UnaryOp) else node.right
    return (
        _is_number(exponent)
        and abs(exponent.value) <= _LARGEST_POWER
        and any(isinstance(n, ast.Name) for n in ast.walk(node.left))
    )
