"""Effect sizes, their intervals by noncentral t and F, and equivalence.

Sizes are made of statistics that a model gives already, so they go with any estimator that has a t
or F with degrees of freedom. Bounds come from tables, one for each number of degrees of freedom
(`nipype_group.stats.noncentral`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from nipype_group.stats.distributions import log_sf_t, t_to_z
from nipype_group.stats.elementary import exp
from nipype_group.stats.matrix_products import sum_of_squares
from nipype_group.stats.noncentral import (
    f_noncentrality,
    interpolated_f_noncentrality,
    interpolated_t_noncentrality,
    t_noncentrality,
)

# Voxels of the same degrees of freedom from which a table of their bounds is worth its time.
_TABLE_FROM = 1000
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
    bounds = _by_dof(
        partial(interpolated_t_noncentrality, level=level),
        partial(t_noncentrality, level=level),
        t,
        dof,
    )
    return bounds[0] * size_per_t, bounds[1] * size_per_t


def _by_dof(
    table: Callable[..., Interval],
    exact: Callable[..., Interval],
    statistic: ArrayLike,
    *dofs: ArrayLike,
) -> Interval:
    """Return bounds of statistics: from a table where many have the same degrees of freedom."""
    values, *numbers = np.broadcast_arrays(
        *(np.asarray(own, dtype=float) for own in (statistic, *dofs))
    )
    flat, rows = values.ravel(), np.stack([own.ravel() for own in numbers])
    # One number for all of them needs no sorting.
    if flat.size and (rows == rows[:, :1]).all():
        one = table if flat.size >= _TABLE_FROM else exact
        return one(values, *rows[:, 0].tolist())
    found = np.empty((2, flat.size))
    distinct, places, counts = np.unique(rows, axis=1, return_inverse=True, return_counts=True)
    owner = np.ravel(places)
    for place in np.flatnonzero(counts >= _TABLE_FROM):
        own = owner == place
        found[:, own] = table(flat[own], *distinct[:, place].tolist())
    few = counts[owner] < _TABLE_FROM
    if few.any():
        found[:, few] = exact(flat[few], *rows[:, few])
    return found[0].reshape(values.shape), found[1].reshape(values.shape)


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
    share: ArrayLike, dof_num: ArrayLike, dof_den: ArrayLike, level: float = 0.95
) -> Interval:
    """Return the interval of a share of the sum of squares: eta, omega, epsilon or R squared.

    The share is that of an F (of the observed one, where it is partial eta squared), whose bounds
    of noncentrality are shares ncp / (ncp + dof_den); regressors are fixed.

    Parameters
    ----------
    share : array, shape (v,)
        From 0 to below 1.
    dof_num, dof_den : float or array, shape (v,)
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
    lower, upper = _noncentrality_of_f(f, dof_num, dof_den, level)
    return lower / (lower + dof_den), upper / (upper + dof_den)


def _noncentrality_of_f(
    f: ArrayLike, dof_num: ArrayLike, dof_den: ArrayLike, level: float
) -> Interval:
    """Return the interval of the noncentrality of F."""
    return _by_dof(
        partial(interpolated_f_noncentrality, level=level),
        partial(f_noncentrality, level=level),
        f,
        dof_num,
        dof_den,
    )


def omega_interval(
    f: ArrayLike,
    dof_num: ArrayLike,
    dof_den: ArrayLike,
    level: float = 0.95,
    epsilon: ArrayLike = 1.0,
) -> Interval:
    """Return the interval of partial omega squared (Steiger 2004).

    Omega squared is n / (n + dof_num + dof_den + 1) with (F - 1) dof_num for the noncentrality n,
    and its interval the same of the bounds of n. `share_interval` of omega squared, which takes it
    for that of an observed F, holds a small effect in but 57 % of studies.

    Parameters
    ----------
    f : array, shape (v,)
    dof_num, dof_den : float or array, shape (v,)
        Degrees of freedom of the F.
    level : float
    epsilon : float or array, shape (v,)
        What both were multiplied by, where they are corrected for sphericity.

    Returns
    -------
    lower, upper : arrays, shape (v,)

    Examples
    --------
    >>> lower, upper = omega_interval([4.0, 0.01], 2, 21)
    >>> lower.round(4).tolist(), upper.round(4).tolist()
    ([0.0, 0.0], [0.4905, 0.0])
    """
    n_maps = sum(np.asarray(own, dtype=float) for own in (dof_num, dof_den, epsilon))
    lower, upper = _noncentrality_of_f(f, dof_num, dof_den, level)
    return lower / (lower + n_maps), upper / (upper + n_maps)


