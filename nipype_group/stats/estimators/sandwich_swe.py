"""The modified sandwich of SwE: participants of a group share one covariance of their visits.

Guillaume, Hua, Thompson, Waldorp and Nichols (2014), NeuroImage 94:287. The covariance of the
visits of each group is estimated of the residuals of all its participants: variances of those who
have a visit; correlations of those who have both, times the root of the variances. Negative
eigenvalues are set to 0. Residuals are multiplied by (I - H_gg)^(-1/2) of their participant (C2 of
the toolbox), or taken as they are. Degrees of freedom are those of approximation III of Guillaume
(2015, thesis, Warwick): Satterthwaite's, the variance of the sandwich by the delta method with the
visits that participants lack, and the columns between participants allowed for; or their number
less those columns (naive).

``fit_sandwich_swe(model, participants, visits, covariance_groups, read, n_voxels, kind, dof)``
gives a `SweFit`; see `nipype_group.stats.estimators.contrast_estimates`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np

from nipype_group.stats.decompositions import decompose, diagonalise
from nipype_group.stats.estimators.contrast_estimates import ContrastEstimates
from nipype_group.stats.estimators.sandwich import adjusted_weights, residuals_of_maps
from nipype_group.stats.estimators.small_matrices import (
    exceeds_rounding,
    factorise,
    solve_forward,
)
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    ReadVoxels,
    independent_rows,
    is_rounding,
    missing_patterns,
    present_values,
    tiles,
)
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares

SWE_DOF = ("approximation-iii", "naive")
# Length of a column, less its mean of every participant, that is rounding.
_NO_CHANGE = 1e-10


@dataclass(frozen=True)
class _Visits:
    """What the design tells of the covariances of visits.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    participants : int array, shape (n,)
    visit : int array, shape (n,)
        0 to K - 1.
    group : int array, shape (n,)
        0 to G - 1.
    kind : {"CR0", "CR2"}
    """

    model: LinearModel
    participants: np.ndarray
    visit: np.ndarray
    group: np.ndarray
    kind: str

    @cached_property
    def maps(self) -> np.ndarray:
        """The map of every participant and visit, -1 where there is none, shape (S, K)."""
        _, number = np.unique(self.participants, return_inverse=True)
        maps = np.full((number.max() + 1, self.visit.max() + 1), -1)
        maps[number, self.visit] = np.arange(len(number))
        return maps

    @cached_property
    def group_of(self) -> np.ndarray:
        """Group of every participant, shape (S,)."""
        return self.group[self.maps.max(axis=1)]

    @cached_property
    def adjustment(self) -> np.ndarray:
        """What residuals of participants are multiplied by, shape (S, K, K); 0 of no map."""
        found = np.zeros((*self.maps.shape, self.maps.shape[1]))
        for own, maps in zip(found, self.maps, strict=True):
            at = np.flatnonzero(maps >= 0)
            own[np.ix_(at, at)] = adjusted_weights(
                np.eye(len(at)), self.model.basis[maps[at]], self.kind
            )
        return found

    @cached_property
    def dof(self) -> float:
        """Participants less the columns that are the same in all maps of each."""
        within = self.model.basis.copy()
        for maps in self.maps:
            at = maps[maps >= 0]
            within[at] -= within[at].mean(axis=0)
        between = self.model.rank - decompose(within, _NO_CHANGE).rank
        return float(len(self.maps) - between)

    def shared(self) -> np.ndarray:
        """Return 1 / dof that two covariances of visits share, shape (G, K, K, K, K)."""
        n_groups, n_visits = self.group.max() + 1, self.maps.shape[1]
        found = np.zeros((n_groups, *[n_visits] * 4))
        effective = self.dof / len(self.maps)
        for g in range(n_groups):
            has = (self.maps[self.group_of == g] >= 0).astype(float)
            pairs = (has[:, :, None] * has[:, None, :]).reshape(len(has), -1)
            both, count = multiply(pairs.T, pairs), pairs.sum(axis=0)
            whole = count[:, None] * count
            share = np.divide(both, whole, out=np.zeros_like(both), where=whole > 0)
            found[g] = share.reshape([n_visits] * 4) / effective
        return found

    def shares(self, weights: np.ndarray) -> np.ndarray:
        """Return what the squared residual of every map adds to the sandwich, (q, q, n)."""
        _, group = np.unique(self.participants, return_inverse=True)
        group = self.group_of[group]
        count = np.zeros((self.group.max() + 1, self.maps.shape[1]))
        np.add.at(count, (group, self.visit), 1.0)
        own = weights[group, :, :, self.visit, self.visit]
        return np.ascontiguousarray(
            np.moveaxis(own / count[group, self.visit][:, None, None], 0, 2)
        )

    def weights(self, rows: np.ndarray) -> np.ndarray:
        """Return the weights of covariances of visits in those of rows, (G, q, q, K, K)."""
        effect = multiply(rows, self.model.inverse)
        n_groups, n_visits, q = self.group.max() + 1, self.maps.shape[1], len(rows)
        found = np.zeros((n_groups, q, q, n_visits, n_visits))
        for g, maps in zip(self.group_of, self.maps, strict=True):
            own = np.where(maps >= 0, effect[:, maps], 0.0)
            found[g] += own[:, None, :, None] * own[None, :, None, :]
        return found


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _covary(maps, group_of, adjustment, residuals, covariance, work):
    """Write the covariance of the visits of every group, of the residuals of one voxel.

    work : tuple of arrays, shapes (S, K), (K, K) and (K, K)
    """
    adjusted, matrix, vectors = work
    n, n_visits = maps.shape
    for s in range(n):
        for a in range(n_visits):
            adjusted[s, a] = 0.0
            for b in range(n_visits):
                if maps[s, a] >= 0 and maps[s, b] >= 0:
                    adjusted[s, a] += adjustment[s, a, b] * residuals[maps[s, b]]
    for g in range(len(covariance)):
        own = covariance[g]
        for a in range(n_visits):
            total, count = 0.0, 0
            for s in range(n):
                if group_of[s] == g and maps[s, a] >= 0:
                    total += adjusted[s, a] * adjusted[s, a]
                    count += 1
            own[a, a] = total / count if count else 0.0
        for a in range(n_visits):
            for b in range(a):
                both, one, other = 0.0, 0.0, 0.0
                for s in range(n):
                    if group_of[s] == g and maps[s, a] >= 0 and maps[s, b] >= 0:
                        both += adjusted[s, a] * adjusted[s, b]
                        one += adjusted[s, a] * adjusted[s, a]
                        other += adjusted[s, b] * adjusted[s, b]
                size = one * other
                value = both * np.sqrt(own[a, a] * own[b, b] / size) if size > 0.0 else 0.0
                own[a, b] = own[b, a] = value
        _clip(own, matrix, vectors)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _clip(own, matrix, vectors):
    """Set negative eigenvalues of a covariance to 0."""
    n = len(own)
    matrix[:] = own
    diagonalise(matrix, vectors)
    least = 0.0
    for i in range(n):
        least = min(least, matrix[i, i])
    if least == 0.0:
        return
    for a in range(n):
        for b in range(n):
            own[a, b] = 0.0
            for i in range(n):
                if matrix[i, i] > 0.0:
                    own[a, b] += vectors[i, a] * matrix[i, i] * vectors[i, b]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _ratio(numerator, denominator):
    return numerator / denominator if denominator > 0.0 else 0.0


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _shared_covariance(v, shared, i, j, a, b):
    """Return the covariance of two covariances of visits, by the delta method."""
    whole = shared[i, j, a, b]
    total = whole * (v[i, a] * v[j, b] + v[i, b] * v[j, a])
    for x in (i, j):
        change = shared[x, x, a, b] - whole
        if i != j and change != 0.0:
            total += v[i, j] * _ratio(v[x, a] * v[x, b], v[x, x]) * change
    for y in (a, b):
        change = shared[i, j, y, y] - whole
        if a != b and change != 0.0:
            total += v[a, b] * _ratio(v[i, y] * v[j, y], v[y, y]) * change
    if i != j and a != b:
        for x in (i, j):
            for y in (a, b):
                change = shared[x, x, y, y] + whole - shared[i, j, y, y] - shared[x, x, a, b]
                square = _ratio(v[x, y] * v[x, y], v[x, x] * v[y, y])
                total += 0.5 * v[i, j] * v[a, b] * square * change
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _dof_of(covariance, shared, weights, rows):
    """Return Satterthwaite's dof of the sandwich of rows, shape (q, q), 0 where it has none."""
    q, n_visits = len(rows), covariance.shape[1]
    trace, squares, variance = 0.0, 0.0, 0.0
    for s in range(q):
        trace += rows[s, s]
        for t in range(q):
            squares += rows[s, t] * rows[s, t]
    for g in range(len(covariance)):
        for i in range(n_visits):
            for j in range(n_visits):
                for a in range(n_visits):
                    for b in range(n_visits):
                        weight = 0.0
                        for s in range(q):
                            for t in range(q):
                                weight += weights[g, s, t, i, j] * weights[g, s, t, a, b]
                        if weight != 0.0:
                            variance += weight * _shared_covariance(
                                covariance[g], shared[g], i, j, a, b
                            )
    return (squares + trace * trace) / variance if variance > 0.0 else 0.0


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _estimate(
    visits, weights, shared, naive, effects, residuals, rounding, alive, sandwich, stat, dof
):
    """Write sandwich, t or F, and dof of every voxel; all 0 where there is no statistic."""
    maps, group_of, adjustment = visits
    (n, n_visits), q = maps.shape, len(effects)
    shares, data = rounding
    room = np.empty((2, q, q))
    covariance = np.empty((len(weights), n_visits, n_visits))
    work = np.empty((n, n_visits)), np.empty((n_visits, n_visits)), np.empty((n_visits, n_visits))
    rows, lower, effect = np.empty((q, q)), np.empty((q, q)), np.empty(q)
    own = np.empty(len(residuals))
    for v in range(len(stat)):
        stat[v] = dof[v] = sandwich[v] = 0.0
        if not alive[v]:
            continue
        own[:] = residuals[:, v]
        _covary(maps, group_of, adjustment, own, covariance, work)
        rows[:] = 0.0
        for g in range(len(weights)):
            for s in range(q):
                for t in range(q):
                    for a in range(n_visits):
                        for b in range(n_visits):
                            rows[s, t] += weights[g, s, t, a, b] * covariance[g, a, b]
        if not exceeds_rounding(rows, shares, data[:, v], room):
            continue
        freedom = naive if naive > 0.0 else _dof_of(covariance, shared, weights, rows)
        if not factorise(rows, lower) or not freedom - q + 1 > 0.0:
            continue
        for s in range(q):
            effect[s] = effects[s, v]
        solve_forward(lower, effect)
        sandwich[v], dof[v] = rows[0, 0], freedom - q + 1
        if q == 1:
            stat[v] = effect[0]
        else:
            for s in range(q):
                stat[v] += effect[s] * effect[s]
            stat[v] *= (freedom - q + 1) / (freedom * q)


