"""The files that an analysis reads: listed with their SHA-256, and found again."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from nipype_group.design.first_level import files_beside
from nipype_group.design.listed_maps import listed_maps
from nipype_group.design.participants.map_covariates import split_covariate
from nipype_group.design.participants.tables import participants_path, session_files
from nipype_group.design.sources import split_pattern
from nipype_group.images import content_sha256, file_sha256, file_state
from nipype_group.images.sub_bricks import split_part
from nipype_group.peers.files import SINGLE_INPUTS, look_up
from nipype_group.reporting.atlases.companions import images_of, labels_beside, xml_beside
from nipype_group.reporting.atlases.labels import read_xml

# What says beside a statistic what it is of.
_MODEL_SUFFIXES = (
    ".mat",
    ".con",
    ".fts",
    ".grp",
    ".fsf",
    ".lev",
    ".dof",
    ".txt",
    ".csv",
    ".tsv",
    ".json",
    ".HEAD",
)
# Degrees of freedom of FSL and HALFpipe, which may be an image, and smoothness.
_MODEL_NAMES = re.compile(r"dof|smoothness|(t?dof.*|.*_stat-dof_statmap)\.(nii|img|hdr)(\.gz)?")
# Inputs of the group workflow that are one file each.
SINGLE_FILES = (
    "stack_file",
    "variance_stack_file",
    "mask_file",
    "search_volume",
    "design_table",
    "shuffles_file",
)


class InputsError(ValueError):
    """Recorded inputs that are not there, or are not what they were."""


@dataclass(frozen=True)
class InputFile:
    """A file that an analysis reads.

    Parameters
    ----------
    role : str
        map, variance, ``map_covariate NAME``, participants, sessions, maps_table, one of
        `SINGLE_FILES`, blocks,
        ``atlas N`` for the files of the N-th atlas, from 1, or installed atlas; of another
        package's results statistic, effect_file, variance_file, design_table, or model for what
        lies beside them.
    name : str
        Path relative to the data set, table or atlas it belongs to; else the file's name.
    path : Path
        Where it lies.
    sha256 : str
        SHA-256 of the content.
    state : list of int, optional
        As `file_state` gives it, in which it had this content; no part of what it is.
    """

    role: str
    name: str
    path: Path
    sha256: str
    state: list | None = field(default=None, compare=False, repr=False)


class UnsteadyFileError(ValueError):
    """A file that is written to while it is read."""


def record_file(role: str, name: str, path: Path) -> InputFile:
    """Read a file and return it as an input in its state.

    Raises
    ------
    UnsteadyFileError
        Where it changes meanwhile.
    OSError
        Where it cannot be read.
    """
    state = file_state(path)
    sha256 = content_sha256(path)
    if file_state(path) != state:
        raise UnsteadyFileError(f"{path} changes while it is read; run again once it is whole")
    return InputFile(role, name, path, sha256, state)


def record_inputs(
    files: Mapping[str, Any],
    *,
    blocks: Sequence[str] = (),
    atlases: Sequence[str] = (),
    anatomy: str | None = None,
) -> list[InputFile]:
    """List the files that an analysis reads, with their SHA-256.

    Parameters are those of `list_inputs`.

    Returns
    -------
    list of InputFile
        Maps in the order in which they are found, then the others. A file that cannot be read is
        left out: the analysis leaves it out too, or fails.

    Raises
    ------
    ValueError, OSError
        As collecting the maps does; where a file changes while it is read.
    """
    return record_listed(list_inputs(files, blocks=blocks, atlases=atlases, anatomy=anatomy))[0]


def record_listed(listed: Mapping[tuple[str, str], Path]) -> tuple[list[InputFile], list[Path]]:
    """Read what `list_inputs` gives.

    Returns
    -------
    inputs : list of InputFile
    unreadable : list of Path
    """
    inputs: list[InputFile] = []
    unreadable: list[Path] = []
    for (role, name), path in listed.items():
        recorded = _record_readable(role, name, path)
        if recorded is None:
            unreadable.append(path)
        else:
            inputs.append(recorded)
    return inputs, unreadable


def _record_readable(role, name, path):
    try:
        return record_file(role, name, path)
    except OSError:
        return None


def list_inputs(
    files: Mapping[str, Any],
    *,
    blocks: Sequence[str] = (),
    atlases: Sequence[str] = (),
    anatomy: str | None = None,
) -> dict[tuple[str, str], Path]:
    """Find the files that an analysis reads.

    Parameters
    ----------
    files : dict
        Inputs of the group workflow: one of bids_dir (with select), pattern, maps_table and
        stack_file, with what goes with it, and `SINGLE_FILES`. Or those of the workflow of another
        package's results: path, single, and what goes with them.
    blocks, atlases : tuple of str, optional
        Names or files of the settings; those that are files are listed.
    anatomy : str, optional
        Image behind slices.

    Returns
    -------
    dict
        (role, name) to absolute path.

    Raises
    ------
    ValueError, OSError
        As collecting the maps does.
    """
    found = list(_peer_files(files)) if "path" in files else [*_maps(files), *_tables(files)]
    for role in SINGLE_FILES:
        if role in files:
            found += _with_companions(role, Path(files[role]).name, Path(files[role]))
    found += [("blocks", Path(b).name, b) for b in blocks if Path(b).is_file()]
    if anatomy is not None and Path(anatomy).is_file():
        found += _with_companions("figure_anatomy", Path(anatomy).name, Path(anatomy).absolute())
    for number, atlas in enumerate(atlases or (), 1):
        if Path(atlas).is_file():
            path = Path(atlas).absolute()
            found += [
                (f"atlas {number}", Path(os.path.relpath(file, path.parent)).as_posix(), file)
                for file in atlas_files(path)
            ]
    # Maps of one folder share what lies beside them.
    return {(role, name): Path(path).absolute() for role, name, path in found}


def _peer_files(files):
    """Give the images of another package's results, and what lies beside and describes them."""
    place, single = Path(files["path"]), files["single"]
    given = {key: files[name] for key, name in SINGLE_INPUTS.items() if name in files}
    found = look_up(
        place, single=single, package=files.get("package"), dof=files.get("dof"), **given
    )
    top = place if place.is_dir() else place.parent
    images = [
        path
        for statistic in found.statistics
        for path in (
            *(value for value in vars(statistic).values() if isinstance(value, Path)),
            *(path for path, _ in statistic.corrected.values()),
        )
    ]
    for path in dict.fromkeys(map(Path, images)):
        name = Path(os.path.relpath(path, top)).as_posix()
        yield from _with_companions("statistic", name, path)
    folders = set() if single else {top, *(path.absolute().parent for path in images)}
    for folder in sorted(folders):
        # The design of FEAT lies above the statistics.
        above = [*folder.parent.glob("design.*"), folder.parent / "dataset_description.json"]
        for path in sorted([*folder.iterdir(), *above]):
            known = path.suffix in _MODEL_SUFFIXES or _MODEL_NAMES.fullmatch(path.name)
            if known and path.is_file():
                yield "model", Path(os.path.relpath(path, top)).as_posix(), path


