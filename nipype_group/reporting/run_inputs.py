"""The files that an analysis reads: listed with their SHA-256, and found again."""

import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from nipype_group.design.sources import (
    find_bids_maps,
    find_pattern_maps,
    parse_selection,
    read_maps_table,
    with_variances,
)
from nipype_group.images import file_sha256
from nipype_group.reporting.atlas_beside import labels_beside, xml_beside
from nipype_group.reporting.atlas_labels import read_xml

# Inputs of the group workflow that are one file each.
SINGLE_FILES = (
    *("stack_file", "variance_stack_file"),
    *("mask_file", "search_volume", "design_table", "shuffles_file"),
)


class InputsError(ValueError):
    """Recorded inputs that are not there, or are not what they were."""


@dataclass(frozen=True)
class InputFile:
    """A file that an analysis reads.

    Parameters
    ----------
    role : str
        map, variance, participants, maps_table, one of `SINGLE_FILES`, blocks, or ``atlas N``
        for the files of the N-th atlas, from 1.
    name : str
        Path relative to the data set, table or atlas it belongs to; else the file's name.
    path : Path
        Where it lies.
    sha256 : str
        Of its content.
    """

    role: str
    name: str
    path: Path
    sha256: str


def record_inputs(files, *, blocks=(), atlases=()):
    """List the files that an analysis reads, with their SHA-256.

    Parameters
    ----------
    files : dict
        Inputs of the group workflow: one of bids_dir (with select), pattern, maps_table and
        stack_file, with what goes with it, and `SINGLE_FILES`.
    blocks, atlases : tuple of str, optional
        Of the settings; those that are files are listed.

    Returns
    -------
    list of InputFile
        Maps in the order in which they are found, then the others.

    Raises
    ------
    ValueError, OSError
        As collecting the maps does.
    """
    found = [*_maps(files), *_tables(files)]
    found += [
        (role, Path(files[role]).name, files[role]) for role in SINGLE_FILES if role in files
    ]
    found += [("blocks", Path(b).name, b) for b in blocks if Path(b).is_file()]
    for number, atlas in enumerate(atlases or (), 1):
        if Path(atlas).is_file():
            found += _atlas(f"atlas {number}", Path(atlas).absolute())
    # Maps of one folder share what lies beside them.
    distinct = {(role, name): Path(path).absolute() for role, name, path in found}
    return [InputFile(*key, path, file_sha256(path)) for key, path in distinct.items()]


def _maps(files):
    if "stack_file" in files:
        # Its volumes are maps that only the work folder holds.
        return
    entries, variance_root = _entries(files)
    for entry in entries:
        yield from _with_companions("map", entry.name, Path(entry.path))
        if entry.variance is not None:
            name = Path(os.path.relpath(entry.variance, variance_root)).as_posix()
            yield from _with_companions("variance", name, Path(entry.variance))


def _entries(files):
    """Return the maps of the source that is given, and where names of variances start."""
    if "bids_dir" in files:
        top, selection = files["bids_dir"], parse_selection(files.get("select", []))
        entries = find_bids_maps(top, selection)
        if "variance_select" in files:
            selection = {**selection, **parse_selection(files["variance_select"])}
            entries = with_variances(entries, find_bids_maps(top, selection))
        return entries, top
    if "pattern" in files:
        entries, variances = find_pattern_maps(files["pattern"]), files.get("variance_pattern", "")
        if variances:
            entries = with_variances(entries, find_pattern_maps(variances))
        return entries, pattern_root(variances) or "."
    return read_maps_table(files["maps_table"]), Path(files["maps_table"]).parent


def pattern_root(pattern):
    """Return the part of a pattern before its first wildcard: names are relative to it.

    Examples
    --------
    >>> pattern_root("first_level/{subject}/con_0001.nii")
    'first_level/'
    """
    fixed = re.split(r"[{*?\[]", pattern, maxsplit=1)[0]
    return fixed[: fixed.rfind("/") + 1]


def _with_companions(role, name, path):
    """Give an image and what is read beside it: the rest of an Analyze image, FEAT's contrasts."""
    yield role, name, path
    beside = []
    if path.suffix == ".img":
        beside = [path.with_suffix(suffix) for suffix in (".hdr", ".mat")]
    if path.name.startswith("cope"):
        folders = (path.parent.parent, path.parent.parent.parent)
        beside += [folder / f"design.{end}" for folder in folders for end in ("con", "lev")]
    for file in beside:
        if file.is_file():
            relative = os.path.relpath(file, path.parent)
            yield role, os.path.normpath(PurePosixPath(name).parent / relative), file


def _tables(files):
    if "maps_table" in files:
        yield "maps_table", Path(files["maps_table"]).name, files["maps_table"]
    table = files.get("participants")
    if table is None and "bids_dir" in files:
        table = Path(files["bids_dir"], "participants.tsv")
    if table is not None and Path(table).is_file():
        yield "participants", Path(table).name, table


def _atlas(role, path):
    """Give the files of an atlas, the one that was named first."""
    files, labels = [path], None if path.suffix == ".xml" else labels_beside(path)
    if path.suffix == ".xml":
        described = read_xml(path)
        files += [*described.images, *described.summaries]
    elif labels is not None and labels.suffix != ".xml":
        files.append(labels)
    elif (named_by := xml_beside(path)) is not None:
        files.append(named_by[0])
    for file in dict.fromkeys(files):
        yield role, Path(os.path.relpath(file, path.parent)).as_posix(), file


def digest(inputs):
    """Return one SHA-256 of role, name and content of all inputs.

    Examples
    --------
    >>> from pathlib import Path
    >>> maps = [InputFile("map", f"{name}.nii", Path(name), "00") for name in "ab"]
    >>> digest(maps) == digest(maps[::-1]), digest(maps) == digest(maps[:1])
    (True, False)
    """
    lines = sorted(f"{i.role}\t{i.name}\t{i.sha256}\n" for i in inputs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def find_inputs(inputs, folders=()):
    """Find recorded inputs at their places or, by content, in other folders.

    Parameters
    ----------
    inputs : list of InputFile
    folders : sequence of path
        Searched, with what is below them, for files that are not at their places.

    Returns
    -------
    list of InputFile
        At the places where they are.

    Raises
    ------
    InputsError
        Naming every input that is missing or has another SHA-256.
    """
    missing = [i for i in inputs if not i.path.is_file()]
    changed = [i for i in inputs if i.path.is_file() and file_sha256(i.path) != i.sha256]
    by_content = _search({i.sha256 for i in missing + changed}, folders)
    lines = [
        *(f"  {i.path} ({i.role}): missing" for i in missing if i.sha256 not in by_content),
        *(
            f"  {i.path} ({i.role}): another SHA-256 than the recorded {i.sha256[:12]}..."
            for i in changed
            if i.sha256 not in by_content
        ),
    ]
    if lines:
        raise InputsError(
            f"{len(lines)} of {len(inputs)} inputs are not what the results were made from:\n"
            + "\n".join(lines)
            + "\nIf they were moved, name a folder that holds them (--inputs); they are known by "
            "their content"
        )
    moved = {(i.role, i.name) for i in missing + changed}
    return [
        replace(i, path=by_content[i.sha256]) if (i.role, i.name) in moved else i for i in inputs
    ]


def _search(wanted, folders):
    found = {}
    for folder in folders:
        for path in sorted(Path(folder).absolute().rglob("*")):
            if len(found) == len(wanted):
                return found
            if path.is_file() and (sha256 := file_sha256(path)) in wanted:
                found.setdefault(sha256, path)
    return found
