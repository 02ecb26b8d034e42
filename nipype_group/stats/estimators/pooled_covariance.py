"""One covariance of the maps for all voxels, by restricted likelihood, and least squares whitened.

As SPM does for repeated measures and unequal variances (Friston et al. 2002, NeuroImage 16:484):
maps are whitened by a covariance that is the same at all voxels but for its size, so that degrees
of freedom are one number. It is a sum of components, whose sizes maximise the restricted
likelihood of the products of maps, averaged over voxels that pass an F test, each in units of its
own residual variance. What columns of participants take out of the maps is not told, and a
contrast whose variance depends on it is refused.

``fit_pooled_reml(model, participants, visits, covariance_groups, read, n_voxels)`` takes the
variances and covariances of visits for components, and what is beyond participants for the F
test, and gives a `PooledCovarianceFit`; see `contrast_estimates` beside this module. Its dof,
unlike those of other estimators, do not tell that the covariance is estimated.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from nipype_group.stats.decompositions import complement, symmetric_eigen
from nipype_group.stats.distributions import log_sf_f
from nipype_group.stats.elementary import log
from nipype_group.stats.estimators.contrast_estimates import ContrastEstimates
from nipype_group.stats.estimators.small_matrices import factorise, invert_factorised
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    ReadVoxels,
    f_contrast,
    independent_rows,
    missing_patterns,
    present_values,
    t_contrast,
    tiles,
)
from nipype_group.stats.matrix_products import multiply, residuals_of

# p of the F test that voxels pass which the covariance is estimated of, as SPM's UFp.
P_OF_VOXELS = 0.001
_MOST_STEPS = 200
_ENOUGH = 1e-12
# Share of the largest information that is none.
_UNTOLD = 1e-9
# Share of the variance of a contrast that rounding leaves of what is untold.
_UNTOLD_SHARE = 1e-6
# What the design leaves of columns of participants that it holds, and of its own that are theirs.
_HELD = 1e-9


def covariance_components(
    groups: np.ndarray, levels: np.ndarray, correlated: bool = True
) -> np.ndarray:
    """Return what a covariance of maps is the sum of.

    Parameters
    ----------
    groups : int array, shape (n,)
        Participant of every map; only maps of one participant are correlated.
    levels : int array, shape (n,)
        Visit, condition or group, whose variances may differ.
    correlated : bool
        Whether each two levels have a covariance of their own.

    Returns
    -------
    array, shape (m, n, n)
        The variance of every level, then the covariance of every pair of levels that some
        participant has both of.

    Raises
    ------
    ValueError
        Where a participant has two maps of one level.

    Examples
    --------
    >>> covariance_components(np.array([0, 0, 1]), np.array([0, 1, 1]))[:, 0].tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    same = groups[:, None] == groups
    names = np.unique(levels)
    found = [np.diag((levels == name).astype(float)) for name in names]
    if not correlated:
        return np.array(found)
    if (same & (levels[:, None] == levels)).sum() > len(groups):
        raise ValueError(
            "A participant has several maps of one level, whose covariance has no component. "
            "Name a column that tells the maps of each participant apart."
        )
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            pair = same & (levels[:, None] == one) & (levels == other)
            if pair.any():
                found.append((pair | pair.T).astype(float))
    return np.array(found)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_products(data, scale, total):
    """Add the products of maps at voxels, in ascending order, each times its scale."""
    n = len(data)
    for v in range(data.shape[1]):
        if scale[v] > 0.0:
            for i in range(n):
                factor = scale[v] * data[i, v]
                for j in range(n):
                    total[i, j] += factor * data[j, v]


def pooled_products(
    model: LinearModel, interest: np.ndarray, read: ReadVoxels, n_voxels: int
) -> tuple[np.ndarray, int]:
    """Return the mean products of maps over voxels that pass an F test, and their number.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    interest : array, shape (r, p)
        Contrast rows that F tests, at p below 0.001 and errors of one variance.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int

    Returns
    -------
    products : array, shape (n, n)
        Each voxel's in units of its residual variance.
    n_passed : int
        Voxels of all maps alone are looked at.
    """
    n = len(model.matrix)
    total, n_passed = np.zeros((n, n)), 0
    for span in tiles(n_voxels, n):
        data = read(span.start, span.stop)
        scale = np.zeros(data.shape[1])
        members = np.flatnonzero(np.isfinite(data).all(axis=0))
        betas, residual_ss = model.fit(np.take(data, members, axis=1))
        variance = residual_ss / model.dof
        _, _, f, rank = f_contrast(interest, betas, variance, model.covariance)
        passed = (variance > 0) & (log_sf_f(f, rank, model.dof) < log(P_OF_VOXELS))
        scale[members[passed]] = 1 / variance[passed]
        _add_products(np.ascontiguousarray(data), scale, total)
        n_passed += int(passed.sum())
    return total / max(n_passed, 1), n_passed


