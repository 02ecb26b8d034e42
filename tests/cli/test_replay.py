"""``nipype-group replay``: the same bits from the record, and what is said where they are not."""

import gzip
import hashlib
import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from page_blocks import DOCS, code_blocks

from nipype_group.cli import replay as replay_module

STEM = "task-rest_space-MNI"
T_MAP = f"{STEM}_contrast-age_stat-t_statmap"


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory):
    """Give a folder that holds one finished run for all tests."""
    return tmp_path_factory.mktemp("run") / "out"


@pytest.fixture
def finished(analyse, kept_run, tmp_path):
    """Give the top of the results of a small analysis, with its inputs beside it."""
    if not kept_run.exists():
        code, _, err = analyse("--height-control", "bonferroni", "--no-regions")
        assert code == 0, err
        shutil.rmtree(tmp_path / "out-work")
        shutil.copytree(tmp_path / "out", kept_run)
    # The small study is the same in every test; places in the record are relative.
    shutil.copytree(kept_run, tmp_path / "out", dirs_exist_ok=True)
    return tmp_path / "out"


@pytest.fixture
def remade(monkeypatch, finished, kept_run):
    """Take the kept run for what a replay makes again; gives the results."""

    def copy(record, inputs, folder, arguments):
        shutil.copytree(kept_run, folder / "results")

    monkeypatch.setattr(replay_module, "_recompute", copy)
    return finished


@pytest.fixture
def replay(command):
    """Return a function that replays in this process."""

    def run(*arguments):
        return command("replay", *arguments, "--plugin", "Linear")

    return run


def edit_json(path, **changes):
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps(content))


def test_every_file_of_a_run_with_all_inferences_is_equal(analyse, replay, tmp_path):
    code, _, err = analyse(
        "--permutations",
        "30",
        "--statistics",
        "extent,mass,tfce",
        "--cluster-forming-p",
        ".01",
        "--cluster-control",
        "rft",
        "--ari",
        "3",
        "--height-control",
        "rft",
        "--smooth",
        "6",
        "--nidm",
        "--table-view",
        "fsl",
        "--seed",
        "5",
        model=("--formula", "age + C(group)"),
    )
    assert code == 0, err
    out = tmp_path / "out"
    n_files = sum(p.is_file() for p in (out / "group").rglob("*"))
    assert n_files > 60
    code, text, err = replay(out)
    assert f"{n_files} of {n_files} files are equal bit for bit" in text, text + err
    assert "differs" not in text
    assert code == 0
    assert "15 inputs are what they were" in text  # maps, participants, atlas and its labels


@pytest.mark.parametrize("name", [f"{T_MAP}.json", f"{T_MAP}.nii.gz", f"{STEM}_design.json"])
def test_one_result_is_enough(remade, replay, name):
    code, text, err = replay(remade / "group" / name)
    assert code == 0, text + err
    stem = name.partition(".")[0]
    rows = [line.split() for line in text.splitlines() if line.startswith("group/")]
    assert len(rows) == 2
    assert all(row[0].startswith(f"group/{stem}.") and row[1] == "equal" for row in rows)


def test_where_the_inputs_lie_does_not_matter(finished, replay, small_study, tmp_path):
    elsewhere = tmp_path / "moved" / "deep"
    elsewhere.mkdir(parents=True)
    for i, path in enumerate(sorted(p for p in small_study.rglob("*") if p.is_file())):
        shutil.move(path, elsewhere / f"file{i}{''.join(path.suffixes)}")
    code, text, err = replay(finished)
    assert code == 1
    assert "13 of 15 inputs are not what the results were made from" in err
    assert f"{small_study / 'participants.tsv'} (participants): missing" in err
    assert "--inputs" in err
    code, text, err = replay(finished, "--inputs", tmp_path / "moved")
    assert code == 0, text + err


