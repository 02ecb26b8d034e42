"""What is known of a statistic that another package left on disk, before its values are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nipype_group.images import IMAGE_SUFFIXES
from nipype_group.stats.decompositions import decompose
from nipype_group.whole_files import UnusableFileError, inside, read_bytes

if TYPE_CHECKING:
    import pandas as pd

# Analyze and AFNI keep header and values in two files.
_OTHER_HALVES = {".img": (".hdr",), ".HEAD": (".BRIK", ".BRIK.gz")}

# Columns of corrected p, by the name that FSL and PALM share for what is corrected.
CORRECTED_COLUMNS = {
    "vox": "p_fwe_voxel",
    "clustere": "p_fwe_extent",
    "clusterm": "p_fwe_mass",
    "tfce": "p_fwe_tfce",
}


@dataclass(frozen=True)
class FoundStatistic:
    """One statistic map and the files that belong to it.

    Parameters
    ----------
    name : str
        The contrast.
    package : str
        What made it: FSL, SPM, PALM, AFNI, or what a data set says of itself.
    stat_type : {"t", "F", "z"}
        Statistic of the map.
    stat_file : Path
        The map.
    volume : int, optional
        Volume of the map where its file holds several.
    dof : tuple of float
        (dof,) of t, (numerator, denominator) of F; empty where unknown. Of z, those of the t that
        it was made of, or none.
    denominator_dof : float, optional
        The second of them, where the first is unknown.
    dof_file : Path, optional
        Map of the degrees of freedom, where they vary by voxel; of F two volumes.
    z_file : Path, optional
        z of the statistic as the package computed it.
    converted_from : {"", "r", "d", "p", "1-p", "logp"}
        What the map holds, where t (of a correlation, of Cohen's d) or z (of p) follow from it.
    p_sides : {"", "one", "two"}
        Sides that p looks at, where z was made of p; the one side is that above 0.
    sign_file : Path, optional
        Map with the sign of z that was made of a two-sided p; default: the map of the effect.
    group_sizes : tuple of int
        Number of maps, or of those of both groups, where t was made of d.
    effect_file, variance_file : Path, optional
        Effect of a t contrast and its variance, in the units of the input maps.
    effect_volume : int, optional
        Volume of the effect where its file holds several.
    mask_file : Path, optional
        Voxels analysed.
    corrected : dict
        Column (``p_fwe_voxel``, ``p_fwe_extent``, ``p_fwe_mass``, ``p_fwe_tfce``) to the file of
        corrected p and its scale (``1-p``, ``p`` or ``-log10 p``).
    corrected_tail : {"positive", "two-sided"}
        Sides that the corrected p look at.
    smoothness : dict
        What was found of: ``fwhm_mm`` and ``fwhm_voxels`` (three each), ``resels`` (R of
        dimension 0 to 3), ``dlh`` (per voxel), ``resel_voxels`` (voxels a resel), ``voxels``.
    notes : tuple of str
        What one has to know to read it.
    """

    name: str
    package: str
    stat_type: str
    stat_file: Path
    volume: int | None = None
    dof: tuple = ()
    denominator_dof: float | None = None
    dof_file: Path | None = None
    z_file: Path | None = None
    converted_from: str = ""
    p_sides: str = ""
    sign_file: Path | None = None
    group_sizes: tuple = ()
    effect_file: Path | None = None
    effect_volume: int | None = None
    variance_file: Path | None = None
    mask_file: Path | None = None
    corrected: dict = field(default_factory=dict)
    corrected_tail: str = "positive"
    smoothness: dict = field(default_factory=dict)
    notes: tuple = ()


@dataclass(frozen=True)
class FoundResults:
    """The statistics of one analysis and what its files say of the model.

    Parameters
    ----------
    package : str
        What made them.
    statistics : tuple of FoundStatistic
        At least one.
    design : tuple, optional
        Column names, and the matrix, shape (n, p).
    contrasts : dict, optional
        Name to weights, shape (k, p).
    n_maps : int, optional
        Maps that went in.
    notes : tuple of str
        Plain sentences on conventions and on what could not be taken.
    """

    package: str
    statistics: tuple
    design: tuple | None = None
    contrasts: dict | None = None
    n_maps: int | None = None
    notes: tuple = ()


class Images(Mapping):
    """Images of a folder of results by name; one that is asked for is seen to lie inside.

    Images that no result is made of may lie elsewhere.

    Parameters
    ----------
    paths : dict of str to Path
    root : path
        The folder of results, which they must not lead out of.
    """

    def __init__(self, paths, root):
        self._paths, self._root = paths, root

    def __getitem__(self, name):
        return own_image(self._paths[name], self._root)

    def __iter__(self):
        return iter(self._paths)

    def __len__(self):
        return len(self._paths)


def own_image(path: Path, root: Path) -> Path:
    """Return the path of an image, whose files are files and stay inside a folder of results.

    Raises
    ------
    UnusableFileError
        Naming the file of it that leads out or is none.
    """
    beside = (path.with_suffix(suffix) for suffix in _OTHER_HALVES.get(path.suffix, ()))
    for file in (path, *beside):
        if not inside(file, root).is_file() and (file == path or file.exists()):
            raise UnusableFileError(file, "is no file; move it away")
    return path


def images_in(folder: Path, root: Path, start: str = "") -> Images:
    """Return the images of a folder by name without suffix, sorted; .nii before .nii.gz.

    Parameters
    ----------
    folder : path
        Where to look; an absent folder holds none.
    root : path
        The folder of results that was given.
    start : str
        How names begin.

    Returns
    -------
    Images
    """
    folder = Path(folder)
    found: dict[str, Path] = {}
    for suffix in IMAGE_SUFFIXES:
        for path in folder.glob(f"*{suffix}"):
            if path.name.startswith(start):
                found.setdefault(path.name.removesuffix(suffix), path)
    return Images(dict(sorted(found.items())), root)


def residual_dof(matrix: np.ndarray | None) -> tuple[float, ...]:
    """Return the residual degrees of freedom of a design as a tuple; empty where there is none.

    Examples
    --------
    >>> residual_dof(np.ones((30, 1)))
    (29.0,)
    >>> residual_dof(None)
    ()
    """
    if matrix is None:
        return ()
    return (float(len(matrix) - decompose(matrix).rank),)


def without_row_numbers(
    columns: Sequence[str] | pd.Index, matrix: np.ndarray
) -> tuple[tuple[str, ...], np.ndarray, str | None]:
    """Return columns and matrix without a first column that numbers the rows, and its name.

    pandas writes one where a table is saved with its index.

    Parameters
    ----------
    columns : sequence of str
    matrix : array, shape (n, p)

    Returns
    -------
    columns : tuple of str
    matrix : array, shape (n, p) or (n, p - 1)
    name : str or None
        Name of the column that is left out.

    Examples
    --------
    >>> without_row_numbers(["index", "age"], np.array([[0, 30.0], [1, 25.0]]))
    (('age',), array([[30.],
           [25.]]), 'index')
    """
    columns = tuple(columns)
    named = columns and columns[0] in ("index", "Unnamed: 0")
    if named and len(columns) > 1 and np.array_equal(matrix[:, 0], np.arange(len(matrix))):
        return columns[1:], matrix[:, 1:], columns[0]
    return columns, matrix, None


def row_numbers_note(name: str) -> str:
    """Say that a column of a design numbers the rows."""
    return f"The column {name} of the design numbers its rows, and is no regressor."


def numbers_in(path: Path, root: Path) -> np.ndarray | None:
    """Return the numbers of a text file, one array; None where it is absent or holds others."""
    text = text_of(path, root)
    try:
        return None if text is None else np.array(text.replace(",", " ").split(), dtype=float)
    except ValueError:
        return None


def text_of(path: Path, root: Path) -> str | None:
    """Return the text of a file of results that were left on disk; None where it is absent.

    Packages write UTF-8, Latin-1 or what the machine was set to: what is no UTF-8 is Latin-1.
    """
    try:
        content = read_bytes(path, root)
    except FileNotFoundError:
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")
