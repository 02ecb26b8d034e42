"""Label files of every form, and those that are wrong."""

import json
import os
import pickle
import signal

import nibabel as nib
import numpy as np
import pytest

from nipype_group.reporting.atlases import lookup as at
from nipype_group.reporting.atlases.labels import LABEL_FORMATS, read_label_names, read_xml
from nipype_group.whole_files import LARGEST_BYTES


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(values), np.eye(4)), path)
    return path


def labelled(path, last=3):
    """A row of voxels with the values 0 to last."""
    return save(path, np.arange(last + 1, dtype=np.uint8).reshape(-1, 1, 1))


def probable(path, n=3, dtype=np.uint8, most=80):
    """A row of voxels: voxel v has most in volume v."""
    values = np.zeros((n + 1, 1, 1, n), dtype=dtype)
    values[np.arange(n), 0, 0, np.arange(n)] = most
    return save(path, values)


ABC = {1: "A", 2: "B", 3: "C"}
LUT = "#No. Label Name: R G B A\n\n0 Unknown 0 0 0 0\n1 A 70 130 180 0\n2 B 1 2 3 0\n3 C 4 5 6 0\n"
COLOURS = "1 A 1 2 3 0\n2 B 1 2 3 0\n3 C 1 2 3 0\n"
SPM = (
    "<?xml version='1.0' encoding='ISO-8859-1'?><atlas version='2.0'><header><name>x</name>"
    "<licence>CC BY-NC</licence><coordinate_system>MNI</coordinate_system><type>Label</type>"
    "<images><imagefile>labels_x.nii</imagefile></images></header><data>"
    "<label><index>1</index><name>A</name></label><label><index>2</index><name>B</name></label>"
    "<label><index>3</index><name>C</name></label></data></atlas>"
)


@pytest.mark.parametrize(
    ("image", "labels", "text"),
    [
        ("a.nii.gz", "a.tsv", "name\tindex\tcolor\nA\t1\t#1\nB\t2\t#2\nC\t3\t#3\n"),
        ("a.nii", "a.csv", "\ufeffindex,name,\n2,B,\n1,A,x\n3.0,C\n"),
        ("a.nii", "a.csv", "Index;Name\n1;A\n2;B\n3;C\n"),
        ("a.nii", "a_labels.csv", "id,label\n1,A\n2,B\n3,C\n"),
        ("a.nii", "a.csv", "name,x\nBackground,1\nA,1\nB,2\nC,3\n"),
        ("aal.nii.gz", "aal.nii.txt", "1 A 2001\n2 B 2002\n3 C 2101\n"),
        ("a.nii.gz", "a.txt", "Background\nA\nB\nC\n"),
        ("a.nii.gz", "a.txt", "A\nB\nC\n"),
        ("aal/ROI_MNI_V4.nii", "aal/ROI_MNI_V4.txt", "FAG\tA\t1\nFAD\tB\t2\nFM\tC\t3\n"),
        ("aparc+aseg.nii.gz", "someLUT.txt", LUT),
        ("d_rois_half.nii.gz", "d_rois_labels_half.csv", "index,name\n1,A\n2,B\n3,C\n"),
        ("S_order_FSLMNI152_1mm.nii.gz", "S_order.txt", COLOURS.replace(" ", "\t")),
        ("Y_7N_MNI152_1mm.nii.gz", "Y_7N_ColorLUT.txt", "  0 NONE 0 0 0 0\n" + COLOURS),
        ("ba.nii.gz", "ba-labels.json", json.dumps(["Background", "A", "B", "C"])),
        ("a.nii.gz", "a.json", json.dumps({"LabelMap": {"1": "A", "2": "B", "3": "C"}})),
        ("labels_x.nii", "labels_x.xml", SPM),
    ],
)
def test_label_files(tmp_path, image, labels, text):
    path = labelled(tmp_path / image)
    (tmp_path / labels).write_text(text, encoding="utf-8")
    (tmp_path / "README.txt").write_text("1 of several\n")
    (tmp_path / "Other.csv").write_text("index,name\n1,X\n")
    (atlas,) = at.find_atlases(path)
    found = at.lookup(atlas, [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]])
    background = "Unknown" if "Unknown" in text else "no_label"
    assert found.tolist() == [background, "A", "B", "C"]


