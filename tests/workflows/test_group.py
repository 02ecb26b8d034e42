"""A whole analysis of the small study: plugins, shards, caching, composition."""

import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nipype.interfaces.base import isdefined
from nipype.interfaces.utility import Function, IdentityInterface
from nipype.pipeline.engine import MapNode, Node, Workflow

from nipype_group.execution import run_workflow
from nipype_group.reporting.tables.clusters import read_table
from nipype_group.settings import MapsSettings
from nipype_group.tsv import read_tsv
from nipype_group.workflows import AnalysisSettings, init_collect_wf, init_group_wf

PLANTED = (4, 5, 3)
SETTINGS = AnalysisSettings(
    contrasts=("age=age", "groups=patient - control", "all=age; patient - control"),
    formula="age + C(group)",
    smoothing_fwhm_mm=(),
    n_permutations=60,
    n_shards=3,
    seed=2,
    figures=False,
    also_write=("all",),
)


@pytest.fixture
def settings(write_map, tmp_path):
    """Return settings with a small atlas."""
    values = np.ones((9, 10, 8), dtype=np.uint8)
    values[5:] = 2
    path = write_map("atlas/halves.nii.gz", values)
    (tmp_path / "atlas" / "halves.csv").write_text("index,name\n1,left half\n2,right half\n")
    return replace(SETTINGS, atlases=(str(path),))


@pytest.fixture
def analyse(small_study, tmp_path):
    """Return a function that runs an analysis; gives the result and the folder group."""

    def run(settings, name="out", *, work="work", plugin="Linear", progress=False, **inputs):
        workflow = init_group_wf(settings=settings)
        source = {"bids_dir": str(small_study), "select": ["stat=effect"]}
        workflow.inputs.inputnode.trait_set(output_dir=str(tmp_path / name), **(inputs or source))
        result = run_workflow(
            workflow, work_dir=tmp_path / work, plugin=plugin, n_procs=2, progress=progress
        )
        return result, tmp_path / name / "group"

    return run


