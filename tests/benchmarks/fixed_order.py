"""Measure what sums in a fixed order cost, stage by stage, against those of the matrix library.

    python tests/benchmarks/fixed_order.py [--small] [--output FILE]

The same code runs twice in one run: as it is, and with the products of `stats.matrix_products`
replaced by numpy's; early stopping once more without its second look. Smoothing is compared with
products of band matrices in float32, and with scipy's filter in float64. Times are CPU seconds of
one thread, the smallest of some repetitions; the ratio is ours over the other's.
"""

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from measured_on import current_commit, machine
from processors import loaded_kernel
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from nipype_group.stats.linear import least_squares as glm
from nipype_group.stats.linear.map_quality import map_quality
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.permutation import early_stopping
from nipype_group.stats.permutation.choice import row_labels
from nipype_group.stats.permutation.early_stopping import run_until_stopped
from nipype_group.stats.permutation.maps import partial_correlations
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.region_means import fit_regions, region_means
from nipype_group.stats.smoothing import FWHM_PER_SIGMA, TRUNCATE, VolumeSmoother, gaussian_kernel

N_MAPS, SHAPE, VOXEL_MM, FWHM_MM = 89, (60, 72, 60), 3.0, 5.0
REPEATS = 5
N_REGIONS = 115
WEIGHTS = np.array([[0.0, 1.0, 0.0]])
# Statistics, and how many shuffles take about a second.
PERMUTATIONS = {
    "permutation, largest voxel": (("voxel",), 2000),
    "permutation, extent and mass": (("voxel", "extent", "mass"), 2000),
    "permutation, TFCE": (("voxel", "tfce"), 40),
}


def library_product(left, right, out=None):
    """Multiply by the matrix library, as `multiply` does in a fixed order."""
    return np.matmul(left, right) if out is None else np.matmul(left, right, out=out)


def library_sum_of_squares(values, around=None):
    """Sum squares by numpy."""
    return np.square(values if around is None else values - around).sum(axis=0)


@contextlib.contextmanager
def matrix_library():
    """Let all modules that use products in a fixed order take the matrix library's."""
    own = {"multiply": library_product, "sum_of_squares": library_sum_of_squares}
    modules = [m for name, m in sys.modules.items() if name.startswith("nipype_group.")]
    with contextlib.ExitStack() as stack:
        for module in modules:
            for name, function in own.items():
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, function))
        yield


def seconds(work, repeats):
    """Return the smallest CPU seconds of a function, which runs once before."""
    work()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def plainly_reached(rows, series, reference, statistics, contrast):
    """Tell which shuffles reach a reference, as the matrix library's products say."""
    products = np.ascontiguousarray(rows.transpose(1, 0, 2)) @ series.T
    correlations = partial_correlations(products, contrast)
    return statistics.heights(correlations, contrast.signed) >= reference


def band_matrices(shape, sigma):
    """Return a float32 matrix an axis whose product smooths."""
    kernel = gaussian_kernel(sigma)
    radius = len(kernel) // 2
    found = []
    for n in shape:
        distance = np.arange(n)[None] - np.arange(n)[:, None] + radius
        inside = (distance >= 0) & (distance < len(kernel))
        found.append(np.where(inside, kernel[distance.clip(0, len(kernel) - 1)], 0))
    return [matrix.astype(np.float32) for matrix in found]


def by_matrices(volume, matrices):
    """Smooth by products of the matrix library."""
    for axis, matrix in enumerate(matrices):
        volume = np.moveaxis(np.tensordot(matrix, volume, axes=(1, axis)), 0, axis)
    return volume


