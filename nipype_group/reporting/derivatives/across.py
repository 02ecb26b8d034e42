"""One familywise error over analyses side by side.

Each analysis has p that are corrected for its own voxels. Over k analyses k p is valid whatever
depends on what (Bonferroni); where shuffle j moves the same participants in all of them, the
largest statistic of all analyses corrects for them together and loses less (Westfall and Young
1993). The p that an analysis has an effect anywhere is corrected by stepping down (Holm 1979;
Romano and Wolf 2005): voxels are not, as a false one is as likely in an analysis with true ones.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nipype_group.controls import SIDES
from nipype_group.design.participants.clusters import PARTICIPANT
from nipype_group.images import read_mask, read_volume, write_volume
from nipype_group.permutation.shards import read_nulldist
from nipype_group.reporting.derivatives.read import GroupFolder, ThresholdedResult
from nipype_group.stats.clusters import signs_of
from nipype_group.stats.distributions import minus_log10
from nipype_group.stats.elementary import exp, log
from nipype_group.stats.multiple_testing import adjust_holm
from nipype_group.stats.permutation.p_values import (
    MAP_ROUNDING,
    correct,
    null_of_maxima,
    stepped_down,
)
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.tsv import tsv_text
from nipype_group.whole_files import AnyPath, replace_text

FOLDER, TABLE = "across", "across.tsv"
BONFERRONI, MAXIMUM = "bonferroni", "maximum"
_METHODS = {
    BONFERRONI: "Bonferroni over analyses",
    MAXIMUM: "largest statistic of all analyses, under the same shuffles",
}
# Statistics of which shuffles tell the largest, and maps the values.
_OF_MAXIMUM = ("voxel", "tfce")
# Columns of observations that name files.
_OF_MAPS = ("map", "variance")
# Maps hold -log10 p in single precision, which may lie that much above a p that is alpha.
_ROUNDING = 1e-6
COLUMNS = {
    "analysis": "name of the analysis",
    "contrast": "contrast of the group model",
    "desc": "correction within the analysis, as names of files have it",
    "voxels": "voxels that survive over all analyses",
    "p_fwe": "p that the contrast has an effect anywhere in this analysis, corrected over "
    "analyses by stepping down",
    "smallest_p": "smallest p of a voxel, corrected over voxels and analyses",
    "alpha": "familywise error over voxels and analyses",
    "analyses": "number of analyses that are corrected for",
    "method": "how the p are corrected over analyses",
}


def correct_across(
    top: AnyPath,
    labels: Sequence[str],
    n_analyses: int,
    method: str,
    columns: Collection[str] | None = None,
) -> list[dict[str, Any]]:
    """Correct the p of analyses side by side over all of them, and write maps and a table.

    Parameters
    ----------
    top : path
        Folder that holds a data set of every analysis; ``across`` in it gets the maps.
    labels : list of str
        Analyses that have results.
    n_analyses : int
        Analyses that were asked for: those without results count too.
    method : {"bonferroni", "maximum"}
        ``maximum`` takes the shuffles of voxels and TFCE; other corrections are by Bonferroni.
    columns : list of str, optional
        Columns of the observations that shuffles may depend on beside the design, as those of
        blocks, which ``maximum`` needs equal; by default all but those of files.

    Returns
    -------
    list of dict
        A row an analysis and a correction that controls the familywise error, see `COLUMNS`.

    Raises
    ------
    ValueError
        Where shuffles differ between analyses, or analyses without results cannot have the same.
    """
    top = Path(top)
    folders = {label: GroupFolder(top / label) for label in labels}
    if method == MAXIMUM:
        if len(labels) < n_analyses:
            raise ValueError(
                f"{n_analyses - len(labels)} of {n_analyses} analyses have no results, so that "
                "the largest statistic of all is not known; run again once they have"
            )
        _check_shuffled_alike(folders, columns)
    families: dict[tuple, dict[str, ThresholdedResult]] = {}
    for label, folder in folders.items():
        for contrast in folder.contrasts:
            for result in folder.results(contrast.label):
                if result.control.adjusts == "fwe":
                    key = (contrast.name, result.desc)
                    families.setdefault(key, {})[label] = result
    rows = []
    for (contrast, desc), results in families.items():
        of = next(iter(results.values())).control
        by_maximum = method == MAXIMUM and of.kind == "permutation" and of.of in _OF_MAXIMUM
        found = (_by_maximum if by_maximum else _by_bonferroni)(folders, results, n_analyses)
        for label, (p_map, log_p, survives) in found.items():
            alpha = results[label].settings["Alpha"]
            row = {
                "analysis": label,
                "contrast": contrast,
                "desc": desc,
                "method": _METHODS[MAXIMUM if by_maximum else BONFERRONI],
                "analyses": len(results) if by_maximum else n_analyses,
                "p_fwe": p_map,
                "smallest_p": float(10.0 ** -np.max(log_p, initial=0.0)),
                "alpha": alpha,
                "voxels": int(survives.sum()),
            }
            _write(top, folders[label], results[label], log_p, survives, row)
            rows.append(row)
    replace_text(top / TABLE, tsv_text({name: [row[name] for row in rows] for name in COLUMNS}))
    return rows


def _check_shuffled_alike(folders, columns):
    """Refuse analyses whose shuffle j is not the same."""
    first = None
    for label, folder in folders.items():
        plan = folder.read_json("permutations")
        design = folder.read_rows("design")
        people = folder.read_rows("observations")
        people = people[[n for n in people if _is_compared(n, columns)]]
        first = first or (label, plan, design, people)
        same = plan == first[1] and design.equals(first[2]) and people.equals(first[3])
        if not plan or not same:
            raise ValueError(
                f"{label} and {first[0]} are not shuffled alike, as they have other participants "
                "or another design; take bonferroni, or exclude who lacks a map of one of them"
            )


def _is_compared(name, columns):
    """Whether a column of the observations must be that of the other analyses."""
    if columns is not None:
        return name == PARTICIPANT or name in columns
    return name not in _OF_MAPS and "sha256" not in name


def _by_bonferroni(folders, results, n_analyses):
    """Return p of the whole, -log10 p in the mask and what survives, of every analysis."""
    logs = {
        label: _in_mask(folders[label], result, "logp", result.desc)
        for label, result in results.items()
    }
    smallest = [-np.max(values, initial=0.0) * log(10.0) for values in logs.values()]
    # Analyses without results have p 1.
    smallest += [0.0] * (n_analyses - len(smallest))
    wholes = exp(adjust_holm(np.array(smallest)))
    found = {}
    for (label, values), p_map in zip(logs.items(), wholes, strict=False):
        log_p = np.maximum(values - log(float(n_analyses)) / log(10.0), 0.0)
        limit = results[label].settings["Alpha"] * (1.0 + _ROUNDING)
        found[label] = (float(p_map), log_p, log_p >= minus_log10(log(limit)))
    return found


def _by_maximum(folders, results, _):
    """Return the same by the largest statistic of all analyses in every shuffle."""
    one = next(iter(results.values()))
    statistic, tail = one.control.of, one.settings["Tail"]
    nulls = np.array(
        [
            null_of_maxima(
                read_nulldist(folders[label].find("nulldist", ".tsv", contrast=result.contrast)),
                statistic,
                signs_of(tail),
            )
            for label, result in results.items()
        ]
    )
    together = np.max(nulls, axis=0)
    found = {}
    for (label, result), p_map in zip(
        results.items(), stepped_down(nulls[:, 0], nulls), strict=True
    ):
        stat, desc = folders[label].stat_types[result.contrast], None
        if statistic == "tfce":
            stat, desc = "tfce", f"perm{SIDES[tail]}"
        values = _in_mask(folders[label], result, stat, desc)
        heights = ShuffleStatistics(tail=tail).heights(values, True)
        alpha = result.settings["Alpha"]
        own = correct("voxel", heights, together, alpha, ties=MAP_ROUNDING)
        found[label] = (float(p_map), minus_log10(own.log_p), own.survives)
    return found


def _file(folder, result, stat, desc):
    own = {} if desc is None else {"desc": desc}
    path = folder.find("statmap", ".nii.gz", contrast=result.contrast, stat=stat, **own)
    if path is None:
        raise ValueError(f"{folder.path} has no map {stat} {desc or ''} of {result.contrast}")
    return path


def _mask(folder):
    return read_mask(folder.find("mask", ".nii.gz", desc="search"))


def _in_mask(folder, result, stat, desc):
    """Return a map at the voxels that are searched."""
    return read_volume(_file(folder, result, stat, desc))[0][_mask(folder)[0]]


def _write(top, folder, result, log_p, survives, row):
    """Write p and survivors of an analysis with their sidecars."""
    mask, space = _mask(folder)
    own = {"contrast": result.contrast, "desc": result.desc}
    has_z = folder.find("statmap", ".nii.gz", stat="z", **own) is not None
    stat = "z" if has_z else folder.stat_types[result.contrast]
    shown = _in_mask(folder, result, stat, result.desc) * survives
    place = top / FOLDER / row["analysis"]
    place.mkdir(parents=True, exist_ok=True)
    for name, values in (("logp", log_p), (stat, shown)):
        source = _file(folder, result, name, result.desc)
        volume = np.zeros(mask.shape)
        volume[mask] = values
        path = place / source.name.replace(f"desc-{result.desc}_", f"desc-{result.desc}Across_")
        write_volume(path, volume, space)
        about = {
            "Sources": [source.relative_to(top.absolute()).as_posix()],
            "CorrectedAcross": row["method"],
            "NumberOfAnalyses": row["analyses"],
            "Alpha": row["alpha"],
            "SurvivingVoxels": row["voxels"],
        }
        text = json.dumps(about, indent=2) + "\n"
        replace_text(path.with_name(path.name.partition(".")[0] + ".json"), text)
