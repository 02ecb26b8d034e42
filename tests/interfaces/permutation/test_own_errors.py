"""Shuffles of contrasts that have errors of their own, against every shuffle by hand."""

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.contrasts import Contrast
from nipype_group.design.error_terms import error_term
from nipype_group.design.matrix import Design
from nipype_group.permutation.plan import ContrastTest, make_plan
from nipype_group.permutation.units import units_of
from nipype_group.stats.linear.error_terms import estimate, maps_of
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.statistics import ShuffleStatistics

HELMERT = np.array([[-1.0, 1, 0], [-1, -1, 2]]) / np.sqrt([[2], [6]])


def within(n, levels=3, groups=None, second=()):
    """Return the design of n participants with cells, sum-coded, and its columns by effect."""
    cells = list(product([f"a{i}" for i in range(levels)], [f"b{i}" for i in second] or [""]))
    rows = [(f"sub-{i:02d}", *cell) for i in range(n) for cell in cells]
    keys = pd.DataFrame(rows, columns=["participant_id", "a", "b"])
    a = np.array([int(level[1:]) for level in keys["a"]])
    coded = np.vstack([np.eye(levels - 1), -np.ones(levels - 1)])[a]
    blocks = {"intercept": np.ones((len(keys), 1)), "a": coded}
    if groups is not None:
        group = np.repeat(groups, len(cells))[:, None]
        blocks |= {"group": group, "group:a": group * coded}
    if second:
        b = np.where(keys["b"] == "b0", 1.0, -1.0)[:, None]
        blocks |= {"b": b, "a:b": coded * b}
    ends = np.cumsum([block.shape[1] for block in blocks.values()])
    columns = {
        name: list(range(end - block.shape[1], end))
        for (name, block), end in zip(blocks.items(), ends, strict=True)
    }
    matrix = np.hstack(list(blocks.values()))
    names = tuple(f"c{i}" for i in range(matrix.shape[1]))
    keys = keys if second else keys.drop(columns="b")
    return Design(keys, matrix, names, within=tuple(keys.columns[1:])), columns


def shuffled(design, rows, test, data, n_permutations=10_000, **options):
    """Return the plan, the observed statistics and how many shuffles reach them."""
    contrast = Contrast("x", test, np.eye(design.matrix.shape[1])[rows], "x")
    within_shuffling = options.pop("within_shuffling", "auto")
    how = ContrastTest(
        ShuffleStatistics(tail=options.pop("tail", "two-sided")), within_shuffling=within_shuffling
    )
    plan = make_plan(design, [contrast], n_permutations, 3, how, **options)
    ((name, family),) = plan.families.items()
    own = how.shuffled_units(units_of(design, contrast, within_shuffling), family.scheme)
    (result,) = run_shuffles(
        lambda start, stop: data[:, start:stop],
        np.ones(data.shape[1], dtype=bool),
        [own],
        how.statistics,
        0,
        plan.n_shuffles(name),
    )
    return plan, result.observed["voxel"], result.counts["voxel"], plan.n_shuffles(name)


def traces(maps, between):
    """Return F of contrast maps (N, k, v): the mean over participants against what is left."""
    inverse = np.linalg.pinv(between)
    effect = inverse[[0]] / np.linalg.norm(inverse[0])
    estimates = np.einsum("n,nkv->kv", effect[0], maps)
    fitted = np.einsum("nm,mkv->nkv", between @ inverse, maps)
    error = np.square(maps - fitted).sum(axis=(0, 1)) / (len(maps) - between.shape[1])
    return np.square(estimates).sum(axis=0) / error


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def test_signs_of_a_participant_flip_all_contrast_maps_together(rng):
    n = 6
    design, columns = within(n, second=(0, 1))
    data = rng.standard_normal((len(design.matrix), 40)) + design.matrix[:, [1]]
    plan, observed, counts, total = shuffled(design, columns["a"], "F", data)
    assert list(plan.families) == ["flip-contrast-maps"]
    # Of each participant all signs or none; a mirrored shuffle is the same to F.
    maps = np.einsum("kc,ncv->nkv", HELMERT, data.reshape(n, 3, 2, -1).mean(axis=2))
    flips = np.array(list(product([1, -1], repeat=n)))
    by_hand = np.array([traces(maps * s[:, None, None], np.ones((n, 1))) for s in flips])
    np.testing.assert_allclose(observed, by_hand[0], rtol=1e-9)
    assert total == len(flips)
    expected = (by_hand >= by_hand[0] * (1 - 1e-10)).sum(axis=0)
    np.testing.assert_array_equal(counts, expected)
    assert (counts % 2 == 0).all()
    assert plan.smallest_p("flip-contrast-maps")["x"] == 2 / total


