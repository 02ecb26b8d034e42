"""Random effects of a run, against lme4, lmerTest and pbkrtest: `(1 | participant_id)`."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

SHAPE = (5, 5, 3)
# Maps hold float32, R's figures are of more digits.
RTOL = 1e-4
MODELS = {
    "ri_int": ("y_int", "(1 | participant_id)"),
    "rs_corr": ("y_slope", "(1 + tc | participant_id)"),
    "rs_unc": ("y_slope", "(1 | participant_id) + (0 + tc | participant_id)"),
}
FIXED = "g + tc + gt + cov"
NAMED = [
    text
    for one in ("g=g", "tc=tc", "gt=gt", "cov=cov", "time=tc; gt")
    for text in ("--contrast", one)
]


@pytest.fixture
def folder(shared):
    return shared / "oracles" / "models" / "lmm"


@pytest.fixture
def study(folder, tmp_path):
    """Return what writes a column of R's data as maps and a table; gives the voxels in order."""

    def write(column):
        rows = pd.read_csv(folder / "design.csv", dtype=str)
        data = pd.read_csv(folder / "data.csv", dtype={"row": str})
        wide = data.pivot_table(index="row", columns="voxel", values=column).loc[rows["row"]]
        maps = []
        for row, values in zip(rows["row"], wide.to_numpy(), strict=True):
            image = np.zeros(np.prod(SHAPE), dtype=np.float32)
            image[: len(values)] = values
            image = nib.Nifti1Image(image.reshape(SHAPE, order="F"), np.eye(4))
            nib.save(image, tmp_path / f"{row}.nii")
            maps.append(f"{row}.nii")
        table = rows.rename(columns={"subject": "participant_id"}).drop(columns="row")
        table["family"] = [f"f{int(label) // 2}" for label in table["participant_id"]]
        table["own"] = [f"m{place}" for place in range(len(table))]
        table.assign(map=maps).to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
        return list(wide.columns)

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
    return np.asarray(image.dataobj).ravel(order="F")[:n_voxels].astype(float)


def of_model(folder, table, name, voxels, **where):
    own = pd.read_csv(folder / f"result_{table}.csv")
    own = own[own["model"] == name]
    for column, value in where.items():
        own = own[own[column] == value]
    own = own.set_index("voxel")
    return own.loc[[v for v in voxels if v in own.index]]


@pytest.mark.parametrize("name", MODELS)
def test_maps_are_those_of_lme4_and_pbkrtest(study, run, folder, tmp_path, name):
    column, random = MODELS[name]
    voxels = study(column)
    code, output, errors = run("--formula", f"{FIXED} + {random}", *NAMED)
    assert code == 0, errors
    n = len(voxels)
    fit = of_model(folder, "fit", name, voxels)
    # Where two ends of a search are told by rounding, the figures of a float32 may be the other's.
    clear = (fit["singular"].astype(str).str.lower() != "true") & (fit["n_modes"] == 1)
    clear = fit.index[clear]
    at = [voxels.index(v) for v in clear]
    assert len(at) > 8
    sizes = {"varResidual": "sigma2", "varIntercept": "var_int"}
    sizes |= {"varSlope": "var_slope"} if name != "ri_int" else {}
    for stat, own in sizes.items():
        found = values(tmp_path, f"stat-{stat}_desc-model", n)[at]
        np.testing.assert_allclose(found, fit.loc[clear, own], rtol=2e-3)
    for term in ("g", "tc", "gt", "cov"):
        own = of_model(folder, "coef", name, clear, term=term)
        found = {
            k: values(tmp_path, f"contrast-{term}_stat-{k}", n)[at]
            for k in ("effect", "variance", "dof", "p", "t")
        }
        scale = own["se_kr"].to_numpy()
        np.testing.assert_allclose(found["effect"] / scale, own["b"] / scale, atol=RTOL)
        np.testing.assert_allclose(np.sqrt(found["variance"]), scale, rtol=RTOL)
        np.testing.assert_allclose(found["dof"], own["df_kr"], rtol=1e-3)
        np.testing.assert_allclose(found["p"], own["p_kr"], rtol=5e-3)
    own = of_model(folder, "contrast", name, clear, contrast="time_joint")
    at = [voxels.index(v) for v in own.index]
    f, dof = (values(tmp_path, f"contrast-time_stat-{k}", n)[at] for k in ("F", "dof"))
    np.testing.assert_allclose(f, own["F_kr"], rtol=1e-3)
    np.testing.assert_allclose(dof, own["ddf_kr"], rtol=1e-3)


def test_satterthwaite_is_that_of_lmertest(study, run, folder, tmp_path):
    voxels = study("y_int")
    formula = f"{FIXED} + (1 | participant_id)"
    code, _, errors = run("--formula", formula, *NAMED, "--dof", "satterthwaite")
    assert code == 0, errors
    fit = of_model(folder, "fit", "ri_int", voxels)
    clear = fit.index[fit["singular"].astype(str).str.lower() != "true"]
    at = [voxels.index(v) for v in clear]
    own = of_model(folder, "coef", "ri_int", clear, term="gt")
    found = values(tmp_path, "contrast-gt_stat-dof", len(voxels))[at]
    np.testing.assert_allclose(found, own["df_satt"], rtol=2e-3)
    about = tmp_path / "out" / "group" / "contrast-gt_stat-t_statmap.json"
    about = json.loads(about.read_text())
    assert about["Parameters"]["dof_method"] == "satterthwaite"
    assert about["Estimator"] == "random-effects"
    assert about["Formula"] == formula
    text = (tmp_path / "out" / "group" / "report.html").read_text()
    assert "Satterthwaite" in text and "Random effects were intercepts of" in text
    assert formula in text


