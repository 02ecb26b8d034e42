"""The linear model on the real maps against SPM, FSL, nilearn and PALM.

Their files are float32, which rounds each value by 6e-8; what FSL and SPM computed in float32 is
off by up to 5e-7. Near 0 a share of the map's scale is allowed beside the relative difference.
"""

import numpy as np
import pytest

from nipype_group.stats.distributions import z_to_log_p
from nipype_group.stats.linear.least_squares import LinearModel, contrast_maps, fit_tiles
from nipype_group.stats.multiple_testing import adjust, z_threshold


@pytest.fixture(scope="module")
def one_sample(wager):
    model = LinearModel(np.ones((30, 1)), ("intercept",))
    return estimate(model, wager, np.array([[1.0]]))


@pytest.fixture(scope="module")
def regression(wager, success):
    matrix = np.column_stack([np.ones(30), success - success.mean()])
    model = LinearModel(matrix, ("intercept", "success"))
    return estimate(model, wager, np.array([[0.0, 1]]))


def estimate(model, data, weights, test="t"):
    betas, variance, _ = fit_tiles(model, lambda a, b: data[:, a:b], data.shape[1])
    maps, _ = contrast_maps(
        weights, test, betas, variance, model.covariance, model.dof, "two-sided"
    )
    return maps | {"betas": betas, "residual_variance": variance}


CLOSE = {"rtol": 1e-6, "of_sd": 1e-6}


@pytest.mark.parametrize(
    ("name", "folder", "beta"),
    [("one_sample", "onesamp", "beta_0001"), ("regression", "regr", "beta_0002")],
)
def test_effect_variance_and_t_equal_spm(inside, request, name, folder, beta, agree):
    ours = request.getfixturevalue(name)
    folder = f"oracles/spm/{folder}"
    agree("SPM", "least squares: t", ours["stat"], inside(f"{folder}/spmT_0001.nii.gz"), **CLOSE)
    agree(
        "SPM",
        "least squares: effect",
        ours["effect"],
        inside(f"{folder}/con_0001.nii.gz"),
        **CLOSE,
    )
    agree(
        "SPM",
        "least squares: betas",
        ours["betas"][-1],
        inside(f"{folder}/{beta}.nii.gz"),
        **CLOSE,
    )
    agree(
        "SPM",
        "least squares: residual variance",
        ours["residual_variance"],
        inside(f"{folder}/ResMS.nii.gz"),
        **CLOSE,
    )


def test_f_equals_spm(inside, wager, success, agree):
    matrix = np.column_stack([np.ones(30), success - success.mean()])
    model = LinearModel(matrix, ("intercept", "success"))
    maps = estimate(model, wager, np.array([[0.0, 1]]), "F")
    agree(
        "SPM",
        "least squares: F",
        maps["stat"],
        inside("oracles/spm/regr/spmF_0004.nii.gz"),
        **CLOSE,
    )


@pytest.mark.parametrize("name", ["one", "reg"])
def test_effect_variance_t_and_z_equal_flameo(inside, request, name, agree):
    ours = request.getfixturevalue({"one": "one_sample", "reg": "regression"}[name])
    folder = f"oracles/fsl/flameo/fl_{name}_ols"
    agree(
        "FSL flameo",
        "least squares: effect",
        ours["effect"],
        inside(f"{folder}/cope1.nii.gz"),
        **CLOSE,
    )
    agree(
        "FSL flameo",
        "least squares: variance",
        ours["variance"],
        inside(f"{folder}/varcope1.nii.gz"),
        **CLOSE,
    )
    agree(
        "FSL flameo", "least squares: t", ours["stat"], inside(f"{folder}/tstat1.nii.gz"), **CLOSE
    )
    agree("FSL flameo", "least squares: z", ours["z"], inside(f"{folder}/zstat1.nii.gz"), **CLOSE)


@pytest.mark.parametrize("name", ["one", "reg"])
def test_t_equals_randomise(inside, request, name, agree):
    ours = request.getfixturevalue({"one": "one_sample", "reg": "regression"}[name])
    agree(
        "FSL randomise",
        "least squares: t",
        ours["stat"],
        inside(f"oracles/fsl/{name}_xcC2000_tstat1.nii.gz"),
        **CLOSE,
    )


