"""Designs that differ from voxel to voxel, as shuffles take them.

At a voxel let B be the orthonormal columns that all voxels share and u those of its own
covariates. A contrast tests directions of the span of [B, u]; the rest of that span is the model
without the contrast, of which the directions of B that no contrast row touches are shared.

The covariates of a map stay with its row of the design, and the residuals move. Where maps lack a
voxel their rows have no covariate for residuals to meet: there are sign flips alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np

from nipype_group.stats.decompositions import complement, decompose
from nipype_group.stats.estimators.map_covariates import (
    FINE,
    MapCovariates,
    lacking_maps,
    own_columns,
    present_covariates,
)
from nipype_group.stats.estimators.small_matrices import factorise, solve_forward
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    independent_rows,
    missing_patterns,
    present_values,
)
from nipype_group.stats.matrix_products import multiply

# What plans say of covariates that are maps.
COVARIATES_STAY = "covariates that are maps stay with the rows of the design"


@dataclass(frozen=True)
class VoxelDesigns:
    """Designs of voxels that lack the same maps, and a contrast of them.

    Parameters
    ----------
    voxels : int array, shape (v,)
    rows : int array, shape (n,)
        Maps that they have.
    data : array, shape (n, v)
    model : LinearModel
        Shared columns of these maps.
    columns : array, shape (k, n, v)
        Own columns, orthonormal and orthogonal to the shared ones.
    over : array, shape (q, r + k, v)
        Orthonormal rows over the basis of the model and the own columns, of the contrast.
    weights : array, shape (q, p + k)
        Contrast rows over the shared columns and the covariates.
    alive : bool array, shape (v,)
        Where the covariates add their columns.
    dof : int
    """

    voxels: np.ndarray
    rows: np.ndarray
    data: np.ndarray
    model: LinearModel
    columns: np.ndarray
    over: np.ndarray
    weights: np.ndarray
    alive: np.ndarray
    dof: int

    @property
    def tests_all_own(self) -> bool:
        """Whether the contrast tests all own columns and nothing else."""
        return not self._shared_weights.any() and len(self.over) == len(self.columns)

    @property
    def _shared_weights(self):
        return self.weights[:, : self.model.matrix.shape[1]]

    def tested(self) -> np.ndarray:
        """Return the directions that the contrast tests, shape (q, n, v)."""
        found = np.zeros((len(self.over), *self.columns.shape[1:]))
        _combine(self.over, np.ascontiguousarray(self.model.basis), self.columns, found)
        return found

    def null(self) -> tuple[np.ndarray, np.ndarray]:
        """Return orthonormal columns of the model without the contrast.

        Returns
        -------
        shared : array, shape (n, a)
        own : array, shape (b, n, v)
            0 where covariates add nothing.
        """
        basis, n_voxels = self.model.basis, self.over.shape[2]
        of_shared = multiply(multiply(self._shared_weights, self.model.inverse), basis)
        touched = decompose(of_shared.T).basis
        n_touched = touched.shape[1]
        rows = np.empty((len(self.over), n_touched + len(self.columns), n_voxels))
        for s, own in enumerate(self.over):
            rows[s, :n_touched] = multiply(touched.T, own[: self.model.rank])
            rows[s, n_touched:] = own[self.model.rank :]
        rest = np.zeros((rows.shape[1] - len(rows), *rows.shape[1:]))
        _complement(rows, self.alive, rest)
        found = np.zeros((len(rest), *self.columns.shape[1:]))
        _combine(rest, np.ascontiguousarray(multiply(basis, touched)), self.columns, found)
        return multiply(basis, complement(touched)), found


def shared_columns(model: LinearModel, n_covariates: int) -> LinearModel:
    """Return the model of the columns that all voxels share, before those that stand in."""
    n_columns = model.matrix.shape[1] - n_covariates
    return LinearModel(model.matrix[:, :n_columns], model.columns[:n_columns])


def null_model(shared: np.ndarray, own: np.ndarray) -> tuple[LinearModel, MapCovariates | None]:
    """Return the model without a contrast as fits take it, of columns as `VoxelDesigns.null`."""
    names = tuple(f"nuisance {i}" for i in range(shared.shape[1]))
    beside = tuple(f"own nuisance {i}" for i in range(len(own)))

    def maps(rows: Sequence[int]) -> Iterator[np.ndarray]:
        return (own[:, row] for row in rows)

    covariates = MapCovariates(beside, lambda start, stop: own[:, :, start:stop], maps)
    return LinearModel(shared, names), covariates if beside else None


def fitted_values(shared: np.ndarray, own: np.ndarray, betas: np.ndarray) -> np.ndarray:
    """Return what columns, shapes (n, a) and (b, n, v), times betas, (a + b, v), are, (n, v)."""
    found = multiply(shared, betas[: shared.shape[1]])
    for column, beta in zip(own, betas[shared.shape[1] :], strict=True):
        found += column * beta
    return found


def contrast_rows(weights: np.ndarray, test: str) -> np.ndarray:
    """Return independent contrast rows, shape (q, p)."""
    weights = np.atleast_2d(np.asarray(weights, dtype=float))
    return weights[:1] if test == "t" else independent_rows(weights)


def voxel_designs(
    model: LinearModel,
    weights: np.ndarray,
    test: str,
    data: np.ndarray,
    covariates: np.ndarray,
    centred: bool,
) -> Iterator[VoxelDesigns]:
    """Yield the voxels whose maps leave residual degrees of freedom, by the maps they lack.

    Parameters
    ----------
    model : LinearModel
        Columns of n maps that all voxels share.
    weights : array, shape (r, p + k)
        Contrast rows over these and the covariates.
    test : {"t", "F"}
    data, covariates : arrays, shapes (n, v), (k, n, v)
        A map whose value or covariate is not finite lacks the voxel.
    centred : bool
        As of `nipype_group.stats.estimators.map_covariates.MapCovariates`.

    Examples
    --------
    >>> grey = np.array([[[1.0], [2], [3], [5]]])
    >>> model = LinearModel(np.ones((4, 1)), ("mean",))
    >>> (own,) = voxel_designs(model, [[0.0, 1]], "t", np.ones((4, 1)), grey, True)
    >>> own.tested()[0, :, 0].round(3).tolist(), own.dof
    ([-0.592, -0.254, 0.085, 0.761], 2)
    >>> [found.shape for found in own.null()]
    [(4, 1), (0, 4, 1)]
    """
    rows, k = contrast_rows(weights, test), len(covariates)
    data = lacking_maps(data, covariates)
    for members, missing in missing_patterns(data):
        fitted = model.without(missing) if len(missing) else model
        shared = rows[:, : model.matrix.shape[1]]
        if fitted is None or fitted.dof <= k or not fitted.row_space.holds(shared):
            continue
        values = np.ascontiguousarray(present_values(data, members, missing))
        own = present_covariates(covariates, members, missing)
        columns, parts = own_columns(fitted, own, centred)
        over = np.empty((len(rows), fitted.rank + k, values.shape[1]))
        of_shared = multiply(multiply(shared, fitted.inverse), fitted.basis)
        over[:, : fitted.rank] = of_shared[:, :, None]
        over[:, fitted.rank :] = parts.rows(rows, slice(None))
        _orthonormal_rows(over)
        yield VoxelDesigns(
            members,
            np.delete(np.arange(len(data)), missing),
            values,
            fitted,
            columns,
            over,
            rows,
            parts.status == FINE,
            fitted.dof - k,
        )


def shuffles_of_part(
    orders: np.ndarray, signs: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the shuffles of the maps that some voxels have.

    Parameters
    ----------
    orders, signs : arrays, shape (m, n)
        Row r of the shuffled design, its covariates with it, is row orders[r] times signs[r].
    rows : int array, shape (n',)
        Maps that voxels have.

    Raises
    ------
    ValueError
        Where maps lack voxels, and shuffles are more than sign flips.
    """
    orders = np.ascontiguousarray(orders, dtype=np.int64)
    signs = np.ascontiguousarray(signs, dtype=float)
    n_maps = orders.shape[1]
    if len(rows) < n_maps:
        if (orders != np.arange(n_maps)).any():
            raise ValueError(
                "maps lack voxels, and residuals that change places meet rows without a "
                "covariate there: flip signs, or take full coverage"
            )
        orders = np.tile(np.arange(len(rows)), (len(orders), 1))
    return orders, np.ascontiguousarray(signs[:, rows])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _orthonormal_rows(over):
    """Replace rows, shape (q, c, v), by orthonormal ones of the same span; one keeps its sign."""
    q, c, n_voxels = over.shape
    matrix, lower, column = np.empty((q, q)), np.zeros((q, q)), np.empty(q)
    for v in range(n_voxels):
        for s in range(q):
            for t in range(s + 1):
                total = 0.0
                for a in range(c):
                    total += over[s, a, v] * over[t, a, v]
                matrix[s, t] = total
        if not factorise(matrix, lower):
            continue
        for a in range(c):
            for s in range(q):
                column[s] = over[s, a, v]
            solve_forward(lower, column)
            for s in range(q):
                over[s, a, v] = column[s]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _complement(rows, alive, rest):
    """Write orthonormal rows, shape (c - q, c, v), orthogonal to orthonormal ones, (q, c, v).

    Of the axes that are left, the one farthest from the rows so far is taken next.
    """
    q, c, n_voxels = rows.shape
    left = np.empty((c, c))
    for v in range(n_voxels):
        if not alive[v]:
            continue
        left[:] = 0.0
        for a in range(c):
            left[a, a] = 1.0
        for s in range(q + len(rest)):
            if s < q:
                unit = rows[s, :, v].copy()
            else:
                at, longest = 0, -1.0
                for a in range(c):
                    square = 0.0
                    for b in range(c):
                        square += left[a, b] * left[a, b]
                    if square > longest:
                        at, longest = a, square
                unit = left[at].copy()
                # Once more, as rounding leaves a part along the rows before.
                for t in range(s):
                    other = rows[t, :, v] if t < q else rest[t - q, :, v]
                    along = 0.0
                    for b in range(c):
                        along += unit[b] * other[b]
                    for b in range(c):
                        unit[b] -= along * other[b]
                square = 0.0
                for b in range(c):
                    square += unit[b] * unit[b]
                for b in range(c):
                    unit[b] /= np.sqrt(square)
                    rest[s - q, b, v] = unit[b]
            for a in range(c):
                along = 0.0
                for b in range(c):
                    along += left[a, b] * unit[b]
                for b in range(c):
                    left[a, b] -= along * unit[b]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _combine(over, basis, columns, combined):
    """Add up what rows over basis and own columns, shape (q, c, v), are over maps."""
    n_shared = basis.shape[1]
    for s in range(len(over)):
        for i in range(len(basis)):
            total = combined[s, i]
            for a in range(n_shared):
                factor, row = basis[i, a], over[s, a]
                for v in range(len(total)):
                    total[v] += factor * row[v]
            for a in range(len(columns)):
                own, row = columns[a, i], over[s, n_shared + a]
                for v in range(len(total)):
                    total[v] += own[v] * row[v]
