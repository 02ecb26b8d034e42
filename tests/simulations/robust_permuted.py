"""Error rates and power of robust fits by permutation, beside their parametric tests.

    python tests/simulations/robust_permuted.py [--studies 1000] [--output FILE]

Every voxel is a study of its own. A hundred studies share a design and its shuffles.
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
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from measured_on import current_commit, machine
from threadpoolctl import threadpool_limits
from unequal_maps import ALPHAS, EFFECT, SHUFFLES, errors, model_of, ols, p_of, rates, reading

from nipype_group.stats.estimators.robust import METHODS, fit_robust
from nipype_group.stats.estimators.shuffled.robust import ShuffledRobust
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.permutation.scheme import ShufflingScheme

DESIGNS = ("mean", "slope")
MAPS = (12, 30)
KINDS = ("normal", "t of 3 dof", "one in ten of 5 sd")
# Studies that share a design and its shuffles.
ALIKE = 100
# By permutation MM takes the weights of the data as they are.
PERMUTED = (("huber", False), ("bisquare", False), ("huber", True), ("mm", True))


def design_of(kind, n_maps, rng):
    """Return the columns, the contrast and how maps are shuffled."""
    if kind == "mean":
        return (np.ones(n_maps),), [1.0], "flip"
    x = rng.standard_normal(n_maps)
    return (np.ones(n_maps), x - x.mean()), [0.0, 1], "permute"


def least_squares_of_shuffles(model, row, data, orders, signs):
    """Return |t| of least squares of shuffles, or what grows with it, shape (m, v)."""
    parts = partition(model, np.array([row]))
    left = data - parts.nuisance @ (parts.nuisance.T @ data)
    # No shuffle moves the intercept, the only nuisance, so t grows with this product.
    return np.abs((signs * parts.effect[orders, 0]) @ left)


def p_of_shuffles(statistics):
    """Return the shares of shuffles whose |statistic| is that of the first or more."""
    heights = np.abs(statistics)
    return (heights >= heights[0] * (1 - 1e-7)).mean(axis=0)


def p_values(design, row, how, data, seed):
    """Yield way, how and p of every test of a block of studies."""
    n_maps, n_studies = data.shape
    model, read = model_of(*design), reading(data)
    orders, signs = ShufflingScheme(how, tuple(range(n_maps)), seed=seed).draw(0, SHUFFLES + 1)
    yield "least squares", "parametric", ols(model, data, row)
    permuted = least_squares_of_shuffles(model, row, data, orders, signs)
    yield "least squares", "permutation", p_of_shuffles(permuted)
    for method in METHODS:
        yield method, "parametric", p_of(fit_robust(model, read, n_studies, method), row)
    for method, held in PERMUTED:
        own = ShuffledRobust(model, np.array([row]), "t", held, method)
        statistics = own.statistic(own.prepare({"effects": data}), orders, signs)
        yield method, "held" if held else "permutation", p_of_shuffles(statistics)


def rows_of(kind, n_maps, data_kind, n_studies):
    """Count errors, and the power for an effect of 2.5 errors, of every test."""
    rng = np.random.default_rng([11, DESIGNS.index(kind), n_maps, KINDS.index(data_kind)])
    found = {}
    for seed in range(n_studies // ALIKE):
        design, row, how = design_of(kind, n_maps, rng)
        noise = errors(data_kind, (n_maps, ALIKE), rng)
        effect = EFFECT / np.linalg.norm(design[-1])
        for of, data in (("errors", noise), ("power", noise + effect * design[-1][:, None])):
            for by, way, p in p_values(design, row, how, data, seed):
                found.setdefault((of, by, way), []).append(p)
    told = {"design": kind, "maps": n_maps, "data": data_kind, "studies": n_studies}
    return [
        told | {"of": of, "by": by, "how": way, "rates": rates(np.concatenate(p))}
        for (of, by, way), p in found.items()
    ]


def main(argv=None):
    """Run the simulation and write its rates as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=Path("docs/robust_permuted.json"))
    arguments = parser.parse_args(argv)
    start, rows = time.monotonic(), []
    commit = current_commit()
    about = {"commit": commit, "machine": machine("numpy", "scipy", "numba")}
    about |= {"alphas": ALPHAS, "studies": arguments.studies, "shuffles": SHUFFLES}
    with threadpool_limits(1):
        for task in product(DESIGNS, MAPS, KINDS):
            rows += rows_of(*task, arguments.studies)
            content = about | {"seconds": round(time.monotonic() - start), "rows": rows}
            arguments.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
