"""Where an effect is above a level: an inner and an outer set that hold the true one between them.

With a stated confidence the inner set lies in the set where the true effect is at least the level,
and that in the outer set (Sommerfeld, Sain and Schwartzman 2018; Bowring, Telschow, Schwartzman
and Nichols 2019, NeuroImage 203:116187; of Cohen's d 2021, NeuroImage 226:117477). Both are

    {effect >= level + k se},    {effect >= level - k se},

k being the quantile of the largest |t| along the boundary of the estimated set, as residuals tell
it when the signs of maps are drawn anew (a wild bootstrap, its t with the variance of each draw).
The boundary runs between face neighbours of which one is above and one below, where a line
between their estimates meets the level; t is interpolated there.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from nipype_group.stats.linear.least_squares import (
    LinearModel,
    ReadVoxels,
    contrast_maps,
    fit_by_pattern,
    tiles,
)
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares

UNITS = ("effect", "d")
# Draws whose products are held at once.
_DRAWS_AT_ONCE = 16
# Share of a sum of squares that rounding leaves of none.
_NO_DRAW = 1e-15
# Squared share that rounding leaves of a map that has a column of its own, and of a contrast.
_ALONE = 1e-10


@dataclass(frozen=True)
class ConfidenceSets:
    """Sets of voxels around where an effect is at least a level.

    Parameters
    ----------
    inner, above, outer : bool arrays, shape (v,)
        The inner set, where the estimate is at least the level, and the outer set; each holds the
        one before.
    estimate, error : arrays, shape (v,)
        Effect or Cohen's d, and its standard error; 0 where there is none.
    quantile : float
        k, errors between the level and the borders of the sets.
    n_boundary : int
        Points along which the largest |t| was looked for.
    everywhere : bool
        Whether these are all voxels, as the estimate meets the level nowhere.
    largest : array, shape (b,)
        Largest |t| of every draw.
    """

    inner: np.ndarray
    above: np.ndarray
    outer: np.ndarray
    estimate: np.ndarray
    error: np.ndarray
    quantile: float
    n_boundary: int
    everywhere: bool
    largest: np.ndarray


@dataclass(frozen=True)
class Boundary:
    """Points between neighbours where an estimate meets a level.

    Parameters
    ----------
    voxels : int array, shape (u,)
        Voxels beside the boundary.
    first, second : int arrays, shape (b,)
        Which of these each point lies between.
    weight : array, shape (b,)
        Share of the first in what is interpolated at the point.
    """

    voxels: np.ndarray
    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """Return values of the voxels beside the boundary, shape (..., u), at its points."""
        return values[..., self.first] * self.weight + values[..., self.second] * (1 - self.weight)


def boundary_of(
    estimate: np.ndarray, level: float, neighbours: np.ndarray, usable: np.ndarray
) -> Boundary:
    """Find where an estimate meets a level between neighbours.

    Parameters
    ----------
    estimate : array, shape (v,)
    level : float
    neighbours : int array, shape (v, c)
        Of `neighbour_list`: indices of neighbours, -1 where there is none.
    usable : bool array, shape (v,)
        Voxels that may lie beside the boundary.

    Examples
    --------
    >>> row = np.array([[-1, 1], [0, 2], [1, -1]])
    >>> found = boundary_of(np.array([0.0, 1.0, 5.0]), 2.0, row, np.ones(3, bool))
    >>> found.voxels.tolist(), found.weight.tolist()
    ([1, 2], [0.75])
    """
    above, pairs = estimate >= level, []
    for column in neighbours.T:
        # Each pair once.
        own = np.flatnonzero(column > np.arange(len(column)))
        other = column[own]
        meets = (above[own] != above[other]) & usable[own] & usable[other]
        pairs.append(np.stack([own[meets], other[meets]]))
    first, second = np.concatenate(pairs, axis=1)
    voxels, number = np.unique(np.concatenate([first, second]), return_inverse=True)
    weight = (level - estimate[second]) / (estimate[first] - estimate[second])
    return Boundary(voxels, number[: len(first)], number[len(first) :], weight)


def _series(model, row, data, unit):
    """Return what maps add to the deviation of the estimate, and the design it is tested in.

    Parameters
    ----------
    data : array, shape (n, u)
        Of voxels without gaps.

    Returns
    -------
    series : array, shape (n, u)
    basis : array, shape (n, r)
    functional : array, shape (n,)
        Of unit length; its product with the series is the deviation.
    """
    residuals = residuals_of(model.basis, data)
    variance = sum_of_squares(residuals) / model.dof
    # Residuals vary less than errors where a map draws the fit to itself.
    left = 1 - np.square(model.basis).sum(axis=1)
    series = residuals / np.sqrt(np.where(left > 1e-10, left, 1.0))[:, None]
    weights = multiply(row, model.inverse)
    if unit == "effect":
        return series, model.basis, weights / np.sqrt(np.square(weights).sum())
    series = series / np.sqrt(variance)
    d = multiply(weights, data) / np.sqrt(variance)
    n_maps = len(series)
    series = weights[:, None] * series - d * (series * series - 1) / (2 * n_maps)
    one = np.full(n_maps, 1 / np.sqrt(n_maps))
    return series, one[:, None], one


def _largest(tested, boundary, signs):
    """Return the largest |t| along the boundary of every draw of signs, shape (m, n)."""
    series, basis, functional = tested
    n_draws, n_maps = signs.shape
    columns = np.concatenate([functional[None], basis.T])
    rows = (signs[:, None, :] * columns).reshape(-1, n_maps)
    sums = multiply(rows, series).reshape(n_draws, len(columns), -1)
    rest = np.tile(sum_of_squares(series), (n_draws, 1))
    total = rest.copy()
    for a in range(1, len(columns)):
        rest -= sums[:, a] * sums[:, a]
    rest = np.maximum(rest, _NO_DRAW * total)
    t = sums[:, 0] / np.sqrt(rest / (n_maps - basis.shape[1]))
    return np.abs(boundary.interpolate(t)).max(axis=1)


def _drawn_signs(n_draws, n_maps, seed):
    """Return signs of maps, shape (m, n); draw k is the same whatever their number."""
    n_words = -(-n_maps // 64)
    words = np.random.Philox(key=seed).random_raw(n_draws * n_words).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8).reshape(n_draws, -1), axis=1, bitorder="little")
    return 1.0 - 2.0 * bits[:, :n_maps]


def _estimated(model, row, read, n_voxels, unit):
    """Return estimate and error, and which voxels have them, and have all maps."""
    betas, variance, _, patterns = fit_by_pattern(model, read, n_voxels)
    found, _ = contrast_maps(
        row[None],
        "t",
        betas,
        variance,
        patterns.covariance,
        patterns.dof,
        "two-sided",
        patterns.number,
        patterns.determine(row[None]),
    )
    estimate, square = found["effect"], found["variance"]
    alive = square > 0
    if unit == "d":
        # The errors of the effect and of the standard deviation are independent.
        dof = np.maximum(patterns.voxel_dof, 1)
        scale = np.where(alive, variance, 1.0)
        estimate = estimate / np.sqrt(scale)
        square = square / scale + np.square(estimate) / (2 * dof)
    return (
        np.where(alive, estimate, 0.0),
        np.sqrt(np.where(alive, square, 0.0)),
        alive,
        alive & patterns.complete,
    )


def confidence_sets(
    model: LinearModel,
    weights: np.ndarray,
    read: ReadVoxels,
    n_voxels: int,
    neighbours: np.ndarray,
    level: float,
    *,
    unit: str = "effect",
    confidence: float = 0.95,
    n_draws: int = 5000,
    seed: int = 0,
    n_threads: int = 1,
) -> ConfidenceSets:
    """Find sets that hold between them where a contrast of least squares is at least a level.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    weights : array, shape (p,)
        One contrast row.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v);
        NaN where a map lacks the voxel.
    n_voxels : int
        Voxels in the mask.
    neighbours : int array, shape (v, 6)
        Of `nipype_group.stats.neighbours.neighbour_list`, or of any graph of voxels.
    level : float
    unit : {"effect", "d"}
        The level is in units of the effect, or of Cohen's d.
    confidence : float
    n_draws : int
    seed : int
        Key of the draws, 0 to 2^64 - 1.
    n_threads : int
        Threads over draws. The result does not depend on it.

    Returns
    -------
    ConfidenceSets
        Voxels without a statistic are in no set; those that maps lack have their own errors, and
        no part in k. Where the estimate meets the level nowhere, k is that of all voxels.

    Raises
    ------
    ValueError
        Where a choice is none of these, no voxel has all maps, maps are too few for the
        confidence, or the contrast is about a map that has a column of its own.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> data = rng.standard_normal((20, 8)) + np.linspace(0, 4, 8)
    >>> line = np.column_stack([np.arange(8) - 1, np.r_[1:8, -1]])
    >>> found = confidence_sets(
    ...     LinearModel(np.ones((20, 1)), ("mean",)),
    ...     np.array([1.0]),
    ...     lambda a, b: data[:, a:b],
    ...     8,
    ...     line,
    ...     2.0,
    ...     n_draws=200,
    ... )
    >>> [np.flatnonzero(s).tolist() for s in (found.inner, found.above, found.outer)]
    [[4, 5, 6, 7], [4, 5, 6, 7], [4, 5, 6, 7]]
    """
    row = np.ravel(np.asarray(weights, dtype=float))
    if unit not in UNITS:
        raise ValueError(f"the unit of a level is one of {', '.join(UNITS)}, got {unit!r}")
    if not 0 < confidence < 1 or n_draws < 1 / (1 - confidence):
        raise ValueError(
            f"{n_draws} draws tell no confidence of {confidence:g}: it lies between 0 and 1, and "
            "takes 1 / (1 - confidence) draws or more"
        )
    if not np.isfinite(level):
        raise ValueError(f"the level is a number, got {level}")
    check_maps(model, row, confidence)
    estimate, error, alive, usable = _estimated(model, row, read, n_voxels, unit)
    if not usable.any():
        raise ValueError("No voxel has all maps and a residual variance: there is no boundary.")
    boundary = boundary_of(estimate, level, neighbours, usable)
    everywhere = not len(boundary.first)
    signs = _drawn_signs(n_draws, len(model.matrix), seed)
    largest, n_boundary = np.zeros(n_draws), len(boundary.first)
    with ThreadPoolExecutor(n_threads) as pool:
        for part, data in _beside(boundary, usable, read, n_voxels, len(model.matrix), everywhere):
            tested = _series(model, row, data, unit)
            found = pool.map(
                lambda start, part=part, tested=tested: _largest(
                    tested, part, signs[start : start + _DRAWS_AT_ONCE]
                ),
                range(0, n_draws, _DRAWS_AT_ONCE),
            )
            largest = np.maximum(largest, np.concatenate(list(found)))
            n_boundary += len(part.first) if everywhere else 0
    k = float(np.sort(largest)[int(np.ceil(round(confidence * n_draws, 9))) - 1])
    return ConfidenceSets(
        alive & (estimate >= level + k * error),
        alive & (estimate >= level),
        alive & (estimate >= level - k * error),
        estimate,
        error,
        k,
        n_boundary,
        everywhere,
        largest,
    )


def check_maps(model: LinearModel, row: np.ndarray, confidence: float) -> None:
    """Refuse maps whose signs tell nothing of the deviations of a contrast.

    Parameters
    ----------
    model : LinearModel
    row : array, shape (p,)
    confidence : float

    Raises
    ------
    ValueError
        Where maps are too few for the confidence, or the contrast is about a map that has a column
        of its own.
    """
    n_maps = len(model.matrix)
    # A pattern of signs and its opposite have one |t|.
    if n_maps < 63 and 2.0 ** (n_maps - 1) * (1 - confidence) < 1:
        raise ValueError(
            f"{n_maps} maps have {2 ** (n_maps - 1)} patterns of signs, which tell no confidence "
            f"of {confidence:g}: it takes {1 / (1 - confidence):.0f}; give more maps, or ask for "
            "less"
        )
    alone = np.square(model.basis).sum(axis=1) > 1 - _ALONE
    weights = np.square(multiply(row, model.inverse))
    if weights[alone].sum() > _ALONE * weights.sum():
        raise ValueError(
            "the contrast is about a column that one map alone has: what the design fits exactly "
            "tells nothing of its deviation; drop the column, or leave the contrast out"
        )


def _beside(boundary, usable, read, n_voxels, n_maps, everywhere):
    """Yield the boundary and the data beside it, or a tile at a time where it is everywhere."""
    kept = []
    for span in tiles(n_voxels, n_maps):
        if everywhere:
            own = np.flatnonzero(usable[span])
            number = np.arange(len(own))
            if len(own):
                part = Boundary(span.start + own, number, number, np.ones(len(own)))
                yield part, np.take(read(span.start, span.stop), own, axis=1)
            continue
        low, high = np.searchsorted(boundary.voxels, [span.start, span.stop])
        if high > low:
            own = boundary.voxels[low:high] - span.start
            kept.append(np.take(read(span.start, span.stop), own, axis=1))
    if kept:
        yield boundary, np.concatenate(kept, axis=1)
