"""Speed of effects with variances: the stored figures, and that they are made as told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STORED = ROOT / "docs" / "effect_variance.json"
BENCHMARK = ROOT / "tests" / "benchmarks" / "effect_variance.py"
WORK = [
    "fixed-effects",
    "dersimonian-laird",
    "paule-mandel",
    "mixed-effects",
    "mixed-effects with the interval of tau2",
    "map-covariates, one covariate",
]


def test_stored_figures_hold_what_is_promised():
    stored = json.loads(STORED.read_text())
    rows = {row["work"]: row for row in stored["rows"]}
    assert (stored["maps"], stored["voxels"]) == (30, 76_000)
    assert list(rows) == WORK
    # A 25th of the 161 us of flameo, and a limit of its own.
    assert rows["mixed-effects"]["us_a_voxel"] < 6
    assert rows["mixed-effects"]["ratio"] > 3
    assert rows["map-covariates, one covariate"]["us_a_voxel"] < 3
    assert max(row.get("largest_difference", 0) for row in stored["rows"]) < 1e-6
    minutes = {
        (row["estimator"], row["estimates"]): row["cpu_minutes"] for row in stored["shuffles"]
    }
    assert minutes["map-covariates", "again"] < 5
    for (name, how), own in minutes.items():
        assert own < 2 * 8
        assert how == "again" or own < minutes.get((name, "again"), 1)


def test_the_benchmark_runs(tmp_path):
    pytest.importorskip("pymare", reason="a peer of benchmarks alone")
    output = tmp_path / "figures.json"
    command = [sys.executable, BENCHMARK, "--small", "--output", output]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    found = json.loads(output.read_text())
    assert [row["work"] for row in found["rows"]] == WORK
