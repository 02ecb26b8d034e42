"""Joining maps to participants: who is in, who is not, and why."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from nipype_group.choices import ON_BAD_MAP, nearest
from nipype_group.design.first_level import of_other_contrasts, registered_elsewhere
from nipype_group.design.participants.exclusion import (
    check_rule_values,
    check_rules,
    read_rule,
    why_left_out,
)
from nipype_group.design.participants.map_covariates import check_map_covariates
from nipype_group.design.participants.means import numbers_among
from nipype_group.design.participants.tables import PeopleTables, session_of
from nipype_group.design.participants.variances import check_variances
from nipype_group.design.sources import RESERVED, SESSION_COLUMNS, MapEntry
from nipype_group.images import (
    MapError,
    array_sha256,
    check_same_space,
    content_sha256,
    open_image,
    read_map,
)
from nipype_group.tsv import one_line


@dataclass(frozen=True)
class Observations:
    """Maps that enter the analysis, and what was left out.

    Parameters
    ----------
    table : DataFrame
        A row a map: participant_id, condition columns, covariates, map, sha256.
    map_files : list of str
        Absolute paths in the order of the rows.
    variance_files : list of str
        The same for variances; empty where there are none.
    map_covariate_files : list of str
        The same for covariates that are maps, all of one after the other.
    excluded : DataFrame
        participant_id, condition columns, map, reason.
    condition_columns : list of str
        Columns that tell a participant's maps apart.
    notes : list of str
        What was combined into them.
    combined : list of list of str
        Names of the maps that each is made of; empty where none are combined.
    """

    table: pd.DataFrame
    map_files: list
    variance_files: list
    map_covariate_files: list
    excluded: pd.DataFrame
    condition_columns: list
    notes: list = field(default_factory=list)
    combined: list = field(default_factory=list)


def collect(
    entries: Sequence[MapEntry],
    participants: pd.DataFrame | None = None,
    variables: Sequence[str] = (),
    on_bad_map: str = "error",
    listed: bool = False,
    zero_is_value: bool = False,
    ids_as_numbers: bool = False,
    header_of: Any = None,
    mean_for: Sequence[str] = (),
    sessions: pd.DataFrame | None = None,
    needs_variances: bool = False,
    map_covariates: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Observations:
    """Join maps to participants and check every map.

    Parameters
    ----------
    entries : list of MapEntry
        Maps found.
    participants : DataFrame, optional
        Result of `read_participants`; without it every participant with a map is in.
    sessions : DataFrame, optional
        Result of `read_sessions`.
    variables : sequence of str
        Columns that the model uses; a row with a missing value in one is left out.
    on_bad_map : {"error", "exclude"}
        What happens to maps that are unreadable, empty, duplicate, on another grid or of another
        contrast, and to maps without a participant.
    listed : bool
        Whether the maps were listed one by one, so that those of several contrasts are meant.
    zero_is_value : bool
        Whether a voxel of 0 has a value.
    ids_as_numbers : bool
        Whether a map of 1 belongs to the participant 01, where none is called 1; without a table
        to the first participant whose label is the same number.
    header_of : callable, optional
        Gives the Space of a map from its header. With it no values are read: empty maps and
        copies are not found, and there are no checksums.
    mean_for : sequence of str
        Those of the variables in which a missing number leaves no row out, as a mean is put in
        later. Columns of names, and conditions, have none.
    needs_variances : bool
        Whether the estimator takes variances: a map without, whose variance is another's, or has
        no value above 0, cannot be used.
    map_covariates : sequence of str
        Names of covariates that are maps: a map without one cannot be used.
    exclude : sequence of str
        Rules of whom to leave out, as `read_rule` takes them.

    Returns
    -------
    Observations

    Raises
    ------
    ValueError
        Naming all bad maps; a variable that is no column; or that nothing is left.
    """
    if on_bad_map not in ON_BAD_MAP:
        raise ValueError(f"on_bad_map is error or exclude, got {on_bad_map!r}")
    if ids_as_numbers:
        known = None if participants is None else list(dict.fromkeys(participants.index))
        entries = _renamed(entries, known)
    conditions = list(entries[0].conditions) if entries else []
    people = PeopleTables.of(entries, participants, sessions)
    rows = joined_rows(entries, people, variables)
    columns = {c for row in rows for c in row} | set(people.columns)
    check_variables(variables, columns)
    rules = [read_rule(text) for text in exclude]
    check_rules(rules, columns, {entry.participant for entry in entries})
    check_rule_values(rules, rows)
    with_mean = numbers_among(pd.DataFrame(rows), [v for v in mean_for if v not in conditions])
    needed = [v for v in variables if v not in with_mean]
    excluded, problems, candidates = [], [], []
    for entry, row in zip(entries, rows, strict=True):
        if reason := why_left_out(row, rules):
            excluded.append((entry, reason))
        elif reason := entry.problem or _why_no_row(entry, people, ids_as_numbers):
            problems.append((entry, reason))
        elif missing := [v for v in needed if pd.isna(row.get(v))]:
            excluded.append((entry, _why_missing(entry, missing, mean_for, people)))
        else:
            candidates.append((entry, row))
    checked, odd = _told_apart(candidates, listed)
    good, bad = _check_maps(checked, zero_is_value, header_of, needs_variances, map_covariates)
    problems += odd + bad
    if problems and on_bad_map == "error":
        listing = "\n".join(f"  {_shown(e)}: {reason}" for e, reason in problems)
        raise ValueError(
            f"{len(problems)} of {len(entries)} maps cannot be used:\n{listing}\n"
            'Mend them, or leave them out with on_bad_map="exclude" (--on-bad-map exclude).'
        )
    excluded += problems
    if not good:
        raise ValueError(f"No map is left for the analysis: {_why_none(excluded)}")
    if participants is not None:
        rank = {label: i for i, label in enumerate(people.labels)}
        good.sort(key=lambda item: rank[item[0].participant])
    return _assemble(good, excluded, people, conditions, listed, map_covariates)


def _told_apart(candidates, listed):
    """Return maps that are told apart and of one contrast, and the others with a reason."""
    repeated = _repeated(candidates, listed)
    problems = [] if listed else list(of_other_contrasts([e for e, _ in candidates]))
    strange, checked = {id(e) for e, _ in problems}, []
    for entry, row in candidates:
        if id(entry) in strange:
            continue
        if id(entry) in repeated:
            problems.append((entry, repeated[id(entry)]))
        else:
            checked.append((entry, row))
    return checked, problems


def _why_no_row(entry, people, ids_as_numbers):
    """Say why a map belongs to no participant; nothing where it does."""
    reason = people.lacks(entry)
    return reason and reason + _hint(entry, people) * (not ids_as_numbers)


def _hint(entry, people):
    """Say which participants of the table may be that of a map."""
    same = _same_numbers(entry.participant, people.labels)
    if not same or entry.participant in people.labels:
        return ""
    return f"; it has {', '.join(same)}: --ids-as-numbers takes both for one"


def _why_missing(entry, missing, mean_for, people):
    """Say which values a map lacks, and why they are not there."""
    names = [v for v in missing if v in mean_for]
    no_mean = f" ({', '.join(names)} holds names, which have no mean)" if names else ""
    return f"n/a in {', '.join(missing)}{no_mean}{people.lacks_session(entry, missing)}"


def _why_none(excluded: list) -> str:
    """Return why maps were left out, where none is left."""
    reasons = Counter(reason for _, reason in excluded)
    listing = "; ".join(f"{n} x {reason}" for reason, n in reasons.most_common())
    return listing or "none was found"


def _same_numbers(label, labels):
    """Return the labels that are the same number."""
    if not label.isdecimal():
        return []
    return [other for other in labels if other.isdecimal() and int(other) == int(label)]


def _renamed(entries, known):
    """Give maps the participant whose label is the same number, of a table or of an earlier map.

    Raises
    ------
    ValueError
        Where the table has several.
    """
    renamed, found = [], []
    for entry in entries:
        label, labels = entry.participant, found if known is None else known
        same = _same_numbers(label, labels)
        if label not in labels and len(same) > 1:
            raise ValueError(f"participant {label} of the maps may be {' or '.join(same)}")
        new = same[0] if same and label not in labels else label
        found += [new] * (new not in found)
        renamed.append(replace(entry, participant=new))
    return renamed


def _shown(entry):
    """Return what a user knows the map by: its path, and the volume of a 4D image it was."""
    own = entry.path.as_posix().endswith(entry.name)
    return str(entry.path) if own else f"{entry.name} ({entry.path})"


def joined_rows(
    entries: Sequence[MapEntry], people: PeopleTables, variables: Sequence[str] = ()
) -> list[dict]:
    """Return of every map what its table, its name, and the tables of people say.

    Raises
    ------
    ValueError
        Where two of them have different values of one column, of sessions' tables one of
        `variables`.
    """
    conditions = list(entries[0].conditions) if entries else []
    return [_row(entry, people, conditions, variables) for entry in entries]


def _row(entry, people, conditions, variables):
    """Merge what the map's table, its name and the tables of people say."""
    row = {"participant_id": f"sub-{entry.participant}", **entry.conditions, **entry.covariates}
    for column, value in people.of_participant(entry).items():
        if column == "participant_id":
            row[column] = value
        elif column == people.session_column and column in row:
            # As the map's own table writes it.
            continue
        elif column in conditions:
            raise ValueError(
                f"column {column} of the participants table has the name of a condition of the "
                "maps; rename it"
            )
        elif column in entry.covariates and str(entry.covariates[column]) != str(value):
            raise ValueError(
                f"column {column} says {entry.covariates[column]} in the table of maps and "
                f"{value} in the participants table for participant {entry.participant}; keep one"
            )
        else:
            row[column] = value
    named = any(column in row for column in SESSION_COLUMNS)
    for column, value in people.of_session(entry).items():
        if column not in row and not (named and column == "session_id"):
            row[column] = value
        elif column in variables and column not in conditions and str(row[column]) != str(value):
            raise ValueError(
                f"column {column} says {value} in sub-{entry.participant}_sessions.tsv for "
                f"session {session_of(entry)} and {row[column]} in another table for participant "
                f"{entry.participant}; rename one"
            )
    return row


