"""CollectMaps: four sources, one table of observations."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.sources import read_tsv
from nipype_group.interfaces import CollectMaps


@pytest.fixture
def collect(tmp_path, monkeypatch):
    """Return a function that runs CollectMaps and gives its outputs and tables."""
    monkeypatch.chdir(tmp_path)

    def run(**inputs):
        outputs = CollectMaps(**inputs).run().outputs
        return outputs, read_tsv(outputs.observations), read_tsv(outputs.excluded)

    return run


def map_paths(study):
    return [str(p) for p in sorted(study.rglob("*.nii.gz"))]


def test_bids_source_joins_participants(collect, small_study):
    outputs, table, excluded = collect(bids_dir=str(small_study), select=["stat=effect"])
    assert outputs.map_files == map_paths(small_study)
    assert table["participant_id"].tolist() == [f"sub-{i:02d}" for i in range(1, 13)]
    assert [Path(m).name for m in table["map"]] == [Path(m).name for m in outputs.map_files]
    assert table["age"].iloc[0] == "20.0000"
    assert excluded.empty
    assert outputs.condition_columns == []
    assert Path(outputs.observations).is_absolute()


def test_row_without_a_used_variable_is_excluded_with_its_reason(collect, small_study):
    outputs, table, excluded = collect(
        bids_dir=str(small_study), select=["stat=effect"], variables=["age", "score"]
    )
    assert len(outputs.map_files) == len(table) == 11
    assert excluded["participant_id"].tolist() == ["sub-04"]
    assert excluded["reason"].tolist() == ["n/a in score"]


def test_participant_without_a_map_is_listed(collect, small_study):
    next(small_study.rglob("sub-05*.nii.gz")).unlink()
    outputs, _, excluded = collect(bids_dir=str(small_study), select=["stat=effect"])
    assert len(outputs.map_files) == 11
    assert excluded["participant_id"].tolist() == ["sub-05"]
    assert excluded["reason"].tolist() == ["no map was found"]


def test_rows_follow_the_participants_table(collect, small_study):
    path = small_study / "participants.tsv"
    read_tsv(path).iloc[::-1].to_csv(path, sep="\t", index=False, na_rep="n/a")
    outputs, table, _ = collect(bids_dir=str(small_study), select=["stat=effect"])
    assert table["participant_id"].iloc[0] == "sub-12"
    assert outputs.map_files == map_paths(small_study)[::-1]


def test_pattern_table_and_files_find_the_same_maps(collect, small_study, tmp_path):
    maps = map_paths(small_study)
    labels = [f"sub-{i:02d}" for i in range(1, 13)]
    listing = tmp_path / "maps.tsv"
    pd.DataFrame({"participant_id": labels, "map": maps}).to_csv(listing, sep="\t", index=False)
    participants = str(small_study / "participants.tsv")
    sources = [
        {"pattern": f"{small_study}/{{subject}}/*_statmap.nii.gz"},
        {"maps_table": str(listing)},
        {"map_files": maps, "participant_ids": labels},
    ]
    for source in sources:
        outputs, table, _ = collect(participants=participants, **source)
        assert outputs.map_files == maps
        assert table["age"].tolist()[-1] == "60.0000"


def test_conditions_become_columns(collect, write_map, tmp_path):
    rng = np.random.default_rng(1)
    for subject in "12":
        for task in ("words", "faces"):
            name = f"con/{subject}/{task}.nii"
            write_map(name, rng.standard_normal((4, 4, 4)).astype(np.float32))
    outputs, table, _ = collect(pattern=f"{tmp_path}/con/{{subject}}/{{condition}}.nii")
    assert outputs.condition_columns == ["condition"]
    assert table["condition"].tolist() == ["faces", "words"] * 2
    assert table["participant_id"].tolist() == ["sub-1", "sub-1", "sub-2", "sub-2"]


def test_variance_maps_of_a_table(collect, write_map, tmp_path):
    rng = np.random.default_rng(1)
    rows = []
    for i in range(3):
        values = rng.standard_normal((4, 4, 4)).astype(np.float32)
        write_map(f"e{i}.nii", values)
        write_map(f"v{i}.nii", values**2)
        rows.append({"participant_id": f"s{i}", "map": f"e{i}.nii", "variance": f"v{i}.nii"})
    listing = tmp_path / "maps.tsv"
    pd.DataFrame(rows).to_csv(listing, sep="\t", index=False)
    outputs, _, _ = collect(maps_table=str(listing))
    assert outputs.variance_files == [str(tmp_path / f"v{i}.nii") for i in range(3)]


def test_bad_maps_are_all_named(collect, small_study, write_map):
    maps = map_paths(small_study)
    Path(maps[0]).write_bytes(Path(maps[0]).read_bytes()[:200])
    write_map(maps[2], np.full((9, 10, 8), np.nan, dtype=np.float32))
    write_map(maps[5], np.ones((9, 10, 7), dtype=np.float32))
    with pytest.raises(ValueError, match="3 of 12 maps cannot be used") as caught:
        collect(bids_dir=str(small_study), select=["stat=effect"])
    for index in (0, 2, 5):
        assert Path(maps[index]).name in str(caught.value)
    for index in (1, 3):
        assert Path(maps[index]).name not in str(caught.value)


def test_bad_maps_are_listed_as_excluded_on_request(collect, small_study, write_map):
    maps = map_paths(small_study)
    write_map(maps[2], np.full((9, 10, 8), np.nan, dtype=np.float32))
    write_map(maps[5], np.ones((9, 10, 7), dtype=np.float32))
    outputs, _, excluded = collect(
        bids_dir=str(small_study), select=["stat=effect"], on_bad_map="exclude"
    )
    assert len(outputs.map_files) == 10
    reasons = dict(zip(excluded["participant_id"], excluded["reason"], strict=True))
    assert set(reasons) == {"sub-03", "sub-06"}
    assert "empty" in reasons["sub-03"]
    assert "another grid" in reasons["sub-06"]


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"pattern": "{subject}.nii", "map_files": ["a.nii"], "participant_ids": ["a"]},
    ],
)
def test_exactly_one_source_is_asked_for(collect, write_map, inputs):
    write_map("a.nii", np.ones((3, 3, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="give one source of maps"):
        collect(**inputs)


def test_number_of_identifiers_must_match(collect, small_study):
    with pytest.raises(ValueError, match="12 map_files but 1 participant_ids"):
        collect(map_files=map_paths(small_study), participant_ids=["a"])


def test_unknown_variable_is_named(collect, small_study):
    with pytest.raises(ValueError, match=r"no column fluency in the tables; there are .*age"):
        collect(bids_dir=str(small_study), select=["stat=effect"], variables=["fluency"])


def test_checksums_are_those_of_the_files(collect, small_study):
    outputs, table, _ = collect(bids_dir=str(small_study), select=["stat=effect"])
    expected = [hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in outputs.map_files]
    assert table["sha256"].tolist() == expected
