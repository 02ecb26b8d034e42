"""Tail probabilities against scipy where p is representable and closed forms beyond."""

import csv
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from nipype_group.stats.distributions import (
    f_to_z,
    log_sf_f,
    log_sf_t,
    minus_log10,
    t_to_z,
    z_to_log_p,
)


def log_sf_normal(z):
    """Log upper tail of a normal, by the scaled complementary error function."""
    return -(z**2) / 2 + np.log(special.erfcx(z / np.sqrt(2)) / 2)


def log_sf_t_even(t, dof):
    """Log upper tail of t for an even dof: the remainder of a binomial series, all positive.

    With c = dof / (dof + t^2): P(|T| >= t) = sqrt(1 - c) sum_{j >= dof/2} C(2j, j) (c / 4)^j.
    """
    assert dof % 2 == 0
    with localcontext(prec=40):
        c = Decimal(dof) / (Decimal(dof) + Decimal(t) ** 2)
        term = Decimal(1)
        for j in range(dof // 2):
            term *= c * (2 * j + 1) / (2 * j + 2)
        total, j = Decimal(0), dof // 2
        while term > total * Decimal(10) ** -30:
            total += term
            term *= c * (2 * j + 1) / (2 * j + 2)
            j += 1
        return float(((1 - c).sqrt() * total / 2).ln())


def log_sf_f_even(f, dof_num, dof_den):
    """Log upper tail of F for an even numerator dof: a finite sum of positive terms."""
    assert dof_num % 2 == 0
    with localcontext(prec=40):
        x = Decimal(dof_den) / (Decimal(dof_den) + Decimal(dof_num) * Decimal(f))
        b = Decimal(dof_den) / 2
        term = total = Decimal(1)
        for i in range(1, dof_num // 2):
            term *= (b + i - 1) / i * (1 - x)
            total += term
        return float(b * x.ln() + total.ln())


@pytest.mark.parametrize("dof", [1, 2, 3.5, 11, 29, 200, 5000])
def test_log_sf_t_equals_scipy_where_p_is_representable(dof):
    t = np.array([-30, -8, -3.1, -1e-3, 0, 1e-3, 0.3, 1, 4, 9, 20])
    p = stats.t.sf(t, dof)
    assert np.all(p > 0)
    np.testing.assert_allclose(log_sf_t(t, dof), np.log(p), rtol=2e-12, atol=1e-15)


@pytest.mark.parametrize("dof", [1, 2, 29, 5000])
def test_log_sf_t_near_0_follows_the_density(dof):
    t = np.array([-1e-6, -1e-9, -1e-12, 1e-12, 1e-9, 1e-6])
    expected = np.log1p(-2 * t * stats.t.pdf(0, dof))
    np.testing.assert_allclose(log_sf_t(t, dof) + np.log(2), expected, rtol=3e-6, atol=2e-16)


@pytest.mark.parametrize(("dof_num", "dof_den"), [(1, 5), (3, 29), (2.5, 11.5), (12, 300)])
def test_log_sf_f_equals_scipy_where_p_is_representable(dof_num, dof_den):
    f = np.array([0, 1e-6, 0.2, 1, 3, 10, 50])
    expected = np.log(stats.f.sf(f, dof_num, dof_den))
    np.testing.assert_allclose(log_sf_f(f, dof_num, dof_den), expected, rtol=2e-12, atol=1e-13)


def test_tails_of_t_with_one_and_two_dof_equal_their_closed_forms():
    t = np.array([0.5, 3, 1e3, 1e8, 1e150])
    np.testing.assert_allclose(log_sf_t(t, 1), np.log(np.arctan2(1, t) / np.pi), rtol=1e-13)
    # P = 1 / (s (s + t)), s = sqrt(2 + t^2)
    s = np.hypot(np.sqrt(2), t)
    np.testing.assert_allclose(log_sf_t(t, 2), -np.log(s) - np.log(s + t), rtol=1e-13)


@pytest.mark.parametrize(
    ("t", "dof"), [(30, 20), (40, 400), (100, 2000), (70, 20000), (62, 60000), (1e6, 300)]
)
def test_far_tail_of_t_equals_forty_digit_arithmetic(t, dof):
    expected = log_sf_t_even(t, dof)
    assert expected < -40
    assert log_sf_t(t, dof) == pytest.approx(expected, rel=1e-12)
    z = float(t_to_z(t, dof))
    assert log_sf_normal(z) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("f", "dof_num", "dof_den"),
    [(500, 2, 40), (900, 4, 1000), (1e5, 6, 29), (2e4, 10, 333), (1e9, 2, 3), (2000, 2, 20000)],
)
def test_far_tail_of_f_equals_forty_digit_arithmetic(f, dof_num, dof_den):
    expected = log_sf_f_even(f, dof_num, dof_den)
    assert log_sf_f(f, dof_num, dof_den) == pytest.approx(expected, rel=1e-12)
    z = float(f_to_z(f, dof_num, dof_den))
    assert log_sf_normal(z) == pytest.approx(expected, rel=1e-12)


def test_f_with_two_numerator_dof_is_a_power_down_to_p_of_1e_minus_thousands():
    f, n = np.array([1.0, 100, 1e4, 1e6]), 2000
    np.testing.assert_allclose(log_sf_f(f, 2, n), -n / 2 * np.log1p(2 * f / n), rtol=1e-12)


def test_both_signs_mirror_and_zero_stays_zero():
    t = np.array([0, 1e-12, 0.4, 3, 37, 400])
    for dof in (1, 28, 900):
        np.testing.assert_array_equal(t_to_z(-t, dof), -t_to_z(t, dof))
        assert t_to_z(0.0, dof) == 0
        np.testing.assert_allclose(
            np.exp(log_sf_t(t, dof)) + np.exp(log_sf_t(-t, dof)), 1, rtol=1e-14
        )


@pytest.mark.parametrize("dof", [3, 29, 1e4, 1e7])
def test_z_of_t_rises_strictly_from_tail_to_tail_without_clipping(dof):
    t = np.r_[-np.geomspace(1e4, 1e-6, 400), 0, np.geomspace(1e-6, 1e4, 400)]
    z = t_to_z(t, dof)
    assert np.isfinite(z).all()
    assert (np.diff(z) > 0).all()
    assert np.all(np.abs(z) <= np.abs(t) * (1 + 1e-7))


def test_z_of_small_t_follows_the_ratio_of_the_densities_at_0():
    t = np.array([1e-3, 1e-5])
    slope = stats.t.pdf(0, 29) / stats.norm.pdf(0)
    np.testing.assert_allclose(t_to_z(t, 29), t * slope, rtol=1e-5)


def test_large_dof_reaches_z_of_sixty():
    # t with 10^9 dof is normal but for a relative (z^2 + 1) / (4 dof).
    assert t_to_z(60.0, 1e9) == pytest.approx(60, rel=2e-6)
    assert log_sf_t(60.0, 1e9) == pytest.approx(log_sf_normal(60.0), rel=2e-6)


def test_f_with_one_numerator_dof_has_the_two_sided_p_of_t():
    t = np.array([0.01, 1, 5, 50, 5000])
    np.testing.assert_allclose(
        log_sf_f(t**2, 1, 31), np.log(2) + log_sf_t(t, 31), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("dof", [1, 2, 40, 3000])
@pytest.mark.parametrize("dof_num", [1, 2, 7, 100])
def test_z_of_f_is_finite_and_does_not_fall_down_to_zero(dof_num, dof):
    z = f_to_z(np.r_[0.0, 5e-324, np.geomspace(1e-307, 1e3, 50)], dof_num, dof)
    assert np.isfinite(z).all()
    assert (np.diff(z[1:]) > 0).all()
    assert z[0] == z[1] < -25


@pytest.mark.parametrize("dof", [1, 5, np.array([1.0, 30.0])])
def test_infinite_t_has_no_upper_tail(dof):
    np.testing.assert_array_equal(np.exp(log_sf_t(np.array([np.inf, -np.inf]), dof)), [0, 1])


def test_z_of_f_is_negative_below_the_median_and_rises_through_it():
    f = np.r_[np.geomspace(1e-8, 1e5, 600)]
    z = f_to_z(f, 3, 40)
    assert (np.diff(z) > 0).all()
    median = stats.f.ppf(0.5, 3, 40)
    assert f_to_z(median, 3, 40) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(
        special.log_ndtr(z[:50]), np.log(stats.f.cdf(f[:50], 3, 40)), rtol=1e-11
    )


@given(st.floats(-1e6, 1e6), st.floats(1, 1e5))
def test_t_and_its_z_share_their_tail_probability(t, dof):
    z = float(t_to_z(t, dof))
    side = np.sign(t) or 1.0
    assert special.log_ndtr(-abs(z)) == pytest.approx(float(log_sf_t(side * t, dof)), rel=1e-9)


def test_p_of_z_by_tail():
    z = np.array([-40.0, -1.5, 0.0, 1.5, 40.0])
    positive, negative = z_to_log_p(z, "positive"), z_to_log_p(z, "negative")
    np.testing.assert_allclose(positive[:4], stats.norm.logsf(z[:4]), rtol=1e-13)
    np.testing.assert_array_equal(positive, negative[::-1])
    assert positive[4] == pytest.approx(log_sf_normal(40.0), rel=1e-13)
    both = z_to_log_p(z, "two-sided")
    np.testing.assert_allclose(both, np.log(2) + np.minimum(positive, negative), atol=1e-15)
    assert both[2] == 0
    with pytest.raises(ValueError, match="two-sided, positive or negative, got 'both'"):
        z_to_log_p(z, "both")


def test_minus_log10_never_falls_below_0():
    np.testing.assert_allclose(minus_log10(np.array([-np.log(10) * 400, 1e-17])), [400, 0])
    assert minus_log10(np.log(0.05)) == pytest.approx(-np.log10(0.05))


def test_cumulative_probabilities_equal_those_of_spm(shared, agree):
    text = (shared / "oracles/spm/spm_cdf_grid.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    compared = 0
    for row in rows:
        x, value, rel = float(row["x"]), float(row["value"]), 1e-9
        if row["func"] == "spm_Tcdf":
            ours = np.exp(log_sf_t(-x, float(row["a"])))
        elif row["func"] == "spm_Fcdf":
            ours = -np.expm1(log_sf_f(x, float(row["a"]), float(row["b"])))
        elif row["func"] == "spm_invTcdf(1-p)":
            # x is p here, value the t that has it, to the tolerance of SPM's search.
            ours, value, rel = np.exp(log_sf_t(value, float(row["a"]))), x, 1e-7
        else:
            continue
        agree("SPM", "tails of t and F", ours, value, rtol=rel, atol=1e-12)
        compared += 1
    assert compared == 68
