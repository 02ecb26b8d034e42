"""Finding maps: BIDS derivatives by entities, a glob with placeholders, or a table."""

import fnmatch
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from nipype_group.design.folders import natural_key, walk
from nipype_group.images import file_state, image_suffixes
from nipype_group.images.sub_bricks import split_part
from nipype_group.tsv import columns_found, numbers_of, read_tsv, repeated
from nipype_group.whole_files import AnyPath, beyond_locale, why_undecoded

# Long names that users of pybids know, for the entities of file names.
ENTITY_ALIASES = {
    "subject": "sub",
    "session": "ses",
    "acquisition": "acq",
    "reconstruction": "rec",
    "direction": "dir",
    "description": "desc",
    "resolution": "res",
    "hemisphere": "hemi",
}
# Values of these are numbers: run-1 is run-01.
_INDEXES = ("run", "echo", "flip", "inv", "split", "chunk")
_SHOWN_PARTICIPANTS = 10
RESERVED = ("map", "variance", "sha256")
# Columns of a table of participants that tell the session of a row.
SESSION_COLUMNS = ("session_id", "session")
_WILDCARDS = re.compile(r"([*?\[{])")
_NO_WILDCARD = re.compile(r"(?:[^*?\[{]|\[[*?\[{]\])*")
# In what a pattern took for the label of a participant; other names are parts of labels.
_ENTITY_IN_LABEL = re.compile(r"_(ses|run|task|acq|rec|dir|echo|space|res|desc|contrast|stat)-")
_ESCAPED = re.compile(r"\[([*?\[{])\]")


@dataclass(frozen=True)
class MapEntry:
    """One map and what its name or row says about it.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    path : Path
        The effect map, or the file that it is a volume of.
    name : str
        Path as it is recorded: relative to the data set or table.
    conditions : dict
        Value of each condition column.
    variance : Path, optional
        Map of the effect's variance.
    covariates : dict
        Further columns of the table that lists the map.
    map_covariates : dict
        Path of the map of each covariate that is one, by its name.
    part, variance_part : str, optional
        Volume of the file that is the map, or tells its variance: a label or number of AFNI.
    source, variance_source : Path, optional
        File that the map, or its variance, was taken out of.
    problem : str, optional
        Why it could not be.
    """

    participant: str
    path: Path
    name: str
    conditions: dict = field(default_factory=dict)
    variance: Path | None = None
    covariates: dict = field(default_factory=dict)
    map_covariates: dict = field(default_factory=dict)
    part: str | None = None
    variance_part: str | None = None
    source: Path | None = None
    variance_source: Path | None = None
    problem: str | None = None

    def __post_init__(self):
        # Names stand in tables of lines, in UTF-8.
        try:
            # A table, which is read in UTF-8, may name what the locale has no signs for.
            os.fsencode(self.path)
            reason = why_undecoded(self.name)
        except UnicodeEncodeError:
            reason = beyond_locale(str(self.path))
        if reason:
            raise ValueError(f"a map cannot be used: {reason}")
        # Names of letters alone are passed at once.
        if not self.name.isprintable() and any(
            unicodedata.category(sign) == "Cc" for sign in self.name
        ):
            raise ValueError(
                f"the name of the map {str(self.path)!r} has a line break or another control "
                "character; rename the file"
            )


def participant_label(text: str) -> str:
    """Strip ``sub-`` from an identifier.

    Examples
    --------
    >>> participant_label("sub-01"), participant_label("01")
    ('01', '01')
    """
    text = str(text).strip()
    return text[4:] if text.startswith("sub-") else text


def session_label(text: object) -> str:
    """Strip ``ses-`` from an identifier.

    Examples
    --------
    >>> session_label("ses-01"), session_label("01")
    ('01', '01')
    """
    return str(text).strip().removeprefix("ses-")


