"""Smoothness of the residuals from GroupGLM, and the search volume of GroupMask."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.interfaces import ClusterInference, GroupGLM, GroupMask, StackMaps
from nipype_group.stats.random_field.resels import resel_counts
from nipype_group.stats.random_field.smoothness import residual_smoothness

FORMULA = "age + C(group)"
SHAPE = (9, 10, 8)


def read(path):
    return np.asarray(nib.load(path).dataobj)


def smoothness_of(glm):
    return json.loads(Path(glm.smoothness_file).read_text())


def residuals(stages):
    """Return the residual volumes by plain numpy, the mask, and the degrees of freedom."""
    y, inside = stages.data
    design = pd.read_csv(stages.design.design_file, sep="\t").iloc[:, 1:].to_numpy(dtype=float)
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    volumes = np.zeros((len(y), *inside.shape))
    volumes[:, inside] = left
    return volumes, inside, len(y) - design.shape[1]


def fit(stages, **inputs):
    """Fit the model of the stages again with other inputs."""
    files = {"stack_file": stages.stack.stack_file, "mask_file": stages.mask.mask_file}
    return GroupGLM(**(files | stages.design_files | inputs)).run().outputs


@pytest.mark.parametrize("edges", ["valid", "spm"])
def test_smoothness_is_that_of_the_residuals(stages, edges):
    ran = stages(FORMULA, ["age=age"])
    volumes, inside, dof = residuals(ran)
    expected = residual_smoothness(volumes, inside, dof, edges=edges)
    glm = fit(ran, edges=edges)
    found = smoothness_of(glm)
    np.testing.assert_allclose(found["FWHMVoxels"], expected.fwhm_voxels, rtol=1e-9)
    np.testing.assert_allclose(found["FWHMMillimetres"], 3 * expected.fwhm_voxels, rtol=1e-6)
    np.testing.assert_allclose(
        found["Resels"], resel_counts(inside, expected.fwhm_voxels), rtol=1e-9
    )
    assert found["VoxelsPerResel"] == pytest.approx(np.prod(found["FWHMVoxels"]))
    assert found["DLH"] == pytest.approx(expected.dlh)
    assert (found["Edges"], found["NumberOfVoxels"]) == (edges, inside.sum())
    assert found["DegreesOfFreedom"] == dof == 9
    np.testing.assert_allclose(read(glm.rpv_file), expected.resels_per_voxel, rtol=1e-6)


def test_edges_are_valid_unless_said_otherwise(stages):
    ran = stages(FORMULA, ["age=age"])
    assert smoothness_of(ran.glm) == smoothness_of(fit(ran, edges="valid"))
    # Zeros beyond the upper faces make SPM's estimate smoother.
    spm = smoothness_of(fit(ran, edges="spm"))
    assert spm["VoxelsPerResel"] > 1.05 * smoothness_of(ran.glm)["VoxelsPerResel"]


def test_local_resels_are_unknown_where_a_forward_neighbour_is_missing(stages):
    ran = stages(FORMULA, ["age=age"])
    inside = ran.data[1]
    padded = np.pad(inside, (0, 1))
    corners = [
        padded[tuple(slice(i, i + n) for i, n in zip(shift, SHAPE))]
        for shift in np.ndindex(2, 2, 2)
    ]
    known = np.all(corners, axis=0)
    rpv = read(ran.glm.rpv_file)
    np.testing.assert_array_equal(np.isfinite(rpv), known)
    assert 0 < known.sum() < inside.sum()
    about = smoothness_of(ran.glm)
    assert rpv[known].mean() == pytest.approx(1 / about["VoxelsPerResel"], rel=1e-5)
    assert nib.load(ran.glm.rpv_file).get_data_dtype() == np.float32


def refit(stages, tmp_path, change):
    """Return the smoothness after a change of the stacked maps, shape (x, y, z, n)."""
    image = nib.load(stages.stack.stack_file)
    values = change(np.asarray(image.dataobj)) * (stages.data[1][..., None])
    path = tmp_path / "changed.nii"
    nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine), path)
    return smoothness_of(fit(stages, stack_file=str(path)))["FWHMVoxels"]


def test_maps_that_are_smooth_along_one_axis_are_found_so(stages, tmp_path):
    ran = stages(FORMULA, ["age=age"])
    before = smoothness_of(ran.glm)["FWHMVoxels"]
    after = refit(ran, tmp_path, lambda maps: maps + np.roll(maps, 1, axis=2))
    assert after[2] > 1.2 * before[2]
    np.testing.assert_allclose(after[:2], before[:2], rtol=0.1)


def test_scale_and_mean_of_the_maps_change_no_smoothness(stages, tmp_path):
    ran = stages(FORMULA, ["age=age"])
    after = refit(ran, tmp_path, lambda maps: 1024 * maps + 512)
    np.testing.assert_allclose(after, smoothness_of(ran.glm)["FWHMVoxels"], rtol=1e-5)


@pytest.mark.parametrize("edges", ["valid", "spm"])
def test_mask_of_a_plane_has_no_smoothness_and_a_fit_all_the_same(stages, write_map, edges):
    ran = stages(FORMULA, ["age=age"])
    plane = np.zeros(SHAPE, dtype=np.uint8)
    plane[1:, :, 4] = 1
    files = {"mask_file": str(write_map("plane.nii", plane))}
    files["stack_file"] = (
        StackMaps(map_files=ran.collect.map_files, **files).run().outputs.stack_file
    )
    glm = fit(ran, edges=edges, **files)
    about = smoothness_of(glm)
    assert set(about) == {"FWHMVoxels", "Reason"}
    assert about["FWHMVoxels"] is None
    assert "None of the mask's 80 voxels has all its forward neighbours" in about["Reason"]
    assert np.isnan(read(glm.rpv_file)).all()
    betas = read(glm.betas_file)
    np.testing.assert_array_equal(betas[plane > 0], read(ran.glm.betas_file)[plane > 0])
    assert not betas[plane == 0].any()
    inference = ClusterInference(
        stat_file=ran.estimate.stat_files[0],
        z_file=ran.estimate.z_files[0],
        mask_file=files["mask_file"],
        smoothness_file=glm.smoothness_file,
    )
    with pytest.raises(ValueError, match="not estimated: None of the mask's 80 voxels"):
        inference.run()


@pytest.fixture
def maps(small_study, tmp_path, monkeypatch):
    """Return the maps of the study; its first plane has no values."""
    monkeypatch.chdir(tmp_path)
    return [str(p) for p in sorted(small_study.rglob("*.nii.gz"))]


@pytest.fixture
def volume(write_map):
    """Return a function that writes a mask of the voxels of a slice."""

    def write(*where, name="volume.nii", shape=SHAPE):
        values = np.zeros(shape, dtype=np.uint8)
        values[where] = 1
        return str(write_map(name, values))

    return write


def test_search_volume_is_cut_to_the_voxels_analysed(maps, volume):
    path = volume(slice(0, 4), slice(2, 6), slice(1, 5))
    outputs = GroupMask(map_files=maps, search_volume=path).run().outputs
    analysed, searched = read(outputs.mask_file) > 0, read(outputs.search_mask_file) > 0
    np.testing.assert_array_equal(searched, analysed & (read(path) > 0))
    assert searched.sum() == 3 * 4 * 4
    # It changes neither what is fitted nor what is counted.
    whole = GroupMask(map_files=maps).run().outputs
    np.testing.assert_array_equal(analysed, read(whole.mask_file) > 0)
    assert outputs.n_voxels == whole.n_voxels == analysed.sum()
    assert nib.load(outputs.search_mask_file).get_data_dtype() == np.uint8


def test_search_volume_meets_an_explicit_mask(maps, volume):
    explicit = volume(slice(2, None), name="explicit.nii")
    search = volume(slice(0, 4))
    outputs = GroupMask(map_files=maps, mask_file=explicit, search_volume=search).run().outputs
    expected = np.zeros(SHAPE, dtype=bool)
    expected[2:4] = True
    np.testing.assert_array_equal(read(outputs.search_mask_file) > 0, expected)


def test_everything_is_searched_without_a_search_volume(maps):
    outputs = GroupMask(map_files=maps).run().outputs
    np.testing.assert_array_equal(read(outputs.search_mask_file), read(outputs.mask_file))
    assert outputs.n_voxels == 8 * 10 * 8


def test_search_volume_without_a_voxel_of_the_mask_is_refused(maps, volume):
    beside = volume(0)
    with pytest.raises(ValueError, match=r"volume\.nii holds no voxel of the mask"):
        GroupMask(map_files=maps, search_volume=beside).run()
    nothing = volume(slice(0, 0))
    with pytest.raises(ValueError, match=r"volume\.nii.*the mask is empty"):
        GroupMask(map_files=maps, search_volume=nothing).run()


@pytest.mark.parametrize("change", ["shape", "place"])
def test_search_volume_on_another_grid_is_refused(maps, volume, change):
    path = volume(slice(None), shape=(9, 10, 7) if change == "shape" else SHAPE)
    if change == "place":
        image = nib.load(path)
        moved = nib.Nifti1Image(np.asarray(image.dataobj), image.affine @ np.diag([1, 1, 2, 1]))
        nib.save(moved, path)
    with pytest.raises(ValueError, match=r"volume\.nii.*grid is .* resample"):
        GroupMask(map_files=maps, search_volume=path).run()
