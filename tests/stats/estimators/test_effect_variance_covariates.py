"""Effects with variances and covariates that are maps, against a fit of every voxel by itself."""

from types import SimpleNamespace

import numpy as np
import pytest

from nipype_group.stats.estimators.effect_variance import METHODS, fit_known_variances
from nipype_group.stats.estimators.map_covariates import MapCovariates
from nipype_group.stats.linear.least_squares import LinearModel

N, V = 14, 40
CONSTANT, COLLINEAR, GAPS = 2, 5, (7, 8, 9)
CONTRASTS = (
    ([[0, 0, 0, 1.0]], "t"),
    ([[1.0, 0, 0, 0]], "t"),
    ([[0, 1.0, 0, 0], [0, 0, 0, 1]], "F"),
)


@pytest.fixture(scope="module")
def made():
    """Return the shared columns, maps, variances and a covariate, with voxels that are odd."""
    rng = np.random.default_rng(1)
    matrix = np.column_stack([np.ones(N), np.arange(N) % 2, rng.random(N)])
    grey, variances = rng.standard_normal((N, V)) + 3, np.exp(rng.standard_normal((N, V)))
    spread = variances + rng.choice([0, 2.0], V)
    data = 0.5 * grey + np.sqrt(spread) * rng.standard_normal((N, V))
    grey[:, CONSTANT], grey[:, COLLINEAR] = 1.0, 2 * matrix[:, 1] + 1
    data[3, GAPS[0]], grey[4, GAPS[1]], variances[5, GAPS[2]] = np.nan, np.nan, 0.0
    return matrix, data, variances, grey


def fitted(matrix, data, variances, method, grey=None):
    """Fit maps, shape (n, v), with the covariate beside the columns where it is given."""
    own = None
    if grey is not None:
        own = MapCovariates(
            ("grey",),
            lambda start, stop: grey[None, :, start:stop],
            lambda rows: (grey[None, row] for row in rows),
            centred=True,
        )
    return fit_known_variances(
        LinearModel(matrix, tuple(f"x{i}" for i in range(matrix.shape[1]))),
        lambda start, stop: data[:, start:stop],
        data.shape[1],
        SimpleNamespace(
            read=lambda start, stop: variances[:, start:stop],
            maps=lambda rows: (variances[row] for row in rows),
        ),
        method,
        "adhoc",
        covariates=own,
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_voxel_is_fitted_with_all_its_columns(made, method):
    matrix, data, variances, grey = made
    fit = fitted(matrix, data, variances, method, grey)
    found = [fit.contrast(np.array(rows), test) for rows, test in CONTRASTS]
    residuals = np.stack(list(fit.residuals(lambda rows: (data[row] for row in rows))))
    for v in range(V):
        if v in (CONSTANT, COLLINEAR):
            assert not any(own.dof[v] or own.stat[v] for own in found)
            continue
        there = np.isfinite(data[:, v] + grey[:, v]) & (variances[:, v] > 0)
        covariate = grey[there, v] - grey[there, v].mean()
        columns = np.column_stack([matrix[there], covariate])
        alone = fitted(columns, data[there, v : v + 1], variances[there, v : v + 1], method)
        for own, (rows, test) in zip(found, CONTRASTS, strict=True):
            expected = alone.contrast(np.array(rows), test)
            for name in ("effect", "variance", "stat", "dof"):
                value = getattr(expected, name)[0]
                np.testing.assert_allclose(getattr(own, name)[v], value, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(fit.between.tau2[0, v], alone.between.tau2[0, 0], rtol=1e-9)
        if v not in GAPS:
            left = list(alone.residuals(lambda rows, v=v: (data[row, v : v + 1] for row in rows)))
            np.testing.assert_allclose(residuals[:, v], np.ravel(left), rtol=1e-7, atol=1e-9)
    assert np.flatnonzero(fit.components["constantCovariate"]).tolist() == [CONSTANT]
    assert np.flatnonzero(fit.components["collinearCovariate"]).tolist() == [COLLINEAR]
    assert any("grey has one value in all maps" in note for note in fit.notes)


def test_groups_have_a_variance_each_beside_a_covariate(made):
    """Groups that share no column are fitted apart."""
    data, variances, grey = (own[:, 10:30] for own in made[1:])
    group = np.arange(N) % 2
    fit = fit_known_variances(
        LinearModel(np.eye(2)[group], ("a", "b")),
        lambda start, stop: data[:, start:stop],
        20,
        SimpleNamespace(read=lambda start, stop: variances[:, start:stop], maps=None),
        "mixed-effects",
        groups=group,
        covariates=MapCovariates(
            ("grey a", "grey b"),
            lambda start, stop: np.stack([grey * (group == g)[:, None] for g in (0, 1)])[
                ..., start:stop
            ],
            lambda rows: iter(()),
        ),
    )
    for g in (0, 1):
        rows = group == g
        for v in range(20):
            columns = np.column_stack([np.ones(rows.sum()), grey[rows, v]])
            alone = fitted(
                columns, data[rows, v : v + 1], variances[rows, v : v + 1], "mixed-effects"
            )
            tau2 = alone.between.tau2[0, 0]
            np.testing.assert_allclose(fit.between.tau2[g, v], tau2, rtol=1e-6, atol=1e-9)


def test_bits_of_a_voxel_depend_on_no_other(made):
    matrix, data, variances, grey = made
    whole = fitted(matrix, data, variances, "mixed-effects", grey).contrast(np.eye(4)[3:], "t")
    part = (own[:, 20:31] for own in (data, variances))
    own = fitted(matrix, *part, "mixed-effects", grey[:, 20:31]).contrast(np.eye(4)[3:], "t")
    assert own.stat.tobytes() == whole.stat[20:31].tobytes()


def test_covariates_that_leave_no_residual_are_refused(made):
    matrix, data, variances, grey = (own[:4] for own in made)
    with pytest.raises(ValueError, match="nothing is left to estimate the residual variance"):
        fitted(matrix, data, variances, "paule-mandel", grey)
