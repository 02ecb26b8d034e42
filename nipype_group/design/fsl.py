"""FSL's text matrices: designs, groups, contrasts and F tests."""

from pathlib import Path

import numpy as np


def read_fsl_matrix(path):
    """Read the matrix of an FSL .mat or .con file, shape (rows, columns).

    Raises
    ------
    ValueError
        Where the file holds no rectangular matrix after a line /Matrix.
    """
    lines = Path(path).read_text().splitlines()
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


def write_fsl_matrix(path, matrix):
    """Write a design (.mat) or groups (.grp); returns the path."""
    heights = "\t".join(f"{v:.6e}" for v in np.ptp(matrix, axis=0))
    return _write(path, matrix, "Points", [f"/PPheights\t{heights}"])


def write_fsl_contrasts(directory, contrasts):
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
