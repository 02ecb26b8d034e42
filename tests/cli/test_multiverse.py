"""Alternatives of an analysis, run together."""

import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.cli import run as run_module
from nipype_group.cli.main import main
from nipype_group.interfaces import StackMaps
from nipype_group.reporting.records.record import PROVENANCE_NAME
from nipype_group.reporting.records.ro_crate import CRATE_NAME
from nipype_group.settings.alternatives import COLUMNS

SHAPE = (9, 10, 8)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
FIRST = {
    "smoothing_fwhm_mm": [4, 6],
    "exclude": [[], ["fd > 0.5"]],
    "height_controls": ["fdr", "bonferroni"],
}
# Fewer smoothings, another rule, and the correction that stays.
EDITED = {"smoothing_fwhm_mm": [4], "exclude": [[], ["fd > 0.5"], ["sub-01"]]}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Twelve maps of which two move; a table with age and movement."""
    folder = tmp_path_factory.mktemp("multiverse")
    rng = np.random.default_rng(4)
    age, rows = rng.permutation(np.linspace(20, 60, 12)), []
    for i in range(12):
        values = rng.standard_normal(SHAPE).astype(np.float32) + 3
        values[3:6, 4:7, 2:5] += 0.08 * (age[i] - 40)
        path = folder / f"sub-{i + 1:02d}.nii"
        nib.save(nib.Nifti1Image(values, AFFINE), path)
        rows.append((f"sub-{i + 1:02d}", f"{age[i]:.2f}", 0.9 if i in (3, 8) else 0.1, path))
    # The middle, where age has an effect, and two regions beside it.
    labels = np.zeros(SHAPE, np.uint8)
    labels[:3], labels[3:6, 4:7, 2:5], labels[6:] = 1, 2, 3
    nib.save(nib.Nifti1Image(labels, AFFINE), folder / "parts.nii.gz")
    (folder / "parts.csv").write_text("index,name\n1,left\n2,middle\n3,right\n")
    table = pd.DataFrame(rows, columns=["participant_id", "age", "fd", "map"])
    table.to_csv(folder / "maps.tsv", sep="\t", index=False)
    return folder


def settings_file(folder, alternatives):
    content = {"formula": "age", "contrasts": ["age=age"], "seed": 5, "height_controls": ["fdr"]}
    content |= {"alternatives": alternatives}
    path = folder / "multiverse.json"
    path.write_text(json.dumps(content))
    return path


def run_multiverse(folder, out, alternatives, *more):
    """Run the command without figures; return the folder of the results."""
    path = settings_file(folder, alternatives)
    maps = ("--maps", folder / "maps.tsv", "--settings", path, "--permutations", "99")
    maps += ("--atlas", folder / "parts.nii.gz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "can_draw", lambda: False)
        code = main(["multiverse", *map(str, (folder / out, *maps, *more))])
    assert code == 0
    return folder / out / "multiverse"


@pytest.fixture(scope="module")
def first(study):
    return run_multiverse(study, "first", FIRST, "--plugin", "Linear")


def test_alternatives_are_those_of_runs_alone(first, study):
    """Each is as the command run gives it with the settings that are recorded."""
    rows = pd.read_csv(first / "alternatives.tsv", sep="\t")
    assert rows["maps"].tolist() == [12, 12, 10, 10] * 2
    assert rows["statistic_of"].tolist() == [1, 1, 3, 3, 5, 5, 7, 7]
    assert set(rows) - set(COLUMNS) == set(FIRST)
    number = 6
    recorded = json.loads((first / "alternatives.json").read_text())["Alternatives"][number]
    assert recorded["Name"] == rows.iloc[number][["smoothing_fwhm_mm", "exclude"]].pipe(
        lambda row: f"smoothing_fwhm_mm {row.iloc[0]}, exclude {row.iloc[1]}, height_controls fdr"
    )
    path = study / "one.json"
    path.write_text(json.dumps(recorded["Settings"] | {"n_permutations": 0}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "can_draw", lambda: False)
        maps = ("--maps", str(study / "maps.tsv"), "--settings", str(path))
        maps += ("--also-write", "region-values")
        assert main(["run", str(study / "one"), *maps, "--plugin", "Linear"]) == 0
    group = study / "one" / "group"
    z = nib.load(group / "contrast-age_stat-z_statmap.nii.gz").get_fdata()
    effect = nib.load(group / "contrast-age_stat-effect_statmap.nii.gz").get_fdata()
    survivors = nib.load(next(group.glob("*stat-z_desc-fdrBH*_statmap.nii.gz"))).get_fdata()
    assert (survivors != 0).sum() == rows["survivors"][number] > 0
    assert np.abs(z).max() == pytest.approx(abs(rows["peak_zscore"][number]), rel=1e-9)
    curves = pd.read_csv(first / "curves.tsv", sep="\t")
    (peak,) = curves.query(
        "number == @number + 1 and of == 'peak' and place == 'cluster 1'"
    ).to_dict("records")
    voxel = tuple(int(v) for v in np.array([peak["x"], peak["y"], peak["z"]]) / 3)
    assert effect[voxel] == pytest.approx(peak["effect"], rel=1e-9)
    assert z[voxel] == pytest.approx(peak["zscore"], rel=1e-9)
    assert peak["lower"] < peak["effect"] < peak["upper"]
    check_regions(first, group, number + 1)


def check_regions(folder, group, number):
    """Regions are as a run alone has them, and as a regression of their means in it."""
    found = pd.read_csv(folder / "regions.tsv", sep="\t").query("number == @number")
    own = pd.read_csv(group / "contrast-age_desc-model_regions.tsv", sep="\t")
    assert found["name"].tolist() == own["name"].tolist() == ["left", "middle", "right"]
    for name, of_run in (("effect",) * 2, ("stat",) * 2, ("p_unc",) * 2, ("p_corrected", "p_fdr")):
        assert found[name].tolist() == own[of_run].tolist()
    assert (found["dof"] == 8).all() and (found["correction"] == "fdr").all()
    values = pd.read_csv(group / "desc-parts_regionvalues.tsv", sep="\t")
    age = pd.read_csv(group / "observations.tsv", sep="\t")["age"]
    for row in found.to_dict("records"):
        line = stats.linregress(age, values[row["name"]])
        half = stats.t.ppf(0.975, 8) * line.stderr
        expected = (line.slope, line.slope - half, line.slope + half, line.pvalue)
        told = [row[name] for name in ("effect", "lower", "upper", "p_unc")]
        assert told == pytest.approx(expected, rel=2e-5)


def test_regions_are_told_in_all_alternatives(first):
    table = pd.read_csv(first / "regions.tsv", sep="\t")
    assert len(table) == 3 * 8
    assert table["correction"].tolist() == ["fdr", "bonferroni"] * 12
    middle = table[table["name"] == "middle"]
    assert middle["number"].tolist() == list(range(1, 9))
    assert (middle["survives_in"] == 8).all() and (middle["tested_in"] == 8).all()
    # Corrections share a model, whose means have another p by each.
    assert (
        middle["p_unc"][middle.index[::2]].tolist() == middle["p_unc"][middle.index[1::2]].tolist()
    )
    # Three regions: Bonferroni's p is three times as large, whatever the others are.
    bonferroni = table[table["correction"] == "bonferroni"]
    assert bonferroni["p_corrected"].to_numpy() == pytest.approx(
        np.minimum(3 * bonferroni["p_unc"], 1), rel=1e-5
    )
    page = (first / "multiverse.html").read_text()
    assert "Of the regions that survive in any alternative" in page and "8 of 8" in page


def test_counts_and_p_over_all_add_up(first):
    rows = pd.read_csv(first / "alternatives.tsv", sep="\t")
    counts = {
        desc: nib.load(first / f"contrast-age_stat-count_desc-{desc}_statmap.nii.gz").get_fdata()
        for desc in ("own", "multiverse")
    }
    assert counts["own"].sum() == rows["survivors"].sum() > 0
    assert counts["multiverse"].sum() == rows["survivors_multiverse"].sum() > 0
    assert counts["own"].max() <= len(rows)
    maps = sorted(first.glob("*stat-logp_desc-multiverseFWE_statmap.nii.gz"))
    assert len(maps) == 4
    for path, number in zip(maps, (0, 2, 4, 6), strict=True):
        p = 10 ** -nib.load(path).get_fdata().max()
        assert p == pytest.approx(rows["p_multiverse"][number], rel=1e-4)
        assert p >= rows["p_alone"][number] >= 0.01
        assert (nib.load(path).get_fdata() >= -np.log10(0.05) - 1e-6).sum() == rows[
            "survivors_multiverse"
        ][number]


def contents(folder):
    """Return the bytes of tables and maps; records tell places too."""
    return {
        path.name: path.read_bytes()
        for path in sorted(Path(folder).iterdir())
        if path.suffix != ".html" and path.name not in (PROVENANCE_NAME, CRATE_NAME)
    }


def test_an_edit_is_a_fresh_run_whatever_plugin_and_shards(first, study):
    again = contents(run_multiverse(study, "first", EDITED, "--plugin", "Linear"))
    how = ("--plugin", "MultiProc", "--n-procs", "2", "--shards", "3")
    fresh = contents(run_multiverse(study, "fresh", EDITED, *how))
    # The number of shards is a setting, and no result.
    for content in (again, fresh):
        told = json.loads(content["alternatives.json"])
        for one in told["Alternatives"]:
            one["Settings"].pop("n_shards", None)
        content["alternatives.json"] = told
    assert again == fresh
    assert len(pd.read_csv(study / "first" / "multiverse" / "alternatives.tsv", sep="\t")) == 3


@pytest.mark.parametrize(
    ("alternatives", "more", "said"),
    [
        ({"formula": ["age", "iq"]}, (), "multiverse.json, formula iq: .*iq"),
        ({"estimator": ["OLS", "hubber"]}, (), "estimator hubber: .*hubber"),
        ({"exclude": [[], ["speed > 1"]]}, (), "exclude speed > 1: .*no column speed"),
        (FIRST, ("--smooth", "8"), "--smooth goes before the file, and .* varies smoothing_fwhm"),
    ],
)
def test_what_cannot_be_is_named_by_its_choices(study, capsys, alternatives, more, said):
    path = settings_file(study, alternatives)
    arguments = ("multiverse", study / "bad", "--maps", study / "maps.tsv", "--settings", path)
    assert main([*map(str, arguments), *more]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert re.search(said, error), error
    assert not (study / "bad").exists()


FEW = {"smoothing_fwhm_mm": [4, 6]}
FAST = ("--plugin", "Linear", "--no-regions", "--permutations", "9")


def test_a_map_that_changes_while_they_run_leaves_what_was_there(study, monkeypatch, capsys):
    """Nodes may have read either content, which no node that is done may tell later."""
    before = contents(run_multiverse(study, "changed", FEW, *FAST))
    path = study / "sub-05.nii"
    kept, collect = path.read_bytes(), StackMaps._run_interface
    other = nib.Nifti1Image(nib.load(path).get_fdata(dtype=np.float32) + 1, AFFINE).to_bytes()
    times = iter(range(100))

    def change(self, runtime):
        if next(times) == 0:
            path.write_bytes(other)
        return collect(self, runtime)

    # A smoothing that no node has made yet.
    edited = {"smoothing_fwhm_mm": [4, 5]}
    with monkeypatch.context() as patch:
        patch.setattr(StackMaps, "_run_interface", change)
        with pytest.raises(AssertionError):
            run_multiverse(study, "changed", edited, *FAST)
    err = capsys.readouterr().err
    assert "inputs changed while the run lasted" in err and "sub-05.nii" in err
    assert contents(study / "changed" / "multiverse") == before
    path.write_bytes(kept)
    again = contents(run_multiverse(study, "changed", edited, *FAST))
    assert again == contents(run_multiverse(study, "unchanged", edited, *FAST))


def test_files_of_others_stay_and_are_not_followed(study, capsys):
    folder = run_multiverse(study, "own", FEW, *FAST)
    (folder / "notes.txt").write_text("mine")
    (folder / "p.tsv").symlink_to(study / "maps.tsv")
    # What an earlier run wrote, and this one does not, goes.
    assert any("alternative-001" in name for name in contents(folder))
    run_multiverse(study, "own", FEW, "--plugin", "Linear", "--no-regions", "--permutations", "0")
    assert (folder / "notes.txt").read_text() == "mine" and (folder / "p.tsv").is_symlink()
    assert not any("alternative-001" in name for name in contents(folder))
    assert not list(folder.parent.glob(".multiverse*"))
    (study / "link").mkdir()
    (study / "link" / "multiverse").symlink_to(folder)
    with pytest.raises(AssertionError):
        run_multiverse(study, "link", FEW, *FAST)
    assert "is a link" in capsys.readouterr().err


def test_a_file_with_the_name_of_a_result_is_not_written_over(study, capsys):
    folder = run_multiverse(study, "clash", FEW, "--plugin", "Linear", "--no-regions")
    recorded = json.loads((folder / "alternatives.json").read_text())
    recorded["Files"].remove("curves.tsv")
    (folder / "alternatives.json").write_text(json.dumps(recorded))
    with pytest.raises(AssertionError):
        run_multiverse(study, "clash", FEW, "--plugin", "Linear", "--no-regions")
    assert "curves.tsv was not written by a run" in capsys.readouterr().err


def test_the_stored_cost_is_what_is_said():
    docs = Path(__file__).parents[2] / "docs"
    content = json.loads((docs / "multiverse_cost.json").read_text())
    assert content["times_one_analysis"] < content["promise"] == 8
    assert (
        f"{content['times_one_analysis']} times as much" in (docs / "multiverse.rst").read_text()
    )


def test_a_replay_makes_all_again_and_diff_tells_what_differs(first, study, capsys, tmp_path):
    """Where the results lie, and what of the data set has come since, does not matter."""
    place = tmp_path / "deep" / "moved"
    shutil.copytree(first, place / "multiverse")
    record = json.loads((place / "multiverse" / PROVENANCE_NAME).read_text())
    assert all(one["Inputs"] == list(range(15)) for one in record["Alternatives"])
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "can_draw", lambda: False)
        command = ("replay", str(place), "--inputs", str(study), "--plugin", "Linear")
        assert main([*command]) == 0
    said = capsys.readouterr().out
    assert "15 inputs are what they were" in said
    assert f"{len(record['Outputs'])} of {len(record['Outputs'])} files are equal" in said
    crate = json.loads((first / CRATE_NAME).read_text())["@graph"]
    described = {entity["@id"]: entity for entity in crate}
    assert described["#alternative-3"]["value"] == record["Alternatives"][2]["Name"]
    assert "#setting-formula" in described and "#setting-exclude" not in described
    assert main(["diff", str(place), str(first)]) == 0
    # One voxel more of a count is found.
    path = place / "multiverse" / "contrast-age_stat-count_desc-own_statmap.nii.gz"
    image = nib.load(path)
    values = np.asanyarray(image.dataobj).copy()
    values[0, 0, 0] += 1
    nib.save(nib.Nifti1Image(values, image.affine, image.header), path)
    for name in ("Name", "Choices"):
        record["Alternatives"][0][name] = json.loads(
            json.dumps(record["Alternatives"][0][name]).replace("4", "5")
        )
    (place / "multiverse" / PROVENANCE_NAME).write_text(json.dumps(record))
    assert main(["diff", str(place / "multiverse"), str(first)]) == 1
    said = capsys.readouterr().out
    assert "only in the first: smoothing_fwhm_mm 5, exclude none" in said
    assert f"{path.name}: 1 voxel" in said
    assert main(["diff", str(place), str(study / "one")]) == 2
    assert "compare alternatives with alternatives" in capsys.readouterr().err


def test_a_record_that_leads_astray_is_refused(first, tmp_path, capsys):
    shutil.copytree(first, tmp_path / "multiverse")
    path = tmp_path / "multiverse" / PROVENANCE_NAME
    record = json.loads(path.read_text())
    record["Alternatives"][1]["Inputs"] = [0, 99]
    path.write_text(json.dumps(record))
    command = ("replay", str(tmp_path), "--inputs", str(first.parents[1]), "--plugin", "Linear")
    assert main([*command]) == 1
    assert "names Inputs of smoothing_fwhm_mm 4" in capsys.readouterr().err
    record["Outputs"]["../../secret"] = "0"
    path.write_text(json.dumps(record))
    assert main([*command]) == 1
    assert "secret" in capsys.readouterr().err


def test_alternatives_of_other_maps_are_not_replaced_unasked(study, tmp_path, capsys):
    folder = run_multiverse(study, "replaced", FEW, *FAST)
    other = tmp_path / "other"
    other.mkdir()
    for path in (*study.glob("sub-*.nii"), *study.glob("parts.*")):
        image = nib.load(path) if path.suffix == ".nii" else None
        if image is None:
            shutil.copy(path, other)
        else:
            values = np.flip(np.asanyarray(image.dataobj), 1)
            nib.save(nib.Nifti1Image(values, AFFINE), other / path.name)
    table = (study / "maps.tsv").read_text().replace(str(study), str(other))
    (other / "maps.tsv").write_text(table)
    before = contents(folder)
    with pytest.raises(AssertionError):
        run_multiverse(other, str(study / "replaced"), FEW, *FAST)
    assert "results of another selection of maps" in capsys.readouterr().err
    assert contents(folder) == before
    run_multiverse(other, str(study / "replaced"), FEW, *FAST, "--replace")
    assert contents(folder) != before
