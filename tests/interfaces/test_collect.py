"""CollectMaps: five sources, one table of observations."""

import hashlib
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.interfaces import CollectMaps
from nipype_group.tsv import read_tsv


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


def stack_of(study):
    return np.stack([np.asarray(nib.load(p).dataobj) for p in map_paths(study)], axis=-1)


def content(paths):
    return [np.asarray(nib.load(p).dataobj) for p in paths]


def test_volumes_of_a_stack_are_the_maps(collect, small_study, write_map):
    stack = write_map("merged/copes.nii.gz", stack_of(small_study))
    participants = str(small_study / "participants.tsv")
    outputs, table, excluded = collect(
        stack_file=str(stack), participants=participants, variables=["age", "score"]
    )
    # The fourth has no score.
    kept = [p for i, p in enumerate(map_paths(small_study)) if i != 3]
    np.testing.assert_array_equal(content(outputs.map_files), content(kept))
    assert table["map"].tolist()[2:4] == ["copes.nii.gz[2]", "copes.nii.gz[4]"]
    assert table["age"].tolist()[-1] == "60.0000"
    assert excluded["map"].tolist() == ["copes.nii.gz[3]"]


def test_bad_volumes_are_named_by_their_number(collect, small_study, write_map):
    values = stack_of(small_study)
    values[..., 4] = 0
    values[..., 7] = values[..., 6]
    stack = str(write_map("copes.nii", values))
    with pytest.raises(ValueError, match="3 of 12 maps cannot be used") as caught:
        collect(stack_file=stack)
    for index, reason in ((4, "empty"), (6, r"as copes.nii\[7\]"), (7, r"as copes.nii\[6\]")):
        assert re.search(rf"copes.nii\[{index}\] .*{reason}", str(caught.value))
    outputs, table, _ = collect(stack_file=stack, on_bad_map="exclude")
    assert table["participant_id"].tolist()[3:6] == ["sub-04", "sub-06", "sub-09"]
    assert len(outputs.map_files) == 9


def test_variances_of_every_source(collect, write_map, tmp_path):
    rng = np.random.default_rng(1)
    effects = rng.standard_normal((4, 4, 4, 3)).astype(np.float32)
    labels = ["1", "2", "3"]
    for i, label in enumerate(labels):
        for stat, values in (("effect", effects), ("variance", effects**2)):
            stem = f"sub-{label}_contrast-go_stat-{stat}_statmap.nii.gz"
            write_map(f"bids/node-subjectLevel/sub-{label}/{stem}", values[..., i])
    folder = tmp_path / "bids" / "node-subjectLevel"
    files = {
        s: [str(p) for p in sorted(folder.rglob(f"*{s}*.gz"))] for s in ("effect", "variance")
    }
    glob = f"{folder}/{{subject}}/*stat-%s_statmap.nii.gz"
    sources = [
        {
            "bids_dir": str(tmp_path / "bids"),
            "select": ["stat=effect", "suffix=statmap"],
            "variance_select": ["stat=variance"],
        },
        {"pattern": glob % "effect", "variance_pattern": glob % "variance"},
        {
            "map_files": files["effect"],
            "participant_ids": labels,
            "variance_files": files["variance"],
        },
        {
            "stack_file": str(write_map("e.nii.gz", effects)),
            "variance_stack_file": str(write_map("v.nii.gz", effects**2)),
        },
    ]
    for source in sources:
        outputs, table, _ = collect(**source)
        assert table["participant_id"].tolist() == ["sub-1", "sub-2", "sub-3"]
        np.testing.assert_array_equal(
            np.stack(content(outputs.variance_files), -1), effects**2, str(source)
        )


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"variance_pattern": "{subject}"}, "variance_pattern goes with pattern, not with map_f"),
        ({"variance_files": ["a.nii", "a.nii"]}, "1 map_files but 2 variance_files; give one"),
        ({"select": ["stat=effect"]}, "select goes with bids_dir, not with map_files"),
    ],
)
def test_inputs_of_another_source_are_refused(collect, write_map, inputs, message):
    write_map("a.nii", np.ones((3, 3, 3), dtype=np.float32))
    with pytest.raises(ValueError, match=message):
        collect(map_files=["a.nii"], participant_ids=["a"], **inputs)


