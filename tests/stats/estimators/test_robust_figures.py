"""Speed of robust fits and covariates that are maps: the stored figures, and how they are made."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
STORED = ROOT / "docs" / "robust.json"
BENCHMARK = ROOT / "tests" / "benchmarks" / "robust.py"


def test_stored_figures_hold_what_is_promised():
    stored = json.loads(STORED.read_text())
    rows = {row["work"]: row for row in stored["rows"]}
    assert (stored["maps"], stored["voxels"]) == (30, 76_000)
    for work in ("huber, mean", "huber, slope", "huber, a covariate that is a map"):
        assert rows[work]["us_a_voxel"] < 15
    assert rows["least squares, a covariate that is a map"]["us_a_voxel"] < 3
    assert rows["both bounds of d"]["us_a_voxel"] < 0.5
    for work in ("huber, mean", "huber, slope"):
        assert rows[work]["ratio"] > 10
        assert rows[work]["largest_difference"] < 1e-4
    # Under 5 minutes on two cores.
    assert all(row["cpu_minutes"] < 2 * 5 for row in stored["shuffles"])


def test_the_benchmark_runs(tmp_path):
    output = tmp_path / "figures.json"
    command = [sys.executable, BENCHMARK, "--small", "--output", output]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    found = json.loads(output.read_text())
    stored = json.loads(STORED.read_text())
    for name in ("rows", "shuffles"):
        assert [row["work"] for row in found[name]] == [row["work"] for row in stored[name]]
