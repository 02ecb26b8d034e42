"""What the documentation says of errors over analyses side by side."""

import importlib.util
import json
from pathlib import Path

import pytest
from scipy import stats

SCRIPT = Path(__file__).with_name("across_analyses_null.py")
STORED = Path(__file__).parents[2] / "docs" / "across_analyses_null.json"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("across_analyses_null", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stored_errors_are_what_is_said(script):
    content = json.loads(STORED.read_text())
    errors = {(row["test"], row["by"]): row["errors"] for row in content["rows"]}
    n, alpha = content["rows"][0]["studies"], content["alpha"]
    low, high = stats.binom.ppf([0.001, 0.999], n, alpha)
    assert n >= 1000 and content["analyses"] == 4
    for test in script.TESTS:
        assert low <= errors[test, "maximum"] <= high
        assert errors[test, "bonferroni"] < errors[test, "maximum"]
        assert errors[test, "fdr"] <= high
        # Whoever looks at four analyses and corrects each by itself errs more often.
        assert errors[test, script.ALONE] > high
    together, apart = content["with_effects"]
    assert together["family"] == "one family" and together["false_share"] <= alpha
    assert together["others_told"] > 0.5 * n > apart["others_told"]


def test_few_studies_err_as_often_as_alpha_says(script):
    rows, effects = script.simulate(8, first=5000)
    errors = {(row["test"], row["by"]): row["errors"] for row in rows}
    high = stats.binom.ppf(0.999, 8, script.ALPHA)
    for test in script.TESTS:
        assert all(errors[test, way] <= high for way in script.WAYS)
        assert errors[test, script.ALONE] >= errors[test, "maximum"] >= errors[test, "bonferroni"]
    assert effects[0]["false_share"] < 0.2 and effects[0]["others_told"] >= 4
