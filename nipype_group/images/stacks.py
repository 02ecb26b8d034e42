"""Maps as one stack: the mask they share, smoothing, and a fitted model in that mask."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nibabel as nib
import numpy as np

from nipype_group.images import (
    Grid,
    MapError,
    array_sha256,
    open_image,
    read_map,
    read_mask,
    read_volume,
    set_place,
    write_volume,
)
from nipype_group.json_files import read_json
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    VoxelPatterns,
    contrast_maps,
    missing_rows,
)
from nipype_group.stats.matrix_products import multiply
from nipype_group.stats.smoothing import VolumeSmoother
from nipype_group.tsv import write_tsv
from nipype_group.whole_files import replacing

_KEPT_WEIGHTS = 8
# Share of the voxels of any map that a mask may lack before that is told.
_MANY_LOST = 0.2


@dataclass(frozen=True)
class Coverage:
    """Where maps have values.

    Parameters
    ----------
    counts : int32 array, shape (x, y, z)
        Maps with a value.
    grid : Grid
    own : int array, shape (n,)
        Voxels with a value in each map, of `within` where it is given.
    lacking : int64 array, shape (x, y, z)
        Sum of the numbers (from 0) of the maps without a value: where one map alone has none, its
        number.
    within : bool array, shape (x, y, z), or None
        Explicit mask.
    """

    counts: np.ndarray
    grid: Grid
    own: np.ndarray
    lacking: np.ndarray
    within: np.ndarray | None = None

    @property
    def allowed(self):
        """Voxels of the explicit mask, without one those of any map; bool array (x, y, z)."""
        return self.counts > 0 if self.within is None else self.within

    def missing(self):
        """Return how many of the allowed voxels each map lacks, int array of shape (n,)."""
        return int(self.allowed.sum()) - self.own

    def removed_alone(self, mask):
        """Return how many allowed voxels outside a mask each map lacks that all others have.

        Parameters
        ----------
        mask : bool array, shape (x, y, z)

        Returns
        -------
        int array, shape (n,)
        """
        n_maps = len(self.own)
        alone = self.allowed & ~mask & (self.counts == n_maps - 1)
        return np.bincount(self.lacking[alone], minlength=n_maps)


def count_coverage(paths, mask_file=None, mask_threshold=None, zero_is_value=False):
    """Count, for every voxel, the maps that have a value there; a map in memory at a time.

    Parameters
    ----------
    paths : sequence of path
        Maps of one grid.
    mask_file : path, optional
        Explicit mask on the same grid.
    mask_threshold : float, optional
        The least value inside it, see `nipype_group.images.read_mask`.
    zero_is_value : bool, optional
        Whether a voxel of 0 has a value.

    Returns
    -------
    Coverage

    Raises
    ------
    MapError
        Naming the map that is on another grid than the first, or the mask that is.
    """
    counts, grid, own, within = None, None, [], None
    for number, path in enumerate(paths):
        values, its_grid = read_map(path, zero_is_value)
        present = np.isfinite(values)
        if grid is None:
            counts, grid = np.zeros(values.shape, dtype=np.int32), its_grid
            lacking = np.zeros(values.shape, dtype=np.int64)
            if mask_file is not None:
                within, _ = read_mask(mask_file, grid, mask_threshold)
        elif not its_grid.matches(grid):
            raise MapError(path, f"grid {its_grid}; the first map has {grid}")
        counts += present
        np.add(lacking, number, out=lacking, where=~present)
        own.append(np.count_nonzero(present if within is None else present & within))
    return Coverage(counts, grid, np.array(own), lacking, within)


def write_map_coverage(path, map_files, coverage, mask):
    """Write what each map has and what it costs the mask, a row a map.

    Parameters
    ----------
    path : path
        Ending in .tsv.
    map_files : sequence of path
        Maps that were counted, in order.
    coverage : Coverage
    mask : bool array, shape (x, y, z)
        Voxels that are analysed.

    Returns
    -------
    str
    """
    table = {
        "map": [Path(f).name for f in map_files],
        "n_voxels": coverage.own,
        "n_missing": coverage.missing(),
        "n_removed_alone": coverage.removed_alone(mask),
    }
    return str(write_tsv(Path(path).absolute(), table))


def maps_needed(n_maps, min_coverage):
    """Return how many maps a share of them is, rounded up.

    Raises
    ------
    ValueError
        Where the share is not above 0 and up to 1.

    Examples
    --------
    >>> maps_needed(12, 0.7), maps_needed(30, 0.1), maps_needed(5, 1.0)
    (9, 3, 5)
    """
    if not 0 < min_coverage <= 1:
        raise ValueError(
            f"min_coverage is a share of the maps above 0 and up to 1, got {min_coverage:g}"
        )
    # 0.1 x 30 is a little more than 3.
    return max(1, int(np.ceil(min_coverage * n_maps - 1e-9)))


def group_mask(paths, mask_file=None, min_coverage=1.0, mask_threshold=None, zero_is_value=False):
    """Return the voxels that enough maps have, inside an explicit mask where one is given.

    Parameters
    ----------
    paths : sequence of path
        Maps of one grid.
    mask_file : path, optional
        Explicit mask on the same grid.
    min_coverage : float
        Share of the maps that must have a voxel, above 0 and up to 1.
    mask_threshold : float, optional
        The least value inside the explicit mask, see `nipype_group.images.read_mask`.
    zero_is_value : bool, optional
        Whether a voxel of 0 has a value.

    Returns
    -------
    mask : bool array, shape (x, y, z)
    coverage : Coverage
        Of the explicit mask (without one: of the voxels of any map).

    Raises
    ------
    ValueError
        Where the share is out of range.
    MapError
        Where no voxel is left, naming the map with the smallest coverage.
    """
    needed = maps_needed(len(paths), min_coverage)
    coverage = count_coverage(paths, mask_file, mask_threshold, zero_is_value)
    mask = coverage.allowed & (coverage.counts >= needed)
    if not mask.any():
        worst = int(np.argmin(coverage.own))
        who = "every map" if needed == len(paths) else f"{needed} of the {len(paths)} maps"
        raise MapError(
            paths[worst],
            f"no voxel {'of the mask ' if mask_file else ''}has a value in {who}; this one "
            f"has the smallest coverage, {coverage.own[worst]} voxels",
        )
    return mask, coverage


def mask_notes(mask, coverage, paths, zero_is_value=False):
    """Return what is odd about a mask: it fills the image, or maps cost it many voxels.

    Parameters
    ----------
    mask : bool array, shape (x, y, z)
        Voxels that are analysed.
    coverage : Coverage
        Of the maps.
    paths : sequence of path
        The maps.
    zero_is_value : bool, optional
        Whether a voxel of 0 has a value.

    Returns
    -------
    list of str
    """
    notes = []
    if mask.all():
        notes.append(
            f"the mask fills the whole image, {mask.size} voxels: the maps have a value outside "
            "the brain too; a mask of the brain (--mask) leaves that out"
        )
    n_allowed, n_inside = int(coverage.allowed.sum()), int(mask.sum())
    if n_allowed - n_inside >= _MANY_LOST * n_allowed:
        worst = int(np.argmin(coverage.own))
        absent, remedy = "not finite", ""
        if not zero_is_value:
            absent, remedy = "0 or not finite", "; where 0 is a value, --zero-is-value"
        notes.append(
            f"{n_allowed - n_inside} of {n_allowed} voxels are out of the mask, as maps are "
            f"{absent} there, most often {Path(paths[worst]).name}; --min-coverage keeps voxels "
            f"that some maps lack{remedy}"
        )
    n_lacking = int((coverage.counts[mask] < len(paths)).sum())
    # Brains that differ in their edges lack less.
    if not zero_is_value and 2 * n_lacking > n_inside:
        notes.append(
            f"{n_lacking} of {n_inside} voxels of the mask are 0 or not finite in some "
            "maps, which are left out there; where 0 is a value, --zero-is-value"
        )
    return notes


def write_stack(path, map_files, mask, grid, allow_missing=False, zero_is_value=False):
    """Write maps as one uncompressed 4D float32 NIfTI, a map at a time; 0 outside the mask.

    Parameters
    ----------
    path : path
        Ending in .nii.
    map_files : sequence of path
        Maps of one grid.
    mask : bool array, shape (x, y, z)
        Voxels that are kept.
    grid : Grid
        Grid of the mask.
    allow_missing : bool
        Whether maps may lack voxels of the mask, where the stack is NaN.
    zero_is_value : bool
        Whether a voxel of 0 has a value.

    Raises
    ------
    MapError
        Naming a map on another grid, or without a value inside the mask: at any of its voxels,
        or with `allow_missing` at all of them.
    """
    path = Path(path).absolute()
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape((*grid.shape, len(map_files)))
    set_place(header, grid)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header.set_slope_inter(1, 0)
    with replacing(path) as stream:
        stream.write(header.binaryblock)
        stream.write(b"\0" * (352 - stream.tell()))
        for map_file in map_files:
            values, own = read_map(map_file, zero_is_value)
            if not own.matches(grid):
                raise MapError(map_file, f"grid {own}; the mask has {grid}")
            lacks = np.isnan(values[mask])
            if lacks.any() and (lacks.all() or not allow_missing):
                all_of_them = ", all it has: leave the map out" if lacks.all() else ""
                raise MapError(
                    map_file, f"no value at {lacks.sum()} voxels of the mask{all_of_them}"
                )
            stream.write(np.where(mask, values, np.float32(0)).tobytes(order="F"))
    return str(path)


def write_volumes(path, volumes, n_volumes, grid):
    """Write volumes as one uncompressed 4D float64 NIfTI, a volume in memory at a time.

    Parameters
    ----------
    path : path
        Ending in .nii.
    volumes : iterable of array, shape (x, y, z)
    n_volumes : int
        How many they are.
    grid : Grid

    Returns
    -------
    str
        The path, absolute; its bytes are those that `write_volume` writes of all volumes.
    """
    path = Path(path).absolute()
    # An array of one number, for the header alone.
    empty = np.broadcast_to(np.float64(0), (*grid.shape, n_volumes))
    image = nib.Nifti1Image(empty, grid.affine)
    set_place(image.header, grid)
    image.header["vox_offset"], image.header["magic"] = 352, b"n+1"
    image.header.set_slope_inter(1, 0)
    with replacing(path) as stream:
        stream.write(image.header.binaryblock)
        stream.write(b"\0" * (352 - stream.tell()))
        for volume in volumes:
            stream.write(np.asarray(volume, dtype=float).tobytes(order="F"))
    return str(path)


def smooth_maps(
    paths, directory, fwhm_mm, mask_file=None, n_threads=1, report=None, zero_is_value=False
):
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
    zero_is_value : bool, optional
        Whether a voxel of 0 has a value.

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
        values, own = read_map(paths[index], zero_is_value)
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


def variance_smoother(mask_file, fwhm_mm):
    """Return a function that smooths maps of a mask's voxels inside the mask.

    Parameters
    ----------
    mask_file : path
        Voxels tested; what lies outside neither spreads nor shrinks.
    fwhm_mm : float
        Full width at half maximum.

    Returns
    -------
    callable
        Takes and gives arrays of shape (m, v).
    """
    mask, grid = read_mask(mask_file)
    smoother = VolumeSmoother(grid.shape, grid.voxel_sizes_mm, [fwhm_mm] * 3)
    weights = smoother.weights(mask)
    inside = np.flatnonzero(mask.ravel(order="F"))

    def smooth(maps):
        volumes = (smoother(unmask(values, mask), mask, weights) for values in maps)
        return np.array([volume.ravel(order="F")[inside] for volume in volumes], dtype=float)

    return smooth


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
        Covariance of the betas for unit residual variance; with `patterns` of shape (k, p, p).
    dof : int
        Residual degrees of freedom; with `patterns` an array of shape (k,).
    mask : bool array, shape (x, y, z)
    grid : Grid
    patterns : VoxelPatterns, optional
        Which covariance and dof are those of a voxel, where maps lack voxels.
    """

    betas: np.ndarray
    residual_variance: np.ndarray
    covariance: np.ndarray
    dof: int | np.ndarray
    mask: np.ndarray
    grid: Grid
    patterns: VoxelPatterns | None = None

    def unmask(self, values):
        """Put values of the mask's voxels back into a volume."""
        return unmask(values, self.mask)

    def contrast_maps(self, weights, test, tail):
        """Compute all maps of a contrast, see `nipype_group.stats.linear.least_squares`."""
        fit = self.betas, self.residual_variance, self.covariance, self.dof, tail
        if self.patterns is not None:
            fit += self.patterns.number, self.patterns.determine(weights)
        return contrast_maps(weights, test, *fit)


