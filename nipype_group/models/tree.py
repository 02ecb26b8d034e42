"""The maps of a derivative tree, with what names, tables and the model say of each."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nipype_group.design.extent import people_of
from nipype_group.design.folders import natural_key, walk
from nipype_group.design.observations import joined_rows
from nipype_group.design.sources import (
    ENTITY_ALIASES,
    MapEntry,
    bids_images,
    not_taken,
    parse_bids_name,
    parse_selection,
    value_chosen,
    with_variances,
)
from nipype_group.images import image_suffixes
from nipype_group.models.places import ModelFileError, known_name
from nipype_group.models.scans import scan_variables
from nipype_group.tsv import with_numbers
from nipype_group.whole_files import AnyPath

# What is taken where nothing is selected, as FitLins names effects, and their variances.
EFFECTS = ("stat=effect", "suffix=statmap")
VARIANCES = ("stat=variance",)
_LONG_NAMES = {short: long for long, short in ENTITY_ALIASES.items()}
# They say of what kind an image is, and are no variable.
_KINDS = ("suffix", "extension", "stat")
# Of images of the first level, which a model's Input selects.
_OF_TIME_SERIES = ("suffix", "extension", "datatype", "desc", "description", "scope")
_SHOWN = 10


@dataclass(frozen=True)
class TreeMaps:
    """Maps of a derivative tree.

    Parameters
    ----------
    entries : list of MapEntry
        Participant, file and variance of every map.
    table : DataFrame
        A row a map: entities by their long names (text), and the columns of participants.tsv and
        of tables of sessions and scans.
    entities : list of str
        Those of the columns that are entities.
    notes : tuple of str
        What a user is told.
    """

    entries: list[MapEntry]
    table: pd.DataFrame
    entities: list[str]
    notes: tuple[str, ...] = ()


def long_name(entity: str) -> str:
    """Return the name by which models know an entity.

    Examples
    --------
    >>> long_name("sub"), long_name("task")
    ('subject', 'task')
    """
    return _LONG_NAMES.get(entity, entity)


def is_of_input(entity: str) -> bool:
    """Tell whether a model's Input selects maps by an entity.

    Examples
    --------
    >>> is_of_input("task"), is_of_input("suffix")
    (True, False)
    """
    return ENTITY_ALIASES.get(entity, entity) not in (*_OF_TIME_SERIES, *_KINDS, "node")


def same_label(first: str, second: str) -> bool:
    """Tell whether two names are one but for case and signs, as names of files leave signs out.

    Examples
    --------
    >>> same_label("a_vs_b", "aVsB"), same_label("a", "b")
    (True, False)
    """
    return _bare(first) == _bare(second)


def _bare(text: str) -> str:
    return re.sub(r"[\W_]", "", text).casefold()


def find_tree_maps(
    files: Mapping[str, Any],
    model_input: Mapping[str, Sequence[str]],
    path: AnyPath,
    variances: bool = False,
) -> TreeMaps:
    """Find the maps of a model in a derivative tree.

    Parameters
    ----------
    files : dict
        ``bids_dir``, and where they are given ``select``, ``variance_select`` and
        ``participants``, as `init_group_wf` takes them.
    model_input : dict
        Input of the model; what no map's name has is told and has no part.
    path : path
        File of the model, for messages.
    variances : bool
        Whether the variances of the maps are looked for.

    Returns
    -------
    TreeMaps

    Raises
    ------
    ModelFileError
        Where no map has what Input selects.
    ValueError
        Where no image is selected, or two images have the same entities.
    """
    top = Path(files["bids_dir"])
    asked = files.get("select") or EFFECTS
    selection = parse_selection(asked)
    found = _selected(top, selection)
    if not found:
        more = "" if files.get("select") else " (--select names other maps)"
        raise ValueError(f"{top}: no image has {' '.join(asked)}{more}")
    selected = {entities["sub"] for _, entities in found}
    found, notes = _of_input(found, model_input, path)
    entries = _in_order(_entries(top, found, selection), model_input)
    if variances:
        wanted = selection | parse_selection(files.get("variance_select") or VARIANCES)
        others = _entries(top, _selected(top, wanted), wanted)
        entries = with_variances(entries, others)
    notes += tuple(_left(top, selection, entries, selected))
    people = people_of(entries, {n: files[n] for n in ("bids_dir", "participants") if n in files})
    table = pd.DataFrame(joined_rows(entries, people), dtype=object)
    scans, told = scan_variables(files, entries)
    notes += tuple(told)
    for name in scans:
        if name in table:
            raise ValueError(
                f"{name} is a column of the tables of scans and of those of participants or "
                "sessions; rename one"
            )
        table[name] = scans[name]
    names = list(dict.fromkeys(name for entry in entries for name in entry.conditions))
    table.insert(0, "subject", [entry.participant for entry in entries])
    entities = ["subject", *names]
    return TreeMaps(entries, with_numbers(table, entities), entities, notes)


def _selected(top, selection):
    return [
        (path, entities)
        for path, entities in bids_images(top)
        if all(value_chosen(k, entities, values) is not None for k, values in selection.items())
    ]


def _of_input(found, model_input, path):
    """Return the images that a model's Input means."""
    notes = []
    for key, values in model_input.items():
        short = ENTITY_ALIASES.get(key, key)
        if short in _OF_TIME_SERIES:
            notes.append(
                f"Input.{key} is of the images of the first level and has no part; maps are "
                "selected by --select"
            )
            continue
        if not any(short in entities for _, entities in found):
            notes.append(f"Input.{key} is no entity of the maps and has no part")
            continue
        labels = [v.removeprefix(f"{short}-") for v in values]
        chosen = [value_chosen(short, entities, labels) for _, entities in found]
        kept = [each for each, value in zip(found, chosen, strict=True) if value is not None]
        if kept and (absent := [label for label in labels if label not in chosen]):
            notes.append(f"Input.{key}: no map has {', '.join(absent)}")
        if not kept:
            seen = sorted({e[short] for _, e in found if short in e}, key=natural_key)
            raise ModelFileError(
                path,
                f"Input.{key}",
                f"no map has {key} {', '.join(values)}; there are {', '.join(seen[:_SHOWN])}",
            )
        found = kept
    return found, tuple(notes)


