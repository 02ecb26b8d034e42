"""One covariance over voxels against SPM's, and what it is whatever the data."""

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import optimize

from nipype_group.stats.estimators.pooled_covariance import (
    PooledCovarianceFit,
    component_sizes,
    covariance_components,
    effects_beyond_participants,
    fit_pooled_covariance,
    fit_pooled_reml,
    pooled_products,
)
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.random_field.smoothness import residual_smoothness

FOLDER = "oracles/spm/rmanova"
CONDITIONS = np.array([[1.0, -1, 0, *[0] * 10], [0, 1, -1, *[0] * 10]])
GROUPS, LEVELS = np.repeat(np.arange(10), 3), np.tile(np.arange(3), 10)


def reading(data):
    return lambda start, stop: data[:, start:stop]


@pytest.fixture(scope="module")
def study(shared, wager):
    about = json.loads((shared / FOLDER / "design.json").read_text())
    data = wager[[k + 10 * c for k in range(10) for c in range(3)]]
    return LinearModel(np.array(about["X"], dtype=float), tuple(about["names"])), data, about


@pytest.fixture(scope="module")
def fit(study):
    model, data, _ = study
    components = covariance_components(GROUPS, LEVELS)
    return fit_pooled_covariance(model, components, CONDITIONS, reading(data), data.shape[1])


def test_voxels_and_components_are_those_of_spm(study):
    model, data, about = study
    np.testing.assert_array_equal(covariance_components(GROUPS, LEVELS), about["Vi"])
    products, n_passed = pooled_products(model, CONDITIONS, reading(data), data.shape[1])
    assert n_passed == 36
    np.testing.assert_allclose(products, about["Cy"], atol=1e-10)


def test_f_of_the_covariance_estimated_is_that_of_spm(fit, inside):
    expected = inside(f"{FOLDER}/spmF_0001.nii.gz")
    found = fit.contrast(CONDITIONS, "F")
    assert (found.dof == 18).all() and found.rank == 2
    off = np.abs(found.stat / expected - 1)
    assert np.quantile(off, 0.99) < 1e-5
    assert off.max() < 1e-4


def test_t_within_is_that_of_spm(fit, inside, agree):
    found = fit.contrast(np.array([[1.0, 0, -1, *[0] * 10]]), "t")
    expected = inside(f"{FOLDER}/spmT_0002.nii.gz")
    agree("SPM", "one covariance over voxels: t", found.stat, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.effect, inside(f"{FOLDER}/con_0002.nii.gz"), atol=1e-5)


def test_statistics_of_the_covariance_of_spm_are_those_of_spm(study, inside, agree):
    model, data, about = study
    covariance = np.array(about["xViV"])
    nothing = np.zeros((0, 30, 30))
    given = PooledCovarianceFit(model, covariance, nothing, reading(data), data.shape[1], 36)
    np.testing.assert_allclose(given.whitening, about["W"], atol=1e-12)
    found = given.contrast(CONDITIONS, "F")
    expected = inside(f"{FOLDER}/spmF_0001.nii.gz")
    agree(
        "SPM",
        "one covariance over voxels, as SPM estimates it: F",
        found.stat,
        expected,
        rtol=1e-5,
        atol=1e-6,
    )
    mean = given.contrast(np.array([[*[1 / 3] * 3, *[0.1] * 10]]), "t")
    expected = inside(f"{FOLDER}/spmT_0003.nii.gz")
    np.testing.assert_allclose(mean.stat, expected, rtol=1e-5, atol=1e-5)


def test_residuals_are_whitened_and_as_smooth_as_those_of_spm(study, fit, shared, agree):
    model, data, about = study
    mask = nib.load(shared / "data/wager2008/mask.nii.gz").get_fdata() > 0
    w, x = fit.whitening, fit.whitening @ model.matrix
    expected = w @ data[:, :50] - x @ np.linalg.lstsq(x, w @ data[:, :50], rcond=None)[0]
    found = list(fit.residuals(lambda rows: (data[row] for row in rows)))
    np.testing.assert_allclose([own[:50] for own in found], expected, atol=1e-9)

    def volumes():
        for own in found:
            volume = np.zeros(mask.shape)
            volume[mask] = own
            yield volume

    smooth = residual_smoothness(volumes(), mask, model.dof, edges="spm")
    agree(
        "SPM",
        "one covariance over voxels: FWHM of whitened residuals",
        smooth.fwhm_voxels,
        about["FWHM"],
        rtol=1e-6,
    )


def test_effects_beyond_participants_pick_the_voxels_of_the_conditions(study):
    model, data, _ = study
    rows = effects_beyond_participants(model, GROUPS)
    assert len(rows) == 2
    products, n_passed = pooled_products(model, rows, reading(data), data.shape[1])
    assert n_passed == 36
    cells = LinearModel(model.matrix[:, :3], ("a", "b", "c"))
    # Without columns of participants nothing is theirs.
    assert len(effects_beyond_participants(cells, GROUPS)) == 3


def test_a_contrast_between_participants_is_refused_beside_their_columns(fit):
    with pytest.raises(ValueError, match="between participants"):
        fit.contrast(np.array([[*[1 / 3] * 3, *[0.1] * 10]]), "t")
    assert "36 voxels" in fit.notes[0]


