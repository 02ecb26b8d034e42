"""What the record of agreement holds, and how a difference is measured."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from agreement import PROPERTY, gathered, relative_difference

STORED = Path(__file__).parents[1] / "docs" / "agreement.json"


@pytest.mark.parametrize(
    ("ours", "theirs", "rtol", "atol", "expected"),
    [
        ([1.001, 2], [1, 2], 1e-2, 0, 1e-3),
        # At the limit of both tolerances the difference is rtol.
        ([100 + 1.5], [100], 1e-2, 0.5, 1e-2),
        ([0.1], [0], 1e-2, 1, 1e-3),
        ([3, 0.5], [4, 0.5], 0, 1, 0.25),
        ([np.nan, 1], [np.nan, 1], 1e-6, 0, 0),
        ([0], [0], 0, 1, 0),
    ],
)
def test_differences_are_shares_of_the_other(ours, theirs, rtol, atol, expected):
    assert relative_difference(ours, theirs, rtol, atol) == pytest.approx(expected)


def test_rows_hold_the_largest_difference_of_all_tests(agree, request):
    agree("peer", "t", np.array([1.0, 2.0]), np.array([1.0, 2.002]), rtol=1e-2)
    agree("peer", "t", 5.0, 5.0, rtol=1e-3)
    own = [entry for entry in request.node.user_properties if entry[0] == PROPERTY]
    (row,) = gathered([SimpleNamespace(user_properties=own)])
    assert (row["peer"], row["quantity"], row["values"]) == ("peer", "t", 3)
    assert row["difference"] == pytest.approx(0.002 / 2.002)
    assert row["allowed"] == 1e-2
    # This test is none of another package.
    request.node.user_properties[:] = []


def test_what_differs_fails_and_is_not_recorded(agree, request):
    with pytest.raises(AssertionError, match="t of peer"):
        agree("peer", "t", 1.1, 1.0, rtol=1e-2)
    assert not request.node.user_properties


def test_the_stored_record_names_all_packages_and_keeps_what_is_allowed():
    stored = json.loads(STORED.read_text())
    assert not stored["failed"] and stored["passed"] > 150
    peers = " ".join(dict.fromkeys(row["peer"] for row in stored["rows"]))
    for name in ("SPM", "FSL", "PALM", "nilearn", "SwE", "lme4", "metafor", "robustbase"):
        assert name in peers
    for row in stored["rows"]:
        assert row["values"] > 0 and row["difference"] <= row["allowed"], row
