"""EC densities and resel counts against SPM12 and the identities between fields."""

import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nipype_group.stats.random_field.euler import StatField, ec_densities, log_ec_densities
from nipype_group.stats.random_field.resels import (
    SearchVolume,
    box_resels,
    cluster_resels,
    resel_counts,
    sphere_resels,
)

DOF_OF = {
    "Z": lambda row: None,
    "T": lambda row: row.df2,
    "F": lambda row: (row.df1, row.df2),
    "X": lambda row: row.df2,
}
KIND_OF = {"Z": "Z", "T": "t", "F": "F", "X": "chi2"}
ROOTS = np.array([0.0, 0.3, 1.0, 2.5, 6.0])


def test_densities_are_those_of_spm(shared, agree):
    for row in pd.read_csv(shared / "oracles/spm/spm_ECdensity_grid.csv").itertuples():
        ours = ec_densities(row.t, KIND_OF[row.STAT], DOF_OF[row.STAT](row))
        spm = np.array([row.EC0, row.EC1, row.EC2, row.EC3])
        if row.STAT == "X":
            # SPM12's factor too many.
            spm /= row.t ** np.array([0, 0, 1 / 2, 1])
        agree("SPM", "Euler characteristic densities", ours, spm, rtol=1e-6, atol=1e-12)


def test_chi2_of_one_dof_is_the_square_of_z():
    np.testing.assert_allclose(
        ec_densities(ROOTS**2, "chi2", 1), 2 * ec_densities(ROOTS, "Z"), rtol=1e-13, atol=1e-300
    )


def test_f_of_one_dof_is_the_square_of_t():
    np.testing.assert_allclose(
        ec_densities(ROOTS**2, "F", (1, 9)), 2 * ec_densities(ROOTS, "t", 9), rtol=1e-13
    )


