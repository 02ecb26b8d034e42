"""Voxel indices and places in mm, by an affine."""

import numpy as np
from numpy.typing import ArrayLike


def to_mm(voxels: ArrayLike, affine: np.ndarray) -> np.ndarray:
    """Return the places of voxels in mm.

    Sums run in a fixed order, so that the last bit does not depend on the processor, as it does
    with a matrix library.

    Parameters
    ----------
    voxels : array, shape (..., 3)
        Voxel indices.
    affine : array, shape (4, 4)
        Voxel indices to mm.

    Returns
    -------
    float64 array, shape (..., 3)

    Examples
    --------
    >>> affine = np.diag([2.0, 2, 3, 1])
    >>> affine[:3, 3] = -90, -126, -72
    >>> to_mm([[0, 1, 2]], affine).tolist(), to_voxels([[-90, -124, -66]], affine).tolist()
    ([[-90.0, -124.0, -66.0]], [[0.0, 1.0, 2.0]])
    """
    voxels, affine = np.asarray(voxels, dtype=float), np.asarray(affine, dtype=float)
    i, j, k = (voxels[..., [axis]] for axis in range(3))
    return i * affine[:3, 0] + j * affine[:3, 1] + k * affine[:3, 2] + affine[:3, 3]


def to_voxels(points: ArrayLike, affine: np.ndarray) -> np.ndarray:
    """Return the voxel indices of points in mm, not rounded; the inverse of `to_mm`."""
    a, b, c = np.asarray(affine, dtype=float)[:3, :3].T
    # Rows of the inverse (Cramer), so that nothing is left to the matrix library.
    rows = np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)]) / _triple(a, b, c)
    x, y, z = np.moveaxis(np.asarray(points, dtype=float) - np.asarray(affine)[:3, 3], -1, 0)
    return np.stack([x * row[0] + y * row[1] + z * row[2] for row in rows], axis=-1)


def voxel_volume_mm3(affine: np.ndarray) -> float:
    """Return the volume of a voxel in mm3."""
    return float(abs(_triple(*np.asarray(affine, dtype=float)[:3, :3].T)))


def _triple(a, b, c):
    """Return the triple product of three vectors, the determinant of their matrix."""
    return (a * np.cross(b, c)).sum()
