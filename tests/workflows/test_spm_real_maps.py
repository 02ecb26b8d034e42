"""The command line on thirty real maps, by random field theory, against SPM12's results.

By default smoothness leaves out the zeros that SPM takes beyond the faces of the volume, so FWHM
and p differ a little; thresholds by Bonferroni and the clusters themselves do not.
"""

import json
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage, stats

from nipype_group.cli import run as run_module
from nipype_group.cli.main import main
from nipype_group.reporting.tables.clusters import read_table
from nipype_group.stats.random_field.euler import StatField

N_MAPS, N_VOXELS = 30, 75919


@dataclass(frozen=True)
class Run:
    """How the maps are analysed, and SPM's model and tables of the same."""

    formula: str
    contrast: str
    tail: str
    p: float
    model: str
    tables: tuple
    field: StatField

    @property
    def sides(self):
        return 2 if (self.field.kind, self.tail) == ("t", "two-sided") else 1

    def upper(self, p):
        """Return the statistic with this p on one side."""
        return {"t": stats.t, "F": stats.f}[self.field.kind].isf(p, *self.field.dof)

    @property
    def height(self):
        return self.upper(self.p / self.sides)

    @property
    def desc(self):
        return "rftClusterFWE" + ("Both" if self.sides == 2 else "")


MEAN, SLOPE = ("1", "x=intercept"), ("success", "x=success")
T29, T28, F = StatField("t", 29), StatField("t", 28), StatField("F", (1, 28))
RUNS = {
    "mean": Run(*MEAN, "positive", 0.001, "onesamp", ("pos_p0001",), T29),
    "mean, both sides": Run(*MEAN, "two-sided", 0.002, "onesamp", ("pos_p0001", "neg_p0001"), T29),
    "slope": Run(*SLOPE, "positive", 0.001, "regr", ("slope_pos_p0001",), T28),
    "slope, lenient": Run(*SLOPE, "positive", 0.01, "regr", ("slope_pos_p001",), T28),
    "slope by F": Run(SLOPE[0], "x=success;", "two-sided", 0.001, "regr", ("slope_F_p0001",), F),
}


def read(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture(scope="module")
def analyse(shared, tmp_path_factory):
    """Return a function that analyses the maps; gives the folder of the results."""
    folder, data = tmp_path_factory.mktemp("wager"), shared / "data" / "wager2008"
    success = pd.read_csv(data / "covariates.csv")["Y_Reappraisal_Success"]
    table = pd.DataFrame(
        {
            "participant_id": [f"sub-{i:02d}" for i in range(1, N_MAPS + 1)],
            "map": [str(data / f"con_{i:02d}.nii.gz") for i in range(1, N_MAPS + 1)],
            "success": success - success.mean(),
        }
    )
    table.to_csv(folder / "maps.tsv", sep="\t", index=False, float_format="%.17g")

    def analysis(name, run):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_module, "can_draw", lambda: False)
            code = main(
                [
                    "run",
                    str(folder / name),
                    "--maps",
                    str(folder / "maps.tsv"),
                    "--mask",
                    str(data / "mask.nii.gz"),
                    "--formula",
                    run.formula,
                    "--contrast",
                    run.contrast,
                    "--tail",
                    run.tail,
                    "--connectivity",
                    "18",
                    "--height-control",
                    "rft",
                    "--height-control",
                    "bonferroni",
                    "--cluster-control",
                    "rft",
                    "--cluster-forming-p",
                    str(run.p),
                    "--atlas",
                    "none",
                    "--plugin",
                    "Linear",
                    "--n-procs",
                    "2",
                ]
            )
        assert code == 0
        return folder / name / "group"

    return analysis


@pytest.fixture(scope="module")
def analysed(analyse):
    """Run all analyses once; return the folder of their results by name."""
    return {name: analyse(name.replace(" ", "_"), run) for name, run in RUNS.items()}


@pytest.fixture(scope="module")
def design(shared):
    """Return a function that gives the smoothness that SPM found in a model."""
    spm = shared / "oracles" / "spm"
    return lambda run: json.loads((spm / run.model / "design.json").read_text())


@pytest.fixture(scope="module")
def spm(shared):
    """Return a function that gives the clusters of SPM's tables, largest first."""

    def clusters(run):
        folder = shared / "oracles" / "spm" / run.model
        rows = pd.concat([pd.read_csv(folder / f"{t}_table.csv") for t in run.tables])
        rows = rows[rows["clus_k"].notna()]
        return rows.sort_values("clus_k", ascending=False, kind="stable", ignore_index=True)

    return clusters


def sidecar(group, desc):
    return json.loads((group / f"contrast-x_stat-z_desc-{desc}_statmap.json").read_text())


def stat_map(group, run):
    return read(group / f"contrast-x_stat-{run.field.kind}_statmap.nii.gz")


@pytest.mark.parametrize("name", ["mean", "slope"])
def test_smoothness_is_that_of_spm_but_for_the_faces_of_the_volume(analysed, design, name):
    found = json.loads((analysed[name] / "smoothness.json").read_text())
    expected = design(RUNS[name])
    assert found["Edges"] == "valid"
    assert found["NumberOfVoxels"] == expected["S"] == N_VOXELS
    ratio = np.divide(found["FWHMVoxels"], expected["FWHM"])
    # The brain touches the upper faces along x and y.
    np.testing.assert_allclose(ratio, [0.977, 0.984, 1.002], atol=0.001)
    assert np.prod(ratio) == pytest.approx(0.963, abs=0.001)
    # R0 has no unit, R1 to R3 grow as FWHM falls.
    growth = np.divide(found["Resels"], expected["R"])
    np.testing.assert_allclose(growth, [1, 1.0138, 1.0269, 1.0383], atol=0.0002)


