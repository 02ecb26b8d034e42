"""Maps and tables of a call, as the files that a run reads."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.arrayproxy import is_proxy

from nipype_group.design.extent import factors_of_model
from nipype_group.design.sources import escape_pattern
from nipype_group.reporting.records.record import ProvenanceRecord
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.settings.files import ALTERNATIVES, with_places
from nipype_group.tsv import tsv_text
from nipype_group.whole_files import AnyPath, read_bytes, replace_bytes

# Columns of a table of maps that may hold images.
_IMAGE_COLUMNS = ("map", "variance")
_KEY = "participant_id"
_ROWS_OF = {"maps": "map", "participants": "participant"}
# Kinds of cells that a table as text does not tell, as pandas names them.
_TIMES = ("datetime64", "datetime", "date", "timedelta64", "timedelta", "time", "period")
# Inputs of a record that are one file each, and their options.
_OPTIONS = {
    "maps_table": "--maps",
    "stack_file": "--stack",
    "variance_stack_file": "--variance-stack",
    "participants": "--participants",
    "mask_file": "--mask",
    "search_volume": "--search-volume",
    "design_table": "--design",
    "shuffles_file": "--shuffles",
}


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
            f"maps is {type_of(maps)}; give a table, a BIDS folder, a pattern with {{subject}}, a "
            "4D image, or a list of maps"
        )
    if participants is not None:
        if isinstance(participants, pd.DataFrame):
            participants = _write_table(participants, folder, "participants")
        elif not isinstance(participants, (str, os.PathLike)):
            raise TypeError(
                f"participants is {type_of(participants)}; give a DataFrame, or a table as a file"
            )
        words += ["--participants", str(Path(participants).absolute())]
    for name, chosen in (("select", select), ("variance_select", variance_select)):
        if chosen is not None and not isinstance(chosen, Mapping):
            raise TypeError(
                f'{name} is {type_of(chosen)}; give a dict of entities, as {{"stat": "effect"}}'
            )
        if chosen:
            option = f"--{name.replace('_', '-')}"
            words += [option, *(f"{key}={_values(value)}" for key, value in chosen.items())]
    if variances is not None:
        option = "--variance-stack" if words[0] == "--stack" else "--variance-pattern"
        if isinstance(variances, nib.spatialimages.SpatialImage):
            variances = _write_image(variances, folder, "variances")
        elif not isinstance(variances, (str, os.PathLike)):
            raise TypeError(f"variances is {type_of(variances)}; give a pattern, or a 4D image")
        words.append(f"{option}={os.fspath(variances)}")
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
        raise TypeError(f"{name} is {type_of(image)}; give a path, or an image of nibabel")
    return str(Path(image).absolute())


def type_of(value: Any) -> str:
    """Return what a value is, in the words of errors."""
    return f"of type {type(value).__name__}"


def _values(value):
    several = isinstance(value, Iterable) and not isinstance(value, str)
    return ",".join(map(str, value)) if several else str(value)


def _named_source(text):
    """Return the option of a source that a text names."""
    if "{" in text and not os.path.lexists(text):
        return [f"--pattern={text}"]
    path = Path(text).absolute()
    if path.is_dir():
        return ["--bids", str(path)]
    return ["--maps" if path.suffix in (".tsv", ".csv") else "--stack", str(path)]


def _table_of_maps(maps, participants):
    """Return a table of maps that are listed in the order of the participants."""
    if len(maps) == 0:
        raise ValueError("maps is empty; give a map of every participant")
    if participants is None:
        digits = len(str(len(maps)))
        keys = [f"sub-{number:0{digits}d}" for number in range(1, len(maps) + 1)]
        participants = pd.DataFrame({_KEY: keys})
    elif not isinstance(participants, pd.DataFrame):
        raise TypeError(
            f"participants is {type_of(participants)}; with a list of maps give a DataFrame, a "
            "row a map in the same order"
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
    if _KEY in table.index.names:
        return table.reset_index()
    raise ValueError(
        f"{name} has no column {_KEY}; its columns are {', '.join(map(str, table.columns))}"
    )


def _write_table(table, folder, name):
    """Write a table, with the images in it beside it; return its path."""
    table = _with_key(table, name).copy()
    if table.empty:
        raise ValueError(f"{name} has no row; give one for every {_ROWS_OF[name]}")
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


@dataclass(frozen=True)
class Unlike:
    """Columns of tables in memory that a model would take for something else than they are.

    Parameters
    ----------
    times : tuple of str
        Columns of dates and times, whose text a model would take for names.
    factors : tuple of str
        Columns of categories that are numbers, which a model would take for numbers.
    """

    times: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()

    @classmethod
    def of(cls, *tables: Any) -> Unlike:
        """Find them in those of the arguments that are tables."""
        times, factors = [], []
        for table in tables:
            for name, column in table.items() if isinstance(table, pd.DataFrame) else ():
                if isinstance(column.dtype, pd.CategoricalDtype):
                    if pd.api.types.is_numeric_dtype(column.cat.categories.dtype):
                        factors.append(str(name))
                elif pd.api.types.infer_dtype(column, skipna=True) in _TIMES:
                    times.append(str(name))
        return cls(tuple(times), tuple(factors))

    def check(self, settings: AnalysisSettings, files: Mapping[str, Any]) -> None:
        """See that a model uses none of them as what it is not.

        Raises
        ------
        ValueError
            Naming the column, and what to do.
        """
        used = [*(settings.variables or ())]
        for name in self.times:
            if name in used:
                raise ValueError(
                    f"column {name} holds dates or times, which a model takes for names of "
                    "levels; give numbers, as years or days since the first, or names as text"
                )
        if not any(name in used for name in self.factors) or settings.model is None:
            return
        _, numeric = factors_of_model(dict(files), settings.model)
        for name in self.factors:
            if name in numeric:
                raise ValueError(
                    f"column {name} is categorical and its categories are numbers, which a model "
                    f"takes for numbers; write C({name}) for levels, or give a column of numbers"
                )


def settings_file(named: Mapping[str, Any], alternatives: Any, folder: Path) -> str:
    """Write settings and their alternatives as the command reads them; return the path.

    Parameters
    ----------
    named : dict
        Settings by name that all alternatives share.
    alternatives : dict, or sequence of dict
    folder : Path

    Raises
    ------
    TypeError
        Where a value is none that a file of settings holds.
    """
    if isinstance(alternatives, (str, bytes)) or not isinstance(alternatives, (Mapping, Sequence)):
        raise TypeError(
            f"alternatives is {type_of(alternatives)}; give a dict of lists, or a list of dicts"
        )
    shared = {n: v for n, v in named.items() if v is not None and not _is_empty(v)}
    content = _plain(with_places(shared, Path.cwd()), "settings")
    content[ALTERNATIVES] = _plain(_placed(alternatives), "alternatives")
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    return str(_keep(folder / "multiverse.json", text.encode()))


def _is_empty(value):
    return isinstance(value, tuple) and not value


def _placed(alternatives):
    """Return alternatives with absolute paths in the place of names of files."""
    here = Path.cwd()
    if not isinstance(alternatives, Mapping):
        return [
            with_places(one, here) if isinstance(one, Mapping) else one for one in alternatives
        ]
    placed = {}
    for axis, given in alternatives.items():
        if isinstance(given, Mapping):
            given = {
                choice: with_places(own, here) if isinstance(own, Mapping) else own
                for choice, own in given.items()
            }
        elif isinstance(given, (list, tuple)):
            each = (one if isinstance(one, (list, tuple)) else [one] for one in given)
            own = [with_places({axis: one}, here)[axis] for one in each]
            pairs = zip(given, own, strict=True)
            given = [new if isinstance(old, (list, tuple)) else new[0] for old, new in pairs]
        placed[axis] = given
    return placed


def _plain(value, name):
    """Return a value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each, name) for key, each in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple, range)):
        return [_plain(each, name) for each in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}: {value} is no number that a setting holds")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"{name}: {value!r} is {type_of(value)}, which no setting holds")


