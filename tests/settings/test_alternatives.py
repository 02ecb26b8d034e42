"""Alternatives in a file of settings."""

import json

import pytest

from nipype_group.settings import AnalysisSettings, read_settings
from nipype_group.settings.alternatives import (
    check_alternatives,
    read_alternatives,
    statistic_of,
)

BASE = {"formula": "age", "contrasts": ["age=age"]}


@pytest.fixture
def read(tmp_path):
    def read(alternatives, **base):
        path = tmp_path / "multiverse.json"
        path.write_text(json.dumps({**BASE, **base, "alternatives": alternatives}))
        return read_alternatives(path)

    return read


def settings_of(alternative):
    return AnalysisSettings(**alternative.values)


def test_all_products_are_whole_settings_with_names(read):
    found = read(
        {
            "smoothing_fwhm_mm": [4, [6, 6, 8]],
            "exclude": [[], ["fd > 0.5", "sub-02"]],
            "model": {"plain": {}, "robust": {"estimator": "huber", "formula": "age + iq"}},
        }
    )
    assert len(found) == 8
    assert found[0].name == "smoothing_fwhm_mm 4, exclude none, model plain"
    last = found[-1]
    assert last.choices == {
        "smoothing_fwhm_mm": "6 + 6 + 8",
        "exclude": "fd > 0.5 + sub-02",
        "model": "robust",
    }
    own = settings_of(last)
    assert own.smoothing_fwhm_mm == (6.0, 6.0, 8.0) and own.exclude == ("fd > 0.5", "sub-02")
    assert (own.estimator, own.formula, own.contrasts) == ("huber", "age + iq", ("age=age",))


def test_one_value_in_a_named_choice_is_that_of_a_list(read):
    first, second = read({"m": {"a": {}, "b": {"smoothing_fwhm_mm": 6, "exclude": "sub-02"}}})
    assert settings_of(first).smoothing_fwhm_mm == ()
    assert settings_of(second).changed().smoothing_fwhm_mm == (6.0,)
    assert settings_of(second).exclude == ("sub-02",)


def test_a_list_with_names_is_taken_as_it_is(read):
    found = read([{"name": "ours"}, {"name": "theirs", "smoothing_fwhm_mm": 8, "alpha": 0.01}])
    assert [one.choices for one in found] == [{"": "ours"}, {"": "theirs"}]
    assert settings_of(found[1]).smoothing_fwhm_mm == (8.0,)


def test_corrections_have_one_statistic(read):
    found = read({"height_controls": ["fdr", "bonferroni"], "smoothing_fwhm_mm": [4, 6]})
    assert len({statistic_of(settings_of(one)) for one in found}) == 2


@pytest.mark.parametrize(
    ("alternatives", "said"),
    [
        ({"smoothing_fwhm": [4, 6]}, "smoothing_fwhm is no setting.*smoothing_fwhm_mm"),
        ({"smoothing_fwhm_mm": []}, "smoothing_fwhm_mm lists nothing"),
        ({"smoothing_fwhm_mm": 4}, "smoothing_fwhm_mm is a list of values, got 4"),
        ({"smoothing_fwhm_mm": [4, 4.0]}, "smoothing_fwhm_mm lists 4 twice"),
        ({"alpha": [i / 1000 for i in range(1, 300)]}, "299 make 299 alternatives, and 256"),
        ({"seed": [1, 2]}, "all alternatives share seed"),
        ({"n_procs": [1, 2]}, "n_procs is no setting"),
        ({"also_write": [[], "all"]}, "also_write is no choice, as it changes nothing"),
        ({"across_analyses": ["none", "fdr"]}, "across_analyses is no choice"),
        ([{"name": "a"}, {"name": "b", "figure_dpi": 200}], "figure_dpi is no choice"),
        ({"m": {"a": {"alpha": 0.1}, "b": {"alpha": 0.1}}}, "m a and m b are the same"),
        ({"m": {"a": {"alpha": 0.1}, "b": 3}}, "m gives choices a name, and b is no object"),
        ({"alpha": [0.1, 0.2], "m": {"a": {"alpha": 0.1}}}, "both vary alpha"),
        ({"alpha": [0.1]}, "makes one analysis alone"),
        ([{"alpha": 0.1}], "number 1 needs a name of its own"),
        (
            {"participants": {"a": {"alpha": 0.1}, "b": {}}},
            "participants is a column of the tables",
        ),
        ({"m": {"a\nb": {"alpha": 0.1}, "b": {}}}, r"'a\\nb' is no name"),
        ({"m": {"a": {"alpha": 0.1}, " ": {}}}, "' ' is no name"),
        ([{"name": "a\tb"}, {"name": "c", "alpha": 0.1}], r"'a\\tb' is no name"),
        ("all", "an object of lists, or a list of objects with a name"),
    ],
)
def test_what_is_wrong_is_named(read, alternatives, said):
    with pytest.raises(ValueError, match=rf"multiverse\.json.*{said}"):
        read(alternatives)


def test_a_run_of_one_analysis_points_to_the_command(read, tmp_path):
    read({"alpha": [0.1, 0.2]})
    with pytest.raises(ValueError, match="nipype-group multiverse runs"):
        read_settings(tmp_path / "multiverse.json")


def test_alternatives_share_contrasts_and_their_shuffles():
    one = AnalysisSettings(formula="age", contrasts=("age=age",), n_permutations=99)
    other = one.changed(contrasts=("slope=age",))
    with pytest.raises(ValueError, match="b: its contrasts are slope, and those of a age"):
        check_alternatives({"a": one, "b": other})
    with pytest.raises(ValueError, match="b: task makes an analysis of each of its values"):
        check_alternatives({"a": one, "b": one.changed(each=("task",))})
    with pytest.raises(ValueError, match="b: across_analyses fdr corrects over several analyses"):
        check_alternatives({"a": one, "b": one.changed(across_analyses="fdr")})
    other = one.changed(statistics=("voxel", "tfce"))
    with pytest.raises(ValueError, match="b: statistics is not of the largest z of voxels"):
        check_alternatives({"a": one, "b": other})
