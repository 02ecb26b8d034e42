"""One familywise error, or one false discovery rate, over analyses side by side.

Each analysis has p that are corrected for its own voxels. Over k analyses k p is valid whatever
depends on what (Bonferroni); where shuffle j moves the same participants in all of them, the
largest statistic of all analyses corrects for them together and loses less (Westfall and Young
1993). The p that an analysis has an effect anywhere is corrected by stepping down (Holm 1979;
Romano and Wolf 2005): voxels are not, as a false one is as likely in an analysis with true ones.

A false discovery rate over analyses is that of all their voxels as one family (Benjamini and
Hochberg 1995): of all voxels that are told, whichever analysis they are in, that share is false on
average. It is no rate of any of the analyses.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nipype_group.controls import SIDES
from nipype_group.design.participants.clusters import PARTICIPANT
from nipype_group.images import read_mask, read_volume, write_volume
from nipype_group.permutation.shards import read_nulldist
from nipype_group.reporting.derivatives.read import GroupFolder, ThresholdedResult
from nipype_group.stats.clusters import signs_of
from nipype_group.stats.distributions import minus_log10, z_to_log_p
from nipype_group.stats.elementary import exp, log
from nipype_group.stats.multiple_testing import adjust_holm, adjust_together
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
DICTIONARY = "across.json"
BONFERRONI, MAXIMUM, FDR = "bonferroni", "maximum", "fdr"
_METHODS = {
    BONFERRONI: "Bonferroni over analyses",
    MAXIMUM: "largest statistic of all analyses, under the same shuffles",
    FDR: "voxels of all analyses as one family",
}
# How a page and a dictionary say it.
SENTENCES = {
    BONFERRONI: "The familywise error is over voxels and analyses: p times the number of analyses "
    "that were asked for (Dunn, J Am Stat Assoc 1961, 56, 52-64).",
    MAXIMUM: "The familywise error is over voxels and analyses, by the largest statistic of all "
    "analyses in every shuffle, which moves the same participants in all of them (Westfall and "
    "Young, Resampling-based multiple testing, Wiley 1993).",
    FDR: "The false discovery rate is of the voxels of all analyses as one family (Benjamini and "
    "Hochberg, J R Stat Soc B 1995, 57, 289-300): of all voxels told, in whichever analysis, the "
    "expected share of false ones is at most alpha. It does not hold within an analysis, of "
    "which all voxels told may be false where others have many true ones.",
}
_OF_WHOLES = {
    BONFERRONI: "That an analysis has an effect anywhere is corrected by the procedure of Holm "
    "(Scand J Stat 1979, 6, 65-70).",
    MAXIMUM: "That an analysis has an effect anywhere is corrected by stepping down (Romano and "
    "Wolf, J Am Stat Assoc 2005, 100, 94-108).",
}
# Statistics of which shuffles tell the largest, and maps the values.
_OF_MAXIMUM = ("voxel", "tfce")
# Columns of observations that name files.
_OF_MAPS = ("map", "variance")
# What contrasts that are called as their analyses are called together.
OWN = "the contrast of each analysis"
# Maps hold -log10 p in single precision, which may lie that much above a p that is alpha.
_ROUNDING = 1e-6
COLUMNS = {
    "analysis": "name of the analysis",
    "contrast": "contrast of the group model",
    "desc": "correction within the analysis, as names of files have it",
    "adjusts": "what is corrected: fwe, the familywise error, or fdr, the false discovery rate",
    "voxels": "voxels that survive over all analyses",
    "p_fwe": "p that the contrast has an effect anywhere in this analysis, corrected over "
    "analyses by stepping down; n/a of a false discovery rate",
    "smallest_p": "smallest p of a voxel, corrected over voxels and analyses",
    "alpha": "familywise error, or false discovery rate, over voxels and analyses",
    "analyses": "number of analyses that are corrected for",
    "method": "how the p are corrected over analyses",
}


def correct_across(
    top: AnyPath,
    labels: Sequence[str],
    n_analyses: int,
    method: str,
    columns: Collection[str] | None = None,
    own_names: Mapping[str, str] | None = None,
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
    method : {"bonferroni", "maximum", "fdr"}
        ``maximum`` takes the shuffles of voxels and TFCE; other corrections are by Bonferroni.
        ``fdr`` corrects false discovery rates, each by its own procedure, and no familywise
        error.
    columns : list of str, optional
        Columns of the observations that shuffles may depend on beside the design, as those of
        blocks, which ``maximum`` needs equal; by default all but those of files.
    own_names : dict of str to str, optional
        Input contrast of an analysis by its label: contrasts of the group model that are called
        as it, as the mean of each, are one over analyses.

    Returns
    -------
    list of dict
        A row an analysis and a correction of the kind, see `COLUMNS`; ``family`` beside these
        is shared by the rows that are corrected together.

    Raises
    ------
    ValueError
        Where shuffles differ between analyses, or analyses without results cannot have the same.
    """
    top = Path(top)
    folders = {label: GroupFolder(top / label) for label in labels}
    families = _families(folders, own_names or {})
    if method != BONFERRONI and len(labels) < n_analyses:
        what = "largest statistic of all is" if method == MAXIMUM else "p of all voxels are"
        raise ValueError(
            f"{n_analyses - len(labels)} of {n_analyses} analyses have no results, so that the "
            f"{what} not known; run again once they have"
        )
    if method == MAXIMUM:
        _check_shuffled_alike(folders, columns, families)
    rows = []
    for (family, desc), results in _corrected(folders, families, method).items():
        way = _way(folders, results, method)
        for label, (p_map, log_p, survives) in _BY[way](folders, results, n_analyses).items():
            row = {
                "analysis": label,
                "contrast": _name_of(folders[label], results[label]),
                "desc": desc,
                "adjusts": results[label].control.adjusts,
                "method": _METHODS[way],
                "analyses": n_analyses if way == BONFERRONI else len(results),
                "p_fwe": p_map,
                "smallest_p": float(10.0 ** -np.max(log_p, initial=0.0)),
                "alpha": results[label].settings["Alpha"],
                "voxels": int(survives.sum()),
            }
            _write(top, folders[label], results[label], log_p, survives, row)
            rows.append(row | {"family": family})
    replace_text(top / TABLE, tsv_text({name: [row[name] for row in rows] for name in COLUMNS}))
    about: dict[str, Any] = {name: {"Description": text} for name, text in COLUMNS.items()}
    about["method"]["Levels"] = {row["method"]: methods_of([row]) for row in rows}
    replace_text(top / DICTIONARY, json.dumps(about, indent=2) + "\n")
    return rows


