"""``nipype-group run`` with input that cannot be used: a message, and no results."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

SHAPE = (9, 10, 8)


@pytest.fixture
def refused(analyse, tmp_path):
    """Return a function that runs the command and checks that it is refused by name."""

    def run(*arguments, says, code=None, **options):
        got, out, err = analyse(*arguments, **options)
        assert got == code if code is not None else got not in (0, None)
        message = out + err
        missing = [text for text in says if text not in message]
        assert not missing, message
        assert "Traceback" not in message
        assert not list(tmp_path.rglob("group"))
        return message

    return run


def truncate(path, write_map):
    path.write_bytes(path.read_bytes()[:300])


def move(path, write_map):
    image = nib.load(path)
    affine = image.affine.copy()
    affine[0, 3] += 1.5
    write_map(path, image.get_fdata(dtype=np.float32), affine)


def crop(path, write_map):
    image = nib.load(path)
    write_map(path, image.get_fdata(dtype=np.float32)[:, :, 1:], image.affine)


def empty(path, write_map):
    write_map(path, np.full(SHAPE, np.nan, dtype=np.float32))


def copy_first(path, write_map):
    first = next(p for p in path.parents[1].rglob("sub-01*.nii.gz"))
    path.write_bytes(first.read_bytes())


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (truncate, "cannot be read as an image"),
        (move, "another grid"),
        (crop, "9 x 10 x 7 voxels"),
        (empty, "every voxel is 0 or not finite"),
        (copy_first, "the same values as sub-01"),
    ],
)
def test_bad_map_is_named(refused, small_study, write_map, spoil, says):
    path = next(small_study.rglob("sub-06*.nii.gz"))
    spoil(path, write_map)
    message = refused(says=[path.name, says, "--on-bad-map exclude"])
    assert "sub-07" not in message


def test_subject_with_two_maps(refused, maps_table):
    table, write = maps_table
    table.loc[7, "participant_id"] = "sub-03"
    table.loc[7, ["age", "group", "score"]] = table.loc[2, ["age", "group", "score"]]
    says = ["sub-03", "the participant has more than one such map"]
    refused(source=("--maps", write(table)), says=says)


def test_map_without_a_participant(refused, small_study):
    path = small_study / "participants.tsv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join(r for r in rows if not r.startswith("sub-09")) + "\n")
    refused(says=["sub-09", "no such participant"])


def test_unknown_column_in_the_formula(refused):
    refused(model=("--formula", "age + fluency"), says=["no column fluency", "there are", "group"])


def test_unknown_column_in_a_contrast(refused):
    refused("--contrast", "x=fluency", says=["'x'", "no column fluency", "intercept, age"])


def test_contrast_that_cannot_be_estimated(refused, tmp_path):
    rows = ["participant_id\tfirst\tsecond\tall"]
    rows += [f"sub-{i:02d}\t{i % 2}\t{1 - i % 2}\t1" for i in range(1, 13)]
    path = tmp_path / "design.tsv"
    path.write_text("\n".join(rows) + "\n")
    refused(
        *("--contrast", "x=first"),
        model=("--design", path),
        says=["'x' cannot be estimated: the design does not determine first"],
    )


def test_fewer_maps_than_columns(refused, maps_table):
    table, write = maps_table
    source = ("--maps", write(table.iloc[:2]))
    message = refused(source=source, model=("--formula", "age + C(group)"), says=["2"])
    assert "degree" in message or "columns" in message


def test_constant_covariate(refused, maps_table):
    table, write = maps_table
    table["dose"] = "5"
    refused(
        *("--contrast", "x=dose"),
        source=("--maps", write(table)),
        model=("--formula", "dose"),
        says=["dose", "constant"],
    )


def test_formula_that_calls_python_runs_nothing(refused, tmp_path):
    touched = tmp_path / "touched"
    code = f"{{__import__('os').system('touch {touched}')}}"
    refused(model=("--formula", code), says=["__import__"], code=2)
    refused("--contrast", f"x={code}", says=["__import__", "is not understood"])
    assert not touched.exists()


def test_file_in_the_place_of_the_results(refused, tmp_path):
    place = tmp_path / "results"
    place.write_text("mine")
    refused(out=place, says=[f"{place} is a file"], code=1)
    refused(out=place / "deeper", says=[f"{place} is a file"], code=1)
    assert place.read_text() == "mine"


def test_data_set_of_another_program_in_the_place_of_the_results(refused, tmp_path):
    place = tmp_path / "fmriprep"
    place.mkdir()
    description = place / "dataset_description.json"
    description.write_text('{"GeneratedBy": [{"Name": "fMRIPrep"}]}')
    refused(out=place, says=["fMRIPrep", str(description)], code=1)
    assert [p.name for p in place.iterdir()] == ["dataset_description.json"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--alpha", "5"), ["alpha", "5"]),
        (("--alpha", "0"), ["alpha"]),
        (("--threshold-z", "0.001"), ["0.001 looks like a p value", "fpr"]),
        (("--threshold-z", "-3.1"), ["the tail chooses the side"]),
        (("--threshold-z", "3.1", "--height-control", "fdr"), ["threshold_z goes with"]),
        (("--height-control", "none"), ["needs threshold_z"]),
        (("--height-control", "fdr", "--height-control", "fdr"), ["names one twice"]),
        (("--plugin-args", "{n_procs: 2}"), ["--plugin-args is no JSON"]),
        (("--plugin-args", "[2]"), ["--plugin-args is a JSON object"]),
        (("--contrast", "a b=age", "--contrast", "aB=age"), ["'a b'", "'aB'", "rename one"]),
        (("--contrast", "age"), ["'age' is not of the form NAME=EXPRESSION"]),
        (("--contrast", "?=age"), ["no letter or digit"]),
        (("--contrast", "f=age; intercept", "--permutations", "10"), ["all contrasts are F"]),
        (("--n-procs", "0"), ["--n-procs is a number >= 1"]),
        (("--permutations", "-5"), ["n_permutations is a number >= 0"]),
        (("--shards", "0"), ["n_shards is a number >= 1"]),
        (("--seed", "-1"), ["seed"]),
        (("--smooth", "5", "6"), ["one or three numbers of mm"]),
        (("--cluster-extent", "-1"), ["cluster_extent"]),
        (("--mask", "nowhere.nii"), ["nowhere.nii does not exist"]),
        (("--participants", "nowhere.tsv"), ["nowhere.tsv does not exist"]),
        (("--connectivity", "8"), ["--connectivity"]),
        (("--tail", "left"), ["--tail"]),
    ],
)
def test_arguments_that_can_only_be_a_mix_up(refused, arguments, says):
    refused(*arguments, says=says, code=2)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (("--maps", "nowhere.tsv"), "nowhere.tsv does not exist"),
        (("--bids", "nowhere"), "nowhere does not exist"),
        (("--pattern", "maps/{subject}.nii", "--select", "stat=t"), "--select goes with --bids"),
    ],
)
def test_missing_source(refused, source, says):
    refused(source=source, says=[says], code=2)


def test_pattern_without_subject(refused, small_study):
    refused(source=("--pattern", f"{small_study}/*/*.nii.gz"), says=["no {subject}"])


def test_pattern_that_matches_nothing(refused, small_study):
    source = ("--pattern", f"{small_study}/{{subject}}/con_0001.nii")
    refused(source=source, says=["no file matches", "con_0001.nii"])


def test_selection_that_matches_nothing(refused, small_study):
    source = ("--bids", small_study, "--select", "stat=cope")
    refused(source=source, says=["stat=cope", "Values found", "effect"])


def test_map_of_the_table_that_is_missing(refused, maps_table):
    table, write = maps_table
    Path(table.loc[4, "map"]).unlink()
    refused(source=("--maps", write(table)), says=["sub-05", "does not exist"])


def test_mask_on_another_grid(refused, write_map):
    mask = write_map("mask.nii", np.ones((4, 4, 4), dtype=np.uint8))
    refused("--mask", mask, says=["mask.nii", "4 x 4 x 4", "9 x 10 x 8"])


def test_unknown_plugin(refused):
    refused("--plugin", "Slurmy", says=["Slurmy"])


def test_failed_run_leaves_earlier_results_alone(analyse, small_study, tmp_path):
    assert analyse()[0] == 0
    group = tmp_path / "out" / "group"
    before = {p.name: p.read_bytes() for p in group.iterdir() if p.is_file()}
    truncate(next(small_study.rglob("sub-06*.nii.gz")), None)
    assert analyse()[0] == 1
    assert {p.name: p.read_bytes() for p in group.iterdir() if p.is_file()} == before
    assert not pd.DataFrame(before.items()).empty