def read_participants(path: AnyPath) -> pd.DataFrame:
    """Read participants.tsv, indexed by label.

    A participant has one row, or one a session where a column ``session_id`` or ``session`` tells
    which.

    Raises
    ------
    ValueError
        Without a participant_id in every row, or with a participant, or one of its sessions, in
        two rows.
    """
    table = read_tsv(path)
    if "participant_id" not in table:
        raise ValueError(f"{path}: no column participant_id ({columns_found(table, path)})")
    labels = [participant_label(v) for v in table["participant_id"]]
    if twice := repeated(labels):
        column = next((c for c in SESSION_COLUMNS if c in table), None)
        if column is None:
            raise ValueError(
                f"{path}: participant {', '.join(twice)} stands in more than one row; where these "
                "are of sessions tell them in a column session_id"
            )
        lines_by_session(path, table, labels, column)
    table = table.drop(columns=[c for c in RESERVED if c in table])
    return table.set_index(pd.Index(labels, name="label"))


def lines_by_session(
    path: AnyPath, table: pd.DataFrame, labels: Sequence[str], column: str
) -> None:
    """Refuse a table of sessions without one in a row, or with one twice.

    Parameters
    ----------
    path : path
    table : DataFrame
        As `read_tsv` gives it.
    labels : sequence of str
        Participant of every row.
    column : str
        That of the sessions.

    Raises
    ------
    ValueError
        Naming lines, participants and sessions.
    """
    if empty := _lines(table, table[column].isna()):
        raise ValueError(f"{path}: no {column} in line {', '.join(empty)}")
    lines: dict[tuple[str, str], list[str]] = {}
    for line, label, value in zip(table.attrs["lines"], labels, table[column], strict=True):
        lines.setdefault((label, session_label(value)), []).append(str(line))
    twice = [
        f"{label} session {session} (lines {', '.join(own)})"
        for (label, session), own in lines.items()
        if len(own) > 1
    ]
    if twice:
        more = f" and {len(twice) - _SHOWN_PARTICIPANTS} more"
        raise ValueError(
            f"{path}: more than one row of participant "
            + ", ".join(twice[:_SHOWN_PARTICIPANTS])
            + more * (len(twice) > _SHOWN_PARTICIPANTS)
            + "; keep one of each"
        )


def parse_selection(items: Iterable[str]) -> dict[str, list[str]]:
    """Turn ``KEY=VALUE[,VALUE]`` items into a dictionary of entity to values.

    Examples
    --------
    >>> parse_selection(["task=reading", "description=a,b"])
    {'task': ['reading'], 'desc': ['a', 'b']}
    """
    selection: dict[str, list[str]] = {}
    for item in items:
        key, equals, listed = item.partition("=")
        key = ENTITY_ALIASES.get(key.strip(), key.strip())
        values = [v.strip() for v in listed.split(",") if v.strip()]
        if not equals or not key or not values:
            raise ValueError(f"selection {item!r} is not of the form KEY=VALUE[,VALUE]")
        if key in selection:
            raise ValueError(f"selection names {key} twice; join the values with a comma")
        selection[key] = values
    return selection


def parse_bids_name(name: str) -> dict[str, str] | None:
    """Split a BIDS file name into entities, suffix and extension; None where it is none.

    Examples
    --------
    >>> parse_bids_name("sub-01_task-rest_stat-effect_statmap.nii.gz")
    {'sub': '01', 'task': 'rest', 'stat': 'effect', 'suffix': 'statmap', 'extension': '.nii.gz'}
    """
    stem, dot, extension = name.partition(".")
    *pairs, suffix = stem.split("_")
    entities = {}
    for pair in pairs:
        key, dash, value = pair.partition("-")
        if not dash or not key.isalnum() or not value:
            return None
        entities[key] = value
    if "sub" not in entities:
        return None
    return {**entities, "suffix": suffix, "extension": dot + extension}


