"""Effect sizes, their intervals and equivalence against R, and what their definitions say."""

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from nipype_group.stats.effect_sizes import (
    d_interval,
    effect_interval,
    epsilon_squared,
    equivalence,
    generalised_eta_squared,
    hedges_correction,
    omega_interval,
    omega_squared,
    paired_sizes,
    partial_eta_squared,
    partial_r,
    partial_r_interval,
    r_squared_interval,
    share_interval,
    sizes_of_maps,
)
from nipype_group.stats.linear.least_squares import LinearModel, contrast_maps, fit_by_pattern

LEVELS = {90: 0.9, 95: 0.95}
CLOSE = {"rtol": 1e-8, "atol": 1e-9}


def maps_of(folder):
    """Return the design and the data of a folder, shape (n, v), by voxel."""
    rows = pd.read_csv(folder / "design.csv")
    data = pd.read_csv(folder / "data.csv").pivot_table(index="row", columns="voxel", values="y")
    return rows, data.loc[rows["row"]]


def pairs_of(rows, data):
    """Return the maps of conditions a and b of every pair, in its order."""
    return [
        data[(rows["cond"] == c).to_numpy()].to_numpy()[
            np.argsort(rows["pair"][rows["cond"] == c], kind="stable")
        ]
        for c in "ab"
    ]


def t_of(values):
    """Return t of the mean of rows, its standard deviation and degrees of freedom."""
    sd = values.std(axis=0, ddof=1)
    return values.mean(axis=0) / (sd / np.sqrt(len(values))), sd, len(values) - 1


def test_d_and_g_with_intervals_are_those_of_r(shared, agree):
    folder = shared / "oracles" / "models" / "effects"
    rows, data = maps_of(folder)
    expected = pd.read_csv(folder / "result_d.csv")
    in_a = (rows["group2"] == "A").to_numpy()
    a, b = data.to_numpy()[in_a], data.to_numpy()[~in_a]
    pooled = stats.ttest_ind(a, b).statistic
    first, second = pairs_of(rows, data)
    one, _, n_less_1 = t_of(data.to_numpy())
    paired, _, pairs_less_1 = t_of(first - second)
    found = {
        "one": (one, n_less_1, np.sqrt(1 / len(data))),
        "two_pooled": (pooled, len(data) - 2, np.sqrt(1 / len(a) + 1 / len(b))),
        "paired": (paired, pairs_less_1, np.sqrt(1 / len(first))),
    }
    for effect, (t, dof, size_per_t) in found.items():
        own = expected[expected["effect"] == effect].set_index("voxel").loc[data.columns]
        j = hedges_correction(dof)
        np.testing.assert_allclose(j, own["J"], rtol=1e-13)
        agree("R stats (noncentral t, F)", "d", t * size_per_t, own["d"], rtol=1e-10)
        agree("R stats (noncentral t, F)", "g", j * t * size_per_t, own["g"], rtol=1e-10)
        for name, level in LEVELS.items():
            lower, upper = d_interval(t, dof, size_per_t, level)
            agree(
                "R stats (noncentral t, F)", "d: lower bound", lower, own[f"d_lb{name}"], **CLOSE
            )
            agree(
                "R stats (noncentral t, F)", "d: upper bound", upper, own[f"d_ub{name}"], **CLOSE
            )
            np.testing.assert_allclose(j * lower, own[f"g_lb{name}"], **CLOSE)
            np.testing.assert_allclose(j * upper, own[f"g_ub{name}"], **CLOSE)


