"""Contrasts and findings in words."""

import numpy as np
import pandas as pd
import pytest

from nipype_group.controls import CONTROLS
from nipype_group.design.contrasts import Contrast, build_contrasts
from nipype_group.design.factorial import Factorial
from nipype_group.design.matrix import design_from_formula
from nipype_group.design.repeated_measures import factorial_design
from nipype_group.reporting.page.sentences import (
    contrast_question,
    critical_value_text,
    largest,
    result_sentence,
)
from nipype_group.reporting.wording import p_value

TABLE = pd.DataFrame(
    {
        "participant_id": [f"sub-{i}" for i in range(12)],
        "age": [str(20 + i * i % 17) for i in range(12)],
        "group": ["patient", "control", "sibling"] * 4,
        "map": "x",
    }
)


def question(formula, definition, tail="two-sided"):
    design = design_from_formula(formula, TABLE)
    (contrast,) = build_contrasts([definition], design)
    return contrast_question(contrast, design, tail)


@pytest.mark.parametrize(
    ("formula", "definition", "tail", "expected"),
    [
        ("1", "mean=intercept", "two-sided", "Is the mean effect different from 0?"),
        ("1", "mean=-intercept", "positive", "Is the mean effect smaller than 0?"),
        ("age", "age=age", "two-sided", "Does the effect change with age?"),
        ("age", "age=age", "positive", "Does the effect grow with age?"),
        ("age", "age=-age", "positive", "Does the effect fall with age?"),
        ("age", "age=[0 1]", "negative", "Does the effect fall with age?"),
        (
            "age + C(group)",
            "age=age",
            "two-sided",
            "Does the effect change with age, adjusted for group?",
        ),
        (
            "age + C(group)",
            "d=patient - control",
            "two-sided",
            "Is patient different from control?",
        ),
        (
            "0 + C(group)",
            "d=patient - (control + sibling) / 2",
            "positive",
            "Is patient larger than the mean of control and sibling?",
        ),
        (
            "0 + C(group) + age",
            "p=group[patient]",
            "two-sided",
            "Is the effect of group[patient] different from 0, adjusted for age?",
        ),
        (
            "0 + C(group)",
            "odd=2*patient - control",
            "two-sided",
            "Is 2*patient - control different from 0?",
        ),
        (
            "0 + C(group)",
            "any=patient - control; patient - sibling",
            "two-sided",
            "Does any of these differ from 0: patient - control; patient - sibling?",
        ),
    ],
)
def test_questions(formula, definition, tail, expected):
    assert question(formula, definition, tail) == expected


def test_a_contrast_of_another_package_is_named_as_it_is():
    contrast = Contrast("faces > 3 houses", "t", np.array([[1.0]]), "faces > 3 houses")
    assert contrast_question(contrast, None, "positive") == "Is faces > 3 houses larger than 0?"


class Result:
    """A result with tables in memory."""

    def __init__(self, settings, clusters=None, peaks=None, correction="familywise error, X"):
        self.settings, self.correction = settings, correction
        self.control = CONTROLS[settings["HeightControl"]]
        self.survives = settings["SurvivingVoxels"] > 0
        self._tables = {"clusters": clusters, "peaks": peaks}

    def table(self, name, needed=()):
        return self._tables[name]


NOTHING = {
    "HeightControl": "bonferroni",
    "Alpha": 0.05,
    "Tail": "two-sided",
    "ThresholdZ": 4.836,
    "SurvivingVoxels": 0,
    "Clusters": 0,
    "LargestZ": 4.1,
    "SmallestZ": -3.25,
}


def test_nothing_survives_is_said_with_the_largest_and_the_critical_value():
    assert result_sentence(Result(NOTHING)) == (
        "Nothing survives (familywise error .05, Bonferroni, both sides): the largest z is 4.10, "
        "the smallest -3.25; the critical value is 4.84 z."
    )


def test_nothing_survives_a_false_discovery_rate_that_has_no_height():
    settings = NOTHING | {"HeightControl": "fdr", "ThresholdZ": None, "Tail": "positive"}
    assert result_sentence(Result(settings)).endswith(
        "the largest z is 4.10; no height would keep a voxel."
    )


def test_nothing_survives_among_the_clusters_of_random_field_theory():
    settings = NOTHING | {
        "HeightControl": "rft-cluster",
        "ClusterFormingZ": 3.09,
        "ClustersBeforeCorrection": 2,
    }
    del settings["ThresholdZ"]
    assert result_sentence(Result(settings)).endswith(
        "clusters form at z 3.09, 2 clusters before correction."
    )


def test_nothing_survives_among_the_clusters_of_permutation():
    settings = NOTHING | {
        "HeightControl": "permutation-extent",
        "StatisticType": "t",
        "CriticalValue": 57.0,
        "ThresholdUnit": "voxels",
        "ClusterFormingZ": 3.09,
        "SmallestCorrectedP": 0.21,
        "LargestStatistic": 4.4,
        "SmallestStatistic": -3.3,
    }
    del settings["LargestZ"], settings["SmallestZ"]
    assert result_sentence(Result(settings)).endswith(
        "the largest t is 4.40, the smallest -3.30; the critical value is 57 voxels; clusters "
        "form at z 3.09; the smallest corrected p is .210."
    )


