"""Count familywise errors of permutation tests in smooth noise without effects.

    python tests/simulations/permutation_null.py [--studies 1000] [--shuffles 199] [--output FILE]

Every study draws its own maps and its own shuffles, planned by `make_plan` as a user's are. Both
follow from the number of the study, so the number of processes changes nothing.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from measured_on import current_commit, machine
from scipy import stats
from threadpoolctl import threadpool_limits

from nipype_group.design.contrasts import build_contrasts
from nipype_group.design.matrix import Design
from nipype_group.permutation.plan import ContrastTest, make_plan
from nipype_group.stats.permutation.p_values import fwe_p, null_of_maxima
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.statistics import ShuffleStatistics

ALPHA = 0.05
# Chance that a count of errors leaves its bound on one side where the rate is alpha.
BOUND_CHANCE = 1e-3
SIDE = 8
# Width of the Gaussian kernel that white noise would be smoothed by.
SIGMA_VOXELS = 1.0
# Clusters form at p < .01 on each side: the volume is small, and few shuffles reach .001.
FORMING_P = 0.01
STATISTICS = ("voxel", "extent", "mass", "tfce")
# The voxel in the middle, in the order of the mask.
ONE_VOXEL = SIDE**3 // 2 + SIDE**2 // 2 + SIDE // 2
TESTS = (*STATISTICS, "one voxel")
SIGNS = {"two-sided": (1, -1), "positive": (1,), "negative": (-1,)}
MASK = np.ones((SIDE,) * 3, dtype=bool)


@dataclass(frozen=True)
class Scenario:
    """Studies of one kind, none with an effect.

    Parameters
    ----------
    design : Design
    contrast : str
        ``NAME=EXPRESSION``.
    errors : {"normal", "t3", "exponential"}
        Distribution of the errors at a voxel; the exponential has mean 0.
    holds : bool
        Whether the error rate is to be alpha, so that a bound is claimed.
    exact : bool
        Whether it is exactly alpha where values do not tie, so that a lower bound is claimed too.
    sides : tuple of str
        Sides reported, from `SIGNS`.
    scale : array, shape (n,), optional
        Standard deviation of the errors of every map.
    shift : array, shape (n,), optional
        Effect of the nuisance on every map.
    participant_sd : float
        Standard deviation of a participant's effect, which all its maps share.
    variance_groups : tuple of int
        As in `ContrastTest`.
    gaps : bool
        Whether every map lacks up to three slices on either side, by chance.
    """

    design: Design
    contrast: str
    errors: str = "normal"
    holds: bool = True
    exact: bool = True
    sides: tuple = ("two-sided", "positive")
    scale: np.ndarray | float = 1.0
    shift: np.ndarray | float = 0.0
    participant_sd: float = 0.0
    variance_groups: tuple = ()
    gaps: bool = False

    def data(self, rng):
        """Draw the maps of a study, shape (n, v)."""
        n_maps = len(self.design.matrix)
        data = np.reshape(self.scale, (-1, 1)) * smooth_errors(n_maps, self.errors, rng)
        if self.participant_sd:
            numbers = self.design.participant_numbers.ravel() - 1
            effects = smooth_errors(numbers.max() + 1, "normal", rng)
            data += self.participant_sd * effects[numbers]
        data = data + np.reshape(self.shift, (-1, 1))
        if self.gaps:
            # Slices of the slowest axis follow each other.
            first, last = rng.integers(0, 4, (2, n_maps, 1)) * SIDE**2
            places = np.arange(SIDE**3)
            data[(places < first) | (places >= SIDE**3 - last)] = np.nan
        return data


@cache
def correlation_root(side=SIDE):
    """Return R, shape (side, side), with R R' the correlation along an axis of smoothed noise."""
    distance = np.subtract.outer(np.arange(side), np.arange(side))
    return np.linalg.cholesky(np.exp(-np.square(distance / SIGMA_VOXELS) / 4))


def smooth_errors(n_maps, errors, rng):
    """Return smooth maps with this distribution at every voxel, shape (n_maps, v).

    Smoothing would make any noise normal; t and exponential are made of smooth normal fields.
    """
    n_fields = {"normal": 1, "t3": 4, "exponential": 2}[errors]
    fields = rng.standard_normal((n_fields, n_maps, SIDE, SIDE, SIDE))
    # The axis in front of the last goes last each time: three turns bring all back.
    for _ in range(3):
        fields = np.moveaxis(fields @ correlation_root().T, -1, 2)
    fields = fields.reshape(n_fields, n_maps, -1)
    if errors == "t3":
        return fields[0] / np.sqrt(np.square(fields[1:]).mean(axis=0))
    if errors == "exponential":
        return np.square(fields).sum(axis=0) / 2 - 1
    return fields[0]


def _design(columns, participants=None, conditions=None):
    """Return a design of named columns; by default every map is of another participant."""
    matrix = np.column_stack(list(columns.values())).astype(float)
    participants = np.arange(len(matrix)) if participants is None else participants
    keys = pd.DataFrame({"participant_id": [f"{p:02d}" for p in participants]})
    if conditions is not None:
        keys["condition"] = conditions
    return Design(keys, matrix, tuple(columns))


