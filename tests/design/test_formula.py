"""Formulas: what they become, and that none of their text ever runs."""

import re
import warnings

import formulaic
import numpy as np
import pandas as pd
import pytest
from formulaic.errors import DataMismatchWarning
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nipype_group.design.formula import _CONTEXT, code_formula, formula_variables


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i}" for i in range(6)],
            "age": [20, 31, 42, 53, 64, 75],
            "sex": ["f", "m", "f", "m", "f", "m"],
            "site": [1, 2, 10, 1, 2, 10],
            "reaction time": [0.5, 0.7, 0.6, 0.8, 0.9, 0.4],
        }
    )


ATTACKS = [
    "{{open('{0}', 'w')}}",
    "age + {{__import__('os').system('touch {0}')}}",
    "I(open('{0}', 'w'))",
    "C(open('{0}', 'w'))",
    "center(__import__('pathlib').Path('{0}').touch())",
    "I(age.to_csv('{0}'))",
    "I([open('{0}', 'w') for _ in range(1)][0])",
    "I((lambda: open('{0}', 'w'))())",
    "poly(age, degree=open('{0}', 'w'))",
    "Q(open('{0}', 'w'))",
    "I(age if open('{0}', 'w') else age)",
    "I(f\"{{open('{0}', 'w')}}\")",
    "I(age := open('{0}', 'w'))",
    "np.log(age) + open('{0}', 'w')",
    "log(age, where=open('{0}', 'w'))",
    "I(age @ open('{0}', 'w'))",
    "`age` + {{open('{0}', 'w').write(`age`)}}",
    "center(age)(open('{0}', 'w'))",
    "I(`a`.__class__.__init__.__globals__['open']('{0}', 'w'))",
    "[open('{0}', 'w') ~ age]",
    "{{open('{0}', 'w')}} ~ age",
    "age ~ {{open('{0}', 'w')}}",
    "age + (1 | {{open('{0}', 'w')}})",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_formula_text_never_runs_as_python(attack, table, tmp_path):
    touched = tmp_path / "touched"
    formula = attack.format(touched)
    for use in (formula_variables, lambda f: code_formula(f, table)):
        with pytest.raises(ValueError, match="formula"):
            use(formula)
    assert not touched.exists()


def test_the_trap_works_where_formulaic_runs_the_text_itself(table, tmp_path):
    touched = tmp_path / "touched"
    attack = f"{{__import__('pathlib').Path('{touched}').touch() or age}}"
    formulaic.model_matrix(attack, table)
    assert touched.exists()
    with pytest.raises(ValueError, match="is not allowed"):
        code_formula(attack, table)


@settings(max_examples=150)
@example("[)")
@example("{0}")
@example("(" * 300)
@example("`" * 3)
@example("I(1)(2)")
@example("1 + [")
@example("\\")
@given(st.text(alphabet="abe1 +-*:/^~()[]{}`'\".,|%@=C I\n\t0", max_size=25))
def test_any_text_is_a_formula_or_a_value_error(text):
    table = pd.DataFrame({"participant_id": ["x", "y", "z"], "a": [1, 2, 4], "b": ["u", "v", "u"]})
    try:
        coding = code_formula(text, table)
    except ValueError:
        return
    assert coding.matrix.shape == (3, len(coding.columns))
    assert np.isfinite(coding.matrix).all()


def test_one_sample(table):
    coding = code_formula("1", table)
    assert coding.columns == ["intercept"]
    np.testing.assert_array_equal(coding.matrix, np.ones((6, 1)))


def test_text_is_a_factor_with_its_first_level_as_reference(table):
    coding = code_formula("age + sex", table)
    assert coding.columns == ["intercept", "age", "sex[m]"]
    np.testing.assert_array_equal(coding.matrix[:, 1], table["age"])
    np.testing.assert_array_equal(coding.matrix[:, 2], table["sex"] == "m")
    assert coding.factors == {"sex": {"levels": ["f", "m"], "reference": "f"}}


def test_without_intercept_every_level_has_a_column(table):
    coding = code_formula("0 + sex + age", table)
    assert coding.columns == ["sex[f]", "sex[m]", "age"]
    assert coding.factors["sex"]["reference"] is None


def test_numbers_made_a_factor_are_ordered_as_numbers(table):
    coding = code_formula("C(site)", table)
    assert coding.columns == ["intercept", "site[2]", "site[10]"]
    assert coding.factors == {"site": {"levels": ["1", "2", "10"], "reference": "1"}}
    np.testing.assert_array_equal(coding.matrix[:, 2], table["site"] == 10)


def test_interactions_of_a_factor_and_a_covariate(table):
    coding = code_formula("sex * age", table)
    assert coding.columns == ["intercept", "sex[m]", "age", "sex[m]:age"]
    np.testing.assert_array_equal(coding.matrix[:, 3], (table["sex"] == "m") * table["age"])


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("center(age)", lambda a: a - a.mean()),
        ("scale(age)", lambda a: (a - a.mean()) / a.std(ddof=1)),
        ("standardize(age)", lambda a: (a - a.mean()) / a.std()),
    ],
)
def test_a_covariate_moved_or_scaled_keeps_its_name(table, formula, expected):
    coding = code_formula(formula, table)
    assert coding.columns == ["intercept", "age"]
    np.testing.assert_allclose(coding.matrix[:, 1], expected(table["age"].to_numpy(float)))
    assert coding.sources == {"age": formula}


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("log(age)", np.log),
        ("log10(age)", np.log10),
        ("I(age ** 2)", np.square),
        ("I((age - 20) / 10)", lambda a: (a - 20) / 10),
        ("exp(age / 100)", lambda a: np.exp(a / 100)),
    ],
)
def test_other_transforms_name_the_column_by_their_expression(table, formula, expected):
    coding = code_formula(formula, table)
    assert coding.columns == ["intercept", formula]
    np.testing.assert_allclose(coding.matrix[:, 1], expected(table["age"].to_numpy(float)))


