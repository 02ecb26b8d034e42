"""DesignMatrix and ContrastSet."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nipype_group.interfaces import ContrastSet, DesignMatrix
from nipype_group.tsv import read_tsv

AGE = [21.0, 35.5, 44.0, 52.25, 60.0, 28.0]
GROUP = ["control", "patient"] * 3


@pytest.fixture
def observations(tmp_path, monkeypatch):
    """Write an observations table of six participants."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "observations.tsv"
    pd.DataFrame(
        {
            "participant_id": [f"sub-{i}" for i in range(6)],
            "age": AGE,
            "group": GROUP,
            "map": [f"{i}.nii" for i in range(6)],
            "sha256": "0",
        }
    ).to_csv(path, sep="\t", index=False)
    return str(path)


def design(observations, **inputs):
    outputs = DesignMatrix(observations=observations, **inputs).run().outputs
    table = pd.read_csv(outputs.design_file, sep="\t")
    return outputs, table


def contrasts(outputs, definitions):
    made = ContrastSet(
        design_file=outputs.design_file, design_json=outputs.design_json, contrasts=definitions
    ).run()
    return made.outputs, json.loads(Path(made.outputs.contrasts_file).read_text())["Contrasts"]


def test_formula_gives_named_columns_in_the_order_of_the_maps(observations):
    outputs, table = design(observations, formula="age + C(group)")
    assert list(table.columns) == ["participant_id", "intercept", "age", "group[patient]"]
    np.testing.assert_array_equal(table["age"], AGE)
    np.testing.assert_array_equal(table["group[patient]"], [0, 1] * 3)
    about = json.loads(Path(outputs.design_json).read_text())
    assert (about["Rank"], about["DegreesOfFreedom"]) == (3, 3)
    assert about["Formula"] == "age + C(group)"


def test_fsl_files_hold_the_same_numbers(observations):
    outputs, table = design(observations, formula="age")
    text = Path(outputs.fsl_design_file).read_text()
    assert "/NumWaves\t2" in text.replace(" ", "\t")
    rows = text.partition("/Matrix")[2].split("\n")[1:7]
    values = np.array([[float(v) for v in row.split()] for row in rows])
    np.testing.assert_allclose(values, table[["intercept", "age"]], rtol=1e-12)
    blocks = Path(outputs.fsl_groups_file).read_text().partition("/Matrix")[2].split()
    assert [float(b) for b in blocks] == [1, 2, 3, 4, 5, 6]


def test_table_is_matched_by_participant_whatever_its_order(observations, tmp_path):
    path = tmp_path / "regressors.tsv"
    pd.DataFrame(
        {"participant_id": [f"sub-{i}" for i in range(5, -1, -1)], "x": [5.0, 4, 3, 2, 1, 0]}
    ).to_csv(path, sep="\t", index=False)
    _, table = design(observations, design_table=str(path))
    assert table["x"].tolist() == [0, 1, 2, 3, 4, 5]


def test_written_design_reads_back_to_the_last_bit(observations):
    outputs, _ = design(observations, formula="age")
    again, _ = design(observations, design_table=outputs.fsl_design_file)
    matrix = read_tsv(again.design_file)[["ev1", "ev2"]].to_numpy(dtype=str).astype(float)
    np.testing.assert_array_equal(matrix, np.column_stack([np.ones(6), AGE]))


@pytest.mark.parametrize("both", [True, False])
def test_exactly_one_model_is_asked_for(observations, both):
    inputs = {"formula": "age", "design_table": observations} if both else {}
    with pytest.raises(
        ValueError, match="a formula, a design_table, or factors .* one of the three"
    ):
        design(observations, **inputs)


def test_rows_without_map_are_named(observations, tmp_path):
    path = tmp_path / "regressors.tsv"
    pd.DataFrame({"participant_id": [f"sub-{i}" for i in range(7)], "x": range(7)}).to_csv(
        path, sep="\t", index=False
    )
    with pytest.raises(ValueError, match="no map for the row of 6"):
        design(observations, design_table=str(path))
    excluded = tmp_path / "excluded.tsv"
    excluded.write_text("participant_id\tmap\treason\nsub-6\tn/a\tno map was found\n")
    _, table = design(observations, design_table=str(path), excluded=str(excluded))
    assert len(table) == 6


def test_formula_runs_no_code(observations, tmp_path):
    target = tmp_path / "touched"
    with pytest.raises(ValueError, match="formula"):
        design(observations, formula=f"{{__import__('os').system('touch {target}')}}")
    assert not target.exists()


def test_contrast_expressions_become_weights(observations):
    outputs, _ = design(observations, formula="0 + C(group) + age")
    made, found = contrasts(
        outputs,
        ["diff=patient - control", "mean=(patient + control) / 2", "both=patient; control"],
    )
    columns = json.loads(Path(made.contrasts_file).read_text())["Columns"]
    weights = [[dict(zip(columns, row, strict=True)) for row in c["Weights"]] for c in found]
    zero = dict.fromkeys(columns, 0.0)
    assert weights[0] == [zero | {"group[patient]": 1, "group[control]": -1}]
    assert weights[1] == [zero | {"group[patient]": 0.5, "group[control]": 0.5}]
    assert weights[2] == [zero | {"group[patient]": 1}, zero | {"group[control]": 1}]
    assert [c["Test"] for c in found] == ["t", "t", "F"]
    assert [c["Rank"] for c in found] == [1, 1, 2]


def test_fsl_contrast_files_tell_which_rows_form_which_test(observations):
    outputs, _ = design(observations, formula="age + C(group)")
    made, _ = contrasts(outputs, ["age=age", "all=age; patient - control"])
    rows = Path(made.fsl_contrasts_file).read_text().partition("/Matrix")[2].split("\n")[1:4]
    values = np.array([[float(v) for v in row.split()] for row in rows])
    np.testing.assert_array_equal(values, [[0, 1, 0], [0, 1, 0], [0, 0, 1]])
    tests = Path(made.fsl_f_tests_file).read_text().partition("/Matrix")[2].split()
    assert [float(v) for v in tests] == [0, 1, 1]


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("a=fluency", "no column fluency; there are intercept, age"),
        ("a=control", "control is the reference level of group"),
        ("a=0 * age", "every weight is 0"),
        ("age", "not of the form NAME=EXPRESSION"),
    ],
)
def test_bad_contrasts_are_named(observations, definition, message):
    outputs, _ = design(observations, formula="age + C(group)")
    with pytest.raises(ValueError, match=message):
        contrasts(outputs, [definition])


def test_contrast_that_the_design_cannot_estimate_is_refused(observations, tmp_path):
    path = tmp_path / "regressors.tsv"
    pd.DataFrame(
        {
            "participant_id": [f"sub-{i}" for i in range(6)],
            "a": [1, 0] * 3,
            "b": [0, 1] * 3,
            "all": 1,
        }
    ).to_csv(path, sep="\t", index=False)
    outputs, _ = design(observations, design_table=str(path))
    with pytest.raises(ValueError, match=r"'x'.*(a|all)"):
        contrasts(outputs, ["x=a"])
    contrasts(outputs, ["x=a - b"])
