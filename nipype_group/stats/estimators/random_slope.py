"""Random intercepts and slopes of participants by restricted likelihood at every voxel.

y = X b + Z u + e, Z the ones and the times of each participant, Var(u) = s Psi, Var(e) = s. Psi is
L L', L the lower triangle of Cholesky with elements a, b, c; b is 0 where intercept and slope are
uncorrelated. The restricted likelihood, s at its best, is looked at on a grid of Psi; from each
of its hollows Newton's steps in a, b and c follow its exact derivatives, damped where it is not
convex (Levenberg 1944, Marquardt 1963). It is even in c, so a singular Psi is no edge to steps;
where c comes to 0 the fit is refined with Psi = v v' alone, and the likeliest of all is kept.

``fit_random_slope(model, groups, times, read, n_voxels, correlated, dof)`` gives a `RandomFit`,
whose ``components`` are varResidual, varIntercept, covInterceptSlope, varSlope (of the times as
they are given) and boundary, where Psi is singular. Degrees of freedom are as of random
intercepts; those of Satterthwaite are of the elements of L that are not 0.
"""

import math

import numba
import numpy as np

from nipype_group.stats.elementary import log
from nipype_group.stats.estimators.kenward_roger import (
    add_pair_traces,
    block_inverse,
    write_pairs,
)
from nipype_group.stats.estimators.random_blocks import COLUMNS_OF_VECTORS, RandomBlocks
from nipype_group.stats.estimators.random_fit import RandomFit, RandomStructure, VoxelFits
from nipype_group.stats.estimators.satterthwaite import rows_stat_dof
from nipype_group.stats.estimators.small_matrices import (
    factorise,
    invert_factorised,
    multiply_small,
    solve_backward,
    solve_forward,
)
from nipype_group.stats.linear.least_squares import LinearModel, ReadVoxels, is_rounding
from nipype_group.stats.matrix_products import add_product, multiply

# Psi of an average participant's effects that the restricted likelihood is looked at: variances
# and correlations.
_VARIANCES = (0.02, 0.2, 1.0, 5.0, 25.0, 250.0)
_CORRELATIONS = (-0.9, 0.0, 0.9)
_MOST_STEPS = 1000
# Change of -2 log likelihood that rounding makes, over its dof, that no step is made for, and
# that makes a step of Newton's the last one: what it leaves is as the square of it.
_ROUNDING, _NONE, _LAST = 1e-14, 1e-19, 1e-14
# Elements of L, of an average participant, that are 0.
_NOTHING = 1e-4
_CORRELATED = np.array([[[1.0, 0], [0, 0]], [[0, 1], [1, 0]], [[0, 0], [0, 1]]])
_UNCORRELATED = _CORRELATED[[0, 2]]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _tabulate(grid, scale, count, sums, within, inverses, lower, fixed):
    """Write (I + T Psi T')^-1 of kinds, the triangle of X'V^-1X and determinants, by grid."""
    r = len(within)
    matrix, inverse = np.empty((r, r)), np.empty((2, 2))
    for j in range(len(grid)):
        matrix[:] = within
        fixed[j] = 0.0
        for k in range(len(count)):
            fixed[j] += count[k] * math.log(block_inverse(scale[k], grid[j], inverse))
            inverses[j, k, 0], inverses[j, k, 1] = inverse[0, 0], inverse[0, 1]
            inverses[j, k, 2] = inverse[1, 1]
            for pair in range(3):
                matrix += inverses[j, k, pair] * sums[k, pair]
        if not factorise(matrix, lower[j]):
            fixed[j] = np.inf
            continue
        for i in range(r):
            fixed[j] += 2.0 * math.log(lower[j, i, i])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _less_fitted(lower, vectors, forms):
    """Take what the design explains from e'V^-1e of every Psi of the grid, shape (J, v)."""
    r = lower.shape[1]
    vector = np.empty(r)
    for j in range(len(forms)):
        for v in range(forms.shape[1]):
            for i in range(r):
                vector[i] = vectors[j, i, v]
            solve_forward(lower[j], vector)
            for i in range(r):
                forms[j, v] -= vector[i] * vector[i]


