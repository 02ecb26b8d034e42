"""The statistic of effects with variances under shuffles: effect and variance travel together.

A shuffle gives row r of the design the place of row ``orders[r]``, times ``signs[r]``. The maps
stay where they are with their variances, which is the same as moving both of them the other way.
With nuisance the fitted values of the model without the effect, at the variance between
participants that it has itself, stay with the rows of the design, and the residuals with their
variances (Freedman and Lane 1983).

Covariates that are maps stay with the rows of the design, and the model without the effect is
that of each voxel; see `nipype_group.stats.estimators.shuffled.voxel_designs`.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numba
import numpy as np

from nipype_group.stats.estimators.between_variance import (
    LANES,
    combine_rows,
    evaluate,
    load,
    mean_square_length,
    new_sums,
    of_lanes,
    tau2_by,
)
from nipype_group.stats.estimators.contrast_estimates import NORMAL_DOF
from nipype_group.stats.estimators.effect_variance import (
    KNAPP_HARTUNG,
    METHODS,
    EffectVarianceFit,
    fit_effect_variance,
    lacking,
)
from nipype_group.stats.estimators.map_covariates import beside
from nipype_group.stats.estimators.shuffled.voxel_designs import (
    COVARIATES_STAY,
    VoxelDesigns,
    contrast_rows,
    fitted_values,
    null_model,
    shared_columns,
    shuffles_of_part,
    voxel_designs,
)
from nipype_group.stats.linear.least_squares import LAST_PLACE, LinearModel, independent_rows
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.matrix_products import multiply

# The variance between participants of the data as they are.
_HELD = -1
# Voxels that a thread takes at once.
_VOXELS_PER_THREAD = 16 * LANES


def null_fitted(
    model: LinearModel,
    weights: np.ndarray,
    effects: np.ndarray,
    variances: np.ndarray,
    method: str = "mixed-effects",
) -> np.ndarray | None:
    """Return what the model without a contrast fits of the maps.

    Parameters
    ----------
    model : LinearModel
    weights : array, shape (r, p)
    effects, variances : arrays, shape (n, v)
    method : str
        As of `fit_effect_variance`.

    Returns
    -------
    array or None
        Of shape (n, v); None where nothing is left of the model without the contrast.
    """
    nuisance = _nuisance(model, weights)
    if not nuisance.shape[1]:
        return None
    own = np.empty((0, *effects.shape))
    return _fitted(nuisance, own, _null_fit(nuisance, own, effects, variances, method))


def _nuisance(model, weights):
    """Return orthonormal columns of the model without a contrast, shape (n, q)."""
    return partition(model, independent_rows(np.atleast_2d(weights))).nuisance


def _null_fit(shared, own, effects, variances, method):
    """Fit the model without a contrast, which may have no column."""
    model, covariates = null_model(shared, own)
    return fit_effect_variance(
        model,
        lambda start, stop: effects[:, start:stop],
        lambda start, stop: variances[:, start:stop],
        effects.shape[1],
        method,
        covariates=covariates,
    )


def _fitted(shared: np.ndarray, own: np.ndarray, fit: EffectVarianceFit) -> np.ndarray:
    """Return fitted values, shape (n, v)."""
    rows = np.eye(shared.shape[1] + len(own))
    betas = np.stack([fit.contrast(row, "t").effect for row in rows])
    return fitted_values(shared, own, betas)


@dataclass(frozen=True)
class _Tile:
    """Voxels of a tile.

    Parameters
    ----------
    effects, variances : arrays, shape (n, v)
    fitted : array, shape (n, v), optional
    tau2 : array, shape (v,), optional
        As `statistic_of_shuffles` takes them.
    """

    effects: np.ndarray
    variances: np.ndarray
    fitted: np.ndarray | None
    tau2: np.ndarray | None


@dataclass(frozen=True)
class _Part:
    """Voxels that lack the same maps, and whose designs are their own.

    Parameters
    ----------
    tile : _Tile
        Their own maps.
    designs : VoxelDesigns
    """

    tile: _Tile
    designs: VoxelDesigns


@dataclass(frozen=True)
class _Parts:
    """Voxels of a tile by the maps that they lack, and their degrees of freedom, shape (v,)."""

    parts: tuple[_Part, ...]
    dof: np.ndarray


@dataclass(frozen=True)
class ShuffledEffectVariance:
    """A contrast of effects with variances under shuffles, as the engine takes it.

    See `nipype_group.stats.permutation.estimates.ShuffledEstimate`.

    Parameters
    ----------
    model : LinearModel
    weights : array, shape (r, p)
    test : {"t", "F"}
    held : bool
        Whether all shuffles take the variance between participants that the data have as they
        are, in the model without the contrast, which no flip of signs changes without nuisance.
    method, knapp_hartung : str
        As of `statistic_of_shuffles`.
    covariates : sequence of str
        Names of covariates that are maps, for each of which the last columns of the model stand
        in. They are centred as fits have them.

    Examples
    --------
    >>> mean = LinearModel(np.ones((3, 1)), ("mean",))
    >>> own = ShuffledEffectVariance(mean, np.array([[1.0]]), "t")
    >>> effects, variances = np.array([[1.0], [2], [4]]), np.array([[1.0], [1], [2]])
    >>> prepared = own.prepare({"effects": effects, "variances": variances})
    >>> found = own.statistic(prepared, np.array([[0, 1, 2]]), np.ones((1, 3)))
    >>> found.round(4).tolist(), own.voxel_dof(prepared).tolist()
    ([[2.7607]], [2.0])
    """

    model: LinearModel
    weights: np.ndarray
    test: str
    held: bool = False
    method: str = "mixed-effects"
    knapp_hartung: str = "none"
    covariates: Sequence[str] = ()

    # The search of the variance ends at a relative step of 1e-9, whose square is left.
    tie: ClassVar[float] = 1e-9

    @property
    def takes(self) -> tuple[str, ...]:
        """Names of the data that it needs beside the effects."""
        return ("variances", "covariates") if self.covariates else ("variances",)

    @property
    def bytes_per_value(self) -> int:
        """Bytes of effects, variances, fitted values, and of own columns."""
        return 8 * (3 + len(self.covariates))

    @property
    def words(self) -> str:
        """What is estimated again in every shuffle and what is held."""
        stay = f"{COVARIATES_STAY}, " if self.covariates else ""
        return stay + self._words

    @property
    def _words(self):
        travel = "effects move with their variances"
        if self.method == "fixed-effects":
            return f"{travel}, by which alone maps are weighted"
        if self.held:
            return (
                f"{travel}, and all shuffles take the variance between participants of the data "
                "as they are, in the model without the effect tested"
            )
        return f"{travel}, and the variance between participants is estimated again in every one"

    @property
    def dof(self) -> float:
        """Degrees of freedom of voxels that all maps have, as of the contrast's fit."""
        dof = self._shared.dof - len(self.covariates)
        return NORMAL_DOF if self._is_normal else float(dof)

    @property
    def _is_normal(self):
        return self.method == "fixed-effects" and self.knapp_hartung == "none"

    @cached_property
    def _shared(self):
        return shared_columns(self.model, len(self.covariates))

    @cached_property
    def _nuisance(self):
        return _nuisance(self.model, self.weights)

    def prepare(self, data: Mapping[str, np.ndarray]) -> _Tile | _Parts:
        """Return the tile of data: effects and variances, (n, v), and covariates, (k, n, v)."""
        effects, variances = data["effects"], data["variances"]
        if not self.covariates:
            none = np.empty((0, *effects.shape))
            return self._tile(self._nuisance, none, effects, variances)
        parts, dof = [], np.zeros(effects.shape[1])
        there = np.where(lacking(effects, variances), np.nan, effects)
        for designs in voxel_designs(
            self._shared, self.weights, self.test, there, data["covariates"], centred=True
        ):
            own = np.ascontiguousarray(variances[np.ix_(designs.rows, designs.voxels)])
            tile = self._tile(*designs.null(), designs.data, own)
            parts.append(_Part(tile, designs))
            dof[designs.voxels] = designs.dof
        return _Parts(tuple(parts), dof)

    def _tile(self, shared, own, effects, variances):
        fitted = tau2 = None
        holds = self.held and self.method != "fixed-effects"
        has_nuisance = bool(shared.shape[1] + len(own))
        if has_nuisance or holds:
            fit = _null_fit(shared, own, effects, variances, self.method)
            fitted = _fitted(shared, own, fit) if has_nuisance else None
            tau2 = fit.between.tau2[0] if holds else None
        return _Tile(effects, variances, fitted, tau2)

    def voxel_dof(self, prepared: _Tile | _Parts) -> np.ndarray:
        """Return the degrees of freedom that voxels' maps leave, shape (v,)."""
        if isinstance(prepared, _Parts):
            dof = prepared.dof
        else:
            n_present = (~lacking(prepared.effects, prepared.variances)).sum(axis=0)
            dof = np.maximum(n_present - float(self.model.rank), 0.0)
        return np.where(dof > 0, NORMAL_DOF, 0.0) if self._is_normal else dof

    def statistic(
        self, prepared: _Tile | _Parts, orders: np.ndarray, signs: np.ndarray
    ) -> np.ndarray:
        """Return t or F of shuffles, shape (m, v)."""
        if isinstance(prepared, _Parts):
            found = np.zeros((len(orders), len(prepared.dof)))
            for part in prepared.parts:
                found[:, part.designs.voxels] = self._of_part(part, orders, signs)
            return found
        return statistic_of_shuffles(
            self.model,
            self.weights,
            self.test,
            prepared.effects,
            prepared.variances,
            orders,
            signs,
            method=self.method,
            knapp_hartung=self.knapp_hartung,
            tau2=prepared.tau2,
            fitted=prepared.fitted,
        )

    def _of_part(self, part, orders, signs):
        """Return the statistics of voxels that lack the same maps."""
        tile, designs = part.tile, part.designs
        return statistic_of_designs(
            beside(designs.model.basis, designs.columns),
            designs.over,
            self.test,
            tile.effects,
            tile.variances,
            np.where(designs.alive, float(designs.dof), 0.0),
            *shuffles_of_part(orders, signs, designs.rows),
            method=self.method,
            knapp_hartung=self.knapp_hartung,
            tau2=tile.tau2,
            fitted=tile.fitted,
        )