def _repeated(candidates, listed):
    """Return why maps of one participant cannot be told apart, by the identity of their entries.

    Maps that are listed a row each are told apart by their names, whatever their conditions.
    """
    files, cells = {}, {}
    for entry, _ in candidates:
        own = entry.path.as_posix().endswith(entry.name)
        # The volumes of a 4D image may be told by its name and their numbers.
        file = os.path.realpath(entry.path) if own else f"{entry.path} {entry.name}"
        files.setdefault((entry.participant, file), []).append(entry)
        cells.setdefault((entry.participant, *entry.conditions.values()), []).append(entry)
    reasons = {}
    for group in cells.values():
        names = {entry.name for entry in group}
        if len(group) > 1 and not (listed and len(names) == len(group)):
            reasons |= {id(entry): _not_told_apart(entry) for entry in group}
    for group in files.values():
        if listed and len(group) > 1:
            reasons |= {
                id(entry): f"the file is listed {len(group)} times for the participant; drop the "
                "other rows"
                for entry in group
            }
    return reasons


def _not_told_apart(entry):
    """Say that the participant of a map has another one that is called the same."""
    called = " ".join(f"{column}={value}" for column, value in entry.conditions.items())
    which = f"one map with {called}" if called else "one map"
    return f"the participant has more than {which}, and no condition tells them apart"


