"""Conjunctions against hand calculation, enumeration and simulation under their own null."""

import itertools

import numpy as np
import pytest
from scipy import stats

from nipype_group.stats.conjunctions import (
    conjoined_log_p,
    conjoined_p,
    conjoined_z,
    least_significant,
)
from nipype_group.stats.distributions import z_to_log_p

T, F = True, False
GRID = (-6.0, -1.2, 0.0, 0.4, 2.5, 6.0)


def p_of(z, signed, tail):
    """Return the p of one test by scipy's distribution."""
    if not signed or tail == "positive":
        return stats.norm.sf(z)
    return stats.norm.cdf(z) if tail == "negative" else 2 * stats.norm.sf(abs(z))


@pytest.mark.parametrize("tail", ["two-sided", "positive", "negative"])
@pytest.mark.parametrize("signed", [(T, T), (T, F), (F, F), (T, T, F), (T, T, T)])
def test_every_combination_of_a_grid_has_the_largest_p(signed, tail):
    for z in itertools.product(GRID, repeat=len(signed)):
        p = [p_of(one, has_sign, tail) for one, has_sign in zip(z, signed, strict=True)]
        of_t = [one for one, has_sign in zip(z, signed, strict=True) if has_sign]
        expected = max(p)
        if tail == "two-sided" and of_t and len({np.sign(one) for one in of_t} - {0.0}) > 1:
            expected = 1.0
        values, which = np.array(z)[:, None], np.array(signed)
        found = conjoined_z(values, which, tail)
        side = tail if all(signed) else "positive"
        of_z = float(np.exp(z_to_log_p(found, side))[0])
        assert of_z == pytest.approx(expected, rel=1e-9), (z, found)
        assert conjoined_p(np.array(p)[:, None], values, which, tail)[0] == expected
        log_p = conjoined_log_p(np.log(p)[:, None], values, which, tail)[0]
        assert log_p == pytest.approx(np.log(expected), abs=1e-12)
        assert np.isfinite(found).all()


def test_by_hand():
    """p .01 and .04 of two t, two-sided: .04, and z 2.0537 with the sign that both have."""
    z = np.array([[2.5758, -2.5758, 2.5758], [2.0537, -2.0537, -2.0537]])
    assert conjoined_z(z, np.array([T, T]), "two-sided").tolist() == [2.0537, -2.0537, 0.0]
    p = np.full((2, 3), [[0.01], [0.04]])
    assert conjoined_p(p, z, np.array([T, T]), "two-sided").tolist() == [0.04, 0.04, 1.0]


def test_far_tails_keep_their_digits():
    z = np.array([[-30.0], [12.0]])
    found = conjoined_z(z, np.array([T, F]), "two-sided")
    assert found[0] == 12.0
    # 2 P(Z > 30): the z whose upper tail that is.
    found = conjoined_z(np.array([[-30.0], [40.0]]), np.array([T, F]), "two-sided")
    expected = stats.norm.logsf(30) + np.log(2)
    assert stats.norm.logsf(found[0]) == pytest.approx(expected, rel=1e-12)


def test_value_of_the_least_significant_whatever_its_scale():
    log_p = np.log([[0.5, 0.01, 0.01], [0.2, 0.03, 0.01]])
    values = np.array([[7.0, 900.0, 5.0], [40.0, -3.0, -4.0]])
    assert least_significant(log_p, values).tolist() == [7.0, -3.0, -4.0]


@pytest.mark.parametrize(
    ("tail", "rate"), [("positive", 0.05), ("negative", 0.0), ("two-sided", 0.025)]
)
def test_one_null_effect_beside_a_strong_one_passes_at_alpha(tail, rate):
    """The null of a conjunction: b is absent, a as strong as can be; t of 12 maps."""
    rng, n_studies, alpha = np.random.default_rng(5), 20_000, 0.05
    maps = rng.standard_normal((2, 12, n_studies))
    maps[0] += 8.0
    t = maps.mean(axis=1) / (maps.std(axis=1, ddof=1) / np.sqrt(12))
    z = np.sign(t) * stats.norm.isf(stats.t.sf(np.abs(t), 11))
    signed = np.array([T, T])
    p = np.exp(z_to_log_p(conjoined_z(z, signed, tail), tail))
    found = int((p <= alpha).sum())
    low, high = stats.binom.interval(0.999, n_studies, rate) if rate else (0, 0)
    assert low <= found <= high
    if tail != "positive":
        return
    # The null of the minimum of two null statistics, which is another question, passes this
    # noise: its p is that of the smaller z squared.
    of_minimum = stats.norm.sf(z.min(axis=0)) ** 2
    assert (of_minimum <= alpha).mean() > 0.2
