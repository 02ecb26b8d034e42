"""The work folder of the command: where it is, what it holds, and what becomes of old ones."""

import shutil
import stat

import nibabel as nib
import numpy as np
import pytest

SECRET = "a-secret-of-the-environment"


@pytest.mark.parametrize("plugin", ["Linear", "MultiProc"])
@pytest.mark.parametrize("wrong", [False, True])
def test_no_variable_of_the_environment_is_in_any_file(
    analyse, tmp_path, monkeypatch, plugin, wrong, held_in
):
    monkeypatch.setenv("A_TOKEN", SECRET)
    # In the second case a node fails, which leaves a crash file.
    blocks = ("--blocks", "participant_id") if wrong else ("--provenance",)
    code, _, err = analyse("--permutations", "20", *blocks, "--plugin", plugin)
    assert code == wrong, err
    assert any((tmp_path / "out-work").rglob("*.pklz"))
    assert held_in(tmp_path / "out-work", SECRET) == []
    assert held_in(tmp_path / "out", SECRET) == []


def test_it_lies_beside_the_results_and_is_closed_to_others(analyse, tmp_path):
    assert analyse()[0] == 0
    work = tmp_path / "out-work"
    assert stat.S_IMODE(work.stat().st_mode) == 0o700
    assert not (tmp_path / "out" / "work").exists()


def test_one_of_an_older_version_is_left_with_a_word(analyse, tmp_path):
    old = tmp_path / "out" / "work" / "group_wf"
    old.mkdir(parents=True)
    (old / "result_keep.pklz").write_bytes(b"whatever it is")
    code, out, err = analyse()
    assert code == 0, err
    assert f"{tmp_path / 'out' / 'work'} is of an older version and not used" in out
    assert [path.name for path in old.iterdir()] == ["result_keep.pklz"]


def t_map(out):
    (path,) = (out / "group").glob("*_stat-t_statmap.nii.gz")
    return np.asarray(nib.load(path).dataobj)


@pytest.mark.parametrize("with_work", [False, True])
@pytest.mark.parametrize("copied", [False, True])
def test_a_backup_keeps_what_it_has(analyse, tmp_path, copied, with_work):
    out, old = tmp_path / "out", tmp_path / "old"
    assert analyse()[0] == 0
    own = t_map(out)
    for name in ("", "-work") if with_work else ("",):
        if copied:
            shutil.copytree(f"{out}{name}", f"{old}{name}")
        else:
            shutil.move(f"{out}{name}", f"{old}{name}")
    assert analyse("--smooth", "6")[0] == 0
    other = t_map(out)
    assert not np.array_equal(own, other)
    code, _, err = analyse("--alpha", "0.01", out=old)
    assert code == 0, err
    assert np.array_equal(t_map(old), own)
    assert np.array_equal(t_map(out), other)
