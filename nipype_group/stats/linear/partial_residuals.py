"""The values of one voxel as a contrast looks at them: residuals of the rest of the model."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nipype_group.stats.linear.least_squares import LinearModel, independent_rows
from nipype_group.stats.linear.partition import holds, partition
from nipype_group.stats.matrix_products import multiply, residuals_of


def studentised_residuals(model: LinearModel, data: np.ndarray) -> np.ndarray:
    """Return externally studentised residuals of one voxel (Cook and Weisberg 1982), shape (n,).

    0 where the model fits a map exactly whatever its value, or leaves too few degrees of freedom.

    Parameters
    ----------
    model : LinearModel
    data : array, shape (n,)
    """
    residual = residuals_of(model.basis, data)
    free = 1 - np.square(model.basis).sum(axis=1)
    squares = np.divide(np.square(residual), free, out=np.zeros_like(free), where=free > 1e-10)
    without = (np.square(residual).sum() - squares) / max(model.dof - 1, 1)
    fine = (free > 1e-10) & (without > 1e-12 * np.square(data).mean()) & (model.dof > 1)
    scale = np.sqrt(np.where(fine, without * free, 1.0))
    return np.where(fine, residual / scale, 0.0)


def without_columns(
    model: LinearModel, data: np.ndarray, columns: Sequence[int], centred: bool
) -> np.ndarray:
    """Take out of one voxel's values what columns of the model fit.

    Parameters
    ----------
    model : LinearModel
        Of full rank.
    data : array, shape (n,)
    columns : sequence of int
    centred : bool
        Whether what they fit on average stays in.

    Returns
    -------
    array, shape (n,)
    """
    taken = model.matrix[:, columns]
    if centred:
        taken = taken - taken.mean(axis=0)
    return data - multiply(taken, multiply(model.inverse, data)[columns])


class AddedVariable(NamedTuple):
    """Values and what a contrast tests, residualised on all for which the contrast is 0.

    Parameters
    ----------
    x, y : arrays, shape (n,)
        What the contrast tests, and the values; the slope of y on x is the estimate.
    has_mean : bool
        Whether the mean is among what they are residualised on.
    has_more : bool
        Whether anything else is.
    """

    x: np.ndarray
    y: np.ndarray
    has_mean: bool
    has_more: bool


def added_variable(model: LinearModel, weights: np.ndarray, data: np.ndarray) -> AddedVariable:
    """Return an added-variable plot of one voxel (Cook and Weisberg 1982).

    Parameters
    ----------
    model : LinearModel
    weights : array, shape (1, columns)
    data : array, shape (n,)

    Returns
    -------
    AddedVariable
    """
    split = partition(model, weights)
    direction = multiply(weights[0], model.inverse)
    has_mean = holds(split.nuisance, np.ones((len(data), 1)))
    return AddedVariable(
        split.effect[:, 0] / np.sqrt(np.square(direction).sum()),
        residuals_of(split.nuisance, data),
        has_mean,
        split.nuisance.shape[1] > has_mean,
    )


def fitted_by(
    model: LinearModel, weights: np.ndarray, data: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a contrast fits of one voxel's values, and the values without the rest.

    Parameters
    ----------
    model : LinearModel
    weights : array, shape (rows, columns)
    data : array, shape (n,)

    Returns
    -------
    fitted, observed : arrays, shape (n,)
        About the mean of the values, where the rest of the model has one.
    """
    split = partition(model, independent_rows(weights))
    mean = data.mean() * holds(split.nuisance, np.ones((len(data), 1)))
    fitted = multiply(split.effect, multiply(split.effect.T, data))
    return fitted + mean, fitted + residuals_of(model.basis, data) + mean


def without_rest(model: LinearModel, weights: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Return what a contrast fits of one voxel's values, and their residuals, shape (n,).

    Parameters
    ----------
    model : LinearModel
    weights : array, shape (rows, columns)
    data : array, shape (n,)
    """
    effect = partition(model, independent_rows(weights)).effect
    return multiply(effect, multiply(effect.T, data)) + residuals_of(model.basis, data)
