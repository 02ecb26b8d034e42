"""Shards on disk: merged exactly, refused where they do not belong together."""

import numpy as np
import pytest

from nipype_group.design.shards import merge_shards, write_nulldist, write_shard
from nipype_group.stats.permutation import ShuffleResult

V = 30


def result(first, last, seed=0):
    """What shuffles first to last - 1 of a long run would give."""
    rng = np.random.default_rng(seed)
    observed, per_shuffle = rng.standard_normal(V), rng.integers(0, 2, (100, V))
    highest, lowest = rng.standard_normal(100) + 3, rng.standard_normal(100) - 3
    span = slice(first, last)
    return ShuffleResult(observed, per_shuffle[span].sum(axis=0), highest[span], lowest[span])


@pytest.fixture
def shards(tmp_path):
    """Four shards of one family with two contrasts, in mixed order, and one of another."""
    paths = []
    for first, last in ((41, 77), (0, 13), (77, 100), (13, 41)):
        path = tmp_path / f"shard-{first}.npz"
        write_shard(
            path, "flip", first, last, {"a": result(first, last), "b": result(first, last, 1)}
        )
        paths.append(path)
    write_shard(tmp_path / "other.npz", "permute", 0, 100, {"a": result(0, 100, 2)})
    return [*paths, tmp_path / "other.npz"]


def assert_equal(one, two):
    for field in ("observed", "counts", "highest", "lowest"):
        a, b = getattr(one, field), getattr(two, field)
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def test_merging_gives_the_whole_to_the_last_bit(shards):
    merged = merge_shards(shards, "flip", 100)
    assert set(merged) == {"a", "b"}
    assert_equal(merged["a"], result(0, 100))
    assert_equal(merged["b"], result(0, 100, 1))
    assert_equal(merge_shards(shards, "permute", 100)["a"], result(0, 100, 2))


def test_the_order_of_the_files_does_not_matter(shards):
    one, two = merge_shards(shards, "flip", 100), merge_shards(shards[::-1], "flip", 100)
    assert_equal(one["a"], two["a"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s[:1] + s[2:], "shuffle 0 was expected: a shard is missing or given twice"),
        (lambda s: s[1:], "shuffle 41 was expected"),
        (lambda s: [*s, s[0]], "given twice"),
        (lambda s: s[:2] + s[3:], "end at shuffle 77, the plan has 100"),
    ],
)
def test_missing_and_repeated_shards_are_refused(shards, change, message):
    with pytest.raises(ValueError, match=message):
        merge_shards(change(shards), "flip", 100)


def test_a_plan_of_another_length_is_refused(shards):
    with pytest.raises(ValueError, match="end at shuffle 100, the plan has 101"):
        merge_shards(shards, "flip", 101)


def test_a_family_without_shards_is_refused(shards):
    with pytest.raises(ValueError, match="the shards of swap end at shuffle 0"):
        merge_shards(shards, "swap", 100)


def test_shards_of_other_data_are_refused(shards):
    write_shard(shards[0], "flip", 41, 77, {"a": result(41, 77, 5), "b": result(41, 77, 1)})
    with pytest.raises(ValueError, match="come from different data"):
        merge_shards(shards, "flip", 100)


def test_shards_without_one_of_the_contrasts_are_refused(shards):
    write_shard(shards[0], "flip", 41, 77, {"a": result(41, 77)})
    with pytest.raises(ValueError, match="come from different data"):
        merge_shards(shards, "flip", 100)


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_files_that_are_no_shards_are_named(shards, content):
    whole = shards[2].read_bytes()
    shards[2].write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match=r"shard-77.npz: no shard of permutations"):
        merge_shards(shards, "flip", 100)


def test_pickled_content_is_never_loaded(shards, tmp_path):
    np.savez(shards[2], family=np.array({"a": 1}, dtype=object), span=[77, 100])
    with pytest.raises(ValueError, match="no shard of permutations"):
        merge_shards(shards, "flip", 100)


def test_equal_results_are_equal_files_and_nothing_is_left_beside_them(shards, tmp_path):
    again = tmp_path / "again.npz"
    write_shard(again, "flip", 0, 13, {"a": result(0, 13), "b": result(0, 13, 1)})
    assert again.read_bytes() == shards[1].read_bytes()
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".npz"]


def test_the_null_distribution_has_a_row_a_shuffle(tmp_path):
    whole = result(0, 100)
    path = write_nulldist(tmp_path / "null.tsv", whole)
    table = np.loadtxt(path, skiprows=1)
    assert table.shape == (100, 2)
    np.testing.assert_allclose(table[:, 0], whole.highest, rtol=1e-9)
    np.testing.assert_allclose(table[:, 1], -whole.lowest, rtol=1e-9)
    assert (tmp_path / "null.tsv").read_text().startswith("voxel_positive\tvoxel_negative\n")
