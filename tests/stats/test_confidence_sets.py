"""Confidence sets against crtoolbox and plain loops, and how often they hold the true set."""

import numpy as np
import pytest
from scipy import ndimage, stats

from nipype_group.stats import confidence_sets as module
from nipype_group.stats.confidence_sets import boundary_of, confidence_sets
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.neighbours import neighbour_list

SIDE = 40
NEIGHBOURS = neighbour_list(np.ones((SIDE, SIDE, 1), bool), 6)
MEAN = LinearModel(np.ones((30, 1)), ("mean",))
X, Y = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
BUMP = 3 * np.exp(-((X - 19.5) ** 2 + (Y - 19.5) ** 2) / 200)
RAMP = np.repeat(np.linspace(0, 4, SIDE)[:, None], SIDE, axis=1)


def reading(data):
    return lambda start, stop: data[:, start:stop]


def flat(images):
    """Return images, shape (n, x, y), as maps in the order of neighbour lists."""
    return images.transpose(0, 2, 1).reshape(len(images), -1)


@pytest.fixture(scope="module")
def maps():
    noise = np.random.default_rng(5).standard_normal((30, SIDE, SIDE))
    noise = ndimage.gaussian_filter(noise, (0, 3, 3))
    return flat(noise / noise.std() + BUMP)


def sets_of(data, level=2.0, model=MEAN, weights=(1.0,), **how):
    return confidence_sets(
        model, np.array(weights), reading(data), data.shape[1], NEIGHBOURS, level, **how
    )


def test_the_quantile_is_that_of_crtoolbox(maps):
    # crtoolbox 0.2.0, bootstrap_resids with these signs; its residuals are float32.
    found = sets_of(maps, n_draws=500, seed=3)
    assert found.n_boundary == 72
    np.testing.assert_allclose(np.percentile(found.largest, 95), 3.12959414, rtol=1e-7)
    # The 475th of 500, where numpy's percentile goes on towards the next.
    assert found.quantile == np.sort(found.largest)[474]


def test_sets_lie_within_each_other_and_at_their_distance(maps):
    found = sets_of(maps, n_draws=200)
    assert 0 < found.inner.sum() < found.above.sum() < found.outer.sum() < maps.shape[1]
    assert not (found.inner & ~found.above).any() and not (found.above & ~found.outer).any()
    mean, error = maps.mean(axis=0), maps.std(axis=0, ddof=1) / np.sqrt(30)
    np.testing.assert_allclose(found.error, error, rtol=1e-10)
    assert (found.inner == (mean >= 2 + found.quantile * error)).all()
    assert (found.outer == (mean >= 2 - found.quantile * error)).all()


def test_draws_of_a_regression_are_those_of_plain_loops(maps):
    rng = np.random.default_rng(2)
    matrix = np.column_stack([np.ones(30), rng.standard_normal(30), np.arange(30) % 2])
    model = LinearModel(matrix, ("one", "age", "group"))
    data = maps + matrix[:, [1]] * flat(BUMP[None])
    row = np.array([0.0, 1, 0.1])
    found = sets_of(data, 1.0, model, row, n_draws=40, seed=8)
    inverse = np.linalg.inv(matrix.T @ matrix)
    betas = inverse @ matrix.T @ data
    leverage = np.diag(matrix @ inverse @ matrix.T)
    residuals = (data - matrix @ betas) / np.sqrt(1 - leverage)[:, None]
    estimate = row @ betas
    for draw, signs in enumerate(module._drawn_signs(40, 30, 8)):
        drawn = signs[:, None] * residuals
        b = inverse @ matrix.T @ drawn
        variance = np.square(drawn - matrix @ b).sum(axis=0) / 27
        t = row @ b / np.sqrt(variance * (row @ inverse @ row))
        largest = 0.0
        for v in range(SIDE * SIDE):
            for u in NEIGHBOURS[v][NEIGHBOURS[v] > v]:
                if (estimate[v] >= 1) != (estimate[u] >= 1):
                    share = (1 - estimate[u]) / (estimate[v] - estimate[u])
                    largest = max(largest, abs(share * t[v] + (1 - share) * t[u]))
        np.testing.assert_allclose(found.largest[draw], largest, rtol=1e-9)


def test_a_level_in_d_has_the_error_of_d(maps):
    found = sets_of(maps, 1.5, unit="d", n_draws=200, seed=4)
    d = maps.mean(axis=0) / maps.std(axis=0, ddof=1)
    np.testing.assert_allclose(found.estimate, d, rtol=1e-10)
    np.testing.assert_allclose(found.error, np.sqrt(1 / 30 + d**2 / 58), rtol=1e-10)
    # What a map adds to d: its mean's part, less half of d times its variance's.
    standard = (maps - maps.mean(axis=0)) / maps.std(axis=0, ddof=1) / np.sqrt(1 - 1 / 30)
    series = standard - d / 2 * (standard**2 - 1)
    boundary = boundary_of(d, 1.5, NEIGHBOURS, np.ones(len(d), bool))
    for draw, signs in enumerate(module._drawn_signs(200, 30, 4)[:20]):
        t = stats.ttest_1samp(signs[:, None] * series, 0).statistic
        largest = np.abs(boundary.interpolate(t[boundary.voxels])).max()
        np.testing.assert_allclose(found.largest[draw], largest, rtol=1e-9)


