"""Models that are wrong: one line with the place in the file, whatever is wrong."""

import copy
import json
from pathlib import Path

import pytest

from nipype_group.models.places import ModelFileError
from nipype_group.models.records import read_model
from nipype_group.models.schema import model_schema_text

SCHEMA = Path(__file__).parents[2] / "docs" / "_static" / "model.schema.json"
GOOD = {
    "Name": "m",
    "BIDSModelVersion": "1.0.0",
    "Input": {"task": "x"},
    "Nodes": [
        {
            "Level": "Run",
            "Name": "run",
            "GroupBy": ["run", "subject"],
            "Model": {"X": [1, "face"], "Type": "glm", "HRF": {"Model": "spm"}},
            "Transformations": [{"Name": "Convolve"}],
        },
        {
            "Level": "Dataset",
            "Name": "group",
            "GroupBy": ["contrast"],
            "Transformations": {
                "Transformer": "pybids-transforms-v1",
                "Instructions": [{"Name": "Scale", "Input": "age"}],
            },
            "Model": {
                "X": [1, "age", "group"],
                "Type": "GLM",
                "Formula": "1 + age + group",
                "Software": {"nipype_group": {"alpha": 0.05}},
            },
            "Contrasts": [
                {"Name": "age", "ConditionList": ["age"], "Weights": ["1/3"], "Test": "T"},
                {
                    "Name": "any",
                    "ConditionList": ["age", 1],
                    "Weights": [[1, 0], [0, 1]],
                    "Test": "F",
                },
            ],
        },
    ],
    "Edges": [{"Source": "run", "Destination": "group", "Filter": {"contrast": "a"}}],
}
NODE, STEP = "Nodes[1]", "Nodes[1].Transformations.Instructions[0]"
GONE = object()
# Place of a value, the value that is put there, where the error is, what it says.
BAD = [
    ("nodes", 1, "nodes", "did you mean Nodes"),
    ("Steps", [], "Steps", "did you mean Nodes"),
    ("Name", GONE, "Name", "is missing"),
    ("Name", 3, "Name", "is 3, text is expected"),
    ("BIDSModelVersion", GONE, "BIDSModelVersion", "is missing"),
    ("Nodes", {}, "Nodes", "a list is expected"),
    ("Nodes", [], "Nodes", "at least 1"),
    ("Input.task", {"a": 1}, "Input.task", "a list is expected"),
    ("Nodes.1.Level", "Voxel", "Nodes[1].Level", "session, subject or dataset"),
    (
        "Nodes.1.Level",
        "Subject",
        "Nodes[1].Model.Software.nipype_group",
        "of nodes of the data set",
    ),
    ("Nodes.1.Level", "Run", "Edges[0]", "has no input"),
    ("Nodes.1.Name", "run", "Nodes[1].Name", "another's too"),
    ("Nodes.1.Name", "--", "Nodes[1].Name", "no letter or digit"),
    ("Nodes.1.GroupBy", GONE, "Nodes[1].GroupBy", "is missing"),
    ("Nodes.1.GroupBy", 3, "Nodes[1].GroupBy", "a list is expected"),
    ("Nodes.1.Groupby", [], "Nodes[1].Groupby", "did you mean GroupBy"),
    ("Nodes.1.Model", [], "Nodes[1].Model", "an object is expected"),
    ("Nodes.1.Model.Type", "anova", "Nodes[1].Model.Type", "glm or meta"),
    ("Nodes.1.Model.HRF", {}, "Nodes[1].Model.HRF", "belongs to the first level"),
    (
        "Nodes.1.Model.VarianceComponents",
        [],
        "Nodes[1].Model.VarianceComponents",
        "no part of the specification",
    ),
    ("Nodes.1.Model.X", [], "Nodes[1].Model.X", "at least 1"),
    ("Nodes.1.Model.X", [1, "intercept"], "Nodes[1].Model.X[1]", "stands twice"),
    ("Nodes.1.Model.X", [1, 2], "Nodes[1].Model.X[1]", "is 2, text is expected"),
    ("Nodes.1.Model.x", [1], "Nodes[1].Model.x", "did you mean X"),
    ("Nodes.1.Model.Formula", "age", "Nodes[1].Model.Formula", "begin it with 1 . or 0"),
    ("Nodes.1.Model.Formula", "1 + iq", "Nodes[1].Model.Formula", "X does not list"),
    ("Nodes.1.Model.Formula", "1 + age +", "Nodes[1].Model.Formula", "not understood"),
    (
        "Nodes.1.Model.Formula",
        "1 + {__import__('os')}",
        "Nodes[1].Model.Formula",
        "is not allowed",
    ),
    (
        "Nodes.1.Model.Options",
        {"HighPassFilterCutoffHz": 1},
        "Nodes[1].Model.Options.HighPassFilterCutoffHz",
        "belongs to the first level",
    ),
    (
        "Nodes.1.Model.Software.nipype_group.alfa",
        1,
        "Nodes[1].Model.Software.nipype_group.alfa",
        "did you mean alpha",
    ),
    (
        "Nodes.1.Model.Software.nipype_group.alpha",
        5,
        "Nodes[1].Model.Software.nipype_group",
        "alpha",
    ),
    (
        "Nodes.1.Model.Software.nipype_group.n_permutations",
        "many",
        "Nodes[1].Model.Software.nipype_group",
        "n_permutations is to be a valid integer",
    ),
    (
        "Nodes.1.Model.Software.nipype_group.formula",
        "1",
        "Nodes[1].Model.Software.nipype_group.formula",
        "what Model.Formula or Model.X tells",
    ),
    ("Nodes.1.Transformations", [{}], "Nodes[1].Transformations", "is a list; write"),
    (
        "Nodes.1.Transformations.Transformer",
        "mine",
        "Nodes[1].Transformations.Transformer",
        "pybids-transforms-v1",
    ),
    ("Nodes.1.Transformations.Instructions.0.Name", "Scael", STEP, "did you mean Scale"),
    ("Nodes.1.Transformations.Instructions.0.Name", "Convolve", STEP, "is of time series"),
    ("Nodes.1.Transformations.Instructions.0.Name", GONE, STEP, "no Name"),
    ("Nodes.1.Transformations.Instructions.0.Input", GONE, f"{STEP}.Input", "is missing"),
    ("Nodes.1.Transformations.Instructions.0.Demean", "no", f"{STEP}.Demean", "true or false"),
    ("Nodes.1.Transformations.Instructions.0.Ddof", 1, f"{STEP}.Ddof", "is no key here"),
    (
        "Nodes.1.Contrasts.0.ConditionList",
        ["age", 1],
        "Nodes[1].Contrasts[0].Weights",
        "1 numbers for 2 conditions",
    ),
    ("Nodes.1.Contrasts.0.Weights", [0], "Nodes[1].Contrasts[0].Weights", "are all 0"),
    ("Nodes.1.Contrasts.0.Weights", ["1/0"], "Nodes[1].Contrasts[0].Weights[0]", "a number is"),
    ("Nodes.1.Contrasts.0.Weights", ["1e999999999"], "Nodes[1].Contrasts[0].Weights[0]", "number"),
    ("Nodes.1.Contrasts.0.Weights", ["9" * 5000], "Nodes[1].Contrasts[0].Weights[0]", "number"),
    (
        "Nodes.1.Contrasts.0.ConditionList",
        [["age"]],
        f"{NODE}.Contrasts[0].ConditionList[0]",
        "text",
    ),
    ("Edges.0.Filter", {"contrast": {"a": 1}}, "Edges[0].Filter.contrast", "a list is expected"),
    ("Nodes.1.Contrasts.0.Weights", [[1], [2]], "Nodes[1].Contrasts[0].Weights", "write F"),
    ("Nodes.1.Contrasts.0.Test", "z", "Nodes[1].Contrasts[0].Test", "pass, t or F"),
    ("Nodes.1.Contrasts.0.Type", "t", "Nodes[1].Contrasts[0].Type", "did you mean Test"),
    ("Nodes.1.Contrasts.0.Name", "a=b", "Nodes[1].Contrasts[0].Name", "has a ="),
    ("Nodes.1.Contrasts.0.Name", "any", "Nodes[1].Contrasts[1].Name", "another's too"),
    ("Nodes.1.Contrasts", GONE, "Nodes[1]", "neither Contrasts nor DummyContrasts"),
    (
        "Nodes.1.DummyContrasts",
        {"Conditions": [1], "Test": "t"},
        "Nodes[1].DummyContrasts.Conditions",
        "did you mean Contrasts",
    ),
    ("Edges.0.Source", "runs", "Edges[0].Source", "did you mean run"),
    ("Edges.0.Destination", "run", "Edges[0]", "maps go upwards"),
]


