"""Fitted tails against known p values, theory, scipy and PALM."""

import numpy as np
import pytest
from scipy import special, stats

from nipype_group.stats.distributions import t_to_z
from nipype_group.stats.permutation import tails as tail_approximation
from nipype_group.stats.permutation.tails import (
    TAIL_METHODS,
    anderson_darling_p,
    approximate_p,
    fit_gpd,
    gpd_log_sf,
    pearson_three_log_tails,
)

# Voxels whose maximum a simulated null holds: about as many as a brain has resels.
N_VOXELS = 1000


def maxima(rng, size):
    """Draw maxima of independent standard normal values."""
    return stats.norm.isf(-np.expm1(np.log(rng.random(size)) / N_VOXELS))


def maximum_of_p(p):
    return stats.norm.isf(-np.expm1(np.log1p(-p) / N_VOXELS))


def asymptotic_critical_values(shape, levels):
    """Compute upper points of Anderson and Darling's statistic, scale and shape estimated.

    The statistic is a sum of squared normal values weighted by the eigenvalues of the covariance
    of the estimated empirical process, here on a logistic grid, where its weight is 1.
    """
    nodes, weights = np.polynomial.legendre.leggauss(300)
    y, weights = 14 * nodes, 14 * weights
    cdf, sf = special.expit(y), special.expit(-y)
    kernel = np.minimum.outer(cdf, cdf) * np.minimum.outer(sf, sf)
    log_sf = np.log(sf)
    if shape == 0:
        slopes = np.array([sf * log_sf, -sf * log_sf**2 / 2])
    else:
        bend = (1 - sf**shape) / shape
        slopes = np.array([-sf * bend, sf * (log_sf + bend) / shape])
    information = np.array([[1 + shape, 1], [1, 2]]) / ((1 + shape) * (1 + 2 * shape))
    kernel -= slopes.T @ np.linalg.inv(information) @ slopes
    root = np.sqrt(weights)
    eigenvalues = np.linalg.eigvalsh(root[:, None] * kernel * root)[::-1]
    squares = np.random.default_rng(0).chisquare(1, (50_000, 25))
    sample = squares @ eigenvalues[:25] + eigenvalues[25:].sum()
    return np.quantile(sample, 1 - np.asarray(levels))


@pytest.mark.parametrize("shape", [-0.4, -0.2, 0, 0.2, 0.5, 0.9])
def test_critical_values_are_those_of_theory(shape):
    # Theory tells which sign of the shape belongs to which row of the printed table.
    levels = [0.5, 0.25, 0.1, 0.05, 0.025]
    for level, value in zip(levels, asymptotic_critical_values(shape, levels), strict=True):
        assert anderson_darling_p(value, shape) == pytest.approx(level, rel=0.05)


@pytest.mark.parametrize("shape", [-0.2, 0.0, 0.3])
@pytest.mark.parametrize("n", [50, 250])
def test_the_goodness_test_refuses_one_true_tail_in_twenty(shape, n):
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(600):
        excess = np.sort(stats.genpareto.rvs(shape, size=n, random_state=rng))
        log_sf = gpd_log_sf(excess, *fit_gpd(excess))
        z = -np.expm1(log_sf)
        i = np.arange(1, n + 1)
        statistic = -n - np.sum((2 * i - 1) * (np.log(z) + np.log(1 - z[::-1]))) / n
        refused += anderson_darling_p(statistic, fit_gpd(excess)[0]) <= 0.05
    # Four standard errors above; a little shy of .05 in small samples.
    assert 0.02 < refused / 600 < 0.05 + 4 * 0.009


def test_the_goodness_test_notices_a_wrong_tail():
    rng = np.random.default_rng(6)
    refused = 0
    for _ in range(100):
        null = np.r_[rng.random(375), 2 + np.abs(rng.standard_normal(125) + 4)]
        refused += approximate_p(null, 7.0, "gpd").parameters.get("n_tail") != 125
    assert refused > 90


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3])
def test_estimates_in_large_samples_are_those_of_maximum_likelihood(shape):
    excess = stats.genpareto.rvs(shape, scale=3, size=4000, random_state=8)
    theirs, _, scale = stats.genpareto.fit(excess, shape, floc=0, scale=3)
    assert fit_gpd(excess) == pytest.approx((theirs, scale), abs=0.015)


