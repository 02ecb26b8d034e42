"""One map that was given alone: what its header, its name and the caller say it is."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nipype_group.choices import MAP_TYPES, P_SIDES
from nipype_group.images import IMAGE_SUFFIXES, Grid, MapError, open_image
from nipype_group.peers import afni as peer_afni
from nipype_group.peers import spm as peer_spm
from nipype_group.peers.dof import N_DOF, numbers_text
from nipype_group.peers.found import CORRECTED_COLUMNS, FoundStatistic

# What a map may hold, and which statistic follows from it.
_INTENTS = {
    "t test": "t",
    "f test": "F",
    "z score": "z",
    "correlation": "r",
    "p value": "p",
    "log10 p value": "logp",
}
_NO_STATISTIC = ("label", "neuronames", "estimate")
# NIfTI's codes of distributions, of which only the intents above have a z here.
_DISTRIBUTIONS = range(2, 25)
_P_TYPES = ("p", "1-p", "logp")
# randomise -x and --uncorrp: 1 - p that is uncorrected.
_FSL_P = re.compile(r"_(?:vox|tfce|clustere|clusterm)_p_[tfz]stat\d")
# Words of p that is corrected for the number of tests: with p they say so alone, and as such do of
# what is said to be p.
_METHODS = "fwer?|fdr|bonf(?:erroni)?|holm|hochberg|sidak"
_ADJUSTED = "adj(?:usted)?|corr(?:ected)?"
_CORRECTED = re.compile(
    rf"""(?<![a-z])(?:
    (?:log_?|l)?p_?(?:{_METHODS}|{_ADJUSTED}) | [cmv]{{0,2}}(?:{_METHODS})_?p |
    (?:{_ADJUSTED})_?p | (?:{_METHODS})_?(?:{_ADJUSTED})(?:_?p)? | q_?val(?:ue)?s? | logp_max
    )(?:ara)?p?(?![a-z])""",
    re.VERBOSE,
)
_CORRECTED_P = re.compile(rf"(?<![a-z])(?:{_METHODS}|{_ADJUSTED}|q(?!\d))(?![a-z])")
# What names of single files say; zfstat has one side only and is none of them.
_NAMES = (
    (r"stat-(?P<stat>[tFz])_statmap", None),
    (r"spmT_\d+", "t"),
    (r"spmF_\d+", "F"),
    (r"(?:.*[_-])?(?:tstat\d*|tmap|t_map)(?:_c\d+)?", "t"),
    (r"(?:.*[_-])?(?:fstat\d*|fmap|f_map)(?:_c\d+)?", "F"),
    (r"(?:.*[_-])?(?:zstat\d*|zmap|z_map|z_score|zscore)", "z"),
)


def statistic_of_file(
    path: str | os.PathLike[str],
    stat_type: str | None = None,
    dof: float | Sequence[float | Sequence[float]] | None = None,
    *,
    p_sides: str | None = None,
    group_sizes: int | Sequence[int] | None = None,
) -> FoundStatistic:
    """Take one image for a statistic, by what its header, its name and the caller say.

    Parameters
    ----------
    path : path
        NIfTI, Analyze or AFNI (.HEAD, with one statistic) image of one volume.
    stat_type : {"t", "F", "z", "r", "d", "p", "1-p", "logp"}, optional
        Needed where neither the header (NIfTI intent, SPM's description) nor the name says it.
        r is a correlation, d is Cohen's, p is uncorrected, logp is -log10 p.
    dof : float, sequence of float, or sequence of one such sequence, optional
        One number for t and r, numerator and denominator for F; needed where the header does not
        say. Of d, where it is not the number of maps less that of groups.
    p_sides : {"one", "two"}, optional
        Sides that p looks at; needed with p.
    group_sizes : int or sequence of int, optional
        With d: number of maps, or of those of both groups.

    Returns
    -------
    FoundStatistic
        A statistic of t, F or z.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where the type, dof, sides or group sizes are unknown, what is given contradicts the
        header, or p is corrected.

    Examples
    --------
    >>> import tempfile
    >>> import nibabel as nib
    >>> from nipype_group.peers.maps import read_statistic
    >>> path = Path(tempfile.mkdtemp(), "tstat1.nii.gz")
    >>> t = np.linspace(-2, 7.25473, 8, dtype=np.float32).reshape(2, 2, 2)
    >>> image = nib.Nifti1Image(t, np.eye(4))
    >>> nib.save(image, path)
    >>> found = statistic_of_file(path, dof=29)
    >>> found.stat_type, found.dof, float(read_statistic(found).z.max().round(4))
    ('t', (29.0,), 5.4354)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    given = _single_dof(path, dof)
    if stat_type not in (None, *MAP_TYPES):
        raise ValueError(f"the type of a map is one of {', '.join(MAP_TYPES)}, got {stat_type!r}")
    found = _headed(path)
    if stat_type is not None and found.stat_type not in (None, stat_type):
        raise ValueError(f"{path}: its header says {found.stat_type}, you say {stat_type}")
    known = stat_type or found.stat_type or _type_by_name(path)
    if _FSL_P.search(path.name) and known != "1-p":
        raise ValueError(
            f"{path}: holds 1-p by its name, as FSL's uncorrected p do, "
            f"{'you say' if stat_type else 'its header says'} {known}"
        )
    if known in _P_TYPES or not (stat_type or found.stat_type):
        _check_uncorrected(path, known)
    if known is None:
        raise ValueError(
            f"{path}: neither its header nor its name says what it holds; give its type "
            f"({', '.join(MAP_TYPES)})"
        )
    if given and found.dof and not np.allclose(given, found.dof):
        raise ValueError(f"{path}: its header says {found.dof} dof, you say {given}")
    sizes = _sizes(path, known, group_sizes)
    degrees: tuple[float, ...] = (
        given or found.dof or ((float(sum(sizes) - len(sizes)),) if sizes else ())
    )
    needed = N_DOF[MAP_TYPES[known] if known == "d" else known]
    if degrees and not needed:
        raise ValueError(
            f"{path}: {known} takes no degrees of freedom, got {numbers_text(degrees)}; "
            "leave them out"
        )
    if len(degrees) != needed or not all(v > 0 for v in degrees):
        wanted = {1: "one number", 2: "two: numerator, denominator"}[needed]
        raise ValueError(
            f"{path}: {known} needs degrees of freedom ({wanted}), got {degrees or 'none'}"
        )
    if sizes and degrees[0] > sum(sizes) - len(sizes):
        raise ValueError(
            f"{path}: {sum(sizes)} maps leave at most {sum(sizes) - len(sizes)} degrees of "
            f"freedom, you say {numbers_text(degrees)}"
        )
    return replace(
        found,
        stat_type=MAP_TYPES[known],
        dof=degrees,
        converted_from=known if MAP_TYPES[known] != known else "",
        p_sides=_sides(path, known, p_sides),
        group_sizes=sizes,
    )


def _check_uncorrected(path, known):
    """Refuse what is corrected p by its name: it has no z."""
    # A capital after a small letter begins a word, as in logpBonf.
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z0-9]+", "_", path.name).lower()
    if not _CORRECTED.search(name) and not (known in _P_TYPES and _CORRECTED_P.search(name)):
        return
    # FSL: x_tfce_corrp_tstat1 of x_tstat1; PALM: x_tfce_tstat_fwep_c1 of x_vox_tstat_c1.
    kinds = "|".join(CORRECTED_COLUMNS)
    names = (
        re.sub(rf"_(?:{kinds})_corrp_", "_", path.name),
        re.sub(r"_[mc]{0,2}fwep", "", re.sub(rf"_(?:{kinds})_", "_vox_", path.name)),
    )
    beside = [n for n in names if n != path.name and path.with_name(n).is_file()]
    which = f", {beside[0]} beside it" if beside else ""
    raise ValueError(
        f"{path}: is corrected p by its name, which has no z; give the statistic that it is "
        f"of{which}, and this as its corrected p"
    )


