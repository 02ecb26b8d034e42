"""Random slopes against lme4, lmerTest and pbkrtest, and what they are whatever the data."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from nipype_group.stats.estimators.random_slope import fit_random_slope
from nipype_group.stats.linear.least_squares import LinearModel

TERMS = ("intercept", "g", "tc", "gt", "cov")
CONTRASTS = {
    "slope_B": [[0, 0, 1, 0.5, 0]],
    "time_joint": [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0]],
    "group_any": [[0, 1, 0, 0, 0], [0, 0, 0, 1, 0]],
    "all4": np.eye(5)[1:],
}
MODELS = {"rs_corr": True, "rs_unc": False}


def reading(data):
    return lambda start, stop: data[:, start:stop]


@pytest.fixture(scope="module")
def study(shared):
    folder = shared / "oracles/models/lmm"
    design = pd.read_csv(folder / "design.csv")
    matrix = np.column_stack([np.ones(len(design)), design[list(TERMS[1:])].to_numpy()])
    data = pd.read_csv(folder / "data.csv")
    data = data.pivot_table(index="row", columns="voxel", values="y_slope").loc[design["row"]]
    tables = {n: pd.read_csv(folder / f"result_{n}.csv") for n in ("fit", "coef", "contrast")}
    return design, LinearModel(matrix, TERMS), data, tables


@pytest.fixture(scope="module")
def fits(study):
    design, model, data, _ = study

    def fit(name, dof):
        read, times = reading(data.to_numpy()), design["tc"].to_numpy()
        return fit_random_slope(model, design["subject"], times, read, 45, MODELS[name], dof)

    return {(n, d): fit(n, d) for n in MODELS for d in ("kenward-roger", "satterthwaite")}


def of_model(table, name, **where):
    own = table[table["model"] == name]
    for column, value in where.items():
        own = own[own[column] == value]
    return own.set_index("voxel")


@pytest.mark.parametrize("name", MODELS)
def test_components_are_those_of_lme4(study, fits, name, agree):
    _, model, data, tables = study
    own = of_model(tables["fit"], name).loc[data.columns]
    maps = fits[name, "kenward-roger"].components
    constant = np.linalg.slogdet(model.matrix.T @ model.matrix)[1]
    criterion = fits[name, "kenward-roger"].fits.criterion + constant
    assert (criterion - own["reml_crit"]).max() < 1e-8
    names = {"varResidual": "sigma2", "varIntercept": "var_int", "varSlope": "var_slope"}
    for ours, theirs in names.items():
        agree(
            "R lme4, lmerTest, pbkrtest",
            "random slope: variance components",
            maps[ours],
            own[theirs],
            rtol=1e-5,
            atol=1e-12,
        )
    if MODELS[name]:
        np.testing.assert_allclose(maps["covInterceptSlope"], own["cov"], rtol=1e-5, atol=1e-12)
    else:
        assert (maps["covInterceptSlope"] == 0).all()
    assert (maps["boundary"] == own["singular"]).all()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("index", range(5))
def test_one_row_is_that_of_lmertest_and_pbkrtest(study, fits, name, index, agree):
    data, tables = study[2:]
    weights = np.eye(5)[index : index + 1]
    own = of_model(tables["coef"], name, term=TERMS[index]).loc[data.columns]
    found = fits[name, "kenward-roger"].contrast(weights, "t")
    np.testing.assert_allclose(found.effect / own["se"], own["b"] / own["se"], atol=1e-6)
    agree(
        "R lme4, lmerTest, pbkrtest",
        "random slope: error (Kenward, Roger)",
        np.sqrt(found.variance),
        own["se_kr"],
        rtol=1e-6,
    )
    agree(
        "R lme4, lmerTest, pbkrtest",
        "random slope: dof (Kenward, Roger)",
        found.dof,
        own["df_kr"],
        rtol=1e-5,
    )
    plain = fits[name, "satterthwaite"].contrast(weights, "t")
    agree(
        "R lme4, lmerTest, pbkrtest",
        "random slope: error",
        np.sqrt(plain.variance),
        own["se"],
        rtol=1e-6,
    )
    # Those of singular fits too, as what is 0 of Psi does not vary.
    agree(
        "R lme4, lmerTest, pbkrtest",
        "random slope: dof (Satterthwaite)",
        plain.dof,
        own["df_satt"],
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("contrast", CONTRASTS)
def test_several_rows_are_those_of_lmertest_and_pbkrtest(study, fits, name, contrast, agree):
    data, tables = study[2:]
    own = of_model(tables["contrast"], name, contrast=contrast)
    at = data.columns.get_indexer(own.index)
    weights = np.array(CONTRASTS[contrast])
    found = fits[name, "kenward-roger"].contrast(weights, "F")
    assert len(own) > 20 and (own["ndf"] == found.rank).all()
    agree(
        "R lme4, lmerTest, pbkrtest",
        "random slope: F (Kenward, Roger)",
        found.stat[at],
        own["F_kr"],
        rtol=1e-5,
    )
    np.testing.assert_allclose(found.dof[at], own["ddf_kr"], rtol=1e-5)
    plain = fits[name, "satterthwaite"].contrast(weights, "F")
    agree(
        "R lme4, lmerTest, pbkrtest",
        "random slope: F (Satterthwaite)",
        plain.stat[at],
        own["F_satt"],
        rtol=1e-5,
    )
    np.testing.assert_allclose(plain.dof[at], own["ddf_satt"], rtol=1e-5)


@pytest.fixture
def unequal():
    """Return a design of 16 participants with 1 to 5 maps at any times, and maps."""
    rng = np.random.default_rng(8)
    groups = rng.permutation(
        np.repeat(np.arange(16), [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 2, 3, 3, 4, 5, 4])
    )
    n = len(groups)
    times = 60 + 8 * rng.standard_normal(n)
    matrix = np.column_stack([np.ones(n), groups % 2, times, rng.standard_normal(n)])
    own = rng.standard_normal((2, 16, 60)) * np.repeat([0.1, 1.0, 5.0], 20)
    slopes = 0.2 * (times - 60)[:, None] * own[1][groups]
    data = rng.standard_normal((n, 60)) + own[0][groups] + slopes
    return LinearModel(matrix, ("a", "b", "t", "c")), groups, times, data


def criterion(model, groups, times, y, psi):
    """Return -2 log restricted likelihood by dense matrices, turned to the basis."""
    q, z = model.basis, np.column_stack([np.ones(len(y)), times])
    v = np.eye(len(y)) + (z @ psi @ z.T) * (groups[:, None] == groups)
    inv = np.linalg.inv(v)
    a = q.T @ inv @ q
    form = y @ (inv - inv @ q @ np.linalg.solve(a, q.T @ inv)) @ y
    dof = model.dof
    logs = np.linalg.slogdet(v)[1] + np.linalg.slogdet(a)[1]
    return dof * np.log(form) + logs + dof * (1 + np.log(2 * np.pi / dof))


@pytest.mark.parametrize("correlated", [True, False])
def test_no_other_search_finds_a_likelier_psi(unequal, correlated):
    model, groups, times, data = unequal
    # About a time where effects are on one scale, for the dense search's sake.
    times = (times - 60) / 8 + 0.5
    data = data[:, ::4]
    read = reading(data)
    fit = fit_random_slope(model, groups, times, read, data.shape[1], correlated)
    maps = fit.components
    rng = np.random.default_rng(3)

    def at(x, y):
        lower = np.array([[x[0], 0], [x[1] if correlated else 0, x[2]]])
        return criterion(model, groups, times, y, lower @ lower.T)

    for voxel, y in enumerate(data.T):
        cov = maps["covInterceptSlope"][voxel]
        psi = np.array([[maps["varIntercept"][voxel], cov], [cov, maps["varSlope"][voxel]]])
        own = criterion(model, groups, times, y, psi / maps["varResidual"][voxel])
        np.testing.assert_allclose(fit.fits.criterion[voxel], own, rtol=1e-9)
        starts = [np.zeros(3), *(3 * rng.standard_normal((5, 3)) ** 3)]
        others = [
            optimize.minimize(at, x, (y,), "Nelder-Mead", options={"maxiter": 150}).fun
            for x in starts
        ]
        assert own <= min(others) + 1e-8
    assert 0 < maps["boundary"].sum() < data.shape[1]


def test_components_are_of_the_times_as_given(unequal):
    model, groups, times, data = unequal
    one = fit_random_slope(model, groups, times, reading(data), 60).components
    other = fit_random_slope(model, groups, 12 * (times - 40), reading(data), 60).components
    intercept = one["varIntercept"] + 80 * one["covInterceptSlope"] + 1600 * one["varSlope"]
    np.testing.assert_allclose(other["varIntercept"], intercept, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(other["varSlope"], one["varSlope"] / 144, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(other["varResidual"], one["varResidual"], rtol=1e-7)


@pytest.mark.parametrize("dof", ["kenward-roger", "satterthwaite"])
def test_a_voxel_that_maps_lack_is_that_of_the_other_maps(unequal, dof):
    model, groups, times, data = unequal
    missing = np.flatnonzero((groups == 3) | (np.arange(len(groups)) % 9 == 0))
    gaps = data.copy()
    gaps[missing[:, None], np.arange(20, 40)] = np.nan
    weights = np.eye(4)[1:3]
    whole = fit_random_slope(model, groups, times, reading(data), 60, dof=dof)
    found = fit_random_slope(model, groups, times, reading(gaps), 60, dof=dof)
    kept = (groups, times), np.delete(data, missing, axis=0)
    kept_groups, kept_times = (np.delete(v, missing) for v in kept[0])
    fewer = fit_random_slope(
        model.without(missing), kept_groups, kept_times, reading(kept[1]), 60, dof=dof
    )
    one, other, all_maps = (f.contrast(weights, "F") for f in (found, fewer, whole))
    # Times are in units of the whole study's, so that last bits differ.
    np.testing.assert_allclose(one.stat[20:40], other.stat[20:40], rtol=1e-7)
    np.testing.assert_allclose(one.dof[20:40], other.dof[20:40], rtol=1e-6)
    assert (one.stat[:20] == all_maps.stat[:20]).all()
    assert one.complete.sum() == 40 and (one.dof > 0).all()


def test_all_bits_are_the_same_whatever_the_tiles(unequal):
    model, groups, times, data = unequal
    data[3, 14:30] = np.nan
    whole = fit_random_slope(model, groups, times, reading(data), 60)
    one = whole.contrast(np.eye(4)[1:], "F")
    for start, stop in ((0, 7), (7, 25), (25, 60)):
        part = reading(data[:, start:stop])
        own = fit_random_slope(model, groups, times, part, stop - start)
        other = own.contrast(np.eye(4)[1:], "F")
        for name in ("effect", "stat", "dof", "variance"):
            assert (getattr(other, name) == getattr(one, name)[start:stop]).all()
        for name, values in own.components.items():
            assert (values == whole.components[name][start:stop]).all()


def test_what_cannot_be_told_is_refused(unequal):
    model, groups, times, data = unequal
    with pytest.raises(ValueError, match="the same in all maps of each participant"):
        fit_random_slope(model, groups, groups.astype(float), reading(data), 60)
    # Two maps each at the same two times tell three components of four.
    pairs, visits, rows = np.repeat(np.arange(25), 2), np.tile([0.0, 1], 25), slice(50)
    half = LinearModel(model.matrix[rows], model.columns)
    with pytest.raises(ValueError, match="take fewer random effects"):
        fit_random_slope(half, pairs, visits, reading(data[rows]), 60)
    fit = fit_random_slope(half, pairs, visits, reading(data[rows]), 60, False)
    assert (fit.fits.variance > 0).all()
