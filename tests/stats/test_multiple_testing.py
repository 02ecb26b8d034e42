"""Adjusted p values and thresholds against the definitions, counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nipype_group.stats.distributions import z_to_log_p
from nipype_group.stats.multiple_testing import (
    adjust,
    adjust_bonferroni,
    adjust_fdr,
    check_alpha,
    z_threshold,
)

# A coarse grid makes ties common.
P_VALUES = st.lists(
    st.one_of(st.integers(1, 40).map(lambda i: i / 40), st.floats(1e-12, 1.0)),
    min_size=1,
    max_size=30,
)
ALPHAS = st.sampled_from([0.01, 0.05, 0.1, 0.37])


def benjamini_hochberg_rejects(p, alpha):
    """Reject the k smallest p, k the largest with p_(k) <= k alpha / m."""
    m, ordered = len(p), sorted(p)
    reached = [k for k in range(1, m + 1) if ordered[k - 1] <= k * alpha / m * (1 + 1e-12)]
    if not reached:
        return [False] * m
    limit = ordered[max(reached) - 1]
    return [value <= limit for value in p]


def benjamini_hochberg_adjusted(p):
    """Smallest over all larger-or-equal p of p m / rank, at most 1."""
    m = len(p)
    return [
        min(1.0, *(other * m / sum(o <= other for o in p) for other in p if other >= value), 1.0)
        for value in p
    ]


@given(P_VALUES, ALPHAS)
def test_fdr_rejects_what_the_step_up_rule_rejects(p, alpha):
    rejected = adjust_fdr(np.log(p)) <= np.log(alpha) + 1e-12
    assert rejected.tolist() == benjamini_hochberg_rejects(p, alpha)


@given(P_VALUES)
def test_fdr_adjusted_p_equals_its_definition(p):
    np.testing.assert_allclose(
        np.exp(adjust_fdr(np.log(p))), benjamini_hochberg_adjusted(p), rtol=1e-12
    )


@given(P_VALUES)
def test_fdr_keeps_the_order_and_gives_ties_one_value(p):
    adjusted = adjust_fdr(np.log(p))
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()
    for value in set(p):
        assert len(set(adjusted[np.asarray(p) == value])) == 1


def test_fdr_equals_scipy_and_its_order_of_input_is_kept():
    p = np.random.default_rng(3).random(500) ** 4
    np.testing.assert_allclose(
        np.exp(adjust_fdr(np.log(p))), stats.false_discovery_control(p), rtol=1e-12
    )


@given(P_VALUES)
def test_bonferroni_multiplies_by_the_number_of_tests(p):
    expected = [min(1.0, value * len(p)) for value in p]
    np.testing.assert_allclose(np.exp(adjust_bonferroni(np.log(p))), expected, rtol=1e-12)


@pytest.mark.parametrize("control", ["fdr", "bonferroni", "none", "fpr"])
def test_p_of_0_and_1_stay_0_and_1(control):
    adjusted = adjust([-np.inf, 0.0, 0.0], control)
    assert adjusted.tolist() == [-np.inf, 0.0, 0.0]


def test_p_too_small_for_a_double_keep_their_order():
    log_p = np.array([-5000.0, -4000.0, -3000.0])
    np.testing.assert_allclose(adjust_fdr(log_p), [-5000 + np.log(3), -4000 + np.log(1.5), -3000])
    np.testing.assert_allclose(adjust_bonferroni(log_p), log_p + np.log(3))


def test_unknown_control_is_refused():
    with pytest.raises(ValueError, match="rft, hommel, holm.*, none, got 'tukey'"):
        adjust([0.0], "tukey")
    with pytest.raises(ValueError, match="'none' has no threshold"):
        z_threshold(np.zeros(2), np.zeros(2), "none", 0.05, "positive")


@pytest.mark.parametrize("tail", ["two-sided", "positive", "negative"])
@pytest.mark.parametrize("control", ["fdr", "bonferroni", "fpr"])
def test_reaching_the_threshold_is_having_p_below_alpha(control, tail):
    z = np.r_[np.random.default_rng(0).standard_normal(400), np.linspace(2, 6, 60), -4, -5]
    log_p = z_to_log_p(z, tail)
    height = z_threshold(z, log_p, control, 0.05, tail)
    side = {"two-sided": np.abs(z), "positive": z, "negative": -z}[tail]
    survives = adjust(log_p, control) <= np.log(0.05)
    assert survives.any()
    np.testing.assert_array_equal(side >= height, survives)


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=40), ALPHAS)
def test_fdr_threshold_is_the_smallest_survivor(z, alpha):
    z = np.array(z)
    height = z_threshold(z, z_to_log_p(z, "positive"), "fdr", alpha, "positive")
    rejected = benjamini_hochberg_rejects(stats.norm.sf(z).tolist(), alpha)
    expected = z[rejected].min() if any(rejected) else np.inf
    assert height == expected


def test_fixed_thresholds_follow_from_alpha_and_the_number_of_tests():
    z = np.zeros(200)
    log_p = z_to_log_p(z, "positive")
    for control, n in (("fpr", 1), ("bonferroni", 200)):
        one = z_threshold(z, log_p, control, 0.05, "positive")
        two = z_threshold(z, log_p, control, 0.05, "two-sided")
        assert one == pytest.approx(stats.norm.isf(0.05 / n), rel=1e-12)
        assert two == pytest.approx(stats.norm.isf(0.025 / n), rel=1e-12)


def test_no_survivor_gives_an_infinite_fdr_threshold():
    z = np.array([0.1, -0.2])
    assert z_threshold(z, z_to_log_p(z, "positive"), "fdr", 0.05, "positive") == np.inf


@pytest.mark.parametrize(
    ("alpha", "hint"),
    [
        (3.1, "looks like a z"),
        (5, r"or a percentage \(0.05\)"),
        (0, "got 0"),
        (-0.05, "-0.05"),
        (1, "got 1"),
        (1.2, "got 1.2"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_that_are_no_alpha_are_refused(alpha, hint):
    with pytest.raises(ValueError, match=f"between 0 and 1.*{hint}"):
        check_alpha(alpha)
