"""Statistics of maps in clusters under shuffles: what random effects and sandwiches share.

A shuffle moves what the model without the contrast leaves of the maps, and the whole model is
fitted to it (Freedman and Lane 1983). That residual with a sign a cluster is the restricted wild
cluster bootstrap of t (Cameron, Gelbach and Miller 2008, Bootstrap-based improvements for
inference with clustered errors, Rev Econ Stat 90:414), which is approximate: it takes errors of
clusters to be symmetric around 0, whatever they are within, and the fitted part for what it is.
Clusters that change places as wholes are exchangeable instead.

What the model without the contrast fits is not added again: it moves no statistic of the contrast.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from nipype_group.stats.estimators.sandwich import ContrastSandwich
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    independent_rows,
    missing_patterns,
    present_values,
)
from nipype_group.stats.linear.partition import partition

# Statistics of shuffles that give the same one differ by rounding, and by where searches for
# variance components end.
TIE_TOLERANCE = 1e-9
_NO_MAPS = np.zeros(0, dtype=int)
# A fit of maps of the voxels of a part, shapes (n, v) to (v,).
StatisticOf = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Part:
    """Voxels of a tile that lack the same maps.

    Parameters
    ----------
    voxels : int array, shape (v,)
    rows : int array, shape (n,)
        Maps that they have.
    dof : float
    residuals : array, shape (n, v)
        What the model without the contrast leaves; 0 where the maps have no statistic.
    statistic : callable
        Gives t or F of moved residuals, 0 where there is none.
    """

    voxels: np.ndarray
    rows: np.ndarray
    dof: float
    residuals: np.ndarray
    statistic: StatisticOf


@dataclass(frozen=True)
class Prepared:
    """A tile of voxels, by the maps that these lack."""

    n_voxels: int
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class ShuffledClusters:
    """A contrast of an estimator of maps in clusters, as shuffles need it.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    clusters : int array, shape (n,)
        Cluster of every map.
    weights : array, shape (r, p)
        Contrast rows over the columns of the design.
    test : {"t", "F"}
    part : callable
        ``part(model, nuisance, present, rows, data)`` gives residuals and statistic of a `Part`,
        or None where its maps tell too little: ``model`` and ``nuisance``, which may have no
        column, are the designs of the maps ``present``, ``data`` has shape (n', v).
    words : str
        What is estimated again in every shuffle and what is held.

    Raises
    ------
    ValueError
        Where the clusters say too little of the contrast for any shuffle to test it.
    """

    model: LinearModel
    clusters: np.ndarray
    weights: np.ndarray
    test: str
    part: Callable
    words: str
    tie: float = TIE_TOLERANCE
    takes: tuple[str, ...] = ()
    bytes_per_value: int = 8
    _known: dict = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self):
        if not self.dof > 0:
            n_clusters = len(np.unique(self.clusters))
            raise ValueError(
                f"the {n_clusters} clusters say too little of this contrast for shuffles of whole "
                "clusters to test it: it has more rows than they have degrees of freedom, or is "
                "about a column that one cluster alone has. Test fewer rows, or drop the column"
            )

    @property
    def rows(self) -> np.ndarray:
        """Independent contrast rows, shape (q, p)."""
        weights = np.atleast_2d(np.asarray(self.weights, dtype=float))
        return weights[:1] if self.test == "t" else independent_rows(weights)

    @property
    def dof(self) -> float:
        """Degrees of freedom of Bell and McCaffrey, a number of the design."""
        return self._design(_NO_MAPS)[2]

    def voxel_dof(self, prepared: Prepared) -> np.ndarray:
        """Return the degrees of freedom of voxels, shape (v,); 0 where maps tell too little."""
        dof = np.zeros(prepared.n_voxels)
        for part in prepared.parts:
            dof[part.voxels] = part.dof
        return dof

    def prepare(self, data: Mapping[str, np.ndarray]) -> Prepared:
        """Return what shuffles take of a tile of voxels.

        Parameters
        ----------
        data : dict
            ``effects``, the maps, shape (n, v), NaN where a map lacks a voxel.
        """
        maps, parts = data["effects"], []
        for members, missing in missing_patterns(maps):
            model, nuisance, dof = self._design(missing)
            if model is None or not dof > 0:
                continue
            present = np.delete(np.arange(len(maps)), missing)
            values = np.ascontiguousarray(present_values(maps, members, missing))
            found = self.part(model, nuisance, present, self.rows, values)
            if found is not None:
                parts.append(Part(members, present, dof, *found))
        return Prepared(maps.shape[1], tuple(parts))

    def _design(self, missing):
        """Return the model without some maps, that without the contrast, and dof."""
        key = missing.tobytes()
        if key not in self._known:
            model = self.model.without(missing) if len(missing) else self.model
            self._known[key] = self._known_design(model, missing)
        return self._known[key]

    def _known_design(self, model, missing):
        rows = self.rows
        if model is None or not model.row_space.holds(rows):
            return None, None, 0.0
        clusters = np.delete(np.asarray(self.clusters), missing)
        dof = ContrastSandwich(model, clusters, rows, "CR2").dof
        nuisance = partition(model, rows).nuisance
        names = tuple(f"nuisance {i}" for i in range(nuisance.shape[1]))
        return model, LinearModel(nuisance, names), dof

    def statistic(self, prepared: Prepared, orders: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """Return t or F of shuffles.

        Parameters
        ----------
        prepared : Prepared
        orders, signs : arrays, shape (m, n)
            Row r of the shuffled design is row orders[k, r] times signs[k, r].

        Returns
        -------
        array, shape (m, v)
            0 where there is no statistic, as where maps tell too little.

        Raises
        ------
        ValueError
            Where a voxel lacks maps and shuffles reorder, which would take others to clusters
            that lack theirs.
        """
        orders, signs = np.asarray(orders), np.asarray(signs, dtype=float)
        found = np.zeros((len(orders), prepared.n_voxels))
        stays = (orders == np.arange(orders.shape[1])).all()
        for part in prepared.parts:
            if len(part.rows) < orders.shape[1] and not stays:
                raise ValueError("clusters change places, and some maps lack voxels of the mask")
            for order, sign, values in zip(orders, signs, found, strict=True):
                moved = sign[part.rows, None] * part.residuals
                if not stays:
                    # The design stays where it is, and maps move the other way.
                    turned = np.empty_like(moved)
                    turned[order] = moved
                    moved = turned
                values[part.voxels] = part.statistic(moved)
        return found
