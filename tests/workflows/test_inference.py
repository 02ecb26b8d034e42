"""A whole analysis with every kind of inference: files, tables, plugins, search volume."""

import json
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from nipype_group.controls import CONTROLS, height_controls
from nipype_group.execution import run_workflow
from nipype_group.reporting.tables.clusters import read_table
from nipype_group.reporting.tables.columns import CLUSTER_COLUMNS
from nipype_group.stats.discoveries.all_resolutions import ari_regions
from nipype_group.workflows import AnalysisSettings, init_group_wf

SHAPE = (16, 15, 14)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
AFFINE[:3, 3] = (-20, -21, -18)
UP, DOWN = (slice(3, 7), slice(4, 8), slice(4, 8)), (slice(10, 13), slice(8, 12), slice(7, 11))
STEM = "task-rest_space-MNI"
HEIGHTS = (2.3, 3.1)
SETTINGS = AnalysisSettings(
    contrasts=("age=age", "age and group=age; patient - control"),
    formula="age + C(group)",
    height_controls=height_controls(),
    threshold_z=3.1,
    cluster_control="rft",
    cluster_forming_p=0.002,
    ari_thresholds_z=HEIGHTS,
    n_permutations=80,
    n_shards=3,
    seed=5,
    figures=False,
    also_write=("all",),
)
# Descs of the contrast "age", two-sided, and of the F contrast.
HEIGHT_DESCS = ["z3p1", *(CONTROLS[c].desc for c in height_controls() if c != "none")]
T_DESCS = [f"{d}Both" for d in (*HEIGHT_DESCS, "rftClusterFWE", "permVoxelFWE")]
F_DESCS = [*HEIGHT_DESCS, "rftClusterFWE", "permVoxelFWE"]
TABLES = ("clusters.tsv", "peaks.tsv", "labels.tsv")


