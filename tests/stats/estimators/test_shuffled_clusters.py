"""Random effects and sandwiches under shuffles, against dense fits of every shuffle."""

from itertools import product

import numpy as np
import pytest
from scipy import optimize

from nipype_group.stats.estimators.random_effects import fit_random_effects
from nipype_group.stats.estimators.sandwich import fit_sandwich
from nipype_group.stats.estimators.shuffled.random_effects import shuffled_random_effects
from nipype_group.stats.estimators.shuffled.sandwich import shuffled_sandwich
from nipype_group.stats.linear.least_squares import LinearModel

SIZES = [1, 2, 3, 3, 2, 3, 3]
CLUSTERS = np.repeat(np.arange(7), SIZES)
TIMES = np.concatenate([np.arange(k) for k in SIZES]).astype(float)
GROUP = (CLUSTERS % 2).astype(float)
DESIGN = np.column_stack([np.ones(17), GROUP, TIMES, GROUP * TIMES])
BALANCED = np.repeat(np.arange(8), 3)
BALANCED_DESIGN = np.column_stack([np.ones(24), BALANCED >= 4, np.tile([-1.0, 0, 1], 8)])


def model_of(matrix):
    return LinearModel(matrix, tuple(f"x{i}" for i in range(matrix.shape[1])))


def maps_of(clusters, n_voxels, seed=3, spread=1.0):
    rng = np.random.default_rng(seed)
    own = spread * rng.standard_normal((clusters.max() + 1, n_voxels))[clusters]
    return own + rng.standard_normal((len(clusters), n_voxels))


def dense_covariance(parameters, clusters, times):
    """Return I + Z L L' Z'."""
    together = np.equal.outer(clusters, clusters)
    if times is None:
        return np.eye(len(clusters)) + together * parameters[0] ** 2
    a, b, c = parameters
    z = np.column_stack([np.ones(len(times)), times])
    lower = np.array([[a, 0], [b, c]])
    return np.eye(len(clusters)) + together * (z @ lower @ lower.T @ z.T)


def dense_criterion(parameters, matrix, y, clusters, times):
    v = dense_covariance(parameters, clusters, times)
    inverse = np.linalg.inv(v)
    information = matrix.T @ inverse @ matrix
    left = y - matrix @ np.linalg.solve(information, matrix.T @ inverse @ y)
    dof = len(y) - matrix.shape[1]
    logs = np.linalg.slogdet(v)[1] + np.linalg.slogdet(information)[1]
    return dof * np.log(left @ inverse @ left) + logs


def dense_parameters(matrix, y, clusters, times):
    """Return the triangle of the likeliest random effects."""
    n = 1 if times is None else 3
    starts = [np.full(n, 1e-3), np.full(n, 0.5), np.full(n, 2.0)]
    how = {"xatol": 1e-10, "fatol": 1e-13, "maxiter": 4000, "maxfev": 4000}
    found = [
        optimize.minimize(
            dense_criterion, s, (matrix, y, clusters, times), "Nelder-Mead", options=how
        )
        for s in starts
    ]
    return min(found, key=lambda f: f.fun).x


def dense_fit(matrix, y, clusters, times, parameters):
    """Return betas and their covariance."""
    inverse = np.linalg.inv(dense_covariance(parameters, clusters, times))
    covariance = np.linalg.inv(matrix.T @ inverse @ matrix)
    betas = covariance @ matrix.T @ inverse @ y
    left = y - matrix @ betas
    return betas, covariance * (left @ inverse @ left) / (len(y) - matrix.shape[1])


def wald(weights, betas, covariance, test):
    effects, spread = weights @ betas, weights @ covariance @ weights.T
    if test == "t":
        return effects[0] / np.sqrt(spread[0, 0])
    return effects @ np.linalg.solve(spread, effects) / len(weights)


def moved(values, order, sign):
    found = np.empty_like(values)
    found[order] = sign * values
    return found


def dense_shuffle(matrix, weights, test, y, clusters, times, order, sign, held):
    """Return the statistic of one shuffle of a voxel: Freedman-Lane from the beginning."""
    nuisance = matrix @ np.linalg.svd(weights)[2][len(weights) :].T
    own = dense_parameters(nuisance, y, clusters, times)
    fitted = nuisance @ dense_fit(nuisance, y, clusters, times, own)[0]
    shuffled = fitted + moved(y - fitted, order, sign)
    parameters = own if held else dense_parameters(matrix, shuffled, clusters, times)
    return wald(weights, *dense_fit(matrix, shuffled, clusters, times, parameters), test)


