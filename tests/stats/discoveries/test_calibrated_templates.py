"""Calibrated templates against enumeration, exact permutation tests, and simulated nulls."""

import json
from dataclasses import replace
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nipype_group.stats.discoveries.all_resolutions import ari_clusters, ari_regions
from nipype_group.stats.discoveries.calibrated_templates import (
    Template,
    calibrate,
    false_discovery_bound,
    learned_pivots,
    learned_template,
    simes_pivots,
    simes_template,
    training_shuffles,
    true_discovery_proportions,
)
from nipype_group.stats.discoveries.closed_testing import hommel_value, true_discoveries
from nipype_group.stats.distributions import log_sf_t, t_to_z, z_to_log_p

# p and thresholds are whole numbers over GRID, so ties are real ones.
GRID = 20
WHOLE_P = st.lists(st.integers(0, GRID), min_size=1, max_size=7)


def log(p):
    with np.errstate(divide="ignore"):
        return np.log(p)


def template_of(p, n_voxels, **settings):
    about = {
        "kind": "simes",
        "tail": "positive",
        "alpha": 0.05,
        "n_calibration": 20,
        "n_training": 0,
        "level": 0.05,
    }
    return Template(log(np.array(p)), n_voxels=n_voxels, **about | settings)


def discoveries(log_p, template):
    return np.size(log_p) - false_discovery_bound(log_p, template)


def t_of_flips(x, flips):
    """Return t of the mean under sign flips, shape (flips, v)."""
    n = len(x)
    mean = flips @ x / n
    rest = np.square(x).sum(axis=0) - n * np.square(mean)
    return mean * np.sqrt(n * (n - 1) / rest)


def drawn_flips(rng, n_shuffles, n):
    flips = rng.choice([-1.0, 1.0], (n_shuffles + 1, n))
    flips[0] = 1
    return flips


def smallest(t, dof, n_ranks, tail="positive"):
    """Return the n_ranks smallest log p of each shuffle and all of shuffle 0."""
    log_p = stats.t.logsf(t if tail == "positive" else np.abs(t), dof)
    log_p = log_p if tail == "positive" else log_p + np.log(2)
    return np.sort(log_p, axis=1)[:, :n_ranks], log_p[0]


# --- the rule that chooses the curve


@pytest.mark.parametrize("alpha", ["0.05", "0.07", "0.1", "0.29", "1/3", "0.999"])
@pytest.mark.parametrize("n", [1, 7, 19, 20, 30, 100, 201])
def test_as_many_pivots_are_smaller_as_alpha_allows(alpha, n):
    pivots = np.random.default_rng(n).permutation(n) + 0.5
    allowed = int(Fraction(alpha) * n)
    chosen = calibrate(pivots, float(Fraction(alpha)))
    assert (pivots < chosen).sum() == allowed
    # With any larger parameter one more shuffle breaks its curve.
    assert (pivots <= chosen).sum() == allowed + 1 > Fraction(alpha) * n


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_ties_break_fewer_curves(pivots, alpha):
    pivots = np.array(pivots)
    chosen = calibrate(pivots, alpha)
    assert (pivots < chosen).sum() <= alpha * pivots.size * (1 + 1e-9)
    assert (pivots <= chosen).sum() > alpha * pivots.size * (1 - 1e-9)


