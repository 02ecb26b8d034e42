"""What leaving a participant out changes of contrasts that have errors of their own.

A participant's contrast maps leave together. As for single rows (Cook and Weisberg 1982) one fit
of all tells what a fit without them gives, at all voxels of a tile at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nipype_group.stats.decompositions import decompose
from nipype_group.stats.linear.error_terms import ErrorTerm
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    independent_rows,
    is_rounding,
    missing_patterns,
    present_values,
    tiles,
)
from nipype_group.stats.linear.map_quality import CookSteps
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares

# Part of a direction of contrast maps that rounding leaves where the participant alone fits it.
_NOTHING_LEFT = 1e-10


@dataclass(frozen=True)
class ParticipantInfluence:
    """What N participants do to a contrast, each an array of shape (N,).

    All are NaN where the model fits the participant's contrast maps whole.

    Parameters
    ----------
    cook_median, cook_largest : arrays
        Median over the voxels, to 1 %, and largest Cook's distance of the contrast: how far its
        rows move without the participant, in units of their covariance, over their number.
    large_cook : array
        Share of the voxels whose Cook's distance exceeds 4 / N, N those that have the voxel.
    dfbetas : array
        Root mean square over the voxels of the root of that distance where the error leaves the
        participant out: of a t contrast DFBETAS of its effect (Belsley, Kuh and Welsch 1980).
    """

    cook_median: np.ndarray
    cook_largest: np.ndarray
    large_cook: np.ndarray
    dfbetas: np.ndarray


def distances_without(
    model: LinearModel, weights: np.ndarray, data: np.ndarray, n_directions: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far a contrast moves without each participant.

    With E the orthonormal directions of the data that the contrast is estimated from, those
    estimates move by E_i' (I - H_ii)^-1 e_i without the rows i of a participant.

    Parameters
    ----------
    model : LinearModel
        Of contrast maps, participant by participant.
    weights : array, shape (r, p)
        Contrast rows over its columns.
    data : array, shape (N k, v)
        Contrast maps without gaps.
    n_directions : int
        Contrast maps a participant, k.

    Returns
    -------
    cook, squares : arrays, shape (N, v)
        Cook's distances, and the same over the variance that leaves the participant out. NaN where
        the model fits the participant whole, or leaves no degree of freedom without, and at
        voxels without residual variance.

    Examples
    --------
    >>> model = LinearModel(np.ones((4, 1)), ("mean",))
    >>> data = np.array([[1.0], [2.0], [3.0], [10.0]])
    >>> cook, squares = distances_without(model, np.eye(1), data, 1)
    >>> cook[:, 0].round(3).tolist(), np.sqrt(squares[:, 0]).round(3).tolist()
    ([0.24, 0.107, 0.027, 0.96], [0.459, 0.282, 0.135, 4.0])
    """
    split, k = partition(model, independent_rows(weights)), n_directions
    residuals = residuals_of(model.basis, data)
    residual_ss = sum_of_squares(residuals)
    alive = ~is_rounding(residual_ss, data)
    cook, squares = np.full((2, len(data) // k, data.shape[1]), np.nan)
    for i in range(len(cook)):
        rows = slice(i * k, (i + 1) * k)
        left = decompose(
            np.eye(k) - multiply(model.basis[rows], model.basis[rows].T), _NOTHING_LEFT
        )
        if left.rank < k:
            continue
        own = residuals[rows][:, alive]
        scaled = multiply(left.inverse, own)
        moved = sum_of_squares(multiply(split.effect[rows].T, scaled)) / split.rank
        cook[i, alive] = moved * model.dof / residual_ss[alive]
        if model.dof > k:
            # Rounding may leave less than 0 of what stays.
            stays = residual_ss[alive] - (own * scaled).sum(axis=0)
            stays = np.maximum(stays, np.finfo(float).eps * residual_ss[alive])
            squares[i, alive] = moved * (model.dof - k) / stays
    return cook, squares


def influence_of_participants(
    terms: Sequence[tuple[ErrorTerm, np.ndarray]],
    read: Callable[[int, int], np.ndarray],
    n_voxels: int,
) -> list[ParticipantInfluence]:
    """Describe what the participants do to contrasts.

    Parameters
    ----------
    terms : list of tuple
        Error of every contrast, and its rows over the columns of the design, shape (r, p).
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
        Voxels in the mask.

    Returns
    -------
    list of ParticipantInfluence
        Of the participants of each error, in their order there.
    """
    sums = [_Sums(term, term.weights(weights)) for term, weights in terms]
    n_maps = max((len(term.matrix) for term, _ in terms), default=1)
    for span in tiles(n_voxels, n_maps):
        data = read(span.start, span.stop)
        for own in sums:
            own.add(data)
    return [own.summed() for own in sums]


class _Sums:
    """What is summed up over the voxels of the participants of one contrast."""

    def __init__(self, term, weights):
        self._term, self._weights = term, weights
        self._cook = CookSteps(term.n_participants)
        self._large, self._n_used, self._squares, self._n_squares = np.zeros(
            (4, term.n_participants)
        )

    def add(self, data):
        """Add the voxels of a tile, shape (n, v)."""
        term, k = self._term, self._term.n_directions
        maps = term.combine(data)
        cook, squares = np.full((2, term.n_participants, data.shape[1]), np.nan)
        for members, missing in missing_patterns(maps):
            model = term.model.without(missing) if len(missing) else term.model
            if model is None or not model.row_space.holds(self._weights):
                continue
            having = np.setdiff1d(np.arange(term.n_participants), missing // k)
            present = present_values(maps, members, missing)
            found = distances_without(model, self._weights, present, k)
            cook[np.ix_(having, members)], squares[np.ix_(having, members)] = found
            self._large[having] += (found[0] > 4 / len(having)).sum(axis=1)
        self._cook.count(cook)
        self._n_used += np.isfinite(cook).sum(axis=1)
        known = np.isfinite(squares)
        self._squares += np.where(known, squares, 0.0).sum(axis=1)
        self._n_squares += known.sum(axis=1)

    def summed(self):
        """Return the `ParticipantInfluence`."""
        used = self._n_used > 0
        return ParticipantInfluence(
            self._cook.medians(),
            np.where(used, self._cook.largest, np.nan),
            _mean(self._large, self._n_used),
            np.sqrt(_mean(self._squares, self._n_squares)),
        )


def _mean(total, number):
    return np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)
