"""Shuffles of voxels that some maps lack.

Residuals are shuffled with their gaps: in every shuffle a voxel has the same maps, which take
other places in the design, so the design is restricted to these places and its nuisance is fitted
anew. Degrees of freedom differ by voxel, so all statistics are on the scale of z. Maps are taken
to be exchangeable together with what they lack.

A shuffle exchanges rows of the design or flips their signs, so the cross products of its
orthonormal columns stay the identity; over the maps that a voxel has they are the identity less
the rows that fell to the others. A Cholesky factor of this small matrix restricts the design.
"""

from dataclasses import dataclass

import numba
import numpy as np

from nipype_group.stats.decompositions import decompose, qr
from nipype_group.stats.distributions import f_to_z, interpolated_t_to_z
from nipype_group.stats.glm import by_missing
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares

# Directions shorter than this share of a unit vector lie in the span of others.
_DEPENDENT = 1e-7
# Below this square of what is left of a direction, its cross products have lost too many digits.
_DOUBTFUL = 1e-3


@dataclass(frozen=True)
class IncompleteVoxels:
    """The voxels of a tile that some maps lack.

    Parameters
    ----------
    places : int array, shape (u,)
        Where they stand in the tile.
    dof : int array, shape (u,)
        Residual degrees of freedom; 0 where the maps that are left do not determine the contrast.
    missing : int32 array
        Maps that the first voxel lacks, then those of the second, and so on.
    starts : int array, shape (u + 1,)
        Where the maps of every voxel start in `missing`.
    n_nuisance, rank : int
        Directions of the nuisance and of the effect.
    signed : bool
        Whether the statistic is a t; F otherwise.
    """

    places: np.ndarray
    dof: np.ndarray
    missing: np.ndarray
    starts: np.ndarray
    n_nuisance: int
    rank: int
    signed: bool

    @classmethod
    def of(cls, contrast, data):
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
        for members in by_missing(lacks).values():
            present = ~lacks[:, members[0]]
            own = data[np.ix_(present, places[members])]
            rows = np.flatnonzero(present)
            found = _residuals(design[present], own, n_nuisance)
            if found is not None:
                dof[members] = len(rows) - design.shape[1]
                series[np.ix_(members, rows)] = found.T
        voxel, missing = np.nonzero(lacks.T)
        starts = np.searchsorted(voxel, np.arange(len(places) + 1))
        self = cls(
            places, dof, missing.astype(np.int32), starts, n_nuisance, split.rank, contrast.signed
        )
        return self, series

    def z(self, rows, products, series):
        """Return the z of shuffles.

        Parameters
        ----------
        rows : float64 array, shape (r + q, m, n)
            Rows of the shuffles as `ShuffledContrast.rows` gives them, part after part.
        products : float64 array, shape (r + q, m, v)
            Their products with all series of the tile.
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
        correlation[:, self.dof == 0] = 0.0
        for voxel in np.flatnonzero(np.isnan(correlation).any(axis=0)):
            shuffles = np.isnan(correlation[:, voxel])
            present = np.ones(design.shape[1], bool)
            present[self.missing[self.starts[voxel] : self.starts[voxel + 1]]] = False
            basis = _orthonormal(design[shuffles][:, present], n_nuisance)
            own = series[self.places[voxel], present]
            coefficients = multiply(basis.reshape(-1, len(own)), own).reshape(basis.shape[:2])
            correlation[shuffles, voxel] = self._correlation(coefficients)
        return np.where(self.dof > 0, self._z(correlation.clip(-1, 1)), 0.0)

    def _correlation(self, coefficients):
        rest = 1 - np.square(coefficients[:, : self.n_nuisance]).sum(axis=1)
        effect = coefficients[:, self.n_nuisance :]
        value = effect[:, 0] if self.signed else np.sqrt(np.square(effect).sum(axis=1))
        root = np.sqrt(np.maximum(rest, 0))
        return np.divide(value, root, out=np.zeros_like(value), where=rest > 0)

    def _z(self, correlation):
        dof, square = np.maximum(self.dof, 1), np.square(correlation)
        with np.errstate(divide="ignore"):
            if self.signed:
                return interpolated_t_to_z(correlation * np.sqrt(dof / (1 - square)), dof)
            return f_to_z(square / (1 - square) * (dof / self.rank), self.rank, dof)


def _residuals(design, data, n_nuisance):
    """Return residuals of unit length, None where the maps do not determine the contrast."""
    if len(design) <= design.shape[1] or decompose(design).rank < design.shape[1]:
        return None
    basis = qr(design)[0]
    residuals = residuals_of(basis[:, :n_nuisance], data)
    unexplained = residuals_of(basis, data)
    size = np.sqrt(sum_of_squares(data))
    alive = np.sqrt(sum_of_squares(unexplained)) > 1e-12 * len(data) * size
    length = np.sqrt(sum_of_squares(residuals))
    return np.divide(residuals, length, out=np.zeros_like(residuals), where=alive)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _restrict(design, products, missing, starts, n_nuisance, signed, correlation):
    """Fill in partial correlations, shape (m, u); NaN where cross products do not tell.

    Parameters
    ----------
    design : float64 array, shape (m, n, p)
        Orthonormal columns, nuisance first, of every shuffle.
    products : float64 array, shape (m, u, p)
        Of the columns and of every voxel's series, which is 0 at its missing maps.
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