@pytest.mark.parametrize(("alpha", "n_broken"), [(0.2, 6), (0.22, 7), (0.03, 0)])
def test_all_flips_of_five_maps_break_the_simes_curve_as_often_as_alpha_allows(alpha, n_broken):
    x = np.random.default_rng(3).standard_normal((5, 6)) + np.linspace(0, 1, 6)
    flips = np.array(list(product([1.0, -1.0], repeat=5)))
    for tail in ("positive", "two-sided"):
        broken = 0
        # Under the null each of these is as likely to be the data.
        for signs in flips:
            ranked, observed = smallest(t_of_flips(x * signs[:, None], flips), 4, 6, tail)
            template = simes_template(ranked, 6, alpha, tail)
            broken += discoveries(observed, template) > 0
        # Two-sided, a flip and its mirror tie.
        assert broken == (n_broken if tail == "positive" else n_broken // 2 * 2)


def test_all_flips_and_trainings_break_the_learned_curve_no_more_than_alpha_allows():
    x = np.random.default_rng(8).standard_normal((3, 5))
    flips = np.array(list(product([1.0, -1.0], repeat=3)))
    log_p, _ = smallest(t_of_flips(x, flips), 2, 4)
    broken = []
    for own in range(8):
        others = [k for k in range(8) if k != own]
        for trains in combinations(others, 3):
            rest = [k for k in others if k not in trains]
            pivots = learned_pivots(log_p[[own, *rest]], log_p[list(trains)])
            broken.append(pivots[0] < calibrate(pivots, 0.4))
    assert len(broken) == 280
    assert 0 < np.mean(broken) <= 2 / 5


def test_one_rank_is_the_test_of_the_maximum():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((14, 80)) + 1.2 * (np.arange(80) < 20)
    t = t_of_flips(x, drawn_flips(rng, 199, 14))
    ranked, observed = smallest(t, 13, 1)
    corrected = (t.max(axis=1)[:, None] >= t[0]).mean(axis=0)
    for alpha in (0.004, 0.005, 0.05, 0.1, 0.3):
        template = simes_template(ranked, 80, alpha, "positive")
        found = [discoveries(p, template) for p in observed]
        assert found == (corrected <= alpha).astype(int).tolist()
    assert 0 < sum(found) < 80


# --- the shapes


def test_pivots_of_simes_are_the_largest_unbroken_level():
    rng = np.random.default_rng(0)
    p = np.sort(rng.random((30, 8)), axis=1)
    levels = np.exp(simes_pivots(np.log(p), 12))
    ranks = np.arange(1, 9)

    def breaks(level):
        thresholds = level * ranks / 12
        return [(row[:, None] < t).sum(axis=0).tolist() for row, t in zip(p, thresholds)]

    below, above = (breaks(levels[:, None] * (1 + e)) for e in (-1e-9, 1e-9))
    assert all((np.array(counts) < ranks).all() for counts in below)
    assert all((np.array(counts) >= ranks).any() for counts in above)


def test_pivots_of_learned_curves_are_the_highest_unbroken_curve():
    rng = np.random.default_rng(1)
    p = np.sort(rng.integers(1, 15, (40, 6)), axis=1) / 15
    training, rest = p[:15], p[15:]
    curves = np.vstack([np.zeros(6), np.sort(training, axis=0)])
    expected = [
        max(
            j
            for j, curve in enumerate(curves)
            if all((row < t).sum() < k for k, t in enumerate(curve, start=1))
        )
        for row in rest
    ]
    assert learned_pivots(log(rest), log(training)).tolist() == expected
    assert len(set(expected)) > 3


def test_the_learned_template_is_the_calibrated_quantile_of_the_training_shuffles():
    rng = np.random.default_rng(2)
    log_p = np.log(np.sort(rng.random((600, 9)), axis=1))
    template = learned_template(log_p, 30, 0.2, "positive", seed=4, n_training=200)
    trains = training_shuffles(599, 4, 200)
    rest = np.setdiff1d(np.arange(600), trains)
    assert (template.n_training, template.n_calibration) == (200, 400)
    curve = round(template.level * 200)
    assert 0 < curve < 200
    np.testing.assert_allclose(
        template.log_thresholds, np.sort(log_p[trains], axis=0)[curve - 1], rtol=1e-6
    )
    # 80 of 400 may break it, and more would break the next curve.
    for step, fits in ((0, True), (1, False)):
        chosen = np.sort(log_p[trains], axis=0)[curve - 1 + step]
        assert ((log_p[rest] < chosen).any(axis=1).sum() <= 80) is np.bool_(fits)


def test_training_depends_on_the_seed_alone():
    drawn = training_shuffles(5000, seed=7)
    assert (drawn.size, np.unique(drawn).size, drawn.min() > 0) == (1000, 1000, True)
    np.testing.assert_array_equal(drawn, training_shuffles(5000, seed=7, n_training=1000))
    assert set(training_shuffles(5000, 7, 300)) < set(drawn)
    assert training_shuffles(999, seed=7).size == 499
    assert training_shuffles(9, seed=1, n_training=8).size == 8
    # A pinned draw: other numbers would change the results of old studies.
    assert training_shuffles(12, seed=2**64 - 1).tolist() == [1, 4, 5, 7, 9, 10]
    counts = np.bincount(np.concatenate([training_shuffles(20, seed) for seed in range(600)]))
    assert counts[0] == 0
    assert (np.abs(counts[1:] - 300) < stats.norm.isf(1e-6) * np.sqrt(150)).all()


def test_learned_discoveries_do_not_depend_on_the_scale_of_p():
    rng = np.random.default_rng(6)
    x = rng.standard_normal((15, 200)) + rng.standard_normal((15, 1)) + (np.arange(200) < 60)
    ranked, observed = smallest(t_of_flips(x, drawn_flips(rng, 999, 15)), 14, 50)
    one, other = (
        learned_template(scale(ranked), 200, 0.1, "positive", seed=0)
        for scale in (np.asarray, lambda log_p: -((-log_p) ** 0.3))
    )
    assert one.level == other.level > 0
    for size in (1, 5, 60, 200):
        members = rng.choice(200, size, replace=False)
        found = discoveries(observed[members], one)
        assert found == discoveries(-((-observed[members]) ** 0.3), other)
    assert found > 10


# --- the bound


def consistent_bound(p, thresholds, members):
    """Return how many of the members may be null: the largest over all sets that may be."""
    largest = 0
    for null in product([False, True], repeat=len(p)):
        null = np.array(null)
        if all((p[null] < t).sum() < k for k, t in enumerate(thresholds, start=1)):
            largest = max(largest, (null & members).sum())
    return largest


@settings(max_examples=60, deadline=None)
@given(WHOLE_P, st.data())
def test_the_bound_is_the_largest_number_of_nulls_that_the_thresholds_allow(p, data):
    p = np.array(p)
    n_ranks = data.draw(st.integers(1, len(p)))
    ranks = st.lists(st.integers(0, GRID), min_size=n_ranks, max_size=n_ranks)
    thresholds = np.sort(data.draw(ranks))
    template = template_of(thresholds / GRID, len(p))
    for chosen in data.draw(st.lists(st.integers(0, 2 ** len(p) - 1), min_size=1, max_size=4)):
        members = (chosen >> np.arange(len(p))) & 1 == 1
        bound = false_discovery_bound(log(p[members] / GRID), template)
        assert bound == consistent_bound(p, thresholds, members)
        by_rank = [(p[members] >= t).sum() + k - 1 for k, t in enumerate(thresholds, start=1)]
        assert bound == min([members.sum(), *by_rank])


@given(WHOLE_P, WHOLE_P, st.data())
def test_bounds_grow_with_the_set_and_disjoint_ones_add_up(p, more, data):
    n = len(p) + len(more)
    thresholds = data.draw(st.lists(st.integers(0, GRID), min_size=1, max_size=n))
    template = template_of(np.sort(thresholds) / GRID, n)
    a, b = log(np.array(p) / GRID), log(np.array(more) / GRID)
    found_a, found_b, found = (discoveries(s, template) for s in (a, b, np.concatenate([a, b])))
    assert max(found_a, found_b, found_a + found_b) <= found
    shuffled = data.draw(st.permutations(list(a)))
    assert discoveries(shuffled, template) == found_a
    lower = replace(template, log_thresholds=template.log_thresholds[:1])
    assert discoveries(a, lower) <= found_a


@given(st.lists(st.tuples(st.integers(0, GRID), st.integers(-2, 3)), min_size=1), st.data())
def test_all_labels_at_once_equal_one_at_a_time(voxels, data):
    p, labels = np.array(voxels).T
    thresholds = data.draw(st.lists(st.integers(0, GRID), min_size=1, max_size=len(p)))
    template = template_of(np.sort(thresholds) / GRID, len(p))
    names, found, tdp = true_discovery_proportions(log(p / GRID), labels, template)
    assert names.tolist() == sorted(set(labels.tolist()) - {0})
    alone = [discoveries(log(p[labels == name] / GRID), template) for name in names]
    assert found.tolist() == alone
    sizes = np.array([(labels == name).sum() for name in names])
    np.testing.assert_array_equal(tdp, found / sizes if names.size else [])


def test_more_alpha_and_fewer_ranks_calibrate_higher_and_order_does_not_matter():
    rng = np.random.default_rng(9)
    log_p = np.log(np.sort(rng.random((300, 40)), axis=1))
    low, high = (simes_template(log_p, 50, alpha, "positive") for alpha in (0.05, 0.2))
    assert low.level < high.level
    assert (low.log_thresholds < high.log_thresholds).all()
    levels = [simes_template(log_p[:, :k], 50, 0.05, "positive").level for k in (40, 10, 1)]
    assert levels == sorted(levels)
    assert levels[0] < levels[-1]
    other = simes_template(rng.permutation(log_p), 50, 0.05, "positive")
    assert other.as_dict() == low.as_dict()
    curves = [learned_template(log_p, 50, alpha, "positive", seed=1) for alpha in (0.05, 0.5)]
    assert curves[0].level < curves[1].level
    assert (curves[0].log_thresholds < curves[1].log_thresholds).all()


@pytest.mark.parametrize("tail", ["positive", "two-sided"])
def test_the_data_never_pass_their_own_curve_by_rounding_of_maps(tail):
    rng = np.random.default_rng(12)
    for scale in (1, 4, 12):
        for _ in range(30):
            t = np.abs(scale * rng.standard_normal(50))
            heights = -np.sort(-t).astype(np.float32)[None]
            log_p = log_sf_t(heights.astype(float), 15) + np.log(2) * (tail == "two-sided")
            template = simes_template(np.minimum(log_p, 0), 50, 0.05, tail)
            z = t_to_z(t, 15).astype(np.float32)
            assert discoveries(z_to_log_p(z.astype(float), tail), template) == 0
            # One that rounding cannot explain does pass.
            assert discoveries(z_to_log_p(z * 1.001, tail), template) > 0


def test_p_in_disorder_by_rounding_are_taken():
    rng = np.random.default_rng(13)
    log_p = np.sort(np.log(rng.random((400, 4))), axis=1)
    log_p[:, 2] = log_p[:, 1] * (1 + 1e-14)
    assert (log_p[:, 2] < log_p[:, 1]).all()
    template = learned_template(log_p, 9, 0.2, "positive", seed=0)
    assert template.log_thresholds[1] == template.log_thresholds[2] > -np.inf
    log_p[:, 2] = log_p[:, 1] * (1 + 1e-5)
    with pytest.raises(ValueError, match="ascend with the rank"):
        learned_template(log_p, 9, 0.2, "positive", seed=0)


# --- regions of maps


@pytest.mark.parametrize("tail", ["positive", "negative", "two-sided"])
def test_regions_and_clusters_of_a_map_are_bounded_by_the_template(tail):
    rng = np.random.default_rng(4)
    z = rng.standard_normal((6, 6, 6))
    z[:3] += 4
    z[3:, 3:] -= 4
    mask = rng.random(z.shape) < 0.9
    ranks = np.arange(1, 101)
    template = template_of(0.1 * ranks / mask.sum(), int(mask.sum()), tail=tail, alpha=0.1)
    how = {"mask": mask, "tail": tail, "alpha": 0.1, "template": template}
    labels = rng.integers(0, 4, z.shape)
    log_p = z_to_log_p(z, tail)
    rows = ari_regions(z, labels, **how)
    names, found, tdp = true_discovery_proportions(log_p[mask], labels[mask], template)
    assert [(r.name, r.n_discoveries, r.tdp) for r in rows] == list(
        zip(names.tolist(), found.tolist(), tdp.tolist(), strict=True)
    )
    assert min(found) > 0
    clusters = ari_clusters(z, 3.0, **how)
    assert clusters.hommel is None
    assert clusters.clusters[0]
    for cluster in clusters.clusters[0]:
        inside = clusters.labels[0] == cluster.name
        assert cluster.n_discoveries == discoveries(log_p[inside], template)
        assert (clusters.tdp_map[inside] == cluster.tdp).all()
    (nowhere,) = ari_regions(z, {"none": ~mask}, **how)
    assert (nowhere.n_voxels, nowhere.n_discoveries) == (0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_voxels": 9}, "voxels 9, the map has 8"),
        ({"tail": "negative"}, "tail negative, the map has positive"),
        ({"alpha": 0.1}, "alpha 0.1, the map has 0.05"),
    ],
)
def test_a_template_of_another_family_is_refused(change, message):
    template = template_of([0.01, 0.02], **{"n_voxels": 8} | change)
    z = np.zeros((2, 2, 2))
    with pytest.raises(ValueError, match=message):
        ari_regions(z, z > 1, tail="positive", template=template)
    with pytest.raises(ValueError, match=message):
        ari_clusters(z, 2.0, tail="positive", template=template)


