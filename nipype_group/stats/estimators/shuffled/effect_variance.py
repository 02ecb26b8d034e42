"""The statistic of effects with variances under shuffles: effect and variance travel together.

A shuffle gives row r of the design the place of row ``orders[r]``, times ``signs[r]``. The maps
stay where they are with their variances, which is the same as moving both of them the other way.
With nuisance the fitted values of the model without the effect, at the variance between
participants that it has itself, stay with the rows of the design, and the residuals with their
variances (Freedman and Lane 1983).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from nipype_group.stats.estimators.between_variance import (
    LANES,
    combine_rows,
    evaluate,
    load,
    mean_square_length,
    new_sums,
    tau2_by,
)
from nipype_group.stats.estimators.effect_variance import (
    KNAPP_HARTUNG,
    METHODS,
    fit_effect_variance,
    lacking,
)
from nipype_group.stats.linear.least_squares import LinearModel, independent_rows
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
    nuisance = partition(model, independent_rows(np.atleast_2d(weights))).nuisance
    n_columns = nuisance.shape[1]
    if not n_columns:
        return None
    fit = fit_effect_variance(
        LinearModel(nuisance, tuple(f"nuisance {i}" for i in range(n_columns))),
        lambda start, stop: effects[:, start:stop],
        lambda start, stop: variances[:, start:stop],
        effects.shape[1],
        method,
    )
    rows = np.eye(n_columns)
    return multiply(nuisance, np.stack([fit.contrast(row, "t").effect for row in rows]))


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
    weights = np.atleast_2d(np.asarray(weights, dtype=float))
    rows = weights[:1] if test == "t" else independent_rows(weights)
    basis = np.ascontiguousarray(model.basis)
    own = multiply(multiply(rows, model.inverse), basis)
    lacks = lacking(effects, variances)
    y, s = np.where(lacks, 0.0, effects), np.where(lacks, np.inf, variances)
    dof = np.maximum((~lacks).sum(axis=0) - float(model.rank), 0.0)
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
            basis,
            own,
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
    n_rows = len(rows)
    sums = new_sums(n_maps, basis.shape[1])
    scalars, moves = sums[7], np.ones(n_maps)
    blocks = np.zeros((4, n_maps, LANES))
    y, s, null, values = blocks[0], blocks[1], blocks[2], blocks[3]
    free, tau2 = np.empty((1, LANES)), np.empty((1, LANES))
    estimates = np.empty((n_rows, LANES))
    covariance = np.empty((n_rows * (n_rows + 1) // 2, LANES))
    shuffled = np.empty(basis.shape)
    for start in range(0, n_voxels, LANES):
        n_here = load(effects, start, 0.0, y)
        load(variances, start, 1.0, s)
        load(fitted, start, 0.0, null)
        load(dof, start, 1.0, free)
        load(held, start, 0.0, tau2)
        for m in range(len(orders)):
            _move(
                orders[m], signs[m], basis, y, null if len(fitted) else null[:0], shuffled, values
            )
            if method >= 0:
                tau2[0] = tau2_by(method, free[0], s, values, moves, shuffled, sums)
            evaluate(tau2[0], s, values, moves, shuffled, sums)
            combine_rows(rows, sums[1], sums[3], estimates, covariance)
            if is_f:
                mean_square_length(estimates, covariance)
            for v in range(n_here):
                variance = covariance[0, v]
                if factor > 0:
                    scale = scalars[1, v] / free[0, v]
                    variance *= max(scale, 1.0) if factor == 2 else scale
                # Also where a variance is no number.
                if free[0, v] > 0.0 and variance > 0.0:
                    stat = estimates[0, v] / np.sqrt(variance)
                    found[m, start + v] = stat * stat if is_f else stat


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _move(order, sign, basis, y, null, shuffled, values):
    """Write the shuffled design, and maps whose fitted values go with its rows."""
    for i in range(len(y)):
        for j in range(basis.shape[1]):
            shuffled[i, j] = sign[i] * basis[order[i], j]
        for v in range(LANES):
            values[i, v] = y[i, v]
        if len(null):
            for v in range(LANES):
                values[i, v] += sign[i] * null[order[i], v] - null[i, v]
