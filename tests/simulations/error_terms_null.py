"""Count false positives of effects on their own error, and on the pooled one, without effects.

    python tests/simulations/error_terms_null.py [--studies 100000] [--batches 200] [--output FILE]

Every voxel is a study of its own: nothing is taken over voxels. Designs, contrasts and plans are
made as a user's are, from factors in words. Studies follow from their number, so the number of
processes changes nothing.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from measured_on import current_commit, machine
from scipy import stats
from threadpoolctl import threadpool_limits

from nipype_group.choices import SPHERICITY
from nipype_group.design.contrasts import build_contrasts
from nipype_group.design.error_terms import error_term
from nipype_group.design.factorial import Factorial
from nipype_group.design.repeated_measures import factorial_design
from nipype_group.permutation.plan import ContrastTest, make_plan
from nipype_group.permutation.units import units_of
from nipype_group.stats.linear.error_terms import estimate, maps_of
from nipype_group.stats.linear.least_squares import LinearModel, contrast_maps, fit_tiles
from nipype_group.stats.linear.multivariate import multivariate_tests
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.statistics import ShuffleStatistics

ALPHAS = (0.05, 0.01, 0.001)
# Chance that any count leaves its bounds, over all of them, where every test errs at its level.
BOUND_CHANCE = 1e-3
# Studies whose maps are drawn together.
STUDIES_PER_DRAW = 10_000
# Studies that share their shuffles.
STUDIES_PER_BATCH = 50
SHUFFLES = 999
PARAMETRIC = (*SPHERICITY, "pillai")
# Permutation as plans have it, and what was asked for where that is another way.
PERMUTED = {"permutation": "auto", "signs": "signs", "levels": "levels"}
TESTS = (*PARAMETRIC, *PERMUTED, "pooled")


@dataclass(frozen=True)
class Scenario:
    """Studies of one kind, none with an effect.

    Parameters
    ----------
    levels : dict of int
        Factors that tell a participant's maps apart, and their number of levels.
    covariance : array, shape (K, K)
        Of the maps of a participant, one a cell, the last factor fastest.
    groups : tuple of int
        Participants of every group.
    within : bool
        Whether the factors are in the model.
    spherical : bool
        Whether the differences within every effect have one variance.
    inexact : tuple of str
        Effects whose permutation is not exact, whatever is shuffled.
    """

    levels: dict
    covariance: np.ndarray
    groups: tuple = (8,)
    within: bool = True
    spherical: bool = True
    inexact: tuple = ()

    @cached_property
    def table(self):
        """The maps, a row each."""
        n = sum(self.groups)
        names = [[f"{f}{level}" for level in range(m)] for f, m in self.levels.items()]
        rows = [(f"{i:02d}", *cell) for i in range(n) for cell in product(*names)]
        table = pd.DataFrame(rows, columns=["participant_id", *self.levels])
        group = np.repeat([f"g{i}" for i in range(len(self.groups))], self.groups)
        return table.assign(group=np.repeat(group, len(table) // n))

    @cached_property
    def design(self):
        """The design of the model in words."""
        return factorial_design(self._factorial, self.table, list(self.levels))

    @property
    def _factorial(self):
        between = ("group",) if len(self.groups) > 1 else ()
        return Factorial(tuple(self.levels) if self.within else (), between)

    @cached_property
    def contrasts(self):
        """An F of every effect."""
        return build_contrasts(self._factorial.definitions, self.design)

    def term(self, contrast):
        """Return the error of an effect."""
        return error_term(self.design, contrast.weights, contrast.test, contrast.name)

    def data(self, n_studies, rng):
        """Draw maps without effects, shape (n, n_studies)."""
        n, k = sum(self.groups), len(self.covariance)
        root = np.linalg.cholesky(self.covariance)
        noise = rng.standard_normal((n, k, n_studies))
        return np.einsum("ck,nkv->ncv", root, noise).reshape(n * k, n_studies)

    def permuted(self, contrast):
        """Return the ways in which an effect is permuted: the plan's, and the other one."""
        usual, found = units_of(self.design, contrast), ["permutation"]
        if usual.levels:
            return [*found, "signs"]
        try:
            moved = units_of(self.design, contrast, "levels")
        except ValueError:
            # Interactions have none.
            return found
        return [*found, "levels"] if moved.levels else found

    def epsilon(self, contrast):
        """Return Box's epsilon of an effect."""
        directions = self.term(contrast).directions
        error = directions @ self.covariance @ directions.T
        return np.trace(error) ** 2 / (len(error) * np.square(error).sum())

    def exact(self, contrast, test):
        """Tell whether a test errs at its level, and no other."""
        if test in ("greenhouse-geisser", "huynh-feldt"):
            return self.term(contrast).n_directions == 1
        if test in PERMUTED:
            levels = units_of(self.design, contrast, PERMUTED[test]).levels
            return contrast.name not in self.inexact and (self.spherical or not levels)
        return {"none": self.spherical, "pillai": True, "pooled": False}[test]


