"""The page of two analyses compared."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nipype_group._version import __version__
from nipype_group.reporting.agreement.compare import Compared
from nipype_group.reporting.derivatives.folder import GENERATOR
from nipype_group.reporting.figures.agreement import draw_agreement, draw_overlap
from nipype_group.reporting.figures.canvas import rounded
from nipype_group.reporting.figures.slices import Volume, background_of
from nipype_group.reporting.page.report import embedded, environment
from nipype_group.reporting.wording import count
from nipype_group.whole_files import AnyPath, check_replaceable, read_bytes, replace_text

if TYPE_CHECKING:
    from nipype_group.reporting.figures.canvas import Picture

TITLE = "Two analyses compared"
_PEAK_NAMES = (
    *(f"{name} {side}" for side in ("first", "second") for name in ("x", "y", "z", "height")),
    "distance, mm",
)


def sentence(compared: Compared) -> str:
    """Return how far the maps of a contrast agree, in words."""
    found = compared.agreement
    return (
        f"{compared.name}: {compared.stat} of {count(found.n_voxels, 'voxel')} that both tested, "
        f"correlation {rounded(found.correlation)}, mean difference "
        f"{rounded(found.mean_difference)} (limits of agreement {rounded(found.lower_limit)} to "
        f"{rounded(found.upper_limit)}), largest difference {rounded(found.largest_difference)}."
    )


def overlap_lines(compared: Compared) -> list[str]:
    """Return what survives in both and in one alone, a line a threshold."""
    return [
        f"{name}: Dice {rounded(own.dice)}, {count(own.n_both, 'voxel')} in both, "
        f"{own.n_first_alone:,} in the first alone, {own.n_second_alone:,} in the second alone"
        for name, own in compared.overlaps.items()
    ]


def write_page(path: AnyPath, compared: Sequence[Compared], first: str, second: str) -> str:
    """Write the page of a comparison; returns its path.

    Parameters
    ----------
    path : path
        HTML to write.
    compared : list of Compared
    first, second : str
        What the two are called.

    Raises
    ------
    ValueError
        Where a file that is no such page stands there.
    """
    path = Path(path).absolute()
    check_replaceable(path, TITLE)
    with tempfile.TemporaryDirectory() as folder:
        contrasts = [_context(one, (first, second), Path(folder)) for one in compared]
    page = (
        environment()
        .get_template("comparison.html.jinja")
        .render(
            generator=f"{GENERATOR} {__version__}",
            title=TITLE,
            first=first,
            second=second,
            contrasts=contrasts,
        )
    )
    return str(replace_text(path, page))


def write_numbers(path: AnyPath, compared: Sequence[Compared]) -> None:
    """Write the numbers of a comparison as JSON."""
    content = [one.as_record() for one in compared]
    replace_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _context(compared, names, folder):
    return {
        "name": compared.name,
        "sentence": sentence(compared),
        "notes": compared.notes,
        "images": [_embedded(picture) for picture in _pictures(compared, names, folder)],
        "overlaps": [
            (name, *_counts(own), rounded(own.dice)) for name, own in compared.overlaps.items()
        ],
        "peaks": [
            {
                "caption": f"Peaks of {name}, as pairs and of one alone",
                "names": _PEAK_NAMES,
                "rows": [[_cell(v) for v in row] for row in table.itertuples(index=False)],
            }
            for name, table in compared.peaks.items()
            if len(table)
        ],
    }


def _counts(own):
    return [f"{n:,}" for n in (own.n_both, own.n_first_alone, own.n_second_alone)]


def _cell(value):
    return "" if np.isnan(value) else rounded(value)


def _pictures(compared, names, folder):
    """Draw one map against the other, and every overlap."""
    one, other = compared.first, compared.second
    values = one.values_in(compared.both), other.values_in(compared.both)
    title = f"{compared.name}, {names[0]} and {names[1]}"
    path = folder / "agreement.png"
    yield draw_agreement(path, *values, compared.agreement, compared.stat, title)
    tested = Volume(compared.both.astype(np.float32), compared.first.space.affine)
    background = background_of(tested)
    for number, (name, own) in enumerate(compared.overlaps.items()):
        volumes = [
            Volume(side.survivors[name].astype(np.float32), side.space.affine)
            for side in (one, other)
        ]
        path, title = folder / f"overlap-{number}.png", f"{name} of {compared.name}"
        yield draw_overlap(path, *volumes, own, names, title, background)


def _embedded(picture: Picture) -> dict[str, str]:
    content = read_bytes(Path(picture.file))
    return {
        "source": embedded(content, "image/png"),
        "alt": picture.alt,
        "caption": picture.caption,
    }
