"""Which maps may vary together."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nipype_group.design.matrix import Design, read_design
from nipype_group.design.participants.clusters import (
    needs_of,
    with_clusters,
    with_random_effects,
    with_shared_covariance,
)
from nipype_group.design.participants.random_effects import RandomEffects, split_random
from nipype_group.design.participants.shared_covariance import SharedCovariance


def design_of(participants):
    keys = pd.DataFrame({"participant_id": participants})
    return Design(keys, np.column_stack([np.ones(len(keys)), np.arange(len(keys))]), ("i", "x"))


@given(st.lists(st.integers(0, 5), min_size=4, max_size=12).filter(lambda v: len(set(v)) > 1))
def test_maps_are_in_one_cluster_where_their_participants_are_one(people):
    design = design_of([f"{person:02d}" for person in people])
    numbers = with_clusters(design, design.keys).cluster_numbers
    alike = np.equal.outer(people, people)
    assert (np.equal.outer(numbers, numbers) == alike).all()
    assert set(numbers) == set(range(len(set(people))))


def test_clusters_stand_in_the_files_of_the_design(tmp_path):
    design = design_of(["a", "a", "b", "c"])
    table = design.keys.assign(family=["x", "x", "x", "y"])
    made = with_clusters(design, table, "family")
    again = read_design(*made.write(tmp_path))
    assert again.cluster_column == "family" and again.clusters == ("x", "x", "x", "y")
    np.testing.assert_array_equal(needs_of(again)["clusters"], [0, 0, 0, 1])
    assert needs_of(design) == {} and "Clusters" not in design.describe()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["x", "y", "x", "y"], "maps of a are in several"),
        (["x"] * 4, "all maps are in one \\(x\\)"),
        (["x", "x", None, np.nan], "maps of b, c have no value"),
        (None, "no column family to take clusters from; there are participant_id"),
    ],
)
def test_clusters_that_cannot_be_are_refused(values, told):
    design = design_of(["a", "a", "b", "c"])
    table = design.keys if values is None else design.keys.assign(family=values)
    with pytest.raises(ValueError, match=told):
        with_clusters(design, table, "family")


TWICE = pd.DataFrame({"participant_id": [*"aabbcc"], "visit": [*"121213"]})


def test_visits_and_groups_stand_in_the_files_of_the_design(tmp_path):
    table = TWICE.assign(sex=[*"ffmmff"], visit=["2", "10", "2", "10", "2", "3"])
    keys = table[["participant_id", "visit"]]
    design = Design(keys, np.ones((6, 1)), ("i",))
    with pytest.raises(ValueError, match="variance groups of sex: m has one participant"):
        with_shared_covariance(design, table, variance_groups="sex")
    made = with_shared_covariance(design, table)
    assert made.shared.visit_names == ["2", "3", "10"]
    never, *_ = [note for note in made.notes if "no participant has both" in note]
    assert "3 and 10" in never and "taken for 0" in never
    again = read_design(*made.write(tmp_path))
    assert again.shared == made.shared and again.cluster_column == "participant_id"
    needs = needs_of(again)
    assert needs["visits"].tolist() == [0, 2, 0, 2, 0, 1] and not needs["covariance_groups"].any()


@given(st.integers(1, 4), st.integers(2, 4), st.integers(0, 2**32))
def test_a_covariance_of_visits_is_told_by_its_tables(n_visits, n_groups, seed):
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(3 * n_groups), n_visits)
    visits, groups = np.tile(np.arange(n_visits), 3 * n_groups), who % n_groups
    kept = np.sort(rng.permutation(len(who))[: max(len(who) - 2, 1)])
    who, visits, groups = who[kept], visits[kept], groups[kept]
    roots = rng.standard_normal((n_groups, n_visits, n_visits))
    own = roots @ roots.transpose(0, 2, 1)
    shared = SharedCovariance(("v",), tuple(map(str, visits)), "g", tuple(map(str, groups)))
    people = [f"p{i}" for i in who]
    covariance = own[groups[:, None], visits[:, None], visits]
    covariance = np.where(who[:, None] == who, covariance, 0.0)
    tables = shared.tables(covariance, people)
    np.testing.assert_array_equal(shared.of_maps(tables, people), covariance)
    values = [v for t in tables for i, row in enumerate(t["Covariance"]) for v in row[: i + 1]]
    assert shared.parameters(people) == sum(v is not None for v in values)


@pytest.mark.parametrize(
    ("visits", "options", "told"),
    [
        ("121113", {}, "there are several maps of b at 1"),
        ("123456", {}, "no two participants of a group have the same, as 1, 2, 3"),
        ("12121n", {}, "maps of c have no value, which would make one visit of them"),
        ("121213", {"visit": "age"}, "no column age to take visits from"),
        ("121213", {"variance_groups": "age"}, "no column age to take variance groups from"),
        ("121213", {"variance_groups": "visit"}, "maps of a, b, c are in several"),
    ],
)
def test_visits_that_cannot_be_are_refused(visits, options, told):
    table = TWICE.assign(visit=[None if v == "n" else v for v in visits])
    design = Design(table, np.ones((6, 1)), ("i",))
    with pytest.raises(ValueError, match=told):
        with_shared_covariance(design, table, **options)


def test_maps_that_nothing_tells_apart_and_one_variance_of_all_are_refused():
    design = design_of(["a", "a", "b", "c"])
    with pytest.raises(ValueError, match="nothing tells the maps of a apart"):
        with_shared_covariance(design, design.keys)
    design = design_of(["a", "b", "c", "d"])
    with pytest.raises(ValueError, match="each participant has one map"):
        with_shared_covariance(design, design.keys)
    table = design.keys.assign(sex=[*"ffmm"])
    made = with_shared_covariance(design, table, variance_groups="sex")
    assert made.shared.parameters(made.participants) == 2


def test_random_effects_of_sites_tell_what_they_take_for_independent():
    design = design_of(["a", "a", "b", "c"])
    table = design.keys.assign(site=["x", "x", "x", "y"])
    (note,) = with_random_effects(design, table, RandomEffects("site")).notes
    assert "maps of a participant are taken for independent" in note
    made = with_random_effects(design, table, RandomEffects("participant_id"))
    assert made.notes == () and made.clusters == ("a", "a", "b", "c")
    alone = design_of(["a", "b", "c", "d"])
    assert with_random_effects(alone, table, RandomEffects("site")).notes == ()


def test_uncorrelated_slopes_far_from_0_are_told_to_depend_on_it():
    design = design_of([*"aabb"])
    table = design.keys.assign(year=[*["2020", "2021"] * 2], since=[*"0101"])
    (note,) = with_random_effects(
        design, table, RandomEffects("participant_id", "year", False)
    ).notes
    assert "maps have 2020 to 2021" in note
    for fine in (("year", True), ("since", False)):
        made = with_random_effects(design, table, RandomEffects("participant_id", *fine))
        assert made.notes == ()


@pytest.mark.parametrize(
    ("written", "fixed", "random"),
    [
        ("a*b + (1|p)", "a*b", "(1 | p)"),
        ("(1 | p) + a", "a", "(1 | p)"),
        ("a + (1 + t | p) + b", "a + b", "(1 + t | p)"),
        ("~ a + (t | p)", "a", "(1 + t | p)"),
        ("a + (1 + t || p)", "a", "(1 | p) + (0 + t | p)"),
        ("(0 + t | p) + (1 | p)", "1", "(1 | p) + (0 + t | p)"),
        ("a + (t - 1 | p) + (1 | p)", "a", "(1 | p) + (0 + t | p)"),
        ("center(a) + (1 + `t 2` | `p 1`)", "center(a)", "(1 + `t 2` | `p 1`)"),
        ("a + (`u|+-v` | p)", "a", "(1 + `u|+-v` | p)"),
        ("a + (-1 + t | p) + (1 | p)", "a", "(1 | p) + (0 + t | p)"),
    ],
)
def test_random_effects_are_read_as_lme4_writes_them(written, fixed, random):
    effects, found = split_random(written)
    assert (effects, str(found)) == (fixed, random)


@pytest.mark.parametrize(
    "written",
    [
        "a + (1 | p/q)",
        "a + (1 | p:q)",
        "a + (1 | p) + (1 | q)",
        "a + (1 + t + u | p)",
        "a + (0 + t | p)",
        "a + (0 | p)",
        "a + (1 + t*u | p)",
        "a : (1 | p)",
        "a + C(1 | p)",
        "a | p",
        "a + (1 | p) + (1 | p)",
        "a + (1 + I(t) | p)",
        "a (1 | p)",
    ],
)
def test_other_structures_are_refused_in_one_line(written):
    with pytest.raises(ValueError, match="random effect|a random effect of nothing") as refused:
        split_random(written)
    assert "\n" not in str(refused.value)
