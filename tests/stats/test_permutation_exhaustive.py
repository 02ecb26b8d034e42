"""Small designs whose every shuffle is computed, against textbook formulas."""

from itertools import combinations, product

import numpy as np
import pytest

from nipype_group.stats.glm import LinearModel
from nipype_group.stats.partition import partition
from nipype_group.stats.permutation import extremes, fwe_p, run_shuffles
from nipype_group.stats.planning import row_labels
from nipype_group.stats.shuffling import ShufflingScheme

TAILS = ("two-sided", "positive", "negative")


def on_side(t, tail):
    return {"two-sided": np.abs(t), "positive": t, "negative": -t}[tail]


def run(model, weights, scheme, data, last, tail):
    split = partition(model, weights[None])
    return run_shuffles(lambda a, b: data[:, a:b], data.shape[1], split, scheme, 0, last, tail)


def test_all_sign_flips_of_eight_maps_give_the_exact_p():
    rng = np.random.default_rng(11)
    data = rng.standard_normal((8, 40)) + 0.8
    scheme = ShufflingScheme("flip", (0,) * 8, (0,) * 8, 0, exhaustive=True)
    model = LinearModel(np.ones((8, 1)), ("mean",))
    result = run(model, np.ones(1), scheme, data, last=256, tail="positive")
    every = []
    for signs in product([1, -1], repeat=8):
        flipped = data * np.array(signs)[:, None]
        every.append(flipped.mean(axis=0) / flipped.std(axis=0, ddof=1) * np.sqrt(8))
    every = np.array(every)
    observed = every[0]
    expected_unc = (every >= observed * (1 - 1e-12)).sum(axis=0)
    np.testing.assert_array_equal(result.counts, expected_unc)
    expected = (every.max(axis=1)[:, None] >= observed - 1e-12 * np.abs(observed)).mean(axis=0)
    p = fwe_p(result.observed, extremes(result.highest, result.lowest, "positive"), "positive")
    np.testing.assert_array_equal(p, expected)
    assert p.min() >= 1 / 256


@pytest.mark.parametrize("tail", TAILS)
def test_four_against_four_enumerates_seventy_splits(tail):
    data = np.random.default_rng(12).standard_normal((8, 40))
    data[:4] += 1
    group = np.repeat([1.0, 0], 4)
    matrix = np.column_stack([group, 1 - group])
    scheme = ShufflingScheme("permute", row_labels(matrix), (0,) * 8, 0, exhaustive=True)
    assert scheme.n_distinct == 70
    model = LinearModel(matrix, ("a", "b"))
    result = run(model, np.array([1.0, -1]), scheme, data, last=70, tail=tail)
    every = []
    for chosen in combinations(range(8), 4):
        inside = np.isin(np.arange(8), chosen)
        a, b = data[inside], data[~inside]
        pooled = (a.var(axis=0, ddof=1) + b.var(axis=0, ddof=1)) / 2
        every.append((a.mean(axis=0) - b.mean(axis=0)) / np.sqrt(pooled / 2))
    every = on_side(np.array(every), tail)
    tie = 1e-9 * np.abs(every[0])
    np.testing.assert_array_equal(result.counts, (every >= every[0] - tie).sum(axis=0))
    null = every.max(axis=1)
    p = fwe_p(result.observed, extremes(result.highest, result.lowest, tail), tail)
    np.testing.assert_array_equal(p, (null[:, None] >= every[0] - tie).mean(axis=0))