def test_the_strongest_peak_is_the_one_of_largest_magnitude():
    clusters = pd.DataFrame(
        {"cluster_id": [1, 2], "volume_mm3": [810.0, 27.0], "label": ["Angular_L", "n/a"]}
    )
    peaks = pd.DataFrame(
        {
            "cluster_id": [1, 1, 2],
            "peak_id": [1, 2, 1],
            "x": [-42.0, -40, 30],
            "y": [-60.0, -60, 0],
            "z": [36.0, 30, 0],
            "stat": [7.0, 5, -6],
            "zscore": [6.5, 4.8, -5.2],
            "aal": ["Lingual_L", "Angular_L", "no_label"],
        }
    )
    settings = NOTHING | {"SurvivingVoxels": 31}
    text = result_sentence(Result(settings, clusters, peaks))
    assert text.startswith("2 clusters of 31 voxels (0.8 cm³) in all survive (familywise")
    assert text.endswith("The strongest peak, z 6.50, lies at (-42, -60, 36) mm, Lingual L.")
    one = Result(settings | {"SurvivingVoxels": 1}, clusters.tail(1), peaks.tail(1))
    assert result_sentence(one).startswith("1 cluster of 1 voxel (0.0 cm³) in all survives")
    assert result_sentence(one).endswith("lies at (30, 0, 0) mm.")


def test_small_pieces():
    assert p_value(1.0) == "1.000"
    assert largest(NOTHING | {"Tail": "negative"}) == "the smallest z is -3.25"
    assert critical_value_text({"ThresholdZ": 3.0}) == "3.00 z"


MAPS = pd.DataFrame(
    [
        {"participant_id": f"sub-{i}", "a": a, "b": b, "group": "ps"[i % 2], "age": 20 + i * i % 7}
        for i in range(8)
        for a in ("x", "y", "z")
        for b in ("u", "v")
    ]
).assign(map="x", visit=[1, 2, 4] * 16)
WORDS = [
    (
        "a=F(a)",
        "Is there a main effect of a (x, y, z), averaged over group and b, with covariate age?",
    ),
    (
        "i=F(a:group)",
        "Is there an interaction of a and group, averaged over b, with covariate age?",
    ),
    ("i=F(group:a:b)", "Is there an interaction of group, a and b, with covariate age?"),
    ("c=F(age)", "Does the effect change with age, averaged over group, a and b?"),
    ("c=age", "Does the effect change with age, adjusted for group, a and b?"),
    ("c=F(age:a)", "Does the slope of age depend on a, averaged over group and b?"),
    (
        "s=simple(a @ b=u, group=p)",
        "Is there an effect of a (x, y, z) at b = u and group = p, with covariate age?",
    ),
    (
        "s=simple(age @ b=u)",
        "Does the effect change with age at b = u, averaged over group and a?",
    ),
    ("p=pairs(a @ z - x)", "Is z larger than x, averaged over group and b, with covariate age?"),
    ("d=z - x", "Is z larger than x, averaged over group and b, with covariate age?"),
    (
        "m=a[x]",
        "Is the mean effect at a[x] larger than 0, averaged over group and b, with covariate age?",
    ),
    (
        "m=a[x]:b[v]",
        "Is the mean effect at a[x]:b[v] larger than 0, averaged over group, with covariate age?",
    ),
    (
        "w=2*x - y - z",
        "Is x larger than the mean of y and z, averaged over group and b, with covariate age?",
    ),
]


@pytest.mark.parametrize(("definition", "expected"), WORDS)
def test_questions_in_words(definition, expected):
    model = Factorial(within=("a", "b"), between=("group",), covariates=("age",))
    design = factorial_design(model, MAPS.astype({"age": str}), ("a", "b"))
    (contrast,) = build_contrasts([definition], design)
    asked = contrast_question(contrast, design, "positive")
    if definition.startswith("c=age"):
        expected = expected.replace("change", "grow")
    assert asked == expected


def test_contrasts_in_words_are_described():
    model = Factorial(within=("a", "b"), between=("group",))
    design = factorial_design(model, MAPS, ("a", "b"))
    definitions = ["a=F(a)", "i=F(a:b)", "p=pairs(group @ s - p)", "s=simple(a @ b=u)", "d=x - y"]
    found = [c.description for c in build_contrasts(definitions, design)]
    assert found == [
        "the main effect of a (x, y, z), averaged over group and b",
        "the interaction of a and b, averaged over group",
        "the difference of s from p in group, averaged over a and b",
        "the effect of a (x, y, z) at b = u, averaged over group",
        None,
    ]
    one_way = design_from_formula("C(group)", TABLE)
    (contrast,) = build_contrasts(["g=F(group)"], one_way)
    assert contrast.description == "the effect of group (control, patient, sibling)"
    alone = contrast_question(contrast, None, "two-sided")
    assert alone == "Is the effect of group (control, patient, sibling) different from 0?"
