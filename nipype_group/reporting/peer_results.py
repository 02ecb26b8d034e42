"""Group results that other packages left on disk: what is there, and its maps of z and p.

Files are recognised by the names and headers that their packages give them; nothing is run and
nothing is unpickled. What each package's files mean is in the documentation, page Results of other
packages.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nipype_group.images import IMAGE_SUFFIXES, Grid, MapError, open_image, read_mask
from nipype_group.reporting import (
    peer_afni,
    peer_bids,
    peer_fsl,
    peer_halfpipe,
    peer_palm,
    peer_spm,
)
from nipype_group.reporting.peer_found import FoundResults, FoundStatistic
from nipype_group.stats.distributions import f_to_z, minus_log10, t_to_z, z_to_log_p

__all__ = [
    "FoundResults",
    "FoundStatistic",
    "StatisticMaps",
    "corrected_logp",
    "find_results",
    "lacking_dof",
    "read_map_volume",
    "read_statistic",
    "statistic_of_file",
]

_FINDERS = {
    "FSL": (peer_fsl.find_fsl, peer_fsl.LOOKED_FOR),
    "SPM": (peer_spm.find_spm, peer_spm.LOOKED_FOR),
    "PALM": (peer_palm.find_palm, peer_palm.LOOKED_FOR),
    "nilearn": (peer_bids.find_bids, peer_bids.LOOKED_FOR),
    "HALFpipe": (peer_halfpipe.find_halfpipe, peer_halfpipe.LOOKED_FOR),
    "AFNI": (peer_afni.find_afni, peer_afni.LOOKED_FOR),
}
_N_DOF = {"t": 1, "F": 2, "z": 0}
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
# So many values of t, F or z never lie in [0, 1] all together.
_ENOUGH_VOXELS = 100
# Where z tells one number of degrees of freedom from another, and what rounding makes of it.
_Z_CHECKED = (1.0, 6.0)
_Z_TOLERANCE = 0.01
# The nearest that float32 comes to p 0: from 1-p, and itself.
_SMALLEST = {"1-p": 2.0**-24, "p": float(np.finfo(np.float32).tiny)}


class StatisticMaps(NamedTuple):
    """The maps of one statistic; outside the mask they are NaN.

    Parameters
    ----------
    stat, z : arrays, shape (x, y, z)
        The statistic, and the z with the same upper tail.
    p : array, shape (x, y, z)
        Uncorrected p: two-sided of t and z, of the upper tail of F.
    mask : bool array, shape (x, y, z)
        Voxels with a statistic.
    grid : Grid
        Place of the voxels.
    """

    stat: np.ndarray
    z: np.ndarray
    p: np.ndarray
    mask: np.ndarray
    grid: Grid


def find_results(path, package=None, dof=None):
    """Find the group results of FSL, SPM, PALM, nilearn, FitLins, HALFpipe or AFNI.

    Parameters
    ----------
    path : path
        Folder of results, or the start of their names in it, as ``randomise -o`` and ``palm -o``
        take it; an SPM.mat stands for its folder, a .HEAD, its .BRIK and a NIfTI file of AFNI for
        themselves.
    package : str, optional
        One of FSL, SPM, PALM, nilearn, FitLins, HALFpipe and AFNI; needed where a folder has
        results of several.
    dof : float, sequence of float, or sequence of such sequences, optional
        Degrees of freedom for the statistics whose files do not state them: one number for t, two
        for F, or both, as ``[[28], [2, 28]]``.

    Returns
    -------
    FoundResults

    Raises
    ------
    FileNotFoundError
        Where nothing has this path or start of a name.
    ValueError
        Where no result is recognised, or those of several packages are; says what was looked for.
        Where `dof` is no degrees of freedom, or contradicts the files.
    """
    given = _given_dof(dof)
    folder, start = _place(Path(path))
    names = {name.lower(): name for name in _FINDERS} | {"fitlins": "nilearn"}
    if package is not None and package.lower() not in names:
        raise ValueError(f"package is one of {', '.join((*_FINDERS, 'FitLins'))}, got {package!r}")
    wanted = [names[package.lower()]] if package is not None else list(_FINDERS)
    found = {name: _FINDERS[name][0](folder, start) for name in wanted}
    found = {name: results for name, results in found.items() if results is not None}
    if not found:
        looked = "; ".join(_FINDERS[name][1] for name in wanted)
        raise ValueError(f"{path}: no group results of another package. Looked for {looked}")
    if len(found) > 1:
        raise ValueError(
            f"{path}: results of {' and '.join(r.package for r in found.values())} lie in one "
            "place; say which with package, or name the start of their names"
        )
    (results,) = found.values()
    statistics = tuple(_with_dof(s, given) for s in results.statistics)
    _check_taken(path, given, statistics)
    notes = results.notes + _of_package_only(statistics) + _other_sides(results)
    return replace(results, statistics=statistics, notes=notes)


def _place(path):
    """Return the folder to look into, and how the names begin."""
    if path.is_dir():
        return path, ""
    if re.search(r"\.BRIK(\.gz)?$", path.name):
        path = path.with_name(path.name.partition(".BRIK")[0] + ".HEAD")
    if path.is_file():
        if path.name == "SPM.mat":
            return path.parent, ""
        if path.suffix == ".HEAD" or peer_afni.afni_header(path):
            return path.parent, path.name
        raise ValueError(
            f"{path}: is one file, and none of AFNI's; its statistic type and dof have to be given"
        )
    if path.parent.is_dir() and any(p.name.startswith(path.name) for p in path.parent.iterdir()):
        return path.parent, path.name
    raise FileNotFoundError(f"{path}: no such folder, and no file whose name starts like this")


def _given_dof(dof):
    """Return the degrees of freedom by how many they are: 1 of t, 2 of F; each at most once.

    Examples
    --------
    >>> _given_dof(28), _given_dof([2, 28]), _given_dof([[2, 28], 30])
    ({1: (28.0,)}, {2: (2.0, 28.0)}, {2: (2.0, 28.0), 1: (30.0,)})
    """
    several = isinstance(dof, (list, tuple)) and any(isinstance(v, (list, tuple)) for v in dof)
    each = dof if several else [] if dof is None else [dof]
    given = {}
    for one in each:
        one = tuple(float(v) for v in np.atleast_1d(one))
        if len(one) not in (1, 2) or not all(0 < v < np.inf for v in one):
            raise ValueError(
                "degrees of freedom are one positive number for t, two for F, got "
                f"{_numbers(one) or 'none'}"
            )
        if len(one) in given:
            kind = {1: "t", 2: "F"}[len(one)]
            raise ValueError(
                f"degrees of freedom are one number for all t and two for all F, got "
                f"{_numbers(given[len(one)])} and {_numbers(one)} for {kind}; report such "
                "contrasts one by one, as single maps"
            )
        given[len(one)] = one
    return given


def _numbers(values):
    return ", ".join(f"{v:g}" for v in values)


def _with_dof(found, given):
    """Give degrees of freedom to a statistic that has none and is of their number."""
    if not all(v > 0 for v in found.dof):
        found = replace(found, dof=())
    own = given.get(_N_DOF[found.stat_type])
    if found.dof or found.dof_file or own is None:
        return found
    stated = found.denominator_dof
    if stated is not None and not np.isclose(own[1], stated):
        raise ValueError(
            f"{found.stat_file}: you say {own[1]:g} denominator degrees of freedom, its files "
            f"state {stated:g}"
        )
    found = replace(found, dof=own)
    if found.z_file is not None and found.package != "FSL":
        _check_z(found)
    return found


def _check_taken(path, given, statistics):
    """Refuse degrees of freedom that no statistic takes."""
    # Where one still lacks its own, what is said of it is more to the point.
    if any(_lacks_dof(s) and not s.z_file for s in statistics):
        return
    for own in given.values():
        if any(s.dof == own for s in statistics):
            continue
        stated = sorted({s.dof for s in statistics if s.dof})
        raise ValueError(
            f"{path}: you say {_numbers(own)} degrees of freedom, which no statistic here takes"
            + (f"; the files state {' and '.join(map(_numbers, stated))}" if stated else "")
        )


def lacking_dof(statistics, ask="as dof {}"):
    """Say which statistics need degrees of freedom that nothing gives, in one sentence.

    Parameters
    ----------
    statistics : sequence of FoundStatistic
    ask : str
        How they are given.

    Returns
    -------
    str or None
        The files and what is to be given; None where nothing is lacking.

    Examples
    --------
    >>> lacking_dof([FoundStatistic("a", "PALM", "F", Path("a.nii"), denominator_dof=57.0)])
    'a.nii: the degrees of freedom of this F are unknown; give them as dof NUMERATOR,57'
    """
    lacking = [s for s in statistics if _lacks_dof(s) and s.z_file is None]
    if not lacking:
        return None
    files = dict.fromkeys(s.stat_file for s in lacking)
    names = ", ".join(file.name if i else str(file) for i, file in enumerate(files))
    kinds = sorted({s.stat_type for s in lacking}, reverse=True)
    stated = {s.denominator_dof for s in lacking if s.stat_type == "F"}
    known = stated.pop() if len(stated) == 1 else None
    wanted = {"t": "N", "F": f"NUMERATOR,{'DENOMINATOR' if known is None else f'{known:g}'}"}
    return (
        f"{names}: the degrees of freedom of {'this' if len(lacking) == 1 else 'these'} "
        f"{' and '.join(kinds)} are unknown; give them "
        f"{' and '.join(ask.format(wanted[k]) for k in kinds)}"
    )


def _lacks_dof(found):
    return found.stat_type != "z" and not found.dof and found.dof_file is None


def _check_z(found):
    """Refuse degrees of freedom that do not lead from the statistic to the package's z."""
    stat, grid = read_map_volume(found.stat_file, found.volume)
    z = read_map_volume(found.z_file, None, grid)[0]
    near = np.isfinite(stat) & (np.abs(z) > _Z_CHECKED[0]) & (np.abs(z) < _Z_CHECKED[1])
    transform = t_to_z if found.stat_type == "t" else f_to_z
    off = np.abs(transform(stat[near], *found.dof) - z[near])
    if off.size and np.median(off) > _Z_TOLERANCE:
        raise MapError(
            found.z_file,
            f"is z of other degrees of freedom than the {_numbers(found.dof)} that you say: a "
            f"median of {np.median(off):.2g} off",
        )


