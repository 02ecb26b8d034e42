"""Volumes on disk: what is read, what is refused, what is written."""

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nipype_group.images import (
    Grid,
    MapError,
    compressed,
    read_dof,
    read_map,
    read_mask,
    write_volume,
)
from nipype_group.images.coverage import count_coverage, group_mask
from nipype_group.images.fits import read_fit
from nipype_group.images.smoothing import smooth_maps
from nipype_group.images.stacks import MaskedStack, unmask, write_stack

SHAPE = (5, 6, 7)
AFFINE = np.array([[-2.0, 0, 0, 10], [0, 2, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])
GRID = Grid(SHAPE, AFFINE)


@pytest.fixture
def values():
    return np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)


def test_voxels_that_are_0_or_not_finite_are_missing(write_map, values):
    values[0, 0, :4] = [np.nan, np.inf, -np.inf, 0]
    found, grid = read_map(write_map("a.nii.gz", values, AFFINE))
    assert found.dtype == np.float32
    assert np.isnan(found[0, 0, :4]).all()
    assert np.isnan(found).sum() == 4
    np.testing.assert_array_equal(found[1:], values[1:])
    assert grid.matches(GRID)


@pytest.mark.parametrize("trailing", [(1,), (1, 1)])
def test_trailing_dimensions_of_one_are_dropped(write_map, values, trailing):
    found, grid = read_map(write_map("a.nii", values.reshape(*SHAPE, *trailing)))
    np.testing.assert_array_equal(found, values)
    assert grid.shape == SHAPE


def test_scaled_integers_are_scaled(tmp_path, values):
    image = nib.Nifti1Image(values, AFFINE)
    image.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "a.nii.gz")
    assert nib.load(tmp_path / "a.nii.gz").dataobj.slope != 1
    step = np.ptp(values) / 2**16
    np.testing.assert_allclose(read_map(tmp_path / "a.nii.gz")[0], values, atol=step)


@pytest.mark.parametrize("kind", [nib.Spm99AnalyzeImage, nib.Spm2AnalyzeImage, nib.Nifti1Pair])
def test_pairs_of_header_and_image(write_map, values, kind):
    path = write_map("a.img", values, np.diag([2.0, 2, 2, 1]), image=kind)
    assert path.with_suffix(".hdr").exists()
    np.testing.assert_array_equal(read_map(path)[0], values)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[: len(b) // 2], "cannot be read as an image|more than the file holds"),
        (lambda b: b[:100], "cannot be read as an image"),
        (lambda b: b"", "cannot be read as an image"),
        (lambda b: b"hello", "cannot be read as an image"),
        (lambda b: b[:200] + bytes(reversed(b[200:])), "cannot be read as an image"),
    ],
)
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
def test_damaged_files_are_named(write_map, values, name, damage, message):
    path = write_map(name, values)
    damaged = damage(path.read_bytes())
    if name == "a.nii" and len(damaged) == len(path.read_bytes()):
        damaged = damaged[:348]
    path.write_bytes(damaged)
    with pytest.raises(MapError, match=message) as error:
        read_map(path)
    assert error.value.path == str(path)
    assert str(error.value).startswith(f"{path}: ")


def test_files_that_are_absent_or_hold_several_volumes_are_refused(write_map, tmp_path):
    with pytest.raises(MapError, match="the file does not exist"):
        read_map(tmp_path / "none.nii")
    with pytest.raises(MapError, match=r"shape \(2, 3, 4, 2\), one volume is expected"):
        read_map(write_map("a.nii", np.ones((2, 3, 4, 2), np.float32)))
    with pytest.raises(MapError, match="a volume is expected"):
        read_map(write_map("b.nii", np.ones((2, 3), np.float32)))


def test_grids_match_within_a_hundredth_of_a_voxel_at_every_corner():
    assert GRID.matches(Grid(SHAPE, AFFINE + 1e-6))
    for row, column, change in ((0, 3, 0.019), (0, 0, 0.019 / 4), (2, 1, 0.019 / 5)):
        moved = AFFINE.copy()
        moved[row, column] += change
        assert GRID.matches(Grid(SHAPE, moved))
        moved[row, column] += change * 0.2
        assert not GRID.matches(Grid(SHAPE, moved))
    assert not GRID.matches(Grid((5, 6, 8), AFFINE))
    flipped = AFFINE @ np.diag([-1, 1, 1, 1.0])
    assert not GRID.matches(Grid(SHAPE, flipped))


def test_a_grid_says_its_shape_voxels_and_origin():
    assert str(GRID) == "5 x 6 x 7 voxels of 2 x 2 x 3 mm, axes LAS, from (10, -20, 5)"
    flipped = Grid((5, 6, 7), GRID.affine @ np.diag([-1, 1, 1, 1]))
    assert str(flipped) == "5 x 6 x 7 voxels of 2 x 2 x 3 mm from (10, -20, 5)"
    rotated = AFFINE.copy()
    rotated[:2, :2] = [[0, -2], [2, 0]]
    np.testing.assert_allclose(Grid(SHAPE, rotated).voxel_sizes_mm, [2, 2, 3])


