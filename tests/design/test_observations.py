"""Which maps are in, which are not, and the reasons given."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.design.observations import _most_common_space, collect
from nipype_group.design.sources import MapEntry, find_bids_maps, read_participants
from nipype_group.design.tables import variables_of
from nipype_group.images import Grid, file_sha256

SHAPE = (4, 5, 6)
SHIFTED = np.diag([3.0, 3, 3, 1]) + np.pad([[7.0]], ((0, 3), (3, 0)))


@pytest.fixture
def entry(write_map):
    """Return a function that writes a map and describes it."""

    def make(label, values=None, affine=None, name=None, **kwargs):
        name = name or f"{label}{''.join(map(str, kwargs.get('conditions', {}).values()))}.nii.gz"
        if values is None:
            values = np.random.default_rng(list(name.encode())).random(SHAPE) + 1
        where = {} if affine is None else {"affine": affine}
        path = write_map(f"maps/{name}", np.asarray(values, dtype=np.float32), **where)
        return MapEntry(label, path, f"maps/{name}", **kwargs)

    return make


def people(*labels, **columns):
    table = pd.DataFrame({"participant_id": [f"sub-{v}" for v in labels], **columns}, dtype=str)
    return table.set_index(pd.Index(labels, name="label"))


def reasons(observations):
    return dict(zip(observations.excluded["map"], observations.excluded["reason"], strict=True))


def test_the_small_study(small_study):
    entries = find_bids_maps(small_study, {"stat": ["effect"]})
    table = read_participants(small_study / "participants.tsv")
    found = collect(entries, table, variables=["age", "score"])
    assert len(found.table) == 11
    assert found.excluded.to_dict("records") == [
        {"participant_id": "sub-04", "map": entries[3].name, "reason": "n/a in score"}
    ]
    first = found.table.iloc[0]
    assert first["participant_id"] == "sub-01"
    assert first["sha256"] == file_sha256(entries[0].path)
    assert list(found.table.columns)[-2:] == ["map", "sha256"]
    assert found.map_files[3] == str(entries[4].path)
    assert found.variance_files == []


def test_rows_follow_the_participants_table(entry):
    entries = [entry(v) for v in ("01", "02", "03")]
    found = collect(entries, people("03", "01", "02", age=["1", "2", "3"]))
    assert found.table["participant_id"].tolist() == ["sub-03", "sub-01", "sub-02"]
    assert found.table["age"].tolist() == ["1", "2", "3"]
    assert found.map_files[0].endswith("03.nii.gz")


def test_only_used_variables_decide_who_is_in(entry):
    table = people("01", "02", age=["1", None], iq=[None, "2"])
    entries = [entry("01"), entry("02")]
    assert len(collect(entries, table).table) == 2
    found = collect(entries, table, variables=["age"])
    assert reasons(found) == {"maps/02.nii.gz": "n/a in age"}
    with pytest.raises(ValueError, match=r"No map is left .*1 x n/a in iq; 1 x n/a in age"):
        collect(entries, table, variables=["age", "iq"])


def test_participants_without_a_map_are_listed(entry):
    found = collect([entry("01"), entry("02")], people("01", "02", "03"))
    assert found.excluded[["participant_id", "reason"]].to_numpy().tolist() == [
        ["sub-03", "no map was found"]
    ]


def test_without_a_participants_table_every_map_is_in(entry):
    found = collect([entry("02"), entry("01")])
    assert found.table["participant_id"].tolist() == ["sub-02", "sub-01"]
    assert len(found.excluded) == 0


def test_an_unknown_variable_lists_the_columns(entry):
    with pytest.raises(
        ValueError, match="no column agee in the tables, did you mean age.; there are age, partic"
    ):
        collect([entry("01")], people("01", age=["1"]), variables=["agee"])


@pytest.fixture
def bad(entry, tmp_path):
    """Six good maps and one of every kind that cannot be used; the reason of each."""
    entries = [entry(f"{i:02d}") for i in range(1, 7)]
    broken = {}

    def add(expected, label, *args, **kwargs):
        entries.append(entry(label, *args, **kwargs))
        broken[entries[-1].name] = expected

    twin = nib.load(entries[0].path).get_fdata()
    broken[entries[0].name] = "the same values as maps/11.nii.gz"
    add("the same values as maps/01.nii.gz", "11", twin)
    add("the map is empty", "12", np.full(SHAPE, np.nan))
    add("the map is empty", "13", np.zeros(SHAPE))
    add("another grid: 4 x 5 x 6 voxels", "14", affine=SHIFTED)
    add("another grid: 5 x 5 x 5 voxels", "15", np.ones((5, 5, 5)))
    add("it may be damaged or truncated", "16")
    entries[-1].path.write_bytes(entries[-1].path.read_bytes()[:-40])
    add("cannot be read as an image", "17")
    entries[-1].path.write_bytes(b"this is no image")
    add("one volume is expected", "18", np.ones((*SHAPE, 2)))
    add("the file does not exist", "19")
    entries[-1].path.unlink()
    add("no such participant in the participants table", "99")
    add("more than one map, and", "20", name="20a.nii.gz")
    add("more than one map, and", "20", name="20b.nii.gz")
    return entries, people(*sorted({e.participant for e in entries} - {"99"})), broken


def test_all_bad_maps_are_named_with_their_reason_in_one_error(bad):
    entries, table, broken = bad
    with pytest.raises(ValueError, match=f"{len(broken)} of {len(entries)} maps") as error:
        collect(entries, table)
    lines = str(error.value).splitlines()
    assert len(lines) == len(broken) + 2
    for name, expected in broken.items():
        assert any(name in line and expected in line for line in lines), name
    assert "on_bad_map" in lines[-1]


def test_bad_maps_are_left_out_on_request_with_their_reason(bad):
    entries, table, broken = bad
    found = collect(entries, table, on_bad_map="exclude")
    assert found.table["participant_id"].tolist() == [f"sub-{i:02d}" for i in range(2, 7)]
    given = reasons(found)
    assert set(given) == set(broken)
    for name, expected in broken.items():
        assert expected in given[name]


def test_on_bad_map_takes_two_words(entry):
    with pytest.raises(ValueError, match="error or exclude, got 'skip'"):
        collect([entry("01")], on_bad_map="skip")


def test_the_grid_of_most_maps_is_the_right_one_even_if_the_first_differs(entry):
    entries = [entry("01", affine=SHIFTED), entry("02"), entry("03")]
    found = collect(entries, on_bad_map="exclude")
    assert found.table["participant_id"].tolist() == ["sub-02", "sub-03"]
    assert list(reasons(found)) == ["maps/01.nii.gz"]


def test_the_grid_of_most_maps_counts_those_that_match_but_for_rounding(entry):
    nudged = [np.diag([3.0, 3, 3, 1]) + 1e-6 * k * np.eye(4, k=3) for k in range(3)]
    entries = [entry(f"0{i}", affine=SHIFTED) for i in range(2)]
    entries += [entry(f"1{i}", affine=affine) for i, affine in enumerate(nudged)]
    found = collect(entries, on_bad_map="exclude")
    assert found.table["participant_id"].tolist() == ["sub-10", "sub-11", "sub-12"]


def test_grids_are_compared_by_kind_and_not_by_map(monkeypatch):
    grids = [Grid(SHAPE, np.diag([3.0, 3, 3, 1])) for _ in range(300)]
    grids[7] = Grid(SHAPE, SHIFTED)
    compared, matches = [], Grid.matches

    def counted(self, other):
        compared.append(other)
        return matches(self, other)

    monkeypatch.setattr(Grid, "matches", counted)
    assert _most_common_space(grids) is grids[0]
    assert len(compared) == 4
    assert _most_common_space(grids[6:9][::-1]) is grids[8]
    assert _most_common_space([]) is None


def test_maps_that_differ_where_both_have_no_value_are_still_copies(entry):
    values = np.random.default_rng(0).random(SHAPE)
    values[0] = 0
    other = values.copy()
    other[0] = np.nan
    with pytest.raises(ValueError, match="the same values as"):
        collect([entry("01", values), entry("02", other), entry("03")])


def test_conditions_key_the_rows_and_missing_ones_are_listed(entry):
    entries = [
        entry(label, conditions={"task": task})
        for label, task in (("01", "a"), ("01", "b"), ("02", "a"), ("02", "b"), ("03", "a"))
    ]
    found = collect(entries, people("01", "02", "03"))
    assert found.condition_columns == ["task"]
    assert found.table["task"].tolist() == ["a", "b", "a", "b", "a"]
    (row,) = found.excluded.to_dict("records")
    assert (row["participant_id"], row["task"]) == ("sub-03", "b")
    assert "the participant's others are in" in row["reason"]


def test_a_map_whose_condition_is_missing_is_out_and_makes_no_condition(entry):
    visits = (("01", "pre"), ("01", "post"), ("02", "pre"), ("02", None))
    entries = [entry(label, conditions={"visit": visit}) for label, visit in visits]
    found = collect(entries, variables=["visit"])
    assert found.table["visit"].tolist() == ["pre", "post", "pre"]
    assert found.excluded[["participant_id", "reason"]].to_numpy().tolist() == [
        ["sub-02", "n/a in visit"],
        ["sub-02", "no map was found for this condition; the participant's others are in"],
    ]
    # A column that the model does not use tells the maps apart where it has no value, too.
    assert collect(entries).table["visit"].isna().tolist() == [False, False, False, True]


def test_of_listed_maps_the_conditions_of_most_participants_are_expected(entry):
    days = [("01", "a"), ("01", "b"), ("02", "a"), ("02", "c"), ("03", "a")]
    entries = [entry(label, conditions={"day": day}) for label, day in days]
    assert len(collect(entries).excluded) == 4
    assert len(collect(entries, listed=True).excluded) == 0
    (row,) = collect(
        [*entries, entry("03", conditions={"day": "b"})], listed=True
    ).excluded.to_dict("records")
    assert (row["participant_id"], row["day"]) == ("sub-02", "b")


def test_columns_that_say_two_things_are_refused(entry):
    table = people("01", task=["x"], age=["30"])
    with pytest.raises(ValueError, match="column task of the participants table has the name of"):
        collect([entry("01", conditions={"task": "a"})], table)
    with pytest.raises(ValueError, match="column age says 31 in the table of maps and 30"):
        collect([entry("01", covariates={"age": "31"})], table)
    assert len(collect([entry("01", covariates={"age": "30"})], table).table) == 1


def test_variance_maps_are_checked_and_kept_in_order(entry, write_map):
    variance = write_map("v.nii", np.ones(SHAPE, np.float32))
    one, two = entry("01", variance=variance), entry("02", variance=variance)
    assert collect([one, two]).variance_files == [str(variance)] * 2
    with pytest.raises(ValueError, match=r"these have none: maps/03.nii.gz"):
        collect([one, two, entry("03")])
    other = write_map("w.nii", np.ones((2, 2, 2), np.float32))
    with pytest.raises(ValueError, match="grid is 2 x 2 x 2 voxels.*that of its map is"):
        collect([one, entry("04", variance=other)])


def test_no_entries_is_an_error():
    with pytest.raises(ValueError, match="No map is left for the analysis: none was found"):
        collect([])


def test_typed_leaves_identifiers_and_conditions_as_text():
    table = pd.DataFrame(
        {
            "participant_id": ["01", "02"],
            "visit": ["1", "2"],
            "age": ["31", None],
            "sex": ["f", "2"],
            "map": ["1", "2"],
        },
        dtype=str,
    )
    result = variables_of(table, ["visit"])
    assert result["participant_id"].tolist() == ["01", "02"]
    assert result["visit"].tolist() == ["1", "2"]
    assert result["age"][0] == 31
    assert np.isnan(result["age"][1])
    assert result["sex"].tolist() == ["f", "2"]
    assert table["age"][0] == "31"


@pytest.mark.parametrize("listed", [None, ("01", "2", "003", "x")])
def test_labels_of_one_number_are_one_participant_on_request(entry, listed):
    labels = ["1", "01", "2", "002", "3", "3", "x", "x"]
    entries = [entry(label, conditions={"visit": "ab"[i % 2]}) for i, label in enumerate(labels)]
    found = collect(entries, listed and people(*listed), listed=True, ids_as_numbers=True)
    names = found.table["participant_id"].str.removeprefix("sub-").tolist()
    kept = listed or ("1", "2", "3", "x")
    assert sorted(names) == sorted([*kept, *kept])
    # Two maps of one number are two maps of a participant.
    entries = [entry("1", name="a.nii.gz"), entry("01", name="b.nii.gz")]
    with pytest.raises(ValueError, match="the participant has more than one map"):
        collect(entries, ids_as_numbers=True)
    assert len(collect(entries).table) == 2
