"""Tables of tab-separated values, and the one way in which they are read and written.

The files are those of BIDS: UTF-8, a header, lines that end with a line feed, n/a for what is
missing. Cells with a tab or a quotation mark are quoted as RFC 4180 says of commas; a cell is one
line. What people give is read by what it means, what the package wrote as it was written.
"""

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from nipype_group.whole_files import AnyPath, read_bytes, replace_text

# Columns of cells.
Table: TypeAlias = pd.DataFrame | Mapping[str, Iterable[object]]

MISSING = "n/a"
# Spellings of a value that is missing.
NA_TEXTS = ("", "n/a", "N/A", "NA", "na", "NaN", "nan", "None", "null")
_OWN_NA_TEXTS = ("", MISSING)
# They tell rows apart, whatever they look like.
_IDENTIFIERS = ("participant_id", "map", "sha256")
_SHOWN = 20
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars", " ": "blanks"}


class _LineNumbers(tuple):
    """Lines of a file that rows stand in; pandas copies them with every part of a table."""

    __slots__ = ()

    def __deepcopy__(self, memo):
        return self


def repeated(names: Iterable[str]) -> list[str]:
    """Return the names that stand more than once, in order of the alphabet.

    Examples
    --------
    >>> repeated(["b", "a", "b"])
    ['b']
    """
    return sorted(name for name, n in Counter(names).items() if n > 1)


def one_line(text: str) -> str:
    r"""Return a text with a blank for all white space between its words.

    Examples
    --------
    >>> one_line("V1\tleft\n")
    'V1 left'
    """
    return " ".join(text.split())


def tsv_text(table: Table, digits: int | None = None, missing: str = MISSING) -> str:
    r"""Return a table as tab-separated values.

    Parameters
    ----------
    table : DataFrame, or dict of str to sequence
        NaN, None and empty text are what is missing.
    digits : int, optional
        Significant digits of floats: with 17 they are the same floats when read again. Without,
        they have as many as tell them apart.
    missing : str
        What is written for a missing value; other than n/a in the layout of other packages.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        Where a name or a cell has a line break or is binary.

    Examples
    --------
    >>> tsv_text({"name": ["a b", '5" mark'], "x": [0.1, float("nan")]})
    'name\tx\na b\t0.1\n"5"" mark"\tn/a\n'
    """
    header, columns = [], []
    for name, column in table.items():
        header.append(_text(str(name), name))
        columns.append([_cell(value, digits, name) or missing for value in column])
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerow(header)
    writer.writerows(zip(*columns, strict=True))
    return stream.getvalue()


def _cell(value, digits, name):
    """Return the text of a cell, an empty one where the value is missing."""
    if isinstance(value, str):
        return _text(value, name)
    if not pd.api.types.is_scalar(value) and pd.api.types.is_list_like(value):
        raise ValueError(
            f"column {one_line(str(name))}: {one_line(str(value))[:_SHOWN]} is no single value"
        )
    if pd.isna(value):
        return ""
    if digits is not None and isinstance(value, (float, np.floating)):
        return f"{value:.{digits}g}"
    return _text(str(value), name)


def _text(text, name):
    if "\n" in text or "\r" in text or "\0" in text:
        what = "binary data" if "\0" in text else "a line break"
        raise ValueError(
            f"column {one_line(str(name))}: {text[:_SHOWN]!r} holds {what}, which no cell of a "
            "table can; write it in one line of text"
        )
    return text


def write_tsv(
    path: AnyPath, table: Table, digits: int | None = None, missing: str = MISSING
) -> Path:
    """Write a table whole in the place of what is there, see `tsv_text`.

    Parameters
    ----------
    path : path
    table, digits, missing
        As `tsv_text` takes them.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        Where a name or a cell cannot stand in a table; names the file.
    """
    try:
        text = tsv_text(table, digits, missing)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return replace_text(path, text)


def read_tsv(path: AnyPath, own: bool = False) -> pd.DataFrame:
    """Read a tab-separated table (.csv: by commas) as text.

    Cells are stripped, every spelling of a missing value becomes NaN, rows without any cell are
    passed over, and cells that a row lacks at its end are missing. Line numbers of the rows are in
    ``attrs["lines"]``.

    Parameters
    ----------
    path : path
    own : bool
        Whether the file is one of `write_tsv`: cells are as they stand, n/a and nothing alone are
        missing, and every row has a cell a column.

    Returns
    -------
    DataFrame
        A table of text.

    Raises
    ------
    ValueError
        Where the file is missing, no UTF-8 text or no table; where a quotation mark is not
        closed, a cell has a line break, a row has other cells than the header, or a column stands
        twice.
    """
    path = Path(path)
    return _table(path, _text_of(path), own)


