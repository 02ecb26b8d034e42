"""The part of a design that a contrast tests, and the rest."""

from dataclasses import dataclass

import numpy as np

from nipype_group.stats.decompositions import complement, decompose, qr
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.matrix_products import multiply, residuals_of

# A unit vector of which less than this is left outside a space lies in it.
_SAME_SPACE = 1e-5


@dataclass(frozen=True)
class Partition:
    """A model split into tested and nuisance directions (Beckmann/Ridgway, Winkler 2014).

    Parameters
    ----------
    effect : array, shape (n, r)
        Orthonormal directions that the contrast tests, residualised on the nuisance; for r = 1
        its sign is that of the contrast.
    nuisance : array, shape (n, q)
        Orthonormal basis of all model predictions for which the contrast is 0.
    dof : int
        Residual degrees of freedom.
    tested : array, shape (n, r), optional
        The tested regressors before they are residualised (Ridgway); by default `effect`.
    """

    effect: np.ndarray
    nuisance: np.ndarray
    dof: int
    tested: np.ndarray | None = None

    @property
    def rank(self) -> int:
        """Number of tested directions."""
        return self.effect.shape[1]

    def split_nuisance(self, fixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Split the nuisance by whether a shuffle can move it out of its span.

        Parameters
        ----------
        fixed : array, shape (n, b)
            Orthonormal directions that every shuffle leaves as they are: block indicators under
            permutation within blocks, none under sign flips.

        Returns
        -------
        moved, still : arrays, shapes (n, q'), (n, q - q')
            Orthonormal; the directions that stay contribute exactly 0 to every shuffle.
        """
        if fixed.shape[1] == 0 or self.nuisance.shape[1] == 0:
            return self.nuisance, self.nuisance[:, :0]
        moving = decompose(residuals_of(fixed, self.nuisance), _SAME_SPACE).rows.T
        return multiply(self.nuisance, moving), multiply(self.nuisance, complement(moving))


def partition(model: LinearModel, weights: np.ndarray) -> Partition:
    """Split a model by a contrast.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    weights : array, shape (r, p)
        Independent contrast rows.

    Returns
    -------
    Partition
    """
    weights = np.atleast_2d(weights)
    # The estimate of a row is w'y with w in the column space; w is orthogonal to every
    # prediction for which the contrast vanishes.
    effect, _ = qr(multiply(weights, model.inverse).T)
    # Directions of the model are unit vectors within the nuisance, or nothing is left of them.
    nuisance = decompose(residuals_of(effect, model.basis), _SAME_SPACE).basis
    tested = multiply(model.matrix, decompose(weights).inverse)
    return Partition(effect, nuisance, model.dof, tested)


def holds(directions: np.ndarray, vectors: np.ndarray) -> bool:
    """Tell whether each vector lies in the span of orthonormal directions.

    Parameters
    ----------
    directions : array, shape (n, q)
        Orthonormal columns.
    vectors : array, shape (n, k)
        Vectors to look for.

    Returns
    -------
    bool
    """
    rest = np.square(residuals_of(directions, vectors)).sum(axis=0)
    return bool(np.all(rest < 1e-16 * np.square(vectors).sum(axis=0)))