@pytest.mark.parametrize("k", [1, 2, 3, 4, 10])
def test_chi2_is_the_limit_of_f(k):
    u = np.array([0.0, 0.5, 2.0, 9.0, 25.0])
    f = ec_densities(u / k, "F", (k, 1e8))
    np.testing.assert_allclose(ec_densities(u, "chi2", k), f, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(
        ec_densities(u, "chi2", k), ec_densities(u / k, "F", (k, np.inf))
    )


def test_z_is_the_limit_of_t():
    u = np.array([-3.0, 0.0, 2.0, 5.0])
    np.testing.assert_allclose(
        ec_densities(u, "t", 1e8), ec_densities(u, "Z"), rtol=1e-5, atol=1e-9
    )
    np.testing.assert_array_equal(ec_densities(u, "t", np.inf), ec_densities(u, "Z"))


@pytest.mark.parametrize(
    ("kind", "dof"), [("F", (1, 9)), ("F", (2, 9)), ("F", (3, 9)), ("chi2", 1), ("chi2", 2)]
)
def test_densities_at_0_are_the_limit(kind, dof):
    at_0, near = ec_densities([0.0, 1e-14], kind, dof).T
    assert np.isfinite(at_0).all()
    np.testing.assert_allclose(at_0, near, atol=1e-6)


def test_two_dof_leave_out_the_term_that_vanishes():
    v, u = 12.0, np.array([0.4, 3.0])
    # The general form next to 2 dof, where nothing is left out.
    np.testing.assert_allclose(
        ec_densities(u, "F", (2, v)), ec_densities(u, "F", (2 + 1e-7, v)), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(
        ec_densities(u, "chi2", 2), ec_densities(u, "chi2", 2 + 1e-7), rtol=1e-5, atol=1e-7
    )


def test_effective_dof_with_rounding_count_as_whole():
    np.testing.assert_array_equal(
        ec_densities(0.0, "F", (0.9999999999999996, 28)), ec_densities(0.0, "F", (1, 28))
    )


@pytest.mark.parametrize(("kind", "dof"), [("Z", None), ("t", 9), ("F", (2, 9)), ("chi2", 3)])
def test_logarithms_are_those_of_the_densities(kind, dof):
    u = np.linspace(0.5, 8, 200)
    logs = log_ec_densities(u, StatField(kind, dof))
    assert np.all(np.diff(logs[0]) < 0)
    plain = ec_densities(u, kind, dof)
    np.testing.assert_allclose(np.exp(logs), np.maximum(plain, 0), rtol=1e-12)


@pytest.mark.parametrize(("kind", "dof"), [("Z", None), ("t", 9), ("F", (2, 9)), ("chi2", 3)])
def test_infinite_heights_have_no_density(kind, dof):
    assert ec_densities(np.inf, kind, dof).tolist() == [0, 0, 0, 0]
    assert np.isnan(ec_densities(np.nan, kind, dof)).all()


def test_nothing_lies_below_minus_infinity():
    assert ec_densities(-np.inf, "t", 9).tolist() == [1, 0, 0, 0]


def test_logarithms_go_on_where_densities_underflow():
    for kind, dof, u in (("Z", None, 60.0), ("chi2", 4, 3000.0), ("F", (3, 4000), 900.0)):
        logs = log_ec_densities(u, StatField(kind, dof))
        assert ec_densities(u, kind, dof)[0] == 0
        assert np.isfinite(logs).all()
        assert np.all(np.diff(logs) > 0)


def test_chi2_tail_has_no_step_where_it_changes_form():
    u = np.linspace(1280, 1300, 201)
    steps = np.diff(log_ec_densities(u, StatField("chi2", 7))[0])
    np.testing.assert_allclose(steps, steps[0], rtol=1e-4)


@given(
    st.integers(1, 5),
    st.floats(0.5, 8),
    st.sampled_from([("Z", None), ("t", 7), ("F", (3, 12)), ("chi2", 2)]),
)
def test_conjunctions_are_powers_of_a_polynomial(n_maps, u, field):
    g = np.sqrt(np.pi) / np.array([np.sqrt(np.pi), 1, np.sqrt(np.pi) / 2, 1])
    once = np.maximum(ec_densities(u, *field), 0) * g
    power = np.polynomial.polynomial.polypow(once, n_maps)
    power = np.r_[power, np.zeros(4)][:4]
    ours = np.exp(log_ec_densities(u, StatField(*field, n_maps)))
    np.testing.assert_allclose(ours, power / g, rtol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("T", 9), "field is one of Z, t, F, chi2, got 'T'"),
        (("t", 0), "degrees of freedom are > 0, got 0"),
        (("t", -3), "degrees of freedom are > 0"),
        (("t", np.nan), "degrees of freedom are > 0"),
        (("t", None), "t takes 1 degrees of freedom, got None"),
        (("Z", 9), "Z takes 0 degrees of freedom, got 9"),
        (("F", 9), "F takes 2 degrees of freedom, got 9"),
        (("F", (2, 1)), "more than 3 degrees of freedom"),
        (("Z", None, 0), "n_maps is a whole number >= 1, got 0"),
        (("Z", None, 1.5), "n_maps is a whole number"),
    ],
)
def test_bad_fields_are_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        StatField(*arguments)


def test_negative_squares_are_refused():
    with pytest.raises(ValueError, match="F is >= 0, got -2"):
        ec_densities([3.0, -2.0], "F", (1, 9))


def test_resels_are_those_of_spm(shared):
    folder = shared / "oracles/spm"
    for row in pd.read_csv(folder / "spm_resels_vol.csv").itertuples():
        mask = np.asanyarray(nib.load(folder / f"synthetic/{row.mask}.gz").dataobj) > 0
        assert mask.sum() == row.nvox
        np.testing.assert_allclose(
            resel_counts(mask, [row.Wx, row.Wy, row.Wz]),
            [row.R0, row.R1, row.R2, row.R3],
            rtol=1e-13,
            err_msg=row.mask,
        )


def test_lattice_box_is_the_continuous_box_between_voxel_centres():
    mask = np.zeros((8, 9, 10), bool)
    mask[1:5, 2:8, 3:10] = True
    fwhm = np.array([2.0, 3.0, 2.5])
    np.testing.assert_allclose(resel_counts(mask, fwhm), box_resels([3, 5, 6], fwhm), rtol=1e-13)


