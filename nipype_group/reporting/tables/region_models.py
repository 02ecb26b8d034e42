"""Regions of atlases inside a mask, and the tables of region-level group models."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nipype_group.images.stacks import unmask
from nipype_group.reporting.atlases.lookup import MIN_PERCENT, Atlas, region_shares, sample
from nipype_group.reporting.effect_sizes import size_columns
from nipype_group.reporting.tables.described import write_described_table
from nipype_group.stats.discoveries.all_resolutions import ari_regions
from nipype_group.tsv import repeated

if TYPE_CHECKING:
    from nipype_group.images.space import Space

_STAT = "unit of the statistic"
_EFFECT = "unit of the effect"
# Columns of a table of regions, with their meaning and unit.
COLUMNS = {
    "atlas": "name of the atlas",
    "index": "value, or volume, of the region in the image",
    "name": "name of the region",
    "n_voxels": ("number of voxels; of the mask, in the region", "voxel"),
    "percent_of_region": (
        "share of the region's volume; in the mask, expected volumes in a probabilistic atlas",
        "%",
    ),
    "effect": (
        "effect of the contrast; on the region's mean, where no map lacks voxels the mean of the "
        "voxels' effects, of an F contrast the square root of the numerator's mean square",
        _EFFECT,
    ),
    "standard_error": ("standard error of the effect; n/a for F", _EFFECT),
    "stat": ("statistic; t or F, as the settings say", _STAT),
    "dof": "residual degrees of freedom of the maps that have the region",
    "zscore": ("z score; with the same upper tail as the statistic", "z"),
    "p_unc": "uncorrected p value; of an F contrast the upper tail",
    "p_fdr": (
        "p value corrected for the false discovery rate; over the atlas (Benjamini and Hochberg "
        "1995)"
    ),
    "p_bonferroni": "familywise p value over the regions of the atlas (Bonferroni)",
    "p_holm": "familywise p value over the regions of the atlas (Holm 1979)",
    "p_fwe_perm": (
        "familywise p value by the largest statistic of every shuffle over the atlas's regions"
    ),
    "effect_size": "Cohen's d of t, partial R2 of F",
    "zscore_mean": ("mean voxelwise z", "z"),
    "peak_zscore": ("z score of the strongest voxel; on the side tested", "z"),
    **{f"peak_{a}": (f"{a} coordinate of that voxel, RAS+", "mm") for a in "xyz"},
    "tdp": "lower bound of the proportion of truly active voxels; by Rosenblatt et al. 2018",
}
# What further columns mean, of tables that have them: effect sizes with their intervals, and where
# a contrast has an error of its own.
SIZE_COLUMNS = size_columns()
OWN_ERROR_COLUMNS = COLUMNS | {
    "dof": f"{COLUMNS['dof']}; of the contrast's own error, corrected for sphericity",
    "effect_size": "Cohen's d of t, partial R2 of F; on its own error d_z, partial eta squared",
    "dof_numerator": "degrees of freedom of the numerator; corrected for sphericity",
    "epsilon": "Greenhouse and Geisser's epsilon of the contrast maps",
}
_FLOATS = [*list(OWN_ERROR_COLUMNS)[5:], *SIZE_COLUMNS]


@dataclass(frozen=True)
class MaskRegions:
    """All regions of an atlas, and the voxels of a mask in them.

    Parameters
    ----------
    atlas : Atlas
    indices : list of int
        Value, or volume, of the k regions of the atlas, ascending.
    numbers : int array, shape (v,)
        Position in `indices` of every voxel of the mask, -1 outside all regions; the first axis
        of the volume runs fastest.
    percent : array, shape (k,)
        Share of a region's volume in the mask; expected volumes in a probabilistic atlas.
    """

    atlas: Atlas
    indices: list
    numbers: np.ndarray
    percent: np.ndarray

    @classmethod
    def of(cls, atlas: Atlas, mask: np.ndarray, space: Space) -> MaskRegions:
        """Look the voxels of a mask up in an atlas.

        A voxel belongs to the region of the nearest voxel of the atlas, of a probabilistic atlas
        to the most probable one of at least 5 %. Value 0 of a label image is no region.

        Parameters
        ----------
        atlas : Atlas
        mask : bool array of the shape of the Space
        space : Space
            Where the voxels lie.
        """
        inside = np.flatnonzero(mask.ravel(order="F"))
        voxels = np.column_stack(np.unravel_index(inside, mask.shape, order="F"))
        values, volumes = sample(atlas, space.coordinates(voxels))
        # Value 0 of a label image is what lies between the regions, even where it has a name.
        indices = sorted(i for i in atlas.names if i != 0 or atlas.probabilistic)
        place = {index: number for number, index in enumerate(indices)}
        numbers, covered = np.full(len(inside), -1), np.zeros(len(indices))
        for index, _, n_voxels, _, probability, here in region_shares(atlas, values):
            if index in place:
                numbers[here] = place[index]
                covered[place[index]] = n_voxels * (
                    probability / 100 if atlas.probabilistic else 1
                )
        whole = np.array([volumes.get(index, 0.0) for index in indices])
        percent = np.divide(
            100 * covered * space.place_measure, whole, out=np.zeros(len(indices)), where=whole > 0
        )
        # Grids differ, so the volumes of a region that is covered whole differ a little.
        return cls(atlas, indices, numbers, np.minimum(percent, 100))

    @property
    def n_voxels(self) -> np.ndarray:
        """Voxels of the mask in every region, shape (k,)."""
        return np.bincount(self.numbers[self.numbers >= 0], minlength=len(self.indices))

    @property
    def columns(self) -> list[str]:
        """Name of every region, made unique by its index where two share one."""
        names = [" ".join(str(self.atlas.names[i]).split()) for i in self.indices]
        shared = set(repeated(names))
        return [
            f"{name} ({index})" if name in shared else name
            for name, index in zip(names, self.indices, strict=True)
        ]

    def spread(self, means: np.ndarray) -> np.ndarray:
        """Put columns of the first regions, shape (n, m), beside NaN for the others, (n, k)."""
        everywhere = np.full((len(means), len(self.indices)), np.nan)
        everywhere[:, : means.shape[1]] = means
        return everywhere

    def rows(self) -> dict[str, Any]:
        """Return what a table says of every region whatever the contrast, a dict of lists."""
        return {
            "atlas": [self.atlas.name] * len(self.indices),
            "index": self.indices,
            "name": [self.atlas.names[index] for index in self.indices],
            "n_voxels": self.n_voxels,
            "percent_of_region": self.percent,
        }

    def voxelwise(
        self, z: np.ndarray, mask: np.ndarray, space: Space, alpha: float, tail: str
    ) -> dict[str, np.ndarray]:
        """Describe the voxelwise z of every region.

        Parameters
        ----------
        z : array of the shape of the Space
        mask : bool array of the shape of the Space
            Voxels tested.
        space : Space
            Where the voxels lie.
        alpha, tail
            As for `ari_regions`.

        Returns
        -------
        dict of array, shape (k,)
            zscore_mean, peak_zscore, peak_x, peak_y, peak_z, tdp; NaN without voxels.
        """
        names = ("zscore_mean", "peak_zscore", "peak_x", "peak_y", "peak_z", "tdp")
        found = {name: np.full(len(self.indices), np.nan) for name in names}
        labels = np.round(unmask(self.numbers + 1, mask)).astype(np.int32)
        sums = np.bincount(labels[mask], weights=z[mask], minlength=len(self.indices) + 1)[1:]
        for region in ari_regions(z, labels, mask=mask, alpha=alpha, tail=tail):
            place = int(region.name) - 1
            at = space.coordinates(region.peak)
            row = sums[place] / region.n_voxels, region.peak_z, *at, region.tdp
            for name, value in zip(names, row, strict=True):
                found[name][place] = value
        return found


def region_table(
    atlases: Sequence[MaskRegions], results: Sequence[dict[str, np.ndarray]]
) -> pd.DataFrame:
    """Return the table of a contrast, the regions of every atlas in the order of their index.

    Parameters
    ----------
    atlases : list of MaskRegions
    results : list of dict
        Column to array, shape (k,), an atlas each; columns that it lacks are NaN.

    Returns
    -------
    DataFrame
        With the columns of `COLUMNS`, and those of `OWN_ERROR_COLUMNS` and `SIZE_COLUMNS` that
        results have.
    """
    known = [c for c in OWN_ERROR_COLUMNS if c not in COLUMNS] + list(SIZE_COLUMNS)
    more = [c for c in known if any(c in r for r in results)]
    columns = [*COLUMNS, *more]
    types = {name: float for name in _FLOATS if name in columns}
    # Each with its types: a column of NaN alone would decide that of all.
    parts = [
        pd.DataFrame(regions.rows() | result, columns=columns).astype(types)
        for regions, result in zip(atlases, results, strict=True)
    ]
    if not parts:
        return pd.DataFrame(columns=columns).astype(types)
    return pd.concat(parts, ignore_index=True)


def write_regions(
    path: str | os.PathLike[str],
    table: pd.DataFrame,
    settings: Mapping[str, Any],
    columns: Mapping[str, Any] = COLUMNS,
) -> tuple[str, str]:
    """Write the table of a contrast and its dictionary; returns both paths.

    Parameters
    ----------
    path : path
        Ending in .tsv.
    table : DataFrame
        From `region_table`.
    settings : dict
        How it came about.
    columns : dict
        What the columns mean: `COLUMNS`, or `OWN_ERROR_COLUMNS`.
    """
    about = {**columns, **size_columns(settings.get("EffectSizeLevel"))}
    return write_described_table(Path(path), table, about, settings)


def write_values(
    path: str | os.PathLike[str],
    keys: pd.DataFrame,
    regions: MaskRegions,
    means: np.ndarray,
    settings: dict[str, Any],
) -> tuple[str, str]:
    """Write the means of an atlas, a row a map and a column a region; returns both paths.

    Parameters
    ----------
    path : path
        Ending in .tsv.
    keys : DataFrame
        Participant and conditions of every map.
    regions : MaskRegions
    means : array, shape (n, k)
        NaN where a map, or the mask, has too little of a region.
    settings : dict
        How they came about.
    """
    names, sizes = regions.columns, regions.n_voxels.tolist()
    # A condition may have the name of a region.
    keys = keys.reset_index(drop=True).rename(columns={n: f"condition_{n}" for n in names})
    table = pd.concat([keys, pd.DataFrame(means, columns=names)], axis=1)
    about: dict[str, Any] = {key: "condition of the map" for key in keys} | {
        "participant_id": "participant"
    }
    for name, index, size in zip(names, regions.indices, sizes, strict=True):
        about[name] = {
            "Description": f"mean over the voxels of {name} in the mask",
            "Units": "unit of the maps",
            "AtlasIndex": index,
            "NumberOfVoxels": size,
        }
    about_atlas: dict[str, Any] = {"Atlas": regions.atlas.describe()}
    if regions.atlas.probabilistic:
        about_atlas["MinimumProbabilityPercent"] = MIN_PERCENT
    return write_described_table(Path(path), table, about, about_atlas | settings, digits=9)
