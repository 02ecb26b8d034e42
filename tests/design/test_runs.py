"""Which maps are combined into one, whatever they are called."""

import pandas as pd
import pytest

from nipype_group.design.participants.runs import group_runs


def observations(*rows):
    """Return a table of participant, session, run and map."""
    table = pd.DataFrame(rows, columns=["participant_id", "session", "run", "map"])
    return table.assign(sha256="0")


def test_names_of_combinations_are_their_own():
    rows = [("a b", 1, r, f"{r}.nii") for r in (1, 2)]
    rows += [("a-b", 1, r, f"{r}.nii") for r in (3, 4)]
    # Another one is called as the second would be.
    rows += [("é<b>/..", 1, r, f"{r}.nii") for r in (5, 6)] + [("c", 1, 1, "a-b_combined2")]
    found = group_runs(observations(*rows), ["run"], ["run"])
    names = found.table["map"].tolist()
    assert names == ["a-b_combined", "a-b_combined3", "é-b--.._combined", "a-b_combined2"]
    assert found.rows == [[0, 1], [2, 3], [4, 5], [6]]


def test_maps_that_differ_in_something_else_are_not_one():
    """Sessions that no column of the conditions tells, as dates of participants do not."""
    rows = [("a", s, r, f"{s}-{r}.nii") for s in (101, 102) for r in (1, 2)]
    rows += [("b", 201, 1, "b.nii")]
    with pytest.raises(ValueError, match=r"a has several maps of run 1, 101-1\.nii and 102-1"):
        group_runs(observations(*rows), ["run"], ["run"])
    assert group_runs(observations(*rows), ["run"], ["run", "session"]).rows[0] == [0, 1, 2, 3]
    stay = group_runs(observations(*rows), ["session", "run"], ["run"])
    assert stay.rows == [[0, 1], [2, 3], [4]] and stay.condition_columns == ["session"]