def statistic_of_shuffles(
    model: LinearModel,
    weights: np.ndarray,
    test: str,
    effects: np.ndarray,
    variances: np.ndarray,
    orders: Sequence[Sequence[int]] | np.ndarray,
    signs: Sequence[Sequence[float]] | np.ndarray,
    *,
    method: str = "mixed-effects",
    knapp_hartung: str = "none",
    tau2: np.ndarray | None = None,
    fitted: np.ndarray | None = None,
    n_threads: int = 1,
) -> np.ndarray:
    """Return t or F of every shuffle at every voxel.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    weights : array, shape (r, p)
        Contrast rows over its columns.
    test : {"t", "F"}
    effects, variances : arrays, shape (n, v)
        A map without a value or a positive variance lacks the voxel.
    orders : int array, shape (m, n)
    signs : array, shape (m, n)
        1 or -1.
    method, knapp_hartung : str
        As of `fit_effect_variance`.
    tau2 : array, shape (v,), optional
        Variance between participants that all shuffles take; by default each estimates its own.
    fitted : array, shape (n, v), optional
        Of `null_fitted`; by default the maps are shuffled as they are.
    n_threads : int
        Threads over voxels. The result does not depend on it.

    Returns
    -------
    array, shape (m, v)
        0 where there is no statistic, as where the maps that have a voxel leave a shuffled
        design without a column.

    Examples
    --------
    >>> effects, variances = np.array([[1.0], [2], [4]]), np.array([[1.0], [1], [2]])
    >>> model = LinearModel(np.ones((3, 1)), ("mean",))
    >>> signs = [[1, 1, 1], [1, 1, -1], [-1, -1, -1]]
    >>> found = statistic_of_shuffles(
    ...     model, np.array([[1.0]]), "t", effects, variances, [[0, 1, 2]] * 3, signs
    ... )
    >>> found.round(4).tolist()
    [[2.7607], [-0.1178], [-2.7607]]
    """
    if method not in METHODS or knapp_hartung not in KNAPP_HARTUNG:
        raise ValueError(f"{method!r} and {knapp_hartung!r} are no method and factor")
    basis = np.ascontiguousarray(model.basis)
    own = multiply(multiply(contrast_rows(weights, test), model.inverse), basis)
    n_present = (~lacking(effects, variances)).sum(axis=0)
    return statistic_of_designs(
        basis,
        own,
        test,
        effects,
        variances,
        np.maximum(n_present - float(model.rank), 0.0),
        orders,
        signs,
        method=method,
        knapp_hartung=knapp_hartung,
        tau2=tau2,
        fitted=fitted,
        n_threads=n_threads,
    )


