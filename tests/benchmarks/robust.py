"""Measure robust fits, covariates that are maps and bounds of effect sizes in one run.

    pip install ".[tests]" && python tests/benchmarks/robust.py [--small]

30 maps of 76,000 voxels, a tenth of whose values are outliers. Times are CPU time of one thread,
the best of some repeats, of a fit and a t contrast; Huber's and the bisquare's stand beside RLM of
statsmodels, which takes a voxel at a time, and so some of the voxels. The ratio is its time over
ours; what both estimate is compared in units of the standard error. Shuffles are permutations that
test a covariate that is a map, foreseen from fewer.
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
import statsmodels.api as sm
from measured_on import current_commit, machine
from threadpoolctl import threadpool_limits

from nipype_group.registry import loaded
from nipype_group.stats.effect_sizes import d_interval
from nipype_group.stats.estimators import ESTIMATORS
from nipype_group.stats.estimators.map_covariates import MapCovariates, fit_map_covariates
from nipype_group.stats.estimators.robust import fit_robust
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.permutation.tiles import VOXELS_PER_TILE

N_MAPS, N_VOXELS, PEER_VOXELS, N_SHUFFLES, REPEATS = 30, 76_000, 500, 1000, 3
AGE = np.linspace(-1, 1, N_MAPS)
DESIGNS = {
    "mean": np.ones((N_MAPS, 1)),
    "slope": np.column_stack([np.ones(N_MAPS), AGE]),
}
NORMS = {"huber": sm.robust.norms.HuberT(1.345), "bisquare": sm.robust.norms.TukeyBiweight(4.685)}
# Estimators whose shuffles take a covariate that is a map, and what they hold.
SHUFFLED = (("map-covariates", "again"), ("huber", "held"), ("mixed-effects", "held"))


def cpu_time(repeats, work, *arguments):
    """Return the least CPU time of some repeats, in seconds, and what the last one gives."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        found = work(*arguments)
        times.append(time.process_time() - start)
    return min(times), found


def draw(n_voxels):
    """Return maps with outliers, and a covariate."""
    rng = np.random.default_rng(3)
    grey = rng.standard_normal((N_MAPS, n_voxels))
    scale = np.where(rng.random((N_MAPS, n_voxels)) < 0.1, 5.0, 1.0)
    return 0.3 + 0.2 * grey + scale * rng.standard_normal((N_MAPS, n_voxels)), grey


def model_of(matrix):
    """Return the model of a matrix."""
    return LinearModel(matrix, tuple(f"x{i}" for i in range(matrix.shape[1])))


def robust(maps, matrix, method, covariates=None):
    """Fit all voxels and test the last column."""
    model = model_of(matrix)
    fit = fit_robust(model, lambda a, b: maps[:, a:b], maps.shape[1], method, covariates)
    n_columns = matrix.shape[1] + (covariates is not None)
    return fit.contrast(np.eye(n_columns)[-1:], "t")


def of_statsmodels(maps, matrix, method):
    """Fit voxels by RLM; return the effect of the last column."""
    norm = NORMS[method]
    fits = [sm.RLM(y, matrix, M=norm).fit(tol=1e-10, maxiter=500) for y in maps.T]
    return np.array([fit.params[-1] for fit in fits])


def covariate_of(grey):
    """Return a covariate as fits take it."""

    def rows(wanted):
        return (grey[None, row] for row in wanted)

    return MapCovariates(("grey",), lambda a, b: grey[None, :, a:b], rows, centred=True)


def least_squares(maps, grey):
    """Fit all voxels with a covariate that is a map, and test it."""
    model = model_of(DESIGNS["mean"])
    n_voxels = maps.shape[1]
    fit = fit_map_covariates(model, covariate_of(grey), lambda a, b: maps[:, a:b], n_voxels)
    return fit.contrast(np.array([[0.0, 1.0]]), "t")


def fits(maps, grey, n_peer):
    """Return the rows of fits."""
    n_voxels, rows = maps.shape[1], []
    for method in NORMS:
        for name, matrix in DESIGNS.items():
            seconds, found = cpu_time(REPEATS, robust, maps, matrix, method)
            row = {"work": f"{method}, {name}", "us_a_voxel": round(seconds / n_voxels * 1e6, 2)}
            if method == "huber":
                peer, theirs = cpu_time(1, of_statsmodels, maps[:, :n_peer], matrix, method)
                row["ratio"] = round(peer / n_peer / (seconds / n_voxels), 1)
                off = np.abs(theirs - found.effect[:n_peer]) / np.sqrt(found.variance[:n_peer])
                row["largest_difference"] = float(f"{off.max():.2g}")
            rows.append(row)
    works = {
        "least squares, a covariate that is a map": lambda: least_squares(maps, grey),
        "huber, a covariate that is a map": lambda: robust(
            maps, DESIGNS["mean"], "huber", covariate_of(grey)
        ),
    }
    t = least_squares(maps, grey).stat
    works["both bounds of d"] = lambda: d_interval(t, N_MAPS - 2.0, 0.2)
    for work, call in works.items():
        seconds, _ = cpu_time(REPEATS, call)
        rows.append({"work": work, "us_a_voxel": round(seconds / n_voxels * 1e6, 2)})
    return rows


def shuffles(maps, grey, n_shuffles):
    """Return the rows of permutations that test a covariate that is a map."""
    rng, rows, n_voxels = np.random.default_rng(4), [], maps.shape[1]
    orders = rng.permuted(np.tile(np.arange(N_MAPS), (n_shuffles, 1)), axis=1)
    signs = np.ones(orders.shape)
    data = {"effects": maps, "variances": 0.5 + grey * grey, "covariates": grey[None]}
    model = model_of(np.column_stack([np.ones(N_MAPS), AGE]))
    for name, how in SHUFFLED:
        estimator = ESTIMATORS[name]
        own = loaded(estimator.shuffled)(
            model,
            np.array([[0.0, 1.0]]),
            "t",
            covariates=("grey",),
            held=how == "held",
            **estimator.options,
        )
        tiles = [
            own.prepare({n: v[..., at : at + VOXELS_PER_TILE] for n, v in data.items()})
            for at in range(0, n_voxels, VOXELS_PER_TILE)
        ]
        own.statistic(tiles[-1], orders[:1], signs[:1])
        start = time.process_time()
        for tile in tiles:
            own.statistic(tile, orders, signs)
        minutes = (time.process_time() - start) * N_SHUFFLES / n_shuffles / 60
        work = f"{N_SHUFFLES:,} shuffles with a covariate, {name}, estimates {how}"
        rows.append({"work": work, "estimator": name, "cpu_minutes": round(minutes, 2)})
    return rows


def main():
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="few voxels and shuffles")
    parser.add_argument("--output", type=Path, default=Path("docs/robust.json"))
    options = parser.parse_args()
    n_voxels, n_peer = (2000, 5) if options.small else (N_VOXELS, PEER_VOXELS)
    maps, grey = draw(n_voxels)
    with threadpool_limits(1):
        fits(*draw(50), 2)
        rows = fits(maps, grey, n_peer)
        shuffled = shuffles(maps, grey, 2 if options.small else 10)
    found = {
        "commit": current_commit(),
        "maps": N_MAPS,
        "voxels": n_voxels,
        "peer_voxels": n_peer,
        "machine": machine("numpy", "scipy", "numba", "statsmodels"),
        "rows": rows,
        "shuffles": shuffled,
    }
    options.output.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps([*rows, *shuffled], indent=1))


if __name__ == "__main__":
    main()
