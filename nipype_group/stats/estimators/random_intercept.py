"""Random intercepts of participants by restricted likelihood, exact at every voxel.

y = X b + Z u + e, a column of Z a participant (family, site), Var(u) = g s, Var(e) = s. The
restricted likelihood depends on the data through g alone, one number a voxel: it is looked at on a
grid, which finds the basin, and its score is brought to 0 by Newton's steps inside a bracket.
g = 0, the boundary, is where no g above it is likelier; such voxels are counted.

``fit_random_intercept(model, groups, read, n_voxels, dof)`` gives a `RandomFit`, whose
``components`` are varResidual, varIntercept, intraclassCorrelation and boundary. Degrees of
freedom are Kenward and Roger's, whose adjusted variance is that of t and F, or Satterthwaite's
with the plain variance. At the boundary the former count the component as estimated, the latter do
not.
"""

import math

import numba
import numpy as np

from nipype_group.stats.elementary import log
from nipype_group.stats.estimators.random_blocks import RandomBlocks
from nipype_group.stats.estimators.random_fit import RandomFit, RandomStructure, VoxelFits
from nipype_group.stats.estimators.satterthwaite import rows_stat_dof
from nipype_group.stats.estimators.small_matrices import (
    bilinear,
    factorise,
    invert_factorised,
    multiply_small,
    product_trace,
    solve_backward,
    solve_forward,
)
from nipype_group.stats.linear.least_squares import LinearModel, ReadVoxels, is_rounding

