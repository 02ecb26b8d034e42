"""Which places the maps of an analysis have values at, and the mask that they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nipype_group.images.space import MapError, Space, check_same_space
from nipype_group.images.volumes import read_effect, read_map, read_mask
from nipype_group.tsv import write_tsv
from nipype_group.whole_files import AnyPath

# Share of the voxels of any map that a mask may lack before that is told.
_MANY_LOST = 0.2


@dataclass(frozen=True)
class Coverage:
    """Where maps have values.

    Parameters
    ----------
    counts : int32 array of the shape of the Space
        Maps with a value.
    space : Space
    own : int array, shape (n,)
        Voxels with a value in each map, of `within` where it is given.
    lacking : int64 array of the shape of the Space
        Sum of the numbers (from 0) of the maps without a value: where one map alone has none, its
        number.
    within : bool array of the shape of the Space, or None
        Explicit mask.
    without_variance : int array, shape (n,), or None
        Voxels, of `within` where it is given, of which each map has a value and no variance, or
        no covariate.
    lost_as : str
        What it lacks there.
    """

    counts: np.ndarray
    space: Space
    own: np.ndarray
    lacking: np.ndarray
    within: np.ndarray | None = None
    without_variance: np.ndarray | None = None
    lost_as: str = ""

    @property
    def allowed(self) -> np.ndarray:
        """Voxels of the explicit mask, without one those of any map; a bool array."""
        return self.counts > 0 if self.within is None else self.within

    def missing(self) -> np.ndarray:
        """Return how many of the allowed voxels each map lacks, int array of shape (n,)."""
        return int(self.allowed.sum()) - self.own

    def removed_alone(self, mask: np.ndarray) -> np.ndarray:
        """Return how many allowed voxels outside a mask each map lacks that all others have.

        Parameters
        ----------
        mask : bool array of the shape of the Space

        Returns
        -------
        int array, shape (n,)
        """
        n_maps = len(self.own)
        alone = self.allowed & ~mask & (self.counts == n_maps - 1)
        return np.bincount(self.lacking[alone], minlength=n_maps)


def count_coverage(
    paths: Sequence[AnyPath],
    mask_file: AnyPath | None = None,
    mask_threshold: float | None = None,
    zero_is_value: bool = False,
    variance_files: Sequence[AnyPath] | None = None,
    covariate_files: Sequence[AnyPath] = (),
) -> Coverage:
    """Count, for every voxel, the maps that have a value there; a map in memory at a time.

    Parameters
    ----------
    paths : sequence of path
        Maps of one Space.
    mask_file : path, optional
        Explicit mask on the same Space.
    mask_threshold : float, optional
        The least value inside it, see `nipype_group.images.read_mask`.
    zero_is_value : bool, optional
        Whether a voxel of 0 has a value.
    variance_files : sequence of path, optional
        Variances of the maps: a map has no value where its variance is 0, negative or missing.
    covariate_files : sequence of path
        Covariates that are maps, one after the other: a map has no value where one is missing.

    Returns
    -------
    Coverage

    Raises
    ------
    MapError
        Naming the map that is on another Space than the first, or the mask that is.
    """
    counts, space, own, within = None, None, [], None
    without: list[int] = []
    for number, path in enumerate(paths):
        variance = None if variance_files is None else variance_files[number]
        covariates = covariate_files[number :: len(paths)]
        values, its_space = read_effect(path, variance, zero_is_value, covariates)
        present = np.isfinite(values)
        if space is None:
            counts, space = np.zeros(values.shape, dtype=np.int32), its_space
            lacking = np.zeros(values.shape, dtype=np.int64)
            if mask_file is not None:
                within, _ = read_mask(mask_file, space, mask_threshold)
        else:
            check_same_space(path, its_space, space, "the first map")
        counts += present
        np.add(lacking, number, out=lacking, where=~present)
        own.append(np.count_nonzero(present if within is None else present & within))
        if variance is not None or covariates:
            alone = np.isfinite(read_map(path, zero_is_value)[0]) & ~present
            without.append(int(np.count_nonzero(alone if within is None else alone & within)))
    assert counts is not None and space is not None
    lost = np.array(without) if without else None
    whys = ["variance is 0, negative or not finite"] if variance_files is not None else []
    of = " or ".join([*whys, *(["covariate is missing"] if len(covariate_files) else [])])
    return Coverage(counts, space, np.array(own), lacking, within, lost, of)


def write_map_coverage(
    path: AnyPath, map_files: Sequence[AnyPath], coverage: Coverage, mask: np.ndarray
) -> str:
    """Write what each map has and what it costs the mask, a row a map.

    Parameters
    ----------
    path : path
        Ending in .tsv.
    map_files : sequence of path
        Maps that were counted, in order.
    coverage : Coverage
    mask : bool array of the shape of the Space
        Voxels that are analysed.

    Returns
    -------
    str
    """
    table = {
        "map": [Path(f).name for f in map_files],
        "n_voxels": coverage.own,
        "n_missing": coverage.missing(),
        "n_removed_alone": coverage.removed_alone(mask),
    }
    return str(write_tsv(Path(path).absolute(), table))


def maps_needed(n_maps: int, min_coverage: float) -> int:
    """Return how many maps a share of them is, rounded up.

    Raises
    ------
    ValueError
        Where the share is not above 0 and up to 1.

    Examples
    --------
    >>> maps_needed(12, 0.7), maps_needed(30, 0.1), maps_needed(5, 1.0)
    (9, 3, 5)
    """
    if not 0 < min_coverage <= 1:
        raise ValueError(
            f"min_coverage is a share of the maps above 0 and up to 1, got {min_coverage:g}"
        )
    # 0.1 x 30 is a little more than 3.
    return max(1, int(np.ceil(min_coverage * n_maps - 1e-9)))


def group_mask(
    paths: Sequence[AnyPath],
    mask_file: AnyPath | None = None,
    min_coverage: float = 1.0,
    mask_threshold: float | None = None,
    zero_is_value: bool = False,
    variance_files: Sequence[AnyPath] | None = None,
    covariate_files: Sequence[AnyPath] = (),
) -> tuple[np.ndarray, Coverage]:
    """Return the voxels that enough maps have, inside an explicit mask where one is given.

    Parameters
    ----------
    paths : sequence of path
        Maps of one Space.
    mask_file : path, optional
        Explicit mask on the same Space.
    min_coverage : float
        Share of the maps that must have a voxel, above 0 and up to 1.
    mask_threshold : float, optional
        The least value inside the explicit mask, see `nipype_group.images.read_mask`.
    zero_is_value : bool, optional
        Whether a voxel of 0 has a value.
    variance_files : sequence of path, optional
        Variances of the maps, as `count_coverage` takes them.
    covariate_files : sequence of path
        Covariates that are maps, as it takes them too.

    Returns
    -------
    mask : bool array of the shape of the Space
    coverage : Coverage
        Of the explicit mask (without one: of the voxels of any map).

    Raises
    ------
    ValueError
        Where the share is out of range.
    MapError
        Where no voxel is left, naming the map with the smallest coverage.
    """
    needed = maps_needed(len(paths), min_coverage)
    coverage = count_coverage(
        paths, mask_file, mask_threshold, zero_is_value, variance_files, covariate_files
    )
    mask = coverage.allowed & (coverage.counts >= needed)
    if not mask.any():
        worst = int(np.argmin(coverage.own))
        who = "every map" if needed == len(paths) else f"{needed} of the {len(paths)} maps"
        raise MapError(
            paths[worst],
            f"no voxel {'of the mask ' if mask_file else ''}has a value in {who}; this one "
            f"has the smallest coverage, {coverage.own[worst]} voxels",
        )
    return mask, coverage


def mask_notes(
    mask: np.ndarray, coverage: Coverage, paths: Sequence[AnyPath], zero_is_value: bool = False
) -> list[str]:
    """Return what is odd about a mask: it fills the image, or maps cost it many voxels.

    Parameters
    ----------
    mask : bool array of the shape of the Space
        Voxels that are analysed.
    coverage : Coverage
        Of the maps.
    paths : sequence of path
        The maps.
    zero_is_value : bool, optional
        Whether a voxel of 0 has a value.

    Returns
    -------
    list of str
    """
    notes = []
    lost = coverage.without_variance
    if lost is not None and lost.any():
        worst = int(np.argmax(lost))
        notes.append(
            f"{(lost > 0).sum()} of {len(paths)} maps have voxels with a value whose "
            f"{coverage.lost_as}: {lost.sum()} in all, the most, {lost.max()}, in "
            f"{Path(paths[worst]).name}; maps count as missing there"
        )
    if mask.all():
        notes.append(
            f"the mask fills the whole image, {mask.size} voxels: the maps have a value outside "
            "the brain too; a mask of the brain (--mask) leaves that out"
        )
    n_allowed, n_inside = int(coverage.allowed.sum()), int(mask.sum())
    if n_allowed - n_inside >= _MANY_LOST * n_allowed:
        worst = int(np.argmin(coverage.own))
        absent, remedy = "not finite", ""
        if not zero_is_value:
            absent, remedy = "0 or not finite", "; where 0 is a value, --zero-is-value"
        notes.append(
            f"{n_allowed - n_inside} of {n_allowed} voxels are out of the mask, as maps are "
            f"{absent} there, most often {Path(paths[worst]).name}; --min-coverage keeps voxels "
            f"that some maps lack{remedy}"
        )
    n_lacking = int((coverage.counts[mask] < len(paths)).sum())
    # Brains that differ in their edges lack less.
    if not zero_is_value and 2 * n_lacking > n_inside:
        notes.append(
            f"{n_lacking} of {n_inside} voxels of the mask are 0 or not finite in some "
            "maps, which are left out there; where 0 is a value, --zero-is-value"
        )
    return notes
