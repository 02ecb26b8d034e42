"""Effects on their own error err at their level; the pooled error does not."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nipype_group.permutation.plan import LIBERAL_LEVELS

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("error_terms_null.py")
STORED = ROOT / "docs" / "error_terms_null.json"
FEW = {"n_studies": 2000, "n_batches": 2, "n_shuffles": 199}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("error_terms_null", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    # Its dataclass looks itself up among the modules.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stored():
    return json.loads(STORED.read_text())


def rate(rows, scenario, effect, test):
    """Return the share of studies that err at .05."""
    (row,) = (
        r for r in rows if (r["scenario"], r["effect"], r["test"]) == (scenario, effect, test)
    )
    return row["errors"][0] / row["studies"]


def expected_rows(script):
    """Return scenario, effect and test of every row, in order."""
    found = []
    for name, scenario in script.scenarios().items():
        for contrast in scenario.contrasts:
            k = scenario.term(contrast).n_directions
            own = script.PARAMETRIC if k > 1 else ("none",)
            permuted = ["permutation"]
            if contrast.name == "a" and len(scenario.levels) == 1 and scenario.within:
                permuted.append("signs")
            elif contrast.name in ("a", "b") and k > 1:
                permuted.append("levels")
            found += [(name, contrast.name, test) for test in (*own, *permuted, "pooled")]
    return found


def check_claims(script, rows):
    """Check what the guide says of rates."""
    assert script.out_of_bounds(rows) == []
    for n in (8, 12):
        crossed = f"2 x 2 levels, n = {n}"
        assert rate(rows, crossed, "a", "pooled") > 0.12
        assert rate(rows, crossed, "a:b", "pooled") < 0.015
        three = f"3 x 3 levels, n = {n}"
        assert rate(rows, three, "a", "pooled") > 0.2
        assert rate(rows, three, "a:b", "greenhouse-geisser") < 0.04
        uneven = f"4 levels without sphericity, n = {n}"
        found = {t: rate(rows, uneven, "a", t) for t in (*script.PARAMETRIC, "pooled")}
        assert found["none"] > found["huynh-feldt"] > found["greenhouse-geisser"]
        assert found["none"] > 0.07
        assert found["pooled"] == found["none"]
        assert rate(rows, uneven, "a", "permutation") > 0.07
        assert rate(rows, uneven, "a", "signs") < 0.06
    for sizes in ("3 and 5", "4 and 8"):
        between = f"2 groups of {sizes}"
        assert rate(rows, f"{between}, 3 levels", "group", "pooled") > 0.1
        assert rate(rows, f"{between}, 4 maps each", "group", "pooled") > 0.18


def test_few_studies_err_at_their_level(script):
    rows = script.simulate(**FEW)
    found = [(row["scenario"], row["effect"], row["test"]) for row in rows]
    assert found == expected_rows(script)
    assert script.out_of_bounds(rows, 1e-5) == []
    # What the pooled error gives is told by as few.
    assert rate(rows, "3 x 3 levels, n = 12", "a", "pooled") > 0.15


def test_bounds_find_a_wrong_level(script):
    rows = script.simulate(20_000, 0, names=["2 x 2 levels, n = 12"])
    assert script.out_of_bounds(rows) == []
    (row,) = (r for r in rows if (r["effect"], r["test"]) == ("b", "pooled"))
    assert script.out_of_bounds([row | {"exact": True}]) == [row | {"exact": True}]


@pytest.mark.parametrize("name", ["3 x 3 levels, n = 8", "4 levels without sphericity, n = 12"])
def test_maps_covary_as_said(script, name):
    scenario = script.scenarios()[name]
    data = scenario.data(2000, np.random.default_rng(3))
    n_cells = len(scenario.covariance)
    own = data.reshape(-1, n_cells, 2000).transpose(1, 0, 2).reshape(n_cells, -1)
    limit = 0.06 * scenario.covariance.max()
    np.testing.assert_allclose(np.cov(own), scenario.covariance, atol=limit)
    others = np.corrcoef(data[0], data[n_cells])[0, 1]
    assert abs(others) < 0.1


def test_deviations_are_along_directions_of_the_effect(script):
    scenario = script.scenarios()["3 x 3 levels, n = 8"]
    for contrast, deviation in zip(scenario.contrasts, (2.0, 1.0, 0.5), strict=True):
        directions = scenario.term(contrast).directions
        variance = directions @ scenario.covariance @ directions.T
        np.testing.assert_allclose(
            variance, (1 + deviation**2) * np.eye(len(directions)), atol=1e-9
        )


def test_the_number_of_processes_changes_nothing(script, tmp_path):
    output = tmp_path / "rates.json"
    few = ["--studies", "50", "--batches", "1", "--shuffles", "19", "--processes", "2"]
    subprocess.run([sys.executable, SCRIPT, *few, "--output", output], check=True, cwd=ROOT)
    found = json.loads(output.read_text())
    assert found["rows"] == json.loads(json.dumps(script.simulate(50, 1, 19)))


def test_stored_rates_are_within_their_bounds(script, stored):
    found = [(row["scenario"], row["effect"], row["test"]) for row in stored["rows"]]
    assert found == expected_rows(script)
    assert set(stored) >= {"commit", "machine", "epsilon"}
    assert stored["studies"] >= 100_000
    assert stored["permuted_studies"] >= 10_000
    for row in stored["rows"]:
        scenario = script.scenarios()[row["scenario"]]
        (contrast,) = (c for c in scenario.contrasts if c.name == row["effect"])
        assert row["exact"] == scenario.exact(contrast, row["test"])
        if row["test"] in script.PERMUTED:
            reached = script.levels_reached(scenario, contrast, row["test"], 999)
            assert row["levels"] == list(reached)
            # That studies share shuffles is not seen in their counts.
            assert row["variance_ratio"] < 1.5
    check_claims(script, stored["rows"])


def test_the_plan_tells_the_stored_rate_of_uneven_levels(stored):
    uneven = "4 levels without sphericity, n = 8"
    share, epsilon = rate(stored["rows"], uneven, "a", "permutation"), stored["epsilon"][uneven]
    assert f"{100 * share:.1f} % at 5 % for four levels of 8 participants" in LIBERAL_LEVELS
    assert f"epsilon of {epsilon['a']:.2f}".replace("0.", ".") in LIBERAL_LEVELS


@pytest.mark.slow
def test_many_studies_err_at_their_level(script, stored, tmp_path):
    output = tmp_path / "rates.json"
    subprocess.run([sys.executable, SCRIPT, "--output", output], check=True, cwd=ROOT)
    rows = json.loads(output.read_text())["rows"]
    check_claims(script, rows)
    assert len(rows) == len(stored["rows"])
