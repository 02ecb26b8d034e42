"""Designs of models: those of FSL's page of the general linear model, and what names mean."""

import itertools

import numpy as np
import pytest

from nipype_group.design.contrasts import build_contrasts
from nipype_group.design.matrix import design_from_formula
from nipype_group.models.places import ModelFileError
from nipype_group.tsv import read_tsv

AGE = [23.0, 31, 44, 52, 38, 27, 61, 35]
TWO = ["a"] * 4 + ["b"] * 4
FOUR = ["A", "A", "B", "B", "C", "C", "D", "D"]
CELLS = list(itertools.product("12", "1234", range(2)))
SESSIONS = {
    "names": "{subject}_ses-{0}_stat-effect_statmap.nii",
    "each": [("1",), ("2",)],
}


def step(name, given, **more):
    return {"Name": name, "Input": given, **more}


def node(x, contrasts, steps=(), formula=None):
    """Return a node of a data set; a contrast is a dict of weights, or several for F."""
    made = []
    for name, rows in contrasts.items():
        rows = rows if isinstance(rows, list) else [rows]
        conditions = list(rows[0])
        weights = [list(row.values()) for row in rows]
        test = "t" if len(rows) == 1 else "F"
        weights = weights[0] if test == "t" else weights
        given = {"Name": name, "ConditionList": conditions, "Weights": weights, "Test": test}
        made.append(given)
    model = {"Type": "glm", "X": x} | ({} if formula is None else {"Formula": formula})
    steps = {"Transformer": "pybids-transforms-v1", "Instructions": list(steps)}
    return {
        "Level": "Dataset",
        "Name": "d",
        "GroupBy": [],
        "Model": model,
        "Contrasts": made,
        **({"Transformations": steps} if steps["Instructions"] else {}),
    }


def dummies(values):
    return np.array([[v == level for level in sorted(set(values))] for v in values], dtype=float)


ONES = np.ones((8, 1))
CENTRED = (np.array(AGE) - np.mean(AGE))[:, None]
GROUPS = dummies(TWO)
SIGN = np.where(np.array(TWO) == "a", 1.0, -1)[:, None]
OTHER = np.tile([1.0, -1], 4)[:, None]
EFFECT = np.tile([1.0, -1], 8)[:, None]
BY_GROUP = EFFECT * np.repeat(GROUPS, 2, axis=0)
SUBJECTS = np.repeat(np.eye(8), 2, axis=0)
CELL_MEANS = dummies([a + b for a, b, _ in CELLS])
SIGNED = {"a": 1, "b": -1}
TIME = step("Replace", "session", Replace={"1": 1, "2": -1}, Output="time")

