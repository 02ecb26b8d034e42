"""MergePermutations: fitted tails, templates, advice and p across contrasts."""

import json
from pathlib import Path

import numpy as np
import pytest
from permutation_outputs import (
    ALL,
    STATISTICS,
    extremes,
    listed,
    null_of,
    of_result,
    read,
    share_reached,
    summaries,
)
from scipy import stats


@pytest.mark.parametrize("method", ["gpd", "gamma"])
def test_fitted_tails_are_told_of_with_their_goodness(stages, permute, method):
    ran = stages("age", ["age=age"])
    options = {"n_permutations": 199, "n_shards": 1, **ALL}
    _, counted = permute(ran, "counted", **options)
    _, merged = permute(ran, method, merge={"p_approximation": method}, **options)
    for (contrast, name), summary in summaries(merged).items():
        fit = summary["Approximation"]
        assert fit["Method"] == method
        assert isinstance(fit["Accepted"], bool)
        # A value beyond the bound of the curve has an infinite distance; JSON has none.
        numbers = [v for v in fit["GoodnessOfFit"].values() if v is not None]
        assert np.isfinite(numbers).all()
        # A fitted p has no count, so no interval.
        assert summary["NearAlpha"] == []
        one, other = (of_result(m, "logp_fwe_files", contrast, name) for m in (counted, merged))
        if method == "gpd":
            # p of .1 and more are counted.
            large = one <= 1
            np.testing.assert_allclose(other[large], one[large], atol=1e-6)
        assert other[4, 5, 3] >= 0
    fits = {name: s["Approximation"] for (_, name), s in summaries(merged).items()}
    assert fits["voxel"]["GoodnessOfFit"]
    voxel = of_result(merged, "logp_fwe_files", "age", "voxel")
    # The planted voxel lies far beyond all shuffles: a curve gives less than 1 in 200.
    assert voxel[4, 5, 3] > np.log10(200)
    assert "Approximation" not in summaries(counted)["age", "voxel"]


def test_fitted_tail_needs_a_hundred_shuffles(stages, permute):
    ran = stages("age", ["age=age"])
    with pytest.raises(ValueError, match="at least 100 null values.*ask for more shuffles"):
        permute(ran, n_permutations=50, merge={"p_approximation": "gpd"})


def test_across_contrasts_the_null_is_the_maximum_over_contrasts(stages, permute):
    ran = stages("age + C(group)", ["age=age", "drop=control - patient"])
    _, alone = permute(ran, "alone", n_permutations=99, n_shards=1, **ALL)
    _, across = permute(
        ran, "across", n_permutations=99, n_shards=1, merge={"across_contrasts": True}, **ALL
    )
    inside = ran.data[1]
    for name in STATISTICS:
        shared = np.max([extremes(null_of(across, i), name) for i in range(2)], axis=0)
        for contrast in ("age", "drop"):
            own, together = (
                of_result(m, "logp_fwe_files", contrast, name) for m in (alone, across)
            )
            assert (together <= own + 1e-6).all()
            assert summaries(across)[contrast, name]["SmallestCorrectedP"] == pytest.approx(
                10.0 ** -float(together.max()), rel=1e-5
            )
        # Largest heights of each contrast, against the shared null.
        for i, contrast in enumerate(("age", "drop")):
            top = extremes(null_of(across, i), name)[0]
            p = share_reached(np.array([top]), shared)[0]
            assert summaries(across)[contrast, name]["SmallestCorrectedP"] == pytest.approx(p)
    own, together = (
        of_result(m, "logp_fwe_files", "drop", "voxel")[inside] for m in (alone, across)
    )
    assert (together < own - 1e-3).any()
    # Stepping down: the weaker contrast is compared with its own null once the other is out.
    contrast_p = {c: summaries(across)[c, "voxel"]["ContrastP"] for c in ("age", "drop")}
    tops = [extremes(null_of(across, i), "voxel") for i in range(2)]
    assert tops[0][0] > tops[1][0]
    first = np.mean(np.max(tops, axis=0) >= tops[0][0] * (1 - 1e-8))
    second = max(first, np.mean(tops[1] >= tops[1][0] * (1 - 1e-8)))
    assert contrast_p == {"age": pytest.approx(first), "drop": pytest.approx(second)}


