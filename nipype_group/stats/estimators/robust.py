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
n - rank degrees of freedom. Voxels that maps lack are fitted to the other maps.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from nipype_group.stats.estimators.contrast_estimates import ContrastEstimates
from nipype_group.stats.estimators.iterated_weights import (
    BISQUARE,
    HUBER,
    TUNING,
    TUNING_MM,
    fit_by_median,
    fit_mm,
    weigh,
)
from nipype_group.stats.estimators.small_matrices import quadratic_forms
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    ReadVoxels,
    VoxelPatterns,
    independent_rows,
    is_rounding,
    missing_patterns,
    missing_rows,
    present_values,
    tiles,
)
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares

METHODS = ("huber", "bisquare", "mm")
# Fits through as many maps as there are columns that the S-estimate starts from.
_MOST_SUBSETS = 500
_SEED = 1987


@dataclass(frozen=True)
class RobustFit:
    """A robust fit of every voxel.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    method : {"huber", "bisquare", "mm"}
    betas : array, shape (p, v)
        0 where the maps that have a voxel leave no residual degree of freedom.
    scale : array, shape (v,)
        Standard deviation of a map about the model, if errors are normal; 0 where there is none,
        as where the model fits half of the maps exactly.
    coordinates : array, shape (rank, v)
        Estimates in the orthonormal basis of the maps that have the voxel.
    variance : array, shape (v,)
        Variance of these, or of MM the square of the scale; 0 where there is no statistic.
    covariance : array, shape (rank (rank + 1) / 2, v), or None
        Covariance of the coordinates of MM, lower triangle row after row.
    settled : bool array, shape (v,)
        Whether the weights no longer change.
    patterns : VoxelPatterns
        Maps that voxels lack.
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

    @property
    def components(self) -> dict[str, np.ndarray]:
        """The scale."""
        return {"scale": self.scale}

    @property
    def notes(self) -> tuple[str, ...]:
        """How maps are weighed, and where no fit was found."""
        reach = TUNING[HUBER] if self.method == "huber" else TUNING[BISQUARE]
        done = "weighed down" if self.method == "huber" else "left out"
        found = [f"Maps beyond {reach:g} scales of the fit are {done} at each voxel."]
        alive = self.patterns.voxel_dof > 0
        none = (alive & ~(self.variance > 0)).sum()
        if none:
            found.append(
                f"{none} of {alive.sum()} voxels have no scale, as the model fits half of their "
                "maps exactly: they have no statistic."
            )
        if not self.settled.all():
            found.append(f"At {(~self.settled).sum()} voxels the weights did not settle.")
        return tuple(found)

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
        for residuals in self._raw_residuals(maps):
            yield self._weights_of(residuals)

    def residuals(
        self, maps: Callable[[Sequence[int]], Iterator[np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """Yield the residuals of every map times the root of its weight; see `OwnErrorsFit`."""
        for residuals in self._raw_residuals(maps):
            yield np.sqrt(self._weights_of(residuals)) * residuals

    def _raw_residuals(self, maps):
        rows = self.model.matrix
        for row, values in zip(rows, maps(range(len(rows))), strict=True):
            yield values - multiply(row, self.betas)

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
        """
        weights = np.atleast_2d(np.asarray(weights, dtype=float))
        rows = weights[:1] if test == "t" else independent_rows(weights)
        q, n_voxels = len(rows), len(self.scale)
        effects, covariance = np.zeros((q, n_voxels)), np.zeros((q, q, n_voxels))
        determined = self.patterns.determine(rows)
        for index in np.flatnonzero(determined):
            voxels = np.flatnonzero(self.patterns.number == index)
            missing = missing_rows(self.patterns.missing[index], len(self.model.matrix))
            own = self.model.without(missing) if len(missing) else self.model
            assert own is not None
            over = multiply(multiply(rows, own.inverse), own.basis)
            effects[:, voxels] = multiply(over, self.coordinates[: own.rank, voxels])
            covariance[:, :, voxels] = self._covariance_of(over, voxels)
        dof = np.where(determined, self.patterns.dof, 0)[self.patterns.number].astype(float)
        dof[~(self.variance > 0)] = 0.0
        return self._estimates(effects, covariance, dof, test)

    def _covariance_of(self, over, voxels):
        """Return the covariance of rows over the basis, shape (q, q, v')."""
        if self.covariance is None:
            return multiply(over, over.T)[:, :, None] * self.variance[voxels]
        q, k = over.shape
        found = np.empty((q, q, len(voxels)))
        at = np.tril_indices(k)
        own = self.covariance[: len(at[0]), voxels]
        for s in range(q):
            for t in range(q):
                pairs = over[s, at[0]] * over[t, at[1]]
                others = np.where(at[0] == at[1], 0.0, over[s, at[1]] * over[t, at[0]])
                found[s, t] = multiply(pairs + others, own)
        return found

    def _estimates(self, effects, covariance, dof, test):
        q, n_voxels = effects.shape
        if test == "t":
            dof[~(covariance[0, 0] > 0)] = 0.0
            alive = dof > 0
            effect, variance = effects[0], np.where(alive, covariance[0, 0], 0.0)
            stat = np.divide(effect, np.sqrt(variance), out=np.zeros(n_voxels), where=alive)
        else:
            square = np.empty(n_voxels)
            quadratic_forms(effects, covariance, square)
            dof[square < 0] = 0.0
            alive = dof > 0
            variance = np.where(alive, self.variance, 0.0)
            stat = np.where(alive, square / q, 0.0)
            effect = np.sqrt(stat * variance)
        complete = self.patterns.complete
        return ContrastEstimates(effect, variance, stat, dof, q, self.scale, complete)


