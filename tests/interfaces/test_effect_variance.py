"""FitContrasts of maps with variances, and the mask and the stack of such maps."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nipype_group.interfaces import (
    CollectMaps,
    ContrastSet,
    DesignMatrix,
    FitContrasts,
    GroupMask,
    StackMaps,
)

SHAPE = (8, 7, 6)


@pytest.fixture
def maps(write_map, tmp_path, monkeypatch):
    """Write twelve maps and their variances; one lacks a voxel, one the variance of another."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(8)
    variances = rng.uniform(0.5, 2.0, (12, *SHAPE)).astype(np.float32)
    effects = (3 + rng.standard_normal((12, *SHAPE)) * np.sqrt(variances)).astype(np.float32)
    effects[2, 0, 0, 0], variances[5, 1, 1, 1], variances[5, 0, 0, 0] = 0, -1, 0
    names = {}
    for kind, arrays in (("effect", effects), ("variance", variances)):
        names[kind] = [
            str(write_map(f"{kind}/sub-{i:02}.nii", own)) for i, own in enumerate(arrays)
        ]
    return names, effects, variances


def data(path):
    return np.asarray(nib.load(path).dataobj)


def fitted(names, **inputs):
    """Run the stages up to the contrasts; gives the mask's outputs, and those of the fit."""
    files = {"map_files": names["effect"], "variance_files": names["variance"]}
    labels = [f"{i:02}" for i in range(12)]
    collect = CollectMaps(**files, participant_ids=labels, needs_variances=True).run().outputs
    mask = GroupMask(**files, min_coverage=0.9).run().outputs
    stack = StackMaps(**files, mask_file=mask.mask_file, allow_missing=True).run().outputs
    variances = StackMaps(
        map_files=names["variance"], mask_file=mask.mask_file, allow_missing=True
    ).run()
    design = DesignMatrix(
        observations=collect.observations,
        excluded=collect.excluded,
        condition_columns=collect.condition_columns,
        formula="1",
    )
    design = design.run().outputs
    made = {"design_file": design.design_file, "design_json": design.design_json}
    contrasts = ContrastSet(contrasts=["mean=intercept"], **made).run().outputs
    inputs.setdefault("variance_stack_file", variances.outputs.stack_file)
    fit = FitContrasts(
        stack_file=stack.stack_file,
        mask_file=mask.mask_file,
        contrasts_file=contrasts.contrasts_file,
        **made,
        **{name: value for name, value in inputs.items() if value is not None},
    )
    return mask, fit.run().outputs


def test_weighted_means_lack_maps_without_a_variance(maps):
    names, effects, variances = maps
    mask, fit = fitted(names, estimator="fixed-effects")
    here = (effects != 0) & (variances > 0)
    np.testing.assert_array_equal(data(mask.coverage_file), here.sum(axis=0))
    # Of two maps that lack it the voxel is out, of one it is in.
    inside = data(mask.mask_file) > 0
    assert not inside[0, 0, 0] and inside[1, 1, 1] and inside.sum() == inside.size - 1
    weight = np.where(here, 1 / np.where(here, variances, 1).astype(float), 0)
    expected = (weight * effects).sum(axis=0) / weight.sum(axis=0)
    np.testing.assert_allclose(data(fit.effect_files[0])[inside], expected[inside], rtol=1e-6)
    np.testing.assert_allclose(
        data(fit.variance_files[0])[inside], 1 / weight.sum(axis=0)[inside], rtol=1e-6
    )
    assert fit.component_names == ["q", "qP", "i2", "h2"]
    q = (weight * (effects - expected) ** 2).sum(axis=0)
    np.testing.assert_allclose(data(fit.component_files[0])[inside], q[inside], rtol=1e-5)


def test_mask_tells_voxels_with_a_value_and_no_variance(maps):
    names, _, _ = maps
    mask = GroupMask(map_files=names["effect"], variance_files=names["variance"]).run().outputs
    assert any("2 in all, the most, 2, in sub-05.nii" in note for note in mask.mask_notes)


def test_smoothness_of_residuals_is_found_and_tau2_is_a_map(maps):
    names, _, _ = maps
    _, fit = fitted(names, estimator="mixed-effects", knapp_hartung="adhoc")
    assert {"tau2", "tau2Lower", "tau2Upper"} < set(fit.component_names)
    about = json.loads(Path(fit.smoothness_files[0]).read_text())
    # Noise without any smoothness.
    assert max(about["FWHMVoxels"]) < 2 and about["NumberOfCompleteVoxels"] == 8 * 7 * 6 - 2


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"variance_stack_file": None, "estimator": "mixed-effects"}, "needs variances"),
        ({"estimator": "sandwich", "knapp_hartung": "plain"}, "knapp_hartung goes with"),
    ],
)
def test_what_is_lacking_or_goes_with_others_is_named(maps, inputs, words):
    with pytest.raises(ValueError, match=words):
        fitted(maps[0], **inputs)


def test_a_stack_of_fewer_variances_is_named(maps):
    names, _, _ = maps
    mask = GroupMask(map_files=names["effect"], min_coverage=0.9).run().outputs.mask_file
    few = StackMaps(map_files=names["variance"][6:], mask_file=mask, allow_missing=True).run()
    with pytest.raises(ValueError, match="6 variances for 12 maps"):
        fitted(names, estimator="paule-mandel", variance_stack_file=few.outputs.stack_file)
