"""Tables of clusters, of their peaks and of the regions that they cover."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import ndimage, special

from nipype_group.reporting.atlases import lookup as atlas_names
from nipype_group.reporting.tables.columns import (
    CLUSTER_COLUMNS,
    INFERENCE_COLUMNS,
    LABEL_COLUMNS,
    PEAK_COLUMNS,
    check_atlas_names,
    make_frame,
    read_table,
    write_tables,
)
from nipype_group.stats.clusters import label_clusters, signs_of
from nipype_group.tsv import MISSING

if TYPE_CHECKING:
    import pandas as pd

    from nipype_group.images.space import Space
    from nipype_group.reporting.atlases.find import Atlas

__all__ = [
    "add_cluster_p",
    "add_inference_p",
    "add_peak_q",
    "add_sizes",
    "cluster_tables",
    "inference_positions",
    "label_map",
    "read_table",
    "write_tables",
]

STAT_TYPES = ("t", "F", "z")
_AXES = "ijk"


def cluster_tables(
    stat: np.ndarray,
    labels: np.ndarray,
    space: Space,
    *,
    zscore: np.ndarray | None,
    stat_type: str = "t",
    effect: np.ndarray | None = None,
    variance: np.ndarray | None = None,
    p_unc: np.ndarray | None = None,
    p_fwe: np.ndarray | None = None,
    p_fdr: np.ndarray | None = None,
    atlases: Sequence[Atlas] = (),
    min_distance_mm: float = 8.0,
    max_peaks: int = 4,
    peak_connectivity: int = 26,
    standard_space: bool = True,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Describe the clusters of a label image.

    The main peak of a cluster is its voxel with the largest z score (statistic where `zscore` is
    None) in the direction of the cluster's sign; z scores compare voxels whose degrees of freedom
    differ. On a plateau the voxel nearest to its centre stands for it. Further peaks are local
    maxima among `peak_connectivity` neighbours, farther than `min_distance_mm` from every higher
    peak listed.

    Parameters
    ----------
    stat : float array, shape (x, y, z)
        Statistic; its sign gives the sign of a cluster.
    labels : int array, shape (x, y, z)
        Cluster of each voxel, 0 outside. Ids need not be consecutive and are kept.
    space : Space
        Where the voxels lie. Volumes of clusters are NaN where places have none, shares of the
        regions of atlases where places differ in size too.
    zscore, effect, variance, p_unc, p_fwe, p_fdr : float array, shape (x, y, z), or None
        Values for the peaks; columns without a volume are NaN. The p values of clusters are left
        NaN, for the inference that made the clusters to fill.
    stat_type : {"t", "F", "z"}
    atlases : sequence of Atlas
        The first one names the clusters.
    min_distance_mm : float
        mm.
    max_peaks : int
        Largest number of peaks listed of a cluster, the main peak included.
    peak_connectivity : {6, 18, 26}
        Neighbours that a further peak is as high as.
    standard_space : bool
        False where the images are not in MNI space: the tissue of the peaks is then "n/a".

    Returns
    -------
    clusters, peaks, region_labels : DataFrame
        Sorted by cluster id; peaks by height; regions by share in each atlas. `peaks` has one
        more column for each atlas, of its name. Text that is missing is "n/a".

    Raises
    ------
    ValueError
        Shapes differ, labels aren't whole numbers from 0, values in clusters aren't finite, an F
        is negative, or an atlas has the name of a column.
    """
    atlases = list(atlases)
    _check(stat_type, max_peaks, atlases)
    volumes = {"zscore": zscore, "effect": effect, "p_unc": p_unc}
    volumes |= {"p_fwe": p_fwe, "p_fdr": p_fdr}
    volumes = {name: v for name, v in volumes.items() if v is not None}
    if variance is not None:
        volumes["variance"] = variance
    stat, labels, volumes = _checked_arrays(stat, labels, volumes, stat_type)
    spread = (min_distance_mm, max_peaks, peak_connectivity)
    found = _voxels_of_clusters(stat, labels, volumes.get("zscore", stat), space)
    # One pass through each atlas for all clusters: reading it is what takes the time.
    samples = [(a, *atlas_names.sample(a, found.xyz)) for a in atlases] if found.spans else []

    cluster_rows, peak_rows, label_rows = [], [], []
    for cluster_id, inside in found.spans.items():
        values, xyz = found.heights[inside], found.xyz[inside]
        sign = 1 if values[np.argmax(np.abs(values))] >= 0 else -1
        common = {"cluster_id": cluster_id, "sign": "positive" if sign > 0 else "negative"}
        ranks = found.ranks[inside] * sign
        chosen = inside.start + _peaks(space, found.voxels[inside], ranks, xyz, *spread)
        peaks = _peak_rows(found, chosen.tolist(), common, volumes, samples)
        regions = [
            {"cluster_id": cluster_id, "atlas": a.name, **region}
            for a, found_at, sizes in samples
            for region in _regions(a, found_at[inside], sizes, values, space.place_measure)
        ]
        known = _of_all_voxels(space, found.voxels[inside], volumes.get("effect"))
        cluster_rows.append(common | _cluster(values, xyz, peaks, regions) | known)
        peak_rows += peaks
        label_rows += regions
    _add_tissue(peak_rows, standard_space)
    # A map of one axis has the index i alone.
    peak_columns = [c for c in PEAK_COLUMNS if c not in _AXES[stat.ndim :]]
    return (
        make_frame(cluster_rows, CLUSTER_COLUMNS),
        make_frame(peak_rows, peak_columns + [atlas.name for atlas in atlases]),
        make_frame(label_rows, LABEL_COLUMNS),
    )


