"""``nipype-group nidm``."""

import shutil
import subprocess
import zipfile

import pytest

from nipype_group.cli import nidm as nidm_module


@pytest.fixture
def results(analyse, tmp_path):
    """Run a small analysis; return its folder."""
    code, out, err = analyse("--tail", "positive", "--height-control", "fdr")
    assert code == 0, out + err
    return tmp_path / "out"


def test_pack_of_a_run(command, results, tmp_path):
    code, out, err = command("nidm", results)
    assert code == 0, err
    pack = results / "group" / "task-rest_space-MNI_nidm.zip"
    assert out == f"NIDM-Results pack {pack}\n"
    with zipfile.ZipFile(pack) as opened:
        assert {"nidm.ttl", "nipype_group.json"} < set(opened.namelist())
        assert opened.testzip() is None
    first = pack.read_bytes()
    other = tmp_path / "other.zip"
    chosen = ("--contrast", "age", "--desc", "fdrBH", "--output", other)
    assert command("nidm", results / "group", *chosen)[0] == 0
    assert zipfile.is_zipfile(other)
    assert command("nidm", results)[0] == 0
    assert pack.read_bytes() == first
    validator = shutil.which("bids-validator-deno")
    assert validator, "the extra bids brings bids-validator-deno"
    done = subprocess.run([validator, str(results)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere",), 2, "nowhere is no folder"),
        ((".", "--output", "nowhere/pack.zip"), 2, "nowhere does not exist"),
        ((".",), 1, "contrasts.json"),
    ],
)
def test_bad_arguments(command, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    found, out, err = command("nidm", *arguments)
    assert (found, out) == (code, "")
    assert err.startswith("nipype-group nidm: ")
    assert message in err
    assert "Traceback" not in err


def test_options_reach_the_pack(command, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(
        nidm_module, "write_nidm_pack", lambda *a, **k: given.append((a, k)) or tmp_path
    )
    command("nidm", tmp_path, "--contrast", "a", "--desc", "b", "--output", tmp_path / "c.zip")
    expected = {"contrast": "a", "desc": "b", "out_file": tmp_path / "c.zip"}
    assert given == [((str(tmp_path),), expected)]
