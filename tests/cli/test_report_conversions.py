"""``nipype-group report --stat-map`` on r, d and p, and on corrected p beside a statistic."""

import html
import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

SHAPE, PEAK, DIP = (8, 9, 7), (3, 4, 2), (6, 2, 5)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
T = np.random.default_rng(5).standard_t(20, SHAPE)
T[PEAK], T[DIP] = 9, -9
TWO, ONE = 2 * stats.t.sf(np.abs(T), 20), stats.t.sf(T, 20)
MAPS = {
    "t.nii": T,
    "r.nii": T / np.sqrt(20 + T**2),
    "d.nii": T / np.sqrt(21),
    "p.nii": TWO,
    "one.nii": 1 - ONE,
    "x_tfce_corrp_tstat1.nii": 1 - np.clip(500 * ONE, 0, 1),
    "mine.nii": np.clip(500 * ONE, 1e-6, 1),
}
HOW = ("--height-control", "bonferroni", "--atlas", "none", "--plugin", "Linear")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, values in MAPS.items():
        nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def map_of(folder, name):
    return nib.load(folder / f"r/group/contrast-{name}_statmap.nii.gz").get_fdata()


@pytest.mark.parametrize(
    ("name", "options", "said", "signed"),
    [
        ("r", ("--stat-type", "r", "--dof", "20"), "t is computed from r with 20 degrees", True),
        ("d", ("--stat-type", "d", "--group-sizes", "21"), "from Cohen's d of 21 maps", True),
        ("p", ("--stat-type", "p", "--p-sides", "two"), "p, which has no sign: it is abo", False),
        (
            "p",
            ("--stat-type", "p", "--p-sides", "two", "--sign-map", "t.nii"),
            "its sign is that of t.nii",
            True,
        ),
        ("one", ("--stat-type", "1-p", "--p-sides", "one"), "one-sided 1-p, of the side", True),
    ],
)
def test_one_map_becomes_t_or_z(command, folder, no_figures, name, options, said, signed):
    code, out, err = command("report", "--stat-map", f"{name}.nii", "r", *options, *HOW)
    assert code == 0, err
    assert said in out
    page = html.unescape((folder / "r/group/report.html").read_text())
    assert said in page
    assert f"whose {'t' if name in 'rd' else 'z'} was computed from" in page
    assert "taken as they are" not in page
    z = stats.norm.isf(ONE)
    np.testing.assert_allclose(
        map_of(folder, f"{name}_stat-z"), z if signed else abs(z), atol=1e-5
    )
    if name in "rd":
        np.testing.assert_allclose(map_of(folder, f"{name}_stat-t"), T, rtol=1e-5)
    peaks = pd.read_csv(
        folder / f"r/group/contrast-{name}_desc-bonferroniBoth_peaks.tsv", sep="\t"
    )
    assert sorted(peaks["sign"]) == (["negative", "positive"] if signed else ["positive"] * 2)
    np.testing.assert_allclose(peaks["p_unc"], TWO[PEAK], rtol=1e-4)


def test_corrected_p_stay_as_they_are(command, folder, no_figures):
    code, _, err = command(
        "report",
        "--stat-map",
        "t.nii",
        "r",
        "--dof",
        "20",
        "--stat-type",
        "t",
        "--corrected-p",
        "x_tfce_corrp_tstat1.nii",
        *HOW,
    )
    assert code == 0, err
    np.testing.assert_allclose(map_of(folder, "t_stat-z"), stats.norm.isf(ONE), atol=1e-5)
    survives = np.clip(500 * ONE, 0, 1) <= 0.05
    shown = map_of(folder, "t_stat-t_desc-permTfceFWE")
    np.testing.assert_array_equal(shown != 0, survives)
    np.testing.assert_allclose(shown[survives], T[survives], rtol=1e-5)
    about = json.loads(
        (folder / "r/group/contrast-t_stat-t_desc-permTfceFWE_statmap.json").read_text()
    )
    assert (about["Alpha"], about["Tail"]) == (0.05, "positive")


