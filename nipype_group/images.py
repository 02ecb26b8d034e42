"""Volumes on disk as arrays: grids, maps, masks."""

import gzip
import hashlib
import os
import time
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

IMAGE_SUFFIXES = (".nii", ".nii.gz", ".img", ".img.gz")
# Grids are one where no corner is off by more than this share of a voxel.
_CORNER_TOLERANCE = 0.01
_CHUNK_BYTES = 1 << 20
# RFC 1952: the tenth byte of a gzip file names the operating system; 255 is unknown.
_GZIP_SYSTEM, _UNKNOWN_SYSTEM = 9, 255
# Files whose checksums are kept, half a kB each: with fewer than a study has, every look at its
# maps would read all of them again.
_KEPT_CHECKSUMS = 2**18
LONGEST_TICK_NS = 2 * 10**9
# What reading an image raises that is damaged, or whose header declares more than there is.
UNREADABLE = (
    *(OSError, EOFError, zlib.error, ImageFileError, HeaderDataError, ValueError),
    *(MemoryError, OverflowError),
)


class MapError(ValueError):
    """A map that cannot be used; says which file and why."""

    def __init__(self, path, reason):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = str(path), reason


@dataclass(frozen=True)
class Grid:
    """Shape and position of a volume.

    Parameters
    ----------
    shape : tuple of int
        Voxels along the three axes.
    affine : array, shape (4, 4)
        Voxel indices to mm.
    """

    shape: tuple
    affine: np.ndarray

    @property
    def voxel_sizes_mm(self):
        """Edge lengths of a voxel in mm."""
        return np.sqrt(np.square(self.affine[:3, :3]).sum(axis=0))

    def matches(self, other):
        """Tell whether both grids put their voxels at the same places."""
        if self.shape != other.shape:
            return False
        corners = np.indices((2, 2, 2)).reshape(3, -1) * (np.array(self.shape) - 1)[:, None]
        difference = to_mm(corners.T, self.affine) - to_mm(corners.T, other.affine)
        return np.abs(difference).max() <= _CORNER_TOLERANCE * self.voxel_sizes_mm.min()

    def __str__(self):
        size = " x ".join(f"{v:.4g}" for v in self.voxel_sizes_mm)
        origin = ", ".join(f"{v:.4g}" for v in self.affine[:3, 3])
        shape = " x ".join(str(n) for n in self.shape)
        return f"{shape} voxels of {size} mm from ({origin})"


def to_mm(voxels, affine):
    """Return the places of voxels in mm.

    Sums run in a fixed order, so that the last bit does not depend on the processor, as it does
    with a matrix library.

    Parameters
    ----------
    voxels : array, shape (..., 3)
        Voxel indices.
    affine : array, shape (4, 4)
        Voxel indices to mm.

    Returns
    -------
    float64 array, shape (..., 3)

    Examples
    --------
    >>> affine = np.diag([2.0, 2, 3, 1])
    >>> affine[:3, 3] = -90, -126, -72
    >>> to_mm([[0, 1, 2]], affine).tolist(), to_voxels([[-90, -124, -66]], affine).tolist()
    ([[-90.0, -124.0, -66.0]], [[0.0, 1.0, 2.0]])
    """
    voxels, affine = np.asarray(voxels, dtype=float), np.asarray(affine, dtype=float)
    i, j, k = (voxels[..., [axis]] for axis in range(3))
    return i * affine[:3, 0] + j * affine[:3, 1] + k * affine[:3, 2] + affine[:3, 3]


def to_voxels(points, affine):
    """Return the voxel indices of points in mm, not rounded; the inverse of `to_mm`."""
    a, b, c = np.asarray(affine, dtype=float)[:3, :3].T
    # Rows of the inverse (Cramer), so that nothing is left to the matrix library.
    rows = np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)]) / _triple(a, b, c)
    x, y, z = np.moveaxis(np.asarray(points, dtype=float) - np.asarray(affine)[:3, 3], -1, 0)
    return np.stack([x * row[0] + y * row[1] + z * row[2] for row in rows], axis=-1)