def test_resels_do_not_mind_the_edge_of_the_volume():
    mask = np.random.default_rng(2).random((6, 5, 4)) < 0.6
    np.testing.assert_array_equal(resel_counts(mask, 2.0), resel_counts(np.pad(mask, 2), 2.0))


def test_sphere_takes_the_geometric_mean():
    np.testing.assert_allclose(sphere_resels(9, [6, 9, 13.5]), sphere_resels(9, 9))


def test_cluster_resels_are_those_of_each_cluster_alone():
    rng = np.random.default_rng(3)
    labels = np.zeros((9, 8, 7), int)
    labels[1:4, 1:5, 2:6] = 2
    labels[5:8, 2:7, 1:3] = 1
    labels[5, 2, 6] = 3
    rpv = rng.random(labels.shape)
    rpv[2, 2, 3] = np.nan
    rpv[3, 3, 3] = 0
    rpv[labels == 3] = np.nan
    found = cluster_resels(labels, rpv, [2, 3, 4])
    for k in (1, 2):
        mean = np.nanmean(rpv[labels == k])
        lattice = resel_counts(labels == k, 1.0)
        assert found[k - 1] == pytest.approx(lattice @ [1 / 2, 2 / 3, 2 / 3, 1] * mean)
    assert found[2] == pytest.approx(0.5 / 24)


def test_touching_clusters_stay_apart():
    labels = np.array([1, 1, 2, 2, 2])[:, None, None]
    found = cluster_resels(labels, np.ones(labels.shape), 1.0)
    np.testing.assert_allclose(found, [1 / 2 + 2 / 3, 1 / 2 + 4 / 3])


def test_no_cluster_gives_no_resels():
    assert cluster_resels(np.zeros((3, 3, 3), int), np.ones((3, 3, 3)), 2.0).shape == (0,)


def test_search_volume_drops_dimensions_it_does_not_have():
    volume = SearchVolume([1, 5, 0, 0], fwhm_voxels=3)
    assert volume.resels == (1.0, 5.0)
    assert volume.n_dims == 1
    with pytest.raises(ValueError, match="the search volume is a line of voxels"):
        volume.to_resels(3)
    assert SearchVolume([-392, 3072, 1308, 38]).n_dims == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resel_counts(np.zeros((3, 3, 3)), 2), "the mask is empty"),
        (lambda: resel_counts(np.ones((3, 3)), 2), "a mask has three axes, got shape (3, 3)"),
        (lambda: resel_counts(np.ones((3, 3, 3)), 0), "FWHM is a length > 0 in voxels, got 0"),
        (lambda: resel_counts(np.ones((3, 3, 3)), [1, 2, -3]), "FWHM is a length > 0 in voxels"),
        (lambda: resel_counts(np.ones((3, 3, 3)), [1, 2]), "one number or three"),
        (lambda: sphere_resels(-1, 8), "radius is a length >= 0 in mm, got -1"),
        (lambda: sphere_resels(5, np.nan), "FWHM is a length > 0 in mm"),
        (lambda: box_resels([1, 2], 8), "a box has three sides"),
        (lambda: cluster_resels(np.ones((2, 2, 2), int), np.ones((2, 2)), 1), "of one shape"),
        (lambda: SearchVolume([0, 0]), "resels are 0 in all dimensions"),
        (lambda: SearchVolume([1, 2, 3, -4]), "resels are >= 0 in 2 and 3 dimensions"),
        (lambda: SearchVolume([1, 2, -3, 4]), "resels are >= 0 in 2 and 3 dimensions"),
        (lambda: SearchVolume([1, -2]), "> 0 in the last"),
        (lambda: SearchVolume([1, np.nan]), "one to four finite numbers"),
        (lambda: SearchVolume([1, 2, 3, 4, 5]), "one to four finite numbers"),
        (lambda: SearchVolume([1, 2], n_voxels=0), "n_voxels is a number > 0, got 0"),
        (lambda: SearchVolume([1, 2], fwhm_voxels=-1), "FWHM is a length > 0"),
        (lambda: SearchVolume([1, 2, 3, 4]).to_resels(9), "fwhm_voxels is needed"),
    ],
)
def test_bad_volumes_are_refused(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
