"""Transformations of models against what they are by definition."""

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from nipype_group.models.instructions import AnyInstruction
from nipype_group.models.places import MisplacedError
from nipype_group.models.transformations import transformed

STEPS = TypeAdapter(list[AnyInstruction])


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "age": [20.0, 30, 40, np.nan],
            "iq": [4.0, 0, -2, 1],
            "group": ["b", "a", "c", "a"],
            "sex": ["M", "F", np.nan, "F"],
        }
    )


def carried_out(table, *instructions):
    return transformed(STEPS.validate_python(list(instructions)), table)


def result(table, name, **instruction):
    return carried_out(table, instruction).table[name].tolist()


NAN = float("nan")


@pytest.mark.parametrize(
    ("instruction", "name", "expected"),
    [
        ({"Name": "Factor", "Input": "group"}, "group.a", [0, 1, 0, 1]),
        ({"Name": "Factor", "Input": "sex"}, "sex.F", [0, 1, NAN, 1]),
        (
            {"Name": "Factor", "Input": ["group"], "Constraint": "mean_zero", "Sep": "_"},
            "group_b",
            [1, -0.5, 0, -0.5],
        ),
        # The mean is 30, the standard deviation of n - 1 is 10.
        ({"Name": "Scale", "Input": "age"}, "age", [-1, 0, 1, NAN]),
        ({"Name": "Scale", "Input": "age", "ReplaceNA": "after"}, "age", [-1, 0, 1, 0]),
        (
            {"Name": "Scale", "Input": "age", "Rescale": False, "ReplaceNA": "before"},
            "age",
            [-2.5, 7.5, 17.5, -22.5],
        ),
        ({"Name": "Scale", "Input": "age", "Demean": False}, "age", [2, 3, 4, NAN]),
        ({"Name": "Demean", "Input": "age", "Output": "older"}, "older", [-10, 0, 10, NAN]),
        ({"Name": "Demean", "Input": "iq", "GroupBy": "group"}, "iq", [0, -0.5, 0, 0.5]),
        ({"Name": "Center", "Input": "age"}, "age", [-10, 0, 10, NAN]),
        ({"Name": "Threshold", "Input": "iq"}, "iq", [4, 0, 0, 1]),
        ({"Name": "Threshold", "Input": "iq", "Threshold": 1}, "iq", [4, 0, 0, 1]),
        (
            {"Name": "Threshold", "Input": "iq", "Threshold": 0, "Above": False},
            "iq",
            [0, 0, -2, 0],
        ),
        (
            {"Name": "Threshold", "Input": "iq", "Threshold": -2, "Signed": False},
            "iq",
            [4, 0, 2, 0],
        ),
        (
            {"Name": "Threshold", "Input": "age", "Threshold": 30, "Binarize": True},
            "age",
            [0, 1, 1, NAN],
        ),
        ({"Name": "And", "Input": ["age", "iq"], "Output": "both"}, "both", [1, 0, 1, NAN]),
        ({"Name": "Or", "Input": ["age", "iq"], "Output": ["any"]}, "any", [1, 1, 1, NAN]),
        ({"Name": "Not", "Input": "iq"}, "iq", [0, 1, 0, 0]),
        ({"Name": "Product", "Input": ["age", "iq"], "Output": "p"}, "p", [80, 0, -80, NAN]),
        ({"Name": "Sum", "Input": ["age", "iq"], "Output": "s"}, "s", [24, 30, 38, NAN]),
        (
            {"Name": "Sum", "Input": ["age", "iq"], "Output": "s", "Weights": [1, -2]},
            "s",
            [12, 30, 44, NAN],
        ),
        ({"Name": "Copy", "Input": "group", "Output": "g"}, "g", ["b", "a", "c", "a"]),
        (
            {"Name": "Replace", "Input": "group", "Replace": {"a": 1, "b": 2, "c": None}},
            "group",
            [2, 1, NAN, 1],
        ),
        (
            {"Name": "Replace", "Input": "age", "Replace": {"20": 21, "n/a": 0}},
            "age",
            [21, 30, 40, 0],
        ),
        ({"Name": "Split", "Input": "iq", "By": "group"}, "iq.group[a]", [0, 0, 0, 1]),
        ({"Name": "Split", "Input": "iq", "By": ["sex"]}, "iq.sex[M]", [4, 0, NAN, 0]),
        ({"Name": "Assign", "Input": "iq", "Target": "age"}, "age", [4, 0, -2, 1]),
        ({"Name": "Filter", "Input": "iq", "Query": "iq >= 0 and iq != 1"}, "iq", [4, 0]),
        ({"Name": "Filter", "Input": "iq", "Query": "not (iq < 0 or iq in [1])"}, "iq", [4, 0]),
        (
            {"Name": "Filter", "Input": "iq", "By": "group", "Query": "group in ['a', 'c']"},
            "iq",
            [0, -2, 1],
        ),
        ({"Name": "DropNA", "Input": ["age", "sex"]}, "iq", [4, 0]),
    ],
)
def test_values_are_those_of_the_definition(table, instruction, name, expected):
    found = result(table, name, **instruction)
    if isinstance(expected[0], str):
        assert found == expected
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_factor_takes_the_place_of_its_input_and_leaves_the_reference_out(table):
    step = {"Name": "Factor", "Input": "group", "Constraint": "drop_one", "RefLevel": "b"}
    assert list(carried_out(table, step).table) == ["age", "iq", "sex", "group.a", "group.c"]


