"""Seven methods for nuisance, each against its definition, fitted again in every shuffle."""

import numpy as np
import pytest
from scipy import stats

from nipype_group.choices import METHODS
from nipype_group.stats.linear.aspin_welch import AspinWelch
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.partition import Partition, partition
from nipype_group.stats.permutation.choice import row_labels
from nipype_group.stats.permutation.methods import ShuffledContrast, shuffled_rows
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics

N, V, N_SHUFFLES = 14, 40, 30
RNG = np.random.default_rng(14)
AGE = RNG.uniform(20, 60, N)
# Correlated with age, as real covariates are.
DOSE = AGE / 20 + RNG.standard_normal(N)
IQ = RNG.standard_normal(N) - DOSE / 3
ONES = np.ones(N)
GROUP = (np.arange(N) % 2).astype(float)
PAIR = np.repeat(np.arange(N // 2), 2)
WITHIN = tuple((-1, int(b) + 1) for b in PAIR)
# Tested columns, nuisance columns, kind of shuffling, blocks.
DESIGNS = {
    "slope": ([DOSE], [ONES, AGE], "permute", ()),
    "slope through the origin": ([DOSE], [AGE], "permute", ()),
    "mean beside covariates": ([ONES], [AGE, IQ], "flip", ()),
    "groups, flipped": ([GROUP], [ONES, AGE], "flip", ()),
    "both": ([DOSE], [ONES, AGE], "both", ()),
    "within pairs": ([DOSE], [AGE, *np.equal.outer(np.arange(7), PAIR)], "permute", WITHIN),
    "F": ([DOSE, IQ], [ONES, AGE], "permute", ()),
    "F through the origin": ([DOSE, GROUP], [AGE], "permute", ()),
    "F, flipped": ([ONES, DOSE], [AGE, IQ], "flip", ()),
}


def columns(parts):
    return np.array(parts, float).T.reshape(N, -1)


def contrast_of(x, z, kind, blocks, method, **kwargs):
    matrix = np.hstack([x, z])
    model = LinearModel(matrix, tuple(map(str, range(matrix.shape[1]))))
    split = partition(model, np.eye(matrix.shape[1])[: x.shape[1]])
    n_rows = shuffled_rows(split, method)
    labels = row_labels(matrix) if n_rows == len(matrix) else tuple(range(n_rows))
    scheme = ShufflingScheme(kind, labels, blocks, 5, **kwargs)
    return ShuffledContrast(split, scheme, method)


def data_of(x, z, seed=2):
    """Strong nuisance with an offset, a weak effect."""
    rng = np.random.default_rng(seed)
    effect, nuisance = (rng.standard_normal((m.shape[1], V)) for m in (x, z))
    return rng.standard_normal((len(x), V)) + 0.4 * x @ effect + 2 * z @ nuisance


def reduction_of(contrast):
    """Return Q of Huh and Jhun: what the series of unit data is made of."""
    series, _, length = contrast.series(np.eye(N))
    q = series * length[:, None]
    np.testing.assert_allclose(q.T @ q, np.eye(q.shape[1]), atol=1e-12)
    nuisance = contrast.partition.nuisance
    np.testing.assert_allclose(q @ q.T, np.eye(N) - nuisance @ nuisance.T, atol=1e-12)
    return q


def run(contrast, data, tail="two-sided", last=N_SHUFFLES, names=("voxel",)):
    mask = np.ones((data.shape[1], 1, 1), bool)
    statistics = ShuffleStatistics(names, tail)
    (result,) = run_shuffles(lambda a, b: data[:, a:b], mask, [contrast], statistics, 0, last)
    return result


def side(t, tail, signed):
    if not signed or tail == "positive":
        return t
    return -t if tail == "negative" else np.abs(t)


def by_definition(refit, contrast, x, z, data, last=N_SHUFFLES):
    method = contrast.method
    reduction = reduction_of(contrast) if method == "huh-jhun" else None
    orders, signs = contrast.scheme.draw(0, last)
    return np.array(
        [refit(method, x, z, data, *shuffle, reduction) for shuffle in zip(orders, signs)]
    )


CASES = [
    (name, method)
    for name, design in DESIGNS.items()
    for method in METHODS
    # Combinations of maps have no blocks.
    if not (design[3] and method == "huh-jhun")
]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_every_shuffle_is_the_fit_that_defines_the_method(refit, name, method):
    tested, others, kind, blocks = DESIGNS[name]
    x, z = columns(tested), columns(others)
    contrast, data = contrast_of(x, z, kind, blocks, method), data_of(x, z)
    every = by_definition(refit, contrast, x, z, data)
    for tail in ("two-sided", "positive", "negative"):
        result = run(contrast, data, tail)
        np.testing.assert_allclose(result.observed["voxel"], every[0], rtol=1e-8)
        np.testing.assert_allclose(result.nulls["voxel_positive"], every.max(axis=1), rtol=1e-8)
        if contrast.signed:
            np.testing.assert_allclose(
                result.nulls["voxel_negative"], -every.min(axis=1), rtol=1e-8
            )
        heights = side(every, tail, contrast.signed)
        reference = heights[0] - 1e-9 * np.abs(heights[0])
        np.testing.assert_array_equal(result.counts["voxel"], (heights >= reference).sum(axis=0))
    assert contrast.stat_type == ("t" if len(tested) == 1 else "F")


@pytest.mark.parametrize("method", METHODS)
def test_whole_maps_are_the_same_statistics(refit, method):
    # TFCE of voxels apart from each other is their height cubed over three.
    x, z = columns([DOSE]), columns([ONES, AGE])
    contrast, data = contrast_of(x, z, "permute", (), method), data_of(x, z)
    every = by_definition(refit, contrast, x, z, data)
    mask = np.zeros((2 * V, 1, 1), bool)
    mask[::2] = True
    settings = ShuffleStatistics(("voxel", "tfce"), n_top=3)
    (result,) = run_shuffles(lambda a, b: data[:, a:b], mask, [contrast], settings, 0, N_SHUFFLES)
    np.testing.assert_allclose(result.observed["tfce"], every[0] ** 3 / 3, rtol=1e-7)
    np.testing.assert_allclose(
        result.nulls["tfce_positive"], every.max(axis=1) ** 3 / 3, rtol=1e-7
    )
    np.testing.assert_allclose(
        result.nulls["tfce_negative"], -(every.min(axis=1) ** 3) / 3, rtol=1e-7
    )
    heights = np.abs(every) * (1 + 1e-9)
    np.testing.assert_array_equal(result.counts["tfce"], (heights >= np.abs(every[0])).sum(axis=0))
    np.testing.assert_allclose(result.tops, -np.sort(-np.abs(every))[:, :3], rtol=1e-6)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("kind", ["permute", "flip"])
def test_without_nuisance_all_methods_are_one(kind, rank):
    x, z = columns([DOSE, IQ][:rank]), np.empty((N, 0))
    data = data_of(x, z)
    results = [run(contrast_of(x, z, kind, (), method), data) for method in METHODS]
    for result in results[1:]:
        for field in ("observed", "counts", "nulls"):
            for name, values in getattr(results[0], field).items():
                np.testing.assert_array_equal(values, getattr(result, field)[name])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["permute", "flip"])
def test_all_shuffles_give_multiples_of_one_over_their_number(refit, method, kind):
    x, z = columns([DOSE])[:6], columns([ONES])[:6]
    contrast = contrast_of(x, z, kind, (), method, exhaustive=True)
    data = data_of(x, z)
    n = contrast.scheme.n_distinct
    counts = run(contrast, data, "positive", n).counts["voxel"]
    if method != "huh-jhun":
        every = by_definition(refit, contrast, x, z, data, n)
        reference = every[0] - 1e-9 * np.abs(every[0])
        np.testing.assert_array_equal(counts, (every >= reference).sum(axis=0))
    assert (
        n
        == {
            "permute": 120 if method == "huh-jhun" else 720,
            "flip": 32 if method == "huh-jhun" else 64,
        }[kind]
    )
    assert counts.min() >= 1
    assert counts.max() <= n


def test_f_of_one_row_is_the_square_of_t():
    x, z = columns([DOSE]), columns([ONES, AGE])
    contrast, data = contrast_of(x, z, "flip", (), "freedman-lane"), data_of(x, z)
    # The same numbers through a second, empty direction: F of two rows is half of it.
    split = contrast.partition
    doubled = Partition(np.hstack([split.effect, 0 * split.effect]), split.nuisance, split.dof)
    found, expected = run(ShuffledContrast(doubled, contrast.scheme), data), run(contrast, data)
    np.testing.assert_allclose(
        2 * found.observed["voxel"], expected.observed["voxel"] ** 2, rtol=1e-9
    )
    np.testing.assert_array_equal(found.counts["voxel"], expected.counts["voxel"])
    largest = np.maximum(expected.nulls["voxel_positive"], expected.nulls["voxel_negative"])
    np.testing.assert_allclose(2 * found.nulls["voxel_positive"], largest**2, rtol=1e-9)
    assert set(found.nulls) == {"voxel_positive"}


SWAPPED = GROUP[[1, 0, *range(2, N)]]
THIRD = np.cos(np.arange(N))


@pytest.mark.parametrize(
    ("tested", "others"),
    [
        ([GROUP], [SWAPPED, AGE]),
        ([GROUP, IQ], [SWAPPED, ONES]),
        ([IQ, GROUP], [SWAPPED, ONES]),
        # Exchanging the first two maps makes a combination of two regressors nuisance.
        ([IQ, GROUP + IQ, THIRD], [SWAPPED, ONES]),
        ([1e-6 * IQ, 1e6 * THIRD, GROUP], [SWAPPED, ONES]),
    ],
)
@pytest.mark.parametrize("method", ["dekker", "draper-stoneman"])
def test_shuffled_regressors_inside_the_nuisance_test_nothing(method, tested, others):
    x, z = columns(tested), columns(others)
    order = np.array([1, 0, *range(2, N)])
    contrast = contrast_of(x, z, "permute", (), method, given=np.array([range(N), order]) + 1)
    rows = contrast.rows(1, 2)[0]
    null = np.eye(N) - z @ np.linalg.pinv(z)
    left = null @ (x if method == "draper-stoneman" else null @ x)[order]
    left /= np.linalg.norm(x, axis=0)
    span, shares, _ = np.linalg.svd(left, full_matrices=False)
    span = span[:, shares > 1e-6]
    assert method == "dekker" or span.shape[1] == x.shape[1] - 1
    np.testing.assert_allclose(rows.T @ rows, span @ span.T, atol=1e-7)
    gram = rows @ rows.T
    np.testing.assert_allclose(gram, np.diag(np.round(np.diag(gram))), atol=1e-9)
    nulls = run(contrast, data_of(x, z), last=2).nulls
    assert np.isfinite(nulls["voxel_positive"]).all()
    if method == "draper-stoneman" and x.shape[1] == 1:
        assert nulls["voxel_positive"][1] == nulls["voxel_negative"][1] == 0


@pytest.mark.parametrize("method", METHODS)
def test_voxels_that_the_model_explains_have_no_statistic(method):
    x, z = columns([DOSE]), columns([ONES, AGE])
    contrast = contrast_of(x, z, "permute", (), method)
    data = data_of(x, z)
    # Constants, nuisance, effect, both, all of them large.
    dead = np.column_stack([ONES * 7e4, AGE * 1e3, DOSE * 1e5, AGE + 3 * DOSE, 0 * ONES])
    alone, together = run(contrast, data), run(contrast, np.hstack([data, dead]))
    assert (together.observed["voxel"][V:] == 0).all()
    assert (together.counts["voxel"][V:] == N_SHUFFLES).all()
    for name, null in alone.nulls.items():
        np.testing.assert_array_equal(null, together.nulls[name])
    series, plain, length = contrast.series(dead)
    assert not series.any()
    assert not plain.any()
    assert not length.any()


@pytest.mark.parametrize("rank", [1, 3])
def test_statistic_correlation_z_and_height_are_one_scale(rank):
    rng = np.random.default_rng(rank)
    model = LinearModel(rng.standard_normal((20, 5)), tuple("abcde"))
    scheme = ShufflingScheme("flip", tuple(range(20)))
    contrast = ShuffledContrast(partition(model, np.eye(5)[:rank]), scheme)
    value = np.array([0.0, 0.3, 2.0, 30.0])
    np.testing.assert_allclose(contrast.statistic(contrast.correlation(value)), value, rtol=1e-12)
    law = stats.t(15) if rank == 1 else stats.f(rank, 15)
    for p in (0.4, 0.01, 1e-6):
        assert law.sf(contrast.height(p)) == pytest.approx(p, rel=1e-9)
    np.testing.assert_allclose(
        contrast.z(value[1:]), stats.norm.isf(law.sf(value[1:])), rtol=1e-9, atol=1e-12
    )
    if rank == 1:
        np.testing.assert_allclose(contrast.statistic(contrast.correlation(-value)), -value)
    ends = contrast.statistic(np.array([1.0, -1.0]))
    assert ends.tolist() == ([np.inf, -np.inf] if rank == 1 else [np.inf, np.inf])


def test_variance_groups_and_pseudo_t_have_their_own_scales():
    x, z = columns([GROUP]), columns([ONES])
    contrast = contrast_of(x, z, "permute", (), "freedman-lane")
    model = LinearModel(np.hstack([x, z]), ("a", "b"))
    welch = AspinWelch(model, np.eye(2)[:1], GROUP.astype(int))
    as_z = ShuffledContrast(contrast.partition, contrast.scheme, welch=welch)
    pseudo = ShuffledContrast(contrast.partition, contrast.scheme, smooth_variance=np.asarray)
    assert (as_z.stat_type, pseudo.stat_type) == ("z", "pseudo-t")
    assert (as_z.needs_maps, pseudo.needs_maps, contrast.needs_maps) == (True, True, False)
    assert as_z.height(0.025) == pytest.approx(1.959964, abs=1e-6)
    assert as_z.z(np.array([1.5])).tolist() == [1.5]
    with pytest.raises(ValueError, match="pseudo-t has no z"):
        pseudo.z(np.zeros(1))
    with pytest.raises(ValueError, match="pseudo-t has no p"):
        pseudo.height(0.01)


def test_combinations_that_make_no_sense_are_refused():
    x, z = columns([GROUP]), columns([ONES])
    good = contrast_of(x, z, "permute", (), "freedman-lane")
    split, scheme = good.partition, good.scheme
    model = LinearModel(np.hstack([x, z]), ("a", "b"))
    welch = AspinWelch(model, np.eye(2)[:1], GROUP.astype(int))
    with pytest.raises(ValueError, match="method is one of freedman-lane, .*got 'smith'"):
        ShuffledContrast(split, scheme, "smith")
    with pytest.raises(ValueError, match="of 14 rows; huh-jhun needs 13"):
        ShuffledContrast(split, scheme, "huh-jhun")
    with pytest.raises(ValueError, match="variance groups go with freedman-lane, not manly"):
        ShuffledContrast(split, scheme, "manly", welch)
    for kwargs in ({"method": "dekker"}, {"welch": welch}):
        with pytest.raises(ValueError, match="smoothed variance goes with t"):
            ShuffledContrast(split, scheme, smooth_variance=np.asarray, **kwargs)
    two = partition(model, np.eye(2))
    with pytest.raises(ValueError, match="smoothed variance goes with t"):
        ShuffledContrast(two, scheme, smooth_variance=np.asarray)


@pytest.mark.parametrize("name", ["slope", "F", "F, flipped"])
@pytest.mark.parametrize("method", METHODS)
def test_rows_of_a_shuffle_do_not_depend_on_the_range(name, method):
    tested, others, kind, blocks = DESIGNS[name]
    contrast = contrast_of(columns(tested), columns(others), kind, blocks, method)
    whole = contrast.rows(0, 64)
    for first, last in ((0, 1), (1, 2), (5, 8), (8, 64), (63, 64)):
        np.testing.assert_array_equal(contrast.rows(first, last), whole[first:last])


def test_nuisance_that_no_shuffle_moves_costs_no_rows():
    contrast = contrast_of(columns([DOSE]), columns([ONES, AGE]), "permute", (), "freedman-lane")
    assert contrast.rows(0, 3).shape == (3, 2, N)
    assert contrast.plain_rows.shape == (2, N)
    flipped = contrast_of(columns([DOSE]), columns([ONES, AGE]), "flip", (), "freedman-lane")
    assert flipped.rows(0, 3).shape == (3, 3, N)
    for method in ("dekker", "draper-stoneman", "kennedy", "huh-jhun"):
        other = contrast_of(columns([DOSE]), columns([ONES, AGE]), "flip", (), method)
        assert other.rows(0, 3).shape == (3, 1, 12 if method == "huh-jhun" else N)
