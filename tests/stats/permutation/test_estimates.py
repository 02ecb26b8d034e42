"""Estimators beyond least squares under shuffles, against refits of every shuffle by hand."""

from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from nipype_group.design.contrasts import Contrast
from nipype_group.permutation.plan import ContrastTest
from nipype_group.stats.estimators import fit_by_contrast
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.permutation.run import run_shuffles
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics

MEAN = np.ones((7, 1))
SLOPE = np.column_stack([np.ones(5), [0.1, 0.9, 1.3, 2.2, 4.0], [0, 1, 1, 0, 1.0]])
# Design, contrast and kind of shuffling.
DESIGNS = {
    "mean": (MEAN, [1.0], "flip", 128),
    "slope beside nuisance": (SLOPE, [0, 1.0, 0], "permute", 120),
}
HOW = ("again", "held")
ALL = ("voxel", "extent", "mass", "tfce")


def made(n_maps, shape, seed=4):
    """Return effects and variances, shape (n, v), some of which vary between maps."""
    rng = np.random.default_rng(seed)
    n_voxels = int(np.prod(shape))
    variances = np.exp(rng.standard_normal((n_maps, n_voxels)))
    spread = variances + rng.choice([0, 2.0], n_voxels)
    return 0.5 + np.sqrt(spread) * rng.standard_normal((n_maps, n_voxels)), variances


def shuffled(matrix, weights, kind, exhaustive=True, varying=False, **how):
    """Return a test and the contrast that the engine shuffles."""
    model = LinearModel(matrix, tuple(f"x{i}" for i in range(matrix.shape[1])))
    weights = np.atleast_2d(np.array(weights, dtype=float))
    contrast = Contrast("c", "t" if len(weights) == 1 else "F", weights, "")
    scheme = ShufflingScheme(kind, tuple(range(len(matrix))), seed=3, exhaustive=exhaustive)
    test = ContrastTest(ShuffleStatistics(cluster_forming_p=0.1, names=ALL), varying_dof=varying)
    test = ContrastTest(**{**vars(test), **how})
    return test, test.shuffled(model, contrast, scheme)


def run(test, contrast, first, last, effects, variances, shape, **how):
    (result,) = run_shuffles(
        lambda start, stop: effects[:, start:stop],
        np.ones(shape, dtype=bool),
        [contrast],
        test.statistics,
        first,
        last,
        beside={"variances": lambda start, stop: variances[:, start:stop]},
        **how,
    )
    return result


def moment(effects, variances, matrix):
    """Return the variance between maps by DerSimonian and Laird's moments, word for word."""
    weight = 1 / variances
    cross = (matrix.T * weight) @ matrix
    trace = weight.sum() - np.trace(np.linalg.solve(cross, (matrix.T * weight**2) @ matrix))
    left = effects - matrix @ np.linalg.solve(cross, (matrix.T * weight) @ effects)
    return max(0, (weight @ left**2 - (len(effects) - matrix.shape[1])) / trace)


def refit(matrix, row, effects, variances, tau2=None):
    """Return t of weighted least squares with Knapp and Hartung's factor, at least 1."""
    weight = 1 / (variances + (moment(effects, variances, matrix) if tau2 is None else tau2))
    covariance = np.linalg.inv((matrix.T * weight) @ matrix)
    betas = covariance @ (matrix.T * weight) @ effects
    scale = weight @ (effects - matrix @ betas) ** 2 / (len(effects) - matrix.shape[1])
    return row @ betas / np.sqrt(max(scale, 1) * (row @ covariance @ row))


def huber(matrix, effects):
    """Return betas, scale, and weights of Huber's fit, by iteration until nothing changes."""
    betas = np.linalg.lstsq(matrix, effects, rcond=None)[0]
    for _ in range(1000):
        left = effects - matrix @ betas
        scale = np.median(abs(left)) / 0.6745
        weight = np.minimum(1, 1.345 * scale / np.maximum(abs(left), 1e-300))
        before, cross = betas, (matrix.T * weight) @ matrix
        betas = np.linalg.solve(cross, (matrix.T * weight) @ effects)
        if abs(matrix @ (betas - before)).max() <= 1e-13 * scale:
            break
    return betas, scale, weight


def huber_t(matrix, row, effects):
    """Return t of Huber's fit, with the variance of his first form."""
    n, k = matrix.shape
    betas, scale, weight = huber(matrix, effects)
    left = effects - matrix @ betas
    slope = (abs(left) <= 1.345 * scale).astype(float)
    kappa = 1 + k * slope.var(ddof=1) / (n * slope.mean() ** 2)
    variance = ((weight * left) ** 2).sum() / (n - k) * (kappa / slope.mean()) ** 2
    return row @ betas / np.sqrt(variance * (row @ np.linalg.inv(matrix.T @ matrix) @ row))


