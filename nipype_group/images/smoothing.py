"""Smoothing of maps on disk, and of maps inside a mask."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

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
    smooth = _smoother_of_files(paths, space, fwhm_mm, mask_file, zero_is_value)

    def write(index):
        name = Path(paths[index]).name.partition(".")[0]
        name = space.file_name(f"{index + 1:04d}_{name}")
        return write_volume(Path(directory, name), smooth(index), space)

    return list(_in_order(write, len(paths), n_threads, report))


def smooth_into_stack(
    path: AnyPath,
    paths: Sequence[AnyPath],
    fwhm_mm: Sequence[float],
    inside_file: AnyPath,
    mask_file: AnyPath | None = None,
    n_threads: int = 1,
    report: Callable[[float], object] | None = None,
    zero_is_value: bool = False,
) -> str:
    """Smooth maps as `smooth_maps` does, and write them into one file as `write_stack` does.

    Parameters
    ----------
    path : path
        Ending in the `suffix` of the Space.
    paths : sequence of path
        Maps.
    fwhm_mm : sequence of float
        Full width at half maximum in mm.
    inside_file : path
        Voxels that are kept; the file is 0 elsewhere.
    mask_file, n_threads, report, zero_is_value
        As of `smooth_maps`.

    Returns
    -------
    str
        The path, absolute.
    """
    inside, space = read_mask(inside_file)
    smooth = _smoother_of_files(paths, space, fwhm_mm, mask_file, zero_is_value)

    def kept(index):
        return np.where(inside, smooth(index), np.float32(0))

    return space.write_maps(path, _in_order(kept, len(paths), n_threads, report), len(paths))


def _smoother_of_files(paths, space, fwhm_mm, mask_file, zero_is_value):
    """Return a function that gives the smoothed values of the map of an index."""
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
        return smoother(values, present, weights_of.get(key))

    return smooth


def _in_order(
    work: Callable[[int], Any],
    n_items: int,
    n_threads: int,
    report: Callable[[float], object] | None,
) -> Iterator[Any]:
    """Yield what work gives for 0, 1, ..., with no more results in memory than threads and one."""
    running: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(n_threads) as pool:
        for index in range(n_items):
            running.append(pool.submit(work, index))
            if len(running) > n_threads:
                yield running.popleft().result()
            if report is not None:
                report((index + 1) / n_items)
        while running:
            yield running.popleft().result()


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