def r_squared_interval(
    r_squared: ArrayLike, n_regressors: ArrayLike, dof: ArrayLike, level: float = 0.95
) -> Interval:
    """Return the interval of the R squared of a model, whose regressors are fixed.

    By the noncentral F of all regressors beside the constant (Smithson 2001, Educational and
    Psychological Measurement 61:605). Where regressors are drawn with the maps, as ages of
    participants are, it is a little too narrow.

    Parameters
    ----------
    r_squared : array, shape (v,)
        From 0 to 1.
    n_regressors : int or array, shape (v,)
        Rank of the model less one for its constant, if it holds any.
    dof : int or array, shape (v,)
        Residual degrees of freedom.
    level : float

    Returns
    -------
    lower, upper : arrays, shape (v,)
        0 where there are no residuals, no regressors or no degrees of freedom.

    Examples
    --------
    >>> lower, upper = r_squared_interval([0.5, 1.0], 3, [26, 26], 0.9)
    >>> lower.round(4).tolist(), upper.round(4).tolist()
    ([0.2264, 0.0], [0.6475, 0.0])
    """
    values, n_regressors, dof = np.broadcast_arrays(
        *(np.asarray(own, dtype=float) for own in (r_squared, n_regressors, dof))
    )
    found = np.zeros((2, *values.shape))
    alive = (values < 1) & (n_regressors > 0) & (dof > 0)
    if alive.any():
        own = values[alive], n_regressors[alive], dof[alive]
        found[:, alive] = share_interval(*own, level)
    return found[0], found[1]


@dataclass(frozen=True)
class SizedContrast:
    """A contrast at voxels that have a statistic, as its sizes take it.

    Parameters
    ----------
    test : {"t", "F"}
    stat : array, shape (v,)
    rank, error_dof : int, and float or array, shape (v,)
        Degrees of freedom of numerator and error before any correction.
    dof_num, dof : float or arrays, shape (v,)
        Those that the statistic is tested at.
    size_per_t : float or array, shape (v,), optional
        d of a t of 1, of t.
    """

    test: str
    stat: np.ndarray
    rank: int
    error_dof: np.ndarray | float
    dof_num: np.ndarray | float
    dof: np.ndarray | float
    size_per_t: np.ndarray | float = 0.0

    @property
    def f(self) -> np.ndarray:
        """F, of t its square."""
        return np.square(self.stat) if self.test == "t" else self.stat


@dataclass(frozen=True)
class Size:
    """A size of an effect and its interval.

    Parameters
    ----------
    estimate : array, shape (v,)
    lower, upper : arrays, shape (v,), optional
        None where no distribution tells them.
    """

    estimate: np.ndarray
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None

    @property
    def maps(self) -> dict[str, np.ndarray]:
        """Maps that there are of it by the ends of their names, which are "", Lower and Upper."""
        own = {"": self.estimate, "Lower": self.lower, "Upper": self.upper}
        return {end: values for end, values in own.items() if values is not None}


def _d(tested: SizedContrast, level: float) -> Size:
    bounds = d_interval(tested.stat, tested.dof, tested.size_per_t, level)
    return Size(tested.stat * tested.size_per_t, *bounds)


def _g(tested: SizedContrast, level: float) -> Size:
    d, j = _d(tested, level), hedges_correction(tested.dof)
    return Size(*(j * values for values in d.maps.values()))


def _share(share: Callable[..., np.ndarray], tested: SizedContrast, level: float) -> Size:
    own = share(tested.f, tested.rank, tested.error_dof)
    return Size(own, *share_interval(own, tested.dof_num, tested.dof, level))


def _omega(tested: SizedContrast, level: float) -> Size:
    own = omega_squared(tested.f, tested.rank, tested.error_dof)
    epsilon = np.asarray(tested.dof_num) / tested.rank
    return Size(own, *omega_interval(tested.f, tested.dof_num, tested.dof, level, epsilon))


def _partial_r(tested: SizedContrast, level: float) -> Size:
    return Size(
        partial_r(tested.stat, tested.dof), *partial_r_interval(tested.stat, tested.dof, level)
    )


_SIZES: dict[str, Callable[[SizedContrast, float], Size]] = {
    "d": _d,
    "g": _g,
    "partial-eta2": partial(_share, partial_eta_squared),
    "omega2": _omega,
    "partial-r": _partial_r,
}
# Sizes that have a sign, and so are of t.
SIGNED = ("d", "g", "partial-r", "d-av")


