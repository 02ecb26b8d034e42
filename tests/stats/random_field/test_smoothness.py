"""Smoothness against SPM12 and FSL, on noise of known smoothness, and its invariances.

SPM's figures come from float32 residual images (noise) or in double precision (real maps); its
maps are float32. smoothest prints six digits.
"""

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import stats
from scipy.ndimage import gaussian_filter

from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.random_field.smoothness import (
    residual_smoothness,
    z_roughness,
    z_smoothness,
)

SHAPE = (14, 12, 10)
N = 12


@pytest.fixture(scope="module")
def noise():
    """Demeaned smooth noise, shape (12, 14, 12, 10)."""
    rng = np.random.default_rng(3)
    maps = gaussian_filter(rng.standard_normal((N, *SHAPE)), (0, 1.2, 1.5, 1.8))
    return maps - maps.mean(axis=0)


def ball(shape=SHAPE):
    centre = (np.array(shape) - 1) / 2
    distance = (np.indices(shape).T - centre) / (0.45 * np.array(shape))
    return (np.square(distance).sum(axis=-1) < 1).T


def upper_face(mask):
    """Tell which voxels of the mask lie on an upper face of the volume."""
    face = np.zeros(mask.shape, dtype=bool)
    face[-1], face[:, -1], face[:, :, -1] = True, True, True
    return face & mask


def lattice_resels(mask, fwhm_voxels):
    """Resels of dimension 0 to 3 from points, edges, faces and cubes (Worsley 1996)."""
    counts = np.zeros((2, 2, 2))
    for size in np.ndindex(2, 2, 2):
        whole = np.ones([n - s for n, s in zip(mask.shape, size)], dtype=bool)
        for shift in np.ndindex(*(s + 1 for s in size)):
            whole &= mask[tuple(slice(h, h + n) for h, n in zip(shift, whole.shape))]
        counts[size] = whole.sum()
    (p, ez), (ey, fyz) = counts[0]
    (ex, fxz), (fxy, cubes) = counts[1]
    wx, wy, wz = fwhm_voxels
    r1 = (ex - fxy - fxz + cubes) / wx + (ey - fxy - fyz + cubes) / wy
    r1 += (ez - fxz - fyz + cubes) / wz
    r2 = (fxy - cubes) / (wx * wy) + (fxz - cubes) / (wx * wz) + (fyz - cubes) / (wy * wz)
    r0 = p - (ex + ey + ez) + (fxy + fxz + fyz) - cubes
    return np.array([r0, r1, r2, cubes / (wx * wy * wz)])


# SPM12


@pytest.fixture(scope="module")
def studies(shared, wager, success):
    """Mask, and residuals and dof of both models of the real maps, by SPM's folder."""
    mask = nib.load(shared / "data/wager2008/mask.nii.gz").get_fdata() > 0
    result = {}
    for name, matrix in {
        "onesamp": np.ones((30, 1)),
        "regr": np.column_stack([np.ones(30), success]),
    }.items():
        model = LinearModel(matrix, tuple("ab"[: matrix.shape[1]]))
        residuals = wager - model.basis @ (model.basis.T @ wager)
        result[name] = (mask, residuals, model.dof)
    return result


def volumes(mask, rows):
    """Give one volume at a time from values in the mask, shape (n, v)."""
    for row in rows:
        volume = np.zeros(mask.shape)
        volume[mask] = row
        yield volume


@pytest.mark.parametrize("name", ["onesamp", "regr"])
def test_real_maps_equal_spm(shared, studies, name, agree):
    mask, residuals, dof = studies[name]
    ours = residual_smoothness(volumes(mask, residuals), mask, dof, edges="spm")
    folder = shared / "oracles/spm" / name
    about = json.loads((folder / "design.json").read_text())
    agree("SPM", "FWHM", ours.fwhm_voxels, about["FWHM"], rtol=1e-12)
    agree("SPM", "resels", lattice_resels(mask, ours.fwhm_voxels), about["R"], rtol=1e-12)
    theirs = nib.load(folder / "RPV.nii.gz").get_fdata()
    np.testing.assert_array_equal(np.isnan(ours.resels_per_voxel), np.isnan(theirs))
    np.testing.assert_array_equal(ours.resels_per_voxel == 0, theirs == 0)
    agree("SPM", "resels per voxel", ours.resels_per_voxel, theirs, rtol=1e-7)
    np.testing.assert_allclose(1 / ours.voxels_per_resel, np.nanmean(theirs), rtol=1e-7)
    assert (ours.n_images, ours.n_voxels, ours.dof) == (30, 73067, dof)


