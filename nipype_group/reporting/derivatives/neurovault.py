"""What NeuroVault asks of an image, ready for an upload.

Names and values are those of NeuroVault's image model (Gorgolewski et al. 2015, Front Neuroinform
9:8), which its programming interface takes. What it asks but results do not tell (the Cognitive
Atlas paradigm) is left to the person who uploads.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nipype_group.reporting.derivatives.folder import DESCRIPTIONS
from nipype_group.reporting.own_errors import CORRECTIONS
from nipype_group.stats.estimators import estimator_of

_MAP_TYPES = {"t": "T", "F": "F", "z": "Z", "p": "P", "effect": "U", "variance": "V"}
_OTHER = "Other"
# Names have a task where people did one in the scanner.
_OF_TASK = re.compile(r"(?:[A-Za-z]+-[^_]+_)*task-")
# Templates with a name of their own there; other MNI spaces are one.
_TEMPLATES = ("MNI152NLin2009cAsym",)
_LONGEST = 200


def image_fields(
    sidecar: Mapping[str, Any], stat: str, name: str, fwhm_mm: Sequence[float] | None = None
) -> dict[str, Any]:
    """Return NeuroVault's fields of an unthresholded map.

    Parameters
    ----------
    sidecar : dict
        Sidecar of the map, as `ContrastFacts` has it.
    stat : str
        What the map holds, as its name has it.
    name : str
        Name of the map's file.
    fwhm_mm : sequence of float, optional
        Smoothness of the residuals along the axes, mm.

    Returns
    -------
    dict
        Fields that are known.

    Examples
    --------
    >>> sidecar = {"Contrast": "age", "ContrastExpression": "age", "Formula": "age",
    ...            "DegreesOfFreedom": 17, "NumberOfSubjects": 20, "SpatialReference": "MNI305"}
    >>> fields = image_fields(sidecar, "t", "task-rest_contrast-age_stat-t_statmap.nii.gz")
    >>> fields["name"], fields["map_type"], fields["statistic_parameters"]
    ('age (t)', 'T', 17)
    >>> fields["modality"], fields["target_template_image"]
    ('fMRI-BOLD', 'GenericMNI')
    """
    dof = sidecar.get("DegreesOfFreedom")
    space = sidecar.get("SpatialReference") or ""
    map_type = _MAP_TYPES.get(stat, _OTHER)
    if stat == "effect" and isinstance(dof, list):
        # The effect of several rows is no weighted sum of parameters.
        map_type = _OTHER
    fields = {
        "name": f"{sidecar['Contrast']} ({stat})"[:_LONGEST],
        "description": _description(sidecar, stat, dof),
        "map_type": map_type,
        "analysis_level": "G",
        "number_of_subjects": _number_of_subjects(sidecar),
        "modality": "fMRI-BOLD" if _OF_TASK.match(name) else _OTHER,
        "contrast_definition": sidecar["ContrastExpression"][:_LONGEST],
        "statistic_parameters": dof if stat == "t" else None,
        "smoothness_fwhm": None,
        "target_template_image": None,
        "data_origin": "volume",
        "is_thresholded": False,
    }
    if fwhm_mm is not None:
        # It has one number: that of a round kernel of the same volume.
        fields["smoothness_fwhm"] = float(f"{math.prod(fwhm_mm) ** (1 / len(fwhm_mm)):.6g}")
    if space in _TEMPLATES:
        fields["target_template_image"] = space
    elif space.startswith("MNI"):
        fields["target_template_image"] = "GenericMNI"
    return {name: value for name, value in fields.items() if value is not None}


def _number_of_subjects(sidecar):
    """Return how many participants a map is of: those of its own error, where it has one."""
    if "ErrorTerm" in sidecar:
        return sidecar["ErrorTerm"]["NumberOfParticipants"]
    return sidecar.get("NumberOfSubjects")


def _description(sidecar, stat, dof):
    what = sidecar.get("Description") or DESCRIPTIONS[stat]
    if "GeneratedBy" in sidecar:
        model = f"Model and statistic: {sidecar['GeneratedBy'][0]['Name']}"
    else:
        design, words = sidecar.get("Formula") or "a design table", estimator_of(sidecar).words
        model = f"Model: {design}, {words}"
    if dof is None:
        return f"{what}. {model}."
    freedom = ", ".join(map(str, dof if isinstance(dof, list) else [dof]))
    if "ErrorTerm" in sidecar:
        model += f", tested on its own error {sidecar['ErrorTerm']['Stratum']}"
    if sidecar.get("Sphericity") in CORRECTIONS:
        freedom += f" before correction by {CORRECTIONS[sidecar['Sphericity']][0]}"
    return f"{what}. {model}; degrees of freedom {freedom}."
