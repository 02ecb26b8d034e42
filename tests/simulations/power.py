"""Count what tests find of planted effects, beside nilearn at equal error.

    python tests/simulations/power.py [--studies 300] [--shuffles 199] [--output FILE]

Every study draws its own maps: smooth normal noise, in half of the studies with planted effects.
Both packages get the same maps, and each draws its own shuffles. How often a test finds anything
in studies without effects is its familywise error; the share of planted voxels that it finds in
the others is its power.
"""

import argparse
import json
import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import nibabel as nib
import numpy as np
from measured_on import current_commit, machine
from scipy import stats
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from nipype_group.stats.linear.least_squares import LinearModel, contrast_maps, fit_tiles
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.multiple_testing import adjust
from nipype_group.stats.neighbours import neighbour_list
from nipype_group.stats.permutation.choice import row_labels
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.p_values import cluster_heights, correct
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics

ALPHA = 0.05
SHAPE = (14, 14, 14)
SIGMA_VOXELS = 1.2
N_MAPS = 24
MASK = np.ones(SHAPE, dtype=bool)
# Where the slope is planted: centre, radius in voxels, and slope in standard deviations of the
# noise. Two small and high effects, one wide and low.
PLANTED = (((3, 3, 3), 1.5, 1.1), ((10, 3, 10), 1.5, 1.1), ((8, 9, 5), 3.5, 0.7))
# Our names of statistics to nilearn's.
STATISTICS = {"voxel": "t", "extent": "size", "mass": "mass", "tfce": "tfce"}
# Clusters form at p < .001 of one side in both packages.
FORMING_P = 0.001


@cache
def planted():
    """Return the slope of every voxel, shape (v,)."""
    places = np.indices(SHAPE)
    slopes = np.zeros(SHAPE)
    for centre, radius, slope in PLANTED:
        distance = np.sqrt(np.square(places - np.reshape(centre, (3, 1, 1, 1))).sum(axis=0))
        slopes[distance <= radius] = slope
    return slopes[MASK]


def study_of(number, effects):
    """Draw the regressor, shape (n,), and the maps, shape (n, v), of a study."""
    rng = np.random.default_rng([7, number])
    regressor = stats.zscore(rng.standard_normal(N_MAPS))
    noise = np.stack([_smooth(rng.standard_normal(SHAPE))[MASK] for _ in range(N_MAPS)])
    return regressor, noise + (np.outer(regressor, planted()) if effects else 0)


def _smooth(noise):
    return gaussian_filter(noise, SIGMA_VOXELS, mode="wrap") / _deviation()


@cache
def _deviation():
    """Return the standard deviation that smoothing leaves of white noise."""
    impulse = np.zeros(SHAPE)
    impulse[0, 0, 0] = 1
    return np.sqrt(np.square(gaussian_filter(impulse, SIGMA_VOXELS, mode="wrap")).sum())


def ours(regressor, data, n_shuffles, seed):
    """Return corrected p of every statistic, and of Bonferroni, arrays of shape (v,)."""
    matrix = np.column_stack([np.ones(N_MAPS), regressor])
    model, row = LinearModel(matrix, ("intercept", "x")), np.array([[0.0, 1]])
    scheme = ShufflingScheme("permute", row_labels(matrix), seed=seed)
    contrast = ShuffledContrast(partition(model, row), scheme)
    statistics = ShuffleStatistics(
        tuple(STATISTICS), "positive", cluster_forming_p=FORMING_P, connectivity=6
    )
    (result,) = run_shuffles(
        lambda start, stop: data[:, start:stop], MASK, [contrast], statistics, 0, n_shuffles + 1
    )
    neighbours = neighbour_list(MASK, statistics.connectivity)
    heights = result.observed | cluster_heights(
        result.observed["voxel"], statistics, contrast, neighbours
    )
    p = {
        name: correct(name, heights[name], result.nulls[f"{name}_positive"], ALPHA).p
        for name in STATISTICS
    }
    betas, variance, _ = fit_tiles(model, lambda a, b: data[:, a:b], data.shape[1])
    maps, _ = contrast_maps(row, "t", betas, variance, model.covariance, model.dof, "positive")
    log_p = stats.norm.logsf(maps["z"])
    return p | {name: np.exp(adjust(log_p, name)) for name in ("bonferroni", "hommel")}


