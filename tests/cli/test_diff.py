"""``nipype-group diff``: nothing where nothing differs, and each kind of difference."""

import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

STEM = "task-rest_space-MNI"
T_MAP = f"{STEM}_contrast-age_stat-t_statmap.nii.gz"


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory):
    """Give a folder that holds one finished run for all tests."""
    return tmp_path_factory.mktemp("run") / "out"


@pytest.fixture
def first(analyse, kept_run, tmp_path):
    """Give the results of a small analysis."""
    if not kept_run.exists():
        code, _, err = analyse("--no-regions", out=kept_run)
        assert code == 0, err
    shutil.copytree(kept_run, tmp_path / "first")
    return tmp_path / "first"


@pytest.fixture
def second(first, tmp_path):
    """Give the same results in another folder."""
    return shutil.copytree(first, tmp_path / "second")


def sidecar(top):
    return top / "group" / T_MAP.replace(".nii.gz", ".json")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_table(path, change):
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    change(table).to_csv(path, sep="\t", index=False)


def test_the_same_results_differ_in_nothing(command, first, second):
    assert command("diff", first, second) == (0, "", "")
    assert command("diff", first / "group", second)[0] == 0


def test_two_runs_of_the_same_differ_in_nothing(command, analyse, first, tmp_path):
    # Another folder, plugin and number of processes.
    more = ("--no-regions", "--plugin", "MultiProc", "--n-procs", "2")
    assert analyse(*more, out=tmp_path / "again")[0] == 0
    assert command("diff", first, tmp_path / "again") == (0, "", "")


def test_two_analyses_differ_in_all_that_they_should(command, analyse, first, tmp_path):
    more = ("--no-regions", "--alpha", "0.01", "--smooth", "6", "--contrast", "score=score")
    code, _, err = analyse(*more, out=tmp_path / "other", model=("--formula", "age + score"))
    assert code == 0, err
    report = tmp_path / "diff.json"
    code, text, _ = command("diff", first, tmp_path / "other", "--json", report)
    assert code == 1
    found = json.loads(report.read_text())
    assert found["Parameters"]["alpha"] == [0.05, 0.01]
    assert found["Parameters"]["formula"] == ["age", "age + score"]
    assert found["Parameters"]["smoothing_fwhm_mm"] == [[], [6.0]]
    # The participant without a score is out.
    assert found["Inputs"]["OnlyFirst"] == [f"sub-04/sub-04_{STEM}_stat-effect_statmap.nii.gz"]
    assert found["Excluded"]["OnlySecond"][0].endswith("n/a in score")
    assert found["Design"]["OnlySecond"] == ["score"]
    assert found["Design"]["Rows"] == [12, 11]
    assert found["Design"]["DegreesOfFreedom"] == [10, 8]
    assert found["Contrasts"] == {"OnlyFirst": ["age"], "OnlySecond": ["score"]}
    assert any("contrast-age_" in name for name in found["OnlyFirst"])
    assert any("contrast-score_" in name for name in found["OnlySecond"])
    assert "Versions" not in found
    assert "  alpha: 0.05 -> 0.01" in text
    assert "Inputs\n  only in the first: sub-04/" in text
    assert "  DegreesOfFreedom: 10 -> 8" in text


def test_voxels_are_counted_and_measured(command, first, second):
    path = second / "group" / T_MAP
    image = nib.load(path)
    before = image.get_fdata(dtype=np.float32).copy()
    after = before.copy()
    after[4, 5, 3] += 2
    after[1, 1, 1] -= 0.25
    nib.save(nib.Nifti1Image(after, None, image.header), path)
    code, text, _ = command("diff", first, second)
    held = (before != 0) | (after != 0)
    r = np.corrcoef(before[held], after[held])[0, 1]
    assert (code, text) == (
        1,
        f"Maps that differ\n  {T_MAP}: 2 voxels, by up to 2, r {r:.4f}\n",
    )


def test_a_changed_input_is_told_by_its_content(command, first, second):
    def change(table):
        table.loc[2, "sha256"] = "0" * 64
        return table

    edit_table(second / "group" / f"{STEM}_observations.tsv", change)
    code, text, _ = command("diff", first, second)
    assert code == 1
    assert f"Inputs\n  changed: sub-03/sub-03_{STEM}_stat-effect_statmap.nii.gz\n" in text
    assert "Tables that differ" in text


