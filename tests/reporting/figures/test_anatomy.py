"""The image behind slices: which, where, refused early, and none of it changes planes."""

import re

import nibabel as nib
import numpy as np
import pytest

from nipype_group.reporting.figures.anatomy import check_anatomy
from nipype_group.reporting.figures.of_results import choose_background
from nipype_group.settings.figures import FigureSettings

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = (-30, -30, -30)


@pytest.fixture
def write(tmp_path):
    def save(name, values, shift=0.0):
        affine = AFFINE.copy()
        affine[1, 3] += shift
        nib.save(nib.Nifti1Image(values.astype(np.float32), affine), tmp_path / name)
        return str(tmp_path / name)

    return save


@pytest.fixture
def mask(write):
    values = np.zeros((16, 16, 16))
    values[3:13, 3:13, 3:13] = 1
    return write("mask.nii.gz", values)


def test_slices_lie_on_what_is_given_where_they_lay(write, mask):
    values = np.random.default_rng(0).uniform(1, 9, (16, 16, 16))
    values[:8] += 50
    own = write("anatomy.nii.gz", values)
    plain = choose_background("T1w", None, mask)
    given = choose_background("T1w", None, mask, own)
    assert (given.box, given.cuts_mm) == (plain.box, plain.cuts_mm)
    at = np.array([[-22.0, 0, 0], [22.0, 0, 0]])
    left, right = given.volume.at(at)
    assert left > right + 0.2
    assert given.anatomy == "anatomy.nii.gz"
    template = choose_background("T1w", None, mask, "template")
    # The template has a white and a grey there, the other space keeps its glass brains out.
    assert template.volume.values.shape != given.volume.values.shape
    assert not template.is_mni
    assert choose_background(None, None, mask, own).is_mni
    none = choose_background(None, None, mask, "none")
    inside = none.volume.values[none.volume.values > 0]
    assert np.ptp(inside) == 0
    assert inside.size == 1000


def test_an_anatomy_that_is_none_is_refused_in_one_line(write, mask, tmp_path):
    several = write("several.nii", np.ones((4, 4, 4, 2)))
    with pytest.raises(ValueError, match=r"several.nii: has 2 volumes; give one image"):
        check_anatomy(several)
    far = write("far.nii", np.ones((16, 16, 16)), shift=45.0)
    with pytest.raises(ValueError, match=r"far.nii: reaches over 25% of the maps along y, of"):
        check_anatomy(far, mask)
    check_anatomy(write("near.nii", np.ones((16, 16, 16)), shift=8.0), mask)
    words = re.escape(f"figure_anatomy {tmp_path / 'absent.nii'} is no file; give an image, or")
    with pytest.raises(ValueError, match=words):
        FigureSettings(figure_anatomy=str(tmp_path / "absent.nii"))
    assert FigureSettings(figure_anatomy="none").anatomy_inputs() == {"anatomy": "none"}
    assert FigureSettings(figure_anatomy=far).anatomy_inputs() == {"anatomy_file": far}
