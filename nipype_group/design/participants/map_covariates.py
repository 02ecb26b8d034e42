"""Covariates that are maps: where the files of every map lie, and which cannot be used."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nipype_group.design.sources import RESERVED, MapEntry, parse_bids_name
from nipype_group.images import MapError, array_sha256, check_same_space, read_map
from nipype_group.images.volumes import space_of_map
from nipype_group.tsv import repeated

_SHOWN = 10


def split_covariate(item: str) -> tuple[str, str | None]:
    """Split NAME=PLACE into the name of a covariate and where its maps lie; None in a column.

    Raises
    ------
    ValueError
        Where the name is empty, or one that tables of maps have for their own.

    Examples
    --------
    >>> split_covariate("grey=anat/{subject}_gm.nii.gz"), split_covariate("grey")
    (('grey', 'anat/{subject}_gm.nii.gz'), ('grey', None))
    """
    name, equals, place = item.partition("=")
    name, place = name.strip(), place.strip()
    if not name or (equals and not place):
        raise ValueError(
            f"covariate of maps {item!r} is not NAME=GLOB with {{subject}}, NAME=4D, or NAME of a "
            "column of the table of maps"
        )
    if name in (*RESERVED, "participant_id", "intercept"):
        raise ValueError(
            f"a covariate of maps is called {name}, which tables of maps and designs have for "
            "their own; give it another name"
        )
    return name, place or None


def covariate_names(items: Iterable[str]) -> tuple[str, ...]:
    """Return the names of covariates that are maps.

    Raises
    ------
    ValueError
        As `split_covariate`, and where two have one name.
    """
    names = [split_covariate(item)[0] for item in items]
    if twice := repeated(names):
        raise ValueError(f"two covariates of maps are called {', '.join(twice)}; rename one")
    return tuple(names)


def with_map_covariate(
    entries: Sequence[MapEntry], name: str, found: Sequence[MapEntry]
) -> list[MapEntry]:
    """Give every map the covariate map of the same participant and conditions.

    Parameters
    ----------
    entries : sequence of MapEntry
    name : str
        Of the covariate.
    found : sequence of MapEntry
        Its maps. Of conditions that they do not tell, all maps of a participant share one.

    Returns
    -------
    list of MapEntry
        Where a map has none its entry has none.

    Raises
    ------
    ValueError
        Where a map has two, or none of the maps has one; where they tell a condition that the
        maps do not.
    """
    known = list(found[0].conditions) if found else []
    strange = [c for c in known if entries and c not in entries[0].conditions]
    if strange:
        raise ValueError(
            f"covariate {name}: its pattern names {', '.join(strange)}, which is no condition of "
            "the maps; write * for it"
        )
    places: dict[tuple, MapEntry] = {}
    for entry in found:
        first = places.setdefault(_key(entry, known), entry)
        if first is not entry:
            raise ValueError(
                f"covariate {name}: participant {entry.participant} has two maps of it, "
                f"{first.path} and {entry.path}; name one in the pattern"
            )
    joined = []
    for entry in entries:
        own = places.get(_key(entry, known))
        more = {} if own is None else {name: own.path}
        joined.append(replace(entry, map_covariates={**entry.map_covariates, **more}))
    if entries and not any(name in e.map_covariates for e in joined):
        raise ValueError(
            f"covariate {name}: no map of it is of a participant of the maps, as "
            f"{found[0].path if found else 'there are none'}"
        )
    return joined


def _key(entry, conditions):
    return entry.participant, *(str(entry.conditions.get(c)) for c in conditions)


def check_map_covariates(
    rows: Sequence[tuple[MapEntry, Mapping[str, Any]]],
    names: Sequence[str],
    header_of: Any = None,
    zero_is_value: bool = False,
) -> tuple[list[tuple[MapEntry, Mapping[str, Any]]], list[tuple[MapEntry, str]]]:
    """Return the maps that have all covariates, and the others with a reason.

    Parameters
    ----------
    rows : sequence of (MapEntry, dict)
    names : sequence of str
        Of the covariates.
    header_of : callable, optional
        With it no values are read, as `nipype_group.design.observations.collect` takes it.
    zero_is_value : bool
        Whether a voxel of 0 has a value.

    Returns
    -------
    good : list of (MapEntry, dict)
    bad : list of (MapEntry, str)
    """
    users: dict[tuple[str, Any], set[str]] = {}
    for entry, _ in rows:
        for name, path in entry.map_covariates.items():
            users.setdefault((name, path.resolve()), set()).add(entry.participant)
    contents: dict[tuple[str, str], dict[str, Path]] = {}
    good, bad = [], []
    for entry, row in rows:
        reason = None
        for name in names:
            reason = reason or _why_unusable(
                entry, name, users, contents, header_of, zero_is_value
            )
        reason = reason or _why_alike(entry, names)
        if reason is None:
            good.append((entry, row))
        else:
            bad.append((entry, reason))
    return good, bad


def _why_alike(entry, names):
    """Say which covariates of a map are one file, and so none beside each other."""
    known: dict[Path, str] = {}
    for name in names:
        path = entry.map_covariates[name]
        first = known.setdefault(path.resolve(), name)
        if first != name:
            return f"its covariates {first} and {name} are one file, {path}"
    return None


def _why_unusable(entry, name, users, contents, header_of, zero_is_value):
    """Return why a covariate of a map cannot be used, None where it can."""
    path = entry.map_covariates.get(name)
    if path is None:
        return f"it has no map of the covariate {name}"
    which = f"its covariate {name} {path}"
    if not path.is_file():
        return f"{which} does not exist"
    if path.resolve() == entry.path.resolve():
        return f"its covariate {name} is the map itself"
    others = sorted(users[name, path.resolve()] - {entry.participant})
    if others:
        return f"{which} is that of participant {', '.join(others[:_SHOWN])} too"
    own, named = (parse_bids_name(p.name) for p in (entry.path, path))
    if own and named and own["sub"] == entry.participant != named["sub"]:
        return f"{which} is of another participant, {named['sub']}"
    try:
        if header_of is not None:
            check_same_space(path, header_of(path), header_of(entry.path), "its map")
            return None
        values, space = read_map(path, zero_is_value)
        check_same_space(path, space, space_of_map(entry.path), "its map")
    except MapError as error:
        return f"{which}: {error.reason}"
    if np.isnan(values).all():
        zero = "" if zero_is_value else "0 or "
        return f"{which} is empty: every voxel is {zero}not finite"
    same = contents.setdefault((name, array_sha256(values)), {})
    same[entry.participant] = path
    other = next((p for who, p in same.items() if who != entry.participant), None)
    return None if other is None else f"{which} has the values of {other}"