def methods_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return how rows are corrected over analyses, in sentences with their references.

    Parameters
    ----------
    rows : list of dict
        From `correct_across`.
    """
    used = [way for way, text in _METHODS.items() if any(row["method"] == text for row in rows)]
    said = [text for way in used for text in (SENTENCES[way], _OF_WHOLES.get(way, ""))]
    return " ".join(text for text in said if text)


def _families(folders, own_names):
    """Return what a contrast is called over analyses, by label and name.

    A contrast that is called as the analysis it is of, and in no other analysis otherwise, is one
    with those of the others that are.
    """
    names = {label: [c.name for c in folder.contrasts] for label, folder in folders.items()}

    def family(label, name):
        own = own_names.get(label)
        elsewhere = [o for o in names if name in names[o] and own_names.get(o) != name]
        return OWN if name == own and not elsewhere else name

    return {label: {name: family(label, name) for name in names[label]} for label in names}


def _corrected(folders, families, method):
    """Return the results that are corrected together, by family and desc, by label."""
    adjusts = "fdr" if method == FDR else "fwe"
    found: dict[tuple[str, str], dict[str, ThresholdedResult]] = {}
    for label, folder in folders.items():
        for contrast in folder.contrasts:
            for result in folder.results(contrast.label):
                if result.control.adjusts == adjusts:
                    key = (families[label][contrast.name], result.desc)
                    found.setdefault(key, {})[label] = result
    return found


def _way(folders, results, method):
    """Return the method that results of one family are corrected by."""
    if method != MAXIMUM:
        return method
    of = next(iter(results.values())).control
    by_shuffles = of.kind == "permutation" and of.of in _OF_MAXIMUM
    # A conjunction takes the larger p of its contrasts, and no largest statistic of its own.
    has_nulls = all(_nulls_of(folders[label], own) is not None for label, own in results.items())
    return MAXIMUM if by_shuffles and has_nulls else BONFERRONI


def _nulls_of(folder, result):
    return folder.find("nulldist", ".tsv", contrast=result.contrast)


def _name_of(folder, result):
    return next(c.name for c in folder.contrasts if c.label == result.contrast)


def _check_shuffled_alike(folders, columns, families):
    """Refuse analyses whose shuffle j is not the same."""
    first = None
    for label, folder in folders.items():
        plan = _plan_of(folder, families[label])
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


def _plan_of(folder, families):
    """Return what decides how contrasts are shuffled, by what they are called over analyses."""
    plan = folder.read_json("permutations")
    # Sentences, and lists of names.
    texts = ("Description", "Warnings", "Contrasts", "Conjunctions")
    kept = {name: value for name, value in plan.items() if name not in texts}
    if not kept:
        return {}
    of_families = {}
    for kind, each in kept["Families"].items():
        smallest = {families[name]: p for name, p in each["SmallestP"].items()}
        called = [families[name] for name in each["Contrasts"]]
        of_families[kind] = {**each, "Contrasts": called, "SmallestP": smallest}
    return kept | {"Families": of_families}


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
                read_nulldist(_nulls_of(folders[label], result)),
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


def _by_fdr(folders, results, _):
    """Return the same by the voxels of all analyses as one family; p of wholes are none."""
    logs = {label: _log_p(folders[label], result) for label, result in results.items()}
    control = next(iter(results.values())).control
    by_shuffles = control.kind == "permutation"
    together = adjust_together(list(logs.values()), "fdr" if by_shuffles else control.name)
    found = {}
    for label, log_q in zip(logs, together, strict=True):
        limit = log(results[label].settings["Alpha"])
        # p of shuffles are read of a map.
        survives = log_q <= limit + (_ROUNDING if by_shuffles else 0.0)
        found[label] = (None, minus_log10(log_q), survives)
    return found


def _log_p(folder, result):
    """Return the logarithm of p that a false discovery rate adjusts, of every voxel."""
    tail = result.settings["Tail"]
    if result.control.kind == "permutation":
        return -_in_mask(folder, result, "logp", f"permVoxelUnc{SIDES[tail]}") * log(10.0)
    return z_to_log_p(_in_mask(folder, result, "z", None), tail)


_BY = {BONFERRONI: _by_bonferroni, MAXIMUM: _by_maximum, FDR: _by_fdr}


def _file(folder, result, stat, desc):
    own = {} if desc is None else {"desc": desc}
    path = folder.find("statmap", ".nii.gz", contrast=result.contrast, stat=stat, **own)
    if path is None:
        raise ValueError(f"{folder.path} has no map {stat} {desc or ''} of {result.contrast}")
    return path


def _mask(folder):
    # All voxels analysed are searched where no search mask stands.
    path = folder.find("mask", ".nii.gz", desc="search")
    return read_mask(path or folder.find("mask", ".nii.gz", desc="group"))


def _in_mask(folder, result, stat, desc):
    """Return a map at the voxels that are searched."""
    return read_volume(_file(folder, result, stat, desc))[0][_mask(folder)[0]]


def _write(top, folder, result, log_p, survives, row):
    """Write p and survivors of an analysis with their sidecars."""
    mask, space = _mask(folder)
    own = {"contrast": result.contrast, "desc": result.desc}
    has_z = folder.find("statmap", ".nii.gz", stat="z", **own) is not None
    stat = "z" if has_z else folder.stat_types[result.contrast]
    # What a false discovery rate over all analyses tells, that of one may not.
    of = None if row["adjusts"] == "fdr" else result.desc
    shown = _in_mask(folder, result, stat, of) * survives
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
            "Adjusts": row["adjusts"],
            "NumberOfAnalyses": row["analyses"],
            "Alpha": row["alpha"],
            "SurvivingVoxels": row["voxels"],
        }
        text = json.dumps(about, indent=2) + "\n"
        replace_text(path.with_name(path.name.partition(".")[0] + ".json"), text)
