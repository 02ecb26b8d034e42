"""What FSL and SPM leave on disk: merged maps, names of contrasts."""

import gzip

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.design.first_level import (
    contrast_name,
    find_merged_maps,
    of_other_contrasts,
    split_merged,
)
from nipype_group.design.sources import MapEntry
from nipype_group.images import MapError


def maps_of(n, shape=(4, 5, 3)):
    values = np.random.default_rng(3).standard_normal((*shape, n)).astype(np.float32)
    values[0, 0] = 0
    values[1, 0] = np.nan
    return values


@pytest.fixture
def con(write_map):
    """Return a function that writes an SPM contrast image; gives its entry."""

    def write(label, descrip, name="con_0001.nii", **conditions):
        def image(values, affine):
            made = nib.Nifti1Image(values, affine)
            made.header["descrip"] = descrip
            return made

        path = write_map(f"spm/{label}/{name}", np.ones((2, 2, 2), np.float32), image=image)
        return MapEntry(label, path, path.name, conditions)

    return write


@pytest.fixture
def cope(write_map, tmp_path):
    """Return a function that writes a cope into a FEAT folder; gives its path."""

    def write(folder, names, cope="stats/cope1.nii.gz"):
        path = write_map(f"{folder}/{cope}", np.ones((2, 2, 2), np.float32))
        rows = "".join(f"/ContrastName{i + 1}\t{name}\n" for i, name in enumerate(names))
        text = f"{rows}/NumWaves\t1\n/NumContrasts\t{len(names)}\n/PPheights\t\t1.0\n\n/Matrix\n"
        (tmp_path / folder / "design.con").write_text(text + "1.000000e+00\n" * len(names))
        return path

    return write


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_volumes_are_written_as_they_are(write_map, tmp_path, suffix, dtype):
    values = maps_of(6) if dtype is np.float32 else np.arange(4 * 5 * 3 * 6).reshape(4, 5, 3, 6)
    path = write_map(f"merged{suffix}", values.astype(dtype))
    (tmp_path / "node").mkdir()
    files = split_merged(path, tmp_path / "node")
    assert files == [str(tmp_path / "node" / f"vol{i:04d}.nii") for i in range(6)]
    for i, file in enumerate(files):
        image = nib.load(file)
        np.testing.assert_array_equal(np.asarray(image.dataobj), values[..., i])
        np.testing.assert_array_equal(image.affine, nib.load(path).affine)


def test_scaling_of_the_merged_image_is_applied(write_map, tmp_path):
    def scaled(values, affine):
        image = nib.Nifti1Image(values, affine)
        image.header.set_slope_inter(0.5, 3)
        return image

    path = write_map("merged.nii", np.arange(16, dtype=np.int16).reshape(2, 2, 2, 2), image=scaled)
    raw = np.asarray(nib.load(path).dataobj)
    for i, file in enumerate(split_merged(path, tmp_path)):
        np.testing.assert_array_equal(np.asarray(nib.load(file).dataobj), raw[..., i])


@pytest.mark.parametrize("shape", [(4, 4, 4), (4, 4, 4, 1, 3)])
def test_an_image_that_is_not_4d_is_refused(write_map, tmp_path, shape):
    path = write_map("one.nii", np.ones(shape, np.float32))
    with pytest.raises(MapError, match=r"one.nii: its shape is .* 4D is expected"):
        split_merged(path, tmp_path)


def test_a_truncated_merged_image_is_named(write_map, tmp_path):
    path = write_map("merged.nii.gz", maps_of(5))
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content)[:-300])
    with pytest.raises(MapError, match=r"merged.nii.gz: cannot be read as an image"):
        split_merged(path, tmp_path)


def test_volumes_without_a_table_are_numbered(write_map, tmp_path):
    entries = find_merged_maps(write_map("merged.nii", maps_of(11)), tmp_path)
    assert [e.participant for e in entries] == [f"{i:02d}" for i in range(1, 12)]
    assert [e.name for e in entries[:2]] == ["merged.nii[0]", "merged.nii[1]"]
    assert all(e.variance is None and e.conditions == e.covariates == {} for e in entries)


def test_a_table_names_the_volumes_in_their_order(write_map, tmp_path):
    table = tmp_path / "volumes.tsv"
    rows = {
        "participant_id": ["sub-b", "sub-b", "a", "a"],
        "task": ["words", "faces"] * 2,
        "age": ["30", "30", "n/a", "n/a"],
    }
    pd.DataFrame(rows).to_csv(table, sep="\t", index=False)
    effects, variances = write_map("e.nii", maps_of(4)), write_map("v.nii", maps_of(4) ** 2)
    entries = find_merged_maps(effects, tmp_path, table, variances)
    assert [e.participant for e in entries] == ["b", "b", "a", "a"]
    assert [e.conditions for e in entries] == [{"task": t} for t in rows["task"]]
    assert [e.covariates["age"] for e in entries[:2]] == ["30", "30"]
    assert np.isnan(entries[2].covariates["age"])
    for i, entry in enumerate(entries):
        np.testing.assert_array_equal(
            np.asarray(nib.load(entry.variance).dataobj), maps_of(4)[..., i] ** 2
        )


