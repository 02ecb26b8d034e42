"""Files as first levels leave them: maps merged in one 4D image, and what a map says it is."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nipype_group.design.fsl import read_contrast_names
from nipype_group.design.participants.map_covariates import split_covariate
from nipype_group.design.sources import MapEntry, read_volumes_table
from nipype_group.images import Grid, MapError, open_image, write_volume
from nipype_group.whole_files import AnyPath, UnusableFileError, read_text

# As spm_contrasts describes its images: "SPM contrast - 1: faces > houses", "Contrast 1: ...",
# "SPM{T_[190.0]} - contrast 1: ...".
_SPM_CONTRAST = re.compile(r"contrast\s*-?\s*\d+\s*:\s*(.*\S)", re.IGNORECASE)
# What SPM's smoothing puts behind.
_SPM_SMOOTHED = re.compile(r"\s*-\s*s?conv\s*\(.*$", re.IGNORECASE)
_ALL_SESSIONS = " - all sessions"


def split_merged(path: AnyPath, directory: AnyPath, stem: str = "vol") -> list[str]:
    """Write every volume of a 4D image as a map of its own.

    Parameters
    ----------
    path : path
        4D image, a map a volume, as ``fslmerge -t`` makes it for flameo and randomise.
    directory : path
        Where the maps go: vol0000.nii, vol0001.nii, ... (float32, values as they are).
    stem : str
        How their names start.

    Returns
    -------
    list of str

    Raises
    ------
    MapError
        Where the image is unreadable or not 4D.
    """
    image = _open_merged(path)
    space = image.space
    return [
        write_volume(
            Path(directory, space.file_name(f"{stem}{i:04d}")), image.values(i, np.float32), space
        )
        for i in range(image.n_maps)
    ]


def _open_merged(path):
    image = open_image(path)
    if not image.lists_maps:
        raise MapError(path, f"its shape is {image.shape}; 4D is expected, a map a volume")
    return image


def listed_volumes(
    path: Any, table: Any = None, variables: Sequence[str] | None = None
) -> list[MapEntry]:
    """Return the volumes of a 4D image as maps from its header and table, as `find_merged_maps`.

    Nothing is written: the path of each is that of the image.
    """
    return _entries_of_volumes(path, [path] * _open_merged(path).n_maps, table, variables)


def find_merged_maps(
    path: AnyPath,
    directory: AnyPath,
    table: AnyPath | None = None,
    variance_file: AnyPath | None = None,
    variables: Sequence[str] | None = None,
    map_covariates: Sequence[str] = (),
) -> list[MapEntry]:
    """Take the volumes of a 4D image for maps.

    Parameters
    ----------
    path : path
        4D image of effects.
    directory : path
        Where the volumes go as maps.
    table : path, optional
        Table of the volumes, see `read_volumes_table`; without it they are numbered from 1.
    variance_file : path, optional
        4D image of the effects' variances.
    variables : sequence of str, optional
        Columns of the table that the model uses; without it it may use all.
    map_covariates : sequence of str
        NAME=4D of every covariate that is a map, in the order of the maps.

    Returns
    -------
    list of MapEntry

    Raises
    ------
    ValueError
        Where the images and the table have different numbers of volumes.
    """
    maps = split_merged(path, directory)
    variances: Sequence[Path | None] = [None] * len(maps)
    if variance_file is not None:
        variances = [Path(v) for v in split_merged(variance_file, directory, "variance")]
        if len(variances) != len(maps):
            raise MapError(
                variance_file, f"{len(variances)} volumes of variances for {len(maps)} of {path}"
            )
    entries = _entries_of_volumes(path, maps, table, variables)
    entries = [replace(e, variance=own) for e, own in zip(entries, variances, strict=True)]
    for number, item in enumerate(map_covariates):
        name, place = split_covariate(item)
        check_merged_covariate(name, place, len(maps), path)
        own = split_merged(str(place), directory, f"covariate{number}_")
        entries = [
            replace(e, map_covariates={**e.map_covariates, name: Path(p)})
            for e, p in zip(entries, own, strict=True)
        ]
    return entries


def check_merged_covariate(name: str, place: AnyPath | None, n_maps: int, path: AnyPath) -> None:
    """Refuse a 4D image of a covariate that has not as many volumes as there are maps.

    Parameters
    ----------
    name : str
        Of the covariate.
    place : path or None
        The image, where one is given.
    n_maps : int
    path : path
        4D image of the maps.

    Raises
    ------
    ValueError
    """
    if place is None:
        raise ValueError(f"covariate {name}: write {name}=4D, a volume a map of {path}")
    n_own = _open_merged(place).n_maps
    if n_own != n_maps:
        raise MapError(place, f"{n_own} volumes of the covariate {name} for {n_maps} of {path}")


def _entries_of_volumes(path, maps, table, variables):
    """Return the entries of maps that are the volumes of a 4D image."""
    if table is None:
        width = len(str(len(maps)))
        rows: list[tuple[str, dict, dict]] = [
            (f"{i + 1:0{width}d}", {}, {}) for i in range(len(maps))
        ]
    else:
        rows = read_volumes_table(table, variables)
    if len(rows) != len(maps):
        raise MapError(path, f"{len(maps)} volumes; {table} has {len(rows)} rows, not one each")
    return [
        MapEntry(label, Path(a_map), f"{Path(path).name}[{i}]", conditions, None, covariates)
        for i, (a_map, (label, conditions, covariates)) in enumerate(zip(maps, rows, strict=True))
    ]


# Suffixes of the files that are one image, and of compressed ones.
_PARTS_OF_IMAGES = ((".img", ".hdr", ".mat"), (".head", ".brik"))
_PACKED = (".gz", ".bz2")


def files_beside(path: AnyPath) -> list[Path]:
    """Return what is read beside a map: the other half of its image, what FEAT or SPM tell.

    Parameters
    ----------
    path : path
        The map.

    Returns
    -------
    list of Path
        The files that exist.
    """
    path = Path(path)
    beside = list(_other_parts(path))
    if path.name.startswith("cope"):
        folders = (path.parent.parent, path.parent.parent.parent)
        beside += [folder / f"design.{end}" for folder in folders for end in ("con", "lev")]
    if path.name.startswith("ResMS."):
        beside.append(path.with_name("SPM.mat"))
    return [file for file in beside if file.is_file()]


def _other_parts(path):
    """Give where the other files of an image may lie, however their names are spelled."""
    packed = path.suffix.lower() in _PACKED
    bare = path.with_suffix("") if packed else path
    for parts in _PARTS_OF_IMAGES:
        if bare.suffix.lower() in parts:
            for part in parts:
                for suffix in (part, part.upper()):
                    for end in ("", *_PACKED):
                        other = bare.with_suffix(suffix)
                        other = other.with_name(f"{other.name}{end}")
                        if other != path:
                            yield other


def contrast_name(path: AnyPath) -> str | None:
    """Return the first level's name of the contrast that a map is of, None where none is told.

    SPM writes it into the header of con and spmT images. FEAT writes it beside its copes: into
    design.con of the folder, and, where that is of a second level, design.lev.

    Examples
    --------
    >>> contrast_name("sub-01/effect.nii.gz") is None
    True
    """
    path = Path(path)
    return _feat_contrast(path) or _spm_contrast(path)


def _spm_contrast(path):
    try:
        described = open_image(path, positioned=False, kind=Grid).header["descrip"].item()
    except (MapError, KeyError, ValueError, TypeError):
        # An unreadable map is found where its values are read.
        return None
    found = _SPM_CONTRAST.search(described.decode("latin-1"))
    return _SPM_SMOOTHED.sub("", found.group(1)).strip() or None if found else None


def registered_elsewhere(path: AnyPath) -> str:
    """Return a hint where a map is a cope that FEAT has not registered, else nothing.

    Examples
    --------
    >>> registered_elsewhere("sub-01.feat/stats/cope1.nii.gz")
    "; FEAT's copes in standard space are those in reg_standard/stats"
    >>> registered_elsewhere("sub-01.feat/reg_standard/stats/cope1.nii.gz")
    ''
    """
    folder, _ = _feat_cope(Path(path))
    if folder is None or folder.name == "reg_standard":
        return ""
    return "; FEAT's copes in standard space are those in reg_standard/stats"


def _feat_cope(path):
    """Return the folder whose stats a cope is in, and its number; None of other maps."""
    number = re.match(r"cope(\d+)\.(?:nii|img|hdr)", path.name)
    if not number or path.parent.name != "stats":
        return None, None
    return path.parent.parent, int(number.group(1))


def _feat_contrast(path):
    folder, number = _feat_cope(path)
    if folder is None:
        return None
    folder = folder.parent if folder.name == "reg_standard" else folder
    try:
        name = read_contrast_names(folder / "design.con").get(number)
        lower = folder / "design.lev"
        return ": ".join([read_text(lower).strip(), name]) if name and lower.is_file() else name
    except (OSError, UnusableFileError):
        return None


def of_other_contrasts(entries: Iterable[MapEntry]) -> list[tuple[MapEntry, str]]:
    """Find maps that are of another contrast than most of their condition.

    Names count as one where they differ in case, spaces, or SPM's "- All Sessions" alone. Maps
    that do not tell their contrast are left alone.

    Parameters
    ----------
    entries : sequence of MapEntry

    Returns
    -------
    list of (MapEntry, str)
        The maps, and what they are of; all maps that tell where no name is that of most.
    """
    cells: dict[tuple, list[tuple[MapEntry, str]]] = {}
    for entry in entries:
        name = contrast_name(entry.path)
        if name is not None:
            cells.setdefault(tuple(entry.conditions.values()), []).append((entry, name))
    return [found for named in cells.values() for found in _minority(named)]


def _minority(named):
    keys = [_comparable(name) for _, name in named]
    counts = Counter(keys)
    if len(counts) == 1:
        return []
    most, n_most = counts.most_common(1)[0]
    if 2 * n_most <= len(keys):
        return [
            (entry, f"its contrast is {name!r}; no contrast is that of most maps")
            for entry, name in named
        ]
    usual = named[keys.index(most)][1]
    return [
        (entry, f"its contrast is {name!r}, that of most maps is {usual!r}")
        for (entry, name), key in zip(named, keys, strict=True)
        if key != most
    ]


def _comparable(name):
    return "".join(name.casefold().removesuffix(_ALL_SESSIONS).split())
