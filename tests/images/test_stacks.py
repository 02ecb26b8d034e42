"""Masks and stacks of maps that lack voxels, and the fit that is read back."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.images import Grid, MapError, write_volume
from nipype_group.images.coverage import group_mask, maps_needed, mask_notes, write_map_coverage
from nipype_group.images.fits import describe_patterns, read_fit
from nipype_group.images.stacks import MaskedStack, write_stack, write_volumes
from nipype_group.stats.linear.least_squares import LinearModel, fit_by_pattern

SHAPE = (5, 6, 7)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
GRID = Grid(SHAPE, AFFINE)
N = 10


@pytest.fixture
def maps(write_map):
    """Ten maps; map i ends at plane i of the last axis where i < 4, two lack a voxel."""
    arrays = np.random.default_rng(3).standard_normal((N, *SHAPE)).astype(np.float32) + 5
    for i in range(4):
        arrays[i, ..., i + 3 :] = 0
    arrays[7:9, 1, 1, 1] = np.nan
    return arrays, [write_map(f"{i}.nii.gz", a, AFFINE) for i, a in enumerate(arrays)]


def present(arrays):
    return np.isfinite(arrays) & (arrays != 0)


@pytest.fixture
def stack(maps, tmp_path):
    """A stack of the voxels that seven of the ten maps have."""
    arrays, paths = maps
    mask, coverage = group_mask(paths, min_coverage=0.7)
    grid = coverage.space
    mask_file = write_volume(tmp_path / "mask.nii", mask, grid, np.uint8)
    stack_file = write_stack(tmp_path / "stack.nii", paths, mask, grid, allow_missing=True)
    return MaskedStack(stack_file, mask_file)


@pytest.mark.parametrize(
    ("share", "needed"), [(1.0, 10), (0.8, 8), (0.75, 8), (0.7, 7), (0.01, 1)]
)
def test_mask_is_where_enough_maps_have_a_value(maps, share, needed):
    arrays, paths = maps
    mask, coverage = group_mask(paths, min_coverage=share)
    expected = present(arrays).sum(axis=0) >= needed
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(coverage.counts, present(arrays).sum(axis=0))
    assert coverage.allowed.sum() - mask.sum() == (~expected).sum()
    assert maps_needed(N, share) == needed


def test_share_of_any_number_of_maps_is_rounded_up_without_rounding_error():
    for n_maps in range(1, 200):
        for needed in range(1, n_maps + 1):
            assert maps_needed(n_maps, needed / n_maps) == needed


@pytest.mark.parametrize("share", [0, -0.5, 1.5, 70, float("nan")])
def test_share_out_of_range_is_refused(maps, share):
    with pytest.raises(ValueError, match=r"min_coverage is a share .* got "):
        group_mask(maps[1], min_coverage=share)


def test_mask_without_a_voxel_says_how_many_maps_are_needed(write_map):
    arrays = np.zeros((4, *SHAPE), dtype=np.float32)
    for i, array in enumerate(arrays):
        array[i] = 1
    arrays[2, 2, 2, 2] = 0
    paths = [write_map(f"{i}.nii", a, AFFINE) for i, a in enumerate(arrays)]
    with pytest.raises(MapError, match=r"2.nii: no voxel has a value in 2 of the 4 maps; .* 41 v"):
        group_mask(paths, min_coverage=0.5)
    with pytest.raises(MapError, match=r"2.nii: no voxel has a value in every map"):
        group_mask(paths)
    assert group_mask(paths, min_coverage=0.25)[0].sum() == 4 * 42 - 1


def test_stack_is_nan_where_a_map_lacks_a_voxel_of_the_mask(maps, stack):
    arrays, _ = maps
    has = present(arrays)
    mask = has.sum(axis=0) >= 7
    np.testing.assert_array_equal(stack.mask, mask)
    data = stack.read(0, stack.n_voxels)
    order = np.flatnonzero(mask.ravel(order="F"))
    for values, array, own in zip(data, arrays, has, strict=True):
        expected = np.where(own, array, np.nan).ravel(order="F")[order]
        np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(stack.read(7, 40), data[:, 7:40])
    assert stack.has_missing


def test_maps_are_read_one_at_a_time_in_any_order(stack):
    data = stack.read(0, stack.n_voxels)
    np.testing.assert_array_equal(np.array(list(stack.maps())), data)
    np.testing.assert_array_equal(np.array(list(stack.maps([7, 2]))), data[[7, 2]])


def test_stack_has_nothing_outside_its_mask(stack, tmp_path):
    values = np.asarray(nib.load(tmp_path / "stack.nii").dataobj)
    assert not values[~stack.mask].any()


def test_stack_of_complete_maps_has_the_same_bytes_either_way(maps, tmp_path):
    _, paths = maps
    mask, coverage = group_mask(paths)
    grid = coverage.space
    mask_file = write_volume(tmp_path / "mask.nii", mask, grid, np.uint8)
    files = [
        write_stack(tmp_path / f"{allow}.nii", paths, mask, grid, allow_missing=allow)
        for allow in (False, True)
    ]
    assert len({Path(path).read_bytes() for path in files}) == 1
    assert not MaskedStack(files[0], mask_file).has_missing


def test_one_missing_value_in_the_last_map_is_found(maps, tmp_path):
    arrays, paths = maps
    mask, coverage = group_mask(paths[4:7] + paths[9:])
    grid = coverage.space
    mask[1, 1, 1] = True
    mask_file = write_volume(tmp_path / "mask.nii", mask, grid, np.uint8)
    last = write_stack(tmp_path / "s.nii", [paths[4], paths[7]], mask, grid, allow_missing=True)
    assert MaskedStack(last, mask_file).has_missing
    # Outside the mask nothing counts.
    mask[1, 1, 1] = False
    mask_file = write_volume(tmp_path / "mask.nii", mask, grid, np.uint8)
    assert not MaskedStack(last, mask_file).has_missing


def test_map_that_lacks_voxels_is_an_error_unless_allowed(maps, tmp_path):
    _, paths = maps
    with pytest.raises(MapError, match=r"0.nii.gz: no value at 120 voxels of the mask$"):
        write_stack(tmp_path / "s.nii", paths, np.ones(SHAPE, bool), GRID)
    assert not list(tmp_path.glob("*s.nii"))


def test_map_without_any_voxel_of_the_mask_is_an_error_always(maps, tmp_path):
    _, paths = maps
    end = np.zeros(SHAPE, bool)
    end[..., 3:] = True
    for allow in (False, True):
        with pytest.raises(MapError, match=r"0.nii.gz: .* 120 voxels of the mask, .* leave the"):
            write_stack(tmp_path / "s.nii", paths, end, GRID, allow_missing=allow)
    assert not list(tmp_path.glob("*s.nii"))


@pytest.fixture
def fit(stack, tmp_path):
    """Write a fit of the stack; returns its arguments of `read_fit` and what was fitted."""
    matrix = np.column_stack([np.ones(N), np.linspace(-1, 1, N) ** 3])
    model = LinearModel(matrix, ("one", "slope"))
    betas, variance, _, patterns = fit_by_pattern(model, stack.read, stack.n_voxels)
    files = {}
    for name, values in (("betas", betas), ("variance", variance), ("pattern", patterns.number)):
        values = stack.unmask(values)
        files[name] = write_volume(tmp_path / f"{name}.nii", values, GRID, np.float64)
    about = {
        "Columns": list(model.columns),
        "Covariance": model.covariance.tolist(),
        "DegreesOfFreedom": model.dof,
        **describe_patterns(model, patterns),
    }

    def read(pattern_file=files["pattern"], **changes):
        path = tmp_path / "model.json"
        path.write_text(json.dumps(about | changes))
        mask_file = tmp_path / "mask.nii"
        return read_fit(path, files["betas"], files["variance"], mask_file, pattern_file)

    return read, (betas, variance, patterns)


def test_fit_of_patterns_is_read_as_it_was_written(fit):
    read, (betas, variance, patterns) = fit
    found = read()
    np.testing.assert_array_equal(found.betas, betas)
    np.testing.assert_array_equal(found.residual_variance, variance)
    np.testing.assert_array_equal(found.patterns.number, patterns.number)
    np.testing.assert_array_equal(found.covariance, patterns.covariance)
    np.testing.assert_array_equal(found.dof, patterns.dof)
    assert sorted(set(found.dof.tolist())) == [5, 6, 7, 8]


def test_fit_of_patterns_needs_their_map(fit):
    read, _ = fit
    with pytest.raises(MapError, match=r"model.json: .* the map of patterns is needed"):
        read(pattern_file=None)


def test_map_of_patterns_must_belong_to_the_model(fit, tmp_path):
    read, _ = fit
    for values, grid, words in (
        (np.full(SHAPE, 99), GRID, "other numbers than 0 to "),
        (np.full(SHAPE, 0.5), GRID, "other numbers than 0 to "),
        (np.zeros(SHAPE), Grid(SHAPE, AFFINE * 2), "that of the betas"),
    ):
        path = write_volume(tmp_path / "wrong.nii", values, grid)
        with pytest.raises(MapError, match=rf"wrong\.nii: .*{words}"):
            read(pattern_file=path)


def packed(*rows):
    """Return the maps that are missing as the model file has them, two bytes for N maps."""
    return np.packbits(np.isin(np.arange(16), rows)).tobytes().hex()


@pytest.mark.parametrize(
    "changes",
    [
        {"Design": None},
        {"Design": [[1.0]] * N},
        {"Design": [[1.0, "x"]] * N},
        {"Design": [[1.0, float("nan")]] * N},
        {"Design": [[1.0, 0.5]]},
        {"MissingPatterns": []},
        {"MissingPatterns": [packed(0), packed()]},
        {"MissingPatterns": [packed(), packed(N)]},
        {"MissingPatterns": [packed(), packed(1) + "00"]},
        {"MissingPatterns": [packed(), packed(1)[:-2]]},
        {"MissingPatterns": [packed(), "no"]},
        {"MissingPatterns": [packed(), 1]},
        {"MissingPatterns": [packed(), [1]]},
        {"MissingPatterns": [packed(), packed(1), packed(1)]},
        {"MissingPatterns": 3},
    ],
)
def test_description_of_patterns_is_checked(fit, changes):
    read, _ = fit
    with pytest.raises(MapError, match=r"model.json: no model description"):
        read(**changes)


def test_complete_fit_describes_no_patterns(fit):
    read, _ = fit
    model = LinearModel(np.ones((4, 1)), ("one",))
    data = np.random.default_rng(1).standard_normal((4, 6))
    assert describe_patterns(model, fit_by_pattern(model, lambda a, b: data[:, a:b], 6)[3]) == {}


@pytest.mark.parametrize("n_volumes", [1, 3])
def test_volumes_one_by_one_make_the_file_of_all(n_volumes, tmp_path):
    affine = np.diag([2.0, 3, 4, 1])
    affine[:3, 3] = (-5, 7, 1.5)
    grid = Grid(SHAPE, affine)
    values = np.random.default_rng(5).standard_normal((*SHAPE, n_volumes))
    expected = write_volume(tmp_path / "all.nii", values, grid, np.float64)
    found = write_volumes(tmp_path / "each.nii", iter(np.moveaxis(values, 3, 0)), n_volumes, grid)
    assert Path(found).read_bytes() == Path(expected).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all.nii", "each.nii"]


def test_table_of_coverage_holds_maps_of_any_name(write_map, tmp_path):
    names = ['"a" b.nii', '"unclosed.nii', "it's $(x).nii"]
    files = [write_map(name, np.ones(SHAPE, np.float32), AFFINE) for name in names]
    mask, coverage = group_mask(files)
    path = write_map_coverage(tmp_path / "coverage.tsv", files, coverage, mask)
    table = pd.read_csv(path, sep="\t")
    assert table["map"].tolist() == names
    assert table["n_voxels"].tolist() == [210] * 3


def maps_of(folder, arrays):
    paths = []
    for number, values in enumerate(arrays):
        path = folder / f"m{number}.nii.gz"
        nib.save(nib.Nifti1Image(values.astype(np.float32), np.diag([2.0, 2, 2, 1])), path)
        paths.append(path)
    return paths


def test_a_mask_that_fills_the_image_is_told(tmp_path):
    paths = maps_of(tmp_path, np.random.default_rng(0).normal(size=(3, 4, 5, 6)))
    mask, coverage = group_mask(paths)
    (note,) = mask_notes(mask, coverage, paths)
    assert "fills the whole image, 120 voxels" in note


@pytest.mark.parametrize("zero_is_value", [False, True])
def test_voxels_lost_to_zeros_are_told(tmp_path, zero_is_value):
    maps = np.random.default_rng(0).normal(size=(3, 4, 5, 6)) + 5
    maps[:, 0] = np.nan
    maps[1, 1:, :3] = 0
    paths = maps_of(tmp_path, maps)
    mask, coverage = group_mask(paths, zero_is_value=zero_is_value)
    notes = mask_notes(mask, coverage, paths, zero_is_value)
    if zero_is_value:
        assert notes == []
        return
    assert "54 of 90 voxels are out" in notes[0]
    assert "most often m1.nii.gz" in notes[0]
    assert "--zero-is-value" in notes[0]


@pytest.mark.parametrize("zero_is_value", [False, True])
def test_maps_of_many_zeros_are_told_where_maps_may_lack_voxels(tmp_path, zero_is_value):
    maps = np.random.default_rng(0).integers(-1, 3, (8, 4, 5, 6)).astype(float)
    maps[:, 0] = np.nan
    paths = maps_of(tmp_path, maps)
    mask, coverage = group_mask(paths, min_coverage=0.3, zero_is_value=zero_is_value)
    notes = mask_notes(mask, coverage, paths, zero_is_value)
    if zero_is_value:
        assert notes == []
        return
    (note,) = notes
    n_lacking = ((maps == 0).any(axis=0) & mask).sum()
    assert f"{n_lacking} of {mask.sum()} voxels of the mask are 0" in note
    assert "--zero-is-value" in note
    # Edges that some maps lack are no matter.
    maps = np.abs(maps) + 1
    maps[0, 1] = 0
    paths = maps_of(tmp_path, maps)
    assert mask_notes(*group_mask(paths, min_coverage=0.3), paths) == []


def test_a_mask_of_almost_all_that_maps_have_is_no_matter(tmp_path):
    maps = np.random.default_rng(0).normal(size=(3, 4, 5, 6)) + 5
    maps[:, 0] = 0
    maps[1, 1, :2] = 0
    paths = maps_of(tmp_path, maps)
    assert mask_notes(*group_mask(paths), paths) == []
