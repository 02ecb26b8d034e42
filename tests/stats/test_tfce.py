"""Enhancement against brute-force integration, closed forms, FSL, PALM and nilearn."""

from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest
from nilearn.mass_univariate._utils import calculate_tfce
from scipy import ndimage
from tfce import tfce

from nipype_group.choices import TFCE_STEPS as STEPS
from nipype_group.stats.clusters import neighbourhood
from nipype_group.stats.distributions import t_to_z
from nipype_group.stats.neighbours import adjacent_columns, neighbour_list
from nipype_group.stats.tfce import Tfce, enhance, enhance_maps

SHAPE = (8, 7, 6)
POWERS = [(0.5, 2.0), (1.0, 2.0), (0.5, 1.0), (0.0, 2.0), (2 / 3, 0.7)]


@pytest.fixture(scope="module")
def mask():
    return np.random.default_rng(0).random(SHAPE) < 0.85


def values_in(volume, mask):
    return volume.ravel(order="F")[mask.ravel(order="F")]


def extents_at(volume, mask, height, connectivity):
    """Return the size of the cluster that each voxel of the mask is in at a height, else 0."""
    labels, _ = ndimage.label((volume >= height) & mask, neighbourhood(connectivity))
    sizes = np.bincount(labels.ravel()).astype(float)
    sizes[0] = 0
    return values_in(sizes[labels], mask)


def brute_force(volume, mask, connectivity, extent_power, height_power):
    """Integrate piecewise between all heights that occur, where extents are constant."""
    total = np.zeros(mask.sum())
    low = 0.0
    for high in np.unique(volume[mask & (volume > 0)]):
        extents = extents_at(volume, mask, high, connectivity)
        power = height_power + 1
        rise = (high**power - low**power) / power
        total += np.where(extents > 0, extents**extent_power, 0) * rise
        low = high
    return total


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize(("extent_power", "height_power"), POWERS)
@pytest.mark.parametrize("ties", [False, True])
def test_the_integral_equals_brute_force(mask, connectivity, extent_power, height_power, ties):
    volume = np.random.default_rng(1).standard_normal(SHAPE)
    if ties:
        volume = np.round(2 * volume) / 2
    neighbours = neighbour_list(mask, connectivity)
    settings = Tfce(extent_power, height_power, connectivity)
    for sign in (1, -1):
        found = enhance(sign * values_in(volume, mask), neighbours, settings)
        expected = brute_force(sign * volume, mask, connectivity, extent_power, height_power)
        assert expected.max() > 1
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_the_integral_is_the_limit_of_many_steps(mask):
    volume = ndimage.gaussian_filter(np.random.default_rng(2).standard_normal(SHAPE), 1) * 4
    neighbours = neighbour_list(mask, 6)
    found = enhance(values_in(volume, mask), neighbours, Tfce())
    step = volume.max() / 10_000
    total = np.zeros(mask.sum())
    for height in (np.arange(10_000) + 0.5) * step:
        total += np.sqrt(extents_at(volume, mask, height, 6)) * height**2 * step
    np.testing.assert_allclose(found, total, atol=1e-4 * found.max())


@pytest.mark.parametrize("steps", [None, *STEPS])
@pytest.mark.parametrize("factor", [1e-3, 3.0, 1e5])
def test_scaling_the_map_scales_the_enhanced_one_by_a_power(mask, steps, factor):
    values = values_in(np.random.default_rng(3).standard_normal(SHAPE), mask)
    neighbours = neighbour_list(mask, 6)
    # A power of H + 1 with the step as a factor, H without.
    settings, power = Tfce(0.5, 1.5, steps=steps), 2.5 if steps in (None, "palm") else 1.5
    # Voxels are not to lie on a step, where rounding decides.
    reference = 1.037 * values.max()
    small = enhance(values, neighbours, settings, reference)
    large = enhance(factor * values, neighbours, settings, factor * reference)
    # The heights of FSL's steps are float32.
    rtol = 1e-5 if steps == "fsl" else 1e-9
    np.testing.assert_allclose(large, factor**power * small, rtol=rtol)