def _one_sample(n_maps):
    return _design({"intercept": np.ones(n_maps)})


def _groups(*sizes):
    """Return a design with a column a group, and the group of every map."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    return _design({f"group{g}": group == g for g in range(len(sizes))}), group


def _regression(shift=3.0):
    """Return a design of two correlated covariates, and the effect of the one not tested."""
    rng = np.random.default_rng(25)
    score, noise = rng.standard_normal(25), rng.standard_exponential(25) - 1
    age = 0.7 * score + noise
    return _design({"intercept": np.ones(25), "score": score, "age": age}), shift * age


def _paired(n_participants):
    """Return a design of two conditions and a column a participant."""
    participants = np.repeat(np.arange(n_participants), 2)
    later = np.tile([0, 1], n_participants)
    columns = {"later": later}
    columns |= {f"participant{p}": participants == p for p in range(n_participants)}
    return _design(columns, participants, np.where(later, "later", "earlier"))


def _repeated(n_participants):
    """Return a design of three conditions in two groups of participants."""
    participants = np.repeat(np.arange(n_participants), 3)
    names = np.tile(["first", "second", "third"], n_participants)
    columns = {name: names == name for name in ("first", "second", "third")}
    return _design(columns | {"group": participants % 2}, participants, names)


@cache
def scenarios():
    """Return all scenarios by name."""
    two_groups, small_and_large = _groups(8, 20)
    equal_groups, of_ten = _groups(10, 10)
    intercept_and_group = _design({"intercept": np.ones(20), "group": of_ten})
    three_groups, _ = _groups(7, 9, 11)
    regression, age_effect = _regression()
    repeated = _repeated(16)
    condition_effect = repeated.matrix[:, :3] @ [1.0, 1, 5]
    difference, groups = "difference=group0 - group1", tuple((small_and_large + 1).tolist())
    small_varies_more = np.where(small_and_large == 0, 2.0, 1.0)
    small_varies_less = np.where(small_and_large == 0, 0.5, 1.0)
    both_sides = ("two-sided", "positive", "negative")
    return {
        "one sample, n = 15, t3 errors": Scenario(_one_sample(15), "mean=intercept", "t3"),
        "two groups, n = 8 and 20": Scenario(two_groups, difference),
        "two groups, n = 8 and 20, variance groups": Scenario(
            two_groups, difference, variance_groups=groups
        ),
        "two groups, n = 10 and 10, skewed errors": Scenario(
            equal_groups, difference, "exponential"
        ),
        "two groups, n = 10 and 10, skewed errors, intercept and group": Scenario(
            intercept_and_group, "difference=group", "exponential"
        ),
        "regression beside a covariate, n = 25": Scenario(
            regression, "slope=score", exact=False, shift=age_effect
        ),
        "regression beside a covariate, n = 25, skewed errors": Scenario(
            regression, "slope=score", "exponential", exact=False, shift=age_effect
        ),
        "pairs of 14 participants": Scenario(_paired(14), "change=later", participant_sd=5.0),
        "3 conditions of 16 participants, within": Scenario(
            repeated,
            "change=second - first",
            exact=False,
            shift=condition_effect,
            participant_sd=2.0,
        ),
        "3 conditions of 16 participants, between": Scenario(
            repeated, "group=group", shift=condition_effect, participant_sd=2.0
        ),
        "three groups, n = 7, 9 and 11, F": Scenario(
            three_groups, "any=group0 - group1; group1 - group2", sides=("positive",)
        ),
        "one sample, n = 12, skewed errors": Scenario(
            _one_sample(12), "mean=intercept", "exponential", holds=False, sides=both_sides
        ),
        "one sample, n = 25, skewed errors": Scenario(
            _one_sample(25), "mean=intercept", "exponential", holds=False, sides=both_sides
        ),
        "two groups, n = 8 and 20, the small one varies more": Scenario(
            two_groups, difference, holds=False, scale=small_varies_more
        ),
        "two groups, n = 8 and 20, the small one varies more, variance groups": Scenario(
            two_groups, difference, holds=False, scale=small_varies_more, variance_groups=groups
        ),
        "two groups, n = 8 and 20, the small one varies less": Scenario(
            two_groups, difference, holds=False, scale=small_varies_less
        ),
        "two groups, n = 8 and 20, the small one varies less, variance groups": Scenario(
            two_groups, difference, holds=False, scale=small_varies_less, variance_groups=groups
        ),
        "one sample, n = 15, t3 errors, gaps": Scenario(
            _one_sample(15), "mean=intercept", "t3", exact=False, gaps=True
        ),
        "two groups, n = 8 and 20, gaps": Scenario(two_groups, difference, exact=False, gaps=True),
        "regression beside a covariate, n = 25, gaps": Scenario(
            regression, "slope=score", exact=False, shift=age_effect, gaps=True
        ),
    }


def plan_study(scenario, seed, n_shuffles):
    """Return the name of the shuffling, the shuffled contrast and what is taken of a shuffle.

    Both sides are looked at, and one-sided tests take the nulls of theirs: the threshold is that
    of a one-sided test.
    """
    design, contrasts = (
        scenario.design,
        build_contrasts([scenario.contrast], scenario.design, by_permutation=True),
    )
    forming_p = FORMING_P * (2 if contrasts[0].test == "t" else 1)
    statistics = ShuffleStatistics(STATISTICS, cluster_forming_p=forming_p)
    test = ContrastTest(
        statistics, variance_groups=scenario.variance_groups, varying_dof=scenario.gaps
    )
    plan = make_plan(design, contrasts, n_shuffles, seed, test)
    ((name, family),) = plan.families.items()
    return name, test.shuffled(design.model, *family.contrasts, family.scheme), statistics


def study(number, name, n_shuffles):
    """Simulate one study; returns which tests err, by side and test."""
    scenario = scenarios()[name]
    data = scenario.data(np.random.default_rng([list(scenarios()).index(name), number]))
    return errors_of(scenario, data, number, n_shuffles)


def errors_of(scenario, data, seed, n_shuffles):
    """Return which tests of the data find something, by side and test.

    "one voxel" is the uncorrected p there, of the two-sided test or of F.
    """
    _, contrast, statistics = plan_study(scenario, seed, n_shuffles)
    (result,) = run_shuffles(
        lambda start, stop: data[:, start:stop], MASK, [contrast], statistics, 0, n_shuffles + 1
    )
    found = {}
    for side in scenario.sides:
        for test in STATISTICS:
            null = null_of_maxima(result.nulls, test, SIGNS[side])
            found[side, test] = bool(fwe_p(null[0], null) <= ALPHA)
    p = result.counts["voxel"][ONE_VOXEL] / (n_shuffles + 1)
    return found | {(scenario.sides[0], TESTS[-1]): bool(p <= ALPHA)}


def bounds(n_studies):
    """Return the smallest and largest number of errors that a rate of alpha allows."""
    return (
        int(stats.binom.ppf(BOUND_CHANCE, n_studies, ALPHA)),
        int(stats.binom.isf(BOUND_CHANCE, n_studies, ALPHA)),
    )


def _limited_study(number, name, n_shuffles):
    with threadpool_limits(1, "blas"):
        return study(number, name, n_shuffles)


def simulate(n_studies, n_shuffles, processes=1, names=None):
    """Run all studies; returns a row a scenario, side and test."""
    pool = None
    if processes > 1:
        pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    rows = []
    for name in scenarios() if names is None else names:
        work = partial(_limited_study, name=name, n_shuffles=n_shuffles)
        if pool is None:
            results = list(map(work, range(n_studies)))
        else:
            results = list(pool.map(work, range(n_studies), chunksize=10))
        rows += [_row(name, *key, sum(r[key] for r in results), n_studies) for key in results[0]]
    if pool is not None:
        pool.shutdown()
    return rows


def _row(name, side, test, count, n_studies):
    scenario = scenarios()[name]
    rate = stats.binomtest(count, n_studies)
    interval = rate.proportion_ci(0.95)
    # Extents are small whole numbers: ties make p larger.
    return {
        "scenario": name,
        "side": "F" if scenario.sides == ("positive",) else side,
        "test": test,
        "upper_bound": scenario.holds,
        "lower_bound": scenario.holds and scenario.exact and test != "extent",
        "errors": count,
        "rate": rate.statistic,
        "low": round(interval.low, 5),
        "high": round(interval.high, 5),
    }


def main(argv=None):
    """Run the simulation and write its rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--shuffles", type=int, default=199)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--output", type=Path, default=Path("docs/permutation_null.json"))
    arguments = parser.parse_args(argv)
    if (arguments.shuffles + 1) % round(1 / ALPHA):
        parser.error("shuffles are a multiple of 20 less 1, so that p can be exactly .05")
    start = time.monotonic()
    rows = simulate(arguments.studies, arguments.shuffles, arguments.processes)
    seconds = round(time.monotonic() - start)
    commit = current_commit()
    fewest, most = bounds(arguments.studies)
    content = {
        "commit": commit,
        "machine": machine("numpy", "scipy", "numba", processes=arguments.processes),
        "studies": arguments.studies,
        "shuffles": arguments.shuffles,
        "settings": {
            "alpha": ALPHA,
            "volume": [SIDE] * 3,
            "sigma_voxels": SIGMA_VOXELS,
            "cluster_forming_p_a_side": FORMING_P,
        },
        "seconds": seconds,
        "bounds": {"chance": BOUND_CHANCE, "fewest_errors": fewest, "most_errors": most},
        "shuffling": {
            name: plan_study(scenario, 0, arguments.shuffles)[0]
            for name, scenario in scenarios().items()
        },
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
