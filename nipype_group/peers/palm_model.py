"""What a folder of PALM tells of the model: options of the run, design and contrasts."""

import io
import re
from itertools import zip_longest
from pathlib import Path

import numpy as np

from nipype_group.design.fsl import read_fsl_matrix
from nipype_group.peers.found import text_of
from nipype_group.stats.decompositions import decompose


def read_options(path: Path, root: Path) -> dict[str, list[str]] | None:
    """Return the options of a run by name, with the values of each; None without the file.

    Parameters
    ----------
    path : Path
        ``PREFIX_palmconfig.txt``.
    root : Path
        Folder of the results, which the file must not lead out of.

    Returns
    -------
    dict of str to list of str, or None
        The value of ``-f`` at a position belongs to the ``-t`` at the same one, and is empty
        where that has no F contrasts.
    """
    text = text_of(path, root)
    if text is None:
        return None
    options: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.split()
        if words and re.match(r"-[A-Za-z]", words[0]):
            values = options.setdefault(words[0], [])
            if words[0] == "-f":
                values += [""] * (len(options.get("-t", [])) - 1 - len(values))
            values.append(" ".join(words[1:]))
    return options


def read_palm_design(
    folder: Path, options: dict[str, list[str]] | None, parts: str
) -> np.ndarray | None:
    """Return the design, where the file that the options name is found; else None.

    Parameters
    ----------
    folder : Path
        Where PALM wrote.
    options : dict or None
        As `read_options` gives them.
    parts : str
        Modality, design and contrast of a map, as in ``_m1_d1_c2``.
    """
    given = (options or {}).get("-d", [])
    index = (_number("d", parts) or 1) - 1
    return _matrix_of(folder, given[index]) if index < len(given) else None


def rank_of_contrast(
    folder: Path, options: dict[str, list[str]] | None, parts: str, matrix: np.ndarray | None
) -> int | None:
    """Return the rank of the F contrast of a map, its numerator degrees of freedom; else None.

    PALM numbers the contrasts of a design by the rows of ``-t``, then those of ``-f``, without
    those of rank 0 and those that ``-tonly`` or ``-fonly`` leave out, from ``-conskipcount`` on. A
    design of several columns without contrasts gets one F, of all its columns.

    Parameters
    ----------
    folder : Path
        Where PALM wrote; files that the options name are read from here alone.
    options : dict or None
        As `read_options` gives them.
    parts : str
        Modality, design and contrast of a map, as in ``_m1_d1_c2``.
    matrix : array or None
        Design of the map.
    """
    if options is None or "-con" in options or "-conlist" in options:
        return None
    given = options.get("-t", [])
    if not given:
        return None if matrix is None else matrix.shape[1]
    index = (_number("d", parts) or 1) - 1 if len(given) > 1 else 0
    pairs = list(zip_longest(given, options.get("-f", []), fillvalue=""))
    rows, tests = (_matrix_of(folder, name) for name in (*pairs, ("", ""))[min(index, len(pairs))])
    if rows is None or tests is None or tests.shape[1] != len(rows):
        return None
    contrasts = [rows[i : i + 1] for i in range(len(rows))]
    contrasts += [rows[test != 0] for test in tests]
    ranks = [decompose(c).rank if c.any() else 0 for c in contrasts]
    left_out = {0} | ({1} if "-fonly" in options else set())
    ranks = [r for r in ranks if r not in left_out and not (r > 1 and "-tonly" in options)]
    number = _number("c", parts)
    if number is None:
        # Names have no number where there is one contrast.
        number = 1 if len(ranks) == 1 else 0
    else:
        number -= _skipped(options)
    if not 0 < number <= len(ranks):
        return None
    rank = ranks[number - 1]
    # PALM makes a t of a contrast of rank 1: what is found is not the contrast of an F.
    return rank if rank > 1 else None


def _skipped(options):
    text = options.get("-conskipcount", ["0"])[-1]
    return int(text) if text.isdecimal() else 0


def _number(letter, parts):
    """Return the number of a part of a name, None where the name has none.

    Examples
    --------
    >>> _number("c", "_m1_d2_c13"), _number("d", "_c1")
    (13, None)
    """
    match = re.search(rf"_{letter}(\d+)", parts)
    return int(match[1]) if match else None


def _matrix_of(folder, name):
    """Return the matrix of a file that the options name; None where it is not in the folder."""
    if not name:
        return None
    # Where it ran from is unknown, and what lies elsewhere may be anybody's.
    found = (_matrix_in(path, folder) for path in (folder / name, folder / Path(name).name))
    return next((matrix for matrix in found if matrix is not None), None)


def _matrix_in(path, folder):
    """Return the matrix of a file; None where it is none, or lies elsewhere."""
    try:
        text = text_of(path, folder)
        if text is None or not text.strip():
            return None
        if path.suffix == ".csv":
            return np.loadtxt(io.StringIO(text), delimiter=",", ndmin=2)
        return read_fsl_matrix(path)
    except ValueError:
        return None
