"""Statistics of all shuffles agree with maps that are computed by hand."""

import json
from itertools import pairwise, permutations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from permutation_outputs import (
    ALL,
    CONTRASTS,
    STATISTICS,
    component_maps,
    extremes,
    listed,
    null_of,
    of_result,
    plan_of,
    read,
    share_reached,
    summaries,
)
from scipy import ndimage, stats

from nipype_group.choices import METHODS


def test_all_sign_flips_agree_with_direct_enumeration(stages, permute, small_study):
    for path in sorted(small_study.rglob("*.nii.gz"))[6:]:
        path.unlink()
    ran = stages("1", ["mean=intercept"])
    plan, merged = permute(ran, n_permutations=5000, tail="positive")
    y, inside = ran.data
    flips = np.array(list(product((1, -1), repeat=6)))
    t = np.stack([s @ y / 6 / np.sqrt(((s[:, None] * y).var(axis=0, ddof=1)) / 6) for s in flips])
    about = json.loads(Path(plan.plan_file).read_text())["Families"]["flip"]
    assert (about["Shuffles"], about["Sampling"]) == (64, "enumerated")
    null = pd.read_csv(listed(merged.nulldist_files)[0], sep="\t")
    np.testing.assert_allclose(np.sort(null["voxel_positive"]), np.sort(t.max(axis=1)), rtol=1e-6)
    reached = t[0] - 1e-9 * abs(t[0])
    fwe = (t.max(axis=1)[:, None] >= reached).mean(axis=0)
    unc = (t >= reached).mean(axis=0)
    np.testing.assert_allclose(read(listed(merged.stat_files)[0])[inside], t[0], rtol=1e-6)
    np.testing.assert_allclose(
        read(listed(merged.logp_fwe_files)[0])[inside], -np.log10(fwe), atol=1e-6
    )
    np.testing.assert_allclose(
        read(listed(merged.logp_unc_files)[0])[inside], -np.log10(unc), atol=1e-6
    )


def test_same_t_as_the_parametric_stage(stages, permute):
    ran = stages("age + C(group)", CONTRASTS)
    _, merged = permute(ran, n_permutations=20)
    for own, parametric in zip(merged.stat_files, ran.estimate.stat_files, strict=True):
        np.testing.assert_allclose(read(own), read(parametric), rtol=1e-5, atol=1e-6)


def tfce_by_hand(t):
    """Return the integral of extent^.5 height^2 over the heights below each voxel, by 6."""
    found = np.zeros(t.shape)
    for low, high in pairwise([0, *np.unique(t[t > 0])]):
        extent, _ = component_maps(np.where(t >= high, t, 0), 6)
        found += np.sqrt(extent) * (high**3 - low**3) / 3
    return found


def by_hand(maps, forming, signs):
    """Return, for every map and statistic, the heights of the voxels over the sides tested."""
    found = {name: [] for name in STATISTICS}
    for t in maps:
        sides = {name: [] for name in STATISTICS}
        for sign in signs:
            side = np.maximum(sign * t, 0)
            extent, mass = component_maps(np.where(side >= forming, side, 0))
            for name, values in zip(
                STATISTICS, (side, extent, mass, tfce_by_hand(side)), strict=True
            ):
                sides[name].append(values)
        for name, values in sides.items():
            found[name].append(np.max(values, axis=0))
    return {name: np.array(values) for name, values in found.items()}


def assert_by_hand(merged, contrast, heights):
    """Check corrected p of all statistics against those of maps that were computed here."""
    for name, values in heights.items():
        maxima = values.max(axis=(1, 2, 3))
        p = share_reached(values[0].ravel(), maxima).reshape(values[0].shape)
        if name in ("extent", "mass"):
            p[values[0] == 0] = 1
        logp = of_result(merged, "logp_fwe_files", contrast, name)
        np.testing.assert_allclose(logp, -np.log10(p), atol=1e-6)
        assert summaries(merged)[contrast, name]["SmallestCorrectedP"] == pytest.approx(p.min())
        kept = of_result(merged, "thresholded_files", contrast, name)
        np.testing.assert_array_equal(kept != 0, p <= 0.2)


@pytest.mark.parametrize("tail", ["two-sided", "positive", "negative"])
def test_all_statistics_of_all_flips_agree_with_maps_by_hand(stages, permute, box_study, tail):
    ran = stages("1", ["mean=intercept"], bids_dir=str(box_study))
    plan, merged = permute(ran, n_permutations=100, tail=tail, alpha=0.2, **ALL)
    assert plan_of(plan)["Families"]["flip"]["Sampling"] == "enumerated"
    assert ran.data[1].all()
    y = read(ran.stack.stack_file).transpose(3, 0, 1, 2).astype(float)
    flipped = [np.array(s)[:, None, None, None] * y for s in product((1, -1), repeat=6)]
    maps = [f.mean(axis=0) / (f.std(axis=0, ddof=1) / np.sqrt(6)) for f in flipped]
    signs = {"two-sided": (1, -1), "positive": (1,), "negative": (-1,)}[tail]
    p = stats.norm.sf(1.5)
    forming = stats.t.isf(p, 5)
    heights = by_hand(maps, forming, signs)
    assert_by_hand(merged, "mean", heights)
    null = null_of(merged)
    for name, values in heights.items():
        # Voxels have both sides, whichever is tested.
        one_of_two = (name, len(signs)) == ("voxel", 1)
        found = null[f"voxel_{tail}"].clip(0) if one_of_two else extremes(null, name)
        np.testing.assert_allclose(np.sort(found), np.sort(values.max(axis=(1, 2, 3))), rtol=1e-8)
    counts = (heights["tfce"] >= heights["tfce"][0] * (1 - 1e-8)).mean(axis=0)
    np.testing.assert_allclose(
        read(listed(merged.tfce_logp_unc_files)[0]), -np.log10(counts), atol=1e-6
    )
    np.testing.assert_allclose(
        abs(read(listed(merged.tfce_files)[0])), heights["tfce"][0], rtol=1e-6, atol=1e-6
    )


