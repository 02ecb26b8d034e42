"""Maps combined into one, against weighted least squares of every voxel."""

import numpy as np
import pytest

from nipype_group.stats.combined_maps import combine_maps

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
