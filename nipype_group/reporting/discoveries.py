"""Tables of true discovery proportions: clusters at several heights, atlas and user regions."""

from pathlib import Path

import numpy as np
import pandas as pd

from nipype_group.images import to_mm
from nipype_group.reporting.atlas import region_shares, sample

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


def atlas_regions(atlas, mask, affine):
    """Return the voxels of a mask in every region of an atlas.

    Parameters
    ----------
    atlas : Atlas
        Regions; each voxel belongs to the region of its nearest atlas voxel, of a probabilistic
        atlas to the most probable one of at least 5 %.
    mask : bool array, shape (x, y, z)
        Voxels looked up.
    affine : array, shape (4, 4)
        Voxel indices to mm.

    Returns
    -------
    dict
        Name of the region to a bool array of the shape of the mask.
    """
    voxels = np.argwhere(mask)
    values, _ = sample(atlas, to_mm(voxels, affine))
    regions = {}
    for index, name, *_, here in region_shares(atlas, values):
        if index is None:
            continue
        region = np.zeros(mask.shape, dtype=bool)
        region[tuple(voxels[here].T)] = True
        regions[name] = region
    return regions


def discovery_rows(regions, source, affine):
    """Return a dictionary a `Region`, with its peak in mm."""
    rows = []
    for region in regions:
        at = np.full(3, np.nan)
        if region.peak:
            at = to_mm(region.peak, affine)
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


def write_discoveries(path, rows):
    """Write rows as TSV, header only where there is none; returns the path."""
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    path = Path(path).absolute()
    table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.6g")
    return str(path)