# Ratios of variances of a participant's mean that the restricted likelihood is looked at.
_GRID = np.array([0.0, *(0.01 * 2.0 ** np.arange(12)), *(100.0 * 4.0 ** np.arange(11))])
_MOST_STEPS = 100
_ENOUGH = 1e-13


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _tabulate(grid, size, count, sums, within, lower, fixed):
    """Write the triangle of X'V^-1X and the determinants of every g of the grid."""
    n_kinds, r = len(size), len(within)
    matrix = np.empty((r, r))
    for j in range(len(grid)):
        matrix[:] = within
        product, fixed[j] = 1.0, 0.0
        for k in range(n_kinds):
            weight = 1.0 / (1.0 + size[k] * grid[j])
            fixed[j] -= count[k] * math.log(weight)
            matrix += weight * sums[k, 0]
        if not factorise(matrix, lower[j]):
            fixed[j] = np.inf
            continue
        for i in range(r):
            product *= lower[j, i, i]
        fixed[j] += 2.0 * math.log(product)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _quadratic_forms(grid, size, lower, within, squares, products, found):
    """Write y'Py of every g of the grid, shape (v, J)."""
    n_kinds, r = len(size), lower.shape[1]
    vector = np.empty(r)
    for v in range(len(found)):
        for j in range(len(grid)):
            total = within[v]
            vector[:] = 0.0
            for k in range(n_kinds):
                weight = 1.0 / (1.0 + size[k] * grid[j])
                total += weight * squares[v, k, 0]
                # I - K^-1, as the residuals of least squares are orthogonal to the design.
                less = weight - 1.0
                for i in range(r):
                    vector[i] += less * products[v, k, 0, i]
            solve_forward(lower[j], vector)
            for i in range(r):
                total -= vector[i] * vector[i]
            found[v, j] = total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _weigh(g, size, count, sums, squares, products, matrices, vectors):
    """Add the kinds of blocks to X'V^-1X and X'V^-1e, and to their derivatives by g.

    Returns e'V^-1e but for what is within, log |V|, and the derivatives of both.
    """
    matrix, _, first, second, _ = matrices
    vector, by_g, _, twice = vectors
    q0, q1, q2, trace1, trace2 = 0.0, 0.0, 0.0, 0.0, 0.0
    r = len(matrix)
    for k in range(len(size)):
        w = 1.0 / (1.0 + size[k] * g)
        w1 = -size[k] * w * w
        w2 = -2.0 * size[k] * w * w1
        for i in range(r):
            for j in range(i + 1):
                value = sums[k, 0, i, j]
                matrix[i, j] += w * value
                first[i, j] += w1 * value
                second[i, j] += w2 * value
            value = products[k, 0, i]
            # The residuals of least squares are orthogonal to the design.
            vector[i] += (w - 1.0) * value
            by_g[i] += w1 * value
            twice[i] += w2 * value
        q0 += w * squares[k, 0]
        q1 += w1 * squares[k, 0]
        q2 += w2 * squares[k, 0]
        trace1 += count[k] * size[k] * w
        trace2 -= count[k] * size[k] * w * size[k] * w
    for i in range(r):
        for j in range(i):
            first[j, i], second[j, i] = first[i, j], second[i, j]
    return q0, q1, q2, trace1, trace2


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _derivatives(g, dof, size, count, sums, within, own_within, squares, products, work, found):
    """Write y'Py, its first two derivatives, and those of -2 log likelihood but for s, by g.

    found gets y'Py, derivative over it, score, observed second derivative with s held, and with
    s at its best; ``work`` holds matrices of shape (5, r, r) and vectors of shape (4, r), of which
    the second matrix is (X'V^-1X)^-1 and the first vector the betas. Returns whether all is well.
    """
    matrices, vectors = work
    matrix, phi, first, second, lower = matrices
    beta, by_g, slope, twice = vectors
    matrix[:] = within
    first[:], second[:], vectors[:] = 0.0, 0.0, 0.0
    q0, q1, q2, trace1, trace2 = _weigh(g, size, count, sums, squares, products, matrices, vectors)
    q0 += own_within
    if not factorise(matrix, lower):
        return False
    invert_factorised(lower, phi)
    solve_forward(lower, beta)
    r = len(within)
    for i in range(r):
        q0 -= beta[i] * beta[i]
    solve_backward(lower, beta)
    # Of the least of a quadratic function of the betas.
    for i in range(r):
        slope[i] = -by_g[i]
        q1 -= 2.0 * beta[i] * by_g[i]
        q2 -= 2.0 * beta[i] * twice[i]
        for j in range(r):
            slope[i] += first[i, j] * beta[j]
    q1 += bilinear(beta, first, beta)
    q2 += bilinear(beta, second, beta) - 2.0 * bilinear(slope, phi, slope)
    trace1 += product_trace(phi, first)
    trace2 += product_trace(phi, second)
    multiply_small(phi, first, second)
    for i in range(r):
        for j in range(r):
            trace2 -= second[i, j] * second[j, i]
    share = q1 / q0
    found[0], found[1] = q0, share
    found[2] = dof * share + trace1
    found[3] = dof * q2 / q0 + trace2
    found[4] = found[3] - dof * share * share
    return True


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _search(low, high, dof, size, count, sums, within, own, squares, products, work, found):
    """Return the g between two whose score is 0, by Newton's steps that stay between them."""
    # Scores are negative below it and positive above it; a step that leaves the bracket halves it.
    g = np.sqrt(low * high) if low > 0.0 else 0.5 * high
    for _ in range(_MOST_STEPS):
        if not _derivatives(
            g, dof, size, count, sums, within, own, squares, products, work, found
        ):
            return -1.0
        if found[2] == 0.0:
            return g
        if found[2] < 0.0:
            low = g
        else:
            high = g
        step = found[2] / found[4] if found[4] > 0.0 else np.inf
        next_g = g - step
        if not low < next_g < high:
            next_g = np.sqrt(low * high) if low > 0.0 else 0.5 * high
        if abs(next_g - g) <= _ENOUGH * g:
            return g
        g = next_g
    return g


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _criterion(dof, q0, g, size, count, lower):
    """Return -2 log restricted likelihood but for a constant."""
    total = dof * math.log(q0)
    for k in range(len(size)):
        total += count[k] * math.log(1.0 + size[k] * g)
    for i in range(len(lower)):
        total += 2.0 * math.log(lower[i, i])
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _estimate(grid, criteria, dof, size, count, sums, within, owns, squares, products, results):
    """Write ratio, y'Py, curvatures and betas of every voxel; see `_fit`."""
    ratio, form, share, curvature, criterion, betas = results
    r = len(within)
    work = np.empty((5, r, r)), np.empty((4, r))
    found, last = np.empty(5), len(grid) - 1
    for v in range(len(ratio)):
        own = owns[v], squares[v], products[v]
        best = np.inf
        for j in range(last + 1):
            left = criteria[v, j - 1] if j else np.inf
            right = criteria[v, j + 1] if j < last else np.inf
            if not (criteria[v, j] <= left and criteria[v, j] <= right):
                continue
            g = grid[j]
            low, high = grid[max(j - 1, 0)], grid[min(j + 1, last)]
            at_edge = _derivatives(
                g, dof, size, count, sums, within, own[0], own[1], own[2], work, found
            )
            if j == 0 and found[2] >= 0.0:
                high = 0.0
            if j == last and found[2] <= 0.0:
                low = high
            if high > low and at_edge:
                g = _search(
                    low,
                    high,
                    dof,
                    size,
                    count,
                    sums,
                    within,
                    own[0],
                    own[1],
                    own[2],
                    work,
                    found,
                )
            if g < 0.0 or not found[0] > 0.0:
                continue
            value = _criterion(dof, found[0], g, size, count, work[0][4])
            if value < best:
                best, criterion[v], ratio[v], form[v] = value, value, g, found[0]
                share[v], curvature[v] = found[1], found[3]
                betas[v] = work[1][0]


