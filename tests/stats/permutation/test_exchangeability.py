"""Trees of exchangeability blocks against all permutations that their definition permits."""

from itertools import permutations
from math import factorial

import numpy as np
import pytest
from scipy import stats

from nipype_group.stats.permutation.blocks import block_tree

# Two families of twins with a sibling, three of two siblings; see Winkler et al. 2015, figure 5.
TWINS = [
    [-1, 1, -family, role, person]
    for family in (1, 2)
    for role, person in ((1, 1), (1, 2), (-2, 1))
] + [[-1, 2, family, 1, person] for family in (1, 2, 3) for person in (1, 2)]
THREE_LEVELS = [[1, -a, b] for a in (1, 2) for b in (1, 2) for _ in range(2)]

# Blocks, number of permitted permutations, number of flip units.
TREES = {
    "all": ([[1]] * 5, 120, 5),
    "none": ([[-1]] * 4, 1, 4),
    "one map": ([[1]], 1, 1),
    "within": ([[-1, b] for b in (1, 1, 1, 2, 2, 3)], 12, 6),
    "within, interleaved": ([[-1, b] for b in (1, 2, 1, 2, 1, 1)], 48, 6),
    "whole": ([[1, -b] for b in (1, 1, 2, 2, 3, 3)], 6, 3),
    "whole, interleaved": ([[1, -b] for b in (3, 1, 2, 1, 2, 3)], 6, 3),
    "whole, numbered within": (
        [[1, -1, 2], [1, -1, 1], [1, -2, 1], [1, -2, 2], [1, -3, 1], [1, -3, 2]],
        6,
        3,
    ),
    "both": ([[1, b] for b in (1, 1, 2, 2, 3, 3)], 48, 3),
    "three levels": (THREE_LEVELS[:7:2] + THREE_LEVELS[1:8:2], 2 * 2**4, 2),
    "whole pairs within halves": (
        [[-1, a, -b] for a in (1, 2) for b in (1, 2) for _ in "ab"],
        4,
        4,
    ),
    "indices restart": ([[-1, 7, 1], [-1, 7, 2], [-1, 9, 1], [-1, 9, 2], [-1, 9, 3]], 12, 5),
    "a map without an exchanging block": ([[-1, 1], [-1, 1], [-1, -2], [-1, -2]], 2, 4),
    "signs of single maps": ([[1, 1], [1, -2], [1, 3]], 6, 3),
    "blocks of unequal structure stay": (
        [[-1, 1, -1], [-1, 1, -2], [-1, -2, 1], [-1, -2, 1]],
        4,
        4,
    ),
}


def ordinals(blocks):
    """Path of each row: which sub-block it is in at every level, counted in their order."""
    blocks = np.asarray(blocks)
    paths = []
    for i, row in enumerate(blocks):
        path = []
        for level in range(1, len(row)):
            same = (blocks[:, :level] == row[:level]).all(axis=1)
            path.append(sorted({abs(v) for v in blocks[same, level]}).index(abs(row[level])))
        path.append(sum((other == row).all() for other in blocks[:i]))
        paths.append(tuple(path))
    return paths


def permitted(blocks):
    """Every permutation of the rows that moves blocks to blocks, kept in place where negative."""
    blocks, paths = np.asarray(blocks), ordinals(blocks)
    n, n_levels = blocks.shape
    members = {}
    for row, path in enumerate(paths):
        for level in range(n_levels + 1):
            members.setdefault(path[:level], []).append(row)
    where = {frozenset(rows): {} for rows in members.values()}
    for path, rows in members.items():
        where[frozenset(rows)][len(path)] = path

    def permits(order):
        for path, rows in members.items():
            image = where.get(frozenset(order[r] for r in rows), {}).get(len(path))
            if image is None:
                return False
            if path and blocks[rows[0], len(path) - 1] < 0 and image[-1] != path[-1]:
                return False
        return True

    return [order for order in permutations(range(n)) if permits(order)]


def random_blocks(rng, depth, exchanged=None):
    """A valid matrix of blocks (its columns, without the first) and the sign of its root."""
    positive = bool(rng.integers(2))
    if depth == 0:
        return positive, [[] for _ in range(rng.integers(1, 4))]
    if positive:
        sign, rows = random_blocks(rng, depth - 1)
        parts = [(sign, rows)] * int(rng.integers(1, 4))
    else:
        parts = [random_blocks(rng, depth - 1) for _ in range(rng.integers(1, 4))]
    names = np.sort(rng.choice(9, len(parts), replace=False)) + 1
    return positive, [
        [int(name) if sign else -int(name), *row]
        for name, (sign, rows) in zip(names, parts, strict=True)
        for row in rows
    ]