def test_names_keep_their_numbers_and_spaces(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1 Brodmann area 4\n2 Brodmann area 6\n")
    assert read_label_names(path).names == {1: "Brodmann area 4", 2: "Brodmann area 6"}
    path.write_text("Network 1\nNetwork 2\n")
    assert read_label_names(path).names == {0: "Network 1", 1: "Network 2"}
    path.write_text("3rd Ventricle\n4th\tVentricle\n")
    assert read_label_names(path).names == {0: "3rd Ventricle", 1: "4th Ventricle"}


def test_halves_of_one_name_get_their_hemisphere(tmp_path):
    path = tmp_path / "atlas-dk.csv"
    path.write_text("id,label,hemisphere,structure\n1,a,L,cortex\n2,a,R,cortex\n")
    assert read_label_names(path).names == {1: "a L", 2: "a R"}


@pytest.mark.parametrize(
    "rows", ["0\tA\n1\tB\n2\tC\n", "1\tA\n2\tB\n3\tC\n", "0\tBackground\n1\tA\n2\tB\n3\tC\n"]
)
def test_probseg_volumes_count_from_0_or_1(tmp_path, rows):
    path = probable(tmp_path / "tpl-X_res-1_atlas-Y_probseg.nii.gz")
    (tmp_path / "tpl-X_atlas-Y_probseg.tsv").write_text("index\tname\n" + rows)
    (tmp_path / "tpl-X_dseg.tsv").write_text("index\tname\n0\tGM\n1\tWM\n2\tCSF\n")
    (atlas,) = at.find_atlases(path)
    assert (atlas.name, atlas.space, atlas.probabilistic) == ("Y", "X", True)
    assert [at.label_peak(atlas, (v, 0, 0)) for v in range(3)] == ["80% A", "80% B", "80% C"]


def test_label_map_and_metadata_of_bids(tmp_path):
    path = probable(tmp_path / "atlas-Y_probseg.nii.gz")
    (tmp_path / "atlas-Y_probseg.json").write_text(json.dumps({"Resolution": "1 mm"}))
    with pytest.raises(FileNotFoundError, match="no labels found"):
        at.find_atlases(path)
    (tmp_path / "atlas-Y_probseg.json").write_text(json.dumps({"LabelMap": ["A", "B", "C"]}))
    assert at.find_atlases(path)[0].names == {0: "A", 1: "B", 2: "C"}


def test_table_of_tissues_is_not_that_of_an_atlas(tmp_path):
    path = labelled(tmp_path / "tpl-X_atlas-Y_dseg.nii.gz")
    (tmp_path / "tpl-X_dseg.tsv").write_text("index\tname\n1\tGM\n2\tWM\n3\tCSF\n")
    with pytest.raises(FileNotFoundError, match="no labels found"):
        at.find_atlases(path)


def test_spm_file_names_image_licence_and_space(tmp_path):
    labelled(tmp_path / "labels_x.nii")
    (tmp_path / "labels_x.xml").write_text(SPM)
    (atlas,) = at.find_atlases(tmp_path / "labels_x.xml")
    assert atlas.names == ABC
    assert atlas.describe() == {"Name": "x", "Space": "MNI", "Licence": "CC BY-NC"}
    (tmp_path / "AAL.xml").write_text(SPM.replace("labels_x.nii", ""))
    with pytest.raises(FileNotFoundError, match=r"none of the images that .*AAL\.xml names"):
        at.find_atlases(tmp_path / "AAL.xml")
    labelled(tmp_path / "AAL.nii.gz")
    assert at.find_atlases(tmp_path / "AAL.xml")[0].image_file.name == "AAL.nii.gz"


def test_values_of_an_spm_file_are_its_indices(tmp_path):
    """Whatever its type; only the summary images of FSL hold the index + 1."""
    labelled(tmp_path / "labels_x.nii")
    (tmp_path / "labels_x.xml").write_text(SPM.replace("Label<", "Probabilistic<"))
    assert at.find_atlases(tmp_path / "labels_x.nii")[0].names == ABC


def test_freesurfer_takes_its_own_table(tmp_path, monkeypatch):
    image = nib.MGHImage(np.arange(4, dtype=np.int32).reshape(4, 1, 1), np.eye(4))
    nib.save(image, tmp_path / "aparc+aseg.mgz")
    with pytest.raises(FileNotFoundError, match="no labels found"):
        at.find_atlases(tmp_path / "aparc+aseg.mgz")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "FreeSurferColorLUT.txt").write_text(LUT + "2035 insula 1 2 3 0\n")
    monkeypatch.setenv("FREESURFER_HOME", str(tmp_path / "home"))
    # The table of all segmentations has many more labels, but here the values leave gaps.
    values = np.array([0, 2, 3, 2035], dtype=np.int32).reshape(4, 1, 1)
    nib.save(nib.MGHImage(values, np.eye(4)), tmp_path / "aparc+aseg.mgz")
    (atlas,) = at.find_atlases(tmp_path / "aparc+aseg.mgz")
    assert at.lookup(atlas, [[1, 0, 0], [3, 0, 0]]).tolist() == ["B", "insula"]


