"""Shards on disk: merged exactly, refused where they do not belong together."""

from dataclasses import fields

import numpy as np
import pytest

from nipype_group.permutation.shards import (
    merge_shards,
    read_stopped_shards,
    write_nulldist,
    write_shard,
)
from nipype_group.stats.permutation.early_stopping import StoppedResult
from nipype_group.stats.permutation.run import ShuffleResult

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
        ("contrast", "other contrasts or statistics: they are of other plans"),
        ("statistic", "other contrasts or statistics: they are of other plans"),
        ("null", "other contrasts or statistics: they are of other plans"),
        ("value", "come from different data"),
    ],
)
def test_shards_of_other_plans_are_refused(shards, part, message):
    a, b = result(41, 77), result(41, 77, 1, 0)
    own = {"a": a, "b": b}
    if part == "contrast":
        del own["b"]
    elif part == "null":
        del a.nulls["mass_positive"]
    elif part == "value":
        a.observed["voxel"][7] += 1e-12
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
    parts = [
        StoppedResult(
            *(np.arange(5.0) + (0 if name == "observed" else 9 * first) for name in names)
        )
        for first in (0, 20)
    ]
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


def of_voxels(whole, first, last, highest):
    """Return the part of a result that some voxels give."""
    cut = slice(first, last)
    return ShuffleResult(
        {name: values[cut] for name, values in whole.observed.items()},
        {name: values[cut] for name, values in whole.counts.items()},
        highest,
    )


@pytest.fixture
def voxel_shards(tmp_path):
    """Two ranges of shuffles of three ranges of voxels, in mixed order, and their whole."""
    whole, rng, paths = result(0, 100, n_top=0), np.random.default_rng(3), []
    edges = [(0, 11), (11, 20), (20, V)]
    # Each shuffle has its maximum in one of the ranges.
    where = rng.integers(0, 3, 100)
    for number, (a, b) in enumerate(edges):
        lower = rng.exponential(size=100) * (where != number)
        nulls = {name: values - lower for name, values in whole.nulls.items()}
        for first, last in ((0, 41), (41, 100)):
            span = slice(first, last)
            counts = result(first, last, n_top=0).counts
            part = ShuffleResult(whole.observed, counts, {})
            own = of_voxels(part, a, b, {name: n[span] for name, n in nulls.items()})
            paths.append(tmp_path / f"shard-{a}-{first}.npz")
            write_shard(paths[-1], "flip", first, last, {"a": own}, voxels=(a, b))
    return [paths[i] for i in (4, 1, 5, 0, 3, 2)], whole


def test_ranges_of_voxels_are_put_side_by_side(voxel_shards):
    paths, whole = voxel_shards
    assert_equal(merge_shards(paths, "flip", 100)["a"], whole)


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        (("shard-11-0", "shard-11-41"), "voxels 20 to 29; voxel 11 was expected"),
        (("shard-0-0", "shard-0-41"), "voxels 11 to 19; voxel 0 was expected"),
        (("shard-11-0",), "shuffles 41 to 99; shuffle 0 was expected"),
        (("shard-20-41",), "end at shuffle 41, the plan has 100"),
    ],
)
def test_a_missing_range_of_voxels_is_refused(voxel_shards, left_out, message):
    paths = [p for p in voxel_shards[0] if p.stem not in left_out]
    with pytest.raises(ValueError, match=message):
        merge_shards(paths, "flip", 100)


def test_ranges_of_voxels_and_all_voxels_do_not_go_together(voxel_shards, tmp_path):
    paths, whole = voxel_shards
    write_shard(tmp_path / "whole.npz", "flip", 0, 100, {"a": whole})
    with pytest.raises(ValueError, match=r"whole.npz holds all voxels, other shards of flip some"):
        merge_shards([*paths, tmp_path / "whole.npz"], "flip", 100)


def test_ranges_of_voxels_of_other_plans_are_refused(voxel_shards):
    paths, whole = voxel_shards
    for path, span in ((paths[0], (0, 41)), (paths[2], (41, 100))):
        own = of_voxels(whole, 20, V, {"voxel_positive": whole.nulls["voxel_positive"][:41]})
        write_shard(path, "flip", *span, {"a": own}, voxels=(20, V))
    with pytest.raises(ValueError, match="hold other contrasts or statistics"):
        merge_shards(paths, "flip", 100)