def test_t_and_f_are_compared_as_z_across_contrasts(stages, permute):
    contrasts = ["age=age", "both=age; patient - control"]
    ran = stages("age + C(group)", contrasts)
    merge = {"across_contrasts": True}
    _, merged = permute(ran, n_permutations=60, tail="positive", merge=merge)
    nulls = [null_of(merged, i)["voxel_positive"].to_numpy() for i in range(2)]
    dof = 9
    z = np.max(
        [
            stats.norm.isf(stats.t.sf(nulls[0], dof)),
            stats.norm.isf(stats.f.sf(nulls[1], 2, dof)),
        ],
        axis=0,
    )
    about = summaries(merged)
    for i, tail in enumerate((stats.t(dof), stats.f(2, dof))):
        contrast = ("age", "both")[i]
        own = stats.norm.isf(tail.sf(read(merged.stat_files[i]).astype(float).max()))
        p = share_reached(np.array([own]), z)[0]
        assert about[contrast, "voxel"]["SmallestCorrectedP"] == pytest.approx(p)
        # What a threshold is in is said where it is not the statistic.
        assert about[contrast, "voxel"]["ThresholdUnit"] == "z"
        assert about[contrast, "voxel"]["Threshold"] == pytest.approx(own, rel=1e-4)
    with pytest.raises(ValueError, match="masses and TFCE of t and F.*statistic_scale z"):
        permute(ran, "mass", n_permutations=20, merge=merge, **ALL)
    permute(ran, "z", n_permutations=20, merge=merge, statistic_scale="z", **ALL)


@pytest.fixture
def templates(stages, permute):
    """Return a function that calibrates a template; gives the stages and the file."""

    def run(kind="simes", tail="two-sided", alpha=0.1, formula="age", contrast="age=age"):
        ran = stages(formula, [contrast], tail=tail)
        merge = {"template": kind}
        _, merged = permute(ran, n_permutations=99, n_top=50, tail=tail, alpha=alpha, merge=merge)
        return ran, listed(merged.template_files)[0]

    return run


def test_template_is_calibrated_to_alpha_by_the_shuffles(templates):
    _, path = templates(alpha=0.1)
    about = json.loads(Path(path).read_text())
    assert about["Kind"] == "simes"
    assert (about["Alpha"], about["Tail"]) == (0.1, "two-sided")
    assert about["CalibrationShuffles"] == 100
    assert len(about["LogThresholds"]) == 50
    assert about["SearchVolumeVoxels"] == 8 * 10 * 8


def test_template_needs_the_most_extreme_voxels(stages, permute):
    ran = stages("age", ["age=age"])
    with pytest.raises(ValueError, match="needs the most extreme voxels.*n_top"):
        permute(ran, n_permutations=20, merge={"template": "simes"})


def test_near_alpha_has_intervals_and_advice(stages, permute):
    ran = stages("age", ["age=age"])
    _, merged = permute(ran, n_permutations=199, alpha=0.5, **ALL)
    near = summaries(merged)["age", "voxel"]["NearAlpha"]
    null = extremes(null_of(merged), "voxel")
    assert 1 <= len(near) <= 10
    assert [r["Height"] for r in near] == sorted((r["Height"] for r in near), reverse=True)
    for row in near:
        count = np.sum(null >= row["Height"] * (1 - 1e-8))
        assert row["P"] == pytest.approx(count / 200)
        low, high = row["Interval"]
        assert low <= 0.5 <= high
        exact = stats.binomtest(int(count) - 1, 199).proportion_ci(0.95, "exact")
        assert (low, high) == pytest.approx((exact.low, exact.high))
        assert row["Advice"].startswith(f"voxel {row['Height']:.4g}: p ")
        assert "shuffles" in row["Advice"]
    # All shuffles leave nothing to chance.
    for name in STATISTICS:
        assert isinstance(summaries(merged)["age", name]["NearAlpha"], list)


def test_exhaustive_shuffles_leave_nothing_near_alpha(stages, permute, box_study):
    ran = stages("1", ["mean=intercept"], bids_dir=str(box_study))
    _, merged = permute(ran, n_permutations=100, alpha=0.5)
    assert summaries(merged)["mean", "voxel"]["NearAlpha"] == []
