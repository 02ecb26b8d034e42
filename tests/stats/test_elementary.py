"""Elementary functions against the mathematical library of Python, in double precision."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nipype_group.stats.elementary import LOG_2, LOG_10, cosh, exp, log, power, sinh

FINITE = st.floats(-700, 700)
POSITIVE = st.floats(1e-300, 1e300)


def close(found, expected, ulps=4):
    return abs(found - expected) <= ulps * np.spacing(abs(expected))


@given(FINITE)
def test_exponentials(x):
    assert close(exp(x), math.exp(x), 1)
    assert close(cosh(x), math.cosh(x))
    assert close(sinh(x), math.sinh(x))


@given(POSITIVE)
def test_logarithms(x):
    assert close(log(x), math.log(x), 1)
    assert close(power(x, 0.25), math.pow(x, 0.25), 4096)


@pytest.mark.parametrize("exponent", [1, 2, 3, 2.0])
def test_whole_powers_are_products(exponent):
    x = np.array([0.0, 1.5, 1e-9, 7.3])
    np.testing.assert_array_equal(power(x, exponent), math.prod([x] * int(exponent)))
    np.testing.assert_allclose(power(x, 2 / 3), x ** (2 / 3), rtol=1e-14)


def test_ends():
    assert (log(0.0), exp(-np.inf), power(0.0, 0.5)) == (-np.inf, 0.0, 0.0)
    assert math.isnan(log(-1.0)) and math.isnan(exp(math.nan))
    assert (math.log(2), math.log(10)) == (LOG_2, LOG_10)


def test_whole_numbers_are_taken():
    np.testing.assert_array_equal(log(np.arange(1, 4)), [math.log(n) for n in (1, 2, 3)])
