"""Folder trees as people have them: linked, looped, mixed, with stray files."""

import os

import pytest

from nipype_group.design.folders import WORK_MARK, natural_key, walk
from nipype_group.design.sources import find_bids_maps, find_pattern_maps, not_taken

MIDDLE = "task-t_contrast-c_stat-effect_statmap.nii.gz"


def put(top, *names):
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return top


def study(top, labels=("01", "02", "03")):
    return put(top, *(f"sub-{s}/func/sub-{s}_{MIDDLE}" for s in labels))


def by_bids(top, **selection):
    selection = {k: v.split(",") for k, v in (selection or {"stat": "effect"}).items()}
    return [e.participant for e in find_bids_maps(top, selection)]


def by_pattern(top, pattern="sub-{subject}/func/*_statmap.nii.gz"):
    return [e.participant for e in find_pattern_maps(f"{top}/{pattern}")]


def link_a_subject(top):
    study(top.parent / "elsewhere", ["03"])
    study(top, ["01", "02"])
    (top / "sub-03").symlink_to(top.parent / "elsewhere/sub-03")


def link_a_folder_in_it(top):
    study(top)
    (top / "sub-03/func").rename(top.parent / "func")
    (top / "sub-03/func").symlink_to(top.parent / "func")


def link_all_folders(top):
    study(top.parent / "elsewhere")
    top.mkdir()
    for s in ("01", "02", "03"):
        (top / f"sub-{s}").symlink_to(f"../elsewhere/sub-{s}")


def link_every_file(top):
    study(top.parent / "store")
    study(top)
    for path in sorted(top.rglob("*.nii.gz")):
        path.unlink()
        path.symlink_to(top.parent / "store" / path.relative_to(top))


def loop_to_itself(top):
    study(top)
    (top / "sub-01/again").symlink_to(top / "sub-01")


def loop_to_the_top(top):
    study(top)
    (top / "derivatives").symlink_to(top)


def loop_to_above(top):
    study(top)
    (top / "up").symlink_to(top.parent)


def two_links_round(top):
    study(top)
    (top / "a").mkdir()
    (top / "b").mkdir()
    (top / "a/b").symlink_to(top / "b")
    (top / "b/a").symlink_to(top / "a")


def a_link_to_nowhere(top):
    study(top)
    (top / "lost").symlink_to(top / "nowhere")


def another_name_of_a_subject(top):
    study(top)
    (top / "latest").symlink_to(top / "sub-03")


def a_hidden_copy(top):
    study(top)
    study(top / ".git/annex")


def names_of_a_mac(top):
    study(top)
    put(top, *(f"sub-{s}/func/._sub-{s}_{MIDDLE}" for s in ("01", "02")), ".DS_Store")


def stray_files(top):
    study(top)
    put(
        top,
        "README",
        "sub-01.nii.gz",
        "x_statmap.nii.gz",
        "sub-01/func/notes.nii.gz",
        "sub-/a.nii",
    )


def beside_other_kinds(top):
    study(top)
    put(top, *(f"sub-{s}/func/sub-{s}_{MIDDLE}".replace("nii.gz", "json") for s in ("01", "02")))
    put(top, "sub-01/func/sub-01_task-t_contrast-c_stat-effect_mask.txt")


TREES = [
    study,
    link_a_subject,
    link_a_folder_in_it,
    link_all_folders,
    link_every_file,
    loop_to_itself,
    loop_to_the_top,
    loop_to_above,
    two_links_round,
    a_link_to_nowhere,
    another_name_of_a_subject,
    a_hidden_copy,
    names_of_a_mac,
    stray_files,
    beside_other_kinds,
]


@pytest.mark.parametrize("make", TREES, ids=lambda make: make.__name__)
def test_three_participants_in_any_tree(tmp_path, make):
    top = tmp_path / "study"
    make(top)
    assert by_bids(top) == ["01", "02", "03"]
    assert by_pattern(top) == ["01", "02", "03"]
    if make not in (link_a_folder_in_it,):
        # Names start at the top, whatever folder a link leads to.
        assert {e.name.split("/")[0] for e in find_bids_maps(top, {"stat": ["effect"]})} == {
            "sub-01",
            "sub-02",
            "sub-03",
        }


@pytest.mark.parametrize("make", TREES, ids=lambda make: make.__name__)
def test_two_stars_go_into_links_too(tmp_path, make):
    top = tmp_path / "study"
    make(top)
    assert by_pattern(top, "**/sub-{subject}_task-*_statmap.nii.gz") == ["01", "02", "03"]


@pytest.mark.parametrize("kind", ["dangling", "pipe", "folder"])
def test_what_has_the_name_of_a_map_is_not_passed_over(tmp_path, kind):
    study(tmp_path)
    path = tmp_path / f"sub-02/func/sub-02_{MIDDLE}"
    path.unlink()
    if kind == "dangling":
        path.symlink_to("../.git/annex/objects/none.nii.gz")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert by_bids(tmp_path) == by_pattern(tmp_path) == ["01", "02", "03"]


