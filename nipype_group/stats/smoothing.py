"""Gaussian smoothing that respects missing voxels."""

import math

import numba
import numpy as np

from nipype_group.stats.elementary import exp, log
from nipype_group.stats.matrix_products import add_four, add_product

# FWHM = sqrt(8 ln 2) sigma of a Gaussian.
FWHM_PER_SIGMA = np.sqrt(8 * log(2))
# Kernel radius in sigma, as scipy.ndimage and nilearn cut it.
TRUNCATE = 4.0


# Voxels whose sums are held at once: they stay in a first-level cache.
_VOXELS_PER_BLOCK = 1024


def gaussian_kernel(sigma: float) -> np.ndarray:
    """Return the weights of a truncated Gaussian, which sum to 1.

    Parameters
    ----------
    sigma : float
        Standard deviation in voxels.

    Returns
    -------
    float64 array, shape (2 radius + 1,)

    Examples
    --------
    >>> gaussian_kernel(0.5).round(3).tolist()
    [0.0, 0.106, 0.787, 0.106, 0.0]
    """
    radius = int(TRUNCATE * sigma + 0.5)
    kernel = exp(-0.5 * np.square(np.arange(-radius, radius + 1) / sigma))
    return kernel / kernel.sum()


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _sum_shifted(values, kernel, stride, result):
    """Write the sum of values, each shift by a stride times its weight, into result.

    Voxels run side by side, and the shifts in order, so that a sum has the same bits on any
    processor.
    """
    for start in range(0, len(result), _VOXELS_PER_BLOCK):
        stop = min(start + _VOXELS_PER_BLOCK, len(result))
        total = result[start:stop]
        total[:] = 0.0
        whole = len(kernel) - len(kernel) % 4
        for k in range(0, whole, 4):
            shifted = (
                values[start + k * stride : stop + k * stride],
                values[start + (k + 1) * stride : stop + (k + 1) * stride],
                values[start + (k + 2) * stride : stop + (k + 2) * stride],
                values[start + (k + 3) * stride : stop + (k + 3) * stride],
            )
            add_four((kernel[k], kernel[k + 1], kernel[k + 2], kernel[k + 3]), shifted, total)
        for k in range(whole, len(kernel)):
            add_product(kernel[k], values[start + k * stride : stop + k * stride], total)


def _convolve(volume, kernels):
    """Convolve along each axis that has a kernel; outside the volume counts as 0."""
    for axis, kernel in enumerate(kernels):
        if kernel is None:
            continue
        radius, n = len(kernel) // 2, volume.shape[axis]
        padding = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(volume, padding)
        stride = math.prod(padded.shape[axis + 1 :])
        # What lies beyond the last shift is padding alone.
        sums = np.empty(padded.size)
        _sum_shifted(padded.ravel(), kernel, stride, sums[: padded.size - 2 * radius * stride])
        volume = sums.reshape(padded.shape)[(slice(None),) * axis + (slice(n),)]
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
        self._kernels = [gaussian_kernel(sigma) if sigma > 0 else None for sigma in sigmas]

    def weights(self, present: np.ndarray) -> np.ndarray:
        """Return the share of the kernel that falls on present voxels."""
        return _convolve(present.astype(float), self._kernels)

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
        filled = np.where(present, volume, 0).astype(float)
        smoothed = np.full(volume.shape, np.nan, dtype=np.float32)
        averages = _convolve(filled, self._kernels)[present] / weights[present]
        smoothed[present] = averages
        return smoothed
