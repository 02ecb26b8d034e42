"""What validation says of confidence sets, in the stored counts, beside crtoolbox and again."""

import importlib.util
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

FOLDER = Path(__file__).parent
DOCS = FOLDER.parents[1] / "docs"


@pytest.fixture(scope="module")
def script():
    path = FOLDER / "confidence_sets_coverage.py"
    spec = importlib.util.spec_from_file_location("confidence_sets_coverage", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(name):
    return {
        (row["maps"], row["unit"]): row for row in json.loads((DOCS / name).read_text())["rows"]
    }


@pytest.fixture(scope="module")
def ours():
    return rows_of("confidence_sets.json")


@pytest.fixture(scope="module")
def theirs():
    """Return the rows of crtoolbox; confidence_sets_crtoolbox.py says how they came about."""
    return rows_of("confidence_sets_crtoolbox.json")


def test_sets_hold_as_often_as_validation_says(ours, script):
    assert set(ours) == {(n, unit) for n in script.MAPS for unit in script.UNITS}
    for (_, unit), row in ours.items():
        assert row["studies"] >= 1000
        least = stats.binom.ppf(1e-3, row["studies"], 0.95)
        assert row["held"]["voxels"] >= row["held"]["between voxels"] >= least
        if unit == "effect":
            assert row["held"]["between voxels"] <= stats.binom.ppf(1 - 1e-3, row["studies"], 0.96)


def test_quantiles_are_those_of_crtoolbox_but_for_the_draws(ours, theirs):
    assert theirs
    for key, peer in theirs.items():
        own = ours[key]["first"]
        n = peer["studies"]
        assert own["studies"] == n >= 250
        # Two quantiles of 1,000 draws a study; that of d has other errors at few maps.
        differ = np.subtract(own["quantiles"], peer["quantiles"])
        assert len(differ) == 20 and np.abs(differ).max() < (0.6 if key[0] == 12 else 0.4)
        allowed = 0.02 if key[1] == "effect" else 0.06
        assert abs(own["mean_quantile"] - peer["mean_quantile"]) < allowed
        held = [row["held"]["between voxels"] for row in (own, peer)]
        if key[1] == "effect":
            assert abs(held[0] - held[1]) < 4 * np.sqrt(2 * n * 0.95 * 0.05)
        elif key[0] == 12:
            # Its sets in d are too small with few maps.
            assert held[1] < stats.binom.ppf(0.01, n, 0.95) < held[0]


def test_a_small_part_again(script, ours):
    """Studies are the same, and so are their quantiles to the digits that are kept."""
    for n_maps, unit in ((12, "d"), (30, "effect")):
        images = islice(script.studies(n_maps, unit, 3), 3)
        found = [script.sets_of(own, unit, seed) for seed, own in enumerate(images)]
        kept = ours[n_maps, unit]["first"]["quantiles"][:3]
        np.testing.assert_allclose([own.quantile for own in found], kept, atol=2e-5)
