"""SmoothMaps, GroupMask and StackMaps."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from nipype_group.interfaces import GroupMask, SmoothMaps, StackMaps

SHAPE = (16, 15, 14)


@pytest.fixture
def maps(write_map, tmp_path, monkeypatch):
    """Write three maps with different missing voxels."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    arrays = [(rng.standard_normal(SHAPE) + 2).astype(np.float32) for _ in range(3)]
    arrays[0][:2] = 0
    arrays[1][:, :1] = np.nan
    paths = [str(write_map(f"sub-{i}_map.nii.gz", a)) for i, a in enumerate(arrays)]
    return paths, arrays


def data(path):
    return np.asarray(nib.load(path).dataobj)


def test_mask_is_where_every_map_has_a_value(maps):
    paths, arrays = maps
    outputs = GroupMask(map_files=paths).run().outputs
    present = [np.isfinite(a) & (a != 0) for a in arrays]
    np.testing.assert_array_equal(data(outputs.mask_file), np.all(present, axis=0))
    np.testing.assert_array_equal(data(outputs.coverage_file), np.sum(present, axis=0))
    assert outputs.n_voxels == np.all(present, axis=0).sum()
    assert nib.load(outputs.mask_file).get_data_dtype() == np.uint8


def test_each_map_is_told_what_it_costs_the_mask(maps, write_map):
    paths, arrays = maps
    has = np.array([np.isfinite(a) & (a != 0) for a in arrays])

    def expected(allowed, mask):
        rows = []
        for i, own in enumerate(has):
            others = np.delete(has, i, axis=0).all(axis=0)
            alone = (allowed & ~mask & ~own & others).sum()
            rows.append([(allowed & own).sum(), (allowed & ~own).sum(), alone])
        return rows

    def table(outputs):
        lines = Path(outputs.map_coverage_file).read_text().splitlines()
        assert lines[0] == "map\tn_voxels\tn_missing\tn_removed_alone"
        names, *columns = zip(*(line.split("\t") for line in lines[1:]), strict=True)
        assert list(names) == [Path(path).name for path in paths]
        return [list(map(int, row)) for row in zip(*columns, strict=True)]

    found = table(GroupMask(map_files=paths).run().outputs)
    assert found == expected(has.any(axis=0), has.all(axis=0))
    assert found[0][2] > found[1][2] > found[2][2] == 0
    # A mask of fewer voxels, some of which no map has.
    allowed = np.zeros(SHAPE, dtype=bool)
    allowed[:5] = True
    mask_file = str(write_map("mask.nii", allowed.astype(np.uint8)))
    outputs = GroupMask(map_files=paths, mask_file=mask_file).run().outputs
    assert table(outputs) == expected(allowed, allowed & has.all(axis=0))
    # Where two of three maps suffice no map takes a voxel away alone.
    outputs = GroupMask(map_files=paths, min_coverage=0.6).run().outputs
    assert table(outputs) == expected(has.any(axis=0), has.sum(axis=0) >= 2)
    assert [row[2] for row in table(outputs)] == [0, 0, 0]


def test_explicit_mask_is_cut_to_what_every_map_has(maps, write_map):
    paths, arrays = maps
    allowed = np.zeros(SHAPE, dtype=np.uint8)
    allowed[:8] = 1
    mask_file = str(write_map("mask.nii", allowed))
    outputs = GroupMask(map_files=paths, mask_file=mask_file).run().outputs
    present = np.all([np.isfinite(a) & (a != 0) for a in arrays], axis=0)
    np.testing.assert_array_equal(data(outputs.mask_file), present & (allowed > 0))


def test_mask_on_another_grid_is_refused(maps, write_map):
    mask_file = str(write_map("mask.nii", np.ones((3, 3, 3), dtype=np.uint8)))
    with pytest.raises(ValueError, match=r"mask\.nii: its grid is 3 x 3 x 3"):
        GroupMask(map_files=maps[0], mask_file=mask_file).run()


