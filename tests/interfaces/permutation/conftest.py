"""Fixtures that plan, run and merge permutations."""

import sys
from pathlib import Path

import numpy as np
import pytest

from nipype_group.interfaces import MergePermutations, PlanPermutations, RunPermutations

sys.path.insert(0, str(Path(__file__).parent))

from permutation_outputs import write_study


@pytest.fixture
def permute(tmp_path, monkeypatch):
    """Return a function that plans, runs and merges in a folder of its own."""

    def permuted(
        ran,
        name="p",
        keep=lambda shards: shards,
        alpha=0.05,
        num_threads=1,
        merge=None,
        run=None,
        **plan_inputs,
    ):
        def at(*parts):
            folder = tmp_path.joinpath(name, *parts)
            folder.mkdir(parents=True)
            monkeypatch.chdir(folder)

        at("plan")
        plan = PlanPermutations(
            contrasts_file=ran.contrasts.contrasts_file,
            observations=ran.collect.observations,
            stack_file=ran.stack.stack_file,
            mask_file=ran.mask.mask_file,
            **ran.design_files,
            **plan_inputs,
        )
        given = {k: v for k, v in plan_inputs.items() if k == "shuffles_file"}
        plan = plan.run().outputs
        shards = []
        spans = zip(
            plan.families,
            plan.firsts,
            plan.lasts,
            plan.first_voxels,
            plan.last_voxels,
            strict=True,
        )
        for number, (family, first, last, first_voxel, last_voxel) in enumerate(spans):
            at("run", str(number))
            shard = RunPermutations(
                scheme_file=plan.scheme_file,
                stack_file=ran.stack.stack_file,
                mask_file=ran.mask.mask_file,
                family=family,
                first=first,
                last=last,
                num_threads=num_threads,
                **ran.design_files,
                **given,
                **({"first_voxel": first_voxel, "last_voxel": last_voxel} | (run or {})),
            )
            shards.append(shard.run().outputs.shard_file)
        at("merge")
        merged = MergePermutations(
            plan_file=plan.plan_file,
            scheme_file=plan.scheme_file,
            shard_files=keep(shards),
            mask_file=ran.mask.mask_file,
            alpha=alpha,
            **ran.design_files,
            **given,
            **(merge or {}),
        )
        return plan, merged.run().outputs

    return permuted


@pytest.fixture
def box_study(write_map, tmp_path):
    """Write six maps of 4 x 5 x 3 voxels in three groups, so few that all shuffles are seen."""
    rows = [
        {"participant_id": f"sub-{i}", "site": "abc"[i // 2], "shape": (4, 5, 3)} for i in range(6)
    ]
    name = "{participant_id}/{participant_id}_stat-effect_statmap.nii.gz"
    return write_study(write_map, tmp_path / "box", rows, name, planted=np.arange(6) * 2.0)


@pytest.fixture
def paired_study(write_map, tmp_path):
    """Write two maps of each of eight participants: task b is higher at one voxel."""
    rows = [
        {"participant_id": f"sub-{i}", "task": task, "age": 20 + 3 * i + i % 3, "sex": "FM"[i % 2]}
        for i in range(8)
        for task in "ab"
    ]
    planted = [20.0 * (row["task"] == "b") for row in rows]
    name = "{participant_id}/{participant_id}_task-{task}_stat-effect_statmap.nii.gz"
    return write_study(write_map, tmp_path / "paired", rows, name, planted=planted)


SEVERAL = ["age=age", "mean=intercept", "both=age; patient - control"]


@pytest.fixture
def several(stages):
    """Run the stages of contrasts that are shuffled differently: permuted, flipped, F."""
    return stages("age + C(group)", SEVERAL)
