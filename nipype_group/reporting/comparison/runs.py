"""What tells two runs apart: inputs, parameters, versions, design, voxels, rows."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nipype_group.processor import other_processor
from nipype_group.reporting.comparison.alternatives import (
    alternatives_in,
    compare_alternatives,
)
from nipype_group.reporting.comparison.files import (
    changed_keys,
    compare_all,
    difference_text,
    short,
)
from nipype_group.reporting.comparison.rounding import (
    PRINTED_BOUND,
    largest_difference,
)
from nipype_group.reporting.derivatives.read import GroupFolder
from nipype_group.reporting.records.record import (
    HOW_SPLIT,
    PROVENANCE_NAME,
    ProvenanceRecord,
)
from nipype_group.tsv import MISSING

# Told once for the whole run; every sidecar repeats them.
_OF_THE_RUN = ("Parameters", "SoftwareVersions", "Command", "InputsSHA256")
_NO_RECORD: dict = {"Inputs": [], "SoftwareVersions": {}, "Settings": {}}
_OF_FILES = ("Maps", "Tables", "Others", "Rounding")
# Where one of these differs, results are to differ on one processor as well.
_ASKED_FOR = ("Inputs", "Excluded", "Parameters", "Contrasts")
_OTHER_ROLES = ("map", "variance")
# Longer lists of names hide what one looks for; --json holds all.
_MOST_NAMED = 20


def compare_runs(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> dict[str, Any]:
    """Compare the results of two runs.

    Parameters
    ----------
    first, second : path
        Folders of results, or their folders ``group``; or both of alternatives of an analysis,
        as `compare_alternatives` takes them.

    Returns
    -------
    dict
        Only what differs, so {} where nothing does: Inputs (OnlyFirst, OnlySecond, Changed,
        Renamed, Reordered, Covariates, Files), Excluded, Parameters, Versions, Design,
        Contrasts, Entities (in the names of one run alone; its files are compared to those
        that are named alike otherwise), Maps, Tables, Others, Rounding (files that are equal but
        for rounding), OnlyFirst, OnlySecond (files), LikelyCause (another processor or BLAS,
        where files differ and what was asked for does not). Files that differ in nothing but
        versions are left out.

    Raises
    ------
    ValueError, FileNotFoundError
        Where one of them holds no group results.
    """
    several = [alternatives_in(place) for place in (first, second)]
    if any(several):
        return compare_alternatives(*_both(several, (first, second)))
    folders = GroupFolder(first), GroupFolder(second)
    records = [_record(folder) for folder in folders]
    found = {
        "Inputs": _inputs(folders, records),
        "Excluded": _excluded(folders),
        "Parameters": _parameters(folders, records),
        "Versions": _versions(folders, records),
        "Design": _design(folders),
        "Contrasts": _contrasts(folders),
        "Entities": _entities(folders),
        **_files(folders),
    }
    found = {section: what for section, what in found.items() if what}
    if any(section in found for section in _OF_FILES) and not found.keys() & set(_ASKED_FOR):
        causes = other_processor(*(record.get("Processor", {}) for record in records))
        found |= _filled(LikelyCause=causes)
    return found


def _both(several, places):
    """Return the folders of alternatives, which both places have."""
    for own, place, of in zip(several, places, ("first", "second"), strict=True):
        if own is None:
            other = next(folder for folder in several if folder is not None)
            raise ValueError(
                f"{other} holds alternatives of an analysis, and {Path(place).absolute()}, the "
                f"{of}, does not; compare alternatives with alternatives"
            )
    return several


def _record(folder):
    if not (folder.path.parent / PROVENANCE_NAME).exists():
        return _NO_RECORD
    return ProvenanceRecord.read(folder.path.parent).content


def _filled(**entries):
    return {name: value for name, value in entries.items() if value}


def _rows(folder, name, needed=()):
    table = folder.read_rows(name, needed)
    return [] if table is None else table.fillna("n/a").to_dict("records")


def _inputs(folders, records):
    """Tell maps by participant and name, and covariates of the maps that are in both."""
    tables = [_rows(folder, "observations", ("participant_id", "map")) for folder in folders]
    keyed = [{(r["participant_id"], r["map"]): r for r in table} for table in tables]
    one, other = keyed
    lost, gained = [k for k in one if k not in other], [k for k in other if k not in one]
    # The same content under another name is no other map.
    names = {(k[0], other[k].get("sha256")): k for k in gained}
    renamed = {k: names[key] for k in lost if (key := (k[0], one[k].get("sha256"))) in names}
    common = [k for k in one if k in other]
    covariates = {}
    for key in common:
        for column, value in one[key].items():
            if column != "sha256" and other[key].get(column, "n/a") != value:
                change = [key[0], value, other[key].get(column, "n/a")]
                covariates.setdefault(column, []).append(change)
    return _filled(
        OnlyFirst=[k[1] for k in lost if k not in renamed],
        OnlySecond=[k[1] for k in gained if k not in renamed.values()],
        Changed=[k[1] for k in common if one[k].get("sha256") != other[k].get("sha256")],
        Renamed=[[k[1], name[1]] for k, name in renamed.items()],
        Reordered=common != [k for k in other if k in one],
        Covariates=covariates,
        Files=_other_files(records),
    )


def _other_files(records):
    """Return the inputs beside maps whose content differs: role to both names."""
    roles = [
        {i["Role"]: (i["Name"], i["SHA256"]) for i in r["Inputs"] if i["Role"] not in _OTHER_ROLES}
        for r in records
    ]
    if not all(r["Inputs"] for r in records):
        return {}
    nothing = (None, None)
    return {
        role: [roles[0].get(role, nothing)[0], roles[1].get(role, nothing)[0]]
        for role in dict.fromkeys((*roles[0], *roles[1]))
        if roles[0].get(role, nothing)[1] != roles[1].get(role, nothing)[1]
    }


def _excluded(folders):
    rows = [
        {" ".join(f"{v}" for v in r.values()) for r in _rows(folder, "excluded")}
        for folder in folders
    ]
    return _filled(OnlyFirst=sorted(rows[0] - rows[1]), OnlySecond=sorted(rows[1] - rows[0]))


def _parameters(folders, records):
    """Compare settings: of the sidecars, and of the records what sidecars leave out."""
    told = [folder.about.get("Parameters", {}) for folder in folders]
    changed = changed_keys(*told)
    if all(record["Settings"] for record in records):
        settings = changed_keys(*(record["Settings"] for record in records))
        told_already = (*changed, *HOW_SPLIT)
        changed |= {k: v for k, v in settings.items() if k not in told_already}
    return changed


def _versions(folders, records):
    changed = changed_keys(*(folder.about.get("SoftwareVersions", {}) for folder in folders))
    if all(record["SoftwareVersions"] for record in records):
        changed |= changed_keys(*(record["SoftwareVersions"] for record in records))
    return changed


def _design(folders):
    tables = [folder.read_rows("design") for folder in folders]
    about = [folder.read_json("design") for folder in folders]
    if any(table is None for table in tables):
        return {}
    one, other = tables
    common = [c for c in one if c in other]
    # Where the rows differ, the values do too.
    alike = len(one) == len(other)
    differing = [c for c in common if alike and not _same_column(one[c], other[c])]
    return _filled(
        OnlyFirst=[c for c in one if c not in other],
        OnlySecond=[c for c in other if c not in one],
        Changed=[c for c in differing if c not in ("participant_id", "map", "sha256")],
        Rows=[len(one), len(other)] if len(one) != len(other) else None,
        DegreesOfFreedom=_apart([a.get("DegreesOfFreedom", MISSING) for a in about]),
    )


def _same_column(one, other):
    """Tell whether two columns hold the same, but for rounding."""
    if one.tolist() == other.tolist():
        return True
    if one.dtype.kind != "f" or other.dtype.kind != "f":
        return False
    return largest_difference(one, other, bound=PRINTED_BOUND, zeros=False) is not None


def _apart(values):
    return values if values[0] != values[1] else None


def _contrasts(folders):
    one, other = (_readable(folder) for folder in folders)
    return _filled(
        OnlyFirst=[name for name in one if name not in other],
        OnlySecond=[name for name in other if name not in one],
        Changed={
            name: next([a, b] for a, b in zip(one[name], other[name], strict=True) if a != b)
            for name in one
            if name in other and one[name] != other[name]
        },
    )


def _readable(folder):
    """Return of each contrast its expression, its weights by column, and its test."""
    columns = folder.read_json("contrasts").get("Columns", [])
    return {
        c.name: (
            c.expression,
            [{name: w for name, w in zip(columns, row) if w} for row in c.weights.tolist()],
            c.test,
        )
        for c in folder.contrasts
    }


def _entities(folders):
    """Return the entities that the names of one run have and those of the other lack."""
    one, other = (folder.entities for folder in folders)
    return {
        key: [one.get(key), other.get(key)]
        for key in dict.fromkeys((*one, *other))
        if (key in one) != (key in other)
    }


def _files(folders):
    """Compare all files of one name, but for entities that one run alone has."""
    entities = _entities(folders)
    listed = [
        {
            _name_without(entities, p.relative_to(f.path)): p
            for p in sorted(f.path.rglob("*"))
            if p.is_file()
        }
        for f in folders
    ]
    alpha = folders[0].about.get("Parameters", {}).get("alpha")
    found = compare_all(*listed, alpha=alpha, set_aside=_OF_THE_RUN)
    for folder, section in zip(folders, ("OnlyFirst", "OnlySecond"), strict=True):
        found[section] = [path.relative_to(folder.path).as_posix() for path in found[section]]
    return found


def _name_without(entities, path):
    """Return the name of a file without some entities."""
    parts = path.name.split("_")
    kept = "_".join(part for part in parts if part.partition("-")[0] not in entities)
    return path.with_name(kept).as_posix()


def comparison_text(found: Mapping[str, Any]) -> str:
    """Return what `compare_runs` found, in lines; "" where nothing differs.

    Parameters
    ----------
    found : dict
        From `compare_runs`.

    Returns
    -------
    str
    """
    writers = {"Inputs": _input_lines, "Design": _list_lines, "Excluded": _list_lines}
    lines = []
    for section, what in found.items():
        if section in ("OnlyFirst", "OnlySecond"):
            lines.append(f"Files only in the {section.removeprefix('Only').lower()}")
            lines += _named(what)
        elif section in writers:
            lines += [section, *writers[section](what)]
        elif section == "Contrasts":
            changed = {k: v for k, v in what.items() if k != "Changed"}
            lines += [section, *_list_lines(changed), *_contrast_lines(what.get("Changed", {}))]
        elif section == "Entities":
            lines += ["Entities in the names of one run alone", *_changes(what)]
        elif section == "Alternatives":
            lines += [section, *_list_lines(what)]
        elif section in ("Parameters", "Versions"):
            lines += [section, *_changes(what)]
        elif section == "LikelyCause":
            lines += ["Likely cause, another processor or BLAS", *_named(what)]
        else:
            lines.append(_FILES_HEADINGS.get(section, f"{section} that differ"))
            lines += [f"  {name}: {difference_text(d)}" for name, d in what.items()]
    return "\n".join(lines)


_FILES_HEADINGS = {
    "Rounding": "Files that are equal but for rounding: "
    "survivors, clusters, peaks and decisions in them are the same"
}


def _changes(changed):
    return [f"  {name}: {short(a)} -> {short(b)}" for name, (a, b) in changed.items()]


def _contrast_lines(changed):
    return [f"  {name}: {_sense(a)} -> {_sense(b)}" for name, (a, b) in changed.items()]


def _sense(told):
    """Return an expression or a test as it is, weights in words."""
    if isinstance(told, str):
        return told
    rows = "; ".join(", ".join(f"{w:.12g} {column}" for column, w in row.items()) for row in told)
    return f"weights {rows or 'unknown'}"


def _named(names, word=""):
    lines = [f"  {word}{name}" for name in names[:_MOST_NAMED]]
    return lines + ([f"  and {len(names) - _MOST_NAMED} more"] if names[_MOST_NAMED:] else [])


_WORDS = {
    "OnlyFirst": "only in the first: ",
    "OnlySecond": "only in the second: ",
    "Changed": "changed: ",
}


def _list_lines(what):
    lines = []
    for name, value in what.items():
        if name in _WORDS:
            lines += _named(value, _WORDS[name])
        else:
            lines.append(f"  {name}: {value[0]} -> {value[1]}")
    return lines


def _input_lines(what):
    lines = _list_lines({k: v for k, v in what.items() if k in _WORDS})
    lines += _named([f"{a} -> {b}" for a, b in what.get("Renamed", ())], "renamed: ")
    if "Reordered" in what:
        lines.append("  the maps come in another order")
    for column, changes in what.get("Covariates", {}).items():
        values = [f"{who} {a} -> {b}" for who, a, b in changes]
        lines += _named(values, f"{column}: ")
    for role, (one, other) in what.get("Files", {}).items():
        lines.append(f"  {role}: {short(one)} -> {short(other)}, other content")
    return lines


def write_comparison(found: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write what `compare_runs` found as JSON."""
    Path(path).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