def read_fit(model_file, betas_file, residual_variance_file, mask_file, pattern_file=None):
    """Read what a GLM left on disk.

    Parameters
    ----------
    model_file : path
        JSON: covariance, dof and, where maps lack voxels, the design and the patterns.
    betas_file, residual_variance_file, mask_file : path
        Images of one grid.
    pattern_file : path, optional
        Number of every voxel's pattern; needed where maps lack voxels.

    Returns
    -------
    Fit

    Raises
    ------
    MapError
        Where the model file is none, or the files do not belong together.
    """
    try:
        about = read_json(model_file)
        covariance = np.array(about["Covariance"], dtype=float)
        dof = int(about["DegreesOfFreedom"])
        lacking = _read_patterns(about)
    except (OSError, TypeError, ValueError) as error:
        raise MapError(model_file, f"no model description ({error!r})") from error
    image = open_image(betas_file)
    grid = image.grid
    mask, _ = read_mask(mask_file, grid)
    betas = image.values().reshape(mask.size, -1, order="F")
    if betas.shape[1] != len(covariance):
        raise MapError(betas_file, f"{betas.shape[1]} volumes for {len(covariance)} columns")
    variance, _ = read_volume(residual_variance_file)
    inside = np.flatnonzero(mask.ravel(order="F"))
    patterns = None
    if lacking is not None:
        pattern = _read_numbers(pattern_file, mask, grid, len(lacking[1]), model_file)
        patterns = VoxelPatterns.of(lacking[0], pattern, lacking[1])
        covariance, dof = patterns.covariance, patterns.dof
    return Fit(
        betas[inside].T, variance.ravel(order="F")[inside], covariance, dof, mask, grid, patterns
    )


