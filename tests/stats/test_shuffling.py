"""Shuffle k: complete when enumerated, without repeats when sampled, a function of k alone."""

from itertools import permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nipype_group.stats.shuffling import (
    ShufflingScheme,
    count_arrangements,
    keyed_permutation,
    rank_arrangement,
    unrank_arrangement,
)

COUNTS = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def scheme(kind="permute", labels=range(5), blocks=None, seed=1, **kwargs):
    labels = tuple(labels)
    return ShufflingScheme(kind, labels, tuple(blocks or (1,) * len(labels)), seed, **kwargs)


def relabelled(plan, k):
    """What shuffle k does to the rows of the design: their labels in the new order, and signs."""
    order, signs = plan.draw(k)
    assert sorted(order) == list(range(plan.n_maps))
    assert set(np.abs(signs)) == {1}
    return tuple(np.asarray(plan.labels)[order].tolist()), tuple(signs.tolist())


@given(COUNTS, st.data())
def test_unrank_is_the_inverse_of_rank(counts, data):
    rank = data.draw(st.integers(0, count_arrangements(counts) - 1))
    arrangement = unrank_arrangement(counts, rank)
    assert np.bincount(arrangement, minlength=len(counts)).tolist() == counts
    assert rank_arrangement(arrangement, len(counts)) == rank


@given(st.permutations([0, 0, 1, 1, 1, 2, 3]))
def test_rank_is_the_inverse_of_unrank(arrangement):
    rank = rank_arrangement(arrangement, 4)
    assert unrank_arrangement([2, 3, 1, 1], rank) == arrangement


def test_ranks_follow_the_lexicographic_order():
    counts = [2, 1, 2]
    every = [unrank_arrangement(counts, r) for r in range(count_arrangements(counts))]
    assert every == [list(p) for p in sorted(set(permutations([0, 0, 1, 2, 2])))]


def test_ranks_beyond_64_bits_are_exact():
    counts = [1] * 40
    for rank in (0, 2**64 + 12345, factorial(40) - 1):
        assert rank_arrangement(unrank_arrangement(counts, rank), 40) == rank


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_keyed_permutation_is_one_to_one(size, seed):
    values = {keyed_permutation(v, size, seed) for v in range(min(size, 300))}
    assert len(values) == min(size, 300)
    assert all(0 <= v < size for v in values)


def test_keyed_permutation_of_a_huge_range_depends_on_the_seed():
    size = 2**63 - 25
    first = [keyed_permutation(v, size, 5) for v in range(50)]
    assert first != [keyed_permutation(v, size, 6) for v in range(50)]
    assert max(first) > size // 2 > min(first)


ENUMERATED = {
    "five against five": (scheme(labels=[0] * 5 + [1] * 5, exhaustive=True), 252),
    "five maps that all differ": (scheme(exhaustive=True), 120),
    "three labels in mixed order": (scheme(labels=[2, 0, 1, 0, 2, 2], exhaustive=True), 60),
    "pairs within four participants": (
        scheme(labels=[0, 1] * 4, blocks=[1, 1, 2, 2, 3, 3, 4, 4], exhaustive=True), 16),
    "blocks of unequal size, interleaved": (
        scheme(labels=[0, 1, 2, 0, 1, 2, 1], blocks=[1, 2, 1, 2, 1, 1, 3], exhaustive=True), 24),
    "eight sign flips": (scheme("flip", range(8), exhaustive=True), 256),
}  # fmt: skip


@pytest.mark.parametrize("name", ENUMERATED)
def test_enumeration_meets_every_distinct_arrangement_once(name):
    plan, n_distinct = ENUMERATED[name]
    assert plan.n_distinct == n_distinct
    seen = {relabelled(plan, k) for k in range(n_distinct)}
    assert len(seen) == n_distinct
    order, signs = plan.draw(0)
    assert order.tolist() == list(range(plan.n_maps))
    assert (signs == 1).all()
    for k in range(n_distinct):
        moved = np.asarray(plan.blocks)[plan.draw(k)[0]]
        np.testing.assert_array_equal(moved, plan.blocks)
    with pytest.raises(ValueError, match=f"shuffle {n_distinct} of {n_distinct} distinct"):
        plan.draw(n_distinct)


@pytest.mark.parametrize("name", ENUMERATED)
def test_sampling_without_repeats_meets_every_arrangement_and_the_identity_only_at_0(name):
    plan, n_distinct = ENUMERATED[name]
    sampled = ShufflingScheme(plan.kind, plan.labels, plan.blocks, seed=99)
    assert sampled.sampling == "without repeats"
    seen = [relabelled(sampled, k) for k in range(n_distinct)]
    assert len(set(seen)) == n_distinct
    assert seen[0] == (plan.labels, (1,) * plan.n_maps)
    assert sampled.chance_of_repeat(n_distinct - 1) == 0


