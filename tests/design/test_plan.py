"""The plan of a permutation test: kinds of shuffling, numbers, shards and files."""

import json

import numpy as np
import pandas as pd
import pytest

from nipype_group.design.contrasts import build_contrasts
from nipype_group.design.matrix import design_from_formula
from nipype_group.design.plan import (
    SHARD_SIZE,
    make_plan,
    read_plan,
    read_scheme,
    write_plan,
)


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
    table |= {"age": [f"{v:.4f}" for v in rng.random(n)], "group": ["x", "y"] * (n // 2)}
    return design_from_formula(formula, pd.DataFrame(table, dtype=str), conditions)


def plan_of(formula, contrasts, n_permutations, n=10, repeated=False, **kwargs):
    design = design_of(formula, n, repeated)
    return make_plan(design, build_contrasts(contrasts, design), n_permutations, 7, **kwargs)


def test_contrasts_of_one_kind_of_shuffling_are_one_family():
    plan = plan_of(
        "age + group", ["mean=intercept", "slope=age", "diff=y - x", "f=age; y - x"], 500
    )
    assert {k: [c.name for c in f.contrasts] for k, f in plan.families.items()} == {
        "flip": ["mean"],
        "permute": ["slope", "diff"],
    }
    assert plan.contrast_names == ("mean", "slope", "diff")


def test_no_more_distinct_shufflings_than_asked_for_means_all_of_them():
    for asked, exhaustive in ((1022, False), (1023, True), (10**6, True)):
        plan = plan_of("1", ["mean=intercept"], asked)
        assert plan.families["flip"].scheme.exhaustive == exhaustive
        assert plan.n_shuffles("flip") == (1024 if exhaustive else asked + 1)
    assert plan_of("group", ["d=y - x"], 251).n_shuffles("permute") == 252
    assert plan.smallest_p("flip") == 1 / 1024


def test_exchangeable_maps_are_those_with_equal_rows():
    plan = plan_of("group + age", ["d=y - x"], 100)
    assert len(set(plan.families["permute"].scheme.labels)) == 10
    plan = plan_of("group", ["d=y - x"], 100)
    assert len(set(plan.families["permute"].scheme.labels)) == 2


def test_repeated_maps_are_shuffled_within_participants():
    plan = plan_of("participant_id + task", ["d=b - a"], 5000, repeated=True)
    scheme = plan.families["permute"].scheme
    assert scheme.blocks == (1, 1, 2, 2, 3, 3, 4, 4, 5, 5)
    assert scheme.n_distinct == plan.n_shuffles("permute") == 32
    assert "within each of 5 participants" in plan.describe()


@pytest.mark.parametrize("n_shards", [None, 1, 3, 7, 999, 100000])
def test_shards_cover_every_shuffle_once(n_shards):
    plan = plan_of("1", ["mean=intercept"], 9000, n=20, n_shards=n_shards)
    shards = plan.shards("flip")
    covered = [k for first, last in shards for k in range(first, last)]
    assert covered == list(range(9001))
    assert n_shards is None or len(shards) <= n_shards


def test_a_larger_number_adds_shards_and_changes_none():
    few, many = (plan_of("1", ["m=intercept"], n, n=20).shards("flip") for n in (5000, 12500))
    assert few == many[: len(few)]
    assert few == [(0, SHARD_SIZE + 1), (SHARD_SIZE + 1, 5001)]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_permutations": 0}, "number of shuffles >= 1, got 0"),
        ({"n_permutations": 9, "n_shards": 0}, "shards is a number >= 1"),
        ({"n_permutations": 9, "tail": "left"}, "tail is one of"),
        ({"n_permutations": 9, "shuffling": "swap"}, "shuffling is one of"),
        ({"n_permutations": 9, "shuffling": "permute"}, "'m' tests a mean"),
        ({"n_permutations": 9, "contrasts": ["f=intercept;"]}, "there is none"),
    ],
)
def test_plans_that_cannot_be_made_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        plan_of(**({"formula": "1", "contrasts": ["m=intercept"]} | kwargs))


def test_between_participants_with_repeated_maps_is_refused():
    design = design_of("1", repeated=True)
    ages = np.repeat(np.random.default_rng(1).random(5), 2)
    keys = design.keys.assign(iq=[f"{v:.5f}" for v in ages])
    design = design_from_formula("task + iq", keys, ("task",))
    with pytest.raises(ValueError, match="'slope'.*compares participants"):
        make_plan(design, build_contrasts(["slope=iq"], design), 100, 0)


def test_a_contrast_that_no_shuffle_touches_is_refused():
    design = design_of("participant_id + task", repeated=True)
    contrasts = build_contrasts(["between=participant_id[sub-01]"], design)
    with pytest.raises(ValueError, match="compares participants"):
        make_plan(design, contrasts, 100, 0)


def test_the_sentences_say_numbers_assumptions_tail_and_seed():
    text = plan_of("age", ["m=intercept", "s=age"], 2000, n=20).describe()
    for part in (
        "m: tested by sign flips of the residuals",
        "errors symmetric around 0. There are 1,048,576 distinct sign flips",
        "2,000 are drawn without repeats",
        "s: tested by permutations",
        "errors exchangeable between maps. There are about 10^18",
        "The smallest p is 0.0005",
        "The test is two-sided; the seed is 7.",
    ):
        assert part in text
    text = plan_of("1", ["m=intercept"], 5000).describe()
    assert "There are 1,024 distinct sign flips; all 1,024 are used" in text
    text = plan_of("age", ["s=age"], 5000, n=40).describe()
    assert "about 10^47" in text
    assert "the chance that any two are equal is below" in text


def test_scheme_files_round_trip(tmp_path):
    plan = plan_of("age + group", ["mean=intercept", "d=y - x"], 500, tail="negative")
    _, scheme_file, _ = write_plan(tmp_path, plan)
    tail, families = read_scheme(scheme_file)
    assert tail == "negative"
    assert {k: f.scheme for k, f in families.items()} == {
        k: f.scheme for k, f in plan.families.items()
    }
    for kind, family in families.items():
        for one, two in zip(family.contrasts, plan.families[kind].contrasts, strict=True):
            assert one.name == two.name
            np.testing.assert_array_equal(one.weights, two.weights)


def test_the_scheme_file_does_not_depend_on_the_number_of_shuffles_or_shards(tmp_path):
    texts = []
    for i, (n, shards) in enumerate(((300, None), (900, 5))):
        folder = tmp_path / str(i)
        folder.mkdir()
        plan = plan_of("1", ["m=intercept"], n, n_shards=shards)
        texts.append((folder, write_plan(folder, plan)))
    one, two = ((folder / "scheme.json").read_bytes() for folder, _ in texts)
    assert one == two


def test_the_plan_file_lists_what_will_run(tmp_path):
    plan = plan_of("age", ["m=intercept", "s=age"], 600, n=60, n_shards=4)
    plan_file, _, text_file = write_plan(tmp_path, plan)
    about = read_plan(plan_file)
    assert about["NumberOfPermutations"] == 600
    assert about["RandomSeed"] == 7
    assert about["Contrasts"] == ["m", "s"]
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
        (read_scheme, '{"Tail": "x", "Families": 3}'),
        (read_scheme, '{"Tail": "x", "Families": {"flip": {}}}'),
    ],
)
def test_files_that_are_no_plan_are_refused(tmp_path, read, text):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="plan.json: no permutation"):
        read(path)
