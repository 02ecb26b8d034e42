"""All-resolutions inference: how many discoveries of any region are true, at least.

Closed testing with the test of Simes bounds the number of true discoveries of every set of
voxels at once: with probability 1 - alpha all bounds hold, whichever regions are looked at,
however many, and also when the map itself suggested them (Rosenblatt et al. 2018; Goeman et al.
2019). It needs the inequality of Simes, which holds for independent and positively dependent
tests. A template calibrated by shuffles of the same data needs none, and bounds in its place.

Regions may overlap. Their discoveries are then partly the same ones, so their bounds do not add
up; a region that holds another has at least its bound. Bounds of disjoint regions may be added,
and their union has at least the sum. A bound belongs to the region: it says how many of its
voxels are active, not which.

p values travel as natural logarithms of the p of the tail, two-sided ones for both signs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from nipype_group.stats.clusters import LabelClusters, label_clusters
from nipype_group.stats.discoveries.calibrated_templates import Template, false_discovery_bound
from nipype_group.stats.discoveries.closed_testing import (
    Hommel,
    concentration_set,
    hommel_value,
    true_discoveries,
    true_discovery_proportion,
)
from nipype_group.stats.distributions import z_to_log_p
from nipype_group.stats.graphs import label_graph_clusters
from nipype_group.stats.multiple_testing import check_log_p

__all__ = [
    "Hommel",
    "Region",
    "Resolutions",
    "ari_clusters",
    "ari_regions",
    "check_thresholds_z",
    "concentration_set",
    "hommel_value",
    "label_graph_clusters",
    "true_discoveries",
    "true_discovery_proportion",
]


@dataclass(frozen=True)
class Region:
    """A region and how much of it is true discoveries, at least.

    Parameters
    ----------
    name : int or str
        Value in the label image, or name of the mask.
    n_voxels : int
        Voxels tested, in the region and in the mask.
    n_outside : int
        Voxels of the region outside the mask; they count nowhere.
    n_discoveries : int
        Lower bound of the number of true discoveries.
    tdp : float
        The bound as a proportion of n_voxels; nan without voxels.
    peak : tuple of int
        Index of the strongest voxel; empty without voxels.
    peak_z : float
        z of the peak; nan without voxels.
    threshold_z : float
        Height that forms the cluster; nan for other regions.
    """

    name: int | str
    n_voxels: int
    n_outside: int
    n_discoveries: int
    tdp: float
    peak: tuple
    peak_z: float
    threshold_z: float = np.nan


@dataclass(frozen=True)
class Resolutions:
    """Clusters at several heights and their bounds.

    Parameters
    ----------
    hommel : Hommel or None
        The family; None where a template bounds.
    thresholds_z : tuple of float
        Heights, ascending.
    labels : tuple of int32 array
        Cluster ids, one array for each height, shaped as the map.
    clusters : tuple of tuple of Region
        Clusters, one tuple for each height, in the order of their ids.
    tdp_map : array
        Every voxel carries the proportion of the cluster that holds it at the greatest height;
        0 outside clusters.
    """

    hommel: Hommel | None
    thresholds_z: tuple
    labels: tuple
    clusters: tuple
    tdp_map: np.ndarray


def _strength(z, tail):
    return {"two-sided": np.abs(z), "positive": z, "negative": -z}[tail]


def _check_template(template, n_voxels, tail, alpha):
    """Refuse a template that was calibrated for another family."""
    for what, own, asked in (
        ("voxels", template.n_voxels, n_voxels),
        ("tail", template.tail, tail),
        ("alpha", template.alpha, alpha),
    ):
        if own != asked:
            raise ValueError(f"the template was calibrated for {what} {own}, the map has {asked}")


def _family(
    z: ArrayLike, mask: ArrayLike | None, tail: str, alpha: float, template: Template | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Hommel | Template]:
    """Return z, mask, log p (shaped as z, 0 outside the mask) and what bounds the regions."""
    z = np.asarray(z, dtype=float)
    mask = np.ones(z.shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if mask.shape != z.shape:
        raise ValueError(f"the mask has shape {mask.shape}, the map {z.shape}")
    log_p = np.zeros(z.shape)
    log_p[mask] = z_to_log_p(z[mask], tail)
    if template is None:
        return z, mask, log_p, hommel_value(log_p[mask], alpha)
    _check_template(template, check_log_p(log_p[mask]).size, tail, alpha)
    return z, mask, log_p, template


def _discoveries(log_p, family):
    if isinstance(family, Template):
        return log_p.size - false_discovery_bound(log_p, family)
    return true_discoveries(log_p, family)


def _region(name, members, z, mask, log_p, family, tail, threshold_z=np.nan):
    """Bound one region, given the flat indices of its voxels."""
    tested = members[mask.flat[members]]
    n_outside = members.size - tested.size
    if tested.size == 0:
        return Region(name, 0, n_outside, 0, np.nan, (), np.nan, threshold_z)
    found = _discoveries(log_p.flat[tested], family)
    peak = tested[np.argmax(_strength(z.flat[tested], tail))]
    where = tuple(int(i) for i in np.unravel_index(peak, z.shape))
    return Region(
        name=name,
        n_voxels=tested.size,
        n_outside=n_outside,
        n_discoveries=found,
        tdp=found / tested.size,
        peak=where,
        peak_z=float(z.flat[peak]),
        threshold_z=threshold_z,
    )


def _members(labels):
    """Return the labels but 0, ascending, and the flat indices of each."""
    flat = labels.ravel()
    inside = np.flatnonzero(flat)
    inside = inside[np.argsort(flat[inside], kind="stable")]
    names, first = np.unique(flat[inside], return_index=True)
    return list(zip(names.tolist(), np.split(inside, first[1:]))) if names.size else []


def _whole(values):
    return bool((np.isfinite(values) & (values == np.trunc(values))).all())


def ari_regions(
    z: ArrayLike,
    regions: ArrayLike | Mapping[str, ArrayLike],
    *,
    mask: ArrayLike | None = None,
    alpha: float = 0.05,
    tail: str = "two-sided",
    template: Template | None = None,
) -> tuple[Region, ...]:
    """Bound the true discoveries of regions that the user names.

    Parameters
    ----------
    z : array
        z values, of a volume or of the nodes of a surface.
    regions : int array, bool array or mapping
        Label image (0: no region), one mask, or masks by name, which may overlap; shaped as z.
    mask : bool array, optional
        Voxels tested: the family. Without it all.
    alpha : float
        Probability that any bound fails.
    tail : {"two-sided", "positive", "negative"}
        Side that counts; two-sided counts discoveries of both signs together.
    template : Template, optional
        Bounds by this template, calibrated for the same voxels, tail and alpha, in place of
        closed testing.

    Returns
    -------
    tuple of Region
        Ascending labels, or the order of the mapping.

    Raises
    ------
    ValueError
        Where shapes differ, z in the mask is NaN, labels are no whole numbers, or the template
        is of another family.

    Examples
    --------
    >>> z = np.array([4.0, 4.5, 0.1, -0.3, 0.2, 3.9])
    >>> labels = np.array([1, 1, 1, 2, 2, 2])
    >>> [(r.name, r.n_discoveries, r.n_voxels) for r in ari_regions(z, labels)]
    [(1, 2, 3), (2, 1, 3)]
    """
    z, mask, log_p, family = _family(z, mask, tail, alpha, template)
    named = regions.items() if isinstance(regions, Mapping) else [("labels", regions)]
    rows = []
    for name, region in named:
        region = np.asarray(region)
        if region.shape != z.shape:
            raise ValueError(f"region {name} has shape {region.shape}, the map {z.shape}")
        if isinstance(regions, Mapping):
            found = [(name, np.flatnonzero(region))]
        elif np.issubdtype(region.dtype, np.inexact) and not _whole(region):
            raise ValueError("a label image holds whole numbers, got fractions or NaN")
        else:
            found = _members(region.astype(np.int64))
        rows += [_region(key, members, z, mask, log_p, family, tail) for key, members in found]
    return tuple(rows)


def check_thresholds_z(thresholds_z: ArrayLike) -> tuple[float, ...]:
    """Return heights, ascending and once each; refuse what can be no height."""
    heights = np.unique(np.atleast_1d(np.asarray(thresholds_z, dtype=float)))
    if heights.size == 0 or not (np.isfinite(heights) & (heights > 0)).all():
        raise ValueError(f"thresholds_z are heights > 0, as 2.5 and 3.1, got {thresholds_z!s}")
    if heights[0] < 0.1:
        raise ValueError(f"threshold_z {heights[0]:g} looks like a p value; clusters form by z")
    return tuple(heights.tolist())


def ari_clusters(
    z: ArrayLike,
    thresholds_z: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    edges: np.ndarray | sparse.sparray | None = None,
    alpha: float = 0.05,
    tail: str = "two-sided",
    connectivity: int = 26,
    min_extent: int = 0,
    template: Template | None = None,
    label: LabelClusters | None = None,
) -> Resolutions:
    """Bound the true discoveries of the clusters above several heights.

    A cluster is a connected set of voxels of one sign with abs(z) >= height. Heights may be
    chosen, and changed, after a look at the map: all bounds hold at once.

    Parameters
    ----------
    z : array, shape (x, y, z), or (v,) with edges
        z values of a volume, or of the nodes of a graph.
    thresholds_z : float or sequence of float
        Heights that form clusters.
    mask : bool array, shaped as z, optional
        Voxels tested: the family. Without it all.
    edges : int array, shape (e, 2), or sparse array, shape (v, v), optional
        Neighbours in a graph, as a surface.
    alpha : float
        Probability that any bound fails.
    tail : {"two-sided", "positive", "negative"}
        Side that counts. Two-sided p are twice the one-sided ones; clusters form on each side.
    connectivity : {6, 18, 26}
        Neighbours in a volume.
    min_extent : int
        Smallest number of voxels of a cluster that is kept. Bounds are as without it.
    template : Template, optional
        Bounds by this template, calibrated for the same voxels, tail and alpha, in place of
        closed testing.
    label : callable, optional
        Labels the clusters of a map of any shape, as `label_clusters` does those of volumes.

    Returns
    -------
    Resolutions

    Raises
    ------
    ValueError
        Where a setting is out of range, shapes differ, z in the mask is NaN, or the template is
        of another family.

    Examples
    --------
    >>> z = np.array([4.0, 4.5, 0.1, -3.3, 2.2, 3.9])
    >>> path = [[i, i + 1] for i in range(5)]
    >>> found = ari_clusters(z, [2, 3], edges=path)
    >>> [(c.name, c.threshold_z, c.n_discoveries, c.n_voxels) for c in found.clusters[0]]
    [(1, 2.0, 2, 2), (2, 2.0, 1, 2), (3, 2.0, 1, 1)]
    >>> found.tdp_map.tolist()
    [1.0, 1.0, 0.0, 1.0, 0.5, 1.0]
    """
    heights = check_thresholds_z(thresholds_z)
    z, mask, log_p, family = _family(z, mask, tail, alpha, template)
    if label is None and z.ndim != (3 if edges is None else 1):
        raise ValueError(f"a volume has 3 axes, a graph 1 and edges; got a map of {z.ndim} axes")
    strength = np.where(mask, _strength(z, tail), -np.inf)
    tdp_map = np.zeros(z.shape)
    all_labels, all_clusters = [], []
    for height in heights:
        survives = strength >= height
        if edges is None:
            form = label or label_clusters
            labels = form(np.where(mask, z, 0), survives, connectivity, min_extent)
        else:
            labels = label_graph_clusters(np.where(mask, z, 0), survives, edges, min_extent)
        clusters = tuple(
            _region(name, members, z, mask, log_p, family, tail, height)
            for name, members in _members(labels)
        )
        tdp_map = np.where(labels > 0, np.r_[0, [c.tdp for c in clusters]][labels], tdp_map)
        all_labels.append(labels)
        all_clusters.append(clusters)
    hommel = family if isinstance(family, Hommel) else None
    return Resolutions(hommel, heights, tuple(all_labels), tuple(all_clusters), tdp_map)
