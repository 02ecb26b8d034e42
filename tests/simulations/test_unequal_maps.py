"""What validation says of robust fits, unequal variances and map covariates."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

SCRIPT = Path(__file__).with_name("unequal_maps.py")
STORED = Path(__file__).parents[2] / "docs" / "unequal_maps.json"
# Tests that err at their level whatever the number of maps.
EXACT = {
    ("robust", "normal", "least squares"),
    ("unequal variances", "8 maps of 1 sd, 20 of 1", "pooled"),
    ("covariates that are maps", "normal", "group beside the covariate"),
    ("covariates that are maps", "normal", "the covariate"),
}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("unequal_maps", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rates():
    """Return the share at 5 %, by part, maps, data, what is told and way."""
    rows = json.loads(STORED.read_text())["rows"]
    return {(r["part"], r["maps"], r["data"], r["of"], r["by"]): r["rates"][0] for r in rows}


def check_exact(rows):
    """Check that exact tests err at their level within chance."""
    exact = [r for r in rows if r["of"] == "errors" and (r["part"], r["data"], r["by"]) in EXACT]
    assert len(exact) == 7
    for row in exact:
        for rate, alpha in zip(row["rates"], (0.05, 0.01), strict=True):
            low, high = stats.binom.ppf([1e-4, 1 - 1e-4], row["studies"], alpha)
            assert low <= round(rate * row["studies"]) <= high, row


def test_stored_rates_are_what_validation_says(rates):
    check_exact(json.loads(STORED.read_text())["rows"])
    for data in ("t of 3 dof", "one in ten of 5 sd", "skewed"):
        for n in (15, 30):
            power = {by: rates["robust", n, data, "power", by] for by in ("huber", "bisquare")}
            assert min(power.values()) > rates["robust", n, data, "power", "least squares"] + 0.05
    for by in ("huber", "bisquare"):
        loss = rates["robust", 30, "normal", "power", "least squares"]
        assert 0 < loss - rates["robust", 30, "normal", "power", by] < 0.06
        assert rates["robust", 30, "normal", "errors", by] < 0.056
    # The note of MM fits.
    assert 0.065 < rates["robust", 30, "normal", "errors", "mm"] < 0.08
    assert 0.08 < rates["robust", 15, "normal", "errors", "mm"] < 0.1
    for ratio in ("1", "3", "0.333333"):
        own = {
            by: rates["unequal variances", 28, f"8 maps of {ratio} sd, 20 of 1", "errors", by]
            for by in ("Welch", "HC3", "pooled")
        }
        assert 0.045 < own["Welch"] < 0.056 and own["HC3"] < 0.056
        assert (own["pooled"] > 0.15) == (ratio == "3")
    for n in (12, 24):
        told = "covariates that are maps", n, "normal", "errors"
        assert rates[(*told, "group, the covariate left out")] > 0.15
        assert 0.04 < rates[(*told, "the covariate, permutation")] < 0.056


def test_a_small_part_again(script):
    """Studies follow from their number: few of them are within chance of the levels too."""
    rows = script.robust_rows(15, "normal", 3000) + script.robust_rows(30, "normal", 3000)
    rows += script.welch_rows((8, 20), 1.0, 3000)
    rows += script.covariate_rows(12, 3000) + script.covariate_rows(24, 3000)
    check_exact(rows)
    again = script.welch_rows((8, 20), 1.0, 3000)
    assert np.array_equal([r["rates"] for r in again], [r["rates"] for r in rows[16:20]])