def changed(place, value):
    """Return the good model with another value at a place."""
    content = copy.deepcopy(GOOD)
    *above, last = [int(part) if part.isdecimal() else part for part in place.split(".")]
    at = content
    for key in above:
        at = at[key]
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return content


def test_the_good_one_is_read(tmp_path):
    path = tmp_path / "model.json"
    path.write_text(json.dumps(GOOD))
    model = read_model(path)
    group = model.nodes[1]
    assert (group.level, group.model.type, group.model.x[0]) == ("dataset", "glm", "intercept")
    assert group.contrasts[0].weights == [[1 / 3]]
    assert model.edges[0].filter == {"contrast": ["a"]}


@pytest.mark.parametrize(("place", "value", "where", "said"), BAD)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path, place, value, where, said):
    path = tmp_path / "model.json"
    path.write_text(json.dumps(changed(place, value)))
    with pytest.raises(ModelFileError, match=said) as error:
        read_model(path)
    assert str(error.value).startswith(f"{path}: {where}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[]", "{", '{"Name": 1, "Name": 2}', '{"a": NaN}'])
def test_what_is_no_object_is_refused(tmp_path, text):
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"model\.json"):
        read_model(path)


def test_conditions_are_of_x_where_there_is_no_formula(tmp_path):
    content = changed("Nodes.1.Model.Formula", GONE)
    content["Nodes"][1]["Contrasts"][0]["ConditionList"] = ["agee"]
    path = tmp_path / "model.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ModelFileError, match=r"ConditionList\[0\]: agee .* did you mean age"):
        read_model(path)


def test_the_schema_is_of_the_records():
    # Versions of pydantic differ in how they say the same.
    kept, made = (json.loads(text) for text in (SCHEMA.read_text(), model_schema_text()))
    for name, record in made["$defs"].items():
        assert list(kept["$defs"][name].get("properties", ())) == list(record["properties"])
        assert kept["$defs"][name].get("required") == record.get("required")
    assert list(kept["properties"]) == list(made["properties"])
    assert kept["properties"]["BIDSModelVersion"]["type"] == "string"
    software = kept["$defs"]["NodeModel"]["properties"]["Software"]["anyOf"][0]
    alpha = software["properties"]["nipype_group"]["properties"]["alpha"]
    assert (alpha["exclusiveMinimum"], alpha["exclusiveMaximum"]) == (0, 1)
