"""Adjusted variance and degrees of freedom of Kenward and Roger (1997), a voxel at a time.

Small sample inference for fixed effects from restricted maximum likelihood, Biometrics 53:983. The
covariance of the maps is a sum of components: the residual variance, and for each block
Z B_a Z' times a number, B_a symmetric. With the expected information, as pbkrtest has it
(Halekoh and Hojsgaard 2014, J Stat Softw 59(9)), components at the boundary count as the others.

Everything is in units of the residual variance; `RandomBlocks` tells the sums.
"""

import numba
import numpy as np

from nipype_group.stats.estimators.random_blocks import COLUMNS_OF_VECTORS, RandomBlocks
from nipype_group.stats.estimators.small_matrices import (
    bilinear,
    factorise,
    invert_factorised,
    multiply_small,
    product_trace,
    solve_forward,
)

# Share of the squared length that rounding leaves of a direction that others determine.
_SAME = 1e-10


@numba.njit(nogil=True, cache=True, error_model="numpy")
def block_inverse(scale: np.ndarray, psi: np.ndarray, inverse: np.ndarray) -> float:
    """Write (I + T Psi T')^-1 of a kind of blocks; return the determinant of I + T Psi T'."""
    if len(psi) == 1:
        value = 1.0 + scale[0, 0] * scale[0, 0] * psi[0, 0]
        inverse[0, 0] = 1.0 / value
        return value
    a, b, d = scale[0, 0], scale[0, 1], scale[1, 1]
    first = a * psi[0, 0] + b * psi[0, 1]
    second = a * psi[0, 1] + b * psi[1, 1]
    one = 1.0 + first * a + second * b
    off = second * d
    two = 1.0 + d * psi[1, 1] * d
    determinant = one * two - off * off
    inverse[0, 0], inverse[1, 1] = two / determinant, one / determinant
    inverse[0, 1] = inverse[1, 0] = -off / determinant
    return determinant


@numba.njit(nogil=True, cache=True, error_model="numpy")
def write_pairs(g: tuple, parts: tuple, d: int, own: np.ndarray, at: int) -> None:
    """Write an element of the symmetric parts of R J_a R J_b R, b <= a, of two random effects.

    Parameters
    ----------
    g : tuple of float
        T'R T, as 11, 12, 22.
    parts : tuple of float
        The element of uu', of the symmetric part of uw' and of ww', u and w the columns of R T.
    d : {2, 3}
        Components: variances, or the covariance between them too.
    own : array
        Gets them from `at` on.
    """
    g11, g12, g22 = g
    uu, uw, ww = parts
    own[at] = g11 * uu
    if d == 2:
        own[at + 1], own[at + 2] = g12 * uw, g22 * ww
        return
    own[at + 1] = g11 * uw + g12 * uu
    own[at + 2] = 2.0 * g12 * uw + g22 * uu + g11 * ww
    own[at + 3] = g12 * uw
    own[at + 4] = g22 * uw + g12 * ww
    own[at + 5] = g22 * ww


