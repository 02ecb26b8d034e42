"""Results of another package as derivatives of ours: what is kept, said, and shown."""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.execution import run_workflow
from nipype_group.peers.files import look_up, peer_contrasts
from nipype_group.reporting.derivatives.read import GroupFolder
from nipype_group.settings import PeerSettings
from nipype_group.workflows import init_peer_wf

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = (-20, -30, 0)
SHAPE = (9, 10, 8)
N_MAPS = 20


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(values, dtype=np.float32), AFFINE), path)


@pytest.fixture
def randomise(tmp_path):
    """Write results as randomise does: two sides of a contrast, an F, corrected p of t."""
    folder, rng = tmp_path / "rand", np.random.default_rng(5)
    t = rng.standard_t(N_MAPS - 2, SHAPE)
    t[2:4, 3:6, 3:5] += 8
    t[7, 7, 2:5] = -9
    for number, side in ((1, t), (2, -t)):
        save(folder / f"age_tstat{number}.nii.gz", side)
        p = np.clip(stats.t.sf(side, N_MAPS - 2) * side.size, 0.0005, 1)
        for unit in ("vox", "clustere", "tfce"):
            save(folder / f"age_{unit}_corrp_tstat{number}.nii.gz", 1 - p)
    save(folder / "age_fstat1.nii.gz", t**2)
    rows = "\n".join(f"1 {v:.4f}" for v in rng.standard_normal(N_MAPS))
    (folder / "age.mat").write_text(f"/NumWaves 2\n\n/Matrix\n{rows}\n")
    titles = "/ContrastName1\tage > 0\n/ContrastName2\tage < 0\n"
    (folder / "age.con").write_text(f"{titles}/NumWaves 2\n\n/Matrix\n0 1\n0 -1\n")
    (folder / "age.fts").write_text("/NumWaves 2\n\n/Matrix\n1 0\n")
    return folder / "age", t


@pytest.fixture
def report(tmp_path):
    """Return a function that runs the workflow on a place; gives outputs and folder."""

    def run(path, out="out", work="work", single=None, **settings):
        found = look_up(path, single=single is not None, **(single or {}))
        workflow = init_peer_wf(
            contrasts=peer_contrasts(found),
            package=None if found.package == "unknown" else found.package,
            has_design=found.design is not None,
            settings=PeerSettings(**{"atlases": (), "figures": False} | settings),
        )
        inputs = {"mask": "mask_file", "dof": "dof", "name": "contrast_name"}
        inputs = {inputs.get(k, k): v for k, v in (single or {}).items()}
        workflow.inputs.inputnode.trait_set(
            path=str(path), single=single is not None, output_dir=str(tmp_path / out), **inputs
        )
        result = run_workflow(workflow, work_dir=tmp_path / work, plugin="Linear")
        return result.outputs, tmp_path / out / "group"

    return run


def sidecar(group, name):
    return json.loads((group / f"{name}.json").read_text())


def test_results_of_randomise(randomise, report):
    path, t = randomise
    outputs, group = report(path, tail="positive", height_controls=("bonferroni",))
    folder = GroupFolder(group)
    assert [c.label for c in folder.contrasts] == ["age0", "age02", "FTest1"]
    assert folder.package == "FSL"
    names = {p.name for p in group.iterdir()}
    for label, stat in (("age0", "t"), ("age02", "t"), ("FTest1", "F")):
        for kind in (stat, "z", "p"):
            assert {f"contrast-{label}_stat-{kind}_statmap.nii.gz"} <= names
    # What randomise does not leave is not there.
    assert not [n for n in names if "stat-effect" in n or "observations" in n or "smooth" in n]
    about = sidecar(group, "contrast-age02_stat-t_statmap")
    assert about["GeneratedBy"][0]["Name"] == "FSL"
    assert about["DegreesOfFreedom"] == N_MAPS - 2
    assert about["NumberOfInputs"] == N_MAPS
    assert about["Sources"][0] == "age_tstat2.nii.gz"
    assert "age < 0 is the other side of age > 0." in about["Notes"]
    assert about["ContrastExpression"] == "-EV2"
    assert sidecar(group, "contrast-FTest1_stat-F_statmap")["DegreesOfFreedom"] == [1, N_MAPS - 2]
    results = {r.control.name: r for r in folder.results("age0")}
    assert set(results) == {"bonferroni", "permutation", "permutation-extent", "permutation-tfce"}
    kept = nib.load(group / "contrast-age0_stat-t_desc-permVoxelFWE_statmap.nii.gz")
    assert kept.header.get_intent()[:2] == ("t test", (N_MAPS - 2.0,))
    p = 1 - np.float32(1 - np.clip(stats.t.sf(t, N_MAPS - 2) * t.size, 0.0005, 1))
    np.testing.assert_array_equal(kept.get_fdata(), np.where(p <= 0.05, t.astype(np.float32), 0))
    # Bonferroni by z holds the same voxels, and its tables list the package's p too.
    ours = nib.load(group / "contrast-age0_stat-z_desc-bonferroni_statmap.nii.gz").get_fdata()
    np.testing.assert_array_equal(ours > 0, kept.get_fdata() > 0)
    for name in ("bonferroni", "permVoxelFWE"):
        peaks = pd.read_csv(group / f"contrast-age0_desc-{name}_peaks.tsv", sep="\t")
        assert {"p_fwe_voxel", "p_fwe_extent", "p_fwe_tfce"} <= set(peaks)
        assert (peaks["p_fwe_voxel"].iloc[0] - 0.0005) < 1e-6
    assert len(outputs["thresholded_files"]) == 3 + 2 * 3
    text = (group / "report.html").read_text()
    assert re.search(r"Statistics by</dt><dd>FSL", text)
    assert "The model of 20 maps was fitted by FSL" in text
    assert "by ordinary least squares" not in text
    assert "permTfceFWE" in text
    assert "Does the effect grow with EV2" in text