# Name: participants, where maps are, node, design and contrasts of the page.
DESIGNS = {
    "single group": (
        {"age": AGE},
        {},
        node([1], {"mean": {1: 1}}),
        ONES,
        {"mean": [1]},
    ),
    "single group with covariate": (
        {"age": AGE},
        {},
        node([1, "age"], {"mean": {1: 1}, "slope": {"age": 1}}, [step("Demean", "age")]),
        np.hstack([ONES, CENTRED]),
        {"mean": [1, 0], "slope": [0, 1]},
    ),
    "two groups": (
        {"group": TWO},
        {},
        node(
            ["group.*"],
            {"a-b": {"group.a": 1, "group.b": -1}, "a": {"group.a": 1}},
            [step("Factor", "group")],
        ),
        GROUPS,
        {"a-b": [1, -1], "a": [1, 0]},
    ),
    "two groups with covariate": (
        {"group": TWO, "age": AGE},
        {},
        node(
            ["group.*", "age"],
            {"a-b": {"group.a": 1, "group.b": -1}, "slope": {"age": 1}},
            [step("Factor", "group"), step("Scale", "age", Rescale=False)],
        ),
        np.hstack([GROUPS, CENTRED]),
        {"a-b": [1, -1, 0], "slope": [0, 0, 1]},
    ),
    "interaction with covariate": (
        {"group": TWO, "age": AGE},
        {},
        node(
            ["group.a", "group.b", "age_a", "age_b"],
            {"slopes": {"age_a": 1, "age_b": -1}},
            [
                step("Factor", ["group"]),
                step("Demean", "age"),
                step("Product", ["age", "group.a"], Output="age_a"),
                step("Product", ["age", "group.b"], Output="age_b"),
            ],
        ),
        np.hstack([GROUPS, CENTRED * GROUPS]),
        {"slopes": [0, 0, 1, -1]},
    ),
    "one factor of four levels": (
        {"cell": FOUR},
        {},
        node(
            [1, "cell.*"],
            {
                "A-D": {"cell.A": 1},
                "A-B": {"cell.A": 1, "cell.B": -1},
                "any": [
                    {"cell.A": 1, "cell.B": 0, "cell.C": 0},
                    {"cell.A": 0, "cell.B": 1, "cell.C": 0},
                    {"cell.A": 0, "cell.B": 0, "cell.C": 1},
                ],
            },
            [step("Factor", "cell", Constraint="drop_one", RefLevel="D")],
        ),
        np.hstack([ONES, dummies(FOUR)[:, :3]]),
        {"A-D": [0, 1, 0, 0], "A-B": [0, 1, -1, 0], "any": np.eye(4)[1:]},
    ),
    "2x2 between": (
        {"group": TWO, "drug": ["a", "b"] * 4},
        {},
        node(
            [1, "group", "drug", "both"],
            {"group": {"group": 1}, "drug": {"drug": 1}, "both": {"both": "1/1"}},
            [
                step("Replace", "group", Replace=SIGNED),
                step("Replace", "drug", Replace=SIGNED),
                step("Product", ["group", "drug"], Output="both"),
            ],
        ),
        np.hstack([ONES, SIGN, OTHER, SIGN * OTHER]),
        {"group": [0, 1, 0, 0], "drug": [0, 0, 1, 0], "both": [0, 0, 0, 1]},
    ),
    "2x4 by cell means": (
        {"a": [a for a, _, _ in CELLS], "b": [b for _, b, _ in CELLS]},
        {},
        node(
            ["a", "b"],
            {
                "a": {f"C(a)[{i}]:C(b)[{j}]": 3 - 2 * int(i) for i in "12" for j in "1234"},
                "b": [
                    {f"a[{i}]:b[{j}]": (j == k) - (j == "4") for i in "12" for j in "1234"}
                    for k in "123"
                ],
            },
            formula="0 + C(a):C(b)",
        ),
        CELL_MEANS,
        {
            "a": [1] * 4 + [-1] * 4,
            "b": [[1, 0, 0, -1] * 2, [0, 1, 0, -1] * 2, [0, 0, 1, -1] * 2],
        },
    ),
    "paired difference": (
        {"group": TWO},
        SESSIONS,
        node(
            ["time", "subject.*"],
            {"difference": {"time": 1}},
            [TIME, step("Factor", "subject")],
        ),
        np.hstack([EFFECT, SUBJECTS]),
        {"difference": [1] + [0] * 8},
    ),
    "two groups paired": (
        {"group": TWO},
        SESSIONS,
        node(
            ["time_a", "time_b", "subject.*"],
            {"groups": {"time_a": 1, "time_b": -1}, "both": {"time_a": 0.5, "time_b": 0.5}},
            [
                TIME,
                step("Factor", "group"),
                step("Factor", "subject"),
                step("Product", ["time", "group.a"], Output="time_a"),
                step("Product", ["time", "group.b"], Output="time_b"),
            ],
        ),
        np.hstack([BY_GROUP, SUBJECTS]),
        {"groups": [1, -1] + [0] * 8, "both": [0.5, 0.5] + [0] * 8},
    ),
}


def row_space(rows):
    """Return the projector on the space of some rows."""
    return np.linalg.pinv(rows) @ rows


@pytest.mark.parametrize("name", DESIGNS)
def test_designs_are_those_of_fsls_page(name, write_model, tree, analyses):
    participants, places, given, matrix, contrasts = DESIGNS[name]
    (found,) = analyses(write_model(given), tree(participants, **places))
    design = found.design.matrix
    np.testing.assert_allclose(row_space(design.T), row_space(matrix.T), atol=1e-10)
    assert [c.name for c in found.contrasts] == list(contrasts)
    for contrast, weights in zip(found.contrasts, contrasts.values(), strict=True):
        # What each weighs maps by.
        ours = contrast.weights @ np.linalg.pinv(design)
        theirs = np.atleast_2d(weights) @ np.linalg.pinv(matrix)
        assert contrast.test == ("t" if len(theirs) == 1 else "F")
        if contrast.test == "t":
            np.testing.assert_allclose(ours, theirs, atol=1e-10)
        else:
            np.testing.assert_allclose(row_space(ours), row_space(theirs), atol=1e-10)


