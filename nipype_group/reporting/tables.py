"""Tables of clusters, of their peaks and of the regions that they cover."""

import numpy as np

from nipype_group.reporting import atlas as atlas_names
from nipype_group.reporting.table_files import (
    CLUSTER_COLUMNS,
    COLUMNS,
    LABEL_COLUMNS,
    MISSING,
    PEAK_COLUMNS,
    make_frame,
    read_table,
    write_tables,
)
from nipype_group.stats.clusters import local_maxima

__all__ = ["add_cluster_p", "add_peak_q", "cluster_tables", "read_table", "write_tables"]

STAT_TYPES = ("t", "F", "z")


def cluster_tables(
    stat,
    labels,
    affine,
    *,
    zscore,
    stat_type="t",
    effect=None,
    variance=None,
    p_unc=None,
    p_fwe=None,
    p_fdr=None,
    atlases=(),
    min_distance_mm=8.0,
    max_peaks=4,
    standard_space=True,
):
    """Describe the clusters of a label image.

    The main peak of a cluster is its voxel with the largest z score (statistic where `zscore` is
    None) in the direction of the cluster's sign; z scores compare voxels whose degrees of freedom
    differ. On a plateau the voxel nearest to its centre stands for it. Further peaks are local
    maxima (26 neighbours) farther than `min_distance_mm` from every higher peak listed.

    Parameters
    ----------
    stat : float array, shape (x, y, z)
        Statistic; its sign gives the sign of a cluster.
    labels : int array, shape (x, y, z)
        Cluster of each voxel, 0 outside. Ids need not be consecutive and are kept.
    affine : array, shape (4, 4)
        Voxel indices to mm, RAS+.
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
    affine = np.asarray(affine, dtype=float)
    spread = (min_distance_mm, max_peaks)
    voxel_mm3 = abs(np.linalg.det(affine[:3, :3]))

    voxels = np.argwhere(labels > 0)
    owner = labels[labels > 0]
    order = np.argsort(owner, kind="stable")
    voxels, owner = voxels[order], owner[order]
    xyz = voxels @ affine[:3, :3].T + affine[:3, 3]
    heights = stat[tuple(voxels.T)].astype(float)
    ranks = volumes.get("zscore", stat)[tuple(voxels.T)].astype(float)
    ids, first = np.unique(owner, return_index=True)
    # One pass through each atlas for all clusters: reading it is what takes the time.
    samples = [(a, *atlas_names.sample(a, xyz)) for a in atlases] if len(ids) else []

    cluster_rows, peak_rows, label_rows = [], [], []
    for cluster_id, start, stop in zip(ids.tolist(), first, [*first[1:], len(owner)]):
        inside = slice(start, stop)
        values = heights[inside]
        sign = 1 if values[np.argmax(np.abs(values))] >= 0 else -1
        common = {"cluster_id": cluster_id, "sign": "positive" if sign > 0 else "negative"}
        chosen = start + _peaks(voxels[inside], ranks[inside] * sign, xyz[inside], *spread)
        peaks = []
        for peak_id, row in enumerate(chosen.tolist(), start=1):
            at = {name: float(v[tuple(voxels[row])]) for name, v in volumes.items()}
            at["standard_error"] = np.sqrt(at.pop("variance", np.nan))
            peak = {**common, "peak_id": peak_id, **at, "stat": heights[row]}
            peak |= dict(zip("ijk", voxels[row].tolist())) | dict(zip("xyz", xyz[row]))
            peak["distance_to_main_mm"] = np.linalg.norm(xyz[row] - xyz[chosen[0]])
            peak["hemisphere"] = atlas_names.hemisphere(xyz[row, 0])
            peak |= {a.name: atlas_names.peak_text(a, found[row]) for a, found, _ in samples}
            peaks.append(peak)
        regions = [
            {"cluster_id": cluster_id, "atlas": a.name, **region}
            for a, found, sizes in samples
            for region in _regions(a, found[inside], sizes, values, voxel_mm3)
        ]
        cluster = _cluster(values, xyz[inside], peaks, regions, voxel_mm3)
        if effect is not None:
            cluster["effect_mean"] = volumes["effect"][tuple(voxels[inside].T)].mean(dtype=float)
        cluster_rows.append(common | cluster)
        peak_rows += peaks
        label_rows += regions
    _add_tissue(peak_rows, standard_space)
    return (
        make_frame(cluster_rows, CLUSTER_COLUMNS),
        make_frame(peak_rows, PEAK_COLUMNS + [atlas.name for atlas in atlases]),
        make_frame(label_rows, LABEL_COLUMNS),
    )


def add_cluster_p(clusters, rows):
    """Fill extents and p of clusters, in place, from dictionaries with a cluster_id."""
    table = clusters.set_index("cluster_id")
    for row in rows:
        for name, value in row.items():
            if name != "cluster_id":
                table.loc[row["cluster_id"], name] = value
    # In the order of the rows: a set would give the columns another order in every process.
    for name in dict.fromkeys(name for row in rows for name in row):
        if name != "cluster_id":
            clusters[name] = table[name].to_numpy()


def add_peak_q(peaks, maxima):
    """Fill the false discovery rate of peaks, in place, from [i, j, k, q] of local maxima."""
    q_at = {tuple(at): q for *at, q in maxima}
    if q_at:
        places = zip(peaks["i"], peaks["j"], peaks["k"], strict=True)
        peaks["p_fdr"] = np.array([q_at.get(place, np.nan) for place in places], dtype=float)


def _check(stat_type, max_peaks, atlases):
    if stat_type not in STAT_TYPES:
        raise ValueError(f"stat_type is one of {', '.join(STAT_TYPES)}, got {stat_type!r}")
    if max_peaks < 1:
        raise ValueError(f"max_peaks is at least 1, the main peak, got {max_peaks}")
    names = [atlas.name for atlas in atlases]
    taken = sorted(set(names) & set(COLUMNS) | {n for n in names if names.count(n) > 1})
    if taken:
        raise ValueError(
            f"atlas {', '.join(taken)} has the name of another column of the peaks: "
            "rename its files"
        )


def _checked_arrays(stat, labels, volumes, stat_type):
    stat, labels = np.asarray(stat), np.asarray(labels)
    volumes = {name: np.asarray(volume) for name, volume in volumes.items()}
    for name, volume in {"labels": labels, **volumes}.items():
        if stat.ndim != 3 or volume.shape != stat.shape:
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


def _peaks(voxels, heights, xyz, min_distance_mm, max_peaks):
    """Return rows of the highest maxima of a cluster that are far enough from each other."""
    corner = voxels.min(axis=0)
    at = tuple((voxels - corner).T)
    shape = tuple(np.ptp(voxels, axis=0) + 1)
    row_of = np.full(shape, -1)
    row_of[at] = np.arange(len(voxels))
    box = np.zeros(shape)
    box[at] = heights
    kept = []
    for row in row_of[tuple(local_maxima(box, row_of >= 0).T)]:
        if np.all(np.linalg.norm(xyz[kept] - xyz[row], axis=1) > min_distance_mm):
            kept.append(row)
        if len(kept) == max_peaks:
            break
    return np.array(kept)


def _cluster(values, xyz, peaks, regions, voxel_mm3):
    """Make the row of clusters.tsv of one cluster, but for its id, sign and mean effect."""
    main = peaks[0]
    # The centre of a cluster of zeros is that of its voxels.
    weights = np.abs(values) if np.any(values) else None
    centre = np.average(xyz, axis=0, weights=weights)
    return {
        "n_voxels": len(values),
        "volume_mm3": len(values) * voxel_mm3,
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
