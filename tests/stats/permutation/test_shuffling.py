"""Shuffle k: complete when enumerated, without repeats when sampled, a function of k alone."""

from itertools import pairwise
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nipype_group.stats.permutation.scheme import ShufflingScheme, keyed_permutation


def within(*blocks):
    return tuple((-1, b) for b in blocks)


def scheme(kind="permute", labels=range(5), blocks=(), seed=1, **kwargs):
    return ShufflingScheme(kind, tuple(labels), blocks, seed, **kwargs)


def sampled(plan, seed):
    return ShufflingScheme(plan.kind, plan.labels, plan.blocks, seed)


def relabelled(plan, first, last):
    """What shuffles do to the rows of the design: their labels in the new order, and signs."""
    orders, signs = plan.draw(first, last)
    assert orders.shape == signs.shape == (last - first, plan.n_maps)
    assert (orders.dtype, signs.dtype) == (np.int32, np.int8)
    assert (np.sort(orders, axis=1) == np.arange(plan.n_maps)).all()
    assert (np.abs(signs) == 1).all()
    moved = np.asarray(plan.labels)[orders]
    return [tuple(row) for row in np.hstack([moved, signs]).tolist()]


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_keyed_permutation_is_one_to_one(size, seed):
    values = keyed_permutation(np.arange(size), size, seed)
    assert sorted(values.tolist()) == list(range(size))


@pytest.mark.parametrize("size", [2**63 - 25, 2**62 + 1, 2**33, 2**32 + 7])
def test_keyed_permutation_of_a_huge_range_depends_on_the_seed(size):
    numbers = np.arange(2000)
    first = keyed_permutation(numbers, size, 5)
    assert len(set(first.tolist())) == 2000
    assert (first != keyed_permutation(numbers, size, 6)).all()
    assert stats.kstest(first / size, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(first[1:] / size, first[:-1] / size)[0, 1]) < 5 / np.sqrt(2000)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_every_permutation_of_a_small_range_is_as_likely_over_the_seeds(size):
    seen = {}
    for seed in range(25 * factorial(size)):
        values = tuple(keyed_permutation(np.arange(size), size, seed).tolist())
        seen[values] = seen.get(values, 0) + 1
    assert len(seen) == factorial(size)
    assert stats.chisquare(list(seen.values())).pvalue > 1e-3


ENUMERATED = {
    "five against five": (scheme(labels=[0] * 5 + [1] * 5, exhaustive=True), 252),
    "five maps that all differ": (scheme(exhaustive=True), 120),
    "three labels in mixed order": (scheme(labels=[2, 0, 1, 0, 2, 2], exhaustive=True), 60),
    "pairs within four participants": (
        scheme(labels=[0, 1] * 4, blocks=within(1, 1, 2, 2, 3, 3, 4, 4), exhaustive=True),
        16,
    ),
    "blocks of unequal size, interleaved": (
        scheme(labels=[0, 1, 2, 0, 1, 2, 1], blocks=within(1, 2, 1, 2, 1, 1, 3), exhaustive=True),
        24,
    ),
    "whole participants": (
        scheme(
            labels=[0, 1] * 2 + [2, 3] * 2,
            blocks=((1, -1), (1, -1), (1, -2), (1, -2), (1, -3), (1, -3), (1, -4), (1, -4)),
            exhaustive=True,
        ),
        6,
    ),
    "eight sign flips": (scheme("flip", range(8), exhaustive=True), 256),
    "flips of whole participants": (
        scheme("flip", range(8), ((1, -1), (1, -2), (1, -3), (1, -4)) * 2, exhaustive=True),
        16,
    ),
    "both": (scheme("both", [0, 0, 1, 1], exhaustive=True), 6 * 16),
    "both, of whole participants": (
        scheme("both", range(6), ((1, 1), (1, 2), (1, 3)) * 2, exhaustive=True),
        48 * 8,
    ),
}


@pytest.mark.parametrize("name", ENUMERATED)
def test_enumeration_meets_every_distinct_shuffle_once(name):
    plan, n_distinct = ENUMERATED[name]
    assert (plan.n_distinct, plan.sampling) == (n_distinct, "enumerated")
    assert len(set(relabelled(plan, 0, n_distinct))) == n_distinct
    orders, signs = plan.draw(0, n_distinct)
    assert orders[0].tolist() == list(range(plan.n_maps))
    assert (signs[0] == 1).all()
    if plan.kind == "permute":
        assert (signs == 1).all()
    if plan.kind == "flip":
        assert (orders == orders[0]).all()
    with pytest.raises(ValueError, match=f"shuffle {n_distinct} of {n_distinct} distinct"):
        plan.draw(n_distinct, n_distinct + 1)