@pytest.mark.parametrize(
    ("formula", "x", "name"),
    [
        ("1 + C(group) + age", ["group", "age"], "C(group)[T.b]"),
        ("0 + group + center(age)", ["group", "age"], "group[b]"),
        ("1 + group * age", ["group", "age"], "group[T.b]:age"),
    ],
)
def test_a_formula_is_what_it_is_without_a_model(formula, x, name, write_model, tree, analyses):
    top = tree({"group": TWO, "age": AGE})
    given = node(x, {"d": {name: 1}}, formula=formula)
    (found,) = analyses(write_model(given), top)
    rows = found.maps.table.astype(str)
    plain = design_from_formula(formula, rows)
    assert found.design.columns == plain.columns
    np.testing.assert_array_equal(found.design.matrix, plain.matrix)
    column = name.replace("C(group)", "group").replace("T.", "")
    (contrast,) = build_contrasts([f"d=`{column}`"], plain)
    np.testing.assert_array_equal(found.contrasts[0].weights, contrast.weights)


def test_input_contrasts_are_columns_and_the_mean_has_their_name(write_model, tree, analyses):
    each = {
        "names": "{subject}_contrast-{0}_stat-effect_statmap.nii",
        "each": [("aVsB",), ("c",)],
    }
    top = tree({"age": AGE}, **each)
    given = node(["a_vs_b", "c"], {"d": {"a_vs_b": 1, "c": "-1"}})
    (found,) = analyses(write_model(given), top)
    np.testing.assert_array_equal(found.design.matrix, np.tile(np.eye(2), (8, 1)))
    by = {**node([1], {}), "GroupBy": ["contrast"], "DummyContrasts": {"Test": "t"}}
    found = analyses(write_model(by), top)
    assert [a.maps.label for a in found] == ["node-d_contrast-aVsB", "node-d_contrast-c"]
    assert [a.contrasts[0].name for a in found] == ["aVsB", "c"]
    assert {len(a.design.matrix) for a in found} == {8}


def test_the_first_level_and_nodes_that_pass_on(write_model, tree, analyses):
    """The walkthrough of the specification, on a run and a contrast of everybody."""
    first = {
        "Level": "Run",
        "Name": "run_level",
        "GroupBy": ["run", "subject"],
        "Model": {"X": [1, "i", "c"], "Type": "glm", "HRF": {"Variables": ["i"], "Model": "spm"}},
        "Contrasts": [
            {"Name": "IvC", "ConditionList": ["i", "c"], "Weights": [1, -1], "Test": "t"}
        ],
    }
    subject = {
        "Level": "Subject",
        "Name": "subject_level",
        "GroupBy": ["subject", "contrast"],
        "Model": {"X": [1], "Type": "meta"},
        "DummyContrasts": {"Test": "pass"},
    }
    group = {**node([1], {}), "GroupBy": ["contrast"], "DummyContrasts": {"Test": "t"}}
    model = write_model(first, subject, group, Input={"task": "simon"})
    where = "{subject}_task-simon_run-{0}_contrast-ivC_stat-effect_statmap.nii"
    top = tree({"age": AGE}, where, [("1",)])
    (found,) = analyses(model, top)
    assert [c.name for c in found.contrasts] == ["ivC"]
    assert any("passes it on" in note for note in found.notes)
    tree({"age": AGE}, where, [("1",), ("2",)])
    # Without variances they cannot be weighted.
    with pytest.raises(ValueError, match="no variance map"):
        analyses(model, top)
    tree({"age": AGE}, where.replace("effect", "variance"), [("1",), ("2",)])
    (found,) = analyses(model, top)
    assert found.settings.combine == ("run",)
    assert len(found.design.matrix) == 8
    listed = read_tsv(found.files["maps_table"])
    assert listed["run"].tolist() == ["1", "2"] * 8
    assert listed["variance"].notna().all()
    # What a package has combined lies in the folder of the node.
    where = "node-subjectLevel/{subject}_task-simon_contrast-ivC_stat-effect_statmap.nii"
    tree({"age": AGE}, where)
    (found,) = analyses(model, top)
    assert len(found.design.matrix) == 8


