"""Two analyses compared, contrast by contrast: values, survivors and peaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from nipype_group.images import check_same_space
from nipype_group.reporting.agreement.sides import Side, Source
from nipype_group.reporting.wording import count
from nipype_group.stats.agreement import Agreement, Overlap, agreement, matched_peaks, overlap
from nipype_group.whole_files import AnyPath

# As far as peaks of one cluster are listed from each other.
PEAK_DISTANCE_MM = 8.0


@dataclass(frozen=True)
class Compared:
    """A contrast of two analyses.

    Parameters
    ----------
    first, second : Side
    stat : str
        Which of its maps.
    both : bool array, shape (x, y, z)
        Voxels that were tested in both.
    agreement : Agreement
        Of the maps in these voxels.
    overlaps : dict
        Name of a threshold to its `Overlap`, of all voxels.
    peaks : dict
        Name of a threshold to the table of its peaks: x, y, z and height in each, and the
        distance between the two in mm; those of one alone have none.
    """

    first: Side
    second: Side
    stat: str
    both: np.ndarray
    agreement: Agreement
    overlaps: Mapping[str, Overlap]
    peaks: Mapping[str, pd.DataFrame]

    @property
    def name(self) -> str:
        """Name of the contrast, or of both."""
        names = dict.fromkeys([self.first.name, self.second.name])
        return " and ".join(names)

    @property
    def notes(self) -> list[str]:
        """What is left out, and what tells thresholds of one name apart."""
        left_out = [
            f"{side.path}: {count(side.n_left_out, 'voxel')} without a finite value left out"
            for side in (self.first, self.second)
            if side.n_left_out
        ]
        return left_out + [
            f"{name} has the level {self.first.alphas[name]} in the first and "
            f"{self.second.alphas[name]} in the second"
            for name in self.overlaps
            if self.first.alphas.get(name) != self.second.alphas.get(name)
        ]

    def as_record(self) -> dict[str, Any]:
        """Return the numbers as JSON has them."""
        return {
            "Contrast": self.name,
            "Map": self.stat,
            "First": self.first.path.name,
            "Second": self.second.path.name,
            "Notes": self.notes,
            "Agreement": _plain(asdict(self.agreement)),
            "Overlaps": {
                name: _plain({**asdict(own), "dice": own.dice})
                for name, own in self.overlaps.items()
            },
            "Peaks": {
                name: [_plain(row) for row in table.to_dict("records")]
                for name, table in self.peaks.items()
            },
        }


def _plain(values):
    """Return values with null for what is no number."""
    return {
        name: None if isinstance(v, float) and not np.isfinite(v) else v
        for name, v in values.items()
    }


def compare(
    first: AnyPath,
    second: AnyPath,
    *,
    stat: str = "z",
    desc: str | None = None,
    contrasts: Sequence[tuple[str, str]] = (),
    height: float | None = None,
    peak_distance_mm: float = PEAK_DISTANCE_MM,
) -> list[Compared]:
    """Compare the maps of two analyses.

    Parameters
    ----------
    first, second : path
        Folder of results, or one map as a file.
    stat : str
        Which map of a contrast.
    desc : str, optional
        The one threshold whose survivors are compared; default: all that both have.
    contrasts : sequence of (str, str)
        Contrast of the first and of the second; default: those of one name.
    height : float, optional
        Survivors are what reaches it in magnitude, in place of those of the results.
    peak_distance_mm : float
        Peaks farther apart are no pair.

    Returns
    -------
    list of Compared

    Raises
    ------
    ValueError
        Where maps are of different grids, or contrasts, maps or thresholds are not there; names
        them.
    """
    one, other = Source(first), Source(second)
    found = []
    for names in contrasts or _pairs(one, other):
        sides = one.side(names[0], stat), other.side(names[1], stat)
        check_same_space(sides[1].path, sides[1].space, sides[0].space, str(sides[0].path))
        if height is not None:
            sides = sides[0].thresholded(height), sides[1].thresholded(height)
        found.append(_compared(*sides, stat, desc, peak_distance_mm))
    return found


def _pairs(one, other):
    """Return the contrasts of the same name; of one each they are a pair by themselves."""
    if len(one.contrasts) == len(other.contrasts) == 1:
        return [(one.contrasts[0], other.contrasts[0])]
    for source, others in ((one, other), (other, one)):
        if source.folder is None:
            raise ValueError(
                f"{source.path} is one map, and {others.path} has {', '.join(others.contrasts)}: "
                "name the contrast it is compared with (--contrast)"
            )
    same = [(name, name) for name in one.contrasts if name in other.contrasts]
    if not same:
        raise ValueError(
            f"no contrast has the same name in both: {one.path} has {', '.join(one.contrasts)}, "
            f"{other.path} has {', '.join(other.contrasts)}; name a pair (--contrast A=B)"
        )
    return same


def _compared(first, second, stat, desc, peak_distance_mm):
    both = first.tested & second.tested
    if both.sum() < 2:
        raise ValueError(f"{first.path} and {second.path} have no voxels in common")
    shared = [name for name in first.survivors if name in second.survivors]
    if desc is not None:
        if desc not in shared:
            raise ValueError(
                f"no threshold {desc} of {first.name} in both; they share "
                f"{', '.join(shared) or 'none'}"
            )
        shared = [desc]
    return Compared(
        first,
        second,
        stat,
        both,
        agreement(*(side.values_in(both) for side in (first, second))),
        {n: overlap(first.survivors[n], second.survivors[n]) for n in shared},
        {n: _peaks(first.peaks[n], second.peaks[n], peak_distance_mm) for n in shared},
    )


def _peaks(first, second, largest_mm):
    """Return the peaks of both side by side: pairs, then those of one alone."""
    axes = ["x", "y", "z"]
    pairs = matched_peaks(first[axes], second[axes], largest_mm)
    paired = {i for i, _, _ in pairs}, {j for _, j, _ in pairs}
    rows = [(i, j, mm) for i, j, mm in pairs]
    rows += [(i, None, np.nan) for i in range(len(first)) if i not in paired[0]]
    rows += [(None, j, np.nan) for j in range(len(second)) if j not in paired[1]]
    names = [*axes, "stat"]
    table = []
    for i, j, mm in rows:
        row = {}
        for prefix, peaks, at in (("first", first, i), ("second", second, j)):
            values = [np.nan] * len(names) if at is None else peaks.iloc[at][names]
            row |= {f"{prefix}_{n}": float(v) for n, v in zip(names, values, strict=True)}
        table.append(row | {"distance_mm": mm})
    columns = [f"{p}_{n}" for p in ("first", "second") for n in names]
    return pd.DataFrame(table, columns=[*columns, "distance_mm"], dtype=float)
