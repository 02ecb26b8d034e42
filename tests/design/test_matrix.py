"""Designs: from formulas, tables and FSL files, with rows in the order of the maps."""

import json

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.fsl import write_fsl_matrix
from nipype_group.design.matrix import (
    Design,
    design_from_formula,
    design_from_table,
    read_design,
)


@pytest.fixture
def observations():
    return pd.DataFrame(
        {
            "participant_id": ["sub-01", "sub-02", "sub-03", "sub-10"],
            "age": ["31", "20", "44", "52"],
            "map": ["a", "b", "c", "d"],
            "sha256": ["1", "2", "3", "4"],
        },
        dtype=str,
    )


@pytest.fixture
def repeated():
    return pd.DataFrame(
        {
            "participant_id": ["sub-01", "sub-01", "sub-02", "sub-02"],
            "condition": ["1", "2", "1", "2"],
            "map": list("abcd"),
        },
        dtype=str,
    )


def write_table(path, **columns):
    pd.DataFrame(columns).to_csv(path, sep="\t", index=False)
    return path


def test_rows_of_a_table_are_brought_into_the_order_of_the_maps(observations, tmp_path):
    path = write_table(
        tmp_path / "d.tsv",
        participant_id=["10", "sub-03", "02", "sub-01"],
        one=[1, 1, 1, 1],
        dose=[4.5, 3, 2, 1],
    )
    design = design_from_table(path, observations)
    assert design.columns == ("one", "dose")
    np.testing.assert_array_equal(design.matrix[:, 1], [1, 2, 3, 4.5])
    assert design.participants == ["01", "02", "03", "10"]


def test_condition_columns_are_part_of_the_key(repeated, tmp_path):
    path = write_table(
        tmp_path / "d.tsv",
        condition=["2", "1", "1", "2"],
        participant_id=["sub-02", "sub-02", "sub-01", "sub-01"],
        x=[4, 3, 1, 2],
    )
    design = design_from_table(path, repeated, ["condition"])
    assert design.matrix.ravel().tolist() == [1, 2, 3, 4]
    assert design.columns == ("x",)
    assert design.participant_numbers.ravel().tolist() == [1, 1, 2, 2]


def test_a_table_without_the_condition_column_is_refused(repeated, tmp_path):
    path = write_table(tmp_path / "d.tsv", participant_id=["01", "02"], x=[1, 2])
    with pytest.raises(ValueError, match="no column condition to tell whose row it is"):
        design_from_table(path, repeated, ["condition"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["01", "02", "03"], "no row for the map of 10"),
        (["01", "02", "03", "10", "11"], "no map for the row of 11; drop the row"),
        (["01", "02", "03", "10", "sub-02"], "more than one row for 02"),
    ],
)
def test_rows_and_maps_that_do_not_match_are_named(observations, tmp_path, labels, message):
    path = write_table(tmp_path / "d.tsv", participant_id=labels, x=np.arange(len(labels)) + 0.5)
    with pytest.raises(ValueError, match=message):
        design_from_table(path, observations)


def test_rows_of_excluded_participants_are_left_out(observations, tmp_path):
    path = write_table(
        tmp_path / "d.tsv", participant_id=["01", "02", "03", "07", "10"], x=[1, 2, 3, 99, 4]
    )
    excluded = pd.DataFrame({"participant_id": ["sub-07"], "reason": ["n/a in age"]})
    design = design_from_table(path, observations, excluded=excluded)
    assert design.matrix.ravel().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("value", ["n/a", "high", "inf", ""])
def test_cells_that_are_no_finite_number_are_named_by_line(observations, tmp_path, value):
    path = write_table(
        tmp_path / "d.tsv", participant_id=["01", "02", "03", "10"], x=["1", "2", value, "4"]
    )
    with pytest.raises(ValueError, match="no finite number in x line 4"):
        design_from_table(path, observations)


def test_columns_of_0_and_second_constants_are_refused(observations, tmp_path):
    ids = {"participant_id": ["01", "02", "03", "10"]}
    path = write_table(tmp_path / "a.tsv", **ids, x=[1, 2, 3, 5], empty=[0] * 4)
    with pytest.raises(ValueError, match="column empty is 0 in every row"):
        design_from_table(path, observations)
    path = write_table(tmp_path / "b.tsv", **ids, x=[1] * 4, y=[2] * 4)
    with pytest.raises(ValueError, match="columns x, y are constant"):
        design_from_table(path, observations)


def test_fewer_maps_than_columns_is_refused(observations, tmp_path):
    ids = ["01", "02", "03", "10"]
    columns = {c: np.eye(4)[i] for i, c in enumerate("abcd")}
    path = write_table(tmp_path / "d.tsv", participant_id=ids, **columns)
    with pytest.raises(ValueError, match=r"4 maps and 4 independent columns \(a, b, c, d\)"):
        design_from_table(path, observations)


def test_fsl_designs_take_rows_as_they_come(observations, tmp_path):
    matrix = np.column_stack([np.ones(4), [1, 5, 2, 3.25]])
    path = write_fsl_matrix(tmp_path / "design.mat", matrix)
    design = design_from_table(path, observations)
    assert design.columns == ("ev1", "ev2")
    np.testing.assert_array_equal(design.matrix, matrix)
    with pytest.raises(ValueError, match="has 4 rows for 3 maps"):
        design_from_table(path, observations.iloc[:3])


