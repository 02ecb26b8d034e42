"""Sizes of effects on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nipype_group.images import read_on, read_volume
from nipype_group.reporting.effect_sizes import NAMED_SIZES
from nipype_group.reporting.page.tables import made_table

if TYPE_CHECKING:
    from pathlib import Path

    from nipype_group.reporting.derivatives.read import GroupFolder
    from nipype_group.reporting.page.tables import Table

_COLUMNS = [
    ("size", "what is told of the effect"),
    ("median", "median of the estimates over the voxels with a statistic"),
    ("5 %", "the estimate that 5 % of the voxels are below"),
    ("95 %", "the estimate that 5 % of the voxels are above"),
    ("largest", "estimate of the largest size"),
    ("lower", "lower end of the interval there"),
    ("upper", "upper end of the interval there"),
    ("level", "share of such intervals that hold the size"),
]


def sizes_table(folder: GroupFolder, label: str) -> Table | None:
    """Make the table of the effect sizes of a contrast that have maps.

    Parameters
    ----------
    folder : GroupFolder
    label : str
        Of the contrast.

    Returns
    -------
    Table or None
        None where none was asked for.
    """
    values = []
    for named in NAMED_SIZES.values():
        paths = {
            end: folder.find("statmap", ".nii.gz", contrast=label, stat=f"{named.stat}{end}")
            for end in ("", "Lower", "Upper")
        }
        if named.of_model or paths[""] is None or (named.interval and paths["Lower"] is None):
            continue
        level = folder.read_json("statmap", contrast=label, stat=f"{named.stat}Lower")
        row = _row(paths[""], paths["Lower"], paths["Upper"], _alive(folder, label))
        rate = f"{level['IntervalLevel']:g}" if level else "n/a"
        values.append([named.words, *row, rate])
    if not values:
        return None
    return made_table(f"contrast-{label}_sizes.tsv", "Effect sizes", _COLUMNS, values)


def _alive(folder: GroupFolder, label: str) -> np.ndarray:
    """Return where a contrast has a statistic, one row."""
    path = folder.find("statmap", ".nii.gz", contrast=label, stat="variance")
    assert path is not None, "sizes are of a run, whose contrasts have variances"
    return read_volume(path)[0].ravel() > 0


def _row(path: Path, lower: Path | None, upper: Path | None, alive: np.ndarray) -> list[str]:
    """Return the numbers of a size as text."""
    values, space = read_volume(path)
    values = values.ravel()[alive]
    if not values.size:
        return ["n/a"] * 6
    at = int(np.abs(values).argmax())
    ends = [
        np.nan if end is None else read_on(end, space, "the effect size").ravel()[alive][at]
        for end in (lower, upper)
    ]
    numbers = [np.median(values), *np.quantile(values, [0.05, 0.95]), values[at], *ends]
    return ["n/a" if np.isnan(number) else f"{number:.6g}" for number in numbers]
