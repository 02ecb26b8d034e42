"""The part of a design that a contrast tests, and the rest."""

from dataclasses import dataclass

import numpy as np

# Cosines closer to 1 than this count as lying in the same space.
_SAME_SPACE = 1e-9


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
    """

    effect: np.ndarray
    nuisance: np.ndarray
    dof: int

    def moved_nuisance(self, fixed):
        """Return the nuisance directions that a shuffle can move out of their span.

        Parameters
        ----------
        fixed : array, shape (n, b)
            Directions that every shuffle leaves as they are: block indicators under permutation
            within blocks, none under sign flips.

        Returns
        -------
        array, shape (n, q')
            Orthonormal; the other nuisance directions contribute exactly 0 to every shuffle.
        """
        if fixed.shape[1] == 0 or self.nuisance.shape[1] == 0:
            return self.nuisance
        basis = np.linalg.qr(fixed)[0]
        _, cosines, vt = np.linalg.svd(basis.T @ self.nuisance, full_matrices=True)
        still = np.zeros(len(vt), dtype=bool)
        still[: len(cosines)] = cosines > 1 - _SAME_SPACE
        return self.nuisance @ vt[~still].T


def partition(model, weights):
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
    # The estimate of a row is w'y with w in the column space; w is orthogonal to every
    # prediction for which the contrast vanishes.
    directions = (np.atleast_2d(weights) @ model.inverse).T
    q, r = np.linalg.qr(directions)
    effect = q * np.sign(np.diag(r))
    projected = model.basis - effect @ (effect.T @ model.basis)
    others = np.linalg.svd(projected, full_matrices=False)[0]
    return Partition(effect, others[:, : model.rank - effect.shape[1]], model.dof)


def holds(directions, vectors):
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
    rest = vectors - directions @ (directions.T @ vectors)
    return bool(np.all(np.linalg.norm(rest, axis=0) < 1e-8 * np.linalg.norm(vectors, axis=0)))
