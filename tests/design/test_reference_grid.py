"""The reference grid: rows of a design for every combination of levels."""

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.formula import code_formula, factor_levels
from nipype_group.design.matrix import design_from_formula, read_design
from nipype_group.design.transforms import is_linear
from nipype_group.whole_files import UnusableFileError


@pytest.fixture(scope="module")
def table():
    """Six participants with one to four maps, two conditions, a group, and a covariate each."""
    rows = [
        (f"sub-{i}", ses, task, "ab"[i % 2], 20.0 + i * i, 5.0 * i - len(ses))
        for i, ses, task in product(range(6), ("pre", "post"), ("faces", "houses"))
        if not (i == 3 and task == "houses")
    ]
    return pd.DataFrame(rows, columns=["participant_id", "ses", "task", "group", "age", "score"])


AGE, SCORE = np.mean([20 + i * i for i in range(6)]), np.mean([5 * i - 3.5 for i in range(6)])


def test_a_row_a_cell_with_covariates_at_their_mean_over_participants(table):
    grid = code_formula("C(group) * C(task) + age", table).grid
    assert grid.factors == {"group": ["a", "b"], "task": ["faces", "houses"]}
    assert grid.cells == [("a", "faces"), ("a", "houses"), ("b", "faces"), ("b", "houses")]
    # Participant 3 counts as one, with fewer maps.
    assert grid.covariates == {"age": pytest.approx(AGE, rel=1e-15)}
    np.testing.assert_allclose(
        grid.rows,
        [[1, 0, 0, AGE, 0], [1, 0, 1, AGE, 0], [1, 1, 0, AGE, 0], [1, 1, 1, AGE, 1]],
    )
    np.testing.assert_array_equal(grid.slopes["age"], np.tile([0, 0, 0, 1, 0], (4, 1)))


@pytest.mark.parametrize(
    ("formula", "row"),
    [
        ("C(task) + C(participant_id)", [0] * 5),
        ("0 + C(participant_id) + C(task)", [1 / 6] * 6),
        ("C(task) + C(participant_id, Treatment('sub-2'))", [1 / 6] * 5),
    ],
)
def test_columns_of_participants_are_at_their_mean_over_participants(table, formula, row):
    coding = code_formula(formula, table)
    own = [i for i, c in enumerate(coding.columns) if c.startswith("participant_id[")]
    assert list(coding.grid.factors) == ["task"]
    np.testing.assert_allclose(coding.grid.rows[:, own], [row, row], rtol=1e-15)


@pytest.mark.parametrize(
    ("formula", "row"),
    [
        ("center(age)", lambda t: [1, AGE - t.age.mean()]),
        ("standardize(age)", lambda t: [1, (AGE - t.age.mean()) / t.age.std(ddof=0)]),
        ("log(age) + age", lambda t: [1, np.log(AGE), AGE]),
        ("I(age * score)", lambda t: [1, AGE * SCORE]),
        ("1", lambda t: [1]),
    ],
)
def test_transforms_keep_their_state(table, formula, row):
    np.testing.assert_allclose(code_formula(formula, table).grid.rows, [row(table)], rtol=1e-13)


@pytest.mark.parametrize("formula", ["poly(age, 2)", "bs(age, df=5)", "cr(age, df=3)"])
def test_curves_keep_their_state(table, formula):
    # A participant of the mean age tells what the row is.
    more = table.assign(age=np.where(table.participant_id == "sub-0", AGE, table.age))
    more["age"] += (
        (AGE - more.groupby("participant_id").age.first().mean())
        * (more.participant_id == "sub-5")
        * 6
    )
    coding = code_formula(formula, more)
    assert coding.grid.covariates["age"] == pytest.approx(AGE)
    np.testing.assert_allclose(coding.grid.rows[0], coding.matrix[0], rtol=1e-9, atol=1e-12)
    assert coding.grid.curved == {"age": formula}
    assert coding.grid.slopes == {}


def test_slopes_are_what_a_unit_adds(table):
    coding = code_formula("C(group) * scale(age) + I((score - 2) / 4):C(task)", table)
    sd = table.age.std()
    grid = coding.grid
    assert set(grid.slopes) == {"age", "score"}
    by_column = dict(zip(coding.columns, grid.slopes["age"].T, strict=True))
    np.testing.assert_allclose(by_column["age"], np.full(4, 1 / sd), rtol=1e-14)
    np.testing.assert_allclose(by_column["group[b]:age"], np.array([0, 0, 1, 1]) / sd, rtol=1e-14)
    assert not np.delete(grid.slopes["age"], [2, 3], axis=1)[:, 0].any()
    own = {c: v for c, v in zip(coding.columns, grid.slopes["score"].T, strict=True) if v.any()}
    assert {c: v.tolist() for c, v in own.items()} == {
        "I((score - 2) / 4):task[faces]": [0.25, 0, 0.25, 0],
        "I((score - 2) / 4):task[houses]": [0, 0.25, 0, 0.25],
    }


