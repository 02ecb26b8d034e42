"""Contrasts and findings in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nipype_group.controls import CONTROLS
from nipype_group.design.expressions import is_weight_list, parse_row, shortened, split_outside
from nipype_group.design.formula import parts_of
from nipype_group.design.words import averaged, levels_meant, question
from nipype_group.reporting.tables.columns import peak_region
from nipype_group.reporting.wording import (
    SIDE_WORDS,
    correction_words,
    count,
    listing,
    number_text,
    p_value,
)

if TYPE_CHECKING:
    from nipype_group.design.contrasts import Contrast
    from nipype_group.design.matrix import Design
    from nipype_group.reporting.derivatives.read import ThresholdedResult

_VERBS = {"two-sided": "different from", "positive": "larger than", "negative": "smaller than"}


def contrast_question(contrast: Contrast, design: Design | None, tail: str) -> str:
    """Say in a sentence what a contrast asks.

    Parameters
    ----------
    contrast : Contrast
    design : Design or None
    tail : {"two-sided", "positive", "negative"}

    Returns
    -------
    str

    Examples
    --------
    >>> from nipype_group.design.contrasts import Contrast
    >>> contrast = Contrast("difference", "t", np.array([[1.0, -1.0]]), "patient - control")
    >>> contrast_question(contrast, None, "two-sided")
    'Is patient different from control?'
    """
    if contrast.conjunction:
        sides = {"positive": " above 0", "negative": " below 0", "two-sided": " of the same sign"}
        side = sides[tail] if contrast.test == "t" else ""
        return f"Does each of {listing(contrast.conjunction)} have an effect{side}?"
    if contrast.description is not None:
        asked = None if design is None else question(contrast.expression, design, _VERBS[tail])
        return asked or f"Is {contrast.description} different from 0?"
    if contrast.test == "F":
        rows = [row.strip() for row in split_outside(contrast.expression, ";")]
        listed = "; ".join(rows)
        # The expression itself stands below the question.
        if shortened(listed) != listed:
            return f"Does any of {len(rows)} combinations differ from 0?"
        return f"Does any of these differ from 0: {listed}?"
    terms = _terms(contrast, design)
    if len(terms) == 1:
        ((name, weight),) = terms.items()
        if weight < 0:
            tail = {"positive": "negative", "negative": "positive"}.get(tail, tail)
        return _question_of_one(name, design, tail)
    up = [name for name, weight in terms.items() if weight > 0]
    down = [name for name, weight in terms.items() if weight < 0]
    if up and down and abs(sum(terms.values())) < 1e-9 * max(map(abs, terms.values())):
        subject = listing(up) if len(up) == 1 else f"the mean of {listing(up)}"
        other = listing(down) if len(down) == 1 else f"the mean of {listing(down)}"
        if len({terms[n] for n in up}) == 1 and len({terms[n] for n in down}) == 1:
            return f"Is {subject} {_VERBS[tail]} {other}{_over(terms, design)}?"
    return f"Is {shortened(contrast.expression.strip())} {_VERBS[tail]} 0{_over(terms, design)}?"


def _question_of_one(name, design, tail):
    """Ask for the effect of one column, or of one marginal mean."""
    if design is not None and design.grid is not None and levels_meant(name, design):
        return f"Is the mean effect at {name} {_VERBS[tail]} 0{_over([name], design)}?"
    others = _others(design, name)
    if design is not None and name in _covariates(design):
        change = {"positive": "grow", "negative": "fall"}.get(tail, "change")
        parts = parts_of(name)
        levels = [part for part in parts if "[" in part]
        slopes = [part for part in parts if part not in levels]
        if levels and slopes:
            return (
                f"Is the slope on {' x '.join(slopes)} at {' and '.join(levels)} {_VERBS[tail]} "
                f"that at the reference{others}?"
            )
        if len(parts) > 1:
            first, *more = parts
            return f"Does the slope of {first} {change} with {' x '.join(more)}{others}?"
        return f"Does the effect {change} with {name}{others}?"
    is_mean = name == "intercept" or (design is not None and name in _means(design))
    what = "the mean effect" if is_mean else f"the effect of {name}"
    return f"Is {what} {_VERBS[tail]} 0{others}?"


def _over(names, design):
    """Say what means of levels are taken over; nothing where a name is none."""
    if design is None or design.grid is None:
        return ""
    meant = [levels_meant(name, design) for name in names]
    if not all(meant):
        return ""
    return averaged(design.grid, {factor for levels in meant for factor in levels})


def _terms(contrast, design):
    """Return the names and weights a contrast was written in."""
    if contrast.weights.size and is_weight_list(contrast.expression) and design is not None:
        weights = zip(design.contrast_columns, contrast.weights[0].tolist(), strict=True)
        return {name: weight for name, weight in weights if weight}
    try:
        terms = parse_row(contrast.expression)
    except ValueError:
        # Another package's contrast may be named in any way.
        return {}
    return {name: weight for name, weight in terms.items() if weight}


def _covariates(design):
    levels = {
        f"{factor}[{sign}{level}]"
        for factor, about in design.factors.items()
        for level in about["levels"]
        for sign in ("", "S." * (about.get("coding") == "sum"))
    }
    sources = set(design.sources.values())
    return (set(design.contrast_columns) | sources) - levels - _means(design)


def _means(design):
    """Return the columns that are the same for all maps."""
    constant = zip(design.columns, (np.ptp(design.matrix, axis=0) == 0).tolist(), strict=True)
    return {"intercept"} | {column for column, same in constant if same}


def _others(design, name):
    """Say what a single column is adjusted for: the other covariates and factors."""
    if design is None:
        return ""
    own = {name, *parts_of(name)} | {
        column for column, source in design.sources.items() if source == name
    }
    covariates = [
        design.sources.get(c, c)
        for c in design.columns
        if c in _covariates(design) and c not in own and not _is_product(c, design)
    ]
    factors = [f for f in design.factors if not any(o.startswith(f"{f}[") for o in own)]
    adjusted = list(dict.fromkeys([*covariates, *factors]))
    return f", adjusted for {listing(adjusted)}" if adjusted else ""


def _is_product(column, design):
    """Tell whether a column is a product of other columns."""
    parts = parts_of(column)
    return len(parts) > 1 and all(part in design.columns for part in parts)


def result_sentence(result: ThresholdedResult) -> str:
    """Say what survives, or that nothing does and how far off the largest statistic was.

    Parameters
    ----------
    result : ThresholdedResult

    Returns
    -------
    str
    """
    settings = result.settings
    how = settings_words(settings)
    if not result.survives:
        return f"Nothing survives ({how}): {largest(settings)}{_critical(settings)}."
    clusters = result.table("clusters", ("cluster_id", "volume_mm3"))
    peaks = result.table("peaks", ("cluster_id", "peak_id", "zscore", "stat", *"xyz"))
    main = peaks.loc[peaks["peak_id"] == 1]
    best = main.loc[main["zscore"].abs().fillna(main["stat"].abs()).idxmax()]
    region = peak_region(best)
    place = ", ".join(f"{best[axis]:.0f}" for axis in "xyz")
    volume_cm3 = clusters["volume_mm3"].sum() / 1000
    return (
        f"{count(len(clusters), 'cluster')} of {count(settings['SurvivingVoxels'], 'voxel')} "
        f"({volume_cm3:.1f} cm³) in all {'survives' if len(clusters) == 1 else 'survive'} "
        f"({how}). The strongest peak, z {number_text(best['zscore'])}, lies at ({place}) mm"
        + (f", {region.replace('_', ' ')}" if region is not None else "")
        + "."
    )


def settings_words(settings: Mapping[str, Any]) -> str:
    """Say by what a map was thresholded, of the settings of its tables.

    Examples
    --------
    >>> settings_words({"HeightControl": "fdr", "Alpha": 0.05, "Tail": "positive"})
    'false discovery rate .05, Benjamini-Hochberg, the positive side'
    """
    is_f = settings.get("StatisticType") == "F"
    height = settings.get("ThresholdZ")
    return correction_words(
        CONTROLS[settings["HeightControl"]],
        alpha=settings.get("Alpha"),
        height=None if height is None else round(float(height), 4),
        tail=None if is_f else settings["Tail"],
    )


def side_text(tail: str, stat_type: str) -> str:
    """Return the side that was tested, after a comma; an F has none.

    Examples
    --------
    >>> side_text("negative", "t"), side_text("positive", "F")
    (', the negative side', '')
    """
    return "" if stat_type == "F" else f", {SIDE_WORDS[tail]}"


def symbol(settings: Mapping[str, Any]) -> str:
    """Return the symbol of the extremes that a result's settings hold."""
    return "z" if "LargestZ" in settings else settings["StatisticType"]


