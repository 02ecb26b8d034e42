"""Height thresholds and adjusted p values under multiple testing.

p values travel as natural logarithms, so very small ones keep their order. Inclusion is
p <= alpha and z >= threshold everywhere. The p of one family come without NaN: the mask is the
caller's.
"""

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from nipype_group.controls import check_alpha, height_control
from nipype_group.registry import loaded
from nipype_group.stats.elementary import exp, log

# p above it estimate the share of true nulls; 1/2 is the usual choice since Storey (2002).
STOREY_LAMBDA = 0.5

# Below m p = exp(-40) the adjusted p of Sidak is m p to the last digit.
_SIDAK_LINEAR = -40.0


def check_log_p(log_p: ArrayLike) -> np.ndarray:
    """Return log p as a float array.

    Raises
    ------
    ValueError
        Where there is none, where one is NaN, or where one is above 0 and so no logarithm of p.

    Examples
    --------
    >>> check_log_p([0.02, 0.5])
    Traceback (most recent call last):
    ...
    ValueError: log p is at most 0, got 0.5; pass the natural logarithm of p
    """
    log_p = np.asarray(log_p, dtype=float)
    if log_p.size == 0:
        raise ValueError("there is no p value to adjust; the mask is empty")
    n_missing = np.count_nonzero(np.isnan(log_p))
    if n_missing:
        raise ValueError(
            f"{n_missing} of {log_p.size} p values are NaN; leave those tests out of the mask"
        )
    if log_p.max() > 0:
        raise ValueError(
            f"log p is at most 0, got {log_p.max():g}; pass the natural logarithm of p"
        )
    return log_p


def _log1mexp(x):
    """Return log(1 - exp(x)) for x <= 0 without cancellation (Maechler 2012)."""
    with np.errstate(divide="ignore"):
        near = log(-special.expm1(np.maximum(x, -log(2))))
        far = special.log1p(-exp(np.minimum(x, -log(2))))
    return np.where(x > -log(2), near, far)


def _in_order(step):
    """Turn a function of ascending log p into one of log p in any order."""

    def adjusted(log_p, *args):
        log_p = check_log_p(log_p)
        order = np.argsort(log_p, kind="stable")
        result = np.empty_like(log_p)
        result[order] = np.minimum(step(log_p[order], *args), 0.0)
        return result

    return adjusted


def _step_up(ordered, factor=1.0):
    """Return Benjamini and Hochberg's adjusted p times a factor, for ascending log p."""
    m = ordered.size
    scaled = ordered + log(m * factor / np.arange(1, m + 1))
    return np.minimum.accumulate(scaled[::-1])[::-1]


def adjust_bonferroni(log_p: ArrayLike) -> np.ndarray:
    """Return log adjusted p: p times the number of tests, at most 1 (Dunn 1961)."""
    log_p = check_log_p(log_p)
    return np.minimum(log_p + log(log_p.size), 0.0)


def adjust_sidak(log_p: ArrayLike) -> np.ndarray:
    """Return log adjusted p: 1 - (1 - p)^m, exact for independent tests (Sidak 1967).

    Examples
    --------
    >>> np.exp(adjust_sidak(np.log([0.01, 0.5]))).round(4).tolist()
    [0.0199, 0.75]
    """
    log_p = check_log_p(log_p)
    linear = log_p + log(log_p.size)
    return np.where(linear < _SIDAK_LINEAR, linear, _log1mexp(log_p.size * _log1mexp(log_p)))


def adjust_holm(log_p: ArrayLike) -> np.ndarray:
    """Return log adjusted p of the step-down procedure of Holm (1979).

    Examples
    --------
    >>> np.exp(adjust_holm(np.log([0.01, 0.02, 0.03, 0.5]))).round(4).tolist()
    [0.04, 0.06, 0.06, 0.5]
    """

    def step_down(ordered):
        return np.maximum.accumulate(ordered + log(np.arange(ordered.size, 0, -1)))

    return _in_order(step_down)(log_p)


@numba.njit(nogil=True, cache=True)
def _lowest_slopes(ordered, log_k):
    """Return min over t >= s of log p_t - log(t - s + 1), for every s; ascending log p.

    The t of the minimum never falls as s rises, so it is searched between those of the rows on
    both sides that are known already: m log m steps in all.
    """
    m = ordered.size
    where = np.empty(m, np.int64)
    lowest = np.empty(m)
    stride = 1
    while stride < m:
        stride *= 2
    while stride >= 1:
        for s in range(stride - 1, m, 2 * stride):
            first = max(s, where[s - stride]) if s >= stride else s
            last = where[s + stride] if s + stride < m else m - 1
            best = first
            value = ordered[first] - log_k[first - s]
            for t in range(first + 1, last + 1):
                candidate = ordered[t] - log_k[t - s]
                if candidate < value:
                    best, value = t, candidate
            where[s], lowest[s] = best, value
        stride //= 2
    return lowest


