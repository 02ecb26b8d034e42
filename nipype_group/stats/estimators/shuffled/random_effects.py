"""t and F of random effects under shuffles, by the variance of the model as it is.

Every shuffle has variance components of its own, by restricted likelihood, or the ratios of those
of the unshuffled maps in the model without the contrast; the residual variance is its own in both.
Ratios of the whole model would be unlike those of shuffles: an effect that chance makes large
leaves less between clusters there, and the largest voxel errs too often. The variance of the
contrast is that of the model, without the adjustment of Kenward and Roger, which no shuffle needs.
"""

import numba
import numpy as np

from nipype_group.stats.estimators.kenward_roger import block_inverse, tells_components
from nipype_group.stats.estimators.random_blocks import RandomBlocks
from nipype_group.stats.estimators.random_effects import structure_of
from nipype_group.stats.estimators.random_fit import scaled_times
from nipype_group.stats.estimators.shuffled.clusters import ShuffledClusters, StatisticOf
from nipype_group.stats.estimators.small_matrices import factorise, solve_forward
from nipype_group.stats.linear.least_squares import LinearModel, is_rounding
from nipype_group.stats.matrix_products import multiply

_AGAIN = (
    "betas and variance components are estimated again in every shuffle, and variances are those "
    "of the model without the adjustment of Kenward and Roger"
)
_HELD = (
    "betas and residual variance are estimated again in every shuffle, the ratios of the other "
    "variance components to it are held at those of the unshuffled maps in the model without the "
    "effect tested, and variances are those of the model without the adjustment of Kenward and "
    "Roger"
)


def shuffled_random_effects(
    model: LinearModel,
    weights: np.ndarray,
    test: str,
    clusters: np.ndarray,
    slopes: tuple[np.ndarray, bool] | None,
    held: bool = False,
) -> ShuffledClusters:
    """Return a contrast of a model with random effects, for shuffles.

    Parameters
    ----------
    model : LinearModel
        Fixed effects of n maps.
    weights : array, shape (r, p)
        Contrast rows over its columns.
    test : {"t", "F"}
    clusters : int array, shape (n,)
        Participant, family or site of every map.
    slopes : tuple of array and bool, optional
        As of `fit_random_effects`.
    held : bool
        Whether ratios of variance components are those of the unshuffled maps.

    Returns
    -------
    ShuffledClusters

    Raises
    ------
    ValueError
        Where the clusters say too little of the contrast.

    Examples
    --------
    >>> data = np.array([[1.0], [2], [4], [3], [7], [6]])
    >>> own = shuffled_random_effects(
    ...     LinearModel(np.ones((6, 1)), ("mean",)),
    ...     np.array([[1.0]]),
    ...     "t",
    ...     np.array([0, 0, 1, 1, 2, 2]),
    ...     None,
    ... )
    >>> signs = np.array([[1, 1, 1, 1, 1, 1], [1, 1, -1, -1, 1, 1]])
    >>> orders = np.tile(np.arange(6), (2, 1))
    >>> own.statistic(own.prepare({"effects": data}), orders, signs).round(4).tolist()
    [[2.6383], [0.5196]]
    """
    structure, clusters = structure_of(slopes), np.asarray(clusters)
    times = None if slopes is None else scaled_times(slopes[0], structure.directions)[0]

    def part(
        fitted: LinearModel,
        nuisance: LinearModel,
        present: np.ndarray,
        rows: np.ndarray,
        data: np.ndarray,
    ) -> tuple[np.ndarray, StatisticOf] | None:
        own_times = None if times is None else times[present]
        blocks = RandomBlocks.of(fitted, clusters[present], own_times)
        if not tells_components(blocks, structure.directions):
            return None
        null = structure.fit(RandomBlocks.of(nuisance, clusters[present], own_times), data)
        residuals = data - multiply(nuisance.basis, null.betas)
        alive = structure.fit(blocks, data).variance > 0
        turned = multiply(multiply(rows, fitted.inverse), fitted.basis)

        def statistic(maps: np.ndarray) -> np.ndarray:
            own = structure.fit(blocks, maps)
            return _wald(blocks, turned, own.betas, own.variance, own.psi, test)

        def with_held(maps: np.ndarray) -> np.ndarray:
            betas, variance = _generalised(blocks, maps, null.psi)
            return _wald(blocks, turned, betas, variance, null.psi, test)

        return np.where(alive, residuals, 0.0), with_held if held else statistic

    return ShuffledClusters(model, clusters, weights, test, part, _HELD if held else _AGAIN)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _information(scale, sums, psi, inverses, matrix, lower):
    """Write R of kinds and the triangle of X'V^-1X, which is `within` at first."""
    inverse = np.empty(psi.shape)
    for k in range(len(scale)):
        block_inverse(scale[k], psi, inverse)
        pair = 0
        for a in range(len(psi)):
            for b in range(a, len(psi)):
                weight = inverses[k, pair] = inverse[a, b]
                for i in range(len(matrix)):
                    for j in range(i + 1):
                        matrix[i, j] += weight * sums[k, pair, i, j]
                pair += 1
    return factorise(matrix, lower)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _solve(scale, sums, within, psi, owns, squares, products, betas, form):
    """Write what generalised least squares add to the betas, and y'Py, of every voxel."""
    n_kinds, n_pairs, r = sums.shape[0], sums.shape[1], len(within)
    inverses, matrix, lower = np.empty((n_kinds, n_pairs)), np.empty((r, r)), np.empty((r, r))
    for v in range(len(form)):
        matrix[:], own = within, betas[v]
        own[:], form[v] = 0.0, 0.0
        if not _information(scale, sums, psi[v], inverses, matrix, lower):
            continue
        total = owns[v]
        for k in range(n_kinds):
            for pair in range(n_pairs):
                weight = inverses[k, pair]
                total += weight * squares[v, k, pair]
                # The residuals of least squares are orthogonal to the design.
                less = weight if pair == 1 else weight - 1.0
                for i in range(r):
                    own[i] += less * products[v, k, pair, i]
        solve_forward(lower, own)
        for i in range(r):
            total -= own[i] * own[i]
        for i in range(r - 1, -1, -1):
            for j in range(i + 1, r):
                own[i] -= lower[j, i] * own[j]
            own[i] /= lower[i, i]
        form[v] = total


