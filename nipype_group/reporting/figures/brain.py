"""Maps on brains: glass brain, slices, mosaic, clusters and peaks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nipype_group.reporting.figures.canvas import (
    BAR_PX,
    WIDTH_PX,
    Picture,
    Scale,
    Sheet,
    rounded,
)
from nipype_group.reporting.figures.glass_brain import GLASS_BRAIN_PX, glass_brain
from nipype_group.reporting.figures.slices import ACROSS, Volume, draw_plane
from nipype_group.reporting.figures.style import current_style
from nipype_group.reporting.wording import count

if TYPE_CHECKING:
    import pandas as pd

    from nipype_group.reporting.figures.plotted_map import PlottedMap
    from nipype_group.reporting.figures.slices import Background

_LABEL_PX = 16
_LEAST_PER_ROW, _MOST_PER_ROW = 5, 8
_PLANES = ("sagittal", "coronal", "axial")
_CLUSTER_MM_PER_PX = 1.3
_GAP_PX = 8
# One on the other, so that sets that are the same show the surest.
_SET_COLOURS = {"outer": "#1f4fd8", "above": "#000000", "inner": "#0a8f2c"}
SIDES = "left hemisphere on the left"


def survivors_text(values: np.ndarray, unit: str, n_clusters: int | None = None) -> str:
    """Say what survives in a thresholded map.

    Examples
    --------
    >>> survivors_text(np.array([0, 3.5, 4.25]), "z", 1)
    '1 cluster, 2 voxels, z from 3.5 to 4.25'
    >>> survivors_text(np.zeros(3), "z")
    'nothing survives'
    """
    present = values[values != 0]
    if not present.size:
        return "nothing survives"
    clusters = "" if n_clusters is None else count(n_clusters, "cluster") + ", "
    size = count(present.size, "voxel")
    if present.size == 1:
        return f"{clusters}{size}, {unit} {rounded(present[0])}"
    return f"{clusters}{size}, {unit} from {rounded(present.min())} to {rounded(present.max())}"


def draw_glass_brain(path: str | os.PathLike[str], result: PlottedMap) -> Picture:
    """Draw a thresholded map as a glass brain seen from the left, behind, the right and above.

    Parameters
    ----------
    path : path
        PNG to write.
    result : PlottedMap
        The map, its scale and its name; in MNI space.

    Returns
    -------
    Picture
    """
    sheet = Sheet(WIDTH_PX, GLASS_BRAIN_PX, result.title)
    sheet.paste(glass_brain(result.volume, result.scale), 0, 0)
    sheet.colour_bar(result.scale, result.unit, 24, 160)
    caption = (
        f"Largest {result.unit} along the line of sight, from the left, behind, the right and "
        f"above; {SIDES} from behind and above."
    )
    alt = f"Glass brain of {result.sentence}; {SIDES}"
    return Picture(sheet.save(path), "glassbrain", alt, caption, result.about)


def axial_sheet(
    background: Background,
    overlay: Volume,
    scale: Scale,
    unit: str,
    cuts_mm: Sequence[float],
    per_row: int,
    title: str,
    inside: Volume | None = None,
    contours: Sequence[tuple[Volume, str]] = (),
    axis: int = 2,
    marks: Sequence[tuple[float, str]] = (),
) -> Sheet:
    """Return a sheet of axial planes, or of those across another axis, row by row.

    Parameters
    ----------
    background : Background
    overlay : Volume
        Map that is drawn where it is not 0, or in the whole of `inside`.
    scale : Scale
        Its colours.
    unit, title : str
        What the colours show, and of what.
    cuts_mm : sequence of float
        Places of the planes.
    per_row : int
        Planes side by side.
    inside : Volume, optional
        Voxels of an unthresholded map.
    contours : sequence of (Volume, str)
        Sets of voxels whose rims are drawn, see `draw_plane`.
    axis : {0, 1, 2}
        World axis across the planes.
    marks : sequence of (float, str)
        Values that the colour bar names.

    Returns
    -------
    Sheet
    """
    wide = background.box[ACROSS[axis][0]]
    # A few planes are no larger than those of a picture of five.
    mm_per_px = np.ptp(wide) * max(per_row, _LEAST_PER_ROW) / (WIDTH_PX - BAR_PX)
    rows, columns = background.shape(axis, mm_per_px)
    n_rows = -(-len(cuts_mm) // per_row)
    cell = rows + _LABEL_PX
    sheet = Sheet(WIDTH_PX, n_rows * cell + 4, title)
    for i, z in enumerate(cuts_mm):
        top, left = i // per_row * cell, i % per_row * columns
        plane = draw_plane(
            background, overlay, scale, axis, z, mm_per_px, inside, contours=contours
        )
        sheet.paste(plane, left, top + _LABEL_PX)
        label = f"{'xyz'[axis]} = {rounded(z)}" + (" mm" if i == 0 else "")
        sheet.write(left + columns / 2, top, label, ha="center")
        if axis and i % per_row == 0:
            sheet.write(left + 3, top + _LABEL_PX, "L", size=10, weight="bold")
            sheet.write(left + columns - 3, top + _LABEL_PX, "R", 10, ha="right", weight="bold")
    bar_top = _LABEL_PX + 14
    height = min(n_rows * cell + 4 - bar_top - 14, 160)
    sheet.colour_bar(scale, unit, bar_top, height, marks)
    return sheet


def draw_slices(
    path: str | os.PathLike[str],
    result: PlottedMap,
    background: Background,
    axis: int = 2,
    cuts_mm: Sequence[float] | None = None,
) -> Picture:
    """Draw a thresholded map on slices, by default axial ones at the same z for every map.

    Parameters
    ----------
    path : path
        PNG to write.
    result : PlottedMap
    background : Background
    axis : {0, 1, 2}
        World axis across the slices.
    cuts_mm : sequence of float, optional
        Where they lie; default: those of the background.

    Returns
    -------
    Picture
    """
    cuts = background.cuts_mm if cuts_mm is None else cuts_mm
    per_row = min(len(cuts), _MOST_PER_ROW)
    sheet = axial_sheet(
        background,
        result.volume,
        result.scale,
        result.unit,
        cuts,
        per_row,
        result.title,
        axis=axis,
    )
    name = _PLANES[axis]
    same = " at the same z for every map" if cuts_mm is None else ""
    side = SIDES if axis else "front on the right"
    caption = f"{name.capitalize()} slices{same}, {side}. {background_words(background)}"
    alt = f"{name.capitalize()} slices of {result.sentence}; {side}"
    kind = "slices" if axis == 2 else f"slices{'xyz'[axis]}"
    return Picture(sheet.save(path), kind, alt, caption, result.about)


def draw_mosaic(
    path: str | os.PathLike[str], result: PlottedMap, background: Background
) -> Picture:
    """Draw a thresholded map on axial slices of the whole brain; a `Picture`."""
    cuts = background.mosaic_mm
    sheet = axial_sheet(
        background, result.volume, result.scale, result.unit, cuts, 7, result.title
    )
    step = rounded(cuts[1] - cuts[0])
    caption = (
        f"Axial slices every {step} mm from z = {rounded(cuts[0])} to {rounded(cuts[-1])} mm, "
        f"{SIDES}. {background_words(background)}"
    )
    alt = f"Mosaic of {len(cuts)} axial slices of {result.sentence}; {SIDES}"
    return Picture(sheet.save(path), "mosaic", alt, caption, result.about)


def draw_unthresholded(
    path: str | os.PathLike[str],
    kind: str,
    volume: Volume,
    inside: Volume,
    signed: bool,
    unit: str,
    title: str,
    about: dict[str, str],
    background: Background,
) -> Picture:
    """Draw a whole map on axial slices; a `Picture`.

    Parameters
    ----------
    path : path
        PNG to write.
    kind : {"unthresholded", "effectsize"}
    volume, inside : Volume
        The map, and where it is one.
    signed : bool
        Whether values below 0 have a meaning.
    unit, title : str
        What the colours show, and of what.
    about : dict
        Contrast.
    background : Background
    """
    # Not those of a table.
    values = volume.values[inside.values > 0]  # noqa: PD011
    scale = Scale.of_everything(values, signed)
    cuts = background.cuts_mm
    shown, beyond = inside, ""
    least = current_style().threshold_z if unit == "z" else 0.0
    if least:
        beyond_least = np.abs(volume.values) > least
        shown = Volume(np.where(beyond_least, inside.values, 0), inside.affine)
        beyond = f" Magnitudes up to {rounded(least)} are not drawn."
    per_row = min(len(cuts), _MOST_PER_ROW)
    sheet = axial_sheet(background, volume, scale, unit, cuts, per_row, title, shown)
    lowest, highest = (rounded(v) for v in (values.min(initial=0), values.max(initial=0)))
    caption = (
        f"All {values.size:,} voxels tested; colours end at {rounded(scale.high)}, "
        f"which 0.5 % of the voxels exceed.{beyond} {SIDES.capitalize()}."
    )
    alt = f"Axial slices of {title}, not thresholded: {values.size:,} voxels, {unit} from "
    alt += f"{lowest} to {highest}; {SIDES}"
    return Picture(sheet.save(path), kind, alt, caption, about)


def draw_sets(
    path: str | os.PathLike[str],
    estimate: Volume,
    inside: Volume,
    sets: dict[str, Volume],
    unit: str,
    title: str,
    about: dict[str, str],
    background: Background,
) -> Picture:
    """Draw confidence sets as contours on the estimate, on axial slices; a `Picture`.

    Parameters
    ----------
    path : path
        PNG to write.
    estimate, inside : Volume
        The map, and where it is one.
    sets : dict of str to Volume
        "outer", "above" (where the estimate is above the level) and "inner".
    unit, title : str
        What the colours show, and of what.
    about : dict
        Contrast.
    background : Background
    """
    # Not those of a table.
    values = estimate.values[inside.values > 0]  # noqa: PD011
    scale, cuts = Scale.of_everything(values), background.cuts_mm
    contours = [(sets[name], colour) for name, colour in _SET_COLOURS.items()]
    per_row = min(len(cuts), _MOST_PER_ROW)
    sheet = axial_sheet(background, estimate, scale, unit, cuts, per_row, title, inside, contours)
    caption = (
        "Contours: blue, the outer set, outside of which the effect is surely below the level; "
        "black, where the estimate reaches it; green, the inner set, where the effect surely "
        f"does. {SIDES.capitalize()}."
    )
    alt = f"Axial slices of {title} with the contours of its confidence sets; {SIDES}"
    return Picture(sheet.save(path), "confidencesets", alt, caption, about)


def background_words(background: Background) -> str:
    """Say what a map is drawn on."""
    if background.anatomy is not None:
        return f"Background: {background.anatomy}."
    if background.is_mni:
        return "Background: the ICBM 2009 template."
    return "Background: the maps' own mean or mask."


def draw_cluster(
    path: str | os.PathLike[str], result: PlottedMap, background: Background, cluster: pd.Series
) -> Picture:
    """Draw sagittal, coronal and axial cuts through the main peak of a cluster; a `Picture`.

    Parameters
    ----------
    path : path
        PNG to write.
    result : PlottedMap
    background : Background
    cluster : Series
        Row of the clusters table.
    """
    at = [float(cluster[f"peak_{axis}"]) for axis in "xyz"]
    shapes = [background.shape(axis, _CLUSTER_MM_PER_PX) for axis in range(3)]
    width, height = sum(s[1] + _GAP_PX for s in shapes), max(s[0] for s in shapes)
    sheet, left = Sheet(width, height + _LABEL_PX), 0
    for axis, (rows, columns) in enumerate(shapes):
        plane = draw_plane(
            background, result.volume, result.scale, axis, at[axis], _CLUSTER_MM_PER_PX, cross=at
        )
        sheet.paste(plane, left, _LABEL_PX + (height - rows) // 2)
        sheet.write(left + columns / 2, 1, f"{'xyz'[axis]} = {rounded(at[axis])}", ha="center")
        if axis:
            sheet.write(left + 2, 1, "L", weight="bold")
            sheet.write(left + columns - 2, 1, "R", ha="right", weight="bold")
        left += columns + _GAP_PX
    number_of, peak = int(cluster["cluster_id"]), result.peak_text(cluster, "peak_")
    size = count(int(cluster["n_voxels"]), "voxel")
    alt = f"Cluster {number_of} of {result.shown_name}: {size}, {peak}; "
    alt += "sagittal, coronal and axial cut"
    caption = f"Cluster {number_of}: {size}, {peak}. All survivors of the map are shown."
    about = result.about | {"Cluster": number_of}
    return Picture(sheet.save(path), "cluster", alt, caption, about)


def draw_peaks(
    path: str | os.PathLike[str], result: PlottedMap, background: Background, peaks: pd.DataFrame
) -> Picture:
    """Draw three cuts through each of several peaks, a column a peak; a `Picture`.

    Parameters
    ----------
    path : path
        PNG to write.
    result : PlottedMap
    background : Background
    peaks : DataFrame
        Rows of the peaks table, at least one.
    """
    slots = max(len(peaks), 4)
    column_px = (WIDTH_PX - BAR_PX) // slots
    mm_per_px = np.ptp(background.box[1]) / (column_px - 4)
    shapes = [background.shape(axis, mm_per_px) for axis in range(3)]
    header = 48
    sheet = Sheet(WIDTH_PX, header + sum(s[0] + 4 for s in shapes))
    for i, (_, peak) in enumerate(peaks.iterrows()):
        at, centre, top = [float(peak[axis]) for axis in "xyz"], (i + 0.5) * column_px, header
        sheet.write(centre, 2, peak_name(peak), ha="center", weight="bold")
        place = ", ".join(rounded(v) for v in at)
        sheet.write(centre, 16, f"({place}) mm", ha="center")
        sheet.write(centre, 30, f"{result.unit} {rounded(result.height(peak))}", ha="center")
        for axis, (rows, columns) in enumerate(shapes):
            left = int(centre - columns / 2)
            plane = draw_plane(
                background, result.volume, result.scale, axis, at[axis], mm_per_px, cross=at
            )
            sheet.paste(plane, left, top)
            if axis:
                sheet.write(left, top, "L", weight="bold")
                sheet.write(left + columns, top, "R", weight="bold", ha="right")
            top += rows + 4
    sheet.colour_bar(result.scale, result.unit, header + 14, 160)
    listed = "; ".join(result.peak_text(peak) for _, peak in peaks.iterrows())
    alt = f"Cuts through the {count(len(peaks), 'highest peak')} of {result.shown_name}: {listed}"
    caption = f"Sagittal, coronal and axial cuts through the highest peaks, {SIDES}."
    return Picture(sheet.save(path), "peaks", alt, caption, result.about)


def peak_name(peak: pd.Series) -> str:
    """Return the cluster and the number of a peak, of a row of the peaks table."""
    return f"cluster {int(peak['cluster_id'])} peak {int(peak['peak_id'])}"
