"""Count false positives of random effects, the sandwich and robust fits, without effects.

    python tests/simulations/estimators_null.py [--studies 20000] [--shuffled-studies 1000]
        [--output FILE]

Every voxel is a study of its own: nothing is taken over voxels, and all studies of a row have one
design. By shuffles a study has several voxels, whose largest is compared with those of shuffles.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from measured_on import current_commit, machine
from threadpoolctl import threadpool_limits

from nipype_group.stats.estimators import fit_by_contrast
from nipype_group.stats.estimators.shuffled.clusters import TIE_TOLERANCE
from nipype_group.stats.estimators.shuffled.random_effects import shuffled_random_effects
from nipype_group.stats.estimators.shuffled.sandwich import shuffled_sandwich
from nipype_group.stats.linear.least_squares import LinearModel, contrast_maps, fit_tiles

ALPHAS = (0.05, 0.01, 0.001)
_SEED = 20
# Visits of participants, in turn: dropouts.
_VISITS = (4, 3, 2, 4, 1)
# Voxels of a study by shuffles, studies that share their shuffles, and shuffles.
_VOXELS, _ALIKE, SHUFFLES = 10, 50, 199
_SHUFFLED = ("means", "slopes, unequal groups")
# What is between and along visits, in units of a map's noise.
_BETWEEN, _ALONG = 1.0, 0.6


@dataclass(frozen=True)
class Studies:
    """Studies of one kind.

    Parameters
    ----------
    matrix : array, shape (n, p)
        Their design.
    data : array, shape (n, v)
        Maps without effects, a column a study.
    contrasts : dict of array
        Rows of every contrast.
    given : dict
        What estimators need.
    estimators : dict of str
        Estimators by the name in the table.
    """

    matrix: np.ndarray
    data: np.ndarray
    contrasts: dict
    given: dict
    estimators: dict


def longitudinal(n, truth, n_studies, rng, between=_BETWEEN):
    """Return studies of n participants in two groups, with up to four visits.

    `truth` says whether participants differ in their means ("means"), in slopes too ("slopes"),
    or also, in one group, twice as much as in the other ("slopes, unequal groups"); `between`,
    a number or one a study, by how much in their means.
    """
    cluster = np.repeat(np.arange(n), [_VISITS[i % len(_VISITS)] for i in range(n)])
    visit = np.concatenate([np.arange(m) for m in np.bincount(cluster)]).astype(float)
    group = (cluster % 2).astype(float)
    own = rng.standard_normal((2, n, n_studies))[:, cluster]
    data = between * own[0] + rng.standard_normal((len(cluster), n_studies))
    if truth != "means":
        data += _ALONG * own[1] * visit[:, None]
    if "unequal" in truth:
        data *= (1 + group)[:, None]
    matrix = np.column_stack([np.ones(len(cluster)), group, visit, group * visit])
    contrasts = {"group": [[0, 1, 0, 0]], "group x time": [[0, 0, 0, 1]]}
    contrasts["both (F)"] = [[0, 1, 0, 0], [0, 0, 0, 1]]
    given = {"clusters": cluster, "dof": "kenward-roger"}
    estimators = {
        "Random intercepts": ("random-effects", {"slopes": None}),
        "and slopes": ("random-effects", {"slopes": (visit, True)}),
        "CR2": ("sandwich", {}),
        "CR0": ("sandwich-cr0", {}),
    }
    return Studies(matrix, data, contrasts, given, estimators)


def independent(sizes, errors, n_studies, rng):
    """Return studies of two groups with one map a participant and a covariate.

    `errors` are "normal", of "heavy tails" (t with 3 degrees of freedom), with "outliers" (one in
    ten has a standard deviation of 6), or "unequal": 3 times as large in the first group.
    """
    group = np.repeat([0.0, 1.0], sizes)
    data = rng.standard_normal((len(group), n_studies))
    if errors == "heavy tails":
        data /= np.sqrt(rng.chisquare(3, data.shape) / 3)
    elif errors == "outliers":
        data[rng.random(data.shape) < 0.1] *= 6
    elif errors == "unequal":
        data[group == 0] *= 3
    covariate = rng.standard_normal(len(group))
    matrix = np.column_stack([np.ones(len(group)), group, covariate])
    contrasts = {"group": [[0, 1, 0]], "covariate": [[0, 0, 1]]}
    names = {"Huber": "huber", "MM": "mm", "HC3": "hc3"}
    estimators = {"Least squares": (None, {})} | {k: (name, {}) for k, name in names.items()}
    return Studies(matrix, data, contrasts, {}, estimators)


def scenarios():
    """Return what makes the studies of every row, by name."""
    found = {}
    for n in (12, 40):
        for truth in ("means", "slopes", "slopes, unequal groups"):
            found[f"{n} participants, {truth}"] = (longitudinal, n, truth)
    for errors in ("normal", "heavy tails", "outliers"):
        found[f"15 against 15, {errors}"] = (independent, (15, 15), errors)
    found["8 against 20, unequal"] = (independent, (8, 20), "unequal")
    return found


def simulate(n_studies):
    """Return a row a scenario, contrast and estimator with its errors at every alpha."""
    rows = []
    with threadpool_limits(1):
        for number, (name, (make, *of)) in enumerate(scenarios().items()):
            studies = make(*of, n_studies, np.random.default_rng([_SEED, number]))
            for estimator, (own, more) in studies.estimators.items():
                for contrast, p in p_values(studies, own, studies.given | more):
                    errors = [int((p <= alpha).sum()) for alpha in ALPHAS]
                    row = {"scenario": name, "contrast": contrast, "estimator": estimator}
                    rows.append(row | {"studies": n_studies, "errors": errors})
    return rows


def p_values(studies, estimator, given):
    """Yield every contrast and its two-sided p in every study."""
    model = LinearModel(studies.matrix, tuple("abcd"[: studies.matrix.shape[1]]))
    n_studies = studies.data.shape[1]

    def read(start, stop):
        return studies.data[:, start:stop]

    if estimator is None:
        betas, variance, _ = fit_tiles(model, read, n_studies)
    else:
        fit = fit_by_contrast(estimator, model, read, n_studies, given)
    for name, rows in studies.contrasts.items():
        weights, test = np.array(rows, dtype=float), "t" if len(rows) == 1 else "F"
        if estimator is None:
            maps, _ = contrast_maps(
                weights, test, betas, variance, model.covariance, model.dof, "two-sided"
            )
        else:
            maps = fit.contrast(weights, test).maps(test, "two-sided")
        yield name, maps["p"]


def shuffled_rows(n_studies):
    """Return a row a scenario, contrast and estimator of signs of whole participants.

    ``errors`` are of voxels, ``largest`` of the largest of each study.
    """
    rows = []
    with threadpool_limits(1):
        for number, (name, (make, *of)) in enumerate(scenarios().items()):
            if make is not longitudinal or of[-1] not in _SHUFFLED:
                continue
            rng = np.random.default_rng([_SEED, number, SHUFFLES])
            studies = make(*of, n_studies * _VOXELS, rng)
            model = LinearModel(studies.matrix, tuple("abcd"))
            for contrast in ("group", "group x time"):
                weights = np.array(studies.contrasts[contrast], dtype=float)
                given = model, weights, "t", studies.given["clusters"]
                for estimator, own in {
                    "Random intercepts": shuffled_random_effects(*given, None),
                    "held": shuffled_random_effects(*given, None, True),
                    "CR2": shuffled_sandwich(*given),
                }.items():
                    p, largest = p_by_signs(own, studies, rng)
                    row = {"scenario": name, "contrast": contrast, "estimator": estimator}
                    row |= {"studies": n_studies, "voxels": len(p)}
                    row["errors"] = [int((p <= alpha).sum()) for alpha in ALPHAS[:2]]
                    row["largest"] = [int((largest <= alpha).sum()) for alpha in ALPHAS[:2]]
                    rows.append(row)
    return rows


def p_by_signs(own, studies, rng, n_voxels=_VOXELS):
    """Return the p of every voxel, and of the largest of every study of so many."""
    clusters, n = studies.given["clusters"], len(studies.data)
    orders = np.tile(np.arange(n), (SHUFFLES + 1, 1))
    p, largest = [], []
    size = n_voxels * _ALIKE
    for start in range(0, studies.data.shape[1], size):
        signs = rng.choice([-1.0, 1], (SHUFFLES + 1, clusters.max() + 1))
        signs[0] = 1
        prepared = own.prepare({"effects": studies.data[:, start : start + size]})
        heights = np.abs(own.statistic(prepared, orders, signs[:, clusters]))
        maxima = heights.reshape(SHUFFLES + 1, -1, n_voxels).max(axis=2)
        for found, values in ((p, heights), (largest, maxima)):
            found.append((values >= values[0] * (1 - TIE_TOLERANCE)).mean(axis=0))
    return np.concatenate(p), np.concatenate(largest)


def main(argv=None):
    """Run the simulation and write its rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--shuffled-studies", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=Path("docs/estimators_null.json"))
    arguments = parser.parse_args(argv)
    start = time.monotonic()
    rows = simulate(arguments.studies)
    shuffled = shuffled_rows(arguments.shuffled_studies)
    commit = current_commit()
    content = {
        "commit": commit,
        "machine": machine("numpy", "scipy", "numba"),
        "seconds": round(time.monotonic() - start),
        "alphas": ALPHAS,
        "studies": arguments.studies,
        "rows": rows,
        "shuffled": {
            "studies": arguments.shuffled_studies,
            "voxels": _VOXELS,
            "shuffles": SHUFFLES,
            "rows": shuffled,
        },
    }
    arguments.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