def test_numbers_of_volumes_and_rows_differ(write_map, tmp_path):
    table = tmp_path / "volumes.tsv"
    table.write_text("participant_id\tage\n" + "".join(f"s{i}\t{i}\n" for i in range(3)))
    effects = write_map("e.nii", maps_of(4))
    with pytest.raises(MapError, match=r"e.nii: 4 volumes; .*volumes.tsv has 3 rows"):
        find_merged_maps(effects, tmp_path, table)
    with pytest.raises(MapError, match=r"v.nii: 5 volumes of variances for 4 of .*e.nii"):
        find_merged_maps(effects, tmp_path, None, write_map("v.nii", maps_of(5)))
    table.write_text("participant_id\tage\ns1\t1\n\t2\ns3\t3\n\t4\n")
    with pytest.raises(ValueError, match="no participant_id in line 3, 5"):
        find_merged_maps(effects, tmp_path, table)


@pytest.mark.parametrize(
    ("descrip", "name"),
    [
        ("SPM contrast - 1: faces > houses", "faces > houses"),
        ("Contrast 12: faces > houses", "faces > houses"),
        ("SPM{T_[190.0]} - contrast 3: go: correct", "go: correct"),
        ("SPM contrast - 2: a - b - All Sessions", "a - b - All Sessions"),
        ("SPM contrast - 2: a - b - conv(8,8,8)", "a - b"),
        ("SPM contrast - 2: a - b - sconv(8,8,8)", "a - b"),
        ("spm - 3D normalized", None),
        ("contrast agent", None),
        ("", None),
    ],
)
def test_spm_says_the_contrast_in_the_header(con, descrip, name):
    assert contrast_name(con("01", descrip).path) == name


@pytest.mark.parametrize("place", ["stats", "reg_standard/stats"])
def test_feat_says_the_contrast_in_its_folder(cope, place):
    names = ["go", "stop - go"]
    assert contrast_name(cope("1.feat", names, f"{place}/cope2.nii.gz")) == "stop - go"
    assert contrast_name(cope("1.feat", names, f"{place}/cope1.nii.gz")) == "go"
    assert contrast_name(cope("1.feat", names, f"{place}/varcope1.nii.gz")) is None
    assert contrast_name(cope("1.feat", ["", "b"], f"{place}/cope1.nii.gz")) is None


def test_the_contrast_of_a_second_level_is_that_of_both(cope, tmp_path):
    path = cope("1.gfeat/cope3.feat", ["mean"])
    assert contrast_name(path) == "mean"
    (tmp_path / "1.gfeat/cope3.feat/design.lev").write_text("stop - go\n")
    assert contrast_name(path) == "stop - go: mean"


def test_a_missing_or_broken_file_has_no_contrast(tmp_path):
    (tmp_path / "broken.nii").write_text("x")
    assert contrast_name(tmp_path / "broken.nii") is None
    assert contrast_name(tmp_path / "stats" / "cope1.nii.gz") is None


def test_maps_of_another_contrast_than_most_are_found(con):
    entries = [con(str(i), "SPM contrast - 1: faces > houses") for i in range(4)]
    entries.append(con("4", "SPM contrast - 1: houses > faces"))
    ((entry, reason),) = of_other_contrasts(entries)
    assert entry.participant == "4"
    assert reason == "its contrast is 'houses > faces', that of most maps is 'faces > houses'"


def test_spellings_numbers_and_silent_maps_make_no_other_contrast(con, write_map):
    texts = ["1: Faces > houses", "2: faces>houses", "1: faces > houses - All Sessions"]
    entries = [con(str(i), f"SPM contrast - {text}") for i, text in enumerate(texts)]
    silent = MapEntry("9", write_map("effect.nii", np.ones((2, 2, 2))), "effect.nii")
    assert of_other_contrasts([*entries, silent]) == []


def test_contrasts_are_compared_within_a_condition(con):
    entries = [
        con(str(i), f"Contrast {k}: {name}", f"con_{k:04d}.nii", condition=f"{k:04d}")
        for i in range(3)
        for k, name in ((1, "faces"), (2, "houses" if i else "faces"))
    ]
    ((entry, reason),) = of_other_contrasts(entries)
    assert (entry.participant, entry.conditions) == ("0", {"condition": "0002"})
    assert "'faces', that of most maps is 'houses'" in reason


def test_without_a_majority_all_are_named(con):
    entries = [con(str(i), f"Contrast 1: {'ab'[i % 2]}") for i in range(4)]
    found = of_other_contrasts(entries)
    assert [e.participant for e, _ in found] == ["0", "1", "2", "3"]
    assert found[1][1] == "its contrast is 'b'; no contrast is that of most maps"