@numba.njit(nogil=True, cache=True, error_model="numpy")
def add_pair_traces(n: float, g: tuple, total: np.ndarray) -> None:
    """Add n times tr(R J_a R J_b), b <= a, of two random effects.

    Parameters
    ----------
    n : float
    g : tuple of float
        As of `write_pairs`.
    total : array, shape (d, d)
    """
    g11, g12, g22 = g
    last = len(total) - 1
    total[0, 0] += n * g11 * g11
    total[last, 0] += n * g12 * g12
    total[last, last] += n * g22 * g22
    if last == 2:
        total[1, 0] += 2.0 * n * g11 * g12
        total[1, 1] += 2.0 * n * (g12 * g12 + g11 * g22)
        total[2, 1] += 2.0 * n * g12 * g22


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _weigh_intercepts(psi, scale, count, weights, info):
    """Write the columns of weights of random intercepts alone, and add to info.

    They are of R, R^2, R^3, then of R J_a R, of R^2 J_a R and of R J_a R J_b R.
    """
    for k in range(len(count)):
        own, square = weights[k], scale[k, 0, 0] * scale[k, 0, 0]
        inverse = 1.0 / (1.0 + square * psi[0, 0])
        twice = inverse * inverse
        own[0], own[1], own[2] = inverse, twice, twice * inverse
        own[3], own[4] = twice * square, twice * inverse * square
        own[5] = own[4] * square
        info[0, 0] += count[k] * twice
        info[1, 0] += count[k] * twice * square
        info[1, 1] += count[k] * twice * square * square


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _between(a0, a1, b0, b1):
    """Return the elements 11, 12 and 22 of the symmetric part of a b'."""
    return a0 * b0, 0.5 * (a0 * b1 + a1 * b0), a1 * b1


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _weigh_slopes(psi, scale, count, weights, info):
    """Write these columns of random intercepts and slopes, three rows a kind, and add to info."""
    d, inverse = len(info) - 1, np.empty((2, 2))
    last = d - 1
    pairs, of_components = np.zeros((d, d)), info[1:, 0]
    for k in range(len(count)):
        block_inverse(scale[k], psi, inverse)
        n, one, off, two = count[k], inverse[0, 0], inverse[0, 1], inverse[1, 1]
        # R^2 and R^3.
        s11, s12, s22 = one * one + off * off, off * (one + two), off * off + two * two
        cube = s11 * one + s12 * off, s11 * off + s12 * two, s12 * off + s22 * two
        # T has the columns (a, 0) and (b, c); R T has u and w, and R^2 T has x and y.
        a, b, c = scale[k, 0, 0], scale[k, 0, 1], scale[k, 1, 1]
        u0, u1, w0, w1 = one * a, off * a, one * b + off * c, off * b + two * c
        x0, x1, y0, y1 = s11 * a, s12 * a, s11 * b + s12 * c, s12 * b + s22 * c
        g = a * u0, a * w0, b * w0 + c * w1
        first, square = (one, off, two), (s11, s12, s22)
        uu, uw, ww = _between(u0, u1, u0, u1), _between(u0, u1, w0, w1), _between(w0, w1, w0, w1)
        xu, xw = _between(x0, x1, u0, u1), _between(x0, x1, w0, w1)
        yu, yw = _between(y0, y1, u0, u1), _between(y0, y1, w0, w1)
        info[0, 0] += n * (one * one + 2.0 * off * off + two * two)
        of_components[0] += n * (uu[0] + uu[2])
        of_components[last] += n * (ww[0] + ww[2])
        if d == 3:
            of_components[1] += 2.0 * n * (uw[0] + uw[2])
        add_pair_traces(n, g, pairs)
        for i in range(3):
            own = weights[3 * k + i]
            own[0], own[1], own[2] = first[i], square[i], cube[i]
            own[3], own[3 + last] = uu[i], ww[i]
            own[3 + d], own[3 + d + last] = xu[i], yw[i]
            if d == 3:
                own[4], own[4 + d] = 2.0 * uw[i], xw[i] + yu[i]
            write_pairs(g, (uu[i], uw[i], ww[i]), d, own, 3 + 2 * d)
    for a in range(d):
        for b in range(a + 1):
            info[a + 1, b + 1] += pairs[a, b]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _unpack(column, r, matrix):
    """Write a symmetric matrix of its lower triangle, row by row."""
    at = 0
    for i in range(r):
        for j in range(i + 1):
            matrix[i, j] = matrix[j, i] = column[at]
            at += 1


