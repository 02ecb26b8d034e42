"""All pictures of a thresholded map, of a contrast and of a model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nipype_group.design.matrix import Design
from nipype_group.design.sources import participant_label
from nipype_group.images import Grid, open_image
from nipype_group.reporting.figures.anatomy import check_anatomy
from nipype_group.reporting.figures.brain import (
    draw_cluster,
    draw_glass_brain,
    draw_mosaic,
    draw_peaks,
    draw_slices,
    draw_unthresholded,
)
from nipype_group.reporting.figures.certainty import draw_discoveries, draw_logp, logp_of
from nipype_group.reporting.figures.cortex import draw_surface
from nipype_group.reporting.figures.distributions import (
    draw_nulldist,
    draw_z_distribution,
    nulls_of_sides,
)
from nipype_group.reporting.figures.model import draw_correlation, draw_design, draw_weights
from nipype_group.reporting.figures.peak_values import values_at, write_peak_values
from nipype_group.reporting.figures.slices import (
    Volume,
    mni_background,
    own_background,
    planes_at,
)
from nipype_group.reporting.figures.style import current_style
from nipype_group.reporting.figures.values import draw_values
from nipype_group.tsv import read_tsv

if TYPE_CHECKING:
    from nipype_group.design.contrasts import Contrast
    from nipype_group.reporting.figures.canvas import Picture
    from nipype_group.reporting.figures.plotted_map import PlottedMap
    from nipype_group.reporting.figures.slices import Background

LARGEST_CLUSTERS = 10
# Maps that the background of a space without a template is the mean of.
_AVERAGED_MAPS = 20


@dataclass(frozen=True)
class Subjects:
    """Where the values of single maps come from.

    Parameters
    ----------
    stack_file : path
        4D image, a volume a row of the design.
    design : Design
    contrasts : dict
        Label to `Contrast`.

    Raises
    ------
    ValueError
        Where the stack has another number of maps than the design.
    """

    stack_file: str
    design: Design
    contrasts: dict
    covariate_stack_file: str | None = None

    def covariates_at(self, peaks: Any) -> np.ndarray | None:
        """Return covariates that are maps at the peaks of a table; None without any.

        Returns
        -------
        array, shape (k, n, peaks), or None
        """
        if self.covariate_stack_file is None:
            return None
        values = values_at(self.covariate_stack_file, peaks)
        return values.reshape(-1, len(self.design.matrix), len(peaks))

    def __post_init__(self):
        n_maps = open_image(self.stack_file, kind=Grid).n_maps
        if n_maps != len(self.design.matrix):
            raise ValueError(
                f"{self.stack_file} has {n_maps} maps, the design {len(self.design.matrix)} rows"
            )

    def check_order(self, observations: str | os.PathLike[str]) -> None:
        """Refuse observations of other participants, or of another order, than the design's.

        Raises
        ------
        ValueError
            Naming the first row that differs.
        """
        listed = [participant_label(v) for v in read_tsv(observations)["participant_id"]]
        pairs = zip(listed, self.design.participants, strict=False)
        for row, (one, other) in enumerate(pairs, start=1):
            if one != other:
                raise ValueError(
                    f"{observations}: row {row} is {one}, that of the design is {other}; give the "
                    "observations that the design was made of"
                )
        if len(listed) != len(self.design.matrix):
            raise ValueError(
                f"{observations} has {len(listed)} rows, the design {len(self.design.matrix)}"
            )


def choose_background(
    space: str | None = None,
    stack_file: str | os.PathLike[str] | None = None,
    mask_file: str | os.PathLike[str] | None = None,
    anatomy: str | os.PathLike[str] | None = None,
) -> Background:
    """Return what maps are drawn on: the MNI template, or the maps' own mean or mask.

    Parameters
    ----------
    space : str, optional
        Space of the maps; MNI where it is unknown.
    stack_file, mask_file : path, optional
        4D maps, and the voxels tested; one is needed in other spaces.
    anatomy : path, optional
        Image that is drawn on, or template or none; "none" needs the voxels tested.

    Raises
    ------
    ValueError
        Where neither is given and the space is another.
    """
    background = _background(space, stack_file, mask_file)
    if anatomy == "template":
        background = replace(
            mni_background(), is_mni=background.is_mni, anatomy="the ICBM 2009 template"
        )
    elif anatomy == "none":
        if mask_file is None:
            raise ValueError("figures without an anatomy need mask_file")
        plain = own_background(Volume.read(mask_file)).volume
        background = replace(background, volume=plain, anatomy="the voxels tested")
    elif anatomy is not None:
        check_anatomy(anatomy, mask_file)
        # Its own greys, and the planes and places of the space of the maps.
        volume = own_background(Volume.read(anatomy)).volume
        background = replace(background, volume=volume, anatomy=Path(anatomy).name)
    return _with_cuts(background)


def _with_cuts(background):
    """Return a background with the axial planes of the style."""
    how = dict(current_style().cuts).get("z", "peaks")
    if how == "peaks":
        return background
    return replace(background, cuts_mm=planes_at(how, background, 2))


def _background(space, stack_file, mask_file):
    """Return the template, or what the maps themselves have."""
    if space is None or space.startswith("MNI"):
        return mni_background()
    mask = None if mask_file is None else Volume.read(mask_file)
    if stack_file is None:
        if mask is None:
            raise ValueError(f"figures in the space {space} need stack_file or mask_file")
        return own_background(mask)
    image = open_image(stack_file, kind=Grid)
    n_averaged = min(image.n_maps, _AVERAGED_MAPS)
    maps = np.stack([image.values(volume) for volume in range(n_averaged)], axis=-1)
    present = np.isfinite(maps) & (maps != 0)
    count = present.sum(axis=-1)
    mean = np.where(present, maps, 0).sum(axis=-1) / np.maximum(count, 1)
    if mask is not None and mask.values.shape == mean.shape:
        mean = np.where(mask.values > 0, mean, 0)
    return own_background(Volume(mean, image.affine))


def draw_result(
    directory: str | os.PathLike[str],
    result: PlottedMap,
    background: Background,
    detailed: bool = True,
    n_peaks: int = 5,
    subjects: Subjects | None = None,
) -> tuple[list[Picture], str | None]:
    """Draw a thresholded map in all ways that its tables allow.

    Parameters
    ----------
    directory : path
        Where the files go.
    result : PlottedMap
    background : Background
    detailed : bool
        Whether more than glass brain and slices is drawn.
    n_peaks : int
        Peaks shown.
    subjects : Subjects, optional
        Source of the values at peaks.

    Returns
    -------
    pictures : list of Picture
    peak_values : str or None
        TSV of the values at the peaks.
    """

    def path(suffix):
        return Path(directory, f"{result.name}_{suffix}")

    pictures: list[Picture | None] = []
    table = None
    if background.is_mni:
        pictures.append(draw_glass_brain(path("glassbrain.png"), result))
    pictures += _slices(path, result, background, n_peaks)
    if result.logp is not None:
        pictures.append(_adjusted_p(path("logp.png"), result, background))
    if not detailed or not result.scale.sides:
        return _there(pictures), table
    pictures.append(draw_mosaic(path("mosaic.png"), result, background))
    if background.is_mni:
        pictures.append(draw_surface(path("surface.png"), result))
    if result.clusters is not None:
        for _, cluster in result.largest_clusters(LARGEST_CLUSTERS).iterrows():
            file = path(f"cluster-{int(cluster['cluster_id'])}.png")
            pictures.append(draw_cluster(file, result, background, cluster))
    if result.peaks is not None and len(result.peaks) and n_peaks:
        peaks = result.highest_peaks(n_peaks)
        pictures.append(draw_peaks(path("peaks.png"), result, background, peaks))
        contrast = subjects and subjects.contrasts.get(result.about.get("Contrast"))
        if subjects is not None and contrast:
            design, values = subjects.design, values_at(subjects.stack_file, peaks)
            table = write_peak_values(path("values.tsv"), design.keys, peaks, values)
            own = subjects.covariates_at(peaks)
            pictures.append(
                draw_values(path("values.png"), result, design, contrast, peaks, values, own)
            )
    return _there(pictures), table


def _adjusted_p(path, result, background):
    """Return the picture of the p that a correction adjusted."""
    title = f"adjusted p of {result.shown_name}"
    return draw_logp(path, result.logp, background, kind="logp", title=title, about=result.about)


def _slices(path, result, background, n_peaks):
    """Return slices of a thresholded map across all axes of the style, axial ones in any case."""
    asked = {"z": background.cuts_mm} | dict(current_style().cuts)
    pictures = []
    for axis, how in sorted(asked.items(), reverse=True):
        number, cuts = "xyz".index(axis), None
        if how == "peaks":
            if result.peaks is None or not len(result.peaks):
                continue
            cuts = sorted({float(v) for v in result.highest_peaks(max(n_peaks, 1))[axis]})
        elif axis != "z":
            cuts = planes_at(how, background, number)
        suffix = "slices" if axis == "z" else f"slices{axis}"
        pictures.append(draw_slices(path(f"{suffix}.png"), result, background, number, cuts))
    return pictures


def _there(pictures: list[Picture | None]) -> list[Picture]:
    return [picture for picture in pictures if picture is not None]


def draw_contrast(
    directory: str | os.PathLike[str],
    contrast: Contrast,
    background: Background,
    z: Volume | None = None,
    effect: Volume | None = None,
    mask: Volume | None = None,
    maxima: Mapping[str, np.ndarray] | None = None,
    tail: str = "two-sided",
    alpha: float = 0.05,
    p: Volume | None = None,
    tdp: Volume | None = None,
    tdp_alpha: float = 0.05,
) -> list[Picture]:
    """Draw what belongs to a contrast as a whole.

    Parameters
    ----------
    directory : path
        Where the files go.
    contrast : Contrast
    background : Background
    z, effect : Volume, optional
        Unthresholded maps.
    mask : Volume, optional
        Voxels tested; without it those where a map is not 0.
    maxima : dict of str to array, optional
        Maxima of every shuffle, from a permutation test.
    tail : {"two-sided", "positive", "negative"}
        Side tested; F is tested on the positive one.
    alpha : float
        Familywise error rate.
    p : Volume, optional
        Uncorrected p.
    tdp : Volume, optional
        Proportions of true discoveries of clusters.
    tdp_alpha : float
        Probability that any of their bounds fails.

    Returns
    -------
    list of Picture
    """

    def path(suffix):
        return Path(directory, f"contrast-{contrast.label}_{suffix}")

    pictures, signed = [], contrast.test == "t"
    kinds = (
        ("unthresholded", z, "z", "z"),
        ("effectsize", effect, "effect", "effect" if signed else "root mean square effect"),
    )
    for kind, volume, unit, what in kinds:
        # A contrast without the map has one without values.
        if volume is None or not np.any(volume.values):
            continue
        inside = Volume(volume.values != 0, volume.affine) if mask is None else mask
        inside = Volume((inside.values > 0).astype(np.uint8), inside.affine)
        title = f"{what} of {contrast.name}"
        about = {"Contrast": contrast.label}
        file = path(f"{kind}.png")
        pictures.append(
            draw_unthresholded(file, kind, volume, inside, signed, unit, title, about, background)
        )
        # The z of a conjunction is the least of several, which no normal curve describes.
        if kind == "unthresholded" and inside.values.any() and not contrast.conjunction:
            tested = volume.values[inside.values > 0].astype(float)
            pictures.append(draw_z_distribution(path("zdistribution.png"), tested, contrast))
    pictures += _certainty(path, contrast, background, mask, p, tdp, tdp_alpha)
    if maxima is not None:
        nulls = nulls_of_sides(maxima, tail if signed else "positive", alpha)
        pictures.append(draw_nulldist(path("nulldist.png"), nulls, contrast))
    return pictures


def _certainty(path, contrast, background, mask, p, tdp, tdp_alpha):
    """Return the pictures of uncorrected p and of true discoveries, where they are given."""
    pictures, about = [], {"Contrast": contrast.label}
    if p is not None:
        logp, title = logp_of(p, mask), f"uncorrected p of {contrast.name}"
        file, kind = path("uncorrectedp.png"), "uncorrectedp"
        pictures.append(draw_logp(file, logp, background, kind=kind, title=title, about=about))
    if tdp is not None:
        title = f"lower bound of the proportion of true discoveries in clusters of {contrast.name}"
        file = path("tdp.png")
        pictures.append(
            draw_discoveries(file, tdp, background, title=title, about=about, alpha=tdp_alpha)
        )
    return pictures


def draw_model(
    directory: str | os.PathLike[str], design: Design, contrasts: Sequence[Contrast] = ()
) -> list[Picture]:
    """Draw a design, the correlation of its columns, and the weights of its contrasts.

    Returns
    -------
    list of Picture
    """
    pictures = [
        draw_design(Path(directory, "design.png"), design),
        draw_correlation(Path(directory, "correlation.png"), design),
    ]
    # Another package may not tell the weights.
    for contrast in (c for c in contrasts if c.weights.size):
        path = Path(directory, f"contrast-{contrast.label}_weights.png")
        pictures.append(draw_weights(path, contrast, design.contrast_columns))
    return [picture for picture in pictures if picture is not None]
