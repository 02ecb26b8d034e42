"""Robust fits of the group model: maps that lie far from it count less, at every voxel.

``fit_robust(model, read, n_voxels, method)`` gives a `RobustFit`; see
`nipype_group.stats.estimators.contrast_estimates`.

``huber``
    Maps within 1.345 scales of the fit count fully, others as 1 / |r|. A single maximum, so
    nothing depends on where it starts; maps of outlying covariates pull as in least squares.
``bisquare``
    From there on maps beyond 4.685 scales do not count at all.
``mm``
    The bisquare about a fit of which up to half of the maps may be wrong, at its scale.

All have 95 % of the efficiency of least squares where errors are normal. Tests are t and F with
n - rank degrees of freedom. Voxels that maps lack are fitted to the other maps. Covariates may be
maps: see `nipype_group.stats.estimators.map_covariates`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from nipype_group.stats.estimators.contrast_estimates import ContrastEstimates, wald_estimates
from nipype_group.stats.estimators.iterated_weights import (
    BISQUARE,
    HUBER,
    TUNING,
    TUNING_MM,
    fit_by_median,
    fit_mm,
    weigh,
)
from nipype_group.stats.estimators.map_covariates import (
    FINE,
    CovariateParts,
    MapCovariates,
    check_dof,
    covariate_tiles,
    no_covariates,
    own_columns,
    patterns_of,
    residual_maps,
)
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    ReadVoxels,
    VoxelPatterns,
    independent_rows,
    is_rounding,
    missing_rows,
)
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares

METHODS = ("huber", "bisquare", "mm")
# Fits through as many maps as there are columns that the S-estimate starts from. Few maps have
# many minima; with many it takes no more than that some subsets hold no map that is wrong.
_MOST_SUBSETS = 500
_FEWEST_SUBSETS = 50
_VALUES_OF_SUBSETS = 20_000
_SEED = 1987
# Squared length that a map's row must add to those before.
_SAME_PLACE = 1e-10
# Squared share that rounding leaves: of a map that has a column of its own, and of contrasts.
_ALONE = 1e-10
# Fewer maps a column than these are told: how often fits of 8 maps and 3 columns err at 5 %.
_MAPS_A_COLUMN = 10
_OF_FEW_MAPS = {"huber": "8 %", "bisquare": "12 %"}


@dataclass(frozen=True)
class RobustFit:
    """A robust fit of every voxel.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    method : {"huber", "bisquare", "mm"}
    betas : array, shape (p + k, v)
        Of the design, then of covariates that are maps; 0 where there is no scale.
    scale : array, shape (v,)
        Standard deviation of a map about the model, if errors are normal; 0 where there is none,
        as where the model fits half of the maps exactly.
    coordinates : array, shape (rank + k, v)
        Estimates in the orthonormal basis of the maps that have the voxel, then of own columns.
    variance : array, shape (v,)
        Variance of these, or of MM the square of the scale; 0 where there is no statistic.
    covariance : array, shape (c (c + 1) / 2, v), or None
        Covariance of the coordinates of MM, lower triangle row after row.
    settled : bool array, shape (v,)
        Whether the weights no longer change.
    patterns : VoxelPatterns
        Maps that voxels lack.
    covariates : MapCovariates
    parts : CovariateParts
    """

    model: LinearModel
    method: str
    betas: np.ndarray
    scale: np.ndarray
    coordinates: np.ndarray
    variance: np.ndarray
    covariance: np.ndarray | None
    settled: np.ndarray
    patterns: VoxelPatterns
    covariates: MapCovariates
    parts: CovariateParts

    @property
    def components(self) -> dict[str, np.ndarray]:
        """The scale, and where covariates that are maps add nothing."""
        return {"scale": self.scale} | self.parts.components

    @property
    def notes(self) -> tuple[str, ...]:
        """How maps are weighed, and where no fit was found."""
        reach = TUNING[HUBER] if self.method == "huber" else TUNING[BISQUARE]
        done = "weighed down" if self.method == "huber" else "left out"
        found = [f"Maps beyond {reach:g} scales of the fit are {done} at each voxel."]
        if self.method == "mm":
            found.append(
                "F of MM has no statistic where the covariance of its estimates is not positive "
                "definite."
            )
            found.append(
                "The errors of MM are too small where maps are few: with 30 of normal errors 7 % "
                "of voxels without an effect have p < .05, with 15 about 9 %; of a group of two "
                "maps against twelve 20 %."
            )
        elif len(self.model.matrix) < _MAPS_A_COLUMN * self.model.rank:
            found.append(
                f"The errors of robust fits are those of many maps, and {len(self.model.matrix)} "
                f"have {self.model.rank} columns: of 8 normal maps and 3 columns "
                f"{_OF_FEW_MAPS[self.method]} of voxels without an effect have p < .05. Shuffles "
                "(permutation) take no error for granted."
            )
        alive = (self.patterns.voxel_dof > 0) & (self.parts.status == FINE)
        none = (alive & ~(self.variance > 0)).sum()
        if none:
            found.append(
                f"{none} of {alive.sum()} voxels have no scale, as the model fits half of their "
                "maps exactly: they have no statistic."
            )
        if not self.settled.all():
            found.append(f"At {(~self.settled).sum()} voxels the weights did not settle.")
        return tuple(found) + self.parts.notes(self.covariates.names)

    def weights(
        self, maps: Callable[[Sequence[int]], Iterator[np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """Yield how much every map counts at every voxel, between 0 and 1.

        Parameters
        ----------
        maps : callable
            Yields the values of the maps of these rows, shape (v,) each.

        Yields
        ------
        array, shape (v,)
            0 where the map lacks the voxel, or the voxel has no statistic.
        """
        for residuals in self._residual_maps(maps):
            yield self._weights_of(residuals)

    def residuals(
        self, maps: Callable[[Sequence[int]], Iterator[np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """Yield the residuals of every map times the root of its weight; see `OwnErrorsFit`."""
        for residuals in self._residual_maps(maps):
            yield np.sqrt(self._weights_of(residuals)) * residuals

    def _residual_maps(self, maps):
        return residual_maps(self.model, self.betas, self.covariates, maps, self.parts.centre)

    def _weights_of(self, residuals):
        kind = HUBER if self.method == "huber" else BISQUARE
        found = np.zeros(len(residuals))
        there = (self.variance > 0) & np.isfinite(residuals)
        tuning = TUNING_MM if self.method == "mm" else TUNING[kind]
        own = np.empty(there.sum())
        weigh(kind, tuning, residuals[there] / self.scale[there], own)
        found[there] = own
        return found

    def contrast(self, weights: np.ndarray, test: str) -> ContrastEstimates:
        """Return a contrast at every voxel.

        Parameters
        ----------
        weights : array, shape (r, p)
            Contrast rows over the columns of the design.
        test : {"t", "F"}
            One row with a sign, or all rows together (Wald's statistic over their number).

        Returns
        -------
        ContrastEstimates
            Cohen's d of t is in units of the scale.

        Raises
        ------
        ValueError
            Where a contrast of MM is about a map that has a column of its own: its residual is
            none, so that the errors of MM take its variance for none.
        """
        weights = np.atleast_2d(np.asarray(weights, dtype=float))
        rows = weights[:1] if test == "t" else independent_rows(weights)
        shared = rows[:, : self.model.matrix.shape[1]]
        q, n_voxels = len(rows), len(self.scale)
        effects, covariance = np.zeros((q, n_voxels)), np.zeros((q, q, n_voxels))
        determined = self.patterns.determine(shared) & self._told_by_several(shared)
        if not determined[0]:
            raise ValueError(
                "it is about a column that one map alone has, whose variance the errors of MM "
                "take for none: take huber or bisquare, or drop the column"
            )
        for index in np.flatnonzero(determined):
            voxels = np.flatnonzero(self.patterns.number == index)
            missing = missing_rows(self.patterns.missing[index], len(self.model.matrix))
            model = self.model.without(missing) if len(missing) else self.model
            assert model is not None
            own = self.parts.rows(rows, voxels)
            over = multiply(multiply(shared, model.inverse), model.basis)[:, :, None]
            over = np.concatenate([np.broadcast_to(over, (q, model.rank, len(voxels))), own], 1)
            for s in range(q):
                for a in range(over.shape[1]):
                    effects[s, voxels] += over[s, a] * self.coordinates[a, voxels]
            covariance[:, :, voxels] = self._covariance_of(over, voxels)
        dof = np.where(determined, self.patterns.dof, 0)[self.patterns.number].astype(float)
        return wald_estimates(
            effects,
            covariance,
            self.variance,
            self.scale,
            np.where(self.variance > 0, dof, 0.0),
            # Residuals where covariates add nothing are of no fit.
            self.patterns.complete & (self.parts.status == FINE),
            test,
        )

    def _told_by_several(self, rows):
        """Return of which patterns rows of MM take no map that the design fits whatever it is."""
        found = np.ones(len(self.patterns.missing), dtype=bool)
        if self.method != "mm":
            return found
        for index, packed in enumerate(self.patterns.missing):
            model = self.model.without(missing_rows(packed, len(self.model.matrix)))
            if model is None:
                continue
            alone = np.square(model.basis).sum(axis=1) > 1 - _ALONE
            scores = np.square(multiply(rows, model.inverse))
            found[index] = (scores[:, alone].sum() <= _ALONE * scores.sum()).all()
        return found

    def _covariance_of(self, over, voxels):
        """Return the covariance of rows over the coordinates, (q, c, v'), shape (q, q, v')."""
        q, k, n_voxels = over.shape
        found = np.zeros((q, q, n_voxels))
        for s in range(q):
            for t in range(q):
                for a in range(k):
                    if self.covariance is None:
                        found[s, t] += over[s, a] * over[t, a] * self.variance[voxels]
                        continue
                    for b in range(k):
                        at = max(a, b) * (max(a, b) + 1) // 2 + min(a, b)
                        found[s, t] += over[s, a] * over[t, b] * self.covariance[at, voxels]
        return found


def _subsets(basis: np.ndarray, n_own: int = 0) -> np.ndarray:
    """Return the maps through which fits go, as many as there are columns, shape (s, k).

    All sets of k maps where they are few. Else maps are drawn, and one that tells no more columns
    apart than those before is passed over, so that groups of few maps are met too (Koller and
    Stahel 2017).

    Parameters
    ----------
    basis : array, shape (n, rank)
    n_own : int
        Columns that are a voxel's own: as many of the next maps are taken.
    """
    n_maps, rank = basis.shape
    k = rank + n_own
    if comb(n_maps, k) <= _MOST_SUBSETS:
        return np.array(list(combinations(range(n_maps), k)))
    # Where half of the maps are wrong, one subset in 2^k is right: ten of these are drawn.
    least = max(_FEWEST_SUBSETS, 10 * 2 ** min(k, 9), _VALUES_OF_SUBSETS // n_maps)
    n_subsets = min(_MOST_SUBSETS, least)
    words = np.random.Philox(key=_SEED).random_raw(n_subsets * n_maps)
    orders = words.reshape(n_subsets, n_maps).argsort(axis=1, kind="stable")
    found = np.empty((n_subsets, k), dtype=np.int64)
    for own, order in zip(found, orders, strict=True):
        left = basis.copy()
        taken: list[int] = []
        for at in order:
            length = np.square(left[at]).sum()
            if len(taken) < rank and length > _SAME_PLACE:
                taken.append(at)
                direction = left[at] / np.sqrt(length)
                left -= multiply(left, direction)[:, None] * direction
        others = order[~np.isin(order, taken)]
        own[:] = np.concatenate([taken, others[:n_own]])
    return found


def _fit_tile(
    model: LinearModel, method: str, data: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coordinates, `found` of the kernels and covariance of voxels without gaps."""
    basis = np.ascontiguousarray(model.basis.T)
    k, n_voxels = len(basis) + len(columns), data.shape[1]
    left = residuals_of(model.basis, data)
    coordinates, found = np.empty((k, n_voxels)), np.empty((3, n_voxels))
    covariance = np.zeros((k * (k + 1) // 2, n_voxels))
    if method == "mm":
        subsets = _subsets(model.basis, len(columns))
        fit_mm(data, basis, columns, subsets, coordinates, found, covariance)
    else:
        fit_by_median(data, basis, columns, method == "bisquare", coordinates, found)
    found[:2, is_rounding(sum_of_squares(left), data)] = 0.0
    return coordinates, found, covariance


def fit_robust(
    model: LinearModel,
    read: ReadVoxels,
    n_voxels: int,
    method: str = "huber",
    covariates: MapCovariates | None = None,
) -> RobustFit:
    """Fit all voxels robustly, a tile at a time.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v);
        NaN where a map lacks the voxel.
    n_voxels : int
        Voxels in the mask.
    method : {"huber", "bisquare", "mm"}
    covariates : MapCovariates, optional

    Returns
    -------
    RobustFit

    Raises
    ------
    ValueError
        Where the method is none of these, or maps leave no residual degree of freedom.

    Examples
    --------
    >>> data = np.array([[1.0], [2], [4], [3], [90], [6]])
    >>> mean = LinearModel(np.ones((6, 1)), ("mean",))
    >>> fit = fit_robust(mean, lambda a, b: data[:, a:b], 1, "mm")
    >>> found = fit.contrast(np.array([[1.0]]), "t")
    >>> found.effect.round(3).tolist(), found.dof.tolist()
    ([3.179], [5.0])
    >>> [w.round(2).tolist() for w in fit.weights(lambda rows: (data[i] for i in rows))]
    [[0.95], [0.99], [0.99], [1.0], [0.0], [0.92]]
    """
    if method not in METHODS:
        raise ValueError(f"a robust fit is one of {', '.join(METHODS)}, got {method!r}")
    n_maps, n_columns = model.matrix.shape
    covariates = covariates or no_covariates(n_maps)
    check_dof(model, covariates)
    k = len(covariates.names)
    parts = CovariateParts.empty(n_columns, k, n_voxels)
    betas, coordinates = np.zeros((n_columns + k, n_voxels)), np.zeros((model.rank + k, n_voxels))
    found = np.zeros((3, n_voxels))
    found[2] = 1.0
    n_products = len(coordinates) * (len(coordinates) + 1) // 2
    covariance = np.zeros((n_products, n_voxels)) if method == "mm" else None
    number = np.zeros(n_voxels, dtype=np.int32)
    numbers = {bytes(-(-n_maps // 8)): 0}
    for voxels, packed, data, own in covariate_tiles(n_maps, covariates, read, n_voxels):
        number[voxels] = numbers.setdefault(packed, len(numbers))
        missing = missing_rows(packed, n_maps)
        fitted = model.without(missing) if len(missing) else model
        if fitted is None or fitted.dof <= k:
            continue
        columns, part = own_columns(fitted, own, covariates.centred)
        parts.take(voxels, part)
        values, told, shared = _fit_tile(fitted, method, data, columns)
        fine = (part.status == FINE) & (told[0] > 0)
        told[:2, ~fine] = 0.0
        told[2, ~fine] = 1.0
        coordinates[: fitted.rank + k, voxels], found[:, voxels] = values, told
        without = multiply(multiply(fitted.inverse, fitted.basis), values[: fitted.rank])
        betas[:, voxels] = np.where(fine, part.betas(without, values[fitted.rank :]), 0.0)
        if covariance is not None:
            covariance[: len(shared), voxels] = shared
    return RobustFit(
        model,
        method,
        betas,
        found[0],
        coordinates,
        found[1],
        covariance,
        found[2] > 0,
        patterns_of(model, number, tuple(numbers), k),
        covariates,
        parts,
    )
