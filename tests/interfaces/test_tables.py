"""AtlasReport: tables with region names."""

import json
from pathlib import Path

import numpy as np
import pytest

from nipype_group.interfaces import AtlasReport
from nipype_group.interfaces import tables as tables_module
from nipype_group.reporting.tables import read_table

# A 6 mm grid around the brain, stored from left to right.
SHAPE = (27, 32, 27)
BRAIN = np.diag([6.0, 6.0, 6.0, 1.0])
BRAIN[:3, 3] = (-78, -112, -72)


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def blob(x_mm, value=5.0):
    """Return a map with one cluster at z = 0 mm."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1) * 6
    distance = np.linalg.norm(grid + BRAIN[:3, 3] - (x_mm, -22, 0), axis=-1)
    return np.where(distance < 13, value, 0).astype(np.float32)


@pytest.fixture
def write_brain(write_map):
    return lambda name, values, affine=BRAIN: str(write_map(name, values, affine))


@pytest.fixture
def atlas(write_brain, tmp_path):
    """Write an atlas of two halves with labels."""
    values = np.ones(SHAPE, dtype=np.uint8)
    values[14:] = 2
    path = write_brain("halves.nii.gz", values)
    (tmp_path / "halves.csv").write_text("index,name\n1,left half\n2,right half\n")
    return path


def tables(write_brain, second=-4, **inputs):
    z = blob(-48) + blob(30, second)
    labels = np.where(z == 5, 1, np.where(z != 0, 2, 0)).astype(np.int32)
    given = {
        "stat_file": write_brain("t.nii", z * 1.5),
        "z_file": write_brain("z.nii", z),
        "label_file": write_brain("labels.nii", labels),
    }
    outputs = AtlasReport(**given, **inputs).run().outputs
    return outputs, *(read_table(getattr(outputs, f"{t}_file")) for t in ("clusters", "peaks"))


def test_clusters_get_the_names_of_an_atlas(write_brain, atlas):
    outputs, clusters, peaks = tables(write_brain, atlases=[atlas])
    assert clusters["label"].tolist() == ["left half", "right half"]
    assert clusters["hemisphere"].tolist() == ["left", "right"]
    assert clusters["sign"].tolist() == ["positive", "negative"]
    assert clusters["peak_stat"].tolist() == [7.5, -6]
    assert clusters["peak_zscore"].tolist() == [5, -4]
    assert "halves" in peaks.columns
    settings = json.loads(Path(outputs.clusters_json).read_text())["TableSettings"]
    assert [a["Name"] for a in settings["Atlases"]] == ["halves"]
    regions = read_table(outputs.labels_file)
    assert set(regions["name"]) == {"left half", "right half"}


def test_tables_without_any_atlas(write_brain, monkeypatch):
    monkeypatch.setattr(tables_module, "find_atlases", lambda: [])
    outputs, clusters, _ = tables(write_brain)
    assert clusters["label"].tolist() == ["n/a", "n/a"]
    assert clusters["hemisphere"].tolist() == ["left", "right"]
    assert read_table(outputs.labels_file).empty


def test_no_atlas_on_request(write_brain):
    _, clusters, _ = tables(write_brain, atlases=["none"])
    assert clusters["label"].tolist() == ["n/a", "n/a"]


@pytest.mark.parametrize(("adjustment", "column"), [("fwe", "p_fwe"), ("fdr", "p_fdr")])
def test_adjusted_p_goes_to_its_own_column(write_brain, atlas, adjustment, column):
    logp = write_brain("logp.nii", np.full(SHAPE, 2, dtype=np.float32))
    _, _, peaks = tables(write_brain, atlases=[atlas], logp_file=logp, adjustment=adjustment)
    other = {"p_fwe": "p_fdr", "p_fdr": "p_fwe"}[column]
    np.testing.assert_allclose(peaks[column], 0.01)
    assert peaks[other].isna().all()


def test_effect_and_standard_error_of_t_but_not_of_f(write_brain, atlas):
    given = {
        "effect_file": write_brain("effect.nii", np.full(SHAPE, 3, dtype=np.float32)),
        "variance_file": write_brain("variance.nii", np.full(SHAPE, 4, dtype=np.float32)),
        "atlases": [atlas],
    }
    _, _, peaks = tables(write_brain, **given)
    assert set(peaks["effect"]) == {3}
    assert set(peaks["standard_error"]) == {2}
    given |= {"stat_type": "F", "second": 4}
    _, _, peaks = tables(write_brain, **given)
    assert peaks["effect"].isna().all()


def test_labels_on_another_grid_are_refused(write_brain, atlas):
    given = {
        "stat_file": write_brain("t.nii", blob(-48)),
        "z_file": write_brain("z.nii", blob(-48)),
        "label_file": write_brain("labels.nii", np.zeros((3, 3, 3), dtype=np.int32)),
    }
    with pytest.raises(ValueError, match=r"labels\.nii has the grid 3 x 3 x 3"):
        AtlasReport(atlases=[atlas], **given).run()


def test_unknown_atlas_is_named(write_brain):
    with pytest.raises(FileNotFoundError, match="no atlas named 'phrenology'"):
        tables(write_brain, atlases=["phrenology"])
