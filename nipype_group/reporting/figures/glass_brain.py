"""Glass brain: the largest values along the line of sight, behind the outlines of a brain.

The outlines are nilearn's. They are drawn once and laid over every map, which takes a tenth of the
time of drawing them for each.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from nipype_group.images import to_mm
from nipype_group.reporting.figures.canvas import BAR_PX, WIDTH_PX, drawn, figure
from nipype_group.reporting.figures.style import Style, current_style

if TYPE_CHECKING:
    from nipype_group.reporting.figures.canvas import Scale
    from nipype_group.reporting.figures.slices import Volume

GLASS_BRAIN_PX = 225
# World axes along the width and the height of every view.
_VIEWS = {"l": (1, 2), "y": (0, 2), "r": (1, 2), "z": (0, 1)}


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
def outlines(style: Style) -> Outlines:
    """Return the outlines seen from the left, behind, the right and above, in a style."""
    from nilearn.plotting import plot_glass_brain

    made = figure(WIDTH_PX - BAR_PX, GLASS_BRAIN_PX)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        display = plot_glass_brain(None, figure=made, display_mode="lyrz", axes=(0, 0, 1, 1))
    pixels = drawn(made)
    places = {}
    for view in _VIEWS:
        axes = display.axes[view].ax
        (u0, v0), (u1, v1) = axes.transData.transform([(0, 0), (100, 100)])
        places[view] = ((u1 - u0) / 100, u0, -(v1 - v0) / 100, len(pixels) - v0)
    made.clear()
    return Outlines(pixels, places)


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
    for view, (along, up) in _VIEWS.items():
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
