"""Effects of maps that come with their variances: fixed and mixed effects at every voxel.

The variance of a map within its participant is known, that between participants, tau2, is
estimated: y ~ N(X b, diag(s + tau2)). By restricted likelihood this is stage 1 of FLAME
(Beckmann et al. 2003; Woolrich et al. 2004), with the highest maximum instead of the nearest.
Columns of X may be covariates that are maps, and so differ from voxel to voxel.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numba
import numpy as np
from scipy import special

from nipype_group.stats.decompositions import decompose
from nipype_group.stats.estimators import KNAPP_HARTUNG
from nipype_group.stats.estimators.between_variance import (
    FIXED,
    LANES,
    LIKELIHOOD,
    MOMENTS,
    PAULE_MANDEL,
    add_by_group,
    combine_rows,
    evaluate,
    likelihood_by_group,
    load,
    mean_square_length,
    new_sums,
    of_lanes,
    tau2_by,
    where_q_is,
)
from nipype_group.stats.estimators.contrast_estimates import NORMAL_DOF, ContrastEstimates
from nipype_group.stats.estimators.map_covariates import (
    FINE,
    CovariateParts,
    MapCovariates,
    beside,
    check_dof,
    no_covariates,
    own_columns,
    present_covariates,
    residual_maps,
)
from nipype_group.stats.linear.least_squares import (
    LinearModel,
    ReadVoxels,
    VoxelPatterns,
    by_missing,
    independent_rows,
    is_rounding,
    missing_rows,
    tiles,
)
from nipype_group.stats.matrix_products import multiply

# How the variance between participants is found, by name.
METHODS = {
    "fixed-effects": FIXED,
    "dersimonian-laird": MOMENTS,
    "paule-mandel": PAULE_MANDEL,
    "mixed-effects": LIKELIHOOD,
}
# Level of the interval of tau2 that maps show.
INTERVAL = 0.95
# A median of Q over voxels that low has no chance to be chance: by Markov's inequality, at most
# twice this level of data sets have one.
_TOO_EVEN = 1e-3


@dataclass(frozen=True)
class BetweenVariance:
    """What is between participants at every voxel.

    Parameters
    ----------
    tau2 : array, shape (g, v)
        Variance between participants of every variance group, at least 0.
    lower, upper : arrays, shape (v,)
        Interval of tau2 by the profile of Q (Viechtbauer 2007); NaN where none is asked for, or
        where there are more groups.
    q : array, shape (v,)
        Cochran's Q: weighted residual sum of squares at tau2 = 0.
    q_p : array, shape (v,)
        Its p without any variance between participants, by chi squared.
    i2 : array, shape (v,)
        Percent of variance that is between participants (Higgins and Thompson 2002), of the mean
        tau2 of all maps; of fixed effects by Q.
    h2 : array, shape (v,)
        Variance over that within participants; of fixed effects Q over its degrees of freedom.
    scale : array, shape (v,)
        Knapp and Hartung's (2003) factor: weighted residual mean square at tau2.
    spread : array, shape (v,)
        Standard deviation of a map of typical variance about the model.
    patterns : VoxelPatterns
        Maps that voxels lack, and degrees of freedom n - rank.

    All are 0 (p is 1) where the maps that have a voxel leave no residual degree of freedom.
    """

    tau2: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    q: np.ndarray
    q_p: np.ndarray
    i2: np.ndarray
    h2: np.ndarray
    scale: np.ndarray
    spread: np.ndarray
    patterns: VoxelPatterns


class VarianceMaps(Protocol):
    """Variances of the maps, as `nipype_group.images.stacks.MaskedStack` has them."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return voxels start to stop - 1 of all maps, shape (n, v)."""

    def maps(self, rows: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the variances of the maps of these rows, shape (v,) each."""


@dataclass(frozen=True)
class EffectVarianceFit:
    """Effects with variances whose variance between participants is estimated.

    Parameters
    ----------
    model : LinearModel
    read, read_variances : callables
        As of `fit_effect_variance`.
    between : BetweenVariance
    method : str
    groups : int array, shape (n,)
        Number of every map's variance group.
    group_names : tuple of str
    knapp_hartung : str
    covariates : MapCovariates
        Those that are maps.
    parts : CovariateParts
        What they are beside the columns that voxels share.
    variance_maps : callable, optional
        Yields the variances of the maps of some rows, shape (v,) each, which `residuals` needs.
    """

    model: LinearModel
    read: ReadVoxels
    read_variances: ReadVoxels
    between: BetweenVariance
    method: str
    groups: np.ndarray
    group_names: tuple[str, ...]
    knapp_hartung: str
    covariates: MapCovariates
    parts: CovariateParts
    variance_maps: Callable[[Sequence[int]], Iterator[np.ndarray]] | None = None

    @property
    def components(self) -> dict[str, np.ndarray]:
        """Maps of what is between participants, by name, and where covariates add nothing."""
        between = self.between
        found = {"q": between.q, "qP": between.q_p, "i2": between.i2, "h2": between.h2}
        found |= self.parts.components
        if self.method == "fixed-effects":
            return found
        if len(self.group_names) > 1:
            # Groups go by their numbers, as their names may be no part of a file's.
            return found | {f"tau2Group{i}": own for i, own in enumerate(between.tau2, start=1)}
        found["tau2"] = between.tau2[0]
        if np.isfinite(between.upper).all():
            found |= {"tau2Lower": between.lower, "tau2Upper": between.upper}
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """What is assumed of variances, and where tau2 is 0."""
        found = ["Variances of the maps are taken for known."]
        if self.method == "fixed-effects":
            found.append("Effects are of these participants alone: none varies between them.")
        else:
            found += self._where_none()
        if ratio := self._too_even:
            found.append(
                "Maps scatter about the model with less than their variances alone make: "
                f"{ratio:.2g} of it at the median voxel. Where standard errors, or variances in "
                "other units, were given for variances, statistics are wrong."
            )
        return tuple(found) + self.parts.notes(self.covariates.names)

    def _where_none(self):
        """Say at how many voxels nothing varies between participants, of every group."""
        alive = self.between.patterns.voxel_dof > 0
        several = len(self.group_names) > 1
        for name, tau2 in zip(self.group_names, self.between.tau2, strict=True):
            whose = f" of the group {name}" if several else ""
            n_zero = ((tau2 == 0) & alive).sum()
            yield (
                f"The variance between participants{whose} is 0 at {n_zero} of {alive.sum()} "
                "voxels."
            )

    @property
    def _too_even(self):
        """Return the median of Q over its degrees of freedom, where it is too low for chance."""
        alive = self.between.patterns.voxel_dof > 0
        if not alive.any():
            return None
        q, dof = self.between.q[alive], self.between.patterns.voxel_dof[alive]
        # Q is chi squared of these degrees of freedom, and larger with any variance between.
        below = special.chdtr(dof, q) < _TOO_EVEN
        return float(np.median(q / dof)) if 2 * below.sum() > len(q) else None

    def residuals(
        self, maps: Callable[[Sequence[int]], Iterator[np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """Yield the residuals of every map over the root of all its variance, shape (v,).

        Where maps that lack a voxel leave fewer columns, and where a map lacks it, they are NaN.

        Parameters
        ----------
        maps : callable
            Yields the values of the maps of these rows, shape (v,) each.
        """
        assert self.variance_maps is not None, "a fit of variances that are read by voxels alone"
        rows = range(len(self.model.matrix))
        pairs = zip(self._left(maps), maps(rows), self.variance_maps(rows), strict=True)
        for row, (left, values, variances) in zip(rows, pairs, strict=True):
            total = variances + self.between.tau2[self.groups[row]]
            lacks = lacking(values, variances)
            yield np.where(lacks, np.nan, left) / np.sqrt(np.where(lacks, 1.0, total))

    def _left(self, maps):
        """Yield what the fit leaves of every map, shape (v,); NaN where there is none."""
        model, coordinates = self.model, self._coordinates()
        if self.covariates.names:
            own, shared = coordinates[model.rank :], coordinates[: model.rank]
            without = multiply(multiply(model.inverse, model.basis), shared)
            betas = self.parts.betas(without, own)
            yield from residual_maps(model, betas, self.covariates, maps, self.parts.centre)
            return
        for row, values in zip(model.basis, maps(range(len(model.matrix))), strict=True):
            yield values - multiply(row, coordinates)

    def _coordinates(self):
        """Return the weighted estimates over the columns, shape (c, v); NaN where there are none.

        These are the basis of the model, and own columns of the voxels.
        """
        n_columns = self.model.rank + len(self.covariates.names)
        coordinates = np.full((n_columns, len(self.between.q)), np.nan)
        for part in self._of_model():
            if part.pattern:
                continue
            for column, row in enumerate(np.eye(n_columns)):
                found = self._found(part, row[None, :], is_f=False)
                coordinates[column, part.voxels] = found[0]
        return coordinates

    def _of_model(self):
        return _parts(
            self.model, self.between.patterns, self.read, self.read_variances, self.covariates
        )

    def _found(self, part, own, is_f):
        """Return effect and variance of rows over the basis, shape (2, v')."""
        found = np.empty((2, len(part.voxels)))
        _find_contrast(
            part.effects,
            part.variances,
            part.design,
            self.groups[part.rows],
            self.between.tau2[:, part.voxels],
            own,
            is_f,
            found,
        )
        return found

    def contrast(self, weights: np.ndarray, test: str) -> ContrastEstimates:
        """Return a contrast at every voxel, maps weighted by the inverse of all their variance.

        Parameters
        ----------
        weights : array, shape (r, p + k)
            Contrast rows over the columns of the design, then covariates that are maps.
        test : {"t", "F"}
            One row with a sign, or all rows together (Wald's statistic over their number).

        Returns
        -------
        ContrastEstimates
            Of F the variance is Knapp and Hartung's factor, or 1. Degrees of freedom are
            n - rank; of fixed effects without that factor `NORMAL_DOF`.
        """
        weights = np.atleast_2d(np.asarray(weights, dtype=float))
        rows = weights[:1] if test == "t" else independent_rows(weights)
        patterns, n_voxels = self.between.patterns, len(self.between.q)
        shared = rows[:, : self.model.matrix.shape[1]]
        determined = patterns.determine(shared)
        effect, variance = np.zeros(n_voxels), np.zeros(n_voxels)
        for part in self._of_model():
            if not determined[part.pattern]:
                continue
            over = multiply(multiply(shared, part.model.inverse), part.model.basis)
            if self.covariates.names:
                over = beside(over, self.parts.rows(rows, part.voxels).transpose(1, 0, 2))
            found = self._found(part, over, is_f=test == "F")
            effect[part.voxels], variance[part.voxels] = found
        return self._estimates(effect, variance, determined, len(rows), test)

    def _estimates(self, effect, variance, determined, rank, test):
        """Return the estimates, their variance multiplied by Knapp and Hartung's factor."""
        patterns = self.between.patterns
        dof = np.where(determined, patterns.dof, 0)[patterns.number].astype(float)
        if self.knapp_hartung != "none":
            least = 0.0 if self.knapp_hartung == "plain" else 1.0
            variance = variance * np.maximum(self.between.scale, least)
        dof[~(variance > 0)] = 0.0
        alive = dof > 0
        effect, variance = np.where(alive, effect, 0.0), np.where(alive, variance, 0.0)
        stat = np.divide(effect, np.sqrt(variance), out=np.zeros(len(effect)), where=alive)
        if self.method == "fixed-effects" and self.knapp_hartung == "none":
            dof[alive] = NORMAL_DOF
        return ContrastEstimates(
            effect,
            variance,
            stat * stat if test == "F" else stat,
            dof,
            rank,
            self.between.spread,
            patterns.complete,
        )


def fit_effect_variance(
    model: LinearModel,
    read: ReadVoxels,
    read_variances: ReadVoxels,
    n_voxels: int,
    method: str = "mixed-effects",
    *,
    groups: Sequence[object] | None = None,
    level: float | None = None,
    knapp_hartung: str = "none",
    covariates: MapCovariates | None = None,
) -> EffectVarianceFit:
    """Estimate the variance between participants at all voxels, a tile at a time.

    A map whose value is not finite, or whose variance is not a positive number, lacks the voxel.

    Parameters
    ----------
    model : LinearModel
    read, read_variances : callables
        ``read(start, stop)`` gives the float64 values, or variances, of voxels start to
        stop - 1, shape (n, v).
    n_voxels : int
        Voxels in the mask.
    method : {"mixed-effects", "fixed-effects", "dersimonian-laird", "paule-mandel"}
        Mixed effects are those of the restricted likelihood.
    groups : sequence, shape (n,), optional
        Variance group of every map, each with a tau2 of its own; restricted likelihood only.
    level : float, optional
        Level of the interval of tau2, as .95; none is computed by default.
    knapp_hartung : {"none", "plain", "adhoc"}
        Multiply the variance of contrasts by the weighted residual mean square at tau2
        (Knapp and Hartung 2003), or by that where it is above 1.
    covariates : MapCovariates, optional
        Columns that differ from voxel to voxel.

    Returns
    -------
    EffectVarianceFit

    Raises
    ------
    ValueError
        Where a choice is none of these, groups go with another method, a group has too few maps
        for a variance of its own, or covariates leave no residual degree of freedom.

    Examples
    --------
    >>> effects = np.array([[0.0], [4.0], [8.0], [4.0]])
    >>> fit = fit_effect_variance(
    ...     LinearModel(np.ones((4, 1)), ("mean",)),
    ...     lambda a, b: effects[:, a:b],
    ...     lambda a, b: np.full((4, b - a), 2.0),
    ...     1,
    ... )
    >>> fit.between.tau2.round(6).tolist(), fit.between.i2.round(3).tolist()
    ([[8.666667]], [81.25])
    >>> found = fit.contrast(np.array([1.0]), "t")
    >>> found.effect.round(6).tolist(), found.variance.round(6).tolist(), found.dof.tolist()
    ([4.0], [2.666667], [3.0])
    """
    for name, value, known in (
        ("method", method, METHODS),
        ("knapp_hartung", knapp_hartung, KNAPP_HARTUNG),
    ):
        if value not in known:
            raise ValueError(f"{name} is one of {', '.join(known)}, got {value!r}")
    if level is not None and not 0 < level < 1:
        raise ValueError(f"the level of the interval of tau2 lies between 0 and 1, got {level}")
    numbers, names = _group_numbers(model, method, groups)
    covariates = covariates or no_covariates(len(model.matrix))
    if covariates.names:
        check_dof(model, covariates)
    patterns, parts = _patterns(model, read, read_variances, n_voxels, numbers, covariates)
    values = np.zeros((5 + len(names), n_voxels))
    ends = 0 if level is None or len(names) > 1 else 2
    for part in _parts(model, patterns, read, read_variances, covariates):
        dof = patterns.voxel_dof[part.voxels]
        found = np.zeros((len(values), len(dof)))
        _find_between(
            part.effects,
            part.variances,
            part.design,
            numbers[part.rows],
            METHODS[method],
            dof.astype(float),
            _targets(dof, level) if ends else np.empty((0, len(dof))),
            found,
        )
        # Where the design fits maps exactly, rounding is no factor of Knapp and Hartung.
        whole = part.variances + found[5:][numbers[part.rows]]
        found[2, is_rounding(found[2], part.effects / np.sqrt(whole))] = 0.0
        values[:, part.voxels] = found
    if not ends:
        values[3:5] = np.nan
    between = _described(values, patterns, numbers, method)
    return EffectVarianceFit(
        model,
        read,
        read_variances,
        between,
        method,
        numbers,
        names,
        knapp_hartung,
        covariates,
        parts,
    )


def fit_known_variances(
    model: LinearModel,
    read: ReadVoxels,
    n_voxels: int,
    variances: VarianceMaps,
    method: str,
    knapp_hartung: str = "none",
    groups: Sequence[object] | None = None,
    outliers: VarianceMaps | None = None,
    covariates: MapCovariates | None = None,
) -> EffectVarianceFit:
    """Fit maps with their variances as an estimator of the group model.

    Parameters
    ----------
    model, read, n_voxels, method, knapp_hartung, groups, covariates
        As `fit_effect_variance` takes them.
    variances : VarianceMaps
    outliers : VarianceMaps, optional
        The variances as `nipype_group.stats.estimators.outliers` enlarges those of outliers, which
        take the place of `variances`.

    Returns
    -------
    EffectVarianceFit
        With the 95 % interval of tau2, but of fixed effects and of several groups.
    """
    variances = variances if outliers is None else outliers
    level = None if method == "fixed-effects" else INTERVAL
    fit = fit_effect_variance(
        model,
        read,
        variances.read,
        n_voxels,
        method,
        groups=groups,
        level=level,
        knapp_hartung=knapp_hartung,
        covariates=covariates,
    )
    return replace(fit, variance_maps=variances.maps)


def _group_numbers(model, method, groups):
    """Return the number of every map's variance group, from 0 on, and the groups' names."""
    n_maps = len(model.matrix)
    if groups is None:
        return np.zeros(n_maps, dtype=np.int64), ("all",)
    names, numbers = np.unique(np.asarray(groups), return_inverse=True)
    if len(numbers) != n_maps:
        raise ValueError(f"{len(numbers)} variance groups for {n_maps} maps")
    if len(names) > 1 and method != "mixed-effects":
        raise ValueError(
            f"variance groups go with mixed-effects, whose likelihood they share, not {method}"
        )
    few = _without_variance(model, numbers, len(names)) if len(names) > 1 else []
    if few:
        raise ValueError(
            f"variance group {names[few[0]]} has no more maps than the columns that it alone "
            "determines: nothing is left for a variance of its own. Join it to another group"
        )
    return numbers.astype(np.int64), tuple(map(str, names))


def _without_variance(model, numbers, n_groups, n_covariates=0):
    """Return the groups whose maps the design fits whatever their variance is."""
    few = []
    for g in range(n_groups):
        inside = np.flatnonzero(numbers == g)
        others = np.delete(model.matrix, inside, axis=0)
        rank = decompose(others).rank if len(others) else 0
        # Covariates of other groups are told apart as far as there are maps.
        rank += min(n_covariates, len(others) - rank)
        if len(inside) <= model.rank + n_covariates - rank:
            few.append(g)
    return few


def lacking(effects: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Tell which maps have no value, or no variance, at which voxels."""
    return ~(np.isfinite(effects) & np.isfinite(variances) & (variances > 0))


def _patterns(model, read, read_variances, n_voxels, groups, covariates):
    """Find the maps that voxels lack, what the design is without them, and `CovariateParts`.

    Voxels where covariates add nothing are told as if all maps lacked them.
    """
    n_maps, number = len(model.matrix), np.zeros(n_voxels, dtype=np.int32)
    k, numbers = len(covariates.names), {bytes(-(-n_maps // 8)): 0}
    parts = CovariateParts.empty(model.matrix.shape[1], k, n_voxels)
    none = np.packbits(np.ones(n_maps, dtype=bool)).tobytes()
    for span in tiles(n_voxels, n_maps * (1 + k)):
        lacks = lacking(read(span.start, span.stop), read_variances(span.start, span.stop))
        own = covariates.read(span.start, span.stop)
        lacks |= ~np.isfinite(own).all(axis=0)
        incomplete = np.flatnonzero(lacks.any(axis=0))
        for packed, members in by_missing(lacks[:, incomplete]).items():
            number[span.start + incomplete[members]] = numbers.setdefault(packed, len(numbers))
        if k:
            _take_covariates(model, covariates.centred, own, lacks, span.start, parts)
            useless = span.start + np.flatnonzero(parts.status[span] != FINE)
            if len(useless):
                number[useless] = numbers.setdefault(none, len(numbers))
    patterns = VoxelPatterns.of(model, number, tuple(numbers))
    dof = np.maximum(patterns.dof - k, 0)
    n_groups = int(groups.max()) + 1
    for index in np.flatnonzero(dof) if n_groups > 1 else ():
        missing = missing_rows(patterns.missing[index], n_maps)
        left = model.without(missing)
        if left is None or _without_variance(left, np.delete(groups, missing), n_groups, k):
            dof[index] = 0
    return replace(patterns, dof=dof), parts


def _take_covariates(model, centred, own, lacks, first, parts):
    """Put what covariates of voxels from `first` on are beside the columns into the parts."""
    for packed, members in by_missing(lacks).items():
        missing = missing_rows(packed, len(lacks))
        left = model.without(missing) if len(missing) else model
        if left is not None and left.dof > len(own):
            members = np.array(members)
            columns = present_covariates(own, members, missing)
            parts.take(first + members, own_columns(left, columns, centred)[1])


@dataclass(frozen=True)
class _Part:
    """Voxels of a tile whose maps tell the same columns apart.

    Parameters
    ----------
    model : LinearModel
        That of the rows.
    rows : int array, shape (n',)
    voxels : int array, shape (v',)
    effects, variances : arrays, shape (n', v')
        A map that a voxel lacks has the effect 0 and the variance infinity.
    design : array, shape (n', r) or (n', r + k, v')
        Basis of the model, and own columns of the voxels beside it.
    pattern : int
        Pattern of the voxels whose maps tell fewer columns apart than all do, or 0; where there
        are own columns that of any voxels that maps lack.
    """

    model: LinearModel
    rows: np.ndarray
    voxels: np.ndarray
    effects: np.ndarray
    variances: np.ndarray
    design: np.ndarray
    pattern: int


def _parts(
    model: LinearModel,
    patterns: VoxelPatterns,
    read: ReadVoxels,
    read_variances: ReadVoxels,
    covariates: MapCovariates,
) -> Iterator[_Part]:
    """Yield the voxels that have degrees of freedom, a tile and a model at a time."""
    n_maps, k = len(model.matrix), len(covariates.names)
    all_rows = np.arange(n_maps)
    kind = _kinds(patterns, k)
    for span in tiles(len(patterns.number), n_maps * (1 + k * (model.rank + 2 * k))):
        effects, variances = read(span.start, span.stop), read_variances(span.start, span.stop)
        columns = covariates.read(span.start, span.stop)
        lacks = lacking(effects, variances) | ~np.isfinite(columns).all(axis=0)
        effects, variances = np.where(lacks, 0.0, effects), np.where(lacks, np.inf, variances)
        own = kind[patterns.number[span]]
        for which in np.unique(own[own >= 0]):
            members = np.flatnonzero(own == which)
            missing = missing_rows(patterns.missing[which], n_maps)
            rows, fitted = all_rows, model
            if which:
                own_model = model.without(missing)
                assert own_model is not None
                rows, fitted = np.delete(all_rows, missing), own_model
            design = fitted.basis
            if k:
                own_values = present_covariates(columns, members, missing)
                columns_beside = own_columns(fitted, own_values, covariates.centred)[0]
                design = beside(design, columns_beside)
            at = np.ix_(rows, members)
            everything = len(members) == len(own) and not which
            yield _Part(
                fitted,
                rows,
                span.start + members,
                effects if everything else effects[at],
                variances if everything else variances[at],
                design,
                int(which),
            )


def _kinds(patterns, n_covariates):
    """Return the pattern that those of each pattern are fitted with, -1 for none.

    Voxels that all columns are told apart at are fitted together, each with its own maps; where
    own columns are beside these, all maps of a part have its voxels.
    """
    kind = np.arange(len(patterns.dof)) if n_covariates else np.zeros(len(patterns.dof), dtype=int)
    kind[list(patterns.row_spaces)] = list(patterns.row_spaces)
    kind[patterns.dof == 0] = -1
    return kind


def _targets(dof, level):
    """Return the Q of the lower and the upper end of the interval of tau2, shape (2, v)."""
    tail = (1.0 - level) / 2.0
    return np.stack([special.chdtri(dof, tail), special.chdtri(dof, 1.0 - tail)])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _find_between(effects, variances, basis, groups, method, dof, targets, found):
    """Estimate tau2 of voxels side by side.

    Parameters
    ----------
    effects, variances : arrays, shape (n, v)
        As `_Part` has them.
    basis : array, shape (n, r) or (n, r, v)
    groups : int array, shape (n,)
    method : int
        Of `METHODS`.
    dof : array, shape (v,)
    targets : array, shape (2, v) or (0, v)
        Q of the ends of the interval of tau2.
    found : array, shape (5 + g, v)
        Gets Q and tr(P) at tau2 = 0, y'Py at tau2, the interval, and tau2 of the groups.
    """
    n_maps, n_voxels = effects.shape
    sums = new_sums(n_maps, basis.shape[1])
    scalars = sums[7]
    blocks = np.empty((3, n_maps, LANES))
    y, s, total = blocks[0], blocks[1], blocks[2]
    tau2, nothing, moves = np.zeros((len(found) - 5, LANES)), np.zeros(LANES), np.ones(n_maps)
    free, ends = np.empty((1, LANES)), np.empty((len(targets), LANES))
    for start in range(0, n_voxels, LANES):
        n_here = load(effects, start, 0.0, y)
        load(variances, start, 1.0, s)
        load(dof.reshape(1, n_voxels), start, 1.0, free)
        load(targets, start, 1.0, ends)
        design = of_lanes(basis, start)
        evaluate(nothing, s, y, moves, design, sums)
        for v in range(n_here):
            found[0, start + v], found[1, start + v] = scalars[1, v], scalars[0, v]
        tau2[:] = 0.0
        if len(tau2) > 1:
            likelihood_by_group(s, y, groups, design, sums, tau2)
        else:
            tau2[0] = tau2_by(method, free[0], s, y, moves, design, sums)
        add_by_group(s, tau2, groups, -1, total)
        evaluate(nothing, total, y, moves, design, sums)
        for v in range(n_here):
            found[2, start + v] = scalars[1, v]
            for g in range(len(tau2)):
                found[5 + g, start + v] = tau2[g, v]
        for e in range(len(targets)):
            end = where_q_is(ends[e], s, y, moves, design, sums)
            for v in range(n_here):
                found[3 + e, start + v] = end[v]


def _described(values, patterns, groups, method):
    """Turn what `_find_between` found of all voxels into what is between participants."""
    q, trace, residual, lower, upper, *tau2 = values
    dof = patterns.voxel_dof
    alive = dof > 0
    free = np.where(alive, dof, 1)
    within = np.divide(free, trace, out=np.zeros_like(q), where=alive)
    mean = multiply(np.bincount(groups) / len(groups), np.array(tau2))
    whole = mean + within
    if method == "fixed-effects":
        h2 = q / free
        i2 = 100.0 * np.divide(q - free, q, out=np.zeros_like(q), where=q > free)
    else:
        h2 = np.divide(whole, within, out=np.zeros_like(q), where=alive)
        i2 = 100.0 * np.divide(mean, whole, out=np.zeros_like(q), where=alive)
    return BetweenVariance(
        np.array(tau2),
        lower,
        upper,
        q,
        np.where(alive, special.chdtrc(free, q), 1.0),
        i2,
        h2,
        residual / free,
        np.sqrt(whole),
        patterns,
    )


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _find_contrast(effects, variances, basis, groups, tau2, rows, is_f, found):
    """Write effect and variance of a contrast, rows over the basis, shape (k, r) or (k, r, v).

    Of several rows the effect is the root of the mean square in units of its own covariance,
    and the variance 1.
    """
    n_maps, n_voxels = effects.shape
    n_columns, n_rows = basis.shape[1], len(rows)
    sums = new_sums(n_maps, n_columns)
    coordinates, inverse = sums[1], sums[3]
    blocks = np.empty((3, n_maps, LANES))
    y, s, total = blocks[0], blocks[1], blocks[2]
    own, nothing, moves = np.empty((len(tau2), LANES)), np.zeros(LANES), np.ones(n_maps)
    estimates = np.empty((n_rows, LANES))
    covariance = np.empty((n_rows * (n_rows + 1) // 2, LANES))
    for start in range(0, n_voxels, LANES):
        n_here = load(effects, start, 0.0, y)
        load(variances, start, 1.0, s)
        load(tau2, start, 0.0, own)
        add_by_group(s, own, groups, -1, total)
        evaluate(nothing, total, y, moves, of_lanes(basis, start), sums)
        combine_rows(of_lanes(rows, start), coordinates, inverse, estimates, covariance)
        if is_f:
            mean_square_length(estimates, covariance)
        for v in range(n_here):
            found[0, start + v], found[1, start + v] = estimates[0, v], covariance[0, v]
