"""Group results of HALFpipe: names of BIDS derivatives with a feature, and maps of the dof."""

import re
from pathlib import Path

import numpy as np

from nipype_group.images import Grid, MapError, open_image, read_mask
from nipype_group.peers.dof import constant_dof
from nipype_group.peers.found import (
    FoundResults,
    FoundStatistic,
    images_in,
    text_of,
)

LOOKED_FOR = (
    "HALFpipe: feature-NAME_..._contrast-NAME_stat-z_statmap (or stat-t, stat-f) without sub-, in "
    "grouplevel/func"
)
_NAME = re.compile(r"(?P<before>.+)_stat-(?P<stat>[tfz])_statmap")
# Folders of the group level lie in one another: session, func, task and feature, model.
_FOLDER = re.compile(r"func|(?:ses|task|feature|setting|model)-.+")
_DEPTH = 5
_VARY = "Degrees of freedom vary by voxel, from {:g} to {:g}: of the maps that have it."


def is_halfpipe(stem: str) -> bool:
    """Tell whether a name is that of a group map of HALFpipe, which names the feature.

    Examples
    --------
    >>> is_halfpipe("task-a_feature-b_model-c_contrast-age_stat-z_statmap")
    True
    >>> is_halfpipe("sub-1_task-a_feature-b_stat-z_statmap"), is_halfpipe("contrast-a_stat-z")
    (False, False)
    """
    return bool(re.search(r"(?:^|_)feature-", stem)) and not re.search(r"(?:^|_)sub-", stem)


def find_halfpipe(folder: Path, start: str = "") -> FoundResults | None:
    """Find the group results of HALFpipe; None where there are none.

    Parameters
    ----------
    folder : Path
        HALFpipe's folder with ``grouplevel``, that, or a folder in it.
    start : str
        How names begin; if given, only the folder itself is looked into.

    Raises
    ------
    MapError
        Where a map of the degrees of freedom cannot be read, lies on another grid than its mask,
        or has none in it.
    """
    top = Path(folder)
    groups: dict[tuple[Path, str], set[str]] = {}
    for inner in [top] if start else _folders(top):
        for stem in images_in(inner, top, start):
            match = _NAME.fullmatch(stem)
            if match and is_halfpipe(stem) and "contrast" in _entities(match["before"]):
                groups.setdefault((inner, match["before"]), set()).add(match["stat"])
    groups = dict(sorted(groups.items()))
    names = _names([before for _, before in groups])
    statistics, designs, weights, notes = [], [], {}, []
    for ((inner, before), stats), name in zip(groups.items(), names, strict=True):
        found, more = _statistic(images_in(inner, top), before, stats, name)
        notes += more
        if found is not None:
            statistics.append(found)
            designs.append(_table(inner, top, before, "design"))
            weights[name] = _weights(_table(inner, top, before, "contrast"), before)
    if not statistics:
        return None
    first = designs[0]
    same = first is not None and all(
        d is not None and first[0] == d[0] and np.array_equal(first[2], d[2]) for d in designs
    )
    return FoundResults(
        package="HALFpipe",
        statistics=tuple(statistics),
        design=(first[0], first[2]) if same else None,
        contrasts={n: rows for n, rows in weights.items() if rows is not None} or None,
        n_maps=len(first[2]) if same else None,
        notes=tuple(notes),
    )


def _folders(top):
    """Return the folder and those of the group level below it; no other is entered."""
    below = top / "grouplevel"
    found, layer = [], [below if below.is_dir() else top]
    for _ in range(_DEPTH):
        found += layer
        layer = [
            inner
            for outer in layer
            for inner in sorted(outer.iterdir())
            if _FOLDER.fullmatch(inner.name) and inner.is_dir()
        ]
    return found


def _entities(before):
    """Return the entities of a name.

    Examples
    --------
    >>> _entities("task-rest_contrast-age")
    {'task': 'rest', 'contrast': 'age'}
    """
    pairs = (part.partition("-") for part in before.split("_"))
    return {key: value for key, dash, value in pairs if dash}


