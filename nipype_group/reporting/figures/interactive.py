"""Interactive maps: slices with a cursor, and the cortex, which can be turned.

nilearn makes both with all that they need, so that a page of them loads nothing. Colours are those
of the figures.
"""

from __future__ import annotations

import importlib.util
import itertools
import re
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from nipype_group.images import to_mm, to_voxels
from nipype_group.reporting.figures.cortex import cortex

if TYPE_CHECKING:
    from nipype_group.reporting.figures.canvas import Scale
    from nipype_group.reporting.figures.slices import Background, Volume

_STEPS = 512
# What is smaller by rounding alone is shown.
_BELOW = 1 - 1e-5
# Before it, the cursor told the place one voxel off.
_NILEARN = (0, 14, 1)


def slice_viewer(
    volume: Volume, scale: Scale, background: Background, title: str | None = None
) -> str:
    """Return a page with slices of a map and a cursor, which loads nothing.

    Parameters
    ----------
    volume : Volume
        0 where nothing is shown.
    scale : Scale
        Colours.
    background : Background
        What it is drawn on.
    title : str, optional
        Words on the slices; what is neither letter nor digit is left out.

    Returns
    -------
    str
        HTML of about 0.7 MB.
    """
    from nilearn import plotting  # here, as it takes seconds and is rarely wanted

    peak = np.unravel_index(np.abs(volume.values).argmax(), volume.values.shape)
    with warnings.catch_warnings():
        # numpy's median of the masked template inside nilearn.
        warnings.filterwarnings("ignore", message=".*'partition' will ignore the 'mask'")
        # Of a map that fills its image.
        warnings.filterwarnings("ignore", message="Threshold given was .*has no values below")
        page = plotting.view_img(
            volume.image,
            bg_img="MNI152" if background.is_mni else background.volume.image,
            # nilearn writes it into a script as it is.
            title=None if title is None else re.sub(r"[^\w ]", "", title),
            # Voxels as they are: what is between survivors and others would be made up.
            resampling_interpolation="nearest",
            black_bg=False,
            cut_coords=to_mm(np.array([peak]), volume.affine)[0].tolist(),
            **_colours(volume, scale),
        )
    # brainsprite tells the value at the cursor, which nilearn does not ask for.
    return _alone(page).replace('"flagValue": false', '"flagValue": true')


def cortex_viewer(volume: Volume, scale: Scale) -> str:
    """Return a page with a map on the fsaverage5 cortex, which can be turned and loads nothing.

    Parameters
    ----------
    volume : Volume
        In MNI space; 0 where nothing is shown.
    scale : Scale
        Colours.

    Returns
    -------
    str
        HTML of about 6 MB.

    Raises
    ------
    ValueError
        Where plotly, by which nilearn draws it, is not installed.
    """
    check_drawn(cortex=True)
    from nilearn import plotting

    page = plotting.view_img_on_surf(
        _around_cortex(volume),
        surf_mesh="fsaverage5",
        # One voxel each: a mean over depths would mix survivors with others.
        vol_to_surf_kwargs={
            "kind": "depth",
            "depth": [0.5],
            "interpolation": "nearest_most_frequent",
        },
        colorbar_fontsize=14,
        **_colours(volume, scale),
    )
    return _alone(page)


def check_drawn(cortex: bool = False) -> None:
    """Raise a ValueError where what nilearn draws slices by, or the cortex, is not installed."""
    for package in ("matplotlib", *(["plotly"] if cortex else [])):
        if importlib.util.find_spec(package) is None:
            what = "the interactive cortex" if cortex else "the viewer"
            raise ValueError(
                f"{what} needs {package}, which is not installed: "
                "pip install 'nipype_group[viewer]'"
            )
    found = version("nilearn")
    if tuple(map(int, re.findall(r"\d+", found)[:3])) < _NILEARN:
        raise ValueError(
            f"the viewer needs nilearn {'.'.join(map(str, _NILEARN))} or later, not {found}: "
            "pip install 'nipype_group[viewer]'"
        )


def _around_cortex(volume):
    """Return the image of a map with zeros around it, so that all of the cortex lies in it.

    A vertex beside the image has no voxel, which nilearn cannot take.
    """
    meshes = cortex()
    if meshes is None:
        return volume.image
    points = np.concatenate([points.reshape(-1, 3) for *_, points in meshes.values()])
    ends = np.array(list(itertools.product(*zip(points.min(axis=0), points.max(axis=0)))))
    voxels = to_voxels(ends, volume.affine)
    before = np.maximum(-np.floor(voxels.min(axis=0)), 0).astype(int) + 1
    after = np.ceil(voxels.max(axis=0)) - (np.array(volume.values.shape) - 1)
    after = np.maximum(after, 0).astype(int) + 1
    values = np.pad(volume.values, list(zip(before.tolist(), after.tolist())))
    affine = volume.affine.copy()
    affine[:3, 3] = to_mm(-before[None].astype(float), volume.affine)[0]
    return nib.Nifti1Image(values, affine)


def _colours(volume, scale):
    """Return what nilearn is told so that its colours are those of the figures."""
    from matplotlib.colors import ListedColormap

    ends = np.linspace(-scale.high if scale.signed else 0.0, scale.high, _STEPS)
    present = np.abs(volume.values[volume.values != 0])
    return {
        "cmap": ListedColormap(scale.colours(ends) / 255),
        "vmax": scale.high,
        "threshold": float(present.min(initial=scale.high)) * _BELOW,
        "symmetric_cmap": scale.signed,
    } | ({} if scale.signed else {"vmin": 0.0})


def _alone(view):
    """Return the page of a view of nilearn without its icon, which would be fetched."""
    # A viewer has a frame of its own, where its names need no random part, which would be another
    # one in every page.
    page = re.sub(r"-[0-9a-f]{32}\b", "", view.get_standalone())
    return re.sub(r"<link[^>]*icon[^>]*>", "", page)
