"""RegionModels: tables of contrasts and values from the stages before."""

import json
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from nipype.interfaces.base import Undefined

from nipype_group.design.matrix import read_design
from nipype_group.interfaces import GroupMask, RegionModels, StackMaps, atlas_inputs
from nipype_group.reporting.tables.described import write_described_table
from nipype_group.stats.discoveries.all_resolutions import ari_regions

SHAPE = (9, 10, 8)
CONTRASTS = ["age=age", "all=age; patient - control"]


def read(path):
    return np.asarray(nib.load(path).dataobj)


def affine_of(path):
    return nib.load(path).affine


@pytest.fixture
def labels():
    """Five regions on the grid of the maps; 9 has four voxels of the mask, 12 none."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[1:4], labels[4:6, :, :5], labels[6:, 5:] = 3, 7, 8
    labels[7, 0, :4] = 9
    labels[0] = 12
    return labels


@pytest.fixture
def atlas(labels, write_map, tmp_path):
    """Write the atlas in the place of the maps."""
    path = write_map("five-regions.nii.gz", labels)
    table = "index,name\n0,Unknown\n3,a\n7,b\n8,c\n9,small\n12,outside\n"
    (tmp_path / "five-regions.csv").write_text(table)
    return str(path)


def fitted(ran, atlas, **more):
    given = {
        "stack_file": ran.stack.stack_file,
        "mask_file": ran.mask.mask_file,
        "observations": ran.collect.observations,
        "contrasts_file": ran.contrasts.contrasts_file,
        **ran.design_files,
        "atlases": [atlas],
    }
    return RegionModels(**(given | more)).run().outputs


def tables_of(files):
    return [pd.read_csv(path, sep="\t", na_values="n/a") for path in files]


def settings(path):
    return json.loads(Path(path).read_text())["TableSettings"]


@pytest.fixture
def precise(monkeypatch):
    """Write floats with all digits, so that tables show what was computed."""

    def write(path, table, columns, about, digits=17):
        return write_described_table(path, table, columns, about, digits=17)

    monkeypatch.setattr("nipype_group.reporting.tables.region_models.write_described_table", write)


def test_tables_hold_the_models_of_the_means(stages, atlas, labels, precise):
    ran = stages("age + C(group)", CONTRASTS)
    outputs = fitted(ran, atlas)
    assert outputs.contrast_names == ["age", "all"]
    assert outputs.atlas_names == ["five-regions"]
    t, f = tables_of(outputs.regions_files)
    (values,) = tables_of(outputs.values_files)
    y, inside = ran.data
    design = read_design(**ran.design_files)
    own = labels[inside]
    assert t["name"].tolist() == ["a", "b", "c", "small", "outside"]
    assert t["n_voxels"].tolist() == [np.count_nonzero(own == i) for i in (3, 7, 8, 9, 12)]
    np.testing.assert_allclose(t["percent_of_region"], [100, 100, 100, 100, 0])
    assert values["participant_id"].tolist() == [f"sub-{i:02d}" for i in range(1, 13)]
    # Age, and the group, which has one column.
    rows = np.eye(3)[sorted(range(1, 3), key=lambda i: design.columns[i] != "age")]
    assert design.columns[0] == "intercept"
    for place, index in enumerate((3, 7, 8)):
        mean = y[:, own == index].mean(axis=1)
        np.testing.assert_allclose(values["abc"[place]], mean, rtol=1e-12)
        result = sm.OLS(mean, design.matrix).fit()
        oracle = result.t_test(rows[:1])
        np.testing.assert_allclose(t["effect"][place], oracle.effect.item(), rtol=1e-9)
        np.testing.assert_allclose(t["standard_error"][place], oracle.sd.item(), rtol=1e-9)
        np.testing.assert_allclose(t["stat"][place], oracle.tvalue.item(), rtol=1e-9)
        np.testing.assert_allclose(t["p_unc"][place], oracle.pvalue.item(), rtol=1e-9)
        oracle = result.f_test(rows)
        np.testing.assert_allclose(f["stat"][place], oracle.fvalue, rtol=1e-9)
        np.testing.assert_allclose(f["p_unc"][place], oracle.pvalue, rtol=1e-9)
    # Too few voxels: listed, and no tests of the family.
    assert t["p_unc"].isna().tolist() == [False, False, False, True, True]
    assert values["small"].isna().all()
    np.testing.assert_allclose(t["p_bonferroni"][:3], np.minimum(3 * t["p_unc"][:3], 1))
    assert t["p_fwe_perm"].isna().all()
    assert t["tdp"].isna().all()
    assert f["standard_error"].isna().all()
    assert set(t["dof"][:3]) == {9}


def test_settings_say_how_a_table_came_about(stages, atlas):
    ran = stages("age + C(group)", CONTRASTS)
    outputs = fitted(ran, atlas, tail="negative", min_voxels=4, alpha=0.6)
    t, f = (settings(path) for path in outputs.regions_jsons)
    assert (t["StatisticType"], t["Tail"]) == ("t", "negative")
    assert (f["StatisticType"], f["Tail"]) == ("F", "positive")
    assert f["NumeratorDegreesOfFreedom"] == 2
    assert t["Permutation"] is None
    assert t["Atlases"][0]["Name"] == "five-regions"
    (table, _) = tables_of(outputs.regions_files)
    family = t["Families"]["five-regions"]
    assert (family["Regions"], family["TestedRegions"]) == (5, 4)
    assert family["RegionsAtAlpha"]["p_unc"] == (table["p_unc"] <= 0.6).sum() > 0
    assert "p_fwe_perm" not in family["RegionsAtAlpha"]
    assert settings(outputs.values_jsons[0])["MinimumVoxels"] == 4


def test_permutation_is_that_of_all_flips(stages, atlas, labels, precise):
    ran = stages("1", ["mean=intercept"])
    flips = {"atlases": [atlas], "n_permutations": 5000, "tail": "positive"}
    outputs = fitted(ran, atlas, **flips)
    (table,), about = tables_of(outputs.regions_files), settings(outputs.regions_jsons[0])
    assert about["Permutation"]["Shuffles"] == 2**12
    y, inside = ran.data
    data = np.stack([y[:, labels[inside] == i].mean(axis=1) for i in (3, 7, 8)], axis=1)
    every = np.array(list(product((1.0, -1.0), repeat=12)))
    mean = every @ data / 12
    t = mean / np.sqrt((np.square(data).sum(axis=0) - 12 * mean**2) / 11 / 12)
    expected = (t.max(axis=1)[:, None] >= t[0] * (1 - 1e-9)).mean(axis=0)
    np.testing.assert_allclose(table["p_fwe_perm"][:3], expected, rtol=1e-12)
    assert table["p_fwe_perm"][3:].isna().all()
    assert about["Families"]["five-regions"]["RegionsAtAlpha"]["p_fwe_perm"] == 3


def test_given_shuffles_are_used(stages, atlas, labels, precise, tmp_path):
    ran = stages("age", ["age=age"])
    rng = np.random.default_rng(2)
    orders = np.array([rng.permutation(12) for _ in range(39)])
    path = tmp_path / "orders.txt"
    np.savetxt(path, orders + 1, fmt="%d")
    outputs = fitted(ran, atlas, n_permutations=39, shuffles_file=str(path))
    assert settings(outputs.regions_jsons[0])["Permutation"]["Shuffles"] == 40
    (table,) = tables_of(outputs.regions_files)
    y, inside = ran.data
    data = np.stack([y[:, labels[inside] == i].mean(axis=1) for i in (3, 7, 8)], axis=1)
    age = read_design(**ran.design_files).matrix[:, 1]
    r = np.abs([np.corrcoef(age[order], data.T)[0, 1:] for order in (np.arange(12), *orders)])
    expected = (r.max(axis=1)[:, None] >= r[0] - 1e-12).mean(axis=0)
    np.testing.assert_allclose(table["p_fwe_perm"][:3], expected, rtol=1e-12)
    assert len(set(expected)) > 1


def test_drawn_shuffles_do_not_depend_on_threads_and_do_on_the_seed(stages, atlas):
    ran = stages("age + C(group)", CONTRASTS)
    shuffles = {"n_permutations": 200, "seed": 3}
    first = tables_of(fitted(ran, atlas, **shuffles).regions_files)
    same = tables_of(fitted(ran, atlas, **shuffles, num_threads=2).regions_files)
    other = tables_of(fitted(ran, atlas, n_permutations=200, seed=4).regions_files)
    for a, b, c in zip(first, same, other, strict=True):
        pd.testing.assert_frame_equal(a, b)
        assert not a["p_fwe_perm"].equals(c["p_fwe_perm"])
        assert a["p_unc"].equals(c["p_unc"])


def test_blocks_of_the_observations_bound_the_shuffles(stages, atlas):
    ran = stages("age", ["age=age"])
    outputs = fitted(ran, atlas, n_permutations=5000, blocks=["group"])
    about = settings(outputs.regions_jsons[0])["Permutation"]
    # Six maps in each of two groups: 6! squared is more than was asked for.
    assert about["Shuffles"] == 5001
    free = fitted(ran, atlas, n_permutations=5000)
    assert tables_of(free.regions_files)[0]["p_fwe_perm"].notna().sum() == 3


def test_voxelwise_z_gives_peaks_and_true_discoveries(stages, atlas, labels):
    ran = stages("age + C(group)", CONTRASTS)
    outputs = fitted(ran, atlas, z_files=ran.estimate.z_files, ari_alpha=0.1)
    mask = read(ran.mask.mask_file) > 0
    for table, path, tail in zip(
        tables_of(outputs.regions_files),
        ran.estimate.z_files,
        ("two-sided", "positive"),
        strict=True,
    ):
        z = read(path).astype(float)
        for place, index in enumerate((3, 7, 8, 9)):
            here = mask & (labels == index)
            (bound,) = ari_regions(z, {"it": here}, mask=mask, alpha=0.1, tail=tail)
            np.testing.assert_allclose(table["tdp"][place], bound.tdp, rtol=1e-5)
            np.testing.assert_allclose(table["peak_zscore"][place], bound.peak_z, rtol=1e-5)
            at = nib.affines.apply_affine(affine_of(path), bound.peak)
            np.testing.assert_allclose(table["peak_y"][place], at[1])
            np.testing.assert_allclose(table["zscore_mean"][place], z[here].mean(), rtol=1e-4)
    # The voxel with the effect of age.
    assert tables_of(outputs.regions_files)[0]["tdp"][1] > 0
    assert settings(outputs.regions_jsons[0])["TrueDiscoveryAlpha"] == 0.1


def test_maps_that_lack_voxels(stages, atlas, labels, small_study, precise, tmp_path):
    paths = sorted(small_study.rglob("*.nii.gz"))
    for i in (0, 5):
        image = nib.load(paths[i])
        values = np.asarray(image.dataobj).copy()
        # A third of region c, and most of it.
        values[6:, 5:, : 3 if i == 0 else 6] = 0
        nib.save(nib.Nifti1Image(values, image.affine), paths[i])
    ran = stages("age", ["age=age"])
    maps = ran.collect.map_files
    mask = GroupMask(map_files=maps, min_coverage=0.5).run().outputs
    stack = StackMaps(map_files=maps, mask_file=mask.mask_file, allow_missing=True).run().outputs
    files = {"stack_file": stack.stack_file, "mask_file": mask.mask_file}
    outputs = fitted(ran, atlas, **files, n_permutations=100)
    (table,), (values,) = tables_of(outputs.regions_files), tables_of(outputs.values_files)
    y = read(stack.stack_file)[labels == 8].T.astype(float)
    has = np.arange(12) != 5
    assert values["c"].isna().tolist() == (~has).tolist()
    np.testing.assert_allclose(values["c"][has], np.nanmean(y[has], axis=1), rtol=1e-12)
    oracle = sm.OLS(values["c"][has], read_design(**ran.design_files).matrix[has]).fit()
    assert table["dof"][2] == 9
    assert table["dof"][0] == 10
    np.testing.assert_allclose(table["p_unc"][2], oracle.pvalues.iloc[1], rtol=1e-9)
    assert table["p_fwe_perm"].notna().tolist() == [True, True, True, False, False]


def test_no_atlas_gives_tables_without_rows(stages, atlas, monkeypatch):
    ran = stages("age", ["age=age"])
    outputs = fitted(ran, "none", n_permutations=100)
    assert [len(table) for table in tables_of(outputs.regions_files)] == [0]
    assert (outputs.values_files, outputs.atlas_names) == ([], [])
    monkeypatch.setattr(atlas_inputs, "find_atlases", lambda: [])
    outputs = fitted(ran, atlas, atlases=Undefined)
    assert settings(outputs.regions_jsons[0])["Families"] == {}


def test_atlases_with_alike_names_keep_their_files(stages, atlas, labels, write_map, tmp_path):
    write_map("five_regions.nii.gz", labels)
    (tmp_path / "five_regions.csv").write_text((tmp_path / "five-regions.csv").read_text())
    ran = stages("age", ["age=age"])
    outputs = fitted(ran, atlas, atlases=[atlas, str(tmp_path / "five_regions.nii.gz")])
    assert len(set(outputs.values_files)) == 2
    a, b = tables_of(outputs.values_files)
    pd.testing.assert_frame_equal(a, b)


def test_what_cannot_be_is_refused(stages, atlas, write_map):
    ran = stages("age", ["age=age"])
    z_file = ran.estimate.z_files[0]
    with pytest.raises(ValueError, match="2 z_files for 1 contrasts; give one each"):
        fitted(ran, atlas, z_files=[z_file, z_file])
    with pytest.raises(ValueError, match=r"z.nii: its grid is 3 x 3 x 3 voxels"):
        fitted(ran, atlas, z_files=[str(write_map("z.nii", np.ones((3, 3, 3))))])
    with pytest.raises(ValueError, match="alpha is a probability between 0 and 1, got 5"):
        fitted(ran, atlas, alpha=5.0)
    with pytest.raises(ValueError, match="min_voxels is a number of voxels >= 1, got 0"):
        fitted(ran, atlas, min_voxels=0)
    with pytest.raises(FileNotFoundError, match="no atlas named 'phrenology'"):
        fitted(ran, "phrenology")


def test_regions_without_a_statistic_and_why_are_told(stages, atlas, labels, small_study):
    for path in sorted(small_study.rglob("*.nii.gz")):
        image = nib.load(path)
        values = np.asarray(image.dataobj).copy()
        values[labels == 7] = 2.0
        nib.save(nib.Nifti1Image(values, image.affine), path)
    ran = stages("age", ["age=age", "mean=intercept"])
    outputs = fitted(ran, atlas, notes=["Regions have no p by permutation."])
    age, mean = (settings(path)["Notes"] for path in outputs.regions_jsons)
    assert age[0] == mean[0] == "Regions have no p by permutation."
    start = "1 of 3 regions of five-regions (b) have no statistic of"
    assert age[1].startswith(f"{start} age and are not tested: the design fits their maps exactly")
    assert "have an effect" not in age[1]
    assert mean[1].startswith(f"{start} mean")
    assert mean[1].endswith("1 of them have an effect, and no noise that it could be held against")
    for table, path in zip(tables_of(outputs.regions_files), outputs.regions_jsons, strict=True):
        assert table["p_unc"].notna().tolist() == [True, False, True, False, False]
        assert settings(path)["Families"]["five-regions"]["TestedRegions"] == 2
