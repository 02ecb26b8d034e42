"""Conversions of maps against scipy's tests of the data that they summarise."""

import numpy as np
import pytest
from scipy import special, stats

from nipype_group.stats.distributions import t_to_z
from nipype_group.stats.map_conversions import d_to_t, log_p_to_z, r_to_t

RNG = np.random.default_rng(4)


def test_r_is_the_t_of_a_regression():
    x, y = RNG.standard_normal((2, 40, 25))
    for a, b in zip(x.T, y.T, strict=True):
        r, p = stats.pearsonr(a, b)
        t = r_to_t(r, 38)
        np.testing.assert_allclose(2 * stats.t.sf(abs(t), 38), p, rtol=1e-9)
        fit = stats.linregress(a, b)
        np.testing.assert_allclose(t, fit.slope / fit.stderr, rtol=1e-9)


def test_partial_r_has_the_dof_of_the_model():
    x, y, c = RNG.standard_normal((3, 30))
    model = np.c_[np.ones(30), c, x]
    nuisance = model[:, :2]
    a, b = (v - nuisance @ np.linalg.lstsq(nuisance, v, rcond=None)[0] for v in (x, y))
    beta, rss = np.linalg.lstsq(model, y, rcond=None)[:2]
    t = beta[2] / np.sqrt(rss[0] / 27 * np.linalg.inv(model.T @ model)[2, 2])
    np.testing.assert_allclose(r_to_t(np.corrcoef(a, b)[0, 1], 27), t, rtol=1e-9)


def test_r_near_one_keeps_its_digits():
    left = 1e-14
    np.testing.assert_allclose(r_to_t(1 - left, 10), np.sqrt(10 / (2 * left)), rtol=1e-2)
    assert r_to_t(-0.3, 12) == -r_to_t(0.3, 12)


def test_d_of_one_group_and_of_two():
    a, b = RNG.standard_normal(17) + 0.5, RNG.standard_normal(12)
    t = stats.ttest_1samp(a, 0).statistic
    np.testing.assert_allclose(d_to_t(a.mean() / a.std(ddof=1), 17), t, rtol=1e-12)
    pooled = np.sqrt((16 * a.var(ddof=1) + 11 * b.var(ddof=1)) / 27)
    t = stats.ttest_ind(a, b).statistic
    np.testing.assert_allclose(d_to_t((a.mean() - b.mean()) / pooled, (17, 12)), t, rtol=1e-12)


@pytest.mark.parametrize("dof", [3, 28, 400])
def test_z_of_p_is_the_z_of_its_t(dof):
    t = np.r_[-RNG.uniform(0, 12, 50), RNG.uniform(0, 12, 50)]
    z = t_to_z(t, dof)
    one = log_p_to_z(stats.t.logsf(t, dof), "one")
    # Above one half p says less and less of z.
    np.testing.assert_allclose(one[t > 0], z[t > 0], rtol=1e-6)
    near = (t < 0) & (z > -4)
    np.testing.assert_allclose(one[near], z[near], atol=1e-6)
    both = np.log(2) + stats.t.logsf(np.abs(t), dof)
    np.testing.assert_allclose(log_p_to_z(both, "two", t), z, rtol=1e-6)
    np.testing.assert_allclose(log_p_to_z(both, "two"), np.abs(z), rtol=1e-6)


def test_ends_of_p():
    assert log_p_to_z(0.0, "two") == 0
    assert log_p_to_z(np.log(0.5), "one") == pytest.approx(0, abs=1e-15)
    # No p of double precision is so small.
    assert log_p_to_z(-1000 * np.log(10), "one") == pytest.approx(-special.ndtri_exp(-2302.585093))
    assert 67 < log_p_to_z(-1000 * np.log(10), "two") < 68
    with pytest.raises(ValueError, match="sides of p are one or two, got 'both'"):
        log_p_to_z(-1.0, "both")
