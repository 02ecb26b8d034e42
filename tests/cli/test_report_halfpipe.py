"""``nipype-group report`` on a folder as HALFpipe leaves it at the group level."""

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import stats

SHAPE, PEAK = (8, 9, 7), (3, 4, 2)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
T = np.random.default_rng(5).standard_t(20, SHAPE)
T[PEAK] = 9
FAST = ("--height-control", "bonferroni", "--atlas", "none", "--plugin", "Linear")
FEATURE = "task-faces_feature-faces1_taskcontrast-fearVsNeutral"
STEM = f"grouplevel/func/{FEATURE}/model-byAge/{FEATURE}_model-byAge_contrast-age"


def write(folder, dof):
    maps = {
        "t": T,
        "z": stats.norm.isf(stats.t.sf(T, dof)),
        "effect": T / 3,
        "variance": np.full(SHAPE, 1 / 9),
        "dof": np.broadcast_to(dof, SHAPE),
    }
    for name, values in maps.items():
        path = folder / f"{STEM}_stat-{name}_statmap.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.asarray(values, dtype=float), AFFINE), path)
    mask = nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE)
    nib.save(mask, folder / f"{STEM}_mask.nii.gz")


@pytest.mark.parametrize("varies", [False, True])
def test_halfpipe(command, tmp_path, no_figures, varies):
    dof = 20.0 - (np.indices(SHAPE)[1] % 4 if varies else 0)
    write(tmp_path / "in", dof)
    code, out, err = command("report", tmp_path / "in", tmp_path / "r", *FAST)
    assert code == 0, err
    group = tmp_path / "r/group"
    about = json.loads((group / "contrast-age_stat-t_statmap.json").read_text())
    assert about["GeneratedBy"][0]["Name"] == "HALFpipe"
    assert about.get("DegreesOfFreedom") == (None if varies else 20)
    p = nib.load(group / "contrast-age_stat-p_statmap.nii.gz").get_fdata()
    np.testing.assert_allclose(p, 2 * stats.t.sf(np.abs(T), dof), rtol=1e-5)
    page = (group / "report.html").read_text()
    assert "Statistics by</dt><dd>HALFpipe</dd>" in page
    assert ("20 degrees of freedom" in page) == (not varies)
    said = "Degrees of freedom vary by voxel, from 17 to 20"
    assert (said in page, said in out) == (varies, varies)
    record = json.loads((tmp_path / "r/provenance.json").read_text())
    assert any(i["Name"].endswith("stat-dof_statmap.nii.gz") for i in record["Inputs"])


def test_no_degrees_of_freedom_in_the_mask(command, tmp_path):
    write(tmp_path / "in", 20.0)
    path = tmp_path / "in" / f"{STEM}_stat-dof_statmap.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros(SHAPE), AFFINE), path)
    code, out, err = command("report", tmp_path / "in", tmp_path / "r", *FAST)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert "stat-dof_statmap.nii.gz: has no degrees of freedom above 0 in the mask" in line
