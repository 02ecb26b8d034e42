"""Gaussian smoothing that respects missing voxels."""

import numpy as np

# FWHM = sqrt(8 ln 2) sigma of a Gaussian.
FWHM_PER_SIGMA = np.sqrt(8 * np.log(2))
# Kernel radius in sigma, as scipy.ndimage and nilearn cut it.
TRUNCATE = 4.0


def smoothing_matrix(n, sigma):
    """Return the n x n band matrix of a truncated Gaussian; outside the axis counts as 0.

    Parameters
    ----------
    n : int
        Voxels along the axis.
    sigma : float
        Standard deviation in voxels; 0 gives the identity.

    Examples
    --------
    >>> smoothing_matrix(3, 0.5).round(3).tolist()[1]
    [0.106, 0.787, 0.106]
    """
    if sigma <= 0:
        return np.eye(n)
    radius = int(TRUNCATE * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * np.square(offsets / sigma))
    kernel /= kernel.sum()
    distance = np.arange(n)[None, :] - np.arange(n)[:, None]
    inside = np.abs(distance) <= radius
    return np.where(inside, kernel[np.clip(distance + radius, 0, 2 * radius)], 0.0)


def _convolve(volume, matrices):
    for axis, matrix in enumerate(matrices):
        volume = np.moveaxis(np.tensordot(matrix, volume, axes=(1, axis)), 0, axis)
    return volume


class VolumeSmoother:
    """Smooth volumes of one grid; missing voxels neither spread nor shrink.

    The smoothed value of a present voxel is the Gaussian average of the present voxels around
    it (normalised convolution, Knutsson and Westin 1993); missing voxels stay missing.

    Parameters
    ----------
    shape : tuple of int
        Grid of the volumes.
    voxel_sizes_mm : array, shape (3,)
        Edge lengths of a voxel.
    fwhm_mm : array, shape (3,)
        Full width at half maximum along each axis; 0 leaves the axis alone.
    """

    def __init__(self, shape, voxel_sizes_mm, fwhm_mm):
        fwhm_mm = np.asarray(fwhm_mm, dtype=float)
        if fwhm_mm.shape != (3,) or not np.all(fwhm_mm >= 0) or not np.all(np.isfinite(fwhm_mm)):
            raise ValueError(f"FWHM in mm is one or three numbers >= 0, got {fwhm_mm.tolist()}")
        sigmas = fwhm_mm / FWHM_PER_SIGMA / np.asarray(voxel_sizes_mm, dtype=float)
        self._matrices = [
            smoothing_matrix(n, s).astype(np.float32) for n, s in zip(shape, sigmas, strict=True)
        ]

    def weights(self, present):
        """Return the share of the kernel that falls on present voxels."""
        return _convolve(present.astype(np.float32), self._matrices)

    def __call__(self, volume, present, weights=None):
        """Smooth one volume.

        Parameters
        ----------
        volume : array, shape (x, y, z)
            Values; what stands outside `present` is ignored.
        present : bool array, shape (x, y, z)
            Voxels with a value.
        weights : array, shape (x, y, z), optional
            Result of `weights(present)`, where many volumes share it.

        Returns
        -------
        float32 array, shape (x, y, z)
            NaN outside `present`.
        """
        if weights is None:
            weights = self.weights(present)
        filled = np.where(present, volume, 0).astype(np.float32)
        smoothed = np.full(volume.shape, np.nan, dtype=np.float32)
        np.divide(_convolve(filled, self._matrices), weights, out=smoothed, where=present)
        return smoothed
