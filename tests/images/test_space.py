"""Spaces: the grid against what stood before it, and a kind that another package brings."""

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from line_space import Line

from nipype_group.images import (
    SPACES,
    Grid,
    MapError,
    Space,
    check_same_space,
    image_suffixes,
    open_image,
    opening,
    read_mask,
    read_on,
    read_volume,
    to_mm,
    to_voxels,
    write_volume,
)
from nipype_group.images.stacks import write_stack, write_volumes
from nipype_group.registry import Registry
from nipype_group.stats.clusters import label_clusters, local_maxima
from nipype_group.stats.neighbours import neighbour_list

CONNECTIVITIES = (6, 18, 26)


class ListedGrid(Grid):
    """A grid whose clusters and peaks are found by its neighbours, as those of other kinds."""

    label_clusters = Space.label_clusters
    local_maxima = Space.local_maxima


@st.composite
def grids(draw, kind=Grid, largest=6):
    shape = draw(st.tuples(*[st.integers(1, largest)] * 3))
    seed = draw(st.integers(0, 2**32 - 1))
    numbers = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(numbers.standard_normal((3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = axes * numbers.uniform(0.5, 5, 3)
    affine[:3, 3] = numbers.uniform(-100, 100, 3)
    return kind(shape, affine), numbers


@given(grids())
def test_a_grid_is_the_same_up_to_a_hundredth_of_a_voxel(made):
    grid, numbers = made
    smallest = grid.voxel_sizes_mm.min()
    shift = numbers.standard_normal(3)
    for share, same in ((0.0, True), (0.009, True), (0.1, False)):
        affine = grid.affine.copy()
        affine[:3, 3] += share * smallest * shift / np.abs(shift).max()
        other = Grid(grid.shape, affine)
        assert grid.matches(other) == other.matches(grid) == same
        assert (grid.identity == other.identity) == (share == 0)
        if same:
            check_same_space("a.nii", other, grid)
        else:
            with pytest.raises(MapError, match=r"^a\.nii: its grid is .*, that of the maps is "):
                check_same_space("a.nii", other, grid)
    assert not grid.matches(Grid((*grid.shape[:2], grid.shape[2] + 1), grid.affine))


@given(grids())
def test_places_of_a_grid(made):
    grid, numbers = made
    mask = numbers.random(grid.shape) > 0.4
    places = np.argwhere(mask)
    assert grid.n_places == mask.size
    found = grid.coordinates(places)
    np.testing.assert_array_equal(found, to_mm(places, grid.affine))
    np.testing.assert_allclose(to_voxels(found, grid.affine), places, atol=1e-9)
    volume = abs(np.linalg.det(grid.affine[:3, :3]))
    np.testing.assert_allclose(grid.measures(places), volume)
    assert grid.measure(places) == pytest.approx(len(places) * volume)
    for connectivity in CONNECTIVITIES:
        listed = grid.neighbours(mask, connectivity)
        np.testing.assert_array_equal(listed, neighbour_list(mask, connectivity))


@given(grids(ListedGrid), st.sampled_from(CONNECTIVITIES), st.integers(0, 3))
def test_clusters_and_peaks_by_neighbours_are_those_of_volumes(made, connectivity, min_extent):
    grid, numbers = made
    # No two are equal: which of equal ones comes first is the kind's own.
    values = numbers.standard_normal(grid.shape)
    survives = numbers.random(grid.shape) > 0.4
    found = grid.label_clusters(values, survives, connectivity, min_extent)
    expected = label_clusters(values, survives, connectivity, min_extent)
    np.testing.assert_array_equal(found, expected)
    places = np.argwhere(survives)
    if len(places):
        rows = grid.local_maxima(places, values[survives], connectivity)
        np.testing.assert_array_equal(places[rows], local_maxima(values, survives, connectivity))


def test_plateaus_by_neighbours_count_once_and_shoulders_do_not():
    values = np.array([1.0, 3, 1, 2, 2, 2, 0, 3, 3, 4])
    grid = ListedGrid((10, 1, 1), np.eye(4))
    places = np.argwhere(values[:, None, None] > 0)
    rows = grid.local_maxima(places, values[values > 0], 6)
    assert places[rows][:, 0].tolist() == [9, 1, 3]


@given(grids(largest=4), st.integers(1, 3), st.sampled_from(["f4", "f8", "i4", "u1"]))
def test_maps_one_at_a_time_have_the_bytes_of_all_at_once(tmp_path_factory, made, n_maps, dtype):
    grid, numbers = made
    folder = tmp_path_factory.mktemp("maps")
    maps = numbers.integers(0, 200, (n_maps, *grid.shape)).astype(dtype)
    one = grid.write_maps(folder / "one.nii", maps, n_maps, dtype)
    whole = grid.write(folder / "whole.nii", np.moveaxis(maps, 0, -1), dtype)
    assert Path(one).read_bytes() == Path(whole).read_bytes()
    image = open_image(one)
    assert (image.n_maps, image.lists_maps, image.space.system) == (n_maps, True, "mni")
    assert image.space.matches(grid)


@pytest.fixture
def line(monkeypatch):
    """A line of 12 places, whose kind is known."""
    known = Registry("none.there.are", "kind of space", (Grid, Line))
    monkeypatch.setattr(opening, "SPACES", known)
    return Line((12,), 2.0)


def test_the_longest_ending_decides_the_kind(line, tmp_path):
    assert opening.kind_by_name("a.line.nii") is Line
    assert opening.kind_by_name("a.nii") is Grid
    assert ".line" in image_suffixes()
    path = line.write(tmp_path / "a.line.nii", np.arange(12.0))
    assert read_volume(path)[1] == line
    with pytest.raises(MapError, match=r"a\.line\.nii: lies on a line, and a grid is needed here"):
        open_image(path, kind=Grid)


def test_errors_of_any_kind_are_one_line(line, tmp_path, write_map):
    path = line.write(tmp_path / "a.line", np.arange(12.0))
    other = Line((12,), 3.0).write(tmp_path / "b.line", np.arange(12.0))
    with pytest.raises(MapError, match=r"b\.line: its line is 12 places every 3 mm, that of the "):
        read_on(other, line)
    volume = write_map("c.nii", np.ones((12, 1, 1), np.float32))
    with pytest.raises(MapError, match=r"c\.nii: its grid is .* is 12 places .*; resample the m"):
        read_mask(volume, line)
    for content in ("{}", "[", '{"step_mm": null, "values": [1]}'):
        Path(path).write_text(content)
        with pytest.raises(MapError, match=r"a\.line: (cannot be read as|its places have no)"):
            open_image(path)
    with pytest.raises(MapError, match="the file does not exist"):
        open_image(tmp_path / "none.line")


def test_stacks_of_any_kind(line, tmp_path):
    maps = np.random.default_rng(0).standard_normal((3, 12))
    files = [write_volume(tmp_path / f"{i}.line", m, line) for i, m in enumerate(maps)]
    mask = np.arange(12) > 2
    image = open_image(write_stack(tmp_path / "s.line", files, mask, line))
    np.testing.assert_array_equal(image.memory_map(), np.where(mask, maps, 0).T.astype(np.float32))
    image = open_image(write_volumes(tmp_path / "v.line", maps, 3, line))
    np.testing.assert_array_equal(image.values(1), maps[1])


def installed(folder):
    """Write what pip writes of a package that brings the line; returns the environment."""
    about = folder / "made_up-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[nipype_group.spaces]\nline = line_space:Line\n")
    path = [str(folder), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))}


def test_another_package_brings_a_kind_by_one_entry_point(tmp_path):
    path = Line((12,), 2.0).write(tmp_path / "a.line", np.arange(12.0))
    code = (
        "import sys\n"
        "from nipype_group.images import SPACES, open_image, read_map\n"
        "image = open_image(sys.argv[1])\n"
        "values, space = read_map(sys.argv[1])\n"
        "print(list(SPACES), image.space, values.shape, space.name)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, path],
        env=installed(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "['grid', 'line'] 12 places every 2 mm (12,) line\n"
    assert list(SPACES) == ["grid"]
    with pytest.raises(MapError, match=r"a\.line: cannot be read as an image"):
        open_image(path)


def test_other_voxel_formats_stay_those_of_the_grid(tmp_path):
    nib.save(nib.MGHImage(np.ones((2, 3, 4), np.float32), np.eye(4)), tmp_path / "a.mgz")
    assert read_volume(tmp_path / "a.mgz")[1].shape == (2, 3, 4)