def statistic_of_designs(
    design: np.ndarray,
    over: np.ndarray,
    test: str,
    effects: np.ndarray,
    variances: np.ndarray,
    dof: np.ndarray,
    orders: Sequence[Sequence[int]] | np.ndarray,
    signs: Sequence[Sequence[float]] | np.ndarray,
    *,
    method: str = "mixed-effects",
    knapp_hartung: str = "none",
    tau2: np.ndarray | None = None,
    fitted: np.ndarray | None = None,
    n_threads: int = 1,
) -> np.ndarray:
    """Return t or F of every shuffle at every voxel, which may have a design of its own.

    Parameters
    ----------
    design : array, shape (n, c) or (n, c, v)
        Independent columns, of all voxels or of each.
    over : array, shape (q, c) or (q, c, v)
        Contrast rows over these.
    dof : array, shape (v,)
        Residual degrees of freedom; 0 where there is no statistic.
    test, effects, variances, orders, signs, method, knapp_hartung, tau2, fitted, n_threads
        As of `statistic_of_shuffles`.

    Returns
    -------
    array, shape (m, v)
    """
    lacks = lacking(effects, variances)
    y, s = np.where(lacks, 0.0, effects), np.where(lacks, np.inf, variances)
    held = np.zeros((1, y.shape[1])) if tau2 is None else np.asarray(tau2, dtype=float)[None]
    null = np.empty((0, y.shape[1])) if fitted is None else np.asarray(fitted, dtype=float)
    orders = np.ascontiguousarray(orders, dtype=np.int64)
    signs = np.ascontiguousarray(signs, dtype=float)
    found = np.zeros((len(orders), y.shape[1]))

    def shuffle(start: int) -> None:
        span = slice(start, start + _VOXELS_PER_THREAD)
        _shuffle(
            y[:, span],
            s[:, span],
            null[:, span],
            held[:, span],
            dof[None, span],
            design if design.ndim == 2 else design[:, :, span],
            over if over.ndim == 2 else over[:, :, span],
            orders,
            signs,
            METHODS[method] if tau2 is None else _HELD,
            KNAPP_HARTUNG.index(knapp_hartung),
            test == "F",
            found[:, span],
        )

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(shuffle, range(0, y.shape[1], _VOXELS_PER_THREAD)))
    return found


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _shuffle(
    effects, variances, fitted, held, dof, basis, rows, orders, signs, method, factor, is_f, found
):
    """Write the statistics of all shuffles at voxels side by side."""
    n_maps, n_voxels = effects.shape
    n_rows = rows.shape[0]
    sums = new_sums(n_maps, basis.shape[1])
    scalars, moves = sums[7], np.ones(n_maps)
    blocks = np.zeros((4, n_maps, LANES))
    y, s, null, values = blocks[0], blocks[1], blocks[2], blocks[3]
    free, tau2 = np.empty((1, LANES)), np.empty((1, LANES))
    estimates = np.empty((n_rows, LANES))
    covariance = np.empty((n_rows * (n_rows + 1) // 2, LANES))
    for start in range(0, n_voxels, LANES):
        design, over = of_lanes(basis, start), of_lanes(rows, start)
        shuffled = np.empty(design.shape)
        n_here = load(effects, start, 0.0, y)
        load(variances, start, 1.0, s)
        load(fitted, start, 0.0, null)
        load(dof, start, 1.0, free)
        load(held, start, 0.0, tau2)
        for m in range(len(orders)):
            _move(
                orders[m], signs[m], design, y, null if len(fitted) else null[:0], shuffled, values
            )
            if method >= 0:
                tau2[0] = tau2_by(method, free[0], s, values, moves, shuffled, sums)
            evaluate(tau2[0], s, values, moves, shuffled, sums)
            combine_rows(over, sums[1], sums[3], estimates, covariance)
            if is_f:
                mean_square_length(estimates, covariance)
            for v in range(n_here):
                variance = covariance[0, v]
                if factor > 0:
                    scale = scalars[1, v] / free[0, v]
                    if factor == 1 and _is_rounding(
                        scalars[1, v], values[:, v], s[:, v], tau2[0, v]
                    ):
                        scale = 0.0
                    variance *= max(scale, 1.0) if factor == 2 else scale
                # Also where a variance is no number.
                if free[0, v] > 0.0 and variance > 0.0:
                    stat = estimates[0, v] / np.sqrt(variance)
                    found[m, start + v] = stat * stat if is_f else stat


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _is_rounding(residual, values, variances, tau2):
    """Tell whether a weighted residual sum of squares is no more than rounding of the maps."""
    total = 0.0
    for i in range(len(values)):
        total += values[i] * values[i] / (variances[i] + tau2)
    return residual <= LAST_PLACE * LAST_PLACE * total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _move(order, sign, design, y, null, shuffled, values):
    """Write the shuffled design, and maps whose fitted values go with its rows."""
    # Rows of numbers, whether all lanes share them or each has its own.
    columns, moved = design.reshape(len(y), -1), shuffled.reshape(len(y), -1)
    for i in range(len(y)):
        for j in range(columns.shape[1]):
            moved[i, j] = sign[i] * columns[order[i], j]
        for v in range(LANES):
            values[i, v] = y[i, v]
        if len(null):
            for v in range(LANES):
                values[i, v] += sign[i] * null[order[i], v] - null[i, v]
