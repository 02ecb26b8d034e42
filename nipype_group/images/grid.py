"""Where the voxels of a volume lie."""

from dataclasses import dataclass

import numpy as np

# Grids are one where no corner is off by more than this share of a voxel.
_CORNER_TOLERANCE = 0.01
DEFAULT_SPACE = "mni"


@dataclass(frozen=True)
class Grid:
    """Shape and position of a volume.

    Parameters
    ----------
    shape : tuple of int
        Voxels along the three axes.
    affine : array, shape (4, 4)
        Voxel indices to mm.
    space : {"mni", "talairach", "scanner", "aligned", "template"}, optional
        What the affine leads to, by NIfTI-1's names.
    """

    shape: tuple
    affine: np.ndarray
    space: str = DEFAULT_SPACE

    @property
    def voxel_sizes_mm(self):
        """Edge lengths of a voxel in mm."""
        return np.sqrt(np.square(self.affine[:3, :3]).sum(axis=0))

    def matches(self, other):
        """Tell whether both grids put their voxels at the same places."""
        if self.shape != other.shape:
            return False
        corners = np.indices((2, 2, 2)).reshape(3, -1) * (np.array(self.shape) - 1)[:, None]
        difference = to_mm(corners.T, self.affine) - to_mm(corners.T, other.affine)
        return np.abs(difference).max() <= _CORNER_TOLERANCE * self.voxel_sizes_mm.min()

    def __str__(self):
        size = " x ".join(f"{v:.4g}" for v in self.voxel_sizes_mm)
        origin = ", ".join(f"{v:.4g}" for v in self.affine[:3, 3])
        shape = " x ".join(str(n) for n in self.shape)
        return f"{shape} voxels of {size} mm from ({origin})"


def to_mm(voxels, affine):
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


def to_voxels(points, affine):
    """Return the voxel indices of points in mm, not rounded; the inverse of `to_mm`."""
    a, b, c = np.asarray(affine, dtype=float)[:3, :3].T
    # Rows of the inverse (Cramer), so that nothing is left to the matrix library.
    rows = np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)]) / _triple(a, b, c)
    x, y, z = np.moveaxis(np.asarray(points, dtype=float) - np.asarray(affine)[:3, 3], -1, 0)
    return np.stack([x * row[0] + y * row[1] + z * row[2] for row in rows], axis=-1)


def voxel_volume_mm3(affine):
    """Return the volume of a voxel in mm3."""
    return float(abs(_triple(*np.asarray(affine, dtype=float)[:3, :3].T)))


def _triple(a, b, c):
    """Return the triple product of three vectors, the determinant of their matrix."""
    return (a * np.cross(b, c)).sum()