def random_trees(n_trees, max_maps):
    rng = np.random.default_rng(11)
    found = []
    while len(found) < n_trees:
        positive, rows = random_blocks(rng, int(rng.integers(1, 4)))
        if 2 <= len(rows) <= max_maps:
            blocks = [[1 if positive else -1, *row] for row in rows]
            found.append([blocks[i] for i in rng.permutation(len(blocks))])
    return found


def arrangements(tree, labels):
    """Labels in every enumerated order, after checks that these are permutations."""
    orders = tree.unrank(labels, np.arange(tree.count(labels)))
    assert orders.dtype == np.int32
    np.testing.assert_array_equal(
        np.sort(orders, axis=1), np.broadcast_to(np.arange(tree.n_maps), orders.shape)
    )
    np.testing.assert_array_equal(orders[0], np.arange(tree.n_maps))
    return [tuple(row) for row in np.asarray(labels)[orders].tolist()]


@pytest.mark.parametrize("name", TREES)
def test_counts_and_flip_units_worked_out_by_hand(name):
    blocks, n_permutations, n_units = TREES[name]
    tree = block_tree(blocks)
    assert tree.count(range(len(blocks))) == n_permutations
    assert len(set(tree.flip_units.tolist())) == n_units == tree.flip_units.max() + 1


def check_against_every_permutation(blocks, rng):
    n, tree, every = len(blocks), block_tree(blocks), permitted(blocks)
    for labels in (np.arange(n), rng.integers(2, size=n), rng.integers(3, size=n), np.zeros(n)):
        reached = arrangements(tree, labels)
        assert len(set(reached)) == len(reached)
        assert set(reached) == {tuple(labels[list(order)].tolist()) for order in every}
    keys = rng.integers(2**64, size=(50, tree.n_keys), dtype=np.uint64)
    assert {tuple(order) for order in tree.shuffled(keys).tolist()} <= set(every)
    exchanged = {frozenset(order[i] for order in every) for i in range(n)}
    assert exchanged == {frozenset(np.flatnonzero(tree.orbits == o)) for o in tree.orbits}


@pytest.mark.parametrize("name", [k for k, v in TREES.items() if len(v[0]) <= 6])
def test_enumeration_meets_every_permitted_arrangement_once(name):
    check_against_every_permutation(TREES[name][0], np.random.default_rng(3))


def test_enumeration_of_random_trees_meets_every_permitted_arrangement_once():
    rng = np.random.default_rng(5)
    trees = random_trees(60, 6)
    counts = [block_tree(blocks).count(range(len(blocks))) for blocks in trees]
    assert set(counts) >= {1, 2, 4, 6, 8, 12, 48, 72}
    for blocks in trees:
        check_against_every_permutation(blocks, rng)


def test_flip_units_are_the_sub_blocks_of_the_topmost_positive_block():
    for blocks in [*random_trees(80, 12), *(v[0] for v in TREES.values())]:
        paths, expected = ordinals(blocks), []
        for row, path in zip(blocks, paths, strict=True):
            top = next((level for level, b in enumerate(row) if b > 0), len(row))
            expected.append(path[: top + 1])
        # The last column tells all maps apart: its signs say nothing, and each flips alone.
        numbers = list(dict.fromkeys(expected))
        units = block_tree(blocks).flip_units
        assert units.tolist() == [numbers.index(path) for path in expected]


def test_families_of_twins():
    tree = block_tree(TWINS)
    # Two families change places and twins in each; three families, siblings in each.
    assert tree.count(range(12)) == (2 * 2**2) * (6 * 2**3)
    assert len(set(arrangements(tree, range(12)))) == 384
    assert tree.flip_units.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4]
    assert tree.orbits.tolist() == [0, 0, 1, 0, 0, 1, 2, 2, 2, 2, 2, 2]
    # Only twins differ by label: which of them is it, in either family.
    assert tree.count([0, 1, 5, 0, 1, 5] + [3] * 6) == 4
    # Families of like labels cannot be told apart whatever the order of the twins.
    assert tree.count([0, 1, 5, 1, 0, 5] + [3] * 6) == 4
    assert tree.count([0, 0, 5, 1, 1, 5] + [3, 4, 3, 3, 3, 3]) == 2 * (3 * 2)


def test_counts_of_labels_worked_out_by_hand():
    whole = block_tree([[1, -b] for b in range(1, 7) for _ in range(2)])
    assert whole.count([0, 1] * 3 + [1, 0] * 3) == 20
    both = block_tree([[1, b] for b in range(1, 7) for _ in range(2)])
    # Three pairs of two labels, three of one: 6!/(3! 3!) times 2 for each unequal pair.
    assert both.count([0, 1] * 3 + [0, 0] * 3) == 20 * 2**3
    nested = block_tree(THREE_LEVELS)
    assert nested.count(range(8)) == 2 * 2**4
    assert nested.count([0, 1, 2, 2, 1, 0, 2, 2]) == 2 * 2
    assert block_tree([[1]] * 40).count(range(40)) == factorial(40)