def test_formula_designs_know_their_rows(observations):
    design = design_from_formula("age", observations)
    assert design.columns == ("intercept", "age")
    assert design.matrix[:, 1].tolist() == [31, 20, 44, 52]
    assert design.formula == "age"
    assert design.participants == ["01", "02", "03", "10"]


def test_condition_columns_are_factors_even_where_they_hold_numbers(repeated):
    design = design_from_formula("0 + condition", repeated, ["condition"])
    assert design.columns == ("condition[1]", "condition[2]")
    assert list(design.keys.columns) == ["participant_id", "condition"]


def test_file_columns_are_no_variables(observations):
    for name in ("map", "sha256"):
        with pytest.raises(ValueError, match=f"no column {name}"):
            design_from_formula(name, observations)


def test_participants_as_a_factor(repeated):
    repeated = pd.concat([repeated, repeated.assign(condition=["3", "4", "3", "4"])])
    design = design_from_formula("participant_id + condition", repeated, ["condition"])
    assert design.columns[1] == "participant_id[S.sub-01]"


def test_designs_on_disk_round_trip_exactly(tmp_path, observations):
    observations["age"] = [repr(float(v)) for v in np.random.default_rng(0).random(4)]
    design = design_from_formula("center(age)", observations)
    again = read_design(*design.write(tmp_path))
    np.testing.assert_array_equal(again.matrix, design.matrix)
    assert again.columns == design.columns
    assert again.participants == design.participants
    assert (again.factors, again.sources, again.formula) == (
        design.factors,
        design.sources,
        design.formula,
    )


def test_the_sidecar_describes_the_design(tmp_path):
    group = np.tile(np.eye(2), (3, 1))
    matrix = np.column_stack([np.ones(6), group])
    keys = pd.DataFrame({"participant_id": list("abcdef")})
    path = Design(keys, matrix, ("one", "a", "b")).write(tmp_path)[1]
    about = json.loads((tmp_path / "design.json").read_text())
    assert path == str(tmp_path / "design.json")
    assert (about["Rank"], about["DegreesOfFreedom"]) == (2, 4)
    assert (about["NumberOfMaps"], about["NumberOfParticipants"]) == (6, 6)
    assert about["LargestLeverage"] == pytest.approx(1 / 3, rel=1e-5)
    assert about["Columns"] == ["one", "a", "b"]


def test_design_files_that_do_not_belong_together_are_refused(tmp_path, observations):
    table, sidecar = design_from_formula("age", observations).write(tmp_path)
    about = json.loads((tmp_path / "design.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps(about | {"Columns": ["intercept", "iq"]}))
    with pytest.raises(ValueError, match="design.tsv has the columns .*age.*names .*iq"):
        read_design(table, tmp_path / "other.json")
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(ValueError, match="no.json: has no Keys"):
        read_design(table, tmp_path / "no.json")
    with pytest.raises(ValueError, match="the table does not exist"):
        read_design(tmp_path / "none.tsv", sidecar)


def same(*labels):
    """Return maps of two visits of each participant, as labels stand in a table."""
    rows = [(f"sub-{label}", visit) for label in labels for visit in ("pre", "post")]
    table = pd.DataFrame(rows, columns=["participant_id", "visit"])
    return table.assign(map=[f"{i}.nii" for i in range(len(rows))], sha256="0")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "01"),
        ("1", "001"),
        ("s1", "s01"),
        ("A", "a"),
        ("sub-2", "2"),
        ("Sub-2", "2"),
        ("SUB2", "2"),
        ("Sub-02", "2"),
        ("a\u200b", "a"),
        ("a_01_b", "A_1_b"),
    ],
)
def test_labels_that_may_be_one_participant_are_told(tmp_path, one, other):
    maps = same("x", one, "y", other)
    table = maps[["participant_id", "visit"]].assign(a=1, b=[0, 1] * 4)
    table.to_csv(tmp_path / "d.tsv", sep="\t", index=False)
    for design in (
        design_from_formula("C(visit)", maps, ["visit"]),
        design_from_table(tmp_path / "d.tsv", maps, ["visit"]),
    ):
        (note,) = [n for n in design.notes if "taken for 2 people" in n]
        assert f"participants {' and '.join(p for p in design.participants[2:7:4])} of" in note


@pytest.mark.parametrize(
    "labels",
    [("1", "10"), ("1", "11"), ("a1", "b1"), ("0", "1"), ("x", "sub"), ("100", "10", "1000")],
)
def test_labels_of_several_people_are_not(labels):
    design = design_from_formula("C(visit)", same(*labels, "z", "w"), ["visit"])
    assert not any("people" in note for note in design.notes)


@pytest.mark.parametrize("differing", [[], [3], [0, 4], list(range(5)), list(range(10))])
@pytest.mark.parametrize("formula", ["age + C(visit)", "C(age) + C(visit)", "C(visit)"])
def test_numbers_that_differ_within_few_participants_are_told(formula, differing):
    maps = same(*range(10))
    maps["age"] = [str(20 + i // 2 % 3 + 7 * (i % 2 and i // 2 in differing)) for i in range(20)]
    notes = design_from_formula(formula, maps, ["visit"]).notes
    told = [n for n in notes if "column age has several values" in n]
    assert len(told) == (0 < len(differing) < 5 and "age" in formula)
    assert all(", ".join(f"sub-{i}" for i in differing) in n for n in told)
