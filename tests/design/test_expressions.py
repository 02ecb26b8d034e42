"""The grammar of expressions against evaluation with real numbers."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nipype_group.design.expressions import parse_row, parse_weight_list

NAMES = ["a", "b2", "group[x]", "sex[m]:age", "`reaction time`", "c_d.e", "é", "log(age)"]


def spelled(tree):
    """Write a tree with minimal or redundant parentheses and blanks."""
    kind = tree[0]
    if kind == "name":
        return tree[1]
    if kind == "number":
        return tree[1]
    if kind == "minus":
        return (
            f"-{spelled(tree[1])}"
            if tree[1][0] in ("name", "number")
            else f"-({spelled(tree[1])})"
        )
    return f"({spelled(tree[1])}) {kind} ({spelled(tree[2])})"


def value(tree, values):
    kind = tree[0]
    if kind == "name":
        return values[tree[1]]
    if kind == "number":
        return float(tree[1])
    if kind == "minus":
        return -value(tree[1], values)
    left, right = value(tree[1], values), value(tree[2], values)
    return (
        {"+": left + right, "-": left - right, "*": left * right}[kind]
        if kind != "/"
        else left / right
    )


NUMBERS = st.sampled_from(["1", "2", "0.5", ".25", "3.", "1e-1", "2E+1"]).map(
    lambda n: ("number", n)
)
CONSTANTS = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.tuples(st.just("minus"), inner), st.tuples(st.sampled_from("+-*"), inner, inner)
    ),
    max_leaves=3,
)
COLUMNS = st.recursive(
    st.sampled_from(NAMES).map(lambda n: ("name", n)),
    lambda inner: st.one_of(
        st.tuples(st.just("minus"), inner),
        st.tuples(st.sampled_from("+-"), inner, inner),
        st.tuples(st.just("*"), CONSTANTS, inner),
        st.tuples(st.just("*"), inner, CONSTANTS),
        st.tuples(st.just("/"), inner, NUMBERS),
    ),
    max_leaves=8,
)


@settings(max_examples=200)
@given(COLUMNS, st.integers(0, 2**32 - 1))
def test_weights_evaluate_to_what_the_expression_does(tree, seed):
    values = dict(zip(NAMES, np.random.default_rng(seed).uniform(1, 2, len(NAMES)), strict=True))
    weights = parse_row(spelled(tree))
    ours = sum(w * values[n if n in values else f"`{n}`"] for n, w in weights.items())
    scale = sum(abs(w) * 2 for w in weights.values()) + 1
    assert ours == pytest.approx(value(tree, values), rel=1e-9, abs=1e-9 * scale * 100)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", {"a": 1}),
        ("- a", {"a": -1}),
        ("a-b", {"a": 1, "b": -1}),
        ("a - b - c", {"a": 1, "b": -1, "c": -1}),
        ("a - (b - c)", {"a": 1, "b": -1, "c": 1}),
        ("2*a + a", {"a": 3}),
        ("a - a", {"a": 0}),
        ("a/2/2", {"a": 0.25}),
        ("1/2*a", {"a": 0.5}),
        ("2*3*a*0.5", {"a": 3}),
        ("(a + b)/2 - (c + d)/2", {"a": 0.5, "b": 0.5, "c": -0.5, "d": -0.5}),
        ("--a", {"a": 1}),
        ("a + 1 - 1", {"a": 1}),
        ("group[my level] - group[a-b]", {"group[my level]": 1, "group[a-b]": -1}),
        ("`a-b` + `x * y`", {"a-b": 1, "x * y": 1}),
        ("sex[m]:age", {"sex[m]:age": 1}),
        ("e1 + 1e1*e", {"e1": 1, "e": 10}),
        ("  a\t+\tb  ", {"a": 1, "b": 1}),
        ("größe", {"größe": 1}),
        ("log(age) - 2*log(age):group[b]", {"log(age)": 1, "log(age):group[b]": -2}),
        ("poly(age, degree=2)[1] + 2*(a)", {"poly(age, degree=2)[1]": 1, "a": 2}),
        ("f((a), b)", {"f((a), b)": 1}),
    ],
)
def test_examples_of_the_grammar(text, expected):
    assert parse_row(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("   ", "it is empty"),
        ("a +", "expected before 'the end'"),
        ("a b", "'b' was not expected"),
        ("(a", "the \\( at sign 1 is not closed"),
        ("a)", "the \\) at sign 2 closes nothing"),
        ("a * b", "product of two columns"),
        ("a / b", "division by a column"),
        ("a / 0", "division by 0"),
        ("a / (1 - 1)", "division by 0"),
        ("a + 1", "the number 1 stands without a column"),
        ("3", "the number 3 stands"),
        ("a ** 2", "expected before '\\*'"),
        ("a ? b", "'\\? b' is not understood"),
        ("a > b", "not understood"),
        ("`a", "not understood"),
        ("f(a", "the \\( at sign 2 is not closed"),
        ("f (a)", "was not expected"),
        ("2a", "not understood"),
        ("a[b", "not understood"),
        ("f(g(h(a)))", "was not expected"),
        ("a; b", "not understood"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_reason(text, message):
    with pytest.raises(ValueError, match=message) as error:
        parse_row(text)
    assert "expression" in str(error.value)


@settings(max_examples=200)
@example("(" * 200)
@given(st.text(alphabet="ab1.e+-*/()[]`: ;", max_size=30))
def test_any_text_is_an_expression_or_a_value_error(text):
    try:
        weights = parse_row(text)
    except ValueError:
        return
    assert all(np.isfinite(w) for w in weights.values())


@given(st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=3), min_size=1, max_size=4))
def test_weight_lists_round_trip(rows):
    for brackets in ("[{}]", "{}"):
        text = brackets.format("; ".join(", ".join(map(str, row)) for row in rows))
        np.testing.assert_array_equal(parse_weight_list(text, 3), rows)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1 -1 0]", [[1, -1, 0]]),
        ("1,-1/2,-1/2", [[1, -0.5, -0.5]]),
        ("[0.5, 1e-1, -.5]", [[0.5, 0.1, -0.5]]),
        ("[1 0 0; 0 1 0]", [[1, 0, 0], [0, 1, 0]]),
        (" [ 1, 0, 0 ; ] ", [[1, 0, 0]]),
    ],
)
def test_spellings_of_weight_lists(text, expected):
    np.testing.assert_array_equal(parse_weight_list(text, 3), expected)


@pytest.mark.parametrize("text", ["a - b", "1", "e", "2 * a, b"])
def test_what_is_no_list_of_numbers_is_left_to_the_grammar(text):
    assert parse_weight_list(text, 3) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, -1]", "has 2 weights, the design has 3 columns"),
        ("[1, 0, 0; 1, 0]", "has 2 weights"),
        ("[1, 1/0, 0]", "'1/0' is no number"),
        ("[1, 1e, 0]", "'1e' is no number"),
        ("[1, --1, 0]", "'--1' is no number"),
    ],
)
def test_bad_weight_lists_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_weight_list(text, 3)


@pytest.mark.parametrize("depth", [10, 49, 60, 400, 4900])
@pytest.mark.parametrize("nest", [("(", ")"), ("-(", ")"), ("- ", ""), ("+", ""), ("2*(", ")")])
def test_an_expression_of_any_depth_is_read_or_refused(nest, depth):
    before, after = nest
    text = before * depth + "a" + after * depth
    if len(before) * depth < 49:
        assert list(parse_row(text)) == ["a"]
    elif depth > 50:
        with pytest.raises(ValueError, match="nested more than 50 deep") as error:
            parse_row(text)
        assert len(str(error.value)) < 500
