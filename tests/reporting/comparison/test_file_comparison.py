"""What differs between two files."""

import nibabel as nib
import numpy as np
import pytest

from nipype_group.reporting.comparison.files import compare_files, difference_text


@pytest.fixture
def pair(tmp_path):
    """Return a function that writes two files of a name; gives what differs, and as text."""

    def compare(name, one, other):
        for folder, content in (("a", one), ("b", other)):
            path = tmp_path / folder / name
            path.parent.mkdir(exist_ok=True)
            if isinstance(content, np.ndarray):
                nib.save(nib.Nifti1Image(content, np.eye(4)), path)
            else:
                path.write_bytes(content)
        found = compare_files(tmp_path / "a" / name, tmp_path / "b" / name)
        return found, found and difference_text(found)

    return compare


def test_equal_files_differ_in_nothing(pair):
    assert pair("a.tsv", b"x\n1\n", b"x\n1\n") == (None, None)
    values = np.arange(8.0).reshape(2, 2, 2)
    assert pair("a.nii", values, values.copy()) == (None, None)


def test_voxels(pair):
    rng = np.random.default_rng(0)
    one = rng.standard_normal((4, 4, 4))
    other = one.copy()
    other[0, 0, 0] += 1
    other[1, 1, 1] -= 3
    found, text = pair("a.nii", one, other)
    r = np.corrcoef(one.ravel(), other.ravel())[0, 1]
    assert found["Voxels"] == 2
    assert found["LargestDifference"] == pytest.approx(3)
    assert found["Correlation"] == pytest.approx(r)
    assert text == f"2 voxels, by up to 3, r {r:.4f}"


def test_missing_voxels_count_and_have_no_size(pair):
    one = np.ones((2, 2, 2))
    other = one.copy()
    other[0] = np.nan
    found, text = pair("a.nii", one, other)
    assert (found["Voxels"], found["LargestDifference"], found["Correlation"]) == (4, 0, None)
    assert text.endswith("r n/a")
    assert pair("b.nii", other, other.copy())[0] is None


@pytest.mark.parametrize("name", ["x_desc-a_dseg.nii", "mask.nii.gz", "labels.nii"])
def test_labels_have_no_size(pair, name):
    one = np.arange(8, dtype=np.int32).reshape(2, 2, 2)
    found, text = pair(name, one, one[::-1])
    assert found == {"Kind": "map", "Voxels": 8}
    assert text == "8 voxels"


def test_counts_have_a_size(pair):
    one = np.arange(8, dtype=np.int32).reshape(2, 2, 2)
    assert pair("desc-coverage_statmap.nii", one, one + 2)[1] == "8 voxels, by up to 2, r 1.0000"


def test_shapes(pair):
    _, text = pair("a.nii", np.ones((2, 2, 2)), np.ones((2, 2, 3)))
    assert text == "shape [2, 2, 2] -> [2, 2, 3]"


def test_rows_and_columns(pair):
    found, text = pair("a.tsv", b"a\tb\n1\t2\n3\t4\n3\t4\n", b"a\tc\n3\t4\n5\t6\n")
    assert found == {
        "Kind": "table",
        "Rows": [3, 2],
        "OnlyFirst": 2,
        "OnlySecond": 1,
        "Columns": [["b"], ["c"]],
    }
    assert text == (
        "3 -> 2 rows, 2 only in the first, 1 only in the second, without column b, with column c"
    )


def test_keys(pair):
    found, text = pair("a.json", b'{"a": {"b": 1}, "c": [1]}', b'{"a": {"b": 2}, "c": [1]}')
    assert found["Keys"] == {"a.b": [1, 2]}
    assert text == "a.b: 1 -> 2"
    assert pair("b.json", b'{"a": 1}', b'{"a":1}')[1] == "written otherwise"
    assert pair("c.json", b"[1]", b"[2]")[1] == "other entries"


def test_other_and_damaged_files(pair):
    assert pair("a.png", b"123", b"12")[1] == "3 -> 2 bytes"
    assert pair("a.html", b"12", b"13")[1] == "2 bytes, others"
    for name in ("b.nii.gz", "b.json", "b.tsv"):
        assert "cannot be read" in pair(name, b"\xff\x00 no", b"\xff\x01 no")[1]