def test_missing_values_are_refused_with_a_template_too():
    template = template_of([0.01], 8, tail="two-sided")
    with pytest.raises(ValueError, match="8 of 8 p values are NaN"):
        ari_regions(np.full((2, 2, 2), np.nan), np.ones((2, 2, 2), bool), template=template)


# --- control and power


def correlated(rng, n, m, kind):
    noise = rng.standard_normal((n, m))
    if kind == "common":
        return 0.5 * noise + np.sqrt(0.75) * rng.standard_normal((n, 1))
    # Neighbours with correlation of both signs, where Simes' inequality is not known to hold.
    return noise - 0.8 * np.roll(noise, 1, axis=1) if kind == "opposed" else noise


@pytest.mark.parametrize("dependence", ["none", "common", "opposed"])
@pytest.mark.parametrize("signal", [0, 1.0])
def test_bounds_fail_at_most_as_often_as_alpha(dependence, signal):
    n_studies, alpha, n, m, tail = 200, 0.1, 12, 60, "two-sided"
    rng = np.random.default_rng(21)
    active = np.arange(m) < (20 if signal else 0)
    failed = {"simes": 0, "learned": 0}
    for study in range(n_studies):
        x = correlated(rng, n, m, dependence) + signal * active
        ranked, observed = smallest(t_of_flips(x, drawn_flips(rng, 199, n)), n - 1, 40, tail)
        for template in (
            simes_template(ranked, m, alpha, tail),
            learned_template(ranked, m, alpha, tail, seed=study),
        ):
            # Some set's bound fails where that of all inactive voxels does.
            failed[template.kind] += discoveries(observed[~active], template) > 0
    # Chance of a false alarm of this test: 1e-4.
    assert max(failed.values()) <= stats.binom.isf(1e-4, n_studies, alpha)
    if not signal:
        # Two-sided t of 199 flips hardly tie, so the simes template spends all of alpha.
        assert failed["simes"] >= stats.binom.ppf(1e-4, n_studies, alpha)
        assert failed["learned"] > 0


