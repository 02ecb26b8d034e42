"""Tables of participants, and of their sessions: which row belongs to a map."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nipype_group.design.folders import natural_key
from nipype_group.design.sources import (
    RESERVED,
    SESSION_COLUMNS,
    MapEntry,
    lines_by_session,
    session_label,
)
from nipype_group.tsv import columns_found, read_tsv

PARTICIPANTS_NAME = "participants.tsv"
# What maps have their session in: columns of tables, placeholders of patterns, BIDS' entity.
_OF_MAPS = (*SESSION_COLUMNS, "ses")
_IN_NAME = re.compile(r"(?:^|[/_])ses-([a-zA-Z0-9]+)")
_LABEL = re.compile(r"[a-zA-Z0-9]+")


def session_of(entry: MapEntry) -> str | None:
    """Return the session of a map: its column or placeholder, else ``ses-`` in its name.

    Examples
    --------
    >>> session_of(MapEntry("01", Path("a.nii"), "sub-01/ses-2/a.nii"))
    '2'
    """
    described = entry.covariates | entry.conditions
    for column in _OF_MAPS:
        if isinstance(described.get(column), str):
            return session_label(described[column])
    found = _IN_NAME.search(entry.name)
    return found.group(1) if found else None


def participants_path(files: Mapping[str, Any]) -> Path | None:
    """Return the table of participants that is given, or lies in the data set."""
    if files.get("participants") is not None:
        return Path(files["participants"])
    inside = Path(files["bids_dir"], PARTICIPANTS_NAME) if "bids_dir" in files else None
    return inside if inside is not None and inside.is_file() else None


def session_files(files: Mapping[str, Any], labels: Iterable[str]) -> dict[str, Path]:
    """Find BIDS' tables of sessions, ``sub-01/sub-01_sessions.tsv``.

    They lie beside participants.tsv, or without one in the data set of the maps.

    Parameters
    ----------
    files : dict
        Inputs of `init_group_wf`: ``bids_dir`` and ``participants``, where they are given.
    labels : iterable of str
        Participants of the maps.

    Returns
    -------
    dict of str to Path
        Of the participants who have one.
    """
    table = participants_path(files)
    named = table is not None and table.name == PARTICIPANTS_NAME
    top = table.parent if named and table is not None else files.get("bids_dir")
    if top is None:
        return {}
    found = {
        label: Path(top, f"sub-{label}", f"sub-{label}_sessions.tsv")
        for label in dict.fromkeys(labels)
        if _LABEL.fullmatch(label)
    }
    return {label: path for label, path in found.items() if path.is_file()}


def read_sessions(paths: Mapping[str, Path]) -> pd.DataFrame | None:
    """Read tables of sessions, indexed by participant.

    Parameters
    ----------
    paths : dict of str to Path
        As `session_files` finds them.

    Raises
    ------
    ValueError
        Without a session_id in every row, or with a session in two rows; names the file.
    """
    tables = []
    for label, path in paths.items():
        table = read_tsv(path)
        if "session_id" not in table:
            raise ValueError(f"{path}: no column session_id ({columns_found(table, path)})")
        lines_by_session(path, table, [label] * len(table), "session_id")
        table = table.drop(columns=[c for c in (*RESERVED, "participant_id") if c in table])
        tables.append(table.set_index(pd.Index([label] * len(table), name="label", dtype=object)))
    # Tables without rows tell no types.
    tables = [table for table in tables if len(table)] or tables[:1]
    return pd.concat(tables) if tables else None


@dataclass(frozen=True)
class PeopleTables:
    """The tables of participants and of sessions, and the row in them of a map.

    A table of participants with several rows of one has its sessions in a column ``session_id``
    or ``session``, and so has one whose column holds a session of the maps.

    Parameters
    ----------
    participants : DataFrame or None
        As `read_participants` gives it.
    sessions : DataFrame or None
        As `read_sessions` gives it.
    session_column : str or None
        Column of the table of participants by which its rows belong to maps, beside the label.
    """

    participants: pd.DataFrame | None
    sessions: pd.DataFrame | None
    session_column: str | None
    _rows: dict
    _session_rows: dict

    @classmethod
    def of(
        cls,
        entries: Sequence[MapEntry],
        participants: pd.DataFrame | None = None,
        sessions: pd.DataFrame | None = None,
    ) -> "PeopleTables":
        """Return the tables for maps."""
        column = None if participants is None else _session_column(participants, entries)
        rows = {} if participants is None else _rows_of(participants, column)
        own = {} if sessions is None else _rows_of(sessions, "session_id")
        return cls(participants, sessions, column, rows, own)

    @property
    def labels(self) -> list[str]:
        """Participants of the table, in its order."""
        return [] if self.participants is None else list(dict.fromkeys(self.participants.index))

    @property
    def columns(self) -> list[str]:
        """Columns of both tables."""
        tables = [t for t in (self.participants, self.sessions) if t is not None]
        return list(dict.fromkeys(column for table in tables for column in table))

    def of_participant(self, entry: MapEntry) -> dict:
        """Return the row of the table of participants that a map belongs to, empty for none."""
        session = session_of(entry) if self.session_column else None
        return self._rows.get((entry.participant, session), {})

    def of_session(self, entry: MapEntry) -> dict:
        """Return the row of the tables of sessions that a map belongs to, empty for none."""
        return self._session_rows.get((entry.participant, session_of(entry)), {})

    def lacks(self, entry: MapEntry) -> str:
        """Return why the table of participants has no row for a map, nothing where it has one."""
        if self.participants is None or self.of_participant(entry):
            return ""
        if self.session_column is None or entry.participant not in self.participants.index:
            return "no such participant in the participants table"
        session = session_of(entry)
        if session is None:
            return (
                "the participants table has a row a session, and nothing tells that of the map: "
                "give the table of maps a column session_id, write {session} in the pattern, or "
                "give one row a participant"
            )
        other = f"; where its column {self.session_column} tells something else, rename it"
        return (
            f"the participants table has no row of session {session} of the participant; it has "
            + self._sessions_of(self._rows, entry)
            + other * (not self.participants.index.has_duplicates)
        )

    def lacks_session(self, entry: MapEntry, columns: Collection[str]) -> str:
        """Return why columns of the tables of sessions are missing for a map, if they are."""
        if self.sessions is None or self.of_session(entry):
            return ""
        if not set(columns) & set(self.sessions.columns):
            return ""
        session = session_of(entry)
        if session is None:
            return ": nothing tells the session of the map"
        known = self._sessions_of(self._session_rows, entry)
        what = f"; it has {known}" if known else ""
        return f": sub-{entry.participant}_sessions.tsv has no row of session {session}{what}"

    def without_map(self, entries: Sequence[MapEntry]) -> list[tuple[str, str]]:
        """Return participants and sessions of the table of which no map is, of sessions with maps.

        Whoever has no map at all is not among them.
        """
        if self.session_column is None:
            return []
        have = {(entry.participant, session_of(entry)) for entry in entries}
        labels, sessions = ({key[i] for key in have} for i in range(2))
        return [
            key
            for key in self._rows
            if key not in have and key[0] in labels and key[1] in sessions
        ]

    def _sessions_of(self, rows: dict, entry: MapEntry) -> str:
        own = [str(session) for label, session in rows if label == entry.participant]
        return ", ".join(sorted(own, key=natural_key))


def _session_column(table: pd.DataFrame, entries: Sequence[MapEntry]) -> str | None:
    """Return the column of sessions by which rows belong to maps; None where labels do."""
    column = next((c for c in SESSION_COLUMNS if c in table), None)
    if column is None or table.index.has_duplicates:
        return column
    known = {session_label(value) for value in table[column].dropna()}
    return column if known & {session_of(entry) for entry in entries} else None


def _rows_of(table: pd.DataFrame, column: str | None) -> dict:
    records = table.to_dict("records") if len(table.columns) else [{}] * len(table)
    return {
        (label, None if column is None else session_label(row[column])): row
        for label, row in zip(table.index, records, strict=True)
    }
