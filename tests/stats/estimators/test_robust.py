"""Robust fits against MASS and robustbase of R, and what they are whatever the data."""

import numpy as np
import pandas as pd
import pytest

from nipype_group.stats.estimators import robust
from nipype_group.stats.estimators.robust import METHODS, fit_robust
from nipype_group.stats.linear.least_squares import LinearModel

IN_R = {"huber": "huber", "bisquare": "bisquare_huber", "mm": "lmrob_MM"}
RELATIVE = {"huber": 1e-7, "bisquare": 1e-7, "mm": 1e-5}


def reading(data):
    return lambda start, stop: data[:, start:stop]


def mapping(data):
    return lambda rows: (data[i] for i in rows)


def model_of(matrix):
    return LinearModel(matrix, tuple(f"c{i}" for i in range(matrix.shape[1])))


@pytest.fixture(scope="module")
def study(shared):
    folder = shared / "oracles/models/robust"
    design = pd.read_csv(folder / "design.csv")
    data = pd.read_csv(folder / "data.csv")
    data = data.pivot_table(index="row", columns="voxel", values="y").loc[design["row"]]
    one = np.ones(len(design))
    designs = {
        "onesamp": one[:, None],
        "cov": np.column_stack([one, design["cov1_c"]]),
        "group": np.column_stack([one, design["group2"] == "B"]).astype(float),
    }
    return folder, data, {name: model_of(matrix) for name, matrix in designs.items()}


@pytest.fixture(scope="module")
def made():
    """Return a design of three columns and maps with heavy tails."""
    rng = np.random.default_rng(3)
    matrix = np.column_stack([np.ones(25), rng.standard_normal(25), np.arange(25) % 2])
    return matrix, rng.standard_t(2, (25, 60)) + matrix @ [[2.0], [0.5], [-1.0]]


@pytest.mark.parametrize("design", ["onesamp", "cov", "group"])
@pytest.mark.parametrize("method", METHODS)
def test_estimates_and_errors_are_those_of_r(study, method, design, agree):
    folder, data, models = study
    expected = pd.read_csv(folder / "result.csv")
    expected = expected[(expected["method"] == IN_R[method]) & (expected["design"] == design)]
    fit = fit_robust(models[design], reading(data.to_numpy()), data.shape[1], method)
    terms = ("intercept", "x")[: models[design].rank]
    assert set(expected["term"]) == set(terms)
    for i, term in enumerate(terms):
        own = expected[expected["term"] == term].set_index("voxel").loc[data.columns]
        found = fit.contrast(np.eye(len(terms))[i : i + 1], "t")
        near = RELATIVE[method]
        assert (np.abs(found.effect - own["b"]) < near * own["se"]).all()
        agree(
            "R MASS and robustbase",
            f"{method}: error",
            np.sqrt(found.variance),
            own["se"],
            rtol=near,
        )
        agree("R MASS and robustbase", f"{method}: scale", fit.scale, own["scale"], rtol=near)
        assert (found.dof == 30 - len(terms)).all()
    assert fit.settled.all()


@pytest.mark.parametrize("design", ["onesamp", "group"])
@pytest.mark.parametrize("method", METHODS)
def test_weights_are_those_of_r(study, method, design, agree):
    folder, data, models = study
    expected = pd.read_csv(folder / "result_weights.csv")
    expected = expected[(expected["method"] == IN_R[method]) & (expected["design"] == design)]
    assert len(expected) == 180
    values = data.to_numpy()
    fit = fit_robust(models[design], reading(values), data.shape[1], method)
    weights = np.array(list(fit.weights(mapping(values))))
    own = weights[
        data.index.get_indexer(expected["row"]), data.columns.get_indexer(expected["voxel"])
    ]
    agree(
        "R MASS and robustbase", f"{method}: weights of maps", own, expected["weight"], atol=1e-9
    )
    residuals = np.array(list(fit.residuals(mapping(values))))
    raw = values - models[design].matrix @ fit.betas
    np.testing.assert_allclose(residuals, np.sqrt(weights) * raw, atol=1e-12)


