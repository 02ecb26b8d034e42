"""Which maps may vary together."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nipype_group.design.matrix import Design, read_design
from nipype_group.design.participants.clusters import needs_of, with_clusters


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
        (None, "no column family to take clusters from; there are participant_id"),
    ],
)
def test_clusters_that_cannot_be_are_refused(values, told):
    design = design_of(["a", "a", "b", "c"])
    table = design.keys if values is None else design.keys.assign(family=values)
    with pytest.raises(ValueError, match=told):
        with_clusters(design, table, "family")
