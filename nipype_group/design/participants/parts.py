"""Maps and variances that are no file of their own: sub-bricks of AFNI, and SPM's ResMS."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nipype_group.design.participants.spm import contrast_scale, is_residual_variance
from nipype_group.design.sources import MapEntry
from nipype_group.images import Grid, MapError, open_image, write_volume
from nipype_group.images.sub_bricks import find_sub_brick
from nipype_group.whole_files import AnyPath


def with_parts(entries: Sequence[MapEntry], directory: AnyPath | None = None) -> list[MapEntry]:
    """Take maps and variances out of the files that hold them.

    The variance of an effect beside its t, as 3dDeconvolve and 3dREMLfit write it, is
    (effect / t)^2, NaN where t is 0; that of a contrast of SPM its residual variance times
    c'(X'X)^-1 c, as `contrast_scale` gives it.

    Parameters
    ----------
    entries : sequence of MapEntry
    directory : path, optional
        Where they are written as maps; without it headers are looked at alone.

    Returns
    -------
    list of MapEntry
        An entry whose part is not there, or cannot be made, has a `problem`.
    """
    return [
        _with_part(entry, None if directory is None else Path(directory, f"part{number:04d}"))
        if entry.part is not None or entry.variance_part is not None or _of_spm(entry)
        else entry
        for number, entry in enumerate(entries)
    ]


def _of_spm(entry):
    return entry.variance is not None and is_residual_variance(entry.variance)


def _with_part(entry, stem):
    try:
        effect = None if entry.part is None else find_sub_brick(entry.path, entry.part)
        variance, scale = None, 1.0
        if entry.variance_part is not None:
            variance = find_sub_brick(entry.variance, entry.variance_part)
        elif _of_spm(entry):
            scale = contrast_scale(entry.variance, entry.path)
        if effect is not None and effect[1]:
            raise MapError(entry.path, f"{entry.part} is a t; the effect is its coefficient")
        return entry if stem is None else _written(entry, effect, variance, scale, stem)
    except MapError as error:
        return replace(entry, problem=str(error))


def _written(entry, effect, variance, scale, stem):
    """Write the parts as maps, and return the entry of these."""
    image = open_image(entry.path, kind=Grid)
    if effect is not None:
        values = image.values(effect[0], np.float32).reshape(image.space.shape)
        path = write_volume(stem.with_name(f"{stem.name}.nii"), values, image.space)
        made = replace(entry, path=Path(path), source=entry.path)
    else:
        values, made = None, entry
    if variance is None and not _of_spm(entry):
        return made
    index, is_t = (None, False) if variance is None else variance
    own = open_image(entry.variance, kind=Grid)
    found = own.values(index).reshape(own.space.shape) * scale
    if is_t:
        if own.space.shape != image.space.shape:
            raise MapError(entry.variance, "its t lies on another grid than the effect")
        effects = image.values().reshape(image.space.shape) if values is None else values
        error = np.divide(effects, found, out=np.full(found.shape, np.nan), where=found != 0)
        found = error * error
    path = write_volume(stem.with_name(f"{stem.name}_variance.nii"), found, own.space)
    return replace(made, variance=Path(path), variance_source=entry.variance)