def signs_of(clusters, n, seed=1):
    signs = np.random.default_rng(seed).choice([-1.0, 1], (n, clusters.max() + 1))
    signs[0] = 1
    return np.tile(np.arange(len(clusters)), (n, 1)), signs[:, clusters]


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(
    ("slope", "weights", "test"),
    [
        (False, [[0.0, 0, 0, 1]], "t"),
        (False, np.eye(4)[[1, 3]], "F"),
        (True, [[0.0, 0, 1, 0]], "t"),
    ],
)
def test_signs_of_clusters_are_refitted(slope, weights, test, held):
    weights, maps = np.array(weights), maps_of(CLUSTERS, 3)
    maps[:, 0] += TIMES * maps_of(CLUSTERS, 1, 9, 2.0)[:, 0]
    orders, signs = signs_of(CLUSTERS, 3)
    slopes = (TIMES, True) if slope else None
    own = shuffled_random_effects(model_of(DESIGN), weights, test, CLUSTERS, slopes, held)
    found = own.statistic(own.prepare({"effects": maps}), orders, signs)
    for m, (order, sign) in enumerate(zip(orders, signs, strict=True)):
        for v in range(2 if slope else 3):
            times = TIMES if slope else None
            expected = dense_shuffle(
                DESIGN, weights, test, maps[:, v], CLUSTERS, times, order, sign, held
            )
            np.testing.assert_allclose(found[m, v], expected, rtol=2e-5)
    assert np.abs(np.diff(found, axis=0)).min() > 0


@pytest.mark.parametrize("held", [False, True])
def test_whole_participants_change_places(held):
    weights, maps = np.array([[0.0, 1, 0]]), maps_of(BALANCED, 3)
    places = np.random.default_rng(2).permutation(8)
    order = (3 * places[BALANCED] + np.tile([0, 1, 2], 8))[None]
    own = shuffled_random_effects(model_of(BALANCED_DESIGN), weights, "t", BALANCED, None, held)
    found = own.statistic(own.prepare({"effects": maps}), order, np.ones((1, 24)))
    for v in range(3):
        expected = dense_shuffle(
            BALANCED_DESIGN, weights, "t", maps[:, v], BALANCED, None, order[0], 1.0, held
        )
        np.testing.assert_allclose(found[0, v], expected, rtol=2e-5)


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR2", "CR3"])
@pytest.mark.parametrize(("rows", "test"), [([3], "t"), ([1, 3], "F")])
def test_the_sandwich_has_the_residuals_of_its_shuffle(kind, rows, test):
    weights, maps = np.eye(4)[rows], maps_of(CLUSTERS, 4)
    orders, signs = signs_of(CLUSTERS, 4)
    own = shuffled_sandwich(model_of(DESIGN), weights, test, CLUSTERS, kind)
    found = own.statistic(own.prepare({"effects": maps}), orders, signs)
    nuisance = np.delete(DESIGN, rows, axis=1)
    fitted = nuisance @ np.linalg.lstsq(nuisance, maps, rcond=None)[0]
    inverse = np.linalg.inv(DESIGN.T @ DESIGN)
    hat = DESIGN @ inverse @ DESIGN.T
    for m, sign in enumerate(signs):
        y = fitted + sign[:, None] * (maps - fitted)
        left, effects = y - hat @ y, weights @ inverse @ DESIGN.T @ y
        spread = np.zeros((4, len(rows), len(rows)))
        for g in range(7):
            at = g == CLUSTERS
            values, vectors = np.linalg.eigh(np.eye(at.sum()) - hat[np.ix_(at, at)])
            power = {"CR2": -0.5, "CR3": -1.0}.get(kind, 0.0)
            root = (vectors * values**power) @ vectors.T
            score = weights @ inverse @ DESIGN[at].T @ root @ left[at]
            spread += np.einsum("sv,tv->vst", score, score)
        spread *= 7 / 6 if kind == "CR1" else 1
        expected = [
            effects[0, v] / np.sqrt(spread[v, 0, 0])
            if test == "t"
            else own_delta(weights, kind)
            * effects[:, v]
            @ np.linalg.solve(spread[v], effects[:, v])
            / 2
            for v in range(4)
        ]
        np.testing.assert_allclose(found[m], expected, rtol=1e-9)


def own_delta(weights, kind):
    """Return the factor of Wald's statistic, from the fit of the unshuffled maps."""
    maps = maps_of(CLUSTERS, 1)
    fit = fit_sandwich(model_of(DESIGN), CLUSTERS, lambda a, b: maps[:, a:b], 1, kind)
    return fit.sandwich(weights, np.zeros(0, dtype=int)).delta


