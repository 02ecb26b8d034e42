"""Which shuffle is shuffle k: enumeration, sampling without repeats, counter-based sampling.

Shuffle k depends on the scheme and k alone, so any range of shuffles can be computed anywhere.
Shuffle 0 leaves the data as they are.
"""

from dataclasses import dataclass, field
from functools import cached_property
from math import comb

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nipype_group.stats.permutation.arrangements import RANKED_LIMIT
from nipype_group.stats.permutation.blocks import BlockTree, block_tree

KINDS = ("permute", "flip", "both")
# Shuffles are drawn by a counter in blocks of this many, or fewer where there are many maps: a
# block holds at most about so many keys. Other values give other shuffles.
_BLOCK_SHUFFLES = 256
_BLOCK_KEYS = 2**22
# Four rounds of random functions are enough in theory (Luby and Rackoff 1988); the rest is for
# ranges so small that a round has but a few bits to work on.
_ROUNDS = 12
# Increment and factors of splitmix64 (Steele, Lea and Flood 2014).
_GOLDEN = 0x9E3779B97F4A7C15
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def _mixed(words):
    """Return well mixed 64-bit words: the finaliser of splitmix64."""
    words = (words ^ (words >> np.uint64(30))) * _FACTORS[0]
    words = (words ^ (words >> np.uint64(27))) * _FACTORS[1]
    return words ^ (words >> np.uint64(31))


