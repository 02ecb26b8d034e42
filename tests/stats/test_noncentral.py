"""Noncentral t and F against R's and mpmath's grids, integrals, and each other."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nipype_group.stats.noncentral import (
    f_noncentrality,
    interpolated_f_noncentrality,
    interpolated_t_noncentrality,
    noncentral_f_cdf,
    noncentral_t_cdf,
    t_noncentrality,
)
from nipype_group.stats.power import noncentral_f_sf, noncentral_t_sf


def grid(shared, name):
    """Return the columns of a grid by degrees of freedom and level."""
    path = shared / "oracles" / "models" / "effects" / name
    groups = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            row = {k: float(v) for k, v in row.items()}
            key = tuple(row[k] for k in ("df", "df1", "df2", "level") if k in row)
            groups.setdefault(key, []).append(row)
    return {
        key: {n: np.array([r[n] for r in rows]) for n in rows[0]} for key, rows in groups.items()
    }


@pytest.mark.parametrize("bounds", [t_noncentrality, interpolated_t_noncentrality])
def test_bounds_of_t_are_those_of_the_grid(shared, bounds):
    for (dof, level), rows in grid(shared, "grid_t.csv").items():
        lower, upper = bounds(rows["t"], dof, level)
        np.testing.assert_allclose(lower, rows["ncp_lb"], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(upper, rows["ncp_ub"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bounds", [f_noncentrality, interpolated_f_noncentrality])
def test_bounds_of_f_are_those_of_the_grid(shared, bounds):
    for (dof_num, dof_den, level), rows in grid(shared, "grid_F.csv").items():
        lower, upper = bounds(rows["F"], dof_num, dof_den, level)
        for found, name in ((lower, "ncp_lb"), (upper, "ncp_ub")):
            np.testing.assert_array_equal(found == 0, rows[name] == 0)
            np.testing.assert_allclose(found, rows[name], rtol=1e-9, atol=1e-9)


def test_bounds_at_the_dof_of_every_voxel_are_those_of_each():
    rng = np.random.default_rng(4)
    t, dof, num = rng.standard_t(3, 40) * 3, rng.uniform(2.5, 60, 40), rng.uniform(0.7, 4, 40)
    t[:4] = 0, -900, 4e4, 2e3
    for found, alone in (
        (t_noncentrality(t, dof), [t_noncentrality(a, b) for a, b in zip(t, dof)]),
        (
            f_noncentrality(t * t, num, dof),
            [f_noncentrality(a * a, b, c) for a, b, c in zip(t, num, dof)],
        ),
    ):
        np.testing.assert_array_equal(np.array(found), np.array(alone).reshape(-1, 2).T)


# The integral needs a density that is smooth at 0.
@given(st.floats(-60, 60), st.one_of(st.integers(1, 4), st.floats(4, 2000)), st.floats(-40, 40))
def test_noncentral_t_is_its_integral(t, dof, noncentrality):
    found = noncentral_t_cdf(t, dof, noncentrality)
    assert found == pytest.approx(1 - noncentral_t_sf(t, dof, noncentrality), abs=1e-10)


# Of a tiny F the sum rounds the share of the error to 1.
@given(st.floats(1e-4, 500), st.floats(1, 30), st.floats(1, 2000), st.floats(0, 3000))
def test_noncentral_f_is_its_sum(f, dof_num, dof_den, noncentrality):
    found = noncentral_f_cdf(f, dof_num, dof_den, noncentrality)
    expected = 1 - noncentral_f_sf(f, dof_num, dof_den, noncentrality)
    assert found == pytest.approx(expected, abs=1e-10)


def test_without_noncentrality_they_are_t_and_f():
    t = np.linspace(-8, 8, 33)
    np.testing.assert_allclose(noncentral_t_cdf(t, 7, 0), stats.t.cdf(t, 7), rtol=1e-11)
    f = np.geomspace(1e-3, 50, 30)
    np.testing.assert_allclose(noncentral_f_cdf(f, 3, 11, 0), stats.f.cdf(f, 3, 11), rtol=1e-11)


def test_a_tiny_f_keeps_its_digits():
    f = np.array([0.0, 3e-19, 1e-9])
    expected = 2 / np.pi * np.arctan(np.sqrt(f))
    np.testing.assert_allclose(noncentral_f_cdf(f, 1, 1, 0), expected, rtol=1e-10)


def test_an_f_of_one_row_is_a_squared_t():
    t, ncp = np.array([0.3, 2.0, 7.0]), np.array([1.0, 3.0, 8.0])
    between = noncentral_t_cdf(t, 14, ncp) - noncentral_t_cdf(-t, 14, ncp)
    found = noncentral_f_cdf(np.square(t), 1, 14, np.square(ncp))
    np.testing.assert_allclose(found, between, rtol=1e-11)


# Where scipy and R lose digits, or the sum would have millions of terms.
@pytest.mark.parametrize("dof", [1, 2, 6.5, 29, 1000])
@pytest.mark.parametrize("level", [0.9, 0.99])
def test_bounds_of_large_t_are_quantiles_too(dof, level):
    t = np.array([-3e4, 45.0, 400.0, 5e3])
    tail = (1 - level) / 2
    for bounds in (t_noncentrality, interpolated_t_noncentrality):
        lower, upper = bounds(t, dof, level)
        for i in range(len(t)):
            assert noncentral_t_sf(t[i], dof, lower[i]) == pytest.approx(tail, rel=2e-6)
            assert 1 - noncentral_t_sf(t[i], dof, upper[i]) == pytest.approx(tail, rel=2e-6)
    # They tend to t times quantiles of the scale.
    far = 1e9
    lower, upper = t_noncentrality(far, dof, level)
    quantiles = np.sqrt(stats.chi2.ppf([tail, 1 - tail], dof) / dof)
    np.testing.assert_allclose([lower / far, upper / far], quantiles, rtol=1e-9)


def test_bounds_of_large_f_tend_to_quantiles_of_its_error():
    far = 1e12
    for bounds in (f_noncentrality, interpolated_f_noncentrality):
        found = np.array(bounds(np.array([far]), 3, 20)).ravel() / (3 * far)
        np.testing.assert_allclose(found, stats.chi2.ppf([0.025, 0.975], 20) / 20, rtol=1e-9)


@given(
    st.lists(st.floats(-200, 200), min_size=1, max_size=20),
    st.sampled_from([1, 2, 5, 7.5, 28, 400]),
    st.sampled_from([0.8, 0.9, 0.95, 0.99]),
)
def test_interpolated_bounds_of_t_are_as_near_as_they_say(t, dof, level):
    t = np.array(t)
    size = np.maximum(np.abs(t), 1)
    exact, found = t_noncentrality(t, dof, level), interpolated_t_noncentrality(t, dof, level)
    assert (np.abs(np.subtract(found, exact)) / size).max() < 1e-10
    assert (found[0] < found[1]).all()


@given(
    st.lists(st.floats(0, 5000), min_size=1, max_size=20),
    st.sampled_from([1, 2, 5, 12]),
    st.sampled_from([2, 8, 27, 300]),
    st.sampled_from([0.9, 0.95]),
)
def test_interpolated_bounds_of_f_are_as_near_as_they_say(f, dof_num, dof_den, level):
    f = np.array(f)
    exact = f_noncentrality(f, dof_num, dof_den, level)
    found = interpolated_f_noncentrality(f, dof_num, dof_den, level)
    assert (np.abs(np.subtract(found, exact)) / (dof_num * (1 + f))).max() < 1e-10


def test_a_voxel_has_the_same_bounds_whatever_the_others_are():
    t = np.array([2.0, -0.3, 11.0])
    whole = interpolated_t_noncentrality(np.append(t, 90.0), 12)
    alone = interpolated_t_noncentrality(t[:2], 12)
    np.testing.assert_array_equal(np.array(whole)[:, :2], alone)
    f = np.array([4.0, 0.2])
    whole = interpolated_f_noncentrality(np.append(f, 900.0), 2, 12)
    np.testing.assert_array_equal(np.array(whole)[:, :2], interpolated_f_noncentrality(f, 2, 12))


def test_what_has_no_bounds_is_refused():
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match="level of an interval is between 0 and 1"):
            t_noncentrality([1.0], 5, level)
    for bounds in (t_noncentrality, interpolated_t_noncentrality):
        with pytest.raises(ValueError, match="NaN or infinite"):
            bounds([1.0, np.nan], 5)
    with pytest.raises(ValueError, match="NaN or infinite"):
        interpolated_f_noncentrality([np.inf], 2, 5)
    assert [b.shape for b in interpolated_t_noncentrality(np.empty(0), 5)] == [(0,), (0,)]
