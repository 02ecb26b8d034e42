"""Contrast expressions: a small grammar of linear combinations, parsed and never evaluated.

Names of columns, numbers, ``+ - * / ( )``, and ``;`` between the rows of an F contrast.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from keyword import iskeyword

import numpy as np

# A column, as formulas name it: age, group[b], log(age), poly(age, degree=2)[1].
_COLUMN = r"[^\W\d]\w*(?:\.\w+)*(?:\((?:[^()`]|\([^()`]*\))*\))?(?:\[[^\]]*\])?"
_TOKEN = re.compile(
    rf"""\s*(?:
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w\[]))
    | `(?P<quoted>[^`]+)`
    | (?P<name>{_COLUMN}(?::{_COLUMN})*)
    | (?P<operator>[-+*/()])
    )""",
    re.VERBOSE,
)
_WEIGHT_LIST = re.compile(r"[\s\d.,;/eE+-]+")
# Digits of a number beyond a double's are noise, and text of any length takes any time.
LONGEST = 10_000
# Parentheses and signs within one another.
_DEEPEST = 50
_SHOWN, _SHOWN_NAMES = 200, 20
_PARENTHESIS = re.compile(r"`[^`]*`|\[[^\]]*\]|[()]")


def shortened(text: str, most: int = _SHOWN) -> str:
    """Return a text as messages show it: its beginning, where it is long.

    Examples
    --------
    >>> shortened("age"), shortened("age + iq", 5)
    ('age', 'age +...')
    """
    return text if len(text) <= most else f"{text[:most]}..."


def quoted(name: str) -> str:
    """Return the name of a column as formulas and contrasts take it.

    Examples
    --------
    >>> quoted("age"), quoted("reaction time"), quoted("lambda")
    ('age', '`reaction time`', '`lambda`')
    """
    return name if name.isidentifier() and not iskeyword(name) else f"`{name}`"


def split_outside(text: str, sign: str) -> list[str]:
    """Split a text at a sign, wherever that stands in no backticks.

    Examples
    --------
    >>> split_outside("a; `b;c`", ";")
    ['a', ' `b;c`']
    """
    parts, inside = [""], False
    for each in text:
        inside ^= each == "`"
        if each == sign and not inside:
            parts.append("")
        else:
            parts[-1] += each
    return parts


def named(formula: str) -> str:
    """Return how messages name a formula.

    Examples
    --------
    >>> named("age + iq")
    "formula 'age + iq'"
    """
    return f"formula {shortened(formula)!r}"


def some(names: Iterable[str], most: int = _SHOWN_NAMES) -> str:
    """Return names as messages list them: the first, where there are many.

    Examples
    --------
    >>> some("abc"), some("abc", 2)
    ('a, b, c', 'a, b and 1 more')
    """
    listed = [shortened(name) for name in names]
    more = f" and {len(listed) - most} more" * (len(listed) > most)
    return ", ".join(listed[:most]) + more


def unbalanced(text: str) -> str | None:
    """Say which parenthesis has no partner; None where all have one.

    What stands in backticks or square brackets is a name.

    Examples
    --------
    >>> unbalanced("F(a"), unbalanced("(a - b))"), unbalanced("(a - `b)`) / g[(]")
    ('the ( at sign 2 is not closed', 'the ) at sign 8 closes nothing', None)
    """
    opened: list[int] = []
    for found in _PARENTHESIS.finditer(text):
        if found.group() == "(":
            opened.append(found.start() + 1)
        elif found.group() == ")":
            if not opened:
                return f"the ) at sign {found.start() + 1} closes nothing"
            opened.pop()
    return f"the ( at sign {opened[-1]} is not closed" if opened else None


@dataclass(frozen=True)
class _Linear:
    """A constant plus weights of names."""

    constant: float
    weights: dict

    def combine(self, other, sign):
        weights = dict(self.weights)
        for name, weight in other.weights.items():
            weights[name] = weights.get(name, 0.0) + sign * weight
        return _Linear(self.constant + sign * other.constant, weights)

    def scale(self, factor):
        return _Linear(self.constant * factor, {n: w * factor for n, w in self.weights.items()})


