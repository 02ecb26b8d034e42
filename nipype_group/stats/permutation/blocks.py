"""Exchangeability blocks of any depth: which maps may change places or signs together.

Blocks are those of Winkler et al. 2015 (NeuroImage 123:253) and of PALM's -eb file. In this
module a position is a place in the order of the tree, sub-block after sub-block, so that every
block is a range of positions; a row is a place in the order of the data.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nipype_group.stats.permutation.arrangements import (
    RANKED_LIMIT,
    count_arrangements,
    rank_arrangement,
    unrank_arrangements,
)


class Branch(NamedTuple):
    """A block with two sub-blocks or more.

    Parameters
    ----------
    exchanges : bool
        Whether its sub-blocks may change places as wholes.
    starts : int array, shape (c,)
        First position of each sub-block.
    stop : int
        Position after its last.
    """

    exchanges: bool
    starts: np.ndarray
    stop: int

    @property
    def size(self) -> int:
        """Number of maps."""
        return self.stop - int(self.starts[0])


@dataclass(frozen=True, eq=False)
class BlockTree:
    """Permitted permutations and sign flips; `block_tree` builds one.

    Parameters
    ----------
    rows : int32 array, shape (n,)
        Row at each position.
    branches : list of Branch
        Every block after those inside it.
    flip_units : int array, shape (n,)
        Rows that keep one common sign share a number, counted in the order of the rows.
    """

    rows: np.ndarray
    branches: list
    flip_units: np.ndarray

    @property
    def n_maps(self) -> int:
        """Number of maps."""
        return len(self.rows)

    @cached_property
    def orbits(self) -> np.ndarray:
        """Rows that some permitted permutation exchanges share a number, shape (n,)."""
        like = np.arange(self.n_maps)
        for branch in self.branches:
            if branch.exchanges:
                first, second = branch.starts[:2]
                like[first : branch.stop] = np.tile(like[first:second], len(branch.starts))
        return _in_row_order(self.rows, like)

    @cached_property
    def _rounds(self):
        """Positions of exchanging blocks of one shape, shape (blocks, sub-blocks, maps).

        From small to large. Any order would make all permutations equally likely; this one
        fixes which permutation belongs to which keys.
        """
        shapes = {}
        for branch in self.branches:
            if branch.exchanges:
                shape = (branch.size, len(branch.starts))
                shapes.setdefault(shape, []).append(branch.starts[0])
        return [
            np.asarray(starts)[:, None, None] + np.arange(size).reshape(parts, -1)
            for (size, parts), starts in sorted(shapes.items())
        ]

    @property
    def n_keys(self) -> int:
        """Number of keys that order all sub-blocks which may change places."""
        return sum(places.shape[0] * places.shape[1] for places in self._rounds)

    def shuffled(self, keys: np.ndarray) -> np.ndarray:
        """Return the permutations that put sub-blocks in the order of random keys.

        Parameters
        ----------
        keys : uint64 array, shape (m, n_keys)
            Independent and uniform over 64 bits, then every permitted permutation is equally
            likely.

        Returns
        -------
        int32 array, shape (m, n)
            Row r of the shuffled design is row order[r].

        Examples
        --------
        >>> tree = block_tree([[1, -1], [1, -1], [1, -2], [1, -2]])
        >>> tree.shuffled(np.array([[5 << 60, 3 << 60], [3 << 60, 5 << 60]], dtype=np.uint64))
        array([[2, 3, 0, 1],
               [0, 1, 2, 3]], dtype=int32)
        """
        moved = np.tile(np.arange(self.n_maps, dtype=np.int32), (len(keys), 1))
        used = 0
        for places in self._rounds:
            blocks, parts, _ = places.shape
            own = keys[:, used : used + blocks * parts].reshape(-1, blocks, parts)
            used += blocks * parts
            # The lowest bits hold the number of the sub-block: sorting values is faster than
            # sorting indices, and no two are equal, so any sorting algorithm gives one order.
            number = np.uint64((1 << (parts - 1).bit_length()) - 1)
            tagged = (own & ~number) | np.arange(parts, dtype=np.uint64)
            tagged.sort(axis=-1)
            _move(moved, places, (tagged & number).astype(np.intp))
        return self._orders(moved)

    def count(self, labels: ArrayLike) -> int:
        """Return the number of distinct arrangements of the labels, an exact integer.

        Parameters
        ----------
        labels : int array, shape (n,)
            Maps with one label cannot be told apart.

        Examples
        --------
        >>> block_tree([[-1, 1], [-1, 1], [-1, 2], [-1, 2]]).count([0, 1, 0, 1])
        4
        >>> block_tree([[1, -1], [1, -1], [1, -2], [1, -2]]).count([0, 1, 0, 1])
        1
        """
        return prod(count_arrangements(counts) for _, _, counts in self._choices(labels))

    def unrank(self, labels: ArrayLike, ranks: ArrayLike) -> np.ndarray:
        """Return permutations that reach every distinct arrangement of the labels once.

        Parameters
        ----------
        labels : int array, shape (n,)
            Maps with one label cannot be told apart.
        ranks : int64 array, shape (m,)
            From 0, the identity, to `count(labels)` - 1.

        Returns
        -------
        int32 array, shape (m, n)
            Row r of the shuffled design is row order[r]. Sub-blocks that cannot be told apart
            stay in order.

        Raises
        ------
        ValueError
            Where a rank is out of range, or there are 2^63 arrangements or more.

        Examples
        --------
        >>> block_tree([[1], [1], [1]]).unrank([0, 0, 1], [0, 1, 2])
        array([[0, 1, 2],
               [0, 2, 1],
               [2, 0, 1]], dtype=int32)
        """
        choices = list(self._choices(labels))
        sizes = [count_arrangements(counts) for _, _, counts in choices]
        ranks = np.asarray(ranks, dtype=np.int64)
        if prod(sizes) >= RANKED_LIMIT:
            raise ValueError("2^63 arrangements or more: their ranks do not fit 64-bit integers")
        if ((ranks < 0) | (ranks >= prod(sizes))).any():
            raise ValueError(
                f"ranks are from 0 to {prod(sizes) - 1}, got {ranks.min()} to {ranks.max()}"
            )
        moved = np.tile(np.arange(self.n_maps, dtype=np.int32), (len(ranks), 1))
        for (branch, forms, counts), size in zip(choices, sizes, strict=True):
            if size == 1:
                continue
            ranks, digit = np.divmod(ranks, size)
            # Ranks count from the order that the data came in, so rank 0 changes nothing.
            digit -= size - rank_arrangement(forms.tolist(), len(counts))
            digit[digit < 0] += size
            arrangement = unrank_arrangements(counts, digit)
            parts = np.empty_like(arrangement)
            waiting = np.argsort(forms, kind="stable")[None]
            np.put_along_axis(parts, np.argsort(arrangement, axis=1, kind="stable"), waiting, 1)
            places = np.arange(branch.starts[0], branch.stop).reshape(1, len(forms), -1)
            _move(moved, places, parts[:, None])
        return self._orders(moved)

    def _choices(self, labels):
        """Yield each exchanging block, the forms of its sub-blocks and how often each occurs.

        Sub-blocks have one form where permitted permutations inside them make their labels
        equal. A form is a number that tells it from those of blocks of the same structure.
        """
        labels = np.asarray(labels)
        if labels.shape != (self.n_maps,):
            raise ValueError(f"{labels.size} labels but blocks of {self.n_maps} maps")
        form = np.unique(labels[self.rows], return_inverse=True)[1]
        numbers = {}
        for branch in self.branches:
            own = form[branch.starts]
            if branch.exchanges:
                _, ranked, counts = np.unique(own, return_inverse=True, return_counts=True)
                yield branch, ranked, counts.tolist()
                own.sort()
            # The form of a block stands at its first position. A block with a single sub-block
            # is no branch: it starts at the same position and has the same form.
            form[branch.starts[0]] = numbers.setdefault(own.tobytes(), len(numbers))

    def _orders(self, moved):
        """Turn the position whose map comes to each position into rows."""
        if (self.rows[1:] > self.rows[:-1]).all():
            return moved
        orders = np.empty_like(moved)
        orders[:, self.rows] = self.rows[moved]
        return orders


def _move(moved, places, parts):
    """Put sub-block parts[:, b, j] of block b at its place j, in each of m permutations."""
    if places.size == moved.shape[1] == parts.shape[2]:
        moved[:] = parts[:, 0]
        return
    blocks = moved[:, places]
    moved[:, places] = np.take_along_axis(blocks, parts[..., None], axis=2)


def _in_row_order(rows, numbers):
    """Renumber what positions share from 0, in the order in which the rows meet it."""
    by_row = np.empty_like(numbers)
    by_row[rows] = numbers
    _, first, inverse = np.unique(by_row, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first, kind="stable"), kind="stable")[inverse]


def block_tree(blocks: ArrayLike) -> BlockTree:
    """Build the tree of exchangeability blocks.

    Parameters
    ----------
    blocks : int array, shape (n, levels)
        Row i names the blocks that map i is in, from the outermost to the innermost; the first
        column holds one value. A positive index lets the sub-blocks of the block, which are its
        blocks in the next column, change places as wholes; a negative one keeps them in place.
        Sub-blocks follow each other by the size of their index, which may restart in every
        parent. Where the last column leaves several maps in a block, they are its last
        sub-blocks in the order of the rows; where it tells all maps apart, they are its blocks
        and its signs say nothing. Nor does the sign of a block with a single sub-block say
        anything about permutation.

    Returns
    -------
    BlockTree
        The sub-blocks of the topmost positive block on the way to a map are its flip unit; a
        map below none flips alone.

    Raises
    ------
    ValueError
        Where the matrix is no such tree, or sub-blocks that may change places differ in the
        number or sign of what they hold.

    Examples
    --------
    All maps change places; those of a block; whole blocks; both.

    >>> block = [1, 1, 2, 2]
    >>> block_tree([[1] for b in block]).count(range(4))
    24
    >>> block_tree([[-1, b] for b in block]).count(range(4))
    4
    >>> block_tree([[1, -b] for b in block]).count(range(4))
    2
    >>> block_tree([[1, b] for b in block]).count(range(4))
    8
    """
    blocks = _checked(blocks)
    n = len(blocks)
    rows = np.lexsort(np.abs(blocks).T[::-1])
    ordered = blocks[rows]
    begins = np.ones(ordered.shape, dtype=bool)
    begins[1:] = np.abs(ordered[1:]) != np.abs(ordered[:-1])
    begins = np.logical_or.accumulate(begins, axis=1)
    mixed = np.argwhere(~begins[1:] & (ordered[1:] != ordered[:-1]))
    if len(mixed):
        position, level = mixed[0]
        raise ValueError(
            f"blocks: index {abs(ordered[position, level])} of column {level + 1} is positive in "
            f"some rows and negative in others of one block (rows {rows[position] + 1} and "
            f"{rows[position + 1] + 1})"
        )
    if not begins[:, -1].all():
        begins = np.column_stack([begins, np.ones(n, dtype=bool)])
    levels = len(begins.T) - 1
    structure = np.zeros(n, dtype=np.intp)
    branches: list[Branch] = []
    numbers: dict[tuple[int, bool, bytes], int] = {}
    for level in range(levels - 1, -1, -1):
        inner = np.flatnonzero(begins[:, level + 1])
        bounds = np.searchsorted(inner, [*np.flatnonzero(begins[:, level]), n])
        for b in np.flatnonzero(np.diff(bounds) > 1):
            starts = inner[bounds[b] : bounds[b + 1]]
            stop = inner[bounds[b + 1]] if bounds[b + 1] < len(inner) else n
            branch = Branch(bool(ordered[starts[0], level] > 0), starts, int(stop))
            own = structure[starts]
            if branch.exchanges and (own != own[0]).any():
                raise ValueError(_unequal(ordered, level, branch, int(np.argmax(own != own[0]))))
            key = (level, branch.exchanges, own.tobytes())
            structure[starts[0]] = numbers.setdefault(key, len(numbers) + 1)
            branches.append(branch)
    return BlockTree(rows.astype(np.int32), branches, _flip_units(ordered, begins, rows))


def _flip_units(ordered, begins, rows):
    """Return the number of each row's flip unit; its first position stands for it."""
    unit = np.arange(len(rows))
    free = np.ones(len(rows), dtype=bool)
    for level in range(begins.shape[1] - 1):
        topmost = free & (ordered[:, level] > 0)
        if topmost.any():
            first = np.maximum.accumulate(np.where(begins[:, level + 1], np.arange(len(rows)), 0))
            unit[topmost] = first[topmost]
            free &= ~topmost
    return _in_row_order(rows, unit)


