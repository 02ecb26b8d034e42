"""ThresholdMap: height controls, tails, extent."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage, stats

from nipype_group.interfaces import ThresholdMap

SHAPE = (12, 11, 10)


@pytest.fixture
def z_map(write_map, tmp_path, monkeypatch):
    """Write a z map with a positive and a negative cluster, and a mask without one face."""
    monkeypatch.chdir(tmp_path)
    z = np.random.default_rng(5).standard_normal(SHAPE).astype(np.float32)
    z[2:5, 2:5, 2:5] += 5
    z[8:10, 7:10, 6:8] -= 5
    z[9, 1, 1] = 6
    z[0] = 9
    mask = np.ones(SHAPE, dtype=np.uint8)
    mask[0] = 0
    files = {"z_file": str(write_map("z.nii", z)), "mask_file": str(write_map("mask.nii", mask))}
    return z, mask > 0, files


def read(path):
    return np.asarray(nib.load(path).dataobj)


def survivors(files, **inputs):
    outputs = ThresholdMap(**files, **inputs).run().outputs
    return outputs, read(outputs.thresholded_file), read(outputs.label_file)


def test_fixed_height_keeps_what_reaches_it(z_map):
    z, mask, files = z_map
    # Inclusion is >=: the value of a voxel itself is a threshold that keeps it.
    height = float(z[3, 3, 3])
    outputs, kept, labels = survivors(files, height_control="none", threshold_z=height)
    np.testing.assert_array_equal(kept != 0, mask & (abs(z) >= height))
    np.testing.assert_array_equal(kept[kept != 0], z[kept != 0])
    assert kept[3, 3, 3] == z[3, 3, 3]
    assert outputs.n_survivors == (labels > 0).sum()
    assert outputs.threshold_z == height


@pytest.mark.parametrize("tail", ["two-sided", "positive", "negative"])
@pytest.mark.parametrize("control", ["fpr", "bonferroni", "fdr"])
def test_height_controls_against_direct_formulas(z_map, control, tail):
    z, mask, files = z_map
    values = z[mask].astype(float)
    p = {
        "two-sided": 2 * stats.norm.sf(abs(values)),
        "positive": stats.norm.sf(values),
        "negative": stats.norm.cdf(values),
    }[tail]
    adjusted = {
        "fpr": lambda: p,
        "bonferroni": lambda: np.minimum(1, p * len(p)),
        "fdr": lambda: stats.false_discovery_control(p),
    }[control]()
    outputs, kept, _ = survivors(files, height_control=control, tail=tail, alpha=0.02)
    np.testing.assert_array_equal(kept[mask] != 0, adjusted <= 0.02)
    assert (kept[mask] != 0).any()
    np.testing.assert_allclose(read(outputs.logp_file)[mask], -np.log10(adjusted), atol=2e-5)
    summary = json.loads(Path(outputs.summary_file).read_text())
    assert (summary["HeightControl"], summary["Tail"], summary["Alpha"]) == (control, tail, 0.02)
    assert summary["SurvivingVoxels"] == np.count_nonzero(kept)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_clusters_are_connected_and_numbered_positive_first_by_size(z_map, connectivity):
    z, mask, files = z_map
    _, _, labels = survivors(
        files, height_control="none", threshold_z=2.0, connectivity=connectivity
    )
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    expected = [ndimage.label(mask & (sign * z >= 2), structure)[1] for sign in (1, -1)]
    assert labels.max() == sum(expected)
    signs = [np.sign(z[labels == i][0]) for i in range(1, labels.max() + 1)]
    assert signs == sorted(signs, reverse=True)
    sizes = np.bincount(labels.ravel())[1:]
    for sign in (1, -1):
        own = sizes[np.array(signs) == sign]
        assert (np.diff(own) <= 0).all()


def test_small_clusters_are_dropped_by_extent(z_map):
    *_, files = z_map
    arguments = {"height_control": "none", "threshold_z": 4.0}
    _, kept, _ = survivors(files, **arguments)
    _, large, labels = survivors(files, cluster_extent=4, **arguments)
    assert kept[9, 1, 1] == 6
    assert large[9, 1, 1] == 0
    assert np.bincount(labels.ravel())[1:].min() >= 4


def test_voxels_outside_the_mask_never_survive(z_map):
    _, mask, files = z_map
    _, kept, _ = survivors(files, height_control="fdr")
    assert not kept[~mask].any()


def test_f_contrast_is_tested_on_its_upper_side(z_map):
    _, _, files = z_map
    outputs, kept, _ = survivors(files, height_control="fpr", stat_type="F", tail="negative")
    assert (kept >= 0).all()
    assert (kept > 0).any()
    assert json.loads(Path(outputs.summary_file).read_text())["Tail"] == "positive"


def test_nothing_survives_is_a_result(z_map, write_map):
    _, mask, files = z_map
    quiet = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32) / 3
    files = files | {"z_file": str(write_map("quiet.nii", quiet))}
    outputs, kept, labels = survivors(files, height_control="fdr")
    assert not kept.any()
    assert not labels.any()
    assert outputs.n_survivors == 0
    summary = json.loads(Path(outputs.summary_file).read_text())
    assert (summary["SurvivingVoxels"], summary["Clusters"]) == (0, 0)
    assert summary["LargestZ"] == pytest.approx(quiet[mask].max())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"height_control": "none"}, "needs threshold_z"),
        ({"height_control": "none", "threshold_z": 0.001}, "looks like a p value"),
        ({"height_control": "none", "threshold_z": -3.1}, "the tail chooses the side"),
        ({"height_control": "fdr", "threshold_z": 3.1}, "goes with height control none"),
        ({"height_control": "fdr", "alpha": 5.0}, "alpha"),
        ({"height_control": "fdr", "alpha": 0.0}, "alpha"),
        ({"height_control": "fpr", "cluster_extent": -1}, "cluster extent"),
    ],
)
def test_settings_that_can_only_be_a_mix_up_are_refused(z_map, inputs, message):
    *_, files = z_map
    with pytest.raises(ValueError, match=message):
        survivors(files, **inputs)
