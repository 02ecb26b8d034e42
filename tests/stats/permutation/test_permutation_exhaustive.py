"""Small designs whose every shuffle is computed: itertools, textbook formulas, naive clusters."""

from itertools import combinations, permutations, product

import numpy as np
import pytest
from scipy import stats

from nipype_group.choices import STATISTICS
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.neighbours import neighbour_list
from nipype_group.stats.permutation.choice import row_labels
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.p_values import cluster_heights, correct, null_of_maxima
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.tfce import Tfce

SIDES = {1: "positive", -1: "negative"}
DOSE = np.array([0.3, 1.1, 2.9, 0.2, 1.7, 2.0, 0.9, 1.3, 4.1])
TASK = np.tile([0.0, 1], 5)
BETWEEN = np.repeat([0.1, 0.9, 1.3, 2.2, 4.0], 2)
PARTICIPANT = np.repeat(np.arange(1, 6), 2)
# Columns, contrast rows, kind of shuffling, blocks, number of distinct shuffles.
DESIGNS = {
    "flips": ([np.ones(8)], [[1]], "flip", (), 256),
    "4 against 4": (np.eye(2)[np.repeat([0, 1], 4)].T, [[1, -1]], "permute", (), 70),
    "three groups F": (
        np.eye(3)[[0, 1, 2, 2, 1, 0]].T,
        [[1, -1, 0], [0, 1, -1]],
        "permute",
        (),
        90,
    ),
    "within 3 blocks of 3": (
        [DOSE, *np.eye(3)[np.repeat([0, 1, 2], 3)].T],
        [[1, 0, 0, 0]],
        "permute",
        tuple((-1, b) for b in np.repeat([1, 2, 3], 3).tolist()),
        216,
    ),
    "whole blocks": (
        [np.ones(10), TASK, BETWEEN],
        [[0, 0, 1]],
        "permute",
        tuple((1, -b) for b in PARTICIPANT.tolist()),
        120,
    ),
    "both": ([np.ones(4), DOSE[:4]], [[0, 1]], "both", (), 384),
}
SETTINGS = {
    "two-sided": {"tail": "two-sided", "cluster_forming_p": 0.1},
    "positive, on z": {
        "tail": "positive",
        "cluster_forming_z": 1.0,
        "connectivity": 18,
        "mass_excess": True,
        "statistic_scale": "z",
        "tfce": Tfce(1.0, 2.0, 26),
    },
    "negative": {
        "tail": "negative",
        "cluster_forming_statistic": 0.9,
        "connectivity": 6,
        "mass_excess": True,
        "tfce": Tfce(0.5, 1.0, 18),
    },
}


def one_sample(data):
    for signs in product([1, -1], repeat=len(data)):
        flipped = data * np.array(signs)[:, None]
        yield flipped.mean(axis=0) / flipped.std(axis=0, ddof=1) * np.sqrt(len(data))


def two_samples(data):
    for chosen in combinations(range(8), 4):
        inside = np.isin(np.arange(8), chosen)
        a, b = data[inside], data[~inside]
        pooled = (a.var(axis=0, ddof=1) + b.var(axis=0, ddof=1)) / 2
        yield (a.mean(axis=0) - b.mean(axis=0)) / np.sqrt(pooled / 2)


def analysis_of_variance(data):
    groups = [0, 1, 2, 2, 1, 0]
    labels = sorted(set(permutations(groups)), key=lambda p: list(p) != groups)
    for label in np.array(labels):
        yield stats.f_oneway(*(data[label == g] for g in range(3))).statistic


def within_blocks(data, refit):
    x, z = DOSE[:, None], np.eye(3)[np.repeat([0, 1, 2], 3)]
    for parts in product(permutations(range(3)), repeat=3):
        order = np.concatenate([np.array(p) + 3 * b for b, p in enumerate(parts)])
        yield refit("freedman-lane", x, z, data, order, np.ones(9))


def whole_blocks(data, refit):
    x, z = BETWEEN[:, None], np.column_stack([np.ones(10), TASK])
    for participants in permutations(range(5)):
        order = np.concatenate([[2 * p, 2 * p + 1] for p in participants])
        yield refit("freedman-lane", x, z, data, order, np.ones(10))


def flips_and_permutations(data, refit):
    for order, signs in product(permutations(range(4)), product([1.0, -1], repeat=4)):
        yield refit(
            "freedman-lane",
            DOSE[:4, None],
            np.ones((4, 1)),
            data,
            np.array(order),
            np.array(signs),
        )


BY_HAND = {
    "flips": lambda data, refit: one_sample(data),
    "4 against 4": lambda data, refit: two_samples(data),
    "three groups F": lambda data, refit: analysis_of_variance(data),
    "within 3 blocks of 3": within_blocks,
    "whole blocks": whole_blocks,
    "both": flips_and_permutations,
}


@pytest.fixture(scope="module", params=DESIGNS)
def study(request, refit, holey_mask, smooth_data):
    """Contrast, data, and the maps of all shuffles by hand, the unshuffled one first."""
    columns, weights, kind, blocks, n_distinct = DESIGNS[request.param]
    matrix = np.column_stack(columns)
    model = LinearModel(matrix, tuple(map(str, range(matrix.shape[1]))))
    scheme = ShufflingScheme(kind, row_labels(matrix), blocks, exhaustive=True)
    assert scheme.n_distinct == n_distinct
    blob = matrix @ np.linalg.pinv(np.array(weights, float)).sum(axis=1)
    data = smooth_data(len(matrix), holey_mask, 3, 1.5 * blob)
    contrast = ShuffledContrast(partition(model, np.array(weights, float)), scheme)
    maps = np.array(list(BY_HAND[request.param](data, refit)))
    assert len(maps) == n_distinct
    return contrast, data, maps


