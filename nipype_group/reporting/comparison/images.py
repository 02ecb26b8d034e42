"""How two maps, or two figures, differ."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np

from nipype_group.images import Grid, open_image
from nipype_group.reporting.comparison.rounding import ROUNDING, largest_difference, state_of

# Last part of the names of images whose values are names, not sizes.
_LABEL_IMAGES = ("dseg", "mask")
_P_STATISTICS = {"p": "p", "logp": "logp"}
# Levels of 255 that a colour may move by, where it stands for a number whose last bit moved.
_LEVELS = 1


def compare_maps(first: Path, second: Path, alpha: float | None = None) -> dict[str, Any]:
    """Compare the voxels of two maps, and their headers.

    Parameters
    ----------
    first, second : Path
    alpha : float, optional
        Level that p are compared with.

    Returns
    -------
    dict
        As `nipype_group.reporting.comparison.files.compare_files` returns, without Kind.
    """
    images = [open_image(path, positioned=False, kind=Grid) for path in (first, second)]
    stored = [image.values(dtype=None) for image in images]
    one, other = (array.astype(float) for array in stored)
    if one.shape != other.shape:
        return {"Shapes": [list(v.shape) for v in (one, other)]}
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    found = {"Voxels": int((~same).sum())}
    # A header holds the grid, the type and the scale of the numbers.
    if images[0].header != images[1].header:
        found["OtherHeader"] = True
    elif same.all():
        found |= state_of(0.0)
    elif stored[0].dtype.kind == "f" and not _is_labels(first.name, stored):
        kind = _P_STATISTICS.get(_statistic(first.name), "value")
        found |= state_of(largest_difference(one, other, kind=kind, alpha=alpha))
    if _is_labels(first.name, stored):
        return found
    apart = np.abs(one - other)[~same]
    # A voxel that is missing in one has no difference in numbers.
    largest = np.max(apart, initial=0.0, where=~np.isnan(apart))
    held = np.isfinite(one) & np.isfinite(other) & ((one != 0) | (other != 0))
    return {
        **found,
        "LargestDifference": float(largest),
        "Correlation": _correlation(one[held], other[held]),
    }


def _statistic(name):
    entities = dict(part.partition("-")[::2] for part in name.split("_"))
    return entities.get("stat")


def _is_labels(name, stored):
    """Tell whether the values of images are labels; integers of a statmap are counts."""
    suffix = name.partition(".")[0].rpartition("_")[2]
    integers = all(array.dtype.kind in "iub" for array in stored)
    return suffix in _LABEL_IMAGES or (integers and suffix != "statmap")


def _correlation(one, other):
    """Return Pearson's correlation, None where one is constant."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def compare_figures(one: bytes, other: bytes) -> dict[str, Any]:
    """Compare the pixels of two PNG files.

    Parameters
    ----------
    one, other : bytes
        Content of both files.

    Returns
    -------
    dict
        As `nipype_group.reporting.comparison.files.compare_files` returns, without Kind; {} where
        one cannot be read, or where pillow, which figures are drawn with, is not installed.
    """
    try:
        drawn = [_pixels(content) for content in (one, other)]
    except (ImportError, OSError, SyntaxError, ValueError, struct.error):
        return {}
    shapes = [list(pixels.shape[:2]) for pixels in drawn]
    if shapes[0] != shapes[1]:
        return {"Shapes": shapes}
    levels = np.abs(drawn[0] - drawn[1]).max(axis=-1)
    same = {"State": ROUNDING, "Relative": None} if levels.max() <= _LEVELS else {}
    return {
        **same,
        "Pixels": [int((levels > 0).sum()), levels.size],
        "Levels": int(levels.max()),
    }


def _pixels(content):
    """Return red, green, blue and opacity of a PNG file, shape (rows, columns, 4)."""
    from PIL import Image

    try:
        return np.asarray(Image.open(io.BytesIO(content), formats=["PNG"]).convert("RGBA"), int)
    except Image.DecompressionBombError as error:
        raise ValueError("too many pixels") from error
