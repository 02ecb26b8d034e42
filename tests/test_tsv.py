"""Tables that are written and read again, and that nothing else writes or reads tables."""

import ast
import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import nipype_group
from nipype_group.tsv import (
    MISSING,
    NA_TEXTS,
    numbers_of,
    one_line,
    read_tsv,
    tsv_text,
    with_numbers,
    write_tsv,
)

PACKAGE = Path(nipype_group.__file__).parent
# Any sign that UTF-8 has, and those with a meaning in tables more often.
SIGNS = st.one_of(
    st.sampled_from("\t\"',; #\\a1"),
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"),
)
TEXTS = st.text(SIGNS, max_size=8)
CELLS = st.one_of(st.none(), TEXTS, st.sampled_from(NA_TEXTS))
# A mark at the beginning of a file says that it is UTF-8.
NAMES = st.text(SIGNS, min_size=1, max_size=6).filter(lambda name: name[0] != "\ufeff")


@st.composite
def text_tables(draw, cells=CELLS, names=NAMES):
    columns = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    n_rows = draw(st.integers(0, 5))
    rows = st.lists(cells, min_size=n_rows, max_size=n_rows)
    return pd.DataFrame({name: draw(rows) for name in columns}, dtype=object)


def as_lists(table):
    return {name: column.where(column.notna(), None).tolist() for name, column in table.items()}


@given(text_tables())
def test_text_is_read_as_it_was_written(tmp_path_factory, table):
    path = write_tsv(tmp_path_factory.mktemp("t") / "t.tsv", table)
    expected = table.replace({"": None, MISSING: None})
    assert as_lists(read_tsv(path, own=True)) == as_lists(expected)


@given(text_tables(st.one_of(st.none(), TEXTS.map(str.strip)), NAMES.map(str.strip).filter(len)))
def test_what_people_may_have_written_is_read_by_what_it_means(tmp_path_factory, table):
    table = table.dropna(how="all")
    path = write_tsv(tmp_path_factory.mktemp("t") / "t.tsv", table)
    expected = table.replace(dict.fromkeys(NA_TEXTS))
    assert as_lists(read_tsv(path)) == as_lists(expected)


@given(text_tables())
def test_other_readers_find_the_same_cells(table):
    text = tsv_text(table)
    assert text.endswith("\n")
    rows = list(csv.reader(text.splitlines(keepends=True), delimiter="\t", strict=True))
    # Python breaks lines at other signs too.
    if len(text.splitlines()) == text.count("\n"):
        assert rows[0] == list(table.columns)
        assert rows[1:] == table.fillna(MISSING).replace({"": MISSING}).to_numpy().tolist()


FLOATS = arrays(np.float64, array_shapes(max_dims=1), elements=st.floats())


@given(FLOATS, st.sampled_from([None, 17]))
def test_floats_are_the_same_bits(tmp_path_factory, values, digits):
    path = write_tsv(tmp_path_factory.mktemp("t") / "t.tsv", {"x": values}, digits)
    again = read_tsv(path, own=True)["x"].to_numpy(dtype=float)
    same = np.isnan(values) & np.isnan(again) | (again.view(np.int64) == values.view(np.int64))
    assert same.all()
    if np.isfinite(values).all():
        assert numbers_of(read_tsv(path)["x"]).tolist() == values.tolist()


@given(FLOATS, st.integers(1, 16))
def test_floats_have_the_digits_that_are_asked_for(values, digits):
    _, *cells = tsv_text({"x": values}, digits).splitlines()
    assert cells == [MISSING if np.isnan(v) else f"{v:.{digits}g}" for v in values]


@given(st.lists(st.one_of(st.none(), st.integers(-(2**53), 2**53)), min_size=1))
def test_whole_numbers_have_no_point(tmp_path_factory, values):
    path = write_tsv(tmp_path_factory.mktemp("t") / "t.tsv", {"n": pd.array(values, "Int64")}, 3)
    cells = path.read_text().splitlines()[1:]
    assert cells == [MISSING if v is None else str(v) for v in values]


