"""What is taken from the map of every shuffle: settings, and statistics of whole maps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import special

from nipype_group.choices import CONNECTIVITIES, SCALES, STATISTICS
from nipype_group.controls import TAILS
from nipype_group.stats.clusters import signs_of
from nipype_group.stats.elementary import FloatOrArray
from nipype_group.stats.permutation.cluster_sizes import largest_clusters
from nipype_group.stats.permutation.methods import TIE_TOLERANCE, WIDEST_TIE, ShuffledContrast
from nipype_group.stats.tfce import NOT_SETTLED, Tfce, enhance_maps

# Side of a statistic by its sign, as null distributions are named.
SIDE_NAMES = {1: "positive", -1: "negative"}


@dataclass(frozen=True)
class ShuffleStatistics:
    """What is taken from every shuffle, and on which side.

    Parameters
    ----------
    names : tuple of str
        From `STATISTICS`: the largest voxel, cluster extent, cluster mass, enhanced voxel (TFCE).
    tail : {"two-sided", "positive", "negative"}
        Side tested; F contrasts are tested on the positive side.
    cluster_forming_z, cluster_forming_p, cluster_forming_statistic : float, optional
        Cluster-forming threshold, one of the three: as z, as p of the tail, or as t or F.
        Default: p .001. Inclusion is >=.
    connectivity : {26, 18, 6}
        Neighbours of a voxel in a cluster.
    statistic_scale : {"statistic", "z"}
        Whether mass and TFCE run on t (or F) or on its z.
    mass_excess : bool
        Whether mass sums what exceeds the threshold; the statistic itself by default.
    tfce : Tfce
        Powers, connectivity and steps of the enhancement.
    n_top : int
        Most extreme voxels kept of every shuffle, for true discovery proportions.

    Raises
    ------
    ValueError
        Naming the setting that is out of range or looks like another.
    """

    names: tuple = ("voxel",)
    tail: str = "two-sided"
    cluster_forming_z: float | None = None
    cluster_forming_p: float | None = None
    cluster_forming_statistic: float | None = None
    connectivity: int = 26
    statistic_scale: str = "statistic"
    mass_excess: bool = False
    tfce: Tfce = field(default_factory=Tfce)
    n_top: int = 0

    def __post_init__(self):
        for name in self.names:
            _check_choice("statistics", name, STATISTICS)
        if "voxel" not in self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"statistics name voxel and each once, got {', '.join(self.names)}")
        _check_choice("tail", self.tail, TAILS)
        _check_choice("connectivity", self.connectivity, CONNECTIVITIES)
        _check_choice("statistic_scale", self.statistic_scale, SCALES)
        if self.n_top < 0:
            raise ValueError(f"n_top is a number >= 0, got {self.n_top}")
        self._check_forming()

    def _check_forming(self):
        given = {
            "cluster_forming_z": self.cluster_forming_z,
            "cluster_forming_p": self.cluster_forming_p,
            "cluster_forming_statistic": self.cluster_forming_statistic,
        }
        given = {name: value for name, value in given.items() if value is not None}
        if not given:
            return
        if not self.forms_clusters:
            raise ValueError(
                f"{next(iter(given))} goes with the statistics extent or mass; add one of them"
            )
        if len(given) > 1:
            raise ValueError(f"give one of {' and '.join(given)}")
        (name, value), *_ = given.items()
        if name == "cluster_forming_p" and not 0 < value < 0.5:
            raise ValueError(f"cluster_forming_p lies between 0 and .5, got {value}; is it a z?")
        if name != "cluster_forming_p" and not 0.5 <= value < np.inf:
            raise ValueError(f"{name} is at least 0.5, got {value}; is it a p?")

    def check_common_scale(self) -> None:
        """Refuse to compare different statistics, as t and F, where they have no common scale.

        Raises
        ------
        ValueError
            Where masses or TFCE would compare as t and F.
        """
        if self.statistic_scale != "z" and {"mass", "tfce"} & set(self.names):
            raise ValueError(
                "masses and TFCE of t and F contrasts compare on the scale of z only: take "
                "statistic_scale z, or correct every contrast alone"
            )

    @property
    def forms_clusters(self) -> bool:
        """Whether a cluster-forming threshold is needed."""
        return "extent" in self.names or "mass" in self.names

    def signs(self, signed: bool) -> tuple[int, ...]:
        """Return the signs that clusters and TFCE look at."""
        return signs_of(self.tail if signed else "positive")

    def forming_statistic(self, contrast: ShuffledContrast) -> float:
        """Return the cluster-forming t or F of a contrast."""
        if self.cluster_forming_statistic is not None:
            return float(self.cluster_forming_statistic)
        if self.cluster_forming_z is not None:
            p = special.ndtr(-self.cluster_forming_z)
        else:
            p = 0.001 if self.cluster_forming_p is None else self.cluster_forming_p
            p /= len(self.signs(contrast.signed))
        return contrast.height(p)

    def scaled(self, contrast: ShuffledContrast, statistic: np.ndarray) -> np.ndarray:
        """Return t or F on the scale of mass and TFCE."""
        return contrast.z(statistic) if self.statistic_scale == "z" else statistic

    def excess(self, contrast: ShuffledContrast) -> float:
        """Return what is subtracted from every voxel of a cluster mass."""
        if not self.mass_excess:
            return 0.0
        return float(self.scaled(contrast, np.asarray(self.forming_statistic(contrast))))

    def ties(
        self, contrast: ShuffledContrast, observed: Mapping[str, np.ndarray], as_z: bool = False
    ) -> dict[str, float | np.ndarray]:
        """Return the relative difference below which heights of each statistic are equal.

        Parameters
        ----------
        contrast : ShuffledContrast
        observed : dict
            voxel to the statistic of the data, and dof where it varies, arrays of shape (v,).
        as_z : bool
            Whether voxels compare as z of it.

        Returns
        -------
        dict
            voxel, mass and tfce to an array of shape (v,), extent to a number. mass holds that
            of each voxel's own height, see `mass_ties`.
        """
        statistic, dof = observed["voxel"], observed.get("dof")
        scaled = contrast.tie_tolerance(
            self.scaled(contrast, statistic), self.statistic_scale == "z", dof
        )
        own = contrast.z(statistic) if as_z else statistic
        # TFCE is a power of heights up to a voxel's own, where steps are no share of the largest.
        of_tfce = scaled if self.tfce.steps is None else np.full_like(scaled, scaled.max())
        found: dict[str, float | np.ndarray] = {
            "voxel": contrast.tie_tolerance(own, as_z, dof),
            "extent": TIE_TOLERANCE,
            "mass": scaled,
            "tfce": np.minimum((1 + self.tfce.height_power) * of_tfce, WIDEST_TIE),
        }
        return {name: found[name] for name in self.names}

    def heights(self, statistic: FloatOrArray, signed: bool) -> FloatOrArray:
        """Return statistics on the side of the tail, large meaning extreme."""
        if not signed or self.tail == "positive":
            return statistic
        return -statistic if self.tail == "negative" else np.abs(statistic)


def _check_choice(name, value, allowed):
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(map(str, allowed))}, got {value!r}")


def largest_of_maps(
    maps: np.ndarray,
    statistics: ShuffleStatistics,
    contrast: ShuffledContrast,
    neighbours: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return the largest extent and mass of every map and side.

    Parameters
    ----------
    maps : float64 array, shape (m, v)
        t or F.
    statistics : ShuffleStatistics
    contrast : ShuffledContrast
    neighbours : int32 array, shape (v, k)
        Neighbours of every voxel by the statistics' connectivity.

    Returns
    -------
    dict
        ``extent_positive`` and so on to float64 arrays, shape (m,).
    """
    forming = statistics.forming_statistic(contrast)
    found: dict[str, np.ndarray] = {}
    for sign in statistics.signs(contrast.signed):
        which, voxels = np.nonzero(maps * sign >= forming)
        heights = maps[which, voxels] * sign
        offsets = np.searchsorted(which, np.arange(len(maps) + 1))
        found |= largest_on_side(
            voxels.astype(np.int32), heights, offsets, sign, statistics, contrast, neighbours
        )
    return found