def differing(deviations, **levels):
    """Return the covariance of cells where participants differ in every effect.

    Parameters
    ----------
    deviations : dict of float
        Effect, as ``a:b`` or nothing for the mean, to the standard deviation of the participants
        along every orthonormal direction of it. That of a map's noise is 1.
    **levels : int
        Factors, and their number of levels.
    """
    covariance = np.eye(np.prod(list(levels.values())))
    for effect, deviation in deviations.items():
        part = np.ones((1, 1))
        for factor, m in levels.items():
            mean = np.full((m, m), 1 / m)
            part = np.kron(part, np.eye(m) - mean if factor in effect.split(":") else mean)
        covariance += deviation**2 * part
    return covariance


@cache
def scenarios():
    """Return all scenarios by name."""
    crossed = {"": 3.0, "a": 2.0, "b": 1.0, "a:b": 0.5}
    found = {}
    for m in (2, 3):
        for n in (8, 12):
            levels = {"a": m, "b": m}
            found[f"{m} x {m} levels, n = {n}"] = Scenario(
                levels, differing(crossed, **levels), (n,)
            )
    groups = (3, 5), (4, 8)
    for sizes in groups:
        found[f"2 groups of {sizes[0]} and {sizes[1]}, 3 levels"] = Scenario(
            {"a": 3}, differing({"": 2.0, "a": 1.0}, a=3), sizes, inexact=("a",)
        )
    for sizes in groups:
        found[f"2 groups of {sizes[0]} and {sizes[1]}, 4 maps each"] = Scenario(
            {"a": 4}, differing({"": 2.0}, a=4), sizes, within=False
        )
    deviations = np.array([0.5, 1.0, 1.0, 3.0])
    uneven = np.diag(np.square(deviations)) + 1.0
    for n in (8, 12):
        found[f"4 levels without sphericity, n = {n}"] = Scenario(
            {"a": 4}, uneven, (n,), spherical=False
        )
    return found


def own_p(scenario, contrast, data):
    """Return the p of an effect on its own error, by test."""
    term, n_studies = scenario.term(contrast), data.shape[1]

    def read(start, stop):
        return data[:, start:stop]

    found = estimate(term, contrast.weights, "F", read, n_studies)
    p = {
        test: maps_of(found, term, contrast.weights, "F", "two-sided", test)["p"]
        for test in (SPHERICITY if term.n_directions > 1 else ("none",))
    }
    if term.n_directions > 1:
        several = multivariate_tests(term, contrast.weights, read, n_studies, ("pillai",))
        p["pillai"] = several["pillai"].maps()["p"]
    return p


