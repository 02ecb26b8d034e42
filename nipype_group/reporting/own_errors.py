"""Contrasts on errors of their own: what sidecars, tables and sentences say of them."""

from collections.abc import Mapping
from typing import Any

from nipype_group.choices import MULTIVARIATE
from nipype_group.design.contrasts import Contrast, contrast_label
from nipype_group.design.error_terms import STRATA, DescribedError
from nipype_group.stats.linear.multivariate import is_exact

# Corrections of the degrees of freedom of F: in words, and their references.
CORRECTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "greenhouse-geisser": ("Greenhouse and Geisser's epsilon", ("greenhouse1959",)),
    "huynh-feldt": (
        "Huynh and Feldt's epsilon in the form of Lecoutre",
        ("huynh1976", "lecoutre1991"),
    ),
}
# Multivariate tests: in words, and what they are of the eigenvalues of hypothesis in error.
_CRITERIA: dict[str, tuple[str, str]] = {
    "pillai": ("Pillai's trace", "sum of r / (1 + r) over the eigenvalues r of the hypothesis in"),
    "wilks": (
        "Wilks's lambda",
        "product of 1 / (1 + r) over the eigenvalues r of the hypothesis in",
    ),
    "hotelling-lawley": (
        "the trace of Hotelling and Lawley",
        "sum of the eigenvalues of the hypothesis in",
    ),
    "roy": ("Roy's largest root", "largest eigenvalue of the hypothesis in"),
}
# Maps of a multivariate test; the criterion has the name of the test.
_MULTIVARIATE_STATS = {"criterion": None, "f": "F", "z": "z", "p": "p", "dof": "dof"}
# Maps of a contrast that one on the error of the model does not have.
_OWN_MAPS = {
    "dof": "Degrees of freedom of the error{corrected}; 0 without a statistic",
    "dofNumerator": "Degrees of freedom of the numerator{corrected}; 0 without a statistic",
    "epsilon": "Greenhouse and Geisser's epsilon: 1 where the contrast maps of a participant vary "
    "alike and independently, at least 1 over their number",
}
_T_MAPS = {
    "variance": "Variance of the effect, by the contrast's own error",
    "cohensD": "Cohen's d_z: effect over the standard deviation that the model between "
    "participants leaves of the contrast maps",
}
_F_MAPS = {
    "effect": "Square root of the mean square that the contrast explains of its contrast maps",
    "variance": "Mean square of the contrast's own error; F is effect squared over it",
    "rSquare": "Partial eta squared: sum of squares of the contrast over its sum with that of its "
    "own error",
}
_CORRECTED_MAPS = {
    "z": "z with the same upper tail as the statistic at its degrees of freedom{corrected}",
    "p": "Uncorrected p value, at degrees of freedom{corrected}",
}


def is_corrected(contrast: Contrast) -> bool:
    """Tell whether sphericity is a question of a contrast: of an F with several contrast maps."""
    error = contrast.error
    return error is not None and contrast.test == "F" and error.n_directions > 1


def entries_of_error(contrast: Contrast, sphericity: str | None) -> dict[str, Any]:
    """Return what the sidecars of a contrast say of its own error.

    Parameters
    ----------
    contrast : Contrast
        With an error of its own.
    sphericity : str or None
        Correction of the degrees of freedom of F; None where it is not known.

    Returns
    -------
    dict
        ErrorTerm, and Sphericity of an F of several contrast maps a participant.
    """
    error = contrast.error
    if error is None:
        return {}
    term = {
        "Stratum": STRATA[error.stratum],
        "ContrastMapsPerParticipant": error.n_directions,
        "NumberOfParticipants": error.n_participants,
    }
    if error.left_out:
        term["LeftOut"] = list(error.left_out)
    entries: dict[str, Any] = {"ErrorTerm": term}
    if sphericity is not None and is_corrected(contrast):
        entries["Sphericity"] = sphericity
    return entries