def test_results_may_move_with_their_inputs(finished, replay, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("out", "study", "atlas"):
        shutil.move(tmp_path / name, moved / name)
    code, text, err = replay(moved / "out" / "group")
    assert code == 0, text + err


def test_a_new_participant_is_not_taken_in(finished, replay, small_study):
    first = small_study / "sub-01" / f"sub-01_{STEM}_stat-effect_statmap.nii.gz"
    other = small_study / "sub-99" / f"sub-99_{STEM}_stat-effect_statmap.nii.gz"
    other.parent.mkdir()
    shutil.copy(first, other)
    code, text, err = replay(finished)
    assert code == 0, text + err


def test_a_changed_input_is_named(finished, replay, small_study):
    path = sorted(small_study.rglob("sub-03*.nii.gz"))[0]
    path.write_bytes(path.read_bytes() + b"\0")
    code, text, err = replay(finished)
    assert code == 1
    assert "1 of 15 inputs" in err
    assert f"{path} (map): another SHA-256 than the recorded" in err
    assert "equal" not in text


def test_a_changed_voxel_shows_with_its_size(remade, replay):
    path = remade / "group" / f"{T_MAP}.nii.gz"
    image = nib.load(path)
    values = image.get_fdata(dtype=np.float32).copy()
    values[4, 5, 3] += 0.5
    nib.save(nib.Nifti1Image(values, None, image.header), path)
    code, text, _ = replay(path.with_name(f"{T_MAP}.json"))
    assert code == 1
    assert "differs: 1 voxels, by up to 0.5, r 1.0000 (changed since the run)" in text
    assert "1 of 2 files are equal bit for bit" in text


def test_one_changed_byte_shows(remade, replay):
    path = remade / "group" / f"{T_MAP}.nii.gz"
    content = bytearray(path.read_bytes())
    content[9] ^= 1  # operating system in the header of gzip: the image is the same
    path.write_bytes(content)
    code, text, _ = replay(remade)
    assert code == 1
    assert f"{T_MAP}.nii.gz" in text
    assert "differs: same voxels, another header or compression (changed since the run)" in text


def test_a_changed_parameter_in_the_sidecar_shows(remade, replay):
    path = remade / "group" / f"{T_MAP}.json"
    parameters = json.loads(path.read_text())["Parameters"]
    edit_json(path, Parameters={**parameters, "alpha": 0.01})
    code, text, _ = replay(path)
    assert code == 1
    assert "Parameters.alpha: 0.01 -> 0.05" in text
    assert "1 of 2 files are equal" in text


def test_a_changed_setting_in_the_record_changes_results(finished, replay):
    record = finished / "provenance.json"
    settings = json.loads(record.read_text())["Settings"]
    edit_json(record, Settings={**settings, "smoothing_fwhm_mm": [6.0]})
    code, text, _ = replay(finished)
    assert code == 1
    line = next(x for x in text.splitlines() if x.startswith(f"group/{T_MAP}.nii.gz"))
    assert "differs" in line
    assert "changed since" not in line


def test_a_missing_result_is_told(remade, replay):
    (remade / "group" / f"{T_MAP}.nii.gz").unlink()
    code, text, _ = replay(remade / "group" / f"{T_MAP}.json")
    assert code == 1
    assert any(f"{T_MAP}.nii.gz" in x and x.endswith("missing") for x in text.splitlines())


def test_a_missing_result_may_be_asked_for(remade, replay):
    path = remade / "group" / f"{T_MAP}.nii.gz"
    path.unlink()
    code, text, _ = replay(path)
    assert code == 1
    assert "1 of 2 files are equal" in text


def test_the_record_stands_for_its_results(remade, replay):
    code, text, err = replay(remade / "provenance.json")
    assert (code, text) == replay(remade)[:2], err
    assert code == 0


def test_a_later_file_is_told_and_does_not_count(remade, replay):
    (remade / "group" / "notes.txt").write_text("mine")
    code, text, _ = replay(remade)
    assert code == 0
    assert "group/notes.txt was not made by the run" in text


def test_other_versions_are_told(remade, replay):
    record = remade / "provenance.json"
    versions = json.loads(record.read_text())["SoftwareVersions"]
    edit_json(record, SoftwareVersions={**versions, "numpy": "1.0"})
    code, text, _ = replay(remade)
    assert code == 0
    assert "Other versions than then: numpy 1.0 -> " in text


def other_versions(top):
    """Let all sidecars of results, and their report, name another version of numpy."""
    for path in (top / "group").glob("*.json"):
        content = json.loads(path.read_text())
        if "SoftwareVersions" in content:
            content["SoftwareVersions"]["numpy"] = "1.0.9"
            path.write_text(json.dumps(content, indent=2) + "\n")
    (report,) = (top / "group").glob("*_report.html")
    text = report.read_text()
    assert "<dt>numpy</dt><dd>" in text
    before, _, after = text.partition("<dt>numpy</dt><dd>")
    report.write_text(f"{before}<dt>numpy</dt><dd>1.0.9{after[after.index('<') :]}")


def map_moved(by):
    def change(top):
        path = top / "group" / f"{T_MAP}.nii.gz"
        image = nib.load(path)
        values = image.get_fdata(dtype=np.float32) * np.float32(1 + by)
        nib.save(nib.Nifti1Image(values, None, image.header), path)

    return change


def one_survivor_more(top):
    path = next((top / "group").glob("*stat-z_desc-bonferroni*_statmap.nii.gz"))
    image = nib.load(path)
    values = image.get_fdata(dtype=np.float32).copy()
    values[tuple(np.argwhere(values == 0)[100])] = 1e-7
    nib.save(nib.Nifti1Image(values, None, image.header), path)


def another_label(top):
    path = next((top / "group").glob("*_dseg.nii.gz"))
    image = nib.load(path)
    values = np.asanyarray(image.dataobj).copy()
    values[4, 5, 3] += 1
    nib.save(nib.Nifti1Image(values, None, image.header), path)


def a_row_moved(top):
    path = next((top / "group").glob("*_quality.tsv"))
    header, first, second, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([header, second, first, *rest]))


