"""Results of AFNI: sub-bricks of a data set that its header marks as statistics."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import unescape

from nibabel.brikhead import AFNIHeaderError, AFNIImageError
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from nipype_group.images import Grid, MapError, open_image
from nipype_group.peers.found import FoundResults, FoundStatistic, own_image
from nipype_group.tsv import repeated

LOOKED_FOR = (
    "AFNI: NAME+tlrc.HEAD (or +orig) with sub-bricks marked as t, F or z; a NIfTI file of AFNI is "
    "given itself"
)
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
_STATISTIC_LABEL = re.compile(r"[_:# ]+(?:Tstat|Zscr|Fstat|[tTZF])$")

_EFFECT_LABEL = re.compile(r"[_:# ]+(?:mean|Coef|b)$")


def find_afni(folder: Path, start: str = "") -> FoundResults | None:
    """Find statistics in AFNI data sets of a folder; None where there are none.

    Parameters
    ----------
    folder : Path
        Where they are; only .HEAD files are opened.
    start : str
        How names begin, or a NIfTI file of AFNI in full.
    """
    statistics, heads = [], 0
    named = folder / start
    paths = [named] if start and named.is_file() else sorted(folder.glob("*.HEAD"))
    for path in paths:
        own_image(path, folder)
        if path.name.startswith(start) and (path.suffix == ".HEAD" or afni_header(path)):
            found = afni_statistics(path)
            heads += bool(found)
            statistics += [(path.name.partition("+")[0], s) for s in found]
    if not statistics:
        return None
    if heads > 1:
        statistics = [(n, replace(s, name=f"{n}: {s.name}")) for n, s in statistics]
    return FoundResults(
        package="AFNI",
        statistics=tuple(s for _, s in statistics),
        notes=("The label of a sub-brick says which side is positive: A-B where A is larger.",),
    )


def afni_statistics(path: Path) -> list[FoundStatistic]:
    """Return the statistics of one AFNI data set, with the effect of each where it is there.

    Parameters
    ----------
    path : Path
        Header, ending in .HEAD, or a NIfTI file of AFNI.

    Returns
    -------
    list of FoundStatistic

    Raises
    ------
    MapError
        Where the header or the data cannot be read.
    """
    image = open_image(path, kind=Grid)
    try:
        info = image.header.info if path.suffix == ".HEAD" else afni_header(path)
        n_volumes = image.n_maps
        labels = str(info.get("BRICK_LABS", "")).split("~")[:n_volumes]
        labels += [f"#{i}" for i in range(len(labels), n_volumes)]
        marked = _marked(info, n_volumes)
    except _UNREADABLE as error:
        raise MapError(path, f"cannot be read as an AFNI data set ({error})") from error
    found = []
    for volume, (stat_type, dof) in sorted(marked.items()):
        name = _STATISTIC_LABEL.sub("", labels[volume]) or labels[volume]
        effect = _effect_volume(labels, marked, name)
        found.append(
            FoundStatistic(
                name=name if stat_type != "F" else labels[volume],
                package="AFNI",
                stat_type=stat_type,
                stat_file=path,
                volume=volume if n_volumes > 1 else None,
                dof=dof,
                effect_file=path if effect is not None and stat_type != "F" else None,
                effect_volume=effect if stat_type != "F" else None,
            )
        )
    shared = set(repeated(s.name for s in found))
    return [replace(s, name=labels[s.volume or 0]) if s.name in shared else s for s in found]


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


def _effect_volume(labels, marked, name):
    """Return the sub-brick of the effect: that of the same name which is no statistic."""
    for other, label in enumerate(labels):
        if other not in marked and _EFFECT_LABEL.sub("", label) == name:
            return other
    return None
