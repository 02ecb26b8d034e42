"""``nipype-group run`` with input that cannot be used: a message, and no results."""

import os
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
    # A row a map: it may have several, and nothing between participants is tested on them.
    says = ["is about what participants have in common in their maps, and 03 has several"]
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
        "--contrast",
        "x=first",
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
        "--contrast",
        "x=dose",
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
    refused(out=place, says=[f"{place} is a file"], code=2)
    refused(out=place / "deeper", says=[f"{place} is a file"], code=2)
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
        (("--plugin", "multiproc"), ["no plugin 'multiproc'", "Did you mean MultiProc?"]),
        (
            ("--plugin", "MultiProc", "--plugin-args", '{"nprocs": 2}'),
            ["MultiProc has no argument 'nprocs'", "Did you mean n_procs?", "memory_gb"],
        ),
        (
            ("--plugin", "MultiProc", "--plugin-args", '{"memory_gb": "8"}'),
            ["memory_gb of the plugin MultiProc is a number > 0, got '8'"],
        ),
        (
            ("--plugin", "SLURM", "--plugin-args", '{"max_jobs": 0}'),
            ["max_jobs of the plugin SLURM is a whole number >= 1, got 0"],
        ),
        (
            ("--plugin", "SGEGraph", "--plugin-args", '{"sbatch_args": ""}'),
            ["SGEGraph has no argument 'sbatch_args'", "qsub_args"],
        ),
        (("--atlas", "phrenology"), ["no atlas named 'phrenology'", "installed:"]),
        (("--atlas", "nowhere.nii"), ["atlas nowhere.nii does not exist"]),
        (("--atlas", "none"), ["atlases names none beside others"]),
        (("--contrast", "a b=age", "--contrast", "aB=age"), ["'a b'", "'aB'", "rename one"]),
        (("--contrast", "age"), ["'age' is not of the form NAME=EXPRESSION"]),
        (("--contrast", "?=age"), ["no letter or digit"]),
        (("--n-procs", "0"), ["--n-procs is a number >= 1"]),
        (("--permutations", "1" + "0" * 40), ["n_permutations is a number from 0 to 100000000"]),
        (("--permutations", "-5"), ["n_permutations is a number from 0 to"]),
        (("--shards", "0"), ["n_shards is a number from 1 to"]),
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
    message = refused("--plugin", "Slurmy", says=["Slurmy", "There are", "MultiProc"], code=2)
    assert "Did you mean SLURM?" in message


def test_plugin_is_looked_at_before_any_folder_is_made(refused, tmp_path):
    refused("--plugin", "Slurmy", says=["Slurmy"], code=2)
    assert not (tmp_path / "out").exists()


def test_failed_run_leaves_earlier_results_alone(analyse, small_study, tmp_path):
    assert analyse()[0] == 0
    group = tmp_path / "out" / "group"
    before = {p.name: p.read_bytes() for p in group.iterdir() if p.is_file()}
    truncate(next(small_study.rglob("sub-06*.nii.gz")), None)
    assert analyse()[0] == 1
    assert {p.name: p.read_bytes() for p in group.iterdir() if p.is_file()} == before
    assert not pd.DataFrame(before.items()).empty


PERMUTE = ("--permutations", "20")
CLUSTERS = ("--statistics", "voxel,extent")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((*PERMUTE, "--statistics", "voxel,volume"), ["statistics is one of", "'volume'"]),
        ((*PERMUTE, "--statistics", "mass,mass"), ["each once", "mass"]),
        ((*PERMUTE, "--statistics", ""), ["statistics is one of", "extent"]),
        (
            (*PERMUTE, *CLUSTERS, "--cluster-forming-z", "3", "--cluster-forming-p", "0.01"),
            ["--cluster-forming-p", "not allowed with", "--cluster-forming-z"],
        ),
        (
            (*PERMUTE, *CLUSTERS, "--cluster-forming-z", "0.001"),
            ["cluster_forming_z is at least 0.5, got 0.001; is it a p?"],
        ),
        (
            (*PERMUTE, *CLUSTERS, "--cluster-forming-p", "3.1"),
            ["cluster_forming_p lies between 0 and .5, got 3.1; is it a z?"],
        ),
        (
            (*PERMUTE, "--cluster-forming-z", "3.1"),
            ["goes with the cluster control rft, or", "extent or mass"],
        ),
        ((*PERMUTE, "--tdp-template", "simes"), ["tdp_template goes with", "ari_thresholds_z"]),
        (
            (*PERMUTE, "--voxel-shards", "2", "--statistics", "tfce"),
            ["voxel shards hold the largest voxel of a shuffle alone", "TFCE (tfce)"],
        ),
        (
            (*PERMUTE, "--voxel-shards", "2", "--early-stop", "--min-coverage", "1"),
            ["early stopping look at all voxels together"],
        ),
        (
            (*PERMUTE, "--voxel-shards", "2", "--min-coverage", "0.9"),
            ["voxels that maps lack look at all voxels together"],
        ),
        (
            (*PERMUTE, "--ari", "3", "--tdp-template", "simes", "--variance-groups", "group"),
            ["tdp_template takes t and F", "variance groups"],
        ),
        (("--statistics", "voxel,tfce"), ["statistics", "goes with a number of permutations"]),
        (("--shuffling", "flip"), ["shuffling", "goes with a number of permutations"]),
        (("--method", "dekker"), ["method", "goes with a number of permutations"]),
        (("--blocks", "group"), ["blocks", "goes with a number of permutations"]),
        (("--variance-groups", "group"), ["variance_groups", "number of permutations"]),
        (("--variance-smooth", "8"), ["variance_fwhm_mm", "number of permutations"]),
        (("--p-approximation", "gpd"), ["p_approximation", "number of permutations"]),
        (("--across-contrasts",), ["across_contrasts", "number of permutations"]),
        (
            (*PERMUTE, "--variance-smooth", "-1"),
            ["variance_fwhm_mm is a number from 0 to 100, got -1"],
        ),
        ((*PERMUTE, "--memory-gb", "0"), ["memory_gb is a number above 0, got 0"]),
        ((*PERMUTE, "--shuffles", "nowhere.txt"), ["nowhere.txt does not exist"]),
        ((*PERMUTE, "--shuffling", "swap"), ["--shuffling", "'swap'"]),
        ((*PERMUTE, "--method", "still-white"), ["--method", "'still-white'"]),
    ],
)
def test_options_of_permutation_that_can_only_be_a_mix_up(refused, arguments, says):
    refused(*arguments, says=says, code=2)


