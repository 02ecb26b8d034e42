"""Every estimator is complete, and none is named anywhere else."""

import re
from pathlib import Path

import pytest

import nipype_group
from nipype_group.registry import loaded
from nipype_group.reporting.nidm.terms import TERMS
from nipype_group.stats.estimators import ESTIMATORS, estimator_of

PACKAGE = Path(nipype_group.__file__).parent


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_has_a_function_words_and_a_term(name):
    estimator = ESTIMATORS[name]
    assert callable(loaded(estimator.fit))
    assert estimator.words and estimator.nidm_term in TERMS
    assert estimator_of({"Estimator": name}) is estimator
    assert estimator_of({"estimator": name}) is estimator


def test_an_unknown_estimator_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="estimator is one of OLS, random-effects, .*, got 'WLS'"):
        estimator_of({"Estimator": "WLS"})


@pytest.mark.parametrize("name", ESTIMATORS)
def test_no_other_module_names_it(name):
    words = re.escape(ESTIMATORS[name].words)
    # One has the name of a unit.
    quoted = "" if name == "mm" else rf"""["']{name}["']|"""
    said = re.compile(quoted + words, re.IGNORECASE)
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE).as_posix()
        # Those of the estimator itself say what they are.
        if module.startswith(("stats/estimators/", "stats/linear/")):
            continue
        code = path.read_text(encoding="utf-8")
        # Interfaces tell in their docstrings what each estimator does.
        code = re.sub(r'"""(?s:.*?)"""', "", code)
        assert not said.search(code), f"{module} names {name}"
