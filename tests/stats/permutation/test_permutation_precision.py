"""Intervals of permutation p against scipy and exact coverage; early stopping by simulation."""

import numpy as np
import pytest
from scipy import stats

from nipype_group.stats.permutation.precision import (
    advice,
    negative_binomial_p,
    p_interval,
    shuffles_to_settle,
)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("n_shuffles", [2, 20, 5000])
def test_intervals_are_scipys_of_the_shuffled_maps_alone(n_shuffles, confidence):
    counts = np.unique(np.linspace(1, n_shuffles, 15).astype(int))
    lower, upper = p_interval(counts, n_shuffles, confidence)
    for i, count in enumerate(counts):
        theirs = stats.binomtest(int(count) - 1, n_shuffles - 1).proportion_ci(confidence)
        assert (lower[i], upper[i]) == pytest.approx((theirs.low, theirs.high), rel=1e-6, abs=1e-9)
    assert lower[0] == 0
    assert upper[-1] == 1


def test_intervals_hold_the_true_p_often_enough():
    counts = np.arange(1, 501)
    lower, upper = p_interval(counts, 500)
    for p in np.r_[np.geomspace(1e-4, 0.5, 40), 0.05]:
        held = (lower <= p) & (p <= upper)
        coverage = stats.binom.pmf(counts - 1, 499, p)[held].sum()
        assert coverage >= 0.95
    assert coverage < 0.98


def test_all_shuffles_leave_no_doubt():
    lower, upper = p_interval(np.array([1, 13]), 252, exhaustive=True)
    np.testing.assert_array_equal(lower, [1 / 252, 13 / 252])
    np.testing.assert_array_equal(upper, lower)
    assert advice("peak 1", 13 / 252, 13, 252, 0.05, exhaustive=True) is None
    assert advice("peak 1", 13 / 252, 13, 252, 0.05) is not None


@pytest.mark.parametrize("p, alpha", [(0.048, 0.05), (0.03, 0.05), (0.06, 0.05), (0.0004, 0.001)])
def test_that_many_shuffles_settle_it(p, alpha):
    needed = shuffles_to_settle(p, alpha)
    assert needed == float(f"{needed:.1e}")
    for n, settled in ((needed, True), (needed // 2, False)):
        lower, upper = p_interval(round(p * n), n)
        assert (not lower <= alpha <= upper) == settled


def test_advice_always_asks_for_more_than_there_were():
    for alpha in (0.05, 0.01):
        for n in (*range(20, 200, 7), 500, 5000):
            counts = np.arange(1, n + 1)
            lower, upper = p_interval(counts, n)
            for count in counts[(lower <= alpha) & (alpha <= upper)]:
                assert shuffles_to_settle(count / n, alpha) > n


def test_more_confidence_takes_more_shuffles():
    assert shuffles_to_settle(0.04, 0.05, 0.99) > 1.5 * shuffles_to_settle(0.04, 0.05, 0.95)
    assert shuffles_to_settle(0.05, 0.05) == np.inf


@pytest.mark.parametrize(
    "count, n_shuffles, alpha, expected",
    [
        (1, 5000, 0.05, None),
        (500, 5000, 0.05, None),
        (
            48,
            1000,
            0.05,
            "x: p = .048 (95 % interval .0348 to .0621), settled at about 47,000 shuffles",
        ),
        (
            50,
            1000,
            0.05,
            "x: p = .05 (95 % interval .0365 to .0643), "
            "so near .05 that shuffles do not tell on which side it lies",
        ),
        (
            503,
            10_000,
            0.05,
            "x: p = .0503 (95 % interval .046 to .0547), "
            "so near .05 that shuffles do not tell on which side it lies",
        ),
        (1, 20, 0.001, "x: p = .05 (95 % interval 0 to .176), settled at about 97 shuffles"),
    ],
)
def test_advice(count, n_shuffles, alpha, expected):
    sentence = advice("x", count / n_shuffles, count, n_shuffles, alpha)
    assert sentence is None if expected is None else sentence.startswith(expected)


def stopped_early(rng, n_tests, n_required, n_shuffles):
    """Simulate null statistics and return the p of tests stopped early."""
    values = rng.standard_normal((n_tests, n_shuffles + 1))
    reached = np.cumsum(values[:, 1:] >= values[:, :1], axis=1)
    done = reached >= n_required
    stops = np.where(done.any(axis=1), done.argmax(axis=1) + 1, 0)
    counts = np.minimum(reached[:, -1], n_required)
    return negative_binomial_p(counts, stops, n_required, n_shuffles)


@pytest.mark.parametrize("n_required", [1, 5, 20])
def test_stopping_early_keeps_p_valid(n_required):
    n_tests, n_shuffles = 20_000, 199
    p = stopped_early(np.random.default_rng(21), n_tests, n_required, n_shuffles)
    for alpha in (0.005, 0.01, 0.05, 0.1, 0.2, 0.5):
        error = np.sqrt(alpha * (1 - alpha) / n_tests)
        assert np.mean(p <= alpha) < alpha + 4 * error


def test_p_of_early_stopping_that_can_occur_are_exact():
    n_tests, n_required = 20_000, 10
    p = stopped_early(np.random.default_rng(22), n_tests, n_required, 199)
    # Two p without a stop, three with one.
    for alpha in (1 / 200, 5 / 200, 10 / 100, 10 / 50, 10 / 20):
        error = np.sqrt(alpha * (1 - alpha) / n_tests)
        assert abs(np.mean(p <= alpha + 1e-12) - alpha) < 4 * error


def test_a_test_that_never_stops_has_the_usual_p():
    p = negative_binomial_p(np.array([0, 9, 10]), np.array([0, -1, 999]), 10, 999)
    np.testing.assert_allclose(p, [1 / 1000, 10 / 1000, 10 / 999])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: p_interval(0, 100), "between 1 .* and 100 shuffles, got 0"),
        (lambda: p_interval(101, 100), "got 101"),
        (lambda: p_interval(1, 1), "at least 2 shuffles, got 1"),
        (lambda: p_interval(1, 100, 95), "share between 0 and 1, got 95"),
        (lambda: shuffles_to_settle(1.2, 0.05), "p is a probability, got 1.2"),
        (lambda: shuffles_to_settle(0.2, 5), "alpha is a probability, got 5"),
        (lambda: negative_binomial_p([10], [9], 10, 99), "between shuffle 10 and 99, got 9"),
        (lambda: negative_binomial_p([10], [100], 10, 99), "got 100"),
        (lambda: negative_binomial_p([100], [10], 10, 99), "between 0 and 99 shuffles"),
        (lambda: negative_binomial_p([1], [10], 0, 99), "between 1 and the 99 shuffles, got 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
