"""Models of the shapes that the specification, FitLins, bidspm and the model zoo give as examples.

Each is run on a made-up tree, as far as before anything is computed, or is refused at its place.
"""

import itertools

import pytest

PEOPLE = {
    "group": ["wide", "narrow"] * 4,
    "sex": list("MFFMMFFM"),
    "age": [23.0, 31, 44, 52, 38, 27, 61, 35],
}
WHERE = "{subject}_ses-{0}_run-{1}_contrast-{2}_stat-effect_statmap.nii"
EACH = list(itertools.product(("test", "retest"), "12", ("gain", "loss")))


def contrast(name, conditions, weights, test="t"):
    return {"Name": name, "ConditionList": conditions, "Weights": weights, "Test": test}


def node(level, name, by, x=(1,), kind="glm", contrasts=(), steps=(), formula=None):
    model = {"X": list(x), "Type": kind} | ({"Formula": formula} if formula else {})
    made = {"Level": level, "Name": name, "GroupBy": list(by), "Model": model}
    made |= {"Contrasts": list(contrasts)} if contrasts else {"DummyContrasts": {"Test": "t"}}
    instructions = {"Transformer": "pybids-transforms-v1", "Instructions": list(steps)}
    return made | ({"Transformations": instructions} if steps else {})


def edges(*pairs):
    made = []
    for source, destination, *names in pairs:
        edge = {"Source": source, "Destination": destination}
        made.append(edge | ({"Filter": {"contrast": names}} if names else {}))
    return made


RUN = node("Run", "run", ["run", "session", "subject"], ["gain", "loss", "rot_?", 1])
SUBJECT = node("Subject", "subject", ["subject", "contrast"], kind="meta")
PLAIN = node("Subject", "subject", ["subject", "contrast"])
DATASET = node("Dataset", "dataset", ["contrast"])
LEVELS = [contrast("wVn", ["group.wide", "group.narrow"], [1, -1])]
RUNS = [
    {"Name": "Replace", "Input": "run", "Replace": {"1": 1, "2": 0}, "Output": "first"},
    {"Name": "Not", "Input": "first", "Output": "last"},
]
FACTOR = {"Name": "Factor", "Input": ["sex"]}
OF_SESSIONS = {"Name": "Factor", "Input": "session"}
F_TEST = node(
    "Dataset",
    "F-test",
    [],
    ["gain", "loss"],
    contrasts=[contrast("any", ["gain", "loss"], [[1, 0], [0, 1]], "F")],
)
ROBUST = F_TEST["Model"] | {"Software": {"nipype_group": {"estimator": "sandwich"}}}
# Name: nodes, edges, and how many analyses of how many maps they are.
RUNNING = {
    # The example of the specification: runs, participants by their variances, the data set.
    "specification, example": ([RUN, SUBJECT, DATASET], None, [8, 8]),
    # NARPS: a mean of every group, its opposite, groups by a formula, from one node of subjects.
    "model zoo, NARPS": (
        [
            RUN,
            SUBJECT,
            node("Dataset", "positive", ["contrast", "group"]),
            node(
                "Dataset",
                "negative",
                ["contrast", "group"],
                contrasts=[contrast("negative", [1], [-1])],
            ),
            node(
                "Dataset",
                "between",
                ["contrast"],
                [1, "group"],
                formula="0 + C(group)",
                contrasts=[contrast("d", ["C(group)[T.wide]", "C(group)[T.narrow]"], [1, -1])],
            ),
        ],
        edges(
            ("run", "subject"),
            ("subject", "positive"),
            ("subject", "negative", "loss"),
            ("subject", "between", "loss"),
        ),
        [4, 4, 4, 4, 4, 4, 8],
    ),
    # FSL's two groups with two levels a participant: indicators of runs, weighted by variances.
    "model zoo, two levels of participants": (
        [
            RUN,
            node(
                "Session",
                "combine",
                ["subject", "contrast"],
                ["first", "last"],
                "meta",
                [contrast("last minus first", ["first", "last"], [-1, 1])],
                RUNS,
            ),
            node(
                "Dataset",
                "d",
                ["contrast"],
                ["sex.M", "sex.F"],
                steps=[FACTOR],
                contrasts=[contrast("M-F", ["sex.M", "sex.F"], [1, -1])],
            ),
        ],
        edges(("run", "combine", "loss"), ("combine", "d")),
        [8],
    ),
    # bidspm: sessions compared within participants, with levels in the place of text.
    "bidspm, sessions": (
        [
            RUN,
            node("Session", "session", ["session", "subject", "contrast"]),
            node(
                "Subject",
                "compare",
                ["subject", "contrast"],
                ["session.*"],
                steps=[OF_SESSIONS],
                contrasts=[contrast("tVr", ["session.test", "session.retest"], [1, -1])],
            ),
            DATASET,
        ],
        edges(("run", "session", "gain"), ("session", "compare"), ("compare", "dataset")),
        [8],
    ),
    # bidspm: a one-sample test of every group.
    "bidspm, within groups": (
        [RUN, PLAIN, node("Dataset", "within_group", ["contrast", "group"])],
        None,
        [4, 4, 4, 4],
    ),
    # FitLins: an F test over the contrasts of participants, on an error that holds for it.
    "FitLins, F of contrasts": ([RUN, SUBJECT, F_TEST | {"Model": ROBUST}], None, [16]),
}
# Name: nodes, place and reason.
REFUSED = {
    # bidspm writes text into X, and names its levels by dots.
    "bidspm, groups": (
        [RUN, PLAIN, node("Dataset", "between_groups", ["contrast"], [1, "group"], "glm", LEVELS)],
        "Nodes[2].Contrasts[0].ConditionList[0]",
        "write the transformation Factor of group before",
    ),
    "bidspm, groups without levels": (
        [RUN, PLAIN, node("Dataset", "between_groups", ["contrast"], [1, "group"])],
        "Nodes[2].Model.X",
        "group is text (wide, narrow)",
    ),
    "bidspm, text of sessions": (
        [
            RUN,
            node("Session", "session", ["session", "subject", "contrast"]),
            node(
                "Subject",
                "compare",
                ["subject", "contrast"],
                ["session", 1],
                contrasts=[contrast("tVr", ["test", "retest"], [1, -1])],
            ),
            DATASET,
        ],
        "Nodes[2].Contrasts[0].ConditionList[0]",
        "test is no variable of X",
    ),
    # Older models of FitLins: Conditions in DummyContrasts, no Test, a node without a Model.
    "FitLins, Conditions": (
        [{**RUN, "DummyContrasts": {"Conditions": ["gain"], "Test": "t"}}, SUBJECT, DATASET],
        "Nodes[0].DummyContrasts.Conditions",
        "did you mean Contrasts",
    ),
    "FitLins, no Test": (
        [RUN, {**SUBJECT, "DummyContrasts": {}}, DATASET],
        "Nodes[1].DummyContrasts.Test",
        "is missing",
    ),
    "FitLins, no Model": (
        [RUN, SUBJECT, {k: v for k, v in DATASET.items() if k != "Model"}],
        "Nodes[2].Model",
        "is missing",
    ),
    "FitLins, a list of DummyContrasts": (
        [RUN, SUBJECT, {**DATASET, "DummyContrasts": ["gain"]}],
        "Nodes[2].DummyContrasts",
        "an object is expected",
    ),
    # Least squares would take the contrasts of a participant for independent.
    "FitLins, F of contrasts by least squares": (
        [RUN, SUBJECT, F_TEST],
        "Nodes[2].Contrasts",
        "least squares take for independent",
    ),
    # bidspm without a node of data sets is a first level alone.
    "bidspm, no data set": ([RUN, PLAIN], "Nodes", "no node of Level dataset"),
}


