"""BIDS' tables of scans as variables of maps, joined by the entities of their files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nipype_group.design.participants.tables import PARTICIPANTS_NAME, participants_path
from nipype_group.design.sources import MapEntry, parse_bids_name, value_chosen
from nipype_group.tsv import columns_found, read_tsv

# What tells one scan from another; a map keeps those that it is of.
_KEYS = ("ses", "task", "acq", "ce", "trc", "rec", "dir", "run", "echo")


def scan_variables(
    files: Mapping[str, Any], entries: Sequence[MapEntry]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns of the tables of scans, a row a map.

    They are ``sub-01/ses-1/sub-01_ses-1_scans.tsv``, or ``sub-01/sub-01_scans.tsv``, beside
    participants.tsv, or without one in the data set of the maps. A row belongs to a map where it
    has all entities of the map that tell scans apart. A map of several scans, as of all runs, has
    the values that they share.

    Parameters
    ----------
    files : dict
        ``bids_dir`` and, where it is given, ``participants``.
    entries : sequence of MapEntry
        Maps with names of BIDS.

    Returns
    -------
    columns : DataFrame
        Text, without value where no row is of the map or its rows differ.
    notes : list of str
        What a user is told.

    Raises
    ------
    ValueError
        Where a table has no column filename, or names a file that is none of BIDS.
    """
    table = participants_path(files)
    named = table is not None and table.name == PARTICIPANTS_NAME
    top = Path(table.parent if named and table is not None else files["bids_dir"])
    read: dict[Path, list[tuple[dict[str, str], dict[str, Any]]]] = {}
    made: list[dict[str, Any]] = []
    n_without = 0
    for entry in entries:
        own = parse_bids_name(entry.path.name) or {}
        found = []
        for path in _places(top, entry.participant, own.get("ses")):
            if path not in read:
                read[path] = _rows(path) if path.is_file() else []
            found += [values for scan, values in read[path] if _is_of(scan, own)]
        n_without += not found
        made.append(_shared(found))
    columns = pd.DataFrame(made, index=range(len(entries)), dtype=object)
    notes = []
    if n_without and len(columns.columns):
        notes.append(f"{n_without} maps have no row in the tables of scans, and no value of it")
    return columns, notes


def _places(top, label, session):
    folder, name = top / f"sub-{label}", f"sub-{label}"
    yield folder / f"{name}_scans.tsv"
    if session is not None:
        yield folder / f"ses-{session}" / f"{name}_ses-{session}_scans.tsv"


def _rows(path):
    """Return the entities and values of every scan of a table."""
    table = read_tsv(path)
    if "filename" not in table:
        raise ValueError(f"{path}: no column filename ({columns_found(table, path)})")
    rows = []
    for row in table.to_dict("records"):
        name = str(row.pop("filename"))
        entities = parse_bids_name(name.rpartition("/")[2])
        if entities is None:
            raise ValueError(f"{path}: filename {name!r} is no name of BIDS")
        rows.append((entities, row))
    return rows


def _is_of(scan, own):
    """Tell whether a scan has the entities of a map."""
    told = [key for key in _KEYS if key in own]
    return all(value_chosen(key, scan, [own[key]]) is not None for key in told)


def _shared(rows):
    """Return the values that rows share."""
    shared: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        alike = len({str(value) for value in values}) == 1
        shared[name] = values[0] if alike else None
    return shared