def _names(stems):
    """Name contrasts by themselves, after the values of the entities in which they differ.

    Examples
    --------
    >>> _names(["task-a_model-m_contrast-age", "task-b_model-m_contrast-age"])
    ['a: age', 'b: age']
    """
    every = [_entities(before) for before in stems]
    keys = [key for key in dict.fromkeys(k for e in every for k in e) if key != "contrast"]
    differ = [key for key in keys if len({e.get(key) for e in every}) > 1]
    return [
        ": ".join(filter(None, (" ".join(e[k] for k in differ if k in e), e["contrast"])))
        for e in every
    ]


def _statistic(images, before, stats, name):
    """Return what belongs to one contrast, None where there is only z of F; and notes."""
    # HALFpipe keeps the t of the rows of an F beside it.
    stat = next(s for s in ("f", "t", "z") if s in stats)
    stem = f"{before}_stat-"
    mask = next(
        (images[n] for n in (f"{before}_mask", f"{stem}mask_statmap") if n in images), None
    )
    dof_file = images.get(f"{stem}dof_statmap")
    n_dof, dof, varies = (0, (), ()) if dof_file is None else _dof_of(dof_file, mask)
    if stat == "z" and n_dof == 2:
        text = f"{stem}z_statmap is not taken: there is no stat-f, and its z has one side."
        return None, [text]
    if n_dof and n_dof != (2 if stat == "f" else 1):
        raise MapError(
            dof_file, f"holds {n_dof} volumes, degrees of freedom are one of t and two of F"
        )
    own = {}
    if stat != "f":
        own["effect_file"] = images.get(f"{stem}effect_statmap")
        own["variance_file"] = images.get(f"{stem}variance_statmap")
    found = FoundStatistic(
        name=name,
        package="HALFpipe",
        stat_type=stat.upper() if stat == "f" else stat,
        stat_file=images[f"{stem}{stat}_statmap"],
        dof=dof,
        dof_file=dof_file if varies else None,
        z_file=images.get(f"{stem}z_statmap") if stat != "z" else None,
        mask_file=mask,
        notes=(_VARY.format(*varies),) if varies else (),
        **own,
    )
    return found, []


def _dof_of(path, mask_file):
    """Return how many degrees of freedom a map has, they where constant, else the last's range."""
    image = open_image(path, kind=Grid)
    inside = None if mask_file is None else read_mask(mask_file, image.space)[0]
    found = []
    for volume in range(image.n_maps):
        values = image.values(volume).reshape(image.shape[:3])
        values = values if inside is None else values[inside]
        values = values[np.isfinite(values) & (values > 0)]
        if not values.size:
            raise MapError(path, "has no degrees of freedom above 0 in the mask; move it away")
        found.append((constant_dof(values), float(values.min()), float(values.max())))
    if all(one is not None for one, _, _ in found):
        return len(found), tuple(one for one, _, _ in found), ()
    return len(found), (), found[-1][1:]


def _table(folder, top, before, kind):
    """Return columns, row names and numbers of a model's table; None where it has others."""
    before = re.sub(r"(?:^|_)contrast-[^_]+", "", before)
    texts = (
        text_of(folder / f"{before}_{name}_matrix.tsv", top) for name in (kind, f"desc-{kind}")
    )
    lines = [line.split("\t") for line in next(filter(None, texts), "").splitlines()]
    try:
        # The first column are participants, or contrasts, and has no name.
        columns, rows = tuple(lines[0][1:]), lines[1:]
        numbers = np.array([row[1:] for row in rows], dtype=float).reshape(len(rows), -1)
    except (IndexError, ValueError):
        return None
    if not rows or numbers.shape[1] != len(columns) or not np.isfinite(numbers).all():
        return None
    return columns, [row[0] for row in rows], numbers


def _weights(table, before):
    """Return the rows of the contrasts' table that a name is of; None where there are none."""
    if table is None:
        return None
    own = _plain(_entities(before)["contrast"])
    rows = table[2][[_plain(name) == own for name in table[1]]]
    return rows if len(rows) else None


def _plain(name):
    """Return letters and digits of a name, which is all that HALFpipe keeps in those of files.

    Examples
    --------
    >>> _plain("patient > control_2"), _plain("patientGtControl2")
    ('patientgtcontrol2', 'patientgtcontrol2')
    """
    for sign, word in (("<>", "vs"), (">", "gt"), ("<", "lt")):
        name = name.replace(sign, word)
    return re.sub(r"[\W_]+", "", name).lower()
