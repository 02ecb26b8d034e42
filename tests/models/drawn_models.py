"""Drawn models: nodes of every level, of which most are read and many fit a small tree."""

import itertools
import string

from hypothesis import strategies as st

CONTRASTS, SESSIONS, RUNS = ("one", "two"), ("1", "2"), ("1", "2")
KNOWN = st.sampled_from(["age", "iq", "group", "sex", "contrast", "subject", "session"])
NAMES = st.one_of(KNOWN, KNOWN, st.sampled_from(["g*", "nothing", "one", "group.a", "iq"]))
LISTS = st.lists(NAMES, min_size=1, max_size=2, unique=True)
OF_NAMES = ["Factor", "Scale", "Demean", "Not", "DropNA", "Select", "Delete"]
STEPS = st.one_of(
    st.fixed_dictionaries({"Name": st.sampled_from(OF_NAMES), "Input": LISTS}),
    st.fixed_dictionaries(
        {
            "Name": st.just("Replace"),
            "Input": LISTS,
            "Replace": st.dictionaries(
                st.sampled_from(["a", "b", "F", "M", "1", "2"]),
                st.one_of(st.none(), st.integers(-2, 2)),
            ),
        }
    ),
    st.fixed_dictionaries({"Name": st.just("And"), "Input": LISTS, "Output": NAMES}),
)
FORMULAS = ["1 + age", "1 + iq", "0 + C(group)", "1 + group * iq", "1 + iq + C(subject)"]
DUMMIES = {"DummyContrasts": {"Test": "t"}}
# Designs of lower nodes: X, transformations, the columns that they give, and groups that suit.
DOSE = {"Name": "Replace", "Input": "run", "Replace": {"1": 0, "2": 3}, "Output": "dose"}
DEMEAN = {"Name": "Demean", "Input": "dose"}
OF_SESSIONS, OF_RUNS = ({"Name": "Factor", "Input": name} for name in ("session", "run"))
BY_MAP = [["subject", "contrast"], ["subject", "session", "contrast"]]
BY_FIT = [["subject"], ["subject", "session"], ["subject", "run"]]
MEANS = ([1], [], [1], [*BY_MAP, ["subject", "run", "contrast"]])
LOWER = [
    MEANS,
    (["one", "two"], [], ["one", "two"], BY_FIT),
    (["one", "two"], [], ["one", "two"], BY_FIT),
    ([1, "one"], [], [1, "one"], BY_FIT),
    (["session.*"], [OF_SESSIONS], ["session.1", "session.2"], BY_MAP[:1]),
    (["run.?"], [OF_RUNS], ["run.1", "run.2"], BY_MAP),
    ([1, "dose"], [DOSE], [1, "dose"], BY_MAP),
    (["one", "two", "dose"], [DOSE, DEMEAN], ["one", "two", "dose"], BY_FIT),
    ([1, "iq"], [], [1, "iq"], BY_MAP),
]
LATER = [MEANS, MEANS, (["session.*"], [OF_SESSIONS], ["session.1", "session.2"], BY_MAP[:1])]
WEIGHT = st.one_of(st.integers(-2, 2).filter(bool), st.sampled_from(["1/3", "-1/2", 0.5]))
GROUPS = [
    ["subject"],
    ["subject"],
    ["subject", "contrast"],
    ["subject", "contrast"],
    ["subject", "session"],
    ["subject", "session", "contrast"],
    ["subject", "run", "contrast"],
    ["session"],
]
FILTERS = [
    {"contrast": ["one"]},
    {"contrast": ["One", "two"]},
    {"session": [1]},
    {"session": "2", "contrast": "two"},
    {"run": ["1", "01"]},
    {"subject": ["01", "2", "sub-03", "04", "05"]},
    {"group": ["a"]},
    {"iq": [4, "1", 3.0, "8"]},
    {"iq": ["a"]},
    {"nothing": ["1"]},
]


def contrasts(draw, conditions, name):
    """Draw a contrast of some conditions."""
    width = len(conditions) + (draw(st.integers(0, 19)) == 19)
    row = st.lists(WEIGHT, min_size=width, max_size=width)
    rows = draw(st.lists(row, min_size=1, max_size=1 + (draw(st.integers(0, 4)) == 4)))
    return {
        "Name": name,
        "ConditionList": conditions,
        "Weights": rows if len(rows) > 1 else rows[0],
        "Test": "F" if len(rows) > 1 else draw(st.sampled_from(["t", "t", "t", "t", "pass", "F"])),
    }


