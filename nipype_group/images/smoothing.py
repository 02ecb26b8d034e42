"""Smoothing of maps on disk, and of maps inside a mask."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from nipype_group.images.checksums import array_sha256
from nipype_group.images.space import check_same_space
from nipype_group.images.stacks import unmask
from nipype_group.images.volumes import read_map, read_mask, write_volume
from nipype_group.whole_files import AnyPath

_KEPT_WEIGHTS = 8


def smooth_maps(
    paths: Sequence[AnyPath],
    directory: AnyPath,
    fwhm_mm: Sequence[float],
    mask_file: AnyPath | None = None,
    n_threads: int = 1,
    report: Callable[[float], object] | None = None,
    zero_is_value: bool = False,
) -> list[str]:
    """Smooth maps of one Space and write them as float32.

    Parameters
    ----------
    paths : sequence of path
        Maps.
    directory : path
        Where the smoothed maps go, numbered in order.
    fwhm_mm : sequence of float
        Full width at half maximum in mm: one number, or of volumes one for each axis.
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
    _, space = read_map(paths[0])
    mask = None if mask_file is None else read_mask(mask_file, space)[0]
    smoother = space.smoother(fwhm_mm)
    weights_of: dict[str, np.ndarray] = {}

    def smooth(index):
        values, own = read_map(paths[index], zero_is_value)
        check_same_space(paths[index], own, space, "the first map")
        present = np.isfinite(values) if mask is None else np.isfinite(values) & mask
        # Most maps of a study miss the same voxels.
        key = array_sha256(present)
        if key not in weights_of and len(weights_of) < _KEPT_WEIGHTS:
            weights_of[key] = smoother.weights(present)
        smoothed = smoother(values, present, weights_of.get(key))
        name = Path(paths[index]).name.partition(".")[0]
        name = space.file_name(f"{index + 1:04d}_{name}")
        return write_volume(Path(directory, name), smoothed, space)

    results = []
    with ThreadPoolExecutor(n_threads) as pool:
        for result in pool.map(smooth, range(len(paths))):
            results.append(result)
            if report is not None:
                report(len(results) / len(paths))
    return results


def variance_smoother(mask_file: AnyPath, fwhm_mm: float) -> Callable[[np.ndarray], np.ndarray]:
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
    mask, space = read_mask(mask_file)
    smoother = space.smoother([fwhm_mm])
    weights = smoother.weights(mask)
    inside = np.flatnonzero(mask.ravel(order="F"))

    def smooth(maps):
        volumes = (smoother(unmask(values, mask), mask, weights) for values in maps)
        return np.array([volume.ravel(order="F")[inside] for volume in volumes], dtype=float)

    return smooth
