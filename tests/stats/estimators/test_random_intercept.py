"""Random intercepts against lme4, lmerTest and pbkrtest, and what they are whatever the data."""

import numpy as np
import pandas as pd
import pytest

from nipype_group.stats.estimators.random_intercept import fit_random_intercept
from nipype_group.stats.linear.least_squares import LinearModel

TERMS = ("intercept", "g", "tc", "gt", "cov")
CONTRASTS = {
    "slope_B": [[0, 0, 1, 0.5, 0]],
    "time_joint": [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0]],
    "group_any": [[0, 1, 0, 0, 0], [0, 0, 0, 1, 0]],
    "all4": np.eye(5)[1:],
}
MODELS = {"ri_map": "y_map", "ri_int": "y_int"}


def reading(data):
    return lambda start, stop: data[:, start:stop]


@pytest.fixture(scope="module")
def study(shared):
    folder = shared / "oracles/models/lmm"
    design = pd.read_csv(folder / "design.csv")
    matrix = np.column_stack([np.ones(len(design)), design[list(TERMS[1:])].to_numpy()])
    data = pd.read_csv(folder / "data.csv")
    tables = {n: pd.read_csv(folder / f"result_{n}.csv") for n in ("fit", "coef", "contrast")}
    return design, LinearModel(matrix, TERMS), data, tables


@pytest.fixture(scope="module")
def fits(study):
    design, model, data, _ = study

    def fit(name, dof):
        wide = data.pivot_table(index="row", columns="voxel", values=MODELS[name])
        wide = wide.loc[design["row"]]
        read = reading(wide.to_numpy())
        return wide.columns, fit_random_intercept(model, design["subject"], read, 45, dof)

    return {(n, d): fit(n, d) for n in MODELS for d in ("kenward-roger", "satterthwaite")}


def of_model(table, name, **where):
    own = table[table["model"] == name]
    for column, value in where.items():
        own = own[own[column] == value]
    return own.set_index("voxel")


@pytest.mark.parametrize("name", MODELS)
def test_components_are_those_of_lme4(study, fits, name, agree):
    _, model, _, tables = study
    voxels, fit = fits[name, "kenward-roger"]
    own = of_model(tables["fit"], name).loc[voxels]
    maps = fit.components
    # The design turned to its orthonormal basis differs by the determinant.
    constant = np.linalg.slogdet(model.matrix.T @ model.matrix)[1]
    assert (fit.fits.criterion + constant - own["reml_crit"]).max() < 1e-8
    agree(
        "R lme4, lmerTest, pbkrtest",
        "random intercept: residual variance",
        maps["varResidual"],
        own["sigma2"],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        maps["varIntercept"], own["var_int"], rtol=1e-5, atol=1e-7 * own["sigma2"].min()
    )
    assert (maps["boundary"] == own["singular"]).all()
    total = own["sigma2"] + own["var_int"]
    np.testing.assert_allclose(maps["intraclassCorrelation"], own["var_int"] / total, atol=1e-6)
    assert f"in {own['singular'].sum()} of 45 voxels" in fit.notes[0]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("index", range(5))
def test_one_row_is_that_of_lmertest_and_pbkrtest(study, fits, name, index, agree):
    tables, weights = study[3], np.eye(5)[index : index + 1]
    voxels, fit = fits[name, "kenward-roger"]
    own = of_model(tables["coef"], name, term=TERMS[index]).loc[voxels]
    found = fit.contrast(weights, "t")
    scale = own["se"]
    np.testing.assert_allclose(found.effect / scale, own["b"] / scale, rtol=1e-6, atol=1e-6)
    agree(
        "R lme4, lmerTest, pbkrtest",
        "random intercept: error (Kenward, Roger)",
        np.sqrt(found.variance),
        own["se_kr"],
        rtol=1e-6,
    )
    agree(
        "R lme4, lmerTest, pbkrtest",
        "random intercept: dof (Kenward, Roger)",
        found.dof,
        own["df_kr"],
        rtol=1e-5,
    )
    p = found.maps("t", "two-sided")["p"]
    np.testing.assert_allclose(p, own["p_kr"], rtol=1e-4)
    plain = fits[name, "satterthwaite"][1].contrast(weights, "t")
    agree(
        "R lme4, lmerTest, pbkrtest",
        "random intercept: error",
        np.sqrt(plain.variance),
        own["se"],
        rtol=1e-6,
    )
    singular = of_model(tables["fit"], name).loc[voxels, "singular"] == 1
    agree(
        "R lme4, lmerTest, pbkrtest",
        "random intercept: dof (Satterthwaite)",
        plain.dof[~singular],
        own["df_satt"][~singular],
        rtol=1e-5,
    )
    assert (plain.dof[singular] == 25).all()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("contrast", CONTRASTS)
