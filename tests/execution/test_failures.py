"""What is told of nodes that failed, the record, the version of a work folder."""

import json

import numpy as np
import pytest
from nipype.interfaces.utility import Rename
from nipype.pipeline.engine import Node, Workflow

from nipype_group.execution.done_nodes import finished_markers, forget_spoiled
from nipype_group.execution.failures import (
    NodeFailure,
    cause_in_log,
    cause_of_exit,
    tail_of,
    tell,
)
from nipype_group.execution.nodes import trust
from nipype_group.execution.record import RunRecord, open_jobs, read_record
from nipype_group.execution.work_folder import keep_to_version
from nipype_group.interfaces import DesignMatrix


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2024 DUE TO TIME LIMIT ***",
            "time limit",
        ),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2024 ***", "it was cancelled"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch", "out of memory"),
        ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 3 GiB", "out of memory"),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("/var/spool/job7: line 3: module: command not found", "module: command not found"),
        ("job: line 7:  9 Segmentation fault      (core dumped)", "segmentation fault"),
    ],
)
def test_cause_in_a_log(line, cause):
    assert cause in cause_in_log(["before", line, "after"])


def test_log_without_a_sign():
    assert cause_in_log(["all is well"]) is None
    assert cause_in_log([]) is None


@pytest.mark.parametrize("status", [1, 128, 255, 128 + 100])
def test_exit_status_that_is_no_signal(status):
    assert cause_of_exit(status) == f"ended with exit status {status}"


def test_tail_of_a_long_log(tmp_path):
    path = tmp_path / "log"
    path.write_text("\n".join(f"line {i}\n" for i in range(10000)))
    assert tail_of(path, 2) == ("line 9998", "line 9999")
    assert tail_of(tmp_path / "missing") == ()


def test_many_failures_are_told_shortly():
    failures = [NodeFailure(f"wf.run[{i}]", "no memory") for i in range(100)]
    text = tell(failures)
    assert text.startswith("100 nodes failed: wf.run[0], ")
    assert "wf.run[9] and 90 more\nno memory" in text
    causes = tell([NodeFailure(f"wf.n{i}", f"cause {i}") for i in range(13)])
    assert "cause 9" in causes
    assert "cause 10" not in causes
    assert "and 3 more causes" in causes


def test_record_keeps_what_is_known_of_valid_nodes(tmp_path):
    path = tmp_path / "run.json"
    first = RunRecord(path, "wf", "SLURM", {"max_jobs": 3, "status_callback": object()})
    first.event("wf.a", "start")
    first.job("wf.a", 41)
    # A job is on disk at once: after a kill its number is needed.
    assert open_jobs(read_record(path)) == [41]
    first.host("wf.a", "n1")
    first.event("wf.a", "end")
    first.event("wf.b", "start")
    first.event("wf.b", "exception")
    first.event("wf.b", "end")
    first.end("failed")
    record = read_record(path)
    assert record["arguments"] == {"max_jobs": 3}
    assert record["nodes"]["wf.b"]["state"] == "failed"
    assert open_jobs(record) == []
    second = RunRecord(path, "wf", "SLURM", {}, earlier=record)
    second.event("wf.a", "start")
    second.event("wf.a", "cached")
    second.event("wf.a", "end")
    second.end("done")
    about = read_record(path)["nodes"]["wf.a"]
    assert about == {**record["nodes"]["wf.a"], "state": "cached"}
    assert about["jobs"] == [41]
    assert list(tmp_path.iterdir()) == [path]


def test_record_that_cannot_be_read_is_none(tmp_path):
    assert read_record(tmp_path / "run.json") is None
    (tmp_path / "run.json").write_text("{")
    assert read_record(tmp_path / "run.json") is None
    assert open_jobs(None) == []


def test_folder_of_unknown_version_is_moved_aside_once(tmp_path):
    folder = tmp_path / "wf"
    assert keep_to_version(folder) is None
    assert keep_to_version(folder) is None
    (folder / "nipype_group.json").write_text("no JSON")
    (folder / "node").mkdir()
    moved = keep_to_version(folder)
    assert (moved / "node").is_dir()
    assert moved.name == "wf.of-version-unknown"
    assert [path.name for path in folder.iterdir()] == ["nipype_group.json"]
    # An older one that lies there gives way.
    (folder / "nipype_group.json").unlink()
    (folder / "other").mkdir()
    assert keep_to_version(folder) == moved
    assert (moved / "other").is_dir()
    assert not (moved / "node").exists()


def test_with_another_numpy_the_package_s_own_nodes_run_again(tmp_path):
    folder = tmp_path / "wf"
    workflow = Workflow("wf", base_dir=str(tmp_path))
    table = tmp_path / "table.tsv"
    table.write_text("participant_id\tage\n" + "".join(f"s{i}\t{i % 7}\n" for i in range(9)))
    own = Node(DesignMatrix(observations=str(table), formula="age"), name="own")
    other = Node(Rename(format_string="other.tsv", in_file=str(table)), name="other")
    workflow.add_nodes([own, other])
    trust(workflow)
    keep_to_version(folder)
    workflow.run()
    assert forget_spoiled(folder) == []
    assert keep_to_version(folder) is None
    assert finished_markers(folder / "own")
    marker = folder / "nipype_group.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "numpy": "1.0"}))
    assert keep_to_version(folder) is None
    assert not finished_markers(folder / "own")
    assert finished_markers(folder / "other")
    assert json.loads(marker.read_text())["numpy"] == np.__version__


def test_folder_of_another_nipype_is_moved_aside(tmp_path):
    folder = tmp_path / "wf"
    keep_to_version(folder)
    marker = folder / "nipype_group.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "nipype": "1.0"}))
    assert keep_to_version(folder) is not None
