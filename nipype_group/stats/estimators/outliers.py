"""Participants who are outliers at a voxel, by a mixture of two normal distributions.

Woolrich (2008), Robust group analysis using outlier inference, NeuroImage 41:286: a map is of the
group, with variance s + tau2 about the model, or with probability `share` an outlier, whose
variance s + tau2_outlier is larger. What the mixture says of each map enlarges its variance, and
the model is fitted to the enlarged variances as to any. At a voxel whose maps do not call for the
two parameters more (Schwarz 1978), no map is an outlier. FSL takes the outliers' variance without
s, a prior on the variances, and shares that are smooth, so its probabilities are not the same.
"""

from dataclasses import dataclass

import numba
import numpy as np
from scipy import special

from nipype_group.stats.elementary import exp, log
from nipype_group.stats.estimators.between_variance import LANES, evaluate, load, new_sums
from nipype_group.stats.estimators.effect_variance import lacking
from nipype_group.stats.linear.least_squares import LinearModel, tiles
from nipype_group.stats.matrix_products import multiply

_MOST_ROUNDS = 500
# Change of a log likelihood at which its search ends.
_SETTLED = 1e-9
# Largest share of outliers: those of a majority would be the group.
_MOST_OUTLIERS = 0.5
# Most that a variance grows or shrinks by in one round.
_STEP = 8.0


@dataclass(frozen=True)
class Outliers:
    """What the mixture says of maps at voxels.

    Parameters
    ----------
    probability : array, shape (n, v)
        That each map is an outlier; 0 of a map that lacks the voxel.
    share : array, shape (v,)
        Expected share of outliers; 0 where no map is one.
    tau2, tau2_outlier : arrays, shape (v,)
        Variance between participants of either kind.
    variances : array, shape (n, v)
        Those of the maps, enlarged: with the weight (1 - p) / (s + tau2) + p / (s + tau2_outlier)
        of a map it is the inverse of the weight less tau2.
    """

    probability: np.ndarray
    share: np.ndarray
    tau2: np.ndarray
    tau2_outlier: np.ndarray
    variances: np.ndarray


def find_outliers(model: LinearModel, effects: np.ndarray, variances: np.ndarray) -> Outliers:
    """Find the maps that are outliers at every voxel.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    effects, variances : arrays, shape (n, v)
        A map whose value is not finite, or whose variance is not a positive number, lacks the
        voxel.

    Returns
    -------
    Outliers

    Examples
    --------
    >>> effects = np.array([[0.1], [-0.3], [0.2], [0.0], [-0.2], [0.3], [-0.1], [0.1], [9.0]])
    >>> model = LinearModel(np.ones((9, 1)), ("mean",))
    >>> found = find_outliers(model, effects, np.full((9, 1), 0.04))
    >>> found.probability[:, 0].round(1).tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    """
    probability, enlarged = np.zeros(effects.shape), np.array(variances, dtype=float)
    shares = np.zeros((3, effects.shape[1]))
    basis = np.ascontiguousarray(model.basis)
    for span in tiles(effects.shape[1], len(effects)):
        lacks = lacking(effects[:, span], variances[:, span])
        y = np.where(lacks, 0.0, effects[:, span])
        s = np.where(lacks, np.inf, variances[:, span])
        p, parameters = _mixture(y, s, basis)
        total = _variances(s, parameters[1:])
        weight = (1 - p) / total[0] + p / total[1]
        there = (p > 0) & ~lacks
        probability[:, span], shares[:, span] = p, parameters
        own = enlarged[:, span]
        own[there] = (1 / np.where(there, weight, 1.0) - parameters[1])[there]
    share, tau2, tau2_outlier = shares
    return Outliers(probability, share, tau2, tau2_outlier, enlarged)


def _variances(s, tau2):
    """Return the variances of both kinds of maps, shape (2, n, v)."""
    return s + tau2[:, None]


def _mixture(y, s, basis):
    """Return the probabilities of a tile, and share, tau2 and tau2_outlier, shape (3, v)."""
    n_here = multiply(np.ones(len(s)), np.isfinite(s).astype(float))
    plain = _fit(y, s, basis, np.zeros(y.shape), fixed=True)
    left = np.abs(_residuals(y, _variances(s, plain.parameters[1:2])[0], basis))
    unusual = left / np.sqrt(_variances(s, plain.parameters[1:2])[0])
    # One map alone, or a fifth of them: the likelihood of mixtures has several maxima.
    rank = np.argsort(np.argsort(-unusual, axis=0, kind="stable"), axis=0, kind="stable")
    first = _fit(y, s, basis, (rank < 1) * 0.9)
    second = _fit(y, s, basis, (rank < 0.2 * n_here) * 0.9)
    better = second.height > first.height
    p = np.where(better, second.p, first.p)
    parameters = np.where(better, second.parameters, first.parameters)
    gain = np.maximum(first.height, second.height) - plain.height
    called_for = (gain > log(n_here)) & (n_here > basis.shape[1] + 2)
    p = np.where(called_for, p, 0.0)
    plain.parameters[0] = 0.0
    return p, np.where(called_for, parameters, plain.parameters)