def find_bids_maps(bids_dir: AnyPath, selection: Mapping[str, Sequence[str]]) -> list[MapEntry]:
    """Find the images of a BIDS derivative tree whose entities have the selected values.

    An entity selected with several values becomes a condition column. A folder ``node-<name>``, as
    FitLins makes one for each level of a model, counts as an entity ``node`` of what is in it.
    Linked folders belong to the tree; indexes, as ``run``, are compared as numbers.

    Parameters
    ----------
    bids_dir : path
        Top of the tree.
    selection : dict
        Entity (or ``suffix``, ``extension``) to allowed values.

    Returns
    -------
    list of MapEntry
        By participant in natural order, then by conditions in the order of the selection.

    Raises
    ------
    ValueError
        Where nothing matches, or not one of the values of an entity; or where a participant has
        two maps that the selection does not tell apart; names what else differs.
    """
    bids_dir, entries = Path(bids_dir), []
    kept: dict[tuple, list[dict[str, str]]] = {}
    seen: dict[str, set[str]] = {}
    taken: dict[str, set[str]] = {key: set() for key in selection}
    for path, entities in bids_images(bids_dir):
        for key, value in entities.items():
            seen.setdefault(key, set()).add(value)
        found = {key: value_chosen(key, entities, values) for key, values in selection.items()}
        chosen = {key: value for key, value in found.items() if value is not None}
        if len(chosen) < len(selection):
            continue
        for key, value in chosen.items():
            taken[key].add(value)
        conditions = {k: chosen[k] for k, v in selection.items() if len(v) > 1 and k != "sub"}
        entry = MapEntry(entities["sub"], path, path.relative_to(bids_dir).as_posix(), conditions)
        entries.append(entry)
        kept.setdefault((entry.participant, *conditions.values()), []).append(entities)
    if not entries:
        raise ValueError(
            f"{bids_dir}: no image has {_describe(selection)}. Values found: "
            f"{'; '.join(_values_found(k, seen) for k in selection) or 'none'}"
        )
    for key, values in selection.items():
        idle = [value for value in values if value not in taken[key]]
        if idle:
            raise ValueError(
                f"{bids_dir}: no image that the rest of the selection takes has {key}="
                f"{','.join(idle)}; leave it out. Values found: {_values_found(key, seen)}"
            )
    _check_apart(bids_dir, selection, kept)
    order = {k: {v: i for i, v in enumerate(values)} for k, values in selection.items()}
    entries.sort(
        key=lambda e: (natural_key(e.participant), [order[k][v] for k, v in e.conditions.items()])
    )
    return entries


# What was found below a folder or in a table, while `listed_once` holds.
_LISTINGS: ContextVar[dict[tuple, list] | None] = ContextVar("listings", default=None)


@contextmanager
def listed_once() -> Iterator[None]:
    """Let images below a folder, or in a table, be listed once while several look for theirs."""
    token = _LISTINGS.set({})
    try:
        yield
    finally:
        _LISTINGS.reset(token)


def bids_images(bids_dir: Path) -> list[tuple[Path, dict[str, str]]]:
    """Return path and entities of the images below a folder that have a name of BIDS."""
    return _once((bids_dir,), lambda: _walk_images(bids_dir))


def _once(key, listed):
    listings = _LISTINGS.get()
    if listings is None:
        return listed()
    if key not in listings:
        listings[key] = listed()
    return listings[key]


def _walk_images(bids_dir):
    found = []
    for path in walk(bids_dir):
        entities = parse_bids_name(path.name) if path.name.endswith(image_suffixes()) else None
        if entities is not None:
            found.append((path, {**_node(path.parent, bids_dir), **entities}))
    return found


