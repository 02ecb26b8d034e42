"""Blocks of maps that share random effects, and the sums over them that a fit needs.

A block is the maps of one participant (family, site). Its covariance is s (I + Z Psi Z') with
Z a column of ones and, where slopes are random, one of times. With Z = U T, U orthonormal, the
covariance within the span of U is s (I + T Psi T'), at most 2 x 2, and s beside it. Blocks of the
same T are of one kind: what a fit sums over blocks depends on the data through the sums of a kind
alone. All sums are of positive terms, so nothing cancels where a participant's maps are alike.

The design is taken in its orthonormal basis, so that columns of any scale, and such as others
determine, do no harm.
"""

from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np

from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.matrix_products import multiply, residuals_of

# Rows of tables of as many columns are added in whole vectors of processors.
COLUMNS_OF_VECTORS = 16
# Share of the length of times that rounding leaves of none about their mean.
_NO_SPREAD = 1e-10


@dataclass(frozen=True)
class RandomBlocks:
    """The blocks of a design of n maps whose basis has r columns; c random effects, K kinds.

    Parameters
    ----------
    model : LinearModel
    order : int array, shape (n,)
        Maps block by block.
    starts : int array, shape (S + 1,)
        First map of every block, in that order.
    span : array, shape (n, c)
        Orthonormal columns U of every block, 0 where it has fewer than c.
    kind : int array, shape (S,)
    scale : array, shape (K, c, c)
        T of every kind.
    count : array, shape (K,)
        Number of blocks of a kind.
    cross : array, shape (S, c, r)
        U'Q of every block, with Q its rows of the basis.
    sums : array, shape (K, c (c + 1) / 2, r, r)
        Sums over blocks of a kind of the products of rows of `cross`: 11, 12 + 21, 22.
    within : array, shape (r, r)
        Sum of Q'(I - UU')Q.
    """

    model: LinearModel
    order: np.ndarray
    starts: np.ndarray
    span: np.ndarray
    kind: np.ndarray
    scale: np.ndarray
    count: np.ndarray
    cross: np.ndarray
    sums: np.ndarray
    within: np.ndarray

    @classmethod
    def of(
        cls, model: LinearModel, groups: np.ndarray, times: np.ndarray | None = None
    ) -> "RandomBlocks":
        """Find the blocks of maps.

        Parameters
        ----------
        model : LinearModel
        groups : int array, shape (n,)
            Participant of every map.
        times : array, shape (n,), optional
            What slopes are random along.

        Examples
        --------
        >>> mean = LinearModel(np.ones((5, 1)), ("mean",))
        >>> blocks = RandomBlocks.of(mean, np.array([7, 3, 7, 3, 2]))
        >>> blocks.order.tolist(), blocks.count.tolist(), blocks.scale.ravel().round(4).tolist()
        ([4, 1, 3, 0, 2], [1.0, 2.0], [1.0, 1.4142])
        """
        order = np.argsort(groups, kind="stable")
        edges = np.flatnonzero(np.diff(groups[order])) + 1
        starts = np.array([0, *edges, len(order)])
        basis = np.ascontiguousarray(model.basis[order])
        c = 1 if times is None else 2
        span = np.zeros((len(order), c))
        own_scale = np.zeros((len(starts) - 1, c, c))
        kinds: dict[tuple, int] = {}
        kind = np.empty(len(starts) - 1, dtype=int)
        for i, (a, b) in enumerate(pairwise(starts)):
            own = None if times is None else times[order[a:b]]
            key = (b - a, () if own is None else tuple(np.sort(own).tolist()))
            kind[i] = kinds.setdefault(key, len(kinds))
            _span(own, span[a:b], own_scale[i])
        first = [int(np.argmax(kind == k)) for k in range(len(kinds))]
        cross = np.array([multiply(span[a:b].T, basis[a:b]) for a, b in pairwise(starts)])
        left = basis.copy()
        for i, (a, b) in enumerate(pairwise(starts)):
            left[a:b] -= multiply(span[a:b], cross[i])
        return cls(
            model,
            order,
            starts,
            span,
            kind,
            own_scale[first],
            np.bincount(kind).astype(float),
            cross,
            _products(cross, kind, len(kinds)),
            multiply(left.T, left),
        )

    def packed(self, room: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower triangles of the sums of the design, a row each.

        Parameters
        ----------
        room : int
            Columns for what is summed beside.

        Returns
        -------
        table : array, shape (K c (c + 1) / 2, w)
            Triangles row by row, then room and what is missing to whole vectors, all 0.
        within : array, shape (r (r + 1) / 2 + room,)
            The triangle of `within`, then room.
        """
        r = len(self.within)
        rows, columns = np.tril_indices(r)
        used = len(rows) + room
        width = -(-used // COLUMNS_OF_VECTORS) * COLUMNS_OF_VECTORS
        table = np.zeros((self.sums.shape[0] * self.sums.shape[1], width))
        table[:, : len(rows)] = self.sums.reshape(-1, r, r)[:, rows, columns]
        within = np.zeros(used)
        within[: len(rows)] = self.within[rows, columns]
        return table, within

    def data_sums(self, data: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the sums over blocks that a fit needs of maps without gaps.

        Parameters
        ----------
        data : array, shape (n, v)

        Returns
        -------
        start : array, shape (r, v)
            Least squares in the basis, what everything else is about.
        within : array, shape (v,)
            Sum of squares beside U.
        squares : array, shape (K, c (c + 1) / 2, v)
            Sums of products of t = U'e of a kind, e the residuals: 11, 12 + 21, 22.
        products : array, shape (K, c (c + 1) / 2, r, v)
            Sums of products of rows of `cross` and t in the same order.
        """
        start = multiply(self.model.basis.T, data)
        residuals = residuals_of(self.model.basis, data)
        if (self.order[1:] < self.order[:-1]).any():
            residuals = residuals[self.order]
        n_voxels, (n_kinds, c), r = data.shape[1], self.scale.shape[:2], len(start)
        within = np.zeros(n_voxels)
        squares = np.zeros((n_kinds, c * (c + 1) // 2, n_voxels))
        products = np.zeros((n_kinds, c * (c + 1) // 2, r, n_voxels))
        _add_sums(
            self.starts, self.span, self.kind, self.cross, residuals, within, squares, products
        )
        return start, within, squares, products


def _span(times, span, scale):
    """Write U and T of one block."""
    n = len(span)
    span[:, 0] = 1 / np.sqrt(n)
    scale[0, 0] = np.sqrt(n)
    if times is None:
        return
    about = times - times.mean()
    length = np.sqrt(np.square(about).sum())
    scale[0, 1] = np.sqrt(n) * times.mean()
    if length > _NO_SPREAD * np.sqrt(np.square(times).sum()):
        span[:, 1], scale[1, 1] = about / length, length


def _products(cross, kind, n_kinds):
    c, r = cross.shape[1:]
    sums = np.zeros((n_kinds, c * (c + 1) // 2, r, r))
    for k, own in zip(kind, cross, strict=True):
        pair = 0
        for a in range(c):
            for b in range(a, c):
                product = own[a][:, None] * own[b]
                sums[k, pair] += product if a == b else product + product.T
                pair += 1
    return sums


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _add_sums(starts, span, kind, cross, residuals, within, squares, products):
    """Add what `RandomBlocks.data_sums` tells, voxels last."""
    n_voxels, c, r = residuals.shape[1], span.shape[1], cross.shape[2]
    along, left = np.empty((c, n_voxels)), np.empty(n_voxels)
    for s in range(len(starts) - 1):
        k, first, last = kind[s], starts[s], starts[s + 1]
        along[:] = 0.0
        for i in range(first, last):
            for a in range(c):
                weight, total, own = span[i, a], along[a], residuals[i]
                for v in range(n_voxels):
                    total[v] += weight * own[v]
        if last - first > 1:
            for i in range(first, last):
                own = residuals[i]
                for v in range(n_voxels):
                    left[v] = own[v]
                for a in range(c):
                    weight, part = span[i, a], along[a]
                    for v in range(n_voxels):
                        left[v] -= weight * part[v]
                for v in range(n_voxels):
                    within[v] += left[v] * left[v]
        pair = 0
        for a in range(c):
            for b in range(a, c):
                one, other, total = along[a], along[b], squares[k, pair]
                factor = 1.0 if a == b else 2.0
                for v in range(n_voxels):
                    total[v] += factor * one[v] * other[v]
                for j in range(r):
                    weight, total = cross[s, a, j], products[k, pair, j]
                    for v in range(n_voxels):
                        total[v] += weight * other[v]
                    if a != b:
                        weight = cross[s, b, j]
                        for v in range(n_voxels):
                            total[v] += weight * one[v]
                pair += 1
