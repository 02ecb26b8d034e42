"""Contrasts: names of columns and levels become weights, or a message that helps."""

import json

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.contrasts import (
    build_contrasts,
    check_definitions,
    conjunctions_last,
    conjunctions_of,
    contrast_label,
    contrast_test,
    read_contrasts,
    split_definition,
    write_contrasts,
)
from nipype_group.design.matrix import Design, design_from_formula
from nipype_group.stats.linear.least_squares import f_contrast

N = 12


@pytest.fixture
def observations():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i:02d}" for i in range(N)],
            "age": [f"{v:.3f}" for v in rng.uniform(20, 60, N)],
            "group": ["control", "patient", "relative"] * 4,
            "hand": ["left", "right", "left", "right"] * 3,
            "site": ["control", "other"] * 6,
            "reaction time": [f"{v:.3f}" for v in rng.uniform(0, 1, N)],
        },
        dtype=str,
    )


def weights(observations, formula, expression):
    design = design_from_formula(formula, observations)
    (contrast,) = build_contrasts([f"c={expression}"], design)
    found = [dict(zip(design.columns, row, strict=True)) for row in contrast.weights]
    return [{c: w for c, w in row.items() if w} for row in found]


@pytest.mark.parametrize(
    ("formula", "expression", "expected"),
    [
        ("age", "age", {"age": 1}),
        ("age", "intercept", {"intercept": 1}),
        ("age", "intercept + 40*age", {"intercept": 1, "age": 40}),
        ("center(age)", "age", {"age": 1}),
        ("center(age)", "`center(age)`", {"age": 1}),
        ("`reaction time`", "-2*`reaction time`", {"reaction time": -2}),
        # With every level a column, levels stand for themselves.
        ("0 + group", "patient - control", {"group[patient]": 1, "group[control]": -1}),
        ("0 + group", "group[relative]", {"group[relative]": 1}),
        (
            "0 + group",
            "(patient + relative)/2 - control",
            {"group[patient]": 0.5, "group[relative]": 0.5, "group[control]": -1},
        ),
        # Beside an intercept the reference level is the zero of its factor.
        ("group", "patient - control", {"group[patient]": 1}),
        ("group", "control - patient", {"group[patient]": -1}),
        (
            "group",
            "group[patient] - group[relative]",
            {"group[patient]": 1, "group[relative]": -1},
        ),
        (
            "group",
            "(patient + relative)/2 - control",
            {"group[patient]": 0.5, "group[relative]": 0.5},
        ),
        ("group", "group[patient]", {"group[patient]": 1}),
        ("group + hand", "right - left", {"hand[right]": 1}),
        ("hand * age", "`hand[right]:age`", {"hand[right]:age": 1}),
        ("hand * age", "hand[right]:age", {"hand[right]:age": 1}),
        ("age + hand", "[0, 1, -1/2]", {"age": -0.5, "hand[right]": 1}),
    ],
)
def test_expressions_become_weights_of_columns(observations, formula, expression, expected):
    if expression.startswith("["):
        columns = design_from_formula(formula, observations).columns
        expected = dict(zip(columns, [0, 1, -0.5], strict=True))
        expected = {c: w for c, w in expected.items() if w}
    assert weights(observations, formula, expression) == [expected]


def test_rows_of_an_f_contrast(observations):
    rows = weights(observations, "group", "patient - control; relative - control")
    assert rows == [{"group[patient]": 1}, {"group[relative]": 1}]
    rows = weights(observations, "0 + group", "[1, -1, 0; 0, 1, -1]")
    assert [sorted(r.values()) for r in rows] == [[-1, 1], [-1, 1]]


def test_a_bare_reference_level_is_refused_with_a_way_out(observations):
    for expression in ("control", "patient + control", "control - 2*patient"):
        with pytest.raises(ValueError, match="control is the reference level of group") as error:
            weights(observations, "group", expression)
        assert "start the formula with 0 +" in str(error.value)


def test_a_level_of_two_factors_needs_its_factor(observations):
    with pytest.raises(ValueError, match=r"control is a level of group, site; write group\[con"):
        weights(observations, "0 + group + site", "control - patient")
    assert weights(observations, "0 + group + site", "group[control] - group[patient]") == [
        {"group[control]": 1, "group[patient]": -1}
    ]


