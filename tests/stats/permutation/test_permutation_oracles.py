"""Permutation inference on the real maps against PALM, FSL's randomise and nilearn.

Where a peer enumerated every shuffle, or its shuffles are known (randomise wrote them down,
nilearn's follow from its seed), nulls and p are equal; where both sampled, p agree within four
standard errors. Voxels are in Fortran order of the mask.

===========  ================================================  ====================================
peer         equal to the printed or stored digits             differs, and why
===========  ================================================  ====================================
randomise    t, extent, mass, TFCE, their nulls, p             voxels on a step of TFCE or a value
                                                               of the null: float32 decides there
PALM         all of it, where exhaustive                       Aspin-Welch: its dof are a third of
                                                               Welch and Satterthwaite's
nilearn      t, extent, mass, TFCE, p                          clusters: p leaves the data out
===========  ================================================  ====================================
"""

import gzip
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pytest
from scipy import stats
from threadpoolctl import threadpool_limits

from nipype_group.permutation.given import read_shuffles
from nipype_group.stats.distributions import t_to_z
from nipype_group.stats.linear.aspin_welch import AspinWelch
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.partition import partition
from nipype_group.stats.neighbours import neighbour_list
from nipype_group.stats.permutation.choice import row_labels
from nipype_group.stats.permutation.methods import ShuffledContrast
from nipype_group.stats.permutation.p_values import cluster_heights, correct, fwe_counts
from nipype_group.stats.permutation.run import ShuffleResult, run_shuffles
from nipype_group.stats.permutation.scheme import ShufflingScheme
from nipype_group.stats.permutation.statistics import ShuffleStatistics
from nipype_group.stats.tfce import Tfce

CLUSTERS = ("voxel", "extent", "mass")
# How randomise and PALM call them in names of files.
FILE_NAMES = {"voxel": "vox", "extent": "clustere", "mass": "clusterm", "tfce": "tfce"}
SIGNS = {"positive": 1, "negative": -1}


@pytest.fixture(scope="module", autouse=True)
def one_thread_a_product():
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def brain(shared):
    return nib.load(shared / "data/wager2008/mask.nii.gz").get_fdata() > 0


@pytest.fixture(scope="session")
def read(shared, brain):
    """Return a function that reads an image's values in a mask, by default the brain."""

    def values(path, mask=brain):
        volume = nib.load(shared / path).get_fdata()
        if "pad" in path:
            volume = volume[1:-1, 1:-1, 1:-1]
        return volume.ravel(order="F")[mask.ravel(order="F")]

    return values


@pytest.fixture(scope="session")
def maps(read):
    """Return the thirty maps, shape (30, 75919)."""
    return np.stack([read(f"data/wager2008/con_{i:02d}.nii.gz") for i in range(1, 31)])


@pytest.fixture(scope="session")
def design(shared):
    """Return a function that reads a design matrix."""
    folder = shared / "oracles/palm/designs"
    return lambda name: np.loadtxt(folder / f"{name}.csv", delimiter=",", ndmin=2)


@dataclass(frozen=True)
class Outcome:
    """All that was found on one side of a contrast."""

    mask: np.ndarray
    contrast: ShuffledContrast
    statistics: ShuffleStatistics
    result: ShuffleResult

    def heights(self, name):
        """Return what each voxel is judged by, large meaning extreme."""
        tail, observed = self.statistics.tail, self.result.observed
        if name in observed:
            return SIGNS[tail] * observed[name]
        neighbours = neighbour_list(self.mask, self.statistics.connectivity)
        return cluster_heights(observed["voxel"], self.statistics, self.contrast, neighbours)[name]

    def null(self, name):
        return self.result.nulls[f"{name}_{self.statistics.tail}"]

    def fwe_p(self, name):
        return correct(name, self.heights(name), self.null(name), 0.05).p

    def uncorrected_p(self, name):
        return self.result.counts[name] / len(self.null(name))


def run(data, mask, matrix, weights, scheme, n_shuffles, welch=None, **settings):
    """Compute shuffles of a contrast; `scheme` is all that `ShufflingScheme` takes but labels."""
    model = LinearModel(matrix, tuple(f"x{i}" for i in range(matrix.shape[1])))
    scheme = ShufflingScheme(labels=row_labels(matrix), **scheme)
    if welch is not None:
        welch = welch(model)
    split = partition(model, np.array([weights], float))
    contrast = ShuffledContrast(split, scheme, welch=welch)
    statistics = ShuffleStatistics(**{"tail": "positive", **settings})
    result = run_shuffles(
        lambda start, stop: data[:, start:stop],
        mask,
        [contrast],
        statistics,
        0,
        n_shuffles,
        n_threads=2,
    )
    return Outcome(mask, contrast, statistics, result[0])


