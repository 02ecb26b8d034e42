"""Effects with variances of a run, against metafor: `--estimator mixed-effects` and the others."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

SHAPE = (6, 6, 6)
# Maps hold float32, metafor's figures are of more digits.
RTOL = 1e-4
METHODS = {
    "mixed-effects": "REML",
    "fixed-effects": "FE",
    "dersimonian-laird": "DL",
    "paule-mandel": "PM",
}
# Design of metafor: formula, its term and column, and the contrast of ours.
DESIGNS = {
    "onesamp": ("1", "intercept", "intercept"),
    "cov": ("cov", "x", "cov"),
    "group": ("C(group, levels=['A', 'B'])", "x", "B - A"),
}


@pytest.fixture
def meta(shared):
    folder = shared / "oracles" / "models" / "meta"
    return lambda name: pd.read_csv(folder / f"{name}.csv", dtype={"row": str})


def write(path, values):
    """Write values in the first voxels of a map, 0 in the others."""
    image = np.zeros(np.prod(SHAPE), dtype=np.float32)
    image[: len(values)] = values
    image = nib.Nifti1Image(image.reshape(SHAPE, order="F"), np.diag([2.0, 2.0, 2.0, 1.0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


@pytest.fixture
def study(meta, tmp_path):
    """Write metafor's study as maps, variances and a table; gives its voxels in their order."""
    rows, data = meta("design"), meta("data")
    effects, variances = (
        data.pivot_table(index="row", columns="voxel", values=name).loc[rows["row"]]
        for name in ("y", "v")
    )
    table = pd.DataFrame(
        {
            "participant_id": [f"sub-{row}" for row in rows["row"]],
            "map": [f"maps/{row}.nii" for row in rows["row"]],
            "variance": [f"variances/{row}.nii" for row in rows["row"]],
            "cov": rows["cov1_c"],
            "group": rows["group2"],
            "pair": [f"p{i // 2}" for i in range(len(rows))],
        }
    )
    for row, effect, variance in zip(
        table.itertuples(), effects.to_numpy(), variances.to_numpy(), strict=True
    ):
        write(tmp_path / row.map, effect)
        write(tmp_path / row.variance, variance)
    table.to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    return list(effects.columns)


@pytest.fixture
def run(command, tmp_path, no_figures):
    def start(*arguments, out="out", source=None):
        source = ("--maps", tmp_path / "maps.tsv") if source is None else source
        return command("run", tmp_path / out, *source, "--plugin", "Linear", *arguments)

    return start


def values(tmp_path, name, n_voxels, out="out"):
    """Return the voxels of a map of the derivatives."""
    image = nib.load(tmp_path / out / "group" / f"{name}_statmap.nii.gz")
    return np.asarray(image.dataobj).ravel(order="F")[:n_voxels]


def about(tmp_path, name, out="out"):
    return json.loads((tmp_path / out / "group" / f"{name}_statmap.json").read_text())


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("estimator", METHODS)
def test_maps_are_those_of_metafor(study, run, meta, tmp_path, estimator, design):
    formula, term, contrast = DESIGNS[design]
    code, _, errors = run(
        "--formula", formula, "--contrast", f"c={contrast}", "--estimator", estimator
    )
    assert code == 0, errors
    method, n = METHODS[estimator], len(study)

    def of(name, by_method=True):
        own = meta(name)
        for column, value in (("design", design), ("method", method), ("term", term)):
            if column in own and (by_method or column != "method"):
                own = own[own[column] == value]
        own = own.set_index("voxel")
        return own, [study.index(voxel) for voxel in own.index]

    coef, at = of("result_coef")
    assert len(at) > 20
    found = {
        k: values(tmp_path, f"contrast-c_stat-{k}", n)[at]
        for k in ("effect", "variance", "t", "p", "dof")
    }
    error = coef["se_z"].to_numpy()
    np.testing.assert_allclose(found["effect"], coef["b"], rtol=RTOL, atol=1e-5 * error.max())
    np.testing.assert_allclose(np.sqrt(found["variance"]), error, rtol=RTOL)
    np.testing.assert_allclose(found["t"], coef["b"] / error, rtol=RTOL, atol=1e-5)
    rank = 1 if design == "onesamp" else 2
    p = coef["p_z"] if method == "FE" else 2 * stats.t.sf(abs(coef["b"] / error), 30 - rank)
    np.testing.assert_allclose(found["p"], p, rtol=2e-3)
    assert set(found["dof"]) == {np.float32(1e9) if method == "FE" else 30 - rank}
    fit, at = of("result_fit")
    medians = meta("data").groupby("voxel")["v"].median()
    unit = medians[fit.index]
    i2 = values(tmp_path, "stat-i2_desc-model", n)[at]
    np.testing.assert_allclose(i2, fit["I2"], rtol=RTOL, atol=5e-3)
    hetero, rows = of("result_hetero", by_method=False)
    q = values(tmp_path, "stat-q_desc-model", n)[rows]
    np.testing.assert_allclose(q, hetero["QE"], rtol=RTOL)
    folder = tmp_path / "out" / "group"
    assert (folder / "stat-tau2_desc-model_statmap.nii.gz").exists() == (method != "FE")
    if method == "FE":
        return
    tau2 = values(tmp_path, "stat-tau2_desc-model", n)[at]
    np.testing.assert_allclose(tau2 / unit, fit["tau2"] / unit, rtol=RTOL, atol=1e-4)
    unit = medians[hetero.index]
    for name, ends in (("tau2Lower", hetero["tau2_lb"]), ("tau2Upper", hetero["tau2_ub"])):
        end = values(tmp_path, f"stat-{name}_desc-model", n)[rows]
        np.testing.assert_allclose(end / unit, ends / unit, rtol=RTOL, atol=1e-4)


