"""A small glass brain of every map of a group, on sheets in the order of the table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from nipype_group.images import to_mm
from nipype_group.reporting.figures.canvas import (
    BAR_PX,
    WIDTH_PX,
    Picture,
    Scale,
    Sheet,
    block_size,
    rounded,
    wrapped,
)
from nipype_group.reporting.figures.glass_brain import outlines
from nipype_group.reporting.figures.style import Style, current_style
from nipype_group.reporting.wording import count, listing

# A sheet has room on the page beside all else, about 70 kB.
MOST_ON_A_SHEET = 48
# Its columns, few of a few maps, as long as it is not higher than this.
_COLUMNS = (3, 8)
_HEIGHT_PX = 560
_GAP_PX = 6
# Of names, in points: the least that is read in print.
_NAME_SIZE = 7.0
# Seen from the left and from above, what is drawn along the width and the height, in mm.
_VIEWS = {"l": ((1, -110.0, 80.0), (2, -72.0, 86.0)), "z": ((0, -76.0, 76.0), (1, -110.0, 80.0))}
# Share of the voxels of a map that has colours, before the largest along a line are taken.
_SHOWN_PERCENT = 2.0
# Few colours and greys make small files.
_STEPS, _INKS = 5, 3


@dataclass(frozen=True)
class _Projection:
    """Lines of sight through a mask, seen from one side.

    Parameters
    ----------
    order, starts : int arrays
        Voxels line by line, and where each line begins.
    lookup : int array, shape (rows, columns)
        Line of every pixel; the number of lines where there is none.
    """

    order: np.ndarray
    starts: np.ndarray
    lookup: np.ndarray

    def largest(self, values: np.ndarray) -> np.ndarray:
        """Return the value of largest magnitude of every pixel, 0 where there is no line."""
        lined = values[self.order]
        high = np.maximum.reduceat(lined, self.starts)
        low = np.minimum.reduceat(lined, self.starts)
        return np.append(np.where(high >= -low, high, low), 0.0)[self.lookup]


def draw_participants(
    path: str | os.PathLike[str],
    maps: Callable[[Sequence[int]], Iterable[np.ndarray]],
    labels: Sequence[str],
    mask: np.ndarray,
    affine: np.ndarray,
) -> list[Picture]:
    """Draw a glass brain of every map, in order, on one scale.

    Parameters
    ----------
    path : path
        PNG of the first sheet to write; further ones end in -2, -3 and so on.
    maps : callable
        Gives the mask's voxels of the maps of some rows, the first axis fastest, arrays of shape
        (v,); NaN where a map lacks one.
    labels : sequence of str
        Name of every map.
    mask : bool array, shape (x, y, z)
    affine : array, shape (4, 4)
        Voxel indices to mm, of MNI space.

    Returns
    -------
    list of Picture
        A sheet each, of at most `MOST_ON_A_SHEET` maps.
    """
    n_maps, path = len(labels), Path(path)
    spread = np.unique(np.linspace(0, n_maps - 1, MOST_ON_A_SHEET).astype(int))
    scale = _common_scale(maps(spread.tolist()))
    sheets = np.array_split(np.arange(n_maps), -(-n_maps // MOST_ON_A_SHEET))
    names = [f"{path.stem}{f'-{i}' * (i > 1)}" for i in range(1, len(sheets) + 1)]
    pictures = []
    for rows, name in zip(sheets, names, strict=True):
        which = count(n_maps, "map")
        if len(names) > 1:
            which = f"maps {rows[0] + 1} to {rows[-1] + 1} of {n_maps}"
        own = [labels[i] for i in rows]
        sheet = _sheet(maps(rows.tolist()), own, mask, affine, scale, which)
        file = sheet.save(path.with_name(f"{name}{path.suffix}"))
        alt = f"Glass brains of {which}, a small one each, from the left and from above."
        caption = _caption(which, scale, len(spread) < n_maps)
        if len(names) > 1:
            others = listing([other for other in names if other != name])
            caption += f" The other maps stand in figures/ as {others}."
        pictures.append(Picture(file, "participants", alt, caption))
    return pictures


def _caption(which, scale, of_some):
    """Say what is shown of the maps of a sheet, and in which colours."""
    middle = (
        f"the median over {MOST_ON_A_SHEET} of the maps" if of_some else "the median over maps"
    )
    return (
        f"Largest values along the line of sight through the whole brain, from the left and from "
        f"above, of {which} in the order of the table; left is left from above. Colours are the "
        f"same for all: they begin at ±{rounded(scale.low)}, {middle} of the magnitude that "
        f"{_SHOWN_PERCENT:g} % of the voxels exceed, and end at ±{rounded(scale.high)}, that of "
        "the largest."
    )


def _common_scale(maps):
    """Return the scale of all maps, which a map of its own unit does not stretch."""
    ends, signs = [], set()
    for values in maps:
        size = np.abs(values[np.isfinite(values)])
        if size.any():
            place = int(size.size * (1 - _SHOWN_PERCENT / 100))
            ends.append((np.partition(size, place)[place], size.max()))
            signs |= set(np.sign((np.nanmax(values), np.nanmin(values))).tolist())
    if not ends:
        return Scale(0.0, 1.0, True, ())
    low, high = np.median(ends, axis=0)
    return Scale(float(low), float(high), True, tuple(s for s in (1, -1) if s in signs))


def _sheet(maps, labels, mask, affine, scale, which):
    """Return a sheet of glass brains with their names."""
    width = WIDTH_PX - BAR_PX
    columns, mm_per_px, names, above = _layout(labels, width)
    cell = width / columns
    down = above + (_VIEWS["z"][1][2] - _VIEWS["z"][1][1]) / mm_per_px + _GAP_PX
    title = f"Glass brains of {which}"
    n_rows = -(-len(labels) // columns)
    sheet = Sheet(WIDTH_PX, int(max(n_rows * down, 150)) + 2, title)
    style = current_style()
    step = mm_per_px / style.magnification
    places = to_mm(np.argwhere(mask.transpose())[:, ::-1], affine)
    size = np.abs(affine[:3, :3]).sum(axis=1)
    views = [(_projection(places, size, v, step), _outline(style, v, step)) for v in _VIEWS]
    for i, (name, values) in enumerate(zip(names, maps, strict=True)):
        left, top = i % columns * cell, i // columns * down
        sheet.write(left + cell / 2, top + above - 2, name, _NAME_SIZE, ha="center", va="bottom")
        known = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        drawn = [_pixels(p.largest(known), line, scale) for p, line in views]
        low = max(pixels.shape[0] for pixels in drawn) / style.magnification
        for pixels in drawn:
            foot = top + above + low - pixels.shape[0] / style.magnification
            sheet.paste(pixels, left, foot)
            left += pixels.shape[1] / style.magnification
    sheet.colour_bar(scale, "value", 24, min(sheet.height - sheet.top - 44, 160))
    return sheet


def _layout(labels, width):
    """Return columns, mm a pixel, and names in lines with their height: large where maps are few.

    Names are never cut; they take the lines that they need.
    """
    across = sum(view[0][2] - view[0][1] for view in _VIEWS.values())
    down = _VIEWS["z"][1][2] - _VIEWS["z"][1][1]
    for columns in range(_COLUMNS[0], _COLUMNS[1] + 1):
        cell = width / columns
        mm_per_px = across / (cell - _GAP_PX)
        names = [wrapped(label, cell - _GAP_PX, _NAME_SIZE) for label in labels]
        above = max(block_size(name, _NAME_SIZE)[1] for name in names) + 3
        if -(-len(labels) // columns) * (above + down / mm_per_px) <= _HEIGHT_PX:
            break
    return columns, mm_per_px, names, above


def _projection(places, size, view, step):
    """Return the lines of sight of a view, as wide as voxels are."""
    (along, left, right), (up, bottom, top) = _VIEWS[view]
    first = places.min(axis=0)
    bins = np.round((places - first) / size).astype(int)
    n_across, n_up = bins[:, along].max() + 1, bins[:, up].max() + 1
    lines = bins[:, up] * n_across + bins[:, along]
    order = np.argsort(lines, kind="stable")
    there, starts = np.unique(lines[order], return_index=True)
    number = np.full(n_across * n_up, len(there))
    number[there] = np.arange(len(there))
    u = left + (np.arange(round((right - left) / step)) + 0.5) * step
    v = top - (np.arange(round((top - bottom) / step)) + 0.5) * step
    # From the left the front is on the left.
    u = u[::-1] if view == "l" else u
    column, row = (
        np.round((at - first[a]) / size[a]).astype(int) for at, a in ((u, along), (v, up))
    )
    inside = ((row >= 0) & (row < n_up))[:, None] & ((column >= 0) & (column < n_across))
    cells = np.where(inside, row[:, None] * n_across + column, 0)
    return _Projection(order, starts, np.where(inside, number[cells], len(there)))


@lru_cache(maxsize=4)
def _outline(style: Style, view: str, step: float) -> np.ndarray:
    """Return the outlines of a view in another size, shares of white in few steps."""
    from PIL import Image

    # Letters beside the front of the brain would be too small to read.
    frame = outlines(style, letters=False)
    step_u, u0, step_v, v0 = frame.places[view]
    (_, left, right), (_, bottom, top) = _VIEWS[view]
    columns = sorted((u0 + step_u * left, u0 + step_u * right))
    rows = sorted((v0 + step_v * top, v0 + step_v * bottom))
    size = round((right - left) / step), round((top - bottom) / step)
    grey = Image.fromarray(frame.pixels.min(axis=-1))
    box = (
        max(columns[0], 0),
        max(rows[0], 0),
        min(columns[1], grey.width),
        min(rows[1], grey.height),
    )
    small = np.asarray(grey.resize(size, Image.Resampling.BOX, box=box)) / 255
    return np.round(small * _INKS) / _INKS


def _pixels(values, outline, scale):
    """Return the pixels of a glass brain."""
    is_black = current_style().is_black
    share = (np.abs(values) - scale.low) / ((scale.high - scale.low) or 1.0)
    shown = (values != 0) & (share >= 0)
    share = np.round(np.clip(share, 0, 1) * _STEPS) / _STEPS
    stepped = np.sign(values) * (scale.low + share * (scale.high - scale.low))
    pixels = np.full((*values.shape, 3), current_style().ground, dtype=np.uint8)
    pixels[shown] = scale.colours(stepped[shown])
    if is_black:
        return np.maximum(pixels, np.round(255 * (1 - outline[..., None])).astype(np.uint8))
    return np.round(pixels * outline[..., None]).astype(np.uint8)
