"""Map files of one participant combined into one."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nipype_group.images.space import check_same_space
from nipype_group.images.volumes import read_effect, read_map, write_volume
from nipype_group.stats.combined_maps import MapWeight, combine_maps, sum_maps
from nipype_group.whole_files import AnyPath

# Stands for a mean of exactly 0, as 0 is read as missing. It is lost in any sum.
_LEAST = np.finfo(np.float32).tiny


class CombinedFiles(NamedTuple):
    """Maps combined into one.

    Parameters
    ----------
    map_file : str
    variance_file : str or None
        Both NaN where no map has the voxel, or a map of a sum lacks it.
    n_fewer : int
        Voxels that some map of a mean has and others lack.
    unlike : float
        Largest over smallest median of the variances of the maps over their voxels; 1 without.
    """

    map_file: str
    variance_file: str | None
    n_fewer: int
    unlike: float


def combine_files(
    directory: AnyPath,
    stem: str,
    map_files: Sequence[AnyPath],
    variance_files: Sequence[AnyPath] | None = None,
    zero_is_value: bool = False,
    weights: Sequence[MapWeight] | None = None,
) -> CombinedFiles:
    """Combine maps, and their variances, as `nipype_group.stats.combined_maps` does.

    Parameters
    ----------
    directory : path
        Where the files are written.
    stem : str
        How they are called.
    map_files : sequence of path
    variance_files : sequence of path, optional
        Variances of the maps; without them the mean is taken.
    zero_is_value : bool
        Whether a voxel of 0 of a map has that value.
    weights : sequence of MapWeight, optional
        What every map counts in a sum, those of a term and part together; else all are one mean.

    Returns
    -------
    CombinedFiles

    Raises
    ------
    MapError
        Where a file cannot be read, or lies on another Space than the first.
    """
    space, typical = None, []
    variances = [None] * len(map_files) if variance_files is None else variance_files

    def read():
        nonlocal space
        for path, variance in zip(map_files, variances, strict=True):
            values, own = read_effect(path, variance, zero_is_value)
            if space is None:
                space = own
            check_same_space(path, own, space, str(map_files[0]))
            of_values = None if variance is None else read_map(variance)[0]
            if of_values is not None and (here := np.isfinite(values)).any():
                # Where the map has a value its variance is above 0.
                typical.append(float(np.median(of_values[here])))
            yield values, of_values

    if weights is None:
        combined = combine_maps(read())
        fewer = (combined.count > 0) & (combined.count < len(map_files))
    else:
        combined, fewer = sum_maps(read(), weights)
    assert space is not None
    effect = combined.effect
    if not zero_is_value:
        effect = np.where(effect == 0, _LEAST, effect)
    path = write_volume(Path(directory, space.file_name(stem)), effect, space)
    own = None
    if combined.variance is not None:
        variance_path = Path(directory, space.file_name(f"{stem}_variance"))
        own = write_volume(variance_path, combined.variance, space)
    # Maps of a sum may be of anything.
    alike = weights is not None or not typical
    unlike = 1.0 if alike else max(typical) / min(typical)
    return CombinedFiles(path, own, int(fewer.sum()), unlike)
