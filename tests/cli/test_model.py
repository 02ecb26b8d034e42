"""``--model`` and ``validate``: what a BIDS Stats Model says is what the options say."""

import itertools
import json
import shlex

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


@pytest.fixture
def grey(write_map, tmp_path):
    """Write a map of grey matter of everybody beside the study; return their pattern."""
    rng = np.random.default_rng(8)
    for i in range(12):
        values = rng.standard_normal((9, 10, 8)).astype(np.float32) + 2
        write_map(f"grey/sub-{i + 1:02d}_gm.nii.gz", values)
    return "grey/sub-{subject}_gm.nii.gz"


def test_covariates_that_are_maps_are_those_of_options(
    command, small_study, written, grey, no_figures, tmp_path
):
    """Options, the model that init writes of them, and an X whose covariate an option places."""
    covariate = f"grey={tmp_path / grey}"
    source = ("--bids", small_study, "--select", "stat=effect", "suffix=statmap")
    model = ("--formula", "age + grey", "--contrast", "both=grey; age", "--contrast", "grey=grey")
    common = ("--map-covariate", covariate, "--atlas", "none")
    plain, made = tmp_path / "plain", tmp_path / "a_smdl.json"
    code, _, err = command("run", plain, *source, *model, *common, "--plugin", "Linear")
    assert code == 0, err
    of_run = tmp_path / "b_smdl.json"
    code, out, err = command("init", made, *source, *model, *common)
    assert (code, err) == (0, "")
    assert command("init", of_run, "--from", plain)[0] == 0
    (node,) = json.loads(made.read_text())["Nodes"]
    assert node["Model"]["Software"]["nipype_group"]["map_covariates"] == [f"grey={grey}"]
    assert node["Model"]["X"] == [1, "age", "grey"]
    assert node["Model"]["Formula"] == "1 + age + grey"
    assert json.loads(of_run.read_text())["Nodes"] == [node]
    given = shlex.split(out.splitlines()[-1])
    again = tmp_path / "out"
    assert command(*given[1:2], again, *given[3:], "--plugin", "Linear")[0] == 0
    names = sorted(p.name for p in (plain / "group").glob("*.nii.gz"))
    assert any("contrast-both_stat-F" in name for name in names)
    assert names == sorted(p.name for p in (again / "group").glob("*.nii.gz"))
    for name in names:
        first, second = ((top / "group" / name).read_bytes() for top in (plain, again))
        assert first == second, name
    x = {"X": [1, "age", "grey"], "Formula": None, "Software": None}
    contrasts = [{**NODE["Contrasts"][0], "ConditionList": ["grey", "age"], "Weights": [1, -2]}]
    path = written(x, Contrasts=contrasts)
    options = ("--bids", small_study, "--model", path, "--map-covariate", covariate)
    code, out, err = command("plan", *options, "--atlas", "none", "--json")
    assert code == 0, err
    (plan,) = json.loads(out)
    (contrast,) = plan["Contrasts"]
    assert contrast["Weights"] == [{"age": -2.0, "grey": 1.0}]
    assert plan["Model"]["MapCovariates"] == ["grey"]


