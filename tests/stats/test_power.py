"""Noncentral distributions against reference figures; power against its definition."""

import csv

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import trapezoid

from nipype_group.stats.power import (
    critical_t,
    detectable_noncentrality_f,
    detectable_noncentrality_t,
    noncentral_f_sf,
    noncentral_t_sf,
    power_of_t,
)


def grid(shared, name):
    path = shared / "oracles" / "models" / "effects" / name
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_noncentral_t_is_that_of_the_grid(shared):
    for row in grid(shared, "grid_t.csv"):
        outside = (1 - row["level"]) / 2
        upper = noncentral_t_sf(row["t"], row["df"], row["ncp_lb"])
        lower = 1 - noncentral_t_sf(row["t"], row["df"], row["ncp_ub"])
        np.testing.assert_allclose([upper, lower], outside, rtol=1e-9)


def test_noncentral_f_is_that_of_the_grid(shared):
    for row in grid(shared, "grid_F.csv"):
        outside, at = (1 - row["level"]) / 2, (row["F"], row["df1"], row["df2"])
        if row["ncp_lb"]:
            assert noncentral_f_sf(*at, row["ncp_lb"]) == pytest.approx(outside, rel=1e-9)
        if row["ncp_ub"]:
            assert 1 - noncentral_f_sf(*at, row["ncp_ub"]) == pytest.approx(outside, rel=1e-9)


def brute_sf(t, dof, noncentrality):
    """Integrate over the scale by the trapezoid rule, whose error for smooth tails is tiny."""
    s = np.linspace(0, 1 + 14 / np.sqrt(2 * dof) + 10 / dof, 400_001)[1:]
    density = 2 * dof * s * stats.chi2.pdf(dof * s * s, dof)
    return trapezoid(density * stats.norm.cdf(noncentrality - t * s), s)


@pytest.mark.parametrize("dof", [3, 8, 29, 400])
@pytest.mark.parametrize("t", [-2.0, 0.5, 4.0, 25.0])
def test_noncentral_t_is_its_integral(dof, t):
    for noncentrality in (-1.0, 2.5, 20.0):
        expected = brute_sf(t, dof, noncentrality)
        assert noncentral_t_sf(t, dof, noncentrality) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-7])
@pytest.mark.parametrize("dof", [1, 2, 7, 28, 500, 20000])
@pytest.mark.parametrize("tail", ["two-sided", "positive"])
def test_what_is_detected_has_the_power(alpha, dof, tail):
    found = detectable_noncentrality_t(dof, alpha, tail)
    assert power_of_t(found, dof, alpha, tail) == pytest.approx(0.8, abs=1e-12)
    assert power_of_t(0.0, dof, alpha, tail) == pytest.approx(alpha, rel=1e-8)


def test_power_of_many_degrees_of_freedom_is_that_of_a_normal_variable():
    found = detectable_noncentrality_t(10**6, 0.05, "positive")
    assert found == pytest.approx(stats.norm.ppf(0.95) + stats.norm.ppf(0.8), abs=1e-5)


def test_an_f_of_one_row_is_a_squared_t():
    for dof, alpha in ((5, 0.05), (28, 1e-3), (60, 1e-6)):
        t = detectable_noncentrality_t(dof, alpha, "two-sided")
        assert detectable_noncentrality_f(1, dof, alpha) == pytest.approx(t * t, rel=1e-9)
        assert critical_t(dof, alpha, "two-sided") == pytest.approx(
            stats.t.isf(alpha / 2, dof), rel=1e-9
        )


def test_an_f_that_detects_nothing_of_use_says_so():
    assert detectable_noncentrality_f(2, 1, 1e-9) == np.inf
