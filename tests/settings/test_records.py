"""Records of settings: types, bounds and choices are those of the fields, and names are known."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nipype_group.settings import AnalysisSettings, PeerSettings
from nipype_group.settings.records import Record, about_of, default_of, record, setting

BASE = {"contrasts": ("mean=intercept",), "formula": "1"}
FIELDS = {item.name: item for item in fields(AnalysisSettings)}
BOUNDED = [n for n, i in FIELDS.items() if about_of(i).least is not None]
NAMED = [n for n, i in FIELDS.items() if about_of(i).choices is not None]


def test_values_are_kept_as_plain_ones():
    made = AnalysisSettings(**BASE | {"atlases": [], "smoothing_fwhm_mm": [5]})
    assert made.atlases == () and made.smoothing_fwhm_mm == (5,)
    assert AnalysisSettings(**BASE, alpha=np.float64(0.01)).alpha == 0.01


def test_a_record_cannot_be_changed():
    made = AnalysisSettings(**BASE)
    with pytest.raises(AttributeError):
        made.alpha = 0.1
    assert made.changed(alpha=0.1).alpha == 0.1 == replace(made, alpha=0.1).alpha
    assert made.alpha == 0.05


def test_a_name_that_is_no_setting_is_refused_with_the_nearest():
    with pytest.raises(TypeError, match="n_permutation is no setting, did you mean n_permut"):
        AnalysisSettings(**BASE, n_permutation=5)
    with pytest.raises(TypeError, match=r"^zzz is no setting$"):
        PeerSettings(zzz=5)


@pytest.mark.parametrize("name", FIELDS)
def test_another_type_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"{name}"):
        AnalysisSettings(**BASE | {name: object()})


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_are_those_of_the_field(name):
    about = about_of(FIELDS[name])
    several = "tuple" in str(FIELDS[name].type)
    outside = [about.least - 1, *([about.least] if about.open_least else [])]
    outside += [] if about.most is None else [about.most + 1]
    for value in outside:
        with pytest.raises(ValueError, match=f"{name} is a number"):
            AnalysisSettings(**BASE | {name: (value,) if several else value})


@pytest.mark.parametrize("name", NAMED)
def test_choices_are_those_of_the_field(name):
    several = "tuple" in str(FIELDS[name].type)
    with pytest.raises(ValueError, match=f"{name} is one of .*, got 'phrenology'"):
        AnalysisSettings(**BASE | {name: ("phrenology",) if several else "phrenology"})


@given(st.sampled_from(list(FIELDS)), st.sampled_from([float("nan"), float("inf")]))
def test_no_number_is_infinite(name, number):
    with pytest.raises(ValueError, match=name):
        AnalysisSettings(**BASE | {name: number})


def test_defaults_are_within_their_bounds():
    for item in FIELDS.values():
        about, default = about_of(item), default_of(item)
        for value in default if isinstance(default, tuple) else (default,):
            if value is not None and about.allowed is not None:
                assert value in about.allowed
            if value is not None and about.least is not None:
                assert about.least <= value and (about.most is None or value <= about.most)


def test_every_setting_says_what_it_is():
    for item in FIELDS.values():
        assert len(about_of(item).help) > 3
    options = [about_of(item).option for item in FIELDS.values() if about_of(item).option]
    assert len(options) == len(set(options)) > 40


def test_what_changes_no_result_is_no_parameter():
    parameters = AnalysisSettings(**BASE).as_parameters()
    assert not {"n_procs", "n_shards", "n_voxel_shards", "memory_gb", "viewer"} & set(parameters)
    assert parameters["height_controls"] == ("fdr",)


def test_paths_stand_as_text(tmp_path):
    (tmp_path / "blocks.txt").write_text("1\n")
    made = AnalysisSettings(
        **BASE, n_permutations=5, blocks=(Path(tmp_path / "blocks.txt"),), seed=3
    )
    assert made.blocks == (str(tmp_path / "blocks.txt"),)


def test_checks_of_all_parts_of_a_record_are_made():
    @record
    class First(Record):
        one: int = setting(1, "one")

        def _check(self):
            super()._check()
            if self.one == 7:
                raise ValueError("seven")

    @record
    class Second(First):
        two: int = setting(2, "two")

    with pytest.raises(ValueError, match="seven"):
        Second(one=7)
    with pytest.raises(TypeError, match="tww is no setting"):
        Second(tww=7)
