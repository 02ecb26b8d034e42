"""Euler characteristic densities of Z, t, F and chi-squared random fields.

Densities are per resel: a resel is a box with sides of one full width at half maximum (FWHM).
The densities are those of Worsley et al. (1996), Human Brain Mapping 4:58, Table II, with the
chi-squared and F fields of Worsley (1994), Advances in Applied Probability 26:13.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from nipype_group.stats.distributions import log_sf_f, log_sf_t
from nipype_group.stats.elementary import exp, log

KINDS = {"Z": 0, "t": 1, "F": 2, "chi2": 1}
"""Kinds of fields and how many degrees of freedom each has."""

_LOG_4LN2 = log(4 * log(2))
_LOG_2PI = log(2 * np.pi)
_ORDERS = np.arange(4)
# sqrt(pi) / Gamma((d + 1) / 2), between densities and the polynomials of a conjunction.
_LOG_G = log(np.pi) / 2 - special.gammaln((_ORDERS + 1) / 2)


@dataclass(frozen=True)
class StatField:
    """The statistic whose field is searched.

    Parameters
    ----------
    kind : {"Z", "t", "F", "chi2"}
        Distribution of one voxel.
    dof : float, (float, float) or None
        Degrees of freedom: none for Z, one for t and chi2, numerator and denominator for F. Kept
        as a tuple. An infinite t or F denominator stands for Z or chi2.
    n_maps : int
        Independent maps of a conjunction, where the statistic is their minimum.

    Raises
    ------
    ValueError
        For an unknown kind, a wrong number of degrees of freedom, or one that is not > 0.

    Examples
    --------
    >>> StatField("F", (2, 27)).dof
    (2.0, 27.0)
    """

    kind: str
    dof: float | tuple | None = None
    n_maps: int = 1

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"field is one of {', '.join(KINDS)}, got {self.kind!r}")
        dof = np.atleast_1d([] if self.dof is None else np.asarray(self.dof, dtype=float))
        if dof.shape != (KINDS[self.kind],):
            raise ValueError(
                f"{self.kind} takes {KINDS[self.kind]} degrees of freedom, got {self.dof}"
            )
        if not np.all(dof > 0):
            raise ValueError(f"degrees of freedom are > 0, got {self.dof} for {self.kind}")
        # Effective dof carry rounding, and 1 and 2 numerator dof have forms of their own.
        near = np.round(dof)
        dof = np.where(np.isclose(dof, near, rtol=1e-9, atol=0), near, dof)
        if self.kind == "F" and dof[0] != 1 and dof.sum() <= 3:
            raise ValueError(
                f"an F field has more than 3 degrees of freedom in all, got {self.dof}"
            )
        if self.n_maps != int(self.n_maps) or self.n_maps < 1:
            raise ValueError(f"n_maps is a whole number >= 1, got {self.n_maps}")
        object.__setattr__(self, "dof", tuple(dof.tolist()))


def _log_sf_chi2(x, dof):
    half, a = x / 2, dof / 2
    direct = special.gammaincc(a, half)
    with np.errstate(divide="ignore"):
        result = log(direct)
    far = direct < 1e-280
    if np.any(far):
        # Legendre's continued fraction, from its end: quick where x is far above dof.
        y = np.where(far, half, a + 1e3)
        fraction = y + 401 - a
        for i in range(200, 0, -1):
            fraction = y + 2 * i - 1 - a - i * (i - a) / fraction
        series = special.xlogy(a, y) - y - special.gammaln(a) - log(fraction)
        result = np.where(far, series, result)
    return result


def _two_sided_root(u, kind, dof):
    """Return parts of the square of a Z or t field from those of its two sides."""
    scale, factor = _parts(np.sqrt(u), kind, dof)
    return scale + log(2), factor


def _quadratic_parts(x, k, log_sf, log_kernel, log_const, linear, square):
    """Return parts of chi2 and F fields, which are powers times polynomials of degree 0 to 2."""
    ones = np.ones_like(x)
    quadratic = square[0] + square[1] * x + square[2] * x**2
    powers = (k - _ORDERS[1:]) / 2
    if k == 2:
        # The constant term vanishes: one power less, so that 0 has a value.
        quadratic = square[1] + square[2] * x
        powers[2] += 1
    scale = [log_sf]
    scale += [c + special.xlogy(p, x) + log_kernel for c, p in zip(log_const, powers)]
    return np.stack(scale), np.stack([ones, ones, linear[0] + linear[1] * x, quadratic])


def _parts(u, kind, dof):
    """Return log scale and signed factor of the densities, each of shape (4, ...)."""
    d = _ORDERS[1:]
    if kind == "t" and np.isinf(dof[0]):
        kind = "Z"
    if kind == "F" and np.isinf(dof[1]):
        kind, u, dof = "chi2", u * dof[0], dof[:1]
    if kind in ("Z", "t"):
        # Worsley et al. 1996, Table II, Gaussian and t.
        if kind == "Z":
            log_sf, kernel, slope, bend = special.log_ndtr(-u), -(u**2) / 2, 1.0, 1.0
        else:
            (v,) = dof
            log_sf, kernel = log_sf_t(u, v), (1 - v) / 2 * special.log1p(u**2 / v)
            slope, bend = special.poch(v / 2, 0.5) / np.sqrt(v / 2), (v - 1) / v
        scale = [log_sf] + [kernel + i * _LOG_4LN2 / 2 - (i + 1) * _LOG_2PI / 2 for i in d]
        return np.stack(scale), np.stack([u**0, u**0, slope * u, bend * u**2 - 1])
    k = dof[0]
    base = (_LOG_4LN2 - _LOG_2PI) * d / 2 - special.gammaln(k / 2)
    if kind == "chi2":
        if k == 1:
            return _two_sided_root(u, "Z", ())
        # Worsley 1994, chi-squared fields.
        return _quadratic_parts(
            u,
            k,
            _log_sf_chi2(u, k),
            -u / 2,
            base - (k - 2) / 2 * log(2),
            (-(k - 1), 1),
            ((k - 1) * (k - 2), -(2 * k - 1), 1),
        )
    v = dof[1]
    if k == 1:
        return _two_sided_root(u, "t", (v,))
    # Worsley 1994, F fields.
    x = k * u / v
    const = (2 - d) / 2 * log(2) + special.gammaln((v + k - d) / 2) - special.gammaln(v / 2)
    return _quadratic_parts(
        x,
        k,
        log_sf_f(u, k, v),
        -(v + k - 2) / 2 * special.log1p(x),
        base + const,
        (-(k - 1), v - 1),
        ((k - 1) * (k - 2), -(2 * v * k - v - k - 1), (v - 1) * (v - 2)),
    )


def _checked_parts(u, field):
    u = np.asarray(u, dtype=float)
    if field.kind in ("F", "chi2") and np.any(u < 0):
        raise ValueError(f"{field.kind} is >= 0, got {np.nanmin(u):g}")
    infinite = np.isinf(u)
    scale, factor = _parts(np.where(infinite, 1.0, u), field.kind, field.dof)
    at_infinity = np.full_like(scale, -np.inf)
    at_infinity[0] = np.where(u > 0, -np.inf, 0.0)
    return np.where(infinite, at_infinity, scale), np.where(infinite, 1.0, factor)


def ec_densities(
    u: ArrayLike, kind: str, dof: float | tuple[float, float] | None = None
) -> np.ndarray:
    """Return the Euler characteristic densities of a field above a height.

    Parameters
    ----------
    u : array, shape (...)
        Heights, in units of the statistic.
    kind : {"Z", "t", "F", "chi2"}
        Field.
    dof : float, (float, float) or None
        Degrees of freedom, as in `StatField`.

    Returns
    -------
    array, shape (4, ...)
        Density per resel in 0 to 3 dimensions; the first is the tail of one voxel. At 0, F and
        chi2 have the limit from above. Negative where holes outnumber clusters.

    Raises
    ------
    ValueError
        For an unknown field, wrong degrees of freedom, or a negative F or chi2.

    Notes
    -----
    chi2 with one degree of freedom is the square of Z, and has twice its densities. SPM12 has a
    further factor u^((d - 1) / 2) in chi2 densities of dimension 2 and 3, which breaks this.

    Examples
    --------
    >>> ec_densities(4.0, "t", 29).round(6).tolist()
    [0.0002, 0.000565, 0.001488, 0.003601]
    """
    scale, factor = _checked_parts(u, StatField(kind, dof))
    return factor * exp(scale)


def log_ec_densities(u: ArrayLike, field: StatField) -> np.ndarray:
    """Return the logarithm of the densities of a field or a conjunction, accurate in the tail.

    Negative densities count as 0 (logarithm -inf): below their last root, the number of clusters
    and the Euler characteristic have parted.

    Parameters
    ----------
    u : array, shape (...)
        Heights.
    field : StatField
        The statistic; the minimum over maps where ``n_maps`` > 1.

    Returns
    -------
    array, shape (4, ...)
        Natural logarithm of the density per resel in 0 to 3 dimensions.

    Notes
    -----
    A conjunction of n maps has the coefficients of the n-th power of the polynomial whose
    coefficients are EC_d sqrt(pi) / Gamma((d + 1) / 2) (Worsley and Friston 2000, Statistics &
    Probability Letters 47:135).

    Examples
    --------
    >>> log_ec_densities(50.0, StatField("Z")).round(2).tolist()
    [-1254.83, -1251.33, -1247.83, -1244.32]
    """
    scale, factor = _checked_parts(u, field)
    with np.errstate(divide="ignore"):
        logs = scale + log(np.maximum(factor, 0))
        if field.n_maps == 1:
            return logs
        shape = (4,) + (1,) * (logs.ndim - 1)
        logs = logs + _LOG_G.reshape(shape)
        top = logs.max(axis=0)
        top = np.where(np.isfinite(top), top, 0.0)
        once = exp(logs - top)
        power = once
        for _ in range(field.n_maps - 1):
            power = np.stack([(power[: d + 1] * once[d::-1]).sum(axis=0) for d in _ORDERS])
        return log(power) + field.n_maps * top - _LOG_G.reshape(shape)
