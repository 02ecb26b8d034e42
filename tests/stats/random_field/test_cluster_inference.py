"""Cluster inference: SPM12's tables from the real maps on, and what holds of any map.

SPM's statistic is float32, and so the p agree to 1e-6.
"""

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from nipype_group.stats.clusters import label_clusters
from nipype_group.stats.linear.least_squares import LinearModel, contrast_maps, fit_tiles
from nipype_group.stats.multiple_testing import adjust_fdr
from nipype_group.stats.random_field.clusters import forming_height, infer_clusters, search_volume
from nipype_group.stats.random_field.euler import StatField
from nipype_group.stats.random_field.inference import expected_ec, expected_extent, log_p_extent
from nipype_group.stats.random_field.resels import SearchVolume, sphere_resels
from nipype_group.stats.random_field.smoothness import residual_smoothness
from nipype_group.stats.random_field.topological import height_of_fwe

CLOSE = {"rtol": 1e-5, "atol": 1e-9}
# SPM's own contrasts: -1 is the negative tail here.
CONTRASTS = [
    ("onesamp", "pos", [1], "t", "positive"),
    ("onesamp", "neg", [1], "t", "negative"),
    ("onesamp", "eff", [1], "F", "positive"),
    ("regr", "slope_pos", [0, 1], "t", "positive"),
    ("regr", "slope_neg", [0, 1], "t", "negative"),
    ("regr", "mean", [1, 0], "t", "positive"),
    ("regr", "slope_F", [0, 1], "F", "positive"),
]


class Fit:
    """One model on the real maps, its smoothness and search volume."""

    def __init__(self, matrix, data, image):
        self.mask = mask = image.get_fdata() > 0
        self.to_voxel = np.linalg.inv(image.affine)
        self.model = LinearModel(matrix, ("intercept", "success")[: matrix.shape[1]])
        self.betas, self.variance, _ = fit_tiles(self.model, lambda a, b: data[:, a:b], mask.sum())
        residuals = (self.volume(y - x @ self.betas) for x, y in zip(matrix, data, strict=True))
        self.smoothness = residual_smoothness(residuals, mask, self.model.dof, edges="spm")
        self.search = search_volume(mask, self.smoothness.fwhm_voxels)

    def volume(self, values):
        image = np.zeros(self.mask.shape)
        image[self.mask] = values
        return image

    def contrast(self, weights, test):
        fit = self.betas, self.variance, self.model.covariance, self.model.dof
        maps, dof = contrast_maps(np.array([weights], float), test, *fit, "two-sided")
        return self.volume(maps["stat"]), StatField(test, dof)


@pytest.fixture(scope="module")
def fits(shared, wager, success):
    mask = nib.load(shared / "data/wager2008/mask.nii.gz")
    slope = np.column_stack([np.ones(30), success - success.mean()])
    return {"onesamp": Fit(np.ones((30, 1)), wager, mask), "regr": Fit(slope, wager, mask)}


def smallest(values, keep):
    """Return what SPM12 calls the threshold: the smallest value kept, None where there is none."""
    return pytest.approx(values[keep].min(), rel=1e-6) if keep.any() else None


@pytest.mark.parametrize("model", ["onesamp", "regr"])
def test_smoothness_and_resels_are_those_of_spm(shared, fits, model):
    fit, spm = fits[model], shared / "oracles/spm" / model
    design = json.loads((spm / "design.json").read_text())
    np.testing.assert_allclose(fit.search.fwhm_voxels, design["FWHM"], rtol=1e-9)
    np.testing.assert_allclose(fit.search.resels, design["R"], rtol=1e-9)
    assert fit.search.n_voxels == design["S"]
    rpv = nib.load(spm / "RPV.nii.gz").get_fdata()
    # NaN where SPM has NaN, 0 on the upper faces.
    np.testing.assert_allclose(fit.smoothness.resels_per_voxel, rpv, rtol=1e-6)


