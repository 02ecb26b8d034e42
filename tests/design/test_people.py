"""Which row of a table of participants or sessions belongs to a map, whatever its source."""

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.cli.inputs import check_inputs
from nipype_group.design.extent import study_extent
from nipype_group.design.foreseen import foreseen_observations
from nipype_group.design.participants.tables import read_sessions, session_files, session_of
from nipype_group.design.sources import MapEntry, read_participants

LABELS, SESSIONS = ("01", "002", "a3"), ("1", "02", "post")
# Every participant and session has an age of its own.
AGES = {key: str(20 + i) for i, key in enumerate(itertools.product(LABELS, SESSIONS))}
SOURCES = ("bids", "{session}", "{session_id}", "{ses}", "name", "session", "session_id", "ses")
TABLES = ("session_id", "session", "sessions.tsv")


@pytest.fixture
def study(tmp_path):
    """Write a map of every participant and session, named as in BIDS."""
    top = tmp_path / "study"
    for label, session in AGES:
        name = f"sub-{label}/ses-{session}/sub-{label}_ses-{session}_stat-effect_statmap.nii"
        (top / name).parent.mkdir(parents=True)
        values = np.full((2, 3, 2), float(AGES[label, session]), dtype=np.float32)
        nib.save(nib.Nifti1Image(values, np.eye(4)), top / name)
    return top