def test_sub_blocks_that_cannot_be_told_apart_keep_their_order():
    tree = block_tree([[1, -b] for b in (1, 2, 3, 4) for _ in range(2)])
    orders = tree.unrank([5, 6, 5, 6, 5, 6, 7, 8], np.arange(4)).tolist()
    assert sorted(orders) == [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [0, 1, 2, 3, 6, 7, 4, 5],
        [0, 1, 6, 7, 2, 3, 4, 5],
        [6, 7, 0, 1, 2, 3, 4, 5],
    ]


@pytest.mark.parametrize("name", ["all", "both", "three levels", "within, interleaved"])
def test_random_keys_reach_every_permitted_permutation_equally_often(name):
    blocks, n_permutations, _ = TREES[name]
    tree = block_tree(blocks)
    keys = np.random.default_rng(1).integers(
        2**64, size=(100 * n_permutations, tree.n_keys), dtype=np.uint64
    )
    _, seen = np.unique(tree.shuffled(keys), axis=0, return_counts=True)
    assert len(seen) == n_permutations
    assert stats.chisquare(seen).pvalue > 1e-3


def test_large_keys_put_sub_blocks_in_their_order():
    tree = block_tree([[1]] * 5)
    keys = np.array([[3, 2**64 - 1, 2**63, 7 << 40, 1 << 62]], dtype=np.uint64)
    assert tree.shuffled(keys).tolist() == [[0, 3, 4, 2, 1]]


def test_many_maps_blocks_and_levels():
    free = block_tree(np.ones((40_000, 1)))
    keys = np.random.default_rng(0).integers(2**64, size=(2, free.n_keys), dtype=np.uint64)
    assert (np.sort(free.shuffled(keys), axis=1) == np.arange(40_000)).all()
    pairs = block_tree([[-1, b // 2 + 1] for b in range(3000)])
    assert pairs.count(range(3000)) == 2**1500
    assert pairs.orbits.max() == 1499
    # Each level splits one map off; no recursion could go so deep.
    n = 1200
    comb = np.where(np.arange(n)[:, None] <= np.arange(n), 2, -1)
    deep = block_tree(np.column_stack([np.full(n, -1), comb]))
    assert len(deep.branches) == n - 1
    assert deep.count(range(n)) == 1
    binary = block_tree([[1, *(1 + (i >> np.arange(9, -1, -1) & 1))] for i in range(1024)])
    assert binary.count(range(1024)) == 2**1023
    assert set(binary.flip_units[:512]) == {0}


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([[1, 1], [1, 0]], "row 2 of column 2 is 0; indices are integers other than 0"),
        ([[1, 1.5], [1, 2]], "row 1 of column 2 is 1.5"),
        ([[1, 1], [1, np.nan]], "row 2 of column 2 is nan"),
        ([[1], [2]], "first column is one block of all maps, but holds 1 in row 1 and 2 in row 2"),
        ([[1], [1], [-1]], "holds 1 in row 1 and -1 in row 3"),
        (
            [[-1, 1], [-1, 2], [-1, -1]],
            "index 1 of column 2 is positive in some rows and negative in others .*rows 1 and 3",
        ),
        (
            [[1, -1], [1, -2], [1, -2]],
            r"sub-blocks -1 and -2 \(column 2\) of block 1 \(column 1\) .* hold 1 and 2 maps",
        ),
        ([[1, 1], [1, 1], [1, -2], [1, -2]], "sub-blocks 1 and -2 .* in different ways"),
        (
            [[-1, 3, -1, a] for a in (1, 2, 3, 3)] + [[-1, 3, -2, a] for a in (1, 1, 2, 3)],
            r"sub-blocks -1 and -2 \(column 3\) of block -1/3 \(column 2\) .* in different ways",
        ),
        ([[1, 1], [1]], "not a matrix of numbers"),
        ([["1", "a"]], "not a matrix of numbers"),
        ([1, 1, 1], r"a row for each map, a column for each level, got \(3,\)"),
    ],
)
def test_blocks_that_are_no_tree_are_refused(blocks, message):
    with pytest.raises(ValueError, match=message):
        block_tree(blocks)


def test_ranks_and_labels_that_do_not_fit_are_refused():
    tree = block_tree([[1]] * 3)
    with pytest.raises(ValueError, match="ranks are from 0 to 5, got 4 to 6"):
        tree.unrank([0, 1, 2], [4, 6])
    with pytest.raises(ValueError, match="2 labels but blocks of 3 maps"):
        tree.count([0, 1])
    with pytest.raises(ValueError, match="do not fit 64-bit"):
        block_tree([[1]] * 21).unrank(range(21), [0])
