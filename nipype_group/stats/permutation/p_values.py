"""p values of shuffles: uncorrected, corrected for the family of voxels, clusters, contrasts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nipype_group.choices import APPROXIMATIONS
from nipype_group.stats.elementary import log
from nipype_group.stats.multiple_testing import adjust_fdr
from nipype_group.stats.permutation.cluster_sizes import cluster_masses
from nipype_group.stats.permutation.methods import TIE_TOLERANCE, WIDEST_TIE, ShuffledContrast
from nipype_group.stats.permutation.precision import advice, p_interval
from nipype_group.stats.permutation.statistics import SIDE_NAMES, ShuffleStatistics
from nipype_group.stats.permutation.tails import TailFit, approximate_p

# Relative rounding of statistics that are read from maps, which hold single precision: the
# unshuffled maximum is to count among those that reach it.
MAP_ROUNDING = float(np.finfo(np.float32).eps)
# Rounding of a p that equals alpha.
_ROUNDING = 1e-12


def null_of_maxima(nulls: Mapping[str, np.ndarray], name: str, signs: Iterable[int]) -> np.ndarray:
    """Return the largest value of every shuffle over the sides of the tail.

    Parameters
    ----------
    nulls : dict
        ``<name>_positive`` and ``<name>_negative`` to arrays, shape (N + 1,).
    name : str
        Statistic.
    signs : tuple of int
        Sides that are tested.
    """
    return np.max([nulls[f"{name}_{SIDE_NAMES[sign]}"] for sign in signs], axis=0)


def fwe_counts(
    heights: np.ndarray, null: np.ndarray, ties: float | np.ndarray = TIE_TOLERANCE
) -> np.ndarray:
    """Count the shuffles, the unshuffled one included, whose maximum reaches each height.

    Parameters
    ----------
    heights : array
        Large meaning extreme.
    null : array, shape (N + 1,)
        Maxima of all shuffles, 0 included.
    ties : float or array of the shape of heights
        Relative difference below which values are equal, see `ShuffleStatistics.ties`.

    Examples
    --------
    >>> fwe_counts(np.array([3.0, 1.0]), np.array([3.0, 1.0, 2.0, 0.5])).tolist()
    [1, 3]
    """
    ordered = np.sort(null)
    lowest = heights - ties * np.abs(heights)
    return len(ordered) - np.searchsorted(ordered, lowest, side="left")


def fwe_p(
    heights: np.ndarray, null: np.ndarray, ties: float | np.ndarray = TIE_TOLERANCE
) -> np.ndarray:
    """Return familywise-error corrected p: the share of maxima that reach each height.

    Westfall and Young 1993; Nichols and Holmes 2002, HBM 15:1. Parameters are those of
    `fwe_counts`.

    Examples
    --------
    >>> fwe_p(np.array([3.0, 1.0]), np.array([3.0, 1.0, 2.0, 0.5])).tolist()
    [0.25, 0.75]
    """
    return fwe_counts(heights, null, ties) / len(null)


def critical_value(null: np.ndarray, alpha: float) -> float | None:
    """Return the height that every height with p <= alpha exceeds; None where no p is so small.

    A shuffle without a residual has an infinite statistic, which nothing exceeds.

    Examples
    --------
    >>> critical_value(np.array([3.0, 1.0, 2.0, 0.5]), 0.5)
    1.0
    >>> critical_value(np.array([3.0, np.inf, np.inf, 0.5]), 0.25) is None
    True
    """
    n_allowed = int(np.floor(alpha * len(null) * (1 + _ROUNDING)))
    if not 0 < n_allowed < len(null):
        return None
    height = float(np.sort(null)[::-1][n_allowed])
    return height if np.isfinite(height) else None


@dataclass(frozen=True)
class Corrected:
    """Corrected p of one statistic of one contrast.

    Parameters
    ----------
    name : str
        voxel, extent, mass or tfce.
    heights : array, shape (v,)
        What was compared with the null: of the voxel, or of the cluster that holds it; 0 outside.
    p, log_p : arrays, shape (v,)
        Corrected p and its natural logarithm, 1 outside clusters.
    null : array, shape (N + 1,)
        Maxima over the sides tested; empty where p is no familywise one.
    alpha : float
        Error rate.
    fit : TailFit or None
        Approximation of the null, where one was asked for.
    ties : float or array, shape (v,)
        Relative difference below which heights are equal.
    """

    name: str
    heights: np.ndarray
    p: np.ndarray
    log_p: np.ndarray
    null: np.ndarray
    alpha: float
    fit: TailFit | None = None
    ties: float | np.ndarray = TIE_TOLERANCE

    @property
    def survives(self) -> np.ndarray:
        """Voxels with p <= alpha."""
        return self.p <= self.alpha * (1 + _ROUNDING)

    @property
    def threshold(self) -> float:
        """Smallest surviving height; inf where none survives."""
        heights = self.heights[self.survives]
        return float(heights.min()) if len(heights) else np.inf

    @property
    def critical(self) -> float | None:
        """Height that survivors exceed; None where no p can be so small, or is not counted."""
        if self.fit is not None:
            return None
        return critical_value(self.null, self.alpha)

    def precision(self, exhaustive: bool) -> list[dict[str, Any]]:
        """Return count, p, 95 % interval and advice of every distinct height with p near alpha.

        Parameters
        ----------
        exhaustive : bool
            Whether all shuffles were used, which leaves no uncertainty.

        Returns
        -------
        list of dict
            What is said of heights whose interval holds alpha, highest first; at most ten.
        """
        if exhaustive or self.fit is not None or len(self.null) == 0:
            return []
        distinct, at = np.unique(self.heights, return_index=True)
        above = np.flatnonzero(distinct > 0)[::-1]
        distinct, ties = distinct[above], np.broadcast_to(self.ties, self.heights.shape)[at[above]]
        counts = fwe_counts(distinct, self.null, ties)
        low, high = p_interval(counts, len(self.null))
        doubtful = np.flatnonzero((low <= self.alpha) & (high >= self.alpha))
        # The nearest to alpha say most, of those that share a p the highest.
        apart = np.abs(counts[doubtful] / len(self.null) - self.alpha)
        nearest = doubtful[np.argsort(apart, kind="stable")]
        rows = []
        for i in sorted(nearest[:10]):
            p = float(counts[i] / len(self.null))
            rows.append(
                {
                    "Height": float(distinct[i]),
                    "P": p,
                    "Interval": [float(low[i]), float(high[i])],
                    "Advice": advice(
                        f"{self.name} {distinct[i]:.4g}",
                        p,
                        int(counts[i]),
                        len(self.null),
                        self.alpha,
                    ),
                }
            )
        return rows


def correct(
    name: str,
    heights: np.ndarray,
    null: np.ndarray,
    alpha: float,
    approximation: str = "none",
    ties: float | np.ndarray = TIE_TOLERANCE,
) -> Corrected:
    """Correct one statistic of one contrast for its family.

    Parameters
    ----------
    name : str
        voxel, extent, mass or tfce.
    heights : array, shape (v,)
        From `cluster_heights` for extent and mass: 0 outside clusters.
    null : array, shape (N + 1,)
        From `null_of_maxima`.
    alpha : float
        Familywise error rate.
    approximation : {"none", "gpd", "gamma"}
        Approximation of the null's tail, see `approximate_p`.
    ties : float or array, shape (v,)
        Relative difference below which heights are equal, see `ShuffleStatistics.ties`.

    Returns
    -------
    Corrected
    """
    if approximation not in APPROXIMATIONS:
        raise ValueError(
            f"p_approximation is one of {', '.join(APPROXIMATIONS)}, got {approximation!r}"
        )
    if approximation == "none":
        p, fit = fwe_p(heights, null, ties), None
        log_p = log(p)
    else:
        fit = approximate_p(null, heights, approximation, TIE_TOLERANCE)
        p, log_p = fit.p, fit.log_p
    if name in ("extent", "mass"):
        outside = heights <= 0
        p, log_p = np.where(outside, 1.0, p), np.where(outside, 0.0, log_p)
    return Corrected(name, heights, p, log_p, null, alpha, fit, ties)


def cluster_heights(
    statistic: np.ndarray,
    statistics: ShuffleStatistics,
    contrast: ShuffledContrast,
    neighbours: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return the extent and mass of the cluster that holds each voxel, 0 outside.

    Parameters
    ----------
    statistic : array, shape (v,)
        t or F of the data.
    statistics : ShuffleStatistics
    contrast : ShuffledContrast
    neighbours : int32 array, shape (v, k)
        Neighbours of every voxel by the statistics' connectivity.

    Returns
    -------
    dict
        ``extent`` and ``mass`` to arrays of shape (v,).
    """
    found = {"extent": np.zeros(len(statistic)), "mass": np.zeros(len(statistic))}
    component = np.full(len(neighbours), -1, dtype=np.int32)
    forming = statistics.forming_statistic(contrast)
    for sign in statistics.signs(contrast.signed):
        voxels = np.flatnonzero(statistic * sign >= forming).astype(np.int32)
        heights = statistics.scaled(contrast, statistic[voxels] * sign)
        labels, extents, masses = cluster_masses(
            voxels, heights, neighbours, component, statistics.excess(contrast)
        )
        found["extent"][voxels], found["mass"][voxels] = extents[labels], masses[labels]
    return found


