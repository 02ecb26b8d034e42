"""Shuffles of voxels that some maps lack.

Residuals are shuffled with their gaps: in every shuffle a voxel has the same maps, which take
other places in the design, so the design is restricted to these places and its nuisance is fitted
anew. Degrees of freedom differ by voxel, so all statistics are on the scale of z. Maps are taken
to be exchangeable together with what they lack.

A shuffle exchanges rows of the design or flips their signs, so the cross products of its
orthonormal columns stay the identity; over the maps that a voxel has they are the identity less
the rows that fell to the others. A Cholesky factor of this small matrix restricts the design.
Where the maps of a voxel say nothing of some directions of the nuisance (a participant or a site
that has no map there), these are left out as long as shuffles keep them out, as those within
participants do.
"""

from dataclasses import dataclass

import numba
import numpy as np

from nipype_group.stats.decompositions import complement, decompose
from nipype_group.stats.distributions import f_to_z, interpolated_t_to_z
from nipype_group.stats.linear.least_squares import by_missing, is_rounding
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares
from nipype_group.stats.permutation.methods import ShuffledContrast

# Directions shorter than this share of a unit vector lie in the span of others.
_DEPENDENT = 1e-7
# Square of what a shuffle may bring of them to the maps that a voxel has.
_BROUGHT = 1e-12
# Below this square of what is left of a direction, its cross products have lost too many digits.
_DOUBTFUL = 1e-3


@dataclass(frozen=True)
class _ReducedVoxels:
    """Voxels whose maps say nothing of some directions of the nuisance.

    Parameters
    ----------
    voxels : int array, shape (g,)
        Which of the incomplete voxels; they lack the same maps.
    missing : int array, shape (k,)
        Maps that they lack.
    kept, lost : float64 arrays, shapes (q, q'), (q, q - q')
        Orthonormal combinations of the nuisance that their maps have, and that they do not.
    """

    voxels: np.ndarray
    missing: np.ndarray
    kept: np.ndarray
    lost: np.ndarray

    def correlations(self, design, products, n_nuisance, signed):
        """Return partial correlations, shape (s, g), and the s shuffles that keep `lost` out."""
        n_shuffles, n_missing = len(design), len(self.missing)
        rows = np.ascontiguousarray(design[:, self.missing])
        nuisance = rows[..., :n_nuisance].reshape(-1, n_nuisance)
        held = np.square(multiply(nuisance, self.lost))
        held = held.reshape(n_shuffles, n_missing * self.lost.shape[1]).sum(axis=1)
        shuffles = np.flatnonzero(self.lost.shape[1] - held < _BROUGHT)
        directions = np.zeros((design.shape[2], self.kept.shape[1] + design.shape[2] - n_nuisance))
        directions[:n_nuisance, : self.kept.shape[1]] = self.kept
        directions[n_nuisance:, self.kept.shape[1] :] = np.eye(design.shape[2] - n_nuisance)
        rows, own = rows[shuffles], products[shuffles][:, self.voxels]
        rows = multiply(rows.reshape(-1, len(directions)), directions)
        rows = rows.reshape(len(shuffles), n_missing, directions.shape[1])
        own = multiply(own.reshape(-1, len(directions)), directions)
        own = own.reshape(len(shuffles), len(self.voxels), directions.shape[1])
        missing = np.tile(np.arange(n_missing, dtype=np.int32), len(self.voxels))
        starts = np.arange(len(self.voxels) + 1) * n_missing
        correlation = np.empty(own.shape[:2])
        _restrict(rows, own, missing, starts, self.kept.shape[1], signed, correlation)
        return correlation, shuffles


