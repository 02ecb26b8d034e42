"""Voxels that some maps lack, against a model of every voxel on its own maps."""

import numpy as np
import pytest
from scipy import stats

from nipype_group.stats.linear.least_squares import (
    VOXELS_PER_TILE,
    LinearModel,
    VoxelPatterns,
    contrast_maps,
    f_contrast,
    fit_by_pattern,
    fit_tiles,
    missing_rows,
    t_contrast,
)

N = 16
# An alternating group, a covariate, and a site that the last three maps alone have.
COLUMNS = ("intercept", "group", "age", "site")
T, F = np.array([[0.0, 1, -0.5, 0]]), np.array([[0.0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 0]])
SITE = np.array([[0.0, 0, 0, 1]])
TAILS = ("two-sided", "positive", "negative")


def design():
    age = np.random.default_rng(5).standard_normal(N)
    return np.column_stack([np.ones(N), np.arange(N) % 2, age, np.arange(N) >= N - 3])


def study(n_voxels=300, seed=0, share=0.3):
    """Data with effects; a third of the voxels is complete, others lack maps at random."""
    rng = np.random.default_rng(seed)
    matrix = design()
    data = matrix @ rng.standard_normal((4, n_voxels)) + rng.standard_normal((N, n_voxels))
    lacks = rng.random((N, n_voxels)) < share
    lacks[:, ::3] = False
    # Several voxels share a pattern.
    lacks[:, 1::6] = np.isin(np.arange(N), (2, 7))[:, None]
    data[lacks] = np.nan
    return LinearModel(matrix, COLUMNS), data


def fitted(model, data):
    return fit_by_pattern(model, lambda a, b: data[:, a:b], data.shape[1])


def maps_of(model, data, weights, test, tail="two-sided"):
    betas, variance, _, patterns = fitted(model, data)
    fit = betas, variance, patterns.covariance, patterns.dof
    return contrast_maps(weights, test, *fit, tail, patterns.number, patterns.determine(weights))


def alone(model, values, weights):
    """Fit one voxel to the maps it has with numpy; None where they do not determine a contrast."""
    has = np.isfinite(values)
    matrix, y = model.matrix[has], values[has]
    rank = np.linalg.matrix_rank(matrix)
    if has.sum() <= rank or np.linalg.matrix_rank(np.vstack([matrix, weights])) > rank:
        return None
    betas, *_ = np.linalg.lstsq(matrix, y, rcond=None)
    ss, dof = np.square(y - matrix @ betas).sum(), len(y) - rank
    total = np.square(y - y.mean()).sum()
    return betas, ss / dof, 1 - ss / total, dof, np.linalg.pinv(matrix.T @ matrix)


def each(model, data, weights):
    """Yield the number of every voxel and its own fit."""
    for voxel, values in enumerate(data.T):
        yield voxel, alone(model, values, weights)


