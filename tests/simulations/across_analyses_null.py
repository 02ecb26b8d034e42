"""Errors over analyses side by side, without effects and with effects in one of them.

    python tests/simulations/across_analyses_null.py [--studies 1000] [--output FILE]

A study has four analyses of the same 20 participants, whose smooth maps are correlated between
analyses, as seeds or contrasts of one session are. Without effects a study errs where any voxel
of any analysis survives; that is the familywise error, and the false discovery rate too. With
effects in one analysis the false discovery rate over all is the mean share of false voxels
among those that survive anywhere, and beside it stands how often any voxel of the other three
survives. Studies follow from their number.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from measured_on import current_commit, machine
from scipy import ndimage
from threadpoolctl import threadpool_limits

from nipype_group.stats.distributions import t_to_z, z_to_log_p
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.multiple_testing import adjust, adjust_together
from nipype_group.stats.permutation.alternatives import restricted, scheme_of_all
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.p_values import correct, null_of_maxima
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.statistics import ShuffleStatistics

ALPHA = 0.05
SHAPE = (8, 8, 6)
N_PARTICIPANTS, N_ANALYSES, N_SHUFFLES = 20, 4, 199
# Of the noise: standard deviation of a Gaussian in voxels, correlation between analyses.
SMOOTHING, SHARED = 1.0, 0.5
# Mean of the maps of the first analysis in half of its voxels, in standard deviations.
EFFECT = 1.5
TESTS = ("slope", "mean")
WAYS = ("maximum", "bonferroni", "fdr")
ALONE = "fwe of each analysis"


def study_of(number):
    """Return a score and smooth maps of a study without effects, shape (analyses, n, v)."""
    rng = np.random.default_rng([47, number])
    score = rng.standard_normal(N_PARTICIPANTS)
    noise = rng.standard_normal((N_ANALYSES + 1, N_PARTICIPANTS, *SHAPE))
    own = np.sqrt(1 - SHARED) * noise[1:] + np.sqrt(SHARED) * noise[:1]
    smooth = ndimage.gaussian_filter(own, (0, 0, *[SMOOTHING] * 3))
    return score, (smooth / smooth.std()).reshape(N_ANALYSES, N_PARTICIPANTS, -1)


def _model(test, score):
    columns = [np.ones(N_PARTICIPANTS)] + ([score] if test == "slope" else [])
    weights = np.zeros((1, len(columns)))
    weights[0, -1] = 1.0
    return LinearModel(np.column_stack(columns), tuple("ab"[: len(columns)])), weights


def smallest_p(number, test):
    """Return the smallest p over voxels and analyses of a study without effects, by way."""
    score, maps = study_of(number)
    model, weights = _model(test, score)
    kind = "permute" if test == "slope" else "flip"
    everyone = np.arange(N_PARTICIPANTS)
    whole = scheme_of_all(kind, [everyone], [model.matrix], N_PARTICIPANTS, number, N_SHUFFLES)
    contrast = ShuffledContrast(partition(model, weights), restricted(whole, everyone))
    statistics, mask = ShuffleStatistics(), np.ones(SHAPE, dtype=bool)
    heights, nulls, logs = [], [], []
    for own in maps:
        result = run_shuffles(
            lambda start, stop, own=own: own[:, start:stop],
            mask,
            [contrast],
            statistics,
            0,
            N_SHUFFLES + 1,
        )[0]
        t = result.observed["voxel"]
        heights.append(np.abs(t))
        nulls.append(null_of_maxima(result.nulls, "voxel", (1, -1)))
        logs.append(z_to_log_p(t_to_z(t, model.dof), "two-sided"))
    each = [correct("voxel", h, n, ALPHA).p.min() for h, n in zip(heights, nulls, strict=True)]
    together = np.max(nulls, axis=0)
    pooled = adjust_together(logs, "fdr")
    return {
        ALONE: min(each),
        "bonferroni": min(min(each) * N_ANALYSES, 1.0),
        "maximum": min(correct("voxel", h, together, ALPHA).p.min() for h in heights),
        "fdr": float(np.exp(min(q.min() for q in pooled))),
    }


def with_effects(number):
    """Return what survives where the first analysis has effects: true and false voxels.

    Returns
    -------
    dict
        Shares of false voxels among those told over all analyses, and among those told in the
        other three, each as one family and by analyses of their own.
    """
    _, maps = study_of(number)
    maps[0, :, : maps.shape[2] // 2] += EFFECT
    t = maps.mean(axis=1) / (maps.std(axis=1, ddof=1) / np.sqrt(N_PARTICIPANTS))
    logs = [z_to_log_p(t_to_z(own, N_PARTICIPANTS - 1), "two-sided") for own in t]
    found = {}
    for way, q in (
        ("one family", adjust_together(logs, "fdr")),
        ("each analysis by itself", [adjust(own, "fdr") for own in logs]),
    ):
        told = [own <= np.log(ALPHA) for own in q]
        true = told[0][: maps.shape[2] // 2].sum()
        n_told = sum(own.sum() for own in told)
        others = any(own.any() for own in told[1:])
        found[way] = ((n_told - true) / max(n_told, 1), bool(others))
    return found


def simulate(n_studies, first=0):
    """Return a row a test and way: how many studies err; and rows of studies with effects."""
    rows = []
    numbers = range(first, first + n_studies)
    for test in TESTS:
        p = [smallest_p(number, test) for number in numbers]
        rows += [
            {
                "test": test,
                "by": way,
                "studies": n_studies,
                "errors": int(sum(one[way] <= ALPHA * (1 + 1e-12) for one in p)),
            }
            for way in (*WAYS, ALONE)
        ]
    found = [with_effects(number) for number in numbers]
    effects = [
        {
            "family": way,
            "studies": n_studies,
            "false_share": float(f"{np.mean([one[way][0] for one in found]):.4g}"),
            "others_told": int(sum(one[way][1] for one in found)),
        }
        for way in found[0]
    ]
    return rows, effects


def main(argv=None):
    """Run the simulation and write its rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=Path("docs/across_analyses_null.json"))
    arguments = parser.parse_args(argv)
    start = time.monotonic()
    with threadpool_limits(1):
        rows, effects = simulate(arguments.studies)
    content = {
        "commit": current_commit(),
        "machine": machine("numpy", "scipy", "numba", processes=1),
        "seconds": round(time.monotonic() - start),
        "alpha": ALPHA,
        "analyses": N_ANALYSES,
        "participants": N_PARTICIPANTS,
        "shuffles": N_SHUFFLES,
        "correlation": SHARED,
        "rows": rows,
        "with_effects": effects,
    }
    arguments.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