def _maps(files):
    covariates = dict(split_covariate(item) for item in files.get("map_covariates", ()))
    if "stack_file" in files:
        # The volumes of a stack are maps that only the work folder holds.
        for name, place in covariates.items():
            path = Path(str(place))
            yield from _with_companions(covariate_role(name), path.name, path)
        return
    variance_root = _variance_root(files)
    for entry in listed_maps(files):
        yield from _with_companions("map", split_part(entry.name)[0], Path(entry.path))
        if entry.variance is not None:
            name = Path(os.path.relpath(entry.variance, variance_root)).as_posix()
            yield from _with_companions("variance", name, Path(entry.variance))
        for covariate, path in entry.map_covariates.items():
            place = covariates[covariate]
            root = Path(files["maps_table"]).parent if place is None else split_pattern(place)[0]
            name = Path(os.path.relpath(path, root or ".")).as_posix()
            yield from _with_companions(covariate_role(covariate), name, Path(path))


def covariate_role(name: str) -> str:
    """Return the role of the maps of a covariate."""
    return f"map_covariate {name}"


def _variance_root(files):
    """Return where names of variances start."""
    if "bids_dir" in files:
        return files["bids_dir"]
    if "pattern" in files:
        return split_pattern(files.get("variance_pattern", ""))[0] or "."
    return Path(files["maps_table"]).parent


def _with_companions(role, name, path):
    """Give an image and what is read beside it: the rest of it, FEAT's contrasts."""
    yield role, name, path
    for file in files_beside(path):
        relative = os.path.relpath(file, path.parent)
        yield role, os.path.normpath(PurePosixPath(name).parent / relative), file


def _tables(files):
    if "maps_table" in files:
        yield "maps_table", Path(files["maps_table"]).name, files["maps_table"]
    table = participants_path(files)
    if table is not None and table.is_file():
        yield "participants", table.name, table
    if "stack_file" in files:
        return
    labels = [entry.participant for entry in listed_maps(files)]
    for path in session_files(files, labels).values():
        # Below the table of participants, or the data set.
        yield "sessions", f"{path.parent.name}/{path.name}", path


def atlas_files(path: str | os.PathLike[str]) -> list[Path]:
    """Return the files of an atlas, the one that was named first.

    Parameters
    ----------
    path : path
        Image, or FSL's XML.

    Returns
    -------
    list of Path
    """
    path = Path(path)
    if path.suffix == ".xml":
        return list(dict.fromkeys([path, *images_of(path, read_xml(path))]))
    labels = labels_beside(path)
    if labels is None or labels.suffix == ".xml":
        named_by = xml_beside(path)
        labels = labels if named_by is None else named_by[0]
    return [path] if labels is None else [path, labels]


def digest(inputs: Iterable[InputFile]) -> str:
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


def find_inputs(
    inputs: Sequence[InputFile], folders: Sequence[str | os.PathLike[str]] = ()
) -> list[InputFile]:
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
