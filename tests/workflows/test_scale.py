"""From a BIDS tree to group maps, measured: the small form here, stored figures of large ones."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nipype_group.execution.memory import StudySize, declare_memory
from nipype_group.workflows import AnalysisSettings, init_group_wf

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "benchmarks" / "stages.py"
STORED = ROOT / "docs" / "stages.json"
STAGES = {
    "collect: collect",
    "collect: mask",
    "collect: smooth",
    "collect: stack",
    "model: design",
    "model: contrast_set",
    "model: glm",
    "model: estimate",
    "parametric: threshold_fdr",
    "permutation: plan",
    "permutation: run",
    "permutation: merge",
    "report: tables",
    "report: quality",
    "keep",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Run the small form as its own command; gives the study it measured."""
    folder = tmp_path_factory.mktemp("stages")
    output = folder / "stages.json"
    command = [sys.executable, str(SCRIPT), "--small", "--folder", str(folder)]
    done = subprocess.run(
        [*command, "--output", str(output)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["stages.json"]
    (study,) = json.loads(output.read_text())["studies"]
    return study


@pytest.fixture(scope="module")
def stored():
    return json.loads(STORED.read_text())


def test_one_run_goes_from_the_tree_to_group_maps(small):
    assert {row["stage"] for row in small["stages"]} == STAGES
    assert small["maps"] == 12
    assert small["results_files"] > 50
    assert small["wall_s"] >= sum(row["wall_s"] for row in small["stages"]) * 0.9
    # The same command again finds everything done.
    assert small["again_s"] < small["wall_s"]


def test_one_stage_is_measured_anew(small, tmp_path):
    marked = [row | {"cpu_s": -1.0} for row in small["stages"]]
    path = tmp_path / "stages.json"
    path.write_text(json.dumps({"commit": "a", "studies": [small | {"stages": marked}]}))
    command = [sys.executable, str(SCRIPT), "--again", "MapQuality", "--output", str(path)]
    subprocess.run([*command, "--folder", str(tmp_path)], check=True, capture_output=True)
    found = json.loads(path.read_text())
    rows = {row["interface"]: row for row in found["studies"][0]["stages"]}
    assert [row["stage"] for row in found["studies"][0]["stages"]] == [r["stage"] for r in marked]
    assert {name for name, row in rows.items() if row["cpu_s"] > 0} == {"MapQuality"}
    assert list(found["again"]) == ["MapQuality"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["stages.json"]


def test_no_stage_takes_more_memory_than_it_declares(small):
    for row in small["stages"]:
        assert 0.02 < row["memory_gib"] <= row["declared_gib"], row


def test_stored_studies_are_those_that_are_promised(stored):
    assert {(s["maps"], s["voxel_mm"]) for s in stored["studies"]} >= {(2000, 6), (200, 2)}
    for study in stored["studies"]:
        regions = {"report: regions", "report: plot", "report: plot_model"}
        assert {row["stage"] for row in study["stages"]} == STAGES | regions


def test_stored_memory_is_below_what_is_declared_now(stored):
    for study in stored["studies"]:
        size = StudySize(*(study[k] for k in ("maps", "shape", "columns", "contrasts")))
        settings = AnalysisSettings(
            contrasts=("age=age", "group=patient - control"),
            formula="age + C(group)",
            smoothing_fwhm_mm=(8.0,),
            n_permutations=study["permutations"],
            figures=True,
            n_procs=1,
        )
        now = declare_memory(init_group_wf(settings=settings), size)
        for row in study["stages"]:
            name = "group_wf." + row["stage"].replace(": ", "_wf.")
            assert row["memory_gib"] <= now[name], (study["maps"], row)
            # A bound counts all voxels of the grid, what may be installed, and --memory-gb, which
            # permutation leaves free where it does not suffice for all series.
            spare = 1.6 if row["stage"] == "permutation: run" else 0.6
            assert now[name] < 4 * row["memory_gib"] + spare, (study["maps"], row)


def test_costs_foresee_what_was_measured(stored):
    for row in stored["costs"]:
        low, high = row["measured_over_foreseen"]
        assert 0 < low <= 1.0001
        assert high >= 0.9999
        names = ("fixed_s", "per_map_s", "per_voxel_s", "per_value_s")
        costs = [row[name] for name in names]
        for size, seconds in zip(stored["foreseen"], row["foreseen_cpu_s"], strict=True):
            n_maps, voxel = size["maps"], size["voxel_mm"]
            n_voxels = np.prod([edge // voxel for edge in (194, 230, 194)])
            expected = costs @ np.array([1, n_maps, n_voxels, n_maps * n_voxels])
            assert seconds == pytest.approx(expected, rel=0.01)


def test_costs_are_found_where_they_are_known():
    spec = importlib.util.spec_from_file_location("stages", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    studies = []
    for n_maps, edge in ((2000, 32), (200, 97), (200, 32), (20, 97), (50, 48)):
        seconds = 0.5 + 2e-3 * n_maps + 4e-6 * edge**3 + 3e-8 * n_maps * edge**3
        rows = [{"stage": "a", "cpu_s": seconds}, {"stage": "b", "cpu_s": 4.0}]
        studies.append({"maps": n_maps, "shape": [edge] * 3, "stages": rows})
    first, second = script.cost_model(studies)
    assert [first[name] for name in script.COSTS] == pytest.approx(
        [0.5, 2e-3, 4e-6, 3e-8], rel=0.01
    )
    assert first["measured_over_foreseen"] == [1.0, 1.0]
    assert [second[name] for name in script.COSTS] == pytest.approx([4.0, 0, 0, 0], abs=1e-9)
