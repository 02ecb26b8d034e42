"""Corrected p below what the number of shuffles resolves, from a curve fitted to the null.

"gpd" replaces the empirical tail by a generalised Pareto distribution (Knijnenburg et al. 2009),
"gamma" the whole null by a Pearson type III distribution of the same three moments (Winkler et
al. 2016, section 2.3.6). The null includes the unshuffled maximum in both: it keeps p valid, and
it is why a strong effect is given a larger p than the shuffles alone would suggest.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from nipype_group.stats.elementary import exp, log, power

TAIL_METHODS = ("gpd", "gamma")
# A quarter of it makes the smallest tail for which the critical values are good.
MIN_SHUFFLES = 100
_MIN_TAIL = 25
_LARGEST_TAIL = 0.25
# Share of the null by which the tail shrinks where a fit is refused.
_TAIL_STEP = 0.01
# Empirical p from here on are precise enough as they are.
_REPLACED_BELOW = 0.1
_LEVEL = 0.05
# Below it a shape is 0 to the last digit of the p.
_ZERO_SHAPE = 1e-10
# A smaller skewness changes no p that a double holds by a tenth.
_MIN_SKEWNESS = 1e-5
# Upper tails of the incomplete gamma functions are followed by series below it.
_UNDERFLOW = 1e-290

# Critical values of Anderson and Darling's statistic for a generalised Pareto distribution of
# estimated scale and shape: Choulakian & Stephens (2001), Technometrics 43:478, table 2. Rows go
# with the shape as it is here, negative for a bounded tail: theory and simulation say so.
_CRITICAL_SHAPES = np.array([-0.5, -0.4, -0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.5, 0.9])
_CRITICAL_P = np.array([0.5, 0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.001])
_CRITICAL_VALUES = np.array(
    [
        [0.496, 0.735, 1.061, 1.321, 1.590, 1.958, 2.243, 2.922],
        [0.468, 0.688, 0.985, 1.221, 1.465, 1.799, 2.058, 2.674],
        [0.445, 0.649, 0.924, 1.140, 1.365, 1.672, 1.909, 2.475],
        [0.426, 0.617, 0.873, 1.074, 1.283, 1.567, 1.788, 2.314],
        [0.410, 0.591, 0.831, 1.020, 1.215, 1.481, 1.687, 2.176],
        [0.397, 0.569, 0.796, 0.974, 1.158, 1.409, 1.603, 2.064],
        [0.386, 0.550, 0.766, 0.935, 1.110, 1.348, 1.532, 1.966],
        [0.376, 0.534, 0.741, 0.903, 1.069, 1.296, 1.471, 1.893],
        [0.356, 0.499, 0.685, 0.830, 0.978, 1.180, 1.336, 1.707],
        [0.339, 0.471, 0.641, 0.771, 0.905, 1.086, 1.226, 1.559],
    ]
)


@dataclass(frozen=True)
class TailFit:
    """p values from a fitted null.

    Parameters
    ----------
    p, log_p : arrays, shape of the observed values
        p and its natural logarithm. p never is 0; where it is below what a double holds, only
        the logarithm tells values apart.
    method : {"gpd", "gamma"}
        Curve asked for.
    parameters : dict
        gpd: threshold, shape (0 exponential, negative bounded), scale, n_tail (null values above
        the threshold). gamma: location, shape, scale (negative where the null is skewed to the
        left; (x - location) / scale has the gamma distribution). Empty where nothing was fitted.
    goodness : dict
        gpd: anderson_darling and its p, between .001 and .5 as far as the table goes; of the last
        fit tried where none is accepted. gamma: kolmogorov_smirnov, the largest distance between
        fitted and empirical distribution, and anderson_darling, inf where null values lie outside
        the fitted support.
    accepted : bool
        gpd: False where no fit passes, and p is empirical. gamma: False where the distance is
        above the 5 % point of Kolmogorov's distribution; p is the curve's all the same. The test
        looks at the whole null, and a misfit at small values, where no p matters, counts too.
        False, and p empirical, where all null values are equal.
    """

    p: np.ndarray
    log_p: np.ndarray
    method: str
    parameters: dict
    goodness: dict
    accepted: bool


def _empirical_p(observed, ordered, ties):
    """Return the share of the ascending null that reaches each value, ties included."""
    value = observed - ties * np.abs(observed)
    count = len(ordered) - np.searchsorted(ordered, value, side="left")
    # A value above all of the null, as no member of it is, gets no p of 0.
    return np.maximum(count, 1) / len(ordered)


def fit_gpd(excess: ArrayLike) -> tuple[float, float]:
    """Return shape and scale of a generalised Pareto distribution.

    Estimator of Zhang & Stephens (2009), Technometrics 51:316, equations 7 to 11: the profile
    likelihood averaged over a prior instead of maximised. It exists for every sample, all excesses
    lie inside its support, and for shapes in [-.5, .5] its p far out err less than those of
    maximum likelihood, moments and probability-weighted moments.

    Parameters
    ----------
    excess : array, shape (n,)
        Values less the threshold, all above 0.

    Returns
    -------
    shape, scale : float
        Survival is (1 + shape x / scale) ** (-1 / shape); exp(-x / scale) for shape 0.

    Examples
    --------
    >>> excess = -np.log((np.arange(200) + 0.5) / 200)
    >>> shape, scale = fit_gpd(excess)
    >>> abs(shape) < 0.03 and abs(scale - 1) < 0.03
    True
    """
    x = np.sort(excess)
    n_points = 20 + int(np.sqrt(len(x)))
    quartile = x[int(len(x) / 4 + 0.5) - 1]
    points = np.arange(1, n_points + 1) - 0.5
    theta = 1 / x[-1] + (1 - np.sqrt(n_points / points)) / (3 * quartile)
    # theta is -shape / scale, -theta / shape the rate, 1 / mean where theta is 0.
    shape = special.log1p(-theta[:, np.newaxis] * x).mean(axis=1)
    flat = np.abs(theta) * x[-1] < _ZERO_SHAPE
    rate = np.where(flat, 1 / x.mean(), -theta / np.where(flat, 1, shape))
    log_likelihood = len(x) * (log(rate) - shape - 1)
    best = np.average(theta, weights=exp(log_likelihood - log_likelihood.max()))
    if abs(best) * x[-1] < _ZERO_SHAPE:
        return 0.0, float(x.mean())
    shape = special.log1p(-best * x).mean()
    return float(shape), float(-shape / best)


def gpd_log_sf(excess: np.ndarray, shape: float, scale: float) -> np.ndarray:
    """Return log survival of a generalised Pareto distribution, -inf beyond its bound.

    Parameters
    ----------
    excess : array
        Values less the threshold, at least 0.
    shape, scale : float
        As `fit_gpd` returns them.

    Examples
    --------
    >>> gpd_log_sf(np.array([1.0, 2.0, 3.0]), -0.5, 1.0).round(4).tolist()
    [-1.3863, -inf, -inf]
    """
    if abs(shape) < _ZERO_SHAPE:
        return -excess / scale
    with np.errstate(divide="ignore"):
        return -special.log1p(np.maximum(shape * excess / scale, -1)) / shape


def _anderson_darling(log_cdf, log_sf):
    """Return Anderson and Darling's statistic from the curve at the ascending sample."""
    weights = 2 * np.arange(1, len(log_cdf) + 1) - 1
    return float(-len(log_cdf) - np.mean(weights * (log_cdf + log_sf[::-1])))