MAPS = "grey/sub-{subject}_gm.nii.gz"
BESIDE = {"X": [1, "age", "grey"]}
REFUSED = {
    "no place": ({"map_covariates": ["grey"]}, BESIDE, "give --map-covariate grey=GLOB"),
    "no file": ({"map_covariates": ["grey=no/{subject}.nii"]}, BESIDE, "no file matches"),
    "a variable": ({"map_covariates": [f"age={MAPS}"]}, {}, "age is a variable of the maps too"),
    "not in X": ({"map_covariates": [f"grey={MAPS}"]}, {}, "X: does not list grey"),
    "alone": ({"map_covariates": [f"grey={MAPS}"]}, {"X": ["grey"]}, "and no other column; add 1"),
    "interaction": (
        {"map_covariates": [f"grey={MAPS}"]},
        {"X": [1, "age", "grey"], "Formula": "1 + age * grey"},
        "takes it for a column",
    ),
    "no list": ({"map_covariates": "grey"}, {}, "is a list of texts"),
    "twice": ({"map_covariates": ["grey", "grey"]}, {}, "two covariates of maps are called grey"),
    "unknown": ({}, BESIDE, "grey is no variable of the maps"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_covariates_that_cannot_be_are_named_in_the_file(
    command, small_study, written, grey, kind
):
    settings, model, said = REFUSED[kind]
    software = {"nipype_group": {**settings, "estimator": "huber"}}
    model = {"X": [1, "age"], "Formula": None, "Software": software, **model}
    contrast = {"Name": "c", "ConditionList": model["X"][-1:], "Weights": [1], "Test": "t"}
    path = written(model, Contrasts=[contrast])
    code, _, err = command("plan", "--bids", small_study, "--model", path, "--atlas", "none")
    assert code != 0
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--contrast", "a=age"), "--contrast says what --model tells"),
        (("--within", "session"), "--within says what --model tells"),
        (("--settings", "{model}"), "--settings does not go with --model"),
        (("--map-covariate", "thickness"), "--map-covariate thickness is a column of --maps"),
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
        ({"Software": {"nipype_group": {"atlases": ["../x"]}}}, "nipype_group: atlas "),
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


def test_one_analysis_is_not_corrected_over_several(command, small_study, written, tmp_path):
    options = ("--model", written({}), "--across-analyses", "bonferroni", "--permutations", "9")
    code, _, err = command("run", tmp_path / "out", "--bids", small_study, *options)
    assert code == 2
    assert "--across-analyses bonferroni is of several analyses, and the model has one" in err
    assert not (tmp_path / "out").exists()


def test_a_model_of_options_gives_their_maps(command, small_study, no_figures, tmp_path):
    """Options, the model of them, and the model of the record of their run."""
    common = ("--plugin", "Linear")
    atlas = ("--atlas", "none")
    model = ("--formula", "C(group) + age", "--contrast", "groups=pairs(group)")
    model += ("--contrast", "any=age; group[patient]", "--alpha", "0.01", "--tail", "positive")
    source = ("--bids", small_study, "--select", "stat=effect", "suffix=statmap", "task=rest")
    plain = tmp_path / "plain"
    code, _, err = command("run", plain, *source, *model, *atlas, *common)
    assert code == 0, err
    made, of_run = tmp_path / "a_smdl.json", tmp_path / "b_smdl.json"
    code, out, err = command("init", made, *source, *model, *atlas)
    assert (code, err) == (0, "")
    assert command("init", of_run, "--from", plain)[0] == 0
    texts = [json.loads(path.read_text()) for path in (made, of_run)]
    assert {**texts[0], "Name": ""} == {**texts[1], "Name": ""}
    assert texts[0]["Input"] == {"task": ["rest"]}
    given = shlex.split(out.splitlines()[-1])
    assert command(*given[1:2], tmp_path / "out", *given[3:], *common)[0] == 0
    names = sorted(p.name for p in (plain / "group").glob("*.nii.gz"))
    assert any("contrast-any_stat-z" in name for name in names)
    assert names == sorted(p.name for p in (tmp_path / "out" / "group").glob("*.nii.gz"))
    for name in names:
        first, second = ((top / "group" / name).read_bytes() for top in (plain, tmp_path / "out"))
        assert first == second, name
    # What stands there stays.
    before = made.read_bytes()
    code, _, err = command("init", made, *source, *model)
    assert code == 2
    assert "exists; name a new file" in err
    assert made.read_bytes() == before
    code, _, err = command("init", tmp_path / "c.json", "--from", tmp_path / "out")
    assert code == 2
    assert "model, which stands there" in err


@pytest.fixture
def repeated_study(write_map, tmp_path):
    """Write maps of six participants, two sessions and two contrasts, and participants.tsv."""
    rng = np.random.default_rng(3)
    rows = ["participant_id\tage\tgroup"]
    for i in range(6):
        label = f"sub-{i + 1:02d}"
        rows.append(f"{label}\t{20 + i * i}\t{'ab'[i % 2]}")
        for session, contrast in itertools.product("12", ("faces", "houses")):
            entities = f"{label}_ses-{session}_contrast-{contrast}_stat-effect_statmap"
            write_map(f"tree/{label}/{entities}.nii", rng.standard_normal((4, 4, 3)))
    (tmp_path / "tree" / "participants.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path / "tree"


OF_EFFECTS = ("--select", "stat=effect", "suffix=statmap")
FACES = ("contrast=faces", "ses=1")


@pytest.mark.parametrize(
    "options",
    [
        ("contrast=faces,houses", "ses=1,2", "--within", "contrast,C(ses)", "--between", "group"),
        ("contrast=faces", "ses=1,2", "--combine", "session", "--formula", "age"),
        ("contrast=faces", "ses=1,2", "--formula", "C(ses) + C(participant_id)"),
    ],
)
def test_what_options_say_a_model_says(command, repeated_study, tmp_path, options):
    """The command itself compares maps, design and contrasts of the two."""
    words = ("--within",) if "--within" in options else ()
    contrast = () if words else ("--contrast", "d=age" if "age" in options else "d=pairs(ses)")
    more = ("--covariates", "age") if words else ()
    given = ("--bids", repeated_study, *OF_EFFECTS, *options, *contrast, *more)
    code, _, err = command("init", tmp_path / "m.json", *given)
    assert (code, err) == (0, "")
    code, out, err = command("validate", tmp_path / "m.json", "--bids", repeated_study)
    assert (code, err) == (0, "")
    assert ("Error(participant_id" in out) == bool(words)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--pattern", "{top}/{{subject}}/*.nii", "--formula", "1"), "name it by --bids"),
        (("--bids", "{top}", "--formula", "1", "--model", "{model}"), "not allowed with"),
        (("--bids", "{top}", "--model", "{model}"), "init writes one"),
        (("--from", "{top}"), "provenance.json"),
        (("--from", "{top}", "--formula", "1"), "--formula does not go with --from"),
        (
            ("--bids", "{top}", *OF_EFFECTS, *FACES, "--formula", "age")
            + ("--missing-covariates", "mean"),
            "leave --missing-covariates out",
        ),
    ],
)
def test_what_no_model_says_is_refused(command, repeated_study, tmp_path, options, said):
    (tmp_path / "other.json").write_text("{}")
    names = {"top": repeated_study, "model": tmp_path / "other.json"}
    given = [text.format(**names) for text in options]
    more = () if "--from" in given else ("--contrast", "m=intercept")
    code, _, err = command("init", tmp_path / "m.json", *given, *more)
    assert code in (1, 2)
    assert said in err
    assert not (tmp_path / "m.json").exists()


def test_a_contrast_of_subjects_is_what_numpy_makes_of_the_maps(
    command, repeated_study, no_figures, tmp_path
):
    """A node of subjects fits two conditions; the group's effect is the mean of its contrast."""
    below = {"Level": "Subject", "Name": "s", "GroupBy": ["subject"]}
    below |= {"Model": {"X": ["faces", "houses"], "Type": "glm"}}
    minus = {"Name": "fVh", "ConditionList": ["faces", "houses"], "Weights": [1, -1], "Test": "t"}
    group = {"Level": "Dataset", "Name": "g", "GroupBy": ["contrast"]}
    group |= {"Model": {"X": [1], "Type": "glm"}, "DummyContrasts": {"Test": "t"}}
    nodes = [below | {"Contrasts": [minus]}, group]
    model = tmp_path / "model.json"
    model.write_text(json.dumps({"Name": "m", "BIDSModelVersion": "1.0.0", "Nodes": nodes}))
    out = tmp_path / "out"
    options = ("--plugin", "Linear", "--atlas", "none", "--height-control", "fdr")
    code, said, err = command("run", out, "--bids", repeated_study, "--model", model, *options)
    assert code == 0, err
    assert "node s makes sums of 24 maps: fVh (6)" in said
    each = []
    for person in sorted(repeated_study.glob("sub-*")):
        values = {
            name: np.mean([nib.load(p).get_fdata() for p in person.glob(f"*{name}*")], axis=0)
            for name in ("faces", "houses")
        }
        each.append(values["faces"] - values["houses"])
    (effect,) = (out / "group").glob("*contrast-fVh_stat-effect_statmap.nii.gz")
    np.testing.assert_allclose(nib.load(effect).get_fdata(), np.mean(each, axis=0), atol=1e-6)
    (t_map,) = (out / "group").glob("*contrast-fVh_stat-t_statmap.nii.gz")
    expected = np.mean(each, axis=0) / (np.std(each, axis=0, ddof=1) / np.sqrt(6))
    np.testing.assert_allclose(nib.load(t_map).get_fdata(), expected, rtol=1e-4)
    rows = read_tsv(out / "group" / "observations.tsv")
    assert rows["n_combined"].tolist() == ["4"] * 6 or rows["n_combined"].tolist() == [4] * 6


def _two_levels(path, weights=(1, -1), kind="glm"):
    """Write a model of a contrast of conditions within subjects, and of its mean and age."""
    below = {"Level": "Subject", "Name": "s", "GroupBy": ["subject"]}
    below |= {"Model": {"X": ["faces", "houses"], "Type": "glm"}}
    of = {"Name": "fVh", "ConditionList": ["faces", "houses"], "Weights": list(weights)}
    group = {"Level": "Dataset", "Name": "g", "GroupBy": ["contrast"]}
    group |= {"Model": {"X": [1, "age"], "Type": kind}, "DummyContrasts": {"Test": "t"}}
    nodes = [below | {"Contrasts": [of | {"Test": "t"}]}, group]
    path.write_text(json.dumps({"Name": "m", "BIDSModelVersion": "1.0.0", "Nodes": nodes}))


def _edit_map(tree, _model, _out):
    path = next(tree.glob("sub-03/*ses-2_contrast-houses*.nii"))
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), path)


def _edit_participants(tree, _model, _out):
    path = tree / "participants.tsv"
    path.write_text(path.read_text().replace("sub-02\t21", "sub-02\t44"))


def _edit_weights(_tree, model, _out):
    _two_levels(model, weights=(2, -1))


def _lose_a_map(tree, _model, _out):
    next(tree.glob("sub-05/*ses-1_contrast-faces*.nii")).unlink()


def _lose_results(_tree, _model, out):
    next((out / "group").glob("*stat-t_statmap.nii.gz")).unlink()
    next((out / "group").glob("*design.tsv")).write_text("gone\n")


def test_reruns_of_nodes_below_are_fresh_runs_and_replays_have_their_bits(
    command, repeated_study, no_figures, tmp_path
):
    """After edits of a map, the table, the weights, and of results; each on top of the last."""
    model, out = tmp_path / "model.json", tmp_path / "out"
    _two_levels(model)
    options = ("--bids", repeated_study, "--model", model, "--plugin", "Linear")
    options += ("--atlas", "none", "--height-control", "fdr", "--permutations", "20")

    def results(folder):
        code, _, err = command("run", folder, *options)
        assert code == 0, err
        top = folder / "group"
        # Pages and records tell the folder.
        kept = (p for p in top.rglob("*") if p.name.endswith((".nii.gz", ".tsv")))
        return {str(p.relative_to(top)): p.read_bytes() for p in kept}

    before = results(out)
    edits = (_edit_map, _edit_participants, _edit_weights, _lose_a_map, _lose_results)
    for number, edit in enumerate(edits):
        edit(repeated_study, model, out)
        fresh, again = results(tmp_path / f"fresh{number}"), results(out)
        assert again == fresh, edit.__name__
        assert (again == before) == (edit is _lose_results), edit.__name__
        before = again
    code, said, err = command("replay", out, "--plugin", "Linear")
    assert code == 0, said + err