@dataclass(frozen=True)
class _Fit:
    """Where a search ended: p (n, v), share, tau2 and tau2_outlier (3, v), log likelihood."""

    p: np.ndarray
    parameters: np.ndarray
    height: np.ndarray


def _fit(y, s, basis, p, fixed=False):
    """Climb from probabilities to a maximum of the likelihood by expectation and maximisation.

    Parameters
    ----------
    y, s : arrays, shape (n, v)
    basis : array, shape (n, r)
    p : array, shape (n, v)
    fixed : bool
        Whether no map is an outlier.
    """
    there = np.isfinite(s)
    n_here = multiply(np.ones(len(s)), there.astype(float))
    left = _residuals(y, np.where(there, 1.0, np.inf), basis)
    scale = _mean(left * left, there, n_here)
    parameters = np.stack([_mean(p, there, n_here), 0.5 * scale, 8.0 * scale])
    best = _Fit(np.array(p), parameters.copy(), np.full(y.shape[1], -np.inf))
    active = np.arange(y.shape[1])
    for _ in range(_MOST_ROUNDS):
        now, own, at = parameters[:, active], s[:, active], p[:, active]
        total = _variances(own, now[1:])
        weight = (1 - at) / total[0] + at / total[1]
        variance = np.divide(1, weight, out=np.full_like(weight, np.inf), where=weight > 0)
        left = _residuals(y[:, active], variance, basis)
        now = _step(now, at, left, own, there[:, active], n_here[active])
        if fixed:
            now[0] = 0.0
        at, height = _expect(now, left, own, there[:, active])
        parameters[:, active], p[:, active] = now, at
        gain = height - best.height[active]
        up = gain > 0
        best.p[:, active[up]], best.parameters[:, active[up]] = at[:, up], now[:, up]
        best.height[active[up]] = height[up]
        # A gain that is no number ends the search too.
        active = active[np.abs(gain) > _SETTLED]
        if not active.size:
            break
    return best


def _mean(values, there, n_here):
    total = multiply(np.ones(len(values)), np.where(there, values, 0.0))
    return total / np.maximum(n_here, 1.0)


def _step(parameters, p, left, s, there, n_here):
    """Return the parameters that probabilities and residuals call for, by Fisher's scoring."""
    share = np.minimum(_mean(p, there, n_here), _MOST_OUTLIERS)
    tau2 = []
    for now, part in zip(parameters[1:], (1 - p, p), strict=True):
        weight = np.where(there, 1 / (s + now), 0.0)
        part = np.where(there, part, 0.0)
        slope = multiply(np.ones(len(s)), part * weight * (weight * left * left - 1))
        information = multiply(np.ones(len(s)), part * weight * weight)
        step = np.divide(slope, information, out=np.zeros_like(slope), where=information > 0)
        # The unit of a step is the variance that maps of the kind have.
        size = np.divide(
            multiply(np.ones(len(s)), part * weight),
            information,
            out=np.zeros_like(slope),
            where=information > 0,
        )
        tau2.append(np.maximum(now + np.minimum(step, _STEP * size), 0.0))
    return np.stack([share, tau2[0], np.maximum(tau2[1], tau2[0])])


def _expect(parameters, left, s, there):
    """Return the probabilities (n, v) and the log likelihood (v,)."""
    share = parameters[0]
    total = np.where(there, _variances(s, parameters[1:]), 1.0)
    inside = log(1 - share) - (log(total[0]) + left * left / total[0]) / 2
    outside = log(share) - (log(total[1]) + left * left / total[1]) / 2
    high, low = np.maximum(inside, outside), np.minimum(inside, outside)
    height = high + special.log1p(exp(low - high))
    p = np.where(there, exp(outside - high) / (exp(inside - high) + exp(outside - high)), 0.0)
    return p, multiply(np.ones(len(s)), np.where(there, height, 0.0))


def _residuals(y, variances, basis):
    """Return what a weighted fit leaves of maps, shape (n, v)."""
    left = np.empty(y.shape)
    _leave(np.ascontiguousarray(y), np.ascontiguousarray(variances), basis, left)
    return left


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _leave(y, variances, basis, left):
    """Write the residuals of a weighted fit of voxels side by side."""
    n_maps, n_voxels = y.shape
    sums = new_sums(n_maps, basis.shape[1])
    blocks, moves, nothing = np.empty((2, n_maps, LANES)), np.ones(n_maps), np.zeros(LANES)
    values, s = blocks[0], blocks[1]
    for start in range(0, n_voxels, LANES):
        n_here = load(y, start, 0.0, values)
        load(variances, start, 1.0, s)
        evaluate(nothing, s, values, moves, basis, sums)
        for i in range(n_maps):
            for v in range(n_here):
                fitted = 0.0
                for j in range(basis.shape[1]):
                    fitted += basis[i, j] * sums[1][j, v]
                left[i, start + v] = values[i, v] - fitted