@pytest.mark.parametrize("name", ENUMERATED)
def test_sampling_without_repeats_meets_every_shuffle_and_the_identity_only_at_0(name):
    plan, n_distinct = ENUMERATED[name]
    other = sampled(plan, seed=99)
    assert other.sampling == "without repeats"
    seen = relabelled(other, 0, n_distinct)
    assert set(seen) == set(relabelled(plan, 0, n_distinct))
    assert seen[0] == plan.labels + (1,) * plan.n_maps
    assert seen != relabelled(plan, 0, n_distinct)
    assert other.chance_of_repeat(n_distinct - 1) == 0


def test_members_of_large_groups_never_repeat_and_never_stay():
    plan = scheme(labels=[0] * 15 + [1] * 16, seed=4)
    assert plan.sampling == "without repeats"
    seen = relabelled(plan, 0, 5000)
    assert len(set(seen)) == 5000
    later = relabelled(plan, plan.n_distinct - 100, plan.n_distinct)
    assert not set(seen) & set(later)


@pytest.mark.parametrize("n", [63, 62])
def test_flips_just_below_the_limit_are_sampled_without_repeats(n):
    plan = scheme("flip", range(n))
    assert plan.sampling == ("counter" if n == 63 else "without repeats")
    assert len(set(relabelled(plan, 0, 500))) == 500


