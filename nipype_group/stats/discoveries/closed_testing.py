"""Closed testing with the test of Simes: how many rejections of any set are true, at least.

With probability 1 - alpha the bounds of all sets of tests hold at once (Goeman and Solari 2011;
Goeman, Meijer, Krebs and Solari 2019), where the inequality of Simes does: for independent and
positively dependent tests.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from nipype_group.controls import check_alpha
from nipype_group.stats.elementary import exp, log
from nipype_group.stats.multiple_testing import check_log_p

# p on a bound (i p = j alpha) reach it; so do those that miss it by rounding alone.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Hommel:
    """What the bounds of all regions need to know about the family.

    Parameters
    ----------
    h : int
        Hommel's value: size of the largest set of tests that closed testing does not reject.
    m : int
        Number of tests.
    alpha : float
        Probability that a bound fails anywhere.
    """

    h: int
    m: int
    alpha: float


def hommel_value(log_p: ArrayLike, alpha: float) -> Hommel:
    """Return Hommel's value of a family of tests.

    It is the largest i with i p_(m-i+j) > j alpha for all j = 1..i: the test of Simes does not
    reject the i largest p (Goeman, Meijer, Krebs and Solari 2019). Where it holds for
    i, it holds for every smaller i, so it is found by bisection: order m log m.

    Parameters
    ----------
    log_p : array, shape (m,)
        Natural logarithm of the p of all tests, in any order.
    alpha : float
        Between 0 and 1.

    Returns
    -------
    Hommel

    Examples
    --------
    >>> hommel_value(np.log([0.001, 0.01, 0.02, 0.4]), 0.05)
    Hommel(h=1, m=4, alpha=0.05)
    """
    check_alpha(alpha)
    relative = np.sort(check_log_p(log_p), axis=None) - log(alpha)
    m = relative.size
    log_j = log(np.arange(1, m + 1))
    low, high = 0, m
    while low < high:
        i = (low + high + 1) // 2
        if (relative[m - i :] + log_j[i - 1] > log_j[:i] + _ROUNDING).all():
            low = i
        else:
            high = i - 1
    return Hommel(low, m, float(alpha))


def true_discoveries(log_p: ArrayLike, hommel: Hommel) -> int:
    """Return the lower bound of the number of true discoveries of a region.

    max over u of 1 - u + #{h p <= u alpha}, at least 0 (Goeman et al. 2019), in time
    linear in the size of the region.

    Parameters
    ----------
    log_p : array, shape (n,)
        Natural logarithm of the p of the region, in any order.
    hommel : Hommel
        Value of the family that the region is part of.

    Examples
    --------
    >>> log_p = np.log([0.4, 0.001, 0.01, 0.02])
    >>> true_discoveries(log_p, hommel_value(log_p, 0.05))
    3
    """
    log_p = np.asarray(log_p, dtype=float)
    n = log_p.size
    if n == 0:
        return 0
    check_log_p(log_p)
    needed = exp(log_p - log(hommel.alpha)) * hommel.h * (1 - _ROUNDING)
    u = np.clip(np.ceil(needed), 1, n + 1).astype(np.int64)
    reached = np.cumsum(np.bincount(u, minlength=n + 2)[1 : n + 1])
    return int(max(0, (reached - np.arange(n)).max()))


def true_discovery_proportion(log_p: ArrayLike, hommel: Hommel) -> float:
    """Return the lower bound of the share of true discoveries of a region, nan without voxels.

    Examples
    --------
    >>> log_p = np.log([0.4, 0.001, 0.01, 0.02])
    >>> true_discovery_proportion(log_p, hommel_value(log_p, 0.05))
    0.75
    """
    n = np.size(log_p)
    return true_discoveries(log_p, hommel) / n if n else np.nan


def concentration_set(log_p: ArrayLike, hommel: Hommel) -> np.ndarray:
    """Return the tests in which all discoveries of the family are concentrated.

    The smallest set of smallest p whose bound is that of the family, m - h: it has
    z = min{s: h p_(s) <= (s - m + h + 1) alpha} tests, and those tied with its largest p.
    Outside of it closed testing finds no more (Goeman et al. 2019).

    Parameters
    ----------
    log_p : array, shape (m,)
        Natural logarithm of the p of the whole family.
    hommel : Hommel
        Hommel's value of the family.

    Returns
    -------
    bool array, shape (m,)

    Examples
    --------
    >>> log_p = np.log([0.4, 0.001, 0.01, 0.02])
    >>> concentration_set(log_p, hommel_value(log_p, 0.05)).tolist()
    [False, True, True, True]
    """
    log_p = check_log_p(log_p)
    if log_p.size != hommel.m:
        raise ValueError(f"the family has {hommel.m} tests, got p values of {log_p.size}")
    if hommel.h == hommel.m:
        return np.zeros(log_p.shape, dtype=bool)
    ordered = np.sort(log_p, axis=None)
    needed = exp(ordered - log(hommel.alpha)) * hommel.h * (1 - _ROUNDING)
    s = np.arange(1, hommel.m + 1)
    u = s - hommel.m + hommel.h + 1
    return log_p <= ordered[np.argmax((u >= 1) & (needed <= u))]