def _fit(blocks: RandomBlocks, data: np.ndarray) -> VoxelFits:
    """Fit voxels without gaps."""
    start, within, squares, products = blocks.data_sums(data)
    squares = np.ascontiguousarray(squares.transpose(2, 0, 1))
    products = np.ascontiguousarray(products.transpose(3, 0, 1, 2))
    total = within + squares[:, :, 0].sum(axis=1)
    alive = (total > 0) & ~is_rounding(total, data)
    within = np.where(alive, within, 1.0)
    n_voxels, r = len(within), len(blocks.within)
    size = np.square(blocks.scale[:, 0, 0])
    grid = _GRID / size.max()
    lower, fixed = np.empty((len(grid), r, r)), np.empty(len(grid))
    _tabulate(grid, size, blocks.count, blocks.sums, blocks.within, lower, fixed)
    forms = np.empty((n_voxels, len(grid)))
    _quadratic_forms(grid, size, lower, within, squares, products, forms)
    dof = float(blocks.model.dof)
    criteria = dof * log(np.maximum(forms, 0.0)) + fixed
    found = np.zeros((5, n_voxels))
    betas = np.zeros((n_voxels, r))
    _estimate(
        grid,
        criteria,
        dof,
        size,
        blocks.count,
        blocks.sums,
        blocks.within,
        within,
        squares,
        products,
        (*found, betas),
    )
    ratio, form, share, curvature, criterion = np.where(alive, found, 0.0)
    return VoxelFits(
        np.where(alive, betas.T + start, 0.0),
        form / dof,
        ratio[:, None, None],
        np.stack([share, curvature]),
        criterion + dof * (1 + log(2 * np.pi / dof)),
        ratio == 0,
    )


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _satterthwaite(rows, betas, variance, ratio, curvatures, dof, blocks, covariance, stat, out):
    """Write covariance, t or F, and dof of every voxel."""
    size, sums, within = blocks
    r = len(within)
    matrix, lower, phi = np.empty((3, r, r))
    first, vcov = np.empty((1, r, r)), np.empty((2, 2))
    for v in range(len(variance)):
        stat[v] = out[v] = 0.0
        s, g = variance[v], ratio[v]
        if not s > 0.0:
            continue
        matrix[:] = within
        first[:] = 0.0
        for k in range(len(size)):
            w = 1.0 / (1.0 + size[k] * g)
            for i in range(r):
                for j in range(r):
                    matrix[i, j] += w * sums[k, 0, i, j]
                    first[0, i, j] -= size[k] * w * w * sums[k, 0, i, j]
        if not factorise(matrix, lower):
            continue
        invert_factorised(lower, phi)
        # Observed information of s and g, twice.
        one, both, two = dof / (s * s), -dof * curvatures[0, v] / s, curvatures[1, v]
        determinant = one * two - both * both
        vcov[:] = 0.0
        if g > 0.0:
            if not determinant > 0.0:
                continue
            vcov[0, 0], vcov[1, 1] = 2.0 * two / determinant, 2.0 * one / determinant
            vcov[0, 1] = vcov[1, 0] = -2.0 * both / determinant
        stat[v], out[v] = rows_stat_dof(rows, betas[v], phi, first, s, vcov, dof, covariance[v])


def _own_dof(blocks: RandomBlocks, rows: np.ndarray, fits: VoxelFits) -> tuple[np.ndarray, ...]:
    """Return covariance, t or F, and Satterthwaite's dof of rows over the basis."""
    n_voxels, q = len(fits.variance), len(rows)
    covariance = np.zeros((n_voxels, q, q))
    stat, dof = np.empty((2, n_voxels))
    parts = np.square(blocks.scale[:, 0, 0]), blocks.sums, blocks.within
    _satterthwaite(
        np.ascontiguousarray(rows),
        np.ascontiguousarray(fits.betas.T),
        fits.variance,
        np.ascontiguousarray(fits.psi[:, 0, 0]),
        np.ascontiguousarray(fits.curvatures),
        float(blocks.model.dof),
        parts,
        covariance,
        stat,
        dof,
    )
    return covariance, stat, dof


# What random intercepts are fitted by.
RANDOM_INTERCEPT = RandomStructure(_fit, _own_dof, np.ones((1, 1, 1)), 2)


def fit_random_intercept(
    model: LinearModel,
    groups: np.ndarray,
    read: ReadVoxels,
    n_voxels: int,
    dof: str = "kenward-roger",
) -> RandomFit:
    """Fit random intercepts at every voxel.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    groups : int array, shape (n,)
        Participant (family, site) of every map.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
        Voxels in the mask.
    dof : {"kenward-roger", "satterthwaite"}

    Returns
    -------
    RandomFit

    Raises
    ------
    ValueError
        Where the maps do not tell the variance between participants from that within.

    Examples
    --------
    With equal numbers of maps the mean squares between and within tell the variances.

    >>> data = np.array([[1.0], [2], [4], [3], [7], [6]])
    >>> mean = LinearModel(np.ones((6, 1)), ("mean",))
    >>> groups = np.array([0, 0, 1, 1, 2, 2])
    >>> fit = fit_random_intercept(mean, groups, lambda a, b: data[:, a:b], 1)
    >>> [fit.components[name].round(4).tolist() for name in ("varResidual", "varIntercept")]
    [[0.5], [6.0833]]
    >>> found = fit.contrast(np.array([[1.0]]), "t")
    >>> found.variance.round(4).tolist(), found.dof.round(4).tolist()
    ([2.1111], [2.0])
    """
    return RandomFit.of(model, groups, None, RANDOM_INTERCEPT, read, n_voxels, dof)