@pytest.mark.parametrize("setting", ["p0001", "p0001_nonstat", "p001"])
@pytest.mark.parametrize(("model", "name", "weights", "test", "tail"), CONTRASTS)
def test_tables_are_those_of_spm(shared, fits, model, name, weights, test, tail, setting, agree):
    fit, spm = fits[model], shared / "oracles/spm" / model
    result = json.loads((spm / "results.json").read_text())[f"{name}_{setting}"]
    table = pd.read_csv(spm / f"{name}_{setting}_table_allmaxima.csv")
    stat, field = fit.contrast(weights, test)
    height, _ = forming_height(field, tail, p=result["punc"])
    assert height == pytest.approx(result["u"], rel=1e-6)
    arguments = (height, field, fit.search)
    rpv = fit.smoothness.resels_per_voxel if result["nonstat"] else None
    options = {"tail": tail, "connectivity": 18, "rpv": rpv}
    found = infer_clusters(stat, fit.mask, field, fit.search, height, **options)

    at = np.rint(nib.affines.apply_affine(fit.to_voxel, table[["x", "y", "z"]])).astype(int)
    assert sorted(at.tolist()) == np.argwhere(np.isfinite(found.peak_log_q)).tolist()
    at = tuple(at.T)
    heads = table.clus_k.notna().to_numpy()
    clusters, ids = table[heads], found.labels[at][heads] - 1
    # The peaks of a cluster follow it in the table.
    np.testing.assert_array_equal(found.labels[at] - 1, ids[np.cumsum(heads) - 1])
    assert sorted(ids) == list(range(len(found.n_voxels)))
    np.testing.assert_array_equal(found.n_voxels[ids], clusters.clus_k)
    for log_p, p in (
        (found.log_p_unc[ids], clusters.clus_punc),
        (found.log_p_fwe[ids], clusters.clus_pFWE),
        (found.peak_log_p[at], table.peak_pFWE),
        (found.peak_log_q[at], table.peak_qFDR),
        (found.set_log_p, table.set_p[:1]),
    ):
        agree(
            "SPM",
            "tables from the maps on: p and q of peaks, clusters and sets",
            np.exp(log_p),
            p,
            **CLOSE,
        )
    np.testing.assert_allclose(found.log_q_fdr, adjust_fdr(found.log_p_unc))
    log_q = found.log_q_fdr
    if result["nonstat"]:
        # SPM12 ranks p of varying smoothness in the list of constant smoothness: q is that of
        # the next larger p there, which may be the same but for rounding.
        listed = np.sort(log_p_extent(fit.search.to_resels(found.n_voxels), *arguments))
        rank = np.searchsorted(listed, found.log_p_unc - 1e-6)
        log_q = np.r_[adjust_fdr(listed), 0.0][rank]
    agree(
        "SPM",
        "tables from the maps on: q of clusters",
        np.exp(log_q[ids]),
        clusters.clus_qFDR,
        **CLOSE,
    )

    expected = expected_extent(*arguments) * fit.search.voxels_per_resel, expected_ec(*arguments)
    np.testing.assert_allclose(expected, result["ftr"][11:13], rtol=1e-6)
    fwe_height, fdr_height, fwe_extent, fdr_extent = result["uc"]
    assert height_of_fwe(0.05, field, fit.search) == pytest.approx(fwe_height, rel=1e-6)
    assert fdr_height == smallest(np.abs(stat), found.peak_log_q <= np.log(0.05))
    if not result["nonstat"]:
        # SPM12's extent thresholds are those of constant smoothness throughout.
        assert fwe_extent == smallest(found.n_voxels, found.log_p_fwe <= np.log(0.05))
        assert fdr_extent == smallest(found.n_voxels, found.log_q_fdr <= np.log(0.05))


SHAPE, FWHM, HEIGHT = (24, 22, 20), (2.6, 2.8, 3.0), 2.5
T29, F2 = StatField("t", 29), StatField("F", (2, 27))
LISTS = ("n_voxels", "n_resels", "log_p_unc", "log_p_fwe", "log_q_fdr")
# A ball that fills the volume.
MASK = np.linalg.norm(np.indices(SHAPE).T / (np.array(SHAPE) - 1) - 0.5, axis=-1).T < 0.52