def content(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def run_times(work):
    """Return the time at which every node (and item of a MapNode) last wrote its result."""
    return {
        p.relative_to(work).parent.as_posix(): p.stat().st_mtime_ns
        for p in Path(work).rglob("result_*.pklz")
    }


def ran_again(before, after):
    """Return the names of computing nodes, and of items of MapNodes, that ran in between."""
    changed = {name for name in after if after[name] != before.get(name)}
    names = {name.rsplit("/", 1)[-1] for name in changed}
    return {name for name in names if not name.startswith(("join_", "repeat_"))}


def test_plugins_and_shards_change_no_byte(analyse, settings):
    settings = replace(settings, figures=True)
    _, first = analyse(settings, "linear", work="w1")
    expected = content(first)
    assert len(expected) > 80
    assert sum(name.endswith(".png") for name in expected) > 10
    cases = {
        "multi": (settings, "MultiProc"),
        "one": (replace(settings, n_shards=1, figures=False), "Linear"),
        "eight": (replace(settings, n_shards=8, n_procs=2, figures=False), "MultiProc"),
    }
    for name, (changed, plugin) in cases.items():
        _, group = analyse(changed, name, work=f"w-{name}", plugin=plugin)
        found = content(group)
        # Values at peaks are those that are drawn, and the report holds the figures.
        drawn = set(expected)
        if not changed.figures:
            drawn = {n for n in expected if "figures/" not in n and "peakvalues" not in n}
        assert set(found) == drawn
        differ = {n for n in found if found[n] != expected[n]}
        assert all(n.endswith("report.html") and not changed.figures for n in differ)


def test_planted_voxel_is_found_by_every_inference(analyse, settings):
    result, group = analyse(settings)
    stem = "task-rest_space-MNI_contrast-age"
    for desc in ("fdrBHBoth", "permVoxelFWEBoth"):
        peaks = read_table(group / f"{stem}_desc-{desc}_peaks.tsv")
        assert peaks[["i", "j", "k"]].to_numpy().tolist() == [list(PLANTED)]
    t = np.asarray(nib.load(group / f"{stem}_stat-t_statmap.nii.gz").dataobj)
    assert np.unravel_index(t.argmax(), t.shape) == PLANTED
    f = np.asarray(nib.load(result.outputs["stat_files"][2]).dataobj)
    assert np.unravel_index(f.argmax(), f.shape) == PLANTED
    # Another route to the same number: correlation of the maps with age, group taken out.
    rows = pd.read_csv(group / "task-rest_space-MNI_design.tsv", sep="\t")
    stack = np.asarray(nib.load(result.outputs["stack_file"]).dataobj)
    y = stack[PLANTED].astype(float)
    x = rows[["intercept", "group[patient]"]].to_numpy(dtype=float)
    age, y = (v - x @ np.linalg.lstsq(x, v, rcond=None)[0] for v in (rows["age"].to_numpy(), y))
    rho = age @ y / np.sqrt((age @ age) * (y @ y))
    assert t[PLANTED] == pytest.approx(rho * np.sqrt(9 / (1 - rho**2)), rel=1e-5)


def test_outputs_are_those_documented(analyse, settings):
    result, group = analyse(settings)
    outputs = result.outputs
    assert outputs["group_dir"] == str(group)
    assert all(Path(p).is_file() for p in outputs["out_files"])
    assert len(outputs["z_files"]) == 3
    # Three contrasts by FDR and by permutation.
    assert len(outputs["thresholded_files"]) == len(outputs["peaks_files"]) == 6
    assert len(outputs["logp_fwe_files"]) == len(outputs["nulldist_files"]) == 3
    without, _ = analyse(replace(settings, n_permutations=0), "without", work="w2")
    assert "plan_file" not in without.outputs
    assert len(without.outputs["thresholded_files"]) == 3


def test_second_run_computes_nothing(analyse, settings, tmp_path):
    _, group = analyse(settings)
    before, results = run_times(tmp_path / "work"), content(group)
    assert {n.rsplit("/", 1)[-1] for n in before} >= {"collect", "glm", "merge", "keep"}
    for plugin in ("Linear", "MultiProc"):
        analyse(settings, plugin=plugin)
        assert ran_again(before, run_times(tmp_path / "work")) == set()
    assert content(group) == results


def test_changed_alpha_runs_thresholds_and_what_follows_only(analyse, settings, tmp_path):
    analyse(settings)
    before = run_times(tmp_path / "work")
    analyse(replace(settings, alpha=0.01))
    again = ran_again(before, run_times(tmp_path / "work"))
    assert {"threshold_fdr", "merge", "keep"} <= again
    # The plan warns of contrasts that cannot reach alpha; no shuffle is made again.
    assert again <= {
        "plan",
        "threshold_fdr",
        *(f"_threshold_fdr{i}" for i in range(3)),
        "merge",
        "keep",
        "tables",
        "regions",
        *(f"_tables{i}" for i in range(6)),
    }


def test_more_permutations_keep_the_fit(analyse, settings, tmp_path):
    analyse(settings)
    before = run_times(tmp_path / "work")
    analyse(replace(settings, n_permutations=120, n_shards=6))
    again = ran_again(before, run_times(tmp_path / "work"))
    assert not again & {"collect", "mask", "stack", "design", "glm", "estimate", "threshold_fdr"}
    # Shards of the same size are done already.
    assert not again & {f"_run{i}" for i in range(3)}
    assert {"_run3", "_run4", "_run5", "merge"} <= again


@pytest.fixture
def maps_table(small_study, tmp_path):
    """Write a table of the maps and their covariates."""
    table = pd.read_csv(small_study / "participants.tsv", sep="\t", dtype=str)
    table["map"] = [str(p) for p in sorted(small_study.rglob("*.nii.gz"))]
    path = tmp_path / "maps.tsv"
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return path


def test_swapped_maps_of_equal_size_are_noticed(analyse, settings, maps_table):
    """Two subjects change maps: the same files in another order give another result."""
    settings = replace(settings, n_permutations=0)
    first, _ = analyse(settings, maps_table=str(maps_table))
    t = np.asarray(nib.load(first.outputs["stat_files"][0]).dataobj).copy()
    table = pd.read_csv(maps_table, sep="\t", dtype=str)
    table.loc[[0, 11], "map"] = table.loc[[11, 0], "map"].to_numpy()
    table.to_csv(maps_table, sep="\t", index=False, na_rep="n/a")
    second, _ = analyse(settings, maps_table=str(maps_table))
    swapped = np.asarray(nib.load(second.outputs["stat_files"][0]).dataobj)
    fresh, _ = analyse(settings, "fresh", work="fresh", maps_table=str(maps_table))
    np.testing.assert_array_equal(
        swapped, np.asarray(nib.load(fresh.outputs["stat_files"][0]).dataobj)
    )
    assert swapped[PLANTED] < t[PLANTED] - 1


def test_reordered_rows_and_renamed_maps_are_recorded(analyse, settings, maps_table):
    settings = replace(settings, n_permutations=0)
    first, _ = analyse(settings, maps_table=str(maps_table))
    t = np.asarray(nib.load(first.outputs["stat_files"][0]).dataobj).copy()
    table = pd.read_csv(maps_table, sep="\t", dtype=str).iloc[::-1].reset_index(drop=True)
    old = Path(table.loc[3, "map"])
    renamed = old.with_name(f"renamed_{old.name}")
    shutil.move(old, renamed)
    table.loc[3, "map"] = str(renamed)
    table.to_csv(maps_table, sep="\t", index=False, na_rep="n/a")
    second, group = analyse(settings, maps_table=str(maps_table))
    rows = read_tsv(group / "observations.tsv")
    assert rows["participant_id"].tolist() == table["participant_id"].tolist()
    assert rows["map"].tolist() == table["map"].tolist()
    again = np.asarray(nib.load(second.outputs["stat_files"][0]).dataobj)
    np.testing.assert_allclose(again, t, rtol=1e-5, atol=1e-6)


def test_changed_content_of_a_map_is_noticed(analyse, settings, small_study, write_map):
    settings = replace(settings, n_permutations=0)
    first, _ = analyse(settings)
    t = np.asarray(nib.load(first.outputs["stat_files"][0]).dataobj).copy()
    path = sorted(small_study.rglob("*.nii.gz"))[11]
    values = np.asarray(nib.load(path).dataobj).copy()
    values[PLANTED] -= 15
    write_map(path, values)
    second, _ = analyse(settings)
    again = np.asarray(nib.load(second.outputs["stat_files"][0]).dataobj)
    assert again[PLANTED] < t[PLANTED] - 1
    elsewhere = np.ones(t.shape, dtype=bool)
    elsewhere[PLANTED] = False
    np.testing.assert_array_equal(again[elsewhere], t[elsewhere])


def make_map(number):
    """Make a map as a first level would; runs in a node of its own."""
    from pathlib import Path

    import nibabel as nib
    import numpy as np

    values = np.random.default_rng(number).standard_normal((6, 6, 6)).astype("float32")
    values[3, 3, 3] += 6
    path = Path(f"effect_{number}.nii.gz").absolute()
    nib.save(nib.Nifti1Image(values, np.diag([3.0, 3.0, 3.0, 1.0])), path)
    return str(path)


def first_level():
    node = MapNode(
        Function(function=make_map, output_names=["effect"]),
        iterfield=["number"],
        name="first_level",
    )
    node.inputs.number = list(range(8))
    return node


@pytest.mark.parametrize("plugin", ["Linear", "MultiProc"])
def test_group_analysis_inside_a_larger_workflow(tmp_path, settings, plugin):
    made = first_level()
    whole = AnalysisSettings(contrasts=("mean=intercept",), formula="1", figures=False)
    group_wf = init_group_wf(settings=whole)
    group_wf.inputs.inputnode.participant_ids = [f"sub-{i}" for i in range(8)]
    group_wf.inputs.inputnode.output_dir = str(tmp_path / "out")
    outputnode = Node(IdentityInterface(fields=["peaks_files", "group_dir"]), name="outputnode")
    study = Workflow("study")
    study.connect(
        [
            (made, group_wf, [("effect", "inputnode.map_files")]),
            (
                group_wf,
                outputnode,
                [(f"outputnode.{f}", f) for f in ("peaks_files", "group_dir")],
            ),
        ]
    )
    result = run_workflow(study, work_dir=tmp_path / "work", plugin=plugin, n_procs=2)
    assert result.outputs["group_dir"] == str(tmp_path / "out" / "group")
    (peaks,) = result.outputs["peaks_files"]
    assert read_table(peaks).loc[0, ["i", "j", "k"]].tolist() == [3, 3, 3]


def test_collect_alone_inside_a_larger_workflow(tmp_path):
    made = first_level()
    collect_wf = init_collect_wf(settings=MapsSettings(smoothing_fwhm_mm=(5.0,)))
    collect_wf.inputs.inputnode.participant_ids = [f"{i:02d}" for i in range(8)]
    shape = Node(
        Function(function=stack_shape, input_names=["path"], output_names=["shape"]), name="shape"
    )
    outputnode = Node(IdentityInterface(fields=["shape"]), name="outputnode")
    study = Workflow("study")
    study.connect(
        [
            (made, collect_wf, [("effect", "inputnode.map_files")]),
            (collect_wf, shape, [("outputnode.stack_file", "path")]),
            (shape, outputnode, [("shape", "shape")]),
        ]
    )
    result = run_workflow(study, work_dir=tmp_path / "work", plugin="Linear")
    assert result.outputs == {"shape": [6, 6, 6, 8]}


def stack_shape(path):
    """Return the shape of an image; runs in a node of its own."""
    import nibabel as nib

    return list(nib.load(path).shape)


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        ({}, None),
        ({"min_coverage": 0.5}, None),
        ({"statistic_scale": "z", "statistics": ("voxel", "tfce")}, None),
        ({"variance_groups": "group"}, "variance groups and smoothed variances"),
        ({"variance_fwhm_mm": 6.0}, "variance groups and smoothed variances"),
        ({"early_stop": 20}, "voxels that stop early"),
    ],
)
def test_regions_are_permuted_or_say_why_they_are_not(chosen, why):
    settings = AnalysisSettings(
        contrasts=("age=age",), formula="age", n_permutations=100, **chosen
    )
    regions = init_group_wf(settings=settings).get_node("report_wf.regions").inputs
    assert regions.n_permutations == (0 if why else 100)
    assert isdefined(regions.notes) == bool(why)
    if why:
        assert why in regions.notes[0]
