"""Tables with a dictionary beside them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from nipype_group.reporting.tables.described import write_described_table


def test_cells_and_dictionary(tmp_path):
    table = pd.DataFrame(
        {
            "name": ["a\tb", "", None],
            "count": [1, 2, 3],
            "value": [-0.0, 1 / 3, np.nan],
            "new": [1.0, np.inf, 2.5],
        }
    )
    columns = {"name": "its name", "count": ("how many", "voxel"), "new": {"Levels": [1]}}
    settings = {"Limit": float("nan"), "Rows": np.arange(2), "Number": np.float64(0.5)}
    written = write_described_table(tmp_path / "t.tsv", table, columns, settings)
    assert written == (str(tmp_path / "t.tsv"), str(tmp_path / "t.json"))
    assert Path(written[0]).read_text() == (
        "name\tcount\tvalue\tnew\na b\t1\t0\t1\nn/a\t2\t0.333333\tinf\nn/a\t3\tn/a\t2.5\n"
    )
    assert json.loads(Path(written[1]).read_text()) == {
        "name": {"Description": "its name"},
        "count": {"Description": "how many", "Units": "voxel"},
        "new": {"Levels": [1]},
        "TableSettings": {"Limit": None, "Rows": [0, 1], "Number": 0.5},
    }
    assert len(list(tmp_path.iterdir())) == 2


def test_digits_and_no_rows(tmp_path):
    table = pd.DataFrame({"value": [np.pi]})
    path, _ = write_described_table(tmp_path / "t.tsv", table, {}, {}, digits=9)
    assert Path(path).read_text() == "value\n3.14159265\n"
    path, _ = write_described_table(tmp_path / "t.tsv", table[:0], {}, {})
    assert Path(path).read_text() == "value\n"


def test_names_of_any_signs_come_back(tmp_path):
    names = ['"V1" left', '"unclosed', 'mid"dle', "$(x) {y} %s"]
    table = pd.DataFrame({'"atlas"\tof mine': names, "count": range(4)})
    path, _ = write_described_table(tmp_path / "t.tsv", table, {}, {})
    again = pd.read_csv(path, sep="\t")
    assert again.columns.tolist() == ['"atlas" of mine', "count"]
    assert again['"atlas" of mine'].tolist() == names
