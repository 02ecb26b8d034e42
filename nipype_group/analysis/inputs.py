"""Maps and tables of a call, as the files that a run reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.arrayproxy import is_proxy

from nipype_group.tsv import tsv_text
from nipype_group.whole_files import AnyPath, read_bytes, replace_bytes

# Columns of a table of maps that may hold images.
_IMAGE_COLUMNS = ("map", "variance")
_KEY = "participant_id"


def source_words(
    maps: Any,
    participants: Any,
    folder: Path,
    select: Mapping[str, Any] | None = None,
    variance_select: Mapping[str, Any] | None = None,
    variances: Any = None,
) -> list[str]:
    """Return the words of a command that name the maps and the participants of a call.

    Parameters
    ----------
    maps : path, str, image, DataFrame, or sequence of path and image
        As `nipype_group.analyse` takes them.
    participants : path or DataFrame, optional
    folder : Path
        Where images and tables that are in memory are written.
    select, variance_select : dict, optional
        Entities of the maps, and of their variances, in a BIDS folder.
    variances : path, str or image, optional
        Variances of the maps of a pattern, or of a 4D image.

    Returns
    -------
    list of str

    Raises
    ------
    TypeError, ValueError
        Where the maps are of no kind that a run reads.
    """
    if not isinstance(maps, (str, os.PathLike, pd.DataFrame)) and isinstance(maps, Sequence):
        maps, participants = _table_of_maps(maps, participants), None
    words = []
    if isinstance(maps, pd.DataFrame):
        words += ["--maps", _write_table(maps, folder, "maps")]
    elif isinstance(maps, nib.spatialimages.SpatialImage):
        words += ["--stack", _write_image(maps, folder, "stack")]
    elif isinstance(maps, (str, os.PathLike)):
        words += _named_source(os.fspath(maps))
    else:
        raise TypeError(
            f"maps is {_kind(maps)}; give a table, a BIDS folder, a pattern with {{subject}}, a "
            "4D image, or a list of maps"
        )
    if participants is not None:
        if isinstance(participants, pd.DataFrame):
            participants = _write_table(participants, folder, "participants")
        words += ["--participants", str(Path(participants).absolute())]
    for option, chosen in (("--select", select), ("--variance-select", variance_select)):
        if chosen:
            words += [option, *(f"{key}={_values(value)}" for key, value in chosen.items())]
    if variances is not None:
        option = "--variance-stack" if words[0] == "--stack" else "--variance-pattern"
        if isinstance(variances, nib.spatialimages.SpatialImage):
            variances = _write_image(variances, folder, "variances")
        words += [option, os.fspath(variances)]
    return words


def image_path(image: Any, folder: Path, name: str) -> str:
    """Return the path of an image that a path or an image of nibabel gives.

    Raises
    ------
    TypeError
        Where it is neither.
    """
    if isinstance(image, nib.spatialimages.SpatialImage):
        return _write_image(image, folder, name)
    if not isinstance(image, (str, os.PathLike)):
        raise TypeError(f"{name} is {_kind(image)}; give a path, or an image of nibabel")
    return str(Path(image).absolute())


def _kind(value):
    return f"of type {type(value).__name__}"


def _values(value):
    several = isinstance(value, Iterable) and not isinstance(value, str)
    return ",".join(map(str, value)) if several else str(value)


def _named_source(text):
    """Return the option of a source that a text names."""
    if "{" in text and not os.path.lexists(text):
        return ["--pattern", text]
    path = Path(text).absolute()
    if path.is_dir():
        return ["--bids", str(path)]
    return ["--maps" if path.suffix in (".tsv", ".csv") else "--stack", str(path)]


def _table_of_maps(maps, participants):
    """Return a table of maps that are listed in the order of the participants."""
    if participants is None:
        digits = len(str(len(maps)))
        keys = [f"sub-{number:0{digits}d}" for number in range(1, len(maps) + 1)]
        participants = pd.DataFrame({_KEY: keys})
    elif not isinstance(participants, pd.DataFrame):
        raise TypeError(
            f"participants is {_kind(participants)}; with a list of maps give a DataFrame, a row "
            "a map in the same order"
        )
    participants = _with_key(participants, "participants")
    if len(participants) != len(maps):
        raise ValueError(
            f"{len(maps)} maps for {len(participants)} rows of participants; give a row a map, in "
            "the same order"
        )
    if "map" in participants:
        raise ValueError(
            "participants has a column map beside the list of maps: give the table as maps"
        )
    cells = pd.Series(list(maps), index=participants.index, dtype=object)
    return participants.assign(map=cells)


def _with_key(table, name):
    """Return a table whose participants are a column, which may be its index."""
    if _KEY in table:
        return table
    if table.index.name == _KEY:
        return table.reset_index()
    raise ValueError(
        f"{name} has no column {_KEY}; its columns are {', '.join(map(str, table.columns))}"
    )


def _write_table(table, folder, name):
    """Write a table, with the images in it beside it; return its path."""
    table = _with_key(table, name).copy()
    for column in set(_IMAGE_COLUMNS) & set(table):
        digits = len(str(len(table)))
        table[column] = [
            cell
            if cell is None or cell is pd.NA or (isinstance(cell, float) and cell != cell)
            else image_path(cell, folder / name, f"{column}-{row:0{digits}d}")
            for row, cell in enumerate(table[column], start=1)
        ]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        text = tsv_text(table)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return str(_keep(folder / f"{name}.tsv", text.encode()))


def _write_image(image, folder, name):
    """Return the path of an image: its own where it is as in its file, else of one written."""
    own = image.get_filename()
    changed = _changed_values(image)
    if changed is None and own and is_proxy(image.dataobj) and _is_of_file(image, own):
        return str(Path(own).absolute())
    folder.mkdir(parents=True, exist_ok=True)
    if changed is not None or not isinstance(image, nib.Nifti1Image):
        image = nib.Nifti1Image(image.get_fdata() if changed is None else changed, image.affine)
    elif not is_proxy(image.dataobj) and _is_rounded(image):
        image = nib.Nifti1Image(image.dataobj, image.affine, image.header)
        image.set_data_dtype(np.promote_types(image.dataobj.dtype, np.float32))
    return str(_keep(folder / f"{name}.nii", image.to_bytes()))


def _changed_values(image):
    """Return the values of `get_fdata` where they were changed in place, which no file has."""
    if not image.in_memory or image.dataobj.dtype.kind not in "fiub":
        return None
    shown = image.get_fdata(caching="unchanged")
    same = np.array_equal(shown, np.asanyarray(image.dataobj), equal_nan=True)
    return None if same else shown


def _is_rounded(image):
    """Tell whether a header of whole numbers, as that of a mask, would round fractions."""
    return image.dataobj.dtype.kind == "f" and image.get_data_dtype().kind != "f"


def _is_of_file(image, path):
    """Tell whether an image lies where its file says."""
    if not Path(path).is_file():
        return False
    stored = nib.load(path)
    return stored.shape == image.shape and np.array_equal(stored.affine, image.affine)


def _keep(path: AnyPath, content: bytes) -> Path:
    """Write a file where it holds something else, so that a rerun finds what it read."""
    path = Path(path)
    if path.is_file() and read_bytes(path) == content:
        return path
    return replace_bytes(path, content)
