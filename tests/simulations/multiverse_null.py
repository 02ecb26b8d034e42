"""Familywise error over alternative analyses of one study.

    python tests/simulations/multiverse_null.py [--studies 1000] [--output FILE]

In no study is there an effect. Movement tells who is left out, and the noise of a participant
grows with it. Each study is analysed by 8 alternatives: two smoothings, with and without the
five who moved most, with and without a covariate. A study errs where any
voxel of any alternative survives: by its own familywise error, by the common shuffles, or by
Bonferroni. Studies follow from their number.
"""

import argparse
import json
import os
import sys
import time
from itertools import product
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from measured_on import current_commit, machine
from scipy import ndimage
from threadpoolctl import threadpool_limits

from nipype_group.images import Grid
from nipype_group.permutation.alternatives import correct_alternatives
from nipype_group.permutation.maps import MergedContrast
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.permutation.alternatives import restricted, scheme_of_all
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.statistics import ShuffleStatistics

ALPHA = 0.05
SHAPE = (8, 8, 6)
N_PARTICIPANTS, N_SHUFFLES = 20, 39
# Standard deviations of a Gaussian, in voxels, and how many of the most moved are left out.
SMOOTHINGS, LEFT_OUT = (0.7, 1.4), (0, 5)
TESTS = ("slope", "mean")
WAYS = ("own error of every alternative", "Bonferroni over alternatives", "common shuffles")


def study_of(number):
    """Return maps, shape (n, x, y, z), a score, age and movement of a study without effects."""
    rng = np.random.default_rng([19, number])
    movement = rng.gamma(2.0, 1.0, N_PARTICIPANTS)
    noise = rng.standard_normal((N_PARTICIPANTS, *SHAPE))
    common = rng.standard_normal((N_PARTICIPANTS, 1, 1, 1))
    maps = (noise + 0.3 * common) * (0.5 + movement)[:, None, None, None]
    age = rng.standard_normal(N_PARTICIPANTS)
    return maps, 0.5 * age + rng.standard_normal(N_PARTICIPANTS), age, movement


def alternatives_of(number, test):
    """Yield participants, design matrix, weights and data of every alternative."""
    maps, score, age, movement = study_of(number)
    smoothed = {
        sigma: np.stack([ndimage.gaussian_filter(one, sigma) for one in maps])
        for sigma in SMOOTHINGS
    }
    for sigma, n_out, with_age in product(SMOOTHINGS, LEFT_OUT, (False, True)):
        own = np.sort(np.argsort(movement, kind="stable")[: N_PARTICIPANTS - n_out])
        columns = [np.ones(len(own))]
        columns += [score[own]] if test == "slope" else []
        columns += [age[own] - age[own].mean()] if with_age else []
        weights = np.zeros((1, len(columns)))
        weights[0, int(test == "slope")] = 1.0
        data = smoothed[sigma][own].transpose(0, 3, 2, 1).reshape(len(own), -1)
        yield own, np.column_stack(columns), weights, data


def smallest_p(number, test):
    """Return the smallest p over voxels and alternatives of a study, by way."""
    kind = "permute" if test == "slope" else "flip"
    analyses = list(alternatives_of(number, test))
    members, matrices = [own for own, *_ in analyses], [matrix for _, matrix, *_ in analyses]
    whole = scheme_of_all(kind, members, matrices, N_PARTICIPANTS, number, N_SHUFFLES)
    merged, mask = {}, np.ones(SHAPE, dtype=bool)
    statistics = ShuffleStatistics()
    for i, (own, matrix, weights, data) in enumerate(analyses):
        model = LinearModel(matrix, tuple("abc"[: matrix.shape[1]]))
        contrast = ShuffledContrast(partition(model, weights), restricted(whole, own))
        result = run_shuffles(
            lambda start, stop, data=data: data[:, start:stop],
            mask,
            [contrast],
            statistics,
            0,
            N_SHUFFLES + 1,
        )[0]
        space = Grid(SHAPE, np.eye(4))
        merged[i] = MergedContrast("c", "c", contrast, statistics, result, mask, space, as_z=True)
    found = correct_alternatives([list(merged)], merged, ALPHA)
    own = min(one.own.p.min() for one in found.values())
    return dict(
        zip(
            WAYS,
            (own, min(own * len(found), 1.0), min(f.over_all.p.min() for f in found.values())),
            strict=True,
        )
    )


def simulate(n_studies, first=0):
    """Return a row a test and way: how many studies err."""
    rows = []
    for test in TESTS:
        p = [smallest_p(number, test) for number in range(first, first + n_studies)]
        rows += [
            {
                "test": test,
                "by": way,
                "studies": n_studies,
                "errors": int(sum(one[way] <= ALPHA * (1 + 1e-12) for one in p)),
            }
            for way in WAYS
        ]
    return rows


def main(argv=None):
    """Run the simulation and write its rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=Path("docs/multiverse_null.json"))
    arguments = parser.parse_args(argv)
    start = time.monotonic()
    with threadpool_limits(1):
        rows = simulate(arguments.studies)
    commit = current_commit()
    content = {
        "commit": commit,
        "machine": machine("numpy", "scipy", "numba", processes=1),
        "seconds": round(time.monotonic() - start),
        "alpha": ALPHA,
        "alternatives": len(SMOOTHINGS) * len(LEFT_OUT) * 2,
        "participants": N_PARTICIPANTS,
        "shuffles": N_SHUFFLES,
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
