"""Distributions: z over voxels against the standard normal, and maxima over shuffles."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from nipype_group.reporting.figures.canvas import (
    BLUE,
    DARK,
    ORANGE,
    WIDTH_PX,
    Picture,
    block_size,
    figure,
    rounded,
    save,
    wrapped,
)
from nipype_group.reporting.wording import SIDE_WORDS, p_text, rate_text
from nipype_group.stats.permutation.p_values import critical_value, fwe_p

if TYPE_CHECKING:
    import pandas as pd

    from nipype_group.design.contrasts import Contrast

_QUANTILES = 400
# Units of the statistics that shuffles are counted for.
_MAXIMA = {
    "voxel": "largest statistic",
    "extent": "largest cluster, voxels",
    "mass": "largest cluster mass",
    "tfce": "largest TFCE",
}


def inflation(z: np.ndarray) -> float:
    """Return lambda, the median of z squared over that of the standard normal.

    1 where z follows it (Devlin and Roeder 1999, Biometrics 55:997); a true effect in many
    voxels raises it too.

    Examples
    --------
    >>> round(inflation(special.ndtri((np.arange(2000) + 0.5) / 2000)), 3)
    1.0
    """
    return float(np.median(np.square(z)) / special.chdtri(1, 0.5))


def draw_z_distribution(
    path: str | os.PathLike[str], z: np.ndarray, contrast: Contrast
) -> Picture:
    """Draw histogram and quantiles of z with those of the standard normal.

    Parameters
    ----------
    path : path
        PNG to write.
    z : array, shape (v,)
        All voxels tested.
    contrast : Contrast
        The contrast, whose name and label are used.

    Returns
    -------
    Picture
    """
    title = wrapped(f"{contrast.name}: {z.size:,} voxels", 0.42 * WIDTH_PX, 10)
    height = int(292 + block_size(title, 10)[1])
    made = figure(WIDTH_PX, height)
    # The last number of an axis reaches beyond it.
    margins = {"left": 0.065, "right": 1 - 24 / WIDTH_PX, "wspace": 0.16}
    margins |= {"bottom": 50 / height, "top": 1 - (12 + block_size(title, 10)[1]) / height}
    left, right = made.subplots(1, 2, gridspec_kw=margins)
    low, high = min(z.min(), -4.0), max(z.max(), 4.0)
    bins = np.linspace(low, high, 80)
    left.hist(z, bins=bins, density=True, color="#9ecae1", label="voxels")
    grid = np.linspace(low, high, 300)
    left.plot(
        grid,
        np.exp(-np.square(grid) / 2) / np.sqrt(2 * np.pi),
        color=DARK,
        label="standard normal",
    )
    median, lambda_ = float(np.median(z)), inflation(z)
    left.axvline(
        median, ymax=0.76, color=ORANGE, linestyle="--", label=f"median {rounded(median)}"
    )
    left.set(xlabel="z", ylabel="density")
    # Room above the curves, so that the legend covers nothing.
    left.set_ylim(0, left.get_ylim()[1] * 1.35)
    left.legend(fontsize=8.5, ncols=3, loc="upper center", frameon=False, columnspacing=1)
    ordered = np.sort(z)
    picked = np.unique(np.round(np.linspace(0, z.size - 1, _QUANTILES)).astype(int))
    tails = np.arange(min(30, z.size))
    picked = np.unique(np.concatenate([picked, tails, z.size - 1 - tails]))
    expected = special.ndtri((picked + 0.5) / z.size)
    right.plot(expected, expected, color=DARK, linewidth=1)
    right.plot(expected, ordered[picked], ".", markersize=4, color=BLUE)
    right.set(xlabel="expected z under the null hypothesis", ylabel="observed z")
    right.set_title(f"lambda {rounded(lambda_)}", fontsize=10)
    left.set_title(title, fontsize=10)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    alt = (
        f"Distribution of z of {contrast.name} over {z.size:,} voxels: median {rounded(median)}, "
        f"lambda {rounded(lambda_)}, from {rounded(z.min())} to {rounded(z.max())}"
    )
    caption = (
        "Left: histogram of z and the standard normal. Right: its quantiles against the normal's; "
        "the line is equality. lambda is the median of z squared over that of the normal: 1 under "
        "the null hypothesis, more with effects in many voxels."
    )
    return Picture(save(made, path), "zdistribution", alt, caption, {"Contrast": contrast.label})


@dataclass(frozen=True)
class MaximumNull:
    """Null distribution of one maximum.

    Parameters
    ----------
    statistic : str
        voxel, extent, mass or tfce.
    side : str
        Tested side.
    maxima : array, shape (N + 1,)
        A value a shuffle, the unshuffled one first.
    alpha : float
        Error rate of the critical value.
    """

    statistic: str
    side: str
    maxima: np.ndarray
    alpha: float

    @property
    def p(self) -> float:
        """Share of the shuffles, the first included, that reach the observed maximum."""
        return float(fwe_p(self.maxima[:1], self.maxima)[0])

    @property
    def critical(self) -> float | None:
        """Height that survivors exceed; None where no p can be so small."""
        return critical_value(self.maxima, self.alpha)

    def sentence(self, has_sides: bool = True) -> str:
        """Say observed maximum, critical value and p."""
        side = f", {SIDE_WORDS[self.side]}" if has_sides else ""
        text = f"{_MAXIMA.get(self.statistic, self.statistic)}{side}: "
        text += f"observed {rounded(self.maxima[0])}"
        if self.critical is not None:
            text += f", critical value {rounded(self.critical)}"
        return f"{text}, p {self.p:.3g}"


def nulls_of_sides(
    table: Mapping[str, np.ndarray] | pd.DataFrame, tail: str | None, alpha: float
) -> list[MaximumNull]:
    """Return the null of every statistic of a table of maxima, over the sides tested.

    Parameters
    ----------
    table : dict of str to array, or DataFrame
        Maxima of every shuffle by statistic and side, as ``voxel_positive``.
    tail : {"two-sided", "positive", "negative"} or None
        Sides tested; None for a null each side.
    alpha : float

    Returns
    -------
    list of MaximumNull
    """
    nulls = []
    for statistic in dict.fromkeys(c.rpartition("_")[0] for c in table):
        own = [c for c in table if c.rpartition("_")[0] == statistic]
        sides = [c.rpartition("_")[2] for c in own]
        if tail == "two-sided" and len(own) > 1:
            nulls.append((statistic, "two-sided", np.fmax.reduce([table[c] for c in own])))
        else:
            wanted = [s for s in sides if s == tail] or sides
            nulls += [(statistic, s, table[f"{statistic}_{s}"]) for s in wanted]
    return [MaximumNull(n, s, np.asarray(v, dtype=float), alpha) for n, s, v in nulls]


def _title(contrast, null, width_px):
    """Return the title of a panel: the contrast, the sides, and the p of its maximum."""
    side = "" if contrast.test == "F" else f", {SIDE_WORDS[null.side]}"
    return wrapped(f"{contrast.name}{side}: {p_text(null.p)}", width_px, 10)


def draw_nulldist(
    path: str | os.PathLike[str], nulls: Sequence[MaximumNull], contrast: Contrast
) -> Picture:
    """Draw histograms of maxima over shuffles, a panel a statistic; a `Picture`.

    Parameters
    ----------
    path : path
        PNG to write.
    nulls : list of MaximumNull
    contrast : Contrast
        The contrast, whose name and label are used.
    """
    per_row = min(len(nulls), 2)
    n_rows = -(-len(nulls) // per_row)
    width = WIDTH_PX if per_row > 1 else 600
    titles = [_title(contrast, null, width / per_row - 120) for null in nulls]
    above = max(block_size(title, 10)[1] for title in titles) + 12
    each = 242 + above
    height = int(each * n_rows)
    made = figure(width, height)
    # The last number of an axis reaches beyond it.
    margins = {"left": 70 / width, "right": 1 - 28 / width, "wspace": 0.24}
    room = (48 + above) / (each - 48 - above)
    margins |= {"bottom": 48 / height, "top": 1 - above / height, "hspace": room}
    panels = made.subplots(n_rows, per_row, squeeze=False, gridspec_kw=margins).ravel()
    for axes in panels[len(nulls) :]:
        axes.set_axis_off()
    for axes, null, title in zip(panels, nulls, titles, strict=False):
        axes.hist(null.maxima[np.isfinite(null.maxima)], bins=60, color="#bdbdbd")
        axes.axvline(
            null.maxima[0],
            ymax=0.8,
            color=ORANGE,
            label=f"observed {rounded(null.maxima[0])}",
        )
        if null.critical is not None:
            label = f"critical value at {rate_text(null.alpha)}: {rounded(null.critical)}"
            axes.axvline(null.critical, ymax=0.8, color=BLUE, linestyle="--", label=label)
        axes.set(xlabel=f"{_MAXIMA.get(null.statistic, null.statistic)}", ylabel="shuffles")
        axes.set_title(title, fontsize=10)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.25)
        axes.legend(fontsize=9, ncols=2, loc="upper center", frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    n_shuffles = len(nulls[0].maxima)
    alt = f"Null distributions of {contrast.name} over {n_shuffles:,} shuffles: "
    alt += "; ".join(null.sentence(contrast.test != "F") for null in nulls)
    caption = (
        "Largest value over all voxels or clusters in every shuffle, the unshuffled data "
        "included. p is the share of shuffles that reach the observed value; survivors exceed "
        "the critical value. Both are counted for this contrast alone: what a fitted tail or a "
        "correction across contrasts gives is in the table of corrections."
    )
    return Picture(save(made, path), "nulldist", alt, caption, {"Contrast": contrast.label})
