"""Tail probabilities of t and F, and their z equivalents, accurate far into the tails.

Everything goes through the logarithm of the regularised incomplete beta function, so a p of
1e-500 has a finite z and neither tail is clipped.
"""

from functools import lru_cache

import numba
import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from nipype_group.stats.elementary import exp, log

# Below this the direct incomplete beta function loses digits to denormal numbers.
_DIRECT_FLOOR = 1e-280
# Log p of both tails above which the middle may hold less than one half.
_NEARLY_HALF = -0.7134
# Of p a little below one half.
_LOG_HALF = -0.6932
# Nodes of the table of z.
_U_STEP, _U_NODES, _INVERSE_NODES = 1 / 64, 1601, 257


def _beta_fraction(a, b, x, n_terms=200):
    """Evaluate the continued fraction of the incomplete beta function (Lentz's method)."""
    tiny = 1e-300
    c = np.ones_like(x)
    d = 1 - (a + b) * x / (a + 1)
    d = 1 / np.where(np.abs(d) < tiny, tiny, d)
    value = d.copy()
    for m in range(1, n_terms):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + numerator * d
            d = 1 / np.where(np.abs(d) < tiny, tiny, d)
            c = 1 + numerator / c
            c = np.where(np.abs(c) < tiny, tiny, c)
            value = value * c * d
        if np.all(np.abs(c * d - 1) < 1e-15):
            break
    return value


def _log_betainc(a, b, x):
    """Return log I_x(a, b) without underflow."""
    a, b, x = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (a, b, x)))
    direct = special.betainc(a, b, x)
    with np.errstate(divide="ignore"):
        result = log(direct)
    far = (direct < _DIRECT_FLOOR) & (x > 0)
    if far.any():
        a, b, x = a[far], b[far], x[far]
        result = np.array(result)
        result[far] = (
            a * log(x)
            + b * special.log1p(-x)
            - log(a)
            - special.betaln(a, b)
            + log(_beta_fraction(a, b, x))
        )
    return result


def log_sf_f(f: ArrayLike, dof_num: float | np.ndarray, dof_den: float | np.ndarray) -> np.ndarray:
    """Return log P(F >= f).

    Parameters
    ----------
    f : array
        F statistic, >= 0.
    dof_num, dof_den : float or array
        Degrees of freedom of numerator and denominator.

    Examples
    --------
    >>> round(float(np.exp(log_sf_f(4.0, 1, 10))), 6)  # t = 2 with 10 dof, both tails
    0.073388
    """
    f = np.asarray(f, dtype=float)
    return _log_betainc(dof_den / 2, dof_num / 2, dof_den / (dof_den + dof_num * f))


def _log_cdf_f(f, dof_num, dof_den):
    f = np.asarray(f, dtype=float)
    return _log_betainc(dof_num / 2, dof_den / 2, dof_num * f / (dof_den + dof_num * f))


def log_sf_t(t: ArrayLike, dof: float | np.ndarray) -> np.ndarray:
    """Return log P(T >= t), for either sign of t.

    Examples
    --------
    >>> round(float(np.exp(log_sf_t(2.0, 10))), 6)
    0.036694
    >>> bool(np.isfinite(log_sf_t(1e9, 1000)))
    True
    """
    t = np.asarray(t, dtype=float)
    # hypot keeps the logarithm where t^2 overflows; near 0 the complement keeps a tiny t^2.
    length = np.hypot(np.sqrt(dof), t)
    both = np.array(_log_betainc(dof / 2, 0.5, np.square(np.sqrt(dof) / length)))
    # The share of an infinite t, whose length is infinite too, is 1.
    share = np.divide(t, length, out=np.ones_like(length), where=np.isfinite(length))
    near = both > _NEARLY_HALF
    if near.any():
        of_near = np.broadcast_to(np.divide(dof, 2), both.shape)[near]
        inner = special.betainc(0.5, of_near, np.square(share[near]))
        both[near] = np.where(inner < 0.5, special.log1p(-np.minimum(inner, 0.5)), both[near])
    return _of_side(t, both - log(2))


