"""Permutation inference against refitting the whole model for every shuffle."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nipype_group.stats.glm import LinearModel, t_contrast
from nipype_group.stats.partition import partition
from nipype_group.stats.permutation import (
    extremes,
    float32_error,
    fwe_survivors,
    rho_to_t,
    run_shuffles,
)
from nipype_group.stats.planning import row_labels
from nipype_group.stats.shuffling import ShufflingScheme

TAILS = ("two-sided", "positive", "negative")
N, V = 12, 1500
AGE = np.linspace(-1, 1, N) ** 3 + 0.4
GROUP = (np.arange(N) % 2).astype(float)
SUBJECT = np.repeat(np.arange(N // 3), 3)
DESIGNS = {
    # columns, weights, kind, blocks
    "one sample": ([np.ones(N)], [1], "flip", None),
    "regression beside nuisance": ([np.ones(N), AGE, AGE**2], [0, 1, 0], "permute", None),
    "intercept beside a covariate": ([np.ones(N), AGE], [1, 0], "flip", None),
    "two groups": ([GROUP, 1 - GROUP], [1, -1], "permute", None),
    "within subjects": (
        [np.tile([1.0, 0, -1], N // 3), *np.equal.outer(SUBJECT, np.arange(4)).T],
        [1, 0, 0, 0, 0], "permute", SUBJECT),
    "within subjects beside a covariate that varies": (
        [np.tile([1.0, 0, -1], N // 3), AGE, *np.equal.outer(SUBJECT, np.arange(4)).T],
        [1, 0, 0, 0, 0, 0], "permute", SUBJECT),
}  # fmt: skip


def problem(name, seed=1):
    columns, weights, kind, blocks = DESIGNS[name]
    matrix = np.column_stack(columns).astype(float)
    model = LinearModel(matrix, tuple(f"c{i}" for i in range(matrix.shape[1])))
    blocks = tuple((np.zeros(N, int) if blocks is None else blocks).tolist())
    scheme = ShufflingScheme(kind, row_labels(matrix), blocks, seed)
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((N, V)) + 0.3 * matrix @ rng.standard_normal((matrix.shape[1], V))
    return model, np.array(weights, float), scheme, data


def run(model, weights, scheme, data, first=0, last=400, tail="two-sided", **kwargs):
    split = partition(model, weights[None])
    return run_shuffles(
        lambda a, b: data[:, a:b], data.shape[1], split, scheme, first, last, tail, **kwargs
    )


def refit(model, weights, scheme, data, k):
    """Freedman and Lane: fit the null model, shuffle its residuals, refit the full model."""
    split = partition(model, weights[None])
    fitted = split.nuisance @ (split.nuisance.T @ data)
    order, signs = scheme.draw(k)
    shuffled = np.empty_like(data)
    shuffled[order] = signs[:, None] * (data - fitted)
    betas, residual_ss = model.fit(fitted + shuffled)
    return t_contrast(weights, betas, residual_ss / model.dof, model.covariance)[2]


def on_side(t, tail):
    return {"two-sided": np.abs(t), "positive": t, "negative": -t}[tail]


@pytest.mark.parametrize("name", DESIGNS)
def test_statistics_counts_and_extremes_equal_refitting(name):
    study = problem(name)
    n = 300
    every = np.array([refit(*study, k) for k in range(n)])
    for tail in TAILS:
        result = run(*study, last=n, tail=tail)
        np.testing.assert_allclose(result.observed, every[0], rtol=1e-9, atol=1e-12)
        reference = on_side(every[0], tail)
        reference = reference - 1e-9 * np.abs(reference)
        expected = (on_side(every, tail) >= reference).sum(axis=0)
        np.testing.assert_array_equal(result.counts, expected)
        np.testing.assert_allclose(result.highest, every.max(axis=1), rtol=1e-10)
        np.testing.assert_allclose(result.lowest, every.min(axis=1), rtol=1e-10)


@pytest.mark.parametrize("name", DESIGNS)
def test_pieces_put_together_are_the_whole_bit_for_bit(name):
    study = problem(name)
    whole = run(*study, last=600)
    edges = [0, 1, 37, 256, 257, 600]
    parts = [run(*study, a, b) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(sum(p.counts for p in parts), whole.counts)
    for field in ("highest", "lowest"):
        joined = np.concatenate([getattr(p, field) for p in parts])
        np.testing.assert_array_equal(joined, getattr(whole, field))
    for part in parts:
        np.testing.assert_array_equal(part.observed, whole.observed)


def test_threads_and_passes_change_no_bit(monkeypatch):
    study = problem("regression beside nuisance")
    one = run(*study, last=700, n_threads=1)
    monkeypatch.setattr("nipype_group.stats.permutation.SHUFFLES_PER_PASS", 300)
    two = run(*study, last=700, n_threads=2)
    for field in ("observed", "counts", "highest", "lowest"):
        np.testing.assert_array_equal(getattr(one, field), getattr(two, field))


def test_voxels_may_come_in_any_order():
    model, weights, scheme, data = problem("regression beside nuisance")
    order = np.random.default_rng(3).permutation(V)
    one, two = run(model, weights, scheme, data), run(model, weights, scheme, data[:, order])
    np.testing.assert_array_equal(one.counts[order], two.counts)
    np.testing.assert_array_equal(one.highest, two.highest)


@settings(max_examples=20)
@given(st.sampled_from(sorted(DESIGNS)), st.floats(1e-6, 1e6))
def test_scaling_the_data_changes_no_count(name, factor):
    model, weights, scheme, data = problem(name)
    data = data[:, :50]
    one, two = (run(model, weights, scheme, d, last=60) for d in (data, data * factor))
    np.testing.assert_array_equal(one.counts, two.counts)
    np.testing.assert_allclose(one.highest, two.highest, rtol=1e-10)


def test_flipping_the_data_swaps_the_tails():
    model, weights, scheme, data = problem("regression beside nuisance")
    up = run(model, weights, scheme, data, tail="positive")
    down = run(model, weights, scheme, -data, tail="negative")
    np.testing.assert_array_equal(up.counts, down.counts)
    np.testing.assert_array_equal(up.highest, -down.lowest)


def near_tied_flips():
    """One-sample maps whose t under different flips differ by about 1e-9 only."""
    rng = np.random.default_rng(9)
    data = rng.integers(1, 4, (8, 300)) * rng.choice([-1, 1], (8, 300)) * 1.0
    data[:, 100:200] = data[:, :100]
    data += 1e-8 * rng.standard_normal(data.shape)
    scheme = ShufflingScheme("flip", (0,) * 8, (0,) * 8, 0, exhaustive=True)
    return LinearModel(np.ones((8, 1)), ("mean",)), np.ones(1), scheme, data


@pytest.mark.parametrize("tail", TAILS)
def test_near_ties_that_float32_cannot_tell_are_counted_right(tail):
    model, weights, scheme, data = near_tied_flips()
    result = run(model, weights, scheme, data, last=256, tail=tail)
    signs = np.array(list(product([1, -1], repeat=8)))
    # |sum| orders flips as t does: the sum of squares is the same for all.
    exact = on_side(signs.astype(np.longdouble) @ data.astype(np.longdouble), tail)
    expected = (exact >= on_side(data.astype(np.longdouble).sum(axis=0), tail)).sum(axis=0)
    np.testing.assert_array_equal(result.counts, expected)
    single = on_side(signs.astype(np.float32) @ data.astype(np.float32), tail)
    wrong = (single >= on_side(data.astype(np.float32).sum(axis=0), tail)).sum(axis=0)
    assert (wrong != expected).mean() > 0.3


def test_duplicated_voxels_get_one_result():
    model, weights, scheme, data = problem("intercept beside a covariate")
    data = np.tile(data[:, :1], (1, 2100))
    result = run(model, weights, scheme, data)
    assert len(set(result.counts.tolist())) == 1
    assert len(set(result.observed.tolist())) == 1
    np.testing.assert_array_equal(result.highest, result.lowest)


@pytest.mark.parametrize("space", ["nuisance", "effect", "model"])
@pytest.mark.parametrize("name", DESIGNS)
def test_voxels_without_residual_variance_have_t_0_and_never_lead(name, space):
    model, weights, scheme, data = problem(name)
    split = partition(model, weights[None])
    directions = {"nuisance": split.nuisance, "effect": split.effect, "model": model.matrix}[space]
    sizes = np.random.default_rng(2).uniform(-1e4, 1e4, (directions.shape[1], 200))
    together = run(model, weights, scheme, np.hstack([data, directions @ sizes]), last=100)
    alone = run(model, weights, scheme, data, last=100)
    assert (together.observed[V:] == 0).all()
    assert (together.counts[V:] == 100).all()
    np.testing.assert_array_equal(together.highest, alone.highest)
    np.testing.assert_array_equal(together.counts[:V], alone.counts)


def test_progress_rises_to_1():
    seen = []
    run(*problem("one sample"), last=50, report=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert len(seen) > 1


@pytest.mark.parametrize(("first", "last"), [(5, 5), (7, 3), (-1, 4)])
def test_empty_ranges_are_refused(first, last):
    with pytest.raises(ValueError, match=f"shuffles {first} to {last} are no range"):
        run(*problem("one sample"), first, last)


def test_contrasts_of_several_rows_are_refused():
    model, _, scheme, data = problem("regression beside nuisance")
    split = partition(model, np.eye(3)[1:])
    with pytest.raises(ValueError, match="contrasts of one row"):
        run_shuffles(lambda a, b: data[:, a:b], V, split, scheme, 0, 5, "two-sided")


@pytest.mark.parametrize("n_maps", [5, 30, 300, 5000])
def test_float32_products_of_unit_vectors_stay_within_the_bound(n_maps):
    rng = np.random.default_rng(n_maps)
    # Equal signs let rounding errors add up.
    x, y = rng.random((300, n_maps)), rng.random((n_maps, 300))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y /= np.linalg.norm(y, axis=0)
    error = np.abs(x.astype(np.float32) @ y.astype(np.float32) - x @ y).max()
    assert 0 < error < float32_error(n_maps)
    assert float32_error(n_maps) >= n_maps * 2.0**-24


def test_rho_to_t_inverts_the_definition():
    t = np.array([-30.0, -1, 0, 0.5, 200])
    rho = t / np.sqrt(25 + t**2)
    np.testing.assert_allclose(rho_to_t(rho, 25), t, rtol=1e-10)
    assert rho_to_t(np.array([1.0, -1]), 3).tolist() == [np.inf, -np.inf]


def test_extremes_face_the_tail():
    highest, lowest = np.array([3.0, 1]), np.array([-2.0, -4])
    assert extremes(highest, lowest, "positive").tolist() == [3, 1]
    assert extremes(highest, lowest, "negative").tolist() == [2, 4]
    assert extremes(highest, lowest, "two-sided").tolist() == [3, 4]


@pytest.mark.parametrize("tail", TAILS)
def test_survivors_reach_the_critical_value_and_have_p_below_alpha(tail):
    model, weights, scheme, data = problem("two groups")
    data[:, :4] += 12 * np.outer(GROUP - 0.5, [1, -1, 1, -1])
    result = run(model, weights, scheme, data, last=400, tail=tail)
    found = fwe_survivors(result, tail, 0.05)
    survives = found.statistic != 0
    assert found.any
    np.testing.assert_array_equal(survives, found.p <= 0.05)
    np.testing.assert_array_equal(survives, on_side(result.observed, tail) >= found.critical)
    assert found.threshold == np.abs(result.observed[survives]).min() >= found.critical
    np.testing.assert_allclose(np.exp(found.log_p_unc), result.counts / 400)
    np.testing.assert_allclose(np.exp(found.log_p), found.p)
    assert (found.p >= result.counts / 400).all()


def test_too_few_shuffles_have_no_critical_value():
    result = run(*problem("one sample"), last=10)
    found = fwe_survivors(result, "two-sided", 0.05)
    assert found.critical is None
    assert not found.any
    assert found.threshold == np.inf
    assert (found.statistic == 0).all()
