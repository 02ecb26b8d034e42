"""Tables as people write them: read as they are meant, or refused by name."""

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.formula import code_formula
from nipype_group.design.tables import check_levels, check_values, doubts, variables_of
from nipype_group.tsv import read_tsv

HEADER = "participant_id\tage\tgroup\n"
ROWS = "sub-01\t31\ta\nsub-02\t25\tb\n"
MEANT = [["sub-01", "31", "a"], ["sub-02", "25", "b"]]


def read(folder, content, name="t.tsv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_tsv(path)


# Each is the same table.
SAME = {
    "as usual": HEADER + ROWS,
    "byte order mark": "\ufeff" + HEADER + ROWS,
    "Windows": (HEADER + ROWS).replace("\n", "\r\n"),
    "old Mac": (HEADER + ROWS).replace("\n", "\r"),
    "mixed line ends": HEADER + ROWS.replace("\n", "\r\n", 1),
    "no last line end": (HEADER + ROWS).rstrip(),
    "blank lines at the end": HEADER + ROWS + "\n\n\n",
    "blank lines between": (HEADER + ROWS).replace("\n", "\n\n"),
    "rows of tabs": HEADER + ROWS + "\t\t\n\t\t\n",
    "a row of tabs between": HEADER + "\t\t\n" + ROWS,
    "a row of blanks": HEADER + ROWS + "  \t \t\n",
    "blanks around cells": HEADER.replace("\t", " \t ") + ROWS.replace("\t", " \t"),
    "no-break blanks": HEADER + ROWS.replace("\t", "\u00a0\t"),
    "a tab at the end of every line": (HEADER + ROWS).replace("\n", "\t\n"),
    "a tab at the end of every row": HEADER + ROWS.replace("\n", "\t\n"),
    "two tabs at the end of a row": HEADER + ROWS + "\t\t\t\t\n",
    "quoted cells": 'participant_id\tage\tgroup\n"sub-01"\t"31"\t"a"\nsub-02\t25\t"b"\n',
    "quoted header": '"participant_id"\t"age"\t"group"\n' + ROWS,
    "everything quoted": "\n".join(
        "\t".join(f'"{cell}"' for cell in line.split("\t"))
        for line in (HEADER + ROWS).splitlines()
    ),
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_ways_to_write_one_table(tmp_path, text):
    table = read(tmp_path, text)
    assert list(table.columns) == ["participant_id", "age", "group"]
    assert table.to_numpy().tolist() == MEANT


def test_commas_part_the_cells_of_csv(tmp_path):
    text = 'participant_id, age ,group\nsub-01,31,"a, b"\n'
    assert read(tmp_path, text, "t.csv").to_numpy().tolist() == [["sub-01", "31", "a, b"]]


@pytest.mark.parametrize(
    "cell", ["", " ", "n/a", "N/A", "NA", "na", "NaN", "nan", "None", "null", '"n/a"', " n/a "]
)
def test_spellings_of_a_missing_value(tmp_path, cell):
    table = read(tmp_path, f"{HEADER}sub-01\t{cell}\ta\nsub-02\t25\tb\n")
    assert table["age"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    "cell",
    ['5" wide', "it's", "a\\b", "é", "日本", "a  b", "#1", "=1+1", "'31'", "a,b", "None of"],
)
def test_signs_within_a_cell_are_kept(tmp_path, cell):
    assert read(tmp_path, f"{HEADER}sub-01\t31\t{cell}\n")["group"].tolist() == [cell]


REFUSED = {
    "empty": ("", "is empty"),
    "blank": ("\n\n\t\n", "is empty"),
    "a column twice": ("a\tb\ta\n1\t2\t3\n", "column a stands twice"),
    "a column twice but for blanks": ("a\tb\t a\n1\t2\t3\n", "column a stands twice"),
    "a column without name": ("a\t\tc\n1\t2\t3\n", "column 2 has no name"),
    "a cell too many": ("a\tb\n1\t2\n1\t2\t3\n", r"header has 2: a, b\); cells are parted"),
    "cells too many": ("a\tb\n1\t2\t3\t4\n1\t2\n", "line 2 has 4 cells"),
    "an unclosed mark in the last row": (HEADER + 'sub-01\t"31\ta\n', "line 2 is not closed"),
    "an unclosed mark that swallows rows": (
        HEADER + 'sub-01\t"31\ta\nsub-02\t"25\tb\n',
        "line 2 is not closed",
    ),
    "an unclosed mark in the header": ('"a\tb\n1\t2\n', "line 1 is not closed"),
    "text behind a closed mark": (
        HEADER + 'sub-01\t"31"years\ta\n',
        "line 2 is not closed, or text",
    ),
    "a cell of two lines": (HEADER + 'sub-01\t31\t"a\nb"\n', r"begins in line 2 has a line break"),
    "marks that pair over lines": (
        HEADER + 'sub-01\t31\t"a\nsub-02\t25\tb"\n',
        "line 2 has a line break.*mark not closed",
    ),
    "UTF-16": ((HEADER + ROWS).encode("utf-16"), "no text in UTF-8.*save it as UTF-8"),
    "Latin-1": ((HEADER + "sub-01\t31\té\n").encode("latin-1"), "no text in UTF-8: byte 35"),
    "binary": (b"PK\x03\x04\0\0\0\0", "binary data"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_table_is_refused_by_name(tmp_path, text, message):
    with pytest.raises(ValueError, match=rf"t\.tsv: .*{message}") as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)


def test_a_table_that_is_absent_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path / "none.tsv", tmp_path):
        with pytest.raises(ValueError, match="the table does not exist"):
            read_tsv(path)


def test_lines_are_those_of_the_file(tmp_path):
    table = read(tmp_path, '\n"a"\n\n1\n\n2\n')
    assert table["a"].tolist() == ["1", "2"]
    assert table.attrs["lines"] == (4, 6)


@pytest.mark.parametrize("odd", ["89+", ".", "#N/A", "21y", "?", "-", "31,5", "1O", ">30", "~40"])
def test_a_column_of_numbers_with_an_odd_cell_is_refused(odd):
    column = pd.Series(["31", "25", odd, "40", "22"], name="age")
    with pytest.raises(ValueError, match=r"column age holds numbers but for") as error:
        check_levels(column, list("abcde"))
    assert f"{odd!r} (c)" in str(error.value)
    assert "C(age)" in str(error.value)


def test_decimal_commas_are_refused():
    with pytest.raises(ValueError, match="write decimal points"):
        check_levels(pd.Series(["31,5", "25,5", "18,0"], name="age"), list("abc"))


def test_not_all_odd_cells_are_listed():
    column = pd.Series([f"{i}y" if i > 50 else str(i) for i in range(100)], name="age")
    with pytest.raises(ValueError, match=r"'55y' \(55\) and 44 more"):
        check_levels(column, list(map(str, range(100))))


@pytest.mark.parametrize(
    "levels",
    [["f", "m"], ["a1", "a2", "3"], ["control", "patient", "patient"], ["1a", "2b", "3c"]],
)
def test_names_of_levels_are_no_numbers(levels):
    check_levels(pd.Series(levels, name="group"), range(len(levels)))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([23, 31, -999], "-999 in 1 row"),
        ([23, 31, 9999, 9999], "9999 in 2 rows"),
        ([0.1, 0.5, 99], "99 in 1 row"),
        ([0, 1, -9], "-9 in 1 row"),
        ([5, 7, 888], "888"),
    ],
)
def test_sentinels_are_pointed_out(values, told):
    (note,) = doubts(pd.Series(values, name="age"))
    assert note.startswith(f"column age: {told}")
    assert "write n/a" in note


