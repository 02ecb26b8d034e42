"""Alternatives that a BIDS Stats Model lists, and several models as alternatives."""

import json
import re

import pytest

from nipype_group.tsv import read_tsv

ALTERNATIVES = {
    "smoothing_fwhm_mm": [[], 4],
    "exclude": [[], ["score > 8"]],
    "height_controls": ["fdr"],
}


def node(formula="1 + age + C(group)", alternatives=None, **own):
    settings = {"seed": 3, **own}
    if alternatives is not None:
        settings["alternatives"] = alternatives
    model = {
        "Type": "glm",
        "X": [1, "age", "group"],
        "Formula": formula,
        "Software": {"nipype_group": settings},
    }
    contrast = {"Name": "age", "ConditionList": ["age"], "Weights": [1], "Test": "t"}
    return {
        "Level": "Dataset",
        "Name": "groups",
        "GroupBy": [],
        "Model": model,
        "Contrasts": [contrast],
    }


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a model; gives its path."""

    def write(*nodes, name="model.json"):
        content = {"Name": "m", "BIDSModelVersion": "1.0.0", "Nodes": list(nodes)}
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture
def run_alternatives(command, small_study, tmp_path, no_figures):
    """Return a function that runs alternatives of the small study; gives code, output, errors."""

    def run(out, *more):
        common = ("--bids", small_study, "--atlas", "none", "--permutations", "9")
        return command("multiverse", tmp_path / out, *common, "--plugin", "Linear", *more)

    return run


def maps(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.nii.gz"))}


def test_a_model_gives_the_maps_and_tables_of_its_settings(
    run_alternatives, written, tmp_path, command
):
    model = written(node(alternatives=ALTERNATIVES))
    code, _, err = run_alternatives("model", "--model", model)
    assert code == 0, err
    settings = tmp_path / "settings.json"
    content = {"formula": "age + C(group)", "contrasts": ["age=age"], "seed": 3}
    settings.write_text(json.dumps({**content, "alternatives": ALTERNATIVES}))
    select = ("--select", "stat=effect", "suffix=statmap")
    assert run_alternatives("plain", "--settings", settings, *select)[0] == 0
    # Given beside the model they are the same as in it.
    beside = tmp_path / "beside.json"
    beside.write_text(json.dumps({"alternatives": ALTERNATIVES}))
    single = written(node(), name="single.json")
    code, _, err = run_alternatives("beside", "--model", single, "--settings", beside)
    assert code == 0, err
    expected = maps(tmp_path / "plain" / "multiverse")
    assert len(expected) == 2 + 4
    for out in ("model", "beside"):
        folder = tmp_path / out / "multiverse"
        assert maps(folder) == expected
        for name in ("alternatives.tsv", "curves.tsv"):
            theirs = tmp_path / "plain" / "multiverse" / name
            assert (folder / name).read_bytes() == theirs.read_bytes()
    # One table serves them all, and a replay needs nothing else.
    code_of = tmp_path / "model" / "code" / "multiverse"
    assert sorted(path.name for path in code_of.iterdir()) == ["maps.tsv", "model.json"]
    assert set(read_tsv(code_of / "maps.tsv")) == {
        "participant_id",
        "age",
        "group",
        "score",
        "map",
    }
    code, out, err = command("replay", tmp_path / "model", "--plugin", "Linear")
    assert code == 0, out + err


def test_several_models_are_choices(run_alternatives, written, tmp_path):
    plain = written(node(alternatives={"smoothing_fwhm_mm": [[], 4]}), name="plain.json")
    other = node("1 + age", alternatives={"smoothing_fwhm_mm": [[], 4]})
    other["Model"]["X"] = [1, "age"]
    code, out, err = run_alternatives(
        "models", "--model", plain, "--model", written(other, name="age_alone.json")
    )
    assert code == 0, err
    assert "4 alternatives, the first model plain, smoothing_fwhm_mm none" in out
    table = read_tsv(tmp_path / "models" / "multiverse" / "alternatives.tsv")
    assert table["model"].tolist() == ["plain", "plain", "age_alone", "age_alone"]
    assert table["maps"].nunique() == 1 and table["peak_zscore"].nunique() == 4
    assert len(list((tmp_path / "models" / "code" / "multiverse").iterdir())) == 2


@pytest.mark.parametrize(
    ("nodes", "more", "said"),
    [
        (
            [node(alternatives={"formula": ["a", "b"]})],
            (),
            "varies formula, which is what Model.F",
        ),
        (
            [node(alternatives={"smothing": [1, 2]})],
            (),
            "Software.nipype_group.alternatives.*smoo",
        ),
        ([node()], (), "lists no alternatives"),
        ([{**node(alternatives=ALTERNATIVES), "GroupBy": ["group"]}], (), "makes 2 analyses"),
        ([node(alternatives={"estimator": ["OLS", "hubber"]})], (), "estimator hubber: .*hubber"),
        ([node(alternatives=ALTERNATIVES)], ("--smooth", "8"), "--smooth goes before the file"),
        ([node(alternatives=ALTERNATIVES)], ("--each", "contrast"), "--each"),
    ],
)
def test_what_models_cannot_say_is_named(run_alternatives, written, tmp_path, nodes, more, said):
    code, _, err = run_alternatives("bad", "--model", written(*nodes), *more)
    assert code != 0
    assert re.search(said, err), err
    assert not (tmp_path / "bad").exists()


def test_a_run_of_a_model_with_alternatives_names_the_command(command, written, small_study):
    model = written(node(alternatives=ALTERNATIVES))
    code, out, _ = command("validate", model)
    assert code == 0 and "4 alternatives, which nipype-group multiverse runs" in out
    code, _, err = command("plan", "--bids", small_study, "--model", model)
    assert code == 2 and "which nipype-group multiverse runs" in err