def test_what_is_missing_in_the_layout_of_other_packages(tmp_path):
    table = {"a": [1.0, np.nan, pd.NA, None, pd.NaT, ""], "b": list("uvwxyz")}
    assert tsv_text(table, missing="") == "a\tb\n1.0\tu\n\tv\n\tw\n\tx\n\ty\n\tz\n"
    assert tsv_text(table).count(MISSING) == 5


@pytest.mark.parametrize("sign", ["\n", "\r", "\0"])
@pytest.mark.parametrize("name", [True, False])
def test_cells_of_two_lines_are_refused_by_name_and_nothing_is_written(tmp_path, sign, name):
    path = tmp_path / "t.tsv"
    path.write_text("old")
    text = f"the{sign}map"
    with pytest.raises(ValueError, match=r"t\.tsv: column .*'the.*map' holds") as error:
        write_tsv(path, {text: ["a"]} if name else {"map": ["a", text]})
    assert len(str(error.value).splitlines()) == 1
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_columns_of_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="shorter|longer"):
        tsv_text({"a": [1, 2], "b": [1]})


@pytest.mark.parametrize("text", ["a\tb\n1\n", "a\tb\n1\t2\t3\n", "a\tb\n1\t2\t\n", "a\t\n1\t2\n"])
def test_tables_of_ones_own_have_a_cell_a_column(tmp_path, text):
    path = tmp_path / "t.tsv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"t\.tsv: .*(header has 2: a|column 2 has no name)"):
        read_tsv(path, own=True)


def test_columns_of_numbers_and_identifiers():
    text = {
        "participant_id": ["01", "02"],
        "map": ["1", "2"],
        "sha256": ["1", "2"],
        "n": ["1", "2"],
        "x": ["1", np.nan],
        "run": ["1", "2"],
        "some": ["1", "a"],
        "none": [np.nan, np.nan],
    }
    found = with_numbers(pd.DataFrame(text, dtype=object), ["run"])
    kinds = {name: column.dtype.kind for name, column in found.items()}
    assert kinds == {**dict.fromkeys(text, "O"), "n": "i", "x": "f"}


def test_one_line():
    assert one_line(" a\t\n b\u2028c ") == "a b c"


# Modules that read or make text with cells, and which.
OTHERS = {
    "design/fsl.py": "matrices of FSL, whose numbers are parted by tabs",
    "execution/nodes.py": "the value of an input, by which it is told from another",
    "peers/palm_model.py": "matrices that PALM's users write, parted by commas",
    "reporting/atlases/labels.py": "regions of atlases, parted by whatever their makers chose",
}
OF_TABLES = {"to_csv", "read_csv", "read_table", "read_fwf", "genfromtxt", "savetxt", "loadtxt"}
# Renamed for what a name says, not to take the place of a file that is written.
RENAMED = {
    "cli/multiverse/command.py": "results stay until those of a new run are whole",
    "execution/cluster_plugins.py": "a result that is an exception is put out of the way",
    "execution/lock.py": "a dead lock is taken away by one of several runs alone",
    "execution/work_folder.py": "results of another version are put aside",
    "reporting/derivatives/folder.py": "results stay until those of a new run take their place",
}
MODULES = [p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py")]


def attributes_of(module):
    """Yield the owner, as text, and the name of every attribute in a module, and its call."""
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node.value), node.attr, called.get(id(node))


def makes_tables(module):
    return any(
        owner == "csv" or name in OF_TABLES or (owner, name) == (repr("\t"), "join")
        for owner, name, _ in attributes_of(module)
    )


def renames(module):
    def is_of_path(call):
        # The method of text has two arguments, those of tables are named.
        return call is not None and len(call.args) == 1 and not call.keywords

    return any(
        name in ("rename", "replace", "renames") and (owner == "os" or is_of_path(call))
        for owner, name, call in attributes_of(module)
    )


def test_tables_are_read_and_written_in_one_place():
    assert {m for m in MODULES if makes_tables(m)} == {"tsv.py", *OTHERS}


def test_files_take_the_place_of_others_in_one_way():
    assert {m for m in MODULES if renames(m)} == {"whole_files.py", *RENAMED}
