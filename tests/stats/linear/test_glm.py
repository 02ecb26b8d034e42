"""The linear model against numpy's least squares and scipy's tests, and its invariances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nipype_group.stats.linear import least_squares as glm
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    contrast_maps,
    f_contrast,
    fit_tiles,
    independent_rows,
    t_contrast,
)

N, V = 14, 25
SEEDS = st.integers(0, 2**32 - 1)


def study(seed=0, n_covariates=2):
    """A design of an intercept and covariates, and data with effects."""
    rng = np.random.default_rng(seed)
    matrix = np.column_stack([np.ones(N), rng.standard_normal((N, n_covariates))])
    data = matrix @ rng.standard_normal((matrix.shape[1], V)) + rng.standard_normal((N, V))
    columns = ("intercept", *"abcdefgh"[:n_covariates])
    return LinearModel(matrix, columns), data


def t_of(model, data, weights):
    betas, residual_ss = model.fit(data)
    return t_contrast(np.asarray(weights, float), betas, residual_ss / model.dof, model.covariance)


def f_of(model, data, weights):
    betas, residual_ss = model.fit(data)
    return f_contrast(np.asarray(weights, float), betas, residual_ss / model.dof, model.covariance)


def test_betas_and_residuals_equal_lstsq():
    model, data = study()
    betas, residual_ss = model.fit(data)
    expected, ss, rank, _ = np.linalg.lstsq(model.matrix, data, rcond=None)
    np.testing.assert_allclose(betas, expected, rtol=1e-11)
    np.testing.assert_allclose(residual_ss, ss, rtol=1e-12)
    assert (model.rank, model.dof) == (rank, N - rank)


def test_covariance_is_the_inverse_of_the_cross_product():
    model, _ = study()
    np.testing.assert_allclose(
        model.covariance, np.linalg.inv(model.matrix.T @ model.matrix), rtol=1e-11
    )


def test_one_sample_t_equals_scipy():
    data = np.random.default_rng(1).standard_normal((N, V)) + 0.4
    model = LinearModel(np.ones((N, 1)), ("intercept",))
    effect, variance, t = t_of(model, data, [1])
    np.testing.assert_allclose(t, stats.ttest_1samp(data, 0).statistic, rtol=1e-12)
    np.testing.assert_allclose(effect, data.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, data.var(axis=0, ddof=1) / N, rtol=1e-12)


def test_two_groups_f_over_three_levels_equals_scipy_anova():
    rng = np.random.default_rng(2)
    group = np.repeat([0, 1, 2], [5, 4, 5])
    data = rng.standard_normal((N, V)) + group[:, None] * 0.5
    model = LinearModel(np.eye(3)[group], ("a", "b", "c"))
    f = f_of(model, data, [[1, -1, 0], [0, 1, -1]])[2]
    expected = stats.f_oneway(*(data[group == g] for g in range(3))).statistic
    np.testing.assert_allclose(f, expected, rtol=1e-11)


def test_rank_deficient_design_divides_by_n_minus_rank_and_fits_the_same():
    full, data = study()
    extra = full.matrix[:, 1] - 2 * full.matrix[:, 2]
    model = LinearModel(np.column_stack([full.matrix, extra]), (*full.columns, "sum"))
    assert (model.rank, model.dof) == (3, N - 3)
    np.testing.assert_allclose(model.fit(data)[1], full.fit(data)[1], rtol=1e-10)
    np.testing.assert_allclose(
        t_of(model, data, [1, 0, 0, 0])[2], t_of(full, data, [1, 0, 0])[2], rtol=1e-9
    )


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_rank_and_estimability_do_not_depend_on_units(unit):
    full, data = study()
    matrix = full.matrix * [1, unit, 1]
    model = LinearModel(matrix, full.columns)
    assert model.rank == 3
    model.check_estimable(np.array([[0.0, 1, 0]]), "a")
    np.testing.assert_allclose(
        t_of(model, data, [0, 1, 0])[2], t_of(full, data, [0, 1, 0])[2], rtol=1e-9
    )


def overparameterised():
    group = np.arange(N) % 2
    matrix = np.column_stack([np.ones(N), group == 0, group == 1, np.linspace(0, 1, N) ** 2])
    return LinearModel(matrix.astype(float), ("intercept", "patients", "controls", "age"))


def test_non_estimable_contrast_names_the_contrast_and_its_columns():
    with pytest.raises(ValueError, match="'pat' cannot be estimated") as error:
        overparameterised().check_estimable(np.array([[0.0, 1, 0, 0]]), "pat")
    assert "does not determine patients (rank 3 of 4 columns)" in str(error.value)
    with pytest.raises(ValueError, match="determine intercept, controls"):
        overparameterised().check_estimable(np.array([[1.0, 0, 2, 1]]), "x")


@pytest.mark.parametrize("weights", [[0, 1, -1, 0], [1, 1, 0, 0], [1, 0.5, 0.5, 3], [0, 0, 0, 1]])
def test_estimable_contrasts_of_a_deficient_design_pass(weights):
    overparameterised().check_estimable(np.array([weights], dtype=float), "fine")


def test_an_f_with_one_row_that_is_not_estimable_is_refused():
    with pytest.raises(ValueError, match="does not determine"):
        overparameterised().check_estimable(np.array([[0.0, 1, -1, 0], [0, 1, 0, 0]]), "f")


def test_designs_without_residual_dof_or_with_wrong_names_are_refused():
    with pytest.raises(ValueError, match=r"3 maps and 3 independent columns \(a, b, c\)"):
        LinearModel(np.eye(3), ("a", "b", "c"))
    with pytest.raises(ValueError, match="3 columns but 2 names"):
        LinearModel(np.ones((5, 3)), ("a", "b"))


def test_redundant_rows_of_f_reduce_to_their_rank():
    model, data = study(n_covariates=3)
    rows = np.array([[0, 1, 0, -1], [0, 0, 1, -1]])
    redundant = np.vstack([rows, rows[0] - rows[1], 3 * rows[0]])
    reduced, full = f_of(model, data, rows), f_of(model, data, redundant)
    assert reduced[3] == full[3] == 2
    for a, b in zip(reduced[:3], full[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)
    assert len(independent_rows(redundant)) == 2


def test_f_of_one_row_is_t_squared_with_the_effect_of_unit_length():
    model, data = study()
    t, (effect, variance, f, rank) = (
        t_of(model, data, [0, 2, -1])[2],
        f_of(model, data, [[0, 2, -1]]),
    )
    assert rank == 1
    np.testing.assert_allclose(f, t**2, rtol=1e-10)
    np.testing.assert_allclose(effect**2 / variance, f, rtol=1e-12)


def test_f_of_all_columns_compares_the_residuals_of_both_models():
    model, data = study(n_covariates=3)
    f = f_of(model, data, np.eye(4)[1:])[2]
    ss = model.fit(data)[1]
    null_ss = np.square(data - data.mean(axis=0)).sum(axis=0)
    np.testing.assert_allclose(f, ((null_ss - ss) / 3) / (ss / model.dof), rtol=1e-10)


def test_voxels_without_variance_get_statistic_0_z_0_and_p_1():
    model, data = study()
    data[:, 0], data[:, 1] = 0, 7.3
    data[:, 2] = model.matrix @ [1.5, 2, -3]
    betas, residual_ss = model.fit(data)
    assert (residual_ss[:3] == 0).all()
    assert (residual_ss[3:] > 0).all()
    common = betas, residual_ss / model.dof, model.covariance, model.dof, "two-sided"
    for test, weights in (("t", [[0, 1, 0]]), ("F", [[0, 1, 0], [0, 0, 1]])):
        maps, _ = contrast_maps(np.array(weights, float), test, *common)
        for name, expected in (("stat", 0), ("z", 0), ("p", 1), ("effect_size", 0)):
            assert (maps[name][:3] == expected).all(), (test, name)
        assert all(np.isfinite(m).all() for m in maps.values())


@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("step", [0.1, 1.0, 37.0])
def test_what_rounding_to_float32_leaves_is_no_residual(spread, step):
    rng = np.random.default_rng(3)
    before = (spread * rng.standard_normal((9, 200))).astype(np.float32)
    after = before + np.float32(step)
    pairs = np.vstack([before, after]).astype(float)
    design = np.column_stack([np.repeat([0.0, 1], 9), np.tile(np.eye(9), (2, 1))])
    model = LinearModel(design, ("step", *map(str, range(9))))
    assert (model.fit(pairs)[1] == 0).all()
    # A change that float32 holds is a residual: some units in the last place of the largest value.
    pairs[0] += 1e-5 * np.abs(pairs).max()
    assert (model.fit(pairs)[1] > 0).all()


def test_a_voxel_that_a_map_lacks_has_no_residual_sum_of_squares():
    model, data = study()
    data[4, 0] = np.nan
    assert np.isnan(model.fit(data)[1]).tolist() == [True] + [False] * (data.shape[1] - 1)


@pytest.mark.parametrize("tail", ["two-sided", "positive", "negative"])
def test_maps_of_a_t_contrast_by_tail(tail):
    model, data = study()
    betas, residual_ss = model.fit(data)
    variance = residual_ss / model.dof
    maps, dof = contrast_maps(
        np.array([[0.0, 1, 0]]), "t", betas, variance, model.covariance, model.dof, tail
    )
    t = maps["stat"]
    expected = {
        "two-sided": 2 * stats.t.sf(np.abs(t), model.dof),
        "positive": stats.t.sf(t, model.dof),
        "negative": stats.t.cdf(t, model.dof),
    }[tail]
    np.testing.assert_allclose(maps["p"], expected, rtol=1e-11)
    np.testing.assert_allclose(stats.norm.sf(maps["z"]), stats.t.sf(t, model.dof), rtol=1e-10)
    np.testing.assert_allclose(maps["effect_size"], maps["effect"] / np.sqrt(variance))
    assert dof == (model.dof,)


def test_f_is_tested_on_its_upper_side_whatever_the_tail():
    model, data = study()
    betas, residual_ss = model.fit(data)
    common = betas, residual_ss / model.dof, model.covariance, model.dof
    weights = np.eye(3)[1:]
    results = [contrast_maps(weights, "F", *common, t) for t in ("negative", "positive")]
    for maps, dof in results:
        assert dof == (2, model.dof)
        np.testing.assert_allclose(maps["p"], stats.f.sf(maps["stat"], 2, model.dof), rtol=1e-11)
        partial = 2 * maps["stat"] / (2 * maps["stat"] + model.dof)
        np.testing.assert_allclose(maps["effect_size"], partial)


def test_r2_refers_to_the_mean_only_where_the_design_holds_a_constant():
    model, data = study()
    data[:, 3] = 5.0
    r2 = fit_tiles(model, lambda a, b: data[:, a:b], V)[2]
    fitted = model.matrix @ model.fit(data)[0]
    live = np.arange(V) != 3
    centred = np.square(data - data.mean(axis=0)).sum(axis=0)[live]
    expected = 1 - np.square(data - fitted).sum(axis=0)[live] / centred
    np.testing.assert_allclose(r2[live], expected, rtol=1e-10)
    assert r2[3] == 0
    through_0 = LinearModel(model.matrix[:, 1:], ("a", "b"))
    r2 = fit_tiles(through_0, lambda a, b: data[:, a:b], V)[2]
    residuals = data - through_0.matrix @ through_0.fit(data)[0]
    np.testing.assert_allclose(
        r2, 1 - np.square(residuals).sum(axis=0) / np.square(data).sum(axis=0), rtol=1e-10
    )


def test_tiles_give_what_one_fit_gives():
    model, _ = study()
    data = np.random.default_rng(4).standard_normal((N, 20_001))
    betas, variance, _ = fit_tiles(model, lambda a, b: data[:, a:b], data.shape[1])
    expected, residual_ss = model.fit(data)
    np.testing.assert_allclose(betas, expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(variance, residual_ss / model.dof, rtol=1e-11)


def test_tiles_of_many_maps_are_narrower_and_give_the_same(monkeypatch):
    model, _ = study()
    data = np.random.default_rng(4).standard_normal((N, 5000))
    spans = []

    def read(start, stop):
        spans.append(stop - start)
        return data[:, start:stop]

    monkeypatch.setattr(glm, "VALUES_PER_TILE", 100 * N + N // 2)
    betas, variance, _ = fit_tiles(model, read, data.shape[1])
    assert set(spans) == {100}
    expected, residual_ss = model.fit(data)
    np.testing.assert_allclose(betas, expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(variance, residual_ss / model.dof, rtol=1e-11)


@pytest.mark.parametrize("n_maps", [1, 2048, 2049, 40_000, 500_000])
def test_tiles_cover_every_voxel_once_in_bounded_memory(n_maps):
    spans = list(glm.tiles(9001, n_maps))
    assert [i for span in spans for i in range(span.start, span.stop)] == list(range(9001))
    widest = max(span.stop - span.start for span in spans)
    assert widest <= 4096
    assert widest * n_maps <= 2**23 or widest == 64


@given(SEEDS, st.floats(1e-6, 1e6), st.booleans())
def test_scaling_the_data_leaves_t(seed, factor, negate):
    model, data = study(seed)
    factor = -factor if negate else factor
    np.testing.assert_allclose(
        t_of(model, data * factor, [0, 1, -1])[2],
        np.sign(factor) * t_of(model, data, [0, 1, -1])[2],
        rtol=1e-9,
        atol=1e-12,
    )


@given(SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_the_maps_does_not_matter(seed, random):
    model, data = study(seed)
    order = list(range(N))
    random.shuffle(order)
    shuffled = LinearModel(model.matrix[order], model.columns)
    np.testing.assert_allclose(
        t_of(shuffled, data[order], [1, 0.5, 0])[2],
        t_of(model, data, [1, 0.5, 0])[2],
        rtol=1e-8,
        atol=1e-11,
    )


@given(SEEDS)
def test_nuisance_columns_in_the_same_span_leave_t(seed):
    model, data = study(seed, n_covariates=3)
    mix = np.random.default_rng(seed).standard_normal((3, 3)) + 3 * np.eye(3)
    nuisance = model.matrix[:, [0, 2, 3]] @ mix
    other = LinearModel(np.column_stack([model.matrix[:, 1], nuisance]), ("a", "x", "y", "z"))
    np.testing.assert_allclose(
        t_of(other, data, [1, 0, 0, 0])[2],
        t_of(model, data, [0, 1, 0, 0])[2],
        rtol=1e-6,
        atol=1e-9,
    )
