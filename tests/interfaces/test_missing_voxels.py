"""GroupMask to ClusterInference on maps with different edges."""

import json
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.interfaces import (
    ClusterInference,
    CollectMaps,
    ContrastSet,
    DesignMatrix,
    EstimateContrasts,
    GroupGLM,
    GroupMask,
    StackMaps,
    ThresholdMap,
)
from nipype_group.stats.random_field.smoothness import residual_smoothness

CONTRASTS = ["age=age", "all=age; patient - control"]
SHAPE = (9, 10, 8)


def read(path):
    return np.asarray(nib.load(path).dataobj)


def cut(study):
    """Take planes from the maps: four end earlier, the patients beyond the last plane but one."""
    for i, path in enumerate(sorted(study.rglob("*.nii.gz"))):
        image = nib.load(path)
        values = np.asarray(image.dataobj).copy()
        values[3:5, 3:5, 3:8] += 6.0 * i
        if i < 4:
            values[..., 6 - i // 2 :] = 0
        if i % 2:
            values[:, 9] = np.nan
        nib.save(nib.Nifti1Image(values, image.affine), path)


@pytest.fixture
def run(small_study, tmp_path, monkeypatch):
    """Return a function that runs all stages up to the contrasts with a minimal coverage."""
    cut(small_study)
    monkeypatch.chdir(tmp_path)

    def stages(min_coverage, formula="age + C(group)", contrasts=CONTRASTS):
        folder = tmp_path / f"stages{min_coverage}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        collect = CollectMaps(bids_dir=str(small_study), select=["stat=effect"]).run().outputs
        mask = GroupMask(map_files=collect.map_files, min_coverage=min_coverage).run().outputs
        stack = StackMaps(
            map_files=collect.map_files, mask_file=mask.mask_file, allow_missing=min_coverage < 1
        )
        stack = stack.run().outputs
        design = DesignMatrix(observations=collect.observations, formula=formula).run().outputs
        files = {"design_file": design.design_file, "design_json": design.design_json}
        made = ContrastSet(contrasts=contrasts, **files).run().outputs
        glm = GroupGLM(stack_file=stack.stack_file, mask_file=mask.mask_file, **files)
        glm = glm.run().outputs
        fit = {
            "model_file": glm.model_file,
            "betas_file": glm.betas_file,
            "residual_variance_file": glm.residual_variance_file,
            "mask_file": mask.mask_file,
            "contrasts_file": made.contrasts_file,
        }
        estimate = EstimateContrasts(**fit, pattern_file=glm.pattern_file).run().outputs
        table = pd.read_csv(design.design_file, sep="\t").iloc[:, 1:]
        return SimpleNamespace(
            mask=mask,
            stack=stack,
            glm=glm,
            estimate=estimate,
            fit=fit,
            collect=collect,
            matrix=table.to_numpy(dtype=float),
            inside=read(mask.mask_file) > 0,
            y=read(stack.stack_file).astype(float),
        )

    return stages


def own_fits(ran):
    """Yield place, design, values and least squares of every voxel of the mask."""
    for at in np.argwhere(ran.inside):
        y = ran.y[tuple(at)]
        has = np.isfinite(y)
        x = ran.matrix[has]
        betas, _, rank, _ = np.linalg.lstsq(x, y[has], rcond=None)
        yield tuple(at), x, y[has], betas, np.square(y[has] - x @ betas).sum(), rank


def test_every_voxel_has_the_statistics_of_its_maps(run):
    ran = run(0.5)
    t, f, z, p = (
        read(ran.estimate.stat_files[0]),
        read(ran.estimate.stat_files[1]),
        read(ran.estimate.z_files[0]),
        read(ran.estimate.p_files[1]),
    )
    dof_map, seen = read(ran.glm.dof_file), set()
    for at, x, y, betas, ss, rank in own_fits(ran):
        dof = len(y) - rank
        seen.add(dof)
        assert dof_map[at] == dof
        expected = betas[1] / np.sqrt(ss / dof * np.linalg.pinv(x.T @ x)[1, 1])
        rest = np.square(y - y.mean()).sum()
        np.testing.assert_allclose(t[at], expected, rtol=1e-6)
        if rank < 3:
            # Controls alone have a slope of age, and no difference between groups.
            assert (f[at], p[at]) == (0, 1)
            continue
        np.testing.assert_allclose(f[at], (rest - ss) / 2 / (ss / dof), rtol=1e-5)
        np.testing.assert_allclose(p[at], stats.f.sf(f[at], 2, dof), rtol=1e-4)
        tail = stats.t.sf(abs(expected), dof)
        np.testing.assert_allclose(z[at], np.sign(expected) * stats.norm.isf(tail), rtol=1e-5)
    assert seen == {9, 7, 5, 4}
    assert (dof_map[ran.inside] == 4).sum() == 8 * 5
    searched = [int(read(path).sum()) for path in ran.estimate.search_mask_files]
    assert searched == [ran.inside.sum(), ran.inside.sum() - 8 * 5]
    (note,) = ran.estimate.notes
    assert note.startswith(f"40 of {ran.inside.sum()} voxels have no statistic of all")


def test_nothing_that_is_written_is_nan(run):
    ran = run(0.5)
    files = [ran.glm.betas_file, ran.glm.residual_variance_file, ran.glm.r2_file, ran.glm.dof_file]
    files += [
        path
        for name in ("effect", "variance", "stat", "z", "p", "effect_size")
        for path in getattr(ran.estimate, f"{name}_files")
    ]
    for path in files:
        values = read(path)
        assert np.isfinite(values).all(), path
        assert not values[~ran.inside].any()


def test_mask_keeps_what_enough_maps_have(run):
    ran = run(0.7)
    coverage = read(ran.mask.coverage_file)
    np.testing.assert_array_equal(ran.inside, coverage >= 9)
    assert np.isnan(ran.y[ran.inside]).any()
    assert not ran.y[~ran.inside].any()
    assert ran.mask.n_voxels == ran.inside.sum()


def test_complete_voxels_are_as_without_missing_ones(run):
    few, all_maps = run(0.5), run(1.0)
    inside = all_maps.inside
    assert inside.sum() < few.inside.sum()
    assert "MissingPatterns" not in json.loads(Path(all_maps.glm.model_file).read_text())
    assert set(read(all_maps.glm.dof_file)[inside]) == {9}
    assert not read(all_maps.glm.pattern_file).any()
    for name in ("stat", "z", "p"):
        for one, two in zip(
            getattr(few.estimate, f"{name}_files"), getattr(all_maps.estimate, f"{name}_files")
        ):
            np.testing.assert_allclose(read(one)[inside], read(two)[inside], rtol=1e-6)
    assert few.estimate.dofs == all_maps.estimate.dofs == [[9], [2, 9]]


def test_complete_maps_need_no_map_of_patterns(run):
    ran = run(1.0)
    expected = [Path(path).read_bytes() for path in ran.estimate.stat_files]
    again = EstimateContrasts(**ran.fit).run().outputs
    assert [Path(path).read_bytes() for path in again.stat_files] == expected


def test_patterns_are_asked_for_where_maps_lack_voxels(run):
    ran = run(0.7)
    with pytest.raises(ValueError, match=r"model\.json: .* the map of patterns is needed"):
        EstimateContrasts(**ran.fit).run()


def test_maps_that_lack_voxels_are_refused_unless_allowed(run):
    ran = run(0.7)
    with pytest.raises(ValueError, match=r"sub-0.*no value at \d+ voxels of the mask"):
        StackMaps(map_files=ran.collect.map_files, mask_file=ran.mask.mask_file).run()


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0])
def test_coverage_out_of_range_is_refused(run, small_study, share):
    maps = [str(path) for path in sorted(small_study.rglob("*.nii.gz"))]
    with pytest.raises(ValueError, match="min_coverage is a share of the maps above 0 and up to"):
        GroupMask(map_files=maps, min_coverage=share).run()


