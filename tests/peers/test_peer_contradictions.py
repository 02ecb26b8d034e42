"""Values and names that contradict what a map is taken for."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy import io, ndimage, stats

from nipype_group.images import MapError
from nipype_group.peers.files import single_result
from nipype_group.peers.maps import corrected_logp, read_statistic
from nipype_group.peers.results import find_results

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
SHAPE = (10, 11, 9)
RNG = np.random.default_rng(12)
U = RNG.random(SHAPE)
# Noise that was smoothed, with an effect: neighbours are alike.
SMOOTH = ndimage.gaussian_filter(RNG.standard_normal(SHAPE), 1.5)
SMOOTH /= SMOOTH.std()
SMOOTH[3:6, 3:6, 3:6] += 4
BRAIN = np.zeros(SHAPE, dtype=bool)
BRAIN[1:-1, 1:-1, 1:-1] = True
# What a map holds at one-sided p, how it is given, and what is given with it.
KINDS = {
    "t": (lambda p: stats.t.isf(p, 20), {"dof": 20}),
    "z": (stats.norm.isf, {}),
    "F": (lambda p: stats.f.isf(p, 3, 20), {"dof": (3, 20)}),
    "r": (lambda p: (t := stats.t.isf(p, 20)) / np.sqrt(20 + t**2), {"dof": 20}),
    "d": (lambda p: stats.t.isf(p, 20) / np.sqrt(21), {"group_sizes": 21}),
    "p": (lambda p: 2 * np.minimum(p, 1 - p), {"p_sides": "two"}),
    "1-p": (lambda p: 1 - 2 * np.minimum(p, 1 - p), {"p_sides": "two"}),
    "logp": (lambda p: -np.log10(2 * np.minimum(p, 1 - p)), {"p_sides": "two"}),
}
# Uncorrected p, whatever it is that a map holds.
UNCORRECTED = {kind: (lambda p: 2 * np.minimum(p, 1 - p)) for kind in KINDS} | {"F": lambda p: p}


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(values, dtype=float), AFFINE), path)
    return path


def read(path, kind, **more):
    (found,) = single_result(path, kind, **KINDS[kind][1], **more).statistics
    return read_statistic(found)


@pytest.mark.parametrize("taken_out", [0.0, np.nan])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", ["noise", "effect"])
def test_part_of_a_map_that_passed_a_threshold(tmp_path, kind, taken_out, of):
    p = U if of == "noise" else stats.norm.sf(SMOOTH)
    values = KINDS[kind][0](p)
    whole = save(tmp_path / "whole.nii", np.where(BRAIN, values, 0))
    assert read(whole, kind).mask.sum() == BRAIN.sum()
    for alpha in (0.2, 0.05, 0.02):
        kept = BRAIN & (UNCORRECTED[kind](p) <= alpha)
        assert kept.sum() > 5
        part = save(tmp_path / "part.nii", np.where(kept, values, taken_out))
        with pytest.raises(MapError, match=rf"part\.nii: looks thresholded: .* {kept.sum()} voxe"):
            read(part, kind)
        # In a mask of the brain what was taken out is no value either.
        if np.isnan(taken_out) or kind not in ("p", "1-p", "logp"):
            mask = save(tmp_path / "brain.nii", BRAIN)
            with pytest.raises(MapError, match=r"part\.nii: looks thresholded"):
                read(part, kind, mask=mask)
        # That nothing else was searched can be said.
        mask = save(tmp_path / "kept.nii", kept)
        assert read(part, kind, mask=mask).mask.sum() == kept.sum()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("taken_out", [0.0, np.nan])
@pytest.mark.parametrize("kind", ["t", "z", "r", "d"])
@pytest.mark.parametrize("of", ["noise", "effect"])
def test_one_side_of_a_map(tmp_path, kind, taken_out, of, sign):
    values = KINDS[kind][0](U if of == "noise" else stats.norm.sf(SMOOTH))
    kept = BRAIN & (values * sign > 0)
    part = save(tmp_path / "part.nii", np.where(kept, values, taken_out))
    side = "above" if sign > 0 else "below"
    with pytest.raises(MapError, match=rf"cut at 0: all {kept.sum()} values are {side}"):
        read(part, kind)
    with pytest.raises(MapError, match="cut at 0"):
        read(part, kind, mask=save(tmp_path / "brain.nii", BRAIN))
    mask = save(tmp_path / "kept.nii", kept)
    assert read(part, kind, mask=mask).mask.sum() == kept.sum()


def test_an_effect_everywhere_is_no_side(tmp_path):
    noise = RNG.standard_normal(SHAPE)
    strong = np.where(BRAIN, np.abs(noise + 2.5), 0)
    assert read(save(tmp_path / "strong.nii", strong), "z").mask.sum() == BRAIN.sum()
    # Two-sided p have no sign.
    p = save(tmp_path / "p.nii", np.where(BRAIN, U, 0))
    assert read(p, "p").mask.sum() == BRAIN.sum()


def test_few_voxels_and_strong_effects_are_no_threshold(tmp_path):
    few = np.zeros(SHAPE)
    few[2, 2, :4] = 1.2, 1.9, -1.4, 2.2
    assert read(save(tmp_path / "few.nii", few), "z").mask.sum() == 4
    for strong in (40, 9):
        few[2, 2, :4] = strong
        assert read(save(tmp_path / "few.nii", few), "z").mask.sum() == 4
    strong = np.where(BRAIN, SMOOTH + 2, 0)
    assert read(save(tmp_path / "strong.nii", strong), "z").mask.sum() == BRAIN.sum()


def test_part_of_a_map_in_a_folder(tmp_path):
    t, z = stats.t.isf(U, 20), stats.norm.isf(U)
    kept = BRAIN & (np.abs(z) > 2)
    places = {
        "fsl/x_tstat1.nii.gz": {"dof": 20},
        "palm/x_vox_tstat_c1.nii.gz": {"dof": 20},
        "spm/spmT_0001.nii": {"dof": 20},
        "bids/contrast-a_stat-z_statmap.nii.gz": {},
        "halfpipe/feature-f_model-m_contrast-a_stat-z_statmap.nii.gz": {},
    }
    for name, given in places.items():
        values = t if given else z
        path = save(tmp_path / name, np.where(BRAIN, values, 0))
        (found,) = find_results(path.parent, **given).statistics
        read_statistic(found)
        save(path, np.where(kept, values, 0))
        with pytest.raises(MapError, match=rf"{path.name}: looks thresholded"):
            read_statistic(found)
        mask = save(path.parent / "mask.nii", BRAIN)
        with pytest.raises(MapError, match=rf"{path.name}: looks thresholded"):
            read_statistic(replace(found, mask_file=mask))


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("thresh_zstat1.nii.gz", True),
        ("x_zmap_thresholded.nii", True),
        ("Thresh_zmap.nii", True),
        ("zstat1.nii", False),
        ("unthresh_zmap.nii", False),
        ("zmap_unthresholded.nii", False),
        ("no-thresh_zmap.nii", False),
    ],
)
def test_names_of_thresholded_maps(tmp_path, name, refused):
    path = save(tmp_path / name, np.where(BRAIN, SMOOTH, 0))
    mask = save(tmp_path / "mask.nii", BRAIN)
    assert read(path, "z", mask=mask).mask.sum() == BRAIN.sum()
    if refused:
        with pytest.raises(ValueError, match="looks thresholded by its name; FDR, FWE and RFT"):
            read(path, "z")
    else:
        read(path, "z")


def corrected_of(kind, height):
    """Return p corrected for voxels, or for what is above a threshold, of a height."""
    if kind == "vox":
        return np.clip(stats.norm.sf(height) * 400, 0.001, 1)
    labels, n = ndimage.label(height > 2.3)
    sizes = ndimage.sum_labels(np.ones(SHAPE), labels, np.arange(n + 1)) * (np.arange(n + 1) > 0)
    if kind == "tfce":
        return np.clip(1.5 - np.maximum(height, 0) / 4 - sizes[labels] / 100, 0.001, 1)
    return np.where(labels > 0, np.clip(0.9 - sizes[labels] / 30, 0.001, 1), 1)


SCALES = {"p": lambda p: p, "1-p": lambda p: 1 - p, "logp": lambda p: -np.log10(p)}


@pytest.mark.parametrize("sides", ["one", "two"])
@pytest.mark.parametrize("kind", ["vox", "tfce", "clustere", "clusterm"])
@pytest.mark.parametrize(
    ("true", "stated"),
    # Both 1-p and logarithms rise with the statistic, and 1-p taken for these are none below 0.1.
    [(true, stated) for true in SCALES for stated in SCALES if (true, stated) != ("1-p", "logp")],
)
def test_scale_of_corrected_p_that_the_statistic_contradicts(tmp_path, kind, true, stated, sides):
    path = save(tmp_path / "z.nii", SMOOTH)
    p = corrected_of(kind, SMOOTH if sides == "one" else np.abs(SMOOTH))
    file = save(tmp_path / "c.nii", SCALES[true](p))
    given = {"corrected": [file], "corrected_kinds": [kind], "corrected_scale": stated}
    given |= {} if sides == "one" else {"p_sides": "two"}
    (found,) = single_result(path, "z", **given).statistics
    (column,) = found.corrected
    maps = read_statistic(found)
    if true == stated:
        logp = corrected_logp(found, column, maps)
        np.testing.assert_allclose(logp, -np.log10(p), atol=1e-9)
    else:
        with pytest.raises(MapError, match=r"c\.nii: (taken for corrected|has values from)"):
            corrected_logp(found, column, maps)


@pytest.mark.parametrize("kind", ["vox", "tfce", "clustere"])
def test_corrected_p_of_another_contrast(tmp_path, kind):
    path = save(tmp_path / "z.nii", SMOOTH)
    other = np.roll(SMOOTH, 4, axis=(0, 1, 2))
    for height in (-SMOOTH, other) if kind == "vox" else (other,):
        file = save(tmp_path / "c.nii", corrected_of(kind, height))
        (found,) = single_result(
            path, "z", corrected=[file], corrected_kinds=[kind], corrected_scale="p"
        ).statistics
        with pytest.raises(MapError, match="of another scale, side or contrast"):
            corrected_logp(found, *found.corrected, read_statistic(found))


def test_corrected_p_that_are_all_alike(tmp_path):
    path = save(tmp_path / "z.nii", SMOOTH)
    given = {"corrected_kinds": ["clustere"], "corrected_scale": "p"}
    for p, fails in ((1, False), (0, True)):
        file = save(tmp_path / "c.nii", np.full(SHAPE, p))
        (found,) = single_result(path, "z", corrected=[file], **given).statistics
        if fails:
            with pytest.raises(MapError, match="they are small where z.nii shows no effect"):
                corrected_logp(found, "p_fwe_extent", read_statistic(found))
        else:
            assert not corrected_logp(found, "p_fwe_extent", read_statistic(found)).any()
    # Of a region that is active everywhere all are small.
    save(path, np.where(SMOOTH > 2, SMOOTH, 0))
    mask = save(tmp_path / "mask.nii", SMOOTH > 2)
    (found,) = single_result(path, "z", mask=mask, corrected=[file], **given).statistics
    assert (corrected_logp(found, "p_fwe_extent", read_statistic(found))[SMOOTH > 2] > 30).all()


@pytest.mark.parametrize("scale", ["p", "logp"])
def test_scale_that_the_name_contradicts(tmp_path, scale):
    path = save(tmp_path / "z.nii", SMOOTH)
    file = save(tmp_path / "x_vox_corrp_tstat1.nii", 1 - corrected_of("vox", SMOOTH))
    with pytest.raises(ValueError, match=f"corrp_tstat1.nii: holds 1-p by its .* you say {scale}"):
        single_result(path, "z", corrected=[file], corrected_scale=scale)
    single_result(path, "z", corrected=[file], corrected_scale="1-p")


def bids(folder, stat, values, z, dof):
    save(folder / f"contrast-a_stat-{stat}_statmap.nii.gz", values)
    save(folder / "contrast-a_stat-z_statmap.nii.gz", z)
    path = folder / f"contrast-a_stat-{stat}_statmap.json"
    path.write_text(f'{{"DegreesOfFreedom": {dof[0] if stat == "t" else list(dof)}}}')


def nilearn(folder, stat, values, z, dof):
    save(folder / f"contrast-a_stat-{stat}_statmap.nii.gz", values)
    save(folder / "contrast-a_stat-z_statmap.nii.gz", z)
    rows = "".join(f"1\t{i}\n" for i in range(int(dof[-1]) + 2))
    (folder / "design.tsv").write_text("intercept\tage\n" + rows)


def halfpipe(folder, stat, values, z, dof, vary=0):
    stem = "feature-f_model-m_contrast-a_stat-"
    save(folder / f"{stem}{stat.lower()}_statmap.nii.gz", values)
    save(folder / f"{stem}z_statmap.nii.gz", z)
    maps = [np.full(SHAPE, float(v)) for v in dof]
    maps[-1] -= vary
    save(folder / f"{stem}dof_statmap.nii.gz", maps[0] if stat == "t" else np.stack(maps, -1))


VARY = np.indices(SHAPE)[0] % 3


def halfpipe_by_voxel(*args):
    halfpipe(*args, vary=VARY)


DOF = {"t": (27.0,), "F": (2.0, 27.0)}


@pytest.mark.parametrize("stat", ["t", "F"])
@pytest.mark.parametrize("write", [bids, nilearn, halfpipe, halfpipe_by_voxel])
def test_z_of_other_degrees_of_freedom_than_the_files_state(tmp_path, write, stat):
    """Wherever the files state statistic, degrees of freedom and z, these have to agree."""
    if write is nilearn and stat == "F":
        # The rank of the contrast stands nowhere: it is given.
        given, said = {"dof": DOF[stat]}, "you say"
    else:
        given, said = {}, "its files state"
    dof = [np.full(SHAPE, v) for v in DOF[stat]]
    dof[-1] = dof[-1] - (VARY if write is halfpipe_by_voxel else 0)
    which = stats.t if stat == "t" else stats.f
    values = which.isf(U, *dof)
    z = stats.norm.isf(U)
    (tmp_path / "a").mkdir()
    write(tmp_path / "a", stat, values, z, DOF[stat])
    (found,) = find_results(tmp_path / "a", **given).statistics
    assert (found.dof or DOF[stat], found.stat_type) == (DOF[stat], stat)
    dof[-1] = dof[-1] - 18
    for wrong in (stats.norm.isf(which.sf(values, *dof)), -z, z + 0.02):
        save(found.z_file, wrong)
        own = "those of .*dof_statmap" if write is halfpipe_by_voxel else f"the .* that {said}"
        with pytest.raises(
            MapError, match=f"stat-z_.*is z of other degrees of freedom than {own}"
        ):
            find_results(tmp_path / "a", **given)


@pytest.mark.parametrize("stat", ["T", "F"])
@pytest.mark.parametrize(
    ("headed", "erdf", "agree"),
    [
        (29, 29, True),
        (5.4, 5.43, True),
        (12.3, 12.251, True),
        (29, 28, False),
        (5.4, 5.5, False),
        (29.0, 58, False),
    ],
)
def test_spm_mat_of_another_estimation_than_the_header(tmp_path, stat, headed, erdf, agree):
    path = save(tmp_path / f"spm{stat}_0001.nii", np.abs(SMOOTH))
    image = nib.load(path)
    first = "" if stat == "T" else "2.0,"
    image.header["descrip"] = f"SPM{{{stat}_[{first}{headed:.1f}]}} - contrast 1: a".encode()
    nib.save(nib.Nifti1Image(np.abs(SMOOTH), AFFINE, image.header), path)
    contrasts = np.zeros(1, dtype=[(k, object) for k in ("name", "eidf")])
    contrasts[:] = [("a", 1.97)]
    io.savemat(tmp_path / "SPM.mat", {"SPM": {"xX": {"erdf": erdf}, "xCon": contrasts}})
    if agree:
        assert find_results(tmp_path).statistics[0].dof[-1] == erdf
    else:
        with pytest.raises(
            MapError, match=rf"spm{stat}_0001.nii: its header says .*{headed:g} deg"
        ):
            find_results(tmp_path)


@pytest.mark.parametrize(
    ("column", "numbers", "left_out"),
    [
        ("index", range(29), True),
        ("Unnamed: 0", range(29), True),
        ("index", range(1, 30), False),
        ("visit", range(29), False),
    ],
)
def test_column_that_numbers_the_rows(tmp_path, column, numbers, left_out):
    ages = RNG.integers(20, 60, 29)
    rows = "".join(f"{i}\t1\t{age}\n" for i, age in zip(numbers, ages, strict=True))
    (tmp_path / "design.tsv").write_text(f"{column}\tintercept\tage\n{rows}")
    path = save(tmp_path / "contrast-a_stat-t_statmap.nii.gz", SMOOTH)
    for results in (
        find_results(tmp_path),
        single_result(path, "t", design=tmp_path / "design.tsv"),
    ):
        assert results.statistics[0].dof == (27.0 if left_out else 26.0,)
        assert results.design[0] == (() if left_out else (column,)) + ("intercept", "age")
        assert results.n_maps == 29
        told = f"The column {column} of the design numbers its rows, and is no regressor."
        assert (told in results.notes) == left_out
