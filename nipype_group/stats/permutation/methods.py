"""What a shuffle does to a model with nuisance: the methods compared by Winkler et al. (2014).

Every method comes down to the same numbers. A source S holds, for every voxel, a series of unit
length; a shuffle P gives a few rows over the maps, r for the effect and q for the nuisance. The
partial correlation is ``R = |effect rows S| / sqrt(1 - |nuisance rows S|^2)``, signed where the
contrast is a t, and t or F follow from R and the residual degrees of freedom.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from nipype_group.choices import METHODS
from nipype_group.stats.decompositions import complement, decompose
from nipype_group.stats.distributions import f_to_z, interpolated_t_to_z, t_to_z
from nipype_group.stats.elementary import FloatOrArray
from nipype_group.stats.linear.aspin_welch import AspinWelch
from nipype_group.stats.linear.least_squares import is_rounding
from nipype_group.stats.linear.partition import Partition
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares
from nipype_group.stats.permutation.estimates import ShuffledEstimate
from nipype_group.stats.permutation.scheme import ShufflingScheme

# Equal shufflings reach equal statistics up to this relative error once nuisance is fitted: sums
# of a thousand maps round by 1e-13, and differences from 8e-11 on are real ones.
TIE_TOLERANCE = 1e-11
# Statistics so large that rounding leaves them less than a digit tie within this.
WIDEST_TIE = 0.5
# A shuffled effect of which less than this share lies outside the nuisance tests nothing.
_NOTHING_LEFT = 1e-9
# Share of a sum of squares below which a difference of squares has lost too many digits.
_CANCELLED = 1e-6


@dataclass(frozen=True)
class ShuffledContrast:
    """A contrast under a shuffling scheme and a method for its nuisance.

    Parameters
    ----------
    partition : Partition
        The contrast's split of the model of n maps.
    scheme : ShufflingScheme
        What shuffle k is; of n - q rows for "huh-jhun", q being the nuisance directions.
    method : str
        One of `METHODS`. "freedman-lane" shuffles residuals of the nuisance model and fits the
        whole model; "ter-braak" shuffles residuals of the whole model; "manly" shuffles the
        data; "draper-stoneman" shuffles the tested regressors, "dekker" after residualising them
        on the nuisance; "kennedy" fits the residualised effect alone to shuffled residuals;
        "huh-jhun" shuffles n - q independent combinations of the residuals.
    welch : AspinWelch, optional
        Variance groups: the statistic is the z of v (or G), whose dof vary by voxel.
    smooth_variance : callable, optional
        Smooths variance maps, shape (m, v): the statistic is the pseudo-t, effect over the root
        of its smoothed variance (Nichols and Holmes 2002, HBM 15:1), which has no z.
    varying_dof : bool
        Whether maps lack voxels, so that dof vary by voxel: the statistic is the z of t (or F).
    unsigned : bool
        Whether a contrast of one row is an F, which has no sign, as those of several rows are.
    combine : callable, optional
        Makes the n rows that are shuffled from those of the maps, shape (maps, v), where they are
        not these.
    own : ShuffledEstimate, optional
        The contrast by an estimator beyond least squares, whose statistic this is.

    Raises
    ------
    ValueError
        For an unknown method, a scheme of another number of rows, or variance groups, smoothing
        or an estimator where the method, the contrast or another of them rules them out.
    """

    partition: Partition
    scheme: ShufflingScheme
    method: str = "freedman-lane"
    welch: AspinWelch | None = None
    smooth_variance: Callable | None = None
    varying_dof: bool = False
    unsigned: bool = False
    combine: Callable[[np.ndarray], np.ndarray] | None = None
    own: ShuffledEstimate | None = None

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"method is one of {', '.join(METHODS)}, got {self.method!r}")
        expected = shuffled_rows(self.partition, self.method)
        if self.scheme.n_maps != expected:
            raise ValueError(
                f"the shuffling is of {self.scheme.n_maps} rows; {self.method} needs {expected}"
            )
        if self.welch is not None and self.method != "freedman-lane":
            raise ValueError(f"variance groups go with freedman-lane, not {self.method}")
        if self.smooth_variance is not None and (
            self.welch is not None or self.method != "freedman-lane" or not self.signed
        ):
            raise ValueError(
                "smoothed variance goes with t contrasts, freedman-lane and no variance groups"
            )
        if self.own is not None and (
            self.has_own_variance or self.combine is not None or self.method != "freedman-lane"
        ):
            raise ValueError(
                "estimators beyond least squares go with freedman-lane, and with neither variance "
                "groups nor smoothed variances nor contrast maps"
            )
        if self.varying_dof and (self.has_own_variance or self.method != "freedman-lane"):
            raise ValueError(
                "voxels that some maps lack go with freedman-lane, and with neither variance "
                "groups nor smoothed variance; take full coverage"
            )

    @property
    def rank(self) -> int:
        """Number of contrast rows, r."""
        return self.partition.rank

    @property
    def dof(self) -> float:
        """Residual degrees of freedom."""
        return self.partition.dof if self.own is None else self.own.dof

    @property
    def signed(self) -> bool:
        """Whether the statistic is t; F otherwise."""
        return self.rank == 1 and not self.unsigned

    @property
    def effect_rows(self) -> int:
        """Number of rows of a shuffle that are the effect's; one row alone has a sign."""
        return self.rank if self.signed else max(self.rank, 2)

    @property
    def has_own_variance(self) -> bool:
        """Whether variances are those of groups, or smoothed."""
        return self.welch is not None or self.smooth_variance is not None

    @property
    def needs_own_maps(self) -> bool:
        """Whether the statistic is no function of the partial correlation of a voxel."""
        return self.has_own_variance or self.own is not None

    @property
    def needs_maps(self) -> bool:
        """Whether all statistics take whole maps."""
        return self.needs_own_maps or self.varying_dof

    @property
    def stat_type(self) -> str:
        """Symbol of the statistic, which is t, F, z (dof vary by voxel) or pseudo-t."""
        if self.smooth_variance is not None:
            return "pseudo-t"
        if self._is_z:
            return "z"
        return "t" if self.signed else "F"

    @property
    def _is_z(self):
        return self.welch is not None or self.varying_dof

    @property
    def tie(self) -> float:
        """Relative difference below which correlations are equal."""
        return TIE_TOLERANCE if self.partition.nuisance.shape[1] else 0.0

    @property
    def _rounding(self):
        """Error of the product of a row and a series, both of unit length."""
        return self.scheme.n_maps * np.finfo(float).eps

    def lowest_tie(self, correlation: FloatOrArray) -> FloatOrArray:
        """Return the smallest correlation that equals each but for rounding."""
        # Whole numbers and the like tie up to the rounding of a product of unit vectors.
        return correlation - np.maximum(self.tie * np.abs(correlation), self._rounding)

    def tie_tolerance(
        self, statistic: ArrayLike, as_z: bool = False, dof: float | np.ndarray | None = None
    ) -> np.ndarray:
        """Return the relative difference below which statistics as large as these are equal.

        Correlations R round by the same whatever their size, t and F by 1 / (1 - R^2) times as
        much: t of thousands have few digits left.

        Parameters
        ----------
        statistic : array
            As the contrast has them.
        as_z : bool
            Whether these are z of its statistic instead.
        dof : int or array, optional
            Residual degrees of freedom of voxels that some maps lack; those of all maps without.

        Examples
        --------
        >>> from nipype_group.stats.permutation.scheme import ShufflingScheme
        >>> split = Partition(np.full((17, 1), 17**-0.5), np.empty((17, 0)), 16)
        >>> contrast = ShuffledContrast(split, ShufflingScheme("flip", (0,) * 17))
        >>> [f"{tie:.0e}" for tie in contrast.tie_tolerance(np.array([3.0, -5000]))]
        ['1e-11', '1e-08']
        """
        if self.own is not None:
            return np.full(np.shape(statistic), self.own.tie)
        statistic, dof = np.abs(statistic), self.dof if dof is None else np.maximum(dof, 1)
        with np.errstate(over="ignore"):
            if as_z or self._is_z:
                # P(T > t), and so z, go as the power -dof / 2 of 1 + t^2 / dof.
                explained = special.expm1(np.square(statistic) / dof)
            elif self.signed:
                explained = np.square(statistic) / dof
            else:
                explained = statistic * self.rank / dof
            # Two statistics are compared, and F is about the square of R.
            rounding = 2 * self._rounding * (1 + explained)
        return np.clip(rounding, TIE_TOLERANCE, WIDEST_TIE)

    @property
    def _way(self):
        """The method; without nuisance all are one."""
        return self.method if self.partition.nuisance.shape[1] else "freedman-lane"

    @property
    def starts_with_the_data(self) -> bool:
        """Whether shuffle 0 gives the data; residuals of the whole model lack the effect."""
        return self._way != "ter-braak"

    @cached_property
    def _moved(self):
        if self.varying_dof:
            # What a shuffle leaves alone on all maps, it moves on those that have a voxel.
            return self.partition.nuisance
        return self.partition.split_nuisance(self.scheme.fixed_directions())[0]

    @cached_property
    def _removed(self):
        """Orthonormal directions taken out of the data before anything is shuffled."""
        split = self.partition
        if self._way == "manly":
            # What every shuffle leaves alone may be removed at once.
            return split.split_nuisance(self.scheme.fixed_directions())[1]
        if self._way == "ter-braak":
            return np.hstack([split.nuisance, split.effect])
        return split.nuisance

    @cached_property
    def _reduced(self):
        """Orthonormal basis of what the nuisance leaves, shape (n, n - q), for huh-jhun."""
        nuisance = self.partition.nuisance
        return complement(nuisance)

    def series(self, data: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what is shuffled, and what the data as they are correlate by.

        Voxels that the model explains whole (a constant under a tested mean) become 0: they have
        no residual variance, and so no statistic, as in the GLM.

        Parameters
        ----------
        data : float64 array, shape (n, v)

        Returns
        -------
        series : float64 array, shape (v, n) or, for "huh-jhun", (v, n - q)
            Series of unit length, or 0.
        plain : float64 array, shape (v, n) or (v, n - q)
            What the statistic of the data as they are is made of, with `plain_rows`.
        length : float64 array, shape (v,)
            Length of the residuals under the null hypothesis, 0 where the series is.
        """
        split = self.partition
        residuals = _without(split.nuisance, data)
        length = np.sqrt(sum_of_squares(residuals))
        alive = self._has_residuals(data, residuals, length)
        source = residuals
        if self._way in ("manly", "ter-braak"):
            source = _without(self._removed, data)
        elif self._way == "huh-jhun":
            source = multiply(self._reduced.T, residuals)
        series = plain = _of_unit_length(source, alive)
        if self._way == "ter-braak":
            plain = _of_unit_length(residuals, alive)
        return series, plain, np.where(alive, length, 0.0)

    def _has_residuals(self, data, residuals, length):
        """Tell which voxels the model does not explain whole."""
        effect = self.partition.effect
        left = np.square(length) - sum_of_squares(multiply(effect.T, residuals))
        doubtful = np.flatnonzero(left <= _CANCELLED * np.square(length))
        # Differences of squares lose the digits that count where little is left.
        left[doubtful] = sum_of_squares(residuals_of(effect, residuals[:, doubtful]))
        return ~is_rounding(left, data)

    @property
    def plain_rows(self) -> np.ndarray:
        """Rows of the data as they are, shape (effect rows + q', n)."""
        return self.rows(0, 1)[0]

    def rows(self, first: int, last: int) -> np.ndarray:
        """Return the rows of shuffles first to last - 1.

        Parameters
        ----------
        first, last : int
            Range of shuffles.

        Returns
        -------
        float64 array, shape (last - first, effect rows + q', n)
            Effect rows, then the nuisance rows that the shuffle can move. The one row of an F is
            followed by a row of zeros.
        """
        rows = self._rows(first, last)
        if self.effect_rows == self.rank:
            return rows
        return np.insert(rows, self.rank, 0.0, axis=1)

    def _rows(self, first, last):
        split = self.partition
        orders, signs = self.scheme.draw(first, last)
        if self._way in ("dekker", "draper-stoneman"):
            tested = split.effect if self._way == "dekker" else split.tested
            return _outside(split.nuisance, _shuffled(tested, orders, signs))
        if self._way == "huh-jhun":
            return _shuffled(multiply(self._reduced.T, split.effect), orders, signs)
        if self._way == "kennedy":
            return _shuffled(split.effect, orders, signs)
        return _shuffled(np.hstack([split.effect, self._moved]), orders, signs)

    def statistic(self, correlation: FloatOrArray) -> FloatOrArray:
        """Return t (or F) of a partial correlation.

        Examples
        --------
        >>> from nipype_group.stats.permutation.scheme import ShufflingScheme
        >>> split = Partition(np.full((17, 1), 17**-0.5), np.empty((17, 0)), 16)
        >>> contrast = ShuffledContrast(split, ShufflingScheme("flip", (0,) * 17))
        >>> contrast.statistic(np.array([0.0, 0.6])).tolist()
        [0.0, 3.0]
        """
        with np.errstate(divide="ignore"):
            if self.signed:
                return correlation * np.sqrt(self.dof / (1 - np.square(correlation)))
            square = np.square(correlation)
            return square / (1 - square) * (self.dof / self.rank)

    def correlation(self, statistic: FloatOrArray) -> FloatOrArray:
        """Return the partial correlation of a t or F; the inverse of `statistic`."""
        if self.signed:
            return statistic / np.sqrt(self.dof + np.square(statistic))
        return np.sqrt(self.rank * statistic / (self.dof + self.rank * statistic))

    def z(self, statistic: np.ndarray) -> np.ndarray:
        """Return the z of the statistic."""
        if self.smooth_variance is not None:
            raise ValueError("a pseudo-t has no z: take the scale and threshold of the statistic")
        return statistic if self._is_z else self.z_of_plain(statistic)

    def z_of_plain(self, statistic: np.ndarray) -> np.ndarray:
        """Return the z of the t or F of complete voxels, arrays of any size from one table."""
        if not self.signed:
            return f_to_z(statistic, self.rank, self.dof)
        if np.ndim(statistic):
            return interpolated_t_to_z(statistic, self.dof)
        return t_to_z(statistic, self.dof)

    def height(self, p: float) -> float:
        """Return the statistic with this upper tail."""
        # Loaded here alone, as it takes as long as the rest of SciPy.
        from scipy import stats

        if self.smooth_variance is not None:
            raise ValueError("a pseudo-t has no p: give cluster_forming_statistic")
        if self._is_z:
            return float(stats.norm.isf(p))
        if self.signed:
            return float(stats.t.isf(p, self.dof))
        return float(stats.f.isf(p, self.rank, self.dof))

    def welch_maps(self, series: np.ndarray, orders: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """Return the z of v or G, shape (m, v), of series with shape (v, n)."""
        assert self.welch is not None
        statistic, dof = self.welch.shuffled(series.T, orders, signs)
        if self.signed:
            return interpolated_t_to_z(statistic, dof)
        # AspinWelch gives v of one row, whose square is G.
        f = np.square(statistic) if self.rank == 1 else statistic
        # A voxel without a statistic has 0.
        return np.where(f > 0, f_to_z(f, self.rank, dof), 0.0)

    def own_maps(self, prepared: Any, orders: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """Return the statistic of an estimator's shuffles, shape (m, v), z where dof vary."""
        assert self.own is not None
        statistic = self.own.statistic(prepared, orders, signs)
        if not self.varying_dof:
            return statistic
        dof = np.broadcast_to(self.own.voxel_dof(prepared), statistic.shape)
        there = (dof > 0) & (statistic != 0)
        dof = np.where(there, dof, 1.0)
        if self.signed:
            return np.where(there, interpolated_t_to_z(statistic, dof), 0.0)
        return np.where(there, f_to_z(statistic, self.rank, dof), 0.0)


def shuffled_rows(partition: Partition, method: str) -> int:
    """Return the number of rows that a method shuffles."""
    n_maps, n_nuisance = partition.nuisance.shape
    return n_maps - n_nuisance if method == "huh-jhun" else n_maps


def _without(directions, data):
    # The second projection removes what rounding left of large nuisance effects.
    return residuals_of(directions, residuals_of(directions, data))


def _of_unit_length(values, alive):
    length = np.sqrt(sum_of_squares(values))
    alive = alive & (length > 0)
    unit = np.divide(values, length, out=np.zeros_like(values), where=alive)
    return np.ascontiguousarray(unit.T)


def _shuffled(directions, orders, signs):
    """Return shuffled columns as rows, shape (m, columns, n)."""
    rows = np.empty((len(orders), directions.shape[1], orders.shape[1]))
    for column, values in enumerate(directions.T):
        np.multiply(values[orders], signs, out=rows[:, column])
    return rows


def _outside(nuisance, rows):
    """Residualise rows on the nuisance and make them orthonormal within each shuffle."""
    columns = rows.reshape(-1, rows.shape[2]).T
    left = np.ascontiguousarray(residuals_of(nuisance, columns).T).reshape(rows.shape)
    size = np.sqrt(np.square(rows).sum(axis=2, keepdims=True))
    share = np.sqrt(np.square(left).sum(axis=2, keepdims=True))
    left = np.where(share > _NOTHING_LEFT * size, left, 0.0)
    if rows.shape[1] == 1:
        return np.divide(left, share, out=np.zeros_like(left), where=left != 0)
    # Columns that depend on each other leave fewer directions, whichever columns they are.
    directions = np.zeros_like(left)
    for own, found in zip(left / size, directions, strict=True):
        basis = decompose(own.T, _NOTHING_LEFT).basis
        found[: basis.shape[1]] = basis.T
    return directions
