"""Random field inference against SPM12 and FSL, on grids of settings and on their real tables."""

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.stats.clusters import label_clusters
from nipype_group.stats.distributions import log_sf_t
from nipype_group.stats.multiple_testing import adjust_fdr
from nipype_group.stats.random_field.euler import StatField, log_ec_densities
from nipype_group.stats.random_field.inference import (
    expected_ec,
    expected_extent,
    log_p_cluster,
    log_p_extent,
    log_p_height,
    log_p_set,
    log_upper_poisson,
)
from nipype_group.stats.random_field.resels import SearchVolume, cluster_resels
from nipype_group.stats.random_field.topological import (
    fsl_height_threshold,
    fsl_log_p_cluster,
    height_of_fwe,
    log_q_clusters,
    log_q_peaks,
)

BRAIN = SearchVolume([1, 33.2611, 360.796, 1258.75], 75919, [4.1492, 4.1597, 3.2393])
T29 = StatField("t", 29)

SPM_RESULTS = [
    ("onesamp", name, image)
    for contrast, image in (("pos", "spmT_0001"), ("neg", "spmT_0002"), ("eff", "spmF_0003"))
    for name in (f"{contrast}_p0001", f"{contrast}_p0001_nonstat", f"{contrast}_p001")
] + [
    ("regr", name, image)
    for contrast, image in (
        ("slope_pos", "spmT_0001"),
        ("slope_neg", "spmT_0002"),
        ("mean", "spmT_0003"),
        ("slope_F", "spmF_0004"),
    )
    for name in (f"{contrast}_p0001", f"{contrast}_p0001_nonstat", f"{contrast}_p001")
]


def spm_field(stat, df1, df2, n_maps=1):
    kind, dof = {
        "Z": ("Z", None),
        "T": ("t", df2),
        "F": ("F", (df1, df2)),
        "X": ("chi2", df2),
    }[stat]
    return StatField(kind, dof, int(n_maps))


def spm_resels(text):
    return [float(r) for r in text.strip("[]").split(";")]


@pytest.fixture(scope="module")
def spm(shared):
    return shared / "oracles/spm"


def test_expectations_and_p_are_those_of_spm(spm, agree):
    grid = pd.read_csv(spm / "spm_P_RF_grid.csv")
    compared = 0
    for (stat, df1, df2, n, resels, c), rows in grid.groupby(
        ["STAT", "df1", "df2", "n", "R", "c"]
    ):
        field, volume = spm_field(stat, df1, df2, n), SearchVolume(spm_resels(resels))
        if stat == "X" and volume.n_dims > 1:
            continue  # SPM12's chi2 densities of dimension 2 and 3 are wrong.
        compared += len(rows)
        u, k = rows.Z.to_numpy(), rows.k_resels.to_numpy()
        agree(
            "SPM",
            "expected Euler characteristic",
            expected_ec(u, field, volume),
            rows.Ec,
            rtol=1e-6,
            atol=1e-12,
        )
        extent = expected_extent(u, field, volume)
        # SPM takes tails as 1 - cdf, which leaves few digits of a small one.
        sharp = np.exp(log_ec_densities(u, field)[0] / n) >= 1e-8
        np.testing.assert_allclose(extent[sharp], rows.Ek[sharp], rtol=1e-6)
        np.testing.assert_allclose(extent, rows.Ek, rtol=2e-5)
        uncorrected = np.exp(log_p_extent(k, u, field, volume))
        agree("SPM", "p of extents, uncorrected", uncorrected, rows.p_unc, rtol=1e-6, atol=1e-7)
        corrected = np.exp(log_p_set(c, k, u, field, volume))
        known = rows.P_corr.notna().to_numpy()
        agree(
            "SPM",
            "p of sets of clusters",
            corrected[known],
            rows.P_corr[known],
            rtol=1e-6,
            atol=1e-12,
        )
    assert compared > 3300


def test_height_thresholds_are_those_of_spm(spm):
    methods = {
        "spm_uc": "smaller",
        "spm_uc_RF": "rft",
        "spm_uc_Bonf": "bonferroni",
        "spm_u": "bonferroni",
    }
    for row in pd.read_csv(spm / "spm_threshold_grid.csv").itertuples():
        if row.STAT == "X" and row.func in ("spm_uc", "spm_uc_RF"):
            volume = SearchVolume(spm_resels(row.R))
            if volume.n_dims > 1:
                continue
        # spm_u was asked for one map at the n-th root of alpha.
        n_maps = 1 if row.func == "spm_u" else row.n
        resels = spm_resels(row.R) if isinstance(row.R, str) else [1]
        volume = SearchVolume(resels, 1 if np.isnan(row.S) else row.S)
        field = spm_field(row.STAT, row.df1, row.df2, n_maps)
        found = height_of_fwe(row.alpha, field, volume, methods[row.func])
        assert found == pytest.approx(row.u, rel=1e-6), row