class _Parser:
    """Recursive descent over one row of an expression."""

    def __init__(self, text):
        self.text, self.tokens, position = text, [], 0
        while position < len(text.rstrip()):
            match = _TOKEN.match(text, position)
            if not match:
                raise self.error(f"{text[position:].strip()[:20]!r} is not understood")
            kind = match.lastgroup
            self.tokens.append(("name" if kind == "quoted" else kind, match.group(kind)))
            position = match.end()
        self.at = self.depth = 0

    def error(self, what):
        return ValueError(
            f"expression {shortened(self.text.strip())!r}: {what}. It takes column names (in "
            "backticks where they hold other signs), numbers, + - * / and parentheses"
        )

    def peek(self):
        return self.tokens[self.at][1] if self.at < len(self.tokens) else None

    def take_operator(self, allowed):
        if self.at < len(self.tokens):
            kind, value = self.tokens[self.at]
            if kind == "operator" and value in allowed:
                self.at += 1
                return value
        return None

    def parse(self):
        if not self.tokens:
            raise self.error("it is empty")
        if odd := unbalanced(self.text.strip()):
            raise self.error(odd)
        value = self.sum()
        if self.at < len(self.tokens):
            raise self.error(f"{self.peek()!r} was not expected")
        return value

    def sum(self):
        value = self.product()
        while operator := self.take_operator("+-"):
            value = value.combine(self.product(), 1 if operator == "+" else -1)
        return value

    def product(self):
        value = self.unary()
        while operator := self.take_operator("*/"):
            other = self.unary()
            if operator == "/":
                if other.weights:
                    raise self.error("division by a column")
                if other.constant == 0:
                    raise self.error("division by 0")
                value = value.scale(1 / other.constant)
            elif value.weights and other.weights:
                raise self.error("product of two columns")
            elif other.weights:
                value = other.scale(value.constant)
            else:
                value = value.scale(other.constant)
        return value

    def unary(self):
        if self.depth == _DEEPEST:
            raise self.error(f"parentheses and signs are nested more than {_DEEPEST} deep")
        self.depth += 1
        value = self.operand()
        self.depth -= 1
        return value

    def operand(self):
        if operator := self.take_operator("+-"):
            return self.unary().scale(1 if operator == "+" else -1)
        if self.take_operator("("):
            value = self.sum()
            if not self.take_operator(")"):
                raise self.error(f"{self.peek()!r} was not expected before the )")
            return value
        if self.at == len(self.tokens) or self.tokens[self.at][0] == "operator":
            raise self.error(f"a name or number was expected before {self.peek() or 'the end'!r}")
        kind, value = self.tokens[self.at]
        self.at += 1
        return _Linear(float(value), {}) if kind == "number" else _Linear(0.0, {value: 1.0})


def parse_row(text: str) -> dict[str, float]:
    """Parse one row into weights of names.

    Raises
    ------
    ValueError
        Saying what is not understood.

    Examples
    --------
    >>> parse_row("0.5*a + 1/2*group[b] - `c d`")
    {'a': 0.5, 'group[b]': 0.5, 'c d': -1.0}
    """
    parser = _Parser(text)
    value = parser.parse()
    if not all(map(math.isfinite, (value.constant, *value.weights.values()))):
        raise parser.error("a weight is beyond the largest number there is")
    if value.constant != 0:
        raise parser.error(f"the number {value.constant:g} stands without a column")
    return value.weights


def is_weight_list(text: str) -> bool:
    """Tell whether an expression is a list of numbers.

    Examples
    --------
    >>> is_weight_list("[1, -1]"), is_weight_list("[1, 0]; [0, 1]"), is_weight_list("a - b")
    (True, True, False)
    """
    rows = [row.strip() for row in text.strip().split(";")]
    whole = text.strip()
    if whole.startswith("[") and whole.endswith("]") and whole.count("[") == 1:
        rows = [whole[1:-1]]
    elif any(row.startswith("[") for row in rows):
        # Each row has brackets of its own.
        if not all(row.startswith("[") and row.endswith("]") for row in rows if row):
            return False
        rows = [row[1:-1] for row in rows if row]
    return all(_WEIGHT_LIST.fullmatch(row) for row in rows) and ("[" in text or "," in text)


def parse_weight_list(text: str, n_columns: int) -> np.ndarray | None:
    """Parse ``[1, -1, 0]`` or several rows of it; None where the text is no list of numbers.

    Raises
    ------
    ValueError
        Where a row has another number of weights than the design has columns.

    Examples
    --------
    >>> parse_weight_list("[1, -1/2, -1/2]", 3).tolist()
    [[1.0, -0.5, -0.5]]
    """
    if not is_weight_list(text):
        return None
    rows = [row for row in re.sub(r"[\[\]]", " ", text).split(";") if row.strip()]
    weights = []
    for row in rows:
        values = []
        for item in re.split(r"[,\s]+", row.strip(", \t\r\n")):
            number, _, divisor = item.partition("/")
            try:
                values.append(float(number) / float(divisor or 1))
            except (ValueError, ZeroDivisionError) as error:
                raise ValueError(
                    f"weight list {shortened(text)!r}: {shortened(item)!r} is no number"
                ) from error
        if len(values) != n_columns:
            raise ValueError(
                f"weight list {shortened(text)!r} has {len(values)} weights, the design "
                f"has {n_columns} columns"
            )
        weights.append(values)
    return np.array(weights)