def anderson_darling_p(statistic: float, shape: float) -> float:
    """Return p of a generalised Pareto fit, interpolated in a table.

    The table is for maximum likelihood; the estimator of `fit_gpd` shares its large-sample
    behaviour. Shapes outside [-.5, .9] take the critical values of the nearest end.

    Parameters
    ----------
    statistic : float
        Anderson and Darling's.
    shape : float
        Estimated shape.

    Returns
    -------
    float
        Between .001 and .5, where the table ends.

    Examples
    --------
    >>> round(anderson_darling_p(0.974, 0.0), 6)
    0.05
    """
    shape = np.clip(shape, _CRITICAL_SHAPES[0], _CRITICAL_SHAPES[-1])
    critical = [np.interp(shape, _CRITICAL_SHAPES, column) for column in _CRITICAL_VALUES.T]
    return float(exp(np.interp(statistic, critical, log(_CRITICAL_P))))


def _tail_above(ordered, n_tail, ties):
    """Return the threshold that leaves at most n_tail values above, and their number.

    Equal values stay together: those tied with the first value left out are left out.
    """
    below = ordered[-n_tail - 1]
    n_above = len(ordered) - np.searchsorted(ordered, below + ties * abs(below), side="right")
    if n_above == 0:
        return below, 0
    return (below + ordered[-n_above]) / 2, int(n_above)


