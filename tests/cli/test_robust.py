"""Robust fits and unequal variances of a run, against R: `--estimator huber|...|welch|hc3`."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

SHAPE = (5, 5, 3)
# Maps hold float32, R's figures are of more digits.
RTOL = 1e-4
OF_R = {"huber": "huber", "bisquare": "bisquare_huber", "mm": "lmrob_MM"}


@pytest.fixture
def study(shared, tmp_path):
    """Return what writes a study of R as maps and a table; gives the voxels in their order."""

    def write(name):
        folder = shared / "oracles" / "models" / name
        rows = pd.read_csv(folder / "design.csv", dtype=str)
        data = pd.read_csv(folder / "data.csv", dtype={"row": str})
        wide = data.pivot_table(index="row", columns="voxel", values="y").loc[rows["row"]]
        maps = []
        for row, values in zip(rows["row"], wide.to_numpy(), strict=True):
            image = np.zeros(np.prod(SHAPE), dtype=np.float32)
            image[: len(values)] = values
            image = nib.Nifti1Image(image.reshape(SHAPE, order="F"), np.eye(4))
            nib.save(image, tmp_path / f"{row}.nii")
            maps.append(f"{row}.nii")
        table = rows.assign(participant_id=[f"p{row}" for row in rows["row"]], map=maps)
        table.drop(columns="row").to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
        return list(wide.columns), pd.read_csv(folder / "result.csv")

    return write


@pytest.fixture
def run(command, tmp_path, no_figures):
    def start(*arguments, out="out"):
        options = ("--maps", tmp_path / "maps.tsv", "--no-regions", "--plugin", "Linear")
        return command("run", tmp_path / out, *options, *arguments)

    return start


def values(tmp_path, name, n_voxels, out="out"):
    """Return the voxels of a map of the derivatives."""
    image = nib.load(tmp_path / out / "group" / f"{name}_statmap.nii.gz")
    found = np.asarray(image.dataobj)
    return found.reshape(-1, *found.shape[3:], order="F")[:n_voxels].astype(float)


MODEL = ("--formula", "C(group2) + cov1_c")
NAMED = ("--contrast", "cov=cov1_c", "--contrast", "both=group2[B]; cov1_c")


@pytest.mark.parametrize("name", OF_R)
def test_a_covariate_is_that_of_rlm_and_lmrob(study, run, shared, tmp_path, name):
    voxels, result = study("robust")
    code, _, errors = run("--formula", "cov1_c", "--contrast", "cov=cov1_c", "--estimator", name)
    assert code == 0, errors
    own = result[(result["design"] == "cov") & (result["method"] == OF_R[name])]
    own = own[own["term"] != "intercept"].set_index("voxel")
    at = [voxels.index(voxel) for voxel in own.index]
    assert len(at) > 20
    effect = values(tmp_path, "contrast-cov_stat-effect", len(voxels))[at]
    error = np.sqrt(values(tmp_path, "contrast-cov_stat-variance", len(voxels))[at])
    scale = own["se"].to_numpy()
    np.testing.assert_allclose(effect / scale, own["b"] / scale, atol=1e-3)
    np.testing.assert_allclose(error, scale, rtol=1e-3)
    np.testing.assert_allclose(
        values(tmp_path, "stat-scale_desc-model", len(voxels))[at], own["scale"], rtol=1e-3
    )
    kept = pd.read_csv(shared / "oracles" / "models" / "robust" / "result_weights.csv")
    kept = kept[(kept["design"] == "cov") & (kept["method"] == OF_R[name])]
    weights = values(tmp_path, "stat-weight_desc-model", len(voxels))
    assert weights.shape == (len(voxels), 30)
    for row in kept.itertuples():
        found = weights[voxels.index(row.voxel), int(row.row) - 1]
        assert found == pytest.approx(row.weight, abs=2e-3)
    about = tmp_path / "out" / "group" / "stat-weight_desc-model_statmap.json"
    assert json.loads(about.read_text())["Estimator"] == name


def test_hc3_is_that_of_the_package_sandwich(study, run, tmp_path):
    study_of = "cr/hc"
    voxels, result = study(study_of)
    code, _, errors = run(*MODEL, *NAMED, "--estimator", "hc3")
    assert code == 0, errors
    own = result[result["term"] == "cov1_c"].set_index("voxel").loc[voxels]
    error = np.sqrt(values(tmp_path, "contrast-cov_stat-variance", len(voxels)))
    np.testing.assert_allclose(error, own["HC3"], rtol=RTOL)
    dof = values(tmp_path, "contrast-cov_stat-dof", len(voxels))
    assert (dof > 5).all() and (dof < 27).all()


def test_an_outlier_counts_for_nothing_where_least_squares_take_it(study, run, tmp_path):
    voxels, _ = study("robust")
    maps = tmp_path / "1.nii"
    image = nib.load(maps)
    wild = np.asarray(image.dataobj) + np.float32(500)
    nib.save(nib.Nifti1Image(wild, image.affine), maps)
    options = (*MODEL, "--contrast", "cov=cov1_c", "--contrast", "b=group2[B]")
    for out, more in (("least", ()), ("mm", ("--estimator", "mm"))):
        code, _, errors = run(*options, *more, out=out)
        assert code == 0, errors
    weights = values(tmp_path, "stat-weight_desc-model", len(voxels), out="mm")
    assert (weights[:, 0] == 0).mean() > 0.9
    group = tmp_path / "mm" / "group"
    told = pd.read_csv(group / "weights.tsv", sep="\t")
    assert told["participant_id"].iloc[0] == "sub-p1"
    assert told["mean_weight"].is_monotonic_increasing
    ids = pd.read_csv(group / "observations.tsv", sep="\t")["participant_id"].tolist()
    own = weights[:, [ids.index(name) for name in told["participant_id"]]]
    np.testing.assert_allclose(told["mean_weight"], own.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(told["share_left_out"], (own == 0).mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(told["share_below_half"], (own < 0.5).mean(axis=0), atol=1e-5)
    mean = values(tmp_path, "stat-meanWeight_desc-model", len(voxels), out="mm")
    np.testing.assert_allclose(mean, weights.mean(axis=1), atol=1e-6)
    assert "How much every map counts, the least first" in (group / "report.html").read_text()
    error = [
        values(tmp_path, "contrast-b_stat-variance", len(voxels), out=o) for o in ("least", "mm")
    ]
    assert np.median(error[0] / error[1]) > 100


def test_several_maps_a_participant_have_the_rules_of_least_squares(study, run, tmp_path):
    study("robust")
    table = tmp_path / "maps.tsv"
    rows = pd.read_csv(table, sep="\t", dtype=str)
    rows["participant_id"] = [f"p{place // 2}" for place in range(len(rows))]
    rows["visit"] = [f"v{place % 2}" for place in range(len(rows))]
    rows["old"] = [str(place // 2 % 2) for place in range(len(rows))]
    rows.to_csv(table, sep="\t", index=False)
    code, _, errors = run("--formula", "old", "--contrast", "old=old", "--estimator", "huber")
    assert code != 0
    assert "contrast old is about what participants have in common" in errors


HELD = ("--permutations", "20", "--shuffled-estimates", "held")


def test_weights_are_estimated_again_in_every_shuffle_or_held(study, run, tmp_path):
    voxels, _ = study("robust")
    options = (*MODEL, *NAMED, "--permutations", "30", "--statistics", "extent")
    code, _, errors = run(*options, "--estimator", "huber")
    assert code == 0, errors
    folder = tmp_path / "out" / "group"
    said = "weights and scale are estimated again in every shuffle"
    assert said in json.loads((folder / "permutations.json").read_text())["Description"]
    assert said in (folder / "report.html").read_text()
    for stat, name in (("t", "cov"), ("F", "both")):
        null = pd.read_csv(folder / f"contrast-{name}_nulldist.tsv", sep="\t")
        own = values(tmp_path, f"contrast-{name}_stat-{stat}", len(voxels))
        np.testing.assert_allclose(null["voxel_positive"][0], own.max(), rtol=1e-6)
        assert null["voxel_positive"].nunique() == 31
    code, _, errors = run(*options, "--estimator", "mm", *HELD[2:], "--shards", "3")
    assert code == 0, errors
    plan = json.loads((folder / "permutations.json").read_text())
    assert "all shuffles take the weights of the data as they are" in plan["Description"]
    for name in ("contrast-cov_stat-t_desc-perm", "contrast-both_stat-F_desc-perm"):
        assert values(tmp_path, name, len(voxels)).any()


REFUSED = {
    ("--estimator", "mm", "--permutations", "20"): "hold its weights (--shuffled-estimates held)",
    ("--estimator", "hc3", *HELD): "estimates no weights that shuffles could hold",
    ("--estimator", "huber", *HELD, "--min-coverage", ".9"): "leave min_coverage out",
    ("--estimator", "mm", "--nidm"): "leave nidm out",
    ("--estimator", "hc3", "--cluster", "cov3"): "cluster goes with the estimators",
    ("--estimator", "bisquare", "--dof", "satterthwaite"): "of contrasts with random effects",
}


@pytest.mark.parametrize("options", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(study, run, options):
    study("robust")
    code, _, errors = run(*MODEL, "--contrast", "cov=cov1_c", *options)
    assert code != 0
    assert REFUSED[options] in errors and "Traceback" not in errors


THREE = ("--formula", "C(group3)", "--contrast", "any=F(group3)", "--estimator", "welch")


def test_two_groups_are_t_test_of_r(study, run, tmp_path):
    voxels, expected = study("welch")
    options = ("--formula", "C(group2)", "--contrast", "d=-group2[B]", "--estimator", "welch")
    code, _, errors = run(*options)
    assert code == 0, errors
    expected = expected.set_index("voxel").loc[voxels]
    for stat, column in (("t", "t_welch"), ("dof", "df_welch"), ("effect", "diff_A_minus_B")):
        found = values(tmp_path, f"contrast-d_stat-{stat}", len(voxels))
        np.testing.assert_allclose(found, expected[column], rtol=2e-5, atol=1e-5)


def test_three_groups_are_oneway_test_of_r_from_command_to_page(study, run, tmp_path):
    voxels, expected = study("welch")
    code, _, errors = run(*THREE)
    assert code == 0, errors
    expected = expected.set_index("voxel").loc[voxels]
    for stat, column in (("F", "F_welch"), ("dof", "ddf"), ("p", "p_welch")):
        found = values(tmp_path, f"contrast-any_stat-{stat}", len(voxels))
        np.testing.assert_allclose(found, expected[column], rtol=5e-5)
    group = tmp_path / "out" / "group"
    table = pd.read_csv(tmp_path / "maps.tsv", sep="\t")
    variance = values(tmp_path, "stat-varResidualGroup3_desc-model", len(voxels))
    maps = [nib.load(tmp_path / n).get_fdata() for n in table["map"][table["group3"] == "C"]]
    own = np.array([m.ravel(order="F")[: len(voxels)] for m in maps]).var(axis=0, ddof=1)
    np.testing.assert_allclose(variance, own, rtol=1e-5)
    about = json.loads((group / "stat-varResidualGroup3_desc-model_statmap.json").read_text())
    assert "of the group C" in about["Description"]
    page = (group / "report.html").read_text()
    assert "Maps of each group3 had an error variance of their own" in page
    assert "Each group has an error variance of its own" in page


NO_GROUPS = {
    ("--formula", "cov1_c"): "the model has no factor: name their column",
    ("--formula", "C(group2) + C(group3)"): "has the factors group2, group3: name their column",
    ("--formula", "cov1_c", "--variance-groups", "nowhere"): "no column nowhere",
    ("--formula", "cov1_c", "--variance-groups", "all"): "all maps are in one (x)",
    ("--formula", "C(alone) + cov1_c"): "Variance group yes (1 map) has no residual",
    ("--formula", "C(group2) + cov1_c", "--permutations", "20"): "leave the estimator out",
}


@pytest.mark.parametrize("options", NO_GROUPS)
def test_groups_that_tell_no_variance_are_refused_in_one_line(study, command, tmp_path, options):
    study("robust")
    table = tmp_path / "maps.tsv"
    rows = pd.read_csv(table, sep="\t", dtype=str)
    rows["all"], rows["alone"] = "x", ["yes"] + ["no"] * (len(rows) - 1)
    rows.to_csv(table, sep="\t", index=False)
    code, _, errors = command(
        "plan", "--maps", table, "--contrast", "c=cov1_c", "--estimator", "welch", *options
    )
    assert code != 0
    assert NO_GROUPS[options] in errors and "Traceback" not in errors


def test_the_plan_tells_the_groups(study, command, tmp_path):
    study("robust")
    options = ["--maps", tmp_path / "maps.tsv", "--formula", "cov1_c", "--contrast", "c=cov1_c"]
    options += ["--variance-groups", "group3"]
    code, text, errors = command("plan", *options, "--estimator", "welch")
    assert code == 0, errors
    assert "an error variance of each group3: A (" in " ".join(text.split())
    code, _, errors = command("plan", *options)
    assert code != 0 and "goes with a number of permutations or the estimator welch" in errors


@pytest.mark.parametrize("how", ["plan", "run"])
def test_mm_of_a_group_of_one_is_refused_before_anything_is_computed(
    command, small_study, tmp_path, how
):
    table = pd.read_csv(small_study / "participants.tsv", sep="\t")
    table["site"] = ["b"] + ["a"] * (len(table) - 1)
    table.to_csv(small_study / "participants.tsv", sep="\t", index=False)
    words = ["--bids", small_study, "--select", "stat=effect", "--estimator", "mm"]
    words += ["--formula", "C(site)", "--contrast", "site=site[b]", "--atlas", "none"]
    code, _, errors = command(how, *([tmp_path / "out"] if how == "run" else []), *words)
    assert code != 0
    assert "contrast 'site': it is about a column that one map alone has" in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.glob("out/*"))