def test_an_unknown_name_lists_the_columns(observations):
    with pytest.raises(
        ValueError,
        match="contrast 'c': no column agee, did you mean age.; there are intercept, age",
    ):
        weights(observations, "age + group", "agee")
    with pytest.raises(ValueError, match=r"group\[control\] \(reference\)"):
        weights(observations, "age + group", "agee")


def test_what_the_design_cannot_estimate_names_the_columns(observations):
    observations["twin"] = observations["age"]
    with pytest.raises(ValueError, match="'c' cannot be estimated.* age, twin|determine age"):
        weights(observations, "age + twin", "age")
    assert weights(observations, "age + twin", "age + twin") == [{"age": 1, "twin": 1}]


@pytest.mark.parametrize(
    ("formula", "expression", "told"),
    [
        ("0 + hand:age + group", "[1, -1, 0, 0, 0]", "group[control], group[patient]"),
        ("hand:age + group", "[0, 1, 0, 0, 0]", "group[patient]"),
        # Names mean their columns wherever these stand, and the others are in the formula's order.
        ("0 + hand:age + group", "patient - control", None),
        ("0 + group + hand:age", "[1, -1, 0, 0, 0]", None),
        ("age * hand + hand:group", "[0, 1, 0, 0, 0, 0, 0, 0]", None),
    ],
)
def test_a_list_of_weights_tells_its_columns_where_they_are_not_in_the_formulas_order(
    observations, formula, expression, told
):
    design = design_from_formula(formula, observations)
    (contrast,) = build_contrasts([f"c={expression}"], design)
    assert any("its list of weights is about" in n for n in contrast.notes) == (told is not None)
    if told is not None:
        assert contrast.notes[0].endswith(f"its list of weights is about {told}")


@pytest.mark.parametrize("shift", [0, 1e2, 1e4, 1e7, 1e9])
def test_f_has_digits_or_is_refused(observations, shift):
    observations["age"] = [repr(float(v) + shift) for v in observations["age"]]
    design = design_from_formula("age", observations)
    build_contrasts(["t=age", "mean=intercept"], design)
    if shift > 1e6:
        with pytest.raises(ValueError, match=r"contrast 'f': in this design its rows differ by"):
            build_contrasts(["f=age; intercept"], design)
        return
    (contrast,) = build_contrasts(["f=age; intercept"], design)
    data = np.random.default_rng(0).standard_normal((N, 5)) + 1
    betas, residual_ss = design.model.fit(data)
    how = residual_ss / design.model.dof, design.model.covariance
    f = f_contrast(contrast.weights, betas, *how)[2]
    # Both columns are the whole model, whose space does not depend on the shift.
    whole = (np.square(data).sum(axis=0) - residual_ss) / 2 / how[0]
    np.testing.assert_allclose(f, whole, rtol=1e-6)


SCALES = [1e-200, 1e-30, 1e-12, 1e-9, 1, 1e9, 1e12, 1e30, 1e200]