def test_random_field_and_bonferroni_apart_are_those_of_spm(spm):
    for row in pd.read_csv(spm / "rft_vs_bonferroni.csv").itertuples():
        design = json.loads((spm / row.model / "design.json").read_text())
        field, volume = StatField("t", row.df2), SearchVolume(design["R"], row.S)
        for method, u, p in (
            ("rft", row.u_RF, row.p_RF),
            ("bonferroni", row.u_Bonf, row.p_Bonf),
            ("smaller", row.u_uc, row.p_spm_P),
        ):
            assert height_of_fwe(row.alpha, field, volume, method) == pytest.approx(u, 1e-6)
            log_p = log_p_height(row.peak_t, field, volume, method)
            assert np.exp(log_p) == pytest.approx(p, 1e-6)


def in_list(p, listed):
    """Return what SPM12 calls q: that of the next larger p in another list."""
    order = np.sort(listed)
    q = np.r_[np.exp(adjust_fdr(np.log(order))), 1.0]
    # The p of one extent differs by rounding between the two lists.
    return q[np.searchsorted(order, p * (1 - 1e-6))]


@pytest.mark.parametrize(("model", "name", "image"), SPM_RESULTS)
def test_tables_are_those_of_spm(spm, model, name, image):
    design = json.loads((spm / model / "design.json").read_text())
    result = json.loads((spm / model / "results.json").read_text())[name]
    table = pd.read_csv(spm / model / f"{name}_table_allmaxima.csv")
    volume = SearchVolume(design["R"], design["S"], design["FWHM"])
    field, u = spm_field(result["STAT"], *result["df"]), result["u"]

    values = nib.load(spm / model / f"{image}.nii.gz")
    statistic = np.nan_to_num(values.get_fdata())
    labels = label_clusters(statistic, statistic > u, connectivity=18)
    sizes = np.bincount(labels.ravel())[1:]
    clusters = table.dropna(subset="clus_k")
    to_voxel = np.linalg.inv(values.affine)
    peaks = np.rint(nib.affines.apply_affine(to_voxel, clusters[["x", "y", "z"]])).astype(int)
    ids = labels[tuple(peaks.T)] - 1
    np.testing.assert_array_equal(sizes[ids], clusters.clus_k)

    stationary = extents = volume.to_resels(sizes)
    if result["nonstat"]:
        rpv = nib.load(spm / model / "RPV.nii.gz").get_fdata()
        extents = cluster_resels(labels, rpv, volume.fwhm_voxels)
    close = {"rtol": 1e-5, "atol": 1e-9}
    arguments = (u, field, volume)
    p = np.exp(log_p_extent(extents, *arguments))[ids]
    np.testing.assert_allclose(p, clusters.clus_punc, **close)
    np.testing.assert_allclose(
        np.exp(log_p_cluster(extents, *arguments))[ids], clusters.clus_pFWE, **close
    )
    q = np.exp(log_q_clusters(stationary, *arguments))[ids]
    if result["nonstat"]:
        # SPM12 looks a p of varying smoothness up in the list of constant smoothness.
        q = in_list(p, np.exp(log_p_extent(stationary, *arguments)))
    np.testing.assert_allclose(q, clusters.clus_qFDR, **close)
    np.testing.assert_allclose(
        np.exp(log_p_set(len(sizes), 0, *arguments)), table.set_p[0], **close
    )
    heights = table.peak_stat.to_numpy()
    np.testing.assert_allclose(
        np.exp(log_p_height(heights, field, volume)), table.peak_pFWE, **close
    )
    np.testing.assert_allclose(np.exp(log_q_peaks(heights, *arguments)), table.peak_qFDR, **close)
    assert height_of_fwe(0.05, field, volume) == pytest.approx(result["uc"][0], rel=1e-6)