def test_valid_edges_take_off_what_the_faces_add(studies):
    mask, residuals, dof = studies["onesamp"]
    spm = residual_smoothness(volumes(mask, residuals), mask, dof, edges="spm")
    valid = residual_smoothness(volumes(mask, residuals), mask, dof, edges="valid")
    change = valid.fwhm_voxels / spm.fwhm_voxels - 1
    np.testing.assert_allclose(change, [-0.0231, -0.0162, 0.0022], atol=5e-5)
    assert valid.n_voxels == 70375
    # The map is the same where it is defined: only the planes of zeros go.
    gone = np.isnan(valid.resels_per_voxel) & ~np.isnan(spm.resels_per_voxel)
    assert (spm.resels_per_voxel[gone] == 0).all()
    np.testing.assert_array_equal(valid.resels_per_voxel[~gone], spm.resels_per_voxel[~gone])


@pytest.mark.parametrize("mode", [1, 2, 3])
@pytest.mark.parametrize("name", ["iso2", "iso4", "iso6", "aniso345"])
def test_noise_of_known_smoothness_equals_spm(shared, name, mode):
    folder = shared / "oracles/spm"
    table = np.genfromtxt(
        folder / "spm_est_smoothness.csv", delimiter=",", names=True, dtype=None, encoding="utf-8"
    )
    (row,) = table[(table["set"] == name) & (table["mode"] == mode)]
    maps = np.moveaxis(nib.load(folder / f"synthetic/{name}_4d.nii.gz").get_fdata(), -1, 0)
    mask = nib.load(folder / f"synthetic/{name}_mask.nii.gz").get_fdata() > 0
    residuals = maps - maps.mean(axis=0)
    n, ss = len(maps), np.square(residuals).sum(axis=0)
    if mode == 1:
        ours = residual_smoothness(residuals, mask, n - 1, edges="spm")
    elif mode == 2:
        ours = residual_smoothness(
            residuals[: n // 2], mask, n - 1, edges="spm", residual_ss=ss, n_maps=n
        )
    else:
        # Standardised by SS / (n - 1), but n instead of the dof elsewhere.
        ours = residual_smoothness(residuals, mask, n, edges="spm", residual_ss=ss * n / (n - 1))
    theirs = [row["FWHMx"], row["FWHMy"], row["FWHMz"]]
    np.testing.assert_allclose(ours.fwhm_voxels, theirs, rtol=2e-9)
    np.testing.assert_allclose(np.nanmean(ours.resels_per_voxel), row["mean_RPV"], rtol=5e-9)
    assert ours.n_voxels == row["n_RPV_finite"]
    resels = lattice_resels(mask, ours.fwhm_voxels)
    np.testing.assert_allclose(resels, [row[f"R{d}"] for d in range(4)], rtol=5e-9)
    expected = nib.load(folder / f"synthetic/RPV_{name}_m{mode}.nii.gz").get_fdata()
    np.testing.assert_allclose(ours.resels_per_voxel, expected, rtol=1e-4, atol=1e-8)


# FSL

FSL = {
    "onesamp": (0.102413, 0.102858, 45.785, (13.10, 13.33, 13.94)),
    "regr": (0.104804, 0.105251, 44.781, None),
}


@pytest.mark.parametrize("name", FSL)
def test_real_maps_equal_smoothest(studies, name):
    mask, residuals, dof = studies[name]
    dlh, exact_dlh, voxels_per_resel, fwhm_mm = FSL[name]
    fsl = z_smoothness(volumes(mask, residuals), mask, dof, table="fsl")
    assert fsl.dlh == pytest.approx(dlh, rel=5e-6)
    assert fsl.voxels_per_resel == pytest.approx(voxels_per_resel, abs=6e-4)
    if fwhm_mm is not None:
        np.testing.assert_allclose(fsl.fwhm_mm((3.4375, 3.4375, 4.5)), fwhm_mm, atol=5e-3)
    exact = z_smoothness(volumes(mask, residuals), mask, dof)
    assert exact.dlh == pytest.approx(exact_dlh, rel=5e-6)
    np.testing.assert_array_equal(exact.fwhm_voxels, fsl.fwhm_voxels)


def test_interpolating_from_the_right_end_comes_close_to_the_integral(studies):
    mask, residuals, dof = studies["onesamp"]
    exact = z_smoothness(volumes(mask, residuals), mask, dof)
    linear = np.interp(29, [25, 30], [z_roughness(25), z_roughness(30)])
    assert exact.dlh * np.sqrt(linear / z_roughness(29)) == pytest.approx(0.102873, rel=5e-6)
    assert exact.dlh == pytest.approx(0.102873, rel=2e-4)


@pytest.mark.parametrize(
    ("dof", "tabulated"),
    [(5, 1.5423138), (6, 1.3757105), (10, 1.1606988), (20, 1.0632924), (30, 1.0390117)]
    + [(100, 1.0104851), (500, 1.0020191)],
)
def test_dof_correction_equals_the_tabulated_values(dof, tabulated):
    assert z_roughness(dof) == pytest.approx(tabulated, abs=6e-8)


def test_dof_correction_falls_to_one():
    values = [z_roughness(dof) for dof in (3, 3.5, 5, 12.7, 40, 1e3, 1e4, 1e6)]
    assert (np.diff(values) < 0).all()
    assert values[-1] == pytest.approx(1 + 1e-6, abs=1e-8)


def test_fsl_table_outside_its_knots():
    assert z_roughness(5.9, table="fsl") == pytest.approx(1.1**2)
    assert z_roughness(600, table="fsl") == pytest.approx(1 + 1.0321 / 600)
    # At a knot too, the difference to the knot below is added.
    step = z_roughness(30) - z_roughness(25)
    assert z_roughness(30, table="fsl") == pytest.approx(z_roughness(30) + step, rel=1e-12)
    assert z_roughness(25.5, table="fsl") == pytest.approx(
        2 * z_roughness(25) - z_roughness(20) + (z_roughness(25) - z_roughness(20)) * 0.1
    )


# Known smoothness


@pytest.mark.parametrize("fwhm", [(3, 3, 3), (3, 4.5, 6)])
def test_known_fwhm_is_recovered(fwhm):
    sigma = np.array(fwhm) / np.sqrt(8 * np.log(2))
    rng = np.random.default_rng(11)
    # The filter's margin is cut off: near the edge noise is smoother.
    maps = gaussian_filter(rng.standard_normal((25, 52, 52, 52)), (0, *sigma))[:, 8:-8, 8:-8, 8:-8]
    mask = np.ones(maps.shape[1:])
    residuals = maps - maps.mean(axis=0)
    ours = residual_smoothness(residuals, mask, 24)
    # What a difference of one voxel must give, for the correlation of neighbours.
    rho = np.exp(-1 / (4 * sigma**2))
    expected = np.sqrt(4 * np.log(2) / (2 * (1 - rho)))
    np.testing.assert_allclose(ours.fwhm_voxels, expected, rtol=0.03)
    np.testing.assert_allclose(ours.fwhm_voxels, fwhm, rtol=0.06)
    np.testing.assert_allclose(z_smoothness(residuals, mask, 24).fwhm_voxels, fwhm, rtol=0.06)
    np.testing.assert_allclose(z_smoothness(maps[0], mask).fwhm_voxels, fwhm, rtol=0.12)


def test_resels_are_unbiased_at_few_dof():
    # Worsley (1996): (n / dof) and the determinant cancel the bias of standardisation exactly for
    # smooth fields, at 7 degrees of freedom as at 79; 3 % is left by differences of one voxel.
    sigma, rng = 3, np.random.default_rng(5)
    maps = gaussian_filter(rng.standard_normal((80, 46, 46, 46)), (0, *3 * [sigma]), truncate=2.7)
    maps = maps[:, 8:-8, 8:-8, 8:-8]
    mask = np.ones(maps.shape[1:])
    truth = (np.sqrt(8 * np.log(2)) * sigma) ** 3
    for n in (8, 80):
        groups = [m - m.mean(axis=0) for m in np.split(maps, 80 // n)]
        resels = [1 / residual_smoothness(e, mask, n - 1).voxels_per_resel for e in groups]
        assert np.mean(resels) * truth == pytest.approx(0.97, abs=0.06)


# Invariances and definitions


@pytest.mark.parametrize("edges", ["valid", "spm"])
def test_axes_can_be_permuted(noise, edges):
    mask = ball() if edges == "valid" else np.ones(SHAPE, dtype=bool)
    ours = residual_smoothness(noise, mask, N - 1, edges=edges)
    z_ours = z_smoothness(noise, mask, N - 1)
    order = (2, 0, 1)
    moved = [image.transpose(order) for image in noise]
    theirs = residual_smoothness(moved, mask.transpose(order), N - 1, edges=edges)
    np.testing.assert_allclose(theirs.fwhm_voxels, ours.fwhm_voxels[list(order)], rtol=1e-12)
    np.testing.assert_allclose(
        theirs.resels_per_voxel, ours.resels_per_voxel.transpose(order), rtol=1e-9, atol=1e-15
    )
    z_theirs = z_smoothness(moved, mask.transpose(order), N - 1)
    np.testing.assert_allclose(z_theirs.fwhm_voxels, z_ours.fwhm_voxels[list(order)], rtol=1e-12)


def test_scale_does_not_matter_not_even_by_voxel(noise):
    mask = ball()
    scale = np.random.default_rng(0).uniform(0.1, 50, SHAPE)
    ours = residual_smoothness(noise, mask, N - 1)
    scaled = residual_smoothness(noise * scale, mask, N - 1)
    np.testing.assert_allclose(scaled.resels_per_voxel, ours.resels_per_voxel, rtol=1e-10)
    np.testing.assert_allclose(scaled.fwhm_voxels, ours.fwhm_voxels, rtol=1e-12)
    z_ours, z_scaled = (z_smoothness(e, mask, N - 1) for e in (noise, noise * scale))
    assert z_scaled.dlh == pytest.approx(z_ours.dlh, rel=1e-12)
    one, ten = (z_smoothness(k * noise[0], mask) for k in (1, -10))
    assert ten.dlh == pytest.approx(one.dlh, rel=1e-12)


def test_standardised_residuals_with_their_sum_of_squares_change_nothing(noise):
    mask = ball()
    ours = residual_smoothness(noise, mask, N - 1)
    standardised = noise / np.sqrt(np.square(noise).sum(axis=0) / (N - 1))
    same = residual_smoothness(
        standardised, mask, N - 1, residual_ss=np.full(SHAPE, N - 1.0), n_maps=N
    )
    np.testing.assert_allclose(same.resels_per_voxel, ours.resels_per_voxel, rtol=1e-10)


def test_map_is_the_determinant_of_differences(noise):
    ours = residual_smoothness(iter(noise), np.ones(SHAPE), N - 1)
    u = noise / np.sqrt(np.square(noise).sum(axis=0) / (N - 1))
    here = u[:, 5, 6, 4]
    steps = np.stack([u[:, 6, 6, 4] - here, u[:, 5, 7, 4] - here, u[:, 5, 6, 5] - here])
    roughness = steps @ steps.T / (N - 1)
    expected = np.sqrt(np.linalg.det(roughness) / (4 * np.log(2)) ** 3)
    assert ours.resels_per_voxel[5, 6, 4] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(ours.resels_per_voxel[-1]).all()
    mean = np.nanmean(ours.resels_per_voxel)
    assert ours.voxels_per_resel == pytest.approx(1 / mean, rel=1e-12)
    assert ours.dlh == pytest.approx((4 * np.log(2)) ** 1.5 * mean, rel=1e-12)


def test_correlation_with_backward_neighbours(noise):
    mask = ball()
    ours = z_smoothness(noise, mask, N - 1)
    z = stats.zscore(noise, ddof=1)
    used = mask.copy()
    for axis in range(3):
        used &= np.roll(mask, 1, axis)
    assert ours.n_voxels == used.sum()
    rho = np.array([(z * np.roll(z, 1, axis))[:, used].sum() for axis in (1, 2, 3)])
    rho /= (N - 1) * used.sum()
    sigma2 = -1 / (4 * np.log(rho))
    np.testing.assert_allclose(ours.fwhm_voxels, np.sqrt(8 * np.log(2) * sigma2), rtol=1e-12)
    expected = np.sqrt(z_roughness(N - 1) / (8 * sigma2.prod()))
    assert ours.dlh == pytest.approx(expected, rel=1e-12)


def test_edges_agree_where_the_mask_is_off_the_faces(noise):
    mask = ball()
    assert not upper_face(mask).any()
    spm, valid = (residual_smoothness(noise, mask, N - 1, edges=e) for e in ("spm", "valid"))
    np.testing.assert_array_equal(spm.resels_per_voxel, valid.resels_per_voxel)
    np.testing.assert_array_equal(spm.fwhm_voxels, valid.fwhm_voxels)


def test_spm_edges_are_exactly_zero(noise):
    mask = np.ones(SHAPE, dtype=bool)
    spm = residual_smoothness(noise, mask, N - 1, edges="spm")
    np.testing.assert_array_equal(spm.resels_per_voxel == 0, upper_face(mask))


@pytest.mark.parametrize("estimate", [residual_smoothness, z_smoothness])
def test_constant_voxels_count_as_outside(noise, estimate):
    mask = ball()
    dead = noise.copy()
    dead[:, 7, 6, 5] = 0.1 * (estimate is z_smoothness)
    without = mask.copy()
    without[7, 6, 5] = False
    ours, expected = estimate(dead, mask, N - 1), estimate(noise, without, N - 1)
    assert ours.n_voxels == expected.n_voxels
    np.testing.assert_allclose(ours.fwhm_voxels, expected.fwhm_voxels, rtol=1e-12)


def test_values_outside_the_mask_are_not_looked_at(noise):
    mask = ball()
    blank = np.where(mask, noise, np.nan)
    for estimate in (residual_smoothness, z_smoothness):
        ours, expected = estimate(blank, mask, N - 1), estimate(noise, mask, N - 1)
        np.testing.assert_array_equal(ours.fwhm_voxels, expected.fwhm_voxels)


# Bad input


@pytest.mark.parametrize("estimate", [residual_smoothness, z_smoothness])
def test_bad_input_is_refused(noise, estimate):
    mask = ball()
    with pytest.raises(ValueError, match=r"Image 1 has shape \(14, 12, 9\), the mask has"):
        estimate(noise[..., :-1], mask, N - 1)
    with pytest.raises(ValueError, match="mask has shape"):
        estimate(noise, mask[0], N - 1)
    with pytest.raises(ValueError, match="no image"):
        estimate([], mask, N - 1)
    with pytest.raises(ValueError, match="iterable of volumes"):
        estimate(lambda: noise, mask, N - 1)
    for dof in (0, -3, np.nan, np.inf):
        with pytest.raises(ValueError, match="dof is"):
            estimate(noise, mask, dof)
    with pytest.raises(ValueError, match="dof is 13"):
        estimate(noise, mask, N + 1)
    sparse = np.zeros(SHAPE, dtype=bool)
    sparse[::2, ::2, ::2] = True
    with pytest.raises(ValueError, match="None of the mask's 210 voxels has all its"):
        estimate(noise, sparse, N - 1)
    flat = np.zeros(SHAPE, dtype=bool)
    flat[:, :, 4] = True
    with pytest.raises(ValueError, match="None of the mask's 168 voxels has all its"):
        estimate(noise, flat, N - 1)
    broken = noise.copy()
    broken[3, 7, 6, 5] = np.nan
    with pytest.raises(ValueError, match="1 of .* voxels of the mask are NaN"):
        estimate(broken, mask, N - 1)
    same = np.repeat(noise[:, :, :, :1], SHAPE[2], axis=3)
    with pytest.raises(ValueError, match="along some axis"):
        estimate(same, mask, N - 1)
    with pytest.raises(ValueError, match="var"):
        estimate(0 * noise, mask, N - 1)


def test_unknown_choices_are_refused(noise):
    mask = ball()
    with pytest.raises(ValueError, match="edges is 'SPM'"):
        residual_smoothness(noise, mask, N - 1, edges="SPM")
    with pytest.raises(ValueError, match="residual_ss has shape"):
        residual_smoothness(noise, mask, N - 1, residual_ss=np.ones(5))
    with pytest.raises(ValueError, match="table is 'FSL'"):
        z_smoothness(noise, mask, N - 1, table="FSL")
    with pytest.raises(ValueError, match="at least 3"):
        z_smoothness(noise, mask, 2)
    with pytest.raises(ValueError, match="does not vary"):
        z_smoothness(np.ones(SHAPE), mask)


def test_a_single_plane_is_refused_with_spm_edges(noise):
    plane = [image[:, :, :1] for image in noise]
    with pytest.raises(ValueError, match="do not vary along some axis"):
        residual_smoothness(plane, np.ones((*SHAPE[:2], 1)), N - 1, edges="spm")
