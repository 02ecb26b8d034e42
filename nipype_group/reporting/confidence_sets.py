"""Confidence sets: what sidecars, tables and sentences say of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nipype_group.choices import effect_level
from nipype_group.design.contrasts import Contrast
from nipype_group.stats.confidence_sets import ConfidenceSets, check_maps
from nipype_group.stats.linear.least_squares import LinearModel

# What a mask of a set holds.
SETS = {
    "inner": "Voxels whose true effect is at least the level, all of them, with the confidence",
    "outer": "Voxels outside of which no true effect is at least the level, with the confidence",
}


def level_words(level: float, unit: str) -> str:
    """Return a level of an effect in words.

    Examples
    --------
    >>> level_words(0.3, "d"), level_words(1.5, "effect")
    ("Cohen's d of 0.3", 'an effect of 1.5')
    """
    return f"Cohen's d of {level:g}" if unit == "d" else f"an effect of {level:g}"


def check_contrast(contrast: Contrast, model: LinearModel, confidence: float) -> None:
    """Refuse a contrast that confidence sets are not of, and maps that tell nothing of it.

    Parameters
    ----------
    contrast : Contrast
    model : LinearModel
        Design of the maps.
    confidence : float

    Raises
    ------
    ValueError
        Naming it, and why.
    """
    why = None
    if contrast.conjunction:
        why = "it is a conjunction, which has no effect of its own"
    elif contrast.test == "F":
        why = "it is an F, whose effect has no sign"
    elif contrast.error is not None:
        why = "it has an error of its own; give a map of the difference of each participant"
    if why is not None:
        raise ValueError(
            "confidence sets are of t contrasts of least squares; leave "
            f"{contrast.name} out: {why}"
        )
    try:
        check_maps(model, contrast.weights[0], confidence)
    except ValueError as error:
        raise ValueError(f"confidence sets of {contrast.name}: {error}") from error


def about_sets(
    found: ConfidenceSets, contrast: Contrast, level: float, unit: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what is told of the sets of a contrast, as JSON has it.

    Parameters
    ----------
    found : ConfidenceSets
    contrast : Contrast
    level : float
    unit : {"effect", "d"}
    settings : dict
        Confidence, Draws and RandomSeed.
    """
    notes = []
    if found.everywhere:
        notes.append(
            f"{contrast.name}: the estimate meets {level_words(level, unit)} nowhere, so the "
            "confidence sets go by the largest deviation of all voxels"
        )
    return {
        "Contrast": contrast.name,
        "Level": level,
        "LevelUnit": unit,
        **settings,
        "Quantile": float(f"{found.quantile:.10g}"),
        "BoundaryPoints": found.n_boundary,
        "SearchVolumeVoxels": len(found.above),
        **{
            key: int(np.count_nonzero(getattr(found, name)))
            for key, name in (
                ("InnerVoxels", "inner"),
                ("EstimateVoxels", "above"),
                ("OuterVoxels", "outer"),
            )
        },
        "Notes": notes,
    }


def sets_plan(parameters: Mapping[str, Any]) -> str | None:
    """Say what confidence sets a run would find, and what they assume; None where none.

    Parameters
    ----------
    parameters : dict
        Settings of the run.

    Examples
    --------
    >>> sets_plan({"confidence_set": "d=0.3", "set_confidence": 0.95, "set_draws": 5000})
    "inner and outer sets of at least Cohen's d of 0.3, both held in 95 % of studies, by 5,000 ...
    """
    text = parameters.get("confidence_set")
    if text is None:
        return None
    words = level_words(*effect_level(text))
    return (
        f"inner and outer sets of at least {words}, both held in "
        f"{parameters['set_confidence'] * 100:g} % of studies, by {parameters['set_draws']:,} "
        "draws of the signs of residuals: holds of many maps whose errors are symmetric, and of "
        "smooth effects"
    )


def sets_sentence(about: Mapping[str, Any]) -> str:
    """Say what the sets of a contrast are, for the page.

    Parameters
    ----------
    about : dict
        From `about_sets`.
    """
    return (
        f"At least {level_words(about['Level'], about['LevelUnit'])}: surely in "
        f"{about['InnerVoxels']:,} voxels (inner set), by the estimate in "
        f"{about['EstimateVoxels']:,}, possibly in {about['OuterVoxels']:,} (outer set) of "
        f"{about['SearchVolumeVoxels']:,}. In {about['Confidence'] * 100:g} % of such studies all "
        "of the inner set has a true effect of at least the level, and all voxels that have one "
        "lie in the outer set."
    )


def sets_sentences(about: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Say for the methods section how confidence sets came about; empty without.

    Parameters
    ----------
    about : dict
        From `about_sets`, of any contrast; {} where there is none.
    """
    if not about:
        return []
    of_d = ("bowring2021",) if about["LevelUnit"] == "d" else ()
    sentence = (
        f"Confidence sets at {about['Confidence'] * 100:g} % for at least "
        f"{level_words(about['Level'], about['LevelUnit'])} were found by a multiplier bootstrap "
        f"of the residuals with {about['Draws']:,} draws"
    )
    return [(sentence, "bowring2019", *of_d)]
