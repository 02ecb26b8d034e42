"""Group results that other packages left on disk: what is there, and its maps of z and p.

Files are recognised by the names and headers that their packages give them; nothing is run and
nothing is unpickled. What each package's files mean is in the documentation, page Results of other
packages.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nipype_group.images import MapError
from nipype_group.peers import afni as peer_afni
from nipype_group.peers import bids as peer_bids
from nipype_group.peers import fsl as peer_fsl
from nipype_group.peers import halfpipe as peer_halfpipe
from nipype_group.peers import palm as peer_palm
from nipype_group.peers import spm as peer_spm
from nipype_group.peers.dof import (
    N_DOF,
    given_dof,
    lacking_dof,
    lacks_dof,
    numbers_text,
)
from nipype_group.peers.found import FoundResults, FoundStatistic
from nipype_group.peers.maps import (
    StatisticMaps,
    corrected_logp,
    read_found_dof,
    read_map_volume,
    read_statistic,
)
from nipype_group.peers.single import statistic_of_file
from nipype_group.stats.distributions import f_to_z, t_to_z

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
# Where z tells one number of degrees of freedom from another, and what rounding makes of it.
_Z_CHECKED = (1.0, 6.0)
_Z_TOLERANCE = 1e-3


def find_results(
    path: str | os.PathLike[str],
    package: str | None = None,
    dof: float | Sequence[float | Sequence[float]] | None = None,
) -> FoundResults:
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
    given = given_dof(dof)
    folder, start = _place(Path(path))
    names = {name.lower(): name for name in _FINDERS} | {"fitlins": "nilearn"}
    if package is not None and package.lower() not in names:
        raise ValueError(f"package is one of {', '.join((*_FINDERS, 'FitLins'))}, got {package!r}")
    wanted = [names[package.lower()]] if package is not None else list(_FINDERS)
    looked_for = {name: _FINDERS[name][0](folder, start) for name in wanted}
    found = {name: results for name, results in looked_for.items() if results is not None}
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


def _with_dof(found, given):
    """Give degrees of freedom to a statistic that has none and is of their number."""
    if not all(v > 0 for v in found.dof):
        found = replace(found, dof=())
    own, said = given.get(N_DOF[found.stat_type]), "its files state"
    if lacks_dof(found) and own is not None:
        stated = found.denominator_dof
        if stated is not None and not np.isclose(own[1], stated):
            raise ValueError(
                f"{found.stat_file}: you say {own[1]:g} denominator degrees of freedom, its files "
                f"state {stated:g}"
            )
        found, said = replace(found, dof=own), "you say"
    # FSL's fixed effects go through a t with other degrees of freedom than they state.
    if found.z_file is not None and found.package != "FSL" and not lacks_dof(found):
        _check_z(found, said)
    return found


def _check_taken(path, given, statistics):
    """Refuse degrees of freedom that no statistic takes."""
    # Where one still lacks its own, what is said of it is more to the point.
    if any(lacks_dof(s) and not s.z_file for s in statistics):
        return
    for own in given.values():
        if any(s.dof == own for s in statistics):
            continue
        stated = sorted({s.dof for s in statistics if s.dof})
        known = f"; the files state {' and '.join(map(numbers_text, stated))}" if stated else ""
        raise ValueError(
            f"{path}: you say {numbers_text(own)} degrees of freedom, which no statistic here "
            f"takes{known}"
        )


def _check_z(found, said):
    """Refuse degrees of freedom that do not lead from the statistic to the package's z."""
    stat, grid = read_map_volume(found.stat_file, found.volume)
    z = read_map_volume(found.z_file, None, grid)[0]
    near = np.isfinite(stat) & (np.abs(z) > _Z_CHECKED[0]) & (np.abs(z) < _Z_CHECKED[1])
    dof = read_found_dof(found, grid)
    if found.dof_file is not None:
        near &= np.logical_and.reduce([v > 0 for v in dof])
        dof = tuple(v[near] for v in dof)
    transform = t_to_z if found.stat_type == "t" else f_to_z
    off = np.abs(transform(stat[near], *dof) - z[near])
    if off.size and np.median(off) > _Z_TOLERANCE:
        own = (
            f"those of {found.dof_file.name}"
            if found.dof_file is not None
            else f"the {numbers_text(found.dof)} that {said}"
        )
        raise MapError(
            found.z_file,
            f"is z of other degrees of freedom than {own}, or of another map than "
            f"{found.stat_file.name}: a median of {np.median(off):.2g} off",
        )


def _of_package_only(statistics):
    """Say whose z stands alone, since its degrees of freedom are unknown."""
    return tuple(
        f"The degrees of freedom of {s.stat_file.name} are unknown; its z is that of the package."
        for s in statistics
        if s.z_file is not None and lacks_dof(s)
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
