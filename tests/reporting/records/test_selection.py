"""Whether a run is a rerun of the results that stand in its folder."""

import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.reporting.records.inputs import digest, record_inputs
from nipype_group.reporting.records.record import ProvenanceRecord, write_provenance
from nipype_group.reporting.records.selection import Selection, other_selection
from nipype_group.workflows import AnalysisSettings


def images(folder, contrast, seed=0, n=6):
    """Write maps of one contrast with a stack and a table of them."""
    rng = np.random.default_rng([seed, *contrast.encode()])
    paths = []
    for i in range(1, n + 1):
        path = folder / f"sub-{i}" / f"sub-{i}_contrast-{contrast}_stat-effect_statmap.nii"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(rng.standard_normal((2, 2, 2)), np.eye(4)), path)
        paths.append(path)
    rows = {"participant_id": [p.parent.name for p in paths]}
    rows["map"] = [p.relative_to(folder).as_posix() for p in paths]
    pd.DataFrame(rows).to_csv(folder / f"{contrast}.tsv", sep="\t", index=False)
    stack = nib.concat_images([nib.load(p) for p in paths])
    nib.save(stack, folder / f"{contrast}.nii")
    nib.save(nib.Nifti1Image(rng.standard_normal((2, 2, 2)), np.eye(4)), folder / "spmT_0001.nii")
    return paths


KINDS = {
    "bids_dir": lambda d, c: {"bids_dir": str(d), "select": ["stat=effect", f"contrast={c}"]},
    "pattern": lambda d, c: {"pattern": f"{d}/{{subject}}/*_contrast-{c}_*.nii"},
    "maps_table": lambda d, c: {"maps_table": f"{d}/{c}.tsv"},
    "stack_file": lambda d, c: {"stack_file": f"{d}/{c}.nii"},
}


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "a" / "study"
    for contrast in ("go", "stop"):
        images(folder, contrast)
    return folder


def record(top, files):
    """Write the record of results of these inputs, with a sidecar."""
    (top / "group").mkdir(parents=True, exist_ok=True)
    inputs = record_inputs(files)
    about = {"Command": "run it", "InputsSHA256": digest(inputs)}
    (top / "group" / "contrast-m_stat-t_statmap.json").write_text(json.dumps(about))
    write_provenance(
        top,
        settings=AnalysisSettings(contrasts=("m=intercept",), formula="1"),
        files=files,
        inputs=inputs,
        outputs=[],
        command="run it",
        command_line=["run"],
        execution={},
    )


def reason(top, files):
    inputs = record_inputs(files)
    return other_selection(top, files, inputs, "run another", digest(inputs))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_recorded_is_read_again(study, tmp_path, kind):
    files = KINDS[kind](study, "go")
    record(tmp_path / "a" / "out", files)
    read = Selection.of_record(ProvenanceRecord.read(tmp_path / "a" / "out"))
    assert read == Selection.of_run(files, record_inputs(files))
    assert str(tmp_path) not in (tmp_path / "a" / "out" / "provenance.json").read_text()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("others", KINDS)
def test_other_maps_are_another_selection(study, tmp_path, kind, others):
    record(tmp_path / "a" / "out", KINDS[kind](study, "go"))
    assert "another selection" in reason(tmp_path / "a" / "out", KINDS[others](study, "stop"))


def edited(study):
    images(study, "go", seed=1)


def left_out(study):
    shutil.rmtree(study / "sub-1")
    table = study / "go.tsv"
    table.write_text(
        "".join(
            table.read_text().splitlines(keepends=True)[:1]
            + ["sub-2\tsub-2/sub-2_contrast-go_stat-effect_statmap.nii\n"]
        )
    )


def added(study):
    images(study, "go", n=8)


def swapped(study):
    one, other = (next((study / s).glob("*go*")) for s in ("sub-1", "sub-2"))
    one.rename(study / "kept")
    other.rename(one)
    (study / "kept").rename(other)


def renamed(study):
    for path in study.glob("sub-*/*go*"):
        path.rename(
            path.with_name(f"{path.parent.name}_contrast-go_run-1_stat-effect_statmap.nii")
        )
    table = study / "go.tsv"
    table.write_text(table.read_text().replace("contrast-go_", "contrast-go_run-1_"))


