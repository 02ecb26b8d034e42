"""How two files of results differ: in versions, in rounding, or in voxels, rows, keys."""

import json
import os
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nipype_group.images import image_suffixes
from nipype_group.json_files import parse_json
from nipype_group.reporting.comparison.documents import (
    document_difference,
    without_new_settings,
    without_versions,
)
from nipype_group.reporting.comparison.images import compare_figures, compare_maps
from nipype_group.reporting.comparison.rounding import ROUNDING, SETTINGS, VERSIONS, state_of

_TEXTS = (".tsv", ".json", ".html")
# zipfile raises RuntimeError where a pack is encrypted, Python where nesting is too deep.
_UNREADABLE = (
    OSError,
    EOFError,
    zlib.error,
    struct.error,
    zipfile.BadZipFile,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    MemoryError,
    OverflowError,
)
# No pack of results is larger; what only claims to be small would fill the disk.
_LARGEST_PACK_BYTES = 1 << 32


def compare_files(
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    *,
    alpha: float | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """Compare two files of one name byte for byte, and tell what differs.

    Parameters
    ----------
    first, second : path
        A map, a table (.tsv), a JSON file, a page, a figure, a pack (.zip) or any other.
    alpha : float, optional
        Level that p are compared with: one on its other side is another decision.
    defaults : dict, optional
        Settings that the record of the first lacks, as that of an older version, to their
        defaults. In a sidecar or page of the second alone they are no difference.

    Returns
    -------
    dict or None
        None where all bytes are equal. Else Kind, and more of the kind, and State where it is one
        of these:

        - versions: all bytes are equal but for versions of software that the text names;
        - settings: they are but for settings among `defaults`, and perhaps for versions;
        - rounding: the same grid, voxels, labels, rows, keys, text and decisions, and numbers
          that are apart as `nipype_group.reporting.comparison.rounding` allows. Relative is the
          largest distance, None of figures.

        NewSettings names the settings that are set aside. Without State they are different, or
        cannot be read.

        Kind is map, table, json, figure, pack or other. Of maps Voxels, LargestDifference and
        Correlation (of masks and labels Voxels alone, of other grids Shapes); of tables Rows,
        OnlyFirst, OnlySecond and Columns; of JSON files Keys with both values; of figures Pixels
        and Levels, or Shapes; of packs Members; of others Bytes.
    """
    if not (isinstance(alpha, float) and 0 < alpha < 1):
        alpha = None
    first, second = Path(first), Path(second)
    contents = first.read_bytes(), second.read_bytes()
    if contents[0] == contents[1]:
        return None
    sizes = {"Kind": "other", "Bytes": [len(content) for content in contents]}
    try:
        if first.name.endswith(image_suffixes()):
            return {"Kind": "map", **compare_maps(first, second, alpha)}
        if first.suffix == ".png":
            found = compare_figures(contents[0], contents[1])
            return {"Kind": "figure", **found} if found else sizes
        if first.suffix == ".zip":
            return {"Kind": "pack", **_compare_packs(first, second, alpha)}
        texts = [content.decode("utf-8") for content in contents]
        found = _compare_texts(first, texts, alpha, defaults or {})
        return found if "Kind" in found else sizes | found
    except UnicodeDecodeError as error:
        return {**sizes, "Unreadable": str(error)} if first.suffix in _TEXTS else sizes
    except _UNREADABLE as error:
        return {**sizes, "Unreadable": str(error)}


def compare_all(
    first: Mapping[str, Path],
    second: Mapping[str, Path],
    *,
    alpha: float | None = None,
    set_aside: Sequence[str] = (),
) -> dict[str, Any]:
    """Compare the files of two results that have one name.

    Parameters
    ----------
    first, second : dict of str to Path
        Files by name.
    alpha : float, optional
        As of `compare_files`.
    set_aside : sequence of str
        Keys of JSON files in which alone one may differ, as they are told elsewhere.

    Returns
    -------
    dict
        Maps, Tables, Others and Rounding: name to what `compare_files` tells, where files differ
        in more than versions; OnlyFirst and OnlySecond: files of one alone.
    """
    found: dict[str, Any] = {name: {} for name in ("Maps", "Tables", "Others", "Rounding")}
    for name, path in first.items():
        if name not in second:
            continue
        difference = compare_files(path, second[name], alpha=alpha)
        if difference is not None and not _repeats(difference, set_aside):
            found[_section(name, difference)][name] = difference
    found["OnlyFirst"] = [path for name, path in first.items() if name not in second]
    found["OnlySecond"] = [path for name, path in second.items() if name not in first]
    return found


def _section(name, difference):
    if difference.get("State") == ROUNDING:
        return "Rounding"
    if name.endswith(image_suffixes()):
        return "Maps"
    return "Tables" if name.endswith(".tsv") else "Others"


def _repeats(difference, set_aside):
    """Tell whether a file differs in nothing but versions and what is told elsewhere."""
    if difference.get("State") == VERSIONS:
        return True
    keys = difference.get("Keys")
    return bool(keys) and all(key.partition(".")[0] in set_aside for key in keys)


def _compare_texts(path, texts, alpha, defaults):
    texts[1], aside = without_new_settings(path.name, *texts, defaults)
    one, other = (without_versions(path.name, text) for text in texts)
    if one == other:
        found = {"State": SETTINGS if aside else VERSIONS}
    else:
        found = state_of(document_difference(path.name, one, other, alpha=alpha))
    if aside:
        found["NewSettings"] = aside
    if path.suffix == ".tsv":
        return found | {"Kind": "table", **_compare_tables(*map(str.splitlines, texts))}
    if path.suffix == ".json":
        return found | {
            "Kind": "json",
            "Keys": changed_keys(*(parse_json(text, path) for text in texts)),
        }
    return found


def _compare_packs(first, second, alpha):
    """Compare what is in two zip files; of that in one alone the state is different."""
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place, name) for name in ("first", "second")]
        for path, folder in zip((first, second), folders, strict=True):
            with zipfile.ZipFile(path) as pack:
                if sum(member.file_size for member in pack.infolist()) > _LARGEST_PACK_BYTES:
                    raise ValueError("too large to be unpacked")
                pack.extractall(folder)
        one, other = (
            sorted(p.relative_to(f).as_posix() for p in f.rglob("*") if p.is_file())
            for f in folders
        )
        alone = {name: {"Kind": "missing"} for name in set(one) ^ set(other)}
        compared = {
            name: compare_files(folders[0] / name, folders[1] / name, alpha=alpha)
            for name in one
            if name in other
        }
    members = alone | {name: found for name, found in compared.items() if found is not None}
    states = {found.get("State") for found in members.values()}
    if None in states:
        return {"Members": members}
    if states == {VERSIONS}:
        return {"State": VERSIONS, "Members": members}
    largest = max((found.get("Relative") or 0.0 for found in members.values()), default=0.0)
    return {"State": ROUNDING, "Relative": largest, "Members": members}


