"""Check a cost model of the permutation engine against measurements, and say what it foresees.

    python tests/benchmarks/scaling.py [--output FILE]

A shuffle of n maps and v voxels with r + q design rows costs ``v (n (r + q) / rate + scan)``
seconds, and a pass over the maps, once a shard where they fit in memory and once a batch where
they do not, ``n v series``. TFCE adds ``v tfce`` for each side and float64 products. The rate is
that of float32 matrix products; scan, series and tfce are measured at one size each, and the
model then has to foresee the other sizes, and numbers of shuffles. Threads are measured by the
clock too, so the machine has to be idle.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from association import matrix_rate, measure
from measured_on import current_commit, machine
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.permutation import run as permutation
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.permutation.tiles import passes_over_maps

# Maps, voxels, nuisance regressors that shuffles move, memory for what is kept, in 10^9 bytes.
MEASURED = (
    (20, 70000, 0, 1.0),
    (89, 20000, 0, 1.0),
    (89, 235000, 0, 1.0),
    (89, 70000, 3, 1.0),
    (500, 70000, 0, 1.0),
    (2000, 20000, 0, 1.0),
    (2000, 20000, 3, 1.0),
    (2000, 20000, 0, 0.1),
    (8000, 20000, 0, 1.0),
)
REFERENCE = (89, 70000, 0, 1.0)
# Shuffles of the reference, beside the 2,560 that the model is made of.
SHUFFLES = (512, 8192, 32768)
FORESEEN = ((1000, 235000, 3, 4.0), (5000, 235000, 3, 4.0), (40000, 70000, 3, 4.0))


def study(n_maps, n_voxels, folder):
    """Write maps on disk, memory-mapped as a stack is; returns a reader and a mask."""
    maps = np.memmap(folder / "maps", np.float32, "w+", shape=(n_maps, n_voxels))
    rng = np.random.default_rng(0)
    for values in maps:
        values[:] = gaussian_filter(rng.standard_normal(n_voxels), 2)
    side = round(n_voxels ** (1 / 3)) + 1
    mask = np.zeros((side, side, side), dtype=bool)
    mask.ravel(order="K")[:n_voxels] = True
    return lambda start, stop: maps[:, start:stop].astype(float), mask.T


def contrast_of(n_maps, n_nuisance):
    """Return a covariate beside an intercept and further covariates."""
    rng = np.random.default_rng(1)
    matrix = np.column_stack([np.ones(n_maps), rng.standard_normal((n_maps, 1 + n_nuisance))])
    model = LinearModel(matrix, tuple(f"c{i}" for i in range(matrix.shape[1])))
    weights = np.eye(matrix.shape[1])[1:2]
    scheme = ShufflingScheme("permute", tuple(range(n_maps)), seed=1)
    return ShuffledContrast(partition(model, weights), scheme)


def run(read, mask, contrast, n_shuffles, memory_gb, names=("voxel",), n_threads=1):
    """Return CPU seconds of shuffles 1 to n_shuffles."""
    with threadpool_limits(1, "blas"):
        return measure(
            lambda: permutation.run_shuffles(
                read,
                mask,
                [contrast],
                ShuffleStatistics(names, "positive"),
                1,
                1 + n_shuffles,
                n_threads=n_threads,
                memory_gb=memory_gb,
            )
        )[0]


def by_threads(n_shuffles=8192):
    """Return a row a number of threads: seconds by the clock, and of all processors."""
    n_maps, n_voxels, _, memory_gb = REFERENCE
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        read, mask = study(n_maps, n_voxels, Path(folder))
        contrast = contrast_of(n_maps, 0)
        for n_threads in range(1, len(os.sched_getaffinity(0)) + 1):
            start = time.perf_counter()
            cpu = run(read, mask, contrast, n_shuffles, memory_gb, n_threads=n_threads)
            seconds = time.perf_counter() - start
            rows.append({"threads": n_threads, "wall_s": _short(seconds), "cpu_s": _short(cpu)})
    return {"shuffles": n_shuffles, "maps": n_maps, "voxels": n_voxels, "rows": rows}


class CostModel:
    """Seconds of CPU time, from this machine's rates at the reference size."""

    def __init__(self):
        n_maps, n_voxels, _, memory_gb = REFERENCE
        self.rate = matrix_rate(n_maps)
        with tempfile.TemporaryDirectory() as folder:
            read, mask = study(n_maps, n_voxels, Path(folder))
            contrast = contrast_of(n_maps, 0)
            run(read, mask, contrast, 10, memory_gb, ("voxel", "tfce"))
            few, many = (run(read, mask, contrast, n, memory_gb) for n in (256, 2560))
            tfce = run(read, mask, contrast, 64, memory_gb, ("voxel", "tfce"))
        shuffle = (many - few) / (2560 - 256)
        self.scan = max(shuffle / n_voxels - n_maps / self.rate, 0.0)
        self.series = (few - 256 * shuffle) / (n_maps * n_voxels)
        self.tfce = (tfce - few) / 64 / n_voxels + 256 / 64 * shuffle / n_voxels

    def seconds(self, n_maps, n_voxels, n_nuisance, memory_gb, n_shuffles):
        """Foresee CPU seconds of shuffles of one shard."""
        products = n_maps * (1 + n_nuisance) / self.rate
        scan = self.scan * (1 + n_nuisance)
        passes = passes_over_maps(n_maps, 1 + n_nuisance, n_voxels, n_shuffles, memory_gb * 1e9)
        return n_voxels * (n_shuffles * (products + scan) + passes * n_maps * self.series)


def main(argv=None):
    """Measure, compare, foresee, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/scaling.json"))
    arguments = parser.parse_args(argv)
    model, rows = CostModel(), []
    sizes = [(*size, 512 if size[0] * size[1] > 3e7 else 2048) for size in MEASURED]
    sizes += [(*REFERENCE, n_shuffles) for n_shuffles in SHUFFLES]
    for n_maps, n_voxels, n_nuisance, memory_gb, n_shuffles in sizes:
        with tempfile.TemporaryDirectory() as folder:
            read, mask = study(n_maps, n_voxels, Path(folder))
            contrast = contrast_of(n_maps, n_nuisance)
            measured = run(read, mask, contrast, n_shuffles, memory_gb)
        size = (n_maps, n_voxels, n_nuisance, memory_gb)
        foreseen = model.seconds(*size, n_shuffles)
        rows.append(_row(size, n_shuffles, foreseen, measured))
        print(rows[-1], flush=True)
    rows += [_row(size, 10000, model.seconds(*size, 10000)) for size in FORESEEN]
    commit = current_commit()
    rates = {
        "float32 multiply-adds a second": model.rate,
        "scan, seconds a voxel": model.scan,
        "series, seconds a value": model.series,
        "TFCE, seconds a voxel and side": model.tfce,
    }
    rates = {name: _short(value) for name, value in rates.items()}
    content = {
        "commit": commit,
        "machine": machine("numpy", "numba"),
        "rates": rates,
        "rows": rows,
        "threads": by_threads(),
    }
    arguments.output.write_text(json.dumps(content, indent=2) + "\n")


def _row(size, n_shuffles, foreseen, measured=None):
    names = ("maps", "voxels", "moved_nuisance", "memory_gb")
    row = dict(zip(names, size, strict=True)) | {"shuffles": n_shuffles}
    row["foreseen_cpu_s"] = _short(foreseen)
    if measured is not None:
        row["measured_cpu_s"] = _short(measured)
        row["measured_over_foreseen"] = _short(measured / foreseen)
    return row


def _short(value):
    return float(f"{value:.3g}")


if __name__ == "__main__":
    main()
