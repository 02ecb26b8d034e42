"""Sub-bricks of AFNI: the volumes of a data set, with labels and what is marked as statistic."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import unescape

from nibabel.brikhead import AFNIHeaderError, AFNIImageError
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from nipype_group.images.grid import Grid
from nipype_group.images.opening import open_image
from nipype_group.images.space import MapError
from nipype_group.whole_files import AnyPath

_NIFTI_EXTENSION = 4
# What reading a damaged header raises.
_UNREADABLE = (
    OSError,
    EOFError,
    AFNIHeaderError,
    AFNIImageError,
    ImageFileError,
    HeaderDataError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
)
# AFNI's codes of the distributions that have a z here, and how many parameters each has.
_CODES = {3: ("t", 1), 4: ("F", 2), 5: ("z", 0)}
_SYMBOLS = {"Ttest": ("t", 1), "Ftest": ("F", 2), "Zscore": ("z", 0)}
_ATTRIBUTE = re.compile(
    r'atr_name="(BRICK_LABS|BRICK_STATAUX|BRICK_STATSYM)"[^>]*>(.*?)</AFNI_atr>', re.DOTALL
)
_ESCAPED = {"&quot;": '"', "&apos;": "'"}
# How 3dDeconvolve and 3dREMLfit call the t of an effect.
_T_LABEL = re.compile(r"[_:# ](?:Tstat|[tT])$")
# An image, and which of its volumes.
_PART = re.compile(r"(.+\.(?:nii|nii\.gz|head|brik|brik\.gz))\[([^\[\]]+)\]", re.IGNORECASE)
_SHOWN = 12


@dataclass(frozen=True)
class SubBricks:
    """Volumes of an image as AFNI tells them.

    Parameters
    ----------
    labels : tuple of str
        Of every volume; ``#3`` where there is none.
    marked : dict of int to (str, tuple)
        Statistic, t, F or z, and degrees of freedom of the volumes that are one.
    """

    labels: tuple[str, ...]
    marked: dict[int, tuple[str, tuple[float, ...]]]

    def is_t(self, index: int) -> bool:
        """Whether a volume is a t, by its mark or else by its label."""
        if index in self.marked:
            return self.marked[index][0] == "t"
        return _T_LABEL.search(self.labels[index]) is not None


def split_part(text: str) -> tuple[str, str | None]:
    """Return an image and which of its volumes a text names, as AFNI writes it.

    Examples
    --------
    >>> split_part("sub-01/stats.nii.gz[faces#0_Coef]"), split_part("sub-01/stats.nii.gz[3]")
    (('sub-01/stats.nii.gz', 'faces#0_Coef'), ('sub-01/stats.nii.gz', '3'))
    >>> split_part("con_[0-9].nii")
    ('con_[0-9].nii', None)
    """
    match = _PART.fullmatch(text)
    return (text, None) if match is None else (match[1], match[2])


def read_sub_bricks(path: AnyPath) -> SubBricks:
    """Read labels and marks of the volumes of an image.

    Parameters
    ----------
    path : path
        .HEAD or .BRIK, or NIfTI, in whose header AFNI writes them as an extension. That is read as
        text; nothing in it is run or followed.

    Raises
    ------
    MapError
        Where the header or the data cannot be read.
    """
    path = Path(path)
    image = open_image(path, kind=Grid)
    try:
        info = getattr(image.header, "info", None) or afni_header(path)
        n_volumes = image.n_maps
        labels = str(info.get("BRICK_LABS", "")).split("~")[:n_volumes]
        labels += [f"#{i}" for i in range(len(labels), n_volumes)]
        return SubBricks(tuple(labels), _marked(info, n_volumes))
    except _UNREADABLE as error:
        raise MapError(path, f"cannot be read as an AFNI data set ({error})") from error


def find_sub_brick(path: AnyPath, which: str) -> tuple[int, bool]:
    """Return the number of the volume that is asked for, and whether it is a t.

    Parameters
    ----------
    path : path
    which : str
        Its label, or its number from 0 on.

    Raises
    ------
    MapError
        Where there is none, or several have the label; names those there are.
    """
    bricks = read_sub_bricks(path)
    found = [i for i, label in enumerate(bricks.labels) if label == which]
    if not found and which.isdecimal() and int(which) < len(bricks.labels):
        found = [int(which)]
    if len(found) != 1:
        more = " ..." if len(bricks.labels) > _SHOWN else ""
        listed = ", ".join(f"{i} {label}" for i, label in enumerate(bricks.labels[:_SHOWN]))
        many = f"{len(found)} volumes" if found else "no volume"
        raise MapError(path, f"has {many} {which}: there are {listed}{more}")
    return found[0], bricks.is_t(found[0])


def afni_header(path: Path) -> dict[str, Any]:
    """Return labels and statistics that AFNI adds to a NIfTI header; empty where it did not.

    Parameters
    ----------
    path : Path
        Any file.

    Returns
    -------
    dict
        BRICK_LABS, BRICK_STATAUX and BRICK_STATSYM, as in a .HEAD.
    """
    try:
        extensions = getattr(
            open_image(path, positioned=False, kind=Grid).header, "extensions", ()
        )
    except MapError:
        return {}
    info: dict[str, Any] = {}
    for extension in extensions:
        if extension.get_code() == _NIFTI_EXTENSION:
            content = extension.get_content()
            text = content.decode("latin-1") if isinstance(content, bytes) else str(content)
            for name, value in _ATTRIBUTE.findall(text):
                info[name] = unescape(value.strip().strip('"'), _ESCAPED)
    if "BRICK_STATAUX" in info:
        info["BRICK_STATAUX"] = [float(v) for v in info["BRICK_STATAUX"].split()]
    return info


def _marked(info, n_volumes):
    """Return statistic type and dof by volume, from the codes or else the symbols of a header."""
    found, values = {}, list(_as_list(info.get("BRICK_STATAUX")))
    while len(values) >= 3:
        volume, code, n = (int(v) for v in values[:3])
        parameters, values = values[3 : 3 + n], values[3 + n :]
        stat_type, expected = _CODES.get(code, (None, None))
        if stat_type and volume < n_volumes:
            found[volume] = (stat_type, _dof(parameters, expected))
    if found:
        return found
    for volume, text in enumerate(str(info.get("BRICK_STATSYM", "")).split(";")[:n_volumes]):
        match = re.fullmatch(r"(\w+)\((.*)\)", text.strip())
        if match and match[1] in _SYMBOLS:
            stat_type, expected = _SYMBOLS[match[1]]
            parameters = [v for v in match[2].split(",") if v.strip()]
            found[volume] = (stat_type, _dof(parameters, expected))
    return found


def _dof(parameters, expected):
    """Return degrees of freedom; empty where they are not as many as expected or not above 0."""
    dof = tuple(float(v) for v in parameters)
    return dof if len(dof) == expected and all(v > 0 for v in dof) else ()


def _as_list(value):
    if value is None:
        return []
    return value if isinstance(value, (list, tuple)) else [value]
