"""Measure effects with variances against PyMARE in one run.

    pip install ".[tests,benchmarks]" && python tests/benchmarks/effect_variance.py [--small]
    python tests/benchmarks/effect_variance.py --memory

The mean of 30 maps of 76,000 voxels with their variances. Times are CPU time of one thread, the
best of some repeats; the ratio is PyMARE's over ours. What both find is compared. Shuffles are
sign flips of every estimator of one map a participant, by one thread too; what it weighs maps by
is estimated again in each, or held. A covariate that is a map is tested by permutations, beside a
mean.

Memory, which is measured apart and put into the same file, is the peak of anonymous memory of a
process that estimates a contrast of 1,000 maps, from their stacks to all files. Of the search for
outliers it does the first tile of voxels: each takes as much, and all of them hours.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from unittest import mock

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from measured_on import current_commit, machine
from pymare import Dataset
from pymare.estimators import DerSimonianLaird, VarianceBasedLikelihoodEstimator
from stages import run_apart
from threadpoolctl import threadpool_limits

from nipype_group.execution.memory import StudySize, declare_memory
from nipype_group.images import write_volume
from nipype_group.images.grid import Grid
from nipype_group.images.stacks import write_volumes
from nipype_group.interfaces import ContrastSet, DesignMatrix, FitContrasts
from nipype_group.registry import loaded
from nipype_group.stats.estimators import ESTIMATORS, MAP_COVARIATES
from nipype_group.stats.estimators.effect_variance import METHODS, fit_effect_variance
from nipype_group.stats.estimators.map_covariates import MapCovariates, fit_map_covariates
from nipype_group.stats.estimators.outliers import Outliers, find_outliers
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.permutation.tiles import VOXELS_PER_TILE
from nipype_group.workflows import AnalysisSettings, init_group_wf

N_MAPS, N_VOXELS, N_SHUFFLES, REPEATS = 30, 76_000, 1000, 3
# Maps, and the grid, all of whose 235,000 voxels are analysed.
LARGE = 1000, (50, 47, 100)
# Estimators of other maps are measured elsewhere.
_OTHERS = frozenset({"clusters"})
MEAN = LinearModel(np.ones((N_MAPS, 1)), ("mean",))
# The mean, and a column in the place of a covariate that is a map.
BESIDE = LinearModel(np.column_stack([np.ones(N_MAPS), np.arange(N_MAPS)]), ("mean", "grey"))


def cpu_time(repeats, work, *arguments, **options):
    """Return the least CPU time of some repeats, in seconds, and what the last one gives."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        found = work(*arguments, **options)
        times.append(time.process_time() - start)
    return min(times), found


def draw(n_voxels):
    """Return effects and variances of one voxel in three without a variance between them."""
    rng = np.random.default_rng(3)
    variances = np.exp(0.7 * rng.standard_normal((N_MAPS, n_voxels)))
    between = rng.choice([0.0, 0.5, 3.0], n_voxels)
    effects = 0.3 + np.sqrt(variances + between) * rng.standard_normal((N_MAPS, n_voxels))
    return effects, variances


def ours(effects, variances, method, level=None):
    """Fit all voxels and estimate the mean."""
    fit = fit_effect_variance(
        MEAN,
        lambda a, b: effects[:, a:b],
        lambda a, b: variances[:, a:b],
        effects.shape[1],
        method,
        level=level,
    )
    return fit, fit.contrast(np.ones(1), "t")


def beside_a_map(effects, covariates):
    """Fit all voxels with a covariate that is a map, and test it."""
    own = MapCovariates(("grey",), lambda a, b: covariates[:, :, a:b], iter, centred=True)
    fit = fit_map_covariates(MEAN, own, lambda a, b: effects[:, a:b], effects.shape[1])
    return fit.contrast(np.array([[0.0, 1.0]]), "t")