def _in_order(entries, model_input):
    """Return maps as ``--select`` orders them, by Input where it has several values of a key."""
    order = {long_name(key): values for key, values in model_input.items() if len(values) > 1}
    order.pop("subject", None)
    if not order:
        return entries

    def place(entry):
        at = []
        for name, values in order.items():
            short = ENTITY_ALIASES.get(name, name)
            own = {short: entry.conditions.get(name)}
            labels = [value.removeprefix(f"{short}-") for value in values]
            chosen = value_chosen(short, own, labels)
            at.append(labels.index(chosen) if chosen in labels else len(labels))
        return natural_key(entry.participant), at

    return sorted(entries, key=place)


def _left(top, selection, entries, selected):
    """Yield who lies in the tree and has no map, and why."""
    by_reason: dict[str, list[str]] = {}
    for label, reason in not_taken(top, selection, entries).items():
        why = "Input of the model takes others" if label in selected else reason
        by_reason.setdefault(why, []).append(label)
    for reason, labels in by_reason.items():
        more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
        yield f"no map of {', '.join(labels[:_SHOWN])}{more}: {reason}"


def _entries(top, found, selection):
    """Return the images as entries, in natural order; entities are their conditions."""
    single = [key for key, values in selection.items() if len(values) == 1]
    entries, seen = [], {}
    for path, entities in sorted(found, key=lambda item: natural_key(item[0].as_posix())):
        conditions = {
            long_name(key): value
            for key, value in entities.items()
            if key not in (*_KINDS, "sub") and (key not in single or key == "node")
        }
        key = (entities["sub"], *sorted(conditions.items()))
        if key in seen:
            raise ValueError(
                f"{seen[key]} and {path} have the same entities but for what is selected; select "
                "one of them by --select"
            )
        seen[key] = path
        name = path.relative_to(top).as_posix()
        entries.append(MapEntry(entities["sub"], path, name, conditions))
    names = list(dict.fromkeys(name for entry in entries for name in entry.conditions))
    for entry in entries:
        for name in names:
            entry.conditions.setdefault(name, None)
    return entries


def find_mask(top: AnyPath, entities: Mapping[str, Sequence[str]]) -> Path:
    """Find the mask of all participants by its entities.

    Parameters
    ----------
    top : path
        The tree.
    entities : dict
        Entities, suffix and extension.

    Raises
    ------
    ValueError
        Where there is none, or several.
    """
    wanted = {ENTITY_ALIASES.get(key, key): values for key, values in entities.items()}
    found = []
    for path in walk(Path(top)):
        if not path.name.endswith(image_suffixes()):
            continue
        # A mask of all is of no participant.
        name = path.name if path.name.startswith("sub-") else f"sub-all_{path.name}"
        parsed = parse_bids_name(name)
        if parsed and all(value_chosen(k, parsed, v) is not None for k, v in wanted.items()):
            found.append(path)
    said = " ".join(f"{key}={','.join(values)}" for key, values in entities.items())
    if not found:
        raise ValueError(f"no image has {said}; give the mask by --mask")
    if len(found) > 1:
        raise ValueError(
            f"{len(found)} images have {said}, as {found[0].name} and {found[1].name}; one mask "
            "of all participants is needed: give it by --mask, or leave it to the maps"
        )
    return found[0]


def rows_with(table: pd.DataFrame, name: str, values: Iterable[str]) -> pd.Series:
    """Tell which rows have one of the values of an entity or variable.

    Parameters
    ----------
    table : DataFrame
    name : str
        Column; contrasts are known by letters and digits alone, indexes by their number.
    values : iterable of str

    Returns
    -------
    Series of bool

    Raises
    ------
    ValueError
        Where there is no such column, or a value that no row has.
    """
    if name not in table:
        raise ValueError(f"{name} is no entity of the maps{known_name(name, map(str, table))}")
    kept = pd.Series(False, index=table.index)
    for value in values:
        label = value.removeprefix(f"{ENTITY_ALIASES.get(name, name)}-")
        has = pd.Series([_is(name, own, label) for own in table[name]], index=table.index)
        if not has.any():
            own = table[name].dropna()
            texts = {f"{v:g}" if isinstance(v, float) else str(v) for v in own}
            seen = sorted(texts, key=natural_key)
            there = f"there are {', '.join(seen[:_SHOWN])}" if seen else f"none has a {name}"
            raise ValueError(f"no map has {name} {value}; {there}")
        kept |= has
    return kept


def _is(name, own, value):
    if pd.isna(own):
        return False
    if name == "contrast":
        return same_label(str(own), value)
    if isinstance(own, str):
        return value_chosen(name, {name: own}, [value]) is not None
    try:
        return float(own) == float(value)
    except ValueError:
        return False
