"""ThresholdMap under every height control, against adjusted p by other routes."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from nipype_group.controls import TAILS, height_controls
from nipype_group.interfaces import ThresholdMap
from nipype_group.stats.distributions import f_to_z, t_to_z
from nipype_group.stats.random_field.inference import log_p_height
from nipype_group.stats.random_field.topological import height_of_fwe

SHAPE = (9, 8, 7)
ALPHA = 0.04
STATSMODELS = {
    "bonferroni": "bonferroni",
    "sidak": "sidak",
    "holm": "holm",
    "hommel": "hommel",
    "fdr": "fdr_bh",
    "fdr-by": "fdr_by",
}
# Thresholds of these depend on alpha and the number of voxels alone.
FIXED = {
    "fpr": lambda alpha, m: alpha,
    "bonferroni": lambda alpha, m: alpha / m,
    "sidak": lambda alpha, m: 1 - (1 - alpha) ** (1 / m),
}
ADJUSTING = tuple(c for c in height_controls() if c not in ("none", "rft"))


def read(path):
    return np.asarray(nib.load(path).dataobj)


def threshold(files, control, **inputs):
    """Return the outputs, the kept z, -log10 of the adjusted p, and the summary."""
    outputs = ThresholdMap(**files, height_control=control, **inputs).run().outputs
    summary = json.loads(Path(outputs.summary_file).read_text())
    return outputs, read(outputs.thresholded_file), read(outputs.logp_file), summary


@pytest.fixture
def z_map(write_map, tmp_path, monkeypatch):
    """Write a z map with effects of both signs and many heights, and a mask without a face."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(9)
    z = rng.standard_normal(SHAPE)
    z[2:5, 2:5, 2:5] += rng.uniform(1, 6, (3, 3, 3))
    z[6:8, 4:8, 3:6] -= rng.uniform(1, 6, (2, 4, 3))
    z[0] = 9
    mask = np.ones(SHAPE, dtype=bool)
    mask[0] = False
    z = z.astype(np.float32)
    files = {"z_file": str(write_map("z.nii", z))}
    return z, mask, files | {"mask_file": str(write_map("mask.nii", mask.astype(np.uint8)))}


def p_of(z, tail):
    z = z.astype(float)
    return {
        "two-sided": 2 * stats.norm.sf(abs(z)),
        "positive": stats.norm.sf(z),
        "negative": stats.norm.cdf(z),
    }[tail]


def strength(z, tail):
    return {"two-sided": abs(z), "positive": z, "negative": -z}[tail].astype(float)


def two_stage(p, alpha):
    """Reject by Benjamini, Krieger and Yekutieli (2006): BH counts the tests, BH decides."""
    alpha = alpha / (1 + alpha)
    m, bh = len(p), stats.false_discovery_control(p)
    r = np.count_nonzero(bh <= alpha)
    return bh <= (alpha * m / (m - r) if r < m else 1)


def brute_force(p, control):
    """Return the adjusted p, and which tests are rejected."""
    if control == "fdr-bky":
        return None, two_stage(p, ALPHA)
    if control == "fdr-storey":
        nulls = (1 + np.count_nonzero(p > 0.5)) / 0.5
        step = np.where(p > 0.5, 1, nulls * p / stats.rankdata(p, "max"))
        adjusted = np.array([min(step[p >= own].min(), 1) for own in p])
    elif control == "fpr":
        adjusted = p
    else:
        adjusted = multipletests(p, ALPHA, STATSMODELS[control])[1]
    return adjusted, adjusted <= ALPHA


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("control", ADJUSTING)
def test_survivors_and_height_are_those_of_adjusted_p(z_map, control, tail):
    z, mask, files = z_map
    p = p_of(z[mask], tail)
    adjusted, rejected = brute_force(p, control)
    assert 0 < rejected.sum() < len(p) / 2
    outputs, kept, logp, summary = threshold(files, control, tail=tail, alpha=ALPHA)
    np.testing.assert_array_equal(kept[mask] != 0, rejected)
    assert not kept[~mask].any()
    if adjusted is not None:
        np.testing.assert_allclose(10.0 ** -logp[mask], adjusted, rtol=2e-5, atol=1e-12)
    if control in FIXED:
        level = FIXED[control](ALPHA, len(p)) / (2 if tail == "two-sided" else 1)
        expected = stats.norm.isf(level)
    else:
        expected = strength(z[mask], tail)[rejected].min()
    assert outputs.threshold_z == pytest.approx(expected, rel=1e-9)
    assert summary["ThresholdZ"] == outputs.threshold_z
    assert (strength(z[mask], tail) >= outputs.threshold_z).tolist() == rejected.tolist()


@pytest.mark.parametrize("control", ADJUSTING)
def test_adjusted_p_at_most_alpha_is_what_survives(z_map, control):
    _, mask, files = z_map
    for alpha in (0.01, 0.1, 0.3):
        _, kept, logp, _ = threshold(files, control, alpha=alpha)
        np.testing.assert_array_equal(kept[mask] != 0, logp[mask] >= -np.log10(alpha))


@pytest.mark.parametrize("tail", TAILS)
def test_fixed_height_is_the_height(z_map, tail):
    z, mask, files = z_map
    outputs, kept, logp, summary = threshold(files, "none", tail=tail, threshold_z=2.5)
    assert outputs.threshold_z == 2.5
    np.testing.assert_array_equal(kept != 0, mask & (strength(z, tail) >= 2.5))
    np.testing.assert_allclose(10.0 ** -logp[mask], p_of(z[mask], tail), rtol=2e-5)
    assert summary["Alpha"] is None