def test_neither_threads_nor_more_draws_change_a_draw(maps):
    whole, threads = sets_of(maps, n_draws=100), sets_of(maps, n_draws=100, n_threads=3)
    assert whole.largest.tobytes() == threads.largest.tobytes()
    assert sets_of(maps, n_draws=50).largest.tobytes() == whole.largest[:50].tobytes()
    assert sets_of(maps, n_draws=100, seed=1).quantile != whole.quantile


def test_a_level_that_no_estimate_meets_takes_all_voxels(maps):
    found = sets_of(maps, 9.0, n_draws=100, seed=6)
    assert found.everywhere and found.n_boundary == SIDE * SIDE
    assert not found.above.any() and not found.inner.any()
    residuals = maps - maps.mean(axis=0)
    signs = module._drawn_signs(100, 30, 6)
    t = stats.ttest_1samp(signs[:, :, None] * residuals, 0, axis=1).statistic
    np.testing.assert_allclose(found.largest, np.abs(t).max(axis=1), rtol=1e-9)


def test_voxels_without_all_maps_have_sets_and_no_part_in_the_quantile(maps):
    gaps = maps.copy()
    gaps[4, 700:760] = np.nan
    gaps[:, 800:810] = 2.5
    gaps[2:, 30] = np.nan
    gaps[:29, 31] = np.nan
    found = sets_of(gaps, n_draws=100)
    estimate = np.nanmean(gaps, axis=0)
    usable = np.isfinite(gaps).all(axis=0) & (gaps.std(axis=0) > 0)
    boundary = boundary_of(estimate, 2.0, NEIGHBOURS, usable)
    assert found.n_boundary == len(boundary.first) and not usable[700:760].any()
    np.testing.assert_allclose(
        found.error[700:760], gaps[:, 700:760][np.arange(30) != 4].std(axis=0, ddof=1) / 29**0.5
    )
    dead = np.r_[800:810, 31]
    assert not found.outer[dead].any() and not found.inner[dead].any()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"unit": "percent"}, "effect, d, got 'percent'"),
        ({"confidence": 1.0}, "no confidence of 1"),
        ({"n_draws": 10}, "10 draws tell no confidence of 0.95"),
        ({"level": np.nan}, "the level is a number, got nan"),
    ],
)
def test_bad_choices_are_refused(maps, how, message):
    with pytest.raises(ValueError, match=message):
        sets_of(maps, **how)


def test_maps_without_a_complete_voxel_are_refused(maps):
    gaps = maps.copy()
    gaps[0] = np.nan
    with pytest.raises(ValueError, match="No voxel has all maps"):
        sets_of(gaps)


def test_maps_whose_signs_tell_nothing_are_refused(maps):
    with pytest.raises(ValueError, match="5 maps have 16 patterns of signs"):
        sets_of(maps[:5], model=LinearModel(np.ones((5, 1)), ("mean",)))
    # Its map has no residual, and others say nothing of its deviation.
    alone = LinearModel(np.eye(2)[np.repeat([0, 1], [29, 1])], ("many", "one"))
    with pytest.raises(ValueError, match="a column that one map alone has"):
        sets_of(maps, model=alone, weights=(1.0, -1))
    assert sets_of(maps, model=alone, weights=(1.0, 0), n_draws=100).n_boundary


@pytest.mark.parametrize("unit", ["effect", "d"])
def test_sets_hold_the_true_one_as_often_as_they_say(unit):
    rng, n_studies, held = np.random.default_rng(7), 150, 0
    truth, level = (RAMP, 2.0) if unit == "effect" else (RAMP / 2, 1.0)
    true = flat(truth[None])[0]
    boundary = boundary_of(true, level, NEIGHBOURS, np.ones(len(true), bool))
    for study in range(n_studies):
        noise = ndimage.gaussian_filter(rng.standard_normal((30, 60, 60)), (0, 3, 3))
        noise = noise[:, 10:50, 10:50] * 6 * np.sqrt(np.pi)
        found = sets_of(flat(noise + truth), level, unit=unit, n_draws=400, seed=study)
        estimate, error = found.estimate[boundary.voxels], found.error[boundary.voxels]
        # Between voxels too, where the true set ends (Bowring 2019, section 2.4).
        high = boundary.interpolate(estimate - found.quantile * error) >= level
        low = boundary.interpolate(estimate + found.quantile * error) < level
        wrong = (found.inner & (true < level)) | (~found.outer & (true >= level))
        held += not (wrong.any() or high.any() or low.any())
    lowest = {"effect": 0.93, "d": 0.95}[unit]
    assert held / n_studies >= stats.binom.ppf(0.001, n_studies, lowest) / n_studies
