"""Tables of text: read to the last quotation mark, and their columns of numbers."""

import csv
import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

# Spellings of a value that is missing.
NA_TEXTS = ("", "n/a", "N/A", "NA", "na", "NaN", "nan", "None", "null")
# Numbers that stand for a missing value where a program had no n/a.
_SENTINELS = {9, 99, 999, 9999, 99999, 777, 888, 7777, 8888}
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_SHOWN_CELLS = 5
# Largest absolute values of a column whose fourth powers float64 holds with room to spare.
_SMALLEST, _LARGEST = 1e-30, 1e30


def repeated(names):
    """Return the names that stand more than once, in order of the alphabet.

    Examples
    --------
    >>> repeated(["b", "a", "b"])
    ['b']
    """
    return sorted(name for name, n in Counter(names).items() if n > 1)


def read_tsv(path):
    """Read a tab-separated table (.csv: by commas) as text.

    Cells are stripped, every spelling of a missing value becomes NaN, and rows without any cell
    are passed over. Line numbers of the rows are in ``attrs["lines"]``.

    Raises
    ------
    ValueError
        Where the file is missing, no UTF-8 text or no table; where a quotation mark is not
        closed, a cell has a line break, a row has other cells than the header, or a column stands
        twice.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: the table does not exist")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: cannot be read as a table (it is no text in UTF-8: byte {error.start}); "
            "save it as UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError(f"{path}: cannot be read as a table (it holds binary data)")
    separator, parted = (",", "commas") if path.suffix == ".csv" else ("\t", "tabs")
    lines, rows = _rows(text, separator, path)
    if not rows:
        raise ValueError(f"{path}: cannot be read as a table (it is empty)")
    columns, lines, rows = rows[0], lines[1:], rows[1:]
    for line, row in zip(lines, rows, strict=True):
        if len(row) > len(columns) and any(row[len(columns) :]):
            raise ValueError(
                f"{path}: cannot be read as a table (line {line} has {len(row)} cells, the header "
                f"has {len(columns)}: {', '.join(columns)}); cells are parted by {parted}"
            )
    cells = [[*row, *[""] * (len(columns) - len(row))][: len(columns)] for row in rows]
    while columns and not columns[-1] and not any(row[len(columns) - 1] for row in cells):
        columns = columns[:-1]
    unnamed = [str(i + 1) for i, name in enumerate(columns) if not name]
    if unnamed:
        raise ValueError(f"{path}: column {', '.join(unnamed)} has no name in the first line")
    if twice := repeated(columns):
        raise ValueError(f"{path}: column {', '.join(twice)} stands twice")
    table = pd.DataFrame(
        {
            name: [np.nan if row[i] in NA_TEXTS else row[i] for row in cells]
            for i, name in enumerate(columns)
        },
        dtype=object,
    )
    table.attrs["lines"] = lines
    return table


def _rows(text, separator, path):
    """Return the line on which each row begins, and the stripped cells of the rows."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines, rows, line = [], [], 1
    try:
        for row in reader:
            broken = [cell for cell in row if "\n" in cell or "\r" in cell]
            if broken:
                raise ValueError(
                    f"{path}: cannot be read as a table (a cell that begins in line {line} has a "
                    f"line break: {broken[0][:20]!r}; is its quotation mark not closed?)"
                )
            cells = [cell.strip() for cell in row]
            if any(cells):
                lines.append(line)
                rows.append(cells)
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path}: cannot be read as a table (a quotation mark in line {line} is not closed, "
            f"or text follows one that closes: {error})"
        ) from error
    return lines, rows


def numbers_of(column):
    """Return a column of text as numbers, NaN where a cell is none.

    Decimals are the nearest float64, from which those of pandas before 3 differ by a bit.

    Examples
    --------
    >>> numbers_of(pd.Series(["0.1", "n/a"])).tolist()
    [0.1, nan]
    """
    found = pd.to_numeric(column, errors="coerce")
    if found.dtype.kind != "f":
        return found
    exact = [
        float(cell) if isinstance(cell, str) and not np.isnan(number) else number
        for cell, number in zip(column, found, strict=True)
    ]
    return pd.Series(exact, index=column.index, name=column.name, dtype=float)


def typed(table, text_columns=()):
    """Return a table of text with the columns that hold numbers throughout made numeric.

    Identifiers stay text. Condition columns are categories, whatever their values look like, in
    the order of the maps of a participant who has most.

    Examples
    --------
    >>> t = pd.DataFrame({"participant_id": ["01"], "age": ["31"], "sex": ["f"]}, dtype=str)
    >>> [k.dtype.kind for _, k in typed(t).items()][1]
    'i'
    """
    table = table.copy()
    for column in table.columns.difference(["participant_id", "map", "sha256", *text_columns]):
        present = table[column].dropna()
        if len(present) and pd.to_numeric(present, errors="coerce").notna().all():
            table[column] = numbers_of(table[column])
    for column in text_columns:
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
