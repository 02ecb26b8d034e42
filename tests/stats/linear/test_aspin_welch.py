"""Statistics under one error variance for each group of maps."""

import nibabel as nib
import numpy as np
import pytest
from scipy.stats import ttest_ind

from nipype_group.stats.linear.aspin_welch import (
    VOXELS_PER_BLOCK,
    AspinWelch,
    check_variance_groups,
)
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    f_contrast,
    independent_rows,
    t_contrast,
)

N = 15
TWO = np.array([2, 1, 1, 2, 1, 2, 2, 1, 1, 1, 2, 1, 2, 1, 1])
THREE = np.array([0, 1, 2, 2, 1, 0, 0, 2, 1, 1, 2, 0, 0, 2, 0])


def indicators(groups):
    return np.equal.outer(groups, np.unique(groups)).astype(float)


def model_of(matrix):
    return LinearModel(matrix, tuple(f"c{i}" for i in range(matrix.shape[1])))


def covariates(seed, n_columns=1):
    return np.random.default_rng(seed).standard_normal((N, n_columns))


# Design, contrast rows, variance groups.
CASES = {
    "two groups": (indicators(TWO), [[1, -1]], TWO),
    "intercept and group": (np.c_[np.ones(N), TWO == 2], [[0, 1]], TWO),
    "rank deficient": (np.c_[np.ones(N), indicators(TWO)], [[0, 1, -1]], TWO),
    "two groups + covariate": (np.c_[indicators(TWO), covariates(1)], [[-1, 1, 0]], TWO),
    "the covariate": (np.c_[indicators(TWO), 1e4 * covariates(1)], [[0, 0, 1]], TWO),
    "variance apart from the design": (np.c_[np.ones(N), covariates(2)], [[0, 1]], THREE),
    "a column hardly outside a group": (
        np.c_[TWO == 1, (TWO == 2) + 1e-5 * covariates(4)[:, 0]],
        [[1, -1]],
        TWO,
    ),
    "columns of one group alone": ((THREE == 0)[:, None] * np.ones((N, 1)), [[1]], THREE),
    "three groups F": (indicators(THREE), [[1, -1, 0], [0, 1, -1]], THREE),
    "three groups + covariates F": (
        np.c_[indicators(THREE), covariates(3, 2)],
        [[1, -1, 0, 0, 0], [0, 1, -1, 0, 0], [0, 0, 0, 1, 2]],
        THREE,
    ),
    "one group t": (np.c_[indicators(TWO), covariates(1)], [[1, -1, 0]], np.zeros(N, int)),
    "one group F": (indicators(THREE), [[1, -1, 0], [0, 1, -1]], np.full(N, 7)),
}


def case(name):
    matrix, weights, groups = CASES[name]
    return matrix, np.array(weights, float), groups


def refit(matrix, weights, groups, y):
    """Return statistic and dof of one voxel, straight from the equations."""
    pinv = np.linalg.pinv(matrix)
    forming = np.eye(len(y)) - matrix @ pinv
    residuals = forming @ y
    effect, s, labels = weights @ pinv @ y, len(weights), np.unique(groups)
    rows, parts, freedoms = weights @ pinv, [], []
    for g in labels:
        own = groups == g
        freedoms.append(np.trace(forming[np.ix_(own, own)]))
        parts.append(np.sum(residuals[own] ** 2) / freedoms[-1] * rows[:, own] @ rows[:, own].T)
    cov = np.sum(parts, axis=0)
    middle = cov
    if len(labels) == 1:
        spread, dof = 0.0, len(y) - np.linalg.matrix_rank(matrix)
    else:
        shares = [np.linalg.solve(cov, part) for part in parts]
        spread = sum(
            (np.trace(q @ q) + np.trace(q) ** 2) / 2 / f
            for q, f in zip(shares, freedoms, strict=True)
        )
        dof = s * (s + 2) / (3 * spread)
    if s == 1:
        return effect[0] / np.sqrt(middle[0, 0]), dof
    scale = 1 + 2 * (s - 1) * spread / (s * (s + 2))
    return effect @ np.linalg.inv(middle) @ effect / (scale * s), dof