@pytest.mark.parametrize("name", ["onesamp", "regr"])
def test_effect_variance_t_z_and_p_equal_nilearn(inside, request, name, agree):
    ours = request.getfixturevalue({"onesamp": "one_sample", "regr": "regression"}[name])
    pairs = {
        "effect": "effect_size",
        "variance": "effect_variance",
        "stat": "stat",
        "z": "z_score",
    }
    for mine, its in pairs.items():
        what = {"stat": "t"}.get(mine, mine)
        theirs = inside(f"oracles/nilearn/{name}_{its}.nii.gz")
        agree("nilearn", f"least squares: {what}", ours[mine], theirs, **CLOSE)
    # nilearn's p is one-sided, on the upper side.
    upper = np.exp(z_to_log_p(ours["z"], "positive"))
    agree(
        "nilearn",
        "least squares: p",
        upper,
        inside(f"oracles/nilearn/{name}_p_value.nii.gz"),
        **CLOSE,
    )


@pytest.mark.parametrize(("name", "folder"), [("one_sample", "a_vox"), ("regression", "b_reg")])
def test_effect_variance_t_and_effect_size_equal_palm(inside, request, name, folder, agree):
    ours = request.getfixturevalue(name)

    def theirs(what):
        return inside(f"oracles/palm/{folder}/{folder}_vox_{what}.nii.gz")

    agree("PALM", "least squares: effect", ours["effect"], theirs("cope"), **CLOSE)
    agree("PALM", "least squares: variance", ours["variance"], theirs("varcope"), **CLOSE)
    agree("PALM", "least squares: t", ours["stat"], theirs("tstat"), **CLOSE)
    agree(
        "PALM",
        "least squares: p",
        np.exp(z_to_log_p(ours["z"], "positive")),
        theirs("tstat_uncparap"),
        **CLOSE,
    )


def test_cohens_d_equals_palm_in_one_sample(inside, one_sample, agree):
    agree(
        "PALM",
        "d of one sample",
        one_sample["effect_size"],
        inside("oracles/palm/a_vox/a_vox_vox_cohen.nii.gz"),
        **CLOSE,
    )


def test_known_peaks(one_sample, regression):
    assert one_sample["stat"].max() == pytest.approx(7.2547, abs=5e-5)
    assert one_sample["stat"].min() == pytest.approx(-4.2063, abs=5e-5)
    assert one_sample["z"].max() == pytest.approx(5.4354, abs=5e-5)
    assert np.exp(z_to_log_p(one_sample["z"].max(), "positive")) == pytest.approx(
        2.7335e-8, rel=1e-4
    )
    assert regression["stat"].max() == pytest.approx(5.2168, abs=5e-5)
    assert regression["stat"].min() == pytest.approx(-3.5996, abs=5e-5)


@pytest.mark.parametrize(
    ("control", "tail", "expected", "n_survivors"),
    [
        ("fdr", "positive", 2.86368, 3181),
        ("fdr", "two-sided", 3.23191, 1857 + 13),
        ("bonferroni", "positive", 4.83714, 70),
        ("bonferroni", "two-sided", 4.97319, 46),
        ("fpr", "positive", 1.64485, 13095),
        ("fpr", "two-sided", 1.95996, 9320 + 1160),
    ],
)
def test_thresholds_equal_nilearn(one_sample, control, tail, expected, n_survivors):
    z = one_sample["z"]
    log_p = z_to_log_p(z, tail)
    height = z_threshold(z, log_p, control, 0.05, tail)
    assert height == pytest.approx(expected, abs=1e-4)
    side = np.abs(z) if tail == "two-sided" else z
    # nilearn counts voxels above its threshold, which for FDR is just below the survivor.
    assert abs((side >= height).sum() - n_survivors) <= 1
    assert ((side >= height) == (adjust(log_p, control) <= np.log(0.05))).all()


def test_fdr_of_the_regression_finds_nothing(regression):
    for tail in ("positive", "two-sided", "negative"):
        z = regression["z"]
        assert z_threshold(z, z_to_log_p(z, tail), "fdr", 0.05, tail) == np.inf


def test_fdr_adjusted_p_equal_palm(inside, one_sample, agree):
    adjusted = np.exp(adjust(z_to_log_p(one_sample["z"], "positive"), "fdr"))
    theirs = inside("oracles/palm/a_vox/a_vox_vox_tstat_fdrparap.nii.gz")
    agree("PALM", "p adjusted by the false discovery rate", adjusted, theirs, **CLOSE)


def test_t_at_the_fdr_level_equals_spm(one_sample):
    # SPM's voxel-wise FDR threshold, the same 3,181 voxels one-sided.
    survives = adjust(z_to_log_p(one_sample["z"], "positive"), "fdr") <= np.log(0.05)
    assert one_sample["stat"][survives].min() == pytest.approx(3.10848, abs=1e-4)