def _inverse_and_log_determinant(matrix: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Return the inverse of a symmetric matrix and its log determinant; None if not positive."""
    lower, found = np.zeros((2, len(matrix), len(matrix)))
    if not factorise(np.ascontiguousarray(matrix), lower):
        return None
    invert_factorised(lower, found)
    return found, float(2 * log(np.diagonal(lower)).sum())


def component_sizes(
    products: np.ndarray, basis: np.ndarray, components: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sizes of the components of a covariance by restricted likelihood.

    Parameters
    ----------
    products : array, shape (n, n)
        Mean products of maps over voxels.
    basis : array, shape (n, r)
        Orthonormal basis of the design.
    components : array, shape (m, n, n)

    Returns
    -------
    sizes : array, shape (m,)
    untold : array, shape (u, m)
        Combinations of components that the design takes out of the maps.

    Raises
    ------
    ValueError
        Where the likelihood has no maximum inside.
    """
    left = complement(basis)
    turned = [multiply(multiply(left.T, q), left) for q in components]
    seen = multiply(multiply(left.T, products), left)
    sizes = np.array([float(np.diagonal(q).any()) for q in components])
    sizes *= np.trace(seen) / len(seen)
    state = _state(sizes, turned, seen)
    for _ in range(_MOST_STEPS):
        assert state is not None
        value, pushed, through = state
        gradient = np.array([(p * through).sum() - np.trace(p) for p in pushed])
        information = np.array([[(a * b.T).sum() for b in pushed] for a in pushed])
        step, untold = _told_step(information, gradient)
        change, factor = float((gradient * step).sum()), 1.0
        while factor > 1e-10:
            ahead = _state(sizes + factor * step, turned, seen)
            if ahead is not None and ahead[0] <= value + _ENOUGH * len(seen):
                break
            factor /= 2
        else:
            break
        sizes, state = sizes + factor * step, ahead
        if abs(change) < _ENOUGH * len(seen):
            return sizes, untold
    raise ValueError(
        "The covariance of the maps over voxels has no restricted likelihood estimate: its "
        "components are not told apart. Take fewer visits or groups, or another error."
    )


def _state(sizes, components, seen):
    """Return -2 log likelihood, V^-1 Q of components, and S V^-1; None if V is not positive."""
    whole = sum(s * q for s, q in zip(sizes, components, strict=True))
    found = _inverse_and_log_determinant(whole)
    if found is None:
        return None
    inverse, determinant = found
    pushed = [multiply(inverse, q) for q in components]
    through = multiply(seen, inverse)
    return determinant + float(np.trace(through)), pushed, through


def _told_step(information, gradient):
    """Return the step of scoring in what the data tell of the components, and what they do not.

    The latter are combinations of components, shape (u, m).
    """
    size = np.sqrt(np.diagonal(information))
    size = np.where(size > 0, size, 1.0)
    values, vectors = symmetric_eigen(information / (size[:, None] * size))
    told = values > _UNTOLD * values[-1]
    along = multiply(vectors.T, gradient / size)
    step = multiply(vectors, np.where(told, along / np.where(told, values, 1.0), 0.0)) / size
    return step, vectors[:, ~told].T / size


@dataclass(frozen=True)
class PooledCovarianceFit:
    """Least squares of maps that one covariance whitens.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    covariance : array, shape (n, n)
        Of the maps, its mean variance 1.
    untold : array, shape (u, n, n)
        What may be added to the covariance without a change of its likelihood.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
    n_passed : int
        Voxels that the covariance is estimated of; 0 where it is known already.
    """

    model: LinearModel
    covariance: np.ndarray
    untold: np.ndarray
    read: ReadVoxels
    n_voxels: int
    n_passed: int

    @property
    def components(self) -> dict[str, np.ndarray]:
        """No maps beside those of contrasts."""
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """How many voxels the covariance is of, and how degrees of freedom are counted."""
        n, rank = self.model.matrix.shape[0], self.model.rank
        return (
            f"One covariance of the maps, estimated of {self.n_passed} voxels, is taken at all "
            f"voxels; degrees of freedom are {n} maps less {rank} columns, and do not tell that "
            "it is estimated.",
        )

    @cached_property
    def whitening(self) -> np.ndarray:
        """Symmetric inverse root of the covariance, shape (n, n)."""
        return _inverse_root(self.covariance)

    def residuals(
        self, maps: Callable[[Sequence[int]], Iterator[np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """Yield the whitened residuals of every map, those of a participant together."""
        whitened = self._whitened(np.zeros(0, dtype=int))
        assert whitened is not None
        model, inverse = whitened[0], multiply(whitened[0].inverse, self.whitening)
        betas = np.empty((model.matrix.shape[1], self.n_voxels))
        for span in tiles(self.n_voxels, len(model.matrix)):
            betas[:, span] = multiply(inverse, self.read(span.start, span.stop))
        # Maps that nothing connects whiten each other by nothing.
        n_blocks, block = connected_components(csr_array(self.covariance != 0), directed=False)
        for number in range(n_blocks):
            rows = np.flatnonzero(block == number)
            own = np.array(list(maps(rows.tolist())))
            left = own - multiply(self.model.matrix[rows], betas)
            yield from multiply(_inverse_root(self.covariance[np.ix_(rows, rows)]), left)

    def _whitened(self, missing: np.ndarray) -> tuple[LinearModel, np.ndarray] | None:
        """Return the whitened model and the whitening of the maps that are not missing."""
        whole = np.delete(np.delete(self.covariance, missing, axis=0), missing, axis=1)
        whitening = _inverse_root(whole) if len(missing) else self.whitening
        matrix = np.delete(self.model.matrix, missing, axis=0)
        try:
            return LinearModel(multiply(whitening, matrix), self.model.columns), whitening
        except ValueError:
            return None

    def _check(self, weights: np.ndarray) -> None:
        whitened = self._whitened(np.zeros(0, dtype=int))
        assert whitened is not None
        rows = multiply(multiply(weights, whitened[0].inverse), self.whitening)
        for row in rows:
            size = float(multiply(multiply(row, self.covariance), row))
            for part in self.untold:
                if abs(float(multiply(multiply(row, part), row))) > _UNTOLD_SHARE * size:
                    raise ValueError(
                        "The variance of this contrast is between participants, which columns of "
                        "participants in the design leave untold. Leave these columns out."
                    )

    def contrast(self, weights: np.ndarray, test: str) -> ContrastEstimates:
        """Return a contrast at every voxel.

        Parameters
        ----------
        weights : array, shape (r, p)
            Contrast rows over the columns of the design.
        test : {"t", "F"}
            One row with a sign, or all rows together.

        Returns
        -------
        ContrastEstimates
            Effect and variance of F are as of least squares.

        Raises
        ------
        ValueError
            Where the variance of the contrast depends on what the maps do not tell.
        """
        weights = np.atleast_2d(np.asarray(weights, dtype=float))
        self._check(weights)
        rows = weights[:1] if test == "t" else independent_rows(weights)
        effect, variance, stat, dof, mean_square = np.zeros((5, self.n_voxels))
        complete = np.zeros(self.n_voxels, dtype=bool)
        known: dict[bytes, tuple[LinearModel, np.ndarray] | None] = {}
        for span in tiles(self.n_voxels, len(self.model.matrix)):
            data = self.read(span.start, span.stop)
            for members, missing in missing_patterns(data):
                key = missing.tobytes()
                if key not in known:
                    known[key] = self._whitened(missing)
                voxels = span.start + members
                complete[voxels] = not len(missing)
                whitened = known[key]
                if whitened is None or not whitened[0].row_space.holds(rows):
                    continue
                own, whitening = whitened
                present = multiply(whitening, present_values(data, members, missing))
                betas, residual_ss = own.fit(present)
                square = residual_ss / own.dof
                found = (
                    t_contrast(rows[0], betas, square, own.covariance)
                    if test == "t"
                    else f_contrast(rows, betas, square, own.covariance)[:3]
                )
                effect[voxels], variance[voxels], stat[voxels] = found
                mean_square[voxels] = square
                dof[voxels] = np.where(square > 0, own.dof, 0.0)
        spread = np.sqrt(mean_square)
        return ContrastEstimates(effect, variance, stat, dof, len(rows), spread, complete)


def _inverse_root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = symmetric_eigen(covariance)
    return multiply(vectors / np.sqrt(values), vectors.T)


def fit_pooled_covariance(
    model: LinearModel,
    components: np.ndarray,
    interest: np.ndarray,
    read: ReadVoxels,
    n_voxels: int,
) -> PooledCovarianceFit:
    """Estimate one covariance of the maps and whiten them by it.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    components : array, shape (m, n, n)
        As of `covariance_components`.
    interest : array, shape (r, p)
        Contrast rows whose F picks the voxels: effects of interest, without participants' columns.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
        Voxels in the mask.

    Returns
    -------
    PooledCovarianceFit

    Raises
    ------
    ValueError
        Where no voxel passes, or the covariance has no estimate or is not positive definite.
    """
    products, n_passed = pooled_products(model, interest, read, n_voxels)
    if not n_passed:
        raise ValueError(
            f"No voxel passes p < {P_OF_VOXELS:g} of the F of all effects of interest, so there "
            "is nothing to estimate one covariance of. Take another error."
        )
    sizes, free = component_sizes(products, model.basis, components)
    covariance = sum(s * q for s, q in zip(sizes, components, strict=True))
    covariance = covariance * (len(covariance) / np.trace(covariance))
    untold = np.array([sum(s * q for s, q in zip(own, components, strict=True)) for own in free])
    if not symmetric_eigen(covariance)[0][0] > 1e-10:
        raise ValueError(
            f"The covariance of the maps, estimated of {n_passed} voxels, is not positive "
            "definite. Take fewer visits or groups, or another error."
        )
    return PooledCovarianceFit(model, covariance, untold, read, n_voxels, n_passed)


def effects_beyond_participants(model: LinearModel, participants: np.ndarray) -> np.ndarray:
    """Return the contrast rows of all that a design says beside columns of participants.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    participants : array, shape (n,)

    Returns
    -------
    array, shape (r, p)
        All columns together where the design does not hold those of participants.

    Examples
    --------
    >>> matrix = np.array([[1.0, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1]])
    >>> rows = effects_beyond_participants(LinearModel(matrix, "abc"), np.array([0, 0, 1, 1]))
    >>> np.abs(rows).round(12).tolist()
    [[0.0, 1.0, 0.0]]
    """
    number = np.unique(participants, return_inverse=True)[1]
    count = np.bincount(number)
    columns = (number[:, None] == np.arange(len(count))) / np.sqrt(count)
    largest = np.abs(model.matrix).max(axis=0, initial=1e-300)
    if (np.abs(residuals_of(model.basis, columns)) > _HELD).any():
        return independent_rows(model.matrix)
    left = residuals_of(columns, model.matrix / largest)
    left[np.abs(left) < _HELD] = 0.0
    return independent_rows(left) * largest


def fit_pooled_reml(
    model: LinearModel,
    participants: np.ndarray,
    visits: np.ndarray,
    covariance_groups: np.ndarray,
    read: ReadVoxels,
    n_voxels: int,
    covariance: np.ndarray | None = None,
) -> PooledCovarianceFit:
    """Whiten maps by one covariance of visits, which those of a group share.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    participants, visits, covariance_groups : int arrays, shape (n,)
        Of every map; groups are those whose variances and covariances of visits differ.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
        Voxels in the mask.
    covariance : array, shape (n, n), optional
        Of the maps, where it is known; without it the data tell.

    Returns
    -------
    PooledCovarianceFit

    Raises
    ------
    ValueError
        Where a participant has two maps of a visit, or as `fit_pooled_covariance`.
    """
    if covariance is not None:
        nothing = np.zeros((0, *covariance.shape))
        return PooledCovarianceFit(model, covariance, nothing, read, n_voxels, 0)
    pairs = np.column_stack([covariance_groups, visits])
    levels = np.unique(pairs, axis=0, return_inverse=True)[1].ravel()
    several = len(np.unique(participants)) < len(participants)
    components = covariance_components(participants, levels, several)
    interest = effects_beyond_participants(model, participants)
    return fit_pooled_covariance(model, components, interest, read, n_voxels)