def noisy(seed, groups, n_voxels):
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-1, 1, (groups.max() + 1, n_voxels))
    return rng.standard_normal((len(groups), n_voxels)) * scale[groups] + rng.normal(size=n_voxels)


@pytest.mark.parametrize("name", CASES)
def test_plain_data_give_the_equations_of_the_paper(name):
    matrix, weights, groups = case(name)
    data = noisy(1, groups, 20)
    stat, dof = AspinWelch(model_of(matrix), weights, groups).statistic(data)
    expected = np.array([refit(matrix, weights, groups, y) for y in data.T]).T
    np.testing.assert_allclose(stat, expected[0], rtol=1e-10)
    np.testing.assert_allclose(dof, expected[1], rtol=1e-10)


def draw(kind, groups, rng):
    """Return order and signs of one random shuffle."""
    order, signs = np.arange(N), np.ones(N, np.int8)
    if "permute" in kind:
        order = rng.permutation(N)
    if kind == "within groups":
        for g in np.unique(groups):
            order[groups == g] = rng.permutation(order[groups == g])
    if "flip" in kind:
        signs = rng.choice(np.array([-1, 1], np.int8), N)
    return order, signs


@pytest.mark.parametrize("kind", ["permute", "flip", "permute and flip", "within groups"])
@pytest.mark.parametrize("name", CASES)
def test_shuffles_equal_a_refit_of_every_voxel(name, kind):
    matrix, weights, groups = case(name)
    rng = np.random.default_rng(2)
    data = noisy(3, groups, 6)
    shuffles = [draw(kind, groups, rng) for _ in range(5)]
    orders, signs = (np.array(part) for part in zip(*shuffles, strict=True))
    stat, dof = AspinWelch(model_of(matrix), weights, groups).shuffled(data, orders, signs)
    for k in range(5):
        for v in range(6):
            # Map r comes to stand in row orders[k, r] of a design that stays.
            y = np.empty(N)
            for r in range(N):
                y[orders[k, r]] = signs[k, r] * data[r, v]
            expected = refit(matrix, weights, groups, y)
            np.testing.assert_allclose(stat[k, v], expected[0], rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(dof[k, v], expected[1], rtol=1e-10)
            # The same: maps that stay under a shuffled design, groups moving with its rows.
            moved = (signs[k][:, None] * matrix[orders[k]], weights, groups[orders[k]])
            np.testing.assert_allclose(
                stat[k, v], refit(*moved, data[:, v])[0], rtol=1e-9, atol=1e-12
            )


def test_two_means_give_the_t_of_welch():
    data = noisy(4, TWO, 50)
    stat, dof = AspinWelch(*welch_parts()).statistic(data)
    expected = ttest_ind(data[TWO == 1], data[TWO == 2], equal_var=False)
    np.testing.assert_allclose(stat, expected.statistic, rtol=1e-12)
    np.testing.assert_allclose(dof, expected.df, rtol=1e-12)


def welch_parts():
    return model_of(indicators(TWO)), np.array([[1.0, -1]]), TWO


def welch_f(samples):
    """Return Welch's (1951) F of k means and its dof, from means and variances alone."""
    n = np.array([len(x) for x in samples])
    w = n / np.array([x.var(ddof=1) for x in samples])
    means, k = np.array([x.mean() for x in samples]), len(samples)
    centre = (w * means).sum() / w.sum()
    loss = ((1 - w / w.sum()) ** 2 / (n - 1)).sum()
    f = (w * (means - centre) ** 2).sum() / (k - 1) / (1 + 2 * (k - 2) / (k**2 - 1) * loss)
    return f, (k**2 - 1) / (3 * loss)


def test_k_means_give_the_f_of_welch():
    data = noisy(5, THREE, 20)
    model, rows = model_of(indicators(THREE)), np.array([[1.0, -1, 0], [0, 1, -1]])
    stat, dof = AspinWelch(model, rows, THREE).statistic(data)
    for v in range(20):
        f, freedom = welch_f([data[g == THREE, v] for g in range(3)])
        np.testing.assert_allclose(stat[v], f, rtol=1e-11)
        np.testing.assert_allclose(dof[v], freedom, rtol=1e-11)


@pytest.mark.parametrize("name", ["one group t", "one group F"])
def test_one_group_gives_ordinary_least_squares(name):
    matrix, weights, groups = case(name)
    model, data = model_of(matrix), noisy(6, TWO, 20)
    stat, dof = AspinWelch(model, weights, groups).statistic(data)
    betas, ss = model.fit(data)
    if len(weights) == 1:
        expected = t_contrast(weights[0], betas, ss / model.dof, model.covariance)[2]
    else:
        expected = f_contrast(weights, betas, ss / model.dof, model.covariance)[2]
    np.testing.assert_allclose(stat, expected, rtol=1e-11)
    np.testing.assert_array_equal(dof, model.dof)


def test_palm_finds_the_same_v_and_a_third_of_the_dof(shared, inside, wager):
    folder = shared / "oracles/palm"
    matrix, weights, groups = (
        np.loadtxt(folder / f"designs/{name}.csv", delimiter=",", ndmin=2)
        for name in ("d_2g", "c_2g", "vg_2g")
    )
    whole = nib.load(shared / "data/wager2008/mask.nii.gz").get_fdata() > 0
    slab = np.zeros_like(whole)
    slab[:, :, 14:17] = whole[:, :, 14:17]
    slab = slab[whole]
    welch = AspinWelch(model_of(matrix), weights, groups[:, 0].astype(int))
    v, dof = welch.statistic(wager[:, slab])
    name = "oracles/palm/c_2g_vg_slab/c_2g_vg_slab_vox_vstat"
    their_v, their_dof = inside(f"{name}.nii.gz"), inside(f"{name}_dof.nii.gz")
    assert slab.sum() > 5000
    assert not their_v[~slab].any()
    np.testing.assert_allclose(v, their_v[slab], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(dof / 3, their_dof[slab], rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_neither_scale_nor_order_of_rows_matters(name):
    matrix, weights, groups = case(name)
    data = noisy(7, groups, 10)
    welch = AspinWelch(model_of(matrix), weights, groups)
    stat, dof = welch.statistic(data)
    for factor in (1e-12, 1e9):
        scaled = welch.statistic(factor * data)
        np.testing.assert_allclose(scaled[0], stat, rtol=1e-11)
        np.testing.assert_allclose(scaled[1], dof, rtol=1e-11)
    mixed = np.random.default_rng(8).permutation(N)
    other = AspinWelch(model_of(matrix[mixed]), weights, groups[mixed]).statistic(data[mixed])
    np.testing.assert_allclose(other[0], stat, rtol=1e-10)
    np.testing.assert_allclose(other[1], dof, rtol=1e-10)


def test_v_changes_sign_with_data_and_contrast_and_g_does_not():
    matrix, weights, groups = case("two groups + covariate")
    data = noisy(9, groups, 10)
    v = AspinWelch(model_of(matrix), weights, groups).statistic(data)[0]
    assert (v > 0).any()
    assert (v < 0).any()
    negated = AspinWelch(model_of(matrix), -weights, groups)
    np.testing.assert_array_equal(negated.statistic(data)[0], -v)
    np.testing.assert_array_equal(negated.statistic(-data)[0], v)
    flips = np.full((1, N), -1)
    np.testing.assert_array_equal(negated.shuffled(data, np.arange(N)[None], flips)[0][0], v)
    matrix, weights, groups = case("three groups F")
    welch = AspinWelch(model_of(matrix), weights, groups)
    np.testing.assert_array_equal(welch.statistic(-data)[0], welch.statistic(data)[0])


def test_g_depends_on_the_hypothesis_and_not_on_the_rows_that_state_it():
    matrix, weights, groups = case("three groups F")
    data = noisy(10, groups, 10)
    g, dof = AspinWelch(model_of(matrix), weights, groups).statistic(data)
    redundant = np.vstack([weights, weights[0] - 3 * weights[1]])
    other = AspinWelch(model_of(matrix), independent_rows(redundant), groups).statistic(data)
    np.testing.assert_allclose(other[0], g, rtol=1e-11)
    np.testing.assert_allclose(other[1], dof, rtol=1e-12)


def test_results_do_not_depend_on_what_else_is_computed():
    welch = AspinWelch(*welch_parts())
    rng = np.random.default_rng(11)
    data = noisy(12, TWO, 2 * VOXELS_PER_BLOCK + 5)
    orders = np.array([rng.permutation(N) for _ in range(4)])
    signs = np.ones((4, N), np.int8)
    stat, dof = welch.shuffled(data, orders, signs)
    assert stat.shape == dof.shape == (4, data.shape[1])
    for voxels in (slice(0, 1), slice(3, VOXELS_PER_BLOCK + 3), slice(500, None)):
        part = welch.shuffled(data[:, voxels], orders[2:], signs[2:])
        np.testing.assert_array_equal(part[0], stat[2:, voxels])
        np.testing.assert_array_equal(part[1], dof[2:, voxels])
    assert welch.shuffled(data[:, :0], orders, signs)[0].shape == (4, 0)
    assert welch.shuffled(data, orders[:0], signs[:0])[0].shape == (0, data.shape[1])


def test_a_group_without_residual_variance_has_no_statistic():
    welch = AspinWelch(*welch_parts())
    data = noisy(13, TWO, 4)
    data[:, 0] = 0
    data[:, 1] = 0.1
    data[TWO == 1, 2] = 3.3
    stat, dof = welch.statistic(data)
    assert stat[:3].tolist() == [0, 0, 0]
    assert dof[:3].tolist() == [13, 13, 13]
    assert stat[3] != 0
    assert dof[3] < 13
    # A shuffle mixes constant and varying maps.
    order = np.roll(np.arange(N), 1)[None]
    stat, _ = welch.shuffled(data, order, np.ones_like(order))
    np.testing.assert_allclose(stat[0, :2], 0)
    assert stat[0, 2] != 0


def test_groups_may_differ_by_orders_of_magnitude():
    data = noisy(14, TWO, 10)
    data[TWO == 2] *= 1e-6
    stat, dof = AspinWelch(*welch_parts()).statistic(data)
    expected = ttest_ind(data[TWO == 1], data[TWO == 2], equal_var=False)
    np.testing.assert_allclose(stat, expected.statistic, rtol=1e-10)
    np.testing.assert_allclose(dof, expected.df, rtol=1e-10)


def test_a_group_that_the_design_fits_exactly_is_named():
    alone = np.where(np.arange(N) == 4, 9, TWO)
    model = model_of(indicators(alone))
    with pytest.raises(ValueError, match=r"Variance group 9 \(1 map\) has no residual"):
        check_variance_groups(alone, model)
    with pytest.raises(ValueError, match="Variance group 9"):
        AspinWelch(model, np.array([[1.0, -1, 0]]), alone)
    # One map whose mean is shared keeps a residual.
    check_variance_groups(alone, model_of(np.ones((N, 1))))
    check_variance_groups(TWO, model)


def test_bad_input_is_refused():
    model, weights, groups = welch_parts()
    with pytest.raises(ValueError, match=r"shape \(14,\), the design 15 maps"):
        AspinWelch(model, weights, groups[1:])
    with pytest.raises(ValueError, match=r"shape \(1, 3\), the design 2 columns"):
        AspinWelch(model, np.ones((1, 3)), groups)
    with pytest.raises(ValueError, match=r"shape \(2,\), the design 2 columns"):
        AspinWelch(model, weights[0], groups)
    with pytest.raises(ValueError, match="2 contrast rows are not independent"):
        AspinWelch(model, np.vstack([weights, 2 * weights]), groups)
    with pytest.raises(ValueError, match="1 contrast rows are not independent"):
        AspinWelch(model, 0 * weights, groups)
    welch = AspinWelch(model, weights, groups)
    data, orders = np.ones((N, 2)), np.arange(N)[None]
    with pytest.raises(ValueError, match=r"data have shape \(14, 2\), the design 15 maps"):
        welch.statistic(data[1:])
    with pytest.raises(ValueError, match=r"orders have shape \(15,\)"):
        welch.shuffled(data, orders[0], orders[0])
    with pytest.raises(ValueError, match=r"signs \(2, 15\)"):
        welch.shuffled(data, orders, np.ones((2, N)))
    with pytest.raises(ValueError, match="rows 0 to 14"):
        welch.shuffled(data, orders + 1, np.ones((1, N)))