def test_an_edited_time_gives_the_bits_of_a_fresh_run(study, run, tmp_path):
    voxels = study("y_slope")
    options = ("--formula", f"{FIXED} + (1 + time | participant_id)", *NAMED)
    assert run(*options)[0] == 0
    before = values(tmp_path, "contrast-gt_stat-t", len(voxels))
    table = Path(tmp_path / "maps.tsv")
    rows = pd.read_csv(table, sep="\t", dtype=str)
    rows.loc[3, "time"] = "2.25"
    rows.to_csv(table, sep="\t", index=False)
    for out in ("out", "fresh"):
        code, _, errors = run(*options, out=out)
        assert code == 0, errors
    for name in ("contrast-gt_stat-t", "contrast-time_stat-dof", "stat-varSlope_desc-model"):
        again = values(tmp_path, name, len(voxels))
        assert again.tobytes() == values(tmp_path, name, len(voxels), out="fresh").tobytes()
    assert (values(tmp_path, "contrast-gt_stat-t", len(voxels)) != before).any()


REFUSED = {
    ("(1 | nobody)",): "no column nobody",
    ("(1 | own)",): "maps of 1, 2, ",
    ("(time | participant_id) + (1 | family)",): "are of participant_id and family",
    ("(1 | participant_id/family)",): "--estimator sandwich with --cluster",
    ("(1 + time + cov | participant_id)",): "random effects are written",
    ("(0 + time | participant_id)",): "one intercept and at most one slope",
    ("(1 + g | participant_id)",): "g is the same in all maps of each participant_id",
    ("(1 + family | participant_id)",): "family holds f0",
    ("C(participant_id) + (1 | participant_id)",): "do not tell the variance components apart",
    ("(1 | participant_id)", "--estimator", "sandwich"): "leave the one or the other out",
    ("(1 | participant_id)", "--permutations", "20", "--early-stop", "3"): "leave early_stop out",
    ("(1 | participant_id)", "--permutations", "20", "--blocks", "family"): "takes maps of a clu",
    ("(1 | participant_id)", "--error", "partitioned"): "write a formula with the estimator",
    ("(1 | participant_id)", "--cluster", "family"): "the formula itself names participant_id",
    ("cov:g", "--estimator", "random-effects"): "add (1 | participant_id)",
    ("cov:g", "--dof", "satterthwaite"): "of contrasts with random effects",
}


@pytest.mark.parametrize("given", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(study, run, tmp_path, given):
    study("y_int")
    code, _, errors = run(
        "--formula", f"{FIXED} + {given[0]}", "--contrast", "cov=cov", *given[1:]
    )
    assert code != 0
    assert REFUSED[given] in errors and "Traceback (most" not in errors
    assert not (tmp_path / "out" / "group").exists()


def test_one_visit_for_everybody_is_refused(study, run, tmp_path):
    study("y_int")
    table = tmp_path / "maps.tsv"
    rows = pd.read_csv(table, sep="\t", dtype=str).drop_duplicates("participant_id")
    rows.to_csv(table, sep="\t", index=False)
    code, _, errors = run("--formula", "g + (1 | participant_id)", "--contrast", "g=g")
    assert code != 0
    assert "each of the 11 maps has another participant_id" in errors or (
        "each of the 12 maps has another participant_id" in errors
    )


def test_permutation_flips_participants_and_says_so(study, run, tmp_path):
    n = len(study("y_int"))
    options = ("--formula", f"{FIXED} + (1 | participant_id)", "--dof", "satterthwaite")
    options += ("--contrast", "gt=gt", "--contrast", "time=tc; gt", "--permutations", "40")
    code, _, errors = run(
        *options, "--statistics", "extent,tfce", "--shards", "3", "--also-write", "permutation-p"
    )
    assert code == 0, errors
    group = tmp_path / "out" / "group"
    plan = json.loads((group / "permutations.json").read_text())
    assert plan["Families"]["flip-clusters"]["Approximate"]
    page = (group / "report.html").read_text()
    for said in ("is approximate (wild cluster bootstrap)", "components are estimated again in"):
        assert said in plan["Description"] and said in page
    assert "Cameron" in page
    # Satterthwaite's t has the variance of the model, as shuffles have.
    t, own = (values(tmp_path, f"contrast-gt_stat-t{desc}", n) for desc in ("", "_desc-perm"))
    np.testing.assert_allclose(own, t, rtol=1e-6)
    null = pd.read_csv(group / "contrast-gt_nulldist.tsv", sep="\t")
    np.testing.assert_allclose(null["voxel_positive"][0], t.max(), rtol=1e-6)
    p = 10 ** -values(tmp_path, "contrast-gt_stat-logp_desc-permVoxelUncBoth", n)
    np.testing.assert_allclose(p * 41, np.round(p * 41), atol=1e-4)
    assert len(np.unique(p)) > 5
    code, _, errors = run(*options, "--shuffled-estimates", "held", out="held")
    assert code == 0, errors
    plan = json.loads((tmp_path / "held" / "group" / "permutations.json").read_text())
    assert "are held at those of the unshuffled maps" in plan["Description"]
    held = pd.read_csv(tmp_path / "held" / "group" / "contrast-gt_nulldist.tsv", sep="\t")
    assert (held["voxel_positive"] != null["voxel_positive"]).mean() > 0.5
