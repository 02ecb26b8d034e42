"""One map that was given alone: what its header, its name and the caller say it is."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from nipype_group.images import IMAGE_SUFFIXES, MapError, open_image
from nipype_group.reporting import peer_afni, peer_spm
from nipype_group.reporting.peer_dof import N_DOF
from nipype_group.reporting.peer_found import FoundStatistic

_INTENTS = {"t test": "t", "f test": "F", "z score": "z"}
_NO_STATISTIC = (
    "p value", "log p value", "log10 p value", "label", "neuronames", "estimate", "correlation",
)  # fmt: skip
# What names of single files say; zfstat has one side only and is none of them.
_NAMES = (
    (r"stat-(?P<stat>[tFz])_statmap", None),
    (r"spmT_\d+", "t"),
    (r"spmF_\d+", "F"),
    (r"(?:.*[_-])?(?:tstat\d*|tmap|t_map)(?:_c\d+)?", "t"),
    (r"(?:.*[_-])?(?:fstat\d*|fmap|f_map)(?:_c\d+)?", "F"),
    (r"(?:.*[_-])?(?:zstat\d*|zmap|z_map|z_score|zscore)", "z"),
)


def statistic_of_file(path, stat_type=None, dof=None):
    """Take one image for a statistic, by what its header, its name and the caller say.

    Parameters
    ----------
    path : path
        NIfTI, Analyze or AFNI (.HEAD, with one statistic) image of one volume.
    stat_type : {"t", "F", "z"}, optional
        Needed where neither the header (NIfTI intent, SPM's description) nor the name says it.
    dof : float, sequence of float, or sequence of one such sequence, optional
        One number for t, numerator and denominator for F; needed where the header does not say.

    Returns
    -------
    FoundStatistic

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where the type or dof is unknown, or what is given contradicts the header.

    Examples
    --------
    >>> import tempfile
    >>> import nibabel as nib
    >>> from nipype_group.reporting.peer_maps import read_statistic
    >>> path = Path(tempfile.mkdtemp(), "tstat1.nii.gz")
    >>> image = nib.Nifti1Image(np.full((2, 2, 2), 7.25473, np.float32), np.eye(4))
    >>> nib.save(image, path)
    >>> found = statistic_of_file(path, dof=29)
    >>> found.stat_type, found.dof, float(read_statistic(found).z.max().round(4))
    ('t', (29.0,), 5.4354)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    given = _single_dof(path, dof)
    if stat_type not in (None, "t", "F", "z"):
        raise ValueError(f"the type of a statistic is t, F or z, got {stat_type!r}")
    found = _headed(path)
    if stat_type is not None and found.stat_type not in (None, stat_type):
        raise ValueError(f"{path}: its header says {found.stat_type}, you say {stat_type}")
    known = stat_type or found.stat_type or _type_by_name(path)
    if known is None:
        raise ValueError(
            f"{path}: neither its header nor its name says what statistic it holds; give its type "
            "(t, F or z)"
        )
    if given and found.dof and not np.allclose(given, found.dof):
        raise ValueError(f"{path}: its header says {found.dof} dof, you say {given}")
    dof = given or found.dof
    needed = N_DOF[known]
    if len(dof) != needed or not all(v > 0 for v in dof):
        wanted = {"t": "one number", "F": "two: numerator, denominator", "z": "none"}[known]
        raise ValueError(
            f"{path}: {known} needs degrees of freedom ({wanted}), got {dof or 'none'}"
        )
    return replace(found, stat_type=known, dof=dof)


def _single_dof(path, dof):
    """Return degrees of freedom of one statistic as a tuple, empty where none are given."""
    if isinstance(dof, (list, tuple)) and any(isinstance(v, (list, tuple)) for v in dof):
        if len(dof) > 1:
            raise ValueError(f"{path}: one map has degrees of freedom once, got them twice")
        (dof,) = dof
    return () if dof is None else tuple(float(v) for v in np.atleast_1d(dof))


def _headed(path):
    """Return what the header of one image says; its type is None where it says nothing."""
    if path.suffix == ".HEAD" or peer_afni.afni_header(path):
        statistics = peer_afni.afni_statistics(path)
        # An image of another package that AFNI wrote anew has its header and no statistic.
        if len(statistics) != 1 and (statistics or path.suffix == ".HEAD"):
            raise ValueError(
                f"{path}: holds {len(statistics)} statistics; one is expected here "
                f"({', '.join(s.name for s in statistics) or 'no sub-brick is marked as one'})"
            )
        if statistics:
            return statistics[0]
    name = path.name
    for suffix in IMAGE_SUFFIXES:
        name = name.removesuffix(suffix)
    header = open_image(path, positioned=False).header
    stat_type, dof, title = peer_spm.spm_description(path)
    if stat_type is None and hasattr(header, "get_intent"):
        intent, parameters, _ = header.get_intent()
        if intent in _NO_STATISTIC:
            raise MapError(path, f"its intent is {intent!r}, which is no t, F or z")
        stat_type = _INTENTS.get(intent)
        # FSL sets the intent and leaves the parameters 0.
        dof = tuple(float(v) for v in parameters) if stat_type in ("t", "F") else ()
        dof = dof if all(v > 0 for v in dof) else ()
    package = "SPM" if title or name.startswith(("spmT_", "spmF_")) else "unknown"
    return FoundStatistic(title or name, package, stat_type, path, dof=dof)


def _type_by_name(path):
    name = path.name
    for suffix in IMAGE_SUFFIXES:
        name = name.removesuffix(suffix)
    for pattern, stat_type in _NAMES:
        match = re.search(pattern, name) if stat_type is None else re.fullmatch(pattern, name)
        if match:
            return stat_type or match["stat"]
    return None
