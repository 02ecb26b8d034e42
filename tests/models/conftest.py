"""Models as files, and trees of maps of which no value is read."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from nipype_group.models.analyses import ModelOfTree
from nipype_group.models.records import read_model

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def write_model(tmp_path):
    """Return a function that writes a model of one node, or of several; gives the path."""

    def write(*nodes, **others):
        content = {"Name": "m", "BIDSModelVersion": "1.0.0", "Nodes": list(nodes), **others}
        path = tmp_path / "model.json"
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture
def tree(tmp_path):
    """Return a function that makes a tree of empty files and participants.tsv; gives its top."""

    def make(participants, names="{subject}_stat-effect_statmap.nii", each=((),)):
        top = tmp_path / "tree"
        top.mkdir(exist_ok=True)
        table = pd.DataFrame(participants)
        if "participant_id" not in table:
            labels = [f"sub-{i + 1:02d}" for i in range(len(table))]
            table.insert(0, "participant_id", labels)
        table.to_csv(top / "participants.tsv", sep="\t", index=False, na_rep="n/a")
        for label in table["participant_id"]:
            (top / label).mkdir(exist_ok=True)
            for values in each:
                path = top / label / names.format(*values, subject=label)
                path.parent.mkdir(exist_ok=True, parents=True)
                path.touch()
        return top

    return make


@pytest.fixture
def analyses(tmp_path):
    """Return a function that gives the analyses of a model and a tree."""

    def make(path, top, given=None, **files):
        model = ModelOfTree(read_model(path), path, {"bids_dir": str(top), **files}, given or {})
        maps, nodes = model.nodes()
        return [model.analysis(maps, node, tmp_path / "made" / node.label) for node in nodes]

    return make