def weighted_t(matrix, row, effects, weight):
    """Return t of weighted least squares."""
    covariance = np.linalg.inv((matrix.T * weight) @ matrix)
    betas = covariance @ (matrix.T * weight) @ effects
    square = weight @ (effects - matrix @ betas) ** 2 / (len(effects) - matrix.shape[1])
    return row @ betas / np.sqrt(square * (row @ covariance @ row))


def hc3_t(matrix, row, effects):
    """Return t of least squares with the variance HC3."""
    inverse = np.linalg.inv(matrix.T @ matrix)
    betas = inverse @ matrix.T @ effects
    leverage = np.einsum("ij,jk,ik->i", matrix, inverse, matrix)
    share = (effects - matrix @ betas) / (1 - leverage) * (matrix @ inverse @ row)
    return row @ betas / np.sqrt((share**2).sum())


def every_shuffle(kind, n):
    if kind == "flip":
        return [(np.arange(n), np.array(signs)) for signs in product([1, -1], repeat=n)]
    return [(np.array(order), np.ones(n)) for order in permutations(range(n))]


@pytest.mark.parametrize("estimates", ["again", "held"])
@pytest.mark.parametrize("name", DESIGNS)
def test_p_of_all_shuffles_are_those_of_refits_by_hand(name, estimates):
    matrix, row, kind, n_shuffles = DESIGNS[name]
    n, v = len(matrix), 4
    effects, variances = made(n, (v,))
    found = []
    for at in range(v):
        y, s = effects[:, at], variances[:, at]
        nuisance = matrix[:, np.array(row) == 0]
        fitted, null = np.zeros(n), y @ y * 0
        weight = 1 / s
        if nuisance.shape[1]:
            null = moment(y, s, nuisance)
            weight = 1 / (s + null)
            cross = (nuisance.T * weight) @ nuisance
            fitted = nuisance @ np.linalg.solve(cross, (nuisance.T * weight) @ y)
        else:
            null = max(0, (weight @ y**2 - n) / weight.sum())
        tau2 = null if estimates == "held" else None
        of_all = []
        for order, sign in every_shuffle(kind, n):
            # The residuals of a map and its variance go where the shuffle puts them.
            moved, own = np.empty(n), np.empty(n)
            moved[order], own[order] = sign * (y - fitted), s
            of_all.append(refit(matrix, np.array(row), fitted + moved, own, tau2))
        of_all = np.array(of_all)
        found.append((of_all[0], (abs(of_all) >= abs(of_all[0]) * (1 - 1e-9)).sum()))
    test, contrast = shuffled(
        matrix,
        row,
        kind,
        estimator="dersimonian-laird",
        shuffled_estimates=estimates,
        knapp_hartung="adhoc",
    )
    result = run(test, contrast, 0, n_shuffles, effects, variances, (v, 1, 1))
    np.testing.assert_allclose(result.observed["voxel"], [t for t, _ in found], rtol=1e-9)
    assert result.counts["voxel"].tolist() == [count for _, count in found]
    assert min(result.counts["voxel"]) < n_shuffles / 2


@pytest.mark.parametrize("estimator", ["mixed-effects", "fixed-effects"])
def test_bits_depend_on_no_shard_thread_or_memory(estimator):
    shape, matrix = (11, 10, 10), SLOPE[np.arange(12) % 5] + np.linspace(0, 0.3, 12)[:, None] ** 2
    effects, variances = made(12, shape)
    effects[2, 30], variances[4, 60] = np.nan, -1
    test, contrast = shuffled(
        matrix, np.eye(3)[1:], "permute", False, varying=True, estimator=estimator
    )
    data = effects, variances, shape
    whole = run(test, contrast, 0, 60, *data)
    ones = run(test, contrast, 0, 60, *data, n_threads=3, memory_gb=1e-6)
    parts = [run(test, contrast, a, b, *data) for a, b in ((0, 21), (21, 53), (53, 60))]
    for name, null in whole.nulls.items():
        assert ones.nulls[name].tobytes() == null.tobytes()
        assert np.concatenate([part.nulls[name] for part in parts]).tobytes() == null.tobytes()
    for name, counts in whole.counts.items():
        assert (ones.counts[name] == counts).all()
        assert (sum(part.counts[name] for part in parts) == counts).all()
    assert set(whole.counts) == {"voxel", "tfce"} and "mass_positive" in whole.nulls
    single, contrast = shuffled(matrix, [0, 1.0, 0], "permute", False, estimator=estimator)
    single = ContrastTest(**{**vars(single), "statistics": ShuffleStatistics()})
    effects, variances = made(12, shape)
    whole = run(single, contrast, 0, 20, effects, variances, shape)
    single.check_voxel_shards()
    ends = [
        run(single, contrast, 0, 20, effects[:, a:b], variances[:, a:b], (b - a, 1, 1))
        for a, b in ((0, 1024), (1024, 1100))
    ]
    counts = np.concatenate([end.counts["voxel"] for end in ends])
    assert (counts == whole.counts["voxel"]).all()
    highest = np.max([end.nulls["voxel_positive"] for end in ends], axis=0)
    assert highest.tobytes() == whole.nulls["voxel_positive"].tobytes()