def pooled_p(scenario, contrast, data):
    """Return the p of an effect on the one error of a model of maps.

    The model has columns of participants, unless the effect is between them.
    """
    design = scenario.design
    people = np.zeros((len(design.matrix), 0))
    if contrast.error.stratum != "between":
        people = np.eye(sum(scenario.groups))[design.participant_numbers.ravel() - 1]
    matrix = np.hstack([design.matrix, people])
    model = LinearModel(matrix, tuple(map(str, range(matrix.shape[1]))))
    weights = np.pad(contrast.weights, [(0, 0), (0, people.shape[1])])
    betas, variance, _ = fit_tiles(model, lambda a, b: data[:, a:b], data.shape[1])
    fitted = betas, variance, model.covariance, model.dof
    return contrast_maps(weights, "F", *fitted, "two-sided")[0]["p"]


def plan_study(scenario, contrast, test, seed, n_shuffles):
    """Return the plan of an effect, and the name of the shuffling."""
    how = ContrastTest(within_shuffling=PERMUTED[test])
    plan = make_plan(scenario.design, [contrast], n_shuffles, seed, how)
    (name,) = plan.families
    return plan, name


def permutation_p(scenario, contrast, test, data, seed, n_shuffles):
    """Return the uncorrected p of an effect, all studies by the same shuffles."""
    plan, name = plan_study(scenario, contrast, test, seed, n_shuffles)
    units = units_of(scenario.design, contrast, PERMUTED[test])
    (result,) = run_shuffles(
        lambda start, stop: data[:, start:stop],
        np.ones(data.shape[1], dtype=bool),
        [plan.test.shuffled_units(units, plan.families[name].scheme)],
        ShuffleStatistics(),
        0,
        plan.n_shuffles(name),
    )
    return result.counts["voxel"] / plan.n_shuffles(name)


def levels_reached(scenario, contrast, test, n_shuffles):
    """Return the lowest and the highest rates that permutation can have at every alpha.

    All shuffles give p in steps. Some of them may hold, or not, the one that is to an F what the
    data are, and it then counts twice.
    """
    plan, name = plan_study(scenario, contrast, test, 0, n_shuffles)
    total = plan.n_shuffles(name)
    if not plan.families[name].scheme.exhaustive:
        return [max(alpha - 1 / total, 0.0) for alpha in ALPHAS], list(ALPHAS)
    step = plan.n_reached[contrast.name]
    levels = [int(alpha * total / step * (1 + 1e-9)) * step / total for alpha in ALPHAS]
    return levels, levels


def errors(p):
    """Return the number of p at or below every alpha."""
    # 50 of 1,000 shuffles are .05, whatever the quotient is rounded to.
    return np.array([(p <= alpha * (1 + 1e-9)).sum() for alpha in ALPHAS])


def parametric_errors(name, number, n_studies):
    """Return the errors of some studies by effect and test."""
    scenario = scenarios()[name]
    rng = np.random.default_rng([list(scenarios()).index(name), number])
    data = scenario.data(n_studies, rng)
    found = {}
    for contrast in scenario.contrasts:
        p = own_p(scenario, contrast, data) | {"pooled": pooled_p(scenario, contrast, data)}
        found |= {(contrast.name, test): errors(own) for test, own in p.items()}
    return found


def permutation_errors(name, number, n_studies, n_shuffles):
    """Return the errors of some studies that share their shuffles, by effect and test."""
    scenario = scenarios()[name]
    rng = np.random.default_rng([len(scenarios()) + list(scenarios()).index(name), number])
    data = scenario.data(n_studies, rng)
    return {
        (c.name, test): errors(permutation_p(scenario, c, test, data, number, n_shuffles))
        for c in scenario.contrasts
        for test in scenario.permuted(c)
    }


def _work(task):
    kind, *arguments = task
    with threadpool_limits(1, "blas"):
        return _KINDS[kind](*arguments)


_KINDS = {"parametric": parametric_errors, "permutation": permutation_errors}


