"""``nipype-group run --min-coverage``: maps with different edges of the brain."""

import json
from itertools import product

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

STEM = "task-rest_space-MNI"


@pytest.fixture
def edges(small_study):
    """Let maps end at different planes; returns all maps as one array, NaN where they end."""
    arrays = []
    for i, path in enumerate(sorted(small_study.rglob("*.nii.gz"))):
        image = nib.load(path)
        values = np.asarray(image.dataobj).copy()
        if i < 5:
            values[..., 3 + i :] = 0 if i % 2 else np.nan
        nib.save(nib.Nifti1Image(values, image.affine), path)
        arrays.append(np.where(values == 0, np.nan, values))
    return np.array(arrays, dtype=float)


def read(path):
    return np.asarray(nib.load(path).dataobj)


def test_voxels_that_most_maps_have_are_analysed(analyse, edges, tmp_path):
    code, _, err = analyse(
        "--min-coverage",
        "0.7",
        "--contrast",
        "mean=intercept",
        "--height-control",
        "fdr",
        "--height-control",
        "rft",
        "--cluster-control",
        "rft",
        "--ari",
        "2",
        "--also-write",
        "coverage,effect-sizes",
        model=("--formula", "1"),
    )
    assert code == 0, err
    group = tmp_path / "out" / "group"
    counts = np.isfinite(edges).sum(axis=0)
    mask = read(group / f"{STEM}_desc-group_mask.nii.gz") > 0
    np.testing.assert_array_equal(mask, counts >= 9)
    np.testing.assert_array_equal(read(group / f"{STEM}_desc-coverage_statmap.nii.gz"), counts)
    expected = stats.ttest_1samp(edges[:, mask], 0, nan_policy="omit")
    maps = {
        stat: read(group / f"{STEM}_contrast-mean_stat-{stat}_statmap.nii.gz")
        for stat in ("t", "p", "z", "effect", "variance", "cohensD")
    }
    np.testing.assert_allclose(maps["t"][mask], expected.statistic, rtol=1e-6)
    np.testing.assert_allclose(maps["p"][mask], expected.pvalue, rtol=1e-5)
    np.testing.assert_allclose(
        maps["z"][mask],
        stats.norm.isf(expected.pvalue / 2) * np.sign(expected.statistic),
        rtol=1e-5,
    )
    dof = read(group / f"{STEM}_stat-dof_desc-model_statmap.nii.gz")
    np.testing.assert_array_equal(dof, np.where(mask, counts - 1, 0))
    assert sorted(set(dof[mask])) == [8, 9, 10, 11]
    for path in group.glob("*statmap.nii.gz"):
        assert np.isfinite(read(path)).all(), path.name


def test_sidecars_say_the_rule_and_where_the_dof_are(analyse, edges, tmp_path):
    code, _, err = analyse("--min-coverage", "0.7", "--also-write", "coverage")
    assert code == 0, err
    group = tmp_path / "out" / "group"

    def sidecar(name):
        return json.loads((group / f"{STEM}_{name}.json").read_text())

    for name in ("desc-group_mask", "desc-coverage_statmap"):
        assert sidecar(name)["MinimumCoverage"] == 0.7
    where = f"bids::group/{STEM}_stat-dof_desc-model_statmap.nii.gz"
    for name in ("contrast-age_stat-t_statmap", "contrast-age_stat-z_desc-fdrBHBoth_statmap"):
        about = sidecar(name)
        assert about["DegreesOfFreedom"] == 10
        assert about["DegreesOfFreedomMap"] == where
        assert about["Parameters"]["min_coverage"] == 0.7
    assert "no contrast has a statistic" in sidecar("stat-dof_desc-model_statmap")["Description"]


def test_maps_are_smoothed_without_their_missing_voxels(analyse, edges, tmp_path):
    code, _, err = analyse("--min-coverage", "0.7", "--smooth", "5")
    assert code == 0, err
    group = tmp_path / "out" / "group"
    counts = np.isfinite(edges).sum(axis=0)
    dof = read(group / f"{STEM}_stat-dof_desc-model_statmap.nii.gz")
    np.testing.assert_array_equal(dof, np.where(counts >= 9, counts - 2, 0))


