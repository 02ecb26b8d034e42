"""Diagnostics of designs and influence of maps, against R and against leaving each map out."""

import csv
from collections import defaultdict

import numpy as np
import pytest

from nipype_group.stats.linear.influence import (
    condition_numbers,
    confounded_columns,
    detectable_effect,
    efficiency,
    generalised_inflation,
    influence,
    leverage,
    variance_inflation,
)
from nipype_group.stats.linear.least_squares import LinearModel

COLUMNS = ("intercept", "cov1", "cov2", "cov3")
# What R calls them.
FIGURES = {
    "rstandard": "standardised",
    "rstudent": "studentised",
    "cook": "cook",
    "dffits": "dffits",
    "covratio": "covratio",
}


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def oracle(shared):
    return shared / "oracles" / "models" / "influence"


@pytest.fixture(scope="module")
def model(oracle):
    table = sorted(rows(oracle / "design.csv"), key=lambda row: int(row["row"]))
    matrix = [[1.0, *(float(row[c]) for c in COLUMNS[1:])] for row in table]
    return LinearModel(np.array(matrix), COLUMNS)


@pytest.fixture(scope="module")
def data(oracle):
    by_voxel = defaultdict(dict)
    for row in rows(oracle / "data.csv"):
        by_voxel[row["voxel"]][int(row["row"])] = float(row["y"])
    names = list(by_voxel)
    values = np.array([[by_voxel[v][i] for v in names] for i in range(1, 31)])
    return {name: i for i, name in enumerate(names)}, values


def test_influence_is_that_of_r(oracle, model, data):
    places, values = data
    found = influence(model, values)
    for row in rows(oracle / "result.csv"):
        at = int(row["row"]) - 1, places[row["voxel"]]
        for theirs, ours in FIGURES.items():
            assert getattr(found, ours)[at] == pytest.approx(float(row[theirs]), rel=1e-9)
        for column, name in enumerate(COLUMNS):
            expected = float(row[f"dfb_{name}"])
            assert found.dfbetas(column)[at] == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_estimates_are_those_of_r(oracle, model, data):
    places, values = data
    betas, residual_ss = model.fit(values)
    for row in rows(oracle / "result_coef.csv"):
        column, voxel = COLUMNS.index(row["term"]), places[row["voxel"]]
        error = np.sqrt(model.covariance[column, column] * residual_ss[voxel] / model.dof)
        assert betas[column, voxel] == pytest.approx(float(row["b"]), rel=1e-9)
        assert error == pytest.approx(float(row["se"]), rel=1e-9)


def test_leverage_is_that_of_r(oracle, model):
    expected = {int(r["row"]): float(r["leverage"]) for r in rows(oracle / "result_leverage.csv")}
    np.testing.assert_allclose(leverage(model), [expected[i] for i in range(1, 31)], rtol=1e-9)


def test_diagnostics_of_the_design_are_those_of_r(oracle, model):
    expected = {r["quantity"]: float(r["value"]) for r in rows(oracle / "result_design.csv")}
    inflation = variance_inflation(model)
    assert np.isnan(inflation[0])
    for i, name in enumerate(COLUMNS[1:], start=1):
        assert inflation[i] == pytest.approx(expected[f"vif_{name}"], rel=1e-9)
    unit, raw = condition_numbers(model)
    assert unit == pytest.approx(expected["condition_X_unit_columns"], rel=1e-9)
    assert raw == pytest.approx(expected["condition_X"], rel=1e-9)


def test_generalised_inflation_is_that_of_r(oracle, model):
    expected = {r["quantity"]: float(r["value"]) for r in rows(oracle / "result_design.csv")}
    table = sorted(rows(oracle / "design.csv"), key=lambda row: int(row["row"]))
    levels = np.array([[row["group3"] == level for level in "BC"] for row in table], dtype=float)
    columns = (*COLUMNS, "group3[B]", "group3[C]")
    more = LinearModel(np.column_stack([model.matrix, levels]), columns)
    of_factor = generalised_inflation(more, [4, 5])
    assert of_factor == pytest.approx(expected["gvif_with_group3_group3"], rel=1e-9)
    power = expected["gvif_1_2df_with_group3_group3"]
    assert of_factor ** (1 / 4) == pytest.approx(power, rel=1e-9)
    for i, name in enumerate(COLUMNS[1:], start=1):
        value = expected[f"gvif_with_group3_{name}"]
        assert generalised_inflation(more, [i]) == pytest.approx(value, rel=1e-9)
        assert variance_inflation(more)[i] == pytest.approx(value, rel=1e-9)