def test_smoothness_is_that_of_the_voxels_that_all_maps_have(run):
    few, all_maps = run(0.5), run(1.0)
    found, expected = (
        json.loads(Path(ran.glm.smoothness_file).read_text()) for ran in (few, all_maps)
    )
    for name in ("FWHMVoxels", "DLH"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9)
    left = all_maps.y - read(all_maps.glm.betas_file) @ all_maps.matrix.T
    volumes = np.moveaxis(left, -1, 0)
    direct = residual_smoothness(volumes, all_maps.inside, 9)
    np.testing.assert_allclose(found["FWHMVoxels"], direct.fwhm_voxels, rtol=1e-9)
    # The search volume is all of the mask.
    assert found["Resels"][3] > 1.2 * expected["Resels"][3]
    assert found["NumberOfVoxels"] == few.inside.sum()
    assert found["NumberOfCompleteVoxels"] == all_maps.inside.sum()
    np.testing.assert_array_equal(read(few.glm.rpv_file), read(all_maps.glm.rpv_file))


def test_smoothness_without_a_complete_voxel_says_so(small_study, run):
    for i, path in enumerate(sorted(small_study.rglob("*.nii.gz"))):
        image = nib.load(path)
        values = np.asarray(image.dataobj).copy()
        values[i % 9, :, : 3 + 5 * (i > 8)] = np.nan
        values[i % 9, :, 3:] = np.nan
        nib.save(nib.Nifti1Image(values, image.affine), path)
    ran = run(0.7)
    about = json.loads(Path(ran.glm.smoothness_file).read_text())
    assert about == {
        "FWHMVoxels": None,
        "Reason": "every voxel of the mask is missing in some map",
    }
    assert read(ran.estimate.z_files[0]).any()