@pytest.fixture
def study(tree):
    top = tree(PEOPLE, WHERE, EACH)
    tree(PEOPLE, WHERE.replace("effect", "variance"), EACH)
    return top


@pytest.mark.parametrize("name", RUNNING)
def test_examples_are_analyses_of_their_maps(name, write_model, analyses, study):
    nodes, links, sizes = RUNNING[name]
    found = analyses(write_model(*nodes, **({"Edges": links} if links else {})), study)
    assert [len(a.design.matrix) for a in found] == sizes
    assert all(a.contrasts for a in found)


@pytest.mark.parametrize("name", REFUSED)
def test_examples_that_cannot_run_are_refused_at_their_place(name, write_model, analyses, study):
    nodes, place, said = REFUSED[name]
    with pytest.raises(ValueError, match=r"model\.json") as error:
        analyses(write_model(*nodes), study)
    text = str(error.value)
    assert f"model.json: {place}: " in text
    assert said in text
    assert "\n" not in text


def test_what_input_names_and_no_map_has_is_told(write_model, analyses, study):
    given = {"subject": ["01", "sub-02", "3", "04", "05"]}
    found = analyses(write_model(RUN, SUBJECT, DATASET, Input=given), study)
    assert [len(a.design.matrix) for a in found] == [4, 4]
    notes = "; ".join(found[0].notes)
    assert "Input.subject: no map has 3; no map of 03, 06, 07, 08: Input of the model" in notes


def test_names_that_differ_in_capitals_alone_are_refused(write_model, analyses, study):
    """Folders called so are one on some disks."""
    links = edges(("run", "subject"), ("subject", "dataset"), ("subject", "Dataset"))
    nodes = [RUN, SUBJECT, DATASET, {**DATASET, "Name": "Dataset"}]
    with pytest.raises(ValueError, match="would share the name node-Dataset_contrast-gain"):
        analyses(write_model(*nodes, Edges=links), study)
