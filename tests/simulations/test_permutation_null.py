"""Permutation keeps its familywise error rate where its assumptions hold, and only there."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.stats.neighbours import neighbour_list
from nipype_group.stats.permutation.p_values import cluster_heights, correct, null_of_maxima
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.statistics import ShuffleStatistics

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("permutation_null.py")
STORED = ROOT / "docs" / "permutation_null.json"
N_STUDIES, N_SHUFFLES = 30, 19
BETWEEN = "3 conditions of 16 participants, between"
SHUFFLING = {
    "one sample": "flip",
    "two groups": "permute",
    "regression": "permute",
    "pairs": "permute-within-participants",
    "3 conditions of 16 participants, within": "permute-within-participants",
    BETWEEN: "permute-participants",
    "three groups": "permute",
}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("permutation_null", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    # Its dataclass looks itself up among the modules.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stored():
    return json.loads(STORED.read_text())


def too_many(rows, n_studies, chance):
    """Return the rows with more errors than a true rate of .05 gives but by this chance."""
    limit = stats.binom.isf(chance, n_studies, 0.05)
    return [row for row in rows if row["upper_bound"] and row["errors"] > limit]


def keys(script):
    """Return scenario, side and test of every row, in order."""
    return [
        (name, "F" if scenario.sides == ("positive",) else side, test)
        for name, scenario in script.scenarios().items()
        for side, test in [
            *((side, test) for side in scenario.sides for test in script.STATISTICS),
            (scenario.sides[0], script.TESTS[-1]),
        ]
    ]


def test_few_studies_are_not_above_alpha(script):
    names = [name for name, scenario in script.scenarios().items() if scenario.holds]
    rows = script.simulate(N_STUDIES, N_SHUFFLES, names=names)
    assert {row["scenario"] for row in rows} == set(names)
    assert too_many(rows, N_STUDIES, 1e-5) == []


def test_shuffling_that_forgets_the_participants_is_above_alpha(script):
    scenario = script.scenarios()[BETWEEN]
    n_maps = len(scenario.design.matrix)
    alone = pd.DataFrame({"participant_id": [f"{i:02d}" for i in range(n_maps)]})
    forgetful = replace(scenario, design=replace(scenario.design, keys=alone))
    assert script.plan_study(forgetful, 0, N_SHUFFLES)[0] == "permute"
    found = [
        script.errors_of(forgetful, scenario.data(np.random.default_rng(seed)), seed, N_SHUFFLES)
        for seed in range(N_STUDIES)
    ]
    for test in script.STATISTICS:
        errors = sum(row["two-sided", test] for row in found)
        assert errors > stats.binom.isf(1e-5, N_STUDIES, 0.05), test


def test_plans_are_those_expected(script):
    for name, scenario in script.scenarios().items():
        (expected,) = (kind for start, kind in SHUFFLING.items() if name.startswith(start))
        found, contrast, _ = script.plan_study(scenario, 1, 399)
        assert found == expected, name
        assert contrast.scheme.n_distinct > 400, name
        assert contrast.scheme.seed == 1
        assert (contrast.welch is not None) == ("variance groups" in name)
        assert contrast.method == "freedman-lane"


@pytest.mark.parametrize(
    "name", ["one sample, n = 15, t3 errors", "three groups, n = 7, 9 and 11, F"]
)
def test_errors_are_finds_of_a_test_of_that_side_alone(script, name):
    scenario = script.scenarios()[name]
    neighbours = neighbour_list(script.MASK, 26)
    n_found = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        # An effect here and there, so that there is something to find.
        data = scenario.data(rng) + 0.12 * seed * scenario.design.matrix[:, :1]
        errors = script.errors_of(scenario, data, seed, 19)
        _, contrast, _ = script.plan_study(scenario, seed, 19)
        alone = ShuffleStatistics(script.STATISTICS, "positive", cluster_forming_p=0.01)
        (result,) = run_shuffles(
            lambda a, b, data=data: data[:, a:b], script.MASK, [contrast], alone, 0, 20
        )
        heights = cluster_heights(result.observed["voxel"], alone, contrast, neighbours)
        heights |= result.observed
        for test in script.STATISTICS:
            null = null_of_maxima(result.nulls, test, (1,))
            survives = correct(test, heights[test], null, 0.05).survives.any()
            assert errors["positive", test] == survives
            n_found += survives
    assert 4 < n_found < 44


@pytest.mark.parametrize(
    ("errors", "distribution"),
    [
        ("normal", stats.norm()),
        ("t3", stats.t(3)),
        ("exponential", stats.expon(loc=-1)),
    ],
)
def test_errors_are_smooth_and_distributed_as_said(script, errors, distribution):
    maps = script.smooth_errors(3000, errors, np.random.default_rng(4))
    for voxel in (0, script.ONE_VOXEL):
        assert stats.kstest(maps[:, voxel], distribution.cdf).pvalue > 1e-3
    # Neighbours along each axis of the normal fields correlate by exp(-1/4), any farther less.
    ranks = stats.rankdata(maps.reshape(3000, 8, 8, 8)[:, :2, :2, :4], axis=0).reshape(3000, -1)
    along = np.corrcoef(ranks.T)[0, [1, 4, 8, 3]]
    expected = {"normal": 0.76, "t3": 0.72, "exponential": 0.57}[errors]
    np.testing.assert_allclose(along[:3], expected, atol=0.08)
    assert along[3] < 0.25


def test_maps_of_a_participant_share_its_effect(script):
    scenario = script.scenarios()[BETWEEN]
    draws = np.array([scenario.data(np.random.default_rng(i))[:6, 0] for i in range(800)])
    assert np.cov(draws.T)[0, :4] == pytest.approx([5, 4, 4, 0], abs=0.8)
    small = script.scenarios()["two groups, n = 8 and 20, the small one varies more"]
    draws = np.array([small.data(np.random.default_rng(i))[[0, 20], 0] for i in range(800)])
    assert draws.std(axis=0) == pytest.approx([2, 1], rel=0.08)


def test_the_number_of_processes_changes_nothing(script, tmp_path):
    output = tmp_path / "rates.json"
    options = ["--studies", "2", "--shuffles", "19", "--processes", "2", "--output", output]
    subprocess.run([sys.executable, SCRIPT, *options], check=True, cwd=ROOT)
    found = json.loads(output.read_text())
    assert found["rows"] == script.simulate(2, 19)
    assert [(r["scenario"], r["side"], r["test"]) for r in found["rows"]] == keys(script)
    assert (found["studies"], found["shuffles"]) == (2, 19)


def test_shuffles_must_reach_alpha_exactly(script, tmp_path):
    with pytest.raises(SystemExit):
        script.main(["--shuffles", "200", "--output", str(tmp_path / "rates.json")])


def test_stored_rates_are_within_their_bounds(script, stored):
    n_studies = stored["studies"]
    assert n_studies >= 1000
    assert (stored["shuffles"] + 1) % 20 == 0
    assert set(stored) >= {"commit", "machine", "settings"}
    assert [(r["scenario"], r["side"], r["test"]) for r in stored["rows"]] == keys(script)
    assert list(stored["shuffling"]) == list(script.scenarios())
    fewest, most = script.bounds(n_studies)
    assert stored["bounds"] == {"chance": 1e-3, "fewest_errors": fewest, "most_errors": most}
    for row in stored["rows"]:
        assert row["rate"] == pytest.approx(row["errors"] / n_studies)
        assert row["low"] <= row["rate"] <= row["high"]
        scenario = script.scenarios()[row["scenario"]]
        assert row["upper_bound"] == scenario.holds
        if row["lower_bound"]:
            assert row["errors"] >= fewest, row
    assert too_many(stored["rows"], n_studies, 1e-3) == []


def test_stored_rates_show_where_permutation_fails(stored):
    rates = {(r["scenario"], r["side"], r["test"]): r["errors"] for r in stored["rows"]}
    most, fewest = stored["bounds"]["most_errors"], stored["bounds"]["fewest_errors"]
    groups = "two groups, n = 8 and 20, the small one varies"
    assert rates[f"{groups} more", "two-sided", "voxel"] > most
    assert rates[f"{groups} less", "two-sided", "voxel"] < fewest
