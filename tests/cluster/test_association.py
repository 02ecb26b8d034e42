"""The association analysis as jobs of a real Slurm and a real Grid Engine."""

import json
from dataclasses import replace

import pytest

from nipype_group.data.generate import generate
from nipype_group.execution import run_workflow
from nipype_group.workflows import init_group_wf
from nipype_group.workflows.analyses import ANALYSES


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return generate("association", tmp_path_factory.mktemp("study") / "data")


@pytest.fixture(scope="module")
def analyse(data, tmp_path_factory):
    """Return a function that runs the analysis; gives the folder group and the record."""

    def run(plugin):
        analysis = ANALYSES["association"]
        settings = replace(
            analysis.settings,
            n_permutations=800,
            n_shards=1 if plugin == "Linear" else 8,
            height_controls=("fdr",),
            atlases=("aal",),
            regions=False,
            figures=False,
        )
        folder = tmp_path_factory.mktemp(plugin)
        workflow = init_group_wf(settings=settings)
        workflow.inputs.inputnode.trait_set(
            output_dir=str(folder), bids_dir=str(data), select=list(analysis.select)
        )
        result = run_workflow(
            workflow,
            work_dir=tmp_path_factory.mktemp(f"work-{plugin}"),
            plugin=plugin,
            poll_seconds=0.5,
        )
        return folder / "group", json.loads(result.record.read_text())

    return run


@pytest.fixture(scope="module")
def expected(analyse):
    return contents(analyse("Linear")[0])


def contents(group):
    return {p.relative_to(group).as_posix(): p.read_bytes() for p in group.rglob("*.*")}


@pytest.mark.parametrize("plugin", ["SLURM", "SGE"])
@pytest.mark.usefixtures("scheduler")
def test_jobs_give_the_same_bits(plugin, analyse, expected):
    """Eight shards, a job each, give every file of one shard in this process."""
    group, record = analyse(plugin)
    found = contents(group)
    assert set(found) == set(expected)
    assert {name for name in found if found[name] != expected[name]} == set()
    assert sum(name.endswith(".nii.gz") for name in found) >= 10
    shards = {name: node for name, node in record["nodes"].items() if ".run[" in name}
    assert len(shards) == 8
    jobs = [job for node in shards.values() for job in node["jobs"]]
    assert len(set(jobs)) == len(jobs) == 8
