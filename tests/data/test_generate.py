import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.ndimage import gaussian_filter, label

from nipype_group.data import generate as module
from nipype_group.data.generate import DEFAULT_SEED, generate
from nipype_group.data.studies import STUDIES

N_VOXELS = 69_765
NAME = re.compile(
    r"sub-\d+(_ses-\d)?_task-[a-z]+_space-MNI152NLin2009aSym(_contrast-[A-Za-z]+)?_stat-effect"
    r"(_desc-[A-Za-z]+)?_statmap\.nii\.gz"
)


def contents(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def maps(folder):
    return sorted(folder.glob("sub-*/**/func/*_statmap.nii.gz"))


def participants(folder):
    return pd.read_csv(folder / "participants.tsv", sep="\t")


def truth(folder):
    return pd.read_csv(folder / "truth.tsv", sep="\t")


@pytest.fixture(scope="module")
def association(tmp_path_factory):
    return generate("association", tmp_path_factory.mktemp("data") / "association")


@pytest.mark.parametrize("name", STUDIES)
def test_equal_seeds_give_equal_bytes(name, tmp_path):
    first, second = (generate(name, tmp_path / x, n_subjects=2) for x in "ab")
    other = generate(name, tmp_path / "c", n_subjects=2, seed=DEFAULT_SEED + 1)
    assert contents(first) == contents(second)
    # Who drops out when depends on the seed too.
    others = {path.name: path.read_bytes() for path in maps(other)}
    shared = [path for path in maps(first) if path.name in others]
    assert len(shared) == len(others) or STUDIES[name].dropout
    assert shared and all(path.read_bytes() != others[path.name] for path in shared)


@pytest.mark.parametrize("name", STUDIES)
def test_layout(name, tmp_path):
    folder = generate(name, tmp_path / name, n_subjects=2)
    files = maps(folder)
    sessions = [pd.read_csv(path, sep="\t") for path in folder.glob("sub-*/*_sessions.tsv")]
    assert len(sessions) == (2 if STUDIES[name].dropout else 0)
    visits = sum(map(len, sessions)) or 2
    assert len(files) == visits * len(STUDIES[name].conditions)
    assert all(NAME.fullmatch(path.name) for path in files)
    assert all(
        path.name.startswith("_".join(path.relative_to(folder).parts[:-2]) + "_") for path in files
    )
    description = json.loads((folder / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "nipype_group"
    assert participants(folder)["participant_id"].tolist() == ["sub-01", "sub-02"]
    # Neither a time nor a name in the gzip header.
    assert all(path.read_bytes()[3:8] == bytes(5) for path in files)


@pytest.mark.parametrize("name", STUDIES)
def test_maps_fill_the_brain_and_truth_lies_in_it(name, tmp_path):
    folder = generate(name, tmp_path / name, n_subjects=1)
    image = nib.load(maps(folder)[0])
    values = np.asarray(image.dataobj)
    assert image.shape == (67, 79, 64)
    assert image.get_data_dtype() == np.float32
    assert image.header.get_xyzt_units()[0] == "mm"
    assert np.count_nonzero(values) == N_VOXELS
    table = truth(folder)
    voxels = np.c_[table[["x", "y", "z"]], np.ones(len(table))] @ np.linalg.inv(image.affine).T
    np.testing.assert_allclose(voxels, voxels.round(), atol=1e-9)
    assert all(values[tuple(v)] for v in voxels[:, :3].round().astype(int))
    assert set(table["contrast"]) == {plant.contrast for plant in STUDIES[name].plants}


@pytest.mark.parametrize("name", STUDIES)
def test_noise_has_the_stated_spread_and_smoothness(name, tmp_path):
    study = STUDIES[name]
    folder = generate(name, tmp_path / name, n_subjects=1, null=True)
    values = np.asarray(nib.load(maps(folder)[0]).dataobj, dtype=float)
    mask = values != 0
    spread = np.hypot(study.noise_between, study.noise_within)
    assert values[mask].std() == pytest.approx(spread, rel=0.05)
    inside = mask[1:] & mask[:-1]
    correlation = np.corrcoef(values[1:][inside], values[:-1][inside])[0, 1]
    # Neighbours 3 mm apart in Gaussian noise: r = exp(-2 ln 2 d^2 / FWHM^2).
    fwhm_mm = 3 * np.sqrt(-2 * np.log(2) / np.log(correlation))
    assert 6 <= fwhm_mm <= 8


def test_association_has_94_subjects_and_5_scores_missing(association):
    table = participants(association)
    assert len(maps(association)) == len(table) == 94
    assert table["pseudo"].isna().sum() == 5
    # A model with age and score loses nobody more.
    assert len(table[["age", "sex", "pseudo"]].dropna()) == 89
    assert (association / "participants.tsv").read_text().count("n/a") == 6


@pytest.mark.parametrize(
    ("name", "subjects"),
    [
        ("paired_two_sample", 16),
        ("all_resolutions", 20),
        ("repeated_measures_anova", 16),
        ("longitudinal", 60),
    ],
)
def test_number_of_subjects(name, subjects):
    assert STUDIES[name].n_subjects == subjects


def test_repeated_measures_are_three_by_three():
    cells = STUDIES["repeated_measures_anova"].conditions
    assert len(set(cells)) == 9
    assert "facesPassive" in cells


@pytest.mark.parametrize("name", STUDIES)
def test_effect_in_truth_is_that_of_the_maps(name, tmp_path):
    """Noise does not depend on what is planted, so the difference is the signal alone."""
    study = STUDIES[name]
    signals = []
    with_effects, without = (
        generate(name, tmp_path / str(null), n_subjects=1, null=null) for null in (False, True)
    )
    for one, two in zip(maps(with_effects), maps(without), strict=True):
        image = nib.load(one)
        signals.append(image.get_fdata() - nib.load(two).get_fdata())
    for plant in study.plants:
        if plant.contrast in ("mean", "pseudo", "years", "groupByYears"):
            continue
        weights = np.array([plant.weights.get(c, 0.0) for c in sorted(study.conditions)])
        # The contrast that weights stand for has positive weights summing to 1 per comparison.
        contrast = weights / np.square(weights).sum()
        voxel = np.linalg.inv(image.affine) @ [*plant.xyz_mm, 1]
        found = sum(w * s[tuple(voxel[:3].round().astype(int))] for w, s in zip(contrast, signals))
        assert found == pytest.approx(plant.effect, abs=0.01)


def test_change_over_years_is_that_of_the_truth(tmp_path):
    with_effects, without = (
        generate("longitudinal", tmp_path / str(null), n_subjects=2, null=null)
        for null in (False, True)
    )
    groups = participants(with_effects).set_index("participant_id")["group"]
    assert groups.tolist() == ["control", "patient"]
    looked_at = 0
    for subject, group in groups.items():
        sessions = pd.read_csv(with_effects / subject / f"{subject}_sessions.tsv", sep="\t")
        assert 1 <= len(sessions) <= 4 and sessions["years"][0] == 0
        assert (np.abs(sessions["years"] - np.arange(len(sessions))) <= 0.25).all()
        for session, years in sessions.itertuples(index=False):
            one, other = (
                nib.load(next((folder / subject / session / "func").iterdir()))
                for folder in (with_effects, without)
            )
            signal = one.get_fdata() - other.get_fdata()
            for plant in STUDIES["longitudinal"].plants:
                if plant.contrast == "mean":
                    continue
                share = 1.0 if plant.contrast == "years" or group == "patient" else 0.0
                voxel = np.linalg.inv(one.affine) @ [*plant.xyz_mm, 1]
                found = signal[tuple(voxel[:3].round().astype(int))]
                assert found == pytest.approx(share * years * plant.effect, abs=0.01)
                looked_at += years > 0
    assert looked_at


def test_null_plants_nothing(tmp_path):
    folder = generate("association", tmp_path / "null", null=True, n_subjects=2)
    assert (folder / "truth.tsv").read_text() == "name\tx\ty\tz\teffect\tcontrast\n"
    assert len(truth(folder)) == 0


def test_a_subject_does_not_depend_on_the_number_of_subjects(tmp_path):
    few, more = (generate("all_resolutions", tmp_path / str(n), n_subjects=n) for n in (1, 3))
    assert maps(few)[0].read_bytes() == maps(more)[0].read_bytes()


def regress_on_score(folder):
    """Return t of the slope on the score by ordinary least squares, dof, mask and affine."""
    table = participants(folder).dropna(subset="pseudo")
    smoothed = []
    for subject in table["participant_id"]:
        image = nib.load(maps(folder)[int(subject[4:]) - 1])
        values = image.get_fdata()
        mask = values != 0
        sigma = 5 / np.sqrt(8 * np.log(2)) / 3
        weight = gaussian_filter(mask.astype(float), sigma)
        smoothed.append((gaussian_filter(values, sigma) / np.where(mask, weight, 1))[mask])
    data = np.array(smoothed)
    design = np.column_stack([np.ones(len(table)), table["pseudo"]])
    beta, rss, _, _ = np.linalg.lstsq(design, data)
    dof = len(table) - 2
    variance = rss / dof * np.linalg.inv(design.T @ design)[1, 1]
    return beta[1] / np.sqrt(variance), dof, mask, image.affine


def smallest_fdr(p):
    return (np.sort(p) * len(p) / np.arange(1, len(p) + 1)).min()


def test_association_is_recovered(association):
    t, dof, mask, affine = regress_on_score(association)
    volume = np.zeros(mask.shape)
    volume[mask] = t
    threshold = stats.t.isf(0.05 / N_VOXELS / 2, dof)
    clusters, _ = label(np.abs(volume) >= threshold, np.ones((3, 3, 3)))
    centres = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    found = []
    for row in truth(association).query("contrast == 'pseudo'").itertuples():
        distance = np.linalg.norm(centres - [row.x, row.y, row.z], axis=1)
        near = np.flatnonzero(distance <= 12)
        peak = near[np.argmax(np.sign(row.effect) * t[near])]
        assert distance[peak] <= 6
        assert np.sign(t[peak]) == np.sign(row.effect)
        assert 7 <= abs(t[peak]) <= 10
        found.append(clusters[mask][peak])
    assert 0 not in found
    assert len(set(found)) == len(found)
    # Nothing else survives.
    assert set(np.unique(clusters)) == {0, *found}


def test_null_association_has_no_result(tmp_path):
    t, dof, _, _ = regress_on_score(generate("association", tmp_path / "null", null=True))
    p = 2 * stats.t.sf(np.abs(t), dof)
    assert p.min() * N_VOXELS > 0.05
    assert smallest_fdr(p) > 0.05


def test_the_same_call_reuses_the_dataset(tmp_path):
    folder = generate("association", tmp_path / "data", n_subjects=1)
    before = [path.stat().st_mtime_ns for path in maps(folder)]
    assert generate("association", tmp_path / "data", n_subjects=1) == folder
    assert [path.stat().st_mtime_ns for path in maps(folder)] == before


@pytest.mark.parametrize("change", [{"seed": 2}, {"null": True}, {"n_subjects": 2}])
def test_another_dataset_is_refused(change, tmp_path):
    generate("association", tmp_path / "data", n_subjects=1)
    with pytest.raises(FileExistsError, match=r"holds something else.*choose another directory"):
        generate("association", tmp_path / "data", **{"n_subjects": 1, **change})


@pytest.mark.parametrize("file", ["notes.txt", "dataset_description.json"])
@pytest.mark.parametrize("text", ["[]", '{"Name": "mine"}', "no JSON"])
def test_a_foreign_folder_is_refused_and_kept(file, text, tmp_path):
    (tmp_path / file).write_text(text)
    with pytest.raises(FileExistsError, match=re.escape(str(tmp_path))):
        generate("association", tmp_path, n_subjects=1)
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "data").write_text("mine")
    with pytest.raises(FileExistsError, match="holds something else"):
        generate("association", tmp_path / "data", n_subjects=1)


def test_a_dataset_with_maps_missing_is_refused(tmp_path):
    folder = generate("association", tmp_path / "data", n_subjects=2)
    maps(folder)[1].unlink()
    with pytest.raises(
        FileExistsError, match=r"1 of its 2 maps are missing, the first is .*sub-02"
    ):
        generate("association", folder, n_subjects=2)


def test_an_empty_folder_is_filled(tmp_path):
    assert len(maps(generate("association", tmp_path, n_subjects=1))) == 1


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_run_leaves_nothing(error, tmp_path, monkeypatch):
    write, calls = module._Brain.write, []

    def fail_on_the_second(brain, path, values):
        calls.append(path)
        if len(calls) == 2:
            raise error
        write(brain, path, values)

    monkeypatch.setattr(module._Brain, "write", fail_on_the_second)
    with pytest.raises(type(error)):
        generate("association", tmp_path / "data", n_subjects=3)
    # Others may be at work when one fails.
    assert len(calls) in (2, 3)
    assert list(tmp_path.iterdir()) == []


def test_two_runs_at_once_agree(tmp_path, monkeypatch):
    write_maps, target = module._write_maps, tmp_path / "data"

    def while_another_run_is_faster(folder, *rest):
        monkeypatch.setattr(module, "_write_maps", write_maps)
        generate("association", target, n_subjects=1)
        write_maps(folder, *rest)

    monkeypatch.setattr(module, "_write_maps", while_another_run_is_faster)
    assert generate("association", target, n_subjects=1) == target
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("reading", {}, "no demonstration data 'reading'; choose one of association"),
        ("association", {"seed": -1}, r"a seed of 0 or more"),
        ("association", {"n_subjects": 0}, r"got seed .* and 0 subjects"),
    ],
)
def test_wrong_arguments(name, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        generate(name, tmp_path / "data", **options)
    assert list(tmp_path.iterdir()) == []
