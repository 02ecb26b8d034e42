"""Exchangeability blocks and variance groups from observations and files."""

import numpy as np
import pytest

from nipype_group.permutation.blocks import read_blocks, read_variance_groups
from nipype_group.stats.permutation.blocks import block_tree
from nipype_group.stats.permutation.choice import nested_blocks

FAMILY = ["smith", "smith", "jones", "jones", "smith", "jones"]
# Two families that change places, of three persons who do too; as PALM writes it.
PALM = "-1 1 1\n-1 1 2\n-1 2 1\n-1 2 2\n-1 1 3\n-1 2 3\n"


@pytest.fixture
def observations(tmp_path):
    """Observations of six maps with columns of every kind."""
    path = tmp_path / "observations.tsv"
    table = {
        "participant_id": [f"sub-{i}" for i in range(1, 7)],
        "family": FAMILY,
        "scanner": ["2", "10", "2", "10", "2", "10"],
        "top": ["-1"] * 6,
        "middle": ["1", "1", "2", "2", "1", "2"],
        "mixed": ["1", "-1", "2", "2", "1", "2"],
        "zero": ["0", "1", "2", "2", "1", "2"],
        "gap": ["a", "b", "n/a", "a", "b", "a"],
        "uneven": ["-1", "-1", "-1", "-1", "-1", "-2"],
        "one": ["1"] * 6,
    }
    rows = ["\t".join(table), *("\t".join(row) for row in zip(*table.values(), strict=True))]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def block_file(tmp_path):
    def write(text, name="eb.csv"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize("exchange", ["within", "whole", "both"])
def test_columns_of_names_are_nested(observations, exchange):
    found = read_blocks(observations, ["family"], exchange)
    assert found == nested_blocks([FAMILY], exchange)
    assert block_tree(found).count(range(6)) == {"within": 36, "whole": 2, "both": 72}[exchange]
    two = read_blocks(observations, ["family", "scanner"], "within")
    assert block_tree(two).count(range(6)) == 2**2


def test_the_names_of_blocks_say_nothing(observations):
    # 10 before 2, jones before smith: all that counts is who is with whom.
    found = read_blocks(observations, ["scanner"])
    with_whom = np.equal.outer(*[np.array(found)[:, 1]] * 2)
    expected = np.array(["2", "10"] * 3)
    np.testing.assert_array_equal(with_whom, np.equal.outer(expected, expected))


def test_columns_of_signed_integers_are_taken_as_they_are(observations):
    found = read_blocks(observations, ["top", "middle"], "whole")
    assert found == tuple((-1, int(m)) for m in "112212")
    # Without a constant first column they are names.
    assert read_blocks(observations, ["middle"], "whole") == nested_blocks(
        [list("112212")], "whole"
    )
    # Names of one family, and integers, are names too.
    named = read_blocks(observations, ["middle", "top"], "within")
    assert named[0][0] == -1
    assert len(named[0]) == 3


@pytest.mark.parametrize("separator", [" ", ",", "\t", ", "])
def test_files_as_of_palm(observations, block_file, separator):
    path = block_file(PALM.replace(" ", separator).replace("2", "2.0") + "\n\n")
    found = read_blocks(observations, [path])
    assert found == tuple(tuple(int(v) for v in row.split()) for row in PALM.splitlines())
    assert block_tree(found).count(range(6)) == 36


@pytest.mark.parametrize("exchange", ["within", "whole", "both"])
def test_a_file_of_one_column_holds_names_of_blocks(observations, block_file, exchange):
    # As the exchangeability groups of FSL's randomise, -e.
    path = block_file("1\n1\n2\n2\n1\n2\n", "design.grp")
    assert read_blocks(observations, [path], exchange) == nested_blocks([list("112212")], exchange)


def test_the_header_of_a_grp_file_is_no_block(observations, block_file):
    header = "/NumWaves\t1\n/NumPoints\t6\n\n/Matrix\n"
    path = block_file(header + "1\n1\n2\n2\n1\n2\n", "design.grp")
    assert read_blocks(observations, [path]) == nested_blocks([list("112212")], "within")


def test_a_column_comes_before_a_file_of_its_name(observations, block_file, monkeypatch, tmp_path):
    block_file("1\n" * 6, "family")
    monkeypatch.chdir(tmp_path)
    assert read_blocks(observations, ["family"]) == nested_blocks([FAMILY], "within")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n2\n", "has 2 rows of blocks; the analysis has 6 maps"),
        (PALM.replace("-1 1 2\n", "-1 1\n", 1), "rows have different numbers of columns"),
        (PALM.replace("-1 1 2\n", "-1 0 2\n", 1), "are integers other than 0"),
        (PALM.replace("-1 1 2\n", "-1 1.5 2\n", 1), "are integers other than 0"),
        (PALM.replace("-1 1 2\n", "-1 one 2\n", 1), "are integers other than 0"),
        (PALM.replace("-1 1 2\n", "-1 nan 2\n", 1), "are integers other than 0"),
        (PALM.replace("-1 1 2\n", "-1 inf 2\n", 1), "are integers other than 0"),
        (PALM.replace("-1 1 2\n", "-1 -1 2\n", 1), "index 1 of column 2 is positive in some"),
        (PALM.replace("-1 1 2\n", "-2 1 2\n", 1), "the first column is one block of all maps"),
        ("1 -1\n1 -1\n1 -1\n1 -1\n1 -1\n1 -2\n", "hold 5 and 1 maps"),
        ("", "has 0 rows of blocks"),
    ],
)
def test_files_that_hold_no_blocks_are_named(observations, block_file, text, message):
    with pytest.raises(ValueError, match=rf"eb\.csv.*{message}"):
        read_blocks(observations, [block_file(text)])


@pytest.mark.parametrize(
    ("names", "exchange", "message"),
    [
        (["sex"], "within", r"no column 'sex'; it has participant_id, family"),
        (["family", "/no/such/file"], "within", "no column '/no/such/file'"),
        (["gap"], "within", "gap is missing in row 3"),
        (["top", "mixed"], "within", "blocks top, mixed: .*positive in some rows"),
        (["one", "uneven"], "within", "blocks one, uneven: .*hold 5 and 1 maps"),
        (["family"], "swap", "within, whole, both, got 'swap'"),
        (["scanner", "family"], "whole", "hold"),
    ],
)
def test_columns_that_hold_no_blocks_are_named(observations, names, exchange, message):
    with pytest.raises(ValueError, match=message):
        read_blocks(observations, names, exchange)


def test_variance_groups_are_numbered_from_1(observations):
    assert read_variance_groups(observations, "family") == (2, 2, 1, 1, 2, 1)
    assert len(set(read_variance_groups(observations, "scanner"))) == 2
    with pytest.raises(ValueError, match="no column 'site'"):
        read_variance_groups(observations, "site")
    with pytest.raises(ValueError, match="gap is missing in row 3"):
        read_variance_groups(observations, "gap")


@pytest.mark.parametrize("sign", ["?", "#N/A", ".", "-", "-999", "NULL"])
def test_groups_that_stand_for_nothing_are_refused(observations, sign):
    text = observations.read_text()
    observations.write_text(text.replace("smith", sign))
    for read in (
        lambda: read_blocks(observations, ["family"]),
        lambda: read_variance_groups(observations, "family"),
    ):
        with pytest.raises(
            ValueError, match="family is .* in row 1, which is the name of no group"
        ):
            read()
    # Numbers are blocks of their own, and so are labels.
    assert read_blocks(observations, ["top", "middle"])
    observations.write_text(text.replace("sub-1\t", f"{sign}\t"))
    assert read_blocks(observations, ["participant_id"])
