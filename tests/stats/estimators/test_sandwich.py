"""The sandwich against clubSandwich and sandwich of R, and what it is whatever the data."""

import numpy as np
import pandas as pd
import pytest

from nipype_group.stats.estimators.sandwich import ContrastSandwich, fit_sandwich
from nipype_group.stats.estimators.sandwich_swe import fit_sandwich_swe
from nipype_group.stats.estimators.shuffled.robust import ShuffledHC3
from nipype_group.stats.estimators.shuffled.sandwich import shuffled_sandwich
from nipype_group.stats.estimators.welch import fit_hc
from nipype_group.stats.linear.least_squares import LinearModel

TERMS = ("intercept", "g", "tc", "gt", "cov")
CONTRASTS = {
    "slope_B": [[0, 0, 1, 0.5, 0]],
    "time_joint": [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0]],
    "group_any": [[0, 1, 0, 0, 0], [0, 0, 0, 1, 0]],
    "all4": np.eye(5)[1:],
}


def wide(folder, column, rows):
    data = pd.read_csv(folder / "data.csv")
    return data.pivot_table(index="row", columns="voxel", values=column).loc[rows]


def reading(data):
    return lambda start, stop: data[:, start:stop]


@pytest.fixture(scope="module")
def study(shared):
    folder = shared / "oracles/models/cr"
    design = pd.read_csv(folder / "design.csv")
    matrix = np.column_stack([np.ones(len(design)), design[list(TERMS[1:])].to_numpy()])
    return folder, design, LinearModel(matrix, TERMS)


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR2", "CR3"])
def test_one_row_is_that_of_clubsandwich(study, kind, agree):
    folder, design, model = study
    data = wide(folder, "y_int", design["row"])
    expected = pd.read_csv(folder / "result_coef.csv")
    expected = expected[expected["type"] == kind]
    fit = fit_sandwich(model, design["subject"], reading(data.to_numpy()), data.shape[1], kind)
    for i, term in enumerate(TERMS):
        own = expected[expected["term"] == term].set_index("voxel")
        at = data.columns.get_indexer(own.index)
        found = fit.contrast(np.eye(5)[i : i + 1], "t")
        np.testing.assert_allclose(found.effect[at], own["b"], rtol=1e-10, atol=1e-12)
        agree(
            "R clubSandwich", f"{kind}: error", np.sqrt(found.variance[at]), own["se"], rtol=1e-10
        )
        agree("R clubSandwich", f"{kind}: dof", found.dof[at], own["df"], rtol=1e-10)
        p = found.maps("t", "two-sided")["p"]
        np.testing.assert_allclose(p[at], own["p"], rtol=1e-8)


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR2", "CR3"])
@pytest.mark.parametrize("name", CONTRASTS)
def test_several_rows_are_those_of_clubsandwich(study, kind, name, agree):
    folder, design, model = study
    data = wide(folder, "y_int", design["row"])
    expected = pd.read_csv(folder / "result_joint.csv")
    own = expected[(expected["type"] == kind) & (expected["contrast"] == name)].set_index("voxel")
    fit = fit_sandwich(model, design["subject"], reading(data.to_numpy()), data.shape[1], kind)
    found = fit.contrast(np.array(CONTRASTS[name]), "F")
    at = data.columns.get_indexer(own.index)
    assert len(own) > 0 and (own["ndf"] == found.rank).all()
    agree("R clubSandwich", f"{kind}: F (HTZ)", found.stat[at], own["F"], rtol=1e-10)
    agree("R clubSandwich", f"{kind}: dof of F (HTZ)", found.dof[at], own["ddf"], rtol=1e-10)
    p = found.maps("F", "two-sided")["p"]
    np.testing.assert_allclose(p[at], own["p"], rtol=1e-8)
    np.testing.assert_allclose(found.effect**2, found.stat * found.variance, rtol=1e-12)


def test_columns_of_participants_leave_a_singular_leverage(study):
    folder, design, _ = study
    data = wide(folder, "y_map", design["row"])
    subjects = pd.get_dummies(design["subject"]).to_numpy(dtype=float)
    matrix = np.column_stack([subjects, design[["tc", "cov"]].to_numpy()])
    model = LinearModel(matrix, tuple(f"c{i}" for i in range(matrix.shape[1])))
    expected = pd.read_csv(folder / "result_subjectcols.csv")
    seen = 0
    for (kind, term), own in expected.groupby(["type", "term"]):
        if own["se"].isna().any():
            continue
        own = own.set_index("voxel")
        fit = fit_sandwich(model, design["subject"], reading(data.to_numpy()), data.shape[1], kind)
        weights = np.zeros((1, matrix.shape[1]))
        weights[0, -2 if term == "tc" else -1] = 1
        found = fit.contrast(weights, "t")
        at = data.columns.get_indexer(own.index)
        np.testing.assert_allclose(np.sqrt(found.variance[at]), own["se"], rtol=1e-10)
        np.testing.assert_allclose(found.dof[at], own["df"], rtol=1e-10)
        seen += len(own)
    assert seen >= 100