def test_a_covariate_beside_its_square_keeps_both_names_apart(table):
    columns = code_formula("age + I(age**2)", table).columns
    assert len(set(columns)) == 3
    assert columns[:2] == ["intercept", "age"]


def test_names_with_spaces_in_backticks(table):
    for formula in ("`reaction time`", "center(`reaction time`)"):
        assert formula_variables(formula) == ["reaction time"]
        coding = code_formula(formula, table)
        assert coding.columns == ["intercept", "reaction time"]


def test_variables_come_in_order_and_once():
    formula = "b + log(a):C(d) + a + poly(e, degree=2)"
    assert set(formula_variables(formula)) == {"a", "b", "d", "e"}
    assert formula_variables("1") == []


def test_an_unknown_column_is_named_with_those_there_are(table):
    with pytest.raises(ValueError, match=r"no column agee; there are participant_id, age, sex"):
        code_formula("agee + sex", table)


def test_missing_values_name_the_participants(table):
    table.loc[[2, 4], "reaction time"] = np.nan
    with pytest.raises(ValueError, match="column reaction time has no value for sub-2, sub-4"):
        code_formula("`reaction time`", table)
    assert code_formula("age", table).matrix.shape == (6, 2)


def test_constant_covariates_and_factors_of_one_level_are_refused(table):
    table["dose"], table["arm"] = 5, "a"
    with pytest.raises(ValueError, match=r"covariate dose is constant \(5 in all 6 maps\)"):
        code_formula("dose", table)
    with pytest.raises(ValueError, match="factor arm has the one level a"):
        code_formula("arm", table)
    with pytest.raises(ValueError, match="factor dose has the one level 5"):
        code_formula("C(dose)", table)


def test_values_that_a_transform_makes_infinite_are_refused(table):
    table["age"] = table["age"] - 20
    with pytest.raises(ValueError, match="column age is not finite in some row|age"):
        code_formula("log(age)", table)


@pytest.mark.parametrize("formula", ["", "  ", "~"])
def test_an_empty_formula_is_refused(formula, table):
    with pytest.raises(ValueError, match="the formula is empty; a one-sample model"):
        code_formula(formula, table)


def test_a_left_hand_side_is_refused(table):
    with pytest.raises(ValueError, match="the maps are the left-hand side"):
        code_formula("sex ~ age", table)


def test_a_leading_tilde_is_allowed(table):
    np.testing.assert_array_equal(
        code_formula("~ age", table).matrix, code_formula("age", table).matrix
    )


def test_the_index_of_the_table_does_not_matter(table):
    moved = table.set_index(pd.Index([9, 4, 4, 1, 0, 7]))
    np.testing.assert_array_equal(
        code_formula("age + sex", moved).matrix, code_formula("age + sex", table).matrix
    )


@pytest.mark.parametrize(
    "text", ["I(9**9**9**9)", "I(age**99999)", "I('a' * 999999999)", "I(2**9)"]
)
def test_arithmetic_that_could_take_all_memory_is_refused(text):
    with pytest.raises(ValueError, match="is not allowed"):
        formula_variables(f"age + {text}")


CALLED = [
    "C",
    "I",
    "Q",
    "bs",
    "center",
    "cr",
    "cs",
    "exp",
    "log",
    "log10",
    "poly",
    "scale",
    "standardize",
    "Treatment",
    "contr",
]


