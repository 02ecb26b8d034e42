"""Maps and masks on disk as arrays, on a Space of any kind."""

from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike

from nipype_group.images.grid import Grid
from nipype_group.images.opening import open_image
from nipype_group.images.space import Intent, MapError, Space, check_same_space
from nipype_group.whole_files import AnyPath


def read_map(path: AnyPath, zero_is_value: bool = False) -> tuple[np.ndarray, Space]:
    """Read one map.

    Parameters
    ----------
    path : path
        Image; trailing dimensions of length 1 are dropped, scaling is applied.
    zero_is_value : bool, optional
        Whether a place of 0 has that value; most packages write 0 where there is none.

    Returns
    -------
    values : float32 array of the shape of the Space
        Missing places (not finite, or 0) are NaN.
    space : Space

    Raises
    ------
    MapError
        Where the file cannot be opened (see `open_image`) or is not one map.
    """
    values, space = _one_map(path, np.float32)
    return with_missing(values, zero_is_value), space


def with_missing(values: np.ndarray, zero_is_value: bool = False) -> np.ndarray:
    """Return values of a map as `read_map` does, NaN where they are missing."""
    present = np.isfinite(values) & (zero_is_value | (values != 0))
    return np.where(present, values, np.float32(np.nan))


def read_effect(
    path: AnyPath,
    variance_path: AnyPath | None = None,
    zero_is_value: bool = False,
    covariate_paths: Sequence[AnyPath] = (),
) -> tuple[np.ndarray, Space]:
    """Read one map, which lacks a place where its variance is 0, negative or not finite.

    It lacks one where a covariate that is a map does, too.

    Parameters
    ----------
    path : path
    variance_path : path, optional
        Map of its variances; without it the map is as `read_map` gives it.
    zero_is_value : bool, optional
        Whether a place of 0 of the map, or of a covariate, has that value.
    covariate_paths : sequence of path
        Its maps of covariates.

    Returns
    -------
    values : float32 array of the shape of the Space
        Missing places are NaN.
    space : Space

    Raises
    ------
    MapError
        Where one is not one map, or both are on other Spaces.
    """
    values, space = read_map(path, zero_is_value)
    return lack_where(values, space, variance_path, zero_is_value, covariate_paths), space


def lack_where(
    values: np.ndarray,
    space: Space,
    variance_path: AnyPath | None = None,
    zero_is_value: bool = False,
    covariate_paths: Sequence[AnyPath] = (),
) -> np.ndarray:
    """Return values of a map, NaN where its variance or a covariate has no value.

    See `read_effect`.
    """
    for covariate in covariate_paths:
        present, own = read_map(covariate, zero_is_value)
        check_same_space(covariate, own, space, "its map")
        values = np.where(np.isfinite(present), values, np.float32(np.nan))
    if variance_path is None:
        return values
    variances, own = read_map(variance_path)
    check_same_space(variance_path, own, space, "its map")
    return np.where(variances > 0, values, np.float32(np.nan))


def read_volume(path: AnyPath, kind: type[Space] | None = None) -> tuple[np.ndarray, Space]:
    """Read one map as float64, values as they are; returns the array and its `Space`.

    With `kind`, as `Grid`, an image on another kind of Space is refused.
    """
    return _one_map(path, float, kind)


def read_on(
    path: AnyPath, space: Space, whose: str = "the maps", remedy: str | None = None
) -> np.ndarray:
    """Read one map as float64 that lies on the Space of others, see `check_same_space`.

    Returns
    -------
    float64 array of the shape of the Space
    """
    values, own = _one_map(path, float)
    check_same_space(path, own, space, whose, remedy)
    return values


def space_of_map(path: Any) -> Space:
    """Return the `Space` of one map from its header.

    Raises
    ------
    MapError
        As `read_map`, of what the header tells.
    """
    return _open_one(path).space


def _open_one(path, kind=None):
    image = open_image(path, kind=kind)
    if image.n_maps != 1:
        raise MapError(path, f"holds an array of shape {image.shape}, one volume is expected")
    return image


def _one_map(path, dtype, kind=None):
    image = _open_one(path, kind)
    return image.values(dtype=dtype).reshape(image.space.shape), image.space


def read_mask(
    path: AnyPath, space: Space | None = None, threshold: float | None = None
) -> tuple[np.ndarray, Space]:
    """Read a mask.

    Parameters
    ----------
    path : path
        Image of 0, or NaN, outside and one other value inside.
    space : Space, optional
        What the mask has to lie on.
    threshold : float, optional
        For an image of probabilities: the least value inside.

    Returns
    -------
    mask : bool array of the shape of the Space
    space : Space

    Raises
    ------
    MapError
        Where the mask cannot be read, holds more than two values and no threshold is given, is
        empty, or is not on `space`.
    """
    values, own = read_volume(path)
    if space is not None:
        check_same_space(path, own, space, remedy="resample the mask")
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


def write_volume(
    path: AnyPath,
    values: np.ndarray,
    space: Space,
    dtype: DTypeLike = np.float32,
    intent: Intent | None = None,
) -> str:
    """Write maps of a Space, see `nipype_group.images.space.Space.write`."""
    return space.write(path, values, dtype, intent)


def read_dof(path: AnyPath, stat_type: str) -> tuple[float, ...]:
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
    header = open_image(path, kind=Grid).header
    # Headers of other formats know no intent.
    known = isinstance(header, nib.Nifti1Header)
    intent, parameters, _ = header.get_intent() if known else ("none", (), "")
    if intent != f"{stat_type.lower()} test":
        raise MapError(
            path, f"its intent is {intent!r}, not {stat_type} with degrees of freedom; give dof"
        )
    return tuple(float(v) for v in parameters)
