"""Whitened residuals of random effects, against the dense covariance of all maps."""

import numpy as np
import pytest

from nipype_group.stats.estimators.random_effects import fit_random_effects
from nipype_group.stats.linear.least_squares import LinearModel


@pytest.mark.parametrize("slope", [None, True, False])
def test_their_lengths_are_those_that_the_covariance_gives(slope):
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(9), [1, 2, 3, 4, 3, 2, 4, 3, 2])[rng.permutation(24)]
    times = rng.integers(0, 4, 24) + 0.25 * rng.standard_normal(24)
    own = rng.standard_normal((2, 9, 6))[:, clusters]
    data = own[0] + 0.7 * own[1] * times[:, None] + rng.standard_normal((24, 6))
    data[4, 5] = np.nan
    model = LinearModel(np.column_stack([np.ones(24), times]), ("intercept", "time"))
    slopes = None if slope is None else (times, slope)

    def read(start, stop):
        return data[:, start:stop]

    fit = fit_random_effects(model, read, 6, clusters, slopes, "kenward-roger")
    # Maps come cluster by cluster, whatever their order.
    found = np.array(list(fit.residuals(lambda rows: (data[row] for row in rows))))
    assert found.shape == (24, 6) and np.isnan(found[:, 5]).all()
    order = np.argsort(clusters, kind="stable")
    maps = fit.components
    together = np.equal.outer(clusters, clusters)
    for voxel in range(5):
        parts = {name: values[voxel] for name, values in maps.items()}
        between = np.full((24, 24), parts["varIntercept"])
        if slope is not None:
            sums = times[:, None] + times
            between += parts["covInterceptSlope"] * sums
            between += parts["varSlope"] * np.outer(times, times)
        v = together * between + parts["varResidual"] * np.eye(24)
        inverse = np.linalg.inv(v)
        x, y = model.matrix, data[:, voxel]
        left = y - x @ np.linalg.solve(x.T @ inverse @ x, x.T @ inverse @ y)
        values, vectors = np.linalg.eigh(v / parts["varResidual"])
        expected = (vectors / np.sqrt(values)) @ vectors.T @ left
        np.testing.assert_allclose(found[:, voxel], expected[order], rtol=1e-7, atol=1e-9)