def test_dependence_makes_calibrated_bounds_larger_than_those_of_closed_testing():
    n, m, alpha = 16, 400, 0.05
    rng = np.random.default_rng(31)
    active = np.arange(m) < 100
    tdp = {"closed": [], "simes": [], "learned": []}
    levels = []
    for study in range(12):
        x = correlated(rng, n, m, "common") + 1.1 * active
        ranked, observed = smallest(t_of_flips(x, drawn_flips(rng, 999, n)), n - 1, 100)
        family = hommel_value(observed, alpha)
        tdp["closed"].append(true_discoveries(observed[active], family) / 100)
        simes = simes_template(ranked, m, alpha, "positive")
        learned = learned_template(ranked, m, alpha, "positive", seed=study)
        levels.append(simes.level)
        for template in (simes, learned):
            tdp[template.kind].append(discoveries(observed[active], template) / 100)
    mean = {kind: np.mean(values) for kind, values in tdp.items()}
    assert np.mean(levels) > 2 * alpha
    assert mean["simes"] > mean["closed"] + 0.05
    assert mean["learned"] > mean["closed"] + 0.05


def test_independent_uniform_p_need_the_level_alpha():
    rng = np.random.default_rng(17)
    log_p = np.log(np.sort(rng.random((20000, 50)), axis=1))
    template = simes_template(log_p, 50, 0.1, "positive")
    # Simes' inequality is an equality; the standard error of the quantile is 0.002.
    assert abs(template.level - 0.1) < 0.01