def check_whole_by_name(path: str | os.PathLike[str]) -> None:
    """Refuse what is thresholded by its name, as FEAT's thresh_zstat1.

    Raises
    ------
    ValueError
        Where the name says so.
    """
    name = re.sub(r"(?:un|non?|not)[-_]?thresh", "", Path(path).name.lower())
    if "thresh" in name:
        raise ValueError(
            f"{path}: looks thresholded by its name; FDR, FWE and RFT need the whole map: give "
            "that, or, if it is whole, a mask of the voxels searched"
        )


def corrected_maps(
    files: Sequence[str | os.PathLike[str]],
    kinds: Sequence[str] | None = None,
    scale: str | None = None,
) -> dict[str, tuple[Path, str]]:
    """Take images for corrected p of a statistic.

    Parameters
    ----------
    files : sequence of path
        Images on the grid of the statistic.
    kinds : sequence of {"vox", "tfce", "clustere", "clusterm"}, optional
        What each is corrected for; default: what its name says, as FSL and PALM have it.
    scale : {"p", "1-p", "logp"}, optional
        What they hold; default: 1-p where the name has ``corrp``, as FSL's, and nothing else then.

    Returns
    -------
    dict
        As `FoundStatistic.corrected`.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where nothing says what a file is corrected for or what it holds, its name says otherwise,
        or two are alike.
    """
    found: dict[str, tuple[Path, str]] = {}
    for i, file in enumerate(map(Path, files)):
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file")
        labelled = re.search(rf"(?:^|_)({'|'.join(CORRECTED_COLUMNS)})_", file.name)
        kind = kinds[i] if kinds else labelled and labelled[1]
        if kind not in CORRECTED_COLUMNS:
            raise ValueError(
                f"{file}: nothing says what its p are corrected for; give it with its kind, one "
                f"of {', '.join(CORRECTED_COLUMNS)}"
            )
        named = "1-p" if "corrp" in file.name else None
        if named and scale not in (None, named):
            raise ValueError(
                f"{file}: holds 1-p by its name, as FSL's corrp does, you say {scale}; leave the "
                "scale of corrected p out"
            )
        own = scale or named
        if own not in _P_TYPES:
            raise ValueError(
                f"{file}: nothing says whether it holds p, 1-p or -log10 p; give the scale of "
                f"corrected p ({', '.join(_P_TYPES)})"
            )
        column = CORRECTED_COLUMNS[kind]
        if column in found:
            raise ValueError(f"{file}: is of the kind {kind}, and so is {found[column][0]}")
        found[column] = (file, "-log10 p" if own == "logp" else own)
    return found


