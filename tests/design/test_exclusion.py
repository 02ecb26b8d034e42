"""Rules of whom to leave out."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nipype_group.design.observations import collect
from nipype_group.design.participants.exclusion import read_rule, undecided
from nipype_group.design.sources import MapEntry
from nipype_group.settings import MapsSettings

PEOPLE = pd.DataFrame(
    {
        "participant_id": ["sub-01", "sub-02", "sub-03", "sub-04"],
        "fd": ["0.1", "0.9", None, "0.5"],
        "site": ["a", "b", "b", "a"],
    },
    index=["01", "02", "03", "04"],
)


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    rng = np.random.default_rng(0)
    for label in PEOPLE.index:
        image = nib.Nifti1Image(rng.standard_normal((3, 3, 3)).astype("f4"), np.eye(4))
        image.to_filename(folder / f"{label}.nii")
    return [MapEntry(label, folder / f"{label}.nii", f"{label}.nii") for label in PEOPLE.index]


@pytest.mark.parametrize(
    ("rules", "left", "reason"),
    [
        (["fd > 0.5"], ["sub-02"], "left out by exclude: fd > 0.5 (0.9)"),
        (["fd>=0.5", "site == b"], ["sub-02", "sub-03", "sub-04"], None),
        (["site != a"], ["sub-02", "sub-03"], "left out by exclude: site != a (b)"),
        (["fd < 2e-1", "sub-04"], ["sub-01", "sub-04"], None),
        (["03"], ["sub-03"], "left out by exclude: 03"),
    ],
)
def test_rules_leave_out_and_are_listed(entries, rules, left, reason):
    found = collect(entries, PEOPLE, exclude=rules)
    assert found.excluded["participant_id"].tolist() == left
    assert len(found.table) == 4 - len(left) == len(found.map_files)
    assert reason is None or set(found.excluded["reason"]) >= {reason}


def test_who_has_no_value_is_in_and_told(entries):
    found = collect(entries, PEOPLE, exclude=["fd > 0.5"])
    (line,) = undecided(found.table, [read_rule("fd > 0.5"), read_rule("sub-02")])
    assert line.startswith("exclude 'fd > 0.5' says nothing of sub-03, whose fd is n/a")


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (["fdd > 0.5"], r"exclude 'fdd > 0.5': no column fdd in the tables.*fd"),
        (["sub-05"], r"exclude 'sub-05': no map is of participant 05"),
        (["site > 2"], r"exclude 'site > 2': column site is a of sub-01, which is no number"),
        (["fd > 0", "site == b", "03"], r"No map is left for the analysis: .*left out by exclude"),
    ],
)
def test_rules_that_do_not_fit_are_named(entries, rules, said):
    with pytest.raises(ValueError, match=said):
        collect(entries, PEOPLE.assign(fd=["1", "1", "1", "1"]), exclude=rules)


@pytest.mark.parametrize("text", ["", "fd", "fd >", "a b", "fd = 3", "fd > high"])
def test_what_is_no_rule_is_no_setting(text):
    if text == "fd":
        # The label of a participant.
        assert MapsSettings(exclude=(text,)).exclude == ("fd",)
        return
    with pytest.raises(ValueError, match="exclude"):
        MapsSettings(exclude=(text,))
