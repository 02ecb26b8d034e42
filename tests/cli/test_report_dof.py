"""``nipype-group report`` on t and F whose degrees of freedom are given, or stand in two files."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

SHAPE, PEAK = (8, 9, 7), (3, 4, 2)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
RNG = np.random.default_rng(5)
T = RNG.standard_t(57, SHAPE).astype(np.float32)
F = RNG.f(2, 57, SHAPE).astype(np.float32)
T[PEAK], F[PEAK] = 9, 30
HOW = ("--height-control", "bonferroni", "--atlas", "none", "--plugin", "Linear")


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, AFFINE), path)


@pytest.fixture
def palm(tmp_path):
    """Write t and F of PALM with -savedof, which has 0 for the rank of both."""
    folder = tmp_path / "palm"
    save(folder / "out_vox_tstat_c1.nii.gz", T)
    save(folder / "out_vox_fstat_c3.nii.gz", F)
    for name in ("tstat_c1", "fstat_c3"):
        (folder / f"out_vox_{name}_dof.txt").write_text("0\n57\n")
    (folder / "out_palmconfig.txt").write_text("-i x.nii\n-t c.csv\n-f f.csv\n-savedof\n")
    return folder


def check_f(output, label):
    """Hold the strongest peak and the z of F to scipy's; returns its degrees of freedom."""
    group = output / "group"
    z = nib.load(group / f"contrast-{label}_stat-z_statmap.nii.gz").get_fdata()
    np.testing.assert_allclose(z, stats.norm.isf(stats.f.sf(F, 2, 57)), atol=1e-5)
    name = f"contrast-{label}_desc-bonferroni_peaks.tsv"
    peak = pd.read_csv(group / name, sep="\t").iloc[0]
    assert (peak["i"], peak["j"], peak["k"]) == PEAK
    np.testing.assert_allclose(peak["p_unc"], stats.f.sf(30, 2, 57), rtol=1e-4)
    entries = json.loads((group / "contrasts.json").read_text())["Contrasts"]
    return {e["Label"]: e["DegreesOfFreedom"] for e in entries}


def test_rank_of_the_f_contrast(command, palm, tmp_path, no_figures):
    (palm / "c.csv").write_text("1,0,0\n0,1,0\n")
    (palm / "f.csv").write_text("1,1\n")
    code, out, err = command("report", palm, tmp_path / "r", *HOW)
    assert code == 0, err
    assert check_f(tmp_path / "r", "c3F") == {"c1": [57], "c3F": [2, 57]}
    assert "no numerator" not in out


def test_rank_that_is_given(command, palm, tmp_path, no_figures):
    code, out, err = command("report", palm, tmp_path / "r", *HOW)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line == (
        f"nipype-group report: {palm}/out_vox_fstat_c3.nii.gz: the degrees of freedom of this F "
        "are unknown; give them by --dof NUMERATOR,57"
    )
    assert not (tmp_path / "r").exists()
    code, _, err = command("report", palm, tmp_path / "r", "--dof", "2,57", *HOW)
    assert code == 0, err
    assert check_f(tmp_path / "r", "c3F") == {"c1": [57], "c3F": [2, 57]}


@pytest.fixture
def randomise(tmp_path):
    """Write t and F of randomise without a design."""
    save(tmp_path / "rand/x_tstat1.nii.gz", T)
    save(tmp_path / "rand/x_fstat1.nii.gz", F)
    return tmp_path / "rand"


def test_t_and_f_together(command, randomise, tmp_path, no_figures):
    code, _, err = command(
        "report", randomise, tmp_path / "r", "--dof", "57", "--dof", "2,57", *HOW
    )
    assert code == 0, err
    dof = check_f(tmp_path / "r", "FTest1")
    assert sorted(dof.values(), key=len) == [[57], [2, 57]]
    z = nib.load(tmp_path / "r/group/contrast-contrast1_stat-z_statmap.nii.gz").get_fdata()
    expected = stats.norm.isf(stats.t.sf(T.astype(float), 57))
    np.testing.assert_allclose(z, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            (),
            "x_tstat1.nii.gz, x_fstat1.nii.gz: the degrees of freedom of these t and F are "
            "unknown; give them by --dof N and by --dof NUMERATOR,DENOMINATOR",
        ),
        (
            ("--dof", "57"),
            "x_fstat1.nii.gz: the degrees of freedom of this F are unknown; give "
            "them by --dof NUMERATOR,DENOMINATOR",
        ),
        (
            ("--dof", "2,57"),
            "x_tstat1.nii.gz: the degrees of freedom of this t are unknown; give them by --dof N",
        ),
        (("--dof", "57", "--dof", "58"), "got 57 and 58 for t"),
        (("--dof", "2,57,3"), "two for F, got 2, 57, 3"),
        (("--dof", "57", "--dof=-2,57"), "two for F, got -2, 57"),
        (("--dof", "57", "--dof", "two,57"), "argument --dof: 'two' is"),
    ],
)
def test_degrees_of_freedom_that_do_not_do(command, randomise, tmp_path, options, message):
    code, out, err = command("report", randomise, tmp_path / "r", *options, *HOW)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "r").exists()


def test_one_map_has_them_once(command, randomise, tmp_path):
    code, _, err = command(
        "report",
        "--stat-map",
        randomise / "x_tstat1.nii.gz",
        tmp_path / "r",
        "--dof",
        "57",
        "--dof",
        "2,57",
        *HOW,
    )
    assert code == 2
    assert "x_tstat1.nii.gz: one map has degrees of freedom once" in err
