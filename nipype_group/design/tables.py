"""Columns of the tables that models are made of: what they hold, and what is odd about it."""

import re

import numpy as np
import pandas as pd

from nipype_group.tsv import typed

# Numbers that stand for a missing value where a program had no n/a.
_SENTINELS = {9, 99, 999, 9999, 99999, 777, 888, 7777, 8888}
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_SHOWN_CELLS = 5
# Largest absolute values of a column whose fourth powers float64 holds with room to spare.
_SMALLEST, _LARGEST = 1e-30, 1e30


def variables_of(observations, condition_columns=()):
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
    table = typed(observations, condition_columns)
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


def check_levels(column, rows):
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
    spoilt = [
        f"{text!r} ({row})" for text, row in zip(texts, rows, strict=True) if text not in numbers
    ]
    more = len(spoilt) - _SHOWN_CELLS
    shown = ", ".join(spoilt[:_SHOWN_CELLS]) + (f" and {more} more" if more > 0 else "")
    remedy = "write decimal points" if commas else "mend these cells, n/a where there is no value"
    raise ValueError(
        f"column {column.name} holds numbers but for {shown}: {remedy}, or take its values for "
        f"names by C({column.name})"
    )


def check_magnitudes(names, values):
    """See that squares of a model's numbers, and products of these, are numbers too.

    Parameters
    ----------
    names : sequence of str
        Of the columns.
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


def doubts(column):
    """Yield what is odd about the values of a column that a model uses.

    Levels that are alike but for case, and numbers that may stand for a missing value: far from
    all others, as -999.

    Examples
    --------
    >>> list(doubts(pd.Series(["Control", "control", "patient"], name="group")))
    ["column group: the levels 'Control' and 'control' are alike but for case"]
    >>> list(doubts(pd.Series([23.0, 31.0, -999.0], name="age")))
    ['column age: -999 in 1 row may stand for a missing value; if so write n/a']
    """
    present = column.dropna()
    if not pd.api.types.is_numeric_dtype(present):
        alike = {}
        for level in sorted(set(map(str, present))):
            alike.setdefault(" ".join(level.casefold().split()), []).append(repr(level))
        for levels in alike.values():
            if len(levels) > 1:
                names = " and ".join(levels)
                yield f"column {column.name}: the levels {names} are alike but for case"
        return
    values = present.to_numpy(dtype=float)
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
                f"column {column.name}: {value:g} in {n} row{'s' if n > 1 else ''} may stand for "
                "a missing value; if so write n/a"
            )
