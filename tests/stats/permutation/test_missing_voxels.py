"""Voxels that some maps lack: shuffles against refits of the maps that are there."""

from dataclasses import replace

import numpy as np
import pytest

from nipype_group.stats.distributions import f_to_z, t_to_z
from nipype_group.stats.linear.least_squares import LinearModel, VoxelPatterns
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.permutation import missing_voxels
from nipype_group.stats.permutation.maps import statistic_maps
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.permutation.tiles import Tiles, voxel_shards

N_MAPS, MASK = 16, np.ones((12, 12, 10), dtype=bool)
RNG = np.random.default_rng(3)
DATA = RNG.standard_normal((N_MAPS, MASK.size))
# A few patterns: one map lacks an edge, another one too, and a corner has few maps.
DATA[3, :300] = np.nan
DATA[7, 200:500] = np.nan
DATA[5:14, 600:620] = np.nan
DATA[:13, 700:705] = np.nan
GROUP = np.repeat([0.0, 1], [7, 9])
AGE = np.linspace(-1, 1, N_MAPS) ** 3
ONES = np.ones(N_MAPS)
SITES = np.repeat([0, 1, 2], [6, 6, 4])
DATA[12:, 800:850] = np.nan
DATA[12:15, 850:870] = np.nan
CONDITION, PARTICIPANTS = np.tile([0.0, 1], 8), np.repeat(np.eye(8), 2, axis=0).T
# A participant lacks both conditions, and one of them.
DATA[4:6, 880:920] = np.nan
DATA[7, 900:940] = np.nan
DESIGNS = {
    "one sample": ([ONES], [1], "flip"),
    "mean beside age": ([ONES, AGE], [1, 0], "flip"),
    "two groups": ([GROUP, 1 - GROUP], [1, -1], "permute"),
    "groups and age": ([GROUP, 1 - GROUP, AGE], [1, -1, 0], "permute"),
    "F": ([ONES, GROUP, AGE], [[0, 1, 0], [0, 0, 1]], "permute"),
    # A corner lacks all maps of the third site, another all but one.
    "sites": ([SITES == 0, SITES == 1, SITES == 2], [1, -1, 0], "permute"),
    "condition within participants": ([CONDITION, *PARTICIPANTS], [1] + [0] * 8, "within"),
}


