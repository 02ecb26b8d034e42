"""``nipype-group report``: of a finished run, and of results of other packages."""

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
SHAPE = (6, 7, 5)
FAST = ("--atlas", "none", "--plugin", "Linear")


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a map."""

    def save(name, values, affine=AFFINE):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.asarray(values, dtype=np.float32), affine), path)
        return path

    return save


@pytest.fixture
def stat_map(write):
    """Write a map of t whose name and header say nothing."""
    values = np.random.default_rng(1).standard_t(28, SHAPE)
    values[3, 3, 2] = 12
    return write("result.nii.gz", values)


def test_report_of_a_run_again(analyse, command, tmp_path):
    code, out, err = analyse()
    assert code == 0, out + err
    group = tmp_path / "out" / "group"
    (page,) = group.glob("*_report.html")
    first = page.read_bytes()
    page.unlink()
    assert command("report", tmp_path / "out")[:2] == (0, f"Report    {page}\n")
    assert page.read_bytes() == first
    other = tmp_path / "page.html"
    assert command("report", group, "--output", other)[:2] == (0, f"Report    {other}\n")
    assert other.read_bytes() == first
    for wrong, message in (
        (("--tail", "positive", "--ari", "3"), "--tail, --ari: goes with results of another"),
        ((tmp_path / "new",), "leave OUT out"),
        (("--output", tmp_path / "no/page.html"), "no does not exist"),
    ):
        code, out, err = command("report", tmp_path / "out", *wrong)
        assert (code, out) == (2, "")
        assert message in err


def test_randomise(command, shared, tmp_path, no_figures):
    """Thirty maps of real data: peak, and the voxels that FSL's corrected p keep."""
    output, prefix = tmp_path / "report", shared / "oracles/fsl/one_xcC2000"
    code, out, err = command(
        "report", prefix, output, "--tail", "positive", "--height-control", "bonferroni", *FAST
    )
    assert code == 0, err
    assert "contrast1 permExtentFWE: 3 clusters, 2,999 voxels" in out
    assert "Note      FSL's corrected p are one-sided" in out
    assert re.search(r"z +5\.44 at +7 +24 +54 mm", out)
    peaks = pd.read_csv(output / "group/contrast-contrast1_desc-bonferroni_peaks.tsv", sep="\t")
    np.testing.assert_allclose(peaks["zscore"].max(), 5.4354, atol=5e-5)
    assert peaks.loc[peaks["zscore"].idxmax(), ["i", "j", "k"]].tolist() == [21, 40, 23]
    np.testing.assert_allclose(peaks["p_fwe_voxel"].min(), 1 / 2000, atol=1e-6)
    about = json.loads((output / "group/contrast-contrast1_stat-t_statmap.json").read_text())
    assert about["Sources"][0] == "one_xcC2000_tstat1.nii.gz"
    # The report of a report is that of a folder of ours.
    assert command("report", output)[0] == 0
    code, _, err = command("nidm", output)
    assert code == 1
    assert "another package" in err


def test_one_map(command, stat_map, write, tmp_path, no_figures):
    effect = write("effect.nii.gz", np.full(SHAPE, 2.0))
    arguments = ("--stat-type", "t", "--dof", "28", "--effect-map", effect, "--name", "a > b")
    code, out, err = command("report", "--stat-map", stat_map, tmp_path / "r", *arguments, *FAST)
    assert code == 0, err
    assert "aB fdrBHBoth: 1 cluster, 1 voxel, critical value" in out
    peaks = pd.read_csv(tmp_path / "r/group/contrast-aB_desc-fdrBHBoth_peaks.tsv", sep="\t")
    assert peaks["stat"].tolist() == [12]
    assert peaks["effect"].tolist() == [2]


