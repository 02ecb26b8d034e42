"""How precise a p value from shuffles is, and when shuffling may stop."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

# More than anyone computes: what they would settle is not settled.
_MOST_SHUFFLES = 1_000_000


def _check_confidence(confidence):
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is a share between 0 and 1, got {confidence:g}")


def p_interval(
    count: ArrayLike, n_shuffles: int, confidence: float = 0.95, exhaustive: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of a p value that endless shuffling would settle on.

    Clopper & Pearson (1934), Biometrika 26:404. The unshuffled maps reach their own statistic
    without chance, so what is random is count - 1 of n_shuffles - 1: a binomial share of the p
    over all possible shuffles. Such an interval holds that p at least as often as asked for.

    Parameters
    ----------
    count : int or array of int
        Shuffles that reach the observed value, the unshuffled one included; p is
        count / n_shuffles.
    n_shuffles : int
        All shuffles, the unshuffled one included; at least 2.
    confidence : float, default 0.95
        Share of such intervals that hold the p.
    exhaustive : bool, default False
        Whether the shuffles are all there are; p is then exact and both ends are p.

    Returns
    -------
    lower, upper : arrays, shape of count
        Ends of the interval.

    Raises
    ------
    ValueError
        If a count is not within 1 and n_shuffles, or confidence is not between 0 and 1.

    Examples
    --------
    >>> lower, upper = p_interval(np.array([1, 240]), 5000)
    >>> lower.round(4).tolist(), upper.round(4).tolist()
    ([0.0, 0.0421], [0.0007, 0.0541])
    """
    _check_confidence(confidence)
    count = np.asarray(count)
    if n_shuffles < 2:
        raise ValueError(f"an interval needs at least 2 shuffles, got {n_shuffles}")
    if count.size and not (count.min() >= 1 and count.max() <= n_shuffles):
        raise ValueError(
            f"counts lie between 1 (the unshuffled maps) and {n_shuffles} shuffles, got "
            f"{count.min():g} to {count.max():g}"
        )
    if exhaustive:
        return count / n_shuffles, count / n_shuffles
    hits, trials = count - 1, n_shuffles - 1
    tail = (1 - confidence) / 2
    # betaincinv has no shape of 0; the ends there are 0 and 1.
    lower = special.betaincinv(np.maximum(hits, 1), trials - hits + 1, tail)
    upper = special.betaincinv(hits + 1, np.maximum(trials - hits, 1), 1 - tail)
    return np.where(hits == 0, 0.0, lower), np.where(hits == trials, 1.0, upper)