def test_maps_of_a_contrast_tell_its_sizes(shared):
    folder = shared / "oracles" / "models" / "effects"
    rows, data = maps_of(folder)
    expected = pd.read_csv(folder / "result_regression.csv")
    centred = rows[["cov1", "cov2"]].to_numpy() - rows[["cov1", "cov2"]].mean().to_numpy()
    in_b = (rows["group2"] == "B").to_numpy(dtype=float)
    model = LinearModel(np.column_stack([np.ones(len(rows)), centred, in_b]), tuple("1abg"))
    n_voxels = data.shape[1]
    values = data.to_numpy()
    betas, variance, _, patterns = fit_by_pattern(model, lambda a, b: values[:, a:b], n_voxels)
    dof = {"dof": patterns.voxel_dof, "dof_numerator": np.ones(n_voxels)}
    for place, term in ((1, "cov1"), (3, "group2B")):
        own = expected[expected["term"] == term].set_index("voxel").loc[data.columns]
        for test in "tF":
            maps, _ = contrast_maps(
                np.eye(4)[[place]], test, betas, variance, model.covariance, model.dof, "two-sided"
            )
            names = ["d", "partial-eta2", "omega2", "partial-r"]
            sizes = sizes_of_maps(names, test, 1, maps | dof, 0.9)
            assert list(sizes) == (names if test == "t" else names[1:3])
            share = sizes["partial-eta2"]
            np.testing.assert_allclose(share.estimate, own["value"], rtol=1e-9)
            np.testing.assert_allclose(share.lower, own["eta2_lb90"], **CLOSE)
            np.testing.assert_allclose(share.upper, own["eta2_ub90"], **CLOSE)
            if test == "t":
                np.testing.assert_allclose(sizes["d"].estimate, maps["effect_size"], rtol=1e-12)
                np.testing.assert_allclose(sizes["partial-r"].lower, own["r_lb90"], **CLOSE)
                np.testing.assert_allclose(sizes["partial-r"].upper, own["r_ub90"], **CLOSE)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_intervals_hold_as_often_as_they_say(level):
    n, n_studies, true = 15, 4000, 0.6
    rng = np.random.default_rng(8)
    data = rng.standard_normal((n, n_studies)) + true
    spread = data.std(axis=0, ddof=1)
    maps = {"stat": data.mean(axis=0) / spread * np.sqrt(n), "variance": spread**2 / n}
    maps |= {"spread": spread, "dof": np.full(n_studies, n - 1.0)}
    maps |= {"dof_numerator": np.ones(n_studies)}
    sizes = sizes_of_maps(["d", "partial-r"], "t", 1, maps, level)
    # As the interval is of a noncentrality, which both sizes are functions of.
    ncp = true * np.sqrt(n)
    bounds = stats.binom.ppf([5e-5, 1 - 5e-5], n_studies, level)
    for name, own in (("d", true), ("partial-r", ncp / np.sqrt(ncp**2 + n - 1))):
        held = (sizes[name].lower <= own) & (own <= sizes[name].upper)
        assert bounds[0] <= held.sum() <= bounds[1], name


def test_partial_r_eta_and_r_squared_are_those_of_r(shared, agree):
    expected = pd.read_csv(shared / "oracles" / "models" / "effects" / "result_regression.csv")
    for (_, df1, df2), own in expected.groupby(["term", "df1", "df2"]):
        share = partial_eta_squared(own["F"], df1, df2)
        np.testing.assert_allclose(share, own["value"], rtol=1e-10)
        is_t = own["t"].notna().all()
        for name, level in LEVELS.items():
            lower, upper = share_interval(share, df1, df2, level)
            agree(
                "R stats (noncentral t, F)",
                "partial eta2 and R2: lower bound",
                lower,
                own[f"eta2_lb{name}"],
                **CLOSE,
            )
            agree(
                "R stats (noncentral t, F)",
                "partial eta2 and R2: upper bound",
                upper,
                own[f"eta2_ub{name}"],
                **CLOSE,
            )
            if is_t:
                low, high = partial_r_interval(own["t"], df2, level)
                agree(
                    "R stats (noncentral t, F)",
                    "partial r: lower bound",
                    low,
                    own[f"r_lb{name}"],
                    **CLOSE,
                )
                agree(
                    "R stats (noncentral t, F)",
                    "partial r: upper bound",
                    high,
                    own[f"r_ub{name}"],
                    **CLOSE,
                )
        if is_t:
            np.testing.assert_allclose(partial_r(own["t"], df2), own["partial_r"], rtol=1e-10)


def test_r_squared_has_the_interval_of_r_and_none_without_residuals(shared):
    expected = pd.read_csv(shared / "oracles" / "models" / "effects" / "result_regression.csv")
    own = expected[expected["term"] == "R2"]
    assert len(own) > 20
    for name, level in LEVELS.items():
        ends = r_squared_interval(own["value"], own["df1"], own["df2"], level)
        for end, found in zip(("lb", "ub"), ends, strict=True):
            np.testing.assert_allclose(found, own[f"eta2_{end}{name}"], **CLOSE)
    for told in ((1.0, 3, 20), (0.5, 0, 20), (0.5, 3, 0)):
        assert r_squared_interval(*told)[1] == 0


