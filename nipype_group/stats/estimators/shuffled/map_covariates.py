"""The statistic of designs with covariates that are maps, under shuffles.

At a voxel let B be the orthonormal columns that all voxels share, u those of its own covariates,
U the directions that the contrast tests, and e the data less what the model without the contrast
fits, of unit length. Shuffle P reorders the rows of the design and flips their signs, and with
Freedman and Lane (1983)

    F = |U'P'e|^2 / q / ((1 - |B'P'e|^2 - |u'P'e|^2) / dof),

as the whole model is fitted again and takes a squared length |B'P'e|^2 + |u'P'e|^2 of e, which no
shuffle changes. Every term is a sum over maps, in their order, of products of a voxel: bits depend
on no other voxel, shuffle or thread. See `nipype_group.stats.estimators.shuffled.voxel_designs`.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numba
import numpy as np

from nipype_group.stats.estimators.map_covariates import column_products
from nipype_group.stats.estimators.shuffled.voxel_designs import (
    COVARIATES_STAY,
    VoxelDesigns,
    contrast_rows,
    shared_columns,
    shuffles_of_part,
    voxel_designs,
)
from nipype_group.stats.linear.least_squares import LinearModel, is_rounding
from nipype_group.stats.matrix_products import residuals_of, sum_of_squares

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
        parts, dof = [], np.zeros(data.shape[1])
        for designs in voxel_designs(model, weights, test, data, covariates, centred):
            parts.append(_prepared(designs))
            dof[designs.voxels] = designs.dof
        rank = len(contrast_rows(weights, test))
        return cls(len(data), data.shape[1], rank, test, tuple(parts), dof)

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
        found = np.zeros((len(orders), self.n_voxels))
        for part in self.parts:
            moved, flipped = shuffles_of_part(np.asarray(orders), np.asarray(signs), part.rows)
            own = np.zeros((len(orders), len(part.voxels)))
            self._run(part, moved, flipped, own, n_threads)
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
        f"{COVARIATES_STAY}, and all columns of a voxel are fitted again in every shuffle"
    )
    # Sums over maps of unit vectors; shuffles that are equal differ by their order alone.
    tie: ClassVar[float] = 1e-10

    @cached_property
    def _shared(self):
        return shared_columns(self.model, len(self.covariates))

    @property
    def dof(self) -> float:
        """Degrees of freedom, n - rank - k."""
        return float(self._shared.dof - len(self.covariates))

    @property
    def bytes_per_value(self) -> int:
        """Bytes of residuals, columns and tested directions."""
        return 8 * (1 + len(self.covariates) + len(contrast_rows(self.weights, self.test)))

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


def _prepared(designs: VoxelDesigns) -> _Part:
    """Return the part of voxels without gaps."""
    model, columns, data = designs.model, designs.columns, designs.data
    tested, products = designs.tested(), np.empty(data.shape[1])
    left = residuals_of(model.basis, data)
    for column in columns:
        column_products(column, left, products)
        left -= products * column
    dead = is_rounding(sum_of_squares(left), data) | ~designs.alive
    for direction in tested:
        column_products(direction, data, products)
        left += products * direction
    length = np.sqrt(sum_of_squares(left))
    left = np.where(dead, 0.0, left / np.where(dead, 1.0, length))
    return _Part(
        designs.voxels,
        designs.rows,
        model.basis,
        columns[:0] if designs.tests_all_own else columns,
        tested,
        left,
        designs.dof,
    )


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
