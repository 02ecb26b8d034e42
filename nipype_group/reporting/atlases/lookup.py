"""Names for places: what an atlas, or the template, says about points and clusters.

Points are in mm, RAS+, in the space of the atlas. A point takes the voxel whose centre is nearest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from nipype_group.images import to_voxels, voxel_volume_mm3
from nipype_group.images.template import tissues
from nipype_group.reporting.atlases.find import (
    DEFAULT_ATLASES,
    NO_LABEL,
    Atlas,
    find_atlases,
    installed_atlases,
)
from nipype_group.reporting.atlases.images import (
    MIN_PERCENT,
    load_image,
    read_label_image,
    read_percent,
)
from nipype_group.reporting.atlases.spaces import space_warning

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from nipype_group.images.space import Space

__all__ = [
    "DEFAULT_ATLASES",
    "MIN_PERCENT",
    "NO_LABEL",
    "Atlas",
    "find_atlases",
    "hemisphere",
    "installed_atlases",
    "label_cluster",
    "label_peak",
    "lookup",
    "missed",
    "peak_text",
    "region_shares",
    "sample",
    "share_text",
    "space_warning",
    "tissue",
]

# mm. Half a voxel of the 1 mm templates: such a point lies in a voxel that the plane cuts.
MIDLINE_MM = 0.5
_OUTSIDE = np.iinfo(np.int64).min
_TISSUES = np.array(["outside", "grey", "white", "csf"])
# Voxels that are looked up together: of a probabilistic atlas each has a number a region.
_PART = 20_000
# Share of a mask beyond the image of an atlas that is not worth a word.
_BEYOND = 0.05


def lookup(atlas: Atlas, xyz_mm: ArrayLike) -> np.ndarray:
    """Look up points in an atlas.

    Parameters
    ----------
    atlas : Atlas
    xyz_mm : array, shape (n, 3)
        mm, RAS+.

    Returns
    -------
    array
        Deterministic: names, shape (n,), "no_label" where there is none. Probabilistic: percent,
        shape (n, labels), in the order of the volumes; integers stay integers; 0 outside.

    Raises
    ------
    ValueError
        Points aren't finite triples, or the image is damaged or holds no probabilities.

    Examples
    --------
    >>> import tempfile, nibabel as nib
    >>> from pathlib import Path
    >>> image_file = Path(tempfile.mkdtemp()) / "halves.nii"
    >>> halves = np.array([1, 1, 2, 0], dtype=np.uint8).reshape(4, 1, 1)
    >>> nib.save(nib.Nifti1Image(halves, np.eye(4)), image_file)
    >>> atlas = Atlas("halves", image_file, {1: "west", 2: "east"}, False)
    >>> lookup(atlas, [[0.4, 0, 0], [2, 0, 0], [3, 0, 0], [9, 0, 0]]).tolist()
    ['west', 'east', 'no_label', 'no_label']
    """
    values, _ = sample(atlas, xyz_mm)
    if atlas.probabilistic:
        return values
    return np.array([_name_of(atlas, value) for value in values.tolist()], dtype=str)


def label_peak(atlas: Atlas, xyz_mm: ArrayLike) -> str:
    """Name one point: "A", or of a probabilistic atlas "20% A; 10% B" for all of at least 5 %.

    Parameters
    ----------
    atlas : Atlas
    xyz_mm : array, shape (3,)
        mm, RAS+.

    Returns
    -------
    str
        "no_label" where there is none.
    """
    values, _ = sample(atlas, np.reshape(xyz_mm, (1, 3)))
    return peak_text(atlas, values[0])


def label_cluster(
    atlas: Atlas, xyz_mm: ArrayLike
) -> list[tuple[int | None, str, int, float, float]]:
    """Share the voxels of a cluster out among the regions of an atlas.

    A voxel of a probabilistic atlas takes its most probable label, or "no_label" if that reaches
    less than 5 %: the rim of a distant region, where 1 % remains, gives no name.

    Parameters
    ----------
    atlas : Atlas
    xyz_mm : array, shape (n, 3)
        Centres of all voxels of the cluster, mm, RAS+.

    Returns
    -------
    list of (index, name, n_voxels, percent, mean_probability)
        Largest share first; percent of the cluster, summing to 100; index None for "no_label";
        mean probability (percent) over the region's voxels of the cluster, NaN where the atlas is
        deterministic or the label is "no_label".
    """
    values, _ = sample(atlas, xyz_mm)
    return [share[:5] for share in region_shares(atlas, values)]


def share_text(shares: Iterable[tuple[int | None, str, int, float, float]]) -> str:
    """Write shares of `label_cluster` as "60.0% A; 30.5% B", without those under 5 %.

    Examples
    --------
    >>> share_text([(1, "A", 96, 96.0, np.nan), (2, "B", 4, 4.0, np.nan)])
    '96.0% A'
    """
    return "; ".join(f"{s[3]:.1f}% {s[1]}" for s in shares if s[3] >= MIN_PERCENT)


def sample(atlas: Atlas, xyz_mm: ArrayLike) -> tuple[np.ndarray, dict[int, float]]:
    """Read the voxels of an atlas nearest to points; its image is read once a process.

    Parameters
    ----------
    atlas : Atlas
    xyz_mm : array, shape (n, 3)
        mm, RAS+.

    Returns
    -------
    values : array
        Deterministic: int64 labels, shape (n,), the least int64 outside the image.
        Probabilistic: percent, shape (n, labels).
    volumes : dict of int to float
        Volume of each region, mm3; of a probabilistic atlas its expected volume, the sum of the
        probabilities.
    """
    points = np.asarray(xyz_mm, dtype=float)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise ValueError(f"points are finite, of shape (n, 3) in mm; got shape {points.shape}")
    path = atlas.image_file
    image = load_image(path)
    voxel_mm3 = voxel_volume_mm3(image.affine)
    flat, inside = _nearest(image.affine, image.shape[:3], points)
    if atlas.probabilistic:
        percent, totals = read_percent(path, flat)
        values = np.zeros((len(points), percent.shape[1]), dtype=percent.dtype)
        values[inside] = percent
        return values, dict(enumerate((totals * voxel_mm3).tolist()))
    labels, counts = read_label_image(path)
    values = np.full(len(points), _OUTSIDE, dtype=np.int64)
    values[inside] = labels[flat]
    return values, {index: n * voxel_mm3 for index, n in counts.items()}


def read_default_atlases() -> None:
    """Read the images of the default atlases, which `sample` then finds read in this process."""
    for atlas in find_atlases():
        sample(atlas, np.empty((0, 3)))


def peak_text(atlas: Atlas, value: np.ndarray | np.integer) -> str:
    """Name one point from its row of `sample`; see `label_peak`."""
    if not atlas.probabilistic:
        return _name_of(atlas, int(value))
    row = np.asarray(value, dtype=float)
    order = np.argsort(-row, kind="stable")
    named = [f"{row[i]:g}% {atlas.names[i]}" for i in order.tolist() if row[i] >= MIN_PERCENT]
    return "; ".join(named) or NO_LABEL


def region_shares(
    atlas: Atlas, values: np.ndarray
) -> list[tuple[int | None, str, int, float, float, np.ndarray]]:
    """Share out the voxels of a cluster from their rows of `sample`; see `label_cluster`.

    Returns
    -------
    list of (index, name, n_voxels, percent, mean_probability, members)
        As `label_cluster`, with a bool array of the voxels that belong to the region.
    """
    if atlas.probabilistic:
        winner = values.argmax(axis=1)
        reached = values[np.arange(len(values)), winner]
        winner[~(reached >= MIN_PERCENT)] = _OUTSIDE
    else:
        # Value 0 is background unless the labels name it.
        winner = np.where(np.isin(values, list(atlas.names)), values, _OUTSIDE)
    shares = []
    for index in np.unique(winner).tolist():
        members = winner == index
        n_voxels = int(members.sum())
        named = index != _OUTSIDE
        probability = float(reached[members].mean()) if named and atlas.probabilistic else np.nan
        shares.append(
            (
                index if named else None,
                atlas.names[index] if named else NO_LABEL,
                n_voxels,
                100.0 * n_voxels / len(winner),
                probability,
                members,
            )
        )
    return sorted(shares, key=lambda share: (-share[2], share[0] is None))


def missed(atlas: Atlas, mask: np.ndarray, space: Space) -> str | None:
    """Say that an atlas has no region for voxels of a mask, or that they lie beyond its image.

    Parameters
    ----------
    atlas : Atlas
    mask : bool array of the shape of the Space
    space : Space
        Where its voxels lie.

    Returns
    -------
    str or None
        None where some voxel has a region and at most 5 % lie beyond the image.
    """
    points = space.coordinates(np.argwhere(mask))
    if not len(points):
        return None
    parts = np.array_split(points, -(-len(points) // _PART))
    if not any(_has_region(atlas, part) for part in parts):
        return (
            f"no voxel of the mask lies in a region of the atlas {atlas.name}: it may be of "
            "another space"
        )
    image = load_image(atlas.image_file)
    beyond = 1 - _nearest(image.affine, image.shape[:3], points)[1].mean()
    if beyond <= _BEYOND:
        return None
    return (
        f"{100 * beyond:.0f} % of the mask's voxels lie beyond the image of the atlas "
        f"{atlas.name}, and have no region: it may be of another space"
    )


def _has_region(atlas, points):
    values, _ = sample(atlas, points)
    if atlas.probabilistic:
        return bool((values >= MIN_PERCENT).any())
    return bool(np.isin(values, [index for index in atlas.names if index != 0]).any())


def hemisphere(x_mm: float) -> str:
    """Name the side of a point: within half a mm of the plane it is on the midline.

    Examples
    --------
    >>> hemisphere(-3), hemisphere(0.0), hemisphere(1)
    ('left', 'midline', 'right')
    """
    if abs(x_mm) < MIDLINE_MM:
        return "midline"
    return "left" if x_mm < 0 else "right"


def tissue(xyz_mm: ArrayLike) -> np.ndarray | str:
    """Name the tissue at points of MNI space, from the ICBM 2009 template.

    Inside the brain mask a voxel is what is most probable of grey matter, white matter and the
    rest, which is cerebrospinal fluid.

    Parameters
    ----------
    xyz_mm : array, shape (n, 3) or (3,)
        mm, RAS+.

    Returns
    -------
    array of str, shape (n,), or str
        "grey", "white", "csf" or "outside".
    """
    points = np.asarray(xyz_mm, dtype=float)
    codes, affine = tissues()
    flat, inside = _nearest(affine, codes.shape, np.atleast_2d(points))
    found = np.zeros(len(inside), dtype=np.uint8)
    found[inside] = codes.ravel(order="F")[flat]
    names = _TISSUES[found]
    return str(names[0]) if points.ndim == 1 else names


def _nearest(affine, shape, points):
    """Return flat indices (first axis fastest) of the points inside a grid, and which are."""
    # Rounding first keeps ties (a point between two voxels) free of floating noise; rint then
    # sends them to the even voxel, to no side on the whole.
    voxels = np.rint(np.round(to_voxels(points, affine), 6))
    inside = ((voxels >= 0) & (voxels < shape)).all(axis=1)
    ijk = voxels[inside].astype(np.intp)
    return np.ravel_multi_index(tuple(ijk.T), shape, order="F"), inside


def _name_of(atlas, value):
    return atlas.names.get(value, NO_LABEL)
