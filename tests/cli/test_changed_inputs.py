"""Inputs that change while a run lasts: no results of a mix, no record that tells another content.

Each kind of input is changed as a node starts; the file is older than the run, as most are.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest

from nipype_group.interfaces import CollectMaps, GroupDerivatives, PeerResults, StackMaps
from nipype_group.reporting.derivatives.folder import DerivativeFolder

FAST = ("--plugin", "Linear", "--no-regions")
# The node that reads maps last, and the first and the last of a run.
MOMENTS = {"collect": CollectMaps, "stack": StackMaps, "keep": GroupDerivatives}


def content(out):
    paths = (out / "group").rglob("*")
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in paths if p.is_file()}


@pytest.fixture
def when(monkeypatch):
    """Return a function that lets something happen, once, as a node of an interface starts."""

    def at(interface, happen):
        real, happened = interface._run_interface, []

        def run(self, runtime):
            if not happened:
                happened.append(True)
                happen()
            return real(self, runtime)

        monkeypatch.setattr(interface, "_run_interface", run)
        return happened

    return at


def add_one(path):
    """Add 1 to an image."""
    image = nib.load(path)
    values = np.asarray(image.dataobj) + 1
    nib.save(nib.Nifti1Image(values.astype(image.get_data_dtype()), image.affine), path)


def put_back(path, change, before):
    """Change a file and give it the old content and date again."""
    change(path)
    path.write_bytes(before[0])
    os.utime(path, ns=(before[1], before[1]))


def older(folder):
    then = time.time() - 100
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


@pytest.fixture
def study(small_study, write_map, tmp_path):
    """Return the study, and a command of every kind of input with its file and a change of it."""
    ones = np.ones((9, 10, 8), dtype=np.uint8)
    maps = sorted(small_study.rglob("*.nii.gz"))
    age = [f"{20 + i}" for i in range(12)]
    rows = "".join(f"{p.parent.name}\t{p}\t{a}\n" for p, a in zip(maps, age, strict=True))
    table = tmp_path / "maps.tsv"
    table.write_text("participant_id\tmap\tage\n" + rows)
    stack = write_map("stack.nii", np.stack([np.asarray(nib.load(p).dataobj) for p in maps], -1))
    design = tmp_path / "design.tsv"
    design.write_text("age\n" + "".join(f"{a}\n" for a in age))
    mask, search = (write_map(f"{name}.nii.gz", ones) for name in ("mask", "search"))
    halves = write_map("halves.nii.gz", ones + (np.indices(ones.shape)[0] > 4))
    (tmp_path / "halves.csv").write_text("index,name\n1,one\n2,two\n")
    blocks, shuffles = tmp_path / "blocks.csv", tmp_path / "shuffles.csv"
    blocks.write_text("1\n" * 12)
    order = np.random.default_rng(0)
    shuffles.write_text(
        "".join(" ".join(map(str, order.permutation(12) + 1)) + "\n" for _ in range(12))
    )
    bids = ("--bids", small_study, "--select", "stat=effect")
    formula = ("--formula", "age")
    permuted = (*bids, *formula, "--permutations", "12")

    def append(path):
        path.write_text(path.read_text() + "\n")

    cases = {
        "map": ((*bids, *formula), maps[5], add_one),
        "participants": ((*bids, *formula), small_study / "participants.tsv", append),
        "maps_table": (("--maps", table, *formula), table, append),
        "map of a table": (("--maps", table, *formula), maps[2], add_one),
        "pattern": (
            (
                "--pattern",
                small_study / "{subject}" / "*effect*.nii.gz",
                "--participants",
                small_study / "participants.tsv",
                *formula,
            ),
            maps[0],
            add_one,
        ),
        "stack_file": (("--stack", stack, "--design", design), stack, add_one),
        "design_table": ((*bids, "--design", design), design, append),
        "mask_file": ((*bids, *formula, "--mask", mask), mask, add_one),
        "search_volume": ((*bids, *formula, "--search-volume", search), search, add_one),
        "atlas": ((*bids, *formula, "--atlas", halves), halves, add_one),
        "names of an atlas": (
            (*bids, *formula, "--atlas", halves),
            tmp_path / "halves.csv",
            append,
        ),
        "blocks": ((*permuted, "--blocks", blocks), blocks, append),
        "shuffles_file": ((*permuted, "--shuffles", shuffles), shuffles, append),
    }
    older(tmp_path)
    return small_study, cases


@pytest.fixture
def analyse(command, no_figures, tmp_path):
    """Return a function that runs into a folder."""

    def run(source, out=tmp_path / "out"):
        atlas = () if "--atlas" in source else ("--atlas", "none")
        return command("run", out, *source, "--contrast", "age=age", *atlas, *FAST)

    return run


def assert_told(code, err, path):
    assert code == 1
    (line,) = [line for line in err.splitlines() if "changed while the run lasted" in line]
    assert str(path) in line
    assert "Traceback" not in err


KINDS = (
    "map",
    "participants",
    "maps_table",
    "map of a table",
    "pattern",
    "stack_file",
    "design_table",
    "mask_file",
    "search_volume",
    "atlas",
    "names of an atlas",
    "blocks",
    "shuffles_file",
)


@pytest.mark.parametrize("place", ["out", "sub-01/out"])
def test_results_among_the_maps_are_no_maps_that_came(analyse, small_study, tmp_path, place):
    maps = small_study / "**" / "{subject}_*stat-effect_*.nii.gz"
    table = ("--participants", small_study / "participants.tsv")
    source = ("--pattern", maps, *table, "--formula", "age", "--smooth", "6")
    assert analyse(source)[0] == 0
    for _ in range(2):
        code, told, err = analyse(source, out=small_study / place)
        assert code == 0, err
        assert "12 maps of 12 participants are in" in told
        assert content(small_study / place) == content(tmp_path / "out")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_input(analyse, study, when, tmp_path, kind):
    source, path, change = study[1][kind]
    happened = when(CollectMaps, lambda: change(path))
    code, _, err = analyse(source)
    assert happened
    assert_told(code, err, path)
    out = tmp_path / "out"
    assert not content(out)
    assert not [p.name for p in out.iterdir() if p.name.startswith((".inputs", "provenance"))]


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("moment", MOMENTS)
def test_each_moment_and_a_rerun_is_a_fresh_run(
    analyse, study, when, tmp_path, monkeypatch, moment, back
):
    """What nodes made of the other content is not taken for that of the first, either."""
    source, path, change = study[1]["map"]
    before = path.read_bytes(), path.stat().st_mtime_ns
    happen = (lambda: put_back(path, change, before)) if back else (lambda: change(path))
    assert when(MOMENTS[moment], happen) == []
    assert_told(*analyse(source)[::2], path)
    assert not content(tmp_path / "out")
    path.write_bytes(before[0])
    os.utime(path, ns=(before[1], before[1]))
    monkeypatch.undo()
    monkeypatch.setattr("nipype_group.cli.run.can_draw", lambda: False)
    assert analyse(source)[0] == 0
    assert analyse(source, tmp_path / "fresh")[0] == 0
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


def test_earlier_results_and_their_record_stay(analyse, study, when, tmp_path):
    source, path, change = study[1]["map"]
    out = tmp_path / "out"
    assert analyse(source)[0] == 0
    before = content(out), (out / "provenance.json").read_bytes()
    when(StackMaps, lambda: change(path))
    assert_told(*analyse((*source, "--smooth", "4"))[::2], path)
    assert (content(out), (out / "provenance.json").read_bytes()) == before


def test_a_change_after_the_last_look_of_the_nodes_takes_the_results_away(
    analyse, study, tmp_path, monkeypatch
):
    source, path, change = study[1]["map"]
    real = DerivativeFolder.publish

    def publish(self, source_maps):
        change(path)
        return real(self, source_maps)

    out = tmp_path / "out"
    (out / "group").mkdir(parents=True)
    (out / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "nipype_group"}]}')
    (out / "group" / "notes.txt").write_text("mine")
    monkeypatch.setattr(DerivativeFolder, "publish", publish)
    assert_told(*analyse((*source, "--replace"))[::2], path)
    assert content(out) == {"group/notes.txt": b"mine"}
    assert not (out / "provenance.json").exists()


def test_a_new_map_is_a_change(analyse, study, when):
    folder, cases = study
    source, path, _ = cases["map"]
    (folder / "sub-13").mkdir()
    new = folder / "sub-13" / path.name.replace("sub-06", "sub-13")
    when(StackMaps, lambda: shutil.copy(path, new))
    assert_told(*analyse(source)[::2], new)


def test_of_a_failed_run_the_change_is_told(analyse, study, when):
    source, path, _ = study[1]["map"]
    when(StackMaps, lambda: path.write_bytes(b"no image"))
    assert_told(*analyse(source)[::2], path)


def test_workers_of_their_own_processes(command, study, when, no_figures, tmp_path):
    source, path, change = study[1]["map"]
    # Workers are forked with what happens; each has a clock of its own for "once".
    when(StackMaps, lambda: change(path))
    code, _, err = command(
        "run",
        tmp_path / "out",
        *source,
        "--contrast",
        "age=age",
        "--atlas",
        "none",
        "--no-regions",
        "--plugin",
        "MultiProc",
        "--n-procs",
        "2",
    )
    assert_told(code, err, path)
    assert not content(tmp_path / "out")


KILLED = """
import os, signal, sys
from pathlib import Path
from nipype_group.cli import run
from nipype_group.cli.main import main
from nipype_group.interfaces import EstimateContrasts, StackMaps
run.can_draw = lambda: False
path, real = Path(sys.argv[1]), StackMaps._run_interface
def stack(self, runtime):
    before = path.read_bytes(), path.stat().st_mtime_ns
    path.write_bytes(Path(sys.argv[2]).read_bytes())
    real(self, runtime)
    path.write_bytes(before[0])
    os.utime(path, ns=(before[1], before[1]))
    return runtime
