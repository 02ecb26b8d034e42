"""Count, rank and unrank the distinct orders of a multiset."""

from collections.abc import Sequence
from math import factorial, prod

import numpy as np
from numpy.typing import ArrayLike

# Ranks below this fit 64-bit integers.
RANKED_LIMIT = 2**63


def count_arrangements(counts: Sequence[int]) -> int:
    """Return the number of distinct orders of a multiset, an exact integer.

    Parameters
    ----------
    counts : list of int
        How often each label 0, 1, ... occurs.

    Examples
    --------
    >>> count_arrangements([5, 5])
    252
    """
    return factorial(sum(counts)) // prod(factorial(c) for c in counts)


def unrank_arrangements(counts: Sequence[int], ranks: ArrayLike) -> np.ndarray:
    """Return the arrangements of a multiset with these lexicographic ranks.

    Parameters
    ----------
    counts : list of int
        How often each label 0, 1, ... occurs.
    ranks : int64 array, shape (m,)
        From 0 to `count_arrangements(counts)` - 1.

    Returns
    -------
    int array, shape (m, sum(counts))
        Labels.

    Raises
    ------
    ValueError
        Where a rank is out of range, or there are 2^63 arrangements or more.

    Examples
    --------
    >>> unrank_arrangements([2, 1], [0, 1, 2])
    array([[0, 0, 1],
           [0, 1, 0],
           [1, 0, 0]])
    """
    size, n_places = count_arrangements(counts), sum(counts)
    if size >= RANKED_LIMIT:
        raise ValueError("2^63 arrangements or more: their ranks do not fit 64-bit integers")
    ranks = np.array(ranks, dtype=np.int64)
    if ((ranks < 0) | (ranks >= size)).any():
        raise ValueError(f"ranks are from 0 to {size - 1}, got {ranks.min()} to {ranks.max()}")
    every = np.arange(len(ranks))
    left = np.tile(np.asarray(counts, dtype=np.int64), (len(ranks), 1))
    total = np.full(len(ranks), size)
    arrangements = np.empty((len(ranks), n_places), dtype=np.intp)
    for place in range(n_places):
        # How many arrangements start with each label: total * left / remaining, without the
        # product, which can exceed 64 bits.
        remaining = n_places - place
        quotient, rest = np.divmod(total[:, None], remaining)
        shares = left * quotient + left * rest // remaining
        ends = np.cumsum(shares, axis=1)
        label = (ends <= ranks[:, None]).sum(axis=1)
        total = shares[every, label]
        ranks -= ends[every, label] - total
        left[every, label] -= 1
        arrangements[:, place] = label
    return arrangements


def rank_arrangement(arrangement: Sequence[int], n_labels: int) -> int:
    """Return the lexicographic rank of one arrangement; the inverse of `unrank_arrangements`.

    Parameters
    ----------
    arrangement : list of int
        Labels from 0 to `n_labels` - 1.
    n_labels : int
        Number of labels.

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