def test_several_rows_are_those_of_lmertest_and_pbkrtest(study, fits, name, contrast, agree):
    tables, weights = study[3], np.array(CONTRASTS[contrast])
    voxels, fit = fits[name, "kenward-roger"]
    own = of_model(tables["contrast"], name, contrast=contrast)
    at = voxels.get_indexer(own.index)
    found = fit.contrast(weights, "F")
    assert len(own) > 20 and (own["ndf"] == found.rank).all()
    agree(
        "R lme4, lmerTest, pbkrtest",
        "random intercept: F (Kenward, Roger)",
        found.stat[at],
        own["F_kr"],
        rtol=1e-5,
    )
    np.testing.assert_allclose(found.dof[at], own["ddf_kr"], rtol=1e-5)
    plain = fits[name, "satterthwaite"][1].contrast(weights, "F")
    agree(
        "R lme4, lmerTest, pbkrtest",
        "random intercept: F (Satterthwaite)",
        plain.stat[at],
        own["F_satt"],
        rtol=1e-5,
    )
    singular = of_model(tables["fit"], name).loc[own.index, "singular"] == 1
    expected = own["ddf_satt"][~singular]
    np.testing.assert_allclose(plain.dof[at][~singular], expected, rtol=1e-5)


@pytest.fixture
def unequal():
    """Return a design of 14 participants with 1 to 5 maps in random order, and maps."""
    rng = np.random.default_rng(8)
    groups = rng.permutation(np.repeat(np.arange(14), [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 2, 3, 1, 4]))
    n = len(groups)
    matrix = np.column_stack([np.ones(n), groups % 2, rng.standard_normal((n, 2))])
    spread = np.r_[np.full(100, 0.3), np.full(100, 3.0), np.full(100, 200.0)]
    data = rng.standard_normal((n, 300)) + spread * rng.standard_normal((14, 300))[groups]
    return LinearModel(matrix, ("a", "b", "c", "d")), groups, data


def criterion(model, groups, y, ratio):
    """Return -2 log restricted likelihood by dense matrices, turned to the basis."""
    q = model.basis
    v = np.eye(len(y)) + ratio * (groups[:, None] == groups)
    inv = np.linalg.inv(v)
    a = q.T @ inv @ q
    form = y @ (inv - inv @ q @ np.linalg.solve(a, q.T @ inv)) @ y
    dof = model.dof
    logs = np.linalg.slogdet(v)[1] + np.linalg.slogdet(a)[1]
    return dof * np.log(form) + logs + dof * (1 + np.log(2 * np.pi / dof))


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_no_ratio_of_a_dense_grid_is_likelier(unequal, scale):
    model, groups, data = unequal
    data = data[:, ::10] * scale
    fit = fit_random_intercept(model, groups, reading(data), data.shape[1])
    ratio = fit.fits.psi[:, 0, 0]
    grid = np.r_[0, np.geomspace(1e-4, 1e7, 400)]
    for voxel, y in enumerate(data.T):
        own = criterion(model, groups, y, ratio[voxel])
        np.testing.assert_allclose(fit.fits.criterion[voxel], own, rtol=1e-9, atol=1e-7)
        assert own <= min(criterion(model, groups, y, g) for g in grid) + 1e-8
    assert (ratio == 0).any() and (ratio > 1e3).any()


@pytest.mark.parametrize("dof", ["kenward-roger", "satterthwaite"])
@pytest.mark.parametrize("test", ["t", "F"])
def test_a_voxel_that_maps_lack_is_that_of_the_other_maps(unequal, dof, test):
    model, groups, data = unequal
    weights = np.eye(4)[1:2] if test == "t" else np.eye(4)[1:3]
    missing = np.flatnonzero((groups == 3) | (np.arange(len(groups)) % 9 == 0))
    gaps = data.copy()
    gaps[missing[:, None], np.arange(50, 150)] = np.nan
    whole = fit_random_intercept(model, groups, reading(data), 300, dof).contrast(weights, test)
    found = fit_random_intercept(model, groups, reading(gaps), 300, dof).contrast(weights, test)
    fewer = fit_random_intercept(
        model.without(missing),
        np.delete(groups, missing),
        reading(np.delete(data, missing, axis=0)),
        300,
        dof,
    ).contrast(weights, test)
    for name in ("effect", "variance", "stat", "dof", "spread"):
        ours = getattr(found, name)
        assert (ours[50:150] == getattr(fewer, name)[50:150]).all(), name
        assert (ours[150:] == getattr(whole, name)[150:]).all(), name
    assert found.complete.sum() == 200


