"""Maps combined into one, against weighted least squares of every voxel."""

import numpy as np
import pytest

from nipype_group.stats.combined_maps import MapWeight, combine_maps, sum_maps

N, V = 5, 40


@pytest.fixture
def maps():
    rng = np.random.default_rng(2)
    effects, variances = rng.standard_normal((N, V)), np.exp(2 * rng.standard_normal((N, V)))
    effects[1, 3], variances[2, 4], variances[3, 5], variances[:, 6] = np.nan, 0, -1, np.nan
    return effects, variances


def test_weighted_means_are_weighted_least_squares(maps):
    effects, variances = maps
    found = combine_maps(zip(effects, variances, strict=True))
    for v in range(V):
        here = np.isfinite(effects[:, v]) & (variances[:, v] > 0)
        assert found.count[v] == here.sum()
        if not here.any():
            assert np.isnan(found.effect[v]) and np.isnan(found.variance[v])
            continue
        scale = np.sqrt(variances[here, v])
        x = (1 / scale)[:, None]
        beta = np.linalg.lstsq(x, effects[here, v] / scale, rcond=None)[0]
        np.testing.assert_allclose(found.effect[v], beta[0], rtol=1e-12)
        np.testing.assert_allclose(found.variance[v], 1 / (x.T @ x)[0, 0], rtol=1e-12)
    assert found.count.min() == 0 and (found.count == N - 1).sum() == 3


def test_means_are_of_the_maps_that_are_there(maps):
    effects, _ = maps
    found = combine_maps((own, None) for own in effects)
    np.testing.assert_allclose(found.effect, np.nanmean(effects, axis=0), rtol=1e-12)
    assert found.variance is None and found.count[3] == N - 1


def test_maps_with_and_without_variances_are_not_mixed(maps):
    effects, variances = maps
    with pytest.raises(ValueError, match="others have none"):
        combine_maps([(effects[0], variances[0]), (effects[1], None)])
    with pytest.raises(ValueError, match="no map"):
        combine_maps([])


def test_a_sum_of_means_by_variances_is_what_weighted_averages_give():
    rng = np.random.default_rng(5)
    effects, variances = rng.standard_normal((5, 40)), rng.uniform(0.5, 2, (5, 40))
    effects[1, 3] = effects[4, 6] = np.nan
    weights = [MapWeight("a", p, -0.5, 1.0) for p in "12"]
    weights += [MapWeight("b", "1", 2.0, w) for w in (3.0, -1.0, 0.25)]
    found, fewer = sum_maps(zip(effects, variances, strict=True), weights)
    first = np.ma.average(np.ma.masked_invalid(effects[:2]), axis=0, weights=1 / variances[:2])
    second = np.array([3.0, -1.0, 0.25])
    here = np.arange(40) != 6
    expected = -0.5 * first.filled(np.nan) + 2 * second @ effects[2:]
    np.testing.assert_allclose(found.effect[here], expected[here], rtol=1e-12)
    spread = 0.25 / (1 / variances[:2]).sum(axis=0) + 4 * second**2 @ variances[2:]
    here &= np.arange(40) != 3
    np.testing.assert_allclose(found.variance[here], spread[here], rtol=1e-12)
    assert np.isnan(found.effect[6])
    assert np.flatnonzero(fewer).tolist() == [3]