def test_false_discovery_rates_are_those_of_spm(spm):
    grid = pd.read_csv(spm / "spm_FDR_grid.csv")
    design = json.loads((spm / "onesamp/design.json").read_text())
    volume = SearchVolume(design["R"], design["S"], design["FWHM"])
    results = json.loads((spm / "onesamp/results.json").read_text())
    for row in grid[grid.func.str.contains("peakFDR|clusterFDR")].itertuples():
        name = "pos_p0001" if "0.001" in row.func else "pos_p001"
        table = pd.read_csv(spm / f"onesamp/{name}_table_allmaxima.csv")
        u = results[name]["u"]
        if "peak" in row.func:
            found = table.peak_stat.to_numpy()
            q = log_q_peaks(found, u, T29, volume)
        else:
            found = table.clus_k.dropna().to_numpy()
            q = log_q_clusters(volume.to_resels(found), u, T29, volume)
        assert found[q <= np.log(row.alpha_or_z)].min() == pytest.approx(row.value, rel=1e-6)

    mask = nib.load(spm / "onesamp/mask.nii.gz").get_fdata() > 0
    t = nib.load(spm / "onesamp/spmT_0001.nii.gz").get_fdata()[mask]
    q = adjust_fdr(log_sf_t(t, 29))
    for row in grid[grid.func.str.startswith("spm_uc_FDR")].itertuples():
        assert t[q <= np.log(row.alpha_or_z)].min() == pytest.approx(row.value, rel=1e-6)


@pytest.mark.parametrize("height", [2.3, 3.1])
def test_cluster_p_are_those_of_fsl(shared, height):
    folder = shared / "oracles/fsl/cluster"
    index = np.asanyarray(nib.load(folder / f"one_{height}_p1_idx.nii.gz").dataobj).astype(int)
    log10_p = nib.load(folder / f"one_{height}_p1_logp.nii.gz").get_fdata()
    sizes = np.bincount(index.ravel())[1:]
    theirs = np.array([log10_p[index == i].flat[0] for i in range(1, len(sizes) + 1)])
    assert len(sizes) > 20
    ours = fsl_log_p_cluster(sizes, height, 0.102413, 75919)
    np.testing.assert_allclose(ours, -np.abs(theirs) * np.log(10), atol=0.005)


@pytest.mark.parametrize(("alpha", "z"), [(0.05, 4.762680), (0.01, 5.118576)])
def test_height_threshold_is_that_of_fsl(alpha, z):
    exact = fsl_height_threshold(alpha, 1658.2)
    # FSL bisects from 2 and 100 until the bracket is narrower than 0.001.
    assert exact == pytest.approx(z, abs=5e-4)
    low, high = 2.0, 100.0
    while high - low > 0.001:
        middle = (low + high) / 2
        low, high = (middle, high) if middle < exact else (low, middle)
    assert middle == pytest.approx(z, abs=2e-5)


def test_fsl_threshold_of_a_tiny_volume_is_the_lowest():
    assert fsl_height_threshold(0.05, 0.01) == 1


@pytest.mark.parametrize("c", [1, 2, 5, 40])
def test_poisson_tail(c):
    mean = np.array([1e-3, 0.5, 4.0, 60.0])
    np.testing.assert_allclose(
        np.exp(log_upper_poisson(np.log(mean), c)), stats.poisson.sf(c - 1, mean), rtol=1e-11
    )


def test_poisson_tail_goes_on_where_it_underflows():
    means = np.array([-710.0, -400.0, -300.0])
    np.testing.assert_allclose(log_upper_poisson(means, 1), means)
    np.testing.assert_allclose(log_upper_poisson(means, 3), 3 * means - np.log(6), rtol=1e-14)
    # The series and the function of scipy on the two sides of where one takes over.
    steps = np.diff(log_upper_poisson(np.log(np.linspace(0.0150, 0.0165, 31)), 125), n=2)
    assert np.all(np.abs(steps - np.median(steps)) < 0.02)
    assert log_upper_poisson(-np.inf, 2) == -np.inf
    assert log_upper_poisson(np.inf, 2) == 0
    assert log_upper_poisson(-np.inf, 0) == 0


def test_no_cluster_is_always_found():
    assert log_p_set(0, 0.5, 3.1, StatField("Z"), BRAIN) == 0


def test_extent_p_needs_an_extent():
    field = StatField("Z")
    assert log_p_extent([0.0, 3.0], 3.0, field, SearchVolume([1])).tolist() == [0, 0]
    assert log_p_extent(0.0, 3.0, field, BRAIN) == 0
    assert np.all(np.diff(log_p_cluster([0.0, 0.1, 1, 9, 1e4], 3.0, field, BRAIN)) < 0)


def test_bonferroni_never_enters_cluster_p():
    field = StatField("Z")
    without = SearchVolume(BRAIN.resels)
    few = SearchVolume(BRAIN.resels, n_voxels=1)
    assert log_p_cluster(0.1, 3.1, field, few) == log_p_cluster(0.1, 3.1, field, without)


def test_the_smaller_of_both_is_taken():
    u = np.linspace(2, 9, 15)
    rft, bonferroni, smaller = (
        log_p_height(u, T29, BRAIN, m) for m in ("rft", "bonferroni", "smaller")
    )
    np.testing.assert_array_equal(smaller, np.minimum(rft, bonferroni))
    assert np.all(smaller <= 0)


