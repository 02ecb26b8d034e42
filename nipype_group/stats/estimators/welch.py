"""Unequal error variances of independent maps: a variance for each group, or for each map.

``fit_welch(model, groups, read, n_voxels)`` is least squares whose contrasts take each group's
own error variance: Welch's t with the dof of Welch and Satterthwaite, Welch's F (1951) of several
groups, in any design; see `nipype_group.stats.linear.aspin_welch`.

``fit_hc(model, read, n_voxels, kind)`` is least squares with the sandwich of clusters of one map
(White 1980; MacKinnon and White 1985; Long and Ervin 2000; Cribari-Neto 2004), which needs no
groups. Its dof are those of Bell and McCaffrey, fewer than n - rank where few maps tell of a
contrast's variance; see `nipype_group.stats.estimators.sandwich`.

Both give fits as `nipype_group.stats.estimators.contrast_estimates` says.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nipype_group.stats.estimators.contrast_estimates import ContrastEstimates
from nipype_group.stats.estimators.sandwich import SandwichFit
from nipype_group.stats.linear.aspin_welch import AspinWelch, check_variance_groups
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    ReadVoxels,
    independent_rows,
    is_rounding,
    missing_patterns,
    present_values,
    tiles,
)
from nipype_group.stats.matrix_products import multiply, residuals_of, sum_of_squares

# Names of textbooks, and the sandwich of clusters of one map that they are.
HC_KINDS = {"HC0": "CR0", "HC1": "HC1", "HC2": "CR2", "HC3": "CR3", "HC4": "HC4"}


@dataclass(frozen=True)
class _Groups:
    """The maps of some voxels, and what the design is of each group.

    Parameters
    ----------
    model : LinearModel
    numbers : int array, shape (n,)
        Group of every map; all groups have residuals.
    """

    model: LinearModel
    numbers: np.ndarray

    def variances(self, residuals, data):
        """Return the error variance of every group, shape (g, v); 0 where it is rounding."""
        shares = 1 - np.square(self.model.basis).sum(axis=1)
        found = []
        for g in np.unique(self.numbers):
            own = self.numbers == g
            square = sum_of_squares(residuals[own])
            square[is_rounding(square, data)] = 0.0
            found.append(square / shares[own].sum())
        return np.array(found)

    def fit(self, rows, data, test):
        """Return effect, variance, statistic, dof and spread of voxels without gaps."""
        over = multiply(rows, self.model.inverse)
        variances = self.variances(residuals_of(self.model.basis, data), data)
        stat, dof = AspinWelch(self.model, rows, self.numbers).statistic(data)
        alive = (variances > 0).all(axis=0)
        mean = multiply(np.full(len(variances), 1 / len(variances)), variances)
        if test == "t":
            effect = multiply(over, data)[0]
            parts = [np.square(over[0, self.numbers == g]).sum() for g in np.unique(self.numbers)]
            variance = np.where(alive, multiply(np.array(parts), variances), 0.0)
        else:
            variance = np.where(alive, mean, 0.0)
            effect = np.sqrt(stat * variance)
        stat, dof = np.where(alive, stat, 0.0), np.where(alive, dof, 0.0)
        return effect, variance, stat, dof, np.sqrt(mean)


@dataclass(frozen=True)
class WelchFit:
    """Least squares whose contrasts take each group's own error variance.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    numbers : int array, shape (n,)
        Group of every map.
    names : tuple of str
        Groups, by number.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v);
        NaN where a map lacks the voxel.
    n_voxels : int
    """

    model: LinearModel
    numbers: np.ndarray
    names: tuple[str, ...]
    read: ReadVoxels
    n_voxels: int

    @property
    def components(self) -> dict[str, np.ndarray]:
        """The error variance of every group, from 1; 0 where its maps leave no residual."""
        found = np.zeros((len(self.names), self.n_voxels))
        for own, voxels, data in self._parts():
            residuals = residuals_of(own.model.basis, data)
            found[np.ix_(np.unique(own.numbers), voxels)] = own.variances(residuals, data)
        return {f"varResidualGroup{number}": own for number, own in enumerate(found, start=1)}

    @property
    def notes(self) -> tuple[str, ...]:
        """The groups and how many maps they have."""
        counts = np.bincount(self.numbers)
        told = ", ".join(f"{n} ({c} maps)" for n, c in zip(self.names, counts, strict=True))
        return (
            f"Each group has an error variance of its own: {told}.",
            "Voxels where a group has no variance have no statistic.",
        )

    def residuals(
        self, maps: Callable[[Sequence[int]], Iterator[np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """Yield the residuals of every map over the root of its group's variance."""
        betas = np.zeros((self.model.matrix.shape[1], self.n_voxels))
        for own, voxels, data in self._parts():
            betas[:, voxels] = multiply(own.model.inverse, data)
        scales = [np.sqrt(v) for v in self.components.values()]
        rows = self.model.matrix
        for at, values in enumerate(maps(range(len(rows)))):
            scale = scales[self.numbers[at]]
            left = values - multiply(rows[at], betas)
            yield np.divide(left, scale, out=np.zeros(self.n_voxels), where=scale > 0)

    def _parts(self):
        """Yield the groups, voxels and data of voxels that lack the same maps."""
        known = {b"": self._without(np.zeros(0, dtype=int))}
        for span in tiles(self.n_voxels, len(self.model.matrix)):
            data = self.read(span.start, span.stop)
            for members, missing in missing_patterns(data):
                key = missing.tobytes()
                if key not in known:
                    known[key] = self._without(missing)
                if known[key] is not None:
                    yield known[key], span.start + members, present_values(data, members, missing)

    def _without(self, missing):
        model = self.model.without(missing) if len(missing) else self.model
        numbers = np.delete(self.numbers, missing)
        try:
            if model is not None:
                check_variance_groups(numbers, model)
                return _Groups(model, numbers)
        except ValueError:
            # A group whose maps are fitted exactly has no variance.
            pass
        return None

    def contrast(self, weights: np.ndarray, test: str) -> ContrastEstimates:
        """Return a contrast at every voxel.

        Parameters
        ----------
        weights : array, shape (r, p)
            Contrast rows over the columns of the design.
        test : {"t", "F"}
            One row with a sign, or all rows together.

        Returns
        -------
        ContrastEstimates
            Of F the variance is the mean of the groups' variances. Cohen's d of t is in units of
            its root (Delacre et al. 2021, whose d* is for unequal variances).
        """
        weights = np.atleast_2d(np.asarray(weights, dtype=float))
        rows = weights[:1] if test == "t" else independent_rows(weights)
        values, complete = np.zeros((5, self.n_voxels)), np.zeros(self.n_voxels, dtype=bool)
        for own, voxels, data in self._parts():
            complete[voxels] = len(data) == len(self.model.matrix)
            if own.model.row_space.holds(rows):
                values[:, voxels] = own.fit(rows, data, test)
        effect, variance, stat, dof, spread = values
        return ContrastEstimates(effect, variance, stat, dof, len(rows), spread, complete)


