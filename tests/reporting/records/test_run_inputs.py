"""Inputs of a run: each with its content, and found again wherever they are."""

import hashlib
import shutil

import numpy as np
import pytest

from nipype_group.reporting.records.inputs import (
    InputsError,
    digest,
    find_inputs,
    record_inputs,
)


def named(inputs, role):
    return [i.name for i in inputs if i.role == role]


def test_maps_of_a_data_set_and_its_table(small_study):
    inputs = record_inputs({"bids_dir": str(small_study), "select": ["stat=effect"]})
    names = sorted(p.relative_to(small_study).as_posix() for p in small_study.rglob("*.nii.gz"))
    assert named(inputs, "map") == names
    assert named(inputs, "participants") == ["participants.tsv"]
    for item in inputs:
        assert item.path == small_study / item.name
        assert item.sha256 == hashlib.sha256(item.path.read_bytes()).hexdigest()


def test_pattern_and_its_variances(write_map, tmp_path):
    for i in (1, 2):
        write_map(f"fl/{i}/cope1.nii", np.full((2, 2, 2), float(i)))
        write_map(f"fl/{i}/varcope1.nii", np.full((2, 2, 2), i + 5.0))
        (tmp_path / "design.con").write_text("")
    files = {
        "pattern": f"{tmp_path}/fl/{{subject}}/cope1.nii",
        "variance_pattern": f"{tmp_path}/fl/{{subject}}/varcope1.nii",
    }
    inputs = record_inputs(files)
    # What says which contrast a cope is of is read too.
    assert sorted(named(inputs, "map")) == ["../design.con", "1/cope1.nii", "2/cope1.nii"]
    assert named(inputs, "variance") == ["1/varcope1.nii", "2/varcope1.nii"]


def test_both_files_of_an_analyze_image(write_map, tmp_path):
    import nibabel as nib

    for i in (1, 2):
        path = tmp_path / "spm" / str(i) / "con_0001.img"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Pair(np.full((2, 2, 2), i, np.float32), np.eye(4)), path)
    inputs = record_inputs({"pattern": f"{tmp_path}/spm/{{subject}}/con_0001.img"})
    assert named(inputs, "map") == [
        "1/con_0001.img",
        "1/con_0001.hdr",
        "2/con_0001.img",
        "2/con_0001.hdr",
    ]


def test_files_of_settings_and_of_the_model(small_study, write_map, tmp_path):
    atlas = write_map("atlas/brain.nii.gz", np.ones((2, 2, 2), np.uint8))
    (tmp_path / "atlas" / "brain.csv").write_text("index,name\n1,brain\n")
    (tmp_path / "atlas" / "other.csv").write_text("index,name\n1,other\n")
    (tmp_path / "eb.csv").write_text("1\n")
    mask = write_map("mask.nii", np.ones((2, 2, 2)))
    files = {"bids_dir": str(small_study), "select": ["stat=effect"], "mask_file": str(mask)}
    blocks = (str(tmp_path / "eb.csv"),)
    inputs = record_inputs(files, blocks=blocks, atlases=("aal", str(atlas)))
    assert named(inputs, "mask_file") == ["mask.nii"]
    assert named(inputs, "blocks") == ["eb.csv"]
    assert named(inputs, "atlas 2") == ["brain.nii.gz", "brain.csv"]
    assert named(inputs, "atlas 1") == []
    assert record_inputs(files, blocks=("site", "scanner"))[-1].role == "mask_file"


def test_a_merged_image_stands_for_its_maps(write_map, tmp_path):
    stack = write_map("all.nii", np.ones((2, 2, 2, 3)))
    (tmp_path / "p.tsv").write_text("participant_id\n1\n2\n3\n")
    inputs = record_inputs({"stack_file": str(stack), "participants": str(tmp_path / "p.tsv")})
    assert [(i.role, i.name) for i in inputs] == [
        ("participants", "p.tsv"),
        ("stack_file", "all.nii"),
    ]


def test_digest_tells_content_name_and_role(small_study):
    files = {"bids_dir": str(small_study), "select": ["stat=effect"]}
    inputs = record_inputs(files)
    before = digest(inputs)
    assert digest(record_inputs(files)) == before
    assert digest(inputs[:-1]) != before
    path = small_study / "participants.tsv"
    path.write_text(path.read_text() + "sub-13\t1\tcontrol\t1\n")
    assert digest(record_inputs(files)) != before


def test_moved_files_are_found_by_content_and_others_named(small_study, tmp_path):
    inputs = record_inputs({"bids_dir": str(small_study), "select": ["stat=effect"]})
    assert find_inputs(inputs) == inputs
    away = tmp_path / "away"
    away.mkdir()
    shutil.move(inputs[0].path, away / "renamed.gz")
    inputs[1].path.write_bytes(b"other")
    with pytest.raises(InputsError) as caught:
        find_inputs(inputs)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("2 of 13 inputs")
    assert lines[1] == f"  {inputs[0].path} (map): missing"
    assert lines[2].startswith(f"  {inputs[1].path} (map): another SHA-256")
    with pytest.raises(InputsError, match="1 of 13 inputs"):
        find_inputs(inputs, [away])
    inputs[1].path.unlink()
    shutil.copy(inputs[2].path, away / "same.gz")
    with pytest.raises(InputsError, match=r"sub-02.*missing"):
        find_inputs(inputs, [away])
