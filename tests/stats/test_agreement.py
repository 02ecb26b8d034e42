"""Agreement of maps against numpy and against all ways to match peaks."""

from itertools import permutations

import numpy as np
import pytest

from nipype_group.stats.agreement import agreement, matched_peaks, overlap


def test_agreement_is_that_of_numpy():
    first, second = np.random.default_rng(1).standard_normal((2, 500))
    second += 0.5 * first + 0.2
    found = agreement(first, second)
    difference = first - second
    assert found.correlation == pytest.approx(np.corrcoef(first, second)[0, 1], rel=1e-12)
    assert found.mean_difference == pytest.approx(np.mean(difference), rel=1e-12)
    assert found.sd_difference == pytest.approx(np.std(difference, ddof=1), rel=1e-12)
    share = ((difference > found.lower_limit) & (difference < found.upper_limit)).mean()
    assert share == pytest.approx(0.95, abs=0.03)
    assert found.largest_difference == np.abs(difference).max()
    assert np.isnan(agreement(first, np.ones(500)).correlation)
    with pytest.raises(ValueError, match="as many in both"):
        agreement(first, second[1:])


def test_overlap_counts_voxels():
    rng = np.random.default_rng(2)
    first, second = rng.random((2, 5, 6, 7)) > 0.6
    found = overlap(first, second)
    assert found.dice == 2 * (first & second).sum() / (first.sum() + second.sum())
    assert found.n_both + found.n_first_alone == first.sum()
    assert found.n_both + found.n_second_alone == second.sum()
    assert np.isnan(overlap(first & False, second & False).dice)


@pytest.mark.parametrize("seed", range(8))
def test_peaks_match_as_the_best_of_all_ways(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.uniform(0, 12, (4, 3)), rng.uniform(0, 12, (5, 3))
    pairs = matched_peaks(first, second, 8.0)
    distances = np.linalg.norm(first[:, None] - second, axis=2)
    best = max(
        (len(near), -sum(near))
        for order in permutations(range(5), 4)
        for near in [[distances[i, j] for i, j in enumerate(order) if distances[i, j] <= 8.0]]
    )
    assert (len(pairs), -sum(mm for *_, mm in pairs)) == pytest.approx(best)
    assert len({i for i, *_ in pairs}) == len({j for _, j, _ in pairs}) == len(pairs)
    assert matched_peaks(first, np.empty((0, 3)), 8.0) == []
