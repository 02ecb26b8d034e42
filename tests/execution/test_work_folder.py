"""Which work folders are used, and which are left alone."""

import json
import os
import pickle
import shutil
import stat
from pathlib import Path

import nipype.pipeline.engine as pe
import pytest
from nipype.interfaces.utility import Function, IdentityInterface

from nipype_group.design.folders import WORK_MARK
from nipype_group.execution import run_workflow
from nipype_group.execution.work_folder import claim_work_folder

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def made(tmp_path):
    """Return a work folder of ours with something in it."""
    folder = claim_work_folder(tmp_path / "made")
    (folder / "something").write_text("of a run")
    return folder


def test_a_new_one_is_this_user_s_alone(tmp_path):
    folder = claim_work_folder(tmp_path / "below" / "work")
    assert folder == tmp_path / "below" / "work"
    assert mode(folder) == 0o700
    assert [path.name for path in folder.iterdir()] == [WORK_MARK]
    assert [path.name for path in folder.parent.iterdir()] == ["work"]
    assert claim_work_folder(folder) == folder


def test_an_empty_one_is_taken_with_the_mode_it_has(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir(mode=0o750)
    assert claim_work_folder(folder) == folder
    assert mode(folder) == 0o750
    assert claim_work_folder(folder) == folder


def test_a_link_of_one_s_own_is_followed(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "work").symlink_to(tmp_path / "scratch")
    assert claim_work_folder(tmp_path / "work") == tmp_path / "work"
    assert (tmp_path / "scratch" / WORK_MARK).exists()
    assert claim_work_folder(tmp_path / "work") == tmp_path / "work"


def unmarked(made):
    (made / WORK_MARK).unlink()
    return made


def copied(made):
    return shutil.copytree(made, made.with_name("copied"))


def moved(made):
    return made.rename(made.with_name("moved"))


def forged(made):
    """Give the mark of another place the words of this one."""
    folder = shutil.copytree(made, made.with_name("forged"))
    mark = json.loads((folder / WORK_MARK).read_text())
    (folder / WORK_MARK).write_text(json.dumps({**mark, "Place": str(folder)}))
    return folder


def writable(made):
    made.chmod(0o770)
    return made


def broken(made):
    (made / WORK_MARK).write_text('{"Place": ')
    return made


def of_another_type(made):
    (made / WORK_MARK).write_text("[]")
    return made


def a_file(made):
    path = made.with_name("file")
    path.write_text("no folder")
    return path


def dangling(made):
    path = made.with_name("link")
    path.symlink_to(made.with_name("nowhere"))
    return path


def of_another_user(made):
    os.chown(made, 12345, 12345)
    return made


def link_of_another_user(made):
    path = made.with_name("link")
    path.symlink_to(made)
    os.lchown(path, 12345, 12345)
    return path


def full_of_other_things(made):
    folder = made.with_name("home")
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    return folder


def snapshot(folder):
    """Return all that is below a folder, with modes, owners and contents."""
    paths = [folder, *(sorted(folder.rglob("*")) if folder.is_dir() else ())]
    return [
        (str(p), p.lstat().st_mode, p.lstat().st_uid, p.read_bytes() if p.is_file() else b"")
        for p in paths
    ]


@pytest.mark.parametrize(
    "made_unfit",
    [
        unmarked,
        copied,
        moved,
        forged,
        writable,
        broken,
        of_another_type,
        a_file,
        dangling,
        full_of_other_things,
        *(pytest.param(f, marks=as_root) for f in (of_another_user, link_of_another_user)),
    ],
)
def test_any_other_is_left_as_it_is_and_another_taken(made, made_unfit, caplog):
    unfit = made_unfit(made)
    before = snapshot(unfit)
    taken = claim_work_folder(unfit)
    assert taken == unfit.with_name(f"{unfit.name}-2")
    assert mode(taken) == 0o700
    assert [path.name for path in taken.iterdir()] == [WORK_MARK]
    assert snapshot(unfit) == before
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(unfit) in line and str(taken) in line
    assert claim_work_folder(unfit) == taken


def test_where_none_can_be_made_the_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file/work cannot be made.*name another one"):
        claim_work_folder(tmp_path / "file" / "work")


class Canary:
    """Unpickled, it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def one():
    """Return 1."""
    return 1


def make_workflow():
    node = pe.Node(Function(input_names=[], output_names=["out"], function=one), name="one")
    outputnode = pe.Node(IdentityInterface(fields=["out"]), name="outputnode")
    workflow = pe.Workflow("wf")
    workflow.connect(node, "out", outputnode, "out")
    return workflow


@pytest.mark.parametrize("plugin", ["Linear", "MultiProc"])
@pytest.mark.parametrize("made_unfit", [copied, moved, unmarked, forged, writable])
def test_nothing_of_it_is_unpickled(tmp_path, made_unfit, plugin):
    work = tmp_path / "work"
    run_workflow(make_workflow(), work_dir=work, plugin=plugin, n_procs=1)
    for path in work.rglob("*.pklz"):
        path.write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    unfit = made_unfit(work)
    result = run_workflow(make_workflow(), work_dir=unfit, plugin=plugin, n_procs=1)
    assert result.outputs == {"out": 1}
    assert result.work_dir == unfit.with_name(f"{unfit.name}-2")
    assert not (tmp_path / "canary").exists()
