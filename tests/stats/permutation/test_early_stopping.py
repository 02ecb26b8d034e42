"""Voxels that stop once enough shuffles reached them, against all shuffles one by one."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.permutation.early_stopping import run_until_stopped, stopped_p
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics

N_MAPS, MASK = 14, np.ones((20, 10, 8), dtype=bool)
RNG = np.random.default_rng(5)
DATA = RNG.standard_normal((N_MAPS, MASK.size))
DATA[:, :40] += 1.5 * np.linspace(-1, 1, N_MAPS)[:, None]
AGE = np.linspace(20, 60, N_MAPS)
SCORE = RNG.standard_normal(N_MAPS)


def read(start, stop):
    return DATA[:, start:stop]


def contrast_of(columns, weights):
    matrix = np.column_stack(columns)
    model = LinearModel(matrix, tuple(f"c{i}" for i in range(matrix.shape[1])))
    split = partition(model, np.atleast_2d(np.array(weights, float)))
    return ShuffledContrast(split, ShufflingScheme("permute", tuple(range(N_MAPS)), seed=2)), model


CONTRASTS = {
    "t": ([np.ones(N_MAPS), AGE], [0, 1]),
    "t with nuisance": ([np.ones(N_MAPS), AGE, SCORE], [0, 1, 0]),
    "F": ([np.ones(N_MAPS), AGE, SCORE], [[0, 1, 0], [0, 0, 1]]),
}


def refitted(contrast, model, weights, k):
    """Return |t| or F of shuffle k by least squares, residuals of the nuisance model shuffled."""
    orders, signs = contrast.scheme.draw(k, k + 1)
    nuisance = contrast.partition.nuisance
    residuals = DATA - nuisance @ (nuisance.T @ DATA)
    shuffled = LinearModel(model.matrix[orders[0]] * signs[0][:, None], model.columns)
    betas = np.linalg.lstsq(shuffled.matrix, residuals, rcond=None)[0]
    variance = np.square(residuals - shuffled.matrix @ betas).sum(axis=0) / model.dof
    rows = np.atleast_2d(np.array(weights, float))
    effect = rows @ betas
    inverse = np.linalg.inv(rows @ np.linalg.inv(shuffled.matrix.T @ shuffled.matrix) @ rows.T)
    return np.einsum("iv,ij,jv->v", effect, inverse, effect) / len(rows) / variance


@pytest.mark.parametrize("name", CONTRASTS)
def test_voxels_stop_at_the_shuffle_that_brings_the_last_required_hit(name):
    contrast, model = contrast_of(*CONTRASTS[name])
    last, required = 150, 6
    [found] = run_until_stopped(
        read, MASK, [contrast], ShuffleStatistics(), required, 0, last, n_threads=2
    )
    every = np.array([refitted(contrast, model, CONTRASTS[name][1], k) for k in range(last)])
    reached = every[1:] >= every[0] * (1 - 1e-9)
    for voxel in range(0, MASK.size, 7):
        hits = 1 + np.flatnonzero(reached[:, voxel])
        own = found.numbers[:, voxel]
        assert found.counts[voxel] == min(len(hits), required)
        np.testing.assert_array_equal(own[: found.counts[voxel]], hits[:required])
        assert (own[found.counts[voxel] :] == 0).all()
    p, taken = stopped_p([found], required, last - 1)
    total = reached.sum(axis=0)
    early = total >= required
    np.testing.assert_allclose(p[~early], (total[~early] + 1) / last)
    np.testing.assert_allclose(p[early], required / taken[early])
    assert (taken[~early] == last - 1).all()
    assert np.median(taken) < 40


@pytest.mark.parametrize("edges", [[0, 150], [0, 1, 150], [0, 60, 61, 150], [0, 25, 50, 75, 150]])
def test_ranges_put_together_give_the_same_p(edges):
    contrast, _ = contrast_of(*CONTRASTS["t with nuisance"])
    parts = [
        run_until_stopped(read, MASK, [contrast], ShuffleStatistics(), 6, a, b)[0]
        for a, b in pairwise(edges)
    ]
    [whole] = run_until_stopped(
        read, MASK, [contrast], ShuffleStatistics(), 6, 0, 150, memory_gb=1e-9
    )
    expected, found = stopped_p([whole], 6, 149), stopped_p(parts, 6, 149)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_null_p_are_valid():
    contrast, _ = contrast_of(*CONTRASTS["t"])
    null = np.random.default_rng(8).standard_normal((N_MAPS, 3000))
    mask = np.ones((30, 10, 10), dtype=bool)
    [found] = run_until_stopped(
        lambda a, b: null[:, a:b], mask, [contrast], ShuffleStatistics(), 10, 0, 400
    )
    p, _ = stopped_p([found], 10, 399)
    for alpha in (0.01, 0.05, 0.2):
        assert (p <= alpha).sum() <= stats.binom.isf(1e-6, 3000, alpha)
        assert (p <= alpha).sum() >= stats.binom.isf(1 - 1e-6, 3000, 0.6 * alpha)


def test_statistics_of_whole_maps_and_empty_ranges_are_refused():
    contrast, _ = contrast_of(*CONTRASTS["t"])
    smoothed = ShuffledContrast(
        contrast.partition, contrast.scheme, smooth_variance=lambda maps: maps
    )
    with pytest.raises(ValueError, match="goes with neither variance groups nor smoothed"):
        run_until_stopped(read, MASK, [smoothed], ShuffleStatistics(), 5, 0, 10)
    with pytest.raises(ValueError, match="shuffles 5 to 5 are no range"):
        run_until_stopped(read, MASK, [contrast], ShuffleStatistics(), 5, 5, 5)
