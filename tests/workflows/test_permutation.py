"""init_permutation_wf: plugins, shards, memory and threads, and runs that extend earlier ones."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.execution import run_workflow
from nipype_group.interfaces import (
    CollectMaps,
    ContrastSet,
    DesignMatrix,
    GroupMask,
    StackMaps,
)
from nipype_group.permutation import plan as plan_module
from nipype_group.settings import ShuffledSettings
from nipype_group.workflows import init_permutation_wf
from nipype_group.workflows.permutation import MERGE_OUTPUTS

CONTRASTS = ["age=age", "mean=intercept", "both=age; patient - control"]
ALL = {"statistics": ("voxel", "extent", "mass", "tfce"), "cluster_forming_z": 1.5}
NO_FILES = ("contrast_names", "statistics", "threshold_stats")


@pytest.fixture
def inputs(small_study, tmp_path, monkeypatch):
    """Run the stages before permutation; returns the inputs of the workflow."""
    (tmp_path / "stages").mkdir()
    monkeypatch.chdir(tmp_path / "stages")
    collect = CollectMaps(bids_dir=str(small_study), select=["stat=effect"]).run().outputs
    mask = GroupMask(map_files=collect.map_files).run().outputs
    stack = StackMaps(map_files=collect.map_files, mask_file=mask.mask_file).run().outputs
    design = DesignMatrix(observations=collect.observations, formula="age + C(group)")
    design = design.run().outputs
    files = {"design_file": design.design_file, "design_json": design.design_json}
    made = ContrastSet(contrasts=CONTRASTS, **files).run().outputs
    return {
        **files,
        "contrasts_file": made.contrasts_file,
        "stack_file": stack.stack_file,
        "mask_file": mask.mask_file,
        "observations": collect.observations,
    }


@pytest.fixture
def permute(inputs, tmp_path):
    """Return a function that runs the workflow; gives its outputs."""

    def run(work, *, plugin="Linear", **options):
        workflow = init_permutation_wf(settings=ShuffledSettings(**options))
        workflow.inputs.inputnode.trait_set(**inputs)
        return run_workflow(workflow, work_dir=tmp_path / work, plugin=plugin, n_procs=2).outputs

    return run


def contents(outputs):
    """Return the bytes of all files by output and name, and the outputs that are no files."""
    found = {name: outputs[name] for name in NO_FILES}
    for name in (*MERGE_OUTPUTS, "scheme_file"):
        if name not in NO_FILES and name in outputs:
            files = outputs[name] if isinstance(outputs[name], list) else [outputs[name]]
            found |= {(name, Path(p).name): Path(p).read_bytes() for p in files}
    return found


def executed(work):
    """Return the time at which every node and item of a MapNode wrote its result."""
    return {p.parent.name: p.stat().st_mtime_ns for p in Path(work).rglob("result_*.pklz")}


def ran_again(before, after):
    return {name for name in after if after[name] != before.get(name)}


def test_plugins_shards_threads_and_memory_change_no_byte(permute):
    options = {
        "n_permutations": 40,
        "seed": 2,
        "tdp_template": "simes",
        "ari_thresholds_z": (3.0,),
        **ALL,
    }
    expected = contents(permute("one", n_shards=1, **options))
    assert {key[0] for key in expected if isinstance(key, tuple)} >= {
        "nulldist_files",
        "summary_files",
        "template_files",
        "tfce_logp_fdr_files",
    }
    assert expected["contrast_names"] == ["age", "mean", "both"] * 4
    ways = {
        "multi": {"n_shards": 3, "plugin": "MultiProc", "n_procs": 2},
        "many": {"n_shards": 16, "memory_gb": 1e-9},
    }
    for work, way in ways.items():
        found = contents(permute(work, **options, **way))
        assert set(found) == set(expected)
        assert [key for key in found if found[key] != expected[key]] == []


def test_larger_number_computes_new_shards_alone(permute, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "SHARD_SIZE_OF_MAPS", 20)
    options = {"seed": 5, **ALL}
    few = permute("work", n_permutations=40, **options)
    first = pd.read_csv(few["nulldist_files"][0], sep="\t")
    before = executed(tmp_path / "work")
    # Two families, permuted and flipped, of two shards each.
    assert {f"_run{i}" for i in range(4)} <= set(before)
    assert "_run4" not in before
    more = permute("work", n_permutations=120, **options)
    again = ran_again(before, executed(tmp_path / "work"))
    assert {name for name in again if name.startswith("_run")} == {
        f"_run{i}" for i in range(4, 12)
    }
    at_once = permute("fresh", n_permutations=120, **options)
    assert contents(more) == contents(at_once)
    extended = pd.read_csv(more["nulldist_files"][0], sep="\t")
    assert len(extended) == 121
    pd.testing.assert_frame_equal(first, extended.iloc[:41], check_exact=True)


def test_settings_that_change_no_shuffle_run_no_shard(permute, tmp_path):
    permute("work", n_permutations=120, n_shards=2, **ALL)
    before = executed(tmp_path / "work")
    changed = {"alpha": 0.2, "p_approximation": "gamma", "n_procs": 2, "memory_gb": 0.5}
    outputs = permute("work", n_permutations=120, n_shards=2, **ALL, **changed)
    assert ran_again(before, executed(tmp_path / "work")) <= {"plan", "merge"}
    about = json.loads(Path(outputs["summary_files"][0]).read_text())
    assert (about["Alpha"], about["Approximation"]["Method"]) == (0.2, "gamma")


def test_changed_file_of_blocks_is_another_plan(permute, inputs, tmp_path):
    path = tmp_path / "eb.txt"
    contrasts = json.loads(Path(inputs["contrasts_file"]).read_text())
    contrasts["Contrasts"] = [c for c in contrasts["Contrasts"] if c["Name"] == "age"]
    Path(inputs["contrasts_file"]).write_text(json.dumps(contrasts))
    nulls = []
    for text in ("1\n" * 12, "1\n2\n" * 6):
        path.write_text(text)
        outputs = permute("work", n_permutations=30, blocks=(str(path),))
        (nulldist,) = np.atleast_1d(outputs["nulldist_files"]).tolist()
        nulls.append(pd.read_csv(nulldist, sep="\t")["voxel_positive"])
    assert nulls[0][0] == nulls[1][0]
    assert (nulls[0][1:] != nulls[1][1:]).any()


def test_optional_outputs_are_undefined_without_their_options(permute):
    outputs = permute("work", n_permutations=20)
    assert outputs["statistics"] == ["voxel"] * 3
    undefined = {"tfce_files", "tfce_logp_unc_files", "tfce_logp_fdr_files", "template_files"}
    assert undefined & set(outputs) == set()
    t = np.asarray(nib.load(outputs["stat_files"][0]).dataobj)
    assert np.unravel_index(np.abs(t).argmax(), t.shape) == (4, 5, 3)