@pytest.fixture
def small():
    rng = np.random.default_rng(4)
    groups, levels = np.repeat(np.arange(12), 3), np.tile(np.arange(3), 12)
    root = np.array([[1.0, 0, 0], [0.6, 1, 0], [0.3, 0.9, 2]])
    noise = np.einsum("ij,sjv->siv", root, rng.standard_normal((12, 3, 400))).reshape(36, 400)
    matrix = np.column_stack([np.ones(36), levels == 1, levels == 2, groups % 2]).astype(float)
    noise[:, :100] += 3 * matrix[:, 2:3]
    return LinearModel(matrix, ("a", "b", "c", "g")), groups, levels, noise


def test_sizes_maximise_the_restricted_likelihood(small):
    model, groups, levels, data = small
    components = covariance_components(groups, levels)
    interest = np.eye(4)[1:3]
    products, n_passed = pooled_products(model, interest, reading(data), 400)
    assert 60 < n_passed < 200
    sizes, untold = component_sizes(products, model.basis, components)
    assert len(untold) == 0

    def deviance(h):
        v = np.tensordot(h, components, 1)
        if np.linalg.eigvalsh(v)[0] <= 0:
            return np.inf
        inv, q = np.linalg.inv(v), model.basis
        a = q.T @ inv @ q
        p = inv - inv @ q @ np.linalg.solve(a, q.T @ inv)
        logs = np.linalg.slogdet(v)[1] + np.linalg.slogdet(a)[1]
        return logs + np.trace(p @ products)

    other = optimize.minimize(
        deviance,
        sizes * 1.1,
        method="Nelder-Mead",
        options={"xatol": 1e-6, "fatol": 1e-10, "maxiter": 4000},
    )
    assert deviance(sizes) <= other.fun + 1e-9
    np.testing.assert_allclose(sizes, other.x, rtol=1e-3)


def test_groups_have_a_covariance_of_visits_each(small):
    model, groups, levels, data = small
    sex = groups % 2
    data[sex == 1] *= 3
    fit = fit_pooled_reml(model, groups, levels, sex, reading(data), 400)
    # The two components of each are those of one of the groups alone.
    components = covariance_components(groups, levels)
    whose = [np.equal.outer(sex, sex) * (sex == g) for g in (0, 1)]
    apart = np.array([part * of for of in whose for part in components])
    theirs = fit_pooled_covariance(model, apart, np.eye(4), reading(data), 400)
    np.testing.assert_allclose(fit.covariance, theirs.covariance, atol=1e-9)
    of_visit = fit.covariance.diagonal()[levels == 0]
    assert (of_visit[1::2] > 4 * of_visit[::2]).all()
    again = fit_pooled_reml(model, groups, levels, sex, reading(data), 400, fit.covariance)
    weights = np.eye(4)[1:3]
    assert (again.contrast(weights, "F").stat == fit.contrast(weights, "F").stat).all()


def test_equal_variances_give_least_squares(small):
    model, groups, _, data = small
    components = covariance_components(groups, np.zeros(36), correlated=False)
    fit = fit_pooled_covariance(model, components, np.eye(4)[1:3], reading(data), 400)
    np.testing.assert_allclose(fit.covariance, np.eye(36), atol=1e-12)
    betas, residual_ss = model.fit(data)
    found = fit.contrast(np.eye(4)[1:2], "t")
    expected = betas[1] / np.sqrt(residual_ss / model.dof * model.covariance[1, 1])
    np.testing.assert_allclose(found.stat, expected, rtol=1e-10)


def test_voxels_that_maps_lack_are_whitened_by_their_part(small):
    model, groups, levels, data = small
    data[[4, 9], 200:300] = np.nan
    components = covariance_components(groups, levels)
    fit = fit_pooled_covariance(model, components, np.eye(4)[1:3], reading(data), 400)
    found = fit.contrast(np.eye(4)[1:3], "F")
    assert (found.dof[200:300] == 30).all() and (found.dof[:200] == 32).all()
    kept = np.delete(np.arange(36), [4, 9])
    x, v = model.matrix[kept], fit.covariance[np.ix_(kept, kept)]
    inv = np.linalg.inv(v)
    unit = np.linalg.inv(x.T @ inv @ x)
    y = data[kept, 250]
    b = unit @ x.T @ inv @ y
    e = y - x @ b
    f = b[1:3] @ np.linalg.solve(unit[1:3, 1:3], b[1:3]) / 2 / (e @ inv @ e / 30)
    np.testing.assert_allclose(found.stat[250], f, rtol=1e-9)


def test_all_bits_are_the_same_whatever_the_tiles(small, monkeypatch):
    model, groups, levels, data = small
    components = covariance_components(groups, levels)
    one = fit_pooled_covariance(model, components, np.eye(4)[1:3], reading(data), 400)
    monkeypatch.setattr(
        "nipype_group.stats.estimators.pooled_covariance.tiles",
        lambda n, _: (slice(a, min(a + 23, n)) for a in range(0, n, 23)),
    )
    other = fit_pooled_covariance(model, components, np.eye(4)[1:3], reading(data), 400)
    assert (one.covariance == other.covariance).all()
    weights = np.eye(4)[1:3]
    assert (one.contrast(weights, "F").stat == other.contrast(weights, "F").stat).all()


def test_what_cannot_be_told_is_refused(small):
    model, groups, levels, data = small
    with pytest.raises(ValueError, match="several maps of one level"):
        covariance_components(groups, levels // 2)
    components = covariance_components(groups, levels)
    with pytest.raises(ValueError, match="No voxel passes"):
        fit_pooled_covariance(model, components, np.eye(4)[3:], reading(data[:, 100:120]), 20)