def not_taken(
    bids_dir: AnyPath, selection: Mapping[str, Sequence[str]], entries: Iterable[MapEntry]
) -> dict[str, str]:
    """Return the participants of a tree that have images and none that is selected, and why.

    Parameters
    ----------
    bids_dir, selection
        As `find_bids_maps` takes them.
    entries : list of MapEntry
        What it found.

    Returns
    -------
    dict of str to str
        Participant to the reason.
    """
    inside = {e.participant for e in entries}
    lacking: dict[str, list[str]] = {}
    for _, entities in bids_images(Path(bids_dir)):
        label = entities["sub"]
        if label in inside or ("sub" in selection and label not in selection["sub"]):
            continue
        wrong = [k for k, values in selection.items() if value_chosen(k, entities, values) is None]
        # The image that comes closest tells best what is amiss.
        best = min(lacking.get(label, wrong), wrong, key=len)
        lacking[label] = best
    return {
        label: f"no image has {_describe({k: selection[k] for k in wrong})} and the rest of the "
        "selection"
        for label, wrong in lacking.items()
    }


def value_chosen(key: str, entities: Mapping[str, str], values: Sequence[str]) -> str | None:
    """Return the selected value that an image has, None where it has none of them.

    Indexes, as run, are compared as numbers.

    Examples
    --------
    >>> value_chosen("run", {"run": "1"}, ["01", "02"])
    '01'
    """
    value = entities.get(key)
    if value in values or value is None:
        return value
    if key in _INDEXES and value.isdecimal():
        return next((v for v in values if v.isdecimal() and int(v) == int(value)), None)
    return None


def _values_found(key, seen):
    values = sorted(seen.get(key, ()), key=natural_key)
    return f"{key}: {', '.join(values)[:200] or 'never present'}"


def _check_apart(bids_dir, selection, kept):
    """See that the selection tells the maps of a participant apart."""
    differing = sorted(
        {
            key
            for group in kept.values()
            if len(group) > 1
            for key in set().union(*group)
            if len({entities.get(key) for entities in group}) > 1
        }
    )
    label = next((label for (label, *_), group in kept.items() if len(group) > 1), None)
    if label is not None:
        apart = ", ".join(differing) or "no entity, but in their folders"
        raise ValueError(
            f"{bids_dir}: participant {label} has several maps with {_describe(selection)}; they "
            f"differ in {apart}. Select one value of it (KEY=VALUE), or name several to make it a "
            "condition (KEY=VALUE,VALUE)"
        )


def _node(folder, bids_dir):
    """Return the innermost node-<name> of a folder's path as an entity."""
    parts = Path(folder).relative_to(bids_dir).parts
    names = [part.removeprefix("node-") for part in parts if part.startswith("node-")]
    return {"node": names[-1]} if names else {}


def _describe(selection):
    return " ".join(f"{k}={','.join(v)}" for k, v in selection.items()) or "a subject entity"


def escape_pattern(path: AnyPath) -> str:
    """Return the pattern of a path itself, whatever signs of patterns it has.

    Examples
    --------
    >>> escape_pattern("maps {a}/sub*")
    'maps [{]a}/sub[*]'
    """
    return _WILDCARDS.sub(r"[\1]", str(path))


def split_pattern(pattern: str) -> tuple[str, str]:
    """Return the folder before a pattern's first wildcard, and the pattern in that folder.

    Names of maps are relative to the folder.

    Examples
    --------
    >>> split_pattern("first_level/{subject}/con_0001.nii")
    ('first_level/', '{subject}/con_0001.nii')
    >>> split_pattern("maps [{]a}/{subject}.nii")
    ('maps {a}/', '{subject}.nii')
    """
    before = _NO_WILDCARD.match(pattern)
    assert before is not None
    at = before.group().rfind("/") + 1
    return _ESCAPED.sub(r"\1", pattern[:at]), pattern[at:]


