"""Values of statistics that other packages left on disk: z, p and corrected p as maps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage, special

from nipype_group.controls import side_tested
from nipype_group.images import Grid, MapError, check_same_space, open_image, read_mask
from nipype_group.peers.contradictions import (
    check_both_sides,
    check_corrected,
    check_statistic,
    check_whole,
)
from nipype_group.peers.dof import N_DOF, lacking_dof
from nipype_group.stats.distributions import f_to_z, minus_log10, t_to_z, z_to_log_p
from nipype_group.stats.elementary import exp, log
from nipype_group.stats.map_conversions import d_to_t, log_p_to_z, r_to_t

if TYPE_CHECKING:
    from nipype_group.peers.found import FoundStatistic

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


def read_statistic(found: FoundStatistic) -> StatisticMaps:
    """Read a statistic with its z and p.

    z is the package's own where a file of it was found; otherwise it is computed from t or F by
    the logarithm of their tails. The mask is that of the package, without voxels that have no
    value; else all finite voxels that are not 0, of p that is 1 in all corners of the image those
    that are not 1.

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
        Where a file cannot be read, is on another grid, has no voxel, holds no such statistic, or
        only what passed a threshold or has one sign.
    ValueError
        Where the degrees of freedom are needed and unknown.
    """
    stat, grid = read_map_volume(found.stat_file, found.volume)
    mask = _mask_of(found, stat, grid)
    check_statistic(found, stat[mask])
    if found.converted_from:
        stat[mask] = _converted(found, stat[mask], mask, grid)
    z = np.full(grid.shape, np.nan)
    z[mask] = _z_of(found, stat[mask], mask, grid)
    if np.isnan(z[mask]).any():
        raise MapError(found.z_file or found.stat_file, "z is missing in voxels of the mask")
    p = exp(z_to_log_p(z, side_tested("two-sided", found.stat_type)))
    searched = None if found.mask_file is None else read_mask(found.mask_file, grid)[0].sum()
    check_whole(found, p[mask], searched)
    check_both_sides(found, z[mask], searched)
    return StatisticMaps(np.where(mask, stat, np.nan), z, p, mask, grid)


def _converted(found, values, mask, grid):
    """Return t of r or d, or z of p, in the mask."""
    source = found.converted_from
    if source == "r":
        return r_to_t(values, found.dof[0])
    if source == "d":
        return d_to_t(values, found.group_sizes)
    log_p = _log_p(values, source)
    if found.p_sides == "one":
        # p of 1 has no z; the other side ends where its 1-p would.
        end = max(special.log1p(-_SMALLEST["1-p"]), log_p[log_p < 0].max(initial=-np.inf))
        return log_p_to_z(np.minimum(log_p, end), "one")
    sign_file = found.sign_file or found.effect_file
    if sign_file is None:
        return log_p_to_z(log_p, "two")
    volume = None if found.sign_file else found.effect_volume
    sign = np.sign(read_map_volume(sign_file, volume, grid)[0][mask])
    lacking = int(np.count_nonzero(~(np.abs(sign) > 0) & (log_p < 0)))
    if lacking:
        raise MapError(
            sign_file, f"has no sign in {lacking} voxels with p below 1; give a mask without them"
        )
    return log_p_to_z(log_p, "two", np.nan_to_num(sign))


def _log_p(values, scale):
    """Return the logarithm of p; p of 0 is the least that the scale holds, or that is there."""
    if scale == "logp":
        return -log(10) * values
    p = 1 - values if scale == "1-p" else values
    return log(np.where(p > 0, p, min(_SMALLEST[scale], p[p > 0].min(initial=1))))


def conversion_notes(found: FoundStatistic) -> tuple[str, ...]:
    """Say from what the statistic was computed, where its map holds something else.

    Parameters
    ----------
    found : FoundStatistic

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from pathlib import Path
    >>> from nipype_group.peers.found import FoundStatistic
    >>> found = FoundStatistic("a", "", "t", Path("r.nii"), dof=(28.0,), converted_from="r")
    >>> conversion_notes(found)
    ('t is computed from r with 28 degrees of freedom.',)
    """
    source = found.converted_from
    if not source:
        return ()
    if source == "r":
        return (f"t is computed from r with {found.dof[0]:g} degrees of freedom.",)
    if source == "d":
        sizes = " and ".join(f"{n:g}" for n in found.group_sizes)
        groups = "" if len(found.group_sizes) == 1 else "two groups of "
        return (f"t is computed from Cohen's d of {groups}{sizes} maps.",)
    name = "-log10 p" if source == "logp" else source
    if found.p_sides == "one":
        return (f"z is computed from one-sided {name}, of the side above 0.",)
    sign_file = found.sign_file or found.effect_file
    if sign_file is None:
        return (
            f"z is computed from two-sided {name}, which has no sign: it is above 0 everywhere, "
            "where the effect may be below. An effect map or a map of its sign tells it.",
        )
    return (f"z is computed from two-sided {name}; its sign is that of {sign_file.name}.",)


def _z_of(found, stat, mask, grid):
    """Return z of the statistic's values in the mask."""
    if found.stat_type == "z":
        return stat
    if found.z_file is not None:
        return read_map_volume(found.z_file, None, grid)[0][mask]
    if found.dof_file is None and len(found.dof) != N_DOF[found.stat_type]:
        raise ValueError(lacking_dof([found]))
    dof = read_found_dof(found, grid)
    if found.dof_file is not None:
        dof = tuple(v[mask] for v in dof)
        if not all((v > 0).all() for v in dof):
            raise MapError(found.dof_file, "has voxels of the mask without degrees of freedom")
    return t_to_z(stat, *dof) if found.stat_type == "t" else f_to_z(stat, *dof)


