"""Contrasts in words: tests of effects, simple effects and levels, by estimated marginal means.

Rows are differences of means of the reference grid, in which all cells weigh equally (type III),
whatever the coding of the formula (Searle, Speed, Milliken 1980).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nipype_group.design.expressions import quoted, shortened, some, split_outside, unbalanced
from nipype_group.design.formula import parts_of
from nipype_group.stats.matrix_products import multiply

if TYPE_CHECKING:
    from nipype_group.design.matrix import Design
    from nipype_group.design.reference_grid import ReferenceGrid

_WORD = re.compile(r"(F|simple|pairs)\s*\((.*)\)\s*", re.DOTALL)
_BEGUN = re.compile(r"(?:F|simple|pairs)\s*\([^)]*$")
_CONDITION = re.compile(r"\s*(`[^`]+`|[^=`]+?)\s*=\s*(`[^`]+`|[^`]+?)\s*")
_PAIR = re.compile(r"\s*(`[^`]+`|[^`]+?)\s+-\s+(`[^`]+`|[^`]+?)\s*")
_EFFECT = re.compile(r"\s*(?:`[^`]+`|[^\W\d]\w*)(?:\s*:\s*(?:`[^`]+`|[^\W\d]\w*))*\s*")
_NAME = re.compile(r"`[^`]+`|[^:`]+")
_SHOWN_LEVELS = 6
_CONJUNCTION = re.compile(r"conjunction\s*\((.*)\)", re.DOTALL)
_CONJOINED = re.compile(r"\s*(?:`([^`]+)`|([^,`]+?))\s*(?:,|$)")
# Share of the largest number of the grid that rounding leaves of 0.
_ROUNDING = 1e-12


def is_word(expression: str) -> bool:
    """Tell whether an expression is F(...), simple(...) or pairs(...), be it without its end."""
    text = expression.strip()
    return bool(_WORD.fullmatch(text) or _BEGUN.match(text))


def is_test(expression: str) -> bool:
    """Tell whether an expression in words is an F test."""
    found = _WORD.fullmatch(expression.strip())
    return found is not None and found.group(1) != "pairs"


def is_open_pairs(expression: str) -> bool:
    """Tell whether an expression stands for a contrast of each two levels of a factor.

    Examples
    --------
    >>> is_open_pairs("pairs(group)"), is_open_pairs("pairs(group @ b - a)")
    (True, False)
    """
    found = _WORD.fullmatch(expression.strip())
    return found is not None and found.group(1) == "pairs" and "@" not in found.group(2)


def is_conjunction(expression: str) -> bool:
    """Tell whether an expression is conjunction(...) of other contrasts.

    Examples
    --------
    >>> is_conjunction("conjunction(a, b)"), is_conjunction("F(a)")
    (True, False)
    """
    return bool(_CONJUNCTION.fullmatch(expression.strip()))


def conjoined_names(expression: str) -> tuple[str, ...]:
    """Return the names of the contrasts of a conjunction; backticks hold names with commas.

    Raises
    ------
    ValueError
        Where it is not written so, names fewer than two contrasts, or one twice.

    Examples
    --------
    >>> conjoined_names("conjunction(faces - houses, `age, men`)")
    ('faces - houses', 'age, men')
    """
    found = _CONJUNCTION.fullmatch(expression.strip())
    assert found is not None, "an expression that is_conjunction knows"
    inner, names, position = found.group(1).strip(), [], 0
    while position < len(inner):
        part = _CONJOINED.match(inner, position)
        if part is None:
            raise ValueError(
                f"{expression.strip()} is not understood: write conjunction(a, b), the names of "
                "other contrasts"
            )
        names.append(part.group(1) or part.group(2))
        position = part.end()
    if len(names) < 2:
        raise ValueError(
            f"{expression.strip()} names {len(names) or 'no'} contrast; a conjunction is of two "
            "or more, as conjunction(a, b)"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{expression.strip()} names {twice[0]} twice: leave one out")
    return tuple(names)


def check_word(expression: str) -> None:
    """Refuse words that cannot be read.

    Raises
    ------
    ValueError
        Saying how they are written.
    """
    word, effect, conditions = parse_word(expression)
    if word == "simple" and not conditions:
        raise ValueError("a simple effect is written simple(factor @ other=level)")
    if word == "pairs" and len(effect) > 1:
        raise ValueError("pairs takes one factor, as pairs(group)")


class Words(NamedTuple):
    """A contrast in words: the word, the names of its effect, and levels that it names.

    Levels are by factor; those of `pairs` by sign, ``+`` and ``-``.
    """

    word: str
    effect: list[str]
    levels: dict[str, str]


def parse_word(expression: str) -> Words:
    """Take an expression in words apart.

    Raises
    ------
    ValueError
        Saying how they are written.

    Examples
    --------
    >>> parse_word("simple(a:c @ b=x)")
    Words(word='simple', effect=['a', 'c'], levels={'b': 'x'})
    """
    text, found = shortened(expression.strip()), _WORD.fullmatch(expression.strip())
    if odd := unbalanced(expression.strip()):
        raise ValueError(f"in {text} {odd}")
    if not found:
        raise ValueError(f"{text} is none of F(...), simple(...), pairs(...)")
    word, inner = found.groups()
    effect, *rest = split_outside(inner, "@")
    at, given = bool(rest), "@".join(rest)
    if not _EFFECT.fullmatch(effect) or (at and word == "F"):
        raise ValueError(
            f"{text} is not understood: write F(stimulus), F(stimulus:group), "
            "simple(stimulus @ group=a), pairs(group) or pairs(group @ b - a)"
        )
    conditions = {}
    if at and word == "pairs":
        pair = _PAIR.fullmatch(given)
        if not pair:
            raise ValueError(f"{shortened(given.strip())!r} is not of the form b - a, two levels")
        conditions = dict(zip("+-", (level.strip("`") for level in pair.groups()), strict=True))
    for item in split_outside(given, ",") if at and word == "simple" else ():
        condition = _CONDITION.fullmatch(item)
        if not condition:
            raise ValueError(f"{shortened(item.strip())!r} is not of the form factor=level")
        name, level = (part.strip("`") for part in condition.groups())
        if name in conditions:
            raise ValueError(f"{text} names {name} twice behind the @: it is held at one level")
        conditions[name] = level
    names = [name.strip().strip("`") for name in _NAME.findall(effect)]
    if len(set(names)) < len(names):
        raise ValueError(f"{text} names a factor twice")
    return Words(word, names, conditions)


def word_rows(expression: str, design: "Design") -> np.ndarray:
    """Return the contrast rows of an expression in words, shape (r, p).

    Parameters
    ----------
    expression : str
        ``F(a)``, ``F(a:b)``, ``F(a:age)``, ``simple(a @ b=x)`` or ``pairs(a @ y - x)``.
    design : Design

    Raises
    ------
    ValueError
        Where the design has no such factor, level or effect, or no reference grid.
    """
    word, effect, conditions = parse_word(expression)
    grid = _grid(design)
    if word == "pairs":
        return _pair_row(effect[0], conditions, grid)
    covariates = [name for name in effect if name not in grid.factors]
    for name in (*covariates, *conditions):
        _check_known(name, grid, factor=name in conditions)
    if len(covariates) > 1:
        own = _columns_of_product(effect, design)
        if word == "F" and len(own):
            return np.eye(len(design.columns))[own]
        raise ValueError(
            f"{shortened(expression.strip())} is of {' and '.join(covariates)} together; name "
            "the column of their product"
        )
    for name, level in conditions.items():
        if level not in grid.factors[name]:
            raise ValueError(
                f"{name} has no level {shortened(level)}; it has {some(grid.factors[name])}"
            )
        if name in effect:
            raise ValueError(f"{name} is tested and held at {level}: leave one out")
    chosen = {name: _differences(grid.factors[name]) for name in effect if name in grid.factors}
    chosen |= {name: _at(grid.factors[name], level) for name, level in conditions.items()}
    rows = _mean_rows(grid, chosen, covariates[0] if covariates else None)
    if not rows.any(axis=1).all():
        raise ValueError(
            f"the model has no effect {shortened(':'.join(effect))}"
            + f" at {', '.join(f'{k}={v}' for k, v in conditions.items())}" * bool(conditions)
        )
    return rows


def _columns_of_product(effect: list[str], design: "Design") -> list[int]:
    """Return the columns of a product of covariates, by factors that are coded to sum to zero.

    All of them are its type III test where every factor of the design is coded so; else empty.
    """
    factors = {f: about for f, about in design.factors.items() if f != "participant_id"}
    if any(about.get("coding") != "sum" for about in factors.values()):
        return []
    coded = {f"{f}[S.{level}]": f for f, about in factors.items() for level in about["levels"]}
    found = []
    for i, column in enumerate(design.columns):
        named = [coded.get(part, part) for part in parts_of(column)]
        if sorted(named) == sorted(effect):
            found.append(i)
    expected = [len(factors[name]["levels"]) - 1 for name in effect if name in factors]
    return found if len(found) == np.prod(expected, dtype=int) else []


def _pair_row(factor: str, pair: dict[str, str], grid: "ReferenceGrid") -> np.ndarray:
    """Return the row of a difference between the marginal means of two levels, shape (1, p)."""
    _check_known(factor, grid, factor=True)
    levels = grid.factors[factor]
    if not pair:
        raise ValueError(
            f"pairs({factor}) stands for a contrast for each two levels; name them, as "
            f"pairs({factor} @ {levels[-1]} - {levels[0]})"
        )
    for level in pair.values():
        if level not in levels:
            raise ValueError(f"{factor} has no level {shortened(level)}; it has {some(levels)}")
    difference = _at(levels, pair["+"]) - _at(levels, pair["-"])
    return _mean_rows(grid, {factor: difference})


def _differences(levels: Sequence[str]) -> np.ndarray:
    """Return the differences of all levels from the first."""
    return np.hstack([-np.ones((len(levels) - 1, 1)), np.eye(len(levels) - 1)])


def _at(levels: Sequence[str], level: str) -> np.ndarray:
    """Return the weights of one level."""
    return (np.array(levels) == level)[None].astype(float)


def _mean_rows(
    grid: "ReferenceGrid", chosen: Mapping[str, np.ndarray], covariate: str | None = None
) -> np.ndarray:
    """Return rows of the design from weights of levels; factors without any count evenly.

    With a covariate they are of its slopes.
    """
    cells = np.ones((1, 1))
    for name, levels in grid.factors.items():
        cells = np.kron(cells, chosen.get(name, np.full((1, len(levels)), 1 / len(levels))))
    rows = multiply(cells, grid.rows if covariate is None else grid.slopes[covariate])
    rows[np.abs(rows) <= _ROUNDING * np.abs(grid.rows).max(initial=0)] = 0.0
    return rows


def _grid(design: "Design") -> "ReferenceGrid":
    if design.grid is None:
        raise ValueError(f"contrasts in words need a grid of cells: {design.without_grid}")
    return design.grid


def _check_known(name: str, grid: "ReferenceGrid", factor: bool) -> None:
    if name in grid.curved:
        raise ValueError(f"{name} is no line in {grid.curved[name]}; name columns")
    if name not in grid.factors and (factor or name not in grid.slopes):
        known = some([*grid.factors, *grid.slopes])
        raise ValueError(f"the model has no factor {shortened(name)}; it has {known or 'none'}")


def mean_of_levels(name: str, design: "Design") -> np.ndarray | None:
    """Return the row of an estimated marginal mean of a design coded to sum to zero, shape (p,).

    Parameters
    ----------
    name : str
        ``a[x]``, the level alone where it is unique, or a cell as ``a[x]:b[y]``.
    design : Design

    Returns
    -------
    array or None
        None where the name is none, or a factor of it is coded otherwise.

    Raises
    ------
    ValueError
        Where the name is a level of several factors.
    """
    levels = levels_meant(name, design)
    if not levels:
        return None
    grid = _grid(design)
    return _mean_rows(grid, {f: _at(grid.factors[f], level) for f, level in levels.items()})[0]


def levels_meant(name: str, design: "Design") -> dict[str, str]:
    """Return the factors coded to sum to zero, and their levels, that a name means.

    Parameters
    ----------
    name : str
        As for `mean_of_levels`.
    design : Design

    Returns
    -------
    dict of str to str
        Empty where the name is none of these.

    Raises
    ------
    ValueError
        Where the name is a level of several factors.
    """
    summed = {f: about["levels"] for f, about in design.factors.items() if "coding" in about}
    summed.pop("participant_id", None)
    known = {f"{f}[{level}]": (f, level) for f, own in summed.items() for level in own}
    parts = parts_of(name)
    if parts and all(part in known for part in parts):
        return dict(known[part] for part in parts)
    bare = [(f, level) for f, own in summed.items() for level in own if level == name]
    if len(bare) > 1:
        raise ValueError(
            f"{name} is a level of {', '.join(f for f, _ in bare)}; write {bare[0][0]}[{name}]"
        )
    return dict(bare)


def canonical(
    definitions: Sequence[str], factors: Mapping[str, Sequence[str]], numeric: Sequence[str] = ()
) -> tuple[str, ...]:
    """Write contrasts so that their text tells what they test, where the table is known.

    A factor, or an interaction with one, becomes ``F(...)``; ``F`` of a column of numbers that
    the program wrote becomes the column; ``pairs`` becomes a contrast for each two levels.

    Parameters
    ----------
    definitions : sequence of str
        ``NAME=EXPRESSION``.
    factors : mapping of str to sequence of str
        Factors of the model and their levels.
    numeric : sequence of str
        Columns of numbers, ``NAME=F(NAME)`` of which is ``NAME=NAME``, and so their products.

    Examples
    --------
    >>> canonical(["s=site", "g=pairs(group)", "age=age"], {"site": "xy", "group": "abc"})
    ('s=F(site)', 'g b - a=pairs(group @ `b` - `a`)', 'g c - a=...', 'g c - b=...', 'age=age')
    """
    written = []
    for definition in definitions:
        name, _, expression = (part.strip() for part in definition.partition("="))
        names = [n.strip().strip("`") for n in _NAME.findall(expression)]
        word, effect, given = parse_word(expression) if is_word(expression) else ("", [], {})
        if word == "pairs" and not given:
            factor = effect[0]
            if factor not in factors:
                raise ValueError(
                    f"contrast {name!r}: {shortened(factor)} is no factor of the model"
                )
            written += _pairs(name, factor, list(factors[factor]))
        elif _EFFECT.fullmatch(expression) and any(n in factors for n in names):
            written.append(f"{name}=F({expression})")
        elif word == "F" and effect and all(n in numeric for n in effect):
            column = f"`{':'.join(effect)}`" if len(effect) > 1 else expression[2:-1]
            written.append(f"{name}={column}")
        else:
            written.append(definition)
    return tuple(written)


def _pairs(name: str, factor: str, levels: list[str]) -> list[str]:
    if odd := [level for level in levels if "`" in level or "=" in level]:
        raise ValueError(
            f"pairs({factor}): rename the level {odd[0]}, as ` and = are of contrasts"
        )
    return [
        f"{name} {later} - {first}=pairs({quoted(factor)} @ `{later}` - `{first}`)"
        for i, later in enumerate(levels)
        for first in levels[:i]
    ]


def description(expression: str, design: "Design") -> str | None:
    """Name what a contrast in words is about.

    Parameters
    ----------
    expression : str
        Of the contrast.
    design : Design

    Returns
    -------
    str or None
        As ``the main effect of a (x, y), averaged over b``; None where the expression is one of
        columns, or the design has no reference grid.
    """
    grid = design.grid
    if grid is None or not is_word(expression):
        return None
    word, effect, conditions = parse_word(expression)
    if word == "pairs":
        of = f"the difference of {conditions['+']} from {conditions['-']} in {effect[0]}"
        return of + averaged(grid, effect)
    of, with_ = _effect(effect, grid, main=word == "F")
    return f"the {of}{with_}{_where(grid, effect, conditions)}"


def question(expression: str, design: "Design", verb: str) -> str | None:
    """Ask for what a contrast in words is about; None as `description`.

    Parameters
    ----------
    expression : str
        Of the contrast.
    design : Design
    verb : str
        What is asked of a difference: ``different from``, ``larger than``, ``smaller than``.
    """
    grid = design.grid
    if grid is None or not is_word(expression):
        return None
    word, effect, conditions = parse_word(expression)
    if word == "pairs":
        pair = f"{conditions['+']} {verb} {conditions['-']}"
        return f"Is {pair}{averaged(grid, effect)}?"
    where = _where(grid, effect, conditions)
    factors = [name for name in effect if name in grid.factors]
    slopes = [name for name in effect if name not in grid.factors]
    if slopes and factors:
        return f"Does the slope of {' x '.join(slopes)} depend on {_and(factors)}{where}?"
    if slopes:
        return f"Does the effect change with {' x '.join(slopes)}{where}?"
    of, with_ = _effect(effect, grid, main=word == "F")
    return f"Is there {'a' if of.startswith('main') else 'an'} {of}{with_}{where}?"


def _where(grid: "ReferenceGrid", effect: list[str], conditions: dict[str, str]) -> str:
    """Say at which levels an effect is tested, and what else it is averaged over."""
    at = " and ".join(f"{name} = {level}" for name, level in conditions.items())
    return (f" at {at}" if at else "") + averaged(grid, (*effect, *conditions))


def _effect(names: list[str], grid: "ReferenceGrid", main: bool) -> tuple[str, str]:
    """Name an effect of factors, or of a covariate by factors; then what is said of it."""
    factors = [name for name in names if name in grid.factors]
    covariates = [name for name in names if name not in grid.factors]
    if covariates and factors:
        return f"dependence of the slope of {' x '.join(covariates)} on {_and(factors)}", ""
    if covariates:
        return f"slope of {' x '.join(covariates)}", ""
    if len(factors) > 1:
        return f"interaction of {_and(factors)}", ""
    levels = grid.factors[factors[0]]
    shown = ", ".join(levels) if len(levels) <= _SHOWN_LEVELS else f"{len(levels)} levels"
    return f"{'main ' * (main and len(grid.factors) > 1)}effect of {factors[0]}", f" ({shown})"


def averaged(grid: "ReferenceGrid", named: Collection[str]) -> str:
    """Say what a marginal mean is taken over, behind a comma: other factors and covariates.

    Parameters
    ----------
    grid : ReferenceGrid
    named : collection of str
        Factors and covariates that the contrast names.
    """
    factors = [name for name in grid.factors if name not in named]
    covariates = [name for name in grid.covariates if name not in named]
    over = f", averaged over {_and(factors)}" if factors else ""
    return over + (
        f", with covariate{'s' * (len(covariates) > 1)} {_and(covariates)}" if covariates else ""
    )


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