@pytest.mark.parametrize(
    ("dtype", "most", "text"),
    [
        (np.float32, 0.8, "80% B"),
        (np.float32, 80, "80% B"),
        (np.float64, 1.0004, "100% B"),
        (np.uint8, 1, "100% B"),  # a mask for each region
        (np.int16, 100, "100% B"),
        (">f4", 0.25, "25% B"),
    ],
)
def test_fractions_percent_or_masks(tmp_path, dtype, most, text):
    path = probable(tmp_path / "p.nii.gz", dtype=dtype, most=most)
    (tmp_path / "p.txt").write_text("A\nB\nC\n")
    (atlas,) = at.find_atlases(path)
    assert at.label_peak(atlas, (1, 0, 0)) == text
    values, volumes = at.sample(atlas, [[0, 0, 0]])
    assert volumes[0] == pytest.approx(values[0, 0] / 100, rel=1e-3)
    assert values.dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize(
    ("most", "message"),
    [(2.0, "holds 2 at most: not probabilities"), (-3.0, "holds -3: probabilities are not neg")],
)
def test_component_maps_are_no_probabilities(tmp_path, most, message):
    path = probable(tmp_path / "p.nii.gz", dtype=np.float32, most=most)
    (tmp_path / "p.txt").write_text("A\nB\nC\n")
    (atlas,) = at.find_atlases(path)
    with pytest.raises(ValueError, match=message):
        at.label_peak(atlas, (0, 0, 0))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "needs the columns index and name, has none"),
        ("a.csv", b"index,name\n", r"a\.csv names no label"),
        ("a.csv", b"index,name\n1,r\xe9gion\n", r"a\.csv: is no text in UTF-8"),
        ("a.csv", b"index,name\n1,A\n1.0,B\n", r"line 3: index 1 is declared twice"),
        ("a.csv", b"index,name\n1.5,A\n", r"line 2: index '1\.5' is not a whole number"),
        ("a.csv", b"index,name\n,A\n", "index '' is not a whole number"),
        ("a.txt", b"1 A\n2 B\nthree C\n", r"a\.txt, line 3: index 'three' is not"),
        ("a.txt", b"\n# nothing\n", r"a\.txt names no label"),
        ("a.txt", b"A\nB\n", r"holds values that .*a\.txt does not declare: 3"),
        ("a.txt", b"A\nB\nC\nD\n", r"declares 4, but the values of .*a\.nii end at 3"),
        ("a.tsv", b"index\tname\n1\tA\n2\tB\n", "does not declare: 3"),
        (
            "a.tsv",
            b"index\tname\n" + b"".join(b"%d\tr\n" % i for i in range(1, 8)),
            "declares 6, 7, but the values .* the labels are of another atlas",
        ),
        ("a.json", b'{"LabelMap": [1, 2]}', "holds neither a list of names"),
        ("a-labels.json", b'["A", "B", "C', "no labels found"),
        ("a.xml", b"<atlas><label", r"a\.xml is not a readable XML atlas file"),
        ("a.xml", b"<atlas></atlas>", r"a\.xml names no label"),
        ("a.xml", b"<atlas><label index='x'>A</label></atlas>", "index 'x' is not a whole"),
    ],
)
def test_wrong_label_files(tmp_path, name, content, message):
    image = labelled(tmp_path / "a.nii")
    (tmp_path / name).write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        at.find_atlases(image)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused(tmp_path, encoding):
    """Entities inside entities would fill the memory."""
    path = tmp_path / "bomb.xml"
    entities = "".join(f"<!ENTITY e{i + 1} '{f'&e{i};' * 10}'>" for i in range(9))
    path.write_text(
        f"<?xml version='1.0' encoding='{encoding}'?><!DOCTYPE x [<!ENTITY e0 'lol'>{entities}]>"
        "<atlas><data><label index='0'>&e9;</label></data></atlas>",
        encoding=encoding,
    )
    with pytest.raises(ValueError, match=r"bomb\.xml is not .*document type"):
        read_xml(path)