@pytest.fixture
def con_images(write_map, tmp_path):
    """Write SPM contrast images, that of the third subject of another contrast; gives a glob."""
    rng = np.random.default_rng(5)
    for i, name in enumerate(["faces > houses", "faces > houses", "houses", "faces > houses"]):

        def image(values, affine, name=name):
            made = nib.Nifti1Image(values, affine)
            made.header["descrip"] = f"SPM contrast - 1: {name}"
            return made

        values = rng.standard_normal((5, 5, 5)).astype(np.float32)
        values[0] = np.nan
        write_map(f"spm/sub-{i}/con_0001.nii", values, image=image)
    return f"{tmp_path}/spm/{{subject}}/con_0001.nii"


def test_a_number_that_means_another_contrast_is_an_error(collect, con_images):
    with pytest.raises(ValueError, match="1 of 4 maps cannot be used") as caught:
        collect(pattern=con_images)
    assert re.search(r"sub-2/con_0001.nii: its contrast is 'houses', that of", str(caught.value))
    outputs, _, excluded = collect(pattern=con_images, on_bad_map="exclude")
    assert len(outputs.map_files) == 3
    assert excluded["participant_id"].tolist() == ["sub-2"]


def test_maps_of_several_contrasts_that_are_listed_are_in_with_a_warning(
    collect, con_images, monkeypatch
):
    warned = []
    monkeypatch.setattr(
        "nipype_group.interfaces.collect.LOGGER.warning", lambda *words: warned.append(words)
    )
    maps = [con_images.replace("{subject}", f"sub-{i}") for i in range(4)]
    outputs, _, excluded = collect(map_files=maps, participant_ids=list("0123"))
    assert outputs.map_files == maps
    assert excluded.empty
    ((_, line),) = warned
    assert line.startswith(f"{maps[2]}: ") and "houses" in line


def test_feat_folders_without_registration_are_on_other_grids(collect, write_map, tmp_path):
    rng = np.random.default_rng(5)
    for i in range(4):
        own = np.diag([3.0, 3.0, 3.0, 1.0])
        own[:3, 3] = rng.uniform(-20, 20, 3)
        for place, affine in (("stats", own), ("reg_standard/stats", np.diag([2.0, 2, 2, 1]))):
            values = rng.standard_normal((4, 4, 4)).astype(np.float32)
            write_map(f"fsl/{i}.feat/{place}/cope1.nii.gz", values, affine)
            write_map(f"fsl/{i}.feat/{place}/varcope1.nii.gz", values**2, affine)
    feat = f"{tmp_path}/fsl/{{subject}}.feat"
    with pytest.raises(ValueError, match="3 of 4 maps cannot be used") as caught:
        collect(pattern=f"{feat}/stats/cope1.nii.gz")
    assert "2.feat/stats/cope1.nii.gz: another grid" in str(caught.value)
    assert "in standard space are those in reg_standard/stats" in str(caught.value)
    registered = f"{feat}/reg_standard/stats"
    outputs, table, _ = collect(
        pattern=f"{registered}/cope1.nii.gz", variance_pattern=f"{registered}/varcope1.nii.gz"
    )
    assert table["participant_id"].tolist() == [f"sub-{i}" for i in range(4)]
    np.testing.assert_array_equal(
        content(outputs.variance_files), np.square(content(outputs.map_files))
    )


def test_a_changed_variance_map_or_volume_is_noticed(write_map):
    def hashed(**inputs):
        return CollectMaps(**inputs).inputs.get_hashval()[1]

    values = np.random.default_rng(1).standard_normal((3, 3, 3, 2)).astype(np.float32)
    effect, variance = write_map("e.nii", values[..., 0]), write_map("v.nii", values[..., 1])
    stack = write_map("s.nii", values)
    glob = f"{effect.parent}/{{subject}}.nii"
    listing = effect.with_name("maps.tsv")
    listing.write_text("participant_id\tmap\tvariance\n1\te.nii\tv.nii\n")
    sources = [
        {"pattern": glob.replace("{", "[e]{"), "variance_pattern": glob.replace("{", "[v]{")},
        {"maps_table": str(listing)},
        {"stack_file": str(stack)},
    ]
    effect.rename(effect.with_name("e1.nii")), variance.rename(variance.with_name("v1.nii"))
    listing.write_text("participant_id\tmap\tvariance\n1\te1.nii\tv1.nii\n")
    before = [hashed(**source) for source in sources]
    assert [hashed(**source) for source in sources] == before
    write_map("v1.nii", values[..., 1] + 1)
    write_map("s.nii", values + 1)
    after = [hashed(**source) for source in sources]
    assert all(a != b for a, b in zip(after, before, strict=True))
