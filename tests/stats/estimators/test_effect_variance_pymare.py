"""Effects with variances against the references of metafor 4.6 that PyMARE's wheel ships.

Those of closed form are equal; metafor's search for the restricted likelihood ends at an absolute
1e-5 by default, so there the digits are fewer and the likelihood of ours is at least theirs.
"""

import importlib.util
import json
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nipype_group.stats.estimators.shuffled.effect_variance import statistic_of_shuffles
from nipype_group.stats.linear.least_squares import LinearModel

METHODS = {"FE": "fixed-effects", "DL": "dersimonian-laird", "REML": "mixed-effects"}
FACTORS = {"z": "none", "knha": "plain", "adhoc": "adhoc"}
COLUMNS = {"intercept": [], "one": ["mod1"], "two": ["mod1", "mod2"]}


@pytest.fixture(scope="module")
def folder():
    # Its package is not imported, as it takes seconds.
    found = importlib.util.find_spec("pymare")
    if found is None:
        pytest.skip("PyMARE is a peer of benchmarks alone")
    return Path(found.origin).parent / "tests" / "data"


@pytest.mark.parametrize("test", FACTORS)
@pytest.mark.parametrize("method", METHODS)
def test_all_cases_equal_the_references(method, test, folder, fit_maps, restricted_likelihood):
    cases = json.loads((folder / "metafor_reference.json").read_text())["cases"]
    cases = [c for c in cases if (c["method"], c["test"]) == (method, test)]
    assert len(cases) == 12
    table = pd.read_csv(folder / "metafor_small_sample.csv")
    exact = {"rtol": 1e-9, "atol": 1e-12}
    close = {"rtol": 1e-4, "atol": 1e-5} if method == "REML" else exact
    for case in cases:
        rows = table[table["case"] == case["design"]]
        columns = [rows[name].to_numpy() for name in COLUMNS[case["model"]]]
        matrix = np.column_stack([np.ones(len(rows)), *columns])
        y, s = rows[["y"]].to_numpy(), rows[["v"]].to_numpy()
        fit = fit_maps(matrix, y, s, METHODS[method], level=0.95, knapp_hartung=FACTORS[test])
        between = fit.between
        np.testing.assert_allclose(between.q[0], case["QE"], **exact)
        np.testing.assert_allclose(between.q_p[0], case["QEp"], **exact)
        np.testing.assert_allclose(between.tau2[0, 0], case["tau2"], **close)
        np.testing.assert_allclose(between.i2[0], case["I2"], **close)
        np.testing.assert_allclose(between.h2[0], case["H2"], **close)
        if case["tau2_ci_ub"] is not None:
            ends = [case["tau2_ci_lb"], case["tau2_ci_ub"]]
            np.testing.assert_allclose([between.lower[0], between.upper[0]], ends, **exact)
        found = [fit.contrast(row, "t") for row in np.eye(len(matrix.T))]
        np.testing.assert_allclose([f.effect[0] for f in found], case["beta"], **close)
        np.testing.assert_allclose([f.variance[0] ** 0.5 for f in found], case["se"], **close)
        if method == "REML":
            ours = restricted_likelihood(between.tau2[0], y, s, matrix)
            theirs = restricted_likelihood(np.array([case["tau2"]]), y, s, matrix)
            assert ours >= theirs - 1e-12


def test_exact_p_of_all_shuffles_are_those_of_permutest(folder):
    cases = json.loads((folder / "metafor_permutest_reference.json").read_text())["cases"]
    table = pd.read_csv(folder / "metafor_small_sample.csv")
    for case in cases:
        rows = table[table["case"] == case["design"]]
        n = len(rows)
        columns = [rows[name].to_numpy() for name in COLUMNS[case["model"]]]
        model = LinearModel(
            np.column_stack([np.ones(n), *columns]), ("intercept", *COLUMNS[case["model"]])
        )
        if columns:
            orders, signs = np.array(list(permutations(range(n)))), np.ones((1, n))
        else:
            orders, signs = np.arange(n)[None], np.array(list(product([1.0, -1], repeat=n)))
        orders, signs = np.broadcast_arrays(orders, signs)
        assert len(orders) == case["n_perm"]
        for j in range(1 + len(columns)):
            found = statistic_of_shuffles(
                model,
                np.eye(1 + len(columns))[j],
                "t",
                rows[["y"]].to_numpy(),
                rows[["v"]].to_numpy(),
                orders,
                signs,
                method=METHODS[case["method"]],
            )[:, 0]
            np.testing.assert_allclose(found[0], case["zval"][j], rtol=1e-10)
            p = (np.abs(found) >= np.abs(found[0]) * (1 - 1e-9)).mean()
            np.testing.assert_allclose(p, case["pval"][j], rtol=1e-12)
