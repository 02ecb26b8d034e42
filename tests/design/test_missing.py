"""Means in the place of missing covariates: whose, over whom, and what is said of it."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nipype_group.design.factorial import Factorial
from nipype_group.design.matrix import read_design
from nipype_group.design.participants.means import put_means_in
from nipype_group.design.repeated_measures import covariates_of_model, design_of_model


def table(**columns):
    return pd.DataFrame(columns, dtype=object)


def test_participants_weigh_the_same_however_many_maps_they_have():
    rows = table(
        participant_id=["01", "01", "01", "01", "02", "03", "03"],
        map=list("abcdefg"),
        iq=["80", "80", "80", "80", "120", None, None],
    )
    filled, means, notes = put_means_in(rows, ["iq"], "iq")
    # Over maps it is 88.
    assert filled["iq"].tolist()[5:] == ["100.0", "100.0"]
    assert filled["iq"].tolist()[:5] == rows["iq"].tolist()[:5]
    assert [(m["participant_id"], m["map"], m["Value"]) for m in means] == [
        ("03", "f", 100.0),
        ("03", "g", 100.0),
    ]
    assert notes == (
        "covariate iq is missing for 03: the mean over participants, 100, is put in and counts as "
        "if it were measured",
    )


def test_a_participant_with_other_values_gets_the_mean_of_these():
    rows = table(
        participant_id=["01", "01", "01", "02", "02"],
        age=["20", None, "23", "60", None],
    )
    filled, means, _ = put_means_in(rows, ["age"], "age")
    assert filled["age"].tolist() == ["20", "21.5", "23", "60", "60"]
    assert {m["Of"] for m in means} == {"mean of the participant's other maps"}


@given(
    st.lists(
        st.tuples(st.lists(st.integers(-999, 999), min_size=1, max_size=3), st.sampled_from("xy")),
        min_size=4,
        max_size=12,
    ),
    st.sampled_from(["mean", "within-group", "none"]),
)
def test_the_value_put_in_is_the_mean_of_participants_means(people, centre):
    rows = [
        {"participant_id": f"{i:02d}", "group": group, "iq": str(value)}
        for i, (values, group) in enumerate(people)
        for value in values
    ]
    groups = ["x", "x", "y", "y"]
    rows += [{"participant_id": g + n, "group": g, "iq": "0"} for g, n in zip(groups, "1212")]
    rows += [{"participant_id": f"lacks {g}", "group": g, "iq": None} for g in "xy"]
    model = Factorial((), ("group",), ("iq",), centre)
    filled, means, _ = put_means_in(pd.DataFrame(rows, dtype=object), ["iq"], model)
    people = [*people, *(([0], g) for g in groups)]
    for mean, own in zip(means, "xy", strict=True):
        exact = [
            Fraction(sum(values), len(values))
            for values, group in people
            if centre != "within-group" or group == own
        ]
        assert mean["Value"] == pytest.approx(float(sum(exact) / len(exact)), rel=1e-12, abs=1e-12)
    assert filled["iq"].notna().all()


@pytest.mark.parametrize("centre", ["mean", "within-group"])
def test_centred_it_is_zero(centre):
    rng = np.random.default_rng(2)
    n = 14
    rows = table(
        participant_id=[f"sub-{i:02d}" for i in range(n)],
        group=["xyy"[i % 3] for i in range(n)],
        iq=[None if i in (3, 4) else f"{v:.3f}" for i, v in enumerate(rng.normal(100, 15, n))],
        map=[f"{i}.nii" for i in range(n)],
    )
    model = Factorial((), ("group",), ("iq",), centre)
    design = design_of_model(model, rows, missing_covariates="mean")
    column = design.matrix[:, design.columns.index("iq")]
    np.testing.assert_allclose(column[[3, 4]], 0, atol=1e-12)
    # Those who have values are centred as without the others.
    present = rows[rows["iq"].notna()].reset_index(drop=True)
    alone = design_of_model(model, present)
    np.testing.assert_allclose(
        np.delete(column, [3, 4]), alone.matrix[:, alone.columns.index("iq")], atol=1e-12
    )


def test_a_group_without_any_value_is_refused():
    rows = table(participant_id=list("abcd"), group=list("xxyy"), iq=["1", "2", None, None])
    model = Factorial((), ("group",), ("iq",), "within-group")
    with pytest.raises(ValueError, match="iq has no value of the group y"):
        put_means_in(rows, ["iq"], model)


def test_names_and_whole_tables_stay_as_they_are():
    rows = table(participant_id=list("abc"), sex=["f", None, "m"], age=["1", "2", "3"])
    filled, means, notes = put_means_in(rows, ["sex", "age", "nothing"], "sex + age")
    pd.testing.assert_frame_equal(filled, rows)
    assert not means
    assert not notes


def test_what_factors_are_has_no_mean():
    assert covariates_of_model("age*C(site) + poly(iq, 2) + C(participant_id)") == ["age", "iq"]
    assert covariates_of_model("age * a + Error(participant_id/a)") == ["age"]
    assert covariates_of_model(Factorial(("visit",), ("group",), ("iq",))) == ["iq"]


def test_the_record_of_the_design_tells_all(tmp_path):
    rows = table(
        participant_id=list("abcde"),
        age=["20", None, "32", "27", "40"],
        map=[f"{n}.nii" for n in "abcde"],
    )
    design = design_of_model("age", rows, missing_covariates="mean")
    again = read_design(*design.write(tmp_path))
    assert again.means == (
        {
            "participant_id": "b",
            "map": "b.nii",
            "Column": "age",
            "Value": 29.75,
            "Of": "mean over participants",
        },
    )
    np.testing.assert_array_equal(again.matrix[:, 1], [20, 29.75, 32, 27, 40])
    assert design_of_model("age", rows.dropna(), missing_covariates="mean").describe() == (
        design_of_model("age", rows.dropna()).describe()
    )
