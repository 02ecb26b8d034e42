"""Cluster-robust variances of least squares: the maps of a cluster may vary together in any way.

The betas are those of ordinary least squares. The variance of a contrast comes of the residuals
of each cluster (participant, family, site), whatever their variances and correlations are
(Liang and Zeger 1986). As residuals vary less than errors do, those of a cluster are multiplied
by a matrix of the design: (I - H_gg)^(-1/2) in CR2, which makes the variance unbiased where errors
are independent and of one variance (Bell and McCaffrey 2002), (I - H_gg)^-1 in CR3, nothing in
CR0, sqrt(G / (G - 1)) in CR1. Clusters of one map each give HC0, HC2 and HC3 of independent rows,
for which there are HC1, sqrt(n / (n - rank)), and HC4, (1 - h)^(-min(4, h n / rank) / 2), too.

Degrees of freedom are Satterthwaite's under the same working model, a number of the design; those
of several rows are of the approximate Hotelling T2 (HTZ) of Pustejovsky and Tipton (2018),
Small-sample methods for cluster-robust variance estimation, J Bus Econ Stat 36:672.

``fit_sandwich(model, clusters, read, n_voxels, kind)`` gives a `SandwichFit`; see
`nipype_group.stats.estimators.contrast_estimates`. Voxels that maps lack have the sandwich of the
other maps. Reading is done again by every contrast.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np

from nipype_group.stats.decompositions import symmetric_eigen
from nipype_group.stats.elementary import power
from nipype_group.stats.estimators.contrast_estimates import ContrastEstimates
from nipype_group.stats.estimators.small_matrices import (
    ROUNDING,
    exceeds_rounding,
    factorise,
    quadratic_forms,
)
from nipype_group.stats.linear.least_squares import (
    LAST_PLACE,
    LinearModel,
    ReadVoxels,
    independent_rows,
    is_rounding,
    missing_patterns,
    present_values,
    tiles,
)
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares

KINDS = ("CR0", "CR1", "CR2", "CR3")
# 1 - eigenvalues of the leverage of a cluster that are taken for 0, as clubSandwich does.
_NO_RESIDUAL = 1e-12
_NO_MAPS = np.zeros(0, dtype=int)
# Share of a variance that rounding leaves of none.
_LOST = 1e-10


def _adjusted(scores: np.ndarray, basis: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Multiply rows by the adjustment of a cluster.

    Parameters
    ----------
    scores : array, shape (q, k)
        Weights of the k maps of the cluster.
    basis : array, shape (k, r)
        Rows of the cluster of an orthonormal basis of the design: H_gg is basis basis'.

    Returns
    -------
    adjusted : array, shape (q, k)
        scores (I - H_gg)^(-1/2), or (I - H_gg)^-1, by the pseudo-inverse where it is singular.
    lost : array, shape (q,)
        Squared length of the scores along what the design fits in the cluster alone, whose
        residuals are 0 whatever its errors are.
    """
    # H_gg and basis'basis have the same eigenvalues: that of fewer rows is decomposed.
    thin = len(basis) > basis.shape[1]
    values, vectors = symmetric_eigen(
        multiply(basis.T, basis) if thin else multiply(basis, basis.T)
    )
    there = 1 - values > _NO_RESIDUAL
    left = np.where(there, 1 - values, 1.0)
    along = multiply(scores, multiply(basis, vectors) if thin else vectors)
    lost = np.square(along[:, ~there]).sum(axis=1)
    if kind not in ("CR2", "CR3"):
        return scores, lost
    root = np.sqrt(left)
    if not thin:
        factors = np.where(there, 1 / root if kind == "CR2" else 1 / left, 0.0)
        return multiply(along * factors, vectors.T), lost
    # (factor - 1) / value, without its cancellation.
    gained = 1 / (root * (1 + root)) if kind == "CR2" else 1 / left
    through = multiply(along * np.where(there, gained, -1.0), vectors.T)
    return scores + multiply(through, basis.T), lost


def adjusted_weights(scores: np.ndarray, basis: np.ndarray, kind: str) -> np.ndarray:
    """Return rows, shape (q, k), times the adjustment of a cluster of k maps.

    Parameters
    ----------
    scores : array, shape (q, k)
    basis : array, shape (k, r)
        Rows of the cluster of an orthonormal basis of the design.
    kind : {"CR0", "CR1", "CR2", "CR3"}
        The root of G / (G - 1) of CR1 is left out.
    """
    return _adjusted(scores, basis, kind)[0]