def test_share_of_less_than_one_changes_nothing_where_no_map_lacks_a_voxel(analyse, tmp_path):
    assert analyse(out=tmp_path / "all")[0] == 0
    assert analyse("--min-coverage", "0.7", out=tmp_path / "most")[0] == 0
    one, two = (tmp_path / name / "group" for name in ("all", "most"))
    names = sorted(path.name for path in one.glob("*.nii.gz"))
    assert names == sorted(path.name for path in two.glob("*.nii.gz"))
    assert not list(two.glob("*stat-dof*"))
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    for name in ("*_desc-group_mask.json", "*_contrast-age_stat-t_statmap.json"):
        abouts = [json.loads(next(f.glob(name)).read_text()) for f in (one, two)]
        for about in abouts:
            about.pop("MinimumCoverage", None)
            about["Parameters"] = about["Command"] = None
            assert "DegreesOfFreedomMap" not in about
        assert abouts[0] == abouts[1]


def test_default_takes_what_every_map_has(analyse, edges, tmp_path):
    assert analyse()[0] == 0
    group = tmp_path / "out" / "group"
    mask = read(group / f"{STEM}_desc-group_mask.nii.gz") > 0
    np.testing.assert_array_equal(mask, np.isfinite(edges).all(axis=0))
    about = json.loads((group / f"{STEM}_desc-group_mask.json").read_text())
    assert about["MinimumCoverage"] == 1


@pytest.mark.parametrize("share", ["0", "1.5", "70", "-0.1", "nan"])
def test_share_out_of_range_is_refused(analyse, tmp_path, share):
    code, _, err = analyse(f"--min-coverage={share}")
    assert code == 2
    said = "no finite number" if share == "nan" else "is a number above 0 and up to 1, got"
    assert said in err
    assert not (tmp_path / "out").exists()


def test_maps_that_share_no_voxel_say_how_many_are_needed(analyse, small_study, tmp_path):
    for i, path in enumerate(sorted(small_study.rglob("*.nii.gz"))):
        image = nib.load(path)
        values = np.asarray(image.dataobj).copy()
        values[:, np.arange(10) != i % 10] = 0
        nib.save(nib.Nifti1Image(values, image.affine), path)
    code, _, err = analyse("--min-coverage", "0.5")
    assert code == 1
    assert "no voxel has a value in 6 of the 12 maps" in err


def test_map_without_a_voxel_of_the_mask_is_named(analyse, edges, write_map, tmp_path):
    mask = np.zeros((9, 10, 8), dtype=np.uint8)
    mask[..., 3] = 1
    code, _, err = analyse("--min-coverage", "0.7", "--mask", write_map("mask.nii", mask))
    assert code == 1
    assert "sub-01_task-rest" in err
    assert "leave the map out" in err


