"""Measure the association analysis against nilearn in one run: 89 maps at 3 mm.

    python tests/benchmarks/association.py [--output FILE]

Both sides get the same smoothed maps in memory and the same mask; CPU time counts all threads of
the process, per shuffle where there are shuffles. The ratio is nilearn's CPU time over ours. The
same again with smooth noise of 235,000 voxels.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import nibabel as nib
import numpy as np
import pandas as pd
from measured_on import current_commit, machine
from nilearn.glm import threshold_stats_img
from nilearn.glm.second_level import SecondLevelModel, non_parametric_inference
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from nipype_group.data.generate import generate
from nipype_group.images import Grid, write_volume
from nipype_group.images.coverage import group_mask
from nipype_group.images.smoothing import smooth_maps
from nipype_group.images.stacks import MaskedStack, write_stack
from nipype_group.stats.linear.least_squares import LinearModel, contrast_maps, fit_tiles
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.permutation.choice import row_labels
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.thresholding import threshold_map
from nipype_group.tsv import read_tsv

WEIGHTS = np.array([0.0, 1.0])


def measure(work, repeats=1):
    """Return the smallest CPU seconds of some runs, and the result of the last."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def prepare(folder):
    """Generate and smooth the demonstration data; returns its stack, images and design."""
    data = generate("association", folder / "data")
    table = read_tsv(data / "participants.tsv").dropna(subset=["pseudo"])
    maps = [next(data.glob(f"{label}/**/*statmap.nii.gz")) for label in table["participant_id"]]
    smoothed = smooth_maps(maps, folder, [5.0], n_threads=2)
    mask, coverage = group_mask(smoothed)
    grid = coverage.space
    stack_file = write_stack(folder / "stack.nii", smoothed, mask, grid)
    mask_file = write_volume(folder / "mask.nii.gz", mask, grid, np.uint8)
    images = [
        nib.Nifti1Image(nib.load(f).get_fdata(dtype=np.float32), grid.affine) for f in smoothed
    ]
    images = [nib.Nifti1Image(np.nan_to_num(i.get_fdata()), grid.affine) for i in images]
    design = pd.DataFrame({"intercept": 1.0, "pseudo": table["pseudo"].astype(float)})
    return MaskedStack(stack_file, mask_file), images, nib.load(mask_file), design


def ours_parametric(stack, design):
    """Fit, estimate the contrast and threshold by FDR."""
    model = LinearModel(design.to_numpy(), tuple(design))
    betas, variance, _ = fit_tiles(model, stack.read, stack.n_voxels)
    maps, _ = contrast_maps(
        WEIGHTS[None], "t", betas, variance, model.covariance, model.dof, "two-sided"
    )
    return threshold_map(stack.unmask(maps["z"]), stack.mask, "fdr")


def nilearns_parametric(images, mask, design):
    """Do the same with nilearn."""
    fitted = SecondLevelModel(mask_img=mask, minimize_memory=True).fit(
        images, design_matrix=design
    )
    z = fitted.compute_contrast(WEIGHTS, output_type="z_score")
    return threshold_stats_img(z, mask_img=mask, alpha=0.05, height_control="fdr")


def ours_permutation(stack, design, n_permutations, n_threads, names=("voxel",), tail="two-sided"):
    """Find the null distributions of the largest values."""
    matrix = design.to_numpy()
    model = LinearModel(matrix, tuple(design))
    scheme = ShufflingScheme("permute", row_labels(matrix), seed=1)
    contrast = ShuffledContrast(partition(model, WEIGHTS[None]), scheme)
    with threadpool_limits(1, "blas"):
        return run_shuffles(
            stack.read,
            stack.mask,
            [contrast],
            ShuffleStatistics(names, tail),
            0,
            n_permutations + 1,
            n_threads=n_threads,
            memory_gb=2.0,
        )


def nilearns_permutation(images, mask, design, n_permutations, two_sided=True, **statistics):
    """Find the same nulls with nilearn, in one process: CPU time does not count others."""
    return non_parametric_inference(
        images,
        design_matrix=design,
        second_level_contrast="pseudo",
        mask=mask,
        model_intercept=True,
        n_perm=n_permutations,
        two_sided_test=two_sided,
        n_jobs=1,
        random_state=0,
        verbose=0,
        **statistics,
    )


def matrix_rate(n_maps, repeats=5):
    """Return the float32 matrix-product rate of one core in multiply-adds a second."""
    rng = np.random.default_rng(0)
    left = rng.standard_normal((256, n_maps)).astype(np.float32)
    right = rng.standard_normal((n_maps, 1024)).astype(np.float32)
    with threadpool_limits(1, "blas"):
        seconds, _ = measure(lambda: [left @ right for _ in range(200)], repeats)
    return 200 * 256 * n_maps * 1024 / seconds


