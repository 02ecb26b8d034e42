"""Glass brain: the largest values along the line of sight, behind the outlines of a brain.

The outlines are curves of nilearn. They are drawn once and laid over every map.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from nipype_group.images import to_mm
from nipype_group.reporting.figures.canvas import BAR_PX, WIDTH_PX, drawn, figure, forget
from nipype_group.reporting.figures.style import Style, current_style

if TYPE_CHECKING:
    from nipype_group.reporting.figures.canvas import Scale
    from nipype_group.reporting.figures.slices import Volume

GLASS_BRAIN_PX = 225
_WIDTH_PX = WIDTH_PX - BAR_PX
_PX_PER_MM = 1.165
# The sketch of every view, and the world axes along its width and its height.
_VIEWS = {
    "l": ("side", (1, 2)),
    "y": ("back", (0, 2)),
    "r": ("side", (1, 2)),
    "z": ("top", (0, 1)),
}
# Ends in mm of what is seen of the world axes, the same in every view.
_ENDS_MM = ((-76.0, 76.0), (-112.0, 81.0), (-75.0, 86.0))
# Views whose left is the left of the brain.
_LETTERED = ("y", "z")
_INK_ALPHA = 0.7


@dataclass(frozen=True)
class Outlines:
    """Outlines of a brain in four views.

    Parameters
    ----------
    pixels : uint8 array, shape (rows, columns, 3)
        Dark lines on white.
    places : dict
        View to pixels per mm and the pixel of 0 mm, along width and height: (step_u, u0, step_v,
        v0). The left view has the front on its left, so its step_u is negative.
    """

    pixels: np.ndarray
    places: dict


@lru_cache(maxsize=2)
def outlines(style: Style, letters: bool = True) -> Outlines:
    """Return the outlines seen from the left, behind, the right and above, in a style.

    Parameters
    ----------
    style : Style
    letters : bool
        Write L and R beside the views that show both hemispheres.
    """
    from matplotlib.collections import PathCollection
    from matplotlib.transforms import Affine2D

    made, sketches = figure(_WIDTH_PX, GLASS_BRAIN_PX), _sketches()
    step, height = _PX_PER_MM * style.magnification, made.bbox.height
    gap = (made.bbox.width - step * sum(np.ptp(_ENDS_MM[a]) for _, (a, _) in _VIEWS.values())) / 4
    places, left = {}, gap / 2
    for view, (sketch, (along, up)) in _VIEWS.items():
        (first, last), (bottom, top) = _ENDS_MM[along], _ENDS_MM[up]
        # From the left the front is on the left.
        step_u, zero = (-step, last) if view == "l" else (step, -first)
        u0, v0 = left + zero * step, height / 2 + (top + bottom) / 2 * step
        places[view] = step_u, u0, -step, v0
        points, widths, greys = sketches[sketch]
        lines = PathCollection(
            _curves(points),
            facecolors="none",
            edgecolors=[(grey, grey, grey, _INK_ALPHA) for grey in greys],
            linewidths=widths,
            capstyle="butt",
            joinstyle="miter",
        )
        lines.set_transform(Affine2D.from_values(step_u, 0, 0, step, u0, height - v0))
        made.add_artist(lines)
        right = left + (last - first) * step
        if letters and view in _LETTERED:
            for x, letter, side in (
                (left + 0.03 * height, "L", "left"),
                (right - 0.03 * height, "R", "right"),
            ):
                made.text(x / made.bbox.width, 0.99, letter, fontsize=11, ha=side, va="top")
        left = right + gap
    pixels = drawn(made)
    forget(made)
    return Outlines(pixels, places)


def _sketches():
    """Return of every sketch the points of its curves in mm, their widths and their greys."""
    content = resources.files("nipype_group.data").joinpath("glass_brain.npz").read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: (file[name][:, :8], file[name][:, 8], file[name][:, 9]) for name in file}


def _curves(points):
    """Return Bezier curves of matplotlib, of four points each."""
    from matplotlib.path import Path

    codes = [Path.MOVETO, *[Path.CURVE4] * 3]
    return [Path(curve, codes) for curve in points.reshape(-1, 4, 2).astype(float)]


def glass_brain(volume: Volume, scale: Scale) -> np.ndarray:
    """Draw a thresholded map as a glass brain.

    Parameters
    ----------
    volume : Volume
        0 where nothing survives.
    scale : Scale
        Colours of the map.

    Returns
    -------
    uint8 array, shape (rows, columns, 3)
    """
    style = current_style()
    frame = outlines(style)
    shown = np.zeros(frame.pixels.shape[:2], dtype=np.float32)
    voxels = np.argwhere(volume.values)
    values = volume.values[tuple(voxels.T)]
    # Painted from the smallest to the largest magnitude: the last one stays.
    order = np.argsort(np.abs(values), kind="stable")
    points = to_mm(voxels[order], volume.affine)
    # Extent of a voxel along the world axes.
    size = np.abs(volume.affine[:3, :3]).sum(axis=1)
    for view, (_, (along, up)) in _VIEWS.items():
        side = {"l": points[:, 0] <= 0, "r": points[:, 0] >= 0}.get(view, np.s_[:])
        own, painted = points[side], values[order][side]
        step_u, u0, step_v, v0 = frame.places[view]
        u, v = u0 + step_u * own[:, along], v0 + step_v * own[:, up]
        _paint(shown, u, v, abs(step_u) * size[along], abs(step_v) * size[up], painted)
    drawn = shown != 0
    pixels = np.full(frame.pixels.shape, 255, dtype=np.uint8)
    pixels[drawn] = scale.colours(shown[drawn])
    if style.is_black:
        pixels[~drawn] = 0
        return np.maximum(pixels, 255 - frame.pixels)
    # Ink over colour.
    return (pixels.astype(np.uint16) * frame.pixels // 255).astype(np.uint8)


def _paint(shown, u, v, width, height, values):
    """Paint a rectangle of each value around its place, in place."""
    n_columns, n_rows = max(int(np.ceil(width)), 1), max(int(np.ceil(height)), 1)
    first_u = np.floor(u - width / 2 + 0.5).astype(int)
    first_v = np.floor(v - height / 2 + 0.5).astype(int)
    offsets = np.array([(i, j) for i in range(n_rows) for j in range(n_columns)])
    rows = (first_v[:, None] + offsets[:, 0]).ravel()
    columns = (first_u[:, None] + offsets[:, 1]).ravel()
    fits = (rows >= 0) & (rows < shown.shape[0]) & (columns >= 0) & (columns < shown.shape[1])
    shown[rows[fits], columns[fits]] = np.repeat(values, len(offsets))[fits]