def test_levels_of_the_only_factor_exchange_within_participants(rng):
    n = 4
    design, columns = within(n)
    data = rng.standard_normal((len(design.matrix), 30))
    plan, observed, counts, total = shuffled(design, columns["a"], "F", data)
    assert list(plan.families) == ["permute-within-participants"]
    orders = list(permutations(range(3)))
    assert total in (len(orders) ** n, len(orders) ** (n - 1))
    values = data.reshape(n, 3, -1)
    by_hand = []
    for chosen in product(orders, repeat=n):
        moved = np.stack([values[i, list(order)] for i, order in enumerate(chosen)])
        maps = np.einsum("kc,ncv->nkv", HELMERT, moved)
        by_hand.append(traces(maps, np.ones((n, 1))))
    by_hand = np.array(by_hand)
    np.testing.assert_allclose(observed, by_hand[0], rtol=1e-9)
    expected = (by_hand >= by_hand[0] * (1 - 1e-10)).mean(axis=0)
    np.testing.assert_allclose(counts / total, expected, rtol=1e-12)


def moved_wholes(values, n):
    """Yield maps (n, levels, cells of a level, v) for each order of the levels of each of n."""
    orders = list(permutations(range(values.shape[1])))
    for chosen in product(orders, repeat=n):
        yield np.stack([values[i, list(order)] for i, order in enumerate(chosen)])


@pytest.mark.parametrize("groups", [None, np.array([1.0, 1, -1, -1])])
def test_levels_move_with_all_their_cells_on_request(rng, groups):
    n = 3 if groups is None else 4
    design, columns = within(n, second=(0, 1), groups=groups)
    data = rng.standard_normal((len(design.matrix), 20))
    plan, observed, counts, total = shuffled(
        design, columns["a"], "F", data, within_shuffling="levels"
    )
    ((name, _),) = plan.families.items()
    assert name == "permute-within-participants"
    assert "one variance and one correlation" in plan.assumption(name)
    assert f"within each of {n} participants" in plan.describe()
    values = data.reshape(n, 3, 2, -1)
    between = np.ones((n, 1)) if groups is None else np.column_stack([np.ones(n), groups])
    if groups is not None:
        # What the interaction with groups explains stays where it is.
        maps = np.einsum("kc,ncv->nkv", HELMERT, values.mean(axis=2))
        slope = np.einsum("n,nkv->kv", groups / n, maps)
        of_group = np.einsum("n,kc,kv->ncv", groups, HELMERT, slope)[:, :, None]
        values = values - of_group
    by_hand = []
    for moved in moved_wholes(values, n):
        maps = np.einsum("kc,ncv->nkv", HELMERT, moved.mean(axis=2))
        by_hand.append(traces(maps, between))
    by_hand = np.array(by_hand)
    np.testing.assert_allclose(observed, by_hand[0], rtol=1e-9)
    expected = (by_hand >= by_hand[0] * (1 - 1e-10)).mean(axis=0)
    assert total in (6**n, 6 ** (n - 1))
    np.testing.assert_allclose(counts / total, expected, rtol=1e-12)