def test_without_extent_only_the_height_counts(mask):
    values = values_in(np.random.default_rng(4).standard_normal(SHAPE), mask)
    found = enhance(values, neighbour_list(mask, 18), Tfce(0, 2, 18))
    np.testing.assert_allclose(found, np.maximum(values, 0) ** 3 / 3, rtol=1e-12)


def test_blobs_apart_do_not_know_of_each_other():
    mask = np.ones((7, 1, 1), dtype=bool)
    neighbours = neighbour_list(mask, 6)
    values = np.array([2.0, 2, 0, 5, -1, 3, 1])
    found = enhance(values, neighbours, Tfce())
    third = np.sqrt(2) / 3
    expected = [third * 8, third * 8, 0, 125 / 3, 0, third + (27 - 1) / 3, third]
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize("steps", [None, *STEPS])
def test_a_plateau_is_enhanced_evenly(steps):
    mask = np.ones((5, 5, 5), dtype=bool)
    values = np.full(125, 2.5)
    # Two peaks on it, of different widths.
    values[[0, 60, 61]] = 4
    found = enhance(values, neighbour_list(mask, 6), Tfce(steps=steps), 4.0)
    assert len(np.unique(found[values == 2.5])) == 1
    assert found[60] == found[61] > found[0] > found[5]


def test_the_numbering_of_voxels_does_not_change_a_bit(mask):
    # Mirrored, ties come in the opposite order.
    volume = np.round(2 * np.random.default_rng(7).standard_normal(SHAPE)) / 2
    found = enhance(values_in(volume, mask), neighbour_list(mask, 18), Tfce(connectivity=18))
    volume, mask = (array[::-1, ::-1, ::-1] for array in (volume, mask))
    mirrored = enhance(values_in(volume, mask), neighbour_list(mask, 18), Tfce(connectivity=18))
    np.testing.assert_array_equal(mirrored[::-1], found)


@pytest.mark.parametrize("steps", [None, *STEPS])
def test_a_map_without_positive_values_stays_empty(steps):
    neighbours = neighbour_list(np.ones((4, 3, 2), dtype=bool), 6)
    for values in (np.zeros(24), -np.ones(24), np.full(24, -0.0)):
        assert not enhance(values, neighbours, Tfce(steps=steps), 3.0).any()
        assert not enhance(values, neighbours, Tfce(steps=steps), 0.0).any()
    # The unpermuted map has no positive values, this shuffle has: FSL gives a blank map.
    if steps == "fsl":
        assert not enhance(np.ones(24), neighbours, Tfce(steps=steps), -1.0).any()


@pytest.mark.parametrize(
    ("steps", "expected"),
    # Sums of k^2 are 338350 up to 100 and 328350 up to 99.
    [
        (None, 3.125**3 / 3),
        ("fsl", 328350 / 32**2),
        ("palm", 338350 / 32**3),
        ("nilearn", 338350 / 32**2),
    ],
)
def test_a_mask_of_one_voxel(steps, expected):
    # A step of 1/32 adds up without rounding.
    neighbours = neighbour_list(np.ones((1, 1, 1), dtype=bool), 6)
    found = enhance([3.125], neighbours, Tfce(steps=steps), 3.125)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.parametrize("largest", [1e-200, 1e3, 1e9, 1e200])
def test_an_outlier_does_not_disturb_the_order_of_the_others(mask, largest):
    # Far from the largest, heights share a sorting key, and so do near-equal ones.
    rng = np.random.default_rng(5)
    volume = np.where(rng.random(SHAPE) < 0.5, rng.random(SHAPE), 1 + 1e-9 * rng.random(SHAPE))
    volume[mask & (rng.random(SHAPE) < 0.01)] = largest
    found = enhance(values_in(volume, mask), neighbour_list(mask, 6), Tfce(0.5, 0.4))
    np.testing.assert_allclose(found, brute_force(volume, mask, 6, 0.5, 0.4), rtol=1e-9)