def _quadratic_forms(inverses, lower, within, squares, products):
    """Return y'Py of every Psi of the grid, shape (J, v).

    squares, shape (3 K, v), and products, shape (3 K, r, v), are those of the data.
    """
    n_rows, r, n_voxels = products.shape
    weights = inverses.reshape(len(inverses), n_rows)
    forms = within + multiply(weights, squares)
    less = (inverses - [1.0, 0.0, 1.0]).reshape(len(inverses), n_rows)
    vectors = multiply(less, products.reshape(n_rows, r * n_voxels))
    _less_fitted(lower, vectors.reshape(-1, r, n_voxels), forms)
    return forms


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _turn_kinds(psi, scale, count, weights, traces, trace_pairs):
    """Write what the kinds of blocks are at Psi, and return log |V|.

    weights, shape (3 K, 16), gets a row for each of the elements 11, 12 and 22 of every kind, in
    2 + d + d (d + 1) / 2 columns: those of R = (I + T Psi T')^-1; of R - I; of the symmetric parts
    of R J_a R and, b <= a, of R J_a R J_b R, where J_a = T B_a T'. traces and trace_pairs get the
    derivatives of log |V|.
    """
    d, inverse, total = len(traces), np.empty((2, 2)), 0.0
    last = d - 1
    traces[:], trace_pairs[:] = 0.0, 0.0
    for k in range(len(count)):
        n = count[k]
        total += n * math.log(block_inverse(scale[k], psi, inverse))
        one, off, two = inverse[0, 0], inverse[0, 1], inverse[1, 1]
        # T has the columns (a, 0) and (b, c), and R T the columns u and w.
        a, b, c = scale[k, 0, 0], scale[k, 0, 1], scale[k, 1, 1]
        u0, u1, w0, w1 = one * a, off * a, one * b + off * c, off * b + two * c
        # T'R T.
        g = a * u0, a * w0, b * w0 + c * w1
        zeroth = (one, off, two)
        uu, ww = (u0 * u0, u0 * u1, u1 * u1), (w0 * w0, w0 * w1, w1 * w1)
        uw = (u0 * w0, 0.5 * (u0 * w1 + u1 * w0), u1 * w1)
        traces[0] += n * g[0]
        traces[last] += n * g[2]
        add_pair_traces(-n, g, trace_pairs)
        for i in range(3):
            own = weights[3 * k + i]
            own[0] = zeroth[i]
            own[1] = zeroth[i] if i == 1 else zeroth[i] - 1.0
            own[2], own[2 + last] = uu[i], ww[i]
            write_pairs(g, (uu[i], uw[i], ww[i]), d, own, 2 + d)
            if d == 3:
                own[3] = 2.0 * uw[i]
        if d == 3:
            traces[1] += 2.0 * n * g[1]
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_kinds(table, beside, d, weights, totals, matrices, vectors):
    """Write X'V^-1X and X'V^-1e, and what their derivatives are less; return e'V^-1e."""
    totals[:] = 0.0
    for i in range(len(beside)):
        totals[0, i] = beside[i]
    # Three rows a kind, one after the other: a third of the traffic of the sum.
    for row in range(0, len(table), 3):
        one, two, three = table[row], table[row + 1], table[row + 2]
        for a in range(2 + d):
            first, off, last = weights[row, a], weights[row + 1, a], weights[row + 2, a]
            own = totals[a]
            for i in range(table.shape[1]):
                own[i] = ((own[i] + first * one[i]) + off * two[i]) + last * three[i]
    r = matrices.shape[1]
    first = r * (r + 1) // 2
    for a in range(d + 1):
        # The residuals of least squares are orthogonal to the design, so that R - I does for R.
        at, own = 0, totals[a + 1]
        for i in range(r):
            vectors[a, i] = own[first + i]
        own = totals[0] if a == 0 else own
        for i in range(r):
            for j in range(i + 1):
                matrices[a, i, j] = matrices[a, j, i] = own[at]
                at += 1
    return totals[0, first + r]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _contract(columns, beta, phi, weights, work, by, by_pairs, logs, log_pairs):
    """Add the derivatives of y'Py with the betas held, and of log |X'V^-1X| of the first kind."""
    each, totals = work
    d, r = len(by), len(beta)
    each[:], at = 0.0, 0
    for i in range(r):
        for j in range(i + 1):
            times = 1.0 if i == j else 2.0
            add_product(times * beta[i] * beta[j], columns[at], each[0])
            add_product(times * phi[i, j], columns[at], each[1])
            at += 1
    for i in range(r):
        add_product(-2.0 * beta[i], columns[at + i], each[0])
    add_product(1.0, columns[at + r], each[0])
    totals[:] = 0.0
    for row in range(0, len(weights), 3):
        one, two, three = weights[row], weights[row + 1], weights[row + 2]
        for part in range(2):
            first, off, last = each[part, row], each[part, row + 1], each[part, row + 2]
            own = totals[part]
            for i in range(weights.shape[1]):
                own[i] = ((own[i] + first * one[i]) + off * two[i]) + last * three[i]
    at = 2 + d
    for a in range(d):
        by[a] = -totals[0, 2 + a]
        logs[a] -= totals[1, 2 + a]
        for b in range(a + 1):
            by_pairs[a, b] = 2.0 * totals[0, at]
            log_pairs[a, b] += 2.0 * totals[1, at]
            at += 1


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _evaluate(psi, dof, blocks, data, work, found):
    """Return -2 log restricted likelihood but for a constant, s at its best; inf where it is none.

    ``found``, three arrays, get: y'Py and its derivatives over it, shape (1 + d,); the score,
    shape (d,); the second derivatives with s held, shape (d, d). work[2][0] gets the betas.
    """
    scale, count = blocks
    table, columns, beside = data
    weights, matrices, vectors, log_pairs, by_pairs, turned, totals, contracted = work
    shares, score, curvature = found
    d, beta, slope = len(score), vectors[0], vectors[-1]
    lower, phi = matrices[-2], matrices[-1]
    logs, by = score, shares[1:]
    value = _turn_kinds(psi, scale, count, weights, logs, log_pairs)
    form = _add_kinds(table, beside, d, weights, totals, matrices, vectors)
    if not factorise(matrices[0], lower):
        return np.inf
    invert_factorised(lower, phi)
    solve_forward(lower, beta)
    for i in range(len(beta)):
        form -= beta[i] * beta[i]
        value += 2.0 * math.log(lower[i, i])
    if not form > 0.0:
        return np.inf
    solve_backward(lower, beta)
    _contract(columns, beta, phi, weights, contracted, by, by_pairs, logs, log_pairs)
    for a in range(d):
        # Derivatives of X'V^-1X are -matrices, those of X'V^-1e -vectors.
        multiply_small(phi, matrices[a + 1], turned[a])
        for i in range(len(beta)):
            for j in range(len(beta)):
                vectors[a + 1, i] -= matrices[a + 1, i, j] * beta[j]
    shares[0] = form
    for a in range(d):
        for i in range(len(slope)):
            slope[i] = 0.0
            for j in range(len(slope)):
                slope[i] += phi[i, j] * vectors[a + 1, j]
        for b in range(a + 1):
            across, trace = 0.0, 0.0
            for i in range(len(slope)):
                across += slope[i] * vectors[b + 1, i]
                for j in range(len(slope)):
                    trace += turned[a, i, j] * turned[b, j, i]
            second = (by_pairs[a, b] - 2.0 * across) / form
            curvature[a, b] = curvature[b, a] = dof * second + log_pairs[a, b] - trace
    for a in range(d):
        by[a] /= form
        score[a] = dof * by[a] + logs[a]
    return value + dof * math.log(form)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _psi_of(triangle, psi):
    """Write L L' of a, b and c."""
    a, b, c = triangle
    psi[0, 0], psi[1, 1] = a * a, b * b + c * c
    psi[0, 1] = psi[1, 0] = a * b


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _by_triangle(triangle, correlated, jacobian):
    """Write the derivatives of the components of Psi by a, b and c, shape (d, 3)."""
    a, b, c = triangle
    jacobian[:] = 0.0
    last = len(jacobian) - 1
    jacobian[0, 0], jacobian[last, 2] = 2.0 * a, 2.0 * c
    if correlated:
        jacobian[1, 0], jacobian[1, 1], jacobian[2, 1] = b, a, 2.0 * b


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _turn_derivatives(triangle, dof, found, jacobian, gradient, profile, held):
    """Write gradient and second derivatives by a, b and c, with s at its best and held."""
    shares, score, curvature = found
    d = len(score)
    _by_triangle(triangle, d == 3, jacobian)
    for i in range(3):
        gradient[i] = 0.0
        for a in range(d):
            gradient[i] += jacobian[a, i] * score[a]
        for j in range(3):
            profile[i, j] = held[i, j] = 0.0
            for a in range(d):
                for b in range(d):
                    share = dof * shares[a + 1] * shares[b + 1]
                    weight = jacobian[a, i] * jacobian[b, j]
                    held[i, j] += weight * curvature[a, b]
                    profile[i, j] += weight * (curvature[a, b] - share)
    # Psi is quadratic in a, b and c.
    for matrix in (held, profile):
        matrix[0, 0] += 2.0 * score[0]
        matrix[2, 2] += 2.0 * score[d - 1]
        if d == 3:
            matrix[0, 1] += score[1]
            matrix[1, 0] += score[1]
            matrix[1, 1] += 2.0 * score[2]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _damped_step(free, gradient, matrix, damping, small, lower, step):
    """Write -(matrix + damping)^-1 gradient of the free elements; return the expected change.

    The change is positive where the damped matrix is not positive definite.
    """
    n = 0
    for i in range(3):
        if free[i]:
            step[n] = -gradient[i]
            at = 0
            for j in range(3):
                if free[j]:
                    small[n, at] = matrix[i, j]
                    at += 1
            small[n, n] += damping
            n += 1
    if not factorise(small[:n, :n], lower):
        return 1.0
    solve_forward(lower, step[:n])
    solve_backward(lower, step[:n])
    change, at = 0.0, n
    for i in range(2, -1, -1):
        if free[i]:
            at -= 1
            step[i] = step[at]
            change += 0.5 * gradient[i] * step[i]
        else:
            step[i] = 0.0
    return change


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _descend(triangle, free, dof, blocks, data, work, found, turning):
    """Bring -2 log restricted likelihood to a minimum, from a triangle on; return it."""
    jacobian, gradient, profile, held, psi, small, lower, step, other = turning
    _psi_of(triangle, psi)
    value = _evaluate(psi, dof, blocks, data, work, found)
    # Whether Newton's own step is tried before the damping has gone.
    damping, ready, foreseen, tries = 0.0, False, False, True
    for _ in range(_MOST_STEPS):
        if not ready:
            _turn_derivatives(triangle, dof, found, jacobian, gradient, profile, held)
            ready = True
        largest = 0.0
        for i in range(3):
            largest = max(largest, abs(profile[i, i]))
        kept = damping
        if foreseen and tries:
            damping = 0.0
        change = _damped_step(free, gradient, profile, damping, small, lower, step)
        if change > 0.0 and damping < kept:
            damping = kept
            change = _damped_step(free, gradient, profile, damping, small, lower, step)
        if change > 0.0:
            damping = max(4.0 * damping, 1e-3 * largest)
            continue
        if damping == 0.0 and -change <= _NONE * dof:
            return value
        for i in range(3):
            other[i] = triangle[i] + step[i]
        _psi_of(other, psi)
        there = _evaluate(psi, dof, blocks, data, work, found)
        if there <= value + _ROUNDING * dof:
            foreseen = value - there >= -0.5 * change
            triangle[:], value, ready = other, there, False
            if damping == 0.0 and -change <= _LAST * dof:
                return value
            damping = 0.25 * damping if damping > 1e-6 * largest else 0.0
        else:
            if -change <= _ROUNDING * dof:
                break
            # Along a valley that bends they would be rejected again and again.
            tries, foreseen = tries and damping == kept, False
            damping = max(4.0 * kept, 1e-3 * largest)
    _psi_of(triangle, psi)
    return _evaluate(psi, dof, blocks, data, work, found)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _is_hollow(criteria, shape, j):
    """Tell whether a point of the grid is no higher than those beside it."""
    stride = 1
    for axis in range(len(shape) - 1, -1, -1):
        at = (j // stride) % shape[axis]
        if at > 0 and criteria[j - stride] < criteria[j]:
            return False
        if at < shape[axis] - 1 and criteria[j + stride] < criteria[j]:
            return False
        stride *= shape[axis]
    return criteria[j] < np.inf


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _settle(triangle, value, least, dof, blocks, data, work, found, turning):
    """Refine a fit whose Psi is all but singular with what is 0 of it held there."""
    correlated = len(found[1]) == 3
    a, b, c = triangle
    free = np.ones(3, dtype=np.bool_)
    free[1] = correlated
    if correlated:
        if abs(c) > least and abs(a) > least:
            return value
        triangle[2], free[2] = 0.0, False
        if abs(a) <= least:
            triangle[1] = np.sqrt(b * b + c * c)
            if triangle[1] <= least:
                triangle[:], free[:] = 0.0, False
    else:
        for i in (0, 2):
            if abs(triangle[i]) <= least:
                triangle[i], free[i] = 0.0, False
        if free[0] and free[2]:
            return value
    return _descend(triangle, free, dof, blocks, data, work, found, turning)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _workspace(d, r, n_rows, width):
    """Return the arrays that `_evaluate` and `_descend` work in."""
    n_weights = COLUMNS_OF_VECTORS
    work = (
        np.zeros((n_rows, n_weights)),
        np.empty((d + 3, r, r)),
        np.empty((d + 2, r)),
        np.empty((d, d)),
        np.empty((d, d)),
        np.empty((d, r, r)),
        np.empty((2 + d, width)),
        (np.empty((2, n_rows)), np.empty((2, n_weights))),
    )
    found = np.empty(d + 1), np.empty(d), np.empty((d, d))
    turning = (
        np.empty((d, 3)),
        np.empty(3),
        np.empty((3, 3)),
        np.empty((3, 3)),
        np.empty((2, 2)),
        np.empty((3, 3)),
        np.empty((3, 3)),
        np.empty(3),
        np.empty(3),
    )
    return work, found, turning


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _estimate(starts, shape, criteria, least, dof, blocks, packed, owns, results):
    """Write Psi, y'Py, curvatures, criterion and betas of every voxel; see `_fit`."""
    triangles, form, curvatures, criterion, betas = results
    within, squares, products = owns
    table, beside = packed
    r, d = betas.shape[1], 2 if shape[2] == 1 else 3
    first = len(beside) - r - 1
    columns = np.ascontiguousarray(table.T)
    work, found, turning = _workspace(d, r, len(table), table.shape[1])
    data = table, columns, beside
    free, triangle = np.ones(3, dtype=np.bool_), np.empty(3)
    free[1] = d == 3
    for v in range(len(form)):
        beside[first + r] = within[v]
        for row in range(len(table)):
            for i in range(r):
                table[row, first + i] = columns[first + i, row] = products[row, i, v]
            table[row, first + r] = columns[first + r, row] = squares[row, v]
        best = np.inf
        for j in range(len(starts)):
            if not _is_hollow(criteria[:, v], shape, j):
                continue
            triangle[:] = starts[j]
            value = _descend(triangle, free, dof, blocks, data, work, found, turning)
            value = _settle(triangle, value, least, dof, blocks, data, work, found, turning)
            if value < best - _ROUNDING * dof:
                best, criterion[v], form[v] = value, value, found[0][0]
                triangles[v], betas[v] = triangle, work[2][0]
                _turn_derivatives(
                    triangle, dof, found, turning[0], turning[1], turning[2], turning[3]
                )
                _keep(found[0], turning[0], turning[3], curvatures[v])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _keep(shares, jacobian, held, curvatures):
    """Write derivatives of y'Py over it, and second ones with s held, by a, b and c."""
    for i in range(3):
        curvatures[i] = 0.0
        for a in range(len(jacobian)):
            curvatures[i] += jacobian[a, i] * shares[a + 1]
        for k in range(3):
            curvatures[3 + 3 * i + k] = held[i, k]


def _grid(unit: float, correlated: bool) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return the triangles that are looked at, and the shape of their grid."""
    correlations = _CORRELATIONS if correlated else (0.0,)
    roots = np.sqrt(np.array(_VARIANCES) / unit)
    triangles = [
        (one, other * c, other * np.sqrt(1 - c * c))
        for one in roots
        for other in roots
        for c in correlations
    ]
    return np.array(triangles), (len(roots), len(roots), len(correlations))


def _fit(blocks: RandomBlocks, data: np.ndarray, directions: np.ndarray) -> VoxelFits:
    """Fit voxels without gaps."""
    start, within, squares, products = blocks.data_sums(data)
    total = within + squares[:, 0].sum(axis=0) + squares[:, 2].sum(axis=0)
    alive = (total > 0) & ~is_rounding(total, data)
    within = np.where(alive, within, 1.0)
    n_kinds, n_voxels, r = len(squares), len(within), len(blocks.within)
    squares = squares.reshape(-1, n_voxels)
    products = products.reshape(-1, r, n_voxels)
    # Maps of an average participant.
    unit = len(blocks.order) / blocks.count.sum()
    triangles, shape = _grid(unit, len(directions) == 3)
    psi = np.empty((len(triangles), 2, 2))
    for own, triangle in zip(psi, triangles, strict=True):
        _psi_of(triangle, own)
    inverses, fixed = np.empty((len(psi), n_kinds, 3)), np.empty(len(psi))
    lower = np.empty((len(psi), r, r))
    design = blocks.sums, blocks.within
    _tabulate(psi, blocks.scale, blocks.count, *design, inverses, lower, fixed)
    forms = _quadratic_forms(inverses, lower, within, squares, products)
    dof = float(blocks.model.dof)
    criteria = dof * log(np.maximum(forms, 0.0)) + fixed[:, None]
    found = (
        np.zeros((n_voxels, 3)),
        np.zeros(n_voxels),
        np.zeros((n_voxels, 12)),
        np.zeros(n_voxels),
    )
    betas = np.zeros((n_voxels, r))
    _estimate(
        triangles,
        shape,
        criteria,
        _NOTHING / np.sqrt(unit),
        dof,
        (blocks.scale, blocks.count),
        blocks.packed(1 + r),
        (within, squares, products),
        (*found, betas),
    )
    triangles, form, curvatures, criterion = found
    psi = np.empty((n_voxels, 2, 2))
    psi[:, 0, 0] = np.square(triangles[:, 0])
    psi[:, 0, 1] = psi[:, 1, 0] = triangles[:, 0] * triangles[:, 1]
    psi[:, 1, 1] = np.square(triangles[:, 1]) + np.square(triangles[:, 2])
    return VoxelFits(
        np.where(alive, betas.T + start, 0.0),
        np.where(alive, form / dof, 0.0),
        np.where(alive[:, None, None], psi, 0.0),
        np.where(alive, np.vstack([triangles.T, curvatures.T]), 0.0),
        np.where(alive, criterion + dof * (1 + log(2 * np.pi / dof)), 0.0),
        (triangles[:, [0, 2]] == 0).any(axis=1),
    )


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _covary(triangle, variance, dof, shares, held, vcov):
    """Write the covariance of s, a, b and c, 0 of those that are 0; False where it is none."""
    info, lower, inverse = np.zeros((3, 4, 4))
    at = np.zeros(4, dtype=np.int64)
    n = 1
    for i in range(3):
        if triangle[i] != 0.0:
            at[n] = i + 1
            n += 1
    for i in range(n):
        for j in range(n):
            if at[i] == 0 and at[j] == 0:
                info[i, j] = dof / (variance * variance)
            elif at[i] == 0 or at[j] == 0:
                info[i, j] = -dof * shares[max(at[i], at[j]) - 1] / variance
            else:
                info[i, j] = held[3 * (at[i] - 1) + at[j] - 1]
    if not factorise(info[:n, :n], lower):
        return False
    invert_factorised(lower[:n, :n], inverse[:n, :n])
    vcov[:] = 0.0
    for i in range(n):
        for j in range(n):
            vcov[at[i], at[j]] = 2.0 * inverse[i, j]
    return True


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _satterthwaite(
    rows, betas, variance, curvatures, dof, blocks, directions, covariance, stat, out
):
    """Write covariance, t or F, and dof of every voxel."""
    scale, sums, within = blocks
    d, r = len(directions), len(within)
    matrix, lower, phi = np.empty((3, r, r))
    components, derivatives = np.empty((d, r, r)), np.empty((3, r, r))
    jacobian, vcov, psi = np.empty((d, 3)), np.empty((4, 4)), np.empty((2, 2))
    inverse, one, other = np.empty((3, 2, 2))
    for v in range(len(variance)):
        stat[v] = out[v] = 0.0
        if not variance[v] > 0.0:
            continue
        triangle = curvatures[v, :3]
        _psi_of(triangle, psi)
        matrix[:] = within
        components[:] = 0.0
        for k in range(len(scale)):
            block_inverse(scale[k], psi, inverse)
            _add_pairs(inverse, 1.0, sums[k], matrix)
            for a in range(d):
                multiply_small(inverse, scale[k], one)
                multiply_small(one, directions[a], other)
                multiply_small(other, scale[k].T, one)
                multiply_small(one, inverse, other)
                _add_pairs(other, -1.0, sums[k], components[a])
        _by_triangle(triangle, d == 3, jacobian)
        derivatives[:] = 0.0
        for i in range(3):
            for a in range(d):
                derivatives[i] += jacobian[a, i] * components[a]
        if not factorise(matrix, lower):
            continue
        invert_factorised(lower, phi)
        if _covary(triangle, variance[v], dof, curvatures[v, 3:6], curvatures[v, 6:], vcov):
            stat[v], out[v] = rows_stat_dof(
                rows, betas[v], phi, derivatives, variance[v], vcov, dof, covariance[v]
            )


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_pairs(weight, sign, sums, total):
    one, two = sign * weight[0, 0], sign * weight[1, 1]
    off = sign * 0.5 * (weight[0, 1] + weight[1, 0])
    for i in range(len(total)):
        for j in range(len(total)):
            total[i, j] += one * sums[0, i, j]
            total[i, j] += off * sums[1, i, j]
            total[i, j] += two * sums[2, i, j]


def _own_dof(
    blocks: RandomBlocks, rows: np.ndarray, fits: VoxelFits, directions: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return covariance, t or F, and Satterthwaite's dof of rows over the basis."""
    n_voxels, q = len(fits.variance), len(rows)
    covariance = np.zeros((n_voxels, q, q))
    stat, dof = np.empty((2, n_voxels))
    _satterthwaite(
        np.ascontiguousarray(rows),
        np.ascontiguousarray(fits.betas.T),
        fits.variance,
        np.ascontiguousarray(fits.curvatures.T),
        float(blocks.model.dof),
        (blocks.scale, blocks.sums, blocks.within),
        directions,
        covariance,
        stat,
        dof,
    )
    return covariance, stat, dof


def random_slope(correlated: bool) -> RandomStructure:
    """Return what random intercepts and slopes are fitted by, correlated or not."""
    directions = _CORRELATED if correlated else _UNCORRELATED

    def fit(blocks: RandomBlocks, data: np.ndarray) -> VoxelFits:
        return _fit(blocks, data, directions)

    def own_dof(blocks: RandomBlocks, rows: np.ndarray, fits: VoxelFits) -> tuple:
        return _own_dof(blocks, rows, fits, directions)

    return RandomStructure(fit, own_dof, directions, 15)


def fit_random_slope(
    model: LinearModel,
    groups: np.ndarray,
    times: np.ndarray,
    read: ReadVoxels,
    n_voxels: int,
    correlated: bool = True,
    dof: str = "kenward-roger",
) -> RandomFit:
    """Fit random intercepts and slopes at every voxel.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    groups : int array, shape (n,)
        Participant (family, site) of every map.
    times : array, shape (n,)
        What slopes are random along; the intercept is that at 0.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
        Voxels in the mask.
    correlated : bool
        Whether intercept and slope may be correlated.
    dof : {"kenward-roger", "satterthwaite"}

    Returns
    -------
    RandomFit

    Raises
    ------
    ValueError
        Where the maps do not tell the variance components apart.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> times, groups = np.tile([0.0, 1, 2], 8), np.repeat(np.arange(8), 3)
    >>> own = rng.standard_normal((2, 8))[:, groups]
    >>> data = (own[0] + own[1] * times + 0.1 * rng.standard_normal(24))[:, None]
    >>> model = LinearModel(np.column_stack([np.ones(24), times]), ("intercept", "time"))
    >>> fit = fit_random_slope(model, groups, times, lambda a, b: data[:, a:b], 1)
    >>> slopes = np.array([np.polyfit(times[:3], y, 1)[0] for y in data.reshape(8, 3)])
    >>> found = fit.contrast(np.array([[0.0, 1]]), "t")
    >>> bool(np.isclose(found.stat[0], slopes.mean() / (slopes.std(ddof=1) / np.sqrt(8))))
    True
    >>> found.dof.round(4).tolist()
    [7.0]
    """
    structure = random_slope(correlated)
    return RandomFit.of(model, groups, times, structure, read, n_voxels, dof)