@pytest.mark.parametrize("name", CALLED)
@pytest.mark.parametrize(
    ("formula", "plain"),
    [
        ("age + {}", "age + x"),
        ("{} + age", "x + age"),
        ("center(age) + C(group) + {}", "center(age) + C(group) + x"),
        ("log(age) + scale({})", "log(age) + scale(x)"),
        ("`{}`:C(group) + poly(age, 2)", "x:C(group) + poly(age, 2)"),
        ("Q('{}') + I(age**2)", "x + I(age**2)"),
        ("scale(age, center=True) + {}", "scale(age, center=True) + x"),
    ],
)
def test_a_column_may_be_called_as_a_transform_is(name, formula, plain):
    numbers = np.random.default_rng(3).normal(size=12)
    table = pd.DataFrame({"age": np.arange(20.0, 32), "group": list("ab") * 6})
    coding = code_formula(formula.format(name), table.assign(**{name: numbers}))
    known = code_formula(plain, table.assign(x=numbers))
    order = [known.columns.index(_as_x(c, name, known.columns)) for c in coding.columns]
    assert np.array_equal(coding.matrix, known.matrix[:, order])
    assert name in coding.columns or any(name in column for column in coding.columns)


def _as_x(column, name, known):
    """Return a column's name with the name of the covariate as it is in the other formula."""
    spellings = [
        column,
        *(
            column[: m.start()] + "x" + column[m.end() :]
            for m in re.finditer(rf"(?<!\w){name}(?!\w|\()", column)
        ),
    ]
    return next(s for s in spellings if s in known)


@pytest.mark.parametrize(
    ("formula", "reference"),
    [
        ("C(group, Treatment('b'))", "b"),
        ("C(group, Treatment(reference='c'))", "c"),
        ('C(group, contr.treatment("b"))', "b"),
        ("C(visit, Treatment(2))", "2"),
        ("C(group) + age", "a"),
    ],
)
def test_the_reference_of_a_factor_can_be_named(formula, reference):
    table = pd.DataFrame(
        {"group": list("abc") * 3, "visit": [1, 2, 3] * 3, "age": np.arange(9.0) ** 2}
    )
    (factor,) = code_formula(formula, table).factors.values()
    assert factor["reference"] == reference


@pytest.mark.parametrize("coding", ["Sum", "Sum()", "contr.sum", "contrasts=Sum"])
@pytest.mark.parametrize("levels", ["", ", levels=['c', 'a', 'b']"])
def test_columns_of_a_factor_that_sum_to_zero(coding, levels):
    table = pd.DataFrame({"group": list("abc") * 3, "age": np.arange(9.0) ** 2})
    coded = code_formula(f"C(group, {coding}{levels}) + age", table)
    first, second, last = "cab" if levels else "abc"
    assert coded.columns == ["intercept", f"group[S.{first}]", f"group[S.{second}]", "age"]
    assert coded.factors == {
        "group": {"levels": [first, second, last], "reference": None, "coding": "sum"}
    }
    for level, column in zip((first, second), coded.matrix.T[1:3], strict=True):
        is_level, is_last = table["group"] == level, table["group"] == last
        np.testing.assert_array_equal(column, is_level * 1.0 - is_last)


def test_without_intercept_a_factor_of_sums_has_a_column_a_level(table):
    coding = code_formula("0 + C(site, Sum)", table)
    assert coding.columns == ["site[1]", "site[2]", "site[10]"]
    assert coding.factors == {"site": {"levels": ["1", "2", "10"], "reference": None}}


def test_a_column_may_be_called_as_the_coding(table):
    coding = code_formula("C(Sum, Sum) + age", table.rename(columns={"sex": "Sum"}))
    assert coding.columns == ["intercept", "Sum[S.f]", "age"]


def test_levels_that_sums_cannot_be_called_by_are_refused():
    table = pd.DataFrame({"group": ["a", "S.a", "b"] * 3})
    assert code_formula("C(group)", table).columns[1:] == ["group[a]", "group[b]"]
    with pytest.raises(ValueError, match="group has the levels a and S.a, .*rename one"):
        code_formula("C(group, Sum)", table)


PARTICIPANTS = ["participant_id", "C(participant_id)", "Q('participant_id')", "`participant_id`"]


