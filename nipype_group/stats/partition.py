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
    tested : array, shape (n, r), optional
        The tested regressors before they are residualised (Ridgway); by default `effect`.
    """

    effect: np.ndarray
    nuisance: np.ndarray
    dof: int
    tested: np.ndarray | None = None

    @property
    def rank(self):
        """Number of tested directions."""
        return self.effect.shape[1]

    def split_nuisance(self, fixed):
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
        _, cosines, vt = np.linalg.svd(fixed.T @ self.nuisance, full_matrices=True)
        stays = np.zeros(len(vt), dtype=bool)
        stays[: len(cosines)] = cosines > 1 - _SAME_SPACE
        return self.nuisance @ vt[~stays].T, self.nuisance @ vt[stays].T


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
    weights = np.atleast_2d(weights)
    # The estimate of a row is w'y with w in the column space; w is orthogonal to every
    # prediction for which the contrast vanishes.
    directions = (weights @ model.inverse).T
    q, r = np.linalg.qr(directions)
    effect = q * np.sign(np.diag(r))
    projected = model.basis - effect @ (effect.T @ model.basis)
    others = np.linalg.svd(projected, full_matrices=False)[0]
    tested = model.matrix @ np.linalg.pinv(weights)
    return Partition(effect, others[:, : model.rank - effect.shape[1]], model.dof, tested)


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
