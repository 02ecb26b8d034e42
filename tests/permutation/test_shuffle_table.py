"""Tables of shuffles in FSL's text form, and what is wrong with one that is none."""

import gzip

import numpy as np
import pytest

from nipype_group.permutation.given import read_shuffles


@pytest.fixture
def table_file(tmp_path):
    def write(text, name="shuffles.txt"):
        path = tmp_path / name
        data = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


@pytest.mark.parametrize("name", ["shuffles.txt", "shuffles.txt.gz"])
def test_flips_and_permutations_are_told_apart(table_file, name):
    kind, table = read_shuffles(table_file("1 1 1\n\n  1.0000\t-1 1 \n-1 -1 -1\n", name))
    assert (kind, table.tolist()) == ("flip", [[1, 1, 1], [1, -1, 1], [-1, -1, -1]])
    kind, table = read_shuffles(table_file("1 2 3\n3.0 1.0 2.0\n1 2 3", name))
    assert (kind, table.tolist()) == ("permute", [[1, 2, 3], [3, 1, 2], [1, 2, 3]])
    assert table.dtype.kind == "i"


def test_the_identity_comes_first(table_file):
    assert read_shuffles(table_file("2 1\n1 2\n"))[1].tolist() == [[1, 2], [2, 1], [1, 2]]
    assert read_shuffles(table_file("1 -1\n"))[1].tolist() == [[1, 1], [1, -1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no shuffles"),
        ("1 2\n2 x\n", "row 2 is not all numbers .*'x'"),
        ("1 2\n2 1.5\n", "row 2 is not all integers"),
        ("1 2\n2 nan\n", "row 2 is not all integers"),
        ("1 2 3\n2 1\n", "row 2 has 2 numbers, row 1 has 3"),
        ("1 2\n2 2\n", "row 2 is neither all 1 and -1 nor a permutation of 1 to 2"),
        ("0 1\n1 0\n", "row 1 is neither"),
        ("1 -1 2\n", "row 1 is neither"),
        ("1 1\n1 2\n", "row 2 is a permutation, row 1 is sign flips"),
        ("1 2\n1 -1\n", "row 2 is sign flips, row 1 is a permutation"),
        (b"\x80\x04\x95", "neither plain text nor text compressed by gzip"),
    ],
)
def test_what_is_no_table_is_refused(table_file, text, message):
    path = table_file(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_shuffles(path)
    assert str(path) in str(caught.value)


def test_a_broken_archive_is_refused(table_file, tmp_path):
    whole = table_file("1 2 3\n3 1 2\n", "whole.txt.gz").read_bytes()
    for data in (b"1 2\n", whole[:-12]):
        path = tmp_path / "broken.txt.gz"
        path.write_bytes(data)
        with pytest.raises(ValueError, match="broken.txt.gz: neither plain text"):
            read_shuffles(path)


def test_shuffles_that_randomise_wrote(shared):
    folder = shared / "oracles/fsl"
    kind, table = read_shuffles(folder / "one_xcC2000_perm_tstat1.txt.gz")
    assert (kind, table.shape) == ("flip", (2000, 30))
    assert (table[0] == 1).all()
    assert len(np.unique(table, axis=0)) == 2000
    kind, table = read_shuffles(folder / "reg_T500_perm_tstat1.txt.gz")
    assert (kind, table.shape) == ("permute", (500, 30))
    assert table[1, :5].tolist() == [5, 29, 12, 16, 25]
