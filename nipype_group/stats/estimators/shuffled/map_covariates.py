"""The statistic of designs with covariates that are maps, under shuffles.

At a voxel let B be the orthonormal columns that all voxels share, u those of its own covariates,
U the directions that the contrast tests, and e the data less what the model without the contrast
fits, of unit length. Shuffle P reorders the rows of the design and flips their signs, and with
Freedman and Lane (1983)

    F = |U'P'e|^2 / q / ((1 - |B'P'e|^2 - |u'P'e|^2) / dof),

as the whole model is fitted again and takes a squared length |B'P'e|^2 + |u'P'e|^2 of e, which no
shuffle changes. Every term is a sum over maps, in their order, of products of a voxel: bits depend
on no other voxel, shuffle or thread.

The covariates of a map stay with its row of the design, and the residuals move. Where maps lack a
voxel their rows have no covariate for residuals to meet: there are sign flips alone.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numba
import numpy as np

from nipype_group.stats.estimators.map_covariates import (
    FINE,
    column_products,
    lacking_maps,
    own_columns,
    present_covariates,
)
from nipype_group.stats.estimators.small_matrices import factorise, solve_forward
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    independent_rows,
    is_rounding,
    missing_patterns,
    present_values,
)
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares

# Voxels whose columns stay in a first-level cache, and those that a thread takes at once.
_VOXELS_PER_BLOCK = 64
_VOXELS_PER_THREAD = 1024
# What is left of a squared length 1 where rounding alone is left.
_NOTHING = 1e-15


@dataclass(frozen=True)
class _Part:
    """Voxels of a tile that lack the same maps.

    Parameters
    ----------
    voxels : int array, shape (v,)
    rows : int array, shape (n,)
        Maps that they have.
    basis : array, shape (n, r)
    columns, tested : arrays, shapes (k, n, v), (q, n, v)
        Own columns, none where the tested directions span them, and tested directions.
    residuals : array, shape (n, v)
        Of the model without the contrast, of unit length; 0 where there is no statistic.
    dof : int
    """

    voxels: np.ndarray
    rows: np.ndarray
    basis: np.ndarray
    columns: np.ndarray
    tested: np.ndarray
    residuals: np.ndarray
    dof: int


@dataclass(frozen=True)
class ShuffledCovariates:
    """A contrast of a design with covariates that are maps, at the voxels of a tile.

    Parameters
    ----------
    n_maps, n_voxels, rank : int
        Maps, voxels of the tile, and degrees of freedom of the numerator.
    test : {"t", "F"}
    parts : tuple
        Voxels by the maps that they lack.
    dof : array, shape (v,)
        Residual degrees of freedom that the maps of voxels leave; 0 where these do not determine
        the contrast.
    """

    n_maps: int
    n_voxels: int
    rank: int
    test: str
    parts: tuple[_Part, ...]
    dof: np.ndarray

    @classmethod
    def of(
        cls,
        model: LinearModel,
        weights: np.ndarray,
        test: str,
        data: np.ndarray,
        covariates: np.ndarray,
        centred: bool = False,
    ) -> "ShuffledCovariates":
        """Prepare a tile.

        Parameters
        ----------
        model : LinearModel
            Columns of n maps that all voxels share.
        weights : array, shape (r, p + k)
            Contrast rows over the columns of the design and the covariates.
        test : {"t", "F"}
        data, covariates : arrays, shapes (n, v), (k, n, v)
            A map whose value or covariate is not finite lacks the voxel.
        centred : bool
            As of `nipype_group.stats.estimators.map_covariates.MapCovariates`.

        Examples
        --------
        >>> grey = np.array([[[1.0], [2], [3], [4]]])
        >>> own = ShuffledCovariates.of(
        ...     LinearModel(np.ones((4, 1)), ("mean",)),
        ...     np.array([[0.0, 1.0]]),
        ...     "t",
        ...     np.array([[1.0], [3.0], [5.5], [6.5]]),
        ...     grey,
        ... )
        >>> own.statistic([[0, 1, 2, 3], [3, 2, 1, 0]], np.ones((2, 4))).round(3).tolist()
        [[8.957], [-8.957]]
        """
        weights = np.atleast_2d(np.asarray(weights, dtype=float))
        rows = weights[:1] if test == "t" else independent_rows(weights)
        data, parts, dof = lacking_maps(data, covariates), [], np.zeros(data.shape[1])
        for members, missing in missing_patterns(data):
            fitted = model.without(missing) if len(missing) else model
            k, shared = len(covariates), rows[:, : model.matrix.shape[1]]
            if fitted is None or fitted.dof <= k or not fitted.row_space.holds(shared):
                continue
            present = np.delete(np.arange(len(data)), missing)
            values = np.ascontiguousarray(present_values(data, members, missing))
            own = present_covariates(covariates, members, missing)
            parts.append(_prepared(fitted, rows, values, own, members, present, centred))
            dof[members] = fitted.dof - k
        return cls(len(data), data.shape[1], len(rows), test, tuple(parts), dof)

    def statistic(
        self,
        orders: Sequence[Sequence[int]] | np.ndarray,
        signs: Sequence[Sequence[float]] | np.ndarray,
        n_threads: int = 1,
    ) -> np.ndarray:
        """Return t or F of every shuffle at every voxel.

        Parameters
        ----------
        orders, signs : arrays, shape (m, n)
            Row r of the shuffled design, its covariates with it, is row orders[r] times signs[r].
        n_threads : int
            Threads over voxels. The result does not depend on it.

        Returns
        -------
        array, shape (m, v)
            0 where there is no statistic, as where a covariate is constant or collinear.

        Raises
        ------
        ValueError
            Where maps lack voxels, and shuffles are more than sign flips.
        """
        orders = np.ascontiguousarray(orders, dtype=np.int64)
        signs = np.ascontiguousarray(signs, dtype=float)
        found = np.zeros((len(orders), self.n_voxels))
        identity = np.arange(self.n_maps)
        for part in self.parts:
            if len(part.rows) < self.n_maps:
                if (orders != identity).any():
                    raise ValueError(
                        "maps lack voxels, and residuals that change places meet rows without a "
                        "covariate there: flip signs, or take full coverage"
                    )
                own_orders = np.tile(np.arange(len(part.rows)), (len(orders), 1))
            else:
                own_orders = orders
            own = np.zeros((len(orders), len(part.voxels)))
            self._run(part, own_orders, np.ascontiguousarray(signs[:, part.rows]), own, n_threads)
            found[:, part.voxels] = own
        return found

    def _run(self, part, orders, signs, found, n_threads):
        basis = np.ascontiguousarray(part.basis)

        def shuffle(start):
            span = slice(start, start + _VOXELS_PER_THREAD)
            _shuffle(
                part.residuals[:, span],
                basis,
                part.columns[:, :, span],
                part.tested[:, :, span],
                orders,
                signs,
                float(part.dof),
                self.test == "F",
                found[:, span],
            )

        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(shuffle, range(0, len(part.voxels), _VOXELS_PER_THREAD)))


@dataclass(frozen=True)
class ShuffledMapCovariates:
    """A contrast of least squares with covariates that are maps, as the engine takes it.

    See `nipype_group.stats.permutation.estimates.ShuffledEstimate`.

    Parameters
    ----------
    model : LinearModel
        Columns that all voxels share, then one that stands in for each covariate.
    weights : array, shape (r, p + k)
    test : {"t", "F"}
    covariates : sequence of str
        Names of the k covariates. They are centred as fits have them.
    held : bool
        False: there is nothing to hold.

    Examples
    --------
    >>> model = LinearModel(np.array([[1.0, 3], [1, 1], [1, 4], [1, 2]]), ("mean", "grey"))
    >>> own = ShuffledMapCovariates(model, np.array([[0.0, 1.0]]), "t", ("grey",))
    >>> data = {"effects": np.array([[1.0], [3.0], [5.5], [6.5]])}
    >>> prepared = own.prepare(data | {"covariates": np.array([[[1.0], [2], [3], [4]]])})
    >>> orders = np.array([[0, 1, 2, 3], [3, 2, 1, 0]])
    >>> own.statistic(prepared, orders, np.ones((2, 4))).round(3).tolist(), own.dof
    ([[8.957], [-8.957]], 2.0)
    """

    model: LinearModel
    weights: np.ndarray
    test: str
    covariates: Sequence[str]
    held: bool = False

    takes: ClassVar[tuple[str, ...]] = ("covariates",)
    words: ClassVar[str] = (
        "covariates that are maps stay with the rows of the design, and all columns of a voxel "
        "are fitted again in every shuffle"
    )
    # Sums over maps of unit vectors; shuffles that are equal differ by their order alone.
    tie: ClassVar[float] = 1e-10

    @cached_property
    def _shared(self):
        n_columns = self.model.matrix.shape[1] - len(self.covariates)
        return LinearModel(self.model.matrix[:, :n_columns], self.model.columns[:n_columns])

    @property
    def dof(self) -> float:
        """Degrees of freedom, n - rank - k."""
        return float(self._shared.dof - len(self.covariates))

    @property
    def bytes_per_value(self) -> int:
        """Bytes of residuals, columns and tested directions."""
        n_tested = 1 if self.test == "t" else len(independent_rows(np.atleast_2d(self.weights)))
        return 8 * (1 + len(self.covariates) + n_tested)

    def prepare(self, data: Mapping[str, np.ndarray]) -> ShuffledCovariates:
        """Return the tile of data: effects, shape (n, v), and covariates, shape (k, n, v)."""
        effects, covariates = data["effects"], data["covariates"]
        return ShuffledCovariates.of(
            self._shared, self.weights, self.test, effects, covariates, centred=True
        )

    def voxel_dof(self, prepared: ShuffledCovariates) -> np.ndarray:
        """Return the degrees of freedom that voxels' maps leave, shape (v,)."""
        return prepared.dof

    def statistic(
        self, prepared: ShuffledCovariates, orders: np.ndarray, signs: np.ndarray
    ) -> np.ndarray:
        """Return t or F of shuffles, shape (m, v)."""
        return prepared.statistic(orders, signs)


