"""GroupDerivatives: names, sidecars, types, and a folder that is never half-written."""

import json
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nipype_group.execution import run_workflow
from nipype_group.interfaces import GroupDerivatives
from nipype_group.interfaces import derivatives as derivatives_module
from nipype_group.reporting.page.report import write_report
from nipype_group.reporting.records.watch import InputsChangedError, InputWatch
from nipype_group.workflows import AnalysisSettings, init_group_wf

SETTINGS = AnalysisSettings(
    contrasts=("age=age", "age and group=age; patient - control"),
    formula="age + C(group)",
    height_controls=("fdr",),
    n_permutations=60,
    seed=4,
    figures=False,
    also_write=("all",),
)
PREFIX = "task-rest_space-MNI"
STATS = {
    "age": ["cohensD", "effect", "p", "t", "variance", "z"],
    "ageAndGroup": ["F", "effect", "p", "rSquare", "variance", "z"],
}


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """Run an analysis; return the inputs of GroupDerivatives."""
    rng = np.random.default_rng(2)
    folder = tmp_path_factory.mktemp("study")
    rows = ["participant_id\tage\tgroup"]
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    for i in range(10):
        name = f"sub-{i}_{PREFIX}_stat-effect_statmap.nii.gz"
        values = rng.standard_normal((7, 6, 5)).astype(np.float32)
        values[3, 3, 2] += i
        nib.save(nib.Nifti1Image(values, affine), folder / name)
        rows.append(f"sub-{i}\t{20 + i * 3}\t{'patient' if i % 2 else 'control'}")
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    halves = (1 + (np.indices((7, 6, 5))[0] > 3)).astype(np.uint8)
    nib.save(nib.Nifti1Image(halves, affine), folder / "halves.nii.gz")
    (folder / "halves.csv").write_text("index,name\n1,one\n2,two\n")
    settings = SETTINGS.__class__(
        **{**SETTINGS.__dict__, "atlases": (str(folder / "halves.nii.gz"),)}
    )
    workflow = init_group_wf(settings=settings)
    workflow.inputs.inputnode.trait_set(
        bids_dir=str(folder), select=["stat=effect"], output_dir=str(folder / "first")
    )
    result = run_workflow(workflow, work_dir=folder / "work", plugin="Linear")
    keep = next(node for node in result.graph.nodes if node.name == "keep")
    return {k: v for k, v in keep.inputs.get_traitsfree().items() if k != "output_dir"}


@pytest.fixture
def keep(analysed, tmp_path, monkeypatch):
    """Return a function that writes the derivatives into a folder."""
    monkeypatch.chdir(tmp_path)

    def run(output_dir=tmp_path / "out", **changes):
        outputs = GroupDerivatives(output_dir=str(output_dir), **{**analysed, **changes}).run()
        return Path(output_dir) / "group", outputs.outputs

    return run


def content_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_maps_of_every_contrast_have_their_names(keep):
    group, outputs = keep()
    for contrast, stats in STATS.items():
        names = [f"{PREFIX}_contrast-{contrast}_stat-{s}_statmap" for s in stats]
        for name in names:
            assert (group / f"{name}.nii.gz").is_file()
            assert (group / f"{name}.json").is_file()
    tables = [
        f"{PREFIX}_contrast-{contrast}_desc-{desc}_{table}"
        for contrast, desc in (
            ("age", "fdrBHBoth"),
            ("ageAndGroup", "fdrBH"),
            ("age", "permVoxelFWEBoth"),
        )
        for table in ("clusters.tsv", "peaks.tsv", "labels.tsv", "clusters.json")
    ]
    others = ["observations.tsv", "excluded.tsv", "design.tsv", "contrasts.json"]
    for name in [*tables, *(f"{PREFIX}_{o}" for o in others)]:
        assert (group / name).is_file(), name
    assert {Path(p) for p in outputs.out_files} == {
        p for p in group.parent.rglob("*") if p.is_file()
    }


