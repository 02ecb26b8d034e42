"""How often intervals of effect sizes hold the true ones.

    python tests/simulations/effect_size_coverage.py [--studies 20000] [--output FILE]

Every voxel is a study of its own, with normal errors of variance 1 about effects of a known size.
What the interval of a share or correlation is of has degrees of freedom in it, ncp / (ncp + dof),
where that of a population of the same design has the number of maps: both are counted.
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
from threadpoolctl import threadpool_limits

from nipype_group.stats.effect_sizes import (
    omega_squared,
    r_squared_interval,
    share_interval,
    sizes_of_maps,
)
from nipype_group.stats.linear.least_squares import LinearModel, contrast_maps, fit_by_pattern

LEVEL = 0.95
# What d is in the studies, of the first row of a contrast.
TRUE = (0.0, 0.5, 1.2)
SIZES = ("d", "g", "partial-r", "partial-eta2", "omega2")


def designs():
    """Return matrix and contrast rows of every design by name."""
    two = np.repeat(np.eye(2), (8, 20), axis=0)
    three = np.repeat(np.eye(3), (8, 10, 12), axis=0)
    x = np.linspace(-1, 1, 30) ** 3
    slope = np.column_stack([np.ones(30), x / x.std()])
    return {
        "mean of 12 maps": (np.ones((12, 1)), [[1.0]]),
        "mean of 30 maps": (np.ones((30, 1)), [[1.0]]),
        "8 against 20 maps": (two, [[1.0, -1]]),
        "slope over 30 maps": (slope, [[0.0, 1]]),
        "F of groups of 8, 10 and 12 maps": (three, [[1.0, -1, 0], [0, 1, -1]]),
    }


def truths(matrix, rows, d):
    """Return the effects, and the noncentrality of the contrast, of a true d."""
    covariance = np.linalg.inv(matrix.T @ matrix)
    effects = np.zeros(matrix.shape[1])
    effects[np.flatnonzero(rows[0])[0]] = d
    of_rows = rows @ effects
    ncp = of_rows @ np.linalg.solve(rows @ covariance @ rows.T, of_rows)
    return effects, float(ncp)


def targets(size, d, ncp, dof, n_maps):
    """Return what an interval is compared with, by name."""
    if size in ("d", "g"):
        return {"d": d}
    both = {"as estimated": ncp / (ncp + dof), "population": ncp / (ncp + n_maps)}
    return {name: np.sqrt(own) if size == "partial-r" else own for name, own in both.items()}


def intervals(matrix, rows, data):
    """Return lower and upper ends of every size of a contrast, and of R squared."""
    model = LinearModel(matrix, tuple("abc"[: matrix.shape[1]]))
    n_studies, test = data.shape[1], "t" if len(rows) == 1 else "F"

    def read(start, stop):
        return data[:, start:stop]

    betas, variance, r_squared, _ = fit_by_pattern(model, read, n_studies)
    maps, _ = contrast_maps(rows, test, betas, variance, model.covariance, model.dof, "two-sided")
    maps |= {"dof": np.full(n_studies, float(model.dof))}
    maps |= {"dof_numerator": np.full(n_studies, float(len(rows)))}
    sizes = sizes_of_maps(SIZES, test, len(rows), maps, LEVEL)
    found = {name: (size.lower, size.upper) for name, size in sizes.items()}
    f, dofs = np.square(maps["stat"]) if test == "t" else maps["stat"], (len(rows), model.dof)
    as_an_f = share_interval(omega_squared(f, *dofs), *dofs, LEVEL)
    found["omega2, taken for the share of an F"] = as_an_f
    if model.rank > 1:
        found["R2"] = r_squared_interval(r_squared, model.rank - 1, model.dof, LEVEL)
    return found


def rows_of(name, number, n_studies):
    """Return a row a true size, size and target: how many intervals hold it."""
    matrix, contrast = designs()[name]
    contrast, found = np.array(contrast), []
    n_maps, dof = len(matrix), len(matrix) - matrix.shape[1]
    for place, d in enumerate(TRUE):
        rng = np.random.default_rng([12, number, place])
        effects, ncp = truths(matrix, contrast, d)
        data = rng.standard_normal((n_maps, n_studies)) + (matrix @ effects)[:, None]
        for size, (lower, upper) in intervals(matrix, contrast, data).items():
            for target, true in targets(size, d, ncp, dof, n_maps).items():
                held = int(((lower <= true) & (true <= upper)).sum())
                row = {"design": name, "d": d, "size": size, "target": target}
                row |= {"true": round(float(true), 6), "studies": n_studies, "held": held}
                found.append(row | {"below": int((upper < true).sum())})
    return found


def simulate(n_studies):
    """Yield the rows of every design."""
    with threadpool_limits(1):
        for number, name in enumerate(designs()):
            yield rows_of(name, number, n_studies)


def main(argv=None):
    """Run the simulation and write its rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20_000)
    default = Path("docs/effect_size_coverage.json")
    parser.add_argument("--output", type=Path, default=default)
    arguments = parser.parse_args(argv)
    start, rows = time.monotonic(), []
    commit = current_commit()
    about = {"commit": commit, "machine": machine("numpy", "scipy", "numba"), "level": LEVEL}
    for own in simulate(arguments.studies):
        rows += own
        content = about | {"seconds": round(time.monotonic() - start), "rows": rows}
        arguments.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
