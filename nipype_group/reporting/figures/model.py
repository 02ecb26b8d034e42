"""The model: design matrix, correlation of its columns, weights of its contrasts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nipype_group.design.diagnostics import diagnostics_in_words
from nipype_group.reporting.figures.canvas import (
    BLUE,
    DARK,
    MINUS,
    ORANGE,
    WIDTH_PX,
    Picture,
    block_size,
    figure,
    rounded,
    save,
    upright,
    wrapped,
)
from nipype_group.reporting.wording import count
from nipype_group.stats.linear.influence import (
    condition_numbers,
    confounded_columns,
    leverage,
    variance_inflation,
)
from nipype_group.stats.linear.least_squares import LinearModel
from nipype_group.stats.linear.map_quality import TIMES_MEAN_LEVERAGE
from nipype_group.stats.matrix_products import multiply, sum_of_squares

if TYPE_CHECKING:
    from nipype_group.design.contrasts import Contrast
    from nipype_group.design.matrix import Design

# More columns than these have no room for names, or for numbers in the cells.
_NAMED_COLUMNS = 45
_NUMBERED_COLUMNS = 12
_NAME_SIZE = 8.5
# What names may take of a figure before it grows.
_NAME_PX = 150


def draw_design(path: str | os.PathLike[str], design: Design) -> Picture:
    """Draw a design matrix, what inflates its columns, and the leverage of its rows.

    Each column is in units of its largest magnitude.

    Parameters
    ----------
    path : path
        PNG to write.
    design : Design

    Returns
    -------
    Picture
    """
    model, h = design.model, leverage(design.model)
    matrix = design.matrix / np.maximum(np.abs(design.matrix).max(axis=0), 1e-300)
    n_maps, n_columns = matrix.shape
    inflation = variance_inflation(model)
    named = _named(design.columns, inflation=inflation)
    width = int(min(450 + 40 * n_columns, WIDTH_PX))
    # A colour bar and the leverage take the rest.
    texts, tall = upright(list(named.values()), 0.55 * width / n_columns, _NAME_SIZE)
    made = figure(width, int(min(350 + 3 * n_maps, 720) + max(tall - _NAME_PX, 0)))
    made.set_layout_engine("constrained")
    axes, beside = made.subplots(1, 2, sharey=True, width_ratios=(min(max(n_columns, 4), 9), 2.5))
    shown = axes.imshow(
        matrix, aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest"
    )
    _name_columns(axes, n_columns, named, texts)
    axes.set_ylabel("map")
    axes.yaxis.get_major_locator().set_params(integer=True)
    title = f"{count(n_maps, 'map')}, {count(model.dof, 'degree')} of freedom"
    if design.own_errors or design.cluster_column is not None:
        # Each contrast has its own.
        n_participants = len(set(design.participants))
        title = f"{count(n_maps, 'map')} of {count(n_participants, 'participant')}"
    condition = rounded(condition_numbers(model)[0])
    made.suptitle(f"{title}, condition number {condition}", fontsize=10.5)
    made.colorbar(shown, ax=axes).set_label("value / largest magnitude\nof the column", fontsize=9)
    _draw_leverage(beside, h, TIMES_MEAN_LEVERAGE * model.rank / n_maps)
    names = ", ".join(design.columns[:8]) + (", …" if n_columns > 8 else "")
    alt = (
        f"Design matrix of {title}, {count(n_columns, 'column')}: {names}; the condition number "
        f"is {condition}, the largest leverage {rounded(h.max())}"
    )
    caption = "A row a map, in the order of the observations; a column a regressor."
    caption += " ".join(f" {text[0].upper()}{text[1:]}." for text in _confounded(model))
    return Picture(save(made, path), "design", alt, caption)


def _draw_leverage(axes: Any, h: np.ndarray, limit: float) -> None:
    """Draw a bar a map, those above the limit in another colour."""
    colours = np.where(h > limit, ORANGE, BLUE)
    # One collection, as thousands of bars take seconds.
    axes.hlines(np.arange(len(h)), 0, h, colors=colours, linewidth=max(0.6, 180 / len(h) ** 1.05))
    if limit < 1.5 * h.max():
        axes.axvline(limit, color=DARK, linewidth=0.8, linestyle="--")
    axes.set_xlim(0, max(1.08 * h.max(), 1e-6))
    axes.set_xlabel("leverage", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", left=False)
    axes.spines[["top", "right"]].set_visible(False)


def _confounded(model: LinearModel) -> list[str]:
    return list(diagnostics_in_words({"Confounded": confounded_columns(model)}))


def _named(columns, kept=None, inflation=None):
    """Return the names of columns by their numbers, of many columns only those kept.

    Those of few columns may be followed by the inflation of their variances.
    """
    shown = range(len(columns))
    if len(columns) > _NAMED_COLUMNS:
        shown = [] if kept is None else np.flatnonzero(kept)[:_NAMED_COLUMNS].tolist()
    names = {i: columns[i] for i in shown}
    if inflation is not None and len(columns) <= _NUMBERED_COLUMNS:
        for i, v in enumerate(inflation):
            names[i] += "" if np.isnan(v) else f"\nVIF {_inflation(v)}"
    return names


def _name_columns(axes, n_columns, named, texts):
    """Write the names of columns under an axis."""
    if n_columns > _NAMED_COLUMNS:
        axes.set_xlabel(count(n_columns, "column"))
    axes.set_xticks(list(named), texts, rotation=90, fontsize=_NAME_SIZE)


def column_correlations(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return correlations and variance inflation of the columns that vary.

    The variance inflation is that of `variance_inflation`.

    Parameters
    ----------
    matrix : array, shape (n, p)
        Design.

    Returns
    -------
    varying : int array, shape (k,)
        Columns that vary.
    correlations : array, shape (k, k)
    inflation : array, shape (k,)
        inf for a column that the others determine.

    Examples
    --------
    >>> matrix = np.array([[1.0, 1, 1], [1, 2, -1], [1, 3, -1], [1, 4, 1]])
    >>> varying, correlations, inflation = column_correlations(matrix)
    >>> varying.tolist(), correlations.round(3).tolist(), inflation.round(3).tolist()
    ([1, 2], [[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0])
    """
    centred = matrix - matrix.mean(axis=0)
    length = np.sqrt(sum_of_squares(centred))
    whole = np.sqrt(sum_of_squares(matrix))
    varying = np.flatnonzero(length > 1e-9 * np.maximum(whole, 1e-300))
    unit = centred[:, varying] / length[varying]
    correlations = multiply(unit.T, unit)
    model = LinearModel(matrix, tuple(map(str, range(matrix.shape[1]))))
    inflation = variance_inflation(model)[varying]
    return varying, np.clip(correlations, -1, 1), inflation


