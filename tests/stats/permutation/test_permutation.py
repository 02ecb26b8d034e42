"""Shuffles of a run: refits, near ties, and bits that no split of the work may change."""

import sys
from dataclasses import replace
from functools import partial
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from threadpoolctl import threadpool_limits

from nipype_group.choices import STATISTICS
from nipype_group.stats.linear.aspin_welch import AspinWelch
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.permutation import kernels as correlation_scan
from nipype_group.stats.permutation.choice import row_labels
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.run import ShuffleResult, run_shuffles
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.tfce import Tfce

TAILS = ("two-sided", "positive", "negative")
N, V = 12, 1500
AGE = np.linspace(-1, 1, N) ** 3 + 0.4
GROUP = (np.arange(N) % 2).astype(float)
SUBJECT = np.repeat(np.arange(N // 3), 3)
SUBJECTS = np.equal.outer(np.arange(4), SUBJECT).astype(float)
WITHIN = tuple((-1, int(b) + 1) for b in SUBJECT)
ONES = np.ones(N)
DESIGNS = {
    # Tested columns, nuisance columns, kind, blocks.
    "one sample": ([ONES], [], "flip", ()),
    "regression beside nuisance": ([AGE], [ONES, AGE**2], "permute", ()),
    "intercept beside a covariate": ([ONES], [AGE], "flip", ()),
    "two groups": ([GROUP - 0.5], [ONES], "permute", ()),
    "within subjects": ([np.tile([1.0, 0, -1], 4)], [*SUBJECTS], "permute", WITHIN),
    "within subjects beside a covariate that varies": (
        [np.tile([1.0, 0, -1], 4)],
        [AGE, *SUBJECTS],
        "permute",
        WITHIN,
    ),
    "F": ([AGE, GROUP], [ONES], "permute", ()),
    "F beside a covariate, flipped": ([ONES, GROUP], [AGE], "flip", ()),
}


def columns(parts):
    return np.array(parts, float).reshape(len(parts), N).T


def problem(name, seed=1):
    """Return a contrast, its columns and data with effects of both."""
    tested, others, kind, blocks = DESIGNS[name]
    x, z = columns(tested), columns(others)
    matrix = np.hstack([x, z])
    model = LinearModel(matrix, tuple(map(str, range(matrix.shape[1]))))
    split = partition(model, np.eye(matrix.shape[1])[: len(tested)])
    contrast = ShuffledContrast(split, ShufflingScheme(kind, row_labels(matrix), blocks, seed))
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((N, V)) + 0.3 * matrix @ rng.standard_normal((matrix.shape[1], V))
    return contrast, x, z, data


def reader(data):
    """Return a function that reads voxels a to b - 1."""
    return lambda a, b: data[:, a:b]


def run(contrast, data, first=0, last=400, tail="two-sided", mask=None, statistics=None, **kwargs):
    mask = np.ones((data.shape[1], 1, 1), bool) if mask is None else mask
    statistics = ShuffleStatistics(tail=tail) if statistics is None else statistics
    return run_shuffles(reader(data), mask, [contrast], statistics, first, last, **kwargs)[0]


def on_side(t, tail, signed=True):
    if not signed:
        return t
    return {"two-sided": np.abs(t), "positive": t, "negative": -t}[tail]


def assert_same_bits(one, two, without=()):
    for field in ("observed", "counts", "nulls"):
        left, right = getattr(one, field), getattr(two, field)
        assert list(left) == list(right)
        for name, values in left.items():
            assert values.dtype == right[name].dtype
            if name.split("_")[0] not in without:
                np.testing.assert_array_equal(values, right[name], err_msg=f"{field} {name}")
    np.testing.assert_array_equal(one.tops, two.tops)


def joined(parts):
    return ShuffleResult(
        parts[0].observed,
        {name: sum(p.counts[name] for p in parts) for name in parts[0].counts},
        {name: np.concatenate([p.nulls[name] for p in parts]) for name in parts[0].nulls},
        np.concatenate([p.tops for p in parts]),
    )


@pytest.mark.parametrize("name", DESIGNS)
def test_statistics_counts_and_extremes_equal_refitting(name, refit):
    contrast, x, z, data = problem(name)
    n = 300
    shuffles = zip(*contrast.scheme.draw(0, n), strict=True)
    every = np.array([refit("freedman-lane", x, z, data, *shuffle) for shuffle in shuffles])
    for tail in TAILS:
        result = run(contrast, data, last=n, tail=tail)
        np.testing.assert_allclose(result.observed["voxel"], every[0], rtol=1e-9, atol=1e-12)
        heights = on_side(every, tail, contrast.signed)
        reference = heights[0] - 1e-9 * np.abs(heights[0])
        np.testing.assert_array_equal(result.counts["voxel"], (heights >= reference).sum(axis=0))
        np.testing.assert_allclose(result.nulls["voxel_positive"], every.max(axis=1), rtol=1e-10)
        if contrast.signed:
            lowest = result.nulls["voxel_negative"]
            np.testing.assert_allclose(lowest, -every.min(axis=1), rtol=1e-10)


# What a run may be split into: everything at once, on a mask of more than one tile.
EVERYTHING = ShuffleStatistics(STATISTICS, cluster_forming_p=0.05, n_top=4)
BIG = np.random.default_rng(30).random((13, 12, 10)) < 0.95
SPLITS = ("regression beside nuisance", "F beside a covariate, flipped", "one sample")


@pytest.fixture(scope="module", params=SPLITS)
def whole(request, smooth_data):
    """A contrast, smooth data, and the result of 600 shuffles in one piece."""
    contrast, x, _, _ = problem(request.param)
    data = smooth_data(N, BIG, 2, x[:, 0])
    # More than one tile.
    assert data.shape[1] > 1024
    with threadpool_limits(1, "blas"):
        return contrast, data, run(contrast, data, 0, 600, mask=BIG, statistics=EVERYTHING)


@pytest.mark.parametrize(
    "edges",
    [[0, 1, 600], [0, 200, 400, 600], range(0, 601, 75), [0, 1, 33, 37, 256, 257, 600]],
    ids=["apart from the first", "3", "8", "odd"],
)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_pieces_put_together_are_the_whole_bit_for_bit(whole, edges, n_threads):
    contrast, data, result = whole
    with threadpool_limits(1, "blas"):
        parts = [
            run(contrast, data, a, b, mask=BIG, statistics=EVERYTHING, n_threads=n_threads)
            for a, b in pairwise(edges)
        ]
    assert_same_bits(joined(parts), result)
    for part in parts:
        for name, values in part.observed.items():
            np.testing.assert_array_equal(values, result.observed[name])


def test_pieces_on_the_scale_of_z_are_the_whole_bit_for_bit(smooth_data):
    contrast, x, _, _ = problem("regression beside nuisance")
    data = smooth_data(N, BIG, 2, x[:, 0])
    statistics = replace(EVERYTHING, statistic_scale="z")
    with threadpool_limits(1, "blas"):
        result = run(contrast, data, 0, 300, mask=BIG, statistics=statistics)
        # Few and many heights are converted alike.
        parts = [
            run(contrast, data, a, b, mask=BIG, statistics=statistics)
            for a, b in pairwise([0, 7, 8, 33, 300])
        ]
    assert_same_bits(joined(parts), result)


def test_series_made_again_change_no_bit(whole):
    contrast, data, result = whole
    reads = []

    def read(start, stop):
        reads.append((start, stop))
        return data[:, start:stop]

    with threadpool_limits(1, "blas"):
        (again,) = run_shuffles(read, BIG, [contrast], EVERYTHING, 0, 600, memory_gb=1e-9)
    assert len(reads) > 10
    assert_same_bits(again, result)


def test_more_shuffles_leave_the_first_ones_as_they_were(whole):
    contrast, data, result = whole
    with threadpool_limits(1, "blas"):
        few = run(contrast, data, 0, 61, mask=BIG, statistics=EVERYTHING)
        rest = run(contrast, data, 61, 201, mask=BIG, statistics=EVERYTHING)
        many = run(contrast, data, 0, 201, mask=BIG, statistics=EVERYTHING)
    assert_same_bits(joined([few, rest]), many)
    for name, null in result.nulls.items():
        np.testing.assert_array_equal(null[:201], many.nulls[name])


@pytest.mark.parametrize(
    ("shuffles", "voxels", "maps"), [(64, 1024, 32), (300, 256, 32), (256, 4096, 8), (7, 104, 5)]
)
def test_sizes_of_batches_and_tiles_change_no_bit(whole, monkeypatch, shuffles, voxels, maps):
    contrast, data, result = whole
    sizes = {
        "SHUFFLES_PER_BATCH": shuffles,
        "VOXELS_PER_TILE": voxels,
        "MAPS_PER_BLOCK": maps,
        "SHUFFLES_PER_BLOCK": maps,
        "_ROOM": voxels,
    }
    engine = [m for name, m in sys.modules.items() if name.startswith("nipype_group.stats")]
    patched = {(name, m) for name in sizes for m in engine if hasattr(m, name)}
    assert len({name for name, _ in patched}) == 4
    for name, module in patched:
        monkeypatch.setattr(module, name, sizes[name])
    last = 150
    with threadpool_limits(1, "blas"):
        other = run(contrast, data, 0, last, mask=BIG, statistics=EVERYTHING)
        same = {name: null[:last] for name, null in result.nulls.items()}
    for name, null in same.items():
        np.testing.assert_array_equal(other.nulls[name], null)
    np.testing.assert_array_equal(other.observed["voxel"], result.observed["voxel"])
    np.testing.assert_array_equal(other.tops, result.tops[:last])
    monkeypatch.undo()
    with threadpool_limits(1, "blas"):
        alone = run(contrast, data, 0, last, mask=BIG, statistics=EVERYTHING)
    for name, counts in alone.counts.items():
        np.testing.assert_array_equal(other.counts[name], counts)


def test_contrasts_together_are_what_each_is_alone(smooth_data):
    names = ("regression beside nuisance", "two groups", "F")
    contrasts = [problem(name)[0] for name in names]
    contrasts = [ShuffledContrast(c.partition, contrasts[0].scheme) for c in contrasts]
    data = smooth_data(N, BIG, 3)
    read = reader(data)
    with threadpool_limits(1, "blas"):
        together = run_shuffles(read, BIG, contrasts, EVERYTHING, 0, 90, n_threads=2)
        alone = [run(c, data, 0, 90, mask=BIG, statistics=EVERYTHING) for c in contrasts]
    for one, two in zip(together, alone, strict=True):
        assert_same_bits(one, two)


def test_statistics_do_not_depend_on_what_else_is_taken(smooth_data):
    contrast = problem("regression beside nuisance")[0]
    data = smooth_data(N, BIG, 4)
    with threadpool_limits(1, "blas"):
        everything = run(contrast, data, 0, 90, mask=BIG, statistics=EVERYTHING)
        for names in (("voxel",), ("voxel", "mass"), ("tfce", "voxel"), ("voxel", "extent")):
            forming = 0.05 if {"mass", "extent"} & set(names) else None
            settings_ = ShuffleStatistics(names, cluster_forming_p=forming)
            some = run(contrast, data, 0, 90, mask=BIG, statistics=settings_)
            sides = {f"{name}_{side}" for name in names for side in ("positive", "negative")}
            assert set(some.nulls) == sides
            for name, null in some.nulls.items():
                np.testing.assert_array_equal(null, everything.nulls[name])
            for name, counts in some.counts.items():
                np.testing.assert_array_equal(counts, everything.counts[name])


def test_room_grows_where_most_voxels_survive(smooth_data, naive):
    # A threshold of 0.5 leaves a third of 4,600 voxels on each side.
    contrast, x, z, _ = problem("one sample")
    mask = np.ones((18, 16, 16), bool)
    data = smooth_data(N, mask, 5)
    chosen = ShuffleStatistics(
        ("voxel", "extent", "mass"), cluster_forming_statistic=0.5, connectivity=6
    )
    result = run(contrast, data, 0, 12, mask=mask, statistics=chosen)
    signs = contrast.scheme.draw(0, 12)[1]
    flipped = signs[:, :, None] * data
    t = flipped.mean(axis=1) / flipped.std(axis=1, ddof=1) * np.sqrt(N)
    for sign, side in ((1, "positive"), (-1, "negative")):
        extents, masses = naive(mask).clusters(sign * t, 0.5, 6, sign * t, 0.0)
        np.testing.assert_array_equal(result.nulls[f"extent_{side}"], extents.max(axis=1))
        np.testing.assert_allclose(result.nulls[f"mass_{side}"], masses.max(axis=1), rtol=1e-9)
        # 0.5 leaves one cluster from end to end.
        assert extents.max() > 500


def test_voxels_may_come_in_any_order():
    contrast, _, _, data = problem("regression beside nuisance")
    order = np.random.default_rng(3).permutation(V)
    one, two = run(contrast, data), run(contrast, data[:, order])
    np.testing.assert_array_equal(one.counts["voxel"][order], two.counts["voxel"])
    np.testing.assert_array_equal(one.nulls["voxel_positive"], two.nulls["voxel_positive"])


@settings(max_examples=20)
@given(st.sampled_from(sorted(DESIGNS)), st.floats(1e-6, 1e6))
def test_scaling_the_data_changes_no_count(name, factor):
    contrast, _, _, data = problem(name)
    one, two = (run(contrast, d[:, :50], last=60) for d in (data, data * factor))
    np.testing.assert_array_equal(one.counts["voxel"], two.counts["voxel"])
    np.testing.assert_allclose(
        one.nulls["voxel_positive"], two.nulls["voxel_positive"], rtol=1e-10
    )


def test_flipping_the_data_swaps_the_tails(smooth_data):
    contrast = problem("regression beside nuisance")[0]
    data = smooth_data(N, BIG, 6)
    chosen = partial(ShuffleStatistics, STATISTICS, cluster_forming_statistic=2.0)
    up = run(contrast, data, 0, 100, mask=BIG, statistics=chosen("positive"))
    down = run(contrast, -data, 0, 100, mask=BIG, statistics=chosen("negative"))
    for name, counts in up.counts.items():
        np.testing.assert_array_equal(counts, down.counts[name])
    for name in STATISTICS:
        np.testing.assert_array_equal(up.nulls[f"{name}_positive"], down.nulls[f"{name}_negative"])


def test_steps_of_fsl_refer_to_the_unshuffled_map(smooth_data):
    contrast = problem("one sample")[0]
    data = smooth_data(N, BIG, 7, ONES)
    chosen = ShuffleStatistics(("voxel", "tfce"), tfce=Tfce(steps="fsl"))
    result = run(contrast, data, 0, 8, mask=BIG, statistics=chosen)
    signs = contrast.scheme.draw(0, 8)[1]
    flipped = signs[:, :, None] * data
    t = flipped.mean(axis=1) / flipped.std(axis=1, ddof=1) * np.sqrt(N)
    structure = ndimage.generate_binary_structure(3, 1)
    step = t[0].max() / 100
    # The highest voxel of shuffle 0 lies on a step, where rounding of float32 decides.
    for k in range(1, 8):
        volume = np.zeros(BIG.shape)
        volume.T[BIG.T] = t[k]
        total = np.zeros(BIG.shape)
        for height in np.arange(step, t[k].max(), step):
            labels, _ = ndimage.label(volume > height, structure)
            sizes = np.bincount(labels.ravel()).astype(float)
            sizes[0] = 0
            total += np.sqrt(sizes[labels]) * height**2
        assert result.nulls["tfce_positive"][k] == pytest.approx(total.max(), rel=1e-4)


# Data of whole numbers tie; what is added to them, in whole units of 2^-40, decides.
UNIT = 2.0**-40


def near_tied_flips(size):
    """Return maps as integers of 2^-40 whose sums under different flips differ by about size."""
    rng = np.random.default_rng(9)
    whole = rng.integers(1, 4, (8, 300)) * rng.choice([-1, 1], (8, 300))
    whole[:, 100:200] = whole[:, :100]
    # Powers of 2: no two flips have one sum.
    parts = max(1, round(size / UNIT)) * 2 ** np.arange(8)[:, None]
    return whole * 2**40 + parts * rng.choice([-1, 1], (8, 300))


def flips_of(n_maps):
    model = LinearModel(np.ones((n_maps, 1)), ("mean",))
    scheme = ShufflingScheme("flip", (0,) * n_maps, exhaustive=True)
    return ShuffledContrast(partition(model, np.eye(1)), scheme)


@pytest.mark.parametrize("size", [1e-7, 1e-8, 1e-10, 1e-12])
@pytest.mark.parametrize("tail", TAILS)
def test_near_ties_that_float32_cannot_tell_are_counted_right(tail, size):
    whole = near_tied_flips(size)
    result = run(flips_of(8), whole * UNIT, last=256, tail=tail)
    # |sum| orders flips as t does, as the sum of squares is the same for all; sums are exact.
    signs = np.array(list(product([1, -1], repeat=8)))
    exact = on_side(signs @ whole, tail)
    expected = (exact >= on_side(whole.sum(axis=0), tail)).sum(axis=0)
    np.testing.assert_array_equal(result.counts["voxel"], expected)
    # With a tolerance for ties of a few times the size the counts are others.
    reference = on_side(whole.sum(axis=0), tail)
    tied = (exact >= reference - 20 * size * np.abs(reference)).sum(axis=0)
    assert (tied != expected).mean() > 0.3


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("n_maps", [6, 10])
def test_ties_of_whole_numbers_are_ties(tail, n_maps):
    data = np.random.default_rng(n_maps).integers(-3, 6, (n_maps, 300))
    data[0, data.sum(axis=0) == 0] += 1
    # 0.1 is no binary number: ties are those of decimals.
    result = run(flips_of(n_maps), data * 0.1, last=2**n_maps, tail=tail)
    signs = np.array(list(product([1, -1], repeat=n_maps)))
    sums = on_side(signs @ data, tail)
    np.testing.assert_array_equal(
        result.counts["voxel"], (sums >= on_side(data.sum(axis=0), tail)).sum(axis=0)
    )


def exact_r_squared(effects, z, data):
    """Return the squared partial correlation of tested columns, in long doubles, shape (m, v)."""

    def orthonormal(vectors):
        basis = []
        for vector in vectors:
            for _ in range(2):
                for direction in basis:
                    vector = vector - direction * (direction @ vector)
            basis.append(vector / np.sqrt(vector @ vector))
        return np.array(basis, np.longdouble).reshape(len(basis), -1)

    z, x, data = (np.asarray(part, np.longdouble) for part in (z.T, effects.T, data))
    both = orthonormal([*z, *x])
    nuisance, effect = both[: len(z)], both[len(z) :]
    null = data - nuisance.T @ (nuisance @ data)

    def of(order, signs):
        shuffled = np.empty_like(null)
        shuffled[order] = signs[:, None] * null
        left = np.square(shuffled).sum(axis=0) - np.square(nuisance @ shuffled).sum(axis=0)
        products = effect @ shuffled
        squares = np.square(products).sum(axis=0) / left
        return squares * np.sign(products[0]) if len(effect) == 1 else squares

    return of


NEAR_TIED = {
    # Tested columns, nuisance columns, kind of shuffling; small whole numbers throughout.
    "t": ([[1, 1, 1, 1, -1, -1, -1, -1]], [[1] * 8, [1, -1, 2, -2, 1, -1, 2, -2]], "permute"),
    "t, flipped": ([[1] * 8], [[1, -1, 2, -2, 1, -1, 2, -2]], "flip"),
    "F": ([[1, 0, 1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1, 0, 1]], [], "flip"),
    "F beside nuisance": (
        [[1, 1, -1, -1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, -1, -1]],
        [[1] * 8],
        "permute",
    ),
}


@pytest.mark.parametrize("size", [1e-6, 1e-7])
@pytest.mark.parametrize("name", NEAR_TIED)
def test_near_ties_of_t_and_f_beside_nuisance_are_counted_right(name, size):
    tested, others, kind = NEAR_TIED[name]
    x, z = np.array(tested, float).T, np.array(others, float).reshape(-1, 8).T
    matrix = np.hstack([x, z])
    model = LinearModel(matrix, tuple("abcdef"[: matrix.shape[1]]))
    split = partition(model, np.eye(matrix.shape[1])[: x.shape[1]])
    contrast = ShuffledContrast(split, ShufflingScheme(kind, tuple(range(8)), seed=3))
    rng = np.random.default_rng(4)
    data = rng.integers(-2, 5, (8, 200)) + size * rng.standard_normal((8, 200))
    n = 250
    squares = exact_r_squared(x, z, data)
    every = np.array([squares(*shuffle) for shuffle in zip(*contrast.scheme.draw(0, n))])
    correlations = np.sign(every) * np.sqrt(np.abs(every))
    for tail in TAILS if contrast.signed else ("positive",):
        result = run(contrast, data, last=n, tail=tail)
        heights = on_side(correlations, tail, contrast.signed)
        reference = heights[0] - contrast.tie * np.abs(heights[0])
        difference = np.abs(heights - reference)
        # Ties are planted, and none is so near that double precision may err.
        assert ((difference < 10 * size) & (difference > 2e-9)).sum() > 50
        sure = (difference > 1e-14) | (heights == heights[0])
        unsure = (~sure).any(axis=0)
        assert unsure.mean() < 0.2
        expected = (heights >= reference).sum(axis=0)
        np.testing.assert_array_equal(result.counts["voxel"][~unsure], expected[~unsure])


@pytest.mark.parametrize("name", ["one sample", "regression beside nuisance", "F"])
def test_voxels_at_the_cluster_forming_threshold_are_told_apart(name, refit, naive, holey_mask):
    contrast, x, z, _ = problem(name)
    data = np.random.default_rng(8).standard_normal((N, holey_mask.sum()))
    shuffles = zip(*contrast.scheme.draw(0, 20), strict=True)
    every = np.array([refit("freedman-lane", x, z, data, *s) for s in shuffles])
    chosen = np.argwhere((every > 1.2) & (every < 2))
    changes = 0
    for k, voxel in chosen[:: len(chosen) // 12]:
        found = []
        for shift in (-1e-7, -1e-11, 1e-11, 1e-7):
            forming = every[k, voxel] * (1 + shift)
            settings_ = ShuffleStatistics(
                ("voxel", "extent", "mass"),
                "positive",
                cluster_forming_statistic=forming,
                mass_excess=True,
            )
            result = run(contrast, data, 0, 20, mask=holey_mask, statistics=settings_)
            extents, masses = naive(holey_mask).clusters(every, forming, 26, every, forming)
            np.testing.assert_array_equal(result.nulls["extent_positive"], extents.max(axis=1))
            np.testing.assert_allclose(
                result.nulls["mass_positive"], masses.max(axis=1), rtol=1e-9
            )
            found.append(extents.max(axis=1)[k])
        changes += found[1] != found[2]
    assert changes > 0


def test_duplicated_voxels_get_one_result():
    contrast, _, _, data = problem("intercept beside a covariate")
    data = np.tile(data[:, :1], (1, 2100))
    result = run(contrast, data)
    assert len(set(result.counts["voxel"].tolist())) == 1
    assert len(set(result.observed["voxel"].tolist())) == 1
    np.testing.assert_array_equal(result.nulls["voxel_positive"], -result.nulls["voxel_negative"])


@pytest.mark.parametrize("space", ["nuisance", "effect", "model"])
@pytest.mark.parametrize("name", DESIGNS)
def test_voxels_without_residual_variance_have_t_0_and_never_lead(name, space):
    contrast, x, z, data = problem(name)
    split = contrast.partition
    directions = {"nuisance": split.nuisance, "effect": split.effect, "model": np.hstack([x, z])}
    sizes = np.random.default_rng(2).uniform(-1e4, 1e4, (directions[space].shape[1], 200))
    together = run(contrast, np.hstack([data, directions[space] @ sizes]), last=100)
    alone = run(contrast, data, last=100)
    assert (together.observed["voxel"][V:] == 0).all()
    assert (together.counts["voxel"][V:] == 100).all()
    np.testing.assert_array_equal(together.nulls["voxel_positive"], alone.nulls["voxel_positive"])
    np.testing.assert_array_equal(together.counts["voxel"][:V], alone.counts["voxel"])


def test_dead_voxels_are_in_no_cluster(holey_mask, smooth_data):
    contrast = problem("one sample")[0]
    data = smooth_data(N, holey_mask, 9, ONES)
    dead = np.zeros(data.shape[1], bool)
    dead[::7] = True
    data[:, dead] = 5.0
    smaller = holey_mask.copy()
    smaller.T[holey_mask.T] = ~dead
    chosen = ShuffleStatistics(STATISTICS, cluster_forming_statistic=0.8)
    one = run(contrast, data, 0, 50, mask=holey_mask, statistics=chosen)
    two = run(contrast, data[:, ~dead], 0, 50, mask=smaller, statistics=chosen)
    for name, null in one.nulls.items():
        np.testing.assert_array_equal(null, two.nulls[name])
    assert (one.observed["tfce"][dead] == 0).all()


def welch_by_hand(matrix, data, groups):
    """Return Aspin's t of the first column of one voxel and its dof, from the textbook."""
    pinv = np.linalg.pinv(matrix)
    residuals = data - matrix @ (pinv @ data)
    forming = np.eye(len(matrix)) - matrix @ pinv
    variance, spread = 0.0, 0.0
    for g in np.unique(groups):
        own = groups == g
        freedom = np.trace(forming[np.ix_(own, own)])
        part = np.square(residuals[own]).sum() / freedom * np.square(pinv[0, own]).sum()
        variance, spread = variance + part, spread + part**2 / freedom
    return pinv[0] @ data / np.sqrt(variance), variance**2 / spread


@pytest.mark.parametrize("kind", ["permute", "flip", "both"])
def test_variance_groups_are_refitted_in_every_shuffle(kind, holey_mask, smooth_data, naive, z_of):
    x, z = GROUP[:, None] - 0.5, np.column_stack([ONES, AGE])
    matrix = np.hstack([x, z])
    model, groups = LinearModel(matrix, tuple("abc")), GROUP.astype(int)
    weights = np.eye(3)[:1]
    scheme = ShufflingScheme(kind, tuple(range(N)), seed=2)
    welch = AspinWelch(model, weights, groups)
    contrast = ShuffledContrast(partition(model, weights), scheme, welch=welch)
    data = smooth_data(N, holey_mask, 11, x[:, 0]) * (1 + 3 * groups[:, None]) + 4
    n, null = 12, data - z @ np.linalg.lstsq(z, data, rcond=None)[0]
    every = np.empty((n, data.shape[1]))
    for k, (order, signs) in enumerate(zip(*scheme.draw(0, n), strict=True)):
        shuffled = np.empty_like(data)
        shuffled[order] = signs[:, None] * null
        for voxel in range(data.shape[1]):
            t, dof = welch_by_hand(matrix, shuffled[:, voxel] + (data - null)[:, voxel], groups)
            every[k, voxel] = z_of(t, 1, dof)
    check_whole_maps(contrast, data, every, holey_mask, naive)


def check_whole_maps(contrast, data, every, mask, naive):
    """Compare a run with the maps of its shuffles by hand."""
    chosen = ShuffleStatistics(STATISTICS, cluster_forming_statistic=1.0, n_top=2)
    n = len(every)
    result = run(contrast, data, 0, n, mask=mask, statistics=chosen)
    np.testing.assert_allclose(result.observed["voxel"], every[0], rtol=1e-8, atol=1e-10)
    heights = np.abs(every) * (1 + 1e-9)
    np.testing.assert_array_equal(
        result.counts["voxel"], (heights >= np.abs(every[0])).sum(axis=0)
    )
    enhanced = 0
    for sign, side in ((1, "positive"), (-1, "negative")):
        extents, masses = naive(mask).clusters(sign * every, 1.0, 26, sign * every, 0.0)
        tfce = naive(mask).tfce(sign * every, 0.5, 2.0, 6)
        enhanced = enhanced + tfce
        for name, values in {
            "voxel": sign * every,
            "extent": extents,
            "mass": masses,
            "tfce": tfce,
        }.items():
            np.testing.assert_allclose(
                result.nulls[f"{name}_{side}"], values.max(axis=1), rtol=1e-7
            )
    np.testing.assert_array_equal(
        result.counts["tfce"], (enhanced * (1 + 1e-9) >= enhanced[0]).sum(axis=0)
    )
    np.testing.assert_allclose(result.tops, -np.sort(-np.abs(every))[:, :2], rtol=1e-6)
    parts = [
        run(contrast, data, a, b, mask=mask, statistics=chosen, n_threads=2)
        for a, b in ((0, 1), (1, 5), (5, n))
    ]
    assert_same_bits(joined(parts), result)


def test_pseudo_t_smooths_the_variance_of_every_shuffle(holey_mask, smooth_data, naive):
    contrast, x, z, _ = problem("regression beside nuisance")

    def smooth(variance):
        """Average over three voxels that follow each other."""
        return (variance + np.roll(variance, 1, axis=1) + np.roll(variance, -1, axis=1)) / 3

    pseudo = ShuffledContrast(contrast.partition, contrast.scheme, smooth_variance=smooth)
    data = smooth_data(N, holey_mask, 12, x[:, 0]) + 2
    n, matrix = 40, np.hstack([x, z])
    null = data - z @ np.linalg.lstsq(z, data, rcond=None)[0]
    weight, every = np.linalg.inv(matrix.T @ matrix)[0, 0], []
    for order, signs in zip(*contrast.scheme.draw(0, n), strict=True):
        shuffled = np.empty_like(data)
        shuffled[order] = signs[:, None] * null
        betas = np.linalg.lstsq(matrix, shuffled, rcond=None)[0]
        variance = np.square(shuffled - matrix @ betas).sum(axis=0) / (N - 3) * weight
        every.append(betas[0] / np.sqrt(smooth(variance[None])[0]))
    every = np.array(every)
    check_whole_maps(pseudo, data, every, holey_mask, naive)
    plain = run(contrast, data, 0, 2, mask=holey_mask)
    assert np.abs(plain.observed["voxel"] - every[0]).max() > 0.1


def test_pseudo_t_without_smoothing_is_t(holey_mask, smooth_data):
    contrast = problem("intercept beside a covariate")[0]
    pseudo = ShuffledContrast(contrast.partition, contrast.scheme, smooth_variance=np.asarray)
    data = smooth_data(N, holey_mask, 13)
    chosen = ShuffleStatistics(STATISTICS, cluster_forming_statistic=1.5)
    one, two = (
        run(c, data, 0, 60, mask=holey_mask, statistics=chosen) for c in (contrast, pseudo)
    )
    for name, null in one.nulls.items():
        np.testing.assert_allclose(null, two.nulls[name], rtol=1e-9)
    for name, counts in one.counts.items():
        np.testing.assert_array_equal(counts, two.counts[name])


def test_progress_rises_to_1():
    seen = []
    contrast, _, _, data = problem("one sample")
    run(contrast, data, last=600, report=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert len(seen) > 1


def test_the_unshuffled_maps_alone_count_themselves():
    contrast, _, _, data = problem("one sample")
    result = run(contrast, data, 0, 1)
    assert (result.counts["voxel"] == 1).all()
    assert result.counts["voxel"].dtype == np.int64
    assert result.nulls["voxel_positive"].tolist() == [result.observed["voxel"].max()]
    assert result.tops.size == 0


@pytest.mark.parametrize(("first", "last"), [(5, 5), (7, 3), (-1, 4)])
def test_empty_ranges_are_refused(first, last):
    contrast, _, _, data = problem("one sample")
    with pytest.raises(ValueError, match=f"shuffles {first} to {last} are no range"):
        run(contrast, data, first, last)


@pytest.mark.parametrize("n_maps", [5, 30, 300, 5000])
def test_float32_products_of_unit_vectors_stay_within_the_bound(n_maps):
    rng = np.random.default_rng(n_maps)
    # Equal signs let rounding errors add up.
    x, y = rng.random((300, n_maps)), rng.random((n_maps, 300))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y /= np.linalg.norm(y, axis=0)
    error = np.abs(x.astype(np.float32) @ y.astype(np.float32) - x @ y).max()
    assert 0 < error < correlation_scan.float32_error(n_maps)
    assert correlation_scan.float32_error(n_maps) >= n_maps * 2.0**-24


@pytest.mark.parametrize("rank", [1, 2])
def test_exact_correlations_are_those_of_numpy(rank):
    rng = np.random.default_rng(rank)
    rows = np.linalg.qr(rng.standard_normal((9, 4)))[0].T.copy()
    series = rng.standard_normal((50, 9))
    series /= np.linalg.norm(series, axis=1, keepdims=True)
    products = series @ rows.T
    left = np.sqrt(1 - np.square(products[:, rank:]).sum(axis=1))
    effect = products[:, 0] if rank == 1 else np.linalg.norm(products[:, :rank], axis=1)
    found = correlation_scan.exact_correlations(rows, rank, series)
    np.testing.assert_allclose(found, effect / left, rtol=1e-13)
    # All in the nuisance; all in the effect.
    ends = correlation_scan.exact_correlations(rows, rank, rows[[rank, 0]])
    np.testing.assert_allclose(ends, [0, 1], atol=1e-7)


@pytest.mark.parametrize("tail", TAILS)
def test_f_of_one_row_is_the_square_of_both_sides_of_t(tail):
    """Whatever the tail, an F is tested on its upper side, maps, clusters and TFCE alike."""
    contrast, _, _, data = problem("within subjects beside a covariate that varies")
    assert contrast.signed
    of_f = replace(contrast, unsigned=True)
    mask = np.ones((data.shape[1], 1, 1), bool)
    t = run(contrast, data, tail="two-sided")
    f = run(of_f, data, tail=tail)
    np.testing.assert_allclose(f.observed["voxel"], np.square(t.observed["voxel"]), rtol=1e-9)
    np.testing.assert_array_equal(f.counts["voxel"], t.counts["voxel"])
    largest = np.maximum(t.nulls["voxel_positive"], t.nulls["voxel_negative"])
    np.testing.assert_allclose(f.nulls["voxel_positive"], np.square(largest), rtol=1e-9)
    assert "voxel_negative" not in f.nulls
    full = ShuffleStatistics(("voxel", "extent", "tfce"), tail, cluster_forming_statistic=2.0)
    found = run(of_f, data, last=50, statistics=full, mask=mask)
    assert found.observed["tfce"].min() >= 0
    np.testing.assert_allclose(found.observed["voxel"], f.observed["voxel"], rtol=1e-9)
