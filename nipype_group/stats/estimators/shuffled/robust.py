"""The statistic of robust fits under shuffles, and of least squares with the variance HC3.

What moves are the residuals of the fit of the model without the effect (Freedman and Lane 1983).
The fitted values of that model lie in the shuffled one's nuisance or are added to it alone, and no
fit here depends on what is added along columns that it has: they are left out.

Where weights are held they are those of the residuals that move, and move with them: weighted
least squares, whose variance is the weighted mean square of the residuals.

Covariates that are maps stay with the rows of the design, and the model without the effect is
that of each voxel; see `nipype_group.stats.estimators.shuffled.voxel_designs`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numba
import numpy as np

from nipype_group.stats.decompositions import decompose
from nipype_group.stats.estimators.iterated_weights import (
    BISQUARE,
    HUBER,
    TUNING,
    TUNING_MM,
    fit_by_median,
    scales_about_zero,
    weigh,
)
from nipype_group.stats.estimators.map_covariates import beside, column_products
from nipype_group.stats.estimators.robust import fit_robust
from nipype_group.stats.estimators.sandwich import ContrastSandwich
from nipype_group.stats.estimators.shuffled.effect_variance import statistic_of_designs
from nipype_group.stats.estimators.shuffled.voxel_designs import (
    COVARIATES_STAY,
    contrast_rows,
    fitted_values,
    null_model,
    shared_columns,
    voxel_designs,
)
from nipype_group.stats.estimators.small_matrices import ROUNDING, factorise, solve_forward
from nipype_group.stats.linear.least_squares import LinearModel, independent_rows, is_rounding
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares

# Weight of maps that do not count: so little that no sum of others knows of it.
_NO_WEIGHT = 1e-30


def _without_rounding(
    basis: np.ndarray, own: np.ndarray, data: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Return values, 0 at voxels that shared and own columns fit but for rounding."""
    left, products = residuals_of(basis, data), np.empty(data.shape[1])
    for column in own:
        column_products(column, left, products)
        left = left - products * column
    return np.where(is_rounding(sum_of_squares(left), data), 0.0, values)


def _dof_of(model: LinearModel, effects: np.ndarray) -> np.ndarray:
    n_present = np.isfinite(effects).sum(axis=0)
    return np.maximum(n_present - float(model.rank), 0.0)


@dataclass(frozen=True)
class _Tile:
    """Residuals that move, shape (n, v), their weights where they are held, and maps' dof."""

    residuals: np.ndarray
    weights: np.ndarray | None
    dof: np.ndarray


@dataclass(frozen=True)
class _RobustTile(_Tile):
    """With columns of the voxels' own, (k, n, v), and rows over all, (q, c, v) or (q, c, 1)."""

    columns: np.ndarray
    over: np.ndarray