def _fit_tail(ordered, ties):
    """Return parameters, goodness and whether a fit to ever smaller tails passes its test."""
    parameters, goodness = {}, {}
    step = max(int(_TAIL_STEP * len(ordered)), 1)
    tried = 0
    for wanted in range(int(_LARGEST_TAIL * len(ordered)), _MIN_TAIL - 1, -step):
        threshold, n_tail = _tail_above(ordered, wanted, ties)
        if n_tail < _MIN_TAIL:
            break
        if n_tail == tried:
            continue
        tried = n_tail
        excess = ordered[-n_tail:] - threshold
        shape, scale = fit_gpd(excess)
        log_sf = gpd_log_sf(excess, shape, scale)
        statistic = _anderson_darling(log(-special.expm1(log_sf)), log_sf)
        goodness = {"anderson_darling": statistic, "p": anderson_darling_p(statistic, shape)}
        if goodness["p"] > _LEVEL:
            parameters = {
                "threshold": float(threshold),
                "shape": shape,
                "scale": scale,
                "n_tail": n_tail,
            }
            return parameters, goodness, True
    return parameters, goodness, False


def _not_beyond(log_p, null_log_p, n_null):
    """Hold p of a bounded curve at what it gives the largest null value inside its support.

    Beyond the data the bound itself is an estimate and p falls to 0 before it. The smallest
    empirical p is the limit where the curve is above it even there.
    """
    inside = null_log_p[np.isfinite(null_log_p)]
    return np.maximum(log_p, min(inside.min(initial=0.0), -log(n_null)))


def _gpd_p(observed, ordered, ties):
    empirical = _empirical_p(observed, ordered, ties)
    log_p = log(empirical)
    parameters, goodness, accepted = _fit_tail(ordered, ties)
    if not accepted:
        return empirical, log_p, parameters, goodness, False
    threshold, shape, scale = (parameters[name] for name in ("threshold", "shape", "scale"))
    log_share = log(parameters["n_tail"] / len(ordered))

    def curve(values):
        return log_share + gpd_log_sf(np.maximum(values - threshold, 0), shape, scale)

    fitted = curve(observed)
    if shape < 0:
        fitted = _not_beyond(fitted, curve(ordered[-1:]), len(ordered))
    # The curve may pass above the smallest p that stays empirical; p must not rise there.
    kept = _empirical_p(ordered, ordered, ties)
    fitted = np.minimum(fitted, log(kept[kept >= _REPLACED_BELOW].min()))
    replaced = (observed > threshold) & (empirical < _REPLACED_BELOW)
    p = np.where(replaced, exp(fitted), empirical)
    return p, np.where(replaced, fitted, log_p), parameters, goodness, True


def _log_upper_gamma(shape, y):
    """Return log of the regularised upper incomplete gamma function, also where it underflows."""
    upper = special.gammaincc(shape, y)
    far = upper < _UNDERFLOW
    log_upper = log(np.where(far, 1, upper))
    if far.any():
        x = y[far]
        # Legendre's continued fraction (DLMF 8.9.2, contracted), by Lentz's method.
        b = x + 1 - shape
        c = np.full_like(x, np.inf)
        d = 1 / b
        fraction = d.copy()
        for n in range(1, 10_000):
            a = n * (shape - n)
            b = b + 2
            d = 1 / (a * d + b)
            c = b + a / c
            fraction *= c * d
            if np.abs(c * d - 1).max() < 1e-15:
                break
        log_upper[far] = shape * log(x) - x - special.gammaln(shape) + log(fraction)
    return log_upper


def _log_lower_gamma(shape, y):
    """Return log of the regularised lower incomplete gamma function; -inf at 0."""
    lower = special.gammainc(shape, y)
    far = (lower < _UNDERFLOW) & (y > 0)
    with np.errstate(divide="ignore"):
        log_lower = log(np.where(far, 1, lower))
    if far.any():
        x = y[far]
        # Power series (DLMF 8.7.1); y is below the shape so far out, and it converges.
        term = np.ones_like(x)
        total = term.copy()
        n = 0
        while term.max() > 1e-17 * total.min():
            n += 1
            term = term * x / (shape + n)
            total += term
        log_lower[far] = shape * log(x) - x - special.gammaln(shape + 1) + log(total)
    return log_lower