def find_pattern_maps(pattern: str, left_out_folders: Iterable[AnyPath] = ()) -> list[MapEntry]:
    """Find maps by a glob in which ``{subject}`` stands for the participant.

    Other names in braces become condition columns.

    Parameters
    ----------
    pattern : str
    left_out_folders : sequence of path, optional
        Folders that are not gone into, by whatever name they are met: those that the run fills.

    Returns
    -------
    list of MapEntry
        In natural order of their names.

    Raises
    ------
    ValueError
        Where the pattern has no ``{subject}``, or lies in a folder that is left out, or where no
        file matches.

    Examples
    --------
    >>> find_pattern_maps("con_*.nii")
    Traceback (most recent call last):
    ...
    ValueError: pattern 'con_*.nii' has no {subject} to read the participant from
    """
    whole = pattern
    pattern, part = split_part(pattern)
    folder, relative = split_pattern(pattern)
    if "subject" not in re.findall(r"\{(\w+)\}", relative):
        raise ValueError(f"pattern {whole!r} has no {{subject}} to read the participant from")
    root = Path(folder or ".")
    expression, used = "", set()
    tokens = r"\{\w+\}|\*\*/|\*|\?|\[!?\]?[^\]]*\]|[^{*?\[]+|."
    for token in re.findall(tokens, relative, re.DOTALL):
        if token.startswith("{") and token.endswith("}") and len(token) > 2:
            name = token[1:-1]
            if not name.isidentifier():
                raise ValueError(
                    f"pattern {pattern!r}: {{{name}}} is no name of a column; begin with a letter"
                )
            if name in ("participant_id", *RESERVED):
                raise ValueError(
                    f"pattern {pattern!r}: a table of maps has a column {name} of its own; call "
                    "the placeholder something else"
                )
            expression += rf"(?P={name})" if name in used else rf"(?P<{name}>[^/]+?)"
            used.add(name)
        elif token.startswith("[") and len(token) > 1:
            # As the search by glob takes it: a set of signs, of which none has another meaning.
            expression += fnmatch.translate(token).removeprefix("(?s:").rpartition(")")[0]
        else:
            expression += {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}.get(
                token, re.escape(token)
            )
    matcher = re.compile(expression, re.DOTALL)
    entries = []
    for path in walk(root, _but_for(left_out_folders, root, _folders_of(relative), pattern)):
        match = matcher.fullmatch(path.relative_to(root).as_posix())
        # The header of an Analyze pair stands for the same map as its image.
        if not match or path.suffix == ".hdr" or _is_hidden(path, relative):
            continue
        groups = match.groupdict()
        label = participant_label(groups.pop("subject"))
        name = path.relative_to(root).as_posix() + ("" if part is None else f"[{part}]")
        entries.append(MapEntry(label, path, name, groups, part=part))
    if not entries:
        raise ValueError(f"no file matches {pattern!r}")
    _check_people(entries, pattern)
    return sorted(entries, key=lambda entry: natural_key(entry.name))


def _check_people(entries, pattern):
    """Refuse labels that take the sessions or runs of a participant for people."""
    people = {}
    for label in {entry.participant for entry in entries}:
        person, *entity = _ENTITY_IN_LABEL.split(label, maxsplit=1)[:2]
        people.setdefault(person, []).append((label, *entity))
    for person, labels in people.items():
        if len(labels) > 1:
            (one, *_), (other, entity, *_) = sorted(labels)[:2]
            raise ValueError(
                f"pattern {pattern!r} takes {one} and {other} for two participants; write "
                f"{{subject}}_{entity}-{{{entity}}} to make {entity} a condition of {person}"
            )


def _folders_of(relative):
    """Return which folders may hold what a pattern means, as `walk` asks."""
    segments = re.sub(r"\{\w+\}", "*", relative).split("/")[:-1]

    def enters(names):
        for name, segment in zip(names, segments, strict=False):
            if segment == "**":
                return not names[-1].startswith(".")
            if not fnmatch.fnmatchcase(name, segment):
                return False
            # As in a shell, a wildcard stands for no hidden name.
            if name.startswith(".") and not segment.startswith("."):
                return False
        return len(names) <= len(segments)

    return enters