def test_masks(write_map):
    inside = np.zeros(SHAPE, np.uint8)
    inside[2:4, 1] = 7
    mask, grid = read_mask(write_map("m.nii.gz", inside, AFFINE), GRID)
    np.testing.assert_array_equal(mask, inside == 7)
    with pytest.raises(MapError, match="the mask is empty"):
        read_mask(write_map("empty.nii", inside * 0, AFFINE))
    with pytest.raises(MapError, match=r"its grid is .* that of the maps is .* resample"):
        read_mask(write_map("moved.nii", inside, AFFINE + np.eye(4)), grid)


def test_written_volumes_keep_values_place_and_intent(tmp_path, values):
    path = write_volume(tmp_path / "a.nii.gz", values, GRID, intent=("t test", (28,)))
    image = nib.load(path)
    np.testing.assert_array_equal(image.get_fdata(), values)
    np.testing.assert_allclose(image.affine, AFFINE)
    assert image.header.get_intent()[:2] == ("t test", (28.0,))
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.get_data_dtype() == np.float32
    np.testing.assert_allclose(image.header.get_qform(), AFFINE, atol=1e-5)


def test_compressed_bytes_depend_on_the_values_alone(tmp_path, values):
    (tmp_path / "other").mkdir()
    one = write_volume(tmp_path / "a.nii.gz", values, GRID)
    two = write_volume(tmp_path / "other/b.nii.gz", values.copy(), GRID)
    assert Path(one).read_bytes() == Path(two).read_bytes()
    plain = write_volume(tmp_path / "a.nii", values, GRID)
    assert gzip.decompress(Path(one).read_bytes()) == Path(plain).read_bytes()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, values, monkeypatch):
    path = tmp_path / "a.nii.gz"
    write_volume(path, values, GRID)
    before = path.read_bytes()

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_volume(path, values + 1, GRID)
    with pytest.raises(OSError, match="disk full"):
        write_stack(tmp_path / "s.nii", [path], np.ones(SHAPE, bool), GRID)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]


@pytest.fixture
def maps(write_map):
    """Three maps: the second lacks a plane, the third two voxels."""
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(SHAPE).astype(np.float32) + 5 for _ in range(3)]
    arrays[1][0] = 0
    arrays[2][4, 5, 5:] = np.nan
    return arrays, [write_map(f"{i}.nii.gz", a, AFFINE) for i, a in enumerate(arrays)]


def test_group_mask_is_what_every_map_has(maps, write_map):
    arrays, paths = maps
    mask, coverage = group_mask(paths)
    expected = np.ones(SHAPE, bool)
    expected[0] = False
    expected[4, 5, 5:] = False
    np.testing.assert_array_equal(mask, expected)
    expected_counts = sum((np.nan_to_num(a) != 0).astype(int) for a in arrays)
    np.testing.assert_array_equal(coverage.counts, expected_counts)
    assert coverage.allowed.sum() - mask.sum() == 42 + 2
    assert coverage.space.matches(GRID)
    explicit = np.zeros(SHAPE, np.uint8)
    explicit[:2] = 1
    inside, coverage = group_mask(paths, write_map("m.nii", explicit, AFFINE))
    np.testing.assert_array_equal(inside, expected & (explicit == 1))
    assert coverage.allowed.sum() - inside.sum() == 42


def test_group_mask_without_a_voxel_names_the_worst_map(maps, write_map):
    _, paths = maps
    small = np.zeros(SHAPE, np.float32)
    small[0, 0, 0] = 1
    paths.append(write_map("small.nii.gz", small, AFFINE))
    with pytest.raises(
        MapError, match=r"small.nii.gz: no voxel has a value .* coverage, 1 voxels"
    ):
        group_mask(paths)
    with pytest.raises(MapError, match="no voxel of the mask has a value in every map"):
        group_mask(paths[:2], paths[3])


def test_maps_on_another_grid_are_named(maps, write_map, values):
    _, paths = maps
    paths.append(write_map("moved.nii.gz", values, AFFINE + np.eye(4)))
    for use in (
        count_coverage,
        lambda p: write_stack(p[0].with_name("s.nii"), p, np.zeros(SHAPE, bool), GRID),
        lambda p: smooth_maps(p, p[0].parent, [4.0]),
    ):
        with pytest.raises(MapError, match=r"moved.nii.gz: its grid is 5 x 6 x 7 voxels"):
            use(paths)


