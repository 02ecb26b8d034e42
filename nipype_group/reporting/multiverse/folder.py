"""Tables, maps and page of alternatives, in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from nipype_group._version import __version__
from nipype_group.images import write_volume
from nipype_group.images.stacks import unmask
from nipype_group.json_files import read_json, write_json
from nipype_group.reporting.derivatives.folder import GENERATOR
from nipype_group.reporting.figures.canvas import rounded
from nipype_group.reporting.multiverse.content import (
    ContrastOfAll,
    Described,
    contrast_of_all,
)
from nipype_group.reporting.multiverse.page import write_multiverse_page
from nipype_group.reporting.multiverse.regions import RegionsOfAll, regions_of_all
from nipype_group.reporting.records.record import ALTERNATIVES_NAME, PROVENANCE_NAME
from nipype_group.reporting.records.ro_crate import CRATE_NAME
from nipype_group.reporting.wording import count
from nipype_group.stats.distributions import minus_log10
from nipype_group.tsv import write_tsv
from nipype_group.whole_files import AnyPath

_DIGITS = 10
# Of the numbers of alternatives that are listed.
_SHOWN = 8
_NOT_ASKED = "they are not asked for"
_COUNTS = {
    "own": "alternatives in which a voxel survives by the correction of each",
    "multiverse": "alternatives in which a voxel survives the familywise error over all voxels "
    "and alternatives",
}


class Written(NamedTuple):
    """Files of alternatives, and what is told of them."""

    page_file: str
    alternatives_file: str
    curves_file: str
    regions_file: str | None
    count_files: list
    lines: list
    warnings: list


def write_multiverse(
    folder: AnyPath, described: Sequence[Described], alpha: float, figures: bool = True
) -> Written:
    """Write what alternatives of an analysis say.

    Parameters
    ----------
    folder : path
        Made where it is not there.
    described : sequence of Described
        The reference first.
    alpha : float
        Familywise error over all voxels and alternatives, with permutations.
    figures : bool
        Whether the page has pictures.

    Returns
    -------
    Written
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    contrasts = [contrast_of_all(described, i, alpha) for i in range(len(described[0].contrasts))]
    rows = [{"contrast": c.name, **row} for c in contrasts for row in c.rows]
    curves = [{"contrast": c.name, **row} for c in contrasts for row in c.curves]
    regions = [regions_of_all(described, i) for i in range(len(contrasts))]
    tables = {"alternatives": pd.DataFrame(rows), "curves": pd.DataFrame(curves)}
    names = [c.name for c in contrasts]
    modelled = {name: own for name, own in zip(names, regions, strict=True) if own is not None}
    if modelled:
        tables["regions"] = _region_rows(modelled)
    paths = {
        name: str(write_tsv(folder / f"{name}.tsv", own, digits=_DIGITS))
        for name, own in tables.items()
    }
    count_files = [path for c in contrasts for path in _write_maps(folder, described, c, alpha)]
    warnings = _warnings(described, contrasts, modelled)
    lines = [line for c in contrasts for line in lines_of(described, c, alpha)]
    lines += [line_of_regions(name, own) for name, own in modelled.items()]
    page = write_multiverse_page(
        folder / "multiverse.html", described, contrasts, alpha, lines, warnings, modelled, figures
    )
    # Last, as it lists what lies beside it.
    _write_settings(folder, described)
    return Written(
        page,
        paths["alternatives"],
        paths["curves"],
        paths.get("regions"),
        count_files,
        lines,
        warnings,
    )


def _region_rows(modelled):
    """Return the table of the regions of all contrasts."""
    parts = [own.table.assign(contrast=name) for name, own in modelled.items()]
    table = pd.concat(parts, ignore_index=True)
    # Contrasts of one kind lack columns of the other.
    columns = max((list(part) for part in parts), key=len)
    return table[["contrast", *columns[:-1]]]


def _write_settings(folder, described):
    """Write the settings of every alternative, as one of them alone is run again by them."""
    content = {
        "GeneratedBy": f"{GENERATOR} {__version__}",
        "Alternatives": [
            {
                "Number": i,
                "Name": d.name,
                "Choices": d.choices,
                "Settings": d.content["parameters"],
            }
            for i, d in enumerate(described, 1)
        ],
        "Files": [*_names(folder), ALTERNATIVES_NAME],
    }
    write_json(folder / ALTERNATIVES_NAME, content)


def _names(folder):
    paths = (p for p in sorted(folder.rglob("*")) if p.is_symlink() or not p.is_dir())
    return [path.relative_to(folder).as_posix() for path in paths]


def foreign_files(folder: AnyPath) -> list[str]:
    """Return the files beside alternatives that no run wrote, relative to their folder.

    Raises
    ------
    UnusableFileError
        Where the list of what a run wrote cannot be read.
    """
    folder = Path(folder)
    if not (folder / ALTERNATIVES_NAME).is_file():
        return []
    listed = read_json(folder / ALTERNATIVES_NAME, {"Files": [str]}, folder)["Files"]
    own = {*listed, PROVENANCE_NAME, CRATE_NAME}
    return [name for name in _names(folder) if name not in own]