SAMPLED = {
    "permute, few": scheme(labels=range(6), seed=7),
    "permute, many": scheme(labels=range(70), seed=7),
    "flip, few": scheme("flip", range(30), seed=7),
    "flip, many": scheme("flip", range(70), seed=7),
    "both, few": scheme("both", range(12), seed=7),
    "both, many": scheme("both", range(70), ((1, 1), (1, 2)) * 35, seed=7),
    "given": scheme("flip", range(3), given=np.vstack([np.ones((1, 3)), -np.ones((719, 3))])),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_a_shuffle_is_the_same_whatever_range_it_is_drawn_in(name):
    plan = SAMPLED[name]
    orders, signs = plan.draw(0, 720)
    for splits in ([0, 720], [0, 1, 2, 255, 256, 257, 600, 600, 720], range(0, 721, 90)):
        parts = [plan.draw(a, b) for a, b in pairwise(splits)]
        np.testing.assert_array_equal(np.vstack([p[0] for p in parts]), orders)
        np.testing.assert_array_equal(np.vstack([p[1] for p in parts]), signs)
    again = ShufflingScheme(plan.kind, plan.labels, plan.blocks, plan.seed, given=plan.given)
    np.testing.assert_array_equal(again.draw(300, 310)[0], orders[300:310])
    if plan.given is None:
        assert relabelled(sampled(plan, 8), 1, 20) != relabelled(plan, 1, 20)


# Written down once: whoever changes these makes runs unrepeatable.
PINNED = {
    "few": [[1, 4, 0, 3, 2], [4, 3, 2, 0, 1], [2, 4, 1, 3, 0]],
    "many": [
        [3, 0, 19, 1, 11, 21, 4, 8, 16, 7, 15, 22, 17, 12, 9, 20, 14, 23, 5, 13, 2, 18, 10, 6]
    ],
    "flips": "25a4d5653db81e3b",
}


def test_shuffles_do_not_change_between_versions():
    assert scheme(seed=2008).draw(1, 4)[0].tolist() == PINNED["few"]
    assert scheme(labels=range(24), seed=2008).draw(1000, 1001)[0].tolist() == PINNED["many"]
    signs = scheme("flip", range(64), seed=2008).draw(1000, 1001)[1]
    assert np.packbits(signs < 0).tobytes().hex() == PINNED["flips"]


def test_shuffles_of_very_many_maps_come_in_smaller_blocks():
    plan = scheme("both", range(40_000))
    orders, signs = plan.draw(60, 70)
    np.testing.assert_array_equal(plan.draw(66, 67)[0][0], orders[6])
    np.testing.assert_array_equal(plan.draw(66, 67)[1][0], signs[6])
    assert len(np.unique(orders[:, :50], axis=0)) == 10
    assert (np.sort(orders, axis=1) == np.arange(40_000)).all()


@pytest.mark.parametrize("kind", ["permute", "flip", "both"])
def test_the_counter_takes_shuffle_numbers_beyond_32_bits(kind):
    plan = scheme(kind, range(70))
    numbers = [1, 2**32, 2**32 + 1, 2**63 + 1, 2**72 + 1]
    assert len({relabelled(plan, k, k + 1)[0] for k in numbers}) == len(numbers)


@pytest.mark.parametrize(
    "plan",
    [
        scheme(labels=[0, 0, 1, 1]),
        scheme(labels=[0, 1, 2, 0, 1], blocks=within(1, 1, 1, 2, 2)),
        scheme("flip", range(3)),
        scheme("both", range(2)),
    ],
    ids=["permute", "blocks", "flip", "both"],
)
def test_the_first_draw_is_uniform_over_the_seeds(plan):
    seen = {}
    for seed in range(1000):
        (drawn,) = relabelled(sampled(plan, seed), 1, 2)
        seen[drawn] = seen.get(drawn, 0) + 1
    # Every arrangement but the identity.
    assert len(seen) == plan.n_distinct - 1
    assert stats.chisquare(list(seen.values())).pvalue > 1e-3


def test_counter_sampling_is_uniform_in_place_and_sign():
    n, n_shuffles = 40, 4000
    orders, signs = scheme("both", range(n), seed=3).draw(1, n_shuffles + 1)
    for row in (0, 17, 39):
        counts = np.bincount(orders[:, row], minlength=n)
        assert stats.chisquare(counts).pvalue > 1e-4
    limit = 5 / np.sqrt(n_shuffles)
    assert np.abs(signs.mean(axis=0)).max() < limit
    together = signs[:, 0] * signs[:, 1:].T
    assert np.abs(together.mean(axis=1)).max() < limit
    # Signs say nothing about places, nor a shuffle about the next.
    early = np.where(orders < n // 2, 1, -1)
    assert np.abs((early * signs).mean(axis=0)).max() < limit
    assert np.abs((early[1:] * early[:-1]).mean(axis=0)).max() < limit
    assert np.abs((signs[1:] * signs[:-1]).mean(axis=0)).max() < limit


def test_counter_sampling_is_distinct_and_stays_within_blocks():
    blocks = np.repeat([1, 2], [21, 19])
    np.random.default_rng(0).shuffle(blocks)
    plan = scheme(labels=range(40), blocks=within(*blocks.tolist()))
    assert plan.sampling == "counter"
    assert len(set(relabelled(plan, 0, 1500))) == 1500
    orders = plan.draw(0, 1500)[0]
    assert (blocks[orders] == blocks).all()
    assert orders[0].tolist() == list(range(40))


def test_maps_of_one_flip_unit_share_their_sign():
    plan = scheme("flip", range(140), tuple((1, -b) for b in range(1, 71)) * 2)
    assert (plan.n_flip_units, plan.sampling) == (70, "counter")
    signs = plan.draw(1, 500)[1]
    np.testing.assert_array_equal(signs[:, :70], signs[:, 70:])
    assert len(np.unique(signs[:, :70].T, axis=0)) == 70


def test_counts_of_distinct_shuffles_are_exact_integers():
    assert scheme("flip", range(200)).n_distinct == 2**200
    assert scheme(labels=range(30)).n_distinct == factorial(30)
    assert scheme("both", labels=range(30)).n_distinct == factorial(30) * 2**30
    assert scheme(labels=[0] * 30).n_distinct == 1
    assert scheme(labels=[0] * 30).draw(0, 1)[0].tolist() == [list(range(30))]


def test_chance_of_repeat_is_the_birthday_bound():
    plan = scheme("flip", range(64))
    assert plan.chance_of_repeat(10_000) == pytest.approx(10_001 * 10_000 / 2 / 2**64)
    assert plan.chance_of_repeat(2**40) == 1
    assert scheme("flip", range(2000)).chance_of_repeat(10) < 1e-300


@pytest.mark.parametrize(
    "blocks",
    [
        (),
        within(1, 2, 1, 2, 1, 2),
        ((1, -1), (1, -2), (1, -1), (1, -2), (1, -3), (1, -3)),
        ((-1, 1, -1), (-1, 1, -2), (-1, 1, -1), (-1, 1, -2), (-1, -2, 3), (-1, -2, 3)),
        ((-1, 1, -1), (-1, 1, -2), (-1, 1, -1), (-1, 1, -2), (-1, -2, -3), (-1, -2, -3)),
    ],
    ids=["free", "within", "whole", "nested", "some stay"],
)
def test_fixed_directions_span_all_that_permutations_leave(blocks):
    plan = scheme(labels=range(6), blocks=blocks, exhaustive=True)
    orders = plan.draw(0, plan.n_distinct)[0]
    basis = plan.fixed_directions()
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-12)
    for order in orders:
        np.testing.assert_array_equal(basis[order], basis)
    # The mean over a group is the projection onto what it leaves as it is.
    np.testing.assert_allclose(basis @ basis.T, np.eye(6)[orders].mean(axis=0), atol=1e-12)


def test_flips_leave_no_direction():
    assert scheme("flip").fixed_directions().shape == (5, 0)
    assert scheme("both").fixed_directions().shape == (5, 0)
    assert scheme("flip", range(2), given=np.array([[1, 1], [1, -1]])).fixed_directions().size == 0


def test_given_shuffles_are_drawn_as_they_stand():
    table = np.array([[1, 2, 3, 4, 5], [2, 1, 3, 5, 4], [1, 2, 3, 5, 4], [1, 2, 3, 4, 5]])
    plan = scheme(given=table)
    assert (plan.sampling, plan.n_distinct, plan.chance_of_repeat(3)) == ("given", 4, 0)
    orders, signs = plan.draw(1, 4)
    np.testing.assert_array_equal(orders, table[1:] - 1)
    assert (signs == 1).all()
    np.testing.assert_allclose(
        plan.fixed_directions() @ plan.fixed_directions().T,
        [
            [0.5, 0.5, 0, 0, 0],
            [0.5, 0.5, 0, 0, 0],
            [0, 0, 1, 0, 0],
            [0, 0, 0, 0.5, 0.5],
            [0, 0, 0, 0.5, 0.5],
        ],
    )
    with pytest.raises(ValueError, match="shuffle 4 of 4 distinct"):
        plan.draw(2, 5)
    flips = np.array([[1, 1, 1], [1, -1, -1]])
    orders, signs = scheme("flip", range(3), given=flips).draw(0, 2)
    np.testing.assert_array_equal(signs, flips)
    assert (orders == np.arange(3)).all()


def test_directions_that_given_permutations_leave_follow_chains_of_exchanges():
    table = np.array([[1, 2, 3, 4], [2, 3, 1, 4]])
    basis = scheme(labels=range(4), given=table).fixed_directions()
    np.testing.assert_allclose(np.abs(basis), [[3**-0.5, 0]] * 3 + [[0, 1]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "swap"}, "permute, flip, both, got 'swap'"),
        ({"labels": ()}, "no maps"),
        ({"blocks": within(1, 1)}, "5 labels but 2 rows of blocks"),
        ({"blocks": tuple((1, -b) for b in (1, 1, 2, 2, 2))}, "hold 2 and 3 maps"),
        ({"seed": -1}, "seed is an integer"),
        ({"seed": 2**64}, "seed is an integer"),
        ({"given": np.ones((2, 4), int)}, r"rows of 5 integers, got shape \(2, 4\)"),
        ({"given": np.ones((2, 5), int)}, "row 0 is not a permutation of 1 to 5"),
        ({"given": np.array([[2, 1, 3, 4, 5]])}, "row 0 is not the identity"),
        ({"given": np.array([[1] * 5, [1, 1, 2, 1, 1]]), "kind": "flip"}, "row 1 is not 1 and -1"),
        ({"given": np.ones((2, 5), int), "kind": "both"}, "not 'both'"),
    ],
)
def test_schemes_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        scheme(**change)


def test_shuffles_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match="shuffles -1 to 2"):
        scheme().draw(-1, 2)
    with pytest.raises(ValueError, match="shuffles 3 to 2"):
        scheme().draw(3, 2)
    assert scheme().draw(3, 3)[0].shape == (0, 5)
    with pytest.raises(ValueError, match="cannot be enumerated"):
        scheme("flip", range(70), exhaustive=True).draw(0, 2)