def scheme_of(kind, seed):
    if kind == "within":
        blocks = tuple((-1, i // 2 + 1, i % 2 + 1) for i in range(N_MAPS))
        return ShufflingScheme("permute", tuple(range(N_MAPS)), blocks, seed=seed)
    return ShufflingScheme(kind, tuple(range(N_MAPS)), seed=seed)


def contrast_of(name, seed=4):
    columns, weights, kind = DESIGNS[name]
    matrix = np.column_stack(columns)
    model = LinearModel(matrix, tuple(f"c{i}" for i in range(matrix.shape[1])))
    weights = np.atleast_2d(np.array(weights, float))
    contrast = ShuffledContrast(partition(model, weights), scheme_of(kind, seed), varying_dof=True)
    return contrast, model, weights


def read(start, stop):
    return DATA[:, start:stop]


def run(contrast, first=0, last=40, names=("voxel",), **how):
    statistics = ShuffleStatistics(names)
    return run_shuffles(read, MASK, [contrast], statistics, first, last, **how)[0]


def refitted(contrast, model, weights, k, voxel):
    """Return z of one shuffle at one voxel: nuisance residuals, then the shuffled design."""
    orders, signs = contrast.scheme.draw(k, k + 1)
    there = np.isfinite(DATA[:, voxel])
    nuisance = contrast.partition.nuisance[there]
    y = DATA[there, voxel]
    if nuisance.shape[1]:
        y = y - nuisance @ np.linalg.lstsq(nuisance, y, rcond=None)[0]
    design = (model.matrix[orders[0]] * signs[0][:, None])[there]
    for matrix in (model.matrix[there], design):
        rank = np.linalg.matrix_rank(matrix)
        dof = there.sum() - rank
        if dof < 1 or np.linalg.matrix_rank(np.vstack([matrix, weights])) > rank:
            return 0.0 if matrix is not design else None
    betas, *_ = np.linalg.lstsq(design, y, rcond=None)
    variance = np.square(y - design @ betas).sum() / dof
    effect = weights @ betas
    covariance = weights @ np.linalg.pinv(design.T @ design) @ weights.T
    if len(weights) == 1:
        return float(t_to_z(effect[0] / np.sqrt(variance * covariance[0, 0]), dof))
    f = effect @ np.linalg.solve(covariance, effect) / len(weights) / variance
    return float(f_to_z(f, len(weights), dof))


@pytest.mark.parametrize("name", DESIGNS)
def test_every_voxel_equals_a_refit_of_the_maps_that_it_has(name):
    contrast, model, weights = contrast_of(name)
    voxels = [0, 150, 250, 350, 499, 550, 605, 619, 702, 820, 860, 890, 910, 930, 1000]
    observed = run(contrast, last=1).observed["voxel"]
    expected = [refitted(contrast, model, weights, 0, v) for v in voxels]
    np.testing.assert_allclose(observed[voxels], expected, rtol=1e-8, atol=1e-10)
    maps = []
    for k in range(1, 4):
        one = DATA.copy()
        # One voxel at a time shows its value as the largest of the map.
        for voxel in voxels:
            alone = np.zeros_like(one)
            alone[:, voxel] = one[:, voxel]
            found = run_shuffles(
                lambda a, b, alone=alone: alone[:, a:b],
                MASK,
                [contrast],
                ShuffleStatistics(),
                k,
                k + 1,
            )[0]
            value = found.nulls["voxel_positive"][0]
            theirs = refitted(contrast, model, weights, k, voxel)
            if theirs is not None and (theirs > 0 or contrast.signed):
                maps.append((value, max(theirs, 0.0) if contrast.signed else theirs))
    ours, theirs = np.array(maps).T
    assert len(ours) > 10
    np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["mean beside age", "groups and age", "F"])
def test_ranges_threads_and_memory_change_no_bit(name):
    contrast, *_ = contrast_of(name)
    names = ("voxel", "extent", "mass", "tfce")
    whole = run(contrast, 0, 60, names)
    parts = [
        run(contrast, a, b, names, n_threads=2, memory_gb=1e-9)
        for a, b in ((0, 1), (1, 33), (33, 60))
    ]
    for key, null in whole.nulls.items():
        joined = np.concatenate([part.nulls[key] for part in parts])
        assert joined.tobytes() == null.tobytes()
    for key in whole.counts:
        np.testing.assert_array_equal(sum(p.counts[key] for p in parts), whole.counts[key])


def test_complete_data_give_the_z_of_the_usual_statistic():
    contrast, *_ = contrast_of("groups and age")
    data = np.nan_to_num(DATA)
    found = run_shuffles(
        lambda a, b: data[:, a:b],
        MASK,
        [contrast, replace(contrast, varying_dof=False)],
        ShuffleStatistics(),
        0,
        50,
    )
    z, t = found
    for name in ("voxel_positive", "voxel_negative"):
        np.testing.assert_allclose(z.nulls[name], t_to_z(t.nulls[name], contrast.dof), rtol=1e-9)
    np.testing.assert_array_equal(z.counts["voxel"], t.counts["voxel"])


def test_gaps_that_the_plan_does_not_expect_are_refused():
    contrast, *_ = contrast_of("two groups")
    with pytest.raises(ValueError, match="some maps lack voxels of the mask"):
        run(replace(contrast, varying_dof=False))


def test_other_methods_are_refused():
    contrast, *_ = contrast_of("groups and age")
    with pytest.raises(ValueError, match="freedman-lane"):
        replace(contrast, method="dekker")


def test_directions_that_nearly_vanish_are_fitted_exactly(monkeypatch):
    """A regressor of three maps: in many shuffles a voxel has one of them, or none."""
    n_maps = 60
    rng = np.random.default_rng(8)
    rare = np.zeros(n_maps)
    rare[:3] = 1, 0.03, 0.01
    matrix = np.column_stack([np.ones(n_maps), rare, rng.standard_normal(n_maps)])
    model = LinearModel(matrix, ("one", "rare", "age"))
    weights = np.array([[0.0, 1, 0]])
    scheme = ShufflingScheme("permute", tuple(range(n_maps)), seed=2)
    contrast = ShuffledContrast(partition(model, weights), scheme, varying_dof=True)
    data = rng.standard_normal((n_maps, 30))
    data[rng.random(data.shape) < 0.3] = np.nan
    exact = []
    fit = missing_voxels._orthonormal
    monkeypatch.setattr(
        missing_voxels, "_orthonormal", lambda *given: exact.append(0) or fit(*given)
    )
    maps = statistic_maps(Tiles(contrast, lambda a, b: data[:, a:b], 30, 1e9), 1, 40)
    orders, _ = scheme.draw(1, 40)
    compared = 0
    for k, order in enumerate(orders):
        for voxel in range(30):
            there = np.isfinite(data[:, voxel])
            shuffled = matrix[order][there]
            if not VoxelPatterns.of(model, 0, (np.packbits(~there),)).determine(weights)[0]:
                assert maps[k, voxel] == 0
                continue
            if np.linalg.svd(shuffled, compute_uv=False)[-1] < 1e-5:
                continue
            nuisance = contrast.partition.nuisance[there]
            y = data[there, voxel] - nuisance @ np.linalg.lstsq(nuisance, data[there, voxel])[0]
            own = LinearModel(shuffled, model.columns)
            beta, residual_ss = own.fit(y[:, None])
            t = beta[1, 0] / np.sqrt(residual_ss[0] / own.dof * own.covariance[1, 1])
            np.testing.assert_allclose(maps[k, voxel], t_to_z(t, own.dof), rtol=1e-8, atol=1e-10)
            compared += 1
    assert compared > 500
    assert len(exact) > 10


@pytest.mark.parametrize("name", DESIGNS)
def test_voxels_of_too_few_maps_have_no_statistic(name):
    contrast, model, weights = contrast_of(name)
    data = np.random.default_rng(0).standard_normal((N_MAPS, N_MAPS + 1))
    for n_present in range(N_MAPS):
        data[n_present:, n_present] = np.nan
    maps = statistic_maps(Tiles(contrast, lambda a, b: data[:, a:b], N_MAPS + 1, 1e9), 0, 40)
    missing = tuple(packed.tobytes() for packed in np.packbits(np.isnan(data.T), axis=1))
    enough = VoxelPatterns.of(model, np.arange(N_MAPS + 1), missing).determine(weights)
    assert not enough[:2].any()
    assert enough[-2:].all()
    np.testing.assert_array_equal((maps != 0).any(axis=0), enough)


def test_a_range_of_voxels_has_the_bits_of_all():
    contrast, *_ = contrast_of("groups and age")
    data = np.hstack([DATA, DATA])
    whole = Tiles(contrast, lambda a, b: data[:, a:b], data.shape[1], 1e9)
    first, last = voxel_shards(data.shape[1], 3)[1]
    assert first > 0
    part = Tiles(contrast, lambda a, b: data[:, first + a : first + b], last - first, 1e9)
    assert np.isnan(data[:, first:last]).any()
    expected = statistic_maps(whole, 5, 45)[:, first:last]
    assert statistic_maps(part, 5, 45).tobytes() == np.ascontiguousarray(expected).tobytes()