def f_map(y, groups):
    """Return the one-way F of maps."""
    codes = np.unique(groups)
    return stats.f_oneway(*(y[np.array(groups) == c] for c in codes)).statistic


def test_all_statistics_of_all_orders_of_three_groups_agree_with_f_by_hand(
    stages, permute, box_study
):
    ran = stages("C(site)", ["site=b - a; c - a"], bids_dir=str(box_study))
    options = {**ALL, "cluster_forming_z": 1.0}
    plan, merged = permute(ran, n_permutations=100, tail="negative", alpha=0.2, **options)
    family = plan_of(plan)["Families"]["permute"]
    assert (family["Shuffles"], family["DistinctShufflings"]) == (90, 90)
    y = read(ran.stack.stack_file).transpose(3, 0, 1, 2).astype(float)
    orders = sorted(set(permutations("aabbcc")), key=lambda o: o != tuple("aabbcc"))
    maps = [f_map(y, order) for order in orders]
    forming = stats.f.isf(stats.norm.sf(1.0), 2, 3)
    assert_by_hand(merged, "site", by_hand(maps, forming, (1,)))
    # F is tested on its upper side, whatever the tail of the others.
    assert summaries(merged)["site", "voxel"]["Tail"] == "positive"
    assert list(null_of(merged)) == [f"{name}_positive" for name in STATISTICS]


def test_variance_groups_give_the_z_of_welch(stages, permute):
    ran = stages("C(group)", ["diff=patient - control"])
    plan, merged = permute(ran, n_permutations=30, variance_groups="group")
    y, inside = ran.data
    patient = pd.read_csv(ran.collect.observations, sep="\t")["group"].to_numpy() == "patient"
    welch = stats.ttest_ind(y[patient], y[~patient], equal_var=False)
    # log tails would matter beyond z 8 only.
    z = np.sign(welch.statistic) * stats.norm.isf(stats.t.sf(abs(welch.statistic), welch.df))
    np.testing.assert_allclose(read(listed(merged.stat_files)[0])[inside], z, rtol=1e-4, atol=1e-5)
    assert summaries(merged)["diff", "voxel"]["ThresholdUnit"] == "z"
    assert "2 groups have their own variance" in Path(plan.text_file).read_text()


def test_smoothed_variances_give_the_pseudo_t(stages, permute):
    ran = stages("1", ["mean=intercept"])
    plan, merged = permute(ran, n_permutations=30, variance_fwhm_mm=9.0)
    maps, inside = read(ran.stack.stack_file).astype(float), read(ran.mask.mask_file) > 0
    sigma = 9.0 / 3.0 / np.sqrt(8 * np.log(2))

    def smooth(values):
        return ndimage.gaussian_filter(values, sigma, mode="constant", truncate=8)

    variance = np.where(inside, maps.var(axis=-1, ddof=1) / 12, 0)
    variance = smooth(variance) / np.where(inside, smooth(inside.astype(float)), 1)
    expected = maps.mean(axis=-1)[inside] / np.sqrt(variance[inside])
    np.testing.assert_allclose(read(listed(merged.stat_files)[0])[inside], expected, rtol=2e-3)
    summary = summaries(merged)["mean", "voxel"]
    assert (summary["StatisticType"], summary["ThresholdUnit"]) == ("pseudo-t", "pseudo-t")
    assert "smoothed by 9 mm (pseudo-t)" in Path(plan.text_file).read_text()


METHOD_WORDS = {
    "freedman-lane": "Freedman-Lane",
    "ter-braak": "ter Braak",
    "draper-stoneman": "Draper-Stoneman",
    "manly": "of the maps (Manly)",
    "dekker": "Dekker",
    "kennedy": "Kennedy",
    "huh-jhun": "Huh-Jhun",
}


def test_methods_have_the_t_of_the_model_and_shuffle_their_own_way(stages, permute):
    ran, nulls = stages("age + C(group)", ["age=age"]), {}
    assert set(METHOD_WORDS) == set(METHODS)
    for method in METHODS:
        plan, merged = permute(ran, method, n_permutations=20, method=method, **ALL)
        np.testing.assert_allclose(
            read(listed(merged.stat_files)[0]),
            read(listed(ran.estimate.stat_files)[0]),
            rtol=1e-5,
            atol=1e-5,
        )
        assert plan_of(plan)["Method"] == method
        assert {s["Method"] for s in summaries(merged).values()} == {method}
        assert METHOD_WORDS[method] in Path(plan.text_file).read_text()
        nulls[method] = tuple(null_of(merged)["voxel_positive"])
    # The model has nuisance, so no two methods shuffle alike.
    assert len(set(nulls.values())) == len(METHODS)
    assert len({null[0] for null in nulls.values()}) == 1