def describe_patterns(model, patterns):
    """Return what `read_fit` needs of maps that lack voxels, for the model file."""
    if len(patterns.missing) == 1:
        return {}
    return {
        "Design": model.matrix.tolist(),
        "MissingPatterns": [packed.hex() for packed in patterns.missing],
    }


def _read_patterns(about):
    """Return the model and the rows that every pattern lacks, None where no map lacks a voxel."""
    if "MissingPatterns" not in about:
        return None
    matrix = np.array(about["Design"], dtype=float)
    missing = tuple(map(bytes.fromhex, about["MissingPatterns"]))
    if matrix.ndim != 2 or matrix.shape[1] != len(about["Covariance"]):
        raise ValueError(f"Design has the shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("Design holds values that are not finite")
    n_maps = len(matrix)
    for packed in missing:
        lacks = np.isin(np.arange(n_maps), missing_rows(packed, n_maps))
        if np.packbits(lacks).tobytes() != packed:
            raise ValueError(f"MissingPatterns have a bit for each of {n_maps} maps, got {packed}")
    if not missing or any(missing[0]) or len(set(missing)) < len(missing):
        raise ValueError("MissingPatterns start with one that lacks no map, and differ")
    return LinearModel(matrix, tuple(map(str, about["Columns"]))), missing


def _read_numbers(pattern_file, mask, grid, n_patterns, model_file):
    """Return the number of the pattern of every voxel of the mask."""
    if pattern_file is None:
        raise MapError(model_file, "some maps lack voxels: the map of patterns is needed too")
    values, own = read_volume(pattern_file)
    if not own.matches(grid):
        raise MapError(pattern_file, f"grid {own}; the betas have {grid}")
    inside = values.ravel(order="F")[np.flatnonzero(mask.ravel(order="F"))]
    if not np.isin(inside, np.arange(n_patterns)).all():
        raise MapError(
            pattern_file, f"holds other numbers than 0 to {n_patterns - 1}, those of {model_file}"
        )
    return inside.astype(np.int32)


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
        image = open_image(stack_file)
        if len(image.shape) != 4 or not str(stack_file).endswith(".nii"):
            raise MapError(stack_file, f"an uncompressed 4D .nii is expected, got {image.shape}")
        self.grid = image.grid
        self.mask, _ = read_mask(mask_file, self.grid)
        data = image.memory_map()
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

    @cached_property
    def has_missing(self):
        """Whether some map lacks a voxel of the mask; read a map at a time."""
        return any(not np.isfinite(values[self._inside]).all() for values in self._maps)

    def read(self, start, stop):
        """Return voxels start to stop - 1 of the mask as float64, shape (n, stop - start).

        Where a map lacks a voxel the value is NaN.
        """
        return self._maps[:, self._inside[start:stop]].astype(float)

    def read_some(self, n_voxels):
        """Return about so many voxels, evenly spread over the mask, shape (n, k)."""
        step = max(1, self.n_voxels // n_voxels)
        return self._maps[:, self._inside[::step]].astype(float)

    def maps(self, rows=None):
        """Yield the mask's voxels of every map as float64, shape (v,), one map at a time.

        Parameters
        ----------
        rows : sequence of int, optional
            These maps, in this order.
        """
        for row in range(self.n_maps) if rows is None else rows:
            yield self._maps[row][self._inside].astype(float)

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
            yield self.unmask(values[self._inside].astype(float) - multiply(row, betas))

    def unmask(self, values):
        """Put values of the mask's voxels back into volumes, see `unmask`."""
        return unmask(values, self.mask)
