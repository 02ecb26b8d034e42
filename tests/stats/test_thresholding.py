"""Thresholded maps: which voxels survive, and which settings are refused."""

import numpy as np
import pytest
from scipy import stats

from nipype_group.stats.distributions import f_to_z, log_sf_f, log_sf_t, t_to_z
from nipype_group.stats.random_field.euler import StatField
from nipype_group.stats.thresholding import at_dof_of_field, check_threshold_z, threshold_map

SHAPE = (10, 9, 8)


@pytest.fixture
def z():
    z = np.random.default_rng(8).standard_normal(SHAPE)
    z[2:4, 2:4, 2:4] = 5
    z[6:8, 6:8, 6] = -4.5
    z[9, 0, 0] = 6
    return z


@pytest.fixture
def mask():
    mask = np.ones(SHAPE, dtype=bool)
    mask[0] = False
    return mask


def side_of(z, tail):
    return {"two-sided": np.abs(z), "positive": z, "negative": -z}[tail]


@pytest.mark.parametrize("tail", ["two-sided", "positive", "negative"])
@pytest.mark.parametrize(
    ("control", "settings"),
    [("none", {"threshold_z": 2.3}), ("fpr", {"alpha": 0.01}), ("bonferroni", {}), ("fdr", {})],
)
def test_survivors_are_the_voxels_of_the_mask_that_reach_the_height(
    z, mask, tail, control, settings
):
    result = threshold_map(z, mask, control, tail=tail, **settings)
    expected = mask & (side_of(z, tail) >= result.threshold_z)
    assert 0 < expected.sum() < mask.sum()
    np.testing.assert_array_equal(result.labels > 0, expected)
    assert result.log_p.shape == (mask.sum(),)


@pytest.mark.parametrize("control", ["fpr", "bonferroni", "fdr"])
def test_survivors_have_adjusted_p_of_at_most_alpha(z, mask, control):
    result = threshold_map(z, mask, control, alpha=0.02)
    np.testing.assert_array_equal(result.labels[mask] > 0, result.log_p <= np.log(0.02))


def test_only_the_mask_is_searched_and_counted(z, mask):
    z[0] = 50
    result = threshold_map(z, mask, "bonferroni", tail="positive")
    assert (result.labels[0] == 0).all()
    assert result.threshold_z == pytest.approx(stats.norm.isf(0.05 / mask.sum()))


def test_inclusion_at_exactly_the_threshold(mask):
    z = np.zeros(SHAPE)
    z[5, 5, 5], z[2, 2, 2], z[8, 8, 7] = 3.1, np.nextafter(3.1, 0), -3.1
    labels = threshold_map(z, mask, "none", threshold_z=3.1).labels
    assert (labels[5, 5, 5], labels[8, 8, 7], (labels > 0).sum()) == (1, 2, 2)


def test_extent_and_connectivity_reach_the_labels(mask):
    z = np.zeros(SHAPE)
    z[3, 3, 3] = z[4, 4, 4] = 5
    z[8, 1, 1] = 5
    run = {"threshold_z": 3, "extent": 2}
    assert (threshold_map(z, mask, "none", **run).labels > 0).sum() == 2
    assert threshold_map(z, mask, "none", connectivity=18, **run).labels.max() == 0


def test_nothing_survives_fdr(mask):
    result = threshold_map(np.full(SHAPE, 0.1), mask, "fdr")
    assert result.threshold_z == np.inf
    assert result.labels.max() == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"control": "none"}, "needs threshold_z"),
        ({"control": "none", "threshold_z": 0.001}, "looks like a p value.*fpr.*alpha 0.001"),
        ({"control": "none", "threshold_z": -3.1}, "height > 0, got -3.1; the tail"),
        ({"control": "none", "threshold_z": 0}, "height > 0"),
        ({"control": "fdr", "threshold_z": 3.1}, "goes with height control none, not with fdr"),
        ({"control": "fdr", "alpha": 3.1}, "looks like a z"),
        ({"control": "fpr", "alpha": 0}, "between 0 and 1"),
        ({"control": "tukey"}, "height control is one of"),
        ({"control": "fpr", "extent": -1}, "number of voxels >= 0, got -1"),
        ({"control": "fpr", "connectivity": 4}, "6, 18 or 26, got 4"),
        ({"control": "fpr", "tail": "left"}, "tail is"),
    ],
)
def test_settings_that_are_out_of_range_or_mixed_up_are_refused(z, mask, settings, message):
    with pytest.raises(ValueError, match=message):
        threshold_map(z, mask, **settings)


def test_smallest_plausible_height_passes():
    assert check_threshold_z(1) is None


@pytest.mark.parametrize("kind", ["t", "F"])
def test_statistic_at_the_dof_of_a_field_keeps_its_p(kind):
    rng = np.random.default_rng(1)
    dof = rng.integers(3, 31, 500)
    field = StatField("t", 30) if kind == "t" else StatField("F", (3, 30))
    if kind == "t":
        stat = rng.standard_t(dof) * 3
        z = t_to_z(stat, dof)
        found = at_dof_of_field(stat, z, dof, field)
        np.testing.assert_allclose(stats.t.sf(found, 30), stats.t.sf(stat, dof), rtol=1e-9)
    else:
        stat = rng.f(3, dof) * 3
        z = f_to_z(stat, 3, dof)
        found = at_dof_of_field(stat, z, dof, field)
        np.testing.assert_allclose(stats.f.sf(found, 3, 30), stats.f.sf(stat, 3, dof), rtol=1e-8)
    same = dof == 30
    assert same.any()
    np.testing.assert_array_equal(found[same], stat[same])
    assert (abs(found) <= abs(stat))[z > 2].all()


def test_statistics_that_are_none_stay_0_and_far_ones_stay_finite():
    stat = np.array([0.0, 0.0, 1e30, 4.0])
    z = np.array([0.0, 0.0, 60.0, 3.0])
    dof = np.array([0, 5, 5, 20])
    for field in (StatField("t", 20), StatField("F", (2, 20))):
        found = at_dof_of_field(stat, z, dof, field)
        assert found[[0, 1, 3]].tolist() == [0, 0, 4]
        assert 1e3 < found[2] < np.inf
    assert at_dof_of_field(-stat, -z, dof, StatField("t", 20))[2] < -1e3


@pytest.mark.parametrize("full_dof", [2, 9, 400])
def test_far_statistics_keep_the_log_of_their_p(full_dof):
    t = np.array([-1e40, -40.0, -1e-5, 1e-5, 0.1, 12.0, 1e8])
    dof = np.array([2, 9, 5, 5, 5, 30, 6]) + 1
    found = at_dof_of_field(t, t_to_z(t, dof), dof, StatField("t", full_dof))
    np.testing.assert_allclose(log_sf_t(abs(found), full_dof), log_sf_t(abs(t), dof), rtol=1e-9)
    f = np.square(t)
    found = at_dof_of_field(f, f_to_z(f, 2, dof), dof, StatField("F", (2, full_dof)))
    np.testing.assert_allclose(
        log_sf_f(found, 2, full_dof), log_sf_f(f, 2, dof), rtol=1e-9, atol=1e-13
    )


def test_statistic_of_one_dof_is_left_as_it_is():
    stat = np.array([1.0, -2.0])
    dof = np.array([12, 12])
    assert at_dof_of_field(stat, None, dof, StatField("t", 12)) is stat