def test_estimates_follow_the_unit_and_keep_all_data_inside():
    rng = np.random.default_rng(9)
    for shape in (-0.9, -0.5, 0.0, 0.5):
        for n in (25, 60):
            excess = stats.genpareto.rvs(shape, size=n, random_state=rng)
            fitted, scale = fit_gpd(excess)
            assert fit_gpd(1000 * excess) == pytest.approx((fitted, 1000 * scale), rel=1e-9)
            assert np.isfinite(gpd_log_sf(excess, fitted, scale)).all()


@pytest.mark.parametrize(
    "method, distribution",
    [
        ("gpd", stats.expon()),
        ("gpd", stats.genpareto(0.2)),
        ("gpd", stats.genpareto(-0.2)),
        ("gpd", stats.gamma(4)),
        ("gamma", stats.gamma(4)),
        ("gamma", stats.gamma(0.8, loc=5, scale=3)),
        ("gamma", stats.norm(3, 0.5)),
    ],
)
def test_known_p_are_recovered(method, distribution):
    rng = np.random.default_rng(10)
    log_p = []
    for _ in range(150):
        null = distribution.rvs(2000, random_state=rng)
        log_p.append(approximate_p(null, distribution.isf([0.05, 0.01, 0.002]), method).log_p)
    error = np.array(log_p) / np.log(10) - np.log10([0.05, 0.01, 0.002])
    np.testing.assert_allclose(error.mean(axis=0), 0, atol=0.05)
    # Counting has standard errors of .042, .097 and .217 in log10.
    assert (error.std(axis=0) < [0.042, 0.095, 0.19]).all()


@pytest.mark.parametrize("method", TAIL_METHODS)
def test_a_small_p_is_nearer_the_truth_than_a_count(method):
    # The strong maximum is itself part of the null, and draws the fitted tail towards it.
    rng = np.random.default_rng(11)
    observed = maximum_of_p(1e-5)
    p = []
    for _ in range(100):
        null = np.r_[observed, maxima(rng, 499)]
        p.append(approximate_p(null, observed, method).p.item())
    error = np.abs(np.log10(p) + 5)
    assert np.sqrt(np.mean(error**2)) < 0.8 * (np.log10(1 / 500) + 5)
    assert np.mean(np.log10(p)) > -5


@pytest.mark.parametrize("method", TAIL_METHODS)
def test_null_effects_get_small_p_no_more_often_than_they_should(method):
    rng = np.random.default_rng(12)
    n = 2000
    p = np.empty(n)
    for i in range(n):
        null = maxima(rng, 200)
        p[i] = approximate_p(null, null[0], method).p
    for alpha in (0.05, 0.01):
        error = np.sqrt(alpha * (1 - alpha) / n)
        assert abs(np.mean(p <= alpha) - alpha) < 4 * error
    # Below what 200 shuffles resolve, no p is promised too often.
    assert np.mean(p <= 0.002) < 0.002 + 3 * np.sqrt(0.002 / n)


@pytest.fixture(scope="module")
def palm(shared):
    folder = shared / "oracles/palm"
    return {
        name: np.loadtxt(folder / f"{path}_max.csv")
        for name, path in {
            "500": "f_tail/f_tail_vox_tstat",
            "2000": "a_vox/a_vox_vox_tstat",
            "extent": "f_tail/f_tail_clustere_tstat",
        }.items()
    }


def test_p_of_500_shuffles_are_those_of_palm(inside, palm):
    # PALM fits by moments and keeps the first tail of ours too; it z-transforms first.
    z = t_to_z(inside("oracles/palm/f_tail/f_tail_vox_tstat.nii.gz"), 29)
    theirs = inside("oracles/palm/f_tail/f_tail_vox_tstat_fwep.nii.gz")
    counted = inside("oracles/palm/f_plain500/f_plain500_vox_tstat_fwep.nii.gz")
    fit = approximate_p(palm["500"], z, "gpd", ties=1e-6)
    assert fit.accepted
    assert fit.parameters["n_tail"] == 125
    tail = counted < 0.1
    assert np.count_nonzero(tail) > 200
    assert np.abs(np.log10(fit.p[tail] / theirs[tail])).max() < 0.12
    # Counts differ by a tie at most.
    assert np.abs(fit.p[~tail] - counted[~tail]).max() < 1.5 / 500
    # PALM's own p moved away from the count by more than ours from PALM's.
    assert np.abs(np.log10(counted[tail] / theirs[tail])).max() > 0.3


