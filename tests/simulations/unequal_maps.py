"""Error rates and power of robust fits, unequal variances and covariates that are maps.

    python tests/simulations/unequal_maps.py [--studies 20000] [--output FILE]

Every voxel is a study of its own. Studies follow from their number, so the number of processes
changes nothing.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from measured_on import current_commit, machine

from nipype_group.stats.estimators.map_covariates import MapCovariates, fit_map_covariates
from nipype_group.stats.estimators.robust import METHODS, fit_robust
from nipype_group.stats.estimators.shuffled.map_covariates import ShuffledCovariates
from nipype_group.stats.estimators.welch import fit_hc, fit_welch
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.permutation.scheme import ShufflingScheme

ALPHAS = (0.05, 0.01)
ERRORS = ("normal", "t of 3 dof", "one in ten of 5 sd", "skewed")
# Standard errors from 0 of the effect whose power is told.
EFFECT = 2.5
SHUFFLES = 399


def errors(kind, shape, rng):
    """Draw errors of a distribution, of variance 1 but for outliers."""
    if kind == "t of 3 dof":
        return rng.standard_t(3, shape) / np.sqrt(3)
    noise = rng.standard_normal(shape)
    if kind == "one in ten of 5 sd":
        return np.where(rng.random(shape) < 0.1, 5.0, 1.0) * noise
    return (rng.exponential(size=shape) - 1) if kind == "skewed" else noise


def rates(p):
    """Return the shares of studies at or below the alphas."""
    return [float(np.mean(p <= alpha)) for alpha in ALPHAS]


def p_of(fit, row):
    """Return the two-sided p of one row."""
    return fit.contrast(np.array([row]), "t").maps("t", "two-sided")["p"]


def model_of(*columns):
    """Return the model of columns."""
    return LinearModel(np.column_stack(columns), tuple(f"c{i}" for i in range(len(columns))))


def reading(data):
    """Return what reads studies as fits do."""
    return lambda start, stop: data[:, start:stop]


def robust_rows(n_maps, kind, n_studies):
    """Count a slope's errors, and its power, by least squares and robust fits."""
    rng = np.random.default_rng([1, n_maps, ERRORS.index(kind)])
    x = rng.standard_normal(n_maps)
    model, found = model_of(np.ones(n_maps), x), []
    noise = errors(kind, (n_maps, n_studies), rng)
    slope = EFFECT / np.sqrt(np.square(x - x.mean()).sum())
    for effect in (0.0, slope):
        data = noise + effect * x[:, None]
        read = reading(data)
        fits = {"least squares": ols(model, data, [0.0, 1])}
        fits |= {m: p_of(fit_robust(model, read, n_studies, m), [0.0, 1]) for m in METHODS}
        what = "power" if effect else "errors"
        for name, p in fits.items():
            found.append(
                {"part": "robust", "maps": n_maps, "data": kind, "of": what, "by": name}
                | {"studies": n_studies, "rates": rates(p)}
            )
    return found


def ols(model, data, row):
    """Return p of least squares."""
    nothing = MapCovariates((), lambda a, b: np.empty((0, len(data), b - a)), iter)
    fit = fit_map_covariates(model, nothing, reading(data), data.shape[1])
    return p_of(fit, row)


def welch_rows(sizes, ratio, n_studies):
    """Count errors of two groups whose standard deviations have a ratio."""
    rng = np.random.default_rng([2, *sizes, int(ratio * 100)])
    group = np.repeat([0, 1], sizes)
    data = rng.standard_normal((len(group), n_studies)) * np.where(group == 0, ratio, 1)[:, None]
    model, row = model_of(group == 0, group == 1), [1.0, -1]
    model = LinearModel(model.matrix.astype(float), model.columns)
    read = reading(data)
    fits = {
        "pooled": ols(model, data, row),
        "Welch": p_of(fit_welch(model, group, read, n_studies), row),
        "HC2": p_of(fit_hc(model, read, n_studies, "HC2"), row),
        "HC3": p_of(fit_hc(model, read, n_studies, "HC3"), row),
    }
    told = {"part": "unequal variances", "maps": sum(sizes)}
    told["data"] = f"{sizes[0]} maps of {ratio:g} sd, {sizes[1]} of 1"
    return [
        told | {"of": "errors", "by": name, "studies": n_studies, "rates": rates(p)}
        for name, p in fits.items()
    ]


def covariate_rows(n_maps, n_studies):
    """Count errors of a group beside a covariate that goes with it, and of the covariate."""
    rng = np.random.default_rng([3, n_maps])
    group = np.arange(n_maps) % 2
    grey = rng.standard_normal((1, n_maps, n_studies)) + group[:, None]
    data = grey[0] + rng.standard_normal((n_maps, n_studies))
    alone = rng.standard_normal((n_maps, n_studies))
    model = model_of(np.ones(n_maps), group)
    covariates = MapCovariates(("grey",), lambda a, b: grey[:, :, a:b], iter)
    fit = fit_map_covariates(model, covariates, lambda a, b: data[:, a:b], n_studies)
    null = fit_map_covariates(model, covariates, lambda a, b: alone[:, a:b], n_studies)
    scheme = ShufflingScheme("permute", tuple(range(n_maps)), seed=4)
    orders, signs = scheme.draw(0, SHUFFLES + 1)
    shuffled = ShuffledCovariates.of(model, np.array([[0.0, 0, 1]]), "t", alone, grey)
    stat = np.abs(shuffled.statistic(orders, signs))
    found = {
        "group, the covariate left out": ols(model, data, [0.0, 1]),
        "group beside the covariate": p_of(fit, [0.0, 1, 0]),
        "the covariate": p_of(null, [0.0, 0, 1]),
        "the covariate, permutation": (stat >= stat[0] * (1 - 1e-11)).mean(axis=0),
    }
    told = {"part": "covariates that are maps", "maps": n_maps, "data": "normal", "of": "errors"}
    return [
        told | {"by": name, "studies": n_studies, "rates": rates(p)} for name, p in found.items()
    ]


def work(n_studies):
    """Return what is computed, each in one piece."""
    parts = [(robust_rows, n, kind, n_studies) for n, kind in product((15, 30), ERRORS)]
    parts += [(welch_rows, (8, 20), ratio, n_studies) for ratio in (1.0, 3.0, 1 / 3)]
    return [*parts, *((covariate_rows, n, n_studies) for n in (12, 24))]


def _work(task):
    function, *given = task
    return function(*given)


def simulate(n_studies, processes=1):
    """Return all rows."""
    tasks = work(n_studies)
    if processes == 1:
        return [row for task in tasks for row in _work(task)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return [row for rows in pool.map(_work, tasks) for row in rows]


def main(argv=None):
    """Run the simulation and write its rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--output", type=Path, default=Path("docs/unequal_maps.json"))
    arguments = parser.parse_args(argv)
    start = time.monotonic()
    rows = simulate(arguments.studies, arguments.processes)
    commit = current_commit()
    content = {
        "commit": commit,
        "machine": machine("numpy", "scipy", "numba", processes=arguments.processes),
        "seconds": round(time.monotonic() - start),
        "alphas": ALPHAS,
        "studies": arguments.studies,
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
