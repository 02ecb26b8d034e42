"""Degrees of freedom of Satterthwaite by the observed information, a voxel at a time.

As lmerTest has them (Kuznetsova, Brockhoff and Christensen 2017, J Stat Softw 82(13)): one row has
2 V^2 / Var(V), V its variance, by the delta method; several rows are turned to uncorrelated ones,
and F has the dof that make its mean that of the mean of their squares (Fai and Cornelius 1996).
Components at the boundary do not vary: where all are, dof are n - p.
"""

import numba
import numpy as np

from nipype_group.stats.decompositions import diagonalise
from nipype_group.stats.estimators.small_matrices import bilinear

# dof that are the same.
_ALIKE = 1e-8


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _row_dof(row, phi, derivatives, variance, vcov, residual_dof):
    """Return the dof of one row.

    Parameters
    ----------
    row : array, shape (r,)
        Row over the basis.
    phi : array, shape (r, r)
        Covariance of the betas over the residual variance.
    derivatives : array, shape (m - 1, r, r)
        Derivatives of the inverse of phi by the parameters of the random effects.
    variance : float
        Residual variance.
    vcov : array, shape (m, m)
        Covariance of the parameters, that of the residual variance first; the others 0 where
        they are at the boundary.
    residual_dof : float
        dof where no parameter of the random effects varies.
    """
    m = len(vcov)
    r = len(row)
    turned, gradient = np.empty(r), np.empty(m)
    for i in range(r):
        turned[i] = 0.0
        for j in range(r):
            turned[i] += phi[i, j] * row[j]
    unit = 0.0
    for i in range(r):
        unit += row[i] * turned[i]
    gradient[0] = unit
    varies = False
    for a in range(1, m):
        gradient[a] = -variance * bilinear(turned, derivatives[a - 1], turned)
        varies = varies or vcov[a, a] > 0.0
    if not varies:
        return residual_dof
    spread = bilinear(gradient, vcov, gradient)
    size = unit * variance
    return 2.0 * size * size / spread if spread > 0.0 else 0.0


@numba.njit(nogil=True, cache=True, error_model="numpy")
def rows_stat_dof(
    rows: np.ndarray,
    betas: np.ndarray,
    phi: np.ndarray,
    derivatives: np.ndarray,
    variance: float,
    vcov: np.ndarray,
    residual_dof: float,
    covariance: np.ndarray,
) -> tuple[float, float]:
    """Return F and its dof of several rows, t and its dof of one; write their covariance.

    Parameters
    ----------
    rows : array, shape (q, r)
        Rows over the basis.
    betas : array, shape (r,)
    phi, derivatives, variance, vcov, residual_dof
        As for one row.
    covariance : array, shape (q, q)
        Gets that of the rows.
    """
    q, r = rows.shape
    turned, vectors, row = np.empty((q, q)), np.empty((q, q)), np.empty(r)
    for i in range(q):
        for j in range(q):
            turned[i, j] = bilinear(rows[i], phi, rows[j])
            covariance[i, j] = turned[i, j] * variance
    diagonalise(turned, vectors)
    total, expected, alike, above, first = 0.0, 0.0, True, True, 0.0
    for i in range(q):
        effect = 0.0
        for t in range(r):
            row[t] = 0.0
            for j in range(q):
                row[t] += vectors[i, j] * rows[j, t]
            effect += row[t] * betas[t]
        own = _row_dof(row, phi, derivatives, variance, vcov, residual_dof)
        if not own > 0.0 or not turned[i, i] > 0.0:
            return 0.0, 0.0
        if q == 1:
            return effect / np.sqrt(turned[0, 0] * variance), own
        total += effect * effect / (turned[i, i] * variance)
        if i == 0:
            first = own
        alike = alike and abs(own - first) < _ALIKE
        above = above and own > 2.0
        expected += own / (own - 2.0)
    if alike:
        return total / q, first
    return total / q, 2.0 * expected / (expected - q) if above else 2.0
