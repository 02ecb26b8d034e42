"""The size of a study from tables and headers."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.design.extent import study_extent


def write(path, shape):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(np.ones(shape, np.float32), np.diag([3.0, 3, 3, 1])).to_filename(path)
    return path


@pytest.fixture
def tree(tmp_path):
    """BIDS derivatives of six maps, one of another grid, one unreadable."""
    for label in "abcdef":
        name = f"sub-{label}/func/sub-{label}_stat-effect_statmap.nii.gz"
        write(tmp_path / name, (4, 5, 7) if label == "c" else (4, 5, 6))
    (tmp_path / "sub-e/func/sub-e_stat-effect_statmap.nii.gz").write_bytes(b"no image")
    table = pd.DataFrame(
        {
            "participant_id": [f"sub-{s}" for s in "abcdef"],
            "age": [20, 30, "n/a", 50, 60, 70],
            "site": list("xyzxyz"),
            "other": ["n/a"] * 5 + ["1"],
        }
    )
    table.to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    return tmp_path


def test_of_a_bids_tree(tree):
    files = {"bids_dir": str(tree), "select": ["stat=effect"]}
    # Intercept, age, and two of three sites; the site of the map without age is still seen.
    assert study_extent(files, "age + C(site)")[:3] == (6, (4, 5, 7), 4)
    assert study_extent(files, "1")[2] == 1
    assert study_extent(files, "0 + C(participant_id)")[2] == 6


def test_of_conditions(tree):
    for label in "abcdef":
        write(tree / f"sub-{label}/func/sub-{label}_stat-other_statmap.nii.gz", (4, 5, 6))
    files = {"bids_dir": str(tree), "select": ["stat=effect,other"]}
    assert study_extent(files, "C(stat) + C(participant_id)")[:3] == (12, (4, 5, 7), 7)


def test_of_a_pattern_and_a_table_of_participants(tree):
    files = {"pattern": str(tree / "sub-{subject}/func/*effect*.nii.gz")}
    assert study_extent(files, "1")[:3] == (6, (4, 5, 7), 1)
    files["participants"] = str(tree / "participants.tsv")
    assert study_extent(files, "site")[2] == 3


def test_of_a_table_of_maps(tree):
    table = pd.read_csv(tree / "participants.tsv", sep="\t")
    table["map"] = [f"sub-{s}/func/sub-{s}_stat-effect_statmap.nii.gz" for s in "abcdef"]
    path = tree / "maps.tsv"
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    assert study_extent({"maps_table": str(path)}, "age + site")[:3] == (6, (4, 5, 7), 4)


def test_of_a_merged_image(tree):
    files = {"stack_file": str(write(tree / "merged.nii", (3, 4, 5, 6)))}
    assert study_extent(files, "1")[:3] == (6, (3, 4, 5), 1)
    files["participants"] = str(tree / "participants.tsv")
    assert study_extent(files, "age + site")[:3] == (6, (3, 4, 5), 4)


def test_of_a_design_table(tree):
    files = {"bids_dir": str(tree), "select": ["stat=effect"]}
    path = tree / "design.tsv"
    path.write_text("participant_id\tone\ttwo\n" + "".join(f"sub-{s}\t1\t2\n" for s in "abcdef"))
    # The column of keys counts: a bound.
    assert study_extent(files | {"design_table": str(path)})[2] == 3
    path = tree / "design.mat"
    path.write_text("/NumWaves 2\n/NumPoints 3\n/Matrix\n1 2\n1 3\n1 5\n")
    assert study_extent(files | {"design_table": str(path)})[2] == 2


def test_headers_are_looked_at_all_over_the_study(tmp_path):
    for number in range(120):
        write(tmp_path / f"s{number:03d}_con.nii", (2, 2, 3 if number >= 60 else 2))
    found = study_extent({"pattern": str(tmp_path / "s{subject}_con.nii")}, "1")
    assert found == (120, (2, 2, 3), 1, 12, 120)


def test_voxels_are_those_of_the_largest_of_some_maps(tmp_path):
    values = np.zeros((5, 4, 6), np.float32)
    for number, n_voxels in enumerate((0, 70, 60)):
        values.flat[:n_voxels] = 1.5
        values.flat[-1] = np.nan
        image = nib.Nifti1Image(values, np.diag([3.0, 3, 3, 1]))
        image.to_filename(tmp_path / f"s{number}_con.nii.gz")
    files = {"pattern": str(tmp_path / "s{subject}_con.nii.gz")}
    assert study_extent(files, "1")[3] == 70
    # Two maps of 70 voxels can have half of 140 in common, and the grid has 120.
    assert study_extent(files, "1", 0.5)[3] == 120
    assert study_extent(files, "1", 0.9)[3] == 78
    mask = nib.Nifti1Image((np.arange(120) < 7).astype(np.uint8).reshape(5, 4, 6), np.eye(4))
    mask.to_filename(tmp_path / "mask.nii")
    assert study_extent(files | {"mask_file": str(tmp_path / "mask.nii")}, "1", 0.5)[3] == 7
    # Nothing is known of maps that are all bad.
    (tmp_path / "s1_con.nii.gz").write_bytes(b"no image")
    values[:] = 0
    nib.Nifti1Image(values, np.diag([3.0, 3, 3, 1])).to_filename(tmp_path / "s2_con.nii.gz")
    assert study_extent(files, "1")[3] == 120


def test_voxels_of_a_stack(tmp_path):
    values = np.zeros((3, 3, 3, 9), np.float32)
    values[..., 6].flat[:13] = 1
    nib.Nifti1Image(values, np.diag([3.0, 3, 3, 1])).to_filename(tmp_path / "all.nii.gz")
    found = study_extent({"stack_file": str(tmp_path / "all.nii.gz")}, "1")
    assert found == (9, (3, 3, 3), 1, 13, 9)


def test_combined_maps_are_one_of_all_their_voxels(tmp_path):
    values = np.zeros((3, 3, 3, 4), np.float32)
    for number, voxels in enumerate(((0, 5), (3, 9), (0, 4), (0, 2))):
        values[..., number].flat[slice(*voxels)] = 1
        image = nib.Nifti1Image(values[..., number], np.diag([3.0, 3, 3, 1]))
        image.to_filename(tmp_path / f"s{number // 2}_run-{number % 2}.nii")
    nib.Nifti1Image(values, np.diag([3.0, 3, 3, 1])).to_filename(tmp_path / "all.nii")
    rows = "participant_id\trun\n" + "".join(f"s{i // 2}\t{i % 2}\n" for i in range(4))
    (tmp_path / "volumes.tsv").write_text(rows)
    stack = {
        "stack_file": str(tmp_path / "all.nii"),
        "participants": str(tmp_path / "volumes.tsv"),
    }
    for files in ({"pattern": str(tmp_path / "s{subject}_run-{run}.nii")}, stack):
        assert study_extent(files, "1", combine=["run"]) == (2, (3, 3, 3), 1, 9, 4)
        assert study_extent(files, "1", combine=["day"])[0] == study_extent(files, "1")[0] == 4


@pytest.mark.parametrize(
    ("files", "formula"),
    [
        ({"select": ["stat=never"]}, "1"),
        ({"select": ["stat=effect"]}, "weight"),
        ({"select": ["stat=effect"]}, "age +"),
    ],
)
def test_what_the_run_will_refuse_is_refused(tree, files, formula):
    with pytest.raises((ValueError, KeyError)):
        study_extent({"bids_dir": str(tree), **files}, formula)


def test_images_without_headers_are_refused(tree):
    for path in tree.rglob("*.nii.gz"):
        path.write_bytes(b"no image")
    with pytest.raises(ValueError, match="no map has a header"):
        study_extent({"bids_dir": str(tree), "select": ["stat=effect"]}, "1")