@pytest.mark.parametrize(
    ("estimator", "sloped", "estimates"),
    [
        ("random-effects", False, "again"),
        ("random-effects", True, "again"),
        ("random-effects", True, "held"),
        ("sandwich", False, "again"),
    ],
)
def test_bits_of_clusters_depend_on_no_shard_thread_or_memory(estimator, sloped, estimates):
    rng, shape = np.random.default_rng(7), (7, 5, 4)
    clusters = np.repeat(np.arange(8), [1, 2, 3, 4, 3, 2, 4, 3])
    times = np.concatenate([np.arange(k) for k in np.bincount(clusters)]) + rng.uniform(
        -0.2, 0.2, 22
    )
    maps = rng.standard_normal((2, 8, 140))[:, clusters]
    maps = maps[0] + maps[1] * times[:, None] + rng.standard_normal((22, 140))
    signs = rng.choice([-1, 1], (30, 8))
    signs[0] = 1
    model = LinearModel(np.column_stack([np.ones(22), clusters % 2, times]), ("a", "b", "c"))
    scheme = ShufflingScheme("flip", tuple(range(22)), given=signs[:, clusters])
    test = ContrastTest(
        ShuffleStatistics(cluster_forming_p=0.1, names=ALL),
        estimator=estimator,
        shuffled_estimates=estimates,
    )
    needs = {"clusters": clusters, "slopes": (times, True) if sloped else None}
    contrast = Contrast("c", "F", np.eye(3)[1:], "")
    contrast = test.shuffled(model, contrast, scheme, needs=needs)
    data = maps, maps, shape
    whole = run(test, contrast, 0, 30, *data)
    ones = run(test, contrast, 0, 30, *data, n_threads=3, memory_gb=1e-6)
    parts = [run(test, contrast, a, b, *data) for a, b in ((0, 11), (11, 30))]
    for name, null in whole.nulls.items():
        assert ones.nulls[name].tobytes() == null.tobytes()
        assert np.concatenate([part.nulls[name] for part in parts]).tobytes() == null.tobytes()
    for name, counts in whole.counts.items():
        assert (ones.counts[name] == counts).all() and len(np.unique(counts)) > 5
        assert (sum(part.counts[name] for part in parts) == counts).all()


def test_maps_that_lack_voxels_give_z_of_their_own_dof():
    effects, variances = made(7, (3,))
    effects[2, 1] = np.nan
    test, contrast = shuffled(MEAN, [1.0], "flip", estimator="mixed-effects")
    with pytest.raises(ValueError, match="some maps lack voxels"):
        run(test, contrast, 0, 9, effects, variances, (3, 1, 1))
    test, contrast = shuffled(MEAN, [1.0], "flip", varying=True, estimator="mixed-effects")
    found = run(test, contrast, 0, 128, effects, variances, (3, 1, 1))
    rest = np.delete(effects, 2, 0)[:, 1:2], np.delete(variances, 2, 0)[:, 1:2]
    test, contrast = shuffled(MEAN[:6], [1.0], "flip", estimator="mixed-effects")
    alone = run(test, contrast, 0, 64, *rest, (1, 1, 1))
    np.testing.assert_allclose(
        found.observed["voxel"][1], contrast.z_of_plain(alone.observed["voxel"])[0], atol=1e-5
    )
    # The sign of the map that is not there changes nothing.
    assert found.counts["voxel"][1] == 2 * alone.counts["voxel"][0]


def test_what_does_not_go_with_an_estimator_is_refused():
    with pytest.raises(ValueError, match="go with freedman-lane"):
        shuffled(MEAN, [1.0], "flip", estimator="mixed-effects", method="manly")
    with pytest.raises(ValueError, match="welch is not permuted"):
        shuffled(MEAN, [1.0], "flip", estimator="welch")
    with pytest.raises(ValueError, match="sandwich needs clusters, and the design has none"):
        shuffled(MEAN, [1.0], "flip", estimator="sandwich")
    test, contrast = shuffled(MEAN, [1.0], "flip", estimator="mixed-effects")
    with pytest.raises(ValueError, match="needs variances, and none are given"):
        run_shuffles(lambda a, b: MEAN, np.ones((1, 1, 1)), [contrast], test.statistics, 0, 1)