def test_voxels_of_too_few_maps_have_no_statistic(unequal):
    model, groups, data = unequal
    # One map a participant is left, then four maps.
    _, first = np.unique(groups, return_index=True)
    data[np.setdiff1d(np.arange(len(groups)), first), 0] = np.nan
    data[4:, 1] = np.nan
    data[:, 2] = 1.7
    fit = fit_random_intercept(model, groups, reading(data), 300)
    maps = fit.contrast(np.eye(4)[1:2], "t").maps("t", "two-sided")
    assert (maps["z"][:3] == 0).all() and (maps["p"][:3] == 1).all()
    assert (maps["dof"][:3] == 0).all() and (maps["dof"][3:] > 0).all()
    assert "3 voxels have no fit" in fit.notes[1]


def test_all_bits_are_the_same_whatever_the_tiles(unequal):
    model, groups, data = unequal
    data[3, 40:60] = np.nan
    whole = fit_random_intercept(model, groups, reading(data), 300)
    one = whole.contrast(np.eye(4)[1:], "F")
    for start, stop in ((0, 7), (7, 45), (45, 300)):
        own = fit_random_intercept(model, groups, reading(data[:, start:stop]), stop - start)
        other = own.contrast(np.eye(4)[1:], "F")
        for name in ("effect", "stat", "dof", "variance"):
            assert (getattr(other, name) == getattr(one, name)[start:stop]).all()
        for name, values in own.components.items():
            assert (values == whole.components[name][start:stop]).all()


def test_equal_numbers_of_maps_have_the_dof_of_analysis_of_variance():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(12), 3)
    between = (groups % 2).astype(float)
    within = np.tile([-1.0, 0, 1], 12)
    model = LinearModel(np.column_stack([np.ones(36), between, within]), ("a", "b", "w"))
    data = rng.standard_normal((36, 200)) + 2 * rng.standard_normal((12, 200))[groups]
    fit = fit_random_intercept(model, groups, reading(data), 200)
    inside = fit.components["boundary"] == 0
    means = data.reshape(12, 3, 200).mean(axis=1)
    found = fit.contrast(np.eye(3)[1:2], "t")
    a, b = means[::2], means[1::2]
    pooled = (a.var(axis=0, ddof=1) + b.var(axis=0, ddof=1)) / 2
    expected = (b.mean(axis=0) - a.mean(axis=0)) / np.sqrt(pooled / 3)
    assert inside.sum() > 150
    np.testing.assert_allclose(found.stat[inside], expected[inside], rtol=1e-9)
    np.testing.assert_allclose(found.dof[inside], 10, rtol=1e-9)
    np.testing.assert_allclose(fit.contrast(np.eye(3)[2:], "t").dof[inside], 23, rtol=1e-9)


def test_columns_that_depend_on_others_change_nothing(unequal):
    model, groups, data = unequal
    matrix = np.column_stack([model.matrix, 1 - model.matrix[:, 1]])
    twice = LinearModel(matrix, (*model.columns, "not b"))
    one = fit_random_intercept(model, groups, reading(data), 300).contrast(np.eye(4)[1:2], "t")
    weights = np.array([[0, 1, 0, 0, -1]])
    other = fit_random_intercept(twice, groups, reading(data), 300).contrast(weights, "t")
    for name in ("effect", "stat", "dof"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-7, atol=1e-9)


def test_what_cannot_be_told_is_refused(unequal):
    model, groups, data = unequal
    n = len(groups)
    with pytest.raises(ValueError, match="Each of the 40 maps is of another participant"):
        fit_random_intercept(model, np.arange(n), reading(data), 300)
    with pytest.raises(ValueError, match="All 40 maps are of one participant"):
        fit_random_intercept(model, np.zeros(n), reading(data), 300)
    with pytest.raises(ValueError, match="5 participants are named for 40 maps"):
        fit_random_intercept(model, groups[:5], reading(data), 300)
    with pytest.raises(ValueError, match="kenward-roger or satterthwaite, got 'residual'"):
        fit_random_intercept(model, groups, reading(data), 300, "residual")
    columns = LinearModel(
        (groups[:, None] == np.arange(14)).astype(float), tuple("abcdefghijklmn")
    )
    with pytest.raises(ValueError, match="Leave columns of participants out"):
        fit_random_intercept(columns, groups, reading(data), 300)
