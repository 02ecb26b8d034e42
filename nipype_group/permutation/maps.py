"""Maps, null distributions and summaries of a permutation test, from its merged shuffles."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nipype_group.controls import permutation_control
from nipype_group.images import Space, write_volume
from nipype_group.images.stacks import unmask
from nipype_group.json_files import read_json, write_json
from nipype_group.permutation.shards import write_nulldist
from nipype_group.stats.discoveries.calibrated_templates import (
    Template,
    learned_template,
    simes_template,
)
from nipype_group.stats.distributions import minus_log10, z_to_log_p
from nipype_group.stats.elementary import exp
from nipype_group.stats.permutation.early_stopping import StoppedResult, stopped_p
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.p_values import (
    Corrected,
    cluster_heights,
    correct,
    fwe_p,
    mass_ties,
    null_of_maxima,
    stepped_down,
    uncorrected,
)
from nipype_group.stats.permutation.run import ShuffleResult
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.whole_files import AnyPath

TEMPLATES = ("simes", "learned")


@dataclass(frozen=True)
class MergedContrast:
    """All shuffles of one contrast.

    Parameters
    ----------
    name, label : str
        Name of the contrast, and the same cleaned for files.
    contrast : ShuffledContrast
    statistics : ShuffleStatistics
    result : ShuffleResult or list of StoppedResult
    mask : bool array of the shape of the Space
        Voxels tested.
    space : Space
    as_z : bool
        Whether voxels compare on the scale of z, with those of contrasts of another statistic.
    min_extent : int
        Smallest number of voxels of a cluster that is kept.
    searched : bool array, shape (v,), optional
        Voxels of the mask that have a statistic, where some may not.

    Raises
    ------
    ValueError
        Where masses or TFCE would have to compare so and are not on that scale.
    """

    name: str
    label: str
    contrast: ShuffledContrast
    statistics: ShuffleStatistics
    result: ShuffleResult | list[StoppedResult]
    mask: np.ndarray
    space: Space
    as_z: bool = False
    min_extent: int = 0
    searched: np.ndarray | None = None

    def __post_init__(self):
        if self.as_z:
            self.statistics.check_common_scale()

    @property
    def tail(self) -> str:
        """Side tested; F is tested on the positive one."""
        return self.statistics.tail if self.contrast.signed else "positive"

    @property
    def stat_type(self) -> str:
        """Statistic of the contrast."""
        return self.contrast.stat_type

    @property
    def voxel_unit(self) -> str:
        """Unit in which voxels are compared."""
        return "z" if self.as_z else self.stat_type

    @property
    def forming(self) -> dict[str, float]:
        """The cluster-forming threshold as summaries have it; none without clusters."""
        if not self.statistics.forms_clusters:
            return {}
        height = self.statistics.forming_statistic(self.contrast)
        entries = {"ClusterFormingStatistic": height}
        if self.contrast.smooth_variance is None:
            entries["ClusterFormingZ"] = float(self.contrast.z(np.array([height]))[0])
        return entries

    @property
    def family(self) -> np.ndarray | slice:
        """Index of the voxels whose tests are corrected for one another."""
        return slice(None) if self.searched is None else self.searched

    @property
    def exhaustive(self) -> bool:
        """Whether the shuffles are all there are."""
        return self.contrast.scheme.exhaustive

    @property
    def whole(self) -> ShuffleResult:
        """The result, of voxels that all took every shuffle."""
        assert isinstance(self.result, ShuffleResult)
        return self.result

    def heights(self) -> dict[str, np.ndarray]:
        """Return what is compared with the null of each statistic, a dict of arrays (v,)."""
        observed, signed = self.whole.observed, self.contrast.signed
        found = {n: self.statistics.heights(v, signed) for n, v in observed.items()}
        if self.statistics.forms_clusters:
            neighbours = self.space.neighbours(self.mask, self.statistics.connectivity)
            found |= cluster_heights(observed["voxel"], self.statistics, self.contrast, neighbours)
        return self._on_scale({name: found[name] for name in self.statistics.names})

    def nulls(self) -> dict[str, np.ndarray]:
        """Return the null of the maximum of each statistic over the sides tested."""
        signs = self.statistics.signs(self.contrast.signed)
        names = self.statistics.names
        return self._on_scale({n: null_of_maxima(self.whole.nulls, n, signs) for n in names})

    def ties(self) -> dict[str, float | np.ndarray]:
        """Return the relative difference below which heights are equal, by statistic."""
        observed = self.whole.observed
        found = self.statistics.ties(self.contrast, observed, self.as_z)
        if "mass" in found:
            neighbours = self.space.neighbours(self.mask, self.statistics.connectivity)
            mass = np.asarray(found["mass"])
            found["mass"] = mass_ties(
                mass, observed["voxel"], self.statistics, self.contrast, neighbours
            )
        return found

    def _on_scale(self, values):
        return values | {"voxel": self.contrast.z(values["voxel"])} if self.as_z else values


def correct_contrasts(
    merged: Sequence[MergedContrast],
    alpha: float,
    approximation: str = "none",
    across: bool = False,
) -> tuple[list[dict[str, Corrected]], list[float]]:
    """Correct every statistic of contrasts that share their shuffles.

    Parameters
    ----------
    merged : list of MergedContrast
        A family.
    alpha : float
        Familywise error rate.
    approximation : {"none", "gpd", "gamma"}
        Approximation of the nulls' tails.
    across : bool
        Whether the family of tests is that of all contrasts together; those of different
        statistics are `as_z` then.

    Returns
    -------
    corrected : list of dict
        Name of the statistic to `Corrected`, a dict a contrast.
    contrast_p : list of float
        p that each contrast has an effect anywhere by its largest voxel: corrected for all
        contrasts by stepping down where they are one family, else its own.
    """
    heights, nulls, ties = zip(*((m.heights(), m.nulls(), m.ties()) for m in merged), strict=True)
    shared = nulls
    if across:
        shared = [{n: np.max([own[n] for own in nulls], axis=0) for n in nulls[0]}] * len(merged)
    corrected = [
        {n: correct(n, own[n], null[n], alpha, approximation, tie[n]) for n in own}
        for own, null, tie in zip(heights, shared, ties, strict=True)
    ]
    largest = [own["voxel"].argmax() for own in heights]
    maxima = np.array([null["voxel"][0] for null in nulls])
    own_ties = [tie["voxel"][voxel] for tie, voxel in zip(ties, largest, strict=True)]
    contrast_p: Iterable[float | np.ndarray]
    if across:
        contrast_p = stepped_down(maxima, np.array([null["voxel"] for null in nulls]), own_ties)
    else:
        contrast_p = [
            fwe_p(top, null["voxel"], tie)
            for top, null, tie in zip(maxima, nulls, own_ties, strict=True)
        ]
    return corrected, [float(p) for p in contrast_p]


def write_contrast(
    directory: AnyPath,
    merged: MergedContrast,
    corrected: Mapping[str, Corrected],
    about: Mapping[str, Any],
) -> tuple[dict[str, str], list[dict[str, str | float]]]:
    """Write what belongs to a contrast as a whole; returns paths by output name.

    Parameters
    ----------
    directory : path
    merged : MergedContrast
    corrected : dict
        Name of the statistic to `Corrected`.
    about : dict
        Entries of every summary.

    Returns
    -------
    contrast : dict
        Output name to path: null distributions, uncorrected p and false discovery rates.
    results : list of dict
        A statistic each: output name to path or number.
    """
    directory, result = Path(directory), merged.whole
    write = partial(write_map, directory, merged)
    of_contrast = {
        "nulldist_files": write_nulldist(directory / f"{merged.label}_nulldist.tsv", result.nulls),
        "stat_files": write("stat", result.observed["voxel"]),
    }
    if "tfce" in result.observed:
        of_contrast["tfce_files"] = write("tfce", result.observed["tfce"])
    n_shuffles = len(result.nulls["voxel_positive"])
    for name, counts in result.counts.items():
        prefix = "" if name == "voxel" else f"{name}_"
        log_p, log_q = uncorrected(counts, n_shuffles, merged.family)
        of_contrast[f"{prefix}logp_unc_files"] = write(f"{prefix}logp_unc", minus_log10(log_p))
        of_contrast[f"{prefix}logp_fdr_files"] = write(f"{prefix}logp_fdr", minus_log10(log_q))
    results = [
        {
            **write_result(directory, merged, result.observed["voxel"], name, corrected, about),
            "logp_fwe_files": write(f"{name}_logp_fwe", minus_log10(own.log_p)),
            "peak_logp_files": write(
                f"{name}_peak_logp",
                minus_log10(corrected["tfce" if name == "tfce" else "voxel"].log_p),
            ),
        }
        for name, own in corrected.items()
    ]
    return of_contrast, results


def write_stopped_contrast(
    directory: AnyPath,
    merged: MergedContrast,
    n_required: int,
    alpha: float,
    about: Mapping[str, Any],
) -> tuple[dict[str, str], list[dict[str, str | float]]]:
    """Write a contrast whose voxels stopped early; returns paths as `write_contrast`.

    Parameters
    ----------
    directory : path
    merged : MergedContrast
        With the results of all shards.
    n_required : int
        Shuffles at least as extreme after which a voxel stopped.
    alpha : float
        False discovery rate of the thresholded map.
    about : dict
        Entries of the summary.
    """
    shards = merged.result
    assert isinstance(shards, list)
    directory, observed = Path(directory), shards[0].observed
    write = partial(write_map, directory, merged)
    p, taken = stopped_p(shards, n_required, about["Shuffles"] - 1)
    log_p, log_q = uncorrected(p, 1, merged.family)
    heights = merged.statistics.heights(observed, merged.contrast.signed)
    own = Corrected("voxel", heights, exp(log_q), log_q, np.empty(0), alpha)
    about = {
        **about,
        "HeightControl": "permutation-fdr",
        "MedianShufflesOfAVoxel": float(np.median(taken)),
    }
    of_contrast = {
        "stat_files": write("stat", observed),
        "logp_unc_files": write("logp_unc", minus_log10(log_p)),
        "logp_fdr_files": write("logp_fdr", minus_log10(log_q)),
    }
    results = [write_result(directory, merged, observed, "voxel", {"voxel": own}, about)]
    return of_contrast, results


def write_map(directory: AnyPath, merged: Any, name: str, values: np.ndarray, **how: Any) -> str:
    """Write values of the voxels of a contrast, or of a conjunction, as a map; returns the path.

    Parameters
    ----------
    directory : path
    merged : MergedContrast or Conjunction
    name : str
        What the map holds, in the name of its file.
    values : array, shape (v,)
    **how
        As `write_volume` takes it.
    """
    directory = Path(directory)
    path = directory / merged.space.file_name(f"{merged.label}_{name}")
    return write_volume(path, unmask(values, merged.mask), merged.space, **how)


def write_result(
    directory: AnyPath,
    merged: Any,
    observed: np.ndarray,
    name: str,
    corrected: Mapping[str, Corrected],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Write thresholded map, clusters and summary of one statistic; returns paths by output.

    Parameters
    ----------
    directory : path
    merged : MergedContrast or Conjunction
    observed : array, shape (v,)
        Statistic of the voxels.
    name : str
        Which of `corrected` decides.
    corrected : dict
        Name of the statistic to `Corrected`.
    about : dict
        Entries of the summary.
    """
    directory = Path(directory)
    own = corrected[name]
    labels = merged.space.label_clusters(
        unmask(observed, merged.mask),
        unmask(own.survives, merged.mask) > 0,
        merged.statistics.connectivity,
        merged.min_extent,
    )
    flat = labels.ravel(order="F")[np.flatnonzero(merged.mask.ravel(order="F"))]
    kept = np.where(flat > 0, observed, 0.0)
    summary = {
        "Contrast": merged.name,
        "StatisticType": merged.stat_type,
        "HeightControl": permutation_control(name).name,
        "Alpha": own.alpha,
        "Threshold": own.threshold if np.isfinite(own.threshold) else None,
        "CriticalValue": own.critical,
        "ThresholdUnit": _unit(name, merged),
        "Tail": merged.tail,
        "ClusterExtentVoxels": merged.min_extent,
        "Connectivity": merged.statistics.connectivity,
        **merged.forming,
        "SearchVolumeVoxels": len(observed[merged.family]),
        "SurvivingVoxels": int((flat > 0).sum()),
        "Clusters": int(flat.max(initial=0)),
        "LargestStatistic": float(observed[merged.family].max()),
        "SmallestStatistic": float(observed[merged.family].min()),
        "SmallestCorrectedP": float(own.p.min()),
        **about,
        "NearAlpha": own.precision(merged.exhaustive),
        "ClusterTable": [] if len(own.null) == 0 else _cluster_table(flat, corrected, own),
    }
    if own.fit is not None:
        summary["Approximation"] = {
            "Method": own.fit.method,
            "Accepted": bool(own.fit.accepted),
            "Parameters": {k: float(v) for k, v in own.fit.parameters.items()},
            # JSON has no infinity, which a value beyond the curve's bound gives.
            "GoodnessOfFit": {
                k: float(v) if np.isfinite(v) else None for k, v in own.fit.goodness.items()
            },
        }
    path = directory / f"{merged.label}_{name}_summary.json"
    write_json(path, summary)
    return {
        "contrast_names": merged.name,
        "statistics": name,
        "thresholded_files": write_map(directory, merged, f"{name}_thresholded", kept),
        "label_files": write_map(directory, merged, f"{name}_labels", flat, dtype="int32"),
        "threshold_stats": own.threshold,
        "summary_files": str(path),
    }


