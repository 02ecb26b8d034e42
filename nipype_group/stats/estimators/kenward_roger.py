"""Adjusted variance and degrees of freedom of Kenward and Roger (1997), a voxel at a time.

Small sample inference for fixed effects from restricted maximum likelihood, Biometrics 53:983. The
covariance of the maps is a sum of components: the residual variance, and for each block
Z B_a Z' times a number, B_a symmetric. With the expected information, as pbkrtest has it
(Halekoh and Hojsgaard 2014, J Stat Softw 59(9)), components at the boundary count as the others.

Everything is in units of the residual variance; `RandomBlocks` tells the sums.
"""

import numba
import numpy as np

from nipype_group.stats.estimators.random_blocks import RandomBlocks
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
def _add_kind(weight, sums, total):
    """Add cross' weight cross, summed over the blocks of a kind; weight may be unsymmetric."""
    c, r = len(weight), len(total)
    pair = 0
    for a in range(c):
        for b in range(a, c):
            factor = weight[a, b] if a == b else 0.5 * (weight[a, b] + weight[b, a])
            own = sums[pair]
            for i in range(r):
                for j in range(i + 1):
                    total[i, j] += factor * own[i, j]
            pair += 1


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _fill_upper(matrix):
    for i in range(len(matrix)):
        for j in range(i):
            matrix[j, i] = matrix[i, j]


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
def information_parts(
    n: int,
    psi: np.ndarray,
    scale: np.ndarray,
    count: np.ndarray,
    sums: np.ndarray,
    within: np.ndarray,
    directions: np.ndarray,
    derivatives: np.ndarray,
    seconds: np.ndarray,
    info: np.ndarray,
) -> None:
    """Write what variance components do to the information of the betas.

    Parameters
    ----------
    n : int
        Maps.
    psi : array, shape (c, c)
        Covariance of the random effects over the residual variance.
    scale, count, sums, within : arrays
        Of `RandomBlocks`.
    directions : array, shape (m - 1, c, c)
        B_a of every component but the residual variance, which is the first of m.
    derivatives : array, shape (m + 1, r, r)
        Gets X'V^-1X, then X'V^-1 G_a V^-1X of every component.
    seconds : array, shape (m, m, r, r)
        Gets the symmetric part of X'V^-1 G_a V^-1 G_b V^-1X, b <= a.
    info : array, shape (m, m)
        Gets tr(V^-1 G_a V^-1 G_b).
    """
    c, m = len(psi), len(info)
    inverse, square, weight, other = np.empty((4, c, c))
    inner = np.empty((m, c, c))
    derivatives[:] = 0.0
    seconds[:] = 0.0
    info[:] = 0.0
    derivatives[0] = within
    derivatives[1] = within
    seconds[0, 0] = within
    blocks = 0.0
    for k in range(len(count)):
        block_inverse(scale[k], psi, inverse)
        multiply_small(inverse, inverse, square)
        _add_kind(inverse, sums[k], derivatives[0])
        _add_kind(square, sums[k], derivatives[1])
        multiply_small(square, inverse, weight)
        _add_kind(weight, sums[k], seconds[0, 0])
        info[0, 0] += count[k] * product_trace(inverse, inverse)
        blocks += count[k]
        for a in range(1, m):
            # T B T'K^-1.
            multiply_small(scale[k], directions[a - 1], weight)
            for i in range(c):
                for j in range(c):
                    total = 0.0
                    for t in range(c):
                        total += weight[i, t] * scale[k, j, t]
                    other[i, j] = total
            info[a, 0] += count[k] * product_trace(square, other)
            multiply_small(other, inverse, inner[a])
            multiply_small(inverse, inner[a], weight)
            _add_kind(weight, sums[k], derivatives[a + 1])
            multiply_small(square, inner[a], weight)
            _add_kind(weight, sums[k], seconds[a, 0])
            for b in range(1, a + 1):
                multiply_small(inverse, inner[a], other)
                multiply_small(other, inner[b], weight)
                _add_kind(weight, sums[k], seconds[a, b])
                for i in range(c):
                    for j in range(c):
                        info[a, b] += count[k] * inner[a, i, j] * inner[b, j, i]
    info[0, 0] += n - c * blocks
    for a in range(m):
        _fill_upper(derivatives[a + 1])
        for b in range(a + 1):
            info[b, a] = info[a, b]
            _fill_upper(seconds[a, b])
    _fill_upper(derivatives[0])


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
def _adjust(
    n, rows, betas, variance, psi, scale, count, sums, within, directions, covariance, stat, dof
):
    """Write covariance, Wald statistic over q (or t) and dof of every voxel."""
    q, r = rows.shape
    m = len(directions) + 1
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
        information_parts(
            n, psi[v], scale, count, sums, within, directions, derivatives, seconds, info
        )
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
        np.ascontiguousarray(rows),
        betas,
        variance,
        psi,
        blocks.scale,
        blocks.count,
        blocks.sums,
        blocks.within,
        directions,
        covariance,
        stat,
        dof,
    )
    return covariance, stat, dof


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _tells(n, psi, scale, count, sums, within, directions):
    """Tell whether the expected information of the components is regular at psi."""
    m, r = len(directions) + 1, len(within)
    derivatives, seconds = np.empty((m + 1, r, r)), np.empty((m, m, r, r))
    info, lower_info, vcov = np.empty((3, m, m))
    lower, phi = np.empty((2, r, r))
    turned = np.empty((m, r, r))
    information_parts(n, psi, scale, count, sums, within, directions, derivatives, seconds, info)
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
    return bool(
        _tells(
            len(blocks.order),
            np.zeros((c, c)),
            blocks.scale,
            blocks.count,
            blocks.sums,
            blocks.within,
            directions,
        )
    )
