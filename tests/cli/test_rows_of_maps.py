"""A table of maps has a row a map: visits as numbers, ages at scan, sessions, missing values."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

SHAPE = (4, 5, 3)
QUICK = ("--plugin", "Linear", "--no-regions", "--atlas", "none")
N_PARTICIPANTS, VISITS = 9, (1, 2, 4)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Write three maps of nine participants; gives the folder, the table, and the voxels."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(11)
    rows, data = [], []
    for i in range(N_PARTICIPANTS):
        iq = rng.normal(100, 15)
        for visit in VISITS:
            label = f"{i + 1:02d}"
            values = rng.standard_normal(SHAPE).astype(np.float32) + 0.3 * visit
            values = (values + rng.standard_normal()).astype(np.float32)
            path = (
                folder / f"sub-{label}/ses-{visit}/sub-{label}_ses-{visit}_stat-effect_statmap.nii"
            )
            path.parent.mkdir(parents=True)
            nib.save(nib.Nifti1Image(values, np.diag([3.0, 3, 3, 1])), path)
            data.append(values.ravel())
            rows.append(
                {
                    "participant_id": label,
                    "visit": str(visit),
                    "age": f"{20 + 4 * i + visit * rng.random():.3f}",
                    "iq": f"{iq:.2f}",
                    "group": "xy"[i % 2],
                    "map": path.relative_to(folder).as_posix(),
                }
            )
    return folder, pd.DataFrame(rows), np.array(data, dtype=float)


@pytest.fixture
def run(command, study, tmp_path, no_figures):
    """Return a function that analyses a table of maps; gives the folder of results, and output."""

    def start(table, *arguments, source=None):
        path = study[0] / "maps.tsv"
        table.to_csv(path, sep="\t", index=False, na_rep="n/a")
        source = ("--maps", path) if source is None else source
        code, output, errors = command("run", tmp_path / "out", *source, *arguments, *QUICK)
        assert code == 0, errors
        return tmp_path / "out" / "group", output

    return start


def voxels(group, name):
    # A session that all maps share stands in the names.
    path = next(group.glob(f"*contrast-{name}_statmap.nii.gz"))
    return np.asarray(nib.load(path).dataobj).ravel()


def test_a_visit_that_is_a_number_is_a_trend(run, study):
    _, table, data = study
    group, output = run(table, "--within", "visit")
    assert "visit is a trend, centred at 2.33333" in output
    weights = np.array(VISITS) - np.mean(VISITS)
    slopes = weights @ data.reshape(N_PARTICIPANTS, 3, -1) / (weights @ weights)
    expected = stats.ttest_1samp(slopes, 0)
    np.testing.assert_allclose(voxels(group, "visit_stat-t"), expected.statistic, rtol=1e-4)
    np.testing.assert_allclose(
        voxels(group, "visit_stat-effect"), slopes.mean(axis=0), rtol=1e-4, atol=1e-6
    )
    header = (group / "design.tsv").read_text().splitlines()[0].split("\t")
    assert header == ["participant_id", "visit_of_map", "intercept", "visit"]


def test_c_makes_a_factor_of_it_and_zeros_in_front_a_name(run, study):
    _, table, data = study
    group, _ = run(table, "--within", "C(visit)")
    f = voxels(group, "visit_stat-F")
    padded = table.assign(visit="0" + table["visit"])
    group, output = run(padded, "--within", "visit", "--replace")
    assert "visit is a factor, as values like 01 are names" in output
    np.testing.assert_array_equal(f, voxels(group, "visit_stat-F"))
    cells = data.reshape(N_PARTICIPANTS, 3, -1)
    rest = cells - cells.mean(axis=1, keepdims=True)
    effect = rest.mean(axis=0)
    error = np.square(rest - effect).sum(axis=(0, 1)) / (2 * (N_PARTICIPANTS - 1))
    expected = N_PARTICIPANTS * np.square(effect).sum(axis=0) / 2 / error
    np.testing.assert_allclose(f, expected, rtol=1e-4)


def test_a_covariate_meets_a_trend(run, study):
    _, table, data = study
    group, _ = run(table, "--within", "visit", "--covariates", "iq")
    weights = np.array(VISITS) - np.mean(VISITS)
    slopes = weights @ data.reshape(N_PARTICIPANTS, 3, -1) / (weights @ weights)
    iq = table["iq"].astype(float).to_numpy()[::3]
    expected = [stats.linregress(iq, one) for one in slopes.T]
    t = [one.slope / one.stderr for one in expected]
    np.testing.assert_allclose(voxels(group, "iqxvisit_stat-t"), t, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("column", ["age", "center(visit)"])
def test_rows_without_conditions_are_maps(run, study, column):
    _, table, data = study
    name = "visit" if column != "age" else "age"
    table = table if name == "visit" else table.drop(columns="visit")
    group, output = run(
        table, "--formula", f"{column} + C(participant_id)", "--contrast", f"x={name}"
    )
    assert ("told apart by the names of their files" in output) == (name == "age")
    # Frisch, Waugh and Lovell: what is left of both once participants' means are out.
    x = table[name].astype(float).to_numpy().reshape(N_PARTICIPANTS, 3)
    x = (x - x.mean(axis=1, keepdims=True)).ravel()
    y = data.reshape(N_PARTICIPANTS, 3, -1)
    y = (y - y.mean(axis=1, keepdims=True)).reshape(len(x), -1)
    slope = x @ y / (x @ x)
    dof = len(x) - N_PARTICIPANTS - 1
    error = np.square(y - np.outer(x, slope)).sum(axis=0) / dof / (x @ x)
    np.testing.assert_allclose(voxels(group, "x_stat-t"), slope / np.sqrt(error), rtol=2e-4)
    quality = pd.read_csv(group / "quality.tsv", sep="\t", dtype=str)
    assert quality["map"].tolist() == table["map"].tolist()
    assert len(quality.drop_duplicates(["participant_id", "map"])) == len(table)


def test_whole_participants_exchange_rows_in_their_order(run, study):
    table = study[1].drop(columns="visit")
    whole = ("--permutations", "20", "--blocks", "participant_id", "--block-exchange", "whole")
    model = ("--formula", "C(group)", "--contrast", "x=y - x", *whole)
    nulls = []
    for rows in (table, table.assign(scan=["a", "b", "c"] * N_PARTICIPANTS)):
        group, output = run(rows, *model, "--replace")
        assert ("told apart by scan" in output) == ("scan" in rows)
        nulls.append([path.read_bytes() for path in sorted(group.glob("*nulldist*.tsv"))])
    assert nulls[0]
    assert nulls[0] == nulls[1]


REFUSED = {
    "the same file twice": (
        lambda t: pd.concat([t, t.iloc[[4]]]),
        ("--within", "visit"),
        "sub-02_ses-2_stat-effect_statmap.nii: the file is listed 2 times for the participant",
    ),
    "a copy": (
        lambda t: t.assign(map=["copy.nii", *t["map"][1:]]),
        ("--within", "visit"),
        "the same values as",
    ),
    "two maps of a cell": (
        lambda t: t.assign(visit=["1" if i == 1 else v for i, v in enumerate(t["visit"])]),
        ("--within", "C(visit)"),
        "01 has two maps of the cell visit 1",
    ),
    "between participants": (
        lambda t: t.drop(columns="visit"),
        ("--formula", "C(group)", "--contrast", "x=y - x"),
        "01, 02, 03, 04, 05 and 4 more have several",
    ),
    "words between participants": (
        lambda t: t.drop(columns=["visit", "age"]),
        ("--between", "group"),
        "01 has two maps",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_model_cannot_take_is_refused_by_name(command, study, tmp_path, what):
    change, arguments, message = REFUSED[what]
    folder, table, _ = study
    (folder / "copy.nii").write_bytes((folder / table["map"].iloc[1]).read_bytes())
    path = folder / "bad.tsv"
    change(table).to_csv(path, sep="\t", index=False)
    code, _, errors = command("run", tmp_path / "out", "--maps", path, *arguments, *QUICK)
    assert code == 1
    assert message in " ".join(errors.split())


def test_means_stand_for_missing_covariates(run, study):
    _, table, data = study
    one = table[table["visit"] == "1"].drop(columns="visit").reset_index(drop=True)
    lacking = one.assign(iq=one["iq"].where(~one.index.isin([2, 5])))
    options = ("--formula", "iq", "--contrast", "iq=iq")
    group, output = run(lacking, *options)
    assert "7 maps of 7 participants are in, 2 rows are out" in output
    group, output = run(lacking, *options, "--missing-covariates", "mean", "--replace")
    assert "9 maps of 9 participants are in, 0 rows are out" in output
    iq = lacking["iq"].astype(float).to_numpy().copy()
    mean = np.nanmean(iq)
    note = (
        "covariate iq is missing for sub-03, sub-06: the mean over participants, "
        f"{mean:.6g}, is put in"
    )
    assert note in output
    iq[np.isnan(iq)] = mean
    slopes = [stats.linregress(iq, y).slope for y in data[::3].T]
    np.testing.assert_allclose(voxels(group, "iq_stat-effect"), slopes, rtol=2e-4, atol=1e-7)
    about = json.loads(next(group.glob("*_design.json")).read_text())
    assert [m["participant_id"] for m in about["MeansPutIn"]] == ["sub-03", "sub-06"]
    assert [m["Value"] for m in about["MeansPutIn"]] == pytest.approx([mean, mean], rel=1e-15)
    sidecar = json.loads(next(group.glob("*_stat-effect_statmap.json")).read_text())
    assert sidecar["Parameters"]["missing_covariates"] == "mean"
    page = next(group.glob("*report.html")).read_text()
    assert note[1:] in page
    assert "Missing values of iq of 2 participants became the mean over participants" in page
    # Tables keep what was given.
    observations = pd.read_csv(next(group.glob("*observations.tsv")), sep="\t")
    assert observations["iq"].isna().sum() == 2


def test_names_have_no_mean_and_blocks_need_their_values(command, study, tmp_path):
    folder, table, _ = study
    one = table[table["visit"] == "1"].drop(columns="visit").reset_index(drop=True)
    one = one.assign(
        hand=["l", "r", None] * 3, site=["1", "2", "2", "2", "1", "1", "1", "2", None]
    )
    path = folder / "one.tsv"
    one.to_csv(path, sep="\t", index=False, na_rep="n/a")
    mean = ("--missing-covariates", "mean")
    model = ("--formula", "hand + site", "--contrast", "s=r - l", *mean)
    shuffles = ("--permutations", "20", "--blocks", "site")
    code, output, errors = command("plan", "--maps", path, *model, *shuffles)
    assert code == 0, errors
    assert "n/a in hand (hand holds names, which have no mean)" in output
    assert "n/a in hand, site" in output
    table = one.assign(x=range(9))[["participant_id", "x"]]
    table.to_csv(folder / "design.tsv", sep="\t", index=False)
    model = ("--design", folder / "design.tsv", "--contrast", "x=x", *mean)
    code, _, errors = command("run", tmp_path / "out", "--maps", path, *model, *QUICK)
    assert code == 2
    assert "missing_covariates goes with a formula or covariates" in errors


@pytest.mark.parametrize("place", ["in the data set", "beside the table of participants"])
def test_sessions_are_inputs_of_reruns_and_replays(command, run, study, tmp_path, place):
    folder, table, _ = study
    top = folder if place == "in the data set" else tmp_path / "raw"
    people = table.drop_duplicates("participant_id")[["participant_id", "group"]]
    for label, rows in table.groupby("participant_id"):
        path = top / f"sub-{label}" / f"sub-{label}_sessions.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = rows.rename(columns={"visit": "session_id"})[["session_id", "age"]]
        rows.to_csv(path, sep="\t", index=False)
    source = ("--bids", folder, "--select", "stat=effect", "ses=1,2,4")
    if top != folder:
        people.to_csv(top / "participants.tsv", sep="\t", index=False)
        pattern = folder / "sub-{subject}/ses-{ses}/*.nii"
        source = ("--pattern", pattern, "--participants", top / "participants.tsv")
    model = ("--formula", "age + C(participant_id)", "--contrast", "age=age")
    group, _ = run(table, *model, source=source)
    t = voxels(group, "age_stat-t")
    code, output, errors = command("replay", tmp_path / "out", "--plugin", "Linear")
    assert code == 0, output + errors
    changed = top / "sub-03" / "sub-03_sessions.tsv"
    given = changed.read_text()
    lines = given.splitlines()
    lines[1] = lines[1].split("\t")[0] + "\t99"
    changed.write_text("\n".join(lines) + "\n")
    code, _, errors = command("replay", tmp_path / "out", "--plugin", "Linear")
    assert code == 1
    assert "sub-03_sessions.tsv (sessions): another SHA-256" in errors
    group, _ = run(table, *model, source=source)
    assert (voxels(group, "age_stat-t") != t).any()
    changed.write_text(given)
    group, _ = run(table, *model, source=source)
    np.testing.assert_array_equal(voxels(group, "age_stat-t"), t)
    for path in top.glob("sub-*/*_sessions.tsv"):
        path.unlink()
