"""Means of regions and their models: statsmodels, scipy, all sign flips, single voxels."""

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from nipype_group.design.contrasts import Contrast
from nipype_group.design.error_terms import error_term
from nipype_group.design.matrix import Design
from nipype_group.permutation.plan import ContrastTest, make_plan
from nipype_group.permutation.regions import permute_regions
from nipype_group.stats.linear.least_squares import LinearModel, contrast_maps, fit_by_pattern
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.region_means import fit_estimator, fit_own_error, fit_regions, region_means

N, V, K = 12, 400, 23
TAILS = ("two-sided", "positive", "negative")


@pytest.fixture
def matrix():
    rng = np.random.default_rng(3)
    return np.column_stack([np.ones(N), rng.standard_normal(N), np.arange(N) % 2])


@pytest.fixture
def maps():
    return np.random.default_rng(4).standard_normal((N, V)) * 3 + 1


@pytest.fixture
def numbers():
    """Region of every voxel; 5 of 23 have a voxel or none."""
    numbers = np.random.default_rng(5).integers(-1, 18, V)
    numbers[numbers == 7] = 6
    numbers[:2] = 20, K - 1
    return numbers


def names(matrix):
    return tuple(f"c{i}" for i in range(matrix.shape[1]))


def test_means_are_those_of_the_voxels(maps, numbers):
    halves = np.repeat([0, 1], V // 2)
    means, of_halves = region_means(iter(maps), [numbers, halves])
    assert means.shape == (N, K)
    for k in range(K):
        here = numbers == k
        if here.any():
            np.testing.assert_allclose(means[:, k], maps[:, here].mean(axis=1), rtol=1e-12)
        else:
            assert np.isnan(means[:, k]).all()
    np.testing.assert_allclose(of_halves[:, 1], maps[:, V // 2 :].mean(axis=1), rtol=1e-12)


def test_regions_need_voxels_and_maps_half_of_them(maps):
    numbers = np.repeat([0, 1, 2], [10, 4, V - 14])
    maps[2, :5] = np.nan
    maps[3, :6] = np.nan
    (means,) = region_means(maps, [numbers], min_voxels=5)
    assert np.isnan(means[:, 1]).all()
    assert np.flatnonzero(np.isnan(means[:, 0])).tolist() == [3]
    assert means[2, 0] == pytest.approx(maps[2, 5:10].mean())
    # Half of ten voxels are fewer than six.
    (means,) = region_means(maps, [numbers], min_voxels=6)
    assert np.flatnonzero(np.isnan(means[:, 0])).tolist() == [2, 3]
    with pytest.raises(ValueError, match="min_voxels is a number of voxels >= 1, got 0"):
        region_means(maps, [numbers], min_voxels=0)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("tail", TAILS)
def test_regions_agree_with_statsmodels(matrix, maps, numbers, gaps, tail):
    (means,) = region_means(maps, [numbers])
    if gaps:
        means[np.random.default_rng(1).random(means.shape) < 0.15] = np.nan
    fit = fit_regions(LinearModel(matrix, names(matrix)), means)
    assert fit.has_missing == gaps
    t_row, f_rows = np.array([[0, 1, -0.5]]), np.array([[0, 1, 0], [0, 0, 1.0]])
    t, f = fit.contrast(t_row, "t", tail), fit.contrast(f_rows, "F", tail)
    for k in range(K):
        has = np.isfinite(means[:, k])
        if not has.any():
            assert all(np.isnan(values[k]) for values in t.values())
            continue
        result = sm.OLS(means[has, k], matrix[has]).fit()
        oracle = result.t_test(t_row)
        p = oracle.pvalue.item()
        if tail != "two-sided":
            p = stats.t.sf(oracle.tvalue.item() * (1 if tail == "positive" else -1), has.sum() - 3)
        expected = oracle.effect.item(), oracle.sd.item() ** 2, oracle.tvalue.item(), p
        got = t["effect"][k], t["variance"][k], t["stat"][k], t["p_unc"][k]
        np.testing.assert_allclose(got, expected, rtol=1e-9)
        oracle = result.f_test(f_rows)
        np.testing.assert_allclose(
            (f["stat"][k], f["p_unc"][k]), (oracle.fvalue, oracle.pvalue), rtol=1e-9
        )
        assert t["dof"][k] == f["dof"][k] == has.sum() - 3


def test_one_sample_and_two_samples_agree_with_scipy(maps, numbers):
    (means,) = region_means(maps, [numbers])
    known = np.isfinite(means).any(axis=0)
    group = np.arange(N) % 2
    one = fit_regions(LinearModel(np.ones((N, 1)), ("one",)), means)
    expected = stats.ttest_1samp(means[:, known], 0)
    found = one.contrast(np.ones((1, 1)), "t", "two-sided")
    np.testing.assert_allclose(found["stat"][known], expected.statistic, rtol=1e-9)
    np.testing.assert_allclose(found["p_unc"][known], expected.pvalue, rtol=1e-9)
    two = fit_regions(LinearModel(np.column_stack([1 - group, group]), ("a", "b")), means)
    expected = stats.ttest_ind(means[group == 1][:, known], means[group == 0][:, known])
    found = two.contrast(np.array([[-1.0, 1.0]]), "t", "two-sided")
    np.testing.assert_allclose(found["stat"][known], expected.statistic, rtol=1e-9)


def test_adjusted_p_are_those_of_the_regions_with_a_statistic(matrix, maps, numbers):
    (means,) = region_means(maps, [numbers], min_voxels=5)
    found = fit_regions(LinearModel(matrix, names(matrix)), means).contrast(
        np.array([[0, 1.0, 0]]), "t", "two-sided"
    )
    p = found["p_unc"]
    known = np.isfinite(p)
    assert 0 < known.sum() < K
    np.testing.assert_allclose(found["p_bonferroni"][known], np.minimum(p[known] * known.sum(), 1))
    fdr = stats.false_discovery_control(p[known])
    np.testing.assert_allclose(found["p_fdr"][known], fdr)
    holm = sm.stats.multipletests(p[known], method="holm")[1]
    np.testing.assert_allclose(found["p_holm"][known], holm)
    for name in ("p_fdr", "p_bonferroni", "p_holm"):
        np.testing.assert_array_equal(np.isfinite(found[name]), known)


@pytest.mark.parametrize("gaps", [False, True])
def test_regions_of_one_voxel_are_the_voxels(matrix, maps, gaps):
    if gaps:
        maps[np.random.default_rng(2).random(maps.shape) < 0.05] = np.nan
    (means,) = region_means(maps, [np.arange(V)])
    np.testing.assert_array_equal(means, maps)
    model = LinearModel(matrix, names(matrix))
    betas, variance, _, patterns = fit_by_pattern(model, lambda a, b: maps[:, a:b], V)
    fit = fit_regions(model, means)
    for weights, test in ((np.array([[0, 1.0, 0]]), "t"), (np.eye(3)[1:], "F")):
        how = {"covariance": model.covariance, "dof": model.dof}
        if gaps:
            how = {
                "covariance": patterns.covariance,
                "dof": patterns.dof,
                "pattern": patterns.number,
                "determined": patterns.determine(weights),
            }
        voxels, _ = contrast_maps(weights, test, betas, variance, tail="two-sided", **how)
        regions = fit.contrast(weights, test, "two-sided")
        names_of = {"effect": "effect", "stat": "stat", "z": "zscore", "p": "p_unc"}
        for name, own in (names_of | {"effect_size": "effect_size"}).items():
            np.testing.assert_array_equal(regions[own], voxels[name])


def test_effect_of_a_region_is_the_mean_effect_of_its_voxels(matrix, maps, numbers):
    model = LinearModel(matrix, names(matrix))
    (means,) = region_means(maps, [numbers])
    effect = fit_regions(model, means).contrast(np.array([[0, 1.0, 0]]), "t", "positive")["effect"]
    betas, *_ = fit_by_pattern(model, lambda a, b: maps[:, a:b], V)
    here = numbers == 3
    np.testing.assert_allclose(effect[3], betas[1, here].mean(), rtol=1e-10)


def flipped_maxima(data, tail):
    """Return the largest t of every sign flip, the unflipped one first."""
    side = {"two-sided": np.abs, "positive": lambda t: t, "negative": np.negative}[tail]
    n = len(data)
    every = np.array(list(product((1.0, -1.0), repeat=n)))
    mean = every @ data / n
    variance = (np.square(data).sum(axis=0) - n * mean**2) / (n - 1)
    heights = side(mean / np.sqrt(variance / n))
    return heights[0], heights.max(axis=1)


@pytest.mark.parametrize("tail", TAILS)
def test_permutation_p_is_that_of_all_sign_flips(tail):
    rng = np.random.default_rng(9)
    data = rng.standard_normal((9, 6)) + np.array([1.2, 0, -0.8, 0.1, 0, 0.4])
    keys = {"participant_id": [f"sub-{i}" for i in range(9)]}
    design = Design(pd.DataFrame(keys), np.ones((9, 1)), ("mean",))
    contrast = Contrast("mean", "t", np.ones((1, 1)), "mean")
    test = ContrastTest(ShuffleStatistics(tail=tail))
    plan = make_plan(design, [contrast], 5000, 0, test)
    ((name, family),) = plan.families.items()
    assert plan.n_shuffles(name) == 2**9
    means = np.insert(data, 2, np.nan, axis=1)
    fit = fit_regions(design.model, means)
    shuffled = test.shuffled(design.model, contrast, family.scheme)
    p = fit.permutation_p(contrast.weights, shuffled, plan.n_shuffles(name), tail)
    observed, maxima = flipped_maxima(data, tail)
    expected = (maxima[:, None] >= observed - 1e-9).mean(axis=0)
    np.testing.assert_allclose(np.delete(p, 2), expected, rtol=1e-12)
    assert np.isnan(p[2])


def f_within(values):
    """Return F of three levels, shape (n, 3, k), on the error of levels by participants."""
    about = values - values.mean(axis=1, keepdims=True)
    levels = about.mean(axis=0)
    error = np.square(about - levels).sum(axis=(0, 1)) / (2 * (len(values) - 1))
    return len(values) * np.square(levels).sum(axis=0) / 2 / error


@pytest.mark.parametrize("how", ["signs", "levels"])
def test_permutation_p_on_an_own_error_is_that_of_all_shuffles(how):
    n = 7 if how == "signs" else 4
    rng = np.random.default_rng(9)
    values = rng.standard_normal((n, 3, 5)) + np.array([[0.0], [0.6], [1.2]]) * [1, 0, 0.4, 0, 2]
    rows = [(f"sub-{i}", level) for i in range(n) for level in "abc"]
    keys = pd.DataFrame(rows, columns=["participant_id", "a"])
    coded = np.tile([[1, 1, 0], [1, 0, 1], [1, -1, -1.0]], (n, 1))
    design = Design(keys, coded, ("intercept", "a[a]", "a[b]"), within=("a",))
    contrast = Contrast("a", "F", np.eye(3)[1:], "a")
    test = ContrastTest(within_shuffling=how)
    plan = make_plan(design, [contrast], 5000, 0, test)
    means = np.insert(values.reshape(3 * n, -1), 2, np.nan, axis=1)
    fit = fit_own_error(error_term(design, contrast.weights, "F", "a"), means, "none")
    found = permute_regions(plan, test, design, {"a": [fit]})["a"]
    about = values - values.mean(axis=1, keepdims=True)
    if how == "signs":
        shuffled = [about * np.reshape(s, (n, 1, 1)) for s in product((1, -1), repeat=n)]
    else:
        orders = list(map(list, permutations(range(3))))
        shuffled = [
            np.stack([about[i, order] for i, order in enumerate(chosen)])
            for chosen in product(orders, repeat=n)
        ]
    maxima = np.array([f_within(own).max() for own in shuffled])
    expected = (maxima[:, None] >= f_within(values) * (1 - 1e-9)).mean(axis=0)
    np.testing.assert_allclose(np.delete(found.p[0], 2), expected, rtol=1e-12)
    assert np.isnan(found.p[0][2])
    assert len(set(expected)) > 3
    assert found.settings["Shuffles"] == plan.n_shuffles(*plan.families)


def test_permutation_p_of_a_robust_fit_is_that_of_all_sign_flips():
    rng = np.random.default_rng(2)
    means = rng.standard_t(2, (7, 4)) + [0, 1.5, 3, 0]
    design = Design(
        pd.DataFrame({"participant_id": [f"sub-{i}" for i in range(7)]}),
        np.ones((7, 1)),
        ("intercept",),
    )
    contrast = Contrast("mean", "t", np.ones((1, 1)), "intercept")
    test = ContrastTest(estimator="huber")
    plan = make_plan(design, [contrast], 5000, 0, test)
    fit = fit_estimator("huber", design.model, np.insert(means, 1, np.nan, axis=1), {})
    (p,) = permute_regions(plan, test, design, {"mean": [fit]})["mean"].p
    of_all = np.array(
        [
            fit_estimator("huber", design.model, means * np.reshape(signs, (7, 1)), {}).contrast(
                np.ones((1, 1)), "t", "two-sided"
            )["stat"]
            for signs in product((1, -1), repeat=7)
        ]
    )
    maxima = np.abs(of_all).max(axis=1)[:, None]
    expected = (maxima >= np.abs(of_all[0]) * (1 - 1e-7)).mean(axis=0)
    np.testing.assert_allclose(np.delete(p, 1), expected, rtol=1e-12)
    assert np.isnan(p[1]) and len(set(expected)) > 2


def test_an_atlas_outside_the_mask_has_no_tests(matrix, maps):
    (means,) = region_means(maps, [np.full(V, -1)])
    assert means.shape == (N, 0)
    model = LinearModel(matrix, names(matrix))
    for means in (np.empty((N, 0)), np.full((N, 3), np.nan)):
        fit = fit_regions(model, means)
        for test, weights in (("t", np.array([[0, 1.0, 0]])), ("F", np.eye(3))):
            found = fit.contrast(weights, test, "two-sided")
            assert {values.size for values in found.values()} == {means.shape[1]}
            assert all(np.isnan(values).all() for values in found.values())
        assert np.isnan(fit.permutation_p(np.eye(3)[:1], None, 10, "two-sided")).all()


def test_a_region_without_a_group_has_no_statistic_and_is_no_test(matrix, maps, numbers):
    (means,) = region_means(maps, [numbers])
    means[matrix[:, 2] == 1, 4] = np.nan
    found = fit_regions(LinearModel(matrix, names(matrix)), means).contrast(
        np.array([[0, 0, 1.0]]), "t", "two-sided"
    )
    assert all(np.isnan(values[4]) for values in found.values())
    known = np.isfinite(found["p_unc"])
    np.testing.assert_allclose(
        found["p_bonferroni"][known], np.minimum(found["p_unc"][known] * known.sum(), 1)
    )


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize(("test", "rows"), [("t", [[0, 0, 1.0]]), ("F", [[0, 1.0, 0], [0, 0, 1]])])
def test_regions_that_the_design_fits_are_no_tests(matrix, maps, numbers, test, rows, tail, gap):
    """Equal values, and groups that differ by exactly 1, up to the rounding of float32."""
    (means,) = region_means(maps, [numbers])
    means[:, 2] = 4.0
    means[:, 4] = matrix[:, 2] + np.float32(0.1)
    means[:, 4] += np.arange(N) % 3 * 2.0**-30
    if gap:
        means[0, [4, 9]] = np.nan
    model, weights = LinearModel(matrix, names(matrix)), np.array(rows)
    fit = fit_regions(model, means)
    found = fit.contrast(weights, test, tail)
    others = np.isfinite(means).any(axis=0)
    others[[2, 4]] = False
    for values in found.values():
        np.testing.assert_array_equal(np.isfinite(values), others)
    np.testing.assert_allclose(
        found["p_bonferroni"][others], np.minimum(found["p_unc"][others] * others.sum(), 1)
    )
    lost, without_noise = fit.not_tested(weights, test)
    assert (np.flatnonzero(lost).tolist(), np.flatnonzero(without_noise).tolist()) == ([2, 4], [4])
    # Nor do they take part in shuffles.
    design = Design(
        pd.DataFrame({"participant_id": [str(i) for i in range(N)]}), matrix, names(matrix)
    )
    contrast = Contrast("c", test, weights, "c")
    permutation = ContrastTest(ShuffleStatistics(tail=tail), varying_dof=gap)
    plan = make_plan(design, [contrast], 50, 1, permutation)
    ((name, family),) = plan.families.items()
    shuffles = {
        "contrast": permutation.shuffled(model, contrast, family.scheme),
        "n_shuffles": plan.n_shuffles(name),
        "tail": tail,
    }
    p = fit.permutation_p(weights, **shuffles)
    np.testing.assert_array_equal(np.isfinite(p), others)
    alone = fit_regions(model, np.where(others, means, np.nan)).permutation_p(weights, **shuffles)
    np.testing.assert_array_equal(p, alone)
