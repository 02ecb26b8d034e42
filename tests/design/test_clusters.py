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
)
from nipype_group.design.participants.random_effects import RandomEffects, split_random


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


def test_random_effects_of_sites_tell_what_they_take_for_independent():
    design = design_of(["a", "a", "b", "c"])
    table = design.keys.assign(site=["x", "x", "x", "y"])
    (note,) = with_random_effects(design, table, RandomEffects("site")).notes
    assert "maps of a participant are taken for independent" in note
    made = with_random_effects(design, table, RandomEffects("participant_id"))
    assert made.notes == () and made.clusters == ("a", "a", "b", "c")
    alone = design_of(["a", "b", "c", "d"])
    assert with_random_effects(alone, table, RandomEffects("site")).notes == ()


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
