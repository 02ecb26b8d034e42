"""Planes through a brain as pixels: the anatomy behind, and values of a map in colour on it.

The left hemisphere is on the left of axial and coronal planes; the front is at the top of axial
planes and on the right of sagittal ones.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from scipy.ndimage import binary_erosion, map_coordinates

from nipype_group.images import Grid, open_image, to_mm, to_voxels
from nipype_group.images.template import anatomy
from nipype_group.reporting.figures.style import current_style

if TYPE_CHECKING:
    from nipype_group.reporting.figures.canvas import Scale

# Slices at these z in mm for every map in MNI space, so that contrasts can be compared.
CUTS_MM = (-30, -15, 0, 15, 30, 45, 60)
# The mosaic: every 4 mm, so that every voxel of at least 4 mm is seen.
MOSAIC_MM = tuple(range(-40, 72, 4))
# Around the MNI brain, in mm along x, y, z.
_MNI_BOX = ((-76.0, 76.0), (-110.0, 78.0), (-70.0, 86.0))
_GREYS = 20
_MARGIN_MM = 4.0
_CROSS = np.array([0, 110, 60], dtype=np.uint8)
_CROSS_GAP_MM = 9.0
_RIM = 150
_NUDGE_MM = 1e-4
# World axes that run to the right and upwards in planes across x, y and z.
ACROSS = {0: (1, 2), 1: (0, 2), 2: (0, 1)}


@dataclass(frozen=True)
class Volume:
    """Values of voxels and where these are.

    Parameters
    ----------
    values : array, shape (x, y, z)
        Not finite counts as 0.
    affine : array, shape (4, 4)
        Voxel indices to mm, RAS+.
    """

    values: np.ndarray
    affine: np.ndarray

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Volume:
        """Read an image of one volume."""
        image = open_image(path, kind=Grid)
        values = image.values(dtype=np.float32).reshape(image.shape[:3])
        return cls(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), image.affine)

    @cached_property
    def image(self) -> nib.Nifti1Image:
        """The same as an image."""
        return nib.Nifti1Image(self.values.astype(np.float32), self.affine)

    def at(self, points: np.ndarray, order: int = 0) -> np.ndarray:
        """Return values at points in mm, shape (..., 3); 0 outside the volume.

        Parameters
        ----------
        points : array, shape (..., 3)
            mm, RAS+.
        order : {0, 1}
            The nearest voxel, or linear between voxels.
        """
        # Points between two voxels go to the same one, however the image is stored.
        voxels = to_voxels(points + _NUDGE_MM, self.affine)
        return map_coordinates(self.values, np.moveaxis(voxels, -1, 0), order=order, cval=0.0)


@dataclass(frozen=True, eq=False)
class Background:
    """Anatomy that maps are drawn on.

    Parameters
    ----------
    volume : Volume
        Greys from 0 to 1, 0 outside the brain.
    box : tuple
        Lowest and highest mm along x, y, z that are drawn.
    cuts_mm, mosaic_mm : tuple of float
        z of the slices.
    is_mni : bool
        Whether maps are in MNI space.
    anatomy : str, optional
        What is drawn, in words; default: the template or the maps' own mean or mask.
    """

    volume: Volume
    box: tuple
    cuts_mm: tuple
    mosaic_mm: tuple
    is_mni: bool
    anatomy: str | None = None

    @cached_property
    def brain(self) -> Volume:
        """1 in the brain, 0 outside."""
        return Volume((self.volume.values > 0).astype(np.float32), self.volume.affine)

    def shape(self, axis: int, mm_per_px: float) -> tuple[int, int]:
        """Return rows and columns of a plane across a world axis."""
        right, up = ACROSS[axis]
        rows, columns = (round(float(np.ptp(self.box[s])) / mm_per_px) for s in (up, right))
        return rows, columns

    def points(self, axis: int, at_mm: float, mm_per_px: float) -> np.ndarray:
        """Return the mm of all pixels of a plane across a world axis, shape (rows, columns, 3)."""
        right, up = ACROSS[axis]
        rows, columns = self.shape(axis, mm_per_px)
        points = np.empty((rows, columns, 3))
        points[..., axis] = at_mm
        points[..., right] = self.box[right][0] + (np.arange(columns) + 0.5) * mm_per_px
        points[..., up] = (self.box[up][1] - (np.arange(rows) + 0.5) * mm_per_px)[:, None]
        return points


def planes_at(
    how: int | str | Sequence[float], background: Background, axis: int
) -> tuple[float, ...]:
    """Return where planes across an axis lie: given ones, or so many spread over the brain.

    Parameters
    ----------
    how : int or sequence of float
        As `parse_cuts` of the style reads it, but for peaks.
    background : Background
    axis : {0, 1, 2}
    """
    if isinstance(how, int):
        low, high = background.box[axis]
        places = np.linspace(low, high, how + 2)[1:-1].round(1)
        return tuple(places.tolist())
    assert not isinstance(how, str)
    return tuple(how)


@lru_cache(maxsize=1)
def mni_background() -> Background:
    """Return the ICBM 2009 template, 1 mm."""
    return Background(Volume(*anatomy()), _MNI_BOX, CUTS_MM, MOSAIC_MM, is_mni=True)


def own_background(volume: Volume) -> Background:
    """Return a background of the maps themselves: their mean, or their mask.

    Parameters
    ----------
    volume : Volume
        0 outside the brain.

    Raises
    ------
    ValueError
        Where it is 0 everywhere.
    """
    inside = volume.values != 0
    if not inside.any():
        raise ValueError("the background of the figures is 0 everywhere")
    low, high = np.percentile(volume.values[inside], [2, 98])
    span = high - low
    grey = (volume.values - low) / span if span > 0 else np.full(inside.shape, 0.6)
    # Dark, not white: white is what lies outside.
    grey = np.where(inside, np.clip(0.25 + 0.6 * grey, 0.25, 0.85), 0.0)
    corners = np.argwhere(inside)
    ends = np.array([corners.min(axis=0), corners.max(axis=0)])
    ends = np.array([[ends[i, 0], ends[j, 1], ends[k, 2]] for i, j, k in np.ndindex(2, 2, 2)])
    ends = to_mm(ends, volume.affine)
    lows, highs = ends.min(axis=0) - _MARGIN_MM, ends.max(axis=0) + _MARGIN_MM
    box = tuple((float(a), float(b)) for a, b in zip(lows, highs, strict=True))
    within = [np.linspace(*box[2], n + 2)[1:-1].round(1) for n in (len(CUTS_MM), len(MOSAIC_MM))]
    cuts, mosaic = (tuple(v.tolist()) for v in within)
    return Background(Volume(grey.astype(np.float32), volume.affine), box, cuts, mosaic, False)


def background_of(tested: Volume) -> Background:
    """Return what a map of whose space nothing is known is drawn on.

    Parameters
    ----------
    tested : Volume
        Not 0 where the map has values.

    Returns
    -------
    Background
        The template where most of the map lies in its brain, else the map's own voxels.
    """
    template = mni_background()
    points = to_mm(np.argwhere(tested.values != 0), tested.affine)
    # Maps of another space lie beside the brain of the template.
    return template if template.brain.at(points).mean() > 0.5 else own_background(tested)


def draw_plane(
    background: Background,
    overlay: Volume,
    scale: Scale,
    axis: int,
    at_mm: float,
    mm_per_px: float,
    inside: Volume | None = None,
    cross: Sequence[float] | None = None,
    contours: Sequence[tuple[Volume, str]] = (),
) -> np.ndarray:
    """Draw a plane across a world axis.

    Parameters
    ----------
    background : Background
    overlay : Volume
        Map; drawn where it is not 0, or in the whole of `inside`.
    scale : Scale
        Colours of the slice.
    axis : {0, 1, 2}
        World axis across the plane.
    at_mm, mm_per_px : float
        Place, and size of a pixel of the layout.
    inside : Volume, optional
        Voxels of an unthresholded map.
    cross : sequence of float, optional
        mm that a cross-hair points at.
    contours : sequence of (Volume, str)
        Sets of voxels, whose rims are drawn in colours as #rrggbb, one on the other.

    Returns
    -------
    uint8 array, shape (rows, columns, 3)
    """
    style = current_style()
    step = mm_per_px / style.magnification
    points = background.points(axis, at_mm, step)
    brain, grey = _anatomy_at(background, axis, at_mm, step)
    if inside is not None:
        # What was not tested steps back.
        grey = 0.05 + 0.2 * grey if style.is_black else 0.75 + 0.2 * grey
    # Few greys make small files.
    shown = np.round(np.round(grey * _GREYS) / _GREYS * 235 + 10).clip(0, 255)
    pixels = (
        np.where(brain > 0.5, shown, style.ground)[..., None].repeat(3, axis=-1).astype(np.uint8)
    )
    if cross is not None:
        _draw_cross(pixels, points, axis, cross)
    # Thresholded voxels stay voxels; between those of a whole map values are interpolated.
    values = overlay.at(points, order=0 if inside is None else 1)
    drawn = values != 0 if inside is None else inside.at(points) > 0
    pixels[drawn] = scale.colours(values[drawn])
    if inside is not None:
        # Values near 0 are as white as the page.
        pixels[drawn & ~binary_erosion(drawn)] = _RIM
    for volume, colour in contours:
        held = volume.at(points) > 0
        pixels[held & ~binary_erosion(held)] = np.frombuffer(
            bytes.fromhex(colour.removeprefix("#")), np.uint8
        )
    return pixels


# The slices of every result lie at the same places.
@lru_cache(maxsize=16)
def _anatomy_at(background, axis, at_mm, mm_per_px):
    """Return the share of brain and the grey of the pixels of a plane."""
    points = background.points(axis, at_mm, mm_per_px)
    brain = background.brain.at(points, order=1)
    # The mean of the voxels around that are brain: no dark rim.
    return brain, background.volume.at(points, order=1) / np.maximum(brain, 1e-3)


def _draw_cross(pixels, points, axis, cross):
    right, up = ACROSS[axis]
    across, along = points[0, :, right] - cross[right], points[:, 0, up] - cross[up]
    column, row = np.abs(across).argmin(), np.abs(along).argmin()
    pixels[row, np.abs(across) > _CROSS_GAP_MM] = _CROSS
    pixels[np.abs(along) > _CROSS_GAP_MM, column] = _CROSS