def test_unshuffled_maps_have_the_statistic_of_the_fit():
    maps = maps_of(CLUSTERS, 6)
    maps[2, 4], maps[:, 5] = np.nan, 3.0
    weights = np.array([[0.0, 0, 1, 0]])

    def read(start, stop):
        return maps[:, start:stop]

    orders, signs = signs_of(CLUSTERS, 1)
    model = model_of(DESIGN)
    plain = fit_random_effects(model, read, 6, CLUSTERS, None, "satterthwaite")
    own = shuffled_random_effects(model, weights, "t", CLUSTERS, None)
    found = own.statistic(own.prepare({"effects": maps}), orders, signs)[0]
    np.testing.assert_allclose(found, plain.contrast(weights, "t").stat, rtol=1e-8)
    assert found[5] == 0 and found[:5].all()
    plain = fit_sandwich(model, CLUSTERS, read, 6).contrast(weights, "t")
    own = shuffled_sandwich(model, weights, "t", CLUSTERS)
    prepared = own.prepare({"effects": maps})
    found = own.statistic(prepared, orders, signs)[0]
    np.testing.assert_allclose(found, plain.stat, rtol=1e-9)
    np.testing.assert_allclose(own.voxel_dof(prepared)[:5], plain.dof[:5], rtol=1e-12)


def test_all_signs_of_a_mean_are_those_of_the_means_of_clusters():
    # With equally many maps the sandwich of a mean is the t of the means.
    maps = 0.5 + maps_of(BALANCED, 20)
    signs = np.array(list(product([1.0, -1], repeat=8)))
    own = shuffled_sandwich(model_of(np.ones((24, 1))), np.ones((1, 1)), "t", BALANCED)
    orders = np.tile(np.arange(24), (256, 1))
    found = own.statistic(own.prepare({"effects": maps}), orders, signs[:, BALANCED])
    means = maps.reshape(8, 3, 20).mean(axis=1)
    flipped = signs @ means
    squares = np.square(means).sum(axis=0) - np.square(flipped) / 8
    expected = flipped / 8 / np.sqrt(squares / 56)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # Of random intercepts too, where means differ more than maps of a cluster tell.
    own = shuffled_random_effects(model_of(np.ones((24, 1))), np.ones((1, 1)), "t", BALANCED, None)
    found = own.statistic(own.prepare({"effects": maps}), orders, signs[:, BALANCED])
    within = np.square(maps - means.repeat(3, axis=0)).sum(axis=0) / 16
    interior = 3 * squares / 7 > within
    assert 0.5 < interior.mean() < 1
    np.testing.assert_allclose(found[interior], expected[interior], rtol=1e-7)


def test_bits_depend_on_neither_tiles_nor_batches():
    maps, weights = maps_of(CLUSTERS, 90), np.array([[0.0, 0, 0, 1]])
    orders, signs = signs_of(CLUSTERS, 5)
    for own in (
        shuffled_random_effects(model_of(DESIGN), weights, "t", CLUSTERS, None),
        shuffled_random_effects(model_of(DESIGN), weights, "t", CLUSTERS, None, True),
        shuffled_sandwich(model_of(DESIGN), weights, "t", CLUSTERS),
    ):
        whole = own.statistic(own.prepare({"effects": maps}), orders, signs)
        part = own.statistic(own.prepare({"effects": maps[:, 37:]}), orders[2:], signs[2:])
        assert part.tobytes() == whole[2:, 37:].tobytes()
        mirrored = own.statistic(own.prepare({"effects": maps}), orders, -signs)
        assert mirrored.tobytes() == (-whole).tobytes()


def test_clusters_of_voxels_that_maps_lack_do_not_change_places():
    maps = maps_of(BALANCED, 2)
    maps[5, 1] = np.nan
    own = shuffled_sandwich(model_of(BALANCED_DESIGN), [[0.0, 1, 0]], "t", BALANCED)
    with pytest.raises(ValueError, match="some maps lack voxels"):
        own.statistic(own.prepare({"effects": maps}), [np.arange(24)[::-1]], np.ones((1, 24)))


def test_a_column_of_one_cluster_is_refused():
    matrix = np.column_stack([np.ones(17), CLUSTERS == 3])
    with pytest.raises(ValueError, match="the 7 clusters say too little of this contrast"):
        shuffled_sandwich(model_of(matrix.astype(float)), [[0.0, 1]], "t", CLUSTERS)