def f_of(design, expression):
    """Return F of fixed data, and the contrast."""
    (contrast,) = build_contrasts([f"f={expression}"], design)
    data = np.random.default_rng(0).standard_normal((N, 5))
    betas, residual_ss = design.model.fit(data)
    how = residual_ss / design.model.dof, design.model.covariance
    return f_contrast(contrast.weights, betas, *how)[2:], contrast


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("unit", [1e-25, 1, 1e25])
def test_a_row_says_the_same_whatever_its_scale_and_that_of_its_columns(observations, scale, unit):
    formula = "center(age) + group"
    hypotheses = (
        ("patient - relative", "age"),
        ("patient - control", "age", "patient - control"),
        ("intercept", "age", "patient - relative"),
    )
    plain = design_from_formula(formula, observations)
    observations["age"] = [repr(float(v) * unit) for v in observations["age"]]
    design = design_from_formula(formula, observations)
    for rows in hypotheses:
        (expected, rank), _ = f_of(plain, ";".join(rows))
        scaled = ";".join(f"{scale!r}*age" if row == "age" else row for row in rows)
        (found, own_rank), _ = f_of(design, scaled)
        assert own_rank == rank
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("apart", [1e-3, 1e-6, 1e-8, 1e-10, 1e-12, 1e-13])
def test_rows_that_are_almost_one_are_refused_and_one_row_twice_is_not(observations, apart):
    observations["other"] = observations["reaction time"]
    for name in ("age", "other"):
        values = observations[name].astype(float)
        observations[name] = [repr(v) for v in (values - values.mean()) / values.std()]
    design = design_from_formula("age + other", observations)
    assert f_of(design, "age; 3*age; 0.1*age")[0][1] == 1
    assert f_of(design, "age - 0.1*other; 0.3*other - 3*age; age")[0][1] == 2
    if apart < 1e-5:
        with pytest.raises(ValueError, match="its rows differ by less than 1e-05 of their length"):
            f_of(design, f"age; age + {apart}*other")
        return
    (found, rank), _ = f_of(design, f"age; age + {apart}*other")
    np.testing.assert_allclose(found, f_of(design, "age; other")[0][0], rtol=1e-6)
    assert rank == 2


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("unit", [1e-25, 1e-9, 1, 1e25])
def test_what_the_design_does_not_determine_is_refused_on_any_scale(observations, scale, unit):
    """Group and site are one, and a covariate weighs far more, or less, than they do."""
    observations["group"] = observations["hand"]
    observations["site"] = observations["hand"].map({"left": "x", "right": "y"})
    observations["age"] = [repr(float(v) * unit) for v in observations["age"]]
    design = design_from_formula("0 + group + site + age", observations)
    age = f"{scale!r}*age"
    for refused in ("left - right", f"left - right; {age}", f"left - right + {age}", "right"):
        with pytest.raises(ValueError, match=r"does not determine (group\[\w+\]|site\[\w\])"):
            build_contrasts([f"f={refused}"], design)
    # What both say together is determined, and so is the covariate.
    for kept in (
        "`site[y]` + right - left",
        age,
        f"`site[y]` + right - left; {age}",
        f"left + {age}",
    ):
        build_contrasts([f"f={kept}"], design)


@pytest.mark.parametrize("scale", SCALES)
def test_rows_between_participants_are_told_whatever_the_other_rows_weigh(observations, scale):
    observations["participant_id"] = np.repeat([f"sub-{i}" for i in range(6)], 2)
    observations["condition"] = ["x", "y"] * 6
    observations["age"] = np.repeat(observations["age"].to_numpy()[:6], 2)
    design = design_from_formula("condition + age", observations)
    for rows, between in (
        ("x - y; {}*age", True),
        ("{}*x - {}*y; age", True),
        ("{}*x - {}*y; y - x", False),
    ):
        definition = f"f={rows.replace('{}', repr(scale))}"
        (contrast,) = build_contrasts([definition], design, by_permutation=True)
        assert (contrast.invalid is not None) == between


@pytest.mark.parametrize("formula", ["0 + group + age", "0 + group + center(age)"])
def test_a_name_of_a_column_and_of_a_level_is_refused(observations, formula):
    observations["group"] = ["age", "young", "old"] * 4
    with pytest.raises(ValueError, match=r"age is the column .*age.* and a level of group; write"):
        weights(observations, formula, "age - young")
    assert weights(observations, formula, "group[age] - young") == [
        {"group[age]": 1, "group[young]": -1}
    ]


def test_weights_that_are_all_0_are_refused(observations):
    for expression in ("age - age", "[0, 0]", "0*age"):
        with pytest.raises(ValueError, match="contrast 'c': every weight is 0"):
            weights(observations, "age", expression)


def test_a_wrong_number_of_weights_is_refused(observations):
    with pytest.raises(ValueError, match="has 3 weights, the design has 2 columns"):
        weights(observations, "age", "[1, 0, 0]")


@pytest.mark.parametrize("text", ["age", "=age", "name=", " = "])
def test_definitions_without_a_name_or_expression_are_refused(text):
    with pytest.raises(ValueError, match="NAME=EXPRESSION"):
        split_definition(text)


