"""Volumes on disk as arrays: grids, masks, maps and stacks of maps."""

import gzip
import hashlib
import json
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError

from nipype_group.stats.smoothing import VolumeSmoother

IMAGE_SUFFIXES = (".nii", ".nii.gz", ".img", ".img.gz")
# Grids are one where no corner is off by more than this share of a voxel.
_CORNER_TOLERANCE = 0.01
_CHUNK_BYTES = 1 << 20
_KEPT_WEIGHTS = 8


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
        difference = (self.affine - other.affine) @ np.vstack([corners, np.ones(8)])
        return np.abs(difference).max() <= _CORNER_TOLERANCE * self.voxel_sizes_mm.min()

    def __str__(self):
        size = " x ".join(f"{v:.4g}" for v in self.voxel_sizes_mm)
        origin = ", ".join(f"{v:.4g}" for v in self.affine[:3, 3])
        shape = " x ".join(str(n) for n in self.shape)
        return f"{shape} voxels of {size} mm from ({origin})"


def file_sha256(path):
    """Return the SHA-256 of a file's bytes as hexadecimal text."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


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
    except (OSError, EOFError, zlib.error, ImageFileError, ValueError) as error:
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


def read_volume(path):
    """Read one volume as float64, values as they are; returns the array and its `Grid`."""
    image = nib.load(path)
    values = np.asarray(image.dataobj, dtype=float)
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
        content = gzip.compress(content, compresslevel=6, mtime=0)
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return str(path)


def count_coverage(paths):
    """Count, for every voxel, the maps that have a value there.

    Parameters
    ----------
    paths : sequence of path
        Maps of one grid.

    Returns
    -------
    counts : int array, shape (x, y, z)
    grid : Grid
    own : list of int
        Voxels with a value in each map.

    Raises
    ------
    MapError
        Naming the map that is on another grid than the first.
    """
    counts, grid, own = None, None, []
    for path in paths:
        values, its_grid = read_map(path)
        present = np.isfinite(values)
        if grid is None:
            counts, grid = np.zeros(values.shape, dtype=np.int32), its_grid
        elif not its_grid.matches(grid):
            raise MapError(path, f"grid {its_grid}; the first map has {grid}")
        counts += present
        own.append(int(present.sum()))
    return counts, grid, own


def group_mask(paths, mask_file=None):
    """Return the voxels that every map has, inside an explicit mask where one is given.

    Parameters
    ----------
    paths : sequence of path
        Maps of one grid.
    mask_file : path, optional
        Explicit mask on the same grid.

    Returns
    -------
    mask : bool array, shape (x, y, z)
    counts : int array, shape (x, y, z)
        Maps with a value, everywhere.
    grid : Grid
    n_lost : int
        Voxels of the explicit mask (without one: of any map) that some map lacks.

    Raises
    ------
    MapError
        Where no voxel is left, naming the map with the smallest coverage.
    """
    counts, grid, own = count_coverage(paths)
    allowed = counts > 0 if mask_file is None else read_mask(mask_file, grid)[0]
    mask = allowed & (counts == len(paths))
    if not mask.any():
        worst = int(np.argmin(own))
        raise MapError(
            paths[worst],
            f"no voxel {'of the mask ' if mask_file else ''}has a value in every map; this one "
            f"has the smallest coverage, {own[worst]} voxels",
        )
    return mask, counts, grid, int(allowed.sum() - mask.sum())


def write_stack(path, map_files, mask, grid):
    """Write maps as one uncompressed 4D float32 NIfTI, a map at a time; 0 outside the mask.

    Raises
    ------
    MapError
        Naming a map on another grid, or without a value inside the mask.
    """
    path = Path(path).absolute()
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape((*grid.shape, len(map_files)))
    header.set_xyzt_units("mm")
    header.set_sform(grid.affine, code="mni")
    header.set_qform(grid.affine, code="mni")
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header.set_slope_inter(1, 0)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as stream:
            stream.write(header.binaryblock)
            stream.write(b"\0" * (352 - stream.tell()))
            for map_file in map_files:
                values, own = read_map(map_file)
                if not own.matches(grid):
                    raise MapError(map_file, f"grid {own}; the mask has {grid}")
                lacking = int(np.isnan(values[mask]).sum())
                if lacking:
                    raise MapError(map_file, f"no value at {lacking} voxels of the mask")
                stream.write(np.where(mask, values, np.float32(0)).tobytes(order="F"))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return str(path)


def smooth_maps(paths, directory, fwhm_mm, mask_file=None, n_threads=1, report=None):
    """Smooth maps of one grid and write them as float32 .nii.

    Parameters
    ----------
    paths : sequence of path
        Maps.
    directory : path
        Where the smoothed maps go, numbered in order.
    fwhm_mm : sequence of float
        One number, or one for each axis.
    mask_file : path, optional
        Values outside count as missing.
    n_threads : int
        Threads over maps.
    report : callable, optional
        Called with the fraction done.

    Returns
    -------
    list of str
    """
    _, grid = read_map(paths[0])
    mask = None if mask_file is None else read_mask(mask_file, grid)[0]
    fwhm_mm = list(fwhm_mm) * 3 if len(fwhm_mm) == 1 else fwhm_mm
    smoother = VolumeSmoother(grid.shape, grid.voxel_sizes_mm, fwhm_mm)
    weights_of = {}

    def smooth(index):
        values, own = read_map(paths[index])
        if not own.matches(grid):
            raise MapError(paths[index], f"grid {own}; the first map has {grid}")
        present = np.isfinite(values) if mask is None else np.isfinite(values) & mask
        # Most maps of a study miss the same voxels.
        key = array_sha256(present)
        if key not in weights_of and len(weights_of) < _KEPT_WEIGHTS:
            weights_of[key] = smoother.weights(present)
        smoothed = smoother(values, present, weights_of.get(key))
        name = Path(paths[index]).name.partition(".")[0]
        return write_volume(Path(directory, f"{index + 1:04d}_{name}.nii"), smoothed, grid)

    results = []
    with ThreadPoolExecutor(n_threads) as pool:
        for result in pool.map(smooth, range(len(paths))):
            results.append(result)
            if report is not None:
                report(len(results) / len(paths))
    return results


def unmask(values, mask):
    """Put values of the mask's voxels, shape (v,) or (k, v), back into volumes; 0 elsewhere.

    Voxels count in the order of the file, the first axis fastest.

    Returns
    -------
    float64 array, shape (x, y, z) or (x, y, z, k)
    """
    values = np.asarray(values, dtype=float)
    flat = np.zeros((*values.shape[:-1], mask.size))
    flat[..., np.flatnonzero(mask.ravel(order="F"))] = values
    if values.ndim == 1:
        return flat.reshape(mask.shape, order="F")
    return flat.T.reshape((*mask.shape, len(values)), order="F")


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


@dataclass(frozen=True)
class Fit:
    """A fitted model inside a mask.

    Parameters
    ----------
    betas : array, shape (p, v)
    residual_variance : array, shape (v,)
    covariance : array, shape (p, p)
        Covariance of the betas for unit residual variance.
    dof : int
        Residual degrees of freedom.
    mask : bool array, shape (x, y, z)
    grid : Grid
    """

    betas: np.ndarray
    residual_variance: np.ndarray
    covariance: np.ndarray
    dof: int
    mask: np.ndarray
    grid: Grid

    def unmask(self, values):
        """Put values of the mask's voxels back into a volume."""
        return unmask(values, self.mask)