class _ClusterVoxels(NamedTuple):
    """Voxels of all clusters, those of one cluster side by side.

    Parameters
    ----------
    voxels : int array, shape (n, number of axes)
        Voxel indices.
    xyz : array, shape (n, 3)
        The same places in mm.
    heights, ranks : arrays, shape (n,)
        Statistic, and what the peaks are chosen by.
    spans : dict of int to slice
        Rows of every cluster, by its id.
    """

    voxels: np.ndarray
    xyz: np.ndarray
    heights: np.ndarray
    ranks: np.ndarray
    spans: dict


def _voxels_of_clusters(stat, labels, ranks, space):
    voxels, owner = np.argwhere(labels > 0), labels[labels > 0]
    order = np.argsort(owner, kind="stable")
    voxels, owner = voxels[order], owner[order]
    ids, first = np.unique(owner, return_index=True)
    at = tuple(voxels.T)
    return _ClusterVoxels(
        voxels,
        space.coordinates(voxels),
        heights=stat[at].astype(float),
        ranks=ranks[at].astype(float),
        spans=dict(zip(ids.tolist(), map(slice, first, [*first[1:], len(owner)]))),
    )


def _peak_rows(found, chosen, common, volumes, samples):
    """Make the rows of peaks.tsv of one cluster, whose peaks stand in the rows chosen."""
    peaks = []
    for peak_id, row in enumerate(chosen, start=1):
        voxel, place = found.voxels[row], found.xyz[row]
        at = {name: float(v[tuple(voxel)]) for name, v in volumes.items()}
        at["standard_error"] = np.sqrt(at.pop("variance", np.nan))
        peak = {**common, "peak_id": peak_id, **at, "stat": found.heights[row]}
        peak |= dict(zip(_AXES, voxel.tolist())) | dict(zip("xyz", place))
        peak["distance_to_main_mm"] = np.sqrt(np.square(place - found.xyz[chosen[0]]).sum())
        peak["hemisphere"] = atlas_names.hemisphere(place[0])
        peak |= {a.name: atlas_names.peak_text(a, found_at[row]) for a, found_at, _ in samples}
        peaks.append(peak)
    return peaks


