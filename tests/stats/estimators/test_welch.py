"""Welch's tests and HC0 to HC4 against R, and rates under unequal variances."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.stats.estimators.welch import HC_KINDS, fit_hc, fit_welch
from nipype_group.stats.linear.least_squares import LinearModel


def reading(data):
    return lambda start, stop: data[:, start:stop]


def groups_model(groups):
    names, number = np.unique(groups, return_inverse=True)
    return LinearModel(np.eye(len(names))[number], tuple(names))


@pytest.fixture(scope="module")
def study(shared):
    folder = shared / "oracles/models/welch"
    design = pd.read_csv(folder / "design.csv")
    data = pd.read_csv(folder / "data.csv")
    data = data.pivot_table(index="row", columns="voxel", values="y").loc[design["row"]]
    expected = pd.read_csv(folder / "result.csv").set_index("voxel").loc[data.columns]
    return design, data.to_numpy(), expected


def test_two_groups_are_t_test_of_r(study, agree):
    design, data, expected = study
    fit = fit_welch(groups_model(design["group2"]), design["group2"], reading(data), 60)
    found = fit.contrast(np.array([[1.0, -1]]), "t")
    np.testing.assert_allclose(found.effect, expected["diff_A_minus_B"], rtol=1e-9, atol=1e-12)
    agree(
        "R stats", "Welch, two groups: t", found.stat, expected["t_welch"], rtol=1e-9, atol=1e-12
    )
    agree("R stats", "Welch, two groups: dof", found.dof, expected["df_welch"], rtol=1e-9)
    half = stats.t.isf(0.025, found.dof) * np.sqrt(found.variance)
    np.testing.assert_allclose(found.effect + half, expected["ci_ub"], rtol=1e-9)
    p = found.maps("t", "two-sided")["p"]
    agree("R stats", "Welch, two groups: p", p, expected["p_t_welch"], rtol=1e-9)


def test_three_groups_are_oneway_test_of_r(study, agree):
    design, data, expected = study
    fit = fit_welch(groups_model(design["group3"]), design["group3"], reading(data), 60)
    found = fit.contrast(np.array([[1.0, -1, 0], [0, 1, -1], [1, 0, -1]]), "F")
    agree("R stats", "Welch, three groups: F", found.stat, expected["F_welch"], rtol=1e-9)
    agree("R stats", "Welch, three groups: dof", found.dof, expected["ddf"], rtol=1e-9)
    assert found.rank == 2 and (expected["ndf"] == 2).all()
    p = found.maps("F", "two-sided")["p"]
    agree("R stats", "Welch, three groups: p", p, expected["p_welch"], rtol=1e-9)
    np.testing.assert_allclose(found.effect**2, found.stat * found.variance, rtol=1e-12)
    assert list(fit.components) == [f"varResidualGroup{number}" for number in (1, 2, 3)]
    for group, own in zip("ABC", fit.components.values(), strict=True):
        at = design["group3"].to_numpy() == group
        np.testing.assert_allclose(own, data[at].var(axis=0, ddof=1), rtol=1e-10)


def test_whitened_residuals_have_one_variance(study):
    design, data, _ = study
    groups = design["group3"].to_numpy()
    fit = fit_welch(groups_model(groups), groups, reading(data), 60)
    found = np.array(list(fit.residuals(lambda rows: (data[i] for i in rows))))
    for g in "ABC":
        own = found[groups == g]
        np.testing.assert_allclose(np.square(own).sum(axis=0), len(own) - 1, rtol=1e-10)


def test_voxels_that_maps_lack_are_those_of_the_others(study):
    design, data, _ = study
    groups, data = design["group3"].to_numpy(), data.copy()
    data[[3, 9, 20], 4:9] = np.nan
    # One map of A is left: nothing tells its variance.
    data[np.flatnonzero(groups == "A")[1:], 30] = np.nan
    data[groups == "C", 31] = 5.0
    fit = fit_welch(groups_model(groups), groups, reading(data), 60)
    row = np.array([[1.0, -1, 0]])
    found = fit.contrast(row, "t")
    there = np.isfinite(data[:, 4])
    alone = fit_welch(groups_model(groups[there]), groups[there], reading(data[there, 4:9]), 5)
    own = alone.contrast(row, "t")
    np.testing.assert_allclose(found.stat[4:9], own.stat, rtol=1e-10)
    np.testing.assert_allclose(found.dof[4:9], own.dof, rtol=1e-10)
    assert (found.dof[30:32] == 0).all() and (found.stat[30:32] == 0).all()
    assert found.complete.sum() == 60 - 6


def test_bits_of_a_voxel_depend_on_no_other(study):
    design, data, _ = study
    data = data.copy()
    data[3, ::7] = np.nan
    model, row = groups_model(design["group3"]), np.array([[1.0, 0, -1]])
    for fit in (
        lambda values: fit_welch(
            model, design["group3"], reading(values), values.shape[1]
        ).contrast(row, "t"),
        lambda values: fit_hc(model, reading(values), values.shape[1], "HC4").contrast(row, "t"),
    ):
        whole = fit(data)
        for start, stop in ((0, 1), (1, 14), (14, 60)):
            part = fit(data[:, start:stop])
            assert part.stat.tobytes() == whole.stat[start:stop].tobytes()
            assert part.variance.tobytes() == whole.variance[start:stop].tobytes()


def test_a_group_without_variance_is_named():
    model = LinearModel(np.eye(2)[[0, 0, 0, 1]], ("a", "b"))
    with pytest.raises(ValueError, match=r"Variance group b \(1 map\) has no residual"):
        fit_welch(model, ["a", "a", "a", "b"], reading(np.zeros((4, 1))), 1)
    with pytest.raises(ValueError, match="3 groups are named for 4 maps"):
        fit_welch(model, ["a", "a", "b"], reading(np.zeros((4, 1))), 1)


@pytest.mark.parametrize("kind", HC_KINDS)
def test_hc_is_that_of_r(shared, kind):
    folder = shared / "oracles/models/cr/hc"
    design = pd.read_csv(folder / "design.csv")
    data = pd.read_csv(folder / "data.csv")
    data = data.pivot_table(index="row", columns="voxel", values="y").loc[design["row"]]
    matrix = np.column_stack([np.ones(30), design["group2"] == "B", design["cov1_c"]])
    model = LinearModel(matrix.astype(float), ("intercept", "groupB", "cov1_c"))
    expected = pd.read_csv(folder / "result.csv").set_index(["term", "voxel"])
    fit = fit_hc(model, reading(data.to_numpy()), data.shape[1], kind)
    for i, term in enumerate(model.columns):
        found = fit.contrast(np.eye(3)[i : i + 1], "t")
        own = expected.loc[term].loc[list(data.columns)]
        np.testing.assert_allclose(found.effect, own["b"], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(np.sqrt(found.variance), own[kind], rtol=1e-10)


def test_hc_of_several_rows_is_walds_statistic_of_the_sandwich(study):
    _, data, _ = study
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(30), rng.standard_normal((30, 2))])
    fit = fit_hc(LinearModel(x, ("one", "a", "b")), reading(data), 60, "HC4")
    found = fit.contrast(np.eye(3)[1:], "F")
    inverse = np.linalg.inv(x.T @ x)
    leverage = np.diag(x @ inverse @ x.T)
    factor = (1 - leverage) ** -np.minimum(4, leverage * 30 / 3)
    wald = []
    for y in data.T:
        b = inverse @ x.T @ y
        v = inverse @ (x.T * (factor * np.square(y - x @ b))) @ x @ inverse
        wald.append(b[1:] @ np.linalg.solve(v[1:, 1:], b[1:]) / 2)
    # HTZ multiplies all voxels' statistics by one number of the design, below 1.
    ratio = found.stat / np.array(wald)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
    assert 0.5 < ratio[0] < 1


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="HC0, HC1, HC2, HC3, HC4, got 'HC5'"):
        fit_hc(LinearModel(np.ones((4, 1)), ("one",)), reading(np.zeros((4, 1))), 1, "HC5")


def test_rates_hold_where_the_small_group_varies_most():
    rng, n = np.random.default_rng(8), 20000
    groups = np.repeat(["a", "b"], [8, 20])
    data = rng.standard_normal((28, n)) * np.where(groups == "a", 3.0, 1.0)[:, None]
    model, row = groups_model(groups), np.array([[1.0, -1]])
    low, high = stats.binom.ppf([0.0001, 0.9999], n, 0.05) / n
    p = fit_welch(model, groups, reading(data), n).contrast(row, "t").maps("t", "two-sided")["p"]
    assert low - 0.003 < (p <= 0.05).mean() < high + 0.003
    hc = fit_hc(model, reading(data), n).contrast(row, "t").maps("t", "two-sided")["p"]
    assert 0.02 < (hc <= 0.05).mean() < high + 0.003
    pooled = stats.ttest_ind(data[:8], data[8:]).pvalue
    assert (pooled <= 0.05).mean() > 0.15


def test_units_of_a_covariate_change_no_f_of_hc3():
    rng = np.random.default_rng(6)
    matrix = np.column_stack([np.ones(14), np.arange(14) % 2, rng.standard_normal(14)])
    data, found = rng.standard_normal((14, 20)), []
    for unit in (1.0, 1e8, 1e-9):
        model = LinearModel(matrix * [1, 1, unit], tuple("abc"))
        fit = fit_hc(model, lambda start, stop: data[:, start:stop], 20, "HC3")
        own = fit.contrast(np.eye(3)[1:], "F")
        found.append(np.concatenate([own.stat, own.dof]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-7)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-7)