def by_hand(maps, mask, settings, contrast, naive, z_of):
    """Return {name: {sign: values}} of what is compared, shape (m, v) and (m,) alike."""
    rank, dof = contrast.rank, contrast.dof
    signs = (1,) if rank > 1 else settings.signs(True)
    scaled = z_of(maps, rank, dof) if settings.statistic_scale == "z" else maps
    p = settings.cluster_forming_p
    if settings.cluster_forming_z is not None:
        p = stats.norm.sf(settings.cluster_forming_z)
    elif p is not None:
        p /= len(signs)
    forming = settings.cluster_forming_statistic
    if forming is None:
        forming = stats.f.isf(p, rank, dof) if rank > 1 else stats.t.isf(p, dof)
    scale = float(z_of(np.float64(forming), rank, dof))
    scale = scale if settings.statistic_scale == "z" else forming
    excess, computed = (scale if settings.mass_excess else 0.0), naive(mask)
    found = {name: {} for name in STATISTICS}
    for sign in signs:
        found["voxel"][sign] = sign * maps
        extents, masses = computed.clusters(
            sign * maps, forming, settings.connectivity, sign * scaled, excess
        )
        found["extent"][sign], found["mass"][sign] = extents, masses
        tfce = settings.tfce
        found["tfce"][sign] = computed.tfce(
            sign * scaled, tfce.extent_power, tfce.height_power, tfce.connectivity
        )
    return found


@pytest.mark.parametrize("name", SETTINGS)
def test_everything_equals_enumeration_by_hand(study, name, holey_mask, naive, z_of):
    contrast, data, maps = study
    settings = ShuffleStatistics(STATISTICS, **SETTINGS[name])
    n = len(maps)
    (result,) = run_shuffles(lambda a, b: data[:, a:b], holey_mask, [contrast], settings, 0, n)
    expected = by_hand(maps, holey_mask, settings, contrast, naive, z_of)
    np.testing.assert_allclose(result.observed["voxel"], maps[0], rtol=1e-9, atol=1e-12)
    heights = cluster_heights(
        result.observed["voxel"],
        settings,
        contrast,
        neighbour_list(holey_mask, settings.connectivity),
    )
    heights["voxel"] = settings.heights(result.observed["voxel"], contrast.signed)
    heights["tfce"] = settings.heights(result.observed["tfce"], contrast.signed)
    for statistic in STATISTICS:
        sides = expected[statistic]
        for sign, values in sides.items():
            null = result.nulls[f"{statistic}_{SIDES[sign]}"]
            np.testing.assert_allclose(null[0], values[0].max(), rtol=1e-9)
            np.testing.assert_allclose(
                np.sort(null), np.sort(values.max(axis=1)), rtol=1e-9, atol=1e-11
            )
        # The value of a voxel is that of its own side, which for voxels is the larger one.
        side = np.max(list(sides.values()), axis=0)
        np.testing.assert_allclose(heights[statistic], side[0], rtol=1e-9, atol=1e-11)
        reference = side[0] - 1e-9 * np.abs(side[0])
        if statistic in result.counts:
            np.testing.assert_array_equal(
                result.counts[statistic], (side >= reference).sum(axis=0)
            )
        null = null_of_maxima(result.nulls, statistic, settings.signs(contrast.signed))
        found = correct(statistic, heights[statistic], null, 0.05)
        p = (side.max(axis=1)[:, None] >= reference).mean(axis=0)
        if statistic in ("extent", "mass"):
            assert (side.max(axis=1) > 0).sum() > n / 10
            p = np.where(side[0] > 0, p, 1.0)
        np.testing.assert_array_equal(found.p, p)
        assert found.p.min() >= 1 / n


def test_f_has_no_negative_side(study, holey_mask):
    contrast, data, maps = study
    settings = ShuffleStatistics(STATISTICS)
    (result,) = run_shuffles(lambda a, b: data[:, a:b], holey_mask, [contrast], settings, 0, 2)
    sides = {"positive", "negative"} if contrast.signed else {"positive"}
    assert set(result.nulls) == {f"{name}_{side}" for name in STATISTICS for side in sides}


@pytest.mark.parametrize("scale", ["statistic", "z"])
@pytest.mark.parametrize("mean", [1e2, 1e4, 3e5])
def test_a_mirrored_shuffle_reaches_statistics_of_any_size(holey_mask, smooth_data, mean, scale):
    """All signs flipped give minus the map: two of 256 shuffles reach the largest value."""
    data = smooth_data(8, holey_mask, 3, np.zeros(8))
    spike = data.shape[1] // 2
    data[:, spike] = mean + 0.1 * np.arange(8)
    model = LinearModel(np.ones((8, 1)), ("mean",))
    scheme = ShufflingScheme("flip", (0,) * 8, exhaustive=True)
    contrast = ShuffledContrast(partition(model, np.ones((1, 1))), scheme)
    settings = ShuffleStatistics(STATISTICS, statistic_scale=scale)
    (result,) = run_shuffles(lambda a, b: data[:, a:b], holey_mask, [contrast], settings, 0, 256)
    assert result.observed["voxel"][spike] > mean
    for name in ("voxel", "tfce"):
        heights = settings.heights(result.observed[name], contrast.signed)
        null = null_of_maxima(result.nulls, name, settings.signs(contrast.signed))
        assert correct(name, heights, null, 0.05).p[spike] == 2 / 256
