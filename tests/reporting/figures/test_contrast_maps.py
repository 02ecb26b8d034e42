"""Values at peaks of contrasts on their own error: what is shown is what is tested."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.design.contrasts import build_contrasts
from nipype_group.design.repeated_measures import partitioned_design
from nipype_group.reporting.figures.contrast_maps import contrast_map_views

N = 10
AGES = [23, 35, 31, 48, 52, 27, 44, 39, 61, 30]


@pytest.fixture(scope="module")
def study():
    """Return the observations of a 2 x 2 design in two groups, and values, shape (N, 2, 2)."""
    rows = [
        (f"sub-{i}", a, b, "mp"[i % 2], str(AGES[i]))
        for i in range(N)
        for a in ("a1", "a2", "a3")
        for b in ("b1", "b2")
    ]
    names = ["participant_id", "a", "b", "group", "age"]
    values = np.random.default_rng(4).normal(size=(N, 3, 2)) + 3
    return pd.DataFrame(rows, columns=names), values


def view(study, formula, contrast, values=None):
    maps, own = study
    design = partitioned_design(f"{formula} + Error(participant_id/(a*b))", maps, ["a", "b"])
    (made,) = build_contrasts([f"x={contrast}"], design)
    shown, view_of = contrast_map_views(design, made)
    return shown, view_of((own if values is None else values).ravel())


def test_a_difference_of_conditions_is_one_point_a_participant(study):
    shown, found = view(study, "C(a)*C(b)", "a2 - a1 + 0.5*`a[a2]:b[b2]`")
    differences = (study[1][:, 1] - study[1][:, 0]).mean(axis=1)
    assert (found.kind, found.y_label) == ("strip", "contrast map")
    np.testing.assert_allclose(found.y, differences)
    assert found.estimate == pytest.approx(differences.mean())
    assert shown.participants == [str(i) for i in range(N)]


@pytest.mark.parametrize("coding", ["", ", Sum"])
def test_groups_are_compared_by_the_means_of_participants(study, coding):
    formula = f"C(group{coding})*C(a, Sum)*C(b, Sum)"
    _, found = view(study, formula, "F(group)")
    means = study[1].mean(axis=(1, 2))
    assert (found.kind, found.groups) == ("groups", ("m", "p"))
    np.testing.assert_allclose(found.y, means)
    np.testing.assert_allclose(found.x, np.arange(N) % 2)


def test_groups_of_an_interaction_have_names(study):
    _, found = view(study, "C(group, Sum)*C(a, Sum)*C(b, Sum)", "F(group:b)")
    differences = np.subtract(*study[1].mean(axis=1).T)
    assert (found.kind, found.groups) == ("groups", ("m", "p"))
    np.testing.assert_allclose(np.abs(found.y), np.abs(differences))


def test_conditions_of_an_f_are_deviations_from_the_participant(study):
    shown, found = view(study, "C(a, Sum)*C(b, Sum)", "F(a)")
    by_level = study[1].mean(axis=2)
    deviations = by_level - by_level.mean(axis=1, keepdims=True)
    assert (found.kind, found.groups) == ("conditions", ("a1", "a2", "a3"))
    for place in range(3):
        np.testing.assert_allclose(found.y[found.x == place], deviations[:, place])
    assert len(shown.participants) == len(found.rows) == 3 * N


def test_conditions_of_an_interaction_with_groups_are_without_all_else(study):
    _, found = view(study, "C(group, Sum)*C(a, Sum)*C(b, Sum)", "F(group:a)")
    by_level = study[1].mean(axis=2)
    deviations = by_level - by_level.mean(axis=1, keepdims=True)
    groups = np.arange(N) % 2
    # Groups of equal size: the mean of both is taken out.
    deviations -= np.mean([deviations[groups == g].mean(axis=0) for g in (0, 1)], axis=0)
    assert found.groups == ("m a1", "m a2", "m a3", "p a1", "p a2", "p a3")
    np.testing.assert_allclose(found.y.reshape(N, 3), deviations)


def test_a_covariate_is_an_added_variable_plot_of_contrast_maps(study):
    _, found = view(study, "age*C(b)", "`age:b[b2]`")
    differences = np.subtract(*study[1].mean(axis=1).T[::-1])
    slope = stats.linregress(AGES, differences).slope
    assert found.kind == "covariate"
    assert found.line[1] == pytest.approx(slope)
    assert stats.linregress(found.x, found.y).slope == pytest.approx(slope)


def test_an_f_of_a_covariate_shows_observed_against_fitted(study):
    _, found = view(study, "age*C(a)", "`age:a[a2]`; `age:a[a3]`")
    assert found.kind == "fitted"
    assert len(found.x) == 2 * N


def test_a_participant_who_lacks_a_map_has_no_points(study):
    values = study[1].copy()
    values[4, 1, 0] = np.nan
    shown, found = view(study, "C(a, Sum)*C(b, Sum)", "F(a)", values)
    assert len(found.rows) == 3 * (N - 1)
    assert "4" not in {shown.participants[row] for row in found.rows}
    values[3:] = np.nan
    values[:2] = np.nan
    assert view(study, "C(a, Sum)*C(b, Sum)", "F(a)", values)[1] is None