def test_holes_that_outweigh_the_volume_give_p_1():
    volume = SearchVolume([-392, 10, 1, 1])
    assert expected_ec(1.0, StatField("Z"), volume) < 0
    assert log_p_height(1.0, StatField("Z"), volume, "rft") == 0
    assert log_p_cluster(0.0, 1.0, StatField("Z"), volume) == 0


@pytest.mark.parametrize(
    "field",
    [
        StatField("Z"),
        StatField("t", 8),
        StatField("F", (2, 20)),
        StatField("F", (1, 20)),
        StatField("chi2", 1),
        StatField("chi2", 60),
        StatField("Z", None, 3),
        StatField("t", 20, 2),
    ],
)
@pytest.mark.parametrize("method", ["rft", "bonferroni", "smaller"])
@pytest.mark.parametrize("alpha", [1e-6, 0.05, 0.3])
def test_threshold_gives_back_alpha_and_is_the_last(field, method, alpha):
    u = height_of_fwe(alpha, field, BRAIN, method)
    assert log_p_height(u, field, BRAIN, method) == pytest.approx(np.log(alpha), abs=1e-8)
    beyond = log_p_height(u * np.linspace(1.001, 5, 300), field, BRAIN, method)
    assert np.all(beyond < np.log(alpha))


def test_threshold_of_a_point_is_the_uncorrected_one():
    point = SearchVolume([1], n_voxels=1)
    assert height_of_fwe(0.05, StatField("Z"), point, "bonferroni") == pytest.approx(1.6448536)
    assert height_of_fwe(0.6, StatField("Z"), point, "bonferroni") == pytest.approx(-0.2533471)
    assert height_of_fwe(0.9, StatField("Z"), point, "rft") == -np.inf
    assert height_of_fwe(0.9, StatField("chi2", 3), point, "rft") == 0


def test_threshold_is_infinite_with_too_few_dof():
    assert height_of_fwe(0.05, StatField("t", 2), BRAIN, "rft") == np.inf
    assert np.isfinite(height_of_fwe(0.05, StatField("t", 2), BRAIN))


def test_conjunction_of_one_map_is_that_map():
    one, many = StatField("t", 29), [StatField("t", 29, n) for n in (1, 2, 3)]
    assert many[0] == one
    p = [log_p_height(3.0, field, BRAIN, "rft") for field in many]
    assert p[0] > p[1] > p[2]


def test_empty_lists_of_peaks_and_clusters():
    assert log_q_peaks([], 3.1, T29, BRAIN).shape == (0,)
    assert log_q_clusters([], 3.1, T29, BRAIN).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_p_cluster(1, 0.001, T29, BRAIN), "0.001 looks like a p value"),
        (lambda: expected_extent(0.01, T29, BRAIN), "0.01 looks like a p value"),
        (lambda: log_q_peaks([4.0], 0.001, T29, BRAIN), "looks like a p value"),
        (lambda: log_p_cluster(1, -3.1, T29, BRAIN), "a cluster-forming height is > 0, got -3.1"),
        (lambda: log_p_cluster(-1, 3.1, T29, BRAIN), "a cluster extent is >= 0 resels, got -1"),
        (lambda: log_p_set(-1, 0, 3.1, T29, BRAIN), "a number of clusters is a whole number"),
        (lambda: log_p_set(1.5, 0, 3.1, T29, BRAIN), "a number of clusters is a whole number"),
        (lambda: log_q_peaks([5, 3.0], 3.1, T29, BRAIN), "peaks lie at or above the height 3.1"),
        (lambda: log_p_height(4, T29, BRAIN, "RFT"), "method is one of smaller, rft, bonferroni"),
        (lambda: log_p_height(4, T29, SearchVolume([1, 2])), "Bonferroni needs the n_voxels"),
        (lambda: height_of_fwe(3.1, T29, BRAIN), "3.1 looks like a z"),
        (lambda: height_of_fwe(0.0, T29, BRAIN), "alpha is a probability"),
        (lambda: fsl_log_p_cluster(9, 0.001, 0.1, 100), "needs a height z > 1"),
        (lambda: fsl_log_p_cluster(9, 3.1, 0, 100), "DLH and volume are > 0"),
        (lambda: fsl_log_p_cluster(-9, 3.1, 0.1, 100), "a cluster has >= 0 voxels, got -9"),
        (lambda: fsl_height_threshold(5, 100), "alpha is a probability"),
        (lambda: fsl_height_threshold(0.05, 0), "n_resels is > 0, got 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
