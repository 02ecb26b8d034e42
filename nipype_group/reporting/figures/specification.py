"""The specification curve: an effect in all alternatives, sorted, and the choices below."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

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
    line_height,
    rounded,
    save,
    wrapped,
)
from nipype_group.reporting.figures.slices import Background, Volume
from nipype_group.reporting.wording import count

_GREY = "#999999"
_CURVE_PX, _CHOICE_PX, _MOST_CHOICES = 240, 17, 40


def draw_specification(
    path: str | os.PathLike[str],
    rows: Sequence[Mapping[str, Any]],
    choices: Sequence[Mapping[str, str]],
    alpha: float,
    unit: str,
    title: str,
) -> Picture:
    """Draw an effect in all alternatives.

    Parameters
    ----------
    path : path
        PNG to write.
    rows : sequence of dict
        Of every alternative: effect, lower, upper, survives (a share) and p_multiverse, NaN
        where there is none; the reference first.
    choices : sequence of dict
        What is varied, to the choice made, of every alternative.
    alpha : float
        Of p_multiverse.
    unit, title : str
        What the effect is, and of what.

    Returns
    -------
    Picture
    """
    effect = np.array([row["effect"] for row in rows], dtype=float)
    order = np.argsort(effect, kind="stable")
    order = order[np.isfinite(effect[order])]
    lines = list(dict.fromkeys((axis, one[axis]) for axis in choices[0] for one in choices))
    lines = lines[:_MOST_CHOICES]
    labels = [wrapped(f"{a} {c}".strip(), 0.28 * WIDTH_PX, 8) for a, c in lines]
    # Room for the longest label in every row.
    n_lines = max(label.count("\n") for label in labels) + 1
    below = (_CHOICE_PX + (n_lines - 1) * line_height(8)) * len(lines)
    shown_title = wrapped(title, 0.66 * WIDTH_PX, 10)
    above = (shown_title.count("\n")) * line_height(10)
    height = int(_CURVE_PX + below + 60 + above)
    made = figure(WIDTH_PX, height)
    upper = made.add_axes((0.3, (below + 40) / height, 0.67, _CURVE_PX / height * 0.86))
    lower = made.add_axes((0.3, 20 / height, 0.67, below / height))
    _draw_curve(upper, [rows[i] for i in order], alpha)
    upper.set_ylabel(unit)
    upper.set_title(shown_title, fontsize=10)
    _draw_choices(lower, lines, labels, [choices[i] for i in order])
    where = np.flatnonzero(order == 0)
    for axes in (upper, lower):
        axes.set_xlim(-0.8, len(order) - 0.2)
        axes.set_xticks([])
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        if where.size:
            axes.axvline(where[0], color=_GREY, linewidth=0.8, linestyle=":", zorder=0)
    own, over = _survivors(rows, alpha)
    alt = (
        f"Specification curve of {title}: {unit} in {count(len(order), 'alternative')}, from "
        f"{rounded(np.nanmin(effect, initial=np.inf))} to "
        f"{rounded(np.nanmax(effect, initial=-np.inf))}; it survives in {own.sum()} of them"
        f"{f', over all of them in {over.sum()}' if over.any() else ''}"
    )
    is_over = any(np.isfinite(row["p_multiverse"]) for row in rows)
    caption = (
        "Each column is an alternative, sorted by the effect; lines are 95 % intervals, dots "
        "below tell its choices. Blue survives by its own correction"
        f"{', orange over all alternatives' if is_over else ''}; the dotted line is the first "
        "alternative."
    )
    return Picture(save(made, path), "specification", alt, caption)


def _survivors(rows, alpha):
    own = np.array([row["survives"] > 0 for row in rows])
    over = np.array([row["p_multiverse"] <= alpha * (1 + 1e-12) for row in rows])
    return own, over


def _draw_curve(axes, rows, alpha):
    own, over = _survivors(rows, alpha)
    axes.axhline(0, color=DARK, linewidth=0.8)
    for place, row in enumerate(rows):
        colour = ORANGE if over[place] else BLUE if own[place] else _GREY
        if np.isfinite(row["lower"]):
            axes.plot([place, place], [row["lower"], row["upper"]], color=colour, linewidth=1)
        axes.plot(place, row["effect"], "o", color=colour, markersize=4)


def _draw_choices(axes, lines, labels, choices):
    for place, (axis, choice) in enumerate(lines):
        chosen = [i for i, own in enumerate(choices) if own.get(axis) == choice]
        axes.plot(chosen, [place] * len(chosen), "s", color=DARK, markersize=3)
    axes.set_yticks(range(len(lines)))
    axes.set_yticklabels(labels, fontsize=8)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.tick_params(length=0)


def draw_counts(
    path: str | os.PathLike[str],
    counts: Volume,
    n_alternatives: int,
    title: str,
    background: Background,
) -> Picture:
    """Draw in how many alternatives voxels survive, on axial slices; a `Picture`.

    Parameters
    ----------
    path : path
        PNG to write.
    counts : Volume
        Alternatives in which a voxel survives.
    n_alternatives : int
    title : str
    background : Background
    """
    scale = Scale(1.0, float(max(n_alternatives, 2)), signed=False, sides=(1,))
    cuts = background.cuts_mm
    sheet = axial_sheet(background, counts, scale, "count", cuts, len(cuts), title)
    values = np.asarray(counts.values)
    alt = (
        f"Axial slices of {title}: {count(int((values > 0).sum()), 'voxel')} survive in one of "
        f"{n_alternatives} alternatives or more, {int((values == n_alternatives).sum()):,} in "
        f"all; {SIDES}"
    )
    caption = (
        f"Colours tell in how many of {n_alternatives} alternatives a voxel survives; {SIDES}."
    )
    return Picture(sheet.save(path), "counts", alt, caption)
