"""What an estimator refuses of a design is refused before any map is read."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.contrasts import Contrast
from nipype_group.design.foreseen import check_estimable
from nipype_group.design.matrix import Design
from nipype_group.design.participants.clusters import (
    needs_of,
    with_clusters,
    with_shared_covariance,
)
from nipype_group.design.participants.variance_groups import with_variance_groups
from nipype_group.design.repeated_measures import design_of_model
from nipype_group.stats.estimators import ESTIMATORS, fit_by_contrast
from nipype_group.stats.estimators.map_covariates import MapCovariates

N = 12
TABLE = pd.DataFrame(
    {
        "participant_id": [f"s{i // 2}" for i in range(N)],
        "visit": [str(i % 2) for i in range(N)],
        "half": ["ab"[i // 6] for i in range(N)],
        "alone": ["no"] * (N - 1) + ["yes"],
        "map": [f"{i}.nii" for i in range(N)],
    }
)
ONE, WITHIN = np.ones(N), np.arange(N) % 2.0
# Columns beside a constant.
MATRICES = {
    "plain": [WITHIN],
    "a map alone": [np.arange(N) == 0],
    "a participant alone": [np.arange(N) < 2],
    "columns of all participants": [np.arange(N) // 2 == i for i in range(1, 6)] + [WITHIN],
    "as many columns as maps": [np.arange(N) == i for i in range(1, N)],
}


def variances():
    class Maps:
        def read(self, start, stop):
            return np.ones((N, stop - start))

        def maps(self, rows):
            return (np.ones(4) for _ in rows)

    return Maps()


def design_for(estimator, columns):
    """Return a design as the analyses of an estimator have it."""
    names = ("one", *(f"x{i}" for i in range(len(columns))))
    keys = TABLE[["participant_id", "visit", "map"]]
    design = Design(keys, np.column_stack([ONE, *columns]).astype(float), names)
    needs = ESTIMATORS[estimator].needs
    if "visits" in needs:
        return with_shared_covariance(design, TABLE, "visit", None)
    if "clusters" in needs and estimator != "random-effects":
        return with_clusters(design, TABLE)
    if "groups" in needs:
        return with_variance_groups(design, TABLE, "alone")
    return design


def refusal(call):
    try:
        call()
    except ValueError as error:
        return str(error)
    return None


def fitted(design, contrast, estimator):
    """Fit maps of noise, and say what is refused of them."""
    noise = np.random.default_rng(3).standard_normal((N, 4))
    given = needs_of(design) | {
        "dof": "kenward-roger",
        "knapp_hartung": "none",
        "variances": variances(),
    }
    if "covariance" in given:
        given["covariance"] = np.eye(N)
    if estimator == "map-covariates":
        own = np.random.default_rng(4).standard_normal((1, N, 4))
        given["covariates"] = MapCovariates(
            ("grey",), lambda a, b: own[:, :, a:b], lambda rows: (own[:, i] for i in rows)
        )
    fit = fit_by_contrast(estimator, design.model, lambda a, b: noise[:, a:b], 4, given)
    fit.contrast(contrast.weights, contrast.test)


GRID = [
    (name, kind)
    for name, own in ESTIMATORS.items()
    for kind in MATRICES
    if own.by_contrast and name != "random-effects"
]


@pytest.mark.parametrize(("estimator", "kind"), GRID)
def test_a_design_is_refused_where_its_fit_would_be(estimator, kind):
    columns = MATRICES[kind]
    whole = refusal(lambda: design_for(estimator, columns))
    if whole is not None:
        return
    design = design_for(estimator, columns)
    covariates = ("grey",) if estimator == "map-covariates" else ()
    design = replace(design, map_covariates=covariates)
    rows = np.eye(len(design.contrast_columns))[1:2]
    contrast = Contrast("x", "t", rows, "")
    foreseen = refusal(lambda: check_estimable(design, [contrast], estimator))
    found = refusal(lambda: fitted(design, contrast, estimator))
    assert (foreseen or "").removeprefix("contrast 'x': ") == (found or "")
    if kind == "as many columns as maps":
        assert foreseen is not None
    if kind == "a map alone" and estimator in ("mm", "hc3"):
        assert foreseen.startswith("contrast 'x': ")


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("visit + (1 | participant_id)", None),
        ("C(participant_id) + (1 | participant_id)", "do not tell the variance components"),
    ],
)
def test_random_effects_that_nothing_tells_are_refused(formula, said):
    table = TABLE.assign(visit=[f"v{v}" for v in TABLE["visit"]])
    found = refusal(lambda: of_random(formula, table))
    assert (found is None) if said is None else (said in found)


def of_random(formula, table):
    design = design_of_model(formula, table, ["visit"])
    contrast = Contrast("x", "t", np.eye(len(design.columns))[-1:], "")
    check_estimable(design, [contrast], "random-effects")