def _subsets(basis: np.ndarray) -> np.ndarray:
    """Return the maps through which fits go, shape (s, k).

    All sets of k maps where they are few. Else maps are drawn, and one that tells no more columns
    apart than those before is passed over, so that groups of few maps are met too (Koller and
    Stahel 2017).
    """
    n_maps, k = basis.shape
    if comb(n_maps, k) <= _MOST_SUBSETS:
        return np.array(list(combinations(range(n_maps), k)))
    words = np.random.Philox(key=_SEED).random_raw(_MOST_SUBSETS * n_maps)
    orders = words.reshape(_MOST_SUBSETS, n_maps).argsort(axis=1, kind="stable")
    found = np.empty((_MOST_SUBSETS, k), dtype=np.int64)
    for own, order in zip(found, orders, strict=True):
        left, taken = basis.copy(), 0
        for at in order:
            length = np.square(left[at]).sum()
            if length > 1e-10:
                own[taken], taken = at, taken + 1
                if taken == k:
                    break
                direction = left[at] / np.sqrt(length)
                left -= multiply(left, direction)[:, None] * direction
    return found


def _fit_tile(
    model: LinearModel, method: str, data: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coordinates, `found` of the kernels and covariance of voxels without gaps."""
    basis = np.ascontiguousarray(model.basis.T)
    k, n_voxels = len(basis), data.shape[1]
    residual_ss = sum_of_squares(residuals_of(model.basis, data))
    coordinates, found = np.empty((k, n_voxels)), np.empty((3, n_voxels))
    covariance = np.zeros((k * (k + 1) // 2, n_voxels))
    # Of one layout, for which alone there is compiled code.
    data, own = np.ascontiguousarray(data), np.empty((0, *data.shape))
    if method == "mm":
        fit_mm(data, basis, own, _subsets(model.basis), coordinates, found, covariance)
    else:
        fit_by_median(data, basis, own, method == "bisquare", coordinates, found)
    found[:2, is_rounding(residual_ss, data)] = 0.0
    return coordinates, found, covariance


def fit_robust(
    model: LinearModel, read: ReadVoxels, n_voxels: int, method: str = "huber"
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

    Returns
    -------
    RobustFit

    Raises
    ------
    ValueError
        Where the method is none of these.

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
    n_maps, k = len(model.matrix), model.rank
    betas, coordinates = np.zeros((model.matrix.shape[1], n_voxels)), np.zeros((k, n_voxels))
    found = np.zeros((3, n_voxels))
    found[2] = 1.0
    covariance = np.zeros((k * (k + 1) // 2, n_voxels)) if method == "mm" else None
    number = np.zeros(n_voxels, dtype=np.int32)
    numbers = {bytes(-(-n_maps // 8)): 0}
    for span in tiles(n_voxels, n_maps):
        data = read(span.start, span.stop)
        for members, missing in missing_patterns(data):
            voxels = span.start + members
            lacks = np.zeros(n_maps, dtype=bool)
            lacks[missing] = True
            packed = np.packbits(lacks).tobytes()
            number[voxels] = numbers.setdefault(packed, len(numbers))
            own = model.without(missing) if len(missing) else model
            if own is None:
                continue
            values, told, shared = _fit_tile(own, method, present_values(data, members, missing))
            coordinates[: own.rank, voxels], found[:, voxels] = values, told
            betas[:, voxels] = multiply(multiply(own.inverse, own.basis), values)
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
        VoxelPatterns.of(model, number, tuple(numbers)),
    )
