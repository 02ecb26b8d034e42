"""``nipype-group plan``: what the run then does, told before it, and nothing written."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import nipype.pipeline.engine as pe
import numpy as np
import pandas as pd
import pytest

from nipype_group.cli.main import build_parser
from nipype_group.tsv import read_tsv

PREFIX = "task-rest_space-MNI"
# Runs the command in a process that keeps what is opened for writing, or made.
_WATCHED = """
import os, sys
made = []
def watch(event, arguments):
    if event == "open" and isinstance(arguments[2], int):
        writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        path = str(arguments[0])
        if writes and "__pycache__" not in path and path != os.devnull:
            made.append(path)
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove"):
        if "__pycache__" not in str(arguments[0]):
            made.append(str(arguments[0]))
import nipype_group.interfaces
sys.addaudithook(watch)
from nipype_group.cli.main import main
code = main(sys.argv[1:])
print("CODE", code)
print("MADE", made)
"""


@pytest.fixture
def plan(command, small_study):
    """Return a function that plans the analysis of the small study."""

    def run(*arguments, formula="age", contrasts=("age=age",), source=None):
        given = source or ("--bids", small_study, "--select", "stat=effect")
        asked = [word for c in contrasts for word in ("--contrast", c)]
        model = () if formula is None else ("--formula", formula)
        return command("plan", *given, *model, *asked, *arguments)

    return run


def told(answer):
    code, out, errors = answer
    assert (code, errors) == (0, "")
    return json.loads(out)


def test_a_plan_is_text(plan):
    code, out, errors = plan(
        "--permutations",
        100,
        formula="age + C(group)",
        contrasts=("age=age", "d=patient - control"),
    )
    assert (code, errors) == (0, "")
    for words in (
        "12 maps of 12 participants are in; 0 rows are out",
        "age + C(group), by ordinary least squares",
        "rank 3 of 3 columns, 9 residual degrees of freedom, condition number",
        "age (VIF 1.0",
        "Does the effect change with age",
        "can be estimated; between participants, of one map each",
        "detects d",
        "Bonferroni level of",
        "age: false discovery rate, Benjamini-Hochberg, alpha 0.05, two-sided",
        "100 are drawn without repeats. The smallest p is 0.0099",
        "grid of 9 x 10 x 8; at most 640 are searched",
        "GiB a node",
        "rough",
    ):
        assert words in out, words


def test_the_plan_is_what_the_run_does(plan, analyse, tmp_path):
    options = ("--permutations", 60, "--seed", 3, "--tail", "positive", "--alpha", ".01")
    contrasts = ("age=age", "both=age; patient - control")
    model = "age + C(group) + score"
    planned = told(plan("--json", *options, formula=model, contrasts=contrasts))
    assert not (tmp_path / "out").exists()
    asked = [word for c in contrasts for word in ("--contrast", c)]
    code, _, errors = analyse(*options, *asked, model=("--formula", model))
    assert code == 0, errors
    group = tmp_path / "out" / "group"

    def made(name):
        return json.loads((group / f"{PREFIX}_{name}.json").read_text())

    observations, excluded = (
        read_tsv(group / f"{PREFIX}_{name}.tsv") for name in ("observations", "excluded")
    )
    assert planned["Maps"]["Maps"] == observations["map"].tolist()
    assert planned["Maps"]["Excluded"] == excluded.to_dict("records")
    assert len(planned["Maps"]["Excluded"]) == 1
    design = made("design")
    shared = [key for key in planned["Model"] if key in design]
    assert {"Columns", "Leverage", "VarianceInflation", "Confounded"} <= set(shared)
    assert {k: planned["Model"][k] for k in shared} == {k: design[k] for k in shared}
    for ours, theirs in zip(planned["Contrasts"], made("contrasts")["Contrasts"], strict=True):
        keys = ("Name", "Test", "Efficiency", "RelativeEfficiency", "Expression")
        assert {k: ours[k] for k in keys} == {k: theirs[k] for k in keys}
        effect, found = ours["DetectableEffect"], theirs["DetectableEffect"]
        assert effect["Size"] == found["Size"] and effect["Tail"] == found["Tail"] == "positive"
        # The plan bounds the voxels.
        assert effect["NumberOfVoxels"] >= found["NumberOfVoxels"]
    shuffles = made("permutations")
    assert planned["Permutation"]["Description"] == shuffles["Description"]
    for name, family in planned["Permutation"]["Families"].items():
        assert family["SmallestP"] == shuffles["Families"][name]["SmallestP"]
    results = {
        path.name.removeprefix(f"{PREFIX}_").removesuffix("_clusters.tsv")
        for path in group.glob("*_clusters.tsv")
    }
    assert {one["Name"] for one in planned["Thresholds"]} == results


def test_nothing_is_written_and_no_node_runs(small_study, tmp_path):
    command = ["plan", str(tmp_path / "results"), "--bids", str(small_study), "--select"]
    command += ["stat=effect", "--formula", "age", "--contrast", "age=age", "--permutations", "50"]
    command += ["--save-settings", str(tmp_path / "settings.json")]
    command += ["--work-dir", str(tmp_path / "work"), "--provenance"]
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "here").mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", _WATCHED, *command],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path / "here",
    )
    (tmp_path / "here").rmdir()
    assert ran.stdout.splitlines()[-2:] == ["CODE 0", "MADE []"]
    assert sorted(tmp_path.rglob("*")) == before


def test_no_statistic_is_computed(plan, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a node runs")

    monkeypatch.setattr(pe.Node, "run", refuse)
    monkeypatch.setattr("nipype_group.design.observations.read_map", refuse)
    assert told(plan("--json", "--permutations", 20))["Maps"]["NumberOfMaps"] == 12


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ("--contrast", "age=height"),
        ("--contrast", "age=age", "--formula", "height"),
        ("--contrast", "age=age", "--alpha", "5"),
        ("--contrast", "age=age", "--select", "stat=nothing"),
        ("--contrast", "age=age", "--mask", "nowhere.nii"),
        ("--contrast", "age=age", "--plugin-args", "[]"),
        ("--contrast", "age=age", "--statistics", "tfce"),
        ("--contrast", "age=age", "--shuffles", "participants.tsv"),
        ("--contrast", "age=age", "--settings", "participants.tsv"),
    ],
)
def test_errors_are_those_of_a_run(command, small_study, tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(small_study)
    formula = () if "--formula" in wrong else ("--formula", "age")
    options = ("--bids", ".", "--select", "suffix=statmap", *formula, *wrong)
    of_plan = command("plan", tmp_path / "out", *options)
    of_run = command("run", tmp_path / "out", *options, "--plugin", "Linear")
    assert of_plan[0] == of_run[0] != 0
    first = [text.partition(": ")[2] for text in (of_plan[2], of_run[2])]
    # What the stage of a run says stands behind the name of its node.
    assert first[0].strip() in first[1] or first[0] == first[1]


def test_an_output_folder_that_belongs_to_others_is_refused(plan, tmp_path):
    (tmp_path / "taken").write_text("")
    code, _, errors = plan(tmp_path / "taken")
    assert code == 2 and "taken" in errors


def test_maps_on_another_grid_are_an_error_or_left_out(plan, small_study):
    path = sorted(small_study.rglob("*.nii.gz"))[2]
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), path)
    code, _, errors = plan()
    assert code == 1 and "another grid" in errors
    about = told(plan("--json", "--on-bad-map", "exclude"))["Maps"]
    assert about["NumberOfMaps"] == 11
    assert "another grid" in about["Excluded"][0]["reason"]


def test_columns_that_cannot_be_told_apart_are_named(plan, maps_table):
    table, write = maps_table
    path = write(table.assign(site=table["group"].map({"patient": "x", "control": "y"})))
    answer = plan(formula="age + group + site", source=("--maps", path))
    assert answer[0] == 0
    assert "columns group[patient] and site[y] cannot be told apart" in answer[1].replace(
        "intercept, ", ""
    )
    assert "(VIF infinite)" in answer[1]
    code, _, errors = plan(
        formula="age + group + site",
        contrasts=("g=patient - control",),
        source=("--maps", path),
    )
    assert code == 1 and "cannot be estimated" in errors


def test_contrasts_tell_between_what_they_compare(plan, maps_table):
    table, write = maps_table
    table["participant_id"] = [f"sub-{i // 2:02d}" for i in range(12)]
    table["condition"] = ["one", "two"] * 6
    table["arm"] = np.repeat(["a", "b"], 6)
    path = write(table.drop(columns=["score", "group", "age"]))
    within = told(
        plan(
            "--json",
            formula="C(condition) + C(participant_id)",
            contrasts=("d=two - one",),
            source=("--maps", path),
        )
    )
    assert within["Contrasts"][0]["ErrorTerm"] == "within participants"
    assert within["Maps"]["Conditions"] == ["condition"]
    between = told(
        plan(
            "--json",
            "--permutations",
            20,
            "--blocks",
            "participant_id",
            "--block-exchange",
            "whole",
            formula="0 + arm",
            contrasts=("d=b - a",),
            source=("--maps", path),
        )
    )
    assert between["Contrasts"][0]["ErrorTerm"] == "between participants, of several maps"
    assert "only its results by permutation hold" in between["Contrasts"][0]["Notes"][0]


def test_a_t_and_an_f_on_errors_of_their_own_are_planned(plan, maps_table):
    table, write = maps_table
    table["participant_id"] = [f"sub-{i // 2:02d}" for i in range(12)]
    table["condition"] = ["one", "two"] * 6
    path = write(table.drop(columns=["score", "group", "age"]))
    given = {
        "formula": None,
        "source": ("--maps", path),
        "contrasts": ("d=two - one", "c=condition"),
    }
    t, f = told(plan("--json", "--within", "condition", **given))["Contrasts"]
    assert (t["DetectableEffect"]["Measure"], t["Test"]) == ("Cohen's d_z", "t")
    assert f["Question"] == "Is there an effect of condition (one, two)?"
    code, out, errors = plan("--within", "condition", **given)
    assert (code, errors) == (0, "")
    assert "detects d_z " in out and "detects f " in out


def test_volumes_of_a_4d_image_are_planned(plan, small_study, tmp_path):
    maps = [nib.load(p).get_fdata() for p in sorted(small_study.rglob("*.nii.gz"))]
    stack = tmp_path / "stack.nii.gz"
    nib.save(nib.Nifti1Image(np.stack(maps, axis=-1).astype(np.float32), np.eye(4)), stack)
    source = ("--stack", stack, "--participants", small_study / "participants.tsv")
    about = told(plan("--json", "--variance-groups", "group", "--permutations", 20, source=source))
    assert about["Maps"]["Maps"][3] == "stack.nii.gz[3]"
    assert "2 groups have their own variance" in about["Permutation"]["Description"]
    table = read_tsv(small_study / "participants.tsv").iloc[:5]
    table.to_csv(tmp_path / "few.tsv", sep="\t", index=False)
    code, _, errors = plan(source=("--stack", stack, "--participants", tmp_path / "few.tsv"))
    assert code == 1 and "12 volumes" in errors and "5 rows" in errors


def test_designs_masks_and_shuffles_of_files(plan, small_study, write_map, tmp_path):
    people = [f"sub-{i + 1:02d}" for i in range(12)]
    design = pd.DataFrame({"participant_id": people, "one": 1, "x": np.arange(12)})
    design.to_csv(tmp_path / "design.tsv", sep="\t", index=False)
    inside = np.zeros((9, 10, 8), np.uint8)
    inside[2:6, 2:6, 2:6] = 1
    mask = write_map("mask.nii.gz", inside)
    half = write_map("half.nii.gz", inside * (np.arange(8) < 4).astype(np.uint8))
    rows = [np.random.default_rng(i).permutation(12) + 1 for i in range(8)]
    shuffles = tmp_path / "shuffles.txt"
    shuffles.write_text("\n".join(" ".join(map(str, row)) for row in rows))
    files = ("--design", tmp_path / "design.tsv", "--mask", mask, "--search-volume", half)
    given = ("--permutations", 8, "--shuffles", shuffles)
    about = told(plan("--json", *files, *given, formula=None, contrasts=("x=x",)))
    assert about["Model"]["Columns"] == ["one", "x"] and about["Model"]["Formula"] is None
    assert about["Voxels"] == {"Grid": [9, 10, 8], "SearchedAtMost": 32, "From": "mask"}
    assert about["Contrasts"][0]["DetectableEffect"]["NumberOfVoxels"] == 32
    assert "8 of the given ones are used" in about["Permutation"]["Description"]


def test_the_options_are_those_of_run():
    parsers = build_parser()._subparsers._group_actions[0].choices
    options = [
        {text for action in parsers[name]._actions for text in action.option_strings}
        for name in ("run", "plan")
    ]
    assert options[1] - options[0] == {"--json"}
    assert options[0] <= options[1]


def test_many_columns_are_cut(plan, maps_table):
    table, write = maps_table
    table["participant_id"] = np.repeat([f"sub-{i:02d}" for i in range(6)], 2)
    table["condition"] = ["one", "two"] * 6
    path = write(table[["participant_id", "condition", "map"]])
    code, out, _ = plan(
        formula="C(condition) + C(participant_id)",
        contrasts=("d=two - one",),
        source=("--maps", Path(path)),
    )
    assert code == 0
    assert "told apart by condition" in out
    assert "generalized variance inflation of terms: participant_id 1" in out


def test_a_plan_tells_what_sizes_equivalence_and_sets_assume(plan):
    asked = ("--effect-sizes", "d,r2", "--equivalence", "d=0.3", "--confidence-set", "0.5")
    code, out, errors = plan(*asked)
    assert (code, errors) == (0, "")
    lines = {line[:13].strip(): line[14:] for line in out.splitlines()}
    assert lines["Effect sizes"].startswith("Cohen's d and R squared of the model, with 95 %")
    assert "regressors for fixed" in lines["Effect sizes"]
    assert "standard deviation of each voxel is taken as if it were known" in lines["Equivalence"]
    assert lines["Sets"].startswith("inner and outer sets of at least an effect of 0.5, both held")
    assert set(told(plan("--json"))["Effects"].values()) == {None}
    code, _, errors = plan(*asked, formula="1", contrasts=("mean=intercept",))
    assert code and "the model has a constant alone" in errors
