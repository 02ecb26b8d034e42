"""Figures of every map against brute force: leave-one-out means and regressions."""

import numpy as np
import pytest
from scipy import stats

from nipype_group.stats.linear import map_quality as module
from nipype_group.stats.linear.influence import influence
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.map_quality import QualityOfMaps, map_quality

N, V = 14, 300


@pytest.fixture
def model():
    rng = np.random.default_rng(1)
    covariate = rng.standard_normal(N)
    covariate[3] = 9
    return LinearModel(np.column_stack([np.ones(N), covariate]), ("one", "covariate"))


@pytest.fixture
def data():
    rng = np.random.default_rng(2)
    shared = rng.standard_normal(V)
    maps = 2 * shared + rng.standard_normal((N, V))
    maps[5] = 10 * rng.standard_normal(V)
    return maps


def described(model, data):
    return map_quality(model, lambda a, b: data[:, a:b], iter(data), data.shape[1])


def brute_residuals(matrix, data):
    """Return internally and externally studentised residuals, each from a fit of its own."""
    n, _ = matrix.shape
    internal, external = np.full(data.shape, np.nan), np.full(data.shape, np.nan)
    for v, values in enumerate(data.T):
        has = np.isfinite(values)
        x, y = matrix[has], values[has]
        hat = x @ np.linalg.pinv(x)
        dof = len(y) - np.linalg.matrix_rank(x)
        e = y - hat @ y
        s2 = e @ e / dof
        internal[has, v] = e / np.sqrt(s2 * (1 - np.diag(hat)))
        for place, i in enumerate(np.flatnonzero(has)):
            rest = np.delete(np.arange(len(y)), place)
            left = y[rest] - x[rest] @ np.linalg.pinv(x[rest]) @ y[rest]
            own = left @ left / (dof - 1)
            external[i, v] = e[place] / np.sqrt(own * (1 - hat[place, place]))
    return internal, external