@pytest.mark.parametrize(
    ("kind", "tail"),
    [("t", "two-sided"), ("t", "positive"), ("t", "negative"), ("F", "two-sided")],
)
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_random_field_height_and_p(smooth_field, kind, tail, alpha):
    made = smooth_field(kind)
    outputs, kept, logp, summary = threshold(
        made.files, "rft", stat_type=kind, tail=tail, alpha=alpha
    )
    tail = "positive" if kind == "F" else tail
    sides = 2 if tail == "two-sided" else 1
    height = height_of_fwe(alpha / sides, made.field, made.volume)
    z = {"t": t_to_z, "F": f_to_z}[kind](height, *made.field.dof)
    assert outputs.threshold_z == pytest.approx(float(z), rel=1e-9)
    stat = strength(made.stat, tail)[made.mask]
    p = sides * np.exp(log_p_height(np.maximum(stat, 0), made.field, made.volume))
    np.testing.assert_allclose(10.0 ** -logp[made.mask], np.minimum(p, 1), rtol=2e-5)
    np.testing.assert_array_equal(kept[made.mask] != 0, stat >= height)
    np.testing.assert_array_equal(kept[made.mask] != 0, p <= alpha)
    assert kept.any()
    assert summary["HeightControl"] == "rft"


@pytest.mark.parametrize("tail", TAILS)
def test_random_field_height_is_at_most_that_of_bonferroni(smooth_field, tail):
    made = smooth_field()
    rft, bonferroni = (
        threshold(made.files, control, tail=tail)[0].threshold_z
        for control in ("rft", "bonferroni")
    )
    assert 0.9 * bonferroni < rft <= bonferroni * (1 + 1e-9)


def test_smoother_maps_have_a_lower_random_field_height(smooth_field):
    made = smooth_field()
    heights = []
    for fwhm in (1.0, 5.0, 8.0):
        Path("fwhm.json").write_text(json.dumps({"FWHMVoxels": [fwhm] * 3}))
        files = made.files | {"smoothness_file": str(Path("fwhm.json").absolute())}
        heights.append(threshold(files, "rft")[0].threshold_z)
    # Of a rough map the smaller threshold is Bonferroni's.
    bonferroni = stats.norm.isf(0.025 / made.mask.sum())
    assert heights[0] == pytest.approx(bonferroni, rel=1e-6)
    assert heights[0] > heights[1] > heights[2]


@pytest.mark.parametrize("missing", ["stat_file", "smoothness_file"])
def test_random_field_needs_the_statistic_and_its_smoothness(smooth_field, missing):
    made = smooth_field()
    del made.files[missing]
    with pytest.raises(ValueError, match="needs stat_file and smoothness_file"):
        threshold(made.files, "rft")
    # No other control asks for them.
    assert threshold(made.files, "fdr")[1].any()


def test_random_field_without_smoothness_says_why(smooth_field):
    made = smooth_field()
    reason = {"FWHMVoxels": None, "Reason": "a plane has no neighbours"}
    Path(made.files["smoothness_file"]).write_text(json.dumps(reason))
    with pytest.raises(ValueError, match="not estimated: a plane has no neighbours"):
        threshold(made.files, "rft")


@pytest.mark.parametrize("control", [c for c in height_controls() if c != "none"])
@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (3.1, r"3\.1 looks like a z \(threshold_z\)"),
        (5.0, r"or a percentage \(0\.05\)"),
        (-0.05, r"between 0 and 1, got -0\.05"),
        (0.0, "between 0 and 1, got 0"),
        (1.0, "between 0 and 1, got 1"),
        (float("nan"), "got nan"),
    ],
)
def test_alpha_in_another_unit_is_refused(smooth_field, control, alpha, message):
    made = smooth_field()
    with pytest.raises(ValueError, match=message):
        threshold(made.files, control, alpha=alpha)


@pytest.mark.parametrize("control", [c for c in height_controls() if c != "none"])
def test_fixed_height_beside_another_control_is_refused(smooth_field, control):
    made = smooth_field()
    with pytest.raises(ValueError, match=f"height control none, not with {control}"):
        threshold(made.files, control, threshold_z=3.1)


@pytest.mark.parametrize("control", height_controls())
def test_nothing_survives_under_any_control(smooth_field, control):
    made = smooth_field()
    quiet = {**made.files, "stat_file": made.write("q.nii", made.stat / 40)}
    quiet["z_file"] = made.write("qz.nii", made.z / 40)
    inputs = {"threshold_z": 3.1} if control == "none" else {}
    outputs, kept, logp, summary = threshold(quiet, control, dof=[20], **inputs)
    assert not kept.any()
    assert outputs.n_survivors == summary["SurvivingVoxels"] == summary["Clusters"] == 0
    expected = None if np.isinf(outputs.threshold_z) else outputs.threshold_z
    assert summary["ThresholdZ"] == expected
    assert logp.max() < 3


def test_random_field_needs_a_smoothness_file(smooth_field, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.json"
    other.write_text("{}")
    files = smooth_field().files | {"smoothness_file": str(other)}
    with pytest.raises(ValueError, match=r"other\.json: no smoothness"):
        ThresholdMap(**files, height_control="rft").run()