def test_signs_of_all_levels_of_the_only_factor_flip_on_request(rng):
    n = 7
    design, columns = within(n)
    data = rng.standard_normal((len(design.matrix), 30))
    plan, observed, counts, total = shuffled(
        design, columns["a"], "F", data, within_shuffling="signs"
    )
    assert list(plan.families) == ["flip-contrast-maps"]
    assert "contrast maps symmetric around 0" in plan.assumption("flip-contrast-maps")
    maps = np.einsum("kc,ncv->nkv", HELMERT, data.reshape(n, 3, -1))
    flips = np.array(list(product([1, -1], repeat=n)))
    by_hand = np.array([traces(maps * s[:, None, None], np.ones((n, 1))) for s in flips])
    np.testing.assert_allclose(observed, by_hand[0], rtol=1e-9)
    assert total == 2**n
    np.testing.assert_array_equal(counts, (by_hand >= by_hand[0] * (1 - 1e-10)).sum(axis=0))


def test_two_levels_that_exchange_are_signs_of_their_difference(rng):
    design, columns = within(6, second=(0, 1))
    data = rng.standard_normal((len(design.matrix), 20))
    found = [
        shuffled(design, columns["b"], "t", data, within_shuffling=how)[2]
        for how in ("auto", "signs", "levels")
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_levels_stay_within_participants_whatever_the_blocks(rng):
    design, columns = within(4)
    data = rng.standard_normal((len(design.matrix), 20))
    _, observed, counts, total = shuffled(design, columns["a"], "F", data)
    blocks = tuple((-1, int(site)) for site in np.repeat([1, 1, 2, 2], 3))
    plan, again, bounded, total_of_blocks = shuffled(
        design, columns["a"], "F", data, blocks=blocks
    )
    assert list(plan.families) == ["permute-within-participants"]
    assert total == total_of_blocks
    np.testing.assert_array_equal(observed, again)
    np.testing.assert_array_equal(counts, bounded)


def test_what_has_no_exact_permutation_of_levels_is_refused_by_name(rng):
    design, columns = within(6, second=(0, 1))
    data = rng.standard_normal((len(design.matrix), 3))
    asked = {"within_shuffling": "levels"}
    with pytest.raises(ValueError, match="'x' is an interaction of factors within participants"):
        shuffled(design, columns["a:b"], "F", data, **asked)
    with pytest.raises(ValueError, match="'x' weights levels of a unequally"):
        # The first column of a is the first level against the last, and the other's mean.
        shuffled(design, columns["a"][:1], "t", data, **asked)
    with pytest.raises(ValueError, match="levels change places, and shuffling flip flips signs"):
        shuffled(design, columns["a"], "F", data, shuffling="flip", **asked)
    pooled = Design(design.keys, design.matrix, design.columns)
    contrast = Contrast("x", "F", np.eye(design.matrix.shape[1])[columns["a"]], "x")
    for how in ("levels", "signs"):
        with pytest.raises(ValueError, match="within_shuffling is of effects that have errors"):
            make_plan(pooled, [contrast], 10, 0, ContrastTest(within_shuffling=how))


def test_contrast_maps_exchange_among_participants_for_group_by_condition(rng):
    groups = np.array([1.0, 1, 1, -1, -1, -1])
    design, columns = within(6, groups=groups)
    data = rng.standard_normal((len(design.matrix), 30))
    plan, observed, counts, total = shuffled(design, columns["group:a"], "F", data)
    assert list(plan.families) == ["permute-contrast-maps"]
    maps = np.einsum("kc,ncv->nkv", HELMERT, data.reshape(6, 3, -1))
    between = np.column_stack([groups, np.ones(6)])
    left = maps - maps.mean(axis=0)
    by_hand = np.array([traces(left[list(order)], between) for order in permutations(range(6))])
    np.testing.assert_allclose(observed, by_hand[0], rtol=1e-9)
    expected = (by_hand >= by_hand[0] * (1 - 1e-10)).mean(axis=0)
    np.testing.assert_allclose(counts / total, expected, rtol=1e-12)


def test_participants_exchange_for_what_is_between_them(rng):
    groups = np.array([1.0, 1, 1, -1, -1, -1, -1])
    design, columns = within(7, groups=groups)
    data = rng.standard_normal((len(design.matrix), 30))
    plan, observed, counts, total = shuffled(design, columns["group"], "t", data)
    assert list(plan.families) == ["permute-contrast-maps"]
    assert total == 35
    means = data.reshape(7, 3, -1).mean(axis=1)
    from scipy import stats

    expected = stats.ttest_ind(means[groups > 0], means[groups < 0]).statistic
    np.testing.assert_allclose(observed, expected, rtol=1e-9)
    by_hand = np.array(
        [
            stats.ttest_ind(means[list(order)][groups > 0], means[list(order)][groups < 0])[0]
            for order in permutations(range(7))
        ]
    )
    expected = (np.abs(by_hand) >= np.abs(by_hand[0]) * (1 - 1e-10)).mean(axis=0)
    np.testing.assert_allclose(counts / total, expected, rtol=1e-12)


def test_blocks_are_of_participants(rng):
    design, columns = within(6, groups=np.array([1.0, -1, 1, -1, 1, -1]))
    data = rng.standard_normal((len(design.matrix), 5))
    sites = np.repeat([1, 1, 2, 2, 3, 3], 3)
    blocks = tuple((-1, int(site)) for site in sites)
    for effect, test in (("group", "t"), ("group:a", "F")):
        _, _, _, total = shuffled(design, columns[effect], test, data, blocks=blocks)
        assert total == 8
    differing = tuple((-1, int(cell)) for cell in np.tile([1, 2, 3], 6))
    with pytest.raises(ValueError, match="exchangeability blocks differ between maps"):
        shuffled(design, columns["group"], "t", data, blocks=differing)


def test_given_shuffles_and_variance_groups_of_several_contrast_maps_are_refused(rng):
    design, columns = within(6, second=(0, 1))
    data = rng.standard_normal((len(design.matrix), 5))
    given = ("flip", np.ones((2, len(data)), dtype=int))
    with pytest.raises(ValueError, match="given shuffles are of maps"):
        shuffled(design, columns["a"], "F", data, given=given)
    contrast = Contrast("x", "F", np.eye(design.matrix.shape[1])[columns["a"]], "x")
    groups = tuple(np.repeat([1, 2], len(data) // 2).tolist())
    with pytest.raises(ValueError, match="several contrast maps a participant"):
        make_plan(design, [contrast], 10, 0, ContrastTest(variance_groups=groups))


@pytest.mark.parametrize(("effect", "test"), [("a", "F"), ("group:a", "F"), ("group", "t")])
@pytest.mark.parametrize("second", [(), (0, 1)])
def test_voxels_that_maps_lack_have_the_z_of_the_parametric_test(rng, effect, test, second):
    design, columns = within(8, second=second, groups=np.repeat([1.0, -1], 4))
    data = rng.standard_normal((len(design.matrix), 6))
    data[0, 2:] = np.nan
    data[-1, 4:] = np.nan
    contrast = Contrast("x", test, np.eye(design.matrix.shape[1])[columns[effect]], "x")
    how = ContrastTest(varying_dof=True)
    ((_, family),) = make_plan(design, [contrast], 20, 1, how).families.items()
    own = how.shuffled_units(units_of(design, contrast), family.scheme)

    def read(start, stop):
        return data[:, start:stop]

    (result,) = run_shuffles(read, np.ones(6, dtype=bool), [own], how.statistics, 0, 2)
    term = error_term(design, contrast.weights, test, "x")
    found = estimate(term, contrast.weights, test, read, 6)
    # The two participants who lack a voxel leave it, one by one.
    assert found.dof.tolist() == [found.dof[0] - term.n_directions * n for n in (0, 0, 1, 1, 2, 2)]
    maps = maps_of(found, term, contrast.weights, test, "two-sided", "none")
    np.testing.assert_allclose(result.observed["voxel"], maps["z"], rtol=1e-7, atol=1e-9)
