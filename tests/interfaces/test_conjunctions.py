"""Conjunctions of the contrasts of a model: their maps, and what survives random field theory."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import stats

from nipype_group.interfaces import EstimateContrasts, ThresholdConjunction, ThresholdMap
from nipype_group.json_files import read_json

CONTRASTS = ["both=conjunction(age, drop)", "age=age", "drop=control - patient"]
CONTRASTS += ["some=age; patient - control", "mixed=conjunction(some, age)"]


def read(path):
    return np.asarray(nib.load(path).dataobj, dtype=float)


def estimate(ran, **inputs):
    made = EstimateContrasts(
        model_file=ran.glm.model_file,
        betas_file=ran.glm.betas_file,
        residual_variance_file=ran.glm.residual_variance_file,
        mask_file=ran.mask.mask_file,
        contrasts_file=ran.contrasts.contrasts_file,
        **inputs,
    )
    return made.run().outputs


def test_set_puts_conjunctions_last_and_fsl_gets_none(stages):
    ran = stages("age + C(group)", CONTRASTS)
    listed = read_json(ran.contrasts.contrasts_file)["Contrasts"]
    assert [c["Name"] for c in listed] == ["age", "drop", "some", "both", "mixed"]
    both, mixed = listed[3:]
    assert (both["Test"], both["StatisticType"], both["Weights"]) == ("t", "z", [])
    assert both["Conjunction"] == ["age", "drop"]
    assert (mixed["Test"], mixed["Conjunction"]) == ("F", ["some", "age"])
    text = Path(ran.contrasts.fsl_contrasts_file).read_text()
    assert "both" not in text
    assert "/NumContrasts\t4" in text
    of_f = Path(ran.contrasts.fsl_f_tests_file).read_text()
    assert of_f.split("/Matrix")[1].split() == list("0011")


@pytest.mark.parametrize("tail", ["two-sided", "positive", "negative"])
def test_maps_are_those_of_the_least_significant(stages, tail):
    ran = stages("age + C(group)", CONTRASTS, tail=tail)
    made, inside = ran.estimate, ran.data[1]
    assert made.contrast_names == ["age", "drop", "some", "both", "mixed"]
    assert made.stat_types == ["t", "t", "F", "z", "z"]
    assert made.dofs[3:] == [[], []]
    z = [read(path)[inside] for path in made.z_files]
    p = [read(path)[inside] for path in made.p_files]
    unlike = np.sign(z[0]) != np.sign(z[1])
    assert unlike.any()
    expected = np.maximum(p[0], p[1])
    if tail == "two-sided":
        expected = np.where(unlike, 1.0, expected)
        assert np.array_equal(z[3] == 0, unlike)
        own = 2 * stats.norm.sf(np.abs(z[3]))
    else:
        own = stats.norm.sf(z[3] if tail == "positive" else -z[3])
    assert p[3].tolist() == expected.tolist()
    assert own == pytest.approx(expected, rel=1e-5)
    # With an F there is no side, and z has the p as its upper tail.
    assert p[4].tolist() == np.maximum(p[2], p[0]).tolist()
    assert stats.norm.sf(z[4]) == pytest.approx(p[4], rel=1e-5)
    for name in ("effect_files", "variance_files", "effect_size_files"):
        assert np.isnan(read(getattr(made, name)[3])).all()
    assert not read(made.z_files[3])[~inside].any()


def test_t_contrasts_of_different_sides_are_refused(stages):
    ran = stages("age + C(group)", CONTRASTS)
    with pytest.raises(ValueError, match=r"'both': .*different sides \(positive, two-sided\)"):
        estimate(ran, contrast_tails=["age=positive"])
    one = estimate(ran, contrast_tails=["age=negative", "drop=negative"])
    inside = ran.data[1]
    z = [read(path)[inside] for path in one.z_files]
    assert z[3].tolist() == np.maximum(z[0], z[1]).tolist()


def test_only_what_every_contrast_searches_is_searched(stages, tmp_path):
    ran = stages("age + C(group)", CONTRASTS)
    mask = nib.load(ran.mask.mask_file)
    some = np.asarray(mask.dataobj).copy()
    some[:4] = 0
    nib.save(nib.Nifti1Image(some, mask.affine), tmp_path / "some.nii")
    made = estimate(ran, search_mask_file=tmp_path / "some.nii")
    assert np.array_equal(read(made.search_mask_files[3]), some)
    assert not read(made.z_files[3])[:4].any()
    assert read(made.z_files[0])[:4].any()


def test_survives_random_field_theory_where_every_contrast_does(smooth_field, tmp_path):
    """Of a positive and a negative cluster of t, and a second t that lacks the negative one."""
    made = smooth_field("t")
    second = np.where(made.stat < 0, -made.stat, made.stat)
    logp = []
    for number, values in enumerate((made.stat, second)):
        z = made.z if number == 0 else np.abs(made.z)
        files = {
            "z_file": made.write(tmp_path / f"z{number}.nii", z),
            "stat_file": made.write(tmp_path / f"t{number}.nii", values, intent=("t test", (20,))),
            "mask_file": made.write(tmp_path / "mask.nii", made.mask, np.uint8),
            "smoothness_file": str(tmp_path / "smoothness.json"),
        }
        found = ThresholdMap(height_control="rft", **files).run().outputs
        logp.append(found.logp_file)
        (tmp_path / f"{number}").mkdir()
        for name in ("logp_file", "thresholded_file"):
            kept = tmp_path / f"{number}" / f"{name}.nii"
            kept.write_bytes(Path(getattr(found, name)).read_bytes())
        logp[-1] = str(tmp_path / f"{number}" / "logp_file.nii")
    least = np.where(made.z > 0, made.z, 0)
    result = ThresholdConjunction(
        z_file=made.write(tmp_path / "least.nii", least),
        mask_file=made.write(tmp_path / "mask.nii", made.mask, np.uint8),
        logp_files=[*logp[:1], logp[1], logp[0]],
        places=[0, 1],
        contrast_name="both",
        height_control="rft",
    )
    result = result.run().outputs
    one, two = (read(tmp_path / f"{i}" / "thresholded_file.nii") for i in (0, 1))
    kept = read(result.thresholded_file)
    assert (one < 0).any()
    assert np.array_equal(kept != 0, (one > 0) & (two > 0))
    assert (kept != 0).any()
    corrected = read(result.logp_file)
    both = made.mask & (made.z > 0)
    assert np.array_equal(corrected[both], np.minimum(*(read(path)[both] for path in logp)))
    assert not corrected[made.mask & (made.z < 0)].any()
    summary = read_json(result.summary_file)
    assert summary["SmallestCorrectedP"] == pytest.approx(10.0 ** -corrected.max())
    assert summary["SurvivingVoxels"] == np.count_nonzero(kept)
    assert result.threshold_z == pytest.approx(np.abs(kept[kept != 0]).min())


def test_places_are_of_the_files(smooth_field, tmp_path):
    made = smooth_field("t")
    z = made.write(tmp_path / "z.nii", made.z)
    mask = made.write(tmp_path / "mask.nii", made.mask, np.uint8)
    for places in ([0], [0, 2], [-1, 0]):
        with pytest.raises(ValueError, match=r"are of 2 logp_files; give two or more, from 0"):
            ThresholdConjunction(z_file=z, mask_file=mask, logp_files=[z, z], places=places).run()