def _sides(path, known, p_sides):
    """Return the sides of p, empty where it is none."""
    if p_sides not in (None, *P_SIDES):
        raise ValueError(f"sides of p are one or two, got {p_sides!r}")
    if known in _P_TYPES and p_sides is None:
        raise ValueError(f"{path}: {known} is of one side or of two; give the sides of p")
    return p_sides if known in _P_TYPES else ""


def _sizes(path, known, group_sizes):
    """Return the group sizes of d, empty where it is none."""
    if known != "d":
        if group_sizes is not None:
            raise ValueError(f"{path}: {known} takes no group sizes, d does")
        return ()
    sizes = () if group_sizes is None else tuple(int(n) for n in np.atleast_1d(group_sizes))
    if len(sizes) not in (1, 2) or not all(n > 0 for n in sizes) or sum(sizes) <= len(sizes):
        raise ValueError(
            f"{path}: d needs group sizes: the number of maps, or of those of both groups, got "
            f"{', '.join(map(str, sizes)) or 'none'}"
        )
    return sizes


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
    header = open_image(path, positioned=False, kind=Grid).header
    stat_type, dof, title = peer_spm.spm_description(path)
    if stat_type is None and hasattr(header, "get_intent"):
        intent, parameters, _ = header.get_intent()
        stat_type = _INTENTS.get(intent)
        other = stat_type is None and header.get_intent("code")[0] in _DISTRIBUTIONS
        if other or intent in _NO_STATISTIC:
            raise MapError(path, f"its intent is {intent!r}, which is no {', '.join(MAP_TYPES)}")
        # FSL sets the intent and leaves the parameters 0.
        dof = tuple(float(v) for v in parameters) if stat_type in ("t", "F", "r") else ()
        if stat_type == "r" and peer_afni.afni_header(path):
            # AFNI counts samples and regressors, where the intent has degrees of freedom.
            dof = ()
        dof = dof if all(v > 0 for v in dof) else ()
    package = "SPM" if title or name.startswith(("spmT_", "spmF_")) else "unknown"
    return FoundStatistic(title or name, package, stat_type, path, dof=dof)


def _type_by_name(path):
    if _FSL_P.search(path.name):
        return "1-p"
    name = path.name
    for suffix in IMAGE_SUFFIXES:
        name = name.removesuffix(suffix)
    for pattern, stat_type in _NAMES:
        match = re.search(pattern, name) if stat_type is None else re.fullmatch(pattern, name)
        if match:
            return stat_type or match["stat"]
    return None
