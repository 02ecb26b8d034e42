"""MapQuality: table, dictionary, figures, and files that do not belong together."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from nipype.interfaces.base import isdefined

from nipype_group.design.matrix import read_design
from nipype_group.interfaces import DesignMatrix, GroupMask, MapQuality, StackMaps
from nipype_group.interfaces.quality import COLUMNS
from nipype_group.stats.linear.influence import influence


def read(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture
def study(stages, small_study):
    """One map is of noise alone and ends early, the others share a pattern."""
    pattern = 4 * np.random.default_rng(1).standard_normal((9, 10, 8)).astype(np.float32)
    for i, path in enumerate(sorted(small_study.rglob("*.nii.gz"))):
        image = nib.load(path)
        values = np.asarray(image.dataobj).copy()
        values[1:] += pattern[1:] * (i != 7)
        if i == 7:
            values[..., 6:] = 0
        nib.save(nib.Nifti1Image(values, image.affine), path)
    return stages("age", ["age=age"])


def described(study, **more):
    given = {
        "stack_file": study.stack.stack_file,
        "mask_file": study.mask.mask_file,
        "observations": study.collect.observations,
        **study.design_files,
    }
    return MapQuality(**(given | more)).run().outputs


def table_of(outputs):
    return pd.read_csv(outputs.quality_file, sep="\t", na_values="n/a")


def test_table_has_a_row_a_map(study):
    outputs = described(
        study,
        map_coverage_file=study.mask.map_coverage_file,
        coverage_file=study.mask.coverage_file,
    )
    table = table_of(outputs)
    assert list(table) == list(COLUMNS)
    assert table["participant_id"].tolist() == [f"sub-{i:02d}" for i in range(1, 13)]
    data, inside = study.data
    np.testing.assert_allclose(table["mean"], data.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(table["sd"], data.std(axis=1, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(table["median"], np.median(data, axis=1), rtol=1e-5)
    expected = [
        np.corrcoef(y, np.delete(data, i, axis=0).mean(axis=0))[0, 1] for i, y in enumerate(data)
    ]
    np.testing.assert_allclose(table["correlation"], expected, rtol=1e-5)
    assert table["flags"].fillna("").tolist() == ["low_correlation" * (i == 7) for i in range(12)]
    assert inside.sum() == 8 * 10 * 6
    n_all = 8 * 10 * 8
    assert table["n_voxels"].tolist() == [480 if i == 7 else n_all for i in range(12)]
    assert table["n_missing"].tolist() == [160 * (i == 7) for i in range(12)]
    assert table["n_removed_alone"].tolist() == [160 * (i == 7) for i in range(12)]


def test_dictionary_states_the_rules(study):
    outputs = described(study)
    about = json.loads(Path(outputs.quality_json).read_text())
    table = table_of(outputs)
    assert set(about) == {*table, "TableSettings"}
    assert table["n_voxels"].tolist() == [480] * 12
    rules = about["TableSettings"]
    r = table["correlation"]
    mad = (r - r.median()).abs().median()
    limit = rules["LowCorrelationThreshold"]
    assert limit == pytest.approx(r.median() - 3 * 1.4826 * mad, abs=1e-4)
    assert rules["HighLeverageThreshold"] == pytest.approx(6 / 12)
    assert rules["FlaggedMaps"] == 1
    assert rules["DegreesOfFreedom"] == 10


def test_influence_of_every_map(study):
    outputs = described(study)
    table = table_of(outputs)
    data, _ = study.data
    design = read_design(study.design_files["design_file"], study.design_files["design_json"])
    found = influence(design.model, data.astype(float))
    np.testing.assert_allclose(table["cook_largest"], found.cook.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(table["cook_median"], np.median(found.cook, axis=1), rtol=0.03)
    np.testing.assert_allclose(table["large_cook"], (found.cook > 4 / 12).mean(axis=1), atol=1e-6)
    rms = np.array([np.sqrt(np.square(found.dfbetas(j)).mean(axis=1)) for j in range(2)])
    np.testing.assert_allclose(table["dfbetas"], rms.max(axis=0), rtol=1e-5)
    columns = [design.columns[j] for j in rms.argmax(axis=0)]
    assert table["dfbetas_column"].tolist() == columns
    rules = json.loads(Path(outputs.quality_json).read_text())["TableSettings"]
    assert list(rules["MostInfluential"]) == ["intercept", "age"]
    assert rules["MostInfluential"]["age"]["Dfbetas"] == pytest.approx(rms[1].max(), rel=1e-5)
    assert rules["LargeCookThreshold"] == pytest.approx(1 / 3)


def test_figures_and_their_index(study):
    outputs = described(study, coverage_file=study.mask.coverage_file)
    index = json.loads(Path(outputs.index_file).read_text())
    files = outputs.strip_figure, outputs.coverage_figure, outputs.outlier_figure
    assert [entry["Kind"] for entry in index] == ["strip", "coverage", "outliers"]
    for path, entry in zip(files, index, strict=True):
        assert Path(path).name == entry["File"]
        assert Path(path).stat().st_size < 120_000
        assert imread(path).shape[1] <= 900
        assert entry["Alt"].endswith(".")
        assert entry["Caption"].endswith(".")
    assert "1 of 12 maps flagged: 08." in index[2]["Caption"]
    assert "% of 08, whose largest distance is" in index[2]["Caption"]
    assert "11 to 12" in index[1]["Alt"]
    written = [Path(path).read_bytes() for path in (*files, outputs.quality_file)]
    outputs = described(study, coverage_file=study.mask.coverage_file)
    assert written == [Path(path).read_bytes() for path in (*files, outputs.quality_file)]


def test_the_table_alone(study):
    outputs = described(study, no_figures=True)
    assert len(table_of(outputs)) == 12
    for name in ("strip_figure", "coverage_figure", "outlier_figure", "index_file"):
        assert not isdefined(getattr(outputs, name))
    assert not list(Path(outputs.quality_file).parent.glob("*.png"))


def test_maps_that_lack_voxels(study, tmp_path):
    maps = study.collect.map_files
    mask = GroupMask(map_files=maps, min_coverage=0.5).run().outputs
    stack = StackMaps(map_files=maps, mask_file=mask.mask_file, allow_missing=True).run().outputs
    outputs = described(study, stack_file=stack.stack_file, mask_file=mask.mask_file)
    table = table_of(outputs)
    assert table["n_voxels"].tolist() == [480 if i == 7 else 640 for i in range(12)]
    y = read(stack.stack_file)[read(mask.mask_file) > 0].T
    np.testing.assert_allclose(table["mean"], np.nanmean(y, axis=1), rtol=1e-5)
    index = json.loads(Path(outputs.index_file).read_text())
    assert "480 of which all maps have" in index[1]["Caption"]


def test_conditions_are_in_the_table_and_on_the_figure(study, tmp_path):
    table = pd.read_csv(study.collect.observations, sep="\t", dtype=str)
    table = table.assign(mean=[f"c{i % 2}" for i in range(12)])
    path = tmp_path / "conditions.tsv"
    table.to_csv(path, sep="\t", index=False)
    design = DesignMatrix(observations=str(path), formula="age", condition_columns=["mean"])
    design = design.run().outputs
    outputs = described(
        study,
        observations=str(path),
        design_file=design.design_file,
        design_json=design.design_json,
    )
    found = table_of(outputs)
    assert found["condition_mean"].tolist() == ["c0", "c1"] * 6
    assert found["mean"].dtype == float
    assert "08 c1" in json.loads(Path(outputs.index_file).read_text())[2]["Caption"]


def test_rows_that_are_not_those_of_the_maps_are_refused(study, tmp_path):
    table = pd.read_csv(study.collect.observations, sep="\t", dtype=str)
    fewer, turned = tmp_path / "fewer.tsv", tmp_path / "turned.tsv"
    table[:-1].to_csv(fewer, sep="\t", index=False)
    table[::-1].to_csv(turned, sep="\t", index=False)
    with pytest.raises(ValueError, match=r"fewer.tsv has 11 rows, the design 12, the stack 12"):
        described(study, observations=str(fewer))
    with pytest.raises(ValueError, match=r"turned.tsv and the design list other maps, or list"):
        described(study, observations=str(turned))
    coverage = tmp_path / "coverage.tsv"
    coverage.write_text("map\tn_voxels\na\t3\n")
    with pytest.raises(ValueError, match=r"coverage.tsv has 1 rows for 12 maps"):
        described(study, map_coverage_file=str(coverage))


def test_coverage_on_another_grid_is_refused(study, write_map):
    path = str(write_map("c.nii.gz", np.ones((3, 3, 3))))
    with pytest.raises(ValueError, match=r"c.nii.gz: its grid is 3 x 3 x 3 voxels"):
        described(study, coverage_file=path)