def map_description(stat: str, contrast: Contrast, sphericity: str | None) -> str | None:
    """Say what a map of a contrast on its own error holds; None where it is as of any contrast.

    Parameters
    ----------
    stat : str
        What the map holds, as its name has it.
    contrast : Contrast
    sphericity : str or None
        As for `entries_of_error`.

    Examples
    --------
    >>> import numpy as np
    >>> from nipype_group.design.error_terms import DescribedError
    >>> error = DescribedError("within", (2, 20), 2, 11)
    >>> contrast = Contrast("A", "F", np.eye(2), "a; b", error=error)
    >>> map_description("p", contrast, "greenhouse-geisser")
    "Uncorrected p value, at degrees of freedom corrected by Greenhouse and Geisser's epsilon"
    """
    known = _OWN_MAPS | (_F_MAPS if contrast.test == "F" else _T_MAPS)
    corrected = ""
    if is_corrected(contrast) and sphericity in CORRECTIONS:
        known |= _CORRECTED_MAPS
        corrected = f" corrected by {CORRECTIONS[sphericity][0]}"
    return known[stat].format(corrected=corrected) if stat in known else None


def sphericity_of(about: Mapping[str, Any]) -> str | None:
    """Return the correction that a sidecar's settings name, None where they name none."""
    return about.get("Parameters", {}).get("sphericity")


def multivariate_words(test: str) -> str:
    """Return the name of a multivariate test in words."""
    return _CRITERIA[test][0]


def multivariate_name(label: str, test: str, name: str) -> str:
    """Return the entities of a map of a multivariate test.

    Parameters
    ----------
    label : str
        Label of the contrast.
    test : str
    name : {"criterion", "f", "z", "p", "dof"}

    Examples
    --------
    >>> multivariate_name("A", "hotelling-lawley", "criterion"), multivariate_name("A", "roy", "f")
    ('contrast-A_stat-hotellingLawley', 'contrast-A_stat-F_desc-roy')
    """
    stat = _MULTIVARIATE_STATS[name]
    of_test = contrast_label(test)
    return f"contrast-{label}_stat-" + (of_test if stat is None else f"{stat}_desc-{of_test}")


def multivariate_of(entities: Mapping[str, str]) -> str:
    """Return the multivariate test that a map with these entities is of.

    Examples
    --------
    >>> multivariate_of({"contrast": "A", "stat": "F", "desc": "hotellingLawley"})
    'hotelling-lawley'
    """
    label = entities.get("desc", entities["stat"])
    return next(test for test in MULTIVARIATE if contrast_label(test) == label)


def multivariate_entries(error: DescribedError, test: str) -> dict[str, Any]:
    """Return what sidecars and the plan say of a multivariate test of a contrast.

    Returns
    -------
    dict
        MultivariateTest, DegreesOfFreedom of its F with all maps, IsExact.
    """
    return {
        "MultivariateTest": test,
        "DegreesOfFreedom": [float(f"{v:.10g}") for v in error.multivariate_dof(test)],
        "IsExact": is_exact(error.n_directions, error.n_hypotheses, test),
    }


def multivariate_description(stat: str, error: DescribedError, test: str) -> str:
    """Say what a map of a multivariate test holds; `stat` is as its name has it.

    Examples
    --------
    >>> error = DescribedError("within", (4, 20), 2, 13)
    >>> multivariate_description("F", error, "wilks")
    "F of Wilks's lambda, exact for normal data; 0 without a statistic"
    """
    words, criterion = _CRITERIA[test]
    kind = ", exact for normal data"
    if not is_exact(error.n_directions, error.n_hypotheses, test):
        kind = ", an upper bound" if test == "roy" else ", an approximation"
    without = 1 if test == "wilks" else 0
    known = {
        "F": f"F of {words}{kind}; 0 without a statistic",
        "z": f"z with the same upper tail as the F of {words}{kind}",
        "p": f"Uncorrected p value of the F of {words}{kind.replace('an upper', 'and p a lower')}",
        "dof": f"Degrees of freedom of the denominator of the F of {words}; 0 without a statistic",
    }
    text = f"{words[0].upper()}{words[1:]}: {criterion} the error; {without} without a statistic"
    return known.get(stat, text)
