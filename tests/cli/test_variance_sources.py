"""Variances of AFNI's sub-bricks and of SPM's ResMS, from command to maps."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.nifti1 import Nifti1Extension
from scipy.io import savemat

SHAPE = (6, 6, 6)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
N = 8
LABELS = ["Full_Fstat", "faces#0_Coef", "faces#0_Tstat", "places#0_Coef", "places#0_Tstat"]
STATAUX = "0 4 2 1 100 2 3 1 100 4 3 1 100"
MEAN = ("--formula", "1", "--contrast", "mean=intercept", "--estimator", "mixed-effects")
X = np.column_stack([np.ones(12), np.linspace(-1, 1, 12), np.arange(12) % 3])
C = np.array([0.0, 1.0, -0.5])


def save(path, values, extension=None, descrip=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.asarray(values, dtype=np.float32), AFFINE)
    image.header["descrip"] = descrip
    if extension is not None:
        image.header.extensions.append(Nifti1Extension(4, extension.encode()))
    nib.save(image, path)


def afni_xml():
    """Return what AFNI writes into the header of a NIfTI."""
    return (
        "<?xml version='1.0' ?>\n<AFNI_attributes self_idcode='x' ni_form='ni_group' >\n"
        '<AFNI_atr ni_type="String" ni_dimen="1" atr_name="BRICK_LABS" >\n '
        f'"{"~".join(LABELS)}"</AFNI_atr>\n'
        '<AFNI_atr ni_type="float" ni_dimen="13" atr_name="BRICK_STATAUX" >\n '
        f"{STATAUX}</AFNI_atr>\n</AFNI_attributes>\n"
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Write effects and variances as plain maps, as AFNI's buckets and as SPM's folders."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(9)
    variances = np.exp(rng.standard_normal((N, *SHAPE)))
    effects = (1 + rng.standard_normal((N, *SHAPE)) * np.sqrt(variances)).astype(np.float32)
    t = effects / np.sqrt(variances)
    t[2, 1, 1, 1] = 0
    covariance = np.linalg.inv(X.T @ X)
    scale = C @ covariance @ C
    for i in range(N):
        own = folder / f"sub-{i}"
        save(own / "effect.nii", effects[i])
        save(own / "variance.nii", variances[i])
        noise = rng.standard_normal((*SHAPE, 5))
        noise[..., 1], noise[..., 2] = effects[i], t[i]
        save(own / "stats.nii.gz", noise[..., None, :], afni_xml())
        save(own / "con_0002.nii", effects[i], descrip=b"Contrast 2: faces - places")
        save(own / "ResMS.nii", variances[i] / scale)
        contrasts = np.array(
            [("all", "F", np.eye(3)[:, :2]), ("faces - places", "T", C[:, None])],
            dtype=[("name", object), ("STAT", object), ("c", object)],
        )
        spm = {"xX": {"X": X, "Bcov": covariance}, "xCon": contrasts}
        savemat(own / "SPM.mat", {"SPM": spm})
    return folder


@pytest.fixture
def run(study, command, tmp_path, no_figures):
    def start(effect, variance, *options, out="out", first="run"):
        own = (first, tmp_path / out, "--plugin", "Linear") if first == "run" else (first,)
        patterns = (study / "{subject}" / name for name in (effect, variance))
        effect, variance = map(str, patterns)
        source = ("--pattern", effect, "--variance-pattern", variance)
        return command(*own, *source, *MEAN, "--no-regions", *options)

    return start


def values(tmp_path, name, out="out"):
    image = nib.load(tmp_path / out / "group" / f"{name}_statmap.nii.gz")
    return np.asarray(image.dataobj)


SOURCES = {
    "labels": ("stats.nii.gz[faces#0_Coef]", "stats.nii.gz[faces#0_Tstat]"),
    "SPM": ("con_0002.nii", "ResMS.nii"),
}


@pytest.mark.parametrize("source", SOURCES)
def test_variances_are_those_of_plain_maps(run, tmp_path, source):
    assert run("effect.nii", "variance.nii", "--min-coverage", ".8", out="plain")[0] == 0
    code, said, errors = run(*SOURCES[source], "--min-coverage", ".8")
    assert code == 0, errors
    there = np.ones(SHAPE, dtype=bool)
    if source == "labels":
        # No t, no variance: the voxel is of the others, which is told.
        there[1, 1, 1] = False
        assert values(tmp_path, "contrast-mean_stat-dof")[1, 1, 1] == N - 2
        assert "1 in all" in said
    for name in ("contrast-mean_stat-t", "contrast-mean_stat-variance", "stat-tau2_desc-model"):
        found, expected = values(tmp_path, name), values(tmp_path, name, "plain")
        np.testing.assert_allclose(found[there], expected[there], rtol=1e-4, atol=1e-5)
    group = tmp_path / "out" / "group"
    table = pd.read_csv(group / "observations.tsv", sep="\t")
    assert table["map"][3] == f"sub-3/{SOURCES[source][0]}"
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    read = {item["Name"] for item in record["Inputs"] if item["Role"] == "variance"}
    assert ("sub-3/SPM.mat" in read) == (source == "SPM")


def test_numbers_and_labels_of_a_table_name_sub_bricks(study, command):
    rows = [
        {"participant_id": i, "map": f"sub-{i}/stats.nii.gz[1]", "variance": f"sub-{i}/{name}"}
        for i, name in enumerate(["stats.nii.gz[2]", "stats.nii.gz[faces#0_Tstat]"] * (N // 2))
    ]
    pd.DataFrame(rows).to_csv(study / "maps.tsv", sep="\t", index=False)
    code, said, errors = command("plan", "--maps", study / "maps.tsv", *MEAN)
    assert code == 0, errors
    assert "8 maps of 8 participants are in" in said


REFUSED = {
    "label": ("stats.nii.gz[face]", "stats.nii.gz[2]", "no volume face: there are 0 Full_Fstat"),
    "number": ("stats.nii.gz[5]", "stats.nii.gz[2]", "no volume 5"),
    "t": ("stats.nii.gz[2]", "stats.nii.gz[1]", "2 is a t; the effect is its coefficient"),
    "itself": ("stats.nii.gz[1]", "stats.nii.gz[1]", "its variance is the map itself"),
    "other": ("effect.nii", "ResMS.nii", "effect.nii is no con_0001 of SPM"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_parts_that_are_not_there_are_named(run, name):
    effect, variance, words = REFUSED[name]
    code, _, errors = run(effect, variance, first="plan")
    assert code != 0 and words in errors and "Traceback" not in errors, errors


def test_a_damaged_spm_mat_is_named_and_left_out_on_request(run, study, tmp_path):
    own = study / "sub-5" / "SPM.mat"
    content = own.read_bytes()
    try:
        own.write_bytes(content[:200])
        code, _, errors = run(*SOURCES["SPM"])
        assert code != 0 and "sub-5/SPM.mat" in errors and "cannot be read" in errors
        code, _, errors = run(*SOURCES["SPM"], "--on-bad-map", "exclude")
        assert code == 0, errors
    finally:
        own.write_bytes(content)
    excluded = pd.read_csv(tmp_path / "out" / "group" / "excluded.tsv", sep="\t")
    assert excluded["participant_id"].tolist() == ["sub-5"]


def test_a_map_of_another_contrast_than_spm_mat_has_is_named(run, study):
    path = study / "sub-4" / "con_0002.nii"
    image = nib.load(path)
    values = np.asarray(image.dataobj).copy()
    try:
        save(path, values, descrip=b"Contrast 2: houses")
        code, _, errors = run(*SOURCES["SPM"], first="plan")
        assert code != 0 and "Traceback" not in errors
        assert "calls the contrast of con_0002.nii 'faces - places'" in errors
    finally:
        save(path, values, descrip=b"Contrast 2: faces - places")
