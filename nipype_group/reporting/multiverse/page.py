"""The page of alternatives."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nipype_group._version import __version__
from nipype_group.reporting.derivatives.folder import GENERATOR
from nipype_group.reporting.figures.canvas import rounded
from nipype_group.reporting.figures.slices import Volume, background_of
from nipype_group.reporting.figures.specification import draw_counts, draw_specification
from nipype_group.reporting.multiverse.content import ContrastOfAll, Described
from nipype_group.reporting.multiverse.regions import MOST_REGIONS, RegionsOfAll
from nipype_group.reporting.page.report import embedded, environment
from nipype_group.reporting.wording import p_value
from nipype_group.whole_files import AnyPath, read_bytes, replace_text

TITLE = "Alternatives of an analysis"
_WORDS = {
    "number": "Number",
    "maps": "Maps",
    "voxels": "Voxels",
    "control": "Correction",
    "survivors": "Surviving voxels",
    "clusters": "Clusters",
    "peak_zscore": "Peak z",
    "peak_x": "x",
    "peak_y": "y",
    "peak_z": "z",
    "p_alone": "p, permutation",
    "survivors_multiverse": "Surviving over all",
    "p_multiverse": "p over all",
}
_REGIONS = (
    "Atlas",
    "Region",
    "Survives in",
    "p, number {number}",
    "Corrected",
    "Smallest effect",
    "Largest effect",
)
_CLUSTERS = ("Cluster of the first", "x", "y", "z", "Voxels", "Survives at its peak in")


def write_multiverse_page(
    path: AnyPath,
    described: Sequence[Described],
    contrasts: Sequence[ContrastOfAll],
    alpha: float,
    lines: Sequence[str],
    warnings: Sequence[str],
    regions: Mapping[str, RegionsOfAll],
    figures: bool = True,
) -> str:
    """Write the page of alternatives; returns its path.

    Parameters
    ----------
    path : path
        HTML to write.
    described : sequence of Described
        The reference first.
    contrasts : sequence of ContrastOfAll
    alpha : float
        Familywise error over all of them.
    lines, warnings : sequence of str
        What is found, and what is doubtful.
    regions : dict
        Name of a contrast to its regions, of those that have models of them.
    figures : bool
        Whether there are pictures.
    """
    with tempfile.TemporaryDirectory() as place:
        told = [
            _context(described, c, alpha, Path(place), figures)
            | {"regions": _regions(described, c, regions.get(c.name), Path(place), figures)}
            for c in contrasts
        ]
    page = (
        environment()
        .get_template("multiverse.html.jinja")
        .render(
            generator=f"{GENERATOR} {__version__}",
            title=TITLE,
            facts=_facts(described, contrasts, alpha),
            lines=lines,
            warnings=warnings,
            contrasts=told,
        )
    )
    return str(replace_text(Path(path), page))


def _facts(described, contrasts, alpha):
    """Return what the alternatives are."""
    varied: dict[str, dict[str, None]] = {}
    for one in described:
        for axis, choice in one.choices.items():
            varied.setdefault(axis or "alternative", {})[choice] = None
    facts = [
        ("Alternatives", str(len(described))),
        *((_spaced(axis), " | ".join(choices)) for axis, choices in varied.items()),
        ("First, which places are of", described[0].name),
    ]
    if described[0].is_shuffled:
        shuffles = sorted({len(o.over_all.null) for c in contrasts for o in c.over_all.values()})
        facts += [
            ("Shuffles, the unshuffled one included", ", ".join(f"{n:,}" for n in shuffles)),
            ("Familywise error over all voxels and alternatives", f"{alpha:g}"),
        ]
    return facts


def _context(described, contrast, alpha, folder, figures):
    """Return what the page tells of a contrast."""
    pictures = list(_pictures(described, contrast, alpha, folder)) if figures else []
    peaks = {place.name: place for place in contrast.places}
    clusters = [
        (name, *map(rounded, place.mm), int(place.cluster.sum()), _times(contrast, name))
        for name, place in peaks.items()
        if place.cluster is not None
    ]
    axes = [axis or "alternative" for axis in described[0].choices]
    names = [n for n in (*contrast.rows[0],) if n in _WORDS or n in axes]
    return {
        "name": contrast.name,
        "images": _images(pictures),
        "clusters": (_CLUSTERS, clusters),
        "table": (
            [_WORDS.get(name, _spaced(name)) for name in names],
            [[_cell(row[name]) for name in names] for row in contrast.rows],
        ),
    }


def _images(pictures):
    return [
        {
            "source": embedded(read_bytes(Path(one.file)), "image/png"),
            "alt": one.alt,
            "caption": one.caption,
        }
        for one in pictures
    ]


def _regions(described, contrast, regions, folder, figures):
    """Return what the page tells of the regions of a contrast; None without models of them."""
    if regions is None:
        return None
    shown = regions.shown
    number = regions.reference + 1
    reference = "the first alternative"
    if number > 1:
        reference = f"alternative {number}, the first with models of regions"
    which = "survive in any alternative" if regions.survive_anywhere else "are tested"
    none = "" if regions.survive_anywhere else "No region survives in any alternative. "
    rule = (
        f"{none}Of the regions that {which} these have the smallest p without a correction in "
        f"{reference}, {MOST_REGIONS} at most; regions.tsv has all. "
        "A region survives in an alternative by the correction over the regions of its atlas. "
        "There is no p of regions over all alternatives."
    )
    rows = [
        (
            _spaced(row["atlas"]),
            _spaced(row["name"]),
            f"{row['survives_in']} of {row['tested_in']}",
            *(p_value(row[name]) for name in ("p_unc", "p_corrected")),
            *(rounded(row[name]) for name in ("lowest", "highest")),
        )
        for row in shown.to_dict("records")
    ]
    pictures = _region_pictures(described, contrast, regions, folder) if figures else []
    names = [name.format(number=number) for name in _REGIONS]
    return {"rule": rule, "table": (names, rows), "images": _images(pictures)}


def _region_pictures(described, contrast, regions, folder):
    """Draw the curve of every region that is shown."""
    choices = [one.choices for one in described]
    for number, row in enumerate(regions.shown.to_dict("records")):
        rows = regions.curve(row["atlas"], row["index"])
        region = _spaced(f"{row['name']} ({row['atlas']})")
        title = f"{contrast.name}, {region}, mean over the region"
        path = folder / f"{contrast.label}-region-{number}.png"
        yield draw_specification(path, rows, choices, np.nan, "effect", title)


def _times(contrast, name):
    """Say in how many alternatives a peak survives."""
    rows = [r for r in contrast.curves if r["place"] == name and r["of"] == "peak"]
    return f"{sum(r['survives'] > 0 for r in rows)} of {len(rows)}"


def _spaced(name):
    """Return the name of a setting or region as words."""
    return name.replace("_", " ")


def _cell(value):
    return rounded(value) if isinstance(value, float) else str(value)


def _pictures(described, contrast, alpha, folder):
    """Draw the counts, and the curve of every place."""
    affine = contrast.space.affine
    background = background_of(Volume(contrast.searched.astype(np.float32), affine))
    words = {"own": "by the correction of each", "multiverse": "over all alternatives"}
    for desc, counts in contrast.counts.items():
        volume = Volume(counts.astype(np.float32), affine)
        title = f"{contrast.name}: alternatives in which a voxel survives {words[desc]}"
        path = folder / f"{contrast.label}-{desc}.png"
        yield draw_counts(path, volume, len(described), title, background)
    choices = [one.choices for one in described]
    for number, place in enumerate(contrast.places):
        for of in ("peak", "mean"):
            rows = [r for r in contrast.curves if r["place"] == place.name and r["of"] == of]
            if rows:
                where = ", ".join(rounded(v) for v in place.mm)
                what = f"at ({where}) mm" if of == "peak" else "mean over its voxels"
                title = f"{contrast.name}, {place.name}, {what}"
                path = folder / f"{contrast.label}-{number}-{of}.png"
                yield draw_specification(path, rows, choices, alpha, "effect", title)