def _compare_tables(one, other):
    headers = [lines[0].split("\t") if lines else [] for lines in (one, other)]
    rows = [Counter(lines[1:]) for lines in (one, other)]
    return {
        "Rows": [len(one) - 1, len(other) - 1],
        "OnlyFirst": sum((rows[0] - rows[1]).values()),
        "OnlySecond": sum((rows[1] - rows[0]).values()),
        "Columns": [[c for c in headers[i] if c not in headers[1 - i]] for i in (0, 1)],
    }


def changed_keys(one: Any, other: Any, prefix: str = "") -> dict[str, list[Any]]:
    """Return the keys whose values differ between two JSON values: name to both values.

    Examples
    --------
    >>> changed_keys({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4})
    {'a.c': [2, 3], 'd': [None, 4]}
    """
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return {} if one == other else {prefix: [one, other]}
    changed: dict[str, list[Any]] = {}
    for key in dict.fromkeys((*one, *other)):
        name = f"{prefix}.{key}" if prefix else key
        changed |= changed_keys(one.get(key), other.get(key), name)
    return changed


def difference_text(difference: Mapping[str, Any]) -> str:
    """Return what `compare_files` found as one line.

    Examples
    --------
    >>> difference_text({"Kind": "other", "Bytes": [10, 12]})
    '10 -> 12 bytes'
    >>> difference_text({"State": "rounding", "Relative": 2e-7, "Kind": "json", "Keys": {}})
    'numbers by up to 2e-07 of their size'
    """
    if "Unreadable" in difference:
        return f"cannot be read: {difference['Unreadable']}"
    if difference.get("State") == VERSIONS:
        return "other versions"
    if difference.get("State") == SETTINGS:
        return new_settings_text(difference["NewSettings"])
    kind = difference["Kind"]
    if difference.get("State") == ROUNDING and kind != "figure":
        return _rounding_text(difference)
    return _WRITERS[kind](difference)


