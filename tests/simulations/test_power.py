"""Power beside nilearn: what the stored rates say, and a small part again."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

SCRIPT = Path(__file__).with_name("power.py")
STORED = Path(__file__).parents[2] / "docs" / "power.json"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("power", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stored():
    content = json.loads(STORED.read_text())
    return content, {(row["test"], row["package"]): row for row in content["rows"]}


def test_no_test_errs_more_often_than_it_says(stored):
    content, rows = stored
    most = stats.binom.isf(1e-4, content["studies"], 0.05)
    for row in rows.values():
        assert round(row["error"] * content["studies"]) <= most, row


def test_power_is_at_least_that_of_nilearn_at_equal_error(stored):
    _, rows = stored
    for (test, package), row in rows.items():
        other = rows.get((test, "nilearn"))
        if package == "nilearn" or other is None:
            continue
        spread = np.hypot(row["power_error"], other["power_error"])
        assert row["power"] >= other["power"] - 3 * spread, test
    assert len(rows) == 11


def test_a_study_is_drawn_from_its_number(script):
    one, other = script.study(2, 19), script.study(2, 19)
    assert one == other and one[0]
    regressor, data = script.study_of(2, effects=True)
    _, noise = script.study_of(2, effects=False)
    np.testing.assert_allclose(data - noise, np.outer(regressor, script.planted()), atol=1e-12)
    # Noise has a standard deviation of 1.
    deviations = [script.study_of(number, effects=False)[1].std() for number in range(20)]
    assert np.mean(deviations) == pytest.approx(1, abs=0.02)


def test_both_packages_find_the_same_by_bonferroni(script):
    for number in range(4):
        _, found = script.study(number, 19)
        assert found["bonferroni", "nipype_group"] == found["bonferroni", "nilearn"]
