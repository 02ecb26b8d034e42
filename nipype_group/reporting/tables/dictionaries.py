"""Dictionaries of the tables that steps write without one: who is in, designs, distributions.

What a column means stands here where the results are put together; tables of results bring their
dictionary along (`nipype_group.reporting.tables.described`).
"""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from nipype_group.reporting import wording
from nipype_group.reporting.tables.columns import COLUMNS
from nipype_group.stats.permutation.statistics import SIDE_NAMES
from nipype_group.tsv import with_numbers

# More levels than these are the values of a variable, as names are.
_MOST_LEVELS = 12
_OF_MAPS = {
    "participant_id": "participant",
    "map": "map that was read",
    "sha256": "SHA-256 of the map's voxels and header, of combined maps those of all",
    "combined_maps": "maps that were read and combined into one",
    "n_combined": "number of maps that were combined into one",
    "reason": "why the map is out",
}
_VARIABLE = "variable of the participants, or condition of the maps"
_LARGEST = {
    "voxel": ("statistic", COLUMNS["stat"][1]),
    "extent": ("cluster extent", "voxel"),
    "mass": ("cluster mass", COLUMNS["stat"][1]),
    "tfce": ("threshold-free cluster enhancement", ""),
}


def of_maps(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Describe the columns of the maps that are in or out, with the levels of those of text.

    Parameters
    ----------
    table : DataFrame
        Text, a row a map.

    Returns
    -------
    dict
        Column to its entry in the dictionary.
    """
    return {column: _of_map_column(column, table[column]) for column in table}


def _of_map_column(column, values):
    if column in _OF_MAPS:
        return {"Description": _OF_MAPS[column]}
    values = with_numbers(values.to_frame())[column]
    entry = {"Description": _VARIABLE}
    counts = values.value_counts(sort=False)
    if not pd.api.types.is_numeric_dtype(values) and len(counts) <= _MOST_LEVELS:
        entry["Levels"] = {str(k): wording.count(n, "map") for k, n in counts.items()}
    return entry


def of_design(keys: Iterable[str], columns: Iterable[str]) -> dict[str, dict[str, str]]:
    """Describe the columns of a design: what tells the maps apart, and the regressors."""
    of_keys = {key: {"Description": _OF_MAPS.get(key, _VARIABLE)} for key in keys}
    return of_keys | {c: {"Description": f"column {c} of the design"} for c in columns}


def of_null_distributions(columns: Iterable[str]) -> dict[str, dict[str, str]]:
    """Describe the columns of null distributions, as ``voxel_positive``.

    Examples
    --------
    >>> of_null_distributions(["extent_positive"])["extent_positive"]["Units"]
    'voxel'
    """
    about = {}
    for column in columns:
        name, _, side = column.rpartition("_")
        what, unit = _LARGEST[name]
        of_side = " of the negative side, without its sign" if side == SIDE_NAMES[-1] else ""
        text = f"largest {what}{of_side}; a row a shuffle, the first is unshuffled"
        about[column] = {"Description": text} | ({"Units": unit} if unit else {})
    return about


def of_peak_values(keys: Iterable[str], peaks: Iterable[str]) -> dict[str, dict[str, str]]:
    """Describe the columns of the values at peaks: what tells the maps apart, and the peaks."""
    return of_design(keys, ()) | {
        peak: {"Description": "value of the map at the peak, mm", "Units": "unit of the maps"}
        for peak in peaks
    }


def of_labels() -> dict[str, dict[str, str]]:
    """Describe the columns that name the values of a label image."""
    return {
        "index": {"Description": "value, or volume, of the region in the image; of a cluster"},
        "name": {"Description": "name of the region; of a cluster its side and number"},
    }
