"""The plan of a permutation test: kinds of shuffling, numbers, shards and files."""

import json
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.contrasts import build_contrasts
from nipype_group.design.matrix import design_from_formula
from nipype_group.design.participants.clusters import with_random_effects
from nipype_group.design.participants.random_effects import RandomEffects
from nipype_group.permutation.plan import (
    SHARD_SIZE,
    ContrastTest,
    make_plan,
    read_plan,
    read_scheme,
    write_plan,
)
from nipype_group.stats.permutation.choice import nested_blocks
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.tfce import Tfce

# Not a class of tests.


def design_of(formula, n=10, repeated=False):
    rng = np.random.default_rng(0)
    table = {"participant_id": [f"sub-{i:02d}" for i in range(n)]}
    conditions = ()
    if repeated:
        table = {
            "participant_id": [f"sub-{i // 2:02d}" for i in range(n)],
            "task": ["a", "b"] * (n // 2),
        }
        conditions = ("task",)
    table |= {"age": [f"{v:.4f}" for v in rng.random(n)], "group": (["x", "y"] * n)[:n]}
    table |= {"iq": [f"{v:.4f}" for v in np.repeat(rng.random(-(-n // 2)), 2)[:n]]}
    table |= {"level": (["p", "q", "r"] * n)[:n]}
    return design_from_formula(formula, pd.DataFrame(table, dtype=str), conditions)


def plan_of(formula, contrasts, n_permutations, n=10, repeated=False, **kwargs):
    design = design_of(formula, n, repeated)
    names = {field.name for field in fields(ContrastTest)} & set(kwargs)
    test = ContrastTest(**{name: kwargs.pop(name) for name in names})
    return make_plan(
        design,
        build_contrasts(contrasts, design, by_permutation=True),
        n_permutations,
        7,
        test,
        **kwargs,
    )


def test_contrasts_of_one_kind_of_shuffling_are_one_family():
    plan = plan_of(
        "age + group", ["mean=intercept", "slope=age", "diff=y - x", "f=age; y - x"], 500
    )
    assert {k: [c.name for c in f.contrasts] for k, f in plan.families.items()} == {
        "flip": ["mean"],
        "permute": ["slope", "diff", "f"],
    }
    assert plan.contrast_names == ("mean", "slope", "diff", "f")


@pytest.mark.parametrize("kind", ["flip", "both"])
def test_a_kind_that_is_asked_for_is_taken_for_all(kind):
    plan = plan_of("age", ["mean=intercept", "slope=age"], 500, shuffling=kind)
    assert list(plan.families) == [kind]
    assert plan.families[kind].scheme.kind == kind


def test_no_more_distinct_shufflings_than_asked_for_means_all_of_them():
    for asked, exhaustive in ((1022, False), (1023, True), (10**6, True)):
        plan = plan_of("1", ["mean=intercept"], asked)
        assert plan.families["flip"].scheme.exhaustive == exhaustive
        assert plan.n_shuffles("flip") == (1024 if exhaustive else asked + 1)
    assert plan_of("group", ["d=y - x"], 251).n_shuffles("permute") == 252


@pytest.mark.parametrize(
    ("formula", "contrast", "how", "expected"),
    [
        # Closed forms: shuffles that mirror the design, of all distinct ones.
        ("1", "m=intercept", {"n": 5}, 2 / 2**5),
        ("1", "m=intercept", {"n": 5, "tail": "positive"}, 1 / 2**5),
        ("1", "m=intercept", {"n": 5, "tail": "negative"}, 1 / 2**5),
        ("group", "d=y - x", {"n": 6}, 2 / 20),
        ("group", "d=y - x", {"n": 6, "tail": "positive"}, 1 / 20),
        ("group", "d=y - x", {"n": 6, "variance_groups": (0, 1, 0, 1, 0, 1)}, 2 / 20),
        # Unequal groups, and a covariate, have no mirror.
        ("group", "d=y - x", {"n": 7}, 1 / 35),
        ("group + age", "d=y - x", {"n": 6}, 1 / 720),
        # Three levels of two maps each change places in 3! ways.
        ("C(level)", "f=q - p; r - p", {"n": 6}, 6 / 90),
        # Pairs: all differences flipped.
        ("participant_id + task", "d=b - a", {"n": 10, "repeated": True}, 2 / 2**5),
        # Both together: every sign of one split, and the split exchanged.
        ("group", "d=y - x", {"n": 4, "shuffling": "both"}, 4 / (6 * 2**4)),
    ],
)
def test_the_smallest_p_counts_shuffles_that_mirror_the_design(formula, contrast, how, expected):
    tail = how.pop("tail", "two-sided")
    plan = plan_of(formula, [contrast], 10**4, statistics=ShuffleStatistics(tail=tail), **how)
    (name,) = plan.families
    (smallest,) = plan.smallest_p(name).values()
    assert smallest == pytest.approx(expected, abs=1e-12)
    assert f"The smallest p is {expected:.3g}." in plan.describe()
    told = f"contrast {contrast[0]}: there are too few shuffles for a p of 0.05"
    assert (told in str(plan.hopeless(0.05))) == (expected > 0.05)


def test_drawn_shuffles_are_counted_where_a_mirrored_one_may_be_among_them():
    # All but a few of 1024 sign flips: the flip of all maps is most likely among them.
    reached = [plan_of("1", ["m=intercept"], n).n_reached["m"] for n in (3, 1020)]
    assert reached == [1, 2]
    assert plan_of("age", ["s=age"], 1000, n=40).n_reached == {"s": 1}


def test_contrasts_of_one_family_may_have_smallest_p_of_their_own():
    plan = plan_of("C(level)", ["f=q - p; r - p", "d=q - p"], 10**4, n=6)
    assert plan.smallest_p("permute")["f"] == pytest.approx(6 / 90)
    assert plan.smallest_p("permute")["d"] == pytest.approx(2 / 90)
    assert "The smallest p is 0.0667 of f, 0.0222 of d." in plan.describe()
    assert plan_of("C(level)", ["f=q - p; r - p", "d=q - p"], 10**4, n=6, alpha=0.05).warnings == (
        "contrast f: there are too few shuffles for a p of 0.05, the smallest is 0.0667, so "
        "nothing can survive; add maps, or permutations where there are more",
    )


@pytest.mark.parametrize(
    ("contrast", "exchange", "columns", "warned"),
    [
        ("s=iq", "within", ["site"], True),
        ("s=iq", "whole", ["site", "participant"], False),
        # What participants share is no part of a difference of their own maps.
        ("d=b - a", "within", ["site"], False),
        ("d=b - a", "within", ["site", "participant"], False),
    ],
)
def test_blocks_that_take_participants_apart_are_warned_of(contrast, exchange, columns, warned):
    formula = "iq + task"
    design = design_of(formula, 24, repeated=True)
    names = {"site": [i // 2 % 2 for i in range(24)], "participant": [i // 2 for i in range(24)]}
    blocks = nested_blocks([names[c] for c in columns], exchange)
    plan = make_plan(
        design, build_contrasts([contrast], design, by_permutation=True), 200, 0, blocks=blocks
    )
    assert any("take maps of a participant apart" in w for w in plan.warnings) == warned


def test_exchangeable_maps_are_those_with_equal_rows():
    plan = plan_of("group + age", ["d=y - x"], 100)
    assert len(set(plan.families["permute"].scheme.labels)) == 10
    plan = plan_of("group", ["d=y - x"], 100)
    assert len(set(plan.families["permute"].scheme.labels)) == 2


def test_repeated_maps_are_shuffled_within_participants():
    plan = plan_of("participant_id + task", ["d=b - a"], 5000, repeated=True)
    scheme = plan.families["permute-within-participants"].scheme
    assert scheme.blocks == tuple((-1, p, place) for p in range(1, 6) for place in (1, 2))
    assert scheme.n_distinct == plan.n_shuffles("permute-within-participants") == 32
    assert "within each of 5 participants" in plan.describe()


def test_contrasts_between_and_over_repeated_maps_shuffle_whole_participants():
    plan = plan_of("task + iq", ["d=b - a", "slope=iq", "m=intercept"], 5000, repeated=True)
    assert {k: [c.name for c in f.contrasts] for k, f in plan.families.items()} == {
        "permute-within-participants": ["d"],
        "permute-participants": ["slope"],
        "flip-participants": ["m"],
    }
    assert [plan.n_shuffles(name) for name in plan.families] == [32, 120, 32]
    text = plan.describe()
    assert "slope is tested by permutations of whole participants of the residuals" in text
    assert "m is tested by sign flips of whole participants" in text
    assert "errors symmetric around 0. There" in text


def test_conditions_in_another_order_of_rows_keep_their_places():
    design = design_of("task + iq", repeated=True)
    keys = design.keys.assign(iq=np.repeat(["1", "5", "2", "9", "4"], 2))
    order = [1, 0, 2, 3, 5, 4, 6, 7, 8, 9]
    design = design_from_formula("task + iq", keys.iloc[order], ("task",))
    plan = make_plan(design, build_contrasts(["s=iq"], design, by_permutation=True), 5000, 0)
    tasks = design.keys["task"].to_numpy()
    for moved in plan.families["permute-participants"].scheme.draw(0, 120)[0]:
        assert (tasks[moved] == tasks).all()


def test_unequal_numbers_of_maps_between_participants_are_refused():
    design = design_of("task + iq", repeated=True)
    keys = design.keys.assign(iq=np.repeat(["1", "5", "2", "9", "4"], 2)).iloc[:-1]
    design = design_from_formula("task + iq", keys, ("task",))
    assert list(
        make_plan(design, build_contrasts(["d=b - a"], design, by_permutation=True), 9, 0).families
    ) == ["permute-within-participants"]
    with pytest.raises(ValueError, match="'slope' cannot .*numbers of maps or their conditions"):
        make_plan(design, build_contrasts(["slope=iq"], design, by_permutation=True), 100, 0)


def test_blocks_of_the_user_decide():
    blocks = nested_blocks([list("babababbba")], "within")
    plan = plan_of("age", ["s=age", "m=intercept"], 10**6, blocks=blocks)
    assert {name: f.scheme.blocks for name, f in plan.families.items()} == {
        "permute": blocks,
        "flip": blocks,
    }
    assert plan.n_shuffles("permute") == 24 * 720
    assert "permutations that the exchangeability blocks allow" in plan.describe()


def test_given_shuffles_are_used_as_they_stand():
    table = np.vstack([np.ones((1, 10), int), np.random.default_rng(0).choice([-1, 1], (60, 10))])
    for asked, used in ((20, 21), (500, 61)):
        plan = plan_of("age", ["m=intercept", "s=age"], asked, given=("flip", table))
        assert list(plan.families) == ["flip"]
        assert plan.n_shuffles("flip") == used
        assert not plan.families["flip"].scheme.exhaustive
        assert f"{used - 1} of the given ones are used" in plan.describe()
        np.testing.assert_array_equal(plan.families["flip"].scheme.draw(0, used)[1], table[:used])
    with pytest.raises(ValueError, match="'m': every shuffle leaves the design as it is"):
        plan_of("1", ["m=intercept"], 5, given=("flip", table[:1]))
    with pytest.raises(ValueError, match="given shuffles: rows of 10 integers"):
        plan_of("1", ["m=intercept"], 5, given=("flip", table[:, :9]))


def test_huh_and_jhun_have_a_family_for_each_number_of_rows():
    names = ["m=intercept", "s=age", "d=y - x", "f=age; y - x"]
    plan = plan_of("age + group", names, 300, method="huh-jhun")
    # Ten maps less two, or, beside two rows, less one direction of nuisance.
    assert {k: [c.name for c in f.contrasts] for k, f in plan.families.items()} == {
        "flip-8": ["m"],
        "permute-8": ["s", "d"],
        "permute-9": ["f"],
    }
    assert plan.families["permute-9"].scheme.labels == tuple(range(9))
    assert plan.n_shuffles("flip-8") == 256
    assert "(Huh-Jhun)" in plan.describe()
    with pytest.raises(ValueError, match="huh-jhun shuffles combinations of maps; take one map"):
        plan_of("task", ["d=b - a"], 20, repeated=True, method="huh-jhun")
    with pytest.raises(ValueError, match="huh-jhun shuffles combinations of maps, which have no"):
        plan_of("1", ["m=intercept"], 20, method="huh-jhun", blocks=((-1, 1),) * 10)


@pytest.mark.parametrize("n_shards", [None, 1, 3, 7, 999, 100000])
def test_shards_cover_every_shuffle_once(n_shards):
    plan = plan_of("1", ["mean=intercept"], 9000, n=20, n_shards=n_shards)
    shards = plan.shards("flip")
    covered = [k for first, last in shards for k in range(first, last)]
    assert covered == list(range(9001))
    assert n_shards is None or len(shards) <= n_shards


def test_a_larger_number_adds_shards_and_changes_none():
    few, many = (
        plan_of("1", ["m=intercept"], n * SHARD_SIZE, n=30).shards("flip") for n in (5, 13)
    )
    assert few == many[: len(few)]
    assert few[0] == (0, SHARD_SIZE + 1)
    assert few[-1] == (4 * SHARD_SIZE + 1, 5 * SHARD_SIZE + 1)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_permutations": 0}, "number of shuffles from 1 to 100000000, got 0"),
        ({"n_shards": 0}, "shards is a number >= 1"),
        ({"shuffling": "swap"}, "shuffling is one of auto, permute, flip, both, got 'swap'"),
        ({"shuffling": "permute"}, "'m' tests a mean"),
        ({"method": "smith"}, "method is one of freedman-lane"),
        ({"contrasts": []}, "at least one contrast|there is none"),
        ({"variance_groups": (1,) * 9 + (2,), "formula": "group"}, "."),
        ({"variance_groups": (1,) * 10, "method": "manly"}, "variance groups go with freedman"),
        ({"variance_fwhm_mm": 8.0, "method": "dekker"}, "smoothed variance goes with t"),
        (
            {"variance_fwhm_mm": 8.0, "statistics": ShuffleStatistics(("voxel", "mass"))},
            "pseudo-t has no p: give cluster_forming_statistic",
        ),
        (
            {
                "variance_fwhm_mm": 8.0,
                "statistics": ShuffleStatistics(("voxel", "tfce"), statistic_scale="z"),
            },
            "pseudo-t has no z",
        ),
    ],
)
def test_plans_that_cannot_be_made_are_refused(kwargs, message):
    kwargs = {"formula": "1", "contrasts": ["m=intercept"], "n_permutations": 9} | kwargs
    if kwargs["formula"] == "group":
        # The last map is alone in its variance group, and a column of its own fits it.
        design = design_of("1")
        matrix = np.column_stack([np.ones(10), np.arange(10) == 9]).astype(float)
        design = replace(design, matrix=matrix, columns=("intercept", "last"))
        with pytest.raises(ValueError, match="Variance group 2 .1 map. has no residual"):
            make_plan(
                design,
                build_contrasts(["m=intercept"], design, by_permutation=True),
                9,
                7,
                ContrastTest(variance_groups=kwargs["variance_groups"]),
            )
        return
    with pytest.raises(ValueError, match=message):
        plan_of(**kwargs)


def test_no_contrasts_are_no_plan():
    with pytest.raises(ValueError, match="and there is none"):
        make_plan(design_of("1"), [], 100, 0)


def test_the_sentences_say_numbers_assumptions_tail_and_seed():
    text = plan_of("age", ["m=intercept", "s=age"], 2000, n=20).describe()
    for part in (
        "m is tested by sign flips of the residuals under the null hypothesis (Freedman-Lane)",
        "errors symmetric around 0. There are 1,048,576 distinct sign flips",
        "2,000 are drawn without repeats",
        "s is tested by permutations",
        "errors exchangeable between maps. There are about 10^18",
        "The smallest p is 0.0005",
        "The test is two-sided, of voxels. The seed is 7.",
    ):
        assert part in text
    text = plan_of("1", ["m=intercept"], 5000).describe()
    assert "There are 1,024 distinct sign flips; all 1,024 are used" in text
    text = plan_of("age", ["s=age"], 5000, n=40, shuffling="both").describe()
    assert "permutations with sign flips" in text
    assert "errors exchangeable between maps and symmetric around 0" in text
    assert "about 10^59" in text
    assert "the chance that any two are equal is below" in text


def test_the_sentences_say_what_is_taken_from_every_shuffle():
    statistics = ShuffleStatistics(
        ("voxel", "extent", "mass", "tfce"), "negative", cluster_forming_z=2.3
    )
    text = plan_of("1", ["m=intercept"], 50, statistics=statistics, method="manly").describe()
    assert "The test is one-sided (negative), of voxels, cluster extents, cluster masses" in text
    assert "clusters form at z 2.3." in text
    assert "sign flips of the maps (Manly)" in text
    for kwargs, words in (
        ({}, "p 0.001"),
        ({"cluster_forming_p": 0.01}, "p 0.01"),
        ({"cluster_forming_statistic": 3}, "3 of the statistic"),
    ):
        chosen = ShuffleStatistics(("voxel", "extent"), **kwargs)
        text = plan_of("1", ["m=intercept"], 50, statistics=chosen).describe()
        assert f"clusters form at {words}" in text
    text = plan_of("group", ["d=y - x"], 50, variance_groups=(1, 2) * 5).describe()
    assert "2 groups have their own variance (Aspin-Welch)" in text
    text = plan_of("age + group", ["f=age; y - x"], 50).describe()
    assert "F has no side; the test is of voxels." in text
    text = plan_of("age + group", ["m=intercept", "f=age; y - x"], 50).describe()
    assert "The test of t is two-sided, F has no side; both are of voxels." in text
    text = plan_of("1", ["m=intercept"], 50, variance_fwhm_mm=8.0).describe()
    assert "variances are smoothed by 8 mm (pseudo-t)" in text


def test_what_the_data_say_of_every_contrast_is_part_of_the_plan():
    asked = []

    def warn(units, split, kind, own_variances):
        assert not own_variances
        name = units.contrast.name
        asked.append((split.rank, kind, name))
        return [f"{name} is in doubt"] if kind == "flip" else []

    plan = plan_of("age + group", ["m=intercept", "f=age; y - x"], 50, warn=warn)
    assert asked == [(1, "flip", "m"), (2, "permute", "f")]
    assert plan.warnings == ("m is in doubt",)
    assert plan.describe().endswith("The seed is 7. m is in doubt.")


PLANS = {
    "plain": {},
    "statistics": {
        "statistics": ShuffleStatistics(
            ("voxel", "mass", "tfce"),
            "negative",
            cluster_forming_p=0.01,
            connectivity=18,
            statistic_scale="z",
            mass_excess=True,
            tfce=Tfce(1.0, 2.0, 26, "palm"),
            n_top=50,
        )
    },
    "method": {"method": "draper-stoneman"},
    "huh-jhun": {"method": "huh-jhun"},
    "variance groups": {"variance_groups": (1, 2) * 5},
    "pseudo-t": {"variance_fwhm_mm": 6.5},
    "blocks": {"blocks": nested_blocks([list("aaaaabbbbb")], "both")},
    "exhaustive": {"n_permutations": 10**7},
}


@pytest.mark.parametrize("name", PLANS)
def test_scheme_files_round_trip(tmp_path, name):
    kwargs = {"n_permutations": 500} | PLANS[name]
    plan = plan_of("age + group", ["mean=intercept", "d=y - x"], **kwargs)
    scheme_file = write_plan(tmp_path, plan)[1]
    test, families = read_scheme(scheme_file)
    assert test == plan.test
    assert {k: f.scheme for k, f in families.items()} == {
        k: f.scheme for k, f in plan.families.items()
    }
    for kind, family in families.items():
        for one, two in zip(family.contrasts, plan.families[kind].contrasts, strict=True):
            assert (one.name, one.test, one.expression) == (two.name, two.test, two.expression)
            np.testing.assert_array_equal(one.weights, two.weights)


def test_schemes_of_given_shuffles_need_their_file(tmp_path):
    table = np.array([np.arange(10), np.roll(np.arange(10), 1)]) + 1
    plan = plan_of("age", ["s=age"], 500, given=("permute", table))
    scheme_file = write_plan(tmp_path, plan)[1]
    with pytest.raises(ValueError, match="of given shuffles: their file is needed too"):
        read_scheme(scheme_file)
    _, families = read_scheme(scheme_file, table)
    np.testing.assert_array_equal(families["permute"].scheme.draw(0, 2)[0], table - 1)


def test_the_scheme_file_does_not_depend_on_the_number_of_shuffles_or_shards(tmp_path):
    for i, (n, shards) in enumerate(((300, None), (900, 5))):
        (tmp_path / str(i)).mkdir()
        write_plan(tmp_path / str(i), plan_of("1", ["m=intercept"], n, n_shards=shards))
    one, two = ((tmp_path / name / "scheme.json").read_bytes() for name in "01")
    assert one == two


def test_the_plan_file_lists_what_will_run(tmp_path):
    plan = plan_of(
        "age",
        ["m=intercept", "s=age"],
        600,
        n=60,
        n_shards=4,
        method="ter-braak",
        statistics=ShuffleStatistics(("voxel", "tfce"), "positive"),
    )
    plan = replace(plan, warnings=("beware",))
    plan_file, _, text_file = write_plan(tmp_path, plan)
    about = read_plan(plan_file)
    assert about["NumberOfPermutations"] == 600
    assert about["RandomSeed"] == 7
    assert about["Contrasts"] == ["m", "s"]
    assert (about["Tail"], about["Method"]) == ("positive", "ter-braak")
    assert about["Statistics"] == ["voxel", "tfce"]
    assert about["Warnings"] == ["beware"]
    flips = about["Families"]["flip"]
    assert flips["DistinctShufflings"] == 2**60
    assert flips["Sampling"] == "without repeats"
    assert flips["Shards"] == [list(s) for s in plan.shards("flip")]
    assert about["Families"]["permute"]["Sampling"] == "counter"
    assert 0 < about["Families"]["permute"]["ChanceOfRepeat"] < 1e-70
    assert (tmp_path / "plan.txt").read_text().strip() == plan.describe()
    assert text_file == str(tmp_path / "plan.txt")


def test_numbers_too_large_for_json_readers_become_text(tmp_path):
    plan = plan_of("age", ["s=age"], 10, n=400)
    about = json.loads((tmp_path / write_plan(tmp_path, plan)[0]).read_text())
    assert about["Families"]["permute"]["DistinctShufflings"].startswith("10^8")


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *((read, text) for read in (read_scheme, read_plan) for text in ("", "{}", "[1]")),
        (read_scheme, '{"Statistics": {}, "Families": 3}'),
        (read_scheme, '{"Statistics": {"names": ["voxel"], "tfce": {}}, "Families": {"f": {}}}'),
    ],
)
def test_files_that_are_no_plan_are_refused(tmp_path, read, text):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="plan.json: (no permutation|is no JSON|has no )"):
        read(path)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"statistics": ShuffleStatistics(("voxel", "mass", "tfce"))}, r"TFCE \(mass, tfce\)"),
        ({"statistics": ShuffleStatistics(n_top=5)}, "templates of true discoveries"),
        ({"variance_fwhm_mm": 6.0}, "smoothed variances"),
        ({"varying_dof": True}, "voxels that maps lack"),
        ({"early_stop": 5}, "early stopping"),
    ],
)
def test_voxel_shards_are_refused_where_a_shuffle_needs_all_voxels(options, reason):
    ContrastTest(variance_groups=(0, 0, 1, 1)).check_voxel_shards()
    with pytest.raises(ValueError, match=f"{reason} look at all voxels together"):
        ContrastTest(**options).check_voxel_shards()