def label_map(
    stat: np.ndarray,
    threshold: float,
    *,
    tail: str = "two-sided",
    extent: int = 0,
    connectivity: int = 26,
    mask: np.ndarray | None = None,
    label: Callable[..., np.ndarray] = label_clusters,
) -> np.ndarray:
    """Form the clusters of a map at a height of its statistic; inclusion is >=.

    Parameters
    ----------
    stat : array, shape (x, y, z)
        Statistic; voxels that are NaN belong to no cluster.
    threshold : float
        Height in units of the statistic, > 0; the tail chooses the side.
    tail : {"two-sided", "positive", "negative"}
    extent : int
        Smallest number of voxels of a cluster.
    connectivity : {6, 18, 26}
        Neighbours of a voxel.
    mask : bool array, shape (x, y, z), optional
        Voxels that can belong to a cluster.
    label : callable, optional
        Labels clusters as `label_clusters` does those of volumes.

    Returns
    -------
    int32 array, shape (x, y, z)
        Ids as `label_clusters` gives them, 0 outside.

    Raises
    ------
    ValueError
        For a threshold that is no height, a negative extent, an unknown tail or connectivity.

    Examples
    --------
    >>> z = np.array([-4.0, 0, 3, 5, np.nan])[:, None, None]
    >>> label_map(z, 3, tail="positive")[:, 0, 0].tolist()
    [0, 0, 1, 1, 0]
    """
    if not 0 < threshold < np.inf:
        raise ValueError(f"a threshold is a height > 0, got {threshold:g}; the tail is the side")
    if extent < 0:
        raise ValueError(f"a cluster extent is a number of voxels from 0, got {extent}")
    survives = np.zeros(stat.shape, dtype=bool)
    for sign in signs_of(tail):
        survives |= stat * sign >= threshold
    if mask is not None:
        survives &= mask
    return label(stat, survives, connectivity, extent)


def inference_positions(inferences: Iterable[str], n_maps: int) -> dict[str, int]:
    """Read which map belongs to which column of p.

    Parameters
    ----------
    inferences : sequence of str
        COLUMN=POSITION, positions from 0.
    n_maps : int
        Number of maps.

    Returns
    -------
    dict of str to int

    Raises
    ------
    ValueError
        A column is unknown or given twice, or a position is none of a map.

    Examples
    --------
    >>> inference_positions(["p_fwe_voxel=2", "p_fwe_rft=0"], 3)
    {'p_fwe_voxel': 2, 'p_fwe_rft': 0}
    """
    positions = {}
    for text in inferences:
        column, _, position = (part.strip() for part in text.partition("="))
        if column not in INFERENCE_COLUMNS:
            raise ValueError(
                f"inference {text!r} is for no known column; COLUMN=POSITION has one of "
                f"{', '.join(INFERENCE_COLUMNS)}"
            )
        if column in positions:
            raise ValueError(f"two inferences are for the column {column}; give one")
        if not position.isdecimal() or int(position) >= n_maps:
            raise ValueError(
                f"inference {text!r} is none of the {n_maps} maps of -log10 p; positions count "
                "from 0"
            )
        positions[column] = int(position)
    return positions


def add_inference_p(
    clusters: pd.DataFrame, peaks: pd.DataFrame, labels: np.ndarray, logp: Mapping[str, np.ndarray]
) -> None:
    """Add the p of other inferences on the same contrast, in place.

    A peak gets the p of its voxel, a cluster the smallest p of its voxels.

    Parameters
    ----------
    clusters, peaks : DataFrame
        From `cluster_tables`.
    labels : int array, shape (x, y, z)
        Cluster of each voxel.
    logp : dict of str to array, shape (x, y, z)
        Column of p to -log10 of the p; 0 (p = 1) where a voxel was not tested.

    Raises
    ------
    ValueError
        A column is unknown, a map has another shape or is no -log10 p inside the clusters.
    """
    inside = labels > 0
    ids = clusters["cluster_id"].to_numpy()
    at = tuple(peaks[axis].to_numpy() for axis in _AXES[: labels.ndim])
    for name, volume in logp.items():
        if volume.shape != labels.shape:
            raise ValueError(f"{name} has shape {volume.shape}, the labels {labels.shape}")
        held = volume[inside]
        if not np.all(held >= 0):
            raise ValueError(f"{name} is no map of -log10 p: it is negative or NaN in clusters")
        largest = ndimage.maximum(held, labels[inside], ids) if len(ids) else np.empty(0)
        _set_p(clusters, name, special.exp10(-np.asarray(largest)))
        _set_p(peaks, name, special.exp10(-volume[at]))