@pytest.mark.parametrize("participants", PARTICIPANTS)
def test_columns_of_participants_sum_to_zero(participants):
    table = pd.DataFrame(
        {"participant_id": ["sub-1", "sub-2", "sub-3"] * 2, "visit": list("aaabbb")}
    )
    coding = code_formula(f"0 + visit + {participants}", table)
    assert coding.columns[2:] == ["participant_id[S.sub-1]", "participant_id[S.sub-2]"]
    np.testing.assert_array_equal(coding.matrix[:3, 2:], [[1, 0], [0, 1], [-1, -1]])
    assert coding.factors["participant_id"]["coding"] == "sum"
    data = np.array([3.0, 1, 8, -4, 2, 5])
    np.testing.assert_allclose(np.linalg.pinv(coding.matrix)[:2] @ data, [4, 1])
    whole = code_formula(f"0 + {participants} + visit", table)
    assert whole.columns[:3] == [f"participant_id[sub-{i}]" for i in (1, 2, 3)]


def test_a_coding_of_participants_that_is_given_stays():
    table = pd.DataFrame({"participant_id": ["1", "2", "3"] * 2, "visit": list("aaabbb")})
    coding = code_formula("visit + C(participant_id, Treatment('3'))", table)
    assert coding.columns[2:] == ["participant_id[1]", "participant_id[2]"]


@pytest.mark.parametrize(
    "argument",
    [
        "Treatment('x')",
        "Treatment(age)",
        "Treatment(open('f'))",
        "contr.poly",
        "Sum(1)",
        "os.x('a')",
    ],
)
def test_other_references_are_refused(argument):
    table = pd.DataFrame({"group": list("abc") * 3, "age": np.arange(9.0)})
    with pytest.raises(ValueError, match="not among|is not allowed"):
        code_formula(f"C(group, {argument})", table)


@pytest.mark.parametrize("formula", ["0", "-1", "0 + 0", "1 - 1"])
def test_a_formula_without_columns_is_refused(formula):
    with pytest.raises(ValueError, match="leaves no column; a one-sample model is 1"):
        code_formula(formula, pd.DataFrame({"age": [1.0, 2, 3]}))


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("(age + C(group))**99999999999", "too many terms"),
        ("(age + C(group))**20", "too many terms"),
        ("*".join("abcdefghijklmnop"), "too many terms"),
        ("(" + "+".join("abcdefghijklmnopqrst") + ")**10", "too many terms"),
        ("bs(age, df=1e7)", "bs takes up to 100 columns"),
        ("cr(age, 100000)", "cr takes up to 100 columns"),
        ("poly(age, degree=1000)", "poly takes up to 100 columns"),
    ],
)
def test_what_would_take_all_memory_is_refused_at_once(formula, message):
    with pytest.raises(ValueError, match=message):
        formula_variables(formula)


def test_factors_of_too_many_levels_are_refused_before_they_are_coded(monkeypatch):
    monkeypatch.setattr("nipype_group.design.formula._MOST_CELLS", 20)
    table = pd.DataFrame({"group": list("abcdef")})
    with pytest.raises(ValueError, match="6 levels in 6 maps"):
        code_formula("C(group)", table)


def test_powers_that_stay_small_are_taken():
    table = pd.DataFrame({"age": np.arange(9.0), "group": list("ab") * 4 + ["a"]})
    assert code_formula("(age + C(group))**4", table).columns == [
        "intercept",
        "age",
        "group[b]",
        "age:group[b]",
    ]


@pytest.mark.parametrize(
    "levels", [["²", "³"], ["\u0661", "\u0662"], ["½", "a"], ["é", "ü"], ["a b", "c:d"]]
)
def test_levels_of_any_signs(levels):
    coding = code_formula("0 + C(group)", pd.DataFrame({"group": levels * 3}))
    assert sorted(coding.columns) == sorted(f"group[{level}]" for level in levels)


LEVELS = {"group": list("abc") * 3, "dose": [1, 2.5, 3] * 3, "year": ["1", "2", "10"] * 3}