def nilearns(regressor, data, n_shuffles, seed):
    """Return the same of nilearn, which has no Hommel's p."""
    from nilearn.maskers import NiftiMasker
    from nilearn.mass_univariate import permuted_ols

    masker = NiftiMasker(nib.Nifti1Image(MASK.astype(np.uint8), np.eye(4))).fit()
    found = permuted_ols(
        regressor[:, None],
        data,
        model_intercept=True,
        n_perm=n_shuffles,
        two_sided_test=False,
        random_state=seed,
        masker=masker,
        tfce=True,
        threshold=FORMING_P,
        output_type="dict",
    )
    p = {ours: 10.0 ** -found[f"logp_max_{its}"][0] for ours, its in STATISTICS.items()}
    tail = stats.t.sf(found["t"][0], N_MAPS - 2)
    p["bonferroni"] = np.minimum(1, tail * MASK.sum())
    return p


def study(number, n_shuffles):
    """Return what each test finds in a study: whether anything, or which share of planted voxels.

    Studies of even numbers have effects.
    """
    effects = number % 2 == 0
    regressor, data = study_of(number, effects)
    found = {}
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for package, test in (("nipype_group", ours), ("nilearn", nilearns)):
            for name, p in test(regressor, data, n_shuffles, number).items():
                hit = p <= ALPHA
                found[name, package] = hit[planted() > 0].mean() if effects else hit.any()
    return effects, found


def simulate(n_studies, n_shuffles, processes=1):
    """Run as many studies without effects as with them; returns a row a test and package."""
    work = partial(study, n_shuffles=n_shuffles)
    numbers = range(2 * n_studies)
    if processes == 1:
        results = list(map(work, numbers))
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            results = list(pool.map(work, numbers, chunksize=10))
    tests = list(dict.fromkeys(test for test, _ in results[0][1]))
    keys = sorted(results[0][1], key=lambda key: tests.index(key[0]))
    return [_row(key, results) for key in keys]


def _row(key, results):
    errors = [found[key] for effects, found in results if not effects]
    shares = np.array([found[key] for effects, found in results if effects])
    interval = stats.binomtest(int(sum(errors)), len(errors)).proportion_ci(0.95)
    return {
        "test": key[0],
        "package": key[1],
        "error": float(np.mean(errors)),
        "error_interval": [round(interval.low, 4), round(interval.high, 4)],
        "power": float(shares.mean()),
        "power_error": float(shares.std(ddof=1) / np.sqrt(len(shares))),
    }


def main(argv=None):
    """Run the simulation and write its rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=300, help="without effects, and with them")
    parser.add_argument("--shuffles", type=int, default=199)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--output", type=Path, default=Path("docs/power.json"))
    arguments = parser.parse_args(argv)
    if (arguments.shuffles + 1) % round(1 / ALPHA):
        parser.error("shuffles are a multiple of 20 less 1, so that p can be exactly .05")
    start = time.monotonic()
    rows = simulate(arguments.studies, arguments.shuffles, arguments.processes)
    content = {
        "commit": current_commit(),
        "machine": machine("numpy", "scipy", "numba", "nilearn"),
        "studies": arguments.studies,
        "shuffles": arguments.shuffles,
        "maps": N_MAPS,
        "volume": list(SHAPE),
        "sigma_voxels": SIGMA_VOXELS,
        "planted": [list(place) for place in PLANTED],
        "seconds": round(time.monotonic() - start),
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