def _write_maps(folder, described, contrast, alpha):
    """Write counts of a contrast, and p over all alternatives; returns the paths of the counts."""
    space, paths = contrast.space, []
    for desc, counts in contrast.counts.items():
        name = space.file_name(f"contrast-{contrast.label}_stat-count_desc-{desc}_statmap", True)
        paths.append(write_volume(folder / name, counts, space, np.int16))
        about = {"Description": f"Number of {_COUNTS[desc]}", "Alternatives": len(described)}
        _write_sidecar(folder, name, about | ({"Alpha": alpha} if desc != "own" else {}))
    for i, over in contrast.over_all.items():
        if contrast.rows[i]["statistic_of"] != i + 1:
            continue
        stem = f"contrast-{contrast.label}_alternative-{i + 1:03d}_stat-logp_desc-multiverseFWE"
        name = space.file_name(f"{stem}_statmap", True)
        values = unmask(minus_log10(over.over_all.log_p), contrast.masks[i])
        write_volume(folder / name, values, space)
        _write_sidecar(
            folder,
            name,
            {
                "Description": "-log10 of the p corrected for all voxels of all alternatives",
                "Alternative": described[i].name,
                "Groups": over.n_groups,
                "Shuffles": len(over.over_all.null),
                "CriticalZ": over.critical,
                "Alpha": alpha,
            },
        )
    return paths


def _write_sidecar(folder, name, content):
    write_json(folder / f"{name.partition('.')[0]}.json", content)


def _warnings(described, contrasts, modelled):
    """Return what is doubtful: of shuffles and regions, and groups joined by Bonferroni."""
    found = _notes(described)
    if described[0].is_shuffled:
        found += [w for d in described for w in d.shuffled().plan.warnings]
    found += _without_regions(described)
    if not modelled and any(d.has_regions for d in described):
        found.append("No models of regions: no atlas is installed; name one (atlases)")
    for c in contrasts:
        if len(c.groups) > 1:
            groups = "; ".join(_numbers([i + 1 for i in group]) for group in c.groups)
            found.append(
                f"{c.name}: alternatives that cannot be shuffled together make {len(c.groups)} "
                f"groups (numbers {groups}), joined by Bonferroni: p are {len(c.groups)} times as "
                "large"
            )
    return list(dict.fromkeys(found))


def _notes(described):
    """Return what is odd about masks and contrasts, with the alternatives where not of all."""
    of: dict[str, list[int]] = {}
    for number, one in enumerate(described, 1):
        for note in dict.fromkeys(one.notes):
            of.setdefault(note, []).append(number)
    return [
        note if len(own) == len(described) else f"{note} (alternatives {_numbers(own)})"
        for note, own in of.items()
    ]


def _without_regions(described):
    """Return which alternatives have no models of regions, and why."""
    of: dict[str, list[int]] = {}
    for number, one in enumerate(described, 1):
        if not one.has_regions:
            why = one.content.get("without_regions", _NOT_ASKED)
            of.setdefault(why, []).append(number)
    if list(of) == [_NOT_ASKED] and len(of[_NOT_ASKED]) == len(described):
        # Nobody misses them.
        return []
    return [
        f"No models of regions in the alternatives {_numbers(own)}: {why}"
        for why, own in of.items()
    ]


def _numbers(own):
    return ", ".join(map(str, own[:_SHOWN])) + (", ..." if len(own) > _SHOWN else "")


def lines_of(described: Sequence[Described], contrast: ContrastOfAll, alpha: float) -> list[str]:
    """Return what is found of a contrast, as sentences."""
    n_all = len(described)
    n_own = sum(row["survivors"] > 0 for row in contrast.rows)
    n_always = int((contrast.counts["own"] == n_all).sum())
    lines = [
        f"{contrast.name}: something survives in {n_own} of {count(n_all, 'alternative')} by the "
        f"correction of each, {count(n_always, 'voxel')} in all of them"
    ]
    if contrast.over_all:
        n_over = sum(row["survivors_multiverse"] > 0 for row in contrast.rows)
        p = contrast.smallest_p
        lines.append(
            f"{contrast.name}: p {rounded(np.nan if p is None else p)} over all voxels and "
            f"alternatives; something survives it in {n_over} of {n_all} at {alpha:g}"
        )
    return lines


def line_of_regions(name: str, regions: RegionsOfAll) -> str:
    """Return in how many alternatives the regions of a contrast survive, as a sentence."""
    found = regions.regions
    n_tested = int((found["tested_in"] > 0).sum())
    n_any = int((found["survives_in"] > 0).sum())
    n_all = int((found["survives_in"] == regions.n_alternatives).sum())
    return (
        f"{name}: {n_any} of {count(n_tested, 'atlas region')} survive in any alternative by the "
        f"correction of each, {n_all} in all {regions.n_alternatives}"
    )
