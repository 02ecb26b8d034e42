"""Names of results, and files among them that no run wrote."""

import json

import pytest

from nipype_group.controls import is_threshold_desc
from nipype_group.reporting.derivatives.folder import (
    common_entities,
    entities_of_file,
)
from nipype_group.reporting.records.standing import (
    keep_foreign,
    names_that_go,
    remove_own,
    standing_files,
)

OWN = (
    "task-a_contrast-x_stat-t_statmap.nii.gz",
    "task-a_contrast-x_stat-t_statmap.json",
    "task-a_contrast-x_desc-fdrBHBoth_clusters.tsv",
    "report.html",
    "task-a_input-go_report.html",
    "task-a_contrast-x_desc-z3p1Clusters_dseg.nii.gz",
    "permutations.json",
    "nidm.zip",
    "contrast-x_desc-fdrBHBoth_nilearn.tsv",
    "design.tsv",
    "figures/figures.json",
    "figures/task-a_contrast-x_glassbrain.png",
)
FOREIGN = ("notes.txt", "figures/mine.png", "mine/contrast-x_stat-t_statmap.nii.gz", ".DS_Store")


@pytest.fixture
def top(tmp_path):
    for name in (*OWN, *FOREIGN):
        path = tmp_path / "group" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    index = [{"File": "task-a_contrast-x_glassbrain.png", "Kind": "glassbrain", "Alt": "x"}]
    (tmp_path / "group" / "figures" / "figures.json").write_text(json.dumps(index))
    return tmp_path


def record(top, outputs):
    content = {
        "Command": "run it",
        "Settings": {"contrasts": [], "blocks": [], "atlases": None},
        "Source": {},
        "Inputs": [],
        "SoftwareVersions": {},
        "Outputs": {f"group/{name}": "" for name in outputs},
    }
    (top / "provenance.json").write_text(json.dumps(content))


@pytest.mark.parametrize("written", [None, "{", '{"Outputs": 3}'])
def test_without_a_record_names_tell_results(top, written):
    if written:
        (top / "provenance.json").write_text(written)
    own, foreign = standing_files(top)
    assert set(own) == set(OWN)
    assert set(foreign) == set(FOREIGN)


def test_the_record_tells_results(top):
    record(top, OWN[1:])
    own, foreign = standing_files(top)
    assert set(own) == set(OWN[1:])
    assert set(foreign) == {*FOREIGN, OWN[0]}


def test_what_no_run_wrote_is_kept(top):
    (top / "group" / "away").symlink_to("nowhere")
    staging = top / "staging"
    staging.mkdir()
    keep_foreign(top, staging, ["design.tsv"])
    kept = {p.relative_to(staging).as_posix() for p in staging.rglob("*") if not p.is_dir()}
    assert kept == {*FOREIGN, "away"}
    assert (staging / "notes.txt").read_text() == "notes.txt"
    assert (staging / "away").is_symlink()


def test_a_result_of_the_same_name_is_refused(top):
    record(top, OWN[1:])
    with pytest.raises(ValueError, match=rf"{OWN[0]} was not written by a run"):
        keep_foreign(top, top / "staging", OWN)
    assert not (top / "staging").exists()


def test_results_are_taken_away_and_nothing_else(top):
    remove_own(top)
    assert {p.relative_to(top / "group").as_posix() for p in (top / "group").rglob("*.*")} == set(
        FOREIGN
    )
    for name in FOREIGN:
        (top / "group" / name).unlink(missing_ok=True)
    (top / "group" / "mine").rmdir()
    remove_own(top)
    assert not (top / "group").exists()


def test_names_that_go():
    names = [
        "contrast-x_stat-t_statmap.nii.gz",
        "contrast-y_stat-t_statmap.nii.gz",
        "design.tsv",
        "contrast-x_desc-fdrBHBoth_clusters.tsv",
        "contrast-x_desc-fdrBHBothClusters_dseg.tsv",
        "figures/task-a_contrast-x_desc-z3p1Both_glassbrain.png",
        "desc-group_mask.nii.gz",
        "contrast-x_stat-logp_desc-z3p1Both_statmap.nii.gz",
        "contrast-x_desc-model_regions.tsv",
    ]
    assert not names_that_go(
        names,
        ["contrast-x_desc-fdrBHBoth", "contrast-x_desc-z3p1Both", "contrast-y_desc-fdrBHBoth"],
        is_threshold_desc,
    )
    assert names_that_go(names, ["contrast-x_desc-z3p1Both"], is_threshold_desc) == [
        names[1],
        *names[3:5],
    ]
    assert names_that_go(names, ["contrast-y_desc-z3p1Both"], is_threshold_desc) == [
        n for n in names if "contrast-x" in n
    ]


@pytest.mark.parametrize(
    "key", ["ses", "acq", "rec", "dir", "run", "hemi", "res", "den", "cohort"]
)
def test_an_entity_that_all_maps_share_is_in_the_names(key):
    def names(*values):
        return [
            f"sub-{i}_task-t_{key}-{v}_space-S_stat-effect_statmap.nii"
            for i, v in enumerate(values)
        ]

    one, other = common_entities(names("1", "1")), common_entities(names("2", "2"))
    assert (one[key], other[key]) == ("1", "2")
    assert common_entities(names("1", "2")) == {"task": "t", "space": "S"}


@pytest.mark.parametrize(
    ("entities", "found"),
    [
        ("task-t_contrast-go_stat-effect", {"task": "t", "input": "go"}),
        ("task-t_contrast-go_stat-z", {"task": "t", "input": "goZ"}),
        ("contrast-go_stat-effect_desc-smooth", {"input": "goSmooth"}),
        ("stat-effect_desc-smooth", {"input": "smooth"}),
        ("space-S_run-2_task-t_ses-1", {"ses": "1", "task": "t", "run": "2", "space": "S"}),
        ("input-go_contrast-mean_stat-effect", {"input": "goMean"}),
        ("stat-effect", {}),
    ],
)
def test_what_results_have_of_their_own_is_joined(entities, found):
    names = [f"sub-{i}_{entities}_statmap.nii.gz" for i in (1, 2)]
    assert common_entities(names) == found
    assert list(common_entities(names)) == list(found)


def test_a_contrast_named_after_that_of_the_maps_stands_once():
    of_all = {"task": "t", "input": "go"}
    assert entities_of_file(of_all, "go") == {"task": "t"}
    assert entities_of_file(of_all, "mean") == entities_of_file(of_all, None) == of_all


@pytest.mark.parametrize("names", [[], ["con_0001.nii"], ["sub-1_task-t_x.nii", "con_0001.nii"]])
def test_names_without_entities(names):
    assert common_entities(names) == {}