MEAN = ("--formula", "1", "--contrast", "mean=intercept")
MIXED = ("--estimator", "mixed-effects")


def test_f_is_that_of_metafor(study, run, meta, tmp_path):
    code, _, errors = run("--formula", "C(group) + cov", "--contrast", "both=B - A; cov", *MIXED)
    assert code == 0, errors
    own = meta("result_two_moderators").query("method == 'REML'").set_index("voxel")
    at = [study.index(voxel) for voxel in own.index]
    f = values(tmp_path, "contrast-both_stat-F", len(study))[at]
    np.testing.assert_allclose(2 * f, own["QM_z"], rtol=RTOL)


@pytest.mark.parametrize(("factor", "name"), [("plain", "knha"), ("adhoc", "adhoc")])
@pytest.mark.parametrize("estimator", ["mixed-effects", "fixed-effects"])
def test_knapp_and_hartungs_factor_is_that_of_metafor(
    study, run, meta, tmp_path, factor, name, estimator
):
    options = ("--formula", "C(group, levels=['A', 'B'])", "--contrast", "c=B - A")
    code, _, errors = run(*options, "--estimator", estimator, "--knapp-hartung", factor)
    assert code == 0, errors
    own = meta("result_coef").set_index("voxel")
    chosen = (own["method"] == METHODS[estimator]) & (own["term"] == "x")
    own = own[chosen & (own["design"] == "group")]
    at = [study.index(voxel) for voxel in own.index]
    assert len(at) > 20
    variance, p = (
        values(tmp_path, f"contrast-c_stat-{k}", len(study))[at] for k in ("variance", "p")
    )
    np.testing.assert_allclose(np.sqrt(variance), own[f"se_{name}"], rtol=RTOL)
    np.testing.assert_allclose(p, own[f"p_{name}"], rtol=2e-3)
    assert (abs(own[f"se_{name}"] / own["se_z"] - 1) > 0.01).any()
    page = (tmp_path / "out" / "group" / "report.html").read_text()
    assert "multiplied by the weighted residual mean square" in page


def test_sidecars_page_and_screen_tell_the_estimator(study, run, tmp_path):
    code, said, errors = run(*MEAN, *MIXED)
    assert code == 0, errors
    assert "No models of regions" in said
    assert not list((tmp_path / "out" / "group").glob("*_regions.tsv"))
    t = about(tmp_path, "contrast-mean_stat-t")
    assert t["Estimator"] == "mixed-effects" and t["DegreesOfFreedom"] == 29
    assert "between participants" in about(tmp_path, "stat-tau2_desc-model")["Description"]
    mask = json.loads((tmp_path / "out" / "group" / "desc-group_mask.json").read_text())
    assert any("taken for known" in note for note in mask["Notes"])
    page = (tmp_path / "out" / "group" / "report.html").read_text()
    assert "restricted likelihood" in page and "Woolrich" in page
    code, _, errors = run(*MEAN, "--estimator", "fixed-effects", "--replace", out="fixed")
    assert code == 0, errors
    page = (tmp_path / "fixed" / "group" / "report.html").read_text()
    assert "infinite degrees of freedom" in page and "fixed effects" in page


