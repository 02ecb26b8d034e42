"""Effects with variances of all 75,919 voxels against FSL's flameo.

Its files are float32. Where several variances between participants are nearly as likely, its
search ends early; there the likelihood itself is compared.
"""

import numpy as np
import pytest

FOLDER = "oracles/fsl/flameo"


@pytest.fixture(scope="module")
def variances(shared, inside):
    data = inside("data/wager2008/synthetic_variance_4d.nii.gz").T
    assert data.shape == (30, 75919)
    return np.ascontiguousarray(data)


@pytest.fixture(scope="module")
def matrices(success):
    # The covariate as flameo read it, with ten digits.
    centred = np.array([float(f"{c:.10g}") for c in success - success.mean()])
    return {"one": np.ones((30, 1)), "reg": np.column_stack([np.ones(30), centred])}


def log_likelihood(tau2, effects, variances, matrix):
    """Return the restricted log likelihood of all voxels, shape (v,), by 1 x 1 or 2 x 2 sums."""
    weight = 1 / (variances + tau2)
    cross = np.einsum("ij,ik,iv->jkv", matrix, matrix, weight)
    score = np.einsum("ij,iv,iv->jv", matrix, weight, effects)
    if len(cross) == 1:
        determinant, fitted = cross[0, 0], score[0] ** 2 / cross[0, 0]
    else:
        determinant = cross[0, 0] * cross[1, 1] - cross[0, 1] ** 2
        fitted = (
            cross[1, 1] * score[0] ** 2
            - 2 * cross[0, 1] * score[0] * score[1]
            + cross[0, 0] * score[1] ** 2
        ) / determinant
    residual = (weight * effects**2).sum(axis=0) - fitted
    return (np.log(weight).sum(axis=0) - np.log(determinant) - residual) / 2


@pytest.mark.parametrize("name", ["one", "reg"])
def test_flame1_is_no_likelier_and_equal_where_its_search_ends_well(
    name, wager, variances, matrices, inside, fit_maps
):
    matrix = matrices[name]
    fit = fit_maps(matrix, wager, variances)
    tau2 = inside(f"{FOLDER}/fl_{name}_flame1/mean_random_effects_var1.nii.gz")
    ours = log_likelihood(fit.between.tau2[0], wager, variances, matrix)
    theirs = log_likelihood(tau2, wager, variances, matrix)
    assert (ours - theirs).min() > -1e-10
    well = ours - theirs < 1e-4
    assert well.mean() > 0.999
    found = fit.contrast(np.eye(len(matrix.T))[-1], "t")
    t = inside(f"{FOLDER}/fl_{name}_flame1/tstat1.nii.gz")
    close = np.abs(found.stat - t)[well] < 0.003
    assert close.mean() >= 0.999
    assert (found.dof == inside(f"{FOLDER}/fl_{name}_flame1/tdof_t1.nii.gz")).all()


def test_fixed_effects_equal_flameo(wager, variances, matrices, inside, fit_maps):
    fit = fit_maps(matrices["one"], wager, variances, "fixed-effects")
    found = fit.contrast(np.ones(1), "t")
    for name, ours in (
        ("cope1", found.effect),
        ("varcope1", found.variance),
        ("tstat1", found.stat),
    ):
        theirs = inside(f"{FOLDER}/fl_one_fe/{name}.nii.gz")
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).std())


@pytest.mark.parametrize("name", ["one", "reg"])
def test_equal_variances_are_least_squares_as_flameo_has_it(
    name, wager, matrices, inside, fit_maps
):
    """With Knapp and Hartung's factor the size of equal variances does not matter."""
    matrix = matrices[name]
    equal = np.ones_like(wager)
    fit = fit_maps(matrix, wager, equal, "fixed-effects", knapp_hartung="plain")
    found = fit.contrast(np.eye(len(matrix.T))[-1], "t")
    for file, ours in (
        ("cope1", found.effect),
        ("varcope1", found.variance),
        ("tstat1", found.stat),
    ):
        theirs = inside(f"{FOLDER}/fl_{name}_ols/{file}.nii.gz")
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).std())