def words_of_record(record: ProvenanceRecord) -> tuple[list[str], dict[str, Any]]:
    """Return the words that name the inputs of a record, and its settings with their files.

    Parameters
    ----------
    record : ProvenanceRecord
    """
    source, top = record.content["Source"], record.top
    by_role = {item.role: str(item.path) for item in reversed(record.inputs)}
    options = dict(_OPTIONS)
    if "participants" not in source:
        # Those of a data set are found in it.
        options.pop("participants")
    words = [
        word for r, option in options.items() if r in by_role for word in (option, by_role[r])
    ]
    if "bids_dir" in source:
        words += ["--bids", _at(source["bids_dir"], top)]
    for name in ("pattern", "variance_pattern"):
        if name in source:
            words.append(f"--{name.replace('_', '-')}={_pattern_at(source[name], top)}")
    for name in ("select", "variance_select"):
        if source.get(name):
            words += [f"--{name.replace('_', '-')}", *source[name]]
    for name, place in source.get("map_covariates", {}).items():
        at = _at if "stack_file" in by_role else _pattern_at
        words += ["--map-covariate", name if place is None else f"{name}={at(place, top)}"]
    values = dict(record.content["Settings"])
    if "blocks" in by_role:
        values["blocks"] = (by_role["blocks"],)
    if "figure_anatomy" in by_role:
        values["figure_anatomy"] = by_role["figure_anatomy"]
    if values.get("atlases") is not None:
        numbered = enumerate(values["atlases"], 1)
        values["atlases"] = tuple(by_role.get(f"atlas {n}", name) for n, name in numbered)
    return words, {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _at(place, top):
    return os.path.normpath(top / place)


def _pattern_at(pattern, top):
    return os.path.normpath(f"{escape_pattern(top)}/{pattern}")