def test_another_order_and_other_covariates_are_told(command, first, second):
    def change(table):
        table.loc[4, "age"] = "99"
        return table.iloc[::-1]

    edit_table(second / "group" / f"{STEM}_observations.tsv", change)
    _, text, _ = command("diff", first, second)
    assert "  the maps come in another order\n" in text
    assert "  age: sub-05 34.5455 -> 99\n" in text


def test_a_renamed_map_is_no_other_map(command, first, second):
    def change(table):
        table["map"] = table["map"].str.replace("sub-01/", "first/")
        return table

    edit_table(second / "group" / f"{STEM}_observations.tsv", change)
    _, text, _ = command("diff", first, second)
    name = f"sub-01_{STEM}_stat-effect_statmap.nii.gz"
    assert f"  renamed: sub-01/{name} -> first/{name}\n" in text
    assert "only in" not in text.partition("Tables that differ")[0]


def test_versions_are_told_once(command, first, second):
    for path in (second / "group").glob("*.json"):
        content = json.loads(path.read_text())
        if "SoftwareVersions" in content:
            edit(path, SoftwareVersions=content["SoftwareVersions"] | {"numpy": "1.0"})
    code, text, _ = command("diff", first, second)
    assert code == 1
    (line,) = text.splitlines()[1:]
    assert text.startswith("Versions\n  numpy: ")
    assert line.endswith(" -> 1.0")


def test_versions_in_the_report_are_no_other_difference(command, first, second):
    (report,) = (second / "group").glob("*_report.html")
    text = report.read_text()
    version = json.loads(sidecar(second).read_text())["SoftwareVersions"]["nipype_group"]
    assert text.count(f"nipype_group {version}") > 0
    report.write_text(text.replace(f"nipype_group {version}", "nipype_group 77.0"))
    assert command("diff", first, second) == (0, "", "")


def test_rounding_is_told_apart_with_its_likely_cause(command, first, second):
    path = second / "group" / T_MAP
    image = nib.load(path)
    values = image.get_fdata(dtype=np.float32)
    moved = values * np.float32(1 + 3e-7)
    nib.save(nib.Nifti1Image(moved, None, image.header), path)
    heading = (
        "Files that are equal but for rounding: survivors, clusters, peaks and decisions in them "
        "are the same\n"
    )
    code, text, _ = command("diff", first, second)
    assert code == 1
    assert text.startswith(f"{heading}  {T_MAP}: ")
    assert text.endswith(" of their size\n")
    record = json.loads((second / "provenance.json").read_text())
    edit(second / "provenance.json", Processor={**record["Processor"], "NumbaTarget": "katmai"})
    text = command("diff", first, second)[1]
    assert text.startswith(heading)
    told = f"target of numba {record['Processor']['NumbaTarget']} -> katmai"
    assert text.endswith(f"Likely cause, another processor or BLAS\n  {told}\n")
    # Of other parameters results are to differ on one processor as well.
    edit(second / "provenance.json", Settings={**record["Settings"], "viewer": True})
    assert "Likely cause" not in command("diff", first, second)[1]
    shutil.copy(first / "group" / T_MAP, path)
    edit(second / "provenance.json", Settings=record["Settings"])
    assert command("diff", first, second) == (0, "", "")


def test_one_survivor_more_is_no_rounding(command, first, second):
    (path,) = (second / "group").glob("*_stat-z_desc-fdrBHBoth_statmap.nii.gz")
    image = nib.load(path)
    values = image.get_fdata(dtype=np.float32).copy()
    values[tuple(np.argwhere(values == 0)[100])] = 1e-7
    nib.save(nib.Nifti1Image(values, None, image.header), path)
    text = command("diff", first, second)[1]
    assert text.startswith(f"Maps that differ\n  {path.name}: 1 voxels, by up to 1e-07")


def test_settings_that_sidecars_leave_out_are_told(command, first, second):
    record = second / "provenance.json"
    settings = json.loads(record.read_text())["Settings"]
    edit(record, Settings=settings | {"viewer": True, "n_shards": 7})
    _, text, _ = command("diff", first, second)
    assert text == "Parameters\n  viewer: false -> true\n"


