"""Cluster labels and local maxima against slow searches that follow the definitions."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nipype_group.stats.clusters import (
    label_clusters,
    local_maxima,
    neighbourhood,
    signs_of,
)

SMALL_MAPS = hnp.arrays(np.int8, (4, 5, 4), elements=st.integers(-3, 3)).map(
    lambda a: a.astype(float)
)
CONNECTIVITY = st.sampled_from([6, 18, 26])


def offsets(connectivity):
    most = {6: 1, 18: 2, 26: 3}[connectivity]
    return [d for d in product((-1, 0, 1), repeat=3) if 0 < sum(map(abs, d)) <= most]


def neighbours(voxel, connectivity):
    return [tuple(np.add(voxel, d)) for d in offsets(connectivity)]


def components(voxels, connectivity):
    """Union-find over a set of voxels; returns frozensets."""
    parent = {v: v for v in voxels}

    def find(v):
        while parent[v] != v:
            v = parent[v]
        return v

    for v in voxels:
        for w in neighbours(v, connectivity):
            if w in parent:
                parent[find(v)] = find(w)
    groups = {}
    for v in voxels:
        groups.setdefault(find(v), set()).add(v)
    return {frozenset(g) for g in groups.values()}


def voxels_of(mask):
    return [tuple(v) for v in np.argwhere(mask).tolist()]


def labelled(labels):
    return [frozenset(voxels_of(labels == i)) for i in range(1, labels.max() + 1)]


@given(SMALL_MAPS, CONNECTIVITY, st.integers(0, 4))
def test_labels_are_the_connected_components_of_each_sign(values, connectivity, extent):
    survives = np.abs(values) >= 2
    labels = label_clusters(values, survives, connectivity, extent)
    expected = set()
    for sign in (1, -1):
        side = voxels_of(survives & (values * sign > 0))
        expected |= {c for c in components(side, connectivity) if len(c) >= extent}
    found = labelled(labels)
    assert len(found) == len(set(found))
    assert set(found) == expected


@given(SMALL_MAPS, CONNECTIVITY)
def test_labels_count_positive_first_then_by_size_then_by_height(values, connectivity):
    labels = label_clusters(values, np.abs(values) >= 1, connectivity)
    keys = []
    for cluster in labelled(labels):
        heights = [values[v] for v in cluster]
        keys.append((heights[0] < 0, -len(cluster), -max(map(abs, heights))))
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("step", "joined"), [((1, 0, 0), (6, 18, 26)), ((0, 1, 1), (18, 26)), ((1, 1, 1), (26,))]
)
def test_which_voxels_are_neighbours(step, joined):
    values = np.zeros((4, 4, 4))
    values[1, 1, 1] = values[tuple(np.add(1, step))] = 5
    for connectivity in (6, 18, 26):
        n = label_clusters(values, values > 0, connectivity).max()
        assert n == (1 if connectivity in joined else 2), connectivity


def test_neighbourhood_is_what_the_offsets_say():
    for connectivity in (6, 18, 26):
        found = {tuple(v - 1) for v in np.argwhere(neighbourhood(connectivity))}
        assert found == {(0, 0, 0), *offsets(connectivity)}
    with pytest.raises(ValueError, match="6, 18 or 26, got 8"):
        neighbourhood(8)


def test_touching_clusters_of_opposite_sign_stay_apart():
    values = np.array([4.0, 4, -5, -5, -5])[:, None, None]
    labels = label_clusters(values, np.abs(values) >= 3)
    assert labels[:, 0, 0].tolist() == [1, 1, 2, 2, 2]


def test_extent_keeps_clusters_of_exactly_that_size_and_numbers_without_gaps():
    values = np.array([3.0, 0, 3, 3, 0, -3, 0, 3, 3, 3])[:, None, None]
    labels = label_clusters(values, values != 0, min_extent=2)[:, 0, 0]
    assert labels.tolist() == [0, 0, 2, 2, 0, 0, 0, 1, 1, 1]
    assert labels.dtype == np.int32


def test_nothing_survives():
    values = np.ones((2, 2, 2))
    assert label_clusters(values, values > 9).max() == 0
    assert local_maxima(values, values > 9).shape == (0, 3)


def test_signs_of_tails():
    assert signs_of("positive") == (1,)
    with pytest.raises(ValueError, match="two-sided, positive, negative, got 'up'"):
        signs_of("up")


def plateau_peaks(values, inside, connectivity):
    """Plateaus (connected, equal) of which no voxel has a higher neighbour inside."""
    members = set(voxels_of(inside))
    peaks = []
    for height in sorted({values[v] for v in members}, reverse=True):
        for plateau in components([v for v in members if values[v] == height], connectivity):
            around = {w for v in plateau for w in neighbours(v, connectivity)} & members
            if all(values[w] <= height for w in around):
                peaks.append(plateau)
    return peaks


@given(SMALL_MAPS, CONNECTIVITY)
def test_one_maximum_for_each_plateau_without_a_higher_neighbour(values, connectivity):
    inside = values > 0
    found = [tuple(v) for v in local_maxima(values, inside, connectivity).tolist()]
    expected = plateau_peaks(values, inside, connectivity)
    assert len(found) == len(expected)
    for plateau in expected:
        inside_it = [v for v in found if v in plateau]
        assert len(inside_it) == 1
        centre = np.mean(list(plateau), axis=0)
        distance = {v: np.square(np.subtract(v, centre)).sum() for v in plateau}
        assert distance[inside_it[0]] == pytest.approx(min(distance.values()))
    heights = [values[v] for v in found]
    assert heights == sorted(heights, reverse=True)


def test_a_shoulder_is_no_peak():
    values = np.array([1.0, 5, 5, 6, 2, 2, 1])[:, None, None]
    assert local_maxima(values, values > 0)[:, 0].tolist() == [3]


def test_higher_voxels_outside_the_set_do_not_hide_a_maximum():
    values = np.array([9.0, 3, 2, 1])[:, None, None]
    inside = np.array([False, True, True, True])[:, None, None]
    assert local_maxima(values, inside)[:, 0].tolist() == [1]


def test_maxima_depend_on_the_connectivity():
    values = np.zeros((3, 3, 1))
    values[0, 0], values[1, 1] = 2, 3
    assert len(local_maxima(values, values > 0, 6)) == 2
    assert len(local_maxima(values, values > 0, 18)) == 1
