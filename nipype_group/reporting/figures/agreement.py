"""Two maps of the same voxels: one against the other, and what survives where."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nipype_group.reporting.figures.brain import SIDES, axial_sheet
from nipype_group.reporting.figures.canvas import (
    BLUE,
    DARK,
    ORANGE,
    WIDTH_PX,
    Picture,
    Scale,
    figure,
    rounded,
    save,
)
from nipype_group.reporting.figures.slices import Volume
from nipype_group.reporting.wording import count

if TYPE_CHECKING:
    from nipype_group.reporting.figures.slices import Background
    from nipype_group.stats.agreement import Agreement, Overlap

# What voxels of an overlap hold, and their colours, which any colour vision tells apart.
FIRST, SECOND, BOTH = 1, 2, 3
_COLOURS = {FIRST: (213, 94, 0), SECOND: (0, 114, 178), BOTH: (51, 51, 51)}
_BINS = 60


@dataclass(frozen=True)
class _Kinds(Scale):
    """Colours of voxels that survive in one, or in both."""

    def colours(self, values: np.ndarray) -> np.ndarray:
        """Return the colour of every value, uint8 of shape (..., 3)."""
        table = np.array([(255, 255, 255), *_COLOURS.values()], dtype=np.uint8)
        return table[np.asarray(values).astype(int)]


def draw_agreement(
    path: str | os.PathLike[str],
    first: np.ndarray,
    second: np.ndarray,
    found: Agreement,
    unit: str,
    title: str,
) -> Picture:
    """Draw one map against the other, and their difference against their mean.

    Parameters
    ----------
    path : path
        PNG to write.
    first, second : arrays, shape (v,)
        Values of the same voxels.
    found : Agreement
    unit, title : str
        What the values are, and of what.

    Returns
    -------
    Picture
    """
    made = figure(WIDTH_PX, 360)
    margins = {"left": 0.07, "right": 0.99, "bottom": 0.15, "top": 0.9, "wspace": 0.2}
    left, right = made.subplots(1, 2, gridspec_kw=margins)
    how = {"gridsize": _BINS, "bins": "log", "cmap": "Greys", "mincnt": 1, "linewidths": 0.1}
    low = min(first.min(), second.min())
    high = max(first.max(), second.max())
    left.hexbin(first, second, **how)
    left.plot([low, high], [low, high], color=BLUE, linewidth=1)
    left.set(xlabel=f"{unit}, first", ylabel=f"{unit}, second")
    left.set_title(f"r = {rounded(found.correlation)}", fontsize=10)
    right.hexbin((first + second) / 2, first - second, **how)
    right.axhline(0, color=DARK, linewidth=0.8)
    right.axhline(found.mean_difference, color=ORANGE)
    for limit in (found.lower_limit, found.upper_limit):
        right.axhline(limit, color=ORANGE, linestyle="--")
    right.set(xlabel=f"mean of both, {unit}", ylabel="first less second")
    right.set_title(f"mean difference {rounded(found.mean_difference)}", fontsize=10)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    limits = f"{rounded(found.lower_limit)} to {rounded(found.upper_limit)}"
    alt = (
        f"{title}: {unit} of {count(found.n_voxels, 'voxel')} in both, correlation "
        f"{rounded(found.correlation)}, mean difference {rounded(found.mean_difference)}, limits "
        f"of agreement {limits}"
    )
    caption = (
        "Left, a voxel's value in one against that in the other, darker where there are more "
        "voxels; equal values lie on the line. Right, the difference against the mean of both "
        "(Bland and Altman): the solid line is the mean difference, 95 % of normal differences "
        f"lie between the dashed ones, {limits}."
    )
    return Picture(save(made, path), "agreement", alt, caption)


def draw_overlap(
    path: str | os.PathLike[str],
    first: Volume,
    second: Volume,
    found: Overlap,
    names: tuple[str, str],
    title: str,
    background: Background,
) -> Picture:
    """Draw where voxels survive in both of two maps, or in one alone, on axial slices.

    Parameters
    ----------
    path : path
        PNG to write.
    first, second : Volume
        0 where nothing survives.
    found : Overlap
    names : tuple of str
        What the two are called.
    title : str
    background : Background

    Returns
    -------
    Picture
    """
    kinds = FIRST * (first.values != 0) + SECOND * (second.values != 0)
    cuts = background.cuts_mm
    volume = Volume(kinds.astype(np.float32), first.affine)
    sheet = axial_sheet(background, volume, _Kinds(0.0, 1.0, sides=()), "", cuts, len(cuts), title)
    left = sheet.width - 62
    for row, (kind, name) in enumerate(((FIRST, "first"), (SECOND, "second"), (BOTH, "both"))):
        top = 34 + 20 * row
        sheet.paste(np.full((10, 10, 3), _COLOURS[kind], np.uint8), left, top)
        sheet.write(left + 14, top - 1, name, size=9)
    alt = (
        f"Axial slices of {title}: {count(found.n_both, 'voxel')} survive in both, "
        f"{found.n_first_alone:,} in {names[0]} alone, {found.n_second_alone:,} in {names[1]} "
        f"alone; {SIDES}"
    )
    caption = f"Orange in {names[0]} alone, blue in {names[1]} alone, dark in both; {SIDES}."
    return Picture(sheet.save(path), "overlap", alt, caption)
