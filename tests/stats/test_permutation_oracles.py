"""Permutation inference on the real maps against PALM and FSL's randomise.

Where a peer enumerated every shuffle, or left a record of its shuffles, results must be equal;
where both sampled, corrected p must agree within four standard errors.
"""

import nibabel as nib
import numpy as np
import pytest

from nipype_group.stats.clusters import local_maxima
from nipype_group.stats.distributions import t_to_z
from nipype_group.stats.glm import LinearModel
from nipype_group.stats.partition import partition
from nipype_group.stats.permutation import extremes, fwe_p, run_shuffles
from nipype_group.stats.planning import row_labels
from nipype_group.stats.shuffling import ShufflingScheme

N_SAMPLED = 2000


class RecordedShuffles:
    """Shuffles that another package wrote down, in the place of a `ShufflingScheme`."""

    def __init__(self, kind, table):
        self.kind, self.table = kind, table
        self.n_maps = table.shape[1]
        self.blocks = (0,) * self.n_maps

    def draw(self, k):
        row = self.table[k].astype(int)
        if self.kind == "flip":
            return np.arange(self.n_maps), row.astype(np.int8)
        return row - 1, np.ones(self.n_maps, dtype=np.int8)


def design_of(shared, name):
    return np.loadtxt(shared / f"oracles/palm/designs/{name}.csv", delimiter=",", ndmin=2)


def run(data, matrix, weights, scheme, n_shuffles):
    model = LinearModel(matrix, tuple(f"c{i}" for i in range(matrix.shape[1])))
    split = partition(model, np.array([weights], float))
    result = run_shuffles(
        lambda a, b: data[:, a:b], data.shape[1], split, scheme, 0, n_shuffles, "positive"
    )
    return result, model.dof


EXHAUSTIVE = {
    "exh1s10_ext": (10, "x_ones10", [1], "flip", 1024),
    "exh2g10": (10, "x_2g10", [1, -1], "permute", 252),
    "exhreg6": (6, "x_reg6", [1, 0], "permute", 720),
}


@pytest.mark.parametrize("name", EXHAUSTIVE)
def test_every_shuffle_gives_what_palm_gives(shared, inside, wager, name):
    n_maps, design, weights, kind, n_distinct = EXHAUSTIVE[name]
    matrix = design_of(shared, design)
    scheme = ShufflingScheme(kind, row_labels(matrix), (0,) * n_maps, 0, exhaustive=True)
    assert scheme.n_distinct == n_distinct
    result, dof = run(wager[:n_maps], matrix, weights, scheme, n_distinct)

    def theirs(what):
        return inside(f"oracles/palm/{name}/{name}_vox_tstat{what}.nii.gz")

    np.testing.assert_allclose(result.observed, theirs(""), rtol=1e-5, atol=1e-6)
    ours = fwe_p(result.observed, result.highest, "positive")
    np.testing.assert_array_equal(
        np.round(ours * n_distinct), np.round(theirs("_fwep") * n_distinct)
    )
    np.testing.assert_allclose(ours, theirs("_fwep"), rtol=1e-6)
    # PALM keeps one-sided p in float32; a multiple of 1 / M is recovered by rounding.
    np.testing.assert_array_equal(result.counts, np.round(theirs("_uncp") * n_distinct))
    null = np.loadtxt(shared / f"oracles/palm/{name}/{name}_vox_tstat_max.csv")
    np.testing.assert_allclose(
        np.sort(t_to_z(result.highest, dof)), np.sort(null), rtol=1e-7, atol=1e-9
    )


SAMPLED = {
    "one sample": ("one", "d_ones", [1], "flip", "a_vox"),
    "regression": ("reg", "d_reg", [1, 0], "permute", "b_reg"),
}


@pytest.mark.parametrize("name", SAMPLED)
def test_the_shuffles_of_randomise_give_its_null_distribution(shared, inside, wager, name):
    fsl, design, weights, kind, _ = SAMPLED[name]
    folder = shared / "oracles/fsl"
    shuffles = np.loadtxt(folder / f"{fsl}_xcC2000_perm_tstat1.txt.gz")
    scheme = RecordedShuffles(kind, shuffles)
    result, _ = run(wager, design_of(shared, design), weights, scheme, len(shuffles))
    null = np.loadtxt(folder / f"{fsl}_xcC2000_vox_corrp_tstat1.txt.gz")
    # Four printed decimals of a float32 computation.
    np.testing.assert_allclose(result.highest, null, atol=1.01e-4)
    t = inside(f"oracles/fsl/{fsl}_xcC2000_tstat1.nii.gz")
    np.testing.assert_allclose(result.observed, t, rtol=1e-5, atol=1e-5)
    ours = fwe_p(result.observed, result.highest, "positive")
    theirs = 1 - inside(f"oracles/fsl/{fsl}_xcC2000_vox_corrp_tstat1.nii.gz")
    # Rounding of t may carry a voxel past one entry of the null.
    assert np.abs(ours - theirs).max() < 1.5 / len(null)
    # randomise gives the smallest p as 1 - p in float32; its uncorrected p counts alike.
    uncorrected = 1 - inside(f"oracles/fsl/{fsl}_xcC2000_vox_p_tstat1.nii.gz")
    difference = np.abs(result.counts / len(null) - uncorrected)
    assert difference.max() < 1.5 / len(null)
    assert (difference < 1e-6).mean() > 0.999


@pytest.mark.parametrize("name", SAMPLED)
def test_corrected_p_at_the_ten_highest_peaks_agrees_with_palm_and_fsl(
    shared, inside, wager, name
):
    fsl, design, weights, kind, palm = SAMPLED[name]
    matrix = design_of(shared, design)
    scheme = ShufflingScheme(kind, row_labels(matrix), (0,) * 30, 20)
    result, _ = run(wager, matrix, weights, scheme, N_SAMPLED + 1)
    ours = fwe_p(result.observed, extremes(result.highest, result.lowest, "positive"), "positive")
    mask = nib.load(shared / "data/wager2008/mask.nii.gz").get_fdata() > 0
    volume = np.zeros(mask.shape)
    volume[mask] = result.observed
    peaks = np.zeros(mask.shape, dtype=bool)
    peaks[tuple(local_maxima(volume, mask & (volume > 0))[:10].T)] = True
    at = peaks[mask]
    assert at.sum() == 10
    for theirs in (
        inside(f"oracles/palm/{palm}/{palm}_vox_tstat_fwep.nii.gz"),
        1 - inside(f"oracles/fsl/{fsl}_xcC2000_vox_corrp_tstat1.nii.gz"),
    ):
        p = (ours + theirs)[at] / 2
        error = np.sqrt(p * (1 - p) * 2 / N_SAMPLED)
        assert (np.abs(ours - theirs)[at] <= 4 * error + 1 / N_SAMPLED).all()


def test_sampled_uncorrected_p_agree_with_palm_in_all_voxels(inside, wager, shared):
    matrix = design_of(shared, "d_ones")
    scheme = ShufflingScheme("flip", row_labels(matrix), (0,) * 30, 21)
    result, _ = run(wager, matrix, [1], scheme, N_SAMPLED + 1)
    ours = result.counts / (N_SAMPLED + 1)
    theirs = inside("oracles/palm/a_vox/a_vox_vox_tstat_uncp.nii.gz")
    p = (ours + theirs) / 2
    z = (ours - theirs) / np.sqrt(np.maximum(p * (1 - p), 1e-4) * 2 / N_SAMPLED)
    # Six standard errors leave 1e-4 of a false alarm over 75,919 correlated voxels.
    assert np.abs(z).max() < 6
    assert 0.5 < z.std() < 1.5
