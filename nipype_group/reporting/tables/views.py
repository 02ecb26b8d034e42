"""The tables of clusters and peaks as other packages lay them out.

Columns, order of rows, signs of coordinates and the choice of peaks are those of nilearn's
`get_clusters_table`, FSL's `cluster` (the table of FEAT, in mm), SPM12's results table and AFNI's
`3dClusterize`. Sizes, heights and p are ours: only the same clusters give the same table. FSL and
SPM test one side at a time; here both sides stand in one table, statistics keep their sign.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nipype_group.choices import CONVENTIONS
from nipype_group.reporting.tables.columns import COLUMNS, as_shown
from nipype_group.stats.distributions import minus_log10
from nipype_group.stats.elementary import log
from nipype_group.tsv import numbers_of, read_tsv, write_tsv

if TYPE_CHECKING:
    from nipype_group.images.space import Space

# Arguments of `cluster_tables` that list the peaks a view chooses from: all of them, or the main.
_ALL = {"max_peaks": sys.maxsize, "min_distance_mm": 0.0}
PEAK_RULES: dict[str, dict[str, Any]] = {
    "nilearn": {**_ALL, "peak_connectivity": 26},
    "fsl": {"max_peaks": 1},
    "spm": {**_ALL, "peak_connectivity": 18},
    "afni": {"max_peaks": 1},
}
_PEAKS_LISTED = {"nilearn": 4, "spm": 3}
_PEAK_DISTANCE_MM = 8.0
# The volumes that a view needs besides the tables.
_NEEDED = {
    "nilearn": (),
    "fsl": ("labels", "space", "zscore"),
    "spm": (),
    "afni": ("labels", "space", "stat"),
}
_AXES = "XYZ"
_SIDES = (("positive", 1), ("negative", -1))
_SPM_NAMES = {"t": "T", "F": "F", "z": "Z"}
_RAI = {
    "RL": "right to left, right is below 0",
    "AP": "anterior to posterior, anterior is below 0",
    "IS": "inferior to superior",
}
# Meaning and unit of the columns; `table_view` says which rows there are.
_MEANINGS = {
    "Cluster ID": ("number of the cluster; further peaks have a letter", ""),
    **{a: (f"{a.lower()} coordinate of the peak, RAS+", "mm") for a in _AXES},
    "Peak Stat": ("statistic; at the peak", COLUMNS["stat"][1]),
    "Cluster Size (mm3)": ("volume of the cluster", "mm^3"),
    "Cluster Index": ("number of the cluster, the largest has the highest", ""),
    "Voxels": ("number of voxels", "voxel"),
    "P": ("familywise p value of the cluster", ""),
    "-log10(P)": ("-log10 of the familywise p value of the cluster", ""),
    "Z-MAX": ("z score of the strongest voxel", "z"),
    **{f"Z-MAX {a} (mm)": (f"{a.lower()} coordinate of that voxel, RAS+", "mm") for a in _AXES},
    **{
        f"Z-COG {a} (mm)": (f"{a.lower()} coordinate of the centre weighted by z, RAS+", "mm")
        for a in _AXES
    },
    "COPE-MAX": ("largest effect on the cluster's side", COLUMNS["effect"][1]),
    **{
        f"COPE-MAX {a} (mm)": (f"{a.lower()} coordinate of the largest effect, RAS+", "mm")
        for a in _AXES
    },
    "COPE-MEAN": ("mean effect of the cluster", COLUMNS["effect"][1]),
    "set p": ("p value of as many clusters", ""),
    "set c": ("number of clusters", ""),
    "cluster p(FWE-corr)": ("familywise p value of the cluster", ""),
    "cluster p(FDR-corr)": ("p value of the cluster corrected for the false discovery rate", ""),
    "cluster equivk": ("number of voxels", "voxel"),
    "cluster p(unc)": ("uncorrected p value of the cluster", ""),
    "peak p(FWE-corr)": ("familywise p value of the peak", ""),
    "peak p(FDR-corr)": ("p value of the peak corrected for the false discovery rate", ""),
    **{f"peak {name}": ("statistic; at the peak", COLUMNS["stat"][1]) for name in "TFZ"},
    "peak equivZ": ("z score; at the peak", "z"),
    "peak p(unc)": ("uncorrected p value of the peak", ""),
    **{a: (f"{a} coordinate of the peak, RAS+", "mm") for a in "xyz"},
    "Volume": ("number of voxels", "voxel"),
    **{f"CM {a}": (f"centre of mass, {name}", "mm") for a, name in _RAI.items()},
    **{f"min{a}": (f"smallest coordinate, {name}", "mm") for a, name in _RAI.items()},
    **{f"max{a}": (f"largest coordinate, {name}", "mm") for a, name in _RAI.items()},
    "Mean": ("mean statistic of the cluster", COLUMNS["stat"][1]),
    "SEM": ("standard error of that mean over the voxels", COLUMNS["stat"][1]),
    "Max Int": ("statistic of largest magnitude", COLUMNS["stat"][1]),
    **{f"MI {a}": (f"its place, {name}", "mm") for a, name in _RAI.items()},
}
_INTEGERS = {"Cluster Size (mm3)", "Cluster Index", "Voxels", "set c", "cluster equivk", "Volume"}


def view_columns(convention: str, stat_type: str = "t") -> list[str]:
    """Return the columns of a view in their order.

    Parameters
    ----------
    convention : {"nilearn", "fsl", "spm", "afni"}
    stat_type : {"t", "F", "z"}
        Statistic, which SPM's table names.

    Raises
    ------
    ValueError
        For an unknown convention.

    Examples
    --------
    >>> view_columns("nilearn")
    ['Cluster ID', 'X', 'Y', 'Z', 'Peak Stat', 'Cluster Size (mm3)']
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"a view is one of {', '.join(CONVENTIONS)}, got {convention!r}")
    if convention == "nilearn":
        return ["Cluster ID", *_AXES, "Peak Stat", "Cluster Size (mm3)"]
    if convention == "fsl":
        return [
            "Cluster Index",
            "Voxels",
            "P",
            "-log10(P)",
            "Z-MAX",
            *(f"Z-MAX {a} (mm)" for a in _AXES),
            *(f"Z-COG {a} (mm)" for a in _AXES),
            "COPE-MAX",
            *(f"COPE-MAX {a} (mm)" for a in _AXES),
            "COPE-MEAN",
        ]
    if convention == "spm":
        peak = ("p(FWE-corr)", "p(FDR-corr)", _SPM_NAMES[stat_type], "equivZ", "p(unc)")
        return [
            "set p",
            "set c",
            "cluster p(FWE-corr)",
            "cluster p(FDR-corr)",
            "cluster equivk",
            "cluster p(unc)",
            *(f"peak {name}" for name in peak),
            "x",
            "y",
            "z",
        ]
    return [
        "Volume",
        "CM RL",
        "CM AP",
        "CM IS",
        "minRL",
        "maxRL",
        "minAP",
        "maxAP",
        "minIS",
        "maxIS",
        "Mean",
        "SEM",
        "Max Int",
        "MI RL",
        "MI AP",
        "MI IS",
    ]


