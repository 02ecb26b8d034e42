"""Ranks and arrangements of a multiset are one to one, exact up to the last 64-bit rank."""

from itertools import permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nipype_group.stats.permutation.arrangements import (
    count_arrangements,
    rank_arrangement,
    unrank_arrangements,
)

COUNTS = st.lists(st.integers(1, 4), min_size=1, max_size=5)


@given(COUNTS, st.data())
def test_unrank_is_the_inverse_of_rank(counts, data):
    ranks = data.draw(st.lists(st.integers(0, count_arrangements(counts) - 1), max_size=9))
    arrangements = unrank_arrangements(counts, ranks)
    assert arrangements.shape == (len(ranks), sum(counts))
    for rank, arrangement in zip(ranks, arrangements.tolist(), strict=True):
        assert np.bincount(arrangement, minlength=len(counts)).tolist() == counts
        assert rank_arrangement(arrangement, len(counts)) == rank


@given(st.permutations([0, 0, 1, 1, 1, 2, 3]))
def test_rank_is_the_inverse_of_unrank(arrangement):
    rank = rank_arrangement(arrangement, 4)
    assert unrank_arrangements([2, 3, 1, 1], [rank]).tolist() == [arrangement]


@pytest.mark.parametrize("counts", [[2, 1, 2], [3], [1, 1, 1, 1], [4, 0, 2]])
def test_ranks_follow_the_lexicographic_order(counts):
    labels = np.repeat(np.arange(len(counts)), counts).tolist()
    every = unrank_arrangements(counts, np.arange(count_arrangements(counts)))
    assert every.tolist() == [list(p) for p in sorted(set(permutations(labels)))]


@pytest.mark.parametrize("counts", [[1] * 20, [33, 33], [40] + [1] * 11, [62]])
def test_ranks_just_below_63_bits_are_exact(counts):
    size = count_arrangements(counts)
    # The product of a total and a count is beyond 64 bits in the second and third.
    ranks = [0, size // 3, max(size - 2, 0), size - 1]
    for rank, arrangement in zip(ranks, unrank_arrangements(counts, ranks), strict=True):
        assert rank_arrangement(arrangement.tolist(), len(counts)) == rank
    last = np.repeat(np.arange(len(counts)), counts)[::-1]
    np.testing.assert_array_equal(unrank_arrangements(counts, [size - 1])[0], last)


def test_counts_are_exact_integers():
    assert count_arrangements([1] * 40) == factorial(40)
    assert count_arrangements([10, 20, 3]) == factorial(33) // (
        factorial(10) * factorial(20) * factorial(3)
    )


def test_ranks_that_do_not_exist_are_refused():
    for ranks in ([3], [-1, 0]):
        with pytest.raises(ValueError, match="ranks are from 0 to 2, got"):
            unrank_arrangements([2, 1], ranks)
    with pytest.raises(ValueError, match="2\\^63 arrangements or more"):
        unrank_arrangements([1] * 21, [0])