# Statistics of a shuffle, our names for them, nilearn's options, and how many shuffles each side
# runs: enough for a second of work or more.
STATISTICS = {
    "largest voxel": (("voxel",), {}, 10000, 150),
    "extent and mass": (("voxel", "extent", "mass"), {"threshold": 0.001}, 10000, 40),
    "TFCE, both sides": (("voxel", "tfce"), {"tfce": True}, 500, 5),
}


def large(folder, n_maps=89, n_voxels=235000):
    """Write smooth noise of about so many voxels; returns its stack, images, mask and design."""
    shape = (73, 87, 73)
    axes = np.indices(shape) - np.array(shape)[:, None, None, None] / 2
    distance = np.square(axes / np.array(shape)[:, None, None, None]).sum(axis=0)
    mask = distance <= np.sort(distance, axis=None)[n_voxels - 1]
    grid = Grid(shape, np.diag([2.0, 2, 2, 1]))
    rng = np.random.default_rng(1)
    files = [
        write_volume(folder / f"{i}.nii", gaussian_filter(rng.standard_normal(shape), 1.5), grid)
        for i in range(n_maps)
    ]
    stack_file = write_stack(folder / "stack.nii", files, mask, grid)
    mask_file = write_volume(folder / "mask.nii", mask, grid, np.uint8)
    design = pd.DataFrame({"intercept": 1.0, "pseudo": rng.standard_normal(n_maps)})
    images = [nib.load(f) for f in files]
    return MaskedStack(stack_file, mask_file), images, nib.load(mask_file), design


def compare(data, label, add, scale=1.0):
    """Time every statistic of shuffles on one data set, per shuffle; scale is of nilearn's."""
    stack, images, mask, design = data
    cores = len(os.sched_getaffinity(0))
    for work, (names, options, n_ours, n_theirs) in STATISTICS.items():
        n_theirs = max(2, int(n_theirs * scale))
        for threads in sorted({1, cores}):
            # More threads of the matrix library cost nilearn CPU time, and save it none.
            with threadpool_limits(threads, "blas"):
                few, many = (
                    measure(
                        lambda n=n, o=options: nilearns_permutation(images, mask, design, n, **o)
                    )[0]
                    for n in (n_theirs, 3 * n_theirs)
                )
            # What it does once is left out; ours includes it.
            theirs = (many - few) / 2
            # The clock of a shared machine drifts: its rate is taken before and after.
            before = matrix_rate(len(design))
            ours, _ = measure(
                lambda n=n_ours, t=threads, s=names: ours_permutation(stack, design, n, t, s), 2
            )
            rate = (before + matrix_rate(len(design))) / 2
            share = n_ours * len(design) * stack.n_voxels / ours / rate
            note = f"{n_ours:,} and {2 * n_theirs:,} shuffles"
            if names == ("voxel",):
                note += f"; {share:.0%} of the machine's float32 matrix rate"
            add(f"{work}, {label}", threads, 1000 * ours / n_ours, 1000 * theirs / n_theirs, note)


def main(argv=None):
    """Run the benchmark and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks.json"))
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    rows = []

    def add(work, threads, ours, nilearns, note=""):
        rows.append(
            {
                "work": work,
                "threads": threads,
                "ours_cpu_ms": float(f"{ours:.3g}"),
                "nilearn_cpu_ms": float(f"{nilearns:.3g}"),
                "ratio": float(f"{nilearns / ours:.3g}"),
                "note": note,
            }
        )
        print(rows[-1], flush=True)

    with tempfile.TemporaryDirectory() as folder:
        data = prepare(Path(folder))
        stack, images, mask, design = data
        for names, *_ in STATISTICS.values():
            ours_permutation(stack, design, 10, 1, names)
        with threadpool_limits(1, "blas"):
            ours, _ = measure(lambda: ours_parametric(stack, design), 3)
            theirs, _ = measure(lambda: nilearns_parametric(images, mask, design), 3)
        add("fit, contrast, FDR, once", 1, 1000 * ours, 1000 * theirs)
        rate = matrix_rate(len(design))
        compare(data, f"{stack.n_voxels:,} voxels", add)
    with tempfile.TemporaryDirectory() as folder:
        data = large(Path(folder))
        compare(data, f"{data[0].n_voxels:,} voxels", add, scale=0.3)
    commit = current_commit()
    rate = {"float32 multiply-adds a second": float(f"{rate:.3g}")}
    about = machine("numpy", "scipy", "numba", "nilearn", **rate)
    content = {"commit": commit, "machine": about, "rows": rows}
    arguments.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