@dataclass(frozen=True)
class IncompleteVoxels:
    """The voxels of a tile that some maps lack.

    Parameters
    ----------
    places : int array, shape (u,)
        Where they stand in the tile.
    dof : int array, shape (u,)
        Residual degrees of freedom; 0 where the maps that are left do not determine the contrast,
        or the design fits them exactly.
    missing : int32 array
        Maps that the first voxel lacks, then those of the second, and so on.
    starts : int array, shape (u + 1,)
        Where the maps of every voxel start in `missing`.
    n_nuisance, rank : int
        Directions of the nuisance and of the effect.
    signed : bool
        Whether the statistic is a t; F otherwise.
    reduced : tuple of _ReducedVoxels
        Voxels whose maps say nothing of some directions of the nuisance.
    """

    places: np.ndarray
    dof: np.ndarray
    missing: np.ndarray
    starts: np.ndarray
    n_nuisance: int
    rank: int
    signed: bool
    reduced: tuple

    @classmethod
    def of(
        cls, contrast: ShuffledContrast, data: np.ndarray
    ) -> "tuple[IncompleteVoxels, np.ndarray]":
        """Find the incomplete voxels of a tile, and what of them is shuffled.

        Parameters
        ----------
        contrast : ShuffledContrast
            Shuffled by Freedman-Lane.
        data : float64 array, shape (n, v)
            NaN where a map lacks the voxel.

        Returns
        -------
        IncompleteVoxels
        series : float64 array, shape (u, n)
            Residuals of the nuisance, of unit length; 0 where a map is missing, and where the
            maps do not determine the contrast.
        """
        lacks = ~np.isfinite(data)
        places = np.flatnonzero(lacks.any(axis=0))
        lacks = lacks[:, places]
        split = contrast.partition
        design, n_nuisance = np.hstack([split.nuisance, split.effect]), split.nuisance.shape[1]
        dof, series = np.zeros(len(places), int), np.zeros((len(places), len(data)))
        reduced = []
        for members in by_missing(lacks).values():
            present = ~lacks[:, members[0]]
            own = data[np.ix_(present, places[members])]
            rows = np.flatnonzero(present)
            kept = _kept(design[present], n_nuisance)
            if kept is None:
                continue
            residuals, dof[members] = _residuals(design[present], own, n_nuisance)
            series[np.ix_(np.array(members), rows)] = residuals.T
            if kept.shape[1] < n_nuisance:
                absent = np.flatnonzero(~present)
                reduced.append(_ReducedVoxels(np.array(members), absent, kept, complement(kept)))
        voxel, missing = np.nonzero(lacks.T)
        starts = np.searchsorted(voxel, np.arange(len(places) + 1))
        self = cls(
            places,
            dof,
            missing.astype(np.int32),
            starts,
            n_nuisance,
            split.rank,
            contrast.signed,
            tuple(reduced),
        )
        return self, series

    def z(self, rows: np.ndarray, products: np.ndarray, series: np.ndarray) -> np.ndarray:
        """Return the z of shuffles.

        Parameters
        ----------
        rows : float64 array, shape (r + q, m, n)
            Rows of the shuffles as `ShuffledContrast.rows` gives them, part after part.
        products : float64 array, shape (r + q, m, v)
            Products of the shuffled rows and all series of the tile.
        series : float64 array, shape (v, n)
            These series.

        Returns
        -------
        float64 array, shape (m, u)
        """
        n_nuisance = self.n_nuisance
        # The nuisance comes first, since the effect is what it leaves.
        order = np.r_[len(rows) - n_nuisance : len(rows), : self.rank]
        design = np.ascontiguousarray(rows[order].transpose(1, 2, 0))
        own = np.ascontiguousarray(products[order][:, :, self.places].transpose(1, 2, 0))
        correlation = np.empty(own.shape[:2])
        _restrict(design, own, self.missing, self.starts, n_nuisance, self.signed, correlation)
        n_present = design.shape[1] - np.diff(self.starts)
        dof = np.tile(n_present - design.shape[2], (len(design), 1))
        for group in self.reduced:
            found, shuffles = group.correlations(design, own, n_nuisance, self.signed)
            correlation[np.ix_(shuffles, group.voxels)] = found
            dof[np.ix_(shuffles, group.voxels)] = self.dof[group.voxels]
        correlation[:, self.dof == 0] = 0.0
        for voxel in np.flatnonzero(np.isnan(correlation).any(axis=0)):
            shuffles = np.isnan(correlation[:, voxel])
            present = np.ones(design.shape[1], bool)
            present[self.missing[self.starts[voxel] : self.starts[voxel + 1]]] = False
            basis = _orthonormal(design[shuffles][:, present], n_nuisance)
            own = series[self.places[voxel], present]
            coefficients = multiply(basis.reshape(-1, len(own)), own).reshape(basis.shape[:2])
            correlation[shuffles, voxel] = self._correlation(coefficients)
            # Shuffles may leave these maps fewer or more directions than they have unshuffled.
            dof[shuffles, voxel] = n_present[voxel] - basis.any(axis=2).sum(axis=1)
        dof *= self.dof > 0
        return np.where(dof > 0, self._z(correlation.clip(-1, 1), dof), 0.0)

    def _correlation(self, coefficients):
        rest = 1 - np.square(coefficients[:, : self.n_nuisance]).sum(axis=1)
        effect = coefficients[:, self.n_nuisance :]
        value = effect[:, 0] if self.signed else np.sqrt(np.square(effect).sum(axis=1))
        root = np.sqrt(np.maximum(rest, 0))
        return np.divide(value, root, out=np.zeros_like(value), where=rest > 0)

    def _z(self, correlation, dof):
        dof, square = np.maximum(dof, 1), np.square(correlation)
        with np.errstate(divide="ignore"):
            if self.signed:
                return interpolated_t_to_z(correlation * np.sqrt(dof / (1 - square)), dof)
            return f_to_z(square / (1 - square) * (dof / self.rank), self.rank, dof)


