"""Covariates that are maps: a design that differs from voxel to voxel.

A covariate as grey matter density has a value a map and voxel. At each voxel it is residualised
on the columns of the design that all voxels share, which takes two products (Frisch and Waugh
1933), and the covariates on each other; what is left are orthonormal columns of the voxel. Betas
and errors are those of fitting each voxel with all its columns.

``fit_map_covariates(model, covariates, read, n_voxels)`` is least squares, a `MapCovariateFit` as
`nipype_group.stats.estimators.contrast_estimates` says; robust fits take `MapCovariates` too.

Where a covariate is the same in all maps, or a combination of other columns, a voxel has no
statistic of any contrast; such voxels are counted and mapped. A map lacks a voxel where its value
or one of its covariates is not finite.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numba
import numpy as np

from nipype_group.stats.estimators.contrast_estimates import ContrastEstimates, wald_estimates
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
from nipype_group.stats.matrix_products import multiply, residuals_of

# Share of a covariate's sum of squares that is its own, below which there is none: its values are
# float32, and so are those that it may be a sum of.
_NO_PART = 1e-12
# What a covariate is at a voxel.
FINE, CONSTANT, COLLINEAR = range(3)


@dataclass(frozen=True)
class MapCovariates:
    """Covariates that are maps.

    Parameters
    ----------
    names : tuple of str
        Of the k covariates; they are columns after those of the design.
    centred : bool
        Whether columns of the design mean what they do at a voxel's mean of each covariate over
        the maps that have it, where the design holds a constant; else at 0. Statistics of
        covariates are the same.
    read : callable
        ``read(start, stop)`` gives the float64 covariates of voxels start to stop - 1, shape
        (k, n, v); NaN where a covariate lacks the voxel.
    maps : callable
        Yields the covariates of the maps of these rows, shape (k, v) each.
    """

    names: tuple[str, ...]
    read: Callable[[int, int], np.ndarray]
    maps: Callable[[Sequence[int]], Iterator[np.ndarray]]
    centred: bool = False


def covariate_moments(covariates: MapCovariates, n_maps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of covariates over the maps that have a voxel.

    Returns
    -------
    mean, sd : arrays, shape (k, v)
        0 where no map has the voxel; a standard deviation of one map is 0.

    Examples
    --------
    >>> grey = np.array([[[1.0, 5]], [[3.0, 5]]])
    >>> own = MapCovariates(("grey",), lambda a, b: grey, lambda rows: (grey[i] for i in rows))
    >>> [found.round(4).tolist() for found in covariate_moments(own, 2)]
    [[[2.0, 5.0]], [[1.4142, 0.0]]]
    """
    mean = square = count = np.zeros(())
    for values in covariates.maps(range(n_maps)):
        there = np.isfinite(values)
        count = count + there
        step = np.where(there, values - mean, 0.0)
        mean = mean + step / np.maximum(count, 1)
        # Welford's sums, which lose no digits to a large mean.
        square = square + step * np.where(there, values - mean, 0.0)
    return mean, np.sqrt(square / np.maximum(count - 1, 1))


def no_covariates(n_maps: int) -> MapCovariates:
    """Return the covariates of a design that is the same at all voxels."""
    return MapCovariates(
        (),
        lambda start, stop: np.empty((0, n_maps, stop - start)),
        lambda rows: (np.empty((0, 0)) for _ in rows),
    )


