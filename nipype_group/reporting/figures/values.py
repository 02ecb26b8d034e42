"""Values of the maps at the highest peaks of a result, a panel a peak."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from nipype_group.reporting.figures.brain import peak_name
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
    upright,
    wrapped,
)
from nipype_group.reporting.figures.contrast_maps import contrast_map_views
from nipype_group.reporting.figures.peak_values import view_peak
from nipype_group.reporting.wording import count
from nipype_group.stats.linear.map_quality import correlation

if TYPE_CHECKING:
    import pandas as pd

    from nipype_group.design.contrasts import Contrast
    from nipype_group.design.matrix import Design
    from nipype_group.reporting.figures.peak_values import PeakView
    from nipype_group.reporting.figures.plotted_map import PlottedMap

_PER_ROW = 3
_PANEL_PX = 300
# Width of the axes of a panel of three; names below it, of more lines than this, stand upright.
_PLOT_PX = 220
_NAME_SIZE = 8.5
_MOST_LINES = 3
_JITTER = 0.32
# Steps of this share of 1 fill an interval evenly, however many there are.
_GOLDEN = 0.6180339887498949
_CAPTIONS = {
    "groups": "Points are maps; the bar is the mean of a group with its 95 % interval.",
    "conditions": "Points are what the contrast compares of a participant's conditions, without "
    "their mean and what else the model fits; the bar is their mean with its 95 % interval.",
    "strip": "Points are maps; the bar is their mean with its 95 % interval.",
    "covariate": "Added-variable plot: both axes are adjusted for the rest of the model, and the "
    "slope of the line is the estimate of the contrast.",
    "fitted": "What the contrast's columns fit, and the same with the residual; on the line both "
    "are equal.",
}
_OF_CONTRAST_MAPS = (
    "Values are contrast maps, one of each direction that the contrast takes of a participant's "
    "maps: its error is theirs."
)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Return mean and half width of its 95 % interval, NaN for a single value.

    Examples
    --------
    >>> [round(float(v), 3) for v in mean_interval(np.array([1.0, 2.0, 3.0]))]
    [2.0, 2.484]
    """
    n = len(values)
    if n < 2:
        return float(values.mean()), np.nan
    half = special.stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n)
    return float(values.mean()), float(half)


def draw_values(
    path: str | os.PathLike[str],
    result: PlottedMap,
    design: Design,
    contrast: Contrast,
    peaks: pd.DataFrame,
    values: np.ndarray,
    covariates: np.ndarray | None = None,
) -> Picture:
    """Draw the values of all maps at peaks.

    Parameters
    ----------
    path : path
        PNG to write.
    result : PlottedMap
    design : Design
    contrast : Contrast
    peaks : DataFrame
        Rows of the peaks table, at least one.
    values : array, shape (n, peaks)
        NaN where a map has none.
    covariates : array, shape (k, n, peaks), optional
        Covariates that are maps at the peaks.

    Returns
    -------
    Picture
    """
    views_of = contrast_map_views if design.own_errors else _map_views
    shown, view_of = views_of(design, contrast)
    of_peaks = [
        view_of(own)
        if covariates is None
        else _with_covariates(design, contrast, own, covariates[:, :, i])
        for i, own in enumerate(values.T)
    ]
    made, panels = _panels(of_peaks)
    views, listed = [], []
    for axes, (_, peak), view in zip(panels, peaks.iterrows(), of_peaks, strict=False):
        found = f"{result.unit} {rounded(result.height(peak))}"
        place = ", ".join(rounded(float(peak[axis])) for axis in "xyz")
        axes.set_title(f"{peak_name(peak)}\n({place}) mm, {found}", fontsize=9.5)
        if view is None:
            axes.text(0.5, 0.5, "too few maps\nhave a value", ha="center", va="center")
            axes.set_axis_off()
            continue
        _DRAW[view.kind](axes, view, shown)
        axes.set_ylabel(view.y_label, fontsize=9)
        axes.tick_params(labelsize=_NAME_SIZE)
        axes.spines[["top", "right"]].set_visible(False)
        views.append(view)
        listed.append(_in_words(peak, view, shown))
    alt = f"Values of {count(len(values), 'map')} at the {count(len(peaks), 'highest peak')} "
    alt += f"of {result.shown_name}: " + "; ".join(listed or ["too few maps have a value"])
    caption = _caption(views, shown, own_error=design.own_errors)
    return Picture(save(made, path), "values", alt, caption, result.about)


