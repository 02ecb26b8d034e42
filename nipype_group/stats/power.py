"""Power of t and F tests, and the smallest effect that a test detects.

Noncentral distributions are integrated, or summed over Poisson weights, to some 11 digits; scipy's
inverses of them keep four to six.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import special

from nipype_group.stats.elementary import exp, log

# Nodes of the integrals, and standard deviations to either side that they cover.
_NODES, _REACH = 240, 9.5
# Halvings of a search, which ends where no number lies between.
_STEPS = 200
# Poisson weights are summed up to here: f of an F test is then above 100 for 50 maps.
MOST_NONCENTRALITY = 1e6


@lru_cache(maxsize=1)
def _gauss() -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights


def _between(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of an integral from low to high."""
    nodes, weights = _gauss()
    half = (high - low) / 2
    return low + half * (nodes + 1), half * weights


def noncentral_t_sf(t: float, dof: float, noncentrality: float) -> float:
    """Return P(T >= t) of a noncentral t.

    T = (Z + noncentrality) / S, S^2 a mean of dof squares. The integral is over the one of Z and S
    in which what is left is the smoother function.

    Parameters
    ----------
    t : float
    dof : float
        Degrees of freedom, > 0.
    noncentrality : float
        Mean of the numerator.

    Returns
    -------
    float

    Examples
    --------
    >>> round(noncentral_t_sf(2.0, 10, 0.0), 6), round(noncentral_t_sf(2.0, 10, 3.0), 6)
    (0.036694, 0.831514)
    """
    if t < 0:
        return 1.0 - noncentral_t_sf(-t, dof, -noncentrality)
    if t * t < 2 * dof:
        return _over_scale(t, dof, noncentrality)
    low = max(-_REACH, -noncentrality)
    if low >= _REACH:
        return 0.0
    z, weights = _between(low, _REACH)
    share = special.gammainc(dof / 2, dof / 2 * np.square((z + noncentrality) / t))
    density = exp(-np.square(z) / 2) / np.sqrt(2 * np.pi)
    return float((weights * density * share).sum())


def _over_scale(t: float, dof: float, noncentrality: float) -> float:
    """Return P(T >= t) as an integral over S."""
    spread = _REACH * np.sqrt(0.5 / dof)
    # Of few degrees of freedom the density has a longer upper end.
    s, weights = _between(max(0.0, 1 - spread), 1 + spread * (1 + 4 / (1 + dof)))
    half = dof / 2
    log_density = (
        log(2)
        + half * log(half)
        - special.gammaln(half)
        + (dof - 1) * log(s)
        - half * np.square(s)
    )
    return float((weights * exp(log_density) * special.ndtr(noncentrality - t * s)).sum())


def noncentral_f_sf(f: float, dof_num: float, dof_den: float, noncentrality: float) -> float:
    """Return P(F >= f) of a noncentral F, a Poisson mixture of incomplete beta functions.

    Parameters
    ----------
    f : float
        At least 0.
    dof_num, dof_den : float
        Degrees of freedom.
    noncentrality : float
        Sum of the squared means of the numerator, from 0 to `MOST_NONCENTRALITY`.

    Returns
    -------
    float

    Examples
    --------
    >>> round(noncentral_f_sf(4.0, 1, 10, 0.0), 6), round(noncentral_f_sf(4.0, 2, 27, 9.0), 6)
    (0.073388, 0.636659)
    """
    mean = noncentrality / 2
    reach = 12 * np.sqrt(mean) + 40
    j = np.arange(max(0, int(mean - reach)), int(mean + reach) + 1, dtype=float)
    weights = exp(special.xlogy(j, mean) - mean - special.gammaln(j + 1))
    # Their sum is 1 but for the digits that differences of large logarithms lose.
    weights /= weights.sum()
    x = dof_den / (dof_den + dof_num * f)
    return float((weights * special.betainc(dof_den / 2, dof_num / 2 + j, x)).sum())


def critical_t(dof: float, alpha: float, tail: str) -> float:
    """Return the height of t above which, on the side tested, p is below alpha.

    Parameters
    ----------
    dof : float
    alpha : float
    tail : {"two-sided", "positive", "negative"}

    Examples
    --------
    >>> round(critical_t(10, 0.05, "two-sided"), 4), round(critical_t(10, 0.05, "negative"), 4)
    (2.2281, 1.8125)
    """
    return float(-special.stdtrit(dof, alpha / 2 if tail == "two-sided" else alpha))


def power_of_t(noncentrality: float, dof: float, alpha: float, tail: str) -> float:
    """Return the chance that a t test rejects, where the effect lies on the side tested.

    Of a two-sided test the chance of the other side counts too.

    Parameters
    ----------
    noncentrality : float
        Effect over its standard error, at least 0.
    dof : float
    alpha : float
    tail : {"two-sided", "positive", "negative"}

    Examples
    --------
    >>> round(power_of_t(3.0, 28, 0.05, "two-sided"), 4)
    0.8253
    """
    height = critical_t(dof, alpha, tail)
    power = noncentral_t_sf(height, dof, noncentrality)
    return power + (noncentral_t_sf(height, dof, -noncentrality) if tail == "two-sided" else 0.0)


def detectable_noncentrality_t(dof: float, alpha: float, tail: str, power: float = 0.8) -> float:
    """Return the noncentrality at which a t test has a power.

    Parameters
    ----------
    dof : float
    alpha : float
    tail : {"two-sided", "positive", "negative"}
    power : float
        Above alpha and below 1.

    Examples
    --------
    >>> round(detectable_noncentrality_t(28, 0.05, "two-sided"), 4)
    2.9024
    """
    return _where(lambda x: power_of_t(x, dof, alpha, tail), power)


def detectable_noncentrality_f(
    dof_num: float, dof_den: float, alpha: float, power: float = 0.8
) -> float:
    """Return the noncentrality at which an F test has a power; inf above `MOST_NONCENTRALITY`.

    Parameters
    ----------
    dof_num, dof_den : float
        Degrees of freedom.
    alpha : float
    power : float
        Above alpha and below 1.

    Examples
    --------
    >>> round(detectable_noncentrality_f(2, 27, 0.05), 4)
    10.7886
    """
    # The quantile of the beta function on the side where it is small.
    x = float(special.betaincinv(dof_den / 2, dof_num / 2, alpha))
    if x <= 0:
        return float("inf")
    height = dof_den / dof_num * (1 - x) / x

    def power_at(noncentrality: float) -> float:
        return noncentral_f_sf(height, dof_num, dof_den, noncentrality)

    if power_at(MOST_NONCENTRALITY) < power:
        return float("inf")
    return _where(power_at, power)


def _where(rising: Callable[[float], float], level: float) -> float:
    """Return where a rising function of numbers above 0 reaches a level, by bisection."""
    low, high = 0.0, 1.0
    while rising(high) < level:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if rising(middle) < level else (low, middle)
    return (low + high) / 2
