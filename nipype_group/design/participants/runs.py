"""Maps of one participant that are combined into one, as of runs and sessions: the table."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from nipype_group.design.sources import parse_bids_name
from nipype_group.stats.combined_maps import MapWeight

# Columns of the observations that tell what was combined; between names and checksums.
COMBINED, N_COMBINED = "combined_maps", "n_combined"
BETWEEN = "; "
_SHOWN = 10
# Weight of a mean, the mean, a sum in it, and weight of the map: -1*a.1*0.5
_WEIGHT = re.compile(r"([^*\s]+)\*(\w+)\.(\w+)\*([^*\s]+)")


def weight_text(weight: MapWeight) -> str:
    """Return what a map counts in a sum as a cell of a table.

    Examples
    --------
    >>> weight_text(MapWeight("a", "1", -1.0, 0.5)), read_weight("-1*a.1*0.5")
    ('-1.0*a.1*0.5', MapWeight(term='a', part='1', factor=-1.0, weight=0.5))
    """
    return f"{float(weight.factor)!r}*{weight.term}.{weight.part}*{float(weight.weight)!r}"


def read_weight(text: str) -> MapWeight:
    """Read what `weight_text` writes.

    Raises
    ------
    ValueError
        Where it is nothing of that form.
    """
    found = _WEIGHT.fullmatch(text)
    try:
        numbers = [] if found is None else [float(found[1]), float(found[4])]
    except ValueError:
        numbers = []
    if found is None or not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError(f"weight {text!r} is not of the form -1*a.1*0.5")
    return MapWeight(found[2], found[3], numbers[0], numbers[1])


@dataclass(frozen=True)
class CombinedRows:
    """Which maps are combined, and the table of what they make.

    Parameters
    ----------
    table : DataFrame
        A row a combined map: as the observations, without the columns that are combined over,
        with the names of the maps in `combined_maps` and their number in `n_combined`. A column
        that differs between them is n/a, but ``sha256``, which has all.
    condition_columns : list of str
        Columns that tell a participant's maps apart still.
    rows : list of list of int
        Rows of the observations that each is made of, in their order.
    notes : list of str
        What was combined, and what is odd about it, in sentences.
    weights : list of list of MapWeight, optional
        What each map counts, where combinations are sums; those of a term and part stand together.
    """

    table: pd.DataFrame
    condition_columns: list[str]
    rows: list[list[int]]
    notes: list[str]
    weights: list[list[MapWeight]] | None = None


def group_runs(
    observations: pd.DataFrame,
    condition_columns: Sequence[str],
    over: Sequence[str],
    variables: Sequence[str] = (),
    weights: str | None = None,
) -> CombinedRows:
    """Group the maps of a participant that differ in some columns alone.

    Parameters
    ----------
    observations : DataFrame
        A row a map, as `nipype_group.design.observations.collect` gives it.
    condition_columns : sequence of str
        Columns that tell a participant's maps apart.
    over : sequence of str
        Those that are combined over, as run and session.
    variables : sequence of str
        Columns that the model uses, which have one value in the maps of a combination.
    weights : str, optional
        Column of what every map counts in a sum, as `weight_text` writes it; else maps are means.

    Returns
    -------
    CombinedRows

    Raises
    ------
    ValueError
        Where a column is not there, no participant has several maps to combine, these have one
        value in all columns that they are combined over, or a variable of the model differs
        between them; names participants and values.

    Examples
    --------
    >>> table = pd.DataFrame(
    ...     {
    ...         "participant_id": ["sub-1", "sub-1", "sub-2"],
    ...         "run": [1, 2, 1],
    ...         "map": ["1a.nii", "1b.nii", "2a.nii"],
    ...         "sha256": ["a", "b", "c"],
    ...     }
    ... )
    >>> found = group_runs(table, ["run"], ["run"])
    >>> found.rows, found.table["combined_maps"].tolist()
    ([[0, 1], [2]], ['1a.nii; 1b.nii', '2a.nii'])
    >>> found.table["map"].tolist()
    ['sub-1_combined', '2a.nii']
    """
    gone = [*over, *([] if weights is None else [weights])]
    _check_columns(observations, gone)
    kept = [c for c in condition_columns if c not in gone]
    # Lists are read by the row far faster than tables.
    columns = {str(name): observations[name].tolist() for name in observations}
    keys = zip(*(map(str, columns[name]) for name in ("participant_id", *kept)), strict=True)
    groups: dict[tuple, list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    if weights is None and all(len(rows) == 1 for rows in groups.values()):
        raise ValueError(
            f"no participant has several maps that differ in {', '.join(over)} alone: nothing is "
            "to be combined; select several (--select run=1,2), or leave --combine out"
        )
    if weights is None:
        _check_apart(columns, groups, over)
    used = [v for v in variables if v in observations and v not in gone]
    _check_variables(columns, groups, used)
    cells = None if weights is None else [read_weight(str(v)) for v in observations[weights]]
    if cells is not None:
        groups = {
            key: sorted(rows, key=lambda row: cells[row][:2]) for key, rows in groups.items()
        }
    differing: dict[str, str] = {}
    names = _names(columns, groups, kept, alone=cells is None)
    made = [
        _combined_row(columns, rows, name, gone, differing)
        for rows, name in zip(groups.values(), names, strict=True)
    ]
    notes = [*_what_is_combined(groups, over, weights), *_unlike(differing)]
    found = CombinedRows(_ordered(made), kept, list(groups.values()), notes)
    if cells is None:
        return found
    return replace(found, weights=[[cells[row] for row in rows] for rows in found.rows])


def _check_columns(observations, over):
    """See that columns that are combined over are there, and those that are made are not."""
    known = [c for c in observations if c not in ("participant_id", "map", "sha256")]
    for column in over:
        if column not in known:
            raise ValueError(
                f"no column {column}, which maps are to be combined over; there are "
                f"{', '.join(known) or 'none'} (of --bids those that --select names several "
                "values of)"
            )
    for column in (COMBINED, N_COMBINED):
        if column in observations:
            raise ValueError(
                f"a column of the tables is called {column}, as that which tells what was "
                "combined; rename it"
            )


def _check_apart(columns, groups, over):
    """Refuse maps that the columns which they are combined over do not tell apart."""
    for (label, *_), rows in groups.items():
        seen: dict[tuple, str] = {}
        for row in rows:
            *values, name = (str(columns[each][row]) for each in (*over, "map"))
            if tuple(values) in seen:
                where = ", ".join(map(" ".join, zip(over, values, strict=True)))
                raise ValueError(
                    f"{label} has several maps of {where}, {seen[tuple(values)]} and {name}: "
                    f"maps are combined that differ in {', '.join(over)}; name the column in "
                    f"which these differ too (--combine {','.join(over)},COLUMN), or leave out "
                    "those that are not meant"
                )
            seen[tuple(values)] = name


def _check_variables(columns, groups, variables):
    """Refuse variables of the model that differ between the maps of a combination."""
    told = []
    for (label, *_), rows in groups.items():
        for column in variables:
            values = list(dict.fromkeys(str(columns[column][row]) for row in rows))
            if len(values) > 1:
                told.append(f"{label} in {column} ({', '.join(values)})")
    if told:
        more = f" and {len(told) - _SHOWN} more" * (len(told) > _SHOWN)
        raise ValueError(
            f"maps that are combined differ in what the model uses: {', '.join(told[:_SHOWN])}"
            f"{more}; give each participant one value, or leave the column out of the model"
        )


def _combined_row(columns, rows, name, over, differing):
    """Return the row of a combination; columns that differ in it are added to `differing`."""
    row: dict[str, Any] = {}
    for column, whole in columns.items():
        values = [whole[number] for number in rows]
        texts = [str(value) for value in values]
        if column == "sha256":
            known = [text for value, text in zip(values, texts, strict=True) if not _none(value)]
            row[column] = BETWEEN.join(known) if known else None
        elif column == "map":
            row[column], row[COMBINED], row[N_COMBINED] = name, BETWEEN.join(texts), len(texts)
        elif column not in over:
            alike = len(set(texts)) == 1
            row[column] = values[0] if alike else None
            if not alike:
                differing.setdefault(column, columns["participant_id"][rows[0]])
    return row


def _none(value):
    return value is None or value != value


def _names(columns, groups, kept, alone):
    """Return how combinations are called: by what they share, a map `alone` as itself."""
    maps = columns["map"]
    taken = {maps[rows[0]] for rows in groups.values() if alone and len(rows) == 1}
    names: list[str] = []
    for rows in groups.values():
        if alone and len(rows) == 1:
            names.append(maps[rows[0]])
            continue
        name = shared = _shared_name(columns, rows, kept)
        number = len(names) + 1
        while name in taken:
            name, number = f"{shared}{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


def _shared_name(columns, rows, kept):
    """Return the entities that the maps share, or participant and conditions."""
    found = [parse_bids_name(columns["map"][row].rpartition("/")[2]) for row in rows]
    first = found[0]
    if all(found):
        pairs = {k: v for k, v in first.items() if all(own.get(k) == v for own in found)}
        suffix = pairs.pop("suffix", "combined")
        pairs.pop("extension", None)
        if pairs:
            return "_".join([*(f"{k}-{v}" for k, v in pairs.items()), suffix])
    own = {name: columns[name][rows[0]] for name in ("participant_id", *kept)}
    cells = [str(own["participant_id"]), *(f"{c}-{own[c]}" for c in kept), "combined"]
    return "".join(s if s.isalnum() or s in "-_." else "-" for s in "_".join(cells))


def _what_is_combined(groups, over, weights):
    """Say how many maps were combined, and who has fewer than others."""
    sizes = {label: len(rows) for (label, *_), rows in reversed(groups.items())}
    counts = [len(rows) for rows in groups.values()]
    most = max(counts)
    each = f"{most}" if min(counts) == most else f"{min(counts)} to {most}"
    how = f"that differ in {' and '.join(over)} were combined"
    if weights is not None:
        how = f"were summed by the weights in {weights}"
    yield (
        f"Maps of a participant {how} into one: {sum(counts)} into {len(counts)}, of {each} each."
    )
    fewer = [f"{label} ({n})" for label, n in sorted(sizes.items()) if n < most]
    if fewer:
        more = f" and {len(fewer) - _SHOWN} more" * (len(fewer) > _SHOWN)
        yield f"Of fewer maps than others are {', '.join(fewer[:_SHOWN])}{more}."


def _unlike(differing):
    """Say which columns differ between maps that were combined."""
    if differing:
        listed = ", ".join(f"{column} (as in {label})" for column, label in differing.items())
        yield (
            "Columns that differ between maps which were combined have no value, and the model "
            f"uses none of them: {listed}."
        )


def _ordered(rows):
    """Return the table, its columns as those of observations."""
    table = pd.DataFrame(rows)
    back = [c for c in ("map", COMBINED, N_COMBINED, "sha256") if c in table]
    return table[[c for c in table if c not in back] + back]
