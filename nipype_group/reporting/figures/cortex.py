"""Thresholded maps on the inflated cortex, seen from both sides.

The fsaverage5 surfaces that nilearn holds are drawn here, without a 3D library: triangles that
face the viewer, from the farthest to the nearest. fsaverage lies in MNI 305 space, which is some
millimetres from other MNI spaces.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from nipype_group.reporting.atlases.installed import package_folder
from nipype_group.reporting.figures.canvas import WIDTH_PX, Picture, Sheet, drawn, figure, forget
from nipype_group.reporting.figures.style import Style, current_style, drawn_in

if TYPE_CHECKING:
    from nipype_group.reporting.figures.plotted_map import PlottedMap
    from nipype_group.reporting.figures.slices import Volume

# Depths between white matter and pia that a vertex looks at.
_DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_SHADES = 12
# Width and height of a view, rendered larger and averaged.
_VIEW_PX = (207, 144)
_ASPECT = _VIEW_PX[1] / _VIEW_PX[0]
_OVERSAMPLED = 2
# Hemisphere, side that faces the viewer: +1 its right, -1 its left, and what is seen.
VIEWS = (
    ("left", -1, "left, lateral"),
    ("left", 1, "left, medial"),
    ("right", -1, "right, medial"),
    ("right", 1, "right, lateral"),
)


@lru_cache(maxsize=1)
def cortex() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] | None:
    """Return the meshes of both hemispheres.

    Returns
    -------
    dict or None
        Hemisphere to inflated vertices in mm, triangles, depth of the sulci, and points in mm of
        shape (depths, vertices, 3); None where nilearn brings no surfaces.
    """
    # Its import takes most of a second; its files are all that is needed.
    folder, found = package_folder("nilearn", "datasets/data/fsaverage5"), {}
    try:
        for side in ("left", "right"):
            inflated, triangles = _data(folder, "infl", side)
            white, pial = (_data(folder, name, side)[0] for name in ("white", "pial"))
            points = np.array([(1 - d) * white + d * pial for d in _DEPTHS])
            sulci = _data(folder, "sulc", side)
            found[side] = np.asarray(inflated, dtype=float), triangles, sulci, points
    except (OSError, ValueError):
        return None
    return found


def _data(folder: Path, name: str, side: str) -> Any:
    """Return the arrays of a GIFTI file, the one alone where it has one."""
    return nib.GiftiImage.from_filename(folder / f"{name}_{side}.gii.gz").agg_data()


def render_views() -> None:
    """Render what all maps share of the views, which `draw_surface` then finds in this process."""
    if cortex() is not None:
        for hemisphere, side, _ in VIEWS:
            _rendered(hemisphere, side, *_view_px())


def vertex_values(volume: Volume, points: np.ndarray) -> np.ndarray:
    """Return at every vertex the value of largest magnitude between white matter and pia.

    Parameters
    ----------
    volume : Volume
        Thresholded map.
    points : array, shape (depths, v, 3)
        mm.

    Returns
    -------
    array, shape (v,)
    """
    values = volume.at(points)
    deepest = np.abs(values).argmax(axis=0)
    return values[deepest, np.arange(values.shape[1])]


def _view_px():
    """Return width and height of a view as drawn."""
    width, height = (round(n * current_style().magnification) for n in _VIEW_PX)
    return width, height


@lru_cache(maxsize=len(VIEWS))
def _rendered(hemisphere, side, width, height):
    """Render a view once: the triangle of every pixel, -1 for none, and the shade of triangles.

    A triangle is drawn in a colour that is its number, so one drawing serves all maps.
    """
    from matplotlib.collections import PolyCollection

    vertices, triangles, sulci, _ = cortex()[hemisphere]
    # Seen along x; the front is to the right from the right side.
    flat = np.column_stack([side * vertices[:, 1], vertices[:, 2]])
    corners = vertices[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = side * normals[:, 0] / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    depth = side * corners[:, :, 0].mean(axis=1)
    seen = np.flatnonzero(facing > 0)
    # What is nearer is drawn later.
    seen = seen[np.argsort(depth[seen], kind="stable")]
    code = seen + 1
    colours = np.stack([code >> 16, (code >> 8) & 255, code & 255], axis=1) / 255
    with drawn_in(Style()):
        made = figure(_OVERSAMPLED * width, _OVERSAMPLED * height)
    made.patch.set_facecolor("black")
    axes = made.add_axes((0, 0, 1, 1))
    axes.add_collection(
        PolyCollection(flat[triangles[seen]], facecolors=colours, linewidths=0, antialiaseds=False)
    )
    axes.set(xlim=(-112, 112), ylim=(-112 * _ASPECT, 112 * _ASPECT))
    axes.set_axis_off()
    rgb = drawn(made).astype(np.int32)
    forget(made)
    base = np.where(sulci[triangles].mean(axis=1) > 0, 0.62, 0.82)
    shade = base * (0.55 + 0.45 * np.round(facing * _SHADES) / _SHADES)
    return (rgb @ np.array([65536, 256, 1], dtype=np.int32)) - 1, shade


def _view(hemisphere, side, values, scale):
    """Return the pixels of a view, of values of vertices."""
    width, height = _view_px()
    numbers, shade = _rendered(hemisphere, side, width, height)
    triangles = cortex()[hemisphere][1]
    # A triangle has a colour where two of its corners have.
    of_triangle = np.median(values[triangles], axis=1)
    colours = np.round(255 * shade)[:, None].repeat(3, axis=1)
    active = of_triangle != 0
    colours[active] = scale.colours(of_triangle[active])
    # The last row is for pixels without a triangle.
    pixels = np.vstack([colours, np.full((1, 3), float(current_style().ground))])[numbers]
    blocks = pixels.reshape(height, _OVERSAMPLED, width, _OVERSAMPLED, 3)
    return np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)


def draw_surface(path: str | os.PathLike[str], result: PlottedMap) -> Picture | None:
    """Draw a thresholded map on the inflated cortex in four views.

    Parameters
    ----------
    path : path
        PNG to write.
    result : PlottedMap
        In MNI space.

    Returns
    -------
    Picture or None
        None where nilearn brings no surfaces.
    """
    meshes = cortex()
    if meshes is None:
        return None
    top = 18
    sheet, scale = Sheet(WIDTH_PX, top + _VIEW_PX[1], result.title), result.scale
    shown = {s: vertex_values(result.volume, m[3]) for s, m in meshes.items()}
    for i, (hemisphere, side, label) in enumerate(VIEWS):
        sheet.paste(_view(hemisphere, side, shown[hemisphere], scale), i * _VIEW_PX[0], top)
        sheet.write((i + 0.5) * _VIEW_PX[0], 0, label, ha="center")
    sheet.colour_bar(scale, result.unit, top + 10, 120)
    on_cortex = sum(int((v != 0).sum()) for v in shown.values())
    caption = (
        "Largest value between white matter and pia on the inflated fsaverage5 cortex; what lies "
        "below the cortex or in the cerebellum is not seen. fsaverage is close to, not in, the "
        "space of the map."
    )
    where = "none of it on the cortex" if not on_cortex else f"{on_cortex:,} vertices of cortex"
    alt = f"Cortical surface of {result.sentence}; {where}; lateral and medial views"
    return Picture(sheet.save(path), "surface", alt, caption, result.about)