def test_every_voxel_is_fitted_to_the_maps_it_has():
    model, data = study(share=0.6)
    betas, variance, r2, patterns = fitted(model, data)
    dead = lost = 0
    for voxel, expected in each(model, data, np.zeros((1, 4))):
        if expected is None:
            dead += 1
            assert not betas[:, voxel].any()
            assert variance[voxel] == r2[voxel] == patterns.voxel_dof[voxel] == 0
            continue
        own_betas, own_variance, own_r2, dof, covariance = expected
        np.testing.assert_allclose(variance[voxel], own_variance, rtol=1e-9)
        np.testing.assert_allclose(r2[voxel], own_r2, rtol=1e-9)
        assert patterns.voxel_dof[voxel] == dof
        matrix = model.matrix[np.isfinite(data[:, voxel])]
        np.testing.assert_allclose(matrix @ betas[:, voxel], matrix @ own_betas, atol=1e-9)
        if len(matrix) - dof < 4:
            lost += 1
            continue
        np.testing.assert_allclose(betas[:, voxel], own_betas, rtol=1e-9, atol=1e-12)
        own = patterns.covariance[patterns.number[voxel]]
        np.testing.assert_allclose(own, covariance, rtol=1e-9, atol=1e-12)
    assert 0 < dead < 50
    assert lost > 5
    assert len(set(patterns.voxel_dof)) > 4


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("weights", [T, SITE], ids=["group and age", "site"])
def test_t_contrast_of_every_voxel_whose_maps_determine_it(tail, weights):
    model, data = study(share=0.5)
    maps, dof = maps_of(model, data, weights, "t", tail)
    assert dof == (N - 4,)
    undetermined = 0
    for voxel, expected in each(model, data, weights):
        found = {name: values[voxel] for name, values in maps.items()}
        if expected is None:
            undetermined += 1
            assert found.pop("p") == 1
            assert set(found.values()) == {0.0}
            continue
        betas, variance, _, dof, covariance = expected
        effect = weights[0] @ betas
        of_effect = variance * (weights[0] @ covariance @ weights[0])
        t = effect / np.sqrt(of_effect)
        p = {
            "two-sided": 2 * stats.t.sf(abs(t), dof),
            "positive": stats.t.sf(t, dof),
            "negative": stats.t.cdf(t, dof),
        }[tail]
        z = np.sign(t) * stats.norm.isf(stats.t.sf(abs(t), dof))
        own = {"effect": effect, "variance": of_effect, "stat": t, "z": z, "p": p}
        own["effect_size"] = effect / np.sqrt(variance)
        for name, value in own.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-7, atol=1e-12, err_msg=name)
    assert (undetermined > 10) == (weights is SITE)


def test_f_contrast_of_every_voxel():
    model, data = study()
    maps, dof = maps_of(model, data, F, "F")
    assert dof == (2, N - 4)
    for voxel, expected in each(model, data, F):
        if expected is None:
            assert maps["stat"][voxel] == maps["z"][voxel] == maps["effect_size"][voxel] == 0
            assert maps["p"][voxel] == 1
            continue
        has = np.isfinite(data[:, voxel])
        y, dof = data[has, voxel], expected[3]
        reduced = model.matrix[has][:, [0, 3]]
        rest = np.square(y - reduced @ np.linalg.lstsq(reduced, y, rcond=None)[0]).sum()
        f = (rest - expected[1] * dof) / 2 / expected[1]
        p = stats.f.sf(f, 2, dof)
        own = {"stat": f, "p": p, "z": stats.norm.isf(p), "effect_size": 2 * f / (2 * f + dof)}
        own |= {"effect": np.sqrt(f * expected[1]), "variance": expected[1]}
        for name, value in own.items():
            np.testing.assert_allclose(maps[name][voxel], value, rtol=1e-6, err_msg=name)


def test_all_maps_are_finite_wherever_maps_are_missing():
    model, data = study(share=0.6)
    for weights, test in ((T, "t"), (F, "F")):
        maps, _ = maps_of(model, data, weights, test)
        assert all(np.isfinite(values).all() for values in maps.values())


def test_one_sample_t_equals_scipy_without_the_missing():
    _, data = study(share=0.4)
    model = LinearModel(np.ones((N, 1)), ("mean",))
    maps, _ = maps_of(model, data, np.ones((1, 1)), "t")
    expected = stats.ttest_1samp(data, 0, nan_policy="omit")
    np.testing.assert_allclose(maps["stat"], expected.statistic, rtol=1e-10)
    np.testing.assert_allclose(maps["p"], expected.pvalue, rtol=1e-9)