@pytest.mark.parametrize("how", ["again", "held", "hc3"])
@pytest.mark.parametrize("name", DESIGNS)
def test_p_of_robust_fits_are_those_of_refits_by_hand(name, how):
    matrix, row, kind, n_shuffles = DESIGNS[name]
    # Three columns fit half of five maps exactly.
    matrix, row = matrix[:, :2], np.array(row[:2])
    n, v = len(matrix), 3
    effects, nuisance, found = made(n, (v,))[0], matrix[:, row == 0], []
    for y in effects.T:
        if nuisance.shape[1]:
            betas, _, weight = huber(nuisance, y)
            if how == "hc3":
                betas = np.linalg.lstsq(nuisance, y, rcond=None)[0]
            fitted = nuisance @ betas
        else:
            fitted = np.zeros(n)
            weight = np.minimum(1, 1.345 * np.median(abs(y)) / 0.6745 / abs(y))
        of_all = []
        for order, sign in every_shuffle(kind, n):
            moved, own = np.empty(n), np.empty(n)
            moved[order], own[order] = sign * (y - fitted), weight
            moved += fitted
            of_all.append(
                weighted_t(matrix, row, moved, own)
                if how == "held"
                else {"again": huber_t, "hc3": hc3_t}[how](matrix, row, moved)
            )
        of_all = np.array(of_all)
        found.append((of_all[0], (abs(of_all) >= abs(of_all[0]) * (1 - 1e-7)).sum()))
    test, contrast = shuffled(
        matrix,
        row,
        kind,
        estimator="hc3" if how == "hc3" else "huber",
        shuffled_estimates="held" if how == "held" else "again",
    )
    result = run(test, contrast, 0, n_shuffles, effects, effects, (v, 1, 1))
    np.testing.assert_allclose(result.observed["voxel"], [t for t, _ in found], rtol=1e-7)
    assert result.counts["voxel"].tolist() == [count for _, count in found]


@pytest.mark.parametrize("name", ["huber", "bisquare", "mm", "hc3"])
def test_robust_bits_depend_on_no_shard_thread_or_tile(name):
    shape, matrix = (11, 10, 10), SLOPE[np.arange(12) % 5] + np.linspace(0, 0.3, 12)[:, None] ** 2
    effects = made(12, shape)[0]
    test, contrast = shuffled(
        matrix,
        np.eye(3)[1:],
        "permute",
        False,
        estimator=name,
        shuffled_estimates="held" if name == "mm" else "again",
    )
    whole = run(test, contrast, 0, 12, effects, effects, shape)
    others = [
        run(test, contrast, a, b, effects, effects, shape, n_threads=2, memory_gb=1e-6)
        for a, b in ((0, 5), (5, 12))
    ]
    for one, null in whole.nulls.items():
        assert np.concatenate([own.nulls[one] for own in others]).tobytes() == null.tobytes()
    part = effects[:, 1024:]
    end = run(test, contrast, 0, 12, part, part, (76, 1, 1))
    assert (end.counts["voxel"] == whole.counts["voxel"][1024:]).all()
    if name != "mm":
        model, rows = contrast.own.model, np.eye(3)[1:]
        fit = fit_by_contrast(name, model, lambda a, b: effects[:, a:b], effects.shape[1], {})
        np.testing.assert_allclose(
            whole.observed["voxel"], fit.contrast(rows, "F").stat, rtol=1e-7
        )


EXACT = [
    *product(["huber", "mixed-effects"], HOW),
    ("bisquare", "again"),
    ("mm", "held"),
    ("hc3", "again"),
]


@pytest.mark.parametrize("how", EXACT)
def test_flips_of_heavy_tails_err_as_often_as_alpha(how):
    rng, v = np.random.default_rng(8), 600
    effects = rng.standard_t(2, (9, v)) * np.linspace(1, 3, 9)[:, None]
    variances = np.exp(rng.standard_normal((9, v)))
    test, contrast = shuffled(
        MEAN[np.zeros(9, int)], [1.0], "flip", estimator=how[0], shuffled_estimates=how[1]
    )
    test = ContrastTest(**{**vars(test), "statistics": ShuffleStatistics(tail="positive")})
    counts = run(test, contrast, 0, 512, effects, variances, (v, 1, 1)).counts["voxel"]
    # Flips of symmetric errors are exact: p at most .05 in 25 of 512 shuffles.
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], v, 25 / 512)
    assert low <= (counts <= 25).sum() <= high