def kill(self, runtime):
    os.kill(os.getpid(), signal.SIGKILL)
StackMaps._run_interface, EstimateContrasts._run_interface = stack, kill
main(sys.argv[3:])
"""


def test_a_killed_run_leaves_no_results_of_a_change(analyse, study, tmp_path, caplog):
    """The file is what it was when the run is killed, and what was made of the other is kept."""
    source, path, change = study[1]["map"]
    other = tmp_path / "other.nii.gz"
    shutil.copy(path, other)
    change(other)
    words = ("run", tmp_path / "out", *source, "--contrast", "age=age", "--atlas", "none", *FAST)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, path, other, *words], capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    code, _, err = analyse(source)
    assert code == 0, err
    assert "the run before was killed, and inputs were changed after it started" in caplog.text
    assert analyse(source, tmp_path / "fresh")[0] == 0
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


def test_a_change_of_the_results_of_another_package(
    command, when, write_map, no_figures, tmp_path
):
    rng = np.random.default_rng(3)
    path = write_map("peer/tmap.nii.gz", rng.standard_normal((6, 6, 6)).astype(np.float32))
    report = ("report", "--stat-map", path, tmp_path / "out", "--stat-type", "t", "--dof", "11")
    fast = ("--atlas", "none", "--plugin", "Linear")
    older(tmp_path)
    when(PeerResults, lambda: add_one(path))
    code, _, err = command(*report, *fast)
    assert_told(code, err, path)
    assert not content(tmp_path / "out")
    code, _, err = command(*report, *fast)
    assert code == 0, err
    record = (tmp_path / "out" / "provenance.json").read_text()
    assert hashlib.sha256(path.read_bytes()).hexdigest() in record
    code, _, err = command("replay", tmp_path / "out")
    assert code == 2
    assert "is a report on results of another package" in err