@dataclass(frozen=True)
class ShuffledRobust:
    """A contrast of a robust fit under shuffles, as the engine takes it.

    See `nipype_group.stats.permutation.estimates.ShuffledEstimate`.

    Parameters
    ----------
    model : LinearModel
    weights : array, shape (r, p)
    test : {"t", "F"}
    held : bool
        Whether all shuffles take the weights of the data as they are, in the model without the
        contrast.
    method : {"huber", "bisquare", "mm"}
        The last with weights held alone.
    covariates : sequence of str
        Names of covariates that are maps, for each of which the last columns of the model stand
        in. They are centred as fits have them.

    Raises
    ------
    ValueError
        Where MM is to be estimated in every shuffle, which takes hours.

    Examples
    --------
    >>> mean = LinearModel(np.ones((6, 1)), ("mean",))
    >>> own = ShuffledRobust(mean, np.array([[1.0]]), "t")
    >>> prepared = own.prepare({"effects": np.array([[1.0], [2], [4], [3], [90], [6]])})
    >>> signs = np.array([[1.0] * 6, [-1.0] * 6])
    >>> own.statistic(prepared, np.array([range(6)] * 2), signs).round(3).tolist()
    [[3.014], [-3.014]]
    """

    model: LinearModel
    weights: np.ndarray
    test: str
    held: bool = False
    method: str = "huber"
    covariates: Sequence[str] = ()

    # A fit has settled at a step of 1e-10 scales, and is a few times that off.
    tie: ClassVar[float] = 1e-7

    def __post_init__(self):
        if self.method == "mm" and not self.held:
            raise ValueError(
                "a fit by MM takes too long to be made again in every shuffle: hold its weights "
                "(shuffled_estimates held), or take bisquare"
            )

    @property
    def takes(self) -> tuple[str, ...]:
        """Names of the data that it needs beside the effects."""
        return ("covariates",) if self.covariates else ()

    @property
    def bytes_per_value(self) -> int:
        """Bytes of residuals, weights and own columns."""
        return 8 * (2 + len(self.covariates))

    @property
    def words(self) -> str:
        """What is estimated again in every shuffle and what is held."""
        stay = f"{COVARIATES_STAY}, and " if self.covariates else ""
        if self.held:
            return (
                f"{stay}all shuffles take the weights of the data as they are, in the model "
                "without the effect tested, which move with the maps"
            )
        return f"{stay}weights and scale are estimated again in every shuffle"

    @property
    def dof(self) -> float:
        """Degrees of freedom, n - rank."""
        return float(self._shared.dof - len(self.covariates))

    @cached_property
    def _shared(self):
        return shared_columns(self.model, len(self.covariates))

    @cached_property
    def _over(self):
        """Orthonormal rows over the basis of the model, shape (q, rank), of the contrast."""
        rows = contrast_rows(self.weights, self.test)
        over = multiply(multiply(rows, self.model.inverse), self.model.basis)
        if self.test == "t":
            return over / np.sqrt(np.square(over).sum())
        return np.ascontiguousarray(decompose(over.T).basis.T)

    @cached_property
    def _nuisance(self):
        return partition(self.model, independent_rows(np.atleast_2d(self.weights))).nuisance

    def prepare(self, data: Mapping[str, np.ndarray]) -> _RobustTile:
        """Return the tile of data: effects, shape (n, v), and covariates, shape (k, n, v)."""
        effects = np.asarray(data["effects"], dtype=float)
        if self.covariates:
            return self._with_covariates(effects, data["covariates"])
        none, dof = np.empty((0, *effects.shape)), _dof_of(self.model, effects)
        if (dof < self.dof).any():
            effects = np.where(dof < self.dof, 0.0, effects)
        residuals, weights = self._without_effect(effects, self._nuisance, none)
        residuals = _without_rounding(self.model.basis, none, effects, residuals)
        residuals = np.ascontiguousarray(residuals)
        return _RobustTile(residuals, weights, dof, none, self._over[:, :, None])

    def _with_covariates(self, effects, covariates):
        """Return the tile of voxels whose designs are their own; those with gaps are 0."""
        n_maps, n_voxels = effects.shape
        n_columns = self._shared.rank + len(self.covariates)
        over = np.zeros((len(contrast_rows(self.weights, self.test)), n_columns, n_voxels))
        columns, dof = np.zeros((len(self.covariates), n_maps, n_voxels)), np.zeros(n_voxels)
        moving, weights = np.zeros(effects.shape), np.zeros(effects.shape) if self.held else None
        for designs in voxel_designs(
            self._shared, self.weights, self.test, effects, covariates, centred=True
        ):
            voxels = designs.voxels
            dof[voxels] = designs.dof
            if len(designs.rows) < n_maps:
                continue
            residuals, own = self._without_effect(designs.data, *designs.null())
            residuals = _without_rounding(
                designs.model.basis, designs.columns, designs.data, residuals
            )
            moving[:, voxels] = np.where(designs.alive, residuals, 0.0)
            columns[:, :, voxels], over[:, :, voxels] = designs.columns, designs.over
            if weights is not None:
                weights[:, voxels] = own
        return _RobustTile(moving, weights, dof, columns, over)

    def _without_effect(self, effects, shared, own):
        """Return the residuals of the model without the contrast, and weights if held, (n, v)."""
        if not shared.shape[1] + len(own):
            return effects, self._weights_about_zero(effects) if self.held else None
        model, covariates = null_model(shared, own)
        fit = fit_robust(
            model,
            lambda start, stop: effects[:, start:stop],
            effects.shape[1],
            self.method,
            covariates,
        )
        residuals = effects - fitted_values(shared, own, fit.betas)
        if not self.held:
            return residuals, None
        return residuals, np.stack(list(fit.weights(lambda rows: iter(effects[list(rows)]))))

    def _weights_about_zero(self, effects):
        """Return the weights of maps about 0, shape (n, v)."""
        scales = scales_about_zero(effects, self.method == "mm")
        kind = HUBER if self.method == "huber" else BISQUARE
        tuning = TUNING_MM if self.method == "mm" else TUNING[kind]
        found = np.zeros(effects.shape)
        there = scales > 0
        for own, values in zip(found, effects, strict=True):
            weights = np.empty(there.sum())
            weigh(kind, tuning, values[there] / scales[there], weights)
            own[there] = weights
        return found

    def voxel_dof(self, prepared: _RobustTile) -> np.ndarray:
        """Return the degrees of freedom that voxels' maps leave, shape (v,)."""
        return prepared.dof

    def statistic(
        self, prepared: _RobustTile, orders: np.ndarray, signs: np.ndarray
    ) -> np.ndarray:
        """Return t or F of shuffles, shape (m, v)."""
        orders = np.ascontiguousarray(orders, dtype=np.int64)
        signs = np.ascontiguousarray(signs, dtype=float)
        basis = np.ascontiguousarray(self._shared.basis)
        if prepared.weights is not None:
            dead = ~prepared.residuals.any(axis=0) | ~prepared.weights.any(axis=0)
            has_own = bool(self.covariates)
            found = statistic_of_designs(
                beside(basis, prepared.columns) if has_own else basis,
                prepared.over if has_own else self._over_plain,
                self.test,
                prepared.residuals,
                1 / np.maximum(prepared.weights, _NO_WEIGHT),
                np.where(dead, 0.0, prepared.dof),
                orders,
                signs,
                method="fixed-effects",
                knapp_hartung="plain",
            )
            found[:, dead] = 0.0
            return found
        found = np.zeros((len(orders), prepared.residuals.shape[1]))
        is_f, bisquare = self.test == "F", self.method == "bisquare"
        _shuffle_robust(
            prepared.residuals,
            basis,
            prepared.columns,
            prepared.over,
            orders,
            signs,
            bisquare,
            is_f,
            found,
        )
        return found

    @cached_property
    def _over_plain(self):
        """Contrast rows over the basis of the model, shape (q, rank)."""
        rows = contrast_rows(self.weights, self.test)
        return multiply(multiply(rows, self.model.inverse), self.model.basis)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _shuffle_robust(values, basis, columns, over, orders, signs, bisquare, is_f, found):
    """Write the statistics of all shuffles, refitted."""
    n_maps, n_voxels = values.shape
    rank, q, last = basis.shape[1], len(over), over.shape[2] - 1
    n_columns = rank + len(columns)
    shuffled, own = np.empty((rank, n_maps)), np.empty(columns.shape)
    coordinates, told = np.empty((n_columns, n_voxels)), np.empty((3, n_voxels))
    for m in range(len(orders)):
        for i in range(n_maps):
            at, sign = orders[m, i], signs[m, i]
            for j in range(rank):
                shuffled[j, i] = sign * basis[at, j]
            for j in range(len(columns)):
                for v in range(n_voxels):
                    own[j, i, v] = sign * columns[j, at, v]
        fit_by_median(values, shuffled, own, bisquare, coordinates, told)
        for v in range(n_voxels):
            if not told[1, v] > 0.0:
                continue
            square, along = 0.0, 0.0
            for s in range(q):
                along = 0.0
                for j in range(n_columns):
                    along += over[s, j, min(v, last)] * coordinates[j, v]
                square += along * along
            found[m, v] = square / (q * told[1, v]) if is_f else along / np.sqrt(told[1, v])