def test_mean_zero_columns_and_a_constant_are_of_all_cells(table):
    step = {"Name": "Factor", "Input": "group", "Constraint": "mean_zero"}
    made = carried_out(table, step).table[["group.b", "group.c"]].to_numpy(dtype=float)
    assert np.linalg.matrix_rank(np.column_stack([np.ones(4), made])) == 3


def test_names_change_and_go(table):
    rename = {"Name": "Rename", "Input": ["age", "iq"], "Output": ["a", "b"]}
    group = {"Name": "Group", "Input": ["a", "b"], "Output": "both"}
    select = {"Name": "Select", "Input": ["both", "s*"]}
    assert list(carried_out(table, rename, group, select).table) == ["a", "b", "sex"]
    assert list(carried_out(table, {"Name": "Delete", "Input": "*e*"}).table) == ["iq", "group"]


def test_what_is_orthogonal_keeps_its_intercept(rng_values=(3.0, 1, 4, 1, 5, 9)):
    y, x = np.array(rng_values), np.array([2.0, 7, 1, 8, 2, 8])
    slope, intercept = np.polyfit(x, y, 1)
    step = {"Name": "Orthogonalize", "Input": "y", "Other": "x"}
    found = carried_out(pd.DataFrame({"y": y, "x": x}), step).table["y"].to_numpy()
    np.testing.assert_allclose(found, y - slope * x, atol=1e-12)
    np.testing.assert_allclose(found.mean(), intercept, atol=1e-12)


@pytest.mark.parametrize(
    ("instruction", "place", "said"),
    [
        ({"Name": "Scale", "Input": "agee"}, "[0].Input[0]", "did you mean age"),
        ({"Name": "Scale", "Input": "z*"}, "[0].Input[0]", "matches no variable"),
        ({"Name": "Scale", "Input": "group"}, "[0].Input", "is text .b, a, c."),
        (
            {"Name": "Factor", "Input": "group", "RefLevel": "d"},
            "[0].RefLevel",
            "d is no level of group",
        ),
        ({"Name": "Not", "Input": "iq", "Output": ["a", "b"]}, "[0].Output", "2 names for 1"),
        (
            {"Name": "Sum", "Input": ["age", "iq"], "Output": "s", "Weights": [1]},
            "[0].Weights",
            "1 numbers for 2",
        ),
        (
            {"Name": "Rename", "Input": "age", "Output": "iq"},
            "[0].Output",
            "another variable's name",
        ),
        (
            {"Name": "Replace", "Input": "group", "Replace": {"a": 1}},
            "[0].Replace",
            "text beside numbers in group .b, c.",
        ),
        ({"Name": "Group", "Input": "age", "Output": "iq"}, "[0].Output", "name of a variable"),
        (
            {"Name": "Orthogonalize", "Input": "age", "Other": ["age"]},
            "[0].Other",
            "which is an input",
        ),
        ({"Name": "Filter", "Input": "iq", "Query": "iq > 'a'"}, "[0].Query", "text with a num"),
        ({"Name": "Filter", "Input": "iq", "Query": "iq.max() > 1"}, "[0].Query", "no variable"),
        ({"Name": "Filter", "Input": "iq", "Query": "iq ** 9 > 1"}, "[0].Query", "not understood"),
        ({"Name": "Filter", "Input": "iq", "Query": "f(1)"}, "[0].Query", "no variable f"),
        ({"Name": "Filter", "Input": "iq", "Query": "iq"}, "[0].Query", "not understood"),
        (
            {"Name": "Filter", "Input": "iq", "Query": f"iq > {'9' * 900}"},
            "[0].Query",
            "number in it is too large",
        ),
        ({"Name": "Filter", "Input": "iq", "Query": "1 < 2"}, "[0].Query", "no variable"),
    ],
)
def test_what_cannot_be_is_named(table, instruction, place, said):
    with pytest.raises(MisplacedError, match=said) as error:
        carried_out(table, instruction)
    assert error.value.place == place


def test_a_constant_has_no_scale():
    with pytest.raises(MisplacedError, match="x is constant"):
        carried_out(pd.DataFrame({"x": [2.0, 2]}), {"Name": "Scale", "Input": "x"})