def huber_by_hand(x, y):
    """Return betas and their covariance by formulas word for word, until nothing changes."""
    b = np.linalg.lstsq(x, y, rcond=None)[0]
    for _ in range(3000):
        r = y - x @ b
        s = np.median(np.abs(r)) / 0.6745
        w = np.minimum(1, 1.345 * s / np.abs(r))
        b = np.linalg.solve(x.T * w @ x, x.T * w @ y)
    n, p = x.shape
    slope = (np.abs(r) <= 1.345 * s).astype(float)
    kappa = 1 + p * slope.var(ddof=1) / (n * slope.mean() ** 2)
    variance = np.square(w * r).sum() / (n - p) * (kappa / slope.mean()) ** 2
    return b, variance * np.linalg.inv(x.T @ x)


def test_several_rows_together_are_walds_statistic(made):
    matrix, data = made
    rows = np.array([[0.0, 1, 0], [0, 1, 1]])
    fit = fit_robust(model_of(matrix), reading(data), data.shape[1])
    found = fit.contrast(np.vstack([rows, rows.sum(axis=0)]), "F")
    for v in range(data.shape[1]):
        b, covariance = huber_by_hand(matrix, data[:, v])
        effect = rows @ b
        expected = effect @ np.linalg.solve(rows @ covariance @ rows.T, effect) / 2
        np.testing.assert_allclose(found.stat[v], expected, rtol=1e-7)
    assert found.rank == 2 and (found.dof == 22).all()
    np.testing.assert_allclose(found.effect**2, found.stat * found.variance, rtol=1e-12)


