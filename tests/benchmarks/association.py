"""Measure the association analysis against nilearn in one run: 89 maps at 3 mm.

    python tests/benchmarks/association.py [--permutations 1000 10000] [--output FILE]

Both sides get the same smoothed maps in memory and the same mask; CPU time counts all threads of
the process. The ratio is nilearn's CPU time over ours.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("NO_ET", "1")

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.glm import threshold_stats_img
from nilearn.glm.second_level import SecondLevelModel, non_parametric_inference
from threadpoolctl import threadpool_limits

from nipype_group.data.generate import generate
from nipype_group.design.sources import read_tsv
from nipype_group.images import write_volume
from nipype_group.stacks import MaskedStack, group_mask, smooth_maps, write_stack
from nipype_group.stats.glm import LinearModel, contrast_maps, fit_tiles
from nipype_group.stats.partition import partition
from nipype_group.stats.permutation import run_shuffles
from nipype_group.stats.planning import row_labels
from nipype_group.stats.shuffling import ShufflingScheme
from nipype_group.stats.thresholding import threshold_map

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
    mask, _, grid, _ = group_mask(smoothed)
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


def ours_permutation(stack, design, n_permutations, n_threads):
    """Find the null of the maximum t."""
    matrix = design.to_numpy()
    model = LinearModel(matrix, tuple(design))
    scheme = ShufflingScheme("permute", row_labels(matrix), (0,) * len(matrix), 1)
    split = partition(model, WEIGHTS[None])
    with threadpool_limits(1, "blas"):
        return run_shuffles(
            stack.read,
            stack.n_voxels,
            split,
            scheme,
            0,
            n_permutations + 1,
            "two-sided",
            n_threads,
        )


def nilearns_permutation(images, mask, design, n_permutations, n_jobs):
    """Find the same null with nilearn."""
    return non_parametric_inference(
        images, design_matrix=design, second_level_contrast="pseudo", mask=mask,
        model_intercept=True, n_perm=n_permutations, two_sided_test=True, n_jobs=n_jobs,
        random_state=0, verbose=0,
    )  # fmt: skip


def matrix_rate(n_maps, repeats=5):
    """Return the float32 matrix-product rate of one core in multiply-adds a second."""
    rng = np.random.default_rng(0)
    left = rng.standard_normal((256, n_maps)).astype(np.float32)
    right = rng.standard_normal((n_maps, 1024)).astype(np.float32)
    with threadpool_limits(1, "blas"):
        seconds, _ = measure(lambda: [left @ right for _ in range(200)], repeats)
    return 200 * 256 * n_maps * 1024 / seconds


def machine():
    """Describe where the figures come from."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "scipy", "numba", "nilearn")},
    }


def main(argv=None):
    """Run the benchmark and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--permutations", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks.json"))
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    rows, cores = [], len(os.sched_getaffinity(0))

    def add(work, threads, ours, nilearns, note=""):
        rows.append(
            {
                "work": work,
                "threads": threads,
                "ours_cpu_s": round(ours, 3),
                "nilearn_cpu_s": round(nilearns, 3),
                "ratio": round(nilearns / ours, 1),
                "note": note,
            }
        )
        print(rows[-1], flush=True)

    with tempfile.TemporaryDirectory() as folder:
        stack, images, mask, design = prepare(Path(folder))
        ours_permutation(stack, design, 10, 1)
        with threadpool_limits(1, "blas"):
            ours, _ = measure(lambda: ours_parametric(stack, design), 3)
            theirs, _ = measure(lambda: nilearns_parametric(images, mask, design), 3)
        add("fit, contrast, FDR", 1, ours, theirs)
        peak = matrix_rate(len(design))
        for n_permutations in arguments.permutations:
            # One process of nilearn: CPU time does not count the others.
            theirs, _ = measure(
                lambda n=n_permutations: nilearns_permutation(images, mask, design, n, 1)
            )
            for threads in sorted({1, cores}):
                ours, _ = measure(
                    lambda n=n_permutations, t=threads: ours_permutation(stack, design, n, t)
                )
                share = n_permutations * len(design) * stack.n_voxels / ours / peak
                note = (
                    f"{1000 * ours / n_permutations:.3f} ms a shuffle, {share:.0%} of the "
                    f"machine's float32 matrix rate"
                )
                add(f"max-T, {n_permutations:,} permutations", threads, ours, theirs, note)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    content = {"commit": commit, "machine": machine(), "rows": rows}
    arguments.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
