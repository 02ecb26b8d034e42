"""Partitioned error against R (afex, car), and what it is whatever the data: F, epsilons and p."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from nipype_group.design.error_terms import all_cells, error_term, stratum
from nipype_group.design.matrix import Design
from nipype_group.stats.effect_sizes import generalised_eta_squared
from nipype_group.stats.linear.error_terms import (
    corrected_epsilon,
    estimate,
    huynh_feldt,
    maps_of,
)
from nipype_group.stats.linear.least_squares import LinearModel, f_contrast
from nipype_group.stats.linear.multivariate import multivariate_tests
from nipype_group.stats.linear.repeated_sizes import (
    average_d,
    compares_two_cells,
    generalised_share,
)

STUDIES = {
    "w33": (("A", "B"), ()),
    "w4": (("A",), ()),
    "mixed23": (("A",), ("group",)),
    "mixed33": (("A",), ("group",)),
}


def sum_coded(levels, column):
    """Return the columns of a factor coded to sum to zero."""
    values = np.array([levels.index(v) for v in column])
    coded = np.vstack([np.eye(len(levels) - 1), -np.ones(len(levels) - 1)])
    return coded[values]


def reading(data):
    """Return what reads some voxels of data in memory."""
    return lambda start, stop: data[:, start:stop]


def factorial(rows, within, between):
    """Return the sum-coded design of a table of maps, and the columns of every effect."""
    blocks, columns, effects = [np.ones((len(rows), 1))], ["intercept"], {}
    factors = {f: sum_coded(sorted(rows[f].unique()), rows[f]) for f in (*between, *within)}
    for chosen in product((False, True), repeat=len(factors)):
        names = [f for f, on in zip(factors, chosen, strict=True) if on]
        if not names:
            continue
        block = np.ones((len(rows), 1))
        for name in names:
            block = (block[:, :, None] * factors[name][:, None, :]).reshape(len(rows), -1)
        effects[":".join(names)] = range(len(columns), len(columns) + block.shape[1])
        columns += [f"{':'.join(names)}{i}" for i in range(block.shape[1])]
        blocks.append(block)
    keys = rows[["subject", *within]].rename(columns={"subject": "participant_id"})
    return Design(keys, np.hstack(blocks), tuple(columns), within=within), effects


def study(folder, within, between):
    """Return data (n, v), design and the columns of every effect, of a study in long form."""
    rows = pd.read_csv(folder / "design.csv", dtype=str)
    data = pd.read_csv(folder / "data.csv", dtype={"row": str})
    wide = data.pivot_table(index="row", columns="voxel", values="y").loc[rows["row"]]
    design, effects = factorial(rows, within, between)
    return wide.to_numpy(), list(wide.columns), design, effects


@pytest.mark.parametrize("name", STUDIES)
def test_partitioned_error_is_that_of_afex(shared, name, agree):
    folder = shared / "oracles" / "models" / "rmanova" / name
    data, voxels, design, effects = study(folder, *STUDIES[name])
    expected = pd.read_csv(folder / "result.csv").set_index(["effect", "voxel"])
    seen = set()
    for effect, columns in effects.items():
        weights = np.eye(len(design.columns))[list(columns)]
        term = error_term(design, weights, "F", effect)
        found = estimate(term, weights, "F", reading(data), data.shape[1])
        names = {effect, ":".join(reversed(effect.split(":")))} & set(
            expected.index.get_level_values(0)
        )
        own = expected.loc[names.pop()].loc[voxels]
        seen.add(effect)
        between = set(effect.split(":")) <= set(STUDIES[name][1])
        assert stratum(design, term) == ("between" if between else "within")
        assert found.rank == own["ndf"].iloc[0]
        assert (found.dof == own["ddf"]).all()
        agree("R afex", "own error of an effect: F", found.stat, own["F"], rtol=1e-10)
        np.testing.assert_allclose(found.residual_variance * found.dof, own["SSe"], rtol=1e-10)
        corrected = {"none": "p"}
        if not between and term.n_directions > 1:
            agree(
                "R afex",
                "own error of an effect: epsilon (Greenhouse, Geisser)",
                found.epsilon,
                own["eps_gg"],
                rtol=1e-10,
            )
            hf = huynh_feldt(found.epsilon, term.n_directions, term.dof_between)
            np.testing.assert_allclose(hf, own["eps_hf"], rtol=1e-10)
            corrected |= {"greenhouse-geisser": "p_gg", "huynh-feldt": "p_hf"}
        for sphericity, column in corrected.items():
            maps = maps_of(found, term, weights, "F", "two-sided", sphericity)
            agree("R afex", "own error of an effect: p", maps["p"], own[column], rtol=1e-9)
            np.testing.assert_allclose(maps["effect_size"], own["pes"], rtol=1e-10)
    assert len(seen) == expected.index.get_level_values(0).nunique()


def test_average_d_is_that_of_r(shared):
    folder = shared / "oracles" / "models" / "rmanova" / "paired"
    data, voxels, design, effects = study(folder, ("A",), ())
    weights = 2 * np.eye(len(design.columns))[list(effects["A"])]
    expected = pd.read_csv(folder / "result.csv").set_index("voxel").loc[voxels]
    term = error_term(design, weights, "t", "A")
    assert compares_two_cells(term)
    found = estimate(term, weights, "t", reading(data), data.shape[1])
    maps = maps_of(found, term, weights, "t", "two-sided", "none")
    np.testing.assert_allclose(maps["effect_size"], expected["d_z"], rtol=1e-10)
    np.testing.assert_allclose(maps["effect"] / maps["spread"], expected["d_z"], rtol=1e-10)
    own = average_d(term, maps["effect_size"], maps["error_variance"], reading(data))
    np.testing.assert_allclose(own, expected["d_av"], rtol=1e-10)


@pytest.mark.parametrize("name", STUDIES)
def test_generalised_eta_squared_is_that_of_afex(shared, name):
    folder = shared / "oracles" / "models" / "rmanova" / name
    within, between = STUDIES[name]
    data, voxels, design, effects = study(folder, within, between)
    expected = pd.read_csv(folder / "result.csv").set_index(["effect", "voxel"])
    ss, error_ss, shares = {}, {}, {}
    # The mean has the error of what is between participants.
    for effect, columns in {"": [0], **effects}.items():
        weights = np.eye(len(design.columns))[list(columns)]
        term = error_term(design, weights, "F", effect)
        found = estimate(term, weights, "F", reading(data), data.shape[1])
        ss[effect] = found.stat * found.residual_variance * found.rank
        cells = all_cells(design, term)
        shares[effect] = generalised_share(term, cells, ss[effect], reading(data))
        stratum_of = frozenset(effect.split(":")) & set(within)
        error_ss[stratum_of] = found.residual_variance * found.dof
    assert len(error_ss) == 2 ** len(within)
    for effect in effects:
        key = effect if effect in expected.index else ":".join(reversed(effect.split(":")))
        own = expected.loc[key].loc[voxels]
        np.testing.assert_allclose(ss[effect], own["SS"], rtol=1e-10)
        found = generalised_eta_squared(ss[effect], list(error_ss.values()))
        np.testing.assert_allclose(found, own["ges"], rtol=1e-10)
        np.testing.assert_allclose(shares[effect], own["ges"], rtol=1e-10)


@pytest.mark.parametrize("name", STUDIES)
def test_multivariate_tests_are_those_of_car(shared, name, agree):
    folder = shared / "oracles" / "models" / "rmanova" / name
    data, voxels, design, effects = study(folder, *STUDIES[name])
    expected = pd.read_csv(folder / "result_multivariate.csv")
    names = {"Pillai": "pillai", "Wilks": "wilks", "Hotelling": "hotelling-lawley", "Roy": "roy"}
    n_seen = 0
    for (effect, test), rows in expected.groupby(["effect", "test"]):
        kind = next(v for k, v in names.items() if test.startswith(k))
        key = effect if effect in effects else ":".join(reversed(effect.split(":")))
        weights = np.eye(len(design.columns))[list(effects[key])]
        term = error_term(design, weights, "F", effect)
        own = rows.set_index("voxel")
        some = data[:, [voxels.index(v) for v in own.index]]
        found = multivariate_tests(term, weights, reading(some), some.shape[1], (kind,))[kind]
        agree("R car", "multivariate test: criterion", found.criterion, own["stat"], rtol=1e-10)
        agree("R car", "multivariate test: F", found.f, own["F"], rtol=1e-10)
        assert (own["ndf"] == found.dof_numerator).all()
        np.testing.assert_allclose(found.dof, own["ddf"], rtol=1e-12)
        np.testing.assert_allclose(found.maps()["p"], own["p"], rtol=1e-9)
        n_seen += len(own)
    assert n_seen == len(expected)


WITHIN = ("A", "B")
N_VOXELS = 4


@st.composite
def studies(draw, levels=None, groups=None):
    """Draw a table of maps and their data: levels of A and B, groups of participants by turns."""
    n_a, n_b = levels or draw(st.sampled_from([(2, 1), (2, 2), (3, 1), (3, 2), (4, 1), (3, 3)]))
    n_groups = groups or draw(st.integers(1, 2))
    n = draw(st.integers(2 * n_groups + 1, 7))
    cells = product(range(n), range(n_a), range(n_b))
    rows = [(f"s{i}", f"a{a}", f"b{b}", f"g{i % n_groups}") for i, a, b in cells]
    table = pd.DataFrame(rows, columns=["subject", *WITHIN, "group"])
    data = draw(hnp.arrays(np.int64, (len(table), N_VOXELS), elements=st.integers(-500, 500)))
    return table, data.astype(float)


def factors_of(table):
    """Return the factors within and between participants that have several levels."""
    several = [f for f in (*WITHIN, "group") if len(set(table[f])) > 1]
    within = tuple(f for f in several if f in WITHIN)
    return within, tuple(f for f in several if f not in WITHIN)


def effects_of(table, data, turn=None):
    """Return every effect's F, its dof, epsilon and p, one below the other.

    An orthogonal matrix, where one is given, turns the directions of all effects.
    """
    design, effects = factorial(table, *factors_of(table))
    found = {}
    for effect, columns in effects.items():
        weights = np.eye(len(design.columns))[list(columns)]
        term = error_term(design, weights, "F", effect)
        if turn is not None:
            k = term.n_directions
            term = replace(term, directions=np.linalg.qr(turn[:k, :k])[0] @ term.directions)
        own = estimate(term, weights, "F", reading(data), data.shape[1])
        maps = maps_of(own, term, weights, "F", "two-sided", "greenhouse-geisser")
        found[effect] = np.array([own.stat, own.dof, own.epsilon, maps["p"]])
    return found


def assert_alike(found, expected):
    assert found.keys() == expected.keys()
    for effect, values in expected.items():
        np.testing.assert_allclose(found[effect], values, rtol=1e-8, atol=1e-8, err_msg=effect)


@given(studies(), st.randoms(use_true_random=False))
def test_the_order_of_participants_says_nothing(drawn, random):
    table, data = drawn
    names = list(table["subject"].unique())
    random.shuffle(names)
    order = np.concatenate([np.flatnonzero(table["subject"] == name) for name in names])
    moved = effects_of(table.iloc[order].reset_index(drop=True), data[order])
    assert_alike(moved, effects_of(table, data))


@given(studies(), st.randoms(use_true_random=False))
def test_names_of_levels_say_nothing(drawn, random):
    table, data = drawn
    renamed = table.copy()
    for factor in (*WITHIN, "group"):
        old, new = list(table[factor].unique()), list(table[factor].unique())
        random.shuffle(new)
        renamed[factor] = table[factor].map(dict(zip(old, new, strict=True)))
    assert_alike(effects_of(renamed, data), effects_of(table, data))


@given(studies(), st.sampled_from([-3.0, 1e-6, 1e5]))
def test_the_unit_of_the_maps_says_nothing(drawn, unit):
    table, data = drawn
    assert_alike(effects_of(table, unit * data), effects_of(table, data))


@given(studies(), st.integers(0, 1000))
def test_any_orthonormal_directions_give_the_same(drawn, seed):
    table, data = drawn
    turn = np.random.default_rng(seed).standard_normal((8, 8))
    assert_alike(effects_of(table, data, turn), effects_of(table, data))


@given(studies())
def test_what_participants_add_to_all_their_maps_is_no_error_within(drawn):
    table, data = drawn
    people = table["subject"].str[1:].astype(int).to_numpy()
    added = data + 100.0 * np.square(people)[:, None]
    before, after = effects_of(table, data), effects_of(table, added)
    for effect in before:
        if effect != "group":
            np.testing.assert_allclose(after[effect], before[effect], rtol=1e-8, atol=1e-8)


@given(studies())
def test_a_participant_who_lacks_a_voxel_is_not_in_its_analysis(drawn):
    table, data = drawn
    gap = data.copy()
    gap[0, 1] = np.nan
    found, whole = effects_of(table, gap), effects_of(table, data)
    stays = (table["subject"] != table["subject"][0]).to_numpy()
    without = effects_of(table[stays].reset_index(drop=True), data[stays])
    present = np.arange(N_VOXELS) != 1
    for effect, values in found.items():
        np.testing.assert_allclose(values[:, 1], without[effect][:, 1], rtol=1e-8, atol=1e-8)
        np.testing.assert_array_equal(values[:, present], whole[effect][:, present])


@given(studies())
def test_epsilons_are_in_their_bounds(drawn):
    table, data = drawn
    design, effects = factorial(table, *factors_of(table))
    for effect, columns in effects.items():
        weights = np.eye(len(design.columns))[list(columns)]
        term = error_term(design, weights, "F", effect)
        found, k = estimate(term, weights, "F", reading(data), N_VOXELS), term.n_directions
        box = corrected_epsilon(found.epsilon, k, term.dof_between, "greenhouse-geisser")
        looser = corrected_epsilon(found.epsilon, k, term.dof_between, "huynh-feldt")
        assert (box >= 1 / k - 1e-12).all()
        assert (box <= 1 + 1e-12).all()
        assert (looser >= box - 1e-12).all()
        assert (looser <= 1).all()
        uncorrected = corrected_epsilon(found.epsilon, k, term.dof_between, "none")
        np.testing.assert_array_equal(uncorrected, 1)
        if not {"A", "B"} & set(effect.split(":")):
            np.testing.assert_array_equal(found.epsilon, 1)


@given(studies(levels=(2, 1), groups=1))
def test_two_levels_are_a_paired_t_test(drawn):
    table, data = drawn
    design, _ = factorial(table, ("A",), ())
    weights = np.array([[0.0, -2]])
    term = error_term(design, weights, "t", "A")
    t = estimate(term, weights, "t", reading(data), N_VOXELS)
    f = estimate(term, weights, "F", reading(data), N_VOXELS)
    np.testing.assert_allclose(np.square(t.stat), f.stat, rtol=1e-9, atol=1e-12)
    differences = data[table["A"] == "a1"] - data[table["A"] == "a0"]
    np.testing.assert_allclose(t.effect, differences.mean(axis=0), rtol=1e-9, atol=1e-9)
    alive = np.ptp(differences, axis=0) > 0
    np.testing.assert_array_equal(t.dof > 0, alive)
    expected = stats.ttest_rel(
        data[table["A"] == "a1"][:, alive], data[table["A"] == "a0"][:, alive]
    )
    np.testing.assert_allclose(t.stat[alive], expected.statistic, rtol=1e-9, atol=1e-9)
    maps = maps_of(t, term, weights, "t", "two-sided", "greenhouse-geisser")
    np.testing.assert_allclose(maps["p"][alive], expected.pvalue, rtol=1e-8, atol=1e-9)
    size = differences[:, alive].mean(axis=0) / differences[:, alive].std(axis=0, ddof=1)
    np.testing.assert_allclose(maps["effect_size"][alive], size, rtol=1e-9, atol=1e-9)


@given(studies(levels=(1, 1), groups=1))
def test_one_cell_is_a_one_sample_t_test(drawn):
    table, data = drawn
    design, _ = factorial(table, (), ())
    weights = np.ones((1, 1))
    term = error_term(design, weights, "t", "mean")
    found = estimate(term, weights, "t", reading(data), N_VOXELS)
    alive = np.ptp(data, axis=0) > 0
    np.testing.assert_array_equal(found.dof > 0, alive)
    expected = stats.ttest_1samp(data[:, alive], 0)
    np.testing.assert_allclose(found.stat[alive], expected.statistic, rtol=1e-9, atol=1e-9)
    for side, alternative in (("positive", "greater"), ("negative", "less")):
        maps = maps_of(found, term, weights, "t", side, "none")
        p = stats.ttest_1samp(data[:, alive], 0, alternative=alternative).pvalue
        np.testing.assert_allclose(maps["p"][alive], p, rtol=1e-8, atol=1e-9)


@given(studies(levels=(2, 2), groups=2))
def test_one_direction_is_least_squares_of_difference_maps(drawn):
    table, data = drawn
    found = effects_of(table, data)
    signs = {f: np.where(table[f] == table[f].min(), 1.0, -1.0) for f in WITHIN}
    weighed = {"A": signs["A"], "B": signs["B"], "A:B": signs["A"] * signs["B"], "": 1.0}
    of_group = np.where(table["group"][::4] == "g0", 1.0, -1.0)
    between = LinearModel(np.column_stack([np.ones(len(of_group)), of_group]), ("mean", "group"))
    for within, weight in weighed.items():
        differences = (np.reshape(weight, (-1, 1)) * data).reshape(-1, 4, N_VOXELS).sum(axis=1)
        betas, residual_ss = between.fit(differences)
        own = betas, residual_ss / between.dof, between.covariance
        for row, effect in enumerate((within, f"group:{within}".rstrip(":"))):
            if effect:
                _, _, f, _ = f_contrast(np.eye(2)[[row]], *own)
                np.testing.assert_allclose(found[effect][0], f, rtol=1e-8, atol=1e-8)