def test_filters_transformations_and_settings(write_model, tree, analyses):
    each = {
        "names": "{subject}_contrast-{0}_stat-effect_statmap.nii",
        "each": [("one",), ("two",)],
    }
    top = tree({"age": [*AGE[:7], None], "site": list("xyxyxyxy")}, **each)
    first = {"Level": "run", "Name": "r", "GroupBy": ["subject"], "Model": {}}
    given = node([1, "age"], {"slope": {"age": 1}}, [step("DropNA", "age")])
    own = {"alpha": 0.01, "cluster": "site", "estimator": "sandwich"}
    own["contrast_tails"] = {"slope": "negative"}
    given["Model"]["Software"] = {"nipype_group": own, "SPM": {}}
    edges = [{"Source": "r", "Destination": "d", "Filter": {"contrast": ["two"]}}]
    (found,) = analyses(write_model(first, given, Edges=edges), top, {"tail": "positive"})
    assert len(found.design.matrix) == 7
    assert (found.settings.alpha, found.settings.tail) == (0.01, "positive")
    assert found.settings.tails == ("negative",)
    assert found.design.clusters == ("x", "y", "x", "y", "x", "y", "x")
    assert {"Software of SPM has no part here"} <= set(found.notes)
    assert any("leave out 1 maps: sub-08" in note for note in found.notes)
    assert found.settings.contrasts == ("slope=[0.0, 1.0]",)


def test_columns_tell_who_is_left_out_whatever_the_model_takes(write_model, tree, analyses):
    top = tree({"age": AGE, "moved": [0.1, 0.9, *[0.2] * 6]})
    given = node([1, "age"], {"slope": {"age": 1}})
    given["Model"]["Software"] = {"nipype_group": {"exclude": ["moved > 0.5", "age > 60"]}}
    (found,) = analyses(write_model(given), top)
    listed = read_tsv(found.files["maps_table"])
    assert listed["moved"].astype(float).tolist() == [0.1, 0.9, *[0.2] * 6]
    assert listed["age"].astype(float).tolist() == AGE
    # A formula has the variable as transformations leave it, which the rule does not mean.
    given = node(["age"], {"slope": {"age": 1}}, formula="1 + age")
    given["Model"]["Software"] = {"nipype_group": {"exclude": ["age > 60"]}}
    assert len(analyses(write_model(given), top)) == 1
    steps = {"Transformer": "pybids-transforms-v1", "Instructions": [step("Demean", "age")]}
    with pytest.raises(ModelFileError, match=r"exclude: age > 60: Transformations have changed"):
        analyses(write_model(given | {"Transformations": steps}), top)
    # What depends on all maps depends on those that are left out after it, which is told.
    given["Model"]["Software"] = {"nipype_group": {"exclude": ["moved > 0.5"]}}
    (found,) = analyses(write_model(given | {"Transformations": steps}), top)
    assert any(n.startswith("Demean of the Transformations took in the maps") for n in found.notes)
    (found,) = analyses(write_model(given), top)
    assert not any("took in the maps" in note for note in found.notes)


def test_two_thousand_participants_are_planned_at_once(write_model, tree, analyses):
    ages = np.linspace(20, 60, 2000).tolist()
    given = node([1, "age"], {"slope": {"age": 1}}, [step("Scale", "age")])
    (found,) = analyses(write_model(given), tree({"age": ages}))
    np.testing.assert_allclose(found.design.matrix[:, 1].std(ddof=1), 1)


def of_subjects(kind="glm", by=("subject",)):
    """Return a node that combines the maps of participants."""
    return {
        "Level": "Subject",
        "Name": "s",
        "GroupBy": list(by),
        "Model": {"X": [1], "Type": kind},
        "DummyContrasts": {"Test": "t"},
    }


def test_means_of_sessions_are_rows_of_participants(write_model, tree, analyses):
    top = tree({"age": AGE, "group": TWO}, **SESSIONS)
    (top / "sub-03" / "sub-03_ses-2_stat-effect_statmap.nii").unlink()
    given = node(
        [1, "age"], {"slope": {"age": 1}}, [step("Filter", "group", Query="group == 'a'")]
    )
    (found,) = analyses(write_model(of_subjects(), given), top)
    assert found.settings.combine == ("session",)
    np.testing.assert_array_equal(found.design.matrix[:, 1], AGE[:4])
    assert len(read_tsv(found.files["maps_table"])) == 7
    assert any("combines 15 maps into 8, which differ in session" in n for n in found.notes)


