"""How every map of a group compares with the others: values, likeness, leverage, influence.

Memory holds a tile of voxels of all maps, or one map, and a few values a voxel and a map.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from nipype_group.stats.linear.influence import (
    FITTED_WHOLE,
    cook_factors,
    determined_columns,
    dfbetas_factors,
    leverage,
)
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
# Cook's distances are counted in steps, each power of two in equal parts; those beyond these
# powers are in the first and the last step.
_LEAST_POWER, _MOST_POWER, _PARTS = -24, 8, 16
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
    cook_median, cook_largest : array
        Median, to 1 %, and largest Cook's distance (Cook 1977) over the voxels; NaN as
        `residual_rms`.
    large_cook : array
        Share of the voxels whose Cook's distance exceeds 4 / n, n the maps that have the voxel;
        NaN as `residual_rms`.
    dfbetas : array, shape (n, p)
        Root mean square, over the voxels, of DFBETAS (Belsley, Kuh and Welsch 1980): what leaving
        the map out changes of the estimate of a column, in standard errors. NaN as
        `residual_rms`, and for columns that others determine.
    n_participants : int, optional
        Where every contrast has an error of its own: `cook_median` to `large_cook` are then of
        leaving a map's participant out, the largest of all contrasts, and `dfbetas`, shape
        (n, c), of c contrasts.
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
    cook_median: np.ndarray
    cook_largest: np.ndarray
    large_cook: np.ndarray
    dfbetas: np.ndarray
    n_participants: int | None = None

    @property
    def largest_dfbetas(self) -> tuple[np.ndarray, np.ndarray]:
        """Largest `dfbetas` of every map, and the column it is of; -1 where it has none."""
        known = np.nan_to_num(self.dfbetas, nan=-1.0)
        column = known.argmax(axis=1)
        largest = known[np.arange(len(known)), column]
        none = largest < 0
        return np.where(none, np.nan, largest), np.where(none, -1, column)

    @property
    def dfbetas_limit(self) -> float:
        """Size-adjusted cut of single DFBETAS, 2 / sqrt(n) (Belsley, Kuh and Welsch 1980)."""
        return float(2 / np.sqrt(self.n_left_out))

    @property
    def n_left_out(self) -> int:
        """How many maps, or participants, influence leaves out one of."""
        return self.n_participants or len(self.leverage)

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
        >>> likeness = np.array([0.9, 0.1, 0.8, 0.2])
        >>> quality = QualityOfMaps(
        ...     *[nothing] * 3, likeness, *[nothing] * 3, 1, 3, *[nothing] * 3, nothing[:, None]
        ... )
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
    total, counts, sums = _over_tiles(model, read, n_voxels)
    n_used = sums.n_used
    mean, sd, median, likeness = np.array([_values(one, total, counts) for one in maps]).T
    quality = QualityOfMaps(
        mean=mean,
        sd=sd,
        median=median,
        correlation=likeness,
        leverage=leverage(model),
        residual_rms=np.sqrt(_share(sums.squares, n_used)),
        large_residuals=_share(sums.n_large, n_used),
        rank=model.rank,
        dof=model.dof,
        cook_median=sums.cook.medians(),
        cook_largest=np.where(n_used > 0, sums.cook.largest, np.nan),
        large_cook=_share(sums.n_large_cook, n_used),
        dfbetas=sums.rms_of_dfbetas(),
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


class CookSteps:
    """Cook's distances of many voxels, counted in steps.

    ``largest``, shape (n,), holds the largest distance of each; 0 where there is none.

    Parameters
    ----------
    n : int
        Maps, or participants, that have such distances.
    """

    def __init__(self, n: int) -> None:
        self.largest = np.zeros(n)
        self._counts = np.zeros((n, (_MOST_POWER - _LEAST_POWER) * _PARTS), dtype=np.int32)

    def count(self, cook: np.ndarray) -> None:
        """Count the distances of a tile, shape (n, v); NaN are none."""
        known = np.isfinite(cook)
        self.largest = np.maximum(self.largest, np.where(known, cook, 0.0).max(axis=1))
        n_maps, n_steps = self._counts.shape
        rows = np.nonzero(known)[0]
        flat = np.bincount(rows * n_steps + _steps_of(cook[known]), minlength=n_maps * n_steps)
        self._counts += flat.reshape(n_maps, n_steps).astype(np.int32)

    def medians(self) -> np.ndarray:
        """Return the medians, from the step they lie in; NaN where there is no distance."""
        medians = np.full(len(self._counts), np.nan)
        for i, counts in enumerate(self._counts):
            below = np.cumsum(counts)
            if not below[-1]:
                continue
            step = int(np.searchsorted(below, below[-1] / 2))
            inside = (below[-1] / 2 - (below[step] - counts[step])) / counts[step]
            power, part = divmod(step, _PARTS)
            # What is in the first step is nothing.
            medians[i] = np.ldexp(1 + (part + inside) / _PARTS, power + _LEAST_POWER) * (step > 0)
        return medians


class _Sums:
    """What is summed up over the voxels of every map, shape (n,) if not said.

    Attributes
    ----------
    squares, n_large : arrays
        Sum of the squared internally studentised residuals, and number of large external ones.
    n_used : array
        Voxels that have a residual.
    n_large_cook : array
    cook : CookSteps
    dfbetas : array, shape (n, p)
        Sum of squares.
    n_determined : int array, shape (n, p)
        Voxels where the column has an estimate of its own.
    """

    def __init__(self, n_maps: int, n_columns: int) -> None:
        self.squares, self.n_large, self.n_used = np.zeros((3, n_maps))
        self.n_large_cook, self.cook = np.zeros(n_maps), CookSteps(n_maps)
        self.dfbetas = np.zeros((n_maps, n_columns))
        self.n_determined = np.zeros((n_maps, n_columns), dtype=np.int32)

    def add(self, rows: np.ndarray, model: LinearModel, data: np.ndarray) -> np.ndarray:
        """Add voxels, shape (m, v), of the maps that have them; return their Cook's distances.

        Those are NaN where a map or a voxel has none, shape (m, v).
        """
        squares, free, alive = _studentised_squares(model, data)
        bound = LARGE_RESIDUAL**2 * model.dof / (model.dof - 1 + LARGE_RESIDUAL**2)
        places = np.flatnonzero(rows)[free]
        self.squares[places] += squares.sum(1)
        self.n_large[places] += (squares > bound).sum(1)
        self.n_used[places] += alive.sum()
        cook = np.full(data.shape, np.nan)
        cook[np.ix_(free, alive)] = squares * cook_factors(model)[free, None]
        self.n_large_cook[rows] += (cook > 4 / len(data)).sum(1)
        # The square of the external residual; rounding may leave less than 0 of what stays.
        stays = np.maximum(model.dof - squares, model.dof * np.finfo(float).eps)
        squares *= model.dof - 1
        squares /= stays
        factors = np.nan_to_num(np.square(dfbetas_factors(model)[free]))
        self.dfbetas[places] += factors * squares.sum(1)[:, None]
        self.n_determined[places] += determined_columns(model) * np.int32(alive.sum())
        return cook

    def rms_of_dfbetas(self) -> np.ndarray:
        """Return the root mean square of DFBETAS, NaN where a column never has an estimate."""
        mean = np.full(self.dfbetas.shape, np.nan)
        known = self.n_determined > 0
        return np.sqrt(np.divide(self.dfbetas, self.n_determined, out=mean, where=known))


def _steps_of(values: np.ndarray) -> np.ndarray:
    """Return the numbers of the steps that values >= 0 lie in, exact on every processor."""
    half, power = np.frexp(values)
    steps = (power - 1 - _LEAST_POWER) * _PARTS + ((2 * half - 1) * _PARTS).astype(int)
    steps[values <= 0] = 0
    return np.clip(steps, 0, (_MOST_POWER - _LEAST_POWER) * _PARTS - 1)


def _over_tiles(
    model: LinearModel, read: Callable[[int, int], np.ndarray], n_voxels: int
) -> tuple[np.ndarray, np.ndarray, _Sums]:
    """Return what goes over voxels: the sum of the maps, their number, and sums by map.

    Returns
    -------
    total : array, shape (n_voxels,)
    counts : int array, shape (n_voxels,)
    sums : _Sums
    """
    n_maps = len(model.matrix)
    total, counts = np.empty(n_voxels), np.empty(n_voxels, dtype=int)
    sums = _Sums(*model.matrix.shape)
    without = lru_cache(_KEPT_MODELS)(model.without)
    for span in tiles(n_voxels, n_maps, VOXELS_PER_TILE):
        data = read(span.start, span.stop)
        present = np.isfinite(data)
        counts[span] = present.sum(axis=0)
        total[span] = np.where(present, data, 0.0).sum(axis=0)
        cook = np.full(data.shape, np.nan)
        for rows, columns in _by_present(present):
            # Where all maps are there, the design itself.
            own = model if rows.all() else without(tuple(np.flatnonzero(~rows).tolist()))
            # With one degree of freedom all studentised residuals are 1.
            if own is not None and own.dof > 1:
                part = data if rows.all() and columns.all() else data[np.ix_(rows, columns)]
                cook[np.ix_(rows, columns)] = sums.add(rows, own, part)
        sums.cook.count(cook)
    return total, counts, sums


def _by_present(present: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield which maps voxels have, and the voxels that have just these, as they first appear."""
    if present.all():
        yield np.ones(len(present), dtype=bool), np.ones(present.shape[1], dtype=bool)
        return
    patterns, first, pattern = np.unique(present, axis=1, return_index=True, return_inverse=True)
    pattern = pattern.ravel()
    for number in np.argsort(first, kind="stable"):
        yield patterns[:, number], pattern == number


def _studentised_squares(
    model: LinearModel, data: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return squares of the internally studentised residuals, and which maps and voxels have one.

    The square is r^2 = e^2 / (s^2 (1 - h)). The external one, whose s^2 leaves the map out, is
    t = r sqrt((dof - 1) / (dof - r^2)) (Cook and Weisberg 1982), so abs(t) > 3 where
    r^2 > 9 dof / (dof + 8).
    """
    _, residual_ss = model.fit(data)
    left = 1 - leverage(model)
    free = left > 1 - FITTED_WHOLE
    alive = residual_ss > 0
    residuals = residuals_of(model.basis, data[:, alive])
    variance = residual_ss[alive] / model.dof
    return np.square(residuals[free]) / (variance * left[free, None]), free, alive