def theirs(effects, variances, estimator):
    """Fit voxels with PyMARE."""
    dataset = Dataset(effects, variances, np.ones((N_MAPS, 1)), add_intercept=False)
    return estimator.fit_dataset(dataset).summary()


def fits(effects, variances, repeats):
    """Return the rows of fits."""
    n_voxels, rows = effects.shape[1], []
    peers = {
        "dersimonian-laird": DerSimonianLaird(),
        "mixed-effects": VarianceBasedLikelihoodEstimator(method="REML"),
    }
    for method, level in [*((m, None) for m in METHODS), ("mixed-effects", 0.95)]:
        seconds, (_, mean) = cpu_time(repeats, ours, effects, variances, method, level)
        row = {"work": method + (" with the interval of tau2" if level else "")}
        row["us_a_voxel"] = round(seconds / n_voxels * 1e6, 2)
        if method in peers and not level:
            peer, summary = cpu_time(repeats, theirs, effects, variances, peers[method])
            row["ratio"] = round(peer / seconds, 1)
            off = np.abs(np.ravel(summary.fe_params) - mean.effect)
            row["largest_difference"] = float(f"{(off / np.sqrt(mean.variance)).max():.2g}")
        rows.append(row)
    covariates = variances[None]
    seconds, _ = cpu_time(repeats, beside_a_map, effects, covariates)
    us = round(seconds / n_voxels * 1e6, 2)
    return [*rows, {"work": f"{MAP_COVARIATES}, one covariate", "us_a_voxel": us}]


def of_tiles(own, tiles, orders, signs):
    """Return the statistics of all shuffles, a tile at a time."""
    return [own.statistic(tile, orders, signs) for tile in tiles]


def shuffles(effects, variances, n_shuffles):
    """Return the rows of shuffles of every estimator, as the engine takes tiles of voxels."""
    rng, n_voxels, rows = np.random.default_rng(4), effects.shape[1], []
    orders = np.tile(np.arange(N_MAPS), (n_shuffles, 1))
    signs = rng.choice([-1.0, 1.0], orders.shape)
    data = {"effects": effects, "variances": variances, "covariates": variances[None]}
    for name, estimator in ESTIMATORS.items():
        for held in (False, True) if estimator.shuffled is not None else ():
            how = "held" if held else "again"
            if how in estimator.not_shuffled or _OTHERS.intersection(estimator.needs):
                continue
            made = loaded(estimator.shuffled)
            moves = orders, signs
            if "covariates" in estimator.needs:
                own = made(BESIDE, np.array([[0.0, 1.0]]), "t", covariates=("grey",))
                moves = rng.permuted(orders, axis=1), np.ones_like(signs)
            else:
                own = made(MEAN, np.ones((1, 1)), "t", held, **estimator.options)
            tiles = [
                own.prepare({n: v[..., at : at + VOXELS_PER_TILE] for n, v in data.items()})
                for at in range(0, n_voxels, VOXELS_PER_TILE)
            ]
            own.statistic(tiles[-1], *(of_one[:1] for of_one in moves))
            seconds, _ = cpu_time(1, of_tiles, own, tiles, *moves)
            minutes = seconds * N_SHUFFLES / n_shuffles / 60
            work = f"{N_SHUFFLES:,} shuffles, {name}, estimates {how}"
            row = {"work": work, "cpu_minutes": round(minutes, 2)}
            rows.append(row | {"estimator": name, "estimates": how})
    return rows


