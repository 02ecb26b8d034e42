"""Random field theory and permutation on the slope of the real regression: where they part.

The slope's clusters by SPM12's random field theory and by the permutations of FSL randomise and
PALM. Figures of docs/validation.rst are pinned here.
"""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import special

from nipype_group.stats.clusters import label_clusters
from nipype_group.stats.distributions import log_sf_t
from nipype_group.stats.random_field.euler import StatField
from nipype_group.stats.random_field.inference import log_p_cluster
from nipype_group.stats.random_field.resels import SearchVolume, cluster_resels

DOF = {"onesamp": 29, "regr": 28}
# t of z 3.1.
T_OF_Z = {"onesamp": 3.4088763, "regr": 3.4209084}


@pytest.fixture(scope="module")
def oracles(shared):
    return shared / "oracles"


@pytest.fixture(scope="module")
def slope_t(oracles):
    return nib.load(oracles / "fsl/reg_xcC2000_tstat1.nii.gz").get_fdata()


def spm_volume(oracles, model):
    about = json.loads((oracles / "spm" / model / "design.json").read_text())
    return SearchVolume(about["R"], about["S"], about["FWHM"])


def cluster_p(oracles, labels, height):
    """Return sizes, extents in resels and p, by constant and by varying smoothness, as SPM."""
    volume, field = spm_volume(oracles, "regr"), StatField("t", DOF["regr"])
    sizes = np.bincount(labels.ravel())[1:]
    rpv = nib.load(oracles / "spm/regr/RPV.nii.gz").get_fdata()
    extents = (volume.to_resels(sizes), cluster_resels(labels, rpv, volume.fwhm_voxels))
    p = [np.exp(log_p_cluster(extent, height, field, volume)) for extent in extents]
    return sizes, extents, *p


def parts_of_local_resels(oracles, labels):
    """Return what counting between voxel centres, and what local smoothness, take off."""
    volume = spm_volume(oracles, "regr")
    rpv = nib.load(oracles / "spm/regr/RPV.nii.gz").get_fdata()
    even = np.full(rpv.shape, 1 / volume.voxels_per_resel)
    counted = cluster_resels(labels, even, volume.fwhm_voxels)
    local = cluster_resels(labels, rpv, volume.fwhm_voxels)
    return counted, counted / volume.to_resels(np.bincount(labels.ravel())[1:]), local / counted


def permutation_p(image, labels, *, is_complement):
    """Return the one p that an image of corrected p has in every cluster."""
    values = nib.load(image).get_fdata()
    found = [np.unique(values[labels == i]) for i in range(1, labels.max() + 1)]
    assert all(len(p) == 1 for p in found)
    p = np.concatenate(found)
    return 1 - p if is_complement else p


def critical_sizes(oracles, model, height):
    """Return the fewest voxels of a cluster with p <= .05, and .5, by constant smoothness."""
    volume, field = spm_volume(oracles, model), StatField("t", DOF[model])
    sizes = np.arange(1, 1000)
    log_p = log_p_cluster(volume.to_resels(sizes), height, field, volume)
    return [sizes[log_p <= np.log(p)][0] for p in (0.05, 0.5)]


def test_spm_finds_two_clusters_and_none_by_varying_smoothness(oracles):
    tables = [
        pd.read_csv(oracles / f"spm/regr/slope_pos_{name}_table_allmaxima.csv")
        .dropna(subset="clus_k")
        .sort_values("clus_k", ascending=False)
        for name in ("p0001", "p0001_nonstat", "p001")
    ]
    for table, sizes, p in zip(
        tables,
        ([77, 70, 39], [77, 70, 39], [3068, 314, 119]),
        ([0.0091, 0.0144, 0.130], [0.181, 0.501, 0.278], [0, 0.0038, 0.322]),
        strict=True,
    ):
        assert table.clus_k[:3].tolist() == sizes
        np.testing.assert_allclose(table.clus_pFWE[:3], p, atol=5e-4)
    assert [(table.clus_pFWE <= 0.05).sum() for table in tables] == [2, 0, 2]