def check_variables(variables: Iterable[str], known: Collection[str]) -> None:
    """See that columns which a model uses are there.

    Raises
    ------
    ValueError
        Naming those that are not, or that have the name of a column which lists maps.
    """
    reserved = [v for v in variables if v in RESERVED]
    if reserved:
        raise ValueError(
            f"a column of the model is called {', '.join(reserved)}: tables of maps have columns "
            f"{', '.join(RESERVED)} of their own; rename it in the table and in the formula"
        )
    unknown = [v for v in variables if v not in known]
    if unknown:
        raise ValueError(
            f"no column {', '.join(unknown)} in the tables{nearest(unknown[0], known)}; there are "
            f"{', '.join(sorted(known))}"
        )


def _check_maps(candidates, zero_is_value, header_of, needs_variances, map_covariates):
    """Read every map; return the good ones with their checksum, and the bad with a reason."""
    read, bad, spaces, contents = [], [], [], {}
    for entry, row in candidates:
        try:
            values, space = _values_and_space(entry.path, header_of, zero_is_value, entry.part)
            if entry.variance is not None:
                part = entry.variance_part
                own = _values_and_space(entry.variance, header_of, part=part)[1]
                check_same_space(entry.variance, own, space, "its map")
        except MapError as error:
            which = "" if error.path == str(entry.path) else f"its variance {error.path}: "
            bad.append((entry, which + error.reason))
            continue
        if values is not None and np.isnan(values).all():
            zero = "" if zero_is_value else "0 or "
            bad.append((entry, f"the map is empty: every voxel is {zero}not finite"))
            continue
        read.append((entry, row, space))
        spaces.append(space)
        if values is not None:
            contents.setdefault(array_sha256(values), []).append(entry)
    majority = _most_common_space(spaces)
    copies = {id(e): group for group in contents.values() if len(group) > 1 for e in group}
    good = []
    for entry, row, space in read:
        if not space.matches(majority):
            what = f"another {majority.name}: {space}; most maps have {majority}"
            bad.append((entry, what + registered_elsewhere(entry.path)))
        elif id(entry) in copies:
            others = ", ".join(e.name for e in copies[id(entry)] if e is not entry)
            bad.append((entry, f"the same values as {others}"))
        else:
            checksum = None if header_of else content_sha256(entry.source or entry.path)
            good.append((entry, {**row, "map": entry.name, "sha256": checksum}))
    if needs_variances:
        good, without = check_variances(good, header_of)
        bad += without
    if map_covariates:
        good, without = check_map_covariates(good, map_covariates, header_of, zero_is_value)
        bad += without
    return good, bad


