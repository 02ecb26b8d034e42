"""Every file of a study that a command opens is recorded as its input: watched and hashed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

SHAPE = (7, 8, 9)
AFFINE = np.array([[-3.0, 0, 0, 9], [0, 3, 0, -12], [0, 0, 3, -6], [0, 0, 0, 1]])
N = 8
XML = """<?xml version="1.0"?>
<atlas version="2.0"><header><name>Own</name></header><data>
<label><index>1</index><name>First</name></label>
<label><index>2</index><name>Second</name></label></data></atlas>
"""
# Runs a command and writes down what it opens in a folder.
WATCHED = """
import json, os, sys
top, log = sys.argv[1:3]
opened = set()
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(top + os.sep) and os.path.isfile(path):
            opened.add(path)
sys.addaudithook(watch)
from nipype_group.cli import run
from nipype_group.cli.main import main
run.can_draw = lambda: False
code = main(sys.argv[3:])
with open(log, "w") as file:
    json.dump(sorted(opened), file)
sys.exit(code)
"""


@pytest.fixture
def watched(tmp_path):
    """Return a function that runs a command on a study; gives files opened and files recorded."""
    top = tmp_path / "study"
    top.mkdir()

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-c", WATCHED, top, tmp_path / "log", *map(str, words)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        record = json.loads((tmp_path / "out" / "provenance.json").read_text())
        opened = {os.path.realpath(p) for p in json.loads((tmp_path / "log").read_text())}
        return opened, {os.path.realpath(tmp_path / "out" / i["Path"]) for i in record["Inputs"]}

    run.top = top
    return run


def volume(seed):
    return (1 + np.random.default_rng(seed).standard_normal(SHAPE)).astype(np.float32)


def save(values, path, image=nib.Nifti1Pair):
    """Save an image; a name in capitals has its parts in capitals."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".IMG":
        nib.save(image(values, AFFINE), path.with_suffix(".img"))
        for suffix in (".img", ".hdr"):
            path.with_suffix(suffix).rename(path.with_suffix(suffix.upper()))
    else:
        nib.save(image(values, AFFINE), path)


def listed(top, suffix, named=None):
    """Make a study of pairs; `named` is the suffix that its table names."""
    paths = [top / "maps" / f"s{i}{suffix}" for i in range(N)]
    for seed, path in enumerate(paths):
        save(volume(seed), path)
    names = [str(p).removesuffix(suffix) + (named or suffix) for p in paths]
    rows = {"participant_id": [f"s{i}" for i in range(N)], "map": names, "age": range(20, 20 + N)}
    pd.DataFrame(rows).to_csv(top / "maps.tsv", sep="\t", index=False)
    return [
        "run",
        "out",
        "--maps",
        top / "maps.tsv",
        "--formula",
        "age",
        "--contrast",
        "age=age",
        "--atlas",
        "none",
    ]


# More spellings are tried where the hash of one file is tested.
@pytest.mark.parametrize(
    ("suffix", "named"), [(".nii", None), (".img", ".hdr"), (".img.gz", None), (".IMG", None)]
)
def test_both_parts_of_maps(watched, suffix, named):
    kind = nib.Nifti1Image if ".nii" in suffix else nib.Nifti1Pair
    words = listed(watched.top, suffix, named)
    if kind is nib.Nifti1Image:
        for i in range(N):
            save(volume(i), watched.top / "maps" / f"s{i}{suffix}", kind)
    opened, recorded = watched(*words)
    assert opened == recorded
    assert len(recorded) == 1 + N * (1 if ".nii" in suffix else 2)


@pytest.mark.parametrize(
    ("option", "suffix"), [("--mask", ".img"), ("--search-volume", ".img.gz")]
)
def test_both_parts_of_a_mask_which_is_replayed(watched, tmp_path, option, suffix):
    save(np.ones(SHAPE, np.uint8), watched.top / f"mask{suffix}")
    words = listed(watched.top, ".img")
    opened, recorded = watched(*words, option, watched.top / f"mask{suffix}")
    assert opened == recorded
    command = [sys.executable, "-m", "nipype_group.cli.main", "replay", "out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("named", "peer"), [("own.nii.gz", True), ("own.xml", False)])
def test_an_atlas_with_the_xml_of_its_name(watched, named, peer):
    labels = np.zeros(SHAPE, np.uint8)
    labels[:3], labels[3:] = 1, 2
    save(labels, watched.top / "own.nii.gz", nib.Nifti1Image)
    (watched.top / "own.xml").write_text(XML)
    if peer:
        save(volume(0) * 3, watched.top / "tmap.img.gz")
        words = [
            "report",
            "out",
            "--stat-map",
            watched.top / "tmap.img.gz",
            "--stat-type",
            "t",
            "--dof",
            "11",
            "--atlas",
        ]
    else:
        words = listed(watched.top, ".img")[:-1]
    opened, recorded = watched(*words, watched.top / named)
    assert opened == recorded
    assert {"own.nii.gz", "own.xml"} <= {Path(p).name for p in recorded}


def test_both_parts_of_what_goes_with_a_statistic(watched):
    top = watched.top
    save(volume(0) * 3, top / "tmap.hdr")
    words = [
        "report",
        "out",
        "--stat-map",
        top / "tmap.hdr",
        "--stat-type",
        "t",
        "--dof",
        "11",
        "--atlas",
        "none",
    ]
    for number, name in enumerate(("--mask", "--effect-map", "--variance-map")):
        mask = name == "--mask"
        save(np.ones(SHAPE, np.uint8) if mask else np.abs(volume(1)), top / f"o{number}.img")
        words += [name, top / f"o{number}.img"]
    opened, recorded = watched(*words)
    assert opened == recorded


@pytest.mark.parametrize(
    ("dof", "design"),
    [
        ("p_vox_tstat_dof.txt", "design.csv"),
        ("p_vox_tstat.dof", "design.txt"),
        (None, "design.mat"),
    ],
)
def test_texts_beside_the_results_of_palm(watched, dof, design):
    top = watched.top
    save(volume(3) * 3, top / "p_vox_tstat.nii.gz", nib.Nifti1Image)
    p = np.clip(1 - np.maximum(volume(3), 0) / 9, 0, 1)
    save(p.astype(np.float32), top / "p_vox_tstat_fwep.nii.gz", nib.Nifti1Image)
    (top / "p_palmconfig.txt").write_text(f"-n 100\n-o p\n-d {design}\n")
    matrix = "/NumWaves 1\n/NumPoints 20\n/Matrix\n" if design.endswith(".mat") else ""
    (top / design).write_text(matrix + "1\n" * 20)
    expected = {"p_vox_tstat.nii.gz", "p_vox_tstat_fwep.nii.gz", "p_palmconfig.txt", design}
    if dof:
        (top / dof).write_text("0\n11\n")
        expected.add(dof)
    opened, recorded = watched("report", top, "out", "--package", "PALM", "--atlas", "none")
    assert opened == recorded
    assert {Path(path).name for path in recorded} == expected
