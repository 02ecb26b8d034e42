"""What is told of a design and its contrasts before any data are looked at.

Numbers have six digits: the last ones of a matrix library depend on the processor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nipype_group.controls import side_tested
from nipype_group.design.error_terms import error_term
from nipype_group.design.formula import parts_of
from nipype_group.stats.linear.influence import (
    POWER,
    condition_numbers,
    confounded_columns,
    detectable_effect,
    efficiency,
    generalised_inflation,
    leverage,
    variance_inflation,
)
from nipype_group.stats.matrix_products import multiply

if TYPE_CHECKING:
    from nipype_group.design.contrasts import Contrast
    from nipype_group.design.matrix import Design

MEASURES = {"d": "Cohen's d", "d_z": "Cohen's d_z", "f": "Cohen's f"}


@dataclass(frozen=True)
class LevelOfTests:
    """How all contrasts of an analysis are tested, as far as power depends on it.

    Parameters
    ----------
    alpha : float
        Error rate of one test, or of all voxels together.
    tail : {"two-sided", "positive", "negative"}
        Side of t contrasts that have none of their own.
    contrast_tails : dict
        Name of a contrast to its own side.
    n_voxels : int, optional
        Voxels searched, where they are known.
    """

    alpha: float = 0.05
    tail: str = "two-sided"
    contrast_tails: dict[str, str] | None = None
    n_voxels: int | None = None

    def side(self, contrast: "Contrast") -> str:
        """Return the side that a contrast is tested on."""
        own = (self.contrast_tails or {}).get(contrast.named_side, self.tail)
        return side_tested(own, contrast.test)


def six_digits(value: float) -> float | None:
    """Return a number with six digits; None where it is not finite, as JSON has no such number.

    Examples
    --------
    >>> six_digits(1 / 3), six_digits(float("inf"))
    (0.333333, None)
    """
    return float(f"{value:.6g}") if np.isfinite(value) else None


def columns_of_terms(design: "Design") -> dict[str, list[int]]:
    """Return the columns of every term of a design but the intercept.

    Columns of one factor belong together, as do those of a product of factors, and of a transform
    that makes several columns.

    Examples
    --------
    >>> import pandas as pd
    >>> from nipype_group.design.matrix import Design
    >>> names = ("intercept", "group[b]", "group[c]", "age", "group[b]:age", "group[c]:age")
    >>> keys = pd.DataFrame({"participant_id": []})
    >>> design = Design(keys, np.zeros((0, 6)), names, {"group": {}}, formula="age * group")
    >>> columns_of_terms(design)
    {'group': [1, 2], 'age': [3], 'group:age': [4, 5]}
    """
    terms: dict[str, list[int]] = {}
    for number, column in enumerate(design.columns):
        parts = parts_of(column) if design.formula is not None else (column,)
        if column != "intercept":
            term = ":".join(_without_level(part, design) for part in parts)
            terms.setdefault(term, []).append(number)
    return terms


def _without_level(part: str, design: "Design") -> str:
    """Return the factor or the transform that a part of a column's name is of."""
    if design.formula is None or not part.endswith("]"):
        return part
    own = [factor for factor in design.factors if part.startswith(f"{factor}[")]
    return max(own, key=len) if own else part[: part.rindex("[")]


def column_diagnostics(design: "Design") -> dict[str, Any]:
    """Return what the sidecar says of the columns of a design and of its rows.

    Returns
    -------
    dict
        ConditionNumber of columns of unit length, ConditionNumberUnscaled of those as they are;
        Confounded, a list of names for every combination of columns that is 0 in every map;
        VarianceInflation of every column but the constant; GeneralizedVarianceInflation of every
        term of several columns, with its 1 / (2 k)-th power, k columns; Leverage of every map.
        None where a number is infinite.
    """
    model = design.model
    unit, raw = condition_numbers(model)
    h, inflation = leverage(model), variance_inflation(model)
    several = {t: c for t, c in columns_of_terms(design).items() if len(c) > 1}
    generalised = {term: generalised_inflation(model, own) for term, own in several.items()}
    return {
        "ConditionNumber": six_digits(unit),
        "ConditionNumberUnscaled": six_digits(raw),
        "LargestLeverage": six_digits(h.max()),
        "Confounded": [list(names) for names in confounded_columns(model)],
        "VarianceInflation": {
            name: six_digits(value)
            for name, value in zip(design.columns, inflation, strict=True)
            if not np.isnan(value)
        },
        "GeneralizedVarianceInflation": {
            term: {
                "Columns": len(several[term]),
                "Value": six_digits(value),
                "Root": six_digits(value ** (0.5 / len(several[term]))),
            }
            for term, value in generalised.items()
        },
        "Leverage": [six_digits(value) for value in h],
    }


def contrast_diagnostics(
    contrast: "Contrast", design: "Design", level: LevelOfTests
) -> dict[str, Any]:
    """Return what the sidecar says of a contrast and the design alone.

    Parameters
    ----------
    contrast : Contrast
        One that the design determines.
    design : Design
    level : LevelOfTests

    Returns
    -------
    dict
        Efficiency and RelativeEfficiency, see `Efficiency`; DetectableEffect, see `Detectable`:
        the smallest effect that the test of one voxel detects without correction (Size), and at
        the Bonferroni level of all voxels where their number is known (SizeBonferroni). None
        where a number is infinite. There is no DetectableEffect where maps may vary together, as
        the design does not tell how, and nothing where covariates are maps, as all of it differs
        from voxel to voxel. Of a contrast on its own error they are of the model of its
        contrast maps: t in d_z, F as of a spherical error.
    """
    if design.map_covariates:
        return {}
    model, weights, unit = design.model, contrast.weights, 1.0
    if design.own_errors:
        term = error_term(design, weights, contrast.test, contrast.name)
        if contrast.test == "t":
            # In standard deviations of the contrast maps, d_z.
            row = multiply(term.weights(weights)[0], term.model.inverse)
            unit = term.size_per_t(weights) / float(np.sqrt(np.square(row).sum()))
        model, weights = term.model, term.weights(weights)
    found, side = efficiency(model, weights), level.side(contrast)
    of_design = {
        "Efficiency": six_digits(found.absolute),
        "RelativeEfficiency": six_digits(found.relative),
    }
    if design.cluster_column is not None:
        return of_design
    one = detectable_effect(model, weights, contrast.test, level.alpha, side)
    about = {
        "Measure": MEASURES["d_z" if design.own_errors and contrast.test == "t" else one.measure],
        "Power": POWER,
        "Alpha": level.alpha,
        "Tail": side,
        "Size": six_digits(one.size * unit),
    }
    if level.n_voxels:
        of_each = level.alpha / level.n_voxels
        size = detectable_effect(model, weights, contrast.test, of_each, side).size
        about |= {"NumberOfVoxels": level.n_voxels, "SizeBonferroni": six_digits(size * unit)}
    return of_design | {"DetectableEffect": about}


def diagnostics_in_words(about: dict[str, Any]) -> Sequence[str]:
    """Return what is odd about a design as sentences, from `column_diagnostics`.

    Examples
    --------
    >>> diagnostics_in_words({"Confounded": [["a", "b"], ["c"]]})
    ['columns a and b cannot be told apart', 'column c is 0 in every map']
    """
    return [
        f"columns {', '.join(names[:-1])} and {names[-1]} cannot be told apart"
        if len(names) > 1
        else f"column {names[0]} is 0 in every map"
        for names in about.get("Confounded", ())
    ]