def a_p_across_alpha(by):
    def change(top):
        path = next((top / "group").glob(f"{STEM}_contrast-age_stat-p_statmap.nii.gz"))
        image = nib.load(path)
        values = image.get_fdata(dtype=np.float32).copy()
        values[4, 5, 3] = np.float32(0.05) * np.float32(1 + by)
        nib.save(nib.Nifti1Image(values, None, image.header), path)

    return change


def cut_short(top):
    path = top / "group" / f"{T_MAP}.nii.gz"
    path.write_bytes(path.read_bytes()[:-30])


def lost(top):
    (top / "group" / f"{T_MAP}.nii.gz").unlink()


@pytest.mark.parametrize(
    ("change", "words", "code"),
    [
        (other_versions, ("equal but for versions of software",), 0),
        (map_moved(3e-7), ("equal but for rounding: ", "1 file is equal but for rounding"), 1),
        (map_moved(1e-4), ("differs: ",), 1),
        (one_survivor_more, ("differs: 1 voxels",), 1),
        (another_label, ("differs: 1 voxels",), 1),
        (a_row_moved, ("differs: ",), 1),
        (cut_short, ("differs: cannot be read",), 1),
        (lost, ("missing",), 1),
    ],
)
def test_each_kind_of_difference_is_told_apart(remade, replay, change, words, code):
    n_files = len(json.loads((remade / "provenance.json").read_text())["Outputs"])
    change(remade)
    found, text, err = replay(remade)
    assert found == code, text + err
    assert all(word in text for word in words), text
    told_apart = ("equal but for versions", "equal but for rounding", "differs: ", "missing")
    assert [w for w in told_apart if w in text] == [w for w in told_apart if w in " ".join(words)]
    equal = n_files - (code != 0)
    assert text.splitlines()[-1] == f"{equal} of {n_files} files are equal bit for bit"


NEW = ("tfce_height_power", "contrast_tails", "smoothness_edges")


