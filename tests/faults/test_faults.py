"""Runs that are disturbed end well: quick forms of what kills.py does at length."""

import importlib.util
import json
import os
import random
import sys
from pathlib import Path

import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow

from nipype_group.execution import FolderLock, WorkflowError, run_workflow
from nipype_group.execution.lock import LOCK_NAME
from nipype_group.execution.record import RunRecord
from nipype_group.reporting.derivatives.folder import DerivativeFolder, check_output_dir

SCRIPT = Path(__file__).with_name("kills.py")
STORED = Path(__file__).parents[2] / "docs" / "faults.json"

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")


@pytest.fixture(scope="module")
def kills():
    spec = importlib.util.spec_from_file_location("kills", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    # Its dataclass looks itself up among the modules.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def analysis(kills, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    return kills.Analysis(kills.write_study(folder / "study"), 200, 4, "voxel")


@pytest.fixture
def small_disks(kills):
    if not kills.can_mount():
        pytest.skip("file systems cannot be mounted here")


def test_killed_run_goes_on_to_equal_results(kills, analysis):
    assert kills.killed_at_random(analysis, random.Random(5), times=1)["times"] == 1


def test_map_deleted_between_two_nodes_is_named(kills, analysis):
    kills.deleted_map(analysis, random.Random(5))


@pytest.mark.usefixtures("small_disks")
def test_full_disk_is_told_and_the_run_goes_on_with_more_room(kills, analysis):
    kills.full_disk(analysis, random.Random(5), sizes=(0.4,))


@pytest.mark.usefixtures("small_disks")
def test_read_only_output_is_told_before_anything_is_computed(kills, analysis):
    kills.read_only(analysis, random.Random(5))


def test_check_finds_half_written_results(kills, tmp_path):
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "a.tsv").write_text("x\n")
    expected = kills.results(tmp_path)
    kills.check_whole(tmp_path, expected)
    (tmp_path / "group" / "a.tsv").write_text("")
    with pytest.raises(AssertionError, match="half-written"):
        kills.check_whole(tmp_path, expected)
    (tmp_path / "group" / "a.tsv").unlink()
    kills.check_whole(tmp_path, expected)


def no_space(*_, **__):
    """Fail as on a full disk."""
    import errno
    import os

    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_lock_that_a_full_disk_cannot_hold_is_not_left(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("nipype_group.execution.lock.json.dump", no_space)
        with pytest.raises(OSError, match="No space left"), FolderLock(tmp_path):
            pass
    assert not (tmp_path / LOCK_NAME).exists()
    with FolderLock(tmp_path):
        assert (tmp_path / LOCK_NAME).exists()


def test_record_on_a_full_disk_stops_no_run_but_jobs_are_not_forgotten(tmp_path, monkeypatch):
    record = RunRecord(tmp_path / "run.json", "wf", "Linear", {})
    monkeypatch.setattr(Path, "replace", no_space)
    record.event("wf.a", "exception")
    record.end("failed")
    with pytest.raises(OSError, match="No space left"):
        record.job("wf.a", 1)


def test_node_is_named_where_a_full_disk_holds_no_crash_file(tmp_path, monkeypatch):
    workflow = Workflow("wf")
    workflow.add_nodes([Node(Function(function=no_space), name="writes")])
    monkeypatch.setattr("nipype.pipeline.plugins.base.report_crash", no_space)
    with pytest.raises(WorkflowError, match=r"node wf.writes failed: .*No space left"):
        run_workflow(workflow, work_dir=tmp_path, n_procs=1)


class Steps:
    """Lets some calls happen, then no more."""

    left = 1000

    def counted(self, function):
        def call(*arguments, **named):
            if not self.left:
                no_space()
            self.left -= 1
            return function(*arguments, **named)

        return call


@pytest.mark.parametrize("earlier", [False, True])
def test_results_are_never_without_the_word_whose_they_are(tmp_path, monkeypatch, earlier):
    def publish():
        with DerivativeFolder(tmp_path, {}) as folder:
            folder.add_text("new", "excluded.tsv")
            folder.publish()

    if earlier:
        publish()
    steps = Steps()
    opened, writes = os.open, steps.counted(os.open)
    monkeypatch.setattr(
        os,
        "open",
        lambda path, flags, *more, **named: (writes if flags & os.O_WRONLY else opened)(
            path, flags, *more, **named
        ),
    )
    for name in ("rename", "replace"):
        monkeypatch.setattr(Path, name, steps.counted(getattr(Path, name)))
    # Stopped before each step on the way, then not at all; the next run is never refused.
    for last in range(50):
        steps.left = last
        try:
            publish()
        except OSError:
            check_output_dir(tmp_path)
        else:
            break
    assert 5 < last < 49
    assert (tmp_path / "group" / "excluded.tsv").read_text() == "new"
    assert not list(tmp_path.glob(".group*"))


def test_stored_trials_are_all_and_as_many_as_are_told(kills):
    rows = {row["fault"]: row for row in json.loads(STORED.read_text())["rows"]}
    assert list(rows) == list(kills.FAULTS)
    assert rows["parent killed"]["times"] >= 10
    assert rows["20 kills in one run"]["times"] == 20