def add_sizes(
    clusters: pd.DataFrame, peaks: pd.DataFrame, sizes: Mapping[str, np.ndarray]
) -> None:
    """Add effect sizes and the ends of their intervals at the peaks, in place.

    Parameters
    ----------
    clusters, peaks : DataFrame
        From `cluster_tables`; a cluster has those of its main peak.
    sizes : dict of str to array of the shape of the Space
        By column, see `nipype_group.reporting.effect_sizes.size_columns`.
    """
    main = peaks["peak_id"].to_numpy() == 1
    places = tuple(peaks[axis].to_numpy() for axis in _AXES if axis in peaks)
    before, of_cluster = "standard_error", "effect_at_peak"
    for column, values in sizes.items():
        at = np.asarray(values[places], dtype=float)
        peaks.insert(peaks.columns.get_loc(before) + 1, column, at)
        known = dict(zip(peaks["cluster_id"].to_numpy()[main].tolist(), at[main].tolist()))
        own = [known[cluster_id] for cluster_id in clusters["cluster_id"].tolist()]
        place = clusters.columns.get_loc(of_cluster) + 1
        clusters.insert(place, f"{column}_at_peak", np.array(own, dtype=float))
        before, of_cluster = column, f"{column}_at_peak"


def add_cluster_p(
    clusters: pd.DataFrame, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()
) -> None:
    """Fill extents and p of clusters, in place.

    Parameters
    ----------
    clusters : DataFrame
        From `cluster_tables`.
    rows : list of dict
        A cluster each, by its cluster_id; what they hold replaces what was there.
    columns : sequence of str
        Columns of p that are there even if no row has them.

    Raises
    ------
    ValueError
        A row is for no cluster of the table, or has an unknown column.
    """
    by_id = {row["cluster_id"]: row for row in rows}
    ids = clusters["cluster_id"].tolist()
    absent = sorted(set(by_id) - set(ids))
    if absent:
        raise ValueError(f"p of the clusters {absent}, which are not in the label image")
    # In the order of the rows: a set would give the columns another order in every process.
    for name in dict.fromkeys([*columns, *(name for row in rows for name in row)]):
        if name != "cluster_id":
            old = clusters[name].tolist() if name in clusters else [np.nan] * len(ids)
            _set_p(clusters, name, [by_id.get(i, {}).get(name, v) for i, v in zip(ids, old)])


def _set_p(frame, name, values):
    """Set a column; columns of further inferences stand after p_fdr, in their fixed order."""
    values = np.asarray(values, dtype=float)
    if name in frame:
        frame[name] = values
        return
    if name not in INFERENCE_COLUMNS:
        raise ValueError(f"{name} is no column of p; there are {', '.join(INFERENCE_COLUMNS)}")
    earlier = INFERENCE_COLUMNS[: INFERENCE_COLUMNS.index(name)]
    before = ["p_fdr", *(column for column in earlier if column in frame)][-1]
    frame.insert(frame.columns.get_loc(before) + 1, name, values)


def add_peak_q(peaks: pd.DataFrame, maxima: Sequence[Sequence[float]]) -> None:
    """Fill the false discovery rate of peaks, in place, from [i, j, k, q] of local maxima."""
    q_at = {tuple(at): q for *at, q in maxima}
    if q_at:
        places = zip(*(peaks[axis] for axis in _AXES if axis in peaks), strict=True)
        peaks["p_fdr"] = np.array([q_at.get(place, np.nan) for place in places], dtype=float)


def _check(stat_type, max_peaks, atlases):
    if stat_type not in STAT_TYPES:
        raise ValueError(f"stat_type is one of {', '.join(STAT_TYPES)}, got {stat_type!r}")
    if max_peaks < 1:
        raise ValueError(f"max_peaks is at least 1, the main peak, got {max_peaks}")
    check_atlas_names([atlas.name for atlas in atlases])


