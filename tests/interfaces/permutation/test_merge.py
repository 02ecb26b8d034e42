"""MergePermutations: maps, null distributions and tables belong together."""

from pathlib import Path

import numpy as np
import pytest
from permutation_outputs import (
    ALL,
    OF_CONTRASTS,
    OF_RESULTS,
    STATISTICS,
    component_maps,
    extremes,
    listed,
    null_of,
    of_result,
    plan_of,
    read,
    summaries,
)
from scipy import stats


def test_thresholded_map_is_t_where_corrected_p_is_small_enough(stages, permute):
    ran = stages("age", ["age=age"])
    _, merged = permute(ran, n_permutations=199, alpha=0.1)
    t, logp = read(listed(merged.stat_files)[0]), read(listed(merged.logp_fwe_files)[0])
    kept = read(listed(merged.thresholded_files)[0])
    inside = ran.data[1]
    # The maps are float32, and p is compared before that.
    np.testing.assert_array_equal(kept != 0, inside & (logp >= -np.log10(0.1) - 1e-6))
    np.testing.assert_array_equal(kept[kept != 0], t[kept != 0])
    assert kept[4, 5, 3] != 0
    assert np.unravel_index(abs(t).argmax(), t.shape) == (4, 5, 3)


def test_results_come_statistic_by_statistic(several, permute):
    plan, merged = permute(several, n_permutations=40, seed=3, **ALL)
    assert merged.contrast_names == ["age", "mean", "both"] * 4
    assert merged.statistics == [name for name in STATISTICS for _ in range(3)]
    assert plan_of(plan)["Contrasts"] == ["age", "mean", "both"]
    families = plan_of(plan)["Families"]
    assert {k: f["Contrasts"] for k, f in families.items()} == {
        "permute": ["age", "both"],
        "flip": ["mean"],
    }
    for field in OF_CONTRASTS:
        names = [Path(p).name.split("_")[0] for p in getattr(merged, field)]
        assert names == ["age", "mean", "both"]
    for field in OF_RESULTS:
        names = [Path(p).name.split("_")[:2] for p in getattr(merged, field)]
        expected = zip(merged.contrast_names, merged.statistics, strict=True)
        assert [tuple(n) for n in names] == list(expected)
    about = summaries(merged)
    kinds = {"permutation": "voxel", "permutation-extent": "extent"}
    kinds |= {"permutation-mass": "mass", "permutation-tfce": "tfce"}
    for (contrast, name), summary in about.items():
        assert kinds[summary["HeightControl"]] == name
        assert summary["StatisticType"] == ("F" if contrast == "both" else "t")
        assert summary["ClusterFormingZ"] == pytest.approx(1.5)
    units = [about["age", name]["ThresholdUnit"] for name in STATISTICS]
    assert units == ["t", "voxels", "sum of t", "TFCE"]
    assert about["mean", "voxel"]["Shuffling"] == "sign flips"


def test_null_distributions_have_the_data_in_their_first_row(several, permute):
    _, merged = permute(several, n_permutations=40, **ALL)
    sides = ("positive", "negative")
    for i, contrast in enumerate(["age", "mean", "both"]):
        null = null_of(merged, i)
        assert len(null) == 41
        signs = sides[:1] if contrast == "both" else sides
        assert set(null) == {f"{n}_{side}" for n in STATISTICS for side in signs}
        t, tfce = (read(merged.stat_files[i]), read(merged.tfce_files[i]))
        for side, sign in zip(signs, (1, -1), strict=False):
            assert null[f"voxel_{side}"][0] == pytest.approx((sign * t).max(), rel=1e-6)
            assert null[f"tfce_{side}"][0] == pytest.approx((sign * tfce).max(), rel=1e-6)
            forming = summaries(merged)[contrast, "extent"]["ClusterFormingStatistic"]
            extent, mass = component_maps(np.where(sign * t >= forming, sign * t, 0))
            assert null[f"extent_{side}"][0] == extent.max()
            assert null[f"mass_{side}"][0] == pytest.approx(mass.max(), rel=1e-5)


def test_p_follow_from_the_null_distributions_and_the_maps(several, permute):
    _, merged = permute(several, n_permutations=40, **ALL)
    inside = several.data[1]
    for i, contrast in enumerate(["age", "mean", "both"]):
        null, t = null_of(merged, i), read(merged.stat_files[i])[inside]
        heights = {"voxel": abs(t), "tfce": abs(read(merged.tfce_files[i])[inside])}
        for name, values in heights.items():
            # Maps are float32: no shuffle may lie within their rounding of a voxel but its own.
            p = (extremes(null, name)[:, None] >= values * (1 - 1e-6)).mean(axis=0)
            logp = of_result(merged, "logp_fwe_files", contrast, name)[inside]
            np.testing.assert_allclose(logp, -np.log10(p), atol=1e-6)
        voxel = of_result(merged, "logp_fwe_files", contrast, "voxel")
        tfce = of_result(merged, "logp_fwe_files", contrast, "tfce")
        for name in STATISTICS:
            peaks = of_result(merged, "peak_logp_files", contrast, name)
            np.testing.assert_array_equal(peaks, tfce if name == "tfce" else voxel)
        contrast_p = [summaries(merged)[contrast, name]["ContrastP"] for name in STATISTICS]
        assert contrast_p == pytest.approx([10 ** -float(voxel.max())] * 4)


def test_false_discovery_rates_are_those_of_the_uncorrected_p(several, permute):
    _, merged = permute(several, n_permutations=40, **ALL)
    inside = several.data[1]
    for prefix in ("", "tfce_"):
        for unc, fdr in zip(
            getattr(merged, f"{prefix}logp_unc_files"),
            getattr(merged, f"{prefix}logp_fdr_files"),
            strict=True,
        ):
            p = 10.0 ** -read(unc)[inside].astype(float)
            assert set(np.round(p * 41)) <= set(range(1, 42))
            np.testing.assert_allclose(p * 41, np.round(p * 41), rtol=1e-5)
            expected = stats.false_discovery_control(p)
            np.testing.assert_allclose(10.0 ** -read(fdr)[inside], expected, rtol=1e-5)


@pytest.mark.parametrize("tail", ["two-sided", "negative"])
def test_cluster_table_agrees_with_the_maps(several, permute, tail):
    _, merged = permute(several, n_permutations=60, alpha=0.9, tail=tail, **ALL)
    n_rows = 0
    for (contrast, name), summary in summaries(merged).items():
        labels = of_result(merged, "label_files", contrast, name)
        kept = of_result(merged, "thresholded_files", contrast, name)
        np.testing.assert_array_equal(labels > 0, kept != 0)
        assert [r["cluster_id"] for r in summary["ClusterTable"]] == list(
            range(1, labels.max() + 1)
        )
        assert summary["Clusters"] == labels.max()
        assert summary["SurvivingVoxels"] == np.count_nonzero(kept)
        p_of = {
            other: 10.0 ** -of_result(merged, "logp_fwe_files", contrast, other).astype(float)
            for other in STATISTICS
        }
        for row in summary["ClusterTable"]:
            members = labels == row["cluster_id"]
            assert len(set(np.sign(kept[members]))) == 1
            for other, p in p_of.items():
                assert row[f"p_fwe_{other}"] == pytest.approx(p[members].min(), rel=1e-5)
            assert row["p_fwe"] == row[f"p_fwe_{name}"]
            if name in ("extent", "mass"):
                # Survivors of one cluster at the forming threshold have one p.
                assert np.ptp(p_of[name][members]) < 1e-6
            n_rows += 1
    assert n_rows > 20
