"""Tables with a JSON dictionary beside them: what columns mean, and how the table came about."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype_group.reporting.tables.columns import as_shown, plain_settings
from nipype_group.tsv import write_tsv
from nipype_group.whole_files import replace_text

if TYPE_CHECKING:
    import pandas as pd


def write_described_table(
    path: str | os.PathLike[str],
    table: pd.DataFrame,
    columns: Mapping[str, Any],
    settings: Mapping[str, Any],
    digits: int = 6,
) -> tuple[str, str]:
    """Write a TSV and, under the same name, the JSON of its columns.

    Parameters
    ----------
    path : path
        Ending in .tsv.
    table : DataFrame
        What is missing is written as n/a.
    columns : dict
        Column to its description, or to (description, unit); columns that it does not name are
        left without.
    settings : dict
        How the table came about, under ``TableSettings``; numbers that are not finite become null.
    digits : int
        Significant digits of floats.

    Returns
    -------
    table_file, json_file : str
        Absolute.
    """
    path = Path(path).absolute()
    about = {column: _describe(columns[column]) for column in table if column in columns}
    about["TableSettings"] = plain_settings(settings)
    text = json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False)
    json_file = path.with_suffix(".json")
    replace_text(json_file, text + "\n")
    return str(write_tsv(path, as_shown(table), digits)), str(json_file)


def _describe(entry):
    if isinstance(entry, dict):
        return entry
    description, unit = entry if isinstance(entry, tuple) else (entry, "")
    return {"Description": description} | ({"Units": unit} if unit else {})