def fit_welch(
    model: LinearModel, groups: Sequence[object], read: ReadVoxels, n_voxels: int
) -> WelchFit:
    """Return least squares whose contrasts take each group's own error variance.

    Parameters
    ----------
    model : LinearModel
        Design of n maps.
    groups : sequence, shape (n,)
        Group of every map.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v);
        NaN where a map lacks the voxel.
    n_voxels : int
        Voxels in the mask.

    Returns
    -------
    WelchFit

    Raises
    ------
    ValueError
        Where maps and groups differ in number, or the design fits all maps of a group exactly.

    Examples
    --------
    >>> data = np.array([[3.0], [4.0], [5.0], [1.0], [5.0], [0.0], [2.0]])
    >>> group = ["a"] * 3 + ["b"] * 4
    >>> model = LinearModel(np.eye(2)[[0, 0, 0, 1, 1, 1, 1]], ("a", "b"))
    >>> fit = fit_welch(model, group, lambda a, b: data[:, a:b], 1)
    >>> found = fit.contrast(np.array([[1.0, -1.0]]), "t")
    >>> found.stat.round(3).tolist(), found.dof.round(4).tolist()
    ([1.633], [4.4182])
    """
    names, numbers = np.unique(np.asarray(groups), return_inverse=True)
    if len(numbers) != len(model.matrix):
        raise ValueError(f"{len(numbers)} groups are named for {len(model.matrix)} maps")
    check_variance_groups(np.asarray(groups), model)
    return WelchFit(model, numbers, tuple(map(str, names)), read, n_voxels)


def fit_hc(model: LinearModel, read: ReadVoxels, n_voxels: int, kind: str = "HC3") -> SandwichFit:
    """Return least squares with variances of contrasts that hold whatever those of maps are.

    Parameters
    ----------
    model : LinearModel
        Design of n maps, each of another participant.
    read : callable
        ``read(start, stop)`` gives the float64 data of voxels start to stop - 1, shape (n, v).
    n_voxels : int
        Voxels in the mask.
    kind : {"HC3", "HC0", "HC1", "HC2", "HC4"}
        What squared residuals are multiplied by: 1 / (1 - h)^2 with the leverage h; 1;
        n / (n - rank); 1 / (1 - h); 1 / (1 - h)^min(4, h n / rank).

    Returns
    -------
    SandwichFit

    Raises
    ------
    ValueError
        Where the kind is none of these.

    Examples
    --------
    >>> data = np.array([[1.0], [2], [4], [3], [7], [6]])
    >>> mean = LinearModel(np.ones((6, 1)), ("mean",))
    >>> found = fit_hc(mean, lambda a, b: data[:, a:b], 1).contrast(np.array([[1.0]]), "t")
    >>> found.variance.round(4).tolist(), found.dof.round(4).tolist()
    ([1.0733], [5.0])
    """
    if kind not in HC_KINDS:
        raise ValueError(f"the variance is one of {', '.join(HC_KINDS)}, got {kind!r}")
    return SandwichFit(model, np.arange(len(model.matrix)), read, n_voxels, HC_KINDS[kind])