@dataclass(frozen=True)
class SweFit:
    """Least squares whose contrasts have SwE's modified sandwich.

    Parameters
    ----------
    model : LinearModel
    participants, visits, groups : int arrays, shape (n,)
        Of every map; groups are those whose covariances differ.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
    kind : {"CR2", "CR0"}
    dof : {"approximation-iii", "naive"}
    """

    model: LinearModel
    participants: np.ndarray
    visits: np.ndarray
    groups: np.ndarray
    read: ReadVoxels
    n_voxels: int
    kind: str
    dof: str

    @property
    def components(self) -> dict[str, np.ndarray]:
        """No maps beside those of contrasts."""
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What participants share."""
        n_groups, n_visits = len(np.unique(self.groups)), len(np.unique(self.visits))
        of = "all participants" if n_groups == 1 else f"participants of each of {n_groups} groups"
        what = "a variance" if n_visits == 1 else f"a covariance of {n_visits} visits"
        return (f"At every voxel {of} share {what}.",)

    def residuals(
        self, maps: Callable[[Sequence[int]], Iterator[np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """Yield the residuals of every map; see `OwnErrorsFit`."""
        yield from residuals_of_maps(self.model, self.read, self.n_voxels, maps)

    def _of(self, missing: np.ndarray) -> _Visits | None:
        model = self.model.without(missing) if len(missing) else self.model
        if model is None:
            return None
        numbers = [
            np.unique(np.delete(values, missing), return_inverse=True)[1]
            for values in (self.participants, self.visits, self.groups)
        ]
        return _Visits(model, numbers[0], numbers[1], numbers[2], self.kind)

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
            F is (dof - q + 1) / (dof q) times Wald's statistic, and so are its dof dof - q + 1.

        Raises
        ------
        ValueError
            Where participants leave the contrast no degree of freedom.
        """
        weights = np.atleast_2d(np.asarray(weights, dtype=float))
        rows = weights[:1] if test == "t" else independent_rows(weights)
        whole = self._of(np.zeros(0, dtype=int))
        assert whole is not None
        if not whole.dof >= len(rows):
            raise ValueError(
                f"The {len(whole.maps)} participants, less the columns between them, leave "
                f"{whole.dof:g} degrees of freedom for {len(rows)} rows. Test fewer rows, or "
                "leave columns out that are the same in all maps of a participant, as those of "
                "participants."
            )
        values = np.zeros((5, self.n_voxels))
        complete = np.zeros(self.n_voxels, dtype=bool)
        known: dict[bytes, _Visits | None] = {b"": whole}
        for span in tiles(self.n_voxels, len(self.model.matrix)):
            data = self.read(span.start, span.stop)
            for members, missing in missing_patterns(data):
                key = missing.tobytes()
                if key not in known:
                    known[key] = self._of(missing)
                own = known[key]
                complete[span.start + members] = not len(missing)
                if own is not None and own.model.row_space.holds(rows) and own.dof >= 1:
                    present = present_values(data, members, missing)
                    values[:, span.start + members] = self._fit(own, rows, present, test)
        effect, variance, stat, dof, spread = values
        return ContrastEstimates(effect, variance, stat, dof, len(rows), spread, complete)

    def _fit(
        self, own: _Visits, rows: np.ndarray, data: np.ndarray, test: str
    ) -> tuple[np.ndarray, ...]:
        """Return effect, variance, statistic, dof and spread of voxels without gaps."""
        model = own.model
        effects = multiply(multiply(rows, model.inverse), data)
        residuals = residuals_of(model.basis, data)
        residual_ss = sum_of_squares(residuals)
        residual_ss[is_rounding(residual_ss, data)] = 0.0
        sandwich, stat, dof = np.empty((3, data.shape[1]))
        visits = own.maps, own.group_of, own.adjustment
        naive = own.dof if self.dof == "naive" else 0.0
        alive = residual_ss > 0
        weights = own.weights(rows)
        _estimate(
            visits,
            weights,
            own.shared(),
            naive,
            effects,
            residuals,
            (own.shares(weights), data),
            alive,
            sandwich,
            stat,
            dof,
        )
        mean_square = residual_ss / model.dof
        if test == "t":
            return effects[0], sandwich, stat, dof, np.sqrt(mean_square)
        if len(rows) == 1:
            stat = np.square(stat)
        variance = np.where(dof > 0, mean_square, 0.0)
        return np.sqrt(stat * variance), variance, stat, dof, np.sqrt(mean_square)