def assert_maps_equal(found, expected):
    """Compare with a float32 image: 6e-8 of each value, and peers may compute in float32."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-7 * np.abs(expected).max())


def differing_counts(p, expected, n_shuffles):
    """Return by how many shuffles p differ; the files hold p, or 1 - p, as float32."""
    difference = (p - expected) * n_shuffles
    assert np.abs(difference - np.round(difference)).max() < 1e-3
    return np.abs(np.round(difference)).astype(int)


# randomise. Contrasts of its regression: 1 is success, 2 is minus success.

FSL_CLUSTERS = [
    ("one_xcC2000", 1, "d_ones", [1], "positive"),
    ("reg_xcC2000", 1, "d_reg", [1, 0], "positive"),
    # The negative contrast is the negative side of the contrast, with shuffles of its own.
    ("reg_xcC2000", 2, "d_reg", [1, 0], "negative"),
]


def given_by_fsl(shared, name, number):
    kind, table = read_shuffles(shared / f"oracles/fsl/{name}_perm_tstat{number}.txt.gz")
    return {"kind": kind, "given": table}


def assert_null_as_printed(found, path):
    """Compare with a list of maxima of 4 decimals or, if any is >= 1000, 5 significant digits."""
    with gzip.open(path, "rt") as file:
        scientific = "e+" in file.read()
    expected = np.loadtxt(path)
    unit = np.full(len(expected), 1e-4)
    if scientific:
        unit = 10 ** (np.floor(np.log10(np.maximum(expected, 1))) - 4)
    # Half a unit is lost in print, and float32 sums may add a hundredth.
    assert (np.abs(found - expected) <= 0.51 * unit).all()


@pytest.mark.parametrize(("name", "number", "matrix", "weights", "tail"), FSL_CLUSTERS)
def test_shuffles_of_randomise_give_its_voxels_and_clusters(
    shared, brain, maps, read, design, name, number, matrix, weights, tail, agree
):
    scheme = given_by_fsl(shared, name, number)
    found = run(
        maps,
        brain,
        design(matrix),
        weights,
        scheme,
        2000,
        names=CLUSTERS,
        tail=tail,
        cluster_forming_statistic=3.1,
    )
    np.testing.assert_allclose(
        found.heights("voxel"), read(f"oracles/fsl/{name}_tstat{number}.nii.gz"), atol=1e-6
    )
    for what in CLUSTERS:
        stem = f"oracles/fsl/{name}_{FILE_NAMES[what]}"
        if what != "voxel":
            assert_maps_equal(found.heights(what), read(f"{stem}_tstat{number}.nii.gz"))
        assert_null_as_printed(found.null(what), shared / f"{stem}_corrp_tstat{number}.txt.gz")
        p = 1 - read(f"{stem}_corrp_tstat{number}.nii.gz")
        # A height next to a value of the null may pass it by rounding: one voxel of them all.
        differs = differing_counts(found.fwe_p(what), p, 2000)
        own = f"corrected p under its own shuffles: {what}"
        agree("FSL randomise", own, found.fwe_p(what), p, atol=1.01 / 2000)
        assert differs.max() <= 1
        assert np.count_nonzero(differs) <= (1 if what == "voxel" else 0)
    extents = np.loadtxt(shared / f"oracles/fsl/{name}_clustere_corrp_tstat{number}.txt.gz")
    np.testing.assert_array_equal(found.null("extent"), extents)
    p = 1 - read(f"oracles/fsl/{name}_vox_p_tstat{number}.nii.gz")
    assert not differing_counts(found.uncorrected_p("voxel"), p, 2000).any()
    uncorrected = found.uncorrected_p("voxel")
    agree("FSL randomise", "uncorrected p under its own shuffles", uncorrected, p, atol=1e-6)


def without_outermost_plane(data, mask, largest):
    """Leave out what FSL's enhancement leaves out of a volume, and keep its step.

    The step is a hundredth of the largest t of the whole volume, which may lie in the plane: a
    voxel apart from all others takes its data along, as the last one.
    """
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1, 1:-1] = mask[1:-1, 1:-1, 1:-1]
    kept = inner.ravel(order="F")[mask.ravel(order="F")]
    apart = np.pad(inner, ((0, 0), (0, 0), (0, 2)))
    apart[0, 0, -1] = True
    return np.hstack([data[:, kept], data[:, [largest]]]), apart, kept


FSL_TFCE = [
    ("one_Tpad1000", 1, "d_ones", [1], "positive"),
    ("reg_T500", 1, "d_reg", [1, 0], "positive"),
    ("reg_T500", 2, "d_reg", [1, 0], "negative"),
]


@pytest.mark.parametrize(("name", "number", "matrix", "weights", "tail"), FSL_TFCE)
def test_shuffles_of_randomise_give_its_enhancement(
    shared, brain, maps, read, design, name, number, matrix, weights, tail, agree
):
    scheme = given_by_fsl(shared, name, number)
    n_shuffles = len(scheme["given"])
    t = read(f"oracles/fsl/{name}_tstat{number}.nii.gz")
    data, mask, kept = maps, brain, np.ones(maps.shape[1], dtype=bool)
    # One volume was padded by a voxel before.
    if "pad" not in name:
        data, mask, kept = without_outermost_plane(maps, brain, t.argmax())
    found = run(
        data,
        mask,
        design(matrix),
        weights,
        scheme,
        n_shuffles,
        names=("voxel", "tfce"),
        tail=tail,
        tfce=Tfce(steps="fsl"),
    )
    here = slice(None, kept.sum())
    np.testing.assert_allclose(found.heights("voxel")[here], t[kept], atol=1e-6)
    assert_null_as_printed(
        found.null("tfce"), shared / f"oracles/fsl/{name}_tfce_corrp_tstat{number}.txt.gz"
    )
    # Rounding of t decides whether a voxel reaches a step that it lies on.
    steps = np.cumsum(np.full(100, t.max() / 100, np.float32), dtype=np.float32)
    clear = (np.abs(t[kept] - steps[:, None]) > 3e-7 * t[kept]).all(axis=0)
    assert np.count_nonzero(~clear) <= 5
    enhanced = read(f"oracles/fsl/{name}_tfce_tstat{number}.nii.gz")
    assert not enhanced[~kept].any()
    ours, theirs = found.heights("tfce")[here][clear], enhanced[kept][clear]
    agree("FSL randomise", "TFCE in its steps", ours, theirs, atol=5e-7 * np.abs(theirs).max())
    p = 1 - read(f"oracles/fsl/{name}_tfce_corrp_tstat{number}.nii.gz")
    differs = differing_counts(found.fwe_p("tfce")[here][clear], p[kept][clear], n_shuffles)
    # A plateau of three voxels lies 4e-7 of its height beside a value of the null.
    assert differs.max() <= 1
    assert np.count_nonzero(differs) <= 3


# PALM, where it enumerated. Its maxima of voxels are z; maps hold t.

EXHAUSTIVE = {
    "exh1s10": (
        10,
        "x_ones10",
        [1],
        "flip",
        1024,
        {"voxel": "ext", "extent": "ext", "mass": "mass", "tfce": "ext"},
    ),
    "exh2g10": (10, "x_2g10", [1, -1], "permute", 252, {"voxel": ""}),
    "exhreg6": (6, "x_reg6", [1, 0], "permute", 720, {"voxel": ""}),
}


def palm_settings(names):
    settings = {"names": names, "statistic_scale": "z", "tfce": Tfce(steps="palm")}
    return settings | ({"cluster_forming_z": 3.1} if "extent" in names else {})


@pytest.mark.parametrize("name", EXHAUSTIVE)
def test_all_shuffles_give_what_palm_gives(shared, brain, maps, read, design, name, agree):
    n_maps, matrix, weights, kind, n_distinct, folders = EXHAUSTIVE[name]
    found = run(
        maps[:n_maps],
        brain,
        design(matrix),
        weights,
        {"kind": kind, "exhaustive": True},
        n_distinct,
        **palm_settings(tuple(folders)),
    )
    assert found.contrast.scheme.n_distinct == n_distinct
    for what, folder in folders.items():
        folder = f"{name}_{folder}".rstrip("_")
        stem = f"oracles/palm/{folder}/{folder}_{FILE_NAMES[what]}_tstat"
        assert_maps_equal(found.heights(what), read(f"{stem}.nii.gz"))
        null = found.null(what)
        if what == "voxel":
            null = t_to_z(null, found.contrast.dof)
        expected = np.loadtxt(shared / f"{stem}_max.csv")
        # Both begin with the data as they are and go on in orders of their own.
        assert null[0] == pytest.approx(expected[0], rel=1e-8)
        own = f"all shuffles of small designs: largest {what} of each"
        agree("PALM", own, np.sort(null), np.sort(expected), rtol=1e-8)
        p = read(f"{stem}_fwep.nii.gz")
        assert p.min() < 0.5
        assert not differing_counts(found.fwe_p(what), p, n_distinct).any()
        own = f"all shuffles of small designs: corrected p of {what}"
        agree("PALM", own, found.fwe_p(what), p, atol=1e-6)
        if what in found.result.counts:
            p = read(f"{stem}_uncp.nii.gz")
            assert not differing_counts(found.uncorrected_p(what), p, n_distinct).any()


# PALM, where it sampled.


def within_four_errors(p, expected, n_shuffles, n_expected):
    """Tell where p differ by sampling: four standard errors, and a step at the smallest p."""
    pooled = (n_shuffles * p + n_expected * expected) / (n_shuffles + n_expected)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n_shuffles + 1 / n_expected))
    return np.abs(p - expected) <= 4 * error + 1 / min(n_shuffles, n_expected)


SAMPLED = [
    ("d_ones", [1], "flip", 2000, {"voxel": "a_vox", "extent": "a_ext2k", "mass": "a_mass2k"}),
    ("d_reg", [1, 0], "permute", 2000, {"voxel": "b_reg", "extent": "b_reg"}),
    # Fewer will do: every enhanced shuffle of ten maps is compared above.
    ("d_ones", [1], "flip", 500, {"voxel": "a_tfce2k", "tfce": "a_tfce2k"}),
]


@pytest.mark.parametrize(("matrix", "weights", "kind", "n_shuffles", "folders"), SAMPLED)
def test_sampled_shuffles_agree_with_those_of_palm(
    brain, maps, read, design, matrix, weights, kind, n_shuffles, folders
):
    found = run(
        maps,
        brain,
        design(matrix),
        weights,
        {"kind": kind, "seed": 20},
        n_shuffles,
        **palm_settings(tuple(folders)),
    )
    for what, folder in folders.items():
        stem = f"oracles/palm/{folder}/{folder}_{FILE_NAMES[what]}_tstat"
        assert_maps_equal(found.heights(what), read(f"{stem}.nii.gz"))
        p = read(f"{stem}_fwep.nii.gz")
        assert p.min() < 0.5 < p.max()
        assert within_four_errors(found.fwe_p(what), p, n_shuffles, 2000).all()
        if what in found.result.counts:
            p, ours = read(f"{stem}_uncp.nii.gz"), found.uncorrected_p(what)
            assert within_four_errors(ours, p, n_shuffles, 2000).mean() >= 0.999


class PalmAspinWelch(AspinWelch):
    """The dof that PALM takes: a third of those of Welch and Satterthwaite."""

    def shuffled(self, residuals, orders, signs):
        v, dof = super().shuffled(residuals, orders, signs)
        return v, dof / 3


@pytest.fixture(scope="session")
def slab(shared, brain, maps):
    """Return the mask of the slices that PALM compared two groups in, and the maps there."""
    mask = nib.load(shared / "oracles/swe/mask_slab.nii").get_fdata() > 0
    assert not (mask & ~brain).any()
    return mask, maps[:, mask.ravel(order="F")[brain.ravel(order="F")]]


# v of a voxel does not depend on dof, its z does. Of what PALM gives,
# - v can be compared as it is, and dof times three;
# - corrected p rank the z of different voxels, whose dof differ: they are compared with its dof;
# - uncorrected p rank the z of one voxel, whose dof change little from shuffle to shuffle: counts
#   by v, by z and by z with a third of the dof differ by at most 14 in 1,000, less than the
#   sampling does, so they agree whatever the dof.
@pytest.mark.parametrize("welch", [PalmAspinWelch, AspinWelch])
def test_variance_groups_agree_with_palm_but_for_its_dof(shared, read, design, slab, welch):
    mask, data = slab
    stem = "oracles/palm/c_2g_vg_slab/c_2g_vg_slab_vox_vstat"
    weights, groups = np.array([[1.0, -1]]), design("vg_2g").ravel()
    n_shuffles = 1000 if welch is PalmAspinWelch else 500
    found = run(
        data,
        mask,
        design("d_2g"),
        [1, -1],
        {"kind": "permute", "seed": 22},
        n_shuffles,
        welch=lambda model: welch(model, weights, groups),
    )
    v, dof = found.contrast.welch.statistic(data)
    assert_maps_equal(v, read(f"{stem}.nii.gz", mask))
    np.testing.assert_allclose(found.heights("voxel"), t_to_z(v, dof), rtol=1e-9, atol=1e-12)
    p = read(f"{stem}_uncp.nii.gz", mask)
    ours = found.uncorrected_p("voxel")
    assert within_four_errors(ours, p, n_shuffles, 1000).mean() >= 0.999
    theirs = read(f"{stem}_dof.nii.gz", mask)
    if welch is AspinWelch:
        assert_maps_equal(dof, 3 * theirs)
        return
    assert_maps_equal(dof, theirs)
    np.testing.assert_allclose(
        stats.t.sf(v, dof), read(f"{stem}_uncparap.nii.gz", mask), rtol=0, atol=1e-7
    )
    maxima = np.loadtxt(shared / f"{stem}_max.csv")
    assert found.null("voxel")[0] == pytest.approx(maxima[0], rel=1e-8)
    p = read(f"{stem}_fwep.nii.gz", mask)
    assert p.min() < 0.5
    assert within_four_errors(found.fwe_p("voxel"), p, n_shuffles, 1000).all()
    assert stats.ks_2samp(found.null("voxel"), maxima).pvalue > 1e-3


# nilearn. Its test is one-sided here, its clusters 6-connected and their mass what exceeds the
# threshold. With an intercept in the model it flips signs, each time of the maps flipped before;
# one job takes the flips from a generator seeded by the generator of the seed, 0.

NILEARN_NAMES = {"voxel": "t", "extent": "size", "mass": "mass", "tfce": "tfce"}
NILEARN = [
    ("np_onesamp_1000_tfce", "d_ones", [1], 1000, ("voxel", "tfce")),
    ("np_regr_500_tfce", "d_reg", [1, 0], 500, ("voxel", "tfce")),
    ("np_onesamp_1000_thr", "d_ones", [1], 1000, CLUSTERS),
    ("np_regr_1000_thr", "d_reg", [1, 0], 1000, CLUSTERS),
]


def flips_of_nilearn(n_shuffles, n_maps=30):
    seed = np.random.RandomState(0).randint(1, np.iinfo(np.int32).max - 1)
    generator = np.random.RandomState(seed)
    flips = [np.ones(n_maps, dtype=int)]
    for _ in range(n_shuffles):
        flips.append(flips[-1] * (generator.randint(2, size=n_maps) * 2 - 1))
    return np.stack(flips)


@pytest.mark.parametrize(("name", "matrix", "weights", "n_shuffles", "names"), NILEARN)
def test_shuffles_of_nilearn_give_its_p(
    brain, maps, read, design, name, matrix, weights, n_shuffles, names
):
    scheme = {"kind": "flip", "given": flips_of_nilearn(n_shuffles)}
    settings = {"cluster_forming_p": 0.001} if "mass" in names else {}
    found = run(
        maps,
        brain,
        design(matrix),
        weights,
        scheme,
        n_shuffles + 1,
        names=names,
        connectivity=6,
        mass_excess="mass" in names,
        tfce=Tfce(steps="nilearn"),
        **settings,
    )
    for what in names:
        theirs = NILEARN_NAMES[what]
        heights = found.heights(what)
        assert_maps_equal(heights, read(f"oracles/nilearn/{name}_{theirs}.nii.gz"))
        p = 10 ** -read(f"oracles/nilearn/{name}_logp_max_{theirs}.nii.gz")
        assert p.min() < 0.5 < p.max()
        if what in ("voxel", "tfce"):
            assert not differing_counts(found.fwe_p(what), p, n_shuffles + 1).any()
            continue
        # p of its clusters leave the data as they are out and are kept off 0 and 1.
        counts = fwe_counts(heights, found.null(what)) - 1
        kept_off = np.clip(counts, 1, n_shuffles - 1)
        assert not differing_counts(kept_off / n_shuffles, p, n_shuffles).any()
