"""Conjunctions of contrasts that were tested by permutation, from the p of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nipype_group.images import Space
from nipype_group.permutation.maps import MergedContrast, write_map, write_result
from nipype_group.stats.conjunctions import (
    conjoined_log_p,
    conjoined_z,
    least_significant,
    unlike_signs,
)
from nipype_group.stats.distributions import minus_log10
from nipype_group.stats.elementary import exp, log
from nipype_group.stats.multiple_testing import adjust_fdr
from nipype_group.stats.permutation.early_stopping import stopped_p
from nipype_group.stats.permutation.p_values import Corrected
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.whole_files import AnyPath

# Statistics whose p are of a voxel: those of clusters say nothing of two contrasts at a place.
OF_VOXELS = ("voxel", "tfce")


@dataclass(frozen=True)
class PermutedContrast:
    """What a conjunction takes of a contrast.

    Parameters
    ----------
    merged : MergedContrast
    values : dict
        z of the voxels, TFCE with the sign of the statistic: arrays, shape (v,).
    log_p, log_p_fwe : dict
        Natural logarithm of uncorrected and of familywise p of each; the latter empty where
        voxels stopped early.
    about : dict
        Entries of its summaries.
    """

    merged: MergedContrast
    values: Mapping[str, np.ndarray]
    log_p: Mapping[str, np.ndarray]
    log_p_fwe: Mapping[str, np.ndarray]
    about: Mapping[str, Any]

    @classmethod
    def of_all_shuffles(
        cls, merged: MergedContrast, corrected: Mapping[str, Corrected], about: Mapping[str, Any]
    ) -> PermutedContrast:
        """Return that of a contrast whose voxels all took every shuffle."""
        result = merged.whole
        n_shuffles = len(result.nulls["voxel_positive"])
        names = [name for name in OF_VOXELS if name in result.observed]
        values = {name: result.observed[name] for name in names}
        return cls(
            merged,
            values | {"voxel": merged.contrast.z(values["voxel"])},
            {name: log(result.counts[name] / n_shuffles) for name in names},
            {name: corrected[name].log_p for name in names},
            about,
        )

    @classmethod
    def of_stopped(
        cls, merged: MergedContrast, n_required: int, about: Mapping[str, Any]
    ) -> PermutedContrast:
        """Return that of a contrast whose voxels stopped early."""
        shards = merged.result
        assert isinstance(shards, list)
        p, _ = stopped_p(shards, n_required, about["Shuffles"] - 1)
        z = merged.contrast.z(shards[0].observed)
        return cls(merged, {"voxel": z}, {"voxel": log(p)}, {}, about)


@dataclass(frozen=True)
class Conjunction:
    """A conjunction as the results of a permutation test have it.

    Parameters
    ----------
    name, label : str
        Name of the conjunction, and the same cleaned for files.
    parts : list of PermutedContrast
        Of the same voxels.
    """

    name: str
    label: str
    parts: list[PermutedContrast]

    stat_type: ClassVar[str] = "z"
    voxel_unit: ClassVar[str] = "z"
    # p of voxels form no clusters, and no null distribution tells how precise the largest is.
    forming: ClassVar[dict[str, float]] = {}
    exhaustive: ClassVar[bool] = False

    @property
    def statistics(self) -> ShuffleStatistics:
        """What is taken of every shuffle."""
        return self.parts[0].merged.statistics

    @property
    def mask(self) -> np.ndarray:
        """Voxels tested."""
        return self.parts[0].merged.mask

    @property
    def space(self) -> Space:
        """Where they lie."""
        return self.parts[0].merged.space

    @property
    def min_extent(self) -> int:
        """Smallest number of voxels of a cluster that is kept."""
        return self.parts[0].merged.min_extent

    @property
    def family(self) -> np.ndarray | slice:
        """Index of the voxels at which all contrasts have a statistic."""
        searched = [p.merged.searched for p in self.parts if p.merged.searched is not None]
        return np.all(searched, axis=0) if searched else slice(None)

    @property
    def signed(self) -> np.ndarray:
        """Which of the contrasts have a sign, a bool array of shape (k,)."""
        return np.array([part.merged.contrast.signed for part in self.parts])

    @property
    def tail(self) -> str:
        """Side of its z, that of the contrasts or the upper one where some have no sign."""
        return self.statistics.tail if self.signed.all() else "positive"

    @property
    def names(self) -> list[str]:
        """Statistics with p of voxels that were taken."""
        return [name for name in OF_VOXELS if name in self.parts[0].values]

    def values(self, name: str) -> np.ndarray:
        """Return z, or TFCE, of the least significant contrast at every voxel."""
        values = np.array([part.values[name] for part in self.parts])
        if name == "voxel":
            return conjoined_z(values, self.signed, self.statistics.tail)
        log_p = np.array([part.log_p[name] for part in self.parts])
        unlike = unlike_signs(values, self.signed, self.statistics.tail)
        return np.where(unlike, 0.0, least_significant(log_p, values))

    def log_p(self, name: str, *, fwe: bool = False) -> np.ndarray:
        """Return the logarithm of the largest p of the contrasts; of 1 where signs disagree."""
        values = np.array([part.values[name] for part in self.parts])
        own = [(part.log_p_fwe if fwe else part.log_p)[name] for part in self.parts]
        return conjoined_log_p(np.array(own), values, self.signed, self.statistics.tail)

    def log_q(self, name: str) -> np.ndarray:
        """Return the logarithm of the false discovery rate of its own p, 1 where not searched."""
        log_p = self.log_p(name)
        log_q = np.zeros(len(log_p))
        log_q[self.family] = adjust_fdr(log_p[self.family])
        return log_q

    @property
    def about(self) -> dict[str, Any]:
        """Entries of its summaries: those of its contrasts, of the fewest shuffles."""
        all_of = [dict(part.about) for part in self.parts]
        fewest = min(all_of, key=lambda about: about["Shuffles"])
        kinds = dict.fromkeys(about["Shuffling"] for about in all_of)
        return {
            **fewest,
            "ContrastP": None,
            "Shuffling": ", ".join(kinds),
            "SmallestP": max(about["SmallestP"] for about in all_of),
            "LargestPOfContrasts": True,
        }


def write_conjunction(
    directory: AnyPath, one: Conjunction, alpha: float
) -> tuple[dict[str, str], list[dict[str, str | float]]]:
    """Write the maps of a conjunction; returns paths as `write_contrast`.

    Parameters
    ----------
    directory : path
    one : Conjunction
    alpha : float
        Familywise error rate; where voxels stopped early false discovery rate.
    """
    directory = Path(directory)
    write = partial(write_map, directory, one)
    stopped = not one.parts[0].log_p_fwe
    of_contrast = {"stat_files": write("stat", one.values("voxel"))}
    if "tfce" in one.names:
        of_contrast["tfce_files"] = write("tfce", one.values("tfce"))
    corrected, about = {}, one.about
    for name in one.names:
        prefix = "" if name == "voxel" else f"{name}_"
        of_contrast[f"{prefix}logp_unc_files"] = write(
            f"{prefix}logp_unc", minus_log10(one.log_p(name))
        )
        log_q = one.log_q(name)
        of_contrast[f"{prefix}logp_fdr_files"] = write(f"{prefix}logp_fdr", minus_log10(log_q))
        log_p = log_q if stopped else one.log_p(name, fwe=True)
        heights = np.abs(one.values(name))
        corrected[name] = Corrected(name, heights, exp(log_p), log_p, np.empty(0), alpha)
    if stopped:
        about["HeightControl"] = "permutation-fdr"
    results = []
    for name, own in corrected.items():
        result = write_result(directory, one, one.values("voxel"), name, corrected, about)
        if not stopped:
            result["logp_fwe_files"] = write(f"{name}_logp_fwe", minus_log10(own.log_p))
            result["peak_logp_files"] = write(f"{name}_peak_logp", minus_log10(own.log_p))
        results.append(result)
    return of_contrast, results
