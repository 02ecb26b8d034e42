"""Values at peaks of a contrast on its own error: contrast maps in place of the maps."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from nipype_group.design.contrasts import Contrast
from nipype_group.design.error_terms import error_term, within_names
from nipype_group.design.formula import parts_of
from nipype_group.design.matrix import Design
from nipype_group.reporting.figures.peak_values import (
    N_NAMED_OUTLIERS,
    OUTLYING,
    PeakView,
    view_peak,
)
from nipype_group.stats.linear.error_terms import ErrorTerm
from nipype_group.stats.linear.partial_residuals import studentised_residuals, without_rest
from nipype_group.stats.matrix_products import multiply, sum_of_squares

_LABEL = "contrast map"
_ROUNDING = 1e-8


def contrast_map_views(
    design: Design, contrast: Contrast
) -> tuple[Design, Callable[[np.ndarray], PeakView | None]]:
    """Return whose values are shown of a contrast on its own error, and how they are made.

    One contrast map a participant: it is shown as a map of a design of one map a participant is,
    in the unit of a mean, or a difference of two means, of the participant's maps. Several: what
    the contrast takes of every condition, by the model of its contrast maps without all else that
    this fits; where a covariate is compared, observed against fitted contrast maps.

    Parameters
    ----------
    design : Design
        With factors within participants.
    contrast : Contrast

    Returns
    -------
    shown : Design
        A row a point.
    view : callable
        Makes a `PeakView` of the values of all maps at a voxel, shape (n,).
    """
    term = error_term(design, contrast.weights, contrast.test, contrast.name)
    if term.n_directions == 1:
        return _one_each(design, contrast, term)
    if _compares_covariate(design, contrast):
        return _against_fitted(design, contrast, term)
    return _by_condition(design, contrast, term)


def _people(design: Design, term: ErrorTerm) -> list[str]:
    labels = design.participants
    return [labels[rows[0]] for rows in term.maps]


def _shown_design(people: list[str], matrix: np.ndarray, columns: tuple[str, ...]) -> Design:
    return Design(pd.DataFrame({"participant_id": people}), matrix, columns)


def _one_each(
    design: Design, contrast: Contrast, term: ErrorTerm
) -> tuple[Design, Callable[[np.ndarray], PeakView | None]]:
    scale = _unit(term, term.weights(contrast.weights))
    matrix, weights, kept = _told_apart(scale * term.model.matrix, term.weights(contrast.weights))
    columns = tuple(term.model.columns[i] for i in kept)
    shown = _shown_design(_people(design, term), matrix, columns)
    own = replace(contrast, weights=weights, error=None)
    groups = _groups(design, term, shown, weights)

    def view(values: np.ndarray) -> PeakView | None:
        combined = scale * term.combine(values[:, None])[:, 0]
        found = view_peak(shown, own, combined, groups)
        return found and replace(found, y_label=found.y_label.replace("map value", _LABEL))

    return shown, view


def _unit(term: ErrorTerm, weights: np.ndarray) -> float:
    """Return what scales one direction to a mean or a difference of means of the maps.

    A mean is one of the maps as they are, a difference has the sign of most participants' share
    in the effect.
    """
    direction = term.directions[0]
    if (direction > -_ROUNDING).all() or (direction < _ROUNDING).all():
        return float(1 / direction.sum())
    sign = 1.0 if multiply(weights[0], term.model.inverse).sum() > -_ROUNDING else -1.0
    return float(sign / direction[direction > 0].sum())


def _told_apart(
    matrix: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Leave out columns that are another one times a number: their weights say the same."""
    unit = matrix / np.sqrt(sum_of_squares(matrix))
    kept: list[int] = []
    for i in range(matrix.shape[1]):
        if not any(abs(abs(multiply(unit[:, i], unit[:, j])) - 1) < _ROUNDING for j in kept):
            kept.append(i)
    return matrix[:, kept], weights[:, kept], kept


def _groups(
    design: Design, term: ErrorTerm, shown: Design, weights: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...], list[int]] | None:
    """Return the groups of the one factor that all weighed columns are of, else None."""
    within = within_names(design)
    of_people = [
        [part for part in parts_of(name) if not any(part.startswith(f"{f}[") for f in within)]
        for name in shown.columns
    ]
    weighed = set(np.flatnonzero((weights != 0).any(axis=0)).tolist())
    for factor in _between(design):
        own = [
            i
            for i, parts in enumerate(of_people)
            if len(parts) == 1 and parts[0].startswith(f"{factor}[")
        ]
        if weighed <= set(own):
            levels = _levels(design, term, factor)
            names = [v for v in map(str, design.factors[factor]["levels"]) if v in levels]
            return np.array([names.index(v) for v in levels]), tuple(names), own
    return None


def _between(design: Design) -> list[str]:
    """Return the factors between participants that have columns of their own."""
    within = within_names(design)
    return [
        name
        for name in design.factors
        if name not in within and any(_own_columns(design, name).values())
    ]


