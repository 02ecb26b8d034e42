"""Columns of the tables that models are made of: what they hold, and what is odd about it."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

import numpy as np
import pandas as pd

from nipype_group.tsv import numbers_of, with_numbers

# Numbers that stand for a missing value where a program had no n/a.
_SENTINELS = {9, 99, 999, 9999, 99999, 77, 777, 7777, 88, 888, 8888}
# What no one calls a level: errors of spreadsheets, and signs for nothing.
_NOTHING = re.compile(
    r"#(N/A( N/A)?|NULL!|DIV/0!|VALUE!|REF!|NAME\?|NUM!|SPILL!|CALC!)|<?NULL>?|<NA>|NaT|-?NaN|"
    r"-?1\.#(IND|QNAN)|[.]+|[?]+|[-\u2010-\u2015\u2212]+|[*]+|_+",
    re.IGNORECASE,
)
# Words for a missing value, which may be the name of a level too.
_NO_VALUE = {
    "none",
    "nil",
    "unknown",
    "unk",
    "missing",
    "not available",
    "not applicable",
    "na",
    "n.a",
    "n.a.",
    "n. a.",
    "tbd",
    "undefined",
    "unspecified",
    "no data",
    "nd",
    "n/d",
    "#na",
}
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,3})?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_SHOWN_CELLS = 5
# Largest absolute values of a column whose fourth powers float64 holds with room to spare.
_SMALLEST, _LARGEST = 1e-30, 1e30


def variables_of(
    observations: pd.DataFrame, condition_columns: Sequence[str] = ()
) -> pd.DataFrame:
    """Return a table of text as the variables of a model: numbers, and categories.

    Condition columns are categories, whatever their values look like, in the order of the maps of
    a participant who has most.

    Parameters
    ----------
    observations : DataFrame
        Text, a row a map.
    condition_columns : sequence of str
        Columns that tell a participant's maps apart.

    Returns
    -------
    DataFrame

    Examples
    --------
    >>> t = pd.DataFrame({"participant_id": ["01", "01"], "run": ["2", "1"]}, dtype=object)
    >>> variables_of(t, ["run"])["run"].cat.categories.tolist()
    ['2', '1']
    """
    table = with_numbers(observations, condition_columns)
    for column in condition_columns:
        if column in table:
            table[column] = pd.Categorical(table[column], categories=_in_order(table, column))
    return table


def _in_order(table, column):
    present = table.dropna(subset=[column])
    if present.empty:
        return []
    most = present.groupby("participant_id")[column].nunique().idxmax()
    first = present.loc[present["participant_id"] == most, column]
    return list(dict.fromkeys([*first, *present[column]]))


def level_text(value: object) -> str:
    """Return the text by which a value is known as a level.

    Examples
    --------
    >>> level_text(2.0), level_text(0.1), level_text(3), level_text("b")
    ('2', '0.1', '3', 'b')
    """
    return repr(float(value)).removesuffix(".0") if isinstance(value, float) else str(value)


def check_levels(column: pd.Series, rows: Iterable[object]) -> None:
    """See that a column of text holds names of levels, and no numbers that are spoilt.

    Parameters
    ----------
    column : Series
        Text, without missing values.
    rows : sequence of str
        What each row is told by.

    Raises
    ------
    ValueError
        Where at least half of its values are numbers; names the cells that are none.

    See Also
    --------
    check_values : of every column of levels.

    Examples
    --------
    >>> check_levels(pd.Series(["31", "89+", "25"], name="age"), ["01", "02", "03"])
    Traceback (most recent call last):
    ...
    ValueError: column age holds numbers but for '89+' (02): ...
    """
    texts = [str(value) for value in column]
    numbers = {t for t in set(texts) if pd.notna(pd.to_numeric(t, errors="coerce"))}
    commas = {t for t in set(texts) if _DECIMAL_COMMA.fullmatch(t)}
    if 2 * len(numbers | commas) < len(set(texts)):
        return
    shown = _cells(texts, rows, set(texts) - numbers)
    remedy = "write decimal points" if commas else "mend these cells, n/a where there is no value"
    raise ValueError(
        f"column {column.name} holds numbers but for {shown}: {remedy}, or take its values for "
        f"names by C({column.name})"
    )


def _cells(texts, rows, which):
    """Return some of the cells with a text of these, and what their rows are told by."""
    cells = [f"{text!r} ({row})" for text, row in zip(texts, rows, strict=True) if text in which]
    more = len(cells) - _SHOWN_CELLS
    return ", ".join(cells[:_SHOWN_CELLS]) + (f" and {more} more" if more > 0 else "")


def levels_of_nothing(texts: Iterable[str]) -> set[str]:
    """Return those of the levels of a column that stand for a missing value.

    Examples
    --------
    >>> levels_of_nothing(["a", "b", "?"]), levels_of_nothing(["+", "-"])
    ({'?'}, set())
    """
    levels = set(texts)
    nothing = {t for t in levels if _NOTHING.fullmatch(t) and not (t == "-" and "+" in levels)}
    numbers = {t: float(t) for t in levels if pd.notna(pd.to_numeric(t, errors="coerce"))}
    # Among codes by numbers 9 is one of them.
    if len(numbers) < len(levels) and all(abs(v) in _SENTINELS for v in numbers.values()):
        nothing |= set(numbers)
    return nothing


def check_values(column: pd.Series, rows: Iterable[object]) -> None:
    """See that no level of a column stands for a missing value.

    Parameters
    ----------
    column : Series
        Text, without missing values.
    rows : sequence of str
        What each row is told by.

    Raises
    ------
    ValueError
        Where a level is an error of a spreadsheet, a sign for nothing, or among names a number as
        999; names the cells.

    Examples
    --------
    >>> check_values(pd.Series(["a", "b", "#N/A"], name="group"), ["01", "02", "03"])
    Traceback (most recent call last):
    ...
    ValueError: column group holds levels but for '#N/A' (03): write n/a where ...
    """
    texts = [str(value) for value in column]
    nothing = levels_of_nothing(texts)
    if nothing:
        raise ValueError(
            f"column {column.name} holds levels but for {_cells(texts, rows, nothing)}: write n/a "
            f"where there is no value, or say that it is a level by C({column.name}, levels=[...])"
        )


def check_magnitudes(names: Sequence[str], values: np.ndarray) -> None:
    """See that squares of a model's numbers, and products of these, are numbers too.

    Parameters
    ----------
    names : sequence of str
        Names of the columns.
    values : array, shape (n, k)
        Numbers of a row a map.

    Raises
    ------
    ValueError
        Naming a column with a value that is not finite, or whose largest absolute value is above
        1e30, or below 1e-30 and not 0.

    Examples
    --------
    >>> check_magnitudes(["age", "dose"], np.array([[20, 1e-40], [30, 0]]))
    Traceback (most recent call last):
    ...
    ValueError: column dose holds absolute values up to 1e-40: give it in another unit, so that ...
    """
    for name, column in zip(names, np.asarray(values, dtype=float).T, strict=True):
        if not np.isfinite(column).all():
            raise ValueError(f"column {name} holds a number that is not finite; write n/a")
        largest = np.abs(column).max(initial=0)
        if largest and not _SMALLEST <= largest <= _LARGEST:
            raise ValueError(
                f"column {name} holds absolute values up to {largest:.3g}: give it in another "
                f"unit, so that the largest lies between {_SMALLEST:g} and {_LARGEST:g}"
            )


def alike(text: str) -> str:
    """Return what names that look the same share: no case, quotation marks or unseen signs.

    Examples
    --------
    >>> alike("Old\u00a0 \u201cMan\u201d\u200b")
    'old man'
    """
    seen = (
        sign
        for sign in unicodedata.normalize("NFKC", text)
        if sign not in "\"'`\u00b4" and unicodedata.category(sign) not in ("Cf", "Pi", "Pf")
    )
    return " ".join("".join(seen).casefold().split())


def spelled_otherwise(texts: Iterable[str]) -> list[list[str]]:
    """Return the spellings of names that have several which look alike, or are one number.

    Parameters
    ----------
    texts : iterable of str

    Returns
    -------
    list of list of str
        The spellings of each such name, in order of the alphabet.

    Examples
    --------
    >>> spelled_otherwise(["1", "01", "2", "1.0", "b", "B", "b"])
    [['01', '1', '1.0'], ['B', 'b']]
    """
    found: dict[str | Decimal, list[str]] = {}
    for text in sorted(set(texts)):
        look = alike(text)
        # Decimals are exact: long codes that one float64 stands for are two.
        key = Decimal(look) if _NUMBER.fullmatch(look) else look
        found.setdefault(key, []).append(text)
    return [spellings for spellings in found.values() if len(spellings) > 1]


def told_spellings(
    spellings: Sequence[str], texts: Sequence[str], rows: Sequence[object] | None = None
) -> str:
    """Write the spellings of a name and the rows of each.

    Parameters
    ----------
    spellings : sequence of str
    texts : sequence of str
        The column, a row a map.
    rows : sequence of str, optional
        What each row is told by.

    Examples
    --------
    >>> told_spellings(["01", "1"], ["1", "01", "1"], ["a", "b", "c"])
    "'01' (b) and '1' (a, c)"
    """
    # Those that print alike are told by their code points.
    write = repr if len({unicodedata.normalize("NFKC", s) for s in spellings}) > 1 else ascii
    parts = []
    for spelling in spellings:
        own = (
            [] if rows is None else [r for t, r in zip(texts, rows, strict=True) if t == spelling]
        )
        names = list(dict.fromkeys(map(str, own)))
        more = f" and {len(names) - _SHOWN_CELLS} more" * (len(names) > _SHOWN_CELLS)
        where = f" ({', '.join(names[:_SHOWN_CELLS])}{more})" if names else ""
        parts.append(write(spelling) + where)
    return " and ".join(parts)


def check_spellings(what: str, texts: Sequence[str], rows: Sequence[object]) -> None:
    """See that a column which tells groups of maps spells none of them in two ways.

    Parameters
    ----------
    what : str
        What an error calls the column.
    texts : sequence of str
    rows : sequence of str
        What each row is told by.

    Raises
    ------
    ValueError
        Naming the spellings and their rows.

    Examples
    --------
    >>> check_spellings("clusters of site", ["1", "01", "2"], ["a", "b", "c"])
    Traceback (most recent call last):
    ...
    ValueError: clusters of site: '01' (b) and '1' (a) may be one: write it in one way, or ...
    """
    for spellings in spelled_otherwise(texts):
        raise ValueError(
            f"{what}: {told_spellings(spellings, texts, rows)} may be one: write it in one way, "
            "or rename them where they are not"
        )


def merged_levels(column: pd.Series, rows: Sequence[object]) -> Iterator[str]:
    """Yield which spellings of a column of numbers are one level of a factor.

    Parameters
    ----------
    column : Series
        Text, without missing values, whose values are all numbers.
    rows : sequence of str
        What each row is told by.

    Examples
    --------
    >>> list(merged_levels(pd.Series(["1", "01", "2"], name="site"), ["a", "b", "c"]))
    ["column site: '01' (b) and '1' (a) are one number, and are taken for one level"]
    """
    texts = [str(value) for value in column]
    by_level: dict[str, set[str]] = {}
    for text, level in zip(texts, map(level_text, numbers_of(column)), strict=True):
        by_level.setdefault(level, set()).add(text)
    for spellings in by_level.values():
        if len(spellings) > 1:
            shown = told_spellings(sorted(spellings), texts, rows)
            yield (f"column {column.name}: {shown} are one number, and are taken for one level")


def doubts(
    column: pd.Series, reference: str | None = None, rows: Sequence[object] | None = None
) -> Iterator[str]:
    """Yield what is odd about the values of a column that a model uses.

    Levels that look alike, that may stand for a missing value or have a single map; and numbers
    that may stand for a missing value: far from all others, as -999.

    Parameters
    ----------
    column : Series
        Values of the maps.
    reference : str, optional
        Level that others are compared with.
    rows : sequence of str, optional
        What each row is told by.

    Examples
    --------
    >>> list(doubts(pd.Series(["Control", "control"] * 2, name="group")))
    ["column group: the levels 'Control' and 'control' are alike but for case, and count as 2"]
    >>> list(doubts(pd.Series([23.0, 31.0, -999.0], name="age")))
    ['column age: -999 in 1 row may stand for a missing value; if so write n/a']
    """
    present = column.dropna()
    if pd.api.types.is_numeric_dtype(present):
        yield from _sentinels(column.name, present.to_numpy(dtype=float))
    # Labels that look alike are told of all designs.
    is_factor = reference is not None or not pd.api.types.is_numeric_dtype(present)
    if is_factor and column.name != "participant_id":
        texts = [level_text(value) for value in present]
        own = None if rows is None else np.asarray(rows)[column.notna().to_numpy()].tolist()
        for levels in spelled_otherwise(texts):
            shown, n = told_spellings(levels, texts, own), len(levels)
            yield (
                f"column {column.name}: the levels {shown} are alike but for {_but_for(levels)}, "
                f"and count as {n}"
            )
        yield from _odd_levels(column.name, Counter(texts), reference)


def _but_for(levels):
    """Say in what spellings of a name differ."""
    if len({" ".join(level.casefold().split()) for level in levels}) == 1:
        return "case"
    if len({alike(level) for level in levels}) > 1:
        return "how a number is written"
    return "case, quotation marks or signs that are not seen"


def _odd_levels(name, counts, reference):
    for level in sorted(level for level in counts if level.casefold() in _NO_VALUE):
        yield (
            f"column {name}: the level {level!r} of {_maps(counts[level])} may stand for a "
            "missing value; if so write n/a"
        )
    single = sorted(level for level, n in counts.items() if n == 1)
    if not single or len(single) == len(counts):
        return
    shown = ", ".join(map(repr, single[:_SHOWN_CELLS]))
    more = len(single) - _SHOWN_CELLS
    yield (
        f"column {name}: of {shown}{f' and {more} more levels' if more > 0 else ''} there is a "
        "single map each"
        + f", and {reference!r} is the reference that others are compared with"
        * (reference in single)
    )


def _maps(n):
    return f"{n} map{'s' if n > 1 else ''}"


def _sentinels(name, values):
    for value in sorted({v for v in values if abs(v) in _SENTINELS}):
        others = values[values != value]
        if not others.size:
            continue
        low, high = others.min(), others.max()
        # What continues the others is an age of 99, or a score.
        away = max(low - value, value - high)
        if away > max(high - low, 1.0) or (value < 0 <= low):
            n = int((values == value).sum())
            yield (
                f"column {name}: {value:g} in {n} row{'s' if n > 1 else ''} may stand for "
                "a missing value; if so write n/a"
            )
