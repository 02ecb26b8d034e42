"""Conjunctions of tests: whether each of several effects is there (Nichols et al. 2005).

The null hypothesis is that at least one effect is absent, so the p of a conjunction is the largest
of theirs (the conjunction null; Nichols, Brett, Andersson, Wager, Poline 2005, NeuroImage 25:653).
The distribution of the minimum of null statistics is not used: it is that of no effect at all, and
one effect alone passes it.
"""

import numpy as np
from scipy import special

from nipype_group.stats.distributions import z_to_log_p
from nipype_group.stats.elementary import log

_LOG_HALF = float(log(0.5))
# z of a p of 1 in double precision stays finite: its lower tail is the smallest number above 0.
_LOG_TINY = float(log(np.finfo(float).tiny))


def least_signed(values: np.ndarray, tail: str) -> np.ndarray:
    """Return the least significant of statistics with a sign, which all share one distribution.

    Parameters
    ----------
    values : array, shape (k, v)
        Of k tests at v places: z, or others on one scale.
    tail : {"two-sided", "positive", "negative"}
        Side tested; two-sided asks for the same sign of all.

    Returns
    -------
    array, shape (v,)
        0 where a two-sided test has values of both signs.

    Examples
    --------
    >>> values = np.array([[3.0, -2.0, 4.0], [1.0, -5.0, -4.0]])
    >>> least_signed(values, "two-sided").tolist(), least_signed(values, "positive").tolist()
    ([1.0, -2.0, 0.0], [1.0, -5.0, -4.0])
    """
    lowest, highest = values.min(axis=0), values.max(axis=0)
    if tail == "positive":
        return lowest
    if tail == "negative":
        return highest
    return np.maximum(lowest, 0.0) + np.minimum(highest, 0.0)


def conjoined_z(z: np.ndarray, signed: np.ndarray, tail: str) -> np.ndarray:
    """Return the z of a conjunction, that of the least significant test.

    Parameters
    ----------
    z : array, shape (k, v)
        z of k tests at v places.
    signed : bool array, shape (k,)
        Which tests have a sign, as t; the others are tested on their upper side, as F.
    tail : {"two-sided", "positive", "negative"}
        Side of the tests that have a sign.

    Returns
    -------
    array, shape (v,)
        Where all tests have a sign, theirs: it is tested on their side. Else the z whose upper
        tail is the p of the conjunction.

    Examples
    --------
    >>> z = np.array([[3.0, -2.0], [2.5, -3.0]])
    >>> conjoined_z(z, np.array([True, True]), "two-sided").tolist()
    [2.5, -2.0]
    >>> conjoined_z(z, np.array([True, False]), "two-sided").round(4).tolist()
    [2.5, -3.0]
    """
    if signed.all():
        return least_signed(z, tail)
    unsigned = z[~signed].min(axis=0)
    if not signed.any():
        return unsigned
    of_signed = least_signed(z[signed], tail)
    if tail == "positive":
        return np.minimum(of_signed, unsigned)
    log_p = z_to_log_p(of_signed, tail)
    upper = _z_of_upper_tail(log_p)
    return np.minimum(upper, unsigned)


def _z_of_upper_tail(log_p: np.ndarray) -> np.ndarray:
    """Return the z whose upper tail has these p; finite for a p of 1."""
    central = log_p > _LOG_HALF
    lower = np.maximum(log(-special.expm1(np.where(central, log_p, -1.0))), _LOG_TINY)
    return np.where(central, special.ndtri_exp(lower), -special.ndtri_exp(log_p))


def unlike_signs(values: np.ndarray, signed: np.ndarray, tail: str) -> np.ndarray:
    """Return where two-sided tests disagree in sign, which no conjunction has: bool, shape (v,).

    Parameters
    ----------
    values : array, shape (k, v)
        What has the sign of each test.
    signed, tail
        As in `conjoined_z`.
    """
    if tail != "two-sided" or not signed.any():
        return np.zeros(values.shape[1:], dtype=bool)
    return least_signed(values[signed], tail) == 0


def conjoined_p(p: np.ndarray, values: np.ndarray, signed: np.ndarray, tail: str) -> np.ndarray:
    """Return the p of a conjunction: the largest of p, and 1 where signs differ, two-sided.

    Parameters
    ----------
    p : array, shape (k, v)
        p of k tests at v places, uncorrected or of the familywise error; not false discovery
        rates, the largest of which controls nothing.
    values, signed, tail
        As in `unlike_signs`.

    Examples
    --------
    >>> p, z = np.array([[0.01, 0.02], [0.03, 0.01]]), np.array([[2.6, 2.3], [2.2, -2.6]])
    >>> conjoined_p(p, z, np.array([True, True]), "two-sided").tolist()
    [0.03, 1.0]
    """
    return np.where(unlike_signs(values, signed, tail), 1.0, p.max(axis=0))


def conjoined_log_p(
    log_p: np.ndarray, values: np.ndarray, signed: np.ndarray, tail: str
) -> np.ndarray:
    """Return the natural logarithm of `conjoined_p`, from those of p."""
    return np.where(unlike_signs(values, signed, tail), 0.0, log_p.max(axis=0))


def least_significant(log_p: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return of every place the value of the test with the largest p, the smallest among ties.

    Parameters
    ----------
    log_p : array, shape (k, v)
        Natural logarithm of p.
    values : array, shape (k, v)
        Statistics, which need not be on one scale.

    Examples
    --------
    >>> least_significant(np.log([[0.1, 0.1], [0.2, 0.1]]), np.array([[1.0, 5.0], [9.0, -2.0]]))
    array([ 9., -2.])
    """
    size = np.where(log_p == log_p.max(axis=0), np.abs(values), np.inf)
    return np.take_along_axis(values, size.argmin(axis=0)[None], axis=0)[0]
