"""AtlasReport: tables with region names."""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nipype_group.images import read_volume
from nipype_group.interfaces import AtlasReport, atlas_inputs
from nipype_group.interfaces import tables as tables_module
from nipype_group.reporting.tables.clusters import read_table
from nipype_group.reporting.tables.columns import INFERENCE_COLUMNS
from nipype_group.reporting.tables.views import read_view, view_columns
from nipype_group.stats.clusters import label_clusters

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
    monkeypatch.setattr(atlas_inputs, "find_atlases", lambda: [])
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
    with pytest.raises(ValueError, match=r"labels\.nii: its grid is 3 x 3 x 3"):
        AtlasReport(atlases=[atlas], **given).run()


def test_unknown_atlas_is_named(write_brain):
    with pytest.raises(FileNotFoundError, match="no atlas named 'phrenology'"):
        tables(write_brain, atlases=["phrenology"])


def test_p_of_other_inferences_are_columns(write_brain):
    maps = [np.full(SHAPE, v, dtype=np.float32) for v in (1, 2, 3)]
    maps[2][blob(-48) != 0] = 4
    maps[2][0, 0, 0] = 9
    given = {
        "inference_logp_files": [write_brain(f"logp{i}.nii", m) for i, m in enumerate(maps)],
        "atlases": ["none"],
    }
    listed = ["p_fwe_voxel=2", "p_fwe_rft=0"]
    outputs, clusters, peaks = tables(write_brain, inferences=listed, **given)
    for table in (clusters, peaks):
        found = [column for column in table.columns if column in INFERENCE_COLUMNS]
        assert found == ["p_fwe_rft", "p_fwe_voxel"]
        assert table["p_fwe_rft"].tolist() == pytest.approx([0.1] * 2)
        assert table["p_fwe_voxel"].tolist() == pytest.approx([1e-4, 1e-3])
    about = json.loads(Path(outputs.clusters_json).read_text())
    assert "smallest of the cluster's voxels" in about["p_fwe_voxel"]["Description"]
    with pytest.raises(ValueError, match="'p_fwe_rft=3' is none of the 3 maps"):
        tables(write_brain, inferences=["p_fwe_rft=3"], **given)
    with pytest.raises(ValueError, match="two inferences are for the column p_fwe_rft"):
        tables(write_brain, inferences=["p_fwe_rft=0", "p_fwe_rft=1"], **given)
    given["inference_logp_files"][0] = write_brain("small.nii", np.zeros((3, 3, 3)))
    with pytest.raises(ValueError, match=r"small\.nii: its grid is 3 x 3 x 3"):
        tables(write_brain, inferences=listed, **given)


def test_columns_of_all_inferences_without_clusters(write_brain, tmp_path):
    summary = tmp_path / "summary.json"
    about = {"HeightControl": "permutation-extent", "Alpha": 0.05, "ClusterTable": []}
    summary.write_text(json.dumps(about))
    given = {
        "stat_file": write_brain("t.nii", blob(-48)),
        "z_file": write_brain("z.nii", blob(-48)),
        "label_file": write_brain("labels.nii", np.zeros(SHAPE, dtype=np.int32)),
        "inference_logp_files": [write_brain("logp.nii", np.zeros(SHAPE, dtype=np.float32))],
        "inferences": ["p_fwe_rft=0"],
        "summary_file": str(summary),
    }
    outputs = AtlasReport(atlases=["none"], **given).run().outputs
    clusters = read_table(outputs.clusters_file)
    assert clusters.empty
    assert {"p_fwe_rft", "p_fwe_extent"} <= set(clusters.columns)
    assert clusters["p_fwe_extent"].dtype == float


def bare(write_brain, **inputs):
    stat = blob(-48, 6.0) + blob(30, -4.0)
    stat[3, 3, 3], stat[:2, 0, 0] = 3.5, 5
    return AtlasReport(stat_file=write_brain("t.nii", stat), **inputs), stat


def test_bare_maps_are_labelled(write_brain):
    report, stat = bare(write_brain, threshold_statistic=3.5, cluster_extent=2, atlases=["none"])
    outputs = report.run().outputs
    labels, grid = read_volume(outputs.label_file)
    np.testing.assert_array_equal(labels, label_clusters(stat, np.abs(stat) >= 3.5, 26, 2))
    np.testing.assert_allclose(grid.affine, BRAIN)
    clusters, peaks = (read_table(f) for f in (outputs.clusters_file, outputs.peaks_file))
    assert clusters["cluster_id"].tolist() == [1, 2, 3]
    assert clusters["sign"].tolist() == ["positive", "positive", "negative"]
    assert clusters["peak_stat"].tolist() == [6, 5, -4]
    assert clusters["peak_zscore"].isna().all()
    assert peaks["zscore"].isna().all()
    settings = json.loads(Path(outputs.clusters_json).read_text())["TableSettings"]
    assert settings["ThresholdStatistic"] == 3.5
    assert settings["Tail"] == "two-sided"
    assert settings["ClusterExtentVoxels"] == 2
    assert settings["Connectivity"] == 26
    assert settings["Clusters"] == 3


