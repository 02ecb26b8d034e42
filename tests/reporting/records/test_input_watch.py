"""Inputs that change after they were recorded, in every way a file can change."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nipype_group.images import checksums as images_module
from nipype_group.reporting.records import inputs as inputs_module
from nipype_group.reporting.records import watch as watch_module
from nipype_group.reporting.records.inputs import UnsteadyFileError
from nipype_group.reporting.records.watch import InputsChangedError, InputWatch


def old(path, seconds=100):
    """Date a file back: most inputs are older than a run."""
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture
def study(small_study, write_map, tmp_path):
    """Return the inputs of a run of each kind, by role."""
    atlas = write_map("atlas/halves.nii.gz", np.ones((9, 10, 8), np.uint8))
    (tmp_path / "atlas" / "halves.csv").write_text("index,name\n1,one\n")
    files = {"bids_dir": str(small_study), "select": ["stat=effect"]}
    for role in ("mask_file", "search_volume"):
        files[role] = str(write_map(f"{role}.nii.gz", np.ones((9, 10, 8), np.uint8)))
    for role in ("design_table", "shuffles_file", "blocks"):
        path = tmp_path / f"{role}.tsv"
        path.write_text("1\t2\n")
        files[role] = str(path)
    blocks = (files.pop("blocks"),)
    installed = {"brain": write_map("brain.nii.gz", np.ones((3, 3, 3), np.uint8))}
    for path in tmp_path.rglob("*.*"):
        old(path)
    return {"blocks": blocks, "atlases": (str(atlas),), "installed": installed}, files


@pytest.fixture
def watch(study, monkeypatch):
    """Return the watch of these inputs, as of a file system whose files have come to rest."""
    others, files = study
    later = time.time_ns() + 2 * images_module.LONGEST_TICK_NS
    monkeypatch.setattr(watch_module.time, "time_ns", lambda: later)
    return InputWatch.start(files, **others)


def rewritten(path):
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def rewritten_in_its_time(path):
    then = path.stat()
    rewritten(path)
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))


def replaced(path):
    beside = path.with_name("beside")
    beside.write_bytes(path.read_bytes() + b"more")
    beside.replace(path)


def removed(path):
    path.unlink()


def changed_and_back(path):
    kept = path.with_name("kept")
    shutil.copy2(path, kept)
    rewritten(path)
    shutil.copy2(kept, path)
    kept.unlink()


def linked_to_another(path):
    kept = path.with_name("kept-elsewhere")
    path.rename(kept)
    shutil.copy2(kept, kept.with_name("another"))
    path.symlink_to(kept.with_name("another"))


ROLES = (
    "map",
    "participants",
    "mask_file",
    "search_volume",
    "design_table",
    "shuffles_file",
    "blocks",
    "atlas 1",
    "installed atlas",
)
CHANGES = (
    rewritten,
    rewritten_in_its_time,
    replaced,
    removed,
    changed_and_back,
    linked_to_another,
)


def test_unchanged_inputs_pass_and_are_not_read_again(watch, monkeypatch):
    assert {i.role for i in (*watch.inputs, *watch.installed)} == set(ROLES)
    monkeypatch.setattr(watch_module, "file_sha256", lambda path: pytest.fail(f"{path} is read"))
    watch.check()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("role", ROLES)
def test_every_change_of_every_input_is_told(watch, tmp_path, role, change):
    paths = [i.path for i in (*watch.inputs, *watch.installed) if i.role == role]
    change(paths[-1])
    written = tmp_path / "watch.json"
    watch.write(written)
    for each in (watch, InputWatch.read(written)):
        with pytest.raises(InputsChangedError) as caught:
            each.check()
        text = str(caught.value)
        assert str(paths[-1]) in text
        assert "\n" not in text
        assert not [p for p in paths[:-1] if str(p) in text]


@pytest.mark.parametrize("name", ["sub-13/sub-13_stat-effect_statmap.nii.gz", "atlas beside"])
def test_what_comes_to_the_inputs_is_a_change(watch, study, name):
    _, files = study
    if name == "atlas beside":
        path = Path(files["bids_dir"]).parent / "atlas" / "halves.csv"
        path.unlink()
        path = path.with_suffix(".tsv")
        path.write_text("index\tname\n1\tother\n")
    else:
        path = Path(files["bids_dir"], name)
        path.parent.mkdir()
        shutil.copy(watch.inputs[0].path, path)
    with pytest.raises(InputsChangedError, match=path.name):
        watch.check()


def test_a_participants_table_that_comes_is_a_change(small_study):
    table = small_study / "participants.tsv"
    text = table.read_text()
    table.unlink()
    watch = InputWatch.start({"bids_dir": str(small_study), "select": ["stat=effect"]})
    watch.check()
    table.write_text(text)
    with pytest.raises(InputsChangedError, match=r"participants\.tsv \(participants\) is new"):
        watch.check()


def test_a_change_within_a_tick_of_the_clock_is_seen(study, monkeypatch):
    others, files = study
    watch = InputWatch.start(files, **others)
    item = watch.inputs[0]
    rewritten(item.path)
    # As where both were written in one tick.
    state = images_module.file_state(item.path)
    for i in watch.inputs:
        object.__setattr__(i, "state", images_module.file_state(i.path))
    assert watch.inputs[0].state == state
    with pytest.raises(InputsChangedError, match="has another content"):
        watch.check()


def test_a_file_that_is_written_to_while_it_is_read(small_study, monkeypatch):
    real = inputs_module.content_sha256

    def while_written(path):
        sha256 = real(path)
        rewritten(Path(path))
        return sha256

    monkeypatch.setattr(inputs_module, "content_sha256", while_written)
    with pytest.raises(UnsteadyFileError, match="changes while it is read"):
        InputWatch.start({"bids_dir": str(small_study), "select": ["stat=effect"]})


def test_what_could_not_be_listed_at_the_start(small_study):
    files = {"bids_dir": str(small_study), "select": ["stat=other"]}
    watch = InputWatch.start(files)
    # The run fails for it and says so.
    watch.check()
    path = small_study / "sub-01" / "sub-01_stat-other_statmap.nii.gz"
    shutil.copy(next(small_study.rglob("*.nii.gz")), path)
    with pytest.raises(InputsChangedError, match="could not be found at its start"):
        watch.check()


def test_a_map_that_could_not_be_read_and_can_now(small_study):
    path = small_study / "sub-01" / "sub-01_task-rest_space-MNI_stat-effect_statmap.nii.gz"
    kept = path.with_name("kept")
    path.rename(kept)
    path.symlink_to("nowhere")
    watch = InputWatch.start({"bids_dir": str(small_study), "select": ["stat=effect"]})
    assert watch.unreadable == [path]
    assert len([i for i in watch.inputs if i.role == "map"]) == 11
    watch.check()
    path.unlink()
    kept.rename(path)
    with pytest.raises(InputsChangedError, match="is new"):
        watch.check()


def test_maps_that_were_read_with_another_content(watch, tmp_path):
    maps = [i for i in watch.inputs if i.role == "map"]
    table = pd.DataFrame({"map": [i.name for i in maps], "sha256": [i.sha256 for i in maps]})
    path = tmp_path / "observations.tsv"
    table.to_csv(path, sep="\t", index=False)
    watch.check_read(path)
    table.loc[2, "sha256"] = "0" * 64
    table.to_csv(path, sep="\t", index=False)
    with pytest.raises(InputsChangedError, match=rf"changed .*: {maps[2].name} \(map\) had"):
        watch.check_read(path)


def test_many_changes_are_named_in_one_line(watch):
    for item in watch.inputs:
        removed(item.path)
    with pytest.raises(InputsChangedError, match=r"; and \d+ more\. No results") as caught:
        watch.check()
    assert "\n" not in str(caught.value)


def test_elsewhere_inodes_may_be_counted_otherwise(watch, monkeypatch):
    monkeypatch.setattr(watch_module.platform, "node", lambda: "another machine")
    item = watch.inputs[0]
    moved = item.path.with_name("moved")
    shutil.copy2(item.path, moved)
    moved.replace(item.path)
    watch.check()
    rewritten(item.path)
    with pytest.raises(InputsChangedError, match="has another content"):
        watch.check()


def test_a_checksum_is_of_the_state_a_file_is_in(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("one")
    later = time.time_ns() + 2 * images_module.LONGEST_TICK_NS
    monkeypatch.setattr(images_module.time, "time_ns", lambda: later)
    first = images_module.content_sha256(path)
    rewritten_in_its_time(path)
    second = images_module.content_sha256(path)
    assert second == images_module.file_sha256(path) != first
    monkeypatch.setattr(images_module, "file_sha256", lambda path: pytest.fail("read again"))
    assert images_module.content_sha256(path) == second