def _checked_arrays(stat, labels, volumes, stat_type):
    stat, labels = np.asarray(stat), np.asarray(labels)
    volumes = {name: np.asarray(volume) for name, volume in volumes.items()}
    for name, volume in {"labels": labels, **volumes}.items():
        if volume.shape != stat.shape:
            raise ValueError(f"{name} has shape {volume.shape}, the statistic {stat.shape}")
    if labels.dtype.kind not in "iu":
        if np.any(labels != np.rint(labels)):
            raise ValueError("labels holds values that are not whole numbers")
        labels = labels.astype(np.int32)
    if labels.size and labels.min() < 0:
        raise ValueError(f"labels holds {labels.min()}; clusters count from 1, 0 is outside")
    inside = labels > 0
    for name, volume in {"stat": stat, "zscore": volumes.get("zscore", stat)}.items():
        bad = int((~np.isfinite(volume[inside])).sum())
        if bad:
            raise ValueError(f"{name} is not finite at {bad} voxels of clusters; mask them out")
    if stat_type == "F" and np.any(stat[inside] < 0):
        raise ValueError("an F statistic is negative inside a cluster; is it a t map?")
    return stat, labels, volumes


def _peaks(space, voxels, heights, xyz, min_distance_mm, max_peaks, connectivity):
    """Return rows of the highest maxima of a cluster that are far enough from each other."""
    kept = []
    for row in space.local_maxima(voxels, heights, connectivity):
        if np.all(np.sqrt(np.square(xyz[kept] - xyz[row]).sum(axis=1)) > min_distance_mm):
            kept.append(row)
        if len(kept) == max_peaks:
            break
    return np.array(kept)


def _cluster(values, xyz, peaks, regions):
    """Make the row of clusters.tsv of one cluster, but for id, sign, volume and mean effect."""
    main = peaks[0]
    # The centre of a cluster of zeros is that of its voxels.
    weights = np.abs(values) if np.any(values) else None
    centre = np.average(xyz, axis=0, weights=weights)
    return {
        "n_voxels": len(values),
        "mass": np.abs(values).sum(),
        "peak_stat": main["stat"],
        "peak_zscore": main.get("zscore", np.nan),
        **{f"peak_{axis}": main[axis] for axis in "xyz"},
        **{f"com_{axis}": centre[i] for i, axis in enumerate("xyz")},
        "stat_mean": values.mean(),
        "effect_at_peak": main.get("effect", np.nan),
        "n_peaks": len(peaks),
        "hemisphere": main["hemisphere"],
        "label": regions[0]["name"] if regions else MISSING,
        "label_percent": regions[0]["percent_of_cluster"] if regions else np.nan,
    }


def _of_all_voxels(space, voxels, effect):
    """Return the volume of a cluster where places have one, and its mean effect where maps do."""
    known = {}
    if space.measure_unit == "mm3":
        known["volume_mm3"] = space.measure(voxels)
    if effect is not None:
        known["effect_mean"] = effect[tuple(voxels.T)].mean(dtype=float)
    return known


def _regions(atlas, found_at, sizes, values, voxel_mm3):
    """Make the rows of labels.tsv of one cluster in one atlas."""
    rows = []
    for index, name, n_voxels, percent, probability, here in atlas_names.region_shares(
        atlas, found_at
    ):
        covered = n_voxels
        if atlas.probabilistic and index is not None:
            covered = found_at[:, index].sum(dtype=float) / 100
        whole = sizes.get(index, np.nan)
        rows.append(
            {
                "index": index,
                "name": name,
                "n_voxels": n_voxels,
                "percent_of_cluster": percent,
                # Grids differ, so the volumes of a region that is covered whole differ a little.
                "percent_of_region": np.minimum(100 * covered * voxel_mm3 / whole, 100),
                "mean_probability": probability,
                "peak_stat_in_region": values[here][np.argmax(np.abs(values[here]))],
            }
        )
    return rows


def _add_tissue(peaks, standard_space):
    names = [MISSING] * len(peaks)
    if standard_space and peaks:
        names = atlas_names.tissue([[peak[a] for a in "xyz"] for peak in peaks]).tolist()
    for peak, name in zip(peaks, names):
        peak["tissue"] = name