@pytest.mark.parametrize("edit", [edited, left_out, added, swapped, renamed])
@pytest.mark.parametrize("kind", KINDS)
def test_edits_within_a_selection_are_reruns(study, tmp_path, kind, edit):
    files = KINDS[kind](study, "go")
    record(tmp_path / "a" / "out", files)
    edit(study)
    assert reason(tmp_path / "a" / "out", files) is None


@pytest.mark.parametrize("kind", KINDS)
def test_moved_data_are_known_by_content(study, tmp_path, kind):
    record(tmp_path / "a" / "out", KINDS[kind](study, "go"))
    # All together, the results alone, the data alone.
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.copytree(tmp_path / "a" / "out", tmp_path / "elsewhere" / "out")
    assert reason(tmp_path / "b" / "out", KINDS[kind](tmp_path / "b" / "study", "go")) is None
    assert reason(tmp_path / "elsewhere" / "out", KINDS[kind](study, "go")) is None
    assert reason(tmp_path / "a" / "out", KINDS[kind](tmp_path / "b" / "study", "go")) is None
    other = KINDS[kind](tmp_path / "b" / "study", "stop")
    assert "another selection" in reason(tmp_path / "b" / "out", other)


@pytest.mark.parametrize("kind", KINDS)
def test_results_moved_beside_other_data_are_not_theirs(study, tmp_path, kind):
    """The path from the results to the data is the same, and the data are others."""
    record(tmp_path / "a" / "out", KINDS[kind](study, "go"))
    images(tmp_path / "b" / "study", "go", seed=5)
    shutil.copytree(tmp_path / "a" / "out", tmp_path / "b" / "out")
    files = KINDS[kind](tmp_path / "b" / "study", "go")
    assert "another selection" in reason(tmp_path / "b" / "out", files)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("others", ["bids_dir", "pattern", "maps_table"])
def test_the_same_maps_in_other_words(study, tmp_path, kind, others):
    record(tmp_path / "a" / "out", KINDS[kind](study, "go"))
    same = kind != "stack_file"
    assert (reason(tmp_path / "a" / "out", KINDS[others](study, "go")) is None) == same


def test_participants_moved_and_left_out_at_once(study, tmp_path):
    record(tmp_path / "a" / "out", KINDS["bids_dir"](study, "go"))
    shutil.copytree(study, tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / "sub-3")
    assert reason(tmp_path / "a" / "out", KINDS["bids_dir"](tmp_path / "c", "go")) is None


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"Source": 3}'])
def test_results_without_a_record(study, tmp_path, content):
    top, files = tmp_path / "a" / "out", KINDS["bids_dir"](study, "go")
    record(top, files)
    (top / "provenance.json").unlink()
    if content is not None:
        (top / "provenance.json").write_text(content)
    inputs = record_inputs(files)
    # A run that was stopped before the record: the same inputs, or the same command.
    assert other_selection(top, files, inputs, "run another", digest(inputs)) is None
    assert other_selection(top, files, inputs, "run it", "0") is None
    assert "no record" in other_selection(top, files, inputs, "run another", "0")


def test_an_empty_place_holds_no_selection(study, tmp_path):
    files = KINDS["bids_dir"](study, "go")
    assert reason(tmp_path / "nothing", files) is None
    (tmp_path / "nothing" / "group").mkdir(parents=True)
    assert reason(tmp_path / "nothing", files) is None


def test_single_maps_and_folders_of_another_package(study, tmp_path):
    files = {"path": str(study / "spmT_0001.nii"), "single": True, "stat_type": "z"}
    record(tmp_path / "a" / "out", files)
    content = json.loads((tmp_path / "a" / "out" / "provenance.json").read_text())
    assert content["Source"] == {"stat_map": "../study/spmT_0001.nii"}
    assert reason(tmp_path / "a" / "out", files) is None
    images(study, "go", seed=3)
    assert reason(tmp_path / "a" / "out", files) is None
    other = {**files, "path": str(study / "sub-1" / "sub-1_contrast-go_stat-effect_statmap.nii")}
    shutil.copy(other["path"], study / "zstat1.nii")
    other["path"] = str(study / "zstat1.nii")
    assert "another selection" in reason(tmp_path / "a" / "out", other)