def _values_and_space(path, header_of, zero_is_value=False, part=None):
    """Return values and Space of a map; no values where its header alone is read."""
    if header_of is not None and part is not None:
        return None, open_image(path).space
    return read_map(path, zero_is_value) if header_of is None else (None, header_of(path))


def _most_common_space(spaces):
    """Return the Space that most maps share, the right one; None without a map."""
    # Most headers are alike to the last bit, so few pairs are compared, of however many maps.
    kinds = Counter(space.identity for space in spaces)
    first = {space.identity: space for space in reversed(spaces)}
    votes = {
        kind: sum(n for other, n in kinds.items() if first[kind].matches(first[other]))
        for kind in kinds
    }
    return first[max(votes, key=votes.get)] if votes else None


def _assemble(good, excluded, people, conditions, listed, map_covariates):
    table = pd.DataFrame([row for _, row in good])
    for name in map_covariates:
        table[name] = [e.map_covariates[name].name for e, _ in good]
    front = ["participant_id", *conditions]
    back = ["map", "sha256"]
    table = table[front + [c for c in table if c not in front + back] + back]
    left_out = [
        {
            "participant_id": f"sub-{e.participant}",
            **e.conditions,
            "map": e.name,
            "reason": one_line(reason),
        }
        for e, reason in excluded
    ]
    left_out += _without_map(good, excluded, people, conditions, listed)
    variances = [e.variance for e, _ in good]
    if any(variances) and not all(variances):
        lacking = ", ".join(e.name for e, _ in good if e.variance is None)
        raise ValueError(f"some maps have a variance map, these have none: {lacking}")
    return Observations(
        table=table,
        map_files=[str(e.path.absolute()) for e, _ in good],
        variance_files=[str(v.absolute()) for v in variances if v is not None],
        map_covariate_files=[
            str(e.map_covariates[name].absolute()) for name in map_covariates for e, _ in good
        ],
        excluded=pd.DataFrame(left_out, columns=["participant_id", *conditions, "map", "reason"]),
        condition_columns=conditions,
    )


def _without_map(good, excluded, people, conditions, listed):
    """List participants without a map, and conditions that a participant lacks.

    Of maps that are listed one by one the conditions that most participants have are expected.
    """
    entries = [e for e, _ in good] + [e for e, _ in excluded]
    have = {(e.participant, tuple(e.conditions.values())) for e in entries}
    labels = {e.participant for e in entries}
    n_have = Counter(cell for _, cell in have if None not in cell)
    cells = sorted(cell for cell, n in n_have.items() if not listed or 2 * n > len(labels))
    table, lacking = people.participants, []
    if table is not None:
        first = table[~table.index.duplicated()]
        lacking += [
            {"participant_id": row["participant_id"], "reason": "no map was found"}
            for label, row in first.iterrows()
            if label not in labels
        ]
    if not {"session_id", "session", "ses"} & set(conditions):
        lacking += [
            {"participant_id": f"sub-{label}", "reason": f"no map of session {session} was found"}
            for label, session in people.without_map(entries)
        ]
    lacking += [
        {
            "participant_id": f"sub-{label}",
            **dict(zip(conditions, cell, strict=True)),
            "reason": "no map was found for this condition; the participant's others are in",
        }
        for label in sorted(labels)
        for cell in cells
        if conditions and (label, cell) not in have
    ]
    return lacking
