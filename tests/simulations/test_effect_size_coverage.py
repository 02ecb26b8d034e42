"""What validation says of intervals of effect sizes, in the stored counts and in a small part."""

import importlib.util
import json
from pathlib import Path

import pytest
from scipy import stats

SCRIPT = Path(__file__).with_name("effect_size_coverage.py")
STORED = Path(__file__).parents[2] / "docs" / "effect_size_coverage.json"
EXACT = ("d", "partial-r", "partial-eta2", "R2")
OF_AN_F = "omega2, taken for the share of an F"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("effect_size_coverage", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_claims(rows):
    """Check the counts by binomial bounds."""
    for row in rows:
        n, held = row["studies"], row["held"]

        def within(low, high, n=n, held=held):
            return stats.binom.ppf(1e-5, n, low) <= held <= stats.binom.ppf(1 - 1e-5, n, high)

        share_of_none = row["d"] == 0 and row["size"] not in ("d", "g", "partial-r")
        if share_of_none:
            assert within(0.975, 0.995), row
        elif row["size"] in EXACT:
            # That of the population has another number in it.
            assert within(*((0.95, 0.95) if row["target"] != "population" else (0.943, 0.957))), (
                row
            )
        elif row["size"] == "omega2":
            assert within(0.93, 0.953), row
            assert row["target"] != "population" or within(0.945, 0.953), row
        elif row["size"] == "g":
            assert within(0.935, 0.952), row
    few = [row for row in rows if row["size"] == OF_AN_F and row["d"] == 0.5]
    assert min(row["held"] / row["studies"] for row in few) < 0.61


def test_stored_counts_are_what_validation_says(script):
    rows = json.loads(STORED.read_text())["rows"]
    assert {row["design"] for row in rows} == set(script.designs())
    assert min(row["studies"] for row in rows) >= 20_000
    check_claims(rows)
    g = [r for r in rows if (r["design"], r["d"], r["size"]) == ("mean of 12 maps", 1.2, "g")]
    assert abs(g[0]["held"] / g[0]["studies"] - 0.938) < 0.002


def test_a_small_part_again(script):
    names = list(script.designs())
    check_claims(
        [row for name in names[2:] for row in script.rows_of(name, names.index(name), 2000)]
    )
