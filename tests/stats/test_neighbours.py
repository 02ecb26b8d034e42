"""The neighbour table against the distance of voxels."""

import numpy as np
import pytest

from nipype_group.stats.neighbours import adjacent_columns, neighbour_list

MOST_STEPS = {6: 1, 18: 2, 26: 3}


@pytest.fixture(params=["scattered", "full", "single"])
def mask(request):
    shape = (5, 4, 6)
    if request.param == "scattered":
        return np.random.default_rng(3).random(shape) < 0.6
    mask = np.full(shape, request.param == "full")
    mask[4, 3, 5] = True
    return mask


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_neighbours_are_the_voxels_at_most_one_step_away_on_each_axis(mask, connectivity):
    flat = np.flatnonzero(mask.ravel(order="F"))
    where = np.stack(np.unravel_index(flat, mask.shape, order="F"), axis=1)
    apart = np.abs(where[:, None] - where[None])
    steps = apart.sum(axis=2)
    adjacent = (apart.max(axis=2) <= 1) & (steps > 0) & (steps <= MOST_STEPS[connectivity])
    neighbours = neighbour_list(mask, connectivity)
    assert neighbours.shape == (len(flat), connectivity)
    assert neighbours.dtype == np.int32
    for voxel, row in enumerate(neighbours):
        backward, forward = np.split(row, 2)
        assert np.sort(row[row >= 0]).tolist() == np.flatnonzero(adjacent[voxel]).tolist()
        assert (backward < voxel).all()
        assert ((forward > voxel) | (forward == -1)).all()


def test_a_mask_of_two_dimensions_is_refused():
    with pytest.raises(ValueError, match=r"three dimensions, got shape \(3, 3\)"):
        neighbour_list(np.ones((3, 3), dtype=bool), 6)


def test_an_empty_mask_has_no_rows():
    assert neighbour_list(np.zeros((3, 3, 3), dtype=bool), 18).shape == (0, 18)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_adjacent_columns_are_those_that_list_each_other(connectivity):
    neighbours = neighbour_list(np.ones((5, 5, 5), dtype=bool), connectivity)
    around = neighbours[62]
    for settled, voxel in zip(adjacent_columns(connectivity), around, strict=True):
        expected = np.isin(around, neighbours[voxel]) | (around == voxel)
        assert [bool(settled >> column & 1) for column in range(connectivity)] == list(expected)
