"""Equivalence: what names of files, sidecars and sentences say of two one-sided tests."""

from collections.abc import Mapping
from typing import Any

from nipype_group.choices import equivalence_bound
from nipype_group.stats.estimators import DEFAULT

# Unthresholded maps of equivalence.
EQUIVALENCE_MAPS = {
    "p": "Larger p of two one-sided tests: that the effect is not above the lower bound, and that "
    "it is not below the upper one",
    "z": "z with the larger p of two one-sided tests as its upper tail",
}


def equivalence_desc(desc: str = "") -> str:
    """Return the ``desc`` of maps of equivalence, thresholded by what a ``desc`` names.

    Examples
    --------
    >>> equivalence_desc(), equivalence_desc("fdrBH")
    ('equivalence', 'equivalenceFdrBH')
    """
    return f"equivalence{desc[:1].upper()}{desc[1:]}"


def bound_words(text: str) -> str:
    """Return a bound of equivalence in words.

    Examples
    --------
    >>> bound_words("d=0.3"), bound_words("0.5")
    ("-0.3 and 0.3 in Cohen's d", '-0.5 and 0.5')
    """
    bound, unit = equivalence_bound(text)
    return f"{-bound:g} and {bound:g}" + (" in Cohen's d" if unit == "d" else "")


def bound_entries(text: str) -> dict[str, Any]:
    """Return what the sidecars of maps of equivalence say of their bound."""
    bound, unit = equivalence_bound(text)
    words = {
        "d": "standard deviation of the voxel, taken as if it were known",
        "effect": "unit of the effect",
    }
    return {"EquivalenceBounds": [-bound, bound], "EquivalenceBoundUnit": words[unit]}


def equivalence_plan(parameters: Mapping[str, Any]) -> str | None:
    """Say how a run would test equivalence, and what that assumes; None where it would not.

    Parameters
    ----------
    parameters : dict
        Settings of the run.

    Examples
    --------
    >>> equivalence_plan({"equivalence": "d=0.3"})
    "effects between -0.3 and 0.3 in Cohen's d, by two one-sided t tests whose larger p the ...
    """
    text = parameters.get("equivalence")
    if text is None:
        return None
    line = (
        f"effects between {bound_words(text)}, by two one-sided t tests whose larger p the height "
        "controls threshold"
    )
    if equivalence_bound(text)[1] == "d":
        line += "; the standard deviation of each voxel is taken as if it were known"
    return line


def equivalence_sentence(text: str, settings: Mapping[str, Any], correction: str) -> str:
    """Say for the page where an effect is smaller than the bound.

    Parameters
    ----------
    text : str
        The bound.
    settings : dict
        How the map was thresholded, and what was found.
    correction : str
        What was controlled and at which level, in words.
    """
    return (
        f"The effect lies between {bound_words(text)} in {settings['SurvivingVoxels']:,} of "
        f"{settings['SearchVolumeVoxels']:,} voxels ({correction})."
    )


def equivalence_sentences(parameters: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Say for the methods section how equivalence was tested; empty without.

    Parameters
    ----------
    parameters : dict
        Settings of the run.

    Examples
    --------
    >>> equivalence_sentences({"equivalence": "0.5"})
    [('Effects were tested for equivalence, to lie between -0.5 and 0.5, by two one-sided t ...
    """
    text = parameters.get("equivalence")
    if text is None:
        return []
    sentence = (
        f"Effects were tested for equivalence, to lie between {bound_words(text)}, by two "
        "one-sided t tests whose larger p was thresholded as that of effects is"
    )
    if equivalence_bound(text)[1] == "d":
        sentence += "; the standard deviation of each voxel was taken as if it were known"
    if parameters.get("estimator", DEFAULT) != DEFAULT:
        sentence += ", with the variances and degrees of freedom of the estimator"
    return [(sentence, "schuirmann1987")]
