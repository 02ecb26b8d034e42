"""Figures of the maps of a group: a slice of each, how many have a voxel, which deviate.

Slices are axial, the left hemisphere on the left, the front at the top.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nipype_group.images import to_mm
from nipype_group.images.stacks import unmask
from nipype_group.reporting.figures.canvas import (
    BLUE,
    DARK,
    ORANGE,
    WIDTH_PX,
    Picture,
    Scale,
    block_size,
    figure,
    ink,
    rounded,
    save,
    text_width,
    wrapped,
)
from nipype_group.reporting.figures.slices import Volume, own_background
from nipype_group.reporting.figures.style import current_style
from nipype_group.reporting.wording import count
from nipype_group.stats.linear.map_quality import QualityOfMaps

if TYPE_CHECKING:
    from nipype_group.stats.linear.map_quality import QualityOfMaps

# More maps on one figure would be too small to see; the most deviating are drawn then.
MOST_SLICES = 200
# Pixels of all brains together that a file of about 100 kB holds: fewer of many maps, whose
# slices have finer detail.
_BRAIN_PX = 340_000
_MAPS_OF_HALF = 300
_CELL_PX = (26, 150)
_GAP_PX = 4
_LABEL_PX = 14
_BAR_PX = 34
# Names in a strip, in points, the least that is read in print, and the lines that they take where
# a wider brain can help.
_STRIP_SIZE = 7.0
_STRIP_LINES = 2
_LEAST_PX = 420
# Maps that tell where maps vary.
VARYING_MAPS = 24
# Few colours make small files: steps from 0 to the end of the scale on each side.
_STEPS = 8
_LACKING = np.array([190, 190, 190], dtype=np.uint8)
# Names beside points; more would lie on each other.
_MOST_NAMES = 15
_NAME_PX = 200
_COVERAGE_MM_PER_PX = 1.5


def draw_strip(
    path: str | os.PathLike[str],
    maps: Iterable[np.ndarray],
    labels: Sequence[str],
    mask: np.ndarray,
    affine: np.ndarray,
    *,
    z_mm: float | None = None,
    flagged: Sequence[bool] | np.ndarray = (),
    of: int | None = None,
) -> Picture:
    """Draw one slice of every map, in order, on a common scale.

    Parameters
    ----------
    path : path
        PNG to write.
    maps : iterable of array, shape (v,)
        Values of the mask's voxels, the first axis fastest; NaN where a map lacks one. At most
        `MOST_SLICES`.
    labels : sequence of str
        Name of every map.
    mask : bool array, shape (x, y, z)
    affine : array, shape (4, 4)
        Voxel indices to mm.
    z_mm : float, optional
        Slice that is drawn; default: `varying_slice` of all maps.
    flagged : sequence of bool, optional
        Maps whose name stands out.
    of : int, optional
        Maps there are, where those drawn are the most deviating of them.

    Returns
    -------
    Picture
    """
    n_maps = len(labels)
    background = own_background(Volume(mask.astype(np.float32), affine))
    width = _cell_width(labels, background)
    names = [wrapped(label, width + _GAP_PX - 2, _STRIP_SIZE, "bold") for label in labels]
    above = max(block_size(name, _STRIP_SIZE)[1] for name in names) + 3
    if z_mm is None:
        maps = list(maps)
        z_mm = varying_slice(maps, mask, affine)
    mm_per_px = np.ptp(background.box[0]) / (width * current_style().magnification)
    points = background.points(2, z_mm, mm_per_px)
    voxels = unmask(np.arange(1, mask.sum() + 1), mask)
    at = Volume(voxels, affine).at(points).astype(int) - 1
    inside = at >= 0
    slices = np.array([values[at[inside]] for values in maps])
    known = np.abs(slices[np.isfinite(slices)])
    scale = Scale(0.0, float(np.percentile(known, 99)) if known.any() else 1.0)
    picture = _tile([_pixels(inside, values, scale) for values in slices], _GAP_PX, above, _BAR_PX)
    made, axes = _pixel_axes(picture)
    flagged = [False] * n_maps if not len(flagged) else flagged
    for label, bad, (row, column) in zip(names, flagged, picture.corners, strict=True):
        axes.text(
            column + width / 2,
            row - 1,
            label,
            ha="center",
            va="bottom",
            fontsize=_STRIP_SIZE,
            linespacing=1,
            color=ORANGE if bad else ink(),
            weight="bold" if bad else "normal",
        )
    _signed_bar(axes, picture, scale)
    which = count(n_maps, "map")
    if of is not None:
        which = f"the {n_maps} maps of {of} that correlate least with the mean of the others"
    alt = f"One axial slice, at z = {rounded(z_mm)} mm, of {which}, side by side."
    caption = (
        f"The slice at z = {rounded(z_mm)} mm, where maps vary most, of {which}, in the "
        f"order of the observations. Colours have one scale, ±{rounded(scale.high)} (the 99th "
        "percentile of the magnitudes shown); grey voxels have no value in that map. Left is left."
    )
    if any(flagged):
        caption += " Names of maps that the rules of the quality table flag are orange."
    return Picture(save(made, path), "strip", alt, caption)


def _cell_width(labels, background):
    """Return the width in pixels of a brain, so that all together have the room there is.

    Long names take few lines: a wider brain has room for them.
    """
    n_maps = len(labels)
    (left, right), (back, front), _ = background.box
    aspect = (front - back) / (right - left)
    low, high = _CELL_PX
    room = _BRAIN_PX / (1 + n_maps / _MAPS_OF_HALF)
    longest = max(text_width(label, _STRIP_SIZE, "bold") for label in labels)
    least = max(np.sqrt(room / n_maps / aspect), longest / _STRIP_LINES)
    return int(np.clip(least, low, high))


def varying_slice(maps: Sequence[np.ndarray], mask: np.ndarray, affine: np.ndarray) -> float:
    """Return z of the slice where maps vary most, over all of its voxels.

    The spread of a voxel is the median distance of maps to their median. What is above the 95th
    percentile counts as that, so that a few voxels of large values do not decide; of slices that
    come within 2 % of the most, the one nearest to the middle is taken. A mask larger than the
    brain, whose largest slice may lie below it, does not matter.

    Parameters
    ----------
    maps : sequence of array, shape (v,)
        Values of the mask's voxels, the first axis fastest; `VARYING_MAPS` of them are enough.
    mask : bool array, shape (x, y, z)
    affine : array, shape (4, 4)
        Voxel indices to mm.

    Returns
    -------
    float
        mm.
    """
    values = np.array([np.nan_to_num(own) for own in maps])
    # The spread of a single map is its values.
    middle = np.median(values, axis=0) if len(values) > 1 else 0.0
    spread = np.median(np.abs(values - middle), axis=0)
    spread = np.minimum(spread, np.percentile(spread, 95))
    # In the order of the values.
    places = np.argwhere(mask.transpose())[:, ::-1]
    height = np.round(to_mm(places, affine)[:, 2], 1)
    levels, which = np.unique(height, return_inverse=True)
    weight = np.bincount(which.ravel(), weights=spread + 1e-12)
    near = np.flatnonzero(weight >= 0.98 * weight.max())
    return float(levels[near[np.abs(levels[near] - levels.mean()).argmin()]])


def _pixels(inside, values, scale):
    """Return the pixels of a slice of an unthresholded map."""
    pixels = np.full((*inside.shape, 3), current_style().ground, dtype=np.uint8)
    step = np.round(np.clip(values / scale.high, -1, 1) * _STEPS) / _STEPS
    lacks = ~np.isfinite(values)
    colours = scale.colours(np.where(lacks, 0.0, step) * scale.high)
    colours[lacks] = _LACKING
    pixels[inside] = colours
    return pixels


class _tile:
    """Pictures of one size in rows that fill the page, with room for a name above each."""

    def __init__(self, pictures, gap, label, foot):
        scale = current_style().magnification
        rows, columns = (n / scale for n in pictures[0].shape[:2])
        across = max(min(int((WIDTH_PX - gap) // (columns + gap)), len(pictures)), 1)
        down = -(-len(pictures) // across)
        height, width = rows + label + gap, columns + gap
        # Pixels of the layout, as those of the corners.
        self.shape = round(down * height + foot), round(across * width + gap)
        shape = [round(n * scale) for n in self.shape]
        self.pixels = np.full((*shape, 3), current_style().ground, np.uint8)
        self.corners = []
        for place, picture in enumerate(pictures):
            top = place // across * height + label
            left = place % across * width + gap
            y, x = round(top * scale), round(left * scale)
            place = self.pixels[y : y + picture.shape[0], x : x + picture.shape[1]]
            place[:] = picture[: place.shape[0], : place.shape[1]]
            self.corners.append((top, left))


def _pixel_axes(tiles):
    """Return a figure of pictures side by side, and axes in pixels of the layout."""
    height, width = tiles.shape
    made = figure(max(width, _LEAST_PX), height)
    made.set_facecolor("black" if current_style().is_black else "white")
    axes = made.add_axes((0, 0, 1, 1))
    extent = (0, width, height, 0)
    axes.imshow(tiles.pixels, extent=extent, interpolation="nearest", aspect="auto")
    axes.set(xlim=(0, max(width, _LEAST_PX)), ylim=(height, 0))
    axes.set_axis_off()
    return made, axes


def _signed_bar(axes, tiles, scale):
    steps = np.arange(-_STEPS, _STEPS + 1) / _STEPS * scale.high
    _bar(axes, tiles.shape, scale.colours(steps), (-scale.high, 0.0, scale.high))


def _bar(axes, shape, colours, ticks):
    """Draw a colour bar at the foot of a picture."""
    bottom, left, width = shape[0] - 20, 30, 200
    axes.imshow(
        colours[None],
        extent=(left, left + width, bottom, bottom - 9),
        interpolation="nearest",
        aspect="auto",
    )
    for tick, at in zip(ticks, np.linspace(left, left + width, len(ticks)), strict=True):
        axes.text(at, bottom + 2, rounded(tick), ha="center", va="top", fontsize=7, color=ink())
    # A second picture would cut the axes to its own extent.
    axes.set(xlim=(0, max(shape[1], _LEAST_PX)), ylim=(shape[0], 0))


def draw_coverage(
    path: str | os.PathLike[str],
    counts: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    n_maps: int,
) -> Picture:
    """Draw the number of maps with a value on axial slices, the mask outlined.

    Parameters
    ----------
    path : path
        PNG to write.
    counts : int array, shape (x, y, z)
        Maps with a value.
    mask : bool array, shape (x, y, z)
        Voxels that are analysed.
    affine : array, shape (4, 4)
        Voxel indices to mm.
    n_maps : int

    Returns
    -------
    Picture
    """
    background = own_background(Volume((counts > 0).astype(np.float32), affine))
    least = int(counts[counts > 0].min())
    # Where all maps have all voxels there is one colour, the last.
    scale = Scale(float(least if least < n_maps else 0), float(n_maps), signed=False)
    count_volume, mask_volume = Volume(counts, affine), Volume(mask.astype(np.uint8), affine)
    mm_per_px = max(_COVERAGE_MM_PER_PX, np.ptp(background.box[0]) / 210)
    pictures = []
    for z_mm in background.cuts_mm:
        points = background.points(2, z_mm, mm_per_px / current_style().magnification)
        found, inside = count_volume.at(points), mask_volume.at(points) > 0
        pixels = np.full((*found.shape, 3), current_style().ground, dtype=np.uint8)
        pixels[found > 0] = scale.colours(found[found > 0])
        pixels[_edge(inside)] = 213, 94, 0
        pictures.append(pixels)
    picture = _tile(pictures, _GAP_PX, _LABEL_PX, _BAR_PX)
    made, axes = _pixel_axes(picture)
    for z_mm, (row, column) in zip(background.cuts_mm, picture.corners, strict=True):
        axes.text(column + 2, row - 1, f"z = {rounded(z_mm)} mm", fontsize=7, color=ink())
    colours = scale.colours(np.linspace(scale.low, scale.high, 24))
    _bar(axes, picture.shape, colours, (scale.low, scale.high))
    n_complete = int((counts[mask] == n_maps).sum())
    alt = (
        f"Number of maps with a value, {least} to {n_maps}, on "
        f"{count(len(pictures), 'axial slice')} with the outline of the mask."
    )
    paper, size = current_style().background, count(int(mask.sum()), "voxel")
    caption = (
        f"How many of {count(n_maps, 'map')} have a value in each voxel; where none has one it "
        f"is {paper}. The orange line bounds the mask of {size}, "
        f"{n_complete:,} of which all maps have. Left is left."
    )
    return Picture(save(made, path), "coverage", alt, caption)


def _edge(inside):
    """Return the pixels of an area that touch its outside."""
    padded = np.pad(inside, 1)
    core = padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    return inside & ~core


def draw_outliers(
    path: str | os.PathLike[str], quality: QualityOfMaps, labels: Sequence[str]
) -> Picture:
    """Draw likeness to the other maps against leverage, flagged maps named, and their influence.

    Beside the points stands the share of voxels where Cook's distance is large, a bar a map.

    Parameters
    ----------
    path : path
        PNG to write.
    quality : QualityOfMaps
        Quality of n maps.
    labels : sequence of str
        Names of the maps.

    Returns
    -------
    Picture
    """
    made = figure(WIDTH_PX, 420)
    made.set_layout_engine("constrained")
    axes, beside = made.subplots(1, 2, width_ratios=(1.7, 1))
    _draw_influence(beside, quality)
    flagged = quality.low_correlation | quality.high_leverage
    correlation = np.nan_to_num(quality.correlation)
    for which, colour, size in ((~flagged, BLUE, 14), (flagged, ORANGE, 26)):
        axes.scatter(quality.leverage[which], correlation[which], size, colour, linewidths=0)
    if np.isfinite(quality.correlation_limit):
        axes.axhline(quality.correlation_limit, color=DARK, linewidth=0.8, linestyle="--")
    limit, highest = quality.leverage_limit, float(quality.leverage.max())
    # A limit far beyond all maps would press them together.
    if limit < 1.5 * highest:
        axes.axvline(limit, color=DARK, linewidth=0.8, linestyle="--")
    named = [i for i in quality.most_deviating(len(labels)).tolist() if flagged[i]]
    named.sort(key=lambda i: (correlation[i] - quality.high_leverage[i], i))
    low, high = min(0.0, float(quality.leverage.min())), 1.15 * max(highest, 1e-6)
    axes.set_xlim(low, high)
    for i in named[:_MOST_NAMES]:
        # Towards the wider side.
        right = quality.leverage[i] <= (low + high) / 2
        axes.annotate(
            wrapped(labels[i], _NAME_PX, 7.5),
            (quality.leverage[i], correlation[i]),
            (5 if right else -5, 3),
            textcoords="offset points",
            fontsize=7.5,
            color=DARK,
            ha="left" if right else "right",
        )
    axes.set_xlabel("leverage: how far the map's design row lies from the others", fontsize=9)
    axes.set_ylabel("correlation with the mean of the others", fontsize=9)
    axes.tick_params(labelsize=8)
    names = ", ".join(labels[i] for i in named[:_MOST_NAMES])
    if len(named) > _MOST_NAMES:
        names += f" and {len(named) - _MOST_NAMES} more"
    found = f"{len(named)} of {count(len(labels), 'map')} flagged"
    alt = f"Correlation of each map with the others against its leverage; {found}."
    most = _most_influential(quality, labels)
    alt += f" {most}" * bool(most)
    caption = (
        f"A point a map. Below the dashed level, {rounded(quality.correlation_limit)} (three "
        "robust SD below the median), a map is unlike the others; a leverage above "
        f"{rounded(quality.leverage_limit)} (three times the mean) has much say in the fit. "
        f"{found}"
    )
    caption += f": {names}." if named else "."
    if most:
        left_out, moves = _left_out(quality)
        caption += (
            f" Bars: share of voxels where leaving the {left_out} out moves {moves} more than "
            f"Cook's distance 4 / n. {most}"
        )
    return Picture(save(made, path), "outliers", alt, caption)


def _left_out(quality: QualityOfMaps) -> tuple[str, str]:
    """Return what Cook's distance leaves out, and of what it tells the change."""
    if quality.n_participants:
        return "map's participant", "a contrast"
    return "map", "the fit"


def _draw_influence(axes: Any, quality: QualityOfMaps) -> None:
    """Draw the share of voxels with a large Cook's distance, a bar a map."""
    share = np.nan_to_num(quality.large_cook)
    colours = np.where(quality.flagged, ORANGE, BLUE)
    # One collection, as thousands of bars take seconds.
    width = max(0.6, 150 / len(share) ** 1.05)
    axes.vlines(np.arange(len(share)), 0, share, colors=colours, linewidth=min(width, 12))
    axes.set_ylim(0, max(1.08 * share.max(), 1e-3))
    axes.set_xlabel("map, in the order of the table", fontsize=9)
    axes.set_ylabel("share of voxels with Cook's distance > 4 / n", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _most_influential(quality: QualityOfMaps, labels: Sequence[str]) -> str:
    """Return which map has a large Cook's distance most often; empty where none has one."""
    if not np.isfinite(quality.large_cook).any():
        return ""
    place = int(np.nanargmax(quality.large_cook))
    share, largest = quality.large_cook[place], quality.cook_largest[place]
    return (
        f"The largest share is {rounded(100 * share)} % of {labels[place]}, whose largest "
        f"distance is {rounded(largest)}."
    )