@pytest.mark.parametrize("method, largest", [("gpd", 0.2), ("gamma", 0.12)])
def test_500_shuffles_foretell_what_2000_count(inside, palm, method, largest):
    z = t_to_z(inside("oracles/palm/a_vox/a_vox_vox_tstat.nii.gz"), 29)
    counted = inside("oracles/palm/a_vox/a_vox_vox_tstat_fwep.nii.gz")
    of_500 = inside("oracles/palm/f_plain500/f_plain500_vox_tstat_fwep.nii.gz")
    between = (counted >= 0.005) & (counted < 0.1)
    fitted = approximate_p(palm["500"], z, method, ties=1e-6).p

    def errors(p):
        return np.abs(np.log10(p[between] / counted[between]))

    assert errors(fitted).max() < largest
    assert np.square(errors(fitted)).mean() < np.square(errors(of_500)).mean()


def test_extents_of_palm_are_fitted_in_spite_of_ties(palm):
    extents = np.array([1341.0, 216, 71])
    fit = approximate_p(palm["extent"], extents, "gpd", ties=1e-6)
    counted = np.array([0.002, 0.012, 0.026])
    assert fit.accepted
    assert np.abs(np.log10(fit.p / counted)).max() < 0.4
    assert fit.parameters["threshold"] % 1 == pytest.approx(0.5, abs=1e-5)
    assert fit.parameters["n_tail"] == np.count_nonzero(
        palm["extent"] > fit.parameters["threshold"]
    )
    # A gamma distribution of that skewness leaves out half of the null.
    assert not approximate_p(palm["extent"], extents, "gamma").accepted


NULLS = {
    "continuous": lambda rng: maxima(rng, 300),
    "heavy": lambda rng: stats.genpareto.rvs(0.6, size=300, random_state=rng),
    "bounded": lambda rng: rng.random(300) ** 0.5,
    "skewed to the left": lambda rng: 10 - rng.gamma(2, size=300),
    "extents": lambda rng: np.floor(rng.exponential(20, 300)),
    "mostly zero": lambda rng: np.floor(rng.exponential(20, 300)) * (rng.random(300) < 0.2),
    "few values": lambda rng: rng.integers(0, 4, 300).astype(float),
    "constant": lambda rng: np.zeros(300),
}


@pytest.mark.parametrize("method", TAIL_METHODS)
@pytest.mark.parametrize("kind", NULLS)
def test_p_falls_with_the_value_and_never_is_zero(kind, method):
    rng = np.random.default_rng(13)
    for _ in range(20):
        null = NULLS[kind](rng)
        observed = np.unique(np.r_[null, np.linspace(-1, 2 * null.max() + 1, 400), 1e6])
        fit = approximate_p(null, observed, method)
        assert (np.diff(fit.log_p) <= 1e-12).all()
        assert fit.p.min() > 0
        assert fit.p.max() <= 1
        assert np.isfinite(fit.log_p).all()
        np.testing.assert_allclose(fit.p[fit.log_p > -700], np.exp(fit.log_p[fit.log_p > -700]))


@pytest.mark.parametrize("kind", ["few values", "constant"])
def test_without_an_accepted_fit_p_is_counted(kind):
    null = NULLS[kind](np.random.default_rng(14))
    observed = np.arange(4.0)
    fit = approximate_p(null, observed, "gpd")
    assert not fit.accepted
    assert fit.parameters == {}
    counted = [max(np.count_nonzero(null >= value), 1) / 300 for value in observed]
    np.testing.assert_allclose(fit.p, counted)


def test_values_within_the_tie_tolerance_count_as_equal():
    null = np.repeat(np.arange(10.0), 30)
    assert approximate_p(null, 5 * (1 + 1e-7), "gpd", ties=1e-6).p == 150 / 300
    assert approximate_p(null, 5 * (1 + 1e-7), "gpd").p == 120 / 300


def test_only_p_below_a_tenth_are_replaced():
    null = maxima(np.random.default_rng(15), 400)
    fit = approximate_p(null, null, "gpd")
    counted = np.array([np.count_nonzero(null >= value) for value in null]) / 400
    np.testing.assert_array_equal(fit.p[counted >= 0.1], counted[counted >= 0.1])
    small = counted < 0.1
    expected = stats.genpareto.sf(
        null[small], fit.parameters["shape"], fit.parameters["threshold"], fit.parameters["scale"]
    )
    expected = np.minimum(expected * fit.parameters["n_tail"] / 400, 0.1)
    np.testing.assert_allclose(fit.p[small], expected, rtol=1e-9)
    assert fit.parameters["n_tail"] == np.count_nonzero(null > fit.parameters["threshold"])