def test_names_that_share_a_file_label_are_refused():
    with pytest.raises(ValueError, match="'a-b' and 'a b' would share the file name label 'aB'"):
        check_definitions(["a-b=x", "a b=y"])
    with pytest.raises(ValueError, match="no letter or digit"):
        check_definitions(["--=x"])
    with pytest.raises(ValueError, match="at least one contrast"):
        check_definitions([])
    assert check_definitions(["a=x", "B=y"]) == ["a", "B"]
    with pytest.raises(ValueError, match="makes names of files of 101 letters; 100 are the most"):
        check_definitions(["x" * 101 + "=x"])


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("patients > controls", "patientsControls"),
        ("2back", "2back"),
        ("_x_", "x"),
        ("âge²", "age2"),
        ("e\u0301t\u00e9", "ete"),
        ("βage", "betaAge"),
        ("a\u2013b", "aB"),
        ("straße", "strasse"),
        ("Łódź", "Lodz"),
        ("年齢", "u5e74U9f62"),
        ("年龄", "u5e74U9f84"),
    ],
)
def test_labels_hold_letters_and_digits(name, label):
    assert contrast_label(name) == label


def test_a_semicolon_makes_an_f_contrast():
    assert contrast_test("a=b; c") == "F"
    assert contrast_test("a=b - c") == "t"


def test_contrasts_on_disk_round_trip(observations, tmp_path):
    design = design_from_formula("age + group", observations)
    contrasts = build_contrasts(
        ["slope=age/3", "any=patient - control; relative - control; patient - relative"], design
    )
    path = write_contrasts(tmp_path / "c.json", contrasts, design.columns)
    again = read_contrasts(path)
    for one, two in zip(contrasts, again, strict=True):
        assert (one.name, one.test, one.expression) == (two.name, two.test, two.expression)
        np.testing.assert_array_equal(one.weights, two.weights)
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["Columns"] == list(design.columns)
    assert [c["Rank"] for c in content["Contrasts"]] == [1, 2]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"Contrasts": [{"Name": "a"}]}'])
def test_files_that_hold_no_contrasts_are_refused(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="c.json: (no contrasts file|is no JSON|has no )"):
        read_contrasts(path)
    with pytest.raises(ValueError, match=r"none.json: no contrasts file"):
        read_contrasts(tmp_path / "none.json")


def two_groups():
    keys = pd.DataFrame({"participant_id": list("wxyz")})
    return Design(keys, np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]), ("a", "b"))


@pytest.mark.parametrize("scale", ["1e308", "1e200", "1e-200", "1e-300", "1e25"])
def test_weights_of_any_scale_are_one_hypothesis(scale):
    design = two_groups()
    (usual,) = build_contrasts(["d=a - b"], design)
    (scaled,) = build_contrasts([f"d={scale}*a - {scale}*b"], design)
    assert 0.4 < np.abs(scaled.weights).max() <= 1
    assert np.array_equal(scaled.weights / np.abs(scaled.weights).max(), usual.weights)
    assert "statistics stay as they are" in scaled.notes[0]


@pytest.mark.parametrize("weights", ["[1e999, 0]", "[-1e400, 1]", "[1e308, 1]; [1e309, 0]"])
def test_weights_beyond_all_numbers_are_refused(weights):
    with pytest.raises(ValueError, match="beyond the largest number"):
        build_contrasts([f"d={weights}"], two_groups())


def test_products_beyond_all_numbers_are_refused():
    with pytest.raises(ValueError, match="beyond the largest number"):
        build_contrasts(["d=1e308*10*a - b"], two_groups())


@pytest.mark.parametrize(
    "text",
    [
        "[1, 0]; [0, 1]",
        "[1,0];[0,1]",
        "[1 0]; [0 1];",
        "1, 0; 0, 1",
        "[1, 0; 0, 1]",
        " [1, 0] ;\n[0, 1] ",
        "[1, 0];\t[0, 1]",
        "1, 0;\r\n0, 1",
        "[\n1, 0;\n0, 1,\n]",
    ],
)
def test_rows_with_brackets_of_their_own(text):
    (contrast,) = build_contrasts([f"f={text}"], two_groups())
    assert contrast.test == "F"
    assert contrast.weights.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("text", ["[1, 0]; 0, 1", "[1, 0; [0, 1]", "[[1, 0]; [0, 1]]", "[1, 0]]"])
def test_brackets_that_do_not_pair_are_refused(text):
    with pytest.raises(ValueError, match="contrast 'f'|weight list"):
        build_contrasts([f"f={text}"], two_groups())


