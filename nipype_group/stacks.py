"""Maps as one stack: the mask they share, smoothing, and a fitted model in that mask."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from nipype_group.images import (
    Grid,
    MapError,
    array_sha256,
    read_map,
    read_mask,
    read_volume,
    write_volume,
)
from nipype_group.stats.smoothing import VolumeSmoother

_KEPT_WEIGHTS = 8


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
