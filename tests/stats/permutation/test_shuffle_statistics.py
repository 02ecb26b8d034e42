"""What is taken from every shuffle: settings, thresholds, statistics of whole maps."""

import numpy as np
import pytest
from scipy import stats

from nipype_group.choices import STATISTICS
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.neighbours import neighbour_list
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import (
    ShuffleStatistics,
    enhanced_maps,
    largest_of_maps,
    largest_on_side,
    side_maxima,
)
from nipype_group.stats.tfce import Tfce

CLUSTERS = ("voxel", "extent", "mass")


def contrast_of(rank=1, n=20):
    matrix = np.random.default_rng(0).standard_normal((n, 3))
    split = partition(LinearModel(matrix, tuple("abc")), np.eye(3)[:rank])
    return ShuffledContrast(split, ShufflingScheme("permute", tuple(range(n))))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"names": ("voxel", "peak")}, "statistics is one of voxel, extent, mass, tfce, got 'p"),
        ({"names": ("extent",)}, "name voxel and each once, got extent"),
        ({"names": ("voxel", "voxel")}, "each once, got voxel, voxel"),
        ({"tail": "left"}, "tail is one of two-sided, positive, negative, got 'left'"),
        ({"connectivity": 8}, "connectivity is one of"),
        ({"statistic_scale": "p"}, "statistic_scale is one of statistic, z, got 'p'"),
        ({"n_top": -1}, "n_top is a number >= 0, got -1"),
        ({"cluster_forming_z": 3.1}, "cluster_forming_z goes with the statistics extent or mass"),
        ({"names": ("voxel", "tfce"), "cluster_forming_p": 0.1}, "goes with the statistics"),
        (
            {"names": CLUSTERS, "cluster_forming_z": 3.1, "cluster_forming_p": 0.001},
            "give one of cluster_forming_z and cluster_forming_p",
        ),
        ({"names": CLUSTERS, "cluster_forming_p": 3.1}, "between 0 and .5, got 3.1; is it a z"),
        ({"names": CLUSTERS, "cluster_forming_p": 0.0}, "between 0 and .5, got 0"),
        ({"names": CLUSTERS, "cluster_forming_z": 0.001}, "at least 0.5, got 0.001; is it a p"),
        ({"names": CLUSTERS, "cluster_forming_statistic": np.inf}, "at least 0.5, got inf"),
    ],
)
def test_settings_out_of_range_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ShuffleStatistics(**kwargs)


@pytest.mark.parametrize(("tail", "sides"), [("two-sided", 2), ("positive", 1), ("negative", 1)])
def test_the_forming_threshold_has_the_tail_that_was_asked_for(tail, sides):
    chosen = {"names": CLUSTERS, "tail": tail}
    t, f = contrast_of(1), contrast_of(2)
    default = ShuffleStatistics(**chosen)
    assert stats.t.sf(default.forming_statistic(t), 17) == pytest.approx(0.001 / sides)
    # F looks at one side whatever the tail.
    assert stats.f.sf(default.forming_statistic(f), 2, 17) == pytest.approx(0.001)
    by_p = ShuffleStatistics(**chosen, cluster_forming_p=0.02)
    assert stats.t.sf(by_p.forming_statistic(t), 17) == pytest.approx(0.02 / sides)
    # A z is a height of each side.
    by_z = ShuffleStatistics(**chosen, cluster_forming_z=2.3)
    assert stats.t.sf(by_z.forming_statistic(t), 17) == pytest.approx(stats.norm.sf(2.3))
    assert stats.f.sf(by_z.forming_statistic(f), 2, 17) == pytest.approx(stats.norm.sf(2.3))
    given = ShuffleStatistics(**chosen, cluster_forming_statistic=3.0)
    assert given.forming_statistic(t) == given.forming_statistic(f) == 3.0


