"""Make the images of the ICBM 2009 template, and the outlines of a brain, of those of nilearn.

    python tests/template_files.py

writes them into ``nipype_group/data``, where the package reads them.
"""

import gzip
import io
import warnings
from importlib import resources
from pathlib import Path

import nibabel as nib
import numpy as np
from nilearn import datasets
from nilearn.plotting import plot_glass_brain

# A sketch is one curve from each side: the view of nilearn it is taken from.
VIEWS = {"side": "r", "back": "y", "top": "z"}


def packed(values, affine):
    """Return the bytes of a NIfTI image, uint8."""
    image = nib.Nifti1Image(np.asarray(values, dtype=np.uint8), affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), 9, mtime=0)


def anatomy():
    """Return the grey of every voxel at 1 mm, 0 to 255, and the affine."""
    image = datasets.load_mni152_template(resolution=1)
    values = np.asarray(image.dataobj)
    return np.round(255 * values / values.max()), image.affine


def tissues():
    """Return 1 for grey matter, 2 for white, 3 for the rest of the brain, and the affine."""
    grey = datasets.load_mni152_gm_template(resolution=1)
    p_grey = np.asanyarray(grey.dataobj)
    p_white = np.asanyarray(datasets.load_mni152_wm_template(resolution=1).dataobj)
    brain = np.asanyarray(datasets.load_mni152_brain_mask(resolution=1).dataobj) > 0
    p_rest = 1 - p_grey - p_white
    codes = np.where(p_grey >= p_white, 1, 2)
    codes[p_rest > np.maximum(p_grey, p_white)] = 3
    return np.where(brain, codes, 0), grey.affine


def brain_mask():
    """Return the mask at 3 mm and its affine."""
    image = datasets.load_mni152_brain_mask(resolution=3)
    return np.asanyarray(image.dataobj) > 0, image.affine


def sketches():
    """Return the curves of every view, float32 of shape (curves, 10).

    Four points of a Bezier curve in mm, the width of its line in points, and its grey, 0 black.
    """
    from matplotlib.figure import Figure

    made = Figure(figsize=(8, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        display = plot_glass_brain(None, figure=made, display_mode="lyrz")
    found = {}
    for name, view in VIEWS.items():
        axes = display.axes[view].ax
        rows = []
        for patch in axes.patches:
            points = axes.transData.inverted().transform(
                patch.get_transform().transform(patch.get_path().vertices)
            )
            if len(points) == 2:  # a line is a curve whose middle points lie on it
                points = np.linspace(*points, 4)
            assert len(points) == 4
            rows.append([*points.ravel(), patch.get_linewidth(), patch.get_edgecolor()[0]])
        found[name] = np.array(rows, dtype=np.float32).round(3)
    return found


def contents():
    """Return the bytes of every file by its name."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **sketches())
    return {
        "mni152_anatomy.nii.gz": packed(*anatomy()),
        "mni152_tissues.nii.gz": packed(*tissues()),
        "brain_mask.nii.gz": packed(*brain_mask()),
        "glass_brain.npz": stream.getvalue(),
    }


if __name__ == "__main__":
    for name, content in contents().items():
        Path(str(resources.files("nipype_group.data"))).joinpath(name).write_bytes(content)
