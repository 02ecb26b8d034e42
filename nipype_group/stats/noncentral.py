"""Noncentral t and F at many places at once, and the intervals of noncentrality that they bound.

A noncentral distribution is a mixture of incomplete beta functions, whose weights are those of a
Poisson distribution (F), or of one at whole and half numbers (t; Lenth 1989, Applied Statistics
38:185). Its terms are as many as the root of the noncentrality; `nipype_group.stats.power`
integrates single ones that may be millions. A bound is the noncentrality at which the observed
statistic is a given quantile (Steiger 2004, Psychological Methods 9:164), found by Newton's steps
on the scale of z between numbers that enclose it: scipy's inverses keep four to six digits.
"""

from collections.abc import Callable
from functools import lru_cache, partial

import numba
import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from nipype_group.stats.elementary import exp, log

# Standard deviations of a Poisson distribution that are summed, and numbers beside.
_REACH, _BESIDE = 9.0, 30.0
_STEPS = 80
# Digits of a bound, as a share of it and as a number.
_CLOSE, _CLOSE_TO_0 = 1e-13, 1e-14
# Nodes of a table of bounds, a unit of the logarithm; and of what a bound is interpolated by.
_NODES_A_UNIT = 64
# Nodes below 0, so that what is interpolated there has nodes on both sides.
_BELOW = 3
# Standard errors, and spreads of the scale in them, from which a bound is a series.
_FAR, _FAR_SPREADS = 100.0, 50.0
_SQRT_2PI = np.sqrt(2 * np.pi)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _sum_terms(first, last, shift, b, x, rate, beta, step, weight, total, slope):
    """Sum weights and incomplete beta functions upwards, and what the next of them lack."""
    for i in range(len(first)):
        k, a = first[i], first[i] + shift[i]
        value, down, share = beta[i], step[i], weight[i]
        whole, change, sum_of_weights = 0.0, 0.0, 0.0
        while k <= last[i]:
            sum_of_weights += share
            whole += share * value
            change -= share * down
            value -= down
            down *= x[i] * (a + b[i]) / (a + 1.0)
            k += 1.0
            a += 1.0
            share *= rate[i] / k
        if rate[i] > 100.0:
            # Their sum is 1 but for the digits that differences of large logarithms lose.
            whole, change = whole / sum_of_weights, change / sum_of_weights
        total[i], slope[i] = whole, change


def _mixture(
    start: float,
    shift: float | np.ndarray,
    b: float | np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    rate: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return sum w_k I_x(k + shift, b) over k = start, start + 1, ..., and the same of steps.

    w_k = e^-rate rate^k / Gamma(k + 1); a step is I_x(k + 1 + shift, b) - I_x(k + shift, b).
    y is 1 - x, which has the digits that count where x is near 1.
    """
    shift, b = (np.ascontiguousarray(np.broadcast_to(v, x.shape), float) for v in (shift, b))
    spread = _REACH * np.sqrt(rate)
    first = start + np.floor(np.maximum(rate - spread - _BESIDE, 0.0))
    last = first + np.ceil(2 * spread + 2 * _BESIDE)
    a = first + shift
    # Of the side whose number has all digits.
    small = x < 0.5
    one, other, near = np.where(small, a, b), np.where(small, b, a), np.where(small, x, y)
    beta = special.betainc(one, other, near)
    beta = np.where(small, beta, 1 - beta)
    log_step = special.xlogy(one, near) + special.xlog1py(other, -near)
    step = exp(log_step - log(a) - special.betaln(a, b))
    weight = exp(special.xlogy(first, rate) - rate - special.gammaln(first + 1))
    total, slope = np.empty((2, len(x)))
    _sum_terms(first, last, shift, b, x, rate, beta, step, weight, total, slope)
    return total, slope


def _t_from_above(
    t: np.ndarray, dof: float | np.ndarray, ncp: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return P(T <= t) of t at least 0, and its slope over the noncentrality."""
    length, rate = dof + np.square(t), np.square(ncp) / 2
    x, y = np.square(t) / length, dof / length
    whole, whole_slope = _mixture(0.0, 0.5, dof / 2, x, y, rate)
    half, half_slope = _mixture(0.5, 0.5, dof / 2, x, y, rate)
    sign, density = np.sign(ncp), exp(-rate) / _SQRT_2PI
    p = special.ndtr(-ncp) + (whole + sign * half) / 2
    # The first weight at half numbers falls without one below it.
    slope = -density * special.betainc(dof / 2, 1.0, y)
    return p, slope + ncp * (whole_slope + sign * half_slope) / 2


def noncentral_t_cdf(t: ArrayLike, dof: float, ncp: ArrayLike) -> np.ndarray:
    """Return P(T <= t) of a noncentral t, to some 1e-13.

    Parameters
    ----------
    t : array
    dof : float
        Degrees of freedom, > 0.
    ncp : array
        Noncentrality, the mean of the numerator; of a shape that goes with that of t.

    Examples
    --------
    >>> noncentral_t_cdf([2.0, -2.0], 10, [3.0, -3.0]).round(6).tolist()
    [0.168486, 0.831514]
    """
    t, ncp = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (t, ncp)))
    sign = np.where(t < 0, -1.0, 1.0)
    p, _ = _t_from_above((sign * t).ravel(), float(dof), (sign * ncp).ravel())
    return np.where(t < 0, 1 - p.reshape(t.shape), p.reshape(t.shape))


