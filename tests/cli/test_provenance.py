"""What a run leaves about itself: sidecars, the record, the RO-Crate, W3C PROV."""

import hashlib
import json
import os
import shutil
import subprocess

import numpy as np
import pytest


def content(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.fixture
def quick(analyse):
    """Return a function that runs a small analysis."""

    def run(*arguments, **others):
        code, _, err = analyse("--no-regions", *arguments, **others)
        assert code == 0, err

    return run


def test_sidecars_tell_command_and_inputs_and_no_place(quick, small_study, tmp_path):
    quick("--seed", "3", "--permutations", "20")
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    sidecars = [
        json.loads(path.read_text())
        for path in (tmp_path / "out" / "group").glob("*_statmap.json")
    ]
    assert len(sidecars) > 8
    assert {s["Command"] for s in sidecars} == {
        "nipype-group run OUT --bids DIR --select stat=effect --formula age --contrast age=age "
        "--permutations 20 --seed 3 --atlas brain.nii.gz --no-regions"
    }
    assert {s["InputsSHA256"] for s in sidecars} == {record["InputsSHA256"]}
    lines = sorted(f"{i['Role']}\t{i['Name']}\t{i['SHA256']}\n" for i in record["Inputs"])
    assert record["InputsSHA256"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    for name, text in content(tmp_path / "out" / "group").items():
        assert str(tmp_path).encode() not in text, name
    for name in ("provenance.json", "ro-crate-metadata.json"):
        inputs = (tmp_path / "out" / name).read_text()
        assert hashlib.sha256(next(small_study.rglob("*.gz")).read_bytes()).hexdigest() in inputs


def test_the_record_is_whole(quick, small_study, tmp_path):
    quick("--nidm")
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    group = content(tmp_path / "out" / "group")
    assert record["Outputs"] == {
        f"group/{name}": hashlib.sha256(text).hexdigest() for name, text in group.items()
    }
    places = {i["Role"]: i["Path"] for i in record["Inputs"]}
    assert places["participants"] == "../study/participants.tsv"
    assert record["Source"] == {"bids_dir": "../study", "select": ["stat=effect"]}
    assert record["Settings"]["formula"] == "age"
    assert record["CommandLine"][:3] == ["nipype-group", "run", "."]
    assert record["Execution"]["Plugin"] == "Linear"
    assert record["SoftwareVersions"]["numpy"]
    assert record["SoftwareVersions"]["zlib"]
    assert {"Library", "Version", "Architecture"} == set(record["Processor"]["BLAS"][0])
    assert record["Processor"]["Model"]
    run = json.loads((tmp_path / "out-work" / "run.json").read_text())
    assert run["processor"] == record["Processor"]


def test_no_login_of_absolute_arguments_is_recorded(quick, small_study, tmp_path, write_map):
    home = tmp_path / "home" / "somebody-here"
    shutil.copytree(small_study, home / "study")
    mask = home / "mask.nii.gz"
    shutil.copy(write_map("mask.nii.gz", np.ones((9, 10, 8), np.uint8)), mask)
    table = home / "study" / "participants.tsv"
    quick(
        f"--mask={mask}",
        "--participants",
        table,
        "--contrast",
        "age=2/3 * age",
        source=("--pattern", home / "study" / "{subject}" / "*_stat-effect_statmap.nii.gz"),
        out=home / "out",
        more=("--work-dir", home / "work"),
    )
    text = (home / "out" / "provenance.json").read_text()
    assert "somebody-here" not in text
    assert str(tmp_path) not in text
    words = json.loads(text)["CommandLine"]
    assert words[:5] == [
        "nipype-group",
        "run",
        ".",
        "--pattern",
        "../study/{subject}/*_stat-effect_statmap.nii.gz",
    ]
    assert "--mask=../mask.nii.gz" in words
    assert {"../study/participants.tsv", "age=2/3 * age", "../work", "age"} <= set(words)


def test_plugin_arguments_are_recorded_as_given(quick, tmp_path):
    given = '{"args": "--chdir=/scratch/here"}'
    quick("--plugin-args", given)
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert record["Execution"]["PluginArguments"] == given
    assert given in record["CommandLine"]


def test_the_same_run_again_changes_no_byte(quick, tmp_path):
    quick()
    before = {n: v for n, v in content(tmp_path / "out").items() if not n.startswith("work/")}
    quick()
    after = {n: v for n, v in content(tmp_path / "out").items() if not n.startswith("work/")}
    assert after == before


def test_place_and_plugin_change_the_record_alone(quick, small_study, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    quick("--permutations", "20")
    there = tmp_path / "a" / "very" / "other"
    shutil.copytree(small_study, there / "data")
    source = ("--bids", there / "data", "--select", "stat=effect")
    more = ("--permutations", "20", "--plugin", "MultiProc", "--n-procs", "2", "--shards", "3")
    quick(*more, source=source, out=tmp_path / "b")
    first, second = content(tmp_path / "out"), content(tmp_path / "b")
    names = {n for n in (*first, *second) if not n.startswith("work/")}
    differing = {n for n in names if first.get(n) != second.get(n)}
    # Where the source data are is told relative to the results.
    assert differing == {"provenance.json", "dataset_description.json"}


def test_prov_on_request(quick, tmp_path, monkeypatch):
    monkeypatch.setenv("LOGNAME", "somebody-here")
    monkeypatch.setenv("HOME", "/home/somebody-here")
    quick()
    assert not (tmp_path / "out" / "provenance").exists()
    quick("--provenance")
    found = content(tmp_path / "out" / "provenance")
    assert set(found) == {"workflow.provn", "workflow.trig"}
    graph = json.loads((tmp_path / "out" / "ro-crate-metadata.json").read_text())["@graph"]
    parts = {part["@id"] for part in next(e for e in graph if e["@id"] == "./")["hasPart"]}
    assert {"provenance/workflow.provn", "provenance/workflow.trig", "README"} < parts
    values = [v.encode() for v in os.environ.values() if len(v) > 6]
    for text in found.values():
        assert b"GroupDerivatives_keep" in text
        assert b"data/participants.tsv" in text or b"sub-01" in text or b"bids_dir" in text
        assert not [v for v in (*values, str(tmp_path).encode()) if v in text]


def test_the_bids_validator_accepts_the_records(quick, tmp_path):
    validator = shutil.which("bids-validator-deno")
    assert validator, "the extra bids brings bids-validator-deno"
    quick("--provenance")
    done = subprocess.run([validator, str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