@st.composite
def nodes(draw):
    """Draw nodes of a data set."""
    x = draw(st.lists(st.one_of(st.just(1), NAMES), min_size=1, max_size=3, unique=True))
    model = {"X": x, "Type": draw(st.sampled_from(["glm", "glm", "glm", "glm", "meta"]))}
    if draw(st.integers(0, 3)) == 3:
        model |= {
            "Formula": draw(st.sampled_from(FORMULAS)),
            "X": ["age", "iq", "group", "subject"],
        }
    if draw(st.integers(0, 4)) == 4:
        own = draw(st.sampled_from([{"estimator": "hc3"}, {"alpha": 2}, {"cluster": "group"}]))
        model["Software"] = {"nipype_group": own}
    conditions = draw(st.lists(st.sampled_from(x), min_size=1, max_size=2, unique=True))
    name = draw(st.text(string.ascii_letters + "- ", min_size=1, max_size=4))
    contrast = contrasts(draw, conditions, name)
    factors = [n for n in ("group", "sex", "session") if n in x and "Formula" not in model]
    steps = [{"Name": "DropNA", "Input": "age"}, *draw(st.lists(STEPS, max_size=2))]
    if factors and draw(st.booleans()):
        model["X"] = [f"{n}.*" if n in factors else n for n in x]
        steps.append({"Name": "Factor", "Input": factors})
    return {
        "Level": "Dataset",
        "Name": "d",
        "GroupBy": draw(
            st.sampled_from([[], [], ["contrast"], ["session"], ["session"], ["group"], ["no"]])
        ),
        "Model": model,
        **draw(
            st.sampled_from([{"Contrasts": [contrast]}, DUMMIES] if model["X"] == x else [DUMMIES])
        ),
        "Transformations": {"Transformer": "pybids-transforms-v1", "Instructions": steps},
    }


@st.composite
def lower_nodes(draw, name, level, designs, left):
    """Draw nodes of sessions and subjects, of maps that differ in what is left."""
    gone = {"session", "run"} - left
    suits = [d for d in designs if not any(name in str(d[:2]) for name in gone)]
    x, steps, columns, groups = draw(st.sampled_from(suits))
    groups = [by for by in groups if not gone & set(by)]
    groups = draw(st.sampled_from([groups] * 9 + [GROUPS]))
    node = {
        "Level": level,
        "Name": name,
        "GroupBy": draw(st.sampled_from(groups)),
        "Model": {"X": x, "Type": draw(st.sampled_from(["glm", "glm", "Meta"]))},
    }
    if steps:
        transformer = {"Transformer": "pybids-transforms-v1", "Instructions": steps}
        node["Transformations"] = transformer
    kind = draw(st.integers(0, 5))
    some = draw(st.lists(st.sampled_from(columns), min_size=1, max_size=3, unique=True))
    if kind == 0:
        return node | DUMMIES
    if kind == 1 and x == columns:
        return node | {"DummyContrasts": {"Contrasts": some, "Test": "t"}}
    more = DUMMIES if kind == 2 and x == columns else {}
    return node | {"Contrasts": [contrasts(draw, some, "d_v")]} | more


@st.composite
def models(draw):
    """Draw the nodes and edges of a model."""
    own = [{"Level": "Run", "Name": "r", "GroupBy": ["run", "subject"], "Model": {"X": [1]}}]
    own = own if draw(st.booleans()) else []
    levels = draw(
        st.sampled_from([[], ["Subject"], ["Session"], ["Session", "Subject"], ["subject"] * 2])
    )
    left = {"session", "run"}
    for i, level in enumerate(levels):
        own.append(draw(lower_nodes(f"s{i}", level, LATER if i else LOWER, left)))
        left &= set(own[-1]["GroupBy"])
    own.append(draw(nodes()) if draw(st.integers(0, 5)) == 0 else draw(groups(left)))
    links = [{"Source": a["Name"], "Destination": b["Name"]} for a, b in itertools.pairwise(own)]
    for link in links:
        if draw(st.integers(0, 3)) == 0:
            link["Filter"] = draw(st.sampled_from(FILTERS))
    return {"Nodes": own} | ({"Edges": links} if links and draw(st.booleans()) else {})


@st.composite
def groups(draw, left):
    """Draw nodes of a data set that suit maps which differ in what is left."""
    by = ["contrast", *sorted(left)]
    return {
        "Level": "Dataset",
        "Name": "d",
        "GroupBy": draw(st.sampled_from([by] * 7 + [[], ["group", *by], ["contrast"]])),
        "Model": {
            "X": draw(st.sampled_from([[1], [1], [1, "iq"], ["iq", 1], [1, "age"]])),
            "Type": draw(st.sampled_from(["glm", "glm", "glm", "glm", "meta"])),
        },
        **DUMMIES,
    }