@dataclass(frozen=True)
class ShuffledHC3:
    """A contrast of least squares with the variance HC3 under shuffles, as the engine takes it.

    See `nipype_group.stats.permutation.estimates.ShuffledEstimate`.

    Parameters
    ----------
    model : LinearModel
    weights : array, shape (r, p)
    test : {"t", "F"}
    held : bool
        False: there is nothing to hold.
    kind : {"HC3"}

    Examples
    --------
    >>> mean = LinearModel(np.ones((6, 1)), ("mean",))
    >>> own = ShuffledHC3(mean, np.array([[1.0]]), "t")
    >>> prepared = own.prepare({"effects": np.array([[1.0], [2], [4], [3], [7], [6]])})
    >>> own.statistic(prepared, np.array([range(6)]), np.ones((1, 6))).round(4).tolist()
    [[3.7001]]
    """

    model: LinearModel
    weights: np.ndarray
    test: str
    held: bool = False
    kind: str = "HC3"

    takes: ClassVar[tuple[str, ...]] = ()
    words: ClassVar[str] = "variances of contrasts are estimated again in every shuffle"
    bytes_per_value: ClassVar[int] = 8
    tie: ClassVar[float] = 1e-10

    @cached_property
    def _sandwich(self):
        rows = contrast_rows(self.weights, self.test)
        return ContrastSandwich(self.model, np.arange(len(self.model.matrix)), rows, "CR3")

    @property
    def dof(self) -> float:
        """Degrees of freedom of Bell and McCaffrey, of the contrast."""
        return self._sandwich.dof

    def prepare(self, data: Mapping[str, np.ndarray]) -> _Tile:
        """Return the tile of data, an array of shape (n, v): effects."""
        effects = np.asarray(data["effects"], dtype=float)
        dof = np.where(np.isfinite(effects).all(axis=0), self.dof, 0.0)
        effects = np.where(dof > 0, effects, 0.0)
        nuisance = partition(self.model, independent_rows(np.atleast_2d(self.weights))).nuisance
        residuals = _without_rounding(
            self.model.basis,
            np.empty((0, *effects.shape)),
            effects,
            residuals_of(nuisance, effects),
        )
        return _Tile(np.ascontiguousarray(residuals), None, dof)

    def voxel_dof(self, prepared: _Tile) -> np.ndarray:
        """Return the degrees of freedom that voxels' maps leave, shape (v,)."""
        return prepared.dof

    def statistic(self, prepared: _Tile, orders: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """Return t or F of shuffles, shape (m, v)."""
        found = np.zeros((len(orders), prepared.residuals.shape[1]))
        weights = np.ascontiguousarray(self._sandwich.weights)
        _shuffle_hc3(
            prepared.residuals,
            np.ascontiguousarray(self.model.basis),
            np.ascontiguousarray(multiply(self._sandwich.rows, self.model.inverse)),
            weights,
            np.ascontiguousarray(orders, dtype=np.int64),
            np.ascontiguousarray(signs, dtype=float),
            (ROUNDING * multiply(weights, weights.T), sum_of_squares(prepared.residuals)),
            self.test == "F",
            self._sandwich.delta,
            found,
        )
        return found


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _shuffle_hc3(values, basis, scores, weights, orders, signs, rounding, is_f, delta, found):
    """Write the statistics of all shuffles, a block of voxels at a time."""
    n_maps, n_voxels = values.shape
    rank, q, block = basis.shape[1], len(scores), 64
    y, left = np.zeros((n_maps, block)), np.zeros(block)
    coordinates, effects = np.empty((rank, block)), np.empty((q, block))
    meat = np.empty((q, q, block))
    matrix, lower, column = np.empty((q, q)), np.zeros((q, q)), np.empty(q)
    left_over, (shares, squares) = np.empty((q, q)), rounding
    for start in range(0, n_voxels, block):
        n_here = min(block, n_voxels - start)
        y[:, :n_here] = values[:, start : start + n_here]
        y[:, n_here:] = 0.0
        for m in range(len(orders)):
            order, sign = orders[m], signs[m]
            coordinates[:] = 0.0
            effects[:] = 0.0
            meat[:] = 0.0
            for i in range(n_maps):
                own = y[i]
                for j in range(rank):
                    factor = sign[i] * basis[order[i], j]
                    for v in range(block):
                        coordinates[j, v] += factor * own[v]
                for s in range(q):
                    factor = sign[i] * scores[s, order[i]]
                    for v in range(block):
                        effects[s, v] += factor * own[v]
            for i in range(n_maps):
                left[:] = y[i]
                for j in range(rank):
                    factor = sign[i] * basis[order[i], j]
                    for v in range(block):
                        left[v] -= factor * coordinates[j, v]
                for s in range(q):
                    for t in range(s + 1):
                        factor = weights[s, order[i]] * weights[t, order[i]]
                        for v in range(block):
                            meat[s, t, v] += factor * (left[v] * left[v])
            for v in range(n_here):
                for s in range(q):
                    column[s] = effects[s, v]
                    for t in range(s + 1):
                        matrix[s, t] = meat[s, t, v]
                        left_over[s, t] = meat[s, t, v] - shares[s, t] * squares[start + v]
                # Where the maps that tell of the contrast have no residuals but rounding.
                if not factorise(left_over, lower):
                    continue
                if not is_f:
                    found[m, start + v] = column[0] / np.sqrt(matrix[0, 0])
                elif factorise(matrix, lower):
                    solve_forward(lower, column)
                    total = 0.0
                    for s in range(q):
                        total += column[s] * column[s]
                    found[m, start + v] = delta * total / q