def _prepared(model, rows, data, covariates, members, present, centred):
    """Return the part of voxels without gaps."""
    columns, parts = own_columns(model, covariates, centred)
    k, n_voxels, q = len(columns), data.shape[1], len(rows)
    shared = rows[:, : model.matrix.shape[1]]
    over = np.empty((q, model.rank + k, n_voxels))
    over[:, : model.rank] = multiply(multiply(shared, model.inverse), model.basis)[:, :, None]
    over[:, model.rank :] = parts.rows(rows, slice(None))
    _orthonormal_rows(over)
    tested = np.zeros((q, *data.shape))
    _combine(over, np.ascontiguousarray(model.basis), columns, tested)
    left, products = residuals_of(model.basis, data), np.empty(n_voxels)
    for column in columns:
        column_products(column, left, products)
        left -= products * column
    dead = is_rounding(sum_of_squares(left), data) | (parts.status != FINE)
    for direction in tested:
        column_products(direction, data, products)
        left += products * direction
    length = np.sqrt(sum_of_squares(left))
    left = np.where(dead, 0.0, left / np.where(dead, 1.0, length))
    alone = not shared.any() and q == k
    return _Part(
        members,
        present,
        model.basis,
        columns[:0] if alone else columns,
        tested,
        left,
        model.dof - k,
    )


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
def _combine(over, basis, columns, tested):
    """Add up what rows over basis and own columns, shape (q, c, v), are over maps."""
    n_shared = basis.shape[1]
    for s in range(len(over)):
        for i in range(len(basis)):
            total = tested[s, i]
            for a in range(n_shared):
                factor, row = basis[i, a], over[s, a]
                for v in range(len(total)):
                    total[v] += factor * row[v]
            for a in range(len(columns)):
                own, row = columns[a, i], over[s, n_shared + a]
                for v in range(len(total)):
                    total[v] += own[v] * row[v]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _copy(values, start, block):
    """Copy voxels from `start` on, shape (n, v); those that there are none of are 0."""
    n_here = min(_VOXELS_PER_BLOCK, values.shape[1] - start)
    block[:] = 0.0
    for i in range(len(values)):
        for v in range(n_here):
            block[i, v] = values[i, start + v]
    return n_here


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_shared(order, sign, basis, residuals, total, sums):
    """Take the squared length along the shuffled shared columns from total."""
    for a in range(basis.shape[1]):
        sums[:] = 0.0
        for i in range(len(residuals)):
            factor, own = sign[i] * basis[order[i], a], residuals[i]
            for v in range(_VOXELS_PER_BLOCK):
                sums[v] += factor * own[v]
        for v in range(_VOXELS_PER_BLOCK):
            total[v] -= sums[v] * sums[v]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_own(order, sign, column, residuals, sums):
    """Write the sums of residuals x shuffled column."""
    sums[:] = 0.0
    for i in range(len(residuals)):
        factor, own, other = sign[i], residuals[i], column[order[i]]
        for v in range(_VOXELS_PER_BLOCK):
            sums[v] += factor * (own[v] * other[v])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _shuffle(residuals, basis, columns, tested, orders, signs, dof, is_f, found):
    """Write the statistics of all shuffles at voxels side by side."""
    n_maps, n_voxels = residuals.shape
    k, q = len(columns), len(tested)
    blocks = np.empty((1 + k + q, n_maps, _VOXELS_PER_BLOCK))
    rest, effect, sums = np.empty((3, _VOXELS_PER_BLOCK))
    for start in range(0, n_voxels, _VOXELS_PER_BLOCK):
        n_here = _copy(residuals, start, blocks[0])
        for a in range(k):
            _copy(columns[a], start, blocks[1 + a])
        for a in range(q):
            _copy(tested[a], start, blocks[1 + k + a])
        for m in range(len(orders)):
            rest[:] = 1.0
            effect[:] = 0.0
            _add_shared(orders[m], signs[m], basis, blocks[0], rest, sums)
            for a in range(k):
                _add_own(orders[m], signs[m], blocks[1 + a], blocks[0], sums)
                for v in range(_VOXELS_PER_BLOCK):
                    rest[v] -= sums[v] * sums[v]
            for a in range(q):
                _add_own(orders[m], signs[m], blocks[1 + k + a], blocks[0], sums)
                for v in range(_VOXELS_PER_BLOCK):
                    effect[v] += sums[v] * sums[v] if is_f else sums[v]
                    if k == 0:
                        rest[v] -= sums[v] * sums[v]
            for v in range(n_here):
                unit = max(rest[v], _NOTHING) / dof
                found[m, start + v] = effect[v] / (q * unit) if is_f else effect[v] / np.sqrt(unit)
