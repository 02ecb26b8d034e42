"""Tables with a JSON dictionary beside them: what columns mean, and how the table came about."""

import json
from pathlib import Path

from nipype_group.reporting.tables.columns import as_shown, plain_settings
from nipype_group.tsv import write_tsv
from nipype_group.whole_files import replace_text


def write_described_table(path, table, columns, settings, digits=6):
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