def test_maps_without_a_common_voxel_are_refused(write_map, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    halves = np.zeros((2, 4, 4, 4), dtype=np.float32)
    halves[0, :2], halves[1, 2:] = 1, 1
    halves[1, 3, 3, 3] = 0
    paths = [str(write_map(f"{i}.nii", h)) for i, h in enumerate(halves)]
    with pytest.raises(ValueError, match=r"1\.nii: no voxel .* 31 voxels"):
        GroupMask(map_files=paths).run()


def test_stack_holds_the_maps_in_order_and_nothing_outside(maps):
    paths, arrays = maps
    mask_file = GroupMask(map_files=paths).run().outputs.mask_file
    stack = nib.load(StackMaps(map_files=paths, mask_file=mask_file).run().outputs.stack_file)
    mask = data(mask_file) > 0
    assert stack.shape == (*SHAPE, 3)
    assert stack.get_data_dtype() == np.float32
    assert stack.get_filename().endswith(".nii")
    values = np.asarray(stack.dataobj)
    for index, array in enumerate(arrays):
        np.testing.assert_array_equal(values[mask, index], array[mask])
    assert not values[~mask].any()
    np.testing.assert_array_equal(stack.affine, nib.load(paths[0]).affine)


def test_stack_refuses_a_map_without_value_in_the_mask(maps, write_map):
    mask_file = str(write_map("mask.nii", np.ones(SHAPE, dtype=np.uint8)))
    with pytest.raises(ValueError, match=r"sub-0_map.*no value at 420 voxels of the mask"):
        StackMaps(map_files=maps[0], mask_file=mask_file).run()


def smooth(paths, **inputs):
    return SmoothMaps(in_files=paths, **inputs).run().outputs.smoothed_files


def test_smoothing_is_the_gaussian_filter_where_nothing_is_missing(maps):
    paths, arrays = maps
    (smoothed,) = np.atleast_1d(smooth(paths[2:], fwhm_mm=[6.0]))
    sigma = 6 / 3 / np.sqrt(8 * np.log(2))
    expected = gaussian_filter(arrays[2].astype(float), sigma, mode="constant", truncate=6)
    inner = (slice(6, -6),) * 3
    np.testing.assert_allclose(data(smoothed)[inner], expected[inner], rtol=2e-4)


def test_missing_voxels_neither_spread_nor_shrink(write_map, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = np.full(SHAPE, 4, dtype=np.float32)
    values[3:6, 4:9] = np.nan
    values[10, 10] = 0
    path = str(write_map("flat.nii", values))
    smoothed = data(np.atleast_1d(smooth([path], fwhm_mm=8.0))[0])
    present = np.isfinite(values) & (values != 0)
    np.testing.assert_allclose(smoothed[present], 4, rtol=1e-5)
    assert not np.nan_to_num(smoothed[~present]).any()


def test_three_widths_smooth_along_their_own_axes(write_map, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = np.full(SHAPE, 1e-6, dtype=np.float32)
    values[8, 7, 7] = 100
    path = str(write_map("point.nii", values))
    smoothed = data(np.atleast_1d(smooth([path], fwhm_mm=[9.0, 0.0, 0.0]))[0])
    assert smoothed[9, 7, 7] > 5
    assert smoothed[8, 8, 7] < 1e-3
    assert smoothed[8, 7, 8] < 1e-3


def test_values_outside_the_mask_count_as_missing(maps, write_map):
    _, arrays = maps
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[4:] = 1
    wild = arrays[2].copy()
    wild[:4] = 1000
    tame, other = str(write_map("tame.nii", arrays[2])), str(write_map("wild.nii", wild))
    mask_file = str(write_map("mask.nii", mask))
    a, b = smooth([tame, other], fwhm_mm=8.0, mask_file=mask_file)
    np.testing.assert_array_equal(data(a)[4:], data(b)[4:])


def test_threads_change_no_bit_and_order_is_kept(maps):
    paths, _ = maps
    one = smooth(paths, fwhm_mm=5.0, num_threads=1)
    first = [data(p).copy() for p in one]
    several = smooth(paths, fwhm_mm=5.0, num_threads=3)
    assert [Path(p).name for p in several] == [f"000{i + 1}_sub-{i}_map.nii" for i in range(3)]
    for before, path in zip(first, several, strict=True):
        np.testing.assert_array_equal(before, data(path))
