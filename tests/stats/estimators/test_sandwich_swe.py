"""The modified sandwich against the SwE toolbox, and what it is whatever the data."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nipype_group.stats.estimators.sandwich_swe import fit_sandwich_swe
from nipype_group.stats.linear.least_squares import LinearModel

# Type of the toolbox, of residuals and of dof.
RUNS = {"mod_ss0_dof0": ("CR0", "naive"), "mod_ss4_dof3": ("CR2", "approximation-iii")}
ROW = np.array([[1.0, -1, 0, 0, 0]])
ROWS = np.array([[0.0, 0, 1, 0, 0], [0, 0, 0, 1, 0]])


def reading(data):
    return lambda start, stop: data[:, start:stop]


@pytest.fixture(scope="module")
def study(shared):
    folder = shared / "oracles/swe"
    mask = nib.load(folder / "mask_slab.nii").get_fdata() > 0
    design = pd.read_csv(folder / "wager_long_design.csv")
    maps = (shared / f"data/wager2008/con_{i:02d}.nii.gz" for i in design["con_index"])
    data = np.array([nib.load(path).get_fdata()[mask] for path in maps])
    columns = [c for c in design.columns if c.startswith("X")]
    model = LinearModel(design[columns].to_numpy(float), tuple(columns))

    def theirs(run, name):
        return nib.load(folder / f"wager_long/{run}/swe_vox_{name}.nii.gz").get_fdata()[mask]

    return model, design, data, theirs


@pytest.fixture(scope="module", params=RUNS)
def run(request, study):
    model, design, data, _ = study
    labels = (design[c].to_numpy() for c in ("subject", "visit", "group"))
    fit = fit_sandwich_swe(model, *labels, reading(data), data.shape[1], *RUNS[request.param])
    return request.param, fit


def test_t_and_f_are_those_of_the_toolbox(study, run, agree):
    theirs, (name, fit) = study[3], run
    found, several = fit.contrast(ROW, "t"), fit.contrast(ROWS, "F")
    agree(
        "SwE", "modified sandwich: t", found.stat, theirs(name, "Tstat_c01"), rtol=1e-5, atol=1e-6
    )
    agree("SwE", "modified sandwich: F", several.stat, theirs(name, "Fstat_c02"), rtol=1e-5)
    z = found.maps("t", "two-sided")["z"]
    np.testing.assert_allclose(z, theirs(name, "zTstat_c01"), rtol=1e-5, atol=1e-6)
    log_p = -np.log10(several.maps("F", "two-sided")["p"])
    np.testing.assert_allclose(log_p, theirs(name, "Fstat_lp_c02"), rtol=1e-5, atol=1e-6)


def test_dof_are_those_of_the_toolbox(study, run, agree):
    theirs, (name, fit) = study[3], run
    found, several = fit.contrast(ROW, "t"), fit.contrast(ROWS, "F")
    if RUNS[name][1] == "naive":
        assert (found.dof == 10).all() and (several.dof == 9).all()
    else:
        agree("SwE", "modified sandwich: dof of t", found.dof, theirs(name, "edf_c01"), rtol=1e-5)
        agree(
            "SwE",
            "modified sandwich: dof of F",
            several.dof + 1,
            theirs(name, "edf_c02"),
            rtol=1e-5,
        )


def test_the_toolbox_own_test(shared):
    folder = shared / "oracles/swe/nii_ground_truth"
    results = folder / "test_p_vox_t_nii"
    mask = nib.load(results / "swe_vox_mask.nii.gz").get_fdata() > 0
    data = nib.load(folder / "nii_input_reconstructed_4d.nii.gz").get_fdata()[mask].T.copy()
    model = LinearModel(np.kron(np.eye(3), np.ones((12, 1))), ("a", "b", "c"))
    who, visit = np.tile(np.arange(12), 3), np.repeat(np.arange(3), 12)
    fit = fit_sandwich_swe(model, who, visit, np.zeros(36), reading(data), data.shape[1])
    found = fit.contrast(np.array([[1.0, 0, 0]]), "t")
    theirs = nib.load(results / "swe_vox_Tstat_c01.nii.gz").get_fdata()[mask]
    np.testing.assert_allclose(found.stat, theirs, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.dof, 11, rtol=1e-6)


def test_voxels_that_maps_lack_are_those_of_the_other_maps(study):
    model, design, data, _ = study
    data = data[:, :90].copy()
    labels = [design[c].to_numpy() for c in ("subject", "visit", "group")]
    missing = np.array([0, 13, 14])
    gaps = data.copy()
    gaps[missing[:, None], np.arange(30, 60)] = np.nan
    gaps[3:, 89] = np.nan
    found = fit_sandwich_swe(model, *labels, reading(gaps), 90).contrast(ROWS, "F")
    whole = fit_sandwich_swe(model, *labels, reading(data), 90).contrast(ROWS, "F")
    fewer = fit_sandwich_swe(
        model.without(missing),
        *(np.delete(v, missing) for v in labels),
        reading(np.delete(data, missing, axis=0)),
        90,
    ).contrast(ROWS, "F")
    for name in ("effect", "variance", "stat", "dof"):
        ours = getattr(found, name)
        assert (ours[30:60] == getattr(fewer, name)[30:60]).all()
        assert (ours[:30] == getattr(whole, name)[:30]).all()
    assert found.dof[89] == 0 and found.maps("F", "two-sided")["p"][89] == 1


def test_all_bits_are_the_same_whatever_the_tiles(study):
    model, design, data, _ = study
    labels = [design[c].to_numpy() for c in ("subject", "visit", "group")]
    whole = fit_sandwich_swe(model, *labels, reading(data[:, :90]), 90).contrast(ROWS, "F")
    for start, stop in ((0, 7), (7, 90)):
        part = reading(data[:, start:stop])
        own = fit_sandwich_swe(model, *labels, part, stop - start).contrast(ROWS, "F")
        for name in ("effect", "variance", "stat", "dof"):
            assert (getattr(own, name) == getattr(whole, name)[start:stop]).all()


def test_one_visit_of_two_groups_has_the_t_of_welch():
    rng = np.random.default_rng(5)
    group = np.repeat([0.0, 1], [16, 8])
    data = rng.standard_normal((24, 40)) * (1 + 2 * group[:, None])
    model = LinearModel(np.column_stack([np.ones(24), group]), ("mean", "difference"))
    fit = fit_sandwich_swe(model, np.arange(24), np.zeros(24), group, reading(data), 40)
    found = fit.contrast(np.array([[0.0, 1]]), "t")
    theirs = stats.ttest_ind(data[16:], data[:16], equal_var=False)
    np.testing.assert_allclose(found.stat, theirs.statistic, rtol=1e-9)
    assert fit.notes == ("At every voxel participants of each of 2 groups share a variance.",)


def test_columns_of_participants_leave_no_degree_of_freedom():
    data = np.random.default_rng(6).standard_normal((24, 5))
    who, visit = np.arange(24) // 2, np.arange(24) % 2
    model = LinearModel(np.column_stack([np.eye(12)[who], visit]), (*range(12), "visit"))
    fit = fit_sandwich_swe(model, who, visit, np.zeros(24), reading(data), 5)
    with pytest.raises(
        ValueError, match="12 participants, less the columns between them, leave 0"
    ):
        fit.contrast(np.eye(13)[12:], "t")


def test_bad_labels_are_refused(study):
    model, design, data, _ = study
    who, visit, group = (design[c].to_numpy() for c in ("subject", "visit", "group"))
    with pytest.raises(ValueError, match="several maps of one visit"):
        fit_sandwich_swe(model, who, visit // 2, group, reading(data), 90)
    with pytest.raises(ValueError, match="several groups"):
        fit_sandwich_swe(model, who, visit, visit, reading(data), 90)
    with pytest.raises(ValueError, match="CR2 or CR0"):
        fit_sandwich_swe(model, who, visit, group, reading(data), 90, "CR3")