def test_two_members_of_large_groups_never_repeat_and_never_stay():
    plan = scheme(labels=[0] * 15 + [1] * 16, seed=4)
    assert plan.sampling == "without repeats"
    seen = [relabelled(plan, k) for k in range(3000)]
    assert len(set(seen)) == 3000
    assert seen[0] not in seen[1:]


@pytest.mark.parametrize("n", [63, 62])
def test_flips_just_below_the_limit_are_sampled_without_repeats(n):
    plan = scheme("flip", range(n))
    assert plan.sampling == ("counter" if n == 63 else "without repeats")
    assert len({relabelled(plan, k) for k in range(500)}) == 500


@pytest.mark.parametrize("kind", ["permute", "flip"])
def test_shuffle_k_depends_on_seed_and_k_alone(kind):
    for labels in (range(6), range(70)):
        one, two = scheme(kind, labels, seed=7), scheme(kind, labels, seed=7)
        for k in (40, 3, 17, 3):
            np.testing.assert_array_equal(one.draw(k), two.draw(k))
        other = scheme(kind, labels, seed=8)
        assert any(relabelled(one, k) != relabelled(other, k) for k in range(1, 10))


@pytest.mark.parametrize("kind", ["permute", "flip"])
def test_the_counter_takes_shuffle_numbers_beyond_32_bits(kind):
    plan = scheme(kind, range(70))
    numbers = [1, 2**32, 2**32 + 1, 2**63 + 1]
    assert len({relabelled(plan, k) for k in numbers}) == 4


@pytest.mark.parametrize(
    "plan",
    [
        scheme(labels=[0, 0, 1, 1]),
        scheme(labels=[0, 1, 2, 0, 1], blocks=[1, 1, 1, 2, 2]),
        scheme("flip", range(3)),
    ],
    ids=["permute", "blocks", "flip"],
)
def test_the_first_draw_is_uniform_over_the_seeds(plan):
    seen = {}
    n_seeds = 3000
    for seed in range(n_seeds):
        drawn = relabelled(ShufflingScheme(plan.kind, plan.labels, plan.blocks, seed), 1)
        seen[drawn] = seen.get(drawn, 0) + 1
    # Every arrangement but the identity.
    assert len(seen) == plan.n_distinct - 1
    assert stats.chisquare(list(seen.values())).pvalue > 1e-3


def test_counter_sampling_is_uniform_in_place_and_sign():
    n, n_shuffles = 40, 2000
    plan = scheme(labels=range(n), seed=3)
    assert plan.sampling == "counter"
    orders = np.array([plan.draw(k)[0] for k in range(1, n_shuffles + 1)])
    for row in (0, 17, 39):
        counts = np.bincount(orders[:, row], minlength=n)
        assert stats.chisquare(counts).pvalue > 1e-4
    flips = scheme("flip", range(70), seed=3)
    signs = np.array([flips.draw(k)[1] for k in range(1, n_shuffles + 1)])
    assert np.abs(signs.mean(axis=0)).max() < 5 / np.sqrt(n_shuffles)
    together = signs[:, 0] * signs[:, 1:].T
    assert np.abs(together.mean(axis=1)).max() < 5 / np.sqrt(n_shuffles)


def test_counter_sampling_of_forty_maps_is_distinct_and_stays_within_blocks():
    blocks = [1] * 21 + [2] * 19
    random = np.random.default_rng(0)
    random.shuffle(blocks)
    plan = scheme(labels=range(40), blocks=blocks)
    assert plan.sampling == "counter"
    seen = {relabelled(plan, k) for k in range(1500)}
    assert len(seen) == 1500
    for k in range(100):
        np.testing.assert_array_equal(np.asarray(blocks)[plan.draw(k)[0]], blocks)
    assert plan.draw(0)[0].tolist() == list(range(40))


def test_counts_of_distinct_shufflings_are_exact_integers():
    assert scheme("flip", range(200)).n_distinct == 2**200
    assert scheme(labels=range(30)).n_distinct == factorial(30)
    assert scheme(labels=[0] * 30).n_distinct == 1


def test_chance_of_repeat_is_the_birthday_bound():
    plan = scheme("flip", range(64))
    assert plan.chance_of_repeat(10_000) == pytest.approx(10_001 * 10_000 / 2 / 2**64)
    assert plan.chance_of_repeat(2**40) == 1
    assert scheme("flip", range(2000)).chance_of_repeat(10) < 1e-300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "swap"}, "permute, flip, got 'swap'"),
        ({"blocks": (1, 1)}, "5 labels but 2 blocks"),
        ({"seed": -1}, "seed is an integer"),
        ({"seed": 2**64}, "seed is an integer"),
    ],
)
def test_schemes_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        scheme(**change)
    with pytest.raises(ValueError, match="shuffle -1 of"):
        scheme().draw(-1)