def test_values_and_correlations_are_those_of_each_map_and_the_mean_of_the_others(model, data):
    quality, counts = described(model, data)
    np.testing.assert_allclose(quality.mean, data.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(quality.sd, data.std(axis=1, ddof=1), rtol=1e-12)
    np.testing.assert_array_equal(quality.median, np.median(data, axis=1))
    expected = [
        stats.pearsonr(data[i], np.delete(data, i, axis=0).mean(axis=0)).statistic
        for i in range(N)
    ]
    np.testing.assert_allclose(quality.correlation, expected, atol=1e-12)
    assert (counts == N).all()


def test_leverage_is_that_of_the_hat_matrix(model, data):
    quality, _ = described(model, data)
    hat = model.matrix @ np.linalg.inv(model.matrix.T @ model.matrix) @ model.matrix.T
    np.testing.assert_allclose(quality.leverage, np.diag(hat), rtol=1e-10)
    assert quality.leverage_limit == pytest.approx(6 / N)
    assert np.flatnonzero(quality.high_leverage).tolist() == [3]


@pytest.mark.parametrize("tile", [4096, 70])
def test_residuals_are_those_of_a_fit_without_each_map(model, data, tile, monkeypatch):
    monkeypatch.setattr(module, "VOXELS_PER_TILE", tile)
    quality, _ = described(model, data)
    internal, external = brute_residuals(model.matrix, data)
    np.testing.assert_allclose(quality.residual_rms, np.sqrt(np.square(internal).mean(axis=1)))
    large = (np.abs(external) > 3).mean(axis=1)
    np.testing.assert_allclose(quality.large_residuals, large)
    assert large[5] > 0.5
    assert quality.residual_rms[5] > 2


def test_voxels_that_maps_lack_are_left_out_of_each_figure(model, data):
    rng = np.random.default_rng(4)
    data[rng.random(data.shape) < 0.1] = np.nan
    quality, counts = described(model, data)
    np.testing.assert_array_equal(counts, np.isfinite(data).sum(axis=0))
    np.testing.assert_allclose(quality.mean, np.nanmean(data, axis=1), rtol=1e-12)
    np.testing.assert_allclose(quality.median, np.nanmedian(data, axis=1), rtol=1e-12)
    for i in range(N):
        has = np.isfinite(data[i])
        others = np.nanmean(np.delete(data, i, axis=0), axis=0)[has]
        expected = stats.pearsonr(data[i, has], others).statistic
        np.testing.assert_allclose(quality.correlation[i], expected, atol=1e-12)
    internal, external = brute_residuals(model.matrix, data)
    np.testing.assert_allclose(quality.residual_rms, np.sqrt(np.nanmean(internal**2, axis=1)))
    has = np.isfinite(data).sum(axis=1)
    np.testing.assert_allclose(quality.large_residuals, (np.abs(external) > 3).sum(axis=1) / has)


def brute_influence(matrix, data):
    """Return Cook's distances, and DFBETAS of every column, of fits without each map."""
    cook = np.full(data.shape, np.nan)
    dfbetas = np.full((*data.shape, matrix.shape[1]), np.nan)
    for v, values in enumerate(data.T):
        has = np.flatnonzero(np.isfinite(values))
        x, y = matrix[has], values[has]
        whole, inverse = np.linalg.pinv(x) @ y, np.linalg.inv(x.T @ x)
        variance = np.square(y - x @ whole).sum() / (len(y) - x.shape[1])
        for place, i in enumerate(has):
            rest = np.delete(np.arange(len(y)), place)
            without = np.linalg.pinv(x[rest]) @ y[rest]
            left = y[rest] - x[rest] @ without
            own = left @ left / (len(rest) - x.shape[1])
            cook[i, v] = np.square(x @ (whole - without)).sum() / (x.shape[1] * variance)
            dfbetas[i, v] = (whole - without) / np.sqrt(own * np.diag(inverse))
    return cook, dfbetas


@pytest.mark.parametrize("tile", [4096, 70])
@pytest.mark.parametrize("gaps", [0.0, 0.1])
def test_influence_is_that_of_fits_without_each_map(model, data, tile, gaps, monkeypatch):
    monkeypatch.setattr(module, "VOXELS_PER_TILE", tile)
    data[np.random.default_rng(4).random(data.shape) < gaps] = np.nan
    quality, counts = described(model, data)
    cook, dfbetas = brute_influence(model.matrix, data)
    np.testing.assert_allclose(quality.cook_largest, np.nanmax(cook, axis=1), rtol=1e-9)
    np.testing.assert_allclose(quality.cook_median, np.nanmedian(cook, axis=1), rtol=0.04)
    has = np.isfinite(data).sum(axis=1)
    np.testing.assert_allclose(quality.large_cook, (cook > 4 / counts).sum(axis=1) / has)
    expected = np.sqrt(np.nanmean(np.square(dfbetas), axis=1))
    np.testing.assert_allclose(quality.dfbetas, expected, rtol=1e-9)
    largest, column = quality.largest_dfbetas
    np.testing.assert_allclose(largest, expected.max(axis=1), rtol=1e-9)
    assert column.tolist() == expected.argmax(axis=1).tolist()
    assert quality.dfbetas_limit == pytest.approx(2 / np.sqrt(N))


def test_the_median_of_many_voxels_is_good_to_one_percent(model):
    values = np.random.default_rng(9).standard_normal((N, 20000))
    cook = influence(model, values).cook
    quality, _ = described(model, values)
    np.testing.assert_allclose(quality.cook_median, np.median(cook, axis=1), rtol=0.01)
    np.testing.assert_allclose(quality.cook_largest, cook.max(axis=1), rtol=1e-12)


def test_columns_that_others_determine_have_no_influence_of_their_own(data):
    groups = np.repeat(np.eye(2), 7, axis=0)
    both = LinearModel(
        np.column_stack([np.ones(N), groups, np.arange(N) % 3]), ("one", "a", "b", "age")
    )
    quality, _ = described(both, data)
    assert np.isnan(quality.dfbetas[:, :3]).all()
    assert np.isfinite(quality.dfbetas[:, 3]).all()
    assert (quality.largest_dfbetas[1] == 3).all()


def test_normal_errors_give_the_share_that_is_expected():
    data = np.random.default_rng(8).standard_normal((9, 60000))
    model = LinearModel(np.column_stack([np.ones(9), np.arange(9) - 4.0]), ("one", "age"))
    quality, _ = described(model, data)
    expected = quality.expected_large
    assert expected == pytest.approx(2 * stats.t.sf(3, 6))
    # Five standard errors of a share of 60000.
    margin = 5 * np.sqrt(expected * (1 - expected) / 60000)
    np.testing.assert_allclose(quality.large_residuals, expected, atol=margin)
    np.testing.assert_allclose(quality.residual_rms, 1, atol=0.02)


def test_the_map_of_noise_is_named(model, data):
    quality, _ = described(model, data)
    known = quality.correlation
    limit = np.median(known) - 3 * stats.median_abs_deviation(known) * 1.4826
    assert quality.correlation_limit == pytest.approx(limit)
    assert np.flatnonzero(quality.low_correlation).tolist() == [5]
    assert quality.most_deviating(1).tolist() == [5]
    assert quality.most_deviating(N + 3).tolist() == list(range(N))


def test_a_map_that_is_constant_has_no_correlation_and_is_named(model, data):
    data[7] = 3.0
    quality, _ = described(model, data)
    assert np.isnan(quality.correlation[7])
    assert quality.low_correlation[7]
    assert 7 in quality.most_deviating(2)


def test_equal_maps_are_not_told_apart_by_rounding():
    data = np.tile(np.random.default_rng(5).standard_normal(200) / 3, (7, 1))
    quality, _ = described(LinearModel(np.ones((7, 1)), ("one",)), data)
    np.testing.assert_allclose(quality.correlation, 1)
    assert not quality.low_correlation.any()
    # No voxel has residuals.
    assert np.isnan(quality.residual_rms).all()


def test_a_map_with_a_column_of_its_own_has_no_residuals(data):
    own = np.zeros(N)
    own[2] = 1
    quality, _ = described(LinearModel(np.column_stack([np.ones(N), own]), ("one", "own")), data)
    assert quality.leverage[2] == pytest.approx(1)
    assert quality.high_leverage[2]
    assert np.flatnonzero(np.isnan(quality.large_residuals)).tolist() == [2]


def test_one_degree_of_freedom_leaves_no_residual_figures():
    data = np.random.default_rng(6).standard_normal((2, 50))
    quality, _ = described(LinearModel(np.ones((2, 1)), ("one",)), data)
    assert np.isnan(quality.residual_rms).all()
    assert np.isnan(quality.expected_large)
    assert np.isfinite(quality.correlation).all()
    assert not quality.low_correlation.any()


def test_a_voxel_of_one_map_says_nothing_about_likeness(model, data):
    alone = data.copy()
    alone[1:, 0] = np.nan
    with_gap, counts = described(model, alone)
    without, _ = described(model, data[:, 1:])
    assert counts[0] == 1
    np.testing.assert_array_equal(with_gap.correlation, without.correlation)


def test_no_correlation_at_all_gives_no_limit():
    nothing = np.full(3, np.nan)
    quality = QualityOfMaps(
        *[nothing] * 3,
        nothing,
        np.full(3, 1 / 3),
        *[nothing] * 2,
        1,
        2,
        *[nothing] * 3,
        nothing[:, None],
    )
    assert np.isnan(quality.correlation_limit)
    assert not quality.low_correlation.any()
