"""Thresholded maps: which voxels survive, and which settings are refused."""

import numpy as np
import pytest
from scipy import stats

from nipype_group.stats.thresholding import check_threshold_z, threshold_map

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