def test_atlas_of_a_relative_path(command, stat_map, write, tmp_path, no_figures, monkeypatch):
    """Nodes run elsewhere than the command."""
    labels = np.ones(nib.load(stat_map).shape, dtype=np.uint8)
    write("brain.nii.gz", labels)
    (tmp_path / "brain.csv").write_text("index,name\n1,brain\n")
    monkeypatch.chdir(tmp_path)
    how = ("--stat-type", "t", "--dof", "20", "--height-control", "none", "--threshold-z", "2")
    code, _, err = command(
        "report",
        "--stat-map",
        stat_map,
        "out",
        *how,
        "--atlas",
        "brain.nii.gz",
        "--plugin",
        "Linear",
    )
    assert code == 0, err
    (table,) = (tmp_path / "out" / "group").glob("*_clusters.tsv")
    assert "brain" in table.read_text()


def test_grids_that_differ_fail(command, stat_map, write, tmp_path, no_figures):
    other = write("other.nii.gz", np.ones((3, 3, 3)))
    for option in ("--mask", "--effect-map", "--variance-map"):
        code, _, err = command(
            "report",
            "--stat-map",
            stat_map,
            tmp_path / "r",
            "--stat-type",
            "t",
            "--dof",
            "28",
            option,
            other,
            *FAST,
        )
        assert code == 1
        assert "other.nii.gz" in err
        assert "grid" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give DIR"),
        (("nowhere", "r"), "no such folder"),
        (("empty", "r"), "no group results of another package. Looked for FSL"),
        (("spm",), "holds results of SPM: say where"),
        (("spm", "r", "--package", "SAS"), "package is one of FSL, SPM"),
        (("spm", "r", "--package", "AFNI"), "no group results"),
        (("spm", "spm"), "choose a folder of its own"),
        (("spm", "spm/inner/report"), "choose a folder of its own"),
        (
            ("spm", "r", "--mask", "result.nii.gz", "--name", "x"),
            "--mask, --name: goes with --stat-map",
        ),
        (("spm", "r", "--output", "x.html"), "--output is of a finished run"),
        (("spm", "r", "--height-control", "rft"), "do not state for pos; take another"),
        (("spm", "r", "--cluster-control", "rft"), "for pos; leave out --cluster-control"),
        (("spm", "r", "--cluster-control", "rft"), "random field theory needs the smoothness"),
        (("spm", "r", "--threshold-z", "0.01"), "looks like a p value"),
        (("spm", "r", "--alpha", "5"), "alpha"),
        (("spm", "r", "--plugin-args", "["), "no JSON"),
        (("--stat-map", "result.nii.gz"), "goes with OUT"),
        (("spm", "r", "--stat-map", "result.nii.gz"), "give either --stat-map"),
        (("--stat-map", "none.nii.gz", "r"), "none.nii.gz does not exist"),
        (
            ("--stat-map", "result.nii.gz", "r"),
            "give its type (t, F, z, r, d, p, 1-p, logp) (--stat-type)",
        ),
        (("--stat-map", "result.nii.gz", "r", "--stat-type", "t"), "got none (--dof)"),
        (("--stat-map", "result.nii.gz", "r", "--package", "SPM"), "--package goes with DIR"),
        (
            ("--stat-map", "result.nii.gz", "r", "--stat-type", "z", "--mask", "none.nii"),
            "none.nii does not exist",
        ),
    ],
)
def test_arguments_that_cannot_be(
    command, stat_map, write, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    image = nib.Nifti1Image(np.random.default_rng(0).standard_t(20, SHAPE), AFFINE)
    image.header["descrip"] = b"SPM{T_[20.0]} - contrast 1: pos"
    (tmp_path / "spm").mkdir()
    nib.save(image, tmp_path / "spm/spmT_0001.nii")
    code, out, err = command("report", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("nipype-group report: ")
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "r").exists()


def test_out_that_is_anothers(command, stat_map, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    about = {"Name": "x", "BIDSVersion": "1.8.0", "GeneratedBy": [{"Name": "fMRIPrep"}]}
    (taken / "dataset_description.json").write_text(json.dumps(about))
    code, _, err = command("report", "--stat-map", stat_map, taken, "--stat-type", "z", *FAST)
    assert code == 1
    assert "is a data set of fMRIPrep" in err
    (tmp_path / "file").write_text("")
    code, _, err = command(
        "report", "--stat-map", stat_map, tmp_path / "file/r", "--stat-type", "z", *FAST
    )
    assert code == 1
    assert "is a file" in err