def table_view(
    clusters: pd.DataFrame | None,
    peaks: pd.DataFrame | None,
    convention: str,
    *,
    stat_type: str = "t",
    set_level: tuple[float, int] | None = None,
    labels: np.ndarray | None = None,
    space: Space | None = None,
    stat: np.ndarray | None = None,
    zscore: np.ndarray | None = None,
    effect: np.ndarray | None = None,
) -> pd.DataFrame:
    """Lay out clusters and peaks as another package does.

    - nilearn: positive clusters first, then by height; at most three further peaks, 1a, 1b and
      1c, each more than 8 mm from the one before, without a size. Ids of negative clusters go on
      from the number of rows, as there.
    - fsl: a row a cluster, the largest has the highest index. P is the familywise p of the
      cluster. Centres are weighted by z; COPE-MAX is the largest effect on the cluster's side,
      wherever in the cluster.
    - spm: by height, positive clusters first; at most three peaks, more than 8 mm apart; cluster
      columns are missing in rows of further peaks, set columns in all rows but the first.
    - afni: a row a cluster, the largest first. Volume counts voxels, coordinates are RAI: x grows
      to the left, y to the back. Mean and SEM are of signed values, centres are weighted by
      magnitude, MI is the place of the largest magnitude.

    Parameters
    ----------
    clusters, peaks : DataFrame
        From `cluster_tables` with the `PEAK_RULES` of the convention, which list all peaks for
        the view to choose from.
    convention : {"nilearn", "fsl", "spm", "afni"}
    stat_type : {"t", "F", "z"}
    set_level : (float, int), optional
        SPM: p of as many clusters, and their number; without it there is no p and the number is
        that of the table.
    labels : int array, shape (x, y, z)
        Cluster of each voxel, for fsl and afni.
    space : Space
        Where the voxels lie, for fsl and afni.
    stat : array, shape (x, y, z)
        Statistic, for afni.
    zscore : array, shape (x, y, z)
        z, for fsl.
    effect : array, shape (x, y, z), optional
        Effect, for fsl.

    Returns
    -------
    DataFrame
        Columns of `view_columns`; missing cells are NaN, or NA in columns of integers.

    Raises
    ------
    ValueError
        For an unknown convention, a volume that is missing or has another shape.
    """
    columns = view_columns(convention, stat_type)
    volumes = {"labels": labels, "space": space, "stat": stat, "zscore": zscore}
    missing = [name for name in _NEEDED[convention] if volumes[name] is None]
    if missing:
        raise ValueError(f"the {convention} view needs {', '.join(missing)}")
    for name, volume in {"stat": stat, "zscore": zscore, "effect": effect}.items():
        if labels is not None and volume is not None and volume.shape != labels.shape:
            raise ValueError(f"{name} has shape {volume.shape}, the labels {labels.shape}")
    if convention == "nilearn":
        rows = _nilearn_rows(clusters, peaks)
    elif convention == "spm":
        rows = _spm_rows(clusters, peaks, set_level)
    elif convention == "fsl":
        rows = _fsl_rows(clusters, labels, space, zscore, effect)
    else:
        rows = _afni_rows(clusters, labels, space, stat)
    return pd.DataFrame(rows, columns=columns).astype(_types(columns))


