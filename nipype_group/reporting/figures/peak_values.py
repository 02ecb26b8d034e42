"""Values of the maps at peaks, as a contrast looks at them: by group, or against a covariate."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nipype_group.images import Grid, open_image, to_voxels
from nipype_group.reporting.figures.brain import peak_name
from nipype_group.stats.linear.partial_residuals import (
    added_variable,
    fitted_by,
    studentised_residuals,
    without_columns,
)
from nipype_group.stats.matrix_products import multiply
from nipype_group.tsv import write_tsv

if TYPE_CHECKING:
    from nipype_group.design.contrasts import Contrast
    from nipype_group.design.matrix import Design

OUTLYING = 3.0
N_NAMED_OUTLIERS = 5


@dataclass(frozen=True)
class PeakView:
    """What is shown of one voxel's values.

    Parameters
    ----------
    kind : {"groups", "conditions", "strip", "covariate", "fitted"}
        Points by group, by condition of contrast maps, in one strip, against a covariate, or
        observed against fitted.
    rows : int array, shape (m,)
        Maps that have a value.
    x, y : arrays, shape (m,)
        Places of the points; x of groups is the number of the group.
    groups : tuple of str
        Names of the groups.
    x_label, y_label : str
        What the axes show.
    estimate : float
        Slope of a covariate, difference or mean that the contrast estimates; NaN of F.
    line : tuple of float, optional
        Intercept and slope of the regression line.
    outliers : list of int
        Maps whose studentised residual is beyond 3, the largest first, at most 5.
    """

    kind: str
    rows: np.ndarray
    x: np.ndarray
    y: np.ndarray
    groups: tuple
    x_label: str
    y_label: str
    estimate: float
    line: tuple | None
    outliers: list


def values_at(stack_file: str | os.PathLike[str], peaks: pd.DataFrame) -> np.ndarray:
    """Return the values of all maps at peaks, float64 of shape (n, peaks); NaN where missing.

    Parameters
    ----------
    stack_file : path
        4D image of n maps.
    peaks : DataFrame
        x, y, z in mm.

    Raises
    ------
    ValueError
        Where a peak lies outside the image.
    """
    image = open_image(stack_file, kind=Grid)
    points = peaks[["x", "y", "z"]].to_numpy(dtype=float)
    voxels = np.round(to_voxels(points, image.affine)).astype(int)
    outside = (voxels < 0).any(axis=1) | (voxels >= image.shape[:3]).any(axis=1)
    if outside.any():
        raise ValueError(
            f"{stack_file}: the peak at {points[outside][0].tolist()} mm lies outside the image"
        )
    # Slices of the file, not the whole of it.
    columns = [np.asarray(image.data[i, j, k], dtype=float).ravel() for i, j, k in voxels]
    return np.array(columns).T


def write_peak_values(
    path: str | os.PathLike[str], keys: pd.DataFrame, peaks: pd.DataFrame, values: np.ndarray
) -> str:
    """Write the values at peaks as TSV: keys of the maps, then a column a peak.

    Parameters
    ----------
    path : path
        TSV to write.
    keys : DataFrame
        A row a map.
    peaks : DataFrame
        Rows of the peaks table.
    values : array, shape (n, peaks)

    Returns
    -------
    str
    """
    names = [
        f"{peak_name(p)} ({', '.join(f'{p[axis]:g}' for axis in 'xyz')})"
        for _, p in peaks.iterrows()
    ]
    table = pd.concat(
        [keys.reset_index(drop=True), pd.DataFrame(values, columns=names)], axis="columns"
    )
    return str(write_tsv(Path(path).absolute(), table, digits=9))


def contrast_groups(
    design: Design, contrast: Contrast
) -> tuple[np.ndarray, tuple[str, ...], list[int]] | None:
    """Return the groups that a contrast compares.

    Groups are the levels of a factor where all weights are of its columns; else what columns of
    0 and 1 mark that no two of hold at once.

    Parameters
    ----------
    design : Design
    contrast : Contrast

    Returns
    -------
    (numbers, names, columns) or None
        Number of the group of every map, names of the groups, columns that mark them; None where
        the contrast compares no groups.
    """
    weighed = set(np.flatnonzero((contrast.weights != 0).any(axis=0)).tolist())
    for factor, about in design.factors.items():
        own = {
            design.columns.index(f"{factor}[{level}]"): level
            for level in about["levels"]
            if f"{factor}[{level}]" in design.columns
        }
        if weighed <= set(own):
            rest = about["reference"]
            return _marked(design.matrix, own, "others" if rest is None else rest, about["levels"])
    marks = design.matrix[:, sorted(weighed)]
    varying = (np.ptp(marks, axis=0) > 0).all()
    if varying and np.isin(marks, (0, 1)).all() and marks.sum(axis=1).max() <= 1:
        own = {i: design.columns[i] for i in sorted(weighed)}
        return _marked(design.matrix, own, "others", [*own.values(), "others"])
    return None


def _marked(matrix, names_of, rest, order):
    """Return the number and names of groups that columns of 0 and 1 mark, those that occur."""
    columns = sorted(names_of)
    marks = matrix[:, columns]
    names = np.array([names_of[i] for i in columns], dtype=object)
    of_map = np.where(marks.any(axis=1), names[marks.argmax(axis=1)], rest)
    present = [name for name in dict.fromkeys([*order, rest]) if (of_map == name).any()]
    numbers = np.array([present.index(name) for name in of_map])
    return numbers, tuple(map(str, present)), columns


def view_peak(
    design: Design,
    contrast: Contrast,
    values: np.ndarray,
    groups: tuple | None = None,
    fitted_alone: bool = False,
) -> PeakView | None:
    """Return what to show of one voxel's values, None where too few maps have one.

    Groups and strips show partial residuals: what the tested columns fit, and the residual; so
    the means of groups differ by the estimate. A covariate is an added-variable plot (Cook and
    Weisberg 1982): values and covariate, both residualised on all model predictions for which the
    contrast is 0; its slope is the estimate.

    Parameters
    ----------
    design : Design
    contrast : Contrast
    values : array, shape (n,)
        NaN where a map has none.
    groups : tuple, optional
        As `contrast_groups` returns it, where something else knows the groups.
    fitted_alone : bool
        Whether observed against fitted values are shown in any case.

    Returns
    -------
    PeakView or None
    """
    rows = np.flatnonzero(np.isfinite(values))
    model = design.model.without(np.flatnonzero(~np.isfinite(values)))
    if model is None:
        return None
    data = values[rows]
    student = np.abs(studentised_residuals(model, data))
    order = np.argsort(-student, kind="stable")[:N_NAMED_OUTLIERS]
    outliers = [int(rows[i]) for i in order if student[i] > OUTLYING]
    estimate = np.nan
    if len(contrast.weights) == 1:
        estimate = multiply(multiply(contrast.weights[0], model.inverse), data)
    shared: dict[str, Any] = {"rows": rows, "estimate": estimate, "outliers": outliers}
    if fitted_alone:
        return _fitted(model, contrast, data, shared)
    groups = contrast_groups(design, contrast) if groups is None else groups
    if groups is not None:
        return _by_group(design, model, data, groups, shared)
    weighed = (contrast.weights != 0).any(axis=0)
    if (np.ptp(design.matrix[:, weighed], axis=0) == 0).all():
        y, adjusted = _adjusted(design, model, data, rows, np.flatnonzero(weighed), at_mean=False)
        label = f"map value{adjusted}"
        return PeakView(
            "strip",
            x=np.zeros(len(y)),
            y=y,
            groups=(),
            x_label="",
            y_label=label,
            line=None,
            **shared,
        )
    if len(contrast.weights) > 1:
        return _fitted(model, contrast, data, shared)
    return _added_variable(design, model, contrast, data, shared)


def _by_group(design, model, data, groups, shared):
    numbers, names, columns = groups
    y, adjusted = _adjusted(design, model, data, shared["rows"], columns, at_mean=True)
    x = numbers[shared["rows"]].astype(float)
    return PeakView(
        "groups",
        x=x,
        y=y,
        groups=names,
        x_label="",
        y_label=f"map value{adjusted}",
        line=None,
        **shared,
    )


def _adjusted(design, model, data, rows, tested, at_mean):
    """Take out what columns beside those tested fit, but for their mean; says so in words.

    Columns that mark one participant of repeated measures stay in: lines show participants.
    """
    others = [
        i
        for i in range(model.matrix.shape[1])
        if i not in tested
        and not (at_mean and np.ptp(model.matrix[:, i]) == 0)
        and not _marks_participant(design, i)
    ]
    # The single coefficients of a design without full rank mean nothing.
    if not others or model.rank < model.matrix.shape[1]:
        return data, ""
    return without_columns(model, data, others, centred=at_mean), ", adjusted"


def _marks_participant(design, column):
    """Tell whether a column is of a participant, who has one of several maps, and of no effect."""
    if design.formula is not None:
        return design.columns[column].startswith("participant_id[")
    who = np.array(design.participants)
    own = set(who[design.matrix[:, column] != 0])
    return len(own) == 1 and 1 < np.sum(who == next(iter(own))) < len(who)


def _added_variable(design, model, contrast, data, shared):
    x, y, has_mean, has_more = added_variable(model, contrast.weights, data)
    weighed = np.flatnonzero(contrast.weights[0])
    label = "covariate of the contrast"
    moved = (0.0, 0.0)
    if len(weighed) == 1:
        weight = contrast.weights[0, weighed[0]]
        label = design.columns[weighed[0]] + ("" if weight == 1 else f" / {weight:g}")
        moved = (model.matrix[:, weighed[0]].mean() / weight, data.mean())
    # Adding the means back changes no slope, and gives axes in the units of the data.
    x, y = x + has_mean * moved[0], y + has_mean * moved[1]
    adjusted = ", adjusted" if has_more else ""
    slope = shared["estimate"]
    start = has_mean * (moved[1] - slope * moved[0])
    return PeakView(
        "covariate",
        x=x,
        y=y,
        groups=(),
        x_label=label + adjusted,
        y_label=f"map value{adjusted}",
        line=(start, slope),
        **shared,
    )


def _fitted(model, contrast, data, shared):
    fitted, observed = fitted_by(model, contrast.weights, data)
    return PeakView(
        "fitted",
        x=fitted,
        y=observed,
        groups=(),
        x_label="fitted by the contrast",
        y_label="map value, adjusted",
        line=(0.0, 1.0),
        **shared,
    )
