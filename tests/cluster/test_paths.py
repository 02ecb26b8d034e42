"""Jobs of a real Slurm and a real Grid Engine in folders whose names are taken for code."""

import os
from pathlib import Path

import pytest
from nipype.interfaces.utility import Function, IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from nipype_group.execution import WorkflowError, run_workflow

pytestmark = pytest.mark.usefixtures("scheduler")
ALL = pytest.mark.parametrize("plugin", ["SLURM", "SGE", "SLURMGraph", "SGEGraph"])


def about(folder, lucky):
    """Return the current folder's entries and the job; an unlucky one fails."""
    import os
    from pathlib import Path

    print("the log tells")
    if not lucky:
        os._exit(3)
    job = int(os.environ.get("SLURM_JOB_ID") or os.environ["JOB_ID"])
    return [path.name for path in Path(folder).iterdir()], job


def run(plugin, folder, work_dir, lucky=True):
    workflow = Workflow("wf")
    node = Node(Function(function=about, output_names=["names", "job"]), name="only", mem_gb=0.2)
    node.inputs.trait_set(folder=str(folder), lucky=lucky)
    outputnode = Node(IdentityInterface(fields=["names", "job"]), name="outputnode")
    workflow.connect([(node, outputnode, [("names", "names"), ("job", "job")])])
    return run_workflow(
        workflow,
        work_dir=work_dir,
        plugin=plugin,
        plugin_args={"job_finished_timeout": 5, "max_tries": 0},
        poll_seconds=0.2,
    )


@ALL
def test_hostile_folders(plugin, hostile_name, tmp_path, monkeypatch):
    """The work folder, the current folder and one that a node reads have the name."""
    top = tmp_path / hostile_name
    top.mkdir()
    (top / "data").mkdir()
    (top / "data" / hostile_name).touch()
    work = top / "work"
    one_line = "\n" not in hostile_name
    monkeypatch.chdir(top if one_line else tmp_path)
    if plugin.startswith("SGE") and not (one_line and "$HOME" not in hostile_name):
        with pytest.raises(ValueError, match="Grid Engine cannot take the path of the") as caught:
            run(plugin, top / "data", work)
        assert len(str(caught.value).splitlines()) == 1
        assert not work.exists()
        monkeypatch.chdir(tmp_path)
        work = tmp_path / "work"
    result = run(plugin, top / "data", work)
    assert result.outputs["names"] == [hostile_name]
    # It ran as a job, whose log is where this package looks for it.
    assert result.outputs["job"] > 0
    (log,) = (work / "wf" / "batch").glob("*.log")
    assert "the log tells" in log.read_text()
    assert not list(tmp_path.rglob("canary*"))
    assert not Path(os.environ["HOME"], "canary").exists()


@pytest.mark.parametrize("plugin", ["SLURM", "SGE"])
@pytest.mark.parametrize("name", ["100%j", "back\\slash", "10:00, b", "JobState=FAILED "])
def test_a_death_is_explained_from_the_log(plugin, name, tmp_path):
    work = tmp_path / name
    with pytest.raises(WorkflowError, match="ended with exit status 3") as caught:
        run(plugin, tmp_path, work, lucky=False)
    (failure,) = caught.value.failures
    assert Path(failure.log).parent == work / "wf" / "batch"
    assert Path(failure.log).exists()