def _panels(views):
    """Return a figure and the axes of its panels, with room for the names below them."""
    per_row = min(len(views), _PER_ROW)
    n_rows = -(-len(views) // per_row)
    width = max(WIDTH_PX // _PER_ROW * per_row, 420)
    foot = max((_names(view)[1] for view in views if view is not None), default=0.0) + 30
    height = int(n_rows * (_PANEL_PX + max(foot - 62, 0)))
    made = figure(width, height)
    # Margins in pixels; a layout engine takes half of the time.
    margins = {"left": 62 / width, "right": 1 - 10 / width, "wspace": 0.32}
    # Titles take two or three lines.
    each = (height - n_rows * (foot + 56)) / n_rows
    margins |= {"bottom": foot / height, "top": 1 - 56 / height, "hspace": (foot + 56) / each}
    panels = made.subplots(n_rows, per_row, squeeze=False, gridspec_kw=margins).ravel()
    for axes in panels[len(views) :]:
        axes.set_axis_off()
    return made, panels


def _names(view):
    """Return the names below a panel, the pixels they take, and whether they stand upright."""
    if view.kind in ("covariate", "fitted"):
        text = wrapped(view.x_label, _PLOT_PX, 9)
        return [text], block_size(text, 9)[1] + 14, False
    names = view.groups or ("all maps",)
    step = _PLOT_PX / len(names)
    counted = [f"{name}\nn = {int((view.x == i).sum())}" for i, name in enumerate(names)]
    level = [wrapped(text, step - 6, _NAME_SIZE) for text in counted]
    if len(names) <= 4 and all(text.count("\n") <= _MOST_LINES for text in level):
        return level, max(block_size(text, _NAME_SIZE)[1] for text in level), False
    standing, tall = upright(names if len(names) > 4 else counted, step, _NAME_SIZE)
    return standing, tall, True


def _with_covariates(design, contrast, values, covariates):
    """Return what to show of a voxel in whose design covariates that are maps are columns."""
    values = np.where(np.isfinite(covariates).all(axis=0), values, np.nan)
    covariates = np.where(np.isfinite(values), covariates, np.nan)
    if not np.isfinite(values).any():
        return None
    return view_peak(design.at_voxel(covariates), contrast, values)


def _map_views(
    design: Design, contrast: Contrast
) -> tuple[Design, Callable[[np.ndarray], PeakView | None]]:
    return design, partial(view_peak, design, contrast)


def _caption(views, design, own_error=False):
    notes = [_CAPTIONS[kind] for kind in dict.fromkeys(view.kind for view in views)]
    if own_error:
        notes = [_OF_CONTRAST_MAPS, *(n.replace("are maps", "are contrast maps") for n in notes)]
    by_group = any(view.kind in ("groups", "strip") for view in views)
    if by_group and any(view.y_label.endswith("adjusted") for view in views):
        notes.append("Adjusted: without what the other columns of the design explain.")
    joined = by_group or any(view.kind == "conditions" for view in views)
    if joined and len(set(design.participants)) < len(design.participants):
        notes.append(f"Lines join the {'points' if own_error else 'maps'} of a participant.")
    if any(view.outliers for view in views):
        notes.append("Named: studentised residual beyond 3.")
    return " ".join(notes)


def _in_words(peak, view, design):
    text = f"{peak_name(peak)}, "
    if view.kind in ("groups", "conditions"):
        text += ", ".join(
            f"mean {rounded(view.y[view.x == i].mean())} in {name}"
            for i, name in enumerate(view.groups)
            if (view.x == i).any()
        )
    elif view.kind == "covariate":
        text += f"slope {rounded(view.estimate)} against {view.x_label}"
    elif view.kind == "strip":
        text += f"mean {rounded(view.y.mean())}"
    else:
        explained = np.nan_to_num(correlation(view.x, view.y))
        text += f"correlation of fitted and observed {rounded(explained)}"
    missing = len(design.participants) - len(view.rows)
    text += f", {count(missing, 'map')} without a value" if missing else ""
    names = [str(design.keys["participant_id"].iloc[row]) for row in view.outliers]
    return text + (f", outlying {', '.join(dict.fromkeys(names))}" if names else "")


def _name_outliers(axes, view, design, x):
    middle = np.mean(axes.get_xlim())
    for row in view.outliers:
        at = int(np.flatnonzero(view.rows == row)[0])
        left = x[at] <= middle
        axes.annotate(
            wrapped(str(design.keys["participant_id"].iloc[row]), 0.45 * _PLOT_PX, 8),
            (x[at], view.y[at]),
            xytext=(5 if left else -5, 0),
            textcoords="offset points",
            fontsize=8,
            ha="left" if left else "right",
            va="center",
            color=DARK,
        )


def _draw_groups(axes, view, design):
    """Draw points of every group or of one strip, with mean and interval."""
    names = view.groups or ("all maps",)
    who = np.array(design.participants)[view.rows]
    order = {name: i for i, name in enumerate(dict.fromkeys(who))}
    steps = np.array([order[name] for name in who]) * _GOLDEN % 1
    x = view.x + (steps - 0.5) * _JITTER
    if len(order) < len(who):
        for name in order:
            own = np.flatnonzero(who == name)
            own = own[np.argsort(x[own], kind="stable")]
            axes.plot(x[own], view.y[own], color="#bbbbbb", linewidth=0.7, zorder=1)
    axes.plot(x, view.y, "o", markersize=3.5, color=BLUE, alpha=0.65, markeredgewidth=0, zorder=2)
    for i in range(len(names)):
        own = view.y[view.x == i]
        if len(own):
            mean, half = mean_interval(own)
            axes.plot([i - 0.28, i + 0.28], [mean, mean], color=ORANGE, linewidth=2.2, zorder=4)
            axes.errorbar(i + 0.28, mean, half, color=ORANGE, capsize=4, linewidth=1.8, zorder=3)
    labels, _, stand = _names(view)
    axes.set_xticks(range(len(names)), labels, rotation=90 if stand else 0, fontsize=_NAME_SIZE)
    axes.set_xlim(-0.6, len(names) - 0.4)
    if view.kind == "strip" or view.y.min() < 0 < view.y.max():
        axes.axhline(0, color=DARK, linewidth=0.8, linestyle=":", zorder=0)
    _name_outliers(axes, view, design, x)


def _draw_points(axes, view, design):
    """Draw points against a covariate or fitted values, with the line."""
    axes.plot(view.x, view.y, "o", markersize=3.5, color=BLUE, alpha=0.65, markeredgewidth=0)
    ends = np.array([view.x.min(), view.x.max()])
    axes.plot(ends, view.line[0] + view.line[1] * ends, color=ORANGE, linewidth=2)
    axes.set_xlabel(_names(view)[0][0], fontsize=9)
    if view.kind == "covariate":
        axes.set_title(f"{axes.get_title()}\nslope {rounded(view.line[1])}", fontsize=9.5)
    _name_outliers(axes, view, design, view.x)


_DRAW = {
    "groups": _draw_groups,
    "conditions": _draw_groups,
    "strip": _draw_groups,
    "covariate": _draw_points,
    "fitted": _draw_points,
}