def of_clusters(sizes, slopes=False, **kwargs):
    """Plan a mean, a difference of groups and a trend of participants with several visits."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(len(sizes)), sizes)
    visit = np.concatenate([np.arange(size) for size in sizes])
    table = pd.DataFrame(
        {
            "participant_id": [f"{i:02d}" for i in people],
            "visit": visit,
            "years": (visit + slopes * rng.random(len(visit))).round(3),
            "group": ["x" if i % 2 else "y" for i in people],
        }
    ).astype(str)
    design = design_from_formula("group * years", table, ("visit",))
    random = RandomEffects("participant_id", "years" if slopes else None, True)
    design = with_random_effects(design, table, random)
    named = ["mean=intercept", "groups=x - y", "trend=years", "f=group[y]; group[y]:years"]
    contrasts = build_contrasts(named, design)
    names = {field.name for field in fields(ContrastTest)} & set(kwargs)
    test = ContrastTest(estimator="random-effects", **{name: kwargs.pop(name) for name in names})
    return make_plan(design, contrasts, 60, 7, test, **kwargs)


def families_of(plan):
    return {k: [c.name for c in f.contrasts] for k, f in plan.families.items()}


def test_clusters_change_places_where_they_are_alike_and_else_their_signs():
    plan = of_clusters([3] * 12)
    moved = families_of(plan)
    assert moved == {"flip-clusters": ["mean", "trend"], "permute-clusters": ["groups", "f"]}
    orders, signs = plan.families["permute-clusters"].scheme.draw(0, 20)
    assert (signs == 1).all() and (orders[1:] % 3 == np.tile([0, 1, 2], 12)).all()
    assert "errors exchangeable between clusters" in plan.describe()
    for unlike in (
        of_clusters([3] * 11 + [2]),
        of_clusters([3] * 12, slopes=True),
        of_clusters([3] * 12, varying_dof=True),
        of_clusters([3] * 12, shuffling="flip"),
    ):
        assert list(unlike.families) == ["flip-clusters"]
        _, signs = unlike.families["flip-clusters"].scheme.draw(0, 61)
        assert all((signs[:, i : i + 3] == signs[:, i : i + 1]).all() for i in range(0, 33, 3))
        assert "is approximate (wild cluster bootstrap)" in unlike.describe()
        assert "variance components are estimated again" in unlike.describe()


def test_what_takes_clusters_apart_is_refused():
    blocks = tuple((1,) for _ in range(36))
    with pytest.raises(ValueError, match="takes maps of a cluster together, and the shuffles"):
        of_clusters([3] * 12, blocks=blocks)
    signs = np.ones((9, 36), dtype=int)
    signs[1:, 0] = -1
    with pytest.raises(ValueError, match="leave --blocks and --shuffles out"):
        of_clusters([3] * 12, given=("flip", signs))
    with pytest.raises(ValueError, match="whole clusters that change places: these differ"):
        of_clusters([3] * 11 + [2], shuffling="permute")
    wholes = nested_blocks(
        [np.repeat(np.arange(12) // 4, 12 * [3]), np.repeat(np.arange(12), 3)], "whole"
    )
    with pytest.raises(ValueError, match="lack voxels, whose clusters can't change places"):
        of_clusters([3] * 12, blocks=wholes, shuffling="both", varying_dof=True)
    plan = of_clusters([3] * 12, blocks=wholes, shuffling="flip")
    assert list(plan.families) == ["flip-blocks-of-clusters"]
    # Signs are of what changes places: clusters.
    assert plan.families["flip-blocks-of-clusters"].scheme.n_distinct == 2**12
    assert "of whole clusters that the exchangeability blocks allow" in plan.describe()


def test_few_clusters_are_warned_of():
    (first, *_) = of_clusters([2] * 8, shuffling="flip").warnings
    assert first.startswith("contrast mean has signs of 8 clusters, and a wild cluster bootstrap")
    assert of_clusters([2] * 19, shuffling="flip").warnings
    assert not of_clusters([2] * 20, shuffling="flip").warnings


def test_the_plan_says_what_is_held(tmp_path):
    plan = of_clusters([3] * 11 + [2], shuffled_estimates="held")
    assert (
        "held at those of the unshuffled maps in the model without the effect" in plan.describe()
    )
    write_plan(tmp_path, plan)
    family = read_plan(tmp_path / "plan.json")["Families"]["flip-clusters"]
    assert family["Approximate"] and "approximate" in family["Assumption"]
    test, _ = read_scheme(tmp_path / "scheme.json")
    assert test == plan.test
