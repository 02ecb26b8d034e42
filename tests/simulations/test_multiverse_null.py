"""The error over alternatives, in made-up studies without an effect."""

import importlib.util
from pathlib import Path

import pytest
from scipy import stats

SCRIPT = Path(__file__).with_name("multiverse_null.py")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("multiverse_null", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_few_studies_err_as_often_as_alpha_says(script):
    """Eight alternatives, of other participants and smoothing, by one study after the other."""
    way = script.WAYS[2]
    p = [script.smallest_p(number, "mean")[way] for number in range(2000, 2016)]
    assert sum(one <= script.ALPHA for one in p) <= stats.binom.ppf(0.999, len(p), script.ALPHA)
    # One in two is above the median where p are those of the largest value.
    low, high = stats.binom.ppf([0.001, 0.999], len(p), 0.5)
    assert low <= sum(one <= 0.5 for one in p) <= high
