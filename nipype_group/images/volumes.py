"""Volumes on disk as arrays: maps and masks."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from nipype_group.images.opening import MapError, open_image
from nipype_group.whole_files import replace_bytes

IMAGE_SUFFIXES = (".nii", ".nii.gz", ".img", ".img.gz")
# RFC 1952: the tenth byte of a gzip file names the operating system; 255 is unknown.
_GZIP_SYSTEM, _UNKNOWN_SYSTEM = 9, 255


def read_map(path, zero_is_value=False):
    """Read one volume.

    Parameters
    ----------
    path : path
        Image; trailing dimensions of length 1 are dropped, scaling is applied.
    zero_is_value : bool, optional
        Whether a voxel of 0 has that value; most packages write 0 where there is none.

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
    present = np.isfinite(values) & (zero_is_value | (values != 0))
    return np.where(present, values, np.float32(np.nan)), grid


def read_volume(path):
    """Read one volume as float64, values as they are; returns the array and its `Grid`."""
    return _one_volume(path, float)


def _one_volume(path, dtype):
    image = open_image(path)
    if image.n_volumes != 1:
        raise MapError(path, f"holds an array of shape {image.shape}, one volume is expected")
    return image.values(dtype=dtype).reshape(image.shape[:3]), image.grid


def read_mask(path, grid=None, threshold=None):
    """Read a mask.

    Parameters
    ----------
    path : path
        Image of 0, or NaN, outside and one other value inside.
    grid : Grid, optional
        What the mask has to lie on.
    threshold : float, optional
        For an image of probabilities: the least value inside.

    Returns
    -------
    mask : bool array, shape (x, y, z)
    grid : Grid

    Raises
    ------
    MapError
        Where the mask cannot be read, holds more than two values and no threshold is given, is
        empty, or is not on `grid`.
    """
    values, own = read_volume(path)
    if grid is not None and not own.matches(grid):
        raise MapError(
            path, f"the mask's grid is {own}, that of the maps is {grid}; resample the mask"
        )
    values = np.where(np.isfinite(values), values, 0.0)
    if threshold is None:
        _check_two_values(path, values)
        mask = values != 0
    else:
        mask = values >= threshold
    if not mask.any():
        above = "" if threshold is None else f", no value reaches {threshold:g}"
        raise MapError(path, f"the mask is empty{above}")
    return mask, own


def _check_two_values(path, values):
    low, high = values.min(), values.max()
    between = (values != low) & (values != high)
    if between.any() or (low != high and 0 not in (low, high)):
        raise MapError(
            path,
            f"is no mask: it holds values from {low:.6g} to {high:.6g}, not 0 and one other; "
            "name the least value inside as the mask's threshold",
        )


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
    set_place(image.header, grid)
    if intent is not None:
        image.header.set_intent(*intent)
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        content = compressed(content)
    return str(replace_bytes(path, content))


def set_place(header, grid):
    """Let a NIfTI header say where the voxels of a grid lie."""
    header.set_xyzt_units("mm")
    header.set_sform(grid.affine, code=grid.space)
    header.set_qform(grid.affine, code=grid.space)


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
