"""Tables of true discovery proportions: clusters at several heights, atlas and user regions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nipype_group.reporting.atlases.lookup import peak_text, region_shares, sample
from nipype_group.reporting.tables.columns import check_atlas_names, describe_column
from nipype_group.reporting.tables.described import write_described_table
from nipype_group.tsv import MISSING

if TYPE_CHECKING:
    from nipype_group.images.space import Space
    from nipype_group.reporting.atlases.find import Atlas
    from nipype_group.stats.discoveries.all_resolutions import Region

_COLUMNS = (
    "threshold_z",
    "source",
    "name",
    "n_voxels",
    "n_discoveries",
    "tdp",
    "peak_zscore",
    "x",
    "y",
    "z",
)
# What single precision, which the map has, needs to be read back as it was.
_DIGITS = 9


def atlas_regions(atlas: Atlas, mask: np.ndarray, space: Space) -> dict[str, np.ndarray]:
    """Return the voxels of a mask in every region of an atlas.

    Parameters
    ----------
    atlas : Atlas
        Regions; each voxel belongs to the region of its nearest atlas voxel, of a probabilistic
        atlas to the most probable one of at least 5 %.
    mask : bool array of the shape of the Space
        Voxels looked up.
    space : Space
        Where the voxels lie.

    Returns
    -------
    dict
        Name of the region to a bool array of the shape of the mask.
    """
    voxels = np.argwhere(mask)
    values, _ = sample(atlas, space.coordinates(voxels))
    regions = {}
    for index, name, *_, here in region_shares(atlas, values):
        if index is None:
            continue
        region = np.zeros(mask.shape, dtype=bool)
        region[tuple(voxels[here].T)] = True
        regions[name] = region
    return regions


def discovery_rows(regions: Iterable[Region], source: str, space: Space) -> list[dict[str, Any]]:
    """Return a dictionary a `Region`, with its peak in mm.

    Parameters
    ----------
    regions : iterable of Region
    source : str
        ``cluster``, or the atlas or file that the regions are of.
    space : Space
        Where the voxels lie.
    """
    rows = []
    for region in regions:
        at = np.full(3, np.nan)
        if region.peak:
            at = space.coordinates(region.peak)
        rows.append(
            {
                "threshold_z": region.threshold_z,
                "source": source,
                "name": region.name,
                "n_voxels": region.n_voxels,
                "n_discoveries": region.n_discoveries,
                "tdp": region.tdp,
                "peak_zscore": region.peak_z,
                **dict(zip("xyz", at, strict=True)),
            }
        )
    return rows


def write_discoveries(
    path: str | os.PathLike[str],
    rows: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    atlases: Sequence[Atlas] = (),
) -> tuple[str, str]:
    """Write rows as TSV, and under the same name the JSON of its columns.

    Every atlas has a column, which says what it calls the voxel of the peak, as in the table of
    peaks.

    Parameters
    ----------
    path : path
        Ending in .tsv.
    rows : list of dict
        From `discovery_rows`; without rows the table is a header.
    settings : dict
        How the bounds came about.
    atlases : sequence of Atlas

    Returns
    -------
    table_file, json_file : str

    Raises
    ------
    ValueError
        An atlas has the name of a column.
    """
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    check_atlas_names([atlas.name for atlas in atlases])
    places = table[list("xyz")].to_numpy(dtype=float)
    has_peak = np.isfinite(places).all(axis=1)
    for atlas in atlases:
        names = np.full(len(table), MISSING, dtype=object)
        if has_peak.any():
            values, _ = sample(atlas, places[has_peak])
            names[has_peak] = [peak_text(atlas, value) for value in values]
        table[atlas.name] = names
    columns = {column: describe_column(column) for column in table}
    return write_described_table(path, table, columns, settings, _DIGITS)
