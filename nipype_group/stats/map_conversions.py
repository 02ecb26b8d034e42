"""Statistics from what others are published as: t of a correlation or of d, z of p."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from nipype_group.stats.elementary import log


def r_to_t(r: ArrayLike, dof: float | np.ndarray) -> np.ndarray:
    """Return the t of a correlation, simple or partial.

    Parameters
    ----------
    r : array
        Correlation, between -1 and 1.
    dof : float or array
        Residual degrees of freedom: the number of maps less 2 and less the covariates.

    Examples
    --------
    >>> r_to_t(np.array([-0.5, 0.0, 0.5]), 27).round(6).tolist()
    [-3.0, 0.0, 3.0]
    """
    r = np.asarray(r, dtype=float)
    # (1 - r)(1 + r) keeps the digits of 1 - r^2 where r is near 1.
    return r * np.sqrt(dof / ((1 - r) * (1 + r)))


def d_to_t(d: ArrayLike, n: ArrayLike) -> np.ndarray:
    """Return the t of Cohen's d: of one mean over its standard deviation, or of two groups.

    Parameters
    ----------
    d : array
        Mean over the standard deviation of the maps, or the difference of two means over the
        standard deviation within groups.
    n : sequence of int
        Number of maps, or of those of both groups.

    Examples
    --------
    >>> float(d_to_t(0.5, [36])), round(float(d_to_t(0.5, [10, 15])), 6)
    (3.0, 1.224745)
    """
    return np.asarray(d, dtype=float) / np.sqrt(np.sum(1 / np.asarray(n, dtype=float)))


def log_p_to_z(log_p: ArrayLike, sides: str, sign: ArrayLike = 1.0) -> np.ndarray:
    """Return the z of p, from its logarithm, however small p is.

    Parameters
    ----------
    log_p : array
        Natural logarithm of p, at most 0.
    sides : {"one", "two"}
        Sides that p looks at. Of one side it is that above: where p is above one half, z is
        negative.
    sign : array
        With two sides: sign of the effect, as z of a two-sided p has none.

    Raises
    ------
    ValueError
        Where the sides are others.

    Examples
    --------
    >>> p = np.array([0.05, 0.5, 0.975])
    >>> (log_p_to_z(np.log(p), "one").round(4) + 0.0).tolist()
    [1.6449, 0.0, -1.96]
    >>> log_p_to_z(np.log(p), "two", [-1, 1, 1]).round(4).tolist()
    [-1.96, 0.6745, 0.0313]
    """
    log_p = np.asarray(log_p, dtype=float)
    if sides == "one":
        return -special.ndtri_exp(log_p)
    if sides == "two":
        return np.sign(sign) * np.abs(special.ndtri_exp(log_p - log(2)))
    raise ValueError(f"sides of p are one or two, got {sides!r}")