def _but_for(folders, root, enters, pattern):
    """Return which folders may hold maps where some are left out."""
    left_out = {os.path.realpath(folder) for folder in folders}
    inside = left_out & set(map(str, (top := Path(root).resolve(), *top.parents)))
    if inside:
        raise ValueError(
            f"pattern {pattern!r} lies in {inside.pop()}, which the run fills; take another OUT"
        )

    def enters_also(names):
        return enters(names) and os.path.realpath(root.joinpath(*names)) not in left_out

    return enters_also if left_out else enters


def _is_hidden(path, relative):
    return path.name.startswith(".") and not relative.rpartition("/")[2].startswith(".")


def with_variances(entries: Sequence[MapEntry], variances: Sequence[MapEntry]) -> list[MapEntry]:
    """Give every map the variance map of the same participant and conditions.

    Parameters
    ----------
    entries, variances : sequence of MapEntry
        Effects, and variances as they are found in the same way.

    Returns
    -------
    list of MapEntry
        Where a map has no variance its entry has none.

    Raises
    ------
    ValueError
        Where a map has two, or none of the maps has one.
    """
    found: dict[tuple, MapEntry] = {}
    for entry in variances:
        first = found.setdefault(_key(entry), entry)
        if first is not entry:
            raise ValueError(
                f"participant {entry.participant} has two variance maps, {first.path} and "
                f"{entry.path}"
            )
    joined = [
        replace(e, variance=found[_key(e)].path, variance_part=found[_key(e)].part)
        if _key(e) in found
        else e
        for e in entries
    ]
    if entries and not any(e.variance for e in joined):
        raise ValueError(
            "no variance map is of the participant and conditions of a map: "
            f"{variances[0].path if variances else 'there are none'}"
        )
    return joined


def _key(entry):
    return entry.participant, frozenset(entry.conditions.items())


def read_maps_table(
    path: AnyPath, variables: Sequence[str] | None = None, map_columns: Sequence[str] = ()
) -> list[MapEntry]:
    """Read a table with the columns participant_id, map and, optionally, variance.

    Paths are relative to the table's folder. Other columns are covariates, or conditions where a
    participant has several maps: the columns of names that the model uses and that differ within
    participants, and as many of the others, of few values, as tell the maps of a participant
    apart.

    Parameters
    ----------
    path : path
    variables : sequence of str, optional
        Columns that the model uses; without it it may use all.
    map_columns : sequence of str
        Columns of paths of covariates that are maps; an empty cell names none.

    Returns
    -------
    list of MapEntry

    Raises
    ------
    ValueError
        Where a column or a path is missing, or a column of names that the model uses differs
        within a few participants alone, whose maps others tell apart.
    """
    used = None if variables is None else tuple(variables)
    place = Path(path).absolute()
    # Tables of a model are written while its analyses are looked at.
    state = tuple(file_state(place)) if place.is_file() else None
    key = (place, state, used, tuple(map_columns))
    return list(_once(key, lambda: _table_of_maps(path, used, map_columns)))


def _table_of_maps(path, variables, map_columns):
    table = read_tsv(path)
    for column in ("participant_id", "map", *map_columns):
        if column not in table:
            raise ValueError(f"{path}: no column {column} ({columns_found(table, path)})")
        empty = [] if column in map_columns else _lines(table, table[column].isna())
        if empty:
            raise ValueError(
                f"{path}: no {column} in line {', '.join(empty)} (empty, n/a, NA, nan, None and "
                "null are missing)"
            )
    folder = Path(path).parent
    entries = []
    for row, (label, conditions, covariates) in zip(
        table.to_dict("records"),
        _described(table.drop(columns=list(map_columns)), variables),
        strict=True,
    ):
        path, part = split_part(row["map"])
        variance, variance_part = row.get("variance"), None
        if isinstance(variance, str):
            variance, variance_part = split_part(variance)
        entries.append(
            MapEntry(
                participant=label,
                path=folder / path,
                name=row["map"],
                conditions=conditions,
                variance=folder / variance if isinstance(variance, str) else None,
                covariates=covariates,
                map_covariates={
                    name: folder / row[name] for name in map_columns if isinstance(row[name], str)
                },
                part=part,
                variance_part=variance_part,
            )
        )
    return entries