def _kept(design, n_nuisance):
    """Return the combinations of the nuisance, shape (q, q'), that some maps have.

    None where these maps do not determine the contrast, or leave no residual.
    """
    rows = decompose(design[:, :n_nuisance], _DEPENDENT).rows
    rank = decompose(design, _DEPENDENT).rank
    n_effect = design.shape[1] - n_nuisance
    return rows.T if rank - len(rows) == n_effect and rank < len(design) else None


def _residuals(design, data, n_nuisance):
    """Return residuals of unit length and their degrees of freedom, 0 where the design fits."""
    nuisance = decompose(design[:, :n_nuisance], _DEPENDENT).basis
    basis = decompose(design, _DEPENDENT).basis
    residuals = residuals_of(nuisance, data)
    alive = ~is_rounding(sum_of_squares(residuals_of(basis, data)), data)
    length = np.sqrt(sum_of_squares(residuals))
    unit = np.divide(residuals, length, out=np.zeros_like(residuals), where=alive)
    return unit, np.where(alive, len(design) - basis.shape[1], 0)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _restrict(design, products, missing, starts, n_nuisance, signed, correlation):
    """Fill in partial correlations, shape (m, u); NaN where cross products do not tell.

    Parameters
    ----------
    design : float64 array, shape (m, n, p)
        Orthonormal columns, nuisance first, of every shuffle.
    products : float64 array, shape (m, u, p)
        Products of the columns and every voxel's series, which is 0 at its missing maps.
    missing, starts, n_nuisance, signed
        As of `IncompleteVoxels`.
    correlation : float64 array, shape (m, u)
    """
    n_columns = design.shape[2]
    factor, coefficients = np.empty((n_columns, n_columns)), np.empty(n_columns)
    for m in range(len(design)):
        for voxel in range(len(starts) - 1):
            factor[:] = 0.0
            for place in range(starts[voxel], starts[voxel + 1]):
                row = design[m, missing[place]]
                for a in range(n_columns):
                    for b in range(a + 1):
                        factor[a, b] -= row[a] * row[b]
            explained, effect = 0.0, 0.0
            for a in range(n_columns):
                for b in range(a):
                    for c in range(b):
                        factor[a, b] -= factor[a, c] * factor[b, c]
                    factor[a, b] /= factor[b, b]
                left, value = 1.0 + factor[a, a], products[m, voxel, a]
                for b in range(a):
                    left -= factor[a, b] * factor[a, b]
                    value -= factor[a, b] * coefficients[b]
                if left < _DOUBTFUL:
                    effect = np.nan
                    break
                factor[a, a] = np.sqrt(left)
                coefficients[a] = value / factor[a, a]
                square = coefficients[a] * coefficients[a]
                if a < n_nuisance:
                    explained += square
                else:
                    effect += square
            if signed and not np.isnan(effect):
                effect = coefficients[n_columns - 1]
            elif not signed:
                effect = np.sqrt(effect)
            rest = 1.0 - explained
            correlation[m, voxel] = effect / np.sqrt(rest) if rest > 0.0 else effect * 0.0


def _orthonormal(design, n_nuisance):
    """Make the columns of every shuffled design orthonormal, in order; return them as rows.

    Columns that depend on earlier ones become 0: a shuffle may leave the maps of a voxel in
    places where the design has lost rank.

    Parameters
    ----------
    design : array, shape (m, n, p)
    n_nuisance : int
        Columns before those of the effect.

    Returns
    -------
    float64 array, shape (m, p, n)
    """
    rows = np.zeros((len(design), design.shape[2], design.shape[1]))
    for own, found in zip(design, rows, strict=True):
        nuisance = decompose(own[:, :n_nuisance], _DEPENDENT).basis
        left = residuals_of(nuisance, own[:, n_nuisance:])
        split = decompose(left, _DEPENDENT)
        effect = split.basis
        if left.shape[1] == 1 and split.rank:
            # One direction keeps the sign of the contrast.
            effect = left / np.sqrt(sum_of_squares(left))
        found[: nuisance.shape[1]] = nuisance.T
        found[n_nuisance : n_nuisance + effect.shape[1]] = effect.T
    return rows
