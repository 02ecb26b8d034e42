"""Results of SPM: the headers of its statistic images, and SPM.mat where it can be read."""

import os
import re
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from nipype_group.design.participants.spm import UNREADABLE_MAT
from nipype_group.images import Grid, MapError, open_image
from nipype_group.peers.dof import numbers_text
from nipype_group.peers.found import FoundResults, FoundStatistic, images_in
from nipype_group.tsv import repeated
from nipype_group.whole_files import inside

LOOKED_FOR = "SPM: spmT_0001 or spmF_0001"
# Headers have one digit after the point.
_HEADER_ROUNDS = 0.051
_DESCRIPTION = re.compile(
    r"SPM\{(?P<stat>[TF])_\[(?P<first>[\d.]+)(?:,\s*(?P<second>[\d.]+))?\]\}"
    r"(?:\s*-\s*(?:contrast\s*\d+\s*:\s*)?(?P<name>.*\S))?"
)


def spm_description(
    path: str | os.PathLike[str],
) -> tuple[str | None, tuple[float, ...], str | None]:
    """Return statistic type, degrees of freedom and contrast name of an SPM header.

    Parameters
    ----------
    path : path
        Image, whose description reads as ``SPM{T_[29.0]} - contrast 1: name``.

    Returns
    -------
    tuple
        (stat_type, dof, name), or (None, (), None) where it does not read so.
    """
    header = open_image(path, positioned=False, kind=Grid).header
    text = header["descrip"].item() if "descrip" in header else b""
    match = _DESCRIPTION.match(text.decode("latin-1").rstrip("\0 "))
    if match is None:
        return None, (), None
    dof = tuple(float(v) for v in (match["first"], match["second"]) if v)
    if len(dof) != {"T": 1, "F": 2}[match["stat"]]:
        return None, (), None
    return match["stat"].replace("T", "t"), dof, match["name"]


def find_spm(folder: Path, start: str = "") -> FoundResults | None:
    """Find the results of SPM in a folder; None where there are none."""
    images = images_in(folder, folder)
    stems = [s for s in images if re.fullmatch(r"spm[TF]_\d{4}", s) and s.startswith(start)]
    if not stems:
        return None
    spm, notes = _read_spm_mat(folder / "SPM.mat")
    statistics, contrasts = [], {}
    for stem in sorted(stems, key=lambda s: s[-4:]):
        found, rows = _statistic(images, stem, spm)
        statistics.append(found)
        if rows is not None:
            contrasts[found.name] = rows
        if not found.dof:
            notes.append(
                f"The header of {stem} states no degrees of freedom: they are those given."
            )
    if "X" in spm:
        names = spm["columns"]
        if len(names) != spm["X"].shape[1]:
            names = tuple(f"column {i + 1}" for i in range(spm["X"].shape[1]))
    return FoundResults(
        package="SPM",
        statistics=tuple(statistics),
        design=(names, spm["X"]) if "X" in spm else None,
        contrasts=contrasts or None,
        n_maps=len(spm["X"]) if "X" in spm else None,
        notes=tuple(notes),
    )


def _statistic(images, stem, spm):
    """Return a `FoundStatistic` and its weights; SPM.mat goes before the header, which rounds."""
    number, stat_type = int(stem[-4:]), "t" if stem.startswith("spmT") else "F"
    stated, dof, name = spm_description(images[stem])
    if stated not in (None, stat_type):
        raise MapError(images[stem], f"the name says {stat_type}, its header {stated}")
    contrast = spm.get("contrasts", {}).get(number, {})
    name = contrast.get("name") or name or f"contrast {number}"
    if "erdf" in spm and (stat_type == "t" or "eidf" in contrast):
        headed = dof
        dof = (spm["erdf"],) if stat_type == "t" else (contrast["eidf"], spm["erdf"])
        if headed and np.abs(np.subtract(headed, dof)).max() > _HEADER_ROUNDS:
            raise MapError(
                images[stem],
                f"its header says {numbers_text(headed)} degrees of freedom, SPM.mat "
                f"{numbers_text(dof)}: they are of two estimations; make this contrast anew, or "
                "move the SPM.mat that is not its own away",
            )
    smoothness = {k: spm[k] for k in ("fwhm_voxels", "resels", "voxels") if k in spm}
    if "fwhm_voxels" in spm:
        sizes = open_image(images[stem], kind=Grid).space.voxel_sizes_mm
        smoothness["fwhm_mm"] = tuple(float(v) for v in sizes * spm["fwhm_voxels"])
    found = FoundStatistic(
        name=name,
        package="SPM",
        stat_type=stat_type,
        stat_file=images[stem],
        dof=dof,
        effect_file=images.get(f"con_{number:04d}") if stat_type == "t" else None,
        mask_file=images.get("mask"),
        smoothness=smoothness,
    )
    return found, contrast.get("weights")


def _read_spm_mat(path):
    """Return what SPM.mat says, and notes on what it could not say.

    Only arrays, text and structures of MATLAB files up to version 7 are read; nothing is run.
    """
    if not inside(path, path.parent).is_file():
        return {}, ["There is no SPM.mat: the design and the smoothness are unknown."]
    try:
        spm = loadmat(path, squeeze_me=True, struct_as_record=False, variable_names=["SPM"])["SPM"]
        return _model_of(spm), []
    except NotImplementedError:
        return {}, ["SPM.mat is of MATLAB version 7.3, which is not read; headers are used alone."]
    except UNREADABLE_MAT as error:
        return {}, [f"SPM.mat cannot be read ({error}); headers are used alone."]


def _model_of(spm):
    """Return design, degrees of freedom, smoothness and contrasts of the structure SPM."""
    found = {}
    matrix, columns = _get(spm, "xX", "X"), _get(spm, "xX", "name")
    if matrix is not None:
        # Squeezing takes the second axis of a one-column design.
        found["X"] = np.asarray(matrix, dtype=float).reshape(len(matrix), -1)
        found["columns"] = (
            tuple(str(v) for v in np.atleast_1d(columns)) if columns is not None else ()
        )
    for key, where in (("erdf", ("xX", "erdf")), ("voxels", ("xVol", "S"))):
        value = _get(spm, *where)
        if np.size(value) == 1 and value is not None:
            found[key] = round(float(value), 6)
    for key, where, size in (("fwhm_voxels", "FWHM", 3), ("resels", "R", 4)):
        value = _get(spm, "xVol", where)
        if value is not None and np.size(value) == size:
            found[key] = tuple(float(v) for v in value)
    found["contrasts"] = _contrasts(_get(spm, "xCon"))
    return found


def _contrasts(structures):
    """Return name, weights (k, p) and interest dof of each contrast, by number."""
    found = {}
    for number, one in enumerate(np.atleast_1d(structures if structures is not None else []), 1):
        found[number] = about = {}
        name, weights, eidf = _get(one, "name"), _get(one, "c"), _get(one, "eidf")
        if name is not None and np.size(name):
            about["name"] = str(name)
        if weights is not None and np.size(weights):
            # SPM's contrasts are columns; squeezing makes a number of a one-column design's.
            weights = np.atleast_1d(np.asarray(weights, dtype=float))
            about["weights"] = weights[None] if weights.ndim < 2 else weights.T
        if eidf is not None and np.size(eidf) == 1:
            about["eidf"] = round(float(eidf), 6)
    shared = set(repeated(about["name"] for about in found.values() if "name" in about))
    for number, about in found.items():
        if about.get("name") in shared:
            about["name"] += f" ({number})"
    return found


def _get(structure, *names):
    """Follow field names; None where one is absent."""
    for name in names:
        structure = getattr(structure, name, None)
    return structure
