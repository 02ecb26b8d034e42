"""Analyses side by side: one of every value of an entity, a placeholder or a column."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from nipype_group.choices import nearest
from nipype_group.design.contrasts import contrast_label
from nipype_group.design.folders import natural_key
from nipype_group.design.participants.map_covariates import split_covariate
from nipype_group.design.sources import (
    ENTITY_ALIASES,
    RESERVED,
    bids_images,
    escape_pattern,
    find_pattern_maps,
    parse_selection,
    value_chosen,
)
from nipype_group.images.sub_bricks import split_part
from nipype_group.tsv import columns_found, read_tsv, tsv_text
from nipype_group.whole_files import AnyPath, keep_text

# What selects all values of an entity.
ALL = "*"
MAPS_NAME = "maps.tsv"
_PARTICIPANT = ("sub", "subject", "participant_id")
# Bytes of the name of a folder, so that names of files in it fit beside it.
_LONGEST_LABEL = 200


@dataclass(frozen=True)
class MapsOfValue:
    """The maps of one analysis of several.

    Parameters
    ----------
    named : dict
        What the analysis is of: entity, placeholder or column to its value.
    files : dict
        Inputs of `init_group_wf` that take these maps alone; of a table of maps all but that.
    rows : DataFrame, optional
        Of a table of maps the rows that are in.
    folder : Path, optional
        Where paths in these rows start.
    """

    named: dict[str, str]
    files: dict[str, Any]
    rows: pd.DataFrame | None = field(default=None, repr=False)
    folder: Path | None = None

    @property
    def label(self) -> str:
        """What names of folders call it, as contrast-faces."""
        return values_label(self.named)

    @property
    def title(self) -> str:
        """What a user is told it is of."""
        return ", ".join(f"{name} {value}" for name, value in self.named.items())

    def written(self, place: AnyPath) -> dict[str, Any]:
        """Return the inputs, with a table of the rows written to a folder where there are rows."""
        if self.rows is None:
            return self.files
        place, table = Path(place), self.rows.copy()
        given = (split_covariate(item) for item in self.files.get("map_covariates", ()))
        for name in ("map", "variance", *(n for n, path in given if path is None)):
            if name in table:
                table[name] = [_from(place, self.folder, text) for text in table[name]]
        place.mkdir(parents=True, exist_ok=True)
        path = keep_text(place / MAPS_NAME, tsv_text(table))
        return {**self.files, "maps_table": str(path.absolute())}


def values_label(values: Mapping[str, str]) -> str:
    """Return what names of folders call an analysis of some values.

    Examples
    --------
    >>> values_label({"task": "n-back", "contrast": "2 > 0"})
    'task-nBack_contrast-20'
    """
    return "_".join(
        f"{contrast_label(key)}-{contrast_label(value) or 'none'}" for key, value in values.items()
    )


def open_entities(select: Iterable[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the entities that a selection leaves open, and the rest of its items.

    Examples
    --------
    >>> open_entities(["stat=effect", "contrast=*"])
    (('contrast',), ['stat=effect'])
    """
    items = list(select)
    left = [item for item in items if item.partition("=")[2].strip() == ALL]
    names = tuple(item.partition("=")[0].strip() for item in left)
    return names, [item for item in items if item not in left]


def maps_of_each(
    files: Mapping[str, Any], each: Sequence[str]
) -> tuple[list[MapsOfValue], list[str]]:
    """Return the parts of maps of which every one is an analysis of its own.

    Parameters
    ----------
    files : dict
        Inputs of `init_group_wf`; those that name maps are of all analyses.
    each : sequence of str
        Entities of BIDS derivatives, placeholders of a pattern, or columns of a table of maps.

    Returns
    -------
    parts : list of MapsOfValue
        In natural order of the values; an entity that the selection names in its order.
    notes : list of str
        What is in no analysis.

    Raises
    ------
    ValueError
        Where a name is unknown or tells participants, where no map has a value of it, or where
        two values would have one name.
    """
    for name in each:
        if name in (*_PARTICIPANT, *RESERVED):
            raise ValueError(
                f"each: {name} tells no analyses apart: every one is of several participants and "
                "their maps; name what differs between the maps of a participant"
            )
    if twice := [name for name in each if each.count(name) > 1]:
        raise ValueError(f"each names {twice[0]} twice")
    if "bids_dir" in files:
        parts, notes = _of_entities(files, each)
    elif "pattern" in files:
        parts, notes = _of_placeholders(files, each)
    elif "maps_table" in files:
        parts, notes = _of_columns(files, each)
    else:
        raise ValueError(
            "each: the volumes of one 4D image are one analysis; name the maps by a table, a "
            "pattern or entities, or give each 4D image a run of its own"
        )
    _check_labels(parts)
    return parts, notes