def _of_side(t, upper):
    """Return log P(T >= t) from that of its absolute value."""
    return np.where(t >= 0, upper, special.log1p(-exp(upper)))


def t_to_z(t: ArrayLike, dof: float | np.ndarray) -> np.ndarray:
    """Return the z with the same upper tail as t.

    Parameters
    ----------
    t : array
        t statistic.
    dof : float or array
        Degrees of freedom.

    Examples
    --------
    >>> t_to_z(np.array([-7.25473, 0.0, 7.25473]), 29).round(4).tolist()
    [-5.4354, 0.0, 5.4354]
    """
    t = np.asarray(t, dtype=float)
    return _z_of_tail(t, log_sf_t(np.abs(t), dof))


def _z_of_tail(t, upper):
    return np.sign(t) * np.abs(special.ndtri_exp(np.minimum(upper, log(0.5))))


def z_and_p_of_t(
    t: ArrayLike, dof: float | np.ndarray, tail: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return `t_to_z`, and p of a tail, from one tail probability.

    Parameters
    ----------
    t : array
        t statistic.
    dof : float or array
        Degrees of freedom.
    tail : {"two-sided", "positive", "negative"}

    Examples
    --------
    >>> z, p = z_and_p_of_t([-2.0, 2.0], 10, "positive")
    >>> z.round(4).tolist(), p.round(4).tolist()
    ([-1.7904, 1.7904], [0.9633, 0.0367])
    """
    t = np.asarray(t, dtype=float)
    upper = log_sf_t(np.abs(t), dof)
    z = _z_of_tail(t, upper)
    if tail == "two-sided":
        return z, 2 * exp(upper)
    return z, exp(_of_side({"positive": t, "negative": -t}[tail], upper))


@lru_cache(maxsize=1)
def _z_table():
    """Return z over u = sqrt(dof log(1 + t^2 / dof)), which is nearly z, and 1 / sqrt(dof)."""
    u = np.arange(_U_NODES)[:, None] * _U_STEP
    dof = ((_INVERSE_NODES - 1) / np.arange(1, _INVERSE_NODES)) ** 2
    table = np.empty((_U_NODES, _INVERSE_NODES))
    # With infinite dof, t is z.
    table[:, :1] = u
    table[:, 1:] = t_to_z(np.sqrt(dof * special.expm1(np.square(u) / dof)), dof)
    return table


@numba.njit(nogil=True, cache=True)
def _cubic_weights(position, size):
    """Return the first of four nodes around a position, and their weights (Lagrange)."""
    first = min(max(int(position) - 1, 0), size - 4)
    x = position - first
    return first, (
        -(x - 1) * (x - 2) * (x - 3) / 6,
        x * (x - 2) * (x - 3) / 2,
        -x * (x - 1) * (x - 3) / 2,
        x * (x - 1) * (x - 2) / 6,
    )


@numba.njit(nogil=True, cache=True)
def _look_up_z(u, inverse, table, z):
    """Fill z by cubic interpolation in both directions; NaN beyond the table."""
    n_u, n_inverse = table.shape
    for i in range(len(u)):
        position = u[i] / _U_STEP
        if not position <= n_u - 1:
            z[i] = np.nan
            continue
        row, row_weights = _cubic_weights(position, n_u)
        column, weights = _cubic_weights(inverse[i] * (n_inverse - 1), n_inverse)
        total = 0.0
        for a in range(4):
            inner = 0.0
            for b in range(4):
                inner += weights[b] * table[row + a, column + b]
            total += row_weights[a] * inner
        z[i] = total


def interpolated_t_to_z(t: ArrayLike, dof: ArrayLike) -> np.ndarray:
    """Return z of t from a table, for maps by the thousand: within 1e-8 of `t_to_z`.

    Parameters
    ----------
    t : array
        t statistic.
    dof : float or array of the shape of t
        Degrees of freedom, at least 1.

    Examples
    --------
    >>> t = np.array([-4.0, 0.5, 30.0])
    >>> bool(np.abs(interpolated_t_to_z(t, 12) / t_to_z(t, 12) - 1).max() < 1e-8)
    True
    """
    t = np.asarray(t, dtype=float)
    dof = np.broadcast_to(np.asarray(dof, dtype=float), t.shape)
    u = np.sqrt(dof * special.log1p(np.square(t) / dof)).ravel()
    z = np.empty(t.size)
    _look_up_z(u, 1 / np.sqrt(dof.ravel()), _z_table(), z)
    beyond = np.isnan(z)
    if beyond.any():
        z[beyond] = t_to_z(np.abs(t.ravel()[beyond]), dof.ravel()[beyond])
    return np.copysign(z.reshape(t.shape), t)


def f_to_z(f: ArrayLike, dof_num: float | np.ndarray, dof_den: float | np.ndarray) -> np.ndarray:
    """Return the z with the same upper tail as F; negative where P(F >= f) is above one half.

    An F of 0, as of groups whose means are the same number, has the z of the smallest number
    above 0, so that every z is finite.

    Examples
    --------
    >>> f_to_z(np.array([0.0, 1.0, 60.0]), 2, 20).round(3).tolist()
    [-37.519, 0.291, 5.789]
    """
    return f_to_z_and_log_p(f, dof_num, dof_den)[0]


def f_to_z_and_log_p(
    f: ArrayLike, dof_num: float | np.ndarray, dof_den: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the z of F, as `f_to_z`, and log P(F >= f), as `log_sf_f`, for one search of both.

    Examples
    --------
    >>> z, log_p = f_to_z_and_log_p(np.array([60.0]), 2, 20)
    >>> z.round(3).tolist(), log_p.round(3).tolist()
    ([5.789], [-19.459])
    """
    log_p = log_sf_f(f, dof_num, dof_den)
    above = np.maximum(f, np.finfo(float).tiny)
    upper = log_p
    if (above != f).any():
        upper = np.where(above == f, log_p, log_sf_f(np.finfo(float).tiny, dof_num, dof_den))
    nearest, sign = np.array(upper), np.ones(np.shape(upper))
    # Below one half the lower tail is the larger one.
    central = np.flatnonzero(upper > _LOG_HALF)
    if central.size:
        dofs = (np.broadcast_to(v, upper.shape).ravel()[central] for v in (dof_num, dof_den))
        lower, flat = _log_cdf_f(above.ravel()[central], *dofs), upper.ravel()[central]
        nearest.ravel()[central] = np.minimum(flat, lower)
        sign.ravel()[central] = np.where(flat < lower, 1.0, -1.0)
    return -sign * special.ndtri_exp(nearest), log_p


def z_to_log_p(z: ArrayLike, tail: str = "two-sided") -> np.ndarray:
    """Return the natural logarithm of the p value of z.

    Parameters
    ----------
    z : array
        z values.
    tail : {"two-sided", "positive", "negative"}
        Side that counts as evidence.

    Examples
    --------
    >>> np.exp(z_to_log_p(np.array([1.959964, -1.959964]))).round(6).tolist()
    [0.05, 0.05]
    """
    z = np.asarray(z, dtype=float)
    if tail == "positive":
        return special.log_ndtr(-z)
    if tail == "negative":
        return special.log_ndtr(z)
    if tail == "two-sided":
        return np.minimum(log(2) + special.log_ndtr(-np.abs(z)), 0.0)
    raise ValueError(f"tail is two-sided, positive or negative, got {tail!r}")


def minus_log10(log_p: ArrayLike) -> np.ndarray:
    """Return -log10 p from the natural logarithm of p.

    Examples
    --------
    >>> minus_log10(np.log([0.01, 1.0])).round(6).tolist()
    [2.0, 0.0]
    """
    return np.maximum(np.asarray(log_p) / -log(10), 0.0)