@pytest.mark.parametrize(
    "call", ["C({}, levels={})", "0 + C({}, levels={}, )", "C({}, levels={}):age"]
)
@pytest.mark.parametrize("column", LEVELS)
def test_the_levels_of_c_are_those_of_the_column_in_the_order_given(call, column):
    table = pd.DataFrame({**LEVELS, "age": np.arange(9.0) ** 2})
    present = list(dict.fromkeys(LEVELS[column]))
    texts = [str(v).removesuffix(".0") for v in present]
    for order in ([0, 1, 2], [2, 0, 1]):
        for levels in ([present[i] for i in order], tuple(texts[i] for i in order)):
            coding = code_formula(call.format(column, levels), table)
            (factor,) = coding.factors.values() if "age" not in call else (None,)
            kept = [texts[i] for i in order]
            if factor is not None:
                assert factor["levels"] == kept
                assert factor["reference"] == (None if call.startswith("0") else kept[0])
            for level, value in zip(texts, present, strict=True):
                name = f"{column}[{level}]"
                if name in coding.columns:
                    indicator = coding.matrix[:, coding.columns.index(name)]
                    assert indicator.tolist() == [v == value for v in LEVELS[column]]
    for levels, said in (
        (present[:2], rf"leaves out {texts[2]}, the level of 3 maps \(s2, s5, s8\)"),
        ([*present[:2], "zz"], f"leaves out {texts[2]}"),
        ([*present, "zz"], "names zz, which no map has"),
        ([*present, present[0]], f"names {texts[0]} twice"),
        ([], "leaves out"),
    ):
        with pytest.raises(ValueError, match=said):
            code_formula(
                call.format(column, levels),
                table.assign(participant_id=[f"s{i}" for i in range(9)]),
            )


def test_levels_are_told_apart_to_their_last_digit():
    table = pd.DataFrame({"day": [20240101.5, 20240102.5, 20240103.5] * 2})
    assert len(code_formula("0 + C(day)", table).columns) == 3


# What each transform takes, and what none takes.
OPTIONS = {
    "C": ["Treatment('b')", "levels=['a','b','c']", "contrasts=Treatment('b')"],
    "bs": ["4", "df=4", "knots=[25, 30.5]", "df=4, degree=2", "df=4, include_intercept=False"],
    "cr": ["4", "df=4, constraints='center'", "knots=(25, 30)"],
    "cs": ["df=4"],
    "poly": ["2", "degree=2", "2, raw=True"],
    "scale": ["center=False", "ddof=0"],
    "standardize": ["rescale=False"],
}
NEVER = [
    "[1] * 300",
    "[age, 1]",
    "[[1]]",
    "age",
    "1, 2, 3, 4, 5, 6, 7, 8, 9",
    "x=1",
    "*age",
    "**age",
    "group",
    "_state=1",
    "out=age",
    "knots=[1] * 300",
    "levels=[1] * 300",
    "levels=age",
    "levels=[age]",
    "spans_intercept=False",
    "contr.helmert",
    "Sum(open('f'))",
    "df=[1, 2], df=3",
    "degree=age",
    "knots=age",
    f"knots={[1] * 101}",
    "levels='abc'",
    "lambda: 1",
    "1 + 1",
    "None",
    "...",
]
OPERANDS = [
    "'x'",
    "True",
    "[age]",
    "(age,)",
    "[1] * 300",
    "(1, 2) * 300",
    "[age] * 300",
    "[1]",
    "None",
    "age.x",
    "age[0]",
    "not age",
    "age < 1",
    "b'x'",
    "1j",
    "{age}",
    "-" * 5000 + "age",
    "+".join(["age"] * 5000),
    "9" * 5000,
    "9" * 400 + " * age",
    "age / 0",
    "1e999",
    "C(age)",
]


def forms(name):
    column = "group" if name == "C" else "age"
    yield from (f"{name}({column}, {option})" for option in NEVER)
    yield from (f"{name}({operand})" for operand in OPERANDS)
    yield from (f"{name}({operand}) + age" for operand in OPERANDS[:8])
    yield from (f"{name}()", f"{name}", f"{name}({column}, )[0]", f"{name}({column})(1)")


@pytest.mark.parametrize("name", CALLED[:13])
def test_transforms_take_their_column_and_their_options_alone(name):
    table = pd.DataFrame({"age": np.arange(20.0, 32), "group": list("abc") * 4})
    for option in OPTIONS.get(name, ()):
        code_formula(f"{name}({'group' if name == 'C' else 'age'}, {option})", table)
    refusals = {f: refusal(code_formula, f, table) for f in forms(name)}
    # How deep a formula may nest depends on Python, and on who asks.
    assert all(
        said is not None or refusal(formula_variables, f) is None for f, said in refusals.items()
    )
    # A spline of what is infinite everywhere is 0.
    assert {f for f, said in refusals.items() if said is None} <= {"bs(age / 0)", "bs(1e999)"}
    assert all(
        said is None or ("formula" in said and "\n" not in said) for said in refusals.values()
    )


def refusal(use, *arguments):
    try:
        use(*arguments)
    except ValueError as error:
        return str(error)


def test_what_formulaic_only_warns_of_is_an_error(monkeypatch, table):
    def replaces(data):
        warnings.warn("cast to nan", DataMismatchWarning, stacklevel=1)
        return data

    monkeypatch.setitem(_CONTEXT, "C", replaces)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="cannot be built: .*cast to nan"):
            code_formula("C(site)", table)
