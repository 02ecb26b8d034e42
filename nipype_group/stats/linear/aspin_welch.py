"""Contrasts under error variances that differ between groups of maps: v and G.

Ordinary least squares keeps the estimates b; their covariance takes each group's own error
variance. With M the design, R its residual-forming matrix, e the residuals and C the contrast's
s rows, group g has variance ``w_g = sum_g e_n^2 / sum_g R_nn``, and K = C (M'M)^-1 M', in the
columns K_g of each group, gives

    V = sum_g w_g K_g K_g',  Q_g = V^-1 w_g K_g K_g'
    v = C b / sqrt(V)                                     for s = 1
    G = (C b)' V^-1 (C b) / (Lambda s)                    for s > 1

    A = sum_g (tr Q_g^2 + (tr Q_g)^2) / (2 sum_g R_nn)
    Lambda = 1 + 2 (s - 1) A / (s (s + 2)),  dof = s (s + 2) / (3 A)    (Johansen 1980)

v of two means is the t of Aspin (1948) and Welch with the dof of Welch and Satterthwaite; G of
k means is the F of Welch (1951): for these the equations are those of Winkler et al. (2014,
NeuroImage 92:381). Where groups share a regressor, Winkler's variance is that of weighted
estimates, smaller than that of b; for contrasts of fewer than all groups' means the dof differ.
One group of all maps gives the t and F of ordinary least squares, with
their dof.

All sums run in float64 in the order of the maps, so a statistic does not depend on which voxels
and shuffles it is computed with.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import ArrayLike

from nipype_group.stats.decompositions import complement, decompose, qr
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.matrix_products import multiply

# Voxels whose sums are held at once: they stay in a first-level cache.
VOXELS_PER_BLOCK = 256
# Part of a unit column outside its group that is no more than rounding.
_INSIDE = 1e-13
# Sum of a group's residual shares (degrees of freedom) that is no more than rounding.
_NO_DOF = 1e-8


# Loops of one fixed length run in vectors, so a block is always full.
@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add(factor, values, total):
    """Add factor x values to total."""
    for v in range(VOXELS_PER_BLOCK):
        total[v] += factor * values[v]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_two(first, left, second, right, total):
    """Add first x left + second x right to total."""
    for v in range(VOXELS_PER_BLOCK):
        total[v] += first * left[v] + second * right[v]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _subtract(values, factor, other, result):
    """Write values - factor x other to result."""
    for v in range(VOXELS_PER_BLOCK):
        result[v] = values[v] - factor * other[v]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_product(factor, left, right, total):
    """Add factor x left x right to total."""
    for v in range(VOXELS_PER_BLOCK):
        total[v] += factor * left[v] * right[v]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fit_block(basis, groups, order, signs, data, rest, scores, group_ss):
    """Fit one shuffle to a block of voxels: scores on the basis, residual sums of squares.

    Parameters
    ----------
    basis : float64 array, shape (n, p)
        Orthonormal basis of the design; zeros in it cost nothing.
    groups : int array, shape (n,)
        Variance group of every design row, 0 to the number of groups - 1.
    order, signs : arrays, shape (n,)
        Map r stands in design row order[r], with its sign.
    data : float64 array, shape (n, block)
        Maps.
    rest : float64 array, shape (block,)
        Room to work in.
    scores : float64 array, shape (p, block)
        Receives the products of basis and data.
    group_ss : float64 array, shape (g, block)
        Receives the residual sums of squares.
    """
    n_maps, n_columns = basis.shape
    scores[:] = 0.0
    group_ss[:] = 0.0
    for j in range(n_columns):
        # Two maps at a time: half the traffic of the sum.
        waiting = -1
        for r in range(n_maps):
            if basis[order[r], j] == 0.0:
                continue
            if waiting < 0:
                waiting = r
                continue
            first, second = basis[order[waiting], j], basis[order[r], j]
            _add_two(first * signs[waiting], data[waiting], second * signs[r], data[r], scores[j])
            waiting = -1
        if waiting >= 0:
            _add(basis[order[waiting], j] * signs[waiting], data[waiting], scores[j])
    # Squaring what is left, not subtracting sums of squares, keeps the digits of a good fit.
    for r in range(n_maps):
        left = data[r]
        for j in range(n_columns):
            factor = basis[order[r], j] * signs[r]
            if factor != 0.0:
                _subtract(left, factor, scores[j], rest)
                left = rest
        _add_product(1.0, left, left, group_ss[groups[order[r]]])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _factorise(matrices):
    """Replace positive definite matrices, shape (k, k, block), by their lower Cholesky factors."""
    for i in range(len(matrices)):
        for j in range(i + 1):
            entry = matrices[i, j]
            for k in range(j):
                _add_product(-1.0, matrices[i, k], matrices[j, k], entry)
            entry[:] = np.sqrt(entry) if i == j else entry / matrices[j, j]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _solve_lower(factors, columns):
    """Replace columns, shape (k, c, block), by the solutions of the lower triangular systems."""
    for i in range(len(columns)):
        for c in range(columns.shape[1]):
            for k in range(i):
                _add_product(-1.0, factors[i, k], columns[k, c], columns[i, c])
            columns[i, c] /= factors[i, i]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _spread(factors, roots, variances, group_dof):
    """Return A, shape (block,): sum over groups of (tr Q^2 + (tr Q)^2) / 2 dof.

    Parameters
    ----------
    factors : float64 array, shape (s, s, block)
        Lower Cholesky factors of the covariance of the contrast.
    roots : float64 array, shape (g, s, s)
        Root of each group's part of the covariance for unit error variance.
    variances : float64 array, shape (g, block)
        Error variance of each group.
    group_dof : float64 array, shape (g,)
    """
    n_rows = roots.shape[1]
    spread = np.zeros(VOXELS_PER_BLOCK)
    columns = np.empty((n_rows, n_rows, VOXELS_PER_BLOCK))
    for g in range(len(roots)):
        for i in range(n_rows):
            for j in range(n_rows):
                columns[i, j] = roots[g, i, j]
        _solve_lower(factors, columns)
        trace, square = np.zeros(VOXELS_PER_BLOCK), np.zeros(VOXELS_PER_BLOCK)
        for i in range(n_rows):
            for j in range(n_rows):
                entry = np.zeros(VOXELS_PER_BLOCK)
                for k in range(n_rows):
                    _add_product(1.0, columns[k, i], columns[k, j], entry)
                if i == j:
                    _add(1.0, entry, trace)
                _add_product(1.0, entry, entry, square)
        _add_product(1.0, trace, trace, square)
        spread += 0.5 / group_dof[g] * square * variances[g] * variances[g]
    return spread


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _statistic_block(contrast, roots, parts, group_dof, scores, group_ss, stat, dofs):
    """Write statistic and dof of a block of voxels into stat and dofs, shape (block,)."""
    n_rows, n_columns = contrast.shape
    variances = np.empty(group_ss.shape)
    covariance = np.zeros((n_rows, n_rows, VOXELS_PER_BLOCK))
    effects = np.zeros((n_rows, 1, VOXELS_PER_BLOCK))
    for g in range(len(roots)):
        variances[g] = group_ss[g] / group_dof[g]
        for i in range(n_rows):
            for j in range(i + 1):
                _add(parts[g, i, j], variances[g], covariance[i, j])
    for c in range(n_rows):
        for j in range(n_columns):
            _add(contrast[c, j], scores[j], effects[c, 0])
    _factorise(covariance)
    _solve_lower(covariance, effects)
    dofs[:] = group_dof.sum()
    if n_rows == 1:
        stat[:] = effects[0, 0]
    else:
        stat[:] = 0.0
        for c in range(n_rows):
            _add_product(1.0 / n_rows, effects[c, 0], effects[c, 0], stat)
    if len(roots) > 1:
        spread = _spread(covariance, roots, variances, group_dof)
        product = n_rows * (n_rows + 2.0)
        dofs[:] = product / 3.0 / spread
        if n_rows > 1:
            stat /= 1.0 + 2.0 * (n_rows - 1) / product * spread


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _run(basis, groups, contrast, roots, parts, group_dof, dof, residuals, orders, signs):
    """Return statistic and dof of every shuffle at every voxel, shapes (m, v)."""
    n_maps, n_voxels = residuals.shape
    n_groups, block = len(roots), VOXELS_PER_BLOCK
    stats, dofs = np.empty((len(orders), n_voxels)), np.empty((len(orders), n_voxels))
    scores, group_ss = np.empty((basis.shape[1], block)), np.empty((n_groups, block))
    data, rest = np.zeros((n_maps, block)), np.empty(block)
    stat, freedom = np.empty(block), np.empty(block)
    for start in range(0, n_voxels, block):
        width = min(block, n_voxels - start)
        data[:, :width] = residuals[:, start : start + width]
        floor = np.zeros(block)
        for r in range(n_maps):
            _add_product(np.square(10 * n_maps * 2.0**-52), data[r], data[r], floor)
        for m in range(len(orders)):
            _fit_block(basis, groups, orders[m], signs[m], data, rest, scores, group_ss)
            _statistic_block(contrast, roots, parts, group_dof, scores, group_ss, stat, freedom)
            for v in range(width):
                # Weights too far apart for float64 end as not-a-number.
                good = np.isfinite(stat[v]) and np.isfinite(freedom[v])
                for g in range(n_groups):
                    good &= group_ss[g, v] > floor[v]
                stats[m, start + v] = stat[v] if good else 0.0
                dofs[m, start + v] = freedom[v] if good else dof
    return stats, dofs


def check_variance_groups(groups: ArrayLike, model: LinearModel) -> None:
    """Refuse variance groups whose variance the data cannot estimate.

    Parameters
    ----------
    groups : int array, shape (n,)
        Variance group of every map.
    model : LinearModel
        Design of n maps.

    Raises
    ------
    ValueError
        Where maps and groups differ in number, or a group has no residual: the design fits
        all its maps exactly. The group is named.

    Examples
    --------
    >>> model = LinearModel(np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]]), ("a", "b"))
    >>> check_variance_groups(np.array([1, 1, 1, 1]), model)
    >>> check_variance_groups(np.array([1, 1, 1, 2]), model)
    Traceback (most recent call last):
    ...
    ValueError: Variance group 2 (1 map) has no residual: the design fits it exactly, ...
    """
    groups = np.asarray(groups)
    n_maps = len(model.matrix)
    if groups.shape != (n_maps,):
        raise ValueError(f"variance groups have shape {groups.shape}, the design {n_maps} maps")
    freedom = 1 - np.square(model.basis).sum(axis=1)
    for group in np.unique(groups):
        own = groups == group
        if freedom[own].sum() < _NO_DOF:
            raise ValueError(
                f"Variance group {group} ({own.sum()} map{'s' if own.sum() > 1 else ''}) has no "
                "residual: the design fits it exactly, so its variance cannot be estimated. "
                "Merge it with another group, or drop a column."
            )


def _split_basis(basis, groups, n_groups):
    """Rotate an orthonormal basis so that as many columns as can be are 0 outside one group.

    Columns of one group alone cost nothing in the others; group means are of this kind.
    """
    own, shared = [], basis
    for g in range(n_groups):
        outside = np.where((groups == g)[:, None], 0.0, shared)
        reaching = decompose(outside, _INSIDE).rows.T
        inside = multiply(shared, complement(reaching))
        own.append(np.where((groups == g)[:, None], inside, 0.0))
        shared = multiply(shared, reaching)
    return np.hstack([*own, shared])


class _DesignParts(NamedTuple):
    """All that the statistic needs of the design.

    Parameters
    ----------
    basis : array, shape (n, b)
        Basis of the design, each column in one variance group where that is possible.
    groups : int array, shape (n,)
        Variance group of every row, from 0.
    contrast : array, shape (r, b)
        Contrast over the basis.
    roots, parts : arrays, shape (groups, r, r)
        Triangular root, and product, of what every group has in the contrast.
    group_dof : array, shape (groups,)
        Degrees of freedom of the residuals of every group.
    dof : float
        Residual degrees of freedom of the design.
    """

    basis: np.ndarray
    groups: np.ndarray
    contrast: np.ndarray
    roots: np.ndarray
    parts: np.ndarray
    group_dof: np.ndarray
    dof: float


@dataclass(frozen=True)
class AspinWelch:
    """Statistic of a contrast where each group of maps has its own error variance.

    Parameters
    ----------
    model : LinearModel
        Design of n maps, of any rank.
    weights : array, shape (s, p)
        Independent estimable contrast rows: one gives the signed v, more give G.
    groups : int array, shape (n,)
        Variance group of every row of the design. It stays with the row where maps are shuffled.

    Raises
    ------
    ValueError
        Where a group has no residual (see `check_variance_groups`), or contrast rows depend on
        each other or do not fit the design.

    Notes
    -----
    Where a group has no residual variance in a voxel (maps that are constant there), the
    statistic is 0 and dof is that of the model.

    Examples
    --------
    >>> group = np.array([0, 0, 0, 1, 1, 1, 1])
    >>> model = LinearModel(np.eye(2)[group], ("patients", "controls"))
    >>> welch = AspinWelch(model, np.array([[1.0, -1.0]]), group)
    >>> data = np.array([[3.0], [4.0], [5.0], [1.0], [5.0], [0.0], [2.0]])
    >>> v, dof = welch.statistic(data)
    >>> v.round(4).tolist(), dof.round(4).tolist()
    ([1.633], [4.4182])
    """

    model: LinearModel
    weights: np.ndarray
    groups: np.ndarray

    def __post_init__(self):
        check_variance_groups(self.groups, self.model)
        shape, n_columns = np.shape(self.weights), self.model.matrix.shape[1]
        if len(shape) != 2 or shape[1] != n_columns or shape[0] == 0:
            raise ValueError(f"contrast rows have shape {shape}, the design {n_columns} columns")
        if decompose(multiply(self.weights, self.model.inverse)).rank < shape[0]:
            raise ValueError(f"the {shape[0]} contrast rows are not independent in this design")

    @cached_property
    def _parts(self):
        """All that the statistic needs of the design."""
        _, groups = np.unique(self.groups, return_inverse=True)
        n_groups = groups.max() + 1
        basis = np.ascontiguousarray(_split_basis(self.model.basis, groups, n_groups))
        contrast = multiply(multiply(self.weights, self.model.inverse), basis)
        members = [basis[groups == g] for g in range(n_groups)]
        group_dof = np.array([len(rows) - np.square(rows).sum() for rows in members])
        shares = [multiply(rows, contrast.T) for rows in members]
        parts = np.array([multiply(share.T, share) for share in shares])
        roots = np.zeros(parts.shape)
        for root, share in zip(roots, shares, strict=True):
            triangle = qr(share)[1]
            root[:, : len(triangle)] = triangle.T
        return _DesignParts(
            basis, groups, contrast, roots, parts, group_dof, dof=float(self.model.dof)
        )

    def statistic(self, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the statistic of data as they are.

        Parameters
        ----------
        data : float64 array, shape (n, v)
            One row a map, one column a voxel.

        Returns
        -------
        stat, dof : float64 arrays, shape (v,)
            v of one contrast row, G of several; denominator degrees of freedom, not integers.
        """
        order = np.arange(len(data))[None]
        stat, dof = self.shuffled(data, order, np.ones_like(order))
        return stat[0], dof[0]

    def shuffled(
        self, residuals: np.ndarray, orders: np.ndarray, signs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the statistic of shuffled data, or, which is the same, under shuffled designs.

        In shuffle k map r stands in row orders[k, r] of the design, in the variance group of
        that row, multiplied by signs[k, r]. Nuisance is fitted again in every shuffle (Freedman
        and Lane 1983). Beside its result this holds only a block of voxels.

        Parameters
        ----------
        residuals : float64 array, shape (n, v)
            Data, with the nuisance taken out; their scale does not matter.
        orders : int array, shape (m, n)
            Row r of the shuffled design is row orders[k, r].
        signs : int array, shape (m, n)
            Factor of each map, 1 or -1.

        Returns
        -------
        stat, dof : float64 arrays, shape (m, v)
            As `statistic` gives for the data of every shuffle.

        Raises
        ------
        ValueError
            Where data or shuffles have another number of maps than the design.
        """
        n_maps = len(self.model.matrix)
        residuals = np.ascontiguousarray(residuals, dtype=float)
        orders, signs = (
            np.asarray(orders, dtype=np.int64),
            np.asarray(signs, dtype=float),
        )
        if residuals.ndim != 2 or len(residuals) != n_maps:
            raise ValueError(f"data have shape {residuals.shape}, the design {n_maps} maps")
        if orders.ndim != 2 or orders.shape != signs.shape or orders.shape[1] != n_maps:
            raise ValueError(
                f"orders have shape {orders.shape} and signs {signs.shape}, expected both "
                f"(shuffles, {n_maps})"
            )
        if orders.size and not (orders.min() >= 0 and orders.max() < n_maps):
            raise ValueError(f"orders name design rows 0 to {n_maps - 1}")
        design = self._parts
        return _run(
            design.basis,
            design.groups,
            design.contrast,
            design.roots,
            design.parts,
            design.group_dof,
            design.dof,
            residuals,
            np.ascontiguousarray(orders),
            np.ascontiguousarray(signs),
        )
