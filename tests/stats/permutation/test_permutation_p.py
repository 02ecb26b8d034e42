"""p of shuffles: ties, families of contrasts, precision, clusters and approximations."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats

from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.neighbours import neighbour_list
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.p_values import (
    Corrected,
    cluster_heights,
    correct,
    critical_value,
    fwe_counts,
    fwe_p,
    null_of_maxima,
    stepped_down,
    uncorrected,
)
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.permutation.tails import approximate_p

RNG = np.random.default_rng(5)
# Whole and half numbers tie often.
NULLS = st.lists(st.integers(-4, 9).map(lambda v: v / 2), min_size=1, max_size=40)


@given(NULLS, st.lists(st.integers(-5, 12).map(lambda v: v / 2), min_size=1, max_size=10))
def test_fwe_p_is_the_share_of_maxima_that_reach_a_height(null, heights):
    counts = fwe_counts(np.array(heights), np.array(null))
    assert counts.tolist() == [sum(m >= h for m in null) for h in heights]
    np.testing.assert_array_equal(fwe_p(np.array(heights), np.array(null)), counts / len(null))


@pytest.mark.parametrize("height", [3.0, -3.0, 1e-3, 1e6])
def test_heights_equal_but_for_rounding_tie(height):
    null = np.array([height * (1 - 4e-12), height * (1 + 4e-12), height * 1.5, height / 2])
    above = [m >= height - abs(height) * 1e-11 for m in null]
    assert fwe_counts(np.array(height), null) == sum(above)
    assert sum(above) == 3
    apart = np.array([height - 1e-7 * abs(height), height])
    assert fwe_counts(np.array(height), apart) == 1


@given(NULLS, st.floats(0.01, 0.99))
def test_heights_survive_where_they_exceed_the_critical_value(null, alpha):
    null = np.array(null)
    critical = critical_value(null, alpha)
    heights = np.concatenate([null - 1e-3, null, null + 1e-3, [null.max() + 1]])
    small = np.array([(null >= h).mean() <= alpha * (1 + 1e-12) for h in heights])
    if critical is None:
        # Not even the largest maximum has so small a p.
        assert (null >= null.max()).mean() > alpha or alpha * len(null) < 1
    else:
        np.testing.assert_array_equal(small, heights > critical)


def test_p_of_exactly_alpha_is_reached():
    # 0.05 times 20 shuffles: p of the largest is 1/20; in floating point .05 is not a 20th.
    null = np.arange(20.0)
    assert critical_value(null, 0.05) == 18
    assert critical_value(null, 0.15) == 16
    assert critical_value(null, 0.0499) is None
    found = correct("voxel", np.array([19.0, 18.5, 18, 3]), null, 0.05)
    np.testing.assert_array_equal(found.survives, [True, True, False, False])
    assert found.threshold == 18.5


def test_maxima_are_those_of_the_sides_tested():
    nulls = {"mass_positive": np.array([3.0, 0, 2]), "mass_negative": np.array([1.0, 4, 2])}
    assert null_of_maxima(nulls, "mass", (1, -1)).tolist() == [3, 4, 2]
    assert null_of_maxima(nulls, "mass", (1,)).tolist() == [3, 0, 2]
    assert null_of_maxima(nulls, "mass", (-1,)).tolist() == [1, 4, 2]


def closed_testing(maxima, nulls):
    """p of each contrast: the largest p over all sets of contrasts that hold it."""
    n, p = len(maxima), np.zeros(len(maxima))
    for size in range(1, n + 1):
        for chosen in map(list, combinations(range(n), size)):
            largest = nulls[chosen].max(axis=0)
            own = max(maxima[i] for i in chosen)
            of_set = (largest >= own - 1e-9 * abs(own)).mean()
            p[chosen] = np.maximum(p[chosen], of_set)
    return p


@pytest.mark.parametrize("n_contrasts", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_stepping_down_is_closed_testing_with_the_maximum(n_contrasts, seed):
    # Romano and Wolf (2005): a step-down over maxima tests every intersection by its maximum.
    rng = np.random.default_rng(seed)
    nulls = np.round(rng.gumbel(size=(n_contrasts, 60)) * [[2.0]] * 2) / 2
    nulls[:, 0] += rng.integers(0, 3, n_contrasts)
    np.testing.assert_allclose(
        stepped_down(nulls[:, 0], nulls), closed_testing(nulls[:, 0], nulls), rtol=1e-12
    )


def test_a_family_of_contrasts_by_hand():
    nulls = np.array(
        [
            [5.0, 1, 2, 3, 6, 1, 0, 2, 1, 1],
            [3.0, 4, 1, 1, 2, 1, 5, 0, 2, 1],
            [1.0, 0, 9, 2, 1, 2, 0, 1, 0, 2],
        ]
    )
    # 5: maxima of all three reach it in shuffles 0, 2, 4, 6. 3: of the last two in 0, 1, 2, 6.
    # 1: the third in 0, 2, 3, 4, 5, 7, 9.
    assert stepped_down(nulls[:, 0], nulls).tolist() == [0.4, 0.4, 0.7]
    # Contrasts that are far less sure do not matter to the order in which they are given.
    assert stepped_down(nulls[[2, 0, 1], 0], nulls[[2, 0, 1]]).tolist() == [0.7, 0.4, 0.4]


def test_uncorrected_p_and_its_false_discovery_rate():
    counts = np.array([1, 2, 50, 100, 1])
    log_p, log_q = uncorrected(counts, 100)
    np.testing.assert_allclose(np.exp(log_p), counts / 100)
    np.testing.assert_allclose(np.exp(log_q), stats.false_discovery_control(counts / 100))


@pytest.mark.parametrize("name", ["voxel", "extent", "mass", "tfce"])
def test_correction_gives_p_thresholds_and_critical_values(name):
    null = np.r_[4.5, RNG.gumbel(2, 0.5, 199)]
    heights = np.r_[4.5, 0.0, RNG.uniform(0.5, 4.5, 50)]
    found = correct(name, heights, null, 0.05)
    p = np.array([(null >= h - 1e-9 * h).mean() for h in heights])
    if name in ("extent", "mass"):
        p[1] = 1
    np.testing.assert_array_equal(found.p, p)
    np.testing.assert_allclose(found.log_p, np.log(p), atol=1e-15)
    np.testing.assert_array_equal(found.survives, p <= 0.05)
    assert found.threshold == heights[p <= 0.05].min() > np.sort(null)[-11]
    assert found.critical == np.sort(null)[-11]
    assert (found.name, found.alpha, found.fit) == (name, 0.05, None)


def test_nothing_survives_where_too_few_shuffles_were_made():
    found = correct("voxel", np.array([3.0, 1]), np.array([3.0, 1, 2]), 0.05)
    assert found.critical is None
    assert found.threshold == np.inf
    assert not found.survives.any()


@pytest.mark.parametrize("approximation", ["gpd", "gamma"])
def test_approximations_replace_p_and_keep_what_is_outside_clusters(approximation):
    null = RNG.gumbel(5, 1, 500)
    heights = np.array([0.0, 9.0, null.max() + 3, 5.0])
    found = correct("mass", heights, null, 0.05, approximation)
    fit = approximate_p(null, heights, approximation)
    np.testing.assert_array_equal(found.p[1:], fit.p[1:])
    np.testing.assert_array_equal(found.log_p[1:], fit.log_p[1:])
    assert (found.p[0], found.log_p[0]) == (1, 0)
    # The empirical p is 0.
    assert 0 < found.p[2] < 1.01 / 500
    assert found.fit.method == approximation
    assert found.precision(exhaustive=False) == []
    with pytest.raises(ValueError, match="none, gpd, gamma, got 'normal'"):
        correct("mass", heights, null, 0.05, "normal")


def test_precision_lists_the_heights_whose_interval_holds_alpha():
    null = np.arange(1000.0)
    heights = np.r_[990.0, 960, 950, 949.5, 945, 930, 100, 0, 950]
    rows = correct("tfce", heights, null, 0.05).precision(exhaustive=False)
    expected = []
    for height in (990, 960, 950, 949.5, 945, 930, 100):
        count = int((null >= height).sum())
        low, high = stats.binomtest(count - 1, 999).proportion_ci(0.95)
        if low <= 0.05 <= high:
            expected.append((height, count / 1000, low, high))
    assert len(expected) == 5 - 1
    for row, (height, p, low, high) in zip(rows, expected, strict=True):
        assert (row["Height"], row["P"]) == (height, p)
        assert row["Interval"] == pytest.approx([low, high], rel=1e-6)
        assert row["Advice"].startswith(f"tfce {height:.4g}: p ")
    assert correct("tfce", heights, null, 0.05).precision(exhaustive=True) == []


def test_precision_is_of_the_ten_nearest_alpha():
    null = np.arange(1000.0)
    rows = Corrected("voxel", np.arange(935.0, 965), None, None, null, 0.05).precision(False)
    assert [row["Height"] for row in rows] == [*range(954, 944, -1)]
    # Whatever sorts: a processor's own code for it does not keep the order of what is equal.
    heights = np.linspace(90, 98.9, 200)
    rows = Corrected("voxel", heights, None, None, np.arange(100.0), 0.05).precision(False)
    of_alpha = heights[np.ceil(heights) == 95]
    assert [row["Height"] for row in rows] == of_alpha[:-11:-1].tolist()


def contrast_of(rank):
    matrix = np.random.default_rng(0).standard_normal((20, 3))
    split = partition(LinearModel(matrix, tuple("abc")), np.eye(3)[:rank])
    return ShuffledContrast(split, ShufflingScheme("permute", tuple(range(20))))


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("tail", ["two-sided", "positive", "negative"])
@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("excess", [False, True])
def test_clusters_of_voxels_are_those_of_scipy(tail, connectivity, excess, rank):
    rng = np.random.default_rng(connectivity)
    mask = rng.random((8, 7, 6)) < 0.9
    volume = ndimage.gaussian_filter(rng.standard_normal(mask.shape), 0.7) * 4
    volume = np.abs(volume) if rank == 2 else volume
    settings = ShuffleStatistics(
        ("voxel", "extent", "mass"),
        tail,
        cluster_forming_statistic=1.0,
        connectivity=connectivity,
        mass_excess=excess,
    )
    values = volume.T[mask.T]
    found = cluster_heights(
        values, settings, contrast_of(rank), neighbour_list(mask, connectivity)
    )
    signs = {"two-sided": (1, -1), "positive": (1,), "negative": (-1,)}[tail]
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    extent, mass = np.zeros(mask.shape), np.zeros(mask.shape)
    for sign in signs if rank == 1 else (1,):
        labels, n = ndimage.label(mask & (sign * volume >= 1), structure)
        index = np.arange(n + 1)
        own = ndimage.sum(sign * volume - excess, labels, index)
        size = ndimage.sum(np.ones(mask.shape), labels, index)
        extent += np.where(labels > 0, size[labels], 0)
        mass += np.where(labels > 0, own[labels], 0)
    assert extent.max() > 3
    np.testing.assert_array_equal(found["extent"], extent.T[mask.T])
    np.testing.assert_allclose(found["mass"], mass.T[mask.T], rtol=1e-12)


def test_masses_may_run_on_z():
    mask = np.ones((4, 1, 1), bool)
    contrast = contrast_of(1)
    settings = ShuffleStatistics(
        ("voxel", "mass"), cluster_forming_z=1.0, statistic_scale="z", mass_excess=True
    )
    t = np.array([4.0, 3.0, 0.0, -2.5])
    found = cluster_heights(t, settings, contrast, neighbour_list(mask, 26))
    z = stats.norm.isf(stats.t.sf(np.abs(t), 17))
    expected = [z[0] + z[1] - 2] * 2 + [0, z[3] - 1]
    np.testing.assert_allclose(found["mass"], expected, rtol=1e-9)
    assert found["extent"].tolist() == [2, 2, 0, 1]