def mass_ties(
    ties: np.ndarray,
    statistic: np.ndarray,
    statistics: ShuffleStatistics,
    contrast: ShuffledContrast,
    neighbours: np.ndarray,
) -> np.ndarray:
    """Return the relative difference below which masses are equal, shape (v,).

    A mass rounds by the sum of what its voxels round by.

    Parameters
    ----------
    ties : array, shape (v,)
        Relative difference below which heights of a voxel are equal.
    statistic, statistics, contrast, neighbours
        As in `cluster_heights`.
    """
    found = np.full(len(statistic), TIE_TOLERANCE)
    component = np.full(len(neighbours), -1, dtype=np.int32)
    forming, excess = statistics.forming_statistic(contrast), statistics.excess(contrast)
    for sign in statistics.signs(contrast.signed):
        voxels = np.flatnonzero(statistic * sign >= forming).astype(np.int32)
        heights = statistics.scaled(contrast, statistic[voxels] * sign)
        labels, _, masses = cluster_masses(voxels, heights, neighbours, component, excess)
        rounding = cluster_masses(voxels, heights * ties[voxels], neighbours, component, 0.0)[2]
        # A voxel of just the forming height has no mass above it.
        share = np.full(len(masses), WIDEST_TIE)
        np.divide(rounding, masses, out=share, where=masses > 0)
        found[voxels] = np.clip(share, TIE_TOLERANCE, WIDEST_TIE)[labels]
    return found


