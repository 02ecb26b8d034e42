"""Volumes on disk as arrays: maps and masks."""

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np

from nipype_group.images.opening import MapError, open_image

IMAGE_SUFFIXES = (".nii", ".nii.gz", ".img", ".img.gz")
# RFC 1952: the tenth byte of a gzip file names the operating system; 255 is unknown.
_GZIP_SYSTEM, _UNKNOWN_SYSTEM = 9, 255


def read_map(path):
    """Read one volume.

    Parameters
    ----------
    path : path
        Image; trailing dimensions of length 1 are dropped, scaling is applied.

    Returns
    -------
    values : float32 array, shape (x, y, z)
        Missing voxels (not finite, or 0) are NaN.
    grid : Grid

    Raises
    ------
    MapError
        Where the file cannot be opened (see `open_image`) or is not one volume.
    """
    values, grid = _one_volume(path, np.float32)
    return np.where(np.isfinite(values) & (values != 0), values, np.float32(np.nan)), grid


def read_volume(path):
    """Read one volume as float64, values as they are; returns the array and its `Grid`."""
    return _one_volume(path, float)


def _one_volume(path, dtype):
    image = open_image(path)
    if image.n_volumes != 1:
        raise MapError(path, f"holds an array of shape {image.shape}, one volume is expected")
    return image.values(dtype=dtype).reshape(image.shape[:3]), image.grid


def read_mask(path, grid=None):
    """Read a mask: voxels that are finite and not 0.

    Raises
    ------
    MapError
        Where the mask cannot be read, is empty, or is not on `grid`.
    """
    values, own = read_map(path)
    if grid is not None and not own.matches(grid):
        raise MapError(
            path, f"the mask's grid is {own}, that of the maps is {grid}; resample the mask"
        )
    mask = np.isfinite(values)
    if not mask.any():
        raise MapError(path, "the mask is empty")
    return mask, own


def compressed(content, level=6):
    """Return bytes as a gzip file that is the same of every version of Python.

    The header tells no time, and no operating system: some versions write one, others none.

    Examples
    --------
    >>> gzip.decompress(compressed(b"voxels"))
    b'voxels'
    """
    packed = bytearray(gzip.compress(content, compresslevel=level, mtime=0))
    packed[_GZIP_SYSTEM] = _UNKNOWN_SYSTEM
    return bytes(packed)


def write_volume(path, values, grid, dtype=np.float32, intent=None):
    """Write an image beside its place, then rename it.

    Parameters
    ----------
    path : path
        Ending in .nii or .nii.gz; compressed bytes depend on the values alone.
    values : array, shape (x, y, z) or (x, y, z, n)
        Values; NaN is written as 0 for integer types only if absent.
    grid : Grid
        Place of the voxels.
    dtype : dtype
        Type on disk.
    intent : tuple, optional
        NIfTI intent: name and parameters, as ("t test", (28,)).

    Returns
    -------
    str
        The path, absolute.
    """
    path = Path(path).absolute()
    image = nib.Nifti1Image(np.asarray(values, dtype=dtype), grid.affine)
    image.header.set_xyzt_units("mm")
    image.header.set_sform(grid.affine, code=grid.space)
    image.header.set_qform(grid.affine, code=grid.space)
    if intent is not None:
        image.header.set_intent(*intent)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        content = compressed(content)
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return str(path)


def read_dof(path, stat_type):
    """Return the degrees of freedom that a statistic image's NIfTI intent states.

    Parameters
    ----------
    path : path
        Statistic image.
    stat_type : {"t", "F"}
        What it is taken for.

    Returns
    -------
    tuple of float
        (dof,) of t, (numerator, denominator) of F.

    Raises
    ------
    MapError
        Where the image does not state them.
    """
    intent, parameters, _ = open_image(path).header.get_intent()
    if intent != f"{stat_type.lower()} test":
        raise MapError(
            path, f"its intent is {intent!r}, not {stat_type} with degrees of freedom; give dof"
        )
    return tuple(float(v) for v in parameters)
