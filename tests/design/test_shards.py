"""Shards on disk: merged exactly, refused where they do not belong together."""

from dataclasses import fields

import numpy as np
import pytest

from nipype_group.design.shards import (
    merge_shards,
    read_stopped_shards,
    write_nulldist,
    write_shard,
)
from nipype_group.stats.early_stopping import StoppedResult
from nipype_group.stats.permutation import ShuffleResult

V = 30
SIDES = ("voxel_positive", "voxel_negative", "mass_positive", "tfce_negative")


def result(first, last, seed=0, n_top=3):
    """What shuffles first to last - 1 of a long run would give."""
    rng = np.random.default_rng(seed)
    span = slice(first, last)
    observed = {"voxel": rng.standard_normal(V), "tfce": rng.exponential(size=V)}
    per_shuffle = {name: rng.integers(0, 2, (100, V)) for name in observed}
    nulls = {name: rng.standard_normal(100) + 3 for name in SIDES}
    tops = rng.standard_normal((100, n_top)).astype(np.float32)
    return ShuffleResult(
        observed,
        {name: values[span].sum(axis=0) for name, values in per_shuffle.items()},
        {name: values[span] for name, values in nulls.items()},
        tops[span] if n_top else np.empty((0, 0), np.float32),
    )


@pytest.fixture
def shards(tmp_path):
    """Four shards of one family with two contrasts, in mixed order, and one of another."""
    paths = []
    for first, last in ((41, 77), (0, 13), (77, 100), (13, 41)):
        path = tmp_path / f"shard-{first}.npz"
        own = {"a": result(first, last), "b": result(first, last, 1, 0)}
        write_shard(path, "flip", first, last, own)
        paths.append(path)
    write_shard(tmp_path / "other.npz", "flip-participants", 0, 100, {"a": result(0, 100, 2)})
    return [*paths, tmp_path / "other.npz"]


def assert_equal(one, two):
    for field in ("observed", "counts", "nulls"):
        left, right = getattr(one, field), getattr(two, field)
        assert set(left) == set(right)
        for name, values in left.items():
            np.testing.assert_array_equal(values, right[name])
            assert values.dtype == right[name].dtype
    np.testing.assert_array_equal(one.tops, two.tops)
    assert one.tops.dtype == two.tops.dtype


def test_merging_gives_the_whole_to_the_last_bit(shards):
    merged = merge_shards(shards, "flip", 100)
    assert set(merged) == {"a", "b"}
    assert_equal(merged["a"], result(0, 100))
    assert_equal(merged["b"], result(0, 100, 1, 0))
    assert_equal(merge_shards(shards, "flip-participants", 100)["a"], result(0, 100, 2))


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
    own = {"a": result(41, 77, 5), "b": result(41, 77, 1, 0)}
    write_shard(shards[0], "flip", 41, 77, own)
    with pytest.raises(ValueError, match=r"shard-41.npz and .*shard-0.npz come from different"):
        merge_shards(shards, "flip", 100)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("contrast", "come from different data"),
        ("statistic", "come from different data"),
        ("null", "other shards lack .*: they are of other plans"),
    ],
)
def test_shards_of_other_plans_are_refused(shards, part, message):
    a, b = result(41, 77), result(41, 77, 1, 0)
    own = {"a": a, "b": b}
    if part == "contrast":
        del own["b"]
    elif part == "null":
        del a.nulls["mass_positive"]
    else:
        del a.observed["tfce"], a.counts["tfce"]
    write_shard(shards[0], "flip", 41, 77, own)
    with pytest.raises(ValueError, match=message):
        merge_shards(shards, "flip", 100)


def test_shards_of_another_scheme_are_refused(shards):
    own = {"a": result(41, 77), "b": result(41, 77, 1, 0)}
    write_shard(shards[0], "flip", 41, 77, own, "another")
    for scheme in ("", "another"):
        with pytest.raises(ValueError, match=r"shard-\d+.npz is a shard of another plan"):
            merge_shards(shards, "flip", 100, scheme)


def test_shards_whose_voxels_stopped_early_are_kept_apart(tmp_path):
    names = [field.name for field in fields(StoppedResult)]
    parts = [StoppedResult(*(np.arange(5.0) + (0 if name == "observed" else 9 * first)
                             for name in names)) for first in (0, 20)]  # fmt: skip
    paths = [tmp_path / "0.npz", tmp_path / "20.npz"]
    for path, part, span in zip(paths, parts, ((0, 20), (20, 50)), strict=True):
        write_shard(path, "flip", *span, {"a": part}, "mine")
    found = read_stopped_shards(paths[::-1], "flip", 50, "mine")
    assert list(found) == ["a"]
    for one, two in zip(found["a"], parts, strict=True):
        for name in names:
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    write_shard(paths[1], "flip", 20, 50, {"a": StoppedResult(*[np.ones(5)] * len(names))}, "mine")
    with pytest.raises(ValueError, match="come from different data"):
        read_stopped_shards(paths, "flip", 50, "mine")


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_files_that_are_no_shards_are_named(shards, content):
    whole = shards[2].read_bytes()
    shards[2].write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match=r"shard-77.npz: no shard of permutations"):
        merge_shards(shards, "flip", 100)


def test_pickled_content_is_never_loaded(shards):
    np.savez(shards[2], family=np.array({"a": 1}, dtype=object), span=[77, 100])
    with pytest.raises(ValueError, match="no shard of permutations"):
        merge_shards(shards, "flip", 100)


def test_equal_results_are_equal_files_and_nothing_is_left_beside_them(shards, tmp_path):
    again = tmp_path / "again.npz"
    write_shard(again, "flip", 0, 13, {"a": result(0, 13), "b": result(0, 13, 1, 0)})
    assert again.read_bytes() == shards[1].read_bytes()
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".npz"]


def test_the_null_distribution_has_a_row_a_shuffle(tmp_path):
    nulls = result(0, 100).nulls
    path = write_nulldist(tmp_path / "null.tsv", nulls)
    assert path == str(tmp_path / "null.tsv")
    table = np.loadtxt(path, skiprows=1)
    assert table.shape == (100, 4)
    for column, name in zip(table.T, SIDES, strict=True):
        np.testing.assert_allclose(column, nulls[name], rtol=1e-9)
    assert (tmp_path / "null.tsv").read_text().splitlines()[0].split("\t") == list(SIDES)