def test_voxels_of_too_few_maps_or_of_lost_columns_of_the_contrast_have_no_statistic():
    model, data = study()
    data[:] = np.random.default_rng(1).standard_normal(data.shape)
    few, many = np.arange(N) < N - 5, np.arange(N) < N - 4
    scattered = many & (np.arange(N) > 0)
    data[scattered, 0] = data[few, 1] = np.nan  # five maps, which determine the four columns
    data[many, 2] = np.nan  # four maps: nothing is left for the variance
    data[N - 3 :, 3] = np.nan  # no map of the site
    data[::2, 4] = np.nan  # one group only
    data[:, 5] = np.nan
    _, variance, _, patterns = fitted(model, data)
    assert patterns.voxel_dof[:7].tolist() == [1, 1, 0, N - 6, N // 2 - 3, 0, N - 4]
    assert ((variance > 0) == (patterns.voxel_dof > 0)).all()
    for weights, test, dead in ((T, "t", (2, 4, 5)), (F, "F", (2, 4, 5)), (SITE, "t", (2, 3, 5))):
        maps, _ = maps_of(model, data, weights, test)
        for name in ("effect", "variance", "stat", "z", "effect_size"):
            assert np.flatnonzero(maps[name][:7] == 0).tolist() == list(dead)
        assert (maps["p"][list(dead)] == 1).all()


def test_constant_voxels_have_no_statistic_whatever_they_lack():
    model, data = study()
    data[:, :50] = np.where(np.isnan(data[:, :50]), np.nan, 7.3)
    _, variance, _, patterns = fitted(model, data)
    assert (variance[:50] == 0).all()
    assert (patterns.voxel_dof[:50] > 0).any()
    maps, _ = maps_of(model, data, F, "F")
    assert (maps["stat"][:50] == 0).all()
    assert (maps["p"][:50] == 1).all()


def test_design_of_lower_rank_keeps_its_estimable_contrasts():
    model, data = study()
    twice = np.column_stack([model.matrix, 1 - model.matrix[:, 1]])
    redundant = LinearModel(twice, (*COLUMNS, "other"))
    assert redundant.rank == model.rank
    maps, _ = maps_of(redundant, data, np.array([[0.0, 1, 0, 0, -1]]), "t")
    expected, _ = maps_of(model, data, np.array([[0.0, 1, 0, 0]]), "t")
    for name in ("effect", "stat", "z", "p"):
        np.testing.assert_allclose(maps[name], expected[name], rtol=1e-7, atol=1e-10)


def lacking(patterns):
    return [missing_rows(packed, N).tolist() for packed in patterns.missing]


def test_patterns_are_numbered_as_they_appear_and_named_by_what_they_lack():
    model, data = study(12)
    data[:] = np.nan_to_num(data)
    data[[3, 5], 1] = data[[3, 5], 4] = data[9, 7] = np.nan
    patterns = fitted(model, data)[3]
    assert lacking(patterns) == [[], [3, 5], [9]]
    assert patterns.number.tolist() == [0, 1, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0]
    assert patterns.dof.tolist() == [12, 10, 11]
    np.testing.assert_array_equal(patterns.complete, patterns.number == 0)


def test_pattern_zero_is_there_where_no_voxel_has_all_maps():
    model, data = study(20)
    data[:] = np.nan_to_num(data)
    data[2] = np.nan
    patterns = fitted(model, data)[3]
    assert lacking(patterns) == [[], [2]]
    assert (patterns.number == 1).all()
    assert patterns.dof.tolist() == [12, 11]


def test_complete_data_give_the_same_bits_as_without_patterns():
    model, data = study(2 * VOXELS_PER_TILE + 17, share=0.0)
    data[:, 1::6] = np.random.default_rng(2).standard_normal(data[:, 1::6].shape)
    *found, patterns = fitted(model, data)
    for values, expected in zip(
        found, fit_tiles(model, lambda a, b: data[:, a:b], data.shape[1]), strict=True
    ):
        np.testing.assert_array_equal(values, expected)
    assert lacking(patterns) == [[]]
    assert not patterns.number.any()
    np.testing.assert_array_equal(patterns.covariance, [model.covariance])
    betas, variance, _ = found
    for weights, test in ((T, "t"), (F, "F")):
        maps, dof = maps_of(model, data, weights, test)
        plain, plain_dof = contrast_maps(
            weights, test, betas, variance, model.covariance, model.dof, "two-sided"
        )
        assert dof == plain_dof
        for name, values in plain.items():
            np.testing.assert_array_equal(maps[name], values)


def test_complete_voxels_have_the_same_bits_beside_incomplete_ones():
    model, data = study(VOXELS_PER_TILE + 500)
    whole = np.where(np.isnan(data), 1.5, data)
    complete = np.isfinite(data).all(axis=0)
    for values, expected in zip(fitted(model, data)[:3], fitted(model, whole)[:3], strict=True):
        np.testing.assert_array_equal(values[..., complete], expected[..., complete])


def test_complete_data_are_read_once():
    model, data = study(VOXELS_PER_TILE + 100, share=0.0)
    data[:] = np.nan_to_num(data)
    spans = []

    def read(start, stop):
        spans.append((start, stop))
        return data[:, start:stop]

    fit_by_pattern(model, read, data.shape[1])
    assert spans == [(0, VOXELS_PER_TILE), (VOXELS_PER_TILE, data.shape[1])]
    data[3, -1] = np.nan
    fit_by_pattern(model, read, data.shape[1])
    # The tile that holds the gap is read again.
    assert spans[2:] == [spans[0], spans[1], spans[1]]


def test_tiles_do_not_matter_to_patterns():
    model, data = study(2 * VOXELS_PER_TILE + 40)
    betas, variance, _, patterns = fitted(model, data)
    some = np.random.default_rng(3).choice(data.shape[1], 200, replace=False)
    few = fitted(model, data[:, some])
    np.testing.assert_allclose(betas[:, some], few[0], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(variance[some], few[1], rtol=1e-10)
    np.testing.assert_array_equal(patterns.voxel_dof[some], few[3].voxel_dof)


def test_order_of_the_maps_does_not_matter():
    model, data = study()
    order = np.random.default_rng(4).permutation(N)
    shuffled = LinearModel(model.matrix[order], COLUMNS)
    for weights, test in ((T, "t"), (F, "F")):
        found = maps_of(shuffled, data[order], weights, test)[0]
        expected = maps_of(model, data, weights, test)[0]
        for name in found:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-8, atol=1e-11)


def test_statistics_of_patterns_are_those_of_each_pattern_alone():
    model, data = study()
    betas, variance, _, patterns = fitted(model, data)
    args = betas, variance
    t = t_contrast(T[0], *args, patterns.covariance, patterns.number)[2]
    f = f_contrast(F, *args, patterns.covariance, patterns.number)[2]
    for index in np.flatnonzero(patterns.determine(np.vstack([T, F]))):
        voxels = patterns.number == index
        own = betas[:, voxels], variance[voxels], patterns.covariance[index]
        np.testing.assert_allclose(t[voxels], t_contrast(T[0], *own)[2], rtol=1e-12)
        np.testing.assert_allclose(f[voxels], f_contrast(F, *own)[2], rtol=1e-12)


def test_patterns_can_be_found_again_from_the_rows_they_lack():
    model, data = study()
    patterns = fitted(model, data)[3]
    again = VoxelPatterns.of(model, patterns.number, patterns.missing)
    np.testing.assert_array_equal(again.covariance, patterns.covariance)
    np.testing.assert_array_equal(again.dof, patterns.dof)


def test_model_without_maps():
    model, _ = study()
    smaller = model.without((0, 4))
    np.testing.assert_array_equal(smaller.matrix, np.delete(model.matrix, (0, 4), axis=0))
    assert (smaller.columns, smaller.dof) == (COLUMNS, 10)
    assert model.without(range(N)) is None
    assert model.without((13, 14, 15)).rank == 3
    assert model.without(range(12)) is None
    np.testing.assert_array_equal(model.without(()).covariance, model.covariance)


@pytest.mark.parametrize("unit", [1e-9, 1, 1e9])
@pytest.mark.parametrize("scale", [1e-9, 1, 1e9])
def test_patterns_determine_each_row_by_itself(scale, unit):
    """The last group lacks all maps, and a covariate has a weight and a unit of its own."""
    rng = np.random.default_rng(2)
    dose = (rng.standard_normal(12) + 3) * unit
    matrix = np.column_stack([np.eye(3)[np.repeat([0, 1, 2], 4)], dose])
    model = LinearModel(matrix, ("a", "b", "c", "dose"))
    patterns = VoxelPatterns.of(model, np.array([0, 1]), (bytes(2), bytes([0, 0xF0])))
    cov, lost, kept = [0, 0, 0, scale], [1.0, 0, -1, 0], [1.0, -1, 0, 0]
    for rows, determined in (
        ([cov], True),
        ([kept, cov], True),
        ([np.add(kept, cov)], True),
        ([lost], False),
        ([lost, cov], False),
        ([np.add(lost, cov)], False),
        ([lost, kept], False),
    ):
        assert patterns.determine(np.array(rows)).tolist() == [True, determined]