def test_scale_and_excess_go_together():
    contrast = contrast_of()
    t = np.array([-3.0, 0.0, 4.0])
    z = np.sign(t) * stats.norm.isf(stats.t.sf(np.abs(t), 17))
    forming_z = stats.norm.isf(stats.t.sf(2.2, 17))
    for scale, scaled, excess in (("statistic", t, 2.2), ("z", z, forming_z)):
        chosen = ShuffleStatistics(
            CLUSTERS, cluster_forming_statistic=2.2, statistic_scale=scale, mass_excess=True
        )
        np.testing.assert_allclose(chosen.scaled(contrast, t), scaled, rtol=1e-9, atol=1e-12)
        assert chosen.excess(contrast) == pytest.approx(excess, rel=1e-9)
    assert ShuffleStatistics(CLUSTERS).excess(contrast) == 0


def test_heights_and_signs_face_the_tail():
    t = np.array([-3.0, 1.0])
    expected = {
        "two-sided": ([3, 1], (1, -1)),
        "positive": ([-3, 1], (1,)),
        "negative": ([3, -1], (-1,)),
    }
    for tail, (heights, signs) in expected.items():
        chosen = ShuffleStatistics(tail=tail)
        assert chosen.heights(t, signed=True).tolist() == heights
        assert chosen.signs(signed=True) == signs
        assert chosen.heights(t, signed=False).tolist() == [-3, 1]
        assert chosen.signs(signed=False) == (1,)


@pytest.mark.parametrize("tail", ["two-sided", "positive", "negative"])
def test_the_largest_clusters_of_maps_are_those_of_scipy(tail, naive):
    rng = np.random.default_rng(1)
    mask = rng.random((7, 6, 5)) < 0.9
    maps = 2 * rng.standard_normal((9, mask.sum()))
    # A map without survivors in the middle.
    maps[4] = 0.1
    chosen = ShuffleStatistics(CLUSTERS, tail, cluster_forming_statistic=1.5, mass_excess=True)
    found = largest_of_maps(maps, chosen, contrast_of(), neighbour_list(mask, 26))
    signs = {"two-sided": (1, -1), "positive": (1,), "negative": (-1,)}[tail]
    sides = {1: "positive", -1: "negative"}
    assert set(found) == {f"{n}_{sides[s]}" for n in ("extent", "mass") for s in signs}
    for sign in signs:
        extents, masses = naive(mask).clusters(sign * maps, 1.5, 26, sign * maps, 1.5)
        np.testing.assert_array_equal(found[f"extent_{sides[sign]}"], extents.max(axis=1))
        np.testing.assert_allclose(found[f"mass_{sides[sign]}"], masses.max(axis=1), rtol=1e-12)
        assert extents[4].max() == 0 < extents.max()


def test_only_the_statistics_asked_for_are_returned():
    neighbours = neighbour_list(np.ones((3, 1, 1), bool), 26)
    chosen = ShuffleStatistics(("voxel", "mass"), cluster_forming_statistic=1.0)
    voxels, heights = np.array([0, 1, 2], np.int32), np.array([2.0, 3, 4])
    found = largest_on_side(
        voxels, heights, np.array([0, 1, 3]), -1, chosen, contrast_of(), neighbours
    )
    assert {name: values.tolist() for name, values in found.items()} == {"mass_negative": [2, 7]}


@pytest.mark.parametrize("scale", ["statistic", "z"])
def test_enhanced_maps_hold_the_negative_side_below_0(scale, naive, z_of):
    rng = np.random.default_rng(2)
    mask = rng.random((6, 5, 4)) < 0.9
    maps = 2 * rng.standard_normal((5, mask.sum()))
    for tail, signs in (("two-sided", (1, -1)), ("positive", (1,)), ("negative", (-1,))):
        chosen = ShuffleStatistics(
            STATISTICS, tail, statistic_scale=scale, tfce=Tfce(0.7, 1.5, 18)
        )
        found = enhanced_maps(maps, chosen, contrast_of(), neighbour_list(mask, 18), {})
        scaled = z_of(maps, 1, 17) if scale == "z" else maps
        expected = sum(s * naive(mask).tfce(s * scaled, 0.7, 1.5, 18) for s in signs)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_side_maxima_are_positive_where_the_side_is_large():
    maps = np.array([[3.0, -5.0], [1.0, 2.0]])
    found = side_maxima("voxel", maps, (1, -1))
    assert found["voxel_positive"].tolist() == [3, 2]
    assert found["voxel_negative"].tolist() == [5, -1]
    assert set(side_maxima("tfce", maps, (1,))) == {"tfce_positive"}
