"""Queries of Filter: comparisons of variables, read as a tree and never run as code."""

import ast
import operator
import re
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd

from nipype_group.design.expressions import shortened
from nipype_group.design.tables import level_text
from nipype_group.models.places import known_name

_LONGEST = 1000
# Text in quotation marks, names in backticks, bare names, and all else.
_TOKENS = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|[^\W\d][\w.]*(?:\[[^\]]*\])?|\S|\s+")
_WORDS = {"and", "or", "not", "in", "True", "False", "None"}
_COMPARED: dict[type, Callable] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_TAKES = (
    "a query compares variables with numbers or 'text' by == != < <= > >= or in [..], joined by "
    "and, or, not and parentheses"
)


def rows_of_query(query: str, table: pd.DataFrame) -> pd.Series:
    """Tell of which rows a query holds.

    What is compared with a missing value is not known: neither it nor its opposite holds.

    Parameters
    ----------
    query : str
        As ``age > 30 and sex == 'F'``; names with other signs stand in backticks.
    table : DataFrame
        Variables.

    Returns
    -------
    Series of bool

    Raises
    ------
    ValueError
        Where the text is no query, a name is no variable, or text is compared with a number.

    Examples
    --------
    >>> table = pd.DataFrame({"age": [20, 40, 60], "sex": ["F", "M", "F"]})
    >>> rows_of_query("age > 30 and not sex == 'M'", table).tolist()
    [False, False, True]
    >>> rows_of_query("not age == 20", pd.DataFrame({"age": [20, None, 60]})).tolist()
    [False, False, True]
    """
    named = f"query {shortened(query)!r}"
    if len(query) > _LONGEST:
        raise ValueError(f"{named} has more than {_LONGEST} signs; write a shorter one")
    text = ""
    names: dict[str, str] = {}
    for token in _TOKENS.findall(query):
        name = token[1:-1] if token[0] == "`" else token
        is_name = token[0] == "`" or (re.match(r"[^\W\d]", token) and token not in _WORDS)
        if is_name:
            if name not in table:
                raise ValueError(
                    f"{named}: no variable {name}{known_name(name, map(str, table))}; text stands "
                    "in quotation marks"
                )
            names[f"v{len(names)}_"] = name
            token = list(names)[-1]
        text += {"&": " and ", "|": " or ", "~": " not "}.get(token, token)
    text = re.sub(r"\band\s+and\b", "and", re.sub(r"\bor\s+or\b", "or", text))
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return _truth(tree, table, names)[0]
    except (SyntaxError, RecursionError, MemoryError, _QueryError) as error:
        said = str(error) if isinstance(error, _QueryError) else "it is not understood"
        raise ValueError(f"{named}: {said}; {_TAKES}") from error


class _QueryError(ValueError):
    """What a query may not hold."""


def _truth(node, table, names):
    """Return where a part of a query holds, and where it does not; neither where values lack."""
    if isinstance(node, ast.BoolOp):
        parts = [_truth(part, table, names) for part in vars(node)["values"]]
        return _joined(parts, isinstance(node.op, ast.And), table)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        holds, fails = _truth(node.operand, table, names)
        return fails, holds
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        parts = [
            _compared(left, kind, right, table, names)
            for left, kind, right in zip(sides, node.ops, sides[1:], strict=False)
        ]
        return _joined(parts, True, table)
    raise _QueryError("it is not understood")


def _joined(parts, by_and, table):
    joins = (np.logical_and, np.logical_or) if by_and else (np.logical_or, np.logical_and)
    return tuple(
        pd.Series(join.reduce([part[side].to_numpy() for part in parts]), index=table.index)
        for side, join in enumerate(joins)
    )


def _compared(left, kind, right, table, names):
    column = _operand(left, table, names)
    if isinstance(kind, (ast.In, ast.NotIn)):
        if not isinstance(right, (ast.List, ast.Tuple)) or not isinstance(column, pd.Series):
            raise _QueryError("in goes between a variable and a list in square brackets")
        pairs = [_pair(column, _operand(item, table, names), operator.eq) for item in right.elts]
        nothing = pd.Series(False, index=table.index), column.notna()
        holds, fails = _joined([nothing, *pairs], False, table)
        return (holds, fails) if isinstance(kind, ast.In) else (fails, holds)
    if type(kind) not in _COMPARED:
        raise _QueryError("it is not understood")
    other = _operand(right, table, names)
    if not isinstance(column, pd.Series) and not isinstance(other, pd.Series):
        raise _QueryError("it compares no variable")
    return _pair(column, other, _COMPARED[type(kind)])


def _pair(left, right, compare):
    present = pd.Series(True, index=(left if isinstance(left, pd.Series) else right).index)
    kinds = []
    for side in (left, right):
        if isinstance(side, pd.Series):
            present &= side.notna()
            kinds.append(pd.api.types.is_numeric_dtype(side))
        else:
            kinds.append(not isinstance(side, str))
    if kinds[0] != kinds[1]:
        raise _QueryError("it compares text with a number")
    if not kinds[0] and compare not in (operator.eq, operator.ne):
        raise _QueryError("text is compared by == and != alone")
    holds = pd.Series(compare(left, right), index=present.index).fillna(False).astype(bool)
    return present & holds, present & ~holds


def _operand(node, table, names):
    if isinstance(node, ast.Name) and node.id in names:
        column = table[names[node.id]]
        if pd.api.types.is_numeric_dtype(column):
            return column
        return column.map(lambda v: v if pd.isna(v) else level_text(v)).astype(object)
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        sign, node = (-1 if isinstance(node.op, ast.USub) else 1), node.operand
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str) and sign == 1:
            return node.value
        if isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            if abs(node.value) > sys.float_info.max:
                raise _QueryError("a number in it is too large")
            return sign * node.value
    raise _QueryError("it is not understood")