def new_settings_text(names: list[str]) -> str:
    """Return how many settings are set aside in words.

    Examples
    --------
    >>> new_settings_text(["tail"])
    '1 setting that the older version did not have, at its default'
    """
    if len(names) == 1:
        return "1 setting that the older version did not have, at its default"
    return f"{len(names)} settings that the older version did not have, at their defaults"


def _rounding_text(difference):
    if difference["Relative"] == 0:
        is_map = difference["Kind"] == "map"
        return "same voxels, another header or compression" if is_map else "written otherwise"
    what = f"{difference['Voxels']} voxels" if difference["Kind"] == "map" else "numbers"
    return f"{what} by up to {difference['Relative']:.2g} of their size"


def _map_text(difference):
    if "Shapes" in difference:
        return "shape {} -> {}".format(*difference["Shapes"])
    header = ", another header" if "OtherHeader" in difference else ""
    if not difference["Voxels"]:
        return "same voxels, another header or compression"
    if "Correlation" not in difference:
        return f"{difference['Voxels']} voxels{header}"
    r = difference["Correlation"]
    return (
        f"{difference['Voxels']} voxels, by up to {difference['LargestDifference']:.3g}, "
        f"r {'n/a' if r is None else format(r, '.4f')}{header}"
    )


def _table_text(difference):
    first, second = difference["Rows"]
    parts = [f"{first} -> {second} rows" if first != second else f"{first} rows"]
    parts.append(f"{difference['OnlyFirst']} only in the first")
    parts.append(f"{difference['OnlySecond']} only in the second")
    lost, gained = difference["Columns"]
    parts += [f"without column {name}" for name in lost]
    parts += [f"with column {name}" for name in gained]
    return ", ".join(parts)


def _json_text(difference):
    keys = difference["Keys"]
    if not keys:
        return "written otherwise"
    if "" in keys:
        return "other entries"
    return "; ".join(f"{k}: {short(a)} -> {short(b)}" for k, (a, b) in keys.items())


def _figure_text(difference):
    if "Shapes" in difference:
        return "{} -> {} pixels".format(*difference["Shapes"])
    changed, all_of_them = difference["Pixels"]
    if not changed:
        return "the same pixels, written otherwise"
    return f"{changed} of {all_of_them} pixels, by up to {difference['Levels']} of 255 levels"


def _pack_text(difference):
    return "; ".join(
        f"{name}: {difference_text(found)}"
        for name, found in sorted(difference["Members"].items())
        if found.get("State") is None
    )


def _bytes_text(difference):
    first, second = difference["Bytes"]
    return f"{first} bytes, others" if first == second else f"{first} -> {second} bytes"


_WRITERS = {
    "map": _map_text,
    "table": _table_text,
    "json": _json_text,
    "figure": _figure_text,
    "pack": _pack_text,
    "missing": lambda difference: "in one of them alone",
    "other": _bytes_text,
}


def short(value: object, width: int = 60) -> str:
    """Return a JSON value in at most so many letters.

    Examples
    --------
    >>> short(None), short(0.05), short("x" * 90, 10)
    ('n/a', '0.05', 'xxxxxxx...')
    """
    text = "n/a" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."