def read_found_dof(
    found: FoundStatistic, grid: Grid
) -> tuple[float, ...] | tuple[np.ndarray, ...]:
    """Return the degrees of freedom of t, or both of F: as numbers, or where they vary as maps.

    Parameters
    ----------
    found : FoundStatistic
        A t or F.
    grid : Grid
        Grid of the statistic.

    Returns
    -------
    tuple of float or array, shape (x, y, z)

    Raises
    ------
    MapError
        Where the maps are on another grid.
    """
    if found.dof_file is None:
        return found.dof
    volumes = (None,) if found.stat_type == "t" else (0, 1)
    return tuple(read_map_volume(found.dof_file, volume, grid)[0] for volume in volumes)


def corrected_logp(found: FoundStatistic, column: str, maps: StatisticMaps) -> np.ndarray:
    """Return -log10 of a corrected p; NaN outside the mask.

    Parameters
    ----------
    found : FoundStatistic
        A statistic with corrected p.
    column : str
        One of ``found.corrected``.
    maps : StatisticMaps
        The statistic, as `read_statistic` gives it.

    Returns
    -------
    array, shape (x, y, z)

    Raises
    ------
    ValueError
        Where there is no such column.
    MapError
        Where the map is on another grid, its values are not of the scale it is taken for, or they
        contradict the statistic.
    """
    if column not in found.corrected:
        raise ValueError(
            f"{found.stat_file}: no {column}; there are {', '.join(found.corrected) or 'none'}"
        )
    path, scale = found.corrected[column]
    mask = maps.mask
    values = read_map_volume(path, None, maps.grid)[0]
    inside = values[mask]
    if not np.isfinite(inside).all():
        raise MapError(path, "is missing in voxels of the statistic")
    if inside.min() < 0 or (scale != "-log10 p" and inside.max() > 1):
        raise MapError(
            path, f"has values from {inside.min():.4g} to {inside.max():.4g}, which are no {scale}"
        )
    logp = np.full(mask.shape, np.nan)
    if scale == "-log10 p":
        logp[mask] = inside
    else:
        p = 1 - inside if scale == "1-p" else inside
        logp[mask] = minus_log10(log(np.maximum(p, _SMALLEST[scale])))
    check_corrected(found, column, maps, logp[mask])
    return logp


def read_map_volume(
    path: str | os.PathLike[str], volume: int | None = None, grid: Grid | None = None
) -> tuple[np.ndarray, Grid]:
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
    image = open_image(path, kind=Grid)
    if volume is not None and len(image.shape) > 3:
        values = image.values(volume)
    elif image.n_maps == 1:
        values = image.values().reshape(image.shape[:3])
    else:
        raise MapError(path, f"holds an array of shape {image.shape}, one volume is expected")
    own = image.space
    assert isinstance(own, Grid), "opened as such"
    if grid is not None:
        check_same_space(path, own, grid, "the statistic")
    return values, own


def background_notes(found: FoundStatistic) -> tuple[str, ...]:
    """Say which voxels of p are taken for the outside that might not be, and which have no z.

    Parameters
    ----------
    found : FoundStatistic

    Returns
    -------
    tuple of str
        None of other statistics.

    Raises
    ------
    MapError
        Where a file cannot be read or has no voxel.
    """
    if found.converted_from not in ("p", "1-p"):
        return ()
    values, grid = read_map_volume(found.stat_file, found.volume)
    inside, notes = values[_mask_of(found, values, grid)], []
    enclosed = _enclosed(values == 0) if found.converted_from == "p" else 0
    if found.mask_file is None and _background(found, values) == 1:
        notes.append(
            f"{np.count_nonzero(values == 1):,} of the voxels are 1, as all corners of the image "
            "are, and are taken for the outside; a mask says otherwise."
        )
    elif found.mask_file is None and enclosed:
        notes.append(
            f"{enclosed:,} of the voxels have a p of 0 amid others and are taken for missing, as "
            "0 is outside; a mask says otherwise."
        )
    # A p of 1 has a z where p has two sides, and it is 0.
    without_z = (0, 1) if found.p_sides == "one" else (0 if found.converted_from == "p" else 1,)
    if rounded := np.count_nonzero(np.isin(inside, without_z)):
        notes.append(
            f"{rounded:,} of the voxels have a p of 0 or 1, to which numbers near them are "
            "rounded, and take the z of the nearest p that is neither."
        )
    return tuple(notes)


def _enclosed(holes):
    """Count voxels of holes that no border of the image is part of."""
    labels, _ = ndimage.label(holes)
    inner = labels[1:-1, 1:-1, 1:-1]
    faces = np.ones(labels.shape, dtype=bool)
    faces[1:-1, 1:-1, 1:-1] = False
    return int(np.count_nonzero((inner > 0) & ~np.isin(inner, labels[faces])))


def _background(found, stat):
    """Return the value outside the brain: 1 of p that has it in all corners, else 0."""
    corners = stat[np.ix_(*[[0, -1]] * 3)]
    return float(found.converted_from in ("p", "1-p") and (corners == 1).all())


def _mask_of(found, stat, grid):
    if found.mask_file is None:
        mask = np.isfinite(stat) & (stat != _background(found, stat))
    else:
        mask = read_mask(found.mask_file, grid)[0] & np.isfinite(stat)
    if not mask.any():
        raise MapError(found.stat_file, "has no voxel that is finite, not 0 and in the mask")
    return mask