def at_full_dof(ran, index, dof_num=None):
    """Return the statistic with the z of every voxel at the degrees of freedom of all maps."""
    z = read(ran.estimate.z_files[index]).astype(float)
    if dof_num is None:
        return np.sign(z) * stats.t.isf(stats.norm.sf(abs(z)), 9)
    return stats.f.isf(stats.norm.sf(z), dof_num, 9)


@pytest.mark.parametrize(("index", "kind"), [(0, "t"), (1, "F")])
def test_random_field_theory_takes_all_voxels_at_one_dof(run, tmp_path, index, kind):
    ran = run(0.5)
    files = {
        "stat_file": ran.estimate.stat_files[index],
        "z_file": ran.estimate.z_files[index],
        "mask_file": ran.estimate.search_mask_files[index],
        "smoothness_file": ran.glm.smoothness_file,
        "stat_type": kind,
    }
    common = at_full_dof(ran, index, None if kind == "t" else 2)
    image, dof = nib.load(files["stat_file"]), read(ran.glm.dof_file)
    common = np.where((dof == 0) | (dof == 9), np.asarray(image.dataobj), common)
    same = nib.Nifti1Image(common.astype(np.float64), image.affine)
    same.header.set_intent(*image.header.get_intent()[:2])
    nib.save(same, tmp_path / "common.nii")
    ways = {
        "own": {"dof_file": ran.glm.dof_file},
        "by hand": {"stat_file": str(tmp_path / "common.nii")},
        "naive": {},
    }
    logp = {}
    for name, changes in ways.items():
        height = ThresholdMap(height_control="rft", **(files | changes)).run().outputs
        logp[name] = [read(height.logp_file).copy()]
        extent = ClusterInference(cluster_forming_p=0.01, **(files | changes)).run().outputs
        logp[name] += [read(extent.logp_file).copy(), read(extent.peak_logp_file).copy()]
    for what, own, by_hand, naive in zip(("height", "extent", "peak"), *logp.values()):
        assert own.any()
        np.testing.assert_allclose(own, by_hand, rtol=1e-4, atol=1e-6)
        assert what == "extent" or abs(own - naive).max() > 0.1