def adjust_hommel(log_p: ArrayLike) -> np.ndarray:
    """Return log adjusted p of Hommel (1988): closed testing with the test of Simes.

    Hommel's h falls to k where alpha reaches S_(k+1), the p of Simes of the k + 1 largest p, and
    a test is rejected where h p <= alpha: adjusted p = min over k of max(k p, S_(k+1)) (Meijer,
    Krebs and Goeman 2019). Order m log m. Valid where Simes' inequality holds:
    independence or positive dependence.

    Examples
    --------
    >>> np.exp(adjust_hommel(np.log([0.01, 0.02, 0.03, 0.5]))).round(4).tolist()
    [0.04, 0.045, 0.06, 0.5]
    """

    def closed(ordered):
        m = ordered.size
        log_k = log(np.arange(1, m + 1))
        simes = log_k + _lowest_slopes(ordered, log_k)[::-1]
        # In exact arithmetic S never rises with k.
        simes = np.maximum.accumulate(simes[::-1])[::-1]
        # The first k with k p >= S_(k+1); k = m has no S_(m+1).
        turning = np.r_[simes[1:] - log_k[:-1], -np.inf]
        k = np.searchsorted(-turning, -ordered, side="left")
        return np.minimum(log_k[k] + ordered, simes[k])

    return _in_order(closed)(log_p)


def adjust_fdr(log_p: ArrayLike) -> np.ndarray:
    """Return log adjusted p of the step-up procedure of Benjamini and Hochberg (1995).

    Examples
    --------
    >>> np.exp(adjust_fdr(np.log([0.01, 0.02, 0.03, 0.5]))).round(4).tolist()
    [0.04, 0.04, 0.04, 0.5]
    """
    return _in_order(_step_up)(log_p)


def adjust_fdr_by(log_p: ArrayLike) -> np.ndarray:
    """Return log adjusted p of Benjamini and Yekutieli (2001): BH times 1 + 1/2 + ... + 1/m.

    Valid under any dependence.

    Examples
    --------
    >>> np.exp(adjust_fdr_by(np.log([0.01, 0.02, 0.03, 0.5]))).round(4).tolist()
    [0.0833, 0.0833, 0.0833, 1.0]
    """
    log_p = check_log_p(log_p)
    return _in_order(_step_up)(log_p, (1 / np.arange(1, log_p.size + 1)).sum())


def adjust_fdr_bky(log_p: ArrayLike, alpha: float | None = None) -> np.ndarray:
    """Return log adjusted p of the two-stage procedure of Benjamini, Krieger, Yekutieli (2006).

    BH at a = alpha / (1 + alpha) rejects r tests; BH at a m / (m - r) decides (Definition 6), so
    where most tests are rejected an adjusted p may lie below p.

    Parameters
    ----------
    log_p : array, shape (m,)
        Natural logarithm of p.
    alpha : float, optional
        Without it, an adjusted p is the smallest alpha that rejects the test. With it, it is the
        BH p times (1 + alpha) (m - r) / m, as in statsmodels: valid at this alpha alone.

    Examples
    --------
    >>> p = np.log([0.01, 0.02, 0.03, 0.5])
    >>> np.exp(adjust_fdr_bky(p)).round(4).tolist()
    [0.0417, 0.0417, 0.0417, 0.1429]
    >>> np.exp(adjust_fdr_bky(p, alpha=0.05)).round(3).tolist()
    [0.01, 0.01, 0.01, 0.131]
    """

    def smallest_alpha(ordered):
        bh = _step_up(ordered)
        m = bh.size
        # a = min over r of max(bh (m - r) / m, bh_(r)), bh_(0) = 0; r is the first where the
        # second is the larger.
        remaining = log(np.arange(m, 0, -1) / m)
        turning = np.r_[-np.inf, bh[:-1] - remaining[1:], np.inf]
        r = np.maximum(np.searchsorted(turning, bh, side="left"), 1)
        a = np.minimum(bh[r - 1], bh + remaining[r - 1])
        return a - _log1mexp(np.minimum(a, log(0.5)))

    def at_alpha(ordered):
        bh = _step_up(ordered)
        r = np.count_nonzero(bh <= log(alpha) - special.log1p(alpha))
        share = (bh.size - r) / bh.size if r < bh.size else 1.0
        return bh + log(share) + special.log1p(alpha)

    if alpha is None:
        return _in_order(smallest_alpha)(log_p)
    check_alpha(alpha)
    return _in_order(at_alpha)(log_p)