def _generalised(
    blocks: RandomBlocks, data: np.ndarray, psi: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return betas over the basis, shape (r, v), and residual variance at given ratios."""
    start, within, squares, products = blocks.data_sums(data)
    squares = np.ascontiguousarray(squares.transpose(2, 0, 1))
    products = np.ascontiguousarray(products.transpose(3, 0, 1, 2))
    total = within + squares[:, :, 0].sum(axis=1)
    if squares.shape[2] > 1:
        total = total + squares[:, :, 2].sum(axis=1)
    betas, form = np.zeros(start.T.shape), np.zeros(len(within))
    _solve(blocks.scale, blocks.sums, blocks.within, psi, within, squares, products, betas, form)
    alive = (form > 0) & ~is_rounding(total, data)
    return betas.T + start, np.where(alive, form / blocks.model.dof, 0.0)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _wald_of_voxels(scale, sums, within, rows, betas, variance, psi, is_f, found):
    q, r = rows.shape
    inverses, matrix = np.empty(sums.shape[:2]), np.empty((r, r))
    lower, turned = np.empty((r, r)), np.empty((q, r))
    covariance, factor, effects = np.empty((q, q)), np.empty((q, q)), np.empty(q)
    for v in range(len(found)):
        matrix[:] = within
        if not variance[v] > 0.0 or not _information(scale, sums, psi[v], inverses, matrix, lower):
            continue
        for a in range(q):
            effects[a] = 0.0
            for i in range(r):
                turned[a, i] = rows[a, i]
                effects[a] += rows[a, i] * betas[v, i]
            solve_forward(lower, turned[a])
            for b in range(a + 1):
                covariance[a, b] = 0.0
                for i in range(r):
                    covariance[a, b] += turned[a, i] * turned[b, i]
        if not is_f:
            found[v] = effects[0] / np.sqrt(variance[v] * covariance[0, 0])
        elif factorise(covariance, factor):
            solve_forward(factor, effects)
            for a in range(q):
                found[v] += effects[a] * effects[a] / (q * variance[v])


def _wald(
    blocks: RandomBlocks,
    rows: np.ndarray,
    betas: np.ndarray,
    variance: np.ndarray,
    psi: np.ndarray,
    test: str,
) -> np.ndarray:
    """Return t or F of rows over the basis, shape (q, r), at every voxel; 0 where there is none.

    Parameters
    ----------
    blocks : RandomBlocks
    rows : array, shape (q, r)
    betas, variance, psi : arrays, shapes (r, v), (v,), (v, c, c)
        As of `VoxelFits`.
    test : {"t", "F"}
    """
    found = np.zeros(len(variance))
    _wald_of_voxels(
        blocks.scale,
        blocks.sums,
        blocks.within,
        np.ascontiguousarray(rows),
        np.ascontiguousarray(betas.T),
        variance,
        np.ascontiguousarray(psi),
        test == "F",
        found,
    )
    return found