def shuffles_to_settle(p: float, alpha: float, confidence: float = 0.95) -> float:
    """Return how many shuffles would tell a p from alpha.

    ``n = z^2 max(p (1 - p), alpha (1 - alpha)) / (p - alpha)^2 + 1 / |p - alpha|``, the normal
    approximation of the interval around p that just leaves alpha out, with the larger of both
    variances and a correction for continuity; rounded up to two significant digits.

    Parameters
    ----------
    p : float
        Estimated p, taken as the true one.
    alpha : float
        Level it is compared with.
    confidence : float, default 0.95
        Confidence of the interval.

    Returns
    -------
    int or float
        Shuffles in all, the unshuffled one included; inf where p is alpha.

    Examples
    --------
    >>> shuffles_to_settle(0.048, 0.05)
    47000
    >>> shuffles_to_settle(0.02, 0.05)
    240
    """
    _check_confidence(confidence)
    for name, value in (("p", p), ("alpha", alpha)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is a probability, got {value:g}")
    distance = abs(p - alpha)
    # p is a ratio of whole numbers and alpha a decimal; equal ones may differ in the last digit.
    if distance <= 1e-12:
        return np.inf
    z = special.ndtri((1 + confidence) / 2)
    needed = z**2 * max(p * (1 - p), alpha * (1 - alpha)) / distance**2 + 1 / distance
    unit = 10.0 ** max(math.floor(math.log10(needed)) - 1, 0)
    return int(np.ceil(needed / unit) * unit)


def _decimal(value):
    """Write a probability to three significant digits, without the leading 0."""
    text = np.format_float_positional(value, precision=3, fractional=False, trim="-")
    return text[1:] if text.startswith("0.") else text


def advice(
    name: str,
    p: float,
    count: int,
    n_shuffles: int,
    alpha: float,
    confidence: float = 0.95,
    exhaustive: bool = False,
) -> str | None:
    """Return a sentence where more shuffles could change the verdict on a result.

    Parameters
    ----------
    name : str
        What has this p ("cluster 2").
    p : float
        Reported p.
    count, n_shuffles : int
        As for `p_interval`.
    alpha : float
        Level of the verdict p <= alpha.
    confidence : float, default 0.95
        Confidence of the interval.
    exhaustive : bool, default False
        Whether the shuffles are all there are, which nothing can add to.

    Returns
    -------
    str or None
        None where the interval leaves alpha out, or p is exact.

    Examples
    --------
    >>> advice("cluster 2", 0.048, 240, 5000, 0.05)
    'cluster 2: p = .048 (95 % interval .0421 to .0541), settled at about 47,000 shuffles'
    >>> advice("cluster 1", 0.001, 5, 5000, 0.05) is None
    True
    """
    lower, upper = p_interval(count, n_shuffles, confidence, exhaustive)
    if exhaustive or not lower <= alpha <= upper:
        return None
    needed = shuffles_to_settle(p, alpha, confidence)
    remedy = (
        f"settled at about {needed:,} shuffles"
        if needed <= _MOST_SHUFFLES
        else f"so near {_decimal(alpha)} that shuffles do not tell on which side it lies"
    )
    return (
        f"{name}: p = {_decimal(p)} ({100 * confidence:g} % interval {_decimal(lower)} to "
        f"{_decimal(upper)}), {remedy}"
    )


def negative_binomial_p(
    counts: ArrayLike, stops: ArrayLike, n_required: int, n_shuffles: int
) -> np.ndarray:
    """Return p of voxels whose shuffling stops once enough shuffles have reached them.

    Besag & Clifford (1991), Biometrika 78:301: p = n_required / stop where the required number of
    exceedances came at shuffle `stop`, else (count + 1) / (n_shuffles + 1). Uninteresting voxels
    stop early, and P(p <= a) <= a under the null all the same.

    Parameters
    ----------
    counts : array of int
        Shuffled maps that reached the observed value, up to the stop; the unshuffled one is left
        out of all numbers here.
    stops : array of int, shape of counts
        Shuffle, from 1, that brought the last required exceedance; ignored where count is less.
    n_required : int
        Exceedances after which a voxel stops.
    n_shuffles : int
        Shuffles at most.

    Returns
    -------
    array, shape of counts

    Raises
    ------
    ValueError
        If a stop lies outside n_required and n_shuffles, or counts outside 0 and n_shuffles.

    Examples
    --------
    >>> negative_binomial_p(np.array([10, 10, 4]), np.array([12, 500, 0]), 10, 999).tolist()
    [0.8333333333333334, 0.02, 0.005]
    """
    counts, stops = np.broadcast_arrays(counts, stops)
    if not 1 <= n_required <= n_shuffles:
        raise ValueError(
            f"the required exceedances lie between 1 and the {n_shuffles} shuffles, "
            f"got {n_required}"
        )
    if ((counts < 0) | (counts > n_shuffles)).any():
        raise ValueError(
            f"counts lie between 0 and {n_shuffles} shuffles, got {counts.min()} to {counts.max()}"
        )
    stopped = counts >= n_required
    wrong = stopped & ((stops < n_required) | (stops > n_shuffles))
    if wrong.any():
        raise ValueError(
            f"a voxel stops between shuffle {n_required} and {n_shuffles}, got {stops[wrong][0]}"
        )
    return np.where(
        stopped, n_required / np.where(stopped, stops, 1), (counts + 1) / (n_shuffles + 1)
    )
