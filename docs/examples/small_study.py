"""Make the small study that the pages of the documentation analyse, in the folder ``study``.

python small_study.py [FOLDER]

24 participants, 12 controls and 12 patients of two sites, with age and a score. The maps are
smooth noise on a grid of 6 mm inside an ellipsoid, with effects at known places. They are laid
out as each package likes them:

maps       BIDS derivatives: faces, houses and their difference, with the variance of each
runs       BIDS derivatives: the difference in two runs, with variances
visits     a map a visit, up to three a participant, with dropouts, and maps.tsv
spm        con_0001.nii, ResMS.nii and SPM.mat in a folder a participant
fsl        the differences as one 4D file, their variances as another, design.mat, design.con,
           design.grp and design.fts
afni       the differences, a table for 3dttest++ and 3dMVM, and in a folder a participant
           stats.nii.gz with sub-bricks as 3dDeconvolve names them
"""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Extension
from scipy.io import savemat
from scipy.ndimage import gaussian_filter

SHAPE, STEP = (27, 33, 27), 6.0
AFFINE = np.diag([STEP, STEP, STEP, 1.0])
AFFINE[:3, 3] = -78, -114, -66
# Where an effect of each kind is, in mm.
PLACES = {
    "mean": (-42, -54, -18),
    "groups": (-24, -18, -18),
    "age": (42, 30, 24),
    "slope": (24, -18, -18),
}

rng = np.random.default_rng(20)
mm = np.moveaxis(np.indices(SHAPE), 0, -1) * STEP + AFFINE[:3, 3]
brain = (((mm - (0, -18, 8)) / (68, 86, 66)) ** 2).sum(-1) < 1


def blob(name):
    """Return a Gaussian of 16 mm around a place."""
    return np.exp(-4 * np.log(2) * ((mm - PLACES[name]) ** 2).sum(-1) / 16**2)


def noise(sd):
    """Return smooth noise of a standard deviation."""
    values = gaussian_filter(rng.standard_normal(SHAPE), 0.8)
    return sd * values / values[brain].std()


