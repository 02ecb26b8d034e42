"""Adjusted p against statsmodels, against closed forms, and among each other."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from nipype_group.controls import height_controls
from nipype_group.stats.discoveries.closed_testing import hommel_value
from nipype_group.stats.distributions import z_to_log_p
from nipype_group.stats.multiple_testing import (
    adjust,
    adjust_fdr_bky,
    adjust_sidak,
    z_threshold,
)

# Of voxels alone, without random fields.
HEIGHT_CONTROLS = [control for control in height_controls() if control != "rft"]
PEERS = {
    "bonferroni": "bonferroni",
    "sidak": "sidak",
    "holm": "holm",
    "hommel": "hommel",
    "fdr": "fdr_bh",
    "fdr-by": "fdr_by",
}
FAMILYWISE = ("bonferroni", "sidak", "holm", "hommel")
ADJUSTING = [control for control in HEIGHT_CONTROLS if control not in ("none", "fpr")]
ALPHAS = (0.01, 0.05, 0.2, 0.5)
# Ties, 0 and 1 are common, and no p lies on i alpha / m.
P_VALUES = st.lists(
    st.one_of(st.integers(0, 37).map(lambda i: i / 37), st.floats(1e-300, 1.0)),
    min_size=1,
    max_size=30,
)


def log(p):
    with np.errstate(divide="ignore"):
        return np.log(p)


def adjusted(p, control):
    return np.exp(adjust(log(p), control))


def peer(p, method, alpha=0.05):
    # Its Sidak takes the logarithm of 1 - p = 0.
    with np.errstate(divide="ignore"):
        rejected, corrected, _, _ = multipletests(p, alpha=alpha, method=method)
    return rejected, corrected


def random_p(seed, m):
    """Draw p of which some are small, some tied, some 0 and some 1."""
    rng = np.random.default_rng(seed)
    p = rng.random(m) ** rng.choice([1, 4, 12])
    tied = rng.random(m) < 0.3
    p[tied] = np.round(p[tied] * 37) / 37
    p[rng.random(m) < 0.03] = 1e-200
    return p


@pytest.mark.parametrize("m", [1, 2, 3, 8, 60, 401])
@pytest.mark.parametrize("control", PEERS)
def test_adjusted_p_equal_statsmodels(control, m):
    for seed in range(4):
        p = random_p(seed, m)
        _, expected = peer(p, PEERS[control])
        np.testing.assert_allclose(adjusted(p, control), expected, rtol=1e-12, atol=0)


# statsmodels collects garbage at every call.
@settings(max_examples=25)
@given(P_VALUES)
def test_adjusted_p_of_any_list_equal_statsmodels(p):
    for control, method in PEERS.items():
        _, expected = peer(np.array(p), method)
        np.testing.assert_allclose(adjusted(p, control), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("m", [1, 2, 3, 8, 60, 401])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_two_stage_p_equal_statsmodels_at_their_alpha(alpha, m):
    for seed in range(12):
        p = random_p(seed, m)
        _, expected = peer(p, "fdr_tsbky", alpha)
        np.testing.assert_allclose(
            np.exp(adjust_fdr_bky(log(p), alpha)), expected, rtol=1e-12, atol=0
        )


@pytest.mark.parametrize("m", [1, 2, 3, 8, 60, 401])
def test_two_stage_p_without_alpha_decide_as_statsmodels_at_every_alpha(m):
    for seed in range(12):
        p = random_p(seed, m)
        smallest = adjusted(p, "fdr-bky")
        for alpha in (*ALPHAS, 0.0371, 0.77):
            rejected, _ = peer(p, "fdr_tsbky", alpha)
            np.testing.assert_array_equal(smallest <= alpha, rejected)


@given(P_VALUES)
def test_two_stage_p_are_the_smallest_alpha_that_rejects(p):
    smallest = adjusted(p, "fdr-bky")
    for alpha in smallest[(smallest > 1e-290) & (smallest < 0.9)]:
        reached = smallest <= alpha
        for side in (1 - 1e-9, 1 + 1e-9):
            rejected, _ = peer(np.array(p), "fdr_tsbky", alpha * side)
            # A neighbour within the step may change sides with it.
            apart = np.abs(smallest / alpha - 1) > 1e-8
            np.testing.assert_array_equal(rejected[apart], reached[apart])
            assert (rejected[~apart] == (side > 1)).all()


def storey_by_definition(p):
    """Smallest estimate of the FDR over all limits p <= t <= 1/2 (Storey et al. 2004)."""
    share = (1 + (p > 0.5).sum()) / (len(p) / 2)
    limits = p[p <= 0.5]
    rates = np.array([share * len(p) * t / (p <= t).sum() for t in limits])
    return np.array([min([1.0, *rates[limits >= value]]) for value in p])


@given(P_VALUES)
def test_storey_equals_its_definition(p):
    np.testing.assert_allclose(
        adjusted(p, "fdr-storey"), storey_by_definition(np.array(p)), rtol=1e-12
    )


def test_storey_is_benjamini_hochberg_times_the_share_of_nulls():
    rng = np.random.default_rng(0)
    p = np.r_[rng.random(300) ** 8, rng.random(700)]
    share = (1 + (p > 0.5).sum()) / 500
    assert share < 0.9
    small = adjusted(p, "fdr") < 0.3
    np.testing.assert_allclose(
        adjusted(p, "fdr-storey")[small], adjusted(p, "fdr")[small] * share, rtol=1e-12
    )


@given(P_VALUES)
def test_adjusted_p_keep_the_order_and_lie_between_0_and_1(p):
    order = np.argsort(p, kind="stable")
    for control in ADJUSTING:
        values = adjusted(p, control)[order]
        assert (np.diff(values) >= -1e-12 * values[1:]).all()
        assert values[0] >= 0
        assert values[-1] <= 1


@given(P_VALUES)
def test_adjusted_p_stand_in_their_known_order(p):
    value = {control: adjusted(p, control) for control in ADJUSTING}
    slack = 1 + 1e-12
    for control in (*FAMILYWISE, "fdr", "fdr-by"):
        assert (value[control] * slack >= p).all()
    for less, more in (
        ("fdr", "hommel"),
        ("hommel", "holm"),
        ("holm", "bonferroni"),
        ("sidak", "bonferroni"),
        ("fdr", "fdr-by"),
    ):
        assert (value[less] <= value[more] * slack).all(), (less, more)


@given(P_VALUES, st.integers(0, 10**6))
def test_the_order_of_the_tests_does_not_matter(p, seed):
    order = np.random.default_rng(seed).permutation(len(p))
    for control in ADJUSTING:
        np.testing.assert_array_equal(
            adjust(log(p)[order], control), adjust(log(p), control)[order]
        )


@pytest.mark.parametrize("control", ADJUSTING)
def test_p_too_small_for_a_double_stay_apart(control):
    log_p = np.array([-5000.0, -4000.0, -3000.0, -np.inf, 0.0])
    values = adjust(log_p, control)
    assert values[3] == -np.inf
    assert (np.diff(values[:3]) > 900).all()
    np.testing.assert_allclose(values[:3], log_p[:3], atol=3)


@pytest.mark.parametrize("p", ["1e-25", "1e-18", "1e-10", "0.0001", "0.3", "0.9999"])
@pytest.mark.parametrize("m", [1, 7, 10**6])
def test_sidak_keeps_its_digits(p, m):
    with localcontext() as context:
        context.prec = 80
        expected = float(1 - (1 - Decimal(p)) ** m)
    log_p = np.full(m, np.log(float(p)))
    assert np.exp(adjust_sidak(log_p)[0]) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("tail", ["two-sided", "positive", "negative"])
@pytest.mark.parametrize("control", [control for control in HEIGHT_CONTROLS if control != "none"])
def test_reaching_the_threshold_is_being_rejected(control, tail):
    rng = np.random.default_rng(0)
    z = np.r_[rng.standard_normal(400), np.linspace(2, 6, 60), np.linspace(-6, -2, 60)]
    log_p = z_to_log_p(z, tail)
    height = z_threshold(z, log_p, control, 0.05, tail)
    side = {"two-sided": np.abs(z), "positive": z, "negative": -z}[tail]
    rejected = adjust(log_p, control) <= np.log(0.05)
    assert rejected.any()
    np.testing.assert_array_equal(side >= height, rejected)
    if control not in ("fpr", "bonferroni", "sidak"):
        assert height == side[rejected].min()


@pytest.mark.parametrize("control", ADJUSTING)
def test_a_threshold_that_nothing_reaches(control):
    z = np.array([0.4, -0.3, 0.2])
    height = z_threshold(z, z_to_log_p(z, "two-sided"), control, 0.05, "two-sided")
    if control in ("bonferroni", "sidak"):
        assert height > 2
    else:
        assert height == np.inf


def test_hommel_rejects_a_million_tests_as_its_value_says():
    rng = np.random.default_rng(5)
    log_p = z_to_log_p(rng.standard_normal(10**6) + 4 * (rng.random(10**6) < 0.02), "positive")
    values = adjust(log_p, "hommel")
    for alpha in (0.01, 0.05, 0.3):
        family = hommel_value(log_p, alpha)
        rejected = np.log(family.h) + log_p <= np.log(alpha)
        assert rejected.any()
        np.testing.assert_array_equal(values <= np.log(alpha), rejected)


@pytest.mark.parametrize("control", HEIGHT_CONTROLS)
@pytest.mark.parametrize(
    ("log_p", "message"),
    [
        ([-1.0, np.nan, np.nan], "2 of 3 p values are NaN"),
        ([0.01, -3.0], "at most 0, got 0.01; pass the natural logarithm"),
        ([], "no p value"),
    ],
)
def test_what_is_no_log_p_is_refused(control, log_p, message):
    with pytest.raises(ValueError, match=message):
        adjust(log_p, control)


def test_what_is_no_alpha_or_no_control_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        adjust_fdr_bky([-1.0], alpha=5)
    with pytest.raises(ValueError, match="fdr-by, fpr, none, got 'fdr_bh'"):
        adjust([-1.0], "fdr_bh")
