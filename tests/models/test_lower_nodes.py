"""Nodes of sessions and subjects that fit designs: sums of maps, by what least squares are."""

import itertools

import numpy as np
import pytest

from nipype_group.design.participants.runs import read_weight
from nipype_group.models.places import ModelFileError
from nipype_group.tsv import read_tsv

PEOPLE = {"age": [23.0, 31, 44, 52, 38, 27]}
WHERE = "{subject}_ses-{0}_run-{1}_contrast-{2}_stat-effect_statmap.nii"
EACH = list(itertools.product("12", "12", ("faces", "houses")))
DUMMIES = {"DummyContrasts": {"Test": "t"}}
GROUP = {
    "Level": "Dataset",
    "Name": "group",
    "GroupBy": ["contrast"],
    "Model": {"X": [1], "Type": "glm"},
    **DUMMIES,
}
MINUS = {"Name": "fVh", "ConditionList": ["faces", "houses"], "Weights": [1, -1], "Test": "t"}

REPLACE = {"Name": "Replace", "Input": "run", "Replace": {"1": 0, "2": 3}, "Output": "dose"}
DOSE = {"Transformer": "pybids-transforms-v1", "Instructions": [REPLACE]}


def subjects(x, contrasts=(), by=("subject",), kind="glm", level="Subject", name="s", **more):
    made = {"Level": level, "Name": name, "GroupBy": list(by), **more}
    made |= {"Model": {"X": x, "Type": kind, **more.pop("model", {})}}
    made.pop("model", None)
    return made | ({"Contrasts": list(contrasts)} if contrasts else DUMMIES)


def sums(analysis):
    """Return what maps every participant's sum is of: name of the map to its weight."""
    table = read_tsv(analysis.files["maps_table"])
    found = {}
    for row in table.to_dict("records"):
        weight = read_weight(row["input_weight"])
        own = found.setdefault(row["participant_id"], {}).setdefault(weight.term, (weight, {}))
        own[1].setdefault(weight.part, []).append((row["map"].rpartition("/")[2], weight.weight))
    made = {}
    for label, terms in found.items():
        made[label] = {}
        for weight, parts in terms.values():
            for part in parts.values():
                for name, w in part:
                    made[label][name] = weight.factor / len(parts) * w
    return made


def told(analysis, text):
    return any(text in note for note in analysis.notes)


def test_a_contrast_of_conditions_is_a_sum_of_their_means(write_model, tree, analyses):
    """Conditions are columns of the node of subjects, as FitLins' models have them."""
    top = tree(PEOPLE, WHERE, EACH)
    model = write_model(subjects(["faces", "houses"], [MINUS]), GROUP)
    (found,) = analyses(model, top)
    assert found.contrasts[0].name == "fVh"
    assert len(found.design.matrix) == 6
    own = sums(found)["sub-01"]
    assert len(own) == 8
    for name, weight in own.items():
        assert weight == (0.25 if "faces" in name else -0.25)
    assert told(found, "node s makes sums of 48 maps: fVh (6)")


def test_least_squares_of_a_node_are_weights_of_its_maps(write_model, tree, analyses):
    """A covariate of runs: what numpy's pseudo-inverse weighs them by."""
    top = tree(PEOPLE, WHERE.replace("{2}", "faces"), EACH[::2])
    slope = {"Name": "slope", "ConditionList": ["dose"], "Weights": [2], "Test": "t"}
    node = subjects([1, "dose"], [slope], ["subject", "contrast"], Transformations=DOSE)
    (found,) = analyses(write_model(node, GROUP), top)
    dose = np.array([0.0, 3, 0, 3])
    expected = 2 * np.linalg.pinv(np.column_stack([np.ones(4), dose]))[1]
    own = sums(found)["sub-03"]
    np.testing.assert_allclose([own[name] for name in sorted(own)], expected, atol=1e-12)
    with_formula = subjects(
        ["dose"],
        [slope],
        ["subject", "contrast"],
        Transformations=DOSE,
        model={"Formula": "1 + dose"},
    )
    (other,) = analyses(write_model(with_formula, GROUP), top)
    np.testing.assert_allclose(
        [sums(other)["sub-03"][name] for name in sorted(own)], expected, atol=1e-12
    )


def test_nodes_follow_each_other(write_model, tree, analyses):
    """Runs by their variances, a contrast of conditions, the mean of sessions."""
    top = tree(PEOPLE, WHERE, EACH)
    tree(PEOPLE, WHERE.replace("effect", "variance"), EACH)
    runs = subjects([1], by=["subject", "session", "contrast"], kind="meta", name="runs")
    minus = subjects(["faces", "houses"], [MINUS], ["subject", "session"], name="minus")
    mean = subjects([1], by=["subject", "contrast"], name="mean")
    (found,) = analyses(write_model(runs, minus, mean, GROUP), top)
    table = read_tsv(found.files["maps_table"])
    assert table["variance"].notna().all()
    weights = [read_weight(text) for text in table["input_weight"][:8]]
    # Four means of two runs each, weighted by variances, and their half differences.
    assert [w.factor for w in weights] == [0.5, 0.5, -0.5, -0.5] * 2
    assert len({w.term for w in weights}) == 4
    assert {w.part for w in weights} == {"0000", "0001"}
    assert found.settings.combine_weights == "input_weight"