@dataclass(frozen=True)
class ContrastSandwich:
    """The sandwich of contrast rows: what the design alone tells of their variance.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    clusters : int array, shape (n,)
        Cluster of every map.
    rows : array, shape (q, p)
        Independent contrast rows.
    kind : {"CR0", "CR1", "CR2", "CR3", "HC1", "HC4"}
        The last two where each cluster has one map.
    """

    model: LinearModel
    clusters: np.ndarray
    rows: np.ndarray
    kind: str

    @cached_property
    def members(self) -> list[np.ndarray]:
        """Maps of every cluster, in the order in which clusters appear."""
        _, first, number = np.unique(self.clusters, return_index=True, return_inverse=True)
        return [np.flatnonzero(number == g) for g in np.argsort(first, kind="stable")]

    @cached_property
    def _weights_and_lost(self) -> tuple[np.ndarray, np.ndarray]:
        scores = multiply(self.rows, self.model.inverse)
        weights, lost = np.empty_like(scores), np.zeros(len(scores))
        for at in self.members:
            weights[:, at], own = _adjusted(scores[:, at], self.model.basis[at], self.kind)
            if self.kind == "HC4":
                leverage = np.square(self.model.basis[at]).sum()
                exponent = min(4.0, leverage * len(scores[0]) / self.model.rank) / 2
                # Maps without a residual stay as they are.
                weights[:, at] /= power(max(1 - leverage, _NO_RESIDUAL), exponent)
            lost += own
        n, rank = len(self.members), self.model.rank
        if self.kind == "CR1" and n > 1:
            weights *= np.sqrt(n / (n - 1))
        elif self.kind == "HC1":
            weights *= np.sqrt(n / (n - rank))
        return weights, lost / np.square(scores).sum(axis=1)

    @property
    def weights(self) -> np.ndarray:
        """Weights of the residuals, shape (q, n): a row's variance is sum_g (weights_g e_g)^2."""
        return self._weights_and_lost[0]

    @property
    def lost(self) -> np.ndarray:
        """Share of the variance of each row that no residual tells of, shape (q,)."""
        return self._weights_and_lost[1]

    @cached_property
    def working(self) -> np.ndarray:
        """Covariance of the weighed residuals of clusters for unit variance, (q, q, G, G)."""
        q, n_clusters, basis = len(self.rows), len(self.members), self.model.basis
        spread = np.zeros((q, n_clusters, basis.shape[1]))
        squares = np.zeros((q, q, n_clusters))
        for g, at in enumerate(self.members):
            own = self.weights[:, at]
            spread[:, g] = multiply(own, basis[at])
            squares[:, :, g] = multiply(own, own.T)
        found = np.empty((q, q, n_clusters, n_clusters))
        for s in range(q):
            for t in range(q):
                found[s, t] = -multiply(spread[s], spread[t].T)
                found[s, t][np.diag_indices(n_clusters)] += squares[s, t]
        return found

    @cached_property
    def expected(self) -> np.ndarray:
        """Expected sandwich of the rows for unit variance, shape (q, q)."""
        return np.trace(self.working, axis1=2, axis2=3)

    @cached_property
    def dof(self) -> float:
        """Degrees of freedom of one row, or eta - q + 1 of several; 0 where there are none."""
        if len(self.members) < 2 or (self.lost > _LOST).any():
            return 0.0
        if len(self.rows) == 1:
            return float(self.expected[0, 0] ** 2 / np.square(self.working[0, 0]).sum())
        return max(self._eta - len(self.rows) + 1, 0.0)

    @cached_property
    def delta(self) -> float:
        """What Wald's statistic over q is multiplied by."""
        q = len(self.rows)
        return 1.0 if q == 1 else (self._eta - q + 1) / self._eta

    @cached_property
    def _eta(self) -> float:
        # Degrees of freedom of the Wishart matrix whose entries vary as much in sum.
        q = len(self.rows)
        # Rows of a like size, whatever the units of columns: powers of two, which round nothing.
        scale = np.ldexp(1.0, -(np.frexp(np.diag(self.expected))[1] // 2))
        values, vectors = symmetric_eigen(scale[:, None] * self.expected * scale)
        if values[0] <= _NO_RESIDUAL * values[-1]:
            return 0.0
        root = multiply(vectors / np.sqrt(values), vectors.T) * scale
        turned = _turned(root, self.working)
        total = 0.0
        for s in range(q):
            for t in range(q):
                total += (turned[s, s] * turned[t, t]).sum()
                total += (turned[s, t] * turned[t, s]).sum()
        return q * (q + 1) / total


def _turned(root: np.ndarray, working: np.ndarray) -> np.ndarray:
    """Return root working root' of the first two axes."""
    q, shape = len(root), working.shape
    left = multiply(root, working.reshape(q, -1)).reshape(shape).swapaxes(0, 1)
    return multiply(root, left.reshape(q, -1)).reshape(shape).swapaxes(0, 1)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _meat(weights, starts, residuals, found):
    """Write the sandwich of rows, shape (q, q, v); maps stand cluster by cluster.

    Parameters
    ----------
    weights : array, shape (q, n)
    starts : int array, shape (G + 1,)
        First map of every cluster.
    residuals : array, shape (n, v)
    """
    q, n_voxels = len(weights), residuals.shape[1]
    sums = np.empty((q, n_voxels))
    found[:] = 0.0
    for g in range(len(starts) - 1):
        sums[:] = 0.0
        for i in range(starts[g], starts[g + 1]):
            own = residuals[i]
            for s in range(q):
                weight, total = weights[s, i], sums[s]
                for v in range(n_voxels):
                    total[v] += weight * own[v]
        for s in range(q):
            for t in range(s + 1):
                left, right, total = sums[s], sums[t], found[s, t]
                for v in range(n_voxels):
                    total[v] += left[v] * right[v]
    for s in range(q):
        for t in range(s):
            found[t, s] = found[s, t]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _told(covariance, shares, data, squares, found):
    """Write where no combination of rows has a sandwich of rounding alone, shape (v,).

    Parameters
    ----------
    covariance : array, shape (q, q, v)
    shares : array, shape (q, q, n)
    data : array, shape (n, v)
    squares : array, shape (v,)
        Sum of squares of the data.
    """
    q = len(covariance)
    all_shares, room = np.zeros((q, q)), np.empty((2, q, q))
    for i in range(len(data)):
        all_shares += shares[:, :, i]
    for v in range(len(found)):
        own = covariance[:, :, v]
        # No rounding is more than this, and most voxels are far beyond.
        room[0] = own - (LAST_PLACE * LAST_PLACE + ROUNDING) * squares[v] * all_shares
        found[v] = factorise(room[0], room[1]) or exceeds_rounding(own, shares, data[:, v], room)


def residuals_of_maps(
    model: LinearModel,
    read: ReadVoxels,
    n_voxels: int,
    maps: Callable[[Sequence[int]], Iterator[np.ndarray]],
) -> Iterator[np.ndarray]:
    """Yield the residuals of every map under least squares, shape (v,).

    Parameters
    ----------
    model, read, n_voxels
        As of `SandwichFit`.
    maps : callable
        As `OwnErrorsFit.residuals` takes it.
    """
    rows = model.matrix
    betas = np.empty((rows.shape[1], n_voxels))
    for span in tiles(n_voxels, len(rows)):
        betas[:, span] = multiply(model.inverse, read(span.start, span.stop))
    for row, values in zip(rows, maps(range(len(rows))), strict=True):
        yield values - multiply(row, betas)


@dataclass(frozen=True)
class SandwichFit:
    """Least squares whose contrasts have cluster-robust variances.

    Parameters
    ----------
    model : LinearModel
    clusters : int array, shape (n,)
        Cluster of every map.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v);
        NaN where a map lacks the voxel.
    n_voxels : int
    kind : {"CR0", "CR1", "CR2", "CR3"}
    """

    model: LinearModel
    clusters: np.ndarray
    read: ReadVoxels
    n_voxels: int
    kind: str = "CR2"

    @property
    def components(self) -> dict[str, np.ndarray]:
        """No maps beside those of contrasts."""
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """The number of clusters."""
        n = len(np.unique(self.clusters))
        return (f"Variances are robust to any covariance within the {n} clusters.",)

    def residuals(
        self, maps: Callable[[Sequence[int]], Iterator[np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """Yield the residuals of every map; see `OwnErrorsFit`."""
        yield from residuals_of_maps(self.model, self.read, self.n_voxels, maps)

    def sandwich(self, rows: np.ndarray, missing: np.ndarray) -> ContrastSandwich | None:
        """Return the sandwich of rows, shape (q, p), without some maps, or None."""
        model = self.model.without(missing) if len(missing) else self.model
        if model is None or not model.row_space.holds(rows):
            return None
        return ContrastSandwich(model, np.delete(self.clusters, missing), rows, self.kind)

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

        Raises
        ------
        ValueError
            Where the residuals of all maps say nothing of the contrast's variance.
        """
        weights = np.atleast_2d(np.asarray(weights, dtype=float))
        rows = weights[:1] if test == "t" else independent_rows(weights)
        whole = self.sandwich(rows, _NO_MAPS)
        if whole is None or not whole.dof > 0:
            raise ValueError(
                f"The {len(np.unique(self.clusters))} clusters say too little of the variance of "
                "this contrast: it has more rows than they have degrees of freedom, or is about a "
                "column that one cluster alone has. Test fewer rows, or drop the column."
            )
        return _estimates(self, rows, test, whole)


def _estimates(
    fit: SandwichFit, rows: np.ndarray, test: str, whole: ContrastSandwich
) -> ContrastEstimates:
    """Estimate rows at all voxels, a tile at a time, those that lack the same maps together."""
    values = np.zeros((5, fit.n_voxels))
    complete = np.zeros(fit.n_voxels, dtype=bool)
    known: dict[bytes, ContrastSandwich | None] = {b"": whole}
    for span in tiles(fit.n_voxels, len(fit.model.matrix)):
        data = fit.read(span.start, span.stop)
        for members, missing in missing_patterns(data):
            key = missing.tobytes()
            if key not in known:
                known[key] = fit.sandwich(rows, missing)
            own = known[key]
            complete[span.start + members] = not len(missing)
            if own is not None and own.dof > 0:
                found = sandwich_statistics(own, present_values(data, members, missing), test)
                values[:, span.start + members] = found
    effect, variance, stat, dof, spread = values
    return ContrastEstimates(effect, variance, stat, dof, len(rows), spread, complete)


def sandwich_statistics(
    own: ContrastSandwich, data: np.ndarray, test: str
) -> tuple[np.ndarray, ...]:
    """Return effect, variance, statistic, dof and standard deviation of voxels without gaps.

    Parameters
    ----------
    own : ContrastSandwich
    data : array, shape (n, v)
    test : {"t", "F"}

    Returns
    -------
    tuple of five arrays, shape (v,)
        As of `ContrastEstimates`.
    """
    model, q = own.model, len(own.rows)
    effects = multiply(multiply(own.rows, model.inverse), data)
    residuals = residuals_of(model.basis, data)
    residual_ss = sum_of_squares(residuals)
    residual_ss[is_rounding(residual_ss, data)] = 0.0
    order = np.concatenate(own.members)
    starts = np.cumsum([0, *(len(at) for at in own.members)])
    if (order != np.arange(len(order))).any():
        residuals = residuals[order]
    covariance = np.empty((q, q, data.shape[1]))
    _meat(np.ascontiguousarray(own.weights[:, order]), starts, residuals, covariance)
    mean_square = residual_ss / model.dof
    told = np.empty(data.shape[1], dtype=bool)
    shares = own.weights[:, None] * own.weights[None]
    _told(covariance, shares, data, sum_of_squares(data), told)
    alive = (residual_ss > 0) & told
    if test == "t":
        variance = np.where(alive, covariance[0, 0], 0.0)
        error = np.sqrt(np.where(alive, variance, 1.0))
        effect, stat = effects[0], np.where(alive, effects[0] / error, 0.0)
    else:
        square = np.empty(data.shape[1])
        quadratic_forms(effects, covariance, square)
        alive &= square >= 0
        variance = np.where(alive, mean_square, 0.0)
        stat = np.where(alive, own.delta * square / q, 0.0)
        effect = np.sqrt(stat * variance)
    return effect, variance, stat, np.where(alive, own.dof, 0.0), np.sqrt(mean_square)


def fit_sandwich(
    model: LinearModel,
    clusters: np.ndarray,
    read: ReadVoxels,
    n_voxels: int,
    kind: str = "CR2",
) -> SandwichFit:
    """Return least squares with cluster-robust variances.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    clusters : int array, shape (n,)
        Cluster of every map.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
        Voxels in the mask.
    kind : {"CR0", "CR1", "CR2", "CR3"}
        Adjustment of the residuals.

    Returns
    -------
    SandwichFit

    Raises
    ------
    ValueError
        Where there are fewer than two clusters, or the kind is none of these.

    Examples
    --------
    >>> data = np.array([[1.0], [2], [4], [3], [7], [6]])
    >>> mean = LinearModel(np.ones((6, 1)), ("mean",))
    >>> fit = fit_sandwich(mean, np.array([0, 0, 1, 1, 2, 2]), lambda a, b: data[:, a:b], 1)
    >>> found = fit.contrast(np.array([[1.0]]), "t")
    >>> [a.round(4).tolist() for a in (found.effect, found.variance, found.dof)]
    [[3.8333], [2.1111], [2.0]]
    """
    clusters = np.asarray(clusters)
    if kind not in KINDS:
        raise ValueError(f"the sandwich is one of {', '.join(KINDS)}, got {kind!r}")
    if len(clusters) != len(model.matrix):
        raise ValueError(f"{len(clusters)} clusters are named for {len(model.matrix)} maps")
    if len(np.unique(clusters)) < 2:
        raise ValueError(
            "All maps are of one cluster, and a sandwich needs two: name another column."
        )
    return SandwichFit(model, clusters, read, n_voxels, kind)
