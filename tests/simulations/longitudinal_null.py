"""Count false positives of random slopes by signs, clusters of voxels, SwE and one covariance.

    python tests/simulations/longitudinal_null.py [--studies 1000] [--output FILE]

Studies are those of estimators_null.py: two groups with one to four visits a participant, without
effects. Every row has a seed of its own, and is written when it is there; rows that the file has
from a run that was interrupted are kept.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pandas as pd
from estimators_null import ALPHAS, SHUFFLES, longitudinal, p_by_signs, p_values
from measured_on import current_commit, machine
from permutation_null import FORMING_P, SIGMA_VOXELS, SIGNS, STATISTICS, correlation_root
from threadpoolctl import threadpool_limits

from nipype_group.design.contrasts import build_contrasts
from nipype_group.design.matrix import Design
from nipype_group.design.participants.clusters import with_clusters, with_random_effects
from nipype_group.design.participants.random_effects import RandomEffects
from nipype_group.permutation.plan import ContrastTest, make_plan
from nipype_group.permutation.units import units_of
from nipype_group.stats.estimators.shuffled.random_effects import shuffled_random_effects
from nipype_group.stats.estimators.shuffled.sandwich import shuffled_sandwich
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.permutation.p_values import fwe_p, null_of_maxima
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.statistics import ShuffleStatistics

_SEED = 21
SLOPES, UNEQUAL = "slopes", "slopes, unequal groups"
SIZES = (12, 40)
COLUMNS = ("intercept", "group", "visit", "group:visit")
CONTRASTS = ("group", "group x time", "both (F)")
# Voxels of a study by signs.
VOXELS = 3
# The volume that clusters form in, and its shuffles.
SHAPE, CLUSTER_SHUFFLES = (5, 5, 4), 99
# Studies by SwE's sandwich for one of the others, and voxels that share a covariance.
SWE_TIMES, POOLED_VOXELS = 20, 100
# The mean of maps whose covariance is estimated: voxels of all maps' F are taken.
_MEAN = 6.0
# What random effects and the sandwich are called, how they are fitted and what is held.
SIGNED = {
    "slopes, again": ("random-effects", True, False),
    "slopes, held": ("random-effects", True, True),
    "intercepts, again": ("random-effects", False, False),
    "intercepts, held": ("random-effects", False, True),
    "CR2": ("sandwich", False, False),
}


def by_signs(n, truth, contrast, n_studies, number):
    """Yield errors of voxels and largest voxels of studies, a row an estimator."""
    studies = longitudinal(n, truth, n_studies * VOXELS, np.random.default_rng([_SEED, number]))
    model, clusters = LinearModel(studies.matrix, COLUMNS), studies.given["clusters"]
    weights = np.array(studies.contrasts[contrast], dtype=float)
    given = model, weights, "t" if len(weights) == 1 else "F", clusters
    for name, (estimator, sloped, held) in SIGNED.items():
        # Of t, estimators_null.py has those without slopes.
        if not sloped and len(weights) == 1:
            continue
        if estimator == "sandwich":
            own = shuffled_sandwich(*given)
        else:
            slopes = (studies.matrix[:, COLUMNS.index("visit")], True) if sloped else None
            own = shuffled_random_effects(*given, slopes, held)
        rng = np.random.default_rng([_SEED, number, 1])
        p, largest = p_by_signs(own, studies, rng, VOXELS)
        row = {"contrast": contrast, "estimator": name, "voxels": len(p)}
        row["errors"] = _counts(p, ALPHAS[:2])
        yield row | {"largest": _counts(largest, ALPHAS[:2])}


def _counts(p, alphas):
    return [int((p <= alpha).sum()) for alpha in alphas]


def planned(studies, contrast, name, n_shuffles):
    """Return how a contrast is shuffled, as a user's is planned."""
    estimator, sloped, held = SIGNED[name]
    keys = pd.DataFrame({"participant_id": [f"{c:02d}" for c in studies.given["clusters"]]})
    keys["visit"] = studies.matrix[:, COLUMNS.index("visit")].astype(int).astype(str)
    design = Design(keys, studies.matrix, COLUMNS)
    if estimator == "sandwich":
        design = with_clusters(design, keys)
    else:
        random = RandomEffects("participant_id", "visit" if sloped else None)
        design = with_random_effects(design, keys, random)
    rows = "; ".join(_written(row) for row in studies.contrasts[contrast])
    contrasts = build_contrasts([f"tested={rows}"], design, by_permutation=True)
    # Both sides are looked at.
    forming_p = FORMING_P * (2 if contrasts[0].test == "t" else 1)
    statistics = ShuffleStatistics(STATISTICS, cluster_forming_p=forming_p)
    held_or_again = "held" if held else "again"
    test = ContrastTest(statistics, estimator=estimator, shuffled_estimates=held_or_again)
    plan = make_plan(design, contrasts, n_shuffles, _SEED, test)
    ((how, family),) = plan.families.items()
    units = units_of(design, *family.contrasts)
    return how, test.shuffled_units(units, family.scheme), statistics