def test_a_rerun_with_another_variance_map_has_the_bits_of_a_fresh_run(study, run, tmp_path):
    assert run(*MEAN, *MIXED)[0] == 0
    before = values(tmp_path, "contrast-mean_stat-t", len(study))
    path = tmp_path / "variances" / "7.nii"
    write(path, 3 * np.asarray(nib.load(path).dataobj).ravel(order="F"))
    for out in ("out", "fresh"):
        code, _, errors = run(*MEAN, *MIXED, out=out)
        assert code == 0, errors
    names = [f"contrast-mean_stat-{k}" for k in ("effect", "variance", "t", "z", "p")]
    names += [f"stat-{k}_desc-model" for k in ("tau2", "tau2Lower", "tau2Upper", "i2", "q")]
    for name in names:
        again = values(tmp_path, name, len(study))
        assert again.tobytes() == values(tmp_path, name, len(study), out="fresh").tobytes()
    assert (values(tmp_path, "contrast-mean_stat-t", len(study)) != before).any()
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert sum(item["Role"] == "variance" for item in record["Inputs"]) == 30


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_voxels_without_a_variance_are_left_out_and_counted(study, run, tmp_path, value):
    n = len(study)
    variances = np.asarray(nib.load(tmp_path / "variances" / "3.nii").dataobj).ravel(order="F")[:n]
    variances[[4, 9]] = value
    write(tmp_path / "variances" / "3.nii", variances)
    code, _, errors = run(*MEAN, *MIXED)
    assert code == 0, errors
    mask = json.loads((tmp_path / "out" / "group" / "desc-group_mask.json").read_text())
    assert any("2 in all, the most, 2, in 3.nii" in note for note in mask["Notes"])
    image = nib.load(tmp_path / "out" / "group" / "desc-group_mask.nii.gz")
    inside = np.asarray(image.dataobj).ravel(order="F")[:n]
    assert np.flatnonzero(inside == 0).tolist() == [4, 9]
    # Maps may lack voxels: those of the others, as if the map were not there.
    code, _, errors = run(*MEAN, *MIXED, "--min-coverage", ".9", out="gaps")
    assert code == 0, errors
    dof = values(tmp_path, "contrast-mean_stat-dof", n, out="gaps")
    assert np.flatnonzero(dof == 28).tolist() == [4, 9] and (np.delete(dof, [4, 9]) == 29).all()
    rows = pd.read_csv(tmp_path / "maps.tsv", sep="\t")
    rows.drop(index=2).to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    code, _, errors = run(*MEAN, *MIXED, out="without")
    assert code == 0, errors
    for name in ("contrast-mean_stat-t", "stat-tau2_desc-model"):
        own, other = (values(tmp_path, name, n, out=out)[[4, 9]] for out in ("gaps", "without"))
        np.testing.assert_allclose(own, other, rtol=1e-6)


def test_patterns_bids_and_stacks_give_the_maps_of_the_table(study, run, tmp_path):
    assert run(*MEAN, *MIXED)[0] == 0
    rows = pd.read_csv(tmp_path / "maps.tsv", sep="\t")
    stacks = {}
    for kind, column in (("effect", "map"), ("variance", "variance")):
        images = [nib.load(tmp_path / name) for name in rows[column]]
        for label, image in zip(rows["participant_id"], images, strict=True):
            place = tmp_path / "bids" / label / f"{label}_stat-{kind}_statmap.nii"
            place.parent.mkdir(parents=True, exist_ok=True)
            nib.save(image, place)
        stacks[kind] = tmp_path / f"{kind}s.nii"
        nib.save(nib.concat_images(images), stacks[kind])
    sources = {
        "pattern": {
            "--pattern": tmp_path / "maps" / "{subject}.nii",
            "--variance-pattern": tmp_path / "variances" / "{subject}.nii",
        },
        "bids": {
            "--bids": tmp_path / "bids",
            "--select": "stat=effect",
            "--variance-select": "stat=variance",
        },
        "stack": {"--stack": stacks["effect"], "--variance-stack": stacks["variance"]},
    }
    sources = {
        name: [text for option in source.items() for text in option]
        for name, source in sources.items()
    }
    for out, source in sources.items():
        code, _, errors = run(*MEAN, *MIXED, out=out, source=source)
        assert code == 0, errors
        # Of BIDS the order of participants is another, and so are the last bits of sums.
        for name in ("contrast-mean_stat-t", "stat-tau2_desc-model"):
            np.testing.assert_allclose(
                values(tmp_path, name, len(study), out=out),
                values(tmp_path, name, len(study)),
                rtol=1e-5,
                atol=1e-7,
            )
    code, said, errors = run(*MEAN, "--no-regions", out="ols", source=sources["pattern"])
    assert code == 0, errors
    assert "the estimator OLS takes none" in said


