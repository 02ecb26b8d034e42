"""Ordinary least squares for many voxels at once, and t and F contrasts of it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nipype_group.stats.distributions import f_to_z, log_sf_f, log_sf_t, t_to_z


@dataclass(frozen=True)
class LinearModel:
    """A design matrix and what follows from it alone.

    Parameters
    ----------
    matrix : array, shape (n, p)
        Design, a row a map; rank deficiency is allowed.
    columns : tuple of str
        Column names, used in messages.

    Raises
    ------
    ValueError
        Where the maps leave no degree of freedom for the residual variance.
    """

    matrix: np.ndarray
    columns: tuple

    def __post_init__(self):
        n, p = self.matrix.shape
        if len(self.columns) != p:
            raise ValueError(f"{p} columns but {len(self.columns)} names")
        if self.dof < 1:
            raise ValueError(
                f"The design has {n} maps and {self.rank} independent columns "
                f"({', '.join(self.columns)}): nothing is left to estimate the residual "
                "variance. Add maps or drop columns."
            )

    @cached_property
    def _svd(self):
        # Columns in units of their own length, so that the rank does not depend on units.
        scale = np.linalg.norm(self.matrix, axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        u, s, vt = np.linalg.svd(self.matrix / scale, full_matrices=False)
        keep = s > max(self.matrix.shape) * np.finfo(float).eps * max(s.max(initial=0), 1)
        return u[:, keep], s[keep], vt[keep] / scale, vt[keep]

    @property
    def rank(self):
        """Number of independent columns."""
        return len(self._svd[1])

    @property
    def dof(self):
        """Residual degrees of freedom, n - rank."""
        return self.matrix.shape[0] - self.rank

    @property
    def basis(self):
        """Orthonormal basis of the column space, shape (n, rank)."""
        return self._svd[0]

    @cached_property
    def inverse(self):
        """Generalised inverse of the design, shape (p, n)."""
        u, s, vt_scaled, _ = self._svd
        return (vt_scaled.T / s) @ u.T

    @cached_property
    def covariance(self):
        """Covariance of the betas for unit residual variance, shape (p, p)."""
        return self.inverse @ self.inverse.T

    def check_estimable(self, weights, name):
        """Refuse contrast rows that the design cannot estimate (Searle 1971).

        Parameters
        ----------
        weights : array, shape (r, p)
            Contrast rows over the columns.
        name : str
            Name of the contrast, for the message.

        Raises
        ------
        ValueError
            Naming the columns that the data cannot tell apart.
        """
        scale = np.linalg.norm(self.matrix, axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        vt = self._svd[3]
        scaled = weights / scale
        lost = scaled - scaled @ vt.T @ vt
        if np.abs(lost).max() > 1e-8 * max(np.abs(scaled).max(), 1e-300):
            null_space = np.abs(np.eye(len(scale)) - vt.T @ vt).max(axis=0) > 1e-8
            used = (np.abs(weights) > 0).any(axis=0) & null_space
            names = [c for c, u in zip(self.columns, used, strict=True) if u]
            raise ValueError(
                f"Contrast {name!r} cannot be estimated: the design does not determine "
                f"{', '.join(names)} (rank {self.rank} of {len(self.columns)} columns). "
                "Test a difference that the design does determine, or drop a redundant column."
            )

    def fit(self, data):
        """Fit the model to maps.

        Parameters
        ----------
        data : array, shape (n, v)
            One row a map, one column a voxel.

        Returns
        -------
        betas : array, shape (p, v)
        residual_ss : array, shape (v,)
            Residual sum of squares. Set to 0 where it is no more than rounding.
        """
        betas = self.inverse @ data
        # The basis keeps its digits where columns are nearly collinear, betas do not.
        residuals = data - self.basis @ (self.basis.T @ data)
        residual_ss = np.square(residuals).sum(axis=0)
        rounding = np.square(10 * len(data) * np.finfo(float).eps) * np.square(data).sum(axis=0)
        residual_ss[residual_ss <= rounding] = 0.0
        return betas, residual_ss

    def total_ss(self, data):
        """Return the sum of squares that R2 refers to.

        Around the mean where the design holds a constant, around 0 where it does not.
        """
        ones = np.ones(len(data))
        if np.linalg.norm(ones - self.basis @ (self.basis.T @ ones)) < 1e-8 * np.sqrt(len(data)):
            data = data - data.mean(axis=0)
        return np.square(data).sum(axis=0)


def independent_rows(weights):
    """Return rows spanning the same hypothesis without redundancy, shape (rank, p).

    Examples
    --------
    >>> independent_rows(np.array([[1.0, -1, 0], [0, 1, -1], [1, 0, -1]])).shape
    (2, 3)
    """
    _, s, vt = np.linalg.svd(np.asarray(weights, dtype=float), full_matrices=False)
    return vt[s > 1e-10 * s.max()]


def _ratio(numerator, denominator):
    """Divide, giving 0 where the denominator is 0: a constant voxel has no statistic."""
    return np.divide(
        numerator, denominator, out=np.zeros_like(numerator, dtype=float), where=denominator > 0
    )


def t_contrast(weights, betas, residual_variance, covariance):
    """Return effect, its variance and t of one contrast row.

    Parameters
    ----------
    weights : array, shape (p,)
        Contrast over the columns.
    betas : array, shape (p, v)
        Parameter estimates.
    residual_variance : array, shape (v,)
        Residual sum of squares over dof.
    covariance : array, shape (p, p)
        Covariance of the betas for unit residual variance.

    Returns
    -------
    effect, variance, t : arrays, shape (v,)
        t is 0 where the variance is 0.
    """
    effect = weights @ betas
    variance = residual_variance * (weights @ covariance @ weights)
    return effect, variance, _ratio(effect, np.sqrt(variance))


def f_contrast(weights, betas, residual_variance, covariance):
    """Return the root mean square of the effect, the residual variance and F of several rows.

    F = effect^2 / variance, as t = effect / sqrt(variance); effect^2 is the numerator's mean
    square. Redundant rows are reduced to their rank.

    Parameters
    ----------
    weights : array, shape (r, p)
        Contrast rows.
    betas, residual_variance, covariance
        As for `t_contrast`.

    Returns
    -------
    effect, variance, f : arrays, shape (v,)
    rank : int
        Degrees of freedom of the numerator.
    """
    rows = independent_rows(weights)
    estimates = rows @ betas
    middle = np.linalg.inv(rows @ covariance @ rows.T)
    mean_square = np.einsum("iv,ij,jv->v", estimates, middle, estimates) / len(rows)
    mean_square = np.maximum(mean_square, 0.0)
    f = _ratio(mean_square, residual_variance)
    return np.sqrt(mean_square), residual_variance.copy(), f, len(rows)


# Voxels fitted at once: bounds memory and fixes the shape of every matrix product, so results do
# not depend on who reads how much.
VOXELS_PER_TILE = 4096


def fit_tiles(model, read, n_voxels):
    """Fit a model to all voxels, a tile at a time.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
        Voxels in the mask.

    Returns
    -------
    betas : array, shape (p, n_voxels)
    residual_variance : array, shape (n_voxels,)
    r_square : array, shape (n_voxels,)
        Share of the sum of squares that the model explains.
    """
    betas = np.empty((model.matrix.shape[1], n_voxels))
    residual_variance, r_square = np.empty(n_voxels), np.empty(n_voxels)
    for start in range(0, n_voxels, VOXELS_PER_TILE):
        span = slice(start, min(start + VOXELS_PER_TILE, n_voxels))
        data = read(span.start, span.stop)
        betas[:, span], residual_ss = model.fit(data)
        residual_variance[span] = residual_ss / model.dof
        total = model.total_ss(data)
        r_square[span] = _ratio(np.maximum(total - residual_ss, 0.0), total)
    return betas, residual_variance, r_square


def contrast_maps(weights, test, betas, residual_variance, covariance, dof, tail):
    """Compute all maps of a contrast.

    Parameters
    ----------
    weights : array, shape (r, p)
        Contrast rows.
    test : {"t", "F"}
        One signed row, or all rows together.
    betas, residual_variance, covariance
        As for `t_contrast`.
    dof : int
        Residual degrees of freedom.
    tail : {"two-sided", "positive", "negative"}
        Side of the p values of a t contrast; F is tested on its upper side.

    Returns
    -------
    maps : dict of arrays, shape (v,)
        effect, variance, stat, z, p, effect_size (Cohen's d of t, partial R2 of F). Voxels
        without residual variance have statistic 0, z 0 and p 1.
    dof : tuple of int
        (dof,) of t, (rank, dof) of F.
    """
    dead = residual_variance <= 0
    if test == "t":
        effect, variance, stat = t_contrast(weights[0], betas, residual_variance, covariance)
        z = t_to_z(stat, dof)
        side = {"two-sided": np.abs(stat), "positive": stat, "negative": -stat}[tail]
        p = np.exp(log_sf_t(side, dof)) * (2 if tail == "two-sided" else 1)
        size = _ratio(effect, np.sqrt(residual_variance))
        dofs = (dof,)
    else:
        effect, variance, stat, rank = f_contrast(weights, betas, residual_variance, covariance)
        z = f_to_z(stat, rank, dof)
        p = np.exp(log_sf_f(stat, rank, dof))
        size = rank * stat / (rank * stat + dof)
        dofs = (rank, dof)
    z[dead], p[dead] = 0.0, 1.0
    maps = {"effect": effect, "variance": variance, "stat": stat, "z": z, "p": p}
    return maps | {"effect_size": size}, dofs