def test_each_contrast_is_searched_where_the_maps_determine_it(
    analyse, small_study, write_map, tmp_path
):
    """A third group without a corner of the brain takes nothing from the other two."""
    table = pd.read_csv(small_study / "participants.tsv", sep="\t")
    table["site"] = np.repeat(["north", "south", "west"], 4)
    table.to_csv(small_study / "participants.tsv", sep="\t", index=False)
    arrays = []
    for site, path in zip(table["site"], sorted(small_study.rglob("*.nii.gz")), strict=True):
        image = nib.load(path)
        values = np.asarray(image.dataobj).copy()
        values[:, :3] = 0 if site == "west" else values[:, :3]
        nib.save(nib.Nifti1Image(values, image.affine), path)
        arrays.append(np.where(values == 0, np.nan, values))
    arrays = np.array(arrays, dtype=float)
    code, out, err = analyse(
        "--min-coverage",
        "0.6",
        "--contrast",
        "ns=north - south",
        "--contrast",
        "nw=north - west",
        "--contrast",
        "any=north - south; north - west",
        "--permutations",
        "20",
        "--ari",
        "2",
        "--height-control",
        "fdr",
        "--cluster-control",
        "rft",
        "--also-write",
        "permutation-p",
        model=("--formula", "C(site)"),
    )
    assert code == 0, err
    group = tmp_path / "out" / "group"
    mask = read(group / f"{STEM}_desc-group_mask.nii.gz") > 0
    corner = mask & np.isnan(arrays[-1])
    assert corner.sum() == 8 * 3 * 8
    maps = {
        name: read(next(group.glob(f"{STEM}_contrast-{name}_stat-{stat}_statmap.nii.gz")))
        for name, stat in (("ns", "t"), ("nw", "t"), ("any", "F"))
    }
    alone = stats.ttest_ind(arrays[:4, corner], arrays[4:8, corner])
    np.testing.assert_allclose(maps["ns"][corner], alone.statistic, rtol=1e-5)
    for name in ("nw", "any"):
        assert not maps[name][corner].any()
        said = f"Warning: {corner.sum()} of {mask.sum()} voxels have no statistic of {name}"
        assert said in out
    assert "no statistic of ns" not in out
    page = next(group.glob("*report.html")).read_text()
    about = (group / f"{STEM}_desc-group_mask.json").read_text()
    for text in (page, about):
        assert f"{corner.sum()} of {mask.sum()} voxels have no statistic of nw" in text
    searched = {
        name: json.loads(next(group.glob(f"*contrast-{name}_*fdrBH*_clusters.json")).read_text())
        for name in maps
    }
    counts = {n: about["TableSettings"]["SearchVolumeVoxels"] for n, about in searched.items()}
    everywhere, left = int(mask.sum()), int(mask.sum() - corner.sum())
    assert counts == {"ns": everywhere, "nw": left, "any": left}
    p = read(group / f"{STEM}_contrast-nw_stat-p_statmap.nii.gz")[mask & ~corner]
    logp = next(group.glob(f"{STEM}_contrast-nw_stat-logp_desc-fdrBH*statmap.nii.gz"))
    q = stats.false_discovery_control(p)
    np.testing.assert_allclose(read(logp)[mask & ~corner], -np.log10(q), rtol=1e-4)
    p, q = (
        10 ** -read(next(group.glob(f"{STEM}_contrast-nw_stat-logp_desc-permVoxel{kind}*.nii.gz")))
        for kind in ("Unc", "FDR")
    )
    assert (p[corner] == 1).all()
    expected = stats.false_discovery_control(p[mask & ~corner])
    np.testing.assert_allclose(q[mask & ~corner], expected, rtol=1e-4)


def test_a_participant_without_a_voxel_leaves_the_others_their_difference(
    analyse, small_study, tmp_path
):
    rows, arrays = [], []
    for i, path in enumerate(sorted(small_study.rglob("*.nii.gz"))):
        image = nib.load(path)
        values = np.asarray(image.dataobj).copy()
        # The first participant lacks a corner in both conditions.
        values[:, :3] = 0 if i < 2 else values[:, :3]
        nib.save(nib.Nifti1Image(values, image.affine), path)
        rows.append(
            {"participant_id": f"sub-{i // 2}", "when": ["pre", "post"][i % 2], "map": path}
        )
        arrays.append(values)
    pd.DataFrame(rows).to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    code, _, err = analyse(
        "--min-coverage",
        "0.6",
        "--contrast",
        "change=post - pre",
        "--permutations",
        "64",
        "--also-write",
        "permutation-p",
        model=("--formula", "C(when) + C(participant_id)"),
        source=("--maps", tmp_path / "maps.tsv"),
    )
    assert code == 0, err
    group = tmp_path / "out" / "group"
    t = read(next(group.glob("*contrast-change_stat-t_statmap.nii.gz")))[1:, :3]
    pre, post = np.array(arrays[2::2]), np.array(arrays[3::2])
    expected = stats.ttest_rel(post[:, 1:, :3], pre[:, 1:, :3]).statistic
    np.testing.assert_allclose(t, expected, rtol=1e-5)
    # All 32 flips of the five differences, of which the observed is one.
    p = 10 ** -read(next(group.glob("*contrast-change_*stat-logp_desc-permVoxelUnc*.nii.gz")))
    difference = post[:, 4, 1, 3] - pre[:, 4, 1, 3]
    flips = np.array(list(product((1, -1), repeat=5))) * difference
    flipped = np.abs(stats.ttest_1samp(flips, 0, axis=1).statistic)
    assert p[4, 1, 3] == pytest.approx((flipped >= flipped[0] * (1 - 1e-9)).mean(), rel=1e-5)