@pytest.fixture(scope="module")
def stat():
    """Smooth noise with a large cluster on each side."""
    values = gaussian_filter(np.random.default_rng(5).standard_normal(SHAPE), 1.1)
    values *= 1.3 / values.std()
    values[8:12, 8:13, 6:11] += 4
    values[13:17, 9:13, 11:15] -= 4
    return values


def infer(stat, mask=MASK, **options):
    options = {"tail": "positive", "height": HEIGHT, "field": T29} | options
    volume = options.pop("volume", search_volume(mask, FWHM))
    return infer_clusters(stat, mask, options.pop("field"), volume, **options)


def assert_same(one, other):
    for name in vars(one):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_two_sided_is_both_sides_with_doubled_p(stat):
    both, up, down = (infer(stat, tail=tail) for tail in ("two-sided", "positive", "negative"))
    labels = up.labels + np.where(down.labels > 0, down.labels + up.labels.max(), 0)
    np.testing.assert_array_equal(both.labels, labels)
    for name in LISTS:
        sides = np.concatenate([getattr(up, name), getattr(down, name)])
        if "log" in name:
            sides = np.minimum(sides + np.log(2), 0)
        np.testing.assert_allclose(getattr(both, name), sides, err_msg=name)
    for name in ("peak_log_p", "peak_log_q"):
        side = np.where(down.labels > 0, getattr(down, name), getattr(up, name))
        doubled = np.where(both.labels > 0, np.minimum(side + np.log(2), 0), side)
        np.testing.assert_allclose(getattr(both, name), doubled, err_msg=name)
    # The number of clusters is a statement of one side.
    assert both.set_log_p == up.set_log_p + down.set_log_p


def test_turning_the_map_turns_the_tail(stat):
    assert_same(infer(-stat, tail="negative"), infer(stat))


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_clusters_keep_their_ids(stat, connectivity):
    found = infer(stat, connectivity=connectivity)
    expected = label_clusters(stat, MASK & (stat >= HEIGHT), connectivity)
    np.testing.assert_array_equal(found.labels, expected)
    assert np.all(np.diff(found.log_p_fwe) >= 0)


@pytest.mark.parametrize("height", [2.1, 3.1, 4.7])
def test_a_map_in_float32_is_read_as_it_is(height):
    stat = np.zeros(SHAPE, dtype=np.float32)
    stat[12, 12, 8:11] = 5, 4.9, height
    assert_same(infer(stat, height=height), infer(stat.astype(float), height=height))
    found = infer(stat, 2 * MASK.astype(int), height=float(stat[12, 12, 10]))
    # The height itself is inside, and a mask is what is not 0.
    assert found.n_voxels.tolist() == [3]


def test_values_outside_the_mask_are_not_looked_at(stat):
    assert_same(infer(np.where(MASK, stat, np.nan)), infer(stat))
    assert_same(infer(np.where(MASK, stat, 99)), infer(stat))


def test_peaks_lie_in_their_clusters(stat):
    found = infer(stat, tail="two-sided")
    peaks, inside = np.isfinite(found.peak_log_q), found.labels > 0
    assert not np.any(peaks & ~inside)
    assert np.all(found.peak_log_p[~inside] == 0)
    for i in range(1, len(found.n_voxels) + 1):
        own = found.labels == i
        top = own & (np.abs(stat) == np.abs(stat)[own].max())
        assert np.all(peaks[top])
        assert np.all(found.peak_log_q[own & peaks] >= found.peak_log_q[top][0])
        assert np.all(found.peak_log_p[own] >= found.peak_log_p[top][0])


def test_correction_never_makes_p_smaller(stat):
    found = infer(stat)
    # This holds where more than one cluster is expected.
    assert expected_ec(HEIGHT, T29, search_volume(MASK, FWHM)) > 1
    assert np.all(np.minimum(found.log_p_fwe, found.log_q_fdr) >= found.log_p_unc)
    assert found.log_p_fwe.min() < np.log(0.01)


