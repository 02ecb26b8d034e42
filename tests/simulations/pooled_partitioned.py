"""Compare the pooled error with that of every effect on its own, map against map.

    python tests/simulations/pooled_partitioned.py [--folder OUT] [--output FILE]

runs the 3 x 3 demonstration, which analyses its maps both ways, and compares the results. A folder
where the demonstration stands is read as it is.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("NO_ET", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import nibabel as nib
import numpy as np
import pandas as pd
from measured_on import current_commit, machine

from nipype_group.cli.main import main as command

NAME = "repeated_measures_anova"
# Contrasts, the file's word for the false discovery rate of their side, and what was planted.
CONTRASTS = {
    "facesVsHouses": ("t", "fdrBHBoth", "facesVsHouses"),
    "namingVsPassive": ("t", "fdrBHBoth", "namingVsPassive"),
    "interaction": ("F", "fdrBH", "facesVsHousesByNamingVsPassive"),
}
FOLDERS = {"pooled": ".", "partitioned": "partitioned"}
# A survivor farther from all planted places is false: blobs are 10 mm wide, and smoothed.
NEAR_MM = 18


class _Results:
    """Maps of one of both analyses."""

    def __init__(self, folder):
        self.group = folder / "group"

    def path(self, ending):
        (path,) = self.group.glob(f"*contrast-{ending}")
        return path

    def image(self, ending):
        return nib.load(self.path(f"{ending}_statmap.nii.gz"))

    def values(self, ending, inside=slice(None)):
        return self.image(ending).get_fdata()[inside]


def compare(out):
    """Return a row a contrast: both errors, how alike their maps are, and what survives.

    Parameters
    ----------
    out : path
        Folder of the demonstration.

    Returns
    -------
    list of dict
        Pairs are of the pooled error and the own one.
    """
    results = {name: _Results(Path(out) / folder) for name, folder in FOLDERS.items()}
    truth = pd.read_csv(Path(out) / "data" / "truth.tsv", sep="\t")
    return [_row(results, truth, name, *about) for name, about in CONTRASTS.items()]


def _row(results, truth, name, test, control, planted):
    pooled, own = (results[key] for key in FOLDERS)
    inside = pooled.values(f"{name}_stat-variance") > 0
    variances = [one.values(f"{name}_stat-variance", inside) for one in (pooled, own)]
    z = [one.values(f"{name}_stat-z", inside) for one in (pooled, own)]
    dof = []
    for one in (pooled, own):
        about = json.loads(one.path(f"{name}_stat-{test}_statmap.json").read_text())
        dof.append(int(np.ravel(about["DegreesOfFreedom"])[-1]))
    alive = [one.values(f"{name}_stat-z_desc-{control}", inside) != 0 for one in (pooled, own)]
    places = np.stack(np.nonzero(inside), axis=1)
    affine = pooled.image(f"{name}_stat-z").affine
    mm = places @ affine[:3, :3].T + affine[:3, 3]
    planted = truth.loc[truth["contrast"] == planted, ["x", "y", "z"]].to_numpy(dtype=float)
    near = np.linalg.norm(mm[:, None] - planted, axis=2).min(axis=1) <= NEAR_MM
    ratio = np.quantile(variances[1] / variances[0], [0.05, 0.5, 0.95])
    return {
        "contrast": name,
        "test": test,
        "voxels": int(inside.sum()),
        "dof": dof,
        "variance_ratio": [float(f"{q:.3g}") for q in ratio],
        "r_of_z": float(f"{np.corrcoef(*z)[0, 1]:.3g}"),
        "largest_z": [float(f"{np.abs(values).max():.3g}") for values in z],
        "survivors": [int(one.sum()) for one in alive],
        "in_both": int((alive[0] & alive[1]).sum()),
        "far_from_truth": [int((one & ~near).sum()) for one in alive],
        "not_found": [int(_lost(mm, one, planted)) for one in alive],
    }


def _lost(mm, alive, planted):
    """Return how many planted places have no survivor near them."""
    distance = np.linalg.norm(mm[alive][:, None] - planted, axis=2)
    return sum(not (column <= NEAR_MM).any() for column in distance.T)


def main(argv=None):
    """Run the demonstration and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--output", type=Path, default=Path("docs/pooled_partitioned.json"))
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.folder or Path(folder, "demonstration")
        if not (out / "partitioned" / "group").is_dir():
            assert command(["demo", NAME, str(out)]) == 0
        rows = compare(out)
    commit = current_commit()
    about = {"commit": commit, "machine": machine("numpy", "scipy", "numba"), "rows": rows}
    arguments.output.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
