"""What tells two runs of alternatives of an analysis apart."""

import os
from pathlib import Path
from typing import Any

from nipype_group.processor import other_processor
from nipype_group.reporting.comparison.files import changed_keys, compare_all
from nipype_group.reporting.records.record import (
    ALTERNATIVES_FOLDER,
    ALTERNATIVES_NAME,
    HOW_SPLIT,
    PROVENANCE_NAME,
    ProvenanceRecord,
)
from nipype_group.reporting.records.ro_crate import CRATE_NAME

_OF_FILES = ("Maps", "Tables", "Others", "Rounding")
_OF_MAPS = ("map", "variance")
# What says which alternatives there are is told by them.
_TOLD = ("Alternatives", "Files")


def alternatives_in(place: str | os.PathLike[str]) -> Path | None:
    """Return the folder of alternatives that a place is or holds; None where it has none.

    Parameters
    ----------
    place : path
        The folder ``multiverse``, or the folder of results that it lies in where there are no
        other results.
    """
    place = Path(place).absolute()
    if (place / ALTERNATIVES_NAME).is_file():
        return place
    beside = any((place / "group").glob("*"))
    below = place / ALTERNATIVES_FOLDER
    return below if not beside and (below / ALTERNATIVES_NAME).is_file() else None


def compare_alternatives(first: Path, second: Path) -> dict[str, Any]:
    """Compare two runs of alternatives.

    Parameters
    ----------
    first, second : Path
        Folders that `alternatives_in` gives.

    Returns
    -------
    dict
        Only what differs: Inputs (OnlyFirst, OnlySecond, Changed: maps and variances; Files: what
        else is read), Alternatives (OnlyFirst, OnlySecond), Parameters (of alternatives that are
        in both), Versions, Maps, Tables, Others, Rounding, OnlyFirst, OnlySecond (files) and
        LikelyCause, as `compare_runs` tells them.

    Raises
    ------
    ValueError
        Where one has no record.
    """
    folders = (first, second)
    records = [ProvenanceRecord.read(folder) for folder in folders]
    contents = [record.content for record in records]
    found: dict[str, Any] = {
        "Inputs": _inputs(contents),
        "Alternatives": _alternatives(contents),
        "Parameters": _parameters(contents),
        "Versions": changed_keys(*(content["SoftwareVersions"] for content in contents)),
    }
    asked_for = any(found[name] for name in ("Inputs", "Alternatives", "Parameters"))
    alpha = contents[0]["Settings"].get("alpha")
    files = compare_all(*map(_files, folders), alpha=alpha, set_aside=_TOLD)
    for folder, section in zip(folders, ("OnlyFirst", "OnlySecond"), strict=True):
        files[section] = [path.relative_to(folder).as_posix() for path in files[section]]
    found |= files
    if not asked_for and any(files[name] for name in _OF_FILES):
        found["LikelyCause"] = other_processor(*(c.get("Processor", {}) for c in contents))
    return {section: what for section, what in found.items() if what}


def _files(folder):
    records = (PROVENANCE_NAME, CRATE_NAME)
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: path for name, path in named.items() if name not in records}


def _inputs(contents):
    read = [{(i["Role"], i["Name"]): i["SHA256"] for i in c["Inputs"]} for c in contents]
    one, other = ({k: v for k, v in own.items() if k[0] in _OF_MAPS} for own in read)
    # A file of another name may take the place of one.
    beside = [{r: (n, s) for (r, n), s in own.items() if r not in _OF_MAPS} for own in read]
    nothing = (None, None)
    found = {
        "OnlyFirst": [name for role, name in one if (role, name) not in other],
        "OnlySecond": [name for role, name in other if (role, name) not in one],
        "Changed": [k[1] for k in one if k in other and one[k] != other[k]],
        "Files": {
            role: [own.get(role, nothing)[0] for own in beside]
            for role in dict.fromkeys((*beside[0], *beside[1]))
            if len({own.get(role, nothing)[1] for own in beside}) > 1
        },
    }
    return {name: value for name, value in found.items() if value}


def _alternatives(contents):
    one, other = ([own["Name"] for own in content["Alternatives"]] for content in contents)
    found = {
        "OnlyFirst": [name for name in one if name not in other],
        "OnlySecond": [name for name in other if name not in one],
    }
    return {name: value for name, value in found.items() if value}


def _parameters(contents):
    """Return the settings that differ between alternatives of one name, told once for all."""
    one, other = ({a["Name"]: a["Settings"] for a in c["Alternatives"]} for c in contents)
    changed: dict[str, Any] = {}
    for name in one.keys() & other.keys():
        own = changed_keys(one[name], other[name])
        changed |= {key: value for key, value in own.items() if key not in HOW_SPLIT}
    return dict(sorted(changed.items()))
