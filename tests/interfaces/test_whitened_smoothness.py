"""Smoothness of maps whose participants have much in common, by estimators that whiten them."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from nipype_group.interfaces import (
    CollectMaps,
    ContrastSet,
    DesignMatrix,
    FitContrasts,
    GroupMask,
    StackMaps,
)
from nipype_group.stats.random_field.resels import resel_counts

SHAPE, PARTICIPANTS, VISITS = (22, 20, 18), 16, 3
# What maps have of their own, and what those of a participant share: variance and kernel.
OWN, SHARED = (1.0, 1.5), (9.0, 4.0)
N_MAPS = PARTICIPANTS * VISITS


def fields(n, part, rng):
    """Return noise of a known kernel and variance."""
    variance, sigma = part
    white = rng.standard_normal((n, *SHAPE))
    smooth = gaussian_filter(white, (0, sigma, sigma, sigma), mode="wrap")
    return smooth * np.sqrt(variance) * (2 * sigma * np.sqrt(np.pi)) ** 1.5


def roughness(part):
    """Return the variance of the difference of two neighbours, over that of a voxel."""
    return 2 * (1 - np.exp(-1 / (4 * part[1] ** 2)))


def fwhm_of(mean_roughness):
    return np.sqrt(4 * np.log(2) / mean_roughness)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Write the maps of all visits and the table that names them."""
    rng, folder = np.random.default_rng(6), tmp_path_factory.mktemp("visits")
    maps = 50 + np.repeat(fields(PARTICIPANTS, SHARED, rng), VISITS, axis=0)
    maps += fields(N_MAPS, OWN, rng)
    lines = ["participant_id\tvisit\tmap"]
    for i, values in enumerate(maps):
        lines.append(f"{i // VISITS:02}\t{i % VISITS}\tmap-{i:02}.nii")
        image = nib.Nifti1Image(values.astype(np.float32), np.diag([2.0, 2, 2, 1]))
        nib.save(image, folder / f"map-{i:02}.nii")
    table = folder / "maps.tsv"
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.mark.parametrize("estimator", ["random-effects", "pooled-reml"])
def test_it_is_that_of_whitened_residuals(table, estimator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    collect = CollectMaps(maps_table=table).run().outputs
    files = collect.map_files
    mask = GroupMask(map_files=files).run().outputs
    stack = StackMaps(map_files=files, mask_file=mask.mask_file).run().outputs
    pooled = estimator == "pooled-reml"
    design = DesignMatrix(
        observations=collect.observations,
        condition_columns=collect.condition_columns,
        formula="1" if pooled else "1 + (1 | participant_id)",
        shared_covariance=pooled,
    )
    made = design.run().outputs
    given = {"design_file": made.design_file, "design_json": made.design_json}
    contrasts = ContrastSet(contrasts=["mean=intercept"], **given).run().outputs
    fit = FitContrasts(
        stack_file=stack.stack_file,
        mask_file=mask.mask_file,
        contrasts_file=contrasts.contrasts_file,
        estimator=estimator,
        **given,
    )
    about = json.loads(Path(fit.run().outputs.smoothness_files[0]).read_text())
    # Differences between visits are of the maps' own noise; means of participants, which are of
    # both, weigh no more in whitened residuals, but as their variances in those that are not.
    of_means = OWN[0] * roughness(OWN) + VISITS * SHARED[0] * roughness(SHARED)
    of_means /= OWN[0] + VISITS * SHARED[0]
    within, dof = PARTICIPANTS * (VISITS - 1), N_MAPS - 1
    whitened = (within * roughness(OWN) + (PARTICIPANTS - 1) * of_means) / dof
    weight = (PARTICIPANTS - 1) * (OWN[0] + VISITS * SHARED[0])
    plain = (within * OWN[0] * roughness(OWN) + weight * of_means) / (within * OWN[0] + weight)
    assert fwhm_of(plain) > 1.5 * fwhm_of(whitened)
    np.testing.assert_allclose(about["FWHMVoxels"], fwhm_of(whitened), rtol=0.05)
    assert about["FWHMMillimetres"] == pytest.approx([2 * own for own in about["FWHMVoxels"]])
    assert about["DegreesOfFreedom"] == dof
    expected = resel_counts(np.ones(SHAPE, dtype=bool), np.array(about["FWHMVoxels"]))
    np.testing.assert_allclose(about["Resels"], expected, rtol=1e-9)
    # t of one covariance is a field of t; those whose dof vary are taken for z.
    assert about.get("Field") == (None if pooled else "Z")