def keyed_permutation(values: ArrayLike, size: int, seed: int) -> np.ndarray:
    """Map [0, size) onto itself by a pseudo-random permutation.

    A Feistel network whose halves differ by at most a bit, walked along its cycles until the
    value is in range (Black and Rogaway 2002).

    Parameters
    ----------
    values : int array, shape (m,)
        From 0 to `size` - 1.
    size : int
        At most 2^63.
    seed : int
        Key, 0 to 2^64 - 1.

    Returns
    -------
    int64 array, shape (m,)
        The values that they are mapped to.

    Examples
    --------
    >>> sorted(keyed_permutation(np.arange(100), 100, seed=3)) == list(range(100))
    True
    """
    values = np.array(values, dtype=np.uint64)
    bits = max((size - 1).bit_length(), 2)
    low = np.uint64(bits // 2)
    high = np.uint64(bits) - low
    seeds = [(seed + (i + 1) * _GOLDEN) % 2**64 for i in range(_ROUNDS)]
    keys = _mixed(np.array(seeds, dtype=np.uint64))
    beyond = np.arange(len(values))
    while len(beyond):
        left = values[beyond] >> low
        right = values[beyond] & np.uint64((1 << int(low)) - 1)
        for step in range(0, _ROUNDS, 2):
            left ^= _mixed(right ^ keys[step]) >> (np.uint64(64) - high)
            right ^= _mixed(left ^ keys[step + 1]) >> (np.uint64(64) - low)
        values[beyond] = (left << low) | right
        beyond = beyond[values[beyond] >= np.uint64(size)]
    return values.astype(np.int64)


@dataclass(frozen=True)
class ShufflingScheme:
    """All that decides what shuffle k is.

    Parameters
    ----------
    kind : {"permute", "flip", "both"}
        Reorder maps, flip their signs, or both.
    labels : tuple of int
        Maps with one label have equal rows in the design: exchanging them changes nothing.
    blocks : tuple of tuple of int
        Rows of the exchangeability blocks, as in `block_tree`; none lets all maps change
        places.
    seed : int
        Key of the sampling, 0 to 2^64 - 1.
    exhaustive : bool
        Shuffle k is the k-th of all distinct shuffles.
    given : int array, shape (N, n), optional
        The shuffles themselves, a row each, instead of any of the above: all 1 and -1 for
        "flip", all permutations of 1 to n for "permute"; row 0 leaves the data as they are.

    Raises
    ------
    ValueError
        Where these do not fit each other.

    Examples
    --------
    >>> scheme = ShufflingScheme("permute", (0, 0, 1, 1), exhaustive=True)
    >>> scheme.n_distinct
    6
    >>> scheme.draw(0, 3)[0]
    array([[0, 1, 2, 3],
           [0, 2, 1, 3],
           [0, 2, 3, 1]], dtype=int32)
    """

    kind: str
    labels: tuple
    blocks: tuple = ()
    seed: int = 0
    exhaustive: bool = False
    given: np.ndarray | None = field(default=None, compare=False, repr=False)

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"shuffling is one of {', '.join(KINDS)}, got {self.kind!r}")
        if not self.labels:
            raise ValueError("there are no maps to shuffle")
        if self.blocks and len(self.labels) != len(self.blocks):
            raise ValueError(f"{len(self.labels)} labels but {len(self.blocks)} rows of blocks")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed is an integer from 0 to 2^64 - 1, got {self.seed}")
        if self.given is not None:
            _check_given(self.kind, np.asarray(self.given), self.n_maps)
        elif self.blocks:
            # Blocks that make no tree are refused here.
            _ = self.tree

    @property
    def n_maps(self) -> int:
        """Number of maps."""
        return len(self.labels)

    @cached_property
    def tree(self) -> BlockTree:
        """Tree of the exchangeability blocks."""
        return block_tree(self.blocks or np.ones((self.n_maps, 1)))

    @cached_property
    def n_flip_units(self) -> int:
        """Number of groups of maps that keep one common sign."""
        return int(self.tree.flip_units.max()) + 1

    @cached_property
    def _n_orders(self):
        return 1 if self.kind == "flip" else self.tree.count(self.labels)

    @cached_property
    def n_distinct(self) -> int:
        """Number of shuffles that the design can tell apart, an exact integer.

        Of given shuffles, their number.
        """
        if self.given is not None:
            return len(self.given)
        return self._n_orders * (1 if self.kind == "permute" else 2**self.n_flip_units)

    @property
    def sampling(self) -> str:
        """How shuffle k is found, "given", "enumerated", "without repeats" or "counter"."""
        if self.given is not None:
            return "given"
        if self.exhaustive:
            return "enumerated"
        return "without repeats" if self.n_distinct < RANKED_LIMIT else "counter"

    def chance_of_repeat(self, n_shuffles: int) -> float:
        """Return the chance that any two of the shuffles are equal (birthday bound)."""
        if self.sampling != "counter":
            return 0.0
        return min(1.0, comb(n_shuffles + 1, 2) / self.n_distinct)

    def draw(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Return shuffles first to last - 1.

        Parameters
        ----------
        first, last : int
            Numbers of shuffles; 0 is the identity. Counted sampling computes the blocks of up
            to 256 shuffles that they are in, so a range costs less than its shuffles one by one.

        Returns
        -------
        orders : int32 array, shape (m, n)
            Row r of the shuffled design is row order[r].
        signs : int8 array, shape (m, n)
            Factor of each row of the shuffled design.

        Raises
        ------
        ValueError
            Where there are no such shuffles.
        """
        if not 0 <= first <= last:
            raise ValueError(f"shuffles {first} to {last}: numbers count up from 0")
        if self.sampling == "counter":
            return self._from_counter(first, last)
        if self.given is None and self.n_distinct >= RANKED_LIMIT:
            raise ValueError("2^63 distinct shuffles or more cannot be enumerated")
        if last > self.n_distinct:
            raise ValueError(f"shuffle {last - 1} of {self.n_distinct} distinct ones")
        numbers = np.arange(first, last, dtype=np.int64)
        if self.given is not None:
            return self._from_table(numbers)
        if not self.exhaustive:
            later = numbers > 0
            numbers[later] = 1 + keyed_permutation(
                numbers[later] - 1, self.n_distinct - 1, self.seed
            )
        return self._from_ranks(numbers)

    def fixed_directions(self) -> np.ndarray:
        """Return an orthonormal basis of the vectors that every shuffle leaves as they are.

        Returns
        -------
        array, shape (n, b)
            For permutations, a column for each set of maps that change places with each other,
            constant on it; nothing survives flips.
        """
        if self.kind != "permute":
            return np.zeros((self.n_maps, 0))
        orbits = self.tree.orbits if self.given is None else self._given_orbits()
        basis = np.zeros((self.n_maps, orbits.max() + 1))
        basis[np.arange(self.n_maps), orbits] = 1 / np.sqrt(np.bincount(orbits)[orbits])
        return basis

    def _given_orbits(self):
        n = self.n_maps
        exchanged = np.unique(np.arange(n) * n + np.asarray(self.given, dtype=np.int64) - 1)
        links = coo_array((np.ones(len(exchanged)), np.divmod(exchanged, n)), shape=(n, n))
        return connected_components(links, directed=False)[1]

    def _unshuffled(self, m):
        """Return m times the identity."""
        orders = np.tile(np.arange(self.n_maps, dtype=np.int32), (m, 1))
        return orders, np.ones((m, self.n_maps), dtype=np.int8)

    def _from_table(self, numbers):
        orders, signs = self._unshuffled(len(numbers))
        rows = np.asarray(self.given)[numbers]
        if self.kind == "flip":
            return orders, rows.astype(np.int8)
        return (rows - 1).astype(np.int32), signs

    def _from_ranks(self, ranks):
        orders, signs = self._unshuffled(len(ranks))
        ranks, rank_of_order = np.divmod(ranks, self._n_orders)
        if self.kind != "flip":
            orders = self.tree.unrank(self.labels, rank_of_order)
        if self.kind != "permute":
            flipped = ranks[:, None] >> self.tree.flip_units & 1
            signs -= 2 * flipped.astype(np.int8)
        return orders, signs

    def _from_counter(self, first, last):
        """Fill in the absolute blocks that the range meets."""
        orders, signs = self._unshuffled(last - first)
        size = _BLOCK_SHUFFLES
        while size > 1 and size * self.n_maps > _BLOCK_KEYS:
            size //= 2
        for block in range(first // size, -(-last // size)):
            begin, end = max(first, block * size), min(last, (block + 1) * size)
            here = slice(begin - first, end - first)
            own = slice(begin - block * size, end - block * size)
            if self.kind != "flip":
                words = self._words("permute", block, (size, self.tree.n_keys))
                orders[here] = self.tree.shuffled(words[own])
            if self.kind != "permute":
                words = self._words("flip", block, (size, -(-self.n_flip_units // 64)))
                octets = words[own].astype("<u8").view(np.uint8)
                flipped = np.unpackbits(octets, axis=1, bitorder="little").view(np.int8)
                signs[here] -= 2 * flipped.take(self.tree.flip_units, axis=1)
        if first == 0 < last:
            orders[0], signs[0] = np.arange(self.n_maps), 1
        return orders, signs

    def _words(self, purpose, block, shape):
        """Return the random 64-bit words of a block, by (seed, purpose, block) alone."""
        generator = np.random.Philox(
            key=self.seed | KINDS.index(purpose) << 64,
            counter=[0, block % 2**64, block >> 64, 0],
        )
        return generator.random_raw(shape[0] * shape[1]).reshape(shape)


def _check_given(kind, table, n_maps):
    """Refuse a table that does not hold shuffles of this kind, the identity first."""
    if table.ndim != 2 or table.shape[1] != n_maps or not len(table):
        raise ValueError(f"given shuffles: rows of {n_maps} integers, got shape {table.shape}")
    if kind == "flip":
        identity, right = np.ones(n_maps), np.abs(table) == 1
    elif kind == "permute":
        identity = np.arange(1, n_maps + 1)
        right = np.sort(table, axis=1) == identity
    else:
        raise ValueError(f"given shuffles are permutations or flips, not {kind!r}")
    wrong = np.flatnonzero(~right.all(axis=1))
    if len(wrong):
        wanted = "1 and -1" if kind == "flip" else f"a permutation of 1 to {n_maps}"
        raise ValueError(f"given shuffles: row {wrong[0]} is not {wanted}")
    if (table[0] != identity).any():
        raise ValueError("given shuffles: row 0 is not the identity")