def test_another_atlas_or_table_is_told(command, first, second):
    record = second / "provenance.json"
    inputs = json.loads(record.read_text())["Inputs"]
    for item in inputs:
        if item["Role"] == "participants":
            item["SHA256"] = "0" * 64
    edit(record, Inputs=inputs)
    _, text, _ = command("diff", first, second)
    assert text == (
        "Inputs\n  participants: participants.tsv -> participants.tsv, other content\n"
    )


def test_contrasts_of_one_name_and_another_sense_are_told(command, analyse, first, tmp_path):
    more = ("--no-regions", "--contrast", "age=2 * age")
    assert analyse(*more, out=tmp_path / "other")[0] == 0
    _, text, _ = command("diff", first, tmp_path / "other")
    assert "Contrasts\n  age: age -> 2 * age\n" in text


def test_other_weights_of_one_expression_are_told(command, first, second):
    (path,) = (second / "group").glob("*_contrasts.json")
    (contrast,) = json.loads(path.read_text())["Contrasts"]
    edit(path, Contrasts=[contrast | {"Weights": [[0.5, 1.0]]}])
    _, text, _ = command("diff", first, second)
    assert "Contrasts\n  age: weights 1 age -> weights 0.5 intercept, 1 age\n" in text


def test_a_column_of_no_weight_makes_no_other_contrast(command, first, second):
    (path,) = (second / "group").glob("*_contrasts.json")
    (contrast,) = json.loads(path.read_text())["Contrasts"]
    columns = ["intercept", "score", "age"]
    edit(path, Columns=columns, Contrasts=[contrast | {"Weights": [[0.0, 0.0, 1.0]]}])
    assert "Contrasts\n" not in command("diff", first, second)[1]


def test_masks_are_counted_alone(command, first, second):
    path = second / "group" / f"{STEM}_desc-group_mask.nii.gz"
    image = nib.load(path)
    values = np.asanyarray(image.dataobj).copy()
    values[0, 0, :3] = 1 - values[0, 0, :3]
    nib.save(nib.Nifti1Image(values, None, image.header), path)
    _, text, _ = command("diff", first, second)
    assert text == f"Maps that differ\n  {path.name}: 3 voxels\n"


def test_files_are_paired_without_an_entity_of_one_run(command, first, second):
    for path in [p for p in (second / "group").rglob("*_space-MNI*") if p.is_file()]:
        path.rename(path.with_name(path.name.replace("_space-MNI", "")))
    told = "Entities in the names of one run alone\n  space: MNI -> n/a\n"
    assert command("diff", first, second) == (1, told, "")
    name = T_MAP.replace("_space-MNI", "")
    (second / "group" / name).unlink()
    assert command("diff", first, second)[1] == f"{told}Files only in the first\n  {T_MAP}\n"
    assert command("diff", second, first)[1].endswith(f"Files only in the second\n  {T_MAP}\n")


def test_files_of_one_run_alone_are_named(command, first, second):
    (second / "group" / T_MAP).unlink()
    code, text, _ = command("diff", first, second)
    assert (code, text) == (1, f"Files only in the first\n  {T_MAP}\n")
    code, text, _ = command("diff", second, first)
    assert (code, text) == (1, f"Files only in the second\n  {T_MAP}\n")


def test_rows_of_tables_are_counted(command, first, second):
    (path,) = (second / "group").glob("*_desc-fdrBHBoth_peaks.tsv")
    lines = path.read_text().splitlines()
    assert len(lines) > 1
    path.write_text("\n".join(lines[:1]) + "\n")
    n = len(lines) - 1
    _, text, _ = command("diff", first, second)
    assert f"{path.name}: {n} -> 0 rows, {n} only in the first, 0 only in the second" in text


def test_what_is_no_result_is_trouble(command, first, tmp_path):
    (tmp_path / "empty").mkdir()
    for place in ("nowhere", "empty"):
        code, out, err = command("diff", first, tmp_path / place)
        assert (code, out) == (2, "")
        assert str(tmp_path / place) in err
    code, _, err = command("diff", first, first, "--json", tmp_path / "no" / "x.json")
    assert code == 2


def test_sidecars_are_told_where_they_differ_by_themselves(command, first, second):
    edit(sidecar(second), Description="other")
    _, text, _ = command("diff", first, second)
    assert text == (
        f"Others that differ\n  {sidecar(second).name}: Description: t statistic -> other\n"
    )