def test_contrasts_go_on_by_edges(write_model, tree, analyses):
    top = tree(PEOPLE, WHERE, EACH)
    plus = {**MINUS, "Name": "both", "Weights": ["1/2", "1/2"]}
    node = subjects(["faces", "houses"], [MINUS, plus])
    first = {"Level": "Run", "Name": "run", "GroupBy": ["run", "subject"], "Model": {"X": [1]}}
    edges = [
        {"Source": "run", "Destination": "s"},
        {"Source": "s", "Destination": "group", "Filter": {"contrast": ["both"]}},
    ]
    (found,) = analyses(write_model(first, node, GROUP, Edges=edges), top)
    assert found.contrasts[0].name == "both"
    assert set(sums(found)["sub-02"].values()) == {0.125}
    found = analyses(write_model(first, node, GROUP), top)
    assert [a.maps.label for a in found] == ["node-group_contrast-both", "node-group_contrast-fVh"]
    # A contrast of sessions, called by their levels.
    steps = [{"Name": "Factor", "Input": "session"}]
    later = {"Name": "later", "ConditionList": ["session.2", "session.1"], "Weights": [1, -1]}
    node = subjects(
        ["session.*"],
        [{**later, "Test": "t"}],
        ["subject", "contrast"],
        Transformations={"Transformer": "pybids-transforms-v1", "Instructions": steps},
    )
    edges[1]["Filter"] = {"contrast": ["later"]}
    with pytest.raises(
        ModelFileError, match=r"GroupBy: several maps are called subject 01.*later"
    ):
        analyses(write_model(first, node, GROUP, Edges=edges), top)


def test_who_lacks_a_condition_is_left_out_and_told(write_model, tree, analyses):
    top = tree(PEOPLE, WHERE, EACH)
    for path in (top / "sub-04").glob("*houses*"):
        path.unlink()
    (found,) = analyses(write_model(subjects(["faces", "houses"], [MINUS]), GROUP), top)
    assert len(found.design.matrix) == 5
    assert told(found, "subject 04: the maps do not determine fVh")


@pytest.mark.parametrize(
    ("node", "place", "said"),
    [
        (
            subjects(["faces", "horses"], [{**MINUS, "ConditionList": ["faces", "horses"]}]),
            "Nodes[0].Model.X[1]",
            "horses is no variable",
        ),
        (
            subjects(["faces", "houses"], [MINUS], by=["session"]),
            "Nodes[0].GroupBy",
            "add subject",
        ),
        (
            subjects([1, "dose"], by=["subject"], Transformations=DOSE),
            "Nodes[0].GroupBy",
            "add contrast",
        ),
        (
            subjects([1, "age"], by=["subject", "contrast"], kind="meta"),
            "Nodes[0].Model.Type",
            "no indicators",
        ),
        (
            subjects(["faces", "houses"], [{**MINUS, "Weights": [[1, -1]], "Test": "F"}]),
            "Nodes[0]",
            "hand no map on",
        ),
        (
            subjects(["session"], by=["subject", "contrast"]),
            "Nodes[0].Model.X",
            "is no number|text",
        ),
        (
            subjects(
                ["age"], by=["subject", "contrast"], model={"Formula": "1 + age + (1 | age)"}
            ),
            "Nodes[0].Model.Formula",
            "leave them to",
        ),
        (subjects(["faces", "houses"], [MINUS], kind="meta"), "", "no variance map"),
    ],
)
def test_what_a_node_cannot_fit_is_refused_by_place(
    write_model, tree, analyses, node, place, said
):
    top = tree(PEOPLE, WHERE, EACH)
    with pytest.raises(ValueError, match=said) as error:
        analyses(write_model(node, GROUP), top)
    assert place in str(error.value)


def test_sums_of_one_fit_have_no_variance_to_weight(write_model, tree, analyses):
    top = tree(PEOPLE, WHERE, EACH)
    tree(PEOPLE, WHERE.replace("effect", "variance"), EACH)
    group = {**GROUP, "Model": {"X": [1], "Type": "meta"}}
    node = subjects(["faces", "houses"], [MINUS], kind="meta")
    with pytest.raises(ModelFileError, match=r"Nodes\[1\].Model: .*covariance no map tells"):
        analyses(write_model(node, group), top)
    (found,) = analyses(write_model(node, GROUP), top)
    assert len(found.design.matrix) == 6
