"""What the sidecar says of a design and its contrasts: numbers, names, and infinities as null."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.design.contrasts import build_contrasts
from nipype_group.design.diagnostics import (
    LevelOfTests,
    column_diagnostics,
    columns_of_terms,
    contrast_diagnostics,
    diagnostics_in_words,
)
from nipype_group.design.matrix import design_from_formula
from nipype_group.design.repeated_measures import partitioned_design

N = 24


@pytest.fixture
def table():
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i:02d}" for i in range(N)],
            "age": rng.normal(40, 8, N).round(4).astype(str),
            "group": np.repeat(["a", "b", "c"], N // 3),
            "site": np.repeat(["x", "y", "y"], N // 3),
        }
    )


def test_columns_of_a_factor_belong_to_one_term(table):
    design = design_from_formula("group * age + poly(age, degree=2)", table)
    terms = columns_of_terms(design)
    assert [len(terms[t]) for t in ("group", "age", "group:age")] == [2, 1, 2]
    assert [len(c) for t, c in terms.items() if t.startswith("poly")] == [2]
    assert sum(map(len, terms.values())) == len(design.columns) - 1


def test_inflation_is_told_of_columns_and_of_factors(table):
    design = design_from_formula("age + group", table)
    about = column_diagnostics(design)
    assert list(about["VarianceInflation"]) == ["age", "group[b]", "group[c]"]
    factor = about["GeneralizedVarianceInflation"]["group"]
    assert factor["Columns"] == 2
    assert factor["Root"] == pytest.approx(factor["Value"] ** 0.25, rel=1e-5)
    # The age of everybody beside a factor: both terms share the one overlap.
    assert factor["Value"] == pytest.approx(about["VarianceInflation"]["age"], rel=1e-5)
    assert len(about["Leverage"]) == N
    assert sum(about["Leverage"]) == pytest.approx(4, abs=1e-4)
    assert about["LargestLeverage"] == max(about["Leverage"])
    assert about["Confounded"] == []


def test_a_site_that_a_group_determines_is_named(table):
    design = design_from_formula("group + site", table)
    about = column_diagnostics(design)
    assert [set(names) for names in about["Confounded"]] == [{"group[b]", "group[c]", "site[y]"}]
    assert set(about["VarianceInflation"].values()) == {None}
    assert about["GeneralizedVarianceInflation"]["group"]["Value"] is None
    (words,) = diagnostics_in_words(about)
    assert words.endswith("cannot be told apart")
    # A file of JSON has no infinity.
    assert json.loads(json.dumps(design.describe(), allow_nan=False))["Rank"] == 3


def test_effects_of_contrasts_have_their_side_and_level(table):
    design = design_from_formula("0 + group", table)
    t, f = build_contrasts(["ab=a - b", "any=a - b; b - c"], design)
    level = LevelOfTests(0.05, "two-sided", {"ab": "positive"}, 50_000)
    about = contrast_diagnostics(t, design, level)
    assert about["Efficiency"] == pytest.approx(4)
    assert about["RelativeEfficiency"] == pytest.approx(1)
    effect = about["DetectableEffect"]
    assert (effect["Measure"], effect["Tail"]) == ("Cohen's d", "positive")
    assert effect["SizeBonferroni"] > 1.5 * effect["Size"]
    both = contrast_diagnostics(t, design, LevelOfTests())["DetectableEffect"]
    assert both["Tail"] == "two-sided" and both["Size"] > effect["Size"]
    assert "SizeBonferroni" not in both
    effect = contrast_diagnostics(f, design, level)["DetectableEffect"]
    assert (effect["Measure"], effect["Tail"]) == ("Cohen's f", "positive")


def test_an_effect_that_cannot_be_detected_is_null(table):
    few = table.iloc[[0, 1, 9]].reset_index(drop=True)
    design = design_from_formula("0 + group", few)
    (f,) = build_contrasts(["any=a; b"], design)
    effect = contrast_diagnostics(f, design, LevelOfTests(n_voxels=10**6))["DetectableEffect"]
    assert effect["SizeBonferroni"] is None and effect["Size"] is not None


def test_contrasts_on_their_own_error_detect_effects_in_units_of_their_contrast_maps():
    rows = [(f"s{i}", level, "mp"[i % 2]) for i in range(12) for level in ("a1", "a2", "a3")]
    maps = pd.DataFrame(rows, columns=["participant_id", "a", "group"])
    design = partitioned_design("C(a) + Error(participant_id/a)", maps, ["a"])
    t, f = build_contrasts(["step=a2 - a1", "any=`a[a2]`; `a[a3]`"], design)
    effect = contrast_diagnostics(t, design, LevelOfTests())["DetectableEffect"]
    assert effect["Measure"] == "Cohen's d_z"
    # A paired t test of 12 pairs: 80 % at the noncentrality d_z sqrt(12).
    t_critical = stats.t.isf(0.025, 11)
    power = stats.nct.sf(t_critical, 11, effect["Size"] * np.sqrt(12))
    assert power == pytest.approx(0.8, abs=1e-4)
    effect = contrast_diagnostics(f, design, LevelOfTests())["DetectableEffect"]
    critical = stats.f.isf(0.05, 2, 22)
    power = stats.ncf.sf(critical, 2, 22, 24 * effect["Size"] ** 2)
    assert power == pytest.approx(0.8, abs=1e-4)