@numba.njit(nogil=True, cache=True, error_model="numpy")
def information_parts(
    n: int,
    psi: np.ndarray,
    blocks: tuple,
    derivatives: np.ndarray,
    seconds: np.ndarray,
    info: np.ndarray,
    work: tuple,
) -> None:
    """Write what variance components do to the information of the betas.

    With R = (I + T Psi T')^-1 and J_a = T B_a T' of every kind of blocks these are sums of R, R^2,
    R^3, R J_a R, R^2 J_a R and R J_a R J_b R, their symmetric parts, between the rows of `cross`.

    Parameters
    ----------
    n : int
        Maps.
    psi : array, shape (c, c)
        Covariance of the random effects over the residual variance.
    blocks : tuple of arrays
        ``scale`` and ``count`` of `RandomBlocks`, and the two that ``packed()`` gives.
    derivatives : array, shape (m + 1, r, r)
        Gets X'V^-1X, then X'V^-1 G_a V^-1X of every component, the residual variance first.
    seconds : array, shape (m, m, r, r)
        Gets the symmetric part of X'V^-1 G_a V^-1 G_b V^-1X, b <= a.
    info : array, shape (m, m)
        Gets tr(V^-1 G_a V^-1 G_b).
    work : tuple of arrays
        Of `_room`.
    """
    scale, count, table, within = blocks
    weights, totals = work
    m, r = len(info), derivatives.shape[1]
    d = m - 1
    info[:] = 0.0
    if len(psi) == 1:
        _weigh_intercepts(psi, scale, count, weights, info)
    else:
        _weigh_slopes(psi, scale, count, weights, info)
    totals[:] = 0.0
    for i in range(len(within)):
        totals[i, 0] = totals[i, 1] = totals[i, 2] = within[i]
        for row in range(len(table)):
            product = table[row, i]
            for a in range(COLUMNS_OF_VECTORS):
                totals[i, a] += product * weights[row, a]
    at, blocks_of_all = 3 + 2 * d, 0.0
    for k in range(len(count)):
        blocks_of_all += count[k]
    info[0, 0] += n - len(psi) * blocks_of_all
    _unpack(totals[:, 0], r, derivatives[0])
    _unpack(totals[:, 1], r, derivatives[1])
    _unpack(totals[:, 2], r, seconds[0, 0])
    for a in range(1, m):
        _unpack(totals[:, 2 + a], r, derivatives[a + 1])
        _unpack(totals[:, 2 + d + a], r, seconds[a, 0])
        info[0, a] = info[a, 0]
        for b in range(1, a + 1):
            _unpack(totals[:, at], r, seconds[a, b])
            info[b, a] = info[a, b]
            at += 1


def _room(blocks: RandomBlocks) -> tuple[tuple, tuple]:
    """Return what `information_parts` takes of blocks, and what it works in."""
    table, within = blocks.packed()
    work = np.zeros((len(table), COLUMNS_OF_VECTORS)), np.empty((len(within), COLUMNS_OF_VECTORS))
    return (blocks.scale, blocks.count, table, within), work


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _expect(phi, derivatives, seconds, info, turned):
    """Make info twice the expected restricted information; `turned` gets P_a Phi."""
    m = len(info)
    for a in range(m):
        multiply_small(derivatives[a + 1], phi, turned[a])
    for a in range(m):
        for b in range(a + 1):
            trace = 0.0
            for i in range(len(phi)):
                for j in range(len(phi)):
                    trace += turned[a, i, j] * turned[b, j, i]
            info[a, b] += trace - 2.0 * product_trace(phi, seconds[a, b])
            info[b, a] = info[a, b]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _invert_information(info, lower, inverse):
    """Write 2 info^-1 in units of the components' own size; False where they are confounded."""
    m = len(info)
    size = np.empty(m)
    for a in range(m):
        if not info[a, a] > 0.0:
            return False
        size[a] = np.sqrt(info[a, a])
    for a in range(m):
        for b in range(m):
            info[a, b] /= size[a] * size[b]
    if not factorise(info, lower):
        return False
    for a in range(m):
        if not lower[a, a] * lower[a, a] > _SAME:
            return False
    invert_factorised(lower, inverse)
    for a in range(m):
        for b in range(m):
            inverse[a, b] *= 2.0 / (size[a] * size[b])
    return True


