"""How sure results are: maps of -log10 p, and of proportions of true discoveries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nipype_group.reporting.figures.brain import SIDES, axial_sheet
from nipype_group.reporting.figures.canvas import MINUS, Picture, Scale, rounded
from nipype_group.reporting.figures.slices import Volume
from nipype_group.reporting.wording import count, rate_text

if TYPE_CHECKING:
    from nipype_group.reporting.figures.slices import Background

_UNIT = f"{MINUS}log10 p"
# -log10 p that colours begin at and reach at least, and the smallest p that float32 holds.
_LOW, _LEAST_HIGH, _SMALLEST_P = 1.0, 2.0, 1e-44
_PER_ROW = 8


def logp_of(p: Volume, mask: Volume | None) -> Volume:
    """Return -log10 of a map of p, 0 outside of a mask; without one where p is 0 or 1.

    Parameters
    ----------
    p : Volume
    mask : Volume, optional
        Above 0 where p is one.
    """
    inside = p.values > 0 if mask is None else mask.values > 0
    logp = -np.log10(np.where(inside, np.maximum(p.values, _SMALLEST_P), 1.0))
    return Volume(np.maximum(logp, 0.0), p.affine)


def draw_logp(
    path: str | os.PathLike[str],
    logp: Volume,
    background: Background,
    *,
    kind: str,
    title: str,
    about: Mapping[str, str],
    alpha: float = 0.05,
) -> Picture:
    """Draw -log10 p on axial slices; where p is above .1 they show the brain alone.

    Parameters
    ----------
    path : path
        PNG to write.
    logp : Volume
        0 where p is 1, and outside of what was tested.
    background : Background
    kind : {"logp", "uncorrectedp"}
        Of p that a correction adjusted, or of p as they are.
    title : str
        What p is of, in words.
    about : dict
        Contrast, and Desc of a result.
    alpha : float
        p that the colour bar names.

    Returns
    -------
    Picture
    """
    largest = float(logp.values.max(initial=0))
    scale = Scale(_LOW, max(largest, _LEAST_HIGH), sides=(1,))
    shown = Volume(np.where(logp.values >= _LOW, logp.values, 0), logp.affine)
    level, cuts = -float(np.log10(alpha)), background.cuts_mm
    n_per_row = min(len(cuts), _PER_ROW)
    marks = ((level, f"p {rate_text(alpha)}"),)
    sheet = axial_sheet(background, shown, scale, _UNIT, cuts, n_per_row, title, marks=marks)
    # The level itself counts, as it is rounded in the map.
    n_below = int((logp.values >= level - 1e-6).sum())
    found = f"{count(n_below, 'voxel')} with p of at most {rate_text(alpha)}"
    smallest = f"the smallest p is {_p_text(largest)}"
    alt = f"Axial slices of the {title}: {found}, {smallest}; {SIDES}"
    caption = (
        f"{_UNIT} from {_LOW:g}, p = .1, on; the brain alone is seen where p is larger: {found}; "
        f"{smallest}. {SIDES.capitalize()}."
    )
    return Picture(sheet.save(path), kind, alt, caption, dict(about))


def _p_text(logp):
    """Write p as papers do."""
    p = 10**-logp
    return rate_text(float(f"{p:.2g}")) if p < 1 else "1"


def draw_discoveries(
    path: str | os.PathLike[str],
    proportions: Volume,
    background: Background,
    *,
    title: str,
    about: Mapping[str, str],
    alpha: float = 0.05,
) -> Picture:
    """Draw lower bounds of the proportion of true discoveries of clusters, on axial slices.

    Parameters
    ----------
    path : path
        PNG to write.
    proportions : Volume
        0 to 1, that of the highest cluster that holds the voxel.
    background : Background
    title : str
    about : dict
        Contrast and Desc.
    alpha : float
        Probability that any bound fails.

    Returns
    -------
    Picture
    """
    scale, cuts = Scale(0.0, 1.0, signed=False, sides=(1,)), background.cuts_mm
    n_per_row = min(len(cuts), _PER_ROW)
    sheet = axial_sheet(background, proportions, scale, "true share", cuts, n_per_row, title)
    bound = proportions.values[proportions.values > 0]
    found = "no cluster has a bound above 0"
    if bound.size:
        found = f"{count(bound.size, 'voxel')} in clusters whose share is at least "
        low, high = rounded(float(bound.min())), rounded(float(bound.max()))
        found += low if low == high else f"{low} to {high}"
    alt = f"Axial slices of the {title}: {found}; {SIDES}"
    caption = (
        "Share of the voxels of a cluster that are surely active, at least, of the cluster at the "
        f"greatest height that holds a voxel: {found}. All bounds hold at once with a probability "
        f"of {100 * (1 - alpha):g} %. Where the brain alone is seen is no cluster, or none with a "
        f"bound above 0. {SIDES.capitalize()}."
    )
    return Picture(sheet.save(path), "tdp", alt, caption, dict(about))