@pytest.mark.parametrize("steps", [None, *STEPS])
def test_maps_are_enhanced_as_each_alone_whatever_the_threads(mask, steps):
    maps = np.random.default_rng(6).standard_normal((12, mask.sum()))
    kept = maps.copy()
    neighbours, settings = neighbour_list(mask, 26), Tfce(connectivity=26, steps=steps)
    alone = np.stack([enhance(-values, neighbours, settings, 2.0) for values in maps])
    with ThreadPoolExecutor(2) as pool:
        halves = pool.map(
            lambda part: enhance_maps(part, neighbours, settings, 2.0, sign=-1), np.split(maps, 2)
        )
        np.testing.assert_array_equal(np.concatenate(list(halves)), alone)
    np.testing.assert_array_equal(maps, kept)
    assert enhance_maps(maps, neighbours, settings, 2.0, sign=-1, out=maps) is maps
    np.testing.assert_array_equal(maps, alone)


def test_settings_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="height_power above 0, got 0.5 and 0"):
        Tfce(height_power=0)
    with pytest.raises(ValueError, match="connectivity is 6, 18 or 26, got 8"):
        Tfce(connectivity=8)
    with pytest.raises(ValueError, match="got 'spm'"):
        Tfce(steps="spm")
    neighbours = neighbour_list(np.ones((2, 2, 2), dtype=bool), 6)
    with pytest.raises(ValueError, match="need step_reference"):
        enhance(np.ones(8), neighbours, Tfce(steps="fsl"))
    with pytest.raises(ValueError, match=r"neighbours \(v, c\), got \(1, 9\) and \(8, 6\)"):
        enhance(np.ones(9), neighbours, Tfce())
    with pytest.raises(ValueError, match="out is float64"):
        enhance_maps(np.ones((1, 8)), neighbours, Tfce(), out=np.empty((2, 8)))


@pytest.fixture(scope="module")
def brain(shared):
    return nib.load(shared / "data/wager2008/mask.nii.gz").get_fdata() > 0


@pytest.fixture(scope="module")
def faces(brain):
    return neighbour_list(brain, 6)


@pytest.fixture(scope="module")
def oracle(shared, brain):
    """Return a function that reads an oracle's values in the voxel order of `faces`."""

    def read(path):
        volume = nib.load(shared / "oracles" / path).get_fdata()
        if "pad" in path:
            volume = volume[1:-1, 1:-1, 1:-1]
        return values_in(volume, brain)

    return read


# The files are float32: 6e-8 of each value, and FSL sums in float32.
def assert_equal_maps(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * expected.max())


def test_steps_equal_those_of_fsl(oracle, faces):
    t = oracle("fsl/one_Tpad1000_tstat1.nii.gz")
    found = enhance(t, faces, Tfce(steps="fsl"), t.max())
    assert_equal_maps(found, oracle("fsl/one_Tpad1000_tfce_tstat1.nii.gz"))


def test_the_null_of_shuffles_equals_that_of_fsl(shared, brain, faces):
    folder = shared / "oracles/fsl"
    flips = np.loadtxt(folder / "one_Tpad1000_perm_tstat1.txt.gz")[:100]
    expected = np.loadtxt(folder / "one_Tpad1000_tfce_corrp_tstat1.txt.gz")[:100]
    paths = sorted((shared / "data/wager2008").glob("con_*.nii.gz"))
    maps = np.stack([values_in(nib.load(path).get_fdata(), brain) for path in paths])
    means = np.sign(flips) @ maps / len(maps)
    spread = np.square(maps).sum(axis=0) - len(maps) * means**2
    t = means / np.sqrt(spread / (len(maps) - 1) / len(maps))
    found = enhance_maps(t, faces, Tfce(steps="fsl"), t[0].max()).max(axis=1)
    # FSL prints five significant digits.
    unit = 10 ** (np.floor(np.log10(expected)) - 4)
    assert (np.abs(found - expected) <= 0.51 * unit).all()