def test_influence_is_what_leaving_a_map_out_does():
    rng = np.random.default_rng(0)
    matrix = np.column_stack([np.ones(12), rng.standard_normal((12, 2)), np.eye(12)[:, 3]])
    model = LinearModel(matrix, ("one", "a", "b", "own"))
    values = rng.standard_normal((12, 5))
    found = influence(model, values)
    betas, _ = model.fit(values)
    for i in range(12):
        rest = np.delete(np.arange(12), i)
        if i == 3:
            assert np.isnan(found.cook[i]).all()
            continue
        inverse = np.linalg.inv(matrix[rest].T @ matrix[rest])
        without = inverse @ matrix[rest].T @ values[rest]
        residuals = values[rest] - matrix[rest] @ without
        variance = np.square(residuals).sum(axis=0) / (len(rest) - 4)
        whole = np.linalg.inv(matrix.T @ matrix)
        moved = (betas - without) / np.sqrt(variance * np.diag(whole)[:, None])
        ours = np.array([found.dfbetas(j)[i] for j in range(4)])
        np.testing.assert_allclose(ours, moved, rtol=1e-9, atol=1e-12)
        residual_variance = np.square(values - matrix @ betas).sum(axis=0) / 8
        ratio = np.linalg.det(inverse) * variance**4
        ratio /= np.linalg.det(whole) * residual_variance**4
        np.testing.assert_allclose(found.covratio[i], ratio, rtol=1e-9)
        fitted = np.square(matrix @ (betas - without)).sum(axis=0)
        np.testing.assert_allclose(found.cook[i], fitted / (4 * residual_variance), rtol=1e-9)


def test_voxels_without_residual_have_no_influence():
    model = LinearModel(np.ones((4, 1)), ("one",))
    found = influence(model, np.column_stack([np.full(4, 2.0), np.arange(4.0)]))
    assert np.isnan(found.cook[:, 0]).all()
    assert np.isfinite(found.cook[:, 1]).all()


def test_one_degree_of_freedom_leaves_no_map_out():
    model = LinearModel(np.column_stack([np.ones(3), np.arange(3.0)]), ("one", "age"))
    found = influence(model, np.array([[1.0], [2.0], [4.0]]))
    assert np.isfinite(found.cook).all()
    assert np.isnan(found.studentised).all() and np.isnan(found.covratio).all()


def test_confounded_columns_are_named_a_group_a_direction():
    groups = np.repeat(np.eye(3), 3, axis=0)
    site = np.repeat(np.eye(3), 3, axis=0)[:, 2:]
    matrix = np.column_stack([np.ones(9), groups, site, np.zeros(9), np.arange(9) % 3])
    names = ("intercept", "a", "b", "c", "site", "empty", "age")
    model = LinearModel(matrix, names)
    found = confounded_columns(model)
    assert len(found) == 3
    assert ("empty",) in found
    assert {"c", "site"} in map(set, found)
    assert not any("age" in group for group in found)
    inflation = variance_inflation(model)
    assert np.isinf(inflation[[1, 2, 3, 4, 5]]).all() and inflation[6] == pytest.approx(1)
    assert np.isinf(generalised_inflation(model, [1, 2]))


def test_means_of_groups_do_not_inflate_each_other():
    model = LinearModel(np.repeat(np.eye(3), 4, axis=0), ("a", "b", "c"))
    np.testing.assert_allclose(variance_inflation(model), 1)
    assert generalised_inflation(model, [0, 1]) == pytest.approx(1)


def test_efficiency_is_one_over_the_variance_and_the_inflation():
    rng = np.random.default_rng(1)
    age = rng.normal(40, 5, 25)
    matrix = np.column_stack([np.ones(25), age, age + rng.normal(0, 3, 25)])
    model = LinearModel(matrix, ("intercept", "age", "iq"))
    found = efficiency(model, np.array([[0.0, 1, 0]]))
    assert found.absolute == pytest.approx(1 / np.linalg.inv(matrix.T @ matrix)[1, 1])
    assert found.relative == pytest.approx(1 / variance_inflation(model)[1])
    # Uncorrelated columns lose nothing, whatever their units are.
    free = LinearModel(
        np.column_stack([np.ones(4), [-9, -9, 9, 9], [-1, 1, -1, 1]]), ("1", "a", "b")
    )
    rows_of_both = np.array([[0.0, 1, 0], [0, 0, 1]])
    assert efficiency(free, rows_of_both).relative == pytest.approx(1)


@pytest.mark.parametrize("tail", ["two-sided", "positive", "negative"])
def test_detectable_effects_do_not_depend_on_the_scale_of_f(tail):
    model = LinearModel(np.repeat(np.eye(3), 8, axis=0), ("a", "b", "c"))
    weights = np.array([[1.0, -1, 0]])
    one = detectable_effect(model, weights, "t", 0.05, tail)
    twice = detectable_effect(model, 2 * weights, "t", 0.05, tail)
    assert twice.size == pytest.approx(2 * one.size)
    assert (one.measure, one.tail) == ("d", tail)
    f = detectable_effect(model, np.array([[1.0, -1, 0], [0, 1, -1]]), "F", 0.05, tail)
    scaled = detectable_effect(model, np.array([[3.0, -3, 0], [1, 0, -1]]), "F", 0.05, tail)
    assert scaled.size == pytest.approx(f.size)
    # As statsmodels solves it: FTestAnovaPower of 24 maps in three groups.
    assert f.size == pytest.approx(0.681658148108168, rel=1e-9)
    assert detectable_effect(model, weights, "t", 0.05 / 50000, tail).size > 2 * one.size


def test_a_two_sided_t_and_an_f_of_one_row_detect_the_same():
    model = LinearModel(np.repeat(np.eye(2), [7, 9], axis=0), ("a", "b"))
    weights = np.array([[1.0, -1]])
    d = detectable_effect(model, weights, "t", 0.01, "two-sided").size
    f = detectable_effect(model, weights, "F", 0.01, "two-sided").size
    assert f == pytest.approx(d * np.sqrt(7 * 9) / 16, rel=1e-9)