def _own_columns(design: Design, factor: str) -> dict[str, list[int]]:
    """Return the columns of every level of a factor, in either coding."""
    return {
        str(level): [
            design.columns.index(name)
            for name in (f"{factor}[{level}]", f"{factor}[S.{level}]")
            if name in design.columns
        ]
        for level in design.factors[factor]["levels"]
    }


def _levels(design: Design, term: ErrorTerm, factor: str) -> list[str]:
    """Return the level of a factor of every participant of an error term."""
    columns = _own_columns(design, factor)
    rest = next((level for level, own in columns.items() if not own), "others")
    found = [rest] * term.n_participants
    for level, own in columns.items():
        for column in own:
            for i in np.flatnonzero(design.matrix[term.maps[:, 0], column] == 1):
                found[i] = level
    return found


def _compares_covariate(design: Design, contrast: Contrast) -> bool:
    """Tell whether weighed columns are of anything but factors and the mean."""
    weighed = np.flatnonzero((contrast.weights != 0).any(axis=0))
    parts = {part for i in weighed for part in parts_of(design.columns[i])} - {"intercept"}
    return not all(any(part.startswith(f"{f}[") for f in design.factors) for part in parts)


def _present(term: ErrorTerm, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the contrast maps of a voxel, and which participants have them."""
    combined = term.combine(values[:, None])[:, 0]
    return combined, np.isfinite(combined).reshape(-1, term.n_directions).all(axis=1)


def _against_fitted(
    design: Design, contrast: Contrast, term: ErrorTerm
) -> tuple[Design, Callable[[np.ndarray], PeakView | None]]:
    people = np.array(_people(design, term))[term.participants].tolist()
    shown = _shown_design(people, term.model.matrix, term.model.columns)
    own = replace(contrast, weights=term.weights(contrast.weights), error=None)

    def view(values: np.ndarray) -> PeakView | None:
        found = view_peak(shown, own, _present(term, values)[0], fitted_alone=True)
        return found and replace(found, y_label=found.y_label.replace("map value", _LABEL))

    return shown, view


def _by_condition(
    design: Design, contrast: Contrast, term: ErrorTerm
) -> tuple[Design, Callable[[np.ndarray], PeakView | None]]:
    weights, k = term.weights(contrast.weights), term.n_directions
    names, cells = _conditions(design, term)
    people = _people(design, term)
    strata = _strata(design, contrast, term)
    groups = list(dict.fromkeys(f"{s} {n}".strip() for s in dict.fromkeys(strata) for n in names))
    number = [groups.index(f"{s} {n}".strip()) for s in strata for n in names]
    labels = [who for who in people for _ in names]
    shown = _shown_design(labels, np.ones((len(labels), 1)), ("intercept",))

    def view(values: np.ndarray) -> PeakView | None:
        combined, has = _present(term, values)
        model = term.model.without(np.flatnonzero(~np.repeat(has, k)))
        if model is None:
            return None
        data = combined[np.repeat(has, k)]
        partial = without_rest(model, weights, data).reshape(-1, k)
        rows = np.flatnonzero(np.repeat(has, len(names)))
        student = np.abs(studentised_residuals(model, data)).reshape(-1, k).max(axis=1)
        order = np.argsort(-student, kind="stable")[:N_NAMED_OUTLIERS]
        return PeakView(
            "conditions",
            rows=rows,
            x=np.array(number, dtype=float)[rows],
            y=multiply(partial, cells).ravel(),
            groups=tuple(groups),
            x_label="",
            y_label=f"{_LABEL}, adjusted",
            estimate=np.nan,
            line=None,
            outliers=[int(rows[i * len(names)]) for i in order if student[i] > OUTLYING],
        )

    return shown, view


def _conditions(design: Design, term: ErrorTerm) -> tuple[list[str], np.ndarray]:
    """Return what a contrast tells apart of the cells, with their columns of the directions."""
    within = within_names(design)
    levels = [
        [str(design.keys[name].iloc[row]) for name in within] for row in term.maps[0].tolist()
    ]
    columns = np.round(term.directions, 8)
    firsts = list(dict.fromkeys(tuple(column) for column in columns.T.tolist()))
    names: list[str] = []
    for first in firsts:
        alike = [lv for lv, c in zip(levels, columns.T.tolist(), strict=True) if tuple(c) == first]
        shared = [own[0] for own in zip(*alike, strict=True) if len(set(own)) == 1]
        names.append(" ".join(shared) or f"part {len(names) + 1}")
    places = [columns.T.tolist().index(list(first)) for first in firsts]
    return names, term.directions[:, places]


def _strata(design: Design, contrast: Contrast, term: ErrorTerm) -> list[str]:
    """Return the levels of the factors between participants that weighed columns are of."""
    weighed = np.flatnonzero((contrast.weights != 0).any(axis=0))
    parts = {part for i in weighed for part in parts_of(design.columns[i])}
    used = [f for f in _between(design) if any(part.startswith(f"{f}[") for part in parts)]
    levels = [_levels(design, term, factor) for factor in used]
    return [" ".join(own) for own in zip(*levels, strict=True)] or [""] * term.n_participants