def test_contrasts_tell_what_they_detect(keep, analysed):
    group, _ = keep(parameters=json.dumps({"alpha": 0.01, "tail": "positive"}))
    asked = json.loads(Path(analysed["contrasts_file"]).read_text())
    told = json.loads((group / f"{PREFIX}_contrasts.json").read_text())
    assert told["Columns"] == asked["Columns"]
    n_voxels = int((nib.load(analysed["mask_file"]).get_fdata() > 0).sum())
    effects = [entry["DetectableEffect"] for entry in told["Contrasts"]]
    for entry, given in zip(told["Contrasts"], asked["Contrasts"], strict=True):
        assert given.items() <= entry.items()
        assert entry["Efficiency"] > 0 and entry["RelativeEfficiency"] > 0
    assert [e["Measure"] for e in effects] == ["Cohen's d", "Cohen's f"]
    assert {e["Tail"] for e in effects} == {"positive"}
    assert {e["Alpha"] for e in effects} == {0.01}
    assert {e["NumberOfVoxels"] for e in effects} == {n_voxels}
    page = next(group.glob("*report.html")).read_text()
    assert "Efficiency and detectable effects" in page
    assert "Variance inflation" in page


def test_a_folder_of_an_older_version_has_its_page(keep):
    group, _ = keep()
    for name, keys in (
        ("contrasts", ("Efficiency", "RelativeEfficiency", "DetectableEffect")),
        ("design", ("Confounded", "VarianceInflation", "GeneralizedVarianceInflation")),
    ):
        path = group / f"{PREFIX}_{name}.json"
        content = json.loads(path.read_text())
        for entry in content.get("Contrasts", [content]):
            for key in keys:
                del entry[key]
        path.write_text(json.dumps(content))
    page = Path(write_report(group)).read_text()
    assert "Condition number" in page
    assert "Efficiency and detectable effects" not in page


def test_maps_are_float32_with_intent(keep):
    group, _ = keep()
    intents = {
        "age_stat-t": ("t test", (7.0,)),
        "ageAndGroup_stat-F": ("f test", (2.0, 7.0)),
        "age_stat-z": ("z score", ()),
        "age_stat-p": ("p value", ()),
        "age_stat-effect": ("estimate", ()),
        "age_stat-logp_desc-permVoxelFWEBoth": ("log10 p value", ()),
        "age_stat-t_desc-permVoxelFWEBoth": ("t test", (7.0,)),
    }
    for name, intent in intents.items():
        image = nib.load(group / f"{PREFIX}_contrast-{name}_statmap.nii.gz")
        assert image.get_data_dtype() == np.float32
        assert image.header.get_intent()[:2] == intent, name
        assert image.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_array_equal(image.affine, np.diag([3.0, 3.0, 3.0, 1.0]))


def test_sidecar_says_what_a_map_is(keep):
    group, _ = keep()
    sidecar = json.loads((group / f"{PREFIX}_contrast-age_stat-t_statmap.json").read_text())
    expected = {
        "StatisticType": "t",
        "DegreesOfFreedom": 7,
        "NumberOfSubjects": 10,
        "NumberOfInputs": 10,
        "Estimator": "OLS",
        "AnalysisLevel": "G",
        "MapType": "t",
        "Contrast": "age",
        "Formula": "age + C(group)",
        "SpatialReference": "MNI",
    }
    assert {k: sidecar[k] for k in expected} == expected
    assert sidecar["Sources"] == [f"bids::group/{PREFIX}_observations.tsv"]
    assert "nipype_group" in sidecar["SoftwareVersions"]
    f_map = json.loads((group / f"{PREFIX}_contrast-ageAndGroup_stat-F_statmap.json").read_text())
    assert (f_map["StatisticType"], f_map["DegreesOfFreedom"]) == ("F", [2, 7])
    assert f_map["Contrast"] == "age and group"


def test_sidecar_of_a_permuted_map_says_how(keep):
    group, _ = keep()
    name = f"{PREFIX}_contrast-age_stat-t_desc-permVoxelFWEBoth_statmap.json"
    sidecar = json.loads((group / name).read_text())
    assert sidecar["NumberOfPermutations"] == 60
    assert sidecar["RandomSeed"] == 4
    assert sidecar["PermutationScheme"] == "permutations"
    assert sidecar["Tail"] == "two-sided"
    assert "permutation of the largest voxel" in sidecar["Correction"]
    rows = (group / f"{PREFIX}_contrast-age_nulldist.tsv").read_text().splitlines()
    assert len(rows) == 62


def test_labels_go_with_their_table(keep):
    group, _ = keep()
    stem = f"{PREFIX}_contrast-age_desc-fdrBHBoth"
    image = nib.load(group / f"{stem}Clusters_dseg.nii.gz")
    assert np.issubdtype(image.get_data_dtype(), np.integer)
    ids = sorted(set(np.asarray(image.dataobj).ravel()) - {0})
    rows = (group / f"{stem}Clusters_dseg.tsv").read_text().splitlines()[1:]
    assert [int(r.split("\t")[0]) for r in rows] == ids
    clusters = (group / f"{stem}_clusters.tsv").read_text().splitlines()[1:]
    assert [int(r.split("\t")[0]) for r in clusters] == ids == [1]