def test_order_is_natural(tmp_path):
    labels = ["10", "2", "1", "100", "a2", "a10", "03"]
    study(tmp_path, labels)
    expected = ["1", "2", "03", "10", "100", "a2", "a10"]
    assert by_bids(tmp_path) == by_pattern(tmp_path) == expected
    assert sorted(labels, key=natural_key) == expected


def runs(top, *names):
    return put(top, *(f"sub-{s}/sub-{s}_run-{r}_stat-effect_statmap.nii.gz" for s, r in names))


@pytest.mark.parametrize("asked", ["1", "01", "001"])
def test_indexes_are_numbers(tmp_path, asked):
    runs(tmp_path, ("01", "1"), ("02", "01"), ("03", "001"), ("03", "2"))
    assert by_bids(tmp_path, stat="effect", run=asked) == ["01", "02", "03"]


def test_conditions_of_indexes_have_the_names_that_were_asked_for(tmp_path):
    runs(tmp_path, ("01", "1"), ("01", "02"), ("02", "01"), ("02", "2"))
    found = find_bids_maps(tmp_path, {"run": ["2", "1"]})
    assert [(e.participant, e.conditions["run"]) for e in found] == [
        ("01", "2"),
        ("01", "1"),
        ("02", "2"),
        ("02", "1"),
    ]


def test_labels_are_no_numbers(tmp_path):
    put(
        tmp_path,
        "sub-01/sub-01_ses-1_stat-effect_statmap.nii.gz",
        "sub-02/sub-02_ses-01_stat-effect_statmap.nii.gz",
    )
    assert by_bids(tmp_path, ses="1") == ["01"]


def test_a_value_that_matches_nothing_is_named_with_what_there_is(tmp_path):
    put(tmp_path, *(f"sub-01/sub-01_desc-{d}_stat-effect_statmap.nii.gz" for d in ("go", "stop")))
    with pytest.raises(ValueError, match=r"desc=halt; leave it out. Values found: desc: go, stop"):
        by_bids(tmp_path, desc="go,halt")
    assert by_bids(tmp_path, desc="go,stop") == ["01", "01"]


def test_a_value_of_other_images_is_no_match(tmp_path):
    put(study(tmp_path), "sub-01/anat/sub-01_task-rest_T1w.nii.gz")
    with pytest.raises(ValueError, match="task=rest; leave it out"):
        by_bids(tmp_path, stat="effect", task="t,rest")


def test_who_is_not_taken_is_told_with_the_reason(tmp_path):
    study(tmp_path, ["01", "02"])
    put(
        tmp_path,
        "sub-03/anat/sub-03_T1w.nii.gz",
        "sub-04/func/sub-04_task-other_contrast-c_stat-effect_statmap.nii.gz",
        "sub-05/func/sub-05_task-t_contrast-c_stat-effect_statmap.json",
    )
    selection = {"task": ["t"], "stat": ["effect"]}
    left = not_taken(tmp_path, selection, find_bids_maps(tmp_path, selection))
    assert list(left) == ["03", "04"]
    assert left["03"].startswith("no image has task=t stat=effect")
    assert left["04"].startswith("no image has task=t and")


def in_the_tree(top):
    return top / "out"


def in_a_participant(top):
    return top / "sub-01" / "func"


def through_a_link(top):
    (top.parent / "out").mkdir()
    (top / "out").symlink_to(top.parent / "out")
    return top.parent / "out"


@pytest.mark.parametrize("place", [in_the_tree, in_a_participant, through_a_link])
@pytest.mark.parametrize(
    "pattern", ["**/{subject}_*stat-effect_statmap.nii.gz", "*/*/{subject}_*stat-effect_*.nii.gz"]
)
def test_what_a_run_writes_is_no_map(tmp_path, place, pattern):
    top = tmp_path / "study"
    study(top)
    out = place(top)
    put(out, "group/contrast-m_stat-effect_statmap.nii.gz")
    put(out / "work", "a/b/x_stat-effect_statmap.nii.gz", "x_stat-effect_statmap.nii.gz")
    (out / "work" / WORK_MARK).write_text("{}")
    found = find_pattern_maps(f"{top}/{pattern}", [out / "group"])
    assert [e.participant for e in found] == ["01", "02", "03"]


@pytest.mark.parametrize("below", ["", "{subject}/", "sub-01/**/"])
def test_a_pattern_in_what_the_run_fills_is_refused(tmp_path, below):
    study(tmp_path / "out" / "group")
    pattern = f"{tmp_path}/out/group/{below}{{subject}}_statmap.nii.gz"
    with pytest.raises(ValueError, match="out/group, which the run fills; take another OUT"):
        find_pattern_maps(pattern, [tmp_path / "out" / "group"])


def test_a_work_folder_is_gone_into_where_it_is_named(tmp_path):
    study(tmp_path / "work")
    (tmp_path / "work" / WORK_MARK).write_text("{}")
    assert by_pattern(tmp_path / "work") == ["01", "02", "03"]
    assert by_bids(tmp_path / "work") == ["01", "02", "03"]


def test_a_folder_that_is_absent_has_no_files(tmp_path):
    assert list(walk(tmp_path / "none")) == []
