"""Foreseen time: the rates of the documentation, and sums that grow with the study."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nipype_group.cli.plan import duration
from nipype_group.cli.plan.duration import COSTS, foreseen_seconds
from nipype_group.execution.memory import StudySize
from nipype_group.stats.estimators import ESTIMATORS
from nipype_group.workflows import AnalysisSettings, init_group_wf

DOCS = Path(__file__).parents[2] / "docs"
SIZE = StudySize(200, (97, 115, 97), n_columns=3, n_contrasts=2, n_voxels=230_000)
SETTINGS = AnalysisSettings(
    contrasts=("age=age", "group=patient - control"),
    formula="age + C(group)",
    smoothing_fwhm_mm=(8.0,),
    n_permutations=500,
)


def test_rates_are_those_of_the_documentation():
    stored = json.loads((DOCS / "stages.json").read_text(encoding="utf-8"))
    interfaces = {
        s["stage"]: s["interface"] for study in stored["studies"] for s in study["stages"]
    }
    for row in stored["costs"]:
        if interfaces[row["stage"]] == "RunPermutations":
            continue
        measured = tuple(
            row[f"{part}_s"] for part in ("fixed", "per_map", "per_voxel", "per_value")
        )
        assert COSTS[interfaces[row["stage"]]] == measured, row["stage"]
    rates = json.loads((DOCS / "scaling.json").read_text(encoding="utf-8"))["rates"]
    ours = [duration.RATE, duration.SCAN, duration.SERIES, duration.TFCE]
    assert ours == list(rates.values())


def test_shuffles_of_estimators_take_the_time_that_was_measured():
    stored = json.loads((DOCS / "effect_variance.json").read_text(encoding="utf-8"))
    values = stored["maps"] * stored["voxels"] * 1000
    measured = {}
    for row in stored["shuffles"]:
        own = measured.setdefault(row["estimator"], {})
        own[row["estimates"]] = row["cpu_minutes"] * 60e9 / values
    for name, estimator in ESTIMATORS.items():
        assert estimator.shuffle_ns == pytest.approx(measured.get(name, {}), abs=0.5)
    huber = replace(SETTINGS, estimator="huber")
    seconds = foreseen_seconds(init_group_wf(settings=huber), SIZE, n_shuffles=1000)
    took = measured["huber"]["again"] * 1e-9 * 1000 * 200 * 230_000
    assert seconds["RunPermutations"] == pytest.approx(took, rel=0.2)


def test_the_documented_study_is_foreseen():
    """200 maps at 2 mm took 53 s, one stage after the other, with half the shuffles."""
    seconds = foreseen_seconds(init_group_wf(settings=SETTINGS), SIZE, n_shuffles=1000)
    assert set(COSTS) <= set(seconds)
    assert 30 < sum(seconds.values()) < 110


def test_time_grows_with_maps_voxels_and_shuffles():
    workflow = init_group_wf(settings=SETTINGS)
    one = foreseen_seconds(workflow, SIZE, 1000)
    more = foreseen_seconds(workflow, replace(SIZE, n_maps=2000), 1000)
    assert all(more[name] >= one[name] for name in one)
    tfce = foreseen_seconds(workflow, SIZE, 1000, tfce_sides=2)
    extra = tfce["RunPermutations"] - one["RunPermutations"]
    assert extra == pytest.approx(1000 * 230_000 * 2 * duration.TFCE)


def test_combined_maps_cost_once_they_are_one():
    workflow = init_group_wf(settings=replace(SETTINGS, combine=("run",)))
    whole = foreseen_seconds(workflow, replace(SIZE, n_maps=800, n_read=800), 1000)
    combined = foreseen_seconds(workflow, replace(SIZE, n_read=800), 1000)
    for name in ("CollectMaps", "CombineRuns"):
        assert combined[name] == whole[name] > combined["StackMaps"]
    for name in ("GroupMask", "SmoothMaps", "StackMaps", "GroupGLM", "RunPermutations"):
        assert combined[name] < whole[name] / 2


def test_stages_that_are_not_there_cost_nothing():
    without = replace(SETTINGS, n_permutations=0, smoothing_fwhm_mm=())
    seconds = foreseen_seconds(init_group_wf(settings=without), SIZE)
    assert not {"RunPermutations", "MergePermutations", "SmoothMaps"} & set(seconds)