def pearson_three_log_tails(
    values: np.ndarray, location: float, shape: float, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return log of the lower and upper tail of a shifted, perhaps reflected, gamma distribution.

    Parameters
    ----------
    values : array
        Where to evaluate.
    location, shape, scale : float
        (values - location) / scale has the gamma distribution of that shape; the scale is
        negative for a distribution skewed to the left, whose upper bound is the location.

    Returns
    -------
    lower, upper : arrays
        Natural logarithms of both tails; -inf beyond the bound.

    Examples
    --------
    >>> lower, upper = pearson_three_log_tails(np.array([3.0]), 1.0, 1.0, 2.0)
    >>> upper.round(12).tolist()
    [-1.0]
    """
    y = np.maximum((values - location) / scale, 0)
    tails = _log_lower_gamma(shape, y), _log_upper_gamma(shape, y)
    return tails if scale > 0 else tails[::-1]


def _gamma_p(observed, ordered, ties):
    mean, sd = ordered.mean(), ordered.std()
    if sd <= ties * abs(mean):
        p = _empirical_p(observed, ordered, ties)
        return p, log(p), {}, {}, False
    skewness = np.mean(power((ordered - mean) / sd, 3))
    skewness = np.copysign(max(abs(skewness), _MIN_SKEWNESS), skewness)
    parameters = {
        "location": float(mean - 2 * sd / skewness),
        "shape": float(4 / skewness**2),
        "scale": float(sd * skewness / 2),
    }
    log_cdf, log_sf = pearson_three_log_tails(ordered, **parameters)
    log_p = pearson_three_log_tails(observed, **parameters)[1]
    if skewness < 0:
        log_p = _not_beyond(log_p, log_sf, len(ordered))
    cdf = exp(log_cdf)
    reached = np.searchsorted(ordered, ordered, side="right") / len(ordered)
    passed = np.searchsorted(ordered, ordered, side="left") / len(ordered)
    distance = float(np.maximum(np.abs(reached - cdf), np.abs(passed - cdf)).max())
    goodness = {
        "kolmogorov_smirnov": distance,
        "anderson_darling": _anderson_darling(log_cdf, log_sf),
    }
    accepted = bool(special.kolmogorov(np.sqrt(len(ordered)) * distance) > _LEVEL)
    return exp(log_p), log_p, parameters, goodness, accepted


def _check_values(name: str, values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    n_bad = np.count_nonzero(~np.isfinite(values))
    if n_bad:
        raise ValueError(f"{n_bad} of {values.size} {name} values are not finite")
    return values


def approximate_p(
    null: ArrayLike, observed: ArrayLike, method: str, ties: float = 1e-9
) -> TailFit:
    """Return p of observed maxima, beyond the resolution of the number of shuffles.

    gpd: excesses over a threshold, at first those of the top quarter of the null, then ever fewer
    until Anderson and Darling's test accepts the fit (p > .05), but never under 25. p above the
    threshold is the share of the null above it times the fitted survival. Only empirical p below
    .1 are replaced. Ties are kept on one side of the threshold; cluster extents are treated as if
    continuous, and where ties are many the test refuses the fit and p stays empirical.

    gamma: p is the upper tail of the distribution with the null's mean, variance and skewness,
    for all values. A mass at 0 (shuffles without a cluster) is not modelled; `accepted` tells.

    p never rises with the value and never is 0: a curve with an upper bound is not followed
    beyond the largest null value it covers, which the observed maximum belongs to.

    Parameters
    ----------
    null : array, shape (N + 1,)
        Maxima of all shuffles, entry 0 the unshuffled one; at least 100. Larger is stronger.
    observed : array
        Values to give a p.
    method : {"gpd", "gamma"}
        Curve fitted.
    ties : float, default 1e-9
        Relative difference within which values are equal.

    Returns
    -------
    TailFit

    Raises
    ------
    ValueError
        If the method is unknown, values are not finite, or the null has under 100.

    References
    ----------
    Knijnenburg et al. (2009), Bioinformatics 25:i161. Winkler et al. (2016), NeuroImage 141:502.

    Examples
    --------
    >>> null = -np.log((np.arange(1000) + 0.5) / 1000)
    >>> fit = approximate_p(null, np.array([1.0, 7.0]), "gpd")
    >>> fit.p.round(4).tolist(), fit.accepted
    ([0.368, 0.001], True)
    >>> approximate_p(null, 7.0, "gamma").p.round(4).item()
    0.0008
    """
    if method not in TAIL_METHODS:
        raise ValueError(f"the tail method is one of {', '.join(TAIL_METHODS)}, got {method!r}")
    null = _check_values("null", null)
    if null.ndim != 1 or len(null) < MIN_SHUFFLES:
        raise ValueError(
            f"a tail is fitted to at least {MIN_SHUFFLES} null values, got shape {null.shape}; "
            "ask for more shuffles or for no approximation"
        )
    observed = _check_values("observed", observed)
    approximate = _gpd_p if method == "gpd" else _gamma_p
    p, log_p, parameters, goodness, accepted = approximate(observed.ravel(), np.sort(null), ties)
    p = np.maximum(p, np.finfo(float).tiny)
    return TailFit(
        p=p.reshape(observed.shape),
        log_p=log_p.reshape(observed.shape),
        method=method,
        parameters=parameters,
        goodness=goodness,
        accepted=accepted,
    )
