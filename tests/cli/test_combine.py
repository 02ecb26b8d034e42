"""`--combine`: runs and sessions to participants before the group, from command to page."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.execution.memory import declare_memory

SHAPE = (6, 6, 6)
N = 8
MODEL = ("--formula", "age", "--contrast", "age=age", "--estimator", "mixed-effects")


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0])), path)


@pytest.fixture
def study(tmp_path):
    """Write two sessions of two runs of eight participants; one lacks a run, one a voxel."""
    rng = np.random.default_rng(4)
    variances = np.exp(rng.standard_normal((N, 4, *SHAPE))).astype(np.float32)
    effects = 2 + rng.standard_normal((N, 4, *SHAPE)) * np.sqrt(variances)
    effects = effects.astype(np.float32)
    effects[2, 1, 1, 1, 1], variances[3, 0, 2, 2, 2] = 0, -1
    # A mean of 0 is a value.
    effects[5, :, 4, 4, 4] = (1, -1, 2, -2)
    rows = []
    for i in range(N):
        for k in range(4):
            if (i, k) == (6, 3):
                variances[i, k] = np.nan
                continue
            name = f"sub-{i:02}_ses-{k // 2 + 1}_run-{k % 2 + 1}"
            write(tmp_path / "maps" / f"{name}.nii", effects[i, k])
            write(tmp_path / "variances" / f"{name}.nii", variances[i, k])
            rows.append(
                {
                    "participant_id": f"sub-{i:02}",
                    "session": k // 2 + 1,
                    "run": k % 2 + 1,
                    "age": 20 + i**2,
                    "motion": 0.1 * k,
                    "map": f"maps/{name}.nii",
                    "variance": f"variances/{name}.nii",
                }
            )
    pd.DataFrame(rows).to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    return effects.astype(float), variances.astype(float)


@pytest.fixture
def run(command, tmp_path, no_figures):
    def start(*arguments, out="out", table="maps.tsv", first="run"):
        own = (first, tmp_path / out) if first == "run" else (first,)
        plugin = ("--plugin", "Linear") if first == "run" else ()
        return command(*own, "--maps", tmp_path / table, *plugin, *arguments)

    return start


def values(tmp_path, name, out):
    image = nib.load(tmp_path / out / "group" / f"{name}_statmap.nii.gz")
    return np.asarray(image.dataobj).astype(float)


def combined_by_hand(tmp_path, effects, variances):
    """Write weighted means of our own, and their variances, with a table of them."""
    here = (effects != 0) & (variances > 0)
    weight = np.where(here, 1 / np.where(here, variances, 1), 0).astype(np.longdouble)
    total = weight.sum(axis=1)
    rows = []
    for i, (effect, whole) in enumerate(zip((weight * effects).sum(axis=1), total, strict=True)):
        write(tmp_path / "own" / f"{i}.nii", (effect / whole).astype(float))
        write(tmp_path / "own" / f"{i}_variance.nii", (1 / whole).astype(float))
        cells = (f"sub-{i:02}", 20 + i**2, f"own/{i}.nii", f"own/{i}_variance.nii")
        rows.append(dict(zip(("participant_id", "age", "map", "variance"), cells, strict=True)))
    pd.DataFrame(rows).to_csv(tmp_path / "own.tsv", sep="\t", index=False)


def test_runs_and_sessions_are_combined_before_the_group(study, run, tmp_path):
    code, said, errors = run(*MODEL, "--combine", "run,session")
    assert code == 0, errors
    combined_by_hand(tmp_path, *study)
    code, _, errors = run(*MODEL, out="own", table="own.tsv")
    assert code == 0, errors
    for name in ("contrast-age_stat-t", "contrast-age_stat-variance", "stat-tau2_desc-model"):
        np.testing.assert_allclose(
            values(tmp_path, name, "out"), values(tmp_path, name, "own"), rtol=1e-4, atol=1e-5
        )
    group = tmp_path / "out" / "group"
    table = pd.read_csv(group / "observations.tsv", sep="\t")
    assert len(table) == N and table["n_combined"].tolist() == [4] * 6 + [3, 4]
    assert table["combined_maps"][6].count("; ") == 2
    assert "maps/sub-06_ses-1_run-2.nii" in table["combined_maps"][6]
    assert "run" not in table and "session" not in table
    page, sidecar = (group / "report.html").read_text(), group / "desc-group_mask.json"
    notes = " ".join(json.loads(sidecar.read_text())["Notes"])
    for words in (
        "31 into 8, of 3 to 4 each",
        "sub-06 (3)",
        "motion (as in sub-00)",
        "weighted by the inverse of the variances",
        "2 combined maps are of fewer maps at some voxels",
    ):
        assert words in notes and words in said and words in page, words
    assert "Maps of a participant that differed in run and session were combined" in page


def test_without_variances_it_is_the_mean_and_zero_is_a_mean(study, run, tmp_path):
    effects, _ = study
    table = pd.read_csv(tmp_path / "maps.tsv", sep="\t").drop(columns="variance")
    table.to_csv(tmp_path / "plain.tsv", sep="\t", index=False)
    ols = ("--formula", "1", "--contrast", "mean=intercept", "--no-regions")
    code, said, errors = run(*ols, "--combine", "run,session", table="plain.tsv")
    assert code == 0, errors
    assert "Combined maps are means: no variances were given" in said
    effects[6, 3], effects[2, 1, 1, 1, 1] = np.nan, np.nan
    expected = np.nanmean(effects, axis=1).mean(axis=0)
    found = values(tmp_path, "contrast-mean_stat-effect", "out")
    assert found[4, 4, 4] != 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_rerun_after_edits_of_runs_is_a_fresh_run(study, run, tmp_path):
    options = (*MODEL, "--combine", "run,session", "--outliers")
    assert run(*options)[0] == 0
    table = pd.read_csv(tmp_path / "maps.tsv", sep="\t")
    effects, _ = study
    # A run and a variance of others, one more run, and one less.
    write(tmp_path / "maps" / "sub-01_ses-1_run-2.nii", effects[1, 1] + 3)
    write(tmp_path / "variances" / "sub-04_ses-2_run-1.nii", np.full(SHAPE, 0.3))
    write(tmp_path / "maps" / "more.nii", effects[2, 2] - 1)
    write(tmp_path / "variances" / "more.nii", np.full(SHAPE, 0.7))
    more = {"participant_id": "sub-02", "session": 2, "run": 3, "age": 24, "motion": 0}
    more |= {"map": "maps/more.nii", "variance": "variances/more.nii"}
    table = pd.concat([table.iloc[1:], pd.DataFrame([more])])
    table.to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    for out in ("out", "fresh"):
        code, _, errors = run(*options, out=out)
        assert code == 0, errors
    ours, fresh = (maps_and_tables(tmp_path / out / "group") for out in ("out", "fresh"))
    assert len(ours) > 20 and ours == fresh


def maps_and_tables(folder):
    """Return the files that have no time and no place of a run, by name."""
    found = (path for path in folder.iterdir() if path.name.endswith((".nii.gz", ".tsv")))
    return {path.name: path.read_bytes() for path in found}


REFUSED = {
    "model": ("age + run", "run", None, "the model uses run"),
    "column": ("age", "day", None, "no column day in the tables"),
    "differs": ("age + motion", "run,session", None, "sub-00 in motion (0.0, 0.1, 0.2, 0.3"),
    "one": ("age", "run", "run == 1 and session == 1", "no participant has several maps"),
    "called": ("age", "run,session", "n_combined", "a column of the tables is called n_combined"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_combined_is_named(study, run, tmp_path, name):
    formula, over, rows, words = REFUSED[name]
    table = pd.read_csv(tmp_path / "maps.tsv", sep="\t")
    if rows == "n_combined":
        table["n_combined"] = 1
    elif rows is not None:
        table = table.query(rows)
    table.to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    options = ("--formula", formula, "--contrast", "age=age", "--combine", over)
    code, _, errors = run(*options, first="plan")
    assert code != 0 and words in errors and "Traceback" not in errors, errors


def test_the_plan_tells_what_is_combined_and_foresees_what_it_makes(study, run, monkeypatch):
    sizes = []

    def declared(workflow, size):
        sizes.append(size)
        return declare_memory(workflow, size)

    monkeypatch.setattr("nipype_group.execution.memory.declare_memory", declared)
    code, said, errors = run(*MODEL, "--combine", "run,session", first="plan")
    assert code == 0, errors
    assert "8 maps of 8 participants" in said and "31 into 8" in said
    assert "as sub-00_combined, of maps/sub-00_ses-1_run-1.nii, maps/sub-00_ses-1_run-2" in said
    code, said, errors = run(*MODEL, "--combine", "run,session", "--json", first="plan")
    assert code == 0, errors
    maps = json.loads(said)["Maps"]
    assert list(maps["CombinedMaps"]) == maps["Maps"]
    assert [len(own) for own in maps["CombinedMaps"].values()] == [4] * 6 + [3, 4]
    assert [(size.n_maps, size.n_read) for size in sizes] == [(N, 31)] * 2