def test_standard_errors_in_the_place_of_variances_are_told(study, run, tmp_path):
    n, rng = len(study), np.random.default_rng(3)
    for row in range(1, 31):
        error = rng.uniform(0.01, 0.03, n)
        write(tmp_path / "maps" / f"{row}.nii", 1 + error * rng.standard_normal(n))
        write(tmp_path / "variances" / f"{row}.nii", error)
    code, _, errors = run(*MEAN, *MIXED)
    assert code == 0, errors
    mask = tmp_path / "out" / "group" / "desc-group_mask.json"
    told = [note for note in json.loads(mask.read_text())["Notes"] if "standard errors" in note]
    assert len(told) == 1 and "0.0" in told[0]
    for row in range(1, 31):
        path = tmp_path / "variances" / f"{row}.nii"
        write(path, np.asarray(nib.load(path).dataobj).ravel(order="F")[:n] ** 2)
    code, _, errors = run(*MEAN, *MIXED)
    assert code == 0, errors
    assert "standard errors" not in mask.read_text()


SHUFFLED = ("--permutations", "40", "--seed", "2")


def test_permutation_estimates_again_or_holds_and_says_so(study, run, tmp_path):
    options = (*MEAN, "--contrast", "slope=cov", *MIXED, *SHUFFLED, "--statistics", "tfce")
    options = (options[0], "cov", *options[2:])
    code, _, errors = run(*options, "--shards", "2", "--also-write", "permutation-p")
    assert code == 0, errors
    folder = tmp_path / "out" / "group"
    plan = json.loads((folder / "permutations.json").read_text())
    assert plan["Estimator"] == "mixed-effects" and plan["ShuffledEstimates"] == "again"
    said = "variance between participants is estimated again in every one"
    page = (folder / "report.html").read_text()
    assert said in plan["Description"] and said in page
    assert not list(folder.glob("*_desc-perm_statmap.nii.gz"))
    again = pd.read_csv(folder / "contrast-slope_nulldist.tsv", sep="\t")
    t = values(tmp_path, "contrast-slope_stat-t", len(study))
    highest = again["voxel_positive"][0]
    np.testing.assert_allclose(highest, t.max(), rtol=1e-6)
    surviving = values(tmp_path, "contrast-slope_stat-t_desc-permTfceFWEBoth", len(study))
    assert set(surviving[surviving != 0]) <= set(t)
    p = 10 ** -values(tmp_path, "contrast-slope_stat-logp_desc-permVoxelUncBoth", len(study))
    np.testing.assert_allclose(p * 41, np.round(p * 41), atol=1e-4)
    code, said, errors = run(*options, "--shuffled-estimates", "held")
    assert code == 0, errors
    plan = json.loads((folder / "permutations.json").read_text())
    assert "all shuffles take the variance between participants" in plan["Description"]
    held = pd.read_csv(folder / "contrast-slope_nulldist.tsv", sep="\t")
    assert (held["voxel_positive"] != again["voxel_positive"]).mean() > 0.9
    own = values(tmp_path, "contrast-slope_stat-t_desc-perm", len(study))
    np.testing.assert_allclose(own.max(), held["voxel_positive"][0], rtol=1e-6)
    assert 0 < abs(own - t).max() < 0.5 * abs(t).max()