def _f(
    f: np.ndarray, dof_num: float | np.ndarray, dof_den: float | np.ndarray, ncp: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return P(F <= f), and its slope over the noncentrality."""
    length = dof_num * f + dof_den
    x, y = dof_num * f / length, dof_den / length
    p, slope = _mixture(0.0, dof_num / 2, dof_den / 2, x, y, ncp / 2)
    return p, slope / 2


def noncentral_f_cdf(f: ArrayLike, dof_num: float, dof_den: float, ncp: ArrayLike) -> np.ndarray:
    """Return P(F <= f) of a noncentral F, to some 1e-12.

    Parameters
    ----------
    f : array
        At least 0.
    dof_num, dof_den : float
        Degrees of freedom.
    ncp : array
        Noncentrality, the sum of the squared means of the numerator, at least 0; of a shape that
        goes with that of f.

    Examples
    --------
    >>> noncentral_f_cdf([4.0, 4.0], 2, 27, [0.0, 9.0]).round(6).tolist()
    [0.969905, 0.363341]
    """
    f, ncp = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (f, ncp)))
    p, _ = _f(f.ravel(), float(dof_num), float(dof_den), ncp.ravel())
    return p.reshape(f.shape)


def _where_falls(
    cdf: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    target: float,
    low: np.ndarray,
    high: np.ndarray,
    start: np.ndarray,
) -> np.ndarray:
    """Return where a falling function reaches a probability, which lies between low and high.

    ``cdf(which, x)`` gives the function and its slope at places x of the elements ``which``.
    """
    x, low, high = np.clip(start, low, high), low.copy(), high.copy()
    goal, active = float(special.ndtri(target)), np.arange(len(x))
    for _ in range(_STEPS):
        if not len(active):
            break
        at = x[active]
        p, slope = cdf(active, at)
        above = p > target
        low[active] = np.where(above, at, low[active])
        high[active] = np.where(above, high[active], at)
        z = special.ndtri(np.clip(p, 1e-300, 1 - 1e-16))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = (goal - z) * exp(-np.square(z) / 2) / _SQRT_2PI / slope
        found = at + step
        inside = (found >= low[active]) & (found <= high[active])
        x[active] = np.where(inside, found, (low[active] + high[active]) / 2)
        within = _CLOSE * np.abs(at) + _CLOSE_TO_0
        active = active[np.abs(x[active] - at) > within]
    return x


def _enclosed(
    cdf: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    target: float,
    low: np.ndarray,
    start: np.ndarray,
) -> np.ndarray:
    """Return what `_where_falls` finds above numbers at which the function is above its target."""
    high = np.maximum(start, low + 1.0)
    beyond = np.arange(len(high))
    while len(beyond):
        beyond = beyond[cdf(beyond, high[beyond])[0] > target]
        high[beyond] += high[beyond] - low[beyond]
    return _where_falls(cdf, target, low, high, start)


def _as_series(
    bound: Callable[[np.ndarray], np.ndarray], x: np.ndarray, least: float, ratio: float, odd: bool
) -> np.ndarray:
    """Return bounds ratio x + a + b / x, or ratio x + a / x + b / x^3.

    They are fitted to those at the least x and at twice as much.
    """
    ends = np.array([least, 2 * least])
    rest = bound(ends) - ratio * ends
    if odd:
        rest = rest * ends
        b = (rest[0] - rest[1]) / (ends[0] ** -2 - ends[1] ** -2)
        a = rest[0] - b * ends[0] ** -2
        return ratio * x + (a + b / np.square(x)) / x
    b = (rest[0] - rest[1]) / (1 / ends[0] - 1 / ends[1])
    return ratio * x + (rest[0] - b / ends[0]) + b / x


def _finite(values: ArrayLike) -> np.ndarray:
    """Return an array of float64 without NaN and infinities."""
    values = np.asarray(values, dtype=float)
    if not np.isfinite(values).all():
        raise ValueError("a statistic is NaN or infinite; leave its voxel out")
    return values


def _check_level(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level of an interval is between 0 and 1, got {level}")
    return (1 - level) / 2


def t_noncentrality(
    t: ArrayLike, dof: ArrayLike, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return the two-sided interval of the noncentrality of t.

    Parameters
    ----------
    t : array
    dof : float or array of the shape of t
        Degrees of freedom, > 0.
    level : float
        Share of intervals that hold the noncentrality.

    Returns
    -------
    lower, upper : arrays of the shape of t
        The observed t is the upper and the lower quantile of theirs; good to 1e-10 of the larger
        of 1 and its absolute value.

    Raises
    ------
    ValueError
        Where the level is not between 0 and 1, or a statistic is not finite.

    Examples
    --------
    >>> lower, upper = t_noncentrality([2.0, -2.0], 28)
    >>> lower.round(4).tolist(), upper.round(4).tolist()
    ([-0.0448, -4.0115], [4.0115, 0.0448])
    """
    tail, t = _check_level(level), _finite(t)
    size, dofs = np.abs(t).ravel(), _of_shape(dof, t)
    lower, upper = (_t_bound(size, dofs, target).reshape(t.shape) for target in (1 - tail, tail))
    positive = t >= 0
    return np.where(positive, lower, -upper), np.where(positive, upper, -lower)


def _of_shape(dof: ArrayLike, statistic: np.ndarray) -> np.ndarray:
    """Return degrees of freedom of every value of a statistic, in one row."""
    return np.broadcast_to(np.asarray(dof, dtype=float), statistic.shape).ravel()


def _of_one_dof(
    bound: Callable[..., np.ndarray], dofs: tuple[float, ...], target: float, ends: np.ndarray
) -> np.ndarray:
    """Return bounds of statistics that share their degrees of freedom."""
    return bound(ends, *(np.full(len(ends), dof) for dof in dofs), target)


def _t_bound(t: np.ndarray, dof: np.ndarray, target: float) -> np.ndarray:
    """Return the noncentrality with P(T <= t) = target, of t at least 0."""
    # What the bound over t tends to: a quantile of the scale.
    ratio = np.sqrt(2 * special.gammainccinv(dof / 2, target) / dof)
    least = np.maximum(_FAR / ratio, _FAR_SPREADS * np.sqrt(2 * dof))
    bound, near = np.empty(len(t)), t <= least
    bound[near] = _near_t_bound(t[near], dof[near], target)
    for number in np.unique(dof[~near]):
        own = np.flatnonzero(~near & (dof == number))
        bound[own] = _as_series(
            partial(_of_one_dof, _near_t_bound, (number,), target),
            t[own],
            least[own[0]],
            ratio[own[0]],
            odd=True,
        )
    return bound


def _near_t_bound(t: np.ndarray, dof: np.ndarray, target: float) -> np.ndarray:
    z = -float(special.ndtri(target))
    # At t = 0 the bound is z, and it rises with t.
    low = np.full(len(t), z - 1e-6)
    spread = np.sqrt(1 + np.square(t) / (2 * dof))
    start = np.maximum(t * (1 - 1 / (4 * dof)) + z * spread, z)
    return _enclosed(lambda which, x: _t_from_above(t[which], dof[which], x), target, low, start)


def f_noncentrality(
    f: ArrayLike, dof_num: ArrayLike, dof_den: ArrayLike, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return the two-sided interval of the noncentrality of F.

    Parameters
    ----------
    f : array
        At least 0.
    dof_num, dof_den : float or array of the shape of f
        Degrees of freedom.
    level : float
        Share of intervals that hold the noncentrality.

    Returns
    -------
    lower, upper : arrays of the shape of f
        0 where F is below the quantile of the central distribution that they go by.

    Raises
    ------
    ValueError
        Where the level is not between 0 and 1, or a statistic is not finite.

    Examples
    --------
    >>> lower, upper = f_noncentrality([1.0, 8.0], 2, 27, 0.9)
    >>> lower.round(4).tolist(), upper.round(4).tolist()
    ([0.0, 3.6167], [7.9547, 32.9297])
    """
    tail, f = _check_level(level), _finite(f)
    dofs = _of_shape(dof_num, f), _of_shape(dof_den, f)
    lower, upper = (
        _f_bound(f.ravel(), *dofs, target).reshape(f.shape) for target in (1 - tail, tail)
    )
    return lower, upper


def _f_bound(f: np.ndarray, dof_num: np.ndarray, dof_den: np.ndarray, target: float) -> np.ndarray:
    """Return the noncentrality with P(F <= f) = target, 0 where it is less without any."""
    ratio = 2 * special.gammainccinv(dof_den / 2, target) / dof_den
    least = np.maximum(_FAR**2 / ratio, _FAR_SPREADS**2 * 2 * dof_den) / dof_num
    bound, near = np.empty(len(f)), f <= least
    bound[near] = _near_f_bound(f[near], dof_num[near], dof_den[near], target)
    for dofs in np.unique(np.stack([dof_num, dof_den])[:, ~near], axis=1).T:
        own = np.flatnonzero(~near & (dof_num == dofs[0]) & (dof_den == dofs[1]))
        bound[own] = _as_series(
            partial(_of_one_dof, _near_f_bound, tuple(dofs), target),
            f[own],
            least[own[0]],
            ratio[own[0]] * dofs[0],
            odd=False,
        )
    return bound


def _near_f_bound(
    f: np.ndarray, dof_num: np.ndarray, dof_den: np.ndarray, target: float
) -> np.ndarray:
    bound = np.zeros(len(f))
    above = np.flatnonzero(_f(f, dof_num, dof_den, bound)[0] > target)
    own, num, den = f[above], dof_num[above], dof_den[above]
    z = -float(special.ndtri(target))
    mean = num * own
    spread = np.sqrt(2 * mean + 2 * np.square(mean) / den)
    start = np.maximum(mean - num + z * spread + max(z, 0.0) ** 2, 0.1)
    bound[above] = _enclosed(
        lambda which, ncp: _f(own[which], num[which], den[which], ncp),
        target,
        np.zeros(len(own)),
        start,
    )
    return bound


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _look_up(place, table, value):
    """Interpolate a table over whole numbers at places by polynomials of the fifth degree."""
    last = table.shape[1] - 6
    for i in range(len(place)):
        first = min(max(int(place[i]) - 2, 0), last)
        x = place[i] - first
        a, b, c, d, e, f = x, x - 1.0, x - 2.0, x - 3.0, x - 4.0, x - 5.0
        w0 = -b * c * d * e * f / 120.0
        w1 = a * c * d * e * f / 24.0
        w2 = -a * b * d * e * f / 12.0
        w3 = a * b * c * e * f / 12.0
        w4 = -a * b * c * d * f / 24.0
        w5 = a * b * c * d * e / 120.0
        for row in range(len(table)):
            own = table[row, first : first + 6]
            total = w0 * own[0] + w1 * own[1] + w2 * own[2]
            value[row, i] = total + w3 * own[3] + w4 * own[4] + w5 * own[5]


def _n_nodes(highest: float) -> int:
    """Return how many nodes reach so far and beyond, a whole number of units."""
    return (int(np.ceil(highest)) + 1) * _NODES_A_UNIT


@lru_cache(maxsize=64)
def _t_table(dof: float, level: float, n_nodes: int) -> np.ndarray:
    """Return bounds of t = sinh(u) over sqrt(1 + t^2), shape (2, nodes)."""
    growth = exp((np.arange(n_nodes) - _BELOW) / _NODES_A_UNIT)
    t = (growth - 1 / growth) / 2
    return np.array(t_noncentrality(t, dof, level)) / np.sqrt(1 + np.square(t))


def interpolated_t_noncentrality(
    t: ArrayLike, dof: float, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return `t_noncentrality` from a table, for whole maps of one number of degrees of freedom.

    Parameters
    ----------
    t, dof, level
        As for `t_noncentrality`; dof at least 1.

    Returns
    -------
    lower, upper : arrays of the shape of t
        Within 1e-10 of the larger of 1 and the absolute value of t.

    Examples
    --------
    >>> t = np.array([-4.0, 0.5, 30.0])
    >>> exact, ours = t_noncentrality(t, 12), interpolated_t_noncentrality(t, 12)
    >>> bool(np.abs(np.subtract(ours, exact) / np.maximum(np.abs(t), 1)).max() < 1e-10)
    True
    """
    t = _finite(t)
    size = np.abs(t).ravel()
    root = np.sqrt(1 + np.square(size))
    u = log(size + root)
    value = np.empty((2, len(size)))
    if len(size):
        table = _t_table(float(dof), level, _n_nodes(u.max()))
        _look_up(u * _NODES_A_UNIT + _BELOW, table, value)
    lower, upper = (value * root).reshape(2, *t.shape)
    positive = t >= 0
    return np.where(positive, lower, -upper), np.where(positive, upper, -lower)


@lru_cache(maxsize=64)
def _f_table(dof_num: float, dof_den: float, target: float, quantile: float, n_nodes: int):
    """Return bounds of F = quantile e^u over 1 + F, shape (1, nodes)."""
    f = quantile * exp(np.arange(n_nodes) / _NODES_A_UNIT)
    dofs = np.full(len(f), dof_num), np.full(len(f), dof_den)
    return (_f_bound(f, *dofs, target) / (1 + f))[None]


def interpolated_f_noncentrality(
    f: ArrayLike, dof_num: float, dof_den: float, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return `f_noncentrality` from a table, for whole maps of one pair of degrees of freedom.

    Parameters
    ----------
    f, dof_num, dof_den, level
        As for `f_noncentrality`.

    Returns
    -------
    lower, upper : arrays of the shape of f
        Within 1e-10 of 1 + F times the numerator's degrees of freedom.

    Examples
    --------
    >>> f = np.array([0.3, 4.0, 60.0])
    >>> exact, ours = f_noncentrality(f, 3, 40), interpolated_f_noncentrality(f, 3, 40)
    >>> bool(np.abs(np.subtract(ours, exact) / (3 * (1 + f))).max() < 1e-10)
    True
    """
    tail, f = _check_level(level), _finite(f)
    dofs, flat, bounds = (float(dof_num), float(dof_den)), f.ravel(), []
    for target in (1 - tail, tail):
        y = float(special.betainccinv(dofs[1] / 2, dofs[0] / 2, target))
        quantile = dofs[1] / dofs[0] * (1 - y) / y
        bound = np.zeros(len(flat))
        above = np.flatnonzero(flat > quantile)
        if len(above):
            u = np.maximum(log(flat[above] / quantile), 0.0)
            table = _f_table(*dofs, target, quantile, _n_nodes(u.max()))
            value = np.empty((1, len(above)))
            _look_up(u * _NODES_A_UNIT, table, value)
            bound[above] = np.maximum(value[0], 0.0) * (1 + flat[above])
        bounds.append(bound.reshape(f.shape))
    return bounds[0], bounds[1]