def test_corrected_p_with_their_kind(command, folder, no_figures):
    code, _, err = command(
        "report",
        "--stat-map",
        "t.nii",
        "r",
        "--dof",
        "20",
        "--stat-type",
        "t",
        "--corrected-p",
        "vox=mine.nii",
        "--corrected-scale",
        "p",
        *HOW,
    )
    assert code == 0, err
    shown = map_of(folder, "t_stat-t_desc-permVoxelFWE")
    np.testing.assert_array_equal(shown != 0, 500 * ONE <= 0.05)


P = ("--stat-map", "p.nii", "r", "--stat-type", "p")
STAT = ("--stat-map", "t.nii", "r", "--stat-type", "t", "--dof", "20")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (P, "p is of one side or of two; give the sides of p (--p-sides)"),
        ((*P, "--p-sides", "two", "--tail", "positive"), "two-sided p have no positive side"),
        (
            (*P, "--p-sides", "two", "--height-control", "fdr:.05:negative"),
            "two-sided p have no negative side",
        ),
        ((*P, "--p-sides", "one", "--sign-map", "t.nii"), "takes a map of its sign (--sign-map)"),
        ((*P, "--p-sides", "two", "--sign-map", "no.nii"), "no.nii does not exist"),
        ((*P, "--p-sides", "two", "--dof", "20"), "p takes no degrees of freedom, got 20"),
        ((*P, "--p-sides", "both"), "argument --p-sides: 'both' is none of one, two"),
        (("--stat-map", "r.nii", "r", "--stat-type", "r"), "r needs degrees of freedom (one"),
        (("--stat-map", "d.nii", "r", "--stat-type", "d"), "got none (--group-sizes)"),
        (
            ("--stat-map", "d.nii", "r", "--stat-type", "d", "--group-sizes", "9.5"),
            "argument --group-sizes: invalid",
        ),
        ((*STAT, "--group-sizes", "9"), "t takes no group sizes, d does (--group-sizes)"),
        ((*STAT, "--p-sides", "one"), "t has no sides of p, p has (--p-sides)"),
        (
            (*STAT, "--corrected-p", "mine.nii"),
            "one of vox, clustere, clusterm, tfce (--corrected-p KIND=FILE)",
        ),
        ((*STAT, "--corrected-p", "vox=mine.nii"), "(--corrected-scale)"),
        ((*STAT, "--corrected-p", "peak=mine.nii"), "peak=mine.nii: the kind is one of vox"),
        ((*STAT, "--corrected-p", "vox=no.nii"), "no.nii does not exist"),
        ((*STAT, "--corrected-p", "vox=mine.nii", "--corrected-p", "p.nii"), "give every file"),
        (
            ("--stat-map", "x_tfce_corrp_tstat1.nii", "r"),
            "is corrected p by its name, which has "
            "no z; give the statistic that it is of, and this as its corrected p (--stat-map, "
            "--corrected-p)",
        ),
        (
            (
                "--stat-map",
                "x_tfce_corrp_tstat1.nii",
                "r",
                "--stat-type",
                "1-p",
                "--p-sides",
                "one",
            ),
            "is corrected p by its name",
        ),
        (
            (".", "r", "--p-sides", "one", "--corrected-p", "p.nii"),
            "--p-sides, --corrected-p: goes with --stat-map",
        ),
    ],
)
def test_conversions_that_are_not_defined(command, folder, arguments, message):
    code, out, err = command("report", *arguments, *HOW)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not (folder / "r").exists()


def test_values_of_another_scale(command, folder, no_figures):
    code, _, err = command(
        "report", "--stat-map", "t.nii", "r", "--stat-type", "r", "--dof", "9", *HOW
    )
    assert code == 1
    assert "t.nii: holds -9 to 9, r lies between -1 and 1" in err