def fit_sandwich_swe(
    model: LinearModel,
    participants: np.ndarray,
    visits: np.ndarray,
    covariance_groups: np.ndarray,
    read: ReadVoxels,
    n_voxels: int,
    kind: str = "CR2",
    dof: str = "approximation-iii",
) -> SweFit:
    """Return least squares with the modified sandwich of SwE.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    participants, visits, covariance_groups : arrays, shape (n,)
        Of every map; groups are those whose covariances differ.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
        Voxels in the mask.
    kind : {"CR2", "CR0"}
        Residuals multiplied by (I - H_gg)^(-1/2), or as they are.
    dof : {"approximation-iii", "naive"}

    Returns
    -------
    SweFit

    Raises
    ------
    ValueError
        Where a participant has two maps of a visit or is in two groups, or a name is unknown.

    Examples
    --------
    >>> data = np.array([[1.0], [2], [4], [3], [7], [6]])
    >>> mean = LinearModel(np.ones((6, 1)), ("mean",))
    >>> who, visit = np.array([0, 0, 1, 1, 2, 2]), np.array([1, 2, 1, 2, 1, 2])
    >>> read = lambda a, b: data[:, a:b]
    >>> fit = fit_sandwich_swe(mean, who, visit, np.zeros(6), read, 1, dof="naive")
    >>> found = fit.contrast(np.array([[1.0]]), "t")
    >>> found.effect.round(4).tolist(), found.dof.tolist()
    ([3.8333], [2.0])
    """
    given = participants, visits, covariance_groups
    participants, visits, groups = (np.asarray(values) for values in given)
    if kind not in ("CR2", "CR0") or dof not in SWE_DOF:
        raise ValueError(
            f"SwE's sandwich is CR2 or CR0, its dof {' or '.join(SWE_DOF)}, got {kind!r}, {dof!r}"
        )
    if len(set(zip(participants.tolist(), visits.tolist(), strict=True))) < len(participants):
        raise ValueError(
            "A participant has several maps of one visit. Name a column that tells them apart."
        )
    first = np.unique(participants, return_index=True, return_inverse=True)
    if (groups[first[1]][first[2]] != groups).any():
        raise ValueError(
            "A participant has maps in several groups of covariances. Name a column that is the "
            "same in all maps of each participant."
        )
    return SweFit(model, participants, visits, groups, read, n_voxels, kind, dof)
