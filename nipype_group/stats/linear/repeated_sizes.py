"""Sizes of effects of participants with several maps, which take more than the contrast's error.

They divide by what the maps of the cells vary, not by what their contrast maps do, so that they
compare with studies whose factors vary between participants.
"""

from collections.abc import Callable

import numpy as np

from nipype_group.stats.effect_sizes import generalised_eta_squared
from nipype_group.stats.linear.error_terms import ErrorTerm
from nipype_group.stats.linear.least_squares import LinearModel, tiles
from nipype_group.stats.matrix_products import residuals_of, sum_of_squares

ReadMaps = Callable[[int, int], np.ndarray]


def compares_two_cells(term: ErrorTerm) -> bool:
    """Tell whether a contrast is the difference of two cells, which d_av is of."""
    return term.directions.shape == (1, 2) and bool(abs(term.directions.sum()) < 1e-8)


def _residual_ss(
    term: ErrorTerm, maps: np.ndarray, read: ReadMaps, n_voxels: int
) -> tuple[np.ndarray, int]:
    """Return what the design leaves of maps, NaN where one lacks the voxel, and its dof."""
    model = LinearModel(term.matrix[maps], term.columns)
    left = np.empty(n_voxels)
    for span in tiles(n_voxels, len(term.matrix)):
        own = read(span.start, span.stop)[maps]
        left[span] = sum_of_squares(residuals_of(model.basis, own))
    return left, model.dof


def average_d(
    term: ErrorTerm, d_z: np.ndarray, error_variance: np.ndarray, read: ReadMaps
) -> np.ndarray:
    """Return d_av: the difference of two cells over the root of the mean variance of both.

    Cumming (2012). Variances are those that the model between participants leaves of each cell.

    Parameters
    ----------
    term : ErrorTerm
        Of two cells, see `compares_two_cells`.
    d_z, error_variance : arrays, shape (v,)
        The effect over the standard deviation of the differences, and the variance of the contrast
        maps, as `maps_of` has them.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).

    Returns
    -------
    array, shape (v,)
        0 where a map lacks the voxel, or neither cell varies.

    Examples
    --------
    >>> data = np.array([[1.0], [0], [2], [3], [6], [3]])
    >>> term = ErrorTerm(
    ...     np.tile([[1.0, 0], [1, 1]], (3, 1)),
    ...     ("intercept", "b"),
    ...     np.arange(6).reshape(3, 2),
    ...     np.array([[1.0, -1]]) / np.sqrt(2),
    ... )
    >>> average_d(term, np.array([0.5]), np.array([2.0]), lambda a, b: data[:, a:b]).round(4)
    array([0.4472])
    """
    (first, dof), (second, _) = (
        _residual_ss(term, term.maps[:, cell], read, len(d_z)) for cell in range(2)
    )
    variance = (first + second) / (2 * dof)
    known = variance > 0
    # Of the differences, whose contrast maps have length 1.
    spread = np.sqrt(2 * error_variance)
    return np.where(known, d_z * spread / np.sqrt(np.where(known, variance, 1.0)), 0.0)


def generalised_share(
    term: ErrorTerm, cells: np.ndarray, explained_ss: np.ndarray, read: ReadMaps
) -> np.ndarray:
    """Return generalised eta squared of a contrast on its own error.

    Its sum of squares over its sum with all errors of the participants, which are what the design
    leaves of the maps of all cells (Olejnik and Algina 2003); no factor counts as measured.

    Parameters
    ----------
    term : ErrorTerm
    cells : int array, shape (N, K)
        The maps of its participants in all cells of the design.
    explained_ss : array, shape (v,)
        Sum of squares of the contrast, of contrast maps with weights of length 1.
    read : callable
        As for `average_d`.

    Returns
    -------
    array, shape (v,)
        0 where a map lacks the voxel.
    """
    errors, _ = _residual_ss(term, cells.ravel(), read, len(explained_ss))
    known = errors > 0
    share = generalised_eta_squared(explained_ss, [np.where(known, errors, 1.0)])
    return np.where(known, share, 0.0)
