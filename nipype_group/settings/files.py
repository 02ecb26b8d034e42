"""Settings in a file: read, written, and described for editors."""

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from nipype_group.choices import nearest
from nipype_group.json_files import read_json
from nipype_group.settings.analysis import AnalysisSettings
from nipype_group.settings.records import VERSION, VERSION_NAME, about_of, default_of
from nipype_group.whole_files import replace_text

# Name of what a file of settings lists for several analyses at once.
ALTERNATIVES = "alternatives"
# Settings that may name files.
_WITH_FILES = ("atlases", "blocks")


def _kept():
    """Return the fields that files hold: none is of the machine."""
    return [item for item in fields(AnalysisSettings) if not about_of(item).of_machine]


def write_settings(path: str | os.PathLike[str], settings: AnalysisSettings) -> None:
    """Write the settings of an analysis as JSON.

    Parameters
    ----------
    path : path
    settings : AnalysisSettings

    Raises
    ------
    OSError
        Where the file cannot be written.
    ValueError
        Where a file that holds no settings stands there.
    """
    path = Path(path).absolute()
    if path.is_file() and path.stat().st_size:
        try:
            read_settings(path)
        except ValueError as error:
            raise ValueError(
                f"{path} holds something else than settings ({error}); choose another file, or "
                "delete it"
            ) from error
    values = {item.name: getattr(settings, item.name) for item in _kept()}
    text = json.dumps({VERSION_NAME: VERSION, **values}, indent=2)
    replace_text(path, f"{text}\n")


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read settings from JSON.

    Parameters
    ----------
    path : path
        What `write_settings` wrote, or a part of it written by hand. Files of atlases and blocks
        in it are looked for beside it.

    Returns
    -------
    dict
        Values by name.

    Raises
    ------
    ValueError
        Naming the file, where it is no JSON object or has a name or a version that is not known.
    """
    path = Path(path).absolute()
    content = read_json(path, dict)
    if ALTERNATIVES in content:
        raise ValueError(
            f"{path} lists {ALTERNATIVES} of an analysis, which nipype-group multiverse runs"
        )
    return parse_settings(content, path)


def parse_settings(content: Mapping[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the settings that the content of a file gives; see `read_settings`."""
    path = Path(path)
    values = current_settings(content, path)
    # It is for editors.
    values.pop("$schema", None)
    known = [item.name for item in _kept()]
    for name in values:
        if name not in known:
            raise ValueError(f"{path} has {name}, which is no setting{nearest(name, known)}")
    return with_places(values, path.parent)


def current_settings(values: Mapping[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return recorded settings as this version names them.

    Parameters
    ----------
    values : dict
        Settings by name, with the version of their names; without one the first is meant.
    path : path
        Where they stand.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        Where the version is newer than this one.
    """
    values = dict(values)
    version = values.pop(VERSION_NAME, VERSION)
    if type(version) is not int or version < 1:
        raise ValueError(
            f"{path} has {VERSION_NAME} {version!r}; give a whole number from 1 to {VERSION}"
        )
    if version > VERSION:
        raise ValueError(
            f"{path} has {VERSION_NAME} {version!r}, and this version of nipype_group knows up to "
            f"{VERSION}; install a newer one"
        )
    return values


def settings_lacking(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that recorded ones lack, as those of an older version do.

    Parameters
    ----------
    values : dict
        Settings by name.

    Returns
    -------
    dict
        Name to default, as JSON has it.
    """
    lacking = {
        item.name: default_of(item)
        for item in fields(AnalysisSettings)
        if item.name not in values and default_of(item) is not MISSING
    }
    return json.loads(json.dumps(lacking))


def with_places(values: Mapping[str, Any], folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return settings with absolute paths in the place of names of files.

    Parameters
    ----------
    values : dict
        Settings by name.
    folder : path
        Where relative paths start.

    Returns
    -------
    dict
    """
    placed = dict(values)
    for name in _WITH_FILES:
        items = placed.get(name)
        if isinstance(items, (list, tuple)):
            # An atlas of a package has no suffix, and blocks of one item alone are a file.
            looked_for = name == "atlases" or len(items) == 1
            placed[name] = tuple(
                _placed(item, folder, name == "blocks") if looked_for else item for item in items
            )
    if isinstance(placed.get("figure_anatomy"), str):
        placed["figure_anatomy"] = _placed(placed["figure_anatomy"], folder, False)
    return placed


def _placed(item, folder, without_suffix):
    if not isinstance(item, str) or not (without_suffix or Path(item).suffix):
        return item
    path = Path(folder, item).absolute()
    return str(path) if path.is_file() else item


def settings_schema() -> dict[str, Any]:
    """Return the JSON schema of files of settings, for editors.

    Returns
    -------
    dict
    """
    from pydantic import TypeAdapter

    properties = {
        "$schema": {"type": "string", "description": "where this schema lies"},
        VERSION_NAME: {
            "type": "integer",
            "const": VERSION,
            "description": "version of the names of settings",
        },
        ALTERNATIVES: {
            "type": ["object", "array"],
            "description": "of nipype-group multiverse: values of settings by name, in all "
            "products, or objects with a name and settings",
        },
    }
    for item in _kept():
        about = about_of(item)
        described = TypeAdapter(item.type).json_schema()
        for limits in _parts(described):
            limits |= _limits(about, limits.get("type"))
        described["description"] = about.help
        if default_of(item) is not MISSING:
            default = default_of(item)
            described["default"] = list(default) if isinstance(default, tuple) else default
        properties[item.name] = described
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of a group analysis of nipype_group",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _parts(schema):
    """Yield the schemas of single values in a schema."""
    if "anyOf" in schema:
        for part in schema["anyOf"]:
            yield from _parts(part)
    elif "items" in schema:
        yield from _parts(schema["items"])
    else:
        yield schema


def _limits(about, kind):
    found = {}
    if about.allowed is not None and kind in ("string", "integer"):
        found["enum"] = list(about.allowed)
    if kind in ("integer", "number"):
        if about.probability:
            found |= {"exclusiveMinimum": 0, "exclusiveMaximum": 1}
        if about.least is not None:
            found["exclusiveMinimum" if about.open_least else "minimum"] = about.least
        if about.most is not None:
            found["maximum"] = about.most
    return found
