"""A map as the viewer shows it: of a file, or of a folder of results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nipype_group.reporting.agreement.sides import Source
from nipype_group.reporting.figures.brain import survivors_text
from nipype_group.reporting.figures.canvas import Scale, rounded
from nipype_group.reporting.figures.slices import Volume, background_of
from nipype_group.reporting.wording import count, desc_words, sentence_case
from nipype_group.whole_files import AnyPath

if TYPE_CHECKING:
    from nipype_group.reporting.figures.slices import Background


@dataclass(frozen=True)
class ViewedMap:
    """A map as a viewer shows it.

    Parameters
    ----------
    path : Path
        Its file.
    name : str
        Name of the contrast, or of the file.
    unit : str
        What its values are.
    volume : Volume
        0 where nothing is shown.
    scale : Scale
        Colours.
    background : Background
        What it is drawn on.
    shown : str
        Which voxels are shown, in words.
    n_left_out : int
        Voxels without a finite value.
    """

    path: Path
    name: str
    unit: str
    volume: Volume
    scale: Scale
    background: Background
    shown: str
    n_left_out: int = 0

    @property
    def sentence(self) -> str:
        """How many voxels are shown, and their values."""
        found = survivors_text(self.volume.values, self.unit)
        return f"{sentence_case(self.shown)}: {found}."

    @property
    def notes(self) -> list[str]:
        """What is left out."""
        if not self.n_left_out:
            return []
        return [f"{count(self.n_left_out, 'voxel')} without a finite value left out."]


def read_viewed(
    source: AnyPath,
    contrast: str | None = None,
    stat: str = "z",
    desc: str | None = None,
    height: float | None = None,
) -> ViewedMap:
    """Read the map that a viewer shows.

    Parameters
    ----------
    source : path
        A map in voxels, or a folder of results.
    contrast : str, optional
        Of a folder: name or label; default: the only one.
    stat : str
        Of a folder: which map, as z, t, F or effect.
    desc : str, optional
        Of a folder: one threshold, as file names have it; what survives it is shown.
    height : float, optional
        Only what reaches it in magnitude is shown.

    Returns
    -------
    ViewedMap

    Raises
    ------
    OSError, ValueError
        Where there is no such map, contrast or threshold, and where nothing would be shown.
    """
    found = Source(source)
    side = found.side(_contrast(found, contrast, stat, desc), stat)
    values = np.where(side.tested, side.values, 0.0)
    signed, shown = bool((values < 0).any()), "all voxels"
    if desc is not None:
        if desc not in side.survivors:
            known = ", ".join(side.survivors) or "none"
            raise ValueError(
                f"{found.path} has no threshold {desc} of {side.name}; there are {known}"
            )
        values = np.where(side.survivors[desc], values, 0.0)
        shown = f"survivors by {desc_words(desc, has_sides=signed)}"
    if height is not None:
        largest = rounded(np.abs(values).max(initial=0))
        values = np.where(np.abs(values) >= height, values, 0.0)
        shown += f", at magnitudes of {rounded(height)} or more"
        if not values.any():
            raise ValueError(
                f"{side.path} has nothing as high as {height:g}; its largest magnitude is "
                f"{largest}"
            )
    if not values.any():
        raise ValueError(
            f"{side.path}: nothing to view, no voxel has a finite value but 0 ({shown})"
        )
    values = _single(values, side.path)
    # To the largest value, which the cursor can tell then.
    scale = Scale.of_survivors(values, signed)
    if desc is None and height is None:
        scale = replace(scale, low=0.0)
    inside = Volume(side.tested.astype(np.float32), side.space.affine)
    return ViewedMap(
        path=side.path,
        name=side.name,
        unit="value" if found.folder is None else stat,
        volume=Volume(values, side.space.affine),
        scale=scale,
        background=background_of(inside),
        shown=shown,
        n_left_out=side.n_left_out,
    )


def _single(values, path):
    """Return values as figures and viewers hold them; refuses those that would be lost."""
    single, largest = np.finfo(np.float32), np.abs(values).max()
    if not single.tiny <= largest <= single.max:
        raise ValueError(
            f"{path}: its largest magnitude is {largest:.3g}, which pictures in single precision "
            "cannot hold; scale the map"
        )
    return values.astype(np.float32)


def _contrast(found, contrast, stat, desc):
    """Return the contrast that is meant; refuses what a single map has not."""
    if found.folder is None and not (contrast is None and desc is None and stat == "z"):
        raise ValueError(
            f"{found.path} is one map: contrasts, kinds of maps and names of thresholds go with "
            "a folder of results"
        )
    if contrast is not None or len(found.contrasts) == 1:
        return contrast or found.contrasts[0]
    raise ValueError(
        f"{found.path} has {len(found.contrasts)} contrasts, name one: "
        f"{', '.join(found.contrasts)}"
    )
