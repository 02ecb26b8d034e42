"""How every map of a group compares with the others: values, likeness, leverage, residuals.

Memory holds a tile of voxels of all maps, or one map, and a few values a voxel.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from nipype_group.stats.linear.least_squares import VOXELS_PER_TILE, LinearModel, ReadVoxels, tiles
from nipype_group.stats.matrix_products import residuals_of

# Studentised residuals beyond it are large: 3 in 1000 of a normal voxel.
LARGE_RESIDUAL = 3.0
# A correlation is low where it lies so many robust SD below the median: the more cautious of the
# usual limits of Leys et al. (2013, J Exp Soc Psychol 49:764).
ROBUST_SD_BELOW = 3.0
# SD of a normal distribution over its median absolute deviation.
MAD_TO_SD = 1.4826
# Leverage is high above so many times its mean, rank / n. Twice (Hoaglin and Welsch 1978, Am Stat
# 32:17; Belsley, Kuh and Welsch 1980) is for many maps and names too many of a few.
TIMES_MEAN_LEVERAGE = 3.0
# Correlations of equal maps differ by rounding alone.
_ROUNDING = 1e-12
# Leverage of a map that a column of its own fits: its residual is 0 whatever its values are.
_FITTED_WHOLE = 1 - 1e-10
# Neighbours mostly lack the same maps; more than these models take memory.
_KEPT_MODELS = 256


@dataclass(frozen=True)
class QualityOfMaps:
    """Figures of n maps, each an array of shape (n,).

    Parameters
    ----------
    mean, sd, median : arrays
        Moments of the map's values, in their unit; the SD divides by one less than the voxels.
    correlation : array
        Pearson correlation, over the voxels, with the mean of the other maps that have the voxel;
        NaN where one of both is constant.
    leverage : array
        Diagonal of the hat matrix of the design with all maps (Hoaglin and Welsch 1978).
    residual_rms : array
        Root mean square, over the voxels, of the internally studentised residuals, whose
        variance is 1 at every map where the model holds; NaN where the design fits a map whole
        or leaves one degree of freedom.
    large_residuals : array
        Share of the voxels whose externally studentised residual exceeds 3 in magnitude; NaN as
        `residual_rms`.
    rank, dof : int
        Rank and residual degrees of freedom of the design.
    """

    mean: np.ndarray
    sd: np.ndarray
    median: np.ndarray
    correlation: np.ndarray
    leverage: np.ndarray
    residual_rms: np.ndarray
    large_residuals: np.ndarray
    rank: int
    dof: int

    @property
    def correlation_limit(self) -> float:
        """Median - 3 x 1.4826 MAD of the correlations; NaN where no map has one."""
        known = self.correlation[np.isfinite(self.correlation)]
        if not known.size:
            return float("nan")
        middle = np.median(known)
        robust_sd = MAD_TO_SD * np.median(np.abs(known - middle))
        return float(middle - ROBUST_SD_BELOW * robust_sd)

    @property
    def leverage_limit(self) -> float:
        """Three times the mean leverage, 3 rank / n."""
        return TIMES_MEAN_LEVERAGE * self.rank / len(self.leverage)

    @property
    def low_correlation(self) -> np.ndarray:
        """Maps that correlate less than the limit or, unlike others, not at all; bool array."""
        limit = self.correlation_limit
        return np.isfinite(limit) & ~(self.correlation >= limit - _ROUNDING)

    @property
    def high_leverage(self) -> np.ndarray:
        """Maps with more leverage than the limit, bool array."""
        return self.leverage > self.leverage_limit + _ROUNDING

    @property
    def flagged(self) -> np.ndarray:
        """Maps of low correlation or high leverage, bool array."""
        return self.low_correlation | self.high_leverage

    @property
    def expected_large(self) -> float:
        """Share of large residuals that normal errors give; NaN with one degree of freedom."""
        if self.dof < 2:
            return float("nan")
        return float(2 * special.stdtr(self.dof - 1, -LARGE_RESIDUAL))

    def most_deviating(self, k: int) -> np.ndarray:
        """Return the numbers of the k maps with the lowest correlation, ascending.

        Examples
        --------
        >>> nothing = np.zeros(4)
        >>> quality = QualityOfMaps(*[nothing] * 3, np.array([0.9, 0.1, 0.8, 0.2]), *[nothing] * 3,
        ...                      rank=1, dof=3)
        >>> quality.most_deviating(2).tolist()
        [1, 3]
        """
        # A map without a correlation deviates most.
        order = np.argsort(np.nan_to_num(self.correlation, nan=-2.0), kind="stable")
        return np.sort(order[:k])


def map_quality(
    model: LinearModel, read: ReadVoxels, maps: Iterable[np.ndarray], n_voxels: int
) -> tuple[QualityOfMaps, np.ndarray]:
    """Describe every map of a stack.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v),
        NaN where a map lacks the voxel.
    maps : iterable of array, shape (n_voxels,)
        The same data, a map at a time.
    n_voxels : int
        Voxels in the mask.

    Returns
    -------
    quality : QualityOfMaps
    counts : int array, shape (n_voxels,)
        Maps that have each voxel.

    Examples
    --------
    >>> from nipype_group.stats.linear.least_squares import LinearModel
    >>> data = np.array([[1.0, 2, 3, 4], [2, 4, 6, 9], [1, 2, 4, 4], [4, 3, 2, 1]])
    >>> mean = LinearModel(np.ones((4, 1)), ("mean",))
    >>> quality, counts = map_quality(mean, lambda a, b: data[:, a:b], data, 4)
    >>> quality.correlation.round(3).tolist(), quality.median.tolist(), counts.tolist()
    ([0.997, 0.912, 0.912, -0.999], [2.5, 5.0, 3.0, 2.5], [4, 4, 4, 4])
    >>> quality.leverage_limit, round(quality.expected_large, 3)
    (0.75, 0.095)
    """
    total, counts, squares, n_large, n_used = _over_tiles(model, read, n_voxels)
    mean, sd, median, likeness = np.array([_values(one, total, counts) for one in maps]).T
    quality = QualityOfMaps(
        mean=mean,
        sd=sd,
        median=median,
        correlation=likeness,
        leverage=np.square(model.basis).sum(axis=1),
        residual_rms=np.sqrt(_share(squares, n_used)),
        large_residuals=_share(n_large, n_used),
        rank=model.rank,
        dof=model.dof,
    )
    return quality, counts


def _share(part, whole):
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _values(one, total, counts):
    """Return mean, SD, median and the correlation with the others of one map."""
    present = np.isfinite(one)
    own = one[present]
    if not own.size:
        return (np.nan,) * 4
    shared = present & (counts > 1)
    others = (total[shared] - one[shared]) / (counts[shared] - 1)
    sd = own.std(ddof=1) if own.size > 1 else np.nan
    return own.mean(), sd, np.median(own), correlation(one[shared], others)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation of two arrays of shape (v,), NaN where one is constant."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / np.sqrt(np.square(a).sum() * np.square(b).sum())


def _over_tiles(model, read, n_voxels):
    """Return what goes over voxels: the sum of the maps, their number, and residuals by map.

    Returns
    -------
    total : array, shape (n_voxels,)
    counts : int array, shape (n_voxels,)
    squares, n_large, n_used : arrays, shape (n,)
        Sum of squares of the studentised residuals, large ones, and voxels that have one.
    """
    n_maps = len(model.matrix)
    total, counts = np.empty(n_voxels), np.empty(n_voxels, dtype=int)
    sums = np.zeros((3, n_maps))
    without = lru_cache(_KEPT_MODELS)(model.without)
    for span in tiles(n_voxels, n_maps, VOXELS_PER_TILE):
        data = read(span.start, span.stop)
        present = np.isfinite(data)
        counts[span] = present.sum(axis=0)
        total[span] = np.where(present, data, 0.0).sum(axis=0)
        for rows, columns in _by_present(present):
            # Where all maps are there, the design itself.
            own = model if rows.all() else without(tuple(np.flatnonzero(~rows).tolist()))
            # With one degree of freedom all studentised residuals are 1.
            if own is not None and own.dof > 1:
                part = data if rows.all() and columns.all() else data[np.ix_(rows, columns)]
                sums[:, rows] += _studentised_sums(own, part)
    return total, counts, *sums


def _by_present(present):
    """Yield which maps voxels have, and the voxels that have just these, as they first appear."""
    if present.all():
        yield np.ones(len(present), dtype=bool), np.ones(present.shape[1], dtype=bool)
        return
    patterns, first, pattern = np.unique(present, axis=1, return_index=True, return_inverse=True)
    pattern = pattern.ravel()
    for number in np.argsort(first):
        yield patterns[:, number], pattern == number


def _studentised_sums(model, data):
    """Return sums over voxels, shape (3, n): squares, large ones, and voxels used.

    The square of the internally studentised residual is r^2 = e^2 / (s^2 (1 - h)). The external
    one, whose s^2 leaves the map out, is t = r sqrt((dof - 1) / (dof - r^2)) (Cook and Weisberg
    1982), so abs(t) > 3 where r^2 > 9 dof / (dof + 8).
    """
    _, residual_ss = model.fit(data)
    left = 1 - np.square(model.basis).sum(axis=1)
    free = left > 1 - _FITTED_WHOLE
    alive = residual_ss > 0
    data = data[:, alive]
    residuals = residuals_of(model.basis, data)
    variance = residual_ss[alive] / model.dof
    sums = np.zeros((3, len(data)))
    squares = np.square(residuals[free]) / (variance * left[free, None])
    large = squares > LARGE_RESIDUAL**2 * model.dof / (model.dof - 1 + LARGE_RESIDUAL**2)
    sums[0, free], sums[1, free], sums[2, free] = squares.sum(1), large.sum(1), alive.sum()
    return sums