def write_view(directory: str | os.PathLike[str], view: pd.DataFrame, convention: str) -> Path:
    """Write a view as `<convention>_view.tsv`; missing cells are empty.

    The header of afni begins with ``#``, so AFNI reads the file as 1D text.

    Parameters
    ----------
    directory : path
    view : DataFrame
        From `table_view`.
    convention : {"nilearn", "fsl", "spm", "afni"}

    Returns
    -------
    Path
    """
    shown = as_shown(view)
    if convention == "afni":
        first, *others = shown
        shown.columns = [f"#{first}", *others]
    path = Path(directory).absolute() / f"{convention}_view.tsv"
    return write_tsv(path, shown, digits=6, missing="")


def describe_view(columns: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what the dictionary of a view says of its columns, named as in its file.

    Examples
    --------
    >>> describe_view(["#Volume"])
    {'#Volume': {'Description': 'number of voxels', 'Units': 'voxel'}}
    """
    found = {column: _MEANINGS[column.removeprefix("#")] for column in columns}
    return {
        column: {"Description": text} | ({"Units": unit} if unit else {})
        for column, (text, unit) in found.items()
    }


def read_view(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a file of `write_view`, with the types of `table_view`."""
    table = read_tsv(path, own=True).rename(columns=lambda name: name.removeprefix("#"))
    types = _types(table.columns)
    numbers = {name: numbers_of(table[name]) for name in table if types[name] != "str"}
    return table.assign(**numbers).astype(types)


def _types(columns):
    def kind(name):
        return "str" if name == "Cluster ID" else "Int64" if name in _INTEGERS else "float64"

    return {name: kind(name) for name in columns}


def _by_height(clusters):
    """Return the clusters of each side, the highest first."""
    for name, sign in _SIDES:
        side = clusters[clusters["sign"] == name]
        order = np.argsort(-sign * side["peak_stat"].to_numpy(), kind="stable")
        yield [side.iloc[i] for i in order]


def _peaks_of(cluster, peaks, convention):
    """Return the peaks that a package lists of a cluster.

    SPM's are more than 8 mm from every peak listed; nilearn's from the one listed before only.
    """
    own = peaks[peaks["cluster_id"] == cluster["cluster_id"]]
    own = own.sort_values("peak_id", kind="stable")
    kept = []
    for peak in own.to_dict("records"):
        near = kept[-1:] if convention == "nilearn" else kept
        places = [[other[a] - peak[a] for a in "xyz"] for other in near]
        if all(np.sqrt(np.square(place).sum()) > _PEAK_DISTANCE_MM for place in places):
            kept.append(peak)
        if len(kept) == _PEAKS_LISTED[convention]:
            break
    return kept


def _nilearn_rows(clusters, peaks):
    rows = []
    for side in _by_height(clusters):
        for number, cluster in enumerate(side, start=len(rows) + 1):
            for i, peak in enumerate(_peaks_of(cluster, peaks, "nilearn")):
                letter = ascii_lowercase[i - 1] if i else ""
                # Cut off, but 27 stays 27 where the determinant gives 26.999999.
                volume = cluster["volume_mm3"]
                size = None if i or np.isnan(volume) else int(round(volume, 3))
                rows.append([f"{number}{letter}", *(peak[a] for a in "xyz"), peak["stat"], size])
    return rows


def _spm_rows(clusters, peaks, set_level):
    rows = []
    for cluster in (cluster for side in _by_height(clusters) for cluster in side):
        extent = [cluster[name] for name in ("p_fwe", "p_fdr", "n_voxels", "p_unc")]
        for peak in _peaks_of(cluster, peaks, "spm"):
            heights = [peak[name] for name in ("p_fwe", "p_fdr", "stat", "zscore", "p_unc")]
            rows.append([None, None, *extent, *heights, *(peak[a] for a in "xyz")])
            extent = [None] * 4
    if rows:
        rows[0][:2] = (None, len(clusters)) if set_level is None else set_level
    return rows


def _voxels(clusters, labels, space):
    """Return the voxels of every cluster: their indices, and mm with shape (n, 3)."""
    inside = np.argwhere(labels > 0)
    owner = labels[labels > 0]
    order = np.argsort(owner, kind="stable")
    inside, owner = inside[order], owner[order]
    ids = clusters["cluster_id"].to_numpy()
    bounds = zip(np.searchsorted(owner, ids, "left"), np.searchsorted(owner, ids, "right"))
    for start, stop in bounds:
        voxels = inside[start:stop]
        yield tuple(voxels.T), space.coordinates(voxels)


def _largest_first(clusters):
    order = np.lexsort((-clusters["peak_stat"].abs(), -clusters["n_voxels"]))
    return clusters.iloc[order]


def _centre(xyz, values):
    """Return the mean place weighted by magnitude; a cluster of zeros has that of its voxels."""
    return np.average(xyz, axis=0, weights=np.abs(values) if np.any(values) else None)


def _fsl_rows(clusters, labels, space, zscore, effect):
    rows = []
    ordered = _largest_first(clusters)
    signs = np.where(ordered["sign"] == "positive", 1, -1)
    with np.errstate(divide="ignore"):
        logp = minus_log10(log(ordered["p_fwe"].to_numpy()))
    found = zip(range(len(ordered), 0, -1), signs, _voxels(ordered, labels, space), logp)
    for (index, sign, (at, xyz), cluster_logp), (_, cluster) in zip(found, ordered.iterrows()):
        heights = zscore[at]
        top = np.argmax(heights * sign)
        row = [index, cluster["n_voxels"], cluster["p_fwe"], cluster_logp]
        row += [heights[top], *xyz[top], *_centre(xyz, heights)]
        if effect is not None:
            largest = np.argmax(effect[at] * sign)
            row += [effect[at][largest], *xyz[largest], effect[at].mean()]
        rows.append(row + [None] * (16 - len(row)))
    return rows


def _afni_rows(clusters, labels, space, stat):
    rows = []
    for at, xyz in _voxels(_largest_first(clusters), labels, space):
        values = stat[at]
        n = len(values)
        rai = xyz * [-1, -1, 1]
        ends = np.stack([rai.min(axis=0), rai.max(axis=0)], axis=1)
        top = np.argmax(np.abs(values))
        error = values.std(ddof=1) / np.sqrt(n) if n > 1 else 0.0
        mean = [values.mean(), error]
        rows.append([n, *_centre(rai, values), *ends.ravel(), *mean, values[top], *rai[top]])
    return rows