def test_same_results_give_the_same_bytes_and_no_path(randomise, report, tmp_path):
    path, _ = randomise
    for other in (*path.parent.glob("*tstat2*"), *path.parent.glob("*fstat*")):
        other.unlink()
    settings = {"ari_thresholds_z": (2.5,), "table_views": ("spm",), "alpha": 0.01}
    _, first = report(path, **settings)
    _, second = report(path, out="again", work="other", **settings)
    files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(second) for p in second.rglob("*") if p.is_file())
    for name in files:
        content = (first / name).read_bytes()
        assert content == (second / name).read_bytes(), name
        assert str(tmp_path).encode() not in content, name
    assert any("stat-tdp" in str(name) for name in files)
    assert any(str(name).endswith("_spm.tsv") for name in files)


def test_smoothness_is_kept_once_or_of_every_contrast(report, tmp_path):
    rng = np.random.default_rng(2)
    for number in (1, 2):
        feat = tmp_path / f"g.gfeat/cope{number}.feat"
        save(feat / "stats/tstat1.nii.gz", rng.standard_t(15, SHAPE))
        (feat / "stats/dof").write_text("15\n")
        (feat / "stats/smoothness").write_text("DLH 0.5\nFWHMvoxel 2 2 2\n")
    rft = {"height_controls": ("rft",), "cluster_control": "rft", "cluster_forming_z": 2.0}
    _, group = report(tmp_path / "g.gfeat", **rft)
    smoothness = sidecar(group, "smoothness")
    np.testing.assert_allclose(smoothness["VoxelsPerResel"], (4 * np.log(2)) ** 1.5 / 0.5)
    np.testing.assert_allclose(smoothness["FWHMMillimetres"], np.cbrt(9.2335) * 4, rtol=1e-4)
    settings = GroupFolder(group).results("cope1Contrast1")[0].settings
    np.testing.assert_allclose(settings["FWHMVoxels"], smoothness["FWHMVoxels"])
    (tmp_path / "g.gfeat/cope2.feat/stats/smoothness").write_text("DLH 0.2\n")
    _, group = report(tmp_path / "g.gfeat", out="two", work="two-work", **rft)
    names = sorted(p.name for p in group.glob("*smoothness.json"))
    assert names == [f"contrast-cope{n}Contrast1_smoothness.json" for n in (1, 2)]
    footer = re.findall(r"<dt>FWHM</dt><dd>([^<]*)", (group / "report.html").read_text())
    assert len(set(footer)) == 2


def test_masks_of_contrasts_may_differ(report, tmp_path):
    rng = np.random.default_rng(2)
    for number in (1, 2):
        values = rng.standard_t(15, SHAPE)
        values[: 3 * (number - 1)] = 0
        save(tmp_path / f"in/a_tstat{number}.nii.gz", values)
    (tmp_path / "in/a.mat").write_text("/Matrix\n" + "1\n" * 16)
    _, group = report(tmp_path / "in", ari_thresholds_z=(2.0,))
    searched = [
        GroupFolder(group).results(f"contrast{n}")[0].settings["SearchVolumeVoxels"]
        for n in (1, 2)
    ]
    assert searched == [720, 480]
    assert nib.load(group / "desc-group_mask.nii.gz").get_fdata().sum() == 720


def test_one_z_map_with_figures(report, tmp_path):
    z = np.random.default_rng(4).standard_normal(SHAPE)
    z[4, 4, 4], z[2, 2, 2] = 7, -7
    save(tmp_path / "map.nii.gz", z)
    given = {"stat_type": "z", "name": "reading > rest"}
    _, group = report(
        tmp_path / "map.nii.gz", single=given, figures=True, height_controls=("bonferroni",)
    )
    names = {p.name for p in group.iterdir()}
    assert "contrast-readingRest_stat-z_statmap.nii.gz" in names
    assert not [n for n in names if "stat-t_" in n or n.endswith("design.tsv")]
    about = sidecar(group, "contrast-readingRest_stat-z_statmap")
    assert (about["StatisticType"], "DegreesOfFreedom" in about) == ("z", False)
    peaks = pd.read_csv(group / "contrast-readingRest_desc-bonferroniBoth_peaks.tsv", sep="\t")
    assert peaks["zscore"].round(4).tolist() == [7, -7]
    assert peaks["stat"].tolist() == peaks["zscore"].tolist()
    kinds = {entry["Kind"] for entry in GroupFolder(group).figures}
    assert {"glassbrain", "slices", "unthresholded"} <= kinds
    assert not kinds & {"strip", "design", "effectsize"}
    text = Path(group / "report.html").read_text()
    assert 'reading &gt; rest <span class="test">z</span>' in text
    assert "fitted by another program" in text