def parse_tsv(text: str, name: str) -> pd.DataFrame:
    r"""Return what `read_tsv` reads from a file that holds a text; `name` is what errors call it.

    Examples
    --------
    >>> parse_tsv("a\tb\n1\tn/a\n", "a table").to_dict("list")
    {'a': ['1'], 'b': [nan]}
    """
    return _table(Path(name), text, own=False)


def _table(path, text, own):
    lines, rows = _rows(path, text, strip=not own)
    if not rows:
        raise ValueError(f"{path}: cannot be read as a table (it is empty)")
    columns, lines, rows = rows[0], lines[1:], rows[1:]
    for line, row in zip(lines, rows, strict=True):
        if any(row[len(columns) :]) or (own and len(row) != len(columns)):
            raise ValueError(
                f"{path}: cannot be read as a table (line {line} has {len(row)} cells, the header "
                f"has {len(columns)}: {', '.join(columns)}); cells are parted by "
                f"{_SEPARATORS[_separator(path)]}"
            )
    cells = [[*row, *[""] * (len(columns) - len(row))][: len(columns)] for row in rows]
    while columns and not columns[-1] and not any(row[len(columns) - 1] for row in cells):
        columns = columns[:-1]
    unnamed = [str(i + 1) for i, name in enumerate(columns) if not name]
    if unnamed:
        raise ValueError(f"{path}: column {', '.join(unnamed)} has no name in the first line")
    if twice := repeated(columns):
        raise ValueError(f"{path}: column {', '.join(twice)} stands twice")
    absent = _OWN_NA_TEXTS if own else NA_TEXTS
    table = pd.DataFrame(
        {
            name: [np.nan if row[i] in absent else row[i] for row in cells]
            for i, name in enumerate(columns)
        },
        dtype=object,
    )
    table.attrs["lines"] = _LineNumbers(lines)
    return table


def columns_found(table: pd.DataFrame, path: AnyPath) -> str:
    """Return which columns a table has, and where they are one, what seems to part its cells.

    Examples
    --------
    >>> columns_found(pd.DataFrame(columns=["participant_id;age"]), Path("participants.csv"))
    'columns: participant_id;age; cells seem to be parted by semicolons, not by commas'
    """
    found = f"columns: {', '.join(map(str, table.columns))}"
    signs = [name for sign, name in _SEPARATORS.items() if sign in str(table.columns[0])]
    if len(table.columns) > 1 or not signs:
        return found
    meant = _SEPARATORS[_separator(Path(path))]
    return f"{found}; cells seem to be parted by {signs[0]}, not by {meant}"


def _separator(path):
    return "," if path.suffix == ".csv" else "\t"


def _text_of(path):
    """Return the text of a table."""
    if not path.is_file():
        raise ValueError(f"{path}: the table does not exist")
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: cannot be read as a table (it is no text in UTF-8: byte {error.start}); "
            "save it as UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError(f"{path}: cannot be read as a table (it holds binary data)")
    return text


def _rows(path, text, strip):
    """Return the line on which each row begins, and the cells of the rows."""
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=_separator(path), strict=True)
    lines, rows, line = [], [], 1
    try:
        for row in reader:
            broken = [cell for cell in row if "\n" in cell or "\r" in cell]
            if broken:
                raise ValueError(
                    f"{path}: cannot be read as a table (a cell that begins in line {line} has a "
                    f"line break: {broken[0][:_SHOWN]!r}; is its quotation mark not closed?)"
                )
            cells = [cell.strip() for cell in row] if strip else row
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


def numbers_of(column: pd.Series) -> pd.Series:
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


def with_numbers(table: pd.DataFrame, text_columns: Collection[str] = ()) -> pd.DataFrame:
    """Return a table of text with the columns that hold numbers throughout made numeric.

    Parameters
    ----------
    table : DataFrame
    text_columns : sequence of str
        Columns that stay text whatever they look like, as participant_id, map and sha256 do.

    Returns
    -------
    DataFrame

    Examples
    --------
    >>> t = pd.DataFrame({"participant_id": ["01"], "age": ["31"], "sex": ["f"]}, dtype=object)
    >>> [k.dtype.kind for _, k in with_numbers(t).items()]
    ['O', 'i', 'O']
    """
    table = table.copy()
    for column in table.columns.difference([*_IDENTIFIERS, *text_columns]):
        present = table[column].dropna()
        if len(present) and pd.to_numeric(present, errors="coerce").notna().all():
            table[column] = numbers_of(table[column])
    return table
