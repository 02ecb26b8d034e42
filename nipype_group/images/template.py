"""The ICBM 2009 template, as images of this package.

They are made once of those of nilearn: its import takes most of a second of every process, and
its versions round the rim of the mask otherwise.
"""

from __future__ import annotations

import functools
from importlib import resources

import nibabel as nib
import numpy as np
from zlib_ng import gzip_ng


def brain_mask() -> tuple[np.ndarray, np.ndarray]:
    """Return the mask of the brain at 3 mm, bool, and its affine."""
    codes, affine = _image("brain_mask.nii.gz")
    return codes > 0, affine


def anatomy() -> tuple[np.ndarray, np.ndarray]:
    """Return the T1-weighted brain at 1 mm, float32 from 0 to 1, and its affine."""
    grey, affine = _image("mni152_anatomy.nii.gz")
    return grey.astype(np.float32) / np.float32(255), affine


@functools.lru_cache(maxsize=1)
def tissues() -> tuple[np.ndarray, np.ndarray]:
    """Return the most probable tissue at 1 mm and the affine.

    Returns
    -------
    uint8 array, shape (197, 233, 189), in Fortran order
        0 outside the brain, 1 grey matter, 2 white matter, 3 cerebrospinal fluid.
    array, shape (4, 4)
        Voxel indices to mm.
    """
    return _image("mni152_tissues.nii.gz")


def _image(name):
    content = resources.files("nipype_group.data").joinpath(name).read_bytes()
    image = nib.Nifti1Image.from_bytes(gzip_ng.decompress(content))
    return np.asarray(image.dataobj), image.affine