def test_clusters_of_one_map_are_hc(study, agree):
    folder = study[0] / "hc"
    design = pd.read_csv(folder / "design.csv")
    data = wide(folder, "y", design["row"])
    matrix = np.column_stack([np.ones(30), design["group2"] == "B", design["cov1_c"]])
    model = LinearModel(matrix.astype(float), ("intercept", "groupB", "cov1_c"))
    expected = pd.read_csv(folder / "result.csv").set_index(["term", "voxel"])
    for kind, name in (("CR0", "HC0"), ("CR2", "HC2"), ("CR3", "HC3")):
        fit = fit_sandwich(model, np.arange(30), reading(data.to_numpy()), data.shape[1], kind)
        for i, term in enumerate(model.columns):
            found = fit.contrast(np.eye(3)[i : i + 1], "t")
            own = expected.loc[term].loc[list(data.columns)]
            agree("R sandwich", f"{name}: error", np.sqrt(found.variance), own[name], rtol=1e-10)


@pytest.fixture
def random_study():
    rng = np.random.default_rng(5)
    clusters = rng.permutation(np.repeat(np.arange(9), [1, 2, 3, 4, 5, 6, 7, 8, 4]))
    n = len(clusters)
    matrix = np.column_stack([np.ones(n), rng.standard_normal((n, 2)), clusters % 2])
    return LinearModel(matrix, ("a", "b", "c", "d")), clusters, rng.standard_normal((n, 300))


@pytest.mark.parametrize("test", ["t", "F"])
def test_a_voxel_that_maps_lack_is_that_of_the_other_maps(random_study, test):
    model, clusters, data = random_study
    weights = np.eye(4)[1:2] if test == "t" else np.eye(4)[1:3]
    missing = np.flatnonzero((clusters == 3) | (np.arange(len(clusters)) % 7 == 0))
    gaps = data.copy()
    gaps[missing[:, None], np.arange(100, 200)] = np.nan
    found = fit_sandwich(model, clusters, reading(gaps), 300).contrast(weights, test)
    kept = np.delete(data, missing, axis=0)
    fewer = fit_sandwich(
        model.without(missing), np.delete(clusters, missing), reading(kept), 300
    ).contrast(weights, test)
    whole = fit_sandwich(model, clusters, reading(data), 300).contrast(weights, test)
    for name in ("effect", "variance", "stat", "dof"):
        ours, inside = getattr(found, name), slice(100, 200)
        assert (ours[inside] == getattr(fewer, name)[inside]).all()
        assert (
            np.delete(ours, np.r_[inside]) == np.delete(getattr(whole, name), np.r_[inside])
        ).all()
    assert found.complete.sum() == 200


def test_all_bits_are_the_same_whatever_the_tiles(random_study, monkeypatch):
    model, clusters, data = random_study
    data[3, 40:60] = np.nan
    weights = np.eye(4)[1:]
    at_once = fit_sandwich(model, clusters, reading(data), 300).contrast(weights, "F")
    for start, stop in ((0, 7), (7, 45), (45, 300)):
        part = data[:, start:stop]
        own = fit_sandwich(model, clusters, reading(part), stop - start).contrast(weights, "F")
        for name in ("effect", "stat", "dof", "variance"):
            assert (getattr(own, name) == getattr(at_once, name)[start:stop]).all()


def test_cr2_is_unbiased_where_errors_are_independent(random_study):
    model, clusters, _ = random_study
    for rows in (np.eye(4)[1:2], np.eye(4)[1:]):
        own = ContrastSandwich(model, clusters, rows, "CR2")
        expected = rows @ model.covariance @ rows.T
        np.testing.assert_allclose(own.expected, expected, rtol=1e-10)


def test_an_order_of_maps_changes_nothing(random_study):
    model, clusters, data = random_study
    order = np.argsort(clusters, kind="stable")
    sorted_model = LinearModel(model.matrix[order], model.columns)
    one = fit_sandwich(model, clusters, reading(data), 300).contrast(np.eye(4)[1:3], "F")
    other = fit_sandwich(sorted_model, clusters[order], reading(data[order]), 300)
    other = other.contrast(np.eye(4)[1:3], "F")
    np.testing.assert_allclose(one.stat, other.stat, rtol=1e-10)
    np.testing.assert_allclose(one.dof, other.dof, rtol=1e-10)


