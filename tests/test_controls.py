"""Every correction is said once, and those of other packages are found wherever ours are."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import nipype_group
from nipype_group.choices import STATISTICS
from nipype_group.controls import (
    CONTROLS,
    SIDES,
    TAILS,
    height_controls,
    is_threshold_desc,
    permutation_control,
    side_of_contrast,
    side_tested,
    strictness,
)
from nipype_group.registry import Registry, loaded
from nipype_group.reporting.page.methods import references

PACKAGE = Path(nipype_group.__file__).parent
LOG_P = np.log([0.001, 0.01, 0.02, 0.5])


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_is_complete(name):
    control = CONTROLS[name]
    assert control.adjusts in ("none", "fwe", "fdr")
    assert control.corrects == (control.adjusts != "none")
    assert control.kind in ("height", "cluster", "permutation")
    said = control.method.format(alpha=0.05, height="3.1", forming="3.1")
    assert "{" not in said
    assert (control.kind == "height") == (name in height_controls())
    if control.adjust is not None:
        adjusted = loaded(control.adjust)(LOG_P)
        assert adjusted.shape == LOG_P.shape
        assert (np.diff(adjusted) >= 0).all()
    if control.level is not None:
        # The smallest p is rejected by level and by adjusted p alike.
        level = loaded(control.level)(0.05, LOG_P.size)
        assert ((np.log(level) >= LOG_P) == (adjusted <= np.log(0.05))).all()
    assert set(control.references) <= set(references())


def test_names_of_files_tell_controls_and_sides_apart():
    descs = [c.result_desc(tail, 3.1) for c in CONTROLS.values() for tail in TAILS]
    assert len(set(descs)) == len(CONTROLS) * len(SIDES)
    assert all(map(is_threshold_desc, descs))
    assert not any(map(is_threshold_desc, ("model", "ariBoth", "fdrBH2", "permVoxelUnc")))


def test_every_statistic_of_a_shuffle_has_its_control():
    assert [permutation_control(s).of for s in STATISTICS] == list(STATISTICS)


def test_uncorrected_controls_are_the_least_strict():
    names = list(CONTROLS)
    assert [strictness(n) for n in names] == list(range(len(names)))
    uncorrected = [n for n in names if not CONTROLS[n].corrects]
    assert names[-len(uncorrected) :] == uncorrected


@pytest.mark.parametrize("tail", TAILS)
def test_an_f_is_tested_on_its_upper_side(tail):
    assert side_tested(tail, "F") == "positive"
    assert {side_tested(tail, kind) for kind in ("t", "z")} == {tail}


def test_that_rule_and_what_controls_are_called_stand_nowhere_else():
    said = {c.desc for c in CONTROLS.values()} | {c.words for c in CONTROLS.values()}
    said -= {"", "none", "bonferroni", "sidak", "holm", "hommel", "unc"}
    for path in PACKAGE.rglob("*.py"):
        if path.name == "controls.py":
            continue
        # Examples show results.
        code = re.sub(r'"""(?s:.*?)"""', "", path.read_text(encoding="utf-8"))
        assert not [text for text in said if f'"{text}"' in code], path
        assert not re.search(r'"positive" if [^\n]*== "F"', code), path


def test_records_of_one_name_are_refused(monkeypatch):
    class Point:
        value = "other:record"

        @staticmethod
        def load():
            return CONTROLS["fdr"]

    installed = SimpleNamespace(select=lambda group: [Point])
    monkeypatch.setattr("nipype_group.registry._installed", lambda: installed)
    registry = Registry("made.up", "height control", [CONTROLS["fdr"]])
    with pytest.raises(ValueError, match="other:record brings the height control fdr"):
        list(registry)


@pytest.mark.parametrize("text", ["age", "age=up", "age="])
def test_a_contrast_without_a_side_is_named(text):
    with pytest.raises(ValueError, match="NAME=SIDE has one of two-sided, positive, negative"):
        side_of_contrast("age", "two-sided", [text])


def test_a_name_may_hold_the_sign_of_equality():
    assert side_of_contrast("a=b", "two-sided", ["a=b=negative"]) == "negative"
