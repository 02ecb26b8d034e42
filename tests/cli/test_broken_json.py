"""Every JSON file of results, broken in every way, under every command that reads it.

A command that goes on all the same has to give what it gives of the whole results; one that does
not says in a line which file it is. So does ``report`` on what other packages left.
"""

import json
import logging
import os
import re
import shutil

import nibabel as nib
import numpy as np
import pytest

from nipype_group.cli.main import main
from nipype_group.cli.report import own_results
from nipype_group.execution.lock import LOCK_NAME
from nipype_group.execution.record import RECORD_NAME, read_record
from nipype_group.peers.results import find_results
from nipype_group.reporting.records.ro_crate import CRATE_NAME, write_ro_crate

# One file of each kind: the rest of its name, and whether it lies beside the folder group.
KINDS = {
    "dataset_description.json": True,
    "provenance.json": True,
    CRATE_NAME: True,
    **dict.fromkeys(
        (
            "_contrasts.json",
            "_design.json",
            "_smoothness.json",
            "_quality.json",
            "_permutations.json",
            "contrast-age_stat-effect_statmap.json",
            "contrast-age_stat-t_statmap.json",
            "stat-tdp_desc-ariBoth_statmap.json",
            "desc-fdrBHBoth_clusters.json",
            "desc-fdrBHBoth_peaks.json",
            "desc-model_regions.json",
            "desc-group_mask.json",
            "figures.json",
        ),
        False,
    ),
}


