"""Smoothing against scipy and nilearn, and what it does beside missing voxels."""

import nibabel as nib
import numpy as np
import pytest
from nilearn.image import smooth_img
from scipy.ndimage import gaussian_filter

from nipype_group.stats.smoothing import FWHM_PER_SIGMA, VolumeSmoother, gaussian_kernel

SHAPE = (24, 20, 18)
VOXELS = np.array([3.0, 2.0, 4.0])
FWHM = np.array([6.0, 5.0, 7.0])
SIGMA = FWHM / FWHM_PER_SIGMA / VOXELS
FULL = np.ones(SHAPE, dtype=bool)


@pytest.fixture
def volume():
    return np.random.default_rng(5).standard_normal(SHAPE).astype(np.float32)


def reference(volume, present, sigma):
    """Normalised convolution in double precision: smoothed values over smoothed presence."""
    filtered = [
        gaussian_filter(v.astype(float), sigma, mode="constant", truncate=4.0)
        for v in (np.where(present, volume, 0), present)
    ]
    return np.where(present, np.divide(*filtered, where=present, out=np.zeros(SHAPE)), np.nan)


def test_equals_normalised_scipy_filter_with_anisotropic_voxels_and_kernel(volume):
    ours = VolumeSmoother(SHAPE, VOXELS, FWHM)(volume, FULL)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, reference(volume, FULL, SIGMA), atol=2e-6)


def test_interior_needs_no_normalisation(volume):
    ours = VolumeSmoother(SHAPE, VOXELS, FWHM)(volume, FULL)
    plain = gaussian_filter(volume.astype(float), SIGMA, mode="constant", truncate=4.0)
    inner = tuple(slice(int(4 * s + 0.5), -int(4 * s + 0.5)) for s in SIGMA)
    assert ours[inner].size > 100
    np.testing.assert_allclose(ours[inner], plain[inner], atol=2e-6)


def test_interior_of_a_full_map_equals_nilearn(volume):
    affine = np.diag([*VOXELS, 1])
    theirs = smooth_img(nib.Nifti1Image(volume, affine), FWHM).get_fdata()
    ours = VolumeSmoother(SHAPE, VOXELS, FWHM)(volume, FULL)
    inner = tuple(slice(int(4 * s + 0.5), -int(4 * s + 0.5)) for s in SIGMA)
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=2e-6)


def test_missing_voxels_neither_spread_nor_shrink(volume):
    present = np.random.default_rng(6).random(SHAPE) > 0.3
    ours = VolumeSmoother(SHAPE, VOXELS, FWHM)(np.where(present, volume, np.nan), present)
    np.testing.assert_array_equal(np.isfinite(ours), present)
    np.testing.assert_allclose(ours, reference(volume, present, SIGMA), atol=5e-6)


def test_values_outside_the_present_voxels_are_ignored(volume):
    present = np.zeros(SHAPE, dtype=bool)
    present[5:15, 4:12, 3:9] = True
    smoother = VolumeSmoother(SHAPE, VOXELS, FWHM)
    wild = np.where(present, volume, np.float32(1e30))
    np.testing.assert_array_equal(smoother(wild, present), smoother(volume, present))


def test_a_constant_map_stays_constant_beside_holes_and_edges():
    present = np.random.default_rng(7).random(SHAPE) > 0.5
    ours = VolumeSmoother(SHAPE, VOXELS, FWHM)(np.full(SHAPE, 3.25), present)
    np.testing.assert_allclose(ours[present], 3.25, rtol=1e-6)


def test_weights_computed_before_give_the_same(volume):
    present = volume > -1
    smoother = VolumeSmoother(SHAPE, VOXELS, FWHM)
    np.testing.assert_array_equal(
        smoother(volume, present, smoother.weights(present)), smoother(volume, present)
    )


def test_fwhm_of_0_leaves_the_map_and_of_one_axis_that_axis(volume):
    np.testing.assert_array_equal(VolumeSmoother(SHAPE, VOXELS, [0, 0, 0])(volume, FULL), volume)
    ours = VolumeSmoother(SHAPE, VOXELS, [0, 5, 0])(volume, FULL)
    np.testing.assert_allclose(ours, reference(volume, FULL, [0, SIGMA[1], 0]), atol=2e-6)


def test_fwhm_is_the_full_width_at_half_maximum():
    impulse = np.zeros((41, 1, 1), dtype=np.float32)
    impulse[20] = 1
    smooth = VolumeSmoother(impulse.shape, [2, 2, 2], [8, 0, 0])(impulse, impulse >= 0)[:, 0, 0]
    # 8 mm are 4 voxels: half the height stands two voxels from the peak.
    assert smooth[18] / smooth[20] == pytest.approx(0.5, rel=1e-5)
    assert smooth[22] / smooth[20] == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0, 7.3])
def test_the_kernel_is_a_symmetric_gaussian_of_four_sigma_that_sums_to_1(sigma):
    kernel = gaussian_kernel(sigma)
    assert len(kernel) == 2 * int(4 * sigma + 0.5) + 1
    assert kernel.sum() == pytest.approx(1, rel=1e-14)
    np.testing.assert_array_equal(kernel, kernel[::-1])
    middle = len(kernel) // 2
    shape = np.exp(-np.square(np.arange(len(kernel)) - middle) / (2 * sigma**2))
    np.testing.assert_allclose(kernel / kernel[middle], shape, rtol=1e-12)


@pytest.mark.parametrize("fwhm", [[5], [5, 5], [-1, 5, 5], [5, np.nan, 5], [5, 5, np.inf], 5])
def test_bad_fwhm_is_refused(fwhm):
    with pytest.raises(ValueError, match="FWHM in mm is one or three numbers >= 0"):
        VolumeSmoother(SHAPE, VOXELS, fwhm)