def size_of(name: str, tested: SizedContrast, level: float = 0.95) -> Size:
    """Return a size of an effect with its interval by noncentral t or F.

    Parameters
    ----------
    name : {"d", "g", "partial-eta2", "omega2", "partial-r"}
        "d", "g" and "partial-r" have a sign, and are of t.
    tested : SizedContrast
        Shares of an F that is corrected for sphericity have the interval of the corrected degrees
        of freedom.
    level : float

    Returns
    -------
    Size

    Raises
    ------
    ValueError
        Where an F is asked for a size that has a sign.

    Examples
    --------
    >>> tested = SizedContrast("t", np.array([4.1973]), 1, 29, 1, 29, np.sqrt(1 / 30))
    >>> found = size_of("d", tested)
    >>> [own.round(4).tolist() for own in (found.estimate, found.lower, found.upper)]
    [[0.7663], [0.3531], [1.1694]]
    """
    if tested.test == "F" and name in SIGNED:
        raise ValueError(f"{name} has a sign, and an F has none")
    return _SIZES[name](tested, level)


def sizes_of_maps(
    names: Sequence[str],
    test: str,
    rank: int,
    maps: Mapping[str, np.ndarray],
    level: float = 0.95,
) -> dict[str, Size]:
    """Return the sizes that the maps of a contrast tell, 0 at voxels without a statistic.

    Parameters
    ----------
    names : sequence of str
        As for `size_of`; those that an F does not have are left out, as are those that take more
        than the maps of the contrast.
    test : {"t", "F"}
    rank : int
        Degrees of freedom of the numerator before any correction.
    maps : dict of arrays, shape (v,)
        stat, variance (0 without a statistic), spread (the standard deviation that d is in units
        of), dof and dof_numerator, at which the statistic is tested.
    level : float

    Returns
    -------
    dict of str to Size

    Examples
    --------
    >>> one = np.ones(2)
    >>> maps = {"stat": 2 * one, "variance": np.array([0.04, 0]), "spread": one}
    >>> found = sizes_of_maps(["d"], "t", 1, maps | {"dof": 24 * one, "dof_numerator": one})
    >>> found["d"].estimate.round(4).tolist(), found["d"].lower.round(4).tolist()
    ([0.4, 0.0], [-0.0117, 0.0])
    """
    alive = np.flatnonzero((maps["variance"] > 0) & (maps["dof"] > 0))
    own = {name: maps[name][alive] for name in ("stat", "variance", "spread", "dof")}
    dof_num = maps["dof_numerator"][alive]
    tested = SizedContrast(
        test, own["stat"], rank, own["dof"] * rank / dof_num, dof_num, own["dof"]
    )
    if test == "t":
        tested = replace(tested, size_per_t=np.sqrt(own["variance"]) / own["spread"])
    found = {}
    for name in names:
        if name not in _SIZES or (test == "F" and name in SIGNED):
            continue
        volumes = np.zeros((3, len(maps["stat"])))
        size = size_of(name, tested, level)
        volumes[:, alive] = size.estimate, size.lower, size.upper
        found[name] = Size(*volumes)
    return found


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


def equivalence_maps(
    maps: Mapping[str, np.ndarray], bound: float, unit: str
) -> dict[str, np.ndarray]:
    """Return p and z of equivalence from the maps of a t contrast.

    Parameters
    ----------
    maps : dict of arrays, shape (v,)
        effect, variance (0 without a statistic), spread (the standard deviation that d is in units
        of) and dof.
    bound : float
        Above 0; the effect lies between its negative and itself.
    unit : {"effect", "d"}
        In units of the effect, or of the standard deviation of each voxel, taken as if it were
        known.

    Returns
    -------
    dict of arrays, shape (v,)
        p, the larger of both; z, with p as its upper tail. 1 and 0 without a statistic.

    Examples
    --------
    >>> one = np.ones(2)
    >>> maps = {"effect": 0.1 * one, "variance": np.array([0.04, 0]), "spread": one}
    >>> found = equivalence_maps(maps | {"dof": 20 * one}, 0.5, "d")
    >>> found["p"].round(4).tolist(), found["z"].round(4).tolist()
    ([0.0296, 1.0], [1.8862, 0.0])
    """
    alive = np.flatnonzero((maps["variance"] > 0) & (maps["dof"] > 0))
    effect, variance, dof = (maps[name][alive] for name in ("effect", "variance", "dof"))
    high = bound * (maps["spread"][alive] if unit == "d" else np.ones(len(alive)))
    p, z = np.ones(len(maps["effect"])), np.zeros(len(maps["effect"]))
    if len(alive):
        found = equivalence(effect, variance, dof, -high, high)
        p[alive] = found.p
        z[alive] = t_to_z(np.minimum(found.t_low, -found.t_high), dof)
    return {"p": p, "z": z}


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