@pytest.mark.parametrize(("run", "dof"), [("exh1s10_ext", 9), ("a_tfce2k", 29)])
def test_steps_equal_those_of_palm(oracle, faces, run, dof):
    z = t_to_z(oracle(f"palm/{run}/{run}_vox_tstat.nii.gz"), dof)
    found = enhance(z, faces, Tfce(steps="palm"))
    assert_equal_maps(found, oracle(f"palm/{run}/{run}_tfce_tstat.nii.gz"))


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("connectivity", [6, 26])
def test_steps_equal_those_of_nilearn(shared, brain, two_sided, sign, connectivity):
    volume = nib.load(shared / "oracles/fsl/one_Tpad1000_tstat1.nii.gz").get_fdata()
    volume = sign * volume[1:-1, 1:-1, 1:-1] * brain
    t = values_in(volume, brain)
    theirs = calculate_tfce(
        volume[..., None], neighbourhood(connectivity), two_sided_test=two_sided
    )
    neighbours = neighbour_list(brain, connectivity)
    settings = Tfce(connectivity=connectivity, steps="nilearn")
    found = enhance(t, neighbours, settings, None if two_sided else t.max())
    if two_sided:
        found -= enhance(-t, neighbours, settings)
    assert_equal_maps(found, values_in(theirs[..., 0], brain))


@pytest.mark.agreement
@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize(("extent_power", "height_power"), POWERS)
def test_the_integral_is_that_of_the_package_tfce(agree, connectivity, extent_power, height_power):
    shape = (17, 15, 19)
    axes = (np.indices(shape) + 0.5) / np.array(shape)[:, None, None, None] - 0.5
    mask = np.square(axes).sum(axis=0) < 0.22
    noise = ndimage.gaussian_filter(np.random.default_rng(2).standard_normal(shape), 1)
    volume = np.where(mask, 3 * noise / noise.std(), 0).astype(np.float32)
    theirs = tfce(volume, connectivity=connectivity, E=extent_power, H=height_power)
    neighbours = neighbour_list(mask, connectivity)
    settings = Tfce(extent_power, height_power, connectivity)
    up, down = (enhance(s * values_in(volume, mask), neighbours, settings) for s in (1, -1))
    # It sums in float64 and returns float32.
    agree("tfce (Gaser)", "exact TFCE", up - down, values_in(theirs, mask), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("tied", [False, True])
def test_what_volumes_settle_changes_no_bit(connectivity, tied):
    rng = np.random.default_rng(connectivity)
    mask = rng.random((9, 11, 10)) < 0.8
    maps = ndimage.gaussian_filter(rng.standard_normal((6, *mask.shape)), (0, 1, 1, 1))[:, mask]
    maps = np.round(20 * maps) / 4 if tied else 5 * maps
    neighbours, settings = neighbour_list(mask, connectivity), Tfce(connectivity=connectivity)
    for sign in (1, -1):
        plain = enhance_maps(maps, neighbours, settings, sign=sign)
        settled = adjacent_columns(connectivity)
        found = enhance_maps(maps, neighbours, settings, sign=sign, settled=settled)
        assert plain.max() > 0
        np.testing.assert_array_equal(found, plain)


def test_what_other_neighbours_settle_is_refused():
    neighbours = neighbour_list(np.ones((2, 2, 2), dtype=bool), 6)
    with pytest.raises(ValueError, match="settled is of 26 columns and neighbours have 6"):
        enhance_maps(np.ones((1, 8)), neighbours, Tfce(), settled=adjacent_columns(26))