def simulate(n_studies, n_batches, n_shuffles=SHUFFLES, processes=1, names=None):
    """Run all studies; returns a row a scenario, effect and test."""
    names = list(scenarios()) if names is None else names
    draws = [
        min(STUDIES_PER_DRAW, n_studies - start) for start in range(0, n_studies, STUDIES_PER_DRAW)
    ]
    work = [("parametric", name, i, n) for name in names for i, n in enumerate(draws)]
    work += [
        ("permutation", name, i, STUDIES_PER_BATCH, n_shuffles)
        for name in names
        for i in range(n_batches)
    ]
    counts = {}
    for (_, name, *_), found in zip(work, _results(work, processes), strict=True):
        for key, own in found.items():
            counts.setdefault((name, *key), []).append(own)
    rows = []
    for name, contrast, test in _tests_of(names):
        own = np.array(counts.get((name, contrast.name, test), ()))
        if own.size:
            rows.append(_row(name, contrast, test, own, n_studies))
        if own.size and test in PERMUTED:
            rows[-1] |= _of_permutation(name, contrast, test, own, n_shuffles)
    return rows


def _tests_of(names):
    """Yield scenario, effect and test, in the order of the rows."""
    for name in names:
        yield from product([name], scenarios()[name].contrasts, TESTS)


def _results(work, processes):
    if processes == 1:
        return list(map(_work, work))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_work, work, chunksize=5))


def _row(name, contrast, test, counts, n_studies):
    return {
        "scenario": name,
        "effect": contrast.name,
        "test": test,
        "exact": scenarios()[name].exact(contrast, test),
        "levels": [ALPHAS, ALPHAS],
        "studies": n_studies,
        "errors": counts.sum(axis=0).tolist(),
    }


def _of_permutation(name, contrast, test, counts, n_shuffles):
    """Return what a row of permutation has of its own.

    That studies share their shuffles would let counts of batches vary more than by chance: their
    variance over that of the binomial is told, at the first alpha.
    """
    scenario = scenarios()[name]
    plan, shuffling = plan_study(scenario, contrast, test, 0, n_shuffles)
    n_studies = len(counts) * STUDIES_PER_BATCH
    rate = counts[:, 0].sum() / n_studies
    chance = STUDIES_PER_BATCH * rate * (1 - rate)
    return {
        "studies": n_studies,
        "levels": levels_reached(scenario, contrast, test, n_shuffles),
        "shuffling": shuffling,
        "shuffles": plan.n_shuffles(shuffling),
        "variance_ratio": float(f"{counts[:, 0].var() / max(chance, 1e-9):.3g}"),
    }


def out_of_bounds(rows, chance=BOUND_CHANCE):
    """Return the rows of exact tests whose counts their levels give but by a chance of all."""
    exact = [row for row in rows if row["exact"]]
    one = chance / (2 * len(ALPHAS) * len(exact))
    found = []
    for row in exact:
        counts, (lowest, highest) = np.array(row["errors"]), row["levels"]
        most = stats.binom.isf(one, row["studies"], highest)
        fewest = stats.binom.ppf(one, row["studies"], lowest)
        if (counts > most).any() or (counts < fewest).any():
            found.append(row)
    return found


def main(argv=None):
    """Run the simulation and write its rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--batches", type=int, default=200, help="of permutation, 50 studies each")
    parser.add_argument("--shuffles", type=int, default=SHUFFLES)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--output", type=Path, default=Path("docs/error_terms_null.json"))
    arguments = parser.parse_args(argv)
    start = time.monotonic()
    rows = simulate(arguments.studies, arguments.batches, arguments.shuffles, arguments.processes)
    seconds = round(time.monotonic() - start)
    commit = current_commit()
    content = {
        "commit": commit,
        "machine": machine("numpy", "scipy", "numba", processes=arguments.processes),
        "seconds": seconds,
        "alphas": ALPHAS,
        "bound_chance": BOUND_CHANCE,
        "studies": arguments.studies,
        "permuted_studies": arguments.batches * STUDIES_PER_BATCH,
        "shuffles": arguments.shuffles,
        "epsilon": {
            name: {c.name: float(f"{s.epsilon(c):.3g}") for c in s.contrasts}
            for name, s in scenarios().items()
        },
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
