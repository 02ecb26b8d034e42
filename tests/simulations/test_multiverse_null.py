"""What the documentation says of the error over alternatives."""

import importlib.util
import json
from pathlib import Path

import pytest
from scipy import stats

SCRIPT = Path(__file__).with_name("multiverse_null.py")
DOCS = Path(__file__).parents[2] / "docs"
STORED = DOCS / "multiverse_null.json"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("multiverse_null", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stored_errors_are_what_is_said(script):
    content = json.loads(STORED.read_text())
    errors = {(row["test"], row["by"]): row["errors"] for row in content["rows"]}
    n, alpha = content["rows"][0]["studies"], content["alpha"]
    assert n >= 1000 and content["alternatives"] == 8
    own, bonferroni, shared = script.WAYS
    text = (DOCS / "multiverse.rst").read_text()
    for test in script.TESTS:
        low, high = stats.binom.ppf([0.001, 0.999], n, alpha)
        assert low <= errors[test, shared] <= high
        assert errors[test, bonferroni] < errors[test, shared]
        # Whoever picks the best alternative by its own p errs more often than is said.
        assert errors[test, own] > high
        for way in script.WAYS:
            assert f"{100 * errors[test, way] / n:.1f} %" in text


def test_few_studies_err_as_often_as_alpha_says(script):
    """Eight alternatives, of other participants and smoothing, by one study after the other."""
    way = script.WAYS[2]
    p = [script.smallest_p(number, "mean")[way] for number in range(2000, 2016)]
    assert sum(one <= script.ALPHA for one in p) <= stats.binom.ppf(0.999, len(p), script.ALPHA)
    # One in two is above the median where p are those of the largest value.
    low, high = stats.binom.ppf([0.001, 0.999], len(p), 0.5)
    assert low <= sum(one <= 0.5 for one in p) <= high