def test_bids_validator_accepts_the_data_set(keep):
    group, _ = keep()
    command = shutil.which("bids-validator-deno")
    assert command, "the extra bids brings bids-validator-deno"
    done = subprocess.run([command, str(group.parent)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_data_set_says_who_made_it(keep):
    group, _ = keep()
    about = json.loads((group.parent / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert about["GeneratedBy"][0]["Name"] == "nipype_group"


def test_names_follow_the_task_and_space_that_are_given(keep):
    group, _ = keep(task="words", space="Talairach")
    assert (group / "task-words_space-Talairach_observations.tsv").is_file()
    assert not list(group.glob(f"{PREFIX}*"))


def test_written_twice_gives_the_same_bytes(keep, tmp_path):
    first, _ = keep()
    second, _ = keep(tmp_path / "other")
    assert content_of(first) == content_of(second)


def test_file_in_the_place_of_the_folder_is_refused(keep, tmp_path):
    place = tmp_path / "results"
    place.write_text("mine")
    for output_dir in (place, place / "deeper"):
        with pytest.raises(ValueError, match=r"results is a file"):
            keep(output_dir)
    assert place.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dataset_description.json", '{"GeneratedBy": [{"Name": "fMRIPrep"}]}', "of fMRIPrep"),
        ("dataset_description.json", '{"Name": "raw"}', "of another program"),
        ("dataset_description.json", "{", "is no JSON"),
        ("group/notes.txt", "mine", "exists, but no"),
    ],
)
def test_data_set_of_another_program_is_left_alone(keep, tmp_path, name, content, message):
    place = tmp_path / "theirs" / name
    place.parent.mkdir(parents=True)
    place.write_text(content)
    with pytest.raises(ValueError, match=message):
        keep(tmp_path / "theirs")
    assert [p for p in (tmp_path / "theirs").rglob("*") if p.is_file()] == [place]
    assert place.read_text() == content


def test_new_results_replace_all_old_ones(keep):
    group, _ = keep()
    stray = group / "task-old_design.tsv"
    stray.write_text("old")
    records = [group.parent / name for name in ("provenance.json", "ro-crate-metadata.json")]
    for record in records:
        record.write_text("of the old results")
    keep()
    assert not any(path.exists() for path in (stray, *records))
    assert not list(group.parent.glob(".group-*"))


def test_files_that_no_run_wrote_are_kept(keep):
    group, _ = keep()
    for name in ("notes.txt", "figures/mine.png"):
        (group / name).write_text("mine")
    _, outputs = keep(task="words")
    assert (group / "notes.txt").read_text() == (group / "figures" / "mine.png").read_text()
    assert not [p for p in outputs.out_files if p.endswith(("notes.txt", "mine.png"))]
    assert not list(group.glob("task-rest*"))


def test_of_hidden_files_at_the_top_those_alone_go_that_a_run_leaves(keep):
    group, _ = keep()
    others = {
        ".group-notes.txt",
        ".group-",
        ".group-1a",
        ".group-old-mine",
        ".group-old-",
        ".group",
    }
    for name in sorted(others):
        (group.parent / name).mkdir()
        (group.parent / name / "mine").write_text("mine")
    for name in (".group-17", ".group-old-17"):
        (group.parent / name).mkdir()
    keep(task="words")
    hidden = {p.name for p in group.parent.glob(".group*")}
    assert hidden == others
    assert all((group.parent / name / "mine").is_file() for name in others)


ADDED = {
    "behind": lambda lines: [*lines, "", "Mine.", "", "Mine too."],
    "before": lambda lines: ["Mine.", "", "Mine too.", "", *lines],
    "between": lambda lines: [*lines[:3], "Mine.", "", "Mine too.", *lines[3:]],
    "of another version": lambda lines: [lines[0].replace("0.", "9."), *lines[1:], "Mine."],
}


@pytest.mark.parametrize("name", ["README", ".bidsignore"])
@pytest.mark.parametrize("add", ADDED.values(), ids=ADDED)
def test_lines_that_others_added_are_kept(keep, name, add):
    group, _ = keep()
    path = group.parent / name
    before = path.read_text()
    path.write_text("\n".join(add(before.splitlines())) + "\n")
    for task in ("words", "rest"):
        keep(task=task)
        own, _, others = path.read_text().partition("Mine.")
        assert own.rstrip("\n") == before.rstrip("\n")
        assert others in ("\n", "\n\nMine too.\n")


@pytest.mark.parametrize("name", ["README", ".bidsignore"])
@pytest.mark.parametrize("share", [0, 0.3, 0.5, 0.95])
def test_a_text_that_was_cut_is_whole_again(keep, name, share):
    group, _ = keep()
    path = group.parent / name
    before = path.read_bytes()
    path.write_bytes(before[: round(share * len(before))])
    keep(task="words")
    assert path.read_bytes() == before


def test_a_text_that_cannot_be_kept_is_named_before_anything_is_written(keep):
    group, _ = keep()
    (group.parent / "README").write_bytes(b"M\xfcller")
    before = content_of(group.parent)
    with pytest.raises(ValueError, match="README: is no text in UTF-8"):
        keep(task="words")
    assert content_of(group.parent) == before


def test_entries_of_the_description_that_others_added_are_kept(keep):
    group, _ = keep()
    path = group.parent / "dataset_description.json"
    before = json.loads(path.read_text())
    added = {"Name": "Mine", "Authors": ["Müller"], "License": "CC0"}
    by = {"GeneratedBy": [{"Name": "nipype_group", "Version": "0"}, {"Name": "by hand"}]}
    path.write_text(json.dumps({**before, **added, **by}))
    for task in ("words", "rest"):
        keep(task=task)
        by = {"GeneratedBy": [*before["GeneratedBy"], {"Name": "by hand"}]}
        assert json.loads(path.read_text(encoding="utf-8")) == {**before, **added, **by}


@pytest.mark.parametrize("name", ["README", ".bidsignore"])
def test_a_folder_with_a_readme_of_its_own_is_left_alone(keep, tmp_path, name):
    place = tmp_path / "project" / name
    place.parent.mkdir()
    place.write_text("mine")
    with pytest.raises(ValueError, match=f"{name} exists, but no dataset_description.json"):
        keep(tmp_path / "project")
    assert place.read_text() == "mine"
    assert list((tmp_path / "project").iterdir()) == [place]


@pytest.mark.parametrize("changed", [False, True])
def test_nothing_is_published_where_an_input_changed(keep, analysed, tmp_path, changed):
    group, _ = keep()
    before = content_of(group.parent)
    folder = tmp_path / "study"
    shutil.copytree(analysed["source_dir"], folder, ignore=shutil.ignore_patterns("work", "first"))
    watch = InputWatch.start({"bids_dir": str(folder), "select": ["stat=effect"]})
    watch.write(tmp_path / "inputs.json")
    if changed:
        path = next(folder.glob("*.nii.gz"))
        path.write_bytes(path.read_bytes() + b"more")
        with pytest.raises(InputsChangedError, match=path.name):
            keep(task="words", inputs_file=str(tmp_path / "inputs.json"))
        assert content_of(group.parent) == before
    else:
        keep(task="words", inputs_file=str(tmp_path / "inputs.json"))
        assert list(group.glob("task-words*"))


def test_nothing_is_published_of_maps_that_were_others_when_read(keep, analysed, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(analysed["source_dir"], folder, ignore=shutil.ignore_patterns("work", "first"))
    path = next(folder.glob("*.nii.gz"))
    path.write_bytes(path.read_bytes() + b"more")
    watch = InputWatch.start({"bids_dir": str(folder), "select": ["stat=effect"]})
    watch.write(tmp_path / "inputs.json")
    with pytest.raises(InputsChangedError, match="had another content"):
        keep(inputs_file=str(tmp_path / "inputs.json"))
    assert not (tmp_path / "out" / "group").exists()


def test_where_the_inputs_are_watched_is_no_input(analysed):
    one, other = (
        GroupDerivatives(output_dir="/out", inputs_file=path, **analysed).inputs.get_hashval()[1]
        for path in ("/a", "/b")
    )
    assert one == other


@pytest.mark.parametrize("stage", ["add_model", "add_contrasts", "add_thresholded"])
def test_interrupted_run_leaves_the_old_results(keep, monkeypatch, stage):
    group, _ = keep()
    before = content_of(group.parent)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(derivatives_module, stage, interrupt)
    with pytest.raises(KeyboardInterrupt):
        keep(task="words")
    assert content_of(group.parent) == before


def test_interrupted_first_run_leaves_no_results(keep, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(derivatives_module, "add_permutations", interrupt)
    with pytest.raises(KeyboardInterrupt):
        keep()
    monkeypatch.undo()
    assert not content_of(Path.cwd() / "out")