def save(path, values, descrip=b""):
    """Write a map, 0 outside the brain."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.where(brain, values, 0).astype(np.float32), AFFINE)
    image.header["descrip"] = descrip
    nib.save(image, path)


def save_pair(folder, start, effect, variance):
    """Write an effect and its variance, which is the same everywhere."""
    save(folder / f"{start}_stat-effect_statmap.nii.gz", effect)
    save(folder / f"{start}_stat-variance_statmap.nii.gz", np.full(SHAPE, variance))


def participants():
    """Return the table of participants."""
    number = np.arange(24)
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i + 1:02d}" for i in number],
            "group": np.where(number % 2, "patient", "control"),
            "site": np.where(number // 2 % 2, "east", "west"),
            "age": rng.permutation(np.linspace(21, 67, 24)).round(),
            "score": rng.normal(100, 15, 24).round(),
        }
    )


def write_table(table, folder):
    """Write a derivative tree's two files that are no maps."""
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)
    about = {"Name": "small study", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
    about["GeneratedBy"] = [{"Name": "small_study.py"}]
    (folder / "dataset_description.json").write_text(json.dumps(about))


def make_maps(table, folder):
    """Write faces, houses and their difference with variances; return these two of all."""
    differences = []
    for row in table.itertuples():
        effect = blob("mean") + 0.09 * (row.age - 44) * blob("age")
        effect = effect - (2.0 * blob("groups") if row.group == "patient" else 0)
        common, variance = noise(0.7) + 2 * blob("mean"), rng.uniform(0.05, 0.3)
        maps = {}
        maps["faces"] = common + effect / 2 + noise(0.4)
        maps["houses"] = common - effect / 2 + noise(0.4)
        maps["difference"] = maps["faces"] - maps["houses"]
        start = f"{row.participant_id}/{row.participant_id}_task-view"
        for desc, values in maps.items():
            save_pair(folder / "maps", f"{start}_desc-{desc}", values, variance)
        for run in (1, 2):
            values = maps["difference"] + noise(0.3)
            save_pair(folder / "runs", f"{start}_run-{run}", values, variance + run / 20)
        differences.append((maps["difference"], variance))
    write_table(table, folder / "maps")
    write_table(table, folder / "runs")
    return differences


def make_visits(table, folder):
    """Write up to three visits a participant, and the table of these maps."""
    rows = []
    for index, row in enumerate(table.itertuples()):
        own, own_slope = noise(0.6), noise(0.1)
        for visit in (1, 2, 3):
            if visit == 3 and index % 4 == 0:
                continue
            years = round(1.0 * (visit - 1) + (0 if visit == 1 else rng.uniform(-0.2, 0.2)), 2)
            change = 1.0 * years * blob("slope") if row.group == "patient" else 0
            name = f"{row.participant_id}/{row.participant_id}_ses-{visit}_statmap.nii.gz"
            save(folder / "visits" / name, 1 + own + years * own_slope + change + noise(0.3))
            rows.append((row.participant_id, row.group, row.age, visit, years, name))
    columns = ["participant_id", "group", "age", "visit", "years", "map"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "visits/maps.tsv", sep="\t", index=False)


def vest(path, matrix, **more):
    """Write a matrix as FSL does."""
    matrix = np.atleast_2d(matrix)
    head = [f"/NumWaves {matrix.shape[1]}", *(f"/{key} {value}" for key, value in more.items())]
    lines = [" ".join(f"{value:g}" for value in row) for row in matrix]
    path.write_text("\n".join([*head, "/Matrix", *lines]) + "\n")


def save_spm(folder, effect, variance):
    """Write what the first level of SPM leaves: a contrast, residual variance and SPM.mat."""
    scans = np.arange(40)
    design = np.column_stack([scans // 5 % 2, scans // 10 % 2, np.ones(40)]).astype(float)
    covariance, weights = np.linalg.inv(design.T @ design), np.array([1.0, -1.0, 0.0])
    save(folder / "con_0001.nii", effect, descrip=b"Contrast 1: faces - houses")
    save(folder / "ResMS.nii", np.full(SHAPE, variance / (weights @ covariance @ weights)))
    contrast = {"name": "faces - houses", "STAT": "T", "c": weights[:, None]}
    savemat(
        folder / "SPM.mat", {"SPM": {"xX": {"X": design, "Bcov": covariance}, "xCon": contrast}}
    )


def save_afni(path, effect, variance):
    """Write an effect and its t as sub-bricks that are named as 3dDeconvolve does."""
    labels, codes = "faces-houses#0_Coef~faces-houses#0_Tstat", "1 3 1 37"
    about = "".join(
        f'<AFNI_atr ni_type="{kind}" ni_dimen="{n}" atr_name="{name}" >{text}</AFNI_atr>'
        for kind, n, name, text in (
            ("String", 1, "BRICK_LABS", f'"{labels}"'),
            ("float", 4, "BRICK_STATAUX", codes),
        )
    )
    values = np.where(brain[..., None], np.stack([effect, effect / variance**0.5], -1), 0)
    image = nib.Nifti1Image(values[..., None, :].astype(np.float32), AFFINE)
    xml = f"<?xml version='1.0' ?><AFNI_attributes ni_form='ni_group' >{about}</AFNI_attributes>"
    image.header.extensions.append(Nifti1Extension(4, xml.encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def make_spm_and_afni(table, differences, folder):
    """Write the differences as SPM and AFNI have them."""
    rows = []
    for row, (effect, variance) in zip(table.itertuples(), differences, strict=True):
        save_spm(folder / "spm" / row.participant_id[4:], effect, variance)
        save_afni(folder / "afni" / row.participant_id / "stats.nii.gz", effect, variance)
        name = f"{row.participant_id}.nii.gz"
        save(folder / "afni" / name, effect)
        rows.append((row.participant_id, row.group, row.age, name))
    columns = ["Subj", "group", "age", "InputFile"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "afni/maps.txt", sep="\t", index=False)


def make_fsl(table, differences, folder):
    """Write the differences and their variances as 4D files, and the files of the design."""
    folder.mkdir(parents=True, exist_ok=True)
    effects, variances = zip(*differences, strict=True)
    volumes = {
        "copes": np.stack(effects, -1),
        "varcopes": np.broadcast_to(variances, (*SHAPE, 24)),
    }
    for name, values in volumes.items():
        values = np.where(brain[..., None], values, 0).astype(np.float32)
        nib.save(nib.Nifti1Image(values, AFFINE), folder / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(brain.astype(np.uint8), AFFINE), folder / "mask.nii.gz")
    patients = (table["group"] == "patient").to_numpy(float)
    age = (table["age"] - table["age"].mean()).to_numpy()
    design = np.column_stack([1 - patients, patients, age])
    vest(folder / "design.mat", design, NumPoints=len(table))
    vest(folder / "design.grp", np.ones((len(table), 1)), NumPoints=len(table))
    names = {"ContrastName1": "groups", "ContrastName2": "age"}
    vest(folder / "design.con", [[-1, 1, 0], [0, 0, 1]], NumContrasts=2, **names)
    vest(folder / "design.fts", [[1, 1]], NumContrasts=1)


def make_study(folder):
    """Write the whole study."""
    table = participants()
    differences = make_maps(table, folder)
    make_visits(table, folder)
    make_spm_and_afni(table, differences, folder)
    make_fsl(table, differences, folder / "fsl")
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)


if __name__ == "__main__":
    make_study(Path(sys.argv[1] if len(sys.argv) > 1 else "study"))