@pytest.mark.parametrize("n_maps", [99, 100])
def test_many_maps_are_fitted_as_few_are(n_maps):
    rng = np.random.default_rng(n_maps)
    matrix = np.column_stack([np.ones(n_maps), rng.standard_normal(n_maps)])
    data = rng.standard_t(2, (n_maps, 8))
    found = fit_robust(model_of(matrix), reading(data), 8).contrast(np.array([[0.0, 1]]), "t")
    for v in range(8):
        b, covariance = huber_by_hand(matrix, data[:, v])
        np.testing.assert_allclose(found.effect[v], b[1], rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(found.variance[v], covariance[1, 1], rtol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_an_f_of_one_row_is_t_squared(made, method):
    matrix, data = made
    fit = fit_robust(model_of(matrix), reading(data), data.shape[1], method)
    row = np.array([[0.0, 1, 2]])
    t, f = fit.contrast(row, "t"), fit.contrast(row, "F")
    np.testing.assert_allclose(f.stat, t.stat**2, rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_a_voxel_that_maps_lack_is_fitted_to_the_others(made, method):
    matrix, data = made
    gaps = data.copy()
    gaps[[2, 7, 11], 5:20] = np.nan
    gaps[12:, 30] = np.nan
    # All maps of the second group: what is left tells the first alone.
    gaps[matrix[:, 2] == 1, 40] = np.nan
    gaps[2:, 50] = np.nan
    model = model_of(matrix)
    row = np.array([[1.0, 0.3, 0]])
    fit = fit_robust(model, reading(gaps), gaps.shape[1], method)
    found = fit.contrast(row, "t")
    for voxels in (range(5, 20), [30], [40]):
        there = np.isfinite(gaps[:, voxels[0]])
        columns = [0, 1] if voxels == [40] else [0, 1, 2]
        alone = model_of(matrix[there][:, columns])
        own = fit_robust(alone, reading(gaps[there][:, voxels]), len(voxels), method)
        own = own.contrast(row[:, columns], "t")
        np.testing.assert_allclose(found.stat[voxels], own.stat, rtol=1e-7)
        assert (found.dof[voxels] == own.dof).all() and not found.complete[voxels].any()
    assert found.dof[50] == found.stat[50] == 0
    assert fit.contrast(np.array([[0.0, 0, 1]]), "t").dof[40] == 0
    weights = np.array(list(fit.weights(mapping(gaps))))
    assert (weights[~np.isfinite(gaps)] == 0).all() and (weights[:, 50] == 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_bits_of_a_voxel_depend_on_no_other(made, method):
    matrix, data = made
    gaps = data.copy()
    gaps[3, ::7] = np.nan
    model, row = model_of(matrix), np.array([[0.0, 1, 0]])
    whole = fit_robust(model, reading(gaps), gaps.shape[1], method).contrast(row, "t")
    for start, stop in ((0, 1), (1, 14), (14, 60)):
        part = fit_robust(model, reading(gaps[:, start:stop]), stop - start, method)
        part = part.contrast(row, "t")
        assert part.stat.tobytes() == whole.stat[start:stop].tobytes()
        assert part.variance.tobytes() == whole.variance[start:stop].tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_units_and_redundant_columns_change_no_statistic(made, method):
    matrix, data = made
    row = np.array([[0.0, 1, 0]])
    plain = fit_robust(model_of(matrix), reading(data), 60, method).contrast(row, "t")
    scaled = fit_robust(model_of(matrix), reading(data * 1e-6), 60, method).contrast(row, "t")
    np.testing.assert_allclose(scaled.stat, plain.stat, rtol=1e-7)
    double = np.column_stack([matrix, 1 - matrix[:, 2]])
    fit = fit_robust(model_of(double), reading(data), 60, method)
    np.testing.assert_allclose(
        fit.contrast(np.array([[0.0, 1, 0, 0]]), "t").stat, plain.stat, rtol=1e-6
    )


def test_mm_bears_what_huber_does_not():
    rng = np.random.default_rng(4)
    data = rng.standard_normal((40, 30)) + 1.0
    data[:14] += 60.0
    model, row = model_of(np.ones((40, 1))), np.array([[1.0]])
    mm = fit_robust(model, reading(data), 30, "mm")
    assert (np.abs(mm.contrast(row, "t").effect - 1) < 1).all()
    weights = np.array(list(mm.weights(mapping(data))))
    assert (weights[:14] == 0).all() and (weights[14:].mean(axis=0) > 0.7).all()
    assert (fit_robust(model, reading(data), 30).contrast(row, "t").effect > 3).all()
    assert any("too small where maps are few" in note for note in mm.notes)


def test_drawn_subsets_find_what_all_do(made, monkeypatch):
    matrix, data = made
    drawn = fit_robust(model_of(matrix), reading(data), 60, "mm")
    assert len(robust._subsets(model_of(matrix).basis)) == 500
    monkeypatch.setattr(robust, "_MOST_SUBSETS", 2300)
    assert len(robust._subsets(model_of(matrix).basis)) == 2300
    every = fit_robust(model_of(matrix), reading(data), 60, "mm")
    np.testing.assert_allclose(drawn.scale, every.scale, rtol=1e-9)
    np.testing.assert_allclose(drawn.betas, every.betas, rtol=1e-6, atol=1e-7)


def test_many_maps_take_fewer_subsets_to_the_same_fit(monkeypatch):
    rng = np.random.default_rng(11)
    matrix = np.column_stack([np.ones(400), rng.standard_normal(400)])
    data = rng.standard_t(3, (400, 20))
    data[:150] += 30 * matrix[:150, 1:] + 50
    few = fit_robust(model_of(matrix), reading(data), 20, "mm")
    assert len(robust._subsets(model_of(matrix).basis)) == 50
    monkeypatch.setattr(robust, "_FEWEST_SUBSETS", 500)
    assert len(robust._subsets(model_of(matrix).basis)) == 500
    many = fit_robust(model_of(matrix), reading(data), 20, "mm")
    np.testing.assert_allclose(few.scale, many.scale, rtol=1e-9)
    assert (np.abs(few.betas) < 1).all()


def test_drawn_subsets_meet_groups_of_few_maps():
    matrix = np.eye(6)[np.minimum(np.arange(60) // 2, 5)]
    basis = model_of(matrix).basis
    found = robust._subsets(basis)
    assert found.shape == (500, 6)
    determinants = np.abs(np.linalg.det(basis[found]))
    assert (determinants > 1e-4).all()


@pytest.mark.parametrize("method", METHODS)
def test_voxels_without_a_scale_have_no_statistic_and_are_told(made, method):
    _, data = made
    data = data[:, :5].copy()
    data[:, 1] = 3.25
    data[:20, 2] = 1.0
    model = model_of(np.ones((25, 1)))
    fit = fit_robust(model, reading(data), 5, method)
    found = fit.contrast(np.array([[1.0]]), "t")
    assert (found.dof[[1, 2]] == 0).all() and (found.stat[[1, 2]] == 0).all()
    assert (found.dof[[0, 3, 4]] == 24).all()
    assert any("2 of 5 voxels have no scale" in note for note in fit.notes)
    maps = found.maps("t", "two-sided")
    assert (maps["p"][[1, 2]] == 1).all()
    assert not np.array(list(fit.weights(mapping(data))))[:, [1, 2]].any()


def test_another_method_is_refused(made):
    with pytest.raises(ValueError, match="huber, bisquare, mm, got 'lts'"):
        fit_robust(model_of(made[0]), reading(made[1]), 60, "lts")


def test_all_real_voxels_settle_at_a_fixed_point(wager, success):
    model = model_of(np.column_stack([np.ones(30), success]))
    data = wager[:, ::5]
    for method in ("huber", "bisquare"):
        fit = fit_robust(model, reading(data), data.shape[1], method)
        assert fit.settled.all() and (fit.scale > 0).all()
        weights = np.array(list(fit.weights(mapping(data))))
        raw = data - model.matrix @ fit.betas
        score = model.basis.T @ (weights * raw)
        assert (np.abs(score) < 1e-7 * fit.scale).all()
        median = np.median(np.abs(raw), axis=0) / 0.6745
        np.testing.assert_allclose(median, fit.scale, rtol=1e-8)


def test_mm_has_no_error_of_a_map_that_has_a_column_of_its_own():
    rng = np.random.default_rng(4)
    data = rng.standard_normal((14, 2000))
    group = np.repeat([0, 1, 2], [7, 6, 1])
    model = LinearModel(np.eye(3)[group], ("a", "b", "c"))
    fit = fit_robust(model, lambda start, stop: data[:, start:stop], 2000, "mm")
    with pytest.raises(ValueError, match="a column that one map alone has"):
        fit.contrast(np.array([[0.0, 1, -1]]), "t")
    assert (fit.contrast(np.array([[1.0, -1, 0]]), "t").dof > 0).mean() > 0.99
    # Where maps lack the voxel, the group has one there.
    data[11:13, :50] = np.nan
    pair = LinearModel(np.eye(2)[np.repeat([0, 1], [11, 3])], ("a", "b"))
    fit = fit_robust(pair, lambda start, stop: data[:, start:stop], 2000, "mm")
    found = fit.contrast(np.array([[1.0, -1]]), "t")
    assert not found.dof[:50].any() and (found.dof[50:] == 12).mean() > 0.99


@pytest.mark.parametrize(("method", "share"), [("huber", 0.08), ("bisquare", 0.12)])
def test_few_maps_a_column_are_told_to_err_as_often_as_they_do(method, share):
    rng, errors, n_studies = np.random.default_rng(5), 0, 500
    for _ in range(8):
        model = LinearModel(
            np.column_stack([np.ones(8), rng.standard_normal((8, 2))]), tuple("abc")
        )
        data = rng.standard_normal((8, n_studies))
        fit = fit_robust(
            model, lambda start, stop, data=data: data[:, start:stop], n_studies, method
        )
        found = fit.contrast(np.array([[0.0, 0, 1]]), "t").maps("t", "two-sided")
        errors += (found["p"] < 0.05).sum()
    assert abs(errors / 4000 - share) < 0.02
    assert f"3 columns {100 * share:.0f} % of voxels" in fit.notes[1]
    mean = LinearModel(np.ones((12, 1)), ("mean",))
    assert (
        len(fit_robust(mean, lambda a, b: rng.standard_normal((12, b - a)), 9, method).notes) == 1
    )