def uncorrected(
    counts: np.ndarray, n_shuffles: int, searched: np.ndarray | slice = slice(None)
) -> tuple[np.ndarray, np.ndarray]:
    """Return natural logarithms of the uncorrected p and of its false discovery rate.

    Parameters
    ----------
    counts : int array, shape (v,)
        Shuffles at least as extreme, the unshuffled one included.
    n_shuffles : int
        All shuffles, the unshuffled one included.
    searched : bool array, shape (v,), optional
        Voxels among which discoveries are counted; the rate of the others is 1.
    """
    log_p = log(counts / n_shuffles)
    log_q = np.zeros(len(log_p))
    log_q[searched] = adjust_fdr(log_p[searched])
    return log_p, log_q


def stepped_down(
    maxima: np.ndarray, nulls: np.ndarray, ties: ArrayLike = TIE_TOLERANCE
) -> np.ndarray:
    """Return p of each contrast as a whole, corrected for all of them by stepping down.

    The contrast with the largest maximum is compared with the maximum over all contrasts of
    every shuffle, the next with that over the rest, and so on; p do not fall from step to step
    (Romano and Wolf 2005, JASA 100:94).

    Parameters
    ----------
    maxima : array, shape (c,)
        Largest height of each contrast.
    nulls : array, shape (c, N + 1)
        Maxima of the same shuffles.
    ties : float or array, shape (c,)
        Relative difference below which maxima are equal to that of a contrast.

    Returns
    -------
    array, shape (c,)

    Examples
    --------
    >>> nulls = np.array([[3.0, 1.0, 2.0, 0.5], [1.5, 2.5, 1.0, 1.0]])
    >>> stepped_down(nulls[:, 0], nulls).tolist()
    [0.25, 0.5]
    """
    order = np.argsort(-np.asarray(maxima), kind="stable")
    p, largest, tie = np.empty(len(order)), 0.0, np.broadcast_to(ties, len(order))
    for step, contrast in enumerate(order):
        left = np.max(nulls[order[step:]], axis=0)
        largest = max(largest, float(fwe_p(maxima[contrast], left, tie[contrast])))
        p[contrast] = largest
    return p