def adjust_fdr_storey(log_p: ArrayLike) -> np.ndarray:
    """Return log adjusted p of Storey, Taylor and Siegmund (2004): BH times the share of nulls.

    The share is (1 + #{p > 1/2}) / (m / 2): the finite-sample form of their Theorem 3, with 1
    added and without a limit at 1. As it asks, no p above 1/2 is ever rejected: its adjusted p
    is 1.

    Examples
    --------
    >>> np.exp(adjust_fdr_storey(np.log([0.01, 0.02, 0.03, 0.5]))).round(4).tolist()
    [0.02, 0.02, 0.02, 0.25]
    """

    def adaptive(ordered):
        above = ordered > log(STOREY_LAMBDA)
        share = (1 + above.sum()) / (ordered.size * (1 - STOREY_LAMBDA))
        n_below = ordered.size - above.sum()
        adjusted = np.zeros_like(ordered)
        # BH counts all m tests, so the factor takes back that these are n_below.
        if n_below:
            adjusted[:n_below] = _step_up(ordered[:n_below], share * ordered.size / n_below)
        return adjusted

    return _in_order(adaptive)(log_p)


def adjust(log_p: ArrayLike, control: str) -> np.ndarray:
    """Return log adjusted p under a height control; "none" and "fpr" adjust nothing.

    Parameters
    ----------
    log_p : array, shape (m,)
        Natural logarithm of the p values of all tests.
    control : str
        Name of a height control but rft, which looks at a field.

    Returns
    -------
    array, shape (m,)
        A test is rejected at alpha where this is <= log alpha.

    Raises
    ------
    ValueError
        Where the control is unknown, or p are no logarithms or NaN.
    """
    return loaded(height_control(control).adjust)(log_p)


def adjust_together(log_ps: Sequence[np.ndarray], control: str) -> list[np.ndarray]:
    """Return log adjusted p of several maps as one family.

    Parameters
    ----------
    log_ps : sequence of array, shape (m_i,)
        Natural logarithm of the p values of each map.
    control : str
        As of `adjust`.

    Returns
    -------
    list of array, shape (m_i,)

    Examples
    --------
    >>> p = [np.log([0.01, 0.5]), np.log([0.02, 0.03])]
    >>> [np.exp(each).round(4).tolist() for each in adjust_together(p, "fdr")]
    [[0.04, 0.5], [0.04, 0.04]]
    """
    ends = np.cumsum([len(each) for each in log_ps])
    adjusted = adjust(np.concatenate(log_ps), control)
    return np.split(adjusted, ends[:-1])


def uncorrected_level(alpha: float, n_tests: int) -> float:
    """Return the p of a threshold that looks at every test alone."""
    return alpha


def bonferroni_level(alpha: float, n_tests: int) -> float:
    """Return the p of Bonferroni's threshold (Dunn 1961)."""
    return alpha / n_tests


def sidak_level(alpha: float, n_tests: int) -> float:
    """Return the p of the threshold that is exact for independent tests (Sidak 1967)."""
    return -special.expm1(special.log1p(-alpha) / n_tests)


def z_threshold(z: np.ndarray, log_p: np.ndarray, control: str, alpha: float, tail: str) -> float:
    """Return the z that a voxel must reach, inf where no value of the data suffices.

    Fixed thresholds (fpr, bonferroni, sidak) follow from alpha and the number of tests. The
    others depend on the data: the smallest z that survives, abs(z) where the test is two-sided,
    -z where the tail is negative.

    Parameters
    ----------
    z, log_p : array, shape (m,)
        z values and the logarithm of their p values under the tail.
    control : str
        Name of a height control but none and rft.
    alpha : float
        Error rate, between 0 and 1.
    tail : {"two-sided", "positive", "negative"}
        Side that counts.

    Examples
    --------
    >>> z = np.zeros(75919)
    >>> p = np.full(75919, np.log(0.5))
    >>> round(float(z_threshold(z, p, "bonferroni", 0.05, "positive")), 4)
    4.8371
    """
    check_alpha(alpha)
    log_p = check_log_p(log_p)
    if control == "none":
        raise ValueError(f"height control {control!r} has no threshold that alpha decides")
    level = height_control(control).level
    if level is not None:
        p = loaded(level)(alpha, log_p.size)
        return float(-special.ndtri(p / (2 if tail == "two-sided" else 1)))
    survivors = z[adjust(log_p, control) <= log(alpha)]
    height = {"two-sided": np.abs(survivors), "positive": survivors, "negative": -survivors}[tail]
    return float(height.min()) if height.size else np.inf
