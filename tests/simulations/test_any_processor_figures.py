"""The stored replays and costs of sums in a fixed order hold what the docs say of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STORED = ROOT / "docs" / "any_processor.json"
COSTS = ROOT / "docs" / "fixed_order.json"
BENCHMARK = ROOT / "tests" / "benchmarks" / "fixed_order.py"


@pytest.mark.skipif(not STORED.is_file(), reason="no replays are stored")
def test_every_file_of_every_stored_replay_is_equal():
    stored = json.loads(STORED.read_text())
    assert {"association", "all inferences"} <= {row["analysis"] for row in stored["replays"]}
    assert len({row["as"] for row in stored["replays"]}) == len(stored["processors"]) > 2
    assert {row["threads"] for row in stored["replays"]} == {1, 2}
    assert [row for row in stored["replays"] if row["equal"] != row["files"]] == []
    assert min(row["files"] for row in stored["replays"]) > 90


def test_permutation_loses_no_speed():
    rows = json.loads(COSTS.read_text())["rows"]
    shuffled = {r["work"]: r["ratio"] for r in rows if r["work"].startswith("permutation")}
    assert len(shuffled) == 4
    # What two measurements of one thing differ by.
    assert all(ratio < 1.05 for ratio in shuffled.values()), shuffled


def test_the_benchmark_measures_every_stage(tmp_path):
    output = tmp_path / "costs.json"
    subprocess.run(
        [sys.executable, BENCHMARK, "--small", "--output", output],
        check=True,
        cwd=ROOT,
        capture_output=True,
    )
    stages = [r["work"] for r in json.loads(output.read_text())["rows"]]
    assert stages == [r["work"] for r in json.loads(COSTS.read_text())["rows"]]