def without_settings(top, names=NEW):
    """Make results those of a version that did not have some settings."""
    record = json.loads((top / "provenance.json").read_text())
    assert all(record["Settings"].pop(name) in (2.0, {}, "valid") for name in names)
    for name in record["Outputs"]:
        path = top / name
        if path.suffix == ".json":
            about = json.loads(path.read_text(encoding="utf-8"))
            for setting in names:
                about.get("Parameters", {}).pop(setting, None)
            text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
        elif path.suffix == ".html":
            shown = "|".join(name.replace("_", " ") for name in names)
            text = path.read_text(encoding="utf-8")
            text = re.sub(rf"<div><dt>({shown})</dt><dd>[^<]*</dd></div>\n", "", text)
        else:
            continue
        if text != path.read_text(encoding="utf-8"):
            path.write_text(text, encoding="utf-8")
            record["Outputs"][name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (top / "provenance.json").write_text(json.dumps(record))


def test_settings_that_the_older_version_did_not_have_are_set_aside(finished, replay):
    written = json.loads((finished / "provenance.json").read_text())["Outputs"]
    without_settings(finished)
    now = json.loads((finished / "provenance.json").read_text())["Outputs"]
    changed = [name for name in now if now[name] != written[name]]
    assert any(name.endswith(".html") for name in changed) and len(changed) > 3
    code, text, err = replay(finished)
    assert code == 0, text + err
    assert "3 settings that the older version did not have, at their defaults" in text
    assert all(name in text for name in NEW)
    assert f"{len(changed)} files are equal but for such settings" in text
    assert text.splitlines()[-1] == f"{len(now)} of {len(now)} files are equal bit for bit"


def test_a_setting_of_both_that_differs_is_no_new_one(remade, replay):
    without_settings(remade, NEW[:1])
    path = remade / "group" / f"{T_MAP}.json"
    about = json.loads(path.read_text())
    about["Parameters"]["seed"] = 17
    path.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    code, text, _ = replay(remade)
    assert code == 1
    assert "Parameters.seed: 17 -> 0" in text and "tfce_height_power:" not in text


def test_a_setting_that_only_the_record_lacks_is_compared(remade, replay):
    record = remade / "provenance.json"
    content = json.loads(record.read_text())
    del content["Settings"]["tfce_height_power"]
    record.write_text(json.dumps(content))
    path = remade / "group" / f"{T_MAP}.json"
    about = json.loads(path.read_text())
    about["Parameters"]["tfce_height_power"] = 3.0
    path.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    code, text, _ = replay(remade)
    assert code == 1 and "Parameters.tfce_height_power: 3.0 -> 2.0" in text


def test_other_compression_of_what_the_run_wrote_is_no_difference(remade, replay, kept_run):
    record = remade / "provenance.json"
    name = f"group/{T_MAP}.nii.gz"
    content = gzip.compress(gzip.decompress((remade / name).read_bytes()), 1, mtime=0)
    (remade / name).write_bytes(content)
    assert "differs: same voxels, another header or compression (changed" in replay(remade)[1]
    outputs = json.loads(record.read_text())["Outputs"]
    edit_json(record, Outputs={**outputs, name: hashlib.sha256(content).hexdigest()})
    code, text, _ = replay(remade)
    assert code == 1
    assert "equal in content: same voxels, another header or compression" in text
    assert "1 file is equal in content and written or compressed otherwise" in text
    assert "differs" not in text
    assert f"{len(outputs) - 1} of {len(outputs)} files are equal bit for bit" in text


def test_a_p_on_the_other_side_of_alpha_is_another_decision(remade, replay, kept_run, tmp_path):
    kept = tmp_path / "kept_copy"
    shutil.copytree(kept_run, kept)
    try:
        a_p_across_alpha(-5e-7)(kept_run)
        a_p_across_alpha(-1e-7)(remade)
        assert "differs" not in replay(remade)[1]
        a_p_across_alpha(5e-7)(remade)
        assert "differs: 1 voxels" in replay(remade)[1]
    finally:
        shutil.rmtree(kept_run)
        kept.rename(kept_run)


def test_the_last_line_counts(remade, replay):
    (remade / "group" / "notes.txt").write_text("mine")
    assert replay(remade)[1].splitlines()[-1].endswith("files are equal bit for bit")


def test_another_processor_is_the_likely_cause_where_something_differs(remade, replay, kept_run):
    record = remade / "provenance.json"
    content = json.loads(record.read_text())
    blas = [{**library, "Architecture": "Katmai"} for library in content["Processor"]["BLAS"]]
    assert blas
    assert content["Processor"]["NumbaTarget"]
    edit_json(record, Processor={**content["Processor"], "BLAS": blas})
    assert "Likely cause" not in replay(remade)[1]
    name = f"group/{T_MAP}.nii.gz"
    map_moved(3e-7)(remade)
    # Of a file that was changed by hand it is not.
    assert "Likely cause" not in replay(remade)[1]
    sha256 = hashlib.sha256((remade / name).read_bytes()).hexdigest()
    edit_json(record, Outputs={**content["Outputs"], name: sha256})
    (line,) = (x for x in replay(remade)[1].splitlines() if x.startswith("Likely cause"))
    assert "Katmai -> " in line


def test_results_of_a_table_with_mask_blocks_and_design_replay(
    analyse, replay, maps_table, write_map, small_study, tmp_path
):
    table, write = maps_table
    here = tmp_path / "tables" / "deep"
    here.mkdir(parents=True)
    table["map"] = [f"../../study/{p.split('study/')[1]}" for p in table["map"]]
    write(table).rename(here / "maps.tsv")
    volume = np.zeros((9, 10, 8), np.uint8)
    volume[2:8, 2:8, 2:7] = 1
    mask = write_map("masks/mask.nii.gz", volume)
    blocks = tmp_path / "blocks.txt"
    blocks.write_text("".join(f"{1 + i % 3}\n" for i in range(12)))
    code, _, err = analyse(
        "--mask",
        mask,
        "--blocks",
        blocks,
        "--permutations",
        "20",
        source=("--maps", here / "maps.tsv"),
    )
    assert code == 0, err
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("tables", "study", "masks", "blocks.txt"):
        shutil.move(tmp_path / name, moved / name)
    code, text, err = replay(tmp_path / "out", "--inputs", moved)
    assert code == 0, text + err


def test_results_of_a_pattern_replay(analyse, replay, small_study, tmp_path):
    source = ("--pattern", f"{small_study}/{{subject}}/*_statmap.nii.gz")
    participants = ("--participants", small_study / "participants.tsv")
    both = ("--contrast", "both=age; group[patient]")
    model = ("--formula", "age + C(group)")
    assert analyse(*participants, *both, source=source, model=model)[0] == 0
    small_study.rename(tmp_path / "renamed")
    code, text, err = replay(tmp_path / "out", "--inputs", tmp_path / "renamed")
    assert code == 0, text + err


def test_what_is_made_again_can_be_kept(remade, replay, tmp_path):
    kept = tmp_path / "kept"
    assert replay(remade, "--output", kept, "--work-dir", tmp_path / "w")[0] == 0
    assert (kept / "group" / f"{T_MAP}.nii.gz").is_file()
    assert list((tmp_path / "w").iterdir()) == []
    code, _, err = replay(remade, "--output", kept)
    assert code == 2
    assert "exists; name a new folder" in err


@pytest.mark.parametrize(
    ("place", "code", "words"),
    [
        ("nowhere/x.json", 2, "does not exist"),
        ("nosuch", 2, "nosuch does not exist"),
        ("study/provenance.json", 2, "study/provenance.json does not exist"),
        ("out/group/nosuch.json", 2, "group/nosuch.json does not exist"),
        ("out/README", 2, "is no result of the run"),
        ("study", 1, "provenance.json does not exist"),
    ],
)
def test_what_is_no_result_is_refused(finished, replay, tmp_path, place, code, words):
    found, _, err = replay(tmp_path / place)
    assert found == code
    assert words in err
    assert "Traceback" not in err
    assert ("older version" in err) == (place == "study")


def test_a_damaged_record_is_named(finished, replay):
    (finished / "provenance.json").write_text("{")
    code, _, err = replay(finished)
    assert code == 1
    assert "provenance.json: is no JSON" in err
    (finished / "provenance.json").write_text("{}")
    assert "provenance.json: has no Command" in replay(finished)[2]


def test_crash_files_of_a_failed_replay_are_there(finished, replay, tmp_path):
    record = finished / "provenance.json"
    settings = json.loads(record.read_text())["Settings"]
    edit_json(record, Settings={**settings, "formula": "1 + nosuch"})
    code, _, err = replay(finished, "--work-dir", tmp_path / "w")
    assert code == 1
    assert "nosuch" in err
    assert "the same command goes on" not in err
    (crash,) = re.findall(r"traceback is in (.*)", err)
    (kept,) = (tmp_path / "w").iterdir()
    assert Path(crash).is_relative_to(kept)
    assert Path(crash).is_file()
    assert f"{kept} is kept" in err


def test_settings_of_another_version_are_named(finished, replay):
    record = finished / "provenance.json"
    settings = json.loads(record.read_text())["Settings"]
    edit_json(record, Settings={**settings, "of_tomorrow": 1})
    code, _, err = replay(finished)
    assert code == 1
    assert "settings that this version does not know: of_tomorrow" in err


def plain(line):
    """Return a line without its numbers and names of files, and of processors."""
    line = re.sub(r"group/\S+", "FILE", " ".join(line.split()))
    line = re.sub(r"(?<=BLAS ).*", "LIBRARY", line)
    return re.sub(r"\d[\d.,]*(e-\d+)?", "N", line)


def test_the_documentation_shows_what_is_printed(remade, replay):
    record, group = remade / "provenance.json", remade / "group"
    content = json.loads(record.read_text())
    other_versions(remade)
    (effect,) = group.glob("*contrast-age_stat-effect_statmap.nii.gz")
    for path, change in ((group / f"{T_MAP}.nii.gz", 0.5), (effect, 3e-7)):
        image = nib.load(path)
        values = image.get_fdata(dtype=np.float32).copy()
        values[4, 5, 3] += change if change == 0.5 else change * values[4, 5, 3]
        nib.save(nib.Nifti1Image(values, None, image.header), path)
    made = {f"group/{effect.name}": hashlib.sha256(effect.read_bytes()).hexdigest()}
    versions = {**content["SoftwareVersions"], "numpy": "1.0"}
    blas = [{**library, "Architecture": "Katmai"} for library in content["Processor"]["BLAS"]]
    edit_json(
        record,
        Outputs={**content["Outputs"], **made},
        SoftwareVersions=versions,
        Processor={**content["Processor"], "BLAS": blas},
    )
    printed = {plain(line) for line in replay(remade)[1].splitlines()}
    (shown,) = (
        block.text
        for block in code_blocks(DOCS / "provenance.rst")
        if "are what they were" in block.text
    )
    assert {plain(line) for line in shown.strip().splitlines()} - printed == set(), printed
