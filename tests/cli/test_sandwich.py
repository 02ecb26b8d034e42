"""Cluster-robust variances of a run, against R: `--estimator sandwich`, `--cluster`."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

SHAPE = (6, 6, 6)
# Numbers of visits are a trend.
FORMULA = "g + I(tc) + I(gt) + cov"
# Maps hold float32, R's figures are of more digits.
RTOL = 2e-5


@pytest.fixture
def folder(shared):
    return shared / "oracles" / "models" / "cr"


@pytest.fixture
def study(folder, tmp_path):
    """Write the study of R as maps and a table; gives its voxels in their order."""
    rows = pd.read_csv(folder / "design.csv", dtype=str)
    data = pd.read_csv(folder / "data.csv", dtype={"row": str})
    wide = data.pivot_table(index="row", columns="voxel", values="y_int").loc[rows["row"]]
    maps = []
    for row, values in zip(rows["row"], wide.to_numpy(), strict=True):
        image = np.zeros(np.prod(SHAPE), dtype=np.float32)
        image[: len(values)] = values
        image = nib.Nifti1Image(image.reshape(SHAPE, order="F"), np.eye(4))
        nib.save(image, tmp_path / f"{row}.nii")
        maps.append(f"{row}.nii")
    table = rows.rename(columns={"subject": "participant_id"}).drop(columns="row")
    table["site"] = [f"s{int(label) // 2}" for label in table["participant_id"]]
    table["everyone"], table["visit"] = "x", [f"v{time}" for time in table["time"]]
    table.assign(map=maps).to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    return list(wide.columns)


@pytest.fixture
def run(command, tmp_path, no_figures):
    def start(*arguments, out="out"):
        options = ("--maps", tmp_path / "maps.tsv", "--no-regions", "--plugin", "Linear")
        return command("run", tmp_path / out, *options, *arguments)

    return start


def values(tmp_path, name, n_voxels, out="out"):
    """Return the voxels of a map of the derivatives."""
    image = nib.load(tmp_path / out / "group" / f"{name}_statmap.nii.gz")
    return np.asarray(image.dataobj).ravel(order="F")[:n_voxels]


CONTRASTS = ["g=g", "tc=`I(tc)`", "gt=`I(gt)`", "cov=cov", "joint=`I(tc)`; `I(gt)`"]
NAMED = [text for name in CONTRASTS for text in ("--contrast", name)]
MODEL = ("--formula", FORMULA, *NAMED)


@pytest.mark.parametrize("kind", ["CR2", "CR0", "CR1", "CR3"])
def test_contrasts_are_those_of_clubsandwich(study, run, folder, tmp_path, kind):
    name = "sandwich" if kind == "CR2" else f"sandwich-{kind.lower()}"
    code, _, errors = run(*MODEL, "--estimator", name)
    assert code == 0, errors
    coef = pd.read_csv(folder / "result_coef.csv").query("type == @kind")
    n = len(study)
    for term in ("g", "tc", "gt", "cov"):
        own = coef[coef["term"] == term].set_index("voxel")
        at = [study.index(voxel) for voxel in own.index]
        assert len(at) > 10
        found = {
            k: values(tmp_path, f"contrast-{term}_stat-{k}", n)[at]
            for k in ("effect", "variance", "t", "dof", "p")
        }
        np.testing.assert_allclose(found["effect"], own["b"], rtol=RTOL)
        np.testing.assert_allclose(np.sqrt(found["variance"]), own["se"], rtol=RTOL)
        np.testing.assert_allclose(found["dof"], own["df"], rtol=1e-6)
        np.testing.assert_allclose(found["p"], own["p"], rtol=1e-3)
        about = tmp_path / "out" / "group" / f"contrast-{term}_stat-t_statmap.json"
        about = json.loads(about.read_text())
        assert about["Estimator"] == name
        assert about["DegreesOfFreedom"] == pytest.approx(own["df"].iloc[0])
    joint = pd.read_csv(folder / "result_joint.csv").query("type == @kind")
    own = joint[joint["contrast"] == "time_joint"].set_index("voxel")
    at = [study.index(voxel) for voxel in own.index]
    f, dof = (values(tmp_path, f"contrast-joint_stat-{k}", n)[at] for k in ("F", "dof"))
    np.testing.assert_allclose(f, own["F"], rtol=RTOL)
    np.testing.assert_allclose(dof, own["ddf"], rtol=1e-6)


def test_clusters_of_another_column_are_those_of_statsmodels(study, run, tmp_path):
    code, _, errors = run(*MODEL, "--estimator", "sandwich-cr0", "--cluster", "site")
    assert code == 0, errors
    table = pd.read_csv(tmp_path / "maps.tsv", sep="\t")
    design = sm.add_constant(table[["g", "tc", "gt", "cov"]])
    for place in range(0, len(study), 7):
        maps = [nib.load(tmp_path / name).get_fdata() for name in table["map"]]
        y = [image.ravel(order="F")[place] for image in maps]
        clusters = {"groups": table["site"].astype("category").cat.codes, "use_correction": False}
        fit = sm.OLS(y, design).fit(cov_type="cluster", cov_kwds=clusters)
        for term in ("g", "cov"):
            found = values(tmp_path, f"contrast-{term}_stat-variance", len(study))[place]
            np.testing.assert_allclose(found, fit.bse[term] ** 2, rtol=RTOL)
    about = json.loads((tmp_path / "out" / "group" / "design.json").read_text())
    assert about["Clusters"]["Column"] == "site"
    assert about["Clusters"]["OfMaps"] == table["site"].tolist()
    assert "DegreesOfFreedom" not in about


def test_a_rerun_with_other_clusters_has_the_bits_of_a_fresh_run(study, run, tmp_path):
    options = (*MODEL, "--estimator", "sandwich")
    assert run(*options)[0] == 0
    before = values(tmp_path, "contrast-g_stat-t", len(study))
    table = tmp_path / "maps.tsv"
    rows = pd.read_csv(table, sep="\t", dtype=str)
    assert run(*options, "--cluster", "site")[0] == 0
    other = values(tmp_path, "contrast-g_stat-t", len(study))
    assert (other != before).any()
    rows.loc[rows["participant_id"] == "2", "site"] = "alone"
    rows.to_csv(table, sep="\t", index=False)
    for out in ("out", "fresh"):
        code, _, errors = run(*options, "--cluster", "site", out=out)
        assert code == 0, errors
    for stat in ("t", "dof", "variance", "z"):
        name = f"contrast-g_stat-{stat}"
        again = values(tmp_path, name, len(study))
        assert again.tobytes() == values(tmp_path, name, len(study), out="fresh").tobytes()
    assert (again != other).any()


def test_participants_between_are_refused_by_least_squares_and_the_message_names_it(study, run):
    code, _, errors = run("--formula", FORMULA, "--contrast", "g=g")
    assert code != 0 and "--estimator sandwich" in errors


SANDWICH = ("--estimator", "sandwich")
REFUSED = {
    ("--cluster", "site"): "cluster goes with the estimators random-effects, sandwich, ",
    (*SANDWICH, "--cluster", "nowhere"): "no column nowhere",
    (*SANDWICH, "--cluster", "everyone"): "all maps are in one (x)",
    (*SANDWICH, "--cluster", "visit"): "are in several, and maps of one participant vary together",
    (*SANDWICH, "--permutations", "20", "--shuffled-estimates", "held"): "no weights that",
    (*SANDWICH, "--permutations", "20", "--method", "manly"): "method is of shuffles of least",
    (*SANDWICH, "--nidm"): "leave nidm out",
    (*SANDWICH, "--error", "partitioned"): "write a formula with the estimator",
    ("--estimator", "sandwiches"): "sandwich",
}


@pytest.mark.parametrize("options", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(study, run, tmp_path, options):
    code, _, errors = run(*MODEL, *options)
    assert code != 0
    assert REFUSED[options] in errors and "Traceback" not in errors
    assert not (tmp_path / "out" / "group").exists()


def test_a_column_of_one_participant_has_no_variance_and_is_named(study, run, tmp_path):
    table = tmp_path / "maps.tsv"
    rows = pd.read_csv(table, sep="\t", dtype=str)
    rows["alone"] = (rows["participant_id"] == "3").astype(int).astype(str)
    rows.to_csv(table, sep="\t", index=False)
    code, _, errors = run("--formula", "g + alone", "--contrast", "alone=alone", *SANDWICH)
    assert code != 0
    assert "contrast 'alone'" in errors and "one cluster alone has" in errors


def test_regions_and_page_tell_the_same_estimator(study, command, tmp_path, no_figures):
    image = nib.load(tmp_path / "1.nii")
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels.ravel(order="F")
    labels[:3], labels[3:] = 1, 2
    nib.save(nib.Nifti1Image(labels, image.affine), tmp_path / "two.nii.gz")
    (tmp_path / "two.tsv").write_text("index\tname\n1\tleft\n2\tright\n")
    code, _, errors = command(
        "run",
        tmp_path / "out",
        "--maps",
        tmp_path / "maps.tsv",
        "--plugin",
        "Linear",
        *MODEL,
        *SANDWICH,
        "--atlas",
        tmp_path / "two.nii.gz",
        "--zero-is-value",
        "--permutations",
        "20",
    )
    assert code == 0, errors
    regions = pd.read_csv(
        tmp_path / "out" / "group" / "contrast-g_desc-model_regions.tsv", sep="\t"
    )
    # Means of regions are shuffled as voxels are.
    shares = 21 * regions["p_fwe_perm"]
    np.testing.assert_allclose(shares, np.round(shares), atol=1e-3)
    table = pd.read_csv(tmp_path / "maps.tsv", sep="\t")
    design = sm.add_constant(table[["g", "tc", "gt", "cov"]])
    for number, row in enumerate(regions.itertuples(), start=1):
        y = [nib.load(tmp_path / n).get_fdata()[labels == number].mean() for n in table["map"]]
        fit = sm.OLS(y, design).fit()
        assert row.effect == pytest.approx(fit.params["g"], rel=1e-4)
        # Fewer than the 25 of least squares: clusters of participants.
        assert 5 < row.dof < 11
    text = (tmp_path / "out" / "group" / "report.html").read_text()
    assert "cluster-robust variances" in text and "(equal participant_id, " in text


def test_permutation_takes_the_t_of_the_maps_and_whole_clusters(study, run, tmp_path):
    options = (*MODEL, *SANDWICH, "--permutations", "40", "--statistics", "mass")
    code, _, errors = run(*options, "--cluster", "site")
    assert code == 0, errors
    group = tmp_path / "out" / "group"
    plan = json.loads((group / "permutations.json").read_text())
    table = pd.read_csv(tmp_path / "maps.tsv", sep="\t", dtype=str)
    n_clusters = table["site"].nunique()
    assert plan["Families"]["flip-clusters"]["DistinctShufflings"] == 2**n_clusters
    assert "is approximate (wild cluster bootstrap)" in plan["Description"]
    assert f"signs of {n_clusters} clusters, and a wild" in plan["Warnings"][0]
    for name, stat in (("g", "t"), ("joint", "F")):
        null = pd.read_csv(group / f"contrast-{name}_nulldist.tsv", sep="\t")
        largest = values(tmp_path, f"contrast-{name}_stat-{stat}", len(study)).max()
        np.testing.assert_allclose(null["voxel_positive"][0], largest, rtol=1e-6)
        assert null["voxel_positive"].nunique() > 20
    assert not list(group.glob("*_desc-perm_statmap.nii.gz"))