def test_omega_squared_has_the_interval_of_its_noncentrality():
    f, rank, dof, epsilon = np.array([0.7, 4.0, 30.0]), 3, 40, 0.6
    estimate = omega_squared(f, rank, dof)
    lower, upper = omega_interval(f, rank * epsilon, dof * epsilon, 0.9, epsilon)
    assert (lower <= estimate).all() and (estimate <= upper).all()
    n_maps = epsilon * (rank + dof + 1)
    for bound, tail in ((lower[1:], 0.95), (upper, 0.05)):
        ncp = bound * n_maps / (1 - bound)
        p = stats.ncf.cdf(f[-len(ncp) :], rank * epsilon, dof * epsilon, ncp)
        np.testing.assert_allclose(p, tail, rtol=1e-6)
    # Of the F itself the estimate is the same of the noncentrality (F - 1) rank.
    np.testing.assert_allclose(estimate[1:], [9 / (9 + 44), 87 / (87 + 44)], rtol=1e-12)


def test_shares_and_their_intervals_are_those_of_the_grid(shared, agree):
    grid = pd.read_csv(shared / "oracles" / "models" / "effects" / "grid_F.csv")
    shares = {"eta2": partial_eta_squared, "omega2": omega_squared, "epsilon2": epsilon_squared}
    n_seen = 0
    for (df1, df2, level), own in grid.groupby(["df1", "df2", "level"]):
        for name, size in shares.items():
            share = size(own["F"], df1, df2)
            np.testing.assert_allclose(share, own[name], rtol=1e-12, atol=1e-15)
            lower, upper = share_interval(share, df1, df2, level)
            agree(
                "R stats (noncentral t, F)",
                f"{name} of a grid: lower bound",
                lower,
                own[f"{name}_lb"],
                **CLOSE,
            )
            agree(
                "R stats (noncentral t, F)",
                f"{name} of a grid: upper bound",
                upper,
                own[f"{name}_ub"],
                **CLOSE,
            )
        n_seen += len(own)
    assert n_seen == len(grid) > 400


def test_paired_sizes_are_those_of_r(shared):
    folder = shared / "oracles" / "models" / "rmanova" / "paired"
    rows, data = maps_of(folder)
    first, second = (
        data[(rows["A"] == level).to_numpy()].to_numpy()[
            np.argsort(rows["subject"][rows["A"] == level], kind="stable")
        ]
        for level in ("a1", "a2")
    )
    expected = pd.read_csv(folder / "result.csv").set_index("voxel").loc[data.columns]
    t, _, dof = t_of(first - second)
    np.testing.assert_allclose(t, expected["t"], rtol=1e-10)
    assert (expected["df"] == dof).all()
    found = paired_sizes(first, second)
    for name in ("d_z", "d_av", "d_av_mean_sd", "d_rm"):
        np.testing.assert_allclose(getattr(found, name), expected[name], rtol=1e-10, err_msg=name)
    lower, upper = effect_interval(
        (first - second).mean(axis=0), np.square(expected["se"].to_numpy()), dof
    )
    np.testing.assert_allclose(lower, expected["ci_lb"], rtol=1e-9)
    np.testing.assert_allclose(upper, expected["ci_ub"], rtol=1e-9)


def test_paired_sizes_of_what_does_not_vary_are_none():
    first = np.array([[1.0, 1], [1, 2], [1, 4]])
    found = paired_sizes(first, np.array([[0.0, 0], [0, 1], [0, 3]]))
    assert np.isnan(found.d_z).all()
    assert np.isnan(found.d_av[0])
    assert found.d_av[1] == pytest.approx(1 / np.sqrt(7 / 3))


