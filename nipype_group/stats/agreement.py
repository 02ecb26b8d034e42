"""How far two maps of the same voxels, or two sets of them, agree."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

# Standard deviations between which 95 % of normal differences lie.
_LIMITS = 1.959963984540054


@dataclass(frozen=True)
class Agreement:
    """Values of the same voxels by two analyses.

    Parameters
    ----------
    n_voxels : int
    correlation : float
        Pearson's; NaN where a map is constant.
    mean_difference, sd_difference : float
        Of the first less the second.
    lower_limit, upper_limit : float
        Mean difference -+ 1.96 of its standard deviations, between which 95 % of differences lie
        where they are normal (Bland and Altman 1986, Lancet 327:307).
    largest_difference : float
        In magnitude.
    """

    n_voxels: int
    correlation: float
    mean_difference: float
    sd_difference: float
    lower_limit: float
    upper_limit: float
    largest_difference: float


def agreement(first: ArrayLike, second: ArrayLike) -> Agreement:
    """Compare two maps.

    Parameters
    ----------
    first, second : arrays, shape (v,)
        Finite values of the same voxels, two or more.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        Where there are fewer than two voxels, or the maps differ in their number.

    Examples
    --------
    >>> found = agreement([1.0, 2, 3], [0.0, 1, 5])
    >>> found.mean_difference, round(found.correlation, 4), found.largest_difference
    (0.0, 0.9449, 2.0)
    """
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if one.shape != other.shape or one.ndim != 1 or len(one) < 2:
        raise ValueError(
            f"maps of two voxels or more, as many in both, got {one.shape}, {other.shape}"
        )
    difference = one - other
    mean, sd = float(difference.mean()), float(difference.std(ddof=1))
    centred = one - one.mean(), other - other.mean()
    lengths = np.prod([np.sqrt(np.square(c).sum()) for c in centred])
    return Agreement(
        n_voxels=len(one),
        correlation=float((centred[0] * centred[1]).sum() / lengths) if lengths > 0 else np.nan,
        mean_difference=mean,
        sd_difference=sd,
        lower_limit=mean - _LIMITS * sd,
        upper_limit=mean + _LIMITS * sd,
        largest_difference=float(np.abs(difference).max()),
    )


@dataclass(frozen=True)
class Overlap:
    """Voxels that survive in both, or in one alone.

    Parameters
    ----------
    n_both, n_first_alone, n_second_alone : int
    """

    n_both: int
    n_first_alone: int
    n_second_alone: int

    @property
    def dice(self) -> float:
        """Twice the voxels of both over the sum of both (Dice 1945); NaN where none survives."""
        total = 2 * self.n_both + self.n_first_alone + self.n_second_alone
        return 2 * self.n_both / total if total else np.nan


def overlap(first: ArrayLike, second: ArrayLike) -> Overlap:
    """Count the voxels that survive in both of two maps, or in one alone.

    Parameters
    ----------
    first, second : bool arrays, of one shape

    Examples
    --------
    >>> overlap([True, True, False], [True, False, False]).dice.__round__(3)
    0.667
    """
    one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    return Overlap(int((one & other).sum()), int((one & ~other).sum()), int((other & ~one).sum()))


def matched_peaks(
    first: ArrayLike, second: ArrayLike, largest_mm: float
) -> list[tuple[int, int, float]]:
    """Match peaks one to one: as many as can be, then with the smallest sum of distances.

    Parameters
    ----------
    first, second : arrays, shape (m, 3) and (n, 3)
        mm.
    largest_mm : float
        Peaks farther apart are no pair.

    Returns
    -------
    list of (int, int, float)
        Number of the peak in each, from 0, and their distance in mm; in the order of the first.

    Examples
    --------
    >>> matched_peaks([[0, 0, 0], [50, 0, 0]], [[3, 0, 0], [0, 1, 0]], largest_mm=8)
    [(0, 1, 1.0)]
    """
    one, other = (np.asarray(points, dtype=float).reshape(-1, 3) for points in (first, second))
    distances = cdist(one, other)
    near = distances <= largest_mm
    # A pair too far apart costs more than all that are near together.
    far = largest_mm * (min(distances.shape, default=0) + 1) + 1.0
    pairs = zip(*linear_sum_assignment(np.where(near, distances, far)), strict=True)
    return [(int(i), int(j), float(distances[i, j])) for i, j in pairs if near[i, j]]
