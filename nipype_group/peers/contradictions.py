"""Values that contradict what their map is taken for: another scale, another side, a part only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from nipype_group.controls import side_tested
from nipype_group.images import MapError
from nipype_group.stats.distributions import z_to_log_p
from nipype_group.stats.elementary import log

if TYPE_CHECKING:
    from nipype_group.peers.found import FoundStatistic
    from nipype_group.peers.maps import StatisticMaps

# So many values of t, F or z never lie in [0, 1] all together.
_ENOUGH_VOXELS = 100
# What correlations and p may be; other values are of another scale.
_BOUNDS = {"r": (-1, 1), "p": (0, 1), "1-p": (0, 1), "logp": (0, np.inf)}
# The value that a p of 1 has.
_P_OF_ONE = {"p": 1.0, "1-p": 0.0, "logp": 0.0}
# p of a whole map reach 1; where none of n is above this, of z |z| below 1, and chance does so
# less often than that, the others were taken out. Of a few voxels effects alone are no such
# evidence: no voxel counts for more than the second.
_LARGE_P, _LEAST_P = 0.3, 0.01
_LOG10_CHANCE = -10.0
# |z| that has either sign about as often, and how many of it have one sign by chance less often
# than 1e-10; a share of all voxels, as neighbours are alike.
_NEAR_NOTHING, _FEWEST_NEAR, _SHARE_NEAR = 0.25, 34, 0.05
# The peak of extents, masses and TFCE need not be the most significant: the share of voxels with
# the largest statistic is looked at.
_TOP_SHARE = 0.01
# Corrected p are no smaller than uncorrected ones: of voxels where they are below the second, so
# many at most have uncorrected p above the first.
_NO_EFFECT, _SMALL, _STRAY_SHARE = 0.5, 0.25, 0.1
# What single precision leaves of equal p.
_RTOL, _ATOL = 1e-3, 1e-6


def check_statistic(found: FoundStatistic, values: np.ndarray) -> None:
    """Refuse values that cannot be of the statistic: negative F, and p taken for a statistic.

    Parameters
    ----------
    found : FoundStatistic
    values : array, shape (n,)
        What its map holds in the mask.

    Raises
    ------
    MapError
        Where values are out of the bounds of r or p, r is 1 or -1, most p are 1 as corrected ones
        are, F is negative, or t, F or z all lie in [0, 1].
    """
    source = found.converted_from
    if source:
        low, high = _BOUNDS.get(source, (-np.inf, np.inf))
        if values.min() < low or values.max() > high:
            raise MapError(
                found.stat_file,
                f"holds {values.min():.4g} to {values.max():.4g}, {source} lies between {low:g} "
                f"and {high:g}",
            )
        if source == "r" and np.abs(values).max() == 1:
            raise MapError(found.stat_file, "has r of 1 or -1, which has no t; leave it out")
        ones = np.count_nonzero(values == _P_OF_ONE[source]) if source in _P_OF_ONE else 0
        if 2 * ones > len(values):
            raise MapError(
                found.stat_file,
                f"{ones:,} of its {len(values):,} p are 1, as corrected p are, which have no z: "
                "give the statistic that they are of; or, if these voxels lie outside, a mask "
                "without them",
            )
        return
    if found.stat_type == "F" and values.min() < 0:
        raise MapError(found.stat_file, f"F is never negative, the least is {values.min():.4g}")
    if len(values) >= _ENOUGH_VOXELS and values.min() >= 0 and values.max() <= 1:
        raise MapError(
            found.stat_file,
            f"all {len(values)} values are in [0, 1], like p or 1-p: this is no "
            f"{found.stat_type}; give its type",
        )


def check_whole(found: FoundStatistic, p: np.ndarray, n_searched: int | None = None) -> None:
    """Refuse a map of which only what passed a threshold is left.

    In a whole map some voxels are near no effect. Where all p of n voxels are below .3 and chance
    has that with a probability below 1e-10, were they independent, the others were taken out: 20
    voxels with p of .3, 6 of .01 and smaller. A mask whose voxels all have a value says that these
    are all that is searched.

    Parameters
    ----------
    found : FoundStatistic
    p : array, shape (n,)
        Uncorrected p of the voxels that have a value: two-sided, of the upper tail of F.
    n_searched : int, optional
        Voxels of the mask; None where there is none.

    Raises
    ------
    MapError
        Naming the map.
    """
    effects = p[p < 1]
    if not effects.size or effects.max() >= _LARGE_P or n_searched == effects.size:
        return
    largest = effects.max()
    if effects.size * math.log10(max(largest, _LEAST_P)) < _LOG10_CHANCE:
        raise MapError(
            found.stat_file,
            f"looks thresholded: no uncorrected p of its {effects.size:,} voxels is above "
            f"{largest:.2g}; FDR, FWE and RFT need the whole map: give that, or, if no other "
            "voxel was searched, this as one map with a mask of just these voxels",
        )


def check_both_sides(found: FoundStatistic, z: np.ndarray, n_searched: int | None = None) -> None:
    """Refuse t and z of which one sign was taken out.

    Parameters
    ----------
    found : FoundStatistic
    z : array, shape (n,)
        Of the voxels that have a value.
    n_searched : int, optional
        Voxels of the mask; None where there is none.

    Raises
    ------
    MapError
        Where many voxels are near 0 and all values are of one sign, and no mask says that these
        are all that is searched. Two-sided p have no sign.
    """
    values = z[z != 0]
    if found.stat_type == "F" or found.converted_from in _P_OF_ONE or n_searched == values.size:
        return
    n_near = np.count_nonzero(np.abs(values) < _NEAR_NOTHING)
    of_one_sign = not (values < 0).any() or not (values > 0).any()
    if of_one_sign and n_near >= max(_FEWEST_NEAR, _SHARE_NEAR * values.size):
        kept, gone = ("below", "above") if (values < 0).any() else ("above", "below")
        raise MapError(
            found.stat_file,
            f"looks cut at 0: all {values.size:,} values are {kept} it, {n_near:,} of them by a z "
            f"below {_NEAR_NOTHING:g}; what lies {gone} is searched too: give the whole "
            "map, or, if no other voxel was searched, this with a mask of just these voxels",
        )


def check_corrected(
    found: FoundStatistic, column: str, maps: StatisticMaps, logp: np.ndarray
) -> None:
    """Refuse corrected p that are of another scale, side or contrast than the statistic.

    Voxelwise p fall as the statistic grows: its peak has the smallest. Those of extents, masses
    and TFCE do so on average. And no corrected p is smaller than the uncorrected one, which is
    large where there is no effect.

    Parameters
    ----------
    found : FoundStatistic
    column : str
        One of ``found.corrected``.
    maps : StatisticMaps
        The statistic.
    logp : array, shape (n,)
        -log10 of the corrected p in the mask.

    Raises
    ------
    MapError
        Naming the map of p and the scale that it is taken for.
    """
    tail = side_tested(found.corrected_tail, found.stat_type)
    stat, z, p = maps.stat[maps.mask], maps.z[maps.mask], special.exp10(-logp)
    height = np.abs(stat) if tail == "two-sided" else stat
    if column == "p_fwe_voxel":
        at_top, lowest = p[height == height.max()].min(), p.min()
    else:
        top = height >= np.quantile(height, 1 - _TOP_SHARE)
        at_top, lowest = p[top].mean(), p[~top].mean() if not top.all() else 1.0
    stray = z_to_log_p(z[p < _SMALL], tail) > log(_NO_EFFECT)
    if at_top > lowest * (1 + _RTOL) + _ATOL:
        what = f"the peak of {found.stat_file.name} has not the smallest"
    elif stray.size and stray.mean() > _STRAY_SHARE:
        what = f"they are small where {found.stat_file.name} shows no effect"
    else:
        return
    path, scale = found.corrected[column]
    raise MapError(
        path,
        f"taken for corrected {scale} of the {tail} side, {what}; they are of another scale, side "
        "or contrast",
    )