@pytest.mark.parametrize("shape", [-0.4, 0.0, 1e-11, 0.3])
def test_survival_is_that_of_scipy(shape):
    x = np.array([0.0, 0.1, 1, 2, 3, 200])
    np.testing.assert_allclose(
        gpd_log_sf(x, shape, 1.3), stats.genpareto.logsf(x, shape, scale=1.3), rtol=1e-9
    )


@pytest.mark.parametrize("skewness", [-1.5, -0.3, -1e-3, 1e-3, 0.3, 1.5])
def test_gamma_p_are_those_of_scipys_pearson_distribution(skewness):
    null = stats.pearson3.rvs(skewness, 2, 3, size=5000, random_state=16)
    fit = approximate_p(null, np.linspace(0, 8, 20), "gamma")
    sample_skewness = stats.skew(null)
    expected = stats.pearson3.sf(np.linspace(0, 8, 20), sample_skewness, null.mean(), null.std())
    np.testing.assert_allclose(fit.p[expected > 1e-3], expected[expected > 1e-3], rtol=1e-6)
    mean = fit.parameters["location"] + fit.parameters["shape"] * fit.parameters["scale"]
    assert mean == pytest.approx(null.mean())
    assert fit.goodness["kolmogorov_smirnov"] == pytest.approx(
        stats.kstest(null, stats.pearson3(sample_skewness, null.mean(), null.std()).cdf).statistic
    )
    assert fit.accepted


def test_logarithms_are_right_where_p_underflows():
    far = np.array([800.0, 5000, 1e6])
    _, upper = pearson_three_log_tails(far, 0, 2.0, 1.0)
    np.testing.assert_allclose(upper, np.log1p(far) - far, rtol=1e-13)
    # Reflected: an upper tail of 50 events before a tiny time.
    _, upper = pearson_three_log_tails(np.array([-1e-8]), 0, 50.0, -1.0)
    np.testing.assert_allclose(upper, 50 * np.log(1e-8) - special.gammaln(51), rtol=1e-9)
    # A large shape is nearly normal: both series meet scipy's values where these end.
    for scale, value in ((1.0, 400 + 20 * 38), (-1.0, -180.0), (-1.0, -60.0)):
        _, upper = pearson_three_log_tails(np.array([value, value + 0.01]), 0, 400.0, scale)
        density = stats.gamma.logpdf(abs(value), 400)
        # The slope of log survival is minus the hazard.
        hazard = np.exp(density - upper[0])
        assert (upper[0] - upper[1]) / 0.01 == pytest.approx(hazard, rel=0.01)


@pytest.mark.parametrize("method", TAIL_METHODS)
def test_a_bounded_curve_is_not_followed_beyond_the_data(method):
    null = 1 - np.random.default_rng(17).random(500) ** 2
    null = null if method == "gpd" else -np.random.default_rng(17).gamma(2, size=500)
    fit = approximate_p(null, np.array([null.max(), null.max() + 1, 1e9]), method)
    assert fit.parameters["shape" if method == "gpd" else "scale"] < 0
    assert fit.p[1] == fit.p[2]
    assert 0 < fit.p[1] <= 1 / 500 * (1 + 1e-12)
    assert fit.p[1] <= fit.p[0]


def test_small_tails_are_not_fitted():
    assert tail_approximation.MIN_SHUFFLES * 0.25 == 25
    null = np.random.default_rng(18).random(100)
    null[:80] = 0
    assert not approximate_p(null, 1.0, "gpd").accepted


@pytest.mark.parametrize(
    "null, observed, method, message",
    [
        (np.arange(99.0), 1.0, "gpd", r"at least 100 null values, got shape \(99,\)"),
        (np.ones((100, 2)), 1.0, "gamma", r"got shape \(100, 2\)"),
        (np.arange(100.0), 1.0, "pareto", "gpd, gamma, got 'pareto'"),
        (np.r_[np.nan, np.arange(100.0)], 1.0, "gpd", "1 of 101 null values are not finite"),
        (np.arange(100.0), [1.0, np.inf], "gpd", "1 of 2 observed values are not finite"),
    ],
)
def test_bad_input_is_named(null, observed, method, message):
    with pytest.raises(ValueError, match=message):
        approximate_p(null, observed, method)