@dataclass
class Study:
    """Maps on disk and how to analyse them."""

    folder: Path
    settings: AnalysisSettings

    def analyse(self, name, plugin="Linear", settings=None, **inputs):
        """Run an analysis; return the result and its folder."""
        workflow = init_group_wf(settings=settings or self.settings)
        workflow.inputs.inputnode.trait_set(
            bids_dir=str(self.folder / "maps"),
            select=["stat=effect"],
            output_dir=str(self.folder / name),
            **inputs,
        )
        work = self.folder / f"work-{name}"
        result = run_workflow(workflow, work_dir=work, plugin=plugin, n_procs=2)
        return result, self.folder / name / "group"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Write fourteen smooth maps with a positive and a negative effect of age, and an atlas."""
    folder = tmp_path_factory.mktemp("smooth")
    (folder / "maps").mkdir()
    rng = np.random.default_rng(3)
    age = np.linspace(20, 60, 14)
    rows = ["participant_id\tage\tgroup"]
    for i, own in enumerate(age):
        values = gaussian_filter(rng.standard_normal(SHAPE), 1.1)
        values = (values / values.std() + 3).astype(np.float32)
        values[UP] += 0.12 * (own - age.mean())
        values[DOWN] -= 0.12 * (own - age.mean())
        values[0] = 0
        name = f"sub-{i:02d}_{STEM}_stat-effect_statmap.nii.gz"
        nib.save(nib.Nifti1Image(values, AFFINE), folder / "maps" / name)
        rows.append(f"sub-{i:02d}\t{own:.4f}\t{'patient' if i % 2 else 'control'}")
    (folder / "maps" / "participants.tsv").write_text("\n".join(rows) + "\n")
    halves = np.where(np.indices(SHAPE)[0] < 8, 1, 2).astype(np.uint8)
    nib.save(nib.Nifti1Image(halves, AFFINE), folder / "halves.nii.gz")
    (folder / "halves.csv").write_text("index,name\n1,left half\n2,right half\n")
    return Study(folder, replace(SETTINGS, atlases=(str(folder / "halves.nii.gz"),)))


@pytest.fixture(scope="module")
def analysed(study):
    """Analyse the study once with everything."""
    return study.analyse("linear")


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def read(path):
    return np.asarray(nib.load(path).dataobj)


def results():
    """Return contrast and desc of all thresholded maps."""
    return [("age", d) for d in T_DESCS] + [("ageAndGroup", d) for d in F_DESCS]


def test_every_inference_leaves_its_files(analysed):
    result, group = analysed
    expected = {f"{STEM}_smoothness.json", f"{STEM}_desc-search_mask.nii.gz"}
    for contrast, desc in results():
        own = "t" if contrast == "age" else "F"
        stat = own if desc.startswith("perm") else "z"
        stem = f"{STEM}_contrast-{contrast}"
        maps = [f"{stem}_stat-{s}_desc-{desc}_statmap" for s in (stat, "logp")]
        expected |= {f"{name}{end}" for name in maps for end in (".nii.gz", ".json")}
        expected |= {f"{stem}_desc-{desc}_{table}" for table in TABLES}
        clusters = f"{stem}_desc-{desc}Clusters_dseg"
        expected |= {f"{clusters}{end}" for end in (".nii.gz", ".json", ".tsv")}
    for contrast, desc in (("age", "ariBoth"), ("ageAndGroup", "ari")):
        stem = f"{STEM}_contrast-{contrast}"
        expected |= {f"{stem}_desc-{desc}_{table}" for table in ("tdp.tsv", "regions.tsv")}
        expected |= {f"{stem}_stat-tdp_desc-{desc}_statmap{e}" for e in (".nii.gz", ".json")}
    found = {p.name for p in group.iterdir()}
    assert expected <= found
    # No threshold has left files but those.
    logp = {
        n
        for n in found
        if "_stat-logp_" in n and "permVoxelUnc" not in n and "permVoxelFDR" not in n
    }
    assert logp == {n for n in expected if "_stat-logp_" in n}
    assert len(result.outputs["thresholded_files"]) == len(results())
    assert len(result.outputs["tdp_files"]) == len(result.outputs["ari_regions_files"]) == 2


def test_bids_validator_accepts_the_data_set(analysed):
    command = shutil.which("bids-validator-deno")
    assert command, "the extra bids brings bids-validator-deno"
    top = str(analysed[1].parent)
    done = subprocess.run([command, top], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def tables(group, contrast, desc):
    stem = f"{STEM}_contrast-{contrast}_desc-{desc}"
    return [read_table(group / f"{stem}_{name}") for name in ("clusters.tsv", "peaks.tsv")]


@pytest.mark.parametrize(
    ("contrast", "desc"), [("age", "rftClusterFWEBoth"), ("ageAndGroup", "rftClusterFWE")]
)
def test_clusters_by_random_field_have_all_their_p(analysed, contrast, desc):
    clusters, peaks = tables(analysed[1], contrast, desc)
    # Age goes up in one place and down in the other; F sees both.
    assert len(clusters) >= 2
    assert clusters[["n_resels", "p_unc", "p_fwe", "p_fdr", "tdp"]].notna().all(axis=None)
    assert (clusters["p_fwe"] <= 0.05).all()
    assert (clusters["p_unc"] <= clusters["p_fwe"]).all()
    main = peaks[peaks["peak_id"] == 1]
    assert main[["p_unc", "p_fwe", "p_fdr"]].notna().all(axis=None)
    # The p of a peak is that of its height, not that of its cluster.
    assert main["p_fwe"].tolist() != clusters["p_fwe"].tolist()


def test_logp_of_clusters_is_that_of_their_table(analysed):
    group = analysed[1]
    clusters, _ = tables(group, "age", "rftClusterFWEBoth")
    stem = f"{STEM}_contrast-age"
    logp = read(group / f"{stem}_stat-logp_desc-rftClusterFWEBoth_statmap.nii.gz")
    labels = read(group / f"{stem}_desc-rftClusterFWEBothClusters_dseg.nii.gz")
    for row in clusters.itertuples():
        np.testing.assert_allclose(10.0 ** -logp[labels == row.cluster_id], row.p_fwe, rtol=1e-4)
    assert labels[UP].any()
    assert labels[DOWN].any()
    about = json.loads((group / f"{stem}_stat-z_desc-rftClusterFWEBoth_statmap.json").read_text())
    smoothness = json.loads((group / f"{STEM}_smoothness.json").read_text())
    assert about["FWHMVoxels"] == smoothness["FWHMVoxels"]
    assert about["ClusterFormingThreshold"] == pytest.approx(3.0902, abs=1e-4)
    assert len(about["SetLevelP"]) == 2


@pytest.mark.parametrize("control", height_controls())
def test_peaks_have_the_p_that_the_control_adjusts(analysed, control):
    desc = "z3p1" if control == "none" else CONTROLS[control].desc
    for contrast, side in (("age", "Both"), ("ageAndGroup", "")):
        clusters, peaks = tables(analysed[1], contrast, desc + side)
        assert len(peaks) > 0
        assert peaks["p_unc"].notna().all()
        assert clusters["tdp"].between(0, 1).all()
        adjusted = {"none": [], "fwe": ["p_fwe"], "fdr": ["p_fdr"]}[CONTROLS[control].adjusts]
        for column in ("p_fwe", "p_fdr"):
            if column in adjusted:
                assert (peaks[column] <= 0.05).all()
            else:
                assert peaks[column].isna().all()
        assert [c for c in clusters if c in CLUSTER_COLUMNS] == CLUSTER_COLUMNS
        # Whatever made the table, random field theory and permutation give their p too.
        logp = read(
            analysed[1]
            / f"{STEM}_contrast-{contrast}_stat-logp_desc-rftVoxelFWE{side}_statmap.nii.gz"
        )
        at = tuple(peaks[list("ijk")].to_numpy().T)
        np.testing.assert_allclose(peaks["p_fwe_rft"], 10.0 ** -logp[at], rtol=1e-4)
        assert clusters["p_fwe_voxel"].between(0, 1).all()


def test_permuted_clusters_have_true_discovery_proportions(analysed):
    clusters, peaks = tables(analysed[1], "age", "permVoxelFWEBoth")
    assert len(clusters) > 0
    assert (clusters["tdp"] > 0).all()
    assert (peaks["p_fwe"] <= 0.05).all()


@pytest.mark.parametrize(("contrast", "desc"), [("age", "ariBoth"), ("ageAndGroup", "ari")])
def test_true_discoveries_are_listed_at_all_heights_and_in_atlases(analysed, contrast, desc):
    stem = f"{STEM}_contrast-{contrast}"
    rows = pd.read_csv(analysed[1] / f"{stem}_desc-{desc}_tdp.tsv", sep="\t")
    assert set(rows["threshold_z"]) == set(HEIGHTS)
    assert (rows["n_discoveries"] > 0).any()
    regions = pd.read_csv(analysed[1] / f"{stem}_desc-{desc}_regions.tsv", sep="\t")
    assert set(regions["name"]) == {"left half", "right half"}
    sidecar = json.loads((analysed[1] / f"{stem}_stat-tdp_desc-{desc}_statmap.json").read_text())
    assert sidecar["MapType"] == "tdp"
    assert sidecar["ThresholdsZ"] == list(HEIGHTS)
    assert sidecar["Contrast"] == {"age": "age", "ageAndGroup": "age and group"}[contrast]


def proportions(group, contrast, desc, mask):
    """Return the true discovery proportions of a table, and those of a family of voxels."""
    stem = f"{STEM}_contrast-{contrast}"
    z = read(group / f"{stem}_stat-z_statmap.nii.gz")
    labels = read(group / f"{stem}_desc-{desc}Clusters_dseg.nii.gz")
    tail = "two-sided" if contrast == "age" else "positive"
    regions = ari_regions(z, labels, mask=mask, tail=tail)
    return tables(group, contrast, desc)[0]["tdp"].tolist(), [r.tdp for r in regions]


def test_plugins_change_no_byte(analysed, study):
    _, multi = study.analyse("multi", "MultiProc")
    expected, found = content(analysed[1]), content(multi)
    assert len(expected) > 250
    assert set(found) == set(expected)
    assert [name for name in found if found[name] != expected[name]] == []


def test_local_resels_count_on_request(analysed, study):
    settings = replace(
        study.settings,
        nonstationary=True,
        height_controls=("fdr",),
        threshold_z=None,
        ari_thresholds_z=(),
        n_permutations=0,
    )
    _, group = study.analyse("local", settings=settings)
    local, _ = tables(group, "age", "rftClusterFWEBoth")
    even, _ = tables(analysed[1], "age", "rftClusterFWEBoth")
    both = local.merge(even, on=["n_voxels", "peak_x", "peak_y", "peak_z"])
    assert len(both) >= 2
    assert not np.isclose(both["n_resels_x"], both["n_resels_y"], rtol=1e-3).any()
    assert local["tdp"].isna().all()


def test_search_volume_bounds_every_inference(analysed, study):
    searched = np.zeros(SHAPE, dtype=np.uint8)
    searched[:9] = 1
    path = study.folder / "search.nii.gz"
    nib.save(nib.Nifti1Image(searched, AFFINE), path)
    _, group = study.analyse("searched", search_volume=str(path))
    inside = (searched > 0) & (read(group / f"{STEM}_desc-group_mask.nii.gz") > 0)
    np.testing.assert_array_equal(read(group / f"{STEM}_desc-search_mask.nii.gz") > 0, inside)
    for contrast, desc in results():
        own = "t" if contrast == "age" else "F"
        stat = own if desc.startswith("perm") else "z"
        stem = f"{STEM}_contrast-{contrast}"
        kept = read(group / f"{stem}_stat-{stat}_desc-{desc}_statmap.nii.gz")
        logp = read(group / f"{stem}_stat-logp_desc-{desc}_statmap.nii.gz")
        assert kept[UP].any(), desc
        assert not kept[~inside].any(), desc
        assert not logp[~inside].any(), desc
    tdp = read(group / f"{STEM}_contrast-age_stat-tdp_desc-ariBoth_statmap.nii.gz")
    assert tdp[UP].any()
    assert not tdp[~inside].any()
    regions = pd.read_csv(group / f"{STEM}_contrast-age_desc-ariBoth_regions.tsv", sep="\t")
    assert regions["n_voxels"].sum() == inside.sum()
    everything = read(group / f"{STEM}_desc-group_mask.nii.gz") > 0
    differ = 0
    for contrast, desc in results():
        tdp, expected = proportions(group, contrast, desc, inside)
        np.testing.assert_allclose(tdp, expected, rtol=1e-5)
        differ += expected != proportions(group, contrast, desc, everything)[1]
    # The family matters to the bounds.
    assert differ > 0
    # The fit is that of the whole mask, so the smoothness is, too.
    whole = analysed[1]
    for name in ("smoothness.json", "contrast-age_stat-t_statmap.nii.gz"):
        path = f"{STEM}_{name}"
        assert (group / path).read_bytes() == (whole / path).read_bytes()
    # Fewer voxels, smaller maxima.
    null = [
        pd.read_csv(folder / f"{STEM}_contrast-age_nulldist.tsv", sep="\t").iloc[1:]
        for folder in (group, whole)
    ]
    columns = [c for c in null[0].columns if c.startswith("voxel")]
    assert (null[0][columns].to_numpy() <= null[1][columns].to_numpy()).all()
    assert (null[0][columns].to_numpy() < null[1][columns].to_numpy()).any()