@pytest.mark.parametrize("tail", ["positive", "negative", "two-sided"])
@pytest.mark.parametrize("rpv", [None, np.full(SHAPE, 0.05)])
def test_no_cluster_is_a_result(stat, tail, rpv):
    found = infer(stat, height=50.0, tail=tail, rpv=rpv)
    assert all(getattr(found, name).shape == (0,) for name in LISTS)
    assert not found.labels.any() and not found.peak_log_p.any()
    assert np.isnan(found.peak_log_q).all()
    assert found.set_log_p == (0.0,) * (2 if tail == "two-sided" else 1)
    labels, kept = found.survivors(0.05)
    assert not labels.any() and len(kept) == 0


def test_a_small_volume_is_corrected_less(stat):
    small = np.zeros(SHAPE, dtype=bool)
    small[6:16, 5:16, 3:14] = True
    few, all_ = infer(stat, small & MASK), infer(stat)
    # The large cluster lies in it entirely.
    assert few.log_p_unc[0] == all_.log_p_unc[0]
    assert few.log_p_fwe[0] < all_.log_p_fwe[0]
    np.testing.assert_array_equal(few.labels > 0, small & (all_.labels > 0))
    assert np.all(few.peak_log_p[small] <= all_.peak_log_p[small])
    ball = SearchVolume(sphere_resels(5.0, np.array(FWHM)), 500, FWHM)
    assert infer(stat, small & MASK, volume=ball).log_p_fwe[0] < few.log_p_fwe[0]


def test_survivors_are_numbered_anew(stat):
    found = infer(stat, tail="two-sided")
    labels, kept = found.survivors(0.05)
    # The largest of each side: negative clusters follow the positive ones.
    assert kept.tolist() == [0, len(infer(stat).n_voxels)]
    for new, old in enumerate(kept, start=1):
        np.testing.assert_array_equal(labels == new, found.labels == old + 1)
    edge = float(np.exp(found.log_p_fwe[kept[1]]))
    assert [len(found.survivors(edge * f)[1]) for f in (1 - 1e-9, 1 + 1e-9)] == [1, 2]
    with pytest.raises(ValueError, match="alpha is a probability between 0 and 1, got 0"):
        found.survivors(0)


def test_extents_are_in_local_resels(stat):
    rpv = np.full(SHAPE, 1 / np.prod(FWHM))
    stationary, local = infer(stat), infer(stat, rpv=rpv)
    ratio = local.n_resels / stationary.n_resels
    # Between cubes and voxels: one voxel counts half, the border matters less as clusters grow.
    assert np.all((ratio >= 0.5 - 1e-12) & (ratio < 1)) and ratio[0] > 0.7
    np.testing.assert_allclose(ratio[stationary.n_voxels == 1], 0.5)
    np.testing.assert_array_equal(local.peak_log_p, stationary.peak_log_p)
    # Where nothing is known, the whole volume's smoothness stands in.
    rpv[local.labels == 2] = np.nan
    rpv[local.labels == 1] *= 2
    two = infer(stat, rpv=rpv)
    np.testing.assert_allclose(two.n_resels / local.n_resels, [2] + [1] * (len(ratio) - 1))
    assert two.log_p_fwe[0] < local.log_p_fwe[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"field": F2, "tail": "two-sided"}, "a F statistic is tested on its positive side"),
        ({"field": F2, "tail": "negative"}, "positive side, got negative"),
        ({"field": StatField("chi2", 2), "tail": "two-sided"}, "a chi2 statistic is tested on"),
        ({"height": 0.001}, "0.001 looks like a p value"),
        ({"height": -3.1}, "a cluster-forming height is > 0, got -3.1"),
        ({"tail": "both"}, "tail is one of two-sided, positive, negative"),
        ({"connectivity": 8}, "connectivity is 6, 18 or 26, got 8"),
        ({"rpv": np.ones((2, 2, 2))}, "images of one shape"),
        ({"volume": SearchVolume([1, 9, 9, 9])}, "fwhm_voxels is needed"),
    ],
)
def test_bad_input_is_refused(stat, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        infer(stat, **options)
