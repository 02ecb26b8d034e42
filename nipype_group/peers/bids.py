"""Group results named as BIDS derivatives: those of nilearn and FitLins."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from nipype_group.images import IMAGE_SUFFIXES
from nipype_group.json_files import read_json
from nipype_group.peers.found import (
    FoundResults,
    FoundStatistic,
    images_in,
    residual_dof,
    row_numbers_note,
    without_row_numbers,
)
from nipype_group.peers.halfpipe import is_halfpipe
from nipype_group.tsv import read_tsv
from nipype_group.whole_files import inside

LOOKED_FOR = "nilearn, FitLins: contrast-NAME_stat-t_statmap (or stat-F, stat-z) without sub-"
_NAME = re.compile(
    r"(?P<before>(?:.*_)?)contrast-(?P<contrast>[^_]+)_stat-(?P<stat>[tFz])_statmap"
)
_DOF_KEYS = ("DegreesOfFreedom", "dof", "degrees_of_freedom")


def find_bids(folder: Path, start: str = "") -> FoundResults | None:
    """Find group statistics with BIDS names; None where there are none.

    Parameters
    ----------
    folder : Path
        Where they are, or the data set: its group/ and node-*/ are looked into, and in these the
        ses-*/ of models of a session each.
    start : str
        How names begin; if given, only the folder itself is looked into.
    """
    top = Path(folder)
    folders = [top]
    if not start:
        folders += [top / "group", *sorted(top.glob("node-*"))]
        folders += [inner for outer in folders for inner in sorted(outer.glob("ses-*"))]
    groups: dict[tuple[Path, str, str | None], set[str]] = {}
    for inner in folders:
        for stem in images_in(inner, top, start):
            match = _NAME.fullmatch(stem)
            # A sub- marks the maps of one subject; a desc-, thresholded maps, does not match.
            if match and not re.search(r"(?:^|_)sub-", stem) and not is_halfpipe(stem):
                key = (inner, match["before"], match["contrast"])
                groups.setdefault(key, set()).add(match["stat"])
    if not groups:
        return None
    package = _package(top)
    statistics, designs, notes = [], [], []
    for (inner, before, contrast), stats in sorted(groups.items(), key=str):
        columns, matrix, numbering = _read_design(inner, top, before)
        if numbering is not None:
            notes.append(row_numbers_note(numbering))
        found = _statistic(inner, top, before, contrast, stats, matrix)
        statistics.append(replace(found, package=package))
        designs.append((columns, matrix))
    first = designs[0]
    same = first[1] is not None and all(np.array_equal(first[1], d[1]) for d in designs)
    return FoundResults(
        package=package,
        statistics=_distinct(statistics, top),
        design=first if same else None,
        n_maps=len(first[1]) if same else None,
        notes=tuple(dict.fromkeys(notes)),
    )


def _statistic(folder, top, before, contrast, stats, matrix):
    """Return what belongs to one contrast; the statistic itself goes before its z."""
    images, stem = images_in(folder, top), f"{before}contrast-{contrast}_stat-"
    stat = next(s for s in ("t", "F", "z") if s in stats)
    path = images[f"{stem}{stat}_statmap"]
    dof = () if stat == "z" else _stated_dof(path, top, stat)
    if stat == "t":
        dof = dof or residual_dof(matrix)
    masks = (f"{before}{name}" for name in ("mask", "desc-search_mask", "desc-group_mask"))
    return FoundStatistic(
        name=contrast,
        package="",
        stat_type=stat,
        stat_file=path,
        dof=dof,
        z_file=images.get(f"{stem}z_statmap") if stat != "z" else None,
        effect_file=images.get(f"{stem}effect_statmap") if stat != "F" else None,
        variance_file=images.get(f"{stem}variance_statmap") if stat != "F" else None,
        mask_file=next((images[m] for m in masks if m in images), None),
    )


def _stated_dof(path, top, stat):
    """Return the degrees of freedom of the sidecar; empty where it has none."""
    name = path.name
    for suffix in IMAGE_SUFFIXES:
        name = name.removesuffix(suffix)
    about = _read_json(path.with_name(f"{name}.json"), top)
    value = next((about[key] for key in _DOF_KEYS if key in about), None)
    values = value if isinstance(value, list) else [value]
    try:
        # To Python, true is 1.
        dof = tuple(float("nan" if isinstance(v, bool) else v) for v in values)
    except (TypeError, ValueError):
        return ()
    return dof if len(dof) == {"t": 1, "F": 2}[stat] and np.isfinite(dof).all() else ()


def _read_design(folder, top, before):
    """Return columns and matrix of design.tsv, and the name of a column that numbers the rows.

    All are None where it is not all numbers.
    """
    path = inside(folder / f"{before}design.tsv", top)
    if not path.is_file():
        return None, None, None
    try:
        table = read_tsv(path)
        matrix = table.to_numpy(dtype=float)
    except ValueError:
        return None, None, None
    if not np.isfinite(matrix).all():
        return None, None, None
    return without_row_numbers(table.columns, matrix)


def _package(folder):
    """Return the name that the data set gives its maker."""
    for place in (folder, folder.parent):
        about = _read_json(place / "dataset_description.json", place)
        # FitLins names itself by the key of BIDS before 1.4.
        makers = about.get("GeneratedBy", about.get("PipelineDescription"))
        makers = makers if isinstance(makers, list) else [makers]
        for maker in makers:
            if isinstance(maker, dict) and isinstance(maker.get("Name"), str):
                return {"fitlins": "FitLins"}.get(maker["Name"].lower(), maker["Name"])
    folders = (folder, folder.parent, *folder.glob("node-*"))
    return "FitLins" if any(p.name.startswith("node-") for p in folders) else "nilearn"


def _read_json(path, top):
    return read_json(path, dict, top) if path.exists() else {}


def _distinct(statistics, top):
    """Return the statistics with names that differ: with folder and file name where needed."""
    count = Counter(s.name for s in statistics)
    return tuple(
        s
        if count[s.name] == 1
        else replace(s, name=s.stat_file.relative_to(top).as_posix().partition("_stat-")[0])
        for s in statistics
    )
