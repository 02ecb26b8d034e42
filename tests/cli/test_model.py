"""``--model`` and ``validate``: what a BIDS Stats Model says is what the options say."""

import json

import nibabel as nib
import numpy as np
import pytest

from nipype_group.tsv import read_tsv

NODE = {
    "Level": "Dataset",
    "Name": "groups",
    "GroupBy": ["contrast"],
    "Model": {
        "Type": "glm",
        "X": [1, "age", "group"],
        "Formula": "1 + age + C(group)",
        "Software": {"nipype_group": {"alpha": 0.01}},
    },
    "Contrasts": [
        {"Name": "age", "ConditionList": ["age"], "Weights": [1], "Test": "t"},
        {
            "Name": "any",
            "ConditionList": ["age", "C(group)[T.patient]"],
            "Weights": [[1, 0], [0, 1]],
            "Test": "F",
        },
    ],
}


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a model of a node with some of its parts changed."""

    def write(model=None, **changed):
        node = {**NODE, "GroupBy": [], **changed}
        node["Model"] = {**NODE["Model"], **(model or {})}
        path = tmp_path / "model.json"
        content = {"Name": "m", "BIDSModelVersion": "1.0.0", "Nodes": [node]}
        path.write_text(json.dumps(content))
        return path

    return write


def test_a_model_gives_the_maps_of_its_formula(
    command, small_study, written, no_figures, tmp_path
):
    common = ("--bids", small_study, "--plugin", "Linear", "--atlas", "none")
    model, plain = tmp_path / "model", tmp_path / "plain"
    code, out, err = command("run", model, *common, "--model", written())
    assert code == 0, err
    assert "Results" in out
    given = ("--formula", "age + C(group)", "--contrast", "age=age", "--alpha", "0.01")
    given += ("--contrast", "any=age; group[patient]", "--select", "stat=effect")
    assert command("run", plain, *common, *given)[0] == 0
    names = sorted(p.name for p in (model / "group").glob("*_statmap.nii.gz"))
    assert any("contrast-any_stat-z" in name for name in names)
    assert names == sorted(p.name for p in (plain / "group").glob("*_statmap.nii.gz"))
    for name in names:
        ours, theirs = (nib.load(top / "group" / name).get_fdata() for top in (model, plain))
        np.testing.assert_array_equal(ours, theirs)
    kept = model / "code"
    assert sorted(p.name for p in kept.iterdir()) == ["maps.tsv", "model.json"]
    assert set(read_tsv(kept / "maps.tsv")) == {"participant_id", "age", "group", "map"}
    # The record names what was read, from which the results can be made again.
    record = json.loads((model / "provenance.json").read_text())
    assert "maps.tsv" in json.dumps(record)


def test_validate_prints_what_would_run(command, small_study, written):
    code, out, err = command("validate", written())
    assert (code, err) == (0, "")
    assert "Contrast age (t): +1 age" in out
    assert "The model is valid" in out
    code, out, err = command("validate", written(), "--bids", small_study)
    assert (code, err) == (0, "")
    assert "columns intercept, age" in out
    assert "group[patient]" in out
    assert out.count("\nDesign") == 13
    assert "alpha 0.01" in out


def test_a_plan_of_a_model_is_json_of_every_analysis(command, small_study, written):
    model = written(
        {"X": [1, "age"], "Formula": None},
        GroupBy=["group"],
        Contrasts=[{"Name": "age", "ConditionList": ["age"], "Weights": [1], "Test": "t"}],
    )
    code, out, err = command("plan", "--bids", small_study, "--model", model, "--json")
    assert (code, err) == (0, "")
    plans = json.loads(out)
    assert [plan["group"] for plan in plans] == ["control", "patient"]
    assert [plan["Maps"]["NumberOfMaps"] for plan in plans] == [6, 6]
    assert plans[0]["Model"]["Columns"] == ["intercept", "age"]


def test_runs_are_combined_as_the_node_of_subjects_says(command, small_study, tmp_path):
    for path in sorted(small_study.rglob("*_statmap.nii.gz")):
        for run in "12":
            name = path.name.replace("_space", f"_run-{run}_space")
            image = nib.load(path)
            values = image.get_fdata() + (run == "2") * (image.get_fdata() != 0)
            nib.save(nib.Nifti1Image(values, image.affine), path.with_name(name))
        path.unlink()
    below = {**NODE, "Level": "Subject", "Name": "s", "GroupBy": ["subject"], "Contrasts": None}
    below |= {"Model": {"X": [1], "Type": "glm"}, "DummyContrasts": {"Test": "t"}}
    model = tmp_path / "model.json"
    nodes = [below, {**NODE, "GroupBy": []}]
    model.write_text(json.dumps({"Name": "m", "BIDSModelVersion": "1.0.0", "Nodes": nodes}))
    code, out, err = command("validate", model, "--bids", small_study)
    assert (code, err) == (0, "")
    assert "Note: node s combines 24 maps into 12, which differ in run, as their mean" in out
    assert "24 into 12, of 2 each" in out
    assert out.count("\nDesign") == 13


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--contrast", "a=age"), "--contrast says what --model tells"),
        (("--within", "session"), "--within says what --model tells"),
        (("--settings", "{model}"), "--settings does not go with --model"),
        (("--map-covariate", "thickness=a*{{subject}}"), "--map-covariate does not go with"),
    ],
)
def test_options_that_the_model_tells_are_refused(
    command, small_study, written, tmp_path, options, said
):
    model = written()
    options = [text.format(model=model) for text in options]
    code, _, err = command(
        "run", tmp_path / "out", "--bids", small_study, "--model", model, *options
    )
    assert code == 2
    assert said in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"Formula": None}, r"Nodes[0].Model.X: group is text (control, patient)"),
        ({"Formula": None, "X": [1, "score"]}, "Nodes[0].Model.X: score has no value for sub-04"),
        ({"Formula": None, "X": [1, "agee"]}, "Nodes[0].Model.X[1]: agee is no variable of the"),
        ({"Type": "meta"}, "no variance map"),
        ({"Options": {"Mask": {"desc": "brain"}}}, "Model.Options.Mask: no image has desc=brain"),
    ],
)
def test_what_does_not_fit_the_maps_is_one_line_before_anything_runs(
    command, small_study, written, tmp_path, changed, said
):
    model = written(changed, Contrasts=None, DummyContrasts={"Test": "t"})
    code, _, err = command("run", tmp_path / "out", "--bids", small_study, "--model", model)
    assert code == 1
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