def test_pickles_are_not_loaded(tmp_path):
    path = tmp_path / "atlas.pkl"
    path.write_bytes(pickle.dumps({"maps": "x", "labels": ["A"]}))
    with pytest.raises(ValueError, match="can run code when it is loaded, so it is not"):
        at.find_atlases(str(path))


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 2), "an array of shape"), ((2, 2, 2, 1, 3), r"has shape .*3D or a 4D image")],
)
def test_images_of_other_dimensions(tmp_path, shape, message):
    path = save(tmp_path / "a.nii.gz", np.ones(shape, dtype=np.uint8))
    (tmp_path / "a.txt").write_text("A\n")
    with pytest.raises(ValueError, match=rf"a\.nii\.gz.*{message}"):
        at.find_atlases(path)


def test_image_without_content_or_affine(tmp_path):
    path = tmp_path / "a.nii.gz"
    (tmp_path / "a.txt").write_text("A\n")
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty: its content has not been fetched"):
        at.find_atlases(path)
    affine = np.diag([0.0, 1, 1, 1])
    image = nib.Nifti1Image(np.ones((2, 2, 2), dtype=np.uint8), None)
    image.header.set_sform(affine, 1)
    image.header.set_qform(None, 0)
    nib.save(nib.Nifti1Image(image.dataobj, None, image.header), path)
    with pytest.raises(ValueError, match="affine cannot be inverted"):
        at.find_atlases(path)


def test_header_alone(tmp_path):
    path = labelled(tmp_path / "a.nii")
    (tmp_path / "a.txt").write_text("A\nB\nC\n")
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    with pytest.raises(ValueError, match=r"a\.nii: cannot be read as an image"):
        at.find_atlases(path)
    path.write_bytes(whole[:353])
    with pytest.raises(ValueError, match=r"a\.nii: .*more than the file holds"):
        at.find_atlases(path)


@pytest.mark.parametrize("value", [np.inf, 3e9])
def test_values_beyond_whole_numbers(tmp_path, value):
    path = save(tmp_path / "a.nii", np.array([0, 1, value]).reshape(3, 1, 1))
    (tmp_path / "a.txt").write_text("A\n")
    with pytest.raises(ValueError, match="not whole numbers"):
        at.find_atlases(path)


@pytest.fixture
def soon():
    """Fail where something waits."""

    def late(*_):
        raise AssertionError("waits for the other end of a pipe")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def large(path):
    with path.open("wb") as stream:
        stream.truncate(LARGEST_BYTES + 1)


NO_TEXTS = {
    pipe: "is a pipe, device or socket",
    device: "is a pipe, device or socket",
    large: "more than the",
}


@pytest.mark.parametrize("make", NO_TEXTS)
@pytest.mark.parametrize("suffix", [s for s in LABEL_FORMATS if s != ".json"])
def test_labels_that_are_no_text_are_refused_by_name(soon, tmp_path, suffix, make):
    image = labelled(tmp_path / "a.nii")
    make(tmp_path / f"a{suffix}")
    with pytest.raises(ValueError, match=rf"/a\{suffix}: .*{NO_TEXTS[make]}"):
        at.find_atlases(image)


@pytest.mark.parametrize("make", NO_TEXTS)
@pytest.mark.parametrize("name", ["a.json", "other.xml", "../other.xml"])
def test_what_lies_beside_an_atlas_and_is_no_text_is_passed_over(soon, tmp_path, name, make):
    image = labelled(tmp_path / "in" / "a.nii")
    make(tmp_path / "in" / name)
    (tmp_path / "other2.xml").write_text(
        SPM.replace("labels_x.nii", "in/a.nii").replace("ISO-8859-1", "utf-8")
    )
    (atlas,) = at.find_atlases(image)
    assert at.label_peak(atlas, (1, 0, 0)) == "A"