def test_stacks_round_trip_through_a_memory_map(maps, tmp_path, write_map):
    arrays, paths = maps
    mask, *_ = group_mask(paths)
    mask_file = write_map("mask.nii.gz", mask.astype(np.uint8), AFFINE)
    stack_file = write_stack(tmp_path / "stack.nii", paths, mask, GRID)
    stack = MaskedStack(stack_file, mask_file)
    assert (stack.n_maps, stack.n_voxels) == (3, mask.sum())
    data = stack.read(0, stack.n_voxels)
    assert data.dtype == np.float64
    for i, array in enumerate(arrays):
        np.testing.assert_array_equal(stack.unmask(data[i]), np.where(mask, array, 0))
    np.testing.assert_array_equal(stack.read(10, 37), data[:, 10:37])
    image = nib.load(stack_file)
    assert image.shape == (*SHAPE, 3)
    np.testing.assert_array_equal(image.get_fdata()[..., 1], np.where(mask, arrays[1], 0))
    base = stack._maps
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_a_map_without_values_in_the_mask_cannot_be_stacked(maps, tmp_path):
    _, paths = maps
    with pytest.raises(MapError, match=r"1.nii.gz: no value at 42 voxels of the mask"):
        write_stack(tmp_path / "s.nii", paths, np.ones(SHAPE, bool), GRID)
    assert not list(tmp_path.glob("*s.nii"))


def test_stacks_that_cannot_be_mapped_are_refused(tmp_path, write_map, values):
    mask = write_map("m.nii", np.ones(SHAPE, np.uint8), AFFINE)
    four = np.stack([values, values], axis=3)
    for name, array in (("s.nii.gz", four), ("s.nii", values)):
        with pytest.raises(MapError, match=r"an uncompressed .nii of several maps is"):
            MaskedStack(write_map(name, array, AFFINE), mask)
    image = nib.Nifti1Image(four, AFFINE)
    image.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "scaled.nii")
    with pytest.raises(MapError, match="cannot be mapped into memory"):
        MaskedStack(tmp_path / "scaled.nii", mask)


def test_unmask_puts_rows_into_volumes_in_file_order():
    mask = np.random.default_rng(1).random(SHAPE) > 0.5
    rows = np.arange(2 * mask.sum(), dtype=float).reshape(2, -1) + 1
    volumes = unmask(rows, mask)
    assert volumes.shape == (*SHAPE, 2)
    for i in range(2):
        np.testing.assert_array_equal(unmask(rows[i], mask), volumes[..., i])
        np.testing.assert_array_equal(volumes[..., i].ravel(order="F")[mask.ravel("F")], rows[i])
        assert (volumes[~mask] == 0).all()


def test_smoothed_maps_keep_missing_voxels_and_order_for_any_number_of_threads(maps, tmp_path):
    arrays, paths = maps
    results = []
    for n_threads in (1, 2):
        folder = tmp_path / f"threads{n_threads}"
        folder.mkdir()
        files = smooth_maps(paths, folder, [6.0], n_threads=n_threads)
        assert [Path(f).name for f in files] == ["0001_0.nii", "0002_1.nii", "0003_2.nii"]
        results.append([read_map(f)[0] for f in files])
    for one, two, array in zip(*results, arrays, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(np.isnan(one), np.isnan(array) | (array == 0))
        assert np.nanstd(one) < np.nanstd(np.where(array == 0, np.nan, array))


def test_a_model_file_that_is_none_is_named(tmp_path, write_map, values):
    volume = write_map("v.nii", values, AFFINE)
    path = tmp_path / "model.json"
    for text in ("", "{}", '{"Covariance": [[1]], "DegreesOfFreedom": "many"}'):
        path.write_text(text)
        with pytest.raises(MapError, match=r"model.json: no model description"):
            read_fit(path, volume, volume, volume)
    path.write_text(json.dumps({"Covariance": np.eye(2).tolist(), "DegreesOfFreedom": 5}))
    mask = write_map("mask.nii", (values > 0).astype(np.uint8), AFFINE)
    with pytest.raises(MapError, match="1 volumes for 2 columns"):
        read_fit(path, volume, volume, mask)


@pytest.mark.parametrize("level", [1, 6])
def test_compressed_files_name_no_time_and_no_system(level):
    packed = compressed(b"voxels" * 1000, level)
    # Magic number, deflate, no flags; no time; no mark of the effort, but of the fastest; unknown.
    assert packed[:4] == b"\x1f\x8b\x08\x00"
    assert packed[4:8] == bytes(4)
    assert packed[9] == 255
    assert gzip.decompress(packed) == b"voxels" * 1000


def test_an_image_of_a_format_without_intents_states_no_dof(tmp_path):
    path = tmp_path / "t.mgz"
    nib.save(nib.MGHImage(np.ones((2, 2, 2), np.float32), np.eye(4)), path)
    with pytest.raises(MapError, match="give dof"):
        read_dof(path, "t")
