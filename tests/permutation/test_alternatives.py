"""Common shuffles of alternative analyses against all shuffles written out."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.design.contrasts import build_contrasts
from nipype_group.design.matrix import design_from_formula
from nipype_group.images import Grid
from nipype_group.permutation.alternatives import (
    ShuffledAlternative,
    correct_alternatives,
    share_shuffles,
)
from nipype_group.permutation.maps import MergedContrast
from nipype_group.permutation.plan import make_plan, read_scheme, write_plan
from nipype_group.permutation.units import units_of
from nipype_group.stats.permutation.alternatives import restricted
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics

# Six participants; the second analysis leaves two out, has its rows in another order and smooths.
AGE = np.array([0.3, 1.9, 4.0, 2.2, 3.1, 0.9])
MEMBERS = (np.arange(6), np.array([5, 0, 3, 2]))
N_VOXELS = 15


def table_of(members, **columns):
    people = {"participant_id": [f"sub-{i}" for i in members], "age": AGE[members].astype(str)}
    return pd.DataFrame(people | columns, dtype=str)


def alternative(name, members, formula="age", n_permutations=500, seed=3, **how):
    design = design_from_formula(formula, table_of(members), ())
    text = "effect=age" if formula == "age" else "effect=intercept"
    contrasts = build_contrasts([text], design, by_permutation=True)
    return ShuffledAlternative(
        name, design, make_plan(design, contrasts, n_permutations, seed, **how)
    )


def data_of(seed=0):
    raw = np.random.default_rng(seed).standard_normal((6, N_VOXELS))
    mixing = np.random.default_rng(1).random((N_VOXELS, N_VOXELS))
    return raw, (raw, raw @ mixing)


def shuffled(alternatives, maps):
    """Return the groups, and the shuffles of every alternative on the scale of z."""
    shared, merged = share_shuffles(alternatives), {}
    for i, (one, plan) in enumerate(zip(alternatives, shared.plans, strict=True)):
        ((name, family),) = plan.families.items()
        contrast = plan.test.shuffled_units(
            units_of(one.design, family.contrasts[0]), family.scheme
        )
        data, statistics = maps[i], replace(ShuffleStatistics(), tail="two-sided")
        mask = np.ones((N_VOXELS, 1, 1), dtype=bool)
        last = plan.n_shuffles(name)

        def read(start, stop, data=data):
            return data[:, start:stop]

        result = run_shuffles(read, mask, [contrast], statistics, 0, last)[0]
        grid = Grid(mask.shape, np.eye(4))
        merged[i] = MergedContrast(
            "effect", "effect", contrast, statistics, result, mask, grid, True
        )
    return shared.groups["effect"], merged


def z_of(statistic, dof):
    return stats.norm.isf(stats.t.sf(np.abs(statistic), dof))


def slopes(age, data):
    r = stats.zscore(age) @ stats.zscore(data) / len(age)
    return z_of(r * np.sqrt((len(age) - 2) / (1 - r**2)), len(age) - 2)


def means(data):
    n = len(data)
    return z_of(data.mean(axis=0) / data.std(axis=0, ddof=1) * np.sqrt(n), n - 1)


def naive_slopes(maps):
    """Yield z of both analyses for all permutations of those who are in the same ones."""
    for first, second in product(permutations([0, 2, 3, 5]), permutations([1, 4])):
        order = np.empty(6, dtype=int)
        order[[0, 2, 3, 5]], order[[1, 4]] = first, second
        yield [slopes(AGE[own], data[order[own]]) for own, data in zip(MEMBERS, maps)]


def naive_means(maps):
    for signs in product([1, -1], repeat=6):
        flipped = [np.array(signs)[:, None] * data for data in maps]
        yield [means(data[own]) for own, data in zip(MEMBERS, flipped)]


@pytest.mark.parametrize(
    ("formula", "naive", "n_shuffles"), [("age", naive_slopes, 48), ("1", naive_means, 64)]
)
def test_p_over_alternatives_are_those_of_all_shuffles(formula, naive, n_shuffles):
    _, maps = data_of()
    alternatives = [alternative(f"a{i}", own, formula) for i, own in enumerate(MEMBERS)]
    own = [data[rows] for data, rows in zip(maps, MEMBERS, strict=True)]
    groups, merged = shuffled(alternatives, own)
    assert groups == [[0, 1]]
    found = correct_alternatives(groups, merged, 0.25)
    every = list(naive(maps))
    assert len(every) == n_shuffles == len(found[0].over_all.null)
    largest = np.array([max(z.max() for z in one) for one in every])
    for i in (0, 1):
        wanted = (largest[:, None] >= every[0][i] - 1e-6).mean(axis=0)
        np.testing.assert_allclose(found[i].over_all.p, wanted, atol=1e-12)
        alone = np.array([one[i].max() for one in every])
        wanted = (alone[:, None] >= every[0][i] - 1e-6).mean(axis=0)
        np.testing.assert_allclose(found[i].own.p, wanted, atol=1e-12)


@pytest.mark.parametrize("formula", ["age", "1"])
def test_shuffled_data_have_the_same_largest_values(formula):
    """The shuffles of all analyses are a group: so no more than alpha of them reach alpha."""
    raw, (_, smooth) = data_of(5)
    alternatives = [alternative(f"a{i}", own, formula) for i, own in enumerate(MEMBERS)]
    nulls = []
    # One of the shuffles, of all participants, before anything is computed.
    for order, signs in (
        (np.arange(6), np.ones(6)),
        (np.array([3, 4, 0, 5, 1, 2]), np.ones(6))
        if formula == "age"
        else (np.arange(6), AGE - 1),
    ):
        moved = [np.sign(signs)[:, None] * data[order] for data in (raw, smooth)]
        groups, merged = shuffled(
            alternatives, [data[rows] for data, rows in zip(moved, MEMBERS, strict=True)]
        )
        found = correct_alternatives(groups, merged, 0.25)
        nulls.append(np.sort(found[0].over_all.null))
    np.testing.assert_allclose(nulls[0], nulls[1], rtol=1e-8)


def test_an_order_of_all_participants_is_none_of_an_analysis_that_leaves_some_out():
    whole = ShufflingScheme("permute", tuple(range(6)), seed=1)
    with pytest.raises(ValueError, match="an analysis that leaves them out"):
        restricted(whole, MEMBERS[1]).draw(0, 50)


def test_signs_and_orders_are_two_groups_joined_by_bonferroni():
    _, maps = data_of(2)
    everyone = [
        alternative("orders", np.arange(6), seed=1),
        alternative("signs", np.arange(6), seed=1, shuffling="flip"),
        alternative("orders of others", MEMBERS[1], seed=1),
    ]
    groups, merged = shuffled(everyone, [maps[0], maps[0], maps[1][MEMBERS[1]]])
    assert groups == [[0, 2], [1]]
    found = correct_alternatives(groups, merged, 0.2)
    alone = correct_alternatives([[1]], merged, 0.2)[1]
    np.testing.assert_array_equal(found[1].over_all.p, np.minimum(2 * alone.over_all.p, 1.0))
    np.testing.assert_array_equal(alone.over_all.p, found[1].own.p)


def test_written_shuffles_are_those_that_are_planned(tmp_path):
    plans = share_shuffles([alternative(f"a{i}", own) for i, own in enumerate(MEMBERS)]).plans
    _, scheme_file, _ = write_plan(tmp_path, plans[1])
    _, families = read_scheme(scheme_file)
    own = plans[1].families["permute"].scheme
    assert families["permute"].scheme == own
    for read, made in zip(families["permute"].scheme.draw(0, 48), own.draw(0, 48), strict=True):
        np.testing.assert_array_equal(read, made)


def test_what_shuffles_do_not_move_is_refused_by_name():
    # Old and young are in other alternatives, and nobody else: no order changes the groups.
    young, old = np.flatnonzero(AGE < 2), np.flatnonzero(AGE >= 2)
    table = table_of(np.arange(6), group=np.where(AGE < 2, "young", "old"))
    design = design_from_formula("C(group)", table, ())
    contrasts = build_contrasts(["effect=young - old"], design, by_permutation=True)
    all_of_them = ShuffledAlternative("groups", design, make_plan(design, contrasts, 100, 3))
    others = [alternative(n, own, "age", 100) for n, own in (("a", young), ("b", old))]
    with pytest.raises(ValueError, match=r"groups, contrast 'effect': participants change places"):
        share_shuffles([all_of_them, *others])