@numba.njit(nogil=True, cache=True, error_model="numpy")
def scaled_dof(q: int, first: float, second: float) -> tuple[float, float]:
    """Return the degrees of freedom and the scale of F of q rows, of A1 and A2.

    Kenward and Roger (1997), section 3; where its denominators vanish as pbkrtest has it. One row
    has 2 / A2 and 1. Degrees of freedom are 0 where the approximation has none.
    """
    if q == 1:
        return 2.0 / second, 1.0
    b = (first + 6.0 * second) / (2.0 * q)
    g = ((q + 1) * first - (q + 4) * second) / ((q + 2) * second)
    below = 3.0 * q + 2.0 * (1.0 - g)
    v0 = 1.0 + g / below * b
    v1 = 1.0 - (q - g) / below * b
    v2 = 1.0 - (q + 2 - g) / below * b
    if abs(v0) < 1e-10:
        v0 = 0.0
    ratio = 1.0 - second / q
    share = 1.0 if abs(ratio) < 1e-14 and abs(v1) < 1e-14 else ratio / v1
    rho = share * share * v0 / v2 / q
    dof = 4.0 + (q + 2) / (q * rho - 1.0)
    if not dof > 0.0:
        return 0.0, 1.0
    return dof, 1.0 if abs(dof - 2.0) < 0.01 else dof * ratio / (dof - 2.0)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _rows(rows, phi, turned, derivatives, seconds, vcov, adjusted, forms):
    """Write the adjusted covariance of rows for unit variance, and return A1 and A2.

    forms : array, shape (m + 1, q, q)
        Work space.
    """
    q, m, r = len(rows), len(vcov), len(phi)
    ahead = np.empty((q, r))
    multiply_small(rows, phi, ahead)
    pushed = np.empty((m, q, r))
    for a in range(m):
        # L Phi P_a, and L Phi P_a Phi L'.
        multiply_small(ahead, derivatives[a + 1], pushed[a])
        for i in range(q):
            for j in range(q):
                total = 0.0
                for t in range(r):
                    total += pushed[a, i, t] * ahead[j, t]
                forms[a, i, j] = total
    for i in range(q):
        for j in range(i + 1):
            plain = 0.0
            for t in range(r):
                plain += ahead[i, t] * rows[j, t]
            forms[m, i, j] = forms[m, j, i] = plain
            total = 0.0
            for a in range(m):
                for b in range(m):
                    second = seconds[a, b] if a >= b else seconds[b, a]
                    less = bilinear(pushed[a, i], phi, pushed[b, j])
                    total += vcov[a, b] * (bilinear(ahead[i], second, ahead[j]) - less)
            adjusted[i, j] = adjusted[j, i] = plain + 2.0 * total
    return _moments(vcov, forms)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _moments(vcov, forms):
    """Return A1 and A2 of forms L Phi P_a Phi L', the last of which is L Phi L'."""
    m, q = len(vcov), forms.shape[1]
    lower = np.empty((q, q))
    if not factorise(forms[m], lower):
        return 0.0, 0.0
    for a in range(m):
        for _ in range(2):
            for i in range(q):
                solve_forward(lower, forms[a, i])
            for i in range(q):
                for j in range(i):
                    forms[a, i, j], forms[a, j, i] = forms[a, j, i], forms[a, i, j]
    first, second = 0.0, 0.0
    for a in range(m):
        for b in range(m):
            one, other = 0.0, 0.0
            for i in range(q):
                one += forms[a, i, i]
                other += forms[b, i, i]
            first += vcov[a, b] * one * other
            second += vcov[a, b] * product_trace(forms[a], forms[b])
    return first, second


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _adjust(n, m, rows, betas, variance, psi, blocks, work, covariance, stat, dof):
    """Write covariance, Wald statistic over q (or t) and dof of every voxel."""
    q, r = rows.shape
    derivatives, seconds = np.empty((m + 1, r, r)), np.empty((m, m, r, r))
    info, lower_info, vcov = np.empty((3, m, m))
    lower, phi = np.empty((2, r, r))
    turned, forms = np.empty((m, r, r)), np.empty((m + 1, q, q))
    adjusted, factor, effect = np.empty((q, q)), np.empty((q, q)), np.empty(q)
    for v in range(len(variance)):
        dof[v] = stat[v] = 0.0
        covariance[v] = 0.0
        if not variance[v] > 0.0:
            continue
        information_parts(n, psi[v], blocks, derivatives, seconds, info, work)
        if not factorise(derivatives[0], lower):
            continue
        invert_factorised(lower, phi)
        _expect(phi, derivatives, seconds, info, turned)
        if not _invert_information(info, lower_info, vcov):
            continue
        first, second = _rows(rows, phi, turned, derivatives, seconds, vcov, adjusted, forms)
        if not second > 0.0 or not factorise(adjusted, factor):
            continue
        freedom, scaling = scaled_dof(q, first, second)
        if not freedom > 0.0:
            continue
        for i in range(q):
            effect[i] = 0.0
            for t in range(r):
                effect[i] += rows[i, t] * betas[v, t]
        if q == 1:
            stat[v] = effect[0] / np.sqrt(adjusted[0, 0] * variance[v])
        else:
            solve_forward(factor, effect)
            for i in range(q):
                stat[v] += effect[i] * effect[i]
            stat[v] *= scaling / (q * variance[v])
        dof[v] = freedom
        for i in range(q):
            for j in range(q):
                covariance[v, i, j] = adjusted[i, j] * variance[v]