def test_at_z_3_1_palm_finds_none_of_the_two(oracles, slope_t):
    z = -special.ndtri_exp(log_sf_t(slope_t, DOF["regr"]))
    labels = label_clusters(slope_t, z >= 3.1, connectivity=26)
    sizes, extents, constant, varying = cluster_p(oracles, labels, T_OF_Z["regr"])
    image = oracles / "palm/b_reg/b_reg_clustere_tstat_fwep.nii.gz"
    permuted = permutation_p(image, labels, is_complement=False)
    assert sizes[:2].tolist() == [72, 68]
    np.testing.assert_allclose(extents[0][:2], [1.30, 1.23], atol=5e-3)
    np.testing.assert_allclose(extents[1][:2], [0.60, 0.37], atol=5e-3)
    # Both lie where the maps are smoother than on average.
    counted, centres, roughness = parts_of_local_resels(oracles, labels)
    np.testing.assert_allclose(centres[:2], [0.70, 0.71], atol=5e-3)
    np.testing.assert_allclose(roughness[:2], [0.66, 0.42], atol=5e-3)
    field, volume = StatField("t", DOF["regr"]), spm_volume(oracles, "regr")
    at_mean = np.exp(log_p_cluster(counted[:2], T_OF_Z["regr"], field, volume))
    np.testing.assert_allclose(at_mean, [0.052, 0.062], atol=5e-4)
    np.testing.assert_allclose(constant[:2], [0.0117, 0.0153], atol=5e-5)
    np.testing.assert_allclose(varying[:2], [0.192, 0.513], atol=5e-4)
    np.testing.assert_allclose(permuted[:2], [0.068, 0.0735], atol=1e-6)
    assert [(p <= 0.05).sum() for p in (constant, varying, permuted)] == [2, 0, 0]


def test_at_t_3_1_randomise_finds_one_of_the_two(oracles, slope_t):
    labels = label_clusters(slope_t, slope_t >= 3.1, connectivity=26)
    sizes, _, constant, varying = cluster_p(oracles, labels, 3.1)
    image = oracles / "fsl/reg_xcC2000_clustere_corrp_tstat1.nii.gz"
    permuted = permutation_p(image, labels, is_complement=True)
    assert sizes[:2].tolist() == [192, 127]
    np.testing.assert_allclose(constant[:2], [0.0003, 0.0050], atol=5e-5)
    np.testing.assert_allclose(varying[:2], [0.0457, 0.416], atol=5e-4)
    np.testing.assert_allclose(permuted[:2], [0.0455, 0.082], atol=1e-6)
    assert [(p <= 0.05).sum() for p in (constant, varying, permuted)] == [2, 1, 1]


@pytest.mark.parametrize(
    ("model", "null", "height", "expected", "share", "found"),
    [
        ("regr", "palm/b_reg/b_reg_clustere_tstat_max.csv", None, [52, 21], 0.098, [93, 11]),
        ("regr", "fsl/reg_xcC2000_clustere_corrp_tstat1.txt.gz", 3.1, [80, 36], 0.138, [181, 21]),
        (
            "onesamp",
            "palm/a_ext2k/a_ext2k_clustere_tstat_max.csv",
            None,
            [52, 21],
            0.0455,
            [48, 7],
        ),
    ],
    ids=["regression z 3.1", "regression t 3.1", "one sample z 3.1"],
)
def test_sizes_of_the_largest_cluster_of_a_shuffle(
    oracles, model, null, height, expected, share, found
):
    largest = np.loadtxt(oracles / null)
    assert len(largest) == 2000
    assert critical_sizes(oracles, model, height or T_OF_Z[model]) == expected
    assert (largest >= expected[0]).mean() == pytest.approx(share, abs=1e-6)
    # The sizes that a twentieth and half of the shuffles reach.
    assert np.sort(largest)[[-100, -1000]].tolist() == found
