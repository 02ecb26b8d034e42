"""Which shuffle is shuffle k: enumeration, sampling without repeats, counter-based sampling.

Shuffle k depends on the scheme and k alone, so any range of shuffles can be computed anywhere.
Shuffle 0 leaves the data as they are.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from math import comb, factorial, prod

import numpy as np

KINDS = ("permute", "flip")
# Up to here ranks fit 64-bit integers and are drawn without repeats.
_RANKED_LIMIT = 2**63


def count_arrangements(counts):
    """Return the number of distinct orders of a multiset.

    Examples
    --------
    >>> count_arrangements([5, 5])
    252
    """
    return factorial(sum(counts)) // prod(factorial(c) for c in counts)


def unrank_arrangement(counts, rank):
    """Return the arrangement of a multiset with this lexicographic rank.

    Parameters
    ----------
    counts : list of int
        How often each label 0, 1, ... occurs.
    rank : int
        From 0 to `count_arrangements(counts)` - 1.

    Examples
    --------
    >>> [unrank_arrangement([2, 1], r) for r in range(3)]
    [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    """
    counts = list(counts)
    total, remaining, arrangement = count_arrangements(counts), sum(counts), []
    while remaining:
        label, share = 0, total * counts[0] // remaining
        while rank >= share:
            rank -= share
            label += 1
            share = total * counts[label] // remaining
        arrangement.append(label)
        counts[label] -= 1
        total, remaining = share, remaining - 1
    return arrangement


def rank_arrangement(arrangement, n_labels):
    """Return the lexicographic rank of an arrangement; the inverse of `unrank_arrangement`.

    Examples
    --------
    >>> [rank_arrangement(a, 2) for a in ([0, 0, 1], [0, 1, 0], [1, 0, 0])]
    [0, 1, 2]
    """
    counts = np.bincount(arrangement, minlength=n_labels).tolist()
    total, remaining, rank = count_arrangements(counts), sum(counts), 0
    for label in arrangement:
        rank += sum(total * count // remaining for count in counts[:label])
        total = total * counts[label] // remaining
        counts[label] -= 1
        remaining -= 1
    return rank


def keyed_permutation(value, size, seed):
    """Map [0, size) onto itself by a pseudo-random permutation.

    A balanced Feistel network of eight rounds, walked along its cycles until the value is in
    range (Black and Rogaway 2002).

    Examples
    --------
    >>> sorted(keyed_permutation(v, 100, seed=3) for v in range(100)) == list(range(100))
    True
    """
    half = max((size - 1).bit_length() + 1, 2) // 2
    mask = (1 << half) - 1
    key = int(seed).to_bytes(8, "little")
    while True:
        left, right = value >> half, value & mask
        for step in range(8):
            digest = hashlib.blake2b(
                right.to_bytes(8, "little") + bytes([step]), digest_size=8, key=key
            ).digest()
            left, right = right, left ^ (int.from_bytes(digest, "little") & mask)
        value = (left << half) | right
        if value < size:
            return value


@dataclass(frozen=True)
class ShufflingScheme:
    """All that decides what shuffle k is.

    Parameters
    ----------
    kind : {"permute", "flip"}
        Reorder maps within blocks, or flip their signs.
    labels : tuple of int
        Maps with one label have equal rows in the design: exchanging them changes nothing.
    blocks : tuple of int
        Permutation stays within a block.
    seed : int
        Key of the sampling, 0 to 2^64 - 1.
    exhaustive : bool
        Shuffle k is the k-th of all distinct shufflings.
    """

    kind: str
    labels: tuple
    blocks: tuple
    seed: int
    exhaustive: bool = False

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"shuffling is one of {', '.join(KINDS)}, got {self.kind!r}")
        if len(self.labels) != len(self.blocks):
            raise ValueError(f"{len(self.labels)} labels but {len(self.blocks)} blocks")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed is an integer from 0 to 2^64 - 1, got {self.seed}")

    @property
    def n_maps(self):
        """Number of maps."""
        return len(self.labels)

    @cached_property
    def _block_members(self):
        """Row numbers of each block, and the label of each row counted within the block."""
        blocks, labels = np.asarray(self.blocks), np.asarray(self.labels)
        members = [np.flatnonzero(blocks == b) for b in np.unique(blocks)]
        return [(rows, np.unique(labels[rows], return_inverse=True)[1]) for rows in members]

    @cached_property
    def _block_sizes(self):
        return [count_arrangements(np.bincount(own).tolist()) for _, own in self._block_members]

    @cached_property
    def n_distinct(self):
        """Number of shufflings that the design can tell apart, an exact integer."""
        return 2**self.n_maps if self.kind == "flip" else prod(self._block_sizes)

    @property
    def sampling(self):
        """Return how shuffle k is found, "enumerated", "without repeats" or "counter"."""
        if self.exhaustive:
            return "enumerated"
        return "without repeats" if self.n_distinct < _RANKED_LIMIT else "counter"

    def chance_of_repeat(self, n_shuffles):
        """Return the chance that any two of the shuffles are equal (birthday bound)."""
        if self.sampling != "counter":
            return 0.0
        return min(1.0, comb(n_shuffles + 1, 2) / self.n_distinct)

    def draw(self, k):
        """Return shuffle k.

        Parameters
        ----------
        k : int
            Number of the shuffle; 0 is the identity.

        Returns
        -------
        order : int array, shape (n,)
            Row r of the shuffled design is row order[r].
        signs : int8 array, shape (n,)
            Factor of each map.
        """
        if self.sampling == "counter" and k > 0:
            return self._from_counter(k)
        size = self.n_distinct
        if not 0 <= k < size:
            raise ValueError(f"shuffle {k} of {size} distinct ones")
        rank = (
            k if self.exhaustive or k == 0 else 1 + keyed_permutation(k - 1, size - 1, self.seed)
        )
        return self._from_rank(rank)

    def _from_counter(self, k):
        n = self.n_maps
        generator = np.random.Philox(key=self.seed, counter=[0, k & (2**64 - 1), k >> 64, 0])
        if self.kind == "flip":
            words = generator.random_raw((n + 63) // 64)
            bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")[:n]
            return np.arange(n), 1 - 2 * bits.astype(np.int8)
        keys = generator.random_raw(n)
        home = np.argsort(self.blocks, kind="stable")
        order = np.empty(n, dtype=np.intp)
        order[home] = np.lexsort((keys, self.blocks))
        return order, np.ones(n, dtype=np.int8)

    def _from_rank(self, rank):
        n = self.n_maps
        order, signs = np.arange(n), np.ones(n, dtype=np.int8)
        if self.kind == "flip":
            for row in range(n):
                signs[row] -= 2 * (rank >> row & 1)
            return order, signs
        for (rows, own), size in zip(self._block_members, self._block_sizes, strict=True):
            rank, digit = divmod(rank, size)
            counts = np.bincount(own).tolist()
            # Ranks count from the order that the data came in, so rank 0 changes nothing.
            home = rank_arrangement(own.tolist(), len(counts))
            arrangement = unrank_arrangement(counts, (digit + home) % size)
            waiting = [list(rows[own == label]) for label in range(len(counts))]
            order[rows] = [waiting[label].pop(0) for label in arrangement]
        return order, signs