def _written(row):
    return " + ".join(f"`{name}`" for name, weight in zip(COLUMNS, row, strict=True) if weight)


def smoothed(maps):
    """Return white noise as noise smoothed in the volume, every row a map."""
    fields = maps.reshape(len(maps), *SHAPE)
    for side in reversed(SHAPE):
        fields = np.moveaxis(fields @ correlation_root(side).T, -1, 1)
    return fields.reshape(len(maps), -1)


def by_clusters(n, truth, contrast, name, n_studies, number):
    """Yield errors of the largest voxel, cluster and enhanced voxel of studies, one row."""
    n_voxels = int(np.prod(SHAPE))
    errors, mask = dict.fromkeys(STATISTICS, 0), np.ones(SHAPE, dtype=bool)
    how, contrast_of, statistics = None, None, None
    for study in range(n_studies):
        studies = longitudinal(n, truth, n_voxels, np.random.default_rng([_SEED, number, study]))
        if contrast_of is None:
            how, contrast_of, statistics = planned(studies, contrast, name, CLUSTER_SHUFFLES)
        maps = smoothed(studies.data)
        scheme = replace(contrast_of.scheme, seed=study)
        (result,) = run_shuffles(
            lambda start, stop, maps=maps: maps[:, start:stop],
            mask,
            [replace(contrast_of, scheme=scheme)],
            statistics,
            0,
            CLUSTER_SHUFFLES + 1,
        )
        sides = SIGNS["two-sided" if contrast_of.signed else "positive"]
        for test in STATISTICS:
            null = null_of_maxima(result.nulls, test, sides)
            errors[test] += bool(fwe_p(null[0], null) <= ALPHAS[0])
    yield {"contrast": contrast, "estimator": name, "shuffling": how, "errors": errors}


def by_shared_covariance(n, truth, estimator, of, n_studies, number):
    """Yield errors of voxels with a covariance of visits, of all or of each group, by contrast.

    SwE's is of every voxel, the other of the voxels of a study together; where these are unlike,
    participants do not differ in half of them, and in the others four times as much.
    """
    rng, swe = np.random.default_rng([_SEED, number]), estimator == "sandwich-swe"
    n_voxels = n_studies * (SWE_TIMES if swe else POOLED_VOXELS)
    unlike = truth == "means, voxels unlike"
    between = np.where(np.arange(n_voxels) % 2, 2.0, 0.0) if unlike else 1.0
    studies = longitudinal(n, truth.split(", voxels")[0], n_voxels, rng, between)
    visit, group = studies.matrix[:, 2].astype(int), studies.matrix[:, 1].astype(int)
    given = {"participants": studies.given["clusters"], "visits": visit, "covariance": None}
    given["covariance_groups"] = group if of == "each group" else np.zeros_like(group)
    size = n_voxels if swe else POOLED_VOXELS
    errors = {contrast: np.zeros(len(ALPHAS), dtype=int) for contrast in CONTRASTS}
    for start in range(0, n_voxels, size):
        own = replace(studies, data=_MEAN + studies.data[:, start : start + size])
        for contrast, p in p_values(own, estimator, given):
            errors[contrast] += _counts(p, ALPHAS)
    for contrast, found in errors.items():
        row = {"contrast": contrast, "estimator": estimator, "covariance": of}
        yield row | {"voxels": n_voxels, "errors": found.tolist()}