# --- files and wrong input


def test_templates_survive_json():
    log_p = np.log(np.sort(np.random.default_rng(0).random((40, 3)), axis=1))
    for template in (
        simes_template(log_p, 5, 0.1, "negative"),
        learned_template(log_p, 5, 0.1, "two-sided", seed=2**64 - 1),
        template_of([0.0, 0.5], 3),
    ):
        text = json.dumps(template.as_dict(), allow_nan=False)
        again = Template.from_dict(json.loads(text))
        np.testing.assert_array_equal(again.log_thresholds, template.log_thresholds)
        assert again.as_dict() == template.as_dict()
    content = template.as_dict()
    del content["Tail"], content["Level"]
    with pytest.raises(ValueError, match="the entries Tail, Level are missing"):
        Template.from_dict(content)


def test_too_few_shuffles_find_nothing():
    log_p = np.log([[1e-9, 1e-8], [0.1, 0.2], [0.3, 0.4], [0.2, 0.6]])
    for template in (
        simes_template(log_p, 2, 0.05, "positive"),
        learned_template(log_p, 2, 0.05, "positive", seed=0, n_training=2),
    ):
        assert discoveries(log_p[0], template) == 0


def test_sets_without_voxels():
    template = template_of([0.1], 3)
    assert false_discovery_bound([], template) == 0
    names, found, tdp = true_discovery_proportions(log([0.5, 0.1]), [0, 0], template)
    assert (names.size, found.size, tdp.size) == (0, 0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_p": np.zeros(3)}, r"shape \(shuffles, ranks\), got \(3,\)"),
        ({"log_p": np.zeros((0, 3))}, "no p value"),
        ({"log_p": np.full((3, 2), np.nan)}, "6 of 6 p values are NaN"),
        ({"log_p": np.full((3, 2), 0.5)}, "natural logarithm"),
        ({"log_p": np.array([[-1.0, -2.0]])}, "ascend with the rank"),
        ({"n_voxels": 1}, "2 ranks of 1 voxels"),
        ({"alpha": 5}, "between 0 and 1"),
        ({"tail": "left"}, "tail is one of"),
    ],
)
def test_wrong_shuffles_are_refused(change, message):
    arguments = {
        "log_p": np.array([[-3.0, -1.0], [-2.0, -2.0], [-5.0, 0.0]]),
        "n_voxels": 4,
        "alpha": 0.1,
        "tail": "positive",
    }
    arguments |= change
    with pytest.raises(ValueError, match=message):
        simes_template(**arguments)
    if "alpha" not in change and len(arguments["log_p"]) == 3:
        with pytest.raises(ValueError, match=message):
            learned_template(**arguments, seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 0), "training takes 1 to 0 of 1 shuffles, got 0"),
        ((10, 0, 10), "training takes 1 to 9 of 10 shuffles, got 10"),
        ((10, -1), "seed is an integer"),
    ],
)
def test_impossible_training_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        training_shuffles(*arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "beta"}, "simes, learned, got 'beta'"),
        ({"tail": "left"}, "tail is one of"),
        ({"alpha": 5}, "between 0 and 1"),
        ({"n_voxels": 1}, r"1 to 1 thresholds, got shape \(2,\)"),
        ({"log_thresholds": [-1.0, -2.0]}, "ascend with the rank"),
        ({"log_thresholds": [np.nan, -2.0]}, "no NaN"),
        ({"log_thresholds": []}, "1 to 4 thresholds"),
    ],
)
def test_templates_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(template_of([0.1, 0.2], 4), **change)


def test_wrong_pivots_p_and_labels_are_refused():
    template = template_of([0.1], 3)
    for pivots in ([], [[1.0]], [1.0, np.nan]):
        with pytest.raises(ValueError, match="pivots are numbers"):
            calibrate(pivots, 0.1)
    with pytest.raises(ValueError, match="natural logarithm"):
        false_discovery_bound([0.01], template)
    for labels in ([1, 2, 3], [1.0, 2.0]):
        with pytest.raises(ValueError, match="labels are whole numbers"):
            true_discovery_proportions(log([0.1, 0.2]), labels, template)