REFUSED = {
    "smooth": ((*MIXED, "--smooth", "4"), "leave --smooth out"),
    "early stop": ((*MIXED, *SHUFFLED, "--early-stop", "5"), "early_stop is of shuffles of least"),
    "method": ((*MIXED, *SHUFFLED, "--method", "manly"), "method is of shuffles of least squares"),
    "held": ((*SHUFFLED, "--shuffled-estimates", "held"), "goes with the estimators random-eff"),
    "nidm": ((*MIXED, "--nidm"), "leave nidm out"),
    "partitioned": ((*MIXED, "--error", "partitioned"), "write a formula with the estimator"),
    "factor": (("--knapp-hartung", "plain"), "knapp_hartung goes with the estimators fixed-"),
    "cluster": ((*MIXED, "--cluster", "group"), "mixed-effects takes maps for independent"),
    "select": (("--variance-select", "stat=variance"), "--variance-select goes with --bids"),
    "pattern": (("--variance-pattern", "{subject}.nii"), "--variance-pattern goes with --pattern"),
    "stack": (("--variance-stack", "maps/1.nii"), "--variance-stack goes with --stack"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(study, run, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, words = REFUSED[name]
    code, _, errors = run(*MEAN, *options)
    assert code != 0
    assert words in errors and "Traceback" not in errors
    assert not (tmp_path / "out" / "group").exists()


def _without(tmp_path, rows):
    return rows.drop(columns="variance")


def _one_lacks(tmp_path, rows):
    return rows.assign(variance=["n/a", *rows["variance"][1:]])


def _other_grid(tmp_path, rows):
    image = nib.load(tmp_path / "variances" / "2.nii")
    nib.save(
        nib.Nifti1Image(image.get_fdata()[:5], image.affine), tmp_path / "variances" / "2.nii"
    )
    return rows


def _negative(tmp_path, rows):
    write(tmp_path / "variances" / "2.nii", -np.ones(20))
    return rows


def _same_twice(tmp_path, rows):
    return rows.assign(variance=[rows["variance"][1], *rows["variance"][1:]])


def _the_map(tmp_path, rows):
    return rows.assign(variance=[rows["map"][0], *rows["variance"][1:]])


def _of_another(tmp_path, rows):
    """Rename maps as BIDS does, and give the first two the variances of each other."""
    names = {}
    for column in ("map", "variance"):
        names[column] = [f"{label}_stat-{column}.nii" for label in rows["participant_id"]]
        for old, new in zip(rows[column], names[column], strict=True):
            (tmp_path / old).rename(tmp_path / new)
    names["variance"][:2] = names["variance"][1::-1]
    return rows.assign(**names)


def _several_maps(tmp_path, rows):
    return rows.assign(participant_id=rows["pair"], condition=["a", "b"] * 15)


BAD = {
    _without: "a column variance in the table of maps",
    _one_lacks: "maps/1.nii: it has no variance",
    _other_grid: "variances/2.nii: ",
    _negative: "2.nii is 0, negative or not finite at every voxel",
    _same_twice: "2.nii is that of another map too",
    _the_map: "its variance is the map itself",
    _of_another: "is of another participant, 2",
    _several_maps: "what participants have in common in their maps",
}


@pytest.mark.parametrize("spoil", BAD)
def test_bad_variances_are_named(study, run, tmp_path, spoil):
    table = tmp_path / "maps.tsv"
    rows = spoil(tmp_path, pd.read_csv(table, sep="\t", dtype=str))
    rows.to_csv(table, sep="\t", index=False)
    code, _, errors = run(*MEAN, *MIXED)
    assert code != 0
    assert BAD[spoil] in errors and "Traceback" not in errors
    assert not (tmp_path / "out" / "group").exists()


def test_maps_whose_variances_cannot_be_used_are_left_out_on_request(study, run, tmp_path):
    _negative(tmp_path, None)
    rows = pd.read_csv(tmp_path / "maps.tsv", sep="\t", dtype=str)
    _one_lacks(tmp_path, rows).to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    code, _, errors = run(*MEAN, *MIXED, "--on-bad-map", "exclude")
    assert code == 0, errors
    excluded = pd.read_csv(tmp_path / "out" / "group" / "excluded.tsv", sep="\t")
    assert sorted(excluded["map"]) == ["maps/1.nii", "maps/2.nii"]
    assert set(values(tmp_path, "contrast-mean_stat-dof", len(study))) == {27}


def test_a_stack_of_too_few_variances_is_named(study, run, tmp_path):
    images = [nib.load(tmp_path / "maps" / f"{row}.nii") for row in range(1, 31)]
    nib.save(nib.concat_images(images), tmp_path / "maps.nii")
    nib.save(nib.concat_images(images[:29]), tmp_path / "variances.nii")
    stack = ("--stack", tmp_path / "maps.nii")
    code, _, errors = run(*MEAN, *MIXED, source=stack)
    assert code != 0 and "--variance-stack" in errors
    more = ("--variance-stack", tmp_path / "variances.nii")
    code, _, errors = run(*MEAN, *MIXED, source=(*stack, *more))
    assert code != 0 and "29 variances for 30 maps" in errors


def test_the_plan_tells_the_estimator(study, command, tmp_path):
    options = ("--maps", tmp_path / "maps.tsv", *MEAN, *MIXED)
    code, said, errors = command("plan", *options)
    assert code == 0, errors
    assert "by restricted likelihood" in " ".join(said.split())
    table = tmp_path / "maps.tsv"
    rows = pd.read_csv(table, sep="\t", dtype=str)
    for spoil in (_without, _one_lacks, _same_twice):
        spoil(tmp_path, rows).to_csv(table, sep="\t", index=False)
        code, _, errors = command("plan", *options)
        assert code != 0 and BAD[spoil] in errors and "Traceback" not in errors