@numba.njit(nogil=True, cache=True, error_model="numpy")
def column_products(left: np.ndarray, right: np.ndarray, total: np.ndarray) -> None:
    """Write the sums of left x right, shapes (n, v), maps in ascending order, shape (v,)."""
    total[:] = 0.0
    for i in range(len(left)):
        a, b = left[i], right[i]
        for v in range(len(total)):
            total[v] += a[v] * b[v]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _take_out(factor, column, values):
    """Subtract factor x column from values, shapes (v,), (n, v), (n, v)."""
    for i in range(len(values)):
        own, from_ = column[i], values[i]
        for v in range(len(factor)):
            from_[v] -= factor[v] * own[v]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _orthonormalise(columns, least, root, alive):
    """Turn columns, shape (k, n, v), into orthonormal ones; columns = orthonormal x root.

    Parameters
    ----------
    least : array, shape (k, v)
        Squared length below which a column is none; `alive` becomes False there.
    root : array, shape (k, k, v)
        Zeros; gets upper triangles.
    alive : bool array, shape (v,)
    """
    products = np.empty(columns.shape[2])
    for k in range(len(columns)):
        # Twice, as what is left of nearly collinear columns is not orthogonal the first time.
        for _ in range(2):
            for j in range(k):
                column_products(columns[j], columns[k], products)
                _take_out(products, columns[j], columns[k])
                for v in range(len(products)):
                    root[j, k, v] += products[v]
        column_products(columns[k], columns[k], products)
        for v in range(len(products)):
            if not products[v] > least[k, v]:
                alive[v] = False
            root[k, k, v] = np.sqrt(products[v]) if alive[v] else 1.0
        for i in range(columns.shape[1]):
            for v in range(len(products)):
                columns[k, i, v] = columns[k, i, v] / root[k, k, v] if alive[v] else 0.0


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _invert_upper(root, inverse):
    """Write the inverses of upper triangles, shapes (k, k, v); `inverse` is 0."""
    n = len(root)
    for v in range(root.shape[2]):
        for j in range(n):
            inverse[j, j, v] = 1.0 / root[j, j, v]
            for i in range(j - 1, -1, -1):
                total = 0.0
                for m in range(i + 1, j + 1):
                    total += root[i, m, v] * inverse[m, j, v]
                inverse[i, j, v] = -total / root[i, i, v]