def _unit(name, merged):
    scale = "z" if merged.statistics.statistic_scale == "z" else merged.stat_type
    units = {"extent": "voxels", "mass": f"sum of {scale}", "tfce": "TFCE"}
    return merged.voxel_unit if name == "voxel" else units[name]


def _cluster_table(labels, corrected, own):
    """Return the corrected p of every cluster, by each statistic that ran.

    The p of voxels and TFCE is that of the cluster's most significant voxel. The p of extent and
    mass is that of the cluster at the cluster-forming threshold which holds this voxel.
    """
    rows = []
    for cluster in range(1, int(labels.max(initial=0)) + 1):
        members = np.flatnonzero(labels == cluster)
        row = {"cluster_id": cluster, "p_fwe": float(own.p[members].min())}
        for name, other in corrected.items():
            row[f"p_fwe_{name}"] = float(other.p[members].min())
        rows.append(row)
    return rows


def write_template(path: AnyPath, merged: MergedContrast, kind: str, alpha: float) -> str:
    """Calibrate a template of true discovery proportions and write it; returns the path.

    Parameters
    ----------
    path : path
        JSON file.
    merged : MergedContrast
        With the most extreme voxels of every shuffle.
    kind : {"simes", "learned"}
    alpha : float
        Probability that any bound fails.
    """
    if not merged.whole.tops.size:
        raise ValueError("a template needs the most extreme voxels of every shuffle (n_top)")
    z = merged.contrast.z(merged.whole.tops.astype(float))
    # Heights are on the side of the tail already: both sides together have twice the p.
    log_p = z_to_log_p(z, "two-sided" if merged.tail == "two-sided" else "positive")
    n_voxels = int(merged.mask.sum())
    if kind == "simes":
        template = simes_template(log_p, n_voxels, alpha, merged.tail)
    else:
        seed = merged.contrast.scheme.seed
        template = learned_template(log_p, n_voxels, alpha, merged.tail, seed)
    Path(path).write_text(json.dumps(template.as_dict()) + "\n", encoding="utf-8")
    return str(path)


def read_template(path: AnyPath) -> Template:
    """Read a template.

    Returns
    -------
    Template

    Raises
    ------
    ValueError
        Where the file is none.
    """
    try:
        return Template.from_dict(read_json(path))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no calibrated template ({error})") from error
