"""Values and names that contradict what a map is taken for."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage, stats

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
    for alpha in (0.2, 0.05, 0.01):
        kept = BRAIN & (UNCORRECTED[kind](p) <= alpha)
        assert kept.sum() > 4
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


def test_few_voxels_and_strong_effects_are_no_threshold(tmp_path):
    few = np.zeros(SHAPE)
    few[2, 2, :4] = 1.2, 1.9, -1.4, 2.2
    assert read(save(tmp_path / "few.nii", few), "z").mask.sum() == 4
    strong = np.where(BRAIN, SMOOTH + 2, 0)
    assert read(save(tmp_path / "strong.nii", strong), "z").mask.sum() == BRAIN.sum()


def test_part_of_a_map_in_a_folder(tmp_path):
    t, z = stats.t.isf(U, 20), stats.norm.isf(U)
    kept = BRAIN & (np.abs(z) > 2)
    places = {
        "fsl/x_tstat1.nii.gz": {"dof": 20}, "palm/x_vox_tstat_c1.nii.gz": {"dof": 20},
        "spm/spmT_0001.nii": {"dof": 20}, "bids/contrast-a_stat-z_statmap.nii.gz": {},
        "halfpipe/feature-f_model-m_contrast-a_stat-z_statmap.nii.gz": {},
    }  # fmt: skip
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
        ("thresh_zstat1.nii.gz", True), ("x_zmap_thresholded.nii", True),
        ("Thresh_zmap.nii", True), ("zstat1.nii", False), ("unthresh_zmap.nii", False),
        ("zmap_unthresholded.nii", False), ("no-thresh_zmap.nii", False),
    ],
)  # fmt: skip
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