def test_constant_voxels_have_no_statistic(random_study):
    model, clusters, data = random_study
    data[:, 0] = 3.7
    for weights, test in ((np.eye(4)[1:2], "t"), (np.eye(4)[1:3], "F")):
        found = fit_sandwich(model, clusters, reading(data), 300).contrast(weights, test)
        maps = found.maps(test, "two-sided")
        assert maps["z"][0] == 0 and maps["p"][0] == 1 and maps["dof"][0] == 0
        assert (maps["dof"][1:] > 0).all()


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR2", "CR3"])
def test_a_column_that_one_cluster_alone_has_is_refused(random_study, kind):
    # Its residuals are 0 along that column, whatever the errors of the cluster are.
    model, clusters, data = random_study
    alone = LinearModel(
        np.column_stack([model.matrix, clusters == 5]).astype(float), (*model.columns, "e")
    )
    fit = fit_sandwich(alone, clusters, reading(data), 300, kind)
    with pytest.raises(ValueError, match="one cluster alone has"):
        fit.contrast(np.eye(5)[4:], "t")
    assert (fit.contrast(np.eye(5)[1:2], "t").dof > 0).all()


def test_more_rows_than_degrees_of_freedom_are_refused(random_study):
    model, clusters, data = random_study
    fit = fit_sandwich(model, np.minimum(clusters, 2), reading(data), 300)
    with pytest.raises(ValueError, match="Test fewer rows"):
        fit.contrast(np.eye(4), "F")


def test_bad_clusters_and_kinds_are_refused(random_study):
    model, clusters, data = random_study
    with pytest.raises(ValueError, match="one cluster"):
        fit_sandwich(model, np.zeros(len(clusters)), reading(data), 300)
    with pytest.raises(ValueError, match="CR0, CR1, CR2, CR3"):
        fit_sandwich(model, clusters, reading(data), 300, "CR9")
    with pytest.raises(ValueError, match="3 clusters are named for 40 maps"):
        fit_sandwich(model, clusters[:3], reading(data), 300)


GROUPS_OF_TWO = np.repeat([0, 1], 6)


@pytest.mark.parametrize("level", [0.0, 0.1, 1.1, 7000.0])
@pytest.mark.parametrize("which", ["HC3", "CR2", "SwE"])
def test_a_group_of_equal_maps_tells_no_variance_of_its_mean(which, level):
    """Beside it the other group's mean, and the difference, have theirs: b'b / n of residuals."""
    rng = np.random.default_rng(4)
    data = rng.standard_normal((12, 3))
    data[:6, 0] = np.float32(level)
    matrix = np.column_stack([np.ones(12), GROUPS_OF_TWO])
    model, read = LinearModel(matrix, ("mean", "more")), lambda a, b: data[:, a:b]
    clusters, visits = np.repeat(np.arange(6), 2), np.tile([0, 1], 6)
    fit = {
        "HC3": lambda: fit_hc(model, read, 3),
        "CR2": lambda: fit_sandwich(model, clusters, read, 3),
        "SwE": lambda: fit_sandwich_swe(model, clusters, visits, GROUPS_OF_TWO, read, 3),
    }[which]()
    for rows, test in (([[1.0, 0.0]], "t"), ([[1.0, 0.0], [0.0, 1.0]], "F")):
        found = fit.contrast(np.array(rows), test)
        assert found.stat[0] == found.dof[0] == found.variance[0] == 0
        assert (found.dof[1:] > 0).all()
    own = data[6:, 0] - data[6:, 0].mean()
    if which != "HC3":
        own = own.reshape(3, 2).mean(axis=1)
    variance = np.square(own).sum() / len(own) / (len(own) - 1)
    if which == "HC3":
        variance *= 6 / 5
    for row in ([1.0, 1.0], [0.0, 1.0]):
        found = fit.contrast(np.array([row]), "t")
        np.testing.assert_allclose(found.variance[0], variance, rtol=1e-12)


@pytest.mark.parametrize("rows", [[[1.0, 0.0]], np.eye(2)])
def test_shuffles_that_leave_a_group_as_it_is_have_no_statistic_of_its_mean(rows):
    data = np.random.default_rng(4).standard_normal((12, 2))
    data[:6, 0] = 1.1
    model = LinearModel(np.column_stack([np.ones(12), GROUPS_OF_TWO]), ("mean", "more"))
    test = "t" if len(rows) == 1 else "F"
    # Maps as they are, and one with another sign.
    orders, signs = np.tile(np.arange(12), (2, 1)), np.ones((2, 12))
    signs[1, :2] = -1
    for own in (
        ShuffledHC3(model, rows, test),
        shuffled_sandwich(model, rows, test, np.repeat(np.arange(6), 2)),
    ):
        found = own.statistic(own.prepare({"effects": data}), orders, signs)
        assert found[0, 0] == 0
        assert (np.abs(found[[0, 1, 1], [1, 0, 1]]) > 0).all()