@dataclass(frozen=True)
class CovariateParts:
    """What covariates are beside the columns that voxels share.

    Parameters
    ----------
    shared : array, shape (p, k, v)
        Betas of the covariates on the shared columns.
    inverse : array, shape (k, k, v)
        Own columns x inverse^-1 is what they leave of the covariates.
    status : int8 array, shape (v,)
        `FINE`, or why a voxel has no statistic: `CONSTANT` or `COLLINEAR`.
    centre : array, shape (k, v)
        What is taken from the covariates.
    """

    shared: np.ndarray
    inverse: np.ndarray
    status: np.ndarray
    centre: np.ndarray

    @classmethod
    def empty(cls, n_columns: int, n_covariates: int, n_voxels: int) -> "CovariateParts":
        """Return parts of voxels that are still to come."""
        return cls(
            np.zeros((n_columns, n_covariates, n_voxels)),
            np.zeros((n_covariates, n_covariates, n_voxels)),
            np.zeros(n_voxels, dtype=np.int8),
            np.zeros((n_covariates, n_voxels)),
        )

    def take(self, voxels: np.ndarray, part: "CovariateParts") -> None:
        """Put in the parts of some voxels."""
        self.shared[:, :, voxels] = part.shared
        self.inverse[:, :, voxels] = part.inverse
        self.status[voxels] = part.status
        self.centre[:, voxels] = part.centre

    def rows(self, weights: np.ndarray, voxels: np.ndarray | slice) -> np.ndarray:
        """Return contrast rows, shape (q, p + k), over the own columns, shape (q, k, v')."""
        shared, inverse = self.shared[:, :, voxels], self.inverse[:, :, voxels]
        n_columns, k, n_voxels = shared.shape
        over = weights[:, n_columns:, None] - multiply(
            weights[:, :n_columns], shared.reshape(n_columns, -1)
        ).reshape(len(weights), k, n_voxels)
        found = np.zeros_like(over)
        for j in range(k):
            for i in range(j + 1):
                found[:, j] += over[:, i] * inverse[i, j]
        return found

    def betas(self, without: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Return betas of all columns, shape (p + k, v).

        Parameters
        ----------
        without : array, shape (p, v)
            Betas of the shared columns, of a fit on them and the own ones.
        own : array, shape (k, v)
            Estimates of the own columns.
        """
        covariates = np.zeros_like(own)
        betas = np.array(without)
        for i in range(len(own)):
            for j in range(i, len(own)):
                covariates[i] += self.inverse[i, j] * own[j]
            betas -= self.shared[:, i] * covariates[i]
        return np.concatenate([betas, covariates])

    def notes(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return how many voxels have no statistic, and why."""
        told = " and ".join(names)
        constant = (self.status == CONSTANT).sum()
        collinear = (self.status == COLLINEAR).sum()
        found = []
        if constant:
            found.append(
                f"At {constant} of {len(self.status)} voxels {told} has one value in all maps: "
                "they have no statistic."
            )
        if collinear:
            found.append(
                f"At {collinear} of {len(self.status)} voxels {told} is a combination of other "
                "columns: they have no statistic."
            )
        return tuple(found)

    @property
    def components(self) -> dict[str, np.ndarray]:
        """Maps, 1 where a voxel has no statistic, of those that there are."""
        named = {"constantCovariate": CONSTANT, "collinearCovariate": COLLINEAR}
        found = {name: (self.status == code).astype(float) for name, code in named.items()}
        return {name: own for name, own in found.items() if own.any()}


def own_columns(
    model: LinearModel, covariates: np.ndarray, centred: bool = False
) -> tuple[np.ndarray, CovariateParts]:
    """Return what covariates add to a design at every voxel, as orthonormal columns.

    Parameters
    ----------
    model : LinearModel
        Columns that voxels share.
    covariates : array, shape (k, n, v)
        Finite.
    centred : bool
        As of `MapCovariates`.

    Returns
    -------
    columns : array, shape (k, n, v)
        Orthogonal to the design; 0 from the first covariate on that adds nothing.
    parts : CovariateParts

    Examples
    --------
    >>> model = LinearModel(np.ones((3, 1)), ("mean",))
    >>> columns, parts = own_columns(model, np.array([[[1.0, 5], [2, 5], [3, 5]]]))
    >>> columns[0, [0, 2]].round(4).tolist(), parts.status.tolist()
    ([[-0.7071, 0.0], [0.7071, 0.0]], [0, 1])
    """
    k, n_voxels = len(covariates), covariates.shape[2]
    parts = CovariateParts.empty(model.matrix.shape[1], k, n_voxels)
    columns, least = np.empty(covariates.shape), np.empty((k, n_voxels))
    constant = np.zeros(n_voxels, dtype=bool)
    for j in range(k):
        values = np.ascontiguousarray(covariates[j])
        column_products(values, values, least[j])
        left = values - values[0]
        square = np.empty(n_voxels)
        column_products(left, left, square)
        constant |= square <= _NO_PART * least[j]
        if centred and model.holds_constant:
            column_products(values, np.ones(values.shape), parts.centre[j])
            parts.centre[j] /= len(values)
        parts.shared[:, j] = multiply(model.inverse, values - parts.centre[j])
        columns[j] = residuals_of(model.basis, residuals_of(model.basis, values))
    least *= _NO_PART
    root, alive = np.zeros((k, k, n_voxels)), np.ones(n_voxels, dtype=bool)
    _orthonormalise(columns, least, root, alive)
    _invert_upper(root, parts.inverse)
    parts.status[:] = np.where(alive, FINE, np.where(constant, CONSTANT, COLLINEAR))
    return columns, parts


def lacking_maps(data: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """Return data that are NaN where one of the covariates, shape (k, n, v), is not finite."""
    lacks = ~np.isfinite(covariates).all(axis=0)
    return np.where(lacks, np.nan, data) if lacks.any() else data


def present_covariates(
    covariates: np.ndarray, members: np.ndarray, missing: np.ndarray
) -> np.ndarray:
    """Return the covariates of some voxels, shape (k, n', v'), of the maps that have them."""
    shape = (len(covariates), covariates.shape[1] - len(missing), len(members))
    found = np.empty(shape)
    for own, values in zip(found, covariates, strict=True):
        own[:] = present_values(values, members, missing)
    return found


def beside(shared: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return shared columns, shape (n, r), and own ones, (k, n, v), as (n, r + k, v)."""
    wide = np.broadcast_to(shared[:, :, None], (*shared.shape, own.shape[2]))
    return np.concatenate([wide, own.transpose(1, 0, 2)], axis=1)


def patterns_of(
    model: LinearModel, number: np.ndarray, missing: Sequence[bytes], n_covariates: int
) -> VoxelPatterns:
    """Return the patterns of missing maps; each covariate takes a degree of freedom."""
    found = VoxelPatterns.of(model, number, missing)
    return replace(found, dof=np.maximum(found.dof - n_covariates, 0))


@dataclass(frozen=True)
class MapCovariateFit:
    """Least squares with covariates that are maps.

    Parameters
    ----------
    model : LinearModel
        Shared columns of n maps.
    covariates : MapCovariates
    betas : array, shape (p + k, v)
        Of the shared columns, then of the covariates; 0 where there are none.
    residual_variance : array, shape (v,)
    parts : CovariateParts
    patterns : VoxelPatterns
        Maps that voxels lack.
    """

    model: LinearModel
    covariates: MapCovariates
    betas: np.ndarray
    residual_variance: np.ndarray
    parts: CovariateParts
    patterns: VoxelPatterns

    @property
    def components(self) -> dict[str, np.ndarray]:
        """The residual variance, partial correlations, and where covariates add nothing.

        The partial correlation of covariate j, from 1, with the maps is t / sqrt(t^2 + dof); 0
        where there is none.
        """
        found = {"varResidual": self.residual_variance}
        n_columns, k = self.model.matrix.shape[1], len(self.covariates.names)
        for j, row in enumerate(np.eye(n_columns + k)[n_columns:], start=1):
            of = self.contrast(row[None], "t")
            length = np.sqrt(np.square(of.stat) + of.dof)
            found[f"partialCorrelation{j}"] = np.divide(
                of.stat, length, out=np.zeros(len(length)), where=length > 0
            )
        return found | self.parts.components

    @property
    def notes(self) -> tuple[str, ...]:
        """Where covariates add nothing."""
        return self.parts.notes(self.covariates.names)

    def residuals(
        self, maps: Callable[[Sequence[int]], Iterator[np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """Yield the residuals of every map; see `OwnErrorsFit`."""
        return residual_maps(self.model, self.betas, self.covariates, maps, self.parts.centre)

    def contrast(self, weights: np.ndarray, test: str) -> ContrastEstimates:
        """Return a contrast at every voxel.

        Parameters
        ----------
        weights : array, shape (r, p + k)
            Contrast rows over the columns of the design and the covariates.
        test : {"t", "F"}
            One row with a sign, or all rows together.

        Returns
        -------
        ContrastEstimates
        """
        weights = np.atleast_2d(np.asarray(weights, dtype=float))
        rows = weights[:1] if test == "t" else independent_rows(weights)
        shared = rows[:, : self.model.matrix.shape[1]]
        determined = self.patterns.determine(shared) & (self.patterns.dof > 0)
        unit = np.array(
            [multiply(multiply(shared, c), shared.T) for c in self.patterns.covariance]
        )
        own = self.parts.rows(rows, slice(None))
        q, n_voxels = len(rows), len(self.residual_variance)
        covariance = np.empty((q, q, n_voxels))
        for s in range(q):
            for t in range(q):
                covariance[s, t] = unit[self.patterns.number, s, t]
                for k in range(own.shape[1]):
                    covariance[s, t] += own[s, k] * own[t, k]
        dof = np.where(determined, self.patterns.dof, 0)[self.patterns.number]
        return wald_estimates(
            multiply(rows, self.betas),
            covariance * self.residual_variance,
            self.residual_variance,
            np.sqrt(self.residual_variance),
            np.where(self.residual_variance > 0, dof, 0).astype(float),
            # Residuals where covariates add nothing are of no fit.
            self.patterns.complete & (self.parts.status == FINE),
            test,
        )


def residual_maps(
    model: LinearModel,
    betas: np.ndarray,
    covariates: MapCovariates,
    maps: Callable[[Sequence[int]], Iterator[np.ndarray]],
    centre: np.ndarray,
) -> Iterator[np.ndarray]:
    """Yield maps less what their row of the design, and their covariates, fit.

    Parameters
    ----------
    model : LinearModel
    betas : array, shape (p + k, v)
    covariates : MapCovariates
    maps : callable
        Yields the values of the maps of these rows, shape (v,) each.
    centre : array, shape (k, v)
        What is taken from the covariates.
    """
    rows, n_columns = model.matrix, model.matrix.shape[1]
    every = range(len(rows))
    for row, values, own in zip(rows, maps(every), covariates.maps(every), strict=True):
        left = values - multiply(row, betas[:n_columns])
        for beta, covariate, middle in zip(betas[n_columns:], own, centre, strict=True):
            left -= beta * (covariate - middle)
        yield left


def fit_map_covariates(
    model: LinearModel, covariates: MapCovariates, read: ReadVoxels, n_voxels: int
) -> MapCovariateFit:
    """Fit all voxels by least squares, each with its own covariates.

    Parameters
    ----------
    model : LinearModel
        Columns of n maps that all voxels share.
    covariates : MapCovariates
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v);
        NaN where a map lacks the voxel.
    n_voxels : int
        Voxels in the mask.

    Returns
    -------
    MapCovariateFit

    Raises
    ------
    ValueError
        Where the maps leave no residual degree of freedom.

    Examples
    --------
    >>> data = np.array([[1.0], [3.0], [5.5], [6.5]])
    >>> grey = np.array([[[1.0], [2.0], [3.0], [4.0]]])
    >>> own = MapCovariates(("grey",), lambda a, b: grey[:, :, a:b], lambda rows: iter(()))
    >>> fit = fit_map_covariates(
    ...     LinearModel(np.ones((4, 1)), ("mean",)), own, lambda a, b: data[:, a:b], 1
    ... )
    >>> fit.betas.round(4).tolist()
    [[-0.75], [1.9]]
    >>> found = fit.contrast(np.array([[0.0, 1.0]]), "t")
    >>> found.stat.round(3).tolist(), found.dof.tolist()
    ([8.957], [2.0])
    """
    n_maps, n_columns, k = *model.matrix.shape, len(covariates.names)
    check_dof(model, covariates)
    betas, residual_variance = np.zeros((n_columns + k, n_voxels)), np.zeros(n_voxels)
    parts = CovariateParts.empty(n_columns, k, n_voxels)
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
        left, estimates = residuals_of(fitted.basis, data), np.empty((k, data.shape[1]))
        for j in range(k):
            column_products(columns[j], left, estimates[j])
            _take_out(estimates[j], columns[j], left)
        square = np.empty(data.shape[1])
        column_products(left, left, square)
        square[is_rounding(square, data) | (part.status != FINE)] = 0.0
        residual_variance[voxels] = square / (fitted.dof - k)
        found = part.betas(multiply(fitted.inverse, data), estimates)
        betas[:, voxels] = np.where(part.status == FINE, found, 0.0)
    patterns = patterns_of(model, number, tuple(numbers), k)
    return MapCovariateFit(model, covariates, betas, residual_variance, parts, patterns)


def check_dof(model: LinearModel, covariates: MapCovariates) -> None:
    """Refuse covariates that leave no residual degree of freedom."""
    if model.dof <= len(covariates.names):
        raise ValueError(
            f"The design has {len(model.matrix)} maps, {model.rank} independent columns and the "
            f"covariates {', '.join(covariates.names)}: nothing is left to estimate the residual "
            "variance. Add maps or drop columns."
        )


def covariate_tiles(
    n_maps: int, covariates: MapCovariates, read: ReadVoxels, n_voxels: int
) -> Iterator[tuple[np.ndarray, bytes, np.ndarray, np.ndarray]]:
    """Yield voxels that lack the same maps, these packed as `missing_rows` takes them, and values.

    Yields
    ------
    voxels : int array, shape (v',)
    packed : bytes
    data, covariates : arrays, shapes (n', v'), (k, n', v')
        Of the maps that have the voxels.
    """
    for span in tiles(n_voxels, n_maps * (1 + len(covariates.names))):
        own = covariates.read(span.start, span.stop)
        data = lacking_maps(read(span.start, span.stop), own)
        for members, missing in missing_patterns(data):
            lacks = np.zeros(n_maps, dtype=bool)
            lacks[missing] = True
            yield (
                span.start + members,
                np.packbits(lacks).tobytes(),
                np.ascontiguousarray(present_values(data, members, missing)),
                present_covariates(own, members, missing),
            )
