"""The command line on thirty real maps, against what nilearn and PALM find in them."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.cli.main import main
from nipype_group.tsv import read_tsv

N_MAPS = 30
N_PERMUTATIONS = 2000
# nilearn and this package compute in float64 and write float32.
FLOAT32 = 1e-5


def read(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture(scope="module")
def data(shared):
    return shared / "data" / "wager2008"


@pytest.fixture(scope="module")
def analysed(shared, data, tmp_path_factory):
    """Run both analyses once; return the folder of their results by name."""
    folder = tmp_path_factory.mktemp("wager")
    success = pd.read_csv(data / "covariates.csv")["Y_Reappraisal_Success"]
    names = [f"sub-{i:02d}" for i in range(1, N_MAPS + 1)]
    maps = [str(data / f"con_{i:02d}.nii.gz") for i in range(1, N_MAPS + 1)]
    table = pd.DataFrame({"participant_id": names, "map": maps})
    # Demeaned, as the oracles' regressor: the intercept is then the mean effect in both models.
    table["success"] = success - success.mean()
    table.to_csv(folder / "maps.tsv", sep="\t", index=False, float_format="%.17g")
    values = np.ones((47, 56, 31), dtype=np.uint8)
    nib.save(nib.Nifti1Image(values, nib.load(data / "mask.nii.gz").affine), folder / "all.nii.gz")
    (folder / "all.csv").write_text("index,name\n1,brain\n")
    groups = {}
    for name, formula, contrast in (
        ("onesamp", "1", "x=intercept"),
        ("regr", "success", "x=success"),
    ):
        code = main(
            [
                "run",
                str(folder / name),
                "--maps",
                str(folder / "maps.tsv"),
                "--mask",
                str(data / "mask.nii.gz"),
                "--formula",
                formula,
                "--contrast",
                contrast,
                "--tail",
                "positive",
                "--n-procs",
                "2",
                "--height-control",
                "fdr",
                "--height-control",
                "bonferroni",
                "--permutations",
                str(N_PERMUTATIONS),
                "--seed",
                "1",
                "--atlas",
                str(folder / "all.nii.gz"),
            ]
        )
        assert code == 0
        groups[name] = folder / name / "group"
    return groups


MODELS = ("onesamp", "regr")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("stat", "oracle"),
    [
        ("effect", "effect_size"),
        ("variance", "effect_variance"),
        ("t", "stat"),
        ("z", "z_score"),
        ("p", "p_value"),
    ],
)
def test_maps_agree_with_nilearn(analysed, shared, data, model, stat, oracle):
    inside = read(data / "mask.nii.gz") > 0
    expected = read(shared / "oracles" / "nilearn" / f"{model}_{oracle}.nii.gz")[inside]
    found = read(analysed[model] / f"contrast-x_stat-{stat}_statmap.nii.gz")[inside]
    np.testing.assert_allclose(found, expected, rtol=FLOAT32, atol=FLOAT32)


@pytest.mark.parametrize("model", MODELS)
def test_maps_are_zero_outside_the_mask(analysed, data, model):
    outside = read(data / "mask.nii.gz") == 0
    for stat in ("effect", "variance", "t", "z"):
        assert not read(analysed[model] / f"contrast-x_stat-{stat}_statmap.nii.gz")[outside].any()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("desc", "control"), [("fdrBH", "fdr"), ("bonferroni", "bonferroni")])
def test_thresholds_and_survivors_agree_with_nilearn(analysed, shared, model, desc, control):
    findings = json.loads((shared / "oracles" / "nilearn" / f"glm_{model}.json").read_text())
    expected = findings["threshold_stats_img"][f"{control}_a0.05_one"]
    stem = f"contrast-x_stat-z_desc-{desc}_statmap"
    sidecar = json.loads((analysed[model] / f"{stem}.json").read_text())
    kept = read(analysed[model] / f"{stem}.nii.gz")
    assert np.count_nonzero(kept) == expected["n_pos"] == sidecar["SurvivingVoxels"]
    if expected["n_pos"]:
        assert sidecar["ThresholdValue"] == pytest.approx(expected["z_threshold"], abs=1e-5)
        assert kept[kept != 0].min() >= expected["z_threshold"] - FLOAT32
    else:
        tables = read_tsv(analysed[model] / f"contrast-x_desc-{desc}_clusters.tsv")
        assert tables.empty


@pytest.mark.parametrize(
    ("model", "oracle", "peak"),
    [
        ("onesamp", "a_vox", (21, 40, 23)),
        ("regr", "b_reg", (40, 23, 4)),
    ],
)
def test_corrected_p_at_peaks_agrees_with_palm(analysed, shared, data, model, oracle, peak):
    inside = read(data / "mask.nii.gz") > 0
    t = np.where(inside, read(analysed[model] / "contrast-x_stat-t_statmap.nii.gz"), -np.inf)
    palm = read(shared / "oracles" / "palm" / oracle / f"{oracle}_vox_tstat.nii.gz")
    np.testing.assert_allclose(t[inside], palm[inside], rtol=FLOAT32, atol=FLOAT32)
    assert np.unravel_index(t.argmax(), t.shape) == peak
    highest = np.argsort(t, axis=None)[::-1][:10]
    logp = read(analysed[model] / "contrast-x_stat-logp_desc-permVoxelFWE_statmap.nii.gz")
    p = 10.0 ** -logp.ravel()[highest]
    q = read(shared / "oracles" / "palm" / oracle / f"{oracle}_vox_tstat_fwep.nii.gz")
    q = q.ravel()[highest].astype(float)
    n_palm = 2000
    pooled = (p * N_PERMUTATIONS + q * n_palm) / (N_PERMUTATIONS + n_palm)
    error = np.sqrt(pooled * (1 - pooled) * (1 / N_PERMUTATIONS + 1 / n_palm))
    # Both count the unshuffled map, so one count apart is always possible.
    assert (abs(p - q) <= 4 * error + 1 / n_palm).all()


def test_null_distribution_has_the_quantile_of_palm(analysed, shared):
    """Maximum t by sign flips: its 95 % point, as z, within the error of 2,000 shuffles."""
    own = pd.read_csv(analysed["onesamp"] / "contrast-x_nulldist.tsv", sep="\t")["voxel_positive"]
    assert len(own) == N_PERMUTATIONS + 1
    z = stats.norm.isf(stats.t.sf(own, N_MAPS - 1))
    palm = json.loads((shared / "oracles" / "palm" / "summary.json").read_text())
    q95 = palm["a_vox"]["vox_tstat_max"]["q95"]
    share = (z >= q95).mean()
    assert abs(share - 0.05) <= 4 * np.sqrt(0.05 * 0.95 * (2 / 2000))
