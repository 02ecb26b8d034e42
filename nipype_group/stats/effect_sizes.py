"""Effect sizes, their intervals by noncentral t and F, and equivalence.

Sizes are made of statistics that a model gives already, so they go with any estimator that has a t
or F with degrees of freedom. Bounds come from tables, one for each number of degrees of freedom
(`nipype_group.stats.noncentral`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from nipype_group.stats.distributions import log_sf_t
from nipype_group.stats.elementary import exp
from nipype_group.stats.matrix_products import sum_of_squares
from nipype_group.stats.noncentral import (
    interpolated_f_noncentrality,
    interpolated_t_noncentrality,
)

Interval = tuple[np.ndarray, np.ndarray]


def hedges_correction(dof: ArrayLike) -> np.ndarray:
    """Return J, by which d is multiplied to be an unbiased g (Hedges 1981, equation 6e).

    Gamma(dof / 2) / (sqrt(dof / 2) Gamma((dof - 1) / 2)), exactly.

    Parameters
    ----------
    dof : float or array
        Degrees of freedom of the standard deviation, above 1; 0 for 1, where g is not defined.

    Examples
    --------
    >>> hedges_correction([29, 4]).round(6).tolist()
    [0.973875, 0.797885]
    """
    half = np.asarray(dof, dtype=float) / 2
    return special.poch(half - 0.5, 0.5) / np.sqrt(half)


def d_interval(
    t: ArrayLike, dof: ArrayLike, size_per_t: float | np.ndarray, level: float = 0.95
) -> Interval:
    """Return the interval of d, whose estimate is t times its size per t (Steiger 2004).

    Parameters
    ----------
    t : array, shape (v,)
    dof : float or array, shape (v,)
        Degrees of freedom, at least 1.
    size_per_t : float or array
        d of a t of 1: sqrt(c (X'X)^-1 c') of independent rows, so sqrt(1 / n) of a mean and
        sqrt(1 / n1 + 1 / n2) of two; `ErrorTerm.size_per_t` of d_z.
    level : float
        Share of intervals that hold d.

    Returns
    -------
    lower, upper : arrays, shape (v,)
        Those of g are J times as large.

    Examples
    --------
    >>> lower, upper = d_interval([4.1973], 29, np.sqrt(1 / 30))
    >>> lower.round(4).tolist(), upper.round(4).tolist()
    ([0.3531], [1.1694])
    """
    bounds = _by_dof(lambda own, n: interpolated_t_noncentrality(own, n, level), t, dof)
    return bounds[0] * size_per_t, bounds[1] * size_per_t


def _by_dof(bounds: Callable[[np.ndarray, float], Interval], statistic: ArrayLike, dof: ArrayLike):
    """Return bounds of statistics, those of equal degrees of freedom together."""
    statistic, dof = np.broadcast_arrays(
        *(np.asarray(values, dtype=float) for values in (statistic, dof))
    )
    found = np.empty((2, *statistic.shape))
    for number in np.unique(dof):
        own = dof == number
        found[:, own] = bounds(statistic[own], float(number))
    return found[0], found[1]


def partial_r(t: ArrayLike, dof: ArrayLike) -> np.ndarray:
    """Return the partial correlation that a t tells: t / sqrt(t^2 + dof).

    Examples
    --------
    >>> partial_r([3.0, -4.0], [16, 9]).tolist()
    [0.6, -0.8]
    """
    t = np.asarray(t, dtype=float)
    return t / np.sqrt(np.square(t) + dof)


def partial_r_interval(t: ArrayLike, dof: ArrayLike, level: float = 0.95) -> Interval:
    """Return the interval of the partial correlation of fixed regressors; see `d_interval`.

    Examples
    --------
    >>> lower, upper = partial_r_interval([3.25633], 26, 0.9)
    >>> lower.round(4).tolist(), upper.round(4).tolist()
    ([0.2691], [0.7024])
    """
    lower, upper = d_interval(t, dof, 1.0, level)
    return partial_r(lower, dof), partial_r(upper, dof)


def partial_eta_squared(f: ArrayLike, dof_num: ArrayLike, dof_den: ArrayLike) -> np.ndarray:
    """Return SS / (SS + SS error), by F: of the F of all regressors it is R squared.

    Examples
    --------
    >>> partial_eta_squared([4.0], 2, 24).tolist()
    [0.25]
    """
    explained = np.asarray(dof_num) * np.asarray(f, dtype=float)
    return explained / (explained + dof_den)


def omega_squared(f: ArrayLike, dof_num: ArrayLike, dof_den: ArrayLike) -> np.ndarray:
    """Return partial omega squared, less biased than eta squared, at least 0 (Hays 1963).

    (F - 1) dof_num / (F dof_num + dof_den + 1).

    Examples
    --------
    >>> omega_squared([4.0, 0.5], 2, 21).tolist()
    [0.2, 0.0]
    """
    f, dof_num = np.asarray(f, dtype=float), np.asarray(dof_num)
    return np.maximum((f - 1) * dof_num / (f * dof_num + dof_den + 1), 0.0)


def epsilon_squared(f: ArrayLike, dof_num: ArrayLike, dof_den: ArrayLike) -> np.ndarray:
    """Return partial epsilon squared, at least 0 (Kelley 1935); of all regressors adjusted R2.

    (F - 1) dof_num / (F dof_num + dof_den).

    Examples
    --------
    >>> epsilon_squared([4.0, 0.5], 2, 22).tolist()
    [0.2, 0.0]
    """
    f, dof_num = np.asarray(f, dtype=float), np.asarray(dof_num)
    return np.maximum((f - 1) * dof_num / (f * dof_num + dof_den), 0.0)


def share_interval(
    share: ArrayLike, dof_num: float, dof_den: ArrayLike, level: float = 0.95
) -> Interval:
    """Return the interval of a share of the sum of squares: eta, omega, epsilon or R squared.

    The share is that of an F (of the observed one, where it is partial eta squared), whose bounds
    of noncentrality are shares ncp / (ncp + dof_den); regressors are fixed.

    Parameters
    ----------
    share : array, shape (v,)
        From 0 to below 1.
    dof_num : float
    dof_den : float or array, shape (v,)
        Degrees of freedom of the F.
    level : float
        Share of intervals that hold it, two-sided.

    Returns
    -------
    lower, upper : arrays, shape (v,)

    Examples
    --------
    >>> lower, upper = share_interval(partial_eta_squared([10.603682], 1, 26), 1, 26, 0.9)
    >>> lower.round(4).tolist(), upper.round(4).tolist()
    ([0.0724], [0.4933])
    """
    share = np.asarray(share, dtype=float)
    f = (share / dof_num) / ((1 - share) / dof_den)
    lower, upper = _by_dof(
        lambda own, n: interpolated_f_noncentrality(own, dof_num, n, level), f, dof_den
    )
    return lower / (lower + dof_den), upper / (upper + dof_den)


def generalised_eta_squared(ss: ArrayLike, error_ss: Sequence[ArrayLike]) -> np.ndarray:
    """Return SS / (SS + all errors of participants) (Olejnik and Algina 2003).

    It compares designs: factors that others vary within participants leave it alone. All factors
    count as manipulated, none as measured.

    Parameters
    ----------
    ss : array, shape (v,)
        Sum of squares of the effect.
    error_ss : sequence of arrays, shape (v,)
        Those of every error: of the mean of participants' maps, and of each effect within them.

    Examples
    --------
    >>> generalised_eta_squared([2.0], [[5.0], [1.0]]).tolist()
    [0.25]
    """
    ss = np.asarray(ss, dtype=float)
    whole = ss.copy()
    for own in error_ss:
        whole = whole + own
    return ss / whole


@dataclass(frozen=True)
class PairedSizes:
    """Sizes of the difference of two conditions, by what it is divided by.

    Parameters
    ----------
    d_z : array, shape (v,)
        The standard deviation of the differences.
    d_av : array, shape (v,)
        The root of the mean variance of both conditions.
    d_av_mean_sd : array, shape (v,)
        The mean of their standard deviations (Cumming 2012).
    d_rm : array, shape (v,)
        d_z times sqrt(2 (1 - r)), r the correlation of conditions (Morris and DeShon 2002).
    """

    d_z: np.ndarray
    d_av: np.ndarray
    d_av_mean_sd: np.ndarray
    d_rm: np.ndarray


def paired_sizes(first: np.ndarray, second: np.ndarray) -> PairedSizes:
    """Return the sizes of the difference first - second of participants who have both.

    Parameters
    ----------
    first, second : arrays, shape (n, v)
        A row a participant, n at least 2.

    Returns
    -------
    PairedSizes
        NaN where what a size is divided by is 0.

    Examples
    --------
    >>> sizes = paired_sizes(np.array([[1.0], [2], [6]]), np.array([[0.0], [3], [3]]))
    >>> sizes.d_z.round(4).tolist(), sizes.d_av.round(4).tolist(), sizes.d_rm.round(4).tolist()
    ([0.5], [0.4472], [0.4155])
    """
    differences = first - second
    mean = differences.sum(axis=0) / len(differences)
    sd_first, sd_second, sd = map(_standard_deviation, (first, second, differences))
    with np.errstate(divide="ignore", invalid="ignore"):
        d_z = np.where(sd > 0, mean / sd, np.nan)
        # 1 - r loses the digits of a correlation near 1.
        twice = (np.square(sd) - np.square(sd_first - sd_second)) / (sd_first * sd_second)
        pooled = np.sqrt((np.square(sd_first) + np.square(sd_second)) / 2)
        return PairedSizes(
            d_z=d_z,
            d_av=np.where(pooled > 0, mean / pooled, np.nan),
            d_av_mean_sd=np.where(pooled > 0, 2 * mean / (sd_first + sd_second), np.nan),
            d_rm=np.where(sd_first * sd_second > 0, d_z * np.sqrt(np.maximum(twice, 0)), np.nan),
        )


def _standard_deviation(values: np.ndarray) -> np.ndarray:
    n = len(values)
    return np.sqrt(sum_of_squares(values - values.sum(axis=0) / n) / (n - 1))


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of an effect.

    Parameters
    ----------
    t_low, t_high : arrays, shape (v,)
        Distance of the effect from each bound, in standard errors.
    p_low, p_high : arrays, shape (v,)
        That the effect is not above the lower bound, and that it is not below the upper one.
    """

    t_low: np.ndarray
    t_high: np.ndarray
    p_low: np.ndarray
    p_high: np.ndarray

    @property
    def p(self) -> np.ndarray:
        """The larger p, which is small where the effect lies between the bounds."""
        return np.maximum(self.p_low, self.p_high)


def equivalence(
    effect: ArrayLike, variance: ArrayLike, dof: ArrayLike, low: ArrayLike, high: ArrayLike
) -> Equivalence:
    """Test whether an effect lies between two bounds (Schuirmann 1987).

    Parameters
    ----------
    effect, variance : arrays, shape (v,)
        Variance is that of the effect, above 0.
    dof : float or array, shape (v,)
    low, high : float or array, shape (v,)
        In units of the effect. A bound in d is that multiple of the sample's standard deviation,
        which is taken as if it were known.

    Returns
    -------
    Equivalence

    Raises
    ------
    ValueError
        Where a lower bound is not below the upper one.

    Examples
    --------
    >>> found = equivalence([0.1, 0.6], [0.04, 0.04], 20, -0.5, 0.5)
    >>> found.p.round(4).tolist()
    [0.0296, 0.6887]
    """
    if not (np.asarray(low) < np.asarray(high)).all():
        raise ValueError("the lower bound of equivalence is not below the upper one")
    error = np.sqrt(np.asarray(variance, dtype=float))
    t_low = (np.asarray(effect, dtype=float) - low) / error
    t_high = (np.asarray(effect, dtype=float) - high) / error
    dof = np.broadcast_to(np.asarray(dof, dtype=float), t_low.shape)
    return Equivalence(t_low, t_high, exp(log_sf_t(t_low, dof)), exp(log_sf_t(-t_high, dof)))


def effect_interval(
    effect: ArrayLike, variance: ArrayLike, dof: ArrayLike, level: float = 0.95
) -> Interval:
    """Return the interval of an effect by t; that of level 1 - 2 alpha shows an equivalence.

    Parameters
    ----------
    effect, variance : arrays, shape (v,)
    dof : float or array, shape (v,)
    level : float

    Examples
    --------
    >>> lower, upper = effect_interval([0.1], [0.04], 20, 0.9)
    >>> lower.round(4).tolist(), upper.round(4).tolist()
    ([-0.2449], [0.4449])
    """
    half = special.stdtrit(dof, (1 + level) / 2) * np.sqrt(np.asarray(variance, dtype=float))
    return np.asarray(effect) - half, np.asarray(effect) + half