def test_equivalence_is_that_of_r(shared):
    folder = shared / "oracles" / "models" / "tost"
    rows, data = maps_of(folder)
    expected = pd.read_csv(folder / "result.csv")
    values, in_a = data.to_numpy(), (rows["group2"] == "A").to_numpy()
    a, b = values[in_a], values[~in_a]
    first, second = pairs_of(rows, data)
    of_one = values.mean(axis=0), values.var(axis=0, ddof=1) / len(values), len(values) - 1
    differences = first - second
    of_pairs = (
        differences.mean(axis=0),
        differences.var(axis=0, ddof=1) / len(first),
        len(first) - 1,
    )
    difference = a.mean(axis=0) - b.mean(axis=0)
    parts = a.var(axis=0, ddof=1) / len(a), b.var(axis=0, ddof=1) / len(b)
    welch = sum(parts)
    dof = welch**2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    ss = a.var(axis=0) * len(a) + b.var(axis=0) * len(b)
    pooled = ss / (len(values) - 2) * (1 / len(a) + 1 / len(b))
    found = {
        "one": of_one,
        "paired": of_pairs,
        "two_welch": (difference, welch, dof),
        "two_pooled": (difference, pooled, len(values) - 2),
    }
    assert set(expected["test"]) == set(found)
    for (test, _), own in expected.groupby(["test", "bound_unit"]):
        own = own.set_index("voxel").loc[data.columns]
        effect, variance, degrees = found[test]
        np.testing.assert_allclose(effect, own["estimate"], rtol=1e-9)
        np.testing.assert_allclose(np.broadcast_to(degrees, len(own)), own["df"], rtol=1e-9)
        tests = equivalence(effect, variance, degrees, own["low"], own["high"])
        for name in ("t_low", "t_high", "p_low", "p_high"):
            np.testing.assert_allclose(getattr(tests, name), own[name], rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(tests.p, own["p_tost"], rtol=1e-9)
        lower, upper = effect_interval(effect, variance, degrees, 0.9)
        np.testing.assert_allclose(lower, own["ci90_lb"], rtol=1e-9)
        np.testing.assert_allclose(upper, own["ci90_ub"], rtol=1e-9)
        # The interval lies between the bounds where both tests reject.
        inside = (lower > own["low"]) & (upper < own["high"])
        np.testing.assert_array_equal(tests.p < 0.05, inside)


def test_bounds_that_are_no_interval_are_refused():
    with pytest.raises(ValueError, match="lower bound of equivalence is not below"):
        equivalence([0.1], [1.0], 9, 0.5, -0.5)


def test_the_correction_of_hedges_is_the_ratio_of_gamma_functions():
    dof = np.array([2.0, 9, 9.5, 30])
    expected = special.gamma(dof / 2) / np.sqrt(dof / 2) / special.gamma((dof - 1) / 2)
    np.testing.assert_allclose(hedges_correction(dof), expected, rtol=1e-13)
    many = 1e7
    assert hedges_correction(many) == pytest.approx(1 - 3 / (4 * many - 1), rel=1e-12)


def test_intervals_of_maps_of_dof_are_those_of_each_number():
    t, dof = np.array([2.0, -1.0, 2.0, 5.0]), np.array([9, 12, 12, 9])
    found = np.array(d_interval(t, dof, 0.5))
    for i in range(len(t)):
        np.testing.assert_array_equal(found[:, i], np.ravel(d_interval(t[i : i + 1], dof[i], 0.5)))
    share = np.array([0.3, 0.3])
    lower, upper = share_interval(share, 2, np.array([20, 40]))
    assert lower[0] < lower[1] < share[1] < upper[1] < upper[0]


def test_intervals_hold_d_as_often_as_they_say():
    rng, n, n_studies, d = np.random.default_rng(5), 12, 20000, 0.7
    t, _, dof = t_of(rng.standard_normal((n, n_studies)) + d)
    lower, upper = d_interval(t, dof, np.sqrt(1 / n), 0.9)
    lowest, highest = stats.binom.ppf([0.0005, 0.9995], n_studies, 0.05)
    assert lowest <= (lower > d).sum() <= highest
    assert lowest <= (upper < d).sum() <= highest
    g = hedges_correction(dof) * t / np.sqrt(n)
    assert abs(g.mean() - d) < 4 * g.std() / np.sqrt(n_studies)


def test_generalised_eta_squared_takes_all_errors():
    found = generalised_eta_squared(np.array([2.0, 0.0]), [np.array([5.0, 1]), np.array([1.0, 1])])
    np.testing.assert_array_equal(found, [0.25, 0])