def test_a_contrast_of_any_length_is_refused_at_once():
    with pytest.raises(ValueError, match="has 50004 signs"):
        check_definitions(["d=a*" + "9" * 50_000])


@pytest.fixture
def visits():
    """Four participants of two groups, two visits each, the last one visit alone."""
    rows = [(p, v, "ab"[p % 2], 20 + p * p) for p in range(5) for v in ("one", "two")][:-1]
    columns = ["participant_id", "visit", "group", "age"]
    table = pd.DataFrame([(f"sub-{p}", v, g, str(a)) for p, v, g, a in rows], columns=columns)
    return table.assign(map=[f"{i}.nii" for i in range(len(table))], sha256="0")


@pytest.mark.parametrize(
    ("formula", "expression", "between"),
    [
        ("C(group) + C(visit)", "b - a", True),
        ("1", "intercept", True),
        ("age + C(visit)", "age", True),
        ("C(group) * C(visit)", "group[b]", True),
        ("C(visit)", "two - one", True),
        ("C(visit) + C(participant_id)", "two - one", False),
        ("0 + C(visit) + C(participant_id)", "visit[one]", True),
        ("C(visit) + C(participant_id)", "intercept", True),
        ("C(visit) + C(group):C(visit) + C(participant_id)", "visit[two]", False),
        ("C(visit) + C(participant_id)", "two - one; intercept", True),
    ],
)
def test_contrasts_between_participants_with_several_maps_are_refused(
    visits, formula, expression, between
):
    design, definition = design_from_formula(formula, visits, ["visit"]), [f"x={expression}"]
    if between:
        with pytest.raises(ValueError, match="0, 1, 2, 3 have several.*--between"):
            build_contrasts(definition, design)
    (contrast,) = build_contrasts(definition, design, by_permutation=True)
    assert (contrast.invalid is not None) == between
    assert (contrast.invalid in contrast.notes) == between
    # In halves that hold one map a participant nothing depends.
    alone = visits[visits["visit"] == "one"]
    if "visit" not in formula:
        design = design_from_formula(formula, alone.reset_index(drop=True), ["visit"])
        notes = build_contrasts([f"x={expression}"], design)[0].notes
        assert not any("participants" in note for note in notes)


def test_a_visit_of_all_participants_is_a_difference_within(visits):
    design = design_from_formula("C(visit)", visits[:-1].reset_index(drop=True), ["visit"])
    (note,) = build_contrasts(["x=two - one"], design)[0].notes
    assert "is within participants" in note


def test_conjunctions_name_other_contrasts():
    definitions = ["both=conjunction(age, `up, down`)", "age=age", "up, down=a - b"]
    assert conjunctions_of(definitions) == {"both": ("age", "up, down")}
    assert conjunctions_last(definitions) == [*definitions[1:], definitions[0]]
    assert check_definitions(definitions) == ["both", "age", "up, down"]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("conjunction(a)", r"'c': conjunction\(a\) names 1 contrast; .* two or more"),
        ("conjunction()", r"'c': conjunction\(\) names no contrast"),
        ("conjunction(a, a)", r"'c': .* names a twice: leave one out"),
        ("conjunction(a,, b)", r"'c': .* is not understood: write conjunction\(a, b\)"),
        ("conjunction(a, bb)", r"'c': no contrast bb, did you mean b\?; .* here a, b"),
        ("conjunction(a, c)", r"'c': c is a conjunction itself"),
        ("conjunction(a, d)", r"'c': d is a conjunction itself; .* conjunction\(a, b\)"),
    ],
)
def test_conjunctions_that_cannot_be(expression, message):
    definitions = ["a=x", "b=y", f"c={expression}"]
    definitions += ["d=conjunction(a, b)"] * expression.endswith("d)")
    with pytest.raises(ValueError, match=message):
        check_definitions(definitions)


def test_conjunction_of_all_pairs_waits_for_the_levels():
    names = ["pairs=pairs(group)", "both=conjunction(pairs b - a, pairs c - a)"]
    assert check_definitions(names) == ["pairs", "both"]
    with pytest.raises(ValueError, match="no contrast other"):
        check_definitions(["pairs=pairs(group)", "both=conjunction(pairs b - a, other)"])