def draw_correlation(path: str | os.PathLike[str], design: Design) -> Picture | None:
    """Draw the correlation of the columns that vary; a `Picture`, None with fewer than two."""
    varying, correlations, inflation = column_correlations(design.matrix)
    n_columns = len(varying)
    if n_columns < 2:
        return None
    names = [design.columns[i] for i in varying]
    size = int(np.clip(300 + 46 * n_columns, 360, 780))
    named = _named(names)
    texts, tall = upright(list(named.values()), 0.6 * size / n_columns, _NAME_SIZE)
    more = int(max(tall - _NAME_PX, 0))
    made = figure(min(size + 120, WIDTH_PX) + more, size + more)
    made.set_layout_engine("compressed")
    axes = made.subplots()
    shown = axes.imshow(correlations, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    _name_columns(axes, n_columns, named, texts)
    numbered = n_columns <= _NUMBERED_COLUMNS
    if n_columns <= _NAMED_COLUMNS:
        texts = [
            f"{text}\nVIF {_inflation(v)}" if numbered else text
            for text, v in zip(texts, inflation, strict=True)
        ]
        axes.set_yticks(range(n_columns), texts, fontsize=8.5)
    else:
        axes.set_yticks([])
    for i, j in np.ndindex(*correlations.shape) if numbered else ():
        light = abs(correlations[i, j]) > 0.6
        text = f"{np.round(correlations[i, j], 2) + 0.0:.2f}".replace("-", MINUS)
        axes.text(j, i, text, ha="center", va="center", fontsize=9, color="wk"[not light])
    made.colorbar(shown, ax=axes, shrink=0.8).set_label("correlation", fontsize=9)
    apart = np.abs(correlations - np.eye(n_columns))
    i, j = np.unravel_index(apart.argmax(), apart.shape)
    worst = int(inflation.argmax())
    alt = (
        f"Correlation of {n_columns} regressors: the largest is {rounded(correlations[i, j])} "
        f"between {names[i]} and {names[j]}; the largest variance inflation is "
        f"{_inflation(inflation[worst])} of {names[worst]}"
    )
    caption = (
        "Pearson correlation over maps; constant columns are left out. VIF: variance inflation "
        "of a column by all others."
    )
    return Picture(save(made, path), "correlation", alt, caption)


def _inflation(value):
    return "infinite" if np.isinf(value) else rounded(value)


def draw_weights(
    path: str | os.PathLike[str], contrast: Contrast, columns: Sequence[str]
) -> Picture:
    """Draw the weights of a contrast over the columns, bars for each of its rows; a `Picture`."""
    n_rows, n_columns = contrast.weights.shape
    width = int(min(320 + 40 * n_columns, WIDTH_PX))
    named = _named(columns, (contrast.weights != 0).any(axis=0))
    texts, tall = upright(list(named.values()), 0.8 * width / n_columns, _NAME_SIZE)
    title = wrapped(f"{contrast.test} contrast {contrast.name}", 0.8 * width, 10.5)
    more = max(tall - _NAME_PX, 0) + block_size(title, 10.5)[1]
    made = figure(width, int(min(175 + 90 * n_rows, 1200) + more))
    made.set_layout_engine("constrained")
    rows = made.subplots(n_rows, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, weights in zip(rows, contrast.weights, strict=True):
        axes.bar(range(n_columns), weights, color=np.where(weights < 0, BLUE, ORANGE))
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_ylabel("weight", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    _name_columns(rows[-1], n_columns, named, texts)
    rows[0].set_title(title, fontsize=10.5)
    listed = [
        " ".join(f"{rounded(w)} {columns[i]}" for i, w in enumerate(row) if w)
        for row in contrast.weights
    ]
    rest = f"; and {n_rows - 4} more rows" if n_rows > 4 else ""
    alt = f"Weights of the {contrast.test} contrast {contrast.name}: {'; '.join(listed[:4])}{rest}"
    caption = "Weight of every column; all columns that are not named have the weight 0."
    if n_columns <= _NAMED_COLUMNS:
        caption = "Weight of every column, a row of bars for each row of the contrast."
    return Picture(save(made, path), "weights", alt, caption, {"Contrast": contrast.label})
