"""Maps that are outliers: planted ones, and the likelihood against a search without ours."""

import numpy as np
import pytest
from scipy import optimize

from nipype_group.stats.estimators.outliers import find_outliers
from nipype_group.stats.linear.least_squares import LinearModel

N = 20
MATRIX = np.column_stack([np.ones(N), np.linspace(-1, 1, N)])
MODEL = LinearModel(MATRIX, ("mean", "slope"))


@pytest.fixture(scope="module")
def data():
    """Return maps of which number 3 is an outlier at voxels 0 to 39, number 7 at 0 to 19."""
    rng = np.random.default_rng(1)
    variances = np.exp(0.5 * rng.standard_normal((N, 200)))
    effects = 0.3 + rng.standard_normal((N, 200)) * np.sqrt(variances + 0.5)
    effects[3, :40] += 8 * np.sqrt(variances[3, :40] + 0.5)
    effects[7, :20] -= 7
    return effects, variances


@pytest.fixture(scope="module")
def found(data):
    return find_outliers(MODEL, *data)


def test_planted_outliers_are_found_and_others_are_not(found):
    assert found.probability[3, :40].mean() > 0.9
    assert found.probability[7, :20].mean() > 0.9
    assert np.delete(found.probability[:, :40], [3, 7], axis=0).mean() < 0.05
    # Schwarz's criterion takes the two parameters at few of the voxels that have no outlier.
    assert (found.share[40:] > 0).mean() < 0.1
    assert (found.share <= 0.5).all()
    assert (found.tau2_outlier >= found.tau2).all()


def minus_log_likelihood(theta, y, s):
    """Return that of the mixture, by parameters without borders."""
    tau2, more, share = abs(theta[2]), abs(theta[3]), 0.5 / (1 + np.exp(-theta[4]))
    left = y - MATRIX @ theta[:2]
    kinds = [
        np.log(part) - (np.log(s + t) + left**2 / (s + t)) / 2
        for part, t in ((1 - share, tau2), (share, tau2 + more))
    ]
    return -np.logaddexp(*kinds).sum()


def test_no_parameters_are_likelier(data, found):
    starts = ([0.3, 0, 0.0, 5, 0], [0.3, 0, 0.5, 20, -2], [0.3, 0, 0.5, 100, -3])
    voxels = np.flatnonzero(found.share > 0)[::5]
    assert len(voxels) >= 7
    for v in voxels:
        y, s = data[0][:, v], data[1][:, v]
        p, share = found.probability[:, v], found.share[v]
        weight = (1 - p) / (s + found.tau2[v]) + p / (s + found.tau2_outlier[v])
        betas = np.linalg.solve((MATRIX.T * weight) @ MATRIX, MATRIX.T @ (weight * y))
        ours = [*betas, found.tau2[v], found.tau2_outlier[v] - found.tau2[v]]
        ours.append(-np.log(max(0.5 / share - 1, 1e-300)))
        height = minus_log_likelihood(np.array(ours), y, s)
        best = min(
            optimize.minimize(
                minus_log_likelihood,
                start,
                args=(y, s),
                method="Nelder-Mead",
                options={"maxiter": 6000, "maxfev": 6000, "xatol": 1e-8, "fatol": 1e-10},
            ).fun
            for start in starts
        )
        assert height <= best + 1e-6


def test_variances_are_enlarged_by_what_the_mixture_says(data, found):
    variances = data[1]
    total = variances + found.tau2, variances + found.tau2_outlier
    weight = (1 - found.probability) / total[0] + found.probability / total[1]
    np.testing.assert_allclose(found.variances + found.tau2, 1 / weight, rtol=1e-12)
    assert (found.variances >= variances * (1 - 1e-12)).all()
    plain = found.share == 0
    assert (found.variances[:, plain] == variances[:, plain]).all()
    assert (found.variances[3, :40] > 3 * variances[3, :40]).mean() > 0.9


def test_effects_and_their_errors_are_less_moved(data, found, fit_maps):
    effects, variances = data
    plain = fit_maps(MATRIX, effects, variances).contrast([1.0, 0], "t")
    robust = fit_maps(MATRIX, effects, found.variances).contrast([1.0, 0], "t")
    at = slice(20, 40)
    for name, most in (("effect", 0.8), ("variance", 0.7)):
        off = [
            np.abs(getattr(f, name)[at] - (name == "effect") * 0.3).mean() for f in (robust, plain)
        ]
        assert off[0] < most * off[1]


def test_a_map_that_lacks_a_voxel_is_no_outlier_and_bits_depend_on_no_other_voxel(data, found):
    effects, variances = (np.array(d) for d in data)
    effects[3, 5], variances[7, 6] = np.nan, 0
    gaps = find_outliers(MODEL, effects, variances)
    assert gaps.probability[3, 5] == 0
    assert gaps.probability[7, 6] == 0
    assert gaps.variances[7, 6] == 0
    assert gaps.probability[7, 5] > 0.5
    part = find_outliers(MODEL, data[0][:, 10:95], data[1][:, 10:95])
    for name in ("probability", "share", "tau2", "tau2_outlier", "variances"):
        assert getattr(part, name).tobytes() == getattr(found, name)[..., 10:95].tobytes()


def test_units_do_not_matter(data, found):
    scaled = find_outliers(MODEL, 1e-3 * data[0], 1e-6 * data[1])
    np.testing.assert_allclose(scaled.probability, found.probability, atol=1e-4)
    np.testing.assert_allclose(scaled.tau2, 1e-6 * found.tau2, rtol=1e-3, atol=1e-10)