def _with_leaves(value, change):
    if isinstance(value, dict):
        return {key: _with_leaves(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_leaves(item, change) for item in value]
    return change(value)


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _changed(change):
    def break_it(path):
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return break_it


def _written(content):
    return lambda path: path.write_bytes(content)


def _replaced(make):
    def break_it(path):
        path.unlink()
        make(path)

    return break_it


def _huge(path):
    with path.open("ab") as stream:
        stream.truncate(1 << 40)


def _twice(path):
    text = path.read_text().strip()
    if text.startswith("{") and text != "{}":
        key = json.dumps(next(iter(json.loads(text))))
        path.write_text(text[:-1] + f", {key}: 1}}")
    else:
        path.write_text('[{"File": "a", "File": "b"}]')


def _unreadable(path):
    path.chmod(0)


BREAKS = {
    "no JSON": _written(b"{'Name': 1}"),
    "empty": _written(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "no UTF-8": _written(b'{"Name": "\xff\xfe"}'),
    "deep": _written(b"[" * 200_000),
    "deep objects": _written(b'{"a":' * 200_000),
    "key twice": _twice,
    "NaN": _written(b'{"Contrasts": NaN}'),
    "infinite": _written(b'{"Contrasts": 1e999}'),
    "beyond floats": _written(b'{"Contrasts": 1' + b"0" * 400 + b"}"),
    "half a character": _written(b'{"Contrasts": "\\ud800"}'),
    "null": _written(b"null"),
    "a number": _written(b"3"),
    "list for object": _changed(lambda content: [content]),
    "object for list": _changed(lambda content: {"0": content}),
    "no keys": _changed(lambda content: {} if isinstance(content, dict) else [{}]),
    "numbers for text": _changed(
        lambda content: _with_leaves(content, lambda v: 7 if isinstance(v, str) else v)
    ),
    "text for numbers": _changed(
        lambda content: _with_leaves(content, lambda v: "seven" if _is_number(v) else v)
    ),
    "nulls": _changed(lambda content: _with_leaves(content, lambda v: None)),
    "lists for values": _changed(lambda content: _with_leaves(content, lambda v: [v])),
    "a folder": _replaced(lambda path: path.mkdir()),
    "a pipe": _replaced(os.mkfifo),
    "a device": _replaced(lambda path: path.symlink_to("/dev/zero")),
    "a dangling link": _replaced(lambda path: path.symlink_to("nowhere")),
    "a loop": _replaced(lambda path: path.symlink_to(path.name)),
    "huge": _huge,
    **({"unreadable": _unreadable} if os.geteuid() else {}),
}


# These write JSON of another content, unless there is none of the kind.
_CHANGES_OF_VALUES = ("no keys", "numbers for text", "text for numbers", "nulls")


def break_in(way, path):
    """Break a file; skip the test where that way does not change it."""
    before = path.read_bytes()
    BREAKS[way](path)
    if way in _CHANGES_OF_VALUES and json.loads(path.read_bytes()) == json.loads(before):
        pytest.skip(f"{path.name} holds nothing that this would change")


def copied(results, place):
    """Copy a folder of results; returns the copy."""
    if place.exists():
        shutil.rmtree(place)
    shutil.copytree(results, place)
    return place


@pytest.fixture(scope="module")
def whole(finished_study, tmp_path_factory):
    """Return what the commands write of the whole results."""
    results, made = finished_study / "out", tmp_path_factory.mktemp("whole")
    return {name: made_by(name, results, results, made) for name in COMMANDS}


def made_by(name, results, other, place):
    """Return exit code and the file that a command makes of results."""
    file = place / f"{name}.made"
    file.unlink(missing_ok=True)
    code = main([str(a) for a in COMMANDS[name](results, other, file)])
    return code, file.read_bytes() if file.exists() else None


COMMANDS = {
    "report": lambda results, other, file: ("report", results, "--output", file),
    "nidm": lambda results, other, file: ("nidm", results, "--output", file),
    "diff": lambda results, other, file: ("diff", results, other, "--json", file),
}


def find(results, kind):
    if KINDS[kind]:
        return results / kind
    (path,) = (results / "group").rglob(f"*{kind}")
    return path


def checked_message(code, out, err, path):
    """See that a command that fails says why in one line, which names the file."""
    assert code in (1, 2), (code, err)
    said = [line for line in err.splitlines() if line]
    assert len(said) == 1, said
    assert path.name in said[0]
    for text in (out, err):
        assert "Traceback" not in text
        assert "unforeseen" not in text


@pytest.mark.grid(5)
@pytest.mark.parametrize("way", BREAKS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_file_is_named_or_changes_nothing(
    finished_study, whole, tmp_path, capsys, kind, way
):
    results = copied(finished_study / "out", tmp_path / "broken")
    path = find(results, kind)
    break_in(way, path)
    capsys.readouterr()
    for name in COMMANDS:
        code, made = made_by(name, results, finished_study / "out", tmp_path)
        out, err = capsys.readouterr()
        if code == 1 and name == "diff" and not err:
            # The file itself is what differs, or a value in it.
            assert path.name in out or "->" in out, (name, out)
        elif code == 0:
            assert (code, made) == whole[name], (name, path)
        else:
            checked_message(code, out, err, path)
            assert made is None


@pytest.mark.grid(3)
@pytest.mark.parametrize("value", [10**18, 0])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_cannot_be_are_shown_or_named(finished_study, tmp_path, capsys, kind, value):
    results = copied(finished_study / "out", tmp_path / "broken")
    path = find(results, kind)
    content = json.loads(path.read_text())
    changed = _with_leaves(content, lambda v: value if _is_number(v) else v)
    if changed == content:
        pytest.skip(f"{path.name} holds no number")
    path.write_text(json.dumps(changed))
    capsys.readouterr()
    for name in COMMANDS:
        code, made = made_by(name, results, finished_study / "out", tmp_path)
        out, err = capsys.readouterr()
        # What differs is no error.
        if err or code not in (0, 1):
            checked_message(code, out, err, path)
            assert made is None


@pytest.mark.parametrize("value", [10**40, -1])
def test_replay_starts_with_no_numbers_that_cannot_be(finished_study, tmp_path, capsys, value):
    results = copied(finished_study / "out", finished_study / "broken")
    path = results / "provenance.json"
    content = json.loads(path.read_text())
    for name, usual in content["Settings"].items():
        if not _is_number(usual):
            continue
        settings = {**content["Settings"], name: value}
        path.write_text(json.dumps({**content, "Settings": settings}))
        capsys.readouterr()
        # Any seed is one up to 2^63, any memory bounds a shard.
        if name == "memory_gb" and value > 0:
            continue
        code = main(["replay", str(results), "--plugin", "Linear", "--work-dir", str(tmp_path)])
        out, err = capsys.readouterr()
        checked_message(code, out, err.rpartition("\r")[2], path)
        assert name in err
    assert list(tmp_path.glob("nipype-group-replay-*")) == []


@pytest.mark.parametrize("way", BREAKS)
@pytest.mark.parametrize("kind", ["provenance.json"])
def test_replay_names_a_broken_record(finished_study, tmp_path, capsys, kind, way):
    # Beside the whole one, where the record finds its inputs.
    results = copied(finished_study / "out", finished_study / "broken")
    break_in(way, results / kind)
    capsys.readouterr()
    code = main(["replay", str(results), "--plugin", "Linear", "--work-dir", str(tmp_path)])
    out, err = capsys.readouterr()
    checked_message(code, out, err.rpartition("\r")[2], results / kind)


@pytest.mark.parametrize("way", BREAKS)
@pytest.mark.parametrize("kind", ["dataset_description.json", LOCK_NAME])
def test_a_run_does_not_start_beside_a_broken_file(
    finished_study, command_of, tmp_path, capsys, kind, way
):
    results = copied(finished_study / "out", tmp_path / "broken")
    if kind == LOCK_NAME:
        if way in ("key twice", "list for object", "object for list", "a dangling link", "a loop"):
            pytest.skip("a lock is not JSON of results, and a link is no lock")
        (results / kind).write_text('{"token": "a", "pid": 1, "host": "b"}')
    break_in(way, results / kind)
    capsys.readouterr()
    code = main(command_of(finished_study, results))
    checked_message(code, *capsys.readouterr(), results / kind)


@pytest.mark.parametrize("way", BREAKS)
def test_a_broken_record_of_a_run_is_told_and_left(finished_study, tmp_path, caplog, way):
    record = tmp_path / RECORD_NAME
    shutil.copy(finished_study / "work" / RECORD_NAME, record)
    assert read_record(record)["nodes"]
    break_in(way, record)
    with caplog.at_level(logging.WARNING, "nipype_group"):
        assert read_record(record) is None
    told = [r.getMessage() for r in caplog.records]
    assert all(str(record) in text for text in told)
    assert len(told) == 1


@pytest.mark.parametrize("way", [w for w in BREAKS if w != "a folder"])
def test_a_broken_crate_is_written_anew(finished_study, tmp_path, way):
    results = copied(finished_study / "out", tmp_path / "broken")
    before = (results / CRATE_NAME).read_text()
    break_in(way, results / CRATE_NAME)
    write_ro_crate(results)
    dates = [
        re.sub(r'(?<="datePublished": ).*', "", text)
        for text in (before, (results / CRATE_NAME).read_text())
    ]
    assert dates[0] == dates[1]


# Of other packages

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
T = np.random.default_rng(5).standard_t(20, (6, 7, 5))
FAST = ("--height-control", "bonferroni", "--atlas", "none", "--plugin", "Linear")
# Of each package: where its map of t is below the data set, and what its description names.
PACKAGES = {
    "nilearn": ("contrast-age_stat-t_statmap", {"GeneratedBy": [{"Name": "nilearn"}]}),
    "FitLins": (
        "node-datasetLevel/contrast-age_stat-t_statmap",
        {"PipelineDescription": {"Name": "FitLins"}},
    ),
    "HALFpipe": (
        "grouplevel/func/model-m/task-a_feature-b_model-m_contrast-age_stat-t_statmap",
        {"GeneratedBy": [{"Name": "HALFpipe"}]},
    ),
}
# The one above is read where the data set has none.
FILES = ("sidecar", "design", "description", "description above")


@pytest.fixture
def peer(tmp_path):
    """Return a function that writes a data set; gives its folder and a JSON file of it."""

    def write(package, kind):
        stem, about = PACKAGES[package]
        folder = tmp_path / "in" / "data"
        path = folder / f"{stem}.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(T, AFFINE), path)
        if package == "HALFpipe":
            dof = np.full(T.shape, 20.0)
            nib.save(nib.Nifti1Image(dof, AFFINE), str(path).replace("stat-t", "stat-dof"))
        about = {"Name": "of maps", "BIDSVersion": "1.9.0", **about}
        contents = {
            "sidecar": (folder / f"{stem}.json", {"DegreesOfFreedom": 20, "Sources": ["a", 1.5]}),
            "design": (path.with_name("design.json"), {"age": {"Units": "years", "Levels": [1]}}),
            "description": (folder / "dataset_description.json", about),
            "description above": (folder.parent / "dataset_description.json", about),
        }
        for name, (file, content) in contents.items():
            if (name, kind) != ("description", "description above"):
                file.write_text(json.dumps(content))
        return folder, contents[kind][0]

    return write


@pytest.mark.grid(3)
@pytest.mark.parametrize("way", BREAKS)
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("package", PACKAGES)
def test_a_broken_file_of_another_package_is_named_or_passed_over(peer, package, kind, way):
    folder, path = peer(package, kind)
    break_in(way, path)
    try:
        assert not own_results(folder)
        (found,) = find_results(folder).statistics
    except ValueError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
    else:
        # A sidecar of another content states none.
        assert found.dof in ([(20.0,), ()] if kind == "sidecar" else [(20.0,)])
        assert found.package in (package, "nilearn", "FitLins", "7")


@pytest.mark.parametrize("way", ["a pipe", "no UTF-8", "list for object", "nulls", "a loop"])
@pytest.mark.parametrize("kind", ["sidecar", "description", "description above"])
def test_report_on_a_broken_file_of_another_package(
    peer, command, tmp_path, no_figures, kind, way
):
    folder, path = peer("nilearn", kind)
    break_in(way, path)
    code, out, err = command("report", folder, tmp_path / "r", *FAST)
    if code:
        # Without degrees of freedom it is the map that the line is about.
        checked_message(code, out, err, path.with_suffix("") if kind == "sidecar" else path)
        assert not (tmp_path / "r").exists()
    else:
        assert list((tmp_path / "r").rglob("*_peaks.tsv"))


@pytest.mark.parametrize(
    "value", [True, "inf", "nan", "seven", -3, 0, None, [], {}, [20, 20], [[20]], [True], [None]]
)
def test_a_sidecar_with_what_are_no_degrees_of_freedom_states_none(peer, value):
    folder, path = peer("nilearn", "sidecar")
    path.write_text(json.dumps({"DegreesOfFreedom": value}))
    assert find_results(folder).statistics[0].dof == ()
