"""What the tests of estimators share: reading reference results, and the likelihood by itself."""

import numpy as np
import pandas as pd
import pytest

from nipype_group.stats.estimators.effect_variance import fit_effect_variance
from nipype_group.stats.linear.least_squares import LinearModel


@pytest.fixture(scope="session")
def metafor(shared):
    """Return a function that reads a table of metafor's results, and its data as arrays."""
    folder = shared / "oracles/models/meta"

    def read(name):
        return pd.read_csv(folder / f"{name}.csv")

    return read


def _fit_maps(matrix, effects, variances, method="mixed-effects", **options):
    """Fit maps held in arrays, shape (n, v)."""
    return fit_effect_variance(
        LinearModel(matrix, tuple(f"x{i}" for i in range(matrix.shape[1]))),
        lambda a, b: effects[:, a:b],
        lambda a, b: variances[:, a:b],
        effects.shape[1],
        method,
        **options,
    )


@pytest.fixture(scope="session")
def fit_maps():
    """Return the function that fits arrays of maps."""
    return _fit_maps


def _restricted_likelihood(tau2, effects, variances, matrix):
    """Return the restricted log likelihood of voxels by dense matrices, shape (v,)."""
    found = np.empty(effects.shape[1])
    for v in range(effects.shape[1]):
        weight = 1.0 / (variances[:, v] + tau2[..., v])
        cross = (matrix.T * weight) @ matrix
        left = effects[:, v] - matrix @ np.linalg.solve(cross, matrix.T @ (weight * effects[:, v]))
        found[v] = np.log(weight).sum() - np.linalg.slogdet(cross)[1] - (weight * left) @ left
    return found / 2


@pytest.fixture(scope="session")
def restricted_likelihood():
    """Return the function that computes the restricted likelihood without ours."""
    return _restricted_likelihood
