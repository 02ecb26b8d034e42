"""Images of atlases: opened with checks, read once a process, and held in little memory.

A run labels many maps, and the probabilities of Harvard-Oxford unpack to half a gigabyte. What was
read stays: labels in the type of the file, probabilities as a sparse matrix, since most are 0. A
file that changes (path, time of change, size) is read again.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from nipype_group.images import Grid, file_state, open_image, voxel_volume_mm3

if TYPE_CHECKING:
    from nipype_group.images.voxel_files import VoxelImage

# Bytes. The three default atlases take 60 MB; a dense atlas beyond the first limit is read anew
# at every call, and what was used least recently makes way beyond the second.
_MOST_OF_ONE = 200_000_000
_MOST_OF_ALL = 400_000_000
# Resampling leaves probabilities a little beyond 0 and 1.
_TOLERANCE = 1e-3
# Percent. The smallest probability that is worth a name, as in atlasreader.
MIN_PERCENT = 5.0

_held: OrderedDict = OrderedDict()


def load_image(path: Path) -> VoxelImage:
    """Open an image without reading its voxels; the file stays open between reads.

    Returns
    -------
    OpenImage
        An image of shape (x, y, z) or (x, y, z, labels).

    Raises
    ------
    FileNotFoundError, ValueError
        The file doesn't exist, isn't an image, isn't 3D or 4D, or its affine cannot be inverted.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"atlas image {path} does not exist; check the path")
    image = open_image(path, kind=Grid)
    if len(image.shape) > 4:
        raise ValueError(f"{path} has shape {image.shape}; an atlas is a 3D or a 4D image")
    return image


def n_volumes(path: Path) -> int:
    """Return how many volumes an image has: 1 for labels, the number of labels for 4D."""
    return (*load_image(path).shape, 1)[3]


def voxel_volume(path: Path) -> float:
    """Return the volume of a voxel in mm3."""
    return voxel_volume_mm3(load_image(path).affine)


def read_label_image(path: Path) -> tuple[np.ndarray, dict[int, int]]:
    """Read a 3D label image.

    Returns
    -------
    values : int array, shape (x * y * z,)
        First axis fastest; in the type of the file, int32 from a file of floats.
    counts : dict of int to int
        Number of voxels of each value.

    Raises
    ------
    ValueError
        The image is damaged or holds values that aren't whole numbers.
    """
    image = load_image(path)
    key = _identity(path)
    held = _recall(key)
    if held is None:
        values = _whole_numbers(image.values(dtype=None).ravel(order="F"), path)
        held = values, _count(values)
        _remember(key, held, values.nbytes)
    return held


def read_percent(path: Path, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read the probabilities of a 4D image at some voxels.

    Values up to 1 are fractions, or masks, and values up to 100 percent: the largest value of the
    image decides.

    Parameters
    ----------
    path : Path
    flat : int array, shape (n,)
        Indices into a volume, first axis fastest.

    Returns
    -------
    percent : array, shape (n, labels)
        In the type of the file.
    totals : float array, shape (labels,)
        Sum of the probabilities (0 to 1) of each label over the whole image, in voxels.

    Raises
    ------
    ValueError
        The image is damaged, or its values aren't probabilities.
    """
    image = load_image(path)
    key = _identity(path)
    held = _recall(key)
    if held is not None:
        stored, scale, totals = held
        return _scaled(stored[flat].toarray(), scale), totals
    at_points, columns, sums = [], [], []
    lowest = highest = n_bytes = 0
    for volume in image.each_map(dtype=None):
        # One volume in memory at a time.
        values = volume.ravel(order="F")
        if values.dtype.kind == "f":
            values = np.nan_to_num(values)
        if values.dtype.kind != "u":
            lowest = min(lowest, values.min().item())
            values = np.maximum(values, 0)
        where = np.flatnonzero(values != 0)
        probable = values[where]
        sums.append(probable.sum(dtype=float))
        highest = max(highest, probable.max(initial=0).item())
        at_points.append(values[flat])
        n_bytes += where.size * (4 + values.itemsize)
        if n_bytes <= _MOST_OF_ONE:
            columns.append((where.astype(np.int32), probable))
    scale = _percent_scale(lowest, highest, path)
    totals = np.array(sums) * scale / 100
    if n_bytes <= _MOST_OF_ONE:
        stored = _by_voxel(columns, int(np.prod(image.shape[:3])))
        _remember(key, (stored, scale, totals), n_bytes + stored.indptr.nbytes)
    return _scaled(np.stack(at_points, axis=1), scale), totals


def _whole_numbers(values, path):
    if values.dtype.kind in "ui":
        return values
    whole = np.nan_to_num(values, posinf=np.inf, neginf=-np.inf)
    if np.any(whole != np.rint(whole)) or np.abs(whole).max(initial=0) > np.iinfo(np.int32).max:
        raise ValueError(
            f"{path} holds values that are not whole numbers: it is no label image. "
            "A probabilistic atlas is a 4D image with one volume a label"
        )
    return whole.astype(np.int32)


def _count(values):
    if values.min(initial=0) >= 0 and values.max(initial=0) < 1_000_000:
        counts = np.bincount(values)  # ten times as fast as sorting
        found = np.flatnonzero(counts)
        return dict(zip(found.tolist(), counts[found].tolist()))
    return dict(zip(*(part.tolist() for part in np.unique(values, return_counts=True))))


def _percent_scale(lowest, highest, path):
    """Return what makes percent of the values of a probabilistic image: 1 or 100."""
    fractions = highest <= 1 + _TOLERANCE
    if lowest < -_TOLERANCE * max(highest, 1):
        raise ValueError(f"{path} holds {lowest:g}: probabilities are not negative")
    if not fractions and not MIN_PERCENT <= highest <= 100 * (1 + _TOLERANCE):
        raise ValueError(
            f"{path} holds {highest:g} at most: not probabilities from 0 to 1 or to 100 %"
        )
    return 100 if fractions else 1


def _scaled(values, scale):
    if scale > 1:
        values = values * values.dtype.type(scale)
    return np.minimum(values, values.dtype.type(100))


def _by_voxel(columns, n_voxels):
    """Return the values of all volumes as a sparse matrix, a row a voxel."""
    ends = np.cumsum([0, *(len(where) for where, _ in columns)])
    where, values = (np.concatenate(part) for part in zip(*columns))
    shape = (n_voxels, len(columns))
    return sparse.csc_array((values, where, ends), shape=shape).tocsr()


def _identity(path):
    return Path(path).absolute(), *file_state(path)


def _recall(key):
    if key not in _held:
        return None
    _held.move_to_end(key)
    return _held[key][0]


def _remember(key, what, n_bytes):
    _held[key] = what, n_bytes
    while sum(size for _, size in _held.values()) > _MOST_OF_ALL:
        _held.popitem(last=False)