@pytest.mark.parametrize(
    ("nodes", "place", "said"),
    [
        ([of_subjects(by=["session"])], r"Nodes\[0\].GroupBy", "several subjects"),
        (
            [{**of_subjects(), "Model": {"X": ["agee"], "Type": "glm"}}],
            r"Nodes\[0\]",
            "agee is no variable",
        ),
    ],
)
def test_what_cannot_be_combined_is_refused(write_model, tree, analyses, nodes, place, said):
    model = write_model(*nodes, node([1], {"m": {1: 1}}))
    with pytest.raises(ModelFileError, match=f"{place}.*({said})"):
        analyses(model, tree({"age": AGE}, **SESSIONS))


def test_means_have_no_variances_to_weight(write_model, tree, analyses):
    given = node([1], {"m": {1: 1}})
    given["Model"]["Type"] = "meta"
    top = tree({"age": AGE}, **SESSIONS)
    tree({"age": AGE}, SESSIONS["names"].replace("effect", "variance"), SESSIONS["each"])
    with pytest.raises(ModelFileError, match=r"Nodes\[1\].Model: .*write the Type meta"):
        analyses(write_model(of_subjects(), given), top)
    (found,) = analyses(write_model(of_subjects("meta"), given), top)
    assert found.settings.estimator == "mixed-effects"


def test_tables_of_scans_and_sessions_are_variables(write_model, tree, analyses):
    """Joined by participant, session and run; what is missing or text is told."""
    each = {
        "names": "{subject}_ses-{0}_task-x_run-{1}_stat-effect_statmap.nii",
        "each": [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")],
    }
    top = tree({"age": AGE}, **each)
    for i, person in enumerate(sorted(top.glob("sub-*"))):
        rows = "session_id\tmood\nses-1\t3\nses-2\t5\n"
        (person / f"{person.name}_sessions.tsv").write_text(rows)
        for session in "12":
            name = f"{person.name}_ses-{session}"
            scans = ["filename\tmotion\tscanner", f"anat/{name}_T1w.nii.gz\t9\tA"]
            for run in "12":
                motion = "n/a" if (i, session, run) == (3, "2", "2") else i + int(session + run)
                scans.append(f"func/{name}_task-x_run-0{run}_bold.nii.gz\t{motion}\tA")
            (person / f"ses-{session}").mkdir()
            (person / f"ses-{session}" / f"{name}_scans.tsv").write_text("\n".join(scans) + "\n")
    robust = {"Software": {"nipype_group": {"estimator": "sandwich"}}}
    given = node([1, "motion", "mood"], {"m": {"motion": 1}}, [step("DropNA", "motion")])
    given["Model"] |= robust
    (found,) = analyses(write_model(given), top)
    expected = [i + int(s + r) for i in range(8) for s in "12" for r in "12"]
    del expected[15]
    np.testing.assert_array_equal(found.design.matrix[:, 1], expected)
    np.testing.assert_array_equal(found.design.matrix[:4, 2], [3, 3, 5, 5])
    given = node([1, "motion"], {"m": {"motion": 1}})
    with pytest.raises(ModelFileError, match=r"Model.X: motion has no value for sub-04"):
        analyses(write_model(given), top)
    with pytest.raises(ModelFileError, match=r"Model.X: scanner is text \(A\)"):
        analyses(write_model(node([1, "scanner"], {"m": {"scanner": 1}})), top)
    scans = top / "sub-01" / "ses-1" / "sub-01_ses-1_scans.tsv"
    scans.write_text("file\tmotion\na\t1\n")
    with pytest.raises(ValueError, match=r"sub-01_ses-1_scans.tsv: no column filename"):
        analyses(write_model(given), top)


def test_a_name_that_no_folder_has_is_refused(write_model, tree, analyses):
    given = {**node([1], {"m": {1: 1}}), "Name": "n" * 300}
    with pytest.raises(ModelFileError, match=r"Nodes\[0\].Name: .* of 305 signs"):
        analyses(write_model(given), tree({"age": AGE}))
