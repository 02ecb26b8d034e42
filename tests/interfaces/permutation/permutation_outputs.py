"""What the tests of permutation read from the outputs, and small studies that they write."""

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

MAP_FIELDS = (
    "stat_files",
    "logp_unc_files",
    "logp_fwe_files",
    "thresholded_files",
    "label_files",
)


def listed(value):
    """Return a list; Nipype gives the only item of an output as it is."""
    return value if isinstance(value, list) else [value]


def read(path):
    return np.asarray(nib.load(path).dataobj)


def results(merged):
    """Return every number of the outputs."""
    found = {f: [read(p) for p in listed(getattr(merged, f))] for f in MAP_FIELDS}
    found["nulldist_files"] = [pd.read_csv(p, sep="\t") for p in listed(merged.nulldist_files)]
    found["summary_files"] = [
        json.loads(Path(p).read_text()) for p in listed(merged.summary_files)
    ]
    return found


CONTRASTS = ["age=age", "mean=intercept", "drop=control - patient"]


ALL = {"statistics": ["voxel", "extent", "mass", "tfce"], "cluster_forming_z": 1.5}


STATISTICS = ALL["statistics"]


OF_CONTRASTS = (
    "stat_files",
    "logp_unc_files",
    "logp_fdr_files",
    "tfce_files",
    "tfce_logp_unc_files",
    "tfce_logp_fdr_files",
    "nulldist_files",
)


OF_RESULTS = ("logp_fwe_files", "peak_logp_files", "thresholded_files", "label_files")


def write_study(write_map, folder, rows, name, seed=3, planted=None):
    """Write a map of noise for every row, and the table of participants; returns the folder."""
    rng = np.random.default_rng(seed)
    for i, row in enumerate(rows):
        values = rng.standard_normal(row.pop("shape", (9, 10, 8))).astype(np.float32) + 1
        if planted is not None:
            values[tuple(n // 2 for n in values.shape)] += planted[i]
        write_map(f"{folder.name}/{name.format(**row)}", values)
    table = pd.DataFrame(rows).drop(columns="task", errors="ignore").drop_duplicates()
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)
    return folder


def plan_of(plan):
    return json.loads(Path(plan.plan_file).read_text())


def summaries(merged):
    """Return the summary of every result by (contrast, statistic)."""
    names = zip(merged.contrast_names, merged.statistics, strict=True)
    files = listed(merged.summary_files)
    return {n: json.loads(Path(p).read_text()) for n, p in zip(names, files, strict=True)}


def of_result(merged, field, contrast, statistic):
    names = list(zip(merged.contrast_names, merged.statistics, strict=True))
    return read(listed(getattr(merged, field))[names.index((contrast, statistic))])


def null_of(merged, contrast_index=0):
    return pd.read_csv(listed(merged.nulldist_files)[contrast_index], sep="\t")


def extremes(null, name):
    """Return the maxima over the sides that a null distribution has."""
    return null[[c for c in null if c.startswith(f"{name}_")]].max(axis=1).to_numpy()


def share_reached(heights, null):
    return (null[:, None] >= heights - 1e-8 * np.abs(heights)).mean(axis=0)


def component_maps(t, connectivity=26):
    """Return extent and mass of the component that holds each voxel of a map, 0 outside."""
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    labels, n = ndimage.label(t > 0, structure=structure)
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    sums = np.bincount(labels.ravel(), t.ravel(), minlength=n + 1)
    sizes[0], sums[0] = 0, 0
    return sizes[labels], sums[labels]


def write_shuffles(path, rows):
    text = "\n".join("  ".join(map(str, row)) for row in rows) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return str(path)