@pytest.mark.parametrize("name", RUNS)
def test_voxel_threshold_is_that_of_bonferroni(analysed, name):
    run = RUNS[name]
    side = "Both" if run.sides == 2 else ""
    for control in ("rftVoxelFWE", "bonferroni"):
        z = sidecar(analysed[name], f"{control}{side}")["ThresholdValue"]
        found = run.upper(stats.norm.sf(z))
        assert found == pytest.approx(run.upper(0.05 / run.sides / N_VOXELS), rel=1e-6)


def test_voxel_threshold_is_that_of_spm(analysed, shared):
    """In these maps SPM takes Bonferroni's threshold as the smaller, too."""
    for name, contrast in (("mean", "pos"), ("slope", "slope_pos"), ("slope by F", "slope_F")):
        run = RUNS[name]
        found = (shared / "oracles" / "spm" / run.model / "results.json").read_text()
        fwe_height = json.loads(found)[f"{contrast}_p0001"]["uc"][0]
        z = sidecar(analysed[name], "rftVoxelFWE")["ThresholdValue"]
        assert run.upper(stats.norm.sf(z)) == pytest.approx(fwe_height, rel=1e-6)
    z = sidecar(analysed["mean"], "rftVoxelFWE")["ThresholdValue"]
    assert stats.t.isf(stats.norm.sf(z), 29) == pytest.approx(6.0693, abs=5e-5)


@pytest.mark.parametrize("name", RUNS)
def test_clusters_have_the_sizes_of_those_of_spm(analysed, spm, name):
    run, group = RUNS[name], analysed[name]
    expected = spm(run)
    clusters = read_table(group / f"contrast-x_desc-{run.desc}_clusters.tsv")
    survivors = clusters["n_voxels"].sort_values(ascending=False)
    assert len(survivors) > 0
    assert survivors.tolist() == expected["clus_k"][: len(survivors)].tolist()
    # All clusters, also those that do not survive: each has its own p throughout.
    stat = stat_map(group, run)
    logp = read(group / f"contrast-x_stat-logp_desc-{run.desc}_statmap.nii.gz")
    sizes, inside = [], np.zeros(stat.shape, dtype=bool)
    for sign in (1, -1)[: run.sides]:
        survives = sign * stat.astype(float) >= run.height
        labels, n_labels = ndimage.label(survives, ndimage.generate_binary_structure(3, 2))
        sizes += np.bincount(labels.ravel())[1:].tolist()
        inside |= survives
        for label in range(1, n_labels + 1):
            assert len(np.unique(logp[labels == label])) == 1
    assert sorted(sizes, reverse=True) == expected["clus_k"].tolist()
    assert not logp[~inside].any()


@pytest.mark.parametrize("name", RUNS)
def test_cluster_p_is_that_of_spm_for_the_other_smoothness(analysed, design, spm, name):
    run, group = RUNS[name], analysed[name]
    clusters = read_table(group / f"contrast-x_desc-{run.desc}_clusters.tsv")
    expected = spm(run)[: len(clusters)]
    found = json.loads((group / "smoothness.json").read_text())
    ratio = np.prod(design(run)["FWHM"]) / found["VoxelsPerResel"]
    # Extents in resels grow by the ratio, and log p is that to the power 2/3.
    log_p = ratio ** (2 / 3) * np.log(np.maximum(expected["clus_punc"], 1e-300))
    known = (expected["clus_punc"] > 1e-9).to_numpy()
    assert known.any()
    p_unc = clusters["p_unc"].to_numpy() / run.sides
    np.testing.assert_allclose(p_unc[known], np.exp(log_p[known]), rtol=1e-4)
    # SPM says 0 where a double near 1 has no more digits.
    assert (p_unc[~known] < 1e-9).all()
    p_fwe = clusters["p_fwe"].to_numpy() / run.sides
    share = p_fwe[known] / expected["clus_pFWE"][known]
    assert share.between(0.65, 1).all()
    assert (clusters["p_fwe"] <= 0.05).all()


def test_peaks_have_the_height_p_of_spm(analysed, shared):
    """The p of peaks is Bonferroni's where that is smaller, so smoothness plays no part."""
    peaks = read_table(analysed["mean"] / "contrast-x_desc-rftClusterFWE_peaks.tsv")
    table = pd.read_csv(shared / "oracles/spm/onesamp/pos_p0001_table_allmaxima.csv")
    found = peaks.merge(table, on=["x", "y", "z"])
    assert len(found) == len(peaks) > 10
    np.testing.assert_allclose(found["stat"], found["peak_stat"], rtol=1e-5)
    high = found["peak_pFWE"] < 0.3
    assert high.sum() == 5
    np.testing.assert_allclose(found["p_fwe"][high], found["peak_pFWE"][high], rtol=1e-4)
    # q follows the resels, a little.
    np.testing.assert_allclose(found["p_fdr"], found["peak_qFDR"], rtol=0.05)
