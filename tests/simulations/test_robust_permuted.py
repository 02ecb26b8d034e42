"""What validation says of robust fits by shuffles, in the stored rates and in a small part."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

SCRIPT = Path(__file__).with_name("robust_permuted.py")
STORED = Path(__file__).parents[2] / "docs" / "robust_permuted.json"
HEAVY = ("t of 3 dof", "one in ten of 5 sd")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("robust_permuted", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stored():
    return json.loads(STORED.read_text())


def test_shuffles_err_at_their_level_whatever_the_estimator(stored, script):
    rows = [row for row in stored["rows"] if row["of"] == "errors" and row["how"] != "parametric"]
    assert len(rows) == 12 * 5 and stored["studies"] >= 1000
    assert {row["design"] for row in rows} == set(script.DESIGNS)
    for row in rows:
        for rate, alpha in zip(row["rates"], stored["alphas"], strict=True):
            low, high = stats.binom.ppf([1e-4, 1 - 1e-4], row["studies"], alpha)
            assert low <= round(rate * row["studies"]) <= high, row


def test_power_is_what_validation_says(stored):
    power = {
        (r["design"], r["maps"], r["data"], r["by"], r["how"]): r["rates"]
        for r in stored["rows"]
        if r["of"] == "power"
    }
    for design in ("mean", "slope"):
        for data in HEAVY:
            by = {n: power[design, 30, data, n, "permutation"][0] for n in ("huber", "bisquare")}
            least = power[design, 30, data, "least squares", "permutation"][0]
            assert min(by.values()) > least + 0.08
    told = "slope", 12, "normal"
    least = power[(*told, "least squares", "permutation")][1]
    assert power[(*told, "bisquare", "permutation")][1] < least - 0.15
    assert abs(power[(*told, "mm", "held")][1] - least) < 0.03
    errors = [
        r["rates"][0]
        for r in stored["rows"]
        if (r["of"], r["design"], r["maps"], r["by"], r["how"])
        == ("errors", "slope", 12, "mm", "parametric")
    ]
    assert min(errors) > 0.1


def test_a_small_part_again(script):
    rows = script.rows_of("mean", 12, "normal", 200)
    errors = {(r["by"], r["how"]): r["rates"][0] for r in rows if r["of"] == "errors"}
    assert max(errors.values()) <= stats.binom.ppf(1 - 1e-4, 200, 0.07) / 200
    # Without a nuisance t of a mean by signs is told by the sum: all sums are looked at.
    rng = np.random.default_rng(2)
    data = rng.standard_normal((12, 5))
    signs = rng.choice([-1.0, 1], (50, 12))
    orders = np.tile(np.arange(12), (50, 1))
    model = script.model_of(np.ones(12))
    found = script.least_squares_of_shuffles(model, [1.0], data, orders, signs)
    np.testing.assert_allclose(found, np.abs(signs @ data) / np.sqrt(12), rtol=1e-12)
