"""Figures of a group result: brain maps, design, contrasts.

All are PNG files drawn without a display. Brains follow the neurological convention: the left
hemisphere is on the left, and L and R are printed.
"""

import os
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np

# Slices at these z in mm for every map, so that contrasts can be compared.
CUTS_MM = (-30, -15, 0, 15, 30, 45, 60)
_DPI = 110


def _figure(width_in, height_in):
    """Return a figure that draws without a display and that no state of matplotlib keeps."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('figures need matplotlib: pip install "nipype_group[report]"') from error
    figure = Figure(figsize=(width_in, height_in))
    FigureCanvasAgg(figure)
    return figure


def _save(figure, path):
    path = Path(path).absolute()
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        figure.savefig(temporary, format="png", dpi=_DPI)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return str(path)


@contextmanager
def _expected_warnings():
    """Silence what is meant: maps where nothing survives, cuts outside a map of a part."""
    with warnings.catch_warnings():
        for message in ("empty mask", "Some of the specified cut_coords"):
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        yield


def _caption(title, values, unit):
    present = values[values != 0]
    if not present.size:
        return f"{title}: nothing survives"
    return f"{title}: {present.size} voxels, {unit} {present.min():.2f} to {present.max():.2f}"


def _range(values):
    """Return the smallest and largest magnitude shown, never empty."""
    present = np.abs(values[values != 0])
    if not present.size:
        return 1e-6, 1.0
    # The colour bar starts below the smallest survivor, or that voxel would not be drawn.
    return float(present.min()) * (1 - 1e-6), float(max(present.max(), present.min() * 1.01))


def draw_glass_brain(path, image, title, unit="z"):
    """Draw a thresholded map as a glass brain seen from the left, behind, the right and above.

    Parameters
    ----------
    path : path
        PNG to write.
    image : Nifti1Image
        Thresholded statistic, 0 elsewhere.
    title : str
        Name of the map.
    unit : str
        Symbol of the statistic.

    Returns
    -------
    str
    """
    from nilearn import plotting

    values = np.asarray(image.dataobj)
    low, high = _range(values)
    made = _figure(10, 3)
    made.suptitle(_caption(title, values, unit), fontsize=10)
    with _expected_warnings():
        plotting.plot_glass_brain(
            image, figure=made, display_mode="lyrz", threshold=low, vmax=high, colorbar=True,
            plot_abs=False, symmetric_cbar=True, cmap="RdBu_r", annotate=True,
        )  # fmt: skip
    return _save(made, path)


def draw_slices(path, image, title, unit="z"):
    """Draw a thresholded map on axial slices of the MNI template, at the same z for every map."""
    from nilearn import plotting

    values = np.asarray(image.dataobj)
    low, high = _range(values)
    made = _figure(13, 2.6)
    made.suptitle(_caption(title, values, unit), fontsize=10)
    with _expected_warnings():
        plotting.plot_stat_map(
            image, figure=made, display_mode="z", cut_coords=list(CUTS_MM), threshold=low,
            vmax=high, colorbar=True, symmetric_cbar=True, cmap="RdBu_r", annotate=True,
            black_bg=False,
        )  # fmt: skip
    return _save(made, path)


def draw_design(path, design):
    """Draw a design matrix: a row a map, each column in units of its largest magnitude."""
    matrix = design.matrix / np.maximum(np.abs(design.matrix).max(axis=0), 1e-300)
    n_maps, n_columns = matrix.shape
    made = _figure(min(4 + 0.3 * n_columns, 14), min(3 + 0.05 * n_maps, 10))
    made.set_layout_engine("constrained")
    axes = made.subplots()
    picture = axes.imshow(
        matrix, aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest"
    )
    axes.set_xticks(range(n_columns), design.columns, rotation=90, fontsize=7)
    axes.set_ylabel("map")
    axes.set_title(f"Design: {n_maps} maps, {design.model.dof} degrees of freedom", fontsize=10)
    made.colorbar(picture, ax=axes, label="value / largest magnitude of the column")
    return _save(made, path)


def draw_contrast(path, contrast, columns):
    """Draw the weights of a contrast over the columns, a row of bars for each of its rows."""
    made = _figure(min(4 + 0.3 * len(columns), 14), 1.6 + 1.1 * len(contrast.weights))
    made.set_layout_engine("constrained")
    rows = made.subplots(len(contrast.weights), 1, sharex=True, squeeze=False)[:, 0]
    for axes, weights in zip(rows, contrast.weights, strict=True):
        axes.bar(range(len(columns)), weights, color=np.where(weights < 0, "#2166ac", "#b2182b"))
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_ylabel("weight", fontsize=8)
    rows[-1].set_xticks(range(len(columns)), columns, rotation=90, fontsize=7)
    rows[0].set_title(f"{contrast.test} contrast {contrast.name}", fontsize=10)
    return _save(made, path)
