"""FSL's text matrices, read as FSL writes them and written as FSL reads them."""

import numpy as np
import pytest

from nipype_group.design.contrasts import Contrast, check_definitions, contrast_test
from nipype_group.design.expressions import parse_weight_list
from nipype_group.design.fsl import (
    fsl_contrast_definitions,
    fsl_f_definitions,
    read_fsl_matrix,
    write_fsl_contrasts,
    write_fsl_matrix,
)


def header(path):
    lines = path.read_text().partition("/Matrix")[0].splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line.strip())


def test_designs_round_trip_to_sixteen_digits(tmp_path):
    matrix = np.random.default_rng(0).standard_normal((7, 3)) * [1, 1e-7, 1e7]
    path = write_fsl_matrix(tmp_path / "design.mat", matrix)
    np.testing.assert_allclose(read_fsl_matrix(path), matrix, rtol=1e-15)
    about = header(tmp_path / "design.mat")
    assert (about["/NumWaves"], about["/NumPoints"]) == ("3", "7")
    heights = [float(v) for v in about["/PPheights"].split()]
    np.testing.assert_allclose(heights, np.ptp(matrix, axis=0), rtol=1e-6)


def test_a_design_as_glm_gui_writes_it(tmp_path):
    path = tmp_path / "design.mat"
    path.write_text(
        "/NumWaves\t2\n/NumPoints\t2\n/PPheights\t\t1.0e+00\t1.0e+00\n\n/Matrix\n"
        "1.000000e+00\t-5.000000e-01\t\n1.000000e+00\t5.000000e-01\t\n\n"
    )
    np.testing.assert_array_equal(read_fsl_matrix(path), [[1, -0.5], [1, 0.5]])


def test_randomise_files_are_read(shared):
    assert read_fsl_matrix(shared / "oracles/fsl/one.mat").shape == (30, 1)
    assert read_fsl_matrix(shared / "oracles/fsl/reg.mat").shape == (30, 2)
    np.testing.assert_array_equal(
        read_fsl_matrix(shared / "oracles/fsl/reg.con"), [[0, 1], [0, -1]]
    )


@pytest.mark.parametrize(
    "text", ["", "1 2\n3 4\n", "/Matrix\n1 2\n3\n", "/Matrix\n1 x\n", "/Matrix\n\n"]
)
def test_text_without_a_rectangular_matrix_is_refused(tmp_path, text):
    path = tmp_path / "bad.mat"
    path.write_text(text)
    with pytest.raises(ValueError, match="bad.mat"):
        read_fsl_matrix(path)


def test_contrast_rows_and_the_f_tests_that_join_them(tmp_path):
    contrasts = [
        Contrast("up", "t", np.array([[1.0, 0, 0]]), "a"),
        Contrast("any", "F", np.array([[0.0, 1, 0], [0, 1 / 3, 1]]), "b; c"),
        Contrast("down", "t", np.array([[-1.0, 0, 0]]), "-a"),
    ]
    con, fts = write_fsl_contrasts(tmp_path, contrasts)
    np.testing.assert_allclose(
        read_fsl_matrix(con), [[1, 0, 0], [0, 1, 0], [0, 1 / 3, 1], [-1, 0, 0]], rtol=1e-15
    )
    np.testing.assert_array_equal(read_fsl_matrix(fts), [[0, 1, 1, 0]])
    about = header(tmp_path / "design.con")
    assert (about["/NumWaves"], about["/NumContrasts"]) == ("3", "4")
    assert [about[f"/ContrastName{i}"] for i in (1, 2, 3, 4)] == [
        "up",
        "any row 1",
        "any row 2",
        "down",
    ]
    assert header(tmp_path / "design.fts")["/NumWaves"] == "4"
    assert header(tmp_path / "design.fts")["/NumContrasts"] == "1"


def con_file(tmp_path, names, rows=((1, 0), (0, 1), (0, -1))):
    """Write a .con as FEAT does."""
    titles = "".join(f"/ContrastName{i + 1}\t{n}\n" for i, n in enumerate(names) if n is not None)
    body = "".join(" ".join(f"{v:.6e}" for v in row) + " \n" for row in rows)
    path = tmp_path / "design.con"
    path.write_text(
        f"{titles}/NumWaves\t{len(rows[0])}\n/NumContrasts\t{len(rows)}\n"
        f"/PPheights\t\t1.0\t1.0\t1.0\n/RequiredEffect\t\t1.2\t1.2\t1.2\n\n/Matrix\n{body}"
    )
    return path


def fts_file(tmp_path, rows):
    path = tmp_path / "design.fts"
    body = "".join(" ".join(map(str, row)) + "\n" for row in rows)
    path.write_text(f"/NumWaves\t{len(rows[0])}\n/NumContrasts\t{len(rows)}\n\n/Matrix\n{body}")
    return path


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["mean", "age", "-age"], ["mean", "age", "-age c3"]),
        ([None, None, None], ["c1", "c2", "c3"]),
        (["", '"a = b"', ">"], ["c1", "a b", "> c3"]),
        (["c2", None, "A>B"], ["c2", "c2 c2", "A>B"]),
    ],
)
def test_contrasts_keep_their_names_where_labels_tell_them_apart(tmp_path, names, expected):
    definitions = fsl_contrast_definitions(con_file(tmp_path, names))
    weights = ["[1, 0]", "[0, 1]", "[0, -1]"]
    assert definitions == [f"{n}={w}" for n, w in zip(expected, weights, strict=True)]
    assert check_definitions(definitions) == expected


def test_f_tests_join_their_contrasts(tmp_path):
    con = con_file(tmp_path, [None] * 3)
    definitions = fsl_f_definitions(fts_file(tmp_path, [(1, 1, 0), (0, 0, 1)]), con)
    assert definitions == ["f1=[1, 0; 0, 1]", "f2=[0, -1;]"]
    assert [contrast_test(text) for text in definitions] == ["F", "F"]
    one_row = parse_weight_list(definitions[1].partition("=")[2], 2)
    np.testing.assert_array_equal(one_row, [[0, -1]])


def test_f_tests_that_do_not_fit_are_refused(tmp_path):
    con = con_file(tmp_path, [None] * 3)
    with pytest.raises(ValueError, match=r"design.fts is over 2 contrasts, .*design.con has 3"):
        fsl_f_definitions(fts_file(tmp_path, [(1, 1)]), con)
    with pytest.raises(ValueError, match=r"design.fts: F test 2 has no contrast"):
        fsl_f_definitions(fts_file(tmp_path, [(1, 1, 0), (0, 0, 0)]), con)


def test_what_is_written_is_read_again(tmp_path):
    contrasts = [
        Contrast("up", "t", np.array([[1.0, 0, 1 / 3]]), "a"),
        Contrast("any", "F", np.array([[0.0, 1, 0], [0, 0, 1e-9]]), "b; c"),
    ]
    con, fts = write_fsl_contrasts(tmp_path, contrasts)
    found = [*fsl_contrast_definitions(con), *fsl_f_definitions(fts, con)]
    assert [text.partition("=")[0] for text in found] == ["up", "any row 1", "any row 2", "f1"]
    rows = parse_weight_list(found[-1].partition("=")[2], 3)
    np.testing.assert_array_equal(rows, contrasts[1].weights)
