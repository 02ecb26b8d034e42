"""The image that slices are drawn on, where the user gives one."""

from __future__ import annotations

import os

import numpy as np

from nipype_group.images import Grid, MapError, open_image, to_mm

# Share of the extent of a map along each axis that an anatomy reaches over.
_LEAST_SHARED = 0.5


def check_anatomy(
    path: str | os.PathLike[str], map_file: str | os.PathLike[str] | None = None
) -> None:
    """See by their headers that an image is one volume, and lies where a map does.

    Parameters
    ----------
    path : path
        Image behind slices.
    map_file : path, optional
        A map of the analysis, or any image on its grid.

    Raises
    ------
    MapError
        Naming the image and what to do.
    """
    anatomy = open_image(path, kind=Grid)
    if anatomy.n_maps != 1:
        raise MapError(
            path, f"has {anatomy.n_maps} volumes; give one image of the anatomy as figure_anatomy"
        )
    if map_file is None:
        return
    (low, high), (first, last) = _box(anatomy), _box(open_image(map_file, kind=Grid))
    shared = (np.minimum(high, last) - np.maximum(low, first)) / np.maximum(last - first, 1e-9)
    if shared.min() < _LEAST_SHARED:
        axis = "xyz"[int(shared.argmin())]
        raise MapError(
            path,
            f"reaches over {max(shared.min(), 0):.0%} of the maps along {axis}, of {map_file}; "
            "give an anatomy in the space of the maps",
        )


def _box(image):
    """Return the lowest and the highest mm of an image along x, y, z."""
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(image.shape[:3]) - 1)
    places = to_mm(corners, image.affine)
    return places.min(axis=0), places.max(axis=0)
