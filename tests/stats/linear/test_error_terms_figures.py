"""Speed and memory of effects on their own error: the stored figures, and memory of a tile."""

import json
import subprocess
import sys
import tracemalloc
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.contrasts import build_contrasts
from nipype_group.design.error_terms import error_term
from nipype_group.design.factorial import Factorial
from nipype_group.design.repeated_measures import factorial_design
from nipype_group.stats.linear.error_terms import estimate, maps_of
from nipype_group.stats.linear.least_squares import VALUES_PER_TILE

ROOT = Path(__file__).parents[3]
STORED = ROOT / "docs" / "error_terms.json"
BENCHMARK = ROOT / "tests" / "benchmarks" / "error_terms.py"
WORK = ["estimates", "z, p and epsilon", "all", "pingouin", "statsmodels"]


@pytest.fixture(scope="module")
def stored():
    return json.loads(STORED.read_text())


def test_stored_figures_hold_what_is_promised(stored):
    rows = {row["work"]: row for row in stored["rows"]}
    assert list(rows) == WORK
    assert stored["voxels"] == 76_000
    assert stored["peer_voxels"] >= 200
    assert rows["all"]["us_a_voxel"] < 4
    assert rows["pingouin"]["ratio"] > 1000
    assert rows["statsmodels"]["ratio"] > 1000


def test_stored_shuffles_are_as_fast_as_promised(stored):
    assert stored["threads"] == 2
    rows = {row["statistics"]: row for row in stored["shuffles"]}
    assert list(rows) == ["voxel", "voxel, extent, mass", "voxel, tfce"]
    for row in rows.values():
        assert (row["shuffles"], row["effects"]) == (1000, 3)
        assert row["cpu_s"] / stored["threads"] < 30


def test_stored_memory_is_that_of_a_tile(stored):
    many, few = stored["memory"]
    assert (many["maps"], many["voxels"]) == (1000, 235_000)
    assert many["memory_gib"] < 1
    # A tile of four times the maps, of 4,096 voxels, and what is made of it.
    assert many["memory_gib"] - few["memory_gib"] < 0.25


def test_the_benchmark_runs(tmp_path):
    pytest.importorskip("pingouin", reason="a peer of benchmarks alone")
    output = tmp_path / "figures.json"
    command = [sys.executable, BENCHMARK, "--small", "--output", output]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    found = json.loads(output.read_text())
    assert [row["work"] for row in found["rows"]] == WORK
    assert [row["effects"] for row in found["shuffles"]] == [3, 3, 3]


@pytest.mark.parametrize("n_maps", [1000, 4000])
def test_memory_does_not_grow_with_the_maps(n_maps):
    n_cells, n_voxels = 10, 10_000
    cells = product(range(n_maps // n_cells), ["a0", "a1", "a2", "a3", "a4"], ["b0", "b1"])
    rows = [(f"{i:03d}", a, b) for i, a, b in cells]
    table = pd.DataFrame(rows, columns=["participant_id", "a", "b"])
    factorial = Factorial(within=("a", "b"))
    design = factorial_design(factorial, table, ["a", "b"])
    contrast = build_contrasts(factorial.definitions, design)[-1]
    term = error_term(design, contrast.weights, "F", contrast.name)
    assert term.n_directions == 4
    _ = term.model, term.model.inverse
    values = np.random.default_rng(1).standard_normal(n_maps * 4096)

    def read(start, stop):
        return values[: n_maps * (stop - start)].reshape(n_maps, -1).copy()

    tracemalloc.start()
    found = estimate(term, contrast.weights, "F", read, n_voxels)
    maps_of(found, term, contrast.weights, "F", "two-sided", "greenhouse-geisser")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A tile, contrast maps of k / K of it in a few copies, and some maps.
    assert peak < 3 * 8 * VALUES_PER_TILE + 30 * 8 * n_voxels
