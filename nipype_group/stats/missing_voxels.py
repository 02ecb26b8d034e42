"""Shuffles of voxels that some maps lack.

Residuals are shuffled with their gaps: in every shuffle a voxel has the same maps, which take
other places in the design, so the design is restricted to these places and its nuisance is fitted
anew. Degrees of freedom differ by voxel, so all statistics are on the scale of z. Maps are taken
to be exchangeable together with what they lack.
"""

import numpy as np

from nipype_group.stats.distributions import f_to_z, interpolated_t_to_z

# Directions shorter than this share of a unit vector lie in the span of others.
_DEPENDENT = 1e-7


class IncompleteVoxels:
    """The voxels of a contrast that some maps lack, by which maps they have.

    Parameters
    ----------
    contrast : ShuffledContrast
        Shuffled by Freedman-Lane.
    """

    def __init__(self, contrast):
        self._contrast, self._patterns = contrast, {}

    def add(self, first, data):
        """Take in the incomplete voxels of a tile.

        Parameters
        ----------
        first : int
            Number of the tile's first voxel.
        data : float64 array, shape (n, v)
            NaN where a map lacks the voxel.
        """
        present = np.isfinite(data)
        voxels = np.flatnonzero(~present.all(axis=0))
        for voxel in voxels:
            key = np.packbits(present[:, voxel]).tobytes()
            self._patterns.setdefault(key, []).append((first + voxel, data[:, voxel].copy()))

    def maps(self, first, last):
        """Yield the voxels of every pattern and their z in shuffles first to last - 1.

        Yields
        ------
        voxels : int array, shape (v,)
        z : float64 array, shape (last - first, v)
        """
        split, scheme = self._contrast.partition, self._contrast.scheme
        orders, signs = scheme.draw(first, last)
        design = np.hstack([split.nuisance, split.effect])
        shuffled = design[orders] * signs[..., None]
        n_nuisance = split.nuisance.shape[1]
        # In the order of the voxels, which depends on no tile or thread.
        for members in sorted(self._patterns.values(), key=lambda m: m[0][0]):
            voxels = np.array([voxel for voxel, _ in members])
            data = np.column_stack([values for _, values in members])
            present = np.isfinite(data[:, 0])
            dof = present.sum() - np.linalg.matrix_rank(design[present])
            series = self._series(design[present], data[present], n_nuisance)
            if series is None or dof < 1:
                yield voxels, np.zeros((len(orders), len(voxels)))
                continue
            rows = _orthonormal(shuffled[:, present], n_nuisance)
            yield voxels, self._z(rows, series, n_nuisance, dof)

    def _series(self, design, data, n_nuisance):
        """Return residuals of unit length, None where the maps do not determine the contrast."""
        if np.linalg.matrix_rank(design) < design.shape[1]:
            return None
        basis = np.linalg.qr(design)[0]
        residuals = data - basis[:, :n_nuisance] @ (basis[:, :n_nuisance].T @ data)
        unexplained = data - basis @ (basis.T @ data)
        size = np.sqrt(np.square(data).sum(axis=0))
        alive = np.sqrt(np.square(unexplained).sum(axis=0)) > 1e-12 * len(data) * size
        length = np.sqrt(np.square(residuals).sum(axis=0))
        return np.divide(residuals, length, out=np.zeros_like(residuals), where=alive)

    def _z(self, rows, series, n_nuisance, dof):
        products = rows @ series
        rest = 1 - np.square(products[:, :n_nuisance]).sum(axis=1)
        effect = products[:, n_nuisance:]
        rank, signed = effect.shape[1], self._contrast.signed
        if signed:
            value = effect[:, 0]
        else:
            value = np.sqrt(np.square(effect).sum(axis=1))
        value = np.divide(value, np.sqrt(np.maximum(rest, 0)), out=np.zeros_like(value),
                          where=rest > 0)  # fmt: skip
        value = value.clip(-1, 1)
        with np.errstate(divide="ignore"):
            if signed:
                return interpolated_t_to_z(value * np.sqrt(dof / (1 - np.square(value))), dof)
            square = np.square(value)
            return f_to_z(square / (1 - square) * dof / rank, rank, dof)


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
    columns, triangle = np.linalg.qr(design)
    weight = np.diagonal(triangle, axis1=1, axis2=2)
    rows = (columns * np.where(weight < 0, -1.0, 1.0)[:, None]).transpose(0, 2, 1).copy()
    for m in np.flatnonzero((np.abs(weight) < _DEPENDENT).any(axis=1)):
        rows[m] = 0
        u, s, _ = np.linalg.svd(design[m, :, :n_nuisance], full_matrices=False)
        basis = u[:, s > _DEPENDENT]
        rows[m, : basis.shape[1]] = basis.T
        left = design[m, :, n_nuisance:]
        left = left - basis @ (basis.T @ left)
        u, s, vt = np.linalg.svd(left, full_matrices=False)
        kept = s > _DEPENDENT
        effect = u[:, kept]
        if left.shape[1] == 1 and kept.any():
            effect = effect * np.sign(vt[0, 0])
        rows[m, n_nuisance : n_nuisance + effect.shape[1]] = effect.T
    return rows