def largest_on_side(
    voxels: np.ndarray,
    heights: np.ndarray,
    offsets: np.ndarray,
    sign: int,
    statistics: ShuffleStatistics,
    contrast: ShuffledContrast,
    neighbours: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return the largest extent and mass of every shuffle on one side.

    Parameters
    ----------
    voxels, heights : arrays, shape (k,)
        Voxels above the threshold and their t or F, positive, shuffle after shuffle.
    offsets : int array, shape (m + 1,)
        Where each shuffle starts in them.
    sign, statistics, contrast, neighbours
        As in `largest_of_maps`.
    """
    component = np.full(len(neighbours), -1, dtype=np.int32)
    extents, masses = np.zeros(len(offsets) - 1), np.zeros(len(offsets) - 1)
    largest_clusters(
        voxels,
        statistics.scaled(contrast, heights),
        offsets,
        neighbours,
        component,
        statistics.excess(contrast),
        extents,
        masses,
    )
    taken = {"extent": extents, "mass": masses}
    return {
        f"{name}_{SIDE_NAMES[sign]}": values
        for name, values in taken.items()
        if name in statistics.names
    }


def enhanced_maps(
    maps: np.ndarray,
    statistics: ShuffleStatistics,
    contrast: ShuffledContrast,
    neighbours: np.ndarray,
    highest: Mapping[int, float],
    settled: np.ndarray = NOT_SETTLED,
) -> np.ndarray:
    """Return TFCE of maps, the negative side below 0.

    Parameters
    ----------
    maps : float64 array, shape (m, v)
        t or F.
    statistics, contrast
        As in `largest_of_maps`.
    neighbours : int32 array, shape (v, k)
        Neighbours of every voxel by the connectivity of TFCE.
    highest : dict
        Sign to the largest height of the unshuffled map on that side, scaled.
    settled : uint32 array, shape (k,), optional
        As in `nipype_group.stats.tfce.enhance_maps`.

    Returns
    -------
    float64 array, shape (m, v)
    """
    maps = statistics.scaled(contrast, maps)
    enhanced = None
    signs, steps, reference = statistics.signs(contrast.signed), statistics.tfce.steps, None
    for sign in signs:
        if steps == "fsl":
            reference = highest[sign]
        elif steps == "nilearn" and len(signs) == 1:
            # The one-sided test of nilearn does not look at the other side.
            reference = (sign * maps).max(axis=1)
        side = enhance_maps(
            maps, neighbours, statistics.tfce, reference, sign=sign, settled=settled
        )
        # In place: fresh memory costs as much as the sums.
        if sign < 0:
            np.negative(side, out=side)
        enhanced = side if enhanced is None else np.add(enhanced, side, out=enhanced)
    assert enhanced is not None
    return enhanced


def side_maxima(name: str, maps: np.ndarray, signs: Iterable[int]) -> dict[str, np.ndarray]:
    """Return the largest value of every map on each side, as ``<name>_positive`` and so on."""
    return {
        f"{name}_{SIDE_NAMES[sign]}": maps.max(axis=1) if sign > 0 else -maps.min(axis=1)
        for sign in signs
    }
