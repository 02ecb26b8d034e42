"""What a contrast is at every voxel where each contrast has a variance and dof of its own.

Estimators whose contrasts are not told by betas and one residual variance return a fit, which has

``contrast(weights, test)``
    `ContrastEstimates` of contrast rows, shape (r, p); ``test`` is ``"t"`` or ``"F"``.
``components``
    Maps of the model that are none of a contrast's, by name, as ``varResidual``.
``notes``
    Sentences on what is assumed, left out or at a boundary, for the screen and the report.
``residuals(maps)``
    Whitened residuals, whose smoothness random field theory takes.

``ContrastEstimates.maps(test, tail)`` then gives what `maps_of` of `stats.linear.error_terms`
gives: effect, variance, stat, z, p, effect_size, dof, dof_numerator and complete.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nipype_group.stats.distributions import f_to_z_and_log_p, z_and_p_of_t
from nipype_group.stats.elementary import exp
from nipype_group.stats.estimators.small_matrices import quadratic_forms

# Degrees of freedom of a statistic whose variance is known, whose t is normal to six digits.
NORMAL_DOF = 1e9


@dataclass(frozen=True)
class ContrastEstimates:
    """A contrast at every voxel, with the variance and the degrees of freedom that are its own.

    Parameters
    ----------
    effect, variance, stat : arrays, shape (v,)
        Of t: the weighed betas, their variance, and effect / sqrt(variance). Of F: the scaled F,
        the residual variance, and sqrt(F variance), so that F is effect^2 / variance here as
        everywhere; 0 where the contrast has no statistic.
    dof : array, shape (v,)
        Degrees of freedom of t, or of the denominator; 0 where there is no statistic.
    rank : int
        Degrees of freedom of the numerator.
    spread : array, shape (v,)
        Standard deviation of one map about the model, which Cohen's d of t is in units of.
    complete : bool array, shape (v,)
        Where all maps have the voxel.
    """

    effect: np.ndarray
    variance: np.ndarray
    stat: np.ndarray
    dof: np.ndarray
    rank: int
    spread: np.ndarray
    complete: np.ndarray

    def maps(self, test: str, tail: str) -> dict[str, np.ndarray]:
        """Return the maps of the contrast.

        Parameters
        ----------
        test : {"t", "F"}
        tail : {"two-sided", "positive", "negative"}
            Side of the p of t.

        Returns
        -------
        dict of arrays, shape (v,)
            effect, variance, stat, z, p, effect_size (effect over the standard deviation of a map
            of t; q F / (q F + dof) of F), spread, dof, dof_numerator and complete. Voxels
            without a statistic have effect, variance and statistic as they are here, z 0 and p
            1.

        Examples
        --------
        >>> one = np.ones(1)
        >>> found = ContrastEstimates(2 * one, one, 2 * one, 10 * one, 1, one, one > 0)
        >>> {n: m.round(4).tolist() for n, m in found.maps("t", "two-sided").items() if n in "zp"}
        {'z': [1.7904], 'p': [0.0734]}
        """
        alive = self.dof > 0
        dof = np.where(alive, self.dof, 1.0)
        if test == "t":
            z, p = z_and_p_of_t(self.stat, dof, tail)
            spread = np.where(self.spread > 0, self.spread, 1.0)
            size = np.where(alive & (self.spread > 0), self.effect / spread, 0.0)
        else:
            z, log_p = f_to_z_and_log_p(self.stat, self.rank, dof)
            p = exp(log_p)
            size = self.rank * self.stat / (self.rank * self.stat + dof)
        z[~alive], p[~alive] = 0.0, 1.0
        return {
            "effect": self.effect,
            "variance": self.variance,
            "stat": self.stat,
            "z": z,
            "p": p,
            "effect_size": size,
            "spread": self.spread,
            "dof": self.dof,
            "dof_numerator": np.where(alive, float(self.rank), 0.0),
            "complete": self.complete,
        }


class OwnErrorsFit(Protocol):
    """A fit whose contrasts have variances and degrees of freedom of their own."""

    @property
    def components(self) -> dict[str, np.ndarray]:
        """Maps of the model, shape (v,), by name."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what is assumed, left out or at a boundary."""

    def residuals(
        self, maps: Callable[[Sequence[int]], Iterator[np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """Yield the whitened residuals of every map, shape (v,), in any order.

        Parameters
        ----------
        maps : callable
            Yields the values of the maps of these rows, shape (v,) each.
        """

    def contrast(self, weights: np.ndarray, test: str) -> ContrastEstimates:
        """Return a contrast, rows of shape (r, p), at every voxel."""


def wald_estimates(
    effects: np.ndarray,
    covariance: np.ndarray,
    variance: np.ndarray,
    spread: np.ndarray,
    dof: np.ndarray,
    complete: np.ndarray,
    test: str,
) -> ContrastEstimates:
    """Return t, or Wald's statistic over the number of rows, of effects with a covariance.

    Parameters
    ----------
    effects : array, shape (q, v)
        Estimates of independent contrast rows.
    covariance : array, shape (q, q, v)
    variance : array, shape (v,)
        Residual variance, which tells the scale of F's numerator.
    spread, dof, complete : arrays, shape (v,)
        As of `ContrastEstimates`.
    test : {"t", "F"}

    Returns
    -------
    ContrastEstimates
        Voxels whose covariance is not positive have no degrees of freedom.

    Examples
    --------
    >>> one = np.ones(1)
    >>> found = wald_estimates(
    ...     np.array([[2.0], [3.0]]), np.eye(2)[:, :, None], one, one, 9 * one, one > 0, "F"
    ... )
    >>> found.stat.tolist(), found.rank
    ([6.5], 2)
    """
    q, n_voxels = effects.shape
    if test == "t":
        alive = (dof > 0) & (covariance[0, 0] > 0)
        effect, variance = effects[0], np.where(alive, covariance[0, 0], 0.0)
        stat = np.divide(effect, np.sqrt(variance), out=np.zeros(n_voxels), where=alive)
    else:
        square = np.empty(n_voxels)
        quadratic_forms(effects, covariance, square)
        alive = (dof > 0) & (square >= 0)
        variance = np.where(alive, variance, 0.0)
        stat = np.where(alive, square / q, 0.0)
        effect = np.sqrt(stat * variance)
    dof = np.where(alive, dof, 0.0)
    return ContrastEstimates(effect, variance, stat, dof, q, spread, complete)