def large_fit(folder, n_maps, shape):
    """Write the stacks of maps and of their variances; return what estimates their slope."""
    rng, space = np.random.default_rng(5), Grid(shape, np.diag([2.0, 2, 2, 1]))

    def effects():
        for _ in range(n_maps):
            yield rng.standard_normal(shape) * (1 + 6 * (rng.random(shape) < 0.02))

    def variances():
        for _ in range(n_maps):
            yield np.exp(0.7 * rng.standard_normal(shape))

    inputs = {"estimator": "mixed-effects"}
    for name, volumes in (("stack_file", effects()), ("variance_stack_file", variances())):
        path = folder / space.file_name(name)
        inputs[name] = write_volumes(path, volumes, n_maps, space)
    inputs["mask_file"] = write_volume(folder / space.file_name("mask"), np.ones(shape), space)
    table = folder / "observations.tsv"
    rows = "".join(f"s{i}\t{i % 7}\n" for i in range(n_maps))
    table.write_text("participant_id\tage\n" + rows)
    design = DesignMatrix(observations=str(table), formula="age").run(cwd=folder).outputs
    inputs |= {"design_file": design.design_file, "design_json": design.design_json}
    of_design = {name: inputs[name] for name in ("design_file", "design_json")}
    contrasts = ContrastSet(contrasts=["age=age"], **of_design).run(cwd=folder).outputs
    return FitContrasts(**inputs, contrasts_file=contrasts.contrasts_file)


def memory(folder, n_maps, shape):
    """Return the peaks of a contrast of many maps, with and without outliers."""
    warm = folder / "warm"
    warm.mkdir()
    large_fit(warm, 30, (5, 5, 5)).run(cwd=warm, outliers=True)
    fit, looked = large_fit(folder, n_maps, shape), []

    def first_tile(model, effects, variances):
        if not looked:
            looked.append(True)
            return find_outliers(model, effects, variances)
        nothing = np.zeros(effects.shape[1])
        return Outliers(np.zeros(effects.shape), nothing, nothing, nothing, variances)

    rows = []
    with mock.patch("nipype_group.images.outlier_stacks.find_outliers", first_tile):
        for outliers in (False, True):
            base = run_apart(lambda: time.sleep(0.1))["memory_gib"]
            found = run_apart(partial(fit.run, cwd=folder, outliers=outliers))
            row = {"work": "mixed effects" + " with outliers" * outliers, "maps": n_maps}
            row |= {"voxels": math.prod(shape), "base_gib": base}
            row |= {"memory_gib": found["memory_gib"]}
            rows.append(row | {"declared_gib": declared(n_maps, shape, outliers)})
            print(rows[-1], flush=True)
    return rows


def declared(n_maps, shape, outliers):
    """Return the memory that the node of the contrasts declares."""
    how = {"estimator": "mixed-effects", "outliers": outliers, "formula": "age"}
    workflow = init_group_wf(settings=AnalysisSettings(contrasts=("age=age",), **how))
    return declare_memory(workflow, StudySize(n_maps, shape, 2))["group_wf.model_wf.estimate"]


def measure_memory(output):
    """Put the peaks of memory into the file of figures."""
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        rows = memory(Path(folder), *LARGE)
    stored = json.loads(output.read_text())
    stored["memory"] = {"commit": current_commit(), "rows": rows}
    output.write_text(json.dumps(stored, indent=2) + "\n")


def main():
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="few voxels and shuffles")
    parser.add_argument("--memory", action="store_true", help="memory alone")
    parser.add_argument("--output", type=Path, default=Path("docs/effect_variance.json"))
    options = parser.parse_args()
    if options.memory:
        measure_memory(options.output)
        return
    n_voxels = 2000 if options.small else N_VOXELS
    effects, variances = draw(n_voxels)
    with threadpool_limits(1):
        ours(*draw(100), "mixed-effects", 0.95)
        beside_a_map(*draw(100)[:1], draw(100)[1][None])
        rows = fits(effects, variances, REPEATS)
        shuffled = shuffles(effects, variances, 2 if options.small else 10)
    found = {
        "commit": current_commit(),
        "maps": N_MAPS,
        "voxels": n_voxels,
        "machine": machine("numpy", "scipy", "numba", "pymare"),
        "rows": rows,
        "shuffles": shuffled,
    }
    if options.output.is_file():
        found["memory"] = json.loads(options.output.read_text()).get("memory")
    options.output.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps([*rows, *shuffled], indent=1))


if __name__ == "__main__":
    main()