def test_shuffles_without_permutations(refused, tmp_path):
    path = tmp_path / "shuffles.txt"
    path.write_text("1 -1 " * 6 + "\n")
    refused("--shuffles", path, says=["--shuffles goes with --permutations"], code=2)


F_TEST = ("--contrast", "both=age; patient - control")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--blocks", "family"), ["no column family", "group"]),
        (("--blocks", "participant_id"), ["'age' is left as it is", "the blocks allow"]),
        (("--blocks", "group", "--block-exchange", "whole"), ["'age'"]),
        (("--blocks", "group,site", "--block-exchange", "whole"), ["blocks group, site"]),
        (("--blocks", "site", "--block-exchange", "whole"), ["blocks site: "]),
        (("--blocks", "group", "--method", "huh-jhun"), ["huh-jhun", "no blocks"]),
        (("--variance-groups", "scanner"), ["no column scanner", "there are"]),
        (("--variance-groups", "group", "--method", "manly"), ["freedman-lane, not manly"]),
        (
            ("--variance-groups", "alone", "--contrast", "age=age"),
            ["alone", "one map with the value x"],
        ),
        (("--variance-smooth", "8", *F_TEST), ["smoothed variance goes with t contrasts"]),
        (("--variance-smooth", "8", "--statistic-scale", "z"), ["a pseudo-t has no z"]),
        (("--variance-smooth", "8", *CLUSTERS), ["a pseudo-t has no p"]),
        (("--p-approximation", "gamma"), ["at least 100", "ask for more shuffles"]),
        (
            (*F_TEST, "--contrast", "age=age", "--across-contrasts", "--statistics", "tfce"),
            ["t and F contrasts compare on the scale of z", "statistic_scale z"],
        ),
        (("--shuffling", "permute", "--contrast", "mean=intercept"), ["'mean'", "auto or flip"]),
    ],
)
def test_permutation_that_cannot_be_done(refused, small_study, arguments, says):
    path = small_study / "participants.tsv"
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    table["site"], table["alone"] = list("aaaabbbccccc"), ["x"] + ["y"] * 11
    table["first"] = ["1"] + ["0"] * 11
    table.to_csv(path, sep="\t", index=False)
    model = "age + C(group)" + (" + first" if "alone" in arguments else "")
    refused(*PERMUTE, *arguments, says=says, code=1, model=("--formula", model))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["1"] * 11, ["eb.txt has 11 rows of blocks", "12 maps"]),
        (["1 1"] * 11 + ["1 0"], ["eb.txt: exchangeability blocks are integers other than 0"]),
        (["1 1"] * 11 + ["1"], ["eb.txt: rows have different numbers of columns"]),
    ],
)
def test_table_that_is_no_blocks(refused, tmp_path, rows, says):
    path = tmp_path / "eb.txt"
    path.write_text("\n".join(rows) + "\n")
    refused(*PERMUTE, "--blocks", path, says=says, code=1)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["1 -1 " * 5], ["lists shuffles of 10 maps; the analysis has 12"]),
        (["1 -1 " * 6, "1 " * 11 + "2"], ["row 2 is neither all 1 and -1 nor a permutation"]),
        (["1 -1 " * 6, "1 2 3 4 5 6 7 8 9 10 11 12"], ["row 2 is a permutation, row 1 is sign"]),
        (["1 2 3 4 5 6 7 8 9 10 11 11"], ["row 1 is neither"]),
        ([], ["the file is empty"]),
    ],
)
def test_file_that_is_no_shuffles(refused, tmp_path, rows, says):
    path = tmp_path / "shuffles.txt"
    path.write_text("\n".join(rows) + "\n")
    refused(*PERMUTE, "--shuffles", path, says=["shuffles.txt", *says], code=1)


def test_failed_permutation_leaves_earlier_results_alone(analyse, tmp_path):
    assert analyse(*PERMUTE)[0] == 0
    group = tmp_path / "out" / "group"
    before = {p.name: p.read_bytes() for p in group.iterdir() if p.is_file()}
    code, _, err = analyse(*PERMUTE, "--blocks", "participant_id")
    assert code == 1
    assert "'age' is left as it is" in err
    assert {p.name: p.read_bytes() for p in group.iterdir() if p.is_file()} == before


def test_damaged_shard_with_its_old_date_is_made_again(analyse, tmp_path):
    assert analyse(*PERMUTE)[0] == 0
    shards = {path: path.read_bytes() for path in (tmp_path / "out-work").rglob("shard.npz")}
    assert shards
    for path, content in shards.items():
        dates = path.stat()
        path.write_bytes(content[:100])
        os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    assert analyse(*PERMUTE, "--alpha", "0.1")[0] == 0
    assert {path: path.read_bytes() for path in shards} == shards