def read_fit(model_file, betas_file, residual_variance_file, mask_file):
    """Read what a GLM left on disk.

    Returns
    -------
    Fit

    Raises
    ------
    MapError
        Where the model file is none, or the files do not belong together.
    """
    try:
        about = json.loads(Path(model_file).read_text())
        covariance = np.array(about["Covariance"], dtype=float)
        dof = int(about["DegreesOfFreedom"])
    except (OSError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise MapError(model_file, f"no model description ({error!r})") from error
    image = nib.load(betas_file)
    grid = Grid(image.shape[:3], np.asarray(image.affine, dtype=float))
    mask, _ = read_mask(mask_file, grid)
    betas = np.asarray(image.dataobj, dtype=float).reshape(mask.size, -1, order="F")
    if betas.shape[1] != len(covariance):
        raise MapError(betas_file, f"{betas.shape[1]} volumes for {len(covariance)} columns")
    variance, _ = read_volume(residual_variance_file)
    inside = np.flatnonzero(mask.ravel(order="F"))
    return Fit(betas[inside].T, variance.ravel(order="F")[inside], covariance, dof, mask, grid)


class MaskedStack:
    """Memory-mapped maps inside a mask.

    Parameters
    ----------
    stack_file : path
        Uncompressed 4D NIfTI, one map after the other.
    mask_file : path
        Mask on the same grid.

    Raises
    ------
    MapError
        Where the stack is no uncompressed 4D image or the mask does not fit.
    """

    def __init__(self, stack_file, mask_file):
        image = nib.load(stack_file)
        if image.ndim != 4 or not str(stack_file).endswith(".nii"):
            raise MapError(stack_file, f"an uncompressed 4D .nii is expected, got {image.shape}")
        self.grid = Grid(image.shape[:3], np.asarray(image.affine, dtype=float))
        self.mask, _ = read_mask(mask_file, self.grid)
        data = image.dataobj.get_unscaled() if image.dataobj.slope == 1 else None
        if data is None:
            raise MapError(stack_file, "a scaled stack cannot be memory-mapped")
        # In the file the map index runs slowest, so this is a view.
        self._maps = data.reshape(-1, image.shape[3], order="F").T
        self._inside = np.flatnonzero(self.mask.ravel(order="F"))

    @property
    def n_maps(self):
        """Number of maps."""
        return self._maps.shape[0]

    @property
    def n_voxels(self):
        """Number of voxels in the mask."""
        return len(self._inside)

    def read(self, start, stop):
        """Return voxels start to stop - 1 of the mask as float64, shape (n, stop - start)."""
        return self._maps[:, self._inside[start:stop]].astype(float)

    def residuals(self, matrix, betas):
        """Yield the residual volume of every map, one at a time.

        Parameters
        ----------
        matrix : array, shape (n, p)
            Design.
        betas : array, shape (p, v)
            Parameter estimates of the mask's voxels.
        """
        for row, values in zip(matrix, self._maps, strict=True):
            yield self.unmask(values[self._inside].astype(float) - row @ betas)

    def unmask(self, values):
        """Put values of the mask's voxels back into volumes, see `unmask`."""
        return unmask(values, self.mask)