def _checked(blocks: ArrayLike) -> np.ndarray:
    """Return the matrix as integers, or say which entry is none of a block."""
    try:
        given = np.asarray(blocks, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("blocks: not a matrix of numbers, the same number in each row") from error
    if given.ndim != 2 or 0 in given.shape:
        raise ValueError(f"blocks: a row for each map, a column for each level, got {given.shape}")
    # Beyond 2^53 neighbouring integers are one float.
    wrong = np.argwhere((given != np.round(given)) | (given == 0) | ~(np.abs(given) <= 2.0**53))
    if len(wrong):
        row, level = wrong[0]
        raise ValueError(
            f"blocks: row {row + 1} of column {level + 1} is {given[row, level]:g}; "
            "indices are integers other than 0"
        )
    first = given[:, 0]
    if (first != first[0]).any():
        other = int(np.argmax(first != first[0]))
        raise ValueError(
            "blocks: the first column is one block of all maps, but holds "
            f"{first[0]:g} in row 1 and {first[other]:g} in row {other + 1}"
        )
    return given.astype(np.int64)


def _unequal(ordered, level, branch, other):
    """Say which sub-blocks of a block cannot change places."""
    ends = [*branch.starts[1:], branch.stop]
    sizes = [int(ends[i] - branch.starts[i]) for i in (0, other)]
    one, two = (int(ordered[branch.starts[i], level + 1]) for i in (0, other))
    why = (
        f"hold {sizes[0]} and {sizes[1]} maps"
        if sizes[0] != sizes[1]
        else "are divided in different ways further down"
    )
    path = "/".join(str(b) for b in ordered[branch.starts[0], : level + 1])
    return (
        f"blocks: sub-blocks {one} and {two} (column {level + 2}) of block {path} (column "
        f"{level + 1}) may change places but {why}; make the block negative, or the sub-blocks "
        "alike"
    )
