"""Variances of SPM's contrasts: its residual variance times what the design says of a contrast."""

import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from nipype_group.design.first_level import contrast_name
from nipype_group.images import MapError
from nipype_group.whole_files import AnyPath

_RESIDUAL = re.compile(r"ResMS\.(?:nii|img)(?:\.gz)?")
_CONTRAST = re.compile(r"con_(\d+)\.(?:nii|img)(?:\.gz)?")
# What reading a damaged or foreign file of MATLAB raises.
UNREADABLE_MAT = (
    MatReadError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
    zlib.error,
)


def is_residual_variance(path: AnyPath) -> bool:
    """Tell whether an image is called as SPM's residual variance.

    Examples
    --------
    >>> is_residual_variance("sub-01/ResMS.nii"), is_residual_variance("sub-01/con_0001.nii")
    (True, False)
    """
    return _RESIDUAL.fullmatch(Path(path).name) is not None


def contrast_scale(residual_file: AnyPath, map_file: AnyPath) -> float:
    """Return what the residual variance is multiplied by to be the variance of a contrast.

    It is c'(W'X'XW)^-1 c of the whitened and filtered design, as SPM's t takes it: `xX.Bcov` and
    the weights of the contrast, of SPM.mat beside the residual variance. The file is read as
    data; nothing in it is run.

    Parameters
    ----------
    residual_file : path
        ResMS.
    map_file : path
        The contrast, called as SPM calls it: con_0001 is the first.

    Returns
    -------
    float

    Raises
    ------
    MapError
        Where SPM.mat cannot be read, or does not tell the contrast; or the map is of another.
    """
    residual_file, map_file = Path(residual_file), Path(map_file)
    match = _CONTRAST.fullmatch(map_file.name)
    if match is None:
        raise MapError(
            residual_file,
            f"is SPM's residual variance, and {map_file.name} is no con_0001 of SPM whose weights "
            "SPM.mat tells; give the map as SPM wrote it, or a map of its variance",
        )
    number = int(match[1])
    path = residual_file.with_name("SPM.mat")
    spm = _read(path)
    contrasts = np.atleast_1d(_get(spm, "xCon") if _get(spm, "xCon") is not None else [])
    if not 1 <= number <= len(contrasts):
        raise MapError(path, f"tells {len(contrasts)} contrasts, and {map_file.name} is another")
    own = contrasts[number - 1]
    _check_name(path, own, map_file)
    return _scale(path, _get(own, "c"), _get(spm, "xX", "Bcov"), map_file.name)


def _read(path):
    """Return the structure SPM of an SPM.mat."""
    if not path.is_file():
        raise MapError(path, "is not there, which tells the weights of the contrast")
    try:
        return loadmat(path, squeeze_me=True, struct_as_record=False, variable_names=["SPM"])[
            "SPM"
        ]
    except NotImplementedError as error:
        raise MapError(
            path, "is of MATLAB version 7.3, which is not read; save it with -v7"
        ) from error
    except UNREADABLE_MAT as error:
        raise MapError(path, f"cannot be read ({error})") from error


def _check_name(path, contrast, map_file):
    """Refuse a map whose header names another contrast than SPM.mat has under its number."""
    told, named = contrast_name(map_file), _get(contrast, "name")
    # Headers hold 80 signs, so that a long name may be cut there.
    if told and isinstance(named, str) and not _spaced(named).startswith(_spaced(told)):
        raise MapError(
            path,
            f"calls the contrast of {map_file.name} {named!r}, the map itself {told!r}: one of "
            "them was made anew; run the contrasts again",
        )


def _spaced(text):
    return " ".join(text.split())


def _scale(path, weights, covariance, name):
    """Return c'Bcov c."""
    try:
        c = np.atleast_1d(np.asarray(weights, dtype=float))
        covariance = np.atleast_2d(np.asarray(covariance, dtype=float))
    except (TypeError, ValueError) as error:
        raise MapError(
            path, f"has no weights of {name}, or no covariance of its parameters (xX.Bcov)"
        ) from error
    if c.ndim != 1 or covariance.shape != (len(c), len(c)):
        raise MapError(
            path,
            f"has weights of shape {c.shape} for {name} and a covariance of shape "
            f"{covariance.shape}: a t contrast of the estimated design is expected",
        )
    # One after the other: few numbers, and the same bits everywhere.
    scale = sum(
        float(c[i] * covariance[i, j] * c[j]) for i in range(len(c)) for j in range(len(c))
    )
    if not (np.isfinite(scale) and scale > 0):
        raise MapError(path, f"gives {name} a variance of {scale:g} times the residual variance")
    return scale


def _get(structure: Any, *names: str) -> Any:
    """Follow field names; None where one is absent."""
    for name in names:
        structure = getattr(structure, name, None)
    return structure