def kenward_roger(
    blocks: RandomBlocks,
    rows: np.ndarray,
    betas: np.ndarray,
    variance: np.ndarray,
    psi: np.ndarray,
    directions: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return adjusted covariance, t or scaled F, and degrees of freedom of rows.

    Parameters
    ----------
    blocks : RandomBlocks
    rows : array, shape (q, r)
        Independent contrast rows over the basis of the design.
    betas : array, shape (v, r)
        Generalised least squares over the basis.
    variance : array, shape (v,)
        Residual variance; 0 where there is no fit.
    psi : array, shape (v, c, c)
        Covariance of the random effects over the residual variance.
    directions : array, shape (m - 1, c, c)
        Derivative of psi by each of its components.

    Returns
    -------
    covariance : array, shape (v, q, q)
    stat : array, shape (v,)
        t of one row, scaled F of several; 0 where the components are confounded.
    dof : array, shape (v,)
        0 where there is no statistic.
    """
    n_voxels, q = len(variance), len(rows)
    covariance = np.empty((n_voxels, q, q))
    stat, dof = np.empty((2, n_voxels))
    _adjust(
        len(blocks.order),
        len(directions) + 1,
        np.ascontiguousarray(rows),
        betas,
        variance,
        psi,
        *_room(blocks),
        covariance,
        stat,
        dof,
    )
    return covariance, stat, dof


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _tells(n, m, r, psi, blocks, work):
    """Tell whether the expected information of the components is regular at psi."""
    derivatives, seconds = np.empty((m + 1, r, r)), np.empty((m, m, r, r))
    info, lower_info, vcov = np.empty((3, m, m))
    lower, phi = np.empty((2, r, r))
    turned = np.empty((m, r, r))
    information_parts(n, psi, blocks, derivatives, seconds, info, work)
    if not factorise(derivatives[0], lower):
        return False
    invert_factorised(lower, phi)
    before = info.copy()
    _expect(phi, derivatives, seconds, info, turned)
    for a in range(m):
        # What the design leaves of a component.
        if not info[a, a] > _SAME * before[a, a]:
            return False
    return _invert_information(info, lower_info, vcov)


def tells_components(blocks: RandomBlocks, directions: np.ndarray) -> bool:
    """Return whether the maps of blocks tell all variance components apart.

    Parameters
    ----------
    blocks : RandomBlocks
    directions : array, shape (m - 1, c, c)
        As of `kenward_roger`.
    """
    c = directions.shape[1]
    n, r = len(blocks.order), len(blocks.within)
    return bool(_tells(n, len(directions) + 1, r, np.zeros((c, c)), *_room(blocks)))
