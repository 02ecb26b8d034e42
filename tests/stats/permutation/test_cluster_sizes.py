"""Extents and masses against scipy's labels and against FSL's maps."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from nipype_group.stats.clusters import neighbourhood
from nipype_group.stats.neighbours import neighbour_list
from nipype_group.stats.permutation.cluster_sizes import (
    cluster_masses,
    largest_cluster,
    largest_clusters,
)

SHAPE = (9, 8, 7)


@pytest.fixture(scope="module")
def mask():
    return np.random.default_rng(0).random(SHAPE) < 0.9


def survivors(values, mask, height):
    """Return indices and heights of the voxels that reach a height."""
    values = values.ravel(order="F")[mask.ravel(order="F")]
    voxels = np.flatnonzero(values >= height).astype(np.int32)
    return voxels, values[voxels]


def by_labels(values, mask, height, connectivity, excess):
    """Return labels, extents and masses of the clusters by scipy, in Fortran order."""
    # Transposed, scipy numbers clusters in the order of their first voxels too.
    labels, n = ndimage.label(((values >= height) & mask).T, neighbourhood(connectivity))
    kept = labels.ravel()[mask.T.ravel()]
    heights = values.T.ravel()[mask.T.ravel()][kept > 0]
    kept = kept[kept > 0] - 1
    masses = np.zeros(n)
    # One by one in the order given, so that the last bits can be compared.
    np.add.at(masses, kept, heights - excess)
    return kept, np.bincount(kept, minlength=n).astype(float), masses


# Sparse, near percolation (where clusters wind most), and dense.
@pytest.mark.parametrize("height", [1.5, 0.9, 0.5, 0.1])
@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("excess", [0.0, 0.1])
def test_clusters_equal_those_of_scipy_to_the_last_bit(mask, connectivity, height, excess):
    neighbours = neighbour_list(mask, connectivity)
    scratch = np.full(len(neighbours), -1, dtype=np.int32)
    rng = np.random.default_rng(1)
    for _ in range(20):
        values = np.abs(rng.standard_normal(SHAPE))
        voxels, heights = survivors(values, mask, height)
        expected = by_labels(values, mask, height, connectivity, excess)
        found = cluster_masses(voxels, heights, neighbours, scratch, excess)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        largest = largest_cluster(voxels, heights, neighbours, scratch, excess)
        assert largest == (expected[1].max(), expected[2].max())
        assert (scratch == -1).all()


def test_many_shuffles_give_what_each_gives_alone(mask):
    neighbours = neighbour_list(mask, 26)
    scratch = np.full(len(neighbours), -1, dtype=np.int32)
    rng = np.random.default_rng(2)
    # The second and the last have no survivors.
    shuffles = [
        survivors(rng.standard_normal(SHAPE), mask, height) for height in (1.5, 99, 2, 0.5, 99)
    ]
    offsets = np.cumsum([0] + [len(voxels) for voxels, _ in shuffles])
    voxels, heights = (np.concatenate(part) for part in zip(*shuffles, strict=True))
    extents, masses = np.full((2, len(shuffles)), np.nan)
    largest_clusters(voxels, heights, offsets, neighbours, scratch, 0.5, extents, masses)
    alone = [largest_cluster(*one, neighbours, scratch, 0.5) for one in shuffles]
    assert list(zip(extents, masses, strict=True)) == alone
    assert alone[1] == alone[4] == (0.0, 0.0)


def test_the_largest_and_the_heaviest_cluster_may_differ():
    neighbours = neighbour_list(np.ones((6, 1, 1), dtype=bool), 6)
    voxels, heights = np.array([0, 1, 2, 5], dtype=np.int32), np.array([3.0, 3, 3, 10])
    scratch = np.full(6, -1, dtype=np.int32)
    assert largest_cluster(voxels, heights, neighbours, scratch, 0.0) == (3.0, 10.0)
    labels, extents, masses = cluster_masses(voxels, heights, neighbours, scratch, 0.0)
    assert (labels.tolist(), extents.tolist(), masses.tolist()) == ([0, 0, 0, 1], [3, 1], [9, 10])


def test_a_map_without_survivors_has_no_clusters(mask):
    neighbours = neighbour_list(mask, 6)
    scratch = np.full(len(neighbours), -1, dtype=np.int32)
    nobody = np.empty(0, dtype=np.int32), np.empty(0)
    assert largest_cluster(*nobody, neighbours, scratch, 0.0) == (0.0, 0.0)
    assert [len(part) for part in cluster_masses(*nobody, neighbours, scratch, 0.0)] == [0, 0, 0]


def test_extents_and_masses_equal_those_of_fsl(shared):
    folder = shared / "oracles/fsl"
    mask = nib.load(shared / "data/wager2008/mask.nii.gz").get_fdata() > 0

    def read(kind):
        return nib.load(folder / f"one_xcC2000_{kind}tstat1.nii.gz").get_fdata()

    voxels, heights = survivors(read(""), mask, 3.1)
    neighbours = neighbour_list(mask, 26)
    scratch = np.full(len(neighbours), -1, dtype=np.int32)
    labels, extents, masses = cluster_masses(voxels, heights, neighbours, scratch, 0.0)
    inside = mask.ravel(order="F")
    fsl_extents = read("clustere_").ravel(order="F")[inside]
    fsl_masses = read("clusterm_").ravel(order="F")[inside]
    assert np.flatnonzero(fsl_extents).tolist() == voxels.tolist()
    np.testing.assert_array_equal(extents[labels], fsl_extents[voxels])
    # FSL sums in float32.
    np.testing.assert_allclose(masses[labels], fsl_masses[voxels], rtol=1e-5)