def test_options_of_bare_maps(write_brain):
    mask = np.ones(SHAPE, dtype=np.uint8)
    mask[:2] = 0
    given = {"threshold_statistic": 3.5, "atlases": ["none"], "stat_type": "z", "tail": "positive"}
    report, _ = bare(write_brain, mask_file=write_brain("mask.nii", mask), **given)
    clusters = read_table(report.run().outputs.clusters_file)
    assert clusters["peak_stat"].tolist() == [6, 3.5]
    # A z map is its own z score.
    assert clusters["peak_zscore"].tolist() == [6, 3.5]
    # F has an upper side only.
    report, _ = bare(write_brain, threshold_statistic=3.5, atlases=["none"], stat_type="F")
    clusters = read_table(report.run().outputs.clusters_file)
    assert clusters["peak_stat"].tolist() == [6, 5, 3.5]


def test_labels_and_threshold_together_or_neither(write_brain):
    labels = write_brain("labels.nii", np.zeros(SHAPE, dtype=np.int32))
    for given in ({}, {"label_file": labels, "threshold_statistic": 3.0}):
        with pytest.raises(ValueError, match=r"t\.nii: give either label_file.* or threshold"):
            bare(write_brain, **given)[0].run()
    with pytest.raises(ValueError, match="a threshold is a height > 0"):
        bare(write_brain, threshold_statistic=0.0)[0].run()


def test_given_labels_are_handed_on(write_brain):
    outputs, _, _ = tables(write_brain, atlases=["none"])
    assert Path(outputs.label_file).name == "labels.nii"
    assert outputs.view_files == []


def test_discovery_proportions_need_z(write_brain):
    mask = write_brain("mask.nii", np.ones(SHAPE, dtype=np.uint8))
    report, _ = bare(write_brain, threshold_statistic=3.0, ari_alpha=0.05, mask_file=mask)
    with pytest.raises(ValueError, match=r"t\.nii: ari_alpha needs the z_file"):
        report.run()


def test_views_beside_the_tables(write_brain):
    given = {"threshold_statistic": 3.5, "stat_type": "z", "atlases": ["none"], "max_peaks": 1}
    names = ["nilearn", "fsl", "spm", "afni"]
    report, stat = bare(write_brain, views=names, **given)
    outputs = report.run().outputs
    assert [Path(f).name for f in outputs.view_files] == [f"{n}_view.tsv" for n in names]
    views = {n: read_view(f) for n, f in zip(names, outputs.view_files)}
    for name, view in views.items():
        assert list(view.columns) == view_columns(name, "z")
    assert views["fsl"]["Voxels"].sum() == (np.abs(stat) >= 3.5).sum()
    assert views["afni"]["Volume"].tolist() == views["fsl"]["Voxels"].tolist()
    assert views["spm"]["peak Z"].dropna().tolist()[0] == 6
    assert views["nilearn"]["Peak Stat"].tolist()[0] == 6
    report, _ = bare(write_brain, views=["fsl"], **(given | {"stat_type": "t"}))
    with pytest.raises(ValueError, match="the fsl view needs zscore"):
        report.run()


def test_set_level_of_a_one_sided_inference_is_in_the_view_of_spm(write_brain, tmp_path):
    path = tmp_path / "summary.json"
    for p, expected in (([0.25], [0.25, 5]), ([0.25, 1.0], [None, 2])):
        path.write_text(json.dumps({"SetLevelP": p, "ClustersBeforeCorrection": 5}))
        outputs, _, _ = tables(
            write_brain, atlases=["none"], views=["spm"], summary_file=str(path)
        )
        row = read_view(outputs.view_files[0]).loc[0, ["set p", "set c"]]
        assert [None if pd.isna(v) else v for v in row] == expected


def test_atlases_of_another_space_are_warned_of(write_brain, atlas, monkeypatch, caplog):
    def warn(atlas, space):
        return f"{atlas.name} is not in {space}" if space else None

    monkeypatch.setattr(tables_module, "space_warning", warn)
    monkeypatch.setattr(tables_module.LOGGER, "propagate", True)
    monkeypatch.setattr(tables_module.LOGGER, "level", logging.WARNING)
    for inputs, expected in (({"space": "Talairach"}, ["halves is not in Talairach"]), ({}, [])):
        outputs, _, _ = tables(write_brain, atlases=[atlas], **inputs)
        settings = json.loads(Path(outputs.clusters_json).read_text())["TableSettings"]
        assert settings["AtlasWarnings"] == expected
    assert [r.getMessage() for r in caplog.records] == ["halves is not in Talairach"]
