"""The images of the template that the package holds are those of nilearn."""

import gzip
import io
import subprocess
import sys
import warnings
from importlib import resources

import nibabel as nib
import numpy as np
import pytest
import template_files

from nipype_group.images import template, to_mm
from nipype_group.reporting.figures import glass_brain, slices
from nipype_group.reporting.figures.canvas import drawn
from nipype_group.reporting.figures.style import Style


def packaged(name):
    return resources.files("nipype_group.data").joinpath(name).read_bytes()


@pytest.fixture(scope="module")
def made():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return template_files.contents()


@pytest.mark.parametrize(
    ("name", "most_beside"),
    # Versions of nilearn round the rim of the mask otherwise.
    [
        ("mni152_anatomy.nii.gz", 0),
        ("mni152_tissues.nii.gz", 0),
        ("brain_mask.nii.gz", 0.02),
    ],
)
def test_images_are_those_that_nilearn_makes(name, most_beside, made):
    own, theirs = (
        nib.Nifti1Image.from_bytes(gzip.decompress(content))
        for content in (packaged(name), made[name])
    )
    np.testing.assert_array_equal(own.affine, theirs.affine)
    values = np.asarray(own.dataobj)
    other = values != np.asarray(theirs.dataobj)
    assert other.sum() <= most_beside * np.count_nonzero(values)


def test_sketches_are_those_of_nilearn(made):
    with (
        np.load(io.BytesIO(packaged("glass_brain.npz")), allow_pickle=False) as own,
        np.load(io.BytesIO(made["glass_brain.npz"]), allow_pickle=False) as theirs,
    ):
        assert set(own) == set(theirs)
        for name in own:
            np.testing.assert_allclose(own[name], theirs[name], atol=0.01)


def test_anatomy_tissues_and_mask_are_one_brain():
    grey, affine = template.anatomy()
    codes, same = template.tissues()
    np.testing.assert_array_equal(affine, same)
    assert grey.min() == 0 and grey.max() == 1
    assert set(np.unique(codes)) == {0, 1, 2, 3}
    # White matter is brighter in a T1-weighted image than grey matter, and that than fluid.
    white, matter, fluid = (np.median(grey[codes == code]) for code in (2, 1, 3))
    assert white > matter > fluid
    assert (grey[codes > 0] > 0).mean() > 0.99
    mask, coarse = template.brain_mask()
    assert mask.sum() * 27 == pytest.approx((codes > 0).sum(), rel=0.02)
    drawn_on = slices.mni_background().brain
    assert drawn_on.at(to_mm(np.argwhere(mask), coarse)).mean() > 0.97


def test_outlines_lie_where_nilearn_draws_them():
    from nilearn.plotting import plot_glass_brain

    own = glass_brain.outlines(Style(), letters=False)
    ink = own.pixels.min(axis=-1) < 128
    made = glass_brain.figure(own.pixels.shape[1], own.pixels.shape[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        display = plot_glass_brain(
            None, figure=made, display_mode="lyrz", axes=(0, 0, 1, 1), annotate=False
        )
    theirs = drawn(made).min(axis=-1) < 128
    for view, (step_u, u0, step_v, v0) in own.places.items():
        axes = display.axes[view].ax
        rows, columns = np.nonzero(ink)
        place = np.column_stack([(columns + 0.5 - u0) / step_u, (rows + 0.5 - v0) / step_v])
        low, high = np.sort(axes.get_xlim()), np.sort(axes.get_ylim())
        inside = ((place > [low[0], high[0]]) & (place < [low[1], high[1]])).all(axis=1)
        there = axes.transData.transform(place[inside])
        at = np.floor(theirs.shape[0] - there[:, 1]).astype(int), np.floor(there[:, 0]).astype(int)
        # A pixel beside it, as the sizes differ.
        near = np.pad(theirs, 1)
        near = np.any(
            [near[1 + i + at[0], 1 + j + at[1]] for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0
        )
        assert inside.sum() > 1000
        assert near.mean() > 0.98


def test_brains_are_drawn_and_places_named_without_importing_nilearn():
    code = (
        "import sys\n"
        "from nipype_group.reporting.atlases.lookup import tissue\n"
        "from nipype_group.reporting.figures.cortex import cortex, render_views\n"
        "from nipype_group.reporting.figures.glass_brain import outlines\n"
        "from nipype_group.reporting.figures.slices import mni_background\n"
        "from nipype_group.reporting.figures.style import Style\n"
        "mni_background(), outlines(Style()), render_views(), tissue((0, 0, 0))\n"
        "print(cortex() is not None, 'nilearn' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "False"]
