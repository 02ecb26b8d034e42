"""Resel counts: the size of a search volume in units of its smoothness, dimension by dimension.

A search volume has four: its Euler characteristic, and its diameter, surface and volume measured
in full widths at half maximum (FWHM). Worsley et al. (1996), Human Brain Mapping 4:58.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from nipype_group.stats.matrix_products import multiply

# Parts of the lattice resels that add up to a volume between voxels and cubes (SPM12).
_EXTENT_WEIGHTS = np.array([1 / 2, 2 / 3, 2 / 3, 1])


def check_fwhm(fwhm: ArrayLike, unit: str) -> np.ndarray:
    """Return three FWHM from one or three, or refuse them.

    Raises
    ------
    ValueError
        Where one is not a finite number > 0, or there are neither one nor three.
    """
    fwhm = np.asarray(fwhm, dtype=float)
    if fwhm.shape not in ((), (3,)):
        raise ValueError(f"FWHM is one number or three, in {unit}, got shape {fwhm.shape}")
    if not np.all(np.isfinite(fwhm) & (fwhm > 0)):
        raise ValueError(f"FWHM is a length > 0 in {unit}, got {fwhm.tolist()}")
    return np.broadcast_to(fwhm, (3,))


@dataclass(frozen=True)
class SearchVolume:
    """The volume that is searched.

    Parameters
    ----------
    resels : array, shape (1..4,)
        Resels in 0, 1, ... dimensions; trailing zeros are dropped.
    n_voxels : int
        Voxels tested, for Bonferroni.
    fwhm_voxels : float or array, shape (3,)
        Smoothness in voxels, for extents in voxels of a volume in three dimensions.

    Raises
    ------
    ValueError
        Where resels are not finite, all 0, or negative in 2 or 3 or the last dimension; where
        the number of voxels or a FWHM is not > 0.

    Examples
    --------
    >>> volume = SearchVolume([1, 33.3, 360.8, 1258.8], 75919, [4.15, 4.16, 3.24])
    >>> round(float(volume.to_resels(73)), 4)
    1.3051
    """

    resels: tuple
    n_voxels: int | None = None
    fwhm_voxels: tuple | float | None = None

    def __post_init__(self):
        resels = np.atleast_1d(np.asarray(self.resels, dtype=float))
        if resels.ndim != 1 or not 1 <= resels.size <= 4 or not np.all(np.isfinite(resels)):
            raise ValueError(f"resels are one to four finite numbers, got {self.resels}")
        resels = np.trim_zeros(resels, "b")
        if resels.size == 0:
            raise ValueError("resels are 0 in all dimensions: no volume to search")
        if np.any(resels[2:] < 0) or resels[-1] < 0:
            raise ValueError(
                "resels are >= 0 in 2 and 3 dimensions and > 0 in the last that a volume has, "
                f"got {resels.tolist()}"
            )
        if self.n_voxels is not None and not self.n_voxels > 0:
            raise ValueError(f"n_voxels is a number > 0, got {self.n_voxels}")
        object.__setattr__(self, "resels", tuple(resels.tolist()))
        if self.fwhm_voxels is not None:
            fwhm = check_fwhm(self.fwhm_voxels, "voxels")
            object.__setattr__(self, "fwhm_voxels", tuple(fwhm.tolist()))

    @property
    def n_dims(self) -> int:
        """Highest dimension in which the volume has an extent."""
        return len(self.resels) - 1

    @property
    def voxels_per_resel(self) -> float:
        """Product of the FWHM in voxels."""
        if self.fwhm_voxels is None:
            raise ValueError("fwhm_voxels is needed to turn voxels into resels")
        if self.n_dims != 3:
            shape = ("a single voxel", "a line of voxels", "a plane of voxels")[self.n_dims]
            raise ValueError(
                f"the search volume is {shape}, in which clusters have no extent in resels of "
                "three dimensions; search a thicker volume, or control clusters by permutation"
            )
        return float(np.prod(self.fwhm_voxels))

    def to_resels(self, extent_voxels: ArrayLike) -> np.ndarray:
        """Return extents in resels from numbers of voxels."""
        return np.asarray(extent_voxels, dtype=float) / self.voxels_per_resel


def _check_lengths(lengths, name):
    lengths = np.asarray(lengths, dtype=float)
    if not np.all(np.isfinite(lengths) & (lengths >= 0)):
        raise ValueError(f"{name} is a length >= 0 in mm, got {lengths.tolist()}")
    return lengths


def _lattice_resels(labels, n_labels, fwhm):
    """Return the lattice resels of every label, shape (n_labels, 4)."""
    elements = {(): labels}
    for axis in range(3):
        for along, joined in list(elements.items()):
            before = np.take(joined, range(joined.shape[axis] - 1), axis=axis)
            after = np.take(joined, range(1, joined.shape[axis]), axis=axis)
            elements[(*along, axis)] = np.where(before == after, before, 0)
    count = {
        along: np.bincount(joined.ravel(), minlength=n_labels + 1)[1:]
        for along, joined in elements.items()
    }
    resels = np.zeros((n_labels, 4))
    for along in count:
        inner = sum(
            (-1) ** (len(over) - len(along)) * count[over]
            for over in count
            if set(along) <= set(over)
        )
        resels[:, len(along)] += inner / np.prod(fwhm[list(along)])
    return resels


def resel_counts(mask: ArrayLike, fwhm_voxels: ArrayLike) -> np.ndarray:
    """Return the resels of a mask on the voxel lattice.

    Parameters
    ----------
    mask : bool array, shape (x, y, z)
        Search volume.
    fwhm_voxels : float or array, shape (3,)
        Smoothness along each axis, in voxels.

    Returns
    -------
    array, shape (4,)
        Euler characteristic and resels in 1 to 3 dimensions. The first two may be 0 or negative
        in a mask full of holes.

    Raises
    ------
    ValueError
        For a mask that is empty or not three-dimensional, or a FWHM that is not > 0.

    Notes
    -----
    With P points, E edges, F faces and C cubes between neighbours in the mask and FWHM W:
    R0 = P - E + F - C, R1 = sum_i (E_i - F_ij - F_ik + C) / W_i,
    R2 = sum_ij (F_ij - C) / (W_i W_j), R3 = C / (W_1 W_2 W_3)
    (Worsley et al. 1996).

    Examples
    --------
    >>> resel_counts(np.ones((4, 5, 6), bool), 2.0).tolist()
    [1.0, 6.0, 11.75, 7.5]
    """
    mask = np.asarray(mask)
    if mask.ndim != 3:
        raise ValueError(f"a mask has three axes, got shape {mask.shape}")
    inside = mask != 0
    if not inside.any():
        raise ValueError("the mask is empty: no voxel to search")
    return _lattice_resels(inside.astype(np.int8), 1, check_fwhm(fwhm_voxels, "voxels"))[0]


def cluster_resels(labels: np.ndarray, rpv: np.ndarray, fwhm_voxels: ArrayLike) -> np.ndarray:
    """Return the extent of clusters in resels, where smoothness varies over the volume.

    Parameters
    ----------
    labels : int array, shape (x, y, z)
        Clusters 1 to n; 0 outside.
    rpv : array, shape (x, y, z)
        Resels per voxel; NaN where unknown.
    fwhm_voxels : float or array, shape (3,)
        Smoothness of the whole volume, in voxels: for clusters where ``rpv`` is NaN throughout.

    Returns
    -------
    array, shape (n,)
        Resels of each cluster.

    Raises
    ------
    ValueError
        Where the two images differ in shape, or the FWHM is not > 0.

    Notes
    -----
    (R0 / 2 + 2 R1 / 3 + 2 R2 / 3 + R3) x mean RPV, with R the lattice resels of the cluster at a
    FWHM of one voxel. Hayasaka et al. (2004), NeuroImage 22:676; weights of SPM12.

    Examples
    --------
    >>> labels = np.ones((2, 2, 2), int)
    >>> cluster_resels(labels, np.full((2, 2, 2), 0.1), 3.0).round(4).tolist()
    [0.55]
    """
    labels, rpv = np.asarray(labels), np.asarray(rpv, dtype=float)
    fwhm = check_fwhm(fwhm_voxels, "voxels")
    if labels.ndim != 3 or labels.shape != rpv.shape:
        raise ValueError(
            "labels and resels per voxel are images of one shape, "
            f"got {labels.shape} and {rpv.shape}"
        )
    n_labels = int(labels.max(initial=0))
    known = (labels > 0) & np.isfinite(rpv)
    n_known = np.bincount(labels[known], minlength=n_labels + 1)[1:]
    total = np.bincount(labels[known], weights=rpv[known], minlength=n_labels + 1)[1:]
    mean = np.where(n_known > 0, total / np.maximum(n_known, 1), 1 / np.prod(fwhm))
    return multiply(_lattice_resels(labels, n_labels, np.ones(3)), _EXTENT_WEIGHTS) * mean


def sphere_resels(radius_mm: float, fwhm_mm: ArrayLike) -> np.ndarray:
    """Return the resels of a ball, for small volume correction.

    Parameters
    ----------
    radius_mm : float
        Radius.
    fwhm_mm : float or array, shape (3,)
        Smoothness; of three, their geometric mean counts.

    Returns
    -------
    array, shape (4,)
        1, 4 s, 2 pi s^2, 4/3 pi s^3 with s = radius / FWHM (Worsley et al. 1996, Table I).

    Raises
    ------
    ValueError
        For a negative radius or a FWHM that is not > 0.

    Examples
    --------
    >>> sphere_resels(10.0, 10.0).round(3).tolist()
    [1.0, 4.0, 6.283, 4.189]
    """
    radius = float(_check_lengths(radius_mm, "radius"))
    s = special.cbrt(np.prod(radius / check_fwhm(fwhm_mm, "mm")))
    return np.array([1, 4 * s, 2 * np.pi * s**2, 4 / 3 * np.pi * s**3])


def box_resels(lengths_mm: ArrayLike, fwhm_mm: ArrayLike) -> np.ndarray:
    """Return the resels of a box, for small volume correction.

    Parameters
    ----------
    lengths_mm : array, shape (3,)
        Sides.
    fwhm_mm : float or array, shape (3,)
        Smoothness along the sides.

    Returns
    -------
    array, shape (4,)
        1, a + b + c, ab + bc + ca, abc with the sides in FWHM (Worsley et al. 1996, Table I).

    Raises
    ------
    ValueError
        For a negative side or a FWHM that is not > 0.

    Examples
    --------
    >>> box_resels([10, 20, 30], 10.0).tolist()
    [1.0, 6.0, 11.0, 6.0]
    """
    sides = _check_lengths(lengths_mm, "box side")
    if sides.shape != (3,):
        raise ValueError(f"a box has three sides, got {sides.tolist()}")
    sides = sides / check_fwhm(fwhm_mm, "mm")
    pairs = sum(a * b for a, b in combinations(sides, 2))
    return np.array([1, sides.sum(), pairs, sides.prod()])