@pytest.mark.parametrize(
    "values", [[9, 8, 10], [95, 99, 60], [999, 1005, 880], [-9, -20, 11], [9, 9, 9], [1, 2, 3]]
)
def test_numbers_among_their_like_are_no_sentinels(values):
    assert list(doubts(pd.Series(values, name="score"))) == []


NOTHING = [
    "#N/A",
    "#n/a",
    "#NULL!",
    "#DIV/0!",
    "#VALUE!",
    "#REF!",
    "#NAME?",
    "#NUM!",
    "NULL",
    "Null",
    "<NA>",
    "NaT",
    "?",
    "???",
    ".",
    "..",
    "-",
    "--",
    "\u2013",
    "\u2014",
    "\u2212",
    "*",
    "_",
    "-999",
    "999",
    "9999.0",
    "-9",
    "99",
    "-88",
    "77",
    "Nan",
    "NAN",
    "#N/A N/A",
    "-1.#IND",
]
# Names of levels, though odd.
NAMES = ["none", "unknown", "#1", "a.", "?b", "-a", "1", "2", "90", "+", "n", "null set", "x-x"]


@pytest.mark.parametrize(
    "formula", ["group", "C(group)", "0 + C(group)", "C(group):age", "Q('group')"]
)
@pytest.mark.parametrize("level", NOTHING)
def test_a_level_that_stands_for_nothing_is_refused_by_cell(formula, level):
    groups = ["control", "patient"] * 5
    groups[3] = level
    table = pd.DataFrame({"participant_id": [f"s{i}" for i in range(10)], "group": groups})
    table["age"] = np.arange(10.0) ** 2
    with pytest.raises(
        ValueError, match=r"column group holds levels but for .* \(s3\): write n/a"
    ):
        code_formula(formula, table)
    # Of a condition too, and not where every level is named.
    asked = variables_of(table.astype({"age": str}), ["group"])
    with pytest.raises(ValueError, match=r"\(s3\)"):
        code_formula("group", asked)
    code_formula(f"C(group, levels=['control', 'patient', {level!r}])", table)