def work():
    """Return kind, scenario, what makes its rows and of what, in the order that they are made."""
    found = []
    for n in SIZES:
        for estimator in ("sandwich-swe", "pooled-reml"):
            truths = [(SLOPES, "all"), (UNEQUAL, "all"), (UNEQUAL, "each group")]
            if estimator == "pooled-reml":
                truths.append(("means, voxels unlike", "all"))
            found += [("shared", by_shared_covariance, n, t, estimator, of) for t, of in truths]
    scenarios = [(n, truth) for n in SIZES for truth in (SLOPES, UNEQUAL)]
    found += [("signs", by_signs, *of, contrast) for of in scenarios for contrast in CONTRASTS]
    named = [(of, CONTRASTS[1], name) for name in ("CR2", "slopes, held") for of in scenarios]
    uneven = [of for of in scenarios if of[1] == UNEQUAL]
    named += [(of, CONTRASTS[2], name) for name in ("CR2", "slopes, held") for of in uneven]
    found += [("clusters", by_clusters, *of, *own) for of, *own in named]
    return [
        (kind, f"{n} participants, {truth}", partial(make, n, truth, *of))
        for kind, make, n, truth, *of in found
    ]


def simulate(n_studies, chosen=None, done=lambda rows: None, rows=()):
    """Return the rows of all work, each with the number of its unit; those given are kept."""
    rows = list(rows)
    known = {row["unit"] for row in rows}
    with threadpool_limits(1):
        for number, (kind, scenario, make) in enumerate(work()):
            if number in known or (chosen is not None and number not in chosen):
                continue
            start = time.monotonic()
            own = list(make(n_studies, number))
            row = {"unit": number, "kind": kind, "scenario": scenario, "studies": n_studies}
            row["seconds"] = round(time.monotonic() - start)
            rows += [row | found for found in own]
            done(rows)
    return rows


def main(argv=None):
    """Run the simulation and write its rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=Path("docs/longitudinal_null.json"))
    arguments = parser.parse_args(argv)
    commit = current_commit()
    content = {
        "commit": commit,
        "machine": machine("numpy", "scipy", "numba"),
        "alphas": ALPHAS,
        "studies": arguments.studies,
        "signs": {"voxels": VOXELS, "shuffles": SHUFFLES},
        "clusters": {
            "volume": SHAPE,
            "sigma_voxels": SIGMA_VOXELS,
            "cluster_forming_p_a_side": FORMING_P,
            "shuffles": CLUSTER_SHUFFLES,
        },
        "shared": {"voxels": {"sandwich-swe": SWE_TIMES, "pooled-reml": POOLED_VOXELS}},
    }
    rows = []
    if arguments.output.exists():
        kept = json.loads(arguments.output.read_text())
        same = [kept[key] == json.loads(json.dumps(content[key])) for key in content]
        if not all(same):
            parser.error(f"{arguments.output} has other studies: delete it, or name another file")
        rows = kept["rows"]

    def write(rows):
        own = {row["unit"]: row["seconds"] for row in rows}
        whole = content | {"seconds": sum(own.values()), "rows": rows}
        part = arguments.output.with_suffix(".part")
        part.write_text(json.dumps(whole, indent=1) + "\n")
        part.replace(arguments.output)

    simulate(arguments.studies, done=write, rows=rows)


if __name__ == "__main__":
    main()