def _of_entities(files, each):
    """Return the parts of BIDS derivatives."""
    top = Path(files["bids_dir"])
    names = [ENTITY_ALIASES.get(name, name) for name in each]
    selection = parse_selection(files.get("select", ()))
    rest = {key: values for key, values in selection.items() if key not in names}
    seen: dict[str, list[str]] = {name: list(selection.get(name, ())) for name in names}
    known: set[str] = set()
    found, n_without = {}, 0
    for _, entities in bids_images(top):
        if any(value_chosen(key, entities, values) is None for key, values in rest.items()):
            continue
        known |= entities.keys()
        if any(name not in entities for name in names):
            n_without += 1
            continue
        combination = []
        for name in names:
            # An index, as run, has one name for all ways to write its number.
            value = value_chosen(name, entities, seen[name])
            if value is None and name not in selection:
                value = entities[name]
                seen[name].append(value)
            combination.append(value)
        if None not in combination:
            found[tuple(combination)] = None
    if not found:
        wanted = " ".join(f"{key}={','.join(values)}" for key, values in selection.items())
        lacking = [name for name in names if name not in known]
        raise ValueError(
            f"{top}: no image that has {wanted or 'a subject'} has {' and '.join(names)}"
            + (f"{nearest(lacking[0], known)}; entities found: {', '.join(sorted(known))}")
            * bool(lacking)
        )
    order = {n: {v: i for i, v in enumerate(values)} for n, values in selection.items()}
    parts = []
    for combination in sorted(found, key=lambda c: _order(names, c, order)):
        values = dict(zip(names, combination, strict=True))
        for name, value in values.items():
            if "," in value or value.strip() != value or value == ALL:
                raise ValueError(
                    f"{top}: {name} has the value {value!r}, which a selection cannot name; "
                    "rename its files"
                )
        kept = [f"{key}={','.join(given)}" for key, given in rest.items()]
        kept += [f"{name}={value}" for name, value in values.items()]
        parts.append(MapsOfValue(values, {**files, "select": kept}))
    return parts, _not_in(n_without, "image", names)


def _order(names, combination, order):
    return [
        (order[name][value], []) if name in order else (0, natural_key(value))
        for name, value in zip(names, combination, strict=True)
    ]


def _of_placeholders(files, each):
    """Return the parts of a pattern."""
    pattern = files["pattern"]
    entries = find_pattern_maps(pattern, files.get("left_out_folders", ()))
    known = list(entries[0].conditions)
    for name in each:
        if name not in known:
            raise ValueError(
                f"pattern {pattern!r} has no {{{name}}}{nearest(name, known)}; write {{{name}}} "
                "where names of files tell it"
            )
    found = dict.fromkeys(tuple(e.conditions[name] for name in each) for e in entries)
    parts = []
    for combination in sorted(found, key=lambda c: [natural_key(value) for value in c]):
        values = dict(zip(each, combination, strict=True))
        own = {
            key: _filled(files[key], values)
            for key in ("pattern", "variance_pattern")
            if key in files
        }
        if "map_covariates" in files:
            own["map_covariates"] = [_filled(item, values) for item in files["map_covariates"]]
        parts.append(MapsOfValue(values, {**files, **own}))
    return parts, []


def _filled(pattern, values):
    for name, value in values.items():
        pattern = pattern.replace(f"{{{name}}}", escape_pattern(value))
    return pattern


def _of_columns(files, each):
    """Return the parts of a table of maps."""
    path = Path(files["maps_table"])
    table = read_tsv(path)
    for name in each:
        if name not in table:
            raise ValueError(
                f"{path}: no column {name}{nearest(name, table.columns)} "
                f"({columns_found(table, path)})"
            )
    has_all = table[list(each)].notna().all(axis=1)
    if not has_all.any():
        raise ValueError(f"{path}: no row has a value of {' and '.join(each)}")
    common = {key: value for key, value in files.items() if key != "maps_table"}
    groups = table[has_all].groupby(list(each), sort=False)
    parts = []
    for combination, own in sorted(groups, key=lambda g: [natural_key(v) for v in g[0]]):
        values = dict(zip(each, combination, strict=True))
        rows = own.drop(columns=list(each)).reset_index(drop=True)
        parts.append(MapsOfValue(values, common, rows, path.parent))
    return parts, _not_in(int((~has_all).sum()), "row", each)


def _not_in(number, what, names):
    """Say how many maps have no value and so are in no analysis."""
    if not number:
        return []
    verb = "is" if number == 1 else "are"
    plural = "s" * (number > 1)
    return [f"{number} {what}{plural} without {' or '.join(names)} {verb} in no analysis"]


def _from(place, folder, text):
    """Return a path of a table as another folder's table names it."""
    if not isinstance(text, str):
        return text
    path = split_part(text)[0]
    return os.path.relpath(folder / path, place) + text[len(path) :]


def _check_labels(parts):
    """Refuse values that names of folders cannot tell apart."""
    known: dict[str, MapsOfValue] = {}
    for part in parts:
        for name, value in part.named.items():
            if not contrast_label(value):
                raise ValueError(
                    f"each: the {name} {value!r} has no letter or digit that could name a folder; "
                    "rename it"
                )
        if len(part.label) > _LONGEST_LABEL:
            raise ValueError(f"each: {part.title[:80]}... is too long to name a folder; rename it")
        # Some disks take capitals and small letters for the same.
        other = known.setdefault(part.label.casefold(), part)
        if other is not part:
            raise ValueError(
                f"each: {other.title!r} and {part.title!r} would both be called {part.label}; "
                "rename one"
            )
