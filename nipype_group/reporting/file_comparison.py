"""How two files of results differ: voxels, rows, keys."""

import json
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np

from nipype_group.images import IMAGE_SUFFIXES, UNREADABLE
from nipype_group.whole_files import parse_json

# Last part of the names of images whose values are names, not sizes.
_LABEL_IMAGES = ("dseg", "mask")


def compare_files(first, second):
    """Compare two files of one name byte for byte, and tell what differs.

    Parameters
    ----------
    first, second : path
        A map, a table (.tsv), a JSON file or any other.

    Returns
    -------
    dict or None
        None where all bytes are equal. Else Kind (map, table, json or other) and, of maps,
        Voxels, LargestDifference and Correlation (of masks and labels Voxels alone, of other
        grids Shapes); of tables Rows, OnlyFirst, OnlySecond and Columns; of JSON files Keys with
        both values; of others Bytes.
    """
    first, second = paths = Path(first), Path(second)
    contents = first.read_bytes(), second.read_bytes()
    if contents[0] == contents[1]:
        return None
    try:
        if first.name.endswith(IMAGE_SUFFIXES):
            return {"Kind": "map", **_compare_images(first, second)}
        if first.suffix == ".tsv":
            return {"Kind": "table", **_compare_tables(*map(_lines, contents))}
        if first.suffix == ".json":
            return {"Kind": "json", "Keys": changed_keys(*map(_parsed, contents, paths))}
    except UNREADABLE as error:
        return {"Kind": "other", "Bytes": [len(c) for c in contents], "Unreadable": str(error)}
    return {"Kind": "other", "Bytes": [len(c) for c in contents]}


def _parsed(content, path):
    return parse_json(content.decode("utf-8"), path)


def _lines(content):
    return content.decode("utf-8").splitlines()


def _compare_images(first, second):
    stored = [np.asanyarray(nib.load(path).dataobj) for path in (first, second)]
    values = [array.astype(float) for array in stored]
    shapes = [list(v.shape) for v in values]
    if shapes[0] != shapes[1]:
        return {"Shapes": shapes}
    one, other = values
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    if _is_labels(first.name, stored):
        return {"Voxels": int((~same).sum())}
    apart = np.abs(one - other)[~same]
    # A voxel that is missing in one has no difference in numbers.
    largest = np.max(apart, initial=0.0, where=~np.isnan(apart))
    held = np.isfinite(one) & np.isfinite(other) & ((one != 0) | (other != 0))
    return {
        "Voxels": int((~same).sum()),
        "LargestDifference": float(largest),
        "Correlation": _correlation(one[held], other[held]),
    }


def _is_labels(name, stored):
    """Tell whether the values of images are labels; integers of a statmap are counts."""
    suffix = name.partition(".")[0].rpartition("_")[2]
    integers = all(array.dtype.kind in "iub" for array in stored)
    return suffix in _LABEL_IMAGES or (integers and suffix != "statmap")


def _correlation(one, other):
    """Return Pearson's correlation, None where one is constant."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def _compare_tables(one, other):
    headers = [lines[0].split("\t") if lines else [] for lines in (one, other)]
    rows = [Counter(lines[1:]) for lines in (one, other)]
    return {
        "Rows": [len(one) - 1, len(other) - 1],
        "OnlyFirst": sum((rows[0] - rows[1]).values()),
        "OnlySecond": sum((rows[1] - rows[0]).values()),
        "Columns": [[c for c in headers[i] if c not in headers[1 - i]] for i in (0, 1)],
    }


def changed_keys(one, other, prefix=""):
    """Return the keys whose values differ between two JSON values: name to both values.

    Examples
    --------
    >>> changed_keys({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4})
    {'a.c': [2, 3], 'd': [None, 4]}
    """
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return {} if one == other else {prefix: [one, other]}
    changed = {}
    for key in dict.fromkeys((*one, *other)):
        name = f"{prefix}.{key}" if prefix else key
        changed |= changed_keys(one.get(key), other.get(key), name)
    return changed


def difference_text(difference):
    """Return what `compare_files` found as one line.

    Examples
    --------
    >>> difference_text({"Kind": "other", "Bytes": [10, 12]})
    '10 -> 12 bytes'
    """
    kind = difference["Kind"]
    if kind == "map":
        return _map_text(difference)
    if kind == "table":
        return _table_text(difference)
    if kind == "json":
        keys = difference["Keys"]
        if not keys:
            return "written otherwise"
        if "" in keys:
            return "other entries"
        return "; ".join(f"{k}: {short(a)} -> {short(b)}" for k, (a, b) in keys.items())
    if "Unreadable" in difference:
        return f"cannot be read: {difference['Unreadable']}"
    first, second = difference["Bytes"]
    return f"{first} bytes, others" if first == second else f"{first} -> {second} bytes"


def _map_text(difference):
    if "Shapes" in difference:
        return "shape {} -> {}".format(*difference["Shapes"])
    if not difference["Voxels"]:
        return "same voxels, another header or compression"
    if "Correlation" not in difference:
        return f"{difference['Voxels']} voxels"
    r = difference["Correlation"]
    return (
        f"{difference['Voxels']} voxels, by up to {difference['LargestDifference']:.3g}, "
        f"r {'n/a' if r is None else format(r, '.4f')}"
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


def short(value, width=60):
    """Return a JSON value in at most so many letters.

    Examples
    --------
    >>> short(None), short(0.05), short("x" * 90, 10)
    ('n/a', '0.05', 'xxxxxxx...')
    """
    text = "n/a" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."
