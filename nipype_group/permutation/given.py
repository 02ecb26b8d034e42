"""Shuffles that a text file lists, as FSL writes them."""

import gzip
import io
import zlib
from pathlib import Path

import numpy as np

from nipype_group.whole_files import LARGEST_BYTES, AnyPath, read_bytes


def read_shuffles(path: AnyPath) -> tuple[str, np.ndarray]:
    """Read a table of shuffles, such as randomise -P writes.

    Parameters
    ----------
    path : path
        Text, or text compressed by gzip (.gz): a row for each shuffle, a number for each map,
        split by blanks. All 1 and -1 are sign flips; otherwise each row is a permutation of 1
        to n, row r of the shuffled design being row perm[r].

    Returns
    -------
    kind : {"flip", "permute"}
        What the rows are.
    table : int array, shape (N, n)
        The rows; where the first shuffles anything, a row that does not is put before it.

    Raises
    ------
    ValueError
        Where the file holds no such table; names the file and the row.
    """
    path = Path(path)
    rows = [_integers(path, i + 1, words) for i, words in enumerate(_words(path))]
    if not rows:
        raise ValueError(f"{path}: no shuffles, the file is empty")
    kinds = [_kind(path, i + 1, row) for i, row in enumerate(rows)]
    for i, (row, kind) in enumerate(zip(rows, kinds, strict=True)):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"{path}: row {i + 1} has {len(row)} numbers, row 1 has {len(rows[0])}"
            )
        if kind != kinds[0]:
            names = {"flip": "sign flips", "permute": "a permutation"}
            raise ValueError(f"{path}: row {i + 1} is {names[kind]}, row 1 is {names[kinds[0]]}")
    table, n = np.stack(rows), len(rows[0])
    identity = np.ones(n, dtype=int) if kinds[0] == "flip" else np.arange(1, n + 1)
    if (table[0] != identity).any():
        table = np.vstack([identity, table])
    return kinds[0], table


def _words(path):
    """Return the words of every line that has any."""
    data = read_bytes(path)
    try:
        if path.suffix == ".gz":
            data = _unpacked(path, data)
        lines = data.decode("ascii").splitlines()
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: neither plain text nor text compressed by gzip") from error
    return [words for words in map(str.split, lines) if words]


def _unpacked(path, data):
    """Return what compressed data hold, of which a few bytes may stand for very many."""
    with gzip.open(io.BytesIO(data), "rb") as stream:
        unpacked = stream.read(LARGEST_BYTES + 1)
    if len(unpacked) > LARGEST_BYTES:
        raise ValueError(
            f"{path}: holds more than the {LARGEST_BYTES:,} bytes of the largest table read"
        )
    return unpacked


def _integers(path, number, words):
    try:
        row = np.array(words, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: row {number} is not all numbers ({error})") from error
    if not (row == np.round(row)).all() or not (np.abs(row) <= 2.0**53).all():
        raise ValueError(f"{path}: row {number} is not all integers")
    return row.astype(np.int64)


def _kind(path, number, row):
    if (np.abs(row) == 1).all():
        return "flip"
    if (np.sort(row) == np.arange(1, len(row) + 1)).all():
        return "permute"
    raise ValueError(
        f"{path}: row {number} is neither all 1 and -1 nor a permutation of 1 to {len(row)}"
    )