def read_volumes_table(
    path: AnyPath, variables: Sequence[str] | None = None
) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    """Read the table of the volumes of a 4D image, a row a volume, in their order.

    Other columns than participant_id are conditions and covariates, as `read_maps_table` tells
    them apart.

    Parameters
    ----------
    path : path
    variables : sequence of str, optional
        As `read_maps_table` takes them.

    Returns
    -------
    list of (str, dict, dict)
        Participant, conditions and covariates of every row.

    Raises
    ------
    ValueError
        Without a participant_id in every row.
    """
    table = read_tsv(path)
    if "participant_id" not in table:
        raise ValueError(f"{path}: no column participant_id ({columns_found(table, path)})")
    empty = _lines(table, table["participant_id"].isna())
    if empty:
        raise ValueError(f"{path}: no participant_id in line {', '.join(empty)}")
    return _described(table, variables)


def _lines(table, rows):
    return [str(line) for line, row in zip(table.attrs["lines"], rows, strict=True) if row]


def _described(table, variables):
    """Return participant, conditions and covariates of every row of a table of maps."""
    labels = table["participant_id"].map(participant_label)
    others = table[[c for c in table if c not in ("participant_id", *RESERVED)]]
    conditions = _conditions(others, labels, others.columns if variables is None else variables)
    if variables is not None:
        _check_contradictions(others, labels, [c for c in conditions if c in variables])
    # Older pandas makes no records of a table without columns.
    records = others.to_dict("records") if len(others.columns) else [{}] * len(others)
    return [
        (
            label,
            {c: None if pd.isna(row[c]) else row[c] for c in conditions},
            {c: value for c, value in row.items() if c not in conditions},
        )
        for row, label in zip(records, labels, strict=True)
    ]


def _conditions(table, labels, variables):
    """Return the columns, in their order, that are conditions of a participant's maps."""
    if not labels.duplicated().any():
        return []
    within = table.groupby(labels).nunique()
    varying = [c for c in table if (within[c] > 1).any()]
    # All the values that there are can be those of a participant.
    few = [c for c in varying if table[c].nunique() <= within[c].max()]
    names = [c for c in varying if numbers_of(table[c].dropna()).isna().any()]
    # Numbers are a covariate, as reaction time, but where it takes them to tell maps apart.
    chosen = [c for c in names if c in variables]

    def n_apart(columns):
        return len(table[columns].assign(participant_id=labels).drop_duplicates())

    used = [c for c in few if c in variables]
    for column in [*used, *few, *names]:
        if column not in chosen and n_apart([*chosen, column]) > n_apart(chosen):
            chosen.append(column)
    return [c for c in table if c in chosen]


def _check_contradictions(table, labels, conditions):
    """Refuse conditions of the model that few participants have, where others tell maps apart.

    A participant who is once in another group makes a condition of the groups.
    """
    n_several = int((labels.value_counts() > 1).sum())
    n_values = table.groupby(labels).nunique()
    within = n_values > 1
    for column in conditions:
        differing = sorted(within.index[within[column]], key=natural_key)
        others = [c for c in table if c != column and 2 * within[c].sum() >= n_several]
        apart = not table[others].assign(participant_id=labels).duplicated().any()
        if 2 * len(differing) < n_several and apart:
            shown = ", ".join(differing[:_SHOWN_PARTICIPANTS])
            more = f" and {len(differing) - _SHOWN_PARTICIPANTS} more"
            raise ValueError(
                f"column {column} has several values in the maps of {shown}"
                f"{more * (len(differing) > _SHOWN_PARTICIPANTS)} and one in those of every other "
                f"participant, whose maps are told apart without it: mend these cells, or write "
                "numbers where the values are meant"
            )