def write(path, rows, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(columns), *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def maps_of(study, source):
    """Return the inputs that name the maps by a source."""
    if source == "bids":
        return {"bids_dir": str(study), "select": ["stat=effect", f"ses={','.join(SESSIONS)}"]}
    if source.startswith("{"):
        return {"pattern": f"{study}/sub-{{subject}}/ses-{source}/*.nii"}
    if source == "name":
        return {"pattern": f"{study}/sub-{{subject}}/ses-02/*.nii"}
    rows = [
        (
            f"sub-{label}",
            ("ses-" if session == "1" else "") + session,
            f"m{label}{session}.nii",
        )
        for label, session in AGES
    ]
    # Names of maps tell no session here.
    for label, session in AGES:
        found = next(study.glob(f"sub-{label}/ses-{session}/*.nii"))
        (study / f"m{label}{session}.nii").write_bytes(found.read_bytes())
    return {"maps_table": write(study / "maps.tsv", rows, ("participant_id", source, "map"))}


def people_of(study, source, table, ages=AGES, prefix=""):
    """Write the table of people; return the inputs that name it."""
    if table == "sessions.tsv":
        for label in dict.fromkeys(label for label, _ in ages):
            rows = [(prefix + s, age) for (own, s), age in ages.items() if own == label]
            path = study / f"sub-{label}" / f"sub-{label}_sessions.tsv"
            write(path, rows, ("session_id", "age"))
        rows = [(label, "m") for label in LABELS]
        path = write(study / "participants.tsv", rows, ("participant_id", "sex"))
        return {} if source == "bids" else {"participants": path}
    rows = [(label, prefix + session, age) for (label, session), age in ages.items()]
    # What lies in the data set is not told.
    name = "participants.tsv" if source == "bids" else "people.tsv"
    path = write(study / name, rows[::-1], ("participant_id", table, "age"))
    return {} if source == "bids" else {"participants": path}


@pytest.mark.parametrize("prefix", ["", "ses-"])
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("source", SOURCES)
def test_every_map_has_the_age_of_its_session(study, source, table, prefix):
    files = maps_of(study, source) | people_of(study, source, table, prefix=prefix)
    check_inputs(files, ["age"])
    found = foreseen_observations(files, ["age"])
    n_maps = len(LABELS) if source == "name" else len(AGES)
    assert len(found.table) == n_maps
    values = [nib.load(path).get_fdata()[0, 0, 0] for path in found.map_files]
    assert found.table["age"].astype(float).tolist() == values
    # A pattern of one session expects no other one.
    assert not len(found.excluded)
    assert study_extent(files, "age")[:2] == (n_maps, (2, 3, 2))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("source", ["bids", "{ses}", "session"])
def test_rows_that_lack_or_stand_twice_are_named(study, source, table):
    fewer = {key: age for key, age in AGES.items() if key != ("002", "post")}
    files = maps_of(study, source) | people_of(study, source, table, fewer)
    if table == "sessions.tsv":
        found = foreseen_observations(files, ["age"])
        reasons = found.excluded["reason"].tolist()
        assert reasons == [
            "n/a in age: sub-002_sessions.tsv has no row of session post; it has 1, 02"
        ]
        # A model that does not use them needs no row.
        assert len(foreseen_observations(files, ["sex"]).table) == len(AGES)
    else:
        message = "no row of session post of the participant; it has 1, 02"
        with pytest.raises(
            ValueError, match=f"1 of 9 maps(.|\n)*sub-002(.|\n)*{message}|{message}"
        ):
            foreseen_observations(files, ["age"])
        found = foreseen_observations(files, ["age"], on_bad_map="exclude")
        assert len(found.table) == len(AGES) - 1
    path = study / "sub-002/sub-002_sessions.tsv"
    if table != "sessions.tsv":
        path = study / ("participants.tsv" if source == "bids" else "people.tsv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[-1]]) + "\n")
    with pytest.raises(
        ValueError, match=rf"{path.name}: more than one row of participant .* \(lines"
    ):
        foreseen_observations(files, ["age"])


def test_sessions_of_the_table_without_a_map_are_listed(study):
    files = maps_of(study, "bids") | people_of(study, "bids", "session_id")
    (study / "sub-01/ses-02/sub-01_ses-02_stat-effect_statmap.nii").unlink()
    listed = foreseen_observations(files, ["age"]).excluded
    assert listed["ses"].tolist() == ["02"]
    # Whose session is in the name alone.
    for label, session in AGES:
        if (label, session) not in (("01", "1"), ("002", "02")):
            for path in study.glob(f"sub-{label}/ses-{session}/*.nii"):
                path.unlink()
    files = {"pattern": f"{study}/*/ses-*/sub-{{subject}}_*.nii"}
    files |= {"participants": str(study / "participants.tsv")}
    found = foreseen_observations(files, ["age"])
    assert found.table["age"].tolist() == [AGES["002", "02"], AGES["01", "1"]]
    listed = dict(zip(found.excluded["participant_id"], found.excluded["reason"], strict=True))
    assert listed == {
        "a3": "no map was found",
        "sub-002": "no map of session 1 was found",
        "sub-01": "no map of session 02 was found",
    }


def test_a_map_without_session_is_told_how_to_have_one(study):
    for i, label in enumerate(LABELS):
        values = np.full((2, 3, 2), i + 1, dtype=np.float32)
        nib.save(nib.Nifti1Image(values, np.eye(4)), study / f"{label}_map.nii")
    pattern = {"pattern": f"{study}/{{subject}}_map.nii"}
    files = pattern | people_of(study, "pattern", "session")
    with pytest.raises(ValueError, match="nothing tells that of the map: give the table of maps"):
        foreseen_observations(files, ["age"])
    one_each = {(label, "1"): "30" for label in LABELS}
    files = pattern | people_of(study, "pattern", "session", one_each)
    assert foreseen_observations(files, ["age"]).table["age"].tolist() == ["30"] * 3


def test_a_column_session_of_another_meaning_belongs_to_participants(study):
    rows = [(label, "morning" if i else "evening", "30") for i, label in enumerate(LABELS)]
    path = write(study / "people.tsv", rows, ("participant_id", "session", "age"))
    files = maps_of(study, "{ses}") | {"participants": path}
    table = foreseen_observations(files, ["session"]).table
    assert table.groupby("participant_id")["session"].nunique().tolist() == [1, 1, 1]
    rows = [(label, "1", "30") for label in LABELS]
    write(study / "people.tsv", rows, ("participant_id", "session", "age"))
    with pytest.raises(ValueError, match="column session tells something else, rename it"):
        foreseen_observations(files, ["age"])


def test_two_tables_that_contradict_each_other_are_refused_where_it_matters(study):
    files = maps_of(study, "bids") | people_of(study, "bids", "sessions.tsv")
    rows = [(label, "30", "m") for label in LABELS]
    write(study / "participants.tsv", rows, ("participant_id", "age", "sex"))
    assert foreseen_observations(files, ["sex"]).table["age"].tolist() == ["30"] * len(AGES)
    with pytest.raises(
        ValueError, match="column age says 20 in sub-01_sessions.tsv for session 1"
    ):
        foreseen_observations(files, ["age"])


def both(message):
    return {"session_id": message, "sessions.tsv": message}


HOSTILE = {
    "mark of byte order": (lambda text: "\ufeff" + text, None),
    "line ends of Windows": (lambda text: text.replace("\n", "\r\n"), None),
    "blanks": (lambda text: text.replace("\t", " \t "), None),
    "empty lines": (lambda text: text.replace("\n", "\n\n"), None),
    "column twice": (lambda text: text.replace("age\n", "age\tage\n"), both("age stands twice")),
    "no session": (
        lambda text: text.replace("02\t2", "n/a\t2"),
        {"session_id": "no session_id in line 3, 6, 9", "sessions.tsv": "no session_id in line 3"},
    ),
    "binary": (lambda text: text.replace("2", "\0"), both("binary data")),
    "other name": (
        lambda text: text.replace("session_id", "visit"),
        {"session_id": "in a column session_id", "sessions.tsv": "no column session_id"},
    ),
    "number for a label": (
        lambda text: text.replace("02\t2", "2\t2"),
        both("no row of session 02"),
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("table", ["session_id", "sessions.tsv"])
def test_hostile_tables(study, table, what):
    change, messages = HOSTILE[what]
    files = maps_of(study, "{ses}") | people_of(study, "{ses}", table)
    path = study / ("sub-01/sub-01_sessions.tsv" if table == "sessions.tsv" else "people.tsv")
    with path.open("w", newline="", encoding="utf-8") as stream:
        stream.write(change(in_order(table)))
    if messages is None:
        ages = foreseen_observations(files, ["age"]).table["age"]
        assert sorted(ages) == sorted(AGES.values())
    elif what == "number for a label" and table == "sessions.tsv":
        assert messages[table] in foreseen_observations(files, ["age"]).excluded["reason"].iloc[0]
    else:
        with pytest.raises(ValueError, match=messages[table]):
            foreseen_observations(files, ["age"])


def in_order(table):
    """Return the text of a table of sessions, rows in the order of `AGES`."""
    if table == "sessions.tsv":
        own = [(s, age) for (label, s), age in AGES.items() if label == "01"]
        return "session_id\tage\n" + "".join(f"{s}\t{age}\n" for s, age in own)
    lines = "".join(f"{label}\t{s}\t{age}\n" for (label, s), age in AGES.items())
    return f"participant_id\tsession_id\tage\n{lines}"


def test_labels_that_are_no_labels_lead_nowhere(tmp_path):
    inside = tmp_path / "study"
    (tmp_path / "sub-x").mkdir()
    (tmp_path / "sub-x" / "sub-x_sessions.tsv").write_text("session_id\n1\n")
    inside.mkdir()
    assert session_files({"bids_dir": inside}, ["../sub-x/../x", "x/../../sub-x", ""]) == {}
    assert read_sessions({}) is None


def test_columns_are_asked_before_names():
    entry = MapEntry(
        "01", Path("a.nii"), "ses-9/a.nii", {"ses": "ses-2"}, covariates={"session": "3"}
    )
    assert session_of(entry) == "3"
    assert session_of(MapEntry("01", Path("a.nii"), "sub-1_ses-9_x.nii")) == "9"
    assert session_of(MapEntry("01", Path("a.nii"), "focuses-9.nii")) is None


def test_one_row_a_participant_is_as_before(tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_text("participant_id\tage\nsub-01\t30\nsub-02\t40\n")
    table = read_participants(path)
    pd.testing.assert_index_equal(table.index, pd.Index(["01", "02"], name="label"), exact=False)
    path.write_text("participant_id\tage\nsub-01\t30\n01\t40\n")
    with pytest.raises(ValueError, match="01 stands in more than one row; where these"):
        read_participants(path)
