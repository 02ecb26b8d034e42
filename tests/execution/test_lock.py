"""A folder that one run at a time uses."""

import json
import os
import subprocess
import sys
import time

import pytest

from nipype_group.execution import FolderInUseError, FolderLock
from nipype_group.execution import lock as lock_module
from nipype_group.execution.lock import LOCK_NAME, FolderLostError


def owner(folder):
    return json.loads((folder / LOCK_NAME).read_text())


def test_second_run_is_kept_out_and_told_of_the_first(tmp_path):
    with FolderLock(tmp_path / "new", "output folder"):
        with pytest.raises(FolderInUseError) as caught, FolderLock(tmp_path / "new", "x"):
            pass
        with pytest.raises(FolderInUseError, match="the output folder"):
            FolderLock(tmp_path / "new", "output folder").__enter__()
        assert f"process {os.getpid()} on " in str(caught.value)
    assert list((tmp_path / "new").iterdir()) == []
    with FolderLock(tmp_path / "new"):
        assert owner(tmp_path / "new")["pid"] == os.getpid()


def test_lock_is_released_by_an_error(tmp_path):
    with pytest.raises(ValueError, match="inside"), FolderLock(tmp_path):
        raise ValueError("inside")
    assert list(tmp_path.iterdir()) == []


def leave(folder, **changes):
    """Leave a lock as a killed run does."""
    lock = FolderLock(folder)
    lock._create()
    path = folder / LOCK_NAME
    path.write_text(json.dumps({**owner(folder), **changes}))
    return path


def test_lock_of_a_dead_process_is_taken_over(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    leave(tmp_path, pid=dead.pid)
    with FolderLock(tmp_path):
        assert owner(tmp_path)["pid"] == os.getpid()


def test_process_of_the_same_number_but_another_start_is_another(tmp_path):
    leave(tmp_path, process_start="1")
    with FolderLock(tmp_path):
        pass


@pytest.mark.parametrize("changes", [{"process_space": ["elsewhere"]}, {"process_start": None}])
def test_elsewhere_the_heartbeat_tells(tmp_path, changes):
    path = leave(tmp_path, **changes)
    with pytest.raises(FolderInUseError), FolderLock(tmp_path):
        pass
    assert json.loads(path.read_text())["pid"] == os.getpid()
    old = time.time() - lock_module.STALE_SECONDS - 5
    os.utime(path, (old, old))
    with FolderLock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_lock_is_never_there_without_its_owner(tmp_path, monkeypatch):
    written, dump = [], json.dump

    def look(about, file):
        assert not (tmp_path / LOCK_NAME).exists()
        written.append(about)
        dump(about, file)

    monkeypatch.setattr(lock_module.json, "dump", look)
    with FolderLock(tmp_path):
        assert owner(tmp_path) == written[0]
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]


def test_lock_works_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("no links on this disk")

    monkeypatch.setattr(lock_module.os, "link", refuse)
    with FolderLock(tmp_path), pytest.raises(FolderInUseError), FolderLock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_link_whose_answer_was_lost_is_ours(tmp_path, monkeypatch):
    link = os.link

    def lose(*paths):
        link(*paths)
        raise FileExistsError("answer lost, asked again")

    monkeypatch.setattr(lock_module.os, "link", lose)
    with FolderLock(tmp_path):
        assert owner(tmp_path)["pid"] == os.getpid()


def test_half_written_lock_holds_until_its_heartbeat_stops(tmp_path):
    path = tmp_path / LOCK_NAME
    path.write_text("{")
    with pytest.raises(FolderInUseError), FolderLock(tmp_path):
        pass
    os.utime(path, (0, 0))
    with FolderLock(tmp_path):
        pass


def test_heart_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.01)
    with FolderLock(tmp_path):
        path = tmp_path / LOCK_NAME
        os.utime(path, (0, 0))
        end = time.monotonic() + 10
        while path.stat().st_mtime < 1:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_lock_of_another_run_is_not_removed(tmp_path):
    first = FolderLock(tmp_path)
    first.__enter__()
    stale = owner(tmp_path)
    path = tmp_path / LOCK_NAME
    path.write_text(json.dumps({**stale, "token": "another"}))
    # One that saw the stale lock just before another run took it over.
    FolderLock(tmp_path)._remove(stale)
    assert owner(tmp_path)["token"] == "another"
    with pytest.raises(FolderLostError, match="was replaced, or its lock"):
        first.__exit__(None, None, None)
    assert owner(tmp_path)["token"] == "another"


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    with pytest.raises(FolderLostError) as caught, FolderLock(tmp_path, "work folder") as lock:
        lock.check()
        # Permissions do not hold for root.
        monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
        raise OSError("no space")
    assert str(caught.value).startswith(f"the work folder {tmp_path} can no longer be written to")
    assert "no space" in str(caught.value.__cause__)
