"""Finding maps by BIDS entities, by a pattern, or in a table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.sources import (
    MapEntry,
    escape_pattern,
    find_bids_maps,
    find_pattern_maps,
    parse_bids_name,
    parse_selection,
    read_maps_table,
    read_participants,
    read_volumes_table,
    split_pattern,
    with_variances,
)


@pytest.fixture
def tree(tmp_path):
    """A derivative tree of three subjects, two contrasts and two statistics."""

    def touch(name):
        path = tmp_path / "bids" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    for subject in ("03", "01", "10"):
        for contrast in ("go", "stop"):
            for stat in ("effect", "variance"):
                stem = f"sub-{subject}_task-stop_contrast-{contrast}_stat-{stat}_statmap"
                touch(f"sub-{subject}/func/{stem}.nii.gz")
                touch(f"sub-{subject}/func/{stem}.json")
        touch(f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz")
    touch("group/contrast-go_stat-effect_statmap.nii.gz")
    touch("sub-01/notes.nii.gz")
    return tmp_path / "bids"


def test_one_value_an_entity_gives_one_map_a_subject(tree):
    found = find_bids_maps(tree, parse_selection(["contrast=go", "stat=effect"]))
    assert [e.participant for e in found] == ["01", "03", "10"]
    assert found[0].name == "sub-01/func/sub-01_task-stop_contrast-go_stat-effect_statmap.nii.gz"
    assert found[0].path == tree / found[0].name
    assert all(e.conditions == {} for e in found)


def test_several_values_make_a_condition_in_the_order_given(tree):
    found = find_bids_maps(tree, {"contrast": ["stop", "go"], "stat": ["effect"]})
    assert [(e.participant, e.conditions["contrast"]) for e in found] == [
        (s, c) for s in ("01", "03", "10") for c in ("stop", "go")
    ]


def test_a_choice_of_subjects_is_no_condition(tree):
    selection = parse_selection(["subject=01,10", "contrast=go", "stat=effect"])
    found = find_bids_maps(tree, selection)
    assert [e.participant for e in found] == ["01", "10"]
    assert found[0].conditions == {}


def test_an_ambiguous_selection_says_what_differs(tree):
    with pytest.raises(ValueError, match="participant 01 has several maps") as error:
        find_bids_maps(tree, {"stat": ["effect"]})
    assert "differ in contrast. Select one value of it" in str(error.value)
    with pytest.raises(ValueError, match="differ in contrast, stat, suffix, task"):
        find_bids_maps(tree, {})


def test_what_matches_nothing_lists_the_values_found(tree):
    with pytest.raises(ValueError, match="no image has contrast=nogo stat=effect") as error:
        find_bids_maps(tree, {"contrast": ["nogo"], "stat": ["effect"]})
    assert "contrast: go, stop" in str(error.value)
    with pytest.raises(ValueError, match="space: never present"):
        find_bids_maps(tree, {"space": ["MNI"]})
    with pytest.raises(ValueError, match="no image has"):
        find_bids_maps(tree / "nowhere", {"stat": ["effect"]})


def test_suffix_and_extension_select_too(tree):
    assert len(find_bids_maps(tree, {"suffix": ["T1w"], "extension": [".nii.gz"]})) == 3


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["contrast"], "'contrast' is not of the form KEY=VALUE"),
        (["=go"], "not of the form"),
        (["contrast="], "not of the form"),
        (["contrast= , "], "not of the form"),
        (["desc=a", "description=b"], "names desc twice; join the values"),
    ],
)
def test_selections_that_are_none_are_refused(items, message):
    with pytest.raises(ValueError, match=message):
        parse_selection(items)


@pytest.mark.parametrize(
    "name", ["notes.nii", "task-a_bold.nii", "sub-01_bold_extra.nii", "sub-_bold.nii", ".nii"]
)
def test_names_that_are_not_bids(name):
    assert parse_bids_name(name) is None


@pytest.fixture
def folders(tmp_path):
    for subject in ("01", "02"):
        for condition in ("go", "stop"):
            folder = tmp_path / f"sub-{subject}" / condition
            folder.mkdir(parents=True)
            (folder / f"con_{subject}.img").touch()
            (folder / f"con_{subject}.hdr").touch()
    return tmp_path


def test_placeholders_of_a_pattern(folders):
    found = find_pattern_maps(f"{folders}/sub-{{subject}}/{{condition}}/con_*.img")
    assert [(e.participant, e.conditions) for e in found] == [
        (s, {"condition": c}) for s in ("01", "02") for c in ("go", "stop")
    ]
    assert found[0].path.is_file()


def test_a_repeated_placeholder_must_repeat_its_value(folders):
    (folders / "sub-01/go/con_02.img").touch()
    found = find_pattern_maps(f"{folders}/sub-{{subject}}/go/con_{{subject}}.img")
    assert [e.path.name for e in found] == ["con_01.img", "con_02.img"]


def test_an_analyze_pair_is_one_map(folders):
    found = find_pattern_maps(f"{folders}/{{subject}}/go/con_*.*")
    assert [e.path.suffix for e in found] == [".img", ".img"]
    assert [e.participant for e in found] == ["01", "02"]


def test_wildcards_of_a_pattern(folders):
    assert len(find_pattern_maps(f"{folders}/**/con_{{subject}}.img")) == 4
    assert len(find_pattern_maps(f"{folders}/sub-0[!1]/*/con_{{subject}}.img")) == 2
    assert len(find_pattern_maps(f"{folders}/sub-0[1-2]/g?/con_{{subject}}.img")) == 2


def test_patterns_may_be_relative_and_hold_signs_of_expressions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a+b (1)").mkdir()
    (tmp_path / "a+b (1)/s.01.nii").touch()
    (tmp_path / "a+b (1)/sx02.nii").touch()
    (found,) = find_pattern_maps("a+b (1)/s.{subject}.nii")
    assert found.participant == "01"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("con_*.nii", r"has no \{subject\}"), ("/none/{subject}.nii", "no file matches")],
)
def test_patterns_without_subject_or_match_are_refused(pattern, message):
    with pytest.raises(ValueError, match=message):
        find_pattern_maps(pattern)


def write(path, text):
    path.write_text(text)
    return path


def test_participants_are_indexed_by_label(tmp_path):
    path = write(tmp_path / "p.tsv", "participant_id\tage\tmap\nsub-02\t3\tx\n01\t4\ty\n")
    table = read_participants(path)
    assert table.index.tolist() == ["02", "01"]
    assert list(table.columns) == ["participant_id", "age"]


def test_participants_without_identifier_or_twice_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no column participant_id \(columns: id, age\)"):
        read_participants(write(tmp_path / "a.tsv", "id\tage\n1\t2\n"))
    with pytest.raises(ValueError, match="participant 01 stands in more than one row"):
        read_participants(write(tmp_path / "b.tsv", "participant_id\n01\nsub-01\n02\n"))


def maps_table(path, **columns):
    pd.DataFrame(columns).to_csv(path, sep="\t", index=False, na_rep="n/a")
    return path


def test_a_table_of_maps_with_variances_and_covariates(tmp_path):
    path = maps_table(
        tmp_path / "m.tsv",
        participant_id=["sub-02", "01"],
        map=["b.nii", "/x/a.nii"],
        variance=["vb.nii", np.nan],
        age=["30", "40"],
    )
    one, two = read_maps_table(path)
    assert (one.participant, one.path, one.variance) == (
        "02",
        tmp_path / "b.nii",
        tmp_path / "vb.nii",
    )
    assert (str(two.path), two.variance, two.covariates) == ("/x/a.nii", None, {"age": "40"})


@pytest.mark.parametrize("rt", ["0.43", np.nan])
def test_columns_that_tell_a_subjects_maps_apart_are_conditions(tmp_path, rt):
    path = maps_table(
        tmp_path / "m.tsv",
        participant_id=["01", "01", "02", "02"],
        map=list("abcd"),
        visit=["a", "b", "a", "b"],
        drug=["p", "v", "v", "p"],
        age=["30", "30", "40", "40"],
        rt=["0.51", rt, "0.62", "0.55"],
    )
    entries = read_maps_table(path)
    assert entries[1].conditions == {"visit": "b", "drug": "v"}
    # A number that is missing makes no condition of a covariate.
    assert entries[0].conditions == {"visit": "a", "drug": "p"}
    assert entries[1].covariates == {"age": "30", "rt": rt}


@pytest.mark.parametrize(
    ("variables", "conditions"),
    [
        # What the model uses and differs within participants, whatever else does.
        (("visit",), ["visit"]),
        (("visit", "age"), ["visit"]),
        (("rater",), ["rater"]),
        # A covariate stays one.
        (("visit", "rt"), ["visit"]),
        # So do numbers that any other column stands in for.
        (("rater", "visit"), ["rater"]),
        (("errors", "rater"), ["rater"]),
        (("errors",), ["errors"]),
        # Of what it does not use, what tells maps apart and has few values comes first.
        ((), ["visit"]),
        (("age",), ["visit"]),
        (("rt",), ["visit"]),
        (("group",), ["visit"]),
    ],
)
def test_columns_that_the_model_does_not_use_are_conditions_only_where_needed(
    tmp_path, variables, conditions
):
    path = maps_table(
        tmp_path / "m.tsv",
        participant_id=["1", "1", "2", "2"],
        map=list("abcd"),
        note=["tired", np.nan, "late", "moved"],
        group=list("ppcc"),
        age=["30", "30", "40", "40"],
        visit=["1", "2", "1", "2"],
        rater=["ann", "bob", "bob", "cid"],
        rt=["0.51", "0.52", "0.62", "0.55"],
        errors=["2", "1", "1", "2"],
    )
    entries = read_maps_table(path, variables)
    assert list(entries[0].conditions) == conditions
    assert [list(c) for _, c, _ in read_volumes_table(path, variables)] == [conditions] * 4


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            ("sub-1_ses-1", "sub-1_ses-2"),
            "1_ses-1 and 1_ses-2 for two participants; write {subject}_ses-{ses}",
        ),
        (("sub-1", "sub-1_run-2"), "takes 1 and 1_run-2 for two .* make run a condition of 1"),
        (("sub-1_ses-1", "sub-2_ses-1"), None),
        (("sub-1_a", "sub-1_b"), None),
        # Labels may hold a dash.
        (("site_a-01", "site_a-02"), None),
    ],
)
def test_sessions_are_not_taken_for_people(tmp_path, names, told):
    for name in names:
        (tmp_path / f"{name}_con.nii").touch()
    pattern = f"{tmp_path}/{{subject}}_con.nii"
    if told is None:
        assert len(find_pattern_maps(pattern)) == 2
        return
    with pytest.raises(ValueError, match=told):
        find_pattern_maps(pattern)


@pytest.mark.parametrize("differing", [[], [2], [0, 4], list(range(5)), list(range(10))])
@pytest.mark.parametrize("visits", [["pre", "post"], ["1", "2"], ["a", "b", "c"]])
@pytest.mark.parametrize("others", [True, False])
def test_a_group_that_few_participants_change_is_a_contradiction(
    tmp_path, differing, visits, others
):
    """A cell that is mistyped makes no condition of what differs between participants."""
    rows = [(f"sub-{i}", v, "cp"[i % 2]) for i in range(10) for v in visits]
    groups = [
        "x" if i in differing and v == visits[-1] else g
        for (_, v, g), i in zip(rows, np.repeat(range(10), len(visits)), strict=True)
    ]
    path = maps_table(
        tmp_path / "m.tsv",
        participant_id=[r[0] for r in rows],
        group=groups,
        visit=[r[1] for r in rows],
        map=[f"{i}.nii" for i in range(len(rows))],
    )
    variables = ("group", "visit") if others else ("group",)
    if differing and len(differing) < 5:
        with pytest.raises(ValueError, match="column group has several values") as error:
            read_maps_table(path, variables)
        assert f"the maps of {', '.join(map(str, differing))} and one in" in str(error.value)
        # What the model does not use is no matter.
        assert list(read_maps_table(path, ("visit",))[0].conditions) == ["visit"]
        return
    conditions = list(read_maps_table(path, variables)[0].conditions)
    assert ("group" in conditions) == bool(differing)


def test_a_condition_that_few_participants_have_is_one_where_it_tells_maps_apart(tmp_path):
    path = maps_table(
        tmp_path / "m.tsv",
        participant_id=[*"1223344"],
        map=[*"abcdefg"],
        drug=["p", "p", "v", "p", "p", "p", "p"],
        run=["1", "1", "1", "1", "2", "1", "2"],
    )
    assert list(read_maps_table(path, ("drug",))[0].conditions) == ["drug", "run"]


def test_a_column_is_a_condition_where_no_other_tells_maps_apart(tmp_path):
    path = maps_table(
        tmp_path / "m.tsv",
        participant_id=["1", "1", "2", "2"],
        map=list("abcd"),
        day=["mon", "tue", "wed", "fri"],
        run=["1", "1", "2", "2"],
    )
    assert [e.conditions["day"] for e in read_maps_table(path, ("run",))] == [
        "mon",
        "tue",
        "wed",
        "fri",
    ]


def test_a_condition_that_is_missing_is_no_level(tmp_path):
    path = maps_table(
        tmp_path / "m.tsv",
        participant_id=["1", "1", "2", "2"],
        map=list("abcd"),
        visit=["pre", "post", "pre", np.nan],
    )
    assert [e.conditions["visit"] for e in read_maps_table(path)] == ["pre", "post", "pre", None]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"map": ["a"]}, "no column participant_id"),
        ({"participant_id": ["01"]}, "no column map"),
        ({"participant_id": ["01", "02"], "map": ["a", np.nan]}, "no map in line 3"),
        ({"participant_id": [np.nan, "02"], "map": ["a", "b"]}, "no participant_id in line 2"),
    ],
)
def test_maps_tables_that_lack_something_are_refused(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message):
        read_maps_table(maps_table(tmp_path / "m.tsv", **columns))


@pytest.fixture
def fitlins(tmp_path):
    """A FitLins tree: run and subject level, two contrasts, effect and variance, reports."""

    def touch(name):
        path = tmp_path / "fitlins" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    for sub in ("sub-01", "sub-02"):
        for contrast in ("go", "stop"):
            for stat in ("effect", "variance", "t", "z", "p"):
                end = f"contrast-{contrast}_stat-{stat}_statmap.nii.gz"
                for run in (1, 2):
                    stem = f"{sub}_task-stop_run-{run}_space-MNI152NLin2009cAsym"
                    touch(f"node-runLevel/{sub}/{stem}_{end}")
                touch(f"node-subjectLevel/{sub}/{sub}_{end}")
            touch(f"node-runLevel/{sub}/{sub}_task-stop_run-1_contrast-{contrast}_ortho.png")
    touch("node-datasetLevel/contrast-go_stat-effect_statmap.nii.gz")
    touch("reports/model-stop.html")
    touch("reports/sub-01/figures/sub-01_contrast-go_stat-effect_statmap.svg")
    return tmp_path / "fitlins"


def test_levels_of_fitlins_are_an_entity(fitlins):
    selection = parse_selection(["node=subjectLevel", "contrast=go", "stat=effect"])
    found = find_bids_maps(fitlins, selection)
    assert [e.name for e in found] == [
        f"node-subjectLevel/sub-0{i}/sub-0{i}_contrast-go_stat-effect_statmap.nii.gz"
        for i in (1, 2)
    ]
    assert [e.conditions for e in found] == [{}, {}]


def test_levels_that_are_not_told_apart_are_named(fitlins):
    with pytest.raises(ValueError, match=r"differ in node, run, space, task\. Select one"):
        find_bids_maps(fitlins, parse_selection(["contrast=go", "stat=effect"]))


def test_one_level_of_fitlins_is_a_tree_of_its_own(fitlins):
    selection = parse_selection(["contrast=stop,go", "stat=effect"])
    found = find_bids_maps(fitlins / "node-subjectLevel", selection)
    assert [(e.participant, e.conditions) for e in found] == [
        (s, {"contrast": c}) for s in ("01", "02") for c in ("stop", "go")
    ]


def entry(participant, path, **conditions):
    return MapEntry(participant, path, str(path), conditions)


def test_variances_go_to_the_map_of_their_participant_and_conditions():
    effects = [entry(s, f"e{s}{c}", a=c, b="x") for s in "12" for c in "pq"]
    variances = [entry(s, f"v{s}{c}", b="x", a=c) for c in "qp" for s in "213"]
    joined = with_variances(effects, variances)
    assert [e.variance for e in joined] == ["v1p", "v1q", "v2p", "v2q"]
    assert [e.path for e in joined] == [e.path for e in effects]
    assert with_variances(effects, variances[:1])[0].variance is None


def test_variances_that_fit_no_map_or_twice_are_refused():
    effects = [entry("1", "e1"), entry("2", "e2")]
    with pytest.raises(ValueError, match=r"no variance map is of .* of a map: v3"):
        with_variances(effects, [entry("3", "v3")])
    with pytest.raises(ValueError, match="participant 1 has two variance maps, v1 and w1"):
        with_variances(effects, [entry("1", "v1"), entry("1", "w1")])


SIGNS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars", " ": "blanks"}


@pytest.mark.parametrize("reader", [read_participants, read_maps_table, read_volumes_table])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
@pytest.mark.parametrize("sign", SIGNS)
def test_a_table_with_another_separator_is_told(tmp_path, reader, ending, sign):
    path = tmp_path / f"t.{ending}"
    path.write_text(f"participant_id{sign}map\ns1{sign}a.nii\n")
    if sign == {"csv": ",", "tsv": "\t"}[ending]:
        reader(path)
        return
    other = {"csv": "commas", "tsv": "tabs"}[ending]
    with pytest.raises(ValueError, match="no column participant_id") as error:
        reader(path)
    assert f"parted by {SIGNS[sign]}, not by {other}" in str(error.value)
    assert "\n" not in str(error.value)


def test_volumes_table_needs_participants(tmp_path):
    path = tmp_path / "volumes.tsv"
    path.write_text("subject\tage\na\t1\n")
    with pytest.raises(ValueError, match=r"no column participant_id \(columns: subject, age\)"):
        read_volumes_table(path)


@pytest.mark.parametrize(
    ("pattern", "label"),
    [
        ("fsl/{subject}.feat/reg_standard/stats/cope1.nii.gz", "01"),
        ("fsl/{subject}.feat/stats/cope1.nii.gz", "01"),
        ("fsl/{subject}.gfeat/cope2.feat/stats/cope1.nii.gz", "01"),
        ("sink/first_level/_participant_id_{subject}/effect.nii", "01"),
        ("sink/{subject}/first_level/effect.nii", "01"),
        ("spm/{subject}/con_0001.nii", "01"),
        ("spm/{subject}/1st level/con_0001.img", "01"),
    ],
)
def test_patterns_of_what_first_levels_leave(tmp_path, monkeypatch, pattern, label):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / pattern.replace("{subject}", "sub-01")
    path.parent.mkdir(parents=True)
    path.touch()
    if path.suffix == ".img":
        path.with_suffix(".hdr").touch()
    (found,) = find_pattern_maps(pattern)
    assert (found.participant, found.path.absolute()) == (label, path)


def test_patterns_in_folders_of_any_name(hostile_name, tmp_path):
    """Signs of patterns stand in brackets, as for glob; all others are signs."""
    folder = tmp_path / hostile_name / "b]c\\d^e&&f~~g--h"
    folder.mkdir(parents=True)
    file = folder / "s-01.nii"
    file.touch()
    escaped = "".join(f"[{sign}]" if sign in "[*?{" else sign for sign in str(folder))
    (found,) = find_pattern_maps(f"{escaped}/s-{{subject}}.nii")
    assert (found.participant, found.path) == ("01", file)
    if "\n" in hostile_name:
        with pytest.raises(ValueError, match="name of the map .* has a line break"):
            find_pattern_maps(f"{tmp_path}/**/s-{{subject}}.nii")
    else:
        (found,) = find_pattern_maps(f"{tmp_path}/**/s-{{subject}}.nii")
        assert found.path == file


@pytest.mark.parametrize(
    ("sign", "pattern"),
    [
        ("\\", "[\\]"),
        ("[", "[[]"),
        ("]", "[]]"),
        ("d", "[\\d]"),
        ("&", "[&&x]"),
        ("^", "[x^]"),
        ("x", "[!]^]"),
        ("{", "[{]"),
        ("b", "[a-c]"),
    ],
)
def test_sets_of_a_pattern_are_those_of_glob(sign, pattern, tmp_path):
    (tmp_path / f"01{sign}.nii").touch()
    (found,) = find_pattern_maps(f"{tmp_path}/{{subject}}{pattern}.nii")
    assert found.participant == "01"


def test_placeholders_that_are_no_names_are_refused(tmp_path):
    (tmp_path / "01_2.nii").touch()
    with pytest.raises(ValueError, match=r"\{2\} is no name of a column"):
        find_pattern_maps(f"{tmp_path}/{{subject}}_{{2}}.nii")


@pytest.mark.parametrize("sign", ["\n", "\t", "\r", "\x1b", "\udcff", "\x85"])
def test_names_that_are_no_line_of_text_are_refused(sign):
    with pytest.raises(ValueError, match="rename") as caught:
        MapEntry("01", Path(f"/data/a{sign}.nii"), f"a{sign}.nii")
    assert len(str(caught.value).splitlines()) == 1
    MapEntry("01", Path("/data/\n/a é\xa0.nii"), "a é\xa0.nii")


@pytest.mark.parametrize(
    ("pattern", "folder", "below"),
    [
        ("a/b/{subject}/c.nii", "a/b/", "{subject}/c.nii"),
        ("a/sub-{subject}.nii", "a/", "sub-{subject}.nii"),
        ("{subject}.nii", "", "{subject}.nii"),
        ("/a/*/{subject}.nii", "/a/", "*/{subject}.nii"),
        ("a[{]b}/[*]/s[ab]/{subject}", "a{b}/*/", "s[ab]/{subject}"),
        ("a[[]b]/{subject}", "a[b]/", "{subject}"),
    ],
)
def test_a_pattern_has_a_folder_before_its_first_wildcard(pattern, folder, below):
    assert split_pattern(pattern) == (folder, below)


@pytest.mark.parametrize("name", ["{subject}", "{0}", "[a]", "*", "a?", "[!b]{x}", "[[]", "]["])
def test_a_folder_of_any_name_is_found_by_its_escaped_pattern(tmp_path, name):
    for folder in (name, "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "s1.nii").touch()
    pattern = f"{escape_pattern(tmp_path / name)}/{{subject}}.nii"
    assert split_pattern(pattern)[0] == f"{tmp_path / name}/"
    (entry,) = find_pattern_maps(pattern)
    assert (entry.path, entry.name) == (tmp_path / name / "s1.nii", "s1.nii")