@pytest.mark.parametrize("level", NAMES)
def test_odd_names_of_levels_are_levels(level):
    check_values(pd.Series(["a", "b", level], name="group"), range(3))


@pytest.mark.parametrize(
    "levels", [["+", "-"], ["-", "0", "+"], ["9", "8", "7"], ["99", "1", "2"], ["1", "9", "b"]]
)
def test_signs_and_numbers_among_their_like_are_levels(levels):
    check_values(pd.Series(levels, name="charge"), range(len(levels)))


@pytest.mark.parametrize("level", ["none", "Unknown", "missing", "n.a.", "n.a", "Na", "NIL"])
def test_words_for_a_missing_value_are_told(level):
    column = pd.Series([level, "low", "high"] * 2, name="dose")
    (note,) = doubts(column)
    assert note.startswith(f"column dose: the level {level!r} of 2 maps may stand for a missing")


@pytest.mark.parametrize("reference", ["a", "b"])
def test_a_level_of_a_single_map_is_told_and_where_it_is_the_reference(reference):
    table = pd.DataFrame({"group": ["a", *"bcbc"], "participant_id": list("vwxyz")})
    formula = f"C(group, Treatment('{reference}'))"
    (note,) = code_formula(formula, table).notes
    assert note.startswith("column group: of 'a' there is a single map each")
    assert note.endswith("'a' is the reference that others are compared with") == (
        reference == "a"
    )
    assert code_formula("C(participant_id)", table[["participant_id"]]).notes == ()


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        (["a", "A"], "case"),
        (["Old man", "old  Man"], "case"),
        (["a", "b"], None),
        (["straße", "STRASSE"], "case"),
        (["a", "a\u200b"], "not seen"),
        (["a", "\ufeffA"], "not seen"),
        (["a", '"a"'], "quotation marks"),
        (["a", "\u201ca\u201d"], "quotation marks"),
        (["a", "'a"], "quotation marks"),
        (["re\u00adst", "rest"], "not seen"),
        (["e\u0301te", "\u00e9te"], "not seen"),
        (["a", "a."], None),
    ],
)
def test_levels_that_look_alike_are_told(levels, said):
    notes = list(doubts(pd.Series(levels * 2, name="group")))
    assert len(notes) == (said is not None)
    assert all("are alike but for" in note and said in note for note in notes)


def test_levels_of_a_condition_stand_in_the_order_of_the_maps():
    rows = [("1", "go"), ("2", "stop"), ("2", "go"), ("3", "stop"), ("3", "go"), ("4", "wait")]
    table = pd.DataFrame(rows, columns=["participant_id", "desc"])
    assert list(variables_of(table, ["desc"])["desc"].cat.categories) == ["stop", "go", "wait"]
    assert code_formula("desc", variables_of(table, ["desc"])).columns == [
        "intercept",
        "desc[go]",
        "desc[wait]",
    ]


def test_numbers_are_names_in_a_condition():
    table = pd.DataFrame(
        {"participant_id": ["1", "1", "2"], "run": ["2", "10", "x1"]}, dtype=object
    )
    assert code_formula("0 + run", variables_of(table, ["run"])).columns == [
        "run[2]",
        "run[10]",
        "run[x1]",
    ]


def test_decimals_are_the_nearest_numbers():
    values = np.random.default_rng(0).random(2000) * 10.0 ** np.arange(-10, 10).repeat(100)
    table = pd.DataFrame({"participant_id": "01", "age": [repr(float(v)) for v in values]})
    np.testing.assert_array_equal(variables_of(table)["age"].to_numpy(), values)
