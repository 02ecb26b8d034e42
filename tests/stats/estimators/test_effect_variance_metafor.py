"""Effects with variances against R's metafor, all voxels of its tables.

Where its search for the highest restricted likelihood ends at another maximum, or at the border,
what is compared is the likelihood itself.
"""

from dataclasses import replace

import numpy as np
import pytest

METHODS = {
    "FE": "fixed-effects",
    "DL": "dersimonian-laird",
    "PM": "paule-mandel",
    "REML": "mixed-effects",
}
DESIGNS = ("onesamp", "cov", "group")
CLOSE = {"rtol": 1e-8, "atol": 0}


@pytest.fixture(scope="module")
def data(metafor):
    """Return effects and variances, shape (30, voxels), the voxels' names and the design."""
    table = metafor("data")
    wide = [table.pivot(index="row", columns="voxel", values=name) for name in ("y", "v")]
    design = metafor("design").set_index("row").loc[wide[0].index]
    return *(w.to_numpy() for w in wide), wide[0].columns.to_numpy(), design


def matrix_of(design, name):
    """Return the design matrix of a model."""
    columns = [np.ones(len(design))]
    if name in ("group", "both"):
        columns.append((design["group2"] == "B").to_numpy(dtype=float))
    if name in ("cov", "both"):
        columns.append(design["cov1_c"].to_numpy())
    return np.column_stack(columns)


@pytest.fixture(scope="module")
def fits(data, fit_maps):
    """Return the fit of every design and method at all voxels."""
    effects, variances, _, design = data
    return {
        (name, method): fit_maps(matrix_of(design, name), effects, variances, ours, level=0.95)
        for name in (*DESIGNS, "both")
        for method, ours in METHODS.items()
    }


def rows_of(table, voxels, **chosen):
    """Return the rows of a model in the order of voxels, and the positions of these."""
    for column, value in chosen.items():
        table = table[table[column] == value]
    table = table.set_index("voxel")
    at = np.flatnonzero(np.isin(voxels, table.index))
    return table.loc[voxels[at]], at


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("design", DESIGNS)
def test_tau2_and_what_follows_from_it_equal_metafor(design, method, metafor, data, fits, agree):
    _, variances, voxels, _ = data
    theirs, at = rows_of(metafor("result_fit"), voxels, design=design, method=method)
    assert len(theirs) == (48 if method == "REML" else 24)
    ours = fits[design, method].between
    # Where tau2 is next to nothing beside the variances, its digits are theirs.
    scale = np.median(variances[:, at], axis=0)
    np.testing.assert_array_less(np.abs(ours.tau2[0, at] - theirs["tau2"]), 1e-10 * scale + 1e-300)
    inside = theirs["boundary"].to_numpy() == 0
    agree(
        "R metafor", f"{method}: tau2", ours.tau2[0, at][inside], theirs["tau2"][inside], **CLOSE
    )
    np.testing.assert_allclose(ours.i2[at], theirs["I2"], rtol=1e-8, atol=1e-7)
    agree("R metafor", f"{method}: H2", ours.h2[at], theirs["H2"], **CLOSE)
    np.testing.assert_allclose(ours.scale[at], theirs["s2w"], **CLOSE)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("design", DESIGNS)
def test_effects_and_their_errors_equal_metafor(design, method, metafor, data, fits, agree):
    _, _, voxels, _ = data
    for index, term in enumerate(("intercept", "x") if design != "onesamp" else ("intercept",)):
        theirs, at = rows_of(
            metafor("result_coef"), voxels, design=design, method=method, term=term
        )
        assert len(theirs) == (48 if method == "REML" else 24)
        weights = np.eye(1 if design == "onesamp" else 2)[index]
        for rule, factor in (("z", "none"), ("knha", "plain"), ("adhoc", "adhoc")):
            found = replace(fits[design, method], knapp_hartung=factor).contrast(weights, "t")
            agree("R metafor", f"{method}: effect", found.effect[at], theirs["b"], **CLOSE)
            agree(
                "R metafor",
                f"{method}: error",
                np.sqrt(found.variance[at]),
                theirs[f"se_{rule}"],
                **CLOSE,
            )
            if rule == "z" and method == "FE":
                p = found.maps("t", "two-sided")["p"][at]
                np.testing.assert_allclose(p, theirs["p_z"], rtol=1e-4)
            elif rule != "z":
                p = found.maps("t", "two-sided")["p"][at]
                np.testing.assert_allclose(p, theirs[f"p_{rule}"], rtol=1e-7)


@pytest.mark.parametrize("design", DESIGNS)
def test_heterogeneity_equals_metafor(design, metafor, data, fits, agree):
    _, variances, voxels, _ = data
    theirs, at = rows_of(metafor("result_hetero"), voxels, design=design)
    assert len(theirs) == 48
    ours = fits[design, "REML"].between
    agree("R metafor", "heterogeneity: Q", ours.q[at], theirs["QE"], **CLOSE)
    np.testing.assert_allclose(ours.q_p[at], theirs["QEp"], **CLOSE)
    agree("R metafor", "interval of tau2: lower", ours.lower[at], theirs["tau2_lb"], **CLOSE)
    agree("R metafor", "interval of tau2: upper", ours.upper[at], theirs["tau2_ub"], **CLOSE)
    assert ours.patterns.voxel_dof[at].tolist() == (theirs["k"] - theirs["p"]).tolist()
    assert (theirs["tau2_lb"] > 0).any() and (theirs["tau2_lb"] == 0).any()


@pytest.mark.parametrize("method", ["FE", "DL", "REML"])
def test_two_moderators_equal_metafor(method, metafor, data, fits):
    _, variances, voxels, _ = data
    theirs, at = rows_of(metafor("result_two_moderators"), voxels, method=method)
    assert len(theirs) == 48
    fitted = fits["both", method]
    scale = np.median(variances[:, at], axis=0)
    np.testing.assert_array_less(
        np.abs(fitted.between.tau2[0, at] - theirs["tau2"]), 1e-10 * scale + 1e-300
    )
    for index, term in enumerate(("b_intercept", "b_groupB", "b_cov1")):
        found = fitted.contrast(np.eye(3)[index], "t")
        np.testing.assert_allclose(found.effect[at], theirs[term], **CLOSE)
    both = np.eye(3)[1:]
    found = fitted.contrast(both, "F")
    np.testing.assert_allclose(2 * found.stat[at], theirs["QM_z"], **CLOSE)
    adjusted = replace(fitted, knapp_hartung="plain").contrast(both, "F")
    np.testing.assert_allclose(adjusted.stat[at], theirs["QM_knha"], **CLOSE)
    assert adjusted.rank == 2
    assert set(adjusted.dof) == {27}


@pytest.mark.parametrize("design", DESIGNS)
def test_the_restricted_likelihood_is_at_least_that_of_metafor(
    design, metafor, data, fits, restricted_likelihood
):
    effects, variances, voxels, table = data
    theirs, at = rows_of(metafor("result_fit"), voxels, design=design, method="REML")
    matrix = matrix_of(table, design)
    ours = restricted_likelihood(fits[design, "REML"].between.tau2[0], effects, variances, matrix)
    other = restricted_likelihood(theirs["tau2"].to_numpy(), effects, variances, matrix)
    assert (ours - other).min() > -1e-11
