"""FSL's text matrices: designs, groups, contrasts and F tests."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nipype_group.design.contrasts import Contrast, contrast_label
from nipype_group.whole_files import AnyPath, read_text


def read_fsl_matrix(path: AnyPath) -> np.ndarray:
    """Read the matrix of an FSL .mat or .con file, shape (rows, columns).

    Raises
    ------
    ValueError
        Where the file holds no rectangular matrix after a line /Matrix.
    """
    lines = read_text(path).splitlines()
    try:
        start = next(i for i, line in enumerate(lines) if line.strip() == "/Matrix")
        matrix = np.array(
            [[float(v) for v in line.split()] for line in lines[start + 1 :] if line.strip()]
        )
    except (StopIteration, ValueError) as error:
        raise ValueError(
            f"{path}: no FSL matrix (a line /Matrix, then rows of numbers)"
        ) from error
    if matrix.ndim != 2:
        raise ValueError(f"{path}: the matrix is empty")
    return matrix


def read_contrast_names(path: AnyPath) -> dict[int, str]:
    """Return the names of the contrasts of an FSL .con file, number (from 1) to name.

    Contrasts without a name are left out.
    """
    text = read_text(path)
    found = re.findall(r"^\s*/ContrastName(\d+)[ \t]+(\S.*)$", text, re.MULTILINE)
    names = {int(number): name.strip().strip('"').strip() for number, name in found}
    return {number: name for number, name in names.items() if name}


def fsl_contrast_definitions(con_file: AnyPath) -> list[str]:
    """Turn FSL's contrasts into definitions NAME=[weights].

    A contrast keeps its name; one without a name is called c1, c2, ..., and where a name cannot be
    told from an earlier one by its letters and digits, this is put behind it.

    Parameters
    ----------
    con_file : path
        .con, a row a t contrast.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        Where the file is none.
    """
    names = read_contrast_names(con_file)
    found: dict[str, str] = {}
    for number, text in enumerate(_weight_lists(con_file), start=1):
        # What follows = is the expression.
        name = " ".join(names.get(number, "").replace("=", " ").split())
        found[_free_name(name, f"c{number}", found)] = text
    return [f"{name}=[{text}]" for name, text in found.items()]


def fsl_f_definitions(fts_file: AnyPath, con_file: AnyPath) -> list[str]:
    """Turn FSL's F tests into definitions f1=[weights; weights], f2=...

    Parameters
    ----------
    fts_file : path
        .fts, a row an F test: 1 for each contrast that is in it.
    con_file : path
        The contrasts.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        Where a file is none, or the F tests are over another number of contrasts.
    """
    tests, weights, definitions = read_fsl_matrix(fts_file), _weight_lists(con_file), []
    if tests.shape[1] != len(weights):
        raise ValueError(
            f"{fts_file} is over {tests.shape[1]} contrasts, {con_file} has {len(weights)}"
        )
    for number, members in enumerate(tests, start=1):
        own = [weights[i] for i in np.flatnonzero(members)]
        if not own:
            raise ValueError(f"{fts_file}: F test {number} has no contrast")
        # The ; behind a single row makes it an F test too.
        text = "; ".join(own) + (";" if len(own) == 1 else "")
        definitions.append(f"f{number}=[{text}]")
    return definitions


def _weight_lists(con_file):
    return [", ".join(f"{v:.16g}" for v in row) for row in read_fsl_matrix(con_file)]


def _free_name(name, number, others):
    """Return a name whose letters and digits are those of none of the others."""
    used = {"", *map(contrast_label, others)}
    name = name or number
    while contrast_label(name) in used:
        name = f"{name} {number}"
    return name


def write_fsl_matrix(path: AnyPath, matrix: np.ndarray) -> str:
    """Write a design (.mat) or groups (.grp); returns the path."""
    heights = "\t".join(f"{v:.6e}" for v in np.ptp(matrix, axis=0))
    return _write(path, matrix, "Points", [f"/PPheights\t{heights}"])


def write_fsl_contrasts(directory: AnyPath, contrasts: Sequence[Contrast]) -> tuple[str, str]:
    """Write the rows of all contrasts as design.con, and which of them form an F as design.fts.

    Parameters
    ----------
    directory : path
        Where the files go.
    contrasts : list of Contrast
        The contrasts.

    Returns
    -------
    tuple of str
        Both paths.
    """
    # FSL's files have no conjunctions; easythresh_conj makes them of z maps.
    contrasts = [c for c in contrasts if not c.conjunction]
    rows = np.vstack([c.weights for c in contrasts])
    names = [
        c.name if c.test == "t" else f"{c.name} row {i + 1}"
        for c in contrasts
        for i in range(len(c.weights))
    ]
    owner = np.repeat(np.arange(len(contrasts)), [len(c.weights) for c in contrasts])
    members = np.array([owner == i for i, c in enumerate(contrasts) if c.test == "F"], dtype=int)
    titles = [f"/ContrastName{i + 1}\t{name}" for i, name in enumerate(names)]
    directory = Path(directory)
    return (
        _write(directory / "design.con", rows, "Contrasts", titles),
        _write(directory / "design.fts", members.reshape(-1, len(rows)), "Contrasts", []),
    )


def _write(path, matrix, rows_are, header):
    rows, columns = matrix.shape
    lines = [*header, f"/NumWaves\t{columns}", f"/Num{rows_are}\t{rows}", "", "/Matrix"]
    lines += ["\t".join(f"{v:.16g}" for v in row) for row in matrix]
    path = Path(path).absolute()
    path.write_text("\n".join(lines) + "\n")
    return str(path)
