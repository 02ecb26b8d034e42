"""Work and results folders that are deleted or replaced while a run goes on."""

import errno
import os
import shutil

import pytest

from nipype_group.interfaces import EstimateContrasts


def deleted(folder, elsewhere):
    shutil.rmtree(folder)


def a_file(folder, elsewhere):
    shutil.rmtree(folder)
    folder.write_text("a file")


def a_link(folder, elsewhere):
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(elsewhere)


def an_empty_folder(folder, elsewhere):
    shutil.rmtree(folder)
    folder.mkdir()


def a_dangling_link(folder, elsewhere):
    shutil.rmtree(folder)
    folder.symlink_to(elsewhere / "nowhere")


HOW = (deleted, a_file, a_link, an_empty_folder, a_dangling_link)


@pytest.mark.parametrize("how", HOW, ids=lambda f: f.__name__)
@pytest.mark.parametrize("which", ["work", "out"])
@pytest.mark.parametrize("plugin", ["Linear", "MultiProc"])
def test_a_folder_that_is_lost_is_named_in_one_line(
    analyse, monkeypatch, tmp_path, plugin, which, how
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = EstimateContrasts._run_interface

    def lose(self, runtime):
        how(tmp_path / which, elsewhere)
        return run(self, runtime)

    monkeypatch.setattr(EstimateContrasts, "_run_interface", lose)
    options = ("--plugin", plugin, "--work-dir", tmp_path / "work")
    code, out, err = analyse(*options)
    assert code == 1, out + err
    # After the progress bar.
    said = err.rpartition("\r")[2].strip().split("\n")
    assert len(said) == 1, err
    assert f"folder {tmp_path / which} " in said[0]
    assert "while the run went on" in said[0]
    for text in (out, err):
        assert "Traceback" not in text
        assert "unforeseen" not in text


@pytest.mark.parametrize(
    "step",
    [
        "nipype_group.execution.lock.json.dump",
        "nipype_group.execution.work_folder.json.dumps",
        "nipype_group.cli.origin.standing_files",
    ],
)
def test_a_disk_that_is_full_before_the_first_node_is_told_with_the_folder(
    analyse, monkeypatch, tmp_path, step
):
    def no_space(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(step, no_space)
    code, _, err = analyse()
    assert code == 1
    (said,) = err.rpartition("\r")[2].strip().splitlines()
    assert "No space left" in said
    assert str(tmp_path / "out") in said
