"""A study in the words of its table, against R: `--within`, `--between`, `Error()`."""

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

SHAPE = (5, 5, 2)


@pytest.fixture
def study(shared, tmp_path):
    """Return what writes a study of R as maps and a table; gives the voxels in their order."""

    def write(name):
        folder = shared / "oracles" / "models" / "rmanova" / name
        rows = pd.read_csv(folder / "design.csv", dtype=str)
        data = pd.read_csv(folder / "data.csv", dtype={"row": str})
        wide = data.pivot_table(index="row", columns="voxel", values="y").loc[rows["row"]]
        maps = []
        for row, values in zip(rows["row"], wide.to_numpy(), strict=True):
            image = np.zeros(np.prod(SHAPE), dtype=np.float32)
            image[: len(values)] = values
            image = image.reshape(SHAPE, order="F")
            nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"{row}.nii")
            maps.append(f"{row}.nii")
        table = rows.rename(columns={"subject": "participant_id"}).drop(columns="row")
        table.assign(map=maps).to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
        expected = pd.read_csv(folder / "result.csv").set_index(["effect", "voxel"])
        return list(wide.columns), expected

    return write


@pytest.fixture
def run(command, tmp_path, no_figures):
    def start(*arguments):
        options = ("--maps", tmp_path / "maps.tsv", "--no-regions", "--plugin", "Linear")
        return command("run", tmp_path / "out", *options, *arguments)

    return start


def values(tmp_path, name, n_voxels):
    """Return the voxels of a map of the derivatives."""
    image = nib.load(tmp_path / "out" / "group" / f"{name}_statmap.nii.gz")
    return np.asarray(image.dataobj).ravel(order="F")[:n_voxels]


NAMED = ("--contrast", "A=A", "--contrast", "B=B", "--contrast", "A:B=A:B")
OF_R = "C(A)*C(B) + Error(participant_id/(A*B))"
WORDS = {
    "w33": ("--within", "A,B"),
    "w4": ("--within", "A"),
    "mixed23": ("--within", "A", "--between", "group"),
    "mixed33": ("--within", "A", "--between", "group"),
    "w33 by formula": ("--formula", OF_R) + NAMED,
    "w33 partitioned": (
        "--formula",
        "C(A)*C(B) + C(participant_id)",
        "--error",
        "partitioned",
    )
    + NAMED,
}


@pytest.mark.parametrize("name", WORDS)
def test_every_effect_is_that_of_afex(study, run, tmp_path, name):
    voxels, expected = study(name.split()[0])
    code, output, errors = run(*WORDS[name])
    assert code == 0, errors
    for effect in expected.index.get_level_values(0).unique():
        own = expected.loc[effect].loc[voxels]
        label = "group" if effect == "group" else effect.replace(":", "x")
        p = own["p"] if own["eps_gg"].isna().any() else own["p_gg"]
        found = {k: values(tmp_path, f"contrast-{label}_stat-{k}", len(voxels)) for k in "Fp"}
        np.testing.assert_allclose(found["F"], own["F"], rtol=1e-5)
        np.testing.assert_allclose(found["p"], p, rtol=1e-4, atol=1e-12)


def test_pooled_error_keeps_the_numbers_of_a_linear_model(study, run, shared, tmp_path):
    voxels, _ = study("w33")
    formula = "C(A)*C(B) + C(participant_id)"
    code, _, errors = run("--formula", formula, "--contrast", "A=A", "--contrast", "I=A:B")
    assert code == 0, errors
    folder = shared / "oracles" / "models" / "rmanova" / "w33"
    pooled = pd.read_csv(folder / "result_pooled.csv").set_index(["effect", "voxel"])
    for label, effect in {"A": "A", "I": "A:B"}.items():
        found = values(tmp_path, f"contrast-{label}_stat-F", len(voxels))
        np.testing.assert_allclose(found, pooled.loc[effect].loc[voxels, "F"], rtol=1e-5)


REFUSED = {
    ("--within", "B,nothing"): "no column nothing",
    ("--within", "A", "--formula", "1"): "beside the formula",
    ("--within", "A", "--between", "A"): "A is named twice",
    ("--within", "A,C", "--between", "group"): "no column C",
    ("--within", "A"): "two maps of the cell A a1",
    ("--within", "A,B", "--between", "site"): "factor site differs within",
    ("--within", "A,B,sex"): "factor sex differs within no participant",
    ("--within", "A,B", "--between", "alone"): "one participant is in x of alone",
    ("--within", "A,B", "--covariates", "rt"): "covariate rt differs within",
    ("--within", "A,B", "--covariates", "sex"): "covariate sex holds other values than numbers",
    ("--within", "A,B", "--between", "sex", "--covariates", "of_sex"): "constant in every group",
    ("--within", "A,B", "--between", "sex,hand"): "no participant is in m, l of sex x hand",
    ("--within", "A,B", "--between", "age"): "column age holds numbers: C\\(age\\)",
    ("--covariates", "age"): "covariates go with factors",
    ("--formula", "C(A) + Error(subject/A)", "--contrast", "A=A"): "Error\\(participant_id",
    ("--formula", "C(A)*C(B)", "--contrast", "m=intercept"): "--between",
    ("--formula", "0 + C(A) + C(participant_id)", "--contrast", "m=a1"): "--between",
    ("--formula", "C(sex)*C(A)*C(B)", "--contrast", "s=sex"): "--between",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_cannot_be_is_refused_by_name(study, run, tmp_path, arguments):
    study("w33")
    table = pd.read_csv(tmp_path / "maps.tsv", sep="\t", dtype=str)
    people = table["participant_id"].astype("category").cat.codes
    columns = {
        "sex": np.where(people < 5, "f", "m"),
        "hand": np.where(people < 2, "l", "r"),
        "alone": np.where(people == 0, "x", "y"),
        "age": 20 + people.astype(int),
        "of_sex": np.where(people < 5, 1, 2),
        "rt": range(len(table)),
        "site": np.where(table.index % 2, "p", "q"),
    }
    table.assign(**columns).to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    code, output, errors = run(*arguments)
    assert code != 0

    assert re.search(REFUSED[arguments], errors + output), errors + output
    assert not (tmp_path / "out" / "group").exists() or not list(
        (tmp_path / "out" / "group").glob("*.nii.gz")
    )


def test_participants_without_a_cell_leave_the_effect_and_are_told(study, run, tmp_path):
    study("w33")
    table = pd.read_csv(tmp_path / "maps.tsv", sep="\t", dtype=str)
    table.drop(index=3).to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    gone = table["participant_id"][3]
    code, output, errors = run("--within", "A,B")
    assert code == 0, errors
    assert f"{gone} lack" in output.replace("sub-", "") or f"{gone} lacks" in output
    contrasts = json.loads((tmp_path / "out" / "group" / "contrasts.json").read_text())
    (error,) = {json.dumps(c["Error"]["LeftOut"]) for c in contrasts["Contrasts"]}
    assert json.loads(error) == [gone]
    # The same as without any map of the participant.
    kept = values(tmp_path, "contrast-A_stat-F", 48)
    (tmp_path / "out").rename(tmp_path / "first")
    left = table[table["participant_id"] != gone]
    left.to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    assert run("--within", "A,B")[0] == 0
    np.testing.assert_array_equal(values(tmp_path, "contrast-A_stat-F", 48), kept)
