"""Contrasts of designs with several maps a participant, each tested on its own error.

A participant's maps are combined to contrast maps, one for each orthonormal direction of the
cells that a contrast is about. What is left of them by the model between participants is the
error of the contrast, and of no other one. The model of the contrast maps is the design's, its
rows combined as the maps are, so a weight of the design means the same in it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np

from nipype_group.choices import SPHERICITY
from nipype_group.stats.decompositions import decompose
from nipype_group.stats.distributions import f_to_z_and_log_p, z_and_p_of_t
from nipype_group.stats.elementary import exp
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    f_contrast,
    independent_rows,
    is_rounding,
    missing_patterns,
    present_values,
    t_contrast,
    tiles,
)
from nipype_group.stats.matrix_products import (
    add_product,
    multiply,
    residuals_of,
    sum_of_squares,
)

# Share of a column of the design that rounding leaves of one that the directions take out, which
# hold as many digits as the design's columns tell apart.
_TAKEN_OUT = 1e-7
# Share of a sum of squares that rounding leaves of a weighed sum of 0, squared.
_CANCELLED = 1e-28
# Columns whose contrast maps stay in a first-level cache.
_COLUMNS_PER_BLOCK = 512


@dataclass(frozen=True)
class ErrorTerm:
    """The contrast maps that a contrast is tested on, and their model.

    Parameters
    ----------
    matrix : array, shape (n, p)
        Design of all maps, without columns of participants.
    columns : tuple of str
        Names of its columns.
    maps : int array, shape (N, K)
        The map of each of N participants in each of K cells.
    directions : array, shape (k, K)
        Orthonormal weights of the cells.

    Raises
    ------
    ValueError
        Where the participants leave no degree of freedom.
    """

    matrix: np.ndarray
    columns: tuple[str, ...]
    maps: np.ndarray
    directions: np.ndarray

    @property
    def n_participants(self) -> int:
        """Number of participants, who have all cells."""
        return len(self.maps)

    @property
    def n_directions(self) -> int:
        """Number of contrast maps of a participant."""
        return len(self.directions)

    @cached_property
    def kept(self) -> np.ndarray:
        """Columns of the design that the contrast maps have a part of, shape (p',)."""
        combined = self.combine(self.matrix)
        whole = sum_of_squares(self.matrix[self.maps.ravel()])
        return np.flatnonzero(sum_of_squares(combined) > _TAKEN_OUT**2 * whole)

    @cached_property
    def model(self) -> LinearModel:
        """Model of the contrast maps: participant by participant, direction by direction."""
        columns = tuple(self.columns[i] for i in self.kept)
        combined = self.combine(self.matrix)[:, self.kept]
        whole = sum_of_squares(self.matrix[self.maps.ravel()][:, self.kept])
        shares = np.sqrt(sum_of_squares(combined) / whole)
        return LinearModel(_without_rounding(combined, shares.min(initial=1.0)), columns)

    @property
    def dof_between(self) -> float:
        """Residual degrees of freedom of one direction."""
        return self.model.dof / self.n_directions

    @property
    def participants(self) -> np.ndarray:
        """Number of the participant of every contrast map, shape (N k,)."""
        return np.repeat(np.arange(self.n_participants), self.n_directions)

    def weights(self, weights: np.ndarray) -> np.ndarray:
        """Return contrast rows of the design, shape (r, p), over the columns of the model."""
        return np.atleast_2d(weights)[:, self.kept]

    def size_per_t(self, weights: np.ndarray) -> float:
        """Return d_z of a t of 1.

        The weights of participants whose sign is positive are scaled to a sum of 1, as those of a
        mean, or of a difference of two means.
        """
        row = multiply(self.weights(weights)[0], self.model.inverse)
        row = row * np.sign(row[np.argmax(np.abs(row))])
        return float(np.sqrt(np.square(row).sum()) / row[row > 0].sum())

    def combine(self, values: np.ndarray) -> np.ndarray:
        """Combine the rows of all maps, shape (n, v), to those of contrast maps, shape (N k, v).

        A contrast map is NaN where one of the participant's maps is, and 0 where rounding alone
        is left of its sum, as of maps that are the same.
        """
        combined = np.empty((self.n_participants * self.n_directions, values.shape[1]))
        _combine(
            np.ascontiguousarray(self.directions),
            self.maps,
            np.ascontiguousarray(values, dtype=float),
            combined,
        )
        return combined


def _without_rounding(columns: np.ndarray, share: float) -> np.ndarray:
    """Take out what rounding leaves of sums that nearly cancel, which looks like columns.

    Parameters
    ----------
    columns : array, shape (m, p)
        Combined columns of a design.
    share : float
        Smallest share that they are of the columns.
    """
    lengths = np.sqrt(sum_of_squares(columns))
    unit = columns / lengths
    rounding = max(unit.shape) * np.sqrt(unit.shape[1]) * np.finfo(float).eps
    found = decompose(unit, rounding / share)
    if found.rank == decompose(unit, rounding).rank:
        return columns
    return multiply(found.basis, multiply(found.basis.T, unit)) * lengths


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _combine(
    directions: np.ndarray, maps: np.ndarray, values: np.ndarray, combined: np.ndarray
) -> None:
    """Write the contrast maps of all participants; sums run over cells in ascending order."""
    k, n_cells = directions.shape
    length = np.empty(min(_COLUMNS_PER_BLOCK, values.shape[1]))
    for start in range(0, values.shape[1], _COLUMNS_PER_BLOCK):
        stop = min(start + _COLUMNS_PER_BLOCK, values.shape[1])
        for i in range(len(maps)):
            length[:] = 0.0
            for c in range(n_cells):
                row = values[maps[i, c], start:stop]
                for v in range(stop - start):
                    length[v] += row[v] * row[v]
            for d in range(k):
                total = combined[i * k + d, start:stop]
                total[:] = 0.0
                for c in range(n_cells):
                    add_product(directions[d, c], values[maps[i, c], start:stop], total)
                for v in range(stop - start):
                    if total[v] * total[v] < _CANCELLED * length[v]:
                        total[v] = 0.0


@dataclass(frozen=True)
class Estimates:
    """What a contrast is at every voxel, on its own error.

    Parameters
    ----------
    effect, variance, stat : arrays, shape (v,)
        As of `t_contrast` and `f_contrast`; 0 where the contrast has no statistic.
    residual_variance : array, shape (v,)
        Mean square of the error.
    dof : int array, shape (v,)
        Degrees of freedom of the error before any correction; 0 where there is no statistic.
    rank : int
        Degrees of freedom of the numerator before any correction.
    epsilon : array, shape (v,)
        Box's epsilon as Greenhouse and Geisser (1959) estimate it; 1 of one direction.
    """

    effect: np.ndarray
    variance: np.ndarray
    stat: np.ndarray
    residual_variance: np.ndarray
    dof: np.ndarray
    rank: int
    epsilon: np.ndarray


def estimate(
    term: ErrorTerm,
    weights: np.ndarray,
    test: str,
    read: Callable[[int, int], np.ndarray],
    n_voxels: int,
) -> Estimates:
    """Estimate a contrast on its own error at all voxels, a tile at a time.

    A participant who lacks a voxel in one of the maps leaves that voxel (complete cases).

    Parameters
    ----------
    term : ErrorTerm
    weights : array, shape (r, p)
        Contrast rows over the columns of the design.
    test : {"t", "F"}
        One row with a sign, or all rows together.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
        Voxels in the mask.

    Returns
    -------
    Estimates

    Examples
    --------
    >>> data = np.array([[1.0, 2], [2, 4], [1, 5], [4, 1], [2, 3], [4, 5]])
    >>> term = ErrorTerm(
    ...     np.tile([[1.0, 0], [1, 1]], (3, 1)),
    ...     ("intercept", "b"),
    ...     np.arange(6).reshape(3, 2),
    ...     np.array([[-1.0, 1]]) / np.sqrt(2),
    ... )
    >>> found = estimate(term, np.array([[0.0, 1]]), "t", lambda a, b: data[:, a:b], 2)
    >>> found.effect.round(6).tolist(), found.stat.round(6).tolist(), found.dof.tolist()
    ([2.0, 0.0], [3.464102, 0.0], [2, 2])
    """
    weights = term.weights(weights)
    values, dof = np.zeros((5, n_voxels)), np.zeros(n_voxels, dtype=int)
    values[4] = 1.0
    for span in tiles(n_voxels, len(term.matrix)):
        data = term.combine(read(span.start, span.stop))
        for members, missing in missing_patterns(data):
            own = term.model.without(missing) if len(missing) else term.model
            if own is None or not own.row_space.holds(weights):
                continue
            voxels = span.start + members
            found = _fit(
                own, weights, test, present_values(data, members, missing), term.n_directions
            )
            values[:, voxels], dof[voxels] = found, own.dof
    effect, variance, stat, residual_variance, epsilon = values
    dof[residual_variance <= 0] = 0
    rank = 1 if test == "t" else len(independent_rows(weights))
    return Estimates(effect, variance, stat, residual_variance, dof, rank, epsilon)


def _fit(
    model: LinearModel, weights: np.ndarray, test: str, data: np.ndarray, n_directions: int
) -> tuple[np.ndarray, ...]:
    """Return effect, variance, statistic, error mean square and epsilon of voxels without gaps."""
    betas = multiply(model.inverse, data)
    residuals = residuals_of(model.basis, data)
    residual_ss = sum_of_squares(residuals)
    residual_ss[is_rounding(residual_ss, data)] = 0.0
    mean_square = residual_ss / model.dof
    if test == "t":
        effect, variance, stat = t_contrast(weights[0], betas, mean_square, model.covariance)
    else:
        effect, variance, stat, _ = f_contrast(weights, betas, mean_square, model.covariance)
    epsilon = np.ones(len(stat))
    if n_directions > 1:
        box = _box_epsilon(residuals.reshape(-1, n_directions, data.shape[1]))
        epsilon = np.where(residual_ss > 0, box, epsilon)
    return effect, variance, stat, mean_square, epsilon


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_cross_products(residuals: np.ndarray, trace: np.ndarray, square: np.ndarray) -> None:
    """Add the trace of the error matrix of residuals, and that of its square."""
    n, k, n_voxels = residuals.shape
    total = np.empty(n_voxels)
    for a in range(k):
        for b in range(a + 1):
            total[:] = 0.0
            for i in range(n):
                left, right = residuals[i, a], residuals[i, b]
                for v in range(n_voxels):
                    total[v] += left[v] * right[v]
            for v in range(n_voxels):
                if a == b:
                    trace[v] += total[v]
                    square[v] += total[v] * total[v]
                else:
                    square[v] += 2.0 * (total[v] * total[v])


def _box_epsilon(residuals: np.ndarray) -> np.ndarray:
    """Return tr(E)^2 / (k tr(E^2)) of residuals of shape (N, k, v), 1 where they are 0."""
    trace, square = np.zeros((2, residuals.shape[2]))
    _add_cross_products(np.ascontiguousarray(residuals), trace, square)
    whole = residuals.shape[1] * square
    return np.divide(np.square(trace), whole, out=np.ones_like(trace), where=whole > 0)


def epsilon_of(term: ErrorTerm, data: np.ndarray) -> np.ndarray:
    """Return Greenhouse and Geisser's epsilon of contrast maps.

    Parameters
    ----------
    term : ErrorTerm
    data : array, shape (n, v)
        Values of the maps without gaps.

    Returns
    -------
    array, shape (v,)
    """
    residuals = residuals_of(term.model.basis, term.combine(data))
    return _box_epsilon(residuals.reshape(term.n_participants, term.n_directions, -1))


# Huynh and Feldt's epsilon below which a correction is advised (Girden 1992).
SPHERICAL = 0.75


def median_epsilons(term: ErrorTerm, data: np.ndarray) -> tuple[float, float] | None:
    """Return the median over voxels of Greenhouse and Geisser's epsilon, and Huynh and Feldt's.

    Parameters
    ----------
    term : ErrorTerm
        Of several contrast maps a participant.
    data : array, shape (n, v)
        Some voxels; those with gaps are left out.

    Returns
    -------
    tuple of float or None
        The second is at most 1 and that of the first; None where all voxels have gaps.
    """
    found = epsilon_of(term, data[:, np.isfinite(data).all(axis=0)])
    if not found.size:
        return None
    middle = np.array([np.median(found)])
    unbiased = np.minimum(huynh_feldt(middle, term.n_directions, term.dof_between), 1.0)
    return float(middle[0]), float(unbiased[0])


def corrected_epsilon(
    epsilon: np.ndarray, n_directions: int, dof_between: np.ndarray | float, sphericity: str
) -> np.ndarray:
    """Return the epsilon that both degrees of freedom are multiplied by.

    Parameters
    ----------
    epsilon : array, shape (v,)
        As `Estimates` has it.
    n_directions : int
        Contrast maps a participant.
    dof_between : float or array, shape (v,)
        Residual degrees of freedom of one direction.
    sphericity : {"greenhouse-geisser", "huynh-feldt", "none"}
        Greenhouse and Geisser 1959; Huynh and Feldt 1976 as Lecoutre 1991 corrects it, at most 1;
        or no correction.

    Returns
    -------
    array, shape (v,)

    Raises
    ------
    ValueError
        Where the correction is none of these.

    Examples
    --------
    >>> corrected_epsilon(np.array([0.8, 0.5]), 2, 9, "huynh-feldt").round(4).tolist()
    [0.9459, 0.5]
    """
    if sphericity not in SPHERICITY:
        raise ValueError(f"sphericity is one of {', '.join(SPHERICITY)}, got {sphericity!r}")
    if n_directions == 1 or sphericity == "none":
        return np.ones_like(epsilon)
    if sphericity == "greenhouse-geisser":
        return epsilon
    return np.minimum(huynh_feldt(epsilon, n_directions, dof_between), 1.0)


def huynh_feldt(
    epsilon: np.ndarray, n_directions: int, dof_between: np.ndarray | float
) -> np.ndarray:
    """Return Huynh and Feldt's epsilon in the form of Lecoutre (1991), which may exceed 1.

    ((N - g + 1) k e - 2) / (k (N - g - k e)), with N - g degrees of freedom of one direction.
    Where the denominator is not positive there is nothing to correct, and it is 1.
    """
    denominator = n_directions * (dof_between - n_directions * epsilon)
    numerator = (dof_between + 1) * n_directions * epsilon - 2
    return np.divide(
        numerator, denominator, out=np.ones_like(epsilon), where=np.asarray(denominator) > 0
    )


def maps_of(
    found: Estimates, term: ErrorTerm, weights: np.ndarray, test: str, tail: str, sphericity: str
) -> dict[str, np.ndarray]:
    """Turn estimates into the maps of a contrast.

    Parameters
    ----------
    found : Estimates
    term : ErrorTerm
    weights : array, shape (r, p)
        Contrast rows over the columns of the design.
    test : {"t", "F"}
    tail : {"two-sided", "positive", "negative"}
        Side of the p of t.
    sphericity : str
        As in `corrected_epsilon`.

    Returns
    -------
    dict of arrays, shape (v,)
        effect, variance, stat, z, p, effect_size (d_z of t: the effect over the standard
        deviation of the contrast maps; partial eta squared of F), spread (that standard deviation
        in units of the effect; of F the root of the mean square of the error), error_variance,
        dof, dof_numerator, epsilon, and complete: where all participants of the error have a
        statistic.
        z and p are those of the corrected degrees of freedom. Voxels without a statistic have
        variance 0, statistic 0, z 0 and p 1.
    """
    alive = found.dof > 0
    dof = np.where(alive, found.dof, 1)
    epsilon = corrected_epsilon(
        found.epsilon, term.n_directions, dof / term.n_directions, sphericity
    )
    if test == "t":
        z, p = z_and_p_of_t(found.stat, dof, tail)
        per_t = term.size_per_t(weights)
        size, spread = found.stat * per_t, np.sqrt(found.variance) / per_t
    else:
        freedom = (found.rank * epsilon, dof * epsilon)
        z, log_p = f_to_z_and_log_p(found.stat, *freedom)
        p = exp(log_p)
        size = found.rank * found.stat / (found.rank * found.stat + dof)
        spread = np.sqrt(found.variance)
    z[~alive], p[~alive] = 0.0, 1.0
    maps = {"effect": found.effect, "variance": found.variance, "stat": found.stat, "z": z, "p": p}
    return maps | {
        "effect_size": size,
        "spread": spread,
        "error_variance": found.residual_variance,
        "dof": np.where(alive, dof * epsilon, 0.0),
        "dof_numerator": np.where(alive, found.rank * epsilon, 0.0),
        "epsilon": found.epsilon,
        "complete": found.dof == term.model.dof,
    }
