"""What a folder of results says of its tables."""

import json

import numpy as np
import pandas as pd

from nipype_group.reporting.derivatives.contents import add_descriptions
from nipype_group.reporting.figures.peak_values import write_peak_values


class Tables:
    """Takes what the dictionaries of tables say."""

    def __init__(self):
        self.columns = {}

    def add_table(self, path, kind, columns, settings=None, **entities):
        self.columns[kind] = list(columns)


def test_columns_are_named_in_the_dictionary_as_their_cells_are_read(tmp_path):
    keys = pd.DataFrame({"participant_id": ["sub-01"], '"soft" tone': ["1"], "a\tb": ["2"]})
    peaks = pd.DataFrame({"cluster_id": [1], "peak_id": [1], "x": [1.0], "y": [2.0], "z": [3.0]})
    path = tmp_path / "contrast-age_desc-fdrBH_values.tsv"
    write_peak_values(path, keys, peaks, np.array([[0.5]]))
    contrasts, design = tmp_path / "contrasts.json", tmp_path / "design.json"
    contrasts.write_text('{"Contrasts": []}')
    design.write_text(json.dumps({"Keys": list(keys)}))
    folder = Tables()
    add_descriptions(
        folder,
        {
            "contrasts_file": contrasts,
            "design_json": design,
            "peak_values_files": [path],
            "also_write": ["peak-values"],
        },
    )
    found = folder.columns["peakvalues"]
    assert found == pd.read_csv(path, sep="\t").columns.tolist()
    assert found[:3] == list(keys)