def stages(shape, n_maps, n_regions, permutations):
    """Return the stages by name: ours, and other ways by name where a stage has its own."""
    rng = np.random.default_rng(0)
    place = np.stack(np.indices(shape), axis=-1) * 2 / (np.array(shape) - 1) - 1
    mask = np.square(place).sum(axis=-1) <= 0.8
    volumes = rng.standard_normal((n_maps, *shape), dtype=np.float32)
    data = volumes[:, mask].astype(float)
    sigma = FWHM_MM / FWHM_PER_SIGMA / VOXEL_MM
    smoother = VolumeSmoother(shape, [VOXEL_MM] * 3, [FWHM_MM] * 3)
    shares, matrices = smoother.weights(mask), band_matrices(shape, sigma)
    matrix = np.column_stack([np.ones(n_maps), rng.standard_normal(n_maps), np.arange(n_maps) % 2])
    model = glm.LinearModel(matrix, ("mean", "slope", "group"))
    scheme = ShufflingScheme("permute", row_labels(matrix), seed=1)
    contrast = ShuffledContrast(partition(model, WEIGHTS), scheme)
    numbers = rng.integers(-1, n_regions, data.shape[1])
    means = region_means(data, [numbers])[0]

    def read(start, stop):
        return data[:, start:stop]

    def fit():
        return glm.fit_tiles(model, read, data.shape[1])

    betas, variance, _ = fit()

    def estimate():
        return glm.contrast_maps(
            WEIGHTS, "t", betas, variance, model.covariance, model.dof, "two-sided"
        )

    def regions():
        return fit_regions(model, means).contrast(WEIGHTS, "t", "two-sided")

    def shuffle(names, n):
        return run_shuffles(read, mask, [contrast], ShuffleStatistics(names), 0, n, memory_gb=2.0)

    def stop():
        return run_until_stopped(read, mask, [contrast], ShuffleStatistics(), 20, 0, 500)

    found = {
        "smooth one map": (
            lambda: smoother(volumes[0], mask, shares),
            {
                "products in float32": lambda: by_matrices(
                    np.where(mask, volumes[0], 0).astype(np.float32), matrices
                ),
                "scipy's filter in float64": lambda: gaussian_filter(
                    volumes[0].astype(float), sigma, mode="constant", truncate=TRUNCATE
                ),
            },
        ),
        "fit": (fit, {}),
        "contrast": (estimate, {}),
        "quality of maps": (lambda: map_quality(model, read, data, data.shape[1]), {}),
        "region means": (lambda: region_means(data, [numbers]), {}),
        "region model": (regions, {}),
    }
    for name, (names, n) in permutations.items():
        found[name] = (lambda names=names, n=n: shuffle(names, n), {})

    def stop_at_once():
        with matrix_library(), mock.patch.object(early_stopping, "_reached", plainly_reached):
            return stop()

    found["permutation, early stop"] = (stop, {"no second look": stop_at_once})
    return found


def measure(found, repeats):
    """Return a row a stage and other way: milliseconds of both, and their ratio."""
    rows = []
    with threadpool_limits(1):
        for name, (work, others) in found.items():
            ours = seconds(work, repeats)
            taken = {label: seconds(other, repeats) for label, other in others.items()}
            if not others:
                with matrix_library():
                    taken = {"the matrix library's products": seconds(work, repeats)}
            for label, other in taken.items():
                row = {"work": name, "against": label, "ours_cpu_ms": ours, "other_cpu_ms": other}
                row |= {key: float(f"{1000 * row[key]:.3g}") for key in list(row)[2:]}
                rows.append(row | {"ratio": float(f"{ours / other:.3g}")})
                print(*rows[-1].values(), flush=True)
    return rows


def main(argv=None):
    """Measure all stages and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few voxels and shuffles, once each")
    parser.add_argument("--output", type=Path, default=Path("docs/fixed_order.json"))
    arguments = parser.parse_args(argv)
    if arguments.small:
        few = {name: (names, 30) for name, (names, _) in PERMUTATIONS.items()}
        rows = measure(stages((16, 15, 14), 20, 5, few), 1)
    else:
        rows = measure(stages(SHAPE, N_MAPS, N_REGIONS, PERMUTATIONS), REPEATS)
    commit = current_commit()
    about = machine("numpy", "scipy", "numba", kernel=loaded_kernel({}))
    content = {"commit": commit, "machine": about, "rows": rows}
    arguments.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