def largest(settings: Mapping[str, Any]) -> str:
    """Say what the largest statistic is, on the sides that were tested.

    Examples
    --------
    >>> largest({"LargestZ": 3.2, "SmallestZ": -4.1, "Tail": "two-sided"})
    'the largest z is 3.20, the smallest -4.10'
    """
    name = symbol(settings)
    high = settings.get("LargestZ", settings.get("LargestStatistic"))
    low = settings.get("SmallestZ", settings.get("SmallestStatistic"))
    if settings["Tail"] == "positive":
        return f"the largest {name} is {number_text(high)}"
    if settings["Tail"] == "negative":
        return f"the smallest {name} is {number_text(low)}"
    return f"the largest {name} is {number_text(high)}, the smallest {number_text(low)}"


def critical_value_text(settings: Mapping[str, Any]) -> str | None:
    """Return the critical value of a result with its unit, None where there is none.

    Examples
    --------
    >>> critical_value_text({"CriticalValue": 5.04, "ThresholdUnit": "t"})
    '5.04 t'
    >>> critical_value_text({"ThresholdZ": None}) is None
    True
    """
    if settings.get("CriticalValue") is not None:
        unit = settings["ThresholdUnit"]
        return f"{number_text(settings['CriticalValue'], 0 if unit == 'voxels' else 2)} {unit}"
    height = settings.get("ThresholdZ")
    return None if height is None else f"{number_text(height)} z"


def _critical(settings):
    value = critical_value_text(settings)
    if "CorrectedBy" in settings or settings.get("LargestPOfContrasts"):
        return f"; the smallest corrected p is {p_value(settings['SmallestCorrectedP'])}"
    if value is None:
        if settings["HeightControl"] == "rft-cluster":
            return _forming(settings)
        return "; no height would keep a voxel"
    smallest = settings.get("SmallestCorrectedP")
    p = "" if smallest is None else f"; the smallest corrected p is {p_value(smallest)}"
    return f"; the critical value is {value}{_forming(settings)}{p}"


def _forming(settings):
    height = settings.get("ClusterFormingZ")
    if height is None or settings.get("ThresholdUnit") in ("z", "t", "F"):
        return ""
    found = settings.get("ClustersBeforeCorrection")
    clusters = "" if found is None else f", {count(found, 'cluster')} before correction"
    return f"; clusters form at z {number_text(height)}{clusters}"
