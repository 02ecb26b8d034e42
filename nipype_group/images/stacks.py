"""Maps as one stack inside a mask: written once, then mapped into memory."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from nipype_group.images.opening import open_image
from nipype_group.images.space import MapError, Space, check_same_space
from nipype_group.images.volumes import lack_where, read_effect, read_mask, with_missing
from nipype_group.stats.matrix_products import multiply
from nipype_group.whole_files import AnyPath


def write_stack(
    path: AnyPath,
    map_files: Sequence[AnyPath],
    mask: np.ndarray,
    space: Space,
    allow_missing: bool = False,
    zero_is_value: bool = False,
    variance_files: Sequence[AnyPath] | None = None,
    covariate_files: Sequence[AnyPath] = (),
    smoothed_file: AnyPath | None = None,
) -> str:
    """Write maps as one float32 file that can be mapped into memory; 0 outside the mask.

    Where a file from `smooth_into_stack` holds the very same, it is that file.

    Parameters
    ----------
    path : path
        Ending in the `suffix` of the Space.
    map_files : sequence of path
        Maps of one Space.
    mask : bool array of the shape of the Space
        Voxels that are kept.
    space : Space
        That of the mask.
    allow_missing : bool
        Whether maps may lack voxels of the mask, where the stack is NaN.
    zero_is_value : bool
        Whether a voxel of 0 has a value.
    variance_files : sequence of path, optional
        Variances of the maps, which have no value where theirs is 0, negative or missing.
    covariate_files : sequence of path
        Covariates that are maps, one after the other, each in the order of the maps, which have
        no value where one is missing.
    smoothed_file : path, optional
        From `smooth_into_stack`, of the same maps: their values are taken.

    Returns
    -------
    str
        The path, or that of `smoothed_file`, absolute.

    Raises
    ------
    MapError
        Naming a map on another Space, or without a value inside the mask: at any of its voxels,
        or with `allow_missing` at all of them.
    """
    smoothed = None if smoothed_file is None else _open_smoothed(smoothed_file, map_files, space)

    def read(map_file, variance_file, number):
        covariates = covariate_files[number :: len(map_files)]
        if smoothed is None:
            values, own = read_effect(map_file, variance_file, zero_is_value, covariates)
            check_same_space(map_file, own, space, "the mask")
        else:
            values = with_missing(smoothed.values(number, np.float32), zero_is_value)
            values = lack_where(values, space, variance_file, zero_is_value, covariates)
        lacks = np.isnan(values[mask])
        if lacks.any() and (lacks.all() or not allow_missing):
            all_of_them = ", all it has: leave the map out" if lacks.all() else ""
            raise MapError(map_file, f"no value at {lacks.sum()} voxels of the mask{all_of_them}")
        return np.where(mask, values, np.float32(0))

    variances = [None] * len(map_files) if variance_files is None else variance_files
    if smoothed is not None and all(
        np.array_equal(kept, smoothed.values(number, np.float32), equal_nan=True)
        for number, kept in enumerate(map(read, map_files, variances, count()))
    ):
        return str(Path(smoothed.path).absolute())
    return space.write_maps(path, map(read, map_files, variances, count()), len(map_files))


def _open_smoothed(path, map_files, space):
    """Open maps in one file, as many as there are others, on the Space of the mask."""
    image = open_image(path)
    check_same_space(path, image.space, space, "the mask")
    if not image.lists_maps or image.n_maps != len(map_files):
        raise MapError(path, f"holds {image.n_maps} maps, of {len(map_files)} that are smoothed")
    return image


def write_volumes(
    path: AnyPath, volumes: Iterable[np.ndarray], n_volumes: int, space: Space
) -> str:
    """Write maps as one float64 file, one in memory at a time; see `Space.write_maps`."""
    return space.write_maps(path, volumes, n_volumes, np.float64)


def unmask(values: ArrayLike, mask: np.ndarray) -> np.ndarray:
    """Put values of the mask's voxels, shape (v,) or (k, v), back into maps; 0 elsewhere.

    Voxels count in the order of the file, the first axis fastest.

    Returns
    -------
    float64 array of the shape of the mask, with k as one more axis
    """
    values = np.asarray(values, dtype=float)
    flat = np.zeros((*values.shape[:-1], mask.size))
    flat[..., np.flatnonzero(mask.ravel(order="F"))] = values
    if values.ndim == 1:
        return flat.reshape(mask.shape, order="F")
    return flat.T.reshape((*mask.shape, len(values)), order="F")


class MaskedStack:
    """Memory-mapped maps inside a mask.

    Parameters
    ----------
    stack_file : path
        From `write_stack`, one map after the other.
    mask_file : path
        Mask on the same Space.

    Raises
    ------
    MapError
        Where the stack cannot be mapped into memory or the mask does not fit.
    """

    def __init__(self, stack_file, mask_file):
        image = open_image(stack_file)
        self.space = image.space
        if not image.lists_maps or not str(stack_file).endswith(self.space.suffix):
            what = f"an uncompressed {self.space.suffix} of several maps is expected"
            raise MapError(stack_file, f"{what}, got an array of shape {image.shape}")
        self.mask, _ = read_mask(mask_file, self.space)
        data = image.memory_map()
        # In the file the map index runs slowest, so this is a view.
        self._maps = data.reshape(self.space.n_places, -1, order="F").T
        self._inside = np.flatnonzero(self.mask.ravel(order="F"))

    @property
    def n_maps(self) -> int:
        """Number of maps."""
        return self._maps.shape[0]

    @property
    def n_voxels(self) -> int:
        """Number of voxels in the mask."""
        return len(self._inside)

    @cached_property
    def has_missing(self) -> bool:
        """Whether some map lacks a voxel of the mask; read a map at a time."""
        return any(not np.isfinite(values[self._inside]).all() for values in self._maps)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return voxels start to stop - 1 of the mask as float64, shape (n, stop - start).

        Where a map lacks a voxel the value is NaN.
        """
        return self._maps[:, self._inside[start:stop]].astype(float)

    def read_some(self, n_voxels: int) -> np.ndarray:
        """Return about so many voxels, evenly spread over the mask, shape (n, k)."""
        step = max(1, self.n_voxels // n_voxels)
        return self._maps[:, self._inside[::step]].astype(float)

    def maps(self, rows: Iterable[int] | None = None) -> Iterator[np.ndarray]:
        """Yield the mask's voxels of every map as float64, shape (v,), one map at a time.

        Parameters
        ----------
        rows : sequence of int, optional
            These maps, in this order.
        """
        for row in range(self.n_maps) if rows is None else rows:
            yield self._maps[row][self._inside].astype(float)

    def residuals(self, matrix: np.ndarray, betas: np.ndarray) -> Iterator[np.ndarray]:
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

    def unmask(self, values: ArrayLike) -> np.ndarray:
        """Put values of the mask's voxels back into volumes, see `unmask`."""
        return unmask(values, self.mask)