@pytest.mark.parametrize(
    ("formula", "curved"),
    [
        ("age + I(age ** 2)", {"age": "I(age ** 2)"}),
        ("age:center(age)", {"age": "age:center(age)"}),
        ("C(group):exp(age / 100)", {"age": "C(group):exp(age / 100)"}),
        ("age + score", {}),
        ("age:score", {}),
        ("bs(scale, df=3)", {"scale": "bs(scale, df=3)"}),
    ],
)
def test_covariates_that_are_no_lines_are_told(table, formula, curved):
    assert code_formula(formula, table.assign(scale=table.age)).grid.curved == curved


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("I(2 * age - 3)", True),
        ("I(-age / 2)", True),
        ("center(age + iq)", True),
        ("Q('age')", True),
        ("I(iq / age)", False),
        ("I(age ** 1)", False),
        ("I(iq ** 2)", True),
        ("center(log(age))", False),
        ("bs(age, degree=1)", False),
        ("log(iq)", True),
        ("C(age)", True),
    ],
)
def test_lines_are_told_from_curves(expression, expected):
    assert is_linear(expression, "age") is expected


def test_names_in_backticks_are_lines_too():
    assert is_linear("center(`my age`)", "my age")
    assert not is_linear("log(`my age`)", "my age")


def test_what_has_no_grid_says_why(table):
    for formula in ("C(group) / C(participant_id)", "participant_id:age"):
        coding = code_formula(formula, table)
        assert coding.grid is None
        assert "effects of each participant" in coding.without_grid
    long = pd.DataFrame({c: [f"{c}{i}" for i in range(20)] * 2 for c in "abcd"})
    assert "160000 combinations" in code_formula("a + b + c + d", long).without_grid
    many = pd.DataFrame({"a": [f"{i}" for i in range(2000)], "x": np.arange(2000.0)})
    assert "too many" in code_formula("C(a) + x", many).without_grid


def test_columns_called_as_transforms_keep_their_names(table):
    grid = code_formula("C(scale) * log", table.rename(columns={"group": "scale", "age": "log"}))
    assert list(grid.grid.factors) == ["scale"]
    assert list(grid.grid.covariates) == list(grid.grid.slopes) == ["log"]


def test_factors_of_a_formula_are_known_before_it_is_built(table):
    formula = "C(age, levels=[45, 36, 29, 24, 21, 20]) + score + task:C(participant_id)"
    levels = factor_levels(formula, table)
    assert list(levels) == ["age", "task", "participant_id"]
    assert levels["age"][:2] == ["45", "36"]


def observations(table):
    return table.astype(str).assign(map="x.nii", sha256="0")


def test_grids_on_disk_round_trip_exactly(table, tmp_path):
    design = design_from_formula("C(ses) * scale(age) + log(score + 9)", observations(table))
    again = read_design(*design.write(tmp_path)).grid
    assert (again.factors, again.covariates, again.curved) == (
        design.grid.factors,
        design.grid.covariates,
        design.grid.curved,
    )
    np.testing.assert_array_equal(again.rows, design.grid.rows)
    np.testing.assert_array_equal(again.slopes["age"], design.grid.slopes["age"])


def test_reasons_on_disk_round_trip(table, tmp_path):
    design = design_from_formula("ses / participant_id", observations(table), ["ses", "task"])
    again = read_design(*design.write(tmp_path))
    assert again.grid is None
    assert again.without_grid == design.without_grid != ""


@pytest.mark.parametrize(
    "change",
    [
        {"Rows": [[1.0, 0.0]]},
        {"Rows": [[1.0], [1.0]]},
        {"Rows": []},
        {"Slopes": {"age": [[1.0, 2.0]]}},
        {"Factors": {"ses": ["pre"]}},
        {"Factors": {"ses": 3}},
        {"Rows": "x"},
    ],
)
def test_damaged_grids_are_refused(table, tmp_path, change):
    files = design_from_formula("C(ses)", observations(table), ["ses", "task"]).write(tmp_path)
    about = json.loads((tmp_path / "design.json").read_text())
    about["ReferenceGrid"] |= change
    (tmp_path / "design.json").write_text(json.dumps(about))
    with pytest.raises(UnusableFileError, match="design.json.*ReferenceGrid"):
        read_design(*files)


def test_descriptions_without_a_grid_are_read(table, tmp_path):
    files = design_from_formula("C(ses)", observations(table), ["ses", "task"]).write(tmp_path)
    about = json.loads((tmp_path / "design.json").read_text())
    del about["ReferenceGrid"], about["WithoutReferenceGrid"]
    (tmp_path / "design.json").write_text(json.dumps(about))
    design = read_design(*files)
    assert design.grid is None
    assert design.without_grid