def _of_package_only(statistics):
    """Say whose z stands alone, since its degrees of freedom are unknown."""
    return tuple(
        f"The degrees of freedom of {s.stat_file.name} are unknown; its z is that of the package."
        for s in statistics
        if s.z_file is not None and _lacks_dof(s)
    )


def _other_sides(results):
    """Say which t contrasts are the negative of one another."""
    weights = [
        (s.name, results.contrasts[s.name])
        for s in results.statistics
        if s.stat_type != "F" and s.name in (results.contrasts or {})
    ]
    return tuple(
        f"{other} is the other side of {name}."
        for i, (name, first) in enumerate(weights)
        for other, second in weights[i + 1 :]
        if first.shape == second.shape
        and first.any()
        and np.allclose(first, -second)
        # Before the colon is the analysis, where there are several.
        and name.rpartition(": ")[0] == other.rpartition(": ")[0]
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
    needed = _N_DOF[known]
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


def read_statistic(found):
    """Read a statistic with its z and p.

    z is the package's own where a file of it was found; otherwise it is computed from t or F by
    the logarithm of their tails. The mask is that of the package, without voxels that have no
    value; else all finite voxels that are not 0.

    Parameters
    ----------
    found : FoundStatistic
        As `find_results` and `statistic_of_file` give it.

    Returns
    -------
    StatisticMaps

    Raises
    ------
    MapError
        Where a file cannot be read, is on another grid, has no voxel, or holds no such statistic.
    ValueError
        Where the degrees of freedom are needed and unknown.
    """
    stat, grid = read_map_volume(found.stat_file, found.volume)
    mask = _mask_of(found, stat, grid)
    _check_values(found, stat[mask])
    z = np.full(grid.shape, np.nan)
    z[mask] = _z_of(found, stat[mask], mask, grid)
    if np.isnan(z[mask]).any():
        raise MapError(found.z_file or found.stat_file, "z is missing in voxels of the mask")
    p = np.exp(z_to_log_p(z, "positive" if found.stat_type == "F" else "two-sided"))
    return StatisticMaps(np.where(mask, stat, np.nan), z, p, mask, grid)


def _z_of(found, stat, mask, grid):
    """Return z of the statistic's values in the mask."""
    if found.stat_type == "z":
        return stat
    if found.z_file is not None:
        return read_map_volume(found.z_file, None, grid)[0][mask]
    if found.dof_file is not None:
        dof = [
            read_map_volume(found.dof_file, volume, grid)[0][mask]
            for volume in ((None,) if found.stat_type == "t" else (0, 1))
        ]
        if not all((v > 0).all() for v in dof):
            raise MapError(found.dof_file, "has voxels of the mask without degrees of freedom")
        return t_to_z(stat, *dof) if found.stat_type == "t" else f_to_z(stat, *dof)
    if len(found.dof) != _N_DOF[found.stat_type]:
        raise ValueError(lacking_dof([found]))
    return t_to_z(stat, *found.dof) if found.stat_type == "t" else f_to_z(stat, *found.dof)


def corrected_logp(found, column, grid):
    """Return -log10 of a corrected p; NaN outside the mask.

    Parameters
    ----------
    found : FoundStatistic
        A statistic with corrected p.
    column : str
        One of ``found.corrected``.
    grid : Grid
        That of the statistic.

    Returns
    -------
    array, shape (x, y, z)

    Raises
    ------
    ValueError
        Where there is no such column.
    MapError
        Where the map is on another grid, or its values are not of the scale it is taken for.
    """
    if column not in found.corrected:
        raise ValueError(
            f"{found.stat_file}: no {column}; there are {', '.join(found.corrected) or 'none'}"
        )
    path, scale = found.corrected[column]
    values = read_map_volume(path, None, grid)[0]
    stat, _ = read_map_volume(found.stat_file, found.volume, grid)
    mask = _mask_of(found, stat, grid)
    inside = values[mask]
    if not np.isfinite(inside).all():
        raise MapError(path, "is missing in voxels of the statistic")
    if inside.min() < 0 or (scale != "-log10 p" and inside.max() > 1):
        raise MapError(
            path, f"has values from {inside.min():.4g} to {inside.max():.4g}, which are no {scale}"
        )
    logp = np.full(grid.shape, np.nan)
    if scale == "-log10 p":
        logp[mask] = inside
    else:
        p = 1 - inside if scale == "1-p" else inside
        logp[mask] = minus_log10(np.log(np.maximum(p, _SMALLEST[scale])))
    return logp


def read_map_volume(path, volume=None, grid=None):
    """Read one volume of a file, as of an effect: values as they are, and their grid.

    Parameters
    ----------
    path : path
        Image.
    volume : int, optional
        Which volume, where it holds several.
    grid : Grid, optional
        The grid that it has to have.

    Returns
    -------
    values : float64 array, shape (x, y, z)
    grid : Grid

    Raises
    ------
    MapError
        Where the file cannot be read, holds several volumes, or is on another grid.
    """
    image = open_image(path)
    if volume is not None and len(image.shape) > 3:
        values = image.values(volume)
    elif image.n_volumes == 1:
        values = image.values().reshape(image.shape[:3])
    else:
        raise MapError(path, f"holds an array of shape {image.shape}, one volume is expected")
    own = image.grid
    if grid is not None and not own.matches(grid):
        raise MapError(path, f"its grid is {own}, that of the statistic is {grid}")
    return values, own


def _mask_of(found, stat, grid):
    if found.mask_file is None:
        mask = np.isfinite(stat) & (stat != 0)
    else:
        mask = read_mask(found.mask_file, grid)[0] & np.isfinite(stat)
    if not mask.any():
        raise MapError(found.stat_file, "has no voxel that is finite, not 0 and in the mask")
    return mask


def _check_values(found, values):
    """Refuse values that cannot be of the statistic: negative F, and p taken for a statistic."""
    if found.stat_type == "F" and values.min() < 0:
        raise MapError(found.stat_file, f"F is never negative, the least is {values.min():.4g}")
    if len(values) >= _ENOUGH_VOXELS and values.min() >= 0 and values.max() <= 1:
        raise MapError(
            found.stat_file,
            f"all {len(values)} values are in [0, 1], like p or 1-p: this is no {found.stat_type}",
        )