def voxel_volume_mm3(affine):
    """Return the volume of a voxel in mm3."""
    return float(abs(_triple(*np.asarray(affine, dtype=float)[:3, :3].T)))


def _triple(a, b, c):
    """Return the triple product of three vectors, the determinant of their matrix."""
    return (a * np.cross(b, c)).sum()


def file_sha256(path):
    """Return the SHA-256 of a file's bytes as hexadecimal text."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def file_state(path):
    """Return what tells a file on the disk from any other, and from itself after a change.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of int
        Size in bytes, inode, and the times of the last change of its content and of anything
        about it, in ns. The last one cannot be set back.

    Raises
    ------
    OSError
        Where there is none.
    """
    found = Path(path).stat()
    return [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def is_settled(state):
    """Tell whether a file that is written now would show another state.

    The clock of a file system has ticks, of two seconds at most: what is written twice in one
    looks as if it had been written once.
    """
    return time.time_ns() - state[3] > LONGEST_TICK_NS


@lru_cache(maxsize=_KEPT_CHECKSUMS)
def _sha256_of_state(path, *state):
    return file_sha256(path)


def content_sha256(path):
    """Return the SHA-256 of a file's bytes, which are read once for each state of the file."""
    path = str(Path(path).absolute())
    state = file_state(path)
    return _sha256_of_state(path, *state) if is_settled(state) else file_sha256(path)


def array_sha256(array):
    """Return the SHA-256 of an array's values and shape as hexadecimal text."""
    contiguous = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{contiguous.dtype.str} {contiguous.shape}".encode())
    digest.update(contiguous.view(np.uint8).data if contiguous.size else b"")
    return digest.hexdigest()


def read_map(path):
    """Read one volume.

    Parameters
    ----------
    path : path
        NIfTI or Analyze image; trailing dimensions of length 1 are dropped, scaling is applied.

    Returns
    -------
    values : float32 array, shape (x, y, z)
        Missing voxels (not finite, or 0) are NaN.
    grid : Grid

    Raises
    ------
    MapError
        Where the file is missing, unreadable, truncated or not one volume.
    """
    path = Path(path)
    if not path.exists():
        raise MapError(path, "the file does not exist")
    try:
        image = nib.load(path)
        values = np.asarray(image.dataobj, dtype=np.float32)
    except UNREADABLE as error:
        raise MapError(
            path, f"cannot be read as an image, it may be truncated ({error})"
        ) from error
    shape = values.shape
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise MapError(path, f"holds an array of shape {shape}, one volume is expected")
    values = np.where(np.isfinite(values) & (values != 0), values, np.float32(np.nan))
    return values, Grid(values.shape, np.asarray(image.affine, dtype=float))


def load_values(path):
    """Load an image; returns it with its values as float64.

    Raises
    ------
    MapError
        Where the file is missing, unreadable, truncated, or declares more than memory holds.
    """
    try:
        image = nib.load(path)
        return image, np.asarray(image.dataobj, dtype=float)
    except UNREADABLE as error:
        raise MapError(path, f"cannot be read as an image ({error or 'too large'})") from error


def read_volume(path):
    """Read one volume as float64, values as they are; returns the array and its `Grid`."""
    image, values = load_values(path)
    values = values.reshape(values.shape[:3])
    return values, Grid(values.shape, np.asarray(image.affine, dtype=float))


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
    image.header.set_sform(grid.affine, code="mni")
    image.header.set_qform(grid.affine, code="mni")
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
    intent, parameters, _ = nib.load(path).header.get_intent()
    if intent != f"{stat_type.lower()} test":
        raise MapError(
            path, f"its intent is {intent!r}, not {stat_type} with degrees of freedom; give dof"
        )
    return tuple(float(v) for v in parameters)
